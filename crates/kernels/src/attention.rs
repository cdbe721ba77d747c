//! Attention over a trie of rows.
//!
//! Rows stand in depth-first order. The keys that a row sees are the rows on its path from the root, itself included:
//! row `k` is visible to row `q` exactly when `k <= q < end[k]`. In depth-first order that path is known from depths alone:
//! the last row before `q` at each smaller depth. So a task walks its rows once and keeps one path of keys and values,
//! packed by depth; a row overwrites the entry at its own depth, and attention is dense over the entries up to it.
//!
//! Between two passes only one path is still visible. It comes in as `carried`, ordered by depth.

use crate::exp::{exp, tanh};
use crate::storage::{LANES, add_lanes, values};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Positions that are scored together.
const BLOCK: usize = 64;

/// The heads of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// KV heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Width of a row of queries, keys and values side by side.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Width of a row of keys and values side by side.
    pub fn kv_width(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }

    /// Width of a row of queries, and of the result.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// How scores are formed, and how far back a row sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Multiplies the dot product of query and key.
    pub scale: f32,
    /// Scores are `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Row `k` is visible to row `q` only where `depth[q] - depth[k] < window`.
    pub window: Option<usize>,
}

impl Scores {
    /// Scores divided by the root of a head's width.
    pub fn plain(shape: AttentionShape) -> Self {
        Self {
            scale: 1.0 / (shape.head_dim as f32).sqrt(),
            softcap: None,
            window: None,
        }
    }

    /// The first depth that a row at `depth` sees.
    fn first(&self, depth: usize) -> usize {
        self.window
            .map_or(0, |window| (depth + 1).saturating_sub(window))
    }
}

/// The rows of one pass and which of them attend.
pub struct PassRows {
    depths: Arc<[u32]>,
    queries: Vec<u32>,
    chunks: Vec<Chunk>,
}

/// Rows that one task walks through.
struct Chunk {
    rows: Range<usize>,
    /// Of `PassRows::queries`.
    queries: Range<usize>,
    /// The path to the first row, by depth: `carried` entries first, then rows of the pass counted on from there.
    path: Vec<usize>,
}

impl PassRows {
    /// Lays out a pass. The first row's depth is the number of carried entries.
    ///
    /// # Shapes
    /// `depths`: one a row, in depth-first order; `queries`: rising row numbers, or `None` for all rows.
    pub fn new(depths: Arc<[u32]>, queries: Option<Vec<u32>>, rows_a_task: usize) -> Self {
        let rows = depths.len();
        let queries = queries.unwrap_or_else(|| {
            (0..rows)
                .filter_map(|row| u32::try_from(row).ok())
                .collect()
        });
        let carried = depths.first().map_or(0, |depth| *depth as usize);
        let mut path: Vec<usize> = (0..carried).collect();
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut next_query = 0;
        for (row, depth) in depths.iter().enumerate() {
            path.truncate(*depth as usize);
            if row % rows_a_task == 0 {
                let end = (row + rows_a_task).min(rows);
                let first = next_query;
                next_query += queries[first..].partition_point(|query| (*query as usize) < end);
                chunks.push(Chunk {
                    rows: row..end,
                    queries: first..next_query,
                    path: path.clone(),
                });
            }
            path.push(carried + row);
        }
        Self {
            depths,
            queries,
            chunks,
        }
    }

    /// The depth of each row.
    pub fn depths(&self) -> &Arc<[u32]> {
        &self.depths
    }

    /// The rows that attend.
    pub fn queries(&self) -> &[u32] {
        &self.queries
    }
}

/// Softmax attention of each querying row over its path.
///
/// # Shapes
/// `qkv`: `[rows, (heads + 2 · kv_heads) · head_dim]`, rotated; `carried`: `[entries, 2 · kv_heads · head_dim]`, keys then
/// values, by depth, at least as many as the first row's depth (more are ignored). Returns `[queries, heads · head_dim]`.
///
/// # Numerics
/// Scores, softmax and sums in `f32`. A result depends on the row's path alone, not on the cut into passes and tasks.
///
/// # Errors
/// candle's, where a tensor is not contiguous `f32` or too short.
///
/// # Source
/// Vaswani et al. 2017, equation 1; grouped heads of Ainslie et al. 2023.
pub fn trie_attention(
    qkv: &Tensor,
    carried: &Tensor,
    rows: &Arc<PassRows>,
    shape: AttentionShape,
    scores: Scores,
) -> Result<Tensor> {
    qkv.apply_op2_no_bwd(
        carried,
        &TrieAttention {
            rows: Arc::clone(rows),
            shape,
            scores,
        },
    )
}

/// [`trie_attention`] by the definition, in `f64`: every pair of rows is tested with `k <= q < end[k]`.
///
/// # Shapes
/// `qkv`: all rows of the trie, no row carried; `depths` and `ends`: the depth of each row and one past the last row of its
/// subtree.
pub fn trie_attention_reference(
    qkv: &[f32],
    depths: &[u32],
    ends: &[u32],
    shape: AttentionShape,
    scores: Scores,
) -> Vec<f64> {
    let AttentionShape {
        heads,
        kv_heads,
        head_dim,
    } = shape;
    let row = |index: usize| &qkv[index * shape.qkv_width()..(index + 1) * shape.qkv_width()];
    let mut out = Vec::new();
    for q in 0..ends.len() {
        let visible: Vec<usize> = (0..=q)
            .filter(|k| {
                let near = |window| ((depths[q] - depths[*k]) as usize) < window;
                q < ends[*k] as usize && scores.window.is_none_or(near)
            })
            .collect();
        for head in 0..heads {
            let kv = head / (heads / kv_heads);
            let dot = |k: usize| -> f64 {
                let query = &row(q)[head * head_dim..(head + 1) * head_dim];
                let key = &row(k)[(heads + kv) * head_dim..];
                let product = query
                    .iter()
                    .zip(key)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum::<f64>();
                let score = product * f64::from(scores.scale);
                scores.softcap.map_or(score, |cap| {
                    f64::from(cap) * (score / f64::from(cap)).tanh()
                })
            };
            let found: Vec<f64> = visible.iter().map(|k| dot(*k)).collect();
            let largest = found.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mass: f64 = found.iter().map(|s| (s - largest).exp()).sum();
            for d in 0..head_dim {
                let value = |k: usize| f64::from(row(k)[(heads + kv_heads + kv) * head_dim + d]);
                let mixed = visible
                    .iter()
                    .zip(&found)
                    .map(|(k, s)| (s - largest).exp() * value(*k))
                    .sum::<f64>();
                out.push(mixed / mass);
            }
        }
    }
    out
}

struct TrieAttention {
    rows: Arc<PassRows>,
    shape: AttentionShape,
    scores: Scores,
}

impl CustomOp2 for TrieAttention {
    fn name(&self) -> &'static str {
        "trie-attention"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        qkv_layout: &Layout,
        carried: &CpuStorage,
        carried_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (qkv, carried) = (values(qkv, qkv_layout)?, values(carried, carried_layout)?);
        let (rows, width) = (&*self.rows, self.shape.query_width());
        let entries = rows.depths.first().map_or(0, |depth| *depth as usize);
        if qkv.len() < rows.depths.len() * self.shape.qkv_width()
            || carried.len() < entries * self.shape.kv_width()
        {
            bail!(
                "trie attention over {} rows and {entries} carried entries: too few values",
                rows.depths.len()
            );
        }
        let deepest = rows.depths.iter().max().map_or(0, |depth| *depth as usize) + 1;
        let mut out = vec![0.0f32; rows.queries.len() * width];
        let mut tasks = Vec::with_capacity(rows.chunks.len());
        let mut rest = &mut out[..];
        for chunk in &rows.chunks {
            let (mine, others) = rest.split_at_mut(chunk.queries.len() * width);
            tasks.push((chunk, mine));
            rest = others;
        }
        let source = Source {
            qkv,
            carried,
            entries,
            shape: self.shape,
        };
        tasks.into_par_iter().for_each(|(chunk, out)| {
            if chunk.queries.is_empty() {
                return;
            }
            let mut path = Path::new(deepest, self.shape.head_dim);
            for kv in 0..self.shape.kv_heads {
                Arch::new().dispatch(Walk {
                    source: &source,
                    scores: self.scores,
                    rows,
                    chunk,
                    kv,
                    path: &mut path,
                    out: &mut *out,
                });
            }
        });
        Ok((
            CpuStorage::F32(out),
            Shape::from((rows.queries.len(), width)),
        ))
    }
}

/// Where keys and values are read from.
struct Source<'a> {
    qkv: &'a [f32],
    carried: &'a [f32],
    entries: usize,
    shape: AttentionShape,
}

impl Source<'_> {
    /// Key and value of one KV head of a carried entry or, counted on from there, a row of the pass.
    #[inline(always)]
    fn key_value(&self, index: usize, kv: usize) -> (&[f32], &[f32]) {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let (row, key_at) = if index < self.entries {
            (
                &self.carried[index * self.shape.kv_width()..],
                kv * head_dim,
            )
        } else {
            (
                &self.qkv[(index - self.entries) * self.shape.qkv_width()..],
                (heads + kv) * head_dim,
            )
        };
        let value_at = key_at + kv_heads * head_dim;
        (
            &row[key_at..key_at + head_dim],
            &row[value_at..value_at + head_dim],
        )
    }
}

/// The keys and values of one path for one KV head, packed by depth.
struct Path {
    head_dim: usize,
    /// Depths there is room for, a multiple of [`BLOCK`].
    room: usize,
    /// `[head_dim, room]`: keys across, so that scores of neighbouring depths are neighbouring lanes.
    keys: Vec<f32>,
    /// `[room, head_dim]`.
    values: Vec<f32>,
    scores: Vec<f32>,
}

impl Path {
    fn new(depths: usize, head_dim: usize) -> Self {
        let room = depths.next_multiple_of(BLOCK);
        Self {
            head_dim,
            room,
            keys: vec![0.0; head_dim * room],
            values: vec![0.0; head_dim * room],
            scores: vec![0.0; room],
        }
    }

    #[inline(always)]
    fn put(&mut self, depth: usize, key: &[f32], value: &[f32]) {
        for (d, key) in key.iter().enumerate() {
            self.keys[d * self.room + depth] = *key;
        }
        self.values[depth * self.head_dim..(depth + 1) * self.head_dim].copy_from_slice(value);
    }

    /// Attention of one query at `depth` over the depths that it sees.
    #[inline(always)]
    fn attend(&mut self, query: &[f32], depth: usize, scores: Scores, out: &mut [f32]) {
        let (first, length) = (scores.first(depth), depth + 1);
        let begin = first - first % BLOCK;
        let mut largest = f32::NEG_INFINITY;
        for start in (begin..length).step_by(BLOCK) {
            let mut block = [0.0f32; BLOCK];
            for (d, q) in query.iter().enumerate() {
                let at = d * self.room + start;
                let keys = &self.keys[at..at + BLOCK];
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
            self.scores[start..start + BLOCK].copy_from_slice(&block);
            for value in block {
                largest = if value > largest { value } else { largest };
            }
        }
        let mut lanes = [0.0f32; LANES];
        let padded = length.next_multiple_of(LANES);
        for (block, start) in self.scores[begin..padded]
            .chunks_exact_mut(LANES)
            .zip((begin..).step_by(LANES))
        {
            for lane in 0..LANES {
                let weight = if start + lane < length && start + lane >= first {
                    exp(block[lane] - largest)
                } else {
                    0.0
                };
                block[lane] = weight;
                lanes[lane] += weight;
            }
        }
        let inverse = 1.0 / add_lanes(lanes);
        if self.head_dim.is_multiple_of(64) {
            self.mix::<64>(first, length, inverse, out);
        } else if self.head_dim.is_multiple_of(16) {
            self.mix::<16>(first, length, inverse, out);
        } else {
            self.mix::<2>(first, length, inverse, out);
        }
    }

    /// The weighted sum of values, `WIDTH` dimensions at a time.
    #[inline(always)]
    fn mix<const WIDTH: usize>(&self, first: usize, length: usize, inverse: f32, out: &mut [f32]) {
        for (start, out) in (0..self.head_dim)
            .step_by(WIDTH)
            .zip(out.chunks_exact_mut(WIDTH))
        {
            let mut sums = [0.0f32; WIDTH];
            for (depth, weight) in (first..length).zip(&self.scores[first..length]) {
                let at = depth * self.head_dim + start;
                let values = &self.values[at..at + WIDTH];
                for lane in 0..WIDTH {
                    sums[lane] = weight.mul_add(values[lane], sums[lane]);
                }
            }
            for lane in 0..WIDTH {
                out[lane] = sums[lane] * inverse;
            }
        }
    }
}

/// One KV head over the rows of one task. A struct, so that it is inlined into the vector context.
struct Walk<'a> {
    source: &'a Source<'a>,
    scores: Scores,
    rows: &'a PassRows,
    chunk: &'a Chunk,
    kv: usize,
    path: &'a mut Path,
    out: &'a mut [f32],
}

impl WithSimd for Walk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Walk {
            source,
            scores,
            rows,
            chunk,
            kv,
            path,
            out,
        } = self;
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = source.shape;
        let group = heads / kv_heads;
        let width = source.shape.query_width();
        for (depth, index) in chunk.path.iter().enumerate() {
            let (key, value) = source.key_value(*index, kv);
            path.put(depth, key, value);
        }
        let mut queries = rows.queries[chunk.queries.clone()]
            .iter()
            .zip(out.chunks_exact_mut(width))
            .peekable();
        for row in chunk.rows.clone() {
            let depth = rows.depths[row] as usize;
            let (key, value) = source.key_value(source.entries + row, kv);
            path.put(depth, key, value);
            while let Some((_, out)) = queries.next_if(|(query, _)| **query as usize == row) {
                let query = &source.qkv[row * source.shape.qkv_width()..];
                for head in kv * group..(kv + 1) * group {
                    let at = head * head_dim..(head + 1) * head_dim;
                    path.attend(&query[at.clone()], depth, scores, &mut out[at]);
                }
            }
            if queries.peek().is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    /// A random trie by its depths, and the ends that go with them.
    fn trie() -> impl Strategy<Value = (Vec<u32>, Vec<u32>)> {
        prop::collection::vec(0u32..100, 1..220).prop_map(|jumps| {
            let mut depths = vec![0u32];
            for jump in &jumps {
                let deepest = depths[depths.len() - 1] + 1;
                // Mostly one deeper; sometimes back up. Several roots are allowed.
                depths.push(if *jump < 75 {
                    deepest
                } else {
                    jump % (deepest + 1)
                });
            }
            let rows = depths.len();
            let ends = (0..rows).map(|row| {
                let after = depths[row + 1..]
                    .iter()
                    .position(|depth| *depth <= depths[row]);
                u32::try_from(after.map_or(rows, |offset| row + 1 + offset)).unwrap()
            });
            let ends = ends.collect();
            (depths, ends)
        })
    }

    /// Shapes, with and without a cap and a window.
    fn kinds() -> impl Strategy<Value = (AttentionShape, Scores)> {
        let cap = prop::option::of(1u16..50);
        let window = prop::option::of(1usize..150);
        (shapes(), cap, window).prop_map(|(shape, cap, window)| {
            let scores = Scores {
                softcap: cap.map(f32::from),
                window,
                ..Scores::plain(shape)
            };
            (shape, scores)
        })
    }

    fn shapes() -> impl Strategy<Value = AttentionShape> {
        (
            1usize..3,
            1usize..4,
            prop::sample::select(vec![2usize, 6, 16, 32, 64]),
        )
            .prop_map(|(kv_heads, group, head_dim)| AttentionShape {
                heads: kv_heads * group,
                kv_heads,
                head_dim,
            })
    }

    fn noise(count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (i * 7919 % 997) as f32 / 300.0 - 1.6)
            .collect()
    }

    fn attend(
        qkv: &[f32],
        carried: &[f32],
        depths: &[u32],
        queries: Option<Vec<u32>>,
        (shape, scores): (AttentionShape, Scores),
        task: usize,
    ) -> Vec<Vec<f32>> {
        let tensor = |values: &[f32], width: usize| {
            let padded = if values.is_empty() {
                vec![0.0; width]
            } else {
                values.to_vec()
            };
            Tensor::from_slice(&padded, (padded.len() / width, width), &Device::Cpu).unwrap()
        };
        let rows = Arc::new(PassRows::new(depths.into(), queries, task));
        trie_attention(
            &tensor(qkv, shape.qkv_width()),
            &tensor(carried, shape.kv_width()),
            &rows,
            shape,
            scores,
        )
        .unwrap()
        .to_vec2()
        .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_agrees_with_the_mask((depths, ends) in trie(), kind in kinds(), task in 1usize..70) {
            let (shape, scores) = kind;
            let qkv = noise(depths.len() * shape.qkv_width());
            let found = attend(&qkv, &[], &depths, None, kind, task);
            let expected = trie_attention_reference(&qkv, &depths, &ends, shape, scores);
            for (a, b) in found.iter().flatten().zip(&expected) {
                prop_assert!((f64::from(*a) - b).abs() < 2e-5, "{a} {b}");
            }
        }

        #[test]
        fn cuts_tasks_and_queries_change_no_bit(
            (depths, _) in trie(), kind in kinds(), cut in 1usize..200, task in 1usize..70,
        ) {
            let (shape, _) = kind;
            let width = shape.qkv_width();
            let qkv = noise(depths.len() * width);
            let whole = attend(&qkv, &[], &depths, None, kind, 64);
            let cut = cut.min(depths.len());
            // What the second pass sees of the first: the path to its first row.
            let mut path: Vec<usize> = Vec::new();
            for row in 0..cut {
                path.truncate(depths[row] as usize);
                path.push(row);
            }
            let first = attend(&qkv[..cut * width], &[], &depths[..cut], None, kind, task);
            prop_assert_eq!(&first[..], &whole[..cut]);
            if cut < depths.len() {
                path.truncate(depths[cut] as usize);
                let carried: Vec<f32> = path
                    .iter()
                    .flat_map(|row| &qkv[row * width + shape.query_width()..(row + 1) * width])
                    .copied()
                    .collect();
                let some: Vec<u32> = (0..u32::try_from(depths.len() - cut).unwrap()).step_by(3).collect();
                let second = attend(&qkv[cut * width..], &carried, &depths[cut..], Some(some.clone()), kind, task);
                for (row, found) in some.iter().zip(&second) {
                    prop_assert_eq!(found, &whole[cut + *row as usize]);
                }
            }
        }
    }
}
