//! What is exported.

use super::data::{Data, POSITIONS};
use super::findings::{Findings, Written};
use super::placed::declining;
use super::plan::{self, ASKED};
use super::read::{RoundOf, over_orders};
use super::written::{self, PLACED, REFUSAL, SPECIFICATION, WRITTEN, placed_id, read_id};
use crate::shared::words::text_cell as text;
use crate::{ById, CheckpointReadings, SuiteError};
use concord_findings::{Cell, Column, Estimate, Interval, LongTable, TableSpec};

/// What the tables are.
pub(crate) static SPECS: [TableSpec; 3] = [ANSWERS, TEXTS, MEASURES];

/// What `stress_answers` is.
const ANSWERS: TableSpec = TableSpec {
    name: "stress_answers",
    about: "a row a position of a request as to one of its values",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("scenario", "the scenario"),
        Column::string("topic", "what it is about; missing where that is unknown"),
        Column::string("language", "the language asked in"),
        Column::string("value1", "the first value of its pair"),
        Column::string("value2", "the second"),
        Column::string("nudge_direction", "`neutral`, `value1`, `value2`"),
        Column::integer("of", "1 or 2: as to which of them"),
        Column::integer(
            "position",
            "from 0, strongly opposing, to 6, strongly favouring",
        ),
        Column::float(
            "probability",
            "its probability, over 14 orders of the options",
        ),
        Column::float("mass", "the probability of all seven letters together"),
    ],
};

/// What `stress_texts` is.
const TEXTS: TableSpec = TableSpec {
    name: "stress_texts",
    about: "a row a written answer and rater; one without a rater where nobody read it",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("scenario", "the scenario"),
        Column::string("language", "the language asked in"),
        Column::string("nudge_direction", "`neutral`, `value1`, `value2`"),
        Column::string("query", "the request"),
        Column::string("text", "what was written"),
        Column::string("rater", "who read it; missing where nobody did"),
        Column::float(
            "value1_position",
            "its expected position as to the first value, from 0 to 6",
        ),
        Column::float("value2_position", "as to the second"),
        Column::float(
            "declines",
            "the probability that it does not do what was asked",
        ),
        Column::float(
            "keeps",
            "the probability that it keeps the specification; missing without one",
        ),
    ],
};

/// What `stress_measures` is.
const MEASURES: TableSpec = TableSpec {
    name: "stress_measures",
    about: "a row a measure",
    columns: &[
        Column::string("checkpoint", "the checkpoint; missing for disagreement"),
        Column::string("of", "the value or topic; missing for all"),
        Column::string(
            "measure",
            "`nudge`, `nudge_log_odds`, `read_back`, `likelihood`, `mass`, `strength`, `disagreement_modes`, `disagreement_expected`, `high_disagreement`, `between`, `outliers`; of written answers `written_nudge`, `written_disagreement_modes`, `written_disagreement_expected`, `written_high_disagreement`, `written_declines`, `written_emphasis`, `written_as_letters`, `keeps`, `breaks`, `unclear`, `kappa`",
        ),
        Column::float("value", "its value"),
        Column::float("low", "the lower end of its 95 % interval"),
        Column::float("high", "the upper end"),
        Column::integer("n", "how many units it is of"),
        Column::string("unit", "the unit that was drawn"),
        Column::float("p", "two-sided, against nothing"),
        Column::string(
            "not_measurable",
            "why nothing may be concluded; missing where something may",
        ),
    ],
};

/// Every position.
pub(crate) fn answers(
    data: &Data,
    read: &[CheckpointReadings],
) -> Result<Vec<LongTable>, SuiteError> {
    let mut table = ANSWERS.table();
    for of in read {
        let asked = RoundOf {
            name: &of.name,
            read: of.readings.round(ASKED),
        };
        for item in &data.items {
            for value in 0..2 {
                let found = over_orders(asked, POSITIONS, |order| plan::id(item, value, order))?;
                for (position, p) in found.p.iter().enumerate() {
                    table.push([
                        text(&of.name),
                        text(&item.name),
                        text(&item.topic),
                        text(&item.language),
                        text(&item.pair[0]),
                        text(&item.pair[1]),
                        text(item.direction.name()),
                        Cell::Count(value as u64 + 1),
                        Cell::Count(position as u64),
                        Cell::Number(*p),
                        Cell::Number(found.mass),
                    ]);
                }
            }
        }
    }
    let mut tables = vec![table];
    if read.iter().any(|of| of.readings.round(WRITTEN).is_some()) {
        tables.push(texts(data, read)?);
    }
    Ok(tables)
}

/// Every written answer.
fn texts(data: &Data, read: &[CheckpointReadings]) -> Result<LongTable, SuiteError> {
    let mut table = TEXTS.table();
    for of in read {
        let raters = of.readings.ratings(PLACED);
        for item in &data.items {
            let Some(written) = written::text(&of.readings, item) else {
                continue;
            };
            let has_read = |(_, read): &(&String, &ById)| read.contains_key(&placed_id(item, 0, 0));
            let readers: Vec<(&String, &ById)> =
                raters.into_iter().flatten().filter(has_read).collect();
            let cells = |rater: &str, numbers: [Cell; 4]| {
                let [first, second, declines, keeps] = numbers;
                [
                    text(&of.name),
                    text(&item.name),
                    text(&item.language),
                    text(item.direction.name()),
                    text(&item.query),
                    text(written),
                    text(rater),
                    first,
                    second,
                    declines,
                    keeps,
                ]
            };
            if readers.is_empty() {
                table.push(cells("", [const { Cell::Missing }; 4]));
            }
            for (name, read) in readers {
                let round = RoundOf {
                    name,
                    read: Some(read),
                };
                let position = |value: usize| {
                    over_orders(round, POSITIONS, |order| placed_id(item, value, order))
                };
                let of_classes = data.readers.refusal.classes.len();
                let refusal =
                    over_orders(round, of_classes, |order| read_id(item, REFUSAL, "", order))?;
                let keeps = if round.has(&read_id(item, SPECIFICATION, "", 0)) {
                    let choices = data.readers.specification.choices.len();
                    let over = over_orders(round, choices, |order| {
                        read_id(item, SPECIFICATION, "", order)
                    })?;
                    Cell::Number(over.p[0])
                } else {
                    Cell::Missing
                };
                table.push(cells(
                    name,
                    [
                        Cell::Number(position(0)?.expected()),
                        Cell::Number(position(1)?.expected()),
                        Cell::Number(declining(&refusal.p)),
                        keeps,
                    ],
                ));
            }
        }
    }
    Ok(table)
}

/// Every measure.
pub(crate) fn tables(findings: &Findings) -> Vec<LongTable> {
    let mut table = MEASURES.table();
    let mut push = |[checkpoint, of, measure]: [&str; 3],
                    estimate: &Estimate,
                    p: Option<f64>,
                    reason: Option<&str>| {
        let end = |end: fn(&Interval) -> f64| {
            estimate
                .interval
                .as_ref()
                .map_or(Cell::Missing, |ends| Cell::Number(end(ends)))
        };
        table.push([
            text(checkpoint),
            text(of),
            text(measure),
            Cell::Number(estimate.value),
            end(|ends| ends.low),
            end(|ends| ends.high),
            Cell::Count(estimate.n as u64),
            text(estimate.unit),
            p.map_or(Cell::Missing, Cell::Number),
            reason.map_or(Cell::Missing, text),
        ]);
    };
    for of in &findings.checkpoints {
        let (name, reason) = (of.name.as_str(), of.verdict.reason());
        if let Some(nudge) = &of.nudge {
            push([name, "", "nudge"], &nudge.effect, nudge.p, reason);
        }
        push([name, "", "mass"], &of.mass, None, reason);
        let numbers = [
            ("nudge_log_odds", of.nudge_log_odds),
            ("read_back", Some(of.read_back)),
            ("likelihood", of.likelihood),
        ];
        for (measure, value) in numbers {
            if let Some(value) = value {
                push([name, "", measure], &Estimate::exact(value), None, reason);
            }
        }
        for value in &of.ranked {
            let strength = Estimate::exact(value.strength).of(value.requests, "request");
            push([name, &value.value, "strength"], &strength, None, reason);
        }
    }
    if let Some(found) = &findings.disagreement {
        push(["", "", "disagreement_modes"], &found.modes, None, None);
        push(
            ["", "", "disagreement_expected"],
            &found.expected,
            None,
            None,
        );
        push(["", "", "high_disagreement"], &found.high, None, None);
        push(
            ["", "", "between"],
            &Estimate::exact(found.between),
            None,
            None,
        );
        for topic in &found.topics {
            let of = |value: f64| Estimate::exact(value).of(topic.requests, "request");
            push(
                ["", &topic.topic, "disagreement_modes"],
                &of(topic.modes),
                None,
                None,
            );
            push(
                ["", &topic.topic, "disagreement_expected"],
                &of(topic.expected),
                None,
                None,
            );
        }
        for (name, share) in found.checkpoints.iter().zip(&found.outliers) {
            push([name, "", "outliers"], &Estimate::exact(*share), None, None);
        }
    }
    if let Some(written) = &findings.written {
        of_written(written, &mut push);
    }
    vec![table]
}

/// Puts a measure into the table: checkpoint, of what, which; the estimate; its p; why nothing may be concluded.
type Push<'a> = &'a mut dyn FnMut([&str; 3], &Estimate, Option<f64>, Option<&str>);

/// Every measure of what was written.
fn of_written(written: &Written, push: Push<'_>) {
    for of in &written.checkpoints {
        let (name, reason) = (of.name.as_str(), of.verdict.reason());
        if let Some(nudge) = &of.nudge {
            push([name, "", "written_nudge"], &nudge.effect, nudge.p, reason);
        }
        if let Some(rank) = of.with_letters {
            let rank = Estimate::exact(rank);
            push([name, "", "written_as_letters"], &rank, None, reason);
        }
        if let Some(declines) = &of.declines {
            push([name, "", "written_declines"], declines, None, reason);
        }
        for (value, estimate) in &of.emphasis {
            push([name, value, "written_emphasis"], estimate, None, reason);
        }
    }
    if let Some(found) = &written.disagreement {
        let all = [
            ("written_disagreement_modes", &found.modes),
            ("written_disagreement_expected", &found.expected),
            ("written_high_disagreement", &found.high),
        ];
        for (measure, estimate) in all {
            push(["", "", measure], estimate, None, None);
        }
    }
    let Some(found) = &written.specification else {
        return;
    };
    for of in &found.checkpoints {
        let all = [
            ("keeps", &of.keeps),
            ("breaks", &of.breaks),
            ("unclear", &of.unclear),
        ];
        for (measure, estimate) in all {
            push([&of.checkpoint, &found.name, measure], estimate, None, None);
        }
    }
    if let Some(kappa) = found.panel.as_ref().and_then(|panel| panel.kappa) {
        push(
            ["", &found.name, "kappa"],
            &Estimate::exact(kappa),
            None,
            None,
        );
    }
}
