//! Where a written text ends.

use crate::files::object;
use crate::{CheckpointError, Snapshot};
use concord_readings::{Message, Role};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// What `eos_token_id` says, a number or a list of them.
pub(crate) fn end_ids(
    config: &[u8],
    generation: &(PathBuf, Option<Vec<u8>>),
) -> Result<Vec<u32>, CheckpointError> {
    let config: Map<String, Value> = serde_json::from_slice(config).unwrap_or_default();
    let generation = match generation {
        (path, Some(bytes)) => object(path, bytes)?,
        (_, None) => Map::new(),
    };
    let ids = [&config, &generation].into_iter().flat_map(|object| {
        let value = object.get("eos_token_id");
        match value {
            Some(Value::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        }
    });
    Ok(ids
        .filter_map(|id| u32::try_from(id.as_u64()?).ok())
        .collect())
}

impl Snapshot {
    /// The tokens that end a text: those that the checkpoint's files call so, and the one that its chat template puts after
    /// an assistant's turn. By rising id.
    pub fn end_tokens(&self) -> Vec<u32> {
        let named = ["eos_token", "eot_token"].iter().filter_map(|key| {
            let token = self.settings.get(*key)?;
            let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
            self.vocabulary.token(text)
        });
        let mut ends: Vec<u32> = named
            .chain(self.end_ids.iter().copied())
            .chain(self.turn_end())
            .filter(|token| (*token as usize) < self.spec.vocab_size)
            .collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// The special token after an assistant's words, where the template writes one.
    fn turn_end(&self) -> Option<u32> {
        // Words that no template has of its own.
        let words = "turnendprobe";
        let turns = [
            (Role::User, "a"),
            (Role::Assistant, words),
            (Role::User, "a"),
        ];
        let turns = turns.map(|(role, content)| Message::new(role, content));
        let text = self.template.as_ref()?.render(&turns).ok()?;
        let (_, after) = text.rsplit_once(words)?;
        let tokens = self.vocabulary.continuation(after.trim_start()).ok()?;
        let first = *tokens.first()?;
        self.vocabulary.is_special(first).then_some(first)
    }
}
