//! The generic path: every operation through candle's own, on whatever device candle knows. It is what runs on Metal, and it is
//! tested on the CPU.
//!
//! # Numerics
//! Products multiply what weights are held as; everything else is `f32`. Rows of other passes change no mask, but candle chooses
//! its products by their shape: bits may depend on the pass size.

use crate::attention::{AttentionShape, PassRows, Scores};
use crate::{Activation, Norm, RopeTable, Vector};
use candle_core::{D, DType, Device, Result, Tensor, bail};

/// `x · weightᵀ + bias` in `f32`.
///
/// # Shapes
/// `x`: `[rows, in]`; `weight`: `[out, in]`; returns `[rows, out]`.
pub(crate) fn product(weight: &Tensor, x: &Tensor, bias: Option<&Vector>) -> Result<Tensor> {
    let x = x.to_dtype(weight.dtype())?;
    let out = x.matmul(&weight.t()?)?.to_dtype(DType::F32)?;
    match bias {
        Some(bias) => out.broadcast_add(bias.tensor()),
        None => Ok(out),
    }
}

/// As [`crate::norm`], in `f32`.
pub(crate) fn norm(x: &Tensor, norm: &Norm) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let weights = norm.weights.tensor();
    let kinds = weights.elem_count() / width.max(1);
    let weights = weights.reshape((kinds, width))?;
    let x = if norm.centred {
        x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?
    } else {
        x.clone()
    };
    let mean = (x.sqr()?.mean_keepdim(D::Minus1)? + norm.eps)?;
    let normed = x
        .broadcast_div(&mean.sqrt()?)?
        .broadcast_mul(&weights.narrow(0, 0, 1)?)?;
    match kinds {
        1 => Ok(normed),
        2 => normed.broadcast_add(&weights.narrow(0, 1, 1)?),
        other => bail!("a norm has one or two rows of weights, not {other}"),
    }
}

/// As [`crate::norm_groups`]; gives the rows that come out.
pub(crate) fn norm_groups(rows: &Tensor, groups: &[usize], own: &Norm) -> Result<Tensor> {
    let (_, width) = rows.dims2()?;
    let covered = groups.iter().sum::<usize>();
    let weights = own.weights.tensor();
    let kinds = weights.elem_count() / covered.max(1);
    let weights = weights.reshape((kinds, covered))?;
    let (mut parts, mut start) = (Vec::new(), 0);
    for group in groups {
        let of_group = Norm {
            weights: Vector::new(weights.narrow(1, start, *group)?.contiguous()?),
            ..own.clone()
        };
        parts.push(norm(
            &rows.narrow(1, start, *group)?.contiguous()?,
            &of_group,
        )?);
        start += group;
    }
    if start < width {
        parts.push(rows.narrow(1, start, width - start)?);
    }
    Tensor::cat(&parts, 1)
}

/// As [`crate::rotate`]; gives the rows that come out.
pub(crate) fn rotate(
    rows: &Tensor,
    heads: usize,
    head_dim: usize,
    table: &RopeTable,
    depths: &[u32],
) -> Result<Tensor> {
    let (count, width) = rows.dims2()?;
    let half = table.half();
    if half == 0 {
        return Ok(rows.clone());
    }
    let (cos, sin) = table.at(depths);
    let angles = |values| Tensor::from_vec(values, (count, 1, half), rows.device());
    let (cos, sin) = (angles(cos)?, angles(sin)?);
    let turned = rows.narrow(1, 0, heads * head_dim)?;
    let turned = turned.reshape((count, heads, head_dim))?; // [rows, heads, head_dim]
    let (low, high) = (turned.narrow(2, 0, half)?, turned.narrow(2, half, half)?);
    let mut parts = vec![
        (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?,
        (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?,
    ];
    if 2 * half < head_dim {
        parts.push(turned.narrow(2, 2 * half, head_dim - 2 * half)?);
    }
    let turned = Tensor::cat(&parts, 2)?.reshape((count, heads * head_dim))?;
    if heads * head_dim == width {
        return Ok(turned);
    }
    let rest = rows.narrow(1, heads * head_dim, width - heads * head_dim)?;
    Tensor::cat(&[turned, rest], 1)
}

/// The activation of every number.
pub(crate) fn activated(x: &Tensor, gated: bool, activation: Activation) -> Result<Tensor> {
    let of = |x: &Tensor| match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
    };
    if !gated {
        return of(x);
    }
    let half = x.dim(1)? / 2;
    of(&x.narrow(1, 0, half)?.contiguous()?)? * x.narrow(1, half, half)?
}

/// The keys and values of one path, by depth.
#[derive(Clone)]
pub struct GenericKvPrefix {
    shape: AttentionShape,
    /// `[entries, 2 · kv_heads · head_dim]`
    values: Option<Tensor>,
}

impl GenericKvPrefix {
    /// A path of no rows.
    pub fn new(shape: AttentionShape) -> Self {
        Self {
            shape,
            values: None,
        }
    }

    /// As [`crate::CpuKvPrefix::advance`].
    pub(crate) fn advance(&mut self, qkv: &Tensor, kept: usize, rows: &[u32]) -> Result<()> {
        let mut parts = Vec::new();
        if let Some(values) = &self.values
            && kept > 0
        {
            parts.push(values.narrow(0, 0, kept)?);
        }
        if !rows.is_empty() {
            let width = self.shape.query_width();
            let kv = qkv.narrow(1, width, self.shape.kv_width())?;
            let rows = Tensor::from_slice(rows, rows.len(), qkv.device())?;
            parts.push(kv.contiguous()?.index_select(&rows, 0)?);
        }
        self.values = if parts.is_empty() {
            None
        } else {
            Some(Tensor::cat(&parts, 0)?)
        };
        Ok(())
    }
}

/// As [`crate::trie_attention`], with the mask written out: row `k` is visible to row `q` where `k <= q < end[k]`.
pub(crate) fn trie_attention(
    qkv: &Tensor,
    carried: &GenericKvPrefix,
    rows: &PassRows,
    shape: AttentionShape,
    scores: Scores,
) -> Result<Tensor> {
    let device = qkv.device();
    let AttentionShape {
        heads,
        kv_heads,
        head_dim,
    } = shape;
    let (query_width, half) = (shape.query_width(), kv_heads * head_dim);
    let mut kv = qkv.narrow(1, query_width, 2 * half)?;
    if let Some(values) = &carried.values {
        kv = Tensor::cat(&[values, &kv], 0)?;
    }
    let keys = kv.dim(0)?;
    let queries = rows.queries();
    let index = Tensor::from_slice(queries, queries.len(), device)?;
    let q = qkv.narrow(1, 0, query_width)?.contiguous()?;
    let q = q
        .index_select(&index, 0)?
        .reshape((queries.len(), heads, head_dim))?
        .transpose(0, 1)? // [heads, queries, head_dim]
        .contiguous()?
        .reshape((kv_heads, heads / kv_heads * queries.len(), head_dim))?;
    let of = |start: usize| {
        let part = kv.narrow(1, start, half)?.contiguous()?;
        let part = part.reshape((keys, kv_heads, head_dim))?;
        part.transpose(0, 1)?.contiguous() // [kv_heads, keys, head_dim]
    };
    let (k, v) = (of(0)?, of(half)?);
    let mut found = (q.matmul(&k.t()?)? * f64::from(scores.scale))?;
    if let Some(cap) = scores.softcap {
        let cap = f64::from(cap);
        found = ((found / cap)?.tanh()? * cap)?;
    }
    let mask = mask(rows, scores, keys, device)?; // [queries, keys]
    let found = found
        .reshape((heads, queries.len(), keys))?
        .broadcast_add(&mask)?;
    let found = found.broadcast_sub(&found.max_keepdim(D::Minus1)?)?.exp()?;
    let weights = found.broadcast_div(&found.sum_keepdim(D::Minus1)?)?;
    weights
        .reshape((kv_heads, heads / kv_heads * queries.len(), keys))?
        .matmul(&v)?
        .reshape((heads, queries.len(), head_dim))?
        .transpose(0, 1)?
        .contiguous()?
        .reshape((queries.len(), query_width))
}

/// 0 where a query sees a key, minus infinity elsewhere.
fn mask(rows: &PassRows, scores: Scores, keys: usize, device: &Device) -> Result<Tensor> {
    let (depths, entries) = (rows.depths(), rows.entries());
    let ends = rows.ends();
    let depth_of = |key: usize| match key.checked_sub(entries) {
        None => key,
        Some(row) => depths[row] as usize,
    };
    let mut mask = vec![f32::NEG_INFINITY; rows.queries().len() * keys];
    for (query, mask) in rows.queries().iter().zip(mask.chunks_exact_mut(keys)) {
        let depth = depths[*query as usize] as usize;
        for (key, seen) in mask
            .iter_mut()
            .enumerate()
            .take(entries + *query as usize + 1)
        {
            let near = scores
                .window
                .is_none_or(|window| depth - depth_of(key) < window);
            // Keys before the query that end after it are on its path, and so less deep.
            if *query < ends[key] && near {
                *seen = 0.0;
            }
        }
    }
    Tensor::from_vec(mask, (rows.queries().len(), keys), device)
}
