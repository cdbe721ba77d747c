//! A row for each text that a checkpoint wrote.

use super::Rows;
use super::asked::Asked;
use crate::CheckpointReadings;
use crate::valueconsistency::name;
use crate::valueconsistency::plan::{Format, Options};
use concord_findings::{Cell, Column, TableSpec};
use concord_questions::Stance;
use concord_readings::{Finish, Reading};
use std::sync::Arc;

/// What the table is.
pub(in super::super) const TEXTS: TableSpec = TableSpec {
    name: "texts",
    about: "a row a text that a checkpoint wrote",
    columns: &[
        Column::string("checkpoint", "the checkpoint, as the run calls it"),
        Column::string("question_id", "the question, as in `answers`"),
        Column::string("file", "the file of the question"),
        Column::integer("row", "its row in the run's file, from 0"),
        Column::string("language", "the language asked in"),
        Column::string(
            "kind",
            "`answer` in its own words, `passage` on the question, or `argued`: a passage for an option, by which raters are tested",
        ),
        Column::integer(
            "option",
            "the option that it was to argue for, from 1 in file order",
        ),
        Column::string(
            "option_stance",
            "the stance of that option: `supports`, `opposes` or `neutral`",
        ),
        Column::string("text", "what was written"),
        Column::integer(
            "tokens",
            "how many tokens were written, what ended the text among them",
        ),
        Column::float("log_prob", "the log-probability of the tokens, nats"),
        Column::string(
            "finish",
            "why it ends: `end_of_text`, `stop_text`, `length` or `repetition`",
        ),
        Column::string("prompt_id", "the prompt, as the run's journals call it"),
    ],
};

/// The texts of a checkpoint, in the order of the questions.
pub(super) fn of(asked: &[Asked<'_>], options: &Options, read: &CheckpointReadings) -> Rows {
    let mut rows = Rows::new();
    let Some(texts) = read.readings.round(name::TEXTS) else {
        return rows;
    };
    let checkpoint: Arc<str> = read.name.as_str().into();
    for asked in asked {
        let (file, row) = (&asked.file.name, asked.row);
        let mut push = |kind: &str, id: &str, option: Option<usize>| {
            let Some(written) = texts.get(id).and_then(Reading::generation) else {
                return;
            };
            let [file, language, _] = asked.origin.clone();
            let stance = option.map(|option| match asked.question.options[option].1 {
                Stance::Neutral => "neutral",
                Stance::Opposes => "opposes",
                Stance::Supports => "supports",
            });
            let log_prob: f64 = written.log_probs.iter().map(|token| token.get()).sum();
            let finish = match written.finish {
                Finish::EndOfText => "end_of_text",
                Finish::StopText => "stop_text",
                Finish::Length => "length",
                Finish::Repetition => "repetition",
            };
            rows.push(vec![
                checkpoint.clone().into(),
                asked.id.clone().into(),
                file,
                row.into(),
                language,
                kind.into(),
                option.map(|option| option + 1).into(),
                stance.into(),
                written.text.as_str().into(),
                written.tokens.len().into(),
                Cell::from(log_prob),
                finish.into(),
                id.into(),
            ]);
        };
        if options.has(Format::Letter) {
            push("answer", &name::answer_text(file, row), None);
        }
        if options.has(Format::Open) {
            push("passage", &name::passage(file, row), None);
            for option in 0..asked.options.len() {
                push("argued", &name::argued(file, row, option), Some(option));
            }
        }
    }
    rows
}
