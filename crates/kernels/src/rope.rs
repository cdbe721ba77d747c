//! Rotary position embedding by depth.

use crate::gpu::{Buffer, Gpu, GpuError};
use crate::storage::values_mut;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// Cosines and sines of every position up to a length.
pub struct RopeTable {
    half: usize,
    /// `[positions, half]` cosines, then as many sines.
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// The same on a GPU, once they are there.
    on_gpu: Mutex<Option<(Buffer, Buffer)>>,
}

impl RopeTable {
    /// Tabulates `positions` positions of the given frequencies.
    ///
    /// # Shapes
    /// `inverse_frequencies`: `[dimensions / 2]`, in radians a position. `scale` multiplies cosines and sines.
    ///
    /// # Numerics
    /// Angles are products in `f32`, as the reference implementation forms them; their cosine is rounded once.
    pub fn new(inverse_frequencies: &[f32], scale: f64, positions: usize) -> Self {
        let angles =
            (0..positions).flat_map(|at| inverse_frequencies.iter().map(move |f| at as f32 * f));
        #[expect(clippy::cast_possible_truncation, reason = "the table is f32")]
        let (cos, sin) = angles
            .map(|angle| {
                let (sin, cos) = f64::from(angle).sin_cos();
                ((cos * scale) as f32, (sin * scale) as f32)
            })
            .unzip();
        Self {
            half: inverse_frequencies.len(),
            cos,
            sin,
            on_gpu: Mutex::default(),
        }
    }

    /// Pairs of dimensions that are turned.
    pub(crate) fn half(&self) -> usize {
        self.half
    }

    /// Where cosines and sines are on a GPU; they are used on one alone.
    pub(crate) fn on_gpu(&self, gpu: &Arc<Gpu>) -> std::result::Result<(u64, u64), GpuError> {
        let mut known = self.on_gpu.lock().unwrap_or_else(PoisonError::into_inner);
        let (cos, sin) = match &*known {
            Some(known) => known,
            None => known.insert((gpu.upload(&self.cos)?, gpu.upload(&self.sin)?)),
        };
        Ok((cos.address(), sin.address()))
    }

    /// Cosines and sines of rows at these depths.
    ///
    /// # Shapes
    /// Returns `[rows, half]` of each.
    pub(crate) fn at(&self, depths: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let of = |table: &[f32]| {
            let rows = depths.iter().map(|depth| *depth as usize * self.half);
            rows.flat_map(|at| table[at..at + self.half].iter().copied())
                .collect()
        };
        (of(&self.cos), of(&self.sin))
    }

    /// How many positions are tabulated.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }
}

/// Rotates the first `heads` heads of each row in place: of each head the first `2 · half` dimensions, where `half` is the
/// table's, pairing dimension `i` with `i + half`.
///
/// # Shapes
/// `rows`: `[rows, n · head_dim]` with `n ≥ heads` and `head_dim ≥ 2 · half`; `depths`: one position a row, each inside the
/// table.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32`.
///
/// # Source
/// Su et al. 2021, in the half-split form of GPT-NeoX and Llama in transformers.
pub fn rotate(
    rows: &Tensor,
    heads: usize,
    head_dim: usize,
    table: &Arc<RopeTable>,
    depths: &Arc<[u32]>,
) -> Result<()> {
    if head_dim < 2 * table.half {
        bail!("heads of {head_dim} cannot turn {} pairs", table.half);
    }
    rows.inplace_op1(&Rotate {
        heads,
        head_dim,
        table: Arc::clone(table),
        depths: Arc::clone(depths),
    })
}

/// [`rotate`] for one head in `f64`.
pub fn rotate_reference(head: &[f32], inverse_frequencies: &[f32], depth: u32) -> Vec<f64> {
    let half = inverse_frequencies.len();
    let mut out: Vec<f64> = head.iter().map(|x| f64::from(*x)).collect();
    for i in 0..half {
        let angle = f64::from(depth) * f64::from(inverse_frequencies[i]);
        let (a, b) = (f64::from(head[i]), f64::from(head[i + half]));
        out[i] = a * angle.cos() - b * angle.sin();
        out[i + half] = b * angle.cos() + a * angle.sin();
    }
    out
}

struct Rotate {
    heads: usize,
    head_dim: usize,
    table: Arc<RopeTable>,
    depths: Arc<[u32]>,
}

impl InplaceOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (_, width) = layout.shape().dims2()?;
        let values = values_mut(storage, layout)?;
        let half = self.table.half;
        values
            .par_chunks_mut(width)
            .with_min_len(16)
            .zip(self.depths.par_iter())
            .for_each(|(row, &depth)| {
                let at = depth as usize * half;
                let (cos, sin) = (
                    &self.table.cos[at..at + half],
                    &self.table.sin[at..at + half],
                );
                let (heads, head_dim) = (self.heads, self.head_dim);
                Arch::new().dispatch(RotateRow {
                    row,
                    heads,
                    head_dim,
                    cos,
                    sin,
                });
            });
        Ok(())
    }
}

/// Rotates the first heads of one row. A struct, so that it is inlined into the vector context.
struct RotateRow<'a> {
    row: &'a mut [f32],
    heads: usize,
    head_dim: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl WithSimd for RotateRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let half = self.cos.len();
        for head in self.row.chunks_exact_mut(self.head_dim).take(self.heads) {
            let (low, high) = head[..2 * half].split_at_mut(half);
            for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(self.cos).zip(self.sin) {
                let (x, y) = (*a, *b);
                *a = x * cos - y * sin;
                *b = y * cos + x * sin;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn heads_are_rotated_and_the_rest_is_left_alone() {
        let frequencies = [1.0f32, 0.1, 0.01];
        let table = Arc::new(RopeTable::new(&frequencies, 1.0, 50));
        let depths: Arc<[u32]> = (0..40u32).map(|row| row * 7 % 50).collect();
        // Whole heads, and heads of which the last dimensions stay as they are.
        for head_dim in [6, 10] {
            let width = 3 * head_dim;
            let values: Vec<f32> = (0..40 * width)
                .map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0)
                .collect();
            let rows = Tensor::from_slice(&values, (40, width), &Device::Cpu).unwrap();
            rotate(&rows, 2, head_dim, &table, &depths).unwrap();
            let found = rows.to_vec2::<f32>().unwrap();
            for (row, (found, before)) in found.iter().zip(values.chunks(width)).enumerate() {
                for head in 0..2 {
                    let at = head * head_dim..(head + 1) * head_dim;
                    let expected = rotate_reference(&before[at.clone()], &frequencies, depths[row]);
                    for (a, b) in found[at].iter().zip(&expected) {
                        assert!((f64::from(*a) - b).abs() < 1e-5);
                    }
                }
                assert_eq!(found[2 * head_dim..], before[2 * head_dim..]);
            }
            assert!(rotate(&rows, 2, 4, &table, &depths).is_err());
        }
        assert_eq!(table.positions(), 50);
    }
}
