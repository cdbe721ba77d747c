//! The run directory: the only place where results are written.
//!
//! ```text
//! <out>/manifest.json            what was run on what, by which program
//! <out>/questions.json           the questions as they were asked
//! <out>/readings/<model>.jsonl   one reading a line
//! <out>/findings.json            what was made of them
//! ```
//!
//! While a run goes on the folder is called `<out>.partial`; readings are appended as they come. It gets its name when
//! everything is written and flushed, so a folder without `.partial` is whole. A run that was cut off goes on where it
//! stopped when it is started again with the same settings.

mod directory;
mod error;
mod journal;

pub use directory::{RunDirectory, StoredRun};
pub use error::RunError;
pub use journal::Journal;
