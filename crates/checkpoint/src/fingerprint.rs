//! What tells two checkpoints apart, whatever they are called.

use crate::CheckpointError;
use crate::stored::{File, Stored};
use crate::weights::Weights;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Digests of everything that decides the numbers (BLAKE3, hexadecimal).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of `config.json`.
    pub config: String,
    /// Of `tokenizer.json`.
    pub tokenizer: String,
    /// Of the chat template's text and the special tokens that it may name, where there is one.
    pub template: Option<String>,
    /// Of the weights' files: headers and content.
    pub weights: String,
    /// Of the adapter's config and weights, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Of all of the above together.
    pub whole: String,
}

/// Bytes that are read and hashed at once.
const PIECE: usize = 1 << 22;

impl Weights {
    /// The digest of all files, header and content, in file order. Every number is checked to be finite on the way. A file
    /// whose digest was computed before, and that has the same place, length and time of change, is not read again.
    ///
    /// # Errors
    /// [`CheckpointError::NotFinite`] naming the tensor; [`CheckpointError::Unreadable`].
    pub fn digest(&self) -> Result<String, CheckpointError> {
        if let Some(digest) = self.known_digest.get() {
            return Ok(digest.clone());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed().map_or([0; 8], u64::to_le_bytes));
        for (number, file) in self.files().iter().enumerate() {
            let digest = if let Some(digest) = remembered(file) {
                digest
            } else {
                let place = memory_of(file);
                let digest = self.read_through(number, file)?;
                // A file that was changed or replaced meanwhile has another place now.
                if place == memory_of(file) {
                    remember(place, &digest);
                }
                digest
            };
            hasher.update(digest.as_bytes());
        }
        let digest = hasher.finalize().to_hex().to_string();
        Ok(self.known_digest.get_or_init(|| digest).clone())
    }

    /// Bytes that [`Weights::digest`] would read.
    pub fn unread_bytes(&self) -> u64 {
        let unread = self
            .files()
            .iter()
            .filter(|file| remembered(file).is_none());
        unread.map(|file| file.length).sum()
    }

    fn read_through(&self, number: usize, file: &File) -> Result<String, CheckpointError> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        for (start, length, stored, name) in self.segments(number) {
            pieces(file, at, start, 1, |bytes| {
                hasher.update_rayon(bytes);
                true
            })?;
            let finite = pieces(file, start, start + length, stored.block().1, |bytes| {
                hasher.update_rayon(bytes);
                is_finite(stored, bytes)
            })?;
            if !finite {
                return Err(CheckpointError::NotFinite {
                    path: file.path.clone(),
                    tensor: name.to_owned(),
                });
            }
            at = start + length;
        }
        pieces(file, at, file.length, 1, |bytes| {
            hasher.update_rayon(bytes);
            true
        })?;
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// Reads bytes from `start` to `end` in pieces of whole blocks; gives whether all were found good.
fn pieces(
    file: &File,
    start: u64,
    end: u64,
    block: usize,
    mut good: impl FnMut(&[u8]) -> bool,
) -> Result<bool, CheckpointError> {
    let most = PIECE / block.max(1) * block.max(1);
    let mut buffer = Vec::new();
    let (mut at, mut all) = (start, true);
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(most);
        buffer.resize(length, 0);
        let unreadable = |source| CheckpointError::Unreadable {
            path: file.path.clone(),
            source,
        };
        file.bytes.read(at, &mut buffer).map_err(unreadable)?;
        all &= good(&buffer);
        at += length as u64;
    }
    Ok(all)
}

/// [`Stored::is_finite`] on all processors.
fn is_finite(stored: Stored, bytes: &[u8]) -> bool {
    let task = stored.block().1.max(1) << 12;
    bytes.par_chunks(task).all(|bytes| stored.is_finite(bytes))
}

/// The folder of this program's cache: `CONCORD_CACHE`, or the system's place for caches.
pub fn cache_folder() -> Option<PathBuf> {
    let named = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    named("CONCORD_CACHE").or_else(|| {
        let caches = named("XDG_CACHE_HOME")
            .or_else(|| named("LOCALAPPDATA"))
            .or_else(|| named("HOME").map(|home| home.join(".cache")));
        caches.map(|caches| caches.join("concord"))
    })
}

/// Where the digest of a file is kept: named for the file's place, length, number and time of change.
fn memory_of(file: &File) -> Option<PathBuf> {
    let path = file.path.canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    let changed = metadata.modified().ok()?;
    let changed = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_os_str().as_encoded_bytes());
    hasher.update(&metadata.len().to_le_bytes());
    hasher.update(&changed.as_nanos().to_le_bytes());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        hasher.update(&metadata.ino().to_le_bytes());
        // Changes that put the time of change back move this one.
        hasher.update(&metadata.ctime().to_le_bytes());
        hasher.update(&metadata.ctime_nsec().to_le_bytes());
    }
    let name = hasher.finalize().to_hex();
    Some(cache_folder()?.join("digests").join(name.as_str()))
}

fn remembered(file: &File) -> Option<String> {
    let digest = std::fs::read_to_string(memory_of(file)?).ok()?;
    (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digest)
}

/// Keeps a digest; a cache that cannot be written is no cache, and nothing worse.
fn remember(place: Option<PathBuf>, digest: &str) {
    let Some(place) = place else {
        return;
    };
    let beside = place.with_extension(std::process::id().to_string());
    let written = place
        .parent()
        .map(std::fs::create_dir_all)
        .and_then(Result::ok)
        .and_then(|()| std::fs::write(&beside, digest).ok())
        .and_then(|()| std::fs::rename(&beside, &place).ok());
    if written.is_none() {
        let _ = std::fs::remove_file(&beside);
    }
}
