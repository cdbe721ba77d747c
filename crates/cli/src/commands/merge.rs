//! `concord merge`: the shards of a run, put together.

use super::results::{Opened, settings_of, warn};
use super::run::{SHARDS, Stored, show_stored};
use crate::arguments::{MergeArguments, Statistics};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_runs::{PARTIAL, RunDirectory, Shards, check_name, is_finished};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Puts shards together, and measures what they read.
pub fn merge(arguments: &MergeArguments) -> Result<(), Failure> {
    let folders = folders(&arguments.shards)?;
    let shards = Shards::open(&folders)?;
    let out = out(arguments)?;
    check_name(&out)?;
    let manifest = shards.manifest();
    if !arguments.force && is_finished(&out, &manifest.identity)? {
        let done = "is merged already; nothing to do.";
        output::message(&format!("{}: {done}", out.display()));
        return Ok(());
    }
    let files = shards.files()?;
    let files = files
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()));
    let files: Vec<(&str, Value)> = files.collect();
    let directory = if arguments.force {
        RunDirectory::begin_anew(&out, &manifest, &files)?
    } else {
        RunDirectory::begin(&out, &manifest, &files)?
    };
    shards.write(&directory)?;
    let costs = shards.costs();
    let opened = Opened::of_shards(directory.partial(), &manifest, &costs, &files)?;
    let settings = settings_of(&manifest, None, &Statistics::default());
    let found = opened.measure(settings)?;
    warn(&*found);
    let now = jiff::Timestamp::now().to_string();
    let (manifest, out) = directory.finish(costs, &found.json(), &now)?;
    let stored = Stored {
        out,
        manifest,
        study: opened.study,
        found,
    };
    show_stored(&stored, arguments.format, false, arguments.verbose)
}

/// The folders of shards: those that are named, or all in one that is.
fn folders(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let [one] = named else {
        return Ok(named.to_vec());
    };
    if one.join("manifest.json").exists() {
        return Ok(vec![one.clone()]);
    }
    let bad = |problem: String| {
        let help = "name the folder that `concord run --shard` made (OUT.shards), or each shard";
        Failure::new(
            ExitStatus::Usage,
            format!("{}: {problem}", one.display()),
            help,
        )
    };
    let entries = std::fs::read_dir(one).map_err(|error| bad(error.to_string()))?;
    let (mut found, mut begun) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.map_err(|error| bad(error.to_string()))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(name) = name.strip_suffix(PARTIAL) {
            // One that was finished meanwhile may have left its beginning.
            if !one.join(name).join("manifest.json").exists() {
                begun.push(name.to_owned());
            }
        } else if path.join("manifest.json").exists() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(bad("there is no finished shard in it".to_owned()));
    }
    if !begun.is_empty() {
        begun.sort();
        return Err(bad(format!(
            "shards are not finished: {}",
            begun.join(", ")
        )));
    }
    found.sort();
    Ok(found)
}

/// Where the run goes.
fn out(arguments: &MergeArguments) -> Result<PathBuf, Failure> {
    if let Some(out) = &arguments.out {
        return Ok(out.clone());
    }
    // The folder of all shards, or the one that all of them stand in.
    let first = arguments
        .shards
        .first()
        .map_or(Path::new(""), PathBuf::as_path);
    let is_of_all = |folder: &Path| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(SHARDS)
            && arguments
                .shards
                .iter()
                .all(|shard| shard.starts_with(folder))
    };
    let folder = first.ancestors().take(2).find(|folder| is_of_all(folder));
    let name = folder
        .and_then(|folder| folder.file_name())
        .unwrap_or_default();
    match name.to_string_lossy().strip_suffix(SHARDS) {
        Some(name) if !name.is_empty() => {
            let parent = folder.and_then(Path::parent).unwrap_or(Path::new(""));
            Ok(parent.join(name))
        }
        _ => Err(Failure::usage("the run has no name", "name it with --out")),
    }
}
