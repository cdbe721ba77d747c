//! Bad input gets a clear line, the documented exit code, and no half-written result.

use crate::{concord, copy_of_golden, score};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::path::Path;

/// The program with a question file, and what is expected of it.
#[track_caller]
fn question_fails(name: &str, text: &str, part: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    let outcome = concord(folder.path(), &["run", "--questions", name, "--out", "r"]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains(part),
        "{part} not in {}",
        outcome.stderr
    );
    assert!(!folder.path().join("r").exists() && !folder.path().join("r.partial").exists());
}

const ROW: &str = r#"{"topic":"T","topic_english":"T","question":"Q?","original":"Q?","original_english":"Q?","rephrase":0,"options":{"yes":"supports","no":"opposes"}}"#;

#[test]
fn question_files() {
    let name = "controversial_english_us.jsonl";
    question_fails(
        name,
        &format!("{ROW}\n{}", &ROW[..50]),
        "controversial_english_us.jsonl:2: not a JSON object",
    );
    question_fails(
        name,
        &ROW.replace("\"opposes\"", "\"against\""),
        ":1: field `options` gives `no` the unknown stance `against`",
    );
    question_fails(
        name,
        &ROW.replace("\"opposes\"", "null"),
        "gives `no` no stance",
    );
    question_fails(
        "controversial_klingon_us.jsonl",
        ROW,
        "has no text for language `klingon`",
    );
    question_fails("notes.jsonl", ROW, "neither the name");
    question_fails(name, "", "no questions in it");
    let folder = tempfile::tempdir().unwrap();
    let outcome = concord(folder.path(), &["run", "--questions", "nowhere"]);
    assert_eq!(outcome.code, 3);
    assert!(
        outcome.stderr.starts_with("error: nowhere: cannot be read")
            || outcome.stderr.contains("error: nowhere: cannot be read")
    );
    let outcome = concord(folder.path(), &["run", "--stimuli", "nowhere"]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
}

/// Breaks a checkpoint and expects `run` to say so.
#[track_caller]
fn checkpoint_fails(part: &str, code: i32, damage: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("multi-query-wide-heads", folder.path());
    damage(&model);
    let arguments = [
        "run",
        "-M",
        model.to_str().unwrap(),
        "--limit",
        "1",
        "--languages",
        "english",
        "--no-steering",
        "--out",
        "r",
    ];
    let outcome = concord(folder.path(), &arguments);
    assert_eq!(outcome.code, code, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains(part),
        "{part} not in {}",
        outcome.stderr
    );
    assert!(!folder.path().join("r").exists());
    if code == 4 && !part.contains("no longer finite") {
        assert!(!folder.path().join("r.partial").exists(), "{part}");
    }
}

fn change_config(model: &Path, key: &str, value: Value) {
    let path = model.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

/// Rewrites the weights without one tensor, or with its first value replaced.
fn change_tensor(model: &Path, name: &str, value: Option<f32>) {
    let path = model.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut kept: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (key, view) in tensors.tensors() {
        let mut data = view.data().to_vec();
        if key == name {
            match value {
                None => continue,
                Some(value) => data[..4].copy_from_slice(&value.to_le_bytes()),
            }
        }
        kept.push((key, view.dtype(), view.shape().to_vec(), data));
    }
    let views = kept.iter().map(|(key, dtype, shape, data)| {
        (key, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Writes a tensor once more under another name.
fn rename_tensor(model: &Path, name: &str, as_well: &str, keep: bool) {
    let path = model.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut views: Vec<(String, TensorView<'_>)> = tensors
        .tensors()
        .into_iter()
        .filter(|(key, _)| keep || key != name)
        .collect();
    views.push((as_well.to_owned(), tensors.tensor(name).unwrap()));
    let text = safetensors::serialize(views, None).unwrap();
    std::fs::write(&path, text).unwrap();
}

#[test]
fn checkpoints() {
    checkpoint_fails("tokenizer.json: is missing", 4, |model| {
        std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    });
    checkpoint_fails("config.json: is missing", 4, |model| {
        std::fs::remove_file(model.join("config.json")).unwrap();
    });
    checkpoint_fails("model.safetensors: is missing", 4, |model| {
        std::fs::remove_file(model.join("model.safetensors")).unwrap();
    });
    checkpoint_fails("pytorch_model.bin: weights are pickled", 4, |model| {
        let pickled = model.join("pytorch_model.bin");
        std::fs::rename(model.join("model.safetensors"), pickled).unwrap();
    });
    checkpoint_fails("tokenizer.model: a SentencePiece model", 4, |model| {
        let pieces = model.join("tokenizer.model");
        std::fs::rename(model.join("tokenizer.json"), pieces).unwrap();
    });
    checkpoint_fails("tensor `model.extra.weight` has no place in", 4, |model| {
        rename_tensor(model, "model.norm.weight", "model.extra.weight", true);
    });
    checkpoint_fails("`rope_scaling.rope_type` is `axial`", 4, |model| {
        let rope = serde_json::json!({"rope_type": "axial"});
        change_config(model, "rope_parameters", Value::Null);
        change_config(model, "rope_scaling", rope);
    });
    checkpoint_fails("key `attention_sinks` is not known", 4, |model| {
        change_config(model, "attention_sinks", 4.into());
    });
    checkpoint_fails(
        "architecture `MambaForCausalLM` is not supported",
        4,
        |model| {
            change_config(
                model,
                "architectures",
                serde_json::json!(["MambaForCausalLM"]),
            );
        },
    );
    checkpoint_fails(
        "tensor `model.layers.0.mlp.gate_proj.weight` has shape [32, 24], config.json asks for [40, 24]",
        4,
        |model| {
            change_config(model, "intermediate_size", 40.into());
        },
    );
    checkpoint_fails(
        "tensor `model.layers.1.self_attn.k_proj.weight` is missing",
        4,
        |model| {
            change_tensor(model, "model.layers.1.self_attn.k_proj.weight", None);
        },
    );
    checkpoint_fails("not a complete safetensors file", 4, |model| {
        let path = model.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    checkpoint_fails("the checkpoint's context holds 16", 3, |model| {
        change_config(model, "max_position_embeddings", 16.into());
    });
    checkpoint_fails("tokenizer.json: not a tokenizer", 4, |model| {
        std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
    });
    checkpoint_fails("the chat template fails", 4, |model| {
        std::fs::write(model.join("chat_template.jinja"), "{% for %}").unwrap();
    });
    checkpoint_fails("is outside the checkpoint's vocabulary", 4, |model| {
        // Fewer embeddings than the tokenizer has tokens.
        let path = model.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
        tokenizer["model"]["vocab"]["A"] = 5000.into();
        std::fs::write(path, tokenizer.to_string()).unwrap();
    });
}

/// A fault of the second checkpoint is found before the first one is asked anything.
#[test]
fn a_broken_second_checkpoint_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let good = copy_of_golden("multi-query-wide-heads", folder.path());
    let bad = copy_of_golden("llama3-gqa-untied", folder.path());
    change_config(&bad, "num_hidden_layers", 5.into());
    let models = ["-M", good.to_str().unwrap(), "-M", bad.to_str().unwrap()];
    let outcome = concord(
        folder.path(),
        &[&["run", "--limit", "1", "--out", "r"], &models[..]].concat(),
    );
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("tensor `model.layers.3."),
        "{}",
        outcome.stderr
    );
    assert!(!folder.path().join("r").exists() && !folder.path().join("r.partial").exists());
    assert_eq!(
        concord(folder.path(), &["models", "show", bad.to_str().unwrap()]).code,
        4
    );
}

#[test]
fn weights_that_are_not_finite_are_named() {
    for value in [f32::NAN, f32::INFINITY] {
        checkpoint_fails(
            "tensor `model.layers.1.mlp.down_proj.weight` holds a number that is infinite or none",
            4,
            |model| change_tensor(model, "model.layers.1.mlp.down_proj.weight", Some(value)),
        );
    }
}

/// Weights that are finite and too large are found as the numbers break.
#[test]
fn numbers_that_are_not_finite_name_their_layer() {
    checkpoint_fails("no longer finite after layer 1", 4, |model| {
        change_tensor(model, "model.layers.1.mlp.down_proj.weight", Some(3e38));
    });
    checkpoint_fails("no longer finite in layer 0", 4, |model| {
        change_tensor(model, "model.layers.0.self_attn.o_proj.weight", Some(3e38));
    });
}

#[test]
fn a_label_that_no_token_spells_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("multi-query-wide-heads", folder.path());
    let outcome = score(
        &model,
        "{\"prompt\":\"x\",\"labels\":[\"supercalifragilistic\",\"A\"],\"topic\":\"mine\"}\n{\"prompt\":\"y\"}",
    )
    .ok();
    let lines = outcome.lines();
    assert_eq!(
        lines[0]["not_covered"],
        serde_json::json!(["supercalifragilistic"])
    );
    assert_eq!(lines[0]["labels"].as_array().unwrap().len(), 1);
    assert_eq!(lines[0]["topic"], "mine");
    assert_eq!(lines.len(), 2);
    let said = "1 prompts ask for labels that no token of the vocabulary spells";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
}

#[test]
fn a_text_that_no_tokens_spell_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("families/qwen2", folder.path());
    let outcome = score(
        &model,
        concat!(
            "{\"prompt\":\"w1\",\"strings\":{\"texts\":[\"w5\",\"yes\",\"w5w6\"],\"end\":\"digit\"},\"labels\":[\"w5\"]}\n",
            "{\"prompt\":\"w2\",\"strings\":{\"texts\":[\"w5\",\"w5\"]}}\n",
            "{\"prompt\":\"w3\"}",
        ),
    );
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let lines = outcome.lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["not_covered"], serde_json::json!(["yes"]));
    let strings = &lines[0]["strings"];
    let texts = strings["texts"].as_array().unwrap();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0]["text"], "w5");
    // Every token begins with a letter: a word ends with whatever follows.
    assert_eq!(texts[0]["spellings"][0]["ended"], 1.0);
    assert_eq!(texts[0]["log_prob"], lines[0]["labels"][0]["log_prob"]);
    assert_eq!(
        texts[1]["spellings"][0]["tokens"].as_array().unwrap().len(),
        2
    );
    assert_eq!(strings["left_out"], 0);
    let log_prob = |text: &serde_json::Value| text["log_prob"].as_f64().unwrap();
    let mass: f64 = texts.iter().map(|text| log_prob(text).exp()).sum();
    assert!((strings["mass"].as_f64().unwrap() - mass).abs() < 1e-12);
    let error = lines[1]["error"].as_str().unwrap();
    assert_eq!(error, "prompt `1`: \"w5\" is asked for twice");
    assert!(lines[2].get("strings").is_none());
    let said =
        "1 prompts ask for labels that no token of the vocabulary spells, or texts that none do";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
}

#[test]
fn lines_to_score() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("biased-tied-sharded", folder.path());
    let fails = |input: &str, code: i32, part: &str| {
        let outcome = score(&model, input);
        assert_eq!(outcome.code, code, "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains(part),
            "{part} not in {}",
            outcome.stderr
        );
        // A line that could not be answered says so in its place.
        for line in outcome.stdout.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let error = line["error"].as_str();
            assert!(error.is_none_or(|error| error.contains(part)), "{line}");
            assert!(error.is_some() || input.lines().count() > 1, "{line}");
        }
    };
    fails("{\"prompt\":\"x\"}\n{\"prompt\":", 3, "-:2: ");
    fails("{\"prompt\":\"x\",\"top\":1}", 3, "a field of the answer");
    fails(
        "{\"prompt\":\"x\",\"prompt\":\"y\"}",
        3,
        "stands there twice",
    );
    fails("{\"id\":1}", 3, "neither `prompt` nor `messages`");
    fails("{\"promt\":\"x\"}", 3, "did you mean `prompt`?");
    fails(
        "{\"prompt\":\"x\",\"label\":[]}",
        3,
        "unknown field `label`; did you mean `labels`?",
    );
    fails("{\"prompt\":\"\"}", 3, "is empty");
    fails(
        "{\"prompt\":\"x\",\"continuations\":[\"\"]}",
        3,
        "has no token",
    );
    let asked = |strings: &str| format!("{{\"prompt\":\"x\",\"strings\":{strings}}}");
    for (strings, part) in [
        (r#"{"texts":[]}"#, "`texts` is empty"),
        (r#"{"texts":["1"],"leads":[]}"#, "`leads` is empty"),
        (r#"{"texts":["1",""]}"#, "a text in `texts` is empty"),
        (r#"{"texts":["1","2","1"]}"#, "\"1\" is asked for twice"),
        (
            r#"{"texts":["1"," 1"],"leads":[""," "]}"#,
            "\" 1\" is asked for twice",
        ),
        (r#"{"texts":["1"],"lead":[]}"#, "unknown field `lead`"),
        (r#"{"texts":["1"],"end":"word"}"#, "unknown variant `word`"),
        (r#"["1"]"#, "-:1: "),
    ] {
        fails(&asked(strings), 3, part);
    }
    fails("", 3, "no prompt in it");
    fails(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
        4,
        "has no chat template",
    );
    fails(
        &format!("{{\"prompt\":\"{}\"}}", "word ".repeat(99)),
        3,
        "the checkpoint's context holds 64",
    );
}

#[test]
fn wrong_flags_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |arguments: &[&str], code: i32, part: &str| {
        let outcome = concord(folder.path(), arguments);
        assert_eq!(outcome.code, code, "{arguments:?} {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(part),
            "{part} not in {}",
            outcome.stderr
        );
    };
    fails(&["run", "--modell", "x"], 2, "--model");
    fails(
        &["run", "--dtype", "f8"],
        2,
        "possible values: auto, f32, bf16, f16",
    );
    fails(
        &["run", "--formats", "letters"],
        2,
        "none of `letter`, `cloze` and `open`",
    );
    fails(
        &["run", "--languages", "latin"],
        2,
        "no questions in the language `latin`",
    );
    fails(&["run", "--limit", "0"], 2, "at least 1 is needed");
    fails(
        &["run", "-M", "org/name"],
        4,
        "org/name is not complete in the cache",
    );
    fails(&["measure"], 2, "required");
    fails(&["measure", "."], 2, "not a run directory");
    std::fs::create_dir_all(folder.path().join("taken/by-something")).unwrap();
    fails(
        &["run", "--out", "taken", "--limit", "1"],
        2,
        "taken: exists already",
    );
    std::fs::create_dir_all(folder.path().join("x.partial")).unwrap();
    fails(&["measure", "x.partial"], 6, "did not finish");
    let measure = ["measure", "--questions", ".", "--answers", "a.json"];
    std::fs::write(folder.path().join("controversial_english_us.jsonl"), ROW).unwrap();
    for (text, part) in [
        ("{\"answers\":{}}", "`answers` is missing or empty"),
        ("{\"answers\":{},\"second\":{}}", "unknown key `second`"),
        (
            "{\"answers\":{\"controversial_english_us\":[2]}}",
            "is not a probability",
        ),
        ("[]", "not a JSON object"),
        (
            "{\"answers\":{\"controversial_english_us\":[0.9],\"controversial_english_us\":[0.1]}}",
            "stands there twice",
        ),
    ] {
        std::fs::write(folder.path().join("a.json"), text).unwrap();
        fails(&measure, 3, part);
    }
    std::fs::write(
        folder.path().join("a.json"),
        "{\"answers\":{\"nothing\":[0.5]}}",
    )
    .unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../questions/demo");
    fails(
        &[
            "measure",
            "--questions",
            demo.to_str().unwrap(),
            "--answers",
            "a.json",
        ],
        3,
        "not among the question files",
    );
}

#[test]
fn a_template_that_grows_without_end_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("biased-tied-sharded", folder.path());
    let grow = "{% set n = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    std::fs::write(model.join("chat_template.jinja"), grow).unwrap();
    let model = model.to_str().unwrap();
    let outcome = concord(folder.path(), &["models", "show", model]);
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("the chat template fails: it asks for more than 256 MiB"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stdout.is_empty());
}
