//! A number with what is known of its error.

use serde::Serialize;

/// How an interval was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Bias-corrected and accelerated bootstrap, resampled or at its limit.
    Bca,
    /// Symmetric bootstrap-t over clusters.
    BootstrapT,
    /// Normal, of a mean that is partially pooled with those of other groups.
    Pooled,
    /// Percentiles of a bootstrap.
    Percentile,
    /// Student's t, of a mean over units that were drawn each by itself.
    Student,
    /// Newcombe's hybrid of score intervals, for differences of two shares.
    Newcombe,
    /// As somebody else published it.
    Published,
}

/// The ends of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Its level, for example 0.95.
    pub level: f64,
    /// How it was made.
    pub method: Method,
}

/// A number, its interval, and what both are of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value; not a number where there is nothing to measure.
    pub value: f64,
    /// Its interval, where it has one.
    pub interval: Option<Interval>,
    /// How many units it was made from; 0 where that is unknown.
    pub n: usize,
    /// The unit that was drawn, and that is resampled: `answer`, `topic`, `wording`.
    pub unit: &'static str,
}

impl Estimate {
    /// A number without an interval.
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            interval: None,
            n: 0,
            unit: "",
        }
    }

    /// A number with the ends of its 95 % interval.
    pub fn with_ends(value: f64, [low, high]: [f64; 2], method: Method) -> Self {
        let level = 0.95;
        let interval = Interval {
            low,
            high,
            level,
            method,
        };
        Self {
            // Ends that are no numbers are none.
            interval: (low.is_finite() && high.is_finite()).then_some(interval),
            ..Self::exact(value)
        }
    }

    /// Of so many units.
    #[must_use]
    pub fn of(mut self, n: usize, unit: &'static str) -> Self {
        self.n = n;
        self.unit = unit;
        self
    }

    /// The ends of its interval; the value itself where there is none.
    pub fn ends(&self) -> [f64; 2] {
        self.interval
            .map_or([self.value; 2], |interval| [interval.low, interval.high])
    }

    /// Whether there was something to measure.
    pub fn is_measured(&self) -> bool {
        self.value.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_without_an_interval_ends_where_it_is() {
        let bits = |found: &Estimate| found.ends().map(f64::to_bits);
        assert_eq!(
            bits(&Estimate::exact(0.25)),
            [0.25f64, 0.25].map(f64::to_bits)
        );
        let found = Estimate::with_ends(0.25, [0.2, 0.3], Method::Bca).of(7, "topic");
        assert_eq!(bits(&found), [0.2f64, 0.3].map(f64::to_bits));
        assert_eq!((found.n, found.unit), (7, "topic"));
        assert!(!Estimate::exact(f64::NAN).is_measured());
    }
}
