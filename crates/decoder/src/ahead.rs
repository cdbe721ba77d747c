//! A decoder that is loaded while another one computes.

use crate::DecoderError;
use crate::decoder::Decoder;
use crate::stream::Origin;
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_kernels::{Engine, KernelConfig};
use std::thread::JoinHandle;

/// A decoder on its way.
pub struct Loading(JoinHandle<Result<Decoder, DecoderError>>);

impl Decoder {
    /// [`Decoder::load_on`] on a thread of its own.
    ///
    /// # Errors
    /// [`DecoderError::Thread`].
    pub fn load_beside(
        engine: &Engine,
        snapshot: &Snapshot,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Loading, DecoderError> {
        let origin = Origin::of(snapshot, dtype, engine);
        std::thread::Builder::new()
            .name(format!("load {}", snapshot.name))
            .spawn(move || Self::whole(origin, config))
            .map(Loading)
            .map_err(DecoderError::Thread)
    }
}

impl Loading {
    /// Waits for it.
    ///
    /// # Errors
    /// As [`Decoder::load_on`].
    pub fn wait(self) -> Result<Decoder, DecoderError> {
        match self.0.join() {
            Ok(decoder) => decoder,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
