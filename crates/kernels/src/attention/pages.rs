//! Attention of one new row each over paths that are kept in pages.

use super::path::{BLOCK, Blocks, attend, put};
use super::{AttentionShape, Scores};
use crate::gpu::{GpuError, GpuPageRows, once};
use crate::storage::{narrowed, values};
use candle_core::{DType, Device, Result, Storage, Tensor, bail};
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// Keys and values of one layer, in pages of [`KvPages::DEPTHS`] neighbouring depths.
pub struct KvPages {
    shape: AttentionShape,
    /// `[pages, kv_heads, keys then values, head_dim · 64]`: keys as `[head_dim, 64]`, values as `[64, head_dim]`.
    pages: Vec<f32>,
}

/// One new row of each of some paths.
pub struct PageRows {
    /// The pages of a path by depth, the new row's page included; by row.
    pub tables: Vec<Vec<u32>>,
    /// The depth of the new row; by row.
    pub depths: Vec<u32>,
    /// The same on a GPU, once it is there.
    on_gpu: OnceLock<Arc<GpuPageRows>>,
}

impl PageRows {
    /// Takes the pages of each path by depth, the new row's page included, and the depth of each new row.
    pub fn new(tables: Vec<Vec<u32>>, depths: Vec<u32>) -> Self {
        Self {
            tables,
            depths,
            on_gpu: OnceLock::new(),
        }
    }

    /// The same on a GPU, made the first time.
    pub(crate) fn on_gpu(
        &self,
        make: impl FnOnce() -> std::result::Result<GpuPageRows, GpuError>,
    ) -> std::result::Result<Arc<GpuPageRows>, GpuError> {
        once(&self.on_gpu, make)
    }

    /// Page and place of each new row.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, usize)> {
        let rows = self.tables.iter().zip(&self.depths);
        rows.map(|(table, depth)| {
            let depth = *depth as usize;
            (table[depth / BLOCK], depth % BLOCK)
        })
    }
}

impl KvPages {
    /// Depths of one page.
    pub const DEPTHS: usize = BLOCK;

    /// Makes room for `pages` pages. Memory is taken when a page is first written.
    pub fn new(shape: AttentionShape, pages: usize) -> Self {
        Self {
            shape,
            pages: vec![0.0; pages * Self::page_length(shape)],
        }
    }

    /// Numbers in one page.
    pub fn page_length(shape: AttentionShape) -> usize {
        shape.kv_width() * BLOCK
    }

    /// Keys and values of the KV heads of a page.
    fn heads_mut(&mut self, page: u32) -> impl Iterator<Item = (&mut [f32], &mut [f32])> {
        let (length, half) = (Self::page_length(self.shape), self.shape.head_dim * BLOCK);
        self.pages[page as usize * length..(page as usize + 1) * length]
            .chunks_exact_mut(2 * half)
            .map(move |head| head.split_at_mut(half))
    }

    /// Writes the keys and values of a row of queries, keys and values to a place of a page.
    ///
    /// # Shapes
    /// `qkv`: `[(heads + 2 · kv_heads) · head_dim]`; `place`: below 64.
    ///
    /// # Panics
    /// Where there is no such page or place.
    pub fn put(&mut self, page: u32, place: usize, qkv: &[f32]) {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let key_at = heads * head_dim;
        let value_at = key_at + kv_heads * head_dim;
        for (kv, (keys, values)) in self.heads_mut(page).enumerate() {
            let at = |first: usize| first + kv * head_dim..first + (kv + 1) * head_dim;
            put(keys, values, place, &qkv[at(key_at)], &qkv[at(value_at)]);
        }
    }

    /// Writes the keys and values of rows of a tensor to their places.
    ///
    /// # Shapes
    /// `qkv`: `[rows or more, (heads + 2 · kv_heads) · head_dim]`; `places`: page and place, by row.
    ///
    /// # Errors
    /// candle's, where the tensor is not contiguous `f32` on the CPU or too short.
    pub fn put_rows(&mut self, qkv: &Tensor, places: &[(u32, usize)]) -> Result<()> {
        let (storage, layout) = qkv.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("pages are kept on the CPU")
        };
        let (qkv, width) = (values(storage, layout)?, self.shape.qkv_width());
        if qkv.len() < places.len() * width {
            bail!("{} rows are kept of fewer", places.len());
        }
        for ((page, place), row) in places.iter().zip(qkv.chunks_exact(width)) {
            self.put(*page, *place, row);
        }
        Ok(())
    }

    /// Copies the first `count` places of a page to another.
    ///
    /// # Panics
    /// Where there is no such page.
    pub fn copy(&mut self, from: u32, to: u32, count: usize) {
        let (length, half, dim) = (
            Self::page_length(self.shape),
            self.shape.head_dim * BLOCK,
            self.shape.head_dim,
        );
        let (from, to) = (from as usize * length, to as usize * length);
        for head in (0..length).step_by(2 * half) {
            for row in (0..half).step_by(BLOCK) {
                let at = from + head + row;
                self.pages.copy_within(at..at + count, to + head + row);
            }
            let at = from + head + half;
            self.pages
                .copy_within(at..at + count * dim, to + head + half);
        }
    }
}

/// Writes the keys and values of the new rows to their pages, and attends each row over its path.
///
/// # Shapes
/// `qkv`: `[rows, (heads + 2 · kv_heads) · head_dim]`, rotated; returns `[rows, heads · head_dim]` in `dtype`, `f32` or `bf16`.
///
/// # Numerics
/// The bits of [`trie_attention`](super::trie_attention) for the same path.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32` on the CPU or too short.
///
/// # Panics
/// Where a table lacks a page of its path.
pub fn page_attention(
    qkv: &Tensor,
    pages: &mut KvPages,
    rows: &PageRows,
    scores: Scores,
    dtype: DType,
) -> Result<Tensor> {
    let shape = pages.shape;
    let places: Vec<(u32, usize)> = rows.places().collect();
    pages.put_rows(qkv, &places)?;
    let (storage, layout) = qkv.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("pages are kept on the CPU")
    };
    let qkv = values(storage, layout)?;
    let (width, group) = (shape.query_width(), shape.heads / shape.kv_heads);
    let filled = qkv.len() / shape.qkv_width();
    let mut out = vec![0.0f32; filled * width];
    out.par_chunks_mut(group * shape.head_dim)
        .take(rows.depths.len() * shape.kv_heads)
        .enumerate()
        .for_each(|(task, out)| {
            let (row, kv) = (task / shape.kv_heads, task % shape.kv_heads);
            let at = row * shape.qkv_width() + kv * group * shape.head_dim;
            Arch::new().dispatch(Step {
                path: PathInPages {
                    pages,
                    numbers: &rows.tables[row],
                    kv,
                },
                queries: &qkv[at..at + group * shape.head_dim],
                depth: rows.depths[row] as usize,
                scores,
                out,
            });
        });
    let shape = (filled, width);
    if dtype == DType::BF16 {
        let out: Vec<bf16> = out.into_iter().map(narrowed).collect();
        return Tensor::from_vec(out, shape, &Device::Cpu);
    }
    Tensor::from_vec(out, shape, &Device::Cpu)
}

/// The path of one row for one KV head.
struct PathInPages<'a> {
    pages: &'a KvPages,
    /// By block.
    numbers: &'a [u32],
    kv: usize,
}

impl PathInPages<'_> {
    #[inline(always)]
    fn half(&self, block: usize, second: usize) -> &[f32] {
        let half = self.pages.shape.head_dim * BLOCK;
        let page = self.numbers[block] as usize * self.pages.shape.kv_heads + self.kv;
        let at = (2 * page + second) * half;
        &self.pages.pages[at..at + half]
    }
}

impl Blocks for PathInPages<'_> {
    #[inline(always)]
    fn keys(&self, block: usize) -> &[f32] {
        self.half(block, 0)
    }

    #[inline(always)]
    fn values(&self, block: usize) -> &[f32] {
        self.half(block, 1)
    }
}

/// The query heads of one KV head of one row. A struct, so that it is inlined into the vector context.
struct Step<'a> {
    path: PathInPages<'a>,
    queries: &'a [f32],
    depth: usize,
    scores: Scores,
    out: &'a mut [f32],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let dim = self.path.pages.shape.head_dim;
        let mut weights = vec![0.0; (self.depth + 1).next_multiple_of(BLOCK)];
        for (query, out) in self
            .queries
            .chunks_exact(dim)
            .zip(self.out.chunks_exact_mut(dim))
        {
            attend(
                &self.path,
                query,
                self.depth,
                self.scores,
                &mut weights,
                out,
            );
        }
    }
}
