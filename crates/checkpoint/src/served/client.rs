//! Requests, and what is done where an answer does not come.

use super::file::is_loopback;
use super::{ServerError, ServerFile};
use crate::http::agent;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use ureq::Agent;

/// Says whether to stop.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Nobody wants it to stop.
pub fn unstopped() -> bool {
    false
}

/// What is waited before the second attempt; each later one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait, also where the server asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often somebody who waits looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// The longest answer that is read, in bytes: a vocabulary with its log-probabilities is some megabytes.
const LONGEST_ANSWER: u64 = 1 << 28;
/// How much of what a server says is repeated.
const REPEATED: usize = 300;

/// What was asked of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Requests that were answered.
    pub requests: u64,
    /// Attempts beside them.
    pub again: u64,
    /// Tokens of prompts, as the server counts them.
    pub prompt_tokens: u64,
    /// Tokens that were written, as the server counts them.
    pub written_tokens: u64,
}

impl ServerCounts {
    /// What came after some that were counted before.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            again: self.again - before.again,
            prompt_tokens: self.prompt_tokens - before.prompt_tokens,
            written_tokens: self.written_tokens - before.written_tokens,
        }
    }
}

/// Asks one server.
pub(super) struct Client {
    agent: Agent,
    /// Never shown and never written.
    key: Option<String>,
    requests: AtomicU64,
    again: AtomicU64,
    prompt_tokens: AtomicU64,
    written_tokens: AtomicU64,
}

/// Why an answer cannot be used.
pub(super) enum Unusable {
    /// Something is missing, and may be there another time.
    Incomplete(&'static str),
    /// What it says cannot be.
    Wrong(String),
}

/// Why an attempt failed.
enum Failed {
    /// It may go better another time: what the server answered, what is wrong, and after how long, where the server says so.
    ForNow(Option<u16>, String, Option<Duration>),
    /// It will not.
    ForGood(ServerError),
}

impl Client {
    /// A client with the key that the file's variable holds.
    ///
    /// # Errors
    /// [`ServerError::Cannot`] where the variable is not set.
    pub fn new(file: &ServerFile) -> Result<Self, ServerError> {
        let key = match &file.key {
            Some(name) => match std::env::var(name) {
                Ok(key) if !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic()) => {
                    Some(key)
                }
                Ok(_) => {
                    return Err(no_key(file, format!("the variable {name} holds no key")));
                }
                Err(_) => return Err(no_key(file, format!("the variable {name} is not set"))),
            },
            None => None,
        };
        let config = agent()
            .timeout_global(Some(Duration::from_secs(file.seconds)))
            .max_idle_connections_per_host(file.at_once)
            // A key for this machine does not go by way of another.
            .proxy(if is_loopback(&file.url) {
                None
            } else {
                ureq::Proxy::try_from_env()
            })
            .build();
        Ok(Self {
            agent: config.new_agent(),
            key,
            requests: AtomicU64::new(0),
            again: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            written_tokens: AtomicU64::new(0),
        })
    }

    pub fn counts(&self) -> ServerCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerCounts {
            requests: of(&self.requests),
            again: of(&self.again),
            prompt_tokens: of(&self.prompt_tokens),
            written_tokens: of(&self.written_tokens),
        }
    }

    /// What a server answers to a body, or, without one, to being looked at. What may go better another time is tried again, up to so many
    /// times in all.
    ///
    /// # Errors
    /// [`ServerError::Refuses`], [`ServerError::Away`], [`ServerError::Stopped`].
    pub fn ask<T>(
        &self,
        url: &str,
        body: Option<&Value>,
        attempts: u32,
        stop: Stop<'_>,
        read: impl Fn(&Value) -> Result<T, Unusable>,
    ) -> Result<T, ServerError> {
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            if stop() {
                return Err(ServerError::Stopped);
            }
            let outcome = self.attempt(url, body);
            let (status, problem, asked) =
                match outcome.and_then(|answer| self.usable(url, &answer, &read)) {
                    Ok(read) => return Ok(read),
                    Err(Failed::ForGood(error)) => return Err(error),
                    Err(Failed::ForNow(status, problem, asked)) => (status, problem, asked),
                };
            if attempt >= attempts {
                return Err(ServerError::Away {
                    url: url.to_owned(),
                    attempts: attempt,
                    status,
                    problem,
                });
            }
            self.again.fetch_add(1, Ordering::Relaxed);
            let spread = wait.mul_f64(0.5 + 0.5 * spread(attempt));
            pause(asked.unwrap_or(spread).min(LONGEST_WAIT), stop)?;
            wait = (2 * wait).min(LONGEST_WAIT);
            attempt += 1;
        }
    }

    /// What is read of an answer that came whole.
    fn usable<T>(
        &self,
        url: &str,
        answer: &Value,
        read: impl Fn(&Value) -> Result<T, Unusable>,
    ) -> Result<T, Failed> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.count(answer);
        read(answer).map_err(|unusable| match unusable {
            Unusable::Wrong(problem) => Failed::ForGood(ServerError::Wrong {
                url: url.to_owned(),
                problem,
            }),
            Unusable::Incomplete(problem) => {
                let said = answer
                    .get("error")
                    .map(|_| self.hidden(&said(Some(answer), &[])));
                Failed::ForNow(None, said.unwrap_or_else(|| problem.to_owned()), None)
            }
        })
    }

    fn attempt(&self, url: &str, body: Option<&Value>) -> Result<Value, Failed> {
        let for_now = |problem: String| Failed::ForNow(None, problem, None);
        let key = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let response = if let Some(body) = body {
            let mut request = self
                .agent
                .post(url)
                .header("content-type", "application/json");
            if let Some(key) = &key {
                request = request.header("authorization", key);
            }
            request.send(body.to_string().as_bytes())
        } else {
            let mut request = self.agent.get(url);
            if let Some(key) = &key {
                request = request.header("authorization", key);
            }
            request.call()
        };
        let mut response = response.map_err(|error| for_now(error.to_string()))?;
        let status = response.status().as_u16();
        let asked = response.headers().get("retry-after");
        let asked = asked.and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
        let asked = asked.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let asked =
            asked.map(|seconds| Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64())));
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER);
        let bytes = body
            .read_to_vec()
            .map_err(|error| for_now(format!("the answer was cut off: {error}")))?;
        let parsed: Result<Value, _> = serde_json::from_slice(&bytes);
        if status == 200 {
            return parsed.map_err(|error| for_now(format!("the answer is invalid JSON: {error}")));
        }
        let message = self.hidden(&said(parsed.ok().as_ref(), &bytes));

        match status {
            408 | 409 | 425 | 429 | 500..=599 => Err(Failed::ForNow(
                Some(status),
                format!("{status}: {message}"),
                asked,
            )),
            _ => Err(Failed::ForGood(ServerError::Refuses {
                url: url.to_owned(),
                status,
                message,
            })),
        }
    }

    /// What a server says without the key: some repeat what they refuse.
    fn hidden(&self, message: &str) -> String {
        match &self.key {
            Some(key) => message.replace(key.as_str(), "(key)"),
            None => message.to_owned(),
        }
    }

    /// Adds up what the server says that it read and wrote.
    fn count(&self, answer: &Value) {
        let of = |key: &str| answer["usage"][key].as_u64().unwrap_or(0);
        self.prompt_tokens
            .fetch_add(of("prompt_tokens"), Ordering::Relaxed);
        self.written_tokens
            .fetch_add(of("completion_tokens"), Ordering::Relaxed);
    }
}

fn no_key(file: &ServerFile, why: String) -> ServerError {
    ServerError::Cannot {
        url: file.url.clone(),
        what: "anything",
        why,
    }
}

/// Waits, and looks on the way whether to stop.
fn pause(wait: Duration, stop: Stop<'_>) -> Result<(), ServerError> {
    let until = Instant::now() + wait;
    loop {
        if stop() {
            return Err(ServerError::Stopped);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// A number from 0 to 1 that differs between threads and attempts: those who were refused together do not come again together.
fn spread(attempt: u32) -> f64 {
    let text = format!(
        "{:?} {attempt} {:?}",
        std::thread::current().id(),
        Instant::now()
    );
    let hash = blake3::hash(text.as_bytes());
    f64::from(hash.as_bytes()[0]) / 255.0
}

/// What a server says is wrong, in one line.
fn said(parsed: Option<&Value>, bytes: &[u8]) -> String {
    let places = ["/error/message", "/message", "/detail", "/error"];
    let found = parsed.and_then(|parsed| places.iter().find_map(|place| parsed.pointer(place)));
    let text = match found {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return "no message".to_owned();
    }
    text.chars()
        .filter(|c| !c.is_control())
        .take(REPEATED)
        .collect()
}
