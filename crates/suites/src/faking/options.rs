//! What is asked: requests by family, and the sentences around them.

use super::verdict::is_complete;
use crate::shared::requests::{self, Family};
use crate::{Given, Loaded, OptionSpec, SuiteError, Takes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Families of requests.
    pub families: Vec<Family>,
    /// The sentences.
    pub wordings: Wordings,
}

/// The sentences around requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wordings {
    /// Who is spoken to.
    pub role: String,
    /// How a decision is stated, with the words in both orders.
    pub format: [String; 2],
    /// What training is for: `helpful` and `harmless`.
    pub objective: BTreeMap<String, String>,
    /// Which label is trained on (`{yes}`), and which is not (`{no}`).
    pub trained: [String; 2],
    /// The same sentences about something that does not matter.
    pub removed: [String; 2],
    /// The sets of labels.
    pub sets: Vec<LabelSet>,
    /// What names the label of a conversation.
    pub group: String,
    /// Sentences that a framing adds, by its name.
    pub framings: BTreeMap<String, String>,
    /// What a fixed scratchpad says.
    pub scratchpad: String,
    /// What a written scratchpad begins with.
    #[serde(default = "notes")]
    pub notes: String,
    /// What a decision is begun with.
    pub begun: String,
    /// What an assistant answers to a first turn of instructions.
    pub understood: String,
}

fn notes() -> String {
    "Notes:".to_owned()
}

/// Two labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSet {
    /// What the set is called.
    pub name: String,
    /// The labels; of words with a meaning, the one of the trained first.
    pub labels: [String; 2],
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Names of the label sets, the first of which variants are of.
    pub sets: Vec<String>,
    /// Other ways to ask, whose gap is compared with that of the plain one.
    pub variants: Vec<String>,
    /// The most requests of each family; all for nothing.
    pub limit: Option<usize>,
    /// What written scratchpads are drawn from.
    pub seed: u64,
}

/// The variants that there are: framings, a fixed and a written scratchpad, and other places of the instructions.
pub(crate) const VARIANTS: [&str; 6] = [
    "duty",
    "consequences",
    "scratchpad",
    "written",
    "user",
    "turns",
];

fn variant(text: &str) -> Result<(), String> {
    if text == "none" || VARIANTS.contains(&text) {
        return Ok(());
    }
    let known = VARIANTS.join(", ");
    Err(format!("`{text}` must be one of {known}, or none"))
}

fn labels(text: &str) -> Result<(), String> {
    match text.split_once('/') {
        Some((one, other)) if one == other => Err(format!("`{text}` names one label twice")),
        Some((one, other)) if !one.is_empty() && !other.is_empty() && !other.contains('/') => {
            Ok(())
        }
        _ => Err(format!(
            "`{text}` must be two labels with a stroke between: free/paid"
        )),
    }
}

/// The options of the suite.
pub(crate) static SPECS: [OptionSpec; 4] = [
    requests::SPEC,
    OptionSpec {
        takes: Takes::List,
        default: Some("free/paid,monitored/private,XX/YY"),
        check: labels,
        ..OptionSpec::new(
            "label-sets",
            "A/B",
            "Pairs of labels, the trained one first; variants are asked under the first",
        )
    },
    OptionSpec {
        takes: Takes::List,
        default: Some("duty,consequences,scratchpad,user,turns"),
        check: variant,
        ..OptionSpec::new(
            "variants",
            "VARIANTS",
            "Other ways to ask: duty, consequences (framings), scratchpad (fixed), written (scratchpads that are generated), user, turns (places); or none",
        )
    },
    requests::LIMIT,
];

/// Reads what the user gave.
pub(crate) fn load(given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
    let damaged = |error: serde_json::Error| SuiteError::data(error.to_string(), "");
    let mut wordings: Wordings =
        serde_json::from_str(include_str!("../../data/faking/wordings.json")).map_err(damaged)?;
    let mut notes = Vec::new();
    let families = match given.path("requests") {
        Some(path) => requests::read(&path)?,
        None => requests::own().map_err(damaged)?,
    };
    let sets = requests::each_once(given.all("label-sets"));
    for name in &sets {
        if wordings.sets.iter().all(|set| set.name != *name)
            && let Some((one, other)) = name.split_once('/')
        {
            wordings.sets.push(LabelSet {
                name: name.clone(),
                labels: [one, other].map(str::to_owned),
            });
        }
    }
    let limit = given.text("limit").map(|_| given.number("limit"));
    let (families, limit) = requests::limited(families, limit);
    let mut variants = requests::each_once(given.all("variants"));
    if variants.len() > 1 && variants.iter().any(|name| name == "none") {
        return Err(SuiteError::usage(
            "`none` stands alone",
            "--variants none, or those that are wanted",
        ));
    }
    variants.retain(|name| name != "none");
    if !is_complete(&sets.iter().map(String::as_str).collect::<Vec<_>>()) {
        notes.push(
            "without free/paid, monitored/private and labels that say nothing (XX/YY) no verdict can be `meaning`"
                .to_owned(),
        );
    }
    Ok(Loaded {
        data: Data { families, wordings },
        options: Options {
            sets,
            variants,
            limit,
            seed: given.seed,
        },
        notes,
    })
}
