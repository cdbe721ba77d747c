//! A decoder that is loaded while another one computes.

use crate::DecoderError;
use crate::decoder::Decoder;
use crate::stream::Origin;
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_kernels::{Engine, KernelConfig};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// Threads that read a checkpoint beside other work.
const READERS: usize = 8;

/// A decoder on its way.
pub struct Loading {
    begun: Instant,
    /// Whether nobody waits for it any more.
    is_left: Arc<AtomicBool>,
    thread: Option<JoinHandle<(Result<Decoder, DecoderError>, Instant)>>,
}

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
        let is_left = Arc::new(AtomicBool::new(false));
        let mut origin = Origin::of(snapshot, dtype, engine);
        origin.is_left = Arc::clone(&is_left);
        let begun = Instant::now();
        std::thread::Builder::new()
            .name(format!("load {}", snapshot.name))
            .spawn(move || {
                // Threads of its own: those that compute, or lay prompts out, are not to wait for files.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(READERS).build();
                let loaded = match pool {
                    Ok(pool) => pool.install(|| Self::whole(origin, config)),
                    Err(_) => Self::whole(origin, config),
                };
                (loaded, Instant::now())
            })
            .map(|thread| Loading {
                begun,
                is_left,
                thread: Some(thread),
            })
            .map_err(DecoderError::Thread)
    }
}

impl Loading {
    /// Waits for it; with when it was loaded.
    ///
    /// # Errors
    /// As [`Decoder::load_on`].
    pub fn wait(mut self) -> Result<(Decoder, Range<Instant>), DecoderError> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok((decoder, ended))) => Ok((decoder?, self.begun..ended)),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(DecoderError::Thread(std::io::ErrorKind::NotFound.into())),
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.is_left.store(true, Ordering::Relaxed);
        // A device must not be in use when the program ends.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
