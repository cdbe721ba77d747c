//! `concord compare`: stored runs beside each other, the first as base.

use super::measure::chosen;
use super::results::{Opened, Results, settings_of};
use crate::arguments::{CompareArguments, OutputFormat};
use crate::failure::Failure;
use crate::output;
use concord_questions::{Question, QuestionFile, QuestionSet};
use concord_suites::valueconsistency::{Abstention, Answers, Format, Orders};
use serde_json::{Map, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// One checkpoint of one run.
struct Side {
    /// Of the opened runs.
    run: usize,
    /// In that run.
    name: String,
    /// In the comparison.
    shown: String,
}

/// Compares.
pub fn compare(arguments: &CompareArguments) -> Result<(), Failure> {
    let (runs, sides) = open(&arguments.runs)?;
    if sides.len() < 2 {
        let message = format!(
            "{} holds one checkpoint, and nothing to compare it with",
            arguments.runs[0].display()
        );
        return Err(Failure::usage(
            message,
            "name a second run, or a run of several checkpoints",
        ));
    }
    let differences = differences(&runs);
    if !differences.is_empty() && !arguments.intersect {
        let message = format!(
            "the runs cannot be compared as they are: {}",
            differences.join("; ")
        );
        let help = "--intersect compares what they share, and says what that is";
        return Err(Failure::usage(message, help));
    }
    for difference in &differences {
        output::message(&format!("note: {difference}"));
    }
    let settings = settings_of(
        &runs[0].run.manifest,
        arguments.how.seed,
        arguments.how.resamples,
    );
    let formats: Vec<Format> = [Format::Letter, Format::Cloze, Format::Open]
        .into_iter()
        .filter(|format| runs.iter().all(|run| run.options.has(*format)))
        .collect();
    if formats.is_empty() {
        let help = "compare runs that read letters, texts or passages alike";
        return Err(Failure::usage("the runs share no format", help));
    }
    // What all runs share, and of that what is selected.
    let shared = shared(&runs);
    let mut set = runs[0].run.questions.clone();
    let mut answers: Vec<Answers> = Vec::new();
    let mut left_out = Map::new();
    for side in &sides {
        let run = &runs[side.run];
        let wanted = chosen(&run.run.questions, &arguments.how.selection)?;
        let mut own = run.run.questions.clone();
        let both = own.choose_rows(|file, row, question| {
            wanted.has(&file.name, row) && shared.contains(&key(file, question))
        });
        if both.is_empty() {
            return Err(Failure::usage(
                "the runs share no question",
                "compare runs over the same questions",
            ));
        }
        let mut found = run.answers(&side.name, &both)?;
        let asked = own.len();
        own.keep(&both);
        found.keep(&own, &both);
        found.only(&formats);
        left_out.insert(side.shown.clone(), json!(asked - own.len()));
        if answers.is_empty() {
            set = own;
        } else {
            found.arrange(&own, &set);
        }
        answers.push(found);
    }
    let names: Vec<&str> = sides.iter().map(|side| side.shown.as_str()).collect();
    let results = Results::of_answers(&set, &names, &answers, settings)?;
    match arguments.how.format {
        OutputFormat::Json => {
            let mut findings = results.findings();
            findings["questions"] = json!({ "compared": set.len(), "left_out": left_out });
            findings["differences"] = json!(differences);
            output::json(&findings)
        }
        OutputFormat::Human => {
            let report = results.comparison(set.len(), &left_out, arguments.how.with_published);
            output::data(&report.human())
        }
    }
}

/// Opens runs: a run's folder stands for all of its checkpoints, the folder and the name of one for that one.
fn open(paths: &[PathBuf]) -> Result<(Vec<Opened>, Vec<Side>), Failure> {
    let (mut runs, mut folders, mut sides) =
        (Vec::new(), Vec::<PathBuf>::new(), Vec::<Side>::new());
    for path in paths {
        let (folder, only) = match (path.is_dir(), path.parent(), path.file_name()) {
            (false, Some(parent), Some(name)) if parent.join("manifest.json").is_file() => {
                (parent, Some(name.to_string_lossy().into_owned()))
            }
            _ => (path.as_path(), None),
        };
        let run = if let Some(before) = folders.iter().position(|known| known == folder) {
            before
        } else {
            runs.push(Opened::open(folder)?);
            folders.push(folder.to_owned());
            runs.len() - 1
        };
        let opened: &Opened = &runs[run];
        let names: Vec<&String> = match &only {
            None => opened.names.iter().collect(),
            Some(name) if opened.names.contains(name) => vec![name],
            Some(name) => {
                let message = format!("{}: no checkpoint `{name}`", folder.display());
                let help = format!("there are {}", opened.names.join(", "));
                return Err(Failure::usage(message, help));
            }
        };
        for name in names {
            let taken = |shown: &str| sides.iter().any(|side| side.shown == shown);
            let of_run = Path::new(folder)
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            let mut shown = name.clone();
            if taken(&shown) {
                shown = format!("{name} ({of_run})");
            }
            for number in 2.. {
                if !taken(&shown) {
                    break;
                }
                shown = format!("{name} ({of_run}, {number})");
            }
            sides.push(Side {
                run,
                name: name.clone(),
                shown,
            });
        }
    }
    Ok((runs, sides))
}

/// What keeps runs from being compared as they are, by the first of them.
fn differences(runs: &[Opened]) -> Vec<String> {
    let mut found = Vec::new();
    let Some((first, others)) = runs.split_first() else {
        return found;
    };
    for other in others {
        let name = |run: &Opened| run.folder().display().to_string();
        let at = |run: &Opened, keys: [&str; 2]| {
            let asked = &run.run.manifest.identity.asked;
            asked.get(keys[0])?.get(keys[1]).cloned()
        };
        let (a, b) = (name(first), name(other));
        if at(first, ["questions", "digest"]) != at(other, ["questions", "digest"]) {
            let shared = shared(&[first, other]).len();
            let (asked, of_other) = (first.run.questions.len(), other.run.questions.len());
            found.push(if asked == shared && of_other == shared {
                format!("{a} and {b} asked the same {shared} questions in another order, or differ in portraits")
            } else {
                format!("{a} asked {asked} questions and {b} {of_other}, of which {shared} are the same")
            });
        }
        if at(first, ["stimuli", "digest"]) != at(other, ["stimuli", "digest"]) {
            found.push(format!("{b} asked in another wording than {a}"));
        }
        if first.options.formats != other.options.formats {
            found.push(format!("{b} read other formats than {a}"));
        }
        let drawn = |run: &Opened| {
            let one = run.options.abstention == Abstention::One;
            (one || run.options.orders == Orders::Seeded).then_some(run.options.seed)
        };
        let orders = |run: &Opened| (run.options.orders, run.options.abstention, drawn(run));
        if orders(first) != orders(other) {
            found.push(format!(
                "{b} asked in other orders than {a}, or drew them by another seed"
            ));
        }
        if first.options.passages != other.options.passages {
            found.push(format!("{b} wrote passages in another way than {a}"));
        }
        if readers(first) != readers(other) {
            found.push(format!("{b} had its passages read by others than {a}"));
        }
    }
    found
}

/// The names of those who read a run's passages.
fn readers(run: &Opened) -> Vec<String> {
    let names = run.run.manifest.reader_names();
    names.map(str::to_owned).collect()
}

/// A question is the same where file, text and options are.
type Key<'a> = (&'a str, &'a str, &'a [(String, concord_questions::Stance)]);

fn key<'a>(file: &'a QuestionFile, question: &'a Question) -> Key<'a> {
    (&file.name, &question.question, &question.options)
}

/// The questions that every run has.
fn shared<R: std::borrow::Borrow<Opened>>(runs: &[R]) -> HashSet<Key<'_>> {
    fn of(set: &QuestionSet) -> HashSet<Key<'_>> {
        let files = set.files.iter();
        files
            .flat_map(|file| file.questions.iter().map(move |q| key(file, q)))
            .collect()
    }
    let mut sets = runs.iter().map(|run| of(&run.borrow().run.questions));
    let first = sets.next().unwrap_or_default();
    sets.fold(first, |shared, other| {
        shared.intersection(&other).copied().collect()
    })
}
