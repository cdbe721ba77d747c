//! What a sweep has come to, from what lies in its folder.

use super::file::Cell;
use super::{State, Sweep, state};
use crate::arguments::{OutputFormat, Statistics};
use crate::commands::results::{Opened, settings_of, write_csv};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::parquet_file::write_parquet;
use concord_findings::{Cell as TableCell, Column, Exhibit, Levels, LongTable, Table};
use concord_report::{page, terminal};
use concord_runs::{RunDirectory, write_bytes, write_with};
use concord_suites::{Found, Show};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// What was found of a cell.
pub(super) struct CellFound {
    cell: String,
    suite: &'static str,
    levels: Option<Levels>,
    measures: Option<LongTable>,
}

/// What a sweep has come to.
pub(super) struct Summary<'s> {
    sweep: &'s Sweep,
    states: Vec<State>,
    found: Vec<CellFound>,
    /// Cells whose run cannot be read any more, and why.
    damaged: Vec<(String, String)>,
}

impl CellFound {
    /// What is shown of what was found.
    pub fn of(cell: &Cell, suite: &'static str, found: &dyn Found) -> Self {
        let shown = found.exhibits(Show::default());
        let levels = shown.into_iter().find_map(|exhibit| match exhibit {
            Exhibit::Levels(levels) => Some(levels),
            _ => None,
        });
        let mut tables = found.tables().into_iter();
        Self {
            cell: cell.name.clone(),
            suite,
            levels,
            measures: tables.find(|table| table.name.ends_with("measures")),
        }
    }

    /// Of a cell that is stored.
    fn stored(sweep: &Sweep, cell: &Cell) -> Result<Self, Failure> {
        let opened = Opened::open(&sweep.out.join(&cell.name))?;
        let settings = settings_of(&opened.run.manifest, None, &Statistics::default());
        let found = opened.measure(settings)?;
        Ok(Self::of(cell, opened.study.about().name, &*found))
    }
}

impl<'s> Summary<'s> {
    /// Of what lies in the sweep's folder; `known` is what this process found itself, which is not measured once more.
    pub fn of(sweep: &'s Sweep, known: Vec<CellFound>) -> Self {
        let states: Vec<State> = sweep.cells.iter().map(|cell| state(sweep, cell)).collect();
        let known: HashMap<String, CellFound> = known
            .into_iter()
            .map(|found| (found.cell.clone(), found))
            .collect();
        let is_new = |(cell, state): &(&Cell, &State)| {
            **state == State::Done && !known.contains_key(&cell.name)
        };
        let stored = sweep.cells.par_iter().zip(&states).filter(is_new);
        let stored = stored.map(|(cell, _)| (cell, CellFound::stored(sweep, cell)));
        let stored: Vec<_> = stored.collect();
        let (mut found, mut damaged) = (known, Vec::new());
        for (cell, read) in stored {
            match read {
                Ok(read) => drop(found.insert(cell.name.clone(), read)),
                Err(failure) => damaged.push((cell.name.clone(), failure.message)),
            }
        }
        let in_order = sweep.cells.iter();
        let found = in_order.filter_map(|cell| found.remove(&cell.name));
        Self {
            found: found.collect(),
            sweep,
            states,
            damaged,
        }
    }

    /// Refuses a sweep of which runs cannot be read any more.
    pub fn is_whole(&self) -> Result<(), Failure> {
        let Some((first, why)) = self.damaged.first() else {
            return Ok(());
        };
        let message = format!(
            "{} of the cells that are done cannot be read, `{first}` first: {why}",
            self.damaged.len()
        );
        Err(Failure::new(
            ExitStatus::Unexpected,
            message,
            "remove its folder, and the same command runs it again",
        ))
    }

    /// Writes the measures of all cells as one table a suite, and a page.
    pub fn write(&self) -> Result<(), Failure> {
        let out = &self.sweep.out;
        for suite in concord_suites::suites() {
            let suite = suite.about().name;
            let of_suite = self.found.iter().filter(|one| one.suite == suite);
            let tables =
                of_suite.filter_map(|one| Some((one.cell.as_str(), one.measures.as_ref()?)));
            let Some(all) = joined(tables) else {
                // Of cells that were there before.
                for ending in ["csv", "parquet"] {
                    let _ = std::fs::remove_file(out.join(format!("measures-{suite}.{ending}")));
                }
                continue;
            };
            write_csv(&all, &out.join(format!("measures-{suite}.csv")))?;
            let known = [("concord.table", all.name.to_owned())];
            write_with(&out.join(format!("measures-{suite}.parquet")), |file| {
                write_parquet(&all, &known, file)
            })?;
        }
        let title = out
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let about = [("cells", self.sweep.cells.len().to_string())];
        let text = page(&title, &about, &self.exhibits());
        write_bytes(&out.join("summary.html"), text.as_bytes())?;
        Ok(())
    }

    /// Shows how far each cell is, and what was found.
    pub fn show(&self, format: OutputFormat) -> Result<(), Failure> {
        if format == OutputFormat::Human {
            return output::data(&terminal(&self.exhibits()));
        }
        let cells = self
            .sweep
            .cells
            .iter()
            .zip(&self.states)
            .map(|(cell, state)| {
                let own = self.found.iter().find(|one| one.cell == cell.name);
                let levels = own.and_then(|one| one.levels.as_ref()).map(levels_json);
                let (state, message) = self.told(cell, state);
                let message = (!message.is_empty()).then_some(message);
                json!({
                    "cell": cell.name, "state": state, "message": message,
                    "run": self.sweep.out.join(&cell.name), "levels": levels,
                })
            });
        output::json(&cells.collect::<Vec<_>>())
    }

    /// The state of a cell in a word, and what there is to say of it.
    fn told(&self, cell: &Cell, state: &State) -> (&'static str, String) {
        let damaged = self.damaged.iter().find(|(name, _)| *name == cell.name);
        match (state, damaged) {
            (_, Some((_, why))) => ("damaged", why.clone()),
            (State::Failed(why), _) => (state.name(), why.clone()),
            (State::Begun, _) => (
                state.name(),
                readings_so_far(&self.sweep.out.join(&cell.name)),
            ),
            (State::Other, _) => (
                state.name(),
                "remove its folder to run it with these, or name another folder with --out"
                    .to_owned(),
            ),
            _ => (state.name(), String::new()),
        }
    }
}

/// How much of a run that was begun is in its journals.
fn readings_so_far(out: &Path) -> String {
    let partial = RunDirectory::partial_of(out);
    let pattern = format!(
        "{}/*/**/*.jsonl",
        glob::Pattern::escape(&partial.to_string_lossy())
    );
    let journals = glob::glob(&pattern).into_iter().flatten().flatten();
    // The first line of a journal says what it is of.
    let texts = journals.filter_map(|path| std::fs::read_to_string(path).ok());
    let readings = texts.map(|text| text.lines().count().saturating_sub(1));
    match readings.sum::<usize>() {
        0 => String::new(),
        1 => "1 reading so far".to_owned(),
        count => format!("{count} readings so far"),
    }
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

impl Summary<'_> {
    /// Cells by state, and the levels of those that are done.
    fn exhibits(&self) -> Vec<Exhibit> {
        let cells = self.sweep.cells.iter().zip(&self.states);
        let told: Vec<(&str, &'static str, String)> = cells
            .map(|(cell, state)| {
                let (state, why) = self.told(cell, state);
                (cell.name.as_str(), state, why)
            })
            .collect();
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for (_, state, _) in &told {
            match counts.iter_mut().find(|(known, _)| known == state) {
                Some((_, count)) => *count += 1,
                None => counts.push((state, 1)),
            }
        }
        counts.sort_unstable();
        let counts: Vec<String> = counts
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        let plural = if told.len() == 1 { "cell" } else { "cells" };
        let mut shown = vec![Exhibit::Lead(format!(
            "{} {plural}: {}\n",
            told.len(),
            counts.join(", ")
        ))];
        let others = told.into_iter().filter(|(_, state, _)| *state != "done");
        let rows: Vec<Vec<String>> = others
            .map(|(cell, state, why)| vec![cell.to_owned(), state.to_owned(), why])
            .collect();
        if !rows.is_empty() {
            shown.push(Exhibit::Table(Table {
                title: Some("Cells that are not done:".to_owned()),
                header: ["cell", "state", "why"].map(str::to_owned).to_vec(),
                rows,
            }));
        }
        for suite in suites(&self.found) {
            let of_suite = self.found.iter().filter(|one| one.suite == suite);
            let of_suite: Vec<&CellFound> = of_suite.collect();
            match levels_of(suite, &of_suite) {
                Some(table) => shown.push(table),
                None => shown.push(Exhibit::Note(format!(
                    "{suite}: {} done; what was found is in measures-{suite}.csv and in each run\n",
                    of_suite.len()
                ))),
            }
        }
        shown
    }
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
