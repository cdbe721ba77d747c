//! Attention of the rows of a pass over a trie.

use super::path::{BLOCK, Blocks, attend, put};
use super::{AttentionShape, Scores};
use crate::storage::values;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

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
            let mut weights = vec![0.0; deepest.next_multiple_of(BLOCK)];
            for kv in 0..self.shape.kv_heads {
                Arch::new().dispatch(Walk {
                    source: &source,
                    scores: self.scores,
                    rows,
                    chunk,
                    kv,
                    path: &mut path,
                    weights: &mut weights,
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
    /// `[blocks, head_dim, BLOCK]`.
    keys: Vec<f32>,
    /// `[blocks, BLOCK, head_dim]`.
    values: Vec<f32>,
}

impl Path {
    fn new(depths: usize, head_dim: usize) -> Self {
        let room = depths.next_multiple_of(BLOCK);
        Self {
            head_dim,
            keys: vec![0.0; head_dim * room],
            values: vec![0.0; head_dim * room],
        }
    }

    #[inline(always)]
    fn put(&mut self, depth: usize, (key, value): (&[f32], &[f32])) {
        let at = self.at(depth / BLOCK);
        let (keys, values) = (&mut self.keys[at.clone()], &mut self.values[at]);
        put(keys, values, depth % BLOCK, key, value);
    }

    #[inline(always)]
    fn at(&self, block: usize) -> Range<usize> {
        let size = self.head_dim * BLOCK;
        block * size..(block + 1) * size
    }
}

impl Blocks for Path {
    #[inline(always)]
    fn keys(&self, block: usize) -> &[f32] {
        &self.keys[self.at(block)]
    }

    #[inline(always)]
    fn values(&self, block: usize) -> &[f32] {
        &self.values[self.at(block)]
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
    weights: &'a mut [f32],
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
            weights,
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
            path.put(depth, source.key_value(*index, kv));
        }
        let mut queries = rows.queries[chunk.queries.clone()]
            .iter()
            .zip(out.chunks_exact_mut(width))
            .peekable();
        for row in chunk.rows.clone() {
            let depth = rows.depths[row] as usize;
            path.put(depth, source.key_value(source.entries + row, kv));
            while let Some((_, out)) = queries.next_if(|(query, _)| **query as usize == row) {
                let query = &source.qkv[row * source.shape.qkv_width()..];
                for head in kv * group..(kv + 1) * group {
                    let at = head * head_dim..(head + 1) * head_dim;
                    let query = &query[at.clone()];
                    attend(path, query, depth, scores, weights, &mut out[at]);
                }
            }
            if queries.peek().is_none() {
                return;
            }
        }
    }
}
