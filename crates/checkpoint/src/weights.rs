//! Tensors of a checkpoint's files, one at a time.

use crate::parameters::{Order, Parameter, Source};
use crate::quantised::Quantised;
use crate::{Adapter, CheckpointError, DecoderSpec};
use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Numbers that are read and converted by one task.
const NUMBERS_A_TASK: usize = 1 << 18;

/// Where the bytes of a weights file are.
pub(crate) enum Bytes {
    /// Read as they are needed, so that a file costs no memory.
    File(std::fs::File),
    Embedded(&'static [u8]),
}

impl Bytes {
    pub fn read(&self, at: u64, out: &mut [u8]) -> std::io::Result<()> {
        match self {
            Self::File(file) => read_at(file, at, out),
            Self::Embedded(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                let range = start..start.saturating_add(out.len());
                let part = bytes.get(range).ok_or(std::io::ErrorKind::UnexpectedEof)?;
                out.copy_from_slice(part);
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &std::fs::File, at: u64, out: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_at(file: &std::fs::File, mut at: u64, mut out: &mut [u8]) -> std::io::Result<()> {
    while !out.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, out, at)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        (at, out) = (at + read as u64, &mut out[read..]);
    }
    Ok(())
}

pub(crate) struct File {
    pub path: PathBuf,
    pub bytes: Bytes,
    pub length: u64,
}

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    F16,
    BF16,
    Quantised(Quantised),
    /// A type that is not read.
    Other(&'static str),
}

impl Stored {
    /// Numbers that are stored together, and their bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Quantised(kind) => kind.block(),
            Self::Other(_) => (1, 0),
        }
    }

    /// Whether whole blocks hold no number that is infinite or none.
    pub fn is_finite(self, bytes: &[u8]) -> bool {
        match self {
            Self::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                !words.fold(false, |bad, word| {
                    bad | (u32::from_le_bytes(*word) & 0x7f80_0000 == 0x7f80_0000)
                })
            }
            Self::F16 => no_half_has(bytes, 0x7c00),
            Self::BF16 => no_half_has(bytes, 0x7f80),
            Self::Quantised(kind) => {
                let (numbers, block) = kind.block();
                let mut wide = vec![0.0f32; bytes.len() / block * numbers];
                kind.decode(bytes, &mut wide);
                wide.iter().all(|value| value.is_finite())
            }
            Self::Other(_) => true,
        }
    }

    /// The numbers of whole blocks.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Self::F16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Self::BF16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
            Self::Quantised(kind) => kind.decode(bytes, out),
            Self::Other(_) => {}
        }
    }
}

fn no_half_has(bytes: &[u8], exponent: u16) -> bool {
    let words = bytes.as_chunks::<2>().0.iter();
    !words.fold(false, |bad, word| {
        bad | (u16::from_le_bytes(*word) & exponent == exponent)
    })
}

/// Where a tensor stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub file: usize,
    pub stored: Stored,
    pub shape: Vec<usize>,
    pub start: u64,
}

/// What weights are held as.
pub(crate) trait Number: bytemuck::Pod + Send + Sync {
    /// What files call it.
    const STORED: Stored;
    fn narrowed(wide: f32) -> Self;
    fn widened(self) -> f32;
}

impl Number for f32 {
    const STORED: Stored = Stored::F32;

    fn narrowed(wide: f32) -> Self {
        wide
    }

    fn widened(self) -> f32 {
        self
    }
}

impl Number for bf16 {
    const STORED: Stored = Stored::BF16;

    fn narrowed(wide: f32) -> Self {
        Self::from_f32(wide)
    }

    fn widened(self) -> f32 {
        self.to_f32()
    }
}

impl Number for f16 {
    const STORED: Stored = Stored::F16;

    fn narrowed(wide: f32) -> Self {
        Self::from_f32(wide)
    }

    fn widened(self) -> f32 {
        self.to_f32()
    }
}

/// The weights of a checkpoint. Files are opened, not read: a tensor costs memory when it is asked for.
pub struct Weights {
    checkpoint: PathBuf,
    files: Vec<File>,
    places: HashMap<String, Place>,
    /// Set for weights that no file has: they are made up, for benches.
    seed: Option<u64>,
}

impl Weights {
    pub(crate) fn new(checkpoint: &Path, files: Vec<File>, places: HashMap<String, Place>) -> Self {
        Self {
            checkpoint: checkpoint.to_owned(),
            files,
            places,
            seed: None,
        }
    }

    /// Made-up weights: whatever tensor is asked for exists, with values that follow from the seed and its name.
    pub(crate) fn seeded(name: &Path, seed: u64) -> Self {
        Self {
            checkpoint: name.to_owned(),
            files: Vec::new(),
            places: HashMap::new(),
            seed: Some(seed),
        }
    }

    /// What the largest tensor is stored as; 16-bit floats for quantised ones.
    pub fn stored_dtype(&self) -> DType {
        let size = |place: &&Place| place.shape.iter().product::<usize>();
        match self
            .places
            .values()
            .max_by_key(size)
            .map(|place| place.stored)
        {
            Some(Stored::BF16) => DType::BF16,
            Some(Stored::F16 | Stored::Quantised(_)) => DType::F16,
            _ => DType::F32,
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
        spec: &DecoderSpec,
        inert: &[String],
    ) -> Result<(), CheckpointError> {
        if self.seed.is_some() {
            return Ok(());
        }
        let mut settled = HashMap::with_capacity(self.places.len());
        for (name, place) in std::mem::take(&mut self.places) {
            let renamed = spec.renames.iter().find_map(|(from, to)| {
                name.strip_prefix(from.as_str())
                    .map(|rest| format!("{to}{rest}"))
            });
            let file = place.file;
            let name = renamed.unwrap_or(name);
            if settled.contains_key(&name) {
                return Err(self.twice(file, &name));
            }
            settled.insert(name, place);
        }
        self.places = settled;
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
        let untouched = adapter.is_none_or(|adapter| {
            let mut sources = parameter.sources.iter();
            !sources.any(|source| adapter.touches(&source.name))
        });
        if let Some(base) = base
            && untouched
        {
            return Ok(base.clone());
        }
        let adapter = adapter.filter(|_| !untouched);
        let shape = parameter.shape.as_slice();
        let failed = |source| CheckpointError::Device {
            path: self.checkpoint.clone(),
            tensor: parameter.sources[0].name.clone(),
            source: Box::new(source),
        };
        let tensor = match dtype {
            DType::BF16 => {
                let values = self.assembled::<bf16>(parameter, adapter, base);
                Tensor::from_vec(values?, shape, device)
            }
            DType::F16 => {
                let values = self.assembled::<f16>(parameter, adapter, base);
                Tensor::from_vec(values?, shape, device)
            }
            _ => {
                let values = self.assembled::<f32>(parameter, adapter, base);
                Tensor::from_vec(values?, shape, device)
            }
        };
        tensor.map_err(failed)
    }

    fn assembled<T: Number + WithDType>(
        &self,
        parameter: &Parameter,
        adapter: Option<&Adapter>,
        base: Option<&Tensor>,
    ) -> Result<Vec<T>, CheckpointError> {
        let count: usize = parameter.shape.iter().product();
        // A table that the adapter made longer is not the base's.
        let held = base.filter(|base| base.elem_count() == count);
        let mut out: Vec<T> = match held {
            Some(base) => base
                .flatten_all()
                .and_then(|base| base.to_vec1())
                .map_err(|source| CheckpointError::Device {
                    path: self.checkpoint.clone(),
                    tensor: parameter.sources[0].name.clone(),
                    source: Box::new(source),
                })?,
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
        Ok(out)
    }

    /// Reads a tensor as stored.
    pub(crate) fn fill<T: Number>(
        &self,
        source: &Source,
        out: &mut [T],
    ) -> Result<(), CheckpointError> {
        if let Some(seed) = self.seed {
            for (out, value) in out.iter_mut().zip(made_up(seed, &source.name)) {
                *out = T::narrowed(value);
            }
            return Ok(());
        }
        let (place, file) = self.place(&source.name, &source.shape)?;
        let (numbers, bytes) = place.stored.block();
        let task = NUMBERS_A_TASK / numbers * numbers;
        // What is held as it is stored is read into its place.
        let as_stored = place.stored == T::STORED && cfg!(target_endian = "little");
        out.par_chunks_mut(task)
            .enumerate()
            .try_for_each(|(index, out)| {
                let at = place.start + (index * task / numbers * bytes) as u64;
                let read = |raw: &mut [u8]| {
                    file.bytes
                        .read(at, raw)
                        .map_err(|source| CheckpointError::Unreadable {
                            path: file.path.clone(),
                            source,
                        })
                };
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
            })
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

/// Norms of one, everything else uniform with a deviation of 0.02 (SplitMix64, Steele et al. 2014).
fn made_up(seed: u64, name: &str) -> impl Iterator<Item = f32> {
    let is_norm = name.ends_with("norm.weight");
    let digest = blake3::hash(name.as_bytes());
    let mut start = [0u8; 8];
    start.copy_from_slice(&digest.as_bytes()[..8]);
    let start = u64::from_le_bytes(start) ^ seed;
    (0u64..).map(move |index| {
        if is_norm {
            return 1.0;
        }
        let mut z = start.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0;
        (unit - 0.5) * 0.02 * 12f32.sqrt()
    })
}
