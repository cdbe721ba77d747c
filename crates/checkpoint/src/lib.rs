//! A checkpoint as found on disk (or embedded): configuration, weights, tokenizer, chat template, fingerprint.
//!
//! [`Snapshot::open`] reads and checks everything but the weights' values; [`Weights`] hands out tensors one at a time.
//!
//! Invariant: nothing here computes a forward pass, and no file of a checkpoint is ever written.

mod error;
mod snapshot;
mod spec;
mod template;
mod tokenizer;
mod weights;

pub use error::CheckpointError;
pub use snapshot::{Fingerprint, Snapshot, demo_pair, presets};
pub use spec::{DecoderSpec, Family, Rope, families};
pub use template::ChatTemplate;
pub use tokenizer::Vocabulary;
pub use weights::Weights;
