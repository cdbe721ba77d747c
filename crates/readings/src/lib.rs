//! The border between the tensor half and the statistics half, as plain data.
//!
//! A study says what to ask ([`Prompt`]) and what to read after it ([`Read`]); the engine answers with a [`Reading`].
//! Both sides are stored, so that every measure can be computed again without a checkpoint.
//!
//! Invariant: nothing here knows a tensor, a tokenizer or a study.

mod digest;
mod everything;
mod key;
mod prompt;
mod reading;
mod strings;
mod style;
mod units;

pub use digest::{NoDigest, PromptDigest};
pub use everything::{ById, Readings};
pub use key::{NoKey, PromptKey};
pub use prompt::{Input, Message, Prompt, Read, Role, Sampling};
pub use reading::{
    Answer, Continuation, Finish, Generation, LabelReading, NextToken, Reading, Spelling,
    TokenReading,
};
pub use strings::{End, EndedSpelling, StringReading, Strings, StringsError, StringsReading};
pub use style::{Form, PromptStyle};
pub use units::{LogProb, Nats, OutOfDomain, Probability};
