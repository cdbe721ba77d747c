//! The hot loops, each beside its plain reference.
//!
//! Operations take and give candle tensors, so that the decoder reads the same on every device. The matrix product is our own
//! ([`Matrix`]), with weights packed once and what follows it done while its sums are in cache; everything else is one sweep
//! over memory, compiled for the widest vectors that the processor has (chosen at run time by `pulp`).
//!
//! # Numerics
//! Products multiply `f32` or `bf16` and add up in `f32`; everything else is `f32`. A row's result depends on that row (and, in
//! attention, on its path) alone, never on the number of threads or on its neighbours.
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
mod engine;
mod error;
mod exp;
mod generic;
mod gpu;
mod norm;
mod product;
mod rope;
mod softmax;
mod storage;
mod threads;
mod vector;

pub use activation::{Activation, activation_reference};
pub use attention::{
    AttentionShape, CpuKvPrefix, KvPages, PageRows, PassRows, Scores, page_attention,
    trie_attention, trie_attention_reference,
};
pub use choice::{Choice, Chosen, choose};
pub use config::KernelConfig;
pub use engine::{
    Engine, Experts, Head, KvPrefix, List, OnHost, Pages, Pending, RowUse, Rows, Weight,
};
pub use error::KernelError;
pub use generic::GenericKvPrefix;
pub use gpu::{
    Check, Choosing, Gpu, GpuConfig, GpuDescription, GpuError, GpuKvPrefix, GpuMatrix, GpuPages,
    GpuRows, GpuState, Mark, SelfTest, Tiles, WITH_PLAIN_FORM, WeightFormat, compile_kernels,
    gpu_count, gpu_state, look_for_cuda_in,
};
pub use norm::{Norm, add_scaled, norm, norm_groups, norm_reference};
pub use product::{Isa, Matrix, Operands, product_reference};
pub use rope::{RopeTable, rotate, rotate_reference};
pub use softmax::{Summary, scale, softcap, summarise, summarise_reference};
pub use threads::awake;
pub use vector::Vector;
