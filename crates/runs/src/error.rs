//! Why a run could not be stored or read back.

use std::path::PathBuf;

/// Why a run could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is something at the output path.
    #[error("{path}: exists already")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The output path names no folder of its own, such as `..`.
    #[error("{path}: names no folder of its own")]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// Another program is writing this run.
    #[error("{path}: another run is writing it")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A partial run of other settings is at the output path.
    #[error("{path}: a run of other settings was begun there (its `{key}` differs)")]
    OtherSettings {
        /// The path.
        path: PathBuf,
        /// The first key of the manifest that differs.
        key: String,
    },
    /// A path is no stored run.
    #[error("{path}: not a run directory ({missing} is missing)")]
    NotARun {
        /// The path.
        path: PathBuf,
        /// The file that a run would have.
        missing: &'static str,
    },
    /// A path is a run that did not finish.
    #[error("{path}: the run did not finish")]
    Incomplete {
        /// The path.
        path: PathBuf,
    },
    /// A stored file is damaged.
    #[error("{path}:{line}: damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where the file is not read by line.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Something cannot be encoded.
    #[error("{path}: cannot be encoded: {source}")]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// The file system refuses.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}
