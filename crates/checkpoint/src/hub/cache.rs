//! The cache that the hub's Python client keeps: `models--owner--name/{blobs,refs,snapshots}`.
//!
//! A blob is named for its digest; a snapshot is a folder of links to blobs, named for its commit; a ref is a file that holds
//! the commit of a branch or tag.

use super::selection::complete;
use super::{HubError, HubName, HubSettings, RepositoryKind};
use crate::fingerprint::cache_folder;
use std::path::{Path, PathBuf};

/// One repository's folder in the cache.
pub(crate) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repository {
    pub fn new(settings: &HubSettings, name: &HubName) -> Self {
        let own = format!(
            "{}--{}",
            name.kind.plural(),
            name.repository.replace('/', "--")
        );
        Self {
            folder: settings.cache.join(&own),
            locks: settings.cache.join(".locks").join(own),
        }
    }

    /// The commit that a revision was when it was last asked for.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        let commit = text.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub fn blob(&self, digest: &str) -> PathBuf {
        self.folder.join("blobs").join(digest)
    }

    /// Where a blob is put together.
    pub fn incomplete(&self, digest: &str) -> PathBuf {
        self.folder
            .join("blobs")
            .join(format!("{digest}.incomplete"))
    }

    /// Holds the blob's lock, the one that the Python client takes, until the file is dropped.
    pub fn lock(&self, digest: &str) -> Result<std::fs::File, HubError> {
        let path = self.locks.join(format!("{digest}.lock"));
        make_parent(&path)?;
        let failed = cache_error(&path);
        let file = std::fs::File::create(&path).map_err(&failed)?;
        match file.lock() {
            // A file system without locks: two processes may fetch the same, and the later one's is kept.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(file),
            other => other.map(|()| file).map_err(&failed),
        }
    }

    /// Remembers what a revision is now.
    pub fn remember(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        make_parent(&path)?;
        let beside = path.with_added_extension(std::process::id().to_string());
        let written = std::fs::write(&beside, commit);
        written
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(cache_error(&path))
    }

    /// Puts a blob into a snapshot under the file's name: a link, or a copy where there are no links.
    pub fn link(&self, commit: &str, file: &str, digest: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(file);
        if path.exists() {
            return Ok(());
        }
        make_parent(&path)?;
        // From the file's folder back to the repository's: snapshots, commit, and the folders of the file's name.
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{digest}"));
        // Made beside its place and moved there, so that nobody finds it half made.
        let beside = path.with_added_extension(std::process::id().to_string());
        let _ = std::fs::remove_file(&beside);
        #[cfg(unix)]
        let made = std::os::unix::fs::symlink(&target, &beside);
        #[cfg(not(unix))]
        let made: std::io::Result<()> = {
            let _ = target;
            std::fs::copy(self.blob(digest), &beside).map(|_| ())
        };
        made.and_then(|()| std::fs::rename(&beside, &path))
            .map_err(cache_error(&path))
    }
}

pub(crate) fn make_parent(path: &Path) -> Result<(), HubError> {
    match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent).map_err(cache_error(parent)),
        None => Ok(()),
    }
}

pub(crate) fn cache_error(path: &Path) -> impl Fn(std::io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Cache {
        path: path.clone(),
        source,
    }
}

pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A checkpoint that the cache has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// `owner/name`.
    pub repository: String,
    /// Commits that there are snapshots of, with the branches and tags that they were.
    pub snapshots: Vec<(String, Vec<String>)>,
    /// Commits whose snapshot has all that is needed.
    pub whole: Vec<String>,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// What the newest snapshot's model card gives as its licence.
    pub licence: Option<String>,
}

/// The checkpoints of the cache, by name. An absent or unreadable cache has none.
pub fn cached(settings: &HubSettings) -> Vec<Cached> {
    let mut found: Vec<Cached> = names(&settings.cache)
        .into_iter()
        .filter_map(|name| {
            let repository = name.strip_prefix("models--")?.replacen("--", "/", 1);
            let folder = settings.cache.join(&name);
            let refs = names(&folder.join("refs")).into_iter().filter_map(|name| {
                let commit = std::fs::read_to_string(folder.join("refs").join(&name)).ok()?;
                Some((name, commit.trim().to_owned()))
            });
            let refs: Vec<(String, String)> = refs.collect();
            let mut snapshots: Vec<(String, Vec<String>)> = names(&folder.join("snapshots"))
                .into_iter()
                .map(|commit| {
                    let named = refs.iter().filter(|(_, other)| *other == commit);
                    let named = named.map(|(name, _)| name.clone()).collect();
                    (commit, named)
                })
                .collect();
            snapshots.sort();
            let id = HubName::parse(RepositoryKind::Model, &repository)?;
            let commits = snapshots.iter().map(|(commit, _)| commit.clone());
            let whole = commits
                .filter(|commit| complete(&folder.join("snapshots").join(commit), &id).is_some())
                .collect();
            let blobs = folder.join("blobs");
            let sizes = names(&blobs)
                .into_iter()
                .filter_map(|name| Some(blobs.join(name).metadata().ok()?.len()));
            let mut cards = snapshots.iter().filter_map(|(commit, _)| {
                let card = folder.join("snapshots").join(commit).join("README.md");
                licence(&std::fs::read_to_string(card).ok()?)
            });
            Some(Cached {
                repository,
                whole,
                bytes: sizes.sum(),
                licence: cards.next_back(),
                snapshots,
            })
        })
        .collect();
    found.sort_by(|a, b| a.repository.cmp(&b.repository));
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// `license:` of a model card's front matter.
fn licence(card: &str) -> Option<String> {
    let front = card.strip_prefix("---")?.split("\n---").next()?;
    let line = front
        .lines()
        .find_map(|line| line.strip_prefix("license:"))?;
    let licence = line.trim().trim_matches(['"', '\'']);
    (!licence.is_empty()).then(|| licence.to_owned())
}

/// Where it is noted that everything needed of a commit was fetched: beside this program's own cache, since the hub's is
/// shared.
fn note_of(settings: &HubSettings, name: &HubName, commit: &str) -> Option<PathBuf> {
    let text = format!(
        "{}\n{:?}\n{}\n{:?}\n{commit}",
        settings.cache.display(),
        name.kind,
        name.repository,
        name.file
    );
    let digest = blake3::hash(text.as_bytes()).to_hex();
    Some(cache_folder()?.join("fetched").join(digest.as_str()))
}

/// Whether everything needed of a commit was fetched by this program. What another client fetched may be less.
pub(crate) fn is_whole(settings: &HubSettings, name: &HubName, commit: &str) -> bool {
    note_of(settings, name, commit).is_some_and(|note| note.is_file())
}

/// Notes that everything needed of a commit is there; without a place for notes the hub is asked again.
pub(crate) fn note_whole(settings: &HubSettings, name: &HubName, commit: &str) {
    if let Some(note) = note_of(settings, name, commit)
        && make_parent(&note).is_ok()
    {
        let _ = std::fs::write(note, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_the_model_card_s() {
        assert_eq!(
            licence("---\nlicense: apache-2.0\ntags: []\n---\n# x"),
            Some("apache-2.0".into())
        );
        assert_eq!(licence("# x\nlicense: no"), None);
    }

    #[test]
    fn a_cache_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let settings = HubSettings {
            endpoint: String::new(),
            cache: folder.path().to_owned(),
            token: None,
            offline: false,
            patience: std::time::Duration::from_secs(30),
        };
        assert!(cached(&settings).is_empty());
        let name = HubName::parse(RepositoryKind::Model, "a/b--c").unwrap();
        let repository = Repository::new(&settings, &name);
        let commit = "0".repeat(40);
        make_parent(&repository.blob("d")).unwrap();
        std::fs::write(repository.blob("d"), "12345").unwrap();
        repository.link(&commit, "sub/x", "d").unwrap();
        repository.remember("main", &commit).unwrap();
        assert_eq!(repository.commit("main"), Some(commit.clone()));
        assert_eq!(
            std::fs::read_to_string(repository.snapshot(&commit).join("sub/x")).unwrap(),
            "12345"
        );
        let found = cached(&settings);
        assert_eq!(found[0].repository, "a/b--c");
        assert_eq!(found[0].bytes, 5);
        assert!(found[0].whole.is_empty());
        assert_eq!(found[0].snapshots, [(commit, vec!["main".to_owned()])]);
    }
}
