//! One file a subcommand.

mod answers;
pub mod bench;
pub mod compare;
mod decoders;
pub mod doctor;
pub mod generate;
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
use concord_questions::Chosen;
use std::path::Path;

/// Opens a stored run, measures it, compares its checkpoints and makes tables and page of them; all is thrown away. What fuzzing calls.
///
/// # Errors
/// What is wrong with the run.
pub fn check_run(folder: &Path) -> Result<(), Failure> {
    let opened = results::Opened::open(folder)?;
    let names: Vec<&str> = opened.names.iter().map(String::as_str).collect();
    let answers = names
        .iter()
        .map(|name| opened.answers(name, &Chosen::all()));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    let manifest = &opened.run.manifest;
    let settings = results::settings_of(manifest, None, None);
    let found = results::Results::of_answers(&opened.run.questions, &names, &answers, settings)?;
    serde_json::to_vec(&found.findings()).map_err(std::io::Error::from)?;
    let report = found.report(manifest, Some(folder), true);
    drop((report.human(), report.html(manifest)));
    Ok(())
}
