//! One decoder layer.

use crate::DecoderError;
use crate::mlp::Mlp;
use crate::parameters::{Linear, Loader};
use candle_core::Tensor;
use concord_checkpoint::{DecoderSpec, LayerSpec, QkNorm};
use concord_kernels::{
    AttentionShape, KvPages, Norm, Normed, PageRows, PassRows, RopeTable, Scores, norm,
    norm_groups, page_attention, residual_norm, rotate, trie_attention,
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
}

/// Where queries find keys and values.
pub(crate) enum Attending<'a> {
    /// Among the rows of a pass and the path that it was handed.
    Trie {
        carried: &'a Tensor,
        rows: &'a Arc<PassRows>,
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

/// The residual stream between two layers: `hidden + scale · delta` is still to be added up.
pub(crate) struct Stream {
    pub hidden: Tensor,
    pub delta: Tensor,
}

impl Layer {
    pub fn load(
        loader: &Loader<'_>,
        base: Option<&Self>,
        index: usize,
        minimum_rows: usize,
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
            qkv: loader.linear(&parameters.qkv, base.map(|base| &base.qkv))?,
            qk_norm: qk_norm.transpose()?,
            output: loader.linear(&parameters.output, base.map(|base| &base.output))?,
            attention_out_norm: norm(&parameters.attention_out_norm)?,
            mlp_norm: norm(&parameters.mlp_norm)?,
            mlp: Mlp::load(
                loader,
                &parameters.mlp,
                base.map(|base| &base.mlp),
                index,
                minimum_rows,
            )?,
            mlp_out_norm: norm(&parameters.mlp_out_norm)?,
            scores: scores(spec, &kind),
            kind,
        })
    }

    pub fn input_norm(&self) -> Option<&Norm> {
        self.input_norm.as_ref()
    }

    /// Rotated queries and keys, and values, side by side.
    ///
    /// # Shapes
    /// `normed`: `[rows, hidden]`; returns `[rows, (heads + 2 · kv_heads) · head_dim]`.
    pub fn qkv(&self, normed: &Tensor, around: &Around<'_>) -> candle_core::Result<Tensor> {
        let spec = around.spec;
        let mut qkv = self.qkv.forward(normed)?;
        if let Some(bound) = spec.qkv_clip {
            qkv = qkv.clamp(-bound, bound)?;
        }
        if let Some((norm, groups)) = &self.qk_norm {
            norm_groups(&qkv, groups, norm)?;
        }
        if self.kind.rope {
            let table = if self.kind.window.is_some() {
                &around.ropes.local
            } else {
                &around.ropes.global
            };
            let heads = spec.heads + spec.kv_heads;
            rotate(&qkv, heads, spec.head_dim, table, around.depths)?;
        }
        Ok(qkv)
    }

    /// Attention and MLP of the querying rows; the number is the first row that is no longer finite between the two.
    ///
    /// # Shapes
    /// `hidden`, `normed`: `[queries, hidden]`, the residual stream before this layer and its norm.
    pub fn finish(
        &self,
        hidden: &Tensor,
        normed: &Tensor,
        qkv: &Tensor,
        attending: Attending<'_>,
        around: &Around<'_>,
    ) -> candle_core::Result<(Stream, Option<usize>)> {
        let spec = around.spec;
        let shape = attention_shape(spec);
        let attended = match attending {
            Attending::Trie { carried, rows } => {
                trie_attention(qkv, carried, rows, shape, self.scores)?
            }
            Attending::Pages { pages, rows } => page_attention(qkv, pages, rows, self.scores)?,
        };
        let delta = self.output.forward(&attended)?; // [queries, hidden]
        let (attention, broken) = after(delta, self.attention_out_norm.as_ref())?;
        if spec.parallel.is_some() {
            let (input, others) = match &self.mlp_norm {
                Some(own) => norm(hidden, own)?,
                None => (normed.clone(), None),
            };
            let delta = (attention + self.mlp.forward(&input)?)?;
            let hidden = hidden.clone();
            return Ok((Stream { hidden, delta }, broken.or(others)));
        }
        let (hidden, input, later) = if let Some(own) = &self.mlp_norm {
            let Normed {
                hidden,
                normed,
                non_finite,
            } = residual_norm(hidden, &attention, spec.residual_scale, own)?;
            (hidden, normed, non_finite)
        } else {
            let hidden = (hidden + (attention * spec.residual_scale)?)?;
            (hidden.clone(), hidden, None)
        };
        let (delta, last) = after(self.mlp.forward(&input)?, self.mlp_out_norm.as_ref())?;
        Ok((Stream { hidden, delta }, broken.or(later).or(last)))
    }
}

pub(crate) fn attention_shape(spec: &DecoderSpec) -> AttentionShape {
    AttentionShape {
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
    }
}

/// What is added to the residual stream: normed first, where the layer has a norm there.
fn after(delta: Tensor, own: Option<&Norm>) -> candle_core::Result<(Tensor, Option<usize>)> {
    match own {
        Some(own) => norm(&delta, own),
        None => Ok((delta, None)),
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
