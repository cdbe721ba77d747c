//! From prompts to rows and what is read at them.

use crate::digest::{self, Ends};
use crate::labels::{LabelTable, Way};
use crate::spelling::Alphabet;
use crate::strings::{StringsPlan, StringsPlans, strings_plans};
use crate::tokenised::{Tokenised, tokenise};
use crate::{Counts, ScorerError, Trie};
use concord_checkpoint::{DecoderSpec, Snapshot};
use concord_readings::{End, Prompt, PromptDigest, Read};
use rayon::prelude::*;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A number to read after a row.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    /// The log-probability of a token.
    Token(u32),
    /// The probability that a text ends.
    Ended(End),
}

/// A number to read after `row`, into a prompt's `slot`.
pub(crate) struct Probe {
    pub row: u32,
    pub number: Number,
    pub prompt: u32,
    pub slot: u32,
}

/// How the slots of a prompt become an answer.
pub(crate) enum AnswerPlan {
    /// Ways by label; each takes one slot, or two where it has an opening. Prompts that ask for the same labels share them.
    NextToken {
        labels: Arc<Vec<(String, Vec<Way>)>>,
    },
    /// One slot a token.
    Continuation {
        text: String,
        tokens: Vec<u32>,
        joint_tokens_differ: bool,
    },
    /// Spellings with their own slots, counted from the first of the answer's.
    Strings(Arc<StringsPlan>),
}

pub(crate) struct PromptPlan {
    pub id: String,
    pub tokens: usize,
    pub answers: Vec<AnswerPlan>,
    pub slots: usize,
    /// Of what is asked; none where it cannot be asked.
    digest: Option<PromptDigest>,
}

/// Everything that a run computes and reads, worked out before the first pass.
pub struct Plan {
    /// The rows.
    pub trie: Trie,
    /// Tokens of all prompts, continuations and spellings of texts, each prompt counted once.
    pub tokens_asked: u64,
    pub(crate) prompts: Vec<PromptPlan>,
    /// By row.
    pub(crate) probes: Vec<Probe>,
    /// Rows whose whole distribution is summarised for a prompt, by row.
    pub(crate) summaries: Vec<(u32, u32)>,
    /// The tokens that decide whether texts end, where that is read.
    pub(crate) alphabet: Arc<Alphabet>,
}

/// A number to read at some rows after the prompt's last one.
pub(crate) struct Ahead {
    pub rows: usize,
    pub number: Number,
    pub slot: u32,
}

/// What is appended to a prompt to make one sequence, and what is read along it.
pub(crate) struct Branch {
    /// What it is appended to, where that is not the prompt.
    pub base: Option<Vec<u32>>,
    pub appended: Vec<u32>,
    pub reads: Vec<Ahead>,
}

/// The most tokens that are asked for after rows at once, where they are many.
pub(crate) const MOST_ASKED: usize = 1 << 20;

/// The ways to write labels, by labels and openings.
type Ways<'a> = HashMap<(&'a [String], &'a [String]), Arc<Vec<(String, Vec<Way>)>>>;

/// How everything that is asked is written in tokens.
pub(crate) struct Written<'a> {
    ways: Ways<'a>,
    pub strings: StringsPlans<'a>,
    pub alphabet: Arc<Alphabet>,
}

impl Plan {
    /// Tokenises the prompts and lays out the trie.
    ///
    /// # Errors
    /// [`ScorerError`] naming the prompt or label.
    pub fn new(
        snapshot: &Snapshot,
        table: &LabelTable,
        prompts: &[Prompt],
    ) -> Result<Self, ScorerError> {
        let strings = strings_plans(&snapshot.vocabulary, table, prompts);
        let tokenised = prompts.par_iter();
        let tokenised = tokenised.map(|prompt| tokenise(snapshot, prompt, &strings));
        let tokenised = tokenised.collect::<Result<Vec<_>, _>>()?;
        let written = written(snapshot, table, prompts, strings, true)?;
        Self::lay_out(snapshot, prompts, &tokenised, &written)
    }

    /// [`Plan::new`] of prompts of which some may be impossible: those are left out, and come back complete at once with no answer.
    /// Returns what is wrong with each of them, by number. A label or text that no token spells is left out of its reading.
    ///
    /// # Errors
    /// [`ScorerError`] of the plan as a whole.
    pub fn of_possible(
        snapshot: &Snapshot,
        table: &LabelTable,
        prompts: &[Prompt],
    ) -> Result<(Self, BTreeMap<usize, ScorerError>), ScorerError> {
        let limit = snapshot.spec.context_length();
        let strings = strings_plans(&snapshot.vocabulary, table, prompts);
        let tokenised = prompts.par_iter().map(|prompt| {
            let tokenised = tokenise(snapshot, prompt, &strings)?;
            let tokens = tokenised.longest();
            if tokens > limit {
                let id = prompt.id.clone();
                return Err(ScorerError::TooLong { id, tokens, limit });
            }
            Ok(tokenised)
        });
        let tokenised: Vec<Result<Tokenised, ScorerError>> = tokenised.collect();
        let mut problems = BTreeMap::new();
        let tokenised = tokenised
            .into_iter()
            .enumerate()
            .map(|(number, tokenised)| {
                tokenised.unwrap_or_else(|problem| {
                    problems.insert(number, problem);
                    Tokenised::default()
                })
            });
        let tokenised: Vec<Tokenised> = tokenised.collect();
        let written = written(snapshot, table, prompts, strings, false)?;
        Ok((
            Self::lay_out(snapshot, prompts, &tokenised, &written)?,
            problems,
        ))
    }

    fn lay_out(
        snapshot: &Snapshot,
        prompts: &[Prompt],
        tokenised: &[Tokenised],
        written: &Written<'_>,
    ) -> Result<Self, ScorerError> {
        let mut plans = Vec::with_capacity(prompts.len());
        let mut branches: Vec<(usize, Branch)> = Vec::new();
        let ends = Ends::new(&written.alphabet);
        let planned = prompts.par_iter().zip(tokenised);
        let planned = planned.map(|(prompt, tokenised)| {
            if tokenised.prompt.is_empty() {
                let nothing = PromptPlan {
                    id: prompt.id.clone(),
                    tokens: 0,
                    answers: Vec::new(),
                    slots: 0,
                    digest: None,
                };
                return (nothing, Vec::new());
            }
            let (mut plan, branches) = branch(prompt, tokenised, written);
            plan.digest = Some(digest::of_read(prompt, &tokenised.prompt, &branches, &ends));
            (plan, branches)
        });
        let planned: Vec<(PromptPlan, Vec<Branch>)> = planned.collect();
        for (number, (plan, of_prompt)) in planned.into_iter().enumerate() {
            plans.push(plan);
            branches.extend(of_prompt.into_iter().map(|branch| (number, branch)));
        }
        let sequences: Vec<(&[u32], &[u32])> = branches
            .iter()
            .map(|(prompt, branch)| {
                let base = branch.base.as_ref().unwrap_or(&tokenised[*prompt].prompt);
                (base.as_slice(), branch.appended.as_slice())
            })
            .collect();
        let (mut probes, mut summaries) = (Vec::new(), Vec::new());
        let limit = snapshot.spec.context_length();
        let class = |length| snapshot.spec.length_class(length);
        let mut too_long = None;
        let trie = Trie::new(&sequences, class, |sequence, path| {
            let (prompt, branch) = &branches[sequence];
            if path.len() > limit && too_long.is_none() {
                too_long = Some((*prompt, path.len()));
            }
            let last = path.len() - 1 - branch.appended.len();
            let number = u32::try_from(*prompt).unwrap_or(u32::MAX);
            for read in &branch.reads {
                probes.push(Probe {
                    row: path[last + read.rows],
                    number: read.number,
                    prompt: number,
                    slot: read.slot,
                });
            }
            if branch.base.is_none() && plans[*prompt].is_summarised() {
                summaries.push((path[last], number));
            }
        });
        if let Some((prompt, tokens)) = too_long {
            return Err(ScorerError::TooLong {
                id: plans[prompt].id.clone(),
                tokens,
                limit,
            });
        }
        probes.sort_by_key(|probe| (probe.row, probe.prompt, probe.slot));
        summaries.sort_unstable();
        summaries.dedup();
        let asked = tokenised.iter().zip(&plans);
        let tokens_asked =
            asked.map(|(tokenised, plan)| tokenised.prompt.len() as u64 + plan.tokens());
        let tokens_asked = tokens_asked.sum();
        Ok(Self {
            trie,
            tokens_asked,
            prompts: plans,
            probes,
            summaries,
            alphabet: Arc::clone(&written.alphabet),
        })
    }
}

impl Plan {
    /// The digest of every prompt that can be asked, with its name, in their order.
    pub fn digests(&self) -> impl Iterator<Item = (&str, PromptDigest)> {
        let prompts = self.prompts.iter();
        prompts.filter_map(|prompt| Some((prompt.id.as_str(), prompt.digest?)))
    }

    /// What a run of it counts in passes of so many rows on one device whose memory holds, without any weight.
    pub fn counts(&self, spec: &DecoderSpec, rows_per_pass: usize) -> Counts {
        let rows = self.probes.iter().map(|probe| probe.row);
        let mut read: Vec<u32> = rows
            .chain(self.summaries.iter().map(|(row, _)| *row))
            .collect();
        read.sort_unstable();
        read.dedup();
        let rows = self.trie.len() as u64;
        let mut counts = Counts {
            prompts: self.prompts.len() as u64,
            tokens_asked: self.tokens_asked,
            trie_rows: rows,
            rows_computed: rows,
            rows_read: read.len() as u64,
            product_flops: spec.head_flops(read.len()),
            ..Counts::default()
        };
        for (pass, _) in self.trie.cuts(rows_per_pass) {
            let before = |end: usize| read.partition_point(|row| (*row as usize) < end);
            let finishing = before(pass.end) - before(pass.start);
            counts.product_flops += spec.pass_flops(pass.len(), finishing);
            counts.passes += 1;
        }
        counts
    }

    /// Bytes of the readings of all prompts in memory, about: texts, tokens and log-probabilities of what is read, and names.
    pub fn reading_bytes(&self) -> u64 {
        let prompts = self.prompts.iter();
        let readings: u64 = prompts.map(PromptPlan::reading_bytes).sum();
        // What decides whether a text ends is many tokens, of which so many are on their way at once.
        let ends = self.probes.iter().map(|probe| match probe.number {
            Number::Token(_) => 0,
            Number::Ended(end) => self.alphabet.deciding(end).len(),
        });
        readings + 24 * ends.sum::<usize>().min(MOST_ASKED) as u64
    }
}

impl PromptPlan {
    /// Whether the whole distribution after the prompt is summarised.
    fn is_summarised(&self) -> bool {
        self.answers
            .iter()
            .any(|answer| matches!(answer, AnswerPlan::NextToken { .. }))
    }

    /// Tokens of what is read after the prompt, labels not counted.
    fn tokens(&self) -> u64 {
        let answers = self.answers.iter().map(|answer| match answer {
            AnswerPlan::NextToken { .. } => 0,
            AnswerPlan::Continuation { tokens, .. } => tokens.len() as u64,
            AnswerPlan::Strings(strings) => strings.tokens,
        });
        answers.sum()
    }

    fn reading_bytes(&self) -> u64 {
        let strings = self.answers.iter().map(|answer| match answer {
            AnswerPlan::Strings(strings) => strings.bytes,
            AnswerPlan::NextToken { .. } | AnswerPlan::Continuation { .. } => 0,
        });
        900 + 130 * self.slots as u64 + strings.sum::<u64>()
    }
}

/// How everything that the prompts ask for is written, without what cannot be, unless `all` is wanted.
pub(crate) fn written<'a>(
    snapshot: &Snapshot,
    table: &LabelTable,
    prompts: &'a [Prompt],
    strings: StringsPlans<'a>,
    all: bool,
) -> Result<Written<'a>, ScorerError> {
    for prompt in prompts.iter().filter(|_| all) {
        for read in &prompt.reads {
            let Read::Strings(asked) = read else { continue };
            let not_spelled = strings.get(asked).map(|plan| &plan.not_spelled[..]);
            if let Some([text, ..]) = not_spelled {
                let (id, text) = (prompt.id.clone(), text.clone());
                return Err(ScorerError::TextNotCovered { id, text });
            }
        }
    }
    let is_read = |end| strings.values().any(|plan| plan.end == end);
    let alphabet = if is_read(End::Digit) || is_read(End::Letter) {
        table.alphabet(&snapshot.vocabulary)
    } else {
        Arc::default()
    };
    Ok(Written {
        ways: ways(snapshot, table, prompts, all)?,
        strings,
        alphabet,
    })
}

/// Finds the ways to write every label of the prompts, each once; without those that cannot be written, unless `all` are wanted.
fn ways<'a>(
    snapshot: &Snapshot,
    table: &LabelTable,
    prompts: &'a [Prompt],
    all: bool,
) -> Result<Ways<'a>, ScorerError> {
    let mut ways = Ways::new();
    for prompt in prompts {
        for read in &prompt.reads {
            let Read::NextToken { labels, openings } = read else {
                continue;
            };
            let Entry::Vacant(entry) = ways.entry((labels, openings)) else {
                continue;
            };
            let mut of_labels = Vec::with_capacity(labels.len());
            for label in labels {
                let found = table.ways(label, openings, &snapshot.vocabulary);
                if found.is_empty() && !all {
                    continue;
                }
                if found.is_empty() {
                    let (id, label) = (prompt.id.clone(), label.clone());
                    return Err(ScorerError::LabelNotCovered { id, label });
                }
                of_labels.push((label.clone(), found));
            }
            entry.insert(Arc::new(of_labels));
        }
    }
    Ok(ways)
}

/// Gives every log-probability of a prompt a slot, and says along which branch it is read.
pub(crate) fn branch(
    prompt: &Prompt,
    tokenised: &Tokenised,
    written: &Written<'_>,
) -> (PromptPlan, Vec<Branch>) {
    let mut next_slot = 0u32;
    let mut ahead = |rows: usize, number: Number| {
        let slot = next_slot;
        next_slot += 1;
        Ahead { rows, number, slot }
    };
    let mut bare = Branch {
        base: None,
        appended: Vec::new(),
        reads: Vec::new(),
    };
    let mut others: Vec<Branch> = Vec::new();
    let mut answers = Vec::new();
    let mut continuations = tokenised.continuations.iter();
    for read in &prompt.reads {
        match read {
            Read::NextToken { labels, openings } => {
                let planned = written
                    .ways
                    .get(&(labels.as_slice(), openings.as_slice()))
                    .cloned()
                    .unwrap_or_default();
                read_labels(&planned, &mut bare, &mut others, &mut ahead);
                answers.push(AnswerPlan::NextToken { labels: planned });
            }
            // Refused when the prompt was tokenised.
            Read::Generation(_) => {}
            Read::Strings(strings) => {
                let Some(plan) = written.strings.get(strings) else {
                    continue;
                };
                for spelling in plan.spellings() {
                    let reads = plan.own_numbers(spelling);
                    let reads = reads.map(|(rows, number)| ahead(rows, number));
                    let appended = plan.rows_of(spelling);
                    if appended.is_empty() {
                        bare.reads.extend(reads);
                        continue;
                    }
                    others.push(Branch {
                        base: None,
                        appended: appended.to_vec(),
                        reads: reads.collect(),
                    });
                }
                answers.push(AnswerPlan::Strings(Arc::clone(plan)));
            }
            Read::Continuation { text } => {
                let Some(continued) = continuations.next() else {
                    continue;
                };
                let tokens = &continued.tokens;
                let reads = tokens
                    .iter()
                    .enumerate()
                    .map(|(rows, token)| ahead(rows, Number::Token(*token)))
                    .collect();
                // The last token is read, never computed.
                others.push(Branch {
                    base: continued.base.clone(),
                    appended: tokens[..tokens.len() - 1].to_vec(),
                    reads,
                });
                answers.push(AnswerPlan::Continuation {
                    text: text.clone(),
                    tokens: tokens.clone(),
                    joint_tokens_differ: continued.alone,
                });
            }
        }
    }
    others.push(bare);
    let (id, tokens, slots) = (
        prompt.id.clone(),
        tokenised.prompt.len(),
        next_slot as usize,
    );
    (
        PromptPlan {
            id,
            tokens,
            answers,
            slots,
            digest: None,
        },
        others,
    )
}

/// Reads every way to write labels: after the prompt, and after an opening.
fn read_labels(
    planned: &[(String, Vec<Way>)],
    bare: &mut Branch,
    others: &mut Vec<Branch>,
    mut ahead: impl FnMut(usize, Number) -> Ahead,
) {
    for way in planned.iter().flat_map(|(_, ways)| ways) {
        let Some(opening) = way.opening else {
            bare.reads.push(ahead(0, Number::Token(way.token)));
            continue;
        };
        bare.reads.push(ahead(0, Number::Token(opening)));
        let read = ahead(1, Number::Token(way.token));
        match others
            .iter_mut()
            .find(|branch| branch.base.is_none() && branch.appended == [opening])
        {
            Some(branch) => branch.reads.push(read),
            None => others.push(Branch {
                base: None,
                appended: vec![opening],
                reads: vec![read],
            }),
        }
    }
}
