//! Checkpoints against a base, as tables.

use crate::run::{MEASURES, ModelReport};
use crate::{published, table, text};
use concord_suites::valueconsistency::{Comparison, Stratum};
use std::fmt::Write as _;

/// What `compare` found.
pub struct ComparisonReport<'a> {
    /// What the others are compared with.
    pub first: &'a str,
    /// The others, each with its comparisons.
    pub others: Vec<(&'a str, &'a [Comparison])>,
    /// All of them, the first included.
    pub models: Vec<ModelReport<'a>>,
    /// Questions compared.
    pub questions: usize,
    /// Questions left out, by checkpoint.
    pub left_out: Vec<(String, u64)>,
    /// Whether the study's published values stand beside.
    pub with_published: bool,
}

/// Adjusted p-values below this are listed.
const LEVEL: f64 = 0.05;
/// Topics that are listed of each measure.
const LISTED: usize = 8;

impl ComparisonReport<'_> {
    /// The tables for people.
    pub fn human(&self) -> String {
        let mut out = String::new();
        for (second, comparisons) in &self.others {
            let _ = writeln!(out, "{second} against {}:\n", self.first);
            out.push_str(&self.overall(second, comparisons));
            out.push_str(&topics(comparisons));
            out.push_str(&artefacts(comparisons));
            out.push('\n');
        }
        out.push_str(
            "Differences are second minus first, paired by answer, with 95 % BCa intervals. p: groups of answers flip their\n\
             signs as a whole; d: mean over standard deviation of the groups' differences; q: p among all topics (Benjamini and\n\
             Hochberg), where questions of a topic are taken for independent.\n",
        );
        let _ = write!(out, "\n{} questions compared", self.questions);
        for (name, count) in &self.left_out {
            let _ = write!(out, "; {count} of {name} left out");
        }
        out.push('\n');
        if self.with_published {
            out.push_str(&published::of_pairs(&self.models));
        }
        out
    }

    fn overall(&self, second: &str, comparisons: &[Comparison]) -> String {
        let header = [
            "",
            self.first,
            second,
            "difference",
            "ratio",
            "p",
            "d",
            "pairs",
        ];
        let mut table = table(header.into_iter().map(str::to_owned));
        for comparison in in_order(comparisons) {
            let number = |value: Option<f64>, digits: usize| {
                value.map_or_else(String::new, |value| format!("{value:.digits$}"))
            };
            let left_out = if comparison.left_out > 0 {
                format!(" ({} left out)", comparison.left_out)
            } else {
                String::new()
            };
            table.add_row([
                words(comparison.measure),
                format!("{:.4}", comparison.first),
                format!("{:.4}", comparison.second),
                difference(comparison.difference, comparison.ci95),
                number(comparison.ratio, 2),
                number(comparison.p_value, 4),
                number(comparison.effect_size, 2),
                format!("{}{left_out}", comparison.pairs),
            ]);
        }
        text(&table)
    }
}

/// In the order in which measures are always listed.
fn in_order(comparisons: &[Comparison]) -> impl Iterator<Item = &Comparison> {
    let of = |key: &str| {
        comparisons
            .iter()
            .find(|comparison| comparison.measure == key)
    };
    MEASURES.iter().filter_map(move |(key, _)| of(key))
}

fn words(measure: &str) -> String {
    let known = MEASURES.iter().find(|(key, _)| *key == measure);
    known.map_or_else(|| measure.to_owned(), |(_, words)| (*words).to_owned())
}

fn difference(value: f64, [low, high]: [f64; 2]) -> String {
    format!("{value:+.4} [{low:+.4}, {high:+.4}]")
}

/// The topics that differ most surely.
fn topics(comparisons: &[Comparison]) -> String {
    let mut out = String::new();
    for comparison in in_order(comparisons) {
        let mut sure: Vec<_> = comparison
            .topics
            .iter()
            .filter(|topic| topic.adjusted_p_value.is_some_and(|q| q < LEVEL))
            .collect();
        if comparison.topics.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "\n{}: {} of {} topics differ (q < {LEVEL})",
            words(comparison.measure),
            sure.len(),
            comparison.topics.len()
        );
        sure.sort_by(|a, b| b.difference.abs().total_cmp(&a.difference.abs()));
        for topic in sure.iter().take(LISTED) {
            let _ = writeln!(
                out,
                "  {:+.4}  {} ({}), q = {:.4}",
                topic.difference,
                topic.topic,
                topic.file,
                topic.adjusted_p_value.unwrap_or(1.0)
            );
        }
        if sure.len() > LISTED {
            let _ = writeln!(
                out,
                "  and {} more (--format json has all)",
                sure.len() - LISTED
            );
        }
    }
    out
}

/// What remains of differences where letters can be trusted.
fn artefacts(comparisons: &[Comparison]) -> String {
    let header = [
        "difference",
        "all",
        "label mass >= 0.5",
        "letter A within 0.4 and 0.6",
        "no flip with order",
        "without bias to places",
    ];
    let mut table = table(header.into_iter().map(str::to_owned));
    let mut empty = true;
    for comparison in in_order(comparisons) {
        let Some(artefacts) = comparison.artefacts else {
            continue;
        };
        let cell = |stratum: Option<Stratum>| {
            stratum.map_or_else(
                || "no question".to_owned(),
                |found| {
                    format!(
                        "{} ({})",
                        difference(found.difference, found.ci95),
                        found.pairs
                    )
                },
            )
        };
        table.add_row([
            words(comparison.measure),
            difference(comparison.difference, comparison.ci95),
            cell(artefacts.label_mass),
            cell(artefacts.letter_prior),
            cell(artefacts.order),
            cell(artefacts.debiased),
        ]);
        empty = false;
    }
    if empty {
        return String::new();
    }
    format!(
        "\nWhere letters can be trusted (pairs in brackets):\n\n{}",
        text(&table)
    )
}
