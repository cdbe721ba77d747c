//! What is fetched, and how.

use super::cache::{Repository, is_commit, is_whole, note_whole};
use super::partial::{Ended, Partial, SLOWEST};
use super::selection::{Listing, Remote, Sibling, complete};
use super::{HubError, HubName, HubSettings, Origin};
use crate::http::agent;
use std::fmt::Write as _;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::http::Response;
use ureq::{Agent, Body};

/// How often a file is asked for again when nothing comes.
const ATTEMPTS: u32 = 5;
/// What is waited before the second attempt; each later one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How many redirects are followed.
const REDIRECTS: usize = 8;
/// The longest listing and index that are read.
const LONGEST_ANSWER: u64 = 1 << 26;

/// How far the transfer of a repository is.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// The file in hand.
    pub file: &'a str,
    /// Bytes of all files that are there, those of earlier attempts included.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

/// A repository that is in the cache.
#[derive(Debug)]
pub struct Fetched {
    /// The snapshot's folder, or the one file that was asked for.
    pub path: PathBuf,
    /// Where it came from.
    pub origin: Origin,
    /// Why the cache stood in for the hub, where it did.
    pub stands_in: Option<HubError>,
}

/// A client of the hub.
pub struct Hub {
    settings: HubSettings,
    agent: Agent,
}

impl Hub {
    /// A client with these settings.
    pub fn new(settings: HubSettings) -> Self {
        // Redirects are followed here.
        let config = agent()
            .timeout_recv_response(Some(Duration::from_secs(20)))
            .timeout_per_read(Some(Duration::from_mins(1)))
            .build();
        Self {
            agent: config.new_agent(),
            settings,
        }
    }

    /// The settings.
    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// Brings what is needed of a repository into the cache. A commit that is complete there costs no request; where the hub
    /// gives no answer, what the cache has of the revision is taken. `observe` ends the transfer by
    /// [`ControlFlow::Break`], and what arrived is kept.
    ///
    /// # Errors
    /// [`HubError`], by what can be done about it.
    pub fn fetch(
        &self,
        name: &HubName,
        observe: &mut dyn FnMut(Transfer<'_>) -> ControlFlow<()>,
    ) -> Result<Fetched, HubError> {
        let repository = Repository::new(&self.settings, name);
        let kept = || {
            let commit = repository.commit(name.revision())?;
            let path = complete(&repository.snapshot(&commit), name)?;
            Some(fetched(name, commit, path))
        };
        let whole = || {
            let commit = repository.commit(name.revision());
            commit.is_some_and(|commit| is_whole(&self.settings, name, &commit))
        };
        if self.settings.offline || (is_commit(name.revision()) && whole()) {
            if let Some(kept) = kept() {
                return Ok(kept);
            }
            if self.settings.offline {
                return Err(HubError::Offline {
                    name: name.to_string(),
                    cache: self.settings.cache.clone(),
                });
            }
        }
        let kept = kept();
        let remote = match (self.listing(name, kept.is_none()), kept) {
            (Err(error), Some(kept)) if error.is_about_the_hub() => {
                let stands_in = Some(error);
                return Ok(Fetched { stands_in, ..kept });
            }
            (other, _) => other?,
        };
        let mut wanted = remote.wanted()?;
        let index = wanted
            .iter()
            .find(|file| file.rfilename.ends_with(".index.json"));
        if let Some(index) = index.cloned() {
            self.bring(&remote, &repository, &index, &mut |_| {
                ControlFlow::Continue(())
            })?;
            let path = repository.snapshot(&remote.commit).join(&index.rfilename);
            wanted.extend(remote.shards(&path)?);
        }
        let total = wanted.iter().map(Sibling::length).sum();
        let mut before = 0;
        for file in &wanted {
            self.bring(&remote, &repository, file, &mut |done| {
                observe(Transfer {
                    file: &file.rfilename,
                    done: before + done,
                    total,
                })
            })?;
            before += file.length();
        }
        repository.remember(name.revision(), &remote.commit)?;
        note_whole(&self.settings, name, &remote.commit);
        let snapshot = repository.snapshot(&remote.commit);
        let path = complete(&snapshot, name).unwrap_or(snapshot);
        Ok(fetched(name, remote.commit, path))
    }

    fn listing<'a>(&self, name: &'a HubName, patient: bool) -> Result<Remote<'a>, HubError> {
        let url = format!(
            "{}/api/{}/{}/revision/{}?blobs=true",
            self.settings.endpoint,
            name.kind.plural(),
            name.repository,
            name.revision().replace('/', "%2F")
        );
        let mut response = match self.get(name, &url, None) {
            // Once more, for a connection or a server that was away for a moment.
            Err(HubError::Unreachable { .. }) | Ok(Err(_)) if patient => {
                std::thread::sleep(FIRST_WAIT);
                self.get(name, &url, None)??
            }
            other => other??,
        };
        let answer = |problem: String| HubError::Answer {
            name: name.to_string(),
            url: url.clone(),
            problem,
        };
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER);
        let text = whole(body.reader(), self.settings.patience).map_err(&answer)?;
        let listing: Listing =
            serde_json::from_slice(&text).map_err(|error| answer(error.to_string()))?;
        if !is_commit(&listing.sha) {
            return Err(answer(format!("`{}` is not a commit", listing.sha)));
        }
        let sound = |file: &Sibling| {
            let digest = file.digest();
            let parts = file.rfilename.split('/');
            let name = parts
                .clone()
                .all(|part| !part.is_empty() && part != ".." && part != ".");
            name && !file.rfilename.contains('\\')
                && [40, 64].contains(&digest.len())
                && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if let Some(file) = listing.siblings.iter().find(|file| !sound(file)) {
            return Err(answer(format!(
                "`{}` has no name or digest that can be used",
                file.rfilename
            )));
        }
        Ok(Remote {
            name,
            commit: listing.sha,
            files: listing.siblings,
        })
    }

    /// Asks once. The outer error ends the attempt for good or for lack of a connection; the inner one is an answer that may
    /// be another one later.
    fn get(
        &self,
        name: &HubName,
        url: &str,
        from: Option<u64>,
    ) -> Result<Result<Response<Body>, HubError>, HubError> {
        let unreachable = |problem: String| HubError::Unreachable {
            name: name.to_string(),
            endpoint: self.settings.endpoint.clone(),
            problem,
        };
        let hub = origin_of(&self.settings.endpoint);
        let mut place = url.to_owned();
        let mut response = None;
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&place);
            if let Some(token) = self
                .settings
                .token
                .as_ref()
                .filter(|_| origin_of(&place) == hub)
            {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            if let Some(from) = from {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let answer = request
                .call()
                .map_err(|error| unreachable(error.to_string()))?;
            if !(300..400).contains(&answer.status().as_u16()) {
                response = Some(answer);
                break;
            }
            let next = answer
                .headers()
                .get("location")
                .and_then(|next| next.to_str().ok());
            let next = next.and_then(|next| redirected(&place, next));
            place = next.ok_or_else(|| unreachable(format!("{place} redirects to nowhere")))?;
        }
        let Some(response) = response else {
            return Err(unreachable(format!("{url} redirects without end")));
        };
        let status = response.status().as_u16();
        if (200..300).contains(&status) || status == 416 {
            return Ok(Ok(response));
        }
        let error = self.refusal(name, url, status, &response);
        match error {
            HubError::Status { status, .. } if status >= 500 => Ok(Err(error)),
            HubError::RateLimited { .. } => Ok(Err(error)),
            other => Err(other),
        }
    }

    fn refusal(
        &self,
        name: &HubName,
        url: &str,
        status: u16,
        response: &Response<Body>,
    ) -> HubError {
        let code = response.headers().get("x-error-code");
        let code = code.and_then(|code| code.to_str().ok()).unwrap_or_default();
        let with_token = self.settings.token.is_some();
        let (name, endpoint) = (name.to_string(), self.settings.endpoint.clone());
        match (status, code) {
            (_, "GatedRepo") => HubError::Gated { name, with_token },
            (_, "RevisionNotFound") => HubError::NoRevision {
                revision: url
                    .rsplit("/revision/")
                    .next()
                    .and_then(|rest| rest.split('?').next())
                    .unwrap_or_default()
                    .replace("%2F", "/"),
                name,
            },
            (_, "EntryNotFound") => HubError::NoFile {
                name,
                problem: format!("the hub no longer has {url}"),
            },
            (401 | 403, "RepoNotFound") | (404, _) => HubError::NoRepository {
                name,
                endpoint,
                with_token,
            },
            (401, _) if !with_token => HubError::NoRepository {
                name,
                endpoint,
                with_token,
            },
            (401 | 403, _) => HubError::Token { name, status },
            (429, _) => HubError::RateLimited { name },
            _ => HubError::Status {
                name,
                status,
                url: url.to_owned(),
            },
        }
    }

    /// Brings one file into the cache and links it into the snapshot.
    fn bring(
        &self,
        remote: &Remote<'_>,
        repository: &Repository,
        file: &Sibling,
        done: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), HubError> {
        let digest = file.digest();
        let blob = repository.blob(digest);
        if !blob.exists() {
            let _lock = repository.lock(digest)?;
            if !blob.exists() {
                self.download(remote, file, &repository.incomplete(digest), &blob, done)?;
            }
        }
        let flow = done(file.length());
        repository.link(&remote.commit, &file.rfilename, digest)?;
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(stopped(remote.name)),
        }
    }

    fn download(
        &self,
        remote: &Remote<'_>,
        file: &Sibling,
        incomplete: &Path,
        blob: &Path,
        done: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), HubError> {
        let name = remote.name;
        let url = format!(
            "{}/{}{}/resolve/{}/{}",
            self.settings.endpoint,
            name.kind.before(),
            name.repository,
            remote.commit,
            escaped(&file.rfilename)
        );
        let mut partial = Partial::open(name, file, incomplete)?;
        let (mut wait, mut attempt) = (FIRST_WAIT, 1);
        // The most that ever was there: what is thrown away and comes again is no progress.
        let mut furthest = partial.at;
        while partial.at < partial.size {
            let start = partial.at;
            let outcome = self
                .get(name, &url, (start > 0).then_some(start))
                .and_then(|answer| answer)
                .and_then(|response| partial.receive(response, self.settings.patience, done));
            let mut slow = false;
            let problem = match outcome {
                Ok(Ended::Cut(problem)) => problem,
                Ok(Ended::Slow) => {
                    slow = true;
                    format!("less than {SLOWEST} bytes a second came")
                }
                Err(error @ (HubError::Unreachable { .. } | HubError::Status { .. })) => {
                    error.to_string()
                }
                Err(HubError::RateLimited { .. }) if attempt < ATTEMPTS => String::new(),
                Err(error) => return Err(partial.for_lack_of_room(error)),
            };
            if partial.at >= partial.size {
                break;
            }
            let moved = partial.at > furthest && !slow;
            furthest = furthest.max(partial.at);
            attempt = if moved { 1 } else { attempt + 1 };
            if attempt > ATTEMPTS {
                return Err(HubError::CutOff {
                    name: name.to_string(),
                    file: file.rfilename.clone(),
                    received: partial.at,
                    size: partial.size,
                    problem,
                });
            }
            wait = if moved { FIRST_WAIT } else { wait * 2 };
            std::thread::sleep(wait);
        }
        partial.finish(blob)
    }
}

/// All that an answer says, where it comes at a bearable rate.
fn whole(mut reader: impl Read, patience: Duration) -> Result<Vec<u8>, String> {
    let (mut text, mut buffer) = (Vec::new(), vec![0u8; 1 << 16]);
    let begun = Instant::now();
    loop {
        match reader
            .read(&mut buffer)
            .map_err(|error| error.to_string())?
        {
            0 => return Ok(text),
            length => text.extend_from_slice(&buffer[..length]),
        }
        let late = begun.elapsed().saturating_sub(patience);
        if (text.len() as u64) < SLOWEST * late.as_secs() {
            return Err(format!("less than {SLOWEST} bytes a second came"));
        }
    }
}

/// Scheme, host and port of an address.
fn origin_of(url: &str) -> Option<(String, String, u16)> {
    let url: ureq::http::Uri = url.parse().ok()?;
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let port = url
        .port_u16()
        .unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, url.host()?.to_ascii_lowercase(), port))
}

/// Where a redirect leads: an address, or a path at the same place. Never from https to http.
fn redirected(from: &str, location: &str) -> Option<String> {
    let (scheme, _, _) = origin_of(from)?;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        let authority = from.split_once("://")?.1.split('/').next()?;
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let (to, _, _) = origin_of(location)?;
    (to == "https" || (to == "http" && scheme == "http")).then(|| location.to_owned())
}

pub(super) fn stopped(name: &HubName) -> HubError {
    HubError::Stopped {
        name: name.to_string(),
    }
}

fn fetched(name: &HubName, commit: String, path: PathBuf) -> Fetched {
    let origin = Origin {
        repository: name.repository.clone(),
        revision: name.revision().to_owned(),
        commit,
    };
    Fetched {
        path,
        origin,
        stands_in: None,
    }
}

/// A file's name as part of an address.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, late.
    struct Drip(u32);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_millis(20));
            self.0 = self.0.saturating_sub(1);
            buffer[0] = b' ';
            Ok(usize::from(self.0 > 0))
        }
    }

    #[test]
    fn an_answer_that_drips_ends() {
        let slow = whole(Drip(1_000), Duration::ZERO).unwrap_err();
        assert!(slow.contains("bytes a second"), "{slow}");
        assert_eq!(whole(Drip(5), Duration::from_secs(9)).unwrap().len(), 4);
    }

    #[test]
    fn a_token_knows_where_it_belongs() {
        let hub = origin_of("http://hub.example/x");
        assert_eq!(hub, origin_of("HTTP://Hub.example:80"));
        for other in [
            "http://hub.example:81/",
            "https://hub.example/",
            "http://hub.example.org/",
            "no address",
        ] {
            assert_ne!(hub, origin_of(other), "{other}");
        }
        let to = |location| redirected("https://hub.example:8/a/b", location);
        assert_eq!(to("/c").as_deref(), Some("https://hub.example:8/c"));
        assert_eq!(
            to("//cdn.example/c").as_deref(),
            Some("https://cdn.example/c")
        );
        assert_eq!(
            to("https://cdn.example/c").as_deref(),
            Some("https://cdn.example/c")
        );
        // Not to where everybody can read it, nor to a file.
        assert_eq!(to("http://hub.example:8/c"), None);
        assert_eq!(to("file:///etc/passwd"), None);
        assert_eq!(
            redirected("http://a/b", "http://c/d").as_deref(),
            Some("http://c/d")
        );
    }
}
