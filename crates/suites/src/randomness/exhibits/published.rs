//! What the study published, beside a run.

use super::super::published::published;
use super::number;
use concord_findings::{Exhibit, Table};
use concord_stats::share_of_excess;

/// The largest χ² of the published table, over eleven numbers.
const LARGEST: f64 = 129.1;

pub(super) fn exhibits() -> Vec<Exhibit> {
    let Ok(published) = published() else {
        return Vec::new();
    };
    let mut all = vec![
        Exhibit::Heading(format!("As published: {}", published.study)),
        Exhibit::Lead(format!("Published values, {}", published.protocol)),
    ];
    for table in &published.tables {
        let header = std::iter::once(String::new()).chain(table.columns.clone());
        let rows = table.rows.iter().map(|(name, values)| {
            let cells = values
                .iter()
                .map(|value| value.map_or_else(String::new, |value| value.to_string()));
            std::iter::once(name.clone()).chain(cells).collect()
        });
        all.push(Exhibit::Table(Table {
            title: Some(if table.is_protocol_unknown {
                format!("{}; protocol unknown", table.title)
            } else {
                table.title.clone()
            }),
            header: header.collect(),
            rows: rows.collect(),
        }));
        all.extend(table.note.clone().map(Exhibit::Note));
    }
    all.push(Exhibit::Note(published.obtained));
    let share = |draws: f64| share_of_excess(LARGEST, 11, draws).map_or_else(String::new, number);
    all.push(Exhibit::Note(format!(
        "If all excess of χ² = {LARGEST} were on 7, P(7) would be {} for 1,500 draws and {} for 100: the number of draws decides what \
         the table says.",
        share(1500.0),
        share(100.0)
    )));
    all
}
