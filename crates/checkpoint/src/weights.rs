//! Tensors of safetensors files, one at a time.

use crate::CheckpointError;
use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The bytes of one weights file.
enum Bytes {
    Mapped(Mmap),
    Embedded(&'static [u8]),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }
}

struct File {
    path: PathBuf,
    bytes: Bytes,
}

/// Where a tensor stands.
struct Place {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

/// The weights of a checkpoint. Files are mapped, not read: a tensor costs memory when it is asked for.
pub struct Weights {
    checkpoint: PathBuf,
    files: Vec<File>,
    places: HashMap<String, Place>,
    /// Set for weights that no file has: they are made up, for benches.
    seed: Option<u64>,
}

impl Weights {
    /// Maps `model.safetensors`, or the shards that `model.safetensors.index.json` names, in a folder.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the file that is absent, cut off or names a tensor twice.
    pub fn in_folder(folder: &Path) -> Result<Self, CheckpointError> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let names = if single.is_file() {
            vec![single]
        } else if index.is_file() {
            shards(folder, &index)?
        } else {
            return Err(CheckpointError::MissingFile {
                path: single,
                needed: "weights as safetensors, in one file or with an index",
            });
        };
        let mut files = Vec::new();
        for path in names {
            let unreadable = |source| CheckpointError::Unreadable {
                path: path.clone(),
                source,
            };
            if !path.is_file() {
                return Err(CheckpointError::MissingFile {
                    path,
                    needed: "a shard that the index names",
                });
            }
            let file = std::fs::File::open(&path).map_err(unreadable)?;
            #[expect(
                unsafe_code,
                reason = "SAFETY: read-only map; a checkpoint changed during a run is the user's doing"
            )]
            let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
            files.push(File {
                path,
                bytes: Bytes::Mapped(map),
            });
        }
        Self::index(folder, files)
    }

    /// Weights that are part of the program.
    pub(crate) fn embedded(name: &Path, bytes: &'static [u8]) -> Result<Self, CheckpointError> {
        Self::index(
            name,
            vec![File {
                path: name.join("model.safetensors"),
                bytes: Bytes::Embedded(bytes),
            }],
        )
    }

    fn index(checkpoint: &Path, files: Vec<File>) -> Result<Self, CheckpointError> {
        let mut places = HashMap::new();
        for (number, file) in files.iter().enumerate() {
            let (header, metadata) = metadata(file)?;
            for (name, info) in metadata.tensors() {
                let (start, end) = info.data_offsets;
                let place = Place {
                    file: number,
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    start: header + start,
                    end: header + end,
                };
                if places.insert(name.clone(), place).is_some() {
                    let problem = format!("tensor `{name}` stands in two files");
                    return Err(CheckpointError::BadWeightsFile {
                        path: file.path.clone(),
                        problem,
                    });
                }
            }
        }
        Ok(Self {
            checkpoint: checkpoint.to_owned(),
            files,
            places,
            seed: None,
        })
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

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.bytes.get().len() as u64)
            .sum()
    }

    /// A tensor in `dtype` on `device`.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`], [`CheckpointError::WrongShape`], [`CheckpointError::WrongDtype`], or
    /// [`CheckpointError::Device`] where it cannot be placed.
    pub fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        if let Some(seed) = self.seed {
            let values = made_up(seed, name, shape.iter().product());
            let tensor =
                Tensor::from_vec(values, shape, device).and_then(|tensor| tensor.to_dtype(dtype));
            return tensor.map_err(|source| CheckpointError::Device {
                path: self.checkpoint.clone(),
                tensor: name.to_owned(),
                source: Box::new(source),
            });
        }
        let (place, file) = self.place(name, shape)?;
        let stored = match place.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                return Err(CheckpointError::WrongDtype {
                    path: file.path.clone(),
                    tensor: name.to_owned(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        Tensor::from_raw_buffer(
            &file.bytes.get()[place.start..place.end],
            stored,
            shape,
            device,
        )
        .and_then(|tensor| tensor.to_dtype(dtype))
        .map_err(|source| CheckpointError::Device {
            path: file.path.clone(),
            tensor: name.to_owned(),
            source: Box::new(source),
        })
    }

    /// Whether a tensor is there in the right shape, without reading it.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`], [`CheckpointError::WrongShape`].
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<(), CheckpointError> {
        if self.seed.is_some() {
            return Ok(());
        }
        self.place(name, shape).map(|_| ())
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

    /// The digest of all files' bytes, in file order.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.map_or([0; 8], u64::to_le_bytes));
        for file in &self.files {
            hasher.update_rayon(file.bytes.get());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Norms of one, everything else uniform with a deviation of 0.02 (SplitMix64, Steele et al. 2014).
fn made_up(seed: u64, name: &str, count: usize) -> Vec<f32> {
    if name.ends_with("norm.weight") {
        return vec![1.0; count];
    }
    let digest = blake3::hash(name.as_bytes());
    let mut start = [0u8; 8];
    start.copy_from_slice(&digest.as_bytes()[..8]);
    let start = u64::from_le_bytes(start) ^ seed;
    let value = |index: usize| {
        let mut z = start.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0;
        (unit - 0.5) * 0.02 * 12f32.sqrt()
    };
    (0..count).map(value).collect()
}

/// The length of the header and what it says; the safetensors crate checks that offsets lie in the file and do not overlap.
fn metadata(file: &File) -> Result<(usize, Metadata), CheckpointError> {
    let bad = |problem: String| CheckpointError::BadWeightsFile {
        path: file.path.clone(),
        problem,
    };
    let bytes = file.bytes.get();
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| bad(error.to_string()))?;
    let start = header + 8;
    let end = metadata
        .tensors()
        .values()
        .map(|info| info.data_offsets.1)
        .max()
        .unwrap_or(0);
    if start + end != bytes.len() {
        return Err(bad(format!(
            "{} bytes long where its header asks for {}",
            bytes.len(),
            start + end
        )));
    }
    Ok((start, metadata))
}

/// The shards of an index, each once, in the order of their names.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).map_err(|source| CheckpointError::Unreadable {
        path: index.to_owned(),
        source,
    })?;
    let parsed: Index = serde_json::from_str(&text).map_err(|source| CheckpointError::NotJson {
        path: index.to_owned(),
        source,
    })?;
    let mut names: Vec<&String> = parsed.weight_map.values().collect();
    names.sort();
    names.dedup();
    if let Some(outside) = names.iter().find(|name| name.contains(['/', '\\'])) {
        let problem = format!("the index names a shard outside the folder: {outside}");
        return Err(CheckpointError::BadWeightsFile {
            path: index.to_owned(),
            problem,
        });
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, tensor: &str, values: &[f32]) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let view =
            safetensors::tensor::TensorView::new(Dtype::F32, vec![values.len()], &bytes).unwrap();
        std::fs::write(
            folder.join(name),
            safetensors::serialize([(tensor, view)], None).unwrap(),
        )
        .unwrap();
    }

    fn index(folder: &Path, map: &str) {
        let text = format!(r#"{{"metadata":{{}},"weight_map":{{{map}}}}}"#);
        std::fs::write(folder.join("model.safetensors.index.json"), text).unwrap();
    }

    fn problem(folder: &Path) -> String {
        Weights::in_folder(folder).err().unwrap().to_string()
    }

    #[test]
    fn shards_are_one_set_of_weights() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "a.safetensors", "x", &[1.0, 2.0]);
        write(folder, "b.safetensors", "y", &[3.0]);
        index(folder, r#""x":"a.safetensors","y":"b.safetensors""#);
        let weights = Weights::in_folder(folder).unwrap();
        let y = weights.tensor("y", &[1], DType::F32, &Device::Cpu).unwrap();
        assert_eq!(y.to_vec1::<f32>().unwrap(), [3.0]);
        let error = |name: &str, shape: &[usize]| {
            weights
                .tensor(name, shape, DType::F32, &Device::Cpu)
                .unwrap_err()
                .to_string()
        };
        assert!(error("z", &[1]).contains("tensor `z` is missing"));
        assert!(error("x", &[3]).contains("has shape [2], config.json asks for [3]"));
    }

    #[test]
    fn broken_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(problem(folder).contains("model.safetensors: is missing"));
        write(folder, "a.safetensors", "x", &[1.0, 2.0]);
        index(folder, r#""x":"a.safetensors","y":"b.safetensors""#);
        assert!(
            problem(folder).contains("b.safetensors: is missing (a shard that the index names)")
        );
        write(folder, "b.safetensors", "x", &[1.0]);
        assert!(problem(folder).contains("tensor `x` stands in two files"));
        index(folder, r#""x":"../a.safetensors""#);
        assert!(problem(folder).contains("outside the folder"));
        let whole = std::fs::read(folder.join("a.safetensors")).unwrap();
        for length in [0, 5, 20, whole.len() - 1] {
            std::fs::write(folder.join("model.safetensors"), &whole[..length]).unwrap();
            assert!(problem(folder).contains("not a complete safetensors file") || length == 0);
        }
    }
}
