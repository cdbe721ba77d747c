//! The gated activation of the MLP.

use crate::exp::exp;
use crate::storage::values;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// `silu(gate) · up`, where a row is gate and up side by side.
///
/// # Shapes
/// `gate_up`: `[rows, 2 · mlp]`; returns `[rows, mlp]`.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32`.
///
/// # Source
/// Shazeer 2020 ("GLU Variants Improve Transformer").
pub fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
    gate_up.apply_op1_no_bwd(&SwiGlu)
}

/// [`swiglu`] of one pair in `f64`.
pub fn swiglu_reference(gate: f32, up: f32) -> f64 {
    let gate = f64::from(gate);
    gate / (1.0 + (-gate).exp()) * f64::from(up)
}

struct SwiGlu;

impl CustomOp1 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let values = values(storage, layout)?;
        let half = width / 2;
        let mut out = vec![0.0f32; rows * half];
        out.par_chunks_mut(half)
            .zip(values.par_chunks(width))
            .with_min_len(8)
            .for_each(|(out, row)| {
                let (gates, ups) = row.split_at(half);
                Arch::new().dispatch(GatedRow { out, gates, ups });
            });
        Ok((CpuStorage::F32(out), Shape::from((rows, half))))
    }
}

/// One row. A struct, so that it is inlined into the vector context.
struct GatedRow<'a> {
    out: &'a mut [f32],
    gates: &'a [f32],
    ups: &'a [f32],
}

impl WithSimd for GatedRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for ((out, gate), up) in self.out.iter_mut().zip(self.gates).zip(self.ups) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn it_agrees_with_the_reference() {
        let values: Vec<f32> = (0..9 * 34)
            .map(|i| (i * 173 % 997) as f32 / 20.0 - 25.0)
            .collect();
        let out = swiglu(&Tensor::from_slice(&values, (9, 34), &Device::Cpu).unwrap()).unwrap();
        for (found, row) in out.to_vec2::<f32>().unwrap().iter().zip(values.chunks(34)) {
            for (i, a) in found.iter().enumerate() {
                let b = swiglu_reference(row[i], row[i + 17]);
                assert!(
                    (f64::from(*a) - b).abs() <= 1e-6 * b.abs().max(1.0),
                    "{a} {b}"
                );
            }
        }
    }
}
