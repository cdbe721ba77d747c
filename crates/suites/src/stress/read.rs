//! From letters in many orders to one distribution.

use super::data::POSITIONS;
use crate::shared::letters::{letters, next_token};
use crate::shared::orders::{turned, turns};
use crate::{ById, SuiteError};
use concord_readings::Reading;
use concord_stats::{Distribution, DistributionError, mean};

/// What was read of one checkpoint in one round, and whose it is.
#[derive(Clone, Copy)]
pub(crate) struct RoundOf<'a> {
    /// The checkpoint, or the rater and the checkpoint.
    pub name: &'a str,
    /// By the names of prompts.
    pub read: Option<&'a ById>,
}

impl<'a> RoundOf<'a> {
    /// What was read after a prompt.
    pub fn get(self, id: &str) -> Result<&'a Reading, SuiteError> {
        let found = self.read.and_then(|read| read.get(id));
        found.ok_or_else(|| {
            SuiteError::readings(format!("{}: nothing was read of `{id}`", self.name))
        })
    }

    /// Whether anything was read after it.
    pub fn has(self, id: &str) -> bool {
        self.read.is_some_and(|read| read.contains_key(id))
    }
}

/// A distribution over options, and how probable all letters are.
pub(crate) struct Over {
    pub p: Vec<f64>,
    pub mass: f64,
}

impl Over {
    /// The expected number.
    pub fn expected(&self) -> f64 {
        self.p.iter().enumerate().map(|(at, p)| at as f64 * p).sum()
    }

    /// The variance of numbers.
    pub fn variance(&self) -> f64 {
        let mean = self.expected();
        let each = self.p.iter().enumerate();
        each.map(|(at, p)| p * (at as f64 - mean).powi(2)).sum()
    }

    /// The most probable position; of those that are alike the one nearest to the middle, and of these the mean.
    pub fn mode(&self) -> f64 {
        let most = self.p.iter().copied().fold(0.0, f64::max);
        let is_most = |at: &usize| self.p[*at] >= most * (1.0 - 1e-9);
        let all: Vec<usize> = (0..self.p.len()).filter(is_most).collect();
        let off = |at: &usize| at.abs_diff(POSITIONS / 2);
        let least = all.iter().map(off).min().unwrap_or(0);
        let nearest: Vec<f64> = all
            .iter()
            .filter(|at| off(at) == least)
            .map(|at| *at as f64)
            .collect();
        mean(&nearest)
    }
}

/// The geometric mean over all orders of so many options.
pub(crate) fn over_orders(
    of: RoundOf<'_>,
    options: usize,
    id: impl Fn(usize) -> String,
) -> Result<Over, SuiteError> {
    let orders = turns(options);
    let mut all = Vec::with_capacity(orders);
    let mut mass = 0.0;
    for order in 0..orders {
        let id = id(order);
        let next = next_token(of.get(&id)?, &id)?;
        mass += next.label_mass.get() / orders as f64;
        let by_place = letters(next, &id, options)?;
        let mut by_option = vec![0.0; options];
        for (place, p) in by_place.probabilities().iter().enumerate() {
            by_option[turned(options, order, place)] = *p;
        }
        let wrong = |error: DistributionError| {
            SuiteError::readings(format!("{}: `{id}`: {error}", of.name))
        };
        all.push(Distribution::from_weights(by_option).map_err(wrong)?);
    }
    let p = Distribution::geometric_mean(&all).map_or_else(
        // Each order rules out what another leaves: nothing is known.
        |_| vec![1.0 / options as f64; options],
        |mean| mean.probabilities().to_vec(),
    );
    Ok(Over { p, mass })
}

/// Ranks, equal ones alike.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for alike in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let rank = below as f64 + (alike.len() as f64 - 1.0) / 2.0;
        for at in alike {
            ranks[*at] = rank;
        }
        below += alike.len();
    }
    ranks
}

/// Spearman's rank correlation; nothing where one side does not vary.
pub(crate) fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    if a.is_empty() {
        return None;
    }
    let (mean_a, mean_b) = (mean(&a), mean(&b));
    let both = a.iter().zip(&b);
    let together: f64 = both.map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
    let of = |values: &[f64], mean: f64| values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    let scale = (of(&a, mean_a) * of(&b, mean_b)).sqrt();
    (scale > 0.0).then(|| together / scale)
}

#[cfg(test)]
mod tests {
    use super::{rank_correlation, ranks};

    #[test]
    fn a_rank_correlation_is_that_known() {
        let of = rank_correlation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]);
        assert!((of.unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(rank_correlation(&[1.0, 2.0], &[3.0, 3.0]), None);
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
    }
}
