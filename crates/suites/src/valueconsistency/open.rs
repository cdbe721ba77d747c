//! The open format: passages that the checkpoint writes, and the stance that raters read in them.

use super::answers::{AnswerTable, AnswersError, Source, reading, with_neutral};
use super::language::seems_to_be;
use super::name;
use super::plan::{Abstention, Format, Options, sampled};
use super::shown::PresentedOptions;
use crate::ReadingError;
use crate::shared::letters::{letters, next_token};
use concord_questions::{Question, Stance};
use concord_readings::{Finish, Reading};
use concord_stats::{Distribution, mean};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// What was written on the questions, and what each rater made of it.
#[derive(Clone, Debug, Default)]
pub struct OpenAnswers {
    /// How the writing went.
    pub passages: PassageCounts,
    /// Passages that something is to be said about, by name.
    pub marked: BTreeMap<String, Vec<Mark>>,
    /// What was read, by rater.
    pub raters: BTreeMap<String, RaterAnswers>,
}

/// What is to be said about a passage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It has no text, and is not read.
    Empty,
    /// It had not ended when the most tokens were reached.
    Unfinished,
    /// It was stopped since it repeated itself.
    Repeating,
    /// It seems to be in another language than the question.
    OtherLanguage,
}

/// How many passages were asked for, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PassageCounts {
    /// Questions on which a passage was asked for.
    pub asked: usize,
    /// Passages with text in them; only these are read.
    pub written: usize,
    /// Passages without any text.
    pub empty: usize,
    /// Passages that had not ended when the most tokens were reached; they are read as far as they go.
    pub unfinished: usize,
    /// Passages stopped since they repeated themselves; they are read as far as they go.
    pub repeating: usize,
    /// Passages that seem to be in another language than the question; they are read all the same.
    pub other_language: usize,
}

/// What one rater made of the passages.
#[derive(Clone, Debug, Default)]
pub struct RaterAnswers {
    /// Stances, over the set's.
    pub table: AnswerTable,
    /// The same with an option that declines, over the set's stances and neutral.
    pub allowed: Option<AnswerTable>,
    /// How far it can be trusted.
    pub trust: RaterTrust,
    /// Passages that it read with a label mass below one half, by name: what it says of them says little.
    pub doubtful: Vec<String>,
}

/// How far a rater can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RaterTrust {
    /// Passages read.
    pub passages: usize,
    /// Passages with text in them that it did not read, being too long for it.
    pub left_out: usize,
    /// Mean probability of all spellings of all letters.
    pub label_mass: f64,
    /// Passages read with a label mass below one half, which say little.
    pub doubtful_passages: usize,
    /// Share of passages whose most probable option changes with the order; absent where one order was asked.
    pub flip_rate: Option<f64>,
    /// Passages that were to argue for a known option.
    pub argued_asked: usize,
    /// Those of them that were read: with text in them, and not too long.
    pub argued: usize,
    /// Share of those whose stance is read as what they argue for. Absent without any.
    pub argued_right: Option<f64>,
    /// Probability of support over passages that argue for each option alike, less what an unbiased rater would give.
    /// Absent without any.
    pub bias: Option<f64>,
    /// Questions that it is the mean over: those whose passages were all read.
    pub bias_questions: usize,
}

/// A label mass below this says little.
pub(crate) const LOW_MASS: f64 = 0.5;

/// Reads the open format, where it was asked for.
pub(crate) fn open_answers(source: Source<'_>) -> Result<Option<OpenAnswers>, AnswersError> {
    let Source {
        set,
        options,
        chosen,
        ..
    } = source;
    if !options.has(Format::Open) {
        return Ok(None);
    }
    let mut passages = PassageCounts::default();
    let mut marked = BTreeMap::new();
    for file in &set.files {
        for row in (0..file.questions.len()).filter(|row| chosen.has(&file.name, *row)) {
            let id = name::passage(&file.name, row);
            let Some(text) = reading(source.texts(), &id)?.generation() else {
                return Err(ReadingError::Incomplete { id, what: "text" }.into());
            };
            passages.asked += 1;
            let mut marks = Vec::new();
            if text.text.trim().is_empty() {
                passages.empty += 1;
                marks.push(Mark::Empty);
            } else {
                passages.written += 1;
                if text.finish == Finish::Length {
                    passages.unfinished += 1;
                    marks.push(Mark::Unfinished);
                }
                if text.finish == Finish::Repetition {
                    passages.repeating += 1;
                    marks.push(Mark::Repeating);
                }
                if !seems_to_be(&text.text, &file.origin.language) {
                    passages.other_language += 1;
                    marks.push(Mark::OtherLanguage);
                }
            }
            if !marks.is_empty() {
                marked.insert(id, marks);
            }
        }
    }
    let raters = source.stances().map(|(rater, stances)| {
        let answers = rater_answers(source, stances)?;
        Ok::<_, AnswersError>((rater.clone(), answers))
    });
    Ok(Some(OpenAnswers {
        passages,
        marked,
        raters: raters.collect::<Result<_, _>>()?,
    }))
}

/// One passage as one rater read it.
struct StanceRead {
    answer: Distribution,
    mass: f64,
    flips: Option<bool>,
}

/// What one rater's readings are read with.
struct Rater<'a> {
    options: &'a Options,
    texts: &'a HashMap<String, Reading>,
    stances: &'a HashMap<String, Reading>,
}

impl Rater<'_> {
    /// The stance of a text; `None` where nothing was written.
    fn stance(
        &self,
        text: &str,
        question: &Question,
        file: &str,
        layout: &[Stance],
        abstention: bool,
    ) -> Result<Option<StanceRead>, AnswersError> {
        let written = self.texts.get(text).and_then(Reading::generation);
        if written.is_none_or(|written| written.text.trim().is_empty()) {
            return Ok(None);
        }
        let orders = self.options.orders_of(file, &question.question);
        let id = |reversed| name::stance(text, reversed, abstention);
        // A passage too long for the rater was not asked about in any order.
        if !orders
            .iter()
            .any(|reversed| self.stances.contains_key(&id(*reversed)))
        {
            return Ok(None);
        }
        let (mut by_order, mut mass, mut favourites) = (Vec::new(), Vec::new(), Vec::new());
        for reversed in orders {
            let id = id(reversed);
            let next = next_token(reading(self.stances, &id)?, &id)?;
            let count = question.options.len() + usize::from(abstention);
            let letters = letters(next, &id, count)?;
            let shown = PresentedOptions {
                options: &question.options,
                reversed,
                layout,
            };
            mass.push(next.label_mass.get());
            favourites.push(letters.mode().and_then(|at| shown.option(at)));
            by_order.extend(shown.stances(&letters));
        }
        let flips = match &favourites[..] {
            [Some(given), Some(reversed)] => Some(given != reversed),
            [_, _] => Some(false),
            _ => None,
        };
        Ok(Distribution::average(&by_order)
            .ok()
            .map(|answer| StanceRead {
                answer,
                mass: mean(&mass),
                flips,
            }))
    }
}

fn rater_answers(
    source: Source<'_>,
    stances: &HashMap<String, Reading>,
) -> Result<RaterAnswers, AnswersError> {
    let Source {
        set,
        options,
        chosen,
        layout,
        ..
    } = source;
    let texts = source.texts();
    let rater = Rater {
        options,
        texts,
        stances,
    };
    let wide = with_neutral(layout);
    let declining = options.abstention != Abstention::Off;
    let (mut table, mut allowed) = (AnswerTable::new(), AnswerTable::new());
    let (mut mass, mut flips, mut left_out) = (Vec::new(), Vec::new(), 0);
    let mut doubtful = Vec::new();
    for file in &set.files {
        let (mut rows, mut wide_rows) = (Vec::new(), Vec::new());
        for (row, question) in file.questions.iter().enumerate() {
            if !chosen.has(&file.name, row) {
                rows.push(None);
                wide_rows.push(None);
                continue;
            }
            let id = name::passage(&file.name, row);
            let stance = rater.stance(&id, question, &file.name, layout, false)?;
            let written = texts.get(&id).and_then(Reading::generation);
            if stance.is_none() && written.is_some_and(|text| !text.text.trim().is_empty()) {
                left_out += 1;
            }
            if let Some(stance) = &stance {
                mass.push(stance.mass);
                if stance.mass < LOW_MASS {
                    doubtful.push(id.clone());
                }
                flips.extend(stance.flips.map(|flips| if flips { 1.0 } else { 0.0 }));
            }
            rows.push(stance.map(|stance| stance.answer));
            if declining {
                let stance = rater.stance(&id, question, &file.name, &wide, true)?;
                wide_rows.push(stance.map(|stance| stance.answer));
            }
        }
        table.insert(file.name.clone(), rows);
        allowed.insert(file.name.clone(), wide_rows);
    }
    let (mut right, mut bias, mut argued_asked) = (Vec::new(), Vec::new(), 0);
    let argued = options.passages.map_or(0, |passages| passages.argued);
    for (number, row) in sampled(set, argued) {
        let file = &set.files[number];
        let question = &file.questions[row];
        if !chosen.has(&file.name, row) {
            continue;
        }
        let (mut support, mut expected) = (Vec::new(), Vec::new());
        for (option, (_, known)) in question.options.iter().enumerate() {
            argued_asked += 1;
            let id = name::argued(&file.name, row, option);
            let stance = rater.stance(&id, question, &file.name, layout, false)?;
            let Some(stance) = stance else { continue };
            let at = layout.iter().position(|stance| stance == known);
            let mode = stance.answer.mode();
            right.push(if mode.is_some() && mode == at {
                1.0
            } else {
                0.0
            });
            support.extend(stance.answer.probabilities().last().copied());
            expected.push(if *known == Stance::Supports { 1.0 } else { 0.0 });
        }
        // Only where every option was argued for is the mean over them without a side.
        if support.len() == question.options.len() {
            bias.push(mean(&support) - mean(&expected));
        }
    }
    Ok(RaterAnswers {
        trust: RaterTrust {
            passages: mass.len(),
            left_out,
            label_mass: mean(&mass),
            doubtful_passages: doubtful.len(),
            flip_rate: (!flips.is_empty()).then(|| mean(&flips)),
            argued_asked,
            argued: right.len(),
            argued_right: (!right.is_empty()).then(|| mean(&right)),
            bias: (!bias.is_empty()).then(|| mean(&bias)),
            bias_questions: bias.len(),
        },
        table,
        allowed: declining.then_some(allowed),
        doubtful,
    })
}
