//! Whether there is anything to measure.

use serde::Serialize;

/// What a value has to be to pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
        }
    }
}

/// A condition without which a number would mean nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// What has to be large or small enough.
    pub name: &'static str,
    /// What was found; not a number where nothing was.
    pub value: f64,
    /// What passes.
    pub bound: Bound,
}

/// Whether a number may be shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every gate was passed.
    Measurable,
    /// One was not, and why.
    NotMeasurable(String),
}

impl Gate {
    /// A gate that so much or more passes.
    pub fn at_least(name: &'static str, value: f64, least: f64) -> Self {
        let bound = Bound::AtLeast(least);
        Self { name, value, bound }
    }

    /// A gate that so much or less passes.
    pub fn at_most(name: &'static str, value: f64, most: f64) -> Self {
        let bound = Bound::AtMost(most);
        Self { name, value, bound }
    }

    /// Whether it is passed; what could not be found does not pass.
    pub fn passes(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.value >= least,
            Bound::AtMost(most) => self.value <= most,
        }
    }

    /// What to say where it is not.
    pub fn reason(&self) -> String {
        if !self.value.is_finite() {
            return format!("{}: nothing was found", self.name);
        }
        let (sign, limit) = match self.bound {
            Bound::AtLeast(least) => ('<', least),
            Bound::AtMost(most) => ('>', most),
        };
        // A value that misses by less than two digits show must not look as if it passed.
        let is_count = limit >= 1.0 && limit.fract() <= 0.0 && self.value.fract() <= 0.0;
        let digits = match (self.value - limit).abs() {
            _ if is_count => 0,
            apart if apart < 0.005 => 4,
            _ => 2,
        };
        format!("{} {:.digits$} {sign} {limit}", self.name, self.value)
    }

    /// The verdict of several gates: the first that is not passed speaks.
    pub fn verdict<'a>(gates: impl IntoIterator<Item = &'a Self>) -> Verdict {
        let mut gates = gates.into_iter();
        match gates.find(|gate| !gate.passes()) {
            Some(gate) => Verdict::NotMeasurable(gate.reason()),
            None => Verdict::Measurable,
        }
    }
}

impl Verdict {
    /// Whether a number may be shown.
    pub fn is_measurable(&self) -> bool {
        *self == Self::Measurable
    }

    /// Why not, where it may not.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Measurable => None,
            Self::NotMeasurable(reason) => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_found_does_not_pass() {
        let gate = |value| Gate::at_least("label mass", value, 0.5);
        assert!(Gate::verdict(&[gate(0.5), gate(0.9)]).is_measurable());
        let verdict = Gate::verdict(&[gate(0.9), gate(0.31), gate(0.2)]);
        assert_eq!(verdict.reason(), Some("label mass 0.31 < 0.5"));
        assert!(!gate(f64::NAN).passes());
        let flips = Gate::at_most("flips with the order", 0.987, 0.5);
        assert_eq!(flips.reason(), "flips with the order 0.99 > 0.5");
        assert!(Gate::at_most("flips", 0.5, 0.5).passes());
        assert!(!Gate::at_most("flips", f64::NAN, 0.5).passes());
        assert_eq!(gate(0.4996).reason(), "label mass 0.4996 < 0.5");
        let families = Gate::at_least("families of requests", 3.0, 5.0);
        assert_eq!(families.reason(), "families of requests 3 < 5");
    }
}
