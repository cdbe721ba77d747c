//! Base checkpoints and the aligned ones made from them: `models/pairs/*.toml`.

use serde::{Deserialize, Serialize};

/// A base checkpoint and what was aligned from it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// What it is called here.
    pub name: String,
    /// The base's hub id.
    pub base: String,
    /// The aligned ones' hub ids; steps of one alignment in their order.
    pub aligned: Vec<String>,
    /// The licence that the model cards give.
    pub licence: String,
    /// Whether the owner wants to be asked first.
    #[serde(default)]
    pub gated: bool,
}

impl Pair {
    /// The hub ids, base first.
    pub fn ids(&self) -> Vec<String> {
        std::iter::once(&self.base)
            .chain(&self.aligned)
            .cloned()
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    pair: Vec<Pair>,
}

const TABLES: [&str; 5] = [
    include_str!("../../../models/pairs/llama.toml"),
    include_str!("../../../models/pairs/mistral.toml"),
    include_str!("../../../models/pairs/qwen.toml"),
    include_str!("../../../models/pairs/gemma.toml"),
    include_str!("../../../models/pairs/olmo.toml"),
];

/// The pairs that this program knows.
pub fn pairs() -> Vec<Pair> {
    // A table that does not parse is caught by this module's tests.
    let tables = TABLES
        .iter()
        .filter_map(|text| toml::from_str::<Table>(text).ok());
    tables.flat_map(|table| table.pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{HubName, RepositoryKind};
    use std::collections::HashSet;

    #[test]
    fn every_table_parses_and_every_name_is_one() {
        for text in TABLES {
            toml::from_str::<Table>(text).unwrap();
        }
        let pairs = pairs();
        let names: HashSet<&str> = pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!(names.len(), pairs.len());
        for pair in &pairs {
            assert!(!pair.aligned.is_empty());
            for id in pair.ids() {
                assert!(HubName::parse(RepositoryKind::Model, &id).is_some(), "{id}");
            }
        }
        for needed in [
            "llama-2-7b",
            "llama-3.1-70b",
            "yi-34b",
            "mistral-7b",
            "qwen3-8b",
            "gemma-3-4b",
            "olmo2-7b",
            "tulu-3-8b",
        ] {
            assert!(names.contains(needed), "{needed}");
        }
    }
}
