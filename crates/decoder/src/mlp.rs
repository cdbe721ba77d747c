//! The MLP of a layer: one for all rows, or a mixture of experts.

use crate::DecoderError;
use crate::parameters::{Linear, Loader};
use candle_core::Tensor;
use concord_checkpoint::{
    Activation, DecoderSpec, ExpertParameters, Mlp as MlpSpec, MlpKind, MlpParameters,
};
use concord_kernels::{Matrix, add_scaled};
use std::sync::Arc;

/// Gate and up, and down.
struct Dense {
    up: Linear,
    down: Linear,
    activation: concord_kernels::Activation,
}

/// A mixture of experts.
struct Mixture {
    /// `[experts, hidden]`.
    router: Arc<Matrix>,
    experts: Vec<Dense>,
    /// The expert that every row goes through, and its gate `[1, hidden]`.
    shared: Option<(Dense, Arc<Matrix>)>,
    chosen: usize,
    normalised: bool,
}

enum Kind {
    Dense(Dense),
    Mixture(Mixture),
}

/// The MLP of a layer.
pub(crate) struct Mlp(Kind);

impl Mlp {
    pub fn load(
        loader: &Loader<'_>,
        kind: &MlpKind,
        base: Option<&Self>,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let base = base.map(|base| &base.0);
        Ok(Self(match kind {
            MlpKind::Dense(dense) => {
                let base = match base {
                    Some(Kind::Dense(base)) => Some(base),
                    _ => None,
                };
                Kind::Dense(Dense::load(loader, dense, base)?)
            }
            MlpKind::Experts(mixture) => {
                let base = match base {
                    Some(Kind::Mixture(base)) => Some(base),
                    _ => None,
                };
                Kind::Mixture(Mixture::load(loader, mixture, base, layer)?)
            }
        }))
    }

    /// # Shapes
    /// `x`: `[rows, hidden]`; returns as much, in `f32`.
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match &self.0 {
            Kind::Dense(dense) => dense.forward(x),
            Kind::Mixture(mixture) => mixture.forward(x),
        }
    }

    /// Adds `scale` times the result to the residual stream, in place.
    pub fn add_forward(&self, x: &Tensor, scale: f64, hidden: &Tensor) -> candle_core::Result<()> {
        match &self.0 {
            Kind::Dense(dense) => dense.down.add_product(&dense.inner(x)?, scale, hidden),
            Kind::Mixture(mixture) => add_scaled(hidden, &mixture.forward(x)?, scale),
        }
    }
}

impl Dense {
    fn load(
        loader: &Loader<'_>,
        parameters: &MlpParameters,
        base: Option<&Self>,
    ) -> Result<Self, DecoderError> {
        let gated = loader.spec.mlp.is_gated();
        Ok(Self {
            up: loader.linear(&parameters.up, gated, base.map(|base| &base.up))?,
            down: loader.linear(&parameters.down, false, base.map(|base| &base.down))?,
            activation: activation(loader.spec),
        })
    }

    /// Between the two products, `[rows, size]`.
    fn inner(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let bias = self.up.bias.as_ref();
        self.up.weight.activated(x, bias, self.activation)
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.down.product(&self.inner(x)?)
    }
}

fn activation(spec: &DecoderSpec) -> concord_kernels::Activation {
    match spec.activation {
        Activation::Silu => concord_kernels::Activation::Silu,
        Activation::Gelu => concord_kernels::Activation::Gelu,
        Activation::GeluTanh => concord_kernels::Activation::GeluTanh,
        Activation::Relu => concord_kernels::Activation::Relu,
    }
}

impl Mixture {
    fn load(
        loader: &Loader<'_>,
        parameters: &ExpertParameters,
        base: Option<&Self>,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let (chosen, normalised) = match loader.spec.layers[layer].mlp {
            MlpSpec::Experts {
                chosen, normalised, ..
            } => (chosen, normalised),
            MlpSpec::Dense { .. } => (0, false),
        };
        // Routers are small, and adapters leave them alone or are merged anew.
        let router = loader.matrix(&parameters.router.weight, false, None)?;
        let shared = parameters.shared.as_ref().map(|(expert, gate)| {
            let base = base
                .and_then(|base| base.shared.as_ref())
                .map(|(base, _)| base);
            Ok::<_, DecoderError>((
                Dense::load(loader, expert, base)?,
                loader.matrix(&gate.weight, false, None)?,
            ))
        });
        Ok(Self {
            router,
            experts: parameters
                .experts
                .iter()
                .enumerate()
                .map(|(number, expert)| {
                    Dense::load(loader, expert, base.map(|base| &base.experts[number]))
                })
                .collect::<Result<_, _>>()?,
            shared: shared.transpose()?,
            chosen,
            normalised,
        })
    }

    /// Each row through its experts, whose outputs are added in the order of their numbers.
    ///
    /// # Source
    /// Shazeer et al. 2017; `MixtralSparseMoeBlock` and `Qwen2MoeSparseMoeBlock` of transformers.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (rows, hidden) = x.dims2()?;
        let logits = self.router.product(x, None)?.to_vec2::<f32>()?; // [rows, experts]
        let routes = self.routes(&logits);
        let mut sums = vec![0.0f32; rows * hidden];
        for (expert, routed) in self.experts.iter().zip(&routes) {
            if routed.is_empty() {
                continue;
            }
            let rows: Vec<u32> = routed.iter().map(|(row, _)| *row).collect();
            let rows = Tensor::from_slice(&rows, rows.len(), x.device())?;
            let out = expert.forward(&x.index_select(&rows, 0)?)?;
            let out = out.flatten_all()?.to_vec1::<f32>()?;
            for ((row, weight), out) in routed.iter().zip(out.chunks_exact(hidden)) {
                let at = *row as usize * hidden;
                for (sum, out) in sums[at..at + hidden].iter_mut().zip(out) {
                    *sum += weight * out;
                }
            }
        }
        let sums = Tensor::from_vec(sums, (rows, hidden), x.device())?;
        let Some((shared, gate)) = &self.shared else {
            return Ok(sums);
        };
        let gates = gate.product(x, None)?.flatten_all()?.to_vec1::<f32>()?;
        let gates: Vec<f32> = gates
            .iter()
            .map(|gate| 1.0 / (1.0 + (-gate).exp()))
            .collect();
        let gates = Tensor::from_vec(gates, (rows, 1), x.device())?;
        sums + shared.forward(x)?.broadcast_mul(&gates)?
    }

    /// The rows that go through each expert, rising, and with what weight.
    fn routes(&self, logits: &[Vec<f32>]) -> Vec<Vec<(u32, f32)>> {
        let mut routes = vec![Vec::new(); self.experts.len()];
        for (row, logits) in (0u32..).zip(logits) {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
            let mut order: Vec<usize> = (0..weights.len()).collect();
            // Equal ones by lower number.
            order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
            order.truncate(self.chosen);
            let whole: f32 = if self.normalised {
                order.iter().map(|expert| weights[*expert]).sum()
            } else {
                weights.iter().sum()
            };
            for expert in order {
                routes[expert].push((row, weights[expert] / whole));
            }
        }
        routes
    }
}
