//! Tables to be exported: one row an observation, one column a variable.

use serde::Serialize;

/// A value of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// A name or a word.
    Text(String),
    /// A number; one that is not finite is exported as missing.
    Number(f64),
    /// A count.
    Count(u64),
    /// Nothing was measured.
    Missing,
}

/// A table in long form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LongTable {
    /// Its name, which is the name of its file.
    pub name: &'static str,
    /// The names of its columns, with the unit where there is one.
    pub columns: Vec<&'static str>,
    /// The rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
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

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::Missing, Into::into)
    }
}

impl LongTable {
    /// An empty table.
    pub fn new(name: &'static str, columns: &[&'static str]) -> Self {
        Self {
            name,
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; what is missing at its end is filled, what is too much is cut.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = row.into_iter().collect();
        row.resize(self.columns.len(), Cell::Missing);
        self.rows.push(row);
    }

    /// As comma-separated values with a line of column names.
    pub fn csv(&self) -> String {
        let quoted = |text: &str| {
            if text.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text.to_owned()
            }
        };
        let names = self.columns.iter().map(|name| quoted(name));
        let mut out = names.collect::<Vec<_>>().join(",");
        out.push('\n');
        for row in &self.rows {
            let cells = row.iter().map(|cell| match cell {
                Cell::Text(text) => quoted(text),
                Cell::Number(number) => number.to_string(),
                Cell::Count(count) => count.to_string(),
                Cell::Missing => String::new(),
            });
            out.push_str(&cells.collect::<Vec<_>>().join(","));
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_rows_of_quoted_cells() {
        let mut table = LongTable::new("t", &["name", "value (bits)", "n"]);
        table.push(["a, \"b\"".into(), 0.1.into(), 3usize.into()]);
        table.push(["c".into(), f64::NAN.into()]);
        assert_eq!(
            table.csv(),
            "name,value (bits),n\n\"a, \"\"b\"\"\",0.1,3\nc,,\n"
        );
    }
}
