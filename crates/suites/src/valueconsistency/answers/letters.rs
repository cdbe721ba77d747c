//! From letters, exact and as the study's code reads them.

use super::source::{Row, Source, average, both_orders, column};
use super::{Answers, AnswersError, reading};
use crate::shared::letters::{letters, next_token};
use crate::valueconsistency::name;
use crate::valueconsistency::robustness::{OrderTrust, RobustnessStats, RowTrust};
use crate::valueconsistency::shown::truncated_letters;
use concord_stats::Distribution;

/// One question, read by letter.
struct LetterRow {
    averaged: Option<Distribution>,
    by_order: Vec<Option<Distribution>>,
    debiased: Option<Distribution>,
    top_five: Option<Distribution>,
    trust: Option<RowTrust>,
}

/// Reads letters, and how far they can be trusted.
pub(super) fn read(source: Source<'_>, answers: &mut Answers) -> Result<(), AnswersError> {
    let mut stats = RobustnessStats::default();
    let rows = source.each(|row| of_row(source, row, &mut stats))?;
    let letter = column(&rows, |row| row.averaged.as_ref());
    stats.add_sampled(source, &letter)?;
    answers.debiased = Some(column(&rows, |row| row.debiased.as_ref()));
    answers.top_five = Some(column(&rows, |row| row.top_five.as_ref()));
    answers.robustness = Some(stats.summary());
    answers.letter = Some(letter);
    answers.letter_by_order = both_orders(source, &rows, |row| &row.by_order);
    let trust = rows.into_iter().map(|(file, rows)| {
        let trust = rows.into_iter().map(|row| row.trust);
        (file, trust.collect())
    });
    answers.trust_by_row = trust.collect();
    Ok(())
}

fn of_row(
    source: Source<'_>,
    row: Row<'_>,
    stats: &mut RobustnessStats,
) -> Result<LetterRow, AnswersError> {
    let count = row.question.options.len();
    let (mut exact, mut truncated, mut by_option) = (Vec::new(), Vec::new(), Vec::new());
    let mut trust = Vec::new();
    for reversed in row.orders(|file, text| source.options.orders_of(file, text)) {
        let id = name::question(&row.file.name, row.number, reversed);
        let reading = reading(source.at_once(), &id)?;
        let next = next_token(reading, &id)?;
        let letters = letters(next, &id, count)?;
        let shown = source.presented(row.question, reversed);
        stats.add(reading, next, &letters);
        trust.push(OrderTrust {
            label_mass: next.label_mass.get(),
            favourite: letters.mode().and_then(|at| shown.option(at)),
            first: letters.probabilities()[0],
        });
        by_option.push(shown.in_file_order(&letters));
        exact.push(shown.stances(&letters));
        let five = truncated_letters(next);
        truncated.extend(five.and_then(|letters| shown.stances(&letters)));
    }
    let in_file_order = source.presented(row.question, false);
    let debiased = Distribution::geometric_mean(&by_option).ok();
    Ok(LetterRow {
        averaged: average(&exact),
        by_order: exact,
        debiased: debiased.and_then(|options| in_file_order.stances(&options)),
        top_five: Distribution::average(&truncated).ok(),
        trust: stats.add_row(&trust, count),
    })
}
