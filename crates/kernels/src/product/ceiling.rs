//! What a processor multiplies at most: products of numbers that never leave its registers.

use super::isa::{Isa, Operands};
#[cfg(target_arch = "x86_64")]
use super::tiles::TileUnit;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long each attempt takes, about.
const ATTEMPT: Duration = Duration::from_millis(20);
const ATTEMPTS: usize = 5;

impl Isa {
    /// Floating-point operations a second that the path's instructions do at most on all threads, best of five: a ceiling for
    /// products of these operands, measured now; 0 where the path is not available.
    pub fn peak_flops(self, operands: Operands) -> f64 {
        if !self.is_available() {
            return 0.0;
        }
        let threads = rayon::current_num_threads();
        let attempt = || {
            let rates: Vec<f64> = (0..threads)
                .into_par_iter()
                .with_max_len(1)
                .map(|_| self.one_thread(operands))
                .collect();
            rates.iter().sum()
        };
        (0..ATTEMPTS).map(|_| attempt()).fold(0.0, f64::max)
    }

    fn one_thread(self, operands: Operands) -> f64 {
        let mut rounds = 1 << 10;
        loop {
            let begun = Instant::now();
            let flops = self.rounds(operands, rounds);
            let spent = begun.elapsed();
            if spent >= ATTEMPT {
                return flops / spent.as_secs_f64();
            }
            rounds *= 2;
        }
    }

    /// Runs the loop so often; gives its operations.
    fn rounds(self, operands: Operands, rounds: usize) -> f64 {
        #[cfg(target_arch = "x86_64")]
        match (operands, self) {
            (Operands::Bf16, Self::Amx) => {
                let mut unit = super::amx::Unit::new();
                return unit.peak(rounds);
            }
            (Operands::Bf16, Self::Avx512Bf16) => return super::avx512_bf16::peak(rounds),
            _ => {}
        }
        let _ = operands;
        self.dispatch(Wide { rounds })
    }
}

/// The loop in `f32`.
struct Wide {
    rounds: usize,
}

impl WithSimd for Wide {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        if S::REGISTER_COUNT >= 32 {
            chains::<S, 24>(simd, self.rounds)
        } else {
            chains::<S, 12>(simd, self.rounds)
        }
    }
}

#[inline(always)]
fn chains<S: Simd, const CHAINS: usize>(simd: S, rounds: usize) -> f64 {
    let factor = simd.splat_f32s(black_box(0.5));
    let mut sums = [simd.splat_f32s(1.0); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = simd.mul_add_f32s(factor, factor, *sum);
        }
    }
    black_box(sums.map(|sum| simd.reduce_sum_f32s(sum)));
    (rounds * CHAINS * S::F32_LANES * 2) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_ceiling() {
        for path in Isa::ALL.into_iter().filter(|path| path.is_available()) {
            let wide = path.peak_flops(Operands::F32);
            assert!(wide > 1e6 && wide < 1e15, "{path}: {wide}");
            if path.has_bf16() {
                assert!(path.peak_flops(Operands::Bf16) > 1e9, "{path}");
            }
        }
    }
}
