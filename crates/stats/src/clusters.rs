//! Intervals and tests where what was drawn is clusters: topics, of whose questions none was drawn by itself.
//!
//! Every statistic here is a function of sums over clusters: a mean is one sum over another, a paired difference two of them, a
//! ratio too. Clusters are resampled whole, so that whatever the answers of one cluster have in common is in the interval.

use pulp::{Arch, Simd, WithSimd};
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

/// Resamples of one stream of random numbers, so that they do not depend on the number of threads.
const RESAMPLES_PER_STREAM: usize = 512;

/// Resamples that are summed at once, one lane each.
const LANES: usize = 16;

/// Fewer clusters than these give no interval: it would cover too little, whatever its method.
pub const LEAST_CLUSTERS: usize = 5;

/// How often each cluster stands in each resample: drawn once, used for every statistic of the same clusters, so that statistics of
/// one resample belong together.
#[derive(Clone, Debug)]
pub struct ClusterResamples {
    clusters: usize,
    resamples: usize,
    /// Blocks of resamples, and in each one by cluster.
    counts: Vec<[u8; LANES]>,
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
        const { assert!(RESAMPLES_PER_STREAM.is_multiple_of(LANES)) };
        let length = u64::try_from(clusters).unwrap_or(u64::MAX);
        let streams: Vec<usize> = (0..resamples.div_ceil(RESAMPLES_PER_STREAM)).collect();
        let counts = streams
            .par_iter()
            .flat_map_iter(|&stream| {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                random.set_stream(stream as u64);
                let of_stream = RESAMPLES_PER_STREAM.min(resamples - stream * RESAMPLES_PER_STREAM);
                let mut counts = vec![[0u8; LANES]; of_stream.div_ceil(LANES) * clusters];
                for resample in 0..of_stream {
                    let (block, lane) = (resample / LANES, resample % LANES);
                    let of_block = &mut counts[block * clusters..][..clusters];
                    for _ in 0..clusters {
                        // A 32-bit draw scaled to the length: the bias is below length / 2^32.
                        let at = (u64::from(random.next_u32()) * length) >> 32;
                        if let Some(count) =
                            usize::try_from(at).ok().and_then(|at| of_block.get_mut(at))
                        {
                            count[lane] = count[lane].saturating_add(1);
                        }
                    }
                }
                counts
            })
            .collect();
        Self {
            clusters,
            resamples,
            counts,
        }
    }

    /// How many clusters.
    pub fn clusters(&self) -> usize {
        self.clusters
    }

    /// The least p-value that so many resamples can tell.
    fn least_p(&self) -> f64 {
        1.0 / (self.resamples + 1) as f64
    }

    /// The sums of values of clusters in every resample.
    fn sums<const K: usize>(&self, of_clusters: &[[f64; K]]) -> Vec<[f64; K]> {
        Arch::new().dispatch(Sums {
            resamples: self,
            of_clusters,
        })
    }
}

/// Compiled for each kind of vectors.
struct Sums<'a, const K: usize> {
    resamples: &'a ClusterResamples,
    of_clusters: &'a [[f64; K]],
}

impl<const K: usize> WithSimd for Sums<'_, K> {
    type Output = Vec<[f64; K]>;

    #[expect(clippy::inline_always, reason = "as `pulp` asks for")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let ClusterResamples {
            clusters,
            resamples,
            counts,
        } = self.resamples;
        let mut found = Vec::with_capacity(resamples.next_multiple_of(LANES));
        for block in counts.chunks_exact((*clusters).max(1)) {
            let mut totals = [[0.0; LANES]; K];
            for (counts, values) in block.iter().zip(self.of_clusters) {
                let counts = counts.map(f64::from);
                for (total, value) in totals.iter_mut().zip(values) {
                    for lane in 0..LANES {
                        total[lane] += counts[lane] * value;
                    }
                }
            }
            found.extend((0..LANES).map(|lane| totals.map(|total| total[lane])));
        }
        found.truncate(*resamples);
        found
    }
}

/// The scale on which an interval is symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As it is: differences.
    Plain,
    /// Of its logarithm: what is positive and skewed, such as distances and ratios. A value that is not positive has no interval.
    Log,
}

/// A statistic of sums over clusters, with its interval and its test.
///
/// The symmetric bootstrap-t over clusters: of each resample how far the statistic lies from the observed one, in its own standard
/// errors. The p-value is the share of resamples that lie as far as the null value, so that interval and test always say the same.
/// Against the bias-corrected and accelerated bootstrap, whose acceleration is too uncertain with some tens of clusters, it covers
/// what it says over even, skewed and unevenly sized clusters alike (`docs/decisions`, 24).
///
/// # Shapes
/// `sums`: `[clusters][sums]`, as many clusters as were resampled. `statistic` gets the sums over clusters; it must not change where all
/// of them are multiplied by the same number, as means, their differences and ratios do not.
///
/// # Numerics
/// Independent of the number of threads. Standard errors are those of the statistic linearised at the observed sums. Resamples in which
/// the statistic is no number (a ratio to nothing) or has no error (one cluster alone) are left out.
///
/// # Source
/// Hall 1988 (symmetric intervals); Efron and Tibshirani 1993, section 12.5; Cameron, Gelbach and Miller 2008 (clusters).
pub fn clustered<const K: usize>(
    sums: &[[f64; K]],
    statistic: impl Fn(&[f64; K]) -> f64,
    null: f64,
    scale: Scale,
    confidence: f64,
    resamples: &ClusterResamples,
) -> Clustered {
    let mut total = [0.0; K];
    for of_cluster in sums {
        add(&mut total, of_cluster, 1.0);
    }
    let value = statistic(&total);
    let none = Clustered {
        value,
        ends: None,
        p: None,
        p_is_bound: false,
        clusters: sums.len(),
    };
    let onto = |value: f64| match scale {
        Scale::Plain => value,
        Scale::Log => value.ln(),
    };
    let from = |value: f64| match scale {
        Scale::Plain => value,
        Scale::Log => value.exp(),
    };
    let observed = onto(value);
    if sums.len() < LEAST_CLUSTERS || sums.len() != resamples.clusters || !value.is_finite() {
        return none;
    }
    let to_null = (onto(null) - observed).abs();
    let influence = influences(sums, &total, |sums| onto(statistic(sums)));
    let mut of_all = [0.0; 2];
    for of_cluster in &influence {
        add(&mut of_all, of_cluster, 1.0);
    }
    let error = standard_error(of_all, sums.len());
    if error <= ROUNDING * (1.0 + observed.abs()) || !observed.is_finite() {
        // Nothing varies, or a logarithm of nothing: a value that is what it is.
        let is_null = (value - null).abs() <= ROUNDING * (1.0 + null.abs());
        return Clustered {
            ends: Some([value; 2]),
            p: Some(if is_null { 1.0 } else { resamples.least_p() }),
            p_is_bound: !is_null,
            ..none
        };
    }
    let resampled = resamples.sums(sums);
    let influences = resamples.sums(&influence);
    let mut far: Vec<f64> = resampled
        .iter()
        .zip(influences)
        .map(|(resampled, influence)| {
            let of_resample = standard_error(influence, sums.len());
            let moved = (onto(statistic(resampled)) - observed).abs();
            // Where all that varies fell out of a resample, its error is one of rounding.
            if of_resample > DEGENERATE * error {
                moved / of_resample
            } else if moved > ROUNDING * (1.0 + observed.abs()) {
                f64::INFINITY
            } else {
                f64::NAN
            }
        })
        .filter(|t| !t.is_nan())
        .collect();
    if far.is_empty() {
        return none;
    }
    let half = error * quantile(&mut far, confidence);
    // So few clusters vary that many resamples have none of them: there is no telling.
    if !half.is_finite() || (scale == Scale::Log && half > WIDEST) {
        return none;
    }
    let reached = far.iter().filter(|t| **t >= to_null / error).count();
    let p = if to_null.is_finite() {
        reached as f64 / far.len() as f64
    } else {
        0.0
    };
    Clustered {
        ends: Some([from(observed - half), from(observed + half)]),
        p: Some(p.max(resamples.least_p())),
        p_is_bound: reached == 0 || !to_null.is_finite(),
        ..none
    }
}

/// Differences below this part of the value are those of rounding.
const ROUNDING: f64 = 1e-12;
/// A logarithm that may be off by this, a factor of ten, is not known.
const WIDEST: f64 = std::f64::consts::LN_10;
/// A standard error below this part of the observed one is none.
const DEGENERATE: f64 = 1e-6;

fn add<const K: usize>(total: &mut [f64; K], values: &[f64; K], times: f64) {
    for (total, value) in total.iter_mut().zip(values) {
        *total += times * value;
    }
}

/// What each cluster adds to the statistic, and its square: the gradient at the observed sums, times the cluster's.
fn influences<const K: usize>(
    sums: &[[f64; K]],
    total: &[f64; K],
    statistic: impl Fn(&[f64; K]) -> f64,
) -> Vec<[f64; 2]> {
    let mut gradient = [0.0; K];
    for (at, slope) in gradient.iter_mut().enumerate() {
        let size: f64 = sums.iter().map(|of_cluster| of_cluster[at].abs()).sum();
        let step = 1e-6 * size;
        if step > 0.0 {
            let (mut above, mut below) = (*total, *total);
            above[at] += step;
            below[at] -= step;
            *slope = (statistic(&above) - statistic(&below)) / (2.0 * step);
        }
    }
    let of = |of_cluster: &[f64; K]| {
        let adds: f64 = of_cluster.iter().zip(&gradient).map(|(a, b)| a * b).sum();
        [adds, adds * adds]
    };
    sums.iter().map(of).collect()
}

/// The standard error of a sum of independent clusters, from the sums of what each adds and of its square.
fn standard_error([sum, squares]: [f64; 2], clusters: usize) -> f64 {
    let count = clusters as f64;
    let variance = (squares - sum * sum / count).max(0.0);
    (count / (count - 1.0) * variance).sqrt()
}

/// Linear interpolation between order statistics, as `numpy.quantile`; reorders the values.
fn quantile(values: &mut [f64], p: f64) -> f64 {
    let at = p.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the slice by the clamp"
    )]
    let below = at.floor() as usize;
    let (_, lower, larger) = values.select_nth_unstable_by(below, f64::total_cmp);
    let lower = *lower;
    let upper = larger
        .iter()
        .copied()
        .min_by(f64::total_cmp)
        .unwrap_or(lower);
    let part = at - below as f64;
    if part > 0.0 {
        lower + part * (upper - lower)
    } else {
        lower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(sums: &[f64; 2]) -> f64 {
        sums[0] / sums[1]
    }

    fn uneven() -> Vec<[f64; 2]> {
        let cluster = |k: i32| {
            [
                f64::from(k * 37 % 29) - 11.0 + f64::from(k % 3),
                1.0 + f64::from(k % 4),
            ]
        };
        (0..28).map(cluster).collect()
    }

    /// With clusters of one and no skew it is the t interval: numpy, `t.interval(0.95, 39, mean, sem)` of `sin(k)`, k below 40.
    #[test]
    fn clusters_of_one_give_nearly_the_t_interval() {
        let sums: Vec<[f64; 2]> = (0..40).map(|k| [f64::from(k).sin(), 1.0]).collect();
        let resamples = ClusterResamples::new(40, 99_999, 7);
        let found = clustered(&sums, mean_of, 0.0, Scale::Plain, 0.95, &resamples);
        let values: Vec<f64> = sums.iter().map(|s| s[0]).collect();
        let mean = crate::mean(&values);
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 39.0;
        let half = 2.022_691 * (variance / 40.0).sqrt();
        let [low, high] = found.ends.unwrap();
        assert!((found.value - mean).abs() < 1e-12);
        assert!(
            (low - (mean - half)).abs() < 0.03 * half && (high - (mean + half)).abs() < 0.03 * half,
            "{found:?} {half}"
        );
    }

    #[test]
    fn p_is_the_level_at_which_the_interval_reaches_the_null() {
        let resamples = ClusterResamples::new(28, 9999, 1);
        for null in [-1.0, 0.0, 0.4, 2.0] {
            let found = clustered(&uneven(), mean_of, null, Scale::Plain, 0.95, &resamples);
            let p = found.p.unwrap();
            if found.p_is_bound {
                continue;
            }
            let at_p = clustered(&uneven(), mean_of, null, Scale::Plain, 1.0 - p, &resamples)
                .ends
                .unwrap();
            let nearest = at_p
                .iter()
                .map(|end| (end - null).abs())
                .fold(f64::MAX, f64::min);
            // Between two of the resamples, which lie thin far out.
            let width = at_p[1] - at_p[0];
            assert!(nearest < (1e-3 + 3e-4 / p) * width, "{null}: {p}, {at_p:?}");
            let [low, high] = found.ends.unwrap();
            assert_eq!(
                p < 0.05,
                null < low || null > high,
                "{null}: {p} [{low}, {high}]"
            );
        }
    }

    #[test]
    fn a_ratio_lies_between_positive_ends_and_a_multiple_changes_nothing() {
        let resamples = ClusterResamples::new(28, 1999, 1);
        let positive: Vec<[f64; 2]> = uneven().iter().map(|[a, n]| [a.abs() + 0.1, *n]).collect();
        let found = clustered(&positive, mean_of, 1.0, Scale::Log, 0.95, &resamples);
        let [low, high] = found.ends.unwrap();
        assert!(
            low > 0.0 && (low * high / found.value.powi(2) - 1.0).abs() < 1e-9,
            "{found:?}"
        );
        let doubled: Vec<[f64; 2]> = positive
            .iter()
            .map(|sums| sums.map(|sum| 2.0 * sum))
            .collect();
        let again = clustered(&doubled, mean_of, 1.0, Scale::Log, 0.95, &resamples)
            .ends
            .unwrap();
        assert!((again[0] - low).abs() < 1e-9 && (again[1] - high).abs() < 1e-9);
    }

    #[test]
    fn what_does_not_vary_has_no_width_and_what_is_few_has_no_interval() {
        let all = |sums: &[[f64; 2]], scale| {
            clustered(
                sums,
                mean_of,
                0.0,
                scale,
                0.95,
                &ClusterResamples::new(sums.len(), 99, 0),
            )
        };
        for scale in [Scale::Plain, Scale::Log] {
            let found = all(&[[0.0, 3.0]; 9], scale);
            assert_eq!(
                (found.ends, found.p, found.p_is_bound),
                (Some([0.0; 2]), Some(1.0), false)
            );
        }
        let found = all(&[[1.0, 2.0], [2.0, 2.0], [0.0, 2.0]], Scale::Plain);
        assert_eq!((found.value, found.ends, found.p), (0.5, None, None));
        let nothing = all(&[[0.0, 0.0]; 6], Scale::Plain);
        assert!(nothing.value.is_nan() && nothing.ends.is_none());
    }

    #[test]
    fn what_rests_on_one_or_two_clusters_is_not_told() {
        let resamples = ClusterResamples::new(28, 1999, 0);
        for differing in [1, 2] {
            let of = |k: usize| {
                [
                    if k < differing {
                        0.1 + 0.05 * k as f64
                    } else {
                        0.0
                    },
                    1.0,
                ]
            };
            let sums: Vec<[f64; 2]> = (0..28).map(of).collect();
            for scale in [Scale::Plain, Scale::Log] {
                let found = clustered(&sums, mean_of, 0.0, scale, 0.95, &resamples);
                assert_eq!(
                    (found.ends, found.p),
                    (None, None),
                    "{differing}: {found:?}"
                );
            }
        }
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
        let sizes = resamples.sums(&[[1.0]; 30]);
        assert!(sizes.iter().all(|[size]| (size - 30.0).abs() < 1e-9) && sizes.len() == 1500);
    }

    /// Coverage of 95 % intervals, and how often tests at .05 reject what is true, over designs with different numbers of clusters.
    #[test]
    fn intervals_cover_and_tests_reject_as_often_as_they_say() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let mut unit = move || (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
        let mut exponential = move |mean: f64| -mean * unit().ln();
        for clusters in [12, 28, 60] {
            let resamples = ClusterResamples::new(clusters, 999, 3);
            // A mean of answers that share a skewed effect of their topic, and a difference between two of them.
            let (mut covered, mut rejected, rounds) = (0, 0, 1000);
            for _ in 0..rounds {
                let mut of_cluster = |k: usize| {
                    let shared = exponential(0.06);
                    let count = 4 + k % 3;
                    let own: f64 = (0..count).map(|_| exponential(0.04)).sum();
                    [shared * count as f64 + own, count as f64]
                };
                let sums: Vec<[f64; 3]> = (0..clusters)
                    .map(|k| {
                        let ([a, n], [b, _]) = (of_cluster(k), of_cluster(k));
                        [a, b, n]
                    })
                    .collect();
                let level = clustered(&sums, |s| s[0] / s[2], 0.1, Scale::Log, 0.95, &resamples);
                // One that says it does not know does not miss.
                covered += u32::from(
                    level
                        .ends
                        .is_none_or(|[low, high]| low <= 0.1 && 0.1 <= high),
                );
                let difference = clustered(
                    &sums,
                    |s| (s[1] - s[0]) / s[2],
                    0.0,
                    Scale::Plain,
                    0.95,
                    &resamples,
                );
                rejected += u32::from(difference.p.unwrap() < 0.05);
            }
            let (covered, rejected) = (
                f64::from(covered) / f64::from(rounds),
                f64::from(rejected) / f64::from(rounds),
            );
            assert!((0.93..=0.97).contains(&covered), "{clusters}: {covered}");
            assert!((0.03..=0.07).contains(&rejected), "{clusters}: {rejected}");
        }
    }
}
