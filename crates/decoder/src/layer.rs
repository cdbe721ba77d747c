//! One decoder layer.

use crate::DecoderError;
use crate::clock::{Times, Work};
use crate::mlp::Mlp;
use crate::parameters::{Linear, Loader};
use candle_core::DType;
use concord_checkpoint::{DecoderSpec, LayerSpec, QkNorm};
use concord_kernels::{
    AttentionShape, Engine, KernelError, KvPrefix, List, Norm, PageRows, Pages, PassRows,
    RopeTable, RowUse, Rows, Scores,
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
pub(crate) struct LayerContext<'a> {
    pub spec: &'a DecoderSpec,
    pub ropes: &'a Ropes,
    /// The depth of each row.
    pub depths: &'a List,
    /// What computes.
    pub engine: &'a Engine,
    /// What rows are held as between products.
    pub rows_as: DType,
}

/// Where queries find keys and values.
pub(crate) enum KvSource<'a> {
    /// Among the rows of a pass and the path that it was handed.
    Trie {
        carried: &'a KvPrefix,
        rows: &'a PassRows,
        /// What the querying rows are for.
        role: RowUse,
    },
    /// On paths that are kept in pages.
    Pages {
        pages: &'a mut Pages,
        rows: &'a PageRows,
    },
}

/// Cosines and sines of the layers without a window and of those with one.
pub(crate) struct Ropes {
    pub global: Arc<RopeTable>,
    pub local: Arc<RopeTable>,
}

/// Rows on their way through a layer.
pub(crate) struct State {
    /// `[rows, hidden]` in `f32`: the residual stream, changed in place.
    pub hidden: Rows,
    /// The same, normed for the layer; where it has no norm in front, the stream itself.
    pub normed: Rows,
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
        hidden: Rows,
        around: &LayerContext<'_>,
        times: &mut Times,
    ) -> Result<State, LayerError> {
        let normed = match &self.input_norm {
            Some(own) => times.of(Work::Norms, || around.normed(&hidden, own))?,
            // The stream is changed before everything that takes it as it was has taken it.
            None if around.spec.parallel.is_some() => around.engine.copied(&hidden)?,
            None => hidden.clone(),
        };
        Ok(State { hidden, normed })
    }

    /// Rotated queries and keys, and values, side by side.
    ///
    /// # Shapes
    /// `normed`: `[rows, hidden]`; returns `[rows, (heads + 2 · kv_heads) · head_dim]`.
    pub fn qkv(
        &self,
        normed: &Rows,
        around: &LayerContext<'_>,
        times: &mut Times,
    ) -> Result<Rows, KernelError> {
        let (spec, engine) = (around.spec, around.engine);
        let mut qkv = times.of(Work::Products, || {
            engine.product(&self.qkv.weight, normed, self.qkv.bias.as_ref())
        })?;
        if let Some(bound) = spec.qkv_clip {
            engine.clamp(&mut qkv, bound)?;
        }
        let own = self.qk_norm.as_ref().map(|(norm, groups)| (norm, groups));
        let table = match self.kind.window {
            Some(_) => &around.ropes.local,
            None => &around.ropes.global,
        };
        let rope = self.kind.rope.then_some((table, around.depths));
        if own.is_some() || rope.is_some() {
            let shape = attention_shape(spec);
            times.of(Work::Rope, || engine.turn(&mut qkv, shape, own, rope))?;
        }
        Ok(qkv)
    }

    /// Attention and MLP of the querying rows, into their residual stream.
    ///
    /// # Shapes
    /// `state`: `[queries, hidden]`.
    pub fn finish(
        &self,
        state: &mut State,
        qkv: &Rows,
        attending: KvSource<'_>,
        around: &LayerContext<'_>,
        times: &mut Times,
    ) -> Result<(), LayerError> {
        let (spec, engine, rows_as) = (around.spec, around.engine, around.rows_as);
        let shape = attention_shape(spec);
        let State { hidden, normed } = state;
        let attended = times.of(Work::Attention, || match attending {
            KvSource::Trie {
                carried,
                rows,
                role,
            } => engine.trie_attention(qkv, carried, rows, shape, self.scores, rows_as, role),
            KvSource::Pages { pages, rows } => {
                engine.page_attention(qkv, pages, rows, self.scores, rows_as)
            }
        })?;
        // Beside attention, the MLP takes the stream as it was.
        let beside = match (spec.parallel, &self.mlp_norm) {
            (None, _) => None,
            (Some(_), None) => Some(normed.clone()),
            (Some(_), Some(own)) => Some(times.of(Work::Norms, || around.normed(hidden, own))?),
        };
        let scale = spec.residual_scale;
        let (weight, bias) = (&self.output.weight, self.output.bias.as_ref());
        match &self.attention_out_norm {
            None => times.of(Work::Products, || {
                engine.add_product(weight, &attended, bias, scale, hidden)
            })?,
            Some(own) => {
                let delta = times.of(Work::Products, || {
                    engine.wide_product(weight, &attended, bias)
                })?;
                times.of(Work::Norms, || {
                    around.add_normed(hidden, &delta, scale, own)
                })?;
            }
        }
        let input = match (beside, &self.mlp_norm) {
            (Some(beside), _) => beside,
            (None, Some(own)) => times.of(Work::Norms, || around.normed(hidden, own))?,
            (None, None) => hidden.clone(),
        };
        match &self.mlp_out_norm {
            None => times.of(Work::Products, || {
                self.mlp.add_forward(engine, &input, scale, hidden)
            })?,
            Some(own) => {
                let delta = times.of(Work::Products, || self.mlp.forward(engine, &input))?;
                times.of(Work::Norms, || {
                    around.add_normed(hidden, &delta, scale, own)
                })?;
            }
        }
        Ok(())
    }
}

impl LayerContext<'_> {
    /// The norm of rows that are finite.
    pub fn normed(&self, x: &Rows, own: &Norm) -> Result<Rows, LayerError> {
        self.engine
            .norm(x, own, self.rows_as)?
            .ok_or(LayerError::NotFinite)
    }

    fn add_normed(
        &self,
        hidden: &mut Rows,
        delta: &Rows,
        scale: f64,
        own: &Norm,
    ) -> Result<(), LayerError> {
        if self.engine.add_normed(hidden, delta, scale, own)? {
            Ok(())
        } else {
            Err(LayerError::NotFinite)
        }
    }
}

/// Why a layer stopped.
#[derive(Debug)]
pub(crate) enum LayerError {
    /// Rows that went into a norm are no longer finite.
    NotFinite,
    Kernel(KernelError),
}

impl From<KernelError> for LayerError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
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
