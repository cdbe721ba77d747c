//! What was read before, of the same weights after the same tokens.

use concord_readings::{Prompt, PromptDigest, Reading};
use concord_runs::{CacheError, CacheKey, ReadingCache};
use std::collections::{BTreeMap, HashMap};

/// The readings of one checkpoint in the cache.
#[derive(Clone, Debug)]
pub struct Cached {
    /// Where.
    pub cache: ReadingCache,
    /// Of everything that decides the checkpoint's numbers.
    pub context: [u8; 32],
    /// The rows of a pass that the context is of, where they move bits: what was read by others is not kept.
    pub rows_per_pass: Option<u64>,
}

/// Digests of prompts, by their names.
pub(crate) type Digests = HashMap<String, PromptDigest>;

impl Cached {
    fn key(&self, digest: &PromptDigest) -> CacheKey {
        CacheKey::new(&self.context, &digest.0)
    }

    /// What was read before of these prompts.
    pub(crate) fn take(
        &self,
        digests: &Digests,
        prompts: &[Prompt],
    ) -> Result<Vec<Reading>, CacheError> {
        let wanted = prompts.iter().filter_map(|prompt| {
            let digest = digests.get(&prompt.id)?;
            Some((self.key(digest), prompt.id.as_str()))
        });
        let wanted: Vec<(CacheKey, &str)> = wanted.collect();
        let found = self.cache.take(&wanted)?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Keeps what was read of prompts by passes of these lengths, where that is known.
    pub(crate) fn keep(
        &self,
        digests: &Digests,
        readings: &HashMap<String, Reading>,
        by_pass: &BTreeMap<u64, usize>,
    ) -> Result<usize, CacheError> {
        let of_key = |rows: u64| by_pass.keys().eq([&rows]);
        if !self.rows_per_pass.is_none_or(of_key) {
            return Ok(0);
        }
        let known = digests.iter().filter_map(|(name, digest)| {
            let reading = readings.get(name)?;
            Some((self.key(digest), reading))
        });
        self.cache.keep(known)
    }
}
