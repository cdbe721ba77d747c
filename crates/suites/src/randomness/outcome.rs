//! What was read after one prompt, as a distribution over what could be chosen.

use crate::{ById, SuiteError};
use concord_readings::Reading;
use concord_stats::Distribution;

/// A distribution over members, and how probable they are together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The probabilities of the members, renormalised.
    pub p: Vec<f64>,
    /// The probability of all members together.
    pub mass: f64,
    /// Spellings that could not be read.
    pub left_out: usize,
}

/// The reading of a prompt.
pub(crate) fn found<'a>(round: Option<&'a ById>, id: &str) -> Result<&'a Reading, SuiteError> {
    let reading = round.and_then(|round| round.get(id));
    reading.ok_or_else(|| SuiteError::readings(format!("nothing was read of `{id}`")))
}

/// The distribution that was read after a prompt over members, each with all of its spellings.
pub(crate) fn outcome(
    round: Option<&ById>,
    id: &str,
    members: &[Vec<String>],
) -> Result<Outcome, SuiteError> {
    let wrong = |problem: &str| SuiteError::readings(format!("`{id}`: {problem}"));
    let strings = found(round, id)?.strings();
    let strings = strings.ok_or_else(|| wrong("no probabilities of texts were read"))?;
    let mut logs = Vec::with_capacity(members.len());
    for member in members {
        let mut of_member = Vec::with_capacity(member.len());
        for spelling in member {
            let text = strings.texts.iter().find(|text| text.text == *spelling);
            let text = text.ok_or_else(|| wrong(&format!("`{spelling}` was not read")))?;
            of_member.push(text.log_prob.get());
        }
        logs.push(log_sum(&of_member));
    }
    let p = Distribution::from_log_weights(&logs).map_err(|error| wrong(&error.to_string()))?;
    Ok(Outcome {
        p: p.probabilities().to_vec(),
        mass: logs.iter().map(|log| log.exp()).sum(),
        left_out: strings.left_out,
    })
}

fn log_sum(logs: &[f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
    largest + sum.ln()
}
