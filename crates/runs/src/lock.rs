//! One writer for a folder.
//!
//! The folder itself is locked, so that nothing is left behind and the lock ends with the process, however it ends. On file systems
//! that have no such locks a file in the folder says who writes, and since when.

use crate::RunError;
use crate::folder::Folder;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// The file that says who writes, where folders cannot be locked.
const OWNER: &str = "owner.json";
/// How often the owner says that it is still there.
const BEAT: Duration = Duration::from_secs(30);
/// After how long of silence an owner on another machine is taken for gone.
const SILENCE: Duration = Duration::from_mins(10);

/// A lock on a folder, until it is dropped.
pub struct Lock {
    kind: Kind,
    notes: Vec<String>,
}

enum Kind {
    /// The folder itself, open.
    Folder { _file: File },
    /// A file in it, touched again and again.
    Owner {
        path: PathBuf,
        /// What this process wrote there.
        own: String,
        beat: Option<(Sender<()>, JoinHandle<()>)>,
    },
}

/// How taking a lock ended, where that is no error.
pub(crate) enum Taken {
    /// It is held.
    Held(Lock),
    /// The folder has gone meanwhile: the run got its name.
    Gone,
}

impl Lock {
    /// Locks a folder that is there.
    ///
    /// # Errors
    /// [`RunError::InUse`], [`RunError::File`].
    pub(crate) fn take(folder: &Path) -> Result<Taken, RunError> {
        let failed = |source| RunError::File {
            path: folder.to_owned(),
            source,
        };
        if !cfg!(unix) {
            return Self::by_owner(folder).map(Taken::Held);
        }
        let file = match File::open(folder) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Taken::Gone),
            Err(source) => return Err(failed(source)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunError::InUse {
                    path: folder.to_owned(),
                    owner: String::new(),
                });
            }
            Err(TryLockError::Error(_)) => return Self::by_owner(folder).map(Taken::Held),
        }
        // What was locked must still be what the name means.
        if !is_same(&file, folder) {
            return Ok(Taken::Gone);
        }
        Ok(Taken::Held(Self {
            kind: Kind::Folder { _file: file },
            notes: Vec::new(),
        }))
    }

    /// Takes the folder by a file that says who has it.
    fn by_owner(folder: &Path) -> Result<Self, RunError> {
        let path = Folder(folder.to_owned()).place(Path::new(OWNER))?;
        let failed = |source| RunError::File {
            path: path.clone(),
            source,
        };
        let mut notes = vec![format!(
            "{}: the file system has no locks; {OWNER} in it says who writes",
            folder.display()
        )];
        // No two are alike, not even of one process number in two containers of one name.
        let unique = RandomState::new().build_hasher().finish();
        let own = serde_json::json!({
            "host": host(), "process": std::process::id(), "unique": unique,
        })
        .to_string();
        for attempt in 0.. {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    file.write_all(own.as_bytes()).map_err(failed)?;
                    file.sync_all().map_err(failed)?;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 3 => {
                    let owner = Owner::of(&path);
                    if !owner.is_gone() {
                        return Err(RunError::InUse {
                            path: folder.to_owned(),
                            owner: format!(" ({owner})"),
                        });
                    }
                    notes.push(format!(
                        "{}: {owner} is gone; its lock is taken over",
                        folder.display()
                    ));
                    // Of several that find it gone, one moves it away; who moved another's new one puts it back.
                    let away = folder.join(format!(".unnamed-owner-{unique:x}"));
                    if std::fs::rename(&path, &away).is_ok() {
                        if !Owner::of(&away).is_gone() {
                            let _ = std::fs::hard_link(&away, &path);
                        }
                        let _ = std::fs::remove_file(&away);
                    }
                }
                Err(source) => return Err(failed(source)),
            }
        }
        // Another may have found the one before gone at the same moment.
        std::thread::sleep(Duration::from_millis(50));
        if !is_own(&path, &own) {
            let owner = format!(" ({})", Owner::of(&path));
            let path = folder.to_owned();
            return Err(RunError::InUse { path, owner });
        }
        let (stop, stopped) = channel();
        let (touched, mine) = (path.clone(), own.clone());
        let beat = std::thread::Builder::new()
            .name("lock".into())
            .spawn(move || {
                while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                    // A beat that is missed is made up for by the next.
                    if is_own(&touched, &mine)
                        && let Ok(file) = OpenOptions::new().write(true).open(&touched)
                    {
                        let _ = file.set_modified(SystemTime::now());
                    }
                }
            });
        Ok(Self {
            kind: Kind::Owner {
                path,
                own,
                beat: beat.ok().map(|beat| (stop, beat)),
            },
            notes,
        })
    }

    /// What the user should know of how it was taken.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Removes what says who writes from the folder under its new name: under the old one another might have taken it in between.
    pub(crate) fn leave(&self, folder: &Path) -> Result<(), RunError> {
        match &self.kind {
            Kind::Folder { .. } => Ok(()),
            Kind::Owner { .. } => {
                let path = folder.join(OWNER);
                std::fs::remove_file(&path).map_err(|source| RunError::File { path, source })
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Kind::Owner { path, own, beat } = &mut self.kind {
            if let Some((stop, beat)) = beat.take() {
                drop(stop);
                let _ = beat.join();
            }
            if is_own(path, own) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Whether the file that says who writes is this process's.
fn is_own(path: &Path, own: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text == own)
}

/// Who has a folder.
struct Owner {
    host: String,
    process: u64,
    silent: Duration,
}

impl Owner {
    fn of(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let modified = std::fs::metadata(path).and_then(|found| found.modified());
        let silent = modified
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        Self {
            host: value["host"].as_str().unwrap_or("unknown").to_owned(),
            process: value["process"].as_u64().unwrap_or(0),
            silent: silent.unwrap_or_default(),
        }
    }

    /// A process that this machine does not have is gone when it missed some beats: containers of one name have processes of their own.
    /// Of others silence alone tells.
    fn is_gone(&self) -> bool {
        let is_here = self.host == host() && self.process != 0 && Path::new("/proc/self").exists();
        let is_missing = is_here && !Path::new(&format!("/proc/{}", self.process)).exists();
        self.silent > if is_missing { 3 * BEAT } else { SILENCE }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            host,
            process,
            silent,
        } = self;
        write!(
            f,
            "process {process} on {host}, last heard of {} s ago",
            silent.as_secs()
        )
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    name.or_else(|| std::env::var("HOSTNAME").ok())
        .map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Whether an open folder is the one that a path names.
#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(folder: &Path) -> Result<Lock, RunError> {
        match Lock::take(folder)? {
            Taken::Held(lock) => Ok(lock),
            Taken::Gone => panic!("gone"),
        }
    }

    #[test]
    fn a_folder_has_one_writer_and_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let lock = held(folder.path()).unwrap();
        assert!(matches!(
            Lock::take(folder.path()),
            Err(RunError::InUse { .. })
        ));
        drop(lock);
        drop(held(folder.path()).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(matches!(
            Lock::take(&folder.path().join("no")),
            Ok(Taken::Gone)
        ));
    }

    #[test]
    fn without_locks_a_file_says_who_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OWNER);
        let lock = Lock::by_owner(folder.path()).unwrap();
        assert!(lock.notes()[0].contains("no locks"));
        let again = Lock::by_owner(folder.path()).err().unwrap().to_string();
        assert!(
            again.contains(&format!("process {}", std::process::id())),
            "{again}"
        );
        drop(lock);
        assert!(!path.exists());
        // A process of this machine that is gone, and one of another that is silent.
        let dead = serde_json::json!({ "host": host(), "process": u64::from(u32::MAX) - 1 });
        std::fs::write(&path, dead.to_string()).unwrap();
        let silent_for = |silent: Duration| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - silent).unwrap();
        };
        assert!(Lock::by_owner(folder.path()).is_err());
        silent_for(4 * BEAT);
        let lock = Lock::by_owner(folder.path()).unwrap();
        assert!(lock.notes()[1].contains("taken over"));
        drop(lock);
        std::fs::write(&path, r#"{"host":"elsewhere","process":1}"#).unwrap();
        assert!(matches!(
            Lock::by_owner(folder.path()),
            Err(RunError::InUse { .. })
        ));
        silent_for(SILENCE + BEAT);
        drop(Lock::by_owner(folder.path()).unwrap());
        assert!(!path.exists());
    }
}
