//! Rows between layers that outlive a stop: in files under a name, from which the next run of the same goes on.

use crate::ScorerError;
use crate::hidden::{bytes, read_at, reserve, write_at};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// What the files begin with.
const ROWS: &str = "rows-";

/// What the record of a layer begins with.
const MAGIC: &[u8; 8] = b"concord1";

/// Streams after one layer in a file, those after the next in another, and a record of how many layers are whole.
pub(crate) struct KeptRows {
    /// The files without their endings.
    stem: PathBuf,
    /// Those after an odd number of layers, and after an even one.
    files: [File; 2],
    hidden: usize,
    /// The first row of each pass, and one past the last.
    starts: Vec<usize>,
    /// What rows and passes they are of.
    identity: blake3::Hash,
    /// Layers that all rows are through.
    layers: usize,
    /// Checksums of the streams after the next layer, by pass.
    sums: Vec<u64>,
}

impl KeptRows {
    /// Opens what a stopped run left in `folder` under `name`, if it is of the same identity and as it was written, or makes room for
    /// streams of passes that begin at these rows (one past the last included).
    ///
    /// # Errors
    /// [`ScorerError::Spill`] where the folder cannot be written to or has too little room.
    pub fn open(
        folder: &Path,
        name: &str,
        identity: blake3::Hash,
        hidden: usize,
        starts: Vec<usize>,
    ) -> Result<Self, ScorerError> {
        let stem = folder.join(format!("{ROWS}{name}"));
        let failed = |source| ScorerError::Spill {
            path: folder.to_owned(),
            source,
        };
        if let Some((layers, sums)) = record(&stem, &identity)
            && let Ok(files) = files(&stem, OpenOptions::new().read(true).write(true))
        {
            let kept = Self {
                stem: stem.clone(),
                files,
                hidden,
                starts: starts.clone(),
                identity,
                layers,
                sums: Vec::new(),
            };
            if kept.is_as_written(&sums) {
                return Ok(kept);
            }
        }
        remove(&stem).map_err(failed)?;
        let mut options = OpenOptions::new();
        let files = files(&stem, options.read(true).write(true).create_new(true));
        let files = files.map_err(failed)?;
        for file in &files {
            let rows = starts.last().copied().unwrap_or(0);
            reserve(file, bytes(rows, hidden)).map_err(failed)?;
        }
        Ok(Self {
            stem,
            files,
            hidden,
            starts,
            identity,
            layers: 0,
            sums: Vec::new(),
        })
    }

    /// Values of a row.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Layers that all rows are through.
    pub fn layers(&self) -> usize {
        self.layers
    }

    fn is_as_written(&self, sums: &[u64]) -> bool {
        let is_whole = |pass: usize| self.read(pass).is_ok_and(|rows| sum(&rows) == sums[pass]);
        sums.len() + 1 == self.starts.len() && (0..sums.len()).all(is_whole)
    }

    /// The stream of a pass after the layers that are whole.
    pub fn read(&self, pass: usize) -> Result<Vec<f32>, ScorerError> {
        let rows = self.starts[pass + 1] - self.starts[pass];
        let mut values = vec![0.0f32; rows * self.hidden];
        let at = bytes(self.starts[pass], self.hidden);
        let file = &self.files[(self.layers + 1) % 2];
        read_at(file, bytemuck::cast_slice_mut(&mut values), at)
            .map_err(|source| self.failed(source))?;
        Ok(values)
    }

    /// Takes the stream of a pass after the next layer; passes come in order.
    pub fn write(&mut self, values: &[f32]) -> Result<(), ScorerError> {
        let at = bytes(self.starts[self.sums.len()], self.hidden);
        let file = &self.files[self.layers % 2];
        write_at(file, bytemuck::cast_slice(values), at).map_err(|source| self.failed(source))?;
        self.sums.push(sum(values));
        Ok(())
    }

    /// All passes are through one layer more. The record is there before the streams of the layer before are overwritten; that both
    /// reach the disk is left to the system, and what did not is found by its checksum.
    pub fn layer_is_whole(&mut self) -> Result<(), ScorerError> {
        self.layers += 1;
        let text = encoded(&self.identity, self.layers, &self.sums);
        self.sums.clear();
        let (new, place) = (ending(&self.stem, "new"), ending(&self.stem, "layers"));
        let _ = std::fs::remove_file(&new);
        let mut options = OpenOptions::new();
        let record = options.write(true).create_new(true).open(&new);
        let written = record.and_then(|mut record| record.write_all(&text));
        let named = written.and_then(|()| std::fs::rename(&new, &place));
        named.map_err(|source| self.failed(source))
    }

    /// Removes the files: everything is read.
    pub fn remove(self) -> Result<(), ScorerError> {
        remove(&self.stem).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> ScorerError {
        ScorerError::Spill {
            path: self.stem.clone(),
            source,
        }
    }
}

fn ending(stem: &Path, ending: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

/// The files that runs under a name left in a folder.
pub(crate) fn left_over(folder: &Path, name: &str) -> Vec<PathBuf> {
    let begin = format!("{ROWS}{name}-");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_its = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&begin))
    };
    entries.map(|entry| entry.path()).filter(is_its).collect()
}

/// Whether a run that was stopped left rows in a folder under a name.
pub(crate) fn are_kept(folder: &Path, name: &str) -> bool {
    let record = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "layers");
    left_over(folder, name).iter().any(record)
}

/// Opens a file. A link in its place is not followed.
fn opened(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW);
    }
    options.open(path)
}

/// The two files of streams.
fn files(stem: &Path, options: &mut OpenOptions) -> std::io::Result<[File; 2]> {
    Ok([
        opened(&ending(stem, "odd"), options)?,
        opened(&ending(stem, "even"), options)?,
    ])
}

fn remove(stem: &Path) -> std::io::Result<()> {
    for name in ["layers", "new", "odd", "even"] {
        match std::fs::remove_file(ending(stem, name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn sum(values: &[f32]) -> u64 {
    let hash = blake3::hash(bytemuck::cast_slice(values));
    let (first, _) = hash.as_bytes().split_at(8);
    number(first)
}

/// Eight bytes as a number, the lowest first.
fn number(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn encoded(identity: &blake3::Hash, layers: usize, sums: &[u64]) -> Vec<u8> {
    let mut text = MAGIC.to_vec();
    text.extend_from_slice(identity.as_bytes());
    text.extend_from_slice(&(layers as u64).to_le_bytes());
    for sum in sums {
        text.extend_from_slice(&sum.to_le_bytes());
    }
    let whole = blake3::hash(&text);
    text.extend_from_slice(whole.as_bytes());
    text
}

/// How many layers are whole, and the checksums of the streams after them, where that was recorded of the same rows.
fn record(stem: &Path, identity: &blake3::Hash) -> Option<(usize, Vec<u64>)> {
    let file = opened(&ending(stem, "layers"), OpenOptions::new().read(true)).ok()?;
    let mut text = Vec::new();
    file.take(1 << 30).read_to_end(&mut text).ok()?;
    let (text, whole) = text.split_last_chunk::<32>()?;
    if blake3::hash(text).as_bytes() != whole {
        return None;
    }
    let rest = text
        .strip_prefix(MAGIC)?
        .strip_prefix(&identity.as_bytes()[..])?;
    let numbers = rest.chunks_exact(8).map(number);
    let mut numbers = numbers.collect::<Vec<u64>>().into_iter();
    let layers = usize::try_from(numbers.next()?).ok()?;
    Some((layers, numbers.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTS: [usize; 4] = [0, 2, 6, 7];

    fn open(folder: &Path, of: &str) -> KeptRows {
        let identity = blake3::hash(of.as_bytes());
        KeptRows::open(folder, "m-0", identity, 3, STARTS.to_vec()).unwrap()
    }

    /// What stands after a layer in a pass.
    fn rows(layer: usize, pass: usize) -> Vec<f32> {
        let count = (STARTS[pass + 1] - STARTS[pass]) * 3;
        (0..count)
            .map(|i| (100 * layer + 10 * pass + i) as f32)
            .collect()
    }

    fn compute(kept: &mut KeptRows, passes: usize) {
        let layer = kept.layers();
        for pass in 0..passes {
            if layer > 0 {
                assert_eq!(kept.read(pass).unwrap(), rows(layer - 1, pass));
            }
            kept.write(&rows(layer, pass)).unwrap();
        }
        if passes == 3 {
            kept.layer_is_whole().unwrap();
        }
    }

    #[test]
    fn what_is_whole_is_gone_on_from_wherever_a_run_stops() {
        for layers in 0..5 {
            for passes in 0..3 {
                let folder = tempfile::tempdir().unwrap();
                let mut kept = open(folder.path(), "a");
                for _ in 0..layers {
                    compute(&mut kept, 3);
                }
                compute(&mut kept, passes);
                drop(kept);
                let mut kept = open(folder.path(), "a");
                assert_eq!(kept.layers(), layers, "{layers} {passes}");
                assert_eq!(are_kept(folder.path(), "m"), layers > 0);
                compute(&mut kept, 3);
                compute(&mut kept, 3);
                kept.remove().unwrap();
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            }
        }
    }

    #[test]
    fn what_is_of_others_or_damaged_is_begun_anew() {
        let left = || {
            let folder = tempfile::tempdir().unwrap();
            let mut kept = open(folder.path(), "a");
            compute(&mut kept, 3);
            compute(&mut kept, 3);
            folder
        };
        assert_eq!(open(left().path(), "b").layers(), 0);
        // The streams after two layers are in the second file.
        for (file, layers) in [("layers", 0), ("even", 0), ("odd", 2)] {
            let folder = left();
            let path = folder.path().join(format!("rows-m-0.{file}"));
            let whole = std::fs::read(&path).unwrap();
            let mut changed = whole.clone();
            changed[50] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert_eq!(open(folder.path(), "a").layers(), layers, "{file}");
            let folder = left();
            let path = folder.path().join(format!("rows-m-0.{file}"));
            std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
            assert_eq!(open(folder.path(), "a").layers(), layers, "{file}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = outside.path().join("target");
        std::fs::write(&target, "precious").unwrap();
        for ending in ["layers", "new", "odd", "even"] {
            let link = folder.path().join(format!("rows-m-0.{ending}"));
            std::os::unix::fs::symlink(&target, link).unwrap();
        }
        let mut kept = open(folder.path(), "a");
        compute(&mut kept, 3);
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    }
}
