//! Checkpoints whose next token is a table of the last one.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes and the mark that ends a text.
const VOCABULARY: usize = 257;
/// Room for a vector of each.
const HIDDEN: usize = 288;

/// The probability of a byte after another; what is left is shared by the rest.
pub type Table = fn(u8, u8) -> f64;

/// A byte's character in byte-level vocabularies (GPT-2).
pub fn character(byte: u8) -> char {
    let plain = |b: u8| (33..=126).contains(&b) || (161..=172).contains(&b) || b >= 174;
    if plain(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !plain(*b)).count();
    char::from_u32(256 + u32::try_from(before).unwrap()).unwrap()
}

/// The whole row of a table: probabilities of all bytes after one.
pub fn row(table: Table, before: u8) -> Vec<f64> {
    let given: Vec<f64> = (0..=255u8).map(|byte| table(before, byte)).collect();
    let rest = 1.0 - given.iter().sum::<f64>();
    let open = given.iter().filter(|p| **p == 0.0).count() as f64 + 1.0;
    let filled = given
        .iter()
        .map(|p| if *p > 0.0 { *p } else { rest / open });
    filled.chain([rest / open]).collect()
}

/// Writes a checkpoint whose layers add nothing to the embedding of the last token, which the head looks up.
pub fn write_checkpoint(folder: &Path, table: Table) {
    write_checkpoint_without(folder, table, &[]);
}

/// The same, with tokens in place of some bytes that spell none of them.
pub fn write_checkpoint_without(folder: &Path, table: Table, missing: &[u8]) {
    std::fs::create_dir_all(folder).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": 8, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 1, "head_dim": 16,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
        "vocab_size": VOCABULARY, "attention_bias": false, "mlp_bias": false, "eos_token_id": 256,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let vocabulary: BTreeMap<String, usize> = (0..=255u8)
        .map(|byte| {
            // What it stands for is nothing that is asked for.
            let text = character(byte).to_string();
            let count = if missing.contains(&byte) { 9 } else { 1 };
            (text.repeat(count), usize::from(byte))
        })
        .chain([("<end>".to_owned(), 256)])
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false
    });
    let end = json!({
        "id": 256, "content": "<end>", "special": true, "normalized": false, "single_word": false, "lstrip": false,
        "rstrip": false
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": null, "dropout": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    // The norm makes the one number that is not zero 1 / √(1 / hidden + ε).
    let normed = (1.0 / HIDDEN as f32 + 1e-6).sqrt();
    let mut embedding = vec![0.0f32; VOCABULARY * HIDDEN];
    let mut head = vec![0.0f32; VOCABULARY * HIDDEN];
    for before in 0..VOCABULARY {
        embedding[before * HIDDEN + before] = 1.0;
        let of_byte = u8::try_from(before).unwrap_or(b' ');
        for (token, p) in row(table, of_byte).into_iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "a weight is 32 bits")]
            let logit = p.ln() as f32;
            head[token * HIDDEN + before] = logit * normed;
        }
    }
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = vec![
        (
            "model.embed_tokens.weight".into(),
            vec![VOCABULARY, HIDDEN],
            embedding,
        ),
        ("lm_head.weight".into(), vec![VOCABULARY, HIDDEN], head),
        ("model.norm.weight".into(), vec![HIDDEN], vec![1.0; HIDDEN]),
    ];
    let mut of_layer = |name: &str, shape: &[usize], value: f32| {
        let name = format!("model.layers.0.{name}.weight");
        tensors.push((name, shape.to_vec(), vec![value; shape.iter().product()]));
    };
    of_layer("input_layernorm", &[HIDDEN], 1.0);
    of_layer("post_attention_layernorm", &[HIDDEN], 1.0);
    for name in ["q_proj", "k_proj", "v_proj"] {
        of_layer(&format!("self_attn.{name}"), &[32, HIDDEN], 0.0);
    }
    of_layer("self_attn.o_proj", &[HIDDEN, 32], 0.0);
    of_layer("mlp.gate_proj", &[8, HIDDEN], 0.0);
    of_layer("mlp.up_proj", &[8, HIDDEN], 0.0);
    of_layer("mlp.down_proj", &[HIDDEN, 8], 0.0);
    write_tensors(folder, tensors);
}

/// Writes the weights of a checkpoint: names, shapes and values.
pub fn write_tensors(folder: &Path, tensors: Vec<(String, Vec<usize>, Vec<f32>)>) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| {
            (
                name,
                shape,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, data)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), data).unwrap(),
        )
    });
    std::fs::write(
        folder.join("model.safetensors"),
        serialize(views, None).unwrap(),
    )
    .unwrap();
}
