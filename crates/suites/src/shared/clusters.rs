//! Means over units that were drawn in clusters.

use concord_findings::{Estimate, Method};
use concord_stats::{ClusterResamples, Clustered, Scale, clustered};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The level of all intervals.
const CONFIDENCE: f64 = 0.95;
/// What is the same twice may differ in its last bits.
const ROUNDING: f64 = 1e-9;

/// How many numbers of clusters have their resamples kept: of many clusters they are large.
const KEPT: usize = 8;

/// Resamples of clusters, drawn once for each number of them.
pub(crate) struct Clusters {
    resamples: usize,
    seed: u64,
    drawn: Mutex<BTreeMap<usize, Arc<ClusterResamples>>>,
}

impl Clusters {
    pub fn new(resamples: usize, seed: u64) -> Self {
        Self {
            resamples,
            seed,
            drawn: Mutex::default(),
        }
    }

    fn of(&self, clusters: usize) -> Arc<ClusterResamples> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.len() >= KEPT && !drawn.contains_key(&clusters) {
            drawn.clear();
        }
        let of = || Arc::new(ClusterResamples::new(clusters, self.resamples, self.seed));
        Arc::clone(drawn.entry(clusters).or_insert_with(of))
    }

    /// The mean of values, each of a cluster, and the p of its being nothing. A cluster of which nothing was asked was not drawn.
    pub fn mean<K: Ord>(
        &self,
        values: impl IntoIterator<Item = (K, f64)>,
        unit: &'static str,
    ) -> (Estimate, Option<f64>) {
        let mut sums: BTreeMap<K, [f64; 2]> = BTreeMap::new();
        for (cluster, value) in values {
            let of = sums.entry(cluster).or_default();
            of[0] += if value.abs() < ROUNDING { 0.0 } else { value };
            of[1] += 1.0;
        }
        let sums: Vec<[f64; 2]> = sums.into_values().collect();
        self.statistic(&sums, |sums| sums[0] / sums[1], unit)
    }

    /// The mean of numbers from nothing to one; where all are alike there is no interval, since that they were drawn so is no certainty.
    pub fn share<K: Ord>(
        &self,
        values: impl IntoIterator<Item = (K, f64)>,
        unit: &'static str,
    ) -> Estimate {
        let (estimate, _) = self.mean(values, unit);
        match estimate.interval {
            Some(ends) if estimate.value > 0.0 && estimate.value < 1.0 => {
                let ends_within = [ends.low.max(0.0), ends.high.min(1.0)];
                Estimate::with_ends(estimate.value, ends_within, ends.method)
                    .of(estimate.n, estimate.unit)
            }
            _ => Estimate::exact(estimate.value).of(estimate.n, estimate.unit),
        }
    }

    /// A statistic of sums over clusters.
    pub fn statistic<const K: usize>(
        &self,
        sums: &[[f64; K]],
        statistic: impl Fn(&[f64; K]) -> f64,
        unit: &'static str,
    ) -> (Estimate, Option<f64>) {
        let of = self.of(sums.len());
        let found = clustered(sums, statistic, 0.0, Scale::Plain, CONFIDENCE, &of);
        let Clustered { value, ends, p, .. } = found;
        let estimate = match ends {
            Some(ends) => Estimate::with_ends(value, ends, Method::BootstrapT),
            None => Estimate::exact(value),
        };
        (estimate.of(sums.len(), unit), p)
    }
}

#[cfg(test)]
mod tests {
    use super::Clusters;

    #[test]
    fn clusters_of_which_nothing_was_asked_were_not_drawn() {
        let clusters = Clusters::new(200, 1);
        // One cluster alone has no interval, whatever it says.
        let (one, p) = clusters.mean([("a", 1.0), ("a", 3.0)], "x");
        assert!(
            (one.value - 2.0).abs() < 1e-12 && one.interval.is_none() && p.is_none() && one.n == 1
        );
        let (many, p) = clusters.mean((0..8).map(|at| (at, 1.0 + f64::from(at) / 10.0)), "x");
        assert!(many.interval.unwrap().low > 0.0 && p.unwrap() < 0.05 && many.n == 8);
        let all = clusters.share((0..8).map(|at| (at, 1.0)), "x");
        assert!((all.value - 1.0).abs() < 1e-12 && all.interval.is_none() && all.n == 8);
        let some = clusters.share((0..8).map(|at| (at, f64::from(at % 2))), "x");
        assert!(some.interval.is_some());
        let (none, _) = clusters.mean(std::iter::empty::<(u8, f64)>(), "x");
        assert!(none.value.is_nan() && none.interval.is_none());
    }
}
