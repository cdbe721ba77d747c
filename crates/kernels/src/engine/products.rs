//! Matrix products, with what follows them.

use super::{Engine, RowUse, Rows, Weight, tensor};
use crate::{Activation, KernelError, Vector, generic, gpu};
use candle_core::{DType, Tensor};
use std::time::Instant;

impl Engine {
    /// `x · weightᵀ + bias`, in `f32`; on a GPU in what products multiply.
    ///
    /// # Shapes
    /// `x`: `[rows, in]`; returns `[rows, out]`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn product(
        &self,
        weight: &Weight,
        x: &Rows,
        bias: Option<&Vector>,
    ) -> Result<Rows, KernelError> {
        match self {
            Self::Cuda(..) => {
                let weight = weight.gpu()?;
                Ok(Rows::Gpu(weight.product(
                    x.gpu()?,
                    bias,
                    weight.number(),
                )?))
            }
            _ => self.wide_product(weight, x, bias),
        }
    }

    /// [`Engine::product`] in `f32` on every device.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn wide_product(
        &self,
        weight: &Weight,
        x: &Rows,
        bias: Option<&Vector>,
    ) -> Result<Rows, KernelError> {
        Ok(match self {
            Self::Cpu(..) => {
                let bias = bias.map(Vector::tensor);
                Rows::Tensor(weight.packed()?.product(x.tensor()?, bias)?)
            }
            Self::Generic(_) => {
                Rows::Tensor(generic::product(weight.plain()?.0, x.tensor()?, bias)?)
            }
            Self::Cuda(..) => {
                let weight = weight.gpu()?;
                Rows::Gpu(weight.product(x.gpu()?, bias, gpu::Number::F32)?)
            }
        })
    }

    /// `activation(x · weightᵀ + bias)`; of a gated weight, `activation(gate) · up`.
    ///
    /// # Shapes
    /// As [`Engine::product`]; a gated result is half as wide.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn activated(
        &self,
        weight: &Weight,
        x: &Rows,
        bias: Option<&Vector>,
        activation: Activation,
    ) -> Result<Rows, KernelError> {
        Ok(match self {
            Self::Cpu(..) => {
                let bias = bias.map(Vector::tensor);
                Rows::Tensor(weight.packed()?.activated(x.tensor()?, bias, activation)?)
            }
            Self::Generic(_) => {
                let (weight, gated) = weight.plain()?;
                let inner = generic::product(weight, x.tensor()?, bias)?;
                Rows::Tensor(generic::activated(&inner, gated, activation)?)
            }
            Self::Cuda(gpu, _) => {
                Rows::Gpu(gpu.activated(weight.gpu()?, x.gpu()?, bias, activation)?)
            }
        })
    }

    /// `hidden += factor · (x · weightᵀ + bias)`.
    ///
    /// # Shapes
    /// `hidden`: `[rows, out]` in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn add_product(
        &self,
        weight: &Weight,
        x: &Rows,
        bias: Option<&Vector>,
        factor: f64,
        hidden: &mut Rows,
    ) -> Result<(), KernelError> {
        match self {
            Self::Cpu(..) => {
                let bias = bias.map(Vector::tensor);
                let matrix = weight.packed()?;
                tensor(matrix.add_product(x.tensor()?, bias, factor, hidden.tensor()?))
            }
            Self::Cuda(..) if bias.is_none() || (factor - 1.0).abs() < f64::EPSILON => {
                #[expect(clippy::cast_possible_truncation, reason = "the stream is f32")]
                let factor = factor as f32;
                weight
                    .gpu()?
                    .multiply(x.gpu()?, bias, hidden.gpu()?, factor, 1.0)
            }
            _ => {
                let delta = self.wide_product(weight, x, bias)?;
                self.add_scaled(hidden, &delta, factor)
            }
        }
    }

    /// Seconds of a product of a pass at its best of some, the device waited for.
    ///
    /// # Shapes
    /// `weight`: `[out, in]`, `rows`: `[rows, in]` in `f32`, both on the host.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn product_seconds(
        &self,
        weight: &Tensor,
        rows: &Tensor,
        dtype: DType,
        repeats: usize,
    ) -> Result<f64, KernelError> {
        let (_, width) = rows.dims2()?;
        let weight = self.whole_weight(weight, dtype)?;
        let rows = self.from_host(rows.flatten_all()?.to_vec1()?, width, RowUse::Pass)?;
        let mut best = f64::INFINITY;
        if let Self::Cuda(gpu, _) = self {
            let rows = gpu.narrowed(rows.gpu()?, gpu::number(dtype)?)?;
            for _ in 0..=repeats {
                let before = gpu.mark()?;
                drop(weight.gpu()?.product(&rows, None, gpu::number(dtype)?)?);
                best = best.min(gpu.mark()?.seconds_since(&before)?);
            }
            return Ok(best);
        }
        for _ in 0..repeats {
            let begun = Instant::now();
            drop(self.wide_product(&weight, &rows, None)?);
            best = best.min(begun.elapsed().as_secs_f64());
        }
        Ok(best)
    }
}
