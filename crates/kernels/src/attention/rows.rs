//! The rows of a pass, and what each sixteen queries of it see.

use crate::gpu::{GpuBlocks, GpuError, once};
use crate::storage::LANES;
use std::sync::{Arc, OnceLock};

/// The rows of one pass and which of them attend.
pub struct PassRows {
    pub(super) depths: Arc<[u32]>,
    pub(super) queries: Vec<u32>,
    /// Of sixteen queries each.
    chunks: OnceLock<Vec<Chunk>>,
    pub(super) entries: usize,
    /// The same as a GPU attends, once it is there.
    on_gpu: OnceLock<Arc<GpuBlocks>>,
}

/// What sixteen queries see.
pub(super) struct Chunk {
    /// How many carried entries all of them see, from the root on.
    pub shared: u32,
    /// Every further key that one of them sees, so that each sees its own by rising depth.
    pub keys: Vec<Key>,
    /// The depth of each query.
    pub depths: Vec<u32>,
}

/// A key of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// A carried entry or, counted on from there, a row of the pass.
    pub index: u32,
    pub depth: u32,
    /// The queries of the chunk that see it, from the first to one past the last.
    pub first: u8,
    pub end: u8,
}

impl PassRows {
    /// Takes a pass. The first row's depth is the number of carried entries.
    ///
    /// # Shapes
    /// `depths`: one a row, in depth-first order; `queries`: rising row numbers, or `None` for all rows.
    ///
    /// # Panics
    /// Where a query is no row, or there are 2^32 rows and entries or more.
    pub fn new(depths: Arc<[u32]>, queries: Option<Vec<u32>>) -> Self {
        let rows = number(depths.len());
        let queries = queries.unwrap_or_else(|| (0..rows).collect());
        assert!(
            queries.last().is_none_or(|last| *last < rows),
            "a query is a row"
        );
        let entries = depths.first().map_or(0, |depth| *depth as usize);
        Self {
            depths,
            queries,
            chunks: OnceLock::new(),
            entries,
            on_gpu: OnceLock::new(),
        }
    }

    /// What each sixteen queries see, laid out the first time.
    pub(super) fn chunks(&self) -> &[Chunk] {
        self.chunks.get_or_init(|| self.laid_out())
    }

    fn laid_out(&self) -> Vec<Chunk> {
        let Self {
            depths,
            queries,
            entries,
            ..
        } = self;
        let entries = *entries;
        let ends = self.ends();
        // The path to the row that the walk has come to, by depth, as indices.
        let mut path: Vec<u32> = (0..number(entries)).collect();
        let mut next = 0;
        let mut chunks = Vec::with_capacity(queries.len().div_ceil(LANES));
        for of_chunk in queries.chunks(LANES) {
            let (first, last) = (of_chunk[0], of_chunk[of_chunk.len() - 1]);
            for row in next..=first as usize {
                path.truncate(depths[row] as usize);
                path.push(number(entries + row));
            }
            // Carried entries end the sooner the deeper they are.
            let carried = path.partition_point(|index| (*index as usize) < entries);
            let shared = ends[..carried].partition_point(|end| *end > last);
            let mut keys = Vec::with_capacity(path.len() - shared + (last - first) as usize);
            let mut add = |index: u32, depth: u32| {
                let seen_from = (index as usize).saturating_sub(entries);
                let seen = |row: usize| of_chunk.partition_point(|query| (*query as usize) < row);
                let (first, end) = (seen(seen_from), seen(ends[index as usize] as usize));
                if first < end {
                    keys.push(Key {
                        index,
                        depth,
                        first: lane(first),
                        end: lane(end),
                    });
                }
            };
            for (depth, index) in (0..).zip(&path).skip(shared) {
                add(*index, depth);
            }
            for row in first as usize + 1..=last as usize {
                add(number(entries + row), depths[row]);
                path.truncate(depths[row] as usize);
                path.push(number(entries + row));
            }
            next = last as usize + 1;
            chunks.push(Chunk {
                shared: number(shared),
                keys,
                depths: of_chunk
                    .iter()
                    .map(|query| depths[*query as usize])
                    .collect(),
            });
        }
        chunks
    }

    /// One past the last row of the pass that sees each carried entry and each row.
    pub(crate) fn ends(&self) -> Vec<u32> {
        ends(&self.depths, self.entries)
    }

    /// The depth of each row.
    pub fn depths(&self) -> &Arc<[u32]> {
        &self.depths
    }

    /// Entries that are carried on.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// The same on a GPU, made the first time.
    pub(crate) fn on_gpu(
        &self,
        make: impl FnOnce() -> Result<GpuBlocks, GpuError>,
    ) -> Result<Arc<GpuBlocks>, GpuError> {
        once(&self.on_gpu, make)
    }

    /// The rows that attend.
    pub fn queries(&self) -> &[u32] {
        &self.queries
    }
}

/// One past the last row of the pass that sees each carried entry and each row.
fn ends(depths: &[u32], entries: usize) -> Vec<u32> {
    let rows = number(depths.len());
    let mut ends = vec![rows; entries + depths.len()];
    // Open entries and rows, by depth.
    let mut open: Vec<usize> = (0..entries).collect();
    for (row, depth) in depths.iter().enumerate() {
        for index in open.drain((*depth as usize).min(open.len())..) {
            ends[index] = number(row);
        }
        open.push(entries + row);
    }
    ends
}

fn number(count: usize) -> u32 {
    assert!(
        u32::try_from(count).is_ok(),
        "a pass holds fewer than 2^32 rows"
    );
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn lane(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}
