//! `concord run`: from questions to a comparison of checkpoints.

use super::identity::manifest;
use super::inputs;
use super::results::Results;
use super::study::{self, Asked, Study};
use crate::arguments::{ChatTemplateUse, OutputFormat, RunArguments, given};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::stop_on_interrupt;
use concord_checkpoint::Snapshot;
use concord_questions::{QuestionSet, Stimuli};
use concord_readings::Form;
use concord_runs::{Manifest, RunDirectory, RunError, What, check_name};
use concord_scorer::{Keep, Spill};
use concord_session::{Allowed, Base, Machine, spill_of};
use concord_suites::valueconsistency::{
    Abstention, Format, Options, Passages, SELF_READER, Settings, Stored,
};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::rc::Rc;

/// Runs the study.
pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    if let Some(out) = &arguments.out {
        check_name(out)?;
    }
    let set = selected(arguments)?;
    let stimuli = inputs::stimuli(arguments.stimuli.as_deref())?;
    let wordings = wordings(arguments, &stimuli)?;
    let snapshots = checkpoints(arguments)?;
    let options = options(arguments, &set);
    let readers = readers(arguments, &options)?;
    say_what_is_asked(arguments, &set, &options);
    let settings = Settings {
        resamples: arguments.resamples.map(|count| count as usize),
        seed: arguments.seed,
    };
    let forms = forms(arguments, &snapshots)?;
    say_what_differs((&set, &options), &wordings, &snapshots, &forms);
    let started = jiff::Timestamp::now();
    let name = default_name(started, &snapshots);
    let planned = arguments
        .out
        .clone()
        .unwrap_or_else(|| Path::new(RUNS).join(&name));
    let mut study = Study {
        set: &set,
        stimuli: &stimuli,
        wordings: &wordings,
        options: &options,
        machine: machine(arguments, &snapshots, &readers)?,
        allowed: Allowed::by(
            &arguments.machine.options(),
            &RunDirectory::partial_of(&planned),
        ),
    };
    // Everything that can be wrong with a checkpoint is found before the first pass of the first one.
    let asked = study.asked(&snapshots, &forms)?;
    has_room(
        &study,
        (&snapshots, &asked),
        (&readers, arguments.passage_tokens),
    )?;
    let manifest = manifest(
        &study,
        arguments,
        settings,
        (&snapshots, &forms),
        &readers,
        &started.to_string(),
    )?;
    let mut directory = begin(arguments, &name, &manifest, (&set, &stimuli))?;
    study.allowed.spill = Spill {
        folder: arguments
            .machine
            .spill
            .clone()
            .unwrap_or_else(|| directory.partial().to_owned()),
        keep: Some(Keep(directory.identity()?)),
    };
    stop_on_interrupt();
    let asking = Asking {
        study: &study,
        snapshots: &snapshots,
        forms: &forms,
        readers: &readers,
        directory: &directory,
    };
    let (partial, out) = (directory.partial().to_owned(), directory.out().to_owned());
    let kept = |failure| kept(failure, &partial, &out);
    let outcome = asking.everything(&asked, !arguments.adapters.is_empty());
    let now = || jiff::Timestamp::now().to_string();
    let (all, costs) = match outcome {
        Ok(read) => read,
        Err(failure) => {
            // How it ended is good to know, and no reason to say anything else.
            let _ = directory.end(&failure.message, &now());
            return Err(kept(failure));
        }
    };
    let names: Vec<&str> = manifest.names().collect();
    let costs = names
        .iter()
        .zip(costs)
        .map(|(name, cost)| ((*name).to_owned(), Value::Object(cost)));
    let results = Results::of(&set, &options, &names, &all, settings).map_err(kept)?;
    results.warn_of_readers();
    let findings = results.findings();
    for snapshot in snapshots.iter().chain(readers.iter().flatten()) {
        remove_rows(&study.allowed, snapshot).map_err(kept)?;
    }
    let finished = directory.finish(costs.collect(), &findings, &now());
    let (manifest, out) = finished.map_err(|error| kept(error.into()))?;
    let printed = match arguments.format {
        OutputFormat::Json => {
            output::json(&json!({ "run": out, "manifest": manifest, "findings": findings }))
        }
        OutputFormat::Human => {
            let published = arguments.with_published;
            output::data(&results.report(&manifest, Some(&out), published).human())
        }
    };
    printed.map_err(|failure| failure.printing(&out))
}

/// What the checkpoints and those who read compute on.
fn machine(
    arguments: &RunArguments,
    snapshots: &[Snapshot],
    readers: &[Option<Snapshot>],
) -> Result<Machine, Failure> {
    let all = snapshots.iter().chain(readers.iter().flatten());
    Ok(Machine::open(
        &arguments.machine.options(),
        all,
        output::events(),
    )?)
}

/// The form in which each checkpoint is asked.
fn forms(arguments: &RunArguments, snapshots: &[Snapshot]) -> Result<Vec<Form>, Failure> {
    let forms = snapshots.iter();
    let forms = forms.map(|snapshot| inputs::form(snapshot, arguments.apply_chat_template));
    forms.collect()
}

/// Begins a run where it was told to, or under a name of its own, and says what was found there.
fn begin(
    arguments: &RunArguments,
    name: &str,
    manifest: &Manifest,
    (set, stimuli): (&QuestionSet, &Stimuli),
) -> Result<RunDirectory, Failure> {
    let table = stimuli.table();
    let directory = match &arguments.out {
        Some(out) => RunDirectory::begin(out, manifest, set, table)?,
        None => RunDirectory::begin_new(Path::new(RUNS), name, manifest, set, table)?,
    };
    for note in directory.notes() {
        output::message(note);
    }
    Ok(directory)
}

/// Refuses checkpoints and readers for which there is too little memory.
fn has_room(
    study: &Study<'_>,
    (snapshots, asked): (&[Snapshot], &[Rc<Asked>]),
    (readers, passage_tokens): (&[Option<Snapshot>], usize),
) -> Result<(), Failure> {
    for (snapshot, asked) in snapshots.iter().zip(asked) {
        study.has_room_for(snapshot, asked)?;
    }
    for reader in readers.iter().flatten() {
        study.has_room_to_read(reader, passage_tokens)?;
    }
    Ok(())
}

/// Removes rows between layers that an attempt on another schedule left.
fn remove_rows(allowed: &Allowed, snapshot: &Snapshot) -> Result<(), Failure> {
    let spill = spill_of(allowed, snapshot);
    let path = spill.folder.clone();
    spill
        .remove_rows()
        .map_err(|source| RunError::File { path, source }.into())
}

/// Says what stands in the way of asking as it was meant: languages that a wording does not know, templates without a system message.
fn say_what_differs(
    (set, options): (&QuestionSet, &Options),
    wordings: &[Stimuli],
    snapshots: &[Snapshot],
    forms: &[Form],
) {
    for wording in wordings.iter().filter(|_| options.sampled > 0) {
        let mut silent = set.languages();
        silent.retain(|language| !wording.asks_letters_in(language));
        if !silent.is_empty() {
            output::message(&format!(
                "The wording `{}` knows no {}: nothing is asked in it there.",
                wording.wording(),
                silent.join(", ")
            ));
        }
    }
    if !set.unread.is_empty() {
        output::message(&format!(
            "Not read of the questions' folder: {}.",
            set.unread.join(", ")
        ));
    }
    for (snapshot, form) in snapshots.iter().zip(forms) {
        if *form == Form::Completion && !snapshot.is_aligned() {
            output::message(&format!(
                "{}: has no chat template, and is asked to complete a text with one example.",
                snapshot.name
            ));
        }
        if *form == Form::Chat && snapshot.folds_system() {
            output::message(&format!(
                "{}: its chat template takes no system message; the system's words stand before the first user message.",
                snapshot.name
            ));
        }
    }
}

/// What was read and what it cost, by checkpoint.
type Read = (Vec<Stored>, Vec<Map<String, Value>>);

/// Who is asked what, and where what they say goes.
struct Asking<'a> {
    study: &'a Study<'a>,
    snapshots: &'a [Snapshot],
    forms: &'a [Form],
    readers: &'a [Option<Snapshot>],
    directory: &'a RunDirectory,
}

impl Asking<'_> {
    /// Asks every checkpoint everything, and lets every reader read what they wrote. `adapted` where the later checkpoints are adapters of the first.
    fn everything(&self, asked: &[Rc<Asked>], adapted: bool) -> Result<Read, Failure> {
        let Self {
            study,
            snapshots,
            forms,
            readers,
            directory,
        } = *self;
        let mut all: Vec<Stored> = Vec::new();
        let mut costs: Vec<Map<String, Value>> = Vec::new();
        let mut base = Base::new(&snapshots[0], adapted);
        let asked_of = snapshots.iter().zip(forms).zip(asked).enumerate();
        for (index, ((snapshot, form), asked)) in asked_of {
            // Adapters are put on the base that is loaded.
            let next = snapshots.get(index + 1).filter(|_| !adapted);
            let mut decoder = study.on_demand(&mut base, snapshot).before(next);
            let journal = directory.journal(What::Readings, &snapshot.name)?;
            let (answers, cost) = study::read(snapshot, asked, journal, &mut decoder)?;
            let mut cost = match cost {
                Value::Object(cost) => cost,
                _ => Map::new(),
            };
            let mut stored = Stored {
                answers,
                ..Stored::default()
            };
            if !asked.texts.is_empty() {
                let journal = directory.journal(What::Texts, &snapshot.name)?;
                let written = study::write(asked, journal, &mut decoder)?;
                stored.texts = written.0;
                cost.insert("texts".into(), written.1);
            }
            if readers.iter().any(Option::is_none) && study.options.has(Format::Open) {
                let journal = directory.journal(What::Stances(SELF_READER), &snapshot.name)?;
                let read = study.stances(snapshot, *form, &stored.texts, journal, &mut decoder)?;
                stored.stances.insert(SELF_READER.to_owned(), read.0);
                cost.insert("stances".into(), json!({ SELF_READER: read.1 }));
            }
            all.push(stored);
            costs.push(cost);
        }
        drop(base);
        for reader in readers.iter().flatten() {
            let form = inputs::form(reader, ChatTemplateUse::Auto)?;
            let mut base = Base::new(reader, false);
            let mut decoder = study.on_demand(&mut base, reader);
            for ((snapshot, stored), cost) in snapshots.iter().zip(&mut all).zip(&mut costs) {
                let journal = directory.journal(What::Stances(&reader.name), &snapshot.name)?;
                let read = study.stances(reader, form, &stored.texts, journal, &mut decoder)?;
                stored.stances.insert(reader.name.clone(), read.0);
                let costs = cost.entry("stances").or_insert_with(|| json!({}));
                costs[&reader.name] = read.1;
            }
        }
        Ok((all, costs))
    }
}

/// The checkpoints that are named, as a pair or one by one.
fn checkpoints(arguments: &RunArguments) -> Result<Vec<Snapshot>, Failure> {
    let names = match &arguments.pair {
        Some(name) => inputs::pair(name)?,
        None => arguments.models.clone(),
    };
    if names.is_empty() {
        output::message(
            "No --model given: running the embedded demo pair, two tiny checkpoints that show how the program works and \
             say nothing about any real model.",
        );
    }
    inputs::checkpoints(&names, &arguments.adapters)
}

/// What is asked, by the flags.
fn options(arguments: &RunArguments, set: &QuestionSet) -> Options {
    let formats = deduplicated(&arguments.formats);
    let letters = formats.contains(&Format::Letter);
    let open = formats.contains(&Format::Open);
    let passages = Passages {
        max_tokens: arguments.passage_tokens,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        argued: arguments.argued as usize,
    };
    Options {
        orders: arguments.orders,
        abstention: if letters || open {
            arguments.abstention
        } else {
            Abstention::Off
        },
        steering: letters && !arguments.no_steering && !set.pvq.is_empty(),
        sampled: if letters {
            arguments.sampled as usize
        } else {
            0
        },
        passages: open.then_some(passages),
        seed: arguments.seed,
        formats,
    }
}

/// Other wordings that a sample is asked in: the project's own, the same in other words, and those that are named.
fn wordings(arguments: &RunArguments, main: &Stimuli) -> Result<Vec<Stimuli>, Failure> {
    let mut wordings = vec![Stimuli::own()?, Stimuli::paraphrased()?];
    for path in &arguments.also_stimuli {
        wordings.push(Stimuli::load(path)?);
    }
    wordings.retain(|wording| wording.digest() != main.digest());
    for (index, wording) in wordings.iter().enumerate() {
        let name = wording.wording();
        if name.contains(':')
            || wordings[..index]
                .iter()
                .any(|other| other.wording() == name)
        {
            let message = format!("two wordings are called `{name}`, or the name has a colon");
            return Err(Failure::usage(message, "rename one of the files"));
        }
    }
    Ok(wordings)
}

/// Who reads the passages: `None` for each checkpoint its own.
fn readers(arguments: &RunArguments, options: &Options) -> Result<Vec<Option<Snapshot>>, Failure> {
    if !options.has(Format::Open) {
        return if arguments.readers.is_empty() {
            Ok(Vec::new())
        } else {
            let help = "add --formats letter,cloze,open";
            Err(Failure::usage(
                "--reader, but no passages are written",
                help,
            ))
        };
    }
    if arguments.readers.is_empty() {
        return Ok(vec![None]);
    }
    let mut names: Vec<&str> = arguments.readers.iter().map(String::as_str).collect();
    let itself = names.contains(&SELF_READER);
    names.retain(|name| *name != SELF_READER);
    let mut readers: Vec<Option<Snapshot>> = itself.then_some(None).into_iter().collect();
    if !names.is_empty() {
        let none: [&str; 0] = [];
        let others = inputs::checkpoints(&names, &none)?;
        if let Some(other) = others.iter().find(|other| other.name == SELF_READER) {
            let message = format!(
                "{}: a reader is called `{SELF_READER}`, which stands for each checkpoint as its own",
                other.path.display()
            );
            return Err(Failure::usage(
                message,
                "rename the folder, or name it by a link of another name",
            ));
        }
        readers.extend(others.into_iter().map(Some));
    }
    Ok(readers)
}

/// Says which flags do nothing in this run.
fn say_what_does_nothing(arguments: &RunArguments, options: &Options) {
    let say = |names: &[&str], why: &str| {
        let names = given(names);
        if !names.is_empty() {
            output::message(&format!("{} {why}.", names.join(", ")));
        }
    };
    if !options.has(Format::Open) {
        let of_passages = ["passage_tokens", "temperature", "top_p", "argued"];
        say(
            &of_passages,
            "without effect: no passages are written (--formats open)",
        );
    } else if arguments.temperature == 0.0 {
        say(
            &["top_p"],
            "without effect: at temperature 0 the most probable token is taken",
        );
    }
    if arguments.format == OutputFormat::Json {
        say(
            &["with_published"],
            "without effect: JSON has what was measured alone (--format human)",
        );
    }
    if !options.has(Format::Letter) && !options.has(Format::Open) {
        say(
            &["orders"],
            "without effect: no options are listed (--formats letter)",
        );
    }
    if !options.has(Format::Letter) {
        say(
            &["sampled", "also_stimuli", "no_steering"],
            "without effect: no letters are asked (--formats letter)",
        );
        if !options.has(Format::Open) {
            say(
                &["abstention"],
                "without effect: no letters are asked (--formats letter)",
            );
        }
    } else if arguments.sampled == 0 {
        say(
            &["also_stimuli"],
            "without effect: no questions are sampled (--sampled)",
        );
    }
}

fn say_what_is_asked(arguments: &RunArguments, set: &QuestionSet, options: &Options) {
    say_what_does_nothing(arguments, options);
    if arguments.questions.is_none() {
        output::message("No --questions given: asking the embedded demo questions.");
    }
    let letters = options.has(Format::Letter);
    if set.pvq.is_empty() && letters && !arguments.no_steering && arguments.questions.is_some() {
        output::message(
            "No portraits (pvq_LANGUAGE.jsonl) among the questions: steering is not measured.",
        );
    }
}

fn selected(arguments: &RunArguments) -> Result<QuestionSet, Failure> {
    let mut set = inputs::questions(arguments.questions.as_deref())?;
    if !arguments.languages.is_empty() {
        let known = set.languages();
        if let Some(unknown) = arguments
            .languages
            .iter()
            .find(|language| !known.contains(language))
        {
            let help = format!("there are {}", known.join(", "));
            return Err(Failure::usage(
                format!("no questions in the language `{unknown}`"),
                help,
            ));
        }
        set.keep_languages(&arguments.languages);
    }
    if let Some(limit) = arguments.limit {
        set.keep_first_originals(limit as usize);
    }
    if set.is_empty() {
        let message = "there is no question to ask (PVQ items alone are not a study yet)";
        return Err(Failure::new(
            ExitStatus::QuestionData,
            message,
            "add question files",
        ));
    }
    Ok(set)
}

fn deduplicated<T: Copy + PartialEq>(list: &[T]) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for item in list {
        if !kept.contains(item) {
            kept.push(*item);
        }
    }
    kept
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
    let quoted = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.to_owned()
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    };
    let words = std::env::args_os().map(|word| quoted(&word.to_string_lossy()));
    let mut words: Vec<String> = words.collect();
    if given(&["out"]).is_empty() {
        words.extend(["--out".to_owned(), quoted(&out.to_string_lossy())]);
    }
    words.join(" ")
}
