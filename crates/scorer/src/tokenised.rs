//! Prompts and what is read after them, in tokens.

use crate::ScorerError;
use crate::spelling::Alphabet;
use crate::strings::{StringsPlan, StringsPlans};
use concord_checkpoint::{CheckpointError, Snapshot};
use concord_readings::{Input, Prompt, Read, Strings};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A prompt's tokens and its continuations'; none where it cannot be asked.
#[derive(Default)]
pub(crate) struct Tokenised {
    pub prompt: Vec<u32>,
    pub continuations: Vec<Continued>,
    /// Rows of the longest spelling of a text.
    spelled: usize,
}

impl Tokenised {
    /// The longest sequence, with what is read along it but its last token.
    pub fn longest(&self) -> usize {
        let continued = self.continuations.iter().map(|continued| {
            let base = continued.base.as_ref().unwrap_or(&self.prompt).len();
            base + continued.tokens.len() - 1
        });
        continued.fold(self.prompt.len() + self.spelled, usize::max)
    }
}

/// A continuation in tokens.
pub(crate) struct Continued {
    /// What it stands after, where that is not the prompt as it is: the prompt without the spaces that it ends with.
    pub base: Option<Vec<u32>>,
    pub tokens: Vec<u32>,
    /// Whether it was tokenised on its own, since prompt and text together are other tokens.
    pub alone: bool,
}

/// A prompt in tokens, with what is read after it.
pub(crate) fn tokenise(
    snapshot: &Snapshot,
    prompt: &Prompt,
    strings: &StringsPlans<'_>,
) -> Result<Tokenised, ScorerError> {
    let named = |source: CheckpointError| ScorerError::Prompt {
        id: prompt.id.clone(),
        source,
    };
    let (text, tokens) = tokens_of(snapshot, prompt)?;
    let mut continuations = Vec::new();
    let mut spelled = 0;
    for read in &prompt.reads {
        if matches!(read, Read::Generation(_)) {
            return Err(ScorerError::Mixed {
                id: prompt.id.clone(),
            });
        }
        if let Read::Strings(asked) = read {
            check(prompt, asked)?;
            spelled = spelled.max(strings.get(asked).map_or(0, |plan| plan.rows()));
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
        spelled,
    })
}

fn check(prompt: &Prompt, strings: &Strings) -> Result<(), ScorerError> {
    strings.check().map_err(|source| ScorerError::Strings {
        id: prompt.id.clone(),
        source,
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
        Input::Conversation(_) | Input::Prefilled { .. } => vocabulary.rendered(text),
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
    let spelled = spelled(snapshot, prompts);
    let lengths = prompts.par_iter();
    let lengths = lengths.map(|prompt| length(snapshot, &spelled, prompt));
    lengths.collect()
}

/// The same for each prompt by itself: its length, or why it cannot be asked.
pub fn possible_lengths(
    snapshot: &Snapshot,
    prompts: &[Prompt],
) -> Vec<Result<usize, ScorerError>> {
    let limit = snapshot.spec.context_length();
    let spelled = spelled(snapshot, prompts);
    let lengths = prompts.par_iter().map(|prompt| {
        let tokens = length(snapshot, &spelled, prompt)?;
        if tokens > limit {
            let id = prompt.id.clone();
            return Err(ScorerError::TooLong { id, tokens, limit });
        }
        Ok(tokens)
    });
    lengths.collect()
}

/// Rows of the longest spelling of texts that can be read.
fn spelled<'a>(snapshot: &Snapshot, prompts: &'a [Prompt]) -> HashMap<&'a Strings, usize> {
    let alphabet = LazyLock::new(|| Alphabet::new(&snapshot.vocabulary));
    let mut spelled = HashMap::new();
    for read in prompts.iter().flat_map(|prompt| &prompt.reads) {
        if let Read::Strings(strings) = read
            && strings.check().is_ok()
        {
            let rows = || StringsPlan::new(&alphabet, strings).rows();
            spelled.entry(strings).or_insert_with(rows);
        }
    }
    spelled
}

fn length(
    snapshot: &Snapshot,
    spelled: &HashMap<&Strings, usize>,
    prompt: &Prompt,
) -> Result<usize, ScorerError> {
    let (_, tokens) = tokens_of(snapshot, prompt)?;
    let mut longest = 0;
    for read in &prompt.reads {
        let after = match read {
            // An opening may come between prompt and label.
            Read::NextToken { .. } | Read::Generation(_) => 1,
            Read::Continuation { text } => {
                let tokens = snapshot.vocabulary.continuation(text);
                let named = |source| ScorerError::Prompt {
                    id: prompt.id.clone(),
                    source,
                };
                tokens.map_err(named)?.len()
            }
            Read::Strings(strings) => {
                check(prompt, strings)?;
                spelled.get(strings).copied().unwrap_or(0)
            }
        };
        longest = longest.max(after);
    }
    Ok(tokens.len() + longest)
}
