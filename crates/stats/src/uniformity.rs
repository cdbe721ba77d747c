//! How far a distribution is from the uniform one over the same answers.
//!
//! Every function takes probabilities that sum to one. The uniform distribution over as many answers is `u = 1/n`.

use crate::relative_entropy;

/// `Σ (p − u)² / u`: Pearson's χ² of the expected counts, divided by the number of draws. At most `n − 1`.
///
/// # Source
/// Pearson 1900, with expected counts in place of observed ones: of exact probabilities nothing else is left of it.
pub fn chi_squared_per_count(p: &[f64]) -> f64 {
    let uniform = 1.0 / p.len().max(1) as f64;
    p.iter().map(|p| (p - uniform).powi(2)).sum::<f64>() / uniform
}

/// Cohen's w, the square root of [`chi_squared_per_count`]: .1 is called small, .3 medium, .5 large.
///
/// # Source
/// Cohen 1988, section 7.2.
pub fn uniform_effect_size(p: &[f64]) -> f64 {
    chi_squared_per_count(p).sqrt()
}

/// `½ Σ |p − u|`, the probability that would have to be moved.
pub fn uniform_total_variation(p: &[f64]) -> f64 {
    let uniform = 1.0 / p.len().max(1) as f64;
    p.iter().map(|p| (p - uniform).abs()).sum::<f64>() / 2.0
}

/// `Σ p log₂(p/u)`, which is what the entropy lacks of `log₂ n`.
///
/// # Units
/// Bits.
pub fn uniform_divergence_bits(p: &[f64]) -> f64 {
    let uniform = vec![1.0 / p.len().max(1) as f64; p.len()];
    relative_entropy(p, &uniform) / std::f64::consts::LN_2
}

/// The mean of Pearson's χ² against the uniform distribution over samples of `draws` independent draws:
/// `N Σ (p − u)²/u + Σ p(1 − p)/u`.
///
/// The second term is what chance adds: `n − 1` for the uniform distribution, less for any other.
///
/// # Source
/// The mean of a squared binomial count about `N u`: `N² (p − u)² + N p (1 − p)`.
pub fn expected_chi_squared(p: &[f64], draws: f64) -> f64 {
    let uniform = 1.0 / p.len().max(1) as f64;
    let chance: f64 = p.iter().map(|p| p * (1.0 - p)).sum();
    draws * chi_squared_per_count(p) + chance / uniform
}

/// The probability of one of `answers` answers whose excess alone, the others alike, makes χ² of `draws` draws this large on
/// average, where chance adds `answers − 1`. Absent where χ² is less than that.
pub fn share_of_excess(chi_squared: f64, answers: usize, draws: f64) -> Option<f64> {
    let n = answers as f64;
    // An excess d of one and −d/(n − 1) of each other: Σ (p − u)²/u = d² n²/(n − 1).
    let per_count = (chi_squared - (n - 1.0)) / draws;
    let share = 1.0 / n + (per_count * (n - 1.0)).sqrt() / n;
    (per_count >= 0.0 && answers > 1).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    #[test]
    fn the_uniform_distribution_is_no_distance_from_itself() {
        for n in [2, 6, 11] {
            let p = vec![1.0 / f64::from(n); usize::try_from(n).unwrap()];
            assert!(chi_squared_per_count(&p).abs() < 1e-15);
            assert!(uniform_total_variation(&p).abs() < 1e-15);
            assert!(uniform_divergence_bits(&p).abs() < 1e-15);
            assert!((expected_chi_squared(&p, 100.0) - f64::from(n - 1)).abs() < 1e-12);
        }
    }

    #[test]
    fn one_answer_alone_is_as_far_as_can_be() {
        let p = [0.0, 1.0, 0.0, 0.0];
        assert!((chi_squared_per_count(&p) - 3.0).abs() < 1e-15);
        assert!((uniform_effect_size(&p) - 3f64.sqrt()).abs() < 1e-15);
        assert!((uniform_total_variation(&p) - 0.75).abs() < 1e-15);
        assert!((uniform_divergence_bits(&p) - 2.0).abs() < 1e-15);
        assert!((expected_chi_squared(&p, 7.0) - 21.0).abs() < 1e-12);
    }

    #[test]
    fn the_divergence_is_what_the_entropy_lacks() {
        let p = [0.5, 0.25, 0.125, 0.125];
        assert!((uniform_divergence_bits(&p) - (2.0 - crate::entropy_bits(&p))).abs() < 1e-12);
    }

    #[test]
    fn the_expected_statistic_is_the_mean_of_sampled_ones() {
        let p = [0.4, 0.3, 0.2, 0.1];
        let (draws, repeats) = (50u32, 20_000u32);
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut total = 0.0;
        for _ in 0..repeats {
            let mut counts = [0u32; 4];
            for _ in 0..draws {
                let drawn = f64::from(random.next_u32()) / 2f64.powi(32);
                let mut below = 0.0;
                let at = p.iter().position(|p| {
                    below += p;
                    drawn < below
                });
                counts[at.unwrap_or(3)] += 1;
            }
            let expected = f64::from(draws) / 4.0;
            total += counts
                .iter()
                .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                .sum::<f64>();
        }
        let found = total / f64::from(repeats);
        let formula = expected_chi_squared(&p, f64::from(draws));
        // The statistic's deviation is about 7, so that of the mean is .05.
        assert!((found - formula).abs() < 0.25, "{found} {formula}");
    }

    /// What a published χ² of 129.1 would mean, by the number of draws: .17 and .40.
    #[test]
    fn an_excess_is_found_again_from_its_statistic() {
        assert!((share_of_excess(129.1, 11, 1500.0).unwrap() - 0.172).abs() < 1e-3);
        assert!((share_of_excess(129.1, 11, 100.0).unwrap() - 0.405).abs() < 1e-3);
        assert_eq!(share_of_excess(9.0, 11, 100.0), None);
        let mut p = [0.07; 11];
        p[7] = 0.3;
        let chi = 200.0 * chi_squared_per_count(&p) + 10.0;
        assert!((share_of_excess(chi, 11, 200.0).unwrap() - 0.3).abs() < 1e-12);
    }
}
