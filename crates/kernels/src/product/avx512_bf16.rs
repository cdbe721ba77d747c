//! The innermost loop in `bf16` by AVX512-BF16.

use super::drive::{Cut, Tile};
#[cfg(target_arch = "x86_64")]
use super::panels::PANEL;
use half::bf16;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512bh, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

const ROWS: usize = 6;
const PANELS: usize = 4;

pub(super) const CUT: Cut = Cut {
    rows: ROWS,
    panels: PANELS,
    block: 252,
    inputs: 2048,
};

/// Multiplies some rows with packed panels.
///
/// # Shapes
/// `x`: `[.., inner]`, `inner` even; `packed`: `[panels, inner / 2, 16, 2]`; `sums`: `[rows of the cut, panels of the cut · 16]`.
///
/// # Numerics
/// Over pairs of inputs in their order, as `VDPBF16PS` adds them: subnormal numbers count as zero.
///
/// # Panics
/// Where the processor has no AVX512-BF16, or a slice is too short.
pub(super) fn tile(tile: &Tile, x: &[bf16], packed: &[bf16], sums: &mut [f32]) {
    let size = tile.inner * 16;
    assert!(
        !tile.rows.is_empty()
            && tile.inner.is_multiple_of(2)
            && tile.inputs.start.is_multiple_of(2)
            && tile.inputs.end <= tile.inner
            && x.len() >= tile.rows.end * tile.inner
            && (1..=PANELS).contains(&tile.panels)
            && packed.len() >= tile.panels * size
            && sums.len() >= ROWS * PANELS * 16
    );
    #[cfg(target_arch = "x86_64")]
    {
        assert!(super::isa::Isa::Avx512Bf16.is_available());
        #[expect(
            unsafe_code,
            reason = "SAFETY: the processor has the instructions, and every row, panel and sum that is read or written lies \
                      inside its slice, as asserted above"
        )]
        unsafe {
            registers(tile, x, packed, sums);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("only x86 has AVX512-BF16");
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[expect(
    unsafe_code,
    reason = "SAFETY: the caller checks the bounds; loads need no alignment"
)]
unsafe fn registers(tile: &Tile, x: &[bf16], packed: &[bf16], sums: &mut [f32]) {
    // What is missing of rows and panels is a copy of the last: it is computed and not taken.
    let rows: [*const bf16; ROWS] = std::array::from_fn(|row| {
        let row = tile.rows.start + row.min(tile.rows.len() - 1);
        unsafe { x.as_ptr().add(row * tile.inner + tile.inputs.start) }
    });
    let panels: [*const bf16; PANELS] = std::array::from_fn(|panel| {
        let panel = panel.min(tile.panels - 1);
        unsafe {
            packed
                .as_ptr()
                .add((panel * tile.inner + tile.inputs.start) * PANEL)
        }
    });
    let places = sums.as_mut_ptr();
    let mut all = [[_mm512_setzero_ps(); PANELS]; ROWS];
    if tile.adds {
        for (row, of_row) in all.iter_mut().enumerate() {
            for (panel, sum) in of_row.iter_mut().enumerate() {
                *sum = unsafe { _mm512_loadu_ps(places.add((row * PANELS + panel) * PANEL)) };
            }
        }
    }
    for pair in 0..tile.inputs.len() / 2 {
        let weights: [__m512bh; PANELS] = std::array::from_fn(|panel| unsafe {
            std::mem::transmute(_mm512_loadu_si512(
                panels[panel].add(pair * 2 * PANEL).cast(),
            ))
        });
        for row in 0..ROWS {
            let value: __m512bh = unsafe {
                let both = rows[row].add(2 * pair).cast::<i32>().read_unaligned();
                std::mem::transmute(_mm512_set1_epi32(both))
            };
            for panel in 0..PANELS {
                all[row][panel] = _mm512_dpbf16_ps(all[row][panel], value, weights[panel]);
            }
        }
    }
    for (row, of_row) in all.iter().enumerate() {
        for (panel, sum) in of_row.iter().enumerate() {
            unsafe { _mm512_storeu_ps(places.add((row * PANELS + panel) * PANEL), *sum) };
        }
    }
}

/// Products of numbers in registers, so often; gives the operations.
#[cfg(target_arch = "x86_64")]
pub(super) fn peak(rounds: usize) -> f64 {
    assert!(super::isa::Isa::Avx512Bf16.is_available());
    #[expect(unsafe_code, reason = "SAFETY: the processor has the instructions")]
    unsafe {
        chains(rounds)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[expect(
    unsafe_code,
    reason = "SAFETY: sixteen times two bf16 are as many bits as sixteen i32"
)]
unsafe fn chains(rounds: usize) -> f64 {
    const CHAINS: usize = 24;
    let one = std::hint::black_box(0x3f80_3f80_u32.cast_signed());
    let value: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(one)) };
    let mut sums = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, value, value);
        }
    }
    let mut all = [0.0f32; CHAINS * 16];
    for (place, sum) in all.chunks_exact_mut(16).zip(&sums) {
        unsafe { _mm512_storeu_ps(place.as_mut_ptr(), *sum) };
    }
    std::hint::black_box(all);
    (rounds * CHAINS * 64) as f64
}
