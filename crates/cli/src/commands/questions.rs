//! `concord questions check`: what a question set holds.

use super::{inputs, question_counts};
use crate::arguments::{OutputFormat, QuestionsArguments, QuestionsCommand};
use crate::failure::Failure;
use crate::output;
use concord_questions::check;
use serde_json::json;
use std::collections::BTreeMap;

/// Counts and checks.
pub fn questions(arguments: &QuestionsArguments) -> Result<(), Failure> {
    let QuestionsCommand::Check { path, format } = &arguments.command;
    let set = inputs::questions(path.as_deref())?;
    let (files, oddities) = check(&set);
    let pvq: BTreeMap<&str, usize> = set
        .pvq
        .iter()
        .map(|file| (file.name.as_str(), file.items.len()))
        .collect();
    let mut languages: BTreeMap<&str, usize> = BTreeMap::new();
    for file in &files {
        *languages.entry(&file.language).or_default() += file.questions;
    }
    match format {
        OutputFormat::Json => output::json(&json!({
            "questions": set.len(),
            "digest": set.digest(),
            "languages": languages,
            "files": files,
            "pvq_items": pvq,
            "oddities": oddities,
        })),
        OutputFormat::Human => output::data(&question_counts::counts(
            &files, &pvq, &languages, &oddities,
        )),
    }
}
