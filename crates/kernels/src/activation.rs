//! What stands between the two products of an MLP.

use crate::exp::exp;
use crate::storage::values;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// An activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// `x · Φ(x)`.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// `activation(gate) · up`, where a row is gate and up side by side.
///
/// # Shapes
/// `gate_up`: `[rows, 2 · mlp]`; returns `[rows, mlp]`.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32`.
///
/// # Source
/// Shazeer 2020 ("GLU Variants Improve Transformer").
pub fn gated(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    gate_up.apply_op1_no_bwd(&Act {
        activation,
        gated: true,
    })
}

/// `activation(x)`, number by number.
///
/// # Numerics
/// Absolute error below 5e-7 times the largest of 1 and `x` (tested).
///
/// # Errors
/// As [`gated`].
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Act {
        activation,
        gated: false,
    })
}

/// The activation of one number in `f64`.
pub fn activation_reference(x: f32, activation: Activation) -> f64 {
    let x = f64::from(x);
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + erf_reference(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
    }
}

/// The error function by its Taylor series, where that is exact, and ±1 beyond.
fn erf_reference(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// `1 / (1 + e^(-x))`.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `tanh` is `2σ(2x) - 1`, so that the approximation is `x · σ(2 · inner)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const TWICE_ROOT: f32 = 1.595_769; // 2 · sqrt(2 / π)
    x * sigmoid(TWICE_ROOT * (x * x * x).mul_add(0.044_715, x))
}

/// `Φ` through the complementary error function of `|x|`, so that both tails keep their precision.
///
/// # Source
/// Abramowitz and Stegun, formula 7.1.26 (absolute error 1.5e-7).
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / z.mul_add(0.327_591_1, 1.0);
    let mut p = 1.061_405_4_f32;
    p = p.mul_add(t, -1.453_152);
    p = p.mul_add(t, 1.421_413_8);
    p = p.mul_add(t, -0.284_496_74);
    p = p.mul_add(t, 0.254_829_6);
    let tail = 0.5 * p * t * exp(-z * z);
    if x < 0.0 { x * tail } else { x * (1.0 - tail) }
}

struct Act {
    activation: Activation,
    gated: bool,
}

impl CustomOp1 for Act {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let values = values(storage, layout)?;
        let size = if self.gated { width / 2 } else { width };
        let mut out = vec![0.0f32; rows * size];
        let activation = self.activation;
        out.par_chunks_mut(size)
            .zip(values.par_chunks(width))
            .with_min_len(8)
            .for_each(|(out, row)| {
                let (gates, ups) = row.split_at(size);
                Arch::new().dispatch(Row {
                    out,
                    gates,
                    ups,
                    activation,
                });
            });
        Ok((CpuStorage::F32(out), Shape::from((rows, size))))
    }
}

/// One row. A struct, so that it is inlined into the vector context.
struct Row<'a> {
    out: &'a mut [f32],
    gates: &'a [f32],
    /// Empty where there is no gate.
    ups: &'a [f32],
    activation: Activation,
}

impl Row<'_> {
    #[inline(always)]
    fn each(self, of: impl Fn(f32) -> f32) {
        if self.ups.is_empty() {
            for (out, x) in self.out.iter_mut().zip(self.gates) {
                *out = of(*x);
            }
        } else {
            for ((out, gate), up) in self.out.iter_mut().zip(self.gates).zip(self.ups) {
                *out = of(*gate) * up;
            }
        }
    }
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        match self.activation {
            Activation::Silu => self.each(silu),
            Activation::Gelu => self.each(gelu),
            Activation::GeluTanh => self.each(gelu_tanh),
            Activation::Relu => self.each(|x| x.max(0.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const ALL: [Activation; 4] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
    ];

    #[test]
    fn gates_agree_with_the_reference() {
        let values: Vec<f32> = (0..9 * 34)
            .map(|i| (i * 173 % 997) as f32 / 20.0 - 25.0)
            .collect();
        let rows = Tensor::from_slice(&values, (9, 34), &Device::Cpu).unwrap();
        for activation in ALL {
            let out = gated(&rows, activation).unwrap();
            for (found, row) in out.to_vec2::<f32>().unwrap().iter().zip(values.chunks(34)) {
                for (i, a) in found.iter().enumerate() {
                    let b = activation_reference(row[i], activation) * f64::from(row[i + 17]);
                    assert!(
                        (f64::from(*a) - b).abs() <= 1e-5 * b.abs().max(1.0),
                        "{activation:?} {a} {b}"
                    );
                }
            }
        }
    }

    #[test]
    fn without_a_gate_the_error_is_small_everywhere() {
        let values: Vec<f32> = (-12_000..12_000).map(|i| i as f32 / 1000.0).collect();
        let row = Tensor::from_slice(&values, (1, values.len()), &Device::Cpu).unwrap();
        for activation in ALL {
            let out = activate(&row, activation)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap();
            for (a, x) in out[0].iter().zip(&values) {
                let b = activation_reference(*x, activation);
                let bound = 5e-7 * f64::from(x.abs()).max(1.0);
                assert!(
                    (f64::from(*a) - b).abs() <= bound,
                    "{activation:?} {x} {a} {b}"
                );
            }
        }
    }
}
