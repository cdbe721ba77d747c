//! What a run comes to: who can be measured, how far answers move, what differs between checkpoints, and what follows.

mod changes;
mod gates;
mod moves;

pub(crate) use changes::conclusion_of;
pub use moves::assess;

use super::plan::Format;
use crate::Gates;
use concord_findings::{Estimate, Gate, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;

/// What answers are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Phrasings of one original.
    Paraphrases,
    /// All questions of a topic, phrasings included.
    Topics,
    /// Originals alone that every language of a country has: translations of each other.
    Translations,
    /// The study's grouping by languages, which joins phrasings by their place.
    Languages,
    /// Letters and answer texts of one question.
    LettersAndTexts,
    /// Letters and passages of one question.
    LettersAndPassages,
    /// Answer texts and passages of one question.
    TextsAndPassages,
}

/// What a verdict is about: answers in one format, or two formats against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Aspect {
    /// The format; the first of two.
    pub format: Format,
    /// What answers are grouped by.
    pub across: Grouping,
}

/// The verdict on all checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Assessment {
    /// What had to hold for anything to be measured.
    pub gates: Gates,
    /// The checkpoints, in order.
    pub checkpoints: Vec<CheckpointAssessment>,
    /// How each after the first differs from it.
    pub changes: Vec<PairAssessment>,
}

/// What holds of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointAssessment {
    /// The checkpoint.
    pub name: String,
    /// Whether it is measurable, by format.
    pub formats: BTreeMap<Format, FormatAssessment>,
    /// How far its answers move.
    pub moved: Vec<Moved>,
}

/// Whether a checkpoint is measurable by a format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormatAssessment {
    /// What had to hold.
    pub gates: Vec<Gate>,
    /// Whether it does.
    pub verdict: Verdict,
    /// Mean total variation of answers in one order from all stances alike: ½ at most for two stances.
    pub decisiveness: f64,
    /// The same of answers averaged over both orders.
    pub averaged_decisiveness: f64,
    /// Whether it takes sides at all: answers that all stances share alike are alike, and say nothing.
    pub takes_sides: bool,
}

/// Answers averaged over both orders that are nearer than this to saying nothing take no side.
const LEAST_DECISIVE: f64 = 0.05;

/// Whether answers that belong together are closer than answers that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Closeness {
    /// Closer than the same answers shuffled.
    Closer,
    /// Farther apart than the same answers shuffled.
    Farther,
    /// Neither can be told.
    NotTold,
}

/// How far answers move across something. Distances are square roots of nats; intervals resample topics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// Across what.
    pub row: Aspect,
    /// Whether the formats that it is of are measurable.
    pub is_measurable: bool,
    /// The mean distance where every question is asked in one random order, as the study does: its expectation. Absent where one order
    /// was asked.
    pub one_order: Option<Estimate>,
    /// The mean distance of answers averaged over the orders that were asked.
    pub averaged: Estimate,
    /// In one order (or the only one asked), as a share of what the same answers give shuffled within their file. No number where
    /// shuffled answers lie nowhere apart.
    pub of_shuffled: Estimate,
    /// What the interval of that share says.
    pub closeness: Closeness,
    /// The mean distance in one order (or the only one asked) by file, for what is grouped within files; by country, for what is not.
    pub by_part: BTreeMap<String, Estimate>,
    /// The interval of that in one order which the study gives, where it is asked for: every distance is taken for a draw of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub study_ci95: Option<[f64; 2]>,
    /// Groups of two answers or more.
    pub groups: usize,
    /// Answers in them.
    pub answers: usize,
    /// Answers that are alone in their group, and not counted.
    pub alone: usize,
}

/// How a checkpoint differs from the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairAssessment {
    /// The first.
    pub first: String,
    /// The other.
    pub second: String,
    /// What changed.
    pub rows: Vec<Changed>,
    /// What follows, from the rows of the first format that both can be measured by.
    pub conclusion: Conclusion,
}

/// A difference with its test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tested {
    /// The difference.
    pub estimate: Estimate,
    /// The level at which its interval reaches 0.
    pub p: Option<f64>,
    /// Whether p is at most that.
    pub p_is_bound: bool,
    /// p among those of the rows of the same format (Benjamini and Hochberg).
    pub q: Option<f64>,
}

/// How far answers of two checkpoints move across the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Across what.
    pub row: Aspect,
    /// Second less first, in one random order. Absent where one order was asked.
    pub one_order: Option<Tested>,
    /// Second less first, averaged over orders.
    pub averaged: Tested,
    /// Second over first, in one order (or the only one).
    pub ratio: Estimate,
    /// Difference of the shares of what shuffled answers give.
    pub of_shuffled: Tested,
    /// Second less first, with the answers of the more decisive one tempered to the decisiveness of the other.
    pub matched: Tested,
    /// Second less first: how decisive answers in one order are.
    pub decisiveness: f64,
    /// What follows.
    pub change: Change,
}

/// What follows from one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The second is less consistent, whatever its decisiveness.
    LessConsistent,
    /// The second is more consistent, whatever its decisiveness.
    MoreConsistent,
    /// Answers move farther, as far as more decisive ones would: no more can be told.
    FartherByDecisiveness,
    /// Answers move less far, as little as less decisive ones would: no more can be told.
    LessFarByDecisiveness,
    /// A difference is told in one order, and does not stay by every way of taking decisiveness out, which does not account for it either.
    NotSettled,
    /// No difference can be told.
    NotTold,
}

/// What follows from all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// One of the two cannot be measured in any format that both have.
    NotMeasurable,
    /// The second is less consistent in some rows, and in none more.
    LessConsistent,
    /// The second is more consistent in some rows, and in none less.
    MoreConsistent,
    /// Less in some, more in others.
    Mixed,
    /// What differs is how decisive answers are.
    DecisivenessAlone,
    /// Differences are told that do not stay by every way of looking at them.
    NotSettled,
    /// No difference can be told.
    NotTold,
}

/// The formats of a row: rows of the same have the same answers.
type Key = (Format, Option<Format>);

impl Aspect {
    /// What it is called in a table.
    pub fn label(self) -> String {
        let across = match self.across {
            Grouping::Paraphrases => "paraphrases",
            Grouping::Topics => "topics",
            Grouping::Translations => "languages",
            Grouping::Languages => "languages, study's grouping",
            Grouping::LettersAndTexts => return "letters vs texts".to_owned(),
            Grouping::LettersAndPassages => return "letters vs passages".to_owned(),
            Grouping::TextsAndPassages => return "texts vs passages".to_owned(),
        };
        match self.format {
            Format::Letter => across.to_owned(),
            Format::Cloze => format!("{across} (texts)"),
            Format::Open => format!("{across} (passages)"),
        }
    }

    /// The other format, where it is of two.
    pub(super) fn other(self) -> Option<Format> {
        match self.across {
            Grouping::LettersAndTexts => Some(Format::Cloze),
            Grouping::LettersAndPassages | Grouping::TextsAndPassages => Some(Format::Open),
            _ => None,
        }
    }

    /// Whose answers it is of.
    pub(super) fn key(self) -> Key {
        (self.format, self.other())
    }

    /// Whether a verdict counts it: the study's grouping by languages repeats the stricter one.
    pub(super) fn is_counted(self) -> bool {
        self.across != Grouping::Languages
    }
}

impl CheckpointAssessment {
    /// The first format of those that were asked, in the order letters, texts, passages.
    pub fn main(&self) -> Option<(Format, &FormatAssessment)> {
        self.formats.iter().next().map(|(format, of)| (*format, of))
    }

    /// Whether it can be measured by that.
    pub fn is_measurable(&self) -> bool {
        self.main()
            .is_some_and(|(_, of)| of.verdict.is_measurable())
    }
}

impl Changed {
    /// The plain difference: in one order, or in the only one that was asked.
    pub fn plain(&self) -> &Tested {
        self.one_order.as_ref().unwrap_or(&self.averaged)
    }
}
