//! Questions with what people answered.

use super::read;
use crate::shared::requests::{each_once, positive};
use crate::{Given, Loaded, OptionSpec, SuiteError, Takes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The questions.
    pub questions: Vec<Question>,
    /// The sentences around them, by language.
    pub wordings: BTreeMap<String, Wording>,
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its name; no two are alike.
    pub id: String,
    /// The question.
    pub question: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topic: String,
    /// The language that it is in, in English.
    #[serde(default = "english")]
    pub language: String,
    /// The answers that it offers.
    pub options: Vec<String>,
    /// Whether they are steps of a scale, in their order.
    #[serde(default)]
    pub ordinal: bool,
    /// Those of them that decline to answer; they are compared apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declines: Vec<String>,
    /// What people answered, by population.
    pub human: BTreeMap<String, People>,
}

pub(super) fn english() -> String {
    "english".to_owned()
}

/// What the people of a population answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// The share of each option, in their order; they sum to 1.
    pub shares: Vec<f64>,
    /// How many people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

impl Question {
    /// Whether an option declines to answer.
    pub fn declines(&self, option: usize) -> bool {
        self.declines.contains(&self.options[option])
    }

    /// What of a distribution over all options is over those that answer, renormalised; nothing where there is none of it.
    pub fn answering(&self, p: &[f64]) -> Option<Vec<f64>> {
        let each = p.iter().enumerate();
        let kept: Vec<f64> = each
            .filter(|(at, _)| !self.declines(*at))
            .map(|(_, p)| *p)
            .collect();
        let sum: f64 = kept.iter().sum();
        (sum > 0.0).then(|| kept.iter().map(|p| p / sum).collect())
    }

    /// The share of a distribution that declines.
    pub fn declining(&self, p: &[f64]) -> f64 {
        let each = p.iter().enumerate();
        each.filter(|(at, _)| self.declines(*at))
            .map(|(_, p)| p)
            .sum()
    }
}

/// The sentences around questions in a language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wording {
    /// Asks: `{question}`, `{options}`.
    pub ask: String,
    /// Asks what somebody of a population would answer: `{population}`, `{question}`, `{options}`.
    pub steer: String,
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Populations whose answers are asked for.
    pub steer: Vec<String>,
    /// The most questions of each topic; all for nothing.
    pub limit: Option<usize>,
}

/// The options of the suite.
pub(crate) static SPECS: [OptionSpec; 5] = [
    OptionSpec {
        short: Some('Q'),
        takes: Takes::Paths,
        ..OptionSpec::new(
            "questions",
            "PATH|hf:ID",
            "Questions with what people answered (.jsonl, .csv, .parquet; `concord schema populations`): a file, a folder of them or hf:ID:FILE of a data set of the hub; may be given many times; without it, a few with people that are made up",
        )
    },
    OptionSpec {
        takes: Takes::List,
        ..OptionSpec::new(
            "steer",
            "POPULATIONS",
            "Ask also how somebody of these populations would answer",
        )
    },
    OptionSpec {
        value: None,
        ..OptionSpec::new(
            "renormalize",
            "",
            "Make shares that do not sum to 1 do so, instead of refusing them",
        )
    },
    OptionSpec {
        takes: Takes::List,
        ..OptionSpec::new(
            "populations",
            "POPULATIONS",
            "Compare with these populations alone",
        )
    },
    OptionSpec {
        short: Some('L'),
        check: positive,
        ..OptionSpec::new("limit", "N", "Only the first N questions of each topic")
    },
];

#[derive(Deserialize)]
struct Kept {
    wordings: BTreeMap<String, Wording>,
}

/// Reads what the user gave.
pub(crate) fn load(given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
    let damaged = |error: serde_json::Error| SuiteError::data(error.to_string(), "");
    let kept: Kept =
        serde_json::from_str(include_str!("../../data/surveys/wordings.json")).map_err(damaged)?;
    let mut notes = Vec::new();
    let renormalize = given.is_typed("renormalize");
    let mut questions = match given.all("questions") {
        [] => {
            notes.push(
                "No --questions given: people of these questions are made up, and show how the suite works."
                    .to_owned(),
            );
            read::of_lines(
                include_str!("../../data/surveys/made-up.jsonl"),
                renormalize,
            )
            .map_err(|problem| SuiteError::data(problem, ""))?
        }
        paths => read::paths(paths, renormalize)?,
    };
    let only = given.all("populations");
    let known: BTreeSet<String> = questions
        .iter()
        .flat_map(|of| of.human.keys().cloned())
        .collect();
    let steer = each_once(given.all("steer"));
    if !only.is_empty() {
        for question in &mut questions {
            question.human.retain(|name, _| only.contains(name));
        }
        questions.retain(|question| !question.human.is_empty());
    }
    for name in steer.iter().chain(only) {
        if !known.contains(name) {
            let near = crate::nearest(name, known.iter().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "populations are named as in the questions".to_owned(),
            };
            return Err(SuiteError::usage(
                format!("no question has the population `{name}`"),
                help,
            ));
        }
    }
    if let Some(other) = steer
        .iter()
        .find(|name| !only.is_empty() && !only.contains(name))
    {
        return Err(SuiteError::usage(
            format!("--steer names `{other}`, and --populations leaves it out"),
            "name it in both, or in none",
        ));
    }
    for question in &questions {
        if !kept.wordings.contains_key(&question.language) {
            let names: Vec<&str> = kept.wordings.keys().map(String::as_str).collect();
            return Err(SuiteError::data(
                format!("`{}` is in `{}`", question.id, question.language),
                format!("there are sentences in {}", names.join(", ")),
            ));
        }
    }
    let limit: Option<usize> = given.text("limit").map(|_| given.number("limit"));
    let all = questions.len();
    let declining: BTreeSet<&String> = questions.iter().flat_map(|of| &of.declines).collect();
    if !declining.is_empty() && given.is_typed("questions") {
        let names: Vec<String> = declining.iter().map(|name| format!("`{name}`")).collect();
        notes.push(format!(
            "{} decline to answer, and are compared apart",
            names.join(", ")
        ));
    }
    if let Some(limit) = limit {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        questions.retain(|question| {
            let count = counts
                .entry((question.topic.clone(), question.language.clone()))
                .or_default();
            *count += 1;
            *count <= limit
        });
    }
    for name in &steer {
        if !questions.iter().any(|of| of.human.contains_key(name)) {
            notes.push(format!(
                "no question is left that `{name}` answered (--limit)"
            ));
        }
    }
    Ok(Loaded {
        options: Options {
            steer,
            // A limit that leaves nothing out is none.
            limit: limit.filter(|_| questions.len() < all),
        },
        data: Data {
            questions,
            wordings: kept.wordings,
        },
        notes,
    })
}
