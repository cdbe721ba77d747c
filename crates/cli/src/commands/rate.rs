//! `concord rate`: one more rater for the texts of a stored run.

use super::engine::{Engine, style};
use super::identity::of_described;
use super::inputs;
use super::results::{Opened, exhibits, settings_of, warn};
use crate::arguments::{ChatTemplateUse, OutputFormat, RateArguments, Statistics};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::stop_on_interrupt;
use concord_readings::{Form, PromptStyle, Readings};
use concord_report::terminal;
use concord_runs::What;
use concord_session::{Allowed, Base, Machine};
use concord_suites::{CheckpointReadings, SELF_RATER, Show, Step, Subject};
use serde_json::{Value, json};

/// Lets a checkpoint rate what the run's checkpoints wrote, and measures the run again.
pub fn rate(arguments: &RateArguments) -> Result<(), Failure> {
    let opened = Opened::open(&arguments.run)?;
    let lock = opened.run.lock()?;
    for note in lock.notes() {
        output::message(note);
    }
    let no_texts = |problem: &str, help: &str| {
        let run = arguments.run.display();
        Failure::usage(format!("{run}: {problem}"), help)
    };
    if let Err(help) = opened.study.is_rated() {
        let problem = "nothing was written in this run that could be rated";
        return Err(no_texts(problem, help));
    }
    let none: [&str; 0] = [];
    let raters = inputs::checkpoints(&[&arguments.rater], &none)?;
    let rater = &raters[0];
    inputs::may_rate(rater)?;
    is_new(&opened, &rater.name)?;
    let form = inputs::form(rater, ChatTemplateUse::Auto)?;
    let machine = Machine::open(&arguments.machine.options(), [rater], output::events())?;
    let described = inputs::described(rater, form, &machine)?;
    // What was begun with other weights under the same name is not gone on with.
    let identity = identity(&described);
    let engine = Engine {
        study: &*opened.study,
        snapshots: &[],
        forms: &[],
        raters: &[],
        adapted: false,
        machine,
        allowed: Allowed::by(&arguments.machine.options(), &arguments.run),
        cache: inputs::cache(arguments.no_cache),
        allowed_apart: Vec::new(),
        shard: None,
    };
    stop_on_interrupt();
    let mut manifest = opened.run.manifest.clone();
    let mut base = Base::new(rater, false);
    let mut decoder = engine.on_demand(&mut base, rater);
    let style = style(rater, form);
    let read = opened.names.iter().map(|name| opened.readings(name));
    let mut read = read.collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    let round = rated_round(&opened, &mut read)?;
    let what = What::rated(round, &rater.name);
    for (name, mut readings) in opened.names.iter().zip(read) {
        let journal = opened.run.added_journal(what, &identity, name)?;
        let read = engine.rate(rater, style, &readings, journal, &mut decoder);
        let (rated, cost) = read.map_err(|failure| {
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
        let ratings = readings.ratings.entry(round.to_owned()).or_default();
        ratings.insert(rater.name.clone(), rated);
        let results = manifest.progress.get_mut(name);
        if let Some(results) = results.and_then(Value::as_object_mut) {
            let costs = results.entry(round).or_insert_with(|| json!({}));
            if let Some(costs) = costs.as_object_mut() {
                costs.insert(rater.name.clone(), cost);
            }
        }
        let name = name.clone();
        all.push(CheckpointReadings { name, readings });
    }

    manifest.identity.raters.push(of_described(&described));
    manifest.raters.push(described);
    let names: Vec<&str> = opened.names.iter().map(String::as_str).collect();
    let settings = settings_of(&manifest, None, &Statistics::default());
    let found = opened.beside_excluded(opened.study.measure(settings, &all)?);
    warn(&*found);
    opened.run.add(what, &identity, &names)?;
    opened.run.update(&manifest, &found.json())?;
    match arguments.format {
        OutputFormat::Json => output::json(&found.json()),
        OutputFormat::Human => {
            let run = Some(arguments.run.as_path());
            let shown = exhibits(&*found, &*opened.study, &manifest, run, Show::default());
            output::data(&terminal(&shown))
        }
    }
}

/// The round in which the study has texts rated.
fn rated_round(opened: &Opened, read: &mut [Readings]) -> Result<&'static str, Failure> {
    let subject = Subject {
        style: PromptStyle {
            form: Form::Chat,
            lead: "",
        },
    };
    for readings in read {
        let ratings = std::mem::take(&mut readings.ratings);
        let step = opened.study.next(subject, readings);
        readings.ratings = ratings;
        if let Step::Rate(round) = step? {
            return Ok(round);
        }
    }
    Err(Failure::usage(
        format!("{}: has no texts to be rated", opened.folder().display()),
        "run the study again",
    ))
}

/// A short digest of everything that decides what a rater reads.
fn identity(described: &Value) -> String {
    blake3::hash(described.to_string().as_bytes()).to_hex()[..16].to_owned()
}

/// Refuses a rater that has rated the run already. One that was added and not yet measured is let through, to finish.
fn is_new(opened: &Opened, rater: &str) -> Result<(), Failure> {
    let known: Vec<&str> = opened.run.manifest.rater_names().collect();
    if known.contains(&rater) || rater == SELF_RATER {
        let message = format!(
            "{}: `{rater}` has rated it already",
            opened.folder().display()
        );
        return Err(Failure::usage(
            message,
            format!("its raters are {}", known.join(", ")),
        ));
    }
    Ok(())
}
