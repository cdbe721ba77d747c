//! The innermost loop in `bf16` on tiles, as AMX has them: two by two sums of sixteen rows and sixteen outputs.
//!
//! What a tile unit does to one block is written twice: in its instructions (`amx.rs`), and here as plain code, so that the
//! algorithm is tested on processors that have no such unit.

use super::drive::{Cut, Tile};
use super::panels::PANEL;
use half::bf16;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 16;
/// Inputs of a tile.
const TILE_INPUTS: usize = 32;

pub(super) const CUT: Cut = Cut {
    rows: 2 * TILE_ROWS,
    panels: 2,
    block: 256,
    inputs: 1024,
};

/// One call of the tile unit.
///
/// # Shapes
/// Bytes between rows of `x` and of `sums`: `x_stride`, `sums_stride`. Upper and lower: up to sixteen rows each.
#[cfg_attr(
    not(any(target_arch = "x86_64", test)),
    expect(dead_code, reason = "only a tile unit reads it")
)]
pub(super) struct Block {
    pub upper: *const bf16,
    pub lower: *const bf16,
    pub x_stride: usize,
    /// The two panels, `[steps · 16, 16, 2]`.
    pub panels: [*const bf16; 2],
    /// Tiles of 32 inputs.
    pub steps: usize,
    pub upper_sums: *mut f32,
    pub lower_sums: *mut f32,
    pub sums_stride: usize,
    /// Whether sums go on from what is there.
    pub adds: bool,
}

/// What multiplies tiles. One a thread, given back when it is dropped.
pub(super) trait TileUnit {
    fn new() -> Self;

    /// Sets how many rows the upper and the lower tiles have, one at least.
    fn configure(&mut self, upper: usize, lower: usize);

    /// Multiplies one block.
    ///
    /// # Safety
    /// Every row that the configuration and the block name can be read, and every sum be written.
    #[expect(unsafe_code, reason = "its caller checks the bounds")]
    unsafe fn multiply(&mut self, block: &Block);
}

/// Multiplies some rows with packed panels.
///
/// # Shapes
/// `x`: `[.., inner]`; `packed`: `[panels, inner / 2, 16, 2]`; `sums`: `[32, 32]`.
///
/// # Panics
/// Where a slice is too short or inputs are no whole tiles.
pub(super) fn tile<U: TileUnit>(
    unit: &mut U,
    tile: &Tile,
    x: &[bf16],
    packed: &[bf16],
    sums: &mut [f32],
) {
    let rows = tile.rows.len();
    let (inputs, width) = (tile.inputs.len(), CUT.panels * PANEL);
    assert!(
        (1..=CUT.rows).contains(&rows)
            && (1..=CUT.panels).contains(&tile.panels)
            && inputs.is_multiple_of(TILE_INPUTS)
            && inputs > 0
            && tile.inputs.start.is_multiple_of(TILE_INPUTS)
            && tile.inputs.end <= tile.inner
            && x.len() >= tile.rows.end * tile.inner
            && packed.len() >= tile.panels * tile.inner * PANEL
            && sums.len() >= CUT.rows * width
    );
    let upper = rows.min(TILE_ROWS);
    // Where there is no lower half, its one row is a copy that nobody takes.
    let lower = rows.saturating_sub(TILE_ROWS).max(1);
    unit.configure(upper, lower);
    let below = tile.rows.start + (rows - 1).min(TILE_ROWS);
    let at = |row: usize| &x[row * tile.inner + tile.inputs.start..];
    let panel = |panel: usize| {
        let panel = panel.min(tile.panels - 1);
        packed[(panel * tile.inner + tile.inputs.start) * PANEL..].as_ptr()
    };
    let (upper_sums, lower_sums) = sums.split_at_mut(TILE_ROWS * width);
    let block = Block {
        upper: at(tile.rows.start).as_ptr(),
        lower: at(below).as_ptr(),
        x_stride: tile.inner * size_of::<bf16>(),
        panels: [panel(0), panel(1)],
        steps: inputs / TILE_INPUTS,
        upper_sums: upper_sums.as_mut_ptr(),
        lower_sums: lower_sums.as_mut_ptr(),
        sums_stride: width * size_of::<f32>(),
        adds: tile.adds,
    };
    #[expect(
        unsafe_code,
        reason = "SAFETY: upper and lower rows, both panels and 32 rows of sums lie inside their slices, as asserted above"
    )]
    unsafe {
        unit.multiply(&block);
    }
}

#[cfg(test)]
pub(super) mod emulated {
    //! The tile unit as plain code.

    use super::{Block, TILE_INPUTS, TILE_ROWS, TileUnit};
    use crate::product::panels::PANEL;
    use half::bf16;

    #[derive(Default)]
    pub struct Emulated {
        upper: usize,
        lower: usize,
    }

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
            Self::default()
        }

        fn configure(&mut self, upper: usize, lower: usize) {
            assert!((1..=TILE_ROWS).contains(&upper) && (1..=TILE_ROWS).contains(&lower));
            (self.upper, self.lower) = (upper, lower);
        }

        unsafe fn multiply(&mut self, block: &Block) {
            let zero = [[[bf16::ZERO; 2]; PANEL]; TILE_ROWS];
            let load = |from: *const bf16, stride: usize, rows: usize| {
                let mut tile = zero;
                for (row, tile) in tile.iter_mut().enumerate().take(rows) {
                    let from = unsafe { from.byte_add(row * stride) };
                    *tile = unsafe { from.cast::<[[bf16; 2]; PANEL]>().read() };
                }
                tile
            };
            let halves = [
                (block.upper, block.upper_sums, self.upper),
                (block.lower, block.lower_sums, self.lower),
            ];
            for (x, to, rows) in halves {
                for (panel, weights) in block.panels.iter().enumerate() {
                    let mut sums = [[0.0f32; PANEL]; TILE_ROWS];
                    let place = |row: usize| unsafe {
                        to.byte_add(row * block.sums_stride)
                            .add(panel * PANEL)
                            .cast::<[f32; PANEL]>()
                    };
                    if block.adds {
                        for (row, sums) in sums.iter_mut().enumerate().take(rows) {
                            *sums = unsafe { place(row).read() };
                        }
                    }
                    for step in 0..block.steps {
                        let x = load(unsafe { x.add(step * TILE_INPUTS) }, block.x_stride, rows);
                        let at = step * TILE_INPUTS * PANEL;
                        let weights = load(unsafe { weights.add(at) }, 64, TILE_ROWS);
                        dot(&mut sums, &x, &weights, rows);
                    }
                    for (row, sums) in sums.iter().enumerate().take(rows) {
                        unsafe { place(row).write(*sums) };
                    }
                }
            }
        }
    }
}
