//! `concord run`: from questions to a comparison of checkpoints.

use super::engine::{Engine, Outcome};
use super::identity::manifest;
use super::inputs;
use super::results::{exhibits, quoted, show_end, warn};
use crate::arguments::{OutputFormat, RunArguments, SuiteOptions, given};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::stop_on_interrupt;
use concord_checkpoint::Snapshot;
use concord_readings::Form;
use concord_runs::{Manifest, RunDirectory, RunError, check_name};
use concord_scorer::{Keep, Spill};
use concord_session::{Allowed, Machine, spill_of};
use concord_suites::{
    About, AnySuite, Given, SELF_RATER, Settings, Show, Study, Takes, suite, with_excluded,
};
use serde_json::{Value, json};
use std::path::Path;

/// Runs a study.
pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    if let Some(out) = &arguments.out {
        check_name(out)?;
    }
    let suite = suite(&arguments.suite)?;
    let (study, mut notes) = begin_study(suite, arguments)?;
    let snapshots = checkpoints(arguments, suite.about())?;
    let raters = raters(arguments, &*study)?;
    let forms = forms(arguments, suite.about(), &snapshots)?;
    notes.extend(forms_that_differ(&snapshots, &forms));
    for note in &notes {
        output::message(note);
    }
    let settings = arguments.statistics.over(Settings {
        seed: arguments.seed,
        ..Settings::default()
    });
    let started = jiff::Timestamp::now();
    let name = default_name(started, &snapshots);
    let planned = match &arguments.out {
        Some(out) => out.clone(),
        None => Path::new(RUNS).join(&name),
    };
    let machine = arguments.machine.options();
    let mut engine = Engine {
        study: &*study,
        snapshots: &snapshots,
        forms: &forms,
        raters: &raters,
        adapted: !arguments.adapters.is_empty(),
        machine: {
            let all = snapshots.iter().chain(raters.iter().flatten());
            Machine::open(&machine, all, output::events())?
        },
        allowed: Allowed::by(&machine, &RunDirectory::partial_of(&planned)),
    };
    // Everything that can be wrong with a checkpoint is found before the first pass of the first one.
    let steps = engine.first_steps()?;
    engine.has_room(&steps)?;
    let manifest = manifest(&engine, &steps, arguments, settings, &started.to_string())?;
    let mut directory = begin(arguments, &name, &manifest, &*study)?;
    engine.allowed.spill = Spill {
        folder: match &arguments.machine.spill {
            Some(folder) => folder.clone(),
            None => directory.partial().to_owned(),
        },
        keep: Some(Keep(directory.identity()?)),
    };
    stop_on_interrupt();
    let (partial, out) = (directory.partial().to_owned(), directory.out().to_owned());
    let kept = |failure| kept(failure, &partial, &out);
    let now = || jiff::Timestamp::now().to_string();
    let Outcome {
        read,
        excluded,
        costs,
    } = match engine.run(&directory, &steps) {
        Ok(outcome) => outcome,
        Err(failure) => {
            // How it ended is good to know, and no reason to say anything else.
            let _ = directory.end(&failure.message, &now());
            return Err(kept(failure));
        }
    };
    let found = study.measure(settings, &read);
    let found = found.map_err(|error| kept(error.into()))?;
    let base = snapshots.first().map(|first| first.name.as_str());
    let found = with_excluded(found, excluded, base);
    warn(&*found);
    for snapshot in snapshots.iter().chain(raters.iter().flatten()) {
        remove_rows(&engine.allowed, snapshot).map_err(kept)?;
    }
    let findings = found.json();
    let finished = directory.finish(costs, &findings, &now());
    let (manifest, out) = finished.map_err(|error| kept(error.into()))?;
    let printed = match arguments.format {
        OutputFormat::Json => {
            output::json(&json!({ "run": out, "manifest": manifest, "findings": findings }))
        }
        OutputFormat::Human => {
            let show = Show {
                published: arguments.with_published,
                ..Show::default()
            };
            let shown = exhibits(&*found, &*study, &manifest, Some(&out), show);
            let run = quoted(&out.to_string_lossy());
            let tail = [
                cost(&manifest),
                format!("stored      {}", out.display()),
                format!("page        concord report {run} --open"),
                format!("all tables  concord measure {run}"),
            ];
            show_end(&shown, &tail, arguments.verbose || arguments.with_published)
        }
    };
    printed.map_err(|failure| failure.printing(&out))
}

/// What the run cost, in a line.
fn cost(manifest: &Manifest) -> String {
    let sum = |key: &str| -> f64 {
        let of_one = |cost: &Value| cost.get(key).and_then(Value::as_f64);
        manifest.progress.values().filter_map(of_one).sum()
    };
    let (rows, trie, seconds) = (sum("rows_computed"), sum("trie_rows"), sum("seconds"));
    let share = if trie > 0.0 { rows / trie } else { 0.0 };
    format!("rows        {share:.2} of the trie · {seconds:.1} s")
}

/// The study that flags describe, and what is to be said before it begins.
fn begin_study(
    suite: &dyn AnySuite,
    arguments: &RunArguments,
) -> Result<(Box<dyn Study>, Vec<String>), Failure> {
    let (study, mut notes) = begin_suite(suite, &arguments.options, arguments.seed)?;
    if arguments.format == OutputFormat::Json && !given(&["with_published"]).is_empty() {
        notes.push(
            "--with-published without effect: JSON has what was measured alone (--format human)."
                .to_owned(),
        );
    }
    Ok((study, notes))
}

/// A study by the options of its suite that were typed.
pub(super) fn begin_suite(
    suite: &dyn AnySuite,
    options: &SuiteOptions,
    seed: u64,
) -> Result<(Box<dyn Study>, Vec<String>), Failure> {
    options.are_of(suite)?;
    let mut typed = options.typed.clone();
    for spec in suite.options() {
        let Some(values) = typed.get_mut(spec.name) else {
            continue;
        };
        for value in values {
            (spec.check)(value).map_err(|problem| {
                let message = format!("--{}: {problem}", spec.name);
                Failure::usage(message, "see `concord run --help`")
            })?;
            if spec.takes == Takes::Path {
                let path = inputs::question_path(value)?;
                *value = path.to_string_lossy().into_owned();
            }
        }
    }
    Ok(suite.begin(&Given::new(suite.options(), &typed, seed))?)
}

/// What is to be said of the form in which checkpoints are asked.
fn forms_that_differ(snapshots: &[Snapshot], forms: &[Form]) -> Vec<String> {
    let mut notes = Vec::new();
    for (snapshot, form) in snapshots.iter().zip(forms) {
        let name = &snapshot.name;
        if *form == Form::Completion && !snapshot.is_aligned() {
            notes.push(format!(
                "{name}: has no chat template, and is given texts to complete."
            ));
        }
        if *form == Form::Chat && snapshot.folds_system() {
            notes.push(format!(
                "{name}: its chat template takes no system message; the system's words stand before the first user message."
            ));
        }
    }
    notes
}

/// Begins a run where it was told to, or under a name of its own, and says what was found there.
fn begin(
    arguments: &RunArguments,
    name: &str,
    manifest: &Manifest,
    study: &dyn Study,
) -> Result<RunDirectory, Failure> {
    let files = study.files();
    let directory = match &arguments.out {
        Some(out) => RunDirectory::begin(out, manifest, &files)?,
        None => RunDirectory::begin_new(Path::new(RUNS), name, manifest, &files)?,
    };
    for note in directory.notes() {
        output::message(note);
    }
    Ok(directory)
}

/// Removes rows between layers that an attempt on another schedule left.
fn remove_rows(allowed: &Allowed, snapshot: &Snapshot) -> Result<(), Failure> {
    let spill = spill_of(allowed, snapshot);
    let path = spill.folder.clone();
    spill
        .remove_rows()
        .map_err(|source| RunError::File { path, source }.into())
}

/// The checkpoints that are named, as a pair or one by one, where there are enough for a suite.
fn checkpoints(arguments: &RunArguments, about: &About) -> Result<Vec<Snapshot>, Failure> {
    let names = match &arguments.pair {
        Some(name) => inputs::pair(name)?,
        None => arguments.models.clone(),
    };
    let named = match names.len() {
        0 => DEMO_PAIR,
        count => count + arguments.adapters.len(),
    };
    about.needs.enough(about.name, named)?;
    if names.is_empty() {
        output::message(
            "No --model given: running the embedded demo pair, two tiny checkpoints that show how the program works and \
             say nothing about any real model.",
        );
    }
    inputs::checkpoints(&names, &arguments.adapters)
}

/// Checkpoints that are asked where none are named.
const DEMO_PAIR: usize = 2;

/// How each checkpoint is spoken to, where a suite can do with it.
fn forms(
    arguments: &RunArguments,
    about: &About,
    snapshots: &[Snapshot],
) -> Result<Vec<Form>, Failure> {
    let forms = snapshots.iter().map(|snapshot| {
        let form = inputs::form(snapshot, arguments.apply_chat_template)?;
        about.needs.spoken_to(about.name, &snapshot.name, form)?;
        Ok(form)
    });
    forms.collect()
}

/// Who rates what checkpoints write: `None` for each its own.
fn raters(arguments: &RunArguments, study: &dyn Study) -> Result<Vec<Option<Snapshot>>, Failure> {
    if let Err(help) = study.is_rated() {
        return if arguments.raters.is_empty() {
            Ok(Vec::new())
        } else {
            Err(Failure::usage("--rater, but nothing is written", help))
        };
    }
    if arguments.raters.is_empty() {
        return Ok(vec![None]);
    }
    let mut names: Vec<&str> = arguments.raters.iter().map(String::as_str).collect();
    let itself = names.contains(&SELF_RATER);
    names.retain(|name| *name != SELF_RATER);
    let mut raters: Vec<Option<Snapshot>> = itself.then_some(None).into_iter().collect();
    if !names.is_empty() {
        let none: [&str; 0] = [];
        let others = inputs::checkpoints(&names, &none)?;
        if let Some(other) = others.iter().find(|other| other.name == SELF_RATER) {
            let message = format!(
                "{}: a rater is called `{SELF_RATER}`, which stands for each checkpoint as its own",
                other.path.display()
            );
            return Err(Failure::usage(
                message,
                "rename the folder, or name it by a link of another name",
            ));
        }
        raters.extend(others.into_iter().map(Some));
    }
    Ok(raters)
}

/// Where runs go that are given no place.
const RUNS: &str = "runs";

/// `<time>-<last checkpoint>`.
fn default_name(started: jiff::Timestamp, snapshots: &[Snapshot]) -> String {
    let name = snapshots.last().map_or("run", |last| last.name.as_str());
    format!("{}-{name}", started.strftime("%Y%m%d-%H%M%S"))
}

/// Says what is left of a run that did not finish, and how to go on.
fn kept(failure: Failure, partial: &Path, out: &Path) -> Failure {
    let kept = format!("what was read is kept in {}", partial.display());
    if failure.status == ExitStatus::Incomplete {
        return failure
            .and_message(&kept)
            .and_help(&format!("to go on from here: {}", command_with(out)));
    }
    failure.and_help(&format!(
        "{kept}, and the same command with --out {} goes on from there",
        out.display()
    ))
}

/// The command that was given, with a place for the run.
fn command_with(out: &Path) -> String {
    let words = std::env::args_os().map(|word| quoted(&word.to_string_lossy()));
    let mut words: Vec<String> = words.collect();
    if given(&["out"]).is_empty() {
        words.extend(["--out".to_owned(), quoted(&out.to_string_lossy())]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Cli, Command};
    use clap::Parser;
    use concord_suites::Needs;

    static CHAIN: About = About {
        name: "chain",
        summary: "",
        rounds: "",
        needs: Needs {
            checkpoints: 3,
            chat_form: true,
            also: "",
        },
        limits: "",
    };

    fn typed(more: &[&str]) -> RunArguments {
        match Cli::parse_from([&["concord", "run"][..], more].concat()).command {
            Command::Run(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn too_few_checkpoints_are_refused_before_any_is_looked_for() {
        for (named, there) in [
            (&[][..], "are 2"),
            (&["-M", "nowhere"], "is one"),
            (&["-M", "nowhere", "-A", "adapter"], "are 2"),
        ] {
            let refused = checkpoints(&typed(named), &CHAIN).err().unwrap();
            assert_eq!(refused.status, ExitStatus::Usage);
            let expected =
                format!("the suite `chain` needs 3 checkpoints or more, and there {there}");
            assert_eq!(refused.message, expected);
        }
        let three = typed(&["-M", "nowhere", "-M", "nowhere", "-M", "nowhere"]);
        let refused = checkpoints(&three, &CHAIN).err().unwrap();
        assert_eq!(refused.status, ExitStatus::Checkpoint, "{refused:?}");
    }

    #[test]
    fn a_checkpoint_without_a_chat_form_is_refused_where_one_is_needed() {
        let pair = concord_checkpoint::demo_pair().unwrap();
        let refused = forms(&typed(&[]), &CHAIN, &pair).err().unwrap();
        let base = pair.iter().find(|snapshot| !snapshot.is_aligned()).unwrap();
        assert!(refused.message.starts_with(&base.name), "{refused:?}");
        assert!(refused.message.contains("in chat form"), "{refused:?}");
        let aligned = pair.into_iter().filter(Snapshot::is_aligned);
        let aligned: Vec<Snapshot> = aligned.collect();
        assert_eq!(forms(&typed(&[]), &CHAIN, &aligned).unwrap(), [Form::Chat]);
        let never = typed(&["--apply-chat-template=never"]);
        assert!(forms(&never, &CHAIN, &aligned).is_err());
    }
}
