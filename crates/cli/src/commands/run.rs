//! `concord run`: from questions to a comparison of checkpoints.

use super::inputs;
use crate::arguments::{ChatTemplateUse, Dtype, OutputFormat, RunArguments};
use crate::bench::processor;
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::{Bar, stop_on_interrupt, stop_wanted};
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_decoder::{Decoder, DecoderError};
use concord_kernels::KernelConfig;
use concord_questions::{QuestionSet, Stimuli};
use concord_readings::Prompt;
use concord_report::{ModelReport, RunReport};
use concord_runs::{Journal, RunDirectory, RunError};
use concord_scorer::{Counts, LabelTable, Plan, Scorer, ScorerError};
use concord_suites::valueconsistency::{
    Comparison, Form, Measured, Options, Settings, compare, from_readings, measure, plan,
};
use serde_json::{Map, Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Runs the study.
pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let set = selected(arguments)?;
    let stimuli = inputs::stimuli(arguments.stimuli.as_deref())?;
    let snapshots = checkpoints(arguments)?;
    say_what_is_asked(arguments, &set);
    let options = Options {
        formats: deduplicated(&arguments.formats),
        orders: arguments.orders,
        seed: arguments.seed,
    };
    let settings = Settings {
        resamples: arguments.resamples.map(|count| count as usize),
        seed: arguments.seed,
    };
    let forms: Vec<Form> = snapshots
        .iter()
        .map(|snapshot| form(snapshot, arguments.apply_chat_template))
        .collect::<Result<_, _>>()?;

    for (snapshot, form) in snapshots.iter().zip(&forms) {
        if *form == Form::Chat && snapshot.folds_system() {
            output::message(&format!(
                "{}: its chat template takes no system message; the system's words stand before the first user message.",
                snapshot.name
            ));
        }
    }
    let started = jiff::Timestamp::now();
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| default_out(started, &snapshots));
    if out.exists() {
        return Err(RunError::Exists { path: out }.into());
    }
    let config = KernelConfig::cpu();
    let study = Study {
        set: &set,
        stimuli: &stimuli,
        options: &options,
        dtype: arguments.dtype,
        config,
    };
    // Everything that can be wrong with a checkpoint is found before the first pass of the first one.
    let asked = study.asked(&snapshots, &forms)?;
    let mut manifest = study.manifest(arguments, settings, &snapshots, &forms)?;
    manifest.insert("started".into(), json!(started.to_string()));
    let directory = RunDirectory::begin(&out, &manifest, &set)?;
    stop_on_interrupt();

    let mut measured: Vec<Measured> = Vec::new();
    let mut results = Map::new();
    let mut base = Base {
        snapshot: &snapshots[0],
        kept: !arguments.adapters.is_empty(),
        decoder: None,
    };
    for (snapshot, asked) in snapshots.iter().zip(&asked) {
        let journal = directory.journal(&snapshot.name)?;
        let (journal, result) = study
            .read(snapshot, asked, journal, &mut base)
            .map_err(|failure| kept(failure, directory.partial(), &out))?;
        results.insert(snapshot.name.clone(), result);
        let answers = from_readings(&set, &options, &journal.close()?)?;
        measured.push(measure(&set, &answers, settings)?);
    }
    manifest.insert("results".into(), Value::Object(results));
    let names: Vec<&str> = snapshots
        .iter()
        .map(|snapshot| snapshot.name.as_str())
        .collect();
    let comparisons = comparisons(&measured, settings);
    let findings = findings(&names, &measured, &comparisons);
    let out = directory.finish(&manifest, &findings)?;

    match arguments.format {
        OutputFormat::Json => {
            output::json(&json!({ "run": out, "manifest": manifest, "findings": findings }))
        }
        OutputFormat::Human => {
            output::data(&report(&names, &measured, comparisons, &manifest, Some(&out)).human())
        }
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

fn say_what_is_asked(arguments: &RunArguments, set: &QuestionSet) {
    if arguments.questions.is_none() {
        output::message("No --questions given: asking the embedded demo questions.");
    }
    let pvq: usize = set.pvq.iter().map(|file| file.items.len()).sum();
    if pvq > 0 {
        output::message(&format!(
            "Not asked: {pvq} PVQ items; this study asks the question files."
        ));
    }
}

/// The later checkpoints against the first.
pub(super) fn comparisons(measured: &[Measured], settings: Settings) -> Vec<Vec<Comparison>> {
    measured
        .iter()
        .skip(1)
        .map(|second| compare(&measured[0], second, settings))
        .collect()
}

/// What is stored and printed of measured checkpoints.
pub(super) fn findings(
    names: &[&str],
    measured: &[Measured],
    comparisons: &[Vec<Comparison>],
) -> Value {
    let models: Map<String, Value> = names
        .iter()
        .zip(measured)
        .map(|(name, measured)| ((*name).to_owned(), json!(measured.findings)))
        .collect();
    let comparisons: Vec<Value> = comparisons
        .iter()
        .zip(names.iter().skip(1))
        .map(|(measures, second)| json!({ "first": names[0], "second": second, "measures": measures }))
        .collect();
    json!({ "models": models, "comparisons": comparisons })
}

/// The tables of measured checkpoints.
pub(super) fn report<'a>(
    names: &[&'a str],
    measured: &'a [Measured],
    comparisons: Vec<Vec<Comparison>>,
    manifest: &Map<String, Value>,
    out: Option<&Path>,
) -> RunReport<'a> {
    let models = names
        .iter()
        .zip(measured)
        .map(|(name, measured)| ModelReport {
            name,
            findings: &measured.findings,
            cost: manifest
                .get("results")
                .and_then(|results| results.get(*name))
                .cloned(),
        });
    RunReport {
        models: models.collect(),
        comparisons,
        limit: manifest.get("limit").and_then(Value::as_u64),
        out: out.map(|out| out.display().to_string()),
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

fn form(snapshot: &Snapshot, template: ChatTemplateUse) -> Result<Form, Failure> {
    match template {
        ChatTemplateUse::Always if !snapshot.is_aligned() => {
            let message = format!(
                "{}: --apply-chat-template, but it has no chat template",
                snapshot.path.display()
            );
            let help = "add chat_template.jinja to the folder, or use --apply-chat-template=auto";
            Err(Failure::new(ExitStatus::Checkpoint, message, help))
        }
        ChatTemplateUse::Always => Ok(Form::Chat),
        ChatTemplateUse::Never => Ok(Form::Completion),
        ChatTemplateUse::Auto => Ok(if snapshot.is_aligned() {
            Form::Chat
        } else {
            Form::Completion
        }),
    }
}

/// `runs/<time>-<last checkpoint>`, with a number where that is taken.
fn default_out(started: jiff::Timestamp, snapshots: &[Snapshot]) -> PathBuf {
    let time = started.strftime("%Y%m%d-%H%M%S");
    let name = snapshots
        .last()
        .map_or("run", |snapshot| snapshot.name.as_str());
    let runs = PathBuf::from("runs");
    let mut out = runs.join(format!("{time}-{name}"));
    for number in 2.. {
        if !out.exists()
            && !out
                .with_file_name(format!("{}.partial", file_name(&out)))
                .exists()
        {
            break;
        }
        out = runs.join(format!("{time}-{name}-{number}"));
    }
    out
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Says what is left of a run that did not finish, and how to go on.
fn kept(failure: Failure, partial: &Path, out: &Path) -> Failure {
    if failure.status == ExitStatus::Incomplete {
        let message = format!("stopped; what was read is kept in {}", partial.display());
        let help = format!(
            "the same command with --out {} goes on from here",
            out.display()
        );
        return Failure::new(ExitStatus::Incomplete, message, help);
    }
    failure.and_help(&format!(
        "what was read before is kept in {}; remove it to begin anew",
        partial.display()
    ))
}

/// What checkpoints that read text alike are asked, laid out before any is asked anything.
struct Asked {
    prompts: Vec<Prompt>,
    table: Arc<LabelTable>,
    plan: Plan,
}

/// The first checkpoint, which stays loaded where adapters are put on it.
struct Base<'a> {
    snapshot: &'a Snapshot,
    kept: bool,
    decoder: Option<Decoder>,
}

/// A decoder for one checkpoint of a run.
enum Loaded<'a> {
    Own(Box<Decoder>),
    Base(&'a Decoder),
}

impl Base<'_> {
    /// The decoder of a checkpoint: the base itself, an adapter put on it, or another.
    fn decoder(
        &mut self,
        snapshot: &Snapshot,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Loaded<'_>, DecoderError> {
        if !self.kept {
            return Ok(Loaded::Own(Box::new(Decoder::load(
                snapshot, dtype, config,
            )?)));
        }
        let decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => Decoder::load(self.snapshot, dtype, config)?,
        };
        let base = self.decoder.insert(decoder);
        Ok(if base.is_base_of(snapshot) {
            Loaded::Own(Box::new(base.adapted(snapshot)?))
        } else {
            Loaded::Base(base)
        })
    }
}

impl Loaded<'_> {
    fn get(&self) -> &Decoder {
        match self {
            Self::Own(decoder) => decoder,
            Self::Base(decoder) => decoder,
        }
    }
}

/// What every checkpoint of a run is asked.
struct Study<'a> {
    set: &'a QuestionSet,
    stimuli: &'a Stimuli,
    options: &'a Options,
    dtype: Dtype,
    config: KernelConfig,
}

impl Study<'_> {
    fn manifest(
        &self,
        arguments: &RunArguments,
        settings: Settings,
        snapshots: &[Snapshot],
        forms: &[Form],
    ) -> Result<Map<String, Value>, Failure> {
        let checkpoints: Vec<Value> = snapshots
            .iter()
            .zip(forms)
            .map(|(snapshot, form)| {
                Ok(json!({
                    "name": snapshot.name,
                    "form": form,
                    "origin": snapshot.origin,
                    "template": snapshot.template.as_ref().map(|template| template.traits()),
                    "dtype": inputs::dtype(self.dtype, snapshot).as_str(),
                    "parameters": snapshot.spec.parameters(),
                    "spec": snapshot.spec,
                    "bos_token": snapshot.vocabulary.bos(),
                    "fingerprint": inputs::fingerprint(snapshot)?,
                }))
            })
            .collect::<Result<_, Failure>>()?;
        let manifest = json!({
            "schema": 1,
            "study": "valueconsistency",
            "program": format!("concord {}", env!("CARGO_PKG_VERSION")),
            "checkpoints": checkpoints,
            "paths": {
                "questions": arguments.questions,
                "stimuli": arguments.stimuli,
                "checkpoints": snapshots.iter().map(|snapshot| &snapshot.path).collect::<Vec<_>>(),
            },
            "limit": arguments.limit,
            "questions": {
                "count": self.set.len(),
                "digest": self.set.digest(),
            },
            "stimuli": { "digest": self.stimuli.digest() },
            "options": self.options,
            "statistics": {
                "interval": "95 % BCa",
                "resamples": settings.resamples.map_or(json!("limit"), |count| json!(count)),
                "seed": settings.seed,
            },
            "device": "cpu",
            "kernels": {
                "rows_per_pass": self.config.rows_per_pass,
                "minimum_rows": self.config.minimum_rows,
            },
            "machine": {
                "architecture": std::env::consts::ARCH,
                "system": std::env::consts::OS,
                "processor": processor(),
            },
            "threads": rayon::current_num_threads(),
        });
        match manifest {
            Value::Object(manifest) => Ok(manifest),
            _ => Err(Failure::new(
                ExitStatus::Unexpected,
                "the manifest is no object",
                "",
            )),
        }
    }

    /// What each checkpoint is asked. Adapters that leave tokenizer and template alone share it with their base.
    fn asked(&self, snapshots: &[Snapshot], forms: &[Form]) -> Result<Vec<Rc<Asked>>, Failure> {
        let mut all: Vec<Rc<Asked>> = Vec::new();
        for (index, (snapshot, form)) in snapshots.iter().zip(forms).enumerate() {
            let alike = |(other, other_form): (&Snapshot, &Form)| {
                form == other_form && snapshot.reads_text_as(other)
            };
            let before = snapshots[..index].iter().zip(forms).position(alike);
            if let Some(before) = before {
                all.push(Rc::clone(&all[before]));
                continue;
            }
            let prompts = self.prompts(snapshot, *form)?;
            let table = Arc::new(LabelTable::new(&snapshot.vocabulary));
            let plan = lay_out(snapshot, &table, &prompts)?;
            all.push(Rc::new(Asked {
                prompts,
                table,
                plan,
            }));
        }
        Ok(all)
    }

    fn prompts(&self, snapshot: &Snapshot, form: Form) -> Result<Vec<Prompt>, Failure> {
        let lead = match form {
            Form::Completion if !snapshot.vocabulary.begins_with_space() => " ",
            _ => "",
        };
        Ok(plan(self.set, self.stimuli, form, lead, self.options)?)
    }

    /// Reads every prompt that the journal does not have yet; returns what it cost.
    fn read(
        &self,
        snapshot: &Snapshot,
        asked: &Asked,
        mut journal: Journal,
        base: &mut Base<'_>,
    ) -> Result<(Journal, Value), Failure> {
        let count = asked.prompts.len();
        let is_left = |prompt: &&Prompt| !journal.readings.contains_key(&prompt.id);
        let left = asked.prompts.iter().filter(is_left).count();
        let resumed = count - left;
        if left == 0 {
            return Ok((journal, json!({ "prompts": count, "resumed": resumed })));
        }
        let rest;
        let planned = if resumed > 0 {
            let prompts: Vec<Prompt> = asked.prompts.iter().filter(is_left).cloned().collect();
            rest = lay_out(snapshot, &asked.table, &prompts)?;
            &rest
        } else {
            &asked.plan
        };
        let begun = Instant::now();
        let dtype = inputs::dtype(self.dtype, snapshot);
        let decoder = base
            .decoder(snapshot, dtype, self.config)
            .map_err(|error| Failure::from(error).of(&snapshot.name))?;
        let scorer = Scorer::with_table(snapshot, decoder.get(), Arc::clone(&asked.table));
        let loaded = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let bar = Bar::new(&snapshot.name, planned.trie.len() as u64);
        let mut failed: Option<RunError> = None;
        let outcome = scorer.run(planned, |progress, done| {
            bar.show(progress);
            if let Err(error) = journal.append(done.into_iter().map(|(_, reading)| reading)) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            if stop_wanted(progress) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        bar.finish();
        if let Some(error) = failed {
            return Err(error.into());
        }
        let counts = outcome.map_err(|error| match error {
            ScorerError::Stopped => Failure::new(ExitStatus::Incomplete, "stopped", ""),
            other => Failure::from(other).of(&snapshot.name),
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok((journal, cost(&counts, count, resumed, loaded, seconds)))
    }
}

/// Tokenises prompts and lays out their trie.
fn lay_out(snapshot: &Snapshot, table: &LabelTable, prompts: &[Prompt]) -> Result<Plan, Failure> {
    Plan::new(snapshot, table, prompts).map_err(|error| Failure::from(error).of(&snapshot.name))
}

fn cost(counts: &Counts, asked: usize, resumed: usize, loaded: f64, seconds: f64) -> Value {
    json!({
        "prompts": asked,
        "resumed": resumed,
        "tokens_asked": counts.tokens_asked,
        "trie_rows": counts.trie_rows,
        "rows_computed": counts.rows_computed,
        "rows_read": counts.rows_read,
        "passes": counts.passes,
        "load_seconds": loaded,
        "seconds": seconds,
        "prompts_per_s": counts.prompts as f64 / seconds,
        "rows_per_s": counts.rows_computed as f64 / seconds,
    })
}
