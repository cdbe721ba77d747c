//! The estimates of a run as a table in a text.

use super::foreign::{Foreign, Metric};
use std::collections::BTreeMap;
use std::fmt::Write;

impl Foreign<'_> {
    /// A row an estimate, a column a checkpoint.
    fn rows(&self) -> Vec<(String, Vec<Option<&Metric>>)> {
        let mut rows: BTreeMap<(usize, &str, &str), Vec<Option<&Metric>>> = BTreeMap::new();
        let mut order: Vec<(&str, &str)> = Vec::new();
        for metric in &self.metrics {
            let key = (metric.name.as_str(), metric.filter.as_str());
            let place = order
                .iter()
                .position(|known| *known == key)
                .unwrap_or_else(|| {
                    order.push(key);
                    order.len() - 1
                });
            let row = rows
                .entry((place, key.0, key.1))
                .or_insert_with(|| vec![None; self.names().len()]);
            if let Some(at) = self
                .names()
                .iter()
                .position(|name| *name == metric.checkpoint)
            {
                row[at] = Some(metric);
            }
        }
        let named = rows
            .into_iter()
            .map(|((_, name, filter), row)| (format!("{name} ({filter})"), row));
        named.collect()
    }

    /// As a table of Markdown.
    pub fn markdown(&self) -> String {
        let safe = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let mut out = String::from("| |");
        for name in self.names() {
            let _ = write!(out, " {} |", safe(name));
        }
        let _ = write!(out, "\n|---|{}\n", "---|".repeat(self.names().len()));
        for (label, row) in self.rows() {
            let _ = write!(out, "| {} |", safe(&label));
            for metric in row {
                let _ = write!(
                    out,
                    " {} |",
                    metric.map_or_else(|| "–".to_owned(), |m| shown(m, " [", ", ", "]"))
                );
            }
            out.push('\n');
        }
        if let Some(part) = &self.part {
            let _ = write!(out, "\n{}\n", safe(part));
        }
        out
    }

    /// As a table of LaTeX.
    pub fn latex(&self) -> String {
        let safe = |text: &str| -> String {
            let escaped = |c: char| match c {
                '\\' => "\\textbackslash{}".to_owned(),
                '~' => "\\textasciitilde{}".to_owned(),
                '^' => "\\textasciicircum{}".to_owned(),
                '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
                c if c.is_control() => " ".to_owned(),
                c => c.to_string(),
            };
            text.chars().map(escaped).collect()
        };
        let columns = "r".repeat(self.names().len());
        let mut out = format!("\\begin{{tabular}}{{l{columns}}}\n\\hline\n");
        for name in self.names() {
            let _ = write!(out, " & {}", safe(name));
        }
        out.push_str(" \\\\\n\\hline\n");
        for (label, row) in self.rows() {
            out.push_str(&safe(&label));
            for metric in row {
                let _ = write!(
                    out,
                    " & {}",
                    metric.map_or_else(|| "--".to_owned(), |m| shown(m, " {\\small [", ", ", "]}"))
                );
            }
            out.push_str(" \\\\\n");
        }
        out.push_str("\\hline\n");
        if let Some(part) = &self.part {
            let span = self.names().len() + 1;
            let _ = writeln!(
                out,
                "\\multicolumn{{{span}}}{{l}}{{\\small {}}} \\\\",
                safe(part)
            );
        }
        out.push_str("\\end{tabular}\n");
        out
    }
}

/// A value with its interval.
fn shown(metric: &Metric, open: &str, between: &str, close: &str) -> String {
    match (metric.low, metric.high) {
        (Some(low), Some(high)) => {
            format!("{:.3}{open}{low:.3}{between}{high:.3}{close}", metric.value)
        }
        _ => format!("{:.3}", metric.value),
    }
}
