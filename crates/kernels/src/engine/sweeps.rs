//! Embeddings, norms, the residual stream, rotation: one sweep over rows each.

use super::{Engine, List, RowUse, Rows, Weight, tensor};
use crate::{
    AttentionShape, KernelError, Norm, RopeTable, generic, gpu, norm, norm_groups, rotate,
};
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
            let block = self.block(role, tokens.len());
            let table = table.gpu()?;
            let mut rows = gpu.embed(table, learned, tokens, depths, factor, block)?;
            if role == RowUse::Texts {
                rows = rows.chosen_by(gpu.config().first_text_class());
            }
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

    /// Norms the queries and keys of each row, over groups of neighbouring columns, and rotates them by depth, in place; either where it
    /// is given.
    ///
    /// # Shapes
    /// `rows`: `[rows, (heads + 2 · kv_heads) · head_dim]`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn turn(
        &self,
        rows: &mut Rows,
        shape: AttentionShape,
        own: Option<(&Norm, &Arc<[usize]>)>,
        rope: Option<(&Arc<RopeTable>, &List)>,
    ) -> Result<(), KernelError> {
        let (heads, head_dim) = (shape.heads + shape.kv_heads, shape.head_dim);
        match self {
            Self::Cuda(gpu, _) => {
                let own = own.map(|(norm, groups)| (norm, &groups[..]));
                let depths = rope.map(|(_, depths)| depths.on_gpu(gpu)).transpose()?;
                let rope = rope.zip(depths.as_ref());
                let rope = rope.map(|((table, _), depths)| (&**table, &**depths));
                return gpu.turn(rows.gpu()?, shape, own, rope);
            }
            Self::Cpu(..) => {
                if let Some((own, groups)) = own {
                    tensor(norm_groups(rows.tensor()?, groups, own))?;
                }
                if let Some((table, depths)) = rope {
                    let rows = rows.tensor()?;
                    tensor(rotate(rows, heads, head_dim, table, &depths.host))?;
                }
            }
            Self::Generic(_) => {
                if let Some((own, groups)) = own {
                    *rows = Rows::Tensor(generic::norm_groups(rows.tensor()?, groups, own)?);
                }
                if let Some((table, depths)) = rope {
                    let rows_of = rows.tensor()?;
                    let turned = generic::rotate(rows_of, heads, head_dim, table, &depths.host);
                    *rows = Rows::Tensor(turned?);
                }
            }
        }
        Ok(())
    }
}
