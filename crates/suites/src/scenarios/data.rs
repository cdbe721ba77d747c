//! Which pairs of values are drafted for.

use super::SUITE;
use crate::shared::draw;
use crate::shared::requests::{each_once, positive, probability};
use crate::stress;
use crate::{Given, Loaded, OptionSpec, SuiteError};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is drafted, and with which sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The drafts.
    pub drafts: Vec<Draft>,
    /// Scenarios of the project's own, of which the values are known.
    pub known: Vec<Known>,
    /// What nudges to a value.
    pub nudge: String,
    /// The sentences.
    pub wordings: Wordings,
}

/// What is to be drafted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// A name.
    pub name: String,
    /// The values that it is to set against each other.
    pub pair: [String; 2],
    /// A value that it should not be about.
    pub other: String,
}

/// A scenario of which the values are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The request.
    pub query: String,
    /// The values that it sets against each other.
    pub pair: [String; 2],
    /// A value that it is not about.
    pub other: String,
}

/// The sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wordings {
    /// What asks for a draft.
    pub ask: String,
    /// An example, for checkpoints that complete texts.
    pub example: String,
    /// What they go on from.
    pub begun: String,
    /// What the examples are.
    pub examples: Vec<Example>,
    /// Whether a value matters for a request.
    pub matters: String,
    /// The choices.
    pub choices: [String; 2],
}

/// A draft as it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Its values.
    pub pair: [String; 2],
    /// The request.
    pub query: String,
}

/// How it is drafted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The most tokens of a draft.
    pub tokens: usize,
    /// The least probability with which raters must say that a value matters.
    pub least: f64,
    /// What everything that is drawn follows from.
    pub seed: u64,
}

/// The options of the suite.
pub(crate) static SPECS: [OptionSpec; 4] = [
    OptionSpec::new(
        "values",
        "FILE",
        "Values to draft for: a text file with one a line [default: the values of the suite `stress`]",
    ),
    OptionSpec {
        default: Some("48"),
        check: positive,
        ..OptionSpec::new(
            "drafts",
            "N",
            "Drafts, each for a pair of values that is drawn",
        )
    },
    OptionSpec {
        default: Some("64"),
        check: positive,
        ..OptionSpec::new("draft-tokens", "N", "The most tokens of a draft")
    },
    OptionSpec {
        default: Some("0.5"),
        check: probability,
        ..OptionSpec::new(
            "least-seen",
            "P",
            "The least probability with which raters must say that each of both values matters",
        )
    },
];

/// Reads what the user gave.
pub(crate) fn load(given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
    let damaged = |error: serde_json::Error| SuiteError::data(error.to_string(), "");
    let wordings: Wordings =
        serde_json::from_str(include_str!("../../data/stress/drafting.json")).map_err(damaged)?;
    let own = stress::own().map_err(damaged)?;
    let values = match given.path("values") {
        Some(path) => read_values(&path)?,
        None => own.values.clone(),
    };
    let options = Options {
        tokens: given.number("draft-tokens"),
        least: given.number("least-seen"),
        seed: given.seed,
    };
    let count: usize = given.number("drafts");
    let drafts = (1..=count).map(|number| draft(&values, number, options.seed));
    let known = own.scenarios.into_iter().map(|(pair, query)| {
        let is_other = |value: &&String| !pair.contains(value);
        let others: Vec<&String> = own.values.iter().filter(is_other).collect();
        let at = draw::below(others.len(), draw::unit(0, &[SUITE, &query]));
        Known {
            other: others[at].clone(),
            query,
            pair,
        }
    });
    Ok(Loaded {
        data: Data {
            drafts: drafts.collect(),
            known: known.collect(),
            nudge: own.nudge,
            wordings,
        },
        options,
        notes: Vec::new(),
    })
}

/// Two values that are drawn, and a third one.
fn draft(values: &[String], number: usize, seed: u64) -> Draft {
    let name = format!("draft {number}");
    let order = draw::order(seed, &[SUITE, &name], values.len());
    let value = |at: usize| values[order[at]].clone();
    Draft {
        pair: [value(0), value(1)],
        other: value(2),
        name,
    }
}

fn read_values(path: &Path) -> Result<Vec<String>, SuiteError> {
    let wrong = |problem: String| {
        SuiteError::data(
            format!("{}: {problem}", path.display()),
            "a text file with one value a line, three at least",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let lines = text.lines().map(|line| line.trim().to_owned());
    let named: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    let values = each_once(&named);
    match values.len() {
        0..=2 => Err(wrong(format!("it has {} different values", values.len()))),
        _ => Ok(values),
    }
}
