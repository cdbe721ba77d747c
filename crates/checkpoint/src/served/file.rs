//! The file that says where a checkpoint is served.

use super::ServerError;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What a server's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFile {
    /// Where the server's interface is, such as `http://127.0.0.1:8000/v1`; without a slash at its end.
    pub url: String,
    /// What the server calls the checkpoint.
    pub model: String,
    /// The folder or GGUF file of tokenizer, config and chat template, or a hub id; relative to the file where it is a relative path that is there.
    pub tokenizer: String,
    /// The variable of the environment that holds the key, where one is needed.
    pub key: Option<String>,
    /// How many requests are on their way at once.
    pub at_once: usize,
    /// How many log-probabilities are asked for; without it, as many as the server is found to show.
    pub logprobs: Option<usize>,
    /// Whether labels that the server does not show are scored one by one.
    pub exact: bool,
    /// How often something is asked for.
    pub attempts: u32,
    /// The longest that one answer may take, in seconds.
    pub seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    url: String,
    model: String,
    tokenizer: String,
    key: Option<String>,
    at_once: Option<usize>,
    logprobs: Option<usize>,
    exact: Option<bool>,
    attempts: Option<u32>,
    seconds: Option<u64>,
}

/// Keys that are known, in the order in which they are told.
const KEYS: &str = "url, model, tokenizer, key, at_once, logprobs, exact, attempts, seconds";

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 16;

/// The longest name of a variable, in bytes.
const LONGEST_VARIABLE: usize = 100;

impl ServerFile {
    /// Whether a path is named as such files are.
    pub fn is_one(path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending == "toml") && path.is_file()
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ServerError::File`] naming what is wrong.
    pub fn read(path: &Path) -> Result<Self, ServerError> {
        let wrong = |problem: String| ServerError::File {
            path: path.to_owned(),
            problem,
        };
        let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        if length.len() > LARGEST {
            return Err(wrong("is too large to say where a server is".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Self::parse(&text).map_err(wrong)
    }

    /// What a file's text says.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let typed: Typed = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let line = line.map_or_else(String::new, |line| format!("line {line}: "));
            format!("{line}{} (keys are {KEYS})", error.message())
        })?;
        let url = typed.url.trim_end_matches('/').to_owned();
        check_url(&url)?;
        if let Some(key) = &typed.key {
            check_variable(key)?;
            if url.starts_with("http://") && !is_loopback(&url) {
                return Err(format!(
                    "`url` is {url}: a key is sent over https, or to this machine"
                ));
            }
        }
        let empty = [("model", &typed.model), ("tokenizer", &typed.tokenizer)];
        if let Some((name, _)) = empty.iter().find(|(_, text)| text.is_empty()) {
            return Err(format!("`{name}` is empty"));
        }
        let within = |name: &str, value: u64, most: u64| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!("`{name}` is {value}, and must be 1 to {most}"))
            }
        };
        let (at_once, attempts) = (typed.at_once.unwrap_or(16), typed.attempts.unwrap_or(6));
        let seconds = typed.seconds.unwrap_or(120);
        within("at_once", at_once as u64, 512)?;
        within("attempts", attempts.into(), 100)?;
        within("seconds", seconds, 86_400)?;
        if let Some(logprobs) = typed.logprobs {
            within("logprobs", logprobs as u64, 1 << 20)?;
        }
        Ok(Self {
            url,
            model: typed.model,
            tokenizer: typed.tokenizer,
            key: typed.key,
            at_once,
            logprobs: typed.logprobs,
            exact: typed.exact.unwrap_or(true),
            attempts,
            seconds,
        })
    }

    /// Where the tokenizer is, seen from the file; `None` where it is no path that is there.
    pub fn tokenizer_beside(&self, file: &Path) -> Option<PathBuf> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let path = folder.join(&self.tokenizer);
        path.exists().then_some(path)
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err(format!(
            "`url` is `{url}`, and must begin with http:// or https://"
        ));
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        // It is not repeated: it may be secret.
        return Err(
            "`url` holds a name or password: name a variable of the environment with `key`"
                .to_owned(),
        );
    }
    if host.is_empty() || rest.contains(['?', '#', ' ']) {
        return Err(format!(
            "`url` is `{url}`, and must be the address of an interface, such as http://127.0.0.1:8000/v1"
        ));
    }
    Ok(())
}

/// Keys are never in files: what stands here is the name of a variable, in capitals, as no key is.
fn check_variable(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let begins = chars
        .next()
        .is_some_and(|c| c.is_ascii_uppercase() || c == '_');
    let goes_on = chars.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if begins && goes_on && name.len() <= LONGEST_VARIABLE {
        return Ok(());
    }
    // It is not repeated: it may be the key.
    Err(
        "`key` must name a variable of the environment (in capitals) that holds the key, not be the key"
            .to_owned(),
    )
}

/// Whether an address is this machine.
pub(super) fn is_loopback(url: &str) -> bool {
    let rest = url.trim_start_matches("http://");
    let host = rest.split('/').next().unwrap_or_default();
    let host = if let Some(v6) = host.strip_prefix('[') {
        v6.split(']').next().unwrap_or_default()
    } else {
        host.split(':').next().unwrap_or_default()
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
