//! A checkpoint as found on disk (or embedded): configuration, weights, tokenizer, chat template, fingerprint.
//!
//! [`Snapshot::open`] reads and checks everything but the weights' values; [`Weights`] hands out tensors one at a time.
//!
//! Invariant: nothing here computes a forward pass, and no file of a checkpoint is ever written. What is written is a cache of
//! digests.

mod adapter;
mod adapter_config;
mod config;
mod ends;
mod error;
mod family;
mod files;
mod fingerprint;
mod gguf;
mod guard;
mod http;
pub mod hub;
mod layers;
mod made_up;
mod pair;
mod parameters;
mod pieces;
mod quantised;
pub mod readers;
mod rope;
mod safetensors_files;
mod served;
mod side_files;
mod snapshot;
mod spec;
mod stored;
mod template;
mod template_files;
mod tokenizer;
mod tokenizer_class;
mod weights;

pub use adapter::Adapter;
pub use error::CheckpointError;
pub use family::{Block, Family, MlpLayout, NormKind, QkNorm, QkvLayout, families};
pub use fingerprint::{Fingerprint, cache_folder};
pub use guard::{is_guarded, may_take};
pub use layers::{LayerSpec, Mlp};
pub use pair::{Pair, pairs};
pub use parameters::{
    ExpertParameters, LayerParameters, MlpKind, MlpParameters, NormParameters, Order,
    OuterParameters, Parameter, Product, Source,
};
pub use rope::{Rope, Scaling};
pub use served::{
    Next, ServedText, Server, ServerCounts, ServerError, ServerFile, Stop, unstopped,
};
pub use snapshot::{Snapshot, demo_pair, presets};
pub use spec::{Activation, DecoderSpec, Positions};
pub use template::{
    ChatTemplate, Content, OUT_OF_ROOM, SystemRole, TemplateTraits, is_renderer, render_apart,
    renderer,
};
pub use tokenizer::Vocabulary;
pub use weights::Weights;
