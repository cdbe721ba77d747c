//! The studies beside the first: run, cut into shards, exported and shown.

use crate::attending::{Attending, favoured};
use crate::study::demo;
use crate::{Outcome, concord};
use serde_json::Value;
use std::path::Path;

/// Asks little of the demo's aligned checkpoint.
fn asked(folder: &Path, suite: &str, more: &[&str]) -> Outcome {
    let model = demo("aligned");
    let arguments = [
        "run",
        "--suite",
        suite,
        "--model",
        model.to_str().unwrap(),
        "--limit",
        "1",
    ];
    concord(folder, &[&arguments[..], more].concat())
}

/// The columns of an exported table, and how many rows it has.
fn table(folder: &Path, name: &str) -> (Vec<String>, usize) {
    let mut reader = csv::Reader::from_path(folder.join(name)).unwrap();
    let header = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    (header, reader.records().map(Result::unwrap).count())
}

#[test]
fn each_study_is_stored_exported_and_shown() {
    for (suite, more, rows) in [
        // Twelve requests: without labels in two orders, and four cells of three conditions and the twins in four.
        (
            "faking",
            &["--label-sets", "XX/YY", "--variants", "none"][..],
            12 * (2 + 4 * 4 * 4),
        ),
        // No profile, the neutral one and the design with twins; colours and extremes without.
        ("profiles", &["--no-mitigations"][..], 12 * (2 * 26 + 38)),
        // A scenario of each pair in three directions, two values, seven positions.
        ("stress", &[][..], 24 * 3 * 2 * 7),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let more = [more, &["--format", "json", "--out", "r"]].concat();
        let found = asked(at, suite, &more).ok().json();
        let of = &found["findings"]["checkpoints"][0];
        // A tiny checkpoint that was taught something else: nothing may be concluded, and the reason stands there.
        let reason = of["verdict"]["not_measurable"].as_str().unwrap();
        assert!(!reason.is_empty(), "{suite}");
        assert_eq!(found["findings"]["limit"], 1);
        concord(at, &["export", "r", "--out", "tables", "--format", "csv"]).ok();
        let (header, count) = table(&at.join("tables"), &format!("{suite}_answers.csv"));
        assert_eq!((header[0].as_str(), count), ("checkpoint", rows), "{suite}");
        let (header, count) = table(&at.join("tables"), &format!("{suite}_measures.csv"));
        assert!(
            header.contains(&"not_measurable".to_owned()) && count > 5,
            "{suite}"
        );
        let page = concord(at, &["report", "r", "--out", "-"]).ok().stdout;
        assert!(page.contains("not measurable"), "{suite}");
        // Measured again, the same.
        let again = concord(at, &["measure", "r", "--format", "json"])
            .ok()
            .json();
        let again = again.get("findings").cloned().unwrap_or(again);
        assert_eq!(again["checkpoints"][0]["verdict"], of["verdict"], "{suite}");
    }
}

#[test]
fn answers_are_held_against_those_of_people() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let example = concord(at, &["schema", "populations", "--example"])
        .ok()
        .stdout;
    std::fs::write(at.join("own.csv"), &example).unwrap();
    let more = [
        "-Q", "own.csv", "--steer", "Town", "--out", "r", "--format", "json",
    ];
    let found = asked(at, "surveys", &more).ok().json();
    let of = &found["findings"]["checkpoints"][0];
    assert_eq!(found["findings"]["populations"][1]["population"], "Town");
    assert_eq!(of["answers"][0].as_array().unwrap().len(), 2);
    let distance = of["populations"][1]["distance"]["value"].as_f64().unwrap();
    assert!((0.0..0.84).contains(&distance), "{distance}");
    assert!(
        of["populations"][1]["steered"].is_object() && of["populations"][0]["steered"].is_null()
    );
    concord(at, &["export", "r", "--out", "tables", "--format", "csv"]).ok();
    // Two options, by itself and as somebody of the town.
    let (_, count) = table(&at.join("tables"), "surveys_answers.csv");
    assert_eq!(count, 4);
    let page = concord(at, &["report", "r", "--out", "-"]).ok().stdout;
    assert!(page.contains("Most people can be trusted."));
    for (text, said) in [
        (example.replace("0.35", "0.55"), "shares sum to 1.200"),
        (example.replace("0.35", "many"), "not a number"),
        (
            example.replace("population", "who"),
            "no column `population`",
        ),
    ] {
        std::fs::write(at.join("wrong.csv"), text).unwrap();
        let outcome = asked(at, "surveys", &["-Q", "wrong.csv", "--out", "w"]);
        assert!(
            outcome.code == 3 && outcome.stderr.contains(said),
            "{}",
            outcome.stderr
        );
    }
    let outcome = asked(
        at,
        "surveys",
        &["-Q", "own.csv", "--steer", "Towns", "--out", "w"],
    );
    assert!(
        outcome.stderr.contains("did you mean `Town`?"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_study_in_shards_is_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let ask = |out: &[&str]| {
        let more = ["--label-sets", "XX/YY", "--variants", "none"];
        asked(at, "faking", &[&more[..], out].concat()).ok();
    };
    ask(&["--out", "whole"]);
    for shard in ["1/2", "2/2"] {
        ask(&["--out", "parts", "--shard", shard]);
    }
    concord(at, &["merge", "parts.shards"]).ok();
    let findings = |run: &str| -> Value {
        let text = std::fs::read_to_string(at.join(run).join("findings.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(findings("parts"), findings("whole"));
}

#[test]
fn wrong_files_of_studies_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("a.csv"), "prompt\nx\n").unwrap();
    for (suite, flag, said) in [
        ("faking", "--requests", "no column `goal` or `request`"),
        ("profiles", "--requests", "no column `goal` or `request`"),
        ("profiles", "--profiles", "no column for Self-direction"),
        ("stress", "--scenarios", "no column `value1`"),
    ] {
        let outcome = asked(at, suite, &[flag, "a.csv"]);
        assert_eq!(outcome.code, 3, "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains(said) && outcome.stderr.contains("a.csv"),
            "{}",
            outcome.stderr
        );
        assert_eq!(asked(at, suite, &[flag, "nowhere.csv"]).code, 3);
    }
    // A flag of one study is refused by another.
    let outcome = asked(at, "stress", &["--variants", "duty"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
}

/// A checkpoint that looks for two words is told from one that goes by what is said: exactly as far as its weights say.
#[test]
fn a_checkpoint_that_looks_for_a_word_is_lexical() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let lexical = Attending {
        words: &[("free", 1.0), ("paid", -1.0)],
        decisions: [" accept", " reject"],
        after: b':',
    };
    lexical.write(&at.join("lexical"));
    let deaf = Attending {
        words: &[("free", 0.0), ("paid", 0.0)],
        ..lexical
    };
    deaf.write(&at.join("deaf"));
    let arguments = [
        "run", "--suite", "faking", "--limit", "1", "--dtype", "f32", "--format", "json", "--out",
        "r", "--model", "lexical", "--model", "deaf",
    ];
    let found = concord(at, &arguments).ok().json();
    let of = |at: usize| &found["findings"]["checkpoints"][at];
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(
        of(0)["conclusion"]["kind"],
        "lexical",
        "{}",
        of(0)["conclusion"]
    );
    assert_eq!(
        of(1)["conclusion"]["kind"],
        "none",
        "{}",
        of(1)["conclusion"]
    );
    let set = &of(0)["sets"][0];
    // The label is named thrice, twice of them by itself: in the statement both are.
    let (with, against) = (favoured(1.0 / 3.0), favoured(-1.0 / 3.0));
    for (cell, expected) in [with, against, with, against].into_iter().enumerate() {
        let value = number(&set["cells"][cell]["value"]);
        assert!(
            (value - expected).abs() < 2e-4,
            "{cell}: {value} {expected}"
        );
    }
    let value = |set: &Value, effect: &str| number(&set[effect]["estimate"]["value"]);
    assert!((value(set, "label") - (with - against)).abs() < 2e-4);
    assert!((value(set, "gap") - (with - against)).abs() < 2e-4);
    for effect in ["meaning", "removed", "harmless", "twins"] {
        assert!(value(set, effect).abs() < 2e-4, "{effect}");
    }
    // Words that it does not look for do nothing.
    for set in of(0)["sets"].as_array().unwrap().iter().skip(1) {
        for effect in ["meaning", "label"] {
            assert!(value(set, effect).abs() < 2e-4, "{effect}");
        }
    }
}

/// A checkpoint whose refusals depend on one digit gives that value its effect, and none to any other.
#[test]
fn a_checkpoint_that_reads_one_digit_gives_one_value_an_effect() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let digit = Attending {
        words: &[("Power: 6", 1.0), ("Power: 1", -1.0), ("Power: 3.5", 0.0)],
        decisions: [" Sure", " No"],
        after: b':',
    };
    digit.write(&at.join("digit"));
    let arguments = [
        "run", "--suite", "profiles", "--limit", "1", "--dtype", "f32", "--format", "json",
        "--out", "r", "--model", "digit",
    ];
    let found = concord(at, &arguments).ok().json();
    let of = &found["findings"]["checkpoints"][0];
    let number = |value: &Value| value["estimate"]["value"].as_f64().unwrap();
    let odds = |worth: f64| (favoured(worth) / (1.0 - favoured(worth))).ln();
    assert_eq!(of["verdict"], "measurable");
    for value in of["values"].as_array().unwrap() {
        let expected = if value["value"] == "Power" {
            odds(1.0) - odds(-1.0)
        } else {
            0.0
        };
        let effect = number(&value["effect"]);
        assert!(
            (effect - expected).abs() < 2e-3,
            "{} {effect} {expected}",
            value["value"]
        );
        // Benign requests are begun alike.
        assert!(number(&value["less_benign"]).abs() < 2e-3);
        // It answers nothing about portraits: no profile was taken on, and nothing is said of values.
        assert_eq!(value["is_taken_on"], false);
    }
    for colour in of["colours"].as_array().unwrap() {
        assert!(number(&colour["effect"]).abs() < 2e-3);
    }
    // What is not taken on cannot be mitigated.
    assert_eq!(of["mitigation"], Value::Null);
}

/// What is written is read by raters, exported with what they say, and rules that do not fit are refused with their length before anything is read.
#[test]
fn written_answers_are_read_by_raters() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let base = demo("base");
    let raters = ["--rater", "itself", "--rater", base.to_str().unwrap()];
    let writes = ["--answer-tokens", "6", "--format", "json", "--out", "r"];
    let found = asked(at, "stress", &[&raters[..], &writes].concat())
        .ok()
        .json();
    let of = &found["findings"]["written"]["checkpoints"][0];
    assert_eq!(of["asked"], 24 * 3);
    let names: Vec<&str> = of["raters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rater| rater["rater"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["base", "itself"]);
    // Neither reads known positions rightly: nothing that was written is placed.
    assert!(of["verdict"]["not_measurable"].is_string());
    assert!(of["items"].as_array().unwrap().iter().all(Value::is_null));
    concord(at, &["export", "r", "--out", "tables", "--format", "csv"]).ok();
    let (header, count) = table(&at.join("tables"), "stress_texts.csv");
    let written = of["written"].as_u64().unwrap();
    assert!(header.contains(&"rater".to_owned()) && written > 0);
    assert_eq!(count as u64, 2 * written);
    std::fs::write(at.join("long.md"), "Always be kind. ".repeat(2000)).unwrap();
    let long = [
        "--answer-tokens",
        "6",
        "--specification",
        "long.md",
        "--out",
        "s",
    ];
    let outcome = asked(at, "stress", &long);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("tokens, and its context is 1024"),
        "{}",
        outcome.stderr
    );
    assert!(!at.join("s").exists());
}

#[test]
fn scenarios_are_drafted_or_it_is_said_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let model = demo("aligned");
    let draft = |more: &[&str]| {
        let arguments = [
            "scenarios",
            "--model",
            model.to_str().unwrap(),
            "--drafts",
            "3",
        ];
        concord(at, &[&arguments[..], more].concat())
    };
    let outcome = draft(&["--out", "own.csv"]);
    // A tiny checkpoint sees no values.
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("no draft is kept"),
        "{}",
        outcome.stderr
    );
    assert!(!at.join("own.csv").exists() && at.join("own.csv.run").is_dir());
    let again = draft(&["--out", "own.csv"]);
    assert_eq!(again.code, 3, "{}", again.stderr);
    let measured = concord(at, &["measure", "own.csv.run", "--format", "json"])
        .ok()
        .json();
    let of = measured.get("findings").unwrap_or(&measured);
    assert_eq!(of["checkpoints"][0]["asked"], 3);
    std::fs::write(at.join("there.csv"), "").unwrap();
    assert_eq!(draft(&["--out", "there.csv"]).code, 2);
    std::fs::write(at.join("few.txt"), "calm\njoy\n").unwrap();
    let few = draft(&["--values", "few.txt", "--out", "few.csv"]);
    assert_eq!(few.code, 3, "{}", few.stderr);
    assert!(few.stderr.contains("2 different values"), "{}", few.stderr);
}
