//! The first checkpoint against each later one, wording by wording.

use super::estimate::estimate;
use super::measure::{CheckpointFindings, Quantity, SetFindings};
use super::name::Carrier;
use crate::Settings;
use concord_findings::Estimate;
use concord_stats::{benjamini_hochberg, paired_effect_size, sign_flip_test};
use serde::Serialize;

/// What is compared.
pub const COMPARED: [Quantity; 5] = [
    Quantity::Entropy,
    Quantity::TotalVariation,
    Quantity::EffectSize,
    Quantity::Seven,
    Quantity::Mass,
];

/// Differences below it are those of rounding.
const ROUNDING: f64 = 1e-12;

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
    // Sums of the same numbers may differ in their last bits.
    let unless_rounded = |difference: f64| {
        if difference.abs() < ROUNDING {
            0.0
        } else {
            difference
        }
    };
    let found = COMPARED.into_iter().filter_map(|quantity| {
        let pairs = base.wordings.iter().zip(&later.wordings);
        let differences: Vec<f64> = pairs
            .filter_map(|(a, b)| Some(b.quantities.get(&quantity)? - a.quantities.get(&quantity)?))
            .map(unless_rounded)
            .collect();
        (!differences.is_empty()).then(|| Difference {
            set: base.set.clone(),
            carrier: base.carrier,
            quantity,
            p: sign_flip_test(&differences, settings.seed),
            adjusted: None,
            effect: paired_effect_size(&differences).filter(|d| d.abs() < 1.0 / ROUNDING.sqrt()),
            estimate: estimate(&differences, "wording", settings),
        })
    });
    found.collect()
}

/// Adjusts the tests of a family.
fn adjust(differences: &mut [Difference]) {
    let tested: Vec<f64> = differences.iter().filter_map(|of| of.p).collect();
    let adjusted = benjamini_hochberg(&tested);
    let with_p = differences.iter_mut().filter(|of| of.p.is_some());
    for (difference, adjusted) in with_p.zip(adjusted) {
        difference.adjusted = Some(adjusted);
    }
}
