//! What is shown.

use super::measure::{CheckpointFindings, Findings};
use crate::shared::words::counted;
use concord_findings::{Exhibit, Summary, Table};

/// Scenarios that are shown.
const SHOWN: usize = 20;

/// What is kept, who read it, and some of it.
pub(crate) fn exhibits(findings: &Findings) -> Vec<Exhibit> {
    let kept: usize = findings.checkpoints.iter().map(|of| of.kept.len()).sum();
    let asked: usize = findings.checkpoints.iter().map(|of| of.asked).sum();
    let checkpoints = findings.checkpoints.iter();
    let mut all = vec![Exhibit::Summary(Summary {
        checkpoints: checkpoints
            .clone()
            .map(|of| (of.name.clone(), of.verdict.clone()))
            .collect(),
        scope: vec![counted(asked, "draft"), counted(kept, "scenario")],
        partial: None,
        sentences: checkpoints.map(sentence).collect(),
        warnings: Vec::new(),
    })];
    all.push(Exhibit::Table(raters(findings)));
    if kept > 0 {
        all.push(Exhibit::Table(some(findings)));
    }
    all
}

fn sentence(of: &CheckpointFindings) -> String {
    let name = &of.name;
    if let Some(reason) = of.verdict.reason() {
        return format!("Nothing that {name} drafted is kept: {reason}.");
    }
    format!(
        "{} of {} drafts of {name} are kept; {} are no requests or name a value, in {} the raters do not see both values, {} are like others.",
        of.kept.len(),
        of.asked,
        of.ill_formed,
        of.unseen,
        of.alike
    )
}

fn raters(findings: &Findings) -> Table {
    let rows = findings.checkpoints.iter().flat_map(|of| {
        of.raters.iter().map(|rater| {
            vec![
                of.name.clone(),
                rater.rater.clone(),
                format!("{:.2}", rater.mass),
                format!("{:.2}", rater.known),
                rater.verdict.reason().unwrap_or_default().to_owned(),
            ]
        })
    });
    Table {
        title: Some("raters".to_owned()),
        header: ["checkpoint", "rater", "mass", "known values seen", ""]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}

fn some(findings: &Findings) -> Table {
    let all = findings.checkpoints.iter().flat_map(|of| &of.kept);
    let rows = all.take(SHOWN).map(|kept| {
        let [a, b] = &kept.pair;
        vec![format!("{a} / {b}"), kept.query.clone()]
    });
    Table {
        title: Some("scenarios".to_owned()),
        header: ["values", "request"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// What the user should know.
pub(crate) fn warnings(findings: &Findings) -> Vec<String> {
    let lines = findings.checkpoints.iter().flat_map(|of| {
        of.raters.iter().filter_map(|rater| {
            let reason = rater.verdict.reason()?;
            let (name, rater) = (&of.name, &rater.rater);
            Some(format!("{name}: rater {rater} is not heard: {reason}"))
        })
    });
    lines.collect()
}
