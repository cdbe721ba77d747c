//! Runs that cannot be stored or read back.

use super::{ExitStatus, Failure, Why, is_full};
use concord_runs::RunError;

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let (status, help) = match &error {
            RunError::Exists { .. } => (
                ExitStatus::Usage,
                "name another folder with --out, or remove this one",
            ),
            RunError::Shards { .. } => (
                ExitStatus::Usage,
                "a run is merged of all of its shards, each once",
            ),
            RunError::OtherRun { .. } => (
                ExitStatus::Usage,
                "name another folder with --out, or replace it with --force",
            ),
            RunError::OtherSettings { key, .. } if key == "schema" => (
                ExitStatus::Usage,
                "another version of the program began it: finish it with that one, or name another folder with --out",
            ),
            RunError::OtherSettings { .. } => (
                ExitStatus::Usage,
                "name another folder with --out, or give the flags that it was begun with",
            ),
            RunError::NoName { .. } => (
                ExitStatus::Usage,
                "name a new folder with --out; to go on with NAME.partial, give the same command with --out NAME",
            ),
            RunError::InUse { .. } => (
                ExitStatus::Incomplete,
                "start it again when that has ended, or name another folder with --out",
            ),
            RunError::NoManifest { .. } => (
                ExitStatus::Usage,
                "put its manifest.json back, or name another folder with --out",
            ),
            RunError::NotARun { .. } => (
                ExitStatus::Usage,
                "name the folder that `concord run` printed",
            ),
            RunError::Checkpoints { .. } => (
                ExitStatus::QuestionData,
                "copy the run again from where it was written, or repeat it in another folder",
            ),
            RunError::Newer { .. } => (
                ExitStatus::Usage,
                "use the version of the program that wrote it, or a later one",
            ),
            RunError::Incomplete { .. } => (
                ExitStatus::Incomplete,
                "start it again with the same flags and --out to finish it",
            ),
            RunError::NotPlain { .. } => (
                ExitStatus::Usage,
                "a run that came from elsewhere may be made to harm: copy its plain files only",
            ),
            RunError::Damaged { .. } | RunError::Changed { .. } => (
                ExitStatus::Unexpected,
                "copy the run again from where it was written, or repeat it in another folder",
            ),
            RunError::Encode { .. } => (ExitStatus::Unexpected, "please report this"),
            RunError::File { source, .. } if is_full(source) => {
                (ExitStatus::Incomplete, "make room there")
            }
            RunError::File { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied
                    || source.kind() == std::io::ErrorKind::ReadOnlyFilesystem =>
            {
                (
                    ExitStatus::Unexpected,
                    "who runs this may not write there: choose another place",
                )
            }
            RunError::File { .. } => (
                ExitStatus::Unexpected,
                "make room or choose another place; a run keeps what it read in its .partial folder",
            ),
        };
        Self {
            why: match &error {
                RunError::InUse { .. } => Why::InUse,
                RunError::Exists { .. } => Why::Exists,
                RunError::File { source, .. } if is_full(source) => Why::Full,
                _ => Why::Else,
            },
            ..Self::new(status, error.to_string(), help)
        }
    }
}
