//! The residual streams of all passes between two layers, in memory or in a file.

use crate::ScorerError;
use crate::kept::KeptRows;
use concord_kernels::{Engine, OnHost, RowUse, Rows};
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where the streams of all passes are.
pub(crate) enum HiddenStore {
    /// On the device, by pass.
    Device(Vec<Option<Rows>>),
    /// In the host's memory where the device is another.
    Host(HostStreams),
    File(SpillFile),
    Kept(KeptRows),
}

/// Streams in the host's memory.
pub(crate) struct HostStreams {
    hidden: usize,
    /// By pass.
    streams: Vec<Vec<f32>>,
    /// Those that are on their way, with their pass.
    arriving: VecDeque<(usize, OnHost)>,
}

/// How many streams may be on their way to the host.
const ARRIVING: usize = 2;

impl HostStreams {
    pub fn new(hidden: usize, passes: usize) -> Self {
        Self {
            hidden,
            streams: vec![Vec::new(); passes],
            arriving: VecDeque::new(),
        }
    }

    fn settle(&mut self, most: usize) -> Result<(), ScorerError> {
        while self.arriving.len() > most {
            if let Some((pass, stream)) = self.arriving.pop_front() {
                self.streams[pass] = stream.wait()?;
            }
        }
        Ok(())
    }
}

/// Streams one after another in a file that is gone when it is closed.
pub(crate) struct SpillFile {
    path: PathBuf,
    file: File,
    hidden: usize,
    /// The first row of each pass, and one past the last.
    starts: Vec<usize>,
}

impl HiddenStore {
    /// The stream of a pass, taken out until it is put back.
    pub fn take(&mut self, pass: usize, engine: &Engine) -> Result<Rows, ScorerError> {
        match self {
            Self::Device(streams) => match streams[pass].take() {
                Some(stream) => Ok(stream),
                None => Ok(engine.from_host(Vec::new(), 1, RowUse::Pass)?),
            },
            Self::Host(host) => {
                if host.arriving.iter().any(|(arriving, _)| *arriving == pass) {
                    host.settle(0)?;
                }
                let stream = std::mem::take(&mut host.streams[pass]);
                Ok(engine.from_host(stream, host.hidden, RowUse::Pass)?)
            }
            Self::File(file) => {
                Ok(engine.from_host(file.read(pass)?, file.hidden, RowUse::Pass)?)
            }
            Self::Kept(kept) => {
                Ok(engine.from_host(kept.read(pass)?, kept.hidden(), RowUse::Pass)?)
            }
        }
    }

    /// Takes the stream of a pass.
    pub fn put(&mut self, pass: usize, stream: Rows, engine: &Engine) -> Result<(), ScorerError> {
        match self {
            Self::Device(streams) => {
                streams[pass] = Some(stream);
                Ok(())
            }
            Self::Host(host) => {
                host.arriving
                    .push_back((pass, engine.to_host_later(&stream)?));
                host.settle(ARRIVING)
            }
            Self::File(file) => file.write(pass, &stream.to_host()?),
            Self::Kept(kept) => kept.write(&stream.to_host()?),
        }
    }

    /// Layers that all passes were through before, in a run that was stopped.
    pub fn layers(&self) -> usize {
        match self {
            Self::Kept(kept) => kept.layers(),
            _ => 0,
        }
    }

    /// All passes are through one layer more.
    pub fn layer_is_whole(&mut self) -> Result<(), ScorerError> {
        match self {
            Self::Kept(kept) => kept.layer_is_whole(),
            _ => Ok(()),
        }
    }

    /// Nothing is needed any more.
    pub fn remove(self) -> Result<(), ScorerError> {
        match self {
            Self::Kept(kept) => kept.remove(),
            _ => Ok(()),
        }
    }
}

impl SpillFile {
    /// Makes room for streams of passes that begin at these rows (one past the last included) in a folder.
    ///
    /// # Errors
    /// [`ScorerError::Spill`] where the folder cannot be written to or has too little room.
    pub fn new(folder: &Path, hidden: usize, starts: Vec<usize>) -> Result<Self, ScorerError> {
        let failed = |source| ScorerError::Spill {
            path: folder.to_owned(),
            source,
        };
        let file = tempfile::tempfile_in(folder).map_err(failed)?;
        let rows = starts.last().copied().unwrap_or(0);
        reserve(&file, bytes(rows, hidden)).map_err(failed)?;
        Ok(Self {
            path: folder.to_owned(),
            file,
            hidden,
            starts,
        })
    }

    fn failed(&self, source: std::io::Error) -> ScorerError {
        ScorerError::Spill {
            path: self.path.clone(),
            source,
        }
    }

    fn read(&self, pass: usize) -> Result<Vec<f32>, ScorerError> {
        let rows = self.starts[pass + 1] - self.starts[pass];
        let mut values = vec![0.0f32; rows * self.hidden];
        let at = bytes(self.starts[pass], self.hidden);
        read_at(&self.file, bytemuck::cast_slice_mut(&mut values), at)
            .map_err(|source| self.failed(source))?;
        Ok(values)
    }

    fn write(&self, pass: usize, values: &[f32]) -> Result<(), ScorerError> {
        let at = bytes(self.starts[pass], self.hidden);
        write_at(&self.file, bytemuck::cast_slice(values), at).map_err(|source| self.failed(source))
    }
}

/// Bytes of so many rows.
pub(crate) fn bytes(rows: usize, hidden: usize) -> u64 {
    (rows * hidden * size_of::<f32>()) as u64
}

/// Takes the room at once, so that a disk that is too small is found before the work.
#[cfg(target_os = "linux")]
pub(crate) fn reserve(file: &File, length: u64) -> std::io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        // Not every file system can; the writes will tell.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => other.map_err(Into::into),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn reserve(file: &File, length: u64) -> std::io::Result<()> {
    file.set_len(length)
}

#[cfg(unix)]
pub(crate) fn read_at(file: &File, out: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(unix)]
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut out: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, out, at)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        (at, out) = (at + read as u64, &mut out[read..]);
    }
    Ok(())
}

#[cfg(windows)]
pub(crate) fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        (at, bytes) = (at + written as u64, &bytes[written..]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(rows: usize, first: f32) -> Rows {
        let values = (0..rows * 3).map(|i| first + i as f32).collect();
        Engine::cpu().from_host(values, 3, RowUse::Pass).unwrap()
    }

    #[test]
    fn every_store_gives_back_what_it_took() {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::cpu());
        let file = SpillFile::new(folder.path(), 3, vec![0, 2, 6, 7]).unwrap();
        let stores = [
            HiddenStore::File(file),
            HiddenStore::Host(HostStreams::new(3, 3)),
            HiddenStore::Device(vec![None; 3]),
        ];
        for mut store in stores {
            for (pass, rows) in [2, 4, 1].into_iter().enumerate() {
                store
                    .put(pass, stream(rows, 10.0 * pass as f32), &engine)
                    .unwrap();
            }
            store.put(1, stream(4, 0.5), &engine).unwrap();
            let mut rows = |pass: usize| store.take(pass, &engine).unwrap().to_rows().unwrap();
            assert_eq!(rows(0), stream(2, 0.0).to_rows().unwrap());
            assert_eq!(rows(1), stream(4, 0.5).to_rows().unwrap());
            assert_eq!(rows(2), stream(1, 20.0).to_rows().unwrap());
        }
        // Nothing is left behind, whatever happens to the process.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = SpillFile::new(&missing, 3, vec![0, 2])
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_without_room_is_an_error_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        // 2^60 bytes are more than any disk has.
        let rows = 1usize << 55;
        let error = SpillFile::new(folder.path(), 8, vec![0, rows])
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, ScorerError::Spill { .. }), "{error}");
    }

    /// The device that is always full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_fills_is_an_error_at_that_point() {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap();
        let file = SpillFile {
            path: "/dev/full".into(),
            file,
            hidden: 3,
            starts: vec![0, 2],
        };
        let error = file.write(0, &[0.0; 6]).unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }
}
