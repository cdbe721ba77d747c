//! What is exported.

use super::findings::{CheckpointFindings, Effect, Findings};
use super::measure::decision;
use super::options::{Data, Options};
use super::plan::{self, CELLS, Condition, ORDERS, conditions, requests, was_asked};
use crate::shared::words::text_cell as text;
use crate::{CheckpointReadings, SuiteError};
use concord_findings::{Cell, Column, LongTable, TableSpec};

/// What the tables are.
pub(crate) static SPECS: [TableSpec; 2] = [ANSWERS, MEASURES];

/// What `faking_answers` is.
const ANSWERS: TableSpec = TableSpec {
    name: "faking_answers",
    about: "a row a decision that was read",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("family", "the family of the request"),
        Column::integer("request", "its number in its family, from 1"),
        Column::string("asked", "`request`, or its benign `twin`"),
        Column::string("labels", "the set of labels; missing where none is named"),
        Column::string(
            "label",
            "which of them the conversation has: `first`, `second`",
        ),
        Column::string("trained", "which of them is said to be trained on"),
        Column::string(
            "told",
            "`trained`, or `removed` where the same is said of something else",
        ),
        Column::string(
            "objective",
            "what training is said to be for: `helpful`, `harmless`",
        ),
        Column::string("variant", "another way to ask; missing for the plain one"),
        Column::integer(
            "order",
            "1 to 4: in which order words (1 and 3, 2 and 4) and labels (1 and 2, 3 and 4) are named",
        ),
        Column::float("accept", "the probability of accepting, of both words"),
        Column::float("mass", "the probability of both words"),
    ],
};

/// What `faking_measures` is.
const MEASURES: TableSpec = TableSpec {
    name: "faking_measures",
    about: "a row an effect",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("labels", "the set of labels"),
        Column::string("variant", "another way to ask; missing for the plain one"),
        Column::string(
            "measure",
            "`meaning`, `label`, `gap`, `removed`, `beyond_removed`, `harmless`, `twins`, `less_plain`, `accept`",
        ),
        Column::float("value", "its mean over requests"),
        Column::float("low", "the lower end of its 95 % interval"),
        Column::float("high", "the upper end"),
        Column::integer("n", "how many units it is of"),
        Column::string("unit", "the unit that was drawn"),
        Column::float("p", "two-sided, against nothing"),
        Column::float(
            "adjusted_p",
            "with the false-discovery rate of its family controlled",
        ),
        Column::string(
            "verdict",
            "what the checkpoint comes to: `meaning`, `lexical`, `both`, `none`",
        ),
        Column::string(
            "not_measurable",
            "why nothing may be concluded; missing where something may",
        ),
    ],
};

fn number(value: f64) -> Cell {
    Cell::Number(value)
}

fn count(count: usize) -> Cell {
    Cell::Count(count as u64)
}

/// Every decision.
pub(crate) fn answers(
    data: &Data,
    options: &Options,
    read: &[CheckpointReadings],
) -> Result<Vec<LongTable>, SuiteError> {
    let mut table = ANSWERS.table();
    let all = conditions(options);
    for of in read {
        for (name, pair) in requests(data) {
            for order in 0..ORDERS {
                let mut push = |asked: Option<(&Condition, plan::Cell)>| -> Result<(), SuiteError> {
                    let found = decision(of, &plan::id(name, asked, order))?;
                    let side = |side: usize| text(if side == 0 { "first" } else { "second" });
                    let of_condition = |cell: &dyn Fn(&Condition, plan::Cell) -> Cell| {
                        asked.map_or(Cell::Missing, |(condition, at)| cell(condition, at))
                    };
                    let is_twin = asked.is_some_and(|(condition, _)| condition.twin);
                    table.push([
                        text(&of.name),
                        text(name.0),
                        count(name.1),
                        text(if is_twin { "twin" } else { "request" }),
                        of_condition(&|condition, _| text(&condition.set)),
                        of_condition(&|_, at| side(at.label)),
                        of_condition(&|_, at| side(at.trained)),
                        of_condition(&|condition, _| text(condition.told.name())),
                        of_condition(&|condition, _| text(condition.objective.name())),
                        of_condition(&|condition, _| text(&condition.variant)),
                        count(order + 1),
                        number(found.accept),
                        number(found.mass),
                    ]);
                    Ok(())
                };
                if order < 2 {
                    push(None)?;
                }
                for condition in &all {
                    if plan::asked(pair, Some(condition)).is_some()
                        && was_asked(data, of, condition)
                    {
                        for cell in CELLS {
                            push(Some((condition, cell)))?;
                        }
                    }
                }
            }
        }
    }
    Ok(vec![table])
}

/// Every effect.
pub(crate) fn tables(findings: &Findings) -> Vec<LongTable> {
    let mut table = MEASURES.table();
    for of in &findings.checkpoints {
        for set in &of.sets {
            let effects = [
                ("meaning", Some(&set.meaning)),
                ("label", Some(&set.label)),
                ("gap", Some(&set.gap)),
                ("removed", Some(&set.removed)),
                ("beyond_removed", Some(&set.beyond_removed)),
                ("harmless", Some(&set.harmless)),
                ("twins", set.twins.as_ref()),
            ];
            for (measure, effect) in effects {
                if let Some(effect) = effect {
                    table.push(row(of, &set.set, "", measure, effect));
                }
            }
        }
        let first = of.sets.first().map_or("", |set| set.set.as_str());
        for variant in &of.variants {
            let effects = [
                ("gap", &variant.gap),
                ("meaning", &variant.meaning),
                ("less_plain", &variant.less_plain),
            ];
            for (measure, effect) in effects {
                let mut cells = row(of, first, &variant.variant, measure, effect);
                // It has gates of its own.
                if let (Some(last), Some(reason)) = (cells.last_mut(), variant.verdict.reason())
                    && of.verdict.is_measurable()
                {
                    *last = text(reason);
                }
                table.push(cells);
            }
        }
        let baseline = Effect {
            estimate: of.baseline.clone(),
            p: None,
            adjusted_p: None,
            difference: None,
        };
        table.push(row(of, "", "", "accept", &baseline));
    }
    vec![table]
}

fn row(
    of: &CheckpointFindings,
    set: &str,
    variant: &str,
    measure: &str,
    effect: &Effect,
) -> Vec<Cell> {
    let estimate = &effect.estimate;
    let end = |of: fn(&concord_findings::Interval) -> f64| {
        estimate
            .interval
            .as_ref()
            .map_or(Cell::Missing, |ends| number(of(ends)))
    };
    let p = |p: Option<f64>| p.map_or(Cell::Missing, number);
    vec![
        text(&of.name),
        text(set),
        text(variant),
        text(measure),
        number(estimate.value),
        end(|ends| ends.low),
        end(|ends| ends.high),
        count(estimate.n),
        text(estimate.unit),
        p(effect.p),
        p(effect.adjusted_p),
        of.conclusion
            .as_ref()
            .map_or(Cell::Missing, |found| text(found.kind.name())),
        of.verdict.reason().map_or(Cell::Missing, text),
    ]
}
