//! Where declining is allowed, against where it is not.

use super::answers::{Abstaining, AnswerTable};
use super::consistency::{ByGrouping, MeasureError, by_grouping};
use super::context::Context;
use concord_questions::QuestionSet;
use concord_stats::{Distribution, mean};
use serde::Serialize;
use std::collections::BTreeMap;

/// Answers where declining is allowed against answers where it is not, in the same orders.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AbstentionFindings {
    /// Questions asked both ways.
    pub questions: usize,
    /// Mean probability of declining (or of another neutral option).
    pub declined: f64,
    /// Share of questions whose most probable answer declines.
    pub mostly_declined: f64,
    /// Mean probability of all spellings of all letters where it is allowed.
    pub label_mass: f64,
    /// Where it is allowed.
    pub allowed: ByGrouping,
    /// Where it is not.
    pub not_allowed: ByGrouping,
    /// How far declining itself moves: of the answers where it is allowed, whether they decline or not.
    pub declining: ByGrouping,
    /// How far what is not declined moves: the same answers given that they do not decline.
    pub among_the_rest: ByGrouping,
    /// Answers that decline with next to certainty, of which nothing is left to be measured.
    pub nothing_but_declining: usize,
    /// Mean probability of declining, by file.
    pub declined_by_file: BTreeMap<String, f64>,
}

/// With less probability than this on everything else, an answer says nothing but that it declines.
const LEAST_REST: f64 = 1e-6;

/// A table of what is made of each answer.
fn each(table: &AnswerTable, make: impl Fn(&[f64]) -> Option<Distribution>) -> AnswerTable {
    let of_row = |row: &Option<Distribution>| make(row.as_ref()?.probabilities());
    let files = table.iter();
    files
        .map(|(file, rows)| (file.clone(), rows.iter().map(of_row).collect()))
        .collect()
}

pub(crate) fn abstaining(
    set: &QuestionSet,
    answers: &Abstaining,
    context: &Context,
) -> Result<AbstentionFindings, MeasureError> {
    let declined = |rows: &[Option<Distribution>]| -> Vec<f64> {
        let answers = rows.iter().flatten();
        answers.map(|answer| answer.probabilities()[0]).collect()
    };
    let all: Vec<f64> = answers
        .allowed
        .values()
        .flat_map(|rows| declined(rows))
        .collect();
    let mostly = answers.allowed.values().flatten().flatten();
    let mostly = mostly.filter(|answer| answer.mode() == Some(0)).count();
    let declines = each(&answers.allowed, |answer| {
        Distribution::binary(1.0 - answer.first()?).ok()
    });
    let rest = each(&answers.allowed, |answer| {
        let rest = answer.get(1..)?;
        let is_told = rest.iter().sum::<f64>() > LEAST_REST;
        is_told.then(|| Distribution::from_weights(rest.to_vec()).ok())?
    });
    Ok(AbstentionFindings {
        questions: all.len(),
        declined: mean(&all),
        label_mass: answers.label_mass,
        mostly_declined: mostly as f64 / all.len().max(1) as f64,
        allowed: by_grouping(&answers.allowed, set, context)?,
        not_allowed: by_grouping(&answers.not_allowed, set, context)?,
        declining: by_grouping(&declines, set, context)?,
        nothing_but_declining: all.len() - rest.values().flatten().flatten().count(),
        among_the_rest: by_grouping(&rest, set, context)?,
        declined_by_file: answers
            .allowed
            .iter()
            .map(|(file, rows)| (file.clone(), mean(&declined(rows))))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use concord_questions::demo;

    /// Declining, opposing and supporting by row.
    fn found(answer: impl Fn(usize) -> [f64; 3]) -> AbstentionFindings {
        let set = demo().unwrap();
        let table = |make: &dyn Fn(usize) -> Vec<f64>| -> AnswerTable {
            let files = set.files.iter().map(|file| {
                let rows =
                    (0..file.questions.len()).map(|row| Distribution::from_weights(make(row)).ok());
                (file.name.clone(), rows.collect())
            });
            files.collect()
        };
        let answers = Abstaining {
            allowed: table(&|row| answer(row).to_vec()),
            not_allowed: table(&|_| vec![0.0, 0.5, 0.5]),
            label_mass: 1.0,
        };
        abstaining(&set, &answers, &Context::new(&set, Settings::default())).unwrap()
    }

    #[test]
    fn declining_and_the_rest_move_apart() {
        let even = |row: usize| row.is_multiple_of(2);
        // It declines always alike, and takes now this side and now that.
        let sides = found(|row| {
            if even(row) {
                [0.5, 0.1, 0.4]
            } else {
                [0.5, 0.4, 0.1]
            }
        });
        assert!(sides.declining.topic.mean.abs() < 1e-9 && sides.among_the_rest.topic.mean > 0.2);
        // It declines now more and now less, and what is left is always alike.
        let more = found(|row| {
            if even(row) {
                [0.9, 0.02, 0.08]
            } else {
                [0.1, 0.18, 0.72]
            }
        });
        assert!(more.among_the_rest.topic.mean.abs() < 1e-9 && more.declining.topic.mean > 0.2);
        assert_eq!(more.nothing_but_declining, 0);
        // Nothing else is left.
        let all = found(|_| [1.0, 0.0, 0.0]);
        assert_eq!(all.nothing_but_declining, all.questions);
        assert!(all.among_the_rest.topic.mean.is_nan());
    }
}
