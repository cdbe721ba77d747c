//! Logits and chat rendering against transformers (`tests/golden/make.py`), and candle-transformers as second opinion.

use crate::test;
use candle_core::{DType, Device, Tensor};
use candle_transformers::models::llama;
use concord_checkpoint::{Mlp, Snapshot};
use concord_decoder::{Decoder, Pass};
use concord_kernels::KernelConfig;
use concord_readings::{Input, Message, Prompt, Read};
use concord_scorer::Scorer;
use libtest_mimic::Trial;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const CHECKPOINTS: [&str; 4] = [
    "llama3-gqa-untied",
    "biased-tied-sharded",
    "multi-query-wide-heads",
    "sentencepiece-llama2",
];
/// Of the largest logit.
const TOLERANCE: f32 = 1e-4;

pub fn trials() -> Vec<Trial> {
    vec![
        test(
            "golden_logits::every_position_is_that_of_transformers",
            every_position,
        ),
        test(
            "golden_logits::every_family_is_that_of_transformers",
            every_family,
        ),
        test(
            "golden_logits::weights_held_as_16_bits_stay_close",
            narrow_weights,
        ),
        test(
            "golden_logits::a_head_beside_a_tied_embedding_counts_where_it_differs",
            head_beside_a_tied_embedding,
        ),
        test(
            "golden_logits::absent_keys_mean_what_transformers_says",
            defaults,
        ),
        test("golden_logits::candle_transformers_agrees", second_opinion),
        test(
            "golden_logits::messages_render_as_in_transformers",
            rendering,
        ),
        test(
            "golden_logits::sentencepiece_spaces_are_spaces",
            sentencepiece,
        ),
        test(
            "golden_logits::plain_text_is_tokenised_as_in_transformers",
            plain_text,
        ),
    ]
}

pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name)
}

/// Sequences of tokens and the logits at each of their positions.
pub type Golden = Vec<(Vec<u32>, Vec<Vec<f32>>)>;

pub fn golden(name: &str) -> Golden {
    golden_of(&folder(name).join("golden.safetensors"))
}

pub fn golden_of(file: &Path) -> Golden {
    let tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    (0..tensors.len() / 2)
        .map(|index| {
            let tokens = tensors[&format!("tokens_{index}")]
                .to_dtype(DType::U32)
                .unwrap();
            (
                tokens.to_vec1().unwrap(),
                tensors[&format!("logits_{index}")].to_vec2().unwrap(),
            )
        })
        .collect()
}

pub fn logits(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let depths: Vec<u32> = (0..u32::try_from(tokens.len()).unwrap()).collect();
    let mut session = decoder.session(tokens.len()).unwrap();
    decoder.enter(&mut session, decoder.spec().length_class(tokens.len()));
    let pass = Pass::new(tokens, &depths, 0, &depths);
    let hidden = decoder.pass(&mut session, &pass).unwrap().unwrap();
    decoder.head(&hidden).unwrap().to_rows().unwrap()
}

/// The checkpoints of `tests/golden/families.py`.
pub fn families() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder("families"))
        .unwrap()
        .map(|entry| format!("families/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort();
    names
}

/// The furthest that logits are from transformers' at any position, as a share of the largest logit there.
fn worst_error(name: &str, dtype: DType) -> f32 {
    worst_error_of(&folder(name), &golden(name), dtype)
}

pub fn worst_error_of(checkpoint: &Path, golden: &Golden, dtype: DType) -> f32 {
    let snapshot = Snapshot::open(checkpoint).unwrap();
    let decoder = Decoder::load(&snapshot, dtype, KernelConfig::cpu()).unwrap();
    worst_error_in(&decoder, golden)
}

pub fn worst_error_in(decoder: &Decoder, golden: &Golden) -> f32 {
    let mut worst = 0.0f32;
    for (tokens, expected) in golden {
        let found = logits(decoder, tokens);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let largest = expected
                .iter()
                .fold(0.0f32, |largest, x| largest.max(x.abs()));
            for (a, b) in found.iter().zip(expected) {
                let error = (a - b).abs() / largest;
                worst = if error <= worst { worst } else { error };
            }
        }
    }
    worst
}

fn every_family() {
    let names = families();
    assert!(names.len() >= 33, "{names:?}");
    let mut seen: Vec<String> = Vec::new();
    let mut wrong = Vec::new();
    for name in &names {
        let error = worst_error(name, DType::F32);
        if !matches!(error, 0.0..=TOLERANCE) {
            wrong.push(format!("{name}: off by {error} of the largest logit"));
        }
        seen.push(Snapshot::open(&folder(name)).unwrap().spec.family);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for family in concord_checkpoint::families() {
        assert!(
            seen.contains(&family.family),
            "no checkpoint of {}",
            family.family
        );
    }
}

/// Weights held as `f16` are exact where the checkpoint stores no more, rounded otherwise. Products of `bf16` round the rows
/// too, whatever is stored.
fn narrow_weights() {
    for name in families() {
        let error = worst_error(&name, DType::F16);
        assert!(error <= TOLERANCE, "{name} as f16: off by {error}");
        let error = worst_error(&name, DType::BF16);
        assert!(
            error <= 5e-2 && error > TOLERANCE,
            "{name} as bf16: off by {error}"
        );
    }
    for (dtype, tolerance) in [(DType::BF16, 5e-2), (DType::F16, 6e-3)] {
        for name in ["llama3-gqa-untied", "multi-query-wide-heads"] {
            let error = worst_error(name, dtype);
            assert!(
                error <= tolerance && error > TOLERANCE / 10.0,
                "{name} as {dtype:?}: off by {error}"
            );
        }
    }
}

/// What an absent key means, against transformers' config classes.
fn defaults() {
    let record = std::fs::read_to_string(folder("defaults.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    for family in concord_checkpoint::families() {
        let theirs = record[&family.family].as_object().unwrap();
        for (key, ours) in &family.defaults {
            let written = family.aliases.iter().find(|(_, to)| *to == key);
            let named = theirs.get(key).or_else(|| theirs.get(written?.0));
            let ours = serde_json::to_value(ours).unwrap();
            // transformers turns the window off where it is not used.
            let unused = key == "sliding_window" && named.is_none_or(|value| *value == 0);
            // Qwen3-MoE calls its experts by another name since version 5.
            let number = |value: &serde_json::Value| value.as_f64();
            let same = named == Some(&ours)
                || (number(&ours).is_some() && named.and_then(number) == number(&ours));
            assert!(
                same || unused,
                "{}: {key} is {ours}, transformers has {named:?}",
                family.family
            );
        }
    }
}

pub fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    let largest = expected
        .iter()
        .fold(0.0f32, |largest, value| largest.max(value.abs()));
    let error = found
        .iter()
        .zip(expected)
        .fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(
        error <= TOLERANCE * largest,
        "{what}: off by {error} where logits reach {largest}"
    );
}

fn every_position() {
    for name in CHECKPOINTS {
        let snapshot = Snapshot::open(&folder(name)).unwrap();
        let decoder = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
        for (tokens, expected) in golden(name) {
            let found = logits(&decoder, &tokens);
            assert_eq!(found.len(), expected.len());
            for (position, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_close(found, expected, &format!("{name} position {position}"));
            }
        }
    }
}

/// candle-transformers knows neither biases nor an explicit `head_dim`, so it is asked about a checkpoint without them: the
/// demo pair.
fn second_opinion() {
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/demo/aligned");
    let snapshot = Snapshot::open(&demo).unwrap();
    let decoder = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let spec = &snapshot.spec;
    let config = llama::Config {
        hidden_size: spec.hidden_size,
        intermediate_size: match spec.layers[0].mlp {
            Mlp::Dense { size } | Mlp::Experts { size, .. } => size,
        },
        vocab_size: spec.vocab_size,
        num_hidden_layers: spec.layers.len(),
        num_attention_heads: spec.heads,
        num_key_value_heads: spec.kv_heads,
        use_flash_attn: false,
        rms_norm_eps: spec.norm_eps,
        rope_theta: 10_000.0,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: spec.max_positions,
        tie_word_embeddings: true,
    };
    let weights = std::fs::read(demo.join("model.safetensors")).unwrap();
    let weights =
        candle_nn::VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)
            .unwrap();
    let model = llama::Llama::load(weights, &config).unwrap();
    let tokens: Vec<u32> = (0..90).map(|i| i * 37 % 2048).collect();
    let found = logits(&decoder, &tokens);
    for length in [1, 2, 17, 90] {
        let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
        let input = Tensor::new(&tokens[..length], &Device::Cpu)
            .unwrap()
            .unsqueeze(0)
            .unwrap();
        let expected = model
            .forward(&input, 0, &mut cache)
            .unwrap()
            .squeeze(0)
            .unwrap()
            .to_vec1()
            .unwrap();
        assert_close(&found[length - 1], &expected, &format!("{length} tokens"));
    }
}

#[derive(Debug)]
struct Rendered {
    messages: Vec<Message>,
    text: String,
    tokens: Vec<u32>,
}

fn rendering() {
    for name in ["llama3-gqa-untied", "multi-query-wide-heads"] {
        let snapshot = Snapshot::open(&folder(name)).unwrap();
        let record = std::fs::read_to_string(folder(name).join("rendered.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let record = Rendered {
            messages: serde_json::from_value(record["messages"].clone()).unwrap(),
            text: record["text"].as_str().unwrap().to_owned(),
            tokens: serde_json::from_value(record["tokens"].clone()).unwrap(),
        };
        let (text, tokens) = snapshot
            .tokens(&Input::Conversation(record.messages))
            .unwrap();
        assert_eq!(text, record.text);
        assert_eq!(tokens, record.tokens);
        assert_eq!(
            tokens.iter().filter(|token| **token == 0).count(),
            1,
            "one beginning of text"
        );
    }
}

fn plain_text() {
    for name in CHECKPOINTS {
        let snapshot = Snapshot::open(&folder(name)).unwrap();
        let text = "Human: choose A or B.\n\nAssistant: A";
        let (_, tokens) = snapshot.tokens(&Input::Text(text.into())).unwrap();
        assert_eq!(tokens, golden(name)[3].0);
        let bos = match name {
            "biased-tied-sharded" => None,
            "sentencepiece-llama2" => Some(1),
            _ => Some(0),
        };
        assert_eq!(snapshot.vocabulary.bos(), bos);
        let Some(bos) = bos else { continue };
        // A text that brings its own beginning gets no second one.
        let (_, tokens) = snapshot.tokens(&Input::Text(format!("<s>{text}"))).unwrap();
        assert_eq!(tokens.iter().filter(|token| **token == bos).count(), 1);
    }
}

/// A vocabulary that writes spaces as U+2581 and puts one before every text.
fn sentencepiece() {
    let snapshot = Snapshot::open(&folder("sentencepiece-llama2")).unwrap();
    let vocabulary = &snapshot.vocabulary;
    assert!(vocabulary.begins_with_space());
    for name in &CHECKPOINTS[..3] {
        assert!(
            !Snapshot::open(&folder(name))
                .unwrap()
                .vocabulary
                .begins_with_space()
        );
    }
    let decoder = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let labels = vec!["A".into(), "B".into()];
    let prompt = Prompt {
        id: "p".into(),
        input: Input::Text("choose A or B.".into()),
        reads: vec![
            Read::NextToken {
                labels,
                openings: vec![],
            },
            Read::Continuation { text: "A".into() },
            Read::Continuation { text: " A".into() },
        ],
    };
    let (readings, _) = Scorer::new(&snapshot, &decoder).score(&[prompt]).unwrap();
    let label = &readings[0].next_token().unwrap().labels[0];
    let spellings: Vec<&str> = label
        .spellings
        .iter()
        .map(|spelling| spelling.text.as_str())
        .collect();
    assert!(
        spellings.contains(&"A") && spellings.contains(&" A"),
        "{spellings:?}"
    );
    // On its own the tokenizer writes a space before a text; after a prompt there is one where there is one.
    let written = readings[0].continuations().map(|continuation| {
        let tokens = continuation.tokens.iter();
        tokens.map(|token| token.text.as_str()).collect::<String>()
    });
    assert_eq!(written.collect::<Vec<_>>(), ["A", " A"]);
}

/// A head that stands beside the embedding and differs is a head of its own, whatever the config says; an equal one is tied.
fn head_beside_a_tied_embedding() {
    use safetensors::{SafeTensors, serialize_to_file};
    let temporary = tempfile::tempdir().unwrap();
    let from = folder("families/qwen2");
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(from.join(name), temporary.path().join(name)).unwrap();
    }
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let embedding = stored.tensor("model.embed_tokens.weight").unwrap();
    let mut other = embedding.data().to_vec();
    other[1] ^= 0x80;
    for (data, tied) in [(embedding.data(), true), (&other[..], false)] {
        let (dtype, shape) = (embedding.dtype(), embedding.shape().to_vec());
        let head = safetensors::tensor::TensorView::new(dtype, shape, data).unwrap();
        let mut tensors = stored.tensors();
        tensors.push(("lm_head.weight".to_owned(), head));
        let path = temporary.path().join("model.safetensors");
        serialize_to_file(tensors, None, &path).unwrap();
        let snapshot = Snapshot::open(temporary.path()).unwrap();
        assert_eq!(snapshot.spec.tied_head, tied);
        let decoder = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
        let error = worst_error_in(&decoder, &golden("families/qwen2"));
        assert_eq!(error <= TOLERANCE, tied, "{error}");
    }
}
