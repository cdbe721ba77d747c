//! From rows that passes leave to the readings of prompts.

use crate::labels::{LabelTable, Way};
use crate::plan::{AnswerPlan, MOST_ASKED, Number, Plan, Probe, PromptPlan};
use crate::spelling::Alphabet;
use crate::strings::log_sum;
use crate::{Counts, RowObserved, ScorerError};
use candle_core::Tensor;
use concord_decoder::{Decoder, Times, Work};
use concord_kernels::{Engine, Pending, RowUse, Rows, Summary};
use concord_readings::{
    Answer, Continuation, End, LabelReading, LogProb, Nats, NextToken, Probability, Reading,
    Spelling, TokenReading,
};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tokens kept of each next-token distribution.
const TOP: usize = 5;

/// What is read at one row.
pub(crate) struct Group<'a> {
    pub row: u32,
    probes: &'a [Probe],
    prompts: &'a [(u32, u32)],
}

impl<'a> Group<'a> {
    /// What is read there.
    pub fn probes(&self) -> &'a [Probe] {
        self.probes
    }

    /// Whether the whole distribution is summarised.
    pub fn is_summarised(&self) -> bool {
        !self.prompts.is_empty()
    }

    /// What texts are asked to end with.
    fn ends(&self) -> impl Iterator<Item = End> {
        let is_read = |end: &End| {
            let mut numbers = self.probes.iter().map(|probe| probe.number);
            numbers.any(|number| matches!(number, Number::Ended(read) if read == *end))
        };
        [End::Digit, End::Letter].into_iter().filter(is_read)
    }

    /// How many probes read a token.
    fn tokens(&self) -> usize {
        let is_token = |probe: &&Probe| matches!(probe.number, Number::Token(_));
        self.probes.iter().filter(is_token).count()
    }

    /// How many tokens are asked for.
    fn asks(&self, alphabet: &Alphabet) -> usize {
        let deciding = self.ends().map(|end| alphabet.deciding(end).len());
        self.tokens() + deciding.sum::<usize>()
    }

    /// The tokens whose log-probabilities are asked for: those of probes, then those that decide whether texts end.
    pub fn asked(&self, alphabet: &Alphabet) -> Vec<u32> {
        let tokens = self.probes.iter().filter_map(|probe| match probe.number {
            Number::Token(token) => Some(token),
            Number::Ended(_) => None,
        });
        let deciding = self.ends().flat_map(|end| alphabet.deciding(end));
        tokens.chain(deciding.copied()).collect()
    }

    /// What [`Group::asked`] found, as the numbers of the probes.
    fn numbers(&self, alphabet: &Alphabet, found: &[f64]) -> Vec<f64> {
        let (tokens, mut rest) = found.split_at(self.tokens());
        let ends = self.ends().map(|end| {
            let (deciding, others) = rest.split_at(alphabet.deciding(end).len());
            rest = others;
            (end, Alphabet::ended(end, deciding))
        });
        let ends: Vec<(End, f64)> = ends.collect();
        let mut tokens = tokens.iter().copied();
        let numbers = self.probes.iter().map(|probe| match probe.number {
            Number::Token(_) => tokens.next(),
            Number::Ended(end) => {
                let of_end = ends.iter().find(|(read, _)| *read == end);
                of_end.map(|(_, ended)| *ended)
            }
        });
        numbers.map(|number| number.unwrap_or(f64::NAN)).collect()
    }
}

/// The longest that rows wait for others to go through the head with.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Reads rows that passes left. The head's weights are many: rows wait for each other, though not for long.
pub(crate) struct Reader<'a> {
    decoder: &'a Decoder,
    plan: &'a Plan,
    waiting: Vec<Group<'a>>,
    /// Their normed hidden states.
    hidden: Vec<Rows>,
    since: Instant,
    /// What went through the head and is on its way, with how many passes there had been.
    reading: VecDeque<(usize, Vec<Group<'a>>, Pending)>,
    passes: usize,
    /// Tokens that are asked for by what is on its way.
    asked: usize,
    /// Room for logits.
    slice: Option<Tensor>,
}

impl<'a> Reader<'a> {
    pub fn new(decoder: &'a Decoder, plan: &'a Plan) -> Self {
        Self {
            decoder,
            plan,
            waiting: Vec::new(),
            hidden: Vec::new(),
            since: Instant::now(),
            reading: VecDeque::new(),
            passes: 0,
            asked: 0,
            slice: None,
        }
    }

    /// Takes what one pass reads.
    pub fn take(&mut self, groups: Vec<Group<'a>>, hidden: Option<Rows>) {
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        self.waiting.extend(groups);
        self.hidden.extend(hidden);
    }

    /// Puts what waits through the head, where it is enough, has waited long or is the last, and fills slots with what has
    /// arrived.
    pub fn read(
        &mut self,
        last: bool,
        counts: &mut Counts,
        times: &mut Times,
        slots: &Mutex<Slots>,
    ) -> Result<(), ScorerError> {
        self.passes += 1;
        let enough = self.waiting.len() >= self.decoder.config().waiting_rows;
        let all = last || self.since.elapsed() >= LONGEST_WAIT;
        if !self.waiting.is_empty() && (all || enough) {
            let before = self.waiting.len();
            times.of(Work::Head, || self.begin(all, slots))?;
            let read = before - self.waiting.len();
            counts.rows_read += read as u64;
            counts.product_flops += self.decoder.head_flops(read);
        }
        let ahead = if last {
            0
        } else {
            self.decoder.engine().passes_ahead()
        };
        let is_due = |(pass, ..): &(usize, Vec<Group<'_>>, Pending)| pass + ahead <= self.passes;
        let due = self.reading.iter().take_while(|read| is_due(read)).count();
        for _ in 0..due {
            times.of(Work::Head, || self.arrive(slots))?;
        }
        Ok(())
    }

    /// Waits for what is next, and fills slots with it.
    fn arrive(&mut self, slots: &Mutex<Slots>) -> Result<(), ScorerError> {
        if let Some((_, groups, pending)) = self.reading.pop_front() {
            let summaries = pending.wait()?;
            let asked = summaries.iter().map(|summary| summary.asked.len());
            self.asked -= asked.sum::<usize>();
            self.fill(&groups, &summaries, slots)?;
        }
        Ok(())
    }

    /// Sends the waiting rows through the head, a slice at a time; a smaller one where many tokens are asked for. On a GPU a slice costs
    /// what a full one costs: unless `all` are sent, what does not fill one waits for the next pass.
    fn begin(&mut self, all: bool, slots: &Mutex<Slots>) -> Result<(), ScorerError> {
        let (decoder, engine) = (self.decoder, self.decoder.engine());
        let hidden = with_room(engine, || engine.joined(&self.hidden, RowUse::Head))?;
        self.hidden.clear();
        let most = decoder.config().head_rows;
        let least = if all || engine.gpu().is_none() {
            1
        } else {
            most
        };
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut first = 0;
        while waiting.len() >= least {
            let alphabet = &self.plan.alphabet;
            let counts = waiting.iter().map(|group| group.asks(alphabet));
            let rest = waiting.split_off(slice_of(counts, most));
            let asked = waiting.iter().map(|group| group.asked(alphabet));
            let asked: Vec<Vec<u32>> = asked.collect();
            let count: usize = asked.iter().map(Vec::len).sum();
            while self.asked > 0 && self.asked + count > MOST_ASKED {
                self.arrive(slots)?;
            }
            let asked: Vec<&[u32]> = asked.iter().map(Vec::as_slice).collect();
            let rows = engine.part(&hidden, first..first + waiting.len())?;
            let slice = &mut self.slice;
            let pending = with_room(engine, || decoder.read(&rows, &asked, TOP, slice))?;
            first += waiting.len();
            self.asked += count;
            self.reading.push_back((self.passes, waiting, pending));
            waiting = rest;
        }
        if !waiting.is_empty() {
            let rest = engine.part(&hidden, first..first + waiting.len())?;
            self.hidden.push(rest);
            self.waiting = waiting;
            self.since = Instant::now();
        }
        Ok(())
    }

    /// Fills the slots that wait for what was read.
    fn fill(
        &self,
        groups: &[Group<'_>],
        summaries: &[Summary],
        slots: &Mutex<Slots>,
    ) -> Result<(), ScorerError> {
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, summary) in groups.iter().zip(summaries) {
            if !summary.entropy.is_finite() {
                self.decoder.check_finite()?;
                let prompt = group
                    .probes
                    .first()
                    .map(|probe| probe.prompt)
                    .or(group.prompts.first().map(|p| p.1));
                let id = prompt.map_or_else(String::new, |prompt| {
                    self.plan.prompts[prompt as usize].id.clone()
                });
                return Err(ScorerError::NotFinite { id });
            }
            slots.fill(group, summary, &self.plan.alphabet);
        }
        Ok(())
    }
}

/// How many rows go through the head at once, by the tokens that each is asked for: at most `most`, as long as tokens are not too many.
fn slice_of(asked: impl Iterator<Item = usize>, most: usize) -> usize {
    let mut tokens = 0;
    let fits = asked.take(most).take_while(|count| {
        tokens += count;
        tokens <= MOST_ASKED
    });
    fits.count().max(1)
}

/// Tries again with what is kept for the next pass given back, where a device's memory ran out.
fn with_room<R, E>(engine: &Engine, mut run: impl FnMut() -> Result<R, E>) -> Result<R, ScorerError>
where
    ScorerError: From<E>,
{
    let outcome = run().map_err(ScorerError::from);
    match (outcome, engine.gpu()) {
        (Err(error), Some(gpu)) if error.is_out_of_memory() => {
            gpu.trim();
            Ok(run()?)
        }
        (outcome, _) => outcome,
    }
}

/// How much of the reads earlier passes have taken.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cursor {
    probes: usize,
    prompts: usize,
}

impl Cursor {
    /// The reads at rows before `end` that are not taken yet, by row.
    pub fn advance<'a>(&mut self, plan: &'a Plan, end: usize) -> Vec<Group<'a>> {
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

/// What a reader elsewhere did not show.
#[derive(Clone, Default)]
struct NotShown {
    bounds: Vec<usize>,
    mass: Option<f64>,
}

/// Log-probabilities read so far, by prompt.
pub(crate) struct Slots {
    values: Vec<Vec<f64>>,
    /// The slots of a prompt that hold bounds, and what was not shown of its distribution, where it was read elsewhere.
    hidden: HashMap<usize, NotShown>,
    summaries: Vec<Option<Summary>>,
    missing: Vec<usize>,
    complete: Vec<usize>,
}

impl Slots {
    pub fn new(plan: &Plan) -> Self {
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
            hidden: HashMap::new(),
            summaries: vec![None; plan.prompts.len()],
            complete: (0..missing.len())
                .filter(|prompt| missing[*prompt] == 0)
                .collect(),
            missing,
        }
    }

    fn fill(&mut self, group: &Group<'_>, summary: &Summary, alphabet: &Alphabet) {
        let numbers = group.numbers(alphabet, &summary.asked);
        for (probe, value) in group.probes.iter().zip(numbers) {
            self.values[probe.prompt as usize][probe.slot as usize] = value;
            self.count(probe.prompt as usize);
        }
        for (_, prompt) in group.prompts {
            self.summaries[*prompt as usize] = Some(Summary {
                entropy: summary.entropy,
                top: summary.top.clone(),
                asked: Vec::new(),
            });
            self.count(*prompt as usize);
        }
    }

    /// [`Slots::fill`] with what was seen elsewhere, which may be bounds.
    pub fn fill_observed(&mut self, group: &Group<'_>, seen: &RowObserved, alphabet: &Alphabet) {
        // Tokens come first among what is asked for, in the order of the probes that read tokens.
        let tokens = group
            .probes
            .iter()
            .filter(|probe| matches!(probe.number, Number::Token(_)));
        for (probe, seen) in tokens.zip(&seen.asked).filter(|(_, seen)| seen.at_most) {
            debug_assert!(seen.log_prob.is_finite());
            let hidden = self.hidden.entry(probe.prompt as usize).or_default();
            hidden.bounds.push(probe.slot as usize);
        }
        for (_, prompt) in group.prompts {
            if seen.not_shown.is_some() {
                self.hidden.entry(*prompt as usize).or_default().mass = seen.not_shown;
            }
        }
        let summary = Summary {
            entropy: seen.entropy,
            top: seen.top.iter().take(TOP).copied().collect(),
            asked: seen.asked.iter().map(|seen| seen.log_prob).collect(),
        };
        self.fill(group, &summary, alphabet);
    }

    fn count(&mut self, prompt: usize) {
        self.missing[prompt] -= 1;
        if self.missing[prompt] == 0 {
            self.complete.push(prompt);
        }
    }

    /// The prompts that are complete and were not taken yet.
    pub fn take_complete(
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
                let hidden = self.hidden.remove(&prompt).unwrap_or_default();
                let reading = assemble(planned, &values, summary.as_ref(), &hidden, table);
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
    hidden: &NotShown,
    table: &LabelTable,
) -> Option<Reading> {
    let mut next = values.iter().copied().zip(0usize..);
    let mut answers = Vec::with_capacity(prompt.answers.len());
    for answer in &prompt.answers {
        answers.push(match answer {
            AnswerPlan::NextToken { labels } => {
                Answer::NextToken(labelled(labels, &mut next, summary?, hidden, table)?)
            }
            AnswerPlan::Strings(strings) => {
                let values = next.by_ref().take(strings.slots as usize);
                let values: Vec<f64> = values.map(|(value, _)| value).collect();
                Answer::Strings(strings.reading(&values)?)
            }
            AnswerPlan::Continuation {
                text,
                tokens,
                joint_tokens_differ,
            } => {
                let tokens = tokens
                    .iter()
                    .map(|token| token_reading(table, *token, next.next()?.0));
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

/// The token of a vocabulary with its log-probability; `None` where that is none.
fn token_reading(table: &LabelTable, token: u32, value: f64) -> Option<TokenReading> {
    let log_prob = LogProb::new(value).ok()?;
    Some(TokenReading {
        token,
        text: table.text(token).to_owned(),
        log_prob,
    })
}

/// What a next-token distribution says of labels, from the numbers of their ways, which come with their slots.
fn labelled(
    labels: &[(String, Vec<Way>)],
    next: &mut impl Iterator<Item = (f64, usize)>,
    summary: &Summary,
    hidden: &NotShown,
    table: &LabelTable,
) -> Option<NextToken> {
    let mut label_tokens = Vec::new();
    let mut readings = Vec::with_capacity(labels.len());
    for (label, ways) in labels {
        let mut spellings = Vec::with_capacity(ways.len());
        for way in ways {
            let (mut log_prob, slot) = next.next()?;
            let mut at_most = hidden.bounds.contains(&slot);
            let tokens = if let Some(opening) = way.opening {
                let (after, slot) = next.next()?;
                log_prob += after;
                at_most |= hidden.bounds.contains(&slot);
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
                at_most,
            });
        }
        let log_prob = log_sum(spellings.iter().map(|spelling| spelling.log_prob.get()));
        // Bounds of several spellings may be more than there is.
        let log_prob = if hidden.bounds.is_empty() {
            log_prob
        } else {
            log_prob.min(0.0)
        };
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
    let shown = readings.iter().flat_map(|label| &label.spellings);
    for spelling in shown.filter(|spelling| !spelling.at_most) {
        if !counted.contains(&spelling.tokens.as_slice()) {
            counted.push(&spelling.tokens);
            mass += spelling.log_prob.get().exp();
        }
    }
    let top = summary
        .top
        .iter()
        .map(|(token, value)| token_reading(table, *token, *value));
    Some(NextToken {
        labels: readings,
        label_mass: Probability::new(mass.min(1.0)).ok()?,
        entropy: Nats::new(summary.entropy.max(0.0)).ok()?,
        top_is_label: summary
            .top
            .first()
            .is_some_and(|(token, _)| label_tokens.contains(token)),
        top: top.collect::<Option<_>>()?,
        not_shown: match hidden.mass {
            Some(mass) => Some(Probability::new(mass).ok()?),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tokens_make_slices_short() {
        assert_eq!(slice_of([3; 9].into_iter(), 64), 9);
        assert_eq!(slice_of([3; 99].into_iter(), 64), 64);
        let half = MOST_ASKED / 2;
        assert_eq!(slice_of([1, half, half, 1].into_iter(), 64), 2);
        assert_eq!(slice_of([half, half, 1].into_iter(), 64), 2);
        // One row goes through whatever it is asked for.
        assert_eq!(slice_of([MOST_ASKED + 1, 1].into_iter(), 64), 1);
    }

    #[test]
    fn what_decides_an_end_is_asked_for_once_after_the_tokens() {
        let texts = ["1", "a", "2", "b"].map(|text| Some(text.as_bytes().to_vec()));
        let alphabet = Alphabet::of(texts.into_iter());
        let numbers = [
            Number::Ended(End::Letter),
            Number::Token(2),
            Number::Ended(End::Digit),
            Number::Token(3),
            Number::Ended(End::Letter),
        ];
        let probes = numbers.map(|number| Probe {
            row: 0,
            number,
            prompt: 0,
            slot: 0,
        });
        let group = Group {
            row: 0,
            probes: &probes,
            prompts: &[],
        };
        assert_eq!(group.asked(&alphabet), [2, 3, 0, 2, 0, 2]);
        assert_eq!(group.asks(&alphabet), 6);
        let found = [0.1, 0.2, 0.1, 0.3, 0.25, 0.125].map(f64::ln);
        let numbers = group.numbers(&alphabet, &found);
        let expected = [0.375, 0.1f64.ln(), 0.6, 0.2f64.ln(), 0.375];
        for (found, expected) in numbers.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{numbers:?}");
        }
    }
}
