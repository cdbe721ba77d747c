//! A row for each answer: a question in a format under a condition.

use super::Rows;
use super::asked::Asked;
use crate::shared::letters::{letters, next_token};
use crate::valueconsistency::answers::{AnswersError, reading};
use crate::valueconsistency::name;
use crate::valueconsistency::plan::{Abstention, Format, Options};
use crate::valueconsistency::shown::{PresentedOptions, truncated_letters};
use crate::{ById, CheckpointReadings, ReadingError};
use concord_findings::{Cell, Column, TableSpec};
use concord_questions::Stance;
use concord_readings::{Continuation, NextToken, Reading};
use concord_stats::Distribution;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

/// What the table is.
pub(in super::super) const ANSWERS: TableSpec = TableSpec {
    name: "answers",
    about: "a row an answer: a checkpoint, a question, a format and a condition (order, declining, wording, rater)",
    columns: &[
        Column::string("checkpoint", "the checkpoint, as the run calls it"),
        Column::string(
            "question_id",
            "the question: the same wherever the same file asks it in the same words, also in other runs and under other limits",
        ),
        Column::string("file", "the file of the question"),
        Column::integer("row", "its row in the run's file, from 0"),
        Column::string("topic", "its topic, in the language of the file"),
        Column::string(
            "topic_english",
            "the same in English; missing where that is not known",
        ),
        Column::string(
            "original_id",
            "what it is a phrasing of: one id for all phrasings of an original in a file",
        ),
        Column::string(
            "original_english",
            "the original in English, which is the same in all languages",
        ),
        Column::boolean(
            "is_paraphrase",
            "whether it is another phrasing than the original",
        ),
        Column::string("language", "the language asked in"),
        Column::string("country", "the country that the topics are about"),
        Column::boolean(
            "controversial",
            "whether people are thought to disagree about its topic",
        ),
        Column::string(
            "format",
            "`letters` of options, `texts` of options by their likelihood, or `passages` whose stance a rater reads",
        ),
        Column::string(
            "order",
            "whether the options were shown as `given` in the file or `reversed`",
        ),
        Column::boolean(
            "declining_allowed",
            "whether an option that declines was shown, last in every order",
        ),
        Column::string(
            "wording",
            "another wording that it was asked in; missing for the run's own",
        ),
        Column::string(
            "rater",
            "who read the passage; missing for letters and texts",
        ),
        Column::boolean(
            "is_main",
            "whether measures are of it: the run's own wording, where nobody may decline; the mean over orders is the answer",
        ),
        Column::float(
            "p_supports",
            "the probability of the options that support, renormalised over all options",
        ),
        Column::float("p_opposes", "that of those that oppose"),
        Column::float(
            "p_neutral",
            "that of those that do neither; missing where there is none",
        ),
        Column::float(
            "p_declines",
            "that of the option that declines; missing where there is none",
        ),
        Column::float(
            "p_supports_top_five",
            "for letters, `p_supports` as the study's code reads it: from the five most probable tokens alone",
        ),
        Column::float(
            "p_supports_per_token",
            "for texts, `p_supports` by the mean log-probability of a token",
        ),
        Column::float(
            "p_supports_per_byte",
            "for texts, `p_supports` by the mean log-probability of a byte",
        ),
        Column::float(
            "mass",
            "the probability of all options together before renormalising: of every spelling of every letter, or of the texts",
        ),
        Column::boolean(
            "top_is_letter",
            "for letters and passages, whether the most probable token spells a letter",
        ),
        Column::float(
            "entropy",
            "for letters and passages, the entropy of the whole next-token distribution, nats",
        ),
        Column::integer("prompt_tokens", "the length of the prompt in tokens"),
        Column::string("prompt_id", "the prompt, as the run's journals call it"),
        Column::string("question", "the question as it was asked"),
        Column::string(
            "original",
            "what it is a phrasing of, in the language of the file",
        ),
        Column::string(
            "option_N",
            "the option shown at place N; the letter of place 1 is A",
        ),
        Column::float(
            "p_option_N",
            "its probability, renormalised over all options",
        ),
    ],
};

/// What the conditions of a row are.
#[derive(Clone, Copy)]
struct Condition<'a> {
    format: Format,
    reversed: bool,
    declining: bool,
    wording: Option<&'a str>,
    rater: Option<&'a str>,
}

/// What was read under them.
struct Found {
    /// By place, in the order shown.
    places: Vec<f64>,
    mass: f64,
    top_five: Option<f64>,
    per_token: Option<f64>,
    per_byte: Option<f64>,
    next: Option<(bool, f64)>,
}

/// The answers of a checkpoint, in the order of the questions.
pub(super) fn of(
    asked: &[Asked<'_>],
    places: usize,
    options: &Options,
    read: &CheckpointReadings,
) -> Result<Rows, AnswersError> {
    static NOTHING: LazyLock<ById> = LazyLock::new(ById::default);
    let at_once = read.readings.round(name::READINGS).unwrap_or(&NOTHING);
    let wordings = at_once.keys().filter_map(|id| name::wording_of(id));
    let reader = Reader {
        checkpoint: read.name.as_str().into(),
        options,
        at_once,
        texts: read.readings.round(name::TEXTS).unwrap_or(&NOTHING),
        raters: read.readings.ratings(name::STANCES),
        wordings: wordings.collect(),
        words: HashMap::new(),
        places,
        rows: Vec::new(),
    };
    reader.rows(asked)
}

/// A checkpoint's readings, and the rows that were made of them.
struct Reader<'a> {
    checkpoint: Arc<str>,
    options: &'a Options,
    at_once: &'a ById,
    texts: &'a ById,
    raters: Option<&'a BTreeMap<String, ById>>,
    wordings: BTreeSet<String>,
    /// Words that rows share.
    words: HashMap<String, Arc<str>>,
    places: usize,
    rows: Rows,
}

impl Reader<'_> {
    fn rows(mut self, asked: &[Asked<'_>]) -> Result<Rows, AnswersError> {
        for asked in asked {
            self.letters(asked)?;
            self.answer_texts(asked)?;
            self.passages(asked)?;
        }
        Ok(self.rows)
    }

    fn letters(&mut self, asked: &Asked<'_>) -> Result<(), AnswersError> {
        if !self.options.has(Format::Letter) {
            return Ok(());
        }
        let (file, row, text) = (&asked.file.name, asked.row, &asked.question.question);
        let condition = |reversed| Condition {
            format: Format::Letter,
            reversed,
            declining: false,
            wording: None,
            rater: None,
        };
        for reversed in self.options.orders_of(file, text) {
            let id = name::question(file, row, reversed);
            let found = reading(self.at_once, &id)?;
            self.lettered(asked, condition(reversed), found, &id)?;
        }
        for reversed in self.options.abstention_orders_of(file, text) {
            let id = name::abstaining(file, row, reversed);
            let found = reading(self.at_once, &id)?;
            let declining = true;
            let condition = Condition {
                declining,
                ..condition(reversed)
            };
            self.lettered(asked, condition, found, &id)?;
        }
        for wording in std::mem::take(&mut self.wordings) {
            for reversed in self.options.orders_of(file, text) {
                let id = name::worded(file, row, reversed, &wording);
                // A sample alone is asked in other words.
                let Some(found) = self.at_once.get(&id) else {
                    continue;
                };
                let wording = Some(wording.as_str());
                let condition = Condition {
                    wording,
                    ..condition(reversed)
                };
                self.lettered(asked, condition, found, &id)?;
            }
            self.wordings.insert(wording);
        }
        Ok(())
    }

    /// Answer texts are read after the same prompts as letters.
    fn answer_texts(&mut self, asked: &Asked<'_>) -> Result<(), AnswersError> {
        if !self.options.has(Format::Cloze) {
            return Ok(());
        }
        let (file, row) = (&asked.file.name, asked.row);
        for reversed in self.options.orders_of(file, &asked.question.question) {
            let id = name::question(file, row, reversed);
            let read = reading(self.at_once, &id)?;
            let condition = Condition {
                format: Format::Cloze,
                reversed,
                declining: false,
                wording: None,
                rater: None,
            };
            let scored = |score: &dyn Fn(&Continuation) -> f64| scored(read, asked, &id, score);
            let by_sum = scored(&|text| text.log_prob.get())?;
            let support = |by: &Distribution| {
                of_stance(asked, condition, by.probabilities(), Stance::Supports)
            };
            let found = Found {
                mass: read
                    .continuations()
                    .map(|text| text.log_prob.get().exp())
                    .sum(),
                top_five: None,
                per_token: support(&scored(&Continuation::per_token)?),
                per_byte: support(&scored(&Continuation::per_byte)?),
                next: None,
                places: by_sum.probabilities().to_vec(),
            };
            self.push(asked, condition, read, &id, &found);
        }
        Ok(())
    }

    fn passages(&mut self, asked: &Asked<'_>) -> Result<(), AnswersError> {
        let Some(raters) = self.raters.filter(|_| self.options.has(Format::Open)) else {
            return Ok(());
        };
        let file = &asked.file.name;
        let text = name::passage(file, asked.row);
        let written = reading(self.texts, &text)?.generation();
        if written.is_none_or(|written| written.text.trim().is_empty()) {
            return Ok(());
        }
        let can_decline = self.options.abstention != Abstention::Off;
        let orders = self.options.orders_of(file, &asked.question.question);
        for (rater, stances) in raters {
            for declining in [false, true] {
                let ids: Vec<String> = orders
                    .iter()
                    .map(|reversed| name::stance(&text, *reversed, declining))
                    .collect();
                // A passage too long for the rater was not asked about in any order.
                let is_read = ids.iter().any(|id| stances.contains_key(id));
                if (declining && !can_decline) || !is_read {
                    continue;
                }
                for (id, reversed) in ids.iter().zip(&orders) {
                    let condition = Condition {
                        format: Format::Open,
                        reversed: *reversed,
                        declining,
                        wording: None,
                        rater: Some(rater),
                    };
                    self.lettered(asked, condition, reading(stances, id)?, id)?;
                }
            }
        }
        Ok(())
    }

    fn lettered(
        &mut self,
        asked: &Asked<'_>,
        condition: Condition<'_>,
        read: &Reading,
        id: &str,
    ) -> Result<(), AnswersError> {
        let next = next_token(read, id)?;
        let count = asked.options.len() + usize::from(condition.declining);
        let top_five = |next: &NextToken| {
            let five = truncated_letters(next)?;
            of_stance(asked, condition, five.probabilities(), Stance::Supports)
        };
        let found = Found {
            places: letters(next, id, count)?.probabilities().to_vec(),
            mass: next.label_mass.get(),
            top_five: (condition.format == Format::Letter)
                .then(|| top_five(next))
                .flatten(),
            per_token: None,
            per_byte: None,
            next: Some((next.top_is_label, next.entropy.get())),
        };
        self.push(asked, condition, read, id, &found);
        Ok(())
    }

    fn word(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.words.get(word) {
            return known.clone();
        }
        let shared: Arc<str> = word.into();
        self.words.insert(word.to_owned(), shared.clone());
        shared
    }

    /// Adds a row; the cells stand in the order of the columns.
    fn push(
        &mut self,
        asked: &Asked<'_>,
        condition: Condition<'_>,
        read: &Reading,
        id: &str,
        found: &Found,
    ) {
        let Condition {
            format,
            reversed,
            declining,
            wording,
            rater,
        } = condition;
        let [topic, topic_english] = asked.topic.clone();
        let [file, language, country] = asked.origin.clone();
        let [question, original, original_english] = asked.texts.clone();
        let format = match format {
            Format::Letter => "letters",
            Format::Cloze => "texts",
            Format::Open => "passages",
        };
        let order = if reversed { "reversed" } else { "given" };
        let stance = |stance| of_stance(asked, condition, &found.places, stance);
        let declined = found.places.get(asked.options.len()).copied();
        let (top_is_letter, entropy) = found.next.unzip();
        let mut row: Vec<Cell> = Vec::with_capacity(32 + 2 * self.places);
        row.extend([
            self.checkpoint.clone().into(),
            asked.id.clone().into(),
            file,
            asked.row.into(),
            topic,
            topic_english,
            asked.original_id.clone().into(),
            original_english,
            asked.question.rephrase.into(),
            language,
            country,
            asked.file.origin.controversial.into(),
            self.word(format).into(),
            self.word(order).into(),
            declining.into(),
            wording.map(|wording| self.word(wording)).into(),
            rater.map(|rater| self.word(rater)).into(),
            (!declining && wording.is_none()).into(),
            stance(Stance::Supports).into(),
            stance(Stance::Opposes).into(),
            stance(Stance::Neutral).into(),
            declined.filter(|_| declining).into(),
            found.top_five.into(),
            found.per_token.into(),
            found.per_byte.into(),
            found.mass.into(),
            top_is_letter.into(),
            entropy.into(),
            read.tokens.into(),
            id.into(),
            question,
            original,
        ]);
        let shown = presented(asked, condition);
        let texts = (0..self.places).map(|place| {
            let text = match shown.option(place) {
                Some(option) => asked.options.get(option),
                None => asked
                    .declines
                    .as_ref()
                    .filter(|_| place < found.places.len()),
            };
            Cell::from(text.cloned())
        });
        row.extend(texts);
        row.extend((0..self.places).map(|place| Cell::from(found.places.get(place).copied())));
        self.rows.push(row);
    }
}

fn presented<'a>(asked: &'a Asked<'_>, condition: Condition<'_>) -> PresentedOptions<'a> {
    PresentedOptions {
        options: &asked.question.options,
        reversed: condition.reversed,
        layout: &[],
    }
}

/// The probability of a stance, by that of each place; absent where no option has it. An option that declines has none.
fn of_stance(
    asked: &Asked<'_>,
    condition: Condition<'_>,
    places: &[f64],
    stance: Stance,
) -> Option<f64> {
    let shown = presented(asked, condition);
    let options = places.iter().enumerate().filter_map(|(place, p)| {
        let option = shown.option(place)?;
        (asked.question.options[option].1 == stance).then_some(*p)
    });
    asked.has(stance).then(|| options.sum())
}

/// Answer texts by a score of each, as a distribution over places.
fn scored(
    read: &Reading,
    asked: &Asked<'_>,
    id: &str,
    score: &dyn Fn(&Continuation) -> f64,
) -> Result<Distribution, AnswersError> {
    let scores: Vec<f64> = read.continuations().map(score).collect();
    let incomplete = |what| ReadingError::Incomplete {
        id: id.to_owned(),
        what,
    };
    if scores.len() != asked.options.len() {
        return Err(incomplete("likelihood for each answer text").into());
    }
    let found = Distribution::from_log_weights(&scores);
    Ok(found.map_err(|_| incomplete("finite likelihood"))?)
}
