//! What is exported.

use super::design::profiles;
use super::findings::{CheckpointFindings, Findings, Tested};
use super::measure::beginning;
use super::options::{Data, Options};
use super::plan::{self, has_twins, requests};
use crate::shared::words::text_cell as text;
use crate::{CheckpointReadings, SuiteError};
use concord_findings::{Cell, Column, Estimate, Interval, LongTable, TableSpec};

/// What the tables are.
pub(crate) static SPECS: [TableSpec; 2] = [ANSWERS, MEASURES];

/// What `profiles_answers` is.
const ANSWERS: TableSpec = TableSpec {
    name: "profiles_answers",
    about: "a row a request under a profile",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("category", "the category of the request"),
        Column::integer("request", "its number in its category, from 1"),
        Column::string("asked", "`request`, or its benign `twin`"),
        Column::string(
            "profile",
            "`bare`, `neutral`, `design N`, `colours N`, `extreme …`, `survey …`",
        ),
        Column::string(
            "then",
            "what is said after it: `aside`, `safety`, `both`, `irrelevant`; missing for nothing",
        ),
        Column::float(
            "log_odds",
            "log-odds of complying against refusing beginnings",
        ),
        Column::float("mass", "the probability of both"),
    ],
};

/// What `profiles_measures` is.
const MEASURES: TableSpec = TableSpec {
    name: "profiles_measures",
    about: "a row an effect on the log-odds of complying",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("of", "the value, colour, profile or mitigation"),
        Column::string("category", "the category of requests; missing for all"),
        Column::string(
            "measure",
            "`effect`, `less_benign`, `taken_on`, `extreme`, `colour`, `profile`, `family`, `rank` (Spearman's ρ over families), `mitigation`, `bare`, `bare_less_first`, `wrapper`",
        ),
        Column::float("value", "its mean"),
        Column::float("low", "the lower end of its 95 % interval"),
        Column::float("high", "the upper end"),
        Column::integer("n", "how many units it is of"),
        Column::string("unit", "the unit that was drawn"),
        Column::float("p", "two-sided, against nothing"),
        Column::float(
            "adjusted_p",
            "with the false-discovery rate of its family controlled",
        ),
        Column::boolean(
            "taken_on",
            "whether the value was taken on; missing where that is not asked",
        ),
        Column::string(
            "not_measurable",
            "why nothing may be concluded; missing where something may",
        ),
    ],
};

/// Every request under every profile.
pub(crate) fn answers(
    data: &Data,
    options: &Options,
    read: &[CheckpointReadings],
) -> Result<Vec<LongTable>, SuiteError> {
    let mut table = ANSWERS.table();
    for of in read {
        for profile in profiles(data, options) {
            let then = profile.then.as_ref().map(|(name, _)| name.as_str());
            for (name, pair) in requests(data) {
                let twins = options.twins && pair.twin.is_some() && has_twins(&profile);
                for twin in std::iter::once(false).chain(twins.then_some(true)) {
                    let found = beginning(data, of, &plan::id(name, twin, &profile.name, then))?;
                    table.push([
                        text(&of.name),
                        text(name.0),
                        Cell::Count(name.1 as u64),
                        text(if twin { "twin" } else { "request" }),
                        text(&profile.name),
                        then.map_or(Cell::Missing, text),
                        Cell::Number(found.score),
                        Cell::Number(found.mass),
                    ]);
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
        let mut push = |what: [&str; 3], tested: &Tested, taken: Option<bool>| {
            table.push(row(of, what, tested, taken));
        };
        push(["", "", "bare"], &of.bare, None);
        if let Some(tested) = &of.bare_less_first {
            push(["", "", "bare_less_first"], tested, None);
        }
        push(["neutral", "", "wrapper"], &of.wrapper, None);
        for value in &of.values {
            let (name, taken) = (value.value.as_str(), Some(value.is_taken_on));
            push([name, "", "taken_on"], &value.taken_on, taken);
            push([name, "", "effect"], &value.effect, taken);
            if let Some(tested) = &value.less_benign {
                push([name, "", "less_benign"], tested, taken);
            }
            push([name, "", "extreme"], &value.extreme, taken);
            for category in &value.categories {
                push(
                    [name, &category.category, "effect"],
                    &category.effect,
                    taken,
                );
            }
        }
        for colour in &of.colours {
            push([&colour.profile, "", "colour"], &colour.effect, None);
        }
        for profile in of.groups.iter().chain(&of.respondents) {
            push([&profile.profile, "", "profile"], &profile.effect, None);
        }
        for family in &of.families {
            push([&family.extreme, "", "family"], &family.effect, None);
        }
        for found in &of.ranks {
            let rank = |rank: Option<f64>, p: Option<f64>, adjusted_p: Option<f64>| Tested {
                estimate: Estimate::exact(rank.unwrap_or(f64::NAN)).of(found.families, "family"),
                p,
                adjusted_p,
            };
            let all = rank(found.rank, found.p, found.adjusted_p);
            let taken = Some(found.is_taken_on);
            push([&found.value, "", "rank"], &all, taken);
            let categories = findings.categories.iter().zip(&found.categories);
            for (category, within) in categories {
                let within = rank(*within, None, None);
                push([&found.value, category, "rank"], &within, taken);
            }
        }
        if let Some(found) = &of.mitigation {
            let all = [
                ("profiles", &found.profiles),
                ("aside", &found.aside),
                ("safety", &found.safety),
                ("interaction", &found.interaction),
                ("irrelevant", &found.irrelevant),
            ];
            for (name, tested) in all {
                push([name, "", "mitigation"], tested, None);
            }
        }
    }
    vec![table]
}

fn row(
    of: &CheckpointFindings,
    [what, category, measure]: [&str; 3],
    tested: &Tested,
    taken: Option<bool>,
) -> Vec<Cell> {
    let estimate = &tested.estimate;
    let end = |end: fn(&Interval) -> f64| {
        estimate
            .interval
            .as_ref()
            .map_or(Cell::Missing, |ends| Cell::Number(end(ends)))
    };
    let p = |p: Option<f64>| p.map_or(Cell::Missing, Cell::Number);
    vec![
        text(&of.name),
        text(what),
        text(category),
        text(measure),
        Cell::Number(estimate.value),
        end(|ends| ends.low),
        end(|ends| ends.high),
        Cell::Count(estimate.n as u64),
        text(estimate.unit),
        p(tested.p),
        p(tested.adjusted_p),
        taken.map_or(Cell::Missing, Cell::Truth),
        of.verdict.reason().map_or(Cell::Missing, text),
    ]
}
