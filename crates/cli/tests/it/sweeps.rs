//! `concord sweep`, and flags that stand in files.

use crate::runs::write_adapter;
use crate::{concord, copy_of_golden};
use serde_json::Value;
use std::path::Path;

/// Three adapters on one base in two suites' worth of settings, and a checkpoint that is not there.
fn write_sweep(folder: &Path, more: &str) {
    for (name, gain) in [("one", 0.01), ("two", 0.1), ("three", 0.4)] {
        write_adapter(&folder.join("adapters").join(name), gain);
    }
    let text = format!(
        r#"
out = "s"
[run]
limit = 1
no-steering = true
robustness_sample = 0
formats = ["letter"]
languages = "english"
[[checkpoints]]
name = "plain"
model = "multi-query-wide-heads"
adapters = ["adapters/*"]
[matrix]
orders = ["both", "given"]
{more}
"#
    );
    std::fs::write(folder.join("s.toml"), text).unwrap();
}

fn states(status: &Value) -> Vec<(String, String)> {
    let cells = status.as_array().unwrap().iter();
    let text = |cell: &Value, key: &str| cell[key].as_str().unwrap().to_owned();
    cells
        .map(|cell| (text(cell, "cell"), text(cell, "state")))
        .collect()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one sweep, from plan to summary and on"
)]
fn cells_are_run_once_and_what_fails_does_not_stop_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    copy_of_golden("multi-query-wide-heads", here);
    write_sweep(here, "[[checkpoints]]\nmodel = \"broken\"\n");
    std::fs::create_dir(here.join("broken")).unwrap();
    let plan = concord(here, &["sweep", "s.toml", "--plan"]).ok().stdout;
    assert!(plan.contains("10 cells in s"), "{plan}");
    assert!(
        plan.contains(
            "plain+one--orders=given\n  concord run --model=multi-query-wide-heads --adapter=adapters/one"
        ),
        "{plan}"
    );
    assert!(!here.join("s").exists());

    let run = concord(here, &["sweep", "s.toml"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("2 of 10 cells failed, `broken--orders=both` first"),
        "{}",
        run.stderr
    );
    let status = concord(here, &["sweep", "s.toml", "--status", "--format", "json"])
        .ok()
        .json();
    let found = states(&status);
    let count = |state: &str| found.iter().filter(|(_, own)| own == state).count();
    assert_eq!((count("done"), count("failed")), (8, 2), "{found:?}");
    assert!(status[0]["levels"]["plain"].is_object(), "{status}");
    for file in [
        "summary.html",
        "measures-valueconsistency.csv",
        "measures-valueconsistency.parquet",
    ] {
        assert!(here.join("s").join(file).is_file(), "{file}");
    }
    let csv = std::fs::read_to_string(here.join("s/measures-valueconsistency.csv")).unwrap();
    assert!(csv.starts_with("cell,") && csv.contains("\nplain+two--orders=both,"));

    // A cell is the run that the same flags make, to the byte.
    let alone = [
        "run",
        "-M",
        "multi-query-wide-heads",
        "--name",
        "plain",
        "--limit",
        "1",
        "--no-steering",
        "--robustness-sample",
        "0",
        "--formats",
        "letter",
        "--languages",
        "english",
        "--orders",
        "both",
        "-o",
        "alone",
    ];
    concord(here, &alone).ok();
    let bytes = |file: &str| std::fs::read(here.join(file)).unwrap();
    for file in ["findings.json", "readings/plain.jsonl"] {
        assert!(
            bytes(&format!("alone/{file}")) == bytes(&format!("s/plain--orders=both/{file}")),
            "{file}"
        );
    }

    // Once more: nothing is read again, a cell that is added is run alone, and one that was mended is tried again.
    let before = bytes("s/plain+two--orders=both/manifest.json");
    write_adapter(&here.join("adapters/four"), 0.2);
    std::fs::remove_dir(here.join("broken")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mended = copy_of_golden("multi-query-wide-heads", elsewhere.path());
    std::fs::rename(mended, here.join("broken")).unwrap();
    let again = concord(here, &["sweep", "s.toml"]).ok();
    assert!(
        again
            .stderr
            .contains("cell plain+two--orders=both: done already"),
        "{}",
        again.stderr
    );
    assert!(
        again
            .stderr
            .contains("cell plain+four--orders=given: done\n"),
        "{}",
        again.stderr
    );
    assert!(
        again.stderr.contains("cell broken--orders=both: done\n"),
        "{}",
        again.stderr
    );
    assert_eq!(bytes("s/plain+two--orders=both/manifest.json"), before);
    assert!(
        again.stdout.contains("12 cells: 12 done"),
        "{}",
        again.stdout
    );
    assert!(std::fs::read_dir(here.join("s")).unwrap().all(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        !name.ends_with(".failed.json") && !name.ends_with(".partial")
    }));
}

#[test]
fn one_broken_adapter_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    copy_of_golden("multi-query-wide-heads", here);
    write_sweep(here, "");
    std::fs::write(here.join("adapters/one/adapter_config.json"), "{").unwrap();
    let run = concord(here, &["sweep", "s.toml"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("2 of 8 cells failed, `plain+one--orders=both` first"),
        "{}",
        run.stderr
    );
    assert!(
        run.stdout.contains("8 cells: 6 done, 2 failed"),
        "{}",
        run.stdout
    );
    assert!(here.join("s/plain+one--orders=both.failed.json").is_file());
}

#[test]
fn cells_of_other_flags_and_damaged_ones_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    copy_of_golden("multi-query-wide-heads", here);
    let text = |limit: usize| {
        format!(
            "out = \"s\"\n[run]\nlimit = {limit}\nno-steering = true\nrobustness-sample = 0\nformats = [\"letter\"]\nlanguages = \"english\"\n\
             [[checkpoints]]\nname = \"one\"\nmodel = \"multi-query-wide-heads\"\n[matrix]\nseed = [1, 2]\n"
        )
    };
    std::fs::write(here.join("s.toml"), text(1)).unwrap();
    concord(here, &["sweep", "s.toml"]).ok();
    // A value that is added to a flag renames nothing.
    std::fs::write(here.join("s.toml"), text(1).replace("[1, 2]", "[1, 2, 3]")).unwrap();
    let plan = concord(here, &["sweep", "s.toml", "--status"]).ok().stdout;
    assert!(plan.contains("3 cells: 2 done, 1 waiting"), "{plan}");
    std::fs::write(here.join("s.toml"), text(2)).unwrap();
    let status = concord(here, &["sweep", "s.toml", "--status"]).ok().stdout;
    assert!(status.contains("2 cells: 2 of other flags"), "{status}");
    let run = concord(here, &["sweep", "s.toml"]);
    assert!(
        run.code == 2 && run.stderr.contains("`limit` differs"),
        "{}",
        run.stderr
    );
    std::fs::write(here.join("s.toml"), text(1)).unwrap();
    std::fs::write(here.join("s/one--seed=2/findings.json"), "{").unwrap();
    let status = concord(here, &["sweep", "s.toml", "--status"]);
    assert_eq!(status.code, 1, "{}", status.stderr);
    assert!(
        status.stdout.contains("1 damaged, 1 done"),
        "{}",
        status.stdout
    );
    assert!(
        status.stderr.contains("`one--seed=2` first"),
        "{}",
        status.stderr
    );
}

#[test]
fn cells_are_shared_out_among_processes() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    copy_of_golden("multi-query-wide-heads", here);
    write_sweep(here, "");
    for shard in ["1/3", "2/3", "3/3"] {
        let plan = concord(here, &["sweep", "s.toml", "--shard", shard, "--plan"]).ok();
        assert!(
            plan.stdout
                .contains(if shard == "3/3" { "2 cells" } else { "3 cells" }),
            "{}",
            plan.stdout
        );
        concord(here, &["sweep", "s.toml", "--shard", shard]).ok();
    }
    let status = concord(here, &["sweep", "s.toml", "--status"]).ok().stdout;
    assert!(status.contains("8 cells: 8 done"), "{status}");
}

#[test]
fn flags_may_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = "limit = 3\nformats = [\"letter\"]\nno_steering = true\nseed = 7\nwhere = [\"language=english\"]\n";
    std::fs::write(here.join("run.toml"), text).unwrap();
    let shown = concord(
        here,
        &["run", "-C", "run.toml", "--limit", "1", "--print-config"],
    )
    .ok()
    .stdout;
    for line in [
        "limit = 1  # flag",
        "formats = [\"letter\"]  # file",
        "no-steering = true  # file",
        "seed = 7  # file",
        "memory",
    ] {
        assert!(
            shown.contains(line) != (line == "memory"),
            "{line} in {shown}"
        );
    }
    assert!(shown.contains("orders = \"both\"  # default"), "{shown}");
    let run = [
        "run",
        "-C",
        "run.toml",
        "--limit",
        "1",
        "--robustness-sample",
        "0",
        "--format",
        "json",
        "-o",
        "r",
    ];
    let run = concord(here, &run).ok().json();
    assert_eq!(run["manifest"]["identity"]["limit"], 1);
    assert_eq!(run["manifest"]["identity"]["options"]["seed"], 7);
    let files = run["findings"]["models"]["demo-base"]["files"].as_object();
    assert!(files.unwrap().keys().all(|file| file.contains("english")));
    for (text, problem) in [
        ("limt = 3", "unknown key `limt`; did you mean `limit`?"),
        ("limit = [", "run.toml:1: "),
        ("limit = 0", "at least 1"),
        ("no-steering = 3", "is true or false"),
    ] {
        std::fs::write(here.join("run.toml"), text).unwrap();
        let refused = concord(here, &["run", "-C", "run.toml"]);
        assert_eq!(refused.code, 2, "{text}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(problem),
            "{text}: {}",
            refused.stderr
        );
    }
}

#[test]
fn sweeps_that_cannot_be_are_refused_before_anything_is_run() {
    let folder = tempfile::tempdir().unwrap();
    for (text, problem) in [
        (
            "[[checkpoints]]\nmodels = [\"none/*\"]",
            "nothing fits `none/*`",
        ),
        (
            "[[checkpoints]]\nmodel = \"a\"\n[matrix]\ndtype = [\"f31\"]",
            "cell `a",
        ),
        (
            "[[checkpoints]]\nmodel = \"a\"\n[run]\nlimit = -1",
            "cell `a",
        ),
        ("checkpoints = 3", "is a list of tables"),
    ] {
        std::fs::write(folder.path().join("s.toml"), text).unwrap();
        let refused = concord(folder.path(), &["sweep", "s.toml"]);
        assert_eq!(refused.code, 2, "{text}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(problem),
            "{text}: {}",
            refused.stderr
        );
    }
    assert!(!folder.path().join("sweeps").exists());
    let missing = concord(folder.path(), &["sweep", "no.toml"]);
    assert!(
        missing.stderr.contains("no.toml: cannot be read"),
        "{}",
        missing.stderr
    );
}
