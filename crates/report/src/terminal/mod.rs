//! Exhibits as text, with a blank line between them.

mod brief;
mod full;
mod grid;
mod ink;
mod screen_tables;

use crate::cast::Cast;
use crate::visible::{visible, width_of};
use concord_findings::{Checks, Exhibit, Levels, Matrix, Strip, Table, Topics};
use std::fmt::Write as _;
use std::io::IsTerminal as _;

pub use brief::brief;

/// The width of a terminal that gives none.
const USUAL: usize = 80;

/// What a terminal shows: leads, notes and tables as they are, levels, checks and topics as tables, strips as bars of eighths, matrices as
/// tables, and the headings of what is shown. Figures and single answers belong to a page.
pub fn terminal(exhibits: &[Exhibit]) -> String {
    at_width(exhibits, width())
}

/// The same in so many columns, or as wide as it is.
fn at_width(exhibits: &[Exhibit], width: Option<usize>) -> String {
    let cast = Cast::of(exhibits);
    let mut shown: Vec<String> = Vec::new();
    for (number, exhibit) in exhibits.iter().enumerate() {
        let text = match exhibit {
            Exhibit::Heading(title) => {
                let next = exhibits.get(number + 1);
                if !next.is_some_and(|next| follows_a_heading(next, title)) {
                    continue;
                }
                let title = visible(title);
                format!("{title}\n{}\n", "─".repeat(width_of(&title)))
            }
            Exhibit::Lead(text) | Exhibit::Note(text) => wrapped(text, width),
            Exhibit::Table(table) => grid::text(table, width),
            Exhibit::Strip(strip) => strip_text(strip, width),
            Exhibit::Matrix(matrix) => grid::text(&as_table(matrix), width),
            Exhibit::Summary(summary) => full::summary(summary, &cast, width),
            Exhibit::Levels(levels) => full::levels(levels, &cast, width),
            Exhibit::Checks(checks) => full::checks(checks, &cast, width),
            Exhibit::Topics(topics) => full::topics(topics, &cast, width),
            Exhibit::Forest(_) | Exhibit::Radar(_) | Exhibit::Answers(_) => continue,
        };
        if !text.is_empty() {
            shown.push(text);
        }
    }
    shown.join("\n")
}

/// Whether what stands after a heading is shown at all, and does not say the same itself.
fn follows_a_heading(exhibit: &Exhibit, heading: &str) -> bool {
    match exhibit {
        Exhibit::Lead(_) | Exhibit::Table(_) | Exhibit::Strip(_) => true,
        Exhibit::Levels(Levels { title, .. })
        | Exhibit::Checks(Checks { title, .. })
        | Exhibit::Topics(Topics { title, .. }) => title != heading,
        _ => false,
    }
}

/// Text whose lines are no longer than the terminal is wide, where there is one.
pub fn fitted(text: &str) -> String {
    wrapped(text, width())
}

/// A table as text: no frame, as wide as the terminal at most, no blanks at line ends; nothing where it has no rows. Where columns do not
/// fit beside each other, they go on below; a number is never broken in two.
pub fn table_text(table: &Table) -> String {
    grid::text(table, width())
}

/// The width of the terminal, 80 columns where there is none.
pub fn screen_width() -> usize {
    width().unwrap_or(USUAL)
}

/// The width of the terminal, where there is one.
fn width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let width = terminal_size::terminal_size_of(&out).map_or(0, |(width, _)| usize::from(width.0));
    // A terminal that gives no width, or none to speak of, is no reason to put a letter on each line.
    Some(if width < 20 { USUAL } else { width })
}

/// Text whose lines are no longer than a width, broken at spaces, with a line end; as it is where no width is known.
fn wrapped(text: &str, width: Option<usize>) -> String {
    let mut out = String::new();
    for line in text.trim_end_matches('\n').split('\n') {
        let mut length = 0;
        for (number, word) in line.split(' ').enumerate() {
            let word_length = width_of(word);
            if number > 0 && width.is_some_and(|width| length + 1 + word_length > width) {
                out.push('\n');
                length = 0;
            } else if number > 0 {
                out.push(' ');
                length += 1;
            }
            out.push_str(word);
            length += word_length;
        }
        out.push('\n');
    }
    out
}

/// A bar of eighths of a line.
fn bar(value: f64, most: f64) -> char {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let eighths = if most > 0.0 && value.is_finite() {
        (8.0 * value / most).round().clamp(0.0, 8.0)
    } else {
        0.0
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a whole number of 0 to 8"
    )]
    let at = eighths as usize;
    // What is there and not next to nothing can be seen.
    BARS[if value > most / 200.0 { at.max(1) } else { at }]
}

fn strip_text(strip: &Strip, width: Option<usize>) -> String {
    let values = strip.rows.iter().flat_map(|(_, bars)| bars);
    let most = values
        .copied()
        .filter(|v| v.is_finite())
        .fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, bars) in &strip.rows {
        let bars = bars
            .iter()
            .map(|value| bar(*value, most).to_string().repeat(2));
        rows.push(std::iter::once(name.clone()).chain(bars).collect());
    }
    let reference = strip.reference.map_or_else(String::new, |reference| {
        format!("; uniform: {reference:.3}")
    });
    let header = std::iter::once(String::new()).chain(strip.categories.iter().cloned());
    let title = format!(
        "{} (a full bar is {} {most:.3}{reference}):",
        strip.title,
        strip.measure.label()
    );
    let table = Table {
        title: Some(title),
        header: header.collect(),
        rows,
    };
    grid::text(&table, width)
}

fn as_table(matrix: &Matrix) -> Table {
    let header = std::iter::once(String::new()).chain(matrix.columns.iter().cloned());
    let rows = matrix.rows.iter().map(|(name, cells)| {
        let cells = cells
            .iter()
            .map(|cell| cell.map_or_else(String::new, |value| format!("{value:.3}")));
        std::iter::once(name.clone()).chain(cells).collect()
    });
    let mut title = String::new();
    let _ = write!(title, "{} ({}):", matrix.title, matrix.measure.label());
    Table {
        title: Some(title),
        header: header.collect(),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests;
