//! How a checkpoint is spoken to.

use serde::{Deserialize, Serialize};

/// Whether a checkpoint is asked in a conversation or with a text to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A conversation, rendered by the checkpoint's chat template.
    Chat,
    /// Plain text to be completed.
    Completion,
}

/// The form of a checkpoint's prompts, and what stands before a continuation in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PromptStyle {
    /// Conversation or text.
    pub form: Form,
    /// What stands between prompt and answer: a space after a text that ends without one, unless the tokenizer sets it itself.
    pub lead: &'static str,
}
