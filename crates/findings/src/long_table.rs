//! Tables to be exported: one row an observation, one column a variable.

use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

/// The version of what exported tables are: raised where a column gets another name or meaning, or is gone.
pub const TABLES_SCHEMA: u32 = 1;

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// Names, words and texts.
    String,
    /// Numbers.
    Float,
    /// Counts.
    Integer,
    /// Whether something holds.
    Boolean,
}

impl ColumnType {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
        }
    }
}

/// A variable. Any cell of it may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// What its cells are.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// What it says, in one line.
    pub about: &'static str,
}

impl Column {
    /// A column of texts.
    pub const fn string(name: &'static str, about: &'static str) -> Self {
        Self::new(name, ColumnType::String, about)
    }

    /// A column of numbers.
    pub const fn float(name: &'static str, about: &'static str) -> Self {
        Self::new(name, ColumnType::Float, about)
    }

    /// A column of counts.
    pub const fn integer(name: &'static str, about: &'static str) -> Self {
        Self::new(name, ColumnType::Integer, about)
    }

    /// A column of what holds or does not.
    pub const fn boolean(name: &'static str, about: &'static str) -> Self {
        Self::new(name, ColumnType::Boolean, about)
    }

    const fn new(name: &'static str, kind: ColumnType, about: &'static str) -> Self {
        let name = Cow::Borrowed(name);
        Self { name, kind, about }
    }
}

/// What a table is: its name, what a row of it is, and its columns.
///
/// A column whose name ends in `_N` stands for as many as the data need, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TableSpec {
    /// Its name, which is the name of its file.
    pub name: &'static str,
    /// What a row is, in one line.
    pub about: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
}

/// What the name of a column ends in that stands for several.
const NUMBERED: &str = "_N";

impl TableSpec {
    /// An empty table without numbered columns.
    pub fn table(&self) -> LongTable {
        self.table_with(0)
    }

    /// An empty table with so many of each numbered column.
    pub fn table_with(&self, numbered: usize) -> LongTable {
        let mut columns = Vec::new();
        for column in self.columns {
            let Some(stem) = column.name.strip_suffix(NUMBERED) else {
                columns.push(column.clone());
                continue;
            };
            columns.extend((1..=numbered).map(|number| Column {
                name: format!("{stem}_{number}").into(),
                ..column.clone()
            }));
        }
        LongTable {
            name: self.name,
            columns,
            rows: Vec::new(),
        }
    }
}

/// A value of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A name or a word; shared, since many rows say the same.
    Text(Arc<str>),
    /// A number; one that is not finite is exported as missing.
    Number(f64),
    /// A count.
    Count(u64),
    /// Whether something holds.
    Truth(bool),
    /// Nothing was measured.
    Missing,
}

impl Cell {
    /// Whether it may stand in a column of a type.
    pub fn fits(&self, kind: ColumnType) -> bool {
        match self {
            Self::Missing => true,
            Self::Text(_) => kind == ColumnType::String,
            Self::Number(_) => kind == ColumnType::Float,
            Self::Count(_) => kind == ColumnType::Integer,
            Self::Truth(_) => kind == ColumnType::Boolean,
        }
    }
}

/// A table in long form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LongTable {
    /// Its name, which is the name of its file.
    pub name: &'static str,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Truth(truth) => serializer.serialize_bool(*truth),
            Self::Missing => serializer.serialize_none(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Arc<str>> for Cell {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        if number.is_finite() {
            Self::Number(number)
        } else {
            Self::Missing
        }
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<bool> for Cell {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::Missing, Into::into)
    }
}

impl LongTable {
    /// Adds a row; what is missing at its end is filled, what is too much is cut.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = row.into_iter().collect();
        row.resize(self.columns.len(), Cell::Missing);
        self.rows.push(row);
    }

    /// The first cell that is not what its column says: the column's name and the row's number.
    pub fn misfit(&self) -> Option<(&str, usize)> {
        let rows = self.rows.iter().enumerate();
        let mut misfits = rows.filter_map(|(number, row)| {
            let mut cells = row.iter().zip(&self.columns);
            let (_, column) = cells.find(|(cell, column)| !cell.fits(column.kind))?;
            Some((&*column.name, number))
        });
        misfits.next()
    }

    /// The place of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// As comma-separated values with a line of column names.
    pub fn csv(&self) -> String {
        let mut out = Vec::new();
        // Memory takes whatever is written, and every part of it is text.
        let _ = self.write_csv(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Writes it as comma-separated values (RFC 4180, lines end in a line feed): a line of column names, then the rows. What is missing
    /// is an empty field; an empty text is two quotes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        for (at, column) in self.columns.iter().enumerate() {
            separate(out, at)?;
            quoted(out, &column.name)?;
        }
        out.write_all(b"\n")?;
        for row in &self.rows {
            for (at, cell) in row.iter().enumerate() {
                separate(out, at)?;
                match cell {
                    Cell::Text(text) => quoted(out, text)?,
                    Cell::Number(number) => write!(out, "{number}")?,
                    Cell::Count(count) => write!(out, "{count}")?,
                    Cell::Truth(truth) => write!(out, "{truth}")?,
                    Cell::Missing => {}
                }
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

fn separate(out: &mut impl Write, at: usize) -> io::Result<()> {
    if at > 0 {
        out.write_all(b",")?;
    }
    Ok(())
}

fn quoted(out: &mut impl Write, text: &str) -> io::Result<()> {
    if !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        return out.write_all(text.as_bytes());
    }
    out.write_all(b"\"")?;
    for (at, part) in text.split('"').enumerate() {
        if at > 0 {
            out.write_all(b"\"\"")?;
        }
        out.write_all(part.as_bytes())?;
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: TableSpec = TableSpec {
        name: "t",
        about: "a row a thing",
        columns: &[
            Column::string("name", "what it is called"),
            Column::float("value (bits)", "how much of it there is"),
            Column::integer("n", "how many"),
            Column::boolean("good", "whether it is"),
            Column::float("p_N", "the probability of each place"),
        ],
    };

    #[test]
    fn a_table_is_rows_of_quoted_cells() {
        let mut table = SPEC.table();
        table.push(["a, \"b\"".into(), 0.1.into(), 3usize.into(), true.into()]);
        table.push(["c".into(), f64::NAN.into()]);
        table.push(["".into(), Cell::Missing, Cell::Missing, false.into()]);
        table.push(["答\nえ".into()]);
        assert_eq!(
            table.csv(),
            "name,value (bits),n,good\n\"a, \"\"b\"\"\",0.1,3,true\nc,,,\n\"\",,,false\n\"答\nえ\",,,\n"
        );
        assert_eq!(table.column("n"), Some(2));
        assert_eq!(table.misfit(), None);
        table.push(["d".into(), 1usize.into()]);
        assert_eq!(table.misfit(), Some(("value (bits)", 4)));
    }

    #[test]
    fn numbered_columns_are_as_many_as_are_needed() {
        let names = |table: LongTable| -> Vec<String> {
            let names = table.columns.into_iter().skip(4);
            names.map(|column| column.name.into_owned()).collect()
        };
        assert_eq!(names(SPEC.table_with(2)), ["p_1", "p_2"]);
        assert!(names(SPEC.table()).is_empty());
    }
}
