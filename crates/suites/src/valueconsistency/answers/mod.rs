//! From readings to one answer distribution a question.
//!
//! One way of reading a file: `letters.rs`, `texts.rs`, `declining.rs`, and beside this folder `open.rs` for passages and
//! `portraits.rs`. What they share, a walk over the questions in the orders in which they were asked, is `source.rs`.

mod declining;
mod given;
mod letters;
mod source;
mod texts;

pub(crate) use crate::shared::reading;
pub use given::from_given;
pub use source::layout;
pub(crate) use source::{Source, with_neutral};

use super::open::{OpenAnswers, open_answers};
use super::plan::{Abstention, Format, Options};
use super::portraits::{PortraitAnswers, portrait_answers};
use super::robustness::{Robustness, RowTrust};
use crate::{ReadingError, Readings};
use concord_questions::{Chosen, Question, QuestionSet};
use concord_stats::Distribution;
use std::collections::BTreeMap;

/// Distributions over the set's stances, by file name, in file order; `None` where there is no answer.
pub type AnswerTable = BTreeMap<String, Vec<Option<Distribution>>>;

/// Why answers do not fit the questions.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// Readings are not those that were asked for.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// Answers are given for a file that is not among the questions.
    #[error("answers are given for `{file}`, which is not among the question files ({known})")]
    UnknownFile {
        /// The file.
        file: String,
        /// The files there are.
        known: String,
    },
    /// A file has more or fewer answers than questions.
    #[error("`{file}` has {answers} answers for {questions} questions")]
    WrongCount {
        /// The file.
        file: String,
        /// How many answers.
        answers: usize,
        /// How many questions.
        questions: usize,
    },
    /// A given answer is no probability.
    #[error("answer {row} of `{file}` is {value}, which is not a probability")]
    NotAProbability {
        /// The file.
        file: String,
        /// The row, from 0.
        row: usize,
        /// The value.
        value: f64,
    },
}

/// What the answers of a checkpoint are, by format and way of reading.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// From letters, both orders averaged.
    pub letter: Option<AnswerTable>,
    /// From letters, in each order of the options. Only where both were asked.
    pub letter_by_order: Option<Box<[AnswerTable; 2]>>,
    /// From letters, by the geometric mean of the orders: what a letter gains by its place falls out where there are two options,
    /// and what the first and the last gain where there are more.
    pub debiased: Option<AnswerTable>,
    /// From letters as far as they are among the five most probable tokens, as the study's code reads them.
    pub top_five: Option<AnswerTable>,
    /// From the likelihood of the answer texts: the sum over tokens, a probability like any other.
    pub cloze: Option<AnswerTable>,
    /// The same in each order of the options. Only where both were asked.
    pub cloze_by_order: Option<Box<[AnswerTable; 2]>>,
    /// The same from the mean over tokens.
    pub cloze_per_token: Option<AnswerTable>,
    /// The same from the mean over bytes.
    pub cloze_per_byte: Option<AnswerTable>,
    /// From letters with an option that declines, and without it in the same orders.
    pub abstaining: Option<Abstaining>,
    /// From written passages, by rater.
    pub open: Option<OpenAnswers>,
    /// Of the portraits.
    pub portraits: Vec<PortraitAnswers>,
    /// How far letters can be trusted, by question.
    pub trust_by_row: BTreeMap<String, Vec<Option<RowTrust>>>,
    /// How far letters can be trusted.
    pub robustness: Option<Robustness>,
}

/// Answers where declining is allowed, and where it is not.
#[derive(Clone, Debug, Default)]
pub struct Abstaining {
    /// Over the set's stances and neutral.
    pub allowed: AnswerTable,
    /// Over the set's stances, in the same orders.
    pub not_allowed: AnswerTable,
    /// Mean probability of all spellings of all letters where declining is allowed.
    pub label_mass: f64,
}

impl Answers {
    /// Keeps the answers to chosen questions, as [`QuestionSet::keep`] keeps the questions.
    pub fn keep(&mut self, set: &QuestionSet, chosen: &Chosen) {
        for table in self.tables() {
            keep_rows(table, chosen);
        }
        keep_rows(&mut self.trust_by_row, chosen);
        let known = |language: &String| set.pvq.iter().any(|file| file.language == *language);
        self.portraits
            .retain(|portraits| known(&portraits.language));
    }

    /// Puts the answers to each file's questions in the order of another set with the same questions.
    pub fn arrange(&mut self, set: &QuestionSet, like: &QuestionSet) {
        for file in &set.files {
            let Some(other) = like.files.iter().find(|other| other.name == file.name) else {
                continue;
            };
            let same =
                |a: &Question, b: &Question| a.question == b.question && a.options == b.options;
            let place =
                |question: &Question| file.questions.iter().position(|own| same(own, question));
            let order: Option<Vec<usize>> = other.questions.iter().map(place).collect();
            // As it is, where nothing would move or fall out.
            let same = |order: &Vec<usize>| order.iter().copied().eq(0..file.questions.len());
            let Some(order) = order.filter(|order| !same(order)) else {
                continue;
            };
            for table in self.tables() {
                arrange_rows(table.get_mut(&file.name), &order);
            }
            arrange_rows(self.trust_by_row.get_mut(&file.name), &order);
        }
    }

    /// The answers that measures within one format are of: letters, else texts, else passages.
    pub fn main(&self) -> Option<&AnswerTable> {
        let open = || self.open.as_ref().and_then(OpenAnswers::main_stances);
        self.letter.as_ref().or(self.cloze.as_ref()).or_else(open)
    }

    /// Keeps the answers that come from these formats.
    pub fn only(&mut self, formats: &[Format]) {
        if !formats.contains(&Format::Letter) {
            self.letter = None;
            self.letter_by_order = None;
            self.debiased = None;
            self.top_five = None;
            self.abstaining = None;
            self.robustness = None;
            self.trust_by_row.clear();
            self.portraits.clear();
        }
        if !formats.contains(&Format::Cloze) {
            self.cloze = None;
            self.cloze_by_order = None;
            self.cloze_per_token = None;
            self.cloze_per_byte = None;
        }
        if !formats.contains(&Format::Open) {
            self.open = None;
        }
    }

    /// Every table of answers.
    fn tables(&mut self) -> impl Iterator<Item = &mut AnswerTable> {
        let tables = [
            &mut self.letter,
            &mut self.debiased,
            &mut self.top_five,
            &mut self.cloze,
            &mut self.cloze_per_token,
            &mut self.cloze_per_byte,
        ];
        let abstaining = self.abstaining.iter_mut();
        let abstaining = abstaining.flat_map(|both| [&mut both.allowed, &mut both.not_allowed]);
        let raters = self
            .open
            .iter_mut()
            .flat_map(|open| open.raters.values_mut());
        let raters =
            raters.flat_map(|rater| std::iter::once(&mut rater.table).chain(&mut rater.allowed));
        let by_order = [&mut self.letter_by_order, &mut self.cloze_by_order];
        let by_order = by_order.into_iter().flatten();
        tables
            .into_iter()
            .flatten()
            .chain(by_order.flat_map(|orders| orders.iter_mut()))
            .chain(abstaining)
            .chain(raters)
    }
}

fn arrange_rows<T: Clone>(rows: Option<&mut Vec<T>>, order: &[usize]) {
    if let Some(rows) = rows {
        *rows = order
            .iter()
            .filter_map(|row| rows.get(*row).cloned())
            .collect();
    }
}

fn keep_rows<T>(table: &mut BTreeMap<String, Vec<T>>, chosen: &Chosen) {
    for (file, rows) in table.iter_mut() {
        chosen.retain(file, rows);
    }
    table.retain(|_, rows| !rows.is_empty());
}

/// Makes answers of readings, of the chosen questions alone: the others have no answer.
///
/// # Errors
/// [`AnswersError::Reading`].
pub fn from_readings(
    set: &QuestionSet,
    options: &Options,
    readings: &Readings,
    chosen: &Chosen,
) -> Result<Answers, AnswersError> {
    let layout = layout(set, chosen);
    let source = Source {
        set,
        options,
        readings,
        chosen,
        layout: &layout,
    };
    let mut answers = Answers {
        open: open_answers(source)?,
        portraits: portrait_answers(set, options, source.at_once())?,
        ..Answers::default()
    };
    if options.has(Format::Letter) {
        letters::read(source, &mut answers)?;
        if options.abstention != Abstention::Off {
            answers.abstaining = Some(declining::read(source)?);
        }
    }
    if options.has(Format::Cloze) {
        texts::read(source, &mut answers)?;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{SyntheticCheckpoint, readings};
    use super::*;
    use crate::valueconsistency::name;
    use crate::valueconsistency::plan::Orders;
    use concord_questions::Stance;

    fn options() -> Options {
        Options {
            formats: vec![Format::Letter, Format::Cloze],
            ..Options::letters()
        }
    }

    #[test]
    fn a_bias_to_a_letter_averages_out_and_shows_as_prior_and_flips() {
        let set = concord_questions::demo().unwrap();
        let made_up = SyntheticCheckpoint {
            letter: |shown, _| if shown == 0 { 0.9 } else { 0.1 },
            text: |question, option| {
                if question.options[option].1 == question.options[0].1 {
                    0.8
                } else {
                    0.2
                }
            },
            ..SyntheticCheckpoint::default()
        };
        let answers = from_readings(
            &set,
            &options(),
            &readings(&set, &options(), &made_up),
            &Chosen::all(),
        )
        .unwrap();
        for table in [answers.letter.unwrap(), answers.debiased.unwrap()] {
            for answer in table.values().flatten().flatten() {
                assert!((answer.probabilities()[0] - 0.5).abs() < 1e-12);
            }
        }
        let trust = answers.robustness.unwrap();
        assert!((trust.letter_prior.unwrap() - 0.9).abs() < 1e-12);
        assert!((trust.flip_rate.unwrap() - 1.0).abs() < 1e-12);
        // "Yes" supports or opposes by question, and the texts say "yes".
        for (rows, file) in answers.cloze.unwrap().values().zip(&set.files) {
            for (row, question) in rows.iter().zip(&file.questions) {
                let yes = usize::from(question.options[0].1 == Stance::Supports);
                assert!((row.as_ref().unwrap().probabilities()[yes] - 0.8).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let set = concord_questions::demo().unwrap();
        let mut stored = readings(&set, &options(), &SyntheticCheckpoint::default());
        let id = name::question("controversial_german_world", 7, true);
        stored.rounds.get_mut(name::READINGS).unwrap().remove(&id);
        let error = from_readings(&set, &options(), &stored, &Chosen::all()).unwrap_err();
        assert_eq!(error.to_string(), format!("no reading for prompt `{id}`"));
    }

    #[test]
    fn declining_is_compared_in_the_same_order() {
        let set = concord_questions::demo().unwrap();
        let options = Options {
            abstention: crate::valueconsistency::Abstention::One,
            ..options()
        };
        // Leans to the first letter; declines with one half where it may.
        let made_up = SyntheticCheckpoint {
            letter: |shown, count| match (shown, count) {
                (2, _) => 0.5,
                (0, 3) => 0.4,
                (1, 3) => 0.1,
                (0, _) => 0.8,
                _ => 0.2,
            },
            ..SyntheticCheckpoint::default()
        };
        let answers = from_readings(
            &set,
            &options,
            &readings(&set, &options, &made_up),
            &Chosen::all(),
        )
        .unwrap();
        let found = answers.abstaining.unwrap();
        let (mut first, mut second) = (0, 0);
        for (allowed, not) in found
            .allowed
            .values()
            .flatten()
            .zip(found.not_allowed.values().flatten())
        {
            let (allowed, not) = (allowed.as_ref().unwrap(), not.as_ref().unwrap());
            let (allowed, not) = (allowed.probabilities(), not.probabilities());
            assert!((allowed[0] - 0.5).abs() < 1e-12);
            // The same order: what opposes leans the same way in both.
            assert!(
                (allowed[1] * 2.0 - not[0]).abs() < 1e-12,
                "{allowed:?} {not:?}"
            );
            if not[0] > 0.5 {
                first += 1;
            } else {
                second += 1;
            }
        }
        assert!(first > 150 && second > 150, "{first} {second}");
    }

    #[test]
    fn given_answers_must_fit() {
        let set = concord_questions::demo().unwrap();
        let given = |name: &str, value: f64, count| {
            BTreeMap::from([(name.to_owned(), vec![Some(value); count])])
        };
        let name = "controversial_german_world";
        assert!(from_given(&set, &given(name, 0.3, 60)).is_ok());
        assert!(matches!(
            from_given(&set, &given("x", 0.3, 60)),
            Err(AnswersError::UnknownFile { .. })
        ));
        assert!(matches!(
            from_given(&set, &given(name, 0.3, 59)),
            Err(AnswersError::WrongCount { .. })
        ));
        assert!(matches!(
            from_given(&set, &given(name, 1.3, 60)),
            Err(AnswersError::NotAProbability { .. })
        ));
    }

    #[test]
    fn one_order_has_neither_prior_nor_flips() {
        let set = concord_questions::demo().unwrap();
        let options = Options {
            orders: Orders::Given,
            ..options()
        };
        let answers = from_readings(
            &set,
            &options,
            &readings(&set, &options, &SyntheticCheckpoint::default()),
            &Chosen::all(),
        )
        .unwrap();
        let trust = answers.robustness.unwrap();
        assert_eq!(
            (trust.letter_prior, trust.flip_rate, trust.prompts),
            (None, None, 480)
        );
    }
}
