//! Memory, schedules and threads as a user sets them.

use crate::{concord, concord_on, golden};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Every file of readings of a run, its lines in no order, and the findings.
fn stored(run: &Path) -> (Vec<BTreeSet<String>>, String) {
    let mut folders = vec![run.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "jsonl") {
                files.push(path);
            }
        }
    }
    files.sort();
    let lines = files.iter().map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(str::to_owned).collect()
    });
    let findings = std::fs::read_to_string(run.join("findings.json")).unwrap();
    (lines.collect(), findings)
}

#[test]
fn a_run_is_the_same_on_every_schedule_and_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let run_on = |threads: Option<usize>, name: &str, more: &[&str]| {
        let mut arguments = vec!["run", "--limit", "2", "--formats", "letter,cloze,open"];
        arguments.extend([
            "--passage-tokens",
            "12",
            "--calibration-questions",
            "2",
            "--out",
            name,
        ]);
        arguments.extend(more);
        let outcome = concord_on(threads, folder.path(), &arguments, "").ok();
        (stored(&folder.path().join(name)), outcome.stderr)
    };
    let run = |name: &str, more: &[&str]| run_on(None, name, more);
    let (expected, said) = run("auto", &[]);
    assert!(
        said.matches("demo-base: memory plan: ").count() == 1 && said.contains("; pass-major"),
        "{said}"
    );
    assert!(expected.0.iter().all(|file| !file.is_empty()) && expected.0.len() >= 6);
    for (schedule, name) in [
        ("pass-major", "; pass-major"),
        ("layer-major", "; layer-major\n"),
        ("spilled", "; layer-major, spilled ("),
    ] {
        let (found, said) = run(schedule, &["--schedule", schedule]);
        assert!(said.contains(name), "{said}");
        assert!(found == expected, "{schedule}");
    }
    for threads in [1, 3] {
        let name = format!("on-{threads}");
        assert!(run_on(Some(threads), &name, &[]).0 == expected, "{name}");
    }
    let spill = folder.path().join("scratch");
    std::fs::create_dir(&spill).unwrap();
    let arguments = ["--schedule", "spilled", "--spill", "scratch"];
    assert!(run("elsewhere", &arguments).0 == expected);
    assert_eq!(std::fs::read_dir(&spill).unwrap().count(), 0);
}

#[test]
fn too_little_memory_is_said_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--limit", "1", "--out", "r", "--memory", "1MiB"];
    let outcome = concord(folder.path(), &arguments);
    assert_eq!(outcome.code, 5, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("of memory, and may use 1 MiB")
            && outcome.stderr.contains("--memory"),
        "{}",
        outcome.stderr
    );
    assert!(!folder.path().join("r").exists());
    // With enough of it the same run goes on.
    let arguments = ["run", "--limit", "1", "--out", "r", "--memory", "4GiB"];
    concord(folder.path(), &arguments).ok();
    let outcome = concord(folder.path(), &["run", "--memory", "much"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("GiB"), "{}", outcome.stderr);
}

#[test]
fn a_folder_for_rows_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("p"),
        r#"{"prompt": "A or B: ", "labels": ["A"]}"#,
    )
    .unwrap();
    let model = golden("biased-tied-sharded");
    let mut arguments = vec!["score", "-M", model.to_str().unwrap(), "--prompts", "p"];
    let expected = concord(folder.path(), &arguments).ok().stdout;
    arguments.extend(["--schedule", "spilled", "--spill", "nowhere"]);
    let outcome = concord(folder.path(), &arguments);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("nowhere") && outcome.stderr.contains("--spill"),
        "{}",
        outcome.stderr
    );
    std::fs::create_dir(folder.path().join("nowhere")).unwrap();
    assert_eq!(concord(folder.path(), &arguments).ok().stdout, expected);
}

/// The most that the process ever had, by the kernel, against what was planned.
#[cfg(target_os = "linux")]
#[test]
fn memory_is_what_was_planned() {
    let folder = tempfile::tempdir().unwrap();
    for schedule in ["pass-major", "layer-major", "spilled"] {
        let arguments = ["bench", "--limit", "2", "--schedule", schedule];
        let arguments = [&arguments[..], &["--format", "json", "--cloze"]].concat();
        // Mebibytes over the plan, and the plan.
        let over = || {
            let outcome = concord_on(Some(2), folder.path(), &arguments, "");
            let record = outcome.ok().json();
            let mebibytes = |name: &str| record[name].as_f64().unwrap() / f64::from(1 << 20);
            let planned = mebibytes("planned_bytes");
            (mebibytes("peak_bytes") - planned, planned)
        };
        // What the system's allocator keeps of freed memory is not in the plan; on a busy machine 20 MiB were seen. Whether the next
        // layer is there already when a pass takes most is a matter of time: of three runs one is what was planned.
        let fits =
            |(over, planned): &(f64, f64)| (-0.07 * planned..0.05 * planned + 24.0).contains(over);
        let all: Vec<(f64, f64)> = std::iter::repeat_with(over)
            .take(3)
            .take_while(|run| !fits(run))
            .collect();
        assert!(
            all.len() < 3,
            "{schedule}: MiB over the plan, and the plan: {all:?}"
        );
    }
}

/// The distances of a trained checkpoint, by products of `f32` and of `bf16`.
#[test]
fn bf16_moves_distances_by_less_than_a_thousandth() {
    let folder = tempfile::tempdir().unwrap();
    let run = |dtype: &str| {
        let arguments = ["run", "--dtype", dtype, "--out", dtype];
        concord(folder.path(), &arguments).ok();
        let text = std::fs::read_to_string(folder.path().join(dtype).join("findings.json"));
        let findings: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let mut means = Vec::new();
        for (name, model) in findings["models"].as_object().unwrap() {
            for (measure, found) in model["overall"].as_object().unwrap() {
                let mean = found["mean"].as_f64();
                means.extend(mean.map(|mean| (format!("{name} {measure}"), mean)));
            }
        }
        means
    };
    let (exact, rounded) = (run("f32"), run("bf16"));
    assert!(
        exact.len() >= 8 && exact.len() == rounded.len(),
        "{exact:?}"
    );
    for ((name, a), (_, b)) in exact.iter().zip(&rounded) {
        assert!((a - b).abs() < 1e-3, "{name}: {a} and {b}");
    }
    // Or nothing was rounded.
    assert_ne!(exact, rounded);
}

#[test]
fn a_bench_is_compared_with_a_record_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |more: &[&str]| {
        let arguments = [&["bench", "--limit", "1"], more].concat();
        concord(folder.path(), &arguments)
    };
    bench(&["--save", "before.json"]).ok();
    let same = bench(&["--baseline", "before.json", "--counts-only"]).ok();
    assert!(same.stderr.contains("nothing is worse"), "{}", same.stderr);
    let file = folder.path().join("before.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut record: Value = serde_json::from_str(&text).unwrap();
    record["rows_computed"] = 1.into();
    std::fs::write(&file, record.to_string()).unwrap();
    let arguments = ["--baseline", "before.json", "--counts-only"];
    let counted = bench(&arguments);
    assert_eq!(counted.code, 7, "{}", counted.stderr);
    // What was only counted is no record of a bench.
    let both = bench(&[&arguments[..], &["--save", "before.json"]].concat());
    assert_eq!(both.code, 2, "{}", both.stderr);
    let worse = bench(&["--baseline", "before.json", "--save", "before.json"]);
    assert_eq!(worse.code, 7, "{}", worse.stderr);
    assert!(worse.stderr.contains("rows computed"), "{}", worse.stderr);
    // The baseline is not healed by what it was to catch.
    assert_eq!(std::fs::read_to_string(&file).unwrap(), record.to_string());
    record["preset"] = "llama-3-8b".into();
    std::fs::write(&file, record.to_string()).unwrap();
    let other = bench(&arguments);
    assert_eq!(other.code, 2, "{}", other.stderr);
    assert!(other.stdout.is_empty() && other.stderr.contains("llama-3-8b"));
    std::fs::write(&file, "{").unwrap();
    assert_eq!(bench(&arguments).code, 2);
    let nowhere = bench(&["--save", "nowhere/record.json"]);
    assert_eq!(nowhere.code, 2, "{}", nowhere.stderr);
}
