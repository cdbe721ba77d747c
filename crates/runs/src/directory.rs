//! A run that is being written, from its first file to its name.

use crate::folder::{Folder, LONGEST_NAME, UNNAMED, What, is_round, sync_folder, write_bytes};
use crate::journal::{InOrder, Lines, has_readings, in_order};
use crate::lock::{Lock, Taken};
use crate::manifest::{Attempt, Manifest, SCHEMA, Span};
use crate::seal::{digest, is_whole, sealed};
use crate::standing::{Standing, check_name, is_taken, standing};
use crate::{Journal, RunError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What the folder of a run that is not whole ends with.
pub const PARTIAL: &str = ".partial";

/// A run that is being written.
pub struct RunDirectory {
    out: PathBuf,
    folder: Folder,
    manifest: Manifest,
    lock: Lock,
    /// Digests of what is asked.
    files: Map<String, Value>,
    /// Whether a finished run of the same name gives way to it.
    replaces: bool,
    notes: Vec<String>,
}

/// Removes what is in a run's folder, its manifest last: cut off, it is still known for what it was.
fn clear(folder: &Path) -> Result<(), RunError> {
    let failed = |source| RunError::File {
        path: folder.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.ends_with("manifest.json") {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(&path).map_err(failed)?;
        } else {
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    std::fs::remove_file(folder.join("manifest.json")).map_err(failed)
}

impl RunDirectory {
    /// Begins a run of what `files` say, or goes on with one that was cut off: then the stored identity must be that of `manifest`, whose attempts are added
    /// to those before. Nobody else writes there until this is dropped.
    ///
    /// # Errors
    /// Those of [`check_name`]; [`RunError::Exists`] where a finished run is there; [`RunError::InUse`], [`RunError::OtherSettings`],
    /// [`RunError::NoManifest`], [`RunError::Changed`], [`RunError::NotPlain`], [`RunError::File`].
    pub fn begin(
        out: &Path,
        manifest: &Manifest,
        files: &[(&str, Value)],
    ) -> Result<Self, RunError> {
        Self::begin_at(out, manifest, files, false)
    }

    /// Begins a run in the place of another: what was begun of something else under this name is gone, and a finished run gives way when this
    /// one is whole. What was begun of the same is gone on with.
    ///
    /// # Errors
    /// As [`RunDirectory::begin`].
    pub fn begin_anew(
        out: &Path,
        manifest: &Manifest,
        files: &[(&str, Value)],
    ) -> Result<Self, RunError> {
        let out: PathBuf = out.components().collect();
        check_name(&out)?;
        let partial = Self::partial_of(&out);
        if let Some(text) = Folder(partial.clone()).read("manifest.json")? {
            let before = manifest_of(&partial.join("manifest.json"), &text)?;
            let is_other =
                before.schema != SCHEMA || before.identity.difference(&manifest.identity).is_some();
            if is_other && let Taken::Held(_lock) = Lock::take(&partial)? {
                clear(&partial)?;
            }
        }
        Self::begin_at(&out, manifest, files, true)
    }

    fn begin_at(
        out: &Path,
        manifest: &Manifest,
        files: &[(&str, Value)],
        replaces: bool,
    ) -> Result<Self, RunError> {
        // Components drop a trailing slash, which would put `.partial` inside the folder.
        let out: PathBuf = out.components().collect();
        check_name(&out)?;
        let partial = Self::partial_of(&out);
        let failed = |source| RunError::File {
            path: partial.clone(),
            source,
        };
        if let Some(parent) = partial.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        match std::fs::create_dir(&partial) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed(source)),
        }
        Self::go_on(out, partial, manifest, files, replaces)
    }

    /// Begins a run under a name that is not taken: `name`, or `name-2` and so on.
    ///
    /// # Errors
    /// As [`RunDirectory::begin`].
    pub fn begin_new(
        runs: &Path,
        name: &str,
        manifest: &Manifest,
        files: &[(&str, Value)],
    ) -> Result<Self, RunError> {
        let failed = |source| RunError::File {
            path: runs.to_owned(),
            source,
        };
        std::fs::create_dir_all(runs).map_err(failed)?;
        // Room for an ending and a number.
        let name = &name[..name.floor_char_boundary(LONGEST_NAME - 24)];
        for number in 1u32.. {
            let out = match number {
                1 => runs.join(name),
                _ => runs.join(format!("{name}-{number}")),
            };
            let partial = Self::partial_of(&out);
            if is_taken(&out) {
                continue;
            }
            match std::fs::create_dir(&partial) {
                // Whoever made the folder has it, unless its run has got its name meanwhile.
                Ok(()) => match Self::go_on(out, partial, manifest, files, false) {
                    Err(RunError::Exists { .. } | RunError::InUse { .. }) => {}
                    outcome => return outcome,
                },
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => return Err(failed(source)),
            }
        }
        Err(failed(ErrorKind::AlreadyExists.into()))
    }

    /// Where a run is kept until it is whole.
    pub fn partial_of(out: &Path) -> PathBuf {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(PARTIAL);
        out.with_file_name(name)
    }

    fn go_on(
        out: PathBuf,
        partial: PathBuf,
        manifest: &Manifest,
        files: &[(&str, Value)],
        replaces: bool,
    ) -> Result<Self, RunError> {
        let is_folder = std::fs::symlink_metadata(&partial).is_ok_and(|found| found.is_dir());
        if !is_folder {
            return Err(if is_taken(&out) {
                RunError::Exists { path: out }
            } else {
                RunError::NotPlain {
                    path: partial,
                    problem: "is not a folder",
                }
            });
        }
        let Taken::Held(lock) = Lock::take(&partial)? else {
            // Another run of this name finished between two looks.
            return Err(RunError::Exists { path: out });
        };
        let gives_way = || matches!(standing(&out), Ok(Standing::Run(_))) && replaces;
        if is_taken(&out) && !gives_way() {
            // What was made for nothing goes again; it is empty, or stays.
            let _ = std::fs::remove_dir(&partial);
            return Err(RunError::Exists { path: out });
        }
        let folder = Folder(partial);
        let mut run = Self {
            manifest: manifest.clone(),
            notes: lock.notes().to_vec(),
            out,
            folder,
            lock,
            files: Map::new(),
            replaces,
        };
        let before = run.folder.read("manifest.json")?;
        match &before {
            Some(text) => run.go_on_from(text)?,
            None if !run.folder.journals()?.is_empty() => {
                return Err(RunError::NoManifest { path: run.folder.0 });
            }
            None => {}
        }
        run.folder.sweep()?;
        for (name, value) in files {
            run.put(name, value, before.is_some())?;
        }
        write_manifest(&run.folder, &run.manifest, run.files.clone())?;
        Ok(run)
    }

    /// Refuses a partial run of another identity, and takes over what was done of this one.
    fn go_on_from(&mut self, text: &[u8]) -> Result<(), RunError> {
        let before = manifest_of(&self.folder.0.join("manifest.json"), text)?;
        let other = |key: String| RunError::OtherSettings {
            path: self.folder.0.clone(),
            key,
        };
        // What this version does not write is refused by its own name.
        if before.schema != SCHEMA {
            return Err(other("schema".to_owned()));
        }
        if let Some(key) = before.identity.difference(&self.manifest.identity) {
            return Err(other(key));
        }
        self.manifest.attempts.splice(0..0, before.attempts);
        Ok(())
    }

    /// Writes a file of what is asked, unless it is there as it was written.
    fn put(&mut self, name: &str, value: &impl Serialize, expected: bool) -> Result<(), RunError> {
        let text = pretty(&self.folder.0.join(name), value)?;
        self.files.insert(name.to_owned(), digest(&text).into());
        if self.folder.read(name)?.as_ref() == Some(&text) {
            return Ok(());
        }
        if expected {
            let path = self.folder.0.join(name);
            self.notes.push(format!(
                "{}: was damaged or gone, and is written again",
                path.display()
            ));
        }
        self.folder.write(name, &text)
    }

    /// Where the run stands until it is whole.
    pub fn partial(&self) -> &Path {
        &self.folder.0
    }

    /// Where it will be.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Where the run stands and what it is of: the same for each attempt at it, and for no other run.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn identity(&self) -> Result<String, RunError> {
        let place = self
            .folder
            .0
            .canonicalize()
            .map_err(|source| RunError::File {
                path: self.folder.0.clone(),
                source,
            })?;
        Ok(format!(
            "{}\n{}",
            place.display(),
            self.manifest.identity.digest()
        ))
    }

    /// What the user should know of what was found there.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A journal of one checkpoint.
    ///
    /// # Errors
    /// [`RunError::OtherSettings`] where it was begun with others; [`RunError::NotPlain`], [`RunError::File`].
    pub fn journal(&self, what: What<'_>, model: &str) -> Result<Journal, RunError> {
        let identity = self.manifest.identity.digest();
        Journal::open(&self.folder, &what.file(model)?, &identity)
    }

    /// Whether nothing was read yet, in this attempt or one before: then there is nothing to keep.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn is_blank(&self) -> Result<bool, RunError> {
        for place in self.folder.journals()? {
            let Some((path, file)) = self.folder.open(&place)? else {
                continue;
            };
            if has_readings(&path, &file)? {
                return Ok(false);
            }
        }
        let known = |name: &str| {
            let ending = Path::new(name).extension();
            ending.is_some_and(|ending| ending == "json") || is_round(name)
        };
        let names = self.folder.names(Path::new(""))?;
        Ok(names.iter().all(|name| known(name)))
    }

    /// Leaves nothing of a run of which nothing was read, unless somebody worked on it before.
    ///
    /// # Errors
    /// [`RunError::File`]; [`RunError::Exists`] where there was an attempt before.
    pub fn discard_if_new(&self) -> Result<(), RunError> {
        let path = self.folder.0.clone();
        if self.manifest.attempts.len() > 1 {
            return Err(RunError::Exists { path });
        }
        std::fs::remove_dir_all(&path).map_err(|source| RunError::File { path, source })
    }

    /// What is stored of the run so far.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Notes how the attempt in hand ended, and when.
    ///
    /// # Errors
    /// [`RunError::File`], [`RunError::Encode`].
    pub fn end(&mut self, outcome: &str, now: &str) -> Result<(), RunError> {
        self.note_end(outcome, now);
        write_manifest(&self.folder, &self.manifest, self.files.clone()).map(drop)
    }

    /// Notes what ran when in the attempt in hand; it is stored with how that ends.
    pub fn note_timeline(&mut self, spans: Vec<Span>) {
        if let Some(attempt) = self.manifest.attempts.last_mut() {
            attempt.timeline = spans;
        }
    }

    fn note_end(&mut self, outcome: &str, now: &str) {
        if let Some(Attempt {
            ended,
            outcome: how,
            ..
        }) = self.manifest.attempts.last_mut()
        {
            *ended = Some(now.to_owned());
            *how = Some(outcome.to_owned());
        }
    }

    /// Frees the run's name: an empty folder goes, a run that is replaced steps aside. Returns where to.
    fn make_way(&self) -> Result<Option<PathBuf>, RunError> {
        let failed = |source| RunError::File {
            path: self.out.clone(),
            source,
        };
        match standing(&self.out)? {
            Standing::Nothing => {
                if self.out.is_dir() {
                    std::fs::remove_dir(&self.out).map_err(failed)?;
                }
                Ok(None)
            }
            Standing::Run(_) if self.replaces => {
                // A name that no run can be given.
                let mut name = OsString::from(UNNAMED);
                name.push("replaced-");
                name.push(self.out.file_name().unwrap_or_default());
                let aside = self.out.with_file_name(name);
                if aside.is_dir() {
                    std::fs::remove_dir_all(&aside).map_err(failed)?;
                }
                std::fs::rename(&self.out, &aside).map_err(failed)?;
                Ok(Some(aside))
            }
            _ => Err(RunError::Exists {
                path: self.out.clone(),
            }),
        }
    }

    /// Writes findings and the finished manifest, and gives the folder its name. Returns the manifest and where the run is.
    ///
    /// # Errors
    /// [`RunError::Changed`] where a file is not what was written, [`RunError::Exists`], [`RunError::File`]; the folder then keeps its
    /// `.partial` name.
    pub fn finish(
        mut self,
        progress: Map<String, Value>,
        findings: &impl Serialize,
        now: &str,
    ) -> Result<(Manifest, PathBuf), RunError> {
        self.manifest.progress = progress;
        self.note_end("finished", now);
        let mut files = Map::new();
        for (name, stated) in &self.files {
            let found = self.folder.read(name)?.map(|bytes| digest(&bytes));
            if found.as_deref() != stated.as_str() {
                let path = self.folder.0.join(name);
                return Err(RunError::Changed { path, line: None });
            }
            files.insert(name.clone(), stated.clone());
        }
        for place in self.folder.journals()? {
            if let Some((path, file)) = self.folder.open(&place)? {
                let InOrder { other, digest } = in_order(&path, &file)?;
                if let Some(ordered) = other {
                    write_bytes(&path, &ordered)?;
                }
                files.insert(name_of(&place), digest.into());
            }
        }
        let text = pretty(&self.folder.0.join("findings.json"), findings)?;
        files.insert("findings.json".to_owned(), digest(&text).into());
        self.folder.write("findings.json", &text)?;
        let manifest = write_manifest(&self.folder, &self.manifest, files)?;
        let failed = |source| RunError::File {
            path: self.out.clone(),
            source,
        };
        sync_folder(&self.folder.0).map_err(failed)?;
        let replaced = self.make_way()?;
        std::fs::rename(&self.folder.0, &self.out).map_err(failed)?;
        self.lock.leave(&self.out)?;
        if let Some(replaced) = replaced {
            std::fs::remove_dir_all(&replaced).map_err(failed)?;
        }
        let parent = self.out.parent().filter(|parent| *parent != Path::new(""));
        sync_folder(parent.unwrap_or(Path::new("."))).map_err(failed)?;
        Ok((manifest, self.out))
    }
}

/// The digests of all journals, each of which is looked through.
pub(crate) fn add_journals(
    folder: &Folder,
    files: &mut Map<String, Value>,
) -> Result<(), RunError> {
    for place in folder.journals()? {
        let Some((path, file)) = folder.open(&place)? else {
            continue;
        };
        let lines = Lines::read_whole(&path, &file)?;
        files.insert(name_of(&place), lines.digest.into());
    }
    Ok(())
}

/// A file's place in a run, with `/` between its parts.
pub(crate) fn name_of(place: &Path) -> String {
    let parts = place.iter().map(|part| part.to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// A manifest as it was written, of a version that is known.
///
/// # Errors
/// [`RunError::Damaged`], [`RunError::Changed`], [`RunError::Newer`].
pub(crate) fn manifest_of(path: &Path, text: &[u8]) -> Result<Manifest, RunError> {
    let changed = || RunError::Changed {
        path: path.to_owned(),
        line: None,
    };
    let damaged = |source| RunError::Damaged {
        path: path.to_owned(),
        line: 0,
        source,
    };
    let manifest = serde_json::from_slice::<Map<String, Value>>(text).map_err(damaged)?;
    let schema = manifest.get("schema").and_then(Value::as_u64).unwrap_or(0);
    let seal = is_whole(text);
    if seal == Some(false) {
        return Err(changed());
    }
    if schema > SCHEMA {
        return Err(RunError::Newer {
            path: path.to_owned(),
            schema,
            known: SCHEMA,
        });
    }
    // Runs of the first version have no digests.
    if seal.is_none() && schema != 1 {
        return Err(changed());
    }
    Manifest::of(manifest).map_err(damaged)
}

/// Writes a manifest with the digests of other files, and its own in front.
pub(crate) fn write_manifest(
    folder: &Folder,
    manifest: &Manifest,
    files: Map<String, Value>,
) -> Result<Manifest, RunError> {
    let manifest = Manifest {
        schema: SCHEMA,
        files: Some(files),
        ..manifest.clone()
    };
    let text = pretty(&folder.0.join("manifest.json"), &manifest)?;
    folder.write("manifest.json", &sealed(&text))?;
    Ok(manifest)
}

/// A value as JSON over several lines.
pub(crate) fn pretty(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, RunError> {
    let text = serde_json::to_vec_pretty(value);
    let mut text = text.map_err(|source| RunError::Encode {
        path: path.to_owned(),
        source,
    })?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoredRun;
    use crate::manifest::{Checkpoint, Identity};
    use concord_readings::Reading;
    use serde_json::json;

    fn settings(seed: u32) -> Manifest {
        Manifest {
            identity: Identity {
                options: json!({ "seed": seed }),
                checkpoints: vec![Checkpoint {
                    name: "m".to_owned(),
                    ..Checkpoint::default()
                }],
                ..Identity::default()
            },
            attempts: vec![Attempt::default()],
            ..Manifest::default()
        }
    }

    fn begin(out: &Path, seed: u32) -> Result<RunDirectory, RunError> {
        let files = [
            ("questions.json", json!([1, 2])),
            ("stimuli.json", json!({ "system": {} })),
        ];
        RunDirectory::begin(out, &settings(seed), &files)
    }

    fn reading(id: &str) -> Reading {
        Reading {
            id: id.into(),
            tokens: 1,
            answers: vec![],
        }
    }

    /// A run that was cut off after a reading.
    fn cut_off(folder: &Path) -> (PathBuf, PathBuf) {
        let out = folder.join("run");
        let run = begin(&out, 1).unwrap();
        let mut journal = run.journal(What::round("readings"), "m").unwrap();
        journal.append([reading("a")]).unwrap();
        journal.close().unwrap();
        (out, run.partial().to_owned())
    }

    #[test]
    fn what_stands_there_is_an_empty_folder_a_run_or_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let is_nothing = |out: &Path| matches!(standing(out).unwrap(), Standing::Nothing);
        assert!(is_nothing(&out));
        std::fs::create_dir(&out).unwrap();
        assert!(is_nothing(&out));
        // An empty folder becomes the run.
        begin(&out, 1)
            .unwrap()
            .finish(Map::new(), &json!({}), "now")
            .unwrap();
        let Standing::Run(manifest) = standing(&out).unwrap() else {
            panic!();
        };
        assert_eq!(manifest.identity.difference(&settings(1).identity), None);
        assert!(matches!(begin(&out, 1), Err(RunError::Exists { .. })));
        std::fs::write(folder.path().join("file"), "").unwrap();
        for other in [folder.path(), &folder.path().join("file")] {
            assert!(matches!(standing(other).unwrap(), Standing::Else));
            assert!(matches!(check_name(other), Err(RunError::Exists { .. })));
        }
    }

    #[test]
    fn a_run_that_begins_anew_takes_the_place_of_another_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        begin(&out, 1)
            .unwrap()
            .finish(Map::new(), &json!({}), "now")
            .unwrap();
        let anew =
            || RunDirectory::begin_anew(&out, &settings(2), &[("questions.json", json!([]))]);
        // One that is cut off leaves the other where it is, and is begun anew in its turn.
        let mut journal = anew()
            .unwrap()
            .journal(What::round("readings"), "m")
            .unwrap();
        journal.append([reading("a")]).unwrap();
        drop(journal);
        assert_eq!(
            StoredRun::open(&out).unwrap().manifest.identity,
            settings(1).identity
        );
        // What was begun of the same goes on, what was begun of something else is gone.
        assert!(!anew().unwrap().is_blank().unwrap());
        let files = [("questions.json", json!([]))];
        let other = RunDirectory::begin_anew(&out, &settings(3), &files).unwrap();
        assert!(other.is_blank().unwrap());
        drop(other);
        let run = anew().unwrap();
        assert!(run.is_blank().unwrap());
        run.finish(Map::new(), &json!({}), "now").unwrap();
        assert_eq!(
            StoredRun::open(&out).unwrap().manifest.identity,
            settings(2).identity
        );
        let names = Folder(folder.path().to_owned())
            .names(Path::new(""))
            .unwrap();
        assert_eq!(names, ["run"]);
    }

    #[test]
    fn nothing_is_left_of_a_run_of_which_nothing_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let run = begin(&out, 1).unwrap();
        run.journal(What::round("readings"), "m")
            .unwrap()
            .close()
            .unwrap();
        assert!(run.is_blank().unwrap());
        run.discard_if_new().unwrap();
        drop(run);
        assert!(
            Folder(folder.path().to_owned())
                .names(Path::new(""))
                .unwrap()
                .is_empty()
        );
        let (_, _) = cut_off(folder.path());
        assert!(!begin(&out, 1).unwrap().is_blank().unwrap());
    }

    #[test]
    fn a_finished_journal_has_the_same_bytes_however_it_came_about() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |name: &str, order: &[&[&str]]| {
            let out = folder.path().join(name);
            for part in order {
                let run = begin(&out, 1).unwrap();
                let mut journal = run.journal(What::round("readings"), "m").unwrap();
                journal.append(part.iter().map(|id| reading(id))).unwrap();
                journal.close().unwrap();
            }
            begin(&out, 1)
                .unwrap()
                .finish(Map::new(), &json!({}), "now")
                .unwrap();
            let stored = StoredRun::open(&out).unwrap();
            let found = stored.readings(What::round("readings"), "m").unwrap();
            assert_eq!(found.len(), 4);
            std::fs::read(out.join("readings/m.jsonl")).unwrap()
        };
        let (a, b) = ("a\"x", "a\\");
        assert_eq!(
            bytes("one", &[&[b, "c", a, "b"]]),
            bytes("two", &[&["b"], &[a, "c"], &[b]])
        );
    }

    #[test]
    fn a_run_has_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (out, partial) = cut_off(folder.path());
        assert!(!out.exists());
        // The same settings go on, a trailing slash names the same folder; others are refused.
        assert!(
            matches!(begin(&out, 2), Err(RunError::OtherSettings { key, .. }) if key == "options.seed")
        );
        let run = begin(&folder.path().join("run/"), 1).unwrap();
        assert!(run.notes().is_empty());
        assert_eq!(
            run.journal(What::round("readings"), "m")
                .unwrap()
                .readings
                .len(),
            1
        );
        assert!(matches!(
            StoredRun::open(&partial),
            Err(RunError::Incomplete { .. })
        ));
        run.finish(Map::new(), &json!({}), "now").unwrap();
        let stored = StoredRun::open(&out).unwrap();
        let files: Vec<&String> = stored.files.keys().collect();
        assert_eq!(files, ["questions.json", "stimuli.json"]);
        let questions: Value = serde_json::from_slice(&stored.files["questions.json"]).unwrap();
        assert_eq!(questions, json!([1, 2]));
        assert!(
            stored
                .readings(What::round("texts"), "m")
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            stored.readings(What::round("readings"), "m").unwrap().len(),
            1
        );
        assert!(matches!(begin(&out, 1), Err(RunError::Exists { .. })));
        assert!(matches!(
            StoredRun::open(folder.path()),
            Err(RunError::NotARun { .. })
        ));
    }

    #[test]
    fn attempts_are_added_up_and_move_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let on = |host: &str| {
            let mut manifest = settings(1);
            manifest.attempts[0]
                .machine
                .insert("host".into(), json!(host));
            manifest.attempts[0].gpus = vec![json!({ "uuid": host })];
            RunDirectory::begin(&out, &manifest, &[("questions.json", json!([1]))]).unwrap()
        };
        let mut first = on("one");
        first.end("stopped", "then").unwrap();
        drop(first);
        // Killed: nothing is said of its end.
        drop(on("two"));
        let (manifest, _) = on("three").finish(Map::new(), &json!({}), "now").unwrap();
        let ends = manifest
            .attempts
            .iter()
            .map(|attempt| attempt.outcome.as_deref());
        assert_eq!(
            ends.collect::<Vec<_>>(),
            [Some("stopped"), None, Some("finished")]
        );
        let stored = StoredRun::open(&out).unwrap();
        assert_eq!(stored.manifest.attempts, manifest.attempts);
    }

    #[test]
    fn names_that_can_be_no_run_are_refused_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x.partial", "..", &"n".repeat(250)] {
            let refused = begin(&folder.path().join(name), 1).err().unwrap();
            assert!(
                matches!(refused, RunError::NoName { .. }),
                "{name}: {refused}"
            );
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        begin(&folder.path().join("n".repeat(247)), 1).unwrap();
    }

    #[test]
    fn what_is_asked_is_written_again_where_it_was_damaged() {
        for name in ["questions.json", "stimuli.json"] {
            for damage in [None, Some(&b""[..]), Some(b"[1,"), Some(b"[1, 3]\n")] {
                let folder = tempfile::tempdir().unwrap();
                let (out, partial) = cut_off(folder.path());
                let path = partial.join(name);
                let whole = std::fs::read(&path).unwrap();
                match damage {
                    None => std::fs::remove_file(&path).unwrap(),
                    Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                }
                let run = begin(&out, 1).unwrap();
                assert!(run.notes()[0].contains(name), "{:?}", run.notes());
                assert_eq!(std::fs::read(&path).unwrap(), whole);
                run.finish(Map::new(), &json!({}), "now").unwrap();
                StoredRun::open(&out).unwrap();
            }
        }
    }

    #[test]
    fn without_its_manifest_nothing_is_taken_over() {
        for (damage, gone) in [(None, true), (Some(&b""[..]), false), (Some(b"{}"), false)] {
            let folder = tempfile::tempdir().unwrap();
            let (out, partial) = cut_off(folder.path());
            let path = partial.join("manifest.json");
            match damage {
                None => std::fs::remove_file(&path).unwrap(),
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            }
            let refused = begin(&out, 1).err().unwrap();
            assert_eq!(
                matches!(refused, RunError::NoManifest { .. }),
                gone,
                "{refused}"
            );
            assert!(partial.join("readings/m.jsonl").exists());
        }
    }

    #[test]
    fn a_run_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let first = begin(&out, 1).unwrap();
        for seed in [1, 2] {
            assert!(matches!(begin(&out, seed), Err(RunError::InUse { .. })));
        }
        first.finish(Map::new(), &json!({}), "now").unwrap();
        assert!(matches!(begin(&out, 2), Err(RunError::Exists { .. })));
    }

    #[test]
    fn two_of_one_name_get_two_folders() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let long = "é".repeat(200);
        let one = |name: &str| RunDirectory::begin_new(&runs, name, &settings(1), &[]).unwrap();
        let (first, second) = (one("now"), one("now"));
        assert_eq!(first.out(), runs.join("now"));
        assert_eq!(second.out(), runs.join("now-2"));
        first.finish(Map::new(), &json!({}), "now").unwrap();
        assert_eq!(one("now").out(), runs.join("now-3"));
        assert_ne!(one(&long).out(), one(&long).out());
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (out, partial) = cut_off(folder.path());
        let newer = Manifest {
            schema: SCHEMA + 1,
            ..settings(1)
        };
        let text = pretty(&partial, &newer).unwrap();
        std::fs::write(partial.join("manifest.json"), sealed(&text)).unwrap();
        let refused = begin(&out, 1).err().unwrap();
        assert!(refused.to_string().contains("schema 5"), "{refused}");
    }
}
