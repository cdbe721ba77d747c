//! The program as a user runs it: arguments in, stdout, stderr, exit code and files out.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod attending;
mod bad_input;
mod bigram;
mod by_hand;
mod chat_form;
mod commands;
mod export;
mod gpu;
mod hub;
mod hub_server;
mod lines;
mod machine;
mod model_server;
mod not_measurable;
mod randomness;
mod runs;
mod scripts;
mod served;
mod server_files;
mod signals;
mod snapshots;
mod strangers;
mod studies;
mod study;
mod sweeps;

use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a call of the program gave.
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }
}

fn concord(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Outcome {
    concord_with_input(folder, arguments, "")
}

fn concord_with_input(folder: &Path, arguments: &[impl AsRef<OsStr>], input: &str) -> Outcome {
    concord_on(None, folder, arguments, input)
}

/// On so many threads, where that is said.
fn concord_on(
    threads: Option<usize>,
    folder: &Path,
    arguments: &[impl AsRef<OsStr>],
    input: &str,
) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_concord"))
        .args(arguments)
        .envs(threads.map(|threads| ("RAYON_NUM_THREADS", threads.to_string())))
        .current_dir(folder)
        .env("COLUMNS", "80")
        .env("CONCORD_NO_CACHE", "1")
        .env("CONCORD_CACHE", folder.join(".cache"))
        .env("HF_HUB_CACHE", folder.join(".hub"))
        .env("HF_HUB_OFFLINE", "1")
        // Whatever the machine has: bits are compared.
        .env("CONCORD_DEVICE", "cpu")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may not read it.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    Outcome {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// `concord score` of lines given on stdin.
fn score(model: &Path, input: &str) -> Outcome {
    let arguments = [
        "score",
        "--model",
        model.to_str().unwrap(),
        "--prompts",
        "-",
    ];
    concord_with_input(Path::new("."), &arguments, input)
}

/// A tiny checkpoint of the repository's golden ones.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(name)
}

/// A copy of a tiny checkpoint that a test may break.
fn copy_of_golden(name: &str, into: &Path) -> PathBuf {
    let folder = into.join(name);
    copy_folder(&golden(name), &folder);
    folder
}

/// Copies a folder with all that is in it.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}
