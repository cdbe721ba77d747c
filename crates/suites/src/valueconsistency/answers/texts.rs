//! From the likelihood of answer texts.

use super::source::{Row, Source, average, both_orders, column};
use super::{Answers, AnswersError, reading};
use crate::ReadingError;
use crate::valueconsistency::name;
use concord_readings::Continuation;
use concord_stats::Distribution;

/// One question, read by answer text: by the sum over tokens and by the means over tokens and bytes.
struct TextRow {
    sum: Option<Distribution>,
    by_order: Vec<Option<Distribution>>,
    per_token: Option<Distribution>,
    per_byte: Option<Distribution>,
}

/// Reads answer texts.
pub(super) fn read(source: Source<'_>, answers: &mut Answers) -> Result<(), AnswersError> {
    let rows = source.each(|row| {
        let by_order = scored(source, row, |text| text.log_prob.get())?;
        Ok(TextRow {
            sum: average(&by_order),
            by_order,
            per_token: average(&scored(source, row, Continuation::per_token)?),
            per_byte: average(&scored(source, row, Continuation::per_byte)?),
        })
    })?;
    answers.cloze = Some(column(&rows, |row| row.sum.as_ref()));
    answers.cloze_by_order = both_orders(source, &rows, |row| &row.by_order);
    answers.cloze_per_token = Some(column(&rows, |row| row.per_token.as_ref()));
    answers.cloze_per_byte = Some(column(&rows, |row| row.per_byte.as_ref()));
    Ok(())
}

/// What texts score, in each order.
fn scored(
    source: Source<'_>,
    row: Row<'_>,
    score: impl Fn(&Continuation) -> f64,
) -> Result<Vec<Option<Distribution>>, AnswersError> {
    let mut by_order = Vec::new();
    for reversed in row.orders(|file, text| source.options.orders_of(file, text)) {
        let id = name::question(&row.file.name, row.number, reversed);
        let scores: Vec<f64> = reading(source.at_once(), &id)?
            .continuations()
            .map(&score)
            .collect();
        let incomplete = |what| ReadingError::Incomplete {
            id: id.clone(),
            what,
        };
        if scores.len() != row.question.options.len() {
            return Err(incomplete("likelihood for each answer text").into());
        }
        let options =
            Distribution::from_log_weights(&scores).map_err(|_| incomplete("finite likelihood"))?;
        let shown = source.presented(row.question, reversed);
        by_order.push(shown.stances(&options));
    }
    Ok(by_order)
}
