//! The shards of a run, put together.

use crate::folder::Folder;
use crate::journal::{Lines, merged};
use crate::{Manifest, RunDirectory, RunError, StoredRun, write_bytes};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Shards that make one run: all of them, each once, of one identity.
pub struct Shards {
    shards: Vec<(PathBuf, StoredRun)>,
}

impl Shards {
    /// Opens shards, which may be named in any order.
    ///
    /// # Errors
    /// [`RunError::Shards`] where one is no shard, is there twice, is missing or is of another run; those of [`StoredRun::open`].
    pub fn open(folders: &[PathBuf]) -> Result<Self, RunError> {
        let mut shards: Vec<(PathBuf, StoredRun)> = Vec::new();
        for folder in folders {
            shards.push((folder.clone(), StoredRun::open(folder)?));
        }
        let wrong = |path: &Path, problem: String| {
            Err(RunError::Shards {
                path: path.to_owned(),
                problem,
            })
        };
        let mut known: BTreeMap<u32, &Path> = BTreeMap::new();
        let mut count = None;
        for (path, run) in &shards {
            let Some(shard) = run.manifest.identity.shard else {
                return wrong(path, "is a whole run, and no shard of one".to_owned());
            };
            if *count.get_or_insert(shard.of) != shard.of {
                let other = count.unwrap_or_default();
                return wrong(path, format!("is shard {shard}, and others are of {other}"));
            }
            if let Some(other) = known.insert(shard.index, path) {
                return wrong(path, format!("is shard {shard}, as {} is", other.display()));
            }
            let (mut first, mut own) = (
                shards[0].1.manifest.identity.clone(),
                run.manifest.identity.clone(),
            );
            (first.shard, own.shard) = (None, None);
            if let Some(key) = first.difference(&own) {
                let other = shards[0].0.display();
                return wrong(
                    path,
                    format!("is of another run than {other} (`{key}` differs)"),
                );
            }
        }
        for (path, run) in &shards {
            if shards[0].1.manifest.statistics != run.manifest.statistics {
                let other = shards[0].0.display();
                let problem = format!("is measured otherwise than {other} (`statistics` differs)");
                return wrong(path, problem);
            }
        }
        let of = count.unwrap_or_default();
        let missing = (1..=of).filter(|index| !known.contains_key(index));
        let missing: Vec<String> = missing.map(|index| format!("{index}/{of}")).collect();
        if let Some((first, _)) = shards.first()
            && !missing.is_empty()
        {
            let folder = first.parent().unwrap_or(first);
            return wrong(
                folder,
                format!("shards are missing: {}", missing.join(", ")),
            );
        }
        shards.sort_by_key(|(_, run)| run.manifest.identity.shard);
        Ok(Self { shards })
    }

    /// What the whole run is of; every attempt at any shard is one at it.
    pub fn manifest(&self) -> Manifest {
        let first = &self.shards[0].1.manifest;
        let mut manifest = Manifest {
            attempts: Vec::new(),
            progress: Map::new(),
            files: None,
            ..first.clone()
        };
        manifest.identity.shard = None;
        for (_, run) in &self.shards {
            manifest.attempts.extend(run.manifest.attempts.clone());
        }
        manifest
    }

    /// What was asked, by the names of its files.
    ///
    /// # Errors
    /// [`RunError::Damaged`].
    pub fn files(&self) -> Result<Vec<(String, Value)>, RunError> {
        let files = self.shards[0].1.files.iter().map(|(name, bytes)| {
            let value = serde_json::from_slice(bytes).map_err(|source| RunError::Damaged {
                path: self.shards[0].0.join(name),
                line: 0,
                source,
            });
            Ok((name.clone(), value?))
        });
        files.collect()
    }

    /// What each checkpoint cost: counts and seconds of all shards together.
    pub fn costs(&self) -> Map<String, Value> {
        let mut costs = Map::new();
        for (_, run) in &self.shards {
            for (name, cost) in &run.manifest.progress {
                match costs.get_mut(name) {
                    Some(sum) => add(sum, cost),
                    None => drop(costs.insert(name.clone(), cost.clone())),
                }
            }
        }
        for cost in costs.values_mut() {
            let Some(cost) = cost.as_object_mut() else {
                continue;
            };
            // Rates are no sums.
            let number =
                |cost: &Map<String, Value>, key: &str| cost.get(key).and_then(Value::as_f64);
            for (rate, of) in [
                ("prompts_per_s", "prompts"),
                ("rows_per_s", "rows_computed"),
            ] {
                let (of, seconds) = (number(cost, of), number(cost, "seconds"));
                if let (Some(of), Some(seconds)) = (of, seconds)
                    && cost.contains_key(rate)
                {
                    cost.insert(rate.to_owned(), (of / seconds).into());
                }
            }
        }
        costs
    }

    /// Writes the journals of all shards into a run that was begun with [`Shards::manifest`].
    ///
    /// # Errors
    /// [`RunError::Shards`] where a prompt was read in two shards; [`RunError::Changed`], [`RunError::File`].
    pub fn write(&self, run: &RunDirectory) -> Result<(), RunError> {
        let mut places: BTreeSet<PathBuf> = BTreeSet::new();
        for (path, _) in &self.shards {
            places.extend(Folder(path.clone()).journals()?);
        }
        let settings = run.manifest().identity.digest();
        for place in places {
            let mut parts = Vec::new();
            let mut names: BTreeMap<String, &Path> = BTreeMap::new();
            for (shard, stored) in &self.shards {
                let Some((path, file)) = Folder(shard.clone()).open(&place)? else {
                    continue;
                };
                let lines = Lines::read_whole(&path, &file)?;
                if !stored.is_listed(&place, &lines.digest) {
                    return Err(RunError::Changed { path, line: None });
                }
                for name in lines.readings.into_keys() {
                    if let Some(other) = names.insert(name.clone(), shard) {
                        return Err(RunError::Shards {
                            path,
                            problem: format!("`{name}` was read in {} too", other.display()),
                        });
                    }
                }
                parts.push(std::fs::read(&path).map_err(|source| RunError::File { path, source })?);
            }
            let folder = Folder(run.partial().to_owned());
            // Made, with the folders that it stands in.
            let (path, _) = folder.append(&place)?;
            write_bytes(&path, &merged(&path, &settings, &parts)?)?;
        }
        Ok(())
    }
}

/// Adds the numbers of a cost to those of another; what is no number stays.
fn add(sum: &mut Value, more: &Value) {
    match (sum, more) {
        (Value::Object(sum), Value::Object(more)) => {
            for (key, value) in more {
                // What is planned for each is no sum.
                let is_plan = ["memory_planned", "rows_per_pass"].contains(&key.as_str());
                match sum.get_mut(key) {
                    Some(known) if is_plan => {
                        if known.as_u64() < value.as_u64() {
                            *known = value.clone();
                        }
                    }
                    Some(known) => add(known, value),
                    None => drop(sum.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::Number(sum), Value::Number(more)) => {
            if let (Some(a), Some(b)) = (sum.as_u64(), more.as_u64()) {
                *sum = (a + b).into();
            } else if let (Some(a), Some(b)) = (sum.as_f64(), more.as_f64())
                && let Some(both) = serde_json::Number::from_f64(a + b)
            {
                *sum = both;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Attempt, Checkpoint, Identity};
    use crate::{Shard, What};
    use concord_readings::Reading;
    use serde_json::json;

    fn manifest(seed: u32, shard: Option<Shard>) -> Manifest {
        Manifest {
            identity: Identity {
                options: json!({ "seed": seed }),
                checkpoints: vec![Checkpoint {
                    name: "m".to_owned(),
                    ..Checkpoint::default()
                }],
                shard,
                ..Identity::default()
            },
            attempts: vec![Attempt::default()],
            ..Manifest::default()
        }
    }

    /// A finished run of some prompts.
    fn run(out: &Path, seed: u32, shard: Option<Shard>, ids: &[usize]) -> PathBuf {
        let files = [("questions.json", json!(["q", 1.5]))];
        let run = RunDirectory::begin(out, &manifest(seed, shard), &files).unwrap();
        let mut journal = run.journal(What::round("readings"), "m").unwrap();
        let reading = |id: &usize| Reading {
            id: format!("p{id}"),
            tokens: *id,
            answers: vec![],
        };
        journal.append(ids.iter().map(reading)).unwrap();
        journal.close().unwrap();
        let cost = json!({ "m": { "prompts": ids.len(), "seconds": 2.0, "prompts_per_s": 1.0 } });
        let costs = cost.as_object().unwrap().clone();
        run.finish(costs, &json!({}), "now").unwrap().1
    }

    fn shard(index: u32, of: u32) -> Shard {
        Shard { index, of }
    }

    #[test]
    fn shards_give_the_bytes_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let whole = run(&at("whole"), 1, None, &(0..20).rev().collect::<Vec<_>>());
        for of in [1u32, 3, 7] {
            let shards = (1..=of).map(|index| {
                let is_own = |id: &usize| id % of as usize + 1 == index as usize;
                let ids: Vec<usize> = (0..20).filter(is_own).collect();
                run(
                    &at(&format!("{of}.shards/{index}")),
                    1,
                    Some(shard(index, of)),
                    &ids,
                )
            });
            let mut folders: Vec<PathBuf> = shards.collect();
            folders.reverse();
            let shards = Shards::open(&folders).unwrap();
            let files = shards.files().unwrap();
            let files: Vec<(&str, Value)> = files
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect();
            let out = at(&format!("{of}"));
            let merged = RunDirectory::begin(&out, &shards.manifest(), &files).unwrap();
            shards.write(&merged).unwrap();
            merged.finish(shards.costs(), &json!({}), "now").unwrap();
            for file in ["questions.json", "readings/m.jsonl", "findings.json"] {
                let bytes = |run: &Path| std::fs::read(run.join(file)).unwrap();
                assert!(bytes(&out) == bytes(&whole), "{file}, {of} shards");
            }
            let stored = StoredRun::open(&out).unwrap().manifest;
            assert_eq!(
                stored.identity,
                StoredRun::open(&whole).unwrap().manifest.identity
            );
            assert_eq!(stored.progress["m"]["prompts"], 20);
            assert_eq!(
                stored.progress["m"]["prompts_per_s"],
                20.0 / (2.0 * f64::from(of))
            );
            assert_eq!(stored.attempts.len(), of as usize);
        }
    }

    #[test]
    fn what_does_not_make_one_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let one = run(&at("1"), 1, Some(shard(1, 2)), &[1, 2]);
        let two = run(&at("2"), 1, Some(shard(2, 2)), &[3]);
        let problem = |folders: &[&PathBuf]| {
            let folders: Vec<PathBuf> = folders.iter().map(|path| (*path).clone()).collect();
            Shards::open(&folders).err().unwrap().to_string()
        };
        assert!(problem(&[&one]).contains("missing: 2/2"));
        assert!(problem(&[&one, &one]).contains("is shard 1/2, as"));
        let other = run(&at("other"), 2, Some(shard(2, 2)), &[3]);
        assert!(problem(&[&one, &other]).contains("`options.seed` differs"));
        let third = run(&at("third"), 1, Some(shard(2, 3)), &[3]);
        assert!(problem(&[&one, &third]).contains("others are of 2"));
        let whole = run(&at("whole"), 1, None, &[1]);
        assert!(problem(&[&whole]).contains("no shard"));
        // The same prompt twice.
        let overlap = run(&at("overlap"), 1, Some(shard(2, 2)), &[2]);
        let shards = Shards::open(&[one.clone(), overlap]).unwrap();
        let begun = RunDirectory::begin(&at("m"), &shards.manifest(), &[]).unwrap();
        assert!(
            shards
                .write(&begun)
                .unwrap_err()
                .to_string()
                .contains("`p2` was read in")
        );
        // A line that was changed.
        let journal = two.join("readings/m.jsonl");
        let text = std::fs::read_to_string(&journal).unwrap();
        std::fs::write(&journal, text.replace("\"tokens\":3", "\"tokens\":4")).unwrap();
        let shards = Shards::open(&[one, two]).unwrap();
        assert!(matches!(
            shards.write(&begun),
            Err(RunError::Changed { .. })
        ));
    }
}
