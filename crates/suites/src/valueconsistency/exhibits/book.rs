//! Every answer, to be looked up.

use crate::valueconsistency::answers::AnswerTable;
use crate::valueconsistency::plan::Place;
use crate::valueconsistency::{Answers, RunFindings};
use concord_findings::{AnswerBook, BookKind, BookQuestion, BookReadings, Topics};
use concord_questions::{QuestionSet, Stance};
use std::collections::HashMap;

/// The answers of a run whose topics are these.
pub(super) fn book(found: &RunFindings, topics: &Topics) -> AnswerBook {
    let (places, questions) = questions(&found.set, topics);
    let mut readings = Vec::new();
    for (checkpoint, answers) in found.answers.iter().enumerate() {
        for (kind, values) in of_checkpoint(&found.set, answers, &places) {
            if values.iter().any(|value| value.is_finite()) {
                readings.push(BookReadings {
                    checkpoint,
                    kind,
                    values,
                });
            }
        }
    }
    AnswerBook {
        checkpoints: found.names.clone(),
        questions,
        readings,
        passages: Vec::new(),
    }
}

/// The questions in the order of topics, with the place of each.
fn questions(set: &QuestionSet, topics: &Topics) -> (Vec<Place>, Vec<BookQuestion>) {
    let facets = |row: &concord_findings::Topic| [row.name.clone(), row.facets.join("/")];
    let numbers: HashMap<[String; 2], usize> = topics
        .rows
        .iter()
        .enumerate()
        .map(|(at, row)| (facets(row), at))
        .collect();
    let mut placed: Vec<(usize, Place)> = Vec::new();
    for (number, file) in set.files.iter().enumerate() {
        let names = file.topic_names();
        let origin = &file.origin;
        let of_file = format!(
            "{}/{}/{}",
            origin.language,
            origin.country,
            origin.controversy()
        );
        for (row, question) in file.questions.iter().enumerate() {
            let key = [names[question.topic.as_str()].to_owned(), of_file.clone()];
            if let Some(topic) = numbers.get(&key) {
                placed.push((*topic, (number, row)));
            }
        }
    }
    placed.sort_unstable();
    let mut originals: HashMap<(usize, &str), usize> = HashMap::new();
    for (at, (_, (file, row))) in placed.iter().enumerate() {
        let question = &set.files[*file].questions[*row];
        if !question.rephrase {
            originals.entry((*file, &question.original)).or_insert(at);
        }
    }
    let mut translations: HashMap<(&str, &str), usize> = HashMap::new();
    let questions = placed.iter().enumerate().map(|(at, (topic, (file, row)))| {
        let file_of = &set.files[*file];
        let question = &file_of.questions[*row];
        let original = *originals.entry((*file, &question.original)).or_insert(at);
        let translation = question
            .original_english
            .as_deref()
            .filter(|_| !question.rephrase)
            .map(|english| {
                let next = translations.len();
                *translations
                    .entry((file_of.origin.country.as_str(), english))
                    .or_insert(next)
            });
        BookQuestion {
            topic: *topic,
            original,
            translation,
            text: question.question.clone(),
            options: question
                .options
                .iter()
                .map(|(text, stance)| (text.clone(), name_of(*stance).to_owned()))
                .collect(),
        }
    });
    let questions = questions.collect();
    (
        placed.into_iter().map(|(_, place)| place).collect(),
        questions,
    )
}

fn of_checkpoint(
    set: &QuestionSet,
    answers: &Answers,
    places: &[Place],
) -> Vec<(BookKind, Vec<f32>)> {
    let support = |table: &AnswerTable| -> Vec<f32> {
        let of_place = |(file, row): &Place| {
            let answer = table
                .get(&set.files[*file].name)
                .and_then(|rows| rows.get(*row)?.as_ref());
            answer
                .and_then(|answer| answer.probabilities().last().copied())
                .map_or(f32::NAN, narrow)
        };
        places.iter().map(of_place).collect()
    };
    let mut out = Vec::new();
    match (&answers.letter_by_order, &answers.letter) {
        (Some(orders), _) => {
            out.push((BookKind::Letters, support(&orders[0])));
            out.push((BookKind::LettersReversed, support(&orders[1])));
        }
        (None, Some(letters)) => out.push((BookKind::Letters, support(letters))),
        (None, None) => {}
    }
    out.extend(
        answers
            .cloze
            .as_ref()
            .map(|texts| (BookKind::Texts, support(texts))),
    );
    let open = answers.open.as_ref().and_then(|open| open.main_stances());
    out.extend(open.map(|table| (BookKind::Passages, support(table))));
    let mass = places.iter().map(|(file, row)| {
        let rows = answers.trust_by_row.get(&set.files[*file].name);
        let trust = rows.and_then(|rows| *rows.get(*row)?);
        trust.map_or(f32::NAN, |trust| narrow(trust.label_mass))
    });
    out.push((BookKind::LabelMass, mass.collect()));
    out
}

#[expect(clippy::cast_possible_truncation, reason = "a page shows two digits")]
fn narrow(p: f64) -> f32 {
    p as f32
}

fn name_of(stance: Stance) -> &'static str {
    match stance {
        Stance::Supports => "supports",
        Stance::Opposes => "opposes",
        Stance::Neutral => "neutral",
    }
}
