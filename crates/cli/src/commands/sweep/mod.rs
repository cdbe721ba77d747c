//! `concord sweep`: many runs, each a cell of its own.
//!
//! A cell is a run directory; what is known of a sweep is what lies there, so that it can be gone on with, added to, run by several
//! processes and looked at while it goes on. Cells that differ in nothing but the checkpoint are asked together.

mod file;
mod summary;

use super::inputs;
use super::results::quoted;
use super::run::{Done, Ended, execute, execute_apart};
use crate::arguments::{Cli, Command, OutputFormat, RunArguments, SweepArguments};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::{stop_on_interrupt, was_interrupted};
use clap::Parser;
use concord_checkpoint::ServerFile;
use concord_runs::{RunDirectory, RunError, Standing, remove_strays, standing, write_bytes};
use file::{Cell, Sweep};
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use summary::{CellFound, Summary};

/// What the file ends with that says why a cell failed.
const FAILED: &str = ".failed.json";
/// What the file ends with that says what a cell that is done was run with.
const CELL: &str = ".cell.json";
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
    /// It is stored, and was run with other flags than the file has now.
    Other,
    /// Nothing was done yet.
    Waiting,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Begun => "begun",
            Self::Failed(_) => "failed",
            Self::Other => "of other flags",
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
    for useless in &sweep.useless {
        output::message(&format!("{}: {useless}", arguments.file.display()));
    }
    let mine = mine(&sweep, arguments)?;
    say_missing(&mine);
    if arguments.plan {
        return plan(&sweep, &mine, arguments.format);
    }
    if arguments.status {
        let summary = Summary::of(&sweep, Vec::new());
        summary.show(arguments.format)?;
        return summary.is_whole();
    }
    if let Ok(Standing::Run(_)) = standing(&sweep.out) {
        let message = format!(
            "{}: is a run, and no folder for others",
            sweep.out.display()
        );
        return Err(Failure::usage(message, "name another folder with --out"));
    }
    std::fs::create_dir_all(&sweep.out).map_err(|source| RunError::File {
        path: sweep.out.clone(),
        source,
    })?;
    remove_strays(&sweep.out)?;
    stop_on_interrupt();
    let course = Course {
        sweep: &sweep,
        parsed: &parsed,
        failures: RefCell::default(),
        in_use: RefCell::default(),
        found: RefCell::default(),
    };
    // A server need not be there for what is done.
    let is_left = |cell: &&Cell| {
        let mut models = cell.entry.models.iter();
        let is_served = models.any(|model| ServerFile::is_one(Path::new(model)));
        !(is_served && state(&sweep, cell) == State::Done)
    };
    let left: Vec<&Cell> = mine.iter().copied().filter(is_left).collect();
    for group in groups(&left) {
        let outcome = match &group[..] {
            _ if was_interrupted() => Err(Failure::new(ExitStatus::Incomplete, "stopped", "")),
            [one] => course.alone(one),
            several => course.together(several),
        };
        if let Err(failure) = outcome {
            let message = failure.message.split("; ").next().unwrap_or("stopped");
            return Err(Failure::new(
                ExitStatus::Incomplete,
                format!("{message}; what was read is kept"),
                format!("to go on from here: {}", again()),
            ));
        }
    }
    let summary = Summary::of(&sweep, course.found.take());
    summary.write()?;
    summary.show(arguments.format)?;
    course.outcome(mine.len())?;
    summary.is_whole()
}

/// Says which checkpoints are not there: their cells will fail, and the others go on.
fn say_missing(cells: &[&Cell]) {
    let named = cells
        .iter()
        .flat_map(|cell| cell.entry.models.iter().chain(&cell.entry.adapter));
    let names: BTreeSet<&String> = named.collect();
    for name in names {
        if let Err(failure) = inputs::may_be_there(name) {
            output::message(&format!("{}: its cells will fail", failure.message));
        }
    }
}

/// The cells of this process.
fn mine<'s>(sweep: &'s Sweep, arguments: &SweepArguments) -> Result<Vec<&'s Cell>, Failure> {
    let Some(choice) = arguments.shard else {
        return Ok(sweep.cells.iter().collect());
    };
    let shard = choice.here()?;
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

/// A sweep while it is run.
struct Course<'s> {
    sweep: &'s Sweep,
    /// The command line of every cell.
    parsed: &'s [RunArguments],
    /// Cells that failed, and what with.
    failures: RefCell<Vec<(String, ExitStatus)>>,
    /// Cells that another process runs.
    in_use: RefCell<Vec<String>>,
    /// What this process found.
    found: RefCell<Vec<CellFound>>,
}

impl Course<'_> {
    /// Runs one cell.
    ///
    /// # Errors
    /// What stops everything.
    fn alone(&self, cell: &Cell) -> Result<(), Failure> {
        let index = self.sweep.cells.iter().position(|known| known == cell);
        let arguments = &self.parsed[index.unwrap_or_default()];
        let outcome = if cell.entry.adapter.is_some() {
            // An adapter's run is its own, without its base.
            let outs = [None, arguments.out.clone()];
            execute_apart(arguments, &outs, &|_, how| self.note(cell, how))
        } else {
            execute(arguments).map(|done| {
                let how = match done {
                    Done::Stored(stored) => Ended::Stored {
                        suite: stored.study.about().name,
                        found: stored.found,
                    },
                    _ => Ended::Already,
                };
                self.note(cell, Ok(how));
            })
        };
        match outcome {
            Err(failure) if failure.stops_all() => Err(failure),
            Err(failure) => {
                self.note(cell, Err(failure));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Runs cells that differ in nothing but the checkpoint; where that cannot be, one after the other.
    ///
    /// # Errors
    /// What stops everything.
    fn together(&self, cells: &[&Cell]) -> Result<(), Failure> {
        let mut ordered: Vec<&Cell> = cells.to_vec();
        ordered.sort_by_key(|cell| cell.entry.adapter.is_some());
        let has_adapters = ordered.iter().any(|cell| cell.entry.adapter.is_some());
        let is_base_without_cell = has_adapters && ordered[0].entry.adapter.is_some();
        let first = usize::from(is_base_without_cell);
        let mut outs: Vec<Option<PathBuf>> = vec![None; first];
        outs.extend(
            ordered
                .iter()
                .map(|cell| Some(self.sweep.out.join(&cell.name))),
        );
        let outcome = typed(self.sweep, &ordered).and_then(|arguments| {
            execute_apart(&arguments, &outs, &|index, how| {
                self.note(ordered[index - first], how);
            })
        });
        match outcome {
            Err(failure) if failure.stops_all() => Err(failure),
            // What concerns all of them may be the fault of one.
            Err(_) => cells.iter().try_for_each(|cell| self.alone(cell)),
            Ok(()) => Ok(()),
        }
    }

    /// Says how a cell ended, and keeps what it was run with, or why it failed.
    fn note(&self, cell: &Cell, how: Result<Ended, Failure>) {
        let put = |ending: &str, what: &serde_json::Value| {
            let path = beside(self.sweep, cell, ending);
            if let Err(error) = write_bytes(&path, format!("{what}\n").as_bytes()) {
                output::message(&error.to_string());
            }
        };
        match how {
            Ok(ended) => {
                let _ = std::fs::remove_file(beside(self.sweep, cell, FAILED));
                put(CELL, &json!(of_cell(cell)));
                let what = match ended {
                    Ended::Stored { suite, found } => {
                        let found = CellFound::of(cell, suite, &*found);
                        self.found.borrow_mut().push(found);
                        "done"
                    }
                    Ended::Already => "done already",
                };
                output::message(&format!("cell {}: {what}", cell.name));
            }
            Err(failure) if failure.is_in_use() => {
                output::message(&format!("cell {}: another process runs it", cell.name));
                self.in_use.borrow_mut().push(cell.name.clone());
            }
            Err(failure) => {
                output::message(&format!("cell {}: failed: {}", cell.name, failure.message));
                put(
                    FAILED,
                    &json!({
                        "cell": of_cell(cell), "message": failure.message, "help": failure.help, "code": failure.status as u8,
                    }),
                );
                let failed = (cell.name.clone(), failure.status);
                self.failures.borrow_mut().push(failed);
            }
        }
    }

    /// What the sweep leaves with.
    fn outcome(&self, cells: usize) -> Result<(), Failure> {
        let failures = self.failures.borrow();
        if let Some((first, status)) = failures.first() {
            let one = failures.iter().all(|(_, other)| other == status);
            let status = if one { *status } else { ExitStatus::Unexpected };
            let message = format!(
                "{} of {cells} cells failed, `{first}` first",
                failures.len()
            );
            let is_there = |(name, _): &(String, ExitStatus)| {
                let found = standing(&self.sweep.out.join(name));
                !matches!(found, Ok(Standing::Nothing))
            };
            let help = if failures.iter().any(is_there) {
                "remove the folders of cells where something else is, or name another folder with --out"
            } else {
                "the same command tries them again"
            };
            return Err(Failure::new(status, message, help));
        }
        let in_use = self.in_use.borrow();
        let left = in_use.iter().filter(|name| {
            let mut all = self.sweep.cells.iter();
            let cell = all.find(|cell| cell.name == **name);
            cell.is_none_or(|cell| state(self.sweep, cell) != State::Done)
        });
        match left.count() {
            0 => Ok(()),
            left => Err(Failure::new(
                ExitStatus::Incomplete,
                format!("other processes run {left} of {cells} cells"),
                "the same command says whether they ended well, and runs what they left",
            )),
        }
    }
}

/// What a cell is run with.
fn of_cell(cell: &Cell) -> Vec<&String> {
    let who = cell.entry.pair.iter().chain(&cell.entry.models);
    who.chain(&cell.entry.adapter).chain(&cell.words).collect()
}

fn beside(sweep: &Sweep, cell: &Cell, ending: &str) -> PathBuf {
    sweep.out.join(format!("{}{ending}", cell.name))
}

/// How far a cell is, by what lies there.
fn state(sweep: &Sweep, cell: &Cell) -> State {
    let out = sweep.out.join(&cell.name);
    let read = |ending: &str| -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(beside(sweep, cell, ending)).ok()?;
        serde_json::from_str(&text).ok()
    };
    // What failed with other flags says nothing of these.
    let is_own = |why: &serde_json::Value| why["cell"] == json!(of_cell(cell));
    let failed = read(FAILED).filter(is_own);
    let failed = failed.map(|why| why["message"].as_str().unwrap_or("unknown").to_owned());
    match (standing(&out), failed) {
        (Ok(Standing::Run(_)), failed) => {
            let is_other = read(CELL).is_some_and(|known| known != json!(of_cell(cell)));
            return match failed {
                _ if is_other => State::Other,
                // What is there was found to be of something else: of questions or weights that changed since.
                Some(why) => State::Failed(why),
                None => State::Done,
            };
        }
        (Ok(Standing::Else), _) => return State::Failed("something else is there".to_owned()),
        (Err(error), _) => return State::Failed(error.to_string()),
        (Ok(Standing::Nothing), Some(why)) => return State::Failed(why),
        (Ok(Standing::Nothing), None) => {}
    }
    if RunDirectory::partial_of(&out).is_dir() {
        return State::Begun;
    }
    State::Waiting
}

/// The cells, and what each would run.
fn plan(sweep: &Sweep, cells: &[&Cell], format: OutputFormat) -> Result<(), Failure> {
    let command = |cell: &Cell| {
        let entry = &cell.entry;
        let mut words: Vec<String> = vec!["concord".to_owned(), "run".to_owned()];
        words.extend(entry.pair.iter().map(|pair| format!("--pair={pair}")));
        words.extend(entry.models.iter().map(|model| format!("--model={model}")));
        words.extend(
            entry
                .adapter
                .iter()
                .map(|adapter| format!("--adapter={adapter}")),
        );
        if entry.adapter.is_none() && entry.models.len() == 1 {
            words.push(format!("--name={}", entry.name));
        }
        words.extend(cell.words.clone());
        // An adapter's cell is no run of its own: the command asks its base as well.
        if entry.adapter.is_none() {
            words.push(format!("--out={}", sweep.out.join(&cell.name).display()));
        }
        words
    };
    if format == OutputFormat::Json {
        let cells = cells.iter().map(|cell| {
            json!({
                "cell": cell.name, "run": sweep.out.join(&cell.name), "command": command(cell),
                "adapter_alone": cell.entry.adapter.is_some(), "state": state(sweep, cell).name(),
            })
        });
        return output::json(&cells.collect::<Vec<_>>());
    }
    let mut text = String::new();
    for cell in cells {
        let words: Vec<String> = command(cell).iter().map(|word| quoted(word)).collect();
        let alone = if cell.entry.adapter.is_some() {
            "  # base and adapter; the cell holds the adapter alone"
        } else {
            ""
        };
        let _ = writeln!(text, "{}\n  {}{alone}", cell.name, words.join(" "));
    }
    let plural = if cells.len() == 1 { "cell" } else { "cells" };
    let _ = writeln!(text, "{} {plural} in {}", cells.len(), sweep.out.display());
    output::data(&text)
}

/// The command that was given.
fn again() -> String {
    let words = std::env::args_os().map(|word| quoted(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}
