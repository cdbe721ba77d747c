//! What was read, as data: a row for each answer, written text and portrait.
//!
//! Of readings alone: nothing here knows how answers are measured. A row is what one prompt says in one format; what measures take for
//! the answer to a question is the mean over its rows that are `is_main`.

mod answers;
mod asked;
mod portraits;
mod texts;

pub(super) use answers::ANSWERS;
pub(super) use portraits::PORTRAITS;
pub(super) use texts::TEXTS;

use super::answers::AnswersError;
use super::data::Data;
use super::plan::Options;
use crate::CheckpointReadings;
use asked::asked;
use concord_findings::{Cell, LongTable};
use rayon::prelude::*;

/// Rows of a table.
type Rows = Vec<Vec<Cell>>;

/// Everything that was read of every checkpoint.
///
/// # Errors
/// [`AnswersError::Reading`] where a reading is missing or of something else.
pub(super) fn rows(
    data: &Data,
    options: &Options,
    read: &[CheckpointReadings],
) -> Result<Vec<LongTable>, AnswersError> {
    let asked = asked(data);
    let places = asked.iter().map(asked::Asked::places).max().unwrap_or(0);
    let found = read.par_iter().map(|read| {
        Ok([
            answers::of(&asked, places, options, read)?,
            texts::of(&asked, options, read),
            portraits::of(&asked, data, options, read)?,
        ])
    });
    let found = found.collect::<Result<Vec<[Rows; 3]>, AnswersError>>()?;
    let mut tables = [ANSWERS.table_with(places), TEXTS.table(), PORTRAITS.table()];
    for of_checkpoint in found {
        for (table, rows) in tables.iter_mut().zip(of_checkpoint) {
            table.rows.extend(rows);
        }
    }
    let [answers, others @ ..] = tables;
    let others = others.into_iter().filter(|table| !table.rows.is_empty());
    Ok(std::iter::once(answers).chain(others).collect())
}

#[cfg(test)]
mod tests;
