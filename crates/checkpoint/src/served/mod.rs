//! Checkpoints that a server holds: what its file says, how it is asked, and what it can tell.
//!
//! A server takes the place of weights. Tokenizer, config and chat template are on this machine, so that a prompt is the same tokens here
//! and there; what the server shows of a distribution is read, and what it does not show is never made up: it is a bound
//! ([`Next::hidden`]). What a server can do is found out by asking it ([`Server::open`]), and what it says of itself is compared with what
//! it does.

mod abilities;
mod bodies;
mod client;
mod file;

mod wire;

pub use client::{ServerCounts, Stop, unstopped};
pub use file::ServerFile;
pub use wire::{Next, ServedText};

use crate::{CheckpointError, Snapshot, Vocabulary, Weights};
use abilities::Abilities;
use client::Client;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its file is wrong.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It refuses what it is asked.
    #[error("{url} answers {status}: {message}")]
    Refuses {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// Nothing usable came, as often as it was asked.
    #[error("{url}: no usable answer, asked {attempts} times: {problem}")]
    Away {
        /// What was asked.
        url: String,
        /// How often.
        attempts: u32,
        /// The status of the last answer, where there was one.
        status: Option<u16>,
        /// What came the last time.
        problem: String,
    },
    /// What it says cannot be.
    #[error("{url}: {problem}")]
    Wrong {
        /// What was asked.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// It holds others.
    #[error("{url} has no `{model}`; it has {known}")]
    NoModel {
        /// The server.
        url: String,
        /// What the file calls the checkpoint.
        model: String,
        /// What it has.
        known: String,
    },
    /// It cannot tell what is to be read.
    #[error("{url} cannot be asked for {what}: {why}")]
    Cannot {
        /// The server.
        url: String,
        /// What is to be read.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl Snapshot {
    /// A checkpoint that a server holds. What its file calls the tokenizer is looked for beside it, unless `words` says where it is: config,
    /// tokenizer and chat template, or a GGUF file that has them. The server is asked what it can do. Where it shows a part of a distribution
    /// alone, that stands in the checkpoint's name.
    ///
    /// # Errors
    /// [`CheckpointError`]; [`CheckpointError::Server`] where the server cannot be asked.
    pub fn served(path: &Path, words: Option<&Path>) -> Result<Self, CheckpointError> {
        let file = ServerFile::read(path)?;
        let beside = || file.tokenizer_beside(path);
        let words = words.map(Path::to_owned).or_else(beside);
        let words = words.ok_or_else(|| ServerError::File {
            path: path.to_owned(),
            problem: format!("`tokenizer` is `{}`, which is not there", file.tokenizer),
        })?;
        let identity = format!("served as {}", file.model);
        let elsewhere = Weights::elsewhere(path, &identity);
        if ServerFile::is_one(&words) {
            return Err(CheckpointError::NotACheckpoint {
                path: words,
                problem: "is itself a server's file; name a folder or GGUF file with a tokenizer"
                    .to_owned(),
            });
        }
        let mut snapshot = if words.is_file() {
            let mut snapshot = Self::open(&words)?;
            snapshot.weights = Arc::new(elsewhere);
            snapshot
        } else {
            Self::in_folder(&words, || Ok(elsewhere))?
        };
        let server = Server::open(file, &snapshot.vocabulary)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        snapshot.name = if server.is_bounded() {
            format!("{name}.top{}", server.most())
        } else {
            name.into_owned()
        };
        path.clone_into(&mut snapshot.path);
        snapshot.server = Some(Arc::new(server));
        Ok(snapshot)
    }
}

/// Tokens after one prompt that are asked for by their ids at the most, and scored one by one.
const MOST_ASKED: usize = 1024;
const MOST_SCORED: usize = 64;

/// A server that was found to hold a checkpoint, and what it can do.
pub struct Server {
    /// What its file says.
    pub file: ServerFile,
    client: Client,
    abilities: Abilities,
    vocabulary: Arc<Vocabulary>,
    by_text: HashMap<String, Shared>,
}

/// The tokens that are written alike.
#[derive(Clone, Copy)]
struct Shared {
    first: u32,
    is_one: bool,
}

impl Server {
    /// How many log-probabilities it shows of a distribution, and how the others are read; for a reader.
    pub fn describes(&self) -> String {
        let shown = if self.abilities.shows_all && self.abilities.has_ids {
            "shows the whole vocabulary".to_owned()
        } else if self.abilities.most >= self.vocabulary.size() {
            "shows the whole vocabulary by text, some tokens of which are written alike".to_owned()
        } else {
            format!("shows the {} most probable tokens", self.abilities.most)
        };
        let others = match (self.abilities.by_asked_ids, self.scores()) {
            (true, _) => ", and those that are asked for",
            _ if self.abilities.shows_all && self.abilities.has_ids => "",
            (false, true) if self.file.exact => {
                "; what is asked for beside them is scored one by one"
            }
            (false, true) => "; texts are scored",
            (false, false) => {
                "; what is asked for beside them is a bound, and texts cannot be scored"
            }
        };
        format!("{shown}{others}")
    }

    /// Whether log-probabilities of labels may be bounds.
    pub fn is_bounded(&self) -> bool {
        let all = self.abilities.shows_all && self.abilities.has_ids;
        !(all || self.abilities.by_asked_ids || (self.scores() && self.file.exact))
    }

    /// How many tokens after a prompt can be read for certain; `None` where all can.
    pub fn certain_at_once(&self) -> Option<usize> {
        if self.abilities.shows_all && self.abilities.has_ids {
            return None;
        }
        Some(if self.abilities.by_asked_ids {
            MOST_ASKED
        } else if self.scores() {
            MOST_SCORED
        } else {
            0
        })
    }

    /// How many tokens it shows.
    pub fn most(&self) -> usize {
        self.abilities.most
    }

    /// Whether texts that are given can be scored.
    pub fn scores(&self) -> bool {
        self.abilities.scores.is_some()
    }

    /// What was asked of it so far.
    pub fn counts(&self) -> ServerCounts {
        self.client.counts()
    }

    /// An error of the server, which cannot be asked for something.
    pub fn cannot(&self, what: &'static str, why: impl Into<String>) -> ServerError {
        ServerError::Cannot {
            url: self.file.url.clone(),
            what,
            why: why.into(),
        }
    }

    /// Tokens as they are sent: their ids, or the text that is these tokens again.
    fn prompt(&self, tokens: &[u32]) -> Result<serde_json::Value, ServerError> {
        if self.abilities.as_tokens {
            return Ok(serde_json::json!(tokens));
        }
        let bare = self.without_start(tokens);
        let text = self.vocabulary.text_of(bare).ok_or_else(|| {
            self.cannot(
                "a prompt",
                "the server takes no token ids, and no text is these tokens again",
            )
        })?;
        Ok(serde_json::json!(text))
    }

    /// Whether a prompt can be sent: where a server takes texts alone, tokens that end within a character cannot.
    pub fn takes(&self, tokens: &[u32]) -> bool {
        self.prompt(tokens).is_ok()
    }

    /// Tokens without the one that the server itself puts before a text.
    fn without_start<'t>(&self, tokens: &'t [u32]) -> &'t [u32] {
        if self.abilities.adds_start {
            self.without_a_start(tokens)
        } else {
            tokens
        }
    }

    /// Tokens without the one that texts begin with.
    fn without_a_start<'t>(&self, tokens: &'t [u32]) -> &'t [u32] {
        match (self.vocabulary.bos(), tokens.first()) {
            (Some(start), Some(first)) if start == *first => &tokens[1..],
            _ => tokens,
        }
    }
}

/// The tokens of a vocabulary by their text. Bytes that are no text are replaced by some servers and left out by others: a token stands under
/// both, and shares either with others.
fn by_text(texts: Vec<String>) -> HashMap<String, Shared> {
    let mut by_text: HashMap<String, Shared> = HashMap::new();
    let mut add = |token: u32, text: String| {
        let new = Shared {
            first: token,
            is_one: true,
        };
        let known = by_text.entry(text);
        known
            .and_modify(|shared| shared.is_one = false)
            .or_insert(new);
    };
    for (token, text) in (0u32..).zip(texts) {
        if text.contains(char::REPLACEMENT_CHARACTER) {
            add(token, text.replace(char::REPLACEMENT_CHARACTER, ""));
        }
        add(token, text);
    }
    by_text
}

#[cfg(test)]
mod tests;
