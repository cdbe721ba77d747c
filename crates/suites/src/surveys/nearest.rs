//! Which population is nearest, and whether that is more than chance makes of so many.

use super::findings::Best;
use super::measure::{LEAST, ROUNDING};
use concord_stats::mean;
use rayon::prelude::*;

/// Exchanges that are drawn together.
const PORTION: usize = 64;

/// Distances by question and population; nothing where a population did not answer.
pub(crate) type Distances = Vec<Vec<Option<f64>>>;

/// A generator of 64 bits (splitmix64): quick, and good enough to exchange names.
struct Mixer(u64);

impl Mixer {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let wide = u128::from(mixed) * count as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

/// The population that is nearest, each held against the others that answered the same questions, and how often one is as near where
/// populations are exchanged at random within questions.
///
/// Populations answer different questions, and different numbers of them: each has the sum of how much farther than the others it is,
/// over the root of what that varies by under exchange.
pub(crate) fn best(
    distances: &[Vec<Option<f64>>],
    names: &[&String],
    exchanges: usize,
    seed: u64,
) -> Option<Best> {
    // By question: who answered it, how much farther each is than their mean.
    let mut rows: Vec<(Vec<usize>, Vec<f64>)> = Vec::new();
    let (mut counts, mut variances) = (vec![0usize; names.len()], vec![0.0; names.len()]);
    for of in distances {
        let known = of.iter().enumerate();
        let known: Vec<(usize, f64)> = known
            .filter_map(|(at, found)| Some((at, (*found)?)))
            .collect();
        if known.len() < 2 {
            continue;
        }
        let middle = mean(&known.iter().map(|(_, found)| *found).collect::<Vec<f64>>());
        let (who, farther): (Vec<usize>, Vec<f64>) = known
            .into_iter()
            .map(|(at, found)| (at, found - middle))
            .unzip();
        let variance = mean(&farther.iter().map(|x| x * x).collect::<Vec<f64>>());
        for at in &who {
            counts[*at] += 1;
            variances[*at] += variance;
        }
        rows.push((who, farther));
    }
    let scales: Vec<Option<f64>> = counts
        .iter()
        .zip(&variances)
        .map(|(count, variance)| (*count >= LEAST && *variance > ROUNDING).then(|| variance.sqrt()))
        .collect();
    if scales.iter().flatten().count() < 2 {
        return None;
    }
    let least = |sums: &[f64]| {
        let each = sums.iter().zip(&scales).enumerate();
        let each = each.filter_map(|(at, (sum, scale))| Some((at, sum / (*scale)?)));
        each.min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let mut sums = vec![0.0; names.len()];
    for (who, farther) in &rows {
        for (at, farther) in who.iter().zip(farther) {
            sums[*at] += farther;
        }
    }
    let (at, nearest) = least(&sums)?;
    let nearer = -sums[at] / counts[at] as f64;
    // In portions of their own, so that it does not matter how many threads there are.
    let portions = (0..exchanges.div_ceil(PORTION)).into_par_iter();
    let as_near: usize = portions
        .map(|portion| {
            let mut mixer = Mixer(
                seed.wrapping_add(portion as u64)
                    .wrapping_mul(0x2545_f491_4f6c_dd1d),
            );
            let (mut rows, mut sums) = (rows.clone(), vec![0.0; names.len()]);
            let count = PORTION.min(exchanges - portion * PORTION);
            let as_near = (0..count).filter(|_| {
                sums.fill(0.0);
                for (who, farther) in &mut rows {
                    for last in (1..farther.len()).rev() {
                        farther.swap(last, mixer.below(last + 1));
                    }
                    for (at, farther) in who.iter().zip(farther.iter()) {
                        sums[*at] += farther;
                    }
                }
                least(&sums).is_some_and(|(_, other)| other <= nearest + ROUNDING)
            });
            as_near.count()
        })
        .sum();
    Some(Best {
        population: names[at].clone(),
        nearer,
        p: (as_near as f64 + 1.0) / (exchanges as f64 + 1.0),
    })
}
