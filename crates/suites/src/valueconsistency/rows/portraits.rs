//! A row for each answer to a portrait.

use super::Rows;
use super::asked::Asked;
use crate::CheckpointReadings;
use crate::shared::letters::{letters, next_token};
use crate::valueconsistency::answers::{AnswersError, reading};
use crate::valueconsistency::data::Data;
use crate::valueconsistency::name;
use crate::valueconsistency::plan::{Options, static_value};
use crate::valueconsistency::shown::PresentedOptions;
use concord_findings::{Column, TableSpec};
use concord_questions::Stance;
use std::sync::Arc;

/// What the table is.
pub(in super::super) const PORTRAITS: TableSpec = TableSpec {
    name: "portrait_answers",
    about: "a row an answer to a portrait: a checkpoint, a portrait, the value to answer by and the order of the options",
    columns: &[
        Column::string("checkpoint", "the checkpoint, as the run calls it"),
        Column::string("file", "the file of the portrait"),
        Column::integer("row", "its row in the run's file, from 0"),
        Column::string("language", "the language asked in"),
        Column::string("value", "the value that the portrait shows"),
        Column::string(
            "prompted_value",
            "the value to answer by; `Static` is no value in particular, missing where it was asked without one",
        ),
        Column::string(
            "order",
            "whether the options were shown as `given` in the file or `reversed`",
        ),
        Column::float(
            "p_like_me",
            "the probability of the options that say \"like me\", renormalised over all options",
        ),
        Column::float("mass", "the probability of all spellings of all letters"),
        Column::boolean(
            "top_is_letter",
            "whether the most probable token spells a letter",
        ),
        Column::float(
            "entropy",
            "the entropy of the whole next-token distribution, nats",
        ),
        Column::string("prompt_id", "the prompt, as the run's journals call it"),
        Column::string(
            "portrait",
            "the description of the person, with its instructions",
        ),
    ],
};

/// The answers of a checkpoint, in the order of the portraits; where questions were chosen, those in their languages.
pub(super) fn of(
    asked: &[Asked<'_>],
    data: &Data,
    options: &Options,
    read: &CheckpointReadings,
) -> Result<Rows, AnswersError> {
    let mut rows = Rows::new();
    let Some(at_once) = read
        .readings
        .round(name::READINGS)
        .filter(|_| options.steering)
    else {
        return Ok(rows);
    };
    let checkpoint: Arc<str> = read.name.as_str().into();
    let is_chosen = |language: &String| {
        let mut asked = asked.iter();
        data.chosen.is_none() || asked.any(|asked| asked.file.origin.language == *language)
    };
    let files = data.set.pvq.iter();
    for file in files.filter(|file| is_chosen(&file.language)) {
        let (name, language): (Arc<str>, Arc<str>) =
            (file.name.as_str().into(), file.language.as_str().into());
        let no_value = static_value(file);
        for (row, item) in file.items.iter().enumerate() {
            let portrait: Arc<str> = item.question.as_str().into();
            let values = item.values.iter().chain(&no_value);
            for value in std::iter::once(None).chain(values.map(Some)) {
                let value = value.map(|value| value.text_english.as_str());
                for reversed in options.orders_of(&file.name, &item.question) {
                    let id = name::portrait(&file.name, row, value, reversed);
                    let next = next_token(reading(at_once, &id)?, &id)?;
                    let found = letters(next, &id, item.options.len())?;
                    let shown = PresentedOptions {
                        options: &item.options,
                        reversed,
                        layout: &[],
                    };
                    let like_me = found.probabilities().iter().enumerate();
                    let like_me =
                        like_me.filter(|(place, _)| shown.stance(*place) == Stance::Supports);
                    let like_me: f64 = like_me.map(|(_, p)| p).sum();
                    rows.push(vec![
                        checkpoint.clone().into(),
                        name.clone().into(),
                        row.into(),
                        language.clone().into(),
                        item.schwartz_value.as_str().into(),
                        value.into(),
                        if reversed { "reversed" } else { "given" }.into(),
                        like_me.into(),
                        next.label_mass.get().into(),
                        next.top_is_label.into(),
                        next.entropy.get().into(),
                        id.into(),
                        portrait.clone().into(),
                    ]);
                }
            }
        }
    }
    Ok(rows)
}
