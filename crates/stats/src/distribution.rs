//! A probability distribution over a few answers.

/// Why some numbers are not a distribution.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum DistributionError {
    /// There are no numbers.
    #[error("a distribution over no answers")]
    Empty,
    /// A number is negative, infinite or not a number.
    #[error("{value} (answer {index}) is not a probability")]
    NotAProbability {
        /// Which answer.
        index: usize,
        /// Its number.
        value: f64,
    },
    /// All numbers are zero, so that nothing can be normalised.
    #[error("all probabilities are zero")]
    NoMass,
    /// Distributions that are put together are over different numbers of answers.
    #[error("distributions over {first} and over {other} answers are put together")]
    OtherLength {
        /// The answers of the first.
        first: usize,
        /// Those of another.
        other: usize,
    },
}

/// Refuses distributions over different numbers of answers.
fn same_length(distributions: &[Distribution]) -> Result<(), DistributionError> {
    let lengths = distributions
        .iter()
        .map(|distribution| distribution.0.len());
    let mut lengths = lengths.clone().zip(lengths.skip(1));
    match lengths.find(|(a, b)| a != b) {
        Some((first, other)) => Err(DistributionError::OtherLength { first, other }),
        None => Ok(()),
    }
}

/// Probabilities of a fixed number of answers; they sum to one.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution(Vec<f64>);

impl Distribution {
    /// Divides non-negative weights by their sum.
    ///
    /// # Errors
    /// [`DistributionError`] where a weight is no finite non-negative number, or all are zero.
    pub fn from_weights(weights: Vec<f64>) -> Result<Self, DistributionError> {
        if weights.is_empty() {
            return Err(DistributionError::Empty);
        }
        for (index, &value) in weights.iter().enumerate() {
            if !(value.is_finite() && value >= 0.0) {
                return Err(DistributionError::NotAProbability { index, value });
            }
        }
        let sum: f64 = weights.iter().sum();
        if sum <= 0.0 {
            return Err(DistributionError::NoMass);
        }
        Ok(Self(
            weights.into_iter().map(|weight| weight / sum).collect(),
        ))
    }

    /// Exponentiates and normalises log-probabilities (nats), without underflow of the largest.
    ///
    /// # Errors
    /// [`DistributionError`] where a value is not a number or none is finite.
    pub fn from_log_weights(log_weights: &[f64]) -> Result<Self, DistributionError> {
        let largest = log_weights
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        if log_weights.is_empty() {
            return Err(DistributionError::Empty);
        }
        if largest == f64::NEG_INFINITY {
            return Err(DistributionError::NoMass);
        }
        Self::from_weights(
            log_weights
                .iter()
                .map(|value| (value - largest).exp())
                .collect(),
        )
    }

    /// Two answers, of which the second has probability `p`.
    ///
    /// # Errors
    /// [`DistributionError`] where `p` is not within 0 and 1.
    pub fn binary(p: f64) -> Result<Self, DistributionError> {
        if (0.0..=1.0).contains(&p) {
            Ok(Self(vec![1.0 - p, p]))
        } else {
            Err(DistributionError::NotAProbability { index: 1, value: p })
        }
    }

    /// The arithmetic mean of distributions over the same answers.
    ///
    /// # Errors
    /// [`DistributionError::Empty`] where there are none.
    pub fn average(distributions: &[Self]) -> Result<Self, DistributionError> {
        let first = distributions.first().ok_or(DistributionError::Empty)?;
        same_length(distributions)?;
        let mut sum = vec![0.0; first.0.len()];
        for distribution in distributions {
            for (total, p) in sum.iter_mut().zip(&distribution.0) {
                *total += p;
            }
        }
        Self::from_weights(sum)
    }

    /// The geometric mean of distributions over the same answers, normalised: what multiplies an answer in one of them and
    /// divides it in another falls out.
    ///
    /// # Errors
    /// [`DistributionError::Empty`] where there are none; [`DistributionError::NoMass`] where every answer is impossible
    /// in one of them.
    pub fn geometric_mean(distributions: &[Self]) -> Result<Self, DistributionError> {
        let first = distributions.first().ok_or(DistributionError::Empty)?;
        same_length(distributions)?;
        let count = distributions.len() as f64;
        let logs: Vec<f64> = (0..first.0.len())
            .map(|answer| {
                let logs = distributions.iter().map(|d| d.0[answer].ln());
                logs.sum::<f64>() / count
            })
            .collect();
        Self::from_log_weights(&logs)
    }

    /// The probabilities.
    pub fn probabilities(&self) -> &[f64] {
        &self.0
    }

    /// The index of the single most probable answer, `None` on a tie.
    pub fn mode(&self) -> Option<usize> {
        let largest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut at_top = self
            .0
            .iter()
            .enumerate()
            .filter(|&(_, &p)| p >= largest)
            .map(|(index, _)| index);
        let first = at_top.next();
        if at_top.next().is_some() { None } else { first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_checked_and_normalised() {
        assert_eq!(
            Distribution::from_weights(vec![1.0, 3.0])
                .unwrap()
                .probabilities(),
            [0.25, 0.75]
        );
        assert_eq!(
            Distribution::from_weights(vec![]),
            Err(DistributionError::Empty)
        );
        assert_eq!(
            Distribution::from_weights(vec![0.0, 0.0]),
            Err(DistributionError::NoMass)
        );
        assert!(Distribution::from_weights(vec![0.5, f64::NAN]).is_err());
        assert!(Distribution::binary(1.5).is_err());
    }

    #[test]
    fn distributions_over_other_answers_are_not_put_together() {
        let two = Distribution::from_weights(vec![1.0, 1.0]).unwrap();
        let three = Distribution::from_weights(vec![1.0, 1.0, 1.0]).unwrap();
        for both in [[two.clone(), three.clone()], [three, two]] {
            assert!(Distribution::average(&both).is_err());
            assert!(Distribution::geometric_mean(&both).is_err());
        }
    }

    #[test]
    fn a_factor_that_turns_around_falls_out_of_the_geometric_mean() {
        // Odds of 3 to 1, made 6 to 1 by one order and 1.5 to 1 by the other.
        let orders =
            [[6.0, 1.0], [1.5, 1.0]].map(|w| Distribution::from_weights(w.into()).unwrap());
        let mean = Distribution::geometric_mean(&orders).unwrap();
        assert!((mean.probabilities()[0] - 0.75).abs() < 1e-12);
        assert!(Distribution::geometric_mean(&[]).is_err());
    }

    #[test]
    fn log_weights_survive_deep_underflow() {
        let d = Distribution::from_log_weights(&[-2000.0, -2000.0 + 3f64.ln()]).unwrap();
        assert!((d.probabilities()[1] - 0.75).abs() < 1e-12);
    }

    #[test]
    fn a_tie_has_no_mode() {
        assert_eq!(Distribution::binary(0.5).unwrap().mode(), None);
        assert_eq!(Distribution::binary(0.7).unwrap().mode(), Some(1));
    }
}
