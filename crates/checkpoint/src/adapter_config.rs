//! `adapter_config.json`.

use crate::CheckpointError;
use regex::Regex;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::path::Path;

/// Keys of `adapter_config.json` that are read.
const READ: [&str; 9] = [
    "ensure_weight_tying",
    "peft_type",
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "init_lora_weights",
];

/// Keys that say how the adapter was trained, or repeat what its tensors say.
const INERT: [&str; 22] = [
    "alpha",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "torch_dtype",
    "unsloth_version",
    "velora_config",
];

/// Ways to begin training that leave the base as it is. Others change it, and an adapter made so fits another base.
const INITIALISED: [&str; 4] = ["gaussian", "orthogonal", "eva", "mica"];

/// Settings of ways to begin training, which say nothing where another was taken.
const OF_OTHER_WAYS: [&str; 3] = ["corda_config", "loftq_config", "lora_ga_config"];

/// The settings of `adapter_config.json`.
#[expect(clippy::struct_excessive_bools, reason = "the file's switches")]
pub(crate) struct Settings {
    rank: f64,
    alpha: f64,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
    rank_stabilised: bool,
    pub dora: bool,
    /// Whether embedding and head were kept equal while the adapter was trained.
    pub ensures_tying: bool,
    /// Whether what is targeted and not in the file would be made up.
    pub begins_at_random: bool,
    /// Ends of the names of modules that are saved whole.
    saved: Vec<String>,
    /// Modules that are left out of the targets.
    excluded: Targets,
    /// `base_model_name_or_path`.
    pub made_for: Option<String>,
    targets: Targets,
    /// Layers that are changed; all where none is listed.
    layers: Vec<u64>,
}

impl Settings {
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let not_json = |source| CheckpointError::NotJson {
            path: path.to_owned(),
            source,
        };
        let config: Map<String, Value> = serde_json::from_slice(bytes).map_err(not_json)?;
        let error = |key: &str, problem: String| CheckpointError::Config {
            path: path.to_owned(),
            key: key.to_owned(),
            problem,
        };
        // Other ways have other keys.
        let kind = config.get("peft_type").and_then(Value::as_str);
        if kind != Some("LORA") {
            let kind = kind.unwrap_or("absent");
            return Err(error("peft_type", format!("is {kind}; LORA is read")));
        }
        for (key, value) in &config {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(object) => object.is_empty(),
                _ => false,
            };
            let known = [&READ[..], &INERT[..], &OF_OTHER_WAYS[..]];
            if !off && !known.concat().contains(&key.as_str()) {
                let problem = "is not known to this program and could change the numbers";
                return Err(error(key, problem.to_owned()));
            }
        }
        match config.get("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(_)) => {}
            Some(Value::String(way)) if INITIALISED.contains(&way.as_str()) => {}
            Some(other) => {
                let problem = format!(
                    "is {other}, which changes the base: merge it with PEFT and use the merged checkpoint"
                );
                return Err(error("init_lora_weights", problem));
            }
        }
        let number = |key: &str| -> Result<f64, CheckpointError> {
            let value = config.get(key).and_then(Value::as_f64);
            value
                .filter(|number| *number > 0.0)
                .ok_or_else(|| error(key, "is not a positive number".to_owned()))
        };
        let flag = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
        let patterns: Patterns = serde_json::from_slice(bytes).map_err(not_json)?;
        let compiled = |key: &str, list: &[(String, f64)]| -> Result<_, CheckpointError> {
            let compile = |(pattern, value): &(String, f64)| {
                let regex = Regex::new(&format!("^(.*\\.)?({pattern})$"));
                let problem = |_| {
                    error(
                        key,
                        format!("has a pattern that cannot be read: `{pattern}`"),
                    )
                };
                Ok((regex.map_err(problem)?, *value))
            };
            list.iter().map(compile).collect()
        };
        let rank = number("r")?;
        if rank < 1.0 || rank.fract() != 0.0 {
            return Err(error("r", format!("is {rank}, which is not a valid rank")));
        }
        Ok(Self {
            rank,
            alpha: number("lora_alpha")?,
            ranks: compiled("rank_pattern", &patterns.rank_pattern)?,
            alphas: compiled("alpha_pattern", &patterns.alpha_pattern)?,
            rank_stabilised: flag("use_rslora"),
            dora: flag("use_dora"),
            made_for: config
                .get("base_model_name_or_path")
                .and_then(Value::as_str)
                .map(str::to_owned),
            targets: Targets::read(config.get("target_modules"))
                .map_err(|problem| error("target_modules", problem))?,
            layers: match config.get("layers_to_transform") {
                Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).collect(),
                Some(one) => one.as_u64().into_iter().collect(),
                None => Vec::new(),
            },
            ensures_tying: flag("ensure_weight_tying"),
            begins_at_random: config.get("init_lora_weights") == Some(&Value::Bool(false)),
            saved: match config.get("modules_to_save") {
                Some(Value::Array(list)) => {
                    let names = list.iter().filter_map(Value::as_str);
                    names.map(str::to_owned).collect()
                }
                _ => Vec::new(),
            },
            excluded: Targets::read(config.get("exclude_modules"))
                .map_err(|problem| error("exclude_modules", problem))?,
        })
    }

    /// Whether a module is among those that the adapter is said to change.
    pub fn targets(&self, module: &str) -> bool {
        let named = self.targets.names(module).unwrap_or(true);
        let mut numbers = module
            .split('.')
            .filter_map(|part| part.parse::<u64>().ok());
        let layer = numbers.next();
        named && (self.layers.is_empty() || layer.is_none_or(|layer| self.layers.contains(&layer)))
    }

    /// Whether the config says in so many words that a module of the base has a low-rank change; `table` where it is embedding or
    /// head.
    pub fn promises(&self, module: &str, table: bool) -> bool {
        let named = match &self.targets {
            // Every product but the head.
            Targets::All => !table,
            other => other.names(module) == Some(true),
        };
        // Tables have no number, and a list of layers leaves them out.
        named
            && (!table || self.layers.is_empty())
            && self.targets(module)
            && self.excluded.names(module) != Some(true)
    }

    /// Whether a module is saved whole, as a copy of its own.
    pub fn saves(&self, module: &str, tied: bool) -> bool {
        let is_table = |name: &str| {
            let last = name.rsplit('.').next();
            matches!(last, Some("embed_tokens" | "lm_head"))
        };
        self.saved.iter().any(|name| {
            module.ends_with(name.as_str())
                || (self.ensures_tying && tied && is_table(name) && is_table(module))
        })
    }

    /// The rank of a module, and what its product is multiplied by.
    ///
    /// # Source
    /// Hu et al. 2021; rank-stabilised: Kalajdzievski 2023. The first pattern that matches counts, as in PEFT.
    pub fn scale(&self, module: &str) -> (f64, f64) {
        let first = |list: &[(Regex, f64)], default: f64| {
            let found = list.iter().find(|(pattern, _)| pattern.is_match(module));
            found.map_or(default, |(_, value)| *value)
        };
        let (rank, alpha) = (
            first(&self.ranks, self.rank),
            first(&self.alphas, self.alpha),
        );
        let divisor = if self.rank_stabilised {
            rank.sqrt()
        } else {
            rank
        };
        (rank, alpha / divisor)
    }
}

/// Which modules have low-rank changes.
enum Targets {
    /// Not said.
    Unsaid,
    /// Every product.
    All,
    /// A pattern that the whole name matches.
    Pattern(Regex),
    /// Names, or ends of names.
    Listed(Vec<String>),
}

impl Targets {
    /// Whether a module is named; `None` where nothing is said of single ones.
    fn names(&self, module: &str) -> Option<bool> {
        match self {
            Self::Unsaid | Self::All => None,
            Self::Pattern(pattern) => Some(pattern.is_match(module)),
            Self::Listed(names) => Some(names.iter().any(|name| {
                let end = module.strip_suffix(name.as_str());
                end.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            })),
        }
    }

    fn read(value: Option<&Value>) -> Result<Self, String> {
        match value {
            None | Some(Value::Null) => Ok(Self::Unsaid),
            Some(Value::String(all)) if all == "all-linear" => Ok(Self::All),
            Some(Value::String(pattern)) => Regex::new(&format!("^(?:{pattern})$"))
                .map(Self::Pattern)
                .map_err(|_| format!("cannot be read: `{pattern}`")),
            Some(Value::Array(list)) => {
                let names = list.iter().filter_map(Value::as_str);
                Ok(Self::Listed(names.map(str::to_owned).collect()))
            }
            Some(_) => Err("is neither text nor a list".to_owned()),
        }
    }
}

/// The patterns in the order of the file.
#[derive(serde::Deserialize)]
struct Patterns {
    #[serde(default, deserialize_with = "in_order")]
    rank_pattern: Vec<(String, f64)>,
    #[serde(default, deserialize_with = "in_order")]
    alpha_pattern: Vec<(String, f64)>,
}

fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, f64)>, D::Error> {
    struct InOrder;
    impl<'de> Visitor<'de> for InOrder {
        type Value = Vec<(String, f64)>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a map from patterns to numbers")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(entry) = access.next_entry()? {
                list.push(entry);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_any(InOrder)
}
