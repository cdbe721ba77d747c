//! Pure `f64` mathematics of answer distributions: divergences, consistency of a group, intervals.
//!
//! Natural logarithms throughout. Every public measure names its source and is pinned by reference values in its tests.
//!
//! Invariant: nothing here knows a question, a checkpoint or a file.

mod agreement;
mod bootstrap;
mod clusters;
mod consistency;
mod counts;
mod difference;
mod distribution;
mod divergence;
mod diversity;
mod games;
mod pooling;
mod repeats;
mod spread;
mod student;
mod uniformity;

pub use agreement::fleiss_kappa;
pub use bootstrap::{Interval, bca_mean, mean};
pub use clusters::{ClusterResamples, Clustered, LEAST_CLUSTERS, Scale, clustered};
pub use consistency::{
    CentroidDiverged, Distance, centroid, centroid_distances, generalized_divergence,
    mean_distances, pairwise_distances,
};
pub use counts::{fisher_exact, gaps_differ, mcnemar_exact, newcombe_interval, odds_ratio};
pub use difference::{
    benjamini_hochberg, matching_test, median, paired_effect_size, sign_flip_test,
};
pub use distribution::{Distribution, DistributionError};
pub use divergence::{entropy_bits, entropy_nats, jensen_shannon_distance, relative_entropy};
pub use diversity::{compression_ratio, distinct_share, effective_number, self_bleu};
pub use games::{excess_of_largest, exploitability};
pub use pooling::{GroupMean, Pooled, pooled};
pub use repeats::{
    adjacent_repeats_under_uniform, distinct_under_uniform, repeats, repeats_under_uniform,
};
pub use spread::{BinaryAnswer, BinaryLanes, binary_centroid_distances};
pub use student::{student_quantile, student_two_sided};
pub use uniformity::{
    chi_squared_per_count, expected_chi_squared, share_of_excess, uniform_divergence_bits,
    uniform_effect_size, uniform_total_variation,
};

/// The largest mean centroid distance that two opposite one-hot answers over two options can have.
///
/// # Source
/// `TWO_LABEL_MAX` of the VALUECONSISTENCY study: the distance of `[[1, 0], [0, 1]]`.
pub const TWO_OPTION_MAXIMUM: f64 = 0.464_501_402_8;

/// The same for three one-hot answers over three options.
///
/// # Source
/// `THREE_LABEL_MAX` of the VALUECONSISTENCY study.
pub const THREE_OPTION_MAXIMUM: f64 = 0.564_142_785_0;

/// The largest mean centroid distance of a group whose answers are over so many stances; absent for others than 2 and 3.
pub fn maximum_distance(stances: usize) -> Option<f64> {
    match stances {
        2 => Some(TWO_OPTION_MAXIMUM),
        3 => Some(THREE_OPTION_MAXIMUM),
        _ => None,
    }
}
