//! What answers are made of, and the walk over it.

use super::{AnswerTable, AnswersError};
use crate::valueconsistency::name;
use crate::valueconsistency::plan::{Options, Orders};
use crate::valueconsistency::shown::PresentedOptions;
use crate::{ById, Readings};
use concord_questions::{Chosen, Question, QuestionFile, QuestionSet, Stance};
use concord_stats::Distribution;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The stances that answers to the chosen questions of a set are laid out over: all that their options have, sorted. A stance
/// that one question does not offer has no probability there.
pub fn layout(set: &QuestionSet, chosen: &Chosen) -> Vec<Stance> {
    let questions = set.files.iter().flat_map(|file| {
        let rows = file.questions.iter().enumerate();
        rows.filter(|(row, _)| chosen.has(&file.name, *row))
            .map(|(_, question)| question)
    });
    let mut stances: Vec<Stance> = questions.flat_map(Question::stances).collect();
    stances.sort_unstable();
    stances.dedup();
    stances
}

/// The same with neutral among them.
pub(crate) fn with_neutral(layout: &[Stance]) -> Vec<Stance> {
    let mut layout = layout.to_vec();
    if !layout.contains(&Stance::Neutral) {
        layout.insert(0, Stance::Neutral);
    }
    layout
}

/// What answers are made of.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub set: &'a QuestionSet,
    pub options: &'a Options,
    pub readings: &'a Readings,
    pub chosen: &'a Chosen,
    /// The stances that answers are laid out over.
    pub layout: &'a [Stance],
}

/// A question, and whether it is among the chosen ones.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub file: &'a QuestionFile,
    pub number: usize,
    pub question: &'a Question,
    pub is_chosen: bool,
}

impl Row<'_> {
    /// The orders in which it was asked, of those that `orders` gives; none where it is not chosen.
    pub fn orders(&self, orders: impl FnOnce(&str, &str) -> Vec<bool>) -> Vec<bool> {
        if self.is_chosen {
            orders(&self.file.name, &self.question.question)
        } else {
            Vec::new()
        }
    }
}

impl<'a> Source<'a> {
    /// What was read from logits at once.
    pub fn at_once(self) -> &'a ById {
        self.round(name::READINGS)
    }

    /// What it wrote.
    pub fn texts(self) -> &'a ById {
        self.round(name::TEXTS)
    }

    /// What raters made of that, by rater.
    pub fn stances(self) -> impl Iterator<Item = (&'a String, &'a ById)> {
        self.readings.ratings(name::STANCES).into_iter().flatten()
    }

    fn round(self, name: &str) -> &'a ById {
        static NOTHING: LazyLock<ById> = LazyLock::new(ById::default);
        self.readings.round(name).unwrap_or(&NOTHING)
    }

    /// Something of every question, by file, in file order.
    pub fn each<T>(
        self,
        mut read: impl FnMut(Row<'a>) -> Result<T, AnswersError>,
    ) -> Result<BTreeMap<String, Vec<T>>, AnswersError> {
        let mut table = BTreeMap::new();
        for file in &self.set.files {
            let rows = file.questions.iter().enumerate().map(|(number, question)| {
                read(Row {
                    file,
                    number,
                    question,
                    is_chosen: self.chosen.has(&file.name, number),
                })
            });
            table.insert(file.name.clone(), rows.collect::<Result<_, _>>()?);
        }
        Ok(table)
    }

    /// How the options of a question were shown.
    pub fn presented(self, question: &'a Question, reversed: bool) -> PresentedOptions<'a> {
        PresentedOptions {
            options: &question.options,
            reversed,
            layout: self.layout,
        }
    }
}

/// One answer of every row, as a table.
pub(crate) fn column<T>(
    rows: &BTreeMap<String, Vec<T>>,
    answer: impl Fn(&T) -> Option<&Distribution>,
) -> AnswerTable {
    let columns = rows.iter().map(|(file, rows)| {
        let answers = rows.iter().map(|row| answer(row).cloned());
        (file.clone(), answers.collect())
    });
    columns.collect()
}

/// The answers in each of both orders, where both were asked.
pub(crate) fn both_orders<T>(
    source: Source<'_>,
    rows: &BTreeMap<String, Vec<T>>,
    by_order: impl Fn(&T) -> &[Option<Distribution>],
) -> Option<Box<[AnswerTable; 2]>> {
    (source.options.orders == Orders::Both).then(|| {
        let of = |order: usize| column(rows, |row| by_order(row).get(order)?.as_ref());
        Box::new([of(0), of(1)])
    })
}

/// The average over the orders that have an answer.
pub(crate) fn average(by_order: &[Option<Distribution>]) -> Option<Distribution> {
    let answered: Vec<Distribution> = by_order.iter().flatten().cloned().collect();
    Distribution::average(&answered).ok()
}
