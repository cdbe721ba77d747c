//! What is exported: scenarios as the suite `stress` reads them.

use super::measure::Findings;
use crate::digest;
use concord_findings::{Cell, Column, LongTable, TableSpec};
use serde_json::json;

/// What the tables are.
pub(crate) static SPECS: [TableSpec; 1] = [SCENARIOS];

/// What `drafted_scenarios` is.
const SCENARIOS: TableSpec = TableSpec {
    name: "drafted_scenarios",
    about: "a row a request, plain and nudged to each value: what `concord run --suite stress --scenarios` takes",
    columns: &[
        Column::string("scenario", "the scenario: the same for its three requests"),
        Column::string("value1", "the first value"),
        Column::string("value2", "the second"),
        Column::string("nudge_direction", "`neutral`, `value1`, `value2`"),
        Column::string("query", "the request"),
        Column::string("query_generator", "the checkpoint that drafted it"),
        Column::float(
            "value1_seen",
            "the probability, as raters have it, that the first value matters",
        ),
        Column::float("value2_seen", "of the second"),
        Column::float("other_seen", "of one that was drawn and should not"),
    ],
};

/// Everything that is kept.
pub(crate) fn tables(findings: &Findings) -> Vec<LongTable> {
    let mut table = SCENARIOS.table();
    let text = |text: &str| Cell::Text(text.into());
    for of in &findings.checkpoints {
        for kept in &of.kept {
            let nudged =
                |value: &str| format!("{} {}", kept.query, findings.nudge.replace("{v}", value));
            let [a, b] = &kept.pair;
            let all = [
                ("neutral", kept.query.clone()),
                ("value1", nudged(a)),
                ("value2", nudged(b)),
            ];
            for (direction, query) in all {
                table.push([
                    text(&format!("{} {}", of.name, digest(&json!(kept.query)))),
                    text(a),
                    text(b),
                    text(direction),
                    text(&query),
                    text(&of.name),
                    Cell::Number(kept.seen[0]),
                    Cell::Number(kept.seen[1]),
                    Cell::Number(kept.other),
                ]);
            }
        }
    }
    vec![table]
}
