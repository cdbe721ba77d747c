//! What every command prints, and what a run stores, word for word.
//!
//! Texts are in `tests/snapshots`. `UPDATE_SNAPSHOTS=1 cargo test --workspace snapshots` writes them anew. Words and whole numbers are
//! compared exactly; numbers with decimals within what processors differ by; times, sizes of memory and the machine are left out.

use crate::{Outcome, concord, golden};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How far numbers may differ beside their last digits: sums are other sums where a processor multiplies otherwise.
const TOLERANCE: f64 = 2e-5;

fn place(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    folder.join(format!("{name}.snap"))
}

/// Leaves out what differs from one attempt to the next.
fn steady(text: &str, folder: &Path) -> String {
    let replace = |text: String, pattern: &str, with: &str| {
        Regex::new(pattern)
            .unwrap()
            .replace_all(&text, with)
            .into_owned()
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = text.replace(folder.to_str().unwrap(), "FOLDER");
    for root in [root.clone(), root.canonicalize().unwrap()] {
        text = text.replace(root.to_str().unwrap(), "ROOT");
    }
    text = replace(text, r"memory plan: [^\n]*", "memory plan: #");
    text = replace(
        text,
        r"[0-9]+(\.[0-9]+)? (s|(rows|prompts|tokens)(/|&#x2f;)s)\b",
        "# $2",
    );
    text = replace(text, r"0\.1\.[0-9]+( \([0-9a-f]{7,40}\))?", "VERSION");
    replace(text, r"20\d\d-\d\d-\d\d[T ][0-9:.]+Z?", "TIME")
}

/// The numbers with decimals of a text, and the rest of it.
fn taken_apart(text: &str) -> (String, Vec<&str>) {
    // With its sign: what is next to nothing has another one on another processor.
    let number = Regex::new(r"-?[0-9]+\.[0-9]+(e[+-]?[0-9]+)?").unwrap();
    let numbers = number.find_iter(text).map(|found| found.as_str()).collect();
    // A number may be longer where its last digits are others.
    let words = number.replace_all(text, "#");
    let words = words.split('\n').map(str::trim_end).collect::<Vec<_>>();
    (words.join("\n"), numbers)
}

fn are_close(a: &str, b: &str) -> bool {
    let digits =
        |text: &str| text.split(['e', 'E']).next().unwrap().len() - text.find('.').unwrap() - 1;
    let (x, y): (f64, f64) = (a.parse().unwrap(), b.parse().unwrap());
    let last = 2.1 * 10f64.powi(-i32::try_from(digits(a).min(digits(b))).unwrap());
    let close = TOLERANCE * x.abs().max(y.abs()).max(1.0);
    (x - y).abs()
        <= if digits(a) > 6 {
            close
        } else {
            last.max(close)
        }
}

/// Compares a text with the one that is kept.
#[track_caller]
fn snapshot(name: &str, text: &str) {
    let path = place(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}: see the first lines of snapshots.rs",
            path.display()
        )
    });
    let ((words, numbers), (kept_words, kept_numbers)) = (taken_apart(text), taken_apart(&kept));
    for (index, (line, kept)) in words.split('\n').zip(kept_words.split('\n')).enumerate() {
        assert_eq!(line, kept, "{name}, line {}", index + 1);
    }
    assert_eq!(
        words.lines().count(),
        kept_words.lines().count(),
        "{name}: lines"
    );
    for (number, kept) in numbers.iter().zip(&kept_numbers) {
        assert!(are_close(number, kept), "{name}: {number} is not {kept}");
    }
}

/// What a command printed, and its exit code.
fn printed(outcome: &Outcome, folder: &Path) -> String {
    let said = format!(
        "code {}\n--- stdout\n{}\n--- stderr\n{}\n",
        outcome.code, outcome.stdout, outcome.stderr
    );
    steady(&said, folder)
}

/// JSON over several lines.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// Everything that a run stored, as far as it is the same for every attempt.
fn stored(run: &Path) -> String {
    let mut files = Vec::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut out = String::new();
    for path in files {
        let name = path.strip_prefix(run).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        // How many variables a machine has set is no one's business.
        let lines = match name.as_str() {
            "manifest.json" => "some".to_owned(),
            _ => text.lines().count().to_string(),
        };
        let _ = writeln!(out, "=== {name}: {lines} lines");
        match name.as_str() {
            "manifest.json" => {
                let mut manifest: Map<String, Value> = serde_json::from_str(&text).unwrap();
                leave_out(&mut manifest);
                out.push_str(&pretty(&Value::Object(manifest)));
            }
            "findings.json" => out.push_str(&text),
            "questions.json" | "stimuli.json" | "report.html" => {}
            _ => {
                // The prompts are in the order in which they were complete; of each a number that is read.
                let mut lines: Vec<Value> = text
                    .lines()
                    .map(|line| {
                        serde_json::from_str(line.split_once('\t').map_or(line, |(json, _)| json))
                            .unwrap()
                    })
                    .collect();
                lines
                    .retain(|line| line.get("id").is_some() || line["reading"].get("id").is_some());
                let brief = |line: &Value| {
                    let reading = if line.get("id").is_some() {
                        line
                    } else {
                        &line["reading"]
                    };
                    let answers = reading["answers"].as_array().unwrap().iter();
                    let kinds: Vec<String> = answers
                        .map(|answer| answer.as_object().unwrap().keys().next().unwrap().clone())
                        .collect();
                    format!(
                        "{} {} {}",
                        reading["id"],
                        reading["tokens"],
                        kinds.join("+")
                    )
                };
                let mut brief: Vec<String> = lines.iter().map(brief).collect();
                brief.sort();
                let _ = writeln!(out, "{}", brief.join("\n"));
            }
        }
    }
    out
}

/// Takes out what differs between machines and attempts.
fn leave_out(manifest: &mut Map<String, Value>) {
    for key in ["digest", "files", "attempts", "progress"] {
        if let Some(value) = manifest.get_mut(key) {
            *value = json!("#");
        }
    }
    manifest["identity"]["numerics"]["products"] = json!("#");
    let checkpoints = manifest
        .get_mut("checkpoints")
        .and_then(Value::as_array_mut);
    for checkpoint in checkpoints.into_iter().flatten() {
        checkpoint["products"] = json!("#");
    }
}

// In `f32`, which all processors multiply nearly alike: values that are nearly the same have one order.
const LITTLE: [&str; 8] = [
    "run",
    "--dtype",
    "f32",
    "--limit",
    "1",
    "--languages",
    "english,german",
    "--sampled=3",
];
const ALL: [&str; 12] = [
    "--formats",
    "letter,cloze,open",
    "--abstention",
    "all",
    "--passage-tokens",
    "6",
    "--calibration-questions",
    "1",
    "--with-published",
    "--seed",
    "3",
    "--out",
];

/// Runs a command in a folder and compares what it prints.
#[track_caller]
fn says(name: &str, folder: &Path, arguments: &[&str]) {
    let outcome = concord(folder, arguments);
    snapshot(name, &printed(&outcome, folder));
}

#[test]
fn runs_and_what_is_made_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    says("run", at, &[&LITTLE[..], &["--out", "a"]].concat());
    snapshot("run-stored", &stored(&at.join("a")));
    says("run-all", at, &[&LITTLE[..], &ALL, &["b"]].concat());
    snapshot("run-all-stored", &stored(&at.join("b")));
    let json = [
        &LITTLE[..],
        &["--no-steering", "--format", "json", "--out", "c"],
    ]
    .concat();
    let mut outcome = concord(at, &json).ok().json();
    leave_out(outcome["manifest"].as_object_mut().unwrap());
    snapshot("run-json", &pretty(&outcome));
    says("measure", at, &["measure", "b"]);
    says(
        "measure-where",
        at,
        &[
            "measure",
            "b",
            "--where",
            "language=german",
            "--with-published",
        ],
    );
    says("measure-json", at, &["measure", "a", "--format", "json"]);
    says("compare", at, &["compare", "a", "c"]);
    says("compare-all", at, &["compare", "a", "c", "--verbose"]);
    says(
        "compare-json",
        at,
        &["compare", "a", "c", "--format", "json"],
    );
    says(
        "report",
        at,
        &["report", "b", "--out", "-", "--with-published"],
    );
    let randomness = [
        "run",
        "--dtype",
        "f32",
        "--suite",
        "randomness",
        "--sets",
        "none",
        "--set",
        "ab=A,B,C,D",
        "--rounds",
        "0",
        "--wordings",
        "5",
        "--out",
        "d",
    ];
    says("randomness", at, &randomness);
    snapshot("randomness-stored", &stored(&at.join("d")));
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/base");
    says(
        "rate",
        at,
        &[
            "rate",
            "b",
            "--dtype",
            "f32",
            "--rater",
            demo.to_str().unwrap(),
        ],
    );
    says(
        "prompts",
        at,
        &[
            "prompts",
            "--file",
            "controversial_english_world",
            "--row",
            "1",
        ],
    );
    let json = [
        "prompts",
        "--file",
        "pvq_german",
        "--row",
        "2",
        "--format",
        "json",
    ];
    says("prompts-json", at, &json);
}

#[test]
fn what_is_printed_without_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let model = golden("llama3-gqa-untied");
    let model = model.to_str().unwrap();
    let lines = "{\"prompt\":\"Is it fair?\",\"labels\":[\"A\",\"B\"],\"continuations\":[\" yes\"]}\n{\"prompt\":\"\"}\n";
    std::fs::write(at.join("p.jsonl"), lines).unwrap();
    says("score", at, &["score", "-M", model, "--prompts", "p.jsonl"]);
    std::fs::write(
        at.join("g.jsonl"),
        "{\"prompt\":\"Is it fair?\",\"mine\":1}\n",
    )
    .unwrap();
    says(
        "generate",
        at,
        &[
            "generate",
            "-M",
            model,
            "--prompts",
            "g.jsonl",
            "--max-tokens",
            "5",
        ],
    );
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../questions/demo");
    let demo = demo.to_str().unwrap();
    says("questions", at, &["questions", "check", demo]);
    says(
        "questions-json",
        at,
        &["questions", "check", demo, "--format", "json"],
    );
    says("suites", at, &["suites"]);
    says("models", at, &["models"]);
    says("models-show", at, &["models", "show", model]);
    says("schema", at, &["schema", "portraits"]);
    says("schema-answers", at, &["schema", "answers"]);
    for command in [
        "run",
        "score",
        "generate",
        "measure",
        "compare",
        "rate",
        "report",
        "export",
        "prompts",
        "questions",
        "schema",
        "models",
        "bench",
        "doctor",
        "suites",
    ] {
        says(&format!("help-{command}"), at, &[command, "--help"]);
    }
    says("help", at, &["--help"]);
    says("usage", at, &["rum"]);
    says("usage-flag", at, &["run", "--limt", "3"]);
    says("no-questions", at, &["run", "-Q", "nowhere"]);
    says("no-model", at, &["run", "-M", "./nowhere"]);
}
