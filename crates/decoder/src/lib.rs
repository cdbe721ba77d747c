//! One decoder, described by data, over the packed rows of a trie.
//!
//! [`Decoder::pass`] takes some rows and gives the normed hidden states of those that are read; [`Decoder::head`] turns them
//! into logits. What one pass hands to the next is the K/V of one path ([`Session`]). Where texts are generated, the K/V of
//! many paths stay ([`KvTree`]), and [`Decoder::step`] adds a row to each.
//!
//! Invariant: no code for one family of checkpoints; a family differs in its [`DecoderSpec`](concord_checkpoint::DecoderSpec).

mod ahead;
mod clock;
mod decoder;
mod error;
mod frequencies;
mod layer;
mod mlp;
mod parameters;
mod pass;
mod reading;
mod sizes;
mod stream;
mod tree;

pub use ahead::Loading;
pub use clock::{Times, Work};
pub use decoder::{Decoder, Session};
pub use error::DecoderError;
pub use frequencies::{Frequencies, frequencies};
pub use pass::Pass;
pub use sizes::WeightSizes;
pub use tree::{KvBranch, KvPlace, KvTree, PageCopy};
