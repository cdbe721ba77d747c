//! Checkpoints that answered the same questions, base against aligned.

use super::answers::{AnswerTable, Answers};
use super::axis::Axis;
use super::consistency::{Cell, Cells, MeasureError};
use super::context::{Context, ends};
use super::findings::Measured;
use super::open::LOW_MASS;
use super::plan::Place;
use super::robustness::RowTrust;
use super::topics::{by_original, pooled_ends};
use crate::shared::paired::adjusted;
use concord_questions::{QuestionFile, QuestionSet};
use concord_stats::{Distance, GroupMean, Scale, mean, paired_effect_size, pooled};
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
    /// The ends of its 95 % interval, topics resampled whole; no numbers with fewer than five topics.
    pub ci95: [f64; 2],
    /// The same where every pair is taken for a draw of its own, as the study does; too narrow. Only where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub study_ci95: Option<[f64; 2]>,
    /// Second over first, as the study puts it; absent where the first is 0.
    pub ratio: Option<f64>,
    /// The ends of its interval.
    pub ratio_ci95: Option<[f64; 2]>,
    /// How many pairs.
    pub pairs: usize,
    /// Distances of either that the other lacks, which are left out.
    pub left_out: usize,
    /// The level at which the interval of the difference reaches 0. Absent with fewer than five topics.
    pub p_value: Option<f64>,
    /// Whether p is at most that, for no resample reached 0.
    pub p_is_bound: bool,
    /// p among those of all measures of this comparison (Benjamini and Hochberg).
    pub adjusted_p_value: Option<f64>,
    /// Groups of answers that the pairs come from.
    pub groups: usize,
    /// How many topics they come from, all translations of a topic counted once.
    pub clusters: usize,
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
    /// The same, drawn towards the mean of all topics by as much as it is uncertain.
    pub pooled: f64,
    /// The ends of its 95 % interval.
    pub ci95: [f64; 2],
    /// How many pairs.
    pub pairs: usize,
    /// How many originals they are phrasings of: what was drawn within the topic.
    pub originals: usize,
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
    /// The ends of its 95 % interval, topics resampled whole.
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
    context: &Context,
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
                artefacts(set, first.answers, second.answers, &of, context)?
            }
            _ => None,
        };
        comparisons.extend(of_cells(set, *axis, [a, b], artefacts, context));
    }
    if let (Some(a), Some(b)) = (first.answers.main(), second.answers.main()) {
        let (a, b) = (supports(set, a), supports(set, b));
        let of = |table: &AnswerTable| Ok(supports(set, table));
        let artefacts = artefacts(set, first.answers, second.answers, &of, context)?;
        comparisons.extend(of_cells(set, Axis::Support, [&a, &b], artefacts, context));
    }
    let all: Vec<Option<f64>> = comparisons
        .iter()
        .map(|found: &Comparison| found.p_value)
        .collect();
    for (found, adjusted) in comparisons.iter_mut().zip(adjusted(&all)) {
        found.adjusted_p_value = adjusted;
    }
    Ok(comparisons)
}

fn of_cells(
    set: &QuestionSet,
    measure: Axis,
    [a, b]: [&Cells; 2],
    artefacts: Option<Artefacts>,
    context: &Context,
) -> Option<Comparison> {
    let pairs = paired(a, b);
    if pairs.is_empty() {
        return None;
    }
    let sums = || {
        pairs
            .iter()
            .map(|pair| (pair.place, [pair.first, pair.second, 1.0]))
    };
    let difference = context.of_sums(
        sums(),
        |[first, second, n]| (second - first) / n,
        0.0,
        Scale::Plain,
    );
    let of = |read: fn(&Pair) -> f64| mean(&pairs.iter().map(read).collect::<Vec<_>>());
    let (first, second) = (of(|pair| pair.first), of(|pair| pair.second));
    let has_ratio = first > 0.0 && measure != Axis::Support;
    let ratio = has_ratio
        .then(|| context.of_sums(sums(), |[first, second, _]| second / first, 1.0, Scale::Log));
    let differences: Vec<f64> = pairs.iter().map(Pair::difference).collect();
    let study_ci95 = context.study_interval(&differences);
    let within_topics = matches!(measure, Axis::Paraphrases | Axis::Topics | Axis::Support);
    let of_groups = means_of_groups(&pairs);
    Some(Comparison {
        measure,
        first,
        second,
        difference: second - first,
        ci95: ends(&difference),
        study_ci95,
        ratio: ratio.map(|_| second / first),
        ratio_ci95: ratio.and_then(|found| found.ends),
        pairs: pairs.len(),
        left_out: a.cells.len() + b.cells.len() - 2 * pairs.len(),
        p_value: difference.p,
        p_is_bound: difference.p_is_bound,
        adjusted_p_value: None,
        groups: of_groups.len(),
        clusters: difference.clusters,
        effect_size: paired_effect_size(&of_groups),
        topics: if within_topics {
            topics(set, &pairs)
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

fn stratum(pairs: &[Pair], context: &Context) -> Option<Stratum> {
    if pairs.is_empty() {
        return None;
    }
    let of = |read: fn(&Pair) -> f64| mean(&pairs.iter().map(read).collect::<Vec<_>>());
    let (first, second) = (of(|pair| pair.first), of(|pair| pair.second));
    let difference =
        context.mean_difference(pairs.iter().map(|pair| (pair.place, pair.difference())));
    Some(Stratum {
        pairs: pairs.len(),
        first,
        second,
        difference: second - first,
        ci95: ends(&difference),
    })
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

/// By topic, partially pooled: a few originals say little of their topic, and all topics say something of each.
fn topics(set: &QuestionSet, pairs: &[Pair]) -> Vec<TopicComparison> {
    let names: Vec<_> = set.files.iter().map(QuestionFile::topic_names).collect();
    let mut by_topic: BTreeMap<(usize, &str), Vec<&Pair>> = BTreeMap::new();
    for pair in pairs {
        let (file, row) = pair.place;
        let topic = names[file][set.files[file].questions[row].topic.as_str()];
        by_topic.entry((file, topic)).or_default().push(pair);
    }
    let own: Vec<GroupMean> = by_topic
        .values()
        .filter_map(|pairs| {
            let differences = pairs.iter().map(|pair| (pair.place, pair.difference()));
            GroupMean::of(&by_original(set, differences))
        })
        .collect();
    let found = by_topic.into_iter().zip(pooled(&own)).zip(&own);
    found
        .map(|((((file, topic), pairs), pooled), own)| {
            let of = |read: fn(&Pair) -> f64| {
                mean(&pairs.iter().map(|pair| read(pair)).collect::<Vec<_>>())
            };
            TopicComparison {
                file: set.files[file].name.clone(),
                topic: topic.to_owned(),
                first: of(|pair| pair.first),
                second: of(|pair| pair.second),
                difference: of(Pair::difference),
                pooled: pooled.mean,
                ci95: pooled_ends(&pooled, own.units),
                pairs: pairs.len(),
                originals: own.units,
            }
        })
        .collect()
}

/// Mean of the first checkpoint's and the second's values where letters can be trusted. Groups are measured again among the
/// questions that stay: a distance to a centroid of questions that were left out would still tell of them.
fn artefacts(
    set: &QuestionSet,
    first: &Answers,
    second: &Answers,
    cells: &dyn Fn(&AnswerTable) -> Result<Cells, MeasureError>,
    context: &Context,
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
    let of_tables = |first: &AnswerTable, second: &AnswerTable| {
        Ok::<_, MeasureError>(stratum(&paired(&cells(first)?, &cells(second)?), context))
    };
    let among = |chosen: &dyn Fn(Place) -> bool| match (first.main(), second.main()) {
        (Some(a), Some(b)) => of_tables(&kept(set, a, chosen), &kept(set, b, chosen)),
        _ => Ok(None),
    };
    let debiased = match (&first.debiased, &second.debiased) {
        (Some(first), Some(second)) => of_tables(first, second)?,
        _ => None,
    };
    Ok(Some(Artefacts {
        label_mass: among(&massive)?,
        letter_prior: among(&even)?,
        order: among(&steady)?,
        debiased,
    }))
}

/// The answers to chosen questions alone.
fn kept(set: &QuestionSet, table: &AnswerTable, chosen: &dyn Fn(Place) -> bool) -> AnswerTable {
    let files = set.files.iter().enumerate();
    let rows = files.filter_map(|(number, file)| {
        let rows = table.get(&file.name)?.iter().enumerate();
        let rows = rows.map(|(row, answer)| answer.clone().filter(|_| chosen((number, row))));
        Some((file.name.clone(), rows.collect()))
    });
    rows.collect()
}
