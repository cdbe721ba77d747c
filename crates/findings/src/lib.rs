//! What a study hands on: estimates, gates, tables to export and exhibits to show.
//!
//! The second border of the house, as `readings` is the first: suites fill these types, `report` draws them, and neither knows
//! the other.

mod estimate;
mod exhibit;
mod gate;
mod long_table;
mod measure;

pub use estimate::{Estimate, Interval, Method};
pub use exhibit::{
    AnswerBook, Axis, BookKind, BookPassage, BookQuestion, BookReadings, Check, Checks, Exhibit,
    Forest, LevelRow, Levels, Mark, Matrix, Radar, Row, Strip, Summary, Table, Topic, Topics,
};
pub use gate::{Bound, Gate, Verdict};
pub use long_table::{Cell, Column, ColumnType, LongTable, TABLES_SCHEMA, TableSpec};
pub use measure::{Direction, Measure};
