//! Weights as safetensors: one file, or shards with an index.

use crate::CheckpointError;
use crate::files::read_plain;
use crate::stored::{Bytes, File, Place, Stored};
use crate::weights::Weights;
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, in a folder.
///
/// # Errors
/// [`CheckpointError`] naming the file that is absent, cut off or names a tensor twice.
pub(crate) fn in_folder(folder: &Path) -> Result<Weights, CheckpointError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if single.is_file() {
        return open(folder, &[single]);
    }
    if !index.is_file() {
        return Err(no_weights(folder, single));
    }
    let named = shards(folder, &index)?;
    let mut paths: Vec<PathBuf> = named.values().map(|name| folder.join(name)).collect();
    paths.sort();
    paths.dedup();
    open(folder, &paths)
}

/// Opens one file, whatever it is called.
pub(crate) fn open(checkpoint: &Path, paths: &[PathBuf]) -> Result<Weights, CheckpointError> {
    let mut files = Vec::new();
    let mut headers = Vec::new();
    for path in paths {
        if !path.is_file() {
            return Err(CheckpointError::MissingFile {
                path: path.clone(),
                needed: "a shard that the index names",
            });
        }
        let unreadable = |source| CheckpointError::Unreadable {
            path: path.clone(),
            source,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        #[expect(
            unsafe_code,
            reason = "SAFETY: read-only and dropped after the header is parsed; a file cut short meanwhile is the user's doing"
        )]
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        headers.push(metadata(path, &map)?);
        files.push(File {
            path: path.clone(),
            length: map.len() as u64,
            bytes: Bytes::File(file),
        });
    }
    indexed(checkpoint, files, headers)
}

/// Reads a file's header from bytes alone.
pub(crate) fn check(bytes: &[u8]) -> Result<(), CheckpointError> {
    metadata(Path::new("bytes.safetensors"), bytes).map(|_| ())
}

/// Weights that are part of the program.
pub(crate) fn embedded(name: &Path, bytes: &'static [u8]) -> Result<Weights, CheckpointError> {
    let path = name.join("model.safetensors");
    let header = metadata(&path, bytes)?;
    let file = File {
        path,
        length: bytes.len() as u64,
        bytes: Bytes::Embedded(bytes),
    };
    indexed(name, vec![file], vec![header])
}

/// Says what stands in a folder instead of safetensors.
fn no_weights(folder: &Path, path: PathBuf) -> CheckpointError {
    let pickled = std::fs::read_dir(folder).ok().and_then(|entries| {
        let mut names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.find(|name| name.starts_with("pytorch_model") || name.starts_with("consolidated"))
    });
    match pickled {
        Some(name) => CheckpointError::Pickled {
            path: folder.join(name),
        },
        None => CheckpointError::MissingFile {
            path,
            needed: "weights as safetensors, in one file or with an index, or a GGUF file",
        },
    }
}

fn indexed(
    checkpoint: &Path,
    files: Vec<File>,
    headers: Vec<(usize, Metadata)>,
) -> Result<Weights, CheckpointError> {
    let mut places = HashMap::new();
    for (number, (header, metadata)) in headers.into_iter().enumerate() {
        for (name, info) in metadata.tensors() {
            let place = Place {
                file: number,
                stored: stored(info.dtype),
                shape: info.shape.clone(),
                start: (header + info.data_offsets.0) as u64,
            };
            if places.insert(name.clone(), place).is_some() {
                return Err(Weights::new(checkpoint, files, HashMap::new()).twice(number, &name));
            }
        }
    }
    Ok(Weights::new(checkpoint, files, places))
}

fn stored(dtype: Dtype) -> Stored {
    match dtype {
        Dtype::F32 => Stored::F32,
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::BF16,
        Dtype::F64 => Stored::Other("F64"),
        Dtype::F8_E4M3 | Dtype::F8_E5M2 => Stored::Other("an 8-bit float"),
        Dtype::I8 | Dtype::U8 => Stored::Other("8-bit integers"),
        _ => Stored::Other("another type"),
    }
}

/// Where the tensors begin and what the header says; the safetensors crate checks that they fill the file without gap or
/// overlap and are as long as their shapes.
fn metadata(path: &Path, bytes: &[u8]) -> Result<(usize, Metadata), CheckpointError> {
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(CheckpointError::BadWeightsFile {
            path: path.to_owned(),
            problem: "a git-lfs pointer stands in its place; `git lfs pull` fetches the file"
                .to_owned(),
        });
    }
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| CheckpointError::BadWeightsFile {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
    Ok((header + 8, metadata))
}

/// The shard of each tensor of an index.
fn shards(folder: &Path, index: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    #[derive(serde::Deserialize)]
    struct Index {
        #[serde(deserialize_with = "each_once")]
        weight_map: BTreeMap<String, String>,
    }
    let text = read_plain(index).map_err(|source| CheckpointError::Unreadable {
        path: index.to_owned(),
        source,
    })?;
    let parsed: Index =
        serde_json::from_slice(&text).map_err(|source| CheckpointError::NotJson {
            path: index.to_owned(),
            source,
        })?;
    let bad = |problem: String| CheckpointError::BadWeightsFile {
        path: index.to_owned(),
        problem,
    };
    if parsed.weight_map.is_empty() {
        return Err(bad("the index names no tensor".to_owned()));
    }
    let outside = |name: &&String| name.contains(['/', '\\']) || name.starts_with("..");
    if let Some(name) = parsed.weight_map.values().find(outside) {
        let folder = folder.display();
        return Err(bad(format!(
            "the index names a shard outside {folder}: {name}"
        )));
    }
    Ok(parsed.weight_map)
}

/// A map that names nothing twice.
fn each_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct EachOnce;
    impl<'de> Visitor<'de> for EachOnce {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a map from tensors to shards")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((tensor, shard)) = access.next_entry::<String, String>()? {
                if map.contains_key(&tensor) {
                    let problem = format!("tensor `{tensor}` is named twice");
                    return Err(serde::de::Error::custom(problem));
                }
                map.insert(tensor, shard);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(EachOnce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn write(folder: &Path, name: &str, tensor: &str, values: &[f32]) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F32, vec![values.len()], &bytes).unwrap();
        let text = safetensors::serialize([(tensor, view)], None).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }

    fn index(folder: &Path, map: &str) {
        let text = format!(r#"{{"metadata":{{}},"weight_map":{{{map}}}}}"#);
        std::fs::write(folder.join("model.safetensors.index.json"), text).unwrap();
    }

    fn problem(folder: &Path) -> String {
        in_folder(folder).err().unwrap().to_string()
    }

    #[test]
    fn broken_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(problem(folder).contains("model.safetensors: is missing"));
        std::fs::write(folder.join("pytorch_model.bin"), "x").unwrap();
        assert!(problem(folder).contains("pytorch_model.bin: weights are pickled"));
        write(folder, "a.safetensors", "x", &[1.0, 2.0]);
        index(folder, r#""x":"a.safetensors","y":"b.safetensors""#);
        assert!(
            problem(folder).contains("b.safetensors: is missing (a shard that the index names)")
        );
        write(folder, "b.safetensors", "x", &[1.0]);
        assert!(problem(folder).contains("tensor `x` stands there twice"));
        index(folder, r#""x":"a.safetensors","x":"b.safetensors""#);
        assert!(problem(folder).contains("tensor `x` is named twice"));
        index(folder, r#""x":"../a.safetensors""#);
        assert!(problem(folder).contains("outside"));
        index(folder, "");
        assert!(problem(folder).contains("names no tensor"));
        let whole = std::fs::read(folder.join("a.safetensors")).unwrap();
        for length in [0, 5, 20, whole.len() - 1] {
            std::fs::write(folder.join("model.safetensors"), &whole[..length]).unwrap();
            let problem = problem(folder);
            assert!(
                problem.contains("not a complete safetensors file"),
                "{length}: {problem}"
            );
        }
        // A header that says the tensor is longer than the file.
        let text = String::from_utf8_lossy(&whole).replace("[0,8]", "[0,9]");
        std::fs::write(folder.join("model.safetensors"), text.as_bytes()).unwrap();
        assert!(problem(folder).contains("not a complete safetensors file"));
    }
}
