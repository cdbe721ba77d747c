//! Checkpoints that answered the same questions, base against aligned.

use super::answers::{AnswerTable, Answers};
use super::axis::Axis;
use super::consistency::{Cell, Cells, MeasureError};
use super::findings::Measured;
use super::open::LOW_MASS;
use super::plan::Place;
use super::robustness::RowTrust;
use crate::Settings;
use crate::shared::paired::adjusted;
use concord_questions::{QuestionFile, QuestionSet};
use concord_stats::{Distance, bca_mean, mean, paired_effect_size, sign_flip_test};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// How one measure differs between two checkpoints.
///
/// # Units
/// Square roots of nats, but for the measure `support`, which is a probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The measure.
    pub measure: Axis,
    /// The first checkpoint's mean.
    pub first: f64,
    /// The second checkpoint's mean.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// The ends of the 95 % BCa interval of the paired differences.
    pub ci95: [f64; 2],
    /// Second over first, as the study puts it; absent where the first is 0.
    pub ratio: Option<f64>,
    /// How many pairs.
    pub pairs: usize,
    /// Distances of either that the other lacks, which are left out.
    pub left_out: usize,
    /// The sign-flip test that nothing differs, groups of answers flipping as a whole. Absent where nothing differs at all.
    pub p_value: Option<f64>,
    /// Groups that the test flips.
    pub groups: usize,
    /// Cohen's d of the mean differences of groups.
    pub effect_size: Option<f64>,
    /// By topic, for measures within a topic.
    pub topics: Vec<TopicComparison>,
    /// By original, for the same measures.
    pub questions: Vec<QuestionComparison>,
    /// What remains of the difference where letters can be trusted. Absent for measures without letters.
    pub artefacts: Option<Artefacts>,
}

/// How one measure differs on one topic, in the unit of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicComparison {
    /// The file.
    pub file: String,
    /// The topic, in English where that is known.
    pub topic: String,
    /// The first checkpoint's mean.
    pub first: f64,
    /// The second checkpoint's mean.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// The ends of the 95 % BCa interval of the paired differences.
    pub ci95: [f64; 2],
    /// How many pairs.
    pub pairs: usize,
    /// Cohen's d of the paired differences.
    pub effect_size: Option<f64>,
    /// The sign-flip test over the topic's questions, which it takes for independent.
    pub p_value: Option<f64>,
    /// The p-value among those of all topics (Benjamini and Hochberg).
    pub adjusted_p_value: Option<f64>,
}

/// How one measure differs on the phrasings of one original, in the unit of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuestionComparison {
    /// The file.
    pub file: String,
    /// The original.
    pub original: String,
    /// The first checkpoint's mean.
    pub first: f64,
    /// The second checkpoint's mean.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
}

/// A difference where letters can be trusted: what changed is then the answer, not how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Artefacts {
    /// Over questions where both checkpoints put at least half of the probability on letters.
    pub label_mass: Option<Stratum>,
    /// Over questions where both checkpoints give the first letter, over both orders, between 0.4 and 0.6.
    pub letter_prior: Option<Stratum>,
    /// Over questions where neither answer changes with the order.
    pub order: Option<Stratum>,
    /// Over all questions, from answers without what a letter gains by its place.
    pub debiased: Option<Stratum>,
}

/// A difference over some of the questions, in the unit of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stratum {
    /// Distances in it.
    pub pairs: usize,
    /// The first checkpoint's mean.
    pub first: f64,
    /// The second checkpoint's mean.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// The ends of the 95 % BCa interval.
    pub ci95: [f64; 2],
}

/// One checkpoint's answers and what was measured of them.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The answers.
    pub answers: &'a Answers,
    /// The measures.
    pub measured: &'a Measured,
}

/// A letter's probability over both orders is even within this of one half.
const EVEN_WITHIN: f64 = 0.1;

/// Two distances of one question in one measure.
struct Pair {
    place: Place,
    /// Which answer of the group: a measure may have several of one question.
    group: usize,
    first: f64,
    second: f64,
}

impl Pair {
    fn difference(&self) -> f64 {
        self.second - self.first
    }
}

/// Compares by paired differences, answer by answer: every measure, and beside them the probability of support itself.
///
/// # Errors
/// [`MeasureError`], where de-biased answers have no centroid.
pub fn compare(
    set: &QuestionSet,
    first: Side<'_>,
    second: Side<'_>,
    settings: Settings,
) -> Result<Vec<Comparison>, MeasureError> {
    let mut comparisons = Vec::new();
    for (axis, a) in &first.measured.cells {
        let Some(b) = second.measured.cells.get(axis) else {
            continue;
        };
        let artefacts = match *axis {
            Axis::Paraphrases | Axis::Topics => {
                let of = |table: &AnswerTable| {
                    Cells::of_table(Distance::Centroid, table, set, *axis == Axis::Paraphrases)
                };
                artefacts(
                    set,
                    first.answers,
                    second.answers,
                    &paired(a, b),
                    &of,
                    settings,
                )?
            }
            _ => None,
        };
        comparisons.extend(of_cells(set, *axis, [a, b], artefacts, settings));
    }
    if let (Some(a), Some(b)) = (first.answers.main(), second.answers.main()) {
        let (a, b) = (supports(set, a), supports(set, b));
        let of = |table: &AnswerTable| Ok(supports(set, table));
        let artefacts = artefacts(
            set,
            first.answers,
            second.answers,
            &paired(&a, &b),
            &of,
            settings,
        )?;
        comparisons.extend(of_cells(set, Axis::Support, [&a, &b], artefacts, settings));
    }
    Ok(comparisons)
}

fn of_cells(
    set: &QuestionSet,
    measure: Axis,
    [a, b]: [&Cells; 2],
    artefacts: Option<Artefacts>,
    settings: Settings,
) -> Option<Comparison> {
    let pairs = paired(a, b);
    let whole = stratum(&pairs, |_| true, settings)?;
    let grouped = differences_of_groups(&pairs);
    let within_topics = matches!(measure, Axis::Paraphrases | Axis::Topics | Axis::Support);
    Some(Comparison {
        measure,
        first: whole.first,
        second: whole.second,
        difference: whole.difference,
        ci95: whole.ci95,
        ratio: (whole.first > 0.0 && measure != Axis::Support).then(|| whole.second / whole.first),
        pairs: pairs.len(),
        left_out: a.cells.len() + b.cells.len() - 2 * pairs.len(),
        p_value: sign_flip_test(&grouped, settings.seed),
        groups: grouped.len(),
        effect_size: paired_effect_size(&means_of_groups(&pairs)),
        topics: if within_topics {
            topics(set, &pairs, settings)
        } else {
            Vec::new()
        },
        questions: if within_topics {
            questions(set, &pairs)
        } else {
            Vec::new()
        },
        artefacts,
    })
}

/// The probability of support of every question, phrasings of one original as a group.
fn supports(set: &QuestionSet, table: &AnswerTable) -> Cells {
    let mut cells = Cells {
        stances: 2,
        ..Cells::default()
    };
    let mut groups: HashMap<(usize, &str), usize> = HashMap::new();
    for (number, file) in set.files.iter().enumerate() {
        let Some(answers) = table.get(&file.name) else {
            continue;
        };
        for (row, (question, answer)) in file.questions.iter().zip(answers).enumerate() {
            let Some(answer) = answer else { continue };
            let count = groups.len();
            let group = *groups.entry((number, &question.original)).or_insert(count);
            cells
                .cells
                .extend(answer.probabilities().last().map(|p| Cell {
                    place: (number, row),
                    group,
                    distance: *p,
                }));
        }
    }
    cells
}

/// By original, over its phrasings.
fn questions(set: &QuestionSet, pairs: &[Pair]) -> Vec<QuestionComparison> {
    let mut by_original: BTreeMap<(usize, &str), Vec<&Pair>> = BTreeMap::new();
    for pair in pairs {
        let (file, row) = pair.place;
        let original = set.files[file].questions[row].original.as_str();
        by_original.entry((file, original)).or_default().push(pair);
    }
    let found = by_original.into_iter().map(|((file, original), pairs)| {
        let of =
            |read: fn(&Pair) -> f64| mean(&pairs.iter().map(|pair| read(pair)).collect::<Vec<_>>());
        QuestionComparison {
            file: set.files[file].name.clone(),
            original: original.to_owned(),
            first: of(|pair| pair.first),
            second: of(|pair| pair.second),
            difference: of(Pair::difference),
        }
    });
    found.collect()
}

/// Distances of the same answers, in the order of the first. An answer is known by its question and how often the measure had
/// it before.
fn paired(first: &Cells, second: &Cells) -> Vec<Pair> {
    fn keys(cells: &[Cell]) -> impl Iterator<Item = ((Place, usize), &Cell)> {
        let mut seen: HashMap<Place, usize> = HashMap::new();
        cells.iter().map(move |cell| {
            let times = seen.entry(cell.place).or_default();
            *times += 1;
            ((cell.place, *times), cell)
        })
    }
    let others: HashMap<(Place, usize), f64> = keys(&second.cells)
        .map(|(key, cell)| (key, cell.distance))
        .collect();
    let pairs = keys(&first.cells).filter_map(|(key, cell)| {
        Some(Pair {
            place: cell.place,
            group: cell.group,
            first: cell.distance,
            second: *others.get(&key)?,
        })
    });
    pairs.collect()
}

fn stratum(pairs: &[Pair], chosen: impl Fn(Place) -> bool, settings: Settings) -> Option<Stratum> {
    let kept: Vec<&Pair> = pairs.iter().filter(|pair| chosen(pair.place)).collect();
    if kept.is_empty() {
        return None;
    }
    let of = |read: fn(&Pair) -> f64| -> Vec<f64> { kept.iter().map(|pair| read(pair)).collect() };
    let (first, second) = (mean(&of(|pair| pair.first)), mean(&of(|pair| pair.second)));
    let interval = bca_mean(
        &of(Pair::difference),
        0.95,
        settings.resamples,
        settings.seed,
    );
    Some(Stratum {
        pairs: kept.len(),
        first,
        second,
        difference: second - first,
        ci95: [interval.low, interval.high],
    })
}

/// The sum of differences of each group: answers of one group are distances to one centroid, and not independent.
fn differences_of_groups(pairs: &[Pair]) -> Vec<f64> {
    let mut groups: BTreeMap<usize, f64> = BTreeMap::new();
    for pair in pairs {
        *groups.entry(pair.group).or_default() += pair.difference();
    }
    groups.into_values().collect()
}

/// The mean difference of each group.
fn means_of_groups(pairs: &[Pair]) -> Vec<f64> {
    let mut groups: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for pair in pairs {
        groups
            .entry(pair.group)
            .or_default()
            .push(pair.difference());
    }
    groups
        .values()
        .map(|differences| mean(differences))
        .collect()
}

fn topics(set: &QuestionSet, pairs: &[Pair], settings: Settings) -> Vec<TopicComparison> {
    let names: Vec<_> = set.files.iter().map(QuestionFile::topic_names).collect();
    let mut by_topic: BTreeMap<(usize, &str), Vec<&Pair>> = BTreeMap::new();
    for pair in pairs {
        let (file, row) = pair.place;
        let topic = names[file][set.files[file].questions[row].topic.as_str()];
        by_topic.entry((file, topic)).or_default().push(pair);
    }
    let mut topics: Vec<TopicComparison> = by_topic
        .into_iter()
        .map(|((file, topic), pairs)| {
            let of = |read: fn(&Pair) -> f64| -> Vec<f64> {
                pairs.iter().map(|pair| read(pair)).collect()
            };
            let (first, second) = (mean(&of(|pair| pair.first)), mean(&of(|pair| pair.second)));
            let differences = of(Pair::difference);
            let interval = bca_mean(&differences, 0.95, settings.resamples, settings.seed);
            TopicComparison {
                file: set.files[file].name.clone(),
                topic: topic.to_owned(),
                first,
                second,
                difference: second - first,
                ci95: [interval.low, interval.high],
                pairs: pairs.len(),
                effect_size: paired_effect_size(&differences),
                p_value: sign_flip_test(&differences, settings.seed),
                adjusted_p_value: None,
            }
        })
        .collect();
    let tested: Vec<Option<f64>> = topics.iter().map(|topic| topic.p_value).collect();
    for (topic, adjusted) in topics.iter_mut().zip(adjusted(&tested)) {
        topic.adjusted_p_value = adjusted;
    }
    topics
}

fn artefacts(
    set: &QuestionSet,
    first: &Answers,
    second: &Answers,
    pairs: &[Pair],
    cells: &dyn Fn(&AnswerTable) -> Result<Cells, MeasureError>,
    settings: Settings,
) -> Result<Option<Artefacts>, MeasureError> {
    if first.trust_by_row.is_empty() || second.trust_by_row.is_empty() {
        return Ok(None);
    }
    let trust = |answers: &Answers, (file, row): Place| {
        let rows = answers.trust_by_row.get(&set.files[file].name)?;
        *rows.get(row)?
    };
    let both = |place: Place| Some([trust(first, place)?, trust(second, place)?]);
    let massive = |place| {
        both(place).is_some_and(|sides| sides.iter().all(|side| side.label_mass >= LOW_MASS))
    };
    let steady =
        |place| both(place).is_some_and(|sides| sides.iter().all(|side| side.flips == Some(false)));
    let even = |place| {
        let is = |side: &RowTrust| {
            side.first_letter
                .is_some_and(|p| (p - 0.5).abs() <= EVEN_WITHIN)
        };
        both(place).is_some_and(|sides| sides.iter().all(is))
    };
    let debiased = match (&first.debiased, &second.debiased) {
        (Some(first), Some(second)) => {
            stratum(&paired(&cells(first)?, &cells(second)?), |_| true, settings)
        }
        _ => None,
    };
    Ok(Some(Artefacts {
        label_mass: stratum(pairs, massive, settings),
        letter_prior: stratum(pairs, even, settings),
        order: stratum(pairs, steady, settings),
        debiased,
    }))
}
