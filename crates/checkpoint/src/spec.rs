//! The shape of a decoder, read from `config.json` and the family tables.

use crate::config::{Keys, not_quantised, settled};
use crate::family::{Block, MlpLayout, Names, NormKind, PositionKind, QkNorm, QkvLayout};
use crate::layers::{LayerSpec, Mlp, layers, runs_of_layers};
use crate::rope::{Rope, ropes};
use crate::{CheckpointError, Family, families};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// The function between the two products of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// `x · Φ(x)`.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// Where a token's position comes in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learned vector added to each embedding.
    Learned,
    /// Queries and keys are rotated.
    Rotary {
        /// In layers without a window, or in all.
        global: Rope,
        /// In layers with a window, where it differs.
        #[serde(skip_serializing_if = "Option::is_none")]
        local: Option<Rope>,
        /// Whether neighbouring dimensions are paired as stored; they are sorted at load.
        interleaved: bool,
    },
}

/// One decoder, described by data.
#[expect(clippy::struct_excessive_bools, reason = "each is a knob of its own")]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecoderSpec {
    /// The `architectures` entry.
    pub architecture: String,
    /// The family that it belongs to.
    pub family: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub heads: usize,
    /// KV heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Context length in tokens.
    pub max_positions: usize,
    /// What norms compute.
    pub norm: NormKind,
    /// Added to the mean square or the variance.
    pub norm_eps: f64,
    /// Where norms stand.
    pub block: Block,
    /// How many norms stand before attention and MLP that run side by side; `None` where they run one after the other.
    pub parallel: Option<usize>,
    /// Where positions come in.
    pub positions: Positions,
    /// How queries, keys and values are stored.
    pub qkv: QkvLayout,
    /// Whether they have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output has a bias.
    pub output_bias: bool,
    /// Whether queries and keys are normed.
    pub qk_norm: QkNorm,
    /// The bound that queries, keys and values are clipped to.
    pub qkv_clip: Option<f64>,
    /// Scores are `cap · tanh(score / cap)`.
    pub attention_softcap: Option<f64>,
    /// How the MLP is stored.
    pub mlp: MlpLayout,
    /// Whether its products have biases.
    pub mlp_bias: bool,
    /// Its activation.
    pub activation: Activation,
    /// What embeddings are multiplied by.
    pub embedding_scale: f64,
    /// What is added to the residual stream is multiplied by this first.
    pub residual_scale: f64,
    /// What logits are multiplied by.
    pub logit_scale: f64,
    /// Logits are `cap · tanh(logit / cap)`.
    pub logit_softcap: Option<f64>,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// The layers.
    #[serde(serialize_with = "runs_of_layers")]
    pub layers: Vec<LayerSpec>,
    /// Whether rows and norms are as GGUF files store them.
    #[serde(skip)]
    pub(crate) from_gguf: bool,
    /// What tensors are called.
    #[serde(skip)]
    pub(crate) names: Names,
    /// Beginnings of tensor names and what they stand for.
    #[serde(skip)]
    pub(crate) renames: Vec<(String, String)>,
    /// Beginnings of names of tensors that are not read.
    #[serde(skip)]
    pub(crate) unread: Vec<String>,
}

impl DecoderSpec {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`CheckpointError::UnknownArchitecture`] and [`CheckpointError::Config`].
    pub fn from_config(path: &Path, config: &Map<String, Value>) -> Result<Self, CheckpointError> {
        let (family, architecture) = family_of(path, config)?;
        let (prefix, inner) = decoder_config(path, config, &family, &architecture)?;
        let keys = settled(path, &prefix, &inner, &family)?;
        let wiring = &family.wiring;

        let hidden_size = keys.needed_count("hidden_size")?;
        let heads = keys.needed_count("num_attention_heads")?;
        let kv_heads = keys.count("num_key_value_heads")?.unwrap_or(heads);
        let head_dim = match keys.count("head_dim")? {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => return Err(keys.error("num_attention_heads", "does not divide `hidden_size`")),
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(keys.error(
                "num_key_value_heads",
                "does not divide `num_attention_heads`",
            ));
        }
        if !head_dim.is_multiple_of(2) && wiring.positions == PositionKind::Rotary {
            return Err(keys.error("head_dim", "is odd; RoPE needs pairs"));
        }
        if heads > 1 << 12 {
            return Err(keys.error("num_attention_heads", "is over 2^12"));
        }
        if heads * head_dim > 1 << 20 {
            return Err(keys.error("head_dim", "times `num_attention_heads` is over 2^20"));
        }
        let positions = if wiring.positions == PositionKind::Learned {
            Positions::Learned
        } else {
            let (global, local) = ropes(&keys, &family, head_dim)?;
            Positions::Rotary {
                global,
                local,
                interleaved: wiring.interleaved_rope,
            }
        };
        let qk_norm = match &wiring.qk_norm_if {
            Some(key) if keys.flag(key)? != Some(true) => QkNorm::None,
            _ => wiring.qk_norm,
        };
        let embedding_scale = match wiring.embedding_scale.as_deref() {
            None => 1.0,
            Some("root_of_width") => (hidden_size as f64).sqrt(),
            Some(key) => keys.needed_number(key)?,
        };
        let norm_eps = match wiring.norm_eps {
            Some(eps) => eps,
            None => match keys.number("rms_norm_eps")? {
                Some(eps) => eps,
                None => keys.needed_number("layer_norm_eps")?,
            },
        };
        let parallel = keys.switch(&wiring.parallel)?;
        Ok(Self {
            layers: layers(&keys, &family, head_dim)?,
            vocab_size: keys.needed_count("vocab_size")?,
            hidden_size,
            heads,
            kv_heads,
            head_dim,
            max_positions: if wiring.positions == PositionKind::Learned {
                keys.needed_count("max_position_embeddings")?
            } else {
                keys.needed_length("max_position_embeddings")?
            },
            norm: wiring.norm,
            norm_eps,
            block: wiring.block,
            parallel: parallel.then_some(wiring.parallel_norms.max(1)),
            positions,
            qkv: wiring.qkv,
            qkv_bias: keys.switch(&wiring.qkv_bias)?,
            output_bias: keys.switch(&wiring.output_bias)?,
            qk_norm,
            qkv_clip: keys.number("clip_qkv")?,
            attention_softcap: keys.number("attn_logit_softcapping")?,
            mlp: wiring.mlp,
            mlp_bias: keys.switch(&wiring.mlp_bias)?,
            activation: activation(&keys, &family)?,
            embedding_scale,
            residual_scale: keys.number("residual_multiplier")?.unwrap_or(1.0),
            logit_scale: match keys.number("logits_scaling")? {
                Some(divisor) => 1.0 / divisor,
                None => keys.number("logit_scale")?.unwrap_or(1.0),
            },
            logit_softcap: keys.number("final_logit_softcapping")?,
            // A wrapper around the decoder has the last word.
            tied_head: if prefix.is_empty() {
                keys.flag("tie_word_embeddings")?.unwrap_or(true)
            } else {
                let outer = config.get("tie_word_embeddings").and_then(Value::as_bool);
                outer.unwrap_or(true)
            },
            architecture,
            from_gguf: false,
            names: family.names.clone(),
            renames: family.renames.clone(),
            unread: family.unread.clone(),
            family: family.family,
        })
    }

    /// The longest sequence that the checkpoint is made for, in tokens.
    pub fn context_length(&self) -> usize {
        let reach = match &self.positions {
            Positions::Learned => 1.0,
            Positions::Rotary { global, local, .. } => global
                .reach()
                .min(local.as_ref().map_or(f64::MAX, Rope::reach)),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive length; a factor that is too large saturates"
        )]
        let length = (self.max_positions as f64 * reach) as usize;
        length.max(self.max_positions)
    }

    /// The shortest length whose sequences are rotated as those of this length are; sequences of one class share rows.
    pub fn length_class(&self, length: usize) -> usize {
        match &self.positions {
            Positions::Learned => 0,
            Positions::Rotary { global, local, .. } => {
                let local = local.as_ref().map_or(0, |rope| rope.length_class(length));
                global.length_class(length).max(local)
            }
        }
    }

    /// Width of queries of all heads.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of keys of all KV heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Whether rows go through some of many experts.
    pub fn has_experts(&self) -> bool {
        let mut mlps = self.layers.iter().map(|layer| &layer.mlp);
        mlps.any(|mlp| matches!(mlp, Mlp::Experts { .. }))
    }

    /// The number of weights, the head counted once where it is tied.
    pub fn parameters(&self) -> usize {
        self.tensors()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Floating-point operations of the matrix products of a pass of so many rows, of which some go on in the last layer; head not counted
    /// (a multiplication and an addition are two); of experts, those that rows go through.
    pub fn pass_flops(&self, rows: usize, finishing: usize) -> u64 {
        let last = self.layers.len() - 1;
        let products = (0..=last).map(|index| {
            let (qkv, output, mlp) = self.row_products(index);
            let finishing = if index == last { finishing } else { rows };
            (rows * qkv + finishing * (output + mlp)) as u64
        });
        2 * products.sum::<u64>()
    }

    /// Floating-point operations of the head for so many rows.
    pub fn head_flops(&self, rows: usize) -> u64 {
        2 * (rows * self.vocab_size * self.hidden_size) as u64
    }

    /// Weights of one layer that multiply each row, attention's products apart from the MLP's.
    ///
    /// # Shapes
    /// Returns `(queries, keys and values; attention's output; MLP)`. Of experts, the chosen ones and the router count.
    pub fn row_products(&self, layer: usize) -> (usize, usize, usize) {
        let hidden = self.hidden_size;
        let products = if self.mlp.is_gated() { 3 } else { 2 };
        let mlp = match self.layers[layer].mlp {
            Mlp::Dense { size } => products * hidden * size,
            Mlp::Experts {
                count,
                chosen,
                size,
                shared,
                ..
            } => {
                hidden * count
                    + products * hidden * (chosen * size + shared.unwrap_or(0))
                    + shared.map_or(0, |_| hidden)
            }
        };
        (
            hidden * (self.query_width() + 2 * self.kv_width()),
            hidden * self.query_width(),
            mlp,
        )
    }
}

/// The family that `architectures` names; some exports have `model_type` alone.
fn family_of(
    path: &Path,
    config: &Map<String, Value>,
) -> Result<(Family, String), CheckpointError> {
    let known = families();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
    let architectures = config.get("architectures").and_then(Value::as_array);
    let mut architecture = text(architectures.and_then(|list| list.first()));
    if architecture.is_empty() {
        let model_type = text(config.get("model_type"));
        let family = known
            .iter()
            .find(|family| family.family == model_type || family.model_types.contains(&model_type));
        architecture = family
            .and_then(|family| family.architectures.first().cloned())
            .unwrap_or_default();
    }
    let belongs = |family: &Family| {
        let mut names = family.all_architectures();
        names.any(|name| *name == architecture)
    };
    let supported: Vec<&str> = known
        .iter()
        .flat_map(Family::all_architectures)
        .map(String::as_str)
        .collect();
    let supported = supported.join(", ");
    match known.into_iter().find(belongs) {
        Some(family) => Ok((family, architecture)),
        None => Err(CheckpointError::UnknownArchitecture {
            path: path.to_owned(),
            architecture,
            supported,
        }),
    }
}

/// The decoder's own config, and the keys that lead to it.
fn decoder_config(
    path: &Path,
    config: &Map<String, Value>,
    family: &Family,
    architecture: &str,
) -> Result<(String, Map<String, Value>), CheckpointError> {
    match &family.nested {
        Some(nested) if nested.architecture == architecture => {
            let inner = config.get(&nested.key).and_then(Value::as_object);
            let inner = inner.ok_or_else(|| CheckpointError::Config {
                path: path.to_owned(),
                key: nested.key.clone(),
                problem: "is missing".to_owned(),
            })?;
            // A wrapper around the decoder is quantised as a whole.
            not_quantised(path, config)?;
            Ok((format!("{}.", nested.key), inner.clone()))
        }
        _ => Ok((String::new(), config.clone())),
    }
}

fn activation(keys: &Keys<'_>, family: &Family) -> Result<Activation, CheckpointError> {
    let name = keys
        .text("hidden_act")?
        .ok_or_else(|| keys.error("hidden_act", "is missing"))?;
    let name = family.activations.get(&name).unwrap_or(&name);
    match name.as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(keys.error(
            "hidden_act",
            format!(
                "is `{other}`; silu, gelu, gelu_new, gelu_pytorch_tanh and relu are implemented"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rope::Scaling;
    use serde_json::json;

    fn spec_of(
        architecture: &str,
        change: impl Fn(&mut Map<String, Value>),
    ) -> Result<DecoderSpec, String> {
        let mut config = json!({
            "architectures": [architecture], "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 48
        });
        change(config.as_object_mut().unwrap());
        DecoderSpec::from_config(Path::new("config.json"), config.as_object().unwrap())
            .map_err(|e| e.to_string())
    }

    fn spec(change: impl Fn(&mut Map<String, Value>)) -> Result<DecoderSpec, String> {
        spec_of("LlamaForCausalLM", change)
    }

    fn set(key: &'static str, value: Value) -> impl Fn(&mut Map<String, Value>) {
        move |config| {
            config.insert(key.into(), value.clone());
        }
    }

    fn plain(theta: f64) -> Positions {
        Positions::Rotary {
            global: Rope {
                theta,
                dimensions: 8,
                scaling: Scaling::Default,
            },
            local: None,
            interleaved: false,
        }
    }

    #[test]
    fn absent_keys_take_the_family_defaults() {
        let spec = spec(|_| {}).unwrap();
        assert_eq!(
            (spec.kv_heads, spec.head_dim, spec.max_positions),
            (4, 8, 2048)
        );
        assert_eq!(spec.positions, plain(10_000.0));
        assert!(!spec.tied_head && !spec.qkv_bias && !spec.mlp_bias);
        // Mistral has a window unless the config says that there is none.
        let window = |change: &dyn Fn(&mut Map<String, Value>)| {
            let spec = spec_of("MistralForCausalLM", |config| {
                set("num_key_value_heads", json!(2))(config);
                change(config);
            });
            spec.unwrap().layers[0].window
        };
        assert_eq!(window(&|_| {}), Some(4096));
        assert_eq!(window(&set("sliding_window", Value::Null)), None);
    }

    #[test]
    fn both_spellings_of_rope_are_read() {
        let old = spec(set("rope_theta", json!(5e5))).unwrap();
        let new = spec(set(
            "rope_parameters",
            json!({"rope_theta": 5e5, "rope_type": "default"}),
        ))
        .unwrap();
        assert_eq!(old.positions, new.positions);
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64});
        let old = spec(|config| {
            set("rope_theta", json!(5e5))(config);
            set("rope_scaling", llama3.clone())(config);
        });
        let mut with_theta = llama3.clone();
        with_theta["rope_theta"] = json!(5e5);
        assert_eq!(
            old.unwrap().positions,
            spec(set("rope_parameters", with_theta)).unwrap().positions
        );
    }

    #[test]
    fn what_would_change_the_numbers_is_refused_by_name() {
        for (key, value, part) in [
            (
                "architectures",
                json!(["MambaForCausalLM"]),
                "`MambaForCausalLM` is not supported",
            ),
            ("hidden_act", json!("tanh"), "key `hidden_act` is `tanh`"),
            (
                "rope_scaling",
                json!({"type": "axial", "factor": 2.0}),
                "`rope_scaling.rope_type` is `axial`",
            ),
            (
                "rope_scaling",
                json!({"type": "linear", "factor": 2.0, "temperature": 2}),
                "`rope_scaling.temperature` is not known",
            ),
            (
                "rope_scaling",
                json!({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}),
                "`rope_scaling.short_factor` has 1 numbers where 4 are needed",
            ),
            (
                "rope_parameters",
                json!({"rope_theta": 1e4, "partial_rotary_factor": 0.5}),
                "`rope_parameters.partial_rotary_factor` is 0.5",
            ),
            (
                "rope_scaling",
                json!({"rope_type": "llama3"}),
                "`rope_scaling.factor` is missing",
            ),
            ("attention_sink", json!(4), "`attention_sink` is not known"),
            (
                "partial_rotary_factor",
                json!(0.5),
                "`partial_rotary_factor` is not known",
            ),
            (
                "use_mrope",
                json!(true),
                "`use_mrope` is true; only false is implemented",
            ),
            ("quantization_config", json!({"bits": 4}), "quantised"),
            ("num_key_value_heads", json!(3), "does not divide"),
            ("head_dim", json!(7), "is odd"),
            ("hidden_size", json!("x"), "not a number"),
            ("hidden_size", json!(30), "does not divide `hidden_size`"),
            ("vocab_size", Value::Null, "`vocab_size` is missing"),
            (
                "hidden_size",
                json!(1u64 << 40),
                "not a number from 1 to 2^20",
            ),
            ("head_dim", json!(1 << 20), "is over 2^20"),
            ("num_hidden_layers", json!(1 << 19), "is over 2^12"),
        ] {
            let error = spec(set(key, value)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let both = spec(|config| {
            set("rope_theta", json!(1e4))(config);
            set(
                "rope_parameters",
                json!({"rope_theta": 5e5, "rope_type": "default"}),
            )(config);
        });
        assert!(
            both.unwrap_err()
                .contains("rope_parameters.rope_theta is 500000")
        );
    }

    #[test]
    fn each_family_refuses_what_it_does_not_know() {
        for (architecture, key, value, part) in [
            (
                "Qwen2ForCausalLM",
                "layer_types",
                json!(["full_attention"]),
                "`layer_types` has 1 entries for 2 layers",
            ),
            (
                "Qwen2ForCausalLM",
                "layer_types",
                json!(["full_attention", "chunked_attention"]),
                "`layer_types` names `chunked_attention`",
            ),
            (
                "MixtralForCausalLM",
                "num_experts_per_tok",
                json!(9),
                "is 9 of 8 experts",
            ),
            (
                "Gemma3ForConditionalGeneration",
                "vocab_size",
                json!(7),
                "`text_config` is missing",
            ),
            (
                "GPT2LMHeadModel",
                "n_embd",
                json!(64),
                "another name of it is 32",
            ),
        ] {
            let error = spec_of(architecture, |config| {
                set("num_key_value_heads", json!(4))(config);
                if architecture == "GPT2LMHeadModel" {
                    config.remove("num_key_value_heads");
                }
                set(key, value.clone())(config);
            });
            let error = error.unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn keys_that_change_nothing_are_passed_over() {
        let with = spec(|config| {
            set("torch_dtype", json!("bfloat16"))(config);
            set("initializer_range", json!(0.02))(config);
            set("use_mrope", json!(false))(config);
            set("some_future_key", Value::Null)(config);
        });
        assert_eq!(with.unwrap(), spec(|_| {}).unwrap());
    }

    #[test]
    fn the_model_type_stands_in_for_an_absent_architecture() {
        let named = spec(|config| {
            config.remove("architectures");
            config.insert("model_type".into(), json!("llama"));
        });
        assert_eq!(named.unwrap().architecture, "LlamaForCausalLM");
        let unnamed = spec(|config| {
            config.remove("architectures");
        });
        assert!(
            unnamed
                .unwrap_err()
                .contains("architecture `` is not supported")
        );
    }

    #[test]
    fn equal_layers_are_written_once() {
        let spec = spec_of("Gemma2ForCausalLM", |config| {
            set("num_hidden_layers", json!(5))(config);
        });
        let written = serde_json::to_value(spec.unwrap()).unwrap();
        let layers = written["layers"].as_object().unwrap();
        assert_eq!(layers.keys().collect::<Vec<_>>(), ["0,2,4", "1,3"]);
        assert_eq!(layers["0,2,4"]["window"], 4096);
    }

    #[test]
    fn parameters_are_counted() {
        // SmolLM2-135M: 134,515,008 weights.
        let spec = spec(|config| {
            for (key, value) in [
                ("vocab_size", 49152),
                ("hidden_size", 576),
                ("num_hidden_layers", 30),
                ("num_attention_heads", 9),
                ("num_key_value_heads", 3),
                ("intermediate_size", 1536),
            ] {
                config.insert(key.into(), json!(value));
            }
            config.insert("tie_word_embeddings".into(), json!(true));
        });
        assert_eq!(spec.unwrap().parameters(), 134_515_008);
    }
}
