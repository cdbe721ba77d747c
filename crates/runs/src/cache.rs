//! Readings by what they are of: what was read once, of these weights after these tokens, is not read again.
//!
//! One file, shared by all runs of a user. It is opened for a moment at a time, so that several processes can use it; one that
//! cannot be opened is no reason to stop. An entry is taken only where its digest, which its key is part of, is right.

use concord_readings::Reading;
use rayon::prelude::*;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, TableError,
};
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a reading is of: a checkpoint as it computes, and a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(pub [u8; 32]);

impl CacheKey {
    /// Of a checkpoint (`context` is everything that decides its numbers) and the digest of a prompt.
    pub fn new(context: &[u8; 32], prompt: &[u8; 16]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"concord reading\0")
            .update(context)
            .update(prompt);
        Self(*hasher.finalize().as_bytes())
    }
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Other processes have it, one after the other.
    #[error("{path}: other processes use it all the time")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a later version of the program.
    #[error(
        "{path}: written by a later version of the program (form {form}; {FORM} is known here)"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        form: u64,
    },
    /// It cannot be read or written.
    #[error("{path}: {problem}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the store says.
        problem: String,
    },
}

/// How much is in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// Readings.
    pub entries: u64,
    /// Bytes of readings.
    pub bytes: u64,
    /// Bytes of the file.
    pub file: u64,
    /// Seconds since the first and the last were kept.
    pub oldest: u64,
    /// The same of the last.
    pub newest: u64,
}

/// The form of the file and of its entries.
const FORM: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const READINGS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("readings");
/// How long others may have the file.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest file that is added to.
const LARGEST: u64 = 8 << 30;
/// Bytes of an entry's time and of its digest.
const TIME: usize = 8;
const SUM: usize = 16;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic in this thread is one of the store at a damaged file, which becomes an error.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// A cache of readings.
#[derive(Clone, Debug)]
pub struct ReadingCache {
    path: PathBuf,
}

impl ReadingCache {
    /// In a folder, which is made when something is kept.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join("readings.redb"),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Readings by key, each under the name that is given with it; those that are not there, or not whole, are `None`.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn take(&self, wanted: &[(CacheKey, &str)]) -> Result<Vec<Option<Reading>>, CacheError> {
        self.guarded(|| self.take_plainly(wanted))
    }

    /// Does something with the store, which may panic at a damaged file.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, CacheError>) -> Result<T, CacheError> {
        let before = GUARDED.replace(true);
        let done = std::panic::catch_unwind(AssertUnwindSafe(work));
        GUARDED.set(before);
        done.unwrap_or_else(|_| Err(self.unusable(&"it is damaged")))
    }

    fn take_plainly(
        &self,
        wanted: &[(CacheKey, &str)],
    ) -> Result<Vec<Option<Reading>>, CacheError> {
        let none = || wanted.iter().map(|_| None).collect();
        if wanted.is_empty() || !self.path.exists() {
            return Ok(none());
        }
        let store = self.open()?;
        let read = store.begin_read().map_err(|error| self.unusable(&error))?;
        let table = match read.open_table(READINGS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(none()),
            Err(error) => return Err(self.unusable(&error)),
        };
        let entries = wanted.iter().map(|(key, _)| {
            let entry = table.get(&key.0).map_err(|error| self.unusable(&error))?;
            Ok(entry.map(|entry| entry.value().to_vec()))
        });
        let entries = entries.collect::<Result<Vec<Option<Vec<u8>>>, CacheError>>()?;
        // Looking entries up is quick; what they say is read on all threads.
        let found = entries.into_par_iter().zip(wanted);
        let found = found.map(|(entry, (key, name))| {
            let reading = opened(key, &entry?)?;
            Some(Reading {
                id: (*name).to_owned(),
                ..reading
            })
        });
        Ok(found.collect())
    }

    /// Keeps readings; what is there already stays. Returns how many are new.
    ///
    /// # Errors
    /// [`CacheError`]; nothing is kept then.
    pub fn keep<'r>(
        &self,
        readings: impl IntoIterator<Item = (CacheKey, &'r Reading)>,
    ) -> Result<usize, CacheError> {
        self.guarded(|| self.keep_plainly(readings))
    }

    fn keep_plainly<'r>(
        &self,
        readings: impl IntoIterator<Item = (CacheKey, &'r Reading)>,
    ) -> Result<usize, CacheError> {
        let unusable = |error: &dyn std::fmt::Display| self.unusable(error);
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| unusable(&error))?;
        }
        if std::fs::metadata(&self.path).is_ok_and(|file| file.len() >= LARGEST) {
            let full = format!(
                "{} GiB are full; `concord cache prune` makes room",
                LARGEST >> 30
            );
            return Err(unusable(&full));
        }
        let store = self.open()?;
        let mut write = store.begin_write().map_err(|error| unusable(&error))?;
        // After a stop nothing has to be repaired before the next use.
        write.set_quick_repair(true);
        let mut new = 0;
        {
            let mut meta = write.open_table(META).map_err(|error| unusable(&error))?;
            meta.insert("form", FORM)
                .map_err(|error| unusable(&error))?;
            let mut table = write
                .open_table(READINGS)
                .map_err(|error| unusable(&error))?;
            let now = now();
            for (key, reading) in readings {
                let there = table.get(&key.0).map_err(|error| unusable(&error))?;
                if there.is_some_and(|there| opened(&key, there.value()).is_some()) {
                    continue;
                }
                let entry = sealed(&key, now, reading).map_err(|error| unusable(&error))?;
                table
                    .insert(&key.0, &entry[..])
                    .map_err(|error| unusable(&error))?;
                new += 1;
            }
        }
        write.commit().map_err(|error| unusable(&error))?;
        Ok(new)
    }

    /// How much is in it.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn size(&self) -> Result<CacheSize, CacheError> {
        let file = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let mut size = CacheSize {
            file,
            ..CacheSize::default()
        };
        if file == 0 {
            return Ok(size);
        }
        let (mut oldest, mut newest) = (u64::MAX, 0);
        self.each(|_, entry| {
            let kept = time_of(entry);
            (oldest, newest) = (oldest.min(kept), newest.max(kept));
            size.entries += 1;
            size.bytes += entry.len() as u64;
        })?;
        let since = |time: u64| now().saturating_sub(time);
        if size.entries > 0 {
            (size.oldest, size.newest) = (since(oldest), since(newest));
        }
        Ok(size)
    }

    /// How many entries are what was written, and how many are not; the latter are removed.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn verify(&self) -> Result<(u64, u64), CacheError> {
        let mut whole = 0;
        let mut damaged = Vec::new();
        if !self.path.exists() {
            return Ok((0, 0));
        }
        self.each(|key, entry| match opened(&key, entry) {
            Some(_) => whole += 1,
            None => damaged.push(key),
        })?;
        self.remove(&damaged)?;
        Ok((whole, damaged.len() as u64))
    }

    /// Removes what was kept longer ago than `age`, and then the oldest until no more than `bytes` are left. Returns how many entries went.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn prune(&self, age: Option<Duration>, bytes: Option<u64>) -> Result<u64, CacheError> {
        if !self.path.exists() {
            return Ok(0);
        }
        let mut all: Vec<(u64, CacheKey, u64)> = Vec::new();
        self.each(|key, entry| all.push((time_of(entry), key, entry.len() as u64)))?;
        all.sort_unstable();
        let oldest = age.map_or(0, |age| now().saturating_sub(age.as_secs()));
        let mut left: u64 = all.iter().map(|(_, _, length)| length).sum();
        let most = bytes.unwrap_or(u64::MAX);
        let mut gone = Vec::new();
        for (time, key, length) in &all {
            if *time < oldest || left > most {
                gone.push(*key);
                left -= length;
            }
        }
        self.remove(&gone)?;
        self.guarded(|| {
            let mut store = self.open()?;
            store.compact().map_err(|error| self.unusable(&error))
        })?;
        Ok(gone.len() as u64)
    }

    fn remove(&self, keys: &[CacheKey]) -> Result<(), CacheError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.guarded(|| self.remove_plainly(keys))
    }

    fn remove_plainly(&self, keys: &[CacheKey]) -> Result<(), CacheError> {
        let unusable = |error: &dyn std::fmt::Display| self.unusable(error);
        let store = self.open()?;
        let write = store.begin_write().map_err(|error| unusable(&error))?;
        {
            let mut table = write
                .open_table(READINGS)
                .map_err(|error| unusable(&error))?;
            for key in keys {
                table.remove(&key.0).map_err(|error| unusable(&error))?;
            }
        }
        write.commit().map_err(|error| unusable(&error))
    }

    /// Goes through all entries.
    fn each(&self, look: impl FnMut(CacheKey, &[u8])) -> Result<(), CacheError> {
        self.guarded(|| self.each_plainly(look))
    }

    fn each_plainly(&self, mut look: impl FnMut(CacheKey, &[u8])) -> Result<(), CacheError> {
        let store = self.open()?;
        let read = store.begin_read().map_err(|error| self.unusable(&error))?;
        let table = match read.open_table(READINGS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(self.unusable(&error)),
        };
        // An empty table has no range.
        if table.is_empty().map_err(|error| self.unusable(&error))? {
            return Ok(());
        }
        for entry in table.iter().map_err(|error| self.unusable(&error))? {
            let (key, value) = entry.map_err(|error| self.unusable(&error))?;
            look(CacheKey(*key.value()), value.value());
        }
        Ok(())
    }

    /// Opens the file, after others that have it.
    fn open(&self) -> Result<Database, CacheError> {
        let begun = Instant::now();
        let store = loop {
            match Database::create(&self.path) {
                Ok(store) => break store,
                Err(DatabaseError::DatabaseAlreadyOpen) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(DatabaseError::DatabaseAlreadyOpen) => {
                    let path = self.path.clone();
                    return Err(CacheError::Busy { path });
                }
                Err(error) => return Err(self.unusable(&error)),
            }
        };
        let read = store.begin_read().map_err(|error| self.unusable(&error))?;
        if let Ok(meta) = read.open_table(META) {
            let form = meta.get("form").map_err(|error| self.unusable(&error))?;
            let form = form.map_or(FORM, |form| form.value());
            if form > FORM {
                let path = self.path.clone();
                return Err(CacheError::Newer { path, form });
            }
        }
        drop(read);
        Ok(store)
    }

    fn unusable(&self, problem: &dyn std::fmt::Display) -> CacheError {
        CacheError::Unusable {
            path: self.path.clone(),
            problem: problem.to_string(),
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The digest of an entry: of its key and of what it says.
fn sum(key: &CacheKey, json: &[u8]) -> [u8; SUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0).update(json);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM]);
    sum
}

/// An entry: when it was kept, its digest, and the reading without its name, which is that of who asks.
fn sealed(key: &CacheKey, now: u64, reading: &Reading) -> Result<Vec<u8>, serde_json::Error> {
    let nameless = Reading {
        id: String::new(),
        ..reading.clone()
    };
    let json = serde_json::to_vec(&nameless)?;
    let mut entry = now.to_le_bytes().to_vec();
    entry.extend_from_slice(&sum(key, &json));
    entry.extend_from_slice(&json);
    Ok(entry)
}

/// The reading of an entry, if it is what was written under this key.
fn opened(key: &CacheKey, entry: &[u8]) -> Option<Reading> {
    let (stated, json) = entry.get(TIME..)?.split_at_checked(SUM)?;
    (stated == sum(key, json)).then(|| serde_json::from_slice(json).ok())?
}

fn time_of(entry: &[u8]) -> u64 {
    let bytes = entry.get(..TIME).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> CacheKey {
        CacheKey::new(&[number; 32], &[number; 16])
    }

    fn reading(id: &str, tokens: usize) -> Reading {
        Reading {
            id: id.to_owned(),
            tokens,
            answers: vec![],
        }
    }

    #[test]
    fn what_was_kept_is_taken_under_the_name_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ReadingCache::in_folder(&folder.path().join("new"));
        assert_eq!(cache.take(&[(key(1), "a")]).unwrap(), [None]);
        assert!(!folder.path().join("new").exists());
        let (one, two) = (reading("x", 1), reading("y", 2));
        assert_eq!(cache.keep([(key(1), &one), (key(2), &two)]).unwrap(), 2);
        assert_eq!(cache.keep([(key(1), &two)]).unwrap(), 0);
        let found = cache
            .take(&[(key(2), "b"), (key(3), "c"), (key(1), "a")])
            .unwrap();
        assert_eq!(found, [Some(reading("b", 2)), None, Some(reading("a", 1))]);
        let size = cache.size().unwrap();
        assert_eq!(size.entries, 2);
        assert!(size.file > 0 && size.oldest < 60);
        // Another checkpoint, or another prompt, is another key.
        assert_ne!(
            CacheKey::new(&[0; 32], &[1; 16]),
            CacheKey::new(&[1; 32], &[0; 16])
        );
    }

    #[test]
    fn an_entry_that_is_changed_or_stands_under_another_key_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ReadingCache::in_folder(folder.path());
        cache
            .keep([(key(1), &reading("x", 1)), (key(2), &reading("y", 2))])
            .unwrap();
        let entry = sealed(&key(1), 0, &reading("x", 1)).unwrap();
        let mut changed = entry.clone();
        *changed.last_mut().unwrap() ^= 1;
        for at in 0..=entry.len() {
            assert!(
                at == entry.len() || opened(&key(1), &entry[..at]).is_none(),
                "{at}"
            );
        }
        let store = cache.open().unwrap();
        let write = store.begin_write().unwrap();
        {
            let mut table = write.open_table(READINGS).unwrap();
            table.insert(&key(1).0, &changed[..]).unwrap();
            table.insert(&key(3).0, &entry[..]).unwrap();
        }
        write.commit().unwrap();
        drop(store);
        let found = cache
            .take(&[(key(1), "a"), (key(2), "b"), (key(3), "c")])
            .unwrap();
        assert_eq!(found, [None, Some(reading("b", 2)), None]);
        assert_eq!(cache.verify().unwrap(), (1, 2));
        assert_eq!(cache.verify().unwrap(), (1, 0));
        // What was damaged is kept again.
        assert_eq!(cache.keep([(key(1), &reading("x", 1))]).unwrap(), 1);
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ReadingCache::in_folder(folder.path());
        let store = Database::create(cache.path()).unwrap();
        let write = store.begin_write().unwrap();
        {
            let mut table = write.open_table(READINGS).unwrap();
            for number in 0..10u8 {
                let kept = now() - 3_600 * u64::from(number);
                let entry = sealed(&key(number), kept, &reading("x", 1)).unwrap();
                table.insert(&key(number).0, &entry[..]).unwrap();
            }
        }
        write.commit().unwrap();
        drop(store);
        assert_eq!(
            cache
                .prune(Some(Duration::from_mins(8 * 60 - 1)), None)
                .unwrap(),
            2
        );
        let size = cache.size().unwrap();
        assert_eq!(size.entries, 8);
        assert_eq!(cache.prune(None, Some(size.bytes / 2)).unwrap(), 4);
        let left = cache.take(&[(key(3), "a"), (key(4), "b")]).unwrap();
        assert!(left[0].is_some() && left[1].is_none());
        assert_eq!(cache.prune(None, Some(0)).unwrap(), 4);
        assert_eq!(cache.size().unwrap().entries, 0);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ReadingCache::in_folder(folder.path());
        std::fs::write(cache.path(), "no database at all").unwrap();
        assert!(matches!(
            cache.take(&[(key(1), "a")]),
            Err(CacheError::Unusable { .. })
        ));
        std::fs::remove_file(cache.path()).unwrap();
        cache.keep([(key(1), &reading("x", 1))]).unwrap();
        let store = Database::create(cache.path()).unwrap();
        let write = store.begin_write().unwrap();
        write
            .open_table(META)
            .unwrap()
            .insert("form", FORM + 1)
            .unwrap();
        write.commit().unwrap();
        drop(store);
        assert!(matches!(
            cache.take(&[(key(1), "a")]),
            Err(CacheError::Newer { .. })
        ));
        assert!(matches!(
            cache.keep([(key(1), &reading("x", 1))]),
            Err(CacheError::Newer { .. })
        ));
    }

    #[test]
    fn a_file_with_a_changed_byte_gives_what_was_kept_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ReadingCache::in_folder(folder.path());
        let own = reading("x", 7);
        cache
            .keep((0..40).map(|number| (key(number), &own)))
            .unwrap();
        let whole = std::fs::read(cache.path()).unwrap();
        let wanted: Vec<(CacheKey, &str)> = (0..40).map(|number| (key(number), "x")).collect();
        // Where something is written, and some of the rest.
        let places = (0..whole.len()).filter(|at| whole[*at] != 0 || at % 4096 == 0);
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let mut lost = 0;
        for at in places.step_by(23) {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            std::fs::write(cache.path(), changed).unwrap();
            match cache.take(&wanted) {
                Ok(found) => assert!(found.iter().flatten().all(|found| *found == own), "{at}"),
                Err(_) => lost += 1,
            }
            let _ = cache.keep([(key(99), &own)]);
            let _ = cache.verify();
        }
        std::panic::set_hook(usual);
        assert!(lost > 0);
    }

    #[test]
    fn several_at_once_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ReadingCache::in_folder(folder.path());
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let cache = cache.clone();
                scope.spawn(move || {
                    for number in 0..8u8 {
                        let own = reading("x", usize::from(thread));
                        cache.keep([(key(8 * thread + number), &own)]).unwrap();
                    }
                });
            }
        });
        assert_eq!(cache.verify().unwrap(), (32, 0));
    }
}
