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

    // The base was loaded once, and its adapters were put on it.
    let ran = |cell: &str, what: &str| -> usize {
        let text = std::fs::read_to_string(here.join("s").join(cell).join("manifest.json"));
        let manifest: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let spans = manifest["attempts"][0]["timeline"].as_array().unwrap();
        spans.iter().filter(|span| span["what"] == what).count()
    };
    for orders in ["both", "given"] {
        let of = |name: &str| format!("{name}--orders={orders}");
        assert_eq!(
            (ran(&of("plain"), "load"), ran(&of("plain"), "adapt")),
            (1, 0)
        );
        for adapter in ["one", "two", "three"] {
            let cell = of(&format!("plain+{adapter}"));
            assert_eq!((ran(&cell, "load"), ran(&cell, "adapt")), (0, 1), "{cell}");
        }
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
fn a_cell_whose_questions_changed_is_not_called_done() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    copy_of_golden("multi-query-wide-heads", here);
    let demo = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../questions/demo/controversial_english_world.jsonl");
    let rows = std::fs::read_to_string(demo).unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    for set in ["a", "b"] {
        std::fs::create_dir(here.join(set)).unwrap();
        std::fs::write(here.join(set).join("q.jsonl"), rows[..12].join("\n")).unwrap();
    }
    let text = "out = \"s\"\n[run]\nno-steering = true\nrobustness-sample = 0\nformats = [\"letter\"]\n\
                [[checkpoints]]\nname = \"one\"\nmodel = \"multi-query-wide-heads\"\n[matrix]\nquestions = [\"a/q.jsonl\", \"b/q.jsonl\"]\n";
    // Its name says where questions come from.
    for set in ["a", "b"] {
        let name = "controversial_english_world.jsonl";
        std::fs::rename(here.join(set).join("q.jsonl"), here.join(set).join(name)).unwrap();
    }
    let text = text.replace("q.jsonl", "controversial_english_world.jsonl");
    std::fs::write(here.join("s.toml"), text).unwrap();
    let done = concord(here, &["sweep", "s.toml"]).ok().stdout;
    // Paths that end alike are called in full.
    assert!(done.contains("2 cells: 2 done"), "{done}");
    assert!(
        here.join("s/one--questions=a_controversial_english_world.jsonl/manifest.json")
            .is_file(),
        "{:?}",
        std::fs::read_dir(here.join("s"))
            .unwrap()
            .collect::<Vec<_>>()
    );
    let file = here.join("a/controversial_english_world.jsonl");
    std::fs::write(file, rows[..11].join("\n")).unwrap();
    let again = concord(here, &["sweep", "s.toml"]);
    assert_eq!(again.code, 2, "{}", again.stderr);
    assert!(
        again.stdout.contains("1 done, 1 failed"),
        "{}",
        again.stdout
    );
    assert!(
        again.stderr.contains("remove the folders"),
        "{}",
        again.stderr
    );
    let csv = std::fs::read_to_string(here.join("s/measures-valueconsistency.csv")).unwrap();
    assert!(csv.contains("questions=b_") && !csv.contains("questions=a_"));
    // A run is no folder for others.
    let cell = "s/one--questions=b_controversial_english_world.jsonl";
    let inside = concord(here, &["sweep", "s.toml", "--out", cell]);
    assert!(
        inside.code == 2 && inside.stderr.contains("is a run"),
        "{}",
        inside.stderr
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
        "# memory =",
        "no-cache = true  # environment",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    // What is printed is a file of the same form.
    std::fs::write(here.join("shown.toml"), &shown).unwrap();
    let again = concord(here, &["run", "-C", "shown.toml", "--print-config"]).ok();
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let value = |line: &str| line.split("  #").next().unwrap_or(line).to_owned();
        lines.map(value).collect()
    };
    assert_eq!(values(&again.stdout), values(&shown));
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

#[test]
fn what_is_missing_and_what_excludes_nothing_is_said_before() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    copy_of_golden("multi-query-wide-heads", here);
    let more = "[[checkpoints]]\nmodel = \"./nowhere\"\n[[exclude]]\ncheckpoint = \"plane\"\norders = [\"given\", \"x*\"]\n";
    write_sweep(here, more);
    let plan = concord(here, &["sweep", "s.toml", "--plan"]).ok();
    for said in [
        "s.toml: [[exclude]] checkpoint = plane, orders = given or x* leaves nothing out",
        "./nowhere: no such folder or file: its cells will fail",
    ] {
        assert!(plan.stderr.contains(said), "{}", plan.stderr);
    }
    assert!(
        !plan.stderr.contains("multi-query-wide-heads:"),
        "{}",
        plan.stderr
    );
}

/// Every file of finished runs, but for those that say who worked on them and how long.
fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|ending| ending == "jsonl" || ending == "json")
                && path.file_name().is_some_and(|name| name != "manifest.json")
            {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A cell whose layers are read one after the other goes on from the last that all rows were through.
#[cfg(unix)]
#[test]
fn cells_by_layer_go_on_from_their_last_layer() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (model, _) in [("base", 0), ("aligned", 1)] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../models/demo")
            .join(model);
        crate::copy_folder(&from, &here.join(model));
    }
    let text = "[run]\nformats = \"letter\"\nno-steering = true\nresamples = 100\nschedule = \"spilled\"\n\
        [[checkpoints]]\nmodels = [\"base\", \"aligned\"]\n";
    std::fs::write(here.join("s.toml"), text).unwrap();
    let sweep = |out: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_concord"));
        command
            .args(["sweep", "s.toml", "--out", out])
            .current_dir(here)
            .env("CONCORD_NO_CACHE", "1")
            .env("CONCORD_DEVICE", "cpu")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        command
    };
    assert!(sweep("whole").status().unwrap().success());
    // Killed as soon as a layer more is whole, until it ends by itself: how many are stands after a mark and a digest.
    let whole_layers = || {
        let kept = std::fs::read_dir(here.join("cut")).into_iter().flatten();
        let kept = kept.flatten().map(|entry| entry.path());
        let kept = kept.filter(|path| path.extension().is_some_and(|ending| ending == "partial"));
        let files =
            kept.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
        let mut records = files.filter(|file| {
            file.path()
                .extension()
                .is_some_and(|ending| ending == "layers")
        });
        let bytes = std::fs::read(records.next()?.path()).ok()?;
        Some(u64::from_le_bytes(bytes.get(40..48)?.try_into().ok()?))
    };
    let mut seen: Vec<u64> = Vec::new();
    for _ in 0..10 {
        let before = whole_layers();
        let mut child = sweep("cut").spawn().unwrap();
        let begun = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed().as_secs() < 120);
            if let Some(layers) = whole_layers().filter(|layers| Some(*layers) != before) {
                child.kill().unwrap();
                seen.push(layers);
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if child.wait().unwrap().success() {
            break;
        }
    }
    // Of each of the two checkpoints: never a layer again that was whole before.
    let falls = seen.windows(2).filter(|pair| pair[0] >= pair[1]).count();
    assert!(seen.len() >= 2 && falls <= 1, "{seen:?}");
    let (whole, cut) = (files(&here.join("whole")), files(&here.join("cut")));
    assert!(whole.len() > 4);
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        cut.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &whole {
        assert!(name.ends_with("cell.json") || *bytes == cut[name], "{name}");
    }
}
