//! What is shown of a run or of a comparison.

mod beside;
mod book;
mod comparison;
mod figures;
mod levels;
mod sections;
mod tables;
mod verdict;

use super::{CheckpointAssessment, Comparison, Findings, RunFindings};
use crate::Show;
use concord_findings::Exhibit;

/// One checkpoint of a run.
#[derive(Clone, Copy)]
struct Model<'a> {
    name: &'a str,
    findings: &'a Findings,
    assessed: &'a CheckpointAssessment,
}

/// A run: its checkpoints, and how those after the first differ from it.
struct Run<'a> {
    models: &'a [Model<'a>],
    comparisons: &'a [Vec<Comparison>],
}

/// What is shown.
pub(super) fn exhibits(found: &RunFindings, show: Show) -> Vec<Exhibit> {
    let models = found.names.iter().zip(&found.measured);
    let models: Vec<Model<'_>> = models
        .zip(&found.assessment.checkpoints)
        .map(|((name, measured), assessed)| Model {
            name,
            findings: &measured.findings,
            assessed,
        })
        .collect();
    let mut out = verdict(found, show);
    if let Some(compared) = &found.compared {
        out.extend(comparison::exhibits(
            &models,
            &found.comparisons,
            compared,
            show,
        ));
        return out;
    }
    let run = Run {
        models: &models,
        comparisons: &found.comparisons,
    };
    out.push(Exhibit::Lead(
        "Inconsistency: mean distance of answers to their group's Jensen-Shannon centroid (0 is consistent;\n\
         0.4645 is the most that two opposite answers can have), answers averaged over orders, with 95 % intervals over topics.\n"
            .to_owned(),
    ));
    out.extend(run.figures(show));
    out.push(run.overall());
    out.extend(run.by_file());
    let sections = [
        sections::sizes,
        sections::validated,
        sections::controversy,
        sections::abstention,
        sections::open,
        sections::steering,
    ];
    out.extend(sections.iter().filter_map(|section| section(&models)));
    out.extend(sections::support(&models));
    out.extend(sections::trust(&models));
    if show.published {
        out.extend(beside::beside(&models));
    }
    out.push(sections::counts(&models));
    out
}

/// The verdict and what it rests on.
fn verdict(found: &RunFindings, show: Show) -> Vec<Exhibit> {
    let mut out = vec![Exhibit::Summary(verdict::summary(found))];
    out.extend(levels::levels(found).map(Exhibit::Levels));
    out.push(Exhibit::Checks(levels::checks(found)));
    out.extend(levels::histogram(found).map(Exhibit::Strip));
    let topics = levels::topics(found);
    let book = topics
        .as_ref()
        .filter(|_| show.answers)
        .map(|topics| book::book(found, topics));
    out.extend(topics.map(Exhibit::Topics));
    out.extend(book.map(|book| Exhibit::Answers(Box::new(book))));
    out
}

/// A mean with its interval, as a cell.
fn interval(mean: f64, [low, high]: [f64; 2]) -> String {
    if mean.is_nan() {
        // Nothing to compare an answer with.
        return "–".to_owned();
    }
    if low.is_nan() {
        // Too few topics for one.
        return format!("{mean:.4}");
    }
    format!("{mean:.4} [{low:.4}, {high:.4}]")
}

/// A difference with its interval, as a cell.
fn difference(value: f64, [low, high]: [f64; 2]) -> String {
    if low.is_nan() {
        return format!("{value:+.4}");
    }
    format!("{value:+.4} [{low:+.4}, {high:+.4}]")
}
