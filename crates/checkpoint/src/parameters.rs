//! Which tensors of the files make up each parameter of the decoder.

use crate::Mlp;
use crate::family::{Block, MlpLayout, NormKind, QkNorm, QkvLayout};
use crate::spec::{DecoderSpec, Positions};

/// How a stored tensor becomes part of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As it is.
    AsStored,
    /// Transposed: `[in, out]` to `[out, in]`.
    Transposed,
    /// The even rows of each head before the odd ones: interleaved RoPE as half-split RoPE.
    Sorted {
        /// Rows of a head.
        head_dim: usize,
        /// Numbers of a row.
        columns: usize,
    },
    /// From query, key and value of each head to all queries, all keys, all values.
    Regrouped {
        /// Rows of a head.
        head_dim: usize,
        /// Numbers of a row.
        columns: usize,
    },
}

/// A tensor of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its shape as stored.
    pub shape: Vec<usize>,
    /// How it is taken.
    pub order: Order,
}

/// A parameter: tensors one below the other, along their first dimension after ordering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The tensors.
    pub sources: Vec<Source>,
    /// The shape of the whole.
    pub shape: Vec<usize>,
}

/// A matrix product's weight `[out, in]` and bias `[out]`.
#[derive(Clone, Debug)]
pub struct Product {
    /// The weight.
    pub weight: Parameter,
    /// The bias.
    pub bias: Option<Parameter>,
}

/// A norm's weight and bias, where it has them.
#[derive(Clone, Debug)]
pub struct NormParameters {
    /// The weight; one plus it where the spec says so.
    pub weight: Option<Parameter>,
    /// The bias.
    pub bias: Option<Parameter>,
}

/// Gate and up as one product, and down.
#[derive(Clone, Debug)]
pub struct MlpParameters {
    /// `[2 · size, hidden]`, gate first; `[size, hidden]` without a gate.
    pub up: Product,
    /// `[hidden, size]`.
    pub down: Product,
}

/// A mixture of experts.
#[derive(Clone, Debug)]
pub struct ExpertParameters {
    /// `[experts, hidden]`.
    pub router: Product,
    /// By expert.
    pub experts: Vec<MlpParameters>,
    /// The expert that every row goes through, and its gate `[1, hidden]`.
    pub shared: Option<(MlpParameters, Product)>,
}

/// The MLP of a layer.
#[derive(Clone, Debug)]
pub enum MlpKind {
    /// One for all rows.
    Dense(MlpParameters),
    /// A mixture.
    Experts(Box<ExpertParameters>),
}

/// The parameters of a layer.
#[derive(Clone, Debug)]
pub struct LayerParameters {
    /// Before attention.
    pub input_norm: Option<NormParameters>,
    /// `[(heads + 2 · kv_heads) · head_dim, hidden]`.
    pub qkv: Product,
    /// Of queries and keys: as wide as both.
    pub qk_norm: Option<Parameter>,
    /// `[hidden, heads · head_dim]`.
    pub output: Product,
    /// After attention.
    pub attention_out_norm: Option<NormParameters>,
    /// Before the MLP.
    pub mlp_norm: Option<NormParameters>,
    /// The MLP.
    pub mlp: MlpKind,
    /// After the MLP.
    pub mlp_out_norm: Option<NormParameters>,
}

/// The parameters around the layers.
#[derive(Clone, Debug)]
pub struct OuterParameters {
    /// `[vocabulary, hidden]`.
    pub embedding: Parameter,
    /// `[positions, hidden]`, where positions are learned.
    pub positions: Option<Parameter>,
    /// Before the head.
    pub final_norm: NormParameters,
    /// `[vocabulary, hidden]`, where it is not the embedding.
    pub head: Option<Parameter>,
}

impl Parameter {
    fn one(name: String, shape: Vec<usize>, order: Order) -> Self {
        let whole = match order {
            Order::Transposed => shape.iter().rev().copied().collect(),
            _ => shape.clone(),
        };
        Self {
            sources: vec![Source { name, shape, order }],
            shape: whole,
        }
    }

    fn stacked(parts: Vec<Self>) -> Self {
        let mut shape = parts[0].shape.clone();
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
        Self {
            sources: parts.into_iter().flat_map(|part| part.sources).collect(),
            shape,
        }
    }
}

impl Order {
    /// The order of a vector that has one number for each row of a matrix.
    pub(crate) fn of_vector(self) -> Self {
        match self {
            Self::AsStored | Self::Transposed => Self::AsStored,
            Self::Sorted { head_dim, .. } => Self::Sorted {
                head_dim,
                columns: 1,
            },
            Self::Regrouped { head_dim, .. } => Self::Regrouped {
                head_dim,
                columns: 1,
            },
        }
    }
}

impl DecoderSpec {
    /// The family's name of what a checkpoint calls otherwise.
    pub(crate) fn renamed(&self, name: &str) -> String {
        let renamed = self.renames.iter().find_map(|(from, to)| {
            name.strip_prefix(from.as_str())
                .map(|rest| format!("{to}{rest}"))
                // A module is named without the dot that its parts begin with.
                .or_else(|| {
                    (format!("{name}.") == *from).then(|| to.trim_end_matches('.').to_owned())
                })
        });
        renamed.unwrap_or_else(|| name.to_owned())
    }

    /// Whether a tensor is stored as `[in, out]`.
    pub(crate) fn is_transposed(&self, name: &str) -> bool {
        let within = name.starts_with(&self.names.layer);
        within && self.qkv == QkvLayout::Transposed
    }

    /// The parameters around the layers.
    pub fn outer(&self) -> OuterParameters {
        let names = &self.names;
        let table = |name: &str, rows: usize| {
            Parameter::one(
                format!("{name}.weight"),
                vec![rows, self.hidden_size],
                Order::AsStored,
            )
        };
        OuterParameters {
            embedding: table(&names.embedding, self.vocab_size),
            positions: (self.positions == Positions::Learned)
                .then(|| table(&names.positions, self.max_positions)),
            final_norm: self.norm_parameters(&names.final_norm),
            head: (!self.tied_head).then(|| table(&names.head, self.vocab_size)),
        }
    }

    /// The parameters of a layer.
    ///
    /// # Panics
    /// Where there is no such layer.
    pub fn layer(&self, index: usize) -> LayerParameters {
        let names = &self.names;
        let of_layer = |part: &str| format!("{}.{index}.{part}", names.layer);
        let norm = |part: &str| Some(self.norm_parameters(&of_layer(part)));
        let before = self.block != Block::Post;
        let after = self.block != Block::Pre;
        let mlp_norm = match (self.block, self.parallel) {
            (Block::Post, _) | (_, Some(0 | 1)) => None,
            (Block::Sandwich, _) => norm("pre_feedforward_layernorm"),
            (Block::Pre, _) => norm(&names.mlp_norm),
        };
        LayerParameters {
            input_norm: before.then(|| norm(&names.input_norm)).flatten(),
            qkv: self.qkv_product(&of_layer),
            qk_norm: self.qk_norm_parameter(&of_layer),
            output: product(
                &of_layer(&names.output),
                self.hidden_size,
                self.query_width(),
                if self.qkv == QkvLayout::Transposed {
                    Order::Transposed
                } else {
                    Order::AsStored
                },
                self.output_bias,
            ),
            attention_out_norm: after.then(|| norm(&names.attention_out_norm)).flatten(),
            mlp_norm,
            mlp: self.mlp_kind(index, &of_layer),
            mlp_out_norm: after.then(|| norm(&names.mlp_out_norm)).flatten(),
        }
    }

    /// Every tensor that a checkpoint of this shape has, with its shape as stored, under the names of transformers.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |parameter: &Parameter| {
            for source in &parameter.sources {
                // One tensor may stand for all heads.
                if tensors.last().is_none_or(|(name, _)| *name != source.name) {
                    tensors.push((source.name.clone(), source.shape.clone()));
                }
            }
        };
        let outer = self.outer();
        add(&outer.embedding);
        outer.positions.iter().for_each(&mut add);
        outer.final_norm.each(&mut add);
        outer.head.iter().for_each(&mut add);
        for index in 0..self.layers.len() {
            self.layer(index).each(&mut add);
        }
        tensors
    }

    fn norm_parameters(&self, name: &str) -> NormParameters {
        let vector = |ending: &str| {
            Parameter::one(
                format!("{name}.{ending}"),
                vec![self.hidden_size],
                Order::AsStored,
            )
        };
        NormParameters {
            weight: (self.norm != NormKind::LayerPlain).then(|| vector("weight")),
            bias: (self.norm == NormKind::Layer).then(|| vector("bias")),
        }
    }

    fn qkv_product(&self, of_layer: &impl Fn(&str) -> String) -> Product {
        let (names, hidden, head_dim) = (&self.names, self.hidden_size, self.head_dim);
        let width = self.query_width() + 2 * self.kv_width();
        let one = |order| product(&of_layer(&names.qkv), width, hidden, order, self.qkv_bias);
        match self.qkv {
            QkvLayout::Stacked => one(Order::AsStored),
            QkvLayout::ByHead => one(Order::Regrouped {
                head_dim,
                columns: hidden,
            }),
            QkvLayout::Transposed => one(Order::Transposed),
            QkvLayout::Split => {
                let turned = self.sorted(hidden);
                let parts = [
                    (&names.query, self.query_width(), turned),
                    (&names.key, self.kv_width(), turned),
                    (&names.value, self.kv_width(), Order::AsStored),
                ];
                stack(parts.map(|(name, outer, order)| {
                    product(&of_layer(name), outer, hidden, order, self.qkv_bias)
                }))
            }
        }
    }

    /// The order of what is rotated.
    fn sorted(&self, columns: usize) -> Order {
        match self.positions {
            Positions::Rotary {
                interleaved: true, ..
            } => Order::Sorted {
                head_dim: self.head_dim,
                columns,
            },
            _ => Order::AsStored,
        }
    }

    fn qk_norm_parameter(&self, of_layer: &impl Fn(&str) -> String) -> Option<Parameter> {
        let head_dim = self.head_dim;
        let turned = self.sorted(1);
        let of = |name: &str, heads: usize| -> Option<Vec<Parameter>> {
            let name = of_layer(name);
            let weight = format!("{name}.weight");
            Some(match self.qk_norm {
                QkNorm::None => return None,
                // One weight for all heads: written out, since the norm has one as wide as all of them.
                QkNorm::Head => (0..heads)
                    .map(|_| Parameter::one(weight.clone(), vec![head_dim], turned))
                    .collect(),
                QkNorm::Tensor => {
                    vec![Parameter::one(weight, vec![heads * head_dim], turned)]
                }
                QkNorm::EachHead => {
                    let mut one = Parameter::one(weight, vec![heads, head_dim], turned);
                    one.shape = vec![heads * head_dim];
                    vec![one]
                }
                QkNorm::EachHeadListed => (0..heads)
                    .map(|head| {
                        Parameter::one(
                            format!("{name}.norms.{head}.weight"),
                            vec![head_dim],
                            turned,
                        )
                    })
                    .collect(),
            })
        };
        let mut parts = of(&self.names.query_norm, self.heads)?;
        parts.extend(of(&self.names.key_norm, self.kv_heads)?);
        Some(Parameter::stacked(parts))
    }

    fn mlp_kind(&self, index: usize, of_layer: &impl Fn(&str) -> String) -> MlpKind {
        let names = &self.names;
        match self.layers[index].mlp {
            Mlp::Dense { size } => {
                let name = |part: &str| of_layer(part);
                MlpKind::Dense(match self.mlp {
                    MlpLayout::Gated => {
                        self.gated(name(&names.gate), name(&names.up), &name(&names.down), size)
                    }
                    MlpLayout::GatedStacked => {
                        self.ungated(&name(&names.gate_up), &name(&names.down), 2 * size, size)
                    }
                    MlpLayout::Plain | MlpLayout::PlainTransposed => {
                        self.ungated(&name(&names.up), &name(&names.down), size, size)
                    }
                })
            }
            Mlp::Experts {
                count,
                size,
                shared,
                ..
            } => {
                let expert = |number: usize| {
                    let name = |part: &str| of_layer(&format!("{}.{number}.{part}", names.expert));
                    self.gated(
                        name(&names.expert_gate),
                        name(&names.expert_up),
                        &name(&names.expert_down),
                        size,
                    )
                };
                let hidden = self.hidden_size;
                let narrow = |name: &str, outer: usize| {
                    product(&of_layer(name), outer, hidden, Order::AsStored, false)
                };
                MlpKind::Experts(Box::new(ExpertParameters {
                    router: narrow(&names.router, count),
                    experts: (0..count).map(expert).collect(),
                    shared: shared.map(|size| {
                        let name =
                            |part: &str| of_layer(&format!("{}.{part}", names.shared_expert));
                        (
                            self.gated(
                                name("gate_proj"),
                                name("up_proj"),
                                &name("down_proj"),
                                size,
                            ),
                            narrow(&names.shared_expert_gate, 1),
                        )
                    }),
                }))
            }
        }
    }

    fn gated(&self, gate: String, up: String, down: &str, size: usize) -> MlpParameters {
        let hidden = self.hidden_size;
        let bias = self.mlp_bias;
        MlpParameters {
            up: stack([gate, up].map(|name| product(&name, size, hidden, Order::AsStored, bias))),
            down: product(down, hidden, size, Order::AsStored, bias),
        }
    }

    fn ungated(&self, up: &str, down: &str, outer: usize, size: usize) -> MlpParameters {
        let order = if self.mlp == MlpLayout::PlainTransposed {
            Order::Transposed
        } else {
            Order::AsStored
        };
        let hidden = self.hidden_size;
        MlpParameters {
            up: product(up, outer, hidden, order, self.mlp_bias),
            down: product(down, hidden, size, order, self.mlp_bias),
        }
    }
}

fn product(name: &str, outer: usize, inner: usize, order: Order, bias: bool) -> Product {
    let shape = if order == Order::Transposed {
        vec![inner, outer]
    } else {
        vec![outer, inner]
    };
    let vector = order.of_vector();
    Product {
        bias: bias.then(|| Parameter::one(format!("{name}.bias"), vec![outer], vector)),
        weight: Parameter::one(format!("{name}.weight"), shape, order),
    }
}

fn stack<const N: usize>(parts: [Product; N]) -> Product {
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for part in parts {
        weights.push(part.weight);
        biases.extend(part.bias);
    }
    Product {
        weight: Parameter::stacked(weights),
        bias: (!biases.is_empty()).then(|| Parameter::stacked(biases)),
    }
}

impl NormParameters {
    fn each(&self, see: &mut impl FnMut(&Parameter)) {
        self.weight.iter().for_each(&mut *see);
        self.bias.iter().for_each(see);
    }
}

impl Product {
    fn each(&self, see: &mut impl FnMut(&Parameter)) {
        see(&self.weight);
        self.bias.iter().for_each(see);
    }
}

impl LayerParameters {
    fn each(&self, see: &mut impl FnMut(&Parameter)) {
        let norms = [
            &self.input_norm,
            &self.attention_out_norm,
            &self.mlp_norm,
            &self.mlp_out_norm,
        ];
        for norm in norms.into_iter().flatten() {
            norm.each(see);
        }
        self.qkv.each(see);
        self.qk_norm.iter().for_each(&mut *see);
        self.output.each(see);
        let mlp = |mlp: &MlpParameters, see: &mut _| {
            mlp.up.each(see);
            mlp.down.each(see);
        };
        match &self.mlp {
            MlpKind::Dense(dense) => mlp(dense, see),
            MlpKind::Experts(mixture) => {
                mixture.router.each(see);
                for expert in &mixture.experts {
                    mlp(expert, see);
                }
                if let Some((shared, gate)) = &mixture.shared {
                    mlp(shared, see);
                    gate.each(see);
                }
            }
        }
    }
}
