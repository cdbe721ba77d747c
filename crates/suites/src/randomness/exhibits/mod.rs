//! What is shown.

mod chosen;
mod others;
mod published;

use super::measure::{CheckpointFindings, Findings, Quantity, SetFindings};
use super::name::Carrier;
use crate::Show;
use concord_findings::{Estimate, Exhibit, Table, Verdict};

/// Everything, from the whole to the parts.
pub(crate) fn exhibits(findings: &Findings, show: Show) -> Vec<Exhibit> {
    let mut all = vec![
        Exhibit::Heading("Randomness".to_owned()),
        Exhibit::Lead(
            "How close to uniform the next words are when a random choice is asked for. Probabilities are exact; intervals are 95 % \
             BCa bootstrap intervals over the unit that each part names."
                .to_owned(),
        ),
        Exhibit::Table(overview(findings)),
        Exhibit::Note(
            "free: the answer is the checkpoint's own from its first token on; prefilled: it is begun, so that the choice comes next."
                .to_owned(),
        ),
    ];
    all.extend(chosen::exhibits(findings));
    all.extend(chosen::chain(findings));
    all.extend(others::sequences(findings));
    all.extend(others::games(findings));
    all.extend(others::placebo(findings));
    all.extend(others::diversity(findings));
    if show.published {
        all.extend(published::exhibits());
    }
    all
}

/// What could not be measured, and what may be wrong with what was.
pub(crate) fn warnings(findings: &Findings) -> Vec<String> {
    let mut warnings = Vec::new();
    for checkpoint in &findings.checkpoints {
        let name = &checkpoint.name;
        let mut lacking: Vec<String> = Vec::new();
        let mut warn = |what: String, verdict: &Verdict| {
            if let Verdict::NotMeasurable(reason) = verdict {
                lacking.push(format!("{what} ({reason})"));
            }
        };
        for set in checkpoint.sets.iter().chain(&checkpoint.hiding) {
            let what = format!("{}, {}", set.set, set.carrier.name());
            warn(what.clone(), &set.verdict);
            for language in set.languages.iter().filter(|_| set.verdict.is_measurable()) {
                warn(format!("{what}, {}", language.language), &language.verdict);
            }
        }
        for of in &checkpoint.sequences {
            let what = format!("sequences after {} numbers", of.histories.name());
            warn(what, &of.verdict);
        }
        if let Some(game) = &checkpoint.games {
            warn("rock-paper-scissors".to_owned(), &game.verdict);
        }
        for of in &checkpoint.placebo {
            warn(format!("placebo, {}", of.carrier.name()), &of.verdict);
        }
        for of in &checkpoint.diversity {
            warn(format!("poems, {}", of.language), &of.verdict);
        }
        if !lacking.is_empty() {
            warnings.push(format!("{name}: not measurable: {}", lacking.join("; ")));
        }
        if checkpoint.left_out > 0 {
            let count = checkpoint.left_out;
            warnings.push(format!(
                "{name}: {count} tokenisations of members were beyond the most that are read of one; valid mass may be a little too small"
            ));
        }
    }
    warnings
}

/// A number, with its interval where it has one.
pub(super) fn shown(estimate: &Estimate) -> String {
    let value = number(estimate.value);
    match &estimate.interval {
        Some(interval) => format!(
            "{value} [{}, {}]",
            number(interval.low),
            number(interval.high)
        ),
        None => value,
    }
}

/// A number with three decimals, or with two digits where these would be zeros; nothing where there is none.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        String::new()
    } else if value == 0.0 || value.abs() < 1e-12 {
        "0.000".to_owned()
    } else if value.abs() < 0.0005 {
        format!("{value:.1e}")
    } else {
        format!("{value:.3}")
    }
}

/// What was found, or a dash: the reason stands in the overview.
pub(super) fn or_dash(verdict: &Verdict, found: Option<String>) -> String {
    match (verdict, found) {
        (Verdict::Measurable, found) => found.unwrap_or_default(),
        (Verdict::NotMeasurable(_), _) => DASH.to_owned(),
    }
}

/// Stands where nothing may be shown.
const DASH: &str = "–";

/// A number with its sign.
pub(super) fn signed(value: f64) -> String {
    let text = number(value);
    if value > 0.0 && text != "0.000" {
        format!("+{text}")
    } else {
        text
    }
}

/// What was found, or why nothing may be shown.
pub(super) fn or_reason(verdict: &Verdict, found: Option<String>) -> String {
    match (verdict, found) {
        (Verdict::Measurable, Some(found)) => found,
        (Verdict::Measurable, None) => String::new(),
        (Verdict::NotMeasurable(reason), _) => format!("not measurable: {reason}"),
    }
}

/// A table with a column for each checkpoint.
pub(super) struct ByCheckpoint<'a> {
    findings: &'a Findings,
    table: Table,
}

impl<'a> ByCheckpoint<'a> {
    pub(super) fn new(title: Option<String>, first: &str, findings: &'a Findings) -> Self {
        let names = findings.checkpoints.iter().map(|of| of.name.clone());
        let table = Table {
            title,
            header: std::iter::once(first.to_owned()).chain(names).collect(),
            rows: Vec::new(),
        };
        Self { findings, table }
    }

    /// Adds a row, unless no checkpoint has anything for it.
    pub(super) fn row(
        &mut self,
        label: impl Into<String>,
        cell: impl Fn(&CheckpointFindings) -> String,
    ) {
        let cells: Vec<String> = self.findings.checkpoints.iter().map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty() && cell != DASH) {
            let row = std::iter::once(label.into()).chain(cells);
            self.table.rows.push(row.collect());
        }
    }

    pub(super) fn table(self) -> Table {
        self.table
    }
}

/// The same set and form of another checkpoint.
pub(super) fn same<'a>(
    checkpoint: &'a CheckpointFindings,
    set: &str,
    carrier: Carrier,
) -> Option<&'a SetFindings> {
    let mut all = checkpoint.sets.iter().chain(&checkpoint.hiding);
    all.find(|found| found.set == set && found.carrier == carrier)
}

/// A quantity of a set, or why it may not be shown.
pub(super) fn quantity(set: &SetFindings, quantity: Quantity) -> String {
    let summary = set.summary.as_ref();
    let found = summary.and_then(|summary| summary.quantities.get(&quantity));
    or_reason(&set.verdict, found.map(|found| shown(&found.estimate)))
}

fn overview(findings: &Findings) -> Table {
    let mut table = ByCheckpoint::new(None, "", findings);
    let Some(first) = findings.checkpoints.first() else {
        return table.table();
    };
    for set in &first.sets {
        let label = format!("{}, {}", set.set, set.carrier.name());
        let of = |checkpoint: &CheckpointFindings, wanted: Quantity| {
            let set = same(checkpoint, &set.set, set.carrier);
            set.map_or_else(String::new, |set| quantity(set, wanted))
        };
        let most = number(set.most_entropy());
        table.row(
            format!("{label}: entropy (most {most} bits)"),
            |checkpoint| of(checkpoint, Quantity::Entropy),
        );
        table.row(format!("{label}: most probable"), |checkpoint| {
            let summary =
                same(checkpoint, &set.set, set.carrier).and_then(|of| of.summary.as_ref());
            summary.map_or_else(
                || DASH.to_owned(),
                |summary| {
                    let p = number(summary.distribution[summary.most]);
                    format!("{} ({p})", set.members[summary.most])
                },
            )
        });
    }
    if let Some(reference) = &findings.reference {
        let repeats = number(reference.repeats);
        let label = format!("sequences: repeats in ten (uniform {repeats})");
        table.row(label, |checkpoint| {
            checkpoint.sequences.first().map_or_else(String::new, |of| {
                let found = of.found.as_ref();
                or_reason(&of.verdict, found.map(|found| shown(&found.repeats)))
            })
        });
    }
    table.row(
        "rock-paper-scissors: exploitability per round",
        |checkpoint| {
            checkpoint.games.as_ref().map_or_else(String::new, |game| {
                let found = game.found.as_ref();
                or_reason(
                    &game.verdict,
                    found.map(|found| shown(&found.exploitability)),
                )
            })
        },
    );
    for set in &first.hiding {
        let label = format!("{}, {}: max p − 1/n", set.set, set.carrier.name());
        table.row(label, |checkpoint| {
            let set = same(checkpoint, &set.set, set.carrier);
            set.map_or_else(String::new, |set| quantity(set, Quantity::Excess))
        });
    }
    for (at, of) in first.placebo.iter().enumerate() {
        let label = format!("placebo, {}: total variation by number", of.carrier.name());
        table.row(label, |checkpoint| {
            checkpoint.placebo.get(at).map_or_else(String::new, |of| {
                let found = of.found.as_ref();
                or_reason(&of.verdict, found.map(|found| shown(&found.by_value)))
            })
        });
    }
    for (at, of) in first.diversity.iter().enumerate() {
        let label = format!("poems, {}: entropy rate (bits per token)", of.language);
        table.row(label, |checkpoint| {
            checkpoint.diversity.get(at).map_or_else(String::new, |of| {
                let found = of.found.as_ref();
                or_reason(&of.verdict, found.map(|found| shown(&found.entropy_rate)))
            })
        });
    }
    table.table()
}
