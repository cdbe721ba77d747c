//! Writes the page of a made-up run: `page [--checkpoints N] [--gated N] [--names] [--questions FOLDER] [--figures FOLDER] [--answers FILE] [--brief WIDTH]`.
//!
//! Questions are made up too, unless a folder of `.jsonl` files is named, each named by its facets: `KIND_LANGUAGE_COUNTRY.jsonl`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs
)]

#[path = "../tests/it/synthetic.rs"]
mod synthetic;

use std::path::Path;
use synthetic::{Asked, made_up, run};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)
    };
    let number = |flag: &str, usual: usize| value(flag).map_or(usual, |text| text.parse().unwrap());
    let gated = number("--gated", 0);
    let checkpoints = checkpoints(
        number("--checkpoints", 2),
        gated,
        arguments.iter().any(|argument| argument == "--names"),
    );
    let asked =
        value("--questions").map_or_else(|| made_up(8005), |folder| read(Path::new(folder)));
    let exhibits = run(&checkpoints, &asked);
    if let Some(folder) = value("--figures") {
        for (name, svg) in concord_report::figures(&exhibits) {
            std::fs::write(Path::new(folder).join(name), svg).unwrap();
        }
    }
    if let Some(file) = value("--answers") {
        std::fs::write(file, answers(&exhibits).to_string()).unwrap();
    }
    if let Some(width) = value("--brief") {
        let tail = [
            "stored  runs/made-up".to_owned(),
            "page    concord report runs/made-up".to_owned(),
        ];
        print!(
            "{}",
            concord_report::brief(
                &exhibits,
                &tail,
                width.parse().unwrap(),
                arguments.iter().any(|argument| argument == "--colour")
            )
        );
        return;
    }
    if arguments.iter().any(|argument| argument == "--text") {
        print!("{}", concord_report::terminal(&exhibits));
        return;
    }
    let names: Vec<&str> = checkpoints.iter().map(|(name, _)| name.as_str()).collect();
    let about = [
        ("program", "concord 0.1.0".to_owned()),
        (
            "questions",
            format!("{} made up, digest 5f2a…91c0", asked.len()),
        ),
        (
            "command",
            "concord run demo-base demo-aligned --out runs/made-up".to_owned(),
        ),
    ];
    print!(
        "{}",
        concord_report::page(&names.join(" → "), &about, &exhibits)
    );
}

/// What was read of the questions of the first topic, for those who look whether the page shows it.
fn answers(exhibits: &[concord_findings::Exhibit]) -> serde_json::Value {
    let book = exhibits.iter().find_map(|exhibit| match exhibit {
        concord_findings::Exhibit::Answers(book) => Some(book),
        _ => None,
    });
    let book = book.unwrap();
    let questions = book
        .questions
        .iter()
        .enumerate()
        .take_while(|(_, question)| question.topic == 0);
    let found = questions.map(|(at, question)| {
        let values = book.readings.iter().map(|reading| reading.values[at]);
        serde_json::json!({ "question": at, "text": question.text, "values": values.collect::<Vec<_>>() })
    });
    found.collect()
}

/// Names of checkpoints; the last ones could not be measured.
fn checkpoints(count: usize, gated: usize, hard: bool) -> Vec<(String, Option<String>)> {
    let plain = [
        "demo-base",
        "demo-aligned",
        "olmo-2-7b-instruct",
        "qwen3-8b",
        "gemma-3-12b-it",
        "llama-3.1-8b",
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
    ];
    let long = format!(
        "{}-step-143000",
        "a-checkpoint-with-a-long-name-"
            .repeat(4)
            .get(..107)
            .unwrap()
    );
    let others = [
        long.as_str(),
        "合議制の模型-七十億-指示調整済み版",
        "نموذج-اللغة-العربية",
        "<script>alert('x')</script>&amp;",
        "\u{202e}turned\u{1b}[31m",
        "ok",
    ];
    let names = if hard { &others[..] } else { &plain[..] };
    let reason = |at: usize| (at + gated >= count).then(|| "label mass 0.10 < 0.5".to_owned());
    (0..count)
        .map(|at| (names[at % names.len()].to_owned(), reason(at)))
        .collect()
}

/// Questions from files of one JSON a line.
fn read(folder: &Path) -> Vec<Asked> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut out = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "jsonl"))
    {
        let facets: Vec<String> = file
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .split('_')
            .map(str::to_owned)
            .collect();
        if facets.len() != 3 {
            continue;
        }
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let found: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| found[key].as_str().map(str::to_owned);
            let options = found["options"].as_object().unwrap().iter();
            out.push(Asked {
                topic: text("topic_english").or_else(|| text("topic")).unwrap(),
                facets: facets.clone(),
                text: text("question").unwrap(),
                original: text("original").unwrap(),
                english: text("original_english"),
                options: options
                    .map(|(option, side)| (option.clone(), side.as_str().unwrap_or("").to_owned()))
                    .collect(),
            });
        }
    }
    out
}
