//! A run as tables: a column a checkpoint, then the difference.

use crate::{published, sections, table, text};
use concord_suites::valueconsistency::{Comparison, Consistency, Findings};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// One checkpoint of a run.
pub struct ModelReport<'a> {
    /// Its name.
    pub name: &'a str,
    /// What was found.
    pub findings: &'a Findings,
    /// What it cost, as the manifest has it.
    pub cost: Option<Value>,
}

/// A run.
pub struct RunReport<'a> {
    /// The checkpoints; the first is what the others are compared with.
    pub models: Vec<ModelReport<'a>>,
    /// Comparisons of the second and later checkpoints with the first.
    pub comparisons: &'a [Vec<Comparison>],
    /// Originals that each file was cut to.
    pub limit: Option<u64>,
    /// The run directory.
    pub out: Option<String>,
    /// Whether the study's published values stand beside.
    pub with_published: bool,
}

/// The measures by their name in findings and in words.
pub(crate) const MEASURES: [(&str, &str); 8] = [
    ("paraphrase", "paraphrases"),
    ("topic", "topics"),
    ("multilingual", "languages"),
    ("task_format", "letters vs texts"),
    ("task_format_letter_open", "letters vs open"),
    ("task_format_cloze_open", "texts vs open"),
    ("task_format_all", "all three formats"),
    ("support", "support"),
];

impl RunReport<'_> {
    /// The tables for people.
    pub fn human(&self) -> String {
        let mut out = String::new();
        out.push_str("Inconsistency: mean distance of answers to their group's Jensen-Shannon centroid (0 is consistent;\n");
        out.push_str(
            "0.4645 is the most that two opposite answers can have), with 95 % BCa intervals.\n\n",
        );
        out.push_str(&self.overall());
        out.push_str(&self.by_file());
        out.push_str(&sections::sizes(&self.models));
        out.push_str(&sections::validated(&self.models));
        out.push_str(&sections::controversy(&self.models));
        out.push_str(&sections::abstention(&self.models));
        out.push_str(&sections::open(&self.models));
        out.push_str(&sections::steering(&self.models));
        out.push_str(&sections::support(&self.models));
        out.push_str(&sections::trust(&self.models));
        if self.with_published {
            out.push_str(&published::beside(&self.models));
        }
        out.push_str(&sections::counts(&self.models));
        out.push_str(&self.costs());
        if let Some(limit) = self.limit {
            let _ = writeln!(
                out,
                "\npartial: only the first {limit} of the originals of each country were asked"
            );
        }
        if let Some(path) = &self.out {
            let _ = writeln!(out, "\nstored in {path}");
        }
        out
    }

    fn header(&self, first: &str, differences: bool) -> Vec<String> {
        let mut header = vec![first.to_owned()];
        header.extend(self.models.iter().map(|model| model.name.to_owned()));
        if differences && self.comparisons.len() == 1 {
            header.push("difference".to_owned());
        } else if differences {
            header.extend(
                self.models
                    .iter()
                    .skip(1)
                    .map(|model| format!("{} - {}", model.name, self.models[0].name)),
            );
        }
        header
    }

    fn overall(&self) -> String {
        let mut table = table(self.header("across", true));
        for (key, words) in MEASURES {
            let found: Vec<Option<&Consistency>> = self
                .models
                .iter()
                .map(|model| model.findings.overall.get(key))
                .collect();
            if found.iter().all(Option::is_none) {
                continue;
            }
            let mut row = vec![words.to_owned()];
            row.extend(
                found
                    .iter()
                    .map(|found| found.map_or_else(String::new, |c| estimate(c.mean, c.ci95))),
            );
            for comparison in self.comparisons {
                let hit = comparison
                    .iter()
                    .find(|comparison| comparison.measure == key);
                row.push(hit.map_or_else(String::new, |c| {
                    let sign = |value: f64| format!("{value:+.4}");
                    format!(
                        "{} [{}, {}]",
                        sign(c.difference),
                        sign(c.ci95[0]),
                        sign(c.ci95[1])
                    )
                }));
            }
            table.add_row(row);
        }
        text(&table)
    }

    fn by_file(&self) -> String {
        let mut out = String::new();
        for (title, number) in [
            (
                "paraphrases",
                (|findings: &Findings, file: &str| {
                    findings
                        .files
                        .get(file)
                        .map(|f| (f.paraphrase, f.paraphrase_ci95))
                }) as fn(&Findings, &str) -> Option<(f64, [f64; 2])>,
            ),
            ("topics", |findings, file| {
                findings.files.get(file).map(|f| (f.topic, f.topic_ci95))
            }),
            ("languages", |findings, file| {
                findings.multilingual.get(file).map(|m| (m.mean, m.ci95))
            }),
            ("letters vs texts", |findings, file| {
                findings.task_format.get(file).map(|t| (t.mean, t.ci95))
            }),
        ] {
            let names: BTreeSet<&String> = self
                .models
                .iter()
                .flat_map(|model| {
                    model
                        .findings
                        .files
                        .keys()
                        .chain(model.findings.multilingual.keys())
                })
                .collect();
            let rows: Vec<Vec<String>> = names
                .iter()
                .map(|name| {
                    let cells = self.models.iter().map(|model| {
                        number(model.findings, name)
                            .map_or_else(String::new, |(mean, ci95)| estimate(mean, ci95))
                    });
                    std::iter::once((*name).clone())
                        .chain(cells)
                        .collect::<Vec<String>>()
                })
                .filter(|row| row[1..].iter().any(|cell| !cell.is_empty()))
                .collect();
            // One file alone is the overall row again.
            if rows.len() < 2 {
                continue;
            }
            let mut table = table(self.header(title, false));
            table.add_rows(rows);
            let _ = write!(out, "\n{}", text(&table));
        }
        out
    }

    fn costs(&self) -> String {
        let mut out = String::new();
        for model in &self.models {
            let Some(cost) = &model.cost else { continue };
            let count = |key: &str| cost.get(key).and_then(Value::as_u64);
            let Some(rows) = count("rows_computed") else {
                continue;
            };
            let (asked, trie) = (
                count("tokens_asked").unwrap_or(0),
                count("trie_rows").unwrap_or(0),
            );
            let rate = |key: &str| cost.get(key).and_then(Value::as_f64).unwrap_or(0.0);
            let _ = write!(
                out,
                "\n{}: {} prompts, {asked} tokens asked, {trie} trie rows, {rows} rows computed ({:.2} of the trie, {:.2} \
                 of the tokens), {:.1} s, {:.0} prompts/s, {:.0} rows/s",
                model.name,
                count("prompts").unwrap_or(0),
                rows as f64 / trie.max(1) as f64,
                rows as f64 / asked.max(1) as f64,
                rate("seconds"),
                rate("prompts_per_s"),
                rate("rows_per_s"),
            );
            if let Some(texts) = cost.get("texts") {
                let of = |key: &str| texts.get(key).and_then(Value::as_f64).unwrap_or(0.0);
                let _ = write!(
                    out,
                    "; {} texts of {} tokens written in {:.1} s, {:.0} tokens/s",
                    of("texts"),
                    of("tokens"),
                    of("seconds"),
                    of("tokens_per_s")
                );
            }
            if let Some(resumed) = count("resumed").filter(|resumed| *resumed > 0) {
                let _ = write!(out, "; {resumed} prompts were read before");
            }
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out
    }
}

pub(crate) fn estimate(mean: f64, [low, high]: [f64; 2]) -> String {
    if mean.is_nan() {
        // Nothing to compare an answer with.
        return "–".to_owned();
    }
    format!("{mean:.4} [{low:.4}, {high:.4}]")
}
