//! Checkpoints against a base, as tables.

use super::{Model, beside, difference};
use crate::Show;
use crate::valueconsistency::axis::Axis;
use crate::valueconsistency::{Compared, Comparison, Stratum};
use concord_findings::{Exhibit, Table};
use std::fmt::Write as _;

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
        "Differences are second minus first, paired by answer, with 95 % intervals over topics (all translations of a topic are\n\
         resampled as one). p: the level at which the interval reaches 0; q: p among all measures here (Benjamini and Hochberg);\n\
         d: mean over standard deviation of the groups' differences. Topics are partially pooled: each is drawn towards the mean\n\
         of all by as much as its few originals leave it uncertain.\n"
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
    let header = [
        "",
        first,
        second,
        "difference",
        "ratio",
        "p",
        "q",
        "d",
        "pairs",
        "topics",
    ];
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
            p_value(comparison.p_value, comparison.p_is_bound),
            number(comparison.adjusted_p_value, 4),
            number(comparison.effect_size, 2),
            format!("{}{left_out}", comparison.pairs),
            comparison.clusters.to_string(),
        ]
    });
    Exhibit::Table(Table {
        title: Some(format!("{second} against {first}:")),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    })
}

/// A p-value as a cell; one at the floor of its resamples is a bound.
fn p_value(p: Option<f64>, is_bound: bool) -> String {
    let sign = if is_bound { "≤ " } else { "" };
    p.map_or_else(String::new, |p| format!("{sign}{p:.4}"))
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

/// The topics that change most, of each measure within topics.
fn topics(comparisons: &[Comparison]) -> Vec<Exhibit> {
    let mut tables = Vec::new();
    for comparison in in_order(comparisons) {
        let mut topics: Vec<_> = comparison.topics.iter().collect();
        topics.sort_by(|a, b| b.pooled.abs().total_cmp(&a.pooled.abs()));
        let rows = topics.iter().take(LISTED).map(|topic| {
            vec![
                topic.topic.clone(),
                topic.file.clone(),
                difference(topic.pooled, topic.ci95),
                format!("{:+.4}", topic.difference),
                format!("{} in {}", topic.pairs, topic.originals),
            ]
        });
        let header = [
            "topic",
            "file",
            "change, pooled",
            "its own",
            "answers, originals",
        ];
        tables.push(Exhibit::Table(Table {
            title: Some(format!(
                "{}: the {} topics of {} that change most:",
                comparison.measure.label(),
                LISTED.min(topics.len()),
                topics.len()
            )),
            header: header.map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }));
    }
    tables
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
