//! Paired differences: tests, effects, families.

use super::estimate::estimate;
use crate::Settings;
use concord_findings::Estimate;
use concord_stats::{benjamini_hochberg, paired_effect_size, sign_flip_test};

/// Differences below it are those of rounding.
const ROUNDING: f64 = 1e-12;

/// Paired differences over units, and whether they are more than chance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PairedDifference {
    /// Their mean.
    pub estimate: Estimate,
    /// The sign-flip test's p; absent where nothing differs.
    pub p: Option<f64>,
    /// Cohen's d; absent where they do not vary.
    pub effect: Option<f64>,
}

/// The mean of second less first over units; `None` where there is no pair.
pub(crate) fn paired_difference(
    pairs: impl IntoIterator<Item = (f64, f64)>,
    unit: &'static str,
    settings: Settings,
) -> Option<PairedDifference> {
    // Sums of the same numbers may differ in their last bits.
    let differences = pairs.into_iter().map(|(first, second)| {
        let difference = second - first;
        if difference.abs() < ROUNDING {
            0.0
        } else {
            difference
        }
    });
    let differences: Vec<f64> = differences.collect();
    (!differences.is_empty()).then(|| PairedDifference {
        estimate: estimate(&differences, unit, settings),
        p: sign_flip_test(&differences, settings.seed),
        effect: paired_effect_size(&differences).filter(|d| d.abs() < 1.0 / ROUNDING.sqrt()),
    })
}

/// The p-values of a family with the false-discovery rate controlled (Benjamini and Hochberg), in their order; what was not tested
/// stays so and is not of the family.
pub(crate) fn adjusted(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let tested: Vec<f64> = p_values.iter().copied().flatten().collect();
    let mut adjusted = benjamini_hochberg(&tested).into_iter();
    p_values
        .iter()
        .map(|p| p.and_then(|_| adjusted.next()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_differ_is_exactly_zero_and_not_tested() {
        let pairs = [(0.1 + 0.2, 0.3), (0.5, 0.5)];
        let found = paired_difference(pairs, "wording", Settings::default()).unwrap();
        assert_eq!(
            (found.estimate.value.to_bits(), found.p, found.effect),
            (0, None, None)
        );
        assert_eq!(paired_difference([], "wording", Settings::default()), None);
    }

    #[test]
    fn a_family_is_what_was_tested() {
        let all = adjusted(&[Some(0.01), None, Some(0.04)]);
        assert_eq!(all, [Some(0.02), None, Some(0.04)]);
    }
}
