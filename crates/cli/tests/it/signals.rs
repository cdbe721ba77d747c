//! Runs that are told to stop.
#![cfg(unix)]

use crate::concord;
use std::path::Path;
use std::process::{Child, Command};

/// Sends a signal to a process.
fn send(signal: &str, to: &Child) {
    let id = to.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.unwrap().success());
}

/// A signal that comes before anything is read ends the run with the code that says so, and leaves nothing.
#[test]
fn a_run_that_is_stopped_before_it_reads_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let demo = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = demo.join("../questions/demo/controversial_english_world.jsonl");
    let questions = std::fs::read(demo).unwrap();
    // A pipe holds the program where it reads questions, as long as nobody writes.
    let pipe = at("controversial_english_world.jsonl");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_concord"))
        .args(["run", "--out", "r", "-Q"])
        .arg(&pipe)
        .env("CONCORD_NO_CACHE", "1")
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Opened when the program has opened it as well.
    let mut written = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    send("-TERM", &child);
    // The signal is on its way before the questions are.
    std::thread::sleep(std::time::Duration::from_millis(200));
    std::io::Write::write_all(&mut written, &questions).unwrap();
    drop(written);
    let outcome = child.wait_with_output().unwrap();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(6), "{said}");
    assert!(
        said.contains("nothing was read, and nothing is kept"),
        "{said}"
    );
    assert!(!at("r").exists() && !at("r.partial").exists());
}

/// Ctrl-C; where this process was started so that it ignores that, as shells start what runs in the background, what it starts ignores it
/// as well, and is told to end instead.
fn interrupt() -> &'static str {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signals are counted from 1, and Ctrl-C is the second.
    if ignored.is_some_and(|mask| mask & 2 != 0) {
        "-TERM"
    } else {
        "-INT"
    }
}

/// Ctrl-C: exit code 6, nothing that looks whole, and the same command goes on.
#[test]
fn an_interrupted_run_can_be_finished() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--out", "r", "--format", "json"];
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_concord"))
        .args(arguments)
        .env("CONCORD_NO_CACHE", "1")
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
    send(interrupt(), &child);
    let outcome = child.wait_with_output().unwrap();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(6), "{said}");
    assert!(
        said.contains("stopped; what was read is kept in r.partial")
            && said.contains("to go on from here: ")
            && said.contains(" --out r"),
        "{said}"
    );
    assert!(!folder.path().join("r").exists() && outcome.stdout.is_empty());
    let finished = concord(folder.path(), &arguments).ok().json();
    assert!(
        finished["manifest"]["progress"]["demo-base"]["resumed"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(folder.path().join("r/findings.json").is_file());
}
