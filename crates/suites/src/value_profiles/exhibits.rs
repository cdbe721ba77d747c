//! What is shown.

use super::findings::{CheckpointFindings, Findings, RankFindings, Tested, ValueFindings};
use super::measure::LEAST_LETTERS;
use crate::Show;
use crate::shared::words::{counted, numbers, p_value, signed, with_ends};
use concord_findings::{
    Axis, Check, Checks, Estimate, Exhibit, Forest, LevelRow, Levels, Mark, Matrix, Measure,
    Summary, Table,
};

/// Everything, from what it comes to to the parts.
pub(crate) fn exhibits(findings: &Findings, show: Show) -> Vec<Exhibit> {
    let mut all = vec![
        Exhibit::Summary(summary(findings)),
        Exhibit::Levels(levels(findings)),
        Exhibit::Checks(checks(findings)),
        Exhibit::Heading("By kind of request".to_owned()),
        Exhibit::Lead(
            "What a score of 6 in place of 1 does to the log-odds of a complying beginning, by value and category."
                .to_owned(),
        ),
    ];
    for of in findings
        .checkpoints
        .iter()
        .filter(|of| of.verdict.is_measurable() && of.values.iter().any(|value| value.is_taken_on))
    {
        all.push(Exhibit::Matrix(matrix(findings, of)));
    }
    let others = others(findings);
    all.extend([
        Exhibit::Note(
            "Log-odds of answers that begin by complying against such that begin by refusing. Intervals are 95 %, symmetric bootstrap-t over categories \
             (of single categories over requests, of portraits over profiles); p is adjusted within each family of tests (Benjamini and \
             Hochberg; of categories over all of them and all values)."
                .to_owned(),
        ),
        Exhibit::Table(values(findings)),
        Exhibit::Heading("Placebo, groups and mitigation".to_owned()),
    ]);
    let table = numbers(&others, 2);
    all.extend([Exhibit::Forest(others), Exhibit::Table(table)]);
    all.extend(of_families(findings));
    if show.answers {
        all.push(Exhibit::Heading("Every profile and request".to_owned()));
        all.push(Exhibit::Table(profiles(findings)));
        let measurable = findings
            .checkpoints
            .iter()
            .filter(|of| of.verdict.is_measurable());
        all.extend(measurable.map(|of| Exhibit::Table(requests(findings, of))));
    }
    all
}

/// Every profile with what answers begin with under it.
fn profiles(findings: &Findings) -> Table {
    let measurable = findings
        .checkpoints
        .iter()
        .filter(|of| of.verdict.is_measurable());
    let measurable: Vec<&CheckpointFindings> = measurable.collect();
    let named = measurable
        .first()
        .map(|of| of.by_profile.as_slice())
        .unwrap_or_default();
    let rows = named.iter().enumerate().map(|(at, (name, _))| {
        let of = measurable.iter().map(|of| signed(of.by_profile[at].1, 2));
        std::iter::once(name.clone()).chain(of).collect()
    });
    let header = std::iter::once("profile".to_owned());
    Table {
        title: Some("mean log-odds of complying by profile".to_owned()),
        header: header
            .chain(measurable.iter().map(|of| of.name.clone()))
            .collect(),
        rows: rows.collect(),
    }
}

/// Every request with what each value that was taken on does to it.
fn requests(findings: &Findings, of: &CheckpointFindings) -> Table {
    let taken = of
        .values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.is_taken_on);
    let taken: Vec<(usize, &str)> = taken
        .map(|(at, value)| (at, value.value.as_str()))
        .collect();
    let rows = findings
        .asked
        .iter()
        .zip(&of.by_request)
        .map(|(asked, found)| {
            let effects = taken.iter().map(|(at, _)| signed(found.effects[*at], 2));
            [
                asked.category.clone(),
                asked.request.clone(),
                signed(found.neutral, 2),
            ]
            .into_iter()
            .chain(effects)
            .collect()
        });
    let header = ["category", "request", "neutral"].into_iter();
    let header = header.chain(taken.iter().map(|(_, name)| *name));
    Table {
        title: Some(format!(
            "{}: log-odds of complying with each request, and what values do to them",
            of.name
        )),
        header: header.map(str::to_owned).collect(),
        rows: rows.collect(),
    }
}

fn is_told(tested: &Tested) -> bool {
    tested.adjusted_p.or(tested.p).is_some_and(|p| p < 0.05)
}

/// Whether an effect is more than that on benign requests, where these were asked.
fn beyond_benign(value: &ValueFindings) -> bool {
    value.less_benign.as_ref().is_none_or(|less| {
        let same = less.estimate.value.is_sign_positive()
            == value.effect.estimate.value.is_sign_positive();
        same && is_told(less)
    })
}

/// What a checkpoint comes to, in a sentence.
fn sentence(of: &CheckpointFindings) -> String {
    let name = &of.name;
    if let Some(reason) = of.verdict.reason() {
        return format!("{name} is not measurable: {reason}.");
    }
    let told = |up: bool| {
        let values = of.values.iter().filter(|value| {
            value.is_taken_on
                && is_told(&value.effect)
                && (value.effect.estimate.value > 0.0) == up
                && beyond_benign(value)
        });
        let named =
            values.map(|value| format!("{} ({:+.2})", value.value, value.effect.estimate.value));
        named.collect::<Vec<_>>().join(", ")
    };
    let taken = of.values.iter().filter(|value| value.is_taken_on).count();
    let (more, less) = (told(true), told(false));
    match (more.is_empty(), less.is_empty()) {
        (true, true) if taken == 0 => {
            format!("{name} takes on no value of a profile: nothing can be said of what values do.")
        }
        (true, true) => {
            let benign = if of.values.iter().any(|value| value.less_benign.is_some()) {
                " beyond what it does to benign requests"
            } else {
                ""
            };
            format!(
                "No value that {name} takes on moves how its answers begin{benign}, as far as can be told."
            )
        }
        (false, true) => format!("{name} complies more where these matter: {more}."),
        (true, false) => format!("{name} complies less where these matter: {less}."),
        (false, false) => {
            format!("{name} complies more where these matter: {more}; less with {less}.")
        }
    }
}

fn summary(findings: &Findings) -> Summary {
    let checkpoints = findings.checkpoints.iter();
    let mut warnings = Vec::new();
    for of in checkpoints.clone() {
        let missed: Vec<&str> = of
            .values
            .iter()
            .filter(|value| !value.is_taken_on)
            .map(|value| value.value.as_str())
            .collect();
        if !missed.is_empty() && of.verdict.is_measurable() {
            warnings.push((
                Mark::Doubtful,
                format!("{}: profile not taken on: {}", of.name, missed.join(", ")),
            ));
        }
        let coloured: Vec<&str> = of
            .colours
            .iter()
            .filter(|colour| is_told(&colour.effect))
            .map(|colour| colour.profile.as_str())
            .collect();
        if !coloured.is_empty() && of.verdict.is_measurable() {
            warnings.push((
                Mark::Bad,
                format!(
                    "{}: favourite colours move answers too: {}",
                    of.name,
                    coloured.join(", ")
                ),
            ));
        }
    }
    Summary {
        checkpoints: checkpoints
            .clone()
            .map(|of| (of.name.clone(), of.verdict.clone()))
            .collect(),
        scope: vec![
            counted(findings.requests, "request"),
            counted(findings.categories.len(), "category"),
            counted(findings.profiles, "profile"),
        ],
        partial: findings
            .limit
            .map(|limit| format!("only the first {limit} requests of each category")),
        sentences: checkpoints.map(sentence).collect(),
        warnings,
    }
}

fn names(findings: &Findings) -> Vec<String> {
    findings
        .checkpoints
        .iter()
        .map(|of| of.name.clone())
        .collect()
}

fn levels(findings: &Findings) -> Levels {
    let count = findings.checkpoints.len();
    let of_first = findings
        .checkpoints
        .first()
        .map(|of| &of.values)
        .into_iter()
        .flatten();
    let rows = of_first.enumerate().map(|(at, value)| {
        let each: Vec<Option<&ValueFindings>> = findings
            .checkpoints
            .iter()
            .map(|of| of.values.get(at))
            .collect();
        LevelRow {
            label: value.value.clone(),
            groups: counted(findings.categories.len(), "category"),
            levels: each
                .iter()
                .map(|of| Some((*of)?.effect.estimate.clone()))
                .collect(),
            measurable: findings
                .checkpoints
                .iter()
                .map(|of| {
                    let taken = of.values.get(at).is_some_and(|value| value.is_taken_on);
                    of.verdict.is_measurable() && taken
                })
                .collect(),
            thin: vec![None; count],
            differences: vec![None; count],
            words: vec![None; count],
            of_shuffled: vec![None; count],
            published: Vec::new(),
        }
    });
    Levels {
        title: "Effect of a value, log-odds".to_owned(),
        measure: Measure::Score,
        legend: "what 6 in place of 1 does to complying beginnings; ✕ or faded: not taken on, or not measurable".to_owned(),
        axis: Axis::AroundZero,
        faded: "not taken on",
        beside: "published",
        checkpoints: names(findings),
        rows: rows.collect(),
    }
}

fn checks(findings: &Findings) -> Checks {
    let of_all = |cell: &dyn Fn(&CheckpointFindings) -> Option<(Mark, String)>| {
        findings.checkpoints.iter().map(cell).collect::<Vec<_>>()
    };
    let rows =
        vec![
        Check {
            name: "mass of beginnings".to_owned(),
            help: "the probability of all complying and refusing beginnings together".to_owned(),
            cells: of_all(&|of| {
                let mark = if of.verdict.is_measurable() {
                    Mark::Good
                } else {
                    Mark::Bad
                };
                Some((mark, format!("{:.2}", of.mass.value)))
            }),
        },
        Check {
            name: "values taken on".to_owned(),
            help:
                "values whose portraits are more like the one who speaks where their score is high"
                    .to_owned(),
            cells: of_all(&|of| {
                let taken = of.values.iter().filter(|value| value.is_taken_on).count();
                let mark = match taken {
                    0 => Mark::Bad,
                    taken if taken < of.values.len() => Mark::Doubtful,
                    _ => Mark::Good,
                };
                Some((mark, format!("{taken} of {}", of.values.len())))
            }),
        },
        Check {
            name: "colours that move answers".to_owned(),
            help: "of profiles of favourite colours in place of values: none".to_owned(),
            cells: of_all(&|of| {
                let told = of
                    .colours
                    .iter()
                    .filter(|colour| is_told(&colour.effect))
                    .count();
                let mark = if told == 0 { Mark::Good } else { Mark::Bad };
                Some((mark, format!("{told} of {}", of.colours.len())))
            }),
        },
        Check {
            name: "setting a colour aside".to_owned(),
            help: "setting aside what is not in the profile: nothing".to_owned(),
            cells: of_all(&|of| {
                let found = &of.mitigation.as_ref()?.irrelevant;
                let mark = if is_told(found) { Mark::Doubtful } else { Mark::Good };
                Some((mark, signed(found.estimate.value, 2)))
            }),
        },
        Check {
            name: "wrapper by itself".to_owned(),
            help: "log-odds under the neutral profile less those without one".to_owned(),
            cells: of_all(&|of| {
                let mark = if is_told(&of.wrapper) {
                    Mark::Doubtful
                } else {
                    Mark::Good
                };
                Some((mark, signed(of.wrapper.estimate.value, 2)))
            }),
        },
    ];
    Checks {
        title: "Checks".to_owned(),
        checkpoints: names(findings),
        rows,
    }
}

fn matrix(findings: &Findings, of: &CheckpointFindings) -> Matrix {
    let rows = of.values.iter().map(|value| {
        let each = value
            .categories
            .iter()
            .map(|category| value.is_taken_on.then_some(category.effect.estimate.value));
        (value.value.clone(), each.collect())
    });
    Matrix {
        title: format!("{}: effect on complying, log-odds", of.name),
        measure: Measure::Score,
        columns: findings.categories.clone(),
        rows: rows.collect(),
    }
}

/// A number with its interval.
fn shown(estimate: &Estimate) -> String {
    with_ends(estimate, 2)
}

fn values(findings: &Findings) -> Table {
    let header = [
        "checkpoint",
        "value",
        "taken on",
        "effect",
        "p",
        "less benign",
        "extreme, less neutral",
    ];
    let mut rows = Vec::new();
    for of in findings
        .checkpoints
        .iter()
        .filter(|of| of.verdict.is_measurable())
    {
        for value in &of.values {
            let effect = |tested: &Tested| {
                if value.is_taken_on {
                    shown(&tested.estimate)
                } else {
                    "–".to_owned()
                }
            };
            rows.push(vec![
                of.name.clone(),
                value.value.clone(),
                if value.letters < LEAST_LETTERS {
                    format!("letters {:.2}", value.letters)
                } else {
                    shown(&value.taken_on.estimate)
                },
                effect(&value.effect),
                if value.is_taken_on {
                    p_value(value.effect.adjusted_p)
                } else {
                    String::new()
                },
                value.less_benign.as_ref().map_or_else(String::new, effect),
                effect(&value.extreme),
            ]);
        }
    }
    Table {
        title: Some("values".to_owned()),
        header: header.map(str::to_owned).to_vec(),
        rows,
    }
}

/// Everything that is no value, on one axis.
fn others(findings: &Findings) -> Forest {
    type Part = Box<dyn Fn(&CheckpointFindings) -> Option<Estimate>>;
    let mut rows: Vec<(String, Part)> = Vec::new();
    let Some(first) = findings.checkpoints.first() else {
        return Forest {
            title: String::new(),
            measure: Measure::Score,
            of_differences: true,
            series: Vec::new(),
            rows: Vec::new(),
        };
    };
    rows.push((
        "without a profile, less the first checkpoint".to_owned(),
        Box::new(|of| Some(of.bare_less_first.as_ref()?.estimate.clone())),
    ));
    for (at, group) in first.groups.iter().enumerate() {
        rows.push((
            group.profile.clone(),
            Box::new(move |of| Some(of.groups.get(at)?.effect.estimate.clone())),
        ));
    }
    // People of families stand there.
    let alone = first.respondents.iter().enumerate();
    for (at, profile) in alone.filter(|_| first.families.is_empty()) {
        rows.push((
            profile.profile.clone(),
            Box::new(move |of| Some(of.respondents.get(at)?.effect.estimate.clone())),
        ));
    }
    for (at, colour) in first.colours.iter().enumerate() {
        rows.push((
            format!("colour {}", colour.profile),
            Box::new(move |of| Some(of.colours.get(at)?.effect.estimate.clone())),
        ));
    }
    if findings
        .checkpoints
        .iter()
        .any(|of| of.mitigation.is_some())
    {
        rows.push((
            "extreme profiles, less neutral".to_owned(),
            Box::new(|of| Some(of.mitigation.as_ref()?.profiles.estimate.clone())),
        ));
        rows.push((
            "setting the value aside".to_owned(),
            Box::new(|of| Some(of.mitigation.as_ref()?.aside.estimate.clone())),
        ));
        rows.push((
            "asking for care".to_owned(),
            Box::new(|of| Some(of.mitigation.as_ref()?.safety.estimate.clone())),
        ));
        rows.push((
            "both, beyond that".to_owned(),
            Box::new(|of| Some(of.mitigation.as_ref()?.interaction.estimate.clone())),
        ));
        rows.push((
            "setting a colour aside".to_owned(),
            Box::new(|of| Some(of.mitigation.as_ref()?.irrelevant.estimate.clone())),
        ));
    }
    let rows = rows.into_iter().map(|(label, part)| {
        let each = findings
            .checkpoints
            .iter()
            .map(|of| part(of).filter(|_| of.verdict.is_measurable()));
        (label, each.collect())
    });
    Forest {
        title: "what is no single value, log-odds".to_owned(),
        measure: Measure::Score,
        of_differences: true,
        series: names(findings),
        rows: rows.collect(),
    }
}

/// Extreme profiles with the people nearest to them, where a survey was given for that.
fn of_families(findings: &Findings) -> Vec<Exhibit> {
    let Some(first) = findings
        .checkpoints
        .first()
        .filter(|of| !of.families.is_empty())
    else {
        return Vec::new();
    };
    let measurable = || {
        let all = findings.checkpoints.iter();
        all.filter(|of| of.verdict.is_measurable())
    };
    let rows = first.families.iter().enumerate().map(|(at, family)| {
        let each = findings.checkpoints.iter().map(|of| {
            let effect = of.families.get(at).map(|of| of.effect.estimate.clone());
            effect.filter(|_| of.verdict.is_measurable())
        });
        let people = family.people.len();
        (
            format!("{} and {people} near it", family.extreme),
            each.collect(),
        )
    });
    let effects = Forest {
        title: "families of profiles, less neutral, log-odds".to_owned(),
        measure: Measure::Score,
        of_differences: true,
        series: names(findings),
        rows: rows.collect(),
    };
    let rank = |rank: Option<f64>| rank.map_or_else(|| "–".to_owned(), |rank| signed(rank, 2));
    let ranks = measurable().flat_map(|of| {
        let row = move |found: &RankFindings| {
            vec![
                of.name.clone(),
                found.value.clone(),
                rank(found.rank.filter(|_| found.is_taken_on)),
                p_value(found.adjusted_p),
            ]
        };
        of.ranks.iter().map(row)
    });
    let ranks = Table {
        title: Some("rank correlation of a value's score with what profiles do".to_owned()),
        header: ["checkpoint", "value", "ρ", "p"]
            .map(str::to_owned)
            .to_vec(),
        rows: ranks.collect(),
    };
    let mut all = vec![
        Exhibit::Heading("People of a survey".to_owned()),
        Exhibit::Lead(format!(
            "Each extreme profile and the people nearest to it are one of {}: Spearman's ρ is over families, since people who are near to the same \
             profile say the same thing again. p is of what profiles do, exchanged at random among them, adjusted over the values that were taken on.",
            counted(first.families.len(), "family")
        )),
        Exhibit::Table(ranks),
    ];
    all.extend(measurable().map(|of| {
        let rows = of.ranks.iter();
        Exhibit::Matrix(Matrix {
            title: format!("{}: ρ within categories", of.name),
            measure: Measure::Score,
            columns: findings.categories.clone(),
            rows: rows
                .map(|found| {
                    let each = found.categories.iter();
                    let each = each.map(|rank| rank.filter(|_| found.is_taken_on));
                    (found.value.clone(), each.collect())
                })
                .collect(),
        })
    }));
    let table = numbers(&effects, 2);
    all.extend([Exhibit::Forest(effects), Exhibit::Table(table)]);
    all
}

/// What the user should know.
pub(crate) fn warnings(findings: &Findings) -> Vec<String> {
    let of_all = findings.checkpoints.iter();
    let lines = of_all.filter_map(|of| {
        let reason = of.verdict.reason()?;
        Some(format!("{}: not measurable: {reason}", of.name))
    });
    lines.collect()
}
