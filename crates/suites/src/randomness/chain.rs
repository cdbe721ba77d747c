//! The first checkpoint against each later one, wording by wording.

use super::measure::{CheckpointFindings, Quantity, SetFindings, WordingFindings};
use super::name::Carrier;
use crate::Settings;
use crate::shared::paired::{adjusted, paired_difference};
use concord_findings::Estimate;
use concord_stats::mean;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is compared.
pub const COMPARED: [Quantity; 5] = [
    Quantity::Entropy,
    Quantity::TotalVariation,
    Quantity::EffectSize,
    Quantity::Seven,
    Quantity::Mass,
];

/// What a later checkpoint has more than the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChainFindings {
    /// The first checkpoint.
    pub base: String,
    /// The later one.
    pub later: String,
    /// The differences. Together they are the family of its tests.
    pub differences: Vec<Difference>,
}

/// A difference over the wordings that both checkpoints have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The set.
    pub set: String,
    /// Whether answers are begun.
    pub carrier: Carrier,
    /// What is compared.
    pub quantity: Quantity,
    /// Later less first. The unit is the wording.
    pub estimate: Estimate,
    /// The sign-flip test's p; absent where nothing differs.
    pub p: Option<f64>,
    /// The same, adjusted over the family.
    pub adjusted: Option<f64>,
    /// Cohen's d of the paired differences; absent where they do not vary.
    pub effect: Option<f64>,
}

/// The first checkpoint against each later one; nothing of one alone.
pub(crate) fn chain(checkpoints: &[CheckpointFindings], settings: Settings) -> Vec<ChainFindings> {
    let Some((base, later)) = checkpoints.split_first() else {
        return Vec::new();
    };
    let compared = later.iter().map(|later| {
        let sets = |of: &CheckpointFindings| [of.sets.clone(), of.hiding.clone()].concat();
        let (of_base, of_later) = (sets(base), sets(later));
        let pairs = of_base.iter().zip(&of_later);
        let mut differences: Vec<Difference> = pairs
            .flat_map(|(base, later)| differences(base, later, settings))
            .collect();
        adjust(&mut differences);
        ChainFindings {
            base: base.name.clone(),
            later: later.name.clone(),
            differences,
        }
    });
    compared.collect()
}

fn differences(base: &SetFindings, later: &SetFindings, settings: Settings) -> Vec<Difference> {
    let found = COMPARED.into_iter().filter_map(|quantity| {
        let pairs = base.wordings.iter().zip(&later.wordings);
        let mut by_wording: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
        for (a, b) in pairs {
            let value = |of: &WordingFindings| match quantity {
                // Also where there is too little to measure anything else.
                Quantity::Mass => Some(of.mass),
                quantity => of.quantities.get(&quantity).copied(),
            };
            if let (Some(first), Some(second)) = (value(a), value(b)) {
                by_wording
                    .entry(a.wording)
                    .or_default()
                    .push((first, second));
            }
        }
        // Translations of a wording are no further draws.
        let pairs = by_wording.values().map(|pairs| {
            let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            (mean(&first), mean(&second))
        });
        let found = paired_difference(pairs, "wording", settings)?;
        Some(Difference {
            set: base.set.clone(),
            carrier: base.carrier,
            quantity,
            p: found.p,
            adjusted: None,
            effect: found.effect,
            estimate: found.estimate,
        })
    });
    found.collect()
}

/// Adjusts the tests of a family.
fn adjust(differences: &mut [Difference]) {
    let tested: Vec<Option<f64>> = differences.iter().map(|of| of.p).collect();
    for (difference, adjusted) in differences.iter_mut().zip(adjusted(&tested)) {
        difference.adjusted = adjusted;
    }
}
