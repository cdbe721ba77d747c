//! From prompts to rows and what is read at them.

use crate::labels::{LabelTable, Way};
use crate::{ScorerError, Trie};
use concord_checkpoint::{CheckpointError, Snapshot};
use concord_readings::{Input, Prompt, Read};
use rayon::prelude::*;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A log-probability to read: of `token` after `row`, into a prompt's `slot`.
pub(crate) struct Probe {
    pub row: u32,
    pub token: u32,
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
}

pub(crate) struct PromptPlan {
    pub id: String,
    pub tokens: usize,
    pub answers: Vec<AnswerPlan>,
    pub slots: usize,
}

/// Everything that a run computes and reads, worked out before the first pass.
pub struct Plan {
    /// The rows.
    pub trie: Trie,
    /// Tokens of all prompts and continuations, each prompt counted once.
    pub tokens_asked: u64,
    pub(crate) prompts: Vec<PromptPlan>,
    /// By row.
    pub(crate) probes: Vec<Probe>,
    /// Rows whose whole distribution is summarised for a prompt, by row.
    pub(crate) summaries: Vec<(u32, u32)>,
}

/// A prompt's tokens and its continuations'; none where it cannot be asked.
#[derive(Default)]
struct Tokenised {
    prompt: Vec<u32>,
    continuations: Vec<Continued>,
}

impl Tokenised {
    /// The longest sequence, with what is read along it but its last token.
    fn longest(&self) -> usize {
        let continued = self.continuations.iter().map(|continued| {
            let base = continued.base.as_ref().unwrap_or(&self.prompt).len();
            base + continued.tokens.len() - 1
        });
        continued.fold(self.prompt.len(), usize::max)
    }
}

/// A continuation in tokens.
struct Continued {
    /// What it stands after, where that is not the prompt as it is: the prompt without the spaces that it ends with.
    base: Option<Vec<u32>>,
    tokens: Vec<u32>,
    /// Whether it was tokenised on its own, since prompt and text together are other tokens.
    alone: bool,
}

/// A token to read at some rows after the prompt's last one.
struct Ahead {
    rows: usize,
    token: u32,
    slot: u32,
}

/// What is appended to a prompt to make one sequence, and what is read along it.
struct Branch {
    /// What it is appended to, where that is not the prompt.
    base: Option<Vec<u32>>,
    appended: Vec<u32>,
    reads: Vec<Ahead>,
}

/// The ways to write labels, by labels and openings.
type Ways<'a> = HashMap<(&'a [String], &'a [String]), Arc<Vec<(String, Vec<Way>)>>>;

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
        let tokenised = prompts.par_iter().map(|prompt| tokenise(snapshot, prompt));
        let tokenised = tokenised.collect::<Result<Vec<_>, _>>()?;
        let ways = ways(snapshot, table, prompts, true)?;
        Self::lay_out(snapshot, prompts, &tokenised, &ways)
    }

    /// [`Plan::new`] of prompts of which some may be impossible: those are left out, and come back complete at once with no answer.
    /// Returns what is wrong with each of them, by number. A label that no token spells is left out of its reading.
    ///
    /// # Errors
    /// [`ScorerError`] of the plan as a whole.
    pub fn of_possible(
        snapshot: &Snapshot,
        table: &LabelTable,
        prompts: &[Prompt],
    ) -> Result<(Self, BTreeMap<usize, ScorerError>), ScorerError> {
        let limit = snapshot.spec.context_length();
        let tokenised = prompts.par_iter().map(|prompt| {
            let tokenised = tokenise(snapshot, prompt)?;
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
        let ways = ways(snapshot, table, prompts, false)?;
        Ok((
            Self::lay_out(snapshot, prompts, &tokenised, &ways)?,
            problems,
        ))
    }

    fn lay_out(
        snapshot: &Snapshot,
        prompts: &[Prompt],
        tokenised: &[Tokenised],
        ways: &Ways<'_>,
    ) -> Result<Self, ScorerError> {
        let mut plans = Vec::with_capacity(prompts.len());
        let mut branches: Vec<(usize, Branch)> = Vec::new();
        for (number, (prompt, tokenised)) in prompts.iter().zip(tokenised).enumerate() {
            if tokenised.prompt.is_empty() {
                plans.push(PromptPlan {
                    id: prompt.id.clone(),
                    tokens: 0,
                    answers: Vec::new(),
                    slots: 0,
                });
                continue;
            }
            let (plan, of_prompt) = branch(prompt, tokenised, ways);
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
                    token: read.token,
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
        let length = |tokenised: &Tokenised| {
            tokenised.prompt.len()
                + tokenised
                    .continuations
                    .iter()
                    .map(|continued| continued.tokens.len())
                    .sum::<usize>()
        };
        let tokens_asked = tokenised
            .iter()
            .map(|tokenised| length(tokenised) as u64)
            .sum();
        Ok(Self {
            trie,
            tokens_asked,
            prompts: plans,
            probes,
            summaries,
        })
    }
}

impl Plan {
    /// Bytes of the readings of all prompts in memory, about: texts, tokens and log-probabilities of what is read, and names.
    pub fn reading_bytes(&self) -> u64 {
        let prompts = self.prompts.iter();
        prompts.map(|prompt| 900 + 130 * prompt.slots as u64).sum()
    }
}

impl PromptPlan {
    /// Whether the whole distribution after the prompt is summarised.
    fn is_summarised(&self) -> bool {
        self.answers
            .iter()
            .any(|answer| matches!(answer, AnswerPlan::NextToken { .. }))
    }
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
fn branch(prompt: &Prompt, tokenised: &Tokenised, ways: &Ways<'_>) -> (PromptPlan, Vec<Branch>) {
    let mut next_slot = 0u32;
    let mut ahead = |rows: usize, token: u32| {
        let slot = next_slot;
        next_slot += 1;
        Ahead { rows, token, slot }
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
                let planned = ways
                    .get(&(labels.as_slice(), openings.as_slice()))
                    .cloned()
                    .unwrap_or_default();
                for (_, of_label) in planned.iter() {
                    for way in of_label {
                        let Some(opening) = way.opening else {
                            bare.reads.push(ahead(0, way.token));
                            continue;
                        };
                        bare.reads.push(ahead(0, opening));
                        let read = ahead(1, way.token);
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
                answers.push(AnswerPlan::NextToken { labels: planned });
            }
            // Refused when the prompt was tokenised.
            Read::Generation(_) => {}
            Read::Continuation { text } => {
                let Some(continued) = continuations.next() else {
                    continue;
                };
                let tokens = &continued.tokens;
                let reads = tokens
                    .iter()
                    .enumerate()
                    .map(|(rows, token)| ahead(rows, *token))
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
        },
        others,
    )
}

fn tokenise(snapshot: &Snapshot, prompt: &Prompt) -> Result<Tokenised, ScorerError> {
    let named = |source: CheckpointError| ScorerError::Prompt {
        id: prompt.id.clone(),
        source,
    };
    let (text, tokens) = tokens_of(snapshot, prompt)?;
    let mut continuations = Vec::new();
    for read in &prompt.reads {
        if matches!(read, Read::Generation(_)) {
            return Err(ScorerError::Mixed {
                id: prompt.id.clone(),
            });
        }
        if let Read::Continuation { text: more } = read {
            let continued =
                continuation(snapshot, prompt, (&text, &tokens), more).map_err(named)?;
            if continued.tokens.is_empty() {
                return Err(ScorerError::EmptyContinuation {
                    id: prompt.id.clone(),
                    text: more.clone(),
                });
            }
            continuations.push(continued);
        }
    }
    Ok(Tokenised {
        prompt: tokens,
        continuations,
    })
}

/// A continuation in the tokens that prompt and text have together, where they begin with the prompt's: a vocabulary that puts a space
/// before every text would else put one where no text has one. Spaces that the prompt ends with are taken for the continuation's, as
/// vocabularies have them.
///
/// # Source
/// `_encode_pair` of lm-evaluation-harness 0.4.
fn continuation(
    snapshot: &Snapshot,
    prompt: &Prompt,
    (text, tokens): (&str, &[u32]),
    more: &str,
) -> Result<Continued, CheckpointError> {
    let vocabulary = &snapshot.vocabulary;
    let encode = |text: &str| match prompt.input {
        Input::Text(_) => vocabulary.text(text),
        Input::Conversation(_) => vocabulary.rendered(text),
    };
    let joint = encode(&format!("{text}{more}"))?;
    let rest = |base: &[u32]| {
        let rest = joint.strip_prefix(base)?;
        (!rest.is_empty()).then(|| rest.to_vec())
    };
    if let Some(tokens) = rest(tokens) {
        let (base, alone) = (None, false);
        return Ok(Continued {
            base,
            tokens,
            alone,
        });
    }
    let trimmed = text.trim_end();
    if trimmed.len() < text.len() && !trimmed.is_empty() {
        let base = encode(trimmed)?;
        if let Some(tokens) = rest(&base)
            && !base.is_empty()
        {
            let (base, alone) = (Some(base), false);
            return Ok(Continued {
                base,
                tokens,
                alone,
            });
        }
    }
    Ok(Continued {
        base: None,
        tokens: vocabulary.continuation(more)?,
        alone: true,
    })
}

/// A prompt as text and as tokens, at least one.
pub(crate) fn tokens_of(
    snapshot: &Snapshot,
    prompt: &Prompt,
) -> Result<(String, Vec<u32>), ScorerError> {
    let id = || prompt.id.clone();
    let (text, tokens) = snapshot
        .tokens(&prompt.input)
        .map_err(|source| ScorerError::Prompt { id: id(), source })?;
    if tokens.is_empty() {
        return Err(ScorerError::EmptyPrompt { id: id() });
    }
    Ok((text, tokens))
}

/// The length in tokens of each prompt, with the longest text that is read or may be written after it. A prompt whose length is
/// within the context can be asked.
///
/// # Errors
/// [`ScorerError`] naming the prompt that cannot be rendered or tokenised.
pub fn lengths(snapshot: &Snapshot, prompts: &[Prompt]) -> Result<Vec<usize>, ScorerError> {
    let lengths = prompts.par_iter().map(|prompt| length(snapshot, prompt));
    lengths.collect()
}

/// The same for each prompt by itself: its length, or why it cannot be asked.
pub fn possible_lengths(
    snapshot: &Snapshot,
    prompts: &[Prompt],
) -> Vec<Result<usize, ScorerError>> {
    let limit = snapshot.spec.context_length();
    let lengths = prompts.par_iter().map(|prompt| {
        let tokens = length(snapshot, prompt)?;
        if tokens > limit {
            let id = prompt.id.clone();
            return Err(ScorerError::TooLong { id, tokens, limit });
        }
        Ok(tokens)
    });
    lengths.collect()
}

fn length(snapshot: &Snapshot, prompt: &Prompt) -> Result<usize, ScorerError> {
    let (_, tokens) = tokens_of(snapshot, prompt)?;
    let after = prompt.reads.iter().map(|read| match read {
        // An opening may come between prompt and label.
        Read::NextToken { .. } | Read::Generation(_) => Ok(1),
        Read::Continuation { text } => snapshot.vocabulary.continuation(text).map(|t| t.len()),
    });
    let after = after
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| ScorerError::Prompt {
            id: prompt.id.clone(),
            source,
        })?;
    Ok(tokens.len() + after.into_iter().max().unwrap_or(0))
}
