//! `concord cache`: what was read and is kept.

use super::inputs;
use crate::arguments::{CacheArguments, CacheCommand, OutputFormat};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_runs::CacheError;
use serde_json::json;
use std::fmt::Write;

/// Shows what is in the cache, checks it, or makes room.
pub fn cache(arguments: &CacheArguments) -> Result<(), Failure> {
    let Some(cache) = inputs::cache(false) else {
        let help = "set CONCORD_CACHE to a folder";
        return Err(Failure::usage("there is no place for a cache", help));
    };
    let is_json = arguments.format == OutputFormat::Json;
    match &arguments.what {
        None => {
            let size = cache.size()?;
            if is_json {
                return output::json(&json!({
                    "path": cache.path(), "entries": size.entries, "bytes": size.bytes, "file_bytes": size.file,
                    "oldest_seconds": size.oldest, "newest_seconds": size.newest,
                }));
            }
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let mut text = format!("{}\n", cache.path().display());
            if size.entries == 0 {
                text.push_str("empty\n");
                return output::data(&text);
            }
            let _ = writeln!(
                text,
                "{} readings, {:.1} MiB in a file of {:.1} MiB\nkept from {} ago to {} ago",
                size.entries,
                mib(size.bytes),
                mib(size.file),
                since(size.oldest),
                since(size.newest)
            );
            output::data(&text)
        }
        Some(CacheCommand::Verify) => {
            let (whole, damaged) = cache.verify()?;
            if is_json {
                return output::json(&json!({ "whole": whole, "removed": damaged }));
            }
            output::data(&format!(
                "{whole} readings are what was written; {damaged} were not, and are removed\n"
            ))
        }
        Some(CacheCommand::Prune { size, age }) => {
            let gone = match cache.prune(*age, *size) {
                // Nothing is to stay, of what cannot be read either.
                Err(CacheError::Unusable { .. }) if *size == Some(0) => {
                    std::fs::remove_file(cache.path())?;
                    0
                }
                outcome => outcome?,
            };
            if is_json {
                return output::json(&json!({ "removed": gone }));
            }
            output::data(&format!("{gone} readings removed\n"))
        }
    }
}

fn since(seconds: u64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        let help = match error {
            CacheError::Busy { .. } => "try again when other runs are done",
            CacheError::Newer { .. } => {
                "use the version of the program that wrote it, or remove the file"
            }
            CacheError::Unusable { .. } => {
                "remove the file, or set CONCORD_CACHE to another folder"
            }
        };
        Self::new(ExitStatus::Unexpected, error.to_string(), help)
    }
}
