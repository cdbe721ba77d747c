//! Embeddings, norms, the residual stream, rotation: one sweep over rows each.

use super::{Engine, List, RowUse, Rows, Weight, tensor};
use crate::{KernelError, Norm, RopeTable, generic, gpu, norm, norm_groups, rotate};
use candle_core::{DType, Tensor};
use std::sync::Arc;

impl Engine {
    /// The embeddings of tokens at their depths, times `factor`, with learned positions where there are some.
    ///
    /// # Shapes
    /// Returns `[rows, hidden]` in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn embed(
        &self,
        table: &Weight,
        learned: Option<&Weight>,
        tokens: &[u32],
        depths: &[u32],
        factor: f64,
        role: RowUse,
    ) -> Result<Rows, KernelError> {
        if let Self::Cuda(gpu, _) = self {
            let learned = learned.map(Weight::gpu).transpose()?;
            let block = self.block(role);
            let table = table.gpu()?;
            let rows = gpu.embed(table, learned, tokens, depths, factor, block)?;
            return Ok(Rows::Gpu(rows));
        }
        let look_up = |table: &Tensor, rows: &[u32]| {
            let rows = Tensor::from_slice(rows, rows.len(), table.device())?;
            table.index_select(&rows, 0)?.to_dtype(DType::F32)
        };
        let mut hidden = match table {
            Weight::Packed(matrix) => matrix.rows(tokens)?,
            other => look_up(other.plain()?.0, tokens)?,
        };
        if (factor - 1.0).abs() > f64::EPSILON {
            hidden = (hidden * factor)?;
        }
        if let Some(learned) = learned {
            hidden = (hidden + look_up(learned.plain()?.0, depths)?)?;
        }
        Ok(Rows::Tensor(hidden))
    }

    /// The norm of rows in `dtype`, `None` where they are known not to be finite; a GPU tells later
    /// ([`Gpu::broken_place`](crate::Gpu::broken_place)).
    ///
    /// # Shapes
    /// `x`: `[rows, width]` in `f32`; returns as much.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn norm(&self, x: &Rows, own: &Norm, dtype: DType) -> Result<Option<Rows>, KernelError> {
        match self {
            Self::Cpu(..) => {
                let (normed, broken) = norm(x.tensor()?, own, dtype)?;
                Ok(broken.is_none().then_some(Rows::Tensor(normed)))
            }
            Self::Generic(_) => Ok(Some(Rows::Tensor(generic::norm(x.tensor()?, own)?))),
            Self::Cuda(gpu, _) => {
                let normed = gpu.norm(x.gpu()?, own, gpu::number(dtype)?)?;
                Ok(Some(Rows::Gpu(normed)))
            }
        }
    }

    /// `hidden += factor · norm(delta)`; false where `delta` is known not to be finite.
    ///
    /// # Shapes
    /// Both `[rows, hidden]` in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn add_normed(
        &self,
        hidden: &mut Rows,
        delta: &Rows,
        factor: f64,
        own: &Norm,
    ) -> Result<bool, KernelError> {
        if let Self::Cuda(gpu, _) = self {
            gpu.add_normed(hidden.gpu()?, delta.gpu()?, factor, own)?;
            return Ok(true);
        }
        let Some(delta) = self.norm(delta, own, DType::F32)? else {
            return Ok(false);
        };
        self.add_scaled(hidden, &delta, factor)?;
        Ok(true)
    }

    /// `hidden += factor · delta`.
    ///
    /// # Shapes
    /// Both `[rows, hidden]` in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn add_scaled(
        &self,
        hidden: &mut Rows,
        delta: &Rows,
        factor: f64,
    ) -> Result<(), KernelError> {
        match self {
            Self::Cpu(..) => {
                tensor(crate::add_scaled(hidden.tensor()?, delta.tensor()?, factor))?;
            }
            Self::Generic(_) => {
                let sum = (hidden.tensor()? + (delta.tensor()? * factor)?)?;
                *hidden = Rows::Tensor(sum);
            }
            Self::Cuda(gpu, _) => gpu.add_scaled(hidden.gpu()?, delta.gpu()?, factor)?,
        }
        Ok(())
    }

    /// Norms neighbouring groups of the first columns in place.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn norm_groups(
        &self,
        rows: &mut Rows,
        groups: &Arc<[usize]>,
        own: &Norm,
    ) -> Result<(), KernelError> {
        match self {
            Self::Cpu(..) => tensor(norm_groups(rows.tensor()?, groups, own)),
            Self::Generic(_) => {
                *rows = Rows::Tensor(generic::norm_groups(rows.tensor()?, groups, own)?);
                Ok(())
            }
            Self::Cuda(gpu, _) => gpu.norm_groups(rows.gpu()?, groups, own),
        }
    }

    /// Bounds every number to `±bound`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn clamp(&self, rows: &mut Rows, bound: f64) -> Result<(), KernelError> {
        match self {
            Self::Cuda(gpu, _) => gpu.clamp(rows.gpu()?, bound)?,
            _ => *rows = Rows::Tensor(rows.tensor()?.clamp(-bound, bound)?),
        }
        Ok(())
    }

    /// Rotates the first heads of each row in place, by depth.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn rotate(
        &self,
        rows: &mut Rows,
        heads: usize,
        head_dim: usize,
        table: &Arc<RopeTable>,
        depths: &List,
    ) -> Result<(), KernelError> {
        match self {
            Self::Cpu(..) => tensor(rotate(rows.tensor()?, heads, head_dim, table, &depths.host)),
            Self::Generic(_) => {
                let turned = generic::rotate(rows.tensor()?, heads, head_dim, table, &depths.host);
                *rows = Rows::Tensor(turned?);
                Ok(())
            }
            Self::Cuda(gpu, _) => {
                let on_gpu = depths.on_gpu(gpu)?;
                gpu.rotate(rows.gpu()?, heads, head_dim, table, &on_gpu)
            }
        }
    }
}
