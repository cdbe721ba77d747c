//! A question set as tables.

use concord_findings::Table;
use concord_questions::{FileCheck, Oddity};
use concord_report::table_text;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Counts by file, topic and language, and what is odd.
pub(super) fn counts(
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
    let mut counts = Table {
        title: None,
        header: header.map(str::to_owned).to_vec(),
        rows: Vec::new(),
    };
    for file in files {
        counts.rows.push(vec![
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
    counts.rows.push(vec![
        "total".to_owned(),
        total.to_string(),
        originals.to_string(),
        topics.to_string(),
        opposes.to_string(),
    ]);
    if !files.is_empty() {
        out.push_str(&table_text(&counts));
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
    let rows = oddities.iter().map(|oddity| {
        vec![
            oddity.file.clone(),
            oddity.row.to_string(),
            oddity.rows.to_string(),
            oddity.what.clone(),
        ]
    });
    let odd = Table {
        title: None,
        header: ["odd in", "first row", "rows", "what"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    };
    let _ = write!(out, "\n{}", table_text(&odd));
    out
}
