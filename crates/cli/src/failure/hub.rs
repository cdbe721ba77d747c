//! What is said of the hub.

use super::{ExitStatus, Failure};
use concord_checkpoint::hub::{HubError, RepositoryKind};

impl Failure {
    /// What to do about the hub; a data set's fault is the questions', another a checkpoint's.
    pub(crate) fn hub(error: &HubError, kind: RepositoryKind) -> Self {
        let help = match error {
            HubError::Setting { .. } => "correct the variable, or unset it",
            HubError::Offline { .. } => {
                "unset HF_HUB_OFFLINE and run `concord models fetch` once while there is a network"
            }
            HubError::NoRepository {
                with_token: true, ..
            } => "check the name; if it is private, use a token of an account that may read it",
            HubError::NoRepository { .. } => {
                "check the name; if it is private, set HF_TOKEN to a token of an account that may read it"
            }
            HubError::Gated {
                with_token: true, ..
            } => {
                "open the repository's page while logged in, accept its terms, and wait until access is given"
            }
            HubError::Gated { .. } => {
                "accept the terms on the repository's page, then set HF_TOKEN (or run `hf auth login`)"
            }
            HubError::Token { .. } => {
                "HF_TOKEN or the token file holds a token that expired or may not read this: make a new one"
            }
            HubError::NoRevision { .. } => {
                "revisions are branches, tags and commits of the repository"
            }
            HubError::NoFile { .. } => "look at the files on the repository's page",
            HubError::RateLimited { .. } => {
                "wait some minutes; with HF_TOKEN the hub allows more requests"
            }
            HubError::Status { .. } | HubError::Answer { .. } => {
                "something between here and the hub may answer in its place (a proxy, a login page), or HF_ENDPOINT is wrong; else try again later"
            }
            HubError::Unreachable { .. } => {
                "check the network, a proxy (HTTPS_PROXY) or HF_ENDPOINT; a folder that was downloaded elsewhere works too"
            }
            HubError::CutOff { .. } | HubError::Stopped { .. } => {
                "the same command goes on from there"
            }
            HubError::Checksum { .. } => {
                "what arrived was thrown away; try again, and if it stays so, something between here and the hub changes it"
            }
            HubError::DiskFull { .. } => {
                "make room, or put the cache elsewhere (HF_HUB_CACHE); the same command then goes on"
            }
            HubError::Cache { .. } => {
                "check that you may write there, or put the cache elsewhere (HF_HUB_CACHE)"
            }
        };
        let status = match (error, kind) {
            // What may be gone when the same command is given again.
            (
                HubError::CutOff { .. }
                | HubError::Stopped { .. }
                | HubError::DiskFull { .. }
                | HubError::Unreachable { .. }
                | HubError::RateLimited { .. },
                _,
            ) => ExitStatus::Incomplete,
            (HubError::Status { status, .. }, _) if *status >= 500 => ExitStatus::Incomplete,
            (_, RepositoryKind::Model) => ExitStatus::Checkpoint,
            (_, RepositoryKind::Dataset) => ExitStatus::QuestionData,
        };
        Self::new(status, error.to_string(), help)
    }
}
