//! Matrix products, with what follows them.

use super::{Engine, Experts, RowUse, Rows, Weight, tensor};
use crate::gpu::{self, Choosing, GpuExperts};
use crate::{Activation, KernelError, Vector, generic};
use candle_core::{DType, Tensor};
use std::sync::Arc;
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

    /// Experts of a layer, gated ones without biases, whose rows go through them together; `None` where each is a product of its own.
    ///
    /// # Shapes
    /// `weights`: by expert, `[2 · size, hidden]` and `[hidden, size]`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn experts(&self, weights: Vec<[Arc<Weight>; 2]>) -> Result<Option<Experts>, KernelError> {
        let Self::Cuda(gpu, _) = self else {
            return Ok(None);
        };
        Ok(GpuExperts::new(gpu, weights)?.map(Experts))
    }

    /// Rows through their experts; `None` where each is a product of its own.
    ///
    /// # Shapes
    /// `x`: `[rows, hidden]`; `logits`: `[rows, experts]` in `f32`. Returns `[rows, hidden]` in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn mixture(
        &self,
        x: &Rows,
        logits: &Rows,
        experts: &Experts,
        choosing: Choosing,
        activation: Activation,
    ) -> Result<Option<Rows>, KernelError> {
        let Self::Cuda(gpu, _) = self else {
            return Ok(None);
        };
        let sums = gpu.mixture(x.gpu()?, logits.gpu()?, &experts.0, choosing, activation)?;
        Ok(sums.map(Rows::Gpu))
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

    /// How often some products of a pass are made one after the other, each in its turn, in at least so many seconds on a GPU, and how
    /// many seconds that took; `None` elsewhere. A chip that is warm, and draws what it may, clocks lower than one that is not.
    ///
    /// # Shapes
    /// As [`Engine::product_seconds`], a weight and its rows for each product.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn sustained(
        &self,
        products: &[(Tensor, Tensor)],
        dtype: DType,
        at_least: f64,
    ) -> Result<Option<(usize, f64)>, KernelError> {
        // So many at once that the device never waits for the host, and not so many that they take long.
        const AT_ONCE: usize = 16;
        let Self::Cuda(gpu, _) = self else {
            return Ok(None);
        };
        let number = gpu::number(dtype)?;
        let mut prepared = Vec::new();
        for (weight, rows) in products {
            let (_, width) = rows.dims2()?;
            let rows = self.from_host(rows.flatten_all()?.to_vec1()?, width, RowUse::Pass)?;
            prepared.push((
                self.whole_weight(weight, dtype)?,
                gpu.narrowed(rows.gpu()?, number)?,
            ));
        }
        let (mut done, mut seconds) = (0, 0.0);
        let begun = gpu.mark()?;
        while seconds < at_least {
            for (weight, rows) in prepared.iter().cycle().take(AT_ONCE * prepared.len()) {
                drop(weight.gpu()?.product(rows, None, number)?);
            }
            done += AT_ONCE;
            seconds = gpu.mark()?.seconds_since(&begun)?;
        }
        Ok(Some((done, seconds)))
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
