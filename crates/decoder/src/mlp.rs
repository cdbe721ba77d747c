//! The MLP of a layer: one for all rows, or a mixture of experts.

use crate::DecoderError;
use crate::parameters::{Linear, Loader};
use concord_checkpoint::{
    Activation, DecoderSpec, ExpertParameters, Mlp as MlpSpec, MlpKind, MlpParameters,
};
use concord_kernels::{Choosing, Engine, Experts, KernelError, RowUse, Rows, Weight};
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
    router: Arc<Weight>,
    experts: Vec<Dense>,
    /// The same on a device that takes rows through all of them together.
    together: Option<Experts>,
    /// The expert that every row goes through, and its gate `[1, hidden]`.
    shared: Option<(Dense, Arc<Weight>)>,
    choosing: Choosing,
    activation: concord_kernels::Activation,
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
    pub fn forward(&self, engine: &Engine, x: &Rows) -> Result<Rows, KernelError> {
        match &self.0 {
            Kind::Dense(dense) => dense.forward(engine, x),
            Kind::Mixture(mixture) => mixture.forward(engine, x),
        }
    }

    /// Adds `scale` times the result to the residual stream.
    pub fn add_forward(
        &self,
        engine: &Engine,
        x: &Rows,
        scale: f64,
        hidden: &mut Rows,
    ) -> Result<(), KernelError> {
        match &self.0 {
            Kind::Dense(dense) => {
                let (inner, down) = (dense.inner(engine, x)?, &dense.down);
                engine.add_product(&down.weight, &inner, down.bias.as_ref(), scale, hidden)
            }
            Kind::Mixture(mixture) => {
                let sums = mixture.forward(engine, x)?;
                engine.add_scaled(hidden, &sums, scale)
            }
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
    fn inner(&self, engine: &Engine, x: &Rows) -> Result<Rows, KernelError> {
        let bias = self.up.bias.as_ref();
        engine.activated(&self.up.weight, x, bias, self.activation)
    }

    fn forward(&self, engine: &Engine, x: &Rows) -> Result<Rows, KernelError> {
        let inner = self.inner(engine, x)?;
        engine.wide_product(&self.down.weight, &inner, self.down.bias.as_ref())
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
        let (choices, normalised) = match loader.spec.layers[layer].mlp {
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
        let experts = parameters.experts.iter().enumerate();
        let experts = experts.map(|(number, expert)| {
            Dense::load(loader, expert, base.map(|base| &base.experts[number]))
        });
        let experts: Vec<Dense> = experts.collect::<Result<_, _>>()?;
        let is_biased = |expert: &Dense| expert.up.bias.is_some() || expert.down.bias.is_some();
        let together = if experts.iter().any(is_biased) {
            None
        } else {
            let weights = |expert: &Dense| [&expert.up.weight, &expert.down.weight].map(Arc::clone);
            loader
                .engine
                .experts(experts.iter().map(weights).collect())?
        };
        Ok(Self {
            router,
            experts,
            together,
            shared: shared.transpose()?,
            choosing: Choosing {
                choices,
                normalised,
            },
            activation: activation(loader.spec),
        })
    }

    /// Each row through its experts, whose outputs are added in the order of their numbers.
    ///
    /// # Source
    /// Shazeer et al. 2017; `MixtralSparseMoeBlock` and `Qwen2MoeSparseMoeBlock` of transformers.
    fn forward(&self, engine: &Engine, x: &Rows) -> Result<Rows, KernelError> {
        let logits = engine.wide_product(&self.router, x, None)?; // [rows, experts]
        let together = self
            .together
            .as_ref()
            .map(|experts| engine.mixture(x, &logits, experts, self.choosing, self.activation));
        let mut sums = match together.transpose()?.flatten() {
            Some(sums) => sums,
            None => self.one_by_one(engine, x, &logits)?,
        };
        if let Some((shared, gate)) = &self.shared {
            let gates = engine.wide_product(gate, x, None)?;
            engine.add_gated(&mut sums, &shared.forward(engine, x)?, &gates)?;
        }
        Ok(sums)
    }

    /// The same, each expert's rows by themselves.
    fn one_by_one(&self, engine: &Engine, x: &Rows, logits: &Rows) -> Result<Rows, KernelError> {
        let routes = self.routes(&logits.to_rows()?);
        let mut sums: Option<Rows> = None;
        for (expert, routed) in self.experts.iter().zip(&routes) {
            if routed.is_empty() {
                continue;
            }
            let (rows, weights): (Vec<u32>, Vec<f32>) = routed.iter().copied().unzip();
            let out = expert.forward(engine, &engine.select(x, &rows, RowUse::Few)?)?;
            let sums = match &mut sums {
                Some(sums) => sums,
                none => none.insert(engine.zeros_like(x)?),
            };
            engine.add_weighted(sums, &out, Some(&rows), &weights)?;
        }
        match sums {
            Some(sums) => Ok(sums),
            None => engine.zeros_like(x),
        }
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
            order.truncate(self.choosing.choices);
            let whole: f32 = if self.choosing.normalised {
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
