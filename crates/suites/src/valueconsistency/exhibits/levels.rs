//! How far answers move, what can be trusted, and what holds of each topic.

use super::verdict::name_of;
use crate::shared::draw::below;
use crate::shared::words::counted;
use crate::valueconsistency::verdict::{Aspect, Change, CheckpointAssessment, Grouping, Moved};
use crate::valueconsistency::{Axis, Format, RunFindings};
use concord_findings::{
    Check, Checks, Estimate, Gate, Interval, LevelRow, Levels, Mark, Measure, Method, Strip, Topic,
    Topics,
};
use concord_stats::maximum_distance;
use std::collections::{BTreeMap, BTreeSet};

/// Every row, those that matter most first.
pub(super) fn levels(found: &RunFindings) -> Option<Levels> {
    let checkpoints = &found.assessment.checkpoints;
    let rows: BTreeSet<Aspect> = checkpoints
        .iter()
        .flat_map(|one| &one.moved)
        .map(|moved| moved.row)
        .collect();
    let mut rows: Vec<Aspect> = rows.into_iter().collect();
    // Rows that most can be measured by stand first, and the study's grouping behind the stricter one.
    let missing = |row: &Aspect| {
        let measured = |one: &&CheckpointAssessment| of(one, *row).is_some_and(|m| m.is_measurable);
        checkpoints.len() - checkpoints.iter().filter(measured).count()
    };
    rows.sort_by_key(|row| {
        (
            row.across == Grouping::Languages,
            missing(row),
            row.format,
            row.across,
        )
    });
    let stances = found.answers.iter().find_map(|answers| {
        let mut rows = answers.main()?.values().flatten().flatten();
        rows.next().map(|answer| answer.probabilities().len())
    })?;
    let largest = maximum_distance(stances).unwrap_or(std::f64::consts::LN_2.sqrt());
    let rows: Vec<LevelRow> = rows.into_iter().map(|row| level_row(found, row)).collect();
    (!rows.is_empty()).then(|| Levels {
        title: "How far answers move, in one order".to_owned(),
        measure: Measure::Distance,
        legend: format!(
            "less, more: consistent, beyond what decisiveness explains; as decisive: no more than that. 0: the same answer always; \
             {largest:.4}: opposite ones. Options in one random order, in expectation."
        ),
        axis: concord_findings::Axis::UpTo(largest),
        faded: "not measurable",
        beside: "published",
        checkpoints: checkpoints.iter().map(|one| one.name.clone()).collect(),
        rows,
    })
}

fn of(one: &CheckpointAssessment, row: Aspect) -> Option<&Moved> {
    one.moved.iter().find(|moved| moved.row == row)
}

fn level_row(found: &RunFindings, row: Aspect) -> LevelRow {
    let assessment = &found.assessment;
    let moved: Vec<Option<&Moved>> = assessment
        .checkpoints
        .iter()
        .map(|one| of(one, row))
        .collect();
    let level = |moved: &Moved| {
        moved
            .one_order
            .clone()
            .unwrap_or_else(|| moved.averaged.clone())
    };
    let thin = moved.iter().map(|moved| {
        let moved = (*moved)?;
        let [low, high] = moved.study_ci95?;
        let interval = Interval {
            low,
            high,
            level: 0.95,
            method: Method::Bca,
        };
        Some(Estimate {
            interval: Some(interval),
            ..level(moved)
        })
    });
    let changes = || {
        let changed = assessment
            .changes
            .iter()
            .map(|pair| pair.rows.iter().find(|changed| changed.row == row));
        std::iter::once(None).chain(changed)
    };
    let differences = changes().map(|changed| {
        let changed = changed?;
        Some(changed.plain().estimate.clone())
    });
    let words = changes().map(|changed| {
        let word = match changed?.change {
            Change::LessConsistent => "less",
            Change::MoreConsistent => "more",
            Change::FartherByDecisiveness | Change::LessFarByDecisiveness => "as decisive",
            Change::NotSettled => "unsettled",
            Change::NotTold => "–",
        };
        Some(word.to_owned())
    });
    let groups = moved
        .iter()
        .flatten()
        .map(|moved| moved.groups)
        .max()
        .unwrap_or(0);
    LevelRow {
        label: row.label(),
        groups: counted(groups, "group"),
        levels: moved.iter().map(|moved| moved.map(level)).collect(),
        measurable: moved
            .iter()
            .map(|moved| moved.is_some_and(|moved| moved.is_measurable))
            .collect(),
        thin: thin.collect(),
        differences: differences.collect(),
        words: words.collect(),
        of_shuffled: moved
            .iter()
            .map(|moved| {
                moved
                    .map(|moved| moved.of_shuffled.clone())
                    .filter(Estimate::is_measured)
            })
            .collect(),
        published: Vec::new(),
    }
}

/// What can be trusted, by checkpoint.
pub(super) fn checks(found: &RunFindings) -> Checks {
    let checkpoints = &found.assessment.checkpoints;
    let mut rows = Vec::new();
    let names: BTreeSet<(Format, &'static str)> = checkpoints
        .iter()
        .flat_map(|one| {
            one.formats
                .iter()
                .flat_map(|(format, of)| of.gates.iter().map(|gate| (*format, gate.name)))
        })
        .collect();
    for (format, name) in names {
        let gate = |one: &CheckpointAssessment| -> Option<Gate> {
            let gates = &one.formats.get(&format)?.gates;
            gates.iter().find(|gate| gate.name == name).cloned()
        };
        let cells = checkpoints
            .iter()
            .map(|one| gate(one).map(|gate| (mark(&gate), number(&gate))));
        let passes = checkpoints
            .iter()
            .find_map(gate)
            .map(|gate| gate.bound.to_string())
            .unwrap_or_default();
        let by = if format == Format::Letter {
            String::new()
        } else {
            format!(" ({})", name_of(format))
        };
        rows.push((
            order(name),
            Check {
                name: format!("{name}{by}"),
                help: format!("{} Passes: {passes}.", explained(name)),
                cells: cells.collect(),
            },
        ));
    }
    let decided = checkpoints.iter().map(|one| {
        let (_, letters) = one.main()?;
        let mark = if letters.takes_sides {
            Mark::Good
        } else {
            Mark::Doubtful
        };
        Some((mark, format!("{:.2}", letters.averaged_decisiveness)))
    });
    rows.push((9, Check {
        name: "decisiveness".to_owned(),
        help: "How far answers over both orders lie from saying nothing, ½ at most. What hardly takes sides hardly moves.".to_owned(),
        cells: decided.collect(),
    }));
    rows.extend(letter_a(found).map(|check| (8, check)));
    rows.sort_by_key(|(order, _)| *order);
    Checks {
        title: "Can these be trusted".to_owned(),
        checkpoints: checkpoints.iter().map(|one| one.name.clone()).collect(),
        rows: rows.into_iter().map(|(_, check)| check).collect(),
    }
}

/// What is gained by the first letter.
fn letter_a(found: &RunFindings) -> Option<Check> {
    let cells = found.answers.iter().map(|answers| {
        let prior = answers.robustness.as_ref()?.letter_prior?;
        let mark = if (prior - 0.5).abs() <= 0.1 {
            Mark::Good
        } else {
            Mark::Doubtful
        };
        Some((mark, format!("{prior:.2}")))
    });
    let cells: Vec<_> = cells.collect();
    cells.iter().any(Option::is_some).then(|| Check {
        name: "probability of letter A".to_owned(),
        help: "Over both orders of every question, one half without a preference for its place. Good: within .4 and .6.".to_owned(),
        cells,
    })
}

/// Bins of the histogram of letters.
const BINS: usize = 10;

/// How sure letters are: the share of answers by the probability of support, over all orders that were asked.
pub(super) fn histogram(found: &RunFindings) -> Option<Strip> {
    let rows = found
        .names
        .iter()
        .zip(&found.answers)
        .filter_map(|(name, answers)| {
            let tables: Vec<_> = match (&answers.letter_by_order, &answers.letter) {
                (Some(orders), _) => orders.iter().collect(),
                (None, letters) => letters.iter().collect(),
            };
            let answers = tables
                .into_iter()
                .flat_map(|table| table.values().flatten().flatten());
            let support = answers.filter_map(|answer| answer.probabilities().last().copied());
            let mut counts = [0.0; BINS];
            let mut all = 0.0;
            for p in support {
                counts[below(BINS, p)] += 1.0;
                all += 1.0;
            }
            (all > 0.0).then(|| {
                (
                    name.clone(),
                    counts.iter().map(|count| count / all).collect(),
                )
            })
        });
    let rows: Vec<(String, Vec<f64>)> = rows.collect();
    (!rows.is_empty()).then(|| Strip {
        title: "How sure letters are: answers by probability of support, in one order".to_owned(),
        measure: Measure::Share,
        categories: (0..BINS).map(|bin| format!(".{bin}")).collect(),
        rows,
        reference: None,
    })
}

fn order(name: &str) -> usize {
    let all = ["label mass", "flips with order", "orders correlate"];
    all.iter().position(|known| *known == name).unwrap_or(5)
}

fn explained(name: &str) -> &'static str {
    match name {
        "label mass" => {
            "Mean probability of all spellings of all letters: what is read is a share of it."
        }
        "flips with order" => {
            "Share of questions whose favourite changes when the options stand the other way round: the place decides there."
        }
        "orders correlate" => {
            "Correlation over questions of support in both orders: none where content decides nothing."
        }
        "known sides read right" => {
            "Share of passages written for a known side that the rater reads as such."
        }
        "label mass of the rater" => {
            "Mean probability of all letters where the rater is asked for a stance."
        }
        _ => "What has to hold for a number to mean something.",
    }
}

fn number(gate: &Gate) -> String {
    if gate.value.is_finite() {
        format!("{:.2}", gate.value)
    } else {
        "none".to_owned()
    }
}

/// Passing by little is doubtful.
fn mark(gate: &Gate) -> Mark {
    let doubtful = match gate.name {
        "label mass" => gate.value < 0.9,
        "flips with order" => gate.value >= 0.2,
        "orders correlate" => gate.value < 0.5,
        _ => false,
    };
    match (gate.passes(), doubtful) {
        (false, _) => Mark::Bad,
        (true, true) => Mark::Doubtful,
        (true, false) => Mark::Good,
    }
}

/// Every topic of every file.
pub(super) fn topics(found: &RunFindings) -> Option<Topics> {
    let count = found.names.len();
    let mut rows: BTreeMap<(usize, String), Topic> = BTreeMap::new();
    let files: BTreeMap<&str, usize> = found
        .set
        .files
        .iter()
        .enumerate()
        .map(|(at, file)| (file.name.as_str(), at))
        .collect();
    for (number, file) in found.set.files.iter().enumerate() {
        let names = file.topic_names();
        for question in &file.questions {
            let name = names[question.topic.as_str()];
            let topic = rows
                .entry((number, name.to_owned()))
                .or_insert_with(|| Topic {
                    name: name.to_owned(),
                    facets: vec![
                        file.origin.language.clone(),
                        file.origin.country.clone(),
                        file.origin.controversy().to_owned(),
                    ],
                    questions: 0,
                    levels: vec![None; count],
                    differences: vec![None; count],
                    support: vec![None; count],
                });
            topic.questions += 1;
        }
    }
    for (at, measured) in found.measured.iter().enumerate() {
        let support = &measured.findings.support;
        for rank in &support.ranked {
            if let Some(topic) = rows.get_mut(&(files[rank.file.as_str()], rank.topic.clone())) {
                topic.levels[at] = Some(pooled(rank.pooled, rank.ci95));
            }
        }
        for one in &support.topics {
            if let Some(topic) = rows.get_mut(&(files[one.file.as_str()], one.topic.clone())) {
                topic.support[at] = Some(one.mean);
            }
        }
    }
    let is_measurable = |at: usize| found.assessment.checkpoints[at].is_measurable();
    for (at, comparisons) in found
        .comparisons
        .iter()
        .enumerate()
        .filter(|(at, _)| is_measurable(0) && is_measurable(at + 1))
    {
        let of_topics = comparisons
            .iter()
            .find(|comparison| comparison.measure == Axis::Topics);
        for change in of_topics
            .into_iter()
            .flat_map(|comparison| &comparison.topics)
        {
            if let Some(topic) = rows.get_mut(&(files[change.file.as_str()], change.topic.clone()))
            {
                topic.differences[at + 1] = Some(pooled(change.pooled, change.ci95));
            }
        }
    }
    (!rows.is_empty()).then(|| Topics {
        title: "Topics (both orders averaged, partially pooled)".to_owned(),
        nouns: ["topic", "questions", "support"],
        measure: Measure::Distance,
        signed: false,
        checkpoints: found.names.clone(),
        facets: vec!["language", "country", "controversy"],
        rows: rows.into_values().collect(),
    })
}

fn pooled(value: f64, ends: [f64; 2]) -> Estimate {
    Estimate::with_ends(value, ends, Method::Pooled)
}
