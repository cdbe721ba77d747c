//! The run directory: the only place where results are written.
//!
//! ```text
//! <out>/manifest.json            what was run on what, by which program; the digests of all other files
//! <out>/questions.json           what was asked about
//! <out>/stimuli.json             the wording around it, where a suite stores one apart
//! <out>/<round>/<model>.jsonl    what was read of a checkpoint in a round, one reading a line
//! <out>/<round>/<model>/<rater>.jsonl   what a rater made of what it wrote
//! <out>/findings.json            what was made of it all
//! ```
//!
//! While a run goes on the folder is called `<out>.partial`; readings are appended as they come. It gets its name when
//! everything is written and flushed, so a folder without `.partial` is whole. A run that was cut off goes on where it
//! stopped when it is started again with the same settings.
//!
//! **Invariant: what was changed is not taken for what was read.** The manifest begins with a digest of its other bytes and
//! holds the digests of all other files; every line of a journal begins with a checksum, and its first line has the digest of
//! the run's identity. **Invariant: one writer.** A folder is locked before anything in it is read or written. **Invariant: nothing
//! outside.** Names inside a run are plain, and no link in it is followed.

mod cache;
mod directory;
mod error;
mod folder;
mod journal;
mod lock;
mod manifest;
mod merge;
mod seal;
mod standing;
mod stored;

pub use cache::{CacheError, CacheKey, CacheSize, ReadingCache, is_guarded};
pub use directory::{PARTIAL, RunDirectory};
pub use error::RunError;
pub use folder::{What, remove_strays, write_bytes, write_with};
pub use journal::Journal;
pub use lock::Lock;
pub use manifest::{Attempt, Checkpoint, Identity, Manifest, Numerics, Shard, Span};
pub use merge::Shards;
pub use standing::{Standing, check_name, is_finished, standing};
pub use stored::StoredRun;

/// What is in a run's directory: its files, and the JSON Schemas of what they hold.
pub fn schema() -> &'static str {
    include_str!("../schema/run.json")
}
