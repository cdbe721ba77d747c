//! The question set end to end, through a made-up checkpoint of SmolLM2-135M's shape.
//!
//! Asks the study's questions where they are at hand (`../shared/valueconsistency`, or the folder that
//! `CONCORD_QUESTIONS` names), else the demo questions. `CONCORD_LIMIT=N` keeps the first N originals of each file. The record
//! is also written to `tmp/throughput.json` in cargo's target folder.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

use concord_cli::bench::{Bench, measure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let named = std::env::var_os("CONCORD_QUESTIONS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root.join("../shared/valueconsistency"));
    let questions = if folder.exists() {
        println!("questions: VALUECONSISTENCY");
        concord_questions::load(&folder)
    } else {
        println!("questions: the demo set (the study's files are not at hand)");
        concord_questions::demo()
    };
    let mut set = match questions {
        Ok(set) => set,
        Err(error) => return fail(&error.to_string()),
    };
    let limit = std::env::var("CONCORD_LIMIT")
        .ok()
        .and_then(|limit| limit.parse().ok());
    if let Some(limit) = limit {
        println!("partial: the first {limit} originals of each file");
        set.keep_first_originals(limit);
    }
    let record = match measure(
        &Bench {
            preset: "smollm2-135m",
            cloze: false,
            dtype: None,
            schedule: concord_scorer::Wanted::Auto,
            memory: None,
            spill: std::env::temp_dir(),
        },
        &set,
    ) {
        Ok(record) => record,
        Err(failure) => return fail(&failure.render()),
    };
    print!("{}", record.human());
    let json = serde_json::to_string_pretty(&record).unwrap_or_default();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("throughput.json");
    match std::fs::write(&path, json + "\n") {
        Ok(()) => println!("record           {}", path.display()),
        Err(error) => return fail(&format!("{}: {error}", path.display())),
    }
    if record.rows_computed != record.trie_rows {
        return fail(&format!(
            "{} rows computed for {} rows of the trie",
            record.rows_computed, record.trie_rows
        ));
    }
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
