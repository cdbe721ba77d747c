//! What the study and its replications published, as counts.

use serde::{Deserialize, Serialize};

/// Published counts, with where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The article.
    pub study: String,
    /// How the values were obtained.
    pub obtained: String,
    /// How they differ from what is measured here.
    pub protocol: String,
    /// Accepted requests of those asked.
    pub conditions: Vec<Count>,
    /// What others found, in percent.
    pub replications: Vec<Replication>,
}

/// Accepted of asked, under the first label and under the second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The condition.
    pub name: String,
    /// Of conversations that were said to be trained on.
    pub first: [u32; 2],
    /// Of those that were not.
    pub second: [u32; 2],
    /// The condition that it is to mitigate.
    pub baseline: Option<String>,
}

/// What another found, in percent accepted under both labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// Who and what.
    pub name: String,
    /// Percent under both labels.
    pub percent: [f64; 2],
}

/// The published values.
///
/// # Errors
/// None in a program that passed its tests.
pub fn published() -> Result<Published, serde_json::Error> {
    serde_json::from_str(include_str!("../../data/faking/published.json"))
}
