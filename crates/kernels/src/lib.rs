//! The hot loops, each beside its plain reference.
//!
//! Operations take and give candle tensors, so that the decoder reads the same on every device. The matrix product is
//! candle's; everything else here is one sweep over memory, compiled for the widest vectors that the processor has (chosen
//! at run time by `pulp`).
//!
//! # Numerics
//! `f32` throughout; sums run over sixteen fixed lanes. A row's result depends on that row (and, in attention, on its
//! path) alone, never on the number of threads or on its neighbours.
//!
//! Invariant: nothing here knows a layer, a checkpoint or a prompt.

// Inner loops must be compiled inside the caller's vector context, and read plainest over lane numbers.
#![expect(
    clippy::inline_always,
    clippy::needless_range_loop,
    reason = "vector loops over fixed lanes"
)]

mod activation;
mod attention;
mod choice;
mod config;
mod exp;
mod linear;
mod norm;
mod rope;
mod softmax;
mod storage;

pub use activation::{Activation, activate, activation_reference, gated};
pub use attention::{
    AttentionShape, KvPages, PageRows, PassRows, Scores, page_attention, trie_attention,
    trie_attention_reference,
};
pub use choice::{Choice, Chosen, choose};
pub use config::KernelConfig;
pub use linear::linear;
pub use norm::{Norm, Normed, norm, norm_groups, norm_reference, residual_norm};
pub use rope::{RopeTable, rotate, rotate_reference};
pub use softmax::{Summary, softcap, summarise, summarise_reference};
