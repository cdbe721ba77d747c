//! What the next-token distribution of a row says, without ever writing it down.

use crate::exp::{exp, tanh};
use crate::storage::{LANES, values, values_mut};
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// One row of logits, summarised.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The entropy of the distribution, in nats. Not a number where a logit is infinite or not a number.
    pub entropy: f64,
    /// The most probable tokens and their log-probabilities (nats), best first; ties by lower id.
    pub top: Vec<(u32, f64)>,
    /// The log-probabilities of the tokens that were asked for, in the order asked.
    pub asked: Vec<f64>,
}

/// Summarises each row.
///
/// # Shapes
/// `logits`: `[rows, vocabulary]`; `asked`: tokens by row, at most as many rows.
///
/// # Numerics
/// Exponentials in `f32`, their sums in `f64` over sixteen lanes.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32` on the CPU.
///
/// # Panics
/// Where an asked token is outside the vocabulary.
pub fn summarise(logits: &Tensor, asked: &[&[u32]], top: usize) -> Result<Vec<Summary>> {
    let (_, vocabulary) = logits.dims2()?;
    let (storage, layout) = logits.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("summaries are read on the CPU")
    };
    let values = values(storage, layout)?;
    Ok(values
        .par_chunks(vocabulary)
        .zip(asked.par_iter())
        .map(|(row, asked)| {
            let largest = best(row, top);
            let centre = largest.first().map_or(0.0, |&(_, logit)| logit);
            let (mass, moment) = sums(row, centre);
            let log_prob = |logit: f32| f64::from(logit) - f64::from(centre) - mass.ln();
            Summary {
                entropy: mass.ln() - moment / mass,
                top: largest
                    .iter()
                    .map(|&(token, logit)| (token, log_prob(logit)))
                    .collect(),
                asked: asked
                    .iter()
                    .map(|&token| log_prob(row[token as usize]))
                    .collect(),
            }
        })
        .collect())
}

/// `factor · x` in place.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32`.
pub fn scale(logits: &Tensor, factor: f64) -> Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
    logits.inplace_op1(&Scale {
        factor: factor as f32,
    })
}

struct Scale {
    factor: f32,
}

impl InplaceOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        values_mut(storage, layout)?
            .par_chunks_mut(4096)
            .for_each(|values| {
                for value in values {
                    *value *= self.factor;
                }
            });
        Ok(())
    }
}

/// `cap · tanh(x / cap)` in place.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32`.
///
/// # Source
/// Bello et al. 2016, as in Gemma 2.
pub fn softcap(logits: &Tensor, cap: f64) -> Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
    logits.inplace_op1(&Softcap { cap: cap as f32 })
}

struct Softcap {
    cap: f32,
}

impl InplaceOp1 for Softcap {
    fn name(&self) -> &'static str {
        "softcap"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        values_mut(storage, layout)?
            .par_chunks_mut(4096)
            .for_each(|values| {
                Arch::new().dispatch(Capped {
                    values,
                    cap: self.cap,
                });
            });
        Ok(())
    }
}

struct Capped<'a> {
    values: &'a mut [f32],
    cap: f32,
}

impl WithSimd for Capped<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for value in self.values {
            *value = self.cap * tanh(*value / self.cap);
        }
    }
}

/// [`summarise`] for one row in `f64`.
pub fn summarise_reference(row: &[f32], asked: &[u32], top: usize) -> Summary {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mass: f64 = row
        .iter()
        .map(|x| (f64::from(*x) - f64::from(largest)).exp())
        .sum();
    let log_prob = |token: usize| f64::from(row[token]) - f64::from(largest) - mass.ln();
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
    Summary {
        entropy: -(0..row.len())
            .map(|token| log_prob(token).exp() * log_prob(token))
            .sum::<f64>(),
        top: order
            .iter()
            .take(top)
            .filter_map(|&t| Some((u32::try_from(t).ok()?, log_prob(t))))
            .collect(),
        asked: asked
            .iter()
            .map(|&token| log_prob(token as usize))
            .collect(),
    }
}

/// The largest values with their places, best first; ties by lower place.
pub(crate) fn best(row: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (block, token) in row.chunks(64).zip((0u32..).step_by(64)) {
        let threshold = if best.len() < count {
            f32::NEG_INFINITY
        } else {
            best[count - 1].1
        };
        if best.len() == count && !block.iter().any(|value| *value > threshold) {
            continue;
        }
        for (value, token) in block.iter().zip(token..) {
            if best.len() < count || *value > best[best.len() - 1].1 {
                let place = best.partition_point(|(_, kept)| kept >= value);
                best.insert(place, (token, *value));
                best.truncate(count);
            }
        }
    }
    best
}

/// `Σ e^(x − centre)` and `Σ (x − centre) e^(x − centre)`.
pub(crate) fn sums(row: &[f32], centre: f32) -> (f64, f64) {
    Arch::new().dispatch(Sums { row, centre })
}

/// [`sums`]. A struct, so that it is inlined into the vector context.
struct Sums<'a> {
    row: &'a [f32],
    centre: f32,
}

impl WithSimd for Sums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> (f64, f64) {
        let (mut mass, mut moment) = ([0.0f64; LANES], [0.0f64; LANES]);
        let mut add = |values: &[f32; LANES], count: usize| {
            let mut weights = [0.0f32; LANES];
            let mut moments = [0.0f32; LANES];
            for lane in 0..LANES {
                let x = values[lane] - self.centre;
                weights[lane] = exp(x);
                moments[lane] = x * weights[lane];
            }
            for lane in 0..count {
                mass[lane] += f64::from(weights[lane]);
                moment[lane] += f64::from(moments[lane]);
            }
        };
        let (blocks, rest) = self.row.as_chunks::<LANES>();
        for block in blocks {
            add(block, LANES);
        }
        let mut last = [self.centre; LANES];
        last[..rest.len()].copy_from_slice(rest);
        add(&last, rest.len());
        (mass.iter().sum(), moment.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_agrees_with_the_reference(rows in 1usize..5, vocabulary in 6usize..400, seed in 0usize..9999) {
            let values: Vec<f32> =
                (0..rows * vocabulary).map(|i| ((i * 7919 + seed) * 31 % 4001) as f32 / 200.0 - 10.0).collect();
            let logits = Tensor::from_slice(&values, (rows, vocabulary), &Device::Cpu).unwrap();
            let asked = [0u32, 5];
            let found = summarise(&logits, &vec![&asked[..]; rows], 5).unwrap();
            for (found, row) in found.iter().zip(values.chunks(vocabulary)) {
                let expected = summarise_reference(row, &asked, 5);
                prop_assert!((found.entropy - expected.entropy).abs() < 1e-5);
                for (a, b) in found.asked.iter().zip(&expected.asked) {
                    prop_assert!((a - b).abs() < 1e-5);
                }
                let ids = |summary: &Summary| summary.top.iter().map(|t| t.0).collect::<Vec<_>>();
                prop_assert_eq!(ids(found), ids(&expected));
            }
        }
    }

    #[test]
    fn a_soft_cap_bends_what_is_large() {
        let values: Vec<f32> = (-9000..9000).map(|i| i as f32 / 100.0).collect();
        let logits = Tensor::from_slice(&values, (2, 9000), &Device::Cpu).unwrap();
        softcap(&logits, 30.0).unwrap();
        let found = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, x) in found.iter().zip(&values) {
            let b = 30.0 * (f64::from(*x) / 30.0).tanh();
            assert!((f64::from(*a) - b).abs() < 1e-5, "{x} {a} {b}");
        }
    }

    #[test]
    fn a_logit_that_is_no_number_shows() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut row = vec![0.5f32; 100];
            row[70] = bad;
            let logits = Tensor::from_slice(&row, (1, 100), &Device::Cpu).unwrap();
            assert!(summarise(&logits, &[&[]], 5).unwrap()[0].entropy.is_nan());
        }
    }
}
