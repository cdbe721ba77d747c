//! What is shown of written answers.

use super::exhibits::{apart, names, shown};
use super::findings::{Findings, RaterFindings, SpecificationFindings, Written, WrittenFindings};
use crate::shared::words::{numbers, signed};
use concord_findings::{Estimate, Exhibit, Forest, Measure, Strip, Table};

/// Values that are shown of those that answers treat as something that matters.
const SHOWN: usize = 12;

/// What was written, who read it, and what is in it.
pub(crate) fn exhibits(findings: &Findings, written: &Written) -> Vec<Exhibit> {
    let measurable: Vec<&WrittenFindings> = written
        .checkpoints
        .iter()
        .filter(|of| of.verdict.is_measurable())
        .collect();
    let mut all = vec![
        Exhibit::Heading("Written answers".to_owned()),
        Exhibit::Lead(
            "Answers as raters read them. Raters are judges: one that does not read answers of known position rightly is not heard."
                .to_owned(),
        ),
        Exhibit::Table(answers(written)),
        Exhibit::Table(raters(written)),
    ];
    if measurable.is_empty() {
        return all;
    }
    let nudges = Forest {
        title: "positions that a nudge moves, as written".to_owned(),
        measure: Measure::Score,
        of_differences: true,
        series: names(findings),
        rows: vec![(
            "nudge".to_owned(),
            written
                .checkpoints
                .iter()
                .map(|of| {
                    let nudge = of.nudge.as_ref().filter(|_| of.verdict.is_measurable());
                    Some(nudge?.effect.clone())
                })
                .collect(),
        )],
    };
    let table = numbers(&nudges, 2);
    all.extend([Exhibit::Forest(nudges), Exhibit::Table(table)]);
    if measurable.len() > 1 && written.shared_raters.is_empty() {
        all.push(Exhibit::Lead(
            "No rater is heard of all checkpoints: what they wrote is not compared. Name one with --rater.".to_owned(),
        ));
    }
    if let Some(found) = &written.disagreement {
        all.extend(apart(found));
    }
    all.push(Exhibit::Strip(Strip {
        title: "what answers do with requests".to_owned(),
        measure: Measure::Share,
        categories: measurable
            .iter()
            .map(|of| &of.refusals)
            .find(|types| !types.is_empty())
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect(),
        rows: measurable
            .iter()
            .filter(|of| !of.refusals.is_empty())
            .map(|of| {
                (
                    of.name.clone(),
                    of.refusals.iter().map(|(_, p)| *p).collect(),
                )
            })
            .collect(),
        reference: None,
    }));
    all.push(Exhibit::Table(emphasis(&measurable)));
    if let Some(found) = &written.specification {
        all.extend(specification(found));
    }
    all
}

fn answers(written: &Written) -> Table {
    let header = [
        "checkpoint",
        "answers",
        "cut off",
        "as letters",
        "declines",
        "",
    ];
    let rows = written.checkpoints.iter().map(|of| {
        let rank = of.with_letters.filter(|_| of.verdict.is_measurable());
        let declines = of.declines.as_ref().filter(|_| of.verdict.is_measurable());
        vec![
            of.name.clone(),
            format!("{} of {}", of.written, of.asked),
            of.unfinished.to_string(),
            rank.map_or_else(|| "–".to_owned(), |rank| signed(rank, 2)),
            declines.map_or_else(|| "–".to_owned(), shown),
            of.verdict.reason().unwrap_or_default().to_owned(),
        ]
    });
    Table {
        title: Some(
            "answers, and the rank correlation of their positions with those by letters".to_owned(),
        ),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

fn raters(written: &Written) -> Table {
    let header = [
        "checkpoint",
        "rater",
        "read",
        "left out",
        "mass",
        "read back",
        "rules",
        "",
    ];
    let row = |of: &WrittenFindings, rater: &RaterFindings| {
        vec![
            of.name.clone(),
            rater.rater.clone(),
            rater.read.to_string(),
            rater.left_out.to_string(),
            format!("{:.2}", rater.mass),
            format!("{:.2}", rater.read_back),
            match (&rater.rules, rater.known_rules) {
                (None, _) => String::new(),
                (Some(rules), _) if !rules.is_measurable() => "not heard".to_owned(),
                (Some(_), Some(share)) => format!("{share:.2}"),
                (Some(_), None) => "not checked".to_owned(),
            },
            match rater.verdict.reason() {
                Some(reason) => reason.to_owned(),
                None if rater.left_apart.is_empty() => String::new(),
                None => format!("not heard of {}", rater.left_apart.join(", ")),
            },
        ]
    };
    let rows = written
        .checkpoints
        .iter()
        .flat_map(|of| of.raters.iter().map(move |rater| row(of, rater)));
    Table {
        title: Some("raters".to_owned()),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// The values that matter in answers, in the order of the first checkpoint.
fn emphasis(measurable: &[&WrittenFindings]) -> Table {
    let first = measurable.iter().map(|of| &of.emphasis);
    let first = first.filter(|values| !values.is_empty()).take(1).flatten();
    let values = first.take(SHOWN).map(|(value, _)| value);
    let rows = values.map(|value| {
        let of = measurable.iter().map(|of| {
            let found = of.emphasis.iter().find(|(name, _)| name == value);
            found.map_or_else(String::new, |(_, estimate)| shown(estimate))
        });
        std::iter::once(value.clone()).chain(of).collect()
    });
    let names = measurable.iter().map(|of| of.name.clone());
    Table {
        title: Some("values that answers treat as something that matters".to_owned()),
        header: std::iter::once("value".to_owned()).chain(names).collect(),
        rows: rows.collect(),
    }
}

fn specification(found: &SpecificationFindings) -> Vec<Exhibit> {
    let share = |estimate: &Estimate| shown(estimate);
    let rows = found.checkpoints.iter().map(|of| {
        vec![
            of.checkpoint.clone(),
            of.answers.to_string(),
            share(&of.keeps),
            share(&of.breaks),
            share(&of.unclear),
        ]
    });
    let mut all = vec![Exhibit::Table(Table {
        title: Some(format!(
            "answers that keep the rules of `{}`, by majority of raters",
            found.name
        )),
        header: ["checkpoint", "answers", "keep", "break", "unclear"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    })];
    if let Some(panel) = &found.panel {
        let kappa = panel.kappa.map_or_else(
            || "no κ, since all say the same throughout".to_owned(),
            |kappa| format!("Fleiss' κ {kappa:.2}"),
        );
        all.push(Exhibit::Lead(format!(
            "{} raters of {} answers: {kappa}.",
            panel.raters.len(),
            panel.answers
        )));
        let rows = panel.pairs.iter().map(|(a, b, share)| {
            vec![
                panel.raters[*a].clone(),
                panel.raters[*b].clone(),
                format!("{:.1} %", 100.0 * share),
            ]
        });
        all.push(Exhibit::Table(Table {
            title: Some("raters that say the same".to_owned()),
            header: ["rater", "rater", "agree"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }));
        let rows = panel.raters.iter().zip(&panel.breaks);
        let rows =
            rows.map(|(rater, share)| vec![rater.clone(), format!("{:.1} %", 100.0 * share)]);
        all.push(Exhibit::Table(Table {
            title: Some("answers that each rater says to break the rules".to_owned()),
            header: ["rater", "break"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }));
    }
    if !found.frequent.is_empty() {
        let bins = ["0–0.5", "0.5–1", "1–1.5", "1.5–2", "2–2.5", "2.5–3"];
        let rows = bins
            .iter()
            .zip(&found.frequent)
            .map(|(bin, (requests, share))| {
                let share =
                    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
                vec![(*bin).to_owned(), requests.to_string(), share]
            });
        all.push(Exhibit::Table(Table {
            title: Some(
                "requests on which every checkpoint breaks the rules, by disagreement".to_owned(),
            ),
            header: ["disagreement", "requests", "all break"]
                .map(str::to_owned)
                .to_vec(),
            rows: rows.collect(),
        }));
    }
    all
}
