//! RMSNorm, alone and fused with the residual addition before it.

use crate::storage::{LANES, add_lanes, values};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A residual stream and its norm.
pub struct Normed {
    /// The sum, `[rows, hidden]`.
    pub hidden: Tensor,
    /// Its norm, `[rows, hidden]`.
    pub normed: Tensor,
    /// The first row whose mean square is infinite or not a number.
    pub non_finite: Option<usize>,
}

/// `weight · x / sqrt(mean(x²) + eps)` by row.
///
/// # Shapes
/// `x`: `[rows, hidden]`, `weight`: `[hidden]`.
///
/// # Errors
/// candle's, where a tensor is not contiguous `f32`.
///
/// # Source
/// Zhang and Sennrich 2019; `LlamaRMSNorm` of transformers.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<(Tensor, Option<usize>)> {
    let found = NonFinite::default();
    let normed = x.apply_op2_no_bwd(
        weight,
        &RmsNorm {
            eps,
            found: found.clone(),
        },
    )?;
    Ok((normed, found.row()))
}

/// `hidden + delta`, and the RMSNorm of that, in one sweep.
///
/// # Shapes
/// `hidden`, `delta`: `[rows, hidden]`, `weight`: `[hidden]`.
///
/// # Errors
/// As [`rms_norm`].
pub fn residual_rms_norm(
    hidden: &Tensor,
    delta: &Tensor,
    weight: &Tensor,
    eps: f64,
) -> Result<Normed> {
    let found = NonFinite::default();
    let both = hidden.apply_op3_no_bwd(
        delta,
        weight,
        &ResidualRmsNorm {
            eps,
            found: found.clone(),
        },
    )?;
    Ok(Normed {
        hidden: both.get(0)?,
        normed: both.get(1)?,
        non_finite: found.row(),
    })
}

/// [`rms_norm`] in `f64`, one number after another.
pub fn rms_norm_reference(x: &[f32], weight: &[f32], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + eps).sqrt();
    x.iter()
        .zip(weight)
        .map(|(x, w)| f64::from(*x) * scale * f64::from(*w))
        .collect()
}

/// The lowest row reported, shared with the operation that looks for it.
#[derive(Clone, Default)]
struct NonFinite(Arc<AtomicUsize>);

impl NonFinite {
    /// Rows are kept from one on; zero means none.
    fn report(&self, row: usize) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lowest| {
                (lowest == 0 || row + 1 < lowest).then_some(row + 1)
            });
    }

    fn row(&self) -> Option<usize> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }
}

const ROWS_A_TASK: usize = 16;

#[inline(always)]
fn normalise(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> bool {
    let mut lanes = [0.0f32; LANES];
    let blocks = x.chunks_exact(LANES);
    for (lane, value) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane = value * value;
    }
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = block[lane].mul_add(block[lane], lanes[lane]);
        }
    }
    let mean = add_lanes(lanes) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = w * (x * scale);
    }
    mean.is_finite()
}

/// Norms of some rows; gives the first that is not finite.
///
/// A struct instead of a closure: the compiler does not promise to inline a closure into the vector context.
struct Norms<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithSimd for Norms<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Option<usize> {
        let width = self.weight.len();
        let mut broken = None;
        for (row, (out, x)) in self
            .out
            .chunks_mut(width)
            .zip(self.x.chunks(width))
            .enumerate()
        {
            if !normalise(x, self.weight, self.eps, out) && broken.is_none() {
                broken = Some(row);
            }
        }
        broken
    }
}

/// Sums of some rows, and norms of the sums.
struct ResidualNorms<'a> {
    hidden: &'a [f32],
    delta: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    sums: &'a mut [f32],
    norms: &'a mut [f32],
}

impl WithSimd for ResidualNorms<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<usize> {
        for ((sum, hidden), delta) in self.sums.iter_mut().zip(self.hidden).zip(self.delta) {
            *sum = hidden + delta;
        }
        Norms {
            x: self.sums,
            weight: self.weight,
            eps: self.eps,
            out: self.norms,
        }
        .with_simd(simd)
    }
}

struct RmsNorm {
    eps: f64,
    found: NonFinite,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (values(x, x_layout)?, values(weight, weight_layout)?);
        let width = weight.len();
        let mut out = vec![0.0f32; x.len()];
        let eps = narrow(self.eps);
        out.par_chunks_mut(width * ROWS_A_TASK)
            .zip(x.par_chunks(width * ROWS_A_TASK))
            .enumerate()
            .for_each(|(task, (out, x))| {
                let broken = Arch::new().dispatch(Norms {
                    x,
                    weight,
                    eps,
                    out,
                });
                if let Some(row) = broken {
                    self.found.report(task * ROWS_A_TASK + row);
                }
            });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

struct ResidualRmsNorm {
    eps: f64,
    found: NonFinite,
}

impl CustomOp3 for ResidualRmsNorm {
    fn name(&self) -> &'static str {
        "residual-rms-norm"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        delta: &CpuStorage,
        delta_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (hidden, delta) = (values(hidden, hidden_layout)?, values(delta, delta_layout)?);
        let weight = values(weight, weight_layout)?;
        let (width, eps) = (weight.len(), narrow(self.eps));
        let mut both = vec![0.0f32; 2 * hidden.len()];
        let (sums, norms) = both.split_at_mut(hidden.len());
        let task_size = width * ROWS_A_TASK;
        sums.par_chunks_mut(task_size)
            .zip(norms.par_chunks_mut(task_size))
            .zip(
                hidden
                    .par_chunks(task_size)
                    .zip(delta.par_chunks(task_size)),
            )
            .enumerate()
            .for_each(|(task, ((sums, norms), (hidden, delta)))| {
                let broken = Arch::new().dispatch(ResidualNorms {
                    hidden,
                    delta,
                    weight,
                    eps,
                    sums,
                    norms,
                });
                if let Some(row) = broken {
                    self.found.report(task * ROWS_A_TASK + row);
                }
            });
        let (rows, width) = hidden_layout.shape().dims2()?;
        Ok((CpuStorage::F32(both), Shape::from((2, rows, width))))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the norm is computed in f32"
)]
fn narrow(eps: f64) -> f32 {
    eps as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    fn tensor(values: &[f32], shape: impl Into<Shape>) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    proptest! {
        #[test]
        fn both_forms_agree_with_the_reference(rows in 1usize..40, width in 1usize..100, seed in 0usize..999) {
            let noise = |i: usize| ((i * 7919 + seed) % 199) as f32 / 50.0 - 2.0;
            let hidden: Vec<f32> = (0..rows * width).map(noise).collect();
            let delta: Vec<f32> = (0..rows * width).map(|i| noise(i + 31)).collect();
            let weight: Vec<f32> = (0..width).map(|i| noise(i + 77)).collect();
            let (h, d, w) = (tensor(&hidden, (rows, width)), tensor(&delta, (rows, width)), tensor(&weight, width));
            let fused = residual_rms_norm(&h, &d, &w, 1e-5).unwrap();
            let sum = (h + d).unwrap();
            let (alone, _) = rms_norm(&sum, &w, 1e-5).unwrap();
            prop_assert_eq!(fused.hidden.to_vec2::<f32>().unwrap(), sum.to_vec2::<f32>().unwrap());
            prop_assert_eq!(fused.normed.to_vec2::<f32>().unwrap(), alone.to_vec2::<f32>().unwrap());
            for (found, row) in alone.to_vec2::<f32>().unwrap().iter().zip(sum.to_vec2::<f32>().unwrap()) {
                for (a, b) in found.iter().zip(rms_norm_reference(&row, &weight, 1e-5)) {
                    prop_assert!((f64::from(*a) - b).abs() <= 1e-5 * b.abs().max(1.0));
                }
            }
        }
    }

    #[test]
    fn the_first_row_that_is_not_finite_is_named() {
        let mut values = vec![1.0f32; 40 * 8];
        values[33 * 8 + 2] = f32::NAN;
        values[37 * 8] = f32::INFINITY;
        let (_, row) = rms_norm(&tensor(&values, (40, 8)), &tensor(&[1.0; 8], 8), 1e-5).unwrap();
        assert_eq!(row, Some(33));
    }
}
