//! Who can be measured, and how far the answers of each checkpoint move.

use super::changes::pair;
use super::gates::gates;
use super::{
    Aspect, Assessment, CheckpointAssessment, Closeness, FormatAssessment, Grouping,
    LEAST_DECISIVE, Moved,
};
use crate::valueconsistency::answers::{AnswerTable, Answers};
use crate::valueconsistency::consistency::MeasureError;
use crate::valueconsistency::context::{CONFIDENCE, Context};
use crate::valueconsistency::groups::{countries, join, join_translations, of_file};
use crate::valueconsistency::plan::{Format, Place};
use crate::valueconsistency::spread::{Groups, Slots, Spread};
use concord_findings::{Estimate, Gate, Interval, Method};
use concord_questions::QuestionSet;
use concord_stats::{Clustered, Scale};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One checkpoint's answers of a row, and how they are grouped.
pub(super) struct Ground {
    pub(super) slots: Arc<Slots>,
    /// Both orders averaged.
    averaged: Arc<Slots>,
    pub(super) groups: Groups,
    alone: usize,
}

/// What was measured of a row.
pub(super) struct Measured {
    pub(super) one_order: Spread,
    pub(super) averaged: Spread,
    pub(super) shuffled: Spread,
}

/// A checkpoint with what was measured of it.
pub(super) struct Side {
    formats: BTreeMap<Format, Arc<Slots>>,
    pub(super) grounds: BTreeMap<Aspect, Ground>,
    pub(super) measured: BTreeMap<Aspect, Measured>,
}

/// Assesses checkpoints, the first of which is the base.
///
/// # Errors
/// [`MeasureError::TooManyGroups`].
pub fn assess(
    set: &QuestionSet,
    names: &[String],
    answers: &[Answers],
    context: &Context,
) -> Result<Assessment, MeasureError> {
    let sides = answers
        .par_iter()
        .map(|answers| side(set, answers, context))
        .collect::<Result<Vec<_>, _>>()?;
    let checkpoints: Vec<CheckpointAssessment> = names
        .par_iter()
        .zip(answers)
        .zip(&sides)
        .map(|((name, answers), side)| checkpoint(set, name, answers, side, context))
        .collect();
    let others = 1..checkpoints.len();
    let changes = others.into_par_iter().map(|second| {
        pair(
            [
                (&checkpoints[0], &sides[0]),
                (&checkpoints[second], &sides[second]),
            ],
            context,
        )
    });
    Ok(Assessment {
        gates: context.settings.gates,
        changes: changes.collect(),
        checkpoints,
    })
}

/// The tables of a format by order, where there are any.
fn tables(answers: &Answers, format: Format) -> Vec<&AnswerTable> {
    let (by_order, main) = match format {
        Format::Letter => (&answers.letter_by_order, answers.letter.as_ref()),
        Format::Cloze => (&answers.cloze_by_order, answers.cloze.as_ref()),
        Format::Open => {
            let open = answers.open.as_ref().and_then(|open| open.main_stances());
            return open.into_iter().collect();
        }
    };
    match by_order {
        Some(orders) => orders.iter().collect(),
        None => main.into_iter().collect(),
    }
}

pub(super) const FORMATS: [Format; 3] = [Format::Letter, Format::Cloze, Format::Open];

fn side(set: &QuestionSet, answers: &Answers, context: &Context) -> Result<Side, MeasureError> {
    let (mut grounds, mut formats) = (BTreeMap::new(), BTreeMap::new());
    let of_format = FORMATS.map(|format| tables(answers, format));
    for (format, tables) in FORMATS.into_iter().zip(&of_format) {
        let Some(first) = tables.first() else {
            continue;
        };
        let slots = Arc::new(Slots::new(set, &[tables]));
        let averaged = Arc::new(slots.averaged());
        let at: HashMap<Place, usize> = (0..slots.len())
            .map(|slot| (slots.place(slot), slot))
            .collect();
        for (across, places) in groupings(set, first)? {
            let groups = places.iter().map(|group| {
                group
                    .iter()
                    .filter_map(|place| at.get(place).copied())
                    .collect()
            });
            let row = Aspect { format, across };
            insert(&mut grounds, row, [&slots, &averaged], groups);
        }
        formats.insert(format, slots);
    }
    let pairs = [
        (Grouping::LettersAndTexts, 0, 1),
        (Grouping::LettersAndPassages, 0, 2),
        (Grouping::TextsAndPassages, 1, 2),
    ];
    for (across, a, b) in pairs {
        if of_format[a].is_empty() || of_format[b].is_empty() {
            continue;
        }
        let slots = Arc::new(Slots::new(set, &[&of_format[a], &of_format[b]]));
        let mut groups: Groups = slots
            .by_place()
            .into_values()
            .filter(|group| group.len() == 2)
            .collect();
        groups.sort_unstable();
        let row = Aspect {
            format: FORMATS[a],
            across,
        };
        let averaged = Arc::new(slots.averaged());
        insert(&mut grounds, row, [&slots, &averaged], groups.into_iter());
    }
    let seed = context.settings.seed;
    let measured = grounds.par_iter().map(|(row, ground)| {
        let Ground {
            slots,
            averaged,
            groups,
            ..
        } = ground;
        let found = Measured {
            one_order: slots.one_order(groups, seed),
            averaged: averaged.as_they_are(groups),
            shuffled: slots.shuffled(groups, seed),
        };
        (*row, found)
    });
    Ok(Side {
        measured: measured.collect(),
        grounds,
        formats,
    })
}

fn insert(
    grounds: &mut BTreeMap<Aspect, Ground>,
    row: Aspect,
    [slots, averaged]: [&Arc<Slots>; 2],
    groups: impl Iterator<Item = Vec<usize>>,
) {
    let (groups, alone): (Groups, Groups) = groups.partition(|group| group.len() > 1);
    if !groups.is_empty() {
        let alone = alone.iter().map(Vec::len).sum();
        grounds.insert(
            row,
            Ground {
                slots: Arc::clone(slots),
                averaged: Arc::clone(averaged),
                groups,
                alone,
            },
        );
    }
}

/// Groups of questions, and what they are grouped by.
type Grouped = (Grouping, Vec<Vec<Place>>);

/// What the questions of a table are grouped by, within one format.
fn groupings(set: &QuestionSet, table: &AnswerTable) -> Result<Vec<Grouped>, MeasureError> {
    let mut found = Vec::new();
    for (across, paraphrases) in [(Grouping::Paraphrases, true), (Grouping::Topics, false)] {
        let files = set.files.iter().enumerate();
        let groups = files.filter_map(|(number, file)| {
            Some(of_file(number, file, table.get(&file.name)?, paraphrases))
        });
        found.push((across, groups.flatten().map(|group| group.places).collect()));
    }
    let (mut strict, mut joined) = (Vec::new(), Vec::new());
    for country in countries(set, table) {
        strict.extend(join_translations(&country, table));
        joined.extend(join(&country, table)?);
    }
    found.push((Grouping::Translations, strict));
    found.push((Grouping::Languages, joined));
    Ok(found)
}

fn checkpoint(
    set: &QuestionSet,
    name: &str,
    answers: &Answers,
    side: &Side,
    context: &Context,
) -> CheckpointAssessment {
    let mut formats = BTreeMap::new();
    for (format, slots) in &side.formats {
        let gates = gates(answers, *format, slots, context.settings.gates);
        let averaged_decisiveness = slots.averaged().decisiveness();
        let assessment = FormatAssessment {
            verdict: Gate::verdict(&gates),
            gates,
            decisiveness: slots.decisiveness(),
            averaged_decisiveness,
            takes_sides: averaged_decisiveness >= LEAST_DECISIVE,
        };
        formats.insert(*format, assessment);
    }
    let is_measurable = |format: Format| {
        formats
            .get(&format)
            .is_some_and(|found: &FormatAssessment| found.verdict.is_measurable())
    };
    let moved = side.measured.par_iter().map(|(row, found)| {
        let is_measurable = is_measurable(row.format) && row.other().is_none_or(is_measurable);
        moved(set, *row, &side.grounds[row], found, is_measurable, context)
    });
    CheckpointAssessment {
        name: name.to_owned(),
        moved: moved.collect(),
        formats,
    }
}

/// How far the answers of a row move.
fn moved(
    set: &QuestionSet,
    row: Aspect,
    ground: &Ground,
    found: &Measured,
    is_measurable: bool,
    context: &Context,
) -> Moved {
    let mean = |spread: &Spread| {
        let rows = rows(ground, [spread]);
        estimate(&context.of_sums(rows, |[sum, count]| sum / count, 0.0, Scale::Log))
    };
    let both = rows(ground, [&found.one_order, &found.shuffled]);
    let share = context.of_sums(both, share_of, 1.0, Scale::Log);
    let one_order: Vec<(Place, [f64; 2])> = rows(ground, [&found.one_order]);
    let mut parts: BTreeMap<&str, Vec<(Place, [f64; 2])>> = BTreeMap::new();
    for found in &one_order {
        let file = &set.files[found.0.0];
        let part = match row.across {
            Grouping::Translations | Grouping::Languages => file.origin.country.as_str(),
            _ => file.name.as_str(),
        };
        parts.entry(part).or_default().push(*found);
    }
    let by_part = parts.into_iter().map(|(part, rows)| {
        let found = context.of_sums(rows, |[sum, count]| sum / count, 0.0, Scale::Log);
        (part.to_owned(), estimate(&found))
    });
    let distances: Vec<f64> = one_order
        .iter()
        .map(|(_, [sum, count])| sum / count)
        .collect();
    Moved {
        row,
        is_measurable,
        one_order: ground.slots.has_orders().then(|| mean(&found.one_order)),
        averaged: mean(&found.averaged),
        of_shuffled: estimate(&share),
        closeness: match share.ends {
            Some([_, high]) if high < 1.0 => Closeness::Closer,
            Some([low, _]) if low > 1.0 => Closeness::Farther,
            _ => Closeness::NotTold,
        },
        by_part: by_part.collect(),
        study_ci95: context.study_interval(&distances),
        groups: ground.groups.len(),
        answers: ground.groups.iter().map(Vec::len).sum(),
        alone: ground.alone,
    }
}

/// Sums and counts of spreads by question; the count is the first's.
fn rows<const N: usize, const K: usize>(
    ground: &Ground,
    spreads: [&Spread; N],
) -> Vec<(Place, [f64; K])> {
    // One sum a spread, and the count at the end.
    const { assert!(K == N + 1) };
    let counted = (0..ground.slots.len()).filter(|slot| spreads[0].counts[*slot] > 0.0);
    let row = |slot: usize| {
        let mut sums = [0.0; K];
        for (sum, spread) in sums.iter_mut().zip(spreads) {
            *sum = spread.sums[slot];
        }
        sums[N] = spreads[0].counts[slot];
        (ground.slots.place(slot), sums)
    };
    counted.map(row).collect()
}

/// A sum as a share of another; no number where there is next to nothing to be a share of.
pub(super) fn share_of([sum, shuffled, count]: &[f64; 3]) -> f64 {
    if *shuffled > 1e-9 * count {
        sum / shuffled
    } else {
        f64::NAN
    }
}

/// An estimate over topics.
pub(super) fn estimate(found: &Clustered) -> Estimate {
    Estimate {
        value: found.value,
        interval: found.ends.map(|[low, high]| Interval {
            low,
            high,
            level: CONFIDENCE,
            method: Method::BootstrapT,
        }),
        n: found.clusters,
        unit: "topic",
    }
}
