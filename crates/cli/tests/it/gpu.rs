//! The program on a GPU that is not there (`emulated-cuda/`): devices, what is wrong with them, and what takes over.

use crate::Outcome;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Sizes that an emulated GPU gets through.
const SIZES: &str = "rows_per_pass = 64\nfew_rows = 16\nhead_rows = 16\ntexts = 8\nkv_mib = 64\nworkspace_mib = 1\n\n\
                     [attention]\nrows = 64\nkeys = 32\n";

/// Runs the program with stand-ins for CUDA; `None`, and a line, where they cannot be built.
fn on_gpu(folder: &Path, knobs: &[(&str, &str)], arguments: &[&str]) -> Option<Outcome> {
    let libraries = match concord_emulated_cuda::folder() {
        Ok(libraries) => libraries,
        Err(error) => {
            let required = std::env::var_os("CONCORD_REQUIRE_EMULATED_CUDA");
            assert!(required.is_none_or(|value| value != "1"), "{error}");
            say_skipped(&error);
            return None;
        }
    };
    let sizes = folder.join("sizes.toml");
    if !sizes.exists() {
        std::fs::write(&sizes, SIZES).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_concord"))
        .args(arguments)
        .current_dir(folder)
        .env("CONCORD_NO_CACHE", "1")
        .env("CONCORD_CACHE", folder.join(".cache"))
        .env("HF_HUB_OFFLINE", "1")
        .env("CONCORD_CUDA_LIBRARIES", libraries)
        .env("CONCORD_CUDA_CONFIG", &sizes)
        .env_remove("CONCORD_DEVICE")
        .envs(knobs.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Some(Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    })
}

#[expect(clippy::print_stderr, reason = "a test says that it was skipped")]
fn say_skipped(error: &str) {
    eprintln!("skipped: {error}");
}

fn prompts(folder: &Path) {
    let lines: Vec<String> = (0..12)
        .map(|index| {
            format!(
                r#"{{"prompt": "Is {index} more than {}?\nA. yes\nB. no\nAnswer: ", "labels": ["A", "B"]}}"#,
                index / 2
            )
        })
        .collect();
    std::fs::write(folder.join("p"), lines.join("\n")).unwrap();
}

fn golden(name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    tests.join(name).to_str().unwrap().to_owned()
}

/// The log-probability of the first label, line by line.
fn firsts(outcome: &Outcome) -> Vec<f64> {
    let of = |line: Value| line["labels"][0]["log_prob"].as_f64().unwrap();
    outcome.lines().into_iter().map(of).collect()
}

fn largest_difference(a: &Outcome, b: &Outcome) -> f64 {
    let (a, b) = (firsts(a), firsts(b));
    assert_eq!((a.len(), b.len()), (12, 12));
    a.iter()
        .zip(&b)
        .fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

fn score<'a>(model: &'a str, device: &'a str) -> Vec<&'a str> {
    let arguments = ["score", "-M", model, "--prompts", "p", "--dtype", "f32"];
    [&arguments[..], &["--device", device]].concat()
}

#[test]
fn a_gpu_reads_what_the_processor_reads() {
    let folder = tempfile::tempdir().unwrap();
    prompts(folder.path());
    let model = golden("biased-tied-sharded");
    let Some(cpu) = on_gpu(folder.path(), &[], &score(&model, "cpu")) else {
        return;
    };
    let cpu = cpu.ok();
    let one = on_gpu(folder.path(), &[], &score(&model, "cuda:0"))
        .unwrap()
        .ok();
    assert!(
        one.stderr.contains("cuda:0: Emulated GPU"),
        "{}",
        one.stderr
    );
    assert!(
        one.stderr.contains("cuda:0 memory plan: "),
        "{}",
        one.stderr
    );
    assert!(largest_difference(&one, &cpu) < 1e-4);
    // Without a name the GPU is taken where there is one; kernels come from the cache.
    let cached: Vec<_> = std::fs::read_dir(folder.path().join(".cache/kernels"))
        .unwrap()
        .collect();
    assert!(cached.len() >= 4, "{cached:?}");
    let found = on_gpu(folder.path(), &[], &score(&model, "auto"))
        .unwrap()
        .ok();
    assert_eq!(found.stdout, one.stdout);
    // On several the bits are the same.
    let two = [("EMULATED_CUDA_DEVICES", "2")];
    let all = on_gpu(folder.path(), &two, &score(&model, "cuda:all"))
        .unwrap()
        .ok();
    assert_eq!(all.stdout, one.stdout);
    assert!(
        all.stderr.contains("cuda:1: Emulated GPU"),
        "{}",
        all.stderr
    );
    // Other threads, other order of blocks and threads on the device.
    let turned = [("EMULATED_CUDA_ORDER", "reverse")];
    let found = on_gpu(folder.path(), &turned, &score(&model, "cuda:0"))
        .unwrap()
        .ok();
    assert_eq!(found.stdout, one.stdout);
    let generic = on_gpu(folder.path(), &[], &score(&model, "generic"))
        .unwrap()
        .ok();
    assert!(largest_difference(&generic, &cpu) < 1e-4);
}

/// Layers that are read one by one, rows between them on the device, and in a file.
#[test]
fn every_schedule_reads_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    prompts(folder.path());
    let model = golden("biased-tied-sharded");
    let arguments = score(&model, "cuda:0");
    let Some(whole) = on_gpu(folder.path(), &[], &arguments) else {
        return;
    };
    let whole = whole.ok();
    for schedule in ["layer-major", "spilled"] {
        let arguments = [&arguments[..], &["--schedule", schedule]].concat();
        let found = on_gpu(folder.path(), &[], &arguments).unwrap().ok();
        assert_eq!(found.stdout, whole.stdout, "{schedule}");
        assert!(found.stderr.contains("layer-major"), "{}", found.stderr);
    }
}

#[test]
fn a_doctor_finds_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let Some(outcome) = on_gpu(folder.path(), &[], &["doctor"]) else {
        return;
    };
    let outcome = outcome.ok();
    for part in [
        "Emulated GPU",
        "compute capability 9.0",
        "driver 580",
        "nothing holds",
    ] {
        assert!(outcome.stdout.contains(part), "{}", outcome.stdout);
    }
    let arguments = ["doctor", "--device", "cuda:0", "--format", "json"];
    let report = on_gpu(folder.path(), &[], &arguments).unwrap().ok().json();
    assert_eq!(report["passed"], true);
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() > 150, "{}", checks.len());
    let named = |part: &str| {
        checks
            .iter()
            .any(|check| check["what"].as_str().unwrap().contains(part))
    };
    for part in [
        "attention on tensor cores bf16",
        "log-softmax",
        "tokens drawn",
        "attention over pages on tensor cores bf16",
        "gemma2 bf16",
        "other company",
        "memory, layer-major",
    ] {
        assert!(named(part), "{part}");
    }
}

#[test]
fn a_doctor_finds_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    // Those that have a plain form, and those that have none.
    for broken in [
        &[
            ("attention", "attention on tensor cores"),
            ("attention_texts", "attention over pages on tensor cores"),
            ("choose_rows", "tokens drawn"),
        ],
        &[
            ("norm_rows", "norm bf16"),
            ("cublasLtMatmul", "product bf16"),
            ("summarise_rows", "log-softmax"),
        ],
    ] {
        let names = broken.map(|(kernel, _)| kernel).join(",");
        let knobs = [("EMULATED_CUDA_BROKEN", names.as_str())];
        let Some(outcome) = on_gpu(folder.path(), &knobs, &["doctor", "--device", "cuda:0"]) else {
            return;
        };
        assert_eq!(outcome.code, 5, "{names}: {}", outcome.stdout);
        for (_, said) in broken {
            let mut lines = outcome.stdout.lines();
            assert!(
                lines.any(|line| line.contains(said) && line.contains("FAIL")),
                "{}",
                outcome.stdout
            );
        }
        assert!(
            outcome.stderr.contains("checks failed"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn what_takes_over_is_said() {
    let folder = tempfile::tempdir().unwrap();
    prompts(folder.path());
    // Its heads attend on tensor cores.
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/aligned");
    let model = demo.to_str().unwrap().to_owned();
    let arguments = [
        "score",
        "-M",
        &model,
        "--prompts",
        "p",
        "--dtype",
        "bf16",
        "--device",
        "cuda:0",
    ];
    let Some(whole) = on_gpu(folder.path(), &[], &arguments) else {
        return;
    };
    let whole = whole.ok();
    let plain = on_gpu(
        folder.path(),
        &[("EMULATED_CUDA_BROKEN", "attention")],
        &arguments,
    );
    let plain = plain.unwrap().ok();
    assert!(
        plain.stderr.contains("its plain form is used"),
        "{}",
        plain.stderr
    );
    assert!(largest_difference(&plain, &whole) < 0.2);
    let cpu = on_gpu(
        folder.path(),
        &[("EMULATED_CUDA_BROKEN", "norm_rows")],
        &arguments,
    );
    let cpu = cpu.unwrap().ok();
    assert!(
        cpu.stderr.contains("computing on the processor"),
        "{}",
        cpu.stderr
    );
    let mut on_cpu = arguments.to_vec();
    *on_cpu.last_mut().unwrap() = "cpu";
    let expected = on_gpu(folder.path(), &[], &on_cpu).unwrap().ok();
    assert_eq!(cpu.stdout, expected.stdout);
}

/// Knobs, a device, and what the error and its help say.
type Case = (
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
    &'static str,
);

#[test]
fn what_is_wrong_with_a_device_is_named() {
    let folder = tempfile::tempdir().unwrap();
    prompts(folder.path());
    let model = golden("biased-tied-sharded");
    let cases: [Case; 8] = [
        (
            &[("EMULATED_CUDA_DEVICES", "0")],
            "cuda:0",
            "no GPU",
            "nvidia-smi",
        ),
        (&[], "cuda:7", "cuda:7: the driver finds 1", "doctor"),
        (
            &[("EMULATED_CUDA_DRIVER_VERSION", "11040")],
            "cuda:0",
            "CUDA 11.4",
            "driver",
        ),
        (
            &[("EMULATED_CUDA_CAPABILITY", "7.5")],
            "cuda:0",
            "compute capability 7.5",
            "Ampere",
        ),
        (
            &[("EMULATED_CUDA_CAPABILITY", "13.0")],
            "cuda:0",
            "do not compile",
            "newer CUDA",
        ),
        (
            &[("EMULATED_CUDA_TAKEN", "4290000000")],
            "cuda:0",
            "MiB",
            "end other programs",
        ),
        (
            &[("EMULATED_CUDA_INIT_ERROR", "999")],
            "cuda:0",
            "cuInit",
            "doctor",
        ),
        (&[], "metal", "without Metal", "--device cpu"),
    ];
    for (knobs, device, said, help) in cases {
        let Some(outcome) = on_gpu(folder.path(), knobs, &score(&model, device)) else {
            return;
        };
        let lines = &outcome.stderr;
        // A compiler that is too old is found by the check, after which the processor takes over.
        if said == "do not compile" {
            assert_eq!(outcome.code, 0, "{lines}");
            assert!(
                lines.contains(said) && lines.contains("computing on the processor"),
                "{lines}"
            );
            continue;
        }
        assert_eq!(outcome.code, 5, "{device}: {lines}");
        assert!(
            lines.contains(said) && lines.contains(help),
            "{device}: {lines}"
        );
        assert!(outcome.stdout.is_empty());
    }
    let impossible = SIZES.replace("\nrows = 64", "\nrows = 50");
    std::fs::write(folder.path().join("sizes.toml"), impossible).unwrap();
    let outcome = on_gpu(folder.path(), &[], &score(&model, "cuda:0")).unwrap();
    assert_eq!(outcome.code, 5, "{}", outcome.stderr);
    for part in ["sizes.toml", "attention.rows is 50", "CONCORD_CUDA_CONFIG"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    let outcome = on_gpu(folder.path(), &[], &score(&model, "gpu")).unwrap();
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
}

/// A study whose checkpoints run on two devices.
#[test]
fn a_run_says_where_it_ran() {
    let folder = tempfile::tempdir().unwrap();
    let two = [
        ("EMULATED_CUDA_DEVICES", "2"),
        ("EMULATED_CUDA_MEMORY", "17179869184"),
    ];
    let arguments = [
        "run",
        "--limit",
        "1",
        "--no-steering",
        "--formats",
        "letter",
    ];
    let arguments = [&arguments[..], &["--device", "cuda:all", "--out", "r"]].concat();
    let Some(outcome) = on_gpu(
        folder.path(),
        &two,
        &[&arguments[..], &["--format", "json"]].concat(),
    ) else {
        return;
    };
    let outcome = outcome.ok();
    // The second checkpoint is loaded while the first one computes.
    let ahead = "demo-aligned: loaded while the one before it ran";
    assert!(outcome.stderr.contains(ahead), "{}", outcome.stderr);
    let manifest = outcome.json()["manifest"].clone();
    assert_eq!(manifest["attempts"][0]["device"], "cuda:0, cuda:1");
    assert_eq!(manifest["attempts"][0]["gpus"].as_array().unwrap().len(), 2);
    assert_eq!(
        manifest["identity"]["numerics"]["gpus"][0]["name"],
        "Emulated GPU"
    );
    assert_eq!(manifest["identity"]["numerics"]["products"], "cublaslt");
    // The first one was loaded while prompts were laid out.
    let spans = manifest["attempts"][0]["timeline"].as_array().unwrap();
    let of = |what: &str| {
        let is_it = |span: &&Value| span["what"] == what && span["of"] == "demo-base";
        spans.iter().find(is_it).unwrap()
    };
    let (load, prompts) = (of("load ahead"), of("prompts"));
    assert!(load["from"].as_f64() < prompts["to"].as_f64(), "{spans:?}");
    let loads = |span: &&Value| span["what"] == "load";
    assert_eq!(spans.iter().find(loads), None);
}

/// An allocation that fails once, wherever it is, costs no line.
#[test]
fn an_allocation_that_fails_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    prompts(folder.path());
    let model = golden("biased-tied-sharded");
    let arguments = score(&model, "cuda:0");
    let Some(whole) = on_gpu(folder.path(), &[], &arguments) else {
        return;
    };
    let whole = whole.ok();
    let (mut done, mut refused) = (0, 0);
    for schedule in ["pass-major", "layer-major"] {
        for number in [
            "5", "40", "80", "110", "120", "130", "140", "150", "160", "180",
        ] {
            let arguments = [&arguments[..], &["--schedule", schedule]].concat();
            let knobs = [("EMULATED_CUDA_FAIL_ALLOCATION", number)];
            let outcome = on_gpu(folder.path(), &knobs, &arguments).unwrap();
            if outcome.code == 0 {
                // The passes may have become shorter, which changes last bits.
                assert!(largest_difference(&outcome, &whole) < 1e-4);
                done += 1;
            } else {
                // Before anything runs there is nothing to make shorter.
                assert_eq!(outcome.code, 5, "{number}: {}", outcome.stderr);
                assert!(outcome.stdout.is_empty() && outcome.stderr.contains("memory"));
                refused += 1;
            }
        }
    }
    assert!(done > refused, "{done} {refused}");
}
