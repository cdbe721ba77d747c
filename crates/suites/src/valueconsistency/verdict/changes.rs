//! How a checkpoint differs from the first, with decisiveness and without, and what follows.

use super::moves::{FORMATS, Ground, Measured, Side, estimate, share_of};
use super::{
    Aspect, Change, Changed, CheckpointAssessment, Conclusion, Key, Moved, PairAssessment, Tested,
};
use crate::shared::paired::adjusted;
use crate::valueconsistency::context::Context;
use crate::valueconsistency::plan::{Format, Place};
use crate::valueconsistency::spread::{Slots, Spread};
use concord_stats::{Clustered, Scale};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Differences are told below this, among the rows of a format.
const LEVEL: f64 = 0.05;

type Assessed<'a> = (&'a CheckpointAssessment, &'a Side);

pub(super) fn pair([first, second]: [Assessed<'_>; 2], context: &Context) -> PairAssessment {
    let is_shared = |moved: &&Moved| {
        let mut others = second.0.moved.iter();
        moved.is_measurable && others.any(|other| other.row == moved.row && other.is_measurable)
    };
    let shared: Vec<Aspect> = first
        .0
        .moved
        .iter()
        .filter(is_shared)
        .map(|moved| moved.row)
        .collect();
    let mut keys: Vec<Key> = shared.iter().map(|row| row.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    let tempered = keys
        .into_par_iter()
        .filter_map(|key| Some((key, tempered(key, first.1, second.1)?)));
    let tempered: BTreeMap<Key, Tempered> = tempered.collect();
    let rows = shared
        .into_par_iter()
        .filter_map(|row| changed(row, first.1, second.1, tempered.get(&row.key())?, context));
    let mut rows: Vec<Changed> = rows.collect();
    for format in FORMATS {
        adjust(&mut rows, format);
    }
    for row in &mut rows {
        row.change = change(row);
    }
    PairAssessment {
        first: first.0.name.clone(),
        second: second.0.name.clone(),
        conclusion: conclusion(&rows),
        rows,
    }
}

/// Answers of two checkpoints at one decisiveness: that of the less decisive one.
struct Tempered {
    /// Which of the two is tempered: 0 or 1.
    which: usize,
    /// Its answers at the decisiveness of the other.
    matched: Slots,
    /// Its answers at a little less: how far they move with decisiveness.
    nudged: Slots,
    /// How much less.
    nudge: f64,
}

/// Draws of orders that say how far distances move with decisiveness.
const DRAWS_OF_SLOPE: u64 = 16;
/// By how much a decisiveness is made less to see what that does.
const NUDGE: f64 = 0.05;

fn tempered(key: Key, first: &Side, second: &Side) -> Option<Tempered> {
    let slots = |side: &Side| {
        let mut grounds = side.grounds.iter();
        let ground = grounds.find(|(row, _)| row.key() == key);
        ground.map(|(_, ground)| Arc::clone(&ground.slots))
    };
    let sides = [slots(first)?, slots(second)?];
    let decisiveness = [sides[0].decisiveness(), sides[1].decisiveness()];
    let which = usize::from(decisiveness[1] > decisiveness[0]);
    let least = decisiveness[1 - which];
    let nudge = NUDGE * least;
    Some(Tempered {
        which,
        matched: sides[which].as_decisive_as(least),
        nudged: sides[which].as_decisive_as(least - nudge),
        nudge,
    })
}

/// The difference of two checkpoints at one decisiveness.
///
/// How much one has to be tempered is found from the same answers, and would be found otherwise from others: a resample in which the tempered
/// one is more decisive than the other is taken back by what decisiveness does to its distances.
fn matched(
    grounds: [&Ground; 2],
    measured: [&Measured; 2],
    shared: &[(usize, usize)],
    tempered: &Tempered,
    context: &Context,
) -> Clustered {
    let Tempered {
        which,
        matched,
        nudged,
        nudge,
    } = tempered;
    let (other, seed) = (1 - which, context.settings.seed);
    let groups = &grounds[*which].groups;
    // The same draws as of the other, so that what is alike differs in nothing.
    let at_one = matched.one_order(groups, seed);
    let by_few = |slots: &Slots| slots.one_order_by(groups, seed, DRAWS_OF_SLOPE);
    let nearby = if Slots::is_exact(groups) {
        [at_one.clone(), by_few(nudged)]
    } else {
        [by_few(matched), by_few(nudged)]
    };
    let (mine, theirs) = (
        matched.decisiveness_by_slot(),
        grounds[other].slots.decisiveness_by_slot(),
    );
    let slots = |pair: &(usize, usize)| {
        if *which == 0 {
            (pair.0, pair.1)
        } else {
            (pair.1, pair.0)
        }
    };
    let total = |spread: &Spread| {
        let of = |pair| spread.sums[slots(pair).0];
        shared.iter().map(of).sum::<f64>()
    };
    let count: f64 = shared.iter().map(|pair| at_one.counts[slots(pair).0]).sum();
    let slope = if *nudge > 0.0 {
        (total(&nearby[0]) - total(&nearby[1])) / (count * nudge)
    } else {
        0.0
    };
    let rows = shared.iter().map(|pair| {
        let (own, of_other) = slots(pair);
        let (n, m) = (
            at_one.counts[own],
            measured[other].one_order.counts[of_other],
        );
        let sums = [
            at_one.sums[own],
            measured[other].one_order.sums[of_other],
            n,
            m,
            n * mine[own],
            m * theirs[of_other],
        ];
        (grounds[0].slots.place(pair.0), sums)
    });
    let sign = if *which == 0 { 1.0 } else { -1.0 };
    let statistic = |[a, b, n, m, mine, theirs]: &[f64; 6]| {
        sign * (b / m - (a / n + slope * (theirs / m - mine / n)))
    };
    context.of_sums(rows, statistic, 0.0, Scale::Plain)
}

/// The p-values of one format's counted rows are a family, for each of the differences.
fn adjust(rows: &mut [Changed], format: Format) {
    let family: Vec<usize> = (0..rows.len())
        .filter(|at| rows[*at].row.format == format && rows[*at].row.is_counted())
        .collect();
    let of: [fn(&mut Changed) -> Option<&mut Tested>; 4] = [
        |row| row.one_order.as_mut(),
        |row| Some(&mut row.averaged),
        |row| Some(&mut row.of_shuffled),
        |row| Some(&mut row.matched),
    ];
    for tested in of {
        let p: Vec<Option<f64>> = family.iter().map(|at| tested(&mut rows[*at])?.p).collect();
        for (at, q) in family.iter().zip(adjusted(&p)) {
            if let Some(tested) = tested(&mut rows[*at]) {
                tested.q = q;
            }
        }
    }
}

/// Answers that both have: the slots of the same question and format, in either.
fn changed(
    row: Aspect,
    first: &Side,
    second: &Side,
    tempered: &Tempered,
    context: &Context,
) -> Option<Changed> {
    let (a, b) = (first.grounds.get(&row)?, second.grounds.get(&row)?);
    let (of_a, of_b) = (first.measured.get(&row)?, second.measured.get(&row)?);
    let in_b = b.slots.by_place();
    let mut seen: HashMap<Place, usize> = HashMap::new();
    let mut shared: Vec<SharedSlot> = Vec::new();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for slot in 0..a.slots.len() {
        let place = a.slots.place(slot);
        let times = seen.entry(place).or_default();
        let other = in_b
            .get(&place)
            .and_then(|slots| slots.get(*times))
            .copied();
        *times += 1;
        let Some(other) = other else { continue };
        let counts = [of_a.one_order.counts[slot], of_b.one_order.counts[other]];
        if counts.iter().any(|count| *count <= 0.0) {
            continue;
        }
        let of = |a: &Spread, b: &Spread| [a.sums[slot], b.sums[other]];
        pairs.push((slot, other));
        shared.push(SharedSlot {
            place,
            counts,
            one_order: of(&of_a.one_order, &of_b.one_order),
            averaged: of(&of_a.averaged, &of_b.averaged),
            shuffled: of(&of_a.shuffled, &of_b.shuffled),
        });
    }
    if shared.is_empty() {
        return None;
    }
    let sums = |of: fn(&SharedSlot) -> [f64; 2]| {
        let row = move |slot: &SharedSlot| {
            let ([a, b], [n, m]) = (of(slot), slot.counts);
            (slot.place, [a, b, n, m])
        };
        shared.iter().map(row)
    };
    let difference = |of: fn(&SharedSlot) -> [f64; 2]| {
        let less = |[a, b, n, m]: &[f64; 4]| b / m - a / n;
        tested(&context.of_sums(sums(of), less, 0.0, Scale::Plain))
    };
    let times = |[a, b, n, m]: &[f64; 4]| (b / m) / (a / n);
    let ratio = context.of_sums(sums(|slot| slot.one_order), times, 1.0, Scale::Log);
    let with_shuffled = shared.iter().map(|slot| {
        let ([a, b], [of_a, of_b], [n, m]) = (slot.one_order, slot.shuffled, slot.counts);
        (slot.place, [a, of_a, n, b, of_b, m])
    });
    let shares = |[a, of_a, n, b, of_b, m]: &[f64; 6]| {
        share_of(&[*b, *of_b, *m]) - share_of(&[*a, *of_a, *n])
    };
    Some(Changed {
        row,
        one_order: a
            .slots
            .has_orders()
            .then(|| difference(|slot| slot.one_order)),
        averaged: difference(|slot| slot.averaged),
        ratio: estimate(&ratio),
        of_shuffled: tested(&context.of_sums(with_shuffled, shares, 0.0, Scale::Plain)),
        matched: tested(&matched([a, b], [of_a, of_b], &pairs, tempered, context)),
        decisiveness: b.slots.decisiveness() - a.slots.decisiveness(),
        change: Change::NotTold,
    })
}

/// What both checkpoints have of one slot, the first's and the second's.
struct SharedSlot {
    place: Place,
    counts: [f64; 2],
    one_order: [f64; 2],
    averaged: [f64; 2],
    shuffled: [f64; 2],
}

/// The sign of a difference that can be told, 0 where none can.
fn sign(tested: &Tested) -> i8 {
    if tested.q.or(tested.p).is_none_or(|q| q >= LEVEL) || tested.estimate.value.is_nan() {
        0
    } else if tested.estimate.value > 0.0 {
        1
    } else {
        -1
    }
}

/// A difference counts only where it stays without what decisiveness adds, by both ways of taking that out.
fn change(row: &Changed) -> Change {
    let plain = sign(row.plain());
    match (sign(&row.of_shuffled), sign(&row.matched), plain) {
        (1, 1, 0 | 1) => Change::LessConsistent,
        (-1, -1, 0 | -1) => Change::MoreConsistent,
        (_, _, 1) if row.decisiveness > 0.0 && is_explained(row) => Change::FartherByDecisiveness,
        (_, _, -1) if row.decisiveness < 0.0 && is_explained(row) => Change::LessFarByDecisiveness,
        (_, _, 0) => Change::NotTold,
        _ => Change::NotSettled,
    }
}

/// Whether less than half of a difference is left at one decisiveness.
fn is_explained(row: &Changed) -> bool {
    let plain = row.plain().estimate.value;
    row.matched.estimate.value.abs() < 0.5 * plain.abs() || row.matched.estimate.value * plain < 0.0
}

fn conclusion(rows: &[Changed]) -> Conclusion {
    let counted = rows.iter().filter(|row| row.row.is_counted());
    // Of the first format that both can be measured by; rows of two formats belong to their first.
    let format = counted.map(|row| row.row.format).min();
    format.map_or(Conclusion::NotMeasurable, |format| {
        conclusion_of(rows, format)
    })
}

/// What follows from the rows of one format.
pub(crate) fn conclusion_of(rows: &[Changed], format: Format) -> Conclusion {
    let counted = || rows.iter().filter(|row| row.row.is_counted());
    let any =
        |of: &[Change]| counted().any(|row| row.row.format == format && of.contains(&row.change));
    match (
        any(&[Change::LessConsistent]),
        any(&[Change::MoreConsistent]),
    ) {
        (true, true) => Conclusion::Mixed,
        (true, false) => Conclusion::LessConsistent,
        (false, true) => Conclusion::MoreConsistent,
        (false, false) if any(&[Change::FartherByDecisiveness, Change::LessFarByDecisiveness]) => {
            Conclusion::DecisivenessAlone
        }
        (false, false) if any(&[Change::NotSettled]) => Conclusion::NotSettled,
        _ => Conclusion::NotTold,
    }
}

fn tested(found: &Clustered) -> Tested {
    Tested {
        estimate: estimate(found),
        p: found.p,
        p_is_bound: found.p_is_bound,
        q: None,
    }
}
