//! Languages are gated one by one, and the wordings of all that pass are one sample.

use crate::Settings;
use crate::shared::estimate::{estimate, gate};
use concord_findings::{Estimate, Verdict};
use concord_stats::mean;
use std::collections::{BTreeMap, BTreeSet};

/// How much valid mass there is in each language, and which may be shown.
pub(crate) struct ByLanguage {
    /// The mean over wordings of languages that pass; over all where none does.
    pub mass: Estimate,
    /// Whether any language passes.
    pub verdict: Verdict,
    /// Those that do.
    pub shown: BTreeSet<String>,
}

impl ByLanguage {
    /// By the mass of each language and wording.
    pub fn new(masses: &[(&str, usize, f64)], least: f64, settings: Settings) -> Self {
        let mut languages: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (language, _, mass) in masses {
            languages.entry(language).or_default().push(*mass);
        }
        let passes = |(_, masses): &(&&str, &Vec<f64>)| mean(masses) >= least;
        let passing = languages.iter().filter(passes);
        let shown: BTreeSet<String> = passing.map(|(name, _)| (**name).to_owned()).collect();
        let counted = masses
            .iter()
            .filter(|(language, ..)| shown.is_empty() || shown.contains(*language));
        let by_wording = by_wording(counted.map(|(_, wording, mass)| (*wording, *mass)));
        let mass = estimate(&by_wording, "wording", settings);
        Self {
            verdict: gate("valid mass", &mass, least),
            mass,
            shown,
        }
    }

    /// Whether a language may be shown.
    pub fn shows(&self, language: &str) -> bool {
        self.shown.contains(language)
    }
}

/// Values by wording, those of one wording in several languages averaged: translations of a sentence are no further draws.
pub(crate) fn by_wording(values: impl IntoIterator<Item = (usize, f64)>) -> Vec<f64> {
    let mut wordings: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (wording, value) in values {
        wordings.entry(wording).or_default().push(value);
    }
    wordings.values().map(|values| mean(values)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_neither_hides_another_nor_hides_behind_it() {
        let settings = Settings::default();
        let of = |masses: &[(&str, usize, f64)]| ByLanguage::new(masses, 0.5, settings);
        let found = of(&[("a", 1, 0.9), ("a", 2, 0.9), ("b", 1, 0.2), ("b", 2, 0.2)]);
        assert!(found.shows("a") && !found.shows("b") && found.verdict.is_measurable());
        assert!((found.mass.value - 0.9).abs() < 1e-12 && found.mass.n == 2);
        let found = of(&[("a", 1, 0.95), ("b", 1, 0.1), ("c", 1, 0.1), ("d", 1, 0.1)]);
        assert!(found.shows("a") && found.verdict.is_measurable());
        let found = of(&[("a", 1, 0.4), ("b", 1, 0.2)]);
        assert!(found.shown.is_empty() && !found.verdict.is_measurable());
        assert!((found.mass.value - 0.3).abs() < 1e-12);
    }

    #[test]
    fn translations_are_one_unit() {
        let found = by_wording([(1, 0.2), (2, 0.5), (1, 0.4)]);
        assert!((found[0] - 0.3).abs() < 1e-12 && found.len() == 2);
    }
}
