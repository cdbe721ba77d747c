//! `concord score`: exact log-probabilities after prompts of the user's own.

use super::answers::{Answers, NotAnswered};
use super::inputs;
use super::lines::{Form, Line, Lines};
use crate::arguments::ScoreArguments;
use crate::failure::{ExitStatus, Failure};
use crate::output::{self, JsonLines};
use crate::progress::{Bar, stop_on_interrupt, stop_wanted, was_interrupted};
use concord_readings::{
    Answer, Continuation, LabelReading, Prompt, Read, Reading, Strings, StringsReading,
    TokenReading,
};
use concord_scorer::{Counts, Plan, Schedule, ScorerError};
use concord_session::{Allowed, Asks, Base, Machine, OnDemand};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
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
    strings: Option<Strings>,
}

/// What lines are like.
const FORM: Form = Form {
    help: ", \"continuations\": [texts], \"labels\": [texts] and/or \"strings\": {\"texts\": [texts]}",
    fields: &["continuations", "labels", "openings", "strings"],
    taken: &[
        "id",
        "prompt_tokens",
        "continuations",
        "labels",
        "strings",
        "not_covered",
        "label_mass",
        "top_is_label",
        "entropy",
        "top",
        "error",
    ],
    elsewhere: &[],
};

/// A line of output.
#[derive(Serialize)]
struct Scored<'a> {
    id: &'a Value,
    #[serde(flatten)]
    own: &'a Map<String, Value>,
    prompt_tokens: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    continuations: Vec<ScoredContinuation<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [LabelReading],
    #[serde(skip_serializing_if = "Option::is_none")]
    strings: Option<&'a StringsReading>,
    /// Labels and texts that no token spells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_covered: Vec<&'a str>,
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

/// Scores every line and answers in input order, as the answers come.
pub fn score(arguments: &ScoreArguments) -> Result<(), Failure> {
    let mut lines = Lines::open(&arguments.prompts, FORM)?;
    let mut window = Window::of(lines.next()?);
    let snapshot = inputs::adapted(&arguments.model, arguments.adapter.as_deref())?;
    inputs::is_here(&snapshot, "score")?;
    let machine = Machine::open(&arguments.machine.options(), [&snapshot], output::events())?;
    let allowed = Allowed::by(&arguments.machine.options(), &std::env::temp_dir());
    let mut base = Base::new(&snapshot, false);
    let mut decoder = OnDemand::new(&mut base, &snapshot, &machine, &allowed);
    let table = decoder.table();
    let failed = |error: ScorerError| Failure::from(error).of(&snapshot.name);
    let possible =
        |window: &Window| Plan::of_possible(&snapshot, &table, &window.prompts).map_err(failed);
    let mut planned = possible(&window)?;
    // Later windows are larger.
    let mut asks = Asks::of(&planned.0).times(lines.growth());
    if lines.growth() > 1 && decoder.plan(&asks)?.schedule != Schedule::PassMajor {
        // Each window reads all layers: there is one.
        window.lines_too(lines.rest()?);
        planned = possible(&window)?;
        asks = Asks::of(&planned.0);
    }
    decoder.scorer(&asks)?;
    stop_on_interrupt();
    let begun = Instant::now();
    let mut done = Done::default();
    let mut out = JsonLines::new();
    loop {
        let (plan, problems) = &planned;
        // Its prompts may be longer than those of the first.
        let (scorer, memory) = decoder.scorer(&asks)?;
        let bar = Bar::new("score", plan.trie.len() as u64, true);
        let mut not_covered = 0;
        let mut answers = Answers::new(window.lines.len(), &mut out, |out, index, reading| {
            let answer = window.answer(index, reading, problems);
            not_covered += usize::from(answer.lacks_labels());
            out.write(&answer)
        });
        let outcome = scorer.run(plan, &memory.schedule, |progress, readings| {
            bar.show(progress);
            answers.take(readings)?;
            if stop_wanted(progress) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        bar.finish();
        let answered = answers.finish()?;
        if matches!(outcome, Err(ScorerError::Stopped)) {
            let (written, read) = (done.prompts + answered, lines.count);
            let message =
                format!("stopped; {written} of the {read} prompts that were read are answered");
            let help = "the answers that were written are whole; ask the rest again";
            return Err(Failure::new(ExitStatus::Incomplete, message, help));
        }
        let (counts, _) = outcome.map_err(failed)?;
        done.add(&counts, planned.1);
        done.not_covered += not_covered;
        window = Window::of(lines.next()?);
        if was_interrupted() && !(window.lines.is_empty() && lines.ended) {
            let message = format!("stopped; the first {} prompts are answered", done.prompts);
            let help = "ask the rest again";
            return Err(Failure::new(ExitStatus::Incomplete, message, help));
        }
        if window.lines.is_empty() {
            break;
        }
        planned = possible(&window)?;
        asks = Asks::of(&planned.0);
    }
    done.say(decoder.seconds, begun.elapsed().as_secs_f64());
    match done.first {
        None => Ok(()),
        Some(first) => {
            let failure = failed(first);
            let more = format!(
                "{} of {} prompts could not be scored: this is the first",
                done.problems, done.prompts
            );
            Err(failure.and_message(&more))
        }
    }
}

/// What was done of all windows.
#[derive(Default)]
struct Done {
    prompts: u64,
    tokens_asked: u64,
    trie_rows: u64,
    rows_computed: u64,
    problems: usize,
    not_covered: usize,
    first: Option<ScorerError>,
}

impl Done {
    fn add(&mut self, counts: &Counts, problems: BTreeMap<usize, ScorerError>) {
        self.prompts += counts.prompts;
        self.tokens_asked += counts.tokens_asked;
        self.trie_rows += counts.trie_rows;
        self.rows_computed += counts.rows_computed;
        self.problems += problems.len();
        self.first = self.first.take().or(problems.into_values().next());
    }

    fn say(&self, loaded: f64, seconds: f64) {
        output::message(&format!(
            "loaded in {loaded:.1} s; {} prompts, {} tokens asked, {} trie rows, {} rows computed, {:.1} prompts/s",
            self.prompts,
            self.tokens_asked,
            self.trie_rows,
            self.rows_computed,
            self.prompts as f64 / seconds,
        ));
        if self.not_covered > 0 {
            output::message(&format!(
                "{} prompts ask for labels that no token of the vocabulary spells, or texts that none do (`not_covered`); read labels as continuations",
                self.not_covered
            ));
        }
    }
}

/// Lines that are scored at once.
struct Window {
    lines: Vec<Line<()>>,
    /// Labels that each asks for.
    prompts: Vec<Prompt>,
}

impl Window {
    /// Takes more lines.
    fn lines_too(&mut self, lines: Vec<Line<Asked>>) {
        let more = Self::of(lines);
        self.lines.extend(more.lines);
        self.prompts.extend(more.prompts);
    }

    fn of(lines: Vec<Line<Asked>>) -> Self {
        let prompts = lines.into_iter().map(|line| {
            let id = line.name();
            let mut reads = vec![Read::NextToken {
                labels: line.asked.labels,
                openings: line.asked.openings,
            }];
            let texts = line.asked.continuations.into_iter();
            reads.extend(texts.map(|text| Read::Continuation { text }));
            reads.extend(line.asked.strings.map(Read::Strings));
            let (input, asked) = (line.input.clone(), ());
            let line = Line {
                id: line.id,
                input: line.input,
                asked,
                own: line.own,
            };
            (line, Prompt { id, input, reads })
        });
        let (lines, prompts) = prompts.unzip();
        Self { lines, prompts }
    }

    /// The answer to a line.
    fn answer<'a>(
        &'a self,
        index: usize,
        reading: &'a Reading,
        problems: &BTreeMap<usize, ScorerError>,
    ) -> OneOf<'a> {
        let line = &self.lines[index];
        match problems.get(&index) {
            Some(problem) => OneOf::NotScored(NotAnswered::of(line, problem)),
            None => OneOf::Scored(scored(line, &self.prompts[index], reading)),
        }
    }
}

/// An answer, or why there is none.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOf<'a> {
    Scored(Scored<'a>),
    NotScored(NotAnswered<'a>),
}

impl OneOf<'_> {
    fn lacks_labels(&self) -> bool {
        matches!(self, Self::Scored(scored) if !scored.not_covered.is_empty())
    }
}

fn scored<'a>(line: &'a Line<()>, prompt: &'a Prompt, reading: &'a Reading) -> Scored<'a> {
    let next = reading.next_token();
    let labels = next.map_or(&[][..], |next| &next.labels);
    let strings = reading.strings();
    let not_covered = prompt.reads.iter().flat_map(|read| {
        let asked = match read {
            Read::NextToken { labels, .. } => labels.as_slice(),
            Read::Strings(strings) => strings.texts.as_slice(),
            Read::Continuation { .. } | Read::Generation(_) => &[],
        };
        asked.iter().filter(move |asked| match read {
            Read::Strings(_) => strings.is_some_and(|read| read.text(asked).is_none()),
            _ => labels.iter().all(|label| label.label != **asked),
        })
    });
    Scored {
        id: &line.id,
        own: &line.own,
        not_covered: not_covered.map(String::as_str).collect(),
        strings,
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
