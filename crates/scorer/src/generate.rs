//! Writes texts after prompts.
//!
//! Prompts are laid out as a trie and computed like any others; their K/V stay in a tree of pages, from which every text
//! goes on by itself, a row a step. As many texts are written at once as there is room for; where some have ended, others
//! take their place. A text never depends on which others are written with it.

use crate::threads::at_once;
use crate::tokenised::tokens_of;
use crate::{Scorer, ScorerError, Trie};
use candle_core::Tensor;
use concord_decoder::{Decoder, KvBranch, KvTree, Pass, Session};
use concord_kernels::{Choice, RowUse, Rows, awake};
use concord_readings::{Answer, Finish, Generation, LogProb, Prompt, Read, Reading, Sampling};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{self, AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};

/// What writing cost, in counts that do not depend on the machine as long as its memory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerationCounts {
    /// Texts written.
    pub texts: u64,
    /// Tokens written, those that end texts included.
    pub tokens: u64,
    /// Rows computed for prompts: distinct prefixes among those computed together.
    pub prompt_rows: u64,
    /// Steps, each a row of every text in hand.
    pub steps: u64,
}

/// How far the writing is.
#[derive(Clone, Copy, Debug)]
pub struct GenerationProgress {
    /// Texts that have ended.
    pub texts_done: u64,
    /// Texts asked for.
    pub texts: u64,
    /// Tokens written.
    pub tokens: u64,
}

/// A prompt to write after.
struct Task {
    number: usize,
    tokens: Vec<u32>,
    sampling: Sampling,
    /// The most tokens that are written: what is asked for, as far as the context holds it.
    most: usize,
    length_class: usize,
}

impl Task {
    /// Pages that the prompt and its text come to need at most.
    fn pages(&self) -> usize {
        KvTree::pages_of(self.tokens.len() + self.most)
    }
}

/// The order in which prompts are written after: those that begin alike together.
fn before(a: &Task, b: &Task) -> Ordering {
    let class = a.length_class.cmp(&b.length_class);
    class.then_with(|| a.tokens.cmp(&b.tokens))
}

/// A text that is being written.
struct Text {
    task: Task,
    branch: KvBranch,
    random: ChaCha8Rng,
    tokens: Vec<u32>,
    log_probs: Vec<LogProb>,
}

impl Text {
    fn new(task: Task, branch: KvBranch, id: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&task.sampling.seed.to_le_bytes());
        hasher.update(id.as_bytes());
        Self {
            random: ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()),
            task,
            branch,
            tokens: Vec::new(),
            log_probs: Vec::new(),
        }
    }

    /// How the next token is chosen.
    fn choice(&mut self) -> Choice {
        let sampling = &self.task.sampling;
        let draw = if sampling.temperature > 0.0 {
            self.random.next_u64()
        } else {
            0
        };
        Choice {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            draw,
        }
    }

    /// Why the text ends with its last token, if it does.
    fn finish(&self, scorer: &Scorer<'_>, ends: &[u32]) -> Result<Option<Finish>, ScorerError> {
        let last = self.tokens.last();
        if last.is_some_and(|last| ends.contains(last)) {
            return Ok(Some(Finish::EndOfText));
        }
        let stops = &self.task.sampling.stop;
        if let Some(longest) = stops.iter().map(String::len).max() {
            // A stop text is no more tokens than bytes; a few more in front make whole characters.
            let tail = self.tokens.len().saturating_sub(longest + 4);
            let tail = scorer.decoded(&self.tokens[tail..])?;
            if stops.iter().any(|stop| tail.contains(stop)) {
                return Ok(Some(Finish::StopText));
            }
        }
        if self.tokens.len() >= self.task.most {
            return Ok(Some(Finish::Length));
        }
        Ok(repeats(&self.tokens).then_some(Finish::Repetition))
    }

    fn reading(
        self,
        scorer: &Scorer<'_>,
        id: &str,
        finish: Finish,
    ) -> Result<Reading, ScorerError> {
        let written = match finish {
            Finish::EndOfText => &self.tokens[..self.tokens.len() - 1],
            _ => &self.tokens[..],
        };
        let mut text = scorer.decoded(written)?;
        if finish == Finish::StopText {
            let stops = self.task.sampling.stop.iter();
            let first = stops.filter_map(|stop| text.find(stop)).min();
            text.truncate(first.unwrap_or(text.len()));
        }
        Ok(Reading {
            id: id.to_owned(),
            tokens: self.task.tokens.len(),
            answers: vec![Answer::Generation(Generation {
                text,
                tokens: self.tokens,
                log_probs: self.log_probs,
                finish,
            })],
        })
    }
}

/// The longest run of tokens whose repetition is looked for.
const LONGEST_PERIOD: usize = 64;
/// A run counts as repeated when it stands this often in a row...
const REPEATS: usize = 4;
/// ...and takes up this many tokens.
const REPEATED_TOKENS: usize = 48;

/// Whether a text ends in the same few tokens over and over.
fn repeats(tokens: &[u32]) -> bool {
    (1..=LONGEST_PERIOD).any(|period| {
        let span = (REPEATS * period).max(REPEATED_TOKENS);
        tokens.len().checked_sub(span).is_some_and(|first| {
            let tail = &tokens[first..];
            tail[period..] == tail[..span - period]
        })
    })
}

/// What is asked, what is being written and where its K/V are.
struct DecodeBatch<'a> {
    scorer: &'a Scorer<'a>,
    decoder: &'a Decoder,
    prompts: &'a [Prompt],
    ends: Vec<u32>,
    waiting: VecDeque<Task>,
    /// What was taken, and not computed: a device's memory ran out.
    taking: Vec<Task>,
    texts: Vec<Text>,
    tree: KvTree,
    pages: usize,
    /// Pages that the texts in hand come to need at most.
    promised: usize,
    /// Texts that are written at once.
    at_once: usize,
    counts: GenerationCounts,
    /// Room for logits.
    slice: Option<Tensor>,
    /// Texts that have ended, and that nobody was given yet.
    ended: Ended,
}

/// Takes texts that ended, and says whether to go on.
type Observe<'o> = dyn FnMut(GenerationProgress, Ended) -> ControlFlow<()> + Send + 'o;

/// What the devices that write share.
struct Shared<'a, 'o> {
    texts: u64,
    texts_done: AtomicU64,
    tokens: AtomicU64,
    /// Whether one of them has stopped before its end.
    stopped: AtomicBool,
    observe: Mutex<&'a mut Observe<'o>>,
}

/// The number of a prompt and what was written after it.
type Ended = Vec<(usize, Reading)>;

impl Scorer<'_> {
    /// Writes a text after each prompt. As texts end, `observe` is given them (the prompt's number and its reading) and
    /// may stop the writing.
    ///
    /// # Numerics
    /// A text depends on its prompt, its [`Sampling`] and the prompt's id alone. Its log-probabilities are the bits that
    /// scoring the same tokens after the same prompt would read, as long as the length class of the RoPE is the same; on a
    /// GPU they are close to them.
    ///
    /// # Errors
    /// [`ScorerError::Mixed`], [`ScorerError::Sampling`], [`ScorerError::TooLong`] before anything is computed;
    /// [`ScorerError::NotFinite`], [`ScorerError::Decoder`]; [`ScorerError::Stopped`] where `observe` says so.
    pub fn generate(
        &self,
        prompts: &[Prompt],
        mut observe: impl FnMut(GenerationProgress, Ended) -> ControlFlow<()> + Send,
    ) -> Result<GenerationCounts, ScorerError> {
        awake(|| self.generate_here(prompts, &mut observe))
    }

    fn generate_here(
        &self,
        prompts: &[Prompt],
        observe: &mut Observe<'_>,
    ) -> Result<GenerationCounts, ScorerError> {
        let tasks = prompts.par_iter().enumerate();
        let tasks = tasks.map(|(number, prompt)| self.task(number, prompt));
        let mut tasks = tasks.collect::<Result<Vec<_>, _>>()?;
        // Prompts that begin alike come together, and so are computed together.
        tasks.sort_by(before);
        let decoders: Vec<&Decoder> = self.decoders().collect();
        // Neighbours begin alike: each device takes some that are.
        let each = tasks.len().div_ceil(decoders.len()).max(1);
        let mut shares: Vec<Vec<Task>> = Vec::new();
        while !tasks.is_empty() {
            let rest = tasks.split_off(tasks.len().min(each));
            shares.push(std::mem::replace(&mut tasks, rest));
        }
        let shared = Shared {
            texts: prompts.len() as u64,
            texts_done: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            observe: Mutex::new(observe),
        };
        let shares = decoders.into_iter().zip(shares);
        let outcomes = at_once(shares, |(decoder, tasks)| {
            self.write_all(decoder, prompts, tasks, &shared)
        });
        let mut counts = GenerationCounts::default();
        let mut error: Option<ScorerError> = None;
        for outcome in outcomes {
            match outcome {
                Ok(more) => {
                    counts.texts += more.texts;
                    counts.tokens += more.tokens;
                    counts.prompt_rows += more.prompt_rows;
                    counts.steps += more.steps;
                }
                // What one device met is what is said; that others stopped is its consequence.
                Err(other) if matches!(error, None | Some(ScorerError::Stopped)) => {
                    error = Some(other);
                }
                Err(_) => {}
            }
        }
        error.map_or(Ok(counts), Err)
    }

    /// Writes after some prompts on one device.
    fn write_all(
        &self,
        decoder: &Decoder,
        prompts: &[Prompt],
        tasks: Vec<Task>,
        shared: &Shared<'_, '_>,
    ) -> Result<GenerationCounts, ScorerError> {
        let outcome = self.write_here(decoder, prompts, tasks, shared);
        if outcome.is_err() {
            shared.stopped.store(true, atomic::Ordering::Relaxed);
        }
        outcome
    }

    fn write_here(
        &self,
        decoder: &Decoder,
        prompts: &[Prompt],
        tasks: Vec<Task>,
        shared: &Shared<'_, '_>,
    ) -> Result<GenerationCounts, ScorerError> {
        let config = decoder.config();
        let page = KvTree::page_bytes(decoder.spec(), decoder.kv_dtype());
        let planned = decoder.engine().gpu().map(|gpu| gpu.kv_mib());
        let room = (planned.unwrap_or(config.kv_mib) << 20) / page;
        let largest = tasks.iter().map(Task::pages).max().unwrap_or(1);
        let pages = room.clamp(largest, largest * config.texts.min(tasks.len()).max(1));
        let positions = tasks.iter().map(|task| task.tokens.len() + task.most).max();
        let positions = positions.unwrap_or(1);
        let mut session = decoder.session(positions)?;
        let mut desk = DecodeBatch {
            scorer: self,
            decoder,
            prompts,
            ends: self.snapshot.end_tokens(),
            waiting: tasks.into(),
            taking: Vec::new(),
            texts: Vec::new(),
            tree: KvTree::new(decoder.spec(), decoder.engine(), pages),
            pages,
            promised: 0,
            at_once: config.texts,
            counts: GenerationCounts::default(),
            slice: None,
            ended: Vec::new(),
        };
        let mut tokens_said = 0;
        while !(desk.waiting.is_empty() && desk.texts.is_empty()) {
            match desk.round(&mut session) {
                Err(error) if error.is_out_of_memory() && desk.goes_on_with_fewer(largest) => {
                    session = decoder.session(positions)?;
                }
                outcome => outcome?,
            }
            let ended = std::mem::take(&mut desk.ended);
            // What is written again was said before.
            let more = desk.counts.tokens.saturating_sub(tokens_said);
            tokens_said += more;
            let tokens = shared.tokens.fetch_add(more, atomic::Ordering::Relaxed) + more;
            let more = ended.len() as u64;
            let progress = GenerationProgress {
                texts_done: shared.texts_done.fetch_add(more, atomic::Ordering::Relaxed) + more,
                texts: shared.texts,
                tokens,
            };
            let mut observe = shared
                .observe
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if (*observe)(progress, ended).is_break()
                || shared.stopped.load(atomic::Ordering::Relaxed)
            {
                return Err(ScorerError::Stopped);
            }
        }
        Ok(desk.counts)
    }

    fn decoded(&self, tokens: &[u32]) -> Result<String, ScorerError> {
        let decoded = self.snapshot.vocabulary.decode(tokens);
        decoded.map_err(|source| ScorerError::Prompt {
            id: self.snapshot.name.clone(),
            source,
        })
    }

    fn task(&self, number: usize, prompt: &Prompt) -> Result<Task, ScorerError> {
        let id = || prompt.id.clone();
        let [Read::Generation(sampling)] = &prompt.reads[..] else {
            return Err(ScorerError::Mixed { id: id() });
        };
        if let Some(problem) = sampling.problem() {
            return Err(ScorerError::Sampling { id: id(), problem });
        }
        let (_, tokens) = tokens_of(self.snapshot, prompt)?;
        let limit = self.snapshot.spec.context_length();
        if tokens.len() >= limit {
            return Err(ScorerError::TooLong {
                id: id(),
                tokens: tokens.len() + 1,
                limit,
            });
        }
        let most = sampling.max_tokens.min(limit - tokens.len());
        Ok(Task {
            number,
            length_class: self.snapshot.spec.length_class(tokens.len() + most),
            tokens,
            sampling: sampling.clone(),
            most,
        })
    }
}

impl DecodeBatch<'_> {
    /// Takes new prompts where there is room, and writes a token of every text.
    fn round(&mut self, session: &mut Session) -> Result<(), ScorerError> {
        self.begin(session)?;
        self.step(session)
    }

    /// Lets go of everything in hand, to be begun anew with half as many texts at once, or pages; `false` where it can be neither. A text
    /// is the same when it is written again. `largest` is the pages that any text comes to need at most.
    fn goes_on_with_fewer(&mut self, largest: usize) -> bool {
        let in_hand = self.texts.len() + self.taking.len();
        let (fewer, pages) = (in_hand / 2, (self.pages / 2).max(largest));
        if fewer == 0 && pages == self.pages {
            return false;
        }
        self.at_once = self.at_once.min(fewer.max(1));
        self.pages = pages;
        self.promised = 0;
        self.slice = None;
        let mut tasks: Vec<Task> = std::mem::take(&mut self.taking);
        for text in self.texts.drain(..) {
            self.counts.tokens -= text.tokens.len() as u64;
            tasks.push(text.task);
        }
        tasks.sort_by(before);
        for task in tasks.into_iter().rev() {
            self.waiting.push_front(task);
        }
        let (spec, engine) = (self.decoder.spec(), self.decoder.engine());
        self.tree = KvTree::new(spec, engine, self.pages);
        if let Some(gpu) = engine.gpu() {
            gpu.trim();
        }
        true
    }

    /// Takes prompts that there is room for, computes them and writes the first token after each.
    fn begin(&mut self, session: &mut Session) -> Result<(), ScorerError> {
        let room = self.at_once;
        let free = room.saturating_sub(self.texts.len());
        // A few prompts alone would waste a pass: a quarter of the places is freed first.
        if !self.texts.is_empty() && free * 4 < room {
            return Ok(());
        }
        let mut taken: Vec<Task> = Vec::new();
        while let Some(task) = self.waiting.front() {
            let in_hand = self
                .texts
                .iter()
                .map(|text| &text.task)
                .chain(&taken)
                .next();
            let alike = in_hand.is_none_or(|other| other.length_class == task.length_class);
            if taken.len() == free || !alike || self.promised + task.pages() > self.pages {
                break;
            }
            self.promised += task.pages();
            taken.extend(self.waiting.pop_front());
        }
        let Some(first) = taken.first() else {
            return Ok(());
        };
        self.decoder.enter(session, first.length_class);
        let first = self.texts.len();
        match self.compute(session, &taken) {
            Ok((last_rows, branches)) => {
                for (task, branch) in taken.into_iter().zip(branches) {
                    let id = &self.prompts[task.number].id;
                    self.texts.push(Text::new(task, branch, id));
                }
                self.write(first, &last_rows)
            }
            Err(error) => {
                self.taking = taken;
                Err(error)
            }
        }
    }

    /// Computes prompts (in the order of a trie), keeps their K/V, and returns the hidden states after each.
    ///
    /// # Shapes
    /// Returns `[prompts, hidden]`.
    fn compute(
        &mut self,
        session: &mut Session,
        tasks: &[Task],
    ) -> Result<(Rows, Vec<KvBranch>), ScorerError> {
        let decoder = self.decoder;
        let sequences: Vec<(&[u32], &[u32])> = tasks
            .iter()
            .map(|task| (&task.tokens[..], &[][..]))
            .collect();
        let (mut places, mut copies, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
        let mut branches: Vec<KvBranch> = Vec::new();
        let mut before: &[u32] = &[];
        let tree = &mut self.tree;
        let trie = Trie::new(
            &sequences,
            |_| 0,
            |index, path| {
                let tokens = sequences[index].0;
                let shared = tokens
                    .iter()
                    .zip(before)
                    .take_while(|(a, b)| a == b)
                    .count();
                let root = KvBranch::default();
                let (mut branch, copy) = tree.fork(branches.last().unwrap_or(&root), shared);
                copies.extend(copy);
                places.extend(tokens[shared..].iter().map(|_| tree.extend(&mut branch)));
                lasts.extend(path.last().copied());
                branches.push(branch);
                before = tokens;
            },
        );
        let mut states: Vec<Rows> = Vec::new();
        for (range, _) in trie.cuts(decoder.pass_rows()) {
            let (start, end) = (range.start, range.end);
            let next_depth = trie.depths.get(end).copied().unwrap_or(0);
            let begin = u32::try_from(start).unwrap_or(u32::MAX);
            let in_pass = lasts.iter().filter(|row| range.contains(&(**row as usize)));
            let of_texts: Vec<u32> = in_pass.map(|row| row - begin).collect();
            let mut read = of_texts.clone();
            read.dedup();
            let (tokens, depths) = (&trie.tokens[range.clone()], &trie.depths[range]);
            let pass = Pass::new(tokens, depths, next_depth, &read);
            let hidden = decoder.pass_into(session, &pass, tree, &places[start..end])?;
            let Some(hidden) = hidden else { continue };
            // Equal prompts read one row.
            let rows = of_texts
                .iter()
                .map(|row| read.partition_point(|read| read < row));
            let rows: Vec<u32> = rows.filter_map(|row| u32::try_from(row).ok()).collect();
            states.push(decoder.engine().select(&hidden, &rows, RowUse::Head)?);
        }
        for copy in copies {
            tree.copy(copy)?;
        }
        self.counts.prompt_rows += trie.len() as u64;
        let hidden = decoder.engine().joined(&states, RowUse::Head)?;
        Ok((hidden, branches))
    }

    /// Computes the last token of every text and writes the next.
    fn step(&mut self, session: &mut Session) -> Result<(), ScorerError> {
        if self.texts.is_empty() {
            return Ok(());
        }
        let tokens = self.texts.iter().filter_map(|text| text.tokens.last());
        let tokens: Vec<u32> = tokens.copied().collect();
        let mut branches: Vec<&mut KvBranch> =
            self.texts.iter_mut().map(|text| &mut text.branch).collect();
        let decoder = self.decoder;
        let hidden = decoder.step(session, &mut self.tree, &mut branches, &tokens)?;
        self.counts.steps += 1;
        self.write(0, &hidden)
    }

    /// Writes a token of each text from `first` on, whose hidden states are given, and takes those that end out of hand.
    ///
    /// # Shapes
    /// `hidden`: `[texts, hidden]`.
    fn write(&mut self, first: usize, hidden: &Rows) -> Result<(), ScorerError> {
        let texts = &mut self.texts[first..];
        let mut chosen = Vec::with_capacity(texts.len());
        let scorer = self.scorer;
        let (decoder, engine) = (self.decoder, self.decoder.engine());
        let hidden = engine.joined(std::slice::from_ref(hidden), RowUse::Head)?;
        let most = decoder.config().head_rows;
        for first in (0..texts.len()).step_by(most) {
            let rows = first..texts.len().min(first + most);
            let choices: Vec<Choice> = texts[rows.clone()].iter_mut().map(Text::choice).collect();
            let hidden = engine.part(&hidden, rows)?;
            chosen.extend(decoder.choose(&hidden, &choices, &mut self.slice)?);
        }
        let mut kept: Vec<Text> = self.texts.drain(..first).collect();
        for (mut text, chosen) in self.texts.drain(..).zip(chosen) {
            let id = &self.prompts[text.task.number].id;
            let log_prob = LogProb::new(chosen.log_prob)
                .map_err(|_| ScorerError::NotFinite { id: id.clone() })?;
            text.tokens.push(chosen.token);
            text.log_probs.push(log_prob);
            self.counts.tokens += 1;
            let Some(finish) = text.finish(scorer, &self.ends)? else {
                kept.push(text);
                continue;
            };
            self.promised -= text.task.pages();
            self.counts.texts += 1;
            self.tree.release(std::mem::take(&mut text.branch));
            let number = text.task.number;
            self.ended.push((number, text.reading(scorer, id, finish)?));
        }
        self.texts = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::repeats;

    #[test]
    fn what_stands_over_and_over_is_a_repetition() {
        let varied: Vec<u32> = (0..400).map(|i| i * i % 97).collect();
        assert!(!repeats(&varied));
        let mut text = varied.clone();
        text.extend([7; 47]);
        assert!(!repeats(&text));
        text.push(7);
        assert!(repeats(&text));
        let mut text = varied;
        for _ in 0..3 {
            text.extend(0..20);
        }
        assert!(!repeats(&text));
        text.extend(0..20);
        assert!(repeats(&text));
    }
}
