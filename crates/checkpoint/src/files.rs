//! The files of words in a folder: plain, and of bounded size.

use crate::CheckpointError;
use serde_json::{Map, Value};
use std::io::Read;
use std::path::Path;

/// The bytes of a file of a folder, if it is there.
pub(crate) fn optional(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
    let path = folder.join(name);
    match read_plain(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Unreadable { path, source }),
    }
}

/// The largest file of words that is read, in bytes; the largest tokenizers stay below a tenth of it.
const LARGEST: u64 = 1 << 29;

/// The bytes of a plain file of bounded size: a pipe would be waited for, and a device read without end.
pub(crate) fn read_plain(path: &Path) -> std::io::Result<Vec<u8>> {
    let refused = |problem: &str| Err(std::io::Error::other(problem.to_owned()));
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return refused("it is not a plain file");
    }
    if found.len() > LARGEST {
        return refused("it is larger than any such file");
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(LARGEST)
        .read_to_end(&mut bytes)?;
    if bytes.starts_with(b"version https://git-lfs") {
        return refused("a git-lfs pointer stands in its place; `git lfs pull` fetches the file");
    }
    Ok(bytes)
}

/// The bytes of a file of a folder that has to be there, for the reason given.
pub(crate) fn needed(
    folder: &Path,
    name: &str,
    needed: &'static str,
) -> Result<Vec<u8>, CheckpointError> {
    optional(folder, name)?.ok_or_else(|| CheckpointError::MissingFile {
        path: folder.join(name),
        needed,
    })
}

/// A file that is a JSON object.
pub(crate) fn object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, CheckpointError> {
    serde_json::from_slice(bytes).map_err(|source| CheckpointError::NotJson {
        path: path.to_owned(),
        source,
    })
}
