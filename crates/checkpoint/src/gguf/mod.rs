//! GGUF files as checkpoints: their metadata as a config, their vocabulary as a tokenizer, their tensors under the names of
//! transformers.

mod config;
mod container;
mod tokenizer;

pub(crate) use config::{Described, describe};
pub(crate) use container::open;
pub(crate) use tokenizer::{settings, tokenizer};

use crate::CheckpointError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads a header and its vocabulary from bytes alone.
///
/// # Errors
/// [`CheckpointError::Gguf`].
pub(crate) fn check(bytes: &[u8]) -> Result<(), CheckpointError> {
    let path = Path::new("bytes.gguf");
    let (metadata, _) = container::header(path, bytes, bytes.len() as u64)?;
    tokenizer(path, &metadata).map(|_| ())
}

/// `models/gguf.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    keys: BTreeMap<String, String>,
    outer: BTreeMap<String, String>,
    layer: BTreeMap<String, String>,
    architecture: BTreeMap<String, Architecture>,
    pre: BTreeMap<String, Pre>,
}

/// What an architecture has of its own.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Architecture {
    is: String,
    turned: bool,
    norms_hold_one: bool,
    scaled_by_width: Option<usize>,
    layer: BTreeMap<String, String>,
}

/// A pre-tokenizer of byte-level BPE.
#[expect(clippy::struct_excessive_bools, reason = "a table's switches")]
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Pre {
    /// The name of another that this one equals.
    like: Option<String>,
    pattern: Option<String>,
    /// Several, each of which cuts what the one before left.
    patterns: Vec<String>,
    each_digit: bool,
    whole_words: bool,
    nfc: bool,
    bos: bool,
}

impl Table {
    /// The pre-tokenizer of this name.
    fn pre(&self, name: &str) -> Option<&Pre> {
        let pre = self.pre.get(name)?;
        match &pre.like {
            Some(other) => self.pre.get(other),
            None => Some(pre),
        }
    }

    fn load() -> Self {
        // A table that does not parse is caught by this module's tests.
        toml::from_str(include_str!("../../../../models/gguf.toml")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses() {
        let table: Table = toml::from_str(include_str!("../../../../models/gguf.toml")).unwrap();
        assert!(table.pre.len() > 70);
        for (name, pre) in &table.pre {
            let found = table.pre(name).unwrap_or_else(|| panic!("{name}"));
            assert!(found.like.is_none(), "{name}");
            let own = pre.pattern.is_some() || !pre.patterns.is_empty();
            assert!(pre.like.is_none() || !own, "{name}");
        }
    }
}
