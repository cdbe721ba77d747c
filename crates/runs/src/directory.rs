//! A run's folder, from its first file to its name.

use crate::{Journal, RunError};
use concord_readings::Reading;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Keys of the manifest that may differ between two attempts at one run.
const NOT_SETTINGS: [&str; 4] = ["started", "paths", "threads", "results"];

/// What a journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// What was read of a checkpoint at once.
    Readings,
    /// What it wrote.
    Texts,
    /// What a reader of this name made of that.
    Stances(&'a str),
}

impl What<'_> {
    /// The journal of a checkpoint, in the run's folder.
    fn file(self, model: &str) -> PathBuf {
        match self {
            Self::Readings => Path::new("readings").join(format!("{model}.jsonl")),
            Self::Texts => Path::new("texts").join(format!("{model}.jsonl")),
            Self::Stances(reader) => Path::new("stances")
                .join(model)
                .join(format!("{reader}.jsonl")),
        }
    }
}

/// A run that is being written.
pub struct RunDirectory {
    out: PathBuf,
    partial: PathBuf,
}

impl RunDirectory {
    /// Begins a run, or goes on with one that was cut off: then the stored manifest must agree with `manifest` in everything
    /// that decides the readings.
    ///
    /// # Errors
    /// [`RunError::Exists`], [`RunError::NoName`], [`RunError::OtherSettings`], [`RunError::File`].
    pub fn begin(
        out: &Path,
        manifest: &Map<String, Value>,
        questions: &impl Serialize,
        stimuli: &impl Serialize,
    ) -> Result<Self, RunError> {
        if out.exists() {
            return Err(RunError::Exists {
                path: out.to_owned(),
            });
        }
        // Components drop a trailing slash, which would put `.partial` inside the folder.
        let out: PathBuf = out.components().collect();
        let Some(name) = out.file_name() else {
            return Err(RunError::NoName { path: out });
        };
        let mut name = name.to_owned();
        name.push(".partial");
        let run = Self {
            partial: out.with_file_name(name),
            out,
        };
        let path = run.partial.join("manifest.json");
        if path.exists() {
            let before: Map<String, Value> = read(&path)?;
            let keys = before
                .keys()
                .chain(manifest.keys())
                .filter(|key| !NOT_SETTINGS.contains(&key.as_str()));
            for key in keys {
                if before.get(key) != manifest.get(key) {
                    return Err(RunError::OtherSettings {
                        path: run.partial,
                        key: key.clone(),
                    });
                }
            }
            return Ok(run);
        }
        std::fs::create_dir_all(&run.partial).map_err(|source| RunError::File {
            path: run.partial.clone(),
            source,
        })?;
        write(&run.partial.join("questions.json"), questions)?;
        write(&run.partial.join("stimuli.json"), stimuli)?;
        write(&path, manifest)?;
        Ok(run)
    }

    /// Where the run stands until it is whole.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// A journal of one checkpoint.
    ///
    /// # Errors
    /// As [`Journal::open`]; [`RunError::File`].
    pub fn journal(&self, what: What<'_>, model: &str) -> Result<Journal, RunError> {
        let path = self.partial.join(what.file(model));
        make_folder_of(&path)?;
        Journal::open(&path)
    }

    /// Writes findings and the finished manifest, and gives the folder its name.
    ///
    /// # Errors
    /// [`RunError::File`]; the folder then keeps its `.partial` name.
    pub fn finish(
        self,
        manifest: &Map<String, Value>,
        findings: &impl Serialize,
    ) -> Result<PathBuf, RunError> {
        write(&self.partial.join("findings.json"), findings)?;
        write(&self.partial.join("manifest.json"), manifest)?;
        std::fs::rename(&self.partial, &self.out).map_err(|source| RunError::File {
            path: self.out.clone(),
            source,
        })?;
        Ok(self.out)
    }
}

/// A whole run, read back.
pub struct StoredRun<Q> {
    /// The manifest.
    pub manifest: Map<String, Value>,
    /// The questions as they were asked.
    pub questions: Q,
    folder: PathBuf,
}

impl<Q: DeserializeOwned> StoredRun<Q> {
    /// Opens a run directory.
    ///
    /// # Errors
    /// [`RunError::Incomplete`] for a `.partial` folder, [`RunError::NotARun`], [`RunError::Damaged`].
    pub fn open(folder: &Path) -> Result<Self, RunError> {
        if folder
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches('/')
            .ends_with(".partial")
        {
            return Err(RunError::Incomplete {
                path: folder.to_owned(),
            });
        }
        for missing in ["manifest.json", "questions.json", "findings.json"] {
            if !folder.join(missing).is_file() {
                return Err(RunError::NotARun {
                    path: folder.to_owned(),
                    missing,
                });
            }
        }
        Ok(Self {
            manifest: read(&folder.join("manifest.json"))?,
            questions: read(&folder.join("questions.json"))?,
            folder: folder.to_owned(),
        })
    }

    /// The wording that was asked in, as it was stored; `None` in runs of before it was.
    ///
    /// # Errors
    /// [`RunError::Damaged`], [`RunError::File`].
    pub fn stimuli<S: DeserializeOwned>(&self) -> Result<Option<S>, RunError> {
        let path = self.folder.join("stimuli.json");
        if !path.exists() {
            return Ok(None);
        }
        read(&path).map(Some)
    }

    /// The readings of a journal, by prompt; none where there is no such journal.
    ///
    /// # Errors
    /// [`RunError::Damaged`] naming the line; [`RunError::File`].
    pub fn readings(
        &self,
        what: What<'_>,
        model: &str,
    ) -> Result<HashMap<String, Reading>, RunError> {
        let path = self.folder.join(what.file(model));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(HashMap::new());
            }
            Err(source) => return Err(RunError::File { path, source }),
        };
        let mut readings = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let reading: Reading =
                serde_json::from_str(line).map_err(|source| RunError::Damaged {
                    path: path.clone(),
                    line: index + 1,
                    source,
                })?;
            readings.insert(reading.id.clone(), reading);
        }
        Ok(readings)
    }

    /// The names of those who read what a checkpoint wrote, sorted.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn readers(&self, model: &str) -> Result<Vec<String>, RunError> {
        let path = self.folder.join("stances").join(model);
        let failed = |source| RunError::File {
            path: path.clone(),
            source,
        };
        if !path.is_dir() {
            return Ok(Vec::new());
        }
        let mut readers = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            readers.extend(name.strip_suffix(".jsonl").map(str::to_owned));
        }
        readers.sort();
        Ok(readers)
    }

    /// Where a reader that is added writes until it has read everything that every checkpoint wrote. `identity` tells readers of
    /// one name apart.
    ///
    /// # Errors
    /// As [`Journal::open`]; [`RunError::File`].
    pub fn added_journal(
        &self,
        reader: &str,
        identity: &str,
        model: &str,
    ) -> Result<Journal, RunError> {
        let (added, done) = self.added(reader, identity, model);
        make_folder_of(&added)?;
        // What was made part of the run before the run was measured again is read from there.
        Journal::open(if done.exists() { &done } else { &added })
    }

    fn added(&self, reader: &str, identity: &str, model: &str) -> (PathBuf, PathBuf) {
        let done = self.folder.join(What::Stances(reader).file(model));
        (done.with_extension(format!("{identity}.partial")), done)
    }

    /// Makes what an added reader read part of the run, for every checkpoint.
    ///
    /// # Errors
    /// [`RunError::File`]; the same call finishes what was begun.
    pub fn add(&self, reader: &str, identity: &str, models: &[&str]) -> Result<(), RunError> {
        for model in models {
            let (from, to) = self.added(reader, identity, model);
            if to.exists() && !from.exists() {
                continue;
            }
            std::fs::rename(&from, &to).map_err(|source| RunError::File { path: to, source })?;
        }
        Ok(())
    }

    /// Writes manifest and findings anew.
    ///
    /// # Errors
    /// [`RunError::File`], [`RunError::Encode`].
    pub fn update(
        &self,
        manifest: &Map<String, Value>,
        findings: &impl Serialize,
    ) -> Result<(), RunError> {
        write(&self.folder.join("findings.json"), findings)?;
        write(&self.folder.join("manifest.json"), manifest)
    }
}

fn make_folder_of(path: &Path) -> Result<(), RunError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| RunError::File {
        path: folder.to_owned(),
        source,
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    let text = std::fs::read(path).map_err(|source| RunError::File {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| RunError::Damaged {
        path: path.to_owned(),
        line: 0,
        source,
    })
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| RunError::Encode {
        path: path.to_owned(),
        source,
    })?;
    text.push(b'\n');
    write_bytes(path, &text)
}

/// Writes a file beside its place and moves it there, so that it is never half there.
///
/// # Errors
/// [`RunError::File`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let failed = |source| RunError::File {
        path: path.to_owned(),
        source,
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_reader_is_added_when_it_has_read_everything() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let settings = manifest(&json!({}));
        let run = RunDirectory::begin(&out, &settings, &json!([]), &json!({})).unwrap();
        let reading = |id: &str| Reading {
            id: id.into(),
            tokens: 1,
            answers: vec![],
        };
        run.journal(What::Stances("itself"), "m")
            .unwrap()
            .append([reading("a")])
            .unwrap();
        run.finish(&settings, &json!({})).unwrap();
        let stored = StoredRun::<Vec<u8>>::open(&out).unwrap();
        stored
            .added_journal("other", "id", "m")
            .unwrap()
            .append([reading("b")])
            .unwrap();
        assert_eq!(stored.readers("m").unwrap(), ["itself"]);
        stored.add("other", "id", &["m"]).unwrap();
        assert_eq!(stored.readers("m").unwrap(), ["itself", "other"]);
        assert!(
            stored
                .readings(What::Stances("other"), "m")
                .unwrap()
                .contains_key("b")
        );
        assert!(stored.readers("nobody").unwrap().is_empty());
        stored
            .update(&manifest(&json!({"readers": 2})), &json!({}))
            .unwrap();
        assert_eq!(
            StoredRun::<Vec<u8>>::open(&out).unwrap().manifest["readers"],
            2
        );
    }

    #[test]
    fn a_run_has_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        // A trailing slash names the same folder.
        let out = folder.path().join("run/");
        let settings = manifest(&json!({ "seed": 1, "started": "now" }));
        let run =
            RunDirectory::begin(&out, &settings, &json!([1, 2]), &json!({"system": {}})).unwrap();
        run.journal(What::Readings, "m")
            .unwrap()
            .append([Reading {
                id: "a".into(),
                tokens: 1,
                answers: vec![],
            }])
            .unwrap();
        assert!(!out.exists());
        drop(run);

        // The same settings go on; others are refused.
        let other = manifest(&json!({ "seed": 2, "started": "later" }));
        assert!(matches!(
            RunDirectory::begin(&out, &other, &json!([]), &json!({})),
            Err(RunError::OtherSettings { key, .. }) if key == "seed"
        ));
        let later = manifest(&json!({ "seed": 1, "started": "later" }));
        let run = RunDirectory::begin(&out, &later, &json!([]), &json!({})).unwrap();
        assert_eq!(run.journal(What::Readings, "m").unwrap().readings.len(), 1);
        assert!(matches!(
            StoredRun::<Vec<u8>>::open(run.partial()),
            Err(RunError::Incomplete { .. })
        ));
        run.finish(&settings, &json!({})).unwrap();

        let stored = StoredRun::<Vec<u8>>::open(&out).unwrap();
        assert_eq!(stored.questions, [1, 2]);
        assert_eq!(
            stored.stimuli::<Value>().unwrap(),
            Some(json!({"system": {}}))
        );
        assert!(stored.readings(What::Texts, "m").unwrap().is_empty());
        assert_eq!(stored.readings(What::Readings, "m").unwrap().len(), 1);
        assert!(matches!(
            RunDirectory::begin(&out, &settings, &json!([]), &json!({})),
            Err(RunError::Exists { .. })
        ));
        assert!(matches!(
            StoredRun::<Vec<u8>>::open(folder.path()),
            Err(RunError::NotARun { .. })
        ));
    }
}
