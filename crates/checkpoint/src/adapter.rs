//! PEFT adapters: low-rank changes to some tensors of a base checkpoint, and tensors that replace others.

use crate::parameters::{Order, Source};
use crate::weights::{Weights, put_in_order};
use crate::{CheckpointError, DecoderSpec, safetensors_files};
use candle_core::{Device, Tensor};
use regex::Regex;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Keys of `adapter_config.json` that are read.
const READ: [&str; 8] = [
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
    "ensure_weight_tying",
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
];

/// Ways to begin training that leave the base as it is. Others change it, and an adapter made so fits another base.
const INITIALISED: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// A low-rank change: `scale · B · A` is added, and where there is a magnitude (DoRA), rows are brought to its lengths.
struct LowRank {
    /// `[rank, in]`, or `[rank, vocabulary]` of an embedding.
    a: Stored,
    /// `[out, rank]`, or `[hidden, rank]` of an embedding.
    b: Stored,
    scale: f64,
    magnitude: Option<Stored>,
    of_embedding: bool,
}

/// A tensor of the adapter's file.
struct Stored {
    name: String,
    shape: Vec<usize>,
}

/// What becomes of one tensor of the base.
#[derive(Default)]
struct Change {
    replaced: Option<Stored>,
    /// Whether the replacement is put into the base's own tensor, so that what is tied to it follows.
    in_place: bool,
    low_rank: Vec<LowRank>,
}

/// An adapter of a base checkpoint.
pub struct Adapter {
    path: PathBuf,
    weights: Weights,
    config: Vec<u8>,
    /// By tensor of the base.
    changes: HashMap<String, Change>,
    /// Whether embedding and head were one tensor in the base and are two now.
    unties: bool,
}

/// The settings of `adapter_config.json`.
struct Settings {
    rank: f64,
    alpha: f64,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
    rank_stabilised: bool,
    dora: bool,
}

impl Adapter {
    /// Opens an adapter folder for a base of this shape. Returns the adapter and the shape with it.
    ///
    /// # Errors
    /// [`CheckpointError::Config`] for settings that are not supported, [`CheckpointError::OtherBase`] where a tensor fits
    /// none of the base.
    pub fn open(folder: &Path, base: &DecoderSpec) -> Result<(Self, DecoderSpec), CheckpointError> {
        if !folder.is_dir() {
            return Err(CheckpointError::NoFolder {
                path: folder.to_owned(),
            });
        }
        let config_path = folder.join("adapter_config.json");
        let config = std::fs::read(&config_path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => CheckpointError::MissingFile {
                path: config_path.clone(),
                needed: "it says what the adapter is",
            },
            _ => CheckpointError::Unreadable {
                path: config_path.clone(),
                source,
            },
        })?;
        let settings = Settings::read(&config_path, &config)?;
        let path = folder.join("adapter_model.safetensors");
        if !path.is_file() && folder.join("adapter_model.bin").is_file() {
            return Err(CheckpointError::Pickled {
                path: folder.join("adapter_model.bin"),
            });
        }
        if !path.is_file() {
            return Err(CheckpointError::MissingFile {
                path,
                needed: "the adapter's weights",
            });
        }
        let weights = safetensors_files::open(folder, std::slice::from_ref(&path))?;
        let mut adapter = Self {
            path,
            weights,
            config,
            changes: HashMap::new(),
            unties: false,
        };
        let mut spec = base.clone();
        adapter.sort(&settings, base)?;
        adapter.unties = base.tied_head && adapter.parts(base);
        adapter.check(base, &mut spec)?;
        Ok((adapter, spec))
    }

    /// The digest of config and weights.
    ///
    /// # Errors
    /// As [`Weights::digest`].
    pub fn digest(&self) -> Result<String, CheckpointError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.config);
        hasher.update(self.weights.digest()?.as_bytes());
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Bytes of the adapter's file.
    pub fn bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// Whether a tensor of the base becomes another.
    pub(crate) fn touches(&self, name: &str) -> bool {
        self.changes.contains_key(name)
    }

    /// Whether a tensor of the base is not needed.
    pub(crate) fn replaces(&self, name: &str) -> bool {
        let change = self.changes.get(name);
        change.is_some_and(|change| change.replaced.is_some())
    }

    /// Whether embedding and head are one tensor in the base and two with the adapter.
    pub fn unties(&self) -> bool {
        self.unties
    }

    /// Whether embedding or head is replaced, and not in the base's own tensor.
    fn parts(&self, base: &DecoderSpec) -> bool {
        [&base.names.embedding, &base.names.head]
            .iter()
            .any(|name| {
                let change = self.changes.get(&format!("{name}.weight"));
                change.is_some_and(|change| change.replaced.is_some() && !change.in_place)
            })
    }

    fn sort(&mut self, settings: &Settings, base: &DecoderSpec) -> Result<(), CheckpointError> {
        let mut pairs: HashMap<String, (Option<Stored>, Option<Stored>, Option<Stored>, bool)> =
            HashMap::new();
        let mut changes: HashMap<String, Change> = HashMap::new();
        for (name, shape) in self.weights.tensors() {
            let bare = name.strip_prefix("base_model.model.").unwrap_or(&name);
            let renamed = base.renames.iter().find_map(|(from, to)| {
                bare.strip_prefix(from.as_str())
                    .map(|rest| format!("{to}{rest}"))
            });
            let bare = renamed.unwrap_or_else(|| bare.to_owned());
            // A module that is saved whole may stand there with the one that it replaces.
            if bare.contains(".original_module.") {
                continue;
            }
            let bare = bare
                .replace(".modules_to_save.", ".")
                .replace(".default.", ".");
            let stored = Stored {
                name: name.clone(),
                shape,
            };
            let endings = [
                (".lora_A.weight", 0, false),
                (".lora_B.weight", 1, false),
                (".lora_embedding_A", 0, true),
                (".lora_embedding_B", 1, true),
                (".lora_magnitude_vector", 2, false),
                (".lora_magnitude_vector.weight", 2, false),
            ];
            let found = endings.iter().find_map(|(ending, place, embedding)| {
                Some((bare.strip_suffix(ending)?.to_owned(), *place, *embedding))
            });
            if let Some((module, place, embedding)) = found {
                let pair = pairs.entry(module).or_default();
                pair.3 |= embedding;
                let slot = match place {
                    0 => &mut pair.0,
                    1 => &mut pair.1,
                    _ => &mut pair.2,
                };
                *slot = Some(stored);
            } else if bare.contains(".lora_") {
                return Err(self.other_base(&name, "is of a kind that is not read"));
            } else {
                let in_place = bare.contains(".base_layer.");
                let change = changes
                    .entry(bare.replace(".base_layer.", "."))
                    .or_default();
                change.replaced = Some(stored);
                change.in_place = in_place;
            }
        }
        for (module, (a, b, magnitude, of_embedding)) in pairs {
            let (Some(a), Some(b)) = (a, b) else {
                return Err(self.other_base(&module, "has one half of a low-rank pair"));
            };
            if settings.dora != magnitude.is_some() {
                return Err(self.other_base(&module, "and `use_dora` do not agree"));
            }
            let rank = a.shape.first().copied().unwrap_or(0);
            let (expected, scale) = settings.scale(&module);
            if (expected - rank as f64).abs() > 0.1 {
                let problem = format!("has rank {rank} where adapter_config.json says {expected}");
                return Err(self.other_base(&a.name, &problem));
            }
            // What is tied shares one tensor, and both changes.
            let target = if base.tied_head && module == base.names.head {
                &base.names.embedding
            } else {
                &module
            };
            let change = changes.entry(format!("{target}.weight")).or_default();
            change.low_rank.push(LowRank {
                a,
                b,
                scale,
                magnitude,
                of_embedding,
            });
        }
        // A replacement of what is tied, put into the shared tensor.
        if base.tied_head
            && let Some(change) = changes.remove(&format!("{}.weight", base.names.head))
        {
            let target = if change.in_place {
                &base.names.embedding
            } else {
                &base.names.head
            };
            let entry = changes.entry(format!("{target}.weight")).or_default();
            entry.replaced = change.replaced;
            entry.in_place = change.in_place;
            entry.low_rank.extend(change.low_rank);
        }
        self.changes = changes;
        Ok(())
    }

    /// Every change fits a tensor of the base; a vocabulary that the adapter made larger is the new one.
    fn check(&self, base: &DecoderSpec, spec: &mut DecoderSpec) -> Result<(), CheckpointError> {
        let shapes: HashMap<String, Vec<usize>> = base.tensors().into_iter().collect();
        let tables = [&base.names.embedding, &base.names.head].map(|name| format!("{name}.weight"));
        let mut sizes: Vec<usize> = Vec::new();
        for (name, change) in &self.changes {
            let is_table = tables.contains(name);
            let shape = match shapes.get(name) {
                Some(shape) => shape,
                None if is_table => &shapes[&tables[0]],
                None => return Err(self.other_base(name, "is no tensor of the base")),
            };
            if let Some(replaced) = &change.replaced {
                let same = replaced.shape == *shape;
                let longer = is_table && replaced.shape.len() == 2 && replaced.shape[1] == shape[1];
                if !same && !longer {
                    let problem =
                        format!("has shape {:?}, the base's has {shape:?}", replaced.shape);
                    return Err(self.other_base(&replaced.name, &problem));
                }
                if is_table {
                    sizes.push(replaced.shape[0]);
                }
            } else if is_table {
                sizes.push(base.vocab_size);
            }
            for pair in &change.low_rank {
                let [rows, columns] = shape[..] else {
                    return Err(self.other_base(name, "is no matrix, and has a low-rank change"));
                };
                let (outer, inner) = match (pair.of_embedding, base.is_transposed(name)) {
                    (false, false) => (rows, columns),
                    (true, _) | (false, true) => (columns, rows),
                };
                let rank = pair.a.shape.first().copied().unwrap_or(0);
                if pair.a.shape != [rank, inner] || pair.b.shape != [outer, rank] {
                    let problem = format!(
                        "and its other half have shapes {:?} and {:?}, the base's tensor has {shape:?}",
                        pair.a.shape, pair.b.shape
                    );
                    return Err(self.other_base(&pair.a.name, &problem));
                }
                if let Some(magnitude) = &pair.magnitude
                    && (magnitude.shape.iter().product::<usize>() != outer || pair.of_embedding)
                {
                    return Err(self.other_base(&magnitude.name, "has another length"));
                }
            }
        }
        if let Some(size) = sizes.first() {
            let both = self.replaces(&tables[0]) && self.replaces(&tables[1]);
            let needed = if both || (base.tied_head && !self.unties) {
                *size
            } else {
                base.vocab_size
            };
            if sizes.iter().any(|other| *other != needed) {
                let problem = format!(
                    "embedding and head would have {sizes:?} rows beside the base's {}",
                    base.vocab_size
                );
                return Err(self.other_base(&tables[0], &problem));
            }
            spec.vocab_size = needed;
        }
        spec.tied_head &= !self.unties;
        Ok(())
    }

    fn other_base(&self, tensor: &str, problem: &str) -> CheckpointError {
        CheckpointError::OtherBase {
            path: self.path.clone(),
            tensor: tensor.to_owned(),
            problem: problem.to_owned(),
        }
    }

    /// Makes the change to a tensor that is already in the order of its parameter.
    ///
    /// # Numerics
    /// In `f32`, as PEFT merges into an `f32` base.
    pub(crate) fn apply(&self, source: &Source, values: &mut [f32]) -> Result<(), CheckpointError> {
        let Some(change) = self.changes.get(&source.name) else {
            return Ok(());
        };
        if let Some(replaced) = &change.replaced {
            let stored = Source {
                name: replaced.name.clone(),
                shape: replaced.shape.clone(),
                order: source.order,
            };
            self.weights.fill(&stored, values)?;
            put_in_order(&stored, values);
        }
        for pair in &change.low_rank {
            let mut delta = self.product(pair)?;
            // The product has the rows of the parameter but for their order.
            if source.order != Order::Transposed {
                put_in_order(source, &mut delta);
            }
            for (value, delta) in values.iter_mut().zip(&delta) {
                *value += delta;
            }
            if let Some(magnitude) = &pair.magnitude {
                self.rescale(source, magnitude, values)?;
            }
        }
        Ok(())
    }

    /// `scale · B · A`, `[out, in]`; of an embedding transposed, `[vocabulary, hidden]`.
    fn product(&self, pair: &LowRank) -> Result<Vec<f32>, CheckpointError> {
        let failed = |source| CheckpointError::Device {
            path: self.path.clone(),
            tensor: pair.a.name.clone(),
            source: Box::new(source),
        };
        let multiply = |a: Tensor, b: Tensor| -> candle_core::Result<Vec<f32>> {
            let product = (b.matmul(&a)? * pair.scale)?;
            let product = if pair.of_embedding {
                product.t()?.contiguous()?
            } else {
                product
            };
            product.flatten_all()?.to_vec1()
        };
        let (a, b) = (self.tensor(&pair.a)?, self.tensor(&pair.b)?);
        multiply(a, b).map_err(failed)
    }

    fn tensor(&self, stored: &Stored) -> Result<Tensor, CheckpointError> {
        let mut values = vec![0.0f32; stored.shape.iter().product()];
        let source = Source {
            name: stored.name.clone(),
            shape: stored.shape.clone(),
            order: Order::AsStored,
        };
        self.weights.fill(&source, &mut values)?;
        Tensor::from_vec(values, stored.shape.as_slice(), &Device::Cpu).map_err(|source| {
            CheckpointError::Device {
                path: self.path.clone(),
                tensor: stored.name.clone(),
                source: Box::new(source),
            }
        })
    }

    /// Brings each row to the length that the adapter learnt for it.
    ///
    /// # Source
    /// Liu et al. 2024 ("DoRA"), equation 5.
    fn rescale(
        &self,
        source: &Source,
        magnitude: &Stored,
        values: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let mut lengths = vec![0.0f32; magnitude.shape.iter().product()];
        let stored = Source {
            name: magnitude.name.clone(),
            shape: magnitude.shape.clone(),
            order: source.order.of_vector(),
        };
        self.weights.fill(&stored, &mut lengths)?;
        put_in_order(&stored, &mut lengths);
        let columns = values.len() / lengths.len();
        for (row, length) in values.chunks_exact_mut(columns).zip(&lengths) {
            let found = row
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt();
            #[expect(clippy::cast_possible_truncation, reason = "merged in f32")]
            let factor = (f64::from(*length) / found) as f32;
            for value in row {
                *value *= factor;
            }
        }
        Ok(())
    }
}

impl Settings {
    fn read(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
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
        for (key, value) in &config {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(object) => object.is_empty(),
                _ => false,
            };
            if !off && !READ.contains(&key.as_str()) && !INERT.contains(&key.as_str()) {
                let problem = "is not known to this program and could change the numbers";
                return Err(error(key, problem.to_owned()));
            }
        }
        let kind = config.get("peft_type").and_then(Value::as_str);
        if kind != Some("LORA") {
            let kind = kind.unwrap_or("absent");
            return Err(error("peft_type", format!("is {kind}; LORA is read")));
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
                .ok_or_else(|| error(key, "is no positive number".to_owned()))
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
        Ok(Self {
            rank: number("r")?,
            alpha: number("lora_alpha")?,
            ranks: compiled("rank_pattern", &patterns.rank_pattern)?,
            alphas: compiled("alpha_pattern", &patterns.alpha_pattern)?,
            rank_stabilised: flag("use_rslora"),
            dora: flag("use_dora"),
        })
    }

    /// The rank of a module, and what its product is multiplied by.
    ///
    /// # Source
    /// Hu et al. 2021; rank-stabilised: Kalajdzievski 2023. The first pattern that matches counts, as in PEFT.
    fn scale(&self, module: &str) -> (f64, f64) {
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
