//! What is found of each topic, partially pooled.
//!
//! Within a topic originals were drawn; their phrasings were made of them. A topic has five of them in the study, of which no test can
//! say much: what is shown is each topic's mean drawn towards that of all topics by as much as it is uncertain.

use super::plan::Place;
use concord_questions::QuestionSet;
use concord_stats::{Pooled, mean};
use std::collections::BTreeMap;

/// The half width of a 95 % interval in standard errors.
const DEVIATES: f64 = 1.959_963_984_540_054;

/// The mean of each original's values.
pub(crate) fn by_original(
    set: &QuestionSet,
    values: impl IntoIterator<Item = (Place, f64)>,
) -> Vec<f64> {
    let mut originals: BTreeMap<(usize, &str), Vec<f64>> = BTreeMap::new();
    for ((file, row), value) in values {
        let original = set.files[file].questions[row].original.as_str();
        originals.entry((file, original)).or_default().push(value);
    }
    originals.values().map(|values| mean(values)).collect()
}

/// Fewer originals than these give no interval: they share the centroid of their topic, and two lie equally far from it whatever they say.
const LEAST_ORIGINALS: usize = 3;

/// The ends of the 95 % interval of a pooled mean over so many originals; no numbers where they are too few.
pub(crate) fn pooled_ends(found: &Pooled, originals: usize) -> [f64; 2] {
    if originals < LEAST_ORIGINALS {
        return [f64::NAN; 2];
    }
    let half = DEVIATES * found.error;
    [found.mean - half, found.mean + half]
}
