//! Fresh numbers, and how far results may be from what they should be.

use crate::Vector;
use crate::gpu::raw::Number;
use crate::gpu::rows::GpuRows;
use crate::gpu::{Gpu, GpuError};
use candle_core::{Device, Tensor};
use std::sync::Arc;

/// Numbers from about -1 to 1, and small counts.
pub(super) struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        // Steele et al. 2014, SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// From `low` to below `high`.
    pub fn count(&mut self, low: usize, high: usize) -> usize {
        low + usize::try_from(self.next() % (high - low) as u64).unwrap_or(0)
    }

    pub fn values(&mut self, count: usize) -> Vec<f32> {
        let value = |x: u64| (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        (0..count).map(|_| value(self.next())).collect()
    }

    /// A trie by the depths of its rows, and the ends that go with them.
    pub fn trie(&mut self, rows: usize) -> (Vec<u32>, Vec<u32>) {
        let mut depths = vec![0u32];
        while depths.len() < rows {
            let deepest = depths[depths.len() - 1] + 1;
            let back = self.count(0, 100) >= 85;
            let depth = self.count(0, deepest as usize + 1);
            depths.push(if back { short(depth) } else { deepest });
        }
        let ends = (0..rows).map(|row| {
            let after = depths[row + 1..]
                .iter()
                .position(|depth| *depth <= depths[row]);
            short(after.map_or(rows, |offset| row + 1 + offset))
        });
        let ends = ends.collect();
        (depths, ends)
    }
}

pub(super) fn short(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// How far a number of a type is from what it stands for, of one.
pub(super) fn step(number: Number) -> f64 {
    match number {
        Number::F32 => 0.0,
        Number::Bf16 => 1.0 / 256.0,
        Number::F16 => 1.0 / 2048.0,
    }
}

/// The largest difference over its bound: `absolute` and a step of the type beside.
pub(super) fn worst(found: &[f32], expected: &[f64], absolute: f64, number: Number) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let each = found.iter().zip(expected).map(|(a, b)| {
        let off = (f64::from(*a) - b).abs() / (absolute + step(number) * b.abs());
        // What is no number is as wrong as can be.
        if off.is_nan() { f64::INFINITY } else { off }
    });
    each.fold(0.0, f64::max)
}

/// As a type holds them.
pub(super) fn rounded(values: &[f32], number: Number) -> Vec<f32> {
    let value = |x: &f32| match number {
        Number::F32 => *x,
        Number::Bf16 => half::bf16::from_f32(*x).to_f32(),
        Number::F16 => half::f16::from_f32(*x).to_f32(),
    };
    values.iter().map(value).collect()
}

pub(super) fn tensor(values: &[f32], width: usize) -> candle_core::Result<Tensor> {
    Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu)
}

pub(super) fn vector(values: &[f32]) -> candle_core::Result<Vector> {
    Ok(Vector::new(Tensor::from_slice(
        values,
        values.len(),
        &Device::Cpu,
    )?))
}

pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// Rows as a type holds them.
pub(super) fn narrow(
    gpu: &Arc<Gpu>,
    values: &[f32],
    width: usize,
    number: Number,
) -> Result<GpuRows, GpuError> {
    let rows = GpuRows::from_host(gpu, values, width, 8)?;
    gpu.narrowed(&rows, number)
}
