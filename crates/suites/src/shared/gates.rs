//! Thresholds that a user may set.

use concord_findings::{Gate, Mark};
use serde::{Deserialize, Serialize};

/// What has to hold for anything to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// The least mean probability of all letters together.
    pub label_mass: f64,
    /// The largest mean share of the labels' probability that a server did not show, so that it is bounds alone.
    pub not_shown: f64,
    /// The largest share of answers that change with the order of the options.
    pub flips: f64,
    /// The least correlation of the answers in both orders.
    pub order_correlation: f64,
    /// The least share of passages of known stance that a rater reads right.
    pub known_sides: f64,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            label_mass: 0.5,
            not_shown: 0.02,
            flips: 0.5,
            order_correlation: 0.1,
            known_sides: 0.7,
        }
    }
}

/// The mark of a gate among others: bad where it is not passed.
pub(crate) fn mark(gates: &[Gate], name: &str) -> Mark {
    let mut failed = gates.iter().filter(|gate| !gate.passes());
    if failed.any(|failed| failed.name == name) {
        Mark::Bad
    } else {
        Mark::Good
    }
}
