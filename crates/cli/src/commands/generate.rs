//! `concord generate`: texts after prompts of the user's own.

use super::answers::Answers;
use super::inputs;
use super::lines::{Line, Lines};
use crate::arguments::{GenerateArguments, given};
use crate::device::Machine;
use crate::failure::{ExitStatus, Failure};
use crate::memory::Allowed;
use crate::output::{self, JsonLines};
use crate::progress::{TextBar, stop_on_interrupt, was_interrupted};
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_decoder::Decoder;
use concord_readings::{Finish, LogProb, Prompt, Read, Reading, Sampling};
use concord_scorer::{Demand, GenerationCounts, Schedule, Scorer, ScorerError, lengths};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::ControlFlow;
use std::time::Instant;

/// A line asks nothing of its own.
#[derive(Deserialize)]
struct Nothing {}

/// The fields of an answer.
const ANSWER: [&str; 6] = [
    "id",
    "prompt_tokens",
    "text",
    "finish",
    "tokens",
    "log_probs",
];
/// Fields that `concord score` takes, and that would be asked in vain.
const ELSEWHERE: [&str; 3] = ["continuations", "labels", "openings"];

/// A line of output.
#[derive(Serialize)]
struct Written<'a> {
    id: &'a Value,
    #[serde(flatten)]
    own: &'a Map<String, Value>,
    prompt_tokens: usize,
    text: &'a str,
    finish: Finish,
    tokens: &'a [u32],
    log_probs: &'a [LogProb],
}

/// Writes after every line, and answers in input order, as the texts end.
pub fn generate(arguments: &GenerateArguments) -> Result<(), Failure> {
    let mut lines = Lines::open(&arguments.prompts, "", &[], &ANSWER)?;
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
    if arguments.temperature == 0.0 {
        for flag in given(&["top_p", "seed"]) {
            output::message(&format!(
                "{flag} without effect: at temperature 0 the most probable token is taken."
            ));
        }
    }
    let mut window: Vec<Line<Nothing>> = lines.next()?;
    let mut prompts = asked(&window, &sampling)?;
    let snapshot = inputs::adapted(&arguments.model, arguments.adapter.as_deref())?;
    let machine = Machine::open(&arguments.machine, [&snapshot])?;
    let growth = lines.growth();
    let (schedule, dtype) = planned(arguments, &machine, &snapshot, &prompts, growth)?;
    let begun = Instant::now();
    let decoders = machine.load(&schedule, &snapshot, dtype)?;
    let loaded = begun.elapsed().as_secs_f64();
    let scorer = Scorer::new(&snapshot, &decoders[0]).sharing(decoders[1..].iter().collect());
    stop_on_interrupt();
    let begun = Instant::now();
    let mut done = GenerationCounts::default();
    let mut out = JsonLines::new();
    loop {
        let bar = TextBar::new("generate", prompts.len() as u64);
        let mut answers = Answers::new(prompts.len(), &mut out, |out, index, reading| {
            write(out, &window[index], reading)
        });
        let outcome = scorer.generate(&prompts, |progress, ended| {
            bar.show(progress);
            answers.take(ended)?;
            if was_interrupted() && progress.texts_done < progress.texts {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        bar.finish();
        let answered = answers.finish()?;
        let stopped = matches!(outcome, Err(ScorerError::Stopped));
        let before = done.texts;
        if !stopped {
            let counts = outcome.map_err(|error| Failure::from(error).of(&snapshot.name))?;
            done.texts += counts.texts;
            done.tokens += counts.tokens;
            done.prompt_rows += counts.prompt_rows;
            done.steps += counts.steps;
        }
        let written = before + answered;
        if !stopped {
            window = lines.next()?;
        }
        let is_over = !stopped && window.is_empty() && lines.ended;
        if stopped || (was_interrupted() && !is_over) {
            let message = format!(
                "stopped; {written} of the {} texts that were asked for were written",
                lines.count
            );
            let help = "the texts that were written are whole; ask for the rest again";
            return Err(Failure::new(ExitStatus::Incomplete, message, help));
        }
        if window.is_empty() {
            break;
        }
        prompts = asked(&window, &sampling)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    output::message(&format!(
        "loaded in {loaded:.1} s; {} texts, {} tokens, {} prompt rows, {} steps, {seconds:.1} s, {:.1} tokens/s",
        done.texts,
        done.tokens,
        done.prompt_rows,
        done.steps,
        done.tokens as f64 / seconds,
    ));
    Ok(())
}

/// The prompts of lines.
fn asked(lines: &[Line<Nothing>], sampling: &Sampling) -> Result<Vec<Prompt>, Failure> {
    let prompts = lines.iter().map(|line| {
        if let Some(name) = line
            .own
            .keys()
            .find(|name| ELSEWHERE.contains(&name.as_str()))
        {
            let message = format!(
                "prompt `{}`: a text is written after it, and `{name}` is not read",
                line.name()
            );
            return Err(Failure::new(
                ExitStatus::QuestionData,
                message,
                "`concord score` reads it",
            ));
        }
        Ok(Prompt {
            id: line.name(),
            input: line.input.clone(),
            reads: vec![Read::Generation(sampling.clone())],
        })
    });
    prompts.collect()
}

/// Writes the text after a line.
fn write(out: &mut JsonLines, line: &Line<Nothing>, reading: &Reading) -> Result<(), Failure> {
    let Some(text) = reading.generation() else {
        return Ok(());
    };
    out.write(&Written {
        id: &line.id,
        own: &line.own,
        prompt_tokens: reading.tokens,
        text: &text.text,
        finish: text.finish,
        tokens: &text.tokens,
        log_probs: &text.log_probs,
    })
}

/// The schedule that the texts fit on, and what products multiply.
fn planned(
    arguments: &GenerateArguments,
    machine: &Machine,
    snapshot: &Snapshot,
    prompts: &[Prompt],
    growth: u64,
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
            readings: growth * (16 * arguments.max_tokens * prompts.len()) as u64,
            texts: growth * prompts.len() as u64,
        }],
    )?;
    if memory.schedule != Schedule::PassMajor {
        output::message(
            "every layer is read again for each token that is written: this takes long",
        );
    }
    Ok((memory.schedule, dtype))
}
