//! Means over units, and whether there is enough to show them.

use crate::Settings;
use concord_findings::{Estimate, Gate, Method, Verdict};
use concord_stats::{bca_mean, mean};

/// Below so many units no interval is given: it would be of a width that says nothing, or too narrow.
pub(crate) const LEAST_UNITS: usize = 5;

/// The level of all intervals.
const CONFIDENCE: f64 = 0.95;

/// The mean over units with its interval; not a number over none.
pub(crate) fn estimate(values: &[f64], unit: &'static str, settings: Settings) -> Estimate {
    let value = if values.is_empty() {
        f64::NAN
    } else {
        mean(values)
    };
    if values.len() < LEAST_UNITS {
        return Estimate::exact(value).of(values.len(), unit);
    }
    let interval = bca_mean(values, CONFIDENCE, settings.resamples, settings.seed);
    Estimate::with_ends(value, [interval.low, interval.high], Method::Bca).of(values.len(), unit)
}

/// Whether a mean is at least so large.
pub(crate) fn gate(name: &'static str, found: &Estimate, least: f64) -> Verdict {
    let value = found.value;
    Gate::verdict(&[Gate::at_least(name, value, least)])
}
