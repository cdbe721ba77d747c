//! From readings to one answer distribution a question.

use super::plan::{Format, Options, prompt_id};
use concord_questions::{Question, QuestionSet, Stance};
use concord_readings::Reading;
use concord_stats::{Distribution, mean};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// Distributions over the sorted stances of each question, by file name, in file order; `None` where there is no answer.
pub type AnswerTable = BTreeMap<String, Vec<Option<Distribution>>>;

/// Why answers do not fit the questions.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// A prompt of the study has no reading.
    #[error("no reading for prompt `{id}`")]
    NoReading {
        /// The prompt.
        id: String,
    },
    /// A reading lacks what the study asks for.
    #[error("the reading of prompt `{id}` has no {what}")]
    Incomplete {
        /// The prompt.
        id: String,
        /// What it lacks.
        what: &'static str,
    },
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

/// What is read of a checkpoint, by format.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// From letters.
    pub letter: Option<AnswerTable>,
    /// From the likelihood of the answer texts: the sum over tokens, a probability like any other.
    pub cloze: Option<AnswerTable>,
    /// The same from the mean over tokens.
    pub cloze_per_token: Option<AnswerTable>,
    /// The same from the mean over bytes.
    pub cloze_per_byte: Option<AnswerTable>,
    /// How far the letters can be trusted.
    pub robustness: Option<Robustness>,
}

/// How far letters can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Robustness {
    /// Prompts read.
    pub prompts: usize,
    /// Mean probability of all spellings of all letters.
    pub label_mass: f64,
    /// Share of prompts with a label mass below one half.
    pub low_label_mass: f64,
    /// Share of prompts whose most probable token spells a letter.
    pub first_token_valid: f64,
    /// Mean probability of the first letter against the others, over both orders: 1 over the number of options without
    /// bias. Absent where only one order was asked.
    pub letter_prior: Option<f64>,
    /// Share of questions whose most probable option changes with the order. Absent where only one order was asked.
    pub flip_rate: Option<f64>,
    /// Mean entropy of the whole next-token distribution, in nats.
    pub entropy: f64,
    /// Share of answer texts whose tokens would differ if tokenised together with the prompt. Absent without cloze.
    pub joint_tokens_differ: Option<f64>,
}

/// Averages the orders of every question.
///
/// # Errors
/// [`AnswersError::NoReading`], [`AnswersError::Incomplete`].
pub fn from_readings(
    set: &QuestionSet,
    options: &Options,
    readings: &HashMap<String, Reading, impl BuildHasher>,
) -> Result<Answers, AnswersError> {
    let mut tables: [AnswerTable; 4] = Default::default();
    let mut trust = Trust::default();
    for file in &set.files {
        let mut rows: [Vec<Option<Distribution>>; 4] = Default::default();
        for (row, question) in file.questions.iter().enumerate() {
            let mut by_order: [Vec<Distribution>; 4] = Default::default();
            let mut favourites = Vec::new();
            for reversed in options.orders_of(&file.name, row) {
                let id = prompt_id(&file.name, row, reversed);
                let reading = readings
                    .get(&id)
                    .ok_or_else(|| AnswersError::NoReading { id: id.clone() })?;
                let order = Shown { question, reversed };
                if options.formats.contains(&Format::Letter) {
                    let letters = letters(reading, &id)?;
                    trust.add_letters(reading, &letters);
                    favourites.push(letters.mode().map(|index| order.option(index)));
                    by_order[0].push(order.stances(&letters));
                }
                if options.formats.contains(&Format::Cloze) {
                    let texts: Vec<_> = reading.continuations().collect();
                    if texts.len() != question.options.len() {
                        return Err(AnswersError::Incomplete {
                            id,
                            what: "likelihood for each answer text",
                        });
                    }
                    trust.add_texts(reading);
                    let scores: [Vec<f64>; 3] = [
                        texts.iter().map(|text| text.log_prob.get()).collect(),
                        texts.iter().map(|text| text.per_token()).collect(),
                        texts.iter().map(|text| text.per_byte()).collect(),
                    ];
                    for (scores, by_order) in scores.iter().zip(&mut by_order[1..]) {
                        let options = Distribution::from_log_weights(scores).map_err(|_| {
                            AnswersError::Incomplete {
                                id: id.clone(),
                                what: "finite likelihood",
                            }
                        })?;
                        by_order.push(order.stances(&options));
                    }
                }
            }
            trust.add_order(&favourites);
            for (rows, by_order) in rows.iter_mut().zip(&by_order) {
                rows.push(Distribution::average(by_order).ok());
            }
        }
        for (table, rows) in tables.iter_mut().zip(rows) {
            table.insert(file.name.clone(), rows);
        }
    }
    let [letter, cloze, per_token, per_byte] = tables;
    let letters = options.formats.contains(&Format::Letter);
    let texts = options.formats.contains(&Format::Cloze);
    Ok(Answers {
        letter: letters.then_some(letter),
        cloze: texts.then_some(cloze),
        cloze_per_token: texts.then_some(per_token),
        cloze_per_byte: texts.then_some(per_byte),
        robustness: letters.then(|| trust.summary()),
    })
}

/// Takes given probabilities of support as answers.
///
/// # Errors
/// [`AnswersError`] where files or counts do not fit the questions, or a value is no probability.
pub fn from_given(
    set: &QuestionSet,
    given: &BTreeMap<String, Vec<Option<f64>>>,
) -> Result<AnswerTable, AnswersError> {
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
        let rows =
            values.iter().enumerate().map(|(row, value)| match value {
                Some(value) => Distribution::binary(*value).map(Some).map_err(|_| {
                    AnswersError::NotAProbability {
                        file: name.clone(),
                        row,
                        value: *value,
                    }
                }),
                None => Ok(None),
            });
        table.insert(name.clone(), rows.collect::<Result<_, _>>()?);
    }
    Ok(table)
}

/// The distribution over letters, renormalised over all spellings.
fn letters(reading: &Reading, id: &str) -> Result<Distribution, AnswersError> {
    let incomplete = |what| AnswersError::Incomplete {
        id: id.to_owned(),
        what,
    };
    let next = reading.next_token().ok_or_else(|| incomplete("letters"))?;
    let scores: Vec<f64> = next
        .labels
        .iter()
        .map(|label| label.log_prob.get())
        .collect();
    Distribution::from_log_weights(&scores).map_err(|_| incomplete("letters"))
}

/// A question with its options in the order shown.
struct Shown<'a> {
    question: &'a Question,
    reversed: bool,
}

impl Shown<'_> {
    /// The option, in file order, that stands at a place of the order shown.
    fn option(&self, shown: usize) -> usize {
        if self.reversed {
            self.question.options.len() - 1 - shown
        } else {
            shown
        }
    }

    /// A distribution over options as shown, as one over sorted stances.
    fn stances(&self, shown: &Distribution) -> Distribution {
        let stances: Vec<Stance> = self.question.stances();
        let mut weights = vec![0.0; stances.len()];
        for (place, p) in shown.probabilities().iter().enumerate() {
            let stance = self
                .question
                .options
                .get(self.option(place))
                .map(|(_, stance)| *stance);
            if let Some(at) = stances.iter().position(|known| Some(*known) == stance) {
                weights[at] += p;
            }
        }
        Distribution::from_weights(weights).unwrap_or_else(|_| shown.clone())
    }
}

#[derive(Default)]
struct Trust {
    mass: Vec<f64>,
    valid: Vec<f64>,
    first: Vec<f64>,
    flips: Vec<f64>,
    entropy: Vec<f64>,
    differ: Vec<f64>,
}

fn share(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

impl Trust {
    fn add_letters(&mut self, reading: &Reading, letters: &Distribution) {
        if let Some(next) = reading.next_token() {
            self.mass.push(next.label_mass.get());
            self.valid.push(share(next.top_is_label));
            self.entropy.push(next.entropy.get());
        }
        self.first.push(letters.probabilities()[0]);
    }

    fn add_texts(&mut self, reading: &Reading) {
        self.differ.extend(
            reading
                .continuations()
                .map(|text| share(text.joint_tokens_differ)),
        );
    }

    fn add_order(&mut self, favourites: &[Option<usize>]) {
        if let [Some(given), Some(reversed)] = favourites {
            self.flips.push(share(given != reversed));
        } else if favourites.len() == 2 {
            self.flips.push(0.0);
        }
    }

    fn summary(&self) -> Robustness {
        let both = !self.flips.is_empty();
        Robustness {
            prompts: self.mass.len(),
            label_mass: mean(&self.mass),
            low_label_mass: mean(
                &self
                    .mass
                    .iter()
                    .map(|mass| share(*mass < 0.5))
                    .collect::<Vec<_>>(),
            ),
            first_token_valid: mean(&self.valid),
            letter_prior: both.then(|| mean(&self.first)),
            flip_rate: both.then(|| mean(&self.flips)),
            entropy: mean(&self.entropy),
            joint_tokens_differ: (!self.differ.is_empty()).then(|| mean(&self.differ)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Orders;
    use super::*;
    use concord_readings::{
        Answer, Continuation, LabelReading, LogProb, Nats, NextToken, Probability,
    };

    /// A reader that says `A` with probability `a` whatever is asked, and "yes" with probability `yes`.
    fn readings(set: &QuestionSet, a: f64, yes: f64) -> HashMap<String, Reading> {
        let log = |p: f64| LogProb::new(p.ln()).unwrap();
        let mut readings = HashMap::new();
        for file in &set.files {
            for (row, question) in file.questions.iter().enumerate() {
                for reversed in [false, true] {
                    let label = |name: &str, p| LabelReading {
                        label: name.into(),
                        log_prob: log(p),
                        spellings: vec![],
                    };
                    let next = NextToken {
                        labels: vec![label("A", 0.5 * a), label("B", 0.5 * (1.0 - a))],
                        label_mass: Probability::new(0.5).unwrap(),
                        entropy: Nats::new(1.0).unwrap(),
                        top: vec![],
                        top_is_label: true,
                    };
                    let text = |index: usize| Continuation {
                        text: question.options[index].0.clone(),
                        log_prob: log(if index == 0 { yes } else { 1.0 - yes }),
                        tokens: vec![],
                        bytes: 3,
                        joint_tokens_differ: false,
                    };
                    let texts = if reversed { [1, 0] } else { [0, 1] };
                    let answers = [Answer::NextToken(next)]
                        .into_iter()
                        .chain(texts.map(|index| Answer::Continuation(text(index))))
                        .collect();
                    let id = prompt_id(&file.name, row, reversed);
                    readings.insert(
                        id.clone(),
                        Reading {
                            id,
                            tokens: 9,
                            answers,
                        },
                    );
                }
            }
        }
        readings
    }

    #[test]
    fn a_bias_to_a_letter_averages_out_and_shows_as_prior_and_flips() {
        let set = concord_questions::demo().unwrap();
        let formats = vec![Format::Letter, Format::Cloze];
        let options = Options {
            formats,
            orders: Orders::Both,
            seed: 0,
        };
        let answers = from_readings(&set, &options, &readings(&set, 0.9, 0.8)).unwrap();
        for rows in answers.letter.unwrap().values() {
            assert!(
                rows.iter()
                    .all(|row| (row.as_ref().unwrap().probabilities()[0] - 0.5).abs() < 1e-12)
            );
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
        let options = Options {
            formats: vec![Format::Letter],
            orders: Orders::Both,
            seed: 0,
        };
        let mut readings = readings(&set, 0.9, 0.8);
        let id = prompt_id("controversial_german_world", 7, true);
        readings.remove(&id);
        let error = from_readings(&set, &options, &readings).unwrap_err();
        assert_eq!(error.to_string(), format!("no reading for prompt `{id}`"));
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
}
