//! How far checkpoints disagree about where answers stand.

use super::data::Data;
use super::findings::{Disagreement, ItemFindings, TopicFindings};
use super::measure::{UNIT, unit};
use crate::shared::clusters::Clusters;
use concord_stats::mean;
use std::collections::BTreeMap;

/// Where disagreement is called high, as the study does.
pub(crate) const HIGH: f64 = 1.5;
/// How far an outlier lies from how many of the others.
const FAR: f64 = 4.0;
const OF_OTHERS: f64 = 0.75;
/// Requests that are shown as those on which checkpoints disagree most.
const SHOWN: usize = 20;

/// The standard deviation of all there are.
fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values);
    let squares: Vec<f64> = values
        .iter()
        .map(|value| (value - middle).powi(2))
        .collect();
    mean(&squares).sqrt()
}

/// What was found of a checkpoint's positions: by request, nothing where there is none.
#[derive(Clone)]
pub(crate) struct Standing<'a> {
    pub name: &'a str,
    pub items: Vec<Option<&'a ItemFindings>>,
}

/// The larger deviation of both values, of some checkpoints on one request.
fn larger(items: &[&ItemFindings], of: fn(&ItemFindings) -> [f64; 2]) -> f64 {
    let each = (0..2).map(|value| {
        let values: Vec<f64> = items.iter().map(|item| of(item)[value]).collect();
        deviation(&values)
    });
    each.fold(0.0, f64::max)
}

/// Disagreement on each request, where every checkpoint has a position: of modes and of expectations.
pub(crate) fn on_requests(all: &[Standing<'_>], requests: usize) -> Vec<Option<[f64; 2]>> {
    let each = (0..requests).map(|at| {
        let items = on(all, at)?;
        Some([
            larger(&items, |item| item.modes),
            larger(&items, |item| item.expected),
        ])
    });
    each.collect()
}

fn on<'a>(all: &[Standing<'a>], at: usize) -> Option<Vec<&'a ItemFindings>> {
    all.iter().map(|of| of.items[at]).collect()
}

/// The step of a half, from 0 to 3, that a disagreement lies in.
pub(crate) fn bin(disagreement: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 6"
    )]
    let bin = (disagreement / 0.5 + 1e-9) as usize;
    bin.min(5)
}

/// How far checkpoints disagree, on the requests on which all of them have a position; nothing where there is none.
pub(crate) fn disagreement(
    data: &Data,
    drawn: &Clusters,
    all: &[Standing<'_>],
) -> Option<Disagreement> {
    let on_requests = on_requests(all, data.items.len());
    let found: Vec<(usize, [f64; 2])> = on_requests
        .iter()
        .enumerate()
        .filter_map(|(at, found)| Some((at, (*found)?)))
        .collect();
    if found.is_empty() {
        return None;
    }
    let over = |value: &dyn Fn(&[f64; 2]) -> f64| {
        let each = found
            .iter()
            .map(|(at, of)| (unit(&data.items[*at].pair), value(of)));
        drawn.mean(each, UNIT).0
    };
    let is_high = |of: &[f64; 2]| f64::from(u8::from(of[0] >= HIGH - 1e-9));
    let mut bins = [0; 6];
    for (_, of) in &found {
        bins[bin(of[0])] += 1;
    }
    let (mut between, mut within) = (0.0, 0.0);
    for items in found.iter().filter_map(|(at, _)| on(all, *at)) {
        for value in 0..2 {
            let means: Vec<f64> = items.iter().map(|item| item.expected[value]).collect();
            let variances: Vec<f64> = items.iter().map(|item| item.variances[value]).collect();
            between += deviation(&means).powi(2);
            within += mean(&variances);
        }
    }
    let mut topics: BTreeMap<&str, Vec<[f64; 2]>> = BTreeMap::new();
    for (at, of) in &found {
        topics.entry(&data.items[*at].topic).or_default().push(*of);
    }
    let topics = topics.into_iter().map(|(topic, of)| {
        let pick = |which: usize| mean(&of.iter().map(|of| of[which]).collect::<Vec<f64>>());
        TopicFindings {
            topic: topic.to_owned(),
            requests: of.len(),
            modes: pick(0),
            expected: pick(1),
        }
    });
    let between_two = |a: &Standing<'_>, b: &Standing<'_>| {
        let each = a.items.iter().zip(&b.items);
        let both = each.filter_map(|(a, b)| Some(larger(&[(*a)?, (*b)?], |item| item.modes)));
        mean(&both.collect::<Vec<f64>>())
    };
    let mut order = found.clone();
    order.sort_by(|(_, a), (_, b)| b[0].total_cmp(&a[0]).then(b[1].total_cmp(&a[1])));
    let most = order.into_iter().take(SHOWN).filter(|(_, of)| of[0] > 0.0);
    let most = most.map(|(at, of)| {
        let item = &data.items[at];
        (
            item.name.clone(),
            item.language.clone(),
            item.direction,
            of[0],
        )
    });
    Some(Disagreement {
        checkpoints: all.iter().map(|of| of.name.to_owned()).collect(),
        modes: over(&|of| of[0]),
        expected: over(&|of| of[1]),
        high: drawn.share(
            found
                .iter()
                .map(|(at, of)| (unit(&data.items[*at].pair), is_high(of))),
            UNIT,
        ),
        between: if between + within > 0.0 {
            between / (between + within)
        } else {
            0.0
        },
        bins,
        topics: topics.collect(),
        between_two: all
            .iter()
            .map(|a| all.iter().map(|b| between_two(a, b)).collect())
            .collect(),
        outliers: outliers(all, &found),
        most: most.collect(),
    })
}

/// The share of positions at which each checkpoint is an outlier.
fn outliers(all: &[Standing<'_>], found: &[(usize, [f64; 2])]) -> Vec<f64> {
    if all.len() < 3 {
        return Vec::new();
    }
    let mut counts = vec![0; all.len()];
    for items in found.iter().filter_map(|(at, _)| on(all, *at)) {
        for value in 0..2 {
            for (own, item) in items.iter().enumerate() {
                let others = items.iter().enumerate().filter(|(other, _)| *other != own);
                let is_far =
                    |other: &ItemFindings| (other.modes[value] - item.modes[value]).abs() >= FAR;
                let far = others.filter(|(_, other)| is_far(other)).count();
                counts[own] += usize::from(far as f64 >= OF_OTHERS * (all.len() - 1) as f64);
            }
        }
    }
    let positions = (2 * found.len()) as f64;
    counts
        .iter()
        .map(|count| *count as f64 / positions)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{bin, deviation};

    #[test]
    fn small_statistics_are_those_known() {
        // Of two: half of how far they are apart. Six threes and six sixes: the study's threshold.
        assert!((deviation(&[1.0, 4.0]) - 1.5).abs() < 1e-12);
        let twelve: Vec<f64> = [3.0; 6].into_iter().chain([6.0; 6]).collect();
        assert!((deviation(&twelve) - 1.5).abs() < 1e-12);
        assert!((deviation(&[0.0, 6.0]) - 3.0).abs() < 1e-12);
        let bins = [0.0, 0.49, 0.5, 1.5, 2.5, 3.0].map(bin);
        assert_eq!(bins, [0, 0, 1, 3, 5, 5]);
    }
}
