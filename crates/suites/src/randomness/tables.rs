//! What is exported.

use super::measure::{CheckpointFindings, Findings, Quantity, SetFindings};
use concord_findings::{Cell, Estimate, LongTable, Verdict};

/// All tables.
pub(crate) fn tables(findings: &Findings) -> Vec<LongTable> {
    vec![
        distributions(findings),
        measures(findings),
        sequences(findings),
        repeats(findings),
        games(findings),
        placebo(findings),
        diversity(findings),
        chain(findings),
    ]
}

fn reason(verdict: &Verdict) -> Cell {
    match verdict {
        Verdict::Measurable => Cell::Missing,
        Verdict::NotMeasurable(reason) => reason.as_str().into(),
    }
}

/// Adds a row of what may not be shown: how it begins, nothing, and why.
fn push_reason(table: &mut LongTable, mut row: Vec<Cell>, verdict: &Verdict) {
    row.resize(table.columns.len() - 1, Cell::Missing);
    row.push(reason(verdict));
    table.push(row);
}

fn with_ends(estimate: &Estimate) -> [Cell; 5] {
    let end = |of: fn(&concord_findings::Interval) -> f64| -> Cell {
        estimate.interval.as_ref().map(of).into()
    };
    [
        estimate.value.into(),
        end(|interval| interval.low),
        end(|interval| interval.high),
        estimate.n.into(),
        estimate.unit.into(),
    ]
}

fn sets(of: &CheckpointFindings) -> impl Iterator<Item = &SetFindings> {
    of.sets.iter().chain(&of.hiding)
}

fn distributions(findings: &Findings) -> LongTable {
    let columns = [
        "checkpoint",
        "set",
        "form",
        "language",
        "wording",
        "member",
        "probability",
        "mass",
        "not_measurable",
    ];
    let mut table = LongTable::new("randomness_distributions", &columns);
    for checkpoint in &findings.checkpoints {
        for set in sets(checkpoint) {
            for wording in &set.wordings {
                let language = set
                    .languages
                    .iter()
                    .find(|of| of.language == wording.language);
                let why = match (&set.verdict, language) {
                    (Verdict::Measurable, Some(language)) => reason(&language.verdict),
                    (verdict, _) => reason(verdict),
                };
                for (at, member) in set.members.iter().enumerate() {
                    let p = wording
                        .distribution
                        .as_ref()
                        .and_then(|p| p.get(at))
                        .copied();
                    table.push([
                        checkpoint.name.as_str().into(),
                        set.set.as_str().into(),
                        set.carrier.name().into(),
                        wording.language.as_str().into(),
                        wording.wording.into(),
                        member.as_str().into(),
                        p.into(),
                        wording.mass.into(),
                        why.clone(),
                    ]);
                }
            }
        }
    }
    table
}

fn measures(findings: &Findings) -> LongTable {
    let columns = [
        "checkpoint",
        "set",
        "form",
        "language",
        "measure",
        "value",
        "low",
        "high",
        "n",
        "unit",
        "least",
        "most",
        "deviation",
        "of_mean_distribution",
        "not_measurable",
    ];
    let mut table = LongTable::new("randomness_measures", &columns);
    for checkpoint in &findings.checkpoints {
        for set in sets(checkpoint) {
            let all = std::iter::once(("all", &set.mass, &set.verdict, set.summary.as_ref()));
            let languages = set.languages.iter().map(|of| {
                let verdict = if set.verdict.is_measurable() {
                    &of.verdict
                } else {
                    &set.verdict
                };
                (of.language.as_str(), &of.mass, verdict, of.summary.as_ref())
            });
            for (language, mass, verdict, summary) in all.chain(languages) {
                let start = || -> Vec<Cell> {
                    vec![
                        checkpoint.name.as_str().into(),
                        set.set.as_str().into(),
                        set.carrier.name().into(),
                        language.into(),
                    ]
                };
                let Some(summary) = summary else {
                    let mut row = start();
                    row.push(Quantity::Mass.label().into());
                    row.extend(with_ends(mass));
                    push_reason(&mut table, row, verdict);
                    continue;
                };
                for (quantity, found) in &summary.quantities {
                    let mut row = start();
                    row.push(quantity.label().into());
                    row.extend(with_ends(&found.estimate));
                    let more = [
                        found.range[0],
                        found.range[1],
                        found.deviation,
                        found.of_mean,
                    ];
                    row.extend(more.map(Cell::from));
                    table.push(row);
                }
            }
        }
    }
    table
}

fn sequences(findings: &Findings) -> LongTable {
    let columns = [
        "checkpoint",
        "histories",
        "language",
        "wording",
        "sequence",
        "repeats",
        "adjacent_repeats",
        "repeats_avoided",
        "repeats_held_back",
        "not_measurable",
    ];
    let mut table = LongTable::new("randomness_sequences", &columns);
    for checkpoint in &findings.checkpoints {
        for of in &checkpoint.sequences {
            let start = || [checkpoint.name.as_str().into(), of.histories.name().into()];
            let Some(found) = &of.found else {
                push_reason(&mut table, start().into(), &of.verdict);
                continue;
            };
            for (number, (language, wording, values)) in found.each.iter().enumerate() {
                let mut row: Vec<Cell> = start().into();
                row.extend([
                    language.as_str().into(),
                    (*wording).into(),
                    (number + 1).into(),
                ]);
                row.extend(values.map(Cell::from));
                table.push(row);
            }
        }
    }
    table
}

fn repeats(findings: &Findings) -> LongTable {
    let columns = ["checkpoint", "repeats", "probability"];
    let mut table = LongTable::new("randomness_repeats", &columns);
    let reference = findings.reference.iter();
    let reference = reference.map(|of| ("uniform reference", &of.distribution));
    let found = findings.checkpoints.iter().flat_map(|checkpoint| {
        let of = checkpoint
            .sequences
            .iter()
            .filter_map(|of| of.found.as_ref());
        let of = of.filter_map(|found| found.distribution.as_ref());
        of.map(move |distribution| (checkpoint.name.as_str(), distribution))
    });
    for (name, distribution) in reference.chain(found) {
        for (repeats, p) in distribution.iter().enumerate() {
            table.push([name.into(), repeats.into(), (*p).into()]);
        }
    }
    table
}

fn games(findings: &Findings) -> LongTable {
    let columns = [
        "checkpoint",
        "language",
        "wording",
        "round",
        "exploitability",
        "net_score",
        "exact",
        "not_measurable",
    ];
    let mut table = LongTable::new("randomness_games", &columns);
    for checkpoint in &findings.checkpoints {
        let Some(game) = &checkpoint.games else {
            continue;
        };
        let Some(found) = &game.found else {
            let row = vec![checkpoint.name.as_str().into()];
            push_reason(&mut table, row, &game.verdict);
            continue;
        };
        for (language, wording, lost) in &found.each {
            let mut net = 0.0;
            for (round, lost) in found.rounds.iter().zip(lost) {
                net -= lost;
                table.push([
                    checkpoint.name.as_str().into(),
                    language.as_str().into(),
                    (*wording).into(),
                    round.round.into(),
                    (*lost).into(),
                    net.into(),
                    if round.is_exact { "yes" } else { "no" }.into(),
                ]);
            }
        }
    }
    table
}

fn placebo(findings: &Findings) -> LongTable {
    let columns = [
        "checkpoint",
        "set",
        "form",
        "language",
        "wording",
        "by",
        "which",
        "probability",
        "not_measurable",
    ];
    let mut table = LongTable::new("randomness_placebo", &columns);
    for checkpoint in &findings.checkpoints {
        for of in &checkpoint.placebo {
            let start = || -> Vec<Cell> {
                vec![
                    checkpoint.name.as_str().into(),
                    of.set.as_str().into(),
                    of.carrier.name().into(),
                ]
            };
            let Some(found) = &of.found else {
                push_reason(&mut table, start(), &of.verdict);
                continue;
            };
            let numbers = checkpoint.sets.iter().find(|set| set.set == of.set);
            for of in &found.each {
                let mut push = |by: &str, which: Cell, p: f64| {
                    let mut row = start();
                    row.extend([
                        of.language.as_str().into(),
                        of.wording.into(),
                        by.into(),
                        which,
                    ]);
                    row.push(p.into());
                    table.push(row);
                };
                for (at, p) in of.values.iter().enumerate() {
                    let name = numbers.and_then(|set| set.members.get(at)).cloned();
                    push("number", name.into(), *p);
                }
                for (at, p) in of.places.iter().enumerate() {
                    push("place", (at + 1).into(), *p);
                }
            }
        }
    }
    table
}

fn diversity(findings: &Findings) -> LongTable {
    let columns = [
        "checkpoint",
        "language",
        "poems_per_subject",
        "usable",
        "entropy_rate (bits a token)",
        "low",
        "high",
        "n",
        "unit",
        "words",
        "distinct_1",
        "distinct_2",
        "self_bleu",
        "compression_ratio",
        "effective_first_lines",
        "not_measurable",
    ];
    let mut table = LongTable::new("randomness_diversity", &columns);
    for checkpoint in &findings.checkpoints {
        for of in &checkpoint.diversity {
            let mut row: Vec<Cell> =
                vec![checkpoint.name.as_str().into(), of.language.as_str().into()];
            if let Some(found) = &of.found {
                row.extend([found.poems.into(), of.usable.value.into()]);
                row.extend(with_ends(&found.entropy_rate));
                let more = [
                    found.words,
                    found.distinct_1,
                    found.distinct_2,
                    found.self_bleu,
                    found.compression_ratio,
                    found.first_lines,
                ];
                row.extend(more.map(Cell::from));
            }
            push_reason(&mut table, row, &of.verdict);
        }
    }
    table
}

fn chain(findings: &Findings) -> LongTable {
    let columns = [
        "base",
        "checkpoint",
        "set",
        "form",
        "measure",
        "difference",
        "low",
        "high",
        "n",
        "unit",
        "p",
        "p_adjusted",
        "effect_size (d)",
    ];
    let mut table = LongTable::new("randomness_chain", &columns);
    for link in &findings.chain {
        for of in &link.differences {
            let mut row: Vec<Cell> = vec![
                link.base.as_str().into(),
                link.later.as_str().into(),
                of.set.as_str().into(),
                of.carrier.name().into(),
                of.quantity.label().into(),
            ];
            row.extend(with_ends(&of.estimate));
            row.extend([of.p.into(), of.adjusted.into(), of.effect.into()]);
            table.push(row);
        }
    }
    table
}
