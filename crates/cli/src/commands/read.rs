//! `concord read`: one more reader for the passages of a stored run.

use super::identity::of_described;
use super::inputs;
use super::results::{Opened, Results, settings_of};
use super::study::Study;
use crate::arguments::{ChatTemplateUse, OutputFormat, ReadArguments};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::stop_on_interrupt;
use concord_questions::Stimuli;
use concord_session::{Allowed, Base, Machine};
use concord_suites::valueconsistency::{Format, SELF_READER};
use serde_json::{Map, Value, json};

/// Lets a checkpoint read what the run's checkpoints wrote, and measures the run again.
pub fn read(arguments: &ReadArguments) -> Result<(), Failure> {
    let opened = Opened::open(&arguments.run)?;
    let lock = opened.run.lock()?;
    for note in lock.notes() {
        output::message(note);
    }
    if !opened.options.has(Format::Open) {
        let message = format!(
            "{}: no passages were written in this run",
            arguments.run.display()
        );
        return Err(Failure::usage(
            message,
            "run the study with --formats letter,cloze,open",
        ));
    }
    let table: Option<Map<String, Value>> = opened.run.stimuli()?;
    let Some(table) = table else {
        let message = format!(
            "{}: the run does not have its wording",
            arguments.run.display()
        );
        return Err(Failure::usage(message, "run the study again"));
    };
    let stimuli = Stimuli::stored("the run's wording", table);
    let none: [&str; 0] = [];
    let readers = inputs::checkpoints(&[&arguments.reader], &none)?;
    let reader = &readers[0];
    is_new(&opened, &reader.name)?;
    let form = inputs::form(reader, ChatTemplateUse::Auto)?;
    let machine = Machine::open(&arguments.machine.options(), [reader], output::events())?;
    let described = inputs::described(reader, form, &machine)?;
    // What was begun with other weights under the same name is not gone on with.
    let identity = identity(&described);
    let study = Study {
        set: &opened.run.questions,
        stimuli: &stimuli,
        wordings: &[],
        options: &opened.options,
        machine,
        allowed: Allowed::by(&arguments.machine.options(), &arguments.run),
    };
    stop_on_interrupt();
    let mut manifest = opened.run.manifest.clone();
    let mut base = Base::new(reader, false);
    let mut decoder = study.on_demand(&mut base, reader);
    let mut all = Vec::new();
    for name in &opened.names {
        let mut stored = opened.stored(name)?;
        let journal = opened.run.added_journal(&reader.name, &identity, name)?;
        let read = study.stances(reader, form, &stored.texts, journal, &mut decoder);
        let (stances, cost) = read.map_err(|failure| {
            if failure.status == ExitStatus::Incomplete {
                let message = "stopped; what was read is kept with the run";
                return Failure::new(
                    ExitStatus::Incomplete,
                    message,
                    "the same command goes on from here",
                );
            }
            failure
        })?;
        stored.stances.insert(reader.name.clone(), stances);
        let results = manifest.progress.get_mut(name);
        if let Some(results) = results.and_then(Value::as_object_mut) {
            let stances = results.entry("stances").or_insert_with(|| json!({}));
            if let Some(stances) = stances.as_object_mut() {
                stances.insert(reader.name.clone(), cost);
            }
        }
        all.push(stored);
    }

    manifest.identity.readers.push(of_described(&described));
    manifest.readers.push(described);
    let names: Vec<&str> = opened.names.iter().map(String::as_str).collect();
    let settings = settings_of(&manifest, None, None);
    let results = Results::of(
        &opened.run.questions,
        &opened.options,
        &names,
        &all,
        settings,
    )?;
    results.warn_of_readers();
    let findings = results.findings();
    opened.run.add(&reader.name, &identity, &names)?;
    opened.run.update(&manifest, &findings)?;
    match arguments.format {
        OutputFormat::Json => output::json(&findings),
        OutputFormat::Human => output::data(
            &results
                .report(&manifest, Some(&arguments.run), false)
                .human(),
        ),
    }
}

/// A short digest of everything that decides what a reader reads.
fn identity(described: &Value) -> String {
    blake3::hash(described.to_string().as_bytes()).to_hex()[..16].to_owned()
}

/// Refuses a reader that has read the run already. One that was added and not yet measured is let through, to finish.
fn is_new(opened: &Opened, reader: &str) -> Result<(), Failure> {
    let known: Vec<&str> = opened.run.manifest.reader_names().collect();
    if known.contains(&reader) || reader == SELF_READER {
        let message = format!(
            "{}: `{reader}` has read it already",
            opened.folder().display()
        );
        return Err(Failure::usage(
            message,
            format!("its readers are {}", known.join(", ")),
        ));
    }
    Ok(())
}
