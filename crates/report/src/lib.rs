//! Exhibits as text for a terminal, and as a page of figures and tables.
//!
//! Invariant: nothing here knows a study or computes a measure; what is shown comes as exhibits.

mod costs;
mod page;
mod svg;
mod terminal;

pub use costs::costs;
pub use page::page;
pub use svg::is_hidden;
pub use terminal::{fitted, table_text, terminal};
