//! A decoder that is loaded while another one computes.

use crate::DecoderError;
use crate::decoder::Decoder;
use crate::stream::Origin;
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_kernels::{Engine, KernelConfig};
use std::thread::JoinHandle;

/// A decoder on its way.
pub struct Loading(Option<JoinHandle<Result<Decoder, DecoderError>>>);

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
            .map(|thread| Loading(Some(thread)))
            .map_err(DecoderError::Thread)
    }
}

impl Loading {
    /// Waits for it.
    ///
    /// # Errors
    /// As [`Decoder::load_on`].
    pub fn wait(mut self) -> Result<Decoder, DecoderError> {
        match self.0.take().map(JoinHandle::join) {
            Some(Ok(decoder)) => decoder,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(DecoderError::Thread(std::io::ErrorKind::NotFound.into())),
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        // A device must not be in use when the program ends.
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}
