//! The study's published values, beside a run's own.

use crate::run::{ModelReport, estimate};
use crate::{table, text};
use concord_suites::valueconsistency::{
    ByGrouping, Consistency, Findings, PublishedTable, published,
};

/// A published table alone.
pub(crate) fn of_study(name: &str) -> String {
    let Ok(published) = published() else {
        return String::new();
    };
    let tables = published.tables.iter().filter(|table| table.name == name);
    tables.map(|table| of_table(table, &[])).collect()
}

/// Every published table for which the run has something to put beside.
pub(crate) fn beside(models: &[ModelReport<'_>]) -> String {
    let Ok(published) = published() else {
        return String::new();
    };
    let mut out = String::new();
    for table in &published.tables {
        let own: Vec<(&str, Vec<Option<String>>)> = models
            .iter()
            .map(|model| {
                let cells = table.columns.iter();
                (
                    model.name,
                    cells
                        .map(|column| own(table, column, model.findings))
                        .collect(),
                )
            })
            .filter(|(_, cells): &(&str, Vec<Option<String>>)| cells.iter().any(Option::is_some))
            .collect();
        if !own.is_empty() {
            out.push_str(&of_table(table, &own));
        }
    }
    if out.is_empty() {
        return "\nThe study published nothing about the questions of this run.\n".to_owned();
    }
    format!(
        "{out}\n{}\n{}\n{}\n",
        published.obtained, published.intervals, published.people
    )
}

fn of_table(published: &PublishedTable, own: &[(&str, Vec<Option<String>>)]) -> String {
    let header = std::iter::once(String::new()).chain(published.columns.iter().cloned());
    let mut table = table(header);
    for (name, cells) in own {
        let cells = cells.iter().map(|cell| cell.clone().unwrap_or_default());
        table.add_row(std::iter::once(format!("{name} (this run)")).chain(cells));
    }
    for row in &published.rows {
        let cells = row.values.iter().map(|value| match value.as_deref() {
            Some([value, low, high]) => estimate(*value, [*low, *high]),
            Some([value, ..]) => format!("{value:.4}"),
            _ => String::new(),
        });
        table.add_row(std::iter::once(row.model.clone()).chain(cells));
    }
    let note = published
        .note
        .as_ref()
        .map_or_else(String::new, |note| format!(" ({note})"));
    format!("\nPublished: {}{note}\n\n{}", published.title, text(&table))
}

/// What a run says in the place of a column of a published table.
fn own(table: &PublishedTable, column: &str, findings: &Findings) -> Option<String> {
    let cell = |found: Consistency| estimate(found.mean, found.ci95);
    let kind = |by: &ByGrouping| {
        if column.starts_with("topics") {
            by.topic
        } else {
            by.paraphrase
        }
    };
    if let Some(language) = table.name.strip_prefix("steering_") {
        let rank = findings.steering.get(language)?.study_rank;
        return Some(format!(
            "{} [{}, {}]",
            rank.median, rank.least, rank.largest
        ));
    }
    match table.name.as_str() {
        "languages_topics" | "languages_paraphrases" => {
            let file = findings.files.get(&format!("controversial_{column}_us"))?;
            return Some(if table.name == "languages_topics" {
                estimate(file.topic, file.topic_ci95)
            } else {
                estimate(file.paraphrase, file.paraphrase_ci95)
            });
        }
        "controversy" => {
            let found = findings
                .controversy
                .iter()
                .find(|f| f.language == "english" && f.country == "us")?;
            let by = if column.ends_with("uncontroversial") {
                found.uncontroversial
            } else {
                found.controversial
            };
            return Some(cell(kind(&by)));
        }
        "abstention" | "abstention_of_maximum" => {
            // The study's are of one file; the run's, of all its files, are comparable where it has that file alone.
            findings
                .files
                .get("controversial_english_us")
                .filter(|_| findings.files.len() == 1)?;
            let abstention = findings.abstention.as_ref()?;
            let by = if column.ends_with("not allowed") {
                &abstention.not_allowed
            } else {
                &abstention.allowed
            };
            let found = kind(by);
            return if table.name == "abstention" {
                Some(cell(found))
            } else {
                found.of_maximum.map(|share| format!("{share:.4}"))
            };
        }
        "base_aligned" | "formats" => return None,
        _ => {}
    }
    let file = findings.files.get(&table.selection.as_ref()?.file())?;
    match column {
        "topics" => Some(estimate(file.topic, file.topic_ci95)),
        "paraphrases" => Some(estimate(file.paraphrase, file.paraphrase_ci95)),
        "languages" => findings
            .multilingual
            .get("us")
            .map(|found| estimate(found.mean, found.ci95)),
        "entropy topics" => Some(format!("{:.4}", file.topic_entropy_bits)),
        "entropy paraphrases" => Some(format!("{:.4}", file.rephrase_entropy_bits)),
        _ => {
            let (distance, kind) = column.split_once(' ')?;
            let kind = if kind == "topics" {
                "topic"
            } else {
                "paraphrase"
            };
            Some(format!(
                "{:.4}",
                file.other_distances.get(distance)?.get(kind)?
            ))
        }
    }
}
