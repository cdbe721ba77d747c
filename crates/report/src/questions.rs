//! A question set as tables.

use crate::{table, text};
use concord_questions::{FileCheck, Oddity};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Counts by file, topic and language, and what is odd.
pub fn questions(
    files: &[FileCheck],
    pvq: &BTreeMap<&str, usize>,
    languages: &BTreeMap<&str, usize>,
    oddities: &[Oddity],
) -> String {
    let mut out = String::new();
    let header = [
        "file",
        "questions",
        "originals",
        "topics",
        "first option opposes",
    ];
    let mut counts = table(header.map(str::to_owned).to_vec());
    for file in files {
        counts.add_row([
            file.file.clone(),
            file.questions.to_string(),
            file.originals.to_string(),
            file.topics.len().to_string(),
            file.first_option_opposes.to_string(),
        ]);
    }
    let total: usize = files.iter().map(|file| file.questions).sum();
    let originals: usize = files.iter().map(|file| file.originals).sum();
    let topics: usize = files.iter().map(|file| file.topics.len()).sum();
    let opposes: usize = files.iter().map(|file| file.first_option_opposes).sum();
    counts.add_row([
        "total".to_owned(),
        total.to_string(),
        originals.to_string(),
        topics.to_string(),
        opposes.to_string(),
    ]);
    if !files.is_empty() {
        out.push_str(&text(&counts));
    }
    for (file, items) in pvq {
        let _ = writeln!(out, "{file}: {items} PVQ items");
    }
    let by_language: Vec<String> = languages
        .iter()
        .map(|(language, count)| format!("{language} {count}"))
        .collect();
    let _ = writeln!(out, "\nby language: {}", by_language.join(", "));
    for file in files {
        let topics: Vec<String> = file
            .topics
            .iter()
            .map(|(topic, count)| format!("{topic} {count}"))
            .collect();
        let _ = writeln!(out, "\n{}: {}", file.file, topics.join(", "));
    }
    if oddities.is_empty() {
        out.push_str("\nnothing odd\n");
        return out;
    }
    let mut odd = table(
        ["odd in", "first row", "rows", "what"]
            .map(str::to_owned)
            .to_vec(),
    );
    for oddity in oddities {
        odd.add_row([
            oddity.file.clone(),
            oddity.row.to_string(),
            oddity.rows.to_string(),
            oddity.what.clone(),
        ]);
    }
    let _ = write!(out, "\n{}", text(&odd));
    out
}
