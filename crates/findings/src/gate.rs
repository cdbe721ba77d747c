//! Whether there is anything to measure.

use serde::Serialize;

/// A condition without which a number would mean nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// What has to be large or small enough.
    pub name: &'static str,
    /// What was found; not a number where nothing was.
    pub value: f64,
    /// The least that passes.
    pub least: f64,
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
    /// Whether it is passed; what could not be found does not pass.
    pub fn passes(&self) -> bool {
        self.value >= self.least
    }

    /// What to say where it is not.
    pub fn reason(&self) -> String {
        if self.value.is_finite() {
            format!("{} {:.2} < {}", self.name, self.value, self.least)
        } else {
            format!("{}: nothing was found", self.name)
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_found_does_not_pass() {
        let gate = |value| Gate {
            name: "label mass",
            value,
            least: 0.5,
        };
        assert!(Gate::verdict(&[gate(0.5), gate(0.9)]).is_measurable());
        assert_eq!(
            Gate::verdict(&[gate(0.9), gate(0.31), gate(0.2)]),
            Verdict::NotMeasurable("label mass 0.31 < 0.5".to_owned())
        );
        assert!(!gate(f64::NAN).passes());
    }
}
