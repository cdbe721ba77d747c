//! What is asked.

use crate::Strings;
use serde::{Deserialize, Serialize};

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the scene.
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role` that says `content`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }
}

/// The text that the checkpoint sees before it answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Turns, rendered with the checkpoint's own chat template and a generation prompt.
    Conversation(Vec<Message>),
    /// The same with the assistant's next turn begun.
    Prefilled {
        /// The turns before it.
        messages: Vec<Message>,
        /// What the turn begins with; it follows the generation prompt as it is.
        prefill: String,
    },
    /// Plain text, tokenised as the tokenizer itself does it.
    Text(String),
}

/// What to read after a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Read {
    /// The next-token distribution, and in it every spelling of each label.
    NextToken {
        /// The labels, for example `A` and `B`.
        labels: Vec<String>,
        /// Texts that may open a label, for example `(`. Where the opened label is not one token of the vocabulary, the
        /// two-token spelling is read as well, which costs one row.
        #[serde(default)]
        openings: Vec<String>,
    },
    /// The log-probability of a text after the prompt.
    Continuation {
        /// The text, in the tokens that it has after the prompt.
        text: String,
    },
    /// The probability that what comes next is exactly one of some texts, over all of their spellings.
    Strings(Strings),
    /// A text that the checkpoint writes after the prompt.
    Generation(Sampling),
}

/// How a text is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// The most tokens that are written.
    pub max_tokens: usize,
    /// Logits are divided by it before a token is drawn; 0 takes the most probable token.
    #[serde(default)]
    pub temperature: f64,
    /// Tokens are drawn from the fewest that have this share of the probability; 1 for all.
    #[serde(default = "all")]
    pub top_p: f64,
    /// With the prompt's id, what the draws follow from.
    #[serde(default)]
    pub seed: u64,
    /// Texts that end the writing; they are not part of the text.
    #[serde(default)]
    pub stop: Vec<String>,
}

fn all() -> f64 {
    1.0
}

impl Sampling {
    /// The most probable token each time, at most `max_tokens`.
    pub fn greedy(max_tokens: usize) -> Self {
        Self {
            max_tokens,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
        }
    }

    /// What is wrong with the settings, if anything is.
    pub fn problem(&self) -> Option<&'static str> {
        if self.max_tokens == 0 {
            Some("`max_tokens` is 0")
        } else if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            Some("`temperature` is not 0 or more")
        } else if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            Some("`top_p` is not above 0 and at most 1")
        } else if self.stop.iter().any(String::is_empty) {
            Some("a text in `stop` is empty")
        } else {
            None
        }
    }
}

/// One prompt with everything to read after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Unique in a run.
    pub id: String,
    /// What the checkpoint sees.
    pub input: Input,
    /// What is read, in order.
    pub reads: Vec<Read>,
}
