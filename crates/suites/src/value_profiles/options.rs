//! What is asked: requests by category, values, and the sentences around them.

use super::design::extremes;
use super::survey::{self, Respondents};
use crate::shared::requests::{self, Family};
use crate::shared::rows::Rows;
use crate::{Given, Loaded, OptionSpec, SuiteError};
use serde::{Deserialize, Serialize};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Requests by category.
    pub categories: Vec<Family>,
    /// Profiles of people, where the user brought some.
    pub respondents: Option<Respondents>,
    /// Values and sentences.
    pub wordings: Wordings,
}

/// Values and the sentences around them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wordings {
    /// What a profile begins with.
    pub wrapper: String,
    /// A value with its score.
    pub line: String,
    /// What it ends with.
    pub after: String,
    /// The values.
    pub values: Vec<Value>,
    /// Values of a kind, whose extreme profiles are asked as well.
    pub groups: Vec<Group>,
    /// What profiles are made of that are none of values.
    pub colours: Vec<String>,
    /// What asks whether a portrait is like the one who speaks.
    pub portrait: String,
    /// What is answered to that: like, and not.
    pub like: [String; 2],
    /// What sets a value aside.
    pub aside: String,
    /// What asks for care.
    pub safety: String,
    /// How answers begin that comply.
    pub complying: Vec<String>,
    /// How answers begin that refuse.
    pub refusing: Vec<String>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// People to whom it matters.
    pub portraits: Vec<String>,
}

/// Values of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Vec<String>,
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Whether mitigations are asked.
    pub mitigations: bool,
    /// Whether benign twins are asked.
    pub twins: bool,
    /// The most requests of each category; all for nothing.
    pub limit: Option<usize>,
    /// The least probability of all beginnings together with which anything is measured.
    pub least_mass: f64,
}

/// The options of the suite.
pub(crate) static SPECS: [OptionSpec; 7] = [
    requests::SPEC,
    OptionSpec::new(
        "profiles",
        "FILE",
        "Profiles of people as well: a CSV or Parquet file with a column for each value, scores from 1 to 6, and maybe `profile`",
    ),
    OptionSpec {
        check: requests::positive,
        ..OptionSpec::new(
            "nearest",
            "N",
            "Keep only the N people of --profiles who are nearest to each of the 14 extreme profiles; each of these and its people are one family (the study: 10)",
        )
    },
    OptionSpec {
        value: None,
        ..OptionSpec::new(
            "no-mitigations",
            "",
            "Without setting values aside and asking for care",
        )
    },
    OptionSpec {
        value: None,
        ..OptionSpec::new("no-twins", "", "Without the benign twins of requests")
    },
    OptionSpec {
        default: Some("0.05"),
        check: requests::probability,
        ..OptionSpec::new(
            "least-beginnings",
            "P",
            "The least probability of all complying and refusing beginnings together, on average",
        )
    },
    requests::LIMIT,
];

/// Reads what the user gave.
pub(crate) fn load(given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
    let damaged = |error: serde_json::Error| SuiteError::data(error.to_string(), "");
    let wordings: Wordings =
        serde_json::from_str(include_str!("../../data/profiles/wordings.json")).map_err(damaged)?;
    let categories = match given.path("requests") {
        Some(path) => requests::read(&path)?,
        None => requests::own().map_err(damaged)?,
    };
    let names: Vec<&str> = wordings
        .values
        .iter()
        .map(|value| value.name.as_str())
        .collect();
    let nearest: Option<usize> = given.text("nearest").map(|_| given.number("nearest"));
    if nearest.is_some() && given.path("profiles").is_none() {
        return Err(SuiteError::usage(
            "--nearest is of a survey's profiles",
            "add --profiles FILE, or leave it out",
        ));
    }
    let respondents = given.path("profiles").map(|path| {
        let wrong = |problem: String| {
            let help = format!(
                "a column for each of {}, and maybe `profile`",
                names.join(", ")
            );
            SuiteError::data(format!("{}: {problem}", path.display()), help)
        };
        let wanted: Vec<&str> = names.iter().copied().chain(["profile", "id"]).collect();
        let rows = Rows::of_file(&path, &wanted);
        let read = rows.and_then(|rows| survey::read(&rows, &names));
        let read = read.and_then(|read| match nearest {
            Some(count) => read.nearest(&extremes(&wordings), count),
            None => Ok(read),
        });
        read.map_err(wrong)
    });
    let limit = given.text("limit").map(|_| given.number("limit"));
    let (categories, limit) = requests::limited(categories, limit);
    Ok(Loaded {
        data: Data {
            categories,
            respondents: respondents.transpose()?,
            wordings,
        },
        options: Options {
            mitigations: !given.is_typed("no-mitigations"),
            twins: !given.is_typed("no-twins"),
            limit,
            least_mass: given.number("least-beginnings"),
        },
        notes: Vec::new(),
    })
}
