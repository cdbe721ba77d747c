//! Partial pooling: what a few answers say of one topic, and what all topics say of it.

/// A topic's own mean and how it was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupMean {
    /// The mean of its units.
    pub mean: f64,
    /// Their sum of squares about the mean.
    pub squares: f64,
    /// How many units.
    pub units: usize,
}

/// A topic's mean, drawn towards that of all topics by as much as it is uncertain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pooled {
    /// The mean.
    pub mean: f64,
    /// Its standard error.
    pub error: f64,
    /// How much of its own mean stayed: 1 for all, 0 for nothing.
    pub weight: f64,
}

impl GroupMean {
    /// Of units; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mean = crate::mean(values);
        Some(Self {
            mean,
            squares: values.iter().map(|value| (value - mean).powi(2)).sum(),
            units: values.len(),
        })
    }
}

/// Shrinks the means of groups towards their common mean.
///
/// A normal model with the same variance within all groups (a few units are too few for one of their own) and a variance between groups
/// that is estimated by Paule and Mandel's equation; the error of a group has the uncertainty of the common mean in it, and that of the
/// variance between groups as Morris corrects for it.
///
/// # Shapes
/// As many as there are groups. With fewer than three groups, or no group of two units, nothing is pooled and errors are those of
/// the groups alone.
///
/// # Source
/// Paule and Mandel 1982; Morris 1983, "Parametric empirical Bayes inference".
pub fn pooled(groups: &[GroupMean]) -> Vec<Pooled> {
    let free: usize = groups
        .iter()
        .map(|group| group.units.saturating_sub(1))
        .sum();
    let within = if free > 0 {
        groups.iter().map(|group| group.squares).sum::<f64>() / free as f64
    } else {
        f64::NAN
    };
    let variances: Vec<f64> = groups
        .iter()
        .map(|group| within / group.units as f64)
        .collect();
    let count = groups.len() as f64;
    if groups.len() < 3 || !within.is_finite() {
        let alone = groups.iter().zip(&variances);
        return alone
            .map(|(group, variance)| Pooled {
                mean: group.mean,
                error: variance.sqrt(),
                weight: 1.0,
            })
            .collect();
    }
    let means: Vec<f64> = groups.iter().map(|group| group.mean).collect();
    let between = between(&means, &variances);
    let weights: Vec<f64> = variances.iter().map(|v| weight(between, *v)).collect();
    let total: f64 = weights.iter().sum();
    let common = means
        .iter()
        .zip(&weights)
        .map(|(mean, weight)| mean * weight)
        .sum::<f64>()
        / total;
    let mean_variance = variances.iter().sum::<f64>() / count;
    means
        .iter()
        .zip(&variances)
        .zip(&weights)
        .map(|((mean, variance), of_precision)| {
            if *variance <= 0.0 {
                return Pooled {
                    mean: *mean,
                    error: 0.0,
                    weight: 1.0,
                };
            }
            let shrinkage =
                (count - 3.0).max(0.0) / (count - 1.0) * variance / (variance + between);
            let about = mean - common;
            let of_common = shrinkage.powi(2) * of_precision / (of_precision * total);
            // What is not known of the variance between groups.
            let of_between = 2.0 / (count - 3.0).max(1.0)
                * shrinkage.powi(2)
                * about.powi(2)
                * (mean_variance + between)
                / (variance + between);
            Pooled {
                mean: mean - shrinkage * about,
                error: (variance * (1.0 - shrinkage) + of_common + of_between).sqrt(),
                weight: 1.0 - shrinkage,
            }
        })
        .collect()
}

fn weight(between: f64, variance: f64) -> f64 {
    // Groups that do not vary at all count as groups that hardly do.
    1.0 / (between + variance).max(1e-18)
}

/// The variance between groups at which their squared standardised deviations sum to what they are expected to.
fn between(means: &[f64], variances: &[f64]) -> f64 {
    let expected = means.len() as f64 - 1.0;
    let excess = |between: f64| {
        let weights: Vec<f64> = variances.iter().map(|v| weight(between, *v)).collect();
        let total: f64 = weights.iter().sum();
        let common = means.iter().zip(&weights).map(|(m, w)| m * w).sum::<f64>() / total;
        let sum: f64 = means
            .iter()
            .zip(&weights)
            .map(|(m, w)| w * (m - common).powi(2))
            .sum();
        sum - expected
    };
    if excess(0.0) <= 0.0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1e-6);
    while excess(high) > 0.0 && high < 1e6 {
        high *= 4.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if excess(middle) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    /// Equal variances: Paule and Mandel's is the sample variance less that within.
    #[test]
    fn equal_groups_shrink_by_the_closed_form() {
        let means = [1.0, 2.0, 4.0, 5.0, 8.0];
        let groups: Vec<GroupMean> = means
            .iter()
            .map(|m| GroupMean {
                mean: *m,
                squares: 8.0,
                units: 5,
            })
            .collect();
        // Within: 8 / 4 = 2 a unit, .4 a group; between: 7.5 − .4.
        let found = pooled(&groups);
        let shrinkage = 0.5 * 0.4 / 7.5;
        for (found, mean) in found.iter().zip(means) {
            assert!(
                (found.mean - (mean - shrinkage * (mean - 4.0))).abs() < 1e-9,
                "{found:?}"
            );
            assert!((found.weight - (1.0 - shrinkage)).abs() < 1e-9);
        }
        assert!(found[2].error < found[4].error && found[4].error < 0.64);
    }

    #[test]
    fn groups_that_are_alike_are_one() {
        let groups: Vec<GroupMean> = (0..20)
            .map(|k| GroupMean {
                mean: 3.0 + 0.01 * f64::from(k % 5),
                squares: 40.0,
                units: 5,
            })
            .collect();
        for found in pooled(&groups) {
            assert!((found.mean - 3.02).abs() < 0.005, "{found:?}");
            assert!(found.error < 0.6 * (2.0f64).sqrt());
        }
        assert_eq!(pooled(&groups[..2])[0].weight.to_bits(), 1.0f64.to_bits());
        assert_eq!(pooled(&[]), []);
    }

    #[test]
    fn intervals_of_groups_cover() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut normal = || {
            let mut unit = || (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
            (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos()
        };
        // Where groups do not differ each is known better than its interval dares to say.
        for (between, most) in [(0.0, 1.0), (0.02, 0.99), (0.1, 0.97)] {
            let (mut covered, mut all, mut own, mut shrunk) = (0u32, 0u32, 0.0, 0.0);
            for _ in 0..300 {
                let truths: Vec<f64> = (0..28).map(|_| 0.1 + between * normal()).collect();
                let groups: Vec<GroupMean> = truths
                    .iter()
                    .map(|truth| {
                        let units: Vec<f64> = (0..5).map(|_| truth + 0.1 * normal()).collect();
                        GroupMean::of(&units).unwrap()
                    })
                    .collect();
                for ((found, truth), group) in pooled(&groups).iter().zip(&truths).zip(&groups) {
                    covered += u32::from((found.mean - truth).abs() <= 1.96 * found.error);
                    all += 1;
                    own += (group.mean - truth).powi(2);
                    shrunk += (found.mean - truth).powi(2);
                }
            }
            let covered = f64::from(covered) / f64::from(all);
            assert!((0.93..=most).contains(&covered), "{between}: {covered}");
            assert!(shrunk <= 1.02 * own, "{between}: {shrunk} {own}");
        }
    }
}
