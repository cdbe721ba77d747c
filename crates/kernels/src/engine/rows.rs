//! Rows chosen, joined, copied, added up, and brought from and to the host.

use super::kinds::Arrival;
use super::{Engine, OnHost, RowUse, Rows};
use crate::KernelError;
use crate::gpu::GpuRows;
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

impl Engine {
    /// Some rows.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn select(&self, x: &Rows, rows: &[u32], role: RowUse) -> Result<Rows, KernelError> {
        Ok(match self {
            Self::Cuda(gpu, _) => {
                Rows::Gpu(gpu.select(x.gpu()?, rows, self.block(role, rows.len()))?)
            }
            _ => {
                let x = x.tensor()?;
                let rows = Tensor::from_slice(rows, rows.len(), x.device())?;
                Rows::Tensor(x.index_select(&rows, 0)?)
            }
        })
    }

    /// Some neighbouring rows, where they are; on a GPU a copy, unless the first is at a whole number of its products' rows.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn part(&self, x: &Rows, rows: Range<usize>) -> Result<Rows, KernelError> {
        Ok(match x {
            Rows::Gpu(x) if rows.start.is_multiple_of(x.block()) => {
                Rows::Gpu(x.part(rows.start, rows.len())?)
            }
            Rows::Gpu(x) => {
                let list: Vec<u32> = rows
                    .map(|row| u32::try_from(row).unwrap_or(u32::MAX))
                    .collect();
                Rows::Gpu(x.gpu().select(x, &list, x.block())?)
            }
            Rows::Tensor(x) => Rows::Tensor(x.narrow(0, rows.start, rows.len())?),
        })
    }

    /// The values of rows on the host, on their way.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn to_host_later(&self, x: &Rows) -> Result<OnHost, KernelError> {
        Ok(match x {
            Rows::Gpu(x) => OnHost(Arrival::Later(x.to_host_later()?)),
            Rows::Tensor(_) => OnHost(Arrival::Ready(x.to_host()?)),
        })
    }

    /// Rows one after the other.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn joined(&self, parts: &[Rows], role: RowUse) -> Result<Rows, KernelError> {
        match self {
            Self::Cuda(gpu, _) => {
                let parts: Vec<&GpuRows> = parts.iter().map(Rows::gpu).collect::<Result<_, _>>()?;
                let rows = parts.iter().map(|part| part.shape().0).sum();
                Ok(Rows::Gpu(gpu.joined(&parts, self.block(role, rows))?))
            }
            _ => {
                let parts: Vec<&Tensor> =
                    parts.iter().map(Rows::tensor).collect::<Result<_, _>>()?;
                Ok(Rows::Tensor(Tensor::cat(&parts, 0)?))
            }
        }
    }

    /// A copy that is changed by itself.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn copied(&self, x: &Rows) -> Result<Rows, KernelError> {
        Ok(match self {
            Self::Cuda(gpu, _) => Rows::Gpu(gpu.copied(x.gpu()?)?),
            _ => Rows::Tensor(x.tensor()?.copy()?),
        })
    }

    /// Rows of the host, in `f32`.
    ///
    /// # Shapes
    /// `values`: `[rows, width]`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn from_host(
        &self,
        values: Vec<f32>,
        width: usize,
        role: RowUse,
    ) -> Result<Rows, KernelError> {
        let shape = (values.len() / width.max(1), width);
        Ok(match self {
            Self::Cuda(gpu, _) => Rows::Gpu(GpuRows::from_host(
                gpu,
                &values,
                width,
                self.block(role, shape.0),
            )?),
            Self::Generic(device) => Rows::Tensor(Tensor::from_vec(values, shape, device)?),
            Self::Cpu(..) => Rows::Tensor(Tensor::from_vec(values, shape, &Device::Cpu)?),
        })
    }

    /// Rows of zeros, as many and as wide as others, in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn zeros_like(&self, x: &Rows) -> Result<Rows, KernelError> {
        Ok(match self {
            Self::Cuda(gpu, _) => Rows::Gpu(gpu.zeros_like(x.gpu()?)?),
            _ => {
                let x = x.tensor()?;
                Rows::Tensor(Tensor::zeros(x.dims(), DType::F32, x.device())?)
            }
        })
    }

    /// `to[row] += σ(gate) · from`.
    ///
    /// # Shapes
    /// `gates`: `[rows, 1]` in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn add_gated(&self, to: &mut Rows, from: &Rows, gates: &Rows) -> Result<(), KernelError> {
        if let Self::Cuda(gpu, _) = self {
            return Ok(gpu.add_gated(to.gpu()?, from.gpu()?, gates.gpu()?)?);
        }
        let gates = gates.to_host()?.into_iter();
        let gates: Vec<f32> = gates.map(|gate| 1.0 / (1.0 + (-gate).exp())).collect();
        self.add_weighted(to, from, None, &gates)
    }

    /// `to[row] += weight · from`, where each row is named once; without `rows`, in order.
    ///
    /// # Shapes
    /// `to`: `[.., width]` in `f32`; `from`: `[rows, width]`; `weights`: `[rows]`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn add_weighted(
        &self,
        to: &mut Rows,
        from: &Rows,
        rows: Option<&[u32]>,
        weights: &[f32],
    ) -> Result<(), KernelError> {
        if let Self::Cuda(gpu, _) = self {
            return Ok(gpu.add_weighted(to.gpu()?, from.gpu()?, rows, weights)?);
        }
        let from = from.tensor()?;
        let device = from.device();
        let weights = Tensor::from_slice(weights, (weights.len(), 1), device)?;
        let weighted = from.broadcast_mul(&weights)?;
        let sum = match rows {
            None => (to.tensor()? + weighted)?,
            Some(rows) => {
                let rows = Tensor::from_slice(rows, rows.len(), device)?;
                to.tensor()?.index_add(&rows, &weighted, 0)?
            }
        };
        *to = Rows::Tensor(sum);
        Ok(())
    }
}
