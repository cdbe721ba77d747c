//! Where declining is allowed, against where it is not.

use super::answers::Abstaining;
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
    /// Mean probability of declining, by file.
    pub declined_by_file: BTreeMap<String, f64>,
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
    Ok(AbstentionFindings {
        questions: all.len(),
        declined: mean(&all),
        label_mass: answers.label_mass,
        mostly_declined: mostly as f64 / all.len().max(1) as f64,
        allowed: by_grouping(&answers.allowed, set, context)?,
        not_allowed: by_grouping(&answers.not_allowed, set, context)?,
        declined_by_file: answers
            .allowed
            .iter()
            .map(|(file, rows)| (file.clone(), mean(&declined(rows))))
            .collect(),
    })
}
