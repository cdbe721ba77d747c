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
    /// The output path cannot be the name of a run.
    #[error("{path}: {problem}")]
    NoName {
        /// The path.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// Another program is writing this run.
    #[error("{path}: another run is writing it{owner}")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who, where that is known; begins with a space.
        owner: String,
    },
    /// A partial run of other settings is at the output path.
    #[error("{path}: a partial run with different settings exists (`{key}` differs)")]
    OtherSettings {
        /// The path.
        path: PathBuf,
        /// The first key of the manifest that differs.
        key: String,
    },
    /// A finished run of other settings is at the output path.
    #[error("{path}: a finished run of something else is there (`{key}` differs)")]
    OtherRun {
        /// The path.
        path: PathBuf,
        /// The first key of the manifest that differs.
        key: String,
    },
    /// Shards that are not those of one run.
    #[error("{path}: {problem}")]
    Shards {
        /// The shard, or the folder of all.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A partial run has readings, and nothing says what they are of.
    #[error("{path}: it has readings, but no manifest.json that says what they are of")]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },
    /// A path is no stored run.
    #[error("{path}: not a run directory ({missing} is missing)")]
    NotARun {
        /// The path.
        path: PathBuf,
        /// The file that a run would have.
        missing: &'static str,
    },
    /// A manifest names no checkpoint, one twice, or more than any run has.
    #[error("{path}: names {count} checkpoints, of which {distinct} differ")]
    Checkpoints {
        /// The manifest.
        path: PathBuf,
        /// How many it names.
        count: usize,
        /// How many names differ.
        distinct: usize,
    },
    /// A run of a later version of the program.
    #[error(
        "{path}: written by a later version of the program (schema {schema}; {known} is the latest that is read here)"
    )]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// Its schema.
        schema: u64,
        /// The latest that is read.
        known: u64,
    },
    /// A path is a run that did not finish.
    #[error("{path}: the run did not finish")]
    Incomplete {
        /// The path.
        path: PathBuf,
    },
    /// A name in a run is not the plain name of a file, or what is there is no plain file.
    #[error("{path}: {problem}")]
    NotPlain {
        /// The file, or the name.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
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
    /// A stored file is not what was written.
    #[error("{path}{}: it was changed or cut off after it was written", at_line(*.line))]
    Changed {
        /// The file.
        path: PathBuf,
        /// The line, from 1; `None` where it is not known or the file is not read by line.
        line: Option<usize>,
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

fn at_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(":{line}"))
}
