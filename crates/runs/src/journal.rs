//! Readings, appended as they come.

use crate::RunError;
use crate::folder::{Folder, write_bytes};
use crate::seal::{Digest, Sealed, digest, open_line, sealed_line};
use concord_readings::Reading;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long what was appended may wait until it is on disk.
const SYNC: Duration = Duration::from_secs(5);
/// The longest line that is read.
const LONGEST_LINE: u64 = 1 << 26;

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// The version of the form.
    journal: u32,
    /// The digest of what the readings were made with.
    settings: String,
}

/// A line that says of how many rows the passes were by which the lines after it were read, where that moves bits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Passes {
    rows_per_pass: u64,
}

/// One checkpoint's readings on disk.
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    /// Readings by prompt, those of an earlier attempt included.
    pub readings: HashMap<String, Reading>,
    /// Lines that were not what had been written: what they held is asked again.
    pub damaged: Vec<usize>,
    /// How many readings came of passes of how many rows, where that was said.
    pub by_pass: BTreeMap<u64, usize>,
    rows_per_pass: Option<u64>,
    synced: Instant,
}

impl Journal {
    /// Opens a journal, with what is in it. `settings` is the digest of what its readings are made with. A last line that was cut off is
    /// dropped from the file; so are lines that are damaged, of which [`Journal::damaged`] tells.
    ///
    /// # Errors
    /// [`RunError::OtherSettings`] where it was begun with others; [`RunError::NotPlain`], [`RunError::File`].
    pub(crate) fn open(folder: &Folder, place: &Path, settings: &str) -> Result<Self, RunError> {
        let (path, mut file) = folder.append(place)?;
        let failed = |source| RunError::File {
            path: path.clone(),
            source,
        };
        let lines = Lines::read(&path, &file)?;
        let other = |key: &str| RunError::OtherSettings {
            path: path.clone(),
            key: key.to_owned(),
        };
        if lines
            .settings
            .as_ref()
            .is_some_and(|other| other != settings)
        {
            return Err(other("settings"));
        }
        if lines.bare {
            // Of a version of before: nothing says what it was read with.
            return Err(other("schema"));
        }
        if lines.settings.is_none() || !lines.damaged.is_empty() {
            let mut whole = head(&path, settings)?;
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            for (index, line) in BufReader::new(&file).split(b'\n').enumerate() {
                let line = line.map_err(failed)?;
                let is_head = index == 0 && lines.settings.is_some();
                if !is_head && index < lines.count && !lines.damaged.contains(&(index + 1)) {
                    whole.extend_from_slice(&line);
                    whole.push(b'\n');
                }
            }
            write_bytes(&path, &whole)?;
            (_, file) = folder.append(place)?;
        } else {
            file.set_len(lines.length).map_err(failed)?;
        }
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
            readings: lines.readings,
            damaged: lines.damaged,
            by_pass: lines.by_pass,
            rows_per_pass: lines.rows_per_pass,
            synced: Instant::now(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says of how many rows the passes are from here on, where that moves bits.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn passes_of(&mut self, rows: u64) -> Result<(), RunError> {
        if self.rows_per_pass == Some(rows) {
            return Ok(());
        }
        let passes = Passes {
            rows_per_pass: rows,
        };
        let line = sealed_line(&encoded(&self.path, &passes)?);
        let written = self.file.write_all(&line);
        written.map_err(|source| self.failed(source))?;
        self.rows_per_pass = Some(rows);
        Ok(())
    }

    /// Appends readings and hands them to the operating system; every few seconds waits until they are on disk.
    ///
    /// # Errors
    /// [`RunError::File`], [`RunError::Encode`]; nothing is lost silently.
    pub fn append(&mut self, readings: impl IntoIterator<Item = Reading>) -> Result<(), RunError> {
        let readings: Vec<Reading> = readings.into_iter().collect();
        let path = &self.path;
        let lines = readings.par_iter().with_min_len(FEW);
        let lines = lines.map(|reading| Ok(sealed_line(&encoded(path, reading)?)));
        let lines = lines.collect::<Result<Vec<Vec<u8>>, RunError>>()?;
        for (reading, line) in readings.into_iter().zip(lines) {
            self.file
                .write_all(&line)
                .map_err(|source| self.failed(source))?;
            if let Some(rows) = self.rows_per_pass {
                *self.by_pass.entry(rows).or_default() += 1;
            }
            self.readings.insert(reading.id.clone(), reading);
        }
        self.file.flush().map_err(|source| self.failed(source))?;
        if self.synced.elapsed() >= SYNC {
            let synced = self.file.get_ref().sync_data();
            synced.map_err(|source| self.failed(source))?;
            self.synced = Instant::now();
        }
        Ok(())
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn close(mut self) -> Result<HashMap<String, Reading>, RunError> {
        self.file.flush().map_err(|source| self.failed(source))?;
        let synced = self.file.get_ref().sync_all();
        synced.map_err(|source| self.failed(source))?;
        Ok(std::mem::take(&mut self.readings))
    }

    fn failed(&self, source: std::io::Error) -> RunError {
        RunError::File {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for Journal {
    /// What was appended and not yet waited for: a stop is no reason to leave it to chance.
    fn drop(&mut self) {
        let _ = self.file.flush();
        let _ = self.file.get_ref().sync_data();
    }
}

fn encoded(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, RunError> {
    serde_json::to_vec(value).map_err(|source| RunError::Encode {
        path: path.to_owned(),
        source,
    })
}

/// The first line of a journal.
fn head(path: &Path, settings: &str) -> Result<Vec<u8>, RunError> {
    let head = Head {
        journal: 1,
        settings: settings.to_owned(),
    };
    Ok(sealed_line(&encoded(path, &head)?))
}

/// What is in a journal.
#[derive(Default)]
pub(crate) struct Lines {
    /// What its first line says.
    pub settings: Option<String>,
    /// By prompt.
    pub readings: HashMap<String, Reading>,
    /// How many of them came of passes of how many rows, and of how many the last.
    pub by_pass: BTreeMap<u64, usize>,
    rows_per_pass: Option<u64>,
    /// Numbers of lines that are not what was written, from 1. A last line that was cut off is none of them.
    pub damaged: Vec<usize>,
    /// Whether it was written before lines had checksums.
    bare: bool,
    /// Bytes of all lines with an end, and how many there are.
    length: u64,
    count: usize,
    /// The digest of all lines, where none is longer than any that is written.
    pub digest: String,
}

/// Lines that are read at once, and their bytes, about.
const BATCH: usize = 4096;
const BATCH_BYTES: usize = 1 << 24;
/// Lines that are not worth a thread's while.
const FEW: usize = 64;

/// What one line is.
enum Line {
    /// The first, with the settings that the journal is of.
    Head(String),
    Reading(Box<Reading>),
    /// Of how many rows passes are from here on.
    Passes(u64),
    Damaged,
    /// Without a checksum, as they were written once.
    Bare(Option<Box<Reading>>),
}

impl Line {
    fn of(number: usize, line: &[u8]) -> Self {
        match open_line(line) {
            Sealed::Changed => Self::Damaged,
            Sealed::Bare => Self::Bare(serde_json::from_slice(line).ok()),
            Sealed::Whole(json) => {
                let head = || serde_json::from_slice::<Head>(&json).ok();
                if let Some(head) = (number == 1).then(head).flatten()
                    && head.journal == 1
                {
                    return Self::Head(head.settings);
                }
                if let Ok(reading) = serde_json::from_slice(&json) {
                    return Self::Reading(reading);
                }
                let passes = serde_json::from_slice::<Passes>(&json);
                passes.map_or(Self::Damaged, |passes| Self::Passes(passes.rows_per_pass))
            }
        }
    }
}

impl Lines {
    /// Reads a journal. Lines without a checksum are read where no line has one, as they were written once.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn read(path: &Path, file: &File) -> Result<Self, RunError> {
        let mut lines = Self::default();
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut bare = Vec::new();
        let mut digest = Digest::default();
        loop {
            let batch = lines.batch(path, &mut reader)?;
            let numbers = lines.count + 1..;
            let Some((last, _)) = numbers.clone().zip(&batch).last() else {
                break;
            };
            for line in batch.iter().flatten() {
                digest.add(line);
            }
            let numbered: Vec<(usize, Option<Vec<u8>>)> = numbers.zip(batch).collect();
            let read = numbered.into_par_iter().with_min_len(FEW);
            let read = read.map(|(number, line)| {
                (
                    number,
                    line.map_or(Line::Damaged, |line| Line::of(number, &line)),
                )
            });
            for (number, line) in read.collect::<Vec<_>>() {
                match line {
                    Line::Head(settings) => lines.settings = Some(settings),
                    Line::Reading(reading) => lines.take(*reading),
                    Line::Passes(rows) => lines.rows_per_pass = Some(rows),
                    Line::Damaged => lines.damaged.push(number),
                    Line::Bare(reading) => bare.push((number, reading)),
                }
            }
            lines.count = last;
        }
        let sealed =
            lines.settings.is_some() || !lines.readings.is_empty() || !lines.damaged.is_empty();
        for (number, reading) in bare {
            match reading {
                Some(reading) if !sealed => {
                    lines.take(*reading);
                    lines.bare = true;
                }
                _ => lines.damaged.push(number),
            }
        }
        lines.damaged.sort_unstable();
        lines.digest = digest.hexadecimal();
        Ok(lines)
    }

    /// The next lines with an end, of which one that is longer than any that was written is `None`; none at the end.
    fn batch(
        &mut self,
        path: &Path,
        reader: &mut BufReader<&File>,
    ) -> Result<Vec<Option<Vec<u8>>>, RunError> {
        let failed = |source| RunError::File {
            path: path.to_owned(),
            source,
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let mut line = Vec::new();
            let mut read = reader.by_ref().take(LONGEST_LINE);
            read.read_until(b'\n', &mut line).map_err(failed)?;
            let mut length = line.len() as u64;
            let too_long = length == LONGEST_LINE && !line.ends_with(b"\n");
            if too_long {
                // Up to its end it is damaged.
                length += reader.skip_until(b'\n').map_err(failed)? as u64;
            } else if !line.ends_with(b"\n") {
                break;
            }
            self.length += length;
            bytes += line.len();
            batch.push((!too_long).then_some(line));
        }
        Ok(batch)
    }

    /// Reads a journal in which every line is what was written, the last one too.
    ///
    /// # Errors
    /// [`RunError::Changed`] naming the first line that is not; [`RunError::File`].
    pub fn read_whole(path: &Path, file: &File) -> Result<Self, RunError> {
        let lines = Self::read(path, file)?;
        let is_all = file
            .metadata()
            .is_ok_and(|found| found.len() == lines.length);
        let cut_off = (!is_all).then_some(lines.count + 1);
        match lines.damaged.first().copied().or(cut_off) {
            None => Ok(lines),
            line => Err(RunError::Changed {
                path: path.to_owned(),
                line,
            }),
        }
    }

    fn take(&mut self, reading: Reading) {
        if let Some(rows) = self.rows_per_pass {
            *self.by_pass.entry(rows).or_default() += 1;
        }
        self.readings.insert(reading.id.clone(), reading);
    }
}

/// Whether a journal has a reading, or something that is not known to be none.
///
/// # Errors
/// [`RunError::File`].
pub(crate) fn has_readings(path: &Path, file: &File) -> Result<bool, RunError> {
    let failed = |source| RunError::File {
        path: path.to_owned(),
        source,
    };
    for (number, line) in BufReader::new(file).split(b'\n').enumerate().take(3) {
        let line = line.map_err(failed)?;
        let is_none = number == 0 || line.is_empty() || passes_of_line(&line).is_some();
        if !is_none {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A journal whose readings stand in the order of their names, those of passes of one length together: however it came about, a finished
/// journal has the same bytes.
pub(crate) struct InOrder {
    /// What it has to be; `None` where it stands so.
    pub other: Option<Vec<u8>>,
    /// The digest of what it is then.
    pub digest: String,
}

/// Puts a journal in order, of which every line is what was written, the last one too.
///
/// # Errors
/// [`RunError::Changed`] naming the first line that is not; [`RunError::File`].
pub(crate) fn in_order(path: &Path, file: &File) -> Result<InOrder, RunError> {
    let failed = |source| RunError::File {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let mut reader = BufReader::new(file);
    reader.read_to_end(&mut bytes).map_err(failed)?;
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    // As in a journal that is read: all lines have checksums, or none has one, as they were written once.
    let is_sealed = lines.first().is_some_and(|line| open_line(line).is_whole());
    let is_wrong = |line: &&[u8]| {
        let is_whole = if is_sealed {
            open_line(line).is_whole()
        } else {
            matches!(open_line(line), Sealed::Bare)
        };
        !is_whole || !line.ends_with(b"\n")
    };
    if let Some(at) = lines.par_iter().position_first(is_wrong) {
        return Err(RunError::Changed {
            path: path.to_owned(),
            line: Some(at + 1),
        });
    }
    let other = match lines.first() {
        Some(head) => Some(ordered(path, head, &[&bytes])?).filter(|ordered| *ordered != bytes),
        None => None,
    };
    Ok(InOrder {
        digest: digest(other.as_ref().unwrap_or(&bytes)),
        other,
    })
}

/// Journals as one, with a first line of its own.
///
/// # Errors
/// [`RunError::Encode`].
pub(crate) fn merged(path: &Path, settings: &str, parts: &[Vec<u8>]) -> Result<Vec<u8>, RunError> {
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    ordered(path, &head(path, settings)?, &parts)
}

/// The readings of journals in order, behind a first line.
fn ordered(path: &Path, head: &[u8], journals: &[&[u8]]) -> Result<Vec<u8>, RunError> {
    let mut parts: BTreeMap<Option<u64>, Vec<&[u8]>> = BTreeMap::new();
    for journal in journals {
        let mut rows = None;
        for line in journal.split_inclusive(|byte| *byte == b'\n').skip(1) {
            match passes_of_line(line) {
                Some(found) => rows = Some(found),
                None => parts.entry(rows).or_default().push(line),
            }
        }
    }
    let mut ordered = head.to_vec();
    ordered.reserve(journals.iter().map(|journal| journal.len()).sum());
    for (rows, mut lines) in parts {
        lines.par_sort_by(|a, b| name_of_line(a).cmp(name_of_line(b)));
        if let Some(rows_per_pass) = rows {
            let passes = encoded(path, &Passes { rows_per_pass })?;
            ordered.extend_from_slice(&sealed_line(&passes));
        }
        ordered.extend(lines.into_iter().flatten());
    }
    Ok(ordered)
}

/// What stands in a line behind its checksum.
fn behind_sum(line: &[u8]) -> &[u8] {
    let at = line.iter().position(|byte| *byte == b',');
    at.and_then(|at| line.get(at + 1..)).unwrap_or_default()
}

/// Of how many rows passes are, where a line says that.
fn passes_of_line(line: &[u8]) -> Option<u64> {
    let rest = behind_sum(line).strip_prefix(b"\"rows_per_pass\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// The name in a reading's line, as it is written there.
fn name_of_line(line: &[u8]) -> &[u8] {
    let rest = behind_sum(line);
    let Some(name) = rest.strip_prefix(b"\"id\":\"") else {
        return rest;
    };
    let mut escaped = false;
    let end = name.iter().position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    });
    &name[..end.unwrap_or(name.len())]
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

    /// A journal of three readings, and its bytes.
    fn written() -> (tempfile::TempDir, Folder, PathBuf, Vec<u8>) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder(temporary.path().to_owned());
        let mut journal = Journal::open(&folder, Path::new("m.jsonl"), "s").unwrap();
        journal.append(["a", "b", "c"].map(reading)).unwrap();
        journal.close().unwrap();
        let path = temporary.path().join("m.jsonl");
        let bytes = std::fs::read(&path).unwrap();
        (temporary, folder, path, bytes)
    }

    fn opened(folder: &Folder) -> Result<Journal, RunError> {
        Journal::open(folder, Path::new("m.jsonl"), "s")
    }

    #[test]
    fn a_line_that_was_cut_off_is_read_again() {
        let (_temporary, folder, path, bytes) = written();
        std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        let mut journal = opened(&folder).unwrap();
        assert_eq!(journal.readings.len(), 2);
        assert!(journal.damaged.is_empty());
        journal.append([reading("c")]).unwrap();
        assert_eq!(journal.close().unwrap().len(), 3);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_damaged_line_costs_itself_alone() {
        let (_temporary, folder, path, bytes) = written();
        let starts: Vec<usize> = std::iter::once(0)
            .chain(
                bytes
                    .iter()
                    .enumerate()
                    .filter(|(_, byte)| **byte == b'\n')
                    .map(|(at, _)| at + 1),
            )
            .collect();
        for (line, start) in starts.iter().take(4).enumerate() {
            for change in [b'7', b'\n', 0, 0xFF] {
                let mut changed = bytes.clone();
                let at = start + 30;
                if changed[at] == change {
                    continue;
                }
                changed[at] = change;
                std::fs::write(&path, &changed).unwrap();
                let mut journal = opened(&folder).unwrap();
                assert!(journal.damaged.contains(&(line + 1)));
                let left = if line == 0 { 3 } else { 2 };
                assert_eq!(journal.readings.len(), left, "{line} {change}");
                let missing: Vec<Reading> = ["a", "b", "c"]
                    .iter()
                    .filter(|id| !journal.readings.contains_key(**id))
                    .map(|id| reading(id))
                    .collect();
                journal.append(missing).unwrap();
                assert_eq!(journal.close().unwrap().len(), 3);
                let again = opened(&folder).unwrap();
                assert!(again.damaged.is_empty());
                assert_eq!(again.readings.len(), 3);
            }
        }
    }

    #[test]
    fn passes_of_other_lengths_do_not_mix_unnoticed() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder(temporary.path().to_owned());
        let mut journal = opened(&folder).unwrap();
        journal.append([reading("a")]).unwrap();
        for (rows, ids) in [(4096, &["b", "c"][..]), (4096, &["d"]), (2048, &["e"])] {
            journal.passes_of(rows).unwrap();
            journal.append(ids.iter().map(|id| reading(id))).unwrap();
        }
        assert_eq!(journal.by_pass, BTreeMap::from([(4096, 3), (2048, 1)]));
        journal.close().unwrap();
        let mut again = opened(&folder).unwrap();
        assert_eq!(again.by_pass, BTreeMap::from([(4096, 3), (2048, 1)]));
        assert!(again.damaged.is_empty() && again.readings.len() == 5);
        // What goes on as it ended says nothing more.
        again.passes_of(2048).unwrap();
        again.append([reading("f")]).unwrap();
        again.close().unwrap();
        let text = std::fs::read_to_string(temporary.path().join("m.jsonl")).unwrap();
        assert_eq!(text.matches("rows_per_pass").count(), 2);
    }

    #[test]
    fn other_settings_are_refused() {
        let (_temporary, folder, path, _) = written();
        let other = Journal::open(&folder, Path::new("m.jsonl"), "t");
        assert!(matches!(other, Err(RunError::OtherSettings { .. })));
        // As they were written once: what they were read with is not known.
        std::fs::write(&path, "{\"id\":\"a\",\"tokens\":3,\"answers\":[]}\n").unwrap();
        assert!(matches!(
            opened(&folder),
            Err(RunError::OtherSettings { .. })
        ));
        let lines = Lines::read(&path, &File::open(&path).unwrap()).unwrap();
        assert!(lines.readings.contains_key("a") && lines.damaged.is_empty() && lines.bare);
    }
}
