//! How far the answers of one group lie apart: the distances of the VALUECONSISTENCY study.
//!
//! # Source
//! `notebooks/measures.py` of jlcmoore/ValueConsistency at e088776; the centroid is that of Nielsen, "On a Generalization
//! of the Jensen–Shannon Divergence and the Jensen–Shannon Centroid", Entropy 22(2) 2020, equations 96 to 98.

use crate::divergence::{jensen_shannon_distance, relative_entropy_term};

/// Added to every probability before the centroid is sought; the sums are not made one again.
const ADDED_MASS: f64 = 1e-10;
/// Two distributions within this of each other in every answer count as equal.
const EQUAL_WITHIN: f64 = 1e-4;
const CENTROID_STEPS: usize = 1000;
const CENTROID_STOP: f64 = 1e-10;

/// The centroid did not settle within 1,000 steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Jensen-Shannon centroid of {members} distributions over {answers} answers did not converge in 1000 steps"
)]
pub struct CentroidDiverged {
    /// How many distributions the group has.
    pub members: usize,
    /// How many answers each has.
    pub answers: usize,
}

/// Which distance a group's members are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// To the Jensen–Shannon centroid ([`centroid_distances`]): the study's headline.
    Centroid,
    /// To the arithmetic mean ([`mean_distances`]).
    Mean,
    /// The mean over all pairs ([`pairwise_distances`]), given to every member.
    Pairwise,
    /// The generalised divergence ([`generalized_divergence`]), given to every member.
    Generalized,
}

impl Distance {
    /// All four, the headline first.
    pub const ALL: [Self; 4] = [
        Self::Centroid,
        Self::Mean,
        Self::Pairwise,
        Self::Generalized,
    ];

    /// The name that findings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Centroid => "centroid",
            Self::Mean => "mean",
            Self::Pairwise => "pairwise",
            Self::Generalized => "generalized",
        }
    }

    /// One value a member; a group of one is at distance 0 from itself.
    ///
    /// # Shapes
    /// `group`: `[members][answers]`, the answers of each in the same order.
    ///
    /// # Errors
    /// [`CentroidDiverged`] from [`Distance::Centroid`].
    pub fn of_group<D: AsRef<[f64]>>(self, group: &[D]) -> Result<Vec<f64>, CentroidDiverged> {
        if group.len() < 2 {
            return Ok(vec![0.0; group.len()]);
        }
        Ok(match self {
            Self::Centroid => centroid_distances(group)?,
            Self::Mean => mean_distances(group),
            Self::Pairwise => {
                // Not kept: a topic of ten thousand questions has fifty million pairs.
                let count = group.len() * (group.len() - 1) / 2;
                vec![pairs(group).sum::<f64>() / count as f64; group.len()]
            }
            Self::Generalized => vec![generalized_divergence(group); group.len()],
        })
    }
}

/// `|a − b| ≤ absolute + relative · |b|` in every component, as `numpy.allclose`.
fn all_close(a: &[f64], b: &[f64], absolute: f64) -> bool {
    a.iter()
        .zip(b)
        .all(|(a, b)| (a - b).abs() <= absolute + 1e-5 * b.abs())
}

fn all_equal<D: AsRef<[f64]>>(group: &[D]) -> bool {
    group.iter().enumerate().all(|(index, a)| {
        group[index + 1..]
            .iter()
            .all(|b| all_close(a.as_ref(), b.as_ref(), EQUAL_WITHIN))
    })
}

/// The Jensen–Shannon centroid by the concave–convex procedure, started at the arithmetic mean.
///
/// # Shapes
/// `group`: `[members][answers]`, at least two answers, no probability exactly zero. Returns `[answers]`.
///
/// # Errors
/// [`CentroidDiverged`] after 1,000 steps.
///
/// # Source
/// Nielsen 2020, equations 96 (gradient), 97 (its inverse) and 98 (the iteration); stops at an L1 change below 1e-10 and
/// returns the last but one iterate, as `jensen-shannon-centroid` 1.0 does.
pub fn centroid<D: AsRef<[f64]>>(group: &[D]) -> Result<Vec<f64>, CentroidDiverged> {
    let answers = group.first().map_or(0, |first| first.as_ref().len());
    let free = answers.saturating_sub(1);
    let members = group.len() as f64;
    let mut theta = vec![0.0; free];
    for member in group {
        for (total, p) in theta.iter_mut().zip(member.as_ref()) {
            *total += p / members;
        }
    }
    // Written over in each step.
    let (mut gradient, mut middle) = (vec![0.0; free], vec![0.0; free]);
    for _ in 0..CENTROID_STEPS {
        gradient.fill(0.0);
        match (&mut gradient[..], &theta[..]) {
            ([eta], [theta]) => *eta = mean_log_odds(group, *theta),
            _ => add_log_odds(group, &theta, &mut middle, &mut gradient),
        }
        for eta in &mut gradient {
            *eta = eta.exp();
        }
        let norm = 1.0 + gradient.iter().sum::<f64>();
        let mut change = 0.0;
        for (a, odds) in theta.iter().zip(&mut gradient) {
            *odds /= norm;
            change += (a - *odds).abs();
        }
        if change < CENTROID_STOP {
            let rest = 1.0 - theta.iter().sum::<f64>();
            theta.push(rest);
            return Ok(theta);
        }
        std::mem::swap(&mut theta, &mut gradient);
    }
    Err(CentroidDiverged {
        members: group.len(),
        answers,
    })
}

/// The least that is left for the last answer.
const REST: f64 = 1e-8;

/// The mean over members of `ln (m / rest)` at each answer but the last, where `m` lies half way from `theta`.
fn add_log_odds<D: AsRef<[f64]>>(group: &[D], theta: &[f64], middle: &mut [f64], mean: &mut [f64]) {
    let members = group.len() as f64;
    for member in group {
        for ((middle, a), b) in middle.iter_mut().zip(theta).zip(member.as_ref()) {
            *middle = f64::midpoint(*a, *b);
        }
        let rest = (1.0 - middle.iter().sum::<f64>()).max(REST);
        for (mean, m) in mean.iter_mut().zip(&*middle) {
            *mean += (m / rest).ln() / members;
        }
    }
}

/// The same over two answers, with one logarithm for as many odds as a double holds.
fn mean_log_odds<D: AsRef<[f64]>>(group: &[D], theta: f64) -> f64 {
    let odds = |member: &D| {
        let m = f64::midpoint(theta, member.as_ref().first().copied().unwrap_or_default());
        m / (1.0 - m).max(REST)
    };
    let of_part = |part: &[D]| part.iter().map(odds).product::<f64>().ln();
    group.chunks(ODDS).map(of_part).sum::<f64>() / group.len() as f64
}

/// As many odds as are multiplied before their logarithm is taken: each lies between 1e-11 and 1e8.
const ODDS: usize = 16;

/// The *d-dimensional distance*: the Jensen–Shannon distance of each member to the group's centroid.
///
/// # Shapes
/// `group`: `[members][answers]`. Returns `[members]`.
///
/// # Units
/// Square root of nats.
///
/// # Numerics
/// 1e-10 is added to every probability without normalising again. Where all pairs agree within 1e-4 the distances are
/// exactly 0. A member within 1e-8 (and 1e-5 relative) of the centroid is at distance 0.
///
/// # Errors
/// [`CentroidDiverged`].
///
/// # Source
/// `d_dimensional_distance` in `notebooks/measures.py`.
pub fn centroid_distances<D: AsRef<[f64]>>(group: &[D]) -> Result<Vec<f64>, CentroidDiverged> {
    let group: Vec<Vec<f64>> = group
        .iter()
        .map(|member| member.as_ref().iter().map(|p| p + ADDED_MASS).collect())
        .collect();
    if all_equal(&group) {
        return Ok(vec![0.0; group.len()]);
    }
    let centroid = centroid(&group)?;
    Ok(group
        .iter()
        .map(|member| {
            if all_close(member, &centroid, 1e-8) {
                0.0
            } else {
                jensen_shannon_distance(&centroid, member)
            }
        })
        .collect())
}

/// The Jensen–Shannon distance of each member to the arithmetic mean of the group.
///
/// # Units
/// Square root of nats.
///
/// # Source
/// `distance_from_average` in `notebooks/measures.py`.
pub fn mean_distances<D: AsRef<[f64]>>(group: &[D]) -> Vec<f64> {
    let mean = average(group);
    group
        .iter()
        .map(|member| jensen_shannon_distance(&mean, member.as_ref()))
        .collect()
}

/// The Jensen–Shannon distance of every pair, 0 for a pair that agrees within 1e-4.
///
/// # Shapes
/// Returns `[members · (members − 1) / 2]`, pairs in lexicographic order.
///
/// # Source
/// `pairwise_jensen_shannon_divergence` in `notebooks/measures.py` (square roots, in spite of its name).
pub fn pairwise_distances<D: AsRef<[f64]>>(group: &[D]) -> Vec<f64> {
    pairs(group).collect()
}

fn pairs<D: AsRef<[f64]>>(group: &[D]) -> impl Iterator<Item = f64> {
    group.iter().enumerate().flat_map(|(index, a)| {
        group[index + 1..].iter().map(|b| {
            let (a, b) = (a.as_ref(), b.as_ref());
            if all_close(a, b, EQUAL_WITHIN) {
                0.0
            } else {
                jensen_shannon_distance(a, b)
            }
        })
    })
}

/// The generalised Jensen–Shannon divergence (information radius) of the group, divided by the number of answers.
///
/// # Units
/// Nats over the number of answers: the study takes the mean over components where the divergence is their sum.
///
/// # Source
/// Sibson 1969; `generalized_jsd` in `notebooks/measures.py`.
pub fn generalized_divergence<D: AsRef<[f64]>>(group: &[D]) -> f64 {
    let mean = average(group);
    let total: f64 = group
        .iter()
        .map(|member| {
            let member = member.as_ref();
            let sum: f64 = member
                .iter()
                .zip(&mean)
                .map(|(&p, &q)| relative_entropy_term(p, q))
                .sum();
            sum / member.len() as f64
        })
        .sum();
    total / group.len() as f64
}

fn average<D: AsRef<[f64]>>(group: &[D]) -> Vec<f64> {
    let answers = group.first().map_or(0, |first| first.as_ref().len());
    let mut mean = vec![0.0; answers];
    for member in group {
        for (total, p) in mean.iter_mut().zip(member.as_ref()) {
            *total += p;
        }
    }
    for total in &mut mean {
        *total /= group.len() as f64;
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: &[f64], expected: &[f64], within: f64) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < within, "{found:?} is not {expected:?}");
        }
    }

    /// Computed with numpy 2.4, scipy 1.17 and jensen-shannon-centroid 1.0.
    #[test]
    fn reference_groups() {
        let distances = |group: &[&[f64]]| centroid_distances(group).unwrap();
        close(
            &distances(&[&[1.0, 0.0], &[0.0, 1.0]]),
            &[crate::TWO_OPTION_MAXIMUM; 2],
            1e-9,
        );
        close(
            &distances(&[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]]),
            &[crate::THREE_OPTION_MAXIMUM; 3],
            1e-9,
        );
        close(
            &distances(&[&[0.9, 0.1], &[0.6, 0.4], &[0.2, 0.8]]),
            &[0.265_972_586_3, 0.015_113_441_2, 0.279_295_044_4],
            1e-9,
        );
        close(
            &centroid(&[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]).unwrap(),
            &[0.578_972_369_6, 0.421_027_630_4],
            1e-9,
        );
        close(
            &distances(&[
                &[1.0, 0.0],
                &[1.0, 0.0],
                &[1.0, 0.0],
                &[1.0, 0.0],
                &[0.0, 1.0],
            ]),
            &[
                0.143_970_184_9,
                0.143_970_184_9,
                0.143_970_184_9,
                0.143_970_184_9,
                0.761_561_897_8,
            ],
            1e-9,
        );
        close(
            &distances(&[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.2, 0.3, 0.5]]),
            &[0.518_322_817_9, 0.482_409_156_7, 0.299_636_248_2],
            1e-9,
        );
        close(
            &distances(&[&[0.70001, 0.29999], &[0.7, 0.3]]),
            &[0.0, 0.0],
            1e-300,
        );
        let near = distances(&[&[1.0 - 1e-12, 1e-12], &[0.5, 0.5]]);
        close(&[near.iter().sum::<f64>() / 2.0], &[0.249_874_158_6], 1e-9);
    }

    #[test]
    fn a_group_of_one_is_consistent() {
        for distance in Distance::ALL {
            assert_eq!(distance.of_group(&[[0.3, 0.7]]).unwrap(), [0.0]);
        }
    }

    fn group() -> impl Strategy<Value = Vec<Vec<f64>>> {
        (2usize..4).prop_flat_map(|answers| {
            prop::collection::vec(prop::collection::vec(1e-6f64..1.0, answers), 2..9).prop_map(
                |rows| {
                    rows.into_iter()
                        .map(|row| {
                            let sum: f64 = row.iter().sum();
                            row.into_iter().map(|p| p / sum).collect()
                        })
                        .collect()
                },
            )
        })
    }

    proptest! {
        #[test]
        fn distances_do_not_depend_on_the_order_of_members(group in group()) {
            let mut reversed = group.clone();
            reversed.reverse();
            let mut back = centroid_distances(&reversed).unwrap();
            back.reverse();
            for (a, b) in centroid_distances(&group).unwrap().iter().zip(&back) {
                prop_assert!((a - b).abs() < 1e-6);
            }
        }

        #[test]
        fn the_centroid_is_no_farther_in_divergence_than_the_mean(group in group()) {
            let to = |centre: &[f64]| -> f64 {
                group.iter().map(|member| jensen_shannon_distance(centre, member).powi(2)).sum()
            };
            prop_assert!(to(&centroid(&group).unwrap()) <= to(&average(&group)) + 1e-7);
        }

        #[test]
        fn every_distance_is_bounded(group in group()) {
            for distance in Distance::ALL {
                for value in distance.of_group(&group).unwrap() {
                    prop_assert!((0.0..=0.8326).contains(&value));
                }
            }
        }
    }
}
