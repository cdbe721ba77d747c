//! Layers that are not kept: each is read when it is needed, and the next one while it computes.

use crate::DecoderError;
use crate::layer::Layer;
use crate::parameters::Loader;
use candle_core::DType;
use concord_checkpoint::{Adapter, DecoderSpec, Weights};
use concord_kernels::Engine;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What layers are read from.
#[derive(Clone)]
pub(crate) struct Origin {
    pub weights: Arc<Weights>,
    pub adapter: Option<Arc<Adapter>>,
    pub spec: Arc<DecoderSpec>,
    pub dtype: DType,
    pub engine: Engine,
    /// Set where nobody waits any more for what is loaded: no further layer is read.
    pub is_left: Arc<AtomicBool>,
}

impl Origin {
    pub fn loader(&self) -> Loader<'_> {
        Loader {
            weights: &self.weights,
            adapter: self.adapter.as_deref(),
            spec: &self.spec,
            dtype: self.dtype,
            engine: &self.engine,
            is_left: &self.is_left,
        }
    }

    fn layer(&self, index: usize) -> Result<Layer, DecoderError> {
        Layer::load(&self.loader(), None, index)
    }
}

/// The layers of a checkpoint, one or two of them in memory.
pub(crate) struct LayerStream {
    origin: Origin,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<(usize, Arc<Layer>)>,
    next: Option<(usize, JoinHandle<Result<Layer, DecoderError>>)>,
    /// Layers read so far, those that were read for nothing included.
    read: u64,
}

impl LayerStream {
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            state: Mutex::default(),
        }
    }

    /// A layer, and begins to read the one after it (after the last, the first where `again`).
    pub fn get(&self, index: usize, again: bool) -> Result<Arc<Layer>, DecoderError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, layer)) = &state.current
            && *held == index
        {
            return Ok(Arc::clone(layer));
        }
        // The layer before is not needed any more.
        state.current = None;
        let begun = state.next.take();
        let begun = begun.map(|(begun, thread)| (begun, joined(thread)));
        let layer = match begun {
            Some((begun, layer)) if begun == index => layer?,
            _ => {
                state.read += 1;
                joined(self.begin(index)?)?
            }
        };
        let layer = Arc::new(layer);
        state.current = Some((index, Arc::clone(&layer)));
        let count = self.origin.spec.layers.len();
        let next = index + 1;
        if next < count || again {
            state.read += 1;
            state.next = Some((next % count, self.begin(next % count)?));
        }
        Ok(layer)
    }

    /// Lets go of what is in memory.
    pub fn rest(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.current = None;
        if let Some((_, thread)) = state.next.take() {
            // Whatever it read is not needed.
            let _ = thread.join();
        }
    }

    /// Layers read so far.
    pub fn read(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read
    }

    /// Reads a layer on threads of its own, which take no turn of those that compute.
    fn begin(&self, index: usize) -> Result<JoinHandle<Result<Layer, DecoderError>>, DecoderError> {
        let origin = self.origin.clone();
        // Beside a device processors have little to do.
        let threads = if origin.engine.gpu().is_some() { 4 } else { 1 };
        let read = move || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build();
            match pool {
                Ok(pool) => pool.install(|| origin.layer(index)),
                Err(_) => origin.layer(index),
            }
        };
        std::thread::Builder::new()
            .name(format!("layer {index}"))
            .spawn(read)
            .map_err(DecoderError::Thread)
    }
}

impl Drop for LayerStream {
    fn drop(&mut self) {
        self.rest();
    }
}

fn joined(thread: JoinHandle<Result<Layer, DecoderError>>) -> Result<Layer, DecoderError> {
    match thread.join() {
        Ok(layer) => layer,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
