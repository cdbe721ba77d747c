//! The shape of a decoder, read from `config.json` and the family tables.

use crate::CheckpointError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// A family of architectures: `models/families/*.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// The family's name.
    pub family: String,
    /// The `architectures` entries of `config.json` that belong to it.
    pub architectures: Vec<String>,
    /// What absent keys mean.
    pub defaults: Defaults,
}

/// What absent keys of `config.json` mean in one family.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Activation of the MLP.
    pub hidden_act: String,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// RoPE base.
    pub rope_theta: f64,
    /// Context length in tokens.
    pub max_position_embeddings: usize,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether the attention's products have biases.
    pub attention_bias: bool,
    /// Whether the MLP's products have biases.
    pub mlp_bias: bool,
}

/// The families this program knows, parsed from their embedded tables.
pub fn families() -> Vec<Family> {
    // A table that does not parse is caught by this module's tests.
    [include_str!("../../../models/families/llama.toml")]
        .iter()
        .filter_map(|text| toml::from_str(text).ok())
        .collect()
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rope {
    /// Frequencies `theta^(-2i/d)`.
    Default {
        /// The base.
        theta: f64,
    },
    /// Llama 3.1: low frequencies divided by a factor, with a smooth passage between.
    Llama3 {
        /// The base.
        theta: f64,
        /// What low frequencies are divided by.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are scaled.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are left alone.
        high_freq_factor: f64,
        /// The context length before scaling.
        original_max_position_embeddings: f64,
    },
}

/// One decoder, described by data.
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
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// KV heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the MLP.
    pub mlp_size: usize,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f64,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Context length in tokens.
    pub max_positions: usize,
    /// Whether the attention's products have biases.
    pub attention_bias: bool,
    /// Whether the MLP's products have biases.
    pub mlp_bias: bool,
    /// Whether the head is the embedding.
    pub tied_head: bool,
}

impl DecoderSpec {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`CheckpointError::UnknownArchitecture`] and [`CheckpointError::Config`].
    pub fn from_config(path: &Path, config: &Map<String, Value>) -> Result<Self, CheckpointError> {
        let keys = Keys {
            path,
            prefix: "",
            object: config,
        };
        let (family, architecture) = family_of(path, config)?;
        let defaults = &family.defaults;

        if config
            .get("quantization_config")
            .is_some_and(|value| !value.is_null())
        {
            return Err(keys.error(
                "quantization_config",
                "is set; quantised weights are not read",
            ));
        }
        let activation = keys.text("hidden_act")?.unwrap_or(&defaults.hidden_act);
        if activation != "silu" && activation != "swish" {
            return Err(keys.error(
                "hidden_act",
                format!("is `{activation}`; `silu` is implemented"),
            ));
        }
        let hidden_size = keys.needed_count("hidden_size")?;
        let heads = keys.needed_count("num_attention_heads")?;
        let kv_heads = keys.count("num_key_value_heads")?.unwrap_or(heads);
        let head_dim = match keys.count("head_dim")? {
            Some(head_dim) => head_dim,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => return Err(keys.error("num_attention_heads", "does not divide `hidden_size`")),
        };
        if heads % kv_heads != 0 {
            return Err(keys.error(
                "num_key_value_heads",
                "does not divide `num_attention_heads`",
            ));
        }
        if head_dim % 2 != 0 {
            return Err(keys.error("head_dim", "is odd; RoPE needs pairs"));
        }
        if heads * head_dim > 1 << 20 {
            return Err(keys.error("head_dim", "times `num_attention_heads` is over 2^20"));
        }
        let layers = keys.needed_count("num_hidden_layers")?;
        if layers > 1 << 12 {
            return Err(keys.error("num_hidden_layers", "is over 2^12"));
        }
        let max_positions = keys
            .count("max_position_embeddings")?
            .unwrap_or(defaults.max_position_embeddings);
        Ok(Self {
            rope: rope(&keys, defaults.rope_theta, max_positions)?,
            family: family.family.clone(),
            architecture,
            vocab_size: keys.needed_count("vocab_size")?,
            hidden_size,
            layers,
            heads,
            kv_heads,
            head_dim,
            mlp_size: keys.needed_count("intermediate_size")?,
            norm_eps: keys
                .number("rms_norm_eps")?
                .unwrap_or(defaults.rms_norm_eps),
            max_positions,
            attention_bias: keys
                .flag("attention_bias")?
                .unwrap_or(defaults.attention_bias),
            mlp_bias: keys.flag("mlp_bias")?.unwrap_or(defaults.mlp_bias),
            tied_head: keys
                .flag("tie_word_embeddings")?
                .unwrap_or(defaults.tie_word_embeddings),
        })
    }

    /// Every tensor that a checkpoint of this shape has, with its shape, under the names of transformers.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, mlp) = (self.hidden_size, self.mlp_size);
        let (query, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let table = vec![self.vocab_size, hidden];
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), table.clone()),
            ("model.norm.weight".to_owned(), vec![hidden]),
        ];
        if !self.tied_head {
            tensors.push(("lm_head.weight".to_owned(), table));
        }
        for layer in 0..self.layers {
            let name = |part: &str, ending: &str| format!("model.layers.{layer}.{part}.{ending}");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                tensors.push((name(norm, "weight"), vec![hidden]));
            }
            for (part, outer, inner, bias) in [
                ("self_attn.q_proj", query, hidden, self.attention_bias),
                ("self_attn.k_proj", kv, hidden, self.attention_bias),
                ("self_attn.v_proj", kv, hidden, self.attention_bias),
                ("self_attn.o_proj", hidden, query, self.attention_bias),
                ("mlp.gate_proj", mlp, hidden, self.mlp_bias),
                ("mlp.up_proj", mlp, hidden, self.mlp_bias),
                ("mlp.down_proj", hidden, mlp, self.mlp_bias),
            ] {
                tensors.push((name(part, "weight"), vec![outer, inner]));
                if bias {
                    tensors.push((name(part, "bias"), vec![outer]));
                }
            }
        }
        tensors
    }

    /// The number of weights, the head counted once where it is tied.
    pub fn parameters(&self) -> usize {
        self.tensors()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Weights that multiply each row in one layer.
    pub fn row_products(&self) -> usize {
        let (query, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        self.hidden_size * (2 * query + 2 * kv) + 3 * self.hidden_size * self.mlp_size
    }
}

/// The family that `architectures` names; some exports have `model_type` alone.
fn family_of(
    path: &Path,
    config: &Map<String, Value>,
) -> Result<(Family, String), CheckpointError> {
    let known = families();
    let supported: Vec<&str> = known
        .iter()
        .flat_map(|family| &family.architectures)
        .map(String::as_str)
        .collect();
    let supported = supported.join(", ");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
    let architectures = config.get("architectures").and_then(Value::as_array);
    let mut architecture = text(architectures.and_then(|list| list.first()));
    if architecture.is_empty() {
        let model_type = text(config.get("model_type"));
        let family = known.iter().find(|family| family.family == model_type);
        architecture = family
            .and_then(|family| family.architectures.first().cloned())
            .unwrap_or_default();
    }
    match known
        .into_iter()
        .find(|family| family.architectures.contains(&architecture))
    {
        Some(family) => Ok((family, architecture)),
        None => Err(CheckpointError::UnknownArchitecture {
            path: path.to_owned(),
            architecture,
            supported,
        }),
    }
}

/// RoPE from the transformers-5 spelling (`rope_parameters`) or the older one (`rope_theta`, `rope_scaling`).
fn rope(
    keys: &Keys<'_>,
    default_theta: f64,
    max_positions: usize,
) -> Result<Rope, CheckpointError> {
    let outer_theta = keys.number("rope_theta")?;
    let scaling = match keys.object("rope_parameters")? {
        Some(object) => Some(Keys {
            prefix: "rope_parameters.",
            object,
            ..*keys
        }),
        None => keys.object("rope_scaling")?.map(|object| Keys {
            prefix: "rope_scaling.",
            object,
            ..*keys
        }),
    };
    let Some(scaling) = scaling else {
        return Ok(Rope::Default {
            theta: outer_theta.unwrap_or(default_theta),
        });
    };
    let inner_theta = scaling.number("rope_theta")?;
    if let (Some(inner), Some(outer)) = (inner_theta, outer_theta)
        && (inner - outer).abs() > f64::EPSILON
    {
        return Err(keys.error(
            "rope_theta",
            format!("is {outer}, but rope_parameters.rope_theta is {inner}"),
        ));
    }
    let theta = inner_theta.or(outer_theta).unwrap_or(default_theta);
    let kind = match scaling.text("rope_type")? {
        Some(kind) => kind,
        None => scaling.text("type")?.unwrap_or("default"),
    };
    match kind {
        "default" => Ok(Rope::Default { theta }),
        "llama3" => Ok(Rope::Llama3 {
            theta,
            factor: scaling.needed_number("factor")?,
            low_freq_factor: scaling.needed_number("low_freq_factor")?,
            high_freq_factor: scaling.needed_number("high_freq_factor")?,
            original_max_position_embeddings: scaling
                .number("original_max_position_embeddings")?
                .unwrap_or(max_positions as f64),
        }),
        other => Err(scaling.error(
            "rope_type",
            format!("is `{other}`; `default` and `llama3` are implemented"),
        )),
    }
}

/// Typed access to the keys of one object of `config.json`.
#[derive(Clone, Copy)]
struct Keys<'a> {
    path: &'a Path,
    prefix: &'static str,
    object: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    fn error(&self, key: &str, problem: impl Into<String>) -> CheckpointError {
        CheckpointError::Config {
            path: self.path.to_owned(),
            key: format!("{}{key}", self.prefix),
            problem: problem.into(),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        self.get(key)
            .map(|value| {
                convert(value).ok_or_else(|| self.error(key, format!("is not {expected}: {value}")))
            })
            .transpose()
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, CheckpointError> {
        self.read(key, "text", Value::as_str)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        self.read(key, "true or false", Value::as_bool)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.read(key, "a positive number", |value| {
            value.as_f64().filter(|number| *number > 0.0)
        })
    }

    fn needed_number(&self, key: &str) -> Result<f64, CheckpointError> {
        self.number(key)?
            .ok_or_else(|| self.error(key, "is missing"))
    }

    fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, CheckpointError> {
        self.read(key, "an object", Value::as_object)
    }

    /// A size; bounded, so that a hostile file cannot make later arithmetic overflow (2^20 squared, times 2^12 layers).
    fn count(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.read(key, "a number from 1 to 2^20", |value| {
            value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|n| (1..=1 << 20).contains(n))
        })
    }

    fn needed_count(&self, key: &str) -> Result<usize, CheckpointError> {
        self.count(key)?
            .ok_or_else(|| self.error(key, "is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(change: impl Fn(&mut Map<String, Value>)) -> Result<DecoderSpec, String> {
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 48
        });
        change(config.as_object_mut().unwrap());
        DecoderSpec::from_config(Path::new("config.json"), config.as_object().unwrap())
            .map_err(|e| e.to_string())
    }

    fn set(key: &'static str, value: Value) -> impl Fn(&mut Map<String, Value>) {
        move |config| {
            config.insert(key.into(), value.clone());
        }
    }

    #[test]
    fn every_family_table_parses() {
        assert_eq!(families().len(), 1);
    }

    #[test]
    fn absent_keys_take_the_family_defaults() {
        let spec = spec(|_| {}).unwrap();
        assert_eq!(
            (spec.kv_heads, spec.head_dim, spec.max_positions),
            (4, 8, 2048)
        );
        assert_eq!(spec.rope, Rope::Default { theta: 10_000.0 });
        assert!(!spec.tied_head && !spec.attention_bias && !spec.mlp_bias);
    }

    #[test]
    fn both_spellings_of_rope_are_read() {
        let old = spec(set("rope_theta", json!(5e5))).unwrap();
        let new = spec(set(
            "rope_parameters",
            json!({"rope_theta": 5e5, "rope_type": "default"}),
        ))
        .unwrap();
        assert_eq!(old.rope, new.rope);
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64});
        let old = spec(|config| {
            set("rope_theta", json!(5e5))(config);
            set("rope_scaling", llama3.clone())(config);
        });
        let mut with_theta = llama3.clone();
        with_theta["rope_theta"] = json!(5e5);
        assert_eq!(
            old.unwrap().rope,
            spec(set("rope_parameters", with_theta)).unwrap().rope
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
            ("hidden_act", json!("gelu"), "key `hidden_act` is `gelu`"),
            (
                "rope_scaling",
                json!({"type": "dynamic", "factor": 2.0}),
                "`rope_scaling.rope_type` is `dynamic`",
            ),
            (
                "rope_scaling",
                json!({"rope_type": "llama3"}),
                "`rope_scaling.factor` is missing",
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
