//! The next token of a text, from its logits.
//!
//! Weights are whole numbers, so that their sums are the same in any order, and a processor and a GPU draw the same token from the same
//! logits. `choice.cu` has the same steps.

use crate::exp::exp;
use crate::softmax::{best, sums};
use crate::storage::values;
use candle_core::{Result, Storage, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::cell::RefCell;

/// How one row's token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Logits are divided by it; 0 takes the most probable token, the lowest id on a tie.
    pub temperature: f64,
    /// Of the tokens by falling probability, only as many are drawn from as are needed for this share, and those that are as probable as
    /// the last of them; 1 for all.
    pub top_p: f64,
    /// The draw, uniform over all 64 bits.
    pub draw: u64,
}

impl Choice {
    /// What differences of logits are multiplied by; 0 where nothing is drawn.
    pub(crate) fn colder(&self) -> f32 {
        if self.temperature <= 0.0 {
            return 0.0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let colder = (1.0 / self.temperature).min(f64::from(f32::MAX)) as f32;
        colder
    }

    /// The share of the nucleus in 2^64ths; 0 where all tokens are drawn from.
    pub(crate) fn nucleus(&self) -> u64 {
        if self.top_p >= 1.0 {
            return 0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to below 2^64"
        )]
        let share = (self.top_p.max(0.0) * TWO_TO_64) as u64;
        share.max(1)
    }
}

const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// A token and its log-probability (nats) in the whole distribution, at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The token.
    pub token: u32,
    /// `ln p(token)`. Not a number where a logit is infinite or not a number.
    pub log_prob: f64,
}

/// The weight of the most probable token: with 2^18 tokens sums stay below 2^62, and what is lost is less than 2^-26 of it.
const WHOLE: f32 = 17_592_186_044_416.0; // 2^44

/// The most tokens that a vocabulary may have for their weights to have a sum.
const MOST_TOKENS: usize = 1 << 19;

/// Chooses a token for each row.
///
/// # Shapes
/// `logits`: `[rows or more, vocabulary]`; returns one token a choice.
///
/// # Numerics
/// Weights are `e^((x − largest) / temperature)` in `f32`, as whole 2^-44ths of the largest; a token is drawn where their running sum, by
/// rising id, passes `draw` 2^-64ths of it. A row's token depends on the row and its choice alone.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32` on the CPU.
///
/// # Source
/// Nucleus sampling: Holtzman et al. 2020; temperature is applied before the nucleus is cut, as transformers does.
pub fn choose(logits: &Tensor, choices: &[Choice]) -> Result<Vec<Chosen>> {
    let (_, vocabulary) = logits.dims2()?;
    if vocabulary > MOST_TOKENS {
        bail!("{vocabulary} tokens are more than can be drawn from")
    }
    let (storage, layout) = logits.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("tokens are chosen on the CPU")
    };
    let logits = values(storage, layout)?;
    Ok(logits
        .par_chunks(vocabulary)
        .zip(choices.par_iter())
        .map(|(row, choice)| {
            let (token, largest) = best(row, 1).first().copied().unwrap_or((0, 0.0));
            let (mass, _) = sums(row, largest);
            let token = drawn(row, largest, choice).unwrap_or(token);
            let log_prob = f64::from(row[token as usize]) - f64::from(largest) - mass.ln();
            Chosen { token, log_prob }
        })
        .collect())
}

thread_local! {
    /// Room for weights: new memory would cost a page fault for every four kilobytes.
    static WEIGHTS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A token drawn from the nucleus; `None` where the most probable is taken.
fn drawn(row: &[f32], largest: f32, choice: &Choice) -> Option<u32> {
    let colder = choice.colder();
    if colder == 0.0 {
        return None;
    }
    WEIGHTS.with_borrow_mut(|weights| {
        weights.resize(row.len(), 0);
        let total = Arch::new().dispatch(Weights {
            row,
            largest,
            colder,
            out: weights,
        });
        let (least, kept) = match choice.nucleus() {
            0 => (0, total),
            share => nucleus(weights, share_of(total, share) + 1, total),
        };
        let at = share_of(kept, choice.draw);
        let kept = weights
            .iter()
            .map(|weight| if *weight >= least { *weight } else { 0 });
        let mut sum = 0;
        let passes = |weight: u64| {
            sum += weight;
            sum > at
        };
        let token = kept.map(passes).position(|passed| passed)?;
        u32::try_from(token).ok()
    })
}

/// So many 2^64ths of a number.
fn share_of(number: u64, share: u64) -> u64 {
    ((u128::from(number) * u128::from(share)) >> 64) as u64
}

/// The least weight of the fewest tokens that have `wanted` together, and what those of it and above have.
fn nucleus(weights: &[u64], wanted: u64, total: u64) -> (u64, u64) {
    // Tokens below this have together less than what the nucleus leaves out.
    let least = (total - wanted.min(total)) / weights.len() as u64;
    let mut candidates: Vec<u64> = weights
        .iter()
        .copied()
        .filter(|weight| *weight >= least)
        .collect();
    let above = |candidates: &[u64], least: u64| -> u64 {
        candidates.iter().filter(|weight| **weight >= least).sum()
    };
    // The largest weight from which on there is enough, bit by bit.
    let mut least = 0;
    for bit in (0..=44).rev() {
        let more = least | 1 << bit;
        if above(&candidates, more) >= wanted {
            least = more;
            // What is below will not be needed.
            candidates.retain(|weight| *weight >= more);
        }
    }
    (least, above(&candidates, least))
}

/// The weights of all tokens, and their sum. A struct, so that it is inlined into the vector context.
struct Weights<'a> {
    row: &'a [f32],
    largest: f32,
    colder: f32,
    out: &'a mut [u64],
}

impl WithSimd for Weights<'_> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> u64 {
        let mut total = 0u64;
        for (weight, logit) in self.out.iter_mut().zip(self.row) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to 2^44; what is no number weighs nothing"
            )]
            let whole = (exp((logit - self.largest) * self.colder) * WHOLE) as u64;
            *weight = whole;
            total = total.wrapping_add(whole);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// `draw` from 0 to below 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to below 2^64"
    )]
    fn of(row: &[f32], temperature: f64, top_p: f64, draw: f64) -> Chosen {
        let logits = Tensor::from_slice(row, (1, row.len()), &Device::Cpu).unwrap();
        let choice = Choice {
            temperature,
            top_p,
            draw: (draw * TWO_TO_64) as u64,
        };
        choose(&logits, &[choice]).unwrap()[0]
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let chosen = of(&[0.0, 2.0, 2.0, 1.0], 0.0, 1.0, 0.9);
        assert_eq!(chosen.token, 1);
        let mass = 1.0 + 2.0 * 2f64.exp() + 1f64.exp();
        assert!((chosen.log_prob - (2.0 - mass.ln())).abs() < 1e-6);
    }

    /// By numpy: softmax of [1, 3, 0, 2] at temperature 2 is [.1674, .4551, .1015, .2760].
    #[test]
    fn draws_follow_the_tempered_distribution() {
        let row = [1.0, 3.0, 0.0, 2.0];
        let mut counts = [0.0f64; 4];
        let draws = 10_000;
        for draw in 0..draws {
            counts[of(&row, 2.0, 1.0, f64::from(draw) / f64::from(draws)).token as usize] += 1.0;
        }
        for (count, p) in counts.iter().zip([0.1674, 0.4551, 0.1015, 0.2760]) {
            assert!((count / f64::from(draws) - p).abs() < 2e-4, "{counts:?}");
        }
    }

    #[test]
    fn the_nucleus_is_the_fewest_tokens_that_reach_the_share() {
        let row = [1.0, 3.0, 0.0, 2.0];
        // .4551 + .2760 = .7311 at temperature 2.
        for (top_p, kept) in [
            (0.4, &[1][..]),
            (0.7, &[1, 3]),
            (0.74, &[1, 3, 0]),
            (1.0, &[1, 3, 0, 2]),
        ] {
            let found: std::collections::BTreeSet<u32> = (0..1000)
                .map(|draw| of(&row, 2.0, top_p, f64::from(draw) / 1000.0).token)
                .collect();
            assert_eq!(found, kept.iter().copied().collect(), "{top_p}");
        }
    }

    #[test]
    fn a_logit_that_is_no_number_shows() {
        assert!(of(&[0.5, f32::NAN], 0.0, 1.0, 0.5).log_prob.is_nan());
    }

    fn choice(top_p: f64) -> Choice {
        Choice {
            temperature: 1.0,
            top_p,
            draw: 0,
        }
    }

    /// Against a sum over sorted weights.
    #[test]
    fn a_nucleus_is_the_one_of_sorted_probabilities() {
        let weights: Vec<u64> = (0..500)
            .map(|i: u64| 1 << (i * 7919 % 43) | (i * 31 % 17))
            .collect();
        let total: u64 = weights.iter().sum();
        let mut sorted = weights.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        for top_p in [0.01, 0.3, 0.5, 0.9, 0.99, 0.999_9, 0.999_999_9] {
            let wanted = share_of(total, choice(top_p).nucleus());
            let mut sum = 0;
            let enough = |weight: &&u64| {
                sum += **weight;
                sum >= wanted
            };
            let last = *sorted.iter().find(enough).unwrap();
            let above = weights.iter().filter(|weight| **weight >= last).sum();
            assert_eq!(nucleus(&weights, wanted, total), (last, above), "{top_p}");
        }
        assert_eq!(nucleus(&[0, 0], 1, 0), (0, 0));
    }

    #[test]
    fn frequencies_are_those_of_the_distribution() {
        let row: [f32; 6] = [0.3, -1.0, 2.0, 1.9, 0.0, -5.0];
        let weights: Vec<f64> = row.iter().map(|x| f64::from(*x).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut counts = [0.0f64; 6];
        let mut state = 1u64;
        let draws = 20_000;
        let logits = Tensor::from_slice(&row, (1, row.len()), &Device::Cpu).unwrap();
        for _ in 0..draws {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let draw = state ^ (state >> 29);
            let choice = Choice {
                temperature: 1.0,
                top_p: 1.0,
                draw,
            };
            counts[choose(&logits, &[choice]).unwrap()[0].token as usize] += 1.0;
        }
        let chi: f64 = counts
            .iter()
            .zip(&weights)
            .map(|(count, weight)| {
                let expected = f64::from(draws) * weight / total;
                (count - expected).powi(2) / expected
            })
            .sum();
        // The 99.9th percentile of χ² with five degrees of freedom is 20.5.
        assert!(chi < 20.5, "{chi}: {counts:?}");
    }
}
