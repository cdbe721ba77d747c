//! The innermost loop in `f32`, on the lanes of the path.

use super::drive::{Cut, Tile};
use super::isa::Isa;
use super::panels::PANEL;
use pulp::{Simd, WithSimd};

/// For registers of sixteen lanes.
pub(super) const CUT_16: Cut = Cut {
    rows: 6,
    panels: 4,
    block: 252,
    inputs: 512,
};

/// For narrower ones.
pub(super) const CUT_8: Cut = Cut {
    rows: 6,
    panels: 2,
    block: 252,
    inputs: 512,
};

/// Multiplies some rows with widened panels.
///
/// # Shapes
/// `x`: `[.., inner]`; `wide`: the tile's inputs, `[inputs, 16]` for each panel, and how many inputs lie from one panel
/// to the next; `sums`: `[rows of the cut, panels of the cut · 16]`.
///
/// # Numerics
/// Fused multiplication and addition over inputs in their order, so that every path gives the same bits.
pub(super) fn tile(
    path: Isa,
    tile: &Tile,
    x: &[f32],
    (wide, stride): (&[f32], usize),
    sums: &mut [f32],
) {
    path.dispatch(Widest {
        tile,
        x,
        wide,
        stride,
        sums,
    });
}

struct Widest<'a> {
    tile: &'a Tile,
    x: &'a [f32],
    wide: &'a [f32],
    /// Inputs from one panel to the next.
    stride: usize,
    sums: &'a mut [f32],
}

impl WithSimd for Widest<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match S::F32_LANES {
            16 => self.registers::<S, 6, 4, 1>(simd, 0, 4),
            lanes => {
                for panel in 0..2 {
                    match lanes {
                        8 => self.registers::<S, 6, 1, 2>(simd, panel, 2),
                        4 => self.registers::<S, 6, 1, 4>(simd, panel, 2),
                        _ => self.registers::<S, 6, 1, 16>(simd, panel, 2),
                    }
                }
            }
        }
    }
}

impl Widest<'_> {
    /// The panels from `from` on, of `of` in the cut: `ROWS · PANELS · VECTORS` sums stay in registers.
    #[inline(always)]
    fn registers<S: Simd, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        from: usize,
        of: usize,
    ) {
        let Self { tile, x, wide, .. } = *self;
        let sums = &mut *self.sums;
        let inputs = tile.inputs.len();
        // What is missing of rows and panels is a copy of the last: it is computed and not taken.
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| {
            let row = tile.rows.start + row.min(tile.rows.len() - 1);
            &x[row * tile.inner..][tile.inputs.clone()]
        });
        let panels: [&[[f32; PANEL]]; PANELS] = std::array::from_fn(|panel| {
            let at = (from + panel).min(tile.panels - 1) * self.stride;
            &wide.as_chunks::<PANEL>().0[at..at + inputs]
        });
        let (places, _) = sums.as_chunks_mut::<PANEL>();
        let mut all = [[[simd.splat_f32s(0.0); VECTORS]; PANELS]; ROWS];
        if tile.adds {
            for (row, of_row) in all.iter_mut().enumerate() {
                for (panel, of_panel) in of_row.iter_mut().enumerate() {
                    let place: &[S::f32s] = bytemuck::cast_slice(&places[row * of + from + panel]);
                    of_panel.copy_from_slice(&place[..VECTORS]);
                }
            }
        }
        for input in 0..inputs {
            let mut weights = [[simd.splat_f32s(0.0); VECTORS]; PANELS];
            for panel in 0..PANELS {
                let row: &[S::f32s] = bytemuck::cast_slice(&panels[panel][input][..]);
                weights[panel].copy_from_slice(&row[..VECTORS]);
            }
            for row in 0..ROWS {
                let value = simd.splat_f32s(rows[row][input]);
                for panel in 0..PANELS {
                    for vector in 0..VECTORS {
                        let sum = &mut all[row][panel][vector];
                        *sum = simd.mul_add_f32s(value, weights[panel][vector], *sum);
                    }
                }
            }
        }
        for (row, of_row) in all.iter().enumerate() {
            for (panel, of_panel) in of_row.iter().enumerate() {
                let place: &mut [S::f32s] =
                    bytemuck::cast_slice_mut(&mut places[row * of + from + panel]);
                place[..VECTORS].copy_from_slice(of_panel);
            }
        }
    }
}
