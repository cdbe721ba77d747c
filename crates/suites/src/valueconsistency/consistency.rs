//! Distances of answers within their groups, and means over them.

use super::answers::AnswerTable;
use super::context::{Context, ends};
use super::groups::{Group, of_file};
use super::plan::Place;
use concord_questions::{QuestionFile, QuestionSet};
use concord_stats::{CentroidDiverged, Distance, Distribution, maximum_distance, mean};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Why answers could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// A centroid did not settle.
    #[error("{topic}: {source}")]
    Centroid {
        /// The topic or country.
        topic: String,
        /// What went wrong.
        source: CentroidDiverged,
    },
    /// Questions of a country cannot be joined across languages: many share one English original and one place.
    #[error(
        "{country}: too many questions share an English original to be joined across languages"
    )]
    TooManyGroups {
        /// The country.
        country: String,
    },
}

/// A mean distance with its interval.
///
/// # Units
/// Square roots of nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Consistency {
    /// The mean over all answers, each counted once; no number where every answer is alone in its group.
    pub mean: f64,
    /// The ends of its 95 % interval, topics resampled whole; no numbers with fewer than five topics.
    pub ci95: [f64; 2],
    /// The ends of the interval that the study gives, which takes every distance for a draw of its own and is too narrow. Only where
    /// it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub study_ci95: Option<[f64; 2]>,
    /// How many topics they come from, all translations of a topic counted once.
    pub clusters: usize,
    /// The mean as a share of the largest that such groups can have ([`maximum_distance`]); absent where that is unknown.
    pub of_maximum: Option<f64>,
    /// How many distances it is the mean of.
    pub distances: usize,
    /// How many groups they come from.
    pub groups: usize,
    /// Answers that are alone in their group: they are not counted, since there is nothing that they could differ from.
    pub alone: usize,
}

/// The distance of one answer within its group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The question.
    pub place: Place,
    /// The group, counted over the measure.
    pub group: usize,
    /// Square root of nats.
    pub distance: f64,
}

/// The distances of one measure.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    /// By group.
    pub cells: Vec<Cell>,
    /// Questions that are alone in their group, which are not measured.
    pub alone: Vec<Place>,
    /// How many stances the answers are over.
    pub stances: usize,
}

/// Across the phrasings of a question and across the questions of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ByGrouping {
    /// Phrasings of one original.
    pub paraphrase: Consistency,
    /// All questions of a topic, phrasings included.
    pub topic: Consistency,
}

impl Cells {
    /// The distances of groups of answers; a group is named for errors.
    pub(crate) fn of<'a>(
        distance: Distance,
        table: &AnswerTable,
        set: &QuestionSet,
        groups: impl IntoIterator<Item = (&'a str, &'a [Place])>,
    ) -> Result<Self, MeasureError> {
        let (groups, alone): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|(_, places)| places.len() > 1);
        let rows = rows_by_file(table, set);
        let measured: Vec<Vec<f64>> = groups
            .par_iter()
            .map(|(topic, places)| {
                let answers: Vec<&[f64]> = places
                    .iter()
                    .filter_map(|(file, row)| {
                        Some(rows[*file].get(*row)?.as_ref()?.probabilities())
                    })
                    .collect();
                distance
                    .of_group(&answers)
                    .map_err(|source| MeasureError::Centroid {
                        topic: (*topic).to_owned(),
                        source,
                    })
            })
            .collect::<Result<_, _>>()?;
        let cells = groups.iter().zip(&measured).enumerate();
        let cells = cells.flat_map(|(group, ((_, places), distances))| {
            places
                .iter()
                .zip(distances)
                .map(move |(place, distance)| Cell {
                    place: *place,
                    group,
                    distance: *distance,
                })
        });
        Ok(Self {
            cells: cells.collect(),
            alone: alone
                .iter()
                .flat_map(|(_, places)| *places)
                .copied()
                .collect(),
            stances: stances(table),
        })
    }

    /// The phrasings of each question, or all questions of each topic.
    pub(crate) fn of_table(
        distance: Distance,
        table: &AnswerTable,
        set: &QuestionSet,
        paraphrases: bool,
    ) -> Result<Self, MeasureError> {
        let answered = set.files.iter().enumerate();
        let groups: Vec<Group> = answered
            .filter_map(|(number, file)| {
                Some(of_file(number, file, table.get(&file.name)?, paraphrases))
            })
            .flatten()
            .collect();
        let named = groups
            .iter()
            .map(|group| (group.topic.as_str(), &group.places[..]));
        Self::of(distance, table, set, named)
    }

    /// The distances alone.
    pub fn distances(&self) -> Vec<f64> {
        self.cells.iter().map(|cell| cell.distance).collect()
    }

    /// Their mean.
    pub(crate) fn mean(&self) -> f64 {
        let distances = self.distances();
        if distances.is_empty() {
            f64::NAN
        } else {
            mean(&distances)
        }
    }

    /// Those of questions that a test chooses.
    pub(crate) fn only(&self, chosen: impl Fn(Place) -> bool) -> Self {
        let cells = self.cells.iter().filter(|cell| chosen(cell.place));
        let alone = self.alone.iter().filter(|place| chosen(**place));
        Self {
            cells: cells.copied().collect(),
            alone: alone.copied().collect(),
            stances: self.stances,
        }
    }

    /// Split by a key of their questions.
    pub(crate) fn by<K: Ord>(&self, key: impl Fn(Place) -> K) -> BTreeMap<K, Self> {
        let mut parts: BTreeMap<K, Self> = BTreeMap::new();
        for cell in &self.cells {
            let part = parts.entry(key(cell.place)).or_default();
            part.cells.push(*cell);
            part.stances = self.stances;
        }
        for place in &self.alone {
            let part = parts.entry(key(*place)).or_default();
            part.alone.push(*place);
            part.stances = self.stances;
        }
        parts
    }

    /// Their mean and its interval.
    pub fn consistency(&self, context: &Context) -> Consistency {
        let distances = self.distances();
        if distances.is_empty() {
            return Consistency {
                mean: f64::NAN,
                ci95: [f64::NAN; 2],
                study_ci95: None,
                clusters: 0,
                of_maximum: None,
                distances: 0,
                groups: 0,
                alone: self.alone.len(),
            };
        }
        let clustered = context.mean(self.cells.iter().map(|cell| (cell.place, cell.distance)));
        let study_ci95 = context.study_interval(&distances);
        let groups: BTreeSet<usize> = self.cells.iter().map(|cell| cell.group).collect();
        let mean = mean(&distances);
        Consistency {
            mean,
            ci95: ends(&clustered),
            study_ci95,
            clusters: clustered.clusters,
            of_maximum: maximum_distance(self.stances).map(|most| mean / most),
            distances: distances.len(),
            groups: groups.len(),
            alone: self.alone.len(),
        }
    }
}

/// The answers of a table by number of file, none where it has no answers of it.
fn rows_by_file<'a>(table: &'a AnswerTable, set: &QuestionSet) -> Vec<&'a [Option<Distribution>]> {
    let of_file = |file: &QuestionFile| table.get(&file.name).map_or(&[][..], Vec::as_slice);
    set.files.iter().map(of_file).collect()
}

/// How many stances the answers of a table are over.
fn stances(table: &AnswerTable) -> usize {
    let mut answers = table.values().flatten().flatten();
    answers
        .next()
        .map_or(0, |answer| answer.probabilities().len())
}

/// The consistency of a table across phrasings and across topics.
pub(crate) fn by_grouping(
    table: &AnswerTable,
    set: &QuestionSet,
    context: &Context,
) -> Result<ByGrouping, MeasureError> {
    let of = |paraphrases| Cells::of_table(Distance::Centroid, table, set, paraphrases);
    Ok(ByGrouping {
        paraphrase: of(true)?.consistency(context),
        topic: of(false)?.consistency(context),
    })
}

/// The distances of each question's answers in several tables to their centroid: a group a question that all have answered.
/// Each question counts once for each table.
pub(crate) fn across(tables: &[&AnswerTable], set: &QuestionSet) -> Result<Cells, MeasureError> {
    let tables_by_file: Vec<Vec<&[Option<Distribution>]>> = tables
        .iter()
        .map(|table| rows_by_file(table, set))
        .collect();
    let is_answered = |rows: &[&[Option<Distribution>]], (file, row): Place| {
        rows[file].get(row).is_some_and(Option::is_some)
    };
    let mut places: Vec<Place> = Vec::new();
    for (number, file) in set.files.iter().enumerate() {
        let of_file = (0..file.questions.len()).map(|row| (number, row));
        places.extend(
            of_file.filter(|place| tables_by_file.iter().all(|rows| is_answered(rows, *place))),
        );
    }
    let measured: Vec<Vec<f64>> = places
        .par_iter()
        .map(|(file, row)| {
            let answers: Vec<&[f64]> = tables_by_file
                .iter()
                .filter_map(|rows| Some(rows[*file][*row].as_ref()?.probabilities()))
                .collect();
            Distance::Centroid
                .of_group(&answers)
                .map_err(|source| MeasureError::Centroid {
                    topic: set.files[*file].questions[*row].topic.clone(),
                    source,
                })
        })
        .collect::<Result<_, _>>()?;
    let cells = places.iter().zip(measured).enumerate();
    let cells = cells.flat_map(|(group, (place, distances))| {
        distances.into_iter().map(move |distance| Cell {
            place: *place,
            group,
            distance,
        })
    });
    Ok(Cells {
        cells: cells.collect(),
        alone: Vec::new(),
        stances: tables.first().map_or(0, |table| stances(table)),
    })
}
