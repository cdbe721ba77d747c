//! Checkpoints that are asked the same, each for a run of its own: what is asked is laid out once, an adapter is put on a base that is
//! loaded once, and the next checkpoint is loaded while one computes.

use super::{Kept, begin_study, checkpoints, forms, opened, raters, remove_rows, stopped, store};
use crate::arguments::RunArguments;
use crate::commands::engine::{Apart, Engine};
use crate::commands::identity::manifest_of;
use crate::commands::inputs;
use crate::failure::Failure;
use crate::output;
use crate::progress::stop_on_interrupt;
use concord_runs::{Manifest, RunDirectory, is_finished};
use concord_scorer::{Keep, Spill};
use concord_session::{Allowed, Timeline};
use concord_suites::{Found, Settings, suite};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// What came of a checkpoint's run.
pub(in crate::commands) enum Ended {
    /// It is stored, and this was found.
    Stored {
        suite: &'static str,
        found: Box<dyn Found>,
    },
    /// It was there already.
    Already,
}

/// Asks checkpoints, of which each goes to a place of its own; `None` is not asked. Says of each how it ended, as soon as it is known.
///
/// # Errors
/// What concerns all of them: then nothing was said of those that are left. Where it was stopped, what was read is kept.
pub(in crate::commands) fn execute_apart(
    arguments: &RunArguments,
    outs: &[Option<PathBuf>],
    ended: &dyn Fn(usize, Result<Ended, Failure>),
) -> Result<(), Failure> {
    let suite = suite(&arguments.suite)?;
    let timeline = Timeline::begin();
    let (study, notes) = timeline.time("questions", "", || begin_study(suite, arguments))?;
    let snapshots = timeline.time("checkpoints", "", || checkpoints(arguments, suite.about()))?;
    suite.about().needs.enough(suite.about().name, 1)?;
    let raters = raters(arguments, &*study)?;
    let forms = forms(arguments, suite.about(), &snapshots)?;
    for note in &notes {
        output::message(note);
    }
    let settings = arguments.statistics.over(Settings {
        seed: arguments.seed,
        ..Settings::default()
    });
    let started = jiff::Timestamp::now().to_string();
    let options = arguments.machine.options();
    let all = snapshots.iter().chain(raters.iter().flatten());
    let folder = outs.iter().flatten().next().and_then(|out| out.parent());
    let mut engine = Engine {
        study: &*study,
        snapshots: &snapshots,
        forms: &forms,
        raters: &raters,
        adapted: !arguments.adapters.is_empty(),
        machine: opened(&options, all, &timeline)?,
        allowed: Allowed::by(&options, folder.unwrap_or(Path::new("."))),
        cache: inputs::cache(arguments.no_cache),
        allowed_apart: Vec::new(),
        shard: None,
    };
    engine.load_early(matches!(outs, [Some(first), ..] if !first.exists()));
    let steps = engine.first_steps()?;
    engine.has_room(&steps)?;
    let mut directories: Vec<Option<RunDirectory>> = Vec::new();
    for (index, out) in outs.iter().enumerate() {
        let begun = out.as_ref().map(|out| {
            let which = index..index + 1;
            let manifest = timeline.time("fingerprints", &snapshots[index].name, || {
                manifest_of(&engine, &steps, which, arguments, settings, &started)
            })?;
            begin_or_know(out, &manifest, &study.files())
        });
        directories.push(match begun {
            Some(Ok(Some(directory))) => {
                let allowed = own_allowed(&engine.allowed, arguments, &directory)?;
                let name = snapshots[index].name.clone();
                engine.allowed_apart.push((name, allowed));
                Some(directory)
            }
            Some(Ok(None)) => {
                ended(index, Ok(Ended::Already));
                None
            }
            Some(Err(failure)) => {
                ended(index, Err(failure));
                None
            }
            None => None,
        });
    }
    stop_on_interrupt();
    let done = |index: usize, directory: RunDirectory, outcome: Result<_, Failure>| {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(failure) => return ended(index, Err(stopped(failure, directory))),
        };
        let name = snapshots[index].name.clone();
        let spilled = engine
            .allowed_apart
            .iter()
            .find(|(known, _)| *known == name);
        let rows = spilled.map_or(Ok(()), |(_, allowed)| {
            remove_rows(allowed, &snapshots[index])
        });
        let timed = (&timeline, Some(name.as_str()));
        let stored =
            rows.and_then(|()| store(directory, &*study, settings, outcome, Some(&name), timed));
        ended(
            index,
            stored.map(|kept| match kept {
                Kept::Found { found, .. } => Ended::Stored {
                    suite: suite.about().name,
                    found,
                },
                // None is asked in shards.
                Kept::Shard { .. } => Ended::Already,
            }),
        );
    };
    let apart = Apart {
        directories: RefCell::new(directories),
        done: &done,
    };
    let Err(failure) = engine.run_apart(&apart, &steps) else {
        return Ok(());
    };
    // What it stopped at is kept, and of what did not begin nothing.
    for directory in apart.directories.borrow_mut().drain(..).flatten() {
        let one = Failure::new(failure.status, failure.message.clone(), "");
        let _ = stopped(one, directory);
    }
    Err(failure)
}

/// As [`begin`], where another process may have finished the run between two looks.
fn begin_or_know(
    out: &Path,
    manifest: &Manifest,
    files: &[(&'static str, serde_json::Value)],
) -> Result<Option<RunDirectory>, Failure> {
    match begin(out, manifest, files) {
        Err(failure) if failure.is_there() => begin(out, manifest, files),
        begun => begun,
    }
}

/// Begins a run, or goes on with one; nothing where it is finished already.
fn begin(
    out: &Path,
    manifest: &Manifest,
    files: &[(&'static str, serde_json::Value)],
) -> Result<Option<RunDirectory>, Failure> {
    if is_finished(out, &manifest.identity)? {
        return Ok(None);
    }
    let directory = RunDirectory::begin(out, manifest, files)?;
    for note in directory.notes() {
        output::message(note);
    }
    Ok(Some(directory))
}

/// What a run may use: its rows between layers are its own.
pub(super) fn own_allowed(
    all: &Allowed,
    arguments: &RunArguments,
    directory: &RunDirectory,
) -> Result<Allowed, Failure> {
    let folder = arguments.machine.spill.clone();
    Ok(Allowed {
        spill: Spill {
            folder: folder.unwrap_or_else(|| directory.partial().to_owned()),
            keep: Some(Keep(directory.identity()?)),
        },
        ..all.clone()
    })
}
