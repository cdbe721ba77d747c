//! Attention on a device, and the keys and values that it finds there.

use super::memory::Buffer;
use super::operations::Place;
use super::product::size;
use super::raw::{Address, Number};
use super::rows::GpuRows;
use super::source::{Source, Variant};
use super::{Gpu, GpuError, Kernel};
use crate::attention::{AttentionShape, Blocks, KvPages, PageRows, PassRows, Scores};
use bytemuck::{Pod, Zeroable};
use std::sync::Arc;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Attention {
    qkv: Address,
    carried: Address,
    out: Address,
    rows: Address,
    depths: Address,
    keys: Address,
    firsts: Address,
    ends: Address,
    starts: Address,
    lists: Address,
    tiles: Address,
    shallow: Address,
    queries: u32,
    heads: u32,
    kv_heads: u32,
    entries: u32,
    window: u32,
    scale: f32,
    softcap: f32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Texts {
    qkv: Address,
    room: Address,
    out: Address,
    parts: Address,
    firsts: Address,
    tables: Address,
    depths: Address,
    longest: u32,
    heads: u32,
    kv_heads: u32,
    window: u32,
    scale: f32,
    softcap: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Pages {
    qkv: Address,
    room: Address,
    out: Address,
    tables: Address,
    depths: Address,
    rows: u32,
    longest: u32,
    heads: u32,
    kv_heads: u32,
    window: u32,
    scale: f32,
    softcap: f32,
    end: u32,
}

/// The kernel that a pass attends by, where the device has no other opinion.
pub(super) const ATTENTION: &str = "attention";
/// The kernel of paths in pages on tensor cores; `attention_pages` is its plain form.
pub(super) const TEXTS: &str = "attention_texts";
/// Depths of a piece of a path, as in `texts.cu`.
const PIECE: usize = 256;

/// What a pass sees, on a device: one upload for all layers.
pub(crate) struct GpuBlocks {
    all: Buffer,
    /// Where each list begins.
    at: [Address; 9],
    queries: usize,
    tiles: usize,
    /// Heads that a block takes, by which tiles are cut.
    together: usize,
    entries: usize,
}

impl GpuBlocks {
    fn new(gpu: &Arc<Gpu>, rows: &PassRows, together: usize) -> Result<Self, GpuError> {
        let tiles = gpu.config.attention;
        let queries = tiles.queries(together);
        let blocks = Blocks::new(rows.depths(), rows.queries(), queries, tiles.keys);
        let lists = [
            &blocks.rows,
            &blocks.depths,
            &blocks.keys,
            &blocks.firsts,
            &blocks.ends,
            &blocks.starts,
            &blocks.lists,
            &blocks.tiles,
            &blocks.shallow,
        ];
        let mut all: Vec<u32> = Vec::with_capacity(lists.iter().map(|list| list.len()).sum());
        let begin = lists.map(|list| {
            let at = all.len();
            all.extend_from_slice(list);
            at
        });
        let all = gpu.upload(&all)?;
        let at = begin.map(|at| all.address() + (at * size_of::<u32>()) as Address);
        Ok(Self {
            all,
            at,
            queries: blocks.rows.len(),
            tiles: blocks.shallow.len(),
            together,
            entries: rows.entries(),
        })
    }

    fn gpu(&self) -> &Arc<Gpu> {
        self.all.gpu()
    }
}

/// The keys and values of one path on a device, by depth.
pub struct GpuKvPrefix {
    shape: AttentionShape,
    entries: usize,
    room: Option<GpuRows>,
}

impl GpuKvPrefix {
    /// A path of no rows.
    pub fn new(shape: AttentionShape) -> Self {
        Self {
            shape,
            entries: 0,
            room: None,
        }
    }

    /// Goes on to another row: keeps the first `kept` entries and adds the keys and values of some rows, which are given here and
    /// on the device.
    ///
    /// # Errors
    /// [`GpuError`].
    pub(crate) fn advance(
        &mut self,
        qkv: &GpuRows,
        kept: usize,
        (rows, list): (&[u32], &Buffer),
    ) -> Result<(), GpuError> {
        let (gpu, width) = (qkv.gpu(), self.shape.kv_width());
        let entries = kept + rows.len();
        if rows.iter().any(|row| *row as usize >= qkv.rows) || kept > self.entries {
            return Err(GpuError::Shape("a path of rows that are not there".into()));
        }
        let bytes = width * qkv.number.bytes();
        let enough = self.room.as_ref().is_some_and(|room| room.rows >= entries);
        if !enough && entries > 0 {
            let room = GpuRows::new(
                gpu,
                entries.next_power_of_two().max(64),
                width,
                qkv.number,
                1,
            )?;
            if let Some(before) = &self.room {
                gpu.copy_within(before.address(), room.address(), kept * bytes)?;
            }
            self.room = Some(room);
        }
        self.entries = entries;
        if entries == 0 {
            // A path that ends gives its room back.
            self.room = None;
        }
        let (Some(room), false) = (&self.room, rows.is_empty()) else {
            return Ok(());
        };
        gpu.copy_rows(
            keys_and_values(qkv, self.shape, Some(list)),
            Place {
                address: room.address() + (kept * bytes) as Address,
                stride: bytes,
                rows: None,
            },
            rows.len(),
            bytes,
        )
    }
}

/// The keys and values of rows, which stand after their queries.
fn keys_and_values<'a>(
    qkv: &GpuRows,
    shape: AttentionShape,
    rows: Option<&'a Buffer>,
) -> Place<'a> {
    let number = qkv.number.bytes();
    Place {
        address: qkv.address() + (shape.query_width() * number) as Address,
        stride: qkv.width * number,
        rows,
    }
}

/// Keys and values of one layer on a device, in pages of [`KvPages::DEPTHS`] neighbouring depths.
pub struct GpuPages {
    shape: AttentionShape,
    count: usize,
    /// `[pages · 64, 2 · kv_heads · head_dim]`, made when the first is written.
    room: Option<GpuRows>,
}

impl GpuPages {
    /// Makes room for `pages` pages.
    pub fn new(shape: AttentionShape, pages: usize) -> Self {
        Self {
            shape,
            count: pages,
            room: None,
        }
    }

    /// Writes the keys and values of the first rows to their places: page and place, by row.
    pub(crate) fn put_rows(
        &mut self,
        qkv: &GpuRows,
        places: &[(u32, usize)],
    ) -> Result<(), GpuError> {
        let places = numbers(places.iter().copied());
        let list = qkv.gpu().upload(&places)?;
        self.put(qkv, (&places, &list))
    }

    /// The same by the numbers of places, on the host and on the device.
    fn put(&mut self, qkv: &GpuRows, (places, list): (&[u32], &Buffer)) -> Result<(), GpuError> {
        let gpu = qkv.gpu();
        let width = self.shape.kv_width();
        let room = match &mut self.room {
            Some(room) => room,
            empty => {
                let rows = self.count * KvPages::DEPTHS;
                empty.insert(GpuRows::new(gpu, rows, width, qkv.number, 1)?)
            }
        };
        if places.len() > qkv.rows || places.iter().any(|place| *place as usize >= room.rows) {
            return Err(GpuError::Shape("pages of rows that are not there".into()));
        }
        let bytes = width * qkv.number.bytes();
        let to = Place {
            address: room.address(),
            stride: bytes,
            rows: Some(list),
        };
        gpu.copy_rows(
            keys_and_values(qkv, self.shape, None),
            to,
            places.len(),
            bytes,
        )
    }

    /// Copies the first `count` places of a page to another.
    pub(crate) fn copy(&mut self, from: u32, to: u32, count: usize) -> Result<(), GpuError> {
        let Some(room) = &self.room else {
            return Ok(());
        };
        let bytes = room.width * room.number.bytes();
        let at = |page: u32| room.address() + (page as usize * KvPages::DEPTHS * bytes) as Address;
        room.gpu().copy_within(at(from), at(to), count * bytes)
    }
}

/// The numbers of places of all pages.
fn numbers(places: impl Iterator<Item = (u32, usize)>) -> Vec<u32> {
    let number = |(page, place): (u32, usize)| size(page as usize * KvPages::DEPTHS + place);
    places.map(number).collect()
}

/// New rows and their paths, on a device: one upload for all layers.
pub(crate) struct GpuPageRows {
    /// The places of the new rows, on the host and on the device.
    numbers: Vec<u32>,
    places: Buffer,
    tables: Buffer,
    depths: Buffer,
    /// Pages of the longest path.
    longest: usize,
    /// Where the pieces of each path of several begin among those of all.
    firsts: Buffer,
    /// Pieces of the longest path, and of all paths of several.
    pieces: (usize, usize),
}

impl GpuPageRows {
    fn new(gpu: &Arc<Gpu>, rows: &PageRows) -> Result<Self, GpuError> {
        let longest = rows.tables.iter().map(Vec::len).max().unwrap_or(0);
        let mut tables = vec![0u32; rows.tables.len() * longest];
        for (row, table) in tables.chunks_exact_mut(longest.max(1)).zip(&rows.tables) {
            row[..table.len()].copy_from_slice(table);
        }
        let numbers = numbers(rows.places());
        let mut firsts = Vec::with_capacity(rows.depths.len());
        let (mut most, mut all) = (1, 0);
        for depth in &rows.depths {
            let pieces = *depth as usize / PIECE + 1;
            firsts.push(size(all));
            all += if pieces > 1 { pieces } else { 0 };
            most = most.max(pieces);
        }
        Ok(Self {
            firsts: gpu.upload(&firsts)?,
            pieces: (most, all),
            places: gpu.upload(&numbers)?,
            numbers,
            tables: gpu.upload(&tables)?,
            depths: gpu.upload(&rows.depths)?,
            longest,
        })
    }
}

impl Gpu {
    /// Attention over the rows of a pass and the path that it was handed.
    ///
    /// # Shapes
    /// `qkv`: `[rows, (heads + 2 · kv_heads) · head_dim]`; returns `[queries, heads · head_dim]` as what `qkv` is.
    pub(crate) fn trie_attention(
        self: &Arc<Self>,
        qkv: &GpuRows,
        carried: &GpuKvPrefix,
        rows: &PassRows,
        shape: AttentionShape,
        scores: Scores,
        block: usize,
    ) -> Result<GpuRows, GpuError> {
        if qkv.width != shape.qkv_width() || rows.entries() > carried.entries {
            return Err(GpuError::Shape("attention of rows of another shape".into()));
        }
        let together = self.config.attention.together(shape.heads / shape.kv_heads);
        let blocks = rows.on_gpu(|| GpuBlocks::new(self, rows, together))?;
        if !Arc::ptr_eq(blocks.gpu(), self) || blocks.together != together {
            let problem = "a pass that is on another device, or of other heads";
            return Err(GpuError::Shape(problem.into()));
        }
        let out = GpuRows::new(self, blocks.queries, shape.query_width(), qkv.number, block)?;
        let [
            rows,
            depths,
            keys,
            firsts,
            ends,
            starts,
            lists,
            tiles,
            shallow,
        ] = blocks.at;
        let parameters = Attention {
            qkv: qkv.address(),
            carried: carried.room.as_ref().map_or(0, GpuRows::address),
            out: out.address(),
            rows,
            depths,
            keys,
            firsts,
            ends,
            starts,
            lists,
            tiles,
            shallow,
            queries: size(blocks.queries),
            heads: size(shape.heads),
            kv_heads: size(shape.kv_heads),
            entries: size(blocks.entries),
            window: window(scores),
            scale: scores.scale,
            softcap: scores.softcap.unwrap_or(0.0),
            end: 0,
        };
        let variant = Variant {
            source: Source::Attention,
            element: qkv.number,
            head_dim: shape.head_dim,
            together,
        };
        if self.has_tensor_attention(shape.head_dim, qkv.number) && !self.is_plain(ATTENTION) {
            let tiles = self.config.attention;
            let kernel = Kernel {
                variant,
                name: ATTENTION,
                shared: tiles.bytes(shape.head_dim),
            };
            let grid = [size(blocks.tiles), size(shape.heads / together), 1];
            let threads = tiles.queries(together) * together * 2;
            self.launch(kernel, grid, size(threads), &parameters)?;
        } else {
            let kernel = Kernel {
                variant,
                name: "attention_plain",
                shared: 0,
            };
            let grid = [size(blocks.queries.div_ceil(4)), size(shape.heads), 1];
            self.launch(kernel, grid, 128, &parameters)?;
        }
        Ok(out)
    }

    /// Whether heads of this width attend on tensor cores.
    pub(super) fn has_tensor_attention(&self, head_dim: usize, number: Number) -> bool {
        let fits = self.config.attention.bytes(head_dim) <= self.context.properties.shared_bytes;
        number != Number::F32 && head_dim.is_multiple_of(16) && head_dim <= 256 && fits
    }

    /// Whether texts attend on tensor cores: the query heads of a K/V head are rows of one product, sixteen at the most.
    fn has_tensor_texts(&self, shape: AttentionShape, number: Number) -> bool {
        number != Number::F32
            && shape.head_dim.is_multiple_of(16)
            && shape.head_dim <= 256
            && shape.heads <= 16 * shape.kv_heads
            && !self.is_plain(TEXTS)
    }

    fn attend_texts(
        self: &Arc<Self>,
        (qkv, room, out): (&GpuRows, &GpuRows, &GpuRows),
        new: &GpuPageRows,
        shape: AttentionShape,
        scores: Scores,
    ) -> Result<(), GpuError> {
        let (pieces, all) = new.pieces;
        let bytes = shape.heads * (shape.head_dim + 2) * size_of::<f32>();
        let parts = (all > 0).then(|| self.buffer(all * bytes)).transpose()?;
        let parameters = Texts {
            qkv: qkv.address(),
            room: room.address(),
            out: out.address(),
            parts: parts.as_ref().map_or(0, Buffer::address),
            firsts: new.firsts.address(),
            tables: new.tables.address(),
            depths: new.depths.address(),
            longest: size(new.longest),
            heads: size(shape.heads),
            kv_heads: size(shape.kv_heads),
            window: window(scores),
            scale: scores.scale,
            softcap: scores.softcap.unwrap_or(0.0),
        };
        let kernel = |name| texts_kernel(name, shape, qkv.number);
        let grid = [size(qkv.rows), size(shape.kv_heads), size(pieces)];
        self.launch(kernel(TEXTS), grid, 128, &parameters)?;
        if parts.is_some() {
            let grid = [size(qkv.rows), size(shape.heads), 1];
            self.launch(kernel("attention_join"), grid, 32, &parameters)?;
        }
        Ok(())
    }

    /// Writes the keys and values of new rows to their pages, and attends each over its path.
    ///
    /// # Shapes
    /// As [`crate::page_attention`].
    pub(crate) fn page_attention(
        self: &Arc<Self>,
        qkv: &GpuRows,
        pages: &mut GpuPages,
        rows: &PageRows,
        scores: Scores,
    ) -> Result<GpuRows, GpuError> {
        let shape = pages.shape;
        let new = rows.on_gpu(|| GpuPageRows::new(self, rows))?;
        pages.put(qkv, (&new.numbers, &new.places))?;
        let Some(room) = &pages.room else {
            return Err(GpuError::Shape("no page is there".into()));
        };
        let out = qkv.like(shape.query_width(), qkv.number)?;
        if self.has_tensor_texts(shape, qkv.number) {
            self.attend_texts((qkv, room, &out), &new, shape, scores)?;
            return Ok(out);
        }
        let parameters = Pages {
            qkv: qkv.address(),
            room: room.address(),
            out: out.address(),
            tables: new.tables.address(),
            depths: new.depths.address(),
            rows: size(qkv.rows),
            longest: size(new.longest),
            heads: size(shape.heads),
            kv_heads: size(shape.kv_heads),
            window: window(scores),
            scale: scores.scale,
            softcap: scores.softcap.unwrap_or(0.0),
            end: 0,
        };
        let kernel = texts_kernel("attention_pages", shape, qkv.number);
        let grid = [size(qkv.rows.div_ceil(4)), size(shape.heads), 1];
        self.launch(kernel, grid, 128, &parameters)?;
        Ok(out)
    }
}

fn texts_kernel(name: &'static str, shape: AttentionShape, element: Number) -> Kernel {
    Kernel {
        variant: Variant {
            source: Source::Texts,
            element,
            head_dim: shape.head_dim,
            together: 0,
        },
        name,
        shared: 0,
    }
}

fn window(scores: Scores) -> u32 {
    scores.window.map_or(u32::MAX, size)
}
