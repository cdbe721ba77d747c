//! Plain slices of candle tensors on the CPU.

use candle_core::{CpuStorage, Layout, Result, bail};

/// The values of a contiguous `f32` tensor.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed")
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The same, to be written.
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
