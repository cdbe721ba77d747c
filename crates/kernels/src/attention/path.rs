//! What one query sees: keys and values by depth, in one piece ([`CpuKvPrefix`]) or in blocks of neighbouring depths.

use super::{AttentionShape, Scores};
use crate::exp::{exp, tanh};
use crate::storage::{LANES, read};
use candle_core::{Result, Tensor, bail};

/// The keys and values of one path, by depth: what one pass hands to the next.
#[derive(Clone, Debug)]
pub struct CpuKvPrefix {
    width: usize,
    /// `[entries, keys then values, kv_heads, head_dim]`.
    values: Vec<f32>,
}

impl CpuKvPrefix {
    /// A path of no rows.
    pub fn new(shape: AttentionShape) -> Self {
        Self {
            width: shape.kv_width(),
            values: Vec::new(),
        }
    }

    /// Rows on the path.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers of an entry.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Keys and values of one entry.
    pub(super) fn entry(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// Goes on to another row: keeps the first `kept` entries and adds the keys and values of some rows.
    ///
    /// # Shapes
    /// `qkv`: `[rows, (heads + 2 · kv_heads) · head_dim]`, of which `rows` are taken.
    ///
    /// # Errors
    /// candle's, where the tensor is not contiguous `f32` on the CPU, or has no such row.
    pub fn advance(&mut self, qkv: &Tensor, kept: usize, rows: &[u32]) -> Result<()> {
        let (count, width) = qkv.dims2()?;
        if width < self.width || rows.iter().any(|row| *row as usize >= count) {
            bail!("{count} rows of {width} hold no path of {}", self.width);
        }
        self.values.truncate(kept * self.width);
        if self.values.is_empty() {
            // A path that ends gives its room back.
            self.values = Vec::new();
        }
        read(qkv, |qkv| {
            for row in rows {
                let end = (*row as usize + 1) * width;
                self.values.extend_from_slice(&qkv[end - self.width..end]);
            }
        })
    }
}

/// Depths that are scored together.
pub(crate) const BLOCK: usize = 64;

/// The keys and values of one path for one KV head, [`BLOCK`] depths at a time.
pub(super) trait Blocks {
    /// `[head_dim, BLOCK]`: keys across, so that scores of neighbouring depths are neighbouring lanes.
    fn keys(&self, block: usize) -> &[f32];
    /// `[BLOCK, head_dim]`.
    fn values(&self, block: usize) -> &[f32];
}

/// Writes a key and a value to the place of a depth in its block.
#[inline(always)]
pub(super) fn put(keys: &mut [f32], values: &mut [f32], place: usize, key: &[f32], value: &[f32]) {
    for (across, key) in keys.chunks_exact_mut(BLOCK).zip(key) {
        across[place] = *key;
    }
    values[place * value.len()..(place + 1) * value.len()].copy_from_slice(value);
}

/// Attention of one query at `depth` over the depths that it sees. Wherever the blocks come from, the same numbers give the
/// same bits.
///
/// # Shapes
/// `weights`: room for `depth + 1` rounded up to whole blocks; `query`, `out`: `[head_dim]`.
#[inline(always)]
pub(super) fn attend(
    path: &impl Blocks,
    query: &[f32],
    depth: usize,
    scores: Scores,
    weights: &mut [f32],
    out: &mut [f32],
) {
    let (first, length) = (scores.first(depth), depth + 1);
    let begin = first - first % BLOCK;
    let mut largest = [f32::NEG_INFINITY; BLOCK];
    for start in (begin..length).step_by(BLOCK) {
        let mut block = [0.0f32; BLOCK];
        let across = path.keys(start / BLOCK).chunks_exact(BLOCK);
        for (q, keys) in query.iter().zip(across) {
            for lane in 0..BLOCK {
                block[lane] = q.mul_add(keys[lane], block[lane]);
            }
        }
        for lane in 0..BLOCK {
            block[lane] *= scores.scale;
        }
        if let Some(cap) = scores.softcap {
            for lane in 0..BLOCK {
                block[lane] = cap * tanh(block[lane] / cap);
            }
        }
        for lane in 0..BLOCK {
            block[lane] = if start + lane < length && start + lane >= first {
                block[lane]
            } else {
                f32::NEG_INFINITY
            };
        }
        weights[start..start + BLOCK].copy_from_slice(&block);
        for lane in 0..BLOCK {
            largest[lane] = if block[lane] > largest[lane] {
                block[lane]
            } else {
                largest[lane]
            };
        }
    }
    let largest = largest
        .iter()
        .fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    let padded = length.next_multiple_of(LANES);
    for (block, start) in weights[begin..padded]
        .chunks_exact_mut(LANES)
        .zip((begin..).step_by(LANES))
    {
        for lane in 0..LANES {
            block[lane] = if start + lane < length && start + lane >= first {
                exp(block[lane] - largest)
            } else {
                0.0
            };
        }
    }
    // By rising depth, as over a trie.
    let inverse = 1.0
        / weights[first..length]
            .iter()
            .fold(0.0f32, |mass, weight| mass + weight);
    let seen = Seen {
        path,
        weights,
        first,
        length,
    };
    if query.len().is_multiple_of(64) {
        seen.mix::<64>(inverse, out);
    } else if query.len().is_multiple_of(16) {
        seen.mix::<16>(inverse, out);
    } else {
        seen.mix::<2>(inverse, out);
    }
}

/// The depths that a query sees, with their weights.
struct Seen<'a, B> {
    path: &'a B,
    weights: &'a [f32],
    first: usize,
    length: usize,
}

impl<B: Blocks> Seen<'_, B> {
    /// The weighted sum of values, `WIDTH` dimensions at a time.
    #[inline(always)]
    fn mix<const WIDTH: usize>(&self, inverse: f32, out: &mut [f32]) {
        let head_dim = out.len();
        for (column, out) in (0..head_dim)
            .step_by(WIDTH)
            .zip(out.chunks_exact_mut(WIDTH))
        {
            let mut sums = [0.0f32; WIDTH];
            for block in self.first / BLOCK..self.length.div_ceil(BLOCK) {
                let values = self.path.values(block);
                let start = block * BLOCK;
                let depths = self.first.max(start)..self.length.min(start + BLOCK);
                for (depth, weight) in depths.clone().zip(&self.weights[depths]) {
                    let at = (depth - start) * head_dim + column;
                    let values = &values[at..at + WIDTH];
                    for lane in 0..WIDTH {
                        sums[lane] = weight.mul_add(values[lane], sums[lane]);
                    }
                }
            }
            for lane in 0..WIDTH {
                out[lane] = sums[lane] * inverse;
            }
        }
    }
}
