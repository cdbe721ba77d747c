//! Readings by the names of their prompts.

use crate::{ById, SuiteError};
use concord_readings::Reading;

/// Why a reading is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// A prompt has no reading.
    #[error("no reading for prompt `{id}`")]
    NoReading {
        /// The prompt.
        id: String,
    },
    /// A reading lacks what the study asks for.
    #[error("the reading of prompt `{id}` has no {what}")]
    Incomplete {
        /// The prompt.
        id: String,
        /// What it lacks.
        what: &'static str,
    },
    /// A reading is of other letters than those that were shown.
    #[error(
        "the reading of prompt `{id}` is of the labels {found}, where {options} options were shown"
    )]
    OtherLabels {
        /// The prompt.
        id: String,
        /// The labels.
        found: String,
        /// How many options were shown.
        options: usize,
    },
}

impl From<ReadingError> for SuiteError {
    fn from(error: ReadingError) -> Self {
        Self::readings(error.to_string())
    }
}

/// A prompt's reading.
pub(crate) fn reading<'a>(readings: &'a ById, id: &str) -> Result<&'a Reading, ReadingError> {
    let missing = || ReadingError::NoReading { id: id.to_owned() };
    readings.get(id).ok_or_else(missing)
}

/// The log-probability of a text after a prompt, where it was read.
pub(crate) fn continuation(reading: &Reading, text: &str) -> Option<f64> {
    let mut found = reading.continuations();
    let found = found.find(|found| found.text == text);
    found.map(|found| found.log_prob.get())
}
