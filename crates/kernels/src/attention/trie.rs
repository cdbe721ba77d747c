//! Attention of the rows of a pass over a trie.
//!
//! Sixteen queries that are neighbours in the trie are a *chunk*: they share nearly all of what they see. Its keys are listed
//! once a pass, each with the queries that see it, which are neighbours too. Scores are formed with queries across the lanes,
//! a block of keys and the heads of one KV head at a time; keys and values are read where the product left them.

use super::path::CpuKvPrefix;
use super::rows::{Chunk, Key, PassRows, lane};
use super::{AttentionShape, Scores};
use crate::exp::{exp, tanh};
use crate::product::Isa;
use crate::storage::{LANES, Row, read};
use candle_core::{DType, Device, Result, Tensor, bail};
use half::bf16;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::cell::RefCell;

/// Softmax attention of each querying row over its path.
///
/// # Shapes
/// `qkv`: `[rows, (heads + 2 · kv_heads) · head_dim]`, rotated; `carried`: at least as many entries as the first row's depth
/// (more are ignored). Returns `[queries, heads · head_dim]` in `dtype`, `f32` or `bf16`.
///
/// # Numerics
/// Scores, softmax and sums in `f32`; weights and values are summed up by rising depth. A result depends on the row's path
/// alone, not on the cut into passes and chunks.
///
/// # Errors
/// candle's, where a tensor is not contiguous `f32` or too short.
///
/// # Source
/// Vaswani et al. 2017, equation 1; grouped heads of Ainslie et al. 2023.
pub fn trie_attention(
    qkv: &Tensor,
    carried: &CpuKvPrefix,
    rows: &PassRows,
    shape: AttentionShape,
    scores: Scores,
    dtype: DType,
) -> Result<Tensor> {
    let out_shape = (rows.queries.len(), shape.query_width());
    read(qkv, |qkv| {
        let short = qkv.len() < rows.depths.len() * shape.qkv_width();
        if short || carried.width() != shape.kv_width() || carried.len() < rows.entries {
            bail!(
                "trie attention over {} rows and {} carried entries: too few values",
                rows.depths.len(),
                rows.entries
            );
        }
        let attention = Attention {
            qkv,
            carried,
            rows,
            shape,
            scores,
        };
        if dtype == DType::BF16 {
            Tensor::from_vec(attention.run::<bf16>(), out_shape, &Device::Cpu)
        } else {
            Tensor::from_vec(attention.run::<f32>(), out_shape, &Device::Cpu)
        }
    })?
}

struct Attention<'a> {
    qkv: &'a [f32],
    carried: &'a CpuKvPrefix,
    rows: &'a PassRows,
    shape: AttentionShape,
    scores: Scores,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// What a thread keeps between tasks.
#[derive(Default)]
struct Scratch {
    /// `[heads of a KV head, head_dim, 16]`: queries across.
    queries: Vec<f32>,
    /// `[keys, heads at once, 16]`: scores, then weights.
    weights: Vec<f32>,
    /// `[16, heads of a KV head · head_dim]`.
    mixed: Vec<f32>,
}

impl Attention<'_> {
    fn run<T: Row>(&self) -> Vec<T> {
        let width = self.shape.query_width();
        let mut out: Vec<T> = bytemuck::zeroed_vec(self.rows.queries.len() * width);
        let path = Isa::best();
        out.par_chunks_mut(LANES * width)
            .zip(self.rows.chunks())
            .zip(self.rows.queries.par_chunks(LANES))
            .for_each(|((out, chunk), queries)| {
                SCRATCH.with_borrow_mut(|scratch| {
                    for kv in 0..self.shape.kv_heads {
                        self.kv_head(path, chunk, queries, kv, scratch);
                        let group = width / self.shape.kv_heads;
                        path.dispatch(Copied {
                            mixed: &scratch.mixed,
                            group,
                            out: &mut *out,
                            width,
                            first: kv * group,
                        });
                    }
                });
            });
        out
    }

    /// The query heads of one KV head, over the queries of one chunk.
    fn kv_head(&self, path: Isa, chunk: &Chunk, queries: &[u32], kv: usize, scratch: &mut Scratch) {
        let AttentionShape {
            heads, head_dim, ..
        } = self.shape;
        let group = heads / self.shape.kv_heads;
        let nearest = chunk.depths.iter().min().map_or(0, |depth| *depth as usize);
        let first_depth = self.scores.first(nearest);
        let from = u32::try_from(first_depth).unwrap_or(u32::MAX);
        let shared = (from.min(chunk.shared)..chunk.shared).map(|depth| Key {
            index: depth,
            depth,
            first: 0,
            end: lane(chunk.depths.len()),
        });
        let others = chunk.keys.iter().filter(|key| key.depth >= from);
        let mut seen = Vec::with_capacity(chunk.shared as usize + chunk.keys.len());
        seen.extend(shared.chain(others.copied()).map(|key| self.seen(key, kv)));
        let Scratch {
            queries: across,
            weights,
            mixed,
        } = scratch;
        across.resize(group * head_dim * LANES, 0.0);
        mixed.resize(LANES * group * head_dim, 0.0);
        let depths: [u32; LANES] = std::array::from_fn(|lane| {
            let depth = chunk.depths.get(lane).or(chunk.depths.first());
            depth.copied().unwrap_or(0)
        });
        for (lane, query) in queries.iter().enumerate() {
            let at = *query as usize * self.shape.qkv_width() + kv * group * head_dim;
            let query = &self.qkv[at..at + group * head_dim];
            for (place, value) in across[lane..].iter_mut().step_by(LANES).zip(query) {
                *place = *value;
            }
        }
        for first in (0..group).step_by(4) {
            let count = (group - first).min(4);
            let needed = seen.len() * count * LANES;
            if weights.len() < needed {
                weights.resize(needed, 0.0);
            }
            let size = head_dim * LANES;
            path.dispatch(Heads {
                seen: &seen,
                depths: &depths,
                queries: &across[first * size..(first + count) * size],
                count,
                head_dim,
                scores: self.scores,
                weights: &mut weights[..needed],
                mixed: &mut mixed[first * head_dim..],
                stride: group * head_dim,
            });
        }
    }

    fn seen(&self, key: Key, kv: usize) -> Seen<'_> {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let index = key.index as usize;
        let (row, key_at) = if index < self.rows.entries {
            (self.carried.entry(index), kv * head_dim)
        } else {
            let width = self.shape.qkv_width();
            let at = (index - self.rows.entries) * width;
            (&self.qkv[at..at + width], (heads + kv) * head_dim)
        };
        let value_at = key_at + kv_heads * head_dim;
        Seen {
            key: &row[key_at..key_at + head_dim],
            value: &row[value_at..value_at + head_dim],
            depth: key.depth,
            first: key.first,
            end: key.end,
        }
    }
}

/// Writes the mixtures of one KV head to their columns. A struct, so that it is inlined into the vector context.
struct Copied<'a, T> {
    /// `[16, group]`.
    mixed: &'a [f32],
    group: usize,
    out: &'a mut [T],
    width: usize,
    first: usize,
}

impl<T: Row> WithSimd for Copied<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let mixed = self.mixed.chunks_exact(self.group);
        for (out, mixed) in self.out.chunks_exact_mut(self.width).zip(mixed) {
            let out = &mut out[self.first..self.first + self.group];
            for (out, value) in out.iter_mut().zip(mixed) {
                *out = T::of(*value);
            }
        }
    }
}

/// A key and its value, and who sees it.
struct Seen<'a> {
    key: &'a [f32],
    value: &'a [f32],
    depth: u32,
    first: u8,
    end: u8,
}

/// Up to four query heads over the keys of one chunk. A struct, so that it is inlined into the vector context.
struct Heads<'a> {
    seen: &'a [Seen<'a>],
    depths: &'a [u32; LANES],
    /// `[count, head_dim, 16]`.
    queries: &'a [f32],
    count: usize,
    head_dim: usize,
    scores: Scores,
    /// `[keys, count, 16]`.
    weights: &'a mut [f32],
    /// `[16, stride]`, of which each row begins with `[count, head_dim]`.
    mixed: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Heads<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match (S::F32_LANES, self.count) {
            (16, 1) => self.score::<S, 1, 12, 1>(simd),
            (16, 2) => self.score::<S, 2, 12, 1>(simd),
            (16, 3) => self.score::<S, 3, 8, 1>(simd),
            (16, _) => self.score::<S, 4, 6, 1>(simd),
            (8, 1) => self.score::<S, 1, 6, 2>(simd),
            (8, 2) => self.score::<S, 2, 3, 2>(simd),
            (8, 3) => self.score::<S, 3, 2, 2>(simd),
            (8, _) => self.score::<S, 4, 1, 2>(simd),
            (4, 1) => self.score::<S, 1, 6, 4>(simd),
            (4, 2) => self.score::<S, 2, 3, 4>(simd),
            (4, 3) => self.score::<S, 3, 2, 4>(simd),
            (4, _) => self.score::<S, 4, 1, 4>(simd),
            (_, 1) => self.score::<S, 1, 1, 16>(simd),
            (_, 2) => self.score::<S, 2, 1, 16>(simd),
            (_, 3) => self.score::<S, 3, 1, 16>(simd),
            _ => self.score::<S, 4, 1, 16>(simd),
        }
        for head in 0..self.count {
            let masses = self.soften(head);
            match S::F32_LANES {
                16 => self.mix::<S, 4>(simd, head, &masses),
                _ => self.mix::<S, 2>(simd, head, &masses),
            }
        }
    }
}

impl Heads<'_> {
    /// Products of `KEYS` keys with the queries of `HEADS` heads, sixteen each in `VECTORS` registers.
    #[inline(always)]
    fn score<S: Simd, const HEADS: usize, const KEYS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
    ) {
        let dim = self.head_dim;
        let queries: [&[[f32; LANES]]; HEADS] = std::array::from_fn(|head| {
            &self.queries.as_chunks::<LANES>().0[head * dim..(head + 1) * dim]
        });
        let (places, _) = self.weights.as_chunks_mut::<LANES>();
        for first in (0..self.seen.len()).step_by(KEYS) {
            // What is missing of the last block is a copy of the last key.
            let keys: [&[f32]; KEYS] = std::array::from_fn(|key| {
                let key = (first + key).min(self.seen.len() - 1);
                &self.seen[key].key[..dim]
            });
            let mut all = [[[simd.splat_f32s(0.0); VECTORS]; HEADS]; KEYS];
            for d in 0..dim {
                let mut of_heads = [[simd.splat_f32s(0.0); VECTORS]; HEADS];
                for head in 0..HEADS {
                    let query: &[S::f32s] = bytemuck::cast_slice(&queries[head][d][..]);
                    of_heads[head].copy_from_slice(&query[..VECTORS]);
                }
                for key in 0..KEYS {
                    let value = simd.splat_f32s(keys[key][d]);
                    for head in 0..HEADS {
                        for vector in 0..VECTORS {
                            let sum = &mut all[key][head][vector];
                            *sum = simd.mul_add_f32s(value, of_heads[head][vector], *sum);
                        }
                    }
                }
            }
            let taken = KEYS.min(self.seen.len() - first);
            for (key, of_key) in all.iter().enumerate().take(taken) {
                for (head, of_head) in of_key.iter().enumerate() {
                    let place = &mut places[(first + key) * HEADS + head];
                    let place: &mut [S::f32s] = bytemuck::cast_slice_mut(place);
                    place[..VECTORS].copy_from_slice(of_head);
                }
            }
        }
    }

    /// Scores of one head to weights that are not normed yet; gives what to multiply the mixture of each query by.
    #[inline(always)]
    fn soften(&mut self, head: usize) -> [f32; LANES] {
        let Scores { scale, softcap, .. } = self.scores;
        let window = self
            .scores
            .window
            .map(|window| u32::try_from(window).unwrap_or(u32::MAX));
        let (places, _) = self.weights.as_chunks_mut::<LANES>();
        let keys = self.seen.len();
        let mut largest = [f32::NEG_INFINITY; LANES];
        for key in 0..keys {
            let Seen {
                depth, first, end, ..
            } = self.seen[key];
            let place = &mut places[key * self.count + head];
            let mut row = *place;
            for value in &mut row {
                *value *= scale;
            }
            if let Some(cap) = softcap {
                for value in &mut row {
                    *value = cap * tanh(*value / cap);
                }
            }
            if first > 0 || usize::from(end) < LANES || window.is_some() {
                let reach = window.map_or(u32::MAX, |window| depth.saturating_add(window));
                for lane in 0..LANES {
                    let sees = lane >= usize::from(first)
                        && lane < usize::from(end)
                        && self.depths[lane] < reach;
                    row[lane] = if sees { row[lane] } else { f32::NEG_INFINITY };
                }
            }
            for lane in 0..LANES {
                largest[lane] = if row[lane] > largest[lane] {
                    row[lane]
                } else {
                    largest[lane]
                };
            }
            *place = row;
        }
        let mut mass = [0.0f32; LANES];
        for key in 0..keys {
            let place = &mut places[key * self.count + head];
            let mut row = *place;
            for lane in 0..LANES {
                let weight = exp(row[lane] - largest[lane]);
                row[lane] = if row[lane] == f32::NEG_INFINITY {
                    0.0
                } else {
                    weight
                };
            }
            for lane in 0..LANES {
                mass[lane] += row[lane];
            }
            *place = row;
        }
        mass.map(|mass| 1.0 / mass)
    }

    /// The weighted sum of values, four queries and `VECTORS` registers of dimensions at a time.
    #[inline(always)]
    fn mix<S: Simd, const VECTORS: usize>(
        &mut self,
        simd: S,
        head: usize,
        inverses: &[f32; LANES],
    ) {
        let dim = self.head_dim;
        let lanes = S::F32_LANES;
        let mut column = 0;
        while column + VECTORS * lanes <= dim {
            self.mix_columns::<S, VECTORS>(simd, head, column, inverses);
            column += VECTORS * lanes;
        }
        while column + lanes <= dim {
            self.mix_columns::<S, 1>(simd, head, column, inverses);
            column += lanes;
        }
        let (places, _) = self.weights.as_chunks::<LANES>();
        for column in column..dim {
            for lane in 0..LANES {
                let mut sum = 0.0f32;
                for (key, seen) in self.seen.iter().enumerate() {
                    let weight = places[key * self.count + head][lane];
                    sum = weight.mul_add(seen.value[column], sum);
                }
                self.mixed[lane * self.stride + head * dim + column] = sum * inverses[lane];
            }
        }
    }

    #[inline(always)]
    fn mix_columns<S: Simd, const VECTORS: usize>(
        &mut self,
        simd: S,
        head: usize,
        column: usize,
        inverses: &[f32; LANES],
    ) {
        const QUERIES: usize = 4;
        let width = VECTORS * S::F32_LANES;
        let (places, _) = self.weights.as_chunks::<LANES>();
        for first in (0..LANES).step_by(QUERIES) {
            let mut all = [[simd.splat_f32s(0.0); VECTORS]; QUERIES];
            for (seen, of_key) in self
                .seen
                .iter()
                .zip(places[head..].iter().step_by(self.count))
            {
                let values: &[S::f32s] = bytemuck::cast_slice(&seen.value[column..column + width]);
                let mut of_dims = [simd.splat_f32s(0.0); VECTORS];
                of_dims.copy_from_slice(&values[..VECTORS]);
                for query in 0..QUERIES {
                    let weight = simd.splat_f32s(of_key[first + query]);
                    for vector in 0..VECTORS {
                        let sum = &mut all[query][vector];
                        *sum = simd.mul_add_f32s(weight, of_dims[vector], *sum);
                    }
                }
            }
            for (query, sums) in all.iter().enumerate() {
                let at = (first + query) * self.stride + head * self.head_dim + column;
                let place: &mut [S::f32s] =
                    bytemuck::cast_slice_mut(&mut self.mixed[at..at + width]);
                let inverse = simd.splat_f32s(inverses[first + query]);
                for vector in 0..VECTORS {
                    place[vector] = simd.mul_f32s(sums[vector], inverse);
                }
            }
        }
    }
}
