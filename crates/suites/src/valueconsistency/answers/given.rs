//! Answers that were given instead of read.

use super::{AnswerTable, AnswersError, layout};
use concord_questions::{Chosen, QuestionSet, Stance};
use concord_stats::Distribution;
use std::collections::BTreeMap;

/// Takes given probabilities of support as answers; what is left opposes.
///
/// # Errors
/// [`AnswersError`] where files or counts do not fit the questions, or a value is no probability.
pub fn from_given(
    set: &QuestionSet,
    given: &BTreeMap<String, Vec<Option<f64>>>,
) -> Result<AnswerTable, AnswersError> {
    let layout = layout(set, &Chosen::all());
    let weight = |stance: &Stance, p: f64| match stance {
        Stance::Neutral => 0.0,
        Stance::Opposes => 1.0 - p,
        Stance::Supports => p,
    };
    let mut table = AnswerTable::new();
    for (name, values) in given {
        let Some(file) = set.files.iter().find(|file| file.name == *name) else {
            let known: Vec<&str> = set.files.iter().map(|file| file.name.as_str()).collect();
            return Err(AnswersError::UnknownFile {
                file: name.clone(),
                known: known.join(", "),
            });
        };
        if values.len() != file.questions.len() {
            let (answers, questions) = (values.len(), file.questions.len());
            return Err(AnswersError::WrongCount {
                file: name.clone(),
                answers,
                questions,
            });
        }
        let rows = values.iter().enumerate().map(|(row, value)| {
            let Some(p) = *value else { return Ok(None) };
            let weights = layout.iter().map(|stance| weight(stance, p)).collect();
            let answer =
                Distribution::from_weights(weights).map_err(|_| AnswersError::NotAProbability {
                    file: name.clone(),
                    row,
                    value: p,
                });
            answer.map(Some)
        });
        table.insert(name.clone(), rows.collect::<Result<_, _>>()?);
    }
    Ok(table)
}
