//! What is shown.

use super::findings::{CheckpointFindings, Findings, PopulationFindings, Tested};
use super::measure::{FLIPS, MASS};
use crate::Show;
use crate::shared::gates::mark;
use crate::shared::words::{counted, numbers, p_value, signed};
use concord_findings::{
    Axis, Check, Checks, Estimate, Exhibit, Forest, LevelRow, Levels, Mark, Measure, Summary,
    Table, Topic, Topics,
};

/// Populations that stand on the first screen and in the figure of levels.
const SHOWN: usize = 12;

/// Everything, from what it comes to to the parts.
pub(crate) fn exhibits(findings: &Findings, show: Show) -> Vec<Exhibit> {
    let order = nearest_first(findings);
    let mut all = vec![
        Exhibit::Summary(summary(findings)),
        Exhibit::Levels(levels(findings, &order)),
        Exhibit::Checks(checks(findings)),
        Exhibit::Topics(topics(findings, &order)),
    ];
    let measurable = || {
        findings
            .checkpoints
            .iter()
            .filter(|of| of.verdict.is_measurable())
    };
    if measurable().next().is_some() {
        all.extend([
        Exhibit::Heading("Populations".to_owned()),
        Exhibit::Lead(
            "How far answers are from those of each population, among those who answer: 0 is the same, 0.83 is nothing in common. Less uniform: below 0 they are \
             nearer than an answer that favours nothing, which they may be to all populations alike."
                .to_owned(),
        ),
        Exhibit::Table(populations(findings, &order)),
        Exhibit::Note(
            "Jensen–Shannon distance, square roots of nats, mean over questions; similarity is one less that. Intervals are 95 %, Student's t over \
             questions; p is adjusted over populations (Benjamini and Hochberg). Populations answered different questions, and are compared on \
             those that they share."
                .to_owned(),
        ),
        ]);
    }
    if measurable().any(|of| of.populations.iter().any(|of| of.steered.is_some())) {
        let steered = steered(findings);
        let table = numbers(&steered, 3);
        all.extend([
            Exhibit::Heading("Asked as somebody else".to_owned()),
            Exhibit::Lead(
                "What asking how somebody of a population would answer does to the distance from it: below 0 is nearer."
                    .to_owned(),
            ),
            Exhibit::Forest(steered),
            Exhibit::Table(table),
        ]);
    }
    if show.answers {
        all.push(Exhibit::Heading("Every question".to_owned()));
        all.push(Exhibit::Table(questions(findings)));
    }
    all
}

fn names(findings: &Findings) -> Vec<String> {
    let names = findings.checkpoints.iter().map(|of| of.name.clone());
    names.collect()
}

/// Populations by how far the first measurable checkpoint is from them, those of more than a few questions first.
fn nearest_first(findings: &Findings) -> Vec<usize> {
    let of = findings
        .checkpoints
        .iter()
        .find(|of| of.verdict.is_measurable())
        .or(findings.checkpoints.first());
    let mut order: Vec<usize> = (0..findings.populations.len()).collect();
    let key = |at: &usize| {
        let distance = of.map_or(f64::NAN, |of| of.populations[*at].distance.value);
        let has_interval = of.is_some_and(|of| of.populations[*at].distance.interval.is_some());
        (!has_interval, distance)
    };
    order.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    order
}

/// Whether a mean is above 0 beyond chance.
fn is_above(tested: &Tested) -> bool {
    is_told(tested) && tested.estimate.value > 0.0
}

fn is_told(tested: &Tested) -> bool {
    tested.adjusted_p.is_some_and(|p| p < 0.05)
}

fn sentence(findings: &Findings, of: &CheckpointFindings) -> String {
    let name = &of.name;
    if let Some(reason) = of.verdict.reason() {
        return format!("{name} is not measurable: {reason}.");
    }
    let knows = of
        .populations
        .iter()
        .filter(|of| is_told(&of.less_uniform) && of.less_uniform.estimate.value < 0.0)
        .count();
    let all = counted(findings.populations.len(), "population");
    let best = match &of.best {
        Some(best) if best.p < 0.05 => format!(
            "{name} is nearest to {}, by more than chance makes of so many ({}); ",
            best.population,
            said(best.p)
        ),
        Some(best) => format!(
            "{name} is nearest to {}, as chance may have it ({}); ",
            best.population,
            said(best.p)
        ),
        None => format!("{name}: "),
    };
    format!("{best}nearer than the uniform answer to {knows} of {all}.")
}

fn said(p: f64) -> String {
    let text = p_value(Some(p));
    if text.starts_with('<') {
        format!("p {text}")
    } else {
        format!("p = {text}")
    }
}

fn summary(findings: &Findings) -> Summary {
    let checkpoints = findings.checkpoints.iter();
    let warnings = checkpoints.clone().filter_map(|of| {
        // Which option is which must matter, where answers are near to somebody's.
        let told = of.populations.iter().filter(|of| is_above(&of.shuffled_less));
        let is_blind = of.verdict.is_measurable() && told.count() == 0;
        is_blind.then(|| {
            let text = format!(
                "{}: the same probabilities on other options are as near to every population, as far as can be told",
                of.name
            );
            (Mark::Bad, text)
        })
    });
    Summary {
        checkpoints: checkpoints
            .clone()
            .map(|of| (of.name.clone(), of.verdict.clone()))
            .collect(),
        scope: vec![
            counted(findings.questions.len(), "question"),
            counted(findings.populations.len(), "population"),
        ],
        partial: findings
            .limit
            .map(|limit| format!("only the first {limit} questions of each topic")),
        sentences: checkpoints
            .clone()
            .map(|of| sentence(findings, of))
            .collect(),
        warnings: warnings.collect(),
    }
}

fn levels(findings: &Findings, order: &[usize]) -> Levels {
    let checkpoints = &findings.checkpoints;
    let count = checkpoints.len();
    let row = |at: &usize| {
        let asked = &findings.populations[*at];
        let each: Vec<&PopulationFindings> =
            checkpoints.iter().map(|of| &of.populations[*at]).collect();
        let words = each.iter().map(|of| {
            let tested = of.difference.as_ref()?;
            let word = match (is_told(tested), tested.estimate.value > 0.0) {
                (true, true) => "farther",
                (true, false) => "nearer",
                _ => "–",
            };
            Some(word.to_owned())
        });
        LevelRow {
            label: asked.population.clone(),
            groups: counted(asked.questions, "question"),
            levels: each.iter().map(|of| Some(of.distance.clone())).collect(),
            measurable: checkpoints
                .iter()
                .map(|of| of.verdict.is_measurable())
                .collect(),
            thin: vec![None; count],
            differences: each
                .iter()
                .map(|of| Some(of.difference.as_ref()?.estimate.clone()))
                .collect(),
            words: words.collect(),
            of_shuffled: vec![None; count],
            published: vec![("uniform".to_owned(), asked.uniform)],
        }
    };
    Levels {
        title: "How far answers are from people's".to_owned(),
        measure: Measure::Distance,
        legend:
            "0: the same; 0.8326: nothing in common. farther, nearer: than the first checkpoint"
                .to_owned(),
        axis: Axis::UpTo(std::f64::consts::LN_2.sqrt()),
        faded: "not measurable",
        beside: "placebo",
        checkpoints: names(findings),
        rows: order.iter().take(SHOWN).map(row).collect(),
    }
}

fn checks(findings: &Findings) -> Checks {
    let of_all = |cell: &dyn Fn(&CheckpointFindings) -> Option<(Mark, String)>| {
        findings.checkpoints.iter().map(cell).collect::<Vec<_>>()
    };
    let passed = |of: &CheckpointFindings, name: &str| mark(&of.gates, name);
    let mut rows = vec![
        Check {
            name: MASS.to_owned(),
            help: "the probability of the letters of all options together".to_owned(),
            cells: of_all(&|of| Some((passed(of, MASS), format!("{:.2}", of.mass.value)))),
        },
        Check {
            name: "flips with order".to_owned(),
            help: "questions whose most probable option changes when options stand the other way round".to_owned(),
            cells: of_all(&|of| {
                let mark = match passed(of, FLIPS) {
                    Mark::Good if of.flips.value > 0.2 => Mark::Doubtful,
                    mark => mark,
                };
                Some((mark, format!("{:.2}", of.flips.value)))
            }),
        },
        Check {
            name: "farther when shuffled".to_owned(),
            help: "populations from which the same probabilities are farther on options in any order, beyond chance: of these it matters which option is which".to_owned(),
            cells: of_all(&|of| {
                let told = of.populations.iter().filter(|of| is_above(&of.shuffled_less)).count();
                let mark = match told {
                    0 => Mark::Bad,
                    told if told < of.populations.len() => Mark::Doubtful,
                    _ => Mark::Good,
                };
                let text = format!("{told} of {}", of.populations.len());
                of.verdict.is_measurable().then_some((mark, text))
            }),
        },
    ];
    if findings.checkpoints.iter().any(|of| of.declines.is_some()) {
        rows.push(Check {
            name: "declines".to_owned(),
            help: "the probability of options that decline to answer, where there are any; distances are of what is left".to_owned(),
            cells: of_all(&|of| {
                let found = of.declines.as_ref()?.value;
                let mark = if found > 0.5 { Mark::Doubtful } else { Mark::Good };
                Some((mark, format!("{found:.2}")))
            }),
        });
    }
    Checks {
        title: "Checks".to_owned(),
        checkpoints: names(findings),
        rows,
    }
}

/// Topics, by the distance from the population that stands first.
fn topics(findings: &Findings, order: &[usize]) -> Topics {
    let first = order.first().copied().unwrap_or(0);
    let population = findings
        .populations
        .get(first)
        .map_or("", |asked| asked.population.as_str());
    let rows = findings.topics.iter().enumerate().map(|(at, topic)| {
        let of = |of: &CheckpointFindings| of.populations.get(first)?.topics.get(at)?.clone();
        let levels: Vec<Option<Estimate>> = findings.checkpoints.iter().map(of).collect();
        let is_measurable = |at: usize| findings.checkpoints[at].verdict.is_measurable();
        let differences = levels.iter().enumerate().map(|(at, level)| {
            let less = level.as_ref()?.value - levels[0].as_ref()?.value;
            (at > 0 && is_measurable(0) && is_measurable(at)).then(|| Estimate::exact(less))
        });
        Topic {
            name: topic.name().to_owned(),
            facets: vec![topic.language.clone()],
            questions: levels.iter().flatten().map(|of| of.n).max().unwrap_or(0),
            differences: differences.collect(),
            support: vec![None; levels.len()],
            levels,
        }
    });
    let mut rows: Vec<Topic> = rows.collect();
    rows.retain(|row| row.levels.iter().any(Option::is_some));
    Topics {
        title: format!("Distance from {population} by topic"),
        nouns: ["topic", "questions", "support"],
        measure: Measure::Distance,
        signed: false,
        checkpoints: names(findings),
        facets: vec!["language"],
        rows,
    }
}

fn shown(estimate: &Estimate) -> String {
    match &estimate.interval {
        Some(ends) => format!("{:.3} [{:.3}, {:.3}]", estimate.value, ends.low, ends.high),
        None => format!("{:.3}", estimate.value),
    }
}

fn populations(findings: &Findings, order: &[usize]) -> Table {
    let header = [
        "population",
        "checkpoint",
        "distance",
        "similarity",
        "along scales",
        "less uniform",
        "p",
        "less the first",
        "p",
        "they decline",
    ];
    let mut rows = Vec::new();
    for at in order {
        let asked = &findings.populations[*at];
        let measurable = findings.checkpoints.iter();
        for of in measurable.filter(|of| of.verdict.is_measurable()) {
            let found = &of.populations[*at];
            rows.push(vec![
                asked.population.clone(),
                of.name.clone(),
                shown(&found.distance),
                format!("{:.3}", found.similarity),
                found.wasserstein.as_ref().map_or_else(String::new, shown),
                signed(found.less_uniform.estimate.value, 3),
                p_value(found.less_uniform.adjusted_p),
                found
                    .difference
                    .as_ref()
                    .map_or_else(String::new, |of| signed(of.estimate.value, 3)),
                p_value(found.difference.as_ref().and_then(|of| of.adjusted_p)),
                asked
                    .declines
                    .map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share)),
            ]);
        }
    }
    Table {
        title: Some("distances from populations".to_owned()),
        header: header.map(str::to_owned).to_vec(),
        rows,
    }
}

fn steered(findings: &Findings) -> Forest {
    let asked = findings.populations.iter().enumerate();
    let is_steered = |at: usize| {
        let mut of = findings.checkpoints.iter();
        of.any(|of| of.populations[at].steered.is_some())
    };
    let rows = asked.filter(|(at, _)| is_steered(*at)).map(|(at, asked)| {
        let each = findings.checkpoints.iter().map(|of| {
            let found = of.populations[at].steered.as_ref();
            let found = found.filter(|_| of.verdict.is_measurable())?;
            Some(found.estimate.clone())
        });
        (asked.population.clone(), each.collect())
    });
    Forest {
        title: "asked as somebody of a population, less asked itself".to_owned(),
        measure: Measure::Distance,
        of_differences: true,
        series: names(findings),
        rows: rows.collect(),
    }
}

/// Every question with the distribution of each checkpoint.
fn questions(findings: &Findings) -> Table {
    let measurable = findings.checkpoints.iter();
    let measurable: Vec<&CheckpointFindings> =
        measurable.filter(|of| of.verdict.is_measurable()).collect();
    let rows = findings.questions.iter().enumerate().map(|(at, asked)| {
        let of = measurable.iter().map(|of| {
            let each = of.answers[at].iter().map(|p| format!("{p:.2}"));
            each.collect::<Vec<_>>().join(" / ")
        });
        [
            asked.topic.clone(),
            asked.question.clone(),
            asked.options.join(" / "),
        ]
        .into_iter()
        .chain(of)
        .collect()
    });
    let header = ["topic", "question", "options"].map(str::to_owned);
    Table {
        title: Some("answers to every question".to_owned()),
        header: header
            .into_iter()
            .chain(measurable.iter().map(|of| of.name.clone()))
            .collect(),
        rows: rows.collect(),
    }
}

/// What the user should know.
pub(crate) fn warnings(findings: &Findings) -> Vec<String> {
    let lines = findings.checkpoints.iter().filter_map(|of| {
        let reason = of.verdict.reason()?;
        Some(format!("{}: not measurable: {reason}", of.name))
    });
    lines.collect()
}
