//! Everything that was read of one checkpoint.

use crate::Reading;
use std::collections::{BTreeMap, HashMap};

/// Readings by the ids of their prompts.
pub type ById = HashMap<String, Reading>;

/// Everything that was read of one checkpoint, round by round.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// By round.
    pub rounds: BTreeMap<String, ById>,
    /// What raters made of its texts: by round and rater.
    pub ratings: BTreeMap<String, BTreeMap<String, ById>>,
}

impl Readings {
    /// The readings of a round, where it was asked.
    pub fn round(&self, name: &str) -> Option<&ById> {
        self.rounds.get(name)
    }

    /// The readings of a rated round, by rater.
    pub fn ratings(&self, name: &str) -> Option<&BTreeMap<String, ById>> {
        self.ratings.get(name)
    }
}
