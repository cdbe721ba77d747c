//! The next token of a text, from its logits.

use crate::exp::exp;
use crate::softmax::{best, sums};
use crate::storage::values;
use candle_core::{Result, Storage, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// How one row's token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Logits are divided by it; 0 takes the most probable token, the lowest id on a tie.
    pub temperature: f64,
    /// Of the tokens by falling probability, only as many are drawn from as are needed for this share; 1 for all.
    pub top_p: f64,
    /// The draw, uniform from 0 to below 1.
    pub draw: f64,
}

/// A token and its log-probability (nats) in the whole distribution, at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The token.
    pub token: u32,
    /// `ln p(token)`. Not a number where a logit is infinite or not a number.
    pub log_prob: f64,
}

/// Chooses a token for each row.
///
/// # Shapes
/// `logits`: `[rows or more, vocabulary]`; returns one token a choice.
///
/// # Numerics
/// Weights in `f32`, their sums in `f64`; by rising id where all tokens are drawn from, else by falling weight and then by rising
/// id. A row's token depends on the row and its choice alone.
///
/// # Errors
/// candle's, where the tensor is not contiguous `f32` on the CPU.
///
/// # Source
/// Nucleus sampling: Holtzman et al. 2020; temperature is applied before the nucleus is cut, as transformers does.
pub fn choose(logits: &Tensor, choices: &[Choice]) -> Result<Vec<Chosen>> {
    let (_, vocabulary) = logits.dims2()?;
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
            let token = if choice.temperature > 0.0 {
                drawn(row, largest, choice)
            } else {
                token
            };
            let log_prob = f64::from(row[token as usize]) - f64::from(largest) - mass.ln();
            Chosen { token, log_prob }
        })
        .collect())
}

/// A token drawn from the nucleus.
fn drawn(row: &[f32], largest: f32, choice: &Choice) -> u32 {
    let weights = Arch::new().dispatch(Weights {
        row,
        centre: largest,
        temperature: choice.temperature,
    });
    let mass: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let weighted = || (0u32..).zip(weights.iter().map(|weight| f64::from(*weight)));
    if choice.top_p >= 1.0 {
        return hit(weighted(), choice.draw * mass);
    }
    // Tokens below this have together less than what the nucleus leaves out.
    let least = mass * (1.0 - choice.top_p) / row.len() as f64;
    let mut candidates: Vec<(u32, f64)> =
        weighted().filter(|(_, weight)| *weight >= least).collect();
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut kept = 0.0;
    let last = candidates.iter().position(|(_, weight)| {
        kept += weight;
        kept >= choice.top_p * mass
    });
    candidates.truncate(last.map_or(candidates.len(), |last| last + 1));
    let kept: f64 = candidates.iter().map(|(_, weight)| weight).sum();
    hit(candidates.into_iter(), choice.draw * kept)
}

/// `e^((x − centre) / temperature)` of every logit. A struct, so that it is inlined into the vector context.
struct Weights<'a> {
    row: &'a [f32],
    centre: f32,
    temperature: f64,
}

impl WithSimd for Weights<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<f32> {
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let colder = (1.0 / self.temperature).min(f64::from(f32::MAX)) as f32;
        let mut weights = vec![0.0f32; self.row.len()];
        for (weight, logit) in weights.iter_mut().zip(self.row) {
            *weight = exp((logit - self.centre) * colder);
        }
        weights
    }
}

/// The token at which the running sum of weights passes `at`; the last one where rounding keeps it below.
fn hit(weighted: impl Iterator<Item = (u32, f64)>, at: f64) -> u32 {
    let (mut sum, mut last) = (0.0, 0);
    for (token, weight) in weighted {
        sum += weight;
        if weight > 0.0 {
            last = token;
        }
        if sum > at {
            return token;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn of(row: &[f32], temperature: f64, top_p: f64, draw: f64) -> Chosen {
        let logits = Tensor::from_slice(row, (1, row.len()), &Device::Cpu).unwrap();
        let choice = Choice {
            temperature,
            top_p,
            draw,
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
}
