//! The studies: what to ask a checkpoint, and what to make of the readings.
//!
//! A study is a [`Suite`]: it says what to ask next, and makes findings of what was read; both can be done again at any time
//! from what a run stored.
//!
//! Invariant: no study knows a tensor, a tokenizer or a flag.

mod brought;
mod excluded;
pub mod faking;
mod needs;
pub mod randomness;
mod registry;
pub mod scenarios;
mod shared;
pub mod stress;
mod suite;
pub mod surveys;
pub mod value_profiles;
pub mod valueconsistency;

pub use brought::{BROUGHT, Brought};
pub use concord_readings::{ById, Readings};
pub use excluded::{Excluded, with_excluded};
pub use needs::Needs;
pub use registry::{AnySuite, ComparedPart, DEFAULT, Found, Study, nearest, suite, suites};
pub use shared::{Family, Gates, Pair, ReadingError};
pub use suite::{
    About, Asked, CheckpointReadings, Comparing, Given, Loaded, OptionSpec, Part, QUESTIONS,
    Rating, Round, SELF_RATER, Settings, Show, Step, StoredFiles, Subject, Suite, SuiteError,
    Takes, digest,
};
