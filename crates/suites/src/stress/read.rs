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
    let OverSome { p, mass, .. } = over_some(of, options, turns(options), id)?;
    Ok(Over { p, mass })
}

/// The same over the first orders, with what each of them gives.
pub(crate) struct OverSome {
    pub p: Vec<f64>,
    pub mass: f64,
    pub each: Vec<Vec<f64>>,
}

/// The geometric mean over the first orders of so many options.
pub(crate) fn over_some(
    of: RoundOf<'_>,
    options: usize,
    orders: usize,
    id: impl Fn(usize) -> String,
) -> Result<OverSome, SuiteError> {
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
    let each = all.iter().map(|p| p.probabilities().to_vec());
    Ok(OverSome {
        p,
        mass,
        each: each.collect(),
    })
}
