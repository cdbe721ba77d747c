//! From the letters of options to a distribution over them, every spelling counted.

use super::ReadingError;
use concord_questions::option_letter;
use concord_readings::{NextToken, Reading};
use concord_stats::Distribution;

/// The next-token answer of a reading.
pub(crate) fn next_token<'a>(
    reading: &'a Reading,
    id: &str,
) -> Result<&'a NextToken, ReadingError> {
    reading
        .next_token()
        .ok_or_else(|| ReadingError::Incomplete {
            id: id.to_owned(),
            what: "letters",
        })
}

/// The distribution over letters, renormalised over all spellings: the first letters of the alphabet, as many as there were options, in
/// their order.
pub(crate) fn letters(
    next: &NextToken,
    id: &str,
    options: usize,
) -> Result<Distribution, ReadingError> {
    let are_asked = next.labels.len() == options
        && next
            .labels
            .iter()
            .enumerate()
            .all(|(place, label)| label.label.chars().eq([option_letter(place)]));
    if !are_asked {
        let found: Vec<&str> = next
            .labels
            .iter()
            .map(|label| label.label.as_str())
            .take(27)
            .collect();
        return Err(ReadingError::OtherLabels {
            id: id.to_owned(),
            found: found.join(", "),
            options,
        });
    }
    let scores: Vec<f64> = next
        .labels
        .iter()
        .map(|label| label.log_prob.get())
        .collect();
    Distribution::from_log_weights(&scores).map_err(|_| ReadingError::Incomplete {
        id: id.to_owned(),
        what: "letters",
    })
}
