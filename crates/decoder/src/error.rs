//! Why a forward pass stopped.

use concord_checkpoint::CheckpointError;
use concord_kernels::{GpuError, KernelError};

/// Why a decoder could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// A weight is missing or has the wrong shape.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An adapter was put on a decoder that is not its base.
    #[error("{name} is not an adapter of the checkpoint that is loaded")]
    AnotherBase {
        /// The adapter's name.
        name: String,
    },
    /// A number became infinite or not a number.
    #[error(
        "the hidden states are no longer finite {place}: the weights are broken or the dtype is too narrow"
    )]
    NotFinite {
        /// Where, for example `after layer 3`.
        place: String,
    },
    /// No thread could be started to read the next layer.
    #[error("no thread could be started to read a layer: {0}")]
    Thread(#[source] std::io::Error),
    /// A tensor operation failed.
    #[error("a tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A GPU failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

impl From<KernelError> for DecoderError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Tensor(error) => Self::Tensor(error),
            KernelError::Gpu(error) => Self::Gpu(error),
        }
    }
}

impl DecoderError {
    /// Whether the device had no memory left for it.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Gpu(GpuError::OutOfMemory { .. }))
    }
}
