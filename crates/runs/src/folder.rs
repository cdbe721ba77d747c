//! A run's folder: plain names, no links, files that are never half there.

use crate::RunError;
use crate::seal::digest;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// The longest file name that file systems take, in bytes.
pub(crate) const LONGEST_NAME: usize = 255;
/// What files begin with that did not get their name.
pub(crate) const UNNAMED: &str = ".unnamed-";
/// The largest file that is read whole.
const LARGEST: u64 = 1 << 31;

/// What a journal holds: what was read of a checkpoint in a round, or what a rater made of its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What<'a> {
    round: &'a str,
    rater: Option<&'a str>,
}

impl<'a> What<'a> {
    /// What was read in a round of this name.
    pub fn round(round: &'a str) -> Self {
        Self { round, rater: None }
    }

    /// What a rater read in it.
    pub fn rated(round: &'a str, rater: &'a str) -> Self {
        let rater = Some(rater);
        Self { round, rater }
    }

    /// The journal of a checkpoint, in the run's folder.
    pub(crate) fn file(self, model: &str) -> Result<PathBuf, RunError> {
        if !is_round(self.round) {
            return Err(RunError::NotPlain {
                path: self.round.into(),
                problem: "is not the name of a round: lower-case letters, digits and hyphens",
            });
        }
        let folder = Path::new(self.round);
        Ok(match self.rater {
            None => folder.join(plain(model, JOURNAL)?),
            Some(rater) => folder.join(plain(model, "")?).join(plain(rater, JOURNAL)?),
        })
    }
}

/// How a journal's name ends.
pub(crate) const JOURNAL: &str = ".jsonl";

/// Whether a folder of a run may be a round's.
pub(crate) fn is_round(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 64 && name.chars().all(fits)
}

/// Room that a name leaves for endings.
const ENDINGS: usize = 48;

/// The file name for a name that came from outside: itself where it is plain, shortened where it is too long.
fn plain(name: &str, ending: &str) -> Result<String, RunError> {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    if !one || name.contains(['/', '\\', '\0']) {
        return Err(RunError::NotPlain {
            path: name.into(),
            problem: "is not a plain name, and a run's files have plain names",
        });
    }
    let most = LONGEST_NAME - ENDINGS;
    if name.len() <= most {
        return Ok(format!("{name}{ending}"));
    }
    let cut = name.floor_char_boundary(most - 17);
    Ok(format!(
        "{}~{}{ending}",
        &name[..cut],
        &digest(name.as_bytes())[..16]
    ))
}

/// The folder of a run.
#[derive(Clone, Debug)]
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    /// Where a file of the run is, or would be. What is there must be a plain file, in folders that are no links.
    pub fn place(&self, file: &Path) -> Result<PathBuf, RunError> {
        let not_plain = |path: &Path, problem| {
            let path = path.to_owned();
            Err(RunError::NotPlain { path, problem })
        };
        let mut path = self.0.clone();
        let count = file.components().count();
        for (index, part) in file.components().enumerate() {
            path.push(part);
            let found = match std::fs::symlink_metadata(&path) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(source) => return Err(RunError::File { path, source }),
            };
            if found.is_symlink() {
                return not_plain(&path, "is a link, and no link in a run is followed");
            }
            if index + 1 < count && !found.is_dir() {
                return not_plain(&path, "is not a folder");
            }
            if index + 1 == count && !found.is_file() {
                return not_plain(&path, "is not a plain file");
            }
        }
        Ok(path)
    }

    /// The bytes of a file, if it is there.
    pub fn read(&self, file: impl AsRef<Path>) -> Result<Option<Vec<u8>>, RunError> {
        let Some((path, file)) = self.open(file.as_ref())? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        read.map_err(|source| RunError::File {
            path: path.clone(),
            source,
        })?;
        if bytes.len() as u64 > LARGEST {
            let problem = "is larger than any file of a run";
            return Err(RunError::NotPlain { path, problem });
        }
        Ok(Some(bytes))
    }

    /// Writes a file as a whole.
    pub fn write(&self, file: impl AsRef<Path>, bytes: &[u8]) -> Result<(), RunError> {
        write_bytes(&self.place(file.as_ref())?, bytes)
    }

    /// Opens a file to read, if it is there.
    pub fn open(&self, file: &Path) -> Result<Option<(PathBuf, File)>, RunError> {
        let path = self.place(file)?;
        match opened(&path, OpenOptions::new().read(true)) {
            Ok(file) => Ok(Some((path, file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RunError::File { path, source }),
        }
    }

    /// Opens a file to read and append; makes it and its folder where they are not there.
    pub fn append(&self, file: &Path) -> Result<(PathBuf, File), RunError> {
        let path = self.place(file)?;
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        match made.and_then(|()| opened(&path, &mut options)) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(RunError::File { path, source }),
        }
    }

    /// The names of the files and folders in a folder of the run.
    pub fn names(&self, folder: &Path) -> Result<Vec<String>, RunError> {
        let path = self.0.join(folder);
        let failed = |source| RunError::File {
            path: path.clone(),
            source,
        };
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            _ => return Ok(Vec::new()),
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.into_string());
        }
        names.sort();
        Ok(names)
    }

    /// The folders in a folder of the run; links are none.
    pub fn folders(&self, folder: &Path) -> Result<Vec<String>, RunError> {
        let mut names = self.names(folder)?;
        names.retain(|name| {
            let path = self.0.join(folder).join(name);
            std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
        });
        Ok(names)
    }

    /// The names of the rounds that have a folder.
    pub fn rounds(&self) -> Result<Vec<String>, RunError> {
        let mut rounds = self.folders(Path::new(""))?;
        rounds.retain(|name| is_round(name));
        Ok(rounds)
    }

    /// The folders that journals are in.
    fn folders_of_journals(&self) -> Result<Vec<PathBuf>, RunError> {
        let mut folders = Vec::new();
        for round in self.rounds()? {
            let round = PathBuf::from(round);
            let rated = self.folders(&round)?;
            let rated: Vec<PathBuf> = rated.iter().map(|model| round.join(model)).collect();
            folders.push(round);
            folders.extend(rated);
        }
        Ok(folders)
    }

    /// All journals, by their place in the run.
    pub fn journals(&self) -> Result<Vec<PathBuf>, RunError> {
        let mut found = Vec::new();
        for folder in self.folders_of_journals()? {
            let names = self.names(&folder)?;
            found.extend(names.into_iter().map(|name| folder.join(name)));
        }
        found.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
        Ok(found)
    }

    /// Removes what was being written when the program was killed.
    pub fn sweep(&self) -> Result<(), RunError> {
        let mut folders = self.folders_of_journals()?;
        folders.push(PathBuf::new());
        for folder in folders {
            for name in self.names(&folder)? {
                if name.starts_with(UNNAMED) {
                    let path = self.0.join(&folder).join(name);
                    std::fs::remove_file(&path)
                        .map_err(|source| RunError::File { path, source })?;
                }
            }
        }
        Ok(())
    }
}

/// Opens a file whose last part must be no link.
fn opened(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    options.open(path)
}

/// Writes a file beside its place under a name that nobody can foresee, and moves it there when it is on disk: it is never half there,
/// and a link in its place is replaced, not followed.
///
/// # Errors
/// [`RunError::File`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    write_with(path, |file| file.write_all(bytes))
}

/// The same of what a function writes, for files that are not to stand in memory.
///
/// # Errors
/// [`RunError::File`], also for what the function says.
pub fn write_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), RunError> {
    let failed = |source| RunError::File {
        path: path.to_owned(),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = unnamed_in(folder).map_err(failed)?;
    write(file.as_file_mut()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder).map_err(failed)
}

/// A new file of a name that nobody can foresee, locked as long as it is written.
fn unnamed_in(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNNAMED);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Less what the process's mask takes away, as for any new file.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    loop {
        let file = builder.tempfile_in(folder)?;
        match file.as_file().try_lock() {
            // Another process took it for a stray before it was locked.
            Err(TryLockError::WouldBlock) => {}
            Ok(()) if !file.path().exists() => {}
            // Where there are no locks, age alone tells strays.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// After how long a file that was being written is taken for a stray, where the file system has no locks.
const STRAY: Duration = Duration::from_hours(1);

/// Removes the files in a folder that [`write_bytes`] and [`write_with`] were writing when their process was killed. Files that other
/// processes are writing stay.
///
/// # Errors
/// [`RunError::File`].
pub fn remove_strays(folder: &Path) -> Result<(), RunError> {
    for name in Folder(folder.to_owned()).names(Path::new(""))? {
        let path = folder.join(&name);
        if !name.starts_with(UNNAMED) || !path.is_file() {
            continue;
        }
        // What cannot be opened has gone, or is not this program's.
        let Ok(file) = opened(&path, OpenOptions::new().read(true)) else {
            continue;
        };
        let is_stray = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => file
                .metadata()
                .and_then(|found| found.modified())
                .is_ok_and(|when| when.elapsed().is_ok_and(|age| age > STRAY)),
        };
        if is_stray
            && let Err(source) = std::fs::remove_file(&path)
            && source.kind() != ErrorKind::NotFound
        {
            return Err(RunError::File { path, source });
        }
    }
    Ok(())
}

/// Waits until the names in a folder are on disk, where the system can.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        // Some network file systems refuse this for folders; names then are as safe as they make them.
        match File::open(folder)?.sync_all() {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidInput | ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for name in ["", ".", "..", "/abs", "../x", "a/b", "a/", "a\\b", "a\0b"] {
            assert!(
                matches!(
                    What::round("readings").file(name),
                    Err(RunError::NotPlain { .. })
                ),
                "{name:?}"
            );
            assert!(What::rated("stances", name).file("m").is_err(), "{name:?}");
        }
        for round in ["", "..", "a/b", "Texts", "a.b", ".unnamed-x"] {
            assert!(What::round(round).file("m").is_err(), "{round:?}");
        }
        assert_eq!(
            What::round("texts").file("a b.c").unwrap(),
            Path::new("texts/a b.c.jsonl")
        );
        let (long, other) = ("ä".repeat(125), format!("{}x", "ä".repeat(124)));
        let name = |name: &str| {
            What::round("readings")
                .file(name)
                .unwrap()
                .file_name()
                .unwrap()
                .to_owned()
        };
        assert!(name(&long).len() < LONGEST_NAME && name(&long) != name(&other));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let target = outside.path().join("target");
        std::fs::write(&target, "precious").unwrap();
        let folder = Folder(inside.path().to_owned());
        symlink(&target, inside.path().join("a.json")).unwrap();
        symlink(outside.path(), inside.path().join("readings")).unwrap();
        assert!(matches!(
            folder.read("a.json"),
            Err(RunError::NotPlain { .. })
        ));
        assert!(folder.write("a.json", b"x").is_err());
        assert!(folder.append(Path::new("readings/m.jsonl")).is_err());
        assert!(folder.read("readings/target").is_err());
        // Written from outside the run, a link is replaced.
        let link = inside.path().join("report.html");
        symlink(&target, &link).unwrap();
        write_bytes(&link, b"page").unwrap();
        assert_eq!(std::fs::read(&link).unwrap(), b"page");
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        assert!(folder.journals().unwrap().is_empty());
    }

    #[test]
    fn what_was_being_written_is_swept() {
        let inside = tempfile::tempdir().unwrap();
        let folder = Folder(inside.path().to_owned());
        for place in ["", "readings", "stances/m"] {
            let place = inside.path().join(place);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join(".unnamed-abc"), "half").unwrap();
        }
        folder.write("a.json", b"whole").unwrap();
        folder.sweep().unwrap();
        assert_eq!(
            folder.names(Path::new("")).unwrap(),
            ["a.json", "readings", "stances"]
        );
        assert!(folder.names(Path::new("readings")).unwrap().is_empty());
        assert!(folder.names(Path::new("stances/m")).unwrap().is_empty());
        assert_eq!(folder.read("a.json").unwrap().unwrap(), b"whole");
        assert_eq!(folder.read("b.json").unwrap(), None);
    }
    #[test]
    fn strays_go_and_what_is_being_written_stays() {
        let inside = tempfile::tempdir().unwrap();
        let folder = inside.path();
        for name in [".unnamed-abc", "kept"] {
            std::fs::write(folder.join(name), "half").unwrap();
        }
        std::fs::create_dir(folder.join(".unnamed-replaced-a")).unwrap();
        // While one writes, others clear up again and again; nothing of what is written is lost.
        std::thread::scope(|scope| {
            let writers = ["a", "b"].map(|name| {
                scope.spawn(move || {
                    for round in 0..200_u8 {
                        let path = folder.join(name);
                        write_bytes(&path, &[round]).unwrap();
                        assert_eq!(std::fs::read(&path).unwrap(), [round]);
                    }
                })
            });
            while writers.iter().any(|writer| !writer.is_finished()) {
                remove_strays(folder).unwrap();
            }
        });
        let names = Folder(folder.to_owned()).names(Path::new("")).unwrap();
        assert_eq!(names, [".unnamed-replaced-a", "a", "b", "kept"]);
    }
}
