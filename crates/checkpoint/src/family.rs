//! Families of architectures as data: `models/families/*.toml` and `models/inert.toml`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A family of architectures: what its checkpoints are called, what their configs may say, and how their decoder is wired.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// The family's name, which is transformers' `model_type`.
    pub family: String,
    /// The `architectures` entries of `config.json` that belong to it.
    pub architectures: Vec<String>,
    /// An architecture that keeps this decoder's config under a key of its own.
    pub nested: Option<Nested>,
    /// Other `model_type`s that mean this family.
    #[serde(default)]
    pub model_types: Vec<String>,
    /// What absent keys mean, as transformers has it.
    pub defaults: toml::Table,
    /// Keys that are read and have no default.
    #[serde(default)]
    pub optional: Vec<String>,
    /// Keys that checkpoints of this family write and that transformers does not read.
    #[serde(default)]
    pub ignored: Vec<String>,
    /// Other names of keys, to the name used here.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// Activations that this family writes and means another by.
    #[serde(default)]
    pub activations: BTreeMap<String, String>,
    /// Kinds of RoPE that this family writes and means another by.
    #[serde(default)]
    pub rope_kinds: BTreeMap<String, String>,
    /// Beginnings of tensor names that some checkpoints write, and what they stand for.
    #[serde(default)]
    pub renames: Vec<(String, String)>,
    /// Beginnings of names of tensors that the decoder has no part in.
    #[serde(default)]
    pub unread: Vec<String>,
    /// How the decoder is wired.
    pub(crate) wiring: Wiring,
    /// What its tensors are called.
    #[serde(default)]
    pub(crate) names: Names,
}

impl Family {
    /// The architectures that are read, the one whose config keeps the decoder's in a part of its own included.
    pub fn all_architectures(&self) -> impl Iterator<Item = &String> {
        let nested = self.nested.as_ref().map(|nested| &nested.architecture);
        self.architectures.iter().chain(nested)
    }
}

/// Where a wrapper around a decoder keeps the decoder's config.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nested {
    /// The wrapper's `architectures` entry.
    pub architecture: String,
    /// The key of the decoder's config.
    pub key: String,
}

/// On, off, or as a key of `config.json` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Switch {
    Fixed(bool),
    Key(String),
}

impl Default for Switch {
    fn default() -> Self {
        Self::Fixed(false)
    }
}

/// What a norm computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// RMSNorm.
    #[default]
    Rms,
    /// RMSNorm times one plus the weight.
    RmsOnePlus,
    /// LayerNorm with weight and bias.
    Layer,
    /// LayerNorm with a weight alone.
    LayerUnbiased,
    /// LayerNorm without weight or bias.
    LayerPlain,
}

/// Where a layer's norms stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Before attention and before the MLP.
    #[default]
    Pre,
    /// After each, before the residual addition.
    Post,
    /// Before and after each.
    Sandwich,
}

/// How queries, keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QkvLayout {
    /// Three tensors.
    #[default]
    Split,
    /// One tensor, all queries, then all keys, then all values.
    Stacked,
    /// One tensor, for each head its query, key and value.
    ByHead,
    /// As `Stacked`, transposed.
    Transposed,
}

/// Whether queries and keys are normed, and over what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// They are not.
    #[default]
    None,
    /// Over each head, one weight for all heads.
    Head,
    /// Over all heads together.
    Tensor,
    /// Over each head, each with its own weight, in one tensor.
    EachHead,
    /// The same, a tensor a head.
    EachHeadListed,
}

/// How the MLP is built and stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MlpLayout {
    /// Gate and up in two tensors.
    #[default]
    Gated,
    /// Gate and up in one tensor.
    GatedStacked,
    /// No gate.
    Plain,
    /// No gate, tensors transposed.
    PlainTransposed,
}

impl MlpLayout {
    /// Whether the activation of a gate multiplies the other half.
    pub fn is_gated(self) -> bool {
        matches!(self, Self::Gated | Self::GatedStacked)
    }
}

/// Which layers see a window of tokens only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Windows {
    #[default]
    None,
    All,
    AllButEveryNth,
    FromMaxWindowLayers,
    EveryOtherBeforeMaxWindowLayers,
    WithoutRope,
}

/// Which layers rotate queries and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RopeLayers {
    #[default]
    All,
    Windowed,
    Listed,
}

/// Which layers have a mixture of experts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExpertLayers {
    #[default]
    None,
    EveryLayer,
    Stepped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PositionKind {
    #[default]
    Rotary,
    Learned,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wiring {
    pub norm: NormKind,
    /// Where the config has no key for it.
    pub norm_eps: Option<f64>,
    pub block: Block,
    /// Attention and MLP side by side.
    pub parallel: Switch,
    /// How many norms stand before the two.
    pub parallel_norms: usize,
    pub positions: PositionKind,
    pub interleaved_rope: bool,
    pub rope_layers: RopeLayers,
    /// The RoPE base of layers with a window, where it differs.
    pub local_rope_theta: Option<f64>,
    pub qkv: QkvLayout,
    pub qkv_bias: Switch,
    pub output_bias: Switch,
    pub qk_norm: QkNorm,
    pub qk_norm_if: Option<String>,
    pub mlp: MlpLayout,
    pub mlp_bias: Switch,
    pub windows: Windows,
    pub window_pattern: usize,
    pub experts: ExpertLayers,
    pub normalised_experts: Switch,
    /// `root_of_width` or a key.
    pub embedding_scale: Option<String>,
}

/// What tensors are called; layers' parts come after `layer` and the layer's number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Names {
    pub embedding: String,
    pub positions: String,
    pub layer: String,
    pub final_norm: String,
    pub head: String,
    pub input_norm: String,
    pub attention_out_norm: String,
    pub mlp_norm: String,
    pub mlp_out_norm: String,
    pub query: String,
    pub key: String,
    pub value: String,
    pub qkv: String,
    pub query_norm: String,
    pub key_norm: String,
    pub output: String,
    pub gate: String,
    pub up: String,
    pub gate_up: String,
    pub down: String,
    pub router: String,
    pub expert: String,
    pub expert_gate: String,
    pub expert_up: String,
    pub expert_down: String,
    pub shared_expert: String,
    pub shared_expert_gate: String,
}

impl Default for Names {
    fn default() -> Self {
        let name = str::to_owned;
        Self {
            embedding: name("model.embed_tokens"),
            positions: String::new(),
            layer: name("model.layers"),
            final_norm: name("model.norm"),
            head: name("lm_head"),
            input_norm: name("input_layernorm"),
            attention_out_norm: name("post_attention_layernorm"),
            mlp_norm: name("post_attention_layernorm"),
            mlp_out_norm: name("post_feedforward_layernorm"),
            query: name("self_attn.q_proj"),
            key: name("self_attn.k_proj"),
            value: name("self_attn.v_proj"),
            qkv: name("self_attn.qkv_proj"),
            query_norm: name("self_attn.q_norm"),
            key_norm: name("self_attn.k_norm"),
            output: name("self_attn.o_proj"),
            gate: name("mlp.gate_proj"),
            up: name("mlp.up_proj"),
            gate_up: name("mlp.gate_up_proj"),
            down: name("mlp.down_proj"),
            router: name("mlp.gate"),
            expert: name("mlp.experts"),
            expert_gate: name("gate_proj"),
            expert_up: name("up_proj"),
            expert_down: name("down_proj"),
            shared_expert: name("mlp.shared_expert"),
            shared_expert_gate: name("mlp.shared_expert_gate"),
        }
    }
}

/// What may stand in a checkpoint's files without changing a logit: `models/inert.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inert {
    /// Keys of `config.json`.
    pub keys: Vec<String>,
    /// Ends of tensor names.
    pub tensors: Vec<String>,
    /// Keys that change nothing at this value.
    pub only: toml::Table,
}

impl Inert {
    pub fn load() -> Self {
        // A table that does not parse is caught by this module's tests.
        toml::from_str(include_str!("../../../models/inert.toml")).unwrap_or_default()
    }
}

macro_rules! tables {
    ($($name:literal)*) => {
        [$(include_str!(concat!("../../../models/families/", $name, ".toml"))),*]
    };
}

/// The embedded tables, one a family.
const TABLES: [&str; 20] = tables!(
    "llama" "mistral" "mixtral" "qwen2" "qwen2_moe" "qwen3" "qwen3_moe" "gemma" "gemma2" "gemma3" "phi3" "cohere" "cohere2"
    "stablelm" "olmo" "olmo2" "granite" "smollm3" "gpt_neox" "gpt2"
);

/// The families this program knows, parsed from their embedded tables.
pub fn families() -> Vec<Family> {
    // A table that does not parse is caught by this module's tests.
    TABLES
        .iter()
        .filter_map(|text| toml::from_str(text).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_parses_and_is_found() {
        for text in TABLES {
            toml::from_str::<Family>(text).unwrap();
        }
        let files = std::fs::read_dir(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../models/families"
        ));
        assert_eq!(files.unwrap().count(), families().len());
        toml::from_str::<Inert>(include_str!("../../../models/inert.toml")).unwrap();
    }
}
