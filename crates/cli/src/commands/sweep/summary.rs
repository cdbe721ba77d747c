//! What a sweep has come to, from what lies in its folder.

use super::{State, Sweep, state};
use crate::arguments::{OutputFormat, Statistics};
use crate::commands::results::{Opened, settings_of, write_csv};
use crate::failure::Failure;
use crate::output;
use crate::parquet_file::write_parquet;
use concord_findings::{Cell as TableCell, Column, Exhibit, Levels, LongTable, Table};
use concord_report::{page, terminal};
use concord_runs::{write_bytes, write_with};
use concord_suites::Show;
use rayon::prelude::*;
use serde_json::{Value, json};

/// What was found of a cell.
struct CellFound {
    cell: String,
    suite: &'static str,
    levels: Option<Levels>,
    measures: Option<LongTable>,
}

/// What was found of every cell that is done.
fn found(sweep: &Sweep) -> Vec<CellFound> {
    let done = sweep
        .cells
        .par_iter()
        .filter(|cell| state(sweep, cell) == State::Done);
    let found = done.filter_map(|cell| {
        let opened = Opened::open(&sweep.out.join(&cell.name)).ok()?;
        let settings = settings_of(&opened.run.manifest, None, &Statistics::default());
        let found = opened.measure(settings).ok()?;
        let levels =
            found
                .exhibits(Show::default())
                .into_iter()
                .find_map(|exhibit| match exhibit {
                    Exhibit::Levels(levels) => Some(levels),
                    _ => None,
                });
        let measures = found
            .tables()
            .into_iter()
            .find(|table| table.name == "measures");
        Some(CellFound {
            cell: cell.name.clone(),
            suite: opened.study.about().name,
            levels,
            measures,
        })
    });
    found.collect()
}

/// Writes the measures of all cells as one table, and a page.
pub(super) fn write(sweep: &Sweep) -> Result<(), Failure> {
    let found = found(sweep);
    for suite in suites(&found) {
        let of_suite = found.iter().filter(|one| one.suite == suite);
        let tables = of_suite.filter_map(|one| Some((one.cell.as_str(), one.measures.as_ref()?)));
        let Some(all) = joined(tables) else { continue };
        write_csv(&all, &sweep.out.join(format!("measures-{suite}.csv")))?;
        let known = [("concord.table", all.name.to_owned())];
        write_with(
            &sweep.out.join(format!("measures-{suite}.parquet")),
            |file| write_parquet(&all, &known, file),
        )?;
    }
    let title = sweep
        .out
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = page(
        &title,
        &[("cells", sweep.cells.len().to_string())],
        &exhibits(sweep, &found),
    );
    write_bytes(&sweep.out.join("summary.html"), text.as_bytes())?;
    Ok(())
}

/// Shows how far each cell is, and what was found.
pub(super) fn show(sweep: &Sweep, format: OutputFormat) -> Result<(), Failure> {
    let found = found(sweep);
    if format == OutputFormat::Json {
        let cells = sweep.cells.iter().map(|cell| {
            let state = state(sweep, cell);
            let message = match &state {
                State::Failed(message) => Some(message.clone()),
                _ => None,
            };
            let own = found.iter().find(|one| one.cell == cell.name);
            let levels = own.and_then(|one| one.levels.as_ref()).map(levels_json);
            json!({
                "cell": cell.name, "state": state.name(), "message": message,
                "run": sweep.out.join(&cell.name), "levels": levels,
            })
        });
        return output::json(&cells.collect::<Vec<_>>());
    }
    output::data(&terminal(&exhibits(sweep, &found)))
}

fn levels_json(levels: &Levels) -> Value {
    let of_checkpoint = |at: usize| -> Value {
        let rows = levels.rows.iter().map(|row| {
            let value = row
                .levels
                .get(at)
                .and_then(Option::as_ref)
                .map(|found| found.value);
            (
                row.label.clone(),
                json!(value.filter(|_| is_measurable(row.measurable.get(at)))),
            )
        });
        Value::Object(rows.collect())
    };
    let named = levels.checkpoints.iter().enumerate();
    Value::Object(
        named
            .map(|(at, name)| (name.clone(), of_checkpoint(at)))
            .collect(),
    )
}

fn is_measurable(found: Option<&bool>) -> bool {
    found.copied().unwrap_or(true)
}

fn suites(found: &[CellFound]) -> Vec<&'static str> {
    let mut suites: Vec<&str> = found.iter().map(|one| one.suite).collect();
    suites.sort_unstable();
    suites.dedup();
    suites
}

/// Cells by state, and the levels of those that are done.
fn exhibits(sweep: &Sweep, found: &[CellFound]) -> Vec<Exhibit> {
    let states: Vec<State> = sweep.cells.iter().map(|cell| state(sweep, cell)).collect();
    let count = |name: &str| states.iter().filter(|state| state.name() == name).count();
    let counts = ["done", "begun", "failed", "waiting"].map(|name| (count(name), name));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let rows = sweep
        .cells
        .iter()
        .zip(&states)
        .filter(|(_, state)| **state != State::Done);
    let rows = rows.map(|(cell, state)| {
        let why = match state {
            State::Failed(message) => message.clone(),
            _ => String::new(),
        };
        vec![cell.name.clone(), state.name().to_owned(), why]
    });
    let mut shown = vec![Exhibit::Lead(format!(
        "{} cells: {}\n",
        sweep.cells.len(),
        counts.join(", ")
    ))];
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        shown.push(Exhibit::Table(Table {
            title: Some("Cells that are not done:".to_owned()),
            header: ["cell", "state", ""].map(str::to_owned).to_vec(),
            rows,
        }));
    }
    for suite in suites(found) {
        let of_suite: Vec<&CellFound> = found.iter().filter(|one| one.suite == suite).collect();
        shown.extend(levels_of(suite, &of_suite));
    }
    shown
}

/// A row a cell and checkpoint, a column a measure.
fn levels_of(suite: &str, found: &[&CellFound]) -> Option<Exhibit> {
    let mut labels: Vec<&str> = Vec::new();
    for row in found
        .iter()
        .flat_map(|one| &one.levels)
        .flat_map(|levels| &levels.rows)
    {
        if !labels.contains(&row.label.as_str()) {
            labels.push(&row.label);
        }
    }
    let mut rows = Vec::new();
    for one in found {
        let Some(levels) = &one.levels else { continue };
        for (at, checkpoint) in levels.checkpoints.iter().enumerate() {
            let mut cells = vec![one.cell.clone()];
            if levels.checkpoints.len() > 1 {
                cells[0] = format!("{}: {checkpoint}", one.cell);
            }
            for label in &labels {
                let row = levels.rows.iter().find(|row| row.label == *label);
                let value = row.and_then(|row| {
                    let value = row.levels.get(at)?.as_ref()?.value;
                    Some(if is_measurable(row.measurable.get(at)) {
                        format!("{value:.3}")
                    } else {
                        "✕".to_owned()
                    })
                });
                cells.push(value.unwrap_or_else(|| "–".to_owned()));
            }
            rows.push(cells);
        }
    }
    if rows.is_empty() {
        return None;
    }
    let mut header = vec![String::new()];
    header.extend(labels.iter().map(|label| (*label).to_owned()));
    Some(Exhibit::Table(Table {
        title: Some(format!("{suite} (✕: not measurable):")),
        header,
        rows,
    }))
}

/// Tables of one kind below each other, with the cell in front.
fn joined<'t>(tables: impl Iterator<Item = (&'t str, &'t LongTable)>) -> Option<LongTable> {
    let mut all: Option<LongTable> = None;
    for (cell, table) in tables {
        let joined = all.get_or_insert_with(|| {
            let mut columns = vec![Column::string("cell", "the cell of the sweep")];
            columns.extend(table.columns.clone());
            LongTable {
                name: table.name,
                columns,
                rows: Vec::new(),
            }
        });
        let rows = table.rows.iter().map(|row| {
            let mut cells = vec![TableCell::from(cell.to_owned())];
            cells.extend(row.clone());
            cells
        });
        joined.rows.extend(rows);
    }
    all
}
