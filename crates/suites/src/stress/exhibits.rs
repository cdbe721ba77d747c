//! What is shown.

use super::findings::{CheckpointFindings, Disagreement, Findings, ItemFindings, WrittenFindings};
use super::measure::{MASS, READ_BACK};
use super::written_exhibits;
use crate::Show;
use crate::shared::gates::mark;
use crate::shared::words::{counted, signed};
use concord_findings::{
    Axis, Check, Checks, Estimate, Exhibit, LevelRow, Levels, Mark, Matrix, Measure, Strip,
    Summary, Table, Topic, Topics,
};

/// Everything, from what it comes to to the parts.
pub(crate) fn exhibits(findings: &Findings, show: Show) -> Vec<Exhibit> {
    let mut all = vec![
        Exhibit::Summary(summary(findings)),
        Exhibit::Levels(levels(findings)),
        Exhibit::Checks(checks(findings)),
    ];
    if let Some(found) = &findings.disagreement {
        all.push(Exhibit::Topics(topics(found)));
        all.push(Exhibit::Heading("Disagreement".to_owned()));
        all.extend(apart(found));
    }
    if let Some(written) = &findings.written {
        all.extend(written_exhibits::exhibits(findings, written));
    }
    all.extend([
        Exhibit::Heading("Values".to_owned()),
        Exhibit::Lead(
            "How strongly each value is favoured over those that requests set against it: Bradley–Terry with a nudge, in log-odds.".to_owned(),
        ),
        Exhibit::Table(ranked(findings)),
        Exhibit::Note(
            "Positions run from 0, strongly opposing, to 6, strongly favouring: seven letters in 14 orders, so that each stands in each place twice; geometric \
             mean, renormalised. Disagreement is the larger standard deviation of both values between checkpoints, at most 3; of modes it is \
             comparable with the study's, of expectations it is smaller. Intervals are 95 %, symmetric bootstrap-t over pairs of values."
                .to_owned(),
        ),
    ]);
    if show.answers {
        all.push(Exhibit::Table(requests(findings)));
    }
    all
}

pub(crate) fn names(findings: &Findings) -> Vec<String> {
    findings
        .checkpoints
        .iter()
        .map(|of| of.name.clone())
        .collect()
}

/// A number with its interval.
pub(crate) fn shown(estimate: &Estimate) -> String {
    match &estimate.interval {
        Some(ends) => format!("{:.2} [{:.2}, {:.2}]", estimate.value, ends.low, ends.high),
        None => format!("{:.2}", estimate.value),
    }
}

fn sentence(of: &CheckpointFindings) -> String {
    let name = &of.name;
    if let Some(reason) = of.verdict.reason() {
        return format!("{name} is not measurable: {reason}.");
    }
    let nudge = of.nudge.as_ref().map(|nudge| {
        let effect = shown(&nudge.effect);
        let ends = nudge.effect.interval;
        if ends.is_some_and(|ends| ends.low > 0.0) {
            format!("A nudge moves {name} by {effect} positions.")
        } else if ends.is_some_and(|ends| ends.high < 0.0) {
            format!("A nudge moves {name} the other way, by {effect} positions.")
        } else {
            format!("No nudge moves {name} as far as can be told ({effect}).")
        }
    });
    nudge.unwrap_or_else(|| format!("{name} is measurable; no request is nudged."))
}

/// What a checkpoint's answers come to.
fn of_written(of: &WrittenFindings) -> String {
    let name = &of.name;
    if let Some(reason) = of.verdict.reason() {
        return format!("What {name} wrote cannot be placed: {reason}.");
    }
    let rank = of.with_letters.map_or_else(
        || "do not vary".to_owned(),
        |rank| format!("stand where its letters say with a rank correlation of {rank:.2}"),
    );
    match &of.declines {
        Some(declines) => format!(
            "Answers of {name} {rank}; {:.0} % decline.",
            100.0 * declines.value
        ),
        None => format!("Answers of {name} {rank}."),
    }
}

fn summary(findings: &Findings) -> Summary {
    let mut sentences = Vec::new();
    if let Some(found) = &findings.disagreement {
        sentences.push(format!(
            "Disagreement: {} of modes, {} of expectations; high on {:.0} % of requests.",
            shown(&found.modes),
            shown(&found.expected),
            100.0 * found.high.value
        ));
    }
    sentences.extend(findings.checkpoints.iter().map(sentence));
    if let Some(written) = &findings.written {
        sentences.extend(written.checkpoints.iter().map(of_written));
    }
    let alone = findings.disagreement.is_none().then(|| {
        let text = "nothing is said of disagreement: it is between two checkpoints that are measurable, at the least";
        (Mark::Doubtful, text.to_owned())
    });
    Summary {
        checkpoints: findings
            .checkpoints
            .iter()
            .map(|of| (of.name.clone(), of.verdict.clone()))
            .collect(),
        scope: vec![
            counted(findings.scenarios, "scenario"),
            counted(findings.pairs, "pair of values"),
        ],
        partial: findings
            .limit
            .map(|limit| format!("only the first {limit} scenarios of each pair")),
        sentences,
        warnings: alone.into_iter().collect(),
    }
}

fn levels(findings: &Findings) -> Levels {
    let count = findings.checkpoints.len();
    let row = LevelRow {
        label: "nudge".to_owned(),
        groups: counted(findings.pairs, "pair"),
        levels: findings
            .checkpoints
            .iter()
            .map(|of| Some(of.nudge.as_ref()?.effect.clone()))
            .collect(),
        measurable: findings
            .checkpoints
            .iter()
            .map(|of| of.verdict.is_measurable())
            .collect(),
        thin: vec![None; count],
        differences: vec![None; count],
        words: vec![None; count],
        of_shuffled: vec![None; count],
        published: Vec::new(),
    };
    Levels {
        title: "Positions that a nudge moves".to_owned(),
        measure: Measure::Score,
        legend: "when nudged to a value less when nudged to the other; 6 at most".to_owned(),
        axis: Axis::AroundZero,
        faded: "not measurable",
        beside: "published",
        checkpoints: names(findings),
        rows: vec![row],
    }
}

fn checks(findings: &Findings) -> Checks {
    let of_all = |cell: &dyn Fn(&CheckpointFindings) -> Option<(Mark, String)>| {
        findings.checkpoints.iter().map(cell).collect::<Vec<_>>()
    };
    let passed = |of: &CheckpointFindings, gate: &str| mark(&of.gates, gate);
    let rows = vec![
        Check {
            name: MASS.to_owned(),
            help: "the probability of all seven letters together".to_owned(),
            cells: of_all(&|of| Some((passed(of, MASS), format!("{:.2}", of.mass.value)))),
        },
        Check {
            name: READ_BACK.to_owned(),
            help: "the rank correlation with which answers of known position are placed".to_owned(),
            cells: of_all(&|of| Some((passed(of, READ_BACK), format!("{:.2}", of.read_back)))),
        },
        Check {
            name: "positions by likelihood agree".to_owned(),
            help: "the rank correlation with positions by the likelihood of their texts, which measures style as well".to_owned(),
            cells: of_all(&|of| {
                let found = of.likelihood?;
                Some((if found > 0.3 { Mark::Good } else { Mark::Doubtful }, format!("{found:.2}")))
            }),
        },
    ];
    Checks {
        title: "Checks".to_owned(),
        checkpoints: names(findings),
        rows,
    }
}

fn topics(found: &Disagreement) -> Topics {
    let rows = found.topics.iter().map(|topic| Topic {
        name: if topic.topic.is_empty() {
            "no topic".to_owned()
        } else {
            topic.topic.clone()
        },
        facets: Vec::new(),
        questions: topic.requests,
        levels: vec![
            Some(Estimate::exact(topic.modes)),
            Some(Estimate::exact(topic.expected)),
        ],
        differences: vec![None, None],
        support: vec![None, None],
    });
    Topics {
        title: "Disagreement by topic".to_owned(),
        nouns: ["topic", "requests", "support"],
        measure: Measure::Score,
        signed: false,
        checkpoints: vec!["modes".to_owned(), "expectations".to_owned()],
        facets: Vec::new(),
        rows: rows.collect(),
    }
}

/// How far checkpoints are apart.
pub(crate) fn apart(found: &Disagreement) -> Vec<Exhibit> {
    let all: usize = found.bins.iter().sum();
    let share = |count: &usize| *count as f64 / all.max(1) as f64;
    let rows = found
        .between_two
        .iter()
        .zip(&found.checkpoints)
        .map(|(row, name)| (name.clone(), row.iter().map(|value| Some(*value)).collect()));
    let outliers = found.checkpoints.iter().zip(&found.outliers);
    let outliers =
        outliers.map(|(name, share)| vec![name.clone(), format!("{:.1} %", 100.0 * share)]);
    let most = found.most.iter().map(|(scenario, language, nudge, d)| {
        vec![
            scenario.clone(),
            language.clone(),
            nudge.name().to_owned(),
            format!("{d:.2}"),
        ]
    });
    let mut all = vec![
        Exhibit::Lead(format!(
            "{:.0} % of the variance of positions is between checkpoints; the rest is each one's own doubt.",
            100.0 * found.between
        )),
        Exhibit::Strip(Strip {
            title: "requests by disagreement of modes".to_owned(),
            measure: Measure::Share,
            categories: ["0–0.5", "0.5–1", "1–1.5", "1.5–2", "2–2.5", "2.5–3"]
                .map(str::to_owned)
                .to_vec(),
            rows: vec![(
                "requests".to_owned(),
                found.bins.iter().map(share).collect(),
            )],
            reference: None,
        }),
        Exhibit::Matrix(Matrix {
            title: "disagreement between two".to_owned(),
            measure: Measure::Score,
            columns: found.checkpoints.clone(),
            rows: rows.collect(),
        }),
    ];
    if !found.outliers.is_empty() {
        all.push(Exhibit::Table(Table {
            title: Some("outliers: four positions from three quarters of the others".to_owned()),
            header: ["checkpoint", "positions"].map(str::to_owned).to_vec(),
            rows: outliers.collect(),
        }));
    }
    if !found.most.is_empty() {
        all.push(Exhibit::Table(Table {
            title: Some("most disagreed on".to_owned()),
            header: ["scenario", "language", "nudge", "disagreement"]
                .map(str::to_owned)
                .to_vec(),
            rows: most.collect(),
        }));
    }
    all
}

/// Values that are shown from each end.
const ENDS: usize = 10;

/// The strongest and the weakest values of the first checkpoint, with what they are in the others.
fn ranked(findings: &Findings) -> Table {
    let measurable: Vec<&CheckpointFindings> = findings
        .checkpoints
        .iter()
        .filter(|of| of.verdict.is_measurable())
        .collect();
    let first = measurable
        .first()
        .map(|of| of.ranked.as_slice())
        .unwrap_or_default();
    let groups = first.last().map_or(0, |last| last.group);
    let count = first.len();
    let is_end = |at: usize| at < ENDS || at + ENDS >= count;
    let shown = first.iter().enumerate().filter(|(at, _)| is_end(*at));
    let rows = shown.map(|(_, value)| {
        let mut row = vec![value.value.clone()];
        if groups > 0 {
            row.push((value.group + 1).to_string());
        }
        row.extend(measurable.iter().map(|of| {
            let found = of.ranked.iter().find(|other| other.value == value.value);
            found.map_or_else(String::new, |found| signed(found.strength, 2))
        }));
        row
    });
    let group = (groups > 0).then(|| "group".to_owned());
    let header = std::iter::once("value".to_owned()).chain(group);
    Table {
        title: Some("strength, without intervals".to_owned()),
        header: header
            .chain(measurable.iter().map(|of| of.name.clone()))
            .collect(),
        rows: rows.collect(),
    }
}

/// Every request with the positions of every checkpoint, by letters and as written.
fn requests(findings: &Findings) -> Table {
    let positions = |of: Option<&ItemFindings>| {
        let shown = of.map(|item| format!("{:.1} / {:.1}", item.expected[0], item.expected[1]));
        shown.unwrap_or_else(|| "–".to_owned())
    };
    let written = findings
        .written
        .iter()
        .flat_map(|written| &written.checkpoints);
    let written: Vec<&WrittenFindings> = written.filter(|of| of.verdict.is_measurable()).collect();
    let rows = findings.requests.iter().enumerate().map(|(at, asked)| {
        let mut row = vec![
            format!("{} / {}", asked.pair[0], asked.pair[1]),
            asked.query.clone(),
            asked.language.clone(),
            asked.nudge.name().to_owned(),
        ];
        let letters = findings.checkpoints.iter();
        row.extend(letters.map(|of| positions(of.verdict.is_measurable().then(|| &of.items[at]))));
        row.extend(written.iter().map(|of| positions(of.items[at].as_ref())));
        row
    });
    let of_written = written.iter().map(|of| format!("{}, as written", of.name));
    let header = ["values", "request", "language", "nudge"]
        .map(str::to_owned)
        .into_iter();
    Table {
        title: Some("expected positions of every request, first and second value".to_owned()),
        header: header.chain(names(findings)).chain(of_written).collect(),
        rows: rows.collect(),
    }
}

/// What the user should know.
pub(crate) fn warnings(findings: &Findings) -> Vec<String> {
    let lines = findings.checkpoints.iter().filter_map(|of| {
        let reason = of.verdict.reason()?;
        Some(format!("{}: not measurable: {reason}", of.name))
    });
    let written = findings
        .written
        .iter()
        .flat_map(|written| &written.checkpoints);
    let unheard = written.flat_map(|of| {
        of.raters.iter().filter_map(|rater| {
            let reason = rater.verdict.reason()?;
            Some(format!(
                "{}: rater {} is not heard: {reason}",
                of.name, rater.rater
            ))
        })
    });
    lines.chain(unheard).collect()
}
