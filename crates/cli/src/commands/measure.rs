//! `concord measure`: the measures again, from what is stored or given.

use super::inputs;
use super::results::{Opened, Results, settings_of};
use crate::arguments::{MeasureArguments, OutputFormat};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_questions::{Chosen, Condition, QuestionSet, object_of};
use concord_runs::Manifest;
use concord_suites::valueconsistency::{AnswerTable, Answers, from_given};
use std::collections::BTreeMap;
use std::path::Path;

/// Measures a run, or answers of a file.
pub fn measure(arguments: &MeasureArguments) -> Result<(), Failure> {
    match (&arguments.run, &arguments.questions, &arguments.answers) {
        (Some(folder), _, _) => measure_run(folder, arguments),
        (None, Some(questions), Some(answers)) => {
            let mut set = inputs::questions(Some(questions))?;
            let mut answers = [given(&set, answers)?];
            let chosen = chosen(&set, &arguments.how.selection)?;
            keep(&mut set, &mut answers, &chosen);
            let settings = settings_of(
                &Manifest::default(),
                arguments.how.seed,
                arguments.how.resamples,
            );
            let results = Results::of_answers(&set, &["answers"], &answers, settings)?;
            match arguments.how.format {
                OutputFormat::Json => output::json(&results.measured[0].findings),
                OutputFormat::Human => {
                    let report =
                        results.report(&Manifest::default(), None, arguments.how.with_published);
                    output::data(&report.human())
                }
            }
        }
        _ => Err(Failure::usage(
            "neither a run nor answers are named",
            "see `concord measure --help`",
        )),
    }
}

fn measure_run(folder: &Path, arguments: &MeasureArguments) -> Result<(), Failure> {
    let opened = Opened::open(folder)?;
    let settings = settings_of(
        &opened.run.manifest,
        arguments.how.seed,
        arguments.how.resamples,
    );
    let names: Vec<&str> = opened.names.iter().map(String::as_str).collect();
    let mut set = opened.run.questions.clone();
    let chosen = chosen(&set, &arguments.how.selection)?;
    let answers = names.iter().map(|name| opened.answers(name, &chosen));
    let mut answers = answers.collect::<Result<Vec<_>, _>>()?;
    keep(&mut set, &mut answers, &chosen);
    let results = Results::of_answers(&set, &names, &answers, settings)?;
    match arguments.how.format {
        OutputFormat::Json => output::json(&results.findings()),
        OutputFormat::Human => {
            let mut manifest = opened.run.manifest.clone();
            let selection = &arguments.how.selection;
            if !selection.is_empty() {
                // What the whole run cost says nothing of a part of it.
                manifest.progress.clear();
                let conditions: Vec<&str> = selection.iter().map(|one| one.text.as_str()).collect();
                output::message(&format!(
                    "Measured: {} of {} questions, where {}.",
                    set.len(),
                    opened.run.questions.len(),
                    conditions.join(" and ")
                ));
            }
            let report = results.report(&manifest, Some(folder), arguments.how.with_published);
            output::data(&report.human())
        }
    }
}

/// The questions that every condition chooses.
pub(super) fn chosen(set: &QuestionSet, selection: &[Condition]) -> Result<Chosen, Failure> {
    if selection.is_empty() {
        return Ok(Chosen::all());
    }
    let chosen =
        set.choose(|file, question| selection.iter().all(|one| one.chooses(file, question)));
    if chosen.is_empty() {
        let help = "see `concord questions check` for languages, countries and topics";
        return Err(Failure::usage("no question is selected", help));
    }
    Ok(chosen)
}

/// Keeps chosen questions and the answers to them.
fn keep(set: &mut QuestionSet, answers: &mut [Answers], chosen: &Chosen) {
    set.keep(chosen);
    for answers in answers {
        answers.keep(set, chosen);
    }
}

/// Answers from a file: probabilities of support by file and row, in one or two formats.
fn given(set: &QuestionSet, path: &Path) -> Result<Answers, Failure> {
    let bad = |problem: String| {
        let help = "expected: {\"answers\": {\"controversial_english_us\": [0.93, …]}, \"second_format\": {…}}";
        Failure::new(
            ExitStatus::QuestionData,
            format!("{}: {problem}", path.display()),
            help,
        )
    };
    let text =
        std::fs::read_to_string(path).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let object = object_of(text.strip_prefix('\u{feff}').unwrap_or(&text))
        .map_err(|error| bad(format!("not a JSON object: {error}")))?;
    if let Some(key) = object
        .keys()
        .find(|key| !["answers", "second_format", "what"].contains(&key.as_str()))
    {
        return Err(bad(format!("unknown key `{key}`")));
    }
    let table = |key: &str| -> Result<Option<AnswerTable>, Failure> {
        let Some(value) = object.get(key) else {
            return Ok(None);
        };
        let given: BTreeMap<String, Vec<Option<f64>>> = serde_json::from_value(value.clone())
            .map_err(|error| bad(format!("`{key}` is not lists of numbers by file: {error}")))?;
        Ok(Some(from_given(set, &given)?))
    };
    let letter = table("answers")?.filter(|table| !table.is_empty());
    let letter = letter.ok_or_else(|| bad("`answers` is missing or empty".to_owned()))?;
    Ok(Answers {
        letter: Some(letter),
        cloze: table("second_format")?,
        ..Answers::default()
    })
}
