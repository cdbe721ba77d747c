//! What is shown: the same list in a terminal and on a page.

use crate::{Estimate, Measure};

/// Something to look at. A terminal shows tables, strips, matrices and notes; a page draws figures and puts the tables beneath.
#[derive(Clone, Debug, PartialEq)]
pub enum Exhibit {
    /// Begins a part of a page.
    Heading(String),
    /// A sentence on what is measured, before it is shown.
    Lead(String),
    /// Fine print, which stands with the tables. Lines as they should stand, with line ends.
    Note(String),
    /// Cells of text.
    Table(Table),
    /// Estimates with intervals.
    Forest(Forest),
    /// Numbers by row and column.
    Matrix(Matrix),
    /// Distributions, a row of bars each.
    Strip(Strip),
    /// Profiles around a circle.
    Radar(Radar),
}

/// Cells of text under a header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What it shows; absent where the header says so.
    pub title: Option<String>,
    /// Names of columns.
    pub header: Vec<String>,
    /// Rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

/// A row of a forest: a label, and an estimate for each series.
pub type Row = (String, Vec<Option<Estimate>>);

/// A forest plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// What it shows.
    pub title: String,
    /// What its axis counts.
    pub measure: Measure,
    /// Whether its numbers are differences of the measure.
    pub of_differences: bool,
    /// Names of the series.
    pub series: Vec<String>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// A matrix of numbers, drawn as a heat map.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// What it shows.
    pub title: String,
    /// What its numbers count.
    pub measure: Measure,
    /// Names of columns.
    pub columns: Vec<String>,
    /// Rows: a name, and a number for each column.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// Distributions over the same categories, each a row of bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Strip {
    /// What it shows.
    pub title: String,
    /// What the bars count.
    pub measure: Measure,
    /// What a bar is of.
    pub categories: Vec<String>,
    /// Rows: a name, and a bar for each category.
    pub rows: Vec<(String, Vec<f64>)>,
    /// A line to hold bars against, such as the uniform probability.
    pub reference: Option<f64>,
}

/// Profiles around a circle.
#[derive(Clone, Debug, PartialEq)]
pub struct Radar {
    /// What it shows.
    pub title: String,
    /// Names of the spokes.
    pub spokes: Vec<String>,
    /// A name and a value for each spoke, between 0 and 1.
    pub series: Vec<(String, Vec<f64>)>,
}
