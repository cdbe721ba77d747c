//! The Hugging Face hub: checkpoints and data sets by id, in the cache that its Python client uses.
//!
//! Only the files that are needed are fetched, each once; what was cut off goes on where it stopped; every file is checked
//! against the digest that the hub names.

mod cache;
mod client;
mod error;
mod partial;
mod selection;
mod settings;

pub use cache::{Cached, cached};
pub use client::{Fetched, Hub, Transfer};
pub use error::HubError;
pub use settings::HubSettings;

use serde::{Deserialize, Serialize};

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryKind {
    /// A checkpoint or an adapter.
    Model,
    /// A data set.
    Dataset,
}

impl RepositoryKind {
    /// The beginning of a cache folder's name, and of the API's path.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What stands before a repository's name in the address of a file.
    pub(crate) fn before(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// `owner/name`, with a revision and a file where they are given: `owner/name@revision:file.gguf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubName {
    /// What it holds.
    pub kind: RepositoryKind,
    /// `owner/name`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: Option<String>,
    /// The one file that is meant, for repositories with many GGUF files or many tables.
    pub file: Option<String>,
}

impl HubName {
    /// Reads a name; `None` where the text cannot be one.
    pub fn parse(kind: RepositoryKind, text: &str) -> Option<Self> {
        let (text, file) = match text.split_once(':') {
            Some((text, file)) => (text, Some(file.to_owned())),
            None => (text, None),
        };
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision.to_owned())),
            None => (text, None),
        };
        let plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let path_like = |text: &str| {
            !text.is_empty()
                && !text.starts_with('/')
                && text
                    .split('/')
                    .all(|part| !part.is_empty() && part != ".." && part != ".")
                && !text.contains(['\\', '?', '#', '%', ' '])
        };
        let (owner, name) = repository.split_once('/')?;
        let sound = plain(owner)
            && plain(name)
            && revision.as_deref().is_none_or(path_like)
            && file.as_deref().is_none_or(path_like);
        sound.then(|| Self {
            kind,
            repository: repository.to_owned(),
            revision,
            file,
        })
    }

    /// The revision, `main` where none is given.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl std::fmt::Display for HubName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.repository)?;
        if let Some(revision) = &self.revision {
            write!(formatter, "@{revision}")?;
        }
        match &self.file {
            Some(file) => write!(formatter, ":{file}"),
            None => Ok(()),
        }
    }
}

/// Where a checkpoint came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `owner/name`.
    pub repository: String,
    /// What was asked for.
    pub revision: String,
    /// What that was then.
    pub commit: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        let parse = |text: &str| HubName::parse(RepositoryKind::Model, text);
        let name = parse("meta-llama/Llama-3.1-8B@v1.0:sub/a.gguf").unwrap();
        assert_eq!(name.repository, "meta-llama/Llama-3.1-8B");
        assert_eq!(name.revision(), "v1.0");
        assert_eq!(name.file.as_deref(), Some("sub/a.gguf"));
        assert_eq!(name.to_string(), "meta-llama/Llama-3.1-8B@v1.0:sub/a.gguf");
        assert_eq!(parse("a/b").unwrap().revision(), "main");
        assert_eq!(parse("a/b@refs/pr/3").unwrap().revision(), "refs/pr/3");
        for text in [
            "", "a", "./a/b", "../a", "a/b/c", "/a/b", "a/..", "a/b@", "a/b:../c", "a b/c",
            "a/b@x?y", "a\\b/c",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
