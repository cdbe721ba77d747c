//! What a suite needs to run at all.

use crate::SuiteError;
use concord_readings::Form;
use serde::Serialize;
use std::fmt;

/// What a suite needs of the checkpoints that it is run on. A run that lacks it is refused before weights are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// The fewest checkpoints that can be measured.
    pub checkpoints: usize,
    /// Whether every checkpoint must have a chat form: a chat template that is used.
    pub chat_form: bool,
    /// What else is good to know: what more checkpoints give, what options need. Empty where there is nothing to say.
    pub also: &'static str,
}

impl Needs {
    /// One checkpoint, base or aligned.
    pub const ONE: Self = Self {
        checkpoints: 1,
        chat_form: false,
        also: "",
    };

    /// The same, and what else is good to know.
    #[must_use]
    pub const fn and(self, also: &'static str) -> Self {
        Self { also, ..self }
    }

    /// Refuses too few checkpoints for a suite.
    ///
    /// # Errors
    /// [`SuiteError::Usage`] with how many it needs.
    pub fn enough(&self, suite: &str, count: usize) -> Result<(), SuiteError> {
        if count >= self.checkpoints {
            return Ok(());
        }
        let message = format!(
            "the suite `{suite}` needs {}, and there {}",
            counted(self.checkpoints),
            match count {
                0 => "is none".to_owned(),
                1 => "is one".to_owned(),
                count => format!("are {count}"),
            }
        );
        Err(SuiteError::usage(
            message,
            "name one more with --model for each that is missing",
        ))
    }

    /// Refuses a checkpoint that is spoken to in a form that a suite cannot use.
    ///
    /// # Errors
    /// [`SuiteError::Usage`] naming the checkpoint.
    pub fn spoken_to(&self, suite: &str, checkpoint: &str, form: Form) -> Result<(), SuiteError> {
        if !self.chat_form || form == Form::Chat {
            return Ok(());
        }
        let message = format!(
            "{checkpoint}: the suite `{suite}` needs checkpoints in chat form, and this one is given texts to complete"
        );
        Err(SuiteError::usage(
            message,
            "leave it out, add chat_template.jinja to its folder, or do without --apply-chat-template=never",
        ))
    }
}

fn counted(count: usize) -> String {
    match count {
        1 => "one checkpoint".to_owned(),
        2 => "two checkpoints or more".to_owned(),
        count => format!("{count} checkpoints or more"),
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = if self.chat_form {
            "in chat form"
        } else {
            "base or aligned"
        };
        write!(out, "{}, {form}", counted(self.checkpoints))?;
        if !self.also.is_empty() {
            write!(out, "; {}", self.also)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_said_and_enforced() {
        assert_eq!(Needs::ONE.to_string(), "one checkpoint, base or aligned");
        let chain = Needs {
            checkpoints: 3,
            chat_form: true,
            also: "",
        }
        .and("in order of training");
        assert_eq!(
            chain.to_string(),
            "3 checkpoints or more, in chat form; in order of training"
        );
        let problem = |found: Result<(), SuiteError>| found.unwrap_err().to_string();
        assert_eq!(
            problem(chain.enough("chain", 1)),
            "the suite `chain` needs 3 checkpoints or more, and there is one"
        );
        assert!(problem(chain.enough("chain", 2)).ends_with("and there are 2"));
        assert!(chain.enough("chain", 3).is_ok() && Needs::ONE.enough("one", 1).is_ok());
        assert!(problem(Needs::ONE.enough("one", 0)).ends_with("and there is none"));
        let refused = problem(chain.spoken_to("chain", "base", Form::Completion));
        assert!(refused.starts_with("base: the suite `chain` needs checkpoints in chat form"));
        assert!(chain.spoken_to("chain", "chat", Form::Chat).is_ok());
        assert!(
            Needs::ONE
                .spoken_to("one", "base", Form::Completion)
                .is_ok()
        );
    }
}
