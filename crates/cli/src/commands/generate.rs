//! `concord generate`: texts after prompts of the user's own.

use super::inputs;
use super::lines::{self, Line};
use crate::arguments::GenerateArguments;
use crate::device::Machine;
use crate::failure::{ExitStatus, Failure};
use crate::memory::Allowed;
use crate::output::{self, JsonLines};
use crate::progress::{TextBar, stop_on_interrupt, was_interrupted};
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_decoder::Decoder;
use concord_readings::{Finish, LogProb, Prompt, Read, Reading, Sampling};
use concord_scorer::{Demand, Schedule, Scorer, ScorerError, lengths};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::ControlFlow;
use std::time::Instant;

/// A line asks nothing of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A line of output.
#[derive(Serialize)]
struct Written<'a> {
    id: &'a Value,
    prompt_tokens: usize,
    text: &'a str,
    finish: Finish,
    tokens: &'a [u32],
    log_probs: &'a [LogProb],
}

/// Writes after every line, and answers in input order.
pub fn generate(arguments: &GenerateArguments) -> Result<(), Failure> {
    let lines: Vec<Line<Nothing>> = lines::read(&arguments.prompts, "")?;
    let sampling = Sampling {
        max_tokens: arguments.max_tokens,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        seed: arguments.seed,
        stop: arguments.stop.clone(),
    };
    if let Some(problem) = sampling.problem() {
        return Err(Failure::usage(
            problem.to_owned(),
            "see `concord generate --help`",
        ));
    }
    let prompts: Vec<Prompt> = lines
        .iter()
        .map(|line| Prompt {
            id: line.name(),
            input: line.input.clone(),
            reads: vec![Read::Generation(sampling.clone())],
        })
        .collect();
    let snapshot = inputs::adapted(&arguments.model, arguments.adapter.as_deref())?;
    let machine = Machine::open(&arguments.machine, [&snapshot])?;
    let (schedule, dtype) = planned(arguments, &machine, &snapshot, &prompts)?;
    let begun = Instant::now();
    let decoders = machine.load(&schedule, &snapshot, dtype)?;
    let loaded = begun.elapsed().as_secs_f64();
    let scorer = Scorer::new(&snapshot, &decoders[0]).sharing(decoders[1..].iter().collect());
    stop_on_interrupt();
    let begun = Instant::now();
    let bar = TextBar::new("generate", prompts.len() as u64);
    let mut readings: Vec<Option<Reading>> = vec![None; prompts.len()];
    let outcome = scorer.generate(&prompts, |progress, ended| {
        bar.show(progress);
        for (number, reading) in ended {
            readings[number] = Some(reading);
        }
        if was_interrupted() && progress.texts_done < progress.texts {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    bar.finish();
    let stopped = matches!(outcome, Err(ScorerError::Stopped));
    if !stopped {
        let counts = outcome.map_err(|error| Failure::from(error).of(&snapshot.name))?;
        let seconds = begun.elapsed().as_secs_f64();
        output::message(&format!(
            "loaded in {loaded:.1} s; {} texts, {} tokens, {} prompt rows, {} steps, {seconds:.1} s, {:.1} tokens/s",
            counts.texts,
            counts.tokens,
            counts.prompt_rows,
            counts.steps,
            counts.tokens as f64 / seconds,
        ));
    }
    // What was written before a stop is given all the same.
    let mut out = JsonLines::new();
    for (line, reading) in lines.iter().zip(&readings) {
        let Some(reading) = reading else { continue };
        let Some(text) = reading.generation() else {
            continue;
        };
        out.write(&Written {
            id: &line.id,
            prompt_tokens: reading.tokens,
            text: &text.text,
            finish: text.finish,
            tokens: &text.tokens,
            log_probs: &text.log_probs,
        })?;
    }
    out.finish()?;
    if stopped {
        let done = readings.iter().flatten().count();
        let message = format!("stopped; {done} of {} texts were written", readings.len());
        return Err(Failure::new(ExitStatus::Incomplete, message, ""));
    }
    Ok(())
}

/// The schedule that the texts fit on, and what products multiply.
fn planned(
    arguments: &GenerateArguments,
    machine: &Machine,
    snapshot: &Snapshot,
    prompts: &[Prompt],
) -> Result<(Schedule, DType), Failure> {
    let (dtype, config) = (machine.dtype(snapshot), machine.config());
    let lengths =
        lengths(snapshot, prompts).map_err(|error| Failure::from(error).of(&snapshot.name))?;
    let longest = lengths.iter().max().copied().unwrap_or(0) + arguments.max_tokens;
    let sizes = Decoder::weight_sizes(snapshot, dtype, machine.first(), false);
    let allowed = Allowed::by(&arguments.machine, &std::env::temp_dir());
    let memory = machine.plan(
        &allowed,
        &snapshot.name,
        &[Demand {
            spec: &snapshot.spec,
            weights: &sizes,
            engine: machine.first(),
            dtype,
            config: &config,
            rows: lengths.iter().sum::<usize>() as u64,
            positions: longest as u64,
            readings: (16 * arguments.max_tokens * prompts.len()) as u64,
            texts: prompts.len() as u64,
        }],
    )?;
    if memory.schedule != Schedule::PassMajor {
        output::message(
            "every layer is read again for each token that is written: this takes long",
        );
    }
    Ok((memory.schedule, dtype))
}
