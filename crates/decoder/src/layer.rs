//! One decoder layer.

use crate::DecoderError;
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{CheckpointError, DecoderSpec, Weights};
use concord_kernels::{
    AttentionShape, Normed, PassRows, RopeTable, linear, residual_rms_norm, rotate, swiglu,
    trie_attention,
};
use std::sync::Arc;

/// A matrix product's weight and bias.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        linear(x, &self.weight, self.bias.as_ref())
    }
}

/// Where weights come from, and what they become.
pub(crate) struct Loader<'a> {
    pub weights: &'a Weights,
    pub device: &'a Device,
}

impl Loader<'_> {
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        self.weights.tensor(name, shape, DType::F32, self.device)
    }

    /// Products of one input side by side: `[out_1 + out_2 + …, in]`.
    fn linear(
        &self,
        parts: &[(String, usize)],
        inner: usize,
        bias: bool,
    ) -> Result<Linear, DecoderError> {
        let gather =
            |ending: &str, shape: &dyn Fn(usize) -> Vec<usize>| -> Result<Tensor, DecoderError> {
                let tensors = parts
                    .iter()
                    .map(|(name, outer)| self.tensor(&format!("{name}.{ending}"), &shape(*outer)));
                let tensors: Vec<Tensor> = tensors.collect::<Result<_, _>>()?;
                Ok(if let [one] = &tensors[..] {
                    one.clone()
                } else {
                    Tensor::cat(&tensors, 0)?
                })
            };
        Ok(Linear {
            weight: gather("weight", &|outer| vec![outer, inner])?,
            bias: if bias {
                Some(gather("bias", &|outer| vec![outer])?)
            } else {
                None
            },
        })
    }
}

/// The weights of one layer.
pub(crate) struct Layer {
    input_norm: Tensor,
    qkv: Linear,
    output: Linear,
    mlp_norm: Tensor,
    gate_up: Linear,
    down: Linear,
}

/// What surrounds a layer in one pass.
pub(crate) struct Around<'a> {
    pub spec: &'a DecoderSpec,
    pub rope: &'a Arc<RopeTable>,
    pub rows: &'a Arc<PassRows>,
}

/// The residual stream between two layers: `hidden + delta` is still to be added up.
pub(crate) struct Stream {
    pub hidden: Tensor,
    pub delta: Tensor,
}

impl Layer {
    pub fn load(
        loader: &Loader<'_>,
        spec: &DecoderSpec,
        index: usize,
    ) -> Result<Self, DecoderError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let (hidden, mlp) = (spec.hidden_size, spec.mlp_size);
        let (query, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let qkv = [
            (name("self_attn.q_proj"), query),
            (name("self_attn.k_proj"), kv),
            (name("self_attn.v_proj"), kv),
        ];
        let gate_up = [(name("mlp.gate_proj"), mlp), (name("mlp.up_proj"), mlp)];
        let output = [(name("self_attn.o_proj"), hidden)];
        Ok(Self {
            input_norm: loader.tensor(&name("input_layernorm.weight"), &[hidden])?,
            qkv: loader.linear(&qkv, hidden, spec.attention_bias)?,
            output: loader.linear(&output, query, spec.attention_bias)?,
            mlp_norm: loader.tensor(&name("post_attention_layernorm.weight"), &[hidden])?,
            gate_up: loader.linear(&gate_up, hidden, spec.mlp_bias)?,
            down: loader.linear(&[(name("mlp.down_proj"), hidden)], mlp, spec.mlp_bias)?,
        })
    }

    pub fn input_norm(&self) -> &Tensor {
        &self.input_norm
    }

    /// Rotated queries and keys, and values, side by side.
    ///
    /// # Shapes
    /// `normed`: `[rows, hidden]`; returns `[rows, (heads + 2 · kv_heads) · head_dim]`.
    pub fn qkv(&self, normed: &Tensor, around: &Around<'_>) -> candle_core::Result<Tensor> {
        let qkv = self.qkv.forward(normed)?;
        rotate(
            &qkv,
            around.spec.heads + around.spec.kv_heads,
            around.rope,
            around.rows.depths(),
        )?;
        Ok(qkv)
    }

    /// Attention and MLP of the querying rows.
    ///
    /// # Shapes
    /// `hidden`: `[queries, hidden]`, the residual stream before this layer; returns as much after it.
    pub fn finish(
        &self,
        hidden: &Tensor,
        qkv: &Tensor,
        carried: &Tensor,
        around: &Around<'_>,
    ) -> candle_core::Result<(Stream, Option<usize>)> {
        let spec = around.spec;
        let shape = AttentionShape {
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
        };
        let attended = trie_attention(qkv, carried, around.rows, shape)?; // [queries, heads * head_dim]
        let delta = self.output.forward(&attended)?; // [queries, hidden]
        let Normed {
            hidden,
            normed,
            non_finite,
        } = residual_rms_norm(hidden, &delta, &self.mlp_norm, spec.norm_eps)?;
        let gated = swiglu(&self.gate_up.forward(&normed)?)?; // [queries, mlp]
        let delta = self.down.forward(&gated)?;
        Ok((Stream { hidden, delta }, non_finite))
    }
}
