//! `concord measure`: the measures again, from what is stored or given.

use super::inputs;
use super::results::{Opened, exhibits, settings_of, warn, write_tables};
use crate::arguments::{MeasureArguments, OutputFormat};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_questions::{QuestionSet, object_of};
use concord_report::terminal;
use concord_runs::Manifest;
use concord_suites::valueconsistency::{
    AnswerTable, Answers, Data, PersonAnswer, RunFindings, ValueConsistency, from_given, people,
    respondents,
};
use concord_suites::{Show, Suite};
use std::collections::BTreeMap;
use std::path::Path;

/// Measures a run, or answers of a file.
pub fn measure(arguments: &MeasureArguments) -> Result<(), Failure> {
    match (&arguments.run, &arguments.questions, &arguments.answers) {
        (Some(folder), _, _) => measure_run(folder, arguments),
        (None, Some(questions), Some(answers)) => measure_given(questions, answers, arguments),
        _ => Err(Failure::usage(
            "neither a run nor answers are named",
            "see `concord measure --help`",
        )),
    }
}

fn measure_run(folder: &Path, arguments: &MeasureArguments) -> Result<(), Failure> {
    let mut opened = Opened::open(folder)?;
    let how = &arguments.how;
    let settings = settings_of(&opened.run.manifest, how.seed, &how.statistics);
    let selected = opened.study.select(&how.selection)?;
    let found = opened.measure(settings)?;
    warn(&*found);
    write_tables(&found.tables(), how.tables.as_deref())?;
    match how.format {
        OutputFormat::Json => output::json(&found.json()),
        OutputFormat::Human => {
            let mut manifest = opened.run.manifest.clone();
            if let Some(selected) = selected {
                // What the whole run cost says nothing of a part of it.
                manifest.progress.clear();
                output::message(&format!("Measured: {selected}."));
            }
            let study = &*opened.study;
            let show = Show {
                published: how.with_published,
                ..Show::default()
            };
            let shown = exhibits(&*found, study, &manifest, Some(folder), show);
            output::data(&terminal(&shown))
        }
    }
}

/// Measures answers of a file as those of one checkpoint to the questions.
fn measure_given(
    questions: &str,
    answers: &Path,
    arguments: &MeasureArguments,
) -> Result<(), Failure> {
    let how = &arguments.how;
    let set = inputs::questions(Some(questions))?;
    let of_respondents = answers
        .to_str()
        .and_then(|name| name.strip_prefix("people:"));
    let (set, mut answers, name) = if let Some(file) = of_respondents {
        of_people(&set, Path::new(file))?
    } else {
        let answers = given(&set, answers)?;
        (set, answers, "answers".to_owned())
    };
    let data = Data::of(set);
    let chosen = data.choose(&how.selection)?;
    let mut set = data.set;
    set.keep(&chosen);
    answers.keep(&set, &chosen);
    let settings = settings_of(&Manifest::default(), how.seed, &how.statistics);
    let found = RunFindings::of_answers(set, vec![name], vec![answers], settings)?;
    write_tables(&ValueConsistency.tables(&found), how.tables.as_deref())?;
    match how.format {
        OutputFormat::Json => output::json(&found.measured[0].findings),
        OutputFormat::Human => {
            let published = how.with_published;
            let shown = ValueConsistency.exhibits(
                &found,
                Show {
                    published,
                    ..Show::default()
                },
            );
            output::data(&terminal(&shown))
        }
    }
}

/// Respondents' answers from a file, with a question set of which each has a file, and what they are called together.
fn of_people(set: &QuestionSet, path: &Path) -> Result<(QuestionSet, Answers, String), Failure> {
    let bad = |problem: String| {
        let help = "expected: a CSV with the columns respondent, question and answer, and file where several files have a question";
        let message = format!("{}: {problem}", path.display());
        Failure::new(ExitStatus::QuestionData, message, help)
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(|error| bad(format!("cannot be read: {error}")))?;
    let header = reader.headers().map_err(|error| bad(error.to_string()))?;
    let names: Vec<String> = header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').to_lowercase())
        .collect();
    let column = |name: &str| names.iter().position(|known| known == name);
    let needed =
        |name: &str| column(name).ok_or_else(|| bad(format!("there is no column `{name}`")));
    let (respondent, question, answer) = (
        needed("respondent")?,
        needed("question")?,
        needed("answer")?,
    );
    let file = column("file");
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(|error| bad(error.to_string()))?;
        let text = |at: usize| record.get(at).unwrap_or_default().to_owned();
        lines.push(record.position().map_or(0, csv::Position::line));
        rows.push(PersonAnswer {
            respondent: text(respondent),
            file: file.map(text),
            question: text(question),
            answer: text(answer),
        });
    }
    if rows.is_empty() {
        return Err(bad("it has no rows".to_owned()));
    }
    let (set, answers) =
        people(set, &rows).map_err(|(row, error)| bad(format!("line {}: {error}", lines[row])))?;
    let name = match respondents(&rows) {
        1 => "1 respondent".to_owned(),
        count => format!("{count} respondents"),
    };
    Ok((set, answers, name))
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
