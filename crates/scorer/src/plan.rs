//! From prompts to rows and what is read at them.

use crate::labels::{LabelTable, Way};
use crate::{ScorerError, Trie};
use concord_checkpoint::{CheckpointError, Snapshot};
use concord_readings::{Prompt, Read};
use rayon::prelude::*;
use std::collections::HashMap;

/// A log-probability to read: of `token` after `row`, into a prompt's `slot`.
pub(crate) struct Probe {
    pub row: u32,
    pub token: u32,
    pub prompt: u32,
    pub slot: u32,
}

/// How the slots of a prompt become an answer.
pub(crate) enum AnswerPlan {
    /// Ways by label; each takes one slot, or two where it has an opening.
    NextToken { labels: Vec<(String, Vec<Way>)> },
    /// One slot a token.
    Continuation { text: String, tokens: Vec<u32>, joint_tokens_differ: bool },
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

/// A prompt's tokens and its continuations'.
struct Tokenised {
    prompt: Vec<u32>,
    continuations: Vec<(Vec<u32>, bool)>,
}

impl Plan {
    /// Tokenises the prompts and lays out the trie.
    ///
    /// # Errors
    /// [`ScorerError`] naming the prompt or label.
    pub fn new(snapshot: &Snapshot, table: &LabelTable, prompts: &[Prompt]) -> Result<Self, ScorerError> {
        let tokenised: Vec<Tokenised> =
            prompts.par_iter().map(|prompt| tokenise(snapshot, prompt)).collect::<Result<_, _>>()?;
        let mut ways: HashMap<(&str, &[String]), Vec<Way>> = HashMap::new();
        let mut plans = Vec::with_capacity(prompts.len());
        // The sequences: prompt, then what is appended to it.
        let mut extensions: Vec<(usize, Vec<u32>)> = Vec::new();
        // By sequence: slots read at an offset from the prompt's last row.
        let mut reads: Vec<Vec<(usize, u32, u32)>> = Vec::new();
        for (index, (prompt, tokenised)) in prompts.iter().zip(&tokenised).enumerate() {
            let mut slots = 0u32;
            let mut at_end: Vec<(usize, u32, u32)> = Vec::new();
            let mut opened: Vec<(u32, Vec<(usize, u32, u32)>)> = Vec::new();
            let mut answers = Vec::new();
            let mut continuations = tokenised.continuations.iter();
            for read in &prompt.reads {
                match read {
                    Read::NextToken { labels, openings } => {
                        let mut planned = Vec::new();
                        for label in labels {
                            let key = (label.as_str(), openings.as_slice());
                            if !ways.contains_key(&key) {
                                ways.insert(key, table.ways(label, openings, &snapshot.vocabulary)?);
                            }
                            let of_label = ways[&key].clone();
                            for way in &of_label {
                                if let Some(first) = way.opening {
                                    at_end.push((0, first, slots));
                                    slots += 1;
                                    let probe = (1, way.token, slots);
                                    match opened.iter_mut().find(|(token, _)| *token == first) {
                                        Some((_, probes)) => probes.push(probe),
                                        None => opened.push((first, vec![probe])),
                                    }
                                } else {
                                    at_end.push((0, way.token, slots));
                                }
                                slots += 1;
                            }
                            planned.push((label.clone(), of_label));
                        }
                        answers.push(AnswerPlan::NextToken { labels: planned });
                    }
                    Read::Continuation { text } => {
                        let Some((tokens, differ)) = continuations.next() else { continue };
                        let mut probes = Vec::new();
                        for (offset, token) in tokens.iter().enumerate() {
                            probes.push((offset, *token, slots));
                            slots += 1;
                        }
                        // The last token is read, never computed.
                        extensions.push((index, tokens[..tokens.len() - 1].to_vec()));
                        reads.push(probes);
                        answers.push(AnswerPlan::Continuation {
                            text: text.clone(),
                            tokens: tokens.clone(),
                            joint_tokens_differ: *differ,
                        });
                    }
                }
            }
            extensions.push((index, Vec::new()));
            reads.push(at_end);
            for (first, probes) in opened {
                extensions.push((index, vec![first]));
                reads.push(probes);
            }
            plans.push(PromptPlan {
                id: prompt.id.clone(),
                tokens: tokenised.prompt.len(),
                answers,
                slots: slots as usize,
            });
        }
        let sequences: Vec<(&[u32], &[u32])> = extensions
            .iter()
            .map(|(prompt, extension)| (tokenised[*prompt].prompt.as_slice(), extension.as_slice()))
            .collect();
        let (mut probes, mut summaries) = (Vec::new(), Vec::new());
        let limit = snapshot.spec.max_positions;
        let mut too_long = None;
        let trie = Trie::new(&sequences, |sequence, path| {
            let (prompt, extension) = &extensions[sequence];
            if path.len() > limit && too_long.is_none() {
                too_long = Some((*prompt, path.len()));
            }
            let end = path.len() - 1 - extension.len();
            let number = u32::try_from(*prompt).unwrap_or(u32::MAX);
            for (offset, token, slot) in &reads[sequence] {
                probes.push(Probe { row: path[end + offset], token: *token, prompt: number, slot: *slot });
            }
            let wanted = plans[*prompt].answers.iter().any(|answer| matches!(answer, AnswerPlan::NextToken { .. }));
            if extension.is_empty() && wanted && summaries.last() != Some(&(path[end], number)) {
                summaries.push((path[end], number));
            }
        });
        if let Some((prompt, tokens)) = too_long {
            return Err(ScorerError::TooLong { id: plans[prompt].id.clone(), tokens, limit });
        }
        probes.sort_by_key(|probe| (probe.row, probe.prompt, probe.slot));
        summaries.sort_unstable();
        summaries.dedup();
        let length = |tokenised: &Tokenised| {
            tokenised.prompt.len() + tokenised.continuations.iter().map(|(tokens, _)| tokens.len()).sum::<usize>()
        };
        let tokens_asked = tokenised.iter().map(|tokenised| length(tokenised) as u64).sum();
        Ok(Self { trie, tokens_asked, prompts: plans, probes, summaries })
    }
}

fn tokenise(snapshot: &Snapshot, prompt: &Prompt) -> Result<Tokenised, ScorerError> {
    let named = |source: CheckpointError| ScorerError::Prompt { id: prompt.id.clone(), source };
    let (text, tokens) = snapshot.tokens(&prompt.input).map_err(named)?;
    if tokens.is_empty() {
        return Err(ScorerError::EmptyPrompt { id: prompt.id.clone() });
    }
    let mut continuations = Vec::new();
    for read in &prompt.reads {
        if let Read::Continuation { text: more } = read {
            let alone = snapshot.vocabulary.continuation(more).map_err(named)?;
            if alone.is_empty() {
                return Err(ScorerError::EmptyContinuation { id: prompt.id.clone(), text: more.clone() });
            }
            let joint = snapshot.joint_tokens(&prompt.input, &text, more).map_err(named)?;
            let same = joint.strip_prefix(tokens.as_slice()) == Some(&alone[..]);
            continuations.push((alone, !same));
        }
    }
    Ok(Tokenised { prompt: tokens, continuations })
}
