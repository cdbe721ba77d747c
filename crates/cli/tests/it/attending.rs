//! Checkpoints that attend to some words, wherever they stand, and decide by what these are worth on average.

use crate::bigram::write_tensors;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes and the mark that ends a text.
const BYTES: usize = 257;
const HIDDEN: usize = 320;
/// A number that every token has, and the one that attention writes to.
const CONSTANT: usize = 300;
const FOUND: usize = 301;
const EPS: f32 = 1e-6;
/// How much a decision goes by what was found.
const TURN: f32 = 0.25;

/// What a checkpoint looks for, and what it decides after.
pub struct Attending<'a> {
    /// Words, each with what it is worth.
    pub words: &'a [(&'a str, f32)],
    /// Two texts, of which the first is favoured by what words are worth.
    pub decisions: [&'a str; 2],
    /// The byte after which it decides.
    pub after: u8,
}

/// The probability of the first decision, of both, where words are worth so much on average.
pub fn favoured(worth: f64) -> f64 {
    let normed = 1.0 / ((2.0 + worth * worth) / HIDDEN as f64 + f64::from(EPS)).sqrt();
    1.0 / (1.0 + (-2.0 * f64::from(TURN) * worth * normed).exp())
}

impl Attending<'_> {
    /// Writes the checkpoint, which has no chat form.
    pub fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        let texts: Vec<&str> = self
            .words
            .iter()
            .map(|(word, _)| *word)
            .chain(self.decisions)
            .collect();
        let size = BYTES + texts.len();
        // So slow a rotation that the last pair of a head does not know where it stands.
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
            "intermediate_size": 8, "num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": 1, "head_dim": 16,
            "max_position_embeddings": 8192, "rms_norm_eps": EPS, "rope_theta": 1e30, "tie_word_embeddings": false,
            "vocab_size": size, "attention_bias": false, "mlp_bias": false, "eos_token_id": 256,
        });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let vocabulary: BTreeMap<String, usize> = (0..=255u8)
            .map(|byte| {
                (
                    crate::bigram::character(byte).to_string(),
                    usize::from(byte),
                )
            })
            .chain([("<end>".to_owned(), 256)])
            .collect();
        let added = texts.iter().enumerate().map(|(at, text)| {
            json!({
                "id": BYTES + at, "content": text, "special": false, "normalized": false, "single_word": false, "lstrip": false,
                "rstrip": false
            })
        });
        let end = json!({
            "id": 256, "content": "<end>", "special": true, "normalized": false, "single_word": false, "lstrip": false,
            "rstrip": false
        });
        let added: Vec<_> = std::iter::once(end).chain(added).collect();
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false
        });
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
            "model": { "type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": null, "dropout": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false },
        });
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        write_tensors(folder, self.tensors(size));
    }

    fn tensors(&self, size: usize) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let matrix = |rows: usize, columns: usize, set: &[(usize, usize, f32)]| {
            let mut values = vec![0.0f32; rows * columns];
            for (row, column, value) in set {
                values[row * columns + column] = *value;
            }
            (vec![rows, columns], values)
        };
        let embedding: Vec<(usize, usize, f32)> = (0..size)
            .flat_map(|token| [(token, token, 1.0), (token, CONSTANT, 1.0)])
            .collect();
        // Two numbers that are not zero are one each.
        let normed = 1.0 / (2.0 / HIDDEN as f32 + EPS).sqrt();
        let words = || (BYTES..).zip(self.words);
        // A word's score is 40 above that of everything else: normed² / √16.
        let keys: Vec<(usize, usize, f32)> = words().map(|(token, _)| (7, token, 1.0)).collect();
        let values: Vec<(usize, usize, f32)> = words()
            .map(|(token, (_, worth))| (0, token, worth / normed))
            .collect();
        let first = BYTES + self.words.len();
        let after = usize::from(self.after);
        let head = [
            (first, after, 1.0),
            (first, FOUND, TURN),
            (first + 1, after, 1.0),
            (first + 1, FOUND, -TURN),
        ];
        let ones = || (vec![HIDDEN], vec![1.0; HIDDEN]);
        let of = |name: &str| format!("model.layers.0.{name}.weight");
        let all = [
            (
                "model.embed_tokens.weight".to_owned(),
                matrix(size, HIDDEN, &embedding),
            ),
            ("lm_head.weight".to_owned(), matrix(size, HIDDEN, &head)),
            ("model.norm.weight".to_owned(), ones()),
            (of("input_layernorm"), ones()),
            (of("post_attention_layernorm"), ones()),
            (
                of("self_attn.q_proj"),
                matrix(16, HIDDEN, &[(7, CONSTANT, 1.0)]),
            ),
            (of("self_attn.k_proj"), matrix(16, HIDDEN, &keys)),
            (of("self_attn.v_proj"), matrix(16, HIDDEN, &values)),
            (
                of("self_attn.o_proj"),
                matrix(HIDDEN, 16, &[(FOUND, 0, 1.0)]),
            ),
            (of("mlp.gate_proj"), matrix(8, HIDDEN, &[])),
            (of("mlp.up_proj"), matrix(8, HIDDEN, &[])),
            (of("mlp.down_proj"), matrix(HIDDEN, 8, &[])),
        ];
        all.into_iter()
            .map(|(name, (shape, values))| (name, shape, values))
            .collect()
    }
}
