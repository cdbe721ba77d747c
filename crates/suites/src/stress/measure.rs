//! Positions, what a nudge moves, and disagreement.

use super::data::{Data, Direction, Item, Options, POSITIONS, called};
use super::disagreement::{Standing, disagreement};
use super::findings::{CheckpointFindings, Findings, ItemFindings, NudgeFindings, RequestAsked};
use super::placed::written;
use super::plan::{self, ASKED, KNOWN, KNOWN_POSITIONS, LIKELY, asked_values, position, wordings};
use super::ranking::{Ranked, bradley_terry};
use super::read::{Over, RoundOf, over_orders};
use crate::shared::clusters::Clusters;
use crate::shared::continuation;
use crate::shared::ranks::rank_correlation;
use crate::{CheckpointReadings, Settings, SuiteError};
use concord_findings::Gate;
use concord_stats::Distribution;
use concord_stats::mean;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Resamples where none are asked for.
const RESAMPLES: usize = 4000;
/// The gates.
pub(crate) const MASS: &str = "mass of letters";
pub(crate) const READ_BACK: &str = "known positions read back";
/// The expected position by how much more probable a scenario makes the text of each.
fn likely(
    data: &Data,
    of: &CheckpointReadings,
    item: &Item,
    value: usize,
) -> Result<f64, SuiteError> {
    let (id, name) = (plan::likely_id(item, value), &item.pair[value]);
    let bare_id = plan::bare_id(&item.language, name);
    let round = round(of, LIKELY);
    let (read, bare) = (round.get(&id)?, round.get(&bare_id)?);
    let wordings = wordings(data, &item.language)?;
    let value = called(&data.values, name, &item.language);
    let mut gains = Vec::with_capacity(POSITIONS);
    for at in 0..POSITIONS {
        let text = position(wordings, at, value);
        let of_text = |reading| {
            let leads = ["", " "].map(|lead| format!("{lead}{text}"));
            let found = leads.iter().find_map(|text| continuation(reading, text));
            found.ok_or_else(|| {
                SuiteError::readings(format!("{}: a text of `{id}` is missing", of.name))
            })
        };
        gains.push(of_text(read)? - of_text(bare)?);
    }
    let p = Distribution::from_log_weights(&gains)
        .map_err(|error| SuiteError::readings(format!("{}: `{id}`: {error}", of.name)))?;
    Ok(p.probabilities()
        .iter()
        .enumerate()
        .map(|(at, p)| at as f64 * p)
        .sum())
}

/// The unit that was drawn.
pub(crate) const UNIT: &str = "pair of values";

/// Two values, whichever is named first.
pub(crate) fn unit(pair: &[String; 2]) -> [&str; 2] {
    let [a, b] = pair.each_ref().map(String::as_str);
    [a.min(b), a.max(b)]
}

/// A round of a checkpoint.
fn round<'a>(of: &'a CheckpointReadings, round: &str) -> RoundOf<'a> {
    RoundOf {
        name: &of.name,
        read: of.readings.round(round),
    }
}

/// Measures every checkpoint, and those that are measurable against each other.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    read: &[CheckpointReadings],
) -> Result<Findings, SuiteError> {
    let drawn = Clusters::new(settings.resamples.unwrap_or(RESAMPLES), settings.seed);
    let checkpoints = read
        .iter()
        .map(|of| checkpoint(data, options, settings, &drawn, of));
    let checkpoints = checkpoints.collect::<Result<Vec<_>, _>>()?;
    let measurable = checkpoints.iter().filter(|of| of.verdict.is_measurable());
    let measurable: Vec<Standing<'_>> = measurable
        .map(|of| Standing {
            name: &of.name,
            items: of.items.iter().map(Some).collect(),
        })
        .collect();
    let disagreement = if measurable.len() > 1 {
        disagreement(data, &drawn, &measurable)
    } else {
        None
    };
    let written = if options.answer_tokens > 0 {
        Some(written(
            data,
            options,
            settings,
            (&drawn, &checkpoints),
            read,
        )?)
    } else {
        None
    };
    let mut scenarios: Vec<&str> = data.items.iter().map(|item| item.name.as_str()).collect();
    scenarios.sort_unstable();
    scenarios.dedup();
    let pairs: BTreeSet<[&str; 2]> = data.items.iter().map(|item| unit(&item.pair)).collect();
    let requests = data.items.iter().map(|item| RequestAsked {
        scenario: item.name.clone(),
        language: item.language.clone(),
        pair: item.pair.clone(),
        nudge: item.direction,
        query: item.query.clone(),
    });
    Ok(Findings {
        requests: requests.collect(),
        disagreement,
        written,
        scenarios: scenarios.len(),
        pairs: pairs.len(),
        limit: options.limit,
        checkpoints,
    })
}

fn checkpoint(
    data: &Data,
    options: &Options,
    settings: Settings,
    drawn: &Clusters,
    of: &CheckpointReadings,
) -> Result<CheckpointFindings, SuiteError> {
    let mut items = Vec::with_capacity(data.items.len());
    let mut masses = Vec::new();
    let asked = round(of, ASKED);
    for item in &data.items {
        let read =
            |value: usize| over_orders(asked, POSITIONS, |order| plan::id(item, value, order));
        let both = [read(0)?, read(1)?];
        masses.extend(both.each_ref().map(|read| (unit(&item.pair), read.mass)));
        let likely = [likely(data, of, item, 0)?, likely(data, of, item, 1)?];
        items.push(positions(&both, Some(likely)));
    }
    let (read_back, mass_of_known) = read_back(data, round(of, KNOWN))?;
    let mass = drawn.mean(masses, UNIT).0;
    // Of both kinds of question the one where letters are less probable.
    let least = mass.value.min(mass_of_known);
    let gates = [
        Gate::at_least(MASS, least, settings.gates.label_mass),
        Gate::at_least(READ_BACK, read_back, options.least_read_back),
    ];
    let nudge = nudge(data, drawn, &items.iter().map(Some).collect::<Vec<_>>());
    let (ranked, nudge_log_odds) = ranked(data, &items);
    let expected: Vec<f64> = items.iter().flat_map(|item| item.expected).collect();
    let likely: Vec<f64> = items
        .iter()
        .filter_map(|item| item.likely)
        .flatten()
        .collect();
    let likelihood = rank_correlation(&expected, &likely);
    Ok(CheckpointFindings {
        name: of.name.clone(),
        mass,
        read_back,
        verdict: Gate::verdict(&gates),
        gates: gates.into(),
        nudge,
        likelihood,
        ranked,
        nudge_log_odds,
        items,
    })
}

/// Where an answer stands.
pub(crate) fn positions(both: &[Over; 2], likely: Option<[f64; 2]>) -> ItemFindings {
    ItemFindings {
        modes: both.each_ref().map(Over::mode),
        expected: both.each_ref().map(Over::expected),
        variances: both.each_ref().map(Over::variance),
        likely,
    }
}

/// The rank correlation of known positions with those that are read back, the least of all languages; and how probable letters are there.
pub(crate) fn read_back(data: &Data, of: RoundOf<'_>) -> Result<(f64, f64), SuiteError> {
    let mut masses = Vec::new();
    let mut by_language: BTreeMap<String, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for (language, value) in asked_values(data) {
        for (answer, position) in KNOWN_POSITIONS.iter().enumerate() {
            let read = over_orders(of, POSITIONS, |order| {
                plan::known_id(&language, &value, answer, order)
            })?;
            let (known, read_back) = by_language.entry(language.clone()).or_default();
            known.push(*position as f64);
            masses.push(read.mass);
            // What differs by rounding is the same.
            read_back.push((read.expected() * 1e9).round() / 1e9);
        }
    }
    let each = by_language.values();
    let least = each.map(|(known, read)| rank_correlation(known, read).unwrap_or(0.0));
    Ok((least.reduce(f64::min).unwrap_or(0.0), mean(&masses)))
}

/// How far a nudge moves positions: of each scenario and value, the position when nudged to the value less that when nudged to the other.
pub(crate) fn nudge(
    data: &Data,
    drawn: &Clusters,
    items: &[Option<&ItemFindings>],
) -> Option<NudgeFindings> {
    let mut by_scenario: BTreeMap<_, BTreeMap<Direction, &ItemFindings>> = BTreeMap::new();
    for (item, found) in data.items.iter().zip(items) {
        let of = by_scenario.entry((&item.pair, &item.name, &item.language));
        if let Some(found) = *found {
            of.or_default().insert(item.direction, found);
        }
    }
    let mut moved = Vec::new();
    for ((pair, _, _), of) in by_scenario {
        let (Some(to_first), Some(to_second)) =
            (of.get(&Direction::Value1), of.get(&Direction::Value2))
        else {
            continue;
        };
        let (a, b) = (to_first.expected, to_second.expected);
        moved.push((unit(pair), a[0] - b[0]));
        moved.push((unit(pair), b[1] - a[1]));
    }
    if moved.is_empty() {
        return None;
    }
    let (effect, p) = drawn.mean(moved, UNIT);
    Some(NudgeFindings { effect, p })
}

/// Values by strength: a value is favoured by as much as its position lies above the other's.
fn ranked(data: &Data, items: &[ItemFindings]) -> (Vec<Ranked>, Option<f64>) {
    let names = data.values.iter().map(|value| value.name.as_str());
    let numbers: HashMap<&str, usize> = names.enumerate().map(|(at, name)| (name, at)).collect();
    let number = |name: &String| numbers.get(name.as_str()).copied();
    let mut counts = vec![0; data.values.len()];
    let mut comparisons = Vec::new();
    for (item, found) in data.items.iter().zip(items) {
        let (Some(first), Some(second)) = (number(&item.pair[0]), number(&item.pair[1])) else {
            continue;
        };
        counts[first] += 1;
        counts[second] += 1;
        let nudge = match item.direction {
            Direction::Neutral => 0.0,
            Direction::Value1 => 1.0,
            Direction::Value2 => -1.0,
        };
        let widest = (POSITIONS - 1) as f64;
        let share = 0.5 + (found.expected[0] - found.expected[1]) / (2.0 * widest);
        comparisons.push((first, second, nudge, share));
    }
    let is_nudged = comparisons.iter().any(|(_, _, nudge, _)| *nudge != 0.0);
    let fitted = bradley_terry(data.values.len(), &comparisons);
    let each = data.values.iter().zip(counts).enumerate();
    let mut ranked: Vec<Ranked> = each
        .filter(|(_, (_, requests))| *requests > 0)
        .map(|(at, (value, requests))| Ranked {
            value: value.name.clone(),
            strength: fitted.strengths[at],
            group: fitted.groups[at],
            requests,
        })
        .collect();
    ranked.sort_by(|a, b| (a.group.cmp(&b.group)).then(b.strength.total_cmp(&a.strength)));
    (ranked, is_nudged.then_some(fitted.nudge))
}
