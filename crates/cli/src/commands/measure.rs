//! `concord measure`: the measures again, from what is stored or given.

use super::{inputs, run};
use crate::arguments::{MeasureArguments, OutputFormat};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_questions::QuestionSet;
use concord_runs::{RunError, StoredRun};
use concord_suites::valueconsistency::{
    AnswerTable, Answers, Measured, Options, Settings, from_given, from_readings,
    measure as measure_answers,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Measures a run, or answers of a file.
pub fn measure(arguments: &MeasureArguments) -> Result<(), Failure> {
    let settings = Settings {
        resamples: arguments.resamples.map(|count| count as usize),
        seed: arguments.seed.unwrap_or(0),
    };
    match (&arguments.run, &arguments.questions, &arguments.answers) {
        (Some(folder), _, _) => measure_run(folder, arguments, settings),
        (None, Some(questions), Some(answers)) => {
            let set = inputs::questions(Some(questions))?;
            let answers = given(&set, answers)?;
            let measured = measure_answers(&set, &answers, settings)?;
            match arguments.format {
                OutputFormat::Json => output::json(&measured.findings),
                OutputFormat::Human => {
                    let measured = [measured];
                    let report =
                        run::report(&["answers"], &measured, Vec::new(), &Map::new(), None);
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

fn measure_run(
    folder: &Path,
    arguments: &MeasureArguments,
    settings: Settings,
) -> Result<(), Failure> {
    let stored: StoredRun<QuestionSet> = StoredRun::open(folder)?;
    let damaged = |source| RunError::Damaged {
        path: folder.join("manifest.json"),
        line: 0,
        source,
    };
    let options: Options =
        serde_json::from_value(stored.manifest.get("options").cloned().unwrap_or_default())
            .map_err(damaged)?;
    let settings = Settings {
        // What the run was measured with, unless this command says otherwise.
        resamples: settings.resamples.or_else(|| {
            let stored = stored
                .manifest
                .get("statistics")?
                .get("resamples")?
                .as_u64()?;
            usize::try_from(stored).ok()
        }),
        seed: arguments.seed.unwrap_or(options.seed),
    };
    let checkpoints = stored
        .manifest
        .get("checkpoints")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let names: Vec<&str> = checkpoints
        .iter()
        .filter_map(|checkpoint| checkpoint.get("name").and_then(Value::as_str))
        .collect();
    let mut measured: Vec<Measured> = Vec::new();
    for name in &names {
        let answers = from_readings(&stored.questions, &options, &stored.readings(name)?)?;
        measured.push(measure_answers(&stored.questions, &answers, settings)?);
    }
    let comparisons = run::comparisons(&measured, settings);
    match arguments.format {
        OutputFormat::Json => output::json(&run::findings(&names, &measured, &comparisons)),
        OutputFormat::Human => output::data(
            &run::report(
                &names,
                &measured,
                comparisons,
                &stored.manifest,
                Some(folder),
            )
            .human(),
        ),
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
    let object: Map<String, Value> =
        serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text))
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
