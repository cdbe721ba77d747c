//! What an engine works on: rows, weights, paths and what is read, wherever they are.

use crate::attention::{CpuKvPrefix, KvPages};
use crate::generic::GenericKvPrefix;
use crate::gpu::{
    self, Gpu, GpuExperts, GpuKvPrefix, GpuMatrix, GpuPages, GpuRows, Pending as GpuPending,
};
use crate::{KernelError, Matrix, Summary};
use candle_core::{DType, Device, Tensor, bail};
use std::sync::{Arc, OnceLock};

/// Rows on the device of an engine.
#[derive(Clone)]
pub enum Rows {
    /// On the processor, or on a device of candle's.
    Tensor(Tensor),
    /// On a GPU.
    Gpu(GpuRows),
}

/// A weight `[out, in]` on the device of an engine.
pub enum Weight {
    /// Packed for products of the processor.
    Packed(Matrix),
    /// As it is; whether its outputs are gates and what they open.
    Plain(Tensor, bool),
    /// On a GPU.
    Gpu(GpuMatrix),
}

/// Experts of a layer whose rows go through them together, on a GPU.
pub struct Experts(pub(super) GpuExperts);

/// The keys and values of one path: what one pass hands to the next.
pub enum KvPrefix {
    /// On the processor.
    Cpu(CpuKvPrefix),
    /// On a device of candle's.
    Generic(GenericKvPrefix),
    /// On a GPU.
    Gpu(GpuKvPrefix),
}

/// Keys and values of one layer, in pages.
pub enum Pages {
    /// On the processor, which attends over them for the generic path too.
    Host(KvPages),
    /// On a GPU.
    Gpu(GpuPages),
}

/// Summaries that are read, or on their way.
pub enum Pending {
    /// Read.
    Ready(Vec<Summary>),
    /// On their way.
    Gpu(GpuPending),
}

/// Values of rows on the host, or on their way.
pub struct OnHost(pub(super) Arrival);

pub(super) enum Arrival {
    Ready(Vec<f32>),
    Later(gpu::Later),
}

impl OnHost {
    /// Waits for them.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn wait(self) -> Result<Vec<f32>, KernelError> {
        match self.0 {
            Arrival::Ready(values) => Ok(values),
            Arrival::Later(later) => Ok(later.wait()?),
        }
    }
}

/// What rows are for. Products on a GPU have as many rows as this says, never as many as there are; those of texts have one of a few
/// numbers, whose products are made alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowUse {
    /// The rows of a pass.
    Pass,
    /// The few that go on: those that are read, and those of an expert.
    Few,
    /// Those that go through the head.
    Head,
    /// One of each text that is written.
    Texts,
}

/// Numbers of rows, such as their depths, brought to a GPU when they are first used there.
pub struct List {
    pub(super) host: Arc<[u32]>,
    on_gpu: OnceLock<Arc<gpu::Buffer>>,
}

impl List {
    /// Takes the numbers.
    pub fn new(host: Arc<[u32]>) -> Self {
        Self {
            host,
            on_gpu: OnceLock::new(),
        }
    }

    /// The numbers.
    pub fn get(&self) -> &Arc<[u32]> {
        &self.host
    }

    pub(super) fn on_gpu(&self, gpu: &Arc<Gpu>) -> Result<Arc<gpu::Buffer>, KernelError> {
        Ok(gpu::once(&self.on_gpu, || gpu.upload(&self.host))?)
    }
}

impl Rows {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Tensor(tensor) => tensor.dims().first().copied().unwrap_or(0),
            Self::Gpu(rows) => rows.shape().0,
        }
    }

    /// The values on the host, in `f32`.
    ///
    /// # Shapes
    /// Returns `[rows, width]`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn to_host(&self) -> Result<Vec<f32>, KernelError> {
        match self {
            Self::Tensor(tensor) => {
                let wide = tensor.to_dtype(DType::F32)?;
                Ok(wide.flatten_all()?.to_vec1()?)
            }
            Self::Gpu(rows) => Ok(rows.to_host()?),
        }
    }

    /// The same row by row.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn to_rows(&self) -> Result<Vec<Vec<f32>>, KernelError> {
        let values = self.to_host()?;
        let width = values.len() / self.count().max(1);
        Ok(values.chunks(width.max(1)).map(<[f32]>::to_vec).collect())
    }

    pub(super) fn tensor(&self) -> candle_core::Result<&Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            Self::Gpu(_) => bail!("rows that are on a GPU"),
        }
    }

    pub(super) fn gpu(&self) -> candle_core::Result<&GpuRows> {
        match self {
            Self::Gpu(rows) => Ok(rows),
            Self::Tensor(_) => bail!("rows that are on no GPU"),
        }
    }
}

impl Weight {
    pub(super) fn packed(&self) -> candle_core::Result<&Matrix> {
        match self {
            Self::Packed(matrix) => Ok(matrix),
            _ => bail!("a weight that is not packed"),
        }
    }

    pub(super) fn plain(&self) -> candle_core::Result<(&Tensor, bool)> {
        match self {
            Self::Plain(tensor, gated) => Ok((tensor, *gated)),
            _ => bail!("a weight of another device"),
        }
    }

    pub(super) fn gpu(&self) -> candle_core::Result<&GpuMatrix> {
        match self {
            Self::Gpu(matrix) => Ok(matrix),
            _ => bail!("a weight that is on no GPU"),
        }
    }

    /// The weight as it is held, `[out, in]`, on the host.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn unpack(&self) -> Result<Tensor, KernelError> {
        match self {
            Self::Packed(matrix) => Ok(matrix.unpack()?),
            Self::Plain(tensor, _) => Ok(tensor.to_device(&Device::Cpu)?),
            Self::Gpu(matrix) => matrix.to_host(),
        }
    }
}

impl Pending {
    /// Waits for them.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn wait(self) -> Result<Vec<Summary>, KernelError> {
        match self {
            Self::Ready(summaries) => Ok(summaries),
            Self::Gpu(pending) => Ok(pending.wait()?),
        }
    }
}

impl KvPrefix {
    pub(super) fn cpu(&self) -> candle_core::Result<&CpuKvPrefix> {
        match self {
            Self::Cpu(path) => Ok(path),
            _ => bail!("a path of another device"),
        }
    }
}

impl Pages {
    pub(super) fn host(&mut self) -> candle_core::Result<&mut KvPages> {
        match self {
            Self::Host(pages) => Ok(pages),
            Self::Gpu(_) => bail!("pages that are on a GPU"),
        }
    }

    pub(super) fn gpu(&mut self) -> candle_core::Result<&mut GpuPages> {
        match self {
            Self::Gpu(pages) => Ok(pages),
            Self::Host(_) => bail!("pages that are on no GPU"),
        }
    }

    /// Copies the first `count` places of a page to another.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn copy(&mut self, from: u32, to: u32, count: usize) -> Result<(), KernelError> {
        match self {
            Self::Host(pages) => pages.copy(from, to, count),
            Self::Gpu(pages) => pages.copy(from, to, count)?,
        }
        Ok(())
    }
}
