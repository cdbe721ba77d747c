//! What is exported.

use super::{Axis, RunFindings};
use concord_findings::{Cell, LongTable};

/// Measures, files, topics and comparisons in long form.
pub(super) fn tables(found: &RunFindings) -> Vec<LongTable> {
    vec![
        measures(found),
        files(found),
        topics(found),
        comparisons(found),
    ]
}

/// What the first checkpoint is compared with, and in which measure.
fn key(axis: Axis) -> Cell {
    axis.label().into()
}

fn measures(found: &RunFindings) -> LongTable {
    let mut table = LongTable::new(
        "measures",
        &[
            "checkpoint",
            "across",
            "distance (√nat)",
            "low",
            "high",
            "share of the largest",
            "answers",
            "groups",
            "alone",
        ],
    );
    for (name, measured) in found.names.iter().zip(&found.measured) {
        for (axis, of_axis) in &measured.findings.overall {
            table.push([
                name.as_str().into(),
                key(*axis),
                of_axis.mean.into(),
                of_axis.ci95[0].into(),
                of_axis.ci95[1].into(),
                of_axis.of_maximum.into(),
                of_axis.distances.into(),
                of_axis.groups.into(),
                of_axis.alone.into(),
            ]);
        }
    }
    table
}

fn files(found: &RunFindings) -> LongTable {
    let mut table = LongTable::new(
        "files",
        &[
            "checkpoint",
            "file",
            "across",
            "distance (√nat)",
            "low",
            "high",
        ],
    );
    for (name, measured) in found.names.iter().zip(&found.measured) {
        for (file, of_file) in &measured.findings.files {
            let by_axis = [
                (
                    Axis::Paraphrases,
                    of_file.paraphrase,
                    of_file.paraphrase_ci95,
                ),
                (Axis::Topics, of_file.topic, of_file.topic_ci95),
            ];
            for (axis, mean, [low, high]) in by_axis {
                table.push([
                    name.as_str().into(),
                    file.as_str().into(),
                    key(axis),
                    mean.into(),
                    low.into(),
                    high.into(),
                ]);
            }
        }
    }
    table
}

fn topics(found: &RunFindings) -> LongTable {
    let mut table = LongTable::new(
        "support",
        &["checkpoint", "file", "topic", "probability", "low", "high"],
    );
    for (name, measured) in found.names.iter().zip(&found.measured) {
        for topic in &measured.findings.support.topics {
            table.push([
                name.as_str().into(),
                topic.file.as_str().into(),
                topic.topic.as_str().into(),
                topic.mean.into(),
                topic.ci95[0].into(),
                topic.ci95[1].into(),
            ]);
        }
    }
    table
}

fn comparisons(found: &RunFindings) -> LongTable {
    let mut table = LongTable::new(
        "comparisons",
        &[
            "first",
            "second",
            "across",
            "of first",
            "of second",
            "difference",
            "low",
            "high",
            "p",
            "d",
            "pairs",
        ],
    );
    let others = found.names.iter().skip(1).zip(&found.comparisons);
    for (second, comparisons) in others {
        for one in comparisons {
            table.push([
                found.names[0].as_str().into(),
                second.as_str().into(),
                key(one.measure),
                one.first.into(),
                one.second.into(),
                one.difference.into(),
                one.ci95[0].into(),
                one.ci95[1].into(),
                one.p_value.into(),
                one.effect_size.into(),
                one.pairs.into(),
            ]);
        }
    }
    table
}
