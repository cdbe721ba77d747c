//! `concord generate`: texts after prompts of the user's own.

use super::answers::{Answers, NotAnswered};
use super::inputs;
use super::lines::{Form, Line, Lines};
use crate::arguments::{GenerateArguments, given};
use crate::failure::{ExitStatus, Failure};
use crate::output::{self, JsonLines};
use crate::progress::{TextBar, stop_on_interrupt, was_interrupted};
use concord_checkpoint::Snapshot;
use concord_readings::{Finish, LogProb, Prompt, Read, Reading, Sampling};
use concord_scorer::{GenerationCounts, Schedule, ScorerError, possible_lengths};
use concord_session::{Allowed, Asks, Base, Event, Machine, OnDemand};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

/// A line asks nothing of its own.
#[derive(Deserialize)]
struct Nothing {}

/// Who reads what is asked of the next token.
const SCORE: &str = "`concord score` reads it";

/// What lines are like.
const FORM: Form = Form {
    help: "",
    fields: &[],
    taken: &[
        "id",
        "prompt_tokens",
        "text",
        "finish",
        "tokens",
        "log_probs",
        "error",
    ],
    elsewhere: &[
        ("continuations", SCORE),
        ("labels", SCORE),
        ("openings", SCORE),
        ("strings", SCORE),
        ("max_tokens", "--max-tokens is for all"),
        ("temperature", "--temperature is for all"),
        ("top_p", "--top-p is for all"),
        ("seed", "--seed is for all"),
        ("stop", "--stop is for all"),
    ],
};

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
    let mut lines = Lines::open(&arguments.prompts, FORM)?;
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
    let read: Vec<Line<Nothing>> = lines.next()?;
    let snapshot = inputs::adapted(&arguments.model, arguments.adapter.as_deref())?;
    inputs::is_here(&snapshot, "generate")?;
    let machine = Machine::open(&arguments.machine.options(), [&snapshot], output::events())?;
    let allowed = Allowed::by(&arguments.machine.options(), &std::env::temp_dir());
    let mut base = Base::new(&snapshot, false);
    let mut decoder = OnDemand::new(&mut base, &snapshot, &machine, &allowed);
    let mut window = Window::of(read, &sampling, &snapshot);
    // Later windows are larger.
    let mut asks = window.asks().times(lines.growth());
    let (_, plan) = decoder.scorer(&asks)?;
    if plan.schedule != Schedule::PassMajor {
        let name = &snapshot.name;
        machine.tell(&Event::TextsByLayer { name });
    }
    stop_on_interrupt();
    let begun = Instant::now();
    let mut done = Done::default();
    let mut out = JsonLines::new();
    loop {
        let (scorer, _) = decoder.scorer(&asks)?;
        let bar = TextBar::new("generate", window.prompts.len() as u64);
        let mut answers = Answers::new(window.lines.len(), &mut out, |out, index, reading| {
            window.write(out, index, reading)
        });
        let impossible = window.problems.keys().map(|index| (*index, nothing()));
        let mut outcome = Ok(GenerationCounts::default());
        if answers.take(impossible).is_continue() {
            outcome = scorer.generate(&window.prompts, |progress, ended| {
                bar.show(progress);
                let of_line = |(number, reading)| (window.numbers[number], reading);
                answers.take(ended.into_iter().map(of_line))?;
                if was_interrupted() && progress.texts_done < progress.texts {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
        }
        bar.finish();
        let written = done.lines + answers.finish()?;
        let stopped = matches!(outcome, Err(ScorerError::Stopped));
        if !stopped {
            let counts = outcome.map_err(|error| Failure::from(error).of(&snapshot.name))?;
            done.add(&counts, window);
            window = Window::of(lines.next()?, &sampling, &snapshot);
        } else if was_interrupted() {
            window = Window::default();
        }
        let is_over = !stopped && window.lines.is_empty() && lines.ended;
        if stopped || (was_interrupted() && !is_over) {
            let message = format!(
                "stopped; {written} of the {} prompts that were read are answered",
                lines.count
            );
            let help = "the texts that were written are whole; ask for the rest again";
            return Err(Failure::new(ExitStatus::Incomplete, message, help));
        }
        if window.lines.is_empty() {
            break;
        }
        asks = window.asks();
    }
    done.say(decoder.seconds, begun.elapsed().as_secs_f64());
    let Some(first) = done.first else {
        return Ok(());
    };
    let more = format!(
        "after {} of {} prompts nothing could be written: this is the first",
        done.problems, done.lines
    );
    Err(Failure::from(first).of(&snapshot.name).and_message(&more))
}

/// What was done of all windows.
#[derive(Default)]
struct Done {
    lines: u64,
    counts: GenerationCounts,
    problems: usize,
    first: Option<ScorerError>,
}

impl Done {
    fn add(&mut self, counts: &GenerationCounts, window: Window) {
        self.lines += window.lines.len() as u64;
        self.counts.texts += counts.texts;
        self.counts.tokens += counts.tokens;
        self.counts.prompt_rows += counts.prompt_rows;
        self.counts.steps += counts.steps;
        self.problems += window.problems.len();
        self.first = self.first.take().or(window.problems.into_values().next());
    }

    fn say(&self, loaded: f64, seconds: f64) {
        let counts = &self.counts;
        output::message(&format!(
            "loaded in {loaded:.1} s; {} texts, {} tokens, {} prompt rows, {} steps, {seconds:.1} s, {:.1} tokens/s",
            counts.texts,
            counts.tokens,
            counts.prompt_rows,
            counts.steps,
            counts.tokens as f64 / seconds,
        ));
    }
}

/// Lines that are written after at once.
#[derive(Default)]
struct Window {
    lines: Vec<Line<Nothing>>,
    /// The prompts that a text can be written after, the lines that they are of, and their lengths.
    prompts: Vec<Prompt>,
    numbers: Vec<usize>,
    lengths: Vec<usize>,
    /// What is wrong with the others, by line.
    problems: BTreeMap<usize, ScorerError>,
}

impl Window {
    fn of(lines: Vec<Line<Nothing>>, sampling: &Sampling, snapshot: &Snapshot) -> Self {
        let prompts = lines.iter().map(|line| Prompt {
            id: line.name(),
            input: line.input.clone(),
            reads: vec![Read::Generation(sampling.clone())],
        });
        let prompts: Vec<Prompt> = prompts.collect();
        let lengths = possible_lengths(snapshot, &prompts);
        let mut window = Self {
            lines,
            ..Self::default()
        };
        for (number, (prompt, length)) in prompts.into_iter().zip(lengths).enumerate() {
            match length {
                Ok(length) => {
                    window.prompts.push(prompt);
                    window.numbers.push(number);
                    window.lengths.push(length);
                }
                Err(problem) => {
                    window.problems.insert(number, problem);
                }
            }
        }
        window
    }

    fn asks(&self) -> Asks {
        Asks::of_texts(&self.prompts, &self.lengths)
    }

    /// Writes the text after a line, or why there is none.
    fn write(&self, out: &mut JsonLines, index: usize, reading: &Reading) -> Result<(), Failure> {
        let line = &self.lines[index];
        if let Some(problem) = self.problems.get(&index) {
            return out.write(&NotAnswered::of(line, problem));
        }
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
}

/// The place of a reading where there is none.
fn nothing() -> Reading {
    Reading {
        id: String::new(),
        tokens: 0,
        answers: Vec::new(),
    }
}
