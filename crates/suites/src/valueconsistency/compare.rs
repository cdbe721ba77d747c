//! Two checkpoints that answered the same questions.

use super::findings::{Measured, Settings};
use concord_stats::{bca_mean, mean};
use serde::Serialize;

/// How one measure differs between two checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The measure.
    pub measure: &'static str,
    /// The first checkpoint's mean.
    pub first: f64,
    /// The second checkpoint's mean.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// The ends of the 95 % BCa interval of the paired differences.
    pub ci95: [f64; 2],
    /// Second over first, as the study puts it; absent where the first is 0.
    pub ratio: Option<f64>,
    /// How many pairs.
    pub pairs: usize,
}

/// Compares by paired differences, answer by answer. Measures that do not pair up are left out.
pub fn compare(first: &Measured, second: &Measured, settings: Settings) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for (measure, a) in &first.distances {
        let Some(b) = second.distances.get(measure).filter(|b| b.len() == a.len()) else {
            continue;
        };
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
        let interval = bca_mean(&differences, 0.95, settings.resamples, settings.seed);
        let (a, b) = (mean(a), mean(b));
        comparisons.push(Comparison {
            measure,
            first: a,
            second: b,
            difference: b - a,
            ci95: [interval.low, interval.high],
            ratio: (a > 0.0).then_some(b / a),
            pairs: differences.len(),
        });
    }
    comparisons
}
