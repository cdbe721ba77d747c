//! AMX: whether it is there, and its instructions.
//!
//! Stable Rust has no intrinsics for tiles, so they are written as assembly. Linux gives a process tiles when it asks.

use super::finish::{Output, Store};
use super::panels::Panels;
use super::reference::product_reference;
use super::tiles::{Block, TILE_ROWS, TileUnit, TiledJob, TiledRows};
use candle_core::{Device, Tensor};
use half::bf16;
use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};

/// Whether processor and system have tiles of `bf16`, the system gives them, and a small product comes out right.
pub(super) fn is_available() -> bool {
    has_tiles() && may_use_tiles() && comes_out_right()
}

fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    // XCR0 holds the state of tiles and of their configuration.
    const TILE_STATES: u64 = 0b11 << 17;
    if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("xsave") {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    if features & (AMX_BF16 | AMX_TILE) != AMX_BF16 | AMX_TILE {
        return false;
    }
    #[expect(
        unsafe_code,
        reason = "SAFETY: the processor has XSAVE and the system uses it, or AVX-512 would not be there"
    )]
    let enabled = unsafe { _xgetbv(0) };
    enabled & TILE_STATES == TILE_STATES
}

/// Asks Linux for the state of tiles, for all threads of the process.
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let answer: i64;
    #[expect(
        unsafe_code,
        reason = "SAFETY: a system call that takes two numbers and touches no memory of ours"
    )]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

/// A product over ragged sizes against the reference: what does not come out right is not used.
fn comes_out_right() -> bool {
    let (rows, inner, outer) = (37, 1056, 41);
    let made = |count: usize, by: usize| -> Vec<bf16> {
        let values = (0..count).map(|i| (i * by % 1013) as f32 / 506.0 - 1.0);
        values.map(bf16::from_f32).collect()
    };
    let (x, weight) = (made(rows * inner, 7919), made(outer * inner, 104_729));
    let Ok(tensor) = Tensor::from_slice(&weight, (outer, inner), &Device::Cpu) else {
        return false;
    };
    // Not on the pool: whoever waits for the answer may hold its threads.
    let Ok(panels) = Panels::pack_here(&tensor, false) else {
        return false;
    };
    let out = Output::new(rows * outer);
    let store = Store {
        out: out.shared(),
        width: outer,
        bias: None,
    };
    let job = TiledJob {
        x: &TiledRows::of(&x, inner, false, |x| x),
        panels: &panels,
        finish: &store,
    };
    job.run_here::<Unit>();
    #[expect(
        unsafe_code,
        reason = "SAFETY: a product writes every row and panel of its result"
    )]
    let out = unsafe { out.written() };
    let wide = |values: &[bf16]| values.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
    let expected = product_reference(&wide(&x), &wide(&weight), inner);
    out.iter()
        .zip(&expected)
        .all(|(found, expected)| (f64::from(*found) - expected).abs() < 1e-3)
}

/// The tiles of one thread, configured while it is there.
pub(super) struct Unit(());

impl Unit {
    /// Products of tiles in registers, so often; gives the operations.
    #[expect(clippy::unused_self, reason = "while it is there tiles are configured")]
    pub fn peak(&mut self, rounds: usize) -> f64 {
        #[expect(
            unsafe_code,
            reason = "SAFETY: tiles are configured, and no memory is touched"
        )]
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tilezero tmm4",
                "tilezero tmm5",
                "tilezero tmm6",
                "tilezero tmm7",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) rounds => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, nomem),
            );
        }
        // Four products of 16 rows, 32 inputs and 16 outputs.
        (rounds * 4 * 2 * TILE_ROWS * 32 * 16) as f64
    }
}

/// What `LDTILECFG` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row, by tile.
    columns: [u16; 16],
    rows: [u8; 16],
}

impl TileUnit for Unit {
    fn new() -> Self {
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            columns: [0; 16],
            rows: [0; 16],
        };
        // Sums of the upper rows, of the lower ones; upper rows, lower rows; two panels: all of them whole.
        configuration.columns[..8].fill(64);
        configuration.rows[..8].fill(16);
        #[expect(
            unsafe_code,
            reason = "SAFETY: a unit is made only where tiles are there and the system gives them"
        )]
        unsafe {
            asm!("ldtilecfg [{0}]", in(reg) &raw const configuration, options(nostack, readonly));
        }
        Self(())
    }

    #[expect(
        unsafe_code,
        reason = "SAFETY: the caller vouches for the block; tiles are configured, and no other code of the process uses them"
    )]
    unsafe fn multiply(&mut self, block: &Block) {
        let line = 64usize;
        let sums_line = 128usize;
        let lower_sums = unsafe { block.sums.add(TILE_ROWS * 32) };
        if !block.has_lower {
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "test {adds}, {adds}",
                    "jz 3f",
                    "tileloadd tmm0, [{sums} + {sums_line}*1]",
                    "tileloadd tmm1, [{sums} + {sums_line}*1 + 64]",
                    "3:",
                    "tileloadd tmm4, [{upper} + {line}*1]",
                    "tileloadd tmm6, [{first} + {line}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{second} + {line}*1]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {first}, 1024",
                    "add {second}, 1024",
                    "add {upper}, 1024",
                    "dec {steps}",
                    "jnz 3b",
                    "tilestored [{sums} + {sums_line}*1], tmm0",
                    "tilestored [{sums} + {sums_line}*1 + 64], tmm1",
                    adds = in(reg) u64::from(block.adds),
                    upper = inout(reg) block.upper => _,
                    first = inout(reg) block.panels[0] => _,
                    second = inout(reg) block.panels[1] => _,
                    line = in(reg) line,
                    steps = inout(reg) block.steps => _,
                    sums = in(reg) block.sums,
                    sums_line = in(reg) sums_line,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
            return;
        }
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "test {adds}, {adds}",
                "jz 3f",
                "tileloadd tmm0, [{sums} + {sums_line}*1]",
                "tileloadd tmm1, [{sums} + {sums_line}*1 + 64]",
                "tileloadd tmm2, [{lower_sums} + {sums_line}*1]",
                "tileloadd tmm3, [{lower_sums} + {sums_line}*1 + 64]",
                "3:",
                // Rows pass by once; panels stay in the first cache.
                "tileloaddt1 tmm4, [{upper} + {line}*1]",
                "tileloadd tmm6, [{first} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{second} + {line}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloaddt1 tmm5, [{lower} + {line}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {first}, 1024",
                "add {second}, 1024",
                "add {upper}, 1024",
                "add {lower}, 1024",
                "dec {steps}",
                "jnz 3b",
                "tilestored [{sums} + {sums_line}*1], tmm0",
                "tilestored [{sums} + {sums_line}*1 + 64], tmm1",
                "tilestored [{lower_sums} + {sums_line}*1], tmm2",
                "tilestored [{lower_sums} + {sums_line}*1 + 64], tmm3",
                adds = in(reg) u64::from(block.adds),
                upper = inout(reg) block.upper => _,
                lower = inout(reg) block.lower => _,
                first = inout(reg) block.panels[0] => _,
                second = inout(reg) block.panels[1] => _,
                line = in(reg) line,
                steps = inout(reg) block.steps => _,
                sums = in(reg) block.sums,
                lower_sums = in(reg) lower_sums,
                sums_line = in(reg) sums_line,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        #[expect(
            unsafe_code,
            reason = "SAFETY: gives back the tiles that this thread configured"
        )]
        unsafe {
            asm!("tilerelease", options(nomem, nostack));
        }
    }
}
