//! Choices from sets, and how they change along a chain of checkpoints.

use super::super::chain::COMPARED;
use super::super::measure::{CheckpointFindings, Findings, Found, Quantity, SetFindings};
use super::super::name::CARRIERS;
use super::{ByCheckpoint, number, or_dash, quantity, same, shown, signed};
use concord_findings::{Estimate, Exhibit, Forest, Measure, Strip, Table};
use std::collections::BTreeSet;

/// Quantities in the order in which they are shown.
const SHOWN: [Quantity; 9] = [
    Quantity::Mass,
    Quantity::Entropy,
    Quantity::ChiSquared,
    Quantity::EffectSize,
    Quantity::TotalVariation,
    Quantity::Divergence,
    Quantity::Largest,
    Quantity::Seven,
    Quantity::SampledChiSquared,
];
/// Quantities with a forest.
const FORESTS: [Quantity; 3] = [Quantity::Entropy, Quantity::TotalVariation, Quantity::Seven];

/// The sets of the first checkpoint, each once.
fn sets(findings: &Findings) -> Vec<&SetFindings> {
    let mut seen = BTreeSet::new();
    let first = findings.checkpoints.iter().take(1);
    let all = first.flat_map(|checkpoint| &checkpoint.sets);
    all.filter(|set| seen.insert(set.set.as_str())).collect()
}

pub(super) fn exhibits(findings: &Findings) -> Vec<Exhibit> {
    let draws = findings.draws;
    let mut all = vec![
        Exhibit::Heading("Choices from a set".to_owned()),
        Exhibit::Lead(format!(
            "Each number is a mean over wordings, the unit of its interval. Nothing is shown where the members together have less than \
             {} of the probability.",
            findings.least_mass
        )),
    ];
    for set in sets(findings) {
        all.push(Exhibit::Table(measured(set, findings)));
        all.push(Exhibit::Table(spread(set, findings)));
        if findings.languages.len() > 1 {
            all.push(Exhibit::Table(by_language(set, findings)));
        }
        all.extend(strips(&set.set, findings));
    }
    all.extend(
        FORESTS
            .into_iter()
            .filter_map(|quantity| forest(quantity, findings)),
    );
    all.push(Exhibit::Note(format!(
        "χ²/N is Σ(p − u)²/u for the uniform u, w its square root. Expected χ² is what a sample of {draws} draws would have on average: \
         N Σ(p − u)²/u + Σ p(1 − p)/u, whose second term is chance (n − 1 where p is uniform). Divergence is log₂ n less entropy."
    )));
    all
}

fn label(quantity: Quantity, set: &SetFindings, draws: usize) -> String {
    match quantity {
        Quantity::Entropy => format!("entropy (most {} bits)", number(set.most_entropy())),
        Quantity::SampledChiSquared => format!("expected χ² of {draws} draws"),
        other => other.label().to_owned(),
    }
}

fn measured(set: &SetFindings, findings: &Findings) -> Table {
    let title = format!("{}, distance from uniform", set.set);
    let mut table = ByCheckpoint::new(Some(title), "form, measure", findings);
    for carrier in CARRIERS {
        for wanted in SHOWN {
            let label = label(wanted, set, findings.draws);
            table.row(format!("{}: {label}", carrier.name()), |checkpoint| {
                let Some(set) = same(checkpoint, &set.set, carrier) else {
                    return String::new();
                };
                // Of what may not be shown the reason is the mass.
                if set.verdict.is_measurable() || wanted == Quantity::Mass {
                    quantity(set, wanted)
                } else {
                    or_dash(&set.verdict, None)
                }
            });
        }
        table.row(format!("{}: most probable", carrier.name()), |checkpoint| {
            let set = same(checkpoint, &set.set, carrier);
            let most = set.and_then(|set| Some(&set.members[set.summary.as_ref()?.most]));
            most.cloned().unwrap_or_default()
        });
    }
    table.table()
}

fn spread(set: &SetFindings, findings: &Findings) -> Table {
    let title = format!(
        "{}, spread over wordings, least to most (standard deviation)",
        set.set
    );
    let mut table = ByCheckpoint::new(Some(title), "form, measure", findings);
    for carrier in CARRIERS {
        for wanted in COMPARED {
            table.row(
                format!("{}: {}", carrier.name(), wanted.label()),
                |checkpoint| {
                    let set = same(checkpoint, &set.set, carrier);
                    let found = set.and_then(|set| set.summary.as_ref()?.quantities.get(&wanted));
                    found.map_or_else(String::new, |found: &Found| {
                        let [least, most] = found.range.map(number);
                        format!("{least} to {most} ({})", number(found.deviation))
                    })
                },
            );
        }
    }
    table.table()
}

fn by_language(set: &SetFindings, findings: &Findings) -> Table {
    let title = format!("{}, entropy by language", set.set);
    let mut table = ByCheckpoint::new(Some(title), "form, language", findings);
    for carrier in CARRIERS {
        for (at, language) in findings.languages.iter().enumerate() {
            table.row(format!("{}: {language}", carrier.name()), |checkpoint| {
                let set = same(checkpoint, &set.set, carrier);
                let Some((set, of)) = set.and_then(|set| Some((set, set.languages.get(at)?)))
                else {
                    return String::new();
                };
                if !set.verdict.is_measurable() {
                    return or_dash(&set.verdict, None);
                }
                let found = of.summary.as_ref();
                let found = found.and_then(|of| of.quantities.get(&Quantity::Entropy));
                or_dash(&of.verdict, found.map(|found| shown(&found.estimate)))
            });
        }
    }
    table.table()
}

/// The mean distribution over a set, a row for each checkpoint, in each form.
pub(super) fn strips(set: &str, findings: &Findings) -> Vec<Exhibit> {
    let strips = CARRIERS.into_iter().filter_map(|carrier| {
        let of = |checkpoint: &CheckpointFindings| {
            let summary = same(checkpoint, set, carrier)?.summary.as_ref()?;
            Some((checkpoint.name.clone(), summary.distribution.clone()))
        };
        let rows: Vec<_> = findings.checkpoints.iter().filter_map(of).collect();
        let first = findings.checkpoints.first()?;
        let categories = same(first, set, carrier)?.members.clone();
        (!rows.is_empty()).then(|| {
            Exhibit::Strip(Strip {
                title: format!("{set}, {}: mean distribution over wordings", carrier.name()),
                measure: Measure::Probability,
                reference: Some(1.0 / categories.len() as f64),
                categories,
                rows,
            })
        })
    });
    strips.collect()
}

fn forest(quantity: Quantity, findings: &Findings) -> Option<Exhibit> {
    let mut rows = Vec::new();
    for set in sets(findings) {
        for checkpoint in &findings.checkpoints {
            let estimates = CARRIERS.map(|carrier| {
                let summary = same(checkpoint, &set.set, carrier)?.summary.as_ref()?;
                let found = summary.quantities.get(&quantity)?;
                Some(found.estimate.clone())
            });
            if estimates.iter().any(Option::is_some) {
                rows.push((
                    format!("{}, {}", set.set, checkpoint.name),
                    estimates.into(),
                ));
            }
        }
    }
    (!rows.is_empty()).then(|| {
        Exhibit::Forest(Forest {
            title: format!("{} by set and checkpoint", quantity.label()),
            measure: quantity.measure(),
            of_differences: false,
            series: CARRIERS.map(|carrier| carrier.name().to_owned()).into(),
            rows,
        })
    })
}

/// A difference with its sign, and its interval where it has one.
fn difference(estimate: &Estimate) -> String {
    let value = signed(estimate.value);
    match &estimate.interval {
        Some(interval) => format!(
            "{value} [{}, {}]",
            signed(interval.low),
            signed(interval.high)
        ),
        None => value,
    }
}

/// The first checkpoint against each later one.
pub(super) fn chain(findings: &Findings) -> Vec<Exhibit> {
    let Some(first) = findings.chain.first() else {
        return Vec::new();
    };
    if findings
        .chain
        .iter()
        .all(|link| link.differences.is_empty())
    {
        return Vec::new();
    }
    let mut all = vec![
        Exhibit::Heading("Along the chain".to_owned()),
        Exhibit::Lead(format!(
            "How each later checkpoint differs from {}, wording by wording: later less first. The unit is the wording, and only what \
             may be shown of both is compared, but for the valid mass itself.",
            first.base
        )),
    ];
    let mut labels: Vec<(&str, _, Quantity)> = Vec::new();
    for of in findings.chain.iter().flat_map(|link| &link.differences) {
        let label = (of.set.as_str(), of.carrier, of.quantity);
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let found = |at: usize, label: &(&str, _, Quantity)| {
        let mut all = findings.chain[at].differences.iter();
        all.find(|of| (of.set.as_str(), of.carrier, of.quantity) == *label)
    };
    let later: Vec<String> = findings
        .chain
        .iter()
        .map(|link| link.later.clone())
        .collect();
    let header = std::iter::once("set, form, measure".to_owned()).chain(later.clone());
    let rows = labels.iter().map(|label| {
        let (set, carrier, quantity) = label;
        let name = format!("{set}, {}: {}", carrier.name(), quantity.label());
        let cells = (0..later.len()).map(|at| {
            found(at, label).map_or_else(String::new, |of| {
                let p = of.adjusted.map(|p| match p {
                    p if p < 0.001 => ", p < 0.001".to_owned(),
                    p => format!(", p {}", number(p)),
                });
                let d = of.effect.map(|d| format!(", d {d:.2}"));
                let more = [p, d].into_iter().flatten().collect::<String>();
                format!("{}{more}", difference(&of.estimate))
            })
        });
        std::iter::once(name).chain(cells).collect()
    });
    all.push(Exhibit::Table(Table {
        title: Some(format!("Differences from {}", first.base)),
        header: header.collect(),
        rows: rows.collect(),
    }));
    for quantity in COMPARED {
        let of_quantity = labels.iter().filter(|(_, _, of)| *of == quantity);
        let rows: Vec<_> = of_quantity
            .map(|label| {
                let estimates = (0..later.len()).map(|at| Some(found(at, label)?.estimate.clone()));
                (
                    format!("{}, {}", label.0, label.1.name()),
                    estimates.collect(),
                )
            })
            .collect();
        if !rows.is_empty() {
            all.push(Exhibit::Forest(Forest {
                title: format!("{}: difference from {}", quantity.label(), first.base),
                measure: quantity.measure(),
                of_differences: true,
                series: later.clone(),
                rows,
            }));
        }
    }
    all.push(Exhibit::Note(
        "p: sign-flip test over wordings, Benjamini–Hochberg adjusted over all differences of a checkpoint. d: Cohen's d of the paired \
         differences. An empty cell was not measurable, or has no 7."
            .to_owned(),
    ));
    all
}
