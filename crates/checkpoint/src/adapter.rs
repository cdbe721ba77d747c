//! PEFT adapters: low-rank changes to some tensors of a base checkpoint, and tensors that replace others.

use crate::adapter_config::Settings;
use crate::files::needed;
use crate::parameters::{Order, Parameter, Source};
use crate::weights::{Weights, put_in_order};
use crate::{CheckpointError, DecoderSpec, safetensors_files};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

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

/// Ends of the names of a low-rank change's tensors, which half each is, and whether it is of an embedding.
const HALVES: [(&str, u8, bool); 6] = [
    (".lora_A.weight", 0, false),
    (".lora_B.weight", 1, false),
    (".lora_embedding_A", 0, true),
    (".lora_embedding_B", 1, true),
    (".lora_magnitude_vector", 2, false),
    (".lora_magnitude_vector.weight", 2, false),
];

/// What the file has of a low-rank change.
#[derive(Default)]
struct Halves {
    /// The module's name there.
    written: String,
    a: Option<Stored>,
    b: Option<Stored>,
    magnitude: Option<Stored>,
    of_embedding: bool,
}

/// A tensor of the adapter's file.
#[derive(Clone)]
struct Stored {
    name: String,
    shape: Vec<usize>,
}

/// What becomes of one tensor of the base.
#[derive(Default)]
struct Change {
    replaced: Option<Stored>,
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
    made_for: Option<String>,
    /// Modules that the config targets and the file lacks: they stay as they are.
    lacking: Vec<String>,
}

/// What the file has of embedding or head.
#[derive(Default)]
struct Table {
    /// Put into the base's own tensor: what is tied to it follows.
    in_place: Option<Stored>,
    /// A copy of its own, which what is tied to it does not follow.
    own: Option<Stored>,
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
        let config = needed(folder, "adapter_config.json", "it says what the adapter is")?;
        let settings = Settings::read(&folder.join("adapter_config.json"), &config)?;
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
            made_for: settings.made_for.clone(),
            lacking: Vec::new(),
        };
        let mut spec = base.clone();
        adapter.sort(&settings, base)?;
        adapter.look_for_lacking(&settings, base)?;
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

    /// The base that the adapter says it was made for, as its maker called it.
    pub fn made_for(&self) -> Option<&str> {
        self.made_for.as_deref()
    }

    /// Bytes of the adapter's file.
    pub fn bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// Whether the adapter changes anything of a parameter.
    pub fn changes(&self, parameter: &Parameter) -> bool {
        let mut sources = parameter.sources.iter();
        sources.any(|source| self.touches(&source.name))
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

    /// Whether nothing of a parameter is the base's.
    pub fn replaces_all_of(&self, parameter: &Parameter) -> bool {
        let mut sources = parameter.sources.iter();
        sources.all(|source| self.replaces(&source.name))
    }

    /// Whether embedding and head are one tensor in the base and two with the adapter.
    pub fn unties(&self) -> bool {
        self.unties
    }

    /// Modules that the config targets and the file lacks, which stay as they are.
    pub fn lacking(&self) -> &[String] {
        &self.lacking
    }

    /// Sorts the file's tensors by the base's tensor that they change.
    fn sort(&mut self, settings: &Settings, base: &DecoderSpec) -> Result<(), CheckpointError> {
        let mut pairs: BTreeMap<String, Halves> = BTreeMap::new();
        let mut tables: [Table; 2] = Default::default();
        let mut tensors = self.weights.tensors();
        tensors.sort();
        if tensors.is_empty() {
            return Err(self.other_base("*", "stands for nothing: the file holds no tensor"));
        }
        for (name, shape) in tensors {
            let written = name.strip_prefix("base_model.model.").unwrap_or(&name);
            // Towers have no part in the decoder; some ways of training keep a list beside the pairs.
            let unread = |start: &String| written.starts_with(start.as_str());
            if base.unread.iter().any(unread) || written.ends_with(".lora_velora_embed") {
                continue;
            }
            let written = written
                .replace(".modules_to_save.", ".")
                .replace(".default.", ".");
            let stored = Stored {
                name: name.clone(),
                shape,
            };
            let found = HALVES.iter().find_map(|(ending, place, embedding)| {
                Some((written.strip_suffix(ending)?, *place, *embedding))
            });
            if let Some((module, place, embedding)) = found {
                let pair = pairs.entry(base.renamed(module)).or_default();
                pair.of_embedding |= embedding;
                module.clone_into(&mut pair.written);
                let half = match place {
                    0 => &mut pair.a,
                    1 => &mut pair.b,
                    _ => &mut pair.magnitude,
                };
                if half.replace(stored).is_some() {
                    return Err(self.other_base(&name, "stands there twice"));
                }
            } else if written.contains(".lora_") {
                return Err(self.other_base(&name, "is of a kind that is not read"));
            } else {
                let inner = [".base_layer.", ".original_module."];
                let in_place = inner.iter().any(|part| written.contains(part));
                let plain = inner
                    .iter()
                    .fold(written, |name, part| name.replace(part, "."));
                let target = base.renamed(&plain);
                let module = plain.strip_suffix(".weight").unwrap_or(&plain);
                let table = table_names(base).iter().position(|name| *name == target);
                if let Some(table) = table {
                    let copied = !in_place && settings.saves(module, base.tied_head);
                    let place = if copied {
                        &mut tables[table].own
                    } else {
                        &mut tables[table].in_place
                    };
                    *place = Some(stored);
                } else if !(in_place && settings.saves(module, base.tied_head)) {
                    // Of a module that is saved whole, what it replaces says nothing.
                    self.changes.entry(target).or_default().replaced = Some(stored);
                }
            }
        }
        self.untie(base, tables, pairs.keys());
        for (module, pair) in pairs {
            self.pair(settings, base, &module, pair)?;
        }
        Ok(())
    }

    /// Gives embedding and head what the file has of them. What is put into a tensor that both share is the other's too; what
    /// changes one of them alone makes them two.
    fn untie<'m>(
        &mut self,
        base: &DecoderSpec,
        tables: [Table; 2],
        mut pairs: impl Iterator<Item = &'m String>,
    ) {
        let names = table_names(base);
        let modules = [&base.names.embedding, &base.names.head];
        let copied = tables.iter().any(|table| table.own.is_some());
        self.unties = base.tied_head && (copied || pairs.any(|pair| modules.contains(&pair)));
        let [mut embedding, mut head] = tables;
        if base.tied_head {
            // Where both are there they are equal; else the head's counts, which is loaded last.
            let shared = head.in_place.or(embedding.in_place.take());
            embedding.in_place.clone_from(&shared);
            head.in_place = shared.filter(|_| self.unties);
        }
        for (name, table) in names.into_iter().zip([embedding, head]) {
            if let Some(stored) = table.own.or(table.in_place) {
                self.changes.entry(name).or_default().replaced = Some(stored);
            }
        }
    }

    /// Finds what the config promises and the file lacks.
    fn look_for_lacking(
        &mut self,
        settings: &Settings,
        base: &DecoderSpec,
    ) -> Result<(), CheckpointError> {
        let tables = table_names(base);
        for (name, shape) in base.tensors() {
            let Some(module) = name.strip_suffix(".weight") else {
                continue;
            };
            let change = self.changes.get(&name);
            if settings.saves(module, base.tied_head) {
                if change.is_none_or(|change| change.replaced.is_none()) {
                    let problem = "is in `modules_to_save`, and not in the file";
                    return Err(self.other_base(module, problem));
                }
            } else if shape.len() == 2
                && settings.promises(module, tables.contains(&name))
                && change.is_none_or(|change| change.low_rank.is_empty())
            {
                self.lacking.push(module.to_owned());
            }
        }
        if let (Some(module), true) = (self.lacking.first(), settings.begins_at_random) {
            let problem = "is targeted and not in the file, and `init_lora_weights` is false: PEFT would make it up";
            return Err(self.other_base(module, problem));
        }
        Ok(())
    }

    /// Adds a low-rank change to the tensor that it changes.
    fn pair(
        &mut self,
        settings: &Settings,
        base: &DecoderSpec,
        module: &str,
        pair: Halves,
    ) -> Result<(), CheckpointError> {
        let Halves {
            written,
            a,
            b,
            magnitude,
            of_embedding,
        } = pair;
        let (Some(a), Some(b)) = (a, b) else {
            return Err(self.other_base(module, "has one half of a low-rank pair"));
        };
        if settings.saves(&written, base.tied_head) {
            let problem = "is in the file, but the module is in `modules_to_save`";
            return Err(self.other_base(&a.name, problem));
        }
        if settings.dora != magnitude.is_some() {
            return Err(self.other_base(module, "and `use_dora` do not agree"));
        }
        let [embedding, head] = [&base.names.embedding, &base.names.head];
        let tied_by_training = settings.ensures_tying && base.tied_head && module == *head;
        if tied_by_training && !settings.targets(&written) && !embedding.ends_with("embed_tokens") {
            // It would not be found when it is loaded, and PEFT drops it.
            let problem = "ties embedding and head while it is trained (`ensure_weight_tying`), which PEFT does for \
                `embed_tokens` alone: what the adapter learnt is not what PEFT runs; merge it where it was trained";
            return Err(self.other_base(&a.name, problem));
        }
        if !settings.targets(&written) && !tied_by_training {
            let problem = "is in the file, but adapter_config.json does not target it";
            return Err(self.other_base(&a.name, problem));
        }
        let rank = a.shape.first().copied().unwrap_or(0);
        // Patterns are matched against the names that the adapter was made with.
        let (expected, scale) = settings.scale(&written);
        if (expected - rank as f64).abs() > 0.1 {
            let problem = format!("has rank {rank} where adapter_config.json says {expected}");
            return Err(self.other_base(&a.name, &problem));
        }
        let change = self.changes.entry(format!("{module}.weight")).or_default();
        change.low_rank.push(LowRank {
            a,
            b,
            scale,
            magnitude,
            of_embedding,
        });
        Ok(())
    }

    /// Every change fits a tensor of the base; a vocabulary that the adapter made larger is the new one.
    fn check(&self, base: &DecoderSpec, spec: &mut DecoderSpec) -> Result<(), CheckpointError> {
        let shapes: HashMap<String, Vec<usize>> = base.tensors().into_iter().collect();
        let tables = table_names(base);
        let mut sizes: Vec<usize> = Vec::new();
        let mut changes: Vec<(&String, &Change)> = self.changes.iter().collect();
        changes.sort_by_key(|(name, _)| *name);
        for (name, change) in changes {
            let is_table = tables.contains(name);
            let shape = match shapes.get(name) {
                Some(shape) => shape,
                None if is_table => &shapes[&tables[0]],
                None => return Err(self.other_base(name, "is not a tensor of the base")),
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
            // A longer vocabulary that the adapter brings is what its pairs fit.
            let shape = change
                .replaced
                .as_ref()
                .map_or(shape, |stored| &stored.shape);
            for pair in &change.low_rank {
                let [rows, columns] = shape[..] else {
                    return Err(self.other_base(name, "is not a matrix, and has a low-rank change"));
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
                    && magnitude.shape.iter().product::<usize>() != outer
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
            self.fill(replaced, source.order, values)?;
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
                self.rescale(source, magnitude, pair.of_embedding, values)?;
            }
        }
        if values.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        Err(CheckpointError::NotFinite {
            path: self.path.clone(),
            tensor: source.name.clone(),
        })
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

    /// The numbers of a tensor of the adapter's file, in the order of a parameter.
    fn fill(&self, stored: &Stored, order: Order, out: &mut [f32]) -> Result<(), CheckpointError> {
        let source = Source {
            name: stored.name.clone(),
            shape: stored.shape.clone(),
            order,
        };
        self.weights.fill(&source, out)?;
        put_in_order(&source, out);
        Ok(())
    }

    fn tensor(&self, stored: &Stored) -> Result<Tensor, CheckpointError> {
        let mut values = vec![0.0f32; stored.shape.iter().product()];
        self.fill(stored, Order::AsStored, &mut values)?;
        Tensor::from_vec(values, stored.shape.as_slice(), &Device::Cpu).map_err(|source| {
            CheckpointError::Device {
                path: self.path.clone(),
                tensor: stored.name.clone(),
                source: Box::new(source),
            }
        })
    }

    /// Brings each row to the length that the adapter learnt for it; of an embedding each column.
    ///
    /// # Source
    /// Liu et al. 2024 ("DoRA"), equation 5; of embeddings as PEFT 0.21 has it.
    fn rescale(
        &self,
        source: &Source,
        magnitude: &Stored,
        of_embedding: bool,
        values: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let mut lengths = vec![0.0f32; magnitude.shape.iter().product()];
        self.fill(magnitude, source.order.of_vector(), &mut lengths)?;
        let columns = if of_embedding {
            lengths.len()
        } else {
            values.len() / lengths.len()
        };
        let mut squares = vec![0.0f64; lengths.len()];
        // Which length a number counts for: its column's, or its row's.
        let place = |index: usize| {
            if of_embedding {
                index % columns
            } else {
                index / columns
            }
        };
        for (index, value) in values.iter().enumerate() {
            squares[place(index)] += f64::from(*value).powi(2);
        }
        let factors = lengths.iter().zip(&squares);
        #[expect(clippy::cast_possible_truncation, reason = "merged in f32")]
        let factors: Vec<f32> = factors
            .map(|(length, squares)| (f64::from(*length) / squares.sqrt()) as f32)
            .collect();
        for (index, value) in values.iter_mut().enumerate() {
            *value *= factors[place(index)];
        }
        Ok(())
    }
}

/// The tensors of embedding and head.
fn table_names(base: &DecoderSpec) -> [String; 2] {
    [&base.names.embedding, &base.names.head].map(|name| format!("{name}.weight"))
}
