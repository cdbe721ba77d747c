//! `concord run`: from questions to a comparison of checkpoints.

mod apart;
mod place;
mod plan;

use super::engine::{Engine, Outcome};
use super::identity::manifest;
use super::inputs;
use super::results::{exhibits, quoted, show_end, warn};
use crate::arguments::{OutputFormat, RunArguments, SuiteOptions, config, given};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::{stop_on_interrupt, was_interrupted};
use apart::own_allowed;
pub(super) use apart::{Ended, execute_apart};
use concord_checkpoint::Snapshot;
use concord_readings::Form;
use concord_runs::{Manifest, RunDirectory, RunError, Shard, StoredRun};
use concord_session::{Allowed, Machine, MachineOptions, Timeline, spill_of};
use concord_suites::{
    About, AnySuite, Found, Given, SELF_RATER, Settings, Show, Study, Takes, suite, with_excluded,
};
use place::Place;
pub(super) use place::SHARDS;
use plan::Planned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Runs a study.
pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.print_config {
        return output::data(config());
    }
    let done = execute(arguments)?;
    show(&done, arguments)
}

/// What came of a run.
pub(super) enum Done {
    /// It is stored, and this was found.
    Stored(Box<Stored>),
    /// One shard of it is stored.
    Shard { shard: Shard, out: PathBuf },
    /// It was there already.
    Already { out: PathBuf },
    /// It was only looked at.
    Dry(Vec<Planned>),
}

/// A run that is stored, and what was found.
pub(super) struct Stored {
    pub out: PathBuf,
    pub manifest: Manifest,
    pub study: Box<dyn Study>,
    pub found: Box<dyn Found>,
}

/// Asks what is not stored yet, and stores it.
pub(super) fn execute(arguments: &RunArguments) -> Result<Done, Failure> {
    let place = Place::of(arguments)?;
    stop_on_interrupt();
    let timeline = Timeline::begin();
    let suite = suite(&arguments.suite)?;
    let (study, mut notes) = timeline.time("questions", "", || begin_study(suite, arguments))?;
    let snapshots = timeline.time("checkpoints", "", || checkpoints(arguments, suite.about()))?;
    goes_on()?;
    let raters = raters(arguments, &*study)?;
    let forms = forms(arguments, suite.about(), &snapshots)?;
    notes.extend(forms_that_differ(&snapshots, &forms));
    notes.extend(flags_of_servers(&snapshots));
    for note in &notes {
        output::message(note);
    }
    let settings = arguments.statistics.over(Settings {
        seed: arguments.seed,
        ..Settings::default()
    });
    let started = jiff::Timestamp::now();
    let name = place::default_name(started, suite.about().name, &snapshots);
    let machine = arguments.machine.options();
    let mut engine = Engine {
        study: &*study,
        snapshots: &snapshots,
        forms: &forms,
        raters: &raters,
        adapted: !arguments.adapters.is_empty(),
        machine: {
            let all = snapshots.iter().chain(raters.iter().flatten());
            opened(&machine, all, &timeline)?
        },
        allowed: Allowed::by(&machine, &RunDirectory::partial_of(&place.or(&name))),
        cache: inputs::cache(arguments.no_cache),
        allowed_apart: Vec::new(),
        shard: place.shard,
    };
    // What is finished already, or only looked at, need not be loaded.
    engine.load_early(!arguments.dry_run && !place.is_there());
    // Everything that can be wrong with a checkpoint is found before the first pass of the first one.
    let steps = engine.first_steps()?;
    goes_on()?;
    let plans = engine.has_room(&steps)?;
    let manifest = timeline.time("fingerprints", "", || {
        manifest(&engine, &steps, arguments, settings, &started.to_string())
    })?;
    goes_on()?;
    if let Some(out) = place.finished(&manifest)? {
        return Ok(Done::Already { out });
    }
    if arguments.dry_run {
        place.say_begun();
        return Ok(Done::Dry(plan::planned(&engine, &steps, plans)?));
    }
    let directory = place.begin(&name, &manifest, &*study)?;
    engine.allowed = own_allowed(&engine.allowed, arguments, &directory)?;
    let outcome = match engine.run(&directory, &steps) {
        Ok(outcome) => outcome,
        Err(failure) => return Err(stopped(failure, directory)),
    };
    for snapshot in snapshots.iter().chain(raters.iter().flatten()) {
        let (partial, out) = (directory.partial(), directory.out());
        remove_rows(&engine.allowed, snapshot).map_err(|failure| kept(failure, partial, out))?;
    }
    drop(engine);
    let timed = (&timeline, None);
    let base = snapshots.first().map(|first| first.name.as_str());
    Ok(
        match store(directory, &*study, settings, outcome, base, timed)? {
            Kept::Shard { shard, out } => Done::Shard { shard, out },
            Kept::Found {
                out,
                manifest,
                found,
            } => Done::Stored(Box::new(Stored {
                out,
                manifest: *manifest,
                study,
                found,
            })),
        },
    )
}

/// Ends what has not read anything yet, where that was asked for.
fn goes_on() -> Result<(), Failure> {
    if was_interrupted() {
        let help = "nothing was read, and nothing is kept";
        return Err(Failure::new(ExitStatus::Incomplete, "stopped", help));
    }
    Ok(())
}

/// What was stored of a run.
enum Kept {
    /// All of it, with what was found.
    Found {
        out: PathBuf,
        manifest: Box<Manifest>,
        found: Box<dyn Found>,
    },
    /// A shard.
    Shard { shard: Shard, out: PathBuf },
}

/// Opens what is computed on, and notes when.
fn opened<'s>(
    options: &MachineOptions,
    snapshots: impl IntoIterator<Item = &'s Snapshot>,
    timeline: &Timeline,
) -> Result<Machine, Failure> {
    let open = || Machine::open(options, snapshots, output::events());
    let mut machine = timeline.time("devices", "", open)?;
    machine.timeline = timeline.clone();
    Ok(machine)
}

/// Measures what was read, and stores it, with what ran when: of all checkpoints, or of one and of none.
fn store(
    mut directory: RunDirectory,
    study: &dyn Study,
    settings: Settings,
    outcome: Outcome,
    base: Option<&str>,
    (timeline, of): (&Timeline, Option<&str>),
) -> Result<Kept, Failure> {
    let (partial, out) = (directory.partial().to_owned(), directory.out().to_owned());
    let kept = |failure| kept(failure, &partial, &out);
    let now = || jiff::Timestamp::now().to_string();
    let Outcome {
        read,
        excluded,
        costs,
    } = outcome;
    let ran = || {
        let mut spans = timeline.spans();
        spans.retain(|span| of.is_none() || span.of.is_none() || span.of.as_deref() == of);
        spans
    };
    if let Some(shard) = directory.manifest().identity.shard {
        let findings = json!({ "shard": shard });
        directory.note_timeline(ran());
        let finished = directory.finish(costs, &findings, &now());
        let (_, out) = finished.map_err(|error| kept(error.into()))?;
        return Ok(Kept::Shard { shard, out });
    }
    let found = timeline.time("measures", of.unwrap_or(""), || {
        study.measure(settings, &read)
    });
    let found = found.map_err(|error| kept(error.into()))?;
    directory.note_timeline(ran());
    let found = with_excluded(found, excluded, base);
    warn(&*found);
    let finished = directory.finish(costs, &found.json(), &now());
    let (manifest, out) = finished.map_err(|error| kept(error.into()))?;
    Ok(Kept::Found {
        out,
        manifest: Box::new(manifest),
        found,
    })
}

/// Shows what came of a run.
fn show(done: &Done, arguments: &RunArguments) -> Result<(), Failure> {
    let is_json = arguments.format == OutputFormat::Json;
    match done {
        Done::Stored(stored) => show_stored(
            stored,
            arguments.format,
            arguments.with_published,
            arguments.verbose,
        ),
        Done::Already { out } => {
            output::message(&format!(
                "{}: is finished already; nothing to do.",
                out.display()
            ));
            if is_json { show_again(out) } else { Ok(()) }
        }
        Done::Shard { shard, out } => {
            if is_json {
                return output::json(&json!({ "run": out, "shard": shard }));
            }
            let folder = quoted(&out.parent().unwrap_or(out).to_string_lossy());
            output::data(&format!(
                "shard {shard} is stored in {}\nwhen all of them are: concord merge {folder}",
                out.display()
            ))
        }
        Done::Dry(planned) if is_json => output::json(planned),
        Done::Dry(planned) => output::data(&plan::text(planned)),
    }
}

/// Shows a run that is stored.
pub(super) fn show_stored(
    stored: &Stored,
    format: OutputFormat,
    published: bool,
    verbose: bool,
) -> Result<(), Failure> {
    let Stored {
        out,
        manifest,
        study,
        found,
    } = stored;
    let printed = match format {
        OutputFormat::Json => {
            output::json(&json!({ "run": out, "manifest": manifest, "findings": found.json() }))
        }
        OutputFormat::Human => {
            let show = Show {
                published,
                ..Show::default()
            };
            let shown = exhibits(&**found, &**study, manifest, Some(out), show);
            let run = quoted(&out.to_string_lossy());
            if verbose {
                show_timeline(manifest);
            }
            let tail = [
                cost(manifest),
                format!("stored      {}", out.display()),
                format!("page        concord report {run} --open"),
                format!("all tables  concord measure {run}"),
            ];
            show_end(&shown, &tail, verbose || published)
        }
    };
    printed.map_err(|failure| failure.printing(out))
}

/// What a program gets of a run that was there already: the same as of one that has just been read.
fn show_again(out: &Path) -> Result<(), Failure> {
    let opened = StoredRun::open(out)?;
    let path = out.join("findings.json");
    let text = std::fs::read(&path).map_err(|source| RunError::File {
        path: path.clone(),
        source,
    })?;
    let findings: Value = serde_json::from_slice(&text).map_err(|source| RunError::Damaged {
        path,
        line: 0,
        source,
    })?;
    output::json(&json!({ "run": out, "manifest": opened.manifest, "findings": findings }))
}

/// What a run that was stopped leaves: what was read, and nothing where nothing was.
fn stopped(failure: Failure, mut directory: RunDirectory) -> Failure {
    let (partial, out) = (directory.partial().to_owned(), directory.out().to_owned());
    if directory.is_blank().is_ok_and(|is_blank| is_blank) && directory.discard_if_new().is_ok() {
        return failure.and_help("nothing was read, and nothing is kept");
    }
    // How it ended is good to know, and no reason to say anything else.
    let now = jiff::Timestamp::now().to_string();
    let _ = directory.end(&failure.message, &now);
    kept(failure, &partial, &out)
}

/// What the run cost, in a line.
fn cost(manifest: &Manifest) -> String {
    // Later rounds and what raters read stand within.
    fn of_one(cost: &Value, key: &str) -> f64 {
        let Some(cost) = cost.as_object() else {
            return 0.0;
        };
        let own = cost.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        own + cost.values().map(|within| of_one(within, key)).sum::<f64>()
    }
    let sum = |key: &str| -> f64 {
        // A sum of nothing is less than nothing, and would be shown so.
        let all = manifest.progress.values().map(|cost| of_one(cost, key));
        all.sum::<f64>() + 0.0
    };
    let (rows, trie, seconds) = (sum("rows_computed"), sum("trie_rows"), sum("seconds"));
    let requests = sum("requests");
    if requests > 0.0 {
        let again = match sum("requests_again") {
            0.0 => String::new(),
            again => format!(", {again:.0} of them again"),
        };
        let (read, written) = (sum("prompt_tokens"), sum("written_tokens"));
        let here = if trie > 0.0 {
            format!(" · {rows:.0} rows here")
        } else {
            String::new()
        };
        return format!(
            "requests    {requests:.0}{again} · {read:.0} tokens read, {written:.0} written{here} · {seconds:.1} s"
        );
    }
    if trie <= 0.0 {
        return "rows        none: everything was read before".to_owned();
    }
    let share = rows / trie;
    format!("rows        {share:.2} of the trie · {seconds:.1} s")
}

/// Says what ran when in the last attempt.
fn show_timeline(manifest: &Manifest) {
    const COLUMNS: usize = 40;
    let last = manifest.attempts.last();
    let spans = last.map_or(&[][..], |last| &last.timeline);
    let end = spans.iter().map(|span| span.to).fold(1e-9, f64::max);
    for span in spans {
        let column = |at: usize| {
            let from = end * at as f64 / COLUMNS as f64;
            let to = end * (at + 1) as f64 / COLUMNS as f64;
            let is_in = span.from < to && (span.to > from || span.from >= from);
            if is_in { '█' } else { ' ' }
        };
        let bar: String = (0..COLUMNS).map(column).collect();
        let of = span.of.as_deref().unwrap_or_default();
        output::message(&format!(
            "{:8.2} s {:8.2} s  {bar}  {} {of}",
            span.from,
            span.to - span.from,
            span.what
        ));
    }
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
            if spec.takes == Takes::Paths {
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

/// What was typed of how a checkpoint is computed, where a server holds all of them.
fn flags_of_servers(snapshots: &[Snapshot]) -> Option<String> {
    let flags = given(&["device", "dtype", "schedule", "memory", "spill"]);
    let are_served = snapshots.iter().all(|snapshot| snapshot.server.is_some());
    (are_served && !flags.is_empty())
        .then(|| format!("{} without effect: a server computes.", flags.join(", ")))
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
    if names.is_empty() && !arguments.adapters.is_empty() {
        let message = "an adapter needs the checkpoint that it is put on";
        return Err(Failure::usage(message, "name it with --model"));
    }
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
    let mut snapshots = inputs::checkpoints(&names, &arguments.adapters)?;
    inputs::call(&mut snapshots, &arguments.names)?;
    Ok(snapshots)
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
        others.iter().try_for_each(inputs::may_rate)?;
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
