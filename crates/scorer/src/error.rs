//! Why prompts could not be scored.

use concord_checkpoint::CheckpointError;
use concord_decoder::DecoderError;
use concord_kernels::KernelError;
use concord_readings::StringsError;
use std::path::PathBuf;

/// Why prompts could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScorerError {
    /// A prompt could not be rendered or tokenised.
    #[error("prompt `{id}`: {source}")]
    Prompt {
        /// The prompt.
        id: String,
        /// What went wrong.
        source: CheckpointError,
    },
    /// A prompt has no token to read after.
    #[error("prompt `{id}`: is empty, and the tokenizer adds no beginning-of-text token to it")]
    EmptyPrompt {
        /// The prompt.
        id: String,
    },
    /// A continuation has no token.
    #[error("prompt `{id}`: continuation {text:?} has no token")]
    EmptyContinuation {
        /// The prompt.
        id: String,
        /// The continuation.
        text: String,
    },
    /// A prompt with what is read after it is longer than the checkpoint's context.
    #[error("prompt `{id}`: {tokens} tokens, but the checkpoint's context holds {limit}")]
    TooLong {
        /// The prompt.
        id: String,
        /// Its length with the longest continuation.
        tokens: usize,
        /// The context length.
        limit: usize,
    },
    /// A prompt asks for a written text and for something else, or for the wrong one of the two.
    #[error("prompt `{id}`: a text is written after a prompt that asks for nothing else")]
    Mixed {
        /// The prompt.
        id: String,
    },
    /// A text is to be written in a way that makes no sense.
    #[error("prompt `{id}`: {problem}")]
    Sampling {
        /// The prompt.
        id: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// No token of the vocabulary spells a label.
    #[error("prompt `{id}`: no token of the vocabulary spells the label {label:?}")]
    LabelNotCovered {
        /// The first prompt that asks for it.
        id: String,
        /// The label.
        label: String,
    },
    /// No tokens of the vocabulary spell a text, whatever stands before it.
    #[error("prompt `{id}`: no tokens of the vocabulary spell the text {text:?}")]
    TextNotCovered {
        /// The first prompt that asks for it.
        id: String,
        /// The text.
        text: String,
    },
    /// Texts are asked for that cannot be read.
    #[error("prompt `{id}`: {source}")]
    Strings {
        /// The prompt.
        id: String,
        /// What is wrong with them.
        source: StringsError,
    },
    /// Logits are infinite or not numbers.
    #[error(
        "the logits of prompt `{id}` are not finite: the weights of the head or of the last norm are broken"
    )]
    NotFinite {
        /// A prompt that the row belongs to.
        id: String,
    },
    /// The forward pass failed.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// A tensor operation failed.
    #[error("a tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// Residual streams could not be kept in a file.
    #[error("rows between layers cannot be kept in {}: {source}", path.display())]
    Spill {
        /// The folder of the file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("stopped on request")]
    Stopped,
}

impl From<KernelError> for ScorerError {
    fn from(error: KernelError) -> Self {
        Self::Decoder(error.into())
    }
}

impl ScorerError {
    /// What no tokens of the checkpoint's vocabulary spell, where that is all that is wrong: another checkpoint may be asked the same.
    pub fn not_spelled(&self) -> Option<String> {
        match self {
            Self::LabelNotCovered { label, .. } => Some(format!(
                "no token of its vocabulary spells the label {label:?}"
            )),
            Self::TextNotCovered { text, .. } => Some(format!(
                "no tokens of its vocabulary spell the text {text:?}"
            )),
            _ => None,
        }
    }

    /// Whether the device had no memory left for it.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Decoder(error) if error.is_out_of_memory())
    }
}
