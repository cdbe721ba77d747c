//! Tables as text.

use super::wrapped;
use crate::visible::{visible, width_of};
use concord_findings::Table;
use std::fmt::Write as _;
use unicode_width::UnicodeWidthChar;

/// A cell that is no wider is never broken.
const WHOLE: usize = 14;
/// A word that is no wider is never broken.
const WORD: usize = 20;

/// A table as text in so many columns, or as wide as it is.
pub(super) fn text(table: &Table, width: Option<usize>) -> String {
    let mut out = String::new();
    if table.rows.is_empty() {
        return out;
    }
    if let Some(title) = &table.title {
        let end = if title.ends_with([':', ')', '?']) {
            ""
        } else {
            ":"
        };
        let _ = writeln!(out, "{}", wrapped(&format!("{title}{end}"), width));
    }
    let columns = columns(table);
    for (number, part) in parts(&columns, width).into_iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        write_part(&mut out, &columns, &part);
    }
    out
}

/// A column: its cells from top to bottom, the header first, each in lines.
struct Column {
    cells: Vec<Vec<String>>,
    /// The width at which nothing is broken, and the least that it may have.
    natural: usize,
    least: usize,
}

fn columns(table: &Table) -> Vec<Column> {
    let count = table
        .rows
        .iter()
        .map(Vec::len)
        .chain([table.header.len()])
        .max()
        .unwrap_or(0);
    let all = std::iter::once(&table.header).chain(&table.rows);
    let rows: Vec<&Vec<String>> = all.collect();
    (0..count)
        .map(|at| {
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| {
                    let text = row.get(at).map_or("", String::as_str);
                    visible(text).split('\n').map(str::to_owned).collect()
                })
                .collect();
            let natural = cells
                .iter()
                .flatten()
                .map(|line| width_of(line))
                .max()
                .unwrap_or(0);
            let least = cells
                .iter()
                .enumerate()
                .flat_map(|(row, lines)| lines.iter().map(move |line| least_of(line, row == 0)));
            let least = least.max().unwrap_or(0);
            Column {
                cells,
                natural: natural.max(1),
                least,
            }
        })
        .collect()
}

/// The least width of a line: short cells stay whole, headers break between words, and only a word that is long is broken itself.
fn least_of(line: &str, is_header: bool) -> usize {
    let whole = width_of(line);
    if whole <= WHOLE && !is_header {
        return whole;
    }
    let words = line.split(' ').map(|word| {
        let is_number =
            word.chars().any(|c| c.is_ascii_digit()) && word.chars().all(|c| !c.is_alphabetic());
        if is_number {
            width_of(word)
        } else {
            width_of(word).min(WORD)
        }
    });
    words.max().unwrap_or(0)
}

/// Columns that stand beside each other, each with its width.
type Part = Vec<(usize, usize)>;

/// Which columns stand beside each other: all, narrowed where they must be; where that is not enough they go on below, after the first,
/// which is repeated.
fn parts(columns: &[Column], width: Option<usize>) -> Vec<Part> {
    let all: Part = columns
        .iter()
        .enumerate()
        .map(|(at, column)| (at, column.natural))
        .collect();
    let Some(width) = width else {
        return vec![all];
    };
    if let Some(part) = narrowed(columns, (0..columns.len()).collect(), width) {
        return vec![part];
    }
    let mut out: Vec<Part> = Vec::new();
    let mut now: Vec<usize> = vec![0];
    for at in 1..columns.len() {
        now.push(at);
        if now.len() > 2 && narrowed(columns, now.clone(), width).is_none() {
            now.pop();
            out.extend(narrowed(
                columns,
                std::mem::replace(&mut now, vec![0, at]),
                width,
            ));
        }
    }
    // A pair that does not fit is cut by the terminal, which is all that can be done with it.
    let last = narrowed(columns, now.clone(), width);
    out.push(last.unwrap_or_else(|| now.iter().map(|at| (*at, columns[*at].least)).collect()));
    out
}

/// The widths of some columns that fit together; nothing where there are none.
fn narrowed(columns: &[Column], picked: Vec<usize>, width: usize) -> Option<Part> {
    // A blank on both sides of each, of which the last is not written.
    let room = (width + 1).checked_sub(2 * picked.len())?;
    let mut part: Part = picked
        .into_iter()
        .map(|at| (at, columns[at].natural))
        .collect();
    loop {
        let total: usize = part.iter().map(|(_, width)| width).sum();
        if total <= room {
            return Some(part);
        }
        let widest = part
            .iter_mut()
            .filter(|(at, width)| *width > columns[*at].least);
        let (_, widest) = widest.max_by_key(|(_, width)| *width)?;
        *widest -= 1;
    }
}

fn write_part(out: &mut String, columns: &[Column], part: &Part) {
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for row in 0..rows {
        let cells: Vec<Vec<String>> = part
            .iter()
            .map(|(at, width)| {
                let lines = columns[*at].cells.get(row).into_iter().flatten();
                lines.flat_map(|line| broken(line, *width)).collect()
            })
            .collect();
        let deepest = cells.iter().map(Vec::len).max().unwrap_or(0);
        for depth in 0..deepest {
            let mut line = String::new();
            for (cell, (_, width)) in cells.iter().zip(part) {
                let text = cell.get(depth).map_or("", String::as_str);
                let _ = write!(
                    line,
                    " {text}{} ",
                    " ".repeat(width.saturating_sub(width_of(text)))
                );
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

/// Lines no wider than a width, broken at spaces, and inside a word where it is wider itself.
pub(super) fn broken(text: &str, width: usize) -> Vec<String> {
    if width_of(text) <= width || width == 0 {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = width_of(word);
        let gap = usize::from(used > 0);
        if used + gap + length <= width {
            let last = lines.len() - 1;
            lines[last].push_str(&" ".repeat(gap));
            lines[last].push_str(word);
            used += gap + length;
            continue;
        }
        if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let length = c.width().unwrap_or(0);
            if used + length > width && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            let last = lines.len() - 1;
            lines[last].push(c);
            used += length;
        }
    }
    lines
}
