//! What is kept.

use super::data::{Data, Options};
use super::plan::{DRAFTS, SEEN, known_name, request, seen_id};
use crate::stress::{RoundOf, over_orders};
use crate::{CheckpointReadings, Settings, SuiteError};
use concord_findings::{Gate, Verdict};
use concord_stats::mean;
use serde::Serialize;
use std::collections::BTreeSet;

/// Requests that share so many of their words are alike.
const ALIKE: f64 = 0.6;
/// Yes and no.
const CHOICES: usize = 2;

/// Everything that is found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// By checkpoint, in the order in which they were named; what one was kept for is not kept again.
    pub checkpoints: Vec<CheckpointFindings>,
    /// What nudges to a value.
    pub nudge: String,
}

/// What is kept of one checkpoint's drafts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointFindings {
    /// Its name.
    pub name: String,
    /// Drafts that were asked for.
    pub asked: usize,
    /// Drafts that are no request: empty, cut off, too short or long, more than a line.
    pub ill_formed: usize,
    /// Requests that are like one that was kept before.
    pub alike: usize,
    /// Requests in which raters do not see both values, or see the one that was drawn as much.
    pub unseen: usize,
    /// Who read them.
    pub raters: Vec<RaterFindings>,
    /// Whether there is a rater that sees known values.
    pub verdict: Verdict,
    /// What is kept.
    pub kept: Vec<Kept>,
}

/// How far a rater can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RaterFindings {
    /// Its name; `itself` for the checkpoint.
    pub rater: String,
    /// The mean probability of both letters together.
    pub mass: f64,
    /// The share of known scenarios in which it sees both values, each more than the one that was drawn.
    pub known: f64,
    /// Whether it is heard.
    pub verdict: Verdict,
}

/// A scenario that is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// The draft that it was.
    pub draft: String,
    /// The values that it sets against each other.
    pub pair: [String; 2],
    /// The request.
    pub query: String,
    /// The probability that each of them matters.
    pub seen: [f64; 2],
    /// The probability that the one that was drawn does.
    pub other: f64,
}

/// How probable it is that values matter for a request, as a rater has it; and how probable both letters are.
fn seen(
    round: RoundOf<'_>,
    item: &str,
    values: [&String; 3],
) -> Result<([f64; 3], f64), SuiteError> {
    let mut found = [0.0; 3];
    let mut mass = 0.0;
    for (found, value) in found.iter_mut().zip(values) {
        let over = over_orders(round, CHOICES, |order| seen_id(item, value, order))?;
        *found = over.p[0];
        mass += over.mass / 3.0;
    }
    Ok((found, mass))
}

/// Whether both values are seen, and more than the other one.
fn is_seen([a, b, other]: [f64; 3], least: f64) -> bool {
    a >= least && b >= least && a > other && b > other
}

/// The words of a request.
fn words(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '\'';
    text.split(|c| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// The share of words that two requests share (Jaccard).
fn shared(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let both = a.intersection(b).count();
    both as f64 / (a.len() + b.len() - both).max(1) as f64
}

/// Keeps what may be kept.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    read: &[CheckpointReadings],
) -> Result<Findings, SuiteError> {
    let mut before: Vec<BTreeSet<String>> =
        data.known.iter().map(|known| words(&known.query)).collect();
    let mut checkpoints = Vec::new();
    for of in read {
        checkpoints.push(checkpoint(data, options, settings, &mut before, of)?);
    }
    Ok(Findings {
        checkpoints,
        nudge: data.nudge.clone(),
    })
}

fn checkpoint(
    data: &Data,
    options: &Options,
    settings: Settings,
    before: &mut Vec<BTreeSet<String>>,
    of: &CheckpointReadings,
) -> Result<CheckpointFindings, SuiteError> {
    if of.readings.round(DRAFTS).is_none() {
        return Err(SuiteError::readings(format!(
            "{}: nothing was drafted",
            of.name
        )));
    }
    let mut heard = Vec::new();
    let mut raters = Vec::new();
    for (name, read) in of.readings.ratings(SEEN).into_iter().flatten() {
        let round = RoundOf {
            name,
            read: Some(read),
        };
        let found = rater(data, options, settings, name, round)?;
        if found.verdict.is_measurable() {
            heard.push(round);
        }
        raters.push(found);
    }
    let gate = Gate::at_least("raters that see known values", heard.len() as f64, 1.0);
    let mut found = CheckpointFindings {
        name: of.name.clone(),
        asked: data.drafts.len(),
        ill_formed: 0,
        alike: 0,
        unseen: 0,
        raters,
        verdict: Gate::verdict([&gate]),
        kept: Vec::new(),
    };
    for draft in &data.drafts {
        let Some(query) = request(&of.readings, draft) else {
            found.ill_formed += 1;
            continue;
        };
        let values = [&draft.pair[0], &draft.pair[1], &draft.other];
        let each = heard
            .iter()
            .filter(|round| round.has(&seen_id(&draft.name, values[0], 0)));
        let each = each.map(|round| Ok(seen(*round, &draft.name, values)?.0));
        let each = each.collect::<Result<Vec<[f64; 3]>, SuiteError>>()?;
        let p: [f64; 3] =
            std::array::from_fn(|at| mean(&each.iter().map(|p| p[at]).collect::<Vec<f64>>()));
        let own = words(&query);
        if each.is_empty() || !is_seen(p, options.least) {
            found.unseen += 1;
        } else if before.iter().any(|other| shared(&own, other) >= ALIKE) {
            found.alike += 1;
        } else {
            before.push(own);
            found.kept.push(Kept {
                draft: draft.name.clone(),
                pair: draft.pair.clone(),
                query,
                seen: [p[0], p[1]],
                other: p[2],
            });
        }
    }
    Ok(found)
}

fn rater(
    data: &Data,
    options: &Options,
    settings: Settings,
    name: &str,
    round: RoundOf<'_>,
) -> Result<RaterFindings, SuiteError> {
    let (mut masses, mut right) = (Vec::new(), Vec::new());
    for (at, known) in data.known.iter().enumerate() {
        let values = [&known.pair[0], &known.pair[1], &known.other];
        let (p, mass) = seen(round, &known_name(at), values)?;
        masses.push(mass);
        right.push(f64::from(u8::from(is_seen(p, options.least))));
    }
    let (mass, known) = (mean(&masses), mean(&right));
    let gates = [
        Gate::at_least("mass of letters", mass, settings.gates.label_mass),
        Gate::at_least("known values seen", known, settings.gates.known_sides),
    ];
    Ok(RaterFindings {
        rater: name.to_owned(),
        mass,
        known,
        verdict: Gate::verdict(&gates),
    })
}

#[cfg(test)]
mod tests {
    use super::{is_seen, shared, words};

    #[test]
    fn requests_are_alike_by_their_words() {
        let of = |a: &str, b: &str| shared(&words(a), &words(b));
        assert!((of("Should I go?", "should I, go!") - 1.0).abs() < 1e-12);
        assert!((of("a b c", "b c d") - 0.5).abs() < 1e-12);
        assert!(of("a b", "c d").abs() < 1e-12);
    }

    #[test]
    fn both_values_must_be_seen_and_more_than_another() {
        assert!(is_seen([0.9, 0.6, 0.5], 0.5));
        assert!(!is_seen([0.9, 0.4, 0.1], 0.5) && !is_seen([0.9, 0.8, 0.8], 0.5));
    }
}
