//! Why a kernel could not run.

use crate::gpu::GpuError;

/// Why a kernel could not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A GPU failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}
