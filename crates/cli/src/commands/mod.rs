//! One file a subcommand.

mod answers;
pub mod bench;
pub mod compare;
pub mod doctor;
pub mod generate;
mod identity;
mod inputs;
mod lines;
pub mod measure;
pub mod models;
pub mod prompts;
pub mod questions;
pub mod read;
pub mod report;
mod results;
pub mod run;
pub mod score;
mod study;

use crate::failure::Failure;
use std::path::Path;

/// Opens a stored run, measures it, compares its checkpoints and makes tables and page of them; all is thrown away. What fuzzing calls.
///
/// # Errors
/// What is wrong with the run.
pub fn check_run(folder: &Path) -> Result<(), Failure> {
    let opened = results::Opened::look_into(folder)?;
    let manifest = &opened.run.manifest;
    let found = opened.results()?;
    serde_json::to_vec(&found.findings()).map_err(std::io::Error::from)?;
    let report = found.report(manifest, Some(folder), true);
    drop((report.human(), report.html(&identity::about(manifest))));
    Ok(())
}
