//! Activations, as straight-line code that vectorises.

use crate::exp::exp;

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

impl Activation {
    /// Its number in the kernels of a GPU.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Silu => 0,
            Self::Gelu => 1,
            Self::GeluTanh => 2,
            Self::Relu => 3,
        }
    }
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

/// The activation of every value, in place.
///
/// # Numerics
/// Absolute error below 5e-7 times the largest of 1 and `x` (tested).
#[inline(always)]
pub(crate) fn apply<const COUNT: usize>(activation: Activation, values: &mut [f32; COUNT]) {
    match activation {
        Activation::Silu => each(values, silu),
        Activation::Gelu => each(values, gelu),
        Activation::GeluTanh => each(values, gelu_tanh),
        Activation::Relu => each(values, |x| x.max(0.0)),
    }
}

#[inline(always)]
fn each(values: &mut [f32], of: impl Fn(f32) -> f32) {
    for value in values {
        *value = of(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_small_everywhere() {
        let values: Vec<f32> = (-12_000..12_000).map(|i| i as f32 / 1000.0).collect();
        for activation in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
        ] {
            for block in values.as_chunks::<16>().0 {
                let mut found = *block;
                apply(activation, &mut found);
                for (a, x) in found.iter().zip(block) {
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
}
