//! Readings, appended as they come.

use crate::RunError;
use concord_readings::Reading;
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// One checkpoint's readings on disk.
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    /// Readings by prompt, those of an earlier attempt included.
    pub readings: HashMap<String, Reading>,
}

impl Journal {
    /// Opens a journal, with what is in it. A last line that was cut off is dropped from the file.
    ///
    /// # Errors
    /// [`RunError::Damaged`] where another line is no reading; [`RunError::InUse`] where another program has it open;
    /// [`RunError::File`].
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let failed = |source| RunError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let (mut readings, mut whole) = (HashMap::new(), 0);
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if !line.ends_with(b"\n") {
                break;
            }
            let reading: Reading =
                serde_json::from_slice(line).map_err(|source| RunError::Damaged {
                    path: path.to_owned(),
                    line: index + 1,
                    source,
                })?;
            whole += line.len() as u64;
            readings.insert(reading.id.clone(), reading);
        }
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            readings,
        })
    }

    /// Appends readings and hands them to the operating system.
    ///
    /// # Errors
    /// [`RunError::File`], [`RunError::Encode`]; nothing is lost silently.
    pub fn append(&mut self, readings: impl IntoIterator<Item = Reading>) -> Result<(), RunError> {
        for reading in readings {
            let mut line = serde_json::to_vec(&reading).map_err(|source| RunError::Encode {
                path: self.path.clone(),
                source,
            })?;
            line.push(b'\n');
            self.file
                .write_all(&line)
                .map_err(|source| self.failed(source))?;
            self.readings.insert(reading.id.clone(), reading);
        }
        self.file.flush().map_err(|source| self.failed(source))
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn close(mut self) -> Result<HashMap<String, Reading>, RunError> {
        self.file.flush().map_err(|source| self.failed(source))?;
        self.file
            .get_ref()
            .sync_all()
            .map_err(|source| self.failed(source))?;
        Ok(self.readings)
    }

    fn failed(&self, source: std::io::Error) -> RunError {
        RunError::File {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(id: &str) -> Reading {
        Reading {
            id: id.into(),
            tokens: 3,
            answers: vec![],
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append([reading("a"), reading("b")]).unwrap();
        drop(journal);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 4]).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.readings.keys().collect::<Vec<_>>(), ["a"]);
        journal.append([reading("b")]).unwrap();
        assert_eq!(journal.close().unwrap().len(), 2);
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }

    #[test]
    fn a_journal_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        let _first = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(RunError::InUse { .. })));
    }

    #[test]
    fn another_damaged_line_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        std::fs::write(&path, "{\"id\":\n{}\n").unwrap();
        assert!(matches!(
            Journal::open(&path),
            Err(RunError::Damaged { line: 1, .. })
        ));
    }
}
