//! Which files of a repository are needed, and whether a snapshot has them.

use super::cache::cache_error;
use super::{HubError, HubName, RepositoryKind};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The hub's answer about a repository.
#[derive(Deserialize)]
pub(crate) struct Listing {
    pub sha: String,
    #[serde(default)]
    pub siblings: Vec<Sibling>,
}

/// A file of a repository.
#[derive(Clone, Deserialize)]
pub(crate) struct Sibling {
    pub rfilename: String,
    #[serde(default)]
    size: u64,
    #[serde(rename = "blobId", default)]
    blob: String,
    lfs: Option<Lfs>,
}

#[derive(Clone, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Sibling {
    /// What its blob is named for: the digest of its content, or of the content as git stores it.
    pub fn digest(&self) -> &str {
        self.lfs.as_ref().map_or(&self.blob, |lfs| &lfs.sha256)
    }

    pub fn length(&self) -> u64 {
        self.lfs.as_ref().map_or(self.size, |lfs| lfs.size)
    }
}

/// A repository as it is now.
pub(crate) struct Remote<'a> {
    pub name: &'a HubName,
    pub commit: String,
    pub files: Vec<Sibling>,
}

/// Files that are taken where they are there.
const WORDS: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "README.md",
    "LICENSE",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

impl Remote<'_> {
    fn file(&self, name: &str) -> Option<&Sibling> {
        self.files.iter().find(|file| file.rfilename == name)
    }

    fn without(&self, problem: String) -> HubError {
        HubError::NoFile {
            name: self.name.to_string(),
            problem,
        }
    }

    /// The files that are needed, but for the shards of an index.
    pub fn wanted(&self) -> Result<Vec<Sibling>, HubError> {
        if self.name.kind == RepositoryKind::Dataset {
            if let Some(file) = &self.name.file {
                let found = self.file(file).cloned();
                let missing = || self.without(format!("the data set holds no {file}"));
                return Ok(vec![found.ok_or_else(missing)?]);
            }
            let tables = self
                .files
                .iter()
                .filter(|file| has_ending(&file.rfilename, "jsonl"));
            let tables: Vec<Sibling> = tables.cloned().collect();
            if tables.is_empty() {
                return Err(self.without("the data set holds no .jsonl file".to_owned()));
            }
            let folder = |file: &Sibling| Path::new(&file.rfilename).parent().map(Path::to_owned);
            if let Some(other) = tables
                .iter()
                .find(|file| folder(file) != folder(&tables[0]))
            {
                return Err(self.without(format!(
                    "its .jsonl files stand in several folders ({} and {}); download the one that is meant",
                    tables[0].rfilename, other.rfilename
                )));
            }
            return Ok(tables);
        }
        let mut names: Vec<&str> = WORDS.to_vec();
        if let Some(file) = &self.name.file {
            names.push(file);
            if self.file(file).is_none() {
                return Err(self.without(format!("the repository holds no {file}")));
            }
            names.extend(self.gguf_names().into_iter().filter(|other| {
                *other != file && first_part(other).is_some_and(|first| first == *file)
            }));
        } else if self.file("config.json").is_some() && !self.is_gguf_alone() {
            names.push("config.json");
            if self.file(WEIGHTS).is_some() {
                names.push(WEIGHTS);
            } else if self.file(INDEX).is_some() {
                names.push(INDEX);
            } else {
                return Err(self.no_weights());
            }
            if self.file("tokenizer.json").is_none() {
                return Err(self.without(
                    "the repository holds no tokenizer.json, only what older libraries read"
                        .to_owned(),
                ));
            }
        } else if self.file(ADAPTER[0]).is_some() {
            names.extend(ADAPTER);
            if self.file(ADAPTER[1]).is_none() {
                return Err(self.without("the adapter's weights are no safetensors".to_owned()));
            }
        } else {
            let ggufs: Vec<&str> = self.gguf_names();
            match ggufs[..] {
                [one] => names.push(one),
                // The parts of one.
                [first, ..]
                    if ggufs
                        .iter()
                        .all(|name| first_part(name).as_deref() == Some(first)) =>
                {
                    names.extend(ggufs);
                }
                [] => return Err(self.no_weights()),
                _ => {
                    let ids: Vec<String> = ggufs
                        .iter()
                        .map(|file| format!("{}:{file}", self.name))
                        .collect();
                    return Err(self.without(format!(
                        "{} GGUF files; name the one that is meant: {}",
                        ids.len(),
                        ids.join(", ")
                    )));
                }
            }
        }
        Ok(names
            .into_iter()
            .filter_map(|name| self.file(name).cloned())
            .collect())
    }

    /// Whether the weights are GGUF files and nothing else; some such repositories hold a config.json as well.
    fn is_gguf_alone(&self) -> bool {
        self.file(WEIGHTS).is_none() && self.file(INDEX).is_none() && !self.gguf_names().is_empty()
    }

    fn gguf_names(&self) -> Vec<&str> {
        let names = self.files.iter().map(|file| file.rfilename.as_str());
        let mut names: Vec<&str> = names.filter(|name| is_gguf(name)).collect();
        names.sort_unstable();
        names
    }

    fn no_weights(&self) -> HubError {
        let pickled = self.files.iter().find(|file| {
            file.rfilename.starts_with("pytorch_model")
                || file.rfilename.starts_with("consolidated")
        });
        self.without(match pickled {
            Some(file) => format!(
                "weights are pickled ({}), which would run code to read them",
                file.rfilename
            ),
            None => "the repository holds no safetensors and no GGUF file".to_owned(),
        })
    }

    /// The shards that an index names.
    pub fn shards(&self, index: &Path) -> Result<Vec<Sibling>, HubError> {
        let text = std::fs::read(index).map_err(cache_error(index))?;
        let names = shard_names(&text).ok_or_else(|| {
            self.without(format!("{} is not an index of weights", index.display()))
        })?;
        names
            .into_iter()
            .map(|name| {
                let problem =
                    || self.without(format!("the index names {name}, which is not there"));
                self.file(&name).cloned().ok_or_else(problem)
            })
            .collect()
    }
}

fn is_gguf(name: &str) -> bool {
    has_ending(name, "gguf")
}

/// The name of the first part, where a file is one of several parts: `NAME-00002-of-00005.gguf`.
fn first_part(name: &str) -> Option<String> {
    let (start, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (start, number) = start.rsplit_once('-')?;
    let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(count)).then(|| format!("{start}-00001-of-{count}.gguf"))
}

/// Whether all parts of a file stand beside it.
fn has_all_parts(path: &Path) -> bool {
    let Some((start, count)) = path
        .to_str()
        .and_then(|name| name.strip_suffix(".gguf")?.rsplit_once("-00001-of-"))
    else {
        return true;
    };
    let parts = count.parse::<u32>().unwrap_or(0).min(1 << 12);
    (1..=parts).all(|part| Path::new(&format!("{start}-{part:05}-of-{count}.gguf")).is_file())
}

fn has_ending(name: &str, wanted: &str) -> bool {
    let ending = Path::new(name).extension();
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case(wanted))
}

fn shard_names(index: &[u8]) -> Option<BTreeSet<String>> {
    let index: serde_json::Value = serde_json::from_slice(index).ok()?;
    let map = index.get("weight_map")?.as_object()?;
    map.values()
        .map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// What is opened of a snapshot that has everything: the folder, or the one file.
pub(crate) fn complete(snapshot: &Path, name: &HubName) -> Option<PathBuf> {
    let has = |file: &str| snapshot.join(file).is_file();
    if name.kind == RepositoryKind::Dataset {
        return match &name.file {
            Some(file) => has(file).then(|| snapshot.join(file)),
            None => table_folder(snapshot),
        };
    }
    if let Some(file) = &name.file {
        let path = snapshot.join(file);
        return (has(file) && has_all_parts(&path)).then_some(path);
    }
    let folder = || Some(snapshot.to_owned());
    if has("config.json") {
        if !has("tokenizer.json") {
            return None;
        }
        if has(WEIGHTS) {
            return folder();
        }
        let names = shard_names(&std::fs::read(snapshot.join(INDEX)).ok()?)?;
        return names
            .iter()
            .all(|name| has(name))
            .then(|| snapshot.to_owned());
    }
    if ADAPTER.iter().all(|file| has(file)) {
        return folder();
    }
    let entries = std::fs::read_dir(snapshot).ok()?.flatten();
    let files = entries.map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.to_str().is_some_and(is_gguf))
        .collect();
    files.sort();
    let one = files.into_iter().next()?;
    (one.is_file() && has_all_parts(&one)).then_some(one)
}

/// The folder that holds a data set's tables, where one holds all of them.
fn table_folder(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
        {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().is_some_and(|name| has_ending(name, "jsonl"))
                && !found.contains(&folder)
            {
                found.push(folder.clone());
            }
        }
    }
    match &found[..] {
        [one] => Some(one.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(name: &HubName, files: &[&str]) -> Result<Vec<String>, String> {
        let files = files.iter().map(|file| Sibling {
            rfilename: (*file).to_owned(),
            size: 1,
            blob: String::new(),
            lfs: None,
        });
        let remote = Remote {
            name,
            commit: String::new(),
            files: files.collect(),
        };
        let wanted = remote.wanted().map_err(|error| error.to_string())?;
        Ok(wanted.into_iter().map(|file| file.rfilename).collect())
    }

    #[test]
    fn only_what_is_needed_is_wanted() {
        let plain = HubName::parse(RepositoryKind::Model, "a/b").unwrap();
        let base = [
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "pytorch_model.bin",
            "original/x.pth",
        ];
        assert_eq!(
            remote(&plain, &base).unwrap(),
            ["tokenizer.json", "config.json", "model.safetensors"]
        );
        let sharded = [
            "config.json",
            "tokenizer.json",
            INDEX,
            "model-00001-of-00002.safetensors",
        ];
        assert_eq!(
            remote(&plain, &sharded).unwrap(),
            ["tokenizer.json", "config.json", INDEX]
        );
        let adapter = [
            "adapter_config.json",
            "adapter_model.safetensors",
            "optimizer.pt",
        ];
        assert_eq!(remote(&plain, &adapter).unwrap(), ADAPTER);
        assert_eq!(
            remote(&plain, &["x.gguf", "README.md"]).unwrap(),
            ["README.md", "x.gguf"]
        );
        let problem = |files: &[&str]| remote(&plain, files).unwrap_err();
        assert!(
            problem(&["x.gguf", "y.gguf"])
                .contains("name the one that is meant: a/b:x.gguf, a/b:y.gguf")
        );
        assert!(
            problem(&["config.json", "tokenizer.json", "pytorch_model.bin"]).contains("pickled")
        );
        assert!(
            problem(&["config.json", "tokenizer.model", "model.safetensors"])
                .contains("no tokenizer.json")
        );
        assert!(problem(&["README.md"]).contains("no safetensors and no GGUF"));
        let one = HubName::parse(RepositoryKind::Model, "a/b:y.gguf").unwrap();
        assert_eq!(remote(&one, &["x.gguf", "y.gguf"]).unwrap(), ["y.gguf"]);
        assert!(remote(&one, &["x.gguf"]).unwrap_err().contains("no y.gguf"));
        let data = HubName::parse(RepositoryKind::Dataset, "a/b").unwrap();
        assert_eq!(
            remote(&data, &["data/q.jsonl", "README.md"]).unwrap(),
            ["data/q.jsonl"]
        );
        assert!(
            remote(&data, &["q.parquet"])
                .unwrap_err()
                .contains("no .jsonl")
        );
        let one = HubName::parse(RepositoryKind::Dataset, "a/b:data/q.parquet").unwrap();
        let files = ["data/q.parquet", "data/r.parquet"];
        assert_eq!(remote(&one, &files).unwrap(), ["data/q.parquet"]);
        assert!(
            remote(&one, &["r.parquet"])
                .unwrap_err()
                .contains("no data/q.parquet")
        );
    }
}
