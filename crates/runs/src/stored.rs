//! A whole run, read back.

use crate::directory::{PARTIAL, add_journals, manifest_of, name_of, pretty, write_manifest};
use crate::folder::{Folder, JOURNAL, What};
use crate::journal::Lines;
use crate::lock::{Lock, Taken};
use crate::manifest::Manifest;
use crate::seal::digest;
use crate::{Journal, RunError};
use concord_readings::{Reading, Readings};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A whole run, read back.
pub struct StoredRun {
    /// The manifest.
    pub manifest: Manifest,
    /// What was asked, by the names of its files.
    pub files: BTreeMap<String, Vec<u8>>,
    folder: Folder,
}

/// Files that say what was asked, in forms that did not list them.
const UNLISTED: [&str; 2] = ["questions.json", "stimuli.json"];
/// The most checkpoints of a run.
const MOST_CHECKPOINTS: usize = 1_000;
/// Files that say something else.
const OTHERS: [&str; 2] = ["manifest.json", "findings.json"];

impl StoredRun {
    /// Opens a run directory.
    ///
    /// # Errors
    /// [`RunError::Incomplete`] for a `.partial` folder, [`RunError::NotARun`], [`RunError::Newer`]; [`RunError::Damaged`] and
    /// [`RunError::Changed`] naming the file.
    pub fn open(folder: &Path) -> Result<Self, RunError> {
        let path = folder.as_os_str().to_string_lossy();
        if path.trim_end_matches('/').ends_with(PARTIAL) {
            return Err(RunError::Incomplete {
                path: folder.to_owned(),
            });
        }
        let folder = Folder(folder.to_owned());
        let needed = |missing| {
            let not_a_run = || RunError::NotARun {
                path: folder.0.clone(),
                missing,
            };
            folder.read(missing)?.ok_or_else(not_a_run)
        };
        let manifest = manifest_of(&folder.0.join("manifest.json"), &needed("manifest.json")?)?;
        let names: BTreeSet<&str> = manifest.names().collect();
        let (count, distinct) = (manifest.names().count(), names.len());
        if count != distinct || count > MOST_CHECKPOINTS || count == 0 {
            return Err(RunError::Checkpoints {
                path: folder.0.join("manifest.json"),
                count,
                distinct,
            });
        }
        needed("questions.json")?;
        let findings = needed("findings.json")?;
        check(&folder, &manifest, "findings.json", &findings)?;
        are_there(&folder, &manifest)?;
        let names: Vec<String> = match &manifest.files {
            Some(listed) => listed
                .keys()
                .filter(|name| !name.contains('/') && !OTHERS.contains(&name.as_str()))
                .cloned()
                .chain(["questions.json".to_owned()])
                .collect(),
            None => UNLISTED.map(str::to_owned).to_vec(),
        };
        let mut files = BTreeMap::new();
        for name in names {
            if let Some(bytes) = folder.read(&name)? {
                check(&folder, &manifest, &name, &bytes)?;
                files.insert(name, bytes);
            }
        }
        Ok(Self {
            manifest,
            files,
            folder,
        })
    }

    /// A run that is not whole yet, of which everything was read.
    pub fn begun(folder: &Path, manifest: Manifest, files: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            manifest,
            files,
            folder: Folder(folder.to_owned()),
        }
    }

    /// Everything that was read of a checkpoint.
    ///
    /// # Errors
    /// As [`StoredRun::readings`].
    pub fn everything(&self, model: &str) -> Result<Readings, RunError> {
        let mut found = Readings::default();
        for round in self.folder.rounds()? {
            let what = What::round(&round);
            if self.folder.open(&what.file(model)?)?.is_some() {
                let readings = self.readings(what, model)?;
                found.rounds.insert(round, readings);
                continue;
            }
            let mut ratings = BTreeMap::new();
            for rater in self.raters(&round, model)? {
                let readings = self.readings(What::rated(&round, &rater), model)?;
                ratings.insert(rater, readings);
            }
            if !ratings.is_empty() {
                found.ratings.insert(round, ratings);
            }
        }
        Ok(found)
    }

    /// The readings of a journal, by prompt; none where there is no such journal.
    ///
    /// # Errors
    /// [`RunError::Changed`] naming the line; [`RunError::NotPlain`], [`RunError::File`].
    pub fn readings(
        &self,
        what: What<'_>,
        model: &str,
    ) -> Result<HashMap<String, Reading>, RunError> {
        let place = what.file(model)?;
        let listed = self.listed(&place);
        let Some((path, file)) = self.folder.open(&place)? else {
            let path = self.folder.0.join(&place);
            return match listed {
                Some(_) => Err(RunError::Changed { path, line: None }),
                None => Ok(HashMap::new()),
            };
        };
        let lines = Lines::read_whole(&path, &file)?;
        // Lines may be gone as a whole.
        if listed.is_some_and(|listed| !is_one_of(listed, &lines.digest)) {
            return Err(RunError::Changed { path, line: None });
        }
        Ok(lines.readings)
    }

    /// Whether its files have digests, which versions of before did not store.
    pub fn is_sealed(&self) -> bool {
        self.manifest.files.is_some()
    }

    /// Whether a file is what the manifest says, by its digest.
    pub(crate) fn is_listed(&self, place: &Path, digest: &str) -> bool {
        self.listed(place)
            .is_none_or(|listed| is_one_of(listed, digest))
    }

    /// What the manifest says of a file.
    fn listed(&self, place: &Path) -> Option<&Value> {
        self.manifest.files.as_ref()?.get(&name_of(place))
    }

    /// The names of those who rated what a checkpoint wrote, sorted.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn raters(&self, round: &str, model: &str) -> Result<Vec<String>, RunError> {
        let any = What::rated(round, "any").file(model)?;
        let folder = any.parent().unwrap_or(Path::new(""));
        let names = self.folder.names(folder)?;
        let raters = names.iter().filter_map(|name| name.strip_suffix(JOURNAL));
        let mut raters: Vec<String> = raters.map(str::to_owned).collect();
        // A name that is too long for a file is shortened there.
        for name in self.manifest.rater_names() {
            let place = What::rated(round, name).file(model)?;
            let stem = place.file_stem().unwrap_or_default();
            if let Some(found) = raters.iter_mut().find(|found| found.as_str() == stem) {
                name.clone_into(found);
            }
        }
        raters.sort();
        Ok(raters)
    }

    /// Keeps others from writing to the run while a reader is added.
    ///
    /// # Errors
    /// [`RunError::InUse`], [`RunError::NotARun`], [`RunError::File`].
    pub fn lock(&self) -> Result<Lock, RunError> {
        match Lock::take(&self.folder.0)? {
            Taken::Held(lock) => Ok(lock),
            Taken::Gone => Err(RunError::NotARun {
                path: self.folder.0.clone(),
                missing: "manifest.json",
            }),
        }
    }

    /// Where a reader that is added writes until it has read everything that every checkpoint wrote. `identity` tells readers of
    /// one name apart.
    ///
    /// # Errors
    /// As [`crate::RunDirectory::journal`].
    pub fn added_journal(
        &self,
        what: What<'_>,
        identity: &str,
        model: &str,
    ) -> Result<Journal, RunError> {
        let (added, done) = Self::added(what, identity, model)?;
        // What was made part of the run before the run was measured again is read from there.
        let is_done = self.folder.open(&done)?.is_some();
        Journal::open(&self.folder, if is_done { &done } else { &added }, identity)
    }

    fn added(what: What<'_>, identity: &str, model: &str) -> Result<(PathBuf, PathBuf), RunError> {
        let done = what.file(model)?;
        Ok((done.with_extension(format!("{identity}{PARTIAL}")), done))
    }

    /// Makes what an added reader read part of the run, for every checkpoint.
    ///
    /// # Errors
    /// [`RunError::File`]; the same call finishes what was begun.
    pub fn add(&self, what: What<'_>, identity: &str, models: &[&str]) -> Result<(), RunError> {
        for model in models {
            let (from, to) = Self::added(what, identity, model)?;
            let (from, to) = (self.folder.place(&from)?, self.folder.place(&to)?);
            if to.exists() && !from.exists() {
                continue;
            }
            std::fs::rename(&from, &to).map_err(|source| RunError::File { path: to, source })?;
        }
        Ok(())
    }

    /// Writes manifest and findings anew. A stop between the two leaves a run that can be read.
    ///
    /// # Errors
    /// [`RunError::File`], [`RunError::Encode`].
    pub fn update(&self, manifest: &Manifest, findings: &impl Serialize) -> Result<(), RunError> {
        let name = "findings.json";
        let mut files = manifest.files.clone().unwrap_or_default();
        for (file, bytes) in &self.files {
            files
                .entry(file.as_str())
                .or_insert_with(|| digest(bytes).into());
        }
        add_journals(&self.folder, &mut files)?;
        let text = pretty(&self.folder.0.join(name), findings)?;
        let before = self.folder.read(name)?.unwrap_or_default();
        // For a moment it is one of two.
        let either = Value::from(vec![digest(&before), digest(&text)]);
        files.insert(name.to_owned(), either);
        write_manifest(&self.folder, &self.manifest, files.clone())?;
        self.folder.write(name, &text)?;
        files.insert(name.to_owned(), digest(&text).into());
        write_manifest(&self.folder, manifest, files).map(drop)
    }
}

/// Refuses a file that is not the one that the manifest names.
fn check(folder: &Folder, manifest: &Manifest, name: &str, text: &[u8]) -> Result<(), RunError> {
    let Some(files) = &manifest.files else {
        return Ok(());
    };
    if files
        .get(name)
        .is_some_and(|stated| is_one_of(stated, &digest(text)))
    {
        return Ok(());
    }
    let path = folder.0.join(name);
    Err(RunError::Changed { path, line: None })
}

/// Refuses a run that lacks a file which its manifest names.
fn are_there(folder: &Folder, manifest: &Manifest) -> Result<(), RunError> {
    for name in manifest.files.iter().flat_map(Map::keys) {
        let path = folder.0.join(name);
        if std::fs::symlink_metadata(&path).is_err() {
            return Err(RunError::Changed { path, line: None });
        }
    }
    Ok(())
}

/// A file has one digest, or while it is replaced one of two.
fn is_one_of(stated: &Value, found: &str) -> bool {
    match stated {
        Value::Array(either) => either.iter().any(|stated| stated == found),
        stated => stated == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunDirectory;
    use crate::manifest::{Attempt, Checkpoint, Identity};
    use serde_json::json;

    fn settings() -> Manifest {
        Manifest {
            attempts: vec![Attempt::default()],
            identity: Identity {
                limit: Some(12),
                checkpoints: vec![Checkpoint {
                    name: "m".to_owned(),
                    ..Checkpoint::default()
                }],
                ..Identity::default()
            },
            ..Manifest::default()
        }
    }

    fn reading(id: &str) -> Reading {
        Reading {
            id: id.into(),
            tokens: 1,
            answers: vec![],
        }
    }

    fn whole(folder: &Path) -> PathBuf {
        let settings = settings();
        let out = folder.join("run");
        let run = RunDirectory::begin(
            &out,
            &settings,
            &[
                ("questions.json", json!([11, 22])),
                ("stimuli.json", json!({ "a": 3 })),
            ],
        )
        .unwrap();
        for what in [What::round("readings"), What::rated("stances", "itself")] {
            let mut journal = run.journal(what, "m").unwrap();
            journal.append([reading("a1"), reading("b2")]).unwrap();
            journal.close().unwrap();
        }
        let finished = run.finish(Map::new(), &json!({ "value": 0.125 }), "12:30");
        finished.unwrap().1
    }

    /// Reads everything of a run.
    fn everything(out: &Path) -> Result<(), RunError> {
        let stored = StoredRun::open(out)?;
        let found = stored.everything("m")?;
        assert!(found.round("readings").is_some() && found.ratings("stances").is_some());
        Ok(())
    }

    #[test]
    fn every_changed_digit_is_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = whole(folder.path());
        everything(&out).unwrap();
        let files = [
            "manifest.json",
            "questions.json",
            "stimuli.json",
            "findings.json",
            "readings/m.jsonl",
            "stances/m/itself.jsonl",
        ];
        for name in files {
            let path = out.join(name);
            let text = std::fs::read(&path).unwrap();
            for at in 0..text.len() {
                if !text[at].is_ascii_digit() {
                    continue;
                }
                let mut changed = text.clone();
                changed[at] = if text[at] == b'7' { b'8' } else { b'7' };
                std::fs::write(&path, &changed).unwrap();
                let found = everything(&out).err().map(|error| error.to_string());
                let found = found.unwrap_or_else(|| panic!("{name} at {at}"));
                assert!(found.contains(name), "{found}");
            }
            // A line less.
            let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
            std::fs::write(&path, lines[..lines.len() - 1].concat()).unwrap();
            assert!(everything(&out).is_err(), "{name}");
            std::fs::write(&path, &text).unwrap();
        }
        everything(&out).unwrap();
        for name in files {
            let path = out.join(name);
            let text = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let found = everything(&out).unwrap_err().to_string();
            let named = name.trim_end_matches(".json");
            assert!(found.contains(named), "{name}: {found}");
            std::fs::write(&path, &text).unwrap();
        }
        everything(&out).unwrap();
    }

    #[test]
    fn a_reader_s_long_name_is_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let long = "r".repeat(230);
        let mut settings = settings();
        settings.identity.raters = vec![Checkpoint {
            name: long.clone(),
            ..Checkpoint::default()
        }];
        let out = folder.path().join("run");
        let run = RunDirectory::begin(&out, &settings, &[("questions.json", json!([1]))]).unwrap();
        let mut journal = run.journal(What::rated("stances", &long), "m").unwrap();
        journal.append([reading("a")]).unwrap();
        journal.close().unwrap();
        run.finish(Map::new(), &json!({}), "now").unwrap();
        let stored = StoredRun::open(&out).unwrap();
        assert_eq!(stored.raters("stances", "m").unwrap(), [long]);
    }

    #[test]
    fn a_reader_is_added_when_it_has_read_everything() {
        let folder = tempfile::tempdir().unwrap();
        let out = whole(folder.path());
        let stored = StoredRun::open(&out).unwrap();
        let lock = stored.lock().unwrap();
        assert!(stored.lock().is_err());
        let other = What::rated("stances", "other");
        let mut journal = stored.added_journal(other, "id", "m").unwrap();
        journal.append([reading("b")]).unwrap();
        drop(journal);
        assert_eq!(stored.raters("stances", "m").unwrap(), ["itself"]);
        // Other weights under the same name begin anew.
        assert!(
            stored
                .added_journal(other, "another", "m")
                .unwrap()
                .readings
                .is_empty()
        );
        stored.add(other, "id", &["m"]).unwrap();
        assert_eq!(stored.raters("stances", "m").unwrap(), ["itself", "other"]);
        // It was made part of the run, and the run was not measured: all the same it can be read.
        everything(&out).unwrap();
        assert!(stored.readings(other, "m").unwrap().contains_key("b"));
        assert!(stored.raters("stances", "nobody").unwrap().is_empty());
        let mut manifest = stored.manifest.clone();
        manifest.raters = vec![json!(2)];
        stored.update(&manifest, &json!({ "value": 0.25 })).unwrap();
        drop(lock);
        everything(&out).unwrap();
        assert_eq!(StoredRun::open(&out).unwrap().manifest.raters, [json!(2)]);
    }

    #[test]
    fn a_run_names_each_checkpoint_once() {
        let folder = tempfile::tempdir().unwrap();
        let named = |names: &[&str]| {
            let mut settings = settings();
            settings.identity.checkpoints = names
                .iter()
                .map(|name| Checkpoint {
                    name: (*name).to_owned(),
                    ..Checkpoint::default()
                })
                .collect();
            let out = folder.path().join(names.len().to_string());
            let files = [("questions.json", json!([1]))];
            let run = RunDirectory::begin(&out, &settings, &files).unwrap();
            run.finish(Map::new(), &json!({}), "now").unwrap();
            StoredRun::open(&out).err().map(|error| error.to_string())
        };
        assert!(named(&[]).unwrap().contains("names 0 checkpoints"));
        assert_eq!(named(&["m"]), None);
        assert!(named(&["m", "m"]).unwrap().contains("of which 1 differ"));
    }

    #[test]
    fn a_run_of_the_first_version_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("old");
        std::fs::create_dir_all(out.join("readings")).unwrap();
        std::fs::write(
            out.join("manifest.json"),
            r#"{"schema": 1, "seed": 1, "checkpoints": [{"name": "m"}]}"#,
        )
        .unwrap();
        std::fs::write(out.join("questions.json"), "[1]").unwrap();
        std::fs::write(out.join("findings.json"), "{}").unwrap();
        let line = "{\"id\":\"a\",\"tokens\":1,\"answers\":[]}\n";
        std::fs::write(out.join("readings/m.jsonl"), line).unwrap();
        let stored = StoredRun::open(&out).unwrap();
        assert_eq!(
            stored.readings(What::round("readings"), "m").unwrap().len(),
            1
        );
        std::fs::write(
            out.join("readings/m.jsonl"),
            format!("{line}{{\"id\":\n{line}"),
        )
        .unwrap();
        let damaged = stored
            .readings(What::round("readings"), "m")
            .unwrap_err()
            .to_string();
        assert!(damaged.contains("m.jsonl:2"), "{damaged}");
    }
}
