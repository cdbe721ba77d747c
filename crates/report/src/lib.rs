//! Tables, figures and a page from what a run stored.
//!
//! Invariant: nothing here computes a measure; numbers come from findings.

mod comparison;
mod figures;
mod models;
mod page;
mod published;
mod questions;
mod run;
mod sections;

pub use comparison::ComparisonReport;
pub use figures::is_hidden;
pub use models::{ModelList, models};
pub use questions::questions;
pub use run::{ModelReport, RunReport};

use comfy_table::{ContentArrangement, Table, presets};

/// An empty table in the house's form: no frame, as wide as the terminal at most.
fn table(header: impl IntoIterator<Item = String>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.into_iter().collect::<Vec<_>>());
    // A terminal that gives no width, or none to speak of, is no reason to put a letter on each line.
    if table.width().is_some_and(|width| width < 20) {
        table.set_width(80);
    }
    table
}

/// A table as text, without blanks at line ends.
fn text(table: &Table) -> String {
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
