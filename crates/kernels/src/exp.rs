//! The exponential and what is made of it, as straight-line code that vectorises.

/// `e^x` for finite `x`; arguments below −87 give about 1e-38, above 88 about 1.6e38.
///
/// # Numerics
/// Relative error below 2e-7, against `f64` over the whole range (tested).
///
/// # Source
/// Range reduction by Cody and Waite, polynomial of Cephes `expf` (Moshier 1984).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to an integer in the low bits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let power = shifted - MAGIC;
    let r = power.mul_add(-LN2_LOW, power.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let series = p.mul_add(r * r, r + 1.0);
    let exponent = shifted
        .to_bits()
        .wrapping_sub(MAGIC.to_bits())
        .wrapping_add(127)
        << 23;
    series * f32::from_bits(exponent)
}

/// The hyperbolic tangent; not a number stays one.
///
/// # Numerics
/// Absolute error below 3e-7 (tested).
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_error_is_small_over_the_whole_range() {
        let mut worst = 0.0f64;
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(super::exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2e-7, "{worst}");
        assert!(super::exp(-1e9) < 1e-37);
    }

    #[test]
    fn the_tangent_is_close_and_keeps_what_is_no_number() {
        for step in -20_000..20_000 {
            let x = step as f32 / 1000.0;
            assert!((f64::from(super::tanh(x)) - f64::from(x).tanh()).abs() < 3e-7);
        }
        assert!(super::tanh(f32::NAN).is_nan());
    }
}
