//! Exhibits as text, with a blank line between them.

use comfy_table::{ContentArrangement, presets};
use concord_findings::{Exhibit, Matrix, Strip, Table};
use std::fmt::Write as _;

/// What a terminal shows: leads, notes and tables as they are, strips as bars of eighths, matrices as tables, and the headings of what is
/// shown. Figures belong to a page.
pub fn terminal(exhibits: &[Exhibit]) -> String {
    let mut shown: Vec<String> = Vec::new();
    for (number, exhibit) in exhibits.iter().enumerate() {
        let text = match exhibit {
            Exhibit::Heading(title) => match exhibits.get(number + 1) {
                Some(Exhibit::Lead(_) | Exhibit::Table(_) | Exhibit::Strip(_)) => {
                    format!("{title}\n{}\n", "─".repeat(title.chars().count()))
                }
                _ => continue,
            },
            Exhibit::Lead(text) | Exhibit::Note(text) => wrapped(text, width()),
            Exhibit::Table(table) => table_text(table),
            Exhibit::Strip(strip) => strip_text(strip),
            Exhibit::Matrix(matrix) => table_text(&as_table(matrix)),
            Exhibit::Forest(_)
            | Exhibit::Radar(_)
            | Exhibit::Summary(_)
            | Exhibit::Levels(_)
            | Exhibit::Checks(_)
            | Exhibit::Topics(_)
            | Exhibit::Answers(_) => continue,
        };
        if !text.is_empty() {
            shown.push(text);
        }
    }
    shown.join("\n")
}

/// Text whose lines are no longer than the terminal is wide, where there is one.
pub fn fitted(text: &str) -> String {
    wrapped(text, width())
}

/// A table as text: no frame, as wide as the terminal at most, no blanks at line ends; nothing where it has no rows.
pub fn table_text(table: &Table) -> String {
    let mut out = String::new();
    if table.rows.is_empty() {
        return out;
    }
    if let Some(title) = &table.title {
        let end = if title.ends_with([':', ')']) { "" } else { ":" };
        let _ = writeln!(out, "{title}{end}\n");
    }
    let mut cells = comfy_table::Table::new();
    cells
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(&table.header);
    if cells.width().is_some_and(|width| width < 20) {
        cells.set_width(80);
    }
    cells.add_rows(&table.rows);
    for line in cells.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The width of the terminal, where there is one.
fn width() -> Option<usize> {
    let width = comfy_table::Table::new().width()?;
    // A terminal that gives no width, or none to speak of, is no reason to put a letter on each line.
    Some(if width < 20 { 80 } else { usize::from(width) })
}

/// Text whose lines are no longer than a width, broken at spaces, with a line end; as it is where no width is known.
fn wrapped(text: &str, width: Option<usize>) -> String {
    let mut out = String::new();
    for line in text.trim_end_matches('\n').split('\n') {
        let mut length = 0;
        for (number, word) in line.split(' ').enumerate() {
            let word_length = word.chars().count();
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

fn strip_text(strip: &Strip) -> String {
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
    table_text(&Table {
        title: Some(title),
        header: header.collect(),
        rows,
    })
}

fn as_table(matrix: &Matrix) -> Table {
    let header = std::iter::once(String::new()).chain(matrix.columns.iter().cloned());
    let rows = matrix.rows.iter().map(|(name, cells)| {
        let cells = cells
            .iter()
            .map(|cell| cell.map_or_else(String::new, |value| format!("{value:.3}")));
        std::iter::once(name.clone()).chain(cells).collect()
    });
    Table {
        title: Some(format!("{} ({}):", matrix.title, matrix.measure.label())),
        header: header.collect(),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_findings::Measure;

    #[test]
    fn exhibits_stand_apart_and_figures_are_left_to_the_page() {
        let table = Table {
            title: Some("T:".to_owned()),
            header: vec![String::new(), "a".to_owned()],
            rows: vec![vec!["r".to_owned(), "1".to_owned()]],
        };
        let empty = Table::default();
        let text = terminal(&[
            Exhibit::Heading("of figures".to_owned()),
            Exhibit::Heading("H".to_owned()),
            Exhibit::Lead("lead\n".to_owned()),
            Exhibit::Table(table),
            Exhibit::Table(empty),
            Exhibit::Note("note\n".to_owned()),
        ]);
        assert_eq!(text, "H\n─\n\nlead\n\nT:\n\n    a\n r  1\n\nnote\n");
    }

    #[test]
    fn text_is_broken_where_it_would_not_fit() {
        assert_eq!(
            wrapped("a bb ccc\n\ndddd e", Some(4)),
            "a bb\nccc\n\ndddd\ne\n"
        );
        assert_eq!(wrapped("a bb ccc", None), "a bb ccc\n");
        assert_eq!(wrapped("  x y\n", Some(80)), "  x y\n");
    }

    #[test]
    fn bars_are_eighths_of_the_largest() {
        let strip = Strip {
            title: "P".to_owned(),
            measure: Measure::Probability,
            categories: vec!["0".into(), "1".into(), "2".into()],
            rows: vec![("m".into(), vec![0.5, 0.25, 0.0])],
            reference: Some(1.0 / 3.0),
        };
        let text = terminal(&[Exhibit::Strip(strip)]);
        assert!(text.starts_with("P (a full bar is probability 0.500; uniform: 0.333):\n"));
        assert!(text.contains("██") && text.contains("▄▄"), "{text}");
        assert_eq!((bar(0.01, 1.0), bar(1e-9, 1.0)), ('▁', ' '));
    }
}
