//! The innermost loop in `bf16` on tiles, as AMX has them: two by two sums of sixteen rows and sixteen outputs.
//!
//! What a tile unit does to one block is written twice: in its instructions (`amx.rs`), and here as plain code, so that the
//! algorithm is tested on processors that have no such unit.

use super::drive::Finish;
use super::isa::Isa;
use super::panels::{Aligned, Numbers, PANEL, Panels};
use half::bf16;
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 16;
/// Inputs of a tile.
const TILE_INPUTS: usize = 32;

/// Rows that go through the innermost loop together, and panels that do.
const ROWS: usize = 2 * TILE_ROWS;
const PANELS: usize = 2;
/// Rows of a task, and panels: its sums, a block of its inputs and of its weights stay in the second cache.
const TASK_ROWS: usize = 512;
const TASK_PANELS: usize = 16;
/// Steps of inputs that are summed up before the next rows are taken, at the most: two panels of them stay in the first cache while all rows of
/// the task pass.
const STEPS: usize = 20;
/// Numbers of a tile.
const TILE: usize = TILE_ROWS * TILE_INPUTS;

/// Rows in the order that tiles read them: blocks of sixteen rows, each `[inputs / 32, 16, 32]`, filled up with zeros. Rows as they lie in
/// memory have strides of powers of two, and sixteen of them would fall on one set of the cache.
pub(super) struct TiledRows {
    values: Aligned<bf16>,
    pub count: usize,
    /// Tiles of a block.
    steps: usize,
}

impl TiledRows {
    /// Of rows `[count, inner]`, on all threads where `shared`.
    pub fn of<T: Copy + Sync>(
        rows: &[T],
        inner: usize,
        shared: bool,
        as_bf16: impl Fn(T) -> bf16 + Sync,
    ) -> Self {
        let count = rows.len() / inner.max(1);
        let steps = inner.div_ceil(TILE_INPUTS);
        let size = steps * TILE;
        let mut values = Aligned::zeroed(count.div_ceil(TILE_ROWS) * size);
        let fill = |(block, tiles): (usize, &mut [bf16])| {
            let last = count.min((block + 1) * TILE_ROWS);
            for (place, row) in (block * TILE_ROWS..last).enumerate() {
                let row = &rows[row * inner..(row + 1) * inner];
                for (step, inputs) in row.chunks(TILE_INPUTS).enumerate() {
                    let at = step * TILE + place * TILE_INPUTS;
                    for (to, from) in tiles[at..].iter_mut().zip(inputs) {
                        *to = as_bf16(*from);
                    }
                }
            }
        };
        if size > 0 && shared {
            let blocks = values.get_mut().par_chunks_mut(size).enumerate();
            blocks.for_each(fill);
        } else if size > 0 {
            values.get_mut().chunks_mut(size).enumerate().for_each(fill);
        }
        Self {
            values,
            count,
            steps,
        }
    }
}

/// One call of the tile unit: two blocks of sixteen rows by two panels.
#[cfg_attr(
    not(any(target_arch = "x86_64", test)),
    expect(dead_code, reason = "only a tile unit reads it")
)]
pub(super) struct Block {
    /// Tiles of rows, one after the other; the lower ones of a lone upper block are the upper ones again.
    pub upper: *const bf16,
    pub lower: *const bf16,
    /// The two panels, `[steps · 16, 16, 2]`.
    pub panels: [*const bf16; 2],
    /// Tiles of 32 inputs, one at least.
    pub steps: usize,
    /// `[32, 32]`.
    pub sums: *mut f32,
    /// Whether sums go on from what is there.
    pub adds: bool,
    /// Whether there are lower rows.
    pub has_lower: bool,
}

/// What multiplies tiles. One a thread, given back when it is dropped.
pub(super) trait TileUnit {
    fn new() -> Self;

    /// Multiplies one block.
    ///
    /// # Safety
    /// Every tile that the block names can be read, and all sums be written.
    #[expect(unsafe_code, reason = "its caller checks the bounds")]
    unsafe fn multiply(&mut self, block: &Block);
}

thread_local! {
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// One product by tiles.
pub(super) struct TiledJob<'a> {
    pub x: &'a TiledRows,
    pub panels: &'a Panels,
    pub finish: &'a dyn Finish,
}

impl TiledJob<'_> {
    /// Rows of a task and panels: fewer where there would be too few tasks for the threads.
    fn task_size(&self, threads: usize) -> (usize, usize) {
        let (mut rows, mut panels) = (TASK_ROWS, TASK_PANELS);
        let tasks = |rows: usize, panels: usize| {
            self.x.count.div_ceil(rows) * self.panels.count().div_ceil(panels)
        };
        while tasks(rows, panels) < 4 * threads && (rows > 4 * ROWS || panels > PANELS) {
            if rows > 4 * ROWS && (panels == PANELS || rows / ROWS > panels) {
                rows /= 2;
            } else {
                panels /= 2;
            }
        }
        (rows, panels)
    }

    /// On all threads.
    pub fn run<U: TileUnit>(&self) {
        let (rows, panels) = self.task_size(rayon::current_num_threads());
        let groups = self.panels.count().div_ceil(panels);
        let tasks = self.x.count.div_ceil(rows) * groups;
        (0..tasks).into_par_iter().for_each(|task| {
            self.task::<U>(task / groups * rows, rows, task % groups * panels, panels);
        });
    }

    /// On this thread alone.
    #[cfg(target_arch = "x86_64")]
    pub fn run_here<U: TileUnit>(&self) {
        let (rows, panels) = self.task_size(1);
        for first in (0..self.x.count).step_by(rows) {
            for panel in (0..self.panels.count()).step_by(panels) {
                self.task::<U>(first, rows, panel, panels);
            }
        }
    }

    /// Some rows by some panels. Inputs go in blocks, and between them sums rest in memory as `f32`, which changes no bit.
    fn task<U: TileUnit>(&self, first: usize, rows: usize, panel: usize, panels: usize) {
        let rows = first..self.x.count.min(first + rows);
        let panels = panel..self.panels.count().min(panel + panels);
        let Numbers::Bf16(packed) = &self.panels.numbers else {
            unreachable!("tiles multiply bf16 weights")
        };
        let (packed, x) = (packed.get(), self.x.values.get());
        let (pairs, groups) = (rows.len().div_ceil(ROWS), panels.len().div_ceil(PANELS));
        let size = ROWS * PANELS * PANEL;
        let mut unit = U::new();
        SUMS.with_borrow_mut(|sums| {
            if sums.len() < pairs * groups * size {
                sums.resize(pairs * groups * size, 0.0);
            }
            let steps = self.x.steps;
            // In blocks of about the same size.
            let most = steps.div_ceil(steps.div_ceil(STEPS).max(1));
            let mut begun = 0;
            loop {
                let some = most.min(steps - begun);
                for group in 0..groups {
                    let left = panels.start + group * PANELS;
                    let right = (left + 1).min(panels.end - 1);
                    let at = |panel: usize| {
                        let start = panel * self.panels.depth + begun * TILE_INPUTS;
                        packed[start * PANEL..][..some * TILE_INPUTS * PANEL].as_ptr()
                    };
                    let sums = &mut sums[group * pairs * size..][..pairs * size];
                    for (pair, sums) in sums.chunks_exact_mut(size).enumerate() {
                        let upper = rows.start / TILE_ROWS + 2 * pair;
                        let has_lower = (upper + 1) * TILE_ROWS < rows.end;
                        let tiles = |block: usize| {
                            x[(block * steps + begun) * TILE..][..some * TILE].as_ptr()
                        };
                        if some > 0 {
                            let block = Block {
                                upper: tiles(upper),
                                lower: tiles(upper + usize::from(has_lower)),
                                panels: [at(left), at(right)],
                                steps: some,
                                sums: sums.as_mut_ptr(),
                                adds: begun > 0,
                                has_lower,
                            };
                            #[expect(
                                unsafe_code,
                                reason = "SAFETY: tiles and panels of so many steps lie inside their slices, which are cut above, and sums are one whole block"
                            )]
                            unsafe {
                                unit.multiply(&block);
                            }
                        } else {
                            sums.fill(0.0);
                        }
                    }
                    if begun + some == steps {
                        for (pair, sums) in sums.chunks_exact(size).enumerate() {
                            let start = rows.start + pair * ROWS;
                            let of_pair = start..rows.end.min(start + ROWS);
                            let sums = &sums[..of_pair.len() * PANELS * PANEL];
                            self.finish
                                .finish(Isa::Amx, of_pair, left..right + 1, sums);
                        }
                    }
                }
                begun += some;
                if begun >= steps {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
pub(super) mod emulated {
    //! The tile unit as plain code.

    use super::{Block, PANELS, TILE, TILE_INPUTS, TILE_ROWS, TileUnit};
    use crate::product::panels::PANEL;
    use half::bf16;

    pub struct Emulated;

    type Sums = [[f32; PANEL]; TILE_ROWS];
    type Pairs = [[[bf16; 2]; PANEL]; TILE_ROWS];

    /// Subnormal numbers count as zero.
    fn flushed(x: f32) -> f32 {
        if x.is_subnormal() { 0.0 } else { x }
    }

    /// `TDPBF16PS`: the even and the odd inputs of a tile are added up apart, and then to the sum.
    ///
    /// # Source
    /// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS.
    fn dot(sums: &mut Sums, x: &Pairs, weights: &Pairs, rows: usize) {
        for row in 0..rows {
            let (mut even, mut odd) = ([0.0f32; PANEL], [0.0f32; PANEL]);
            for pair in 0..TILE_INPUTS / 2 {
                for column in 0..PANEL {
                    let product = |half: usize| {
                        let x = flushed(x[row][pair][half].to_f32());
                        (x, flushed(weights[pair][column][half].to_f32()))
                    };
                    let ((a, b), (c, d)) = (product(0), product(1));
                    even[column] = flushed(a.mul_add(b, even[column]));
                    odd[column] = flushed(c.mul_add(d, odd[column]));
                }
            }
            for column in 0..PANEL {
                let sum = &mut sums[row][column];
                *sum = flushed(*sum + flushed(even[column] + odd[column]));
            }
        }
    }

    #[expect(
        unsafe_code,
        reason = "SAFETY: reads and writes what the tile unit would"
    )]
    impl TileUnit for Emulated {
        fn new() -> Self {
            Self
        }

        unsafe fn multiply(&mut self, block: &Block) {
            let load = |from: *const bf16| unsafe { from.cast::<Pairs>().read() };
            let halves = [(block.upper, 0), (block.lower, TILE_ROWS)];
            for (x, first) in halves.into_iter().take(1 + usize::from(block.has_lower)) {
                for (panel, weights) in block.panels.iter().enumerate() {
                    let mut sums = [[0.0f32; PANEL]; TILE_ROWS];
                    let place = |row: usize| unsafe {
                        let at = (first + row) * PANELS * PANEL + panel * PANEL;
                        block.sums.add(at).cast::<[f32; PANEL]>()
                    };
                    if block.adds {
                        for (row, sums) in sums.iter_mut().enumerate() {
                            *sums = unsafe { place(row).read() };
                        }
                    }
                    for step in 0..block.steps {
                        let x = load(unsafe { x.add(step * TILE) });
                        let weights = load(unsafe { weights.add(step * TILE) });
                        dot(&mut sums, &x, &weights, TILE_ROWS);
                    }
                    for (row, sums) in sums.iter().enumerate() {
                        unsafe { place(row).write(*sums) };
                    }
                }
            }
        }
    }
}
