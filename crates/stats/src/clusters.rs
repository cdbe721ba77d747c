//! Intervals and tests where what was drawn is clusters: topics, of whose questions none was drawn by itself.
//!
//! Every statistic here is a function of sums over clusters: a mean is one sum over another, a paired difference two of them, a
//! ratio too. Clusters are resampled whole, so that whatever the answers of one cluster have in common is in the interval.

use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Resamples of one stream of random numbers, so that they do not depend on the number of threads.
const RESAMPLES_PER_STREAM: usize = 512;

/// Fewer clusters than these give no interval: it would cover too little, whatever its method.
pub const LEAST_CLUSTERS: usize = 5;

/// How often each cluster stands in each resample: drawn once, used for every statistic of the same clusters, so that statistics of
/// one resample belong together.
#[derive(Clone, Debug)]
pub struct ClusterResamples {
    clusters: usize,
    counts: Vec<u8>,
}

/// A statistic of clusters with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clustered {
    /// Its value over all clusters.
    pub value: f64,
    /// The ends of its interval; `None` with fewer than [`LEAST_CLUSTERS`] clusters, or where it is not a number.
    pub ends: Option<[f64; 2]>,
    /// The p-value against the null value, two-sided: the level at which the interval just reaches it.
    pub p: Option<f64>,
    /// Whether no resample reached the null value, so that p is at most what is given.
    pub p_is_bound: bool,
    /// How many clusters.
    pub clusters: usize,
}

impl ClusterResamples {
    /// Resamples of so many clusters.
    pub fn new(clusters: usize, resamples: usize, seed: u64) -> Self {
        let length = u64::try_from(clusters).unwrap_or(u64::MAX);
        let streams: Vec<usize> = (0..resamples.div_ceil(RESAMPLES_PER_STREAM)).collect();
        let counts = streams
            .par_iter()
            .flat_map_iter(|&stream| {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                random.set_stream(stream as u64);
                let first = stream * RESAMPLES_PER_STREAM;
                (first..resamples.min(first + RESAMPLES_PER_STREAM)).flat_map(move |_| {
                    let mut counts = vec![0u8; clusters];
                    for _ in 0..clusters {
                        // A 32-bit draw scaled to the length: the bias is below length / 2^32.
                        let at = (u64::from(random.next_u32()) * length) >> 32;
                        if let Some(count) =
                            usize::try_from(at).ok().and_then(|at| counts.get_mut(at))
                        {
                            *count = count.saturating_add(1);
                        }
                    }
                    counts
                })
            })
            .collect();
        Self { clusters, counts }
    }

    /// How many clusters.
    pub fn clusters(&self) -> usize {
        self.clusters
    }

    /// The sums of every resample.
    fn sums<'a, const K: usize>(
        &'a self,
        sums: &'a [[f64; K]],
    ) -> impl Iterator<Item = [f64; K]> + 'a {
        self.counts
            .chunks_exact(self.clusters.max(1))
            .map(move |counts| {
                let mut total = [0.0; K];
                for (count, of_cluster) in counts.iter().zip(sums) {
                    let count = f64::from(*count);
                    for (total, value) in total.iter_mut().zip(of_cluster) {
                        *total += count * value;
                    }
                }
                total
            })
    }
}

/// A statistic of sums over clusters, with its interval and its test.
///
/// The bias-corrected and accelerated bootstrap over clusters, its levels widened for few of them as the t distribution does for a
/// mean. The p-value is the level at which the interval just reaches the null value, so that both always say the same.
///
/// # Shapes
/// `sums`: `[clusters][sums]`, as many clusters as were resampled. `statistic` gets the sums over clusters.
///
/// # Numerics
/// Independent of the number of threads. Resamples in which the statistic is no number (a ratio to nothing) are left out.
///
/// # Source
/// Efron 1987 (BCa); Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 3.4 (expanded levels); Cameron, Gelbach
/// and Miller 2008 (resampling whole clusters).
pub fn clustered<const K: usize>(
    sums: &[[f64; K]],
    statistic: impl Fn(&[f64; K]) -> f64,
    null: f64,
    confidence: f64,
    resamples: &ClusterResamples,
) -> Clustered {
    let total = |left_out: Option<usize>| {
        let mut total = [0.0; K];
        let kept = sums.iter().enumerate();
        for (_, of_cluster) in kept.filter(|(at, _)| Some(*at) != left_out) {
            for (total, value) in total.iter_mut().zip(of_cluster) {
                *total += value;
            }
        }
        total
    };
    let value = statistic(&total(None));
    let none = Clustered {
        value,
        ends: None,
        p: None,
        p_is_bound: false,
        clusters: sums.len(),
    };
    if sums.len() < LEAST_CLUSTERS || sums.len() != resamples.clusters || !value.is_finite() {
        return none;
    }
    let mut found: Vec<f64> = resamples.sums(sums).map(|sums| statistic(&sums)).collect();
    found.retain(|value| value.is_finite());
    let Some(curve) = Curve::new(
        found,
        value,
        sums.len(),
        jackknife(sums.len(), |at| statistic(&total(Some(at)))),
    ) else {
        return none;
    };
    let tail = (1.0 - confidence.clamp(1e-9, 1.0 - 1e-9)) / 2.0;
    let (p, p_is_bound) = curve.p(null);
    Clustered {
        ends: Some([curve.quantile(tail), curve.quantile(1.0 - tail)]),
        p: Some(p),
        p_is_bound,
        ..none
    }
}

/// The acceleration: a sixth of the skewness of what each cluster adds.
fn jackknife(clusters: usize, without: impl Fn(usize) -> f64) -> f64 {
    let values: Vec<f64> = (0..clusters)
        .map(without)
        .filter(|value| value.is_finite())
        .collect();
    let centre = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (mut squares, mut cubes) = (0.0, 0.0);
    for value in &values {
        let influence = centre - value;
        squares += influence.powi(2);
        cubes += influence.powi(3);
    }
    if squares > 0.0 {
        cubes / (6.0 * squares.powf(1.5))
    } else {
        0.0
    }
}

/// What turns levels into values and back.
struct Curve {
    sorted: Vec<f64>,
    observed: f64,
    bias: f64,
    acceleration: f64,
    normal: Normal,
    t: StudentsT,
    /// What a normal deviate is wider by, for the variance of so few is underestimated.
    wider: f64,
}

/// Differences below this part of the value are those of rounding.
const ROUNDING: f64 = 1e-12;

impl Curve {
    fn new(
        mut sorted: Vec<f64>,
        observed: f64,
        clusters: usize,
        acceleration: f64,
    ) -> Option<Self> {
        if sorted.is_empty() {
            return None;
        }
        sorted.sort_unstable_by(f64::total_cmp);
        let count = clusters as f64;
        let mut curve = Self {
            sorted,
            observed,
            bias: 0.0,
            acceleration,
            normal: Normal::new(0.0, 1.0).ok()?,
            t: StudentsT::new(0.0, 1.0, count - 1.0).ok()?,
            wider: (count / (count - 1.0)).sqrt(),
        };
        let bias = curve.normal.inverse_cdf(curve.below(observed));
        curve.bias = if bias.is_finite() { bias } else { 0.0 };
        Some(curve)
    }

    fn is_flat(&self) -> bool {
        let ends = [self.sorted[0], self.sorted[self.sorted.len() - 1]];
        let width = ends[1] - ends[0];
        width <= ROUNDING * (1.0 + self.observed.abs())
    }

    /// The share of resamples below a value, those equal to it counted half.
    fn below(&self, value: f64) -> f64 {
        let within = ROUNDING * (1.0 + value.abs());
        let below = self.sorted.partition_point(|found| *found < value - within);
        let not_above = self
            .sorted
            .partition_point(|found| *found <= value + within);
        (below + not_above) as f64 / (2 * self.sorted.len()) as f64
    }

    /// The end of the interval at a level.
    fn quantile(&self, level: f64) -> f64 {
        if self.is_flat() {
            return self.observed;
        }
        let deviate = self.wider * self.t.inverse_cdf(level);
        let shifted = self.bias + deviate;
        // Beyond the pole of the acceleration there is nothing further out.
        let scale = (1.0 - self.acceleration * shifted).max(1e-3);
        let p = self.normal.cdf(self.bias + shifted / scale);
        let at = p.clamp(0.0, 1.0) * (self.sorted.len() - 1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the slice by the clamp"
        )]
        let below = at.floor() as usize;
        let above = (below + 1).min(self.sorted.len() - 1);
        self.sorted[below] + (at - below as f64) * (self.sorted[above] - self.sorted[below])
    }

    /// The two-sided level at which the interval's end is a value, and whether no resample reached it.
    fn p(&self, null: f64) -> (f64, bool) {
        if self.is_flat() {
            let is_null = (self.observed - null).abs() <= ROUNDING * (1.0 + null.abs());
            return if is_null {
                (1.0, false)
            } else {
                (1.0 / self.sorted.len() as f64, true)
            };
        }
        let share = self.below(null);
        // Half a resample is the least that can be told.
        let least = 0.5 / self.sorted.len() as f64;
        let is_bound = share < least || share > 1.0 - least;
        let from_bias = self.normal.inverse_cdf(share.clamp(least, 1.0 - least)) - self.bias;
        let shifted = from_bias / (1.0 + self.acceleration * from_bias).max(1e-3);
        let deviate = (shifted - self.bias) / self.wider;
        ((2.0 * self.t.cdf(-deviate.abs())).min(1.0), is_bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(sums: &[f64; 2]) -> f64 {
        sums[0] / sums[1]
    }

    /// scipy 1.17: bootstrap(([k**3 / 1000 for k in range(40)],), np.mean, `n_resamples=99999`), middle of three seeds, at the
    /// level that the t distribution with 39 degrees of freedom and the factor of 40/39 widen 95 % to (95.66 %).
    #[test]
    fn clusters_of_one_give_the_interval_that_scipy_gives() {
        let sums: Vec<[f64; 2]> = (0..40)
            .map(|k| [f64::from(k).powi(3) / 1000.0, 1.0])
            .collect();
        let resamples = ClusterResamples::new(40, 99_999, 7);
        let t = StudentsT::new(0.0, 1.0, 39.0).unwrap();
        let normal = Normal::new(0.0, 1.0).unwrap();
        let narrower = 1.0 - 2.0 * t.cdf(normal.inverse_cdf(0.025) / (40f64 / 39.0).sqrt());
        let found = clustered(&sums, mean_of, 0.0, narrower, &resamples);
        let [low, high] = found.ends.unwrap();
        assert!(
            (low - 10.434).abs() < 0.1 && (high - 21.396).abs() < 0.1,
            "{found:?}"
        );
        assert!(found.p_is_bound);
    }

    #[test]
    fn p_is_the_level_at_which_the_interval_reaches_the_null() {
        let sums: Vec<[f64; 2]> = (0..28)
            .map(|k| {
                [
                    f64::from(k * 37 % 29) - 11.0 + f64::from(k % 3),
                    1.0 + f64::from(k % 4),
                ]
            })
            .collect();
        let resamples = ClusterResamples::new(28, 9999, 1);
        for null in [-1.0, 0.0, 0.4, 2.0] {
            let found = clustered(&sums, mean_of, null, 0.95, &resamples);
            let p = found.p.unwrap();
            if found.p_is_bound {
                continue;
            }
            let at_p = clustered(&sums, mean_of, null, 1.0 - p, &resamples)
                .ends
                .unwrap();
            let nearest = at_p
                .iter()
                .map(|end| (end - null).abs())
                .fold(f64::MAX, f64::min);
            assert!(nearest < 2e-3, "{null}: {p}, {at_p:?}");
            let [low, high] = found.ends.unwrap();
            assert_eq!(
                p < 0.05,
                null < low || null > high,
                "{null}: {p} [{low}, {high}]"
            );
        }
    }

    #[test]
    fn what_does_not_vary_has_no_width_and_what_is_few_has_no_interval() {
        let same = vec![[0.0, 3.0]; 9];
        let found = clustered(&same, mean_of, 0.0, 0.95, &ClusterResamples::new(9, 99, 0));
        assert_eq!(
            (found.ends, found.p, found.p_is_bound),
            (Some([0.0; 2]), Some(1.0), false)
        );
        let few = vec![[1.0, 2.0], [2.0, 2.0], [0.0, 2.0]];
        let found = clustered(&few, mean_of, 0.0, 0.95, &ClusterResamples::new(3, 99, 0));
        assert_eq!((found.value, found.ends, found.p), (0.5, None, None));
        let nothing = clustered(
            &[[0.0, 0.0]; 6],
            mean_of,
            0.0,
            0.95,
            &ClusterResamples::new(6, 99, 0),
        );
        assert!(nothing.value.is_nan() && nothing.ends.is_none());
    }

    #[test]
    fn resamples_do_not_depend_on_threads_and_each_has_all_its_draws() {
        let resamples = ClusterResamples::new(30, 1500, 4);
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let alone = one.install(|| ClusterResamples::new(30, 1500, 4));
        assert_eq!(resamples.counts, alone.counts);
        let sizes = resamples
            .counts
            .chunks_exact(30)
            .map(|counts| counts.iter().map(|c| u32::from(*c)).sum::<u32>());
        assert!(sizes.clone().all(|size| size == 30) && sizes.count() == 1500);
    }

    /// Means of clusters that share an effect: 28 clusters of four to six answers, skewed like distances.
    #[test]
    fn intervals_cover_and_tests_reject_as_often_as_they_say() {
        let (mut covered, mut rejected, rounds) = (0, 0, 1200);
        let resamples = ClusterResamples::new(28, 1999, 3);
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let mut unit = || f64::from(random.next_u32()) / 4_294_967_296.0;
        for _ in 0..rounds {
            let sums: Vec<[f64; 2]> = (0..28)
                .map(|k| {
                    // An effect of the cluster and one of each answer, exponential, with mean 0.1 in all.
                    let shared = -0.06 * (1.0 - unit()).ln();
                    let count = 4 + k % 3;
                    let own: f64 = (0..count).map(|_| -0.04 * (1.0 - unit()).ln()).sum();
                    [shared * f64::from(count) + own, f64::from(count)]
                })
                .collect();
            let found = clustered(&sums, mean_of, 0.1, 0.95, &resamples);
            let [low, high] = found.ends.unwrap();
            covered += u32::from(low <= 0.1 && 0.1 <= high);
            rejected += u32::from(found.p.unwrap() < 0.05);
        }
        let covered = f64::from(covered) / f64::from(rounds);
        assert!((0.93..=0.97).contains(&covered), "{covered}");
        assert!((f64::from(rejected) / f64::from(rounds) - (1.0 - covered)).abs() < 0.004);
    }
}
