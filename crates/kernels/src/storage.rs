//! Plain slices of candle tensors on the CPU.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, WithDType, bail};
use half::bf16;

/// The values of a contiguous tensor.
pub(crate) fn values<'a, T: WithDType>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed")
    };
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// The values of a contiguous `f32` tensor, to be written.
pub(crate) fn values_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed")
    };
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        _ => bail!("an f32 tensor is needed"),
    }
}

/// Lends the values of a contiguous tensor.
pub(crate) fn read<T: WithDType, R>(tensor: &Tensor, run: impl FnOnce(&[T]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("a tensor on the CPU is needed")
    };
    Ok(run(values(storage, layout)?))
}

/// Lends the values of a contiguous tensor of `f32` or of `bf16`.
pub(crate) fn with_rows<R>(
    tensor: &Tensor,
    wide: impl FnOnce(&[f32]) -> R,
    narrow: impl FnOnce(&[bf16]) -> R,
) -> Result<R> {
    match tensor.dtype() {
        DType::BF16 => read(tensor, narrow),
        _ => read(tensor, wide),
    }
}

/// Rounded to the nearest `bf16`, ties to even, in code that vectorises.
#[inline(always)]
pub(crate) fn narrowed(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // Not a number stays one.
    let none = (bits >> 16) | 0x40;
    let bits = if x.is_nan() { none } else { rounded };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper half is shifted down"
    )]
    bf16::from_bits(bits as u16)
}

/// What rows are held as between products.
pub(crate) trait Row: bytemuck::Pod + WithDType {
    /// Rounded to nearest.
    fn of(x: f32) -> Self;
}

impl Row for f32 {
    #[inline(always)]
    fn of(x: f32) -> Self {
        x
    }
}

impl Row for bf16 {
    #[inline(always)]
    fn of(x: f32) -> Self {
        narrowed(x)
    }
}

/// Lanes that a sum runs over.
pub(crate) const LANES: usize = 16;

/// Adds lanes in a fixed order.
#[inline(always)]
pub(crate) fn add_lanes(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let mut bits = 0u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            let (a, b) = (narrowed(x), bf16::from_f32(x));
            assert!(a == b || a.is_nan() && b.is_nan(), "{x}");
        }
        for x in [0.0, -0.0, f32::INFINITY, 1.0, 1.003_906_2, 1.011_718_8] {
            assert_eq!(narrowed(x).to_bits(), bf16::from_f32(x).to_bits());
        }
    }
}
