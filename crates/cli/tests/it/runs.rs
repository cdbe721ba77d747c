//! `run` and `measure` on stored runs.

use crate::{concord, concord_on, copy_of_golden, golden};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use std::path::Path;

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Readings by prompt.
fn readings(path: &Path) -> std::collections::BTreeMap<String, Value> {
    let text = std::fs::read_to_string(path).unwrap();
    // The first line says what they were read with; each begins with its checksum.
    text.lines()
        .skip(1)
        .map(|line| {
            let mut reading: Value = serde_json::from_str(line).unwrap();
            assert!(
                reading
                    .as_object_mut()
                    .unwrap()
                    .shift_remove("sum")
                    .is_some()
            );
            (reading["id"].as_str().unwrap().to_owned(), reading)
        })
        .collect()
}

#[test]
fn the_demo_pair_runs_from_nothing_to_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = concord(folder.path(), &["run", "--limit", "2"]).ok();
    let parts = "demo-base|demo-aligned|paraphrases|languages|rows        1.00 of the trie|PARTIAL|concord report runs/";
    for part in parts.split('|') {
        assert!(
            outcome.stdout.contains(part),
            "{part} not in {}",
            outcome.stdout
        );
    }
    // One screen, wherever it is printed.
    assert!(outcome.stdout.lines().count() <= 30, "{}", outcome.stdout);
    assert!(
        outcome
            .stdout
            .lines()
            .all(|line| line.chars().count() <= 80)
    );
    assert!(
        outcome.stderr.contains("embedded demo pair") && outcome.stderr.contains("demo questions")
    );
    let runs: Vec<_> = std::fs::read_dir(folder.path().join("runs"))
        .unwrap()
        .collect();
    assert_eq!(runs.len(), 1);
    let run = runs.into_iter().next().unwrap().unwrap().path();
    let manifest = read(&run.join("manifest.json"));
    for checkpoint in manifest["checkpoints"].as_array().unwrap() {
        assert_eq!(
            checkpoint["fingerprint"]["weights"].as_str().unwrap().len(),
            64
        );
    }
    assert_eq!(manifest["checkpoints"][0]["form"], "completion");
    assert_eq!(manifest["checkpoints"][1]["form"], "chat");
    let cost = &manifest["progress"]["demo-aligned"];
    assert_eq!(cost["rows_computed"], cost["trie_rows"]);
    // Questions in two orders; once more with an option that declines; 63 portraits by 13 conditions in two orders; all 80
    // in another wording.
    assert_eq!(cost["prompts"], 160 + 80 + 63 * 13 * 2 + 160);
    assert_eq!(cost["texts"]["texts"], 80);
}

#[test]
fn runs_without_a_name_do_not_collide() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "run",
        "--limit",
        "1",
        "--languages",
        "english",
        "--formats",
        "letter",
    ];
    for _ in 0..3 {
        concord(folder.path(), &arguments).ok();
    }
    assert_eq!(
        std::fs::read_dir(folder.path().join("runs"))
            .unwrap()
            .count(),
        3
    );
}

#[test]
fn stored_readings_measured_again_are_the_findings() {
    let folder = tempfile::tempdir().unwrap();
    concord(
        folder.path(),
        &["run", "--limit", "3", "--seed", "5", "--out", "r"],
    )
    .ok();
    let again = concord(folder.path(), &["measure", "r", "--format", "json"])
        .ok()
        .json();
    assert_eq!(again, read(&folder.path().join("r/findings.json")));
    let human = concord(folder.path(), &["measure", "r"]).ok().stdout;
    assert!(human.contains("demo-base") && human.contains("difference"));
}

#[test]
fn a_run_that_was_cut_off_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let run = |out: &str, threads: usize| {
        let arguments = ["run", "--limit", "3", "--out", out, "--format", "json"];
        concord_on(Some(threads), folder.path(), &arguments, "")
    };
    run("whole", 2).ok();
    // What a killed run leaves: the partial name, no findings, a journal that ends in half a line.
    std::fs::rename(at("whole"), at("again.partial")).unwrap();
    std::fs::create_dir_all(at("whole/readings")).unwrap();
    for model in ["demo-base", "demo-aligned"] {
        let file = format!("readings/{model}.jsonl");
        std::fs::copy(at("again.partial").join(&file), at("whole").join(&file)).unwrap();
    }
    std::fs::rename(at("again.partial/findings.json"), at("whole/findings.json")).unwrap();
    std::fs::remove_file(at("again.partial/readings/demo-aligned.jsonl")).unwrap();
    let journal = at("again.partial/readings/demo-base.jsonl");
    let text = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() / 3]).unwrap();

    let other = concord(
        folder.path(),
        &["run", "--limit", "3", "--out", "again", "--seed", "9"],
    );
    assert_eq!(other.code, 2, "{}", other.stderr);
    assert!(
        other
            .stderr
            .contains("a partial run with different settings"),
        "{}",
        other.stderr
    );

    // On another number of threads it is the same run, worked on twice.
    let outcome = run("again", 3).ok().json();
    assert!(
        outcome["manifest"]["progress"]["demo-base"]["resumed"]
            .as_u64()
            .unwrap()
            > 0
    );
    let attempts = outcome["manifest"]["attempts"].as_array().unwrap();
    let threads = attempts
        .iter()
        .map(|attempt| &attempt["machine"]["threads"]);
    assert_eq!(threads.collect::<Vec<_>>(), [2, 3]);
    assert_eq!(attempts[1]["outcome"], "finished");
    assert!(attempts[1]["command"][1] == "run" && attempts[1]["ended"].is_string());
    assert_eq!(
        read(&at("again/findings.json")),
        read(&at("whole/findings.json"))
    );
    for model in ["demo-base", "demo-aligned"] {
        let file = format!("readings/{model}.jsonl");
        assert_eq!(
            readings(&at("again").join(&file)),
            readings(&at("whole").join(&file))
        );
    }
    assert!(!at("again.partial").exists());
}

#[test]
fn formats_orders_and_languages_narrow_what_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let fixed = ["run", "--limit", "1", "--format", "json"];
        concord(folder.path(), &[&fixed, arguments].concat())
            .ok()
            .json()
    };
    let letters = run(&[
        "--formats",
        "letter",
        "--orders",
        "given",
        "--languages",
        "german,english",
        "--abstention",
        "off",
        "--no-steering",
        "--robustness-sample",
        "0",
        "--out",
        "a",
    ]);
    assert_eq!(letters["manifest"]["progress"]["demo-base"]["prompts"], 20);
    let findings = &letters["findings"]["models"]["demo-base"];
    assert_eq!(findings["task_format"], serde_json::json!({}));
    assert_eq!(findings["robustness"]["flip_rate"], Value::Null);
    assert_eq!(findings["files"].as_object().unwrap().len(), 4);
    let texts = run(&["--formats", "cloze", "--orders", "seeded", "--out", "b"]);
    assert_eq!(
        texts["findings"]["models"]["demo-base"]["robustness"],
        Value::Null
    );
    assert!(
        texts["findings"]["models"]["demo-base"]["overall"]["paraphrase"]["mean"]
            .as_f64()
            .unwrap()
            >= 0.0
    );
}

#[test]
fn two_folders_are_compared_and_the_template_can_be_overridden() {
    let folder = tempfile::tempdir().unwrap();
    let (base, aligned) = (golden("biased-tied-sharded"), golden("llama3-gqa-untied"));
    // The tiny vocabularies write many tokens; their contexts are too short for every demo prompt.
    let outcome = concord(
        folder.path(),
        &[
            "run",
            "-M",
            base.to_str().unwrap(),
            "-M",
            aligned.to_str().unwrap(),
            "--limit",
            "1",
        ],
    );
    assert_eq!(outcome.code, 3);
    assert!(
        outcome.stderr.contains("the checkpoint's context holds 64"),
        "{}",
        outcome.stderr
    );
    let wide = golden("multi-query-wide-heads");
    let arguments = [
        "run",
        "-M",
        wide.to_str().unwrap(),
        "-M",
        wide.to_str().unwrap(),
        "--limit",
        "1",
        "--no-steering",
        "--languages",
        "english",
        "--apply-chat-template",
        "--format",
        "json",
        "--out",
        "w",
    ];
    let outcome = concord(folder.path(), &arguments).ok().json();
    let models = outcome["findings"]["models"].as_object().unwrap();
    let wide = ["multi-query-wide-heads", "multi-query-wide-heads-2"];
    assert_eq!(models.keys().collect::<Vec<_>>(), wide);
    // Random weights are not measurable by letters, and are compared with nothing.
    let findings = &outcome["findings"];
    let compared = findings["comparisons"][0]["measures"].as_array();
    assert_eq!(compared.map(Vec::len), Some(0));
    let letters = &findings["verdict"]["checkpoints"][0]["formats"]["letter"]["verdict"];
    assert!(letters["not_measurable"].is_string(), "{letters}");
    let never = [
        "run",
        "-M",
        base.to_str().unwrap(),
        "--apply-chat-template=always",
        "--out",
        "n",
    ];
    let outcome = concord(folder.path(), &never);
    assert_eq!(outcome.code, 4);
    assert!(
        outcome.stderr.contains("has no chat template"),
        "{}",
        outcome.stderr
    );
    assert!(!folder.path().join("n.partial").exists());
}

/// An adapter of a golden checkpoint whose queries it changes.
pub(crate) fn write_adapter(folder: &Path, gain: f32) {
    std::fs::create_dir_all(folder).unwrap();
    let config = r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"], "bias": "none"}"#;
    std::fs::write(folder.join("adapter_config.json"), config).unwrap();
    let bytes = |count: u16| -> Vec<u8> {
        let values = (0..count).map(|i| gain * (f32::from(i % 7) - 3.0));
        values.flat_map(f32::to_le_bytes).collect()
    };
    let (a, b) = (bytes(24), bytes(192));
    let name =
        |half: &str| format!("base_model.model.model.layers.1.self_attn.q_proj.lora_{half}.weight");
    let tensors = [
        (
            name("A"),
            TensorView::new(Dtype::F32, vec![1, 24], &a).unwrap(),
        ),
        (
            name("B"),
            TensorView::new(Dtype::F32, vec![192, 1], &b).unwrap(),
        ),
    ];
    let text = safetensors::serialize(tensors, None).unwrap();
    std::fs::write(folder.join("adapter_model.safetensors"), text).unwrap();
}

#[test]
fn a_base_and_its_adapters_are_run_together() {
    let folder = tempfile::tempdir().unwrap();
    let base = copy_of_golden("multi-query-wide-heads", folder.path());
    write_adapter(&folder.path().join("mild"), 0.01);
    write_adapter(&folder.path().join("wild"), 0.4);
    let model = base.to_str().unwrap();
    let arguments = [
        "run",
        "-M",
        model,
        "-A",
        "mild",
        "--adapter",
        "wild",
        "-L",
        "1",
        "--languages",
        "english",
        "--no-steering",
        "-o",
        "r",
    ];
    concord(folder.path(), &arguments).ok();
    let manifest = read(&folder.path().join("r/manifest.json"));
    let checkpoints = manifest["checkpoints"].as_array().unwrap();
    let of = |key: &str| -> Vec<&Value> { checkpoints.iter().map(|one| &one[key]).collect() };
    assert_eq!(of("name"), ["multi-query-wide-heads", "mild", "wild"]);
    let fingerprints = of("fingerprint");
    assert_eq!(fingerprints[0]["weights"], fingerprints[2]["weights"]);
    assert!(fingerprints[0]["adapter"].is_null());
    assert_ne!(fingerprints[1]["adapter"], fingerprints[2]["adapter"]);
    assert_ne!(fingerprints[0]["whole"], fingerprints[1]["whole"]);
    let findings = read(&folder.path().join("r/findings.json"));
    assert_eq!(findings["comparisons"].as_array().unwrap().len(), 2);
    let readings = |name: &str| readings(&folder.path().join(format!("r/readings/{name}.jsonl")));
    assert_ne!(readings("multi-query-wide-heads"), readings("wild"));

    // Cut off after the base and half of the first adapter, the sweep goes on to the same readings.
    let half = folder.path().join("h.partial");
    std::fs::create_dir_all(half.join("readings")).unwrap();
    for name in [
        "manifest.json",
        "questions.json",
        "readings/multi-query-wide-heads.jsonl",
    ] {
        std::fs::copy(folder.path().join("r").join(name), half.join(name)).unwrap();
    }
    let mild = std::fs::read_to_string(folder.path().join("r/readings/mild.jsonl")).unwrap();
    let lines: Vec<&str> = mild.lines().collect();
    let kept = lines[..lines.len() / 2].join("\n") + "\n";
    std::fs::write(half.join("readings/mild.jsonl"), kept).unwrap();
    let again: Vec<&str> = arguments
        .iter()
        .map(|word| if *word == "r" { "h" } else { word })
        .collect();
    concord(folder.path(), &again).ok();
    for name in ["mild", "wild"] {
        let resumed = folder.path().join(format!("h/readings/{name}.jsonl"));
        assert_eq!(crate::runs::readings(&resumed), readings(name), "{name}");
    }

    let alone = ["score", "-M", model, "-A", "wild", "--prompts", "p"];
    std::fs::write(
        folder.path().join("p"),
        r#"{"prompt": "x", "labels": ["A"]}"#,
    )
    .unwrap();
    let adapted = concord(folder.path(), &alone).ok().stdout;
    let plain = concord(folder.path(), &["score", "-M", model, "--prompts", "p"])
        .ok()
        .stdout;
    assert_ne!(adapted, plain);

    let two = concord(
        folder.path(),
        &["run", "-M", model, "-M", model, "-A", "mild"],
    );
    assert_eq!(two.code, 2);
    assert!(
        two.stderr.contains("adapters are put on one base"),
        "{}",
        two.stderr
    );
    let other = golden("llama3-gqa-untied");
    let other = concord(
        folder.path(),
        &[
            "run",
            "-M",
            other.to_str().unwrap(),
            "-A",
            "mild",
            "-o",
            "x",
        ],
    );
    assert_eq!(other.code, 4);
    assert!(
        other.stderr.contains("the adapter is of another base"),
        "{}",
        other.stderr
    );
    assert!(!folder.path().join("x.partial").exists());
}

#[test]
fn a_gguf_file_is_run_in_its_own_format() {
    let folder = tempfile::tempdir().unwrap();
    let file = golden("gguf").join("llama-bpe.gguf");
    let file = file.to_str().unwrap();
    let arguments = [
        "run",
        "-M",
        file,
        "-L",
        "1",
        "--languages",
        "english",
        "--formats",
        "letter",
        "-o",
        "r",
    ];
    let outcome = concord(folder.path(), &arguments);
    // Its context is 64 tokens, and a question takes more: that is what is said.
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("the checkpoint's context holds 64"),
        "{}",
        outcome.stderr
    );
    std::fs::write(
        folder.path().join("p"),
        r#"{"messages": [{"role": "user", "content": "A?"}], "labels": ["A"]}"#,
    )
    .unwrap();
    let scored = concord(folder.path(), &["score", "-M", file, "--prompts", "p"]).ok();
    assert_eq!(scored.lines().len(), 1);
}

#[test]
fn what_weights_are_held_as_is_chosen_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden("biased-tied-sharded");
    let prompts = folder.path().join("p");
    std::fs::write(&prompts, r#"{"prompt": "A or B: ", "labels": ["A"]}"#).unwrap();
    let entropy = |dtype: &str| {
        let arguments = [
            "score",
            "-M",
            model.to_str().unwrap(),
            "--prompts",
            "p",
            "--dtype",
            dtype,
        ];
        let lines = concord(folder.path(), &arguments).ok().lines();
        lines[0]["entropy"].as_f64().unwrap()
    };
    // It is stored as bf16: held as f16 the numbers are those of f32 but for the order of sums. Products of bf16 round the rows,
    // and are what the program chooses where the processor has them.
    let exact = entropy("f32");
    assert!((entropy("f16") - exact).abs() < 1e-5);
    let rounded = entropy("bf16");
    assert!((rounded - exact).abs() < 1e-2 && (rounded - exact).abs() > 1e-9);
    let expected = if concord_kernels::Isa::best().has_bf16() {
        rounded
    } else {
        exact
    };
    assert!((entropy("auto") - expected).abs() < 1e-12);
    let shown = concord(
        folder.path(),
        &[
            "models",
            "show",
            model.to_str().unwrap(),
            "--format",
            "json",
        ],
    );
    assert_eq!(shown.ok().json()["held_as"], "bf16");
}

#[test]
fn known_pairs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = concord(folder.path(), &["run", "--pair", "gpt-9"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("there are llama-2-7b"),
        "{}",
        unknown.stderr
    );
    let offline = concord(folder.path(), &["run", "--pair", "olmo2-7b"]);
    assert_eq!(offline.code, 4);
    assert!(
        offline
            .stderr
            .contains("allenai/OLMo-2-1124-7B is not complete in the cache"),
        "{}",
        offline.stderr
    );
    let both = concord(folder.path(), &["run", "--pair", "olmo2-7b", "-M", "x"]);
    assert_eq!(both.code, 2);
}

/// A template that takes no system message: the run says what becomes of it, and the manifest has it.
#[test]
fn a_folded_system_message_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("multi-query-wide-heads", folder.path());
    let template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('none') }}{% endif %}{{ m.content }}{% endfor %}";
    std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    let model = model.to_str().unwrap();
    let arguments = [
        "run",
        "-M",
        model,
        "-L",
        "1",
        "--languages",
        "english",
        "--no-steering",
        "-o",
        "r",
    ];
    let outcome = concord(folder.path(), &arguments).ok();
    assert!(
        outcome.stderr.contains("takes no system message"),
        "{}",
        outcome.stderr
    );
    let manifest = read(&folder.path().join("r/manifest.json"));
    assert_eq!(manifest["checkpoints"][0]["template"]["system"], "folded");
    assert_eq!(manifest["checkpoints"][0]["dtype"], "f32");
}
