//! A short list of numbers beside weights: a bias, or the weights of a norm.

use crate::KernelError;
use crate::gpu::{Buffer, Gpu, Number, bytes_as};
use candle_core::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers that stand beside weights, in `f32`, brought to a GPU when they are first used there.
#[derive(Clone)]
pub struct Vector {
    tensor: Tensor,
    on_gpu: Arc<Mutex<OnGpu>>,
}

/// The same on a device, by type.
type OnGpu = Vec<(Number, Arc<Buffer>)>;

impl Vector {
    /// Takes numbers in `f32`.
    pub fn new(tensor: Tensor) -> Self {
        Self {
            tensor,
            on_gpu: Arc::default(),
        }
    }

    /// The numbers where they were put first.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tensor.elem_count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers on a device. They are used on one device alone.
    pub(crate) fn on_gpu(
        &self,
        gpu: &Arc<Gpu>,
        number: Number,
    ) -> Result<Arc<Buffer>, KernelError> {
        let mut known = self.on_gpu.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, buffer)) = known.iter().find(|(as_number, _)| *as_number == number) {
            return Ok(Arc::clone(buffer));
        }
        let buffer = Arc::new(gpu.upload(&bytes_as(&self.tensor, number)?)?);
        known.push((number, Arc::clone(&buffer)));
        Ok(buffer)
    }
}
