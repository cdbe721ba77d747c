//! `concord score`: exact log-probabilities after prompts of the user's own.

use super::inputs;
use super::lines::{self, Line};
use crate::arguments::ScoreArguments;
use crate::device::{Machine, sharing};
use crate::failure::Failure;
use crate::memory::Allowed;
use crate::output::{self, JsonLines};
use crate::progress::{Bar, stop_on_interrupt, stop_wanted};
use concord_decoder::Decoder;
use concord_readings::{Answer, Continuation, LabelReading, Prompt, Read, Reading, TokenReading};
use concord_scorer::{Demand, LabelTable, Plan, Scorer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What is asked after a prompt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    continuations: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    openings: Vec<String>,
}

/// A line of output.
#[derive(Serialize)]
struct Scored<'a> {
    id: &'a Value,
    prompt_tokens: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    continuations: Vec<ScoredContinuation<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [LabelReading],
    #[serde(skip_serializing_if = "Option::is_none")]
    label_mass: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_is_label: Option<bool>,
    entropy: f64,
    top: &'a [TokenReading],
}

#[derive(Serialize)]
struct ScoredContinuation<'a> {
    #[serde(flatten)]
    continuation: &'a Continuation,
    log_prob_per_token: f64,
    log_prob_per_byte: f64,
}

/// Scores every line and answers in input order.
pub fn score(arguments: &ScoreArguments) -> Result<(), Failure> {
    let (ids, prompts) = prompts(&arguments.prompts)?;
    let snapshot = inputs::adapted(&arguments.model, arguments.adapter.as_deref())?;
    let machine = Machine::open(&arguments.machine, [&snapshot])?;
    let dtype = machine.dtype(&snapshot);
    let table = Arc::new(LabelTable::new(&snapshot.vocabulary));
    let plan = Plan::new(&snapshot, &table, &prompts)
        .map_err(|error| Failure::from(error).of(&snapshot.name))?;
    let (engine, config) = (machine.first(), machine.config());
    let sizes = Decoder::weight_sizes(&snapshot, dtype, engine, false);
    let demand = Demand::of(&plan, &snapshot.spec, &sizes, (engine, dtype), &config);
    let allowed = Allowed::by(&arguments.machine, &std::env::temp_dir());
    let memory = machine.plan(&allowed, &snapshot.name, &[demand])?;
    let begun = Instant::now();
    let decoders = machine.load(&memory.schedule, &snapshot, dtype)?;
    let loaded = begun.elapsed().as_secs_f64();
    let scorer = Scorer::with_table(&snapshot, &decoders[0], table);
    let scorer = sharing(scorer, &decoders[1..], &memory);
    stop_on_interrupt();
    let begun = Instant::now();
    let bar = Bar::new("score", plan.trie.len() as u64);
    let mut readings: Vec<Option<Reading>> = vec![None; prompts.len()];
    let outcome = scorer.run(&plan, &memory.schedule, |progress, done| {
        bar.show(progress);
        for (index, reading) in done {
            readings[index] = Some(reading);
        }
        if stop_wanted(progress) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    bar.finish();
    let (counts, _) = outcome.map_err(|error| Failure::from(error).of(&snapshot.name))?;
    output::message(&format!(
        "loaded in {loaded:.1} s; {} prompts, {} tokens asked, {} trie rows, {} rows computed, {:.1} prompts/s",
        counts.prompts,
        counts.tokens_asked,
        counts.trie_rows,
        counts.rows_computed,
        counts.prompts as f64 / begun.elapsed().as_secs_f64(),
    ));
    let mut lines = JsonLines::new();
    for (id, reading) in ids.iter().zip(readings.iter().flatten()) {
        lines.write(&scored(id, reading))?;
    }
    lines.finish()
}

/// The prompts of a file, with their ids.
fn prompts(path: &Path) -> Result<(Vec<Value>, Vec<Prompt>), Failure> {
    let help = ", \"continuations\": [texts] and/or \"labels\": [texts]";
    let lines: Vec<Line<Asked>> = lines::read(path, help)?;
    let prompts = lines.into_iter().map(|line| {
        let id = line.name();
        let mut reads = vec![Read::NextToken {
            labels: line.asked.labels,
            openings: line.asked.openings,
        }];
        let texts = line.asked.continuations.into_iter();
        reads.extend(texts.map(|text| Read::Continuation { text }));
        let input = line.input;
        (line.id, Prompt { id, input, reads })
    });
    Ok(prompts.unzip())
}

fn scored<'a>(id: &'a Value, reading: &'a Reading) -> Scored<'a> {
    let next = reading.next_token();
    let labels = next.map_or(&[][..], |next| &next.labels);
    Scored {
        id,
        prompt_tokens: reading.tokens,
        continuations: reading
            .answers
            .iter()
            .filter_map(|answer| match answer {
                Answer::Continuation(continuation) => Some(ScoredContinuation {
                    continuation,
                    log_prob_per_token: continuation.per_token(),
                    log_prob_per_byte: continuation.per_byte(),
                }),
                _ => None,
            })
            .collect(),
        labels,
        label_mass: next
            .filter(|_| !labels.is_empty())
            .map(|next| next.label_mass.get()),
        top_is_label: next
            .filter(|_| !labels.is_empty())
            .map(|next| next.top_is_label),
        entropy: next.map_or(0.0, |next| next.entropy.get()),
        top: next.map_or(&[][..], |next| &next.top),
    }
}
