//! `run` and `measure` on stored runs.

use crate::{concord, golden};
use serde_json::Value;
use std::path::Path;

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Readings by prompt.
fn readings(path: &Path) -> std::collections::BTreeMap<String, Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            let reading: Value = serde_json::from_str(line).unwrap();
            (reading["id"].as_str().unwrap().to_owned(), reading)
        })
        .collect()
}

#[test]
fn the_demo_pair_runs_from_nothing_to_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = concord(folder.path(), &["run", "--limit", "2"]).ok();
    for part in [
        "demo-base",
        "demo-aligned",
        "difference",
        "paraphrases",
        "languages",
        "letters vs texts",
        "1.00 of the trie",
        "partial: only the first 2 of",
    ] {
        assert!(
            outcome.stdout.contains(part),
            "{part} not in {}",
            outcome.stdout
        );
    }
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
    let cost = &manifest["results"]["demo-aligned"];
    assert_eq!(cost["rows_computed"], cost["trie_rows"]);
    assert_eq!(cost["prompts"], 160);
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
    let run = |out: &str| {
        concord(
            folder.path(),
            &["run", "--limit", "3", "--out", out, "--format", "json"],
        )
    };
    run("whole").ok();
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
        other.stderr.contains("a run of other settings"),
        "{}",
        other.stderr
    );

    let outcome = run("again").ok().json();
    assert!(
        outcome["manifest"]["results"]["demo-base"]["resumed"]
            .as_u64()
            .unwrap()
            > 0
    );
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
        "--out",
        "a",
    ]);
    assert_eq!(letters["manifest"]["results"]["demo-base"]["prompts"], 20);
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
    assert_eq!(
        models.keys().collect::<Vec<_>>(),
        ["multi-query-wide-heads", "multi-query-wide-heads-2"]
    );
    let difference = &outcome["findings"]["comparisons"][0]["measures"][0];
    assert_eq!(difference["difference"], 0.0);
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

/// Ctrl-C: exit code 6, nothing that looks whole, and the same command goes on.
#[cfg(unix)]
#[test]
fn an_interrupted_run_can_be_finished() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--out", "r", "--format", "json"];
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_concord"))
        .args(arguments)
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let journal = folder.path().join("r.partial/readings/demo-base.jsonl");
    let begun = std::time::Instant::now();
    while std::fs::metadata(&journal).map_or(0, |file| file.len()) == 0 {
        assert!(begun.elapsed().as_secs() < 60, "the run does not begin");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let outcome = child.wait_with_output().unwrap();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(6), "{said}");
    assert!(
        said.contains("stopped; what was read is kept in r.partial")
            && said.contains("--out r goes on"),
        "{said}"
    );
    assert!(!folder.path().join("r").exists() && outcome.stdout.is_empty());
    let finished = concord(folder.path(), &arguments).ok().json();
    assert!(
        finished["manifest"]["results"]["demo-base"]["resumed"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(folder.path().join("r/findings.json").is_file());
}
