//! How far the answers of a group lie apart: in one random order of the options, over both orders, and shuffled.
//!
//! The study asks every question in one order, drawn at random. Over all such draws the distances have an expectation, which is exact
//! where a group has few answers and the mean of seeded draws where it has many. The same answers, shuffled within their file, say
//! how far apart answers lie that have nothing to do with each other: what is left of that is a ratio that neither the decisiveness of a
//! checkpoint nor the size of groups enters.

mod draws;

use super::answers::AnswerTable;
use super::plan::Place;
use concord_questions::QuestionSet;
use concord_stats::{BinaryAnswer, BinaryLanes, Distance, binary_centroid_distances};
use rayon::prelude::*;

/// Seeded draws where an expectation is not exact.
const DRAWS: u64 = 200;
/// Shuffles: each has every answer once, so that few are enough.
const SHUFFLES: u64 = 32;
/// Draws over more than two stances, whose centroids take a hundred times as long.
const FEW_DRAWS: u64 = 20;
/// Draws that are measured at once, one lane each.
const LANES: usize = 8;
/// Groups of at most so many answers are gone through in all of their orders.
const EXACT: usize = 6;

/// Answers of one checkpoint in one or several formats, one after another.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    /// How many stances an answer is over.
    stances: usize,
    /// The question of each slot.
    places: Vec<Place>,
    /// What a slot may be shuffled with: answers of one file in one format.
    pools: Vec<usize>,
    /// Answers by order of the options: the last stance of two, all of them of more.
    orders: Vec<Vec<f64>>,
    /// The same of two stances, ready to be measured.
    binary: Vec<Vec<BinaryAnswer>>,
}

/// Slots of each group.
pub(crate) type Groups = Vec<Vec<usize>>;

/// The distance of each slot, summed over its groups, and in how many it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    /// Sum of the slot's distances; of shuffled answers what the slot's answer adds to that of all.
    pub sums: Vec<f64>,
    /// How many.
    pub counts: Vec<f64>,
    /// The sum of its groups' distances, and of their sizes.
    groups: Vec<[f64; 2]>,
}

impl Slots {
    /// The answers of tables by order of the options, one format after another.
    pub fn new(set: &QuestionSet, formats: &[&[&AnswerTable]]) -> Self {
        let stances = formats
            .iter()
            .flat_map(|orders| orders.iter())
            .flat_map(|table| table.values().flatten().flatten())
            .map(|answer| answer.probabilities().len())
            .next()
            .unwrap_or(2);
        let width = Self::width_of(stances);
        let orders = formats.iter().map(|orders| orders.len()).max().unwrap_or(0);
        let (mut places, mut pools, mut values) =
            (Vec::new(), Vec::new(), vec![Vec::new(); orders]);
        for (format, tables) in formats.iter().enumerate() {
            for (number, file) in set.files.iter().enumerate() {
                let of_file: Option<Vec<_>> =
                    tables.iter().map(|table| table.get(&file.name)).collect();
                let Some(of_file) = of_file.filter(|rows| !rows.is_empty()) else {
                    continue;
                };
                for row in 0..file.questions.len() {
                    let answer =
                        |order: usize| Some(of_file[order].get(row)?.as_ref()?.probabilities());
                    if (0..of_file.len()).any(|order| answer(order).is_none()) {
                        continue;
                    }
                    places.push((number, row));
                    pools.push(format * set.files.len() + number);
                    for (order, values) in values.iter_mut().enumerate() {
                        // A format that was asked in one order has the same answer in both.
                        let answer = answer(order.min(of_file.len() - 1)).unwrap_or_default();
                        values.extend(&answer[stances - width..]);
                    }
                }
            }
        }
        Self::of(stances, places, pools, values)
    }

    fn of(stances: usize, places: Vec<Place>, pools: Vec<usize>, orders: Vec<Vec<f64>>) -> Self {
        let binary = if stances == 2 {
            let ready = |values: &Vec<f64>| values.iter().copied().map(BinaryAnswer::new).collect();
            orders.iter().map(ready).collect()
        } else {
            Vec::new()
        };
        Self {
            stances,
            places,
            pools,
            orders,
            binary,
        }
    }

    /// The same questions with other answers.
    fn with(&self, orders: Vec<Vec<f64>>) -> Self {
        Self::of(
            self.stances,
            self.places.clone(),
            self.pools.clone(),
            orders,
        )
    }

    fn width_of(stances: usize) -> usize {
        if stances == 2 { 1 } else { stances }
    }

    fn width(&self) -> usize {
        Self::width_of(self.stances)
    }

    /// How many slots.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The question of a slot.
    pub fn place(&self, slot: usize) -> Place {
        self.places[slot]
    }

    /// The slots of a question, in the order of formats.
    pub fn by_place(&self) -> std::collections::HashMap<Place, Vec<usize>> {
        let mut found = std::collections::HashMap::new();
        for (slot, place) in self.places.iter().enumerate() {
            found.entry(*place).or_insert_with(Vec::new).push(slot);
        }
        found
    }

    /// The same with both orders averaged.
    pub fn averaged(&self) -> Self {
        let count = self.orders.len().max(1) as f64;
        let values = self.orders.first().map_or(0, Vec::len);
        let mean = |at: usize| self.orders.iter().map(|order| order[at]).sum::<f64>() / count;
        self.with(vec![(0..values).map(mean).collect()])
    }

    /// Whether both orders were asked.
    pub fn has_orders(&self) -> bool {
        self.orders.len() > 1
    }

    /// How far answers in one order are from saying nothing: the mean total variation from all stances alike, ½ at most for two.
    pub fn decisiveness(&self) -> f64 {
        self.decisiveness_of(&self.orders)
    }

    fn decisiveness_of(&self, orders: &[Vec<f64>]) -> f64 {
        let even = 1.0 / self.stances as f64;
        let values = orders.iter().flatten();
        let off: f64 = values.map(|p| (p - even).abs()).sum();
        let answers = orders.iter().map(Vec::len).sum::<usize>() / self.width();
        let twice = if self.width() == 1 { 1.0 } else { 2.0 };
        off / (twice * answers.max(1) as f64)
    }

    /// How decisive each answer is, averaged over orders: its total variation from all stances alike.
    pub fn decisiveness_by_slot(&self) -> Vec<f64> {
        let even = 1.0 / self.stances as f64;
        let twice = if self.width() == 1 { 1.0 } else { 2.0 };
        let orders = self.orders.len().max(1) as f64;
        let off = |answer: &[f64]| answer.iter().map(|p| (p - even).abs()).sum::<f64>() / twice;
        let mut found = vec![0.0; self.len()];
        for values in &self.orders {
            for (sum, answer) in found.iter_mut().zip(values.chunks_exact(self.width())) {
                *sum += off(answer) / orders;
            }
        }
        found
    }

    /// The same answers, less decisive: each raised to one power at which their decisiveness is what is asked for, at most their own.
    pub fn as_decisive_as(&self, decisiveness: f64) -> Self {
        if self.decisiveness() <= decisiveness {
            return self.clone();
        }
        // In logarithms a power is a factor.
        let log = |p: &f64| {
            // As the study adds to every probability: one that is ruled out can be tempered too.
            let p = p.clamp(ADDED_MASS, 1.0 - ADDED_MASS);
            if self.width() == 1 {
                p.ln() - (1.0 - p).ln()
            } else {
                p.ln()
            }
        };
        let orders = self.orders.iter();
        let logs: Vec<Vec<f64>> = orders
            .map(|values| values.iter().map(log).collect())
            .collect();
        let at = |power: f64| -> Vec<Vec<f64>> {
            let orders = logs.iter();
            orders
                .map(|logs| tempered(logs, self.width(), power))
                .collect()
        };
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..STEPS {
            let middle = f64::midpoint(low, high);
            if self.decisiveness_of(&at(middle)) < decisiveness {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.with(at(low))
    }

    /// The correlation over questions of the last stance in both orders, and how often the favourite changes with the order.
    pub fn order_agreement(&self) -> Option<OrderAgreement> {
        let [given, reversed] = &self.orders[..] else {
            return None;
        };
        let width = self.width();
        let last = |values: &[f64]| -> Vec<f64> {
            values
                .chunks_exact(width)
                .filter_map(|answer| answer.last().copied())
                .collect()
        };
        let favourite = |answer: &[f64]| match answer {
            [p] if (p - 0.5).abs() < TIE => None,
            [p] => Some(usize::from(*p > 0.5)),
            all => {
                let most = all.iter().copied().fold(f64::MIN, f64::max);
                let mut at = all.iter().enumerate().filter(|(_, p)| most - **p < TIE);
                let first = at.next().map(|(at, _)| at);
                if at.next().is_some() { None } else { first }
            }
        };
        let pairs = given.chunks_exact(width).zip(reversed.chunks_exact(width));
        let flips = pairs.filter(|(a, b)| {
            let (a, b) = (favourite(a), favourite(b));
            a.is_some() && b.is_some() && a != b
        });
        let flips = flips.count() as f64 / self.len().max(1) as f64;
        Some(OrderAgreement {
            correlation: correlation(&last(given), &last(reversed)),
            flips,
        })
    }

    /// The distance of each slot in one random order of every question's options, in expectation.
    pub fn one_order(&self, groups: &Groups, seed: u64) -> Spread {
        self.one_order_by(groups, seed, DRAWS)
    }

    /// The same, from so many draws at most where a group is large.
    pub fn one_order_by(&self, groups: &Groups, seed: u64, draws: u64) -> Spread {
        if !self.has_orders() {
            return self.as_they_are(groups);
        }
        let (exact, drawn): (Groups, Groups) = groups
            .iter()
            .cloned()
            .partition(|group| group.len() <= EXACT);
        let mut found = Spread::new(self.len());
        let of_exact: Vec<Vec<f64>> = exact
            .par_iter()
            .map_init(Scratch::default, |scratch, group| {
                self.expectation(group, scratch)
            })
            .collect();
        for (group, distances) in exact.iter().zip(of_exact) {
            found.add(group, &distances);
        }
        if !drawn.is_empty() {
            found.merge(&self.over_draws(&drawn, seed, draws, false));
        }
        found
    }

    /// Whether groups are small enough for nothing to be drawn.
    pub fn is_exact(groups: &Groups) -> bool {
        groups.iter().all(|group| group.len() <= EXACT)
    }

    /// The distance of each slot, as its answer stands in the first order.
    pub fn as_they_are(&self, groups: &Groups) -> Spread {
        let mut found = Spread::new(self.len());
        let (mut lanes, mut out) = (Vec::new(), Vec::new());
        for group in groups {
            if self.stances == 2 {
                lanes.clear();
                let answers = group.iter().map(|slot| self.binary[0][*slot]);
                lanes.extend(answers.map(|answer| BinaryLanes::new([answer])));
                binary_centroid_distances(&lanes, &mut out);
            } else {
                let of_group = self.of_many(group.iter().map(|slot| (*slot, 0)));
                out.clear();
                out.extend(of_group.into_iter().map(|distance| [distance]));
            }
            found.add(group, out.as_flattened());
        }
        found
    }

    /// The distance that each answer has where the answers of a file are shuffled, in one random order each, in expectation.
    ///
    /// An answer moves not only its own distance but those of all that it is dealt together with: each is given what it adds to the mean of
    /// all (that of its groups, less the mean, times their size), which sums up to the same and whose spread over topics is the error.
    pub fn shuffled(&self, groups: &Groups, seed: u64) -> Spread {
        let mut found = self.over_draws(groups, seed, SHUFFLES, true);
        let (total, count): (f64, f64) = (found.sums.iter().sum(), found.counts.iter().sum());
        if count <= 0.0 {
            return found;
        }
        let mean = total / count;
        for (slot, [distances, sizes]) in found.groups.iter().enumerate() {
            found.sums[slot] = distances - mean * sizes + mean * found.counts[slot];
        }
        // Groups of different sizes leave a rest.
        let rest = (found.sums.iter().sum::<f64>() - total) / count;
        for (sum, count) in found.sums.iter_mut().zip(&found.counts) {
            *sum -= rest * count;
        }
        found
    }

    /// The exact expectation over all orders of a small group's answers.
    fn expectation(&self, group: &[usize], scratch: &mut Scratch) -> Vec<f64> {
        let mut sums = vec![0.0; group.len()];
        let all = 1usize << group.len();
        for first in (0..all).step_by(LANES) {
            // Lanes beyond the last hold it again and are not counted.
            let orders = |lane: usize| (first + lane).min(all - 1);
            let answers = group.iter().enumerate();
            let answers = answers
                .map(|(at, slot)| std::array::from_fn(|lane| (*slot, orders(lane) >> at & 1)));
            let counted = LANES.min(all - first);
            for (sum, distances) in sums.iter_mut().zip(self.distances(answers, scratch)) {
                *sum += distances[..counted].iter().sum::<f64>();
            }
        }
        sums.iter().map(|sum| sum / all as f64).collect()
    }

    /// The distances of a group in a block of draws, from the slot and order of each answer.
    fn distances<'s>(
        &self,
        answers: impl Iterator<Item = [(usize, usize); LANES]> + Clone,
        scratch: &'s mut Scratch,
    ) -> &'s [[f64; LANES]] {
        if self.stances == 2 {
            scratch.group.clear();
            scratch.group.extend(answers.map(|lanes| {
                BinaryLanes::new(lanes.map(|(slot, order)| self.binary[order][slot]))
            }));
            binary_centroid_distances(&scratch.group, &mut scratch.found);
        } else {
            scratch.found.clear();
            for lane in 0..LANES {
                let of_lane = self.of_many(answers.clone().map(|lanes| lanes[lane]));
                scratch.found.resize(of_lane.len(), [0.0; LANES]);
                for (found, distance) in scratch.found.iter_mut().zip(of_lane) {
                    found[lane] = distance;
                }
            }
        }
        &scratch.found
    }

    /// The distances of a group over more than two stances.
    fn of_many(&self, answers: impl Iterator<Item = (usize, usize)>) -> Vec<f64> {
        let width = self.width();
        let group: Vec<&[f64]> = answers
            .map(|(slot, order)| &self.orders[order][slot * width..][..width])
            .collect();
        // Where no centroid settles the distances to the mean stand in: nothing is drawn by itself there.
        Distance::Centroid
            .of_group(&group)
            .or_else(|_| Distance::Mean.of_group(&group))
            .unwrap_or_default()
    }
}

/// Two probabilities this close are a tie.
const TIE: f64 = 1e-12;

/// How far the answers in both orders agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OrderAgreement {
    /// Correlation over questions; `None` where answers do not vary.
    pub correlation: Option<f64>,
    /// Share of questions whose favourite changes with the order.
    pub flips: f64,
}

#[derive(Default)]
struct Scratch {
    group: Vec<BinaryLanes<LANES>>,
    found: Vec<[f64; LANES]>,
}

/// The least that a probability is taken for before its logarithm is.
const ADDED_MASS: f64 = 1e-10;
/// Halvings until a power is found.
const STEPS: usize = 24;

/// Answers with each probability raised to a power, from log odds of two stances or logarithms of more.
fn tempered(logs: &[f64], width: usize, power: f64) -> Vec<f64> {
    if width == 1 {
        return logs
            .iter()
            .map(|odds| 1.0 / (1.0 + (-power * odds).exp()))
            .collect();
    }
    let answers = logs.chunks_exact(width).flat_map(|logs| {
        let raised = logs.iter().map(|log| (power * log).exp());
        let total: f64 = raised.clone().sum();
        raised.map(|p| p / total).collect::<Vec<_>>()
    });
    answers.collect()
}

/// Pearson's; `None` where one of the two hardly varies.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mean_a, mean_b) = (concord_stats::mean(a), concord_stats::mean(b));
    let (mut both, mut squares_a, mut squares_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        both += (x - mean_a) * (y - mean_b);
        squares_a += (x - mean_a).powi(2);
        squares_b += (y - mean_b).powi(2);
    }
    let least = 1e-12 * a.len() as f64;
    (squares_a > least && squares_b > least).then(|| both / (squares_a * squares_b).sqrt())
}

impl Spread {
    fn new(slots: usize) -> Self {
        Self {
            sums: vec![0.0; slots],
            counts: vec![0.0; slots],
            groups: vec![[0.0; 2]; slots],
        }
    }

    fn add(&mut self, group: &[usize], distances: &[f64]) {
        for (slot, distance) in group.iter().zip(distances) {
            self.sums[*slot] += distance;
            self.counts[*slot] += 1.0;
        }
    }

    fn merge(&mut self, other: &Self) {
        for (sum, more) in self.sums.iter_mut().zip(&other.sums) {
            *sum += more;
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        for (group, more) in self
            .groups
            .iter_mut()
            .flatten()
            .zip(other.groups.iter().flatten())
        {
            *group += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_questions::{Question, QuestionSet, demo};
    use concord_stats::Distribution;

    fn slots(orders: &[Vec<f64>], pools: Vec<usize>) -> Slots {
        let places = (0..orders[0].len()).map(|row| (0, row)).collect();
        Slots::of(2, places, pools, orders.to_vec())
    }

    fn of_group(group: &[f64]) -> Vec<f64> {
        let group: Vec<[f64; 2]> = group.iter().map(|p| [1.0 - p, *p]).collect();
        Distance::Centroid.of_group(&group).unwrap()
    }

    fn mean(spread: &Spread) -> f64 {
        spread.sums.iter().sum::<f64>() / spread.counts.iter().sum::<f64>()
    }

    #[test]
    fn the_expectation_of_a_small_group_is_the_mean_over_all_its_orders() {
        let both = [vec![0.1, 0.6, 0.7], vec![0.3, 0.2, 0.9]];
        let found = slots(&both, vec![0; 3]).one_order(&vec![vec![0, 1, 2]], 5);
        let mut expected = [0.0; 3];
        for orders in 0..8usize {
            let group: Vec<f64> = (0..3).map(|at| both[orders >> at & 1][at]).collect();
            for (sum, distance) in expected.iter_mut().zip(of_group(&group)) {
                *sum += distance / 8.0;
            }
        }
        for (found, expected) in found.sums.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{found} {expected}");
        }
        assert_eq!(found.counts, [1.0; 3]);
        // Where one order was asked there is nothing to expect.
        let one = slots(&both[..1], vec![0; 3]);
        let as_it_is = one.one_order(&vec![vec![0, 1, 2]], 5);
        assert!((as_it_is.sums[1] - of_group(&both[0])[1]).abs() < 1e-7);
    }

    #[test]
    fn draws_of_a_large_group_come_near_its_exact_expectation_whatever_the_threads() {
        let given: Vec<f64> = (0..12).map(|k| f64::from(k * 7 % 12) / 11.0).collect();
        let reversed: Vec<f64> = (0..12).map(|k| f64::from(k * 5 % 12) / 11.0).collect();
        let both = slots(&[given.clone(), reversed.clone()], vec![0; 12]);
        let groups = vec![(0..12).collect::<Vec<usize>>()];
        let drawn = both.one_order(&groups, 1);
        let mut exact = 0.0;
        for orders in 0..1usize << 12 {
            let group: Vec<f64> = (0..12)
                .map(|at| {
                    if orders >> at & 1 == 0 {
                        given[at]
                    } else {
                        reversed[at]
                    }
                })
                .collect();
            exact += of_group(&group).iter().sum::<f64>() / 12.0 / 4096.0;
        }
        assert!(
            (mean(&drawn) - exact).abs() < 3e-3,
            "{} {exact}",
            mean(&drawn)
        );
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(one.install(|| both.one_order(&groups, 1)).sums, drawn.sums);
        assert_ne!(both.one_order(&groups, 2).sums, drawn.sums);
    }

    #[test]
    fn answers_are_shuffled_within_their_file_alone() {
        // Each file has one answer throughout: shuffled within it nothing moves.
        let answers = slots(&[vec![0.1, 0.1, 0.9, 0.9]], vec![0, 0, 1, 1]);
        let groups = vec![vec![0, 1], vec![2, 3]];
        assert!(mean(&answers.shuffled(&groups, 0)).abs() < 1e-12);
        // In one file a third of all partners are alike.
        let together = slots(&[vec![0.1, 0.1, 0.9, 0.9]], vec![0; 4]);
        let apart = of_group(&[0.1, 0.9])[0];
        let found = mean(&together.shuffled(&groups, 0)) / apart;
        assert!((found - 2.0 / 3.0).abs() < 0.25, "{found}");
        assert!(mean(&together.as_they_are(&groups)).abs() < 1e-12);
    }

    #[test]
    fn tempering_finds_the_decisiveness_that_is_asked_for() {
        let both = slots(
            &[vec![0.01, 0.4, 0.95, 1.0], vec![0.2, 0.5, 0.6, 0.9]],
            vec![0; 4],
        );
        let tempered = both.as_decisive_as(0.15);
        assert!((tempered.decisiveness() - 0.15).abs() < 1e-6);
        assert_eq!(both.as_decisive_as(0.49).orders, both.orders);
        let before = both.orders.iter().flatten();
        for (before, after) in before.zip(tempered.orders.iter().flatten()) {
            assert!((before - 0.5) * (after - 0.5) >= 0.0, "{before} {after}");
        }
        // Answers that rule everything else out as well.
        let certain = slots(&[vec![0.0, 1.0, 1.0], vec![0.0, 0.0, 1.0]], vec![0; 3]);
        assert!((certain.as_decisive_as(0.2).decisiveness() - 0.2).abs() < 1e-6);
        // Over three stances as well.
        let three = Slots {
            stances: 3,
            ..slots(&[vec![0.7, 0.2, 0.1, 0.05, 0.05, 0.9]], vec![0; 2])
        };
        let tempered = three.as_decisive_as(0.3);
        assert!((tempered.decisiveness() - 0.3).abs() < 1e-6, "{tempered:?}");
        assert!(
            tempered.orders[0]
                .chunks(3)
                .all(|p| (p.iter().sum::<f64>() - 1.0).abs() < 1e-9)
        );
    }

    #[test]
    fn agreement_of_orders_is_correlation_and_flips() {
        let found = |given: Vec<f64>, reversed: Vec<f64>| {
            let count = given.len();
            slots(&[given, reversed], vec![0; count])
                .order_agreement()
                .unwrap()
        };
        let agree = found(vec![0.1, 0.6, 0.9], vec![0.2, 0.7, 1.0]);
        assert!((agree.correlation.unwrap() - 1.0).abs() < 1e-12 && agree.flips == 0.0);
        let opposed = found(vec![0.9, 0.8, 0.6], vec![0.1, 0.2, 0.4]);
        assert!((opposed.correlation.unwrap() + 1.0).abs() < 1e-12);
        assert!((opposed.flips - 1.0).abs() < 1e-12);
        // A tie is no favourite, and what does not vary correlates with nothing.
        let tied = found(vec![0.5, 0.5], vec![0.1, 0.9]);
        assert_eq!((tied.correlation, tied.flips.to_bits()), (None, 0));
    }

    #[test]
    fn slots_are_the_questions_that_every_table_has() {
        let set: QuestionSet = demo().unwrap();
        let count = |file: &concord_questions::QuestionFile| file.questions.len();
        let table = |answer: &dyn Fn(&Question) -> Option<f64>| -> AnswerTable {
            let files = set.files.iter().map(|file| {
                let rows = file
                    .questions
                    .iter()
                    .map(|q| Distribution::binary(answer(q)?).ok());
                (file.name.clone(), rows.collect())
            });
            files.collect()
        };
        let all = table(&|_| Some(0.3));
        let originals = table(&|q| (!q.rephrase).then_some(0.6));
        let both = Slots::new(&set, &[&[&all], &[&originals]]);
        let expected: usize = set.files.iter().map(count).sum();
        let pairs = both
            .by_place()
            .into_values()
            .filter(|slots| slots.len() == 2)
            .count();
        assert!(both.len() > expected && pairs == both.len() - expected);
        assert_eq!(Slots::new(&set, &[&[&all, &originals]]).len(), pairs);
    }
}
