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

/// Bytes that are read and hashed at once: what caches hold between the two.
const PIECE: usize = 1 << 23;
/// Bytes that one task reads.
const TASK: usize = 1 << 18;

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
        let mut through = Through {
            file,
            hasher: blake3::Hasher::new(),
            room: Vec::new(),
            at: 0,
        };
        for (start, length, stored, name) in self.segments(number) {
            through.read_to(start, None)?;
            if !through.read_to(start + length, Some(stored))? {
                return Err(CheckpointError::NotFinite {
                    path: file.path.clone(),
                    tensor: name.to_owned(),
                });
            }
        }
        through.read_to(file.length, None)?;
        Ok(through.hasher.finalize().to_hex().to_string())
    }
}

/// A file that is read from its beginning, on all processors.
struct Through<'a> {
    file: &'a File,
    hasher: blake3::Hasher,
    room: Vec<u8>,
    at: u64,
}

impl Through<'_> {
    /// Reads on to `end`; gives whether what is stored there, in whole blocks, is finite.
    fn read_to(&mut self, end: u64, stored: Option<Stored>) -> Result<bool, CheckpointError> {
        let block = stored.map_or(1, |stored| stored.block().1.max(1));
        let task = TASK / block * block;
        let most = (PIECE / task).max(1) * task;
        let (file, mut all) = (self.file, true);
        while self.at < end {
            let length = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            let length = length.min(most);
            if self.room.len() < length {
                self.room.resize(length, 0);
            }
            let (room, begin) = (&mut self.room[..length], self.at);
            let tasks = room.par_chunks_mut(task).enumerate();
            let finite = tasks.map(|(number, bytes)| {
                file.bytes.read(begin + (number * task) as u64, bytes)?;
                Ok(stored.is_none_or(|stored| stored.is_finite(bytes)))
            });
            let unreadable = |source| CheckpointError::Unreadable {
                path: file.path.clone(),
                source,
            };
            let finite = finite.try_reduce(|| true, |a, b| Ok(a && b));
            all &= finite.map_err(unreadable)?;
            self.hasher.update_rayon(room);
            self.at += length as u64;
        }
        Ok(all)
    }
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
