//! The studies: what to ask a checkpoint, and what to make of the readings.
//!
//! A study is two pure functions. `plan` turns questions into prompts, `measure` turns readings into findings; both can be
//! run again at any time from what a run stored.
//!
//! Invariant: no study knows a tensor, a tokenizer or a file.

pub mod valueconsistency;
