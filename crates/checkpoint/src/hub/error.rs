//! Why something could not be had from the hub.

use std::path::PathBuf;

/// Why something could not be had from the hub. The message names the repository or file.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A variable of the environment cannot be used.
    #[error("{name} {problem}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No network is wanted, and the cache does not have it.
    #[error("{name} is not complete in the cache ({cache}), and HF_HUB_OFFLINE is set")]
    Offline {
        /// What was asked for.
        name: String,
        /// The cache.
        cache: PathBuf,
    },
    /// There is no such repository, or it is private and nobody said who asks.
    #[error("{name}: no such repository on {endpoint}, or it is private{}", if *.with_token { " and the token may not see it" } else { "" })]
    NoRepository {
        /// What was asked for.
        name: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository's owner wants to be asked first.
    #[error("{name} is gated{}", if *.with_token { ", and the token's account has no access yet" } else { "" })]
    Gated {
        /// What was asked for.
        name: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The token is not accepted.
    #[error("{name}: the hub does not accept the token ({status})")]
    Token {
        /// What was asked for.
        name: String,
        /// The answer.
        status: u16,
    },
    /// The repository has no such revision.
    #[error("{name}: the repository has no revision `{revision}`")]
    NoRevision {
        /// What was asked for.
        name: String,
        /// The revision.
        revision: String,
    },
    /// The repository does not hold what is needed.
    #[error("{name}: {problem}")]
    NoFile {
        /// What was asked for.
        name: String,
        /// What is not there.
        problem: String,
    },
    /// The hub asks for patience.
    #[error("{name}: the hub refuses further requests for now (429)")]
    RateLimited {
        /// What was asked for.
        name: String,
    },
    /// The hub answers something else than expected.
    #[error("{name}: the hub answered {status} for {url}")]
    Status {
        /// What was asked for.
        name: String,
        /// The answer.
        status: u16,
        /// To what.
        url: String,
    },
    /// The hub's answer cannot be read.
    #[error("{name}: the answer of {url} cannot be read: {problem}")]
    Answer {
        /// What was asked for.
        name: String,
        /// To what.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The hub cannot be reached.
    #[error("{name}: {endpoint} cannot be reached: {problem}")]
    Unreachable {
        /// What was asked for.
        name: String,
        /// The hub.
        endpoint: String,
        /// What went wrong.
        problem: String,
    },
    /// The caller wanted to stop.
    #[error("{name}: stopped; what arrived is kept")]
    Stopped {
        /// What was asked for.
        name: String,
    },
    /// The connection was cut again and again.
    #[error("{name}: {file} was cut off at {received} of {size} bytes: {problem}")]
    CutOff {
        /// What was asked for.
        name: String,
        /// The file.
        file: String,
        /// Bytes that are there.
        received: u64,
        /// Bytes that it has.
        size: u64,
        /// What went wrong.
        problem: String,
    },
    /// What was fetched is not what the hub says it is.
    #[error("{name}: {file} arrived with another checksum than the hub names")]
    Checksum {
        /// What was asked for.
        name: String,
        /// The file.
        file: String,
    },
    /// There is no room.
    #[error("{path}: the disk is full; {missing} more bytes are needed")]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Bytes that are still to come.
        missing: u64,
    },
    /// The cache cannot be written or read.
    #[error("{path}: {source}")]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl HubError {
    /// Whether the hub gave no answer, or none that says anything of the repository.
    pub(crate) fn is_about_the_hub(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::RateLimited { .. }
                | Self::Status { .. }
                | Self::Answer { .. }
        )
    }
}
