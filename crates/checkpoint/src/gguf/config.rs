//! The decoder that a file's metadata describes.

use super::container::{Container, Value};
use super::{Architecture, Table};
use crate::family::NormKind;
use crate::rope::Scaling;
use crate::stored::{File, Place, Stored};
use crate::weights::Weights;
use crate::{CheckpointError, DecoderSpec, Positions};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Metadata that says how a file was made, or repeats what other keys say.
const INERT: [&str; 5] = [
    "attention.causal",
    "attention.value_length",
    "expert_count",
    "expert_used_count",
    "rope.dimension_count",
];

/// A file's decoder and weights.
pub(crate) struct Described {
    /// As a config.json would say it.
    pub config: Map<String, Json>,
    pub spec: DecoderSpec,
    pub weights: Weights,
}

/// Reads metadata as a config, and gives tensors the names of transformers.
///
/// # Errors
/// [`CheckpointError::Gguf`] for what is not supported, by key; those of [`DecoderSpec::from_config`].
pub(crate) fn describe(
    path: &Path,
    container: Container,
) -> Result<(Described, BTreeMap<String, Value>), CheckpointError> {
    let Container {
        metadata,
        places,
        files,
    } = container;
    let table = Table::load();
    let bad = |problem: String| CheckpointError::GgufNotRead {
        path: path.to_owned(),
        problem,
    };
    if let Some(kind) = metadata.get("general.type").and_then(Value::text)
        && kind != "model"
    {
        return Err(bad(format!("it holds no model (`general.type` is {kind})")));
    }
    let name = metadata
        .get("general.architecture")
        .and_then(Value::text)
        .unwrap_or_default();
    let Some(architecture) = table.architecture.get(name) else {
        let known: Vec<&str> = table.architecture.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(bad(format!("architecture `{name}`; {known} are read")));
    };
    let mut keys = Keys {
        name,
        metadata: &metadata,
        config: Map::new(),
    };
    keys.translate(&table)
        .and_then(|()| keys.are_needed())
        .map_err(bad)?;
    let has = |tensor: &str| places.contains_key(tensor);
    // A window in a Llama is a Mistral.
    let windowed = architecture.turned && keys.config.contains_key("sliding_window");
    let is = if windowed {
        "MistralForCausalLM"
    } else {
        &architecture.is
    };
    keys.config.insert("architectures".into(), json!([is]));
    keys.config
        .insert("tie_word_embeddings".into(), json!(!has("output.weight")));
    if !keys.config.contains_key("vocab_size") {
        let rows = places.get("token_embd.weight").map(|place| place.shape[0]);
        keys.config.insert("vocab_size".into(), json!(rows));
    }
    if architecture.turned && !windowed {
        let biased = has("blk.0.attn_q.bias");
        keys.config.insert("attention_bias".into(), json!(biased));
        let biased = has("blk.0.ffn_gate.bias");
        keys.config.insert("mlp_bias".into(), json!(biased));
    }
    keys.scores(architecture);
    let scaling = keys.scaling().map_err(bad)?;
    let kind = keys.own("rope.scaling.type").and_then(Value::text);
    let longrope = kind == Some("longrope");
    let config = keys.config;

    let mut spec = DecoderSpec::from_config(path, &config)?;
    spec.from_gguf = true;
    if architecture.norms_hold_one {
        spec.norm = NormKind::Rms;
    }
    let factors = factors(path, &files, &places)?;
    if let Positions::Rotary {
        global,
        interleaved,
        ..
    } = &mut spec.positions
    {
        *interleaved = architecture.turned;
        if longrope && factors.is_none() {
            return Err(bad("RoPE scaling `longrope` without its factors".to_owned()));
        }
        if let Some(scaling) = scaling.or(factors.map(|factors| factors.scaling(&metadata, name))) {
            global.scaling = scaling;
        }
        if let Scaling::Longrope {
            short_factor,
            long_factor,
            ..
        } = &global.scaling
            && (short_factor.len() != global.dimensions / 2
                || long_factor.len() != short_factor.len())
        {
            return Err(bad(format!(
                "{} RoPE factors for {} rotated dimensions",
                short_factor.len(),
                global.dimensions
            )));
        }
    }
    let weights = renamed(path, &table, architecture, files, places)?;
    let described = Described {
        config,
        spec,
        weights,
    };
    Ok((described, metadata))
}

/// Translates metadata keys into those of config.json.
struct Keys<'a> {
    name: &'a str,
    metadata: &'a BTreeMap<String, Value>,
    config: Map<String, Json>,
}

impl Keys<'_> {
    /// What llama.cpp reads otherwise, or not at all.
    fn are_needed(&self) -> Result<(), String> {
        if self.own("attention.causal").and_then(Value::flag) == Some(false) {
            return Err(format!(
                "`{}.attention.causal` is false: every token would see what follows it",
                self.name
            ));
        }
        if !self.config.contains_key("rms_norm_eps") {
            return Err(format!(
                "`{}.attention.layer_norm_rms_epsilon` is missing",
                self.name
            ));
        }
        Ok(())
    }

    fn own(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.name))
    }

    fn number(&self, key: &str) -> Option<f64> {
        let value = self.own(key)?;
        value.float().or_else(|| value.whole().map(|n| n as f64))
    }

    fn translate(&mut self, table: &Table) -> Result<(), String> {
        let prefix = format!("{}.", self.name);
        for (key, value) in self.metadata {
            // What stands elsewhere says who made the file, and how: llama.cpp reads none of it.
            let Some(own) = key.strip_prefix(&prefix) else {
                continue;
            };
            let experts = own == "expert_count" && value.whole() != Some(0);
            if experts {
                return Err(format!(
                    "key `{key}`: mixtures of experts are not read from GGUF"
                ));
            }
            let Some(name) = table.keys.get(own) else {
                if INERT.contains(&own) || own.starts_with("rope.scaling.") {
                    continue;
                }
                return Err(format!(
                    "key `{key}` is not known to this program and could change the numbers"
                ));
            };
            let value = match value {
                Value::Whole(number) => json!(u64::try_from(*number).unwrap_or(u64::MAX)),
                Value::Float(number) => json!(number),
                Value::List(list) => match list.first() {
                    Some(Value::Whole(number)) if list.iter().all(|value| *value == list[0]) => {
                        json!(u64::try_from(*number).unwrap_or(u64::MAX))
                    }
                    _ => return Err(format!("key `{key}` differs from layer to layer")),
                },
                other => return Err(format!("key `{key}` is {other:?}")),
            };
            self.config.insert(name.clone(), value);
        }
        let widths = (
            self.own("attention.key_length"),
            self.own("attention.value_length"),
        );
        if let (Some(keys), Some(values)) = widths
            && keys != values
        {
            return Err("keys and values have heads of different widths".to_owned());
        }
        // Phi-3 rotates a part of each head, others all of it.
        let rotated = self.number("rope.dimension_count");
        let head_dim = self.number("attention.key_length").or_else(|| {
            let heads = self.number("attention.head_count")?;
            Some(self.number("embedding_length")? / heads)
        });
        if let (Some(rotated), Some(head_dim)) = (rotated, head_dim)
            && (rotated - head_dim).abs() > 0.5
        {
            // Half a dimension more, so that rounding down gives the whole number again.
            let share = (rotated + 0.5) / head_dim;
            self.config
                .insert("partial_rotary_factor".into(), json!(share));
        }
        if self.name == "phi3" {
            self.config.remove("head_dim");
            let original = self.own("rope.scaling.original_context_length");
            let original = original.and_then(Value::whole);
            if let Some(original) = original.and_then(|length| u64::try_from(length).ok()) {
                let key = "original_max_position_embeddings".to_owned();
                self.config.insert(key, json!(original));
            }
        }
        if self.config.get("sliding_window") == Some(&json!(0)) {
            self.config.insert("sliding_window".into(), Json::Null);
        }
        if self.name.starts_with("qwen") && self.config.get("sliding_window").is_some() {
            self.config.insert("use_sliding_window".into(), json!(true));
        }
        Ok(())
    }

    /// Gemma's scores are scaled by head width, in one size by width over heads. The files do not say.
    fn scores(&mut self, architecture: &Architecture) {
        let Some(layers) = architecture.scaled_by_width else {
            return;
        };
        let number = |key: &str| self.number(key).unwrap_or(1.0);
        let width = if self.config.get("num_hidden_layers") == Some(&json!(layers)) {
            number("embedding_length") / number("attention.head_count")
        } else {
            number("attention.key_length")
        };
        self.config
            .insert("query_pre_attn_scalar".into(), json!(width));
    }

    /// RoPE scaling by keys; factors by tensor come from elsewhere.
    fn scaling(&self) -> Result<Option<Scaling>, String> {
        let kind = self.own("rope.scaling.type").and_then(Value::text);
        let factor = self.number("rope.scaling.factor");
        for other in self.metadata.keys() {
            let own = other.strip_prefix(&format!("{}.rope.scaling.", self.name));
            let known = [
                "type",
                "factor",
                "original_context_length",
                "attn_factor",
                "finetuned",
            ];
            if let Some(own) = own
                && !known.contains(&own)
            {
                return Err(format!(
                    "key `{other}` is not known to this program and could change the numbers"
                ));
            }
        }
        let attention = self.number("rope.scaling.attn_factor");
        if attention.is_some() && kind != Some("longrope") && self.name != "phi3" {
            let key = format!("{}.rope.scaling.attn_factor", self.name);
            return Err(format!("key `{key}` is read for longrope alone"));
        }
        let positive = |factor: f64| {
            let sound = factor > 0.0 && factor.is_finite();
            let problem = || format!("RoPE scaling by {factor}");
            sound.then_some(factor).ok_or_else(problem)
        };
        match (kind, factor) {
            // Tensors say by how much.
            (Some("longrope" | "none"), _) | (None, None) => Ok(None),
            // llama.cpp takes a factor without a kind as linear.
            (None | Some("linear"), Some(factor)) => Ok(Some(Scaling::Linear {
                factor: positive(factor)?,
            })),
            (Some("yarn"), Some(factor)) => {
                let original = self
                    .number("rope.scaling.original_context_length")
                    .ok_or("yarn without `rope.scaling.original_context_length`")?;
                Ok(Some(Scaling::Yarn {
                    factor: positive(factor)?,
                    beta_fast: 32.0,
                    beta_slow: 1.0,
                    truncate: true,
                    attention_factor: 0.1 * factor.max(1.0).ln() + 1.0,
                    original_max_position_embeddings: positive(original)?,
                }))
            }
            (Some(kind), _) => Err(format!(
                "RoPE scaling `{kind}` without a factor, or of a kind that is not read"
            )),
        }
    }
}

/// Divisors of RoPE's frequencies that stand there as tensors.
struct Factors {
    short: Vec<f64>,
    long: Vec<f64>,
}

impl Factors {
    fn scaling(self, metadata: &BTreeMap<String, Value>, name: &str) -> Scaling {
        let own = |key: &str| metadata.get(&format!("{name}.{key}"));
        let original = own("rope.scaling.original_context_length").and_then(Value::whole);
        let attention = own("rope.scaling.attn_factor").and_then(Value::float);
        Scaling::Longrope {
            short_factor: self.short,
            long_factor: self.long,
            attention_factor: attention.unwrap_or(1.0),
            original_max_position_embeddings: original
                .and_then(|length| usize::try_from(length).ok())
                .unwrap_or(1 << 31),
        }
    }
}

/// `rope_freqs`, as Llama 3.1 has it, or the two of LongRoPE.
fn factors(
    path: &Path,
    files: &[File],
    places: &HashMap<String, Place>,
) -> Result<Option<Factors>, CheckpointError> {
    let read = |name: &str| -> Result<Option<Vec<f64>>, CheckpointError> {
        let Some(place) = places.get(name) else {
            return Ok(None);
        };
        let count = place.shape.iter().product::<usize>();
        if place.stored != Stored::F32 || count > 1 << 16 {
            return Err(CheckpointError::Gguf {
                path: path.to_owned(),
                problem: format!("tensor `{name}` is not a short list of F32"),
            });
        }
        let mut bytes = vec![0u8; 4 * count];
        let unreadable = |source| CheckpointError::Unreadable {
            path: path.to_owned(),
            source,
        };
        files[place.file]
            .bytes
            .read(place.start, &mut bytes)
            .map_err(unreadable)?;
        let numbers = bytes.as_chunks::<4>().0.iter();
        let numbers: Vec<f64> = numbers
            .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
            .collect();
        if numbers
            .iter()
            .all(|number| *number > 0.0 && number.is_finite())
        {
            return Ok(Some(numbers));
        }
        Err(CheckpointError::Gguf {
            path: path.to_owned(),
            problem: format!("tensor `{name}` holds a number that is not a factor"),
        })
    };
    if let Some(factors) = read("rope_freqs.weight")? {
        return Ok(Some(Factors {
            short: factors.clone(),
            long: factors,
        }));
    }
    let (short, long) = (
        read("rope_factors_short.weight")?,
        read("rope_factors_long.weight")?,
    );
    match (short, long) {
        (None, None) => Ok(None),
        (Some(short), Some(long)) => Ok(Some(Factors { short, long })),
        _ => Err(CheckpointError::Gguf {
            path: path.to_owned(),
            problem: "it has one of the two lists of RoPE factors".to_owned(),
        }),
    }
}

/// The tensors under the names of transformers.
fn renamed(
    path: &Path,
    table: &Table,
    architecture: &Architecture,
    files: Vec<File>,
    places: HashMap<String, Place>,
) -> Result<Weights, CheckpointError> {
    let mut named = HashMap::new();
    for (name, place) in places {
        if name.starts_with("rope_f") {
            continue;
        }
        let parts: Option<(&str, &str)> = name.rsplit_once('.');
        let new = parts.and_then(|(part, ending)| {
            if let Some(rest) = part.strip_prefix("blk.") {
                let (number, part) = rest.split_once('.')?;
                let own = architecture.layer.get(part);
                let part = own.or_else(|| table.layer.get(part))?;
                Some(format!("model.layers.{number}.{part}.{ending}"))
            } else {
                Some(format!("{}.{ending}", table.outer.get(part)?))
            }
        });
        let Some(new) = new else {
            return Err(CheckpointError::UnknownTensor {
                path: path.to_owned(),
                tensor: name,
                architecture: architecture.is.clone(),
            });
        };
        named.insert(new, place);
    }
    Ok(Weights::new(path, files, named))
}
