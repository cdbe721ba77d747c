//! What is exported.

use super::data::Data;
use super::findings::{CheckpointFindings, Findings, Tested};
use super::plan::{self, ASKED, ORDERS, STEERED};
use crate::shared::words::text_cell as text;
use crate::stress::{RoundOf, over_some};
use crate::{CheckpointReadings, SuiteError};
use concord_findings::{Cell, Column, Estimate, Interval, LongTable, TableSpec};

/// What the tables are.
pub(crate) static SPECS: [TableSpec; 2] = [ANSWERS, MEASURES];

/// What `surveys_answers` is.
const ANSWERS: TableSpec = TableSpec {
    name: "surveys_answers",
    about: "a row an option of a question",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("question", "the name of the question"),
        Column::string("topic", "what it is about; missing where that is unknown"),
        Column::string("language", "the language of the question"),
        Column::string(
            "population",
            "whose answer was asked for; missing for the checkpoint's own",
        ),
        Column::string("option", "the option"),
        Column::boolean("declines", "whether it declines to answer"),
        Column::float(
            "probability",
            "its probability, over both orders of the options",
        ),
        Column::float("mass", "the probability of all letters together"),
    ],
};

/// What `surveys_measures` is.
const MEASURES: TableSpec = TableSpec {
    name: "surveys_measures",
    about: "a row a measure of a checkpoint and population",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("population", "the population; missing for all"),
        Column::string(
            "topic",
            "the topic, `no topic` where there is none; missing for all",
        ),
        Column::string(
            "language",
            "the language of the topic's questions; missing for all",
        ),
        Column::string(
            "measure",
            "`distance`, `similarity`, `wasserstein`, `less_uniform`, `shuffled_less`, `less_first`, `steered`; without a population `mass`, `flips`, `declines`; `nearest`, whose value is how much nearer it is than the mean",
        ),
        Column::float("value", "its value"),
        Column::float("low", "the lower end of its 95 % interval"),
        Column::float("high", "the upper end"),
        Column::integer("n", "how many questions it is of"),
        Column::float("p", "two-sided, against nothing"),
        Column::float(
            "adjusted_p",
            "with the false-discovery rate over populations controlled",
        ),
        Column::string(
            "not_measurable",
            "why nothing may be concluded; missing where something may",
        ),
    ],
};

/// Every option of every question.
pub(crate) fn answers(
    data: &Data,
    read: &[CheckpointReadings],
) -> Result<Vec<LongTable>, SuiteError> {
    let mut table = ANSWERS.table();
    for of in read {
        let round = |name: &str| RoundOf {
            name: &of.name,
            read: of.readings.round(name),
        };
        for question in &data.questions {
            let populations = question.human.keys().map(|name| Some(name.as_str()));
            for population in std::iter::once(None).chain(populations) {
                let round = round(if population.is_some() { STEERED } else { ASKED });
                let id = |order: usize| plan::id(question, population, order);
                if population.is_some() && !round.has(&id(0)) {
                    continue;
                }
                let over = over_some(round, question.options.len(), ORDERS, id)?;
                for (at, option) in question.options.iter().enumerate() {
                    table.push([
                        text(&of.name),
                        text(&question.id),
                        text(&question.topic),
                        text(&question.language),
                        population.map_or(Cell::Missing, text),
                        text(option),
                        Cell::Truth(question.declines(at)),
                        Cell::Number(over.p[at]),
                        Cell::Number(over.mass),
                    ]);
                }
            }
        }
    }
    Ok(vec![table])
}

/// Every measure.
pub(crate) fn tables(findings: &Findings) -> Vec<LongTable> {
    let mut table = MEASURES.table();
    for of in &findings.checkpoints {
        table.push(row(of, ["", "", "mass"], &alone(of.mass.clone())));
        table.push(row(of, ["", "", "flips"], &alone(of.flips.clone())));
        if let Some(declines) = &of.declines {
            table.push(row(of, ["", "", "declines"], &alone(declines.clone())));
        }
        for (asked, found) in findings.populations.iter().zip(&of.populations) {
            let name = asked.population.as_str();
            table.push(row(
                of,
                [name, "", "distance"],
                &alone(found.distance.clone()),
            ));
            let number =
                |value: f64| alone(Estimate::exact(value).of(found.distance.n, "question"));
            table.push(row(of, [name, "", "similarity"], &number(found.similarity)));
            table.push(row(of, [name, "", "shuffled_less"], &found.shuffled_less));
            if let Some(scale) = &found.wasserstein {
                table.push(row(of, [name, "", "wasserstein"], &alone(scale.clone())));
            }
            table.push(row(of, [name, "", "less_uniform"], &found.less_uniform));
            if let Some(tested) = &found.difference {
                table.push(row(of, [name, "", "less_first"], tested));
            }
            if let Some(tested) = &found.steered {
                table.push(row(of, [name, "", "steered"], tested));
            }
            for (topic, value) in findings.topics.iter().zip(&found.topics) {
                if let Some(value) = value {
                    let mut cells =
                        row(of, [name, topic.name(), "distance"], &alone(value.clone()));
                    cells[3] = text(&topic.language);
                    table.push(cells);
                }
            }
        }
        if let Some(best) = &of.best {
            let nearer = Tested {
                estimate: Estimate::exact(best.nearer),
                p: Some(best.p),
                adjusted_p: None,
            };
            table.push(row(of, [&best.population, "", "nearest"], &nearer));
        }
    }
    vec![table]
}

fn alone(estimate: Estimate) -> Tested {
    Tested {
        estimate,
        p: None,
        adjusted_p: None,
    }
}

fn row(
    of: &CheckpointFindings,
    [population, topic, measure]: [&str; 3],
    tested: &Tested,
) -> Vec<Cell> {
    let estimate = &tested.estimate;
    let end = |end: fn(&Interval) -> f64| {
        let ends = estimate.interval.as_ref();
        ends.map_or(Cell::Missing, |ends| Cell::Number(end(ends)))
    };
    let p = |p: Option<f64>| p.map_or(Cell::Missing, Cell::Number);
    vec![
        text(&of.name),
        text(population),
        text(topic),
        Cell::Missing,
        text(measure),
        Cell::Number(estimate.value),
        end(|ends| ends.low),
        end(|ends| ends.high),
        Cell::Count(estimate.n as u64),
        p(tested.p),
        p(tested.adjusted_p),
        of.verdict.reason().map_or(Cell::Missing, text),
    ]
}
