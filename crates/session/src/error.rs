//! Why a session cannot go on.

use concord_checkpoint::{CheckpointError, ServerError};
use concord_decoder::DecoderError;
use concord_kernels::GpuError;
use concord_runs::RunError;
use concord_scorer::ScorerError;

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Options that do not go together.
    #[error("{message}")]
    Options {
        /// What is wrong.
        message: String,
        /// What to do.
        help: &'static str,
    },
    /// A device that is not there, or has too little memory.
    #[error("{message}")]
    Device {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// A GPU cannot be used.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A decoder does not compute.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// A checkpoint cannot be made.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no preset of this name.
    #[error("no preset `{name}`")]
    NoPreset {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A checkpoint cannot be loaded.
    #[error("{name}: {source}")]
    Load {
        /// The checkpoint.
        name: String,
        /// Why.
        source: DecoderError,
    },
    /// A checkpoint cannot be asked, or does not compute.
    #[error("{name}: {source}")]
    Ask {
        /// The checkpoint.
        name: String,
        /// Why.
        source: ScorerError,
    },
    /// A server does not tell what is to be read.
    #[error("{name}: {source}")]
    Served {
        /// The checkpoint.
        name: String,
        /// Why.
        source: ServerError,
    },
    /// What was read could not be kept.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
    /// Nothing is loaded where something has to be.
    #[error("no decoder is loaded")]
    NotLoaded,
}
