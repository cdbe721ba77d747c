//! Which population is nearest, and whether that is more than chance makes of so many.

use super::findings::Best;
use super::measure::{LEAST, ROUNDING};
use crate::shared::draw::splitmix;
use concord_stats::mean;
use rayon::prelude::*;

/// Draws that are made together.
const PORTION: usize = 64;

/// A population's distances, by question: as the checkpoint answers, and then with its probabilities on the options in other orders; nothing
/// where the population did not answer.
pub(crate) type Distances = Vec<Option<Vec<f64>>>;

/// A generator of 64 bits (splitmix64): quick, and good enough to draw orders.
struct Mixer(u64);

impl Mixer {
    fn below(&mut self, count: usize) -> usize {
        let wide = u128::from(splitmix(&mut self.0)) * count as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

/// A question: who answered it, and for each order of options how much farther than the mean of all orders and of all populations each is.
struct Row {
    who: Vec<usize>,
    by_order: Vec<Vec<f64>>,
}

/// The rows of questions that two populations at least answered.
fn rows(distances: &[Distances]) -> Vec<Row> {
    let questions = distances.first().map_or(0, Vec::len);
    let row = |question: usize| {
        let each = distances.iter().enumerate();
        let known: Vec<(usize, &Vec<f64>)> = each
            .filter_map(|(at, of)| Some((at, of[question].as_ref()?)))
            .collect();
        let orders = known.first()?.1.len();
        if known.len() < 2 || orders < 2 {
            return None;
        }
        // A population whose answers are flat is near to anything: what counts is how near it is by what the options are.
        let middles: Vec<f64> = known.iter().map(|(_, of)| mean(of)).collect();
        let by_order = (0..orders).map(|order| {
            let each = known.iter().zip(&middles);
            let farther: Vec<f64> = each.map(|((_, of), middle)| of[order] - middle).collect();
            let shared = mean(&farther);
            farther.iter().map(|x| x - shared).collect()
        });
        Some(Row {
            who: known.iter().map(|(at, _)| *at).collect(),
            by_order: by_order.collect(),
        })
    };
    (0..questions).filter_map(row).collect()
}

/// The population that is nearest, and how often one is as near where the checkpoint's probabilities stand on options in random orders.
///
/// Each is held against the others that answered the same questions, in how much nearer it is than with the options in any order. Populations answer
/// different numbers of questions: the sum of each is divided by its standard deviation over orders. Where answers have nothing to do with
/// what the options are, the order in which they stand is one of all orders, and p is exact.
pub(crate) fn best(
    distances: &[Distances],
    names: &[&String],
    draws: usize,
    seed: u64,
) -> Option<Best> {
    let rows = rows(distances);
    let (mut counts, mut variances) = (vec![0usize; names.len()], vec![0.0; names.len()]);
    for row in &rows {
        for (place, at) in row.who.iter().enumerate() {
            let each = row.by_order.iter().map(|of| of[place] * of[place]);
            counts[*at] += 1;
            variances[*at] += mean(&each.collect::<Vec<f64>>());
        }
    }
    let scales = counts.iter().zip(&variances).map(|(count, variance)| {
        let varies = *variance > ROUNDING;
        (*count >= LEAST && varies).then(|| variance.sqrt())
    });
    let scales: Vec<Option<f64>> = scales.collect();
    if scales.iter().flatten().count() < 2 {
        return None;
    }
    let least = |sums: &[f64]| {
        let each = sums.iter().zip(&scales).enumerate();
        let each = each.filter_map(|(at, (sum, scale))| Some((at, sum / (*scale)?)));
        each.min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let summed = |sums: &mut Vec<f64>, order: &mut dyn FnMut(usize) -> usize| {
        sums.fill(0.0);
        for row in &rows {
            let farther = &row.by_order[order(row.by_order.len())];
            for (at, farther) in row.who.iter().zip(farther) {
                sums[*at] += farther;
            }
        }
    };
    let mut sums = vec![0.0; names.len()];
    summed(&mut sums, &mut |_| 0);
    let (at, nearest) = least(&sums)?;
    let nearer = -sums[at] / counts[at] as f64;
    // In portions of their own, so that it does not matter how many threads there are.
    let portions = (0..draws.div_ceil(PORTION)).into_par_iter();
    let as_near: usize = portions
        .map(|portion| {
            let own = seed.wrapping_add(portion as u64);
            let mut mixer = Mixer(own.wrapping_mul(0x2545_f491_4f6c_dd1d));
            let mut sums = vec![0.0; names.len()];
            let count = PORTION.min(draws - portion * PORTION);
            let as_near = (0..count).filter(|_| {
                summed(&mut sums, &mut |orders| mixer.below(orders));
                least(&sums).is_some_and(|(_, other)| other <= nearest + ROUNDING)
            });
            as_near.count()
        })
        .sum();
    Some(Best {
        population: names[at].clone(),
        nearer,
        p: (as_near as f64 + 1.0) / (draws as f64 + 1.0),
    })
}
