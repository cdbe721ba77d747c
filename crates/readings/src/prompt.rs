//! What is asked.

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
    /// Plain text, tokenised as the tokenizer itself does it.
    Text(String),
}

/// What to read after a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
        /// The text, tokenised on its own and appended.
        text: String,
    },
}

/// One prompt with everything to read after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prompt {
    /// Unique in a run.
    pub id: String,
    /// What the checkpoint sees.
    pub input: Input,
    /// What is read, in order.
    pub reads: Vec<Read>,
}
