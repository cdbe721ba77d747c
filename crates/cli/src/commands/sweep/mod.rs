//! `concord sweep`: many runs, each a cell of its own.
//!
//! A cell is a run directory; what is known of a sweep is what lies there, so that it can be gone on with, added to, run by several
//! processes and looked at while it goes on. Cells that differ in nothing but the checkpoint are asked together.

mod file;
mod summary;

use super::results::quoted;
use super::run::{Ended, execute, execute_apart};
use crate::arguments::{Cli, Command, OutputFormat, RunArguments, SweepArguments};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::{stop_on_interrupt, was_interrupted};
use clap::Parser;
use concord_runs::{RunDirectory, RunError, Standing, standing, write_bytes};
use file::{Cell, Sweep};
use serde_json::json;
use std::cell::RefCell;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the file of a failed cell ends with.
const FAILED: &str = ".failed.json";
/// Checkpoints without adapters that are asked together: one computes, and the next is loaded meanwhile.
const TOGETHER: usize = 4;

/// How far a cell is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It is stored.
    Done,
    /// It was begun, and can be gone on with.
    Begun,
    /// It failed, and why.
    Failed(String),
    /// Nothing was done yet.
    Waiting,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Begun => "begun",
            Self::Failed(_) => "failed",
            Self::Waiting => "waiting",
        }
    }
}

/// Runs a sweep, or shows what it is and how far.
pub fn sweep(arguments: &SweepArguments) -> Result<(), Failure> {
    let sweep = file::read(&arguments.file, arguments.out.as_deref())?;
    // What is wrong with any cell is found before the first is run.
    let parsed = sweep.cells.iter().map(|cell| typed(&sweep, &[cell]));
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    if arguments.plan {
        return plan(&sweep, arguments.format);
    }
    if arguments.status {
        return summary::show(&sweep, arguments.format);
    }
    let mine = mine(&sweep, arguments)?;
    std::fs::create_dir_all(&sweep.out).map_err(|source| RunError::File {
        path: sweep.out.clone(),
        source,
    })?;
    stop_on_interrupt();
    let failures = RefCell::new(Vec::new());
    let ended = |cell: &Cell, how: Result<Ended, Failure>| note(&sweep, cell, how, &failures);
    for group in groups(&mine) {
        if was_interrupted() {
            return Err(interrupted(arguments));
        }
        let outcome = match &group[..] {
            [one] => {
                let index = sweep.cells.iter().position(|cell| cell == *one);
                alone(one, &parsed[index.unwrap_or_default()], &ended)
            }
            several => together(&sweep, several, &ended),
        };
        match outcome {
            Ok(()) => {}
            Err(failure) if failure.status == ExitStatus::Incomplete => {
                return Err(failure.and_help(&again(arguments)));
            }
            // What concerns all of them may be the fault of one.
            Err(_) if group.len() > 1 => {
                for cell in &group {
                    let index = sweep.cells.iter().position(|known| known == *cell);
                    alone(cell, &parsed[index.unwrap_or_default()], &ended)?;
                }
            }
            Err(failure) => ended(group[0], Err(failure)),
        }
    }
    summary::write(&sweep)?;
    summary::show(&sweep, arguments.format)?;
    let failures = failures.into_inner();
    let Some((first, status)) = failures.first() else {
        return Ok(());
    };
    let one = failures.iter().all(|(_, other)| other == status);
    let status = if one { *status } else { ExitStatus::Unexpected };
    let message = format!(
        "{} of {} cells failed, `{first}` first",
        failures.len(),
        mine.len()
    );
    Err(Failure::new(
        status,
        message,
        "the same command tries them again",
    ))
}

/// The cells of this process.
fn mine<'s>(sweep: &'s Sweep, arguments: &SweepArguments) -> Result<Vec<&'s Cell>, Failure> {
    let Some(choice) = arguments.shard else {
        return Ok(sweep.cells.iter().collect());
    };
    let shard = choice
        .resolve(|name| std::env::var(name).ok())
        .map_err(|problem| {
            Failure::usage(format!("--shard: {problem}"), "name the shard: --shard I/N")
        })?;
    let first = shard.index as usize - 1;
    Ok(sweep
        .cells
        .iter()
        .skip(first)
        .step_by(shard.of as usize)
        .collect())
}

/// Cells that are asked together: the same flags, and one base with its adapters or a few checkpoints without any.
fn groups<'c>(cells: &[&'c Cell]) -> Vec<Vec<&'c Cell>> {
    let mut groups: Vec<Vec<&Cell>> = Vec::new();
    let is_one = |cell: &Cell| cell.entry.pair.is_none() && cell.entry.models.len() == 1;
    let has_adapters = |model: &str| {
        let mut all = cells.iter();
        all.any(|cell| cell.entry.adapter.is_some() && cell.entry.models == [model])
    };
    for cell in cells {
        let joins = |group: &&mut Vec<&Cell>| {
            let first = group[0];
            let model = &cell.entry.models[0];
            is_one(first)
                && first.words == cell.words
                && if has_adapters(model) {
                    first.entry.models == cell.entry.models
                } else {
                    !has_adapters(&first.entry.models[0]) && group.len() < TOGETHER
                }
        };
        let found = groups.iter_mut().find(|group| is_one(cell) && joins(group));
        match found {
            Some(group) => group.push(cell),
            None => groups.push(vec![cell]),
        }
    }
    groups
}

/// The command line of cells that are asked together, as it was parsed.
fn typed(sweep: &Sweep, cells: &[&Cell]) -> Result<RunArguments, Failure> {
    let mut words = vec!["concord".to_owned(), "run".to_owned()];
    let first = cells[0];
    words.extend(first.words.clone());
    if let Some(pair) = &first.entry.pair {
        words.push(format!("--pair={pair}"));
    }
    let has_adapters = cells.iter().any(|cell| cell.entry.adapter.is_some());
    let mut models: Vec<&String> = first.entry.models.iter().collect();
    if !has_adapters {
        models.extend(cells[1..].iter().flat_map(|cell| &cell.entry.models));
    }
    words.extend(models.iter().map(|model| format!("--model={model}")));
    let adapters = cells.iter().filter_map(|cell| cell.entry.adapter.as_ref());
    words.extend(adapters.map(|adapter| format!("--adapter={adapter}")));
    if let [one] = cells {
        words.push(format!("--out={}", sweep.out.join(&one.name).display()));
    }
    let parsed = Cli::try_parse_from(&words).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        let message = format!(
            "cell `{}`: {}",
            first.name,
            line.trim_start_matches("error: ")
        );
        Failure::usage(message, "see `concord run --help`")
    })?;
    match parsed.command {
        Command::Run(mut arguments) => {
            arguments.names = names(cells, has_adapters);
            Ok(arguments)
        }
        _ => Err(Failure::usage("no run", "")),
    }
}

/// What checkpoints are called: as their cells' entries are, where that is one checkpoint each.
fn names(cells: &[&Cell], has_adapters: bool) -> Vec<String> {
    let first = &cells[0].entry;
    if first.pair.is_some() || first.models.len() > 1 {
        return Vec::new();
    }
    let mut names: Vec<String> = Vec::new();
    // An adapter's base is there, whether it has a cell or not.
    if has_adapters {
        let base = cells.iter().find(|cell| cell.entry.adapter.is_none());
        names.push(base.map_or_else(|| "base".to_owned(), |cell| cell.entry.name.clone()));
    }
    let others = cells
        .iter()
        .filter(|cell| !has_adapters || cell.entry.adapter.is_some());
    names.extend(others.map(|cell| cell.entry.name.clone()));
    names
}

/// Runs one cell.
fn alone(
    cell: &Cell,
    arguments: &RunArguments,
    ended: &dyn Fn(&Cell, Result<Ended, Failure>),
) -> Result<(), Failure> {
    if cell.entry.adapter.is_some() {
        // An adapter's run is its own, without its base.
        let out = arguments.out.clone();
        return execute_apart(arguments, &[None, out], &|_, how| ended(cell, how));
    }
    match execute(arguments) {
        Ok(done) => {
            let how = if done.is_already() {
                Ended::Already
            } else {
                Ended::Stored
            };
            ended(cell, Ok(how));
            Ok(())
        }
        Err(failure) if failure.status == ExitStatus::Incomplete => Err(failure),
        Err(failure) => {
            ended(cell, Err(failure));
            Ok(())
        }
    }
}

/// Runs cells that differ in nothing but the checkpoint.
fn together(
    sweep: &Sweep,
    cells: &[&Cell],
    ended: &dyn Fn(&Cell, Result<Ended, Failure>),
) -> Result<(), Failure> {
    let mut ordered: Vec<&Cell> = cells.to_vec();
    ordered.sort_by_key(|cell| cell.entry.adapter.is_some());
    let has_adapters = ordered.iter().any(|cell| cell.entry.adapter.is_some());
    let has_base = ordered[0].entry.adapter.is_none();
    let mut outs: Vec<Option<PathBuf>> = Vec::new();
    let mut of_outs: Vec<usize> = Vec::new();
    if has_adapters && !has_base {
        outs.push(None);
        of_outs.push(0);
    }
    for (index, cell) in ordered.iter().enumerate() {
        outs.push(Some(sweep.out.join(&cell.name)));
        of_outs.push(index);
    }
    let arguments = typed(sweep, &ordered)?;
    execute_apart(&arguments, &outs, &|index, how| {
        ended(ordered[of_outs[index]], how);
    })
}

/// Says how a cell ended, and keeps why it failed.
fn note(
    sweep: &Sweep,
    cell: &Cell,
    how: Result<Ended, Failure>,
    failures: &RefCell<Vec<(String, ExitStatus)>>,
) {
    let path = failed_file(sweep, cell);
    match how {
        Ok(ended) => {
            let _ = std::fs::remove_file(&path);
            let what = match ended {
                Ended::Stored => "done",
                Ended::Already => "done already",
            };
            output::message(&format!("cell {}: {what}", cell.name));
        }
        Err(failure) if failure.is_in_use() => {
            output::message(&format!("cell {}: another process runs it", cell.name));
        }
        Err(failure) => {
            output::message(&format!("cell {}: failed: {}", cell.name, failure.message));
            let why = json!({ "message": failure.message, "help": failure.help, "code": failure.status as u8 });
            let text = format!("{why}\n");
            // The list at the end has it as well.
            let _ = write_bytes(&path, text.as_bytes());
            failures
                .borrow_mut()
                .push((cell.name.clone(), failure.status));
        }
    }
}

fn failed_file(sweep: &Sweep, cell: &Cell) -> PathBuf {
    sweep.out.join(format!("{}{FAILED}", cell.name))
}

/// How far a cell is, by what lies there.
fn state(sweep: &Sweep, cell: &Cell) -> State {
    let out = sweep.out.join(&cell.name);
    if matches!(standing(&out), Ok(Standing::Run(_))) {
        return State::Done;
    }
    if let Ok(text) = std::fs::read_to_string(failed_file(sweep, cell)) {
        let why: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        return State::Failed(why["message"].as_str().unwrap_or("unknown").to_owned());
    }
    if RunDirectory::partial_of(&out).is_dir() {
        return State::Begun;
    }
    State::Waiting
}

/// The cells, and what each would run.
fn plan(sweep: &Sweep, format: OutputFormat) -> Result<(), Failure> {
    let command = |cell: &Cell| {
        let mut words: Vec<String> = vec!["concord".to_owned(), "run".to_owned()];
        words.extend(cell.entry.pair.iter().map(|pair| format!("--pair={pair}")));
        words.extend(
            cell.entry
                .models
                .iter()
                .map(|model| format!("--model={model}")),
        );
        words.extend(
            cell.entry
                .adapter
                .iter()
                .map(|adapter| format!("--adapter={adapter}")),
        );
        words.extend(cell.words.clone());
        words
    };
    if format == OutputFormat::Json {
        let cells = sweep.cells.iter().map(|cell| {
            json!({ "cell": cell.name, "run": sweep.out.join(&cell.name), "command": command(cell), "state": state(sweep, cell).name() })
        });
        return output::json(&cells.collect::<Vec<_>>());
    }
    let mut text = String::new();
    for cell in &sweep.cells {
        let words: Vec<String> = command(cell).iter().map(|word| quoted(word)).collect();
        let _ = writeln!(text, "{}\n  {}", cell.name, words.join(" "));
    }
    let count = sweep.cells.len();
    let _ = writeln!(text, "{count} cells in {}", sweep.out.display());
    output::data(&text)
}

/// The command that goes on with a sweep.
fn again(arguments: &SweepArguments) -> String {
    let file: &Path = &arguments.file;
    format!(
        "to go on from here: concord sweep {}",
        quoted(&file.to_string_lossy())
    )
}

fn interrupted(arguments: &SweepArguments) -> Failure {
    Failure::new(
        ExitStatus::Incomplete,
        "stopped; what is done is kept",
        again(arguments),
    )
}
