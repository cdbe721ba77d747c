//! Tensors of a checkpoint's files, one at a time.

use crate::config::QUANTISED;
use crate::made_up::made_up;
use crate::parameters::{Order, Parameter, Source};
use crate::stored::{File, Number, Place, Stored};
use crate::{Adapter, CheckpointError, DecoderSpec};
use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Numbers that are read and converted by one task.
const NUMBERS_A_TASK: usize = 1 << 18;

/// The weights of a checkpoint. Files are opened, not read: a tensor costs memory when it is asked for.
pub struct Weights {
    checkpoint: PathBuf,
    files: Vec<File>,
    places: HashMap<String, Place>,
    /// Set for weights that no file has: they are made up, for benches.
    seed: Option<u64>,
    pub(crate) known_digest: OnceLock<String>,
}

impl Weights {
    pub(crate) fn new(checkpoint: &Path, files: Vec<File>, places: HashMap<String, Place>) -> Self {
        Self {
            checkpoint: checkpoint.to_owned(),
            files,
            places,
            seed: None,
            known_digest: OnceLock::new(),
        }
    }

    /// Made-up weights: whatever tensor is asked for exists, with values that follow from the seed and its name.
    pub(crate) fn seeded(name: &Path, seed: u64) -> Self {
        Self {
            checkpoint: name.to_owned(),
            files: Vec::new(),
            places: HashMap::new(),
            seed: Some(seed),
            known_digest: OnceLock::new(),
        }
    }

    /// Weights that are elsewhere: no tensor of them can be read. `identity` stands for what they are.
    pub(crate) fn elsewhere(checkpoint: &Path, identity: &str) -> Self {
        let weights = Self::new(checkpoint, Vec::new(), HashMap::new());
        let digest = blake3::hash(identity.as_bytes()).to_hex().to_string();
        weights.known_digest.get_or_init(|| digest);
        weights
    }

    /// Whether no tensor of them is here.
    pub(crate) fn are_elsewhere(&self) -> bool {
        self.files.is_empty() && self.seed.is_none()
    }

    /// What weights can be held as without loss: the 16-bit type that all matrices are stored as, else 32 bits. Quantised ones
    /// are held as 16-bit floats, which rounds them.
    pub fn stored_dtype(&self) -> DType {
        let mut found = None;
        for place in self.places.values().filter(|place| place.shape.len() > 1) {
            let dtype = match place.stored {
                Stored::BF16 => DType::BF16,
                Stored::F16 => DType::F16,
                Stored::Quantised(_) => return DType::F16,
                Stored::F32 | Stored::Other(_) => DType::F32,
            };
            if *found.get_or_insert(dtype) != dtype {
                found = Some(DType::F32);
            }
        }
        found.unwrap_or(DType::F32)
    }

    /// The narrowest of `f32`, `bf16` and `f16` that holds every number of the matrices as it is stored.
    pub fn exact_dtype(&self) -> DType {
        let mut places = self.places.values();
        if places.any(|place| matches!(place.stored, Stored::Quantised(_))) {
            return DType::F32;
        }
        self.stored_dtype()
    }

    /// The types that tensors are stored as, each once, by name.
    pub fn stored_as(&self) -> Vec<String> {
        let kinds = self.places.values().map(|place| place.stored.to_string());
        kinds.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// What is wrong with a config that says that weights are quantised, where they are not: a library that quantises while it
    /// loads would make other numbers of them.
    pub(crate) fn if_whole(&self, error: CheckpointError) -> CheckpointError {
        let whole =
            |place: &Place| matches!(place.stored, Stored::F32 | Stored::F16 | Stored::BF16);
        match error {
            CheckpointError::Config { path, key, .. }
                if QUANTISED.contains(&key.as_str()) && self.places.values().all(whole) =>
            {
                let problem = "is set, but the weights are whole: transformers would quantise them while it loads them; \
                    without the key they are read as they are";
                CheckpointError::Config {
                    path,
                    key,
                    problem: problem.to_owned(),
                }
            }
            other => other,
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    /// Names and shapes of all tensors, in no order.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let tensors = self.places.iter();
        tensors
            .map(|(name, place)| (name.clone(), place.shape.clone()))
            .collect()
    }

    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    /// Takes the names of the family, and checks that every tensor of the decoder is there in its shape and type and that
    /// no other one is.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`], [`CheckpointError::WrongShape`], [`CheckpointError::WrongDtype`],
    /// [`CheckpointError::UnknownTensor`].
    pub(crate) fn settle(
        &mut self,
        spec: &mut DecoderSpec,
        inert: &[String],
    ) -> Result<(), CheckpointError> {
        if self.seed.is_some() {
            return Ok(());
        }
        let mut settled = HashMap::with_capacity(self.places.len());
        for (name, place) in std::mem::take(&mut self.places) {
            let file = place.file;
            let name = spec.renamed(&name);
            if settled.contains_key(&name) {
                return Err(self.twice(file, &name));
            }
            settled.insert(name, place);
        }
        let names = [&spec.names.embedding, &spec.names.head].map(|name| format!("{name}.weight"));
        if spec.tied_head
            && !settled.contains_key(&names[0])
            && let Some(place) = settled.remove(&names[1])
        {
            // One tensor for both, stored under the head's name.
            settled.insert(names[0].clone(), place);
        }
        self.places = settled;
        if spec.tied_head && !self.head_is_embedding(spec)? {
            spec.tied_head = false;
        }
        let tensors = spec.tensors();
        for (name, shape) in &tensors {
            let (place, file) = self.place(name, shape)?;
            if let Stored::Other(dtype) = place.stored {
                return Err(CheckpointError::WrongDtype {
                    path: file.path.clone(),
                    tensor: name.clone(),
                    dtype: dtype.to_owned(),
                });
            }
        }
        let known: HashSet<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        // A head that is the embedding is written by some all the same.
        let tied = format!("{}.weight", spec.names.head);
        let mut unknown: Vec<&String> = self
            .places
            .keys()
            .filter(|name| {
                !known.contains(name.as_str())
                    && **name != tied
                    && !inert.iter().any(|end| name.ends_with(end.as_str()))
                    && !spec
                        .unread
                        .iter()
                        .any(|start| name.starts_with(start.as_str()))
            })
            .collect();
        unknown.sort();
        match unknown.first() {
            Some(name) => Err(CheckpointError::UnknownTensor {
                path: self.files[self.places[*name].file].path.clone(),
                tensor: (*name).clone(),
                architecture: spec.architecture.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Whether a head that the config says is the embedding is so in the files: where both stand there and differ, they are
    /// two, as in transformers.
    fn head_is_embedding(&self, spec: &DecoderSpec) -> Result<bool, CheckpointError> {
        let place = |name: &str| self.places.get(&format!("{name}.weight"));
        let (Some(one), Some(other)) = (place(&spec.names.embedding), place(&spec.names.head))
        else {
            return Ok(true);
        };
        if one.shape != other.shape || one.stored != other.stored {
            return Ok(false);
        }
        let (numbers, bytes) = one.stored.block();
        let length = (one.shape.iter().product::<usize>() / numbers * bytes) as u64;
        let piece = 1u64 << 20;
        let same = (0..length.div_ceil(piece)).into_par_iter().map(|index| {
            let at = index * piece;
            let size = usize::try_from(piece.min(length - at)).unwrap_or(0);
            let read = |place: &Place| {
                let file = &self.files[place.file];
                let mut raw = vec![0u8; size];
                match file.bytes.read(place.start + at, &mut raw) {
                    Ok(()) => Ok(raw),
                    Err(source) => Err(CheckpointError::Unreadable {
                        path: file.path.clone(),
                        source,
                    }),
                }
            };
            Ok(read(one)? == read(other)?)
        });
        same.try_reduce(|| true, |a, b| Ok(a && b))
    }

    pub(crate) fn twice(&self, file: usize, tensor: &str) -> CheckpointError {
        CheckpointError::BadWeightsFile {
            path: self.files[file].path.clone(),
            problem: format!("tensor `{tensor}` stands there twice"),
        }
    }

    /// A parameter of the decoder in `dtype` (`f32`, `bf16` or `f16`) on `device`, with the changes of an adapter. Where
    /// `base` is given, it is the parameter without them in the same `dtype`, and no file of the base is read.
    ///
    /// # Numerics
    /// Conversion rounds to nearest; every stored number is checked to be finite. An adapter's changes are made in `f32` to
    /// what the base is held as.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`], [`CheckpointError::WrongShape`], [`CheckpointError::NotFinite`],
    /// [`CheckpointError::Unreadable`], or [`CheckpointError::Device`] where it cannot be placed.
    pub fn parameter(
        &self,
        parameter: &Parameter,
        adapter: Option<&Adapter>,
        base: Option<&Tensor>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        let untouched = adapter.is_none_or(|adapter| !adapter.changes(parameter));
        if let Some(base) = base
            && untouched
        {
            return Ok(base.clone());
        }
        let adapter = adapter.filter(|_| !untouched);
        match dtype {
            DType::BF16 => self.assembled::<bf16>(parameter, adapter, base, device),
            DType::F16 => self.assembled::<f16>(parameter, adapter, base, device),
            _ => self.assembled::<f32>(parameter, adapter, base, device),
        }
    }

    fn assembled<T: Number + WithDType>(
        &self,
        parameter: &Parameter,
        adapter: Option<&Adapter>,
        base: Option<&Tensor>,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        let failed = |source| CheckpointError::Device {
            path: self.checkpoint.clone(),
            tensor: parameter.sources[0].name.clone(),
            source: Box::new(source),
        };
        let count: usize = parameter.shape.iter().product();
        // A table that the adapter made longer is not the base's.
        let held = base.filter(|base| base.elem_count() == count);
        let mut out: Vec<T> = match held {
            Some(base) => base
                .flatten_all()
                .and_then(|base| base.to_vec1())
                .map_err(failed)?,
            None => bytemuck::zeroed_vec(count),
        };
        let mut rest = &mut out[..];
        for source in &parameter.sources {
            let (part, others) = rest.split_at_mut(source.shape.iter().product());
            rest = others;
            let replaced = adapter.is_some_and(|adapter| adapter.replaces(&source.name));
            if held.is_none() && !replaced {
                self.fill(source, part)?;
                put_in_order(source, part);
            }
            if let Some(adapter) = adapter
                && adapter.touches(&source.name)
            {
                let mut wide: Vec<f32> = part.iter().map(|value| value.widened()).collect();
                adapter.apply(source, &mut wide)?;
                for (value, wide) in part.iter_mut().zip(wide) {
                    *value = T::narrowed(wide);
                }
            }
        }
        Tensor::from_vec(out, parameter.shape.as_slice(), device).map_err(failed)
    }

    /// Reads a tensor as stored.
    pub(crate) fn fill<T: Number>(
        &self,
        source: &Source,
        out: &mut [T],
    ) -> Result<(), CheckpointError> {
        if let Some(seed) = self.seed {
            let made_up = made_up(seed, &source.name);
            let parts = out.par_chunks_mut(NUMBERS_A_TASK).enumerate();
            parts.for_each(|(part, out)| {
                let from = (part * NUMBERS_A_TASK) as u64;
                for (out, index) in out.iter_mut().zip(from..) {
                    *out = T::narrowed(made_up(index));
                }
            });
            return Ok(());
        }
        let (place, file) = self.place(&source.name, &source.shape)?;
        let task = NUMBERS_A_TASK / place.stored.block().0 * place.stored.block().0;
        out.par_chunks_mut(task)
            .enumerate()
            .try_for_each(|(index, out)| read_numbers((place, file), source, index * task, out))
    }

    /// Whether a parameter can be read from any place on ([`Weights::read_part`]): its tensors are one below the other as they are
    /// stored.
    pub fn has_parts(&self, parameter: &Parameter, adapter: Option<&Adapter>) -> bool {
        let untouched = adapter.is_none_or(|adapter| !adapter.changes(parameter));
        let mut sources = parameter.sources.iter();
        let whole = |source: &Source| {
            let blocks = |place: &Place| {
                let count: usize = source.shape.iter().product();
                count.is_multiple_of(place.stored.block().0)
            };
            source.order == Order::AsStored
                && self
                    .places
                    .get(&source.name)
                    .map_or(self.seed.is_some(), blocks)
        };
        untouched && sources.all(whole)
    }

    /// A part of a parameter in `dtype` (`f32`, `bf16` or `f16`), from a byte on, as many bytes as there is room for. It is read by this
    /// thread alone.
    ///
    /// # Numerics
    /// As [`Weights::parameter`].
    ///
    /// # Errors
    /// As [`Weights::parameter`]; [`CheckpointError::Device`] where a part begins within a number.
    pub fn read_part(
        &self,
        parameter: &Parameter,
        dtype: DType,
        at: usize,
        room: &mut [u8],
    ) -> Result<(), CheckpointError> {
        match dtype {
            DType::BF16 => self.read_part_as::<bf16>(parameter, at, room),
            DType::F16 => self.read_part_as::<f16>(parameter, at, room),
            _ => self.read_part_as::<f32>(parameter, at, room),
        }
    }

    fn read_part_as<T: Number>(
        &self,
        parameter: &Parameter,
        at: usize,
        room: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let cut = |_| CheckpointError::Device {
            path: self.checkpoint.clone(),
            tensor: parameter.sources[0].name.clone(),
            source: Box::new(candle_core::Error::Msg(
                "a part that begins within a number".to_owned(),
            )),
        };
        let mut rest: &mut [T] = bytemuck::try_cast_slice_mut(room).map_err(cut)?;
        let mut first = at / size_of::<T>();
        for source in &parameter.sources {
            let count: usize = source.shape.iter().product();
            if first >= count {
                first -= count;
                continue;
            }
            let here = rest.len().min(count - first);
            let (part, others) = rest.split_at_mut(here);
            rest = others;
            for (task, out) in part.chunks_mut(NUMBERS_A_TASK).enumerate() {
                let from = first + task * NUMBERS_A_TASK;
                if let Some(seed) = self.seed {
                    let made_up = made_up(seed, &source.name);
                    for (out, index) in out.iter_mut().zip(from as u64..) {
                        *out = T::narrowed(made_up(index));
                    }
                } else {
                    let place = self.place(&source.name, &source.shape)?;
                    read_numbers(place, source, from, out)?;
                }
            }
            first = 0;
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<(&Place, &File), CheckpointError> {
        let place = self
            .places
            .get(name)
            .ok_or_else(|| CheckpointError::MissingTensor {
                path: self.checkpoint.clone(),
                tensor: name.to_owned(),
            })?;
        let file = &self.files[place.file];
        if place.shape != shape {
            return Err(CheckpointError::WrongShape {
                path: file.path.clone(),
                tensor: name.to_owned(),
                found: place.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok((place, file))
    }

    /// Where the tensors of a file stand, in the order of the file.
    pub(crate) fn segments(&self, file: usize) -> Vec<(u64, u64, Stored, &str)> {
        let mut segments: Vec<(u64, u64, Stored, &str)> = self
            .places
            .iter()
            .filter(|(_, place)| place.file == file)
            .map(|(name, place)| {
                let (numbers, bytes) = place.stored.block();
                let count: usize = place.shape.iter().product();
                let length = (count / numbers * bytes) as u64;
                (place.start, length, place.stored, name.as_str())
            })
            .collect();
        segments.sort_by_key(|(start, ..)| *start);
        segments
    }

    pub(crate) fn seed(&self) -> Option<u64> {
        self.seed
    }
}

/// Reads the numbers of a tensor from one on, which begins a block of those that are stored together.
fn read_numbers<T: Number>(
    (place, file): (&Place, &File),
    source: &Source,
    from: usize,
    out: &mut [T],
) -> Result<(), CheckpointError> {
    let (numbers, bytes) = place.stored.block();
    let at = place.start + (from / numbers * bytes) as u64;
    let read = |raw: &mut [u8]| {
        let unreadable = |source| CheckpointError::Unreadable {
            path: file.path.clone(),
            source,
        };
        file.bytes.read(at, raw).map_err(unreadable)
    };
    // What is held as it is stored is read into its place.
    let as_stored = place.stored == T::STORED && cfg!(target_endian = "little");
    let finite = if as_stored {
        let raw: &mut [u8] = bytemuck::cast_slice_mut(out);
        read(raw)?;
        place.stored.is_finite(raw)
    } else {
        let mut raw = vec![0u8; out.len() / numbers * bytes];
        read(&mut raw)?;
        let mut wide = vec![0.0f32; out.len()];
        place.stored.decode(&raw, &mut wide);
        for (out, wide) in out.iter_mut().zip(&wide) {
            *out = T::narrowed(*wide);
        }
        // What is too large for the narrower type is infinite there.
        T::STORED.is_finite(bytemuck::cast_slice(out)) && place.stored.is_finite(&raw)
    };
    if finite {
        return Ok(());
    }
    Err(CheckpointError::NotFinite {
        path: file.path.clone(),
        tensor: source.name.clone(),
    })
}

/// Brings the rows of a stored tensor into the order of its parameter.
pub(crate) fn put_in_order<T: Copy>(source: &Source, values: &mut [T]) {
    match source.order {
        Order::AsStored => {}
        Order::Transposed => {
            let (rows, columns) = (source.shape[0], source.shape[1]);
            rearrange(values, |index| index % rows * columns + index / rows);
        }
        Order::Sorted { head_dim, columns } => {
            let half = head_dim / 2;
            for head in values.chunks_mut(head_dim * columns) {
                permute(head, columns, |row| row % half * 2 + row / half);
            }
        }
        Order::Regrouped { head_dim, columns } => {
            let width = values.len() / columns / 3;
            permute(values, columns, |row| {
                let (kind, rest) = (row / width, row % width);
                (rest / head_dim * 3 + kind) * head_dim + rest % head_dim
            });
        }
    }
}

/// Row `r` becomes what row `from(r)` was.
fn permute<T: Copy>(values: &mut [T], columns: usize, from: impl Fn(usize) -> usize) {
    rearrange(values, |index| {
        from(index / columns) * columns + index % columns
    });
}

/// Value `i` becomes what value `from(i)` was.
fn rearrange<T: Copy>(values: &mut [T], from: impl Fn(usize) -> usize) {
    let before = values.to_vec();
    for (index, value) in values.iter_mut().enumerate() {
        *value = before[from(index)];
    }
}
