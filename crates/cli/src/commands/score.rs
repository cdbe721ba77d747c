//! `concord score`: exact log-probabilities after prompts of the user's own.

use super::inputs;
use crate::arguments::ScoreArguments;
use crate::failure::{ExitStatus, Failure};
use crate::output::{self, JsonLines};
use crate::progress::{Bar, stop_on_interrupt, stop_wanted};
use concord_decoder::Decoder;
use concord_kernels::KernelConfig;
use concord_readings::{
    Answer, Continuation, Input, LabelReading, Message, Prompt, Read, Reading, TokenReading,
};
use concord_scorer::Scorer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// A line of input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<Value>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
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
    let (ids, prompts) = read_prompts(&arguments.prompts)?;
    let mut snapshot = inputs::checkpoint(&arguments.model)?;
    if let Some(adapter) = &arguments.adapter {
        snapshot = inputs::adapter(&snapshot, adapter)?;
    }
    let dtype = inputs::dtype(arguments.dtype, &snapshot);
    let begun = Instant::now();
    let decoder = Decoder::load(&snapshot, dtype, KernelConfig::cpu())?;
    let loaded = begun.elapsed().as_secs_f64();
    let scorer = Scorer::new(&snapshot, &decoder);
    let plan = scorer
        .plan(&prompts)
        .map_err(|error| Failure::from(error).of(&snapshot.name))?;
    stop_on_interrupt();
    let begun = Instant::now();
    let bar = Bar::new("score", plan.trie.len() as u64);
    let mut readings: Vec<Option<Reading>> = vec![None; prompts.len()];
    let outcome = scorer.run(&plan, |progress, done| {
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
    let counts = outcome.map_err(|error| Failure::from(error).of(&snapshot.name))?;
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
                Answer::NextToken(_) => None,
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

/// The lines of a file or of stdin, with their ids (their numbers from 0 where they have none).
fn read_prompts(path: &Path) -> Result<(Vec<Value>, Vec<Prompt>), Failure> {
    let bad = |problem: String| {
        let help = "a line is {\"id\": …, \"prompt\": text or \"messages\": [{\"role\", \"content\"}], \
                    \"continuations\": [texts] and/or \"labels\": [texts]}";
        Failure::new(
            ExitStatus::QuestionData,
            format!("{}{problem}", path.display()),
            help,
        )
    };
    let mut text = String::new();
    let outcome = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    outcome.map_err(|error| bad(format!(": cannot be read: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (mut ids, mut prompts) = (Vec::new(), Vec::new());
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let at = |problem: String| bad(format!(":{}: {problem}", index + 1));
        let line: Line = serde_json::from_str(line).map_err(|error| at(error.to_string()))?;
        let input = match (line.prompt, line.messages) {
            (Some(text), None) => Input::Text(text),
            (None, Some(messages)) if !messages.is_empty() => Input::Conversation(messages),
            (None, Some(_)) => return Err(at("`messages` is empty".to_owned())),
            (Some(_), Some(_)) => {
                return Err(at("both `prompt` and `messages` are given".to_owned()));
            }
            (None, None) => return Err(at("neither `prompt` nor `messages` is given".to_owned())),
        };
        let mut reads = vec![Read::NextToken {
            labels: line.labels,
            openings: line.openings,
        }];
        reads.extend(
            line.continuations
                .into_iter()
                .map(|text| Read::Continuation { text }),
        );
        let id = line.id.unwrap_or_else(|| prompts.len().into());
        let name = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        prompts.push(Prompt {
            id: name,
            input,
            reads,
        });
        ids.push(id);
    }
    if prompts.is_empty() {
        return Err(bad(": no prompt in it".to_owned()));
    }
    Ok((ids, prompts))
}
