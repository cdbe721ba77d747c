//! What was read.

use crate::{LogProb, Nats, Probability, StringsReading};
use serde::{Deserialize, Serialize};

/// A token and its log-probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenReading {
    /// The id in the checkpoint's vocabulary.
    pub token: u32,
    /// The token as text.
    pub text: String,
    /// `ln p(token | what precedes it)`.
    pub log_prob: LogProb,
}

/// One way to write a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spelling {
    /// The tokens as text.
    pub text: String,
    /// The token ids, one or two.
    pub tokens: Vec<u32>,
    /// The joint log-probability of the tokens.
    pub log_prob: LogProb,
    /// Whether that is what it is at most: a server did not show it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_most: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A label over all of its spellings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelReading {
    /// The label.
    pub label: String,
    /// The logarithm of the summed probability of the spellings.
    pub log_prob: LogProb,
    /// The spellings, by vocabulary order.
    pub spellings: Vec<Spelling>,
}

/// What the next-token distribution says.
///
/// # Numerics
/// Exact over the whole vocabulary: logits in `f32`, their log-sum-exp accumulated in `f64`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextToken {
    /// Each label that was asked for, in the order asked.
    pub labels: Vec<LabelReading>,
    /// The summed probability of all spellings of all labels.
    pub label_mass: Probability,
    /// The entropy of the whole distribution.
    pub entropy: Nats,
    /// The most probable tokens, best first.
    pub top: Vec<TokenReading>,
    /// Whether the most probable token is a spelling of a label.
    pub top_is_label: bool,
    /// The probability of all tokens that a server did not show; none where the whole distribution was read. Then `entropy` is what it is at
    /// least, and spellings may be bounds, which count in their label's `log_prob` and not in `label_mass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_shown: Option<Probability>,
}

impl NextToken {
    /// How far a label's share among the labels may be from what their log-probabilities say: the share of what is only bounded, 0 where the
    /// whole distribution was read. With `k` known of each label and at most `h` more, shares `(k + h) / (K + H)` move by at most
    /// `H / (K + H)`, whatever of `h` is there.
    pub fn doubt(&self) -> f64 {
        let spellings = || self.labels.iter().flat_map(|label| &label.spellings);
        let bounded = spellings().filter(|spelling| spelling.at_most);
        let bounded: f64 = bounded.map(|spelling| spelling.log_prob.get().exp()).sum();
        if bounded == 0.0 {
            return 0.0;
        }
        let all: f64 = spellings()
            .map(|spelling| spelling.log_prob.get().exp())
            .sum();
        bounded / all
    }
}

/// The log-probability of a text after a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Continuation {
    /// The text.
    pub text: String,
    /// `ln p(text | prompt)`, the sum over its tokens.
    pub log_prob: LogProb,
    /// Its tokens, each given those before it.
    pub tokens: Vec<TokenReading>,
    /// The length of the text in UTF-8 bytes.
    pub bytes: usize,
    /// Whether the text was tokenised on its own, since prompt and text together are tokens that do not begin with the prompt's.
    pub joint_tokens_differ: bool,
}

impl Continuation {
    /// The mean log-probability of a token, in nats.
    pub fn per_token(&self) -> f64 {
        self.log_prob.get() / self.tokens.len().max(1) as f64
    }

    /// The mean log-probability of a byte, in nats.
    pub fn per_byte(&self) -> f64 {
        self.log_prob.get() / self.bytes.max(1) as f64
    }
}

/// Why a text ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The checkpoint wrote a token that ends texts.
    EndOfText,
    /// It wrote one of the texts to stop at.
    StopText,
    /// It had not ended when the most tokens, or the context, were reached.
    Length,
    /// It repeated itself: the same few tokens, over and over.
    Repetition,
}

/// A text that the checkpoint wrote after a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The text, without what ended it.
    pub text: String,
    /// Its tokens; what ended it is among them.
    pub tokens: Vec<u32>,
    /// The log-probability of each token given those before it, at temperature 1 over the whole vocabulary.
    pub log_probs: Vec<LogProb>,
    /// Why it ends.
    pub finish: Finish,
}

/// The answer to one [`Read`](crate::Read).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Read::NextToken`](crate::Read::NextToken).
    NextToken(NextToken),
    /// To [`Read::Continuation`](crate::Read::Continuation).
    Continuation(Continuation),
    /// To [`Read::Strings`](crate::Read::Strings).
    Strings(StringsReading),
    /// To [`Read::Generation`](crate::Read::Generation).
    Generation(Generation),
}

/// Everything that was read after one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The prompt's id.
    pub id: String,
    /// The prompt's length in tokens.
    pub tokens: usize,
    /// The answers, in the order of the prompt's reads.
    pub answers: Vec<Answer>,
}

impl Reading {
    /// The first next-token answer, if one was asked for.
    pub fn next_token(&self) -> Option<&NextToken> {
        self.answers.iter().find_map(|answer| match answer {
            Answer::NextToken(next) => Some(next),
            _ => None,
        })
    }

    /// The continuations, in the order asked.
    pub fn continuations(&self) -> impl Iterator<Item = &Continuation> {
        self.answers.iter().filter_map(|answer| match answer {
            Answer::Continuation(continuation) => Some(continuation),
            _ => None,
        })
    }

    /// The first answer about texts over all of their spellings, if one was asked for.
    pub fn strings(&self) -> Option<&StringsReading> {
        self.answers.iter().find_map(|answer| match answer {
            Answer::Strings(strings) => Some(strings),
            _ => None,
        })
    }

    /// The first text that was written, if one was asked for.
    pub fn generation(&self) -> Option<&Generation> {
        self.answers.iter().find_map(|answer| match answer {
            Answer::Generation(generation) => Some(generation),
            _ => None,
        })
    }
}
