//! One decoder layer.

use crate::DecoderError;
use crate::clock::{Times, Work};
use crate::mlp::Mlp;
use crate::parameters::{Linear, Loader};
use candle_core::{DType, Tensor};
use concord_checkpoint::{DecoderSpec, LayerSpec, QkNorm};
use concord_kernels::{
    AttentionShape, KvPages, KvPath, Norm, PageRows, PassRows, RopeTable, Scores, add_scaled, norm,
    norm_groups, page_attention, rotate, trie_attention,
};
use std::sync::Arc;

/// The weights of one layer.
pub(crate) struct Layer {
    kind: LayerSpec,
    input_norm: Option<Norm>,
    qkv: Linear,
    /// The norm of queries and keys, and the widths that it is taken over.
    qk_norm: Option<(Norm, Arc<[usize]>)>,
    output: Linear,
    attention_out_norm: Option<Norm>,
    mlp_norm: Option<Norm>,
    mlp: Mlp,
    mlp_out_norm: Option<Norm>,
    scores: Scores,
}

/// What surrounds a layer in one pass.
pub(crate) struct Around<'a> {
    pub spec: &'a DecoderSpec,
    pub ropes: &'a Ropes,
    /// The depth of each row.
    pub depths: &'a Arc<[u32]>,
    /// What rows are held as between products.
    pub rows_as: DType,
}

/// Where queries find keys and values.
pub(crate) enum Attending<'a> {
    /// Among the rows of a pass and the path that it was handed.
    Trie {
        carried: &'a KvPath,
        rows: &'a PassRows,
    },
    /// On paths that are kept in pages.
    Pages {
        pages: &'a mut KvPages,
        rows: &'a PageRows,
    },
}

/// Cosines and sines of the layers without a window and of those with one.
pub(crate) struct Ropes {
    pub global: Arc<RopeTable>,
    pub local: Arc<RopeTable>,
}

/// Rows on their way through a layer.
pub(crate) struct Rows {
    /// `[rows, hidden]` in `f32`: the residual stream, changed in place.
    pub hidden: Tensor,
    /// The same, normed for the layer; where it has no norm in front, the stream itself.
    pub normed: Tensor,
}

impl Layer {
    pub fn load(
        loader: &Loader<'_>,
        base: Option<&Self>,
        index: usize,
    ) -> Result<Self, DecoderError> {
        let spec = loader.spec;
        let parameters = spec.layer(index);
        let norm = |norm: &Option<_>| norm.as_ref().map(|norm| loader.norm(norm)).transpose();
        let groups: Arc<[usize]> = match spec.qk_norm {
            QkNorm::Tensor => [spec.query_width(), spec.kv_width()].into(),
            _ => vec![spec.head_dim; spec.heads + spec.kv_heads].into(),
        };
        let qk_norm = parameters.qk_norm.as_ref();
        let qk_norm =
            qk_norm.map(|weight| Ok::<_, DecoderError>((loader.qk_norm(weight)?, groups)));
        let kind = spec.layers[index].clone();
        Ok(Self {
            input_norm: norm(&parameters.input_norm)?,
            qkv: loader.linear(&parameters.qkv, false, base.map(|base| &base.qkv))?,
            qk_norm: qk_norm.transpose()?,
            output: loader.linear(&parameters.output, false, base.map(|base| &base.output))?,
            attention_out_norm: norm(&parameters.attention_out_norm)?,
            mlp_norm: norm(&parameters.mlp_norm)?,
            mlp: Mlp::load(loader, &parameters.mlp, base.map(|base| &base.mlp), index)?,
            mlp_out_norm: norm(&parameters.mlp_out_norm)?,
            scores: scores(spec, &kind),
            kind,
        })
    }

    /// The residual stream, normed for this layer.
    pub fn begin(
        &self,
        hidden: Tensor,
        around: &Around<'_>,
        times: &mut Times,
    ) -> Result<Rows, Stop> {
        let normed = match &self.input_norm {
            Some(own) => times.of(Work::Norms, || normed(&hidden, own, around.rows_as))?,
            // Attention changes the stream before an MLP beside it takes it.
            None if around.spec.parallel.is_some() => hidden.copy()?,
            None => hidden.clone(),
        };
        Ok(Rows { hidden, normed })
    }

    /// Rotated queries and keys, and values, side by side.
    ///
    /// # Shapes
    /// `normed`: `[rows, hidden]`; returns `[rows, (heads + 2 · kv_heads) · head_dim]` in `f32`.
    pub fn qkv(
        &self,
        normed: &Tensor,
        around: &Around<'_>,
        times: &mut Times,
    ) -> candle_core::Result<Tensor> {
        let spec = around.spec;
        let mut qkv = times.of(Work::Products, || self.qkv.product(normed))?;
        if let Some(bound) = spec.qkv_clip {
            qkv = qkv.clamp(-bound, bound)?;
        }
        if let Some((norm, groups)) = &self.qk_norm {
            times.of(Work::Norms, || norm_groups(&qkv, groups, norm))?;
        }
        if self.kind.rope {
            let table = if self.kind.window.is_some() {
                &around.ropes.local
            } else {
                &around.ropes.global
            };
            let heads = spec.heads + spec.kv_heads;
            times.of(Work::Rope, || {
                rotate(&qkv, heads, spec.head_dim, table, around.depths)
            })?;
        }
        Ok(qkv)
    }

    /// Attention and MLP of the querying rows, into their residual stream.
    ///
    /// # Shapes
    /// `rows`: `[queries, hidden]`.
    pub fn finish(
        &self,
        rows: &Rows,
        qkv: &Tensor,
        attending: Attending<'_>,
        around: &Around<'_>,
        times: &mut Times,
    ) -> Result<(), Stop> {
        let (spec, rows_as) = (around.spec, around.rows_as);
        let shape = attention_shape(spec);
        let Rows { hidden, normed } = rows;
        let attended = times.of(Work::Attention, || match attending {
            Attending::Trie { carried, rows } => {
                trie_attention(qkv, carried, rows, shape, self.scores, rows_as)
            }
            Attending::Pages { pages, rows } => {
                page_attention(qkv, pages, rows, self.scores, rows_as)
            }
        })?;
        // Beside attention, the MLP takes the stream as it was.
        let beside = match (spec.parallel, &self.mlp_norm) {
            (None, _) => None,
            (Some(_), None) => Some(normed.clone()),
            (Some(_), Some(own)) => {
                Some(times.of(Work::Norms, || self::normed(hidden, own, rows_as))?)
            }
        };
        let scale = spec.residual_scale;
        match &self.attention_out_norm {
            None => times.of(Work::Products, || {
                self.output.add_product(&attended, scale, hidden)
            })?,
            Some(own) => {
                let delta = times.of(Work::Products, || self.output.product(&attended))?;
                times.of(Work::Norms, || add_normed(hidden, &delta, scale, own))?;
            }
        }
        let input = match (beside, &self.mlp_norm) {
            (Some(beside), _) => beside,
            (None, Some(own)) => times.of(Work::Norms, || self::normed(hidden, own, rows_as))?,
            (None, None) => hidden.clone(),
        };
        match &self.mlp_out_norm {
            None => times.of(Work::Products, || {
                self.mlp.add_forward(&input, scale, hidden)
            })?,
            Some(own) => {
                let delta = times.of(Work::Products, || self.mlp.forward(&input))?;
                times.of(Work::Norms, || add_normed(hidden, &delta, scale, own))?;
            }
        }
        Ok(())
    }
}

/// Why a layer stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Rows that went into a norm are no longer finite.
    NotFinite,
    Tensor(candle_core::Error),
}

impl From<candle_core::Error> for Stop {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error)
    }
}

/// The norm of rows that are finite.
pub(crate) fn normed(x: &Tensor, own: &Norm, rows_as: DType) -> Result<Tensor, Stop> {
    match norm(x, own, rows_as)? {
        (normed, None) => Ok(normed),
        (_, Some(_)) => Err(Stop::NotFinite),
    }
}

fn add_normed(hidden: &Tensor, delta: &Tensor, scale: f64, own: &Norm) -> Result<(), Stop> {
    let delta = normed(delta, own, DType::F32)?;
    Ok(add_scaled(hidden, &delta, scale)?)
}

pub(crate) fn attention_shape(spec: &DecoderSpec) -> AttentionShape {
    AttentionShape {
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "scores are computed in f32"
)]
fn scores(spec: &DecoderSpec, kind: &LayerSpec) -> Scores {
    Scores {
        scale: kind.attention_scale as f32,
        softcap: spec.attention_softcap.map(|cap| cap as f32),
        window: kind.window,
    }
}
