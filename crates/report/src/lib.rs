//! Exhibits as text for a terminal, as a page of figures and tables, and as files of figures.
//!
//! Invariant: nothing here knows a study or computes a measure; what is shown comes as exhibits.

mod cast;
mod chart;
mod costs;
mod markup;
mod measured;
mod page;
mod terminal;
mod visible;

use concord_findings::Exhibit;

pub use costs::costs;
pub use page::page;
pub use terminal::{brief, fitted, screen_width, table_text, terminal};
pub use visible::is_hidden;

/// Every figure as a file of SVG: a name that sorts as they are shown, and what is in it. They stand on white and name no other file.
pub fn figures(exhibits: &[Exhibit]) -> Vec<(String, String)> {
    chart::figures_of(exhibits)
}
