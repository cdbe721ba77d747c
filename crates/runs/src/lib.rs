//! The run directory: the only place where results are written.
//!
//! ```text
//! <out>/manifest.json            what was run on what, by which program
//! <out>/questions.json           the questions as they were asked
//! <out>/stimuli.json             the wording around them
//! <out>/readings/<model>.jsonl   what was read of a checkpoint at once, one reading a line
//! <out>/texts/<model>.jsonl      what it wrote
//! <out>/stances/<model>/<reader>.jsonl   what a reader made of that
//! <out>/findings.json            what was made of it all
//! ```
//!
//! While a run goes on the folder is called `<out>.partial`; readings are appended as they come. It gets its name when
//! everything is written and flushed, so a folder without `.partial` is whole. A run that was cut off goes on where it
//! stopped when it is started again with the same settings.

mod directory;
mod error;
mod journal;

pub use directory::{RunDirectory, StoredRun, What, write_bytes};
pub use error::RunError;
pub use journal::Journal;
