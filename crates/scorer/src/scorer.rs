//! Runs the passes of a plan and reads the rows that are asked for.

use crate::ScorerError;
use crate::labels::LabelTable;
use crate::plan::{AnswerPlan, Plan, Probe, PromptPlan};
use candle_core::{DType, Tensor};
use concord_checkpoint::Snapshot;
use concord_decoder::{Decoder, Pass, Times, Work};
use concord_kernels::{Summary, summarise};
use concord_readings::{
    Answer, Continuation, LabelReading, LogProb, Nats, NextToken, Probability, Prompt, Reading,
    Spelling, TokenReading,
};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens kept of each next-token distribution.
const TOP: usize = 5;

/// What a run cost, in counts that do not depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prompts read.
    pub prompts: u64,
    /// Tokens of all prompts and continuations, each prompt counted once.
    pub tokens_asked: u64,
    /// Distinct prefixes.
    pub trie_rows: u64,
    /// Rows that went through the decoder.
    pub rows_computed: u64,
    /// Rows that went through the head.
    pub rows_read: u64,
    /// Passes.
    pub passes: u64,
    /// Operations of all matrix products, the head's included.
    pub product_flops: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rows computed.
    pub rows_done: u64,
    /// Rows of the trie.
    pub rows: u64,
}

/// Scores prompts with one decoder.
pub struct Scorer<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) decoder: &'a Decoder,
    table: Arc<LabelTable>,
}

impl<'a> Scorer<'a> {
    /// Prepares to read labels of the snapshot's vocabulary.
    pub fn new(snapshot: &'a Snapshot, decoder: &'a Decoder) -> Self {
        let table = LabelTable::new(&snapshot.vocabulary);
        Self::with_table(snapshot, decoder, Arc::new(table))
    }

    /// The same with a table that was made before, to plan without a decoder.
    pub fn with_table(
        snapshot: &'a Snapshot,
        decoder: &'a Decoder,
        table: Arc<LabelTable>,
    ) -> Self {
        Self {
            snapshot,
            decoder,
            table,
        }
    }

    /// Tokenises prompts and lays out their trie.
    ///
    /// # Errors
    /// [`ScorerError`] naming the prompt or label.
    pub fn plan(&self, prompts: &[Prompt]) -> Result<Plan, ScorerError> {
        Plan::new(self.snapshot, &self.table, prompts)
    }

    /// Plans and runs prompts, and returns the readings in their order.
    ///
    /// # Errors
    /// As [`Scorer::run`].
    pub fn score(&self, prompts: &[Prompt]) -> Result<(Vec<Reading>, Counts), ScorerError> {
        let plan = self.plan(prompts)?;
        let mut readings: Vec<Option<Reading>> = vec![None; prompts.len()];
        let (counts, _) = self.run(&plan, |_, done| {
            for (index, reading) in done {
                readings[index] = Some(reading);
            }
            ControlFlow::Continue(())
        })?;
        Ok((readings.into_iter().flatten().collect(), counts))
    }

    /// Runs every pass. After each, `observe` is given the prompts that are now complete (their number in the plan and
    /// their reading) and may stop the run. Returns what it cost and where the time went.
    ///
    /// # Errors
    /// [`ScorerError::NotFinite`], [`ScorerError::Decoder`]; [`ScorerError::Stopped`] where `observe` says so.
    pub fn run(
        &self,
        plan: &Plan,
        mut observe: impl FnMut(Progress, Vec<(usize, Reading)>) -> ControlFlow<()>,
    ) -> Result<(Counts, Times), ScorerError> {
        let config = *self.decoder.config();
        let rows = plan.trie.len();
        let mut counts = Counts {
            prompts: plan.prompts.len() as u64,
            tokens_asked: plan.tokens_asked,
            trie_rows: rows as u64,
            ..Counts::default()
        };
        let mut session = self.decoder.session(plan.trie.positions())?;
        let mut reader = Reader::new(self, plan);
        let mut cursor = Cursor::default();
        for (range, length_class) in plan.trie.cuts(config.rows_per_pass) {
            self.decoder.enter(&mut session, length_class);
            let groups = cursor.advance(plan, range.end);
            let pass = pass_of(plan, range, &groups);
            let hidden = self.decoder.pass(&mut session, &pass)?;
            counts.product_flops += self.decoder.pass_flops(&pass);
            counts.rows_computed += pass.len() as u64;
            counts.passes += 1;
            reader.take(groups, hidden);
            let done = counts.rows_computed == rows as u64;
            let complete = reader.read(done, &mut counts, &mut session.times)?;
            let progress = Progress {
                rows_done: counts.rows_computed,
                rows: rows as u64,
            };
            if observe(progress, complete).is_break() {
                // What waits is read: it was paid for.
                let complete = reader.read(true, &mut counts, &mut session.times)?;
                let _ = observe(progress, complete);
                return Err(ScorerError::Stopped);
            }
        }
        Ok((counts, session.times))
    }

    /// Puts the first `wanted` rows through the head, a slice at a time; `each` is given the rows and their logits,
    /// `[rows, vocabulary]`. Returns the operations that this took.
    pub(crate) fn heads(
        &self,
        hidden: &Tensor,
        wanted: usize,
        mut each: impl FnMut(Range<usize>, &Tensor) -> Result<(), ScorerError>,
    ) -> Result<u64, ScorerError> {
        let config = self.decoder.config();
        let most = wanted.min(config.head_rows);
        let vocabulary = self.decoder.spec().vocab_size;
        // One slice of logits stays where it is: new ones would cost a page fault for every four kilobytes.
        let slice = Tensor::zeros((most, vocabulary), DType::F32, hidden.device())?;
        let mut flops = 0;
        for first in (0..wanted).step_by(config.head_rows) {
            let rows = first..wanted.min(first + config.head_rows);
            let logits = slice.narrow(0, 0, rows.len())?; // [rows, vocabulary]
            let hidden = hidden.narrow(0, first, rows.len())?;
            self.decoder.head_into(&hidden, &logits)?;
            flops += self.decoder.head_flops(rows.len());
            each(rows, &logits)?;
        }
        Ok(flops)
    }
}

/// What is read at one row.
struct Group<'a> {
    row: u32,
    probes: &'a [Probe],
    prompts: &'a [(u32, u32)],
}

/// The rows of a cut, of which those of the groups are read.
fn pass_of(plan: &Plan, range: Range<usize>, groups: &[Group<'_>]) -> Pass {
    let start = u32::try_from(range.start).unwrap_or(u32::MAX);
    let read: Vec<u32> = groups.iter().map(|group| group.row - start).collect();
    let next_depth = plan.trie.depths.get(range.end).copied().unwrap_or(0);
    let (tokens, depths) = (&plan.trie.tokens[range.clone()], &plan.trie.depths[range]);
    Pass::new(tokens, depths, next_depth, &read)
}

/// The longest that rows wait for others to go through the head with.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Reads rows that passes left. The head's weights are many: rows wait for each other, though not for long.
struct Reader<'a> {
    scorer: &'a Scorer<'a>,
    plan: &'a Plan,
    slots: Slots,
    waiting: Vec<Group<'a>>,
    /// Their normed hidden states.
    hidden: Vec<Tensor>,
    since: Instant,
}

impl<'a> Reader<'a> {
    fn new(scorer: &'a Scorer<'a>, plan: &'a Plan) -> Self {
        Self {
            scorer,
            plan,
            slots: Slots::new(plan),
            waiting: Vec::new(),
            hidden: Vec::new(),
            since: Instant::now(),
        }
    }

    /// Takes what one pass reads.
    fn take(&mut self, groups: Vec<Group<'a>>, hidden: Option<Tensor>) {
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        self.waiting.extend(groups);
        self.hidden.extend(hidden);
    }

    /// Reads what waits, where it is enough, has waited long or is the last, and gives the prompts that are complete.
    fn read(
        &mut self,
        last: bool,
        counts: &mut Counts,
        times: &mut Times,
    ) -> Result<Vec<(usize, Reading)>, ScorerError> {
        let enough = self.waiting.len() >= self.scorer.decoder.config().waiting_rows;
        if !self.waiting.is_empty() && (last || enough || self.since.elapsed() >= LONGEST_WAIT) {
            let hidden = Tensor::cat(&std::mem::take(&mut self.hidden), 0)?;
            counts.rows_read += self.waiting.len() as u64;
            counts.product_flops += times.of(Work::Head, || self.fill(&hidden))?;
            self.waiting.clear();
        }
        self.slots.take_complete(self.plan, &self.scorer.table)
    }

    /// Puts the waiting rows through the head and fills the slots that wait for them.
    fn fill(&mut self, hidden: &Tensor) -> Result<u64, ScorerError> {
        let Self {
            scorer,
            plan,
            slots,
            waiting,
            ..
        } = self;
        scorer.heads(hidden, waiting.len(), |rows, logits| {
            let wanted = &waiting[rows];
            let asked: Vec<Vec<u32>> = wanted
                .iter()
                .map(|group| group.probes.iter().map(|probe| probe.token).collect())
                .collect();
            let asked: Vec<&[u32]> = asked.iter().map(Vec::as_slice).collect();
            for (group, summary) in wanted.iter().zip(summarise(logits, &asked, TOP)?) {
                if !summary.entropy.is_finite() {
                    let prompt = group
                        .probes
                        .first()
                        .map(|probe| probe.prompt)
                        .or(group.prompts.first().map(|p| p.1));
                    let id = prompt.map_or_else(String::new, |prompt| {
                        plan.prompts[prompt as usize].id.clone()
                    });
                    return Err(ScorerError::NotFinite { id });
                }
                slots.fill(group, &summary);
            }
            Ok(())
        })
    }
}

/// How much of the reads earlier passes have taken.
#[derive(Default)]
struct Cursor {
    probes: usize,
    prompts: usize,
}

impl Cursor {
    /// The reads at rows before `end` that are not taken yet, by row.
    fn advance<'a>(&mut self, plan: &'a Plan, end: usize) -> Vec<Group<'a>> {
        let mut groups = Vec::new();
        loop {
            let probe = plan.probes.get(self.probes).map(|probe| probe.row);
            let prompt = plan.summaries.get(self.prompts).map(|(row, _)| *row);
            let Some(row) = probe.into_iter().chain(prompt).min() else {
                return groups;
            };
            if row as usize >= end {
                return groups;
            }
            let probes = take(&mut self.probes, &plan.probes, |probe| probe.row <= row);
            let prompts = take(&mut self.prompts, &plan.summaries, |(at, _)| *at <= row);
            groups.push(Group {
                row,
                probes: &plan.probes[probes],
                prompts: &plan.summaries[prompts],
            });
        }
    }
}

fn take<T>(taken: &mut usize, list: &[T], due: impl Fn(&T) -> bool) -> Range<usize> {
    let first = *taken;
    *taken += list[first..].partition_point(due);
    first..*taken
}

/// Log-probabilities read so far, by prompt.
struct Slots {
    values: Vec<Vec<f64>>,
    summaries: Vec<Option<Summary>>,
    missing: Vec<usize>,
    complete: Vec<usize>,
}

impl Slots {
    fn new(plan: &Plan) -> Self {
        let mut missing: Vec<usize> = plan.prompts.iter().map(|prompt| prompt.slots).collect();
        for (_, prompt) in &plan.summaries {
            missing[*prompt as usize] += 1;
        }
        Self {
            values: plan
                .prompts
                .iter()
                .map(|prompt| vec![f64::NAN; prompt.slots])
                .collect(),
            summaries: vec![None; plan.prompts.len()],
            complete: (0..missing.len())
                .filter(|prompt| missing[*prompt] == 0)
                .collect(),
            missing,
        }
    }

    fn fill(&mut self, group: &Group<'_>, summary: &Summary) {
        for (probe, value) in group.probes.iter().zip(&summary.asked) {
            self.values[probe.prompt as usize][probe.slot as usize] = *value;
            self.count(probe.prompt as usize);
        }
        for (_, prompt) in group.prompts {
            self.summaries[*prompt as usize] = Some(summary.clone());
            self.count(*prompt as usize);
        }
    }

    fn count(&mut self, prompt: usize) {
        self.missing[prompt] -= 1;
        if self.missing[prompt] == 0 {
            self.complete.push(prompt);
        }
    }

    fn take_complete(
        &mut self,
        plan: &Plan,
        table: &LabelTable,
    ) -> Result<Vec<(usize, Reading)>, ScorerError> {
        let complete = std::mem::take(&mut self.complete);
        complete
            .into_iter()
            .map(|prompt| {
                let values = std::mem::take(&mut self.values[prompt]);
                let summary = self.summaries[prompt].take();
                let planned = &plan.prompts[prompt];
                let reading = assemble(planned, &values, summary.as_ref(), table);
                let reading = reading.ok_or_else(|| ScorerError::NotFinite {
                    id: planned.id.clone(),
                })?;
                Ok((prompt, reading))
            })
            .collect()
    }
}

/// A prompt's slots as its answers; `None` where a number is out of its domain.
fn assemble(
    prompt: &PromptPlan,
    values: &[f64],
    summary: Option<&Summary>,
    table: &LabelTable,
) -> Option<Reading> {
    let mut next = values.iter().copied();
    let token_reading = |token: u32, value: f64| {
        let log_prob = LogProb::new(value).ok()?;
        Some(TokenReading {
            token,
            text: table.text(token).to_owned(),
            log_prob,
        })
    };
    let mut answers = Vec::with_capacity(prompt.answers.len());
    for answer in &prompt.answers {
        answers.push(match answer {
            AnswerPlan::NextToken { labels } => {
                let summary = summary?;
                let mut label_tokens = Vec::new();
                let mut readings = Vec::with_capacity(labels.len());
                for (label, ways) in labels {
                    let mut spellings = Vec::with_capacity(ways.len());
                    for way in ways {
                        let mut log_prob = next.next()?;
                        let tokens = if let Some(opening) = way.opening {
                            log_prob += next.next()?;
                            vec![opening, way.token]
                        } else {
                            label_tokens.push(way.token);
                            vec![way.token]
                        };
                        let log_prob = LogProb::new(log_prob).ok()?;
                        spellings.push(Spelling {
                            text: way.text.clone(),
                            tokens,
                            log_prob,
                        });
                    }
                    let log_prob =
                        log_sum(spellings.iter().map(|spelling| spelling.log_prob.get()));
                    let log_prob = LogProb::new(log_prob).ok()?;
                    readings.push(LabelReading {
                        label: label.clone(),
                        log_prob,
                        spellings,
                    });
                }
                // Labels may share spellings (`A` and ` A`): each sequence of tokens counts once.
                let mut counted: Vec<&[u32]> = Vec::new();
                let mut mass = 0.0;
                for spelling in readings.iter().flat_map(|label| &label.spellings) {
                    if !counted.contains(&spelling.tokens.as_slice()) {
                        counted.push(&spelling.tokens);
                        mass += spelling.log_prob.get().exp();
                    }
                }
                let top = summary
                    .top
                    .iter()
                    .map(|(token, value)| token_reading(*token, *value));
                Answer::NextToken(NextToken {
                    labels: readings,
                    label_mass: Probability::new(mass.min(1.0)).ok()?,
                    entropy: Nats::new(summary.entropy.max(0.0)).ok()?,
                    top_is_label: summary
                        .top
                        .first()
                        .is_some_and(|(token, _)| label_tokens.contains(token)),
                    top: top.collect::<Option<_>>()?,
                })
            }
            AnswerPlan::Continuation {
                text,
                tokens,
                joint_tokens_differ,
            } => {
                let tokens = tokens
                    .iter()
                    .map(|token| token_reading(*token, next.next()?));
                let tokens = tokens.collect::<Option<Vec<_>>>()?;
                Answer::Continuation(Continuation {
                    log_prob: LogProb::new(tokens.iter().map(|token| token.log_prob.get()).sum())
                        .ok()?,
                    tokens,
                    bytes: text.len(),
                    text: text.clone(),
                    joint_tokens_differ: *joint_tokens_differ,
                })
            }
        });
    }
    Some(Reading {
        id: prompt.id.clone(),
        tokens: prompt.tokens,
        answers,
    })
}

/// `ln Σ e^x`, without underflow of the largest.
fn log_sum(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest
        + values
            .map(|value| (value - largest).exp())
            .sum::<f64>()
            .ln()
}
