//! What stands where a run is to be.

use crate::RunError;
use crate::directory::{PARTIAL, manifest_of};
use crate::folder::{Folder, LONGEST_NAME, UNNAMED};
use crate::manifest::{Identity, Manifest};
use std::path::Path;

/// What stands where a run is to be.
pub enum Standing {
    /// Nothing, or an empty folder.
    Nothing,
    /// A finished run.
    Run(Box<Manifest>),
    /// Something else.
    Else,
}

/// What stands where a run is to be.
///
/// # Errors
/// [`RunError::File`]; [`RunError::Damaged`], [`RunError::Changed`] and [`RunError::Newer`] of a run's manifest.
pub fn standing(out: &Path) -> Result<Standing, RunError> {
    let Ok(found) = std::fs::symlink_metadata(out) else {
        return Ok(Standing::Nothing);
    };
    if !found.is_dir() {
        return Ok(Standing::Else);
    }
    if is_empty(out) {
        return Ok(Standing::Nothing);
    }
    let Some(text) = Folder(out.to_owned()).read("manifest.json")? else {
        return Ok(Standing::Else);
    };
    let manifest = manifest_of(&out.join("manifest.json"), &text)?;
    Ok(Standing::Run(Box::new(manifest)))
}

/// Whether the run of an identity is finished already where it is to be.
///
/// # Errors
/// [`RunError::OtherRun`] where a finished run of something else stands there; those of [`standing`].
pub fn is_finished(out: &Path, identity: &Identity) -> Result<bool, RunError> {
    let Standing::Run(stored) = standing(out)? else {
        return Ok(false);
    };
    match stored.identity.difference(identity) {
        None => Ok(true),
        Some(key) => Err(RunError::OtherRun {
            path: out.to_owned(),
            key,
        }),
    }
}

/// Whether a folder has nothing in it.
fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// Whether something stands there that is no empty folder.
pub(crate) fn is_taken(out: &Path) -> bool {
    std::fs::symlink_metadata(out).is_ok_and(|found| !found.is_dir() || !is_empty(out))
}

/// Refuses what can be no name of a run, before anything is done.
///
/// # Errors
/// [`RunError::NoName`]; [`RunError::Exists`] where something stands there that is no run.
pub fn check_name(out: &Path) -> Result<(), RunError> {
    let bad = |problem| {
        Err(RunError::NoName {
            path: out.to_owned(),
            problem,
        })
    };
    let Some(name) = out.file_name() else {
        return bad("names no folder of its own");
    };
    if name.to_string_lossy().starts_with(UNNAMED) {
        return bad("begins as files do that have no name yet");
    }
    if name.to_string_lossy().ends_with(PARTIAL) {
        return bad("ends in .partial, as runs do that did not finish");
    }
    if name.len() + PARTIAL.len() > LONGEST_NAME {
        return bad("is too long for the name of a folder");
    }
    match standing(out)? {
        Standing::Else => Err(RunError::Exists {
            path: out.to_owned(),
        }),
        // What it is a run of is known later.
        Standing::Run(_) | Standing::Nothing => Ok(()),
    }
}
