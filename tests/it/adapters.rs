//! PEFT adapters (`tests/golden/adapters.py`): logits as PEFT runs them, however they are loaded.

use crate::golden_logits::{folder, golden_of, logits, worst_error_in};
use crate::test;
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_decoder::Decoder;
use concord_kernels::KernelConfig;
use libtest_mimic::Trial;
use std::path::PathBuf;

pub fn trials() -> Vec<Trial> {
    vec![
        test("adapters::logits_are_those_that_peft_runs", merged),
        test("adapters::one_base_serves_many", shared),
        test("adapters::what_does_not_fit_is_said", refused),
        test("adapters::a_template_of_its_own_makes_it_aligned", template),
    ]
}

fn adapters() -> Vec<(PathBuf, Snapshot)> {
    let entries = std::fs::read_dir(folder("adapters")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), 25, "{paths:?}");
    let opened = paths.into_iter().map(|path| {
        let base = std::fs::read_to_string(path.join("base")).unwrap();
        let base = Snapshot::open(&folder("families").join(base.trim())).unwrap();
        let snapshot = base.with_adapter(&path).unwrap();
        (path, snapshot)
    });
    opened.collect()
}

fn merged() {
    let mut wrong = Vec::new();
    for (path, snapshot) in adapters() {
        let golden = golden_of(&path.join("golden.safetensors"));
        let decoder = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
        let error = worst_error_in(&decoder, &golden);
        if !matches!(error, 0.0..=1e-4) {
            wrong.push(format!("{}: off by {error}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Put on a base that is loaded, an adapter gives the same bits; the base stays what it was.
fn shared() {
    for (path, snapshot) in adapters() {
        let base = std::fs::read_to_string(path.join("base")).unwrap();
        let base = Snapshot::open(&folder("families").join(base.trim())).unwrap();
        let again = base.with_adapter(&path).unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let plain = Decoder::load(&base, dtype, KernelConfig::cpu()).unwrap();
            let before = logits(&plain, &[3, 1, 4, 1, 5]);
            assert!(plain.is_base_of(&again) && !plain.is_base_of(&snapshot));
            let on_it = plain.adapted(&again).unwrap();
            let alone = Decoder::load(&snapshot, dtype, KernelConfig::cpu()).unwrap();
            let found = logits(&on_it, &[3, 1, 4, 1, 5]);
            // Layers that are read when they are needed, each with its changes.
            let streamed = Decoder::streamed(&base, dtype, KernelConfig::cpu()).unwrap();
            let on_it = streamed.adapted(&again).unwrap();
            assert_eq!(
                found,
                logits(&on_it, &[3, 1, 4, 1, 5]),
                "{}",
                path.display()
            );
            assert_eq!(
                found,
                logits(&alone, &[3, 1, 4, 1, 5]),
                "{}",
                path.display()
            );
            assert_ne!(found, before);
            assert_eq!(before, logits(&plain, &[3, 1, 4, 1, 5]));
            assert!(on_it.adapted(&again).is_err());
        }
        let (one, two) = (base.fingerprint().unwrap(), again.fingerprint().unwrap());
        assert_eq!(one.weights, two.weights);
        assert_ne!(one.whole, two.whole);
    }
}

fn refused() {
    let base = Snapshot::open(&folder("families/llama-yarn")).unwrap();
    let problem = |name: &str| {
        let opened = base.with_adapter(&folder("adapters").join(name));
        opened.err().unwrap().to_string()
    };
    // GPT-2's modules are none of Llama's; Cohere's are, in other widths than some.
    assert!(problem("transposed").contains("is not a tensor of the base"));
    assert!(problem("nowhere").contains("no such folder or file"));
    let temporary = tempfile::tempdir().unwrap();
    let copy = |change: &dyn Fn(&mut serde_json::Value)| {
        let from = folder("adapters/patterns");
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(from.join(name), temporary.path().join(name)).unwrap();
        }
        let path = temporary.path().join("adapter_config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
        let opened = base.with_adapter(temporary.path());
        opened
            .err()
            .map_or_else(String::new, |error| error.to_string())
    };
    assert_eq!(copy(&|_| ()), "");
    for (key, value, part) in [
        ("peft_type", "IA3".into(), "`peft_type` is IA3"),
        ("r", 5.into(), "has rank 4 where adapter_config.json says 5"),
        (
            "lora_alpha",
            serde_json::Value::Null,
            "`lora_alpha` is not a positive number",
        ),
        ("init_lora_weights", "pissa".into(), "changes the base"),
        ("use_dora", true.into(), "do not agree"),
        (
            "target_parameters",
            serde_json::json!(["x"]),
            "`target_parameters` is not known",
        ),
        (
            "rank_pattern",
            serde_json::json!({"(": 2}),
            "a pattern that cannot be read",
        ),
        (
            "target_modules",
            serde_json::json!(["q_proj"]),
            "does not target it",
        ),
        ("target_modules", "nope".into(), "does not target it"),
        (
            "layers_to_transform",
            serde_json::json!([7]),
            "does not target it",
        ),
    ] {
        let problem = copy(&|config| config[key] = value.clone());
        assert!(problem.contains(part), "{problem}");
    }
    assert_eq!(copy(&|_| ()), "");
    std::fs::remove_file(temporary.path().join("adapter_model.safetensors")).unwrap();
    let missing = base
        .with_adapter(temporary.path())
        .err()
        .unwrap()
        .to_string();
    assert!(
        missing.contains("adapter_model.safetensors: is missing"),
        "{missing}"
    );
    std::fs::write(temporary.path().join("adapter_model.bin"), "x").unwrap();
    let pickled = base
        .with_adapter(temporary.path())
        .err()
        .unwrap()
        .to_string();
    assert!(pickled.contains("weights are pickled"), "{pickled}");
}

fn template() {
    let base = Snapshot::open(&folder("families/llama-yarn")).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let from = folder("adapters/patterns");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(from.join(name), temporary.path().join(name)).unwrap();
    }
    assert!(!base.with_adapter(temporary.path()).unwrap().is_aligned());
    std::fs::write(
        temporary.path().join("chat_template.jinja"),
        "w1{{ messages[-1].content }}",
    )
    .unwrap();
    let aligned = base.with_adapter(temporary.path()).unwrap();
    assert!(aligned.is_aligned() && !base.is_aligned());
}
