//! What scripts rely on: places, names, plans, shards.

use crate::concord;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Little is asked, by letters alone.
const LITTLE: [&str; 8] = [
    "run",
    "--limit",
    "1",
    "--formats",
    "letter",
    "--no-steering",
    "--robustness-sample",
    "0",
];

fn little<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&LITTLE[..], more].concat()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

#[test]
fn a_finished_run_is_not_read_again_and_another_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // An empty folder is taken.
    std::fs::create_dir(here.join("out")).unwrap();
    let first = concord(here, &little(&["--out", "out", "--format", "json"]))
        .ok()
        .json();
    let again = concord(here, &little(&["--out", "out", "--format", "json"])).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    // All of it, as the first time.
    assert_eq!(again.json(), first);
    // Something else under that name is refused, and by --force takes its place.
    let other = concord(here, &little(&["--out", "out", "--seed", "3"]));
    assert_eq!(other.code, 2, "{}", other.stderr);
    assert!(
        other.stderr.contains("(`options.seed` differs)") && other.stderr.contains("--force"),
        "{}",
        other.stderr
    );
    concord(here, &little(&["--out", "out", "--seed", "3", "--force"])).ok();
    let text = std::fs::read_to_string(here.join("out/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["identity"]["options"]["seed"], 3);
    assert_eq!(names(here), ["out"]);
    // What is no run is never replaced.
    std::fs::create_dir(here.join("mine")).unwrap();
    std::fs::write(here.join("mine/thesis.txt"), "all of it").unwrap();
    let refused = concord(here, &little(&["--out", "mine", "--force"]));
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert_eq!(names(&here.join("mine")), ["thesis.txt"]);
}

#[test]
fn names_of_runs_and_of_checkpoints_tell_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    concord(
        folder.path(),
        &little(&["--name", "before", "--name", "after"]),
    )
    .ok();
    let [run] = &names(&folder.path().join("runs"))[..] else {
        panic!();
    };
    assert!(run.ends_with("-valueconsistency-before+after"), "{run}");
    for (names, problem) in [
        (&["--name", "one"][..], "given 1 times for 2 checkpoints"),
        (
            &["--name", "a", "--name", "a"],
            "two checkpoints are called `a`",
        ),
        (&["--name", "a/b"], "a name has letters"),
    ] {
        let refused = concord(folder.path(), &little(names));
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains(problem), "{}", refused.stderr);
    }
}

#[test]
fn a_dry_run_says_what_would_be_asked_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dry = concord(folder.path(), &little(&["--dry-run", "--format", "json"])).ok();
    let planned = dry.json();
    let planned = planned.as_array().unwrap();
    assert_eq!(planned.len(), 2);
    let run = concord(
        folder.path(),
        &little(&["--out", "run", "--format", "json"]),
    )
    .ok()
    .json();
    for plan in planned {
        let cost = &run["manifest"]["progress"][plan["checkpoint"].as_str().unwrap()];
        assert_eq!(plan["rows"], cost["trie_rows"]);
        assert_eq!(plan["prompts"], cost["prompts"]);
        assert_eq!(plan["tokens"], cost["tokens_asked"]);
        assert!(plan["seconds_at_least"].as_f64().unwrap() > 0.0);
    }
    let text = concord(folder.path(), &little(&["--dry-run"])).ok().stdout;
    assert!(
        text.contains("rows of a trie") && text.contains("at least"),
        "{text}"
    );
    // What is there already decides what the command would do.
    let again = concord(folder.path(), &little(&["--dry-run", "--out", "run"])).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    let other = concord(
        folder.path(),
        &little(&["--dry-run", "--out", "run", "--seed", "3"]),
    );
    assert_eq!(other.code, 2, "{}", other.stderr);
    assert_eq!(names(folder.path()), ["run"]);
}

#[test]
fn several_question_files_and_conditions_choose_what_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../questions/demo");
    let file = |name: &str| demo.join(format!("{name}.jsonl")).display().to_string();
    let (english, german) = (
        file("controversial_english_world"),
        file("controversial_german_world"),
    );
    let asked = |more: &[&str]| {
        let run = concord(
            folder.path(),
            &little(&[more, &["--format", "json"]].concat()),
        )
        .ok()
        .json();
        run["findings"]["models"]["demo-base"].clone()
    };
    let both = asked(&["-Q", &english, "-Q", &german]);
    let one = asked(&["-Q", &english, "-Q", &german, "--where", "language!=german"]);
    assert_eq!(both["files"].as_object().unwrap().len(), 2);
    assert_eq!(one["files"].as_object().unwrap().len(), 1);
    let originals = asked(&["-Q", &english, "--where", "phrasing=original"]);
    assert_eq!(originals["questions"]["asked"], 1);
    let twice = concord(folder.path(), &little(&["-Q", &english, "-Q", &english]));
    assert_eq!(twice.code, 3, "{}", twice.stderr);
    let none = concord(folder.path(), &little(&["--where", "language=klingon"]));
    assert!(
        none.stderr.contains("no question is selected"),
        "{}",
        none.stderr
    );
    let wrong = concord(folder.path(), &little(&["--where", "tongue=german"]));
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
}

#[test]
fn shards_are_merged_to_the_bytes_of_the_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let run = |more: &[&str]| {
        let first = ["run", "--limit", "2", "--robustness-sample", "10"];
        concord(here, &[&first[..], more].concat())
    };
    run(&["--out", "whole"]).ok();
    for count in [1, 3] {
        let out = format!("merged-{count}");
        for index in (1..=count).rev() {
            let shard = format!("{index}/{count}");
            let said = run(&["--out", &out, "--shard", &shard]).ok().stdout;
            assert!(said.contains("concord merge"), "{said}");
            if index > 1 {
                let early = concord(here, &["merge", &format!("{out}.shards")]);
                assert_eq!(early.code, 2);
                assert!(
                    early.stderr.contains("shards are missing: 1/"),
                    "{}",
                    early.stderr
                );
            }
        }
        concord(here, &["merge", &format!("{out}.shards")]).ok();
        for file in files(&here.join("whole")) {
            if file != Path::new("manifest.json") {
                let bytes = |run: &str| std::fs::read(here.join(run).join(&file)).unwrap();
                assert!(
                    bytes(&out) == bytes("whole"),
                    "{} of {count}",
                    file.display()
                );
            }
        }
        assert_eq!(files(&here.join(&out)), files(&here.join("whole")));
        let again = concord(here, &["merge", &format!("{out}.shards")]).ok();
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        let shard = format!("{out}.shards/1-of-{count}");
        let measured = concord(here, &["measure", &shard]);
        assert!(
            measured.stderr.contains("is shard 1/"),
            "{}",
            measured.stderr
        );
    }
    // Phrasings, orders and translations of an original are in one shard.
    let asked = std::fs::read_to_string(here.join("merged-3/questions.json")).unwrap();
    let asked: Value = serde_json::from_str(&asked).unwrap();
    // Of portraits there is none.
    let original = |id: &str| -> Option<String> {
        let (file, rest) = id.split_once('/')?;
        let file = file.rsplit(':').next()?;
        let row: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let mut files = asked["files"].as_array().unwrap().iter();
        let of_file = files.find(|known| known["name"] == file)?;
        let question = &of_file["questions"][row.parse::<usize>().unwrap()];
        question["original_english"].as_str().map(str::to_owned)
    };
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for shard in ["1-of-3", "2-of-3", "3-of-3"] {
        let journal = here.join(format!("merged-3.shards/{shard}/readings/demo-base.jsonl"));
        let text = std::fs::read_to_string(journal).unwrap();
        let ids = text.lines().filter_map(|line| {
            let json = line.split_once('\t').map_or(line, |(json, _)| json);
            let line: Value = serde_json::from_str(json).unwrap();
            line["id"].as_str().map(str::to_owned)
        });
        for id in ids {
            let Some(original) = original(&id) else {
                continue;
            };
            let other = seen.entry(original).or_insert_with(|| shard.to_owned());
            assert_eq!(other, shard, "{id}");
        }
    }
    assert!(seen.len() > 3, "{seen:?}");
    let refused = concord(
        here,
        &[
            "run",
            "--suite",
            "randomness",
            "--out",
            "r",
            "--shard",
            "1/2",
        ],
    );
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("cannot be asked in shards"),
        "{}",
        refused.stderr
    );
    assert!(!here.join("r.shards").exists() || names(&here.join("r.shards")).is_empty());
}

/// All files of a run, by their places.
fn files(run: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in names(&folder) {
            let path = folder.join(name);
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(run).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The program with a cache of readings, in the folder.
fn cached(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("CONCORD_CACHE", folder.join(".cache"))
        .env_remove("CONCORD_NO_CACHE")
        .env("CONCORD_DEVICE", "cpu");
    command
}

fn output_of(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = cached(folder, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

#[test]
fn what_was_read_once_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let run = |more: &[&str]| {
        let first = [
            "run",
            "--limit",
            "2",
            "--no-steering",
            "--robustness-sample",
            "5",
        ];
        output_of(here, &[&first[..], more].concat())
    };
    let stored = |run: &str, file: &str| std::fs::read(here.join(run).join(file)).unwrap();
    let rows = |run: &str| {
        let manifest: Value = serde_json::from_slice(&stored(run, "manifest.json")).unwrap();
        manifest["progress"]["demo-aligned"].clone()
    };
    run(&["-o", "first"]);
    assert!(rows("first")["rows_computed"].as_u64().unwrap() > 0);
    // Everything is known: no checkpoint is loaded, and the bytes are the same.
    let (_, said) = run(&["-o", "again"]);
    assert!(
        said.contains("were read before") && !said.contains("memory plan"),
        "{said}"
    );
    assert!(rows("again").get("rows_computed").is_none());
    for file in [
        "findings.json",
        "readings/demo-aligned.jsonl",
        "texts/demo-base.jsonl",
    ] {
        assert!(stored("first", file) == stored("again", file), "{file}");
    }
    // Of more questions the new ones alone are computed, to the bytes of a run without a cache.
    let more = |more: &[&str]| {
        let first = [
            "run",
            "--limit",
            "3",
            "--no-steering",
            "--robustness-sample",
            "5",
        ];
        output_of(here, &[&first[..], more].concat())
    };
    more(&["-o", "more"]);
    more(&["-o", "without", "--no-cache"]);
    let computed = |run: &str| rows(run)["rows_computed"].as_u64().unwrap();
    assert!(
        computed("more") < computed("without") / 2,
        "{} {}",
        computed("more"),
        computed("without")
    );
    assert!(rows("more")["cached"].as_u64().unwrap() > 0);
    assert!(stored("more", "findings.json") == stored("without", "findings.json"));
    let (shown, _) = output_of(here, &["cache", "--format", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["entries"].as_u64().unwrap() > 100);
    let (verified, _) = output_of(here, &["cache", "verify"]);
    assert!(verified.contains("0 were not"), "{verified}");
    output_of(here, &["cache", "prune", "--size", "0"]);
    assert!(output_of(here, &["cache"]).0.contains("empty"));
    // Another dtype is another checkpoint, as far as numbers go.
    run(&["-o", "f32", "--dtype", "f32"]);
    assert!(rows("f32").get("cached").is_none());
}

#[test]
fn a_cache_that_cannot_be_used_is_said_and_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::create_dir(here.join(".cache")).unwrap();
    std::fs::write(here.join(".cache/readings.redb"), "something else entirely").unwrap();
    let (_, said) = output_of(here, &little(&["-o", "run"]));
    assert_eq!(
        said.matches("the cache of readings is not used").count(),
        2,
        "{said}"
    );
    assert!(here.join("run/findings.json").is_file());
}

#[test]
fn a_run_that_is_killed_leaves_a_cache_that_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let arguments = ["run", "--limit", "4", "-o", "killed"];
    for milliseconds in [150, 400, 900, 1800] {
        let mut child = cached(here, &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        let _ = child.kill();
        child.wait().unwrap();
    }
    output_of(here, &arguments);
    output_of(here, &["run", "--limit", "4", "-o", "plain", "--no-cache"]);
    let findings = |run: &str| std::fs::read(here.join(run).join("findings.json")).unwrap();
    assert!(findings("killed") == findings("plain"));
    assert!(
        output_of(here, &["cache", "verify"])
            .0
            .contains("0 were not")
    );
}
