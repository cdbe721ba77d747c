//! Checkpoints against a base, as tables.

use super::{Model, beside, difference};
use crate::Show;
use crate::valueconsistency::axis::Axis;
use crate::valueconsistency::{Compared, Comparison, Stratum};
use concord_findings::{Exhibit, Table};
use std::fmt::Write as _;

/// Adjusted p-values below this are listed.
const LEVEL: f64 = 0.05;
/// Topics that are listed of each measure.
const LISTED: usize = 8;

/// The exhibits of a comparison alone.
pub(super) fn exhibits(
    models: &[Model<'_>],
    comparisons: &[Vec<Comparison>],
    compared: &Compared,
    show: Show,
) -> Vec<Exhibit> {
    let mut out = Vec::new();
    let Some((first, others)) = models.split_first() else {
        return out;
    };
    for (second, comparisons) in others.iter().zip(comparisons) {
        out.push(overall(first.name, second.name, comparisons));
        out.extend(topics(comparisons));
        out.extend(artefacts(comparisons));
    }
    out.push(Exhibit::Note(
        "Differences are second minus first, paired by answer, with 95 % BCa intervals. p: groups of answers flip their\n\
         signs as a whole; d: mean over standard deviation of the groups' differences; q: p among all topics (Benjamini and\n\
         Hochberg), where questions of a topic are taken for independent.\n"
            .to_owned(),
    ));
    let mut counts = format!("{} questions compared", compared.questions);
    for (name, count) in &compared.left_out {
        let _ = write!(counts, "; {count} of {name} left out");
    }
    counts.push('\n');
    out.push(Exhibit::Note(counts));
    if show.published {
        out.extend(beside::for_pairs(models));
    }
    out
}

fn overall(first: &str, second: &str, comparisons: &[Comparison]) -> Exhibit {
    let header = ["", first, second, "difference", "ratio", "p", "d", "pairs"];
    let rows = in_order(comparisons).map(|comparison| {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        let left_out = if comparison.left_out > 0 {
            format!(" ({} left out)", comparison.left_out)
        } else {
            String::new()
        };
        vec![
            comparison.measure.label().to_owned(),
            format!("{:.4}", comparison.first),
            format!("{:.4}", comparison.second),
            difference(comparison.difference, comparison.ci95),
            number(comparison.ratio, 2),
            number(comparison.p_value, 4),
            number(comparison.effect_size, 2),
            format!("{}{left_out}", comparison.pairs),
        ]
    });
    Exhibit::Table(Table {
        title: Some(format!("{second} against {first}:")),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    })
}

/// In the order in which measures are always listed.
fn in_order(comparisons: &[Comparison]) -> impl Iterator<Item = &Comparison> {
    let of = |axis: Axis| {
        comparisons
            .iter()
            .find(|comparison| comparison.measure == axis)
    };
    Axis::ALL.into_iter().filter_map(of)
}

/// The topics that differ most surely.
fn topics(comparisons: &[Comparison]) -> Vec<Exhibit> {
    let mut notes = Vec::new();
    for comparison in in_order(comparisons) {
        let mut sure: Vec<_> = comparison
            .topics
            .iter()
            .filter(|topic| topic.adjusted_p_value.is_some_and(|q| q < LEVEL))
            .collect();
        if comparison.topics.is_empty() {
            continue;
        }
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}: {} of {} topics differ (q < {LEVEL})",
            comparison.measure.label().to_owned(),
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
        notes.push(Exhibit::Note(out));
    }
    notes
}

/// What remains of differences where letters can be trusted.
fn artefacts(comparisons: &[Comparison]) -> Option<Exhibit> {
    let header = [
        "difference",
        "all",
        "label mass >= 0.5",
        "letter A within 0.4 and 0.6",
        "no flip with order",
        "position-debiased",
    ];
    let mut rows = Vec::new();
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
        rows.push(vec![
            comparison.measure.label().to_owned(),
            difference(comparison.difference, comparison.ci95),
            cell(artefacts.label_mass),
            cell(artefacts.letter_prior),
            cell(artefacts.order),
            cell(artefacts.debiased),
        ]);
    }
    (!rows.is_empty()).then(|| {
        Exhibit::Table(Table {
            title: Some("Where letters can be trusted (pairs in brackets):".to_owned()),
            header: header.map(str::to_owned).to_vec(),
            rows,
        })
    })
}
