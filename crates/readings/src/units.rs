//! Numbers with a unit or a domain, checked when they are made.

use serde::{Deserialize, Serialize};

/// A value outside the domain of its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutOfDomain {
    /// The unit that refused the value.
    pub unit: &'static str,
    /// The value.
    pub value: f64,
}

impl std::fmt::Display for OutOfDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not a {}", self.value, self.unit)
    }
}

impl std::error::Error for OutOfDomain {}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $text:literal, $inside:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Checks the value.
            ///
            /// # Errors
            /// [`OutOfDomain`] where the value is not in the unit's domain.
            pub fn new(value: f64) -> Result<Self, OutOfDomain> {
                let inside: fn(f64) -> bool = $inside;
                if inside(value) { Ok(Self(value)) } else { Err(OutOfDomain { unit: $text, value }) }
            }

            /// The bare number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfDomain;
            fn try_from(value: f64) -> Result<Self, OutOfDomain> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}

/// Rounding may carry a sum of probabilities this far past its bound.
const SLACK: f64 = 1e-4;

unit!(
    /// Information or divergence in natural units; not negative, finite.
    Nats, "finite, non-negative number of nats", |value| value.is_finite() && value >= 0.0
);
unit!(
    /// The natural logarithm of a probability, in nats; finite, at most 0 (up to rounding of an `f32` softmax).
    LogProb, "log-probability", |value| value.is_finite() && value <= SLACK
);
unit!(
    /// A probability; between 0 and 1 (up to rounding of an `f32` softmax).
    Probability, "probability", |value| (0.0..=1.0 + SLACK).contains(&value)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_outside_its_domain_is_refused() {
        assert!(Nats::new(-0.1).is_err());
        assert!(LogProb::new(f64::NEG_INFINITY).is_err());
        assert!(LogProb::new(0.5).is_err());
        assert!(Probability::new(f64::NAN).is_err());
        assert_eq!(Probability::new(0.25).map(Probability::get), Ok(0.25));
        assert_eq!(
            Nats::new(f64::NAN).unwrap_err().unit,
            "finite, non-negative number of nats"
        );
    }
}
