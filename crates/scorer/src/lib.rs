//! Prompts in, exact readings out.
//!
//! All token sequences of a run become one [`Trie`]; its rows are cut into passes of a fixed size; rows that are read go
//! through the head, and their distributions are summarised at once ([`Scorer`]). No token of a shared prefix is computed
//! twice, and what a prompt reads never depends on what else is in the run. Texts are written after prompts in the same way
//! ([`Scorer::generate`]): what they begin with in common is computed and kept once.
//!
//! Invariant: nothing here knows a study.

mod digest;
mod error;
mod generate;
mod hidden;
mod kept;
mod labels;
mod memory;
mod plan;
mod reader;
mod remote;
mod scorer;
mod spelling;
mod strings;
mod threads;
mod tokenised;
mod trie;
mod worker;

pub use digest::{NUMERICS, digest_of_all, prompt_digests};
pub use error::ScorerError;
pub use generate::{GenerationCounts, GenerationProgress};
pub use labels::LabelTable;
pub use memory::{
    Demand, Keep, MemoryPlan, OverBudget, Schedule, SchedulePreference, Spill, human,
};
pub use plan::Plan;
pub use remote::{Observed, RemoteReader, RowAsk, RowObserved};
pub use scorer::{Counts, Progress, Scorer};
pub use tokenised::{lengths, possible_lengths};
pub use trie::Trie;
