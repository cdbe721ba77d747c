//! A real checkpoint, SmolLM2-135M-Instruct, as the file of `Q4_1` that `tests/real/run` brings: log-probabilities and texts beside those
//! of transformers (`tests/real/reference.py`).

use crate::golden_logits::logits;
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_decoder::Decoder;
use concord_kernels::KernelConfig;
use concord_readings::{Input, Message, Prompt, Read, Sampling};
use concord_scorer::Scorer;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The variable that names the file.
const FILE: &str = "CONCORD_REAL_MODEL";

pub fn trials() -> Vec<Trial> {
    vec![
        test("real::log_probs_are_those_of_transformers", log_probs),
        test("real::texts_are_those_of_transformers", texts),
    ]
}

/// A test that needs the file.
fn test(name: &str, body: fn(&Path)) -> Trial {
    let file = std::env::var_os(FILE).map(PathBuf::from);
    if file.is_none() {
        eprintln!("skipped: {name} (no real checkpoint; tests/real/run brings one)");
    }
    let absent = file.is_none();
    Trial::test(name, move || match &file {
        Some(file) => {
            body(file);
            Ok(())
        }
        None => Err(Failed::from("no real checkpoint is at hand")),
    })
    .with_ignored_flag(absent)
}

fn reference() -> Vec<Value> {
    serde_json::from_str(include_str!("../real/reference.json")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// `ln p` of every token.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    logits
        .iter()
        .map(|x| f64::from(x - most) - sum.ln())
        .collect()
}

/// At every position of every prompt: the next token, and the three likeliest.
fn log_probs(file: &Path) {
    let snapshot = Snapshot::open(file).unwrap();
    let mut positions = 0;
    for (dtype, key, most) in [(DType::F32, "next", 2e-4), (DType::F16, "next_f16", 2e-3)] {
        let decoder = Decoder::load(&snapshot, dtype, KernelConfig::cpu()).unwrap();
        for prompt in &reference() {
            let text = prompt["text"].as_str().unwrap();
            let tokens = ids(&prompt["ids"]);
            assert_eq!(snapshot.vocabulary.text(text).unwrap(), tokens, "{text:?}");
            if let Some(messages) = prompt.get("messages") {
                let messages: Vec<Message> = serde_json::from_value(messages.clone()).unwrap();
                let (rendered, found) = snapshot.tokens(&Input::Conversation(messages)).unwrap();
                assert_eq!((rendered.as_str(), &found), (text, &tokens));
            }
            let found = logits(&decoder, &tokens);
            let next = prompt[key].as_array().unwrap();
            assert_eq!(next.len() + 1, tokens.len());
            for (index, row) in found.iter().enumerate() {
                let row = log_softmax(row);
                let near = |token: u32, expected: f64| {
                    let off = (row[token as usize] - expected).abs();
                    assert!(
                        off <= most,
                        "{text:?} {index} {token} {dtype:?}: off by {off}"
                    );
                };
                if let Some(expected) = next.get(index) {
                    near(tokens[index + 1], expected.as_f64().unwrap());
                }
                if dtype == DType::F32 {
                    for top in prompt["top"][index].as_array().unwrap() {
                        let token = u32::try_from(top[0].as_u64().unwrap()).unwrap();
                        near(token, top[1].as_f64().unwrap());
                    }
                    positions += 1;
                }
            }
        }
    }
    assert!(positions > 400, "{positions}");
}

/// The likeliest tokens after conversations, up to where a text ends, and that they are English.
fn texts(file: &Path) {
    let snapshot = Snapshot::open(file).unwrap();
    let decoder = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let ends = snapshot.end_tokens();
    let mut looked = 0;
    for expected in reference()
        .iter()
        .filter(|prompt| prompt.get("greedy").is_some())
    {
        let messages: Vec<Message> = serde_json::from_value(expected["messages"].clone()).unwrap();
        let greedy = ids(&expected["greedy"]);
        let prompt = Prompt {
            id: "chat".to_owned(),
            input: Input::Conversation(messages),
            reads: vec![Read::Generation(Sampling::greedy(greedy.len()))],
        };
        let mut found = None;
        scorer
            .generate(&[prompt], |_, ended| {
                found = ended.into_iter().next().or(found.take());
                ControlFlow::Continue(())
            })
            .unwrap();
        let (_, reading) = found.unwrap();
        let written = reading.generation().unwrap();
        let end = greedy.iter().position(|token| ends.contains(token));
        let until = end.map_or(greedy.len(), |end| end + 1);
        assert_eq!(written.tokens, greedy[..until], "{}", written.text);
        let words = ["the", "is", "of", "and", "in", "a"];
        let lower = written.text.to_lowercase();
        let english = lower
            .split_whitespace()
            .filter(|word| words.contains(word))
            .count();
        assert!(english > 0 || lower.contains("blue"), "{}", written.text);
        looked += 1;
    }
    assert!(looked >= 2, "{looked}");
}
