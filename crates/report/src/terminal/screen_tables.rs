//! The tables of a screen: levels and checks, with checkpoints beside each other or below each other.

use super::brief::{NAME, Parts, Screen};
use super::full::{BESIDE, level_of, number, with_ends};
use super::grid::broken;
use super::ink::{Ink, Inked, ink_of, sign_of};
use crate::cast::is_faded_in;
use crate::measured::found;
use crate::visible::{shortened, told_apart, visible, width_of};
use concord_findings::{Axis, Checks, LevelRow, Levels, Mark};

/// Rows of levels and of checks at most.
const ROWS: usize = 5;
/// The columns that a name takes at most above a column where there is room.
const WIDEST_NAME: usize = 32;
/// The columns that a name takes at most before a row.
const ROW_NAME: usize = 22;

/// A table on a screen, and how many columns had no room.
#[derive(Default)]
struct Table {
    lines: Vec<Inked>,
    left_out: usize,
    /// Whether all labels stand whole.
    is_whole: bool,
    /// Whether one of them was more than the numbers of groups.
    misses_numbers: bool,
}

/// A cell of a table on a screen.
type ScreenCell = (Ink, String);

impl Screen {
    /// Levels and checks: checkpoints beside each other, or below each other where there are many of them or little room.
    pub(super) fn tables(
        &self,
        levels: Option<&Levels>,
        checks: Option<&Checks>,
        parts: &mut Parts,
    ) {
        let beside = levels
            .map(|levels| narrowing(&levels.checkpoints, |names| self.by_measure(levels, names)));
        let below =
            checks.map(|checks| narrowing(&checks.checkpoints, |names| self.checks(checks, names)));
        let fits = |table: &Option<Option<Table>>| table.as_ref().is_none_or(Option::is_some);
        let legend = |levels: &Levels| self.fine_print(&levels.legend);
        match levels {
            Some(levels) if !fits(&beside) || !fits(&below) => {
                parts.levels = self.levels_by_checkpoint(levels, checks);
                parts.levels.extend(self.differences(levels));
                parts.levels.extend(legend(levels));
            }
            _ => {
                parts.levels = beside.flatten().unwrap_or_default().lines;
                if let Some(levels) = levels.filter(|_| !parts.levels.is_empty()) {
                    parts.levels.extend(Self::rows_left_out(levels));
                    parts.levels.extend(legend(levels));
                }
                parts.checks = below.flatten().unwrap_or_default().lines;
            }
        }
    }

    /// Two lines at most, and a sign where that is not all.
    fn fine_print(&self, text: &str) -> Vec<Inked> {
        let mut lines = self.paragraph(None, Ink::Faint, text);
        if lines.len() > 2 {
            lines.truncate(2);
            if let Some(last) = lines.last_mut() {
                let text = last.text(false);
                let room = self.width.saturating_sub(2);
                let whole = broken(&text, room).into_iter().next().unwrap_or_default();
                *last = Inked::of(Ink::Faint, format!("{whole} …"));
            }
        }
        lines
    }

    /// The rows that have room: those first in which a checkpoint is measurable.
    fn shown<'a>(&self, levels: &'a Levels) -> Vec<&'a LevelRow> {
        let is_measured = |row: &&LevelRow| {
            let names = levels.checkpoints.iter().enumerate();
            let mut faded = names.map(|(at, name)| is_faded_in(row, at, self.fades(name)));
            !faded.all(|faded| faded)
        };
        let (measured, others): (Vec<&LevelRow>, Vec<&LevelRow>) =
            levels.rows.iter().partition(is_measured);
        measured.into_iter().chain(others).take(ROWS).collect()
    }

    /// How many rows have none.
    fn rows_left_out(levels: &Levels) -> Option<Inked> {
        let rest = levels.rows.len().saturating_sub(ROWS);
        let plural = if rest == 1 { "row" } else { "rows" };
        (rest > 0).then(|| Inked::of(Ink::Faint, format!("… and {rest} {plural} more")))
    }

    /// A row a measure: what each checkpoint has, and of two of them the difference.
    fn by_measure(&self, levels: &Levels, names: &[String]) -> Table {
        let rows = self.shown(levels);
        let shown = || rows.iter().copied();
        let signs = levels.axis == Axis::AroundZero;
        let fades =
            |row: &LevelRow, at: usize| is_faded_in(row, at, self.fades(&levels.checkpoints[at]));
        let difference = |row: &LevelRow| {
            let is_compared = names.len() == 2 && !fades(row, 0) && !fades(row, 1);
            found(&row.differences, 1).filter(|_| is_compared).cloned()
        };
        let pair = shown().any(|row| difference(row).is_some());
        let mut header = vec![levels.measure.label().to_owned()];
        header.extend(names.iter().cloned());
        if pair {
            header.push(format!("difference{}", level_of(levels)));
        }
        if names.len() <= 2 {
            header.push("groups".to_owned());
        }
        let rows = shown().map(|row| {
            let mut cells: Vec<ScreenCell> = vec![(Ink::Plain, row.label.clone())];
            for at in 0..levels.checkpoints.len() {
                cells.push(match found(&row.levels, at) {
                    _ if fades(row, at) => (Ink::Faint, "✕".to_owned()),
                    Some(level) if names.len() == 1 => (Ink::Plain, with_ends(level, signs)),
                    Some(level) => {
                        let word = row
                            .words
                            .get(at)
                            .and_then(Option::as_deref)
                            .filter(|_| !pair)
                            .unwrap_or("");
                        (
                            Ink::Plain,
                            format!("{} {word}", number(level.value, signs))
                                .trim_end()
                                .to_owned(),
                        )
                    }
                    None => (Ink::Faint, "–".to_owned()),
                });
            }
            if pair {
                let word = row.words.get(1).and_then(Option::as_deref).unwrap_or("");
                cells.push(match difference(row) {
                    Some(found) => (
                        Ink::Strong,
                        format!("{} {word}", with_ends(&found, true))
                            .trim_end()
                            .to_owned(),
                    ),
                    None => (Ink::Faint, "–".to_owned()),
                });
            }
            if names.len() <= 2 {
                cells.push((Ink::Faint, row.groups.clone()));
            }
            cells
        });
        let mut table = self.table(&header, &rows.collect::<Vec<_>>(), 1);
        table.misses_numbers = table.left_out > usize::from(names.len() <= 2);
        table
    }

    /// A row a measure: the difference of two checkpoints, where levels had no room beside it.
    fn differences(&self, levels: &Levels) -> Vec<Inked> {
        if levels.checkpoints.len() != 2 {
            return Vec::new();
        }
        let fades =
            |row: &LevelRow, at: usize| is_faded_in(row, at, self.fades(&levels.checkpoints[at]));
        let rows = self.shown(levels).into_iter().filter_map(|row| {
            let found = found(&row.differences, 1).filter(|_| !fades(row, 0) && !fades(row, 1))?;
            let word = row.words.get(1).and_then(Option::as_deref).unwrap_or("");
            let text = format!("{} {word}", with_ends(found, true));
            Some(vec![
                (Ink::Plain, row.label.clone()),
                (Ink::Strong, text.trim_end().to_owned()),
            ])
        });
        let header = [String::new(), format!("difference{}", level_of(levels))];
        self.table(&header, &rows.collect::<Vec<_>>(), 1).lines
    }

    /// A row a checkpoint: its levels, and the signs of its checks.
    fn levels_by_checkpoint(&self, levels: &Levels, checks: Option<&Checks>) -> Vec<Inked> {
        let names = told_apart(
            &levels.checkpoints,
            if self.width < 80 { NAME } else { ROW_NAME },
        );
        let mut header = vec![levels.measure.label().to_owned()];
        if checks.is_some() {
            header.push("checks".to_owned());
        }
        let shown = self.shown(levels);
        let is_signed = levels.axis == Axis::AroundZero;
        header.extend(shown.iter().map(|row| row.label.clone()));
        let rows = levels
            .checkpoints
            .iter()
            .zip(&names)
            .enumerate()
            .map(|(at, (name, short))| {
                let reason = self.cast.get(name).and_then(|member| member.reason.clone());
                let ink = if reason.is_some() {
                    Ink::Faint
                } else {
                    Ink::Plain
                };
                let mut cells: Vec<ScreenCell> = vec![(ink, short.clone())];
                if let Some(checks) = checks {
                    let column = checks.checkpoints.iter().position(|other| other == name);
                    cells.push(signs(checks, column));
                }
                let fades = |row: &LevelRow| is_faded_in(row, at, reason.is_some());
                if shown.iter().copied().all(fades) {
                    let missing = if reason.is_some() {
                        "not measurable"
                    } else {
                        levels.faded
                    };
                    cells.push((Ink::Bad, missing.to_owned()));
                    return cells;
                }
                cells.extend(shown.iter().map(|row| match found(&row.levels, at) {
                    _ if fades(row) => (Ink::Faint, "✕".to_owned()),
                    Some(level) => (ink, number(level.value, is_signed)),
                    None => (Ink::Faint, "–".to_owned()),
                }));
                cells
            });
        let table = self.table(
            &header,
            &rows.collect::<Vec<_>>(),
            if checks.is_some() { 2 } else { 1 },
        );
        let (mut out, left_out) = (
            table.lines,
            table.left_out + levels.rows.len().saturating_sub(ROWS),
        );
        if left_out > 0 {
            let plural = if left_out == 1 { "measure" } else { "measures" };
            out.push(Inked::of(
                Ink::Faint,
                format!("… and {left_out} {plural} more"),
            ));
        }
        if let Some(checks) = checks {
            let order: Vec<&str> = checks
                .rows
                .iter()
                .map(|check| check.name.as_str())
                .collect();
            let order = format!("checks: {}", order.join(", "));
            out.extend(self.fine_print(&order));
        }
        out
    }

    fn checks(&self, checks: &Checks, names: &[String]) -> Table {
        let mut header = vec!["checks".to_owned()];
        header.extend(names.iter().cloned());
        let rows = checks.rows.iter().take(ROWS).map(|check| {
            let mut cells: Vec<ScreenCell> = vec![(Ink::Plain, check.name.clone())];
            cells.extend(check.cells.iter().map(|cell| match cell {
                Some((mark, text)) => (ink_of(*mark), format!("{} {text}", sign_of(*mark))),
                None => (Ink::Faint, "–".to_owned()),
            }));
            cells
        });
        let mut table = self.table(&header, &rows.collect::<Vec<_>>(), 1);
        table.misses_numbers = table.left_out > 0;
        table
    }

    /// A table: words to the left, numbers to the right from column `numbers` on. Columns that do not fit are left out from the last on, and
    /// the header breaks between words.
    fn table(&self, header: &[String], rows: &[Vec<ScreenCell>], numbers: usize) -> Table {
        if rows.is_empty() {
            return Table::default();
        }
        let header: Vec<String> = header
            .iter()
            .map(|text| visible(text).replace('\n', " "))
            .collect();
        let mut widths: Vec<usize> = header
            .iter()
            .enumerate()
            .map(|(at, head)| {
                let words = head
                    .split(' ')
                    .map(|word| width_of(word).min(WIDEST_NAME))
                    .max()
                    .unwrap_or(0);
                // What stands in place of all numbers of a row takes their room and makes none.
                let cells = rows
                    .iter()
                    .filter(|row| row.len() > at + 1 || row.len() == header.len());
                let cells = cells
                    .filter_map(|row| Some(width_of(&row.get(at)?.1)))
                    .max()
                    .unwrap_or(0);
                let head = if head.contains('[') {
                    width_of(head)
                } else {
                    words
                };
                cells.max(head)
            })
            .collect();
        // Labels take what numbers leave them, and at least a third.
        let rest: usize = widths[1..].iter().map(|width| width + 2).sum();
        let labels = widths[0];
        widths[0] = labels.min(self.width.saturating_sub(rest).max(self.width / 3));
        let mut kept = header.len();
        let total = |kept: usize| widths[..kept].iter().sum::<usize>() + 2 * kept.saturating_sub(1);
        while kept > 2 && total(kept) > self.width {
            kept -= 1;
        }
        let mut out = Vec::new();
        let heads: Vec<Vec<String>> = header[..kept]
            .iter()
            .zip(&widths)
            .map(|(head, width)| broken(head, *width))
            .collect();
        let deepest = heads.iter().map(Vec::len).max().unwrap_or(1);
        for depth in 0..deepest {
            let cells = heads.iter().map(|lines| {
                let missing = deepest - lines.len();
                let text = depth.checked_sub(missing).and_then(|at| lines.get(at));
                (Ink::Faint, text.cloned().unwrap_or_default())
            });
            out.push(self.line(&cells.collect::<Vec<_>>(), &widths[..kept], numbers));
        }
        for row in rows {
            out.push(self.line(&row[..kept.min(row.len())], &widths[..kept], numbers));
        }
        Table {
            lines: out,
            left_out: header.len() - kept,
            is_whole: widths[0] == labels,
            misses_numbers: false,
        }
    }

    fn line(&self, cells: &[ScreenCell], widths: &[usize], numbers: usize) -> Inked {
        let mut out = Inked::default();
        let mut start = 0;
        for (at, ((ink, text), width)) in cells.iter().zip(widths).enumerate() {
            let text = visible(text).replace('\n', " ");
            // The last of a row that is short may run on.
            let runs_on = at + 1 == cells.len() && cells.len() < widths.len();
            let room = if runs_on {
                self.width.saturating_sub(start)
            } else {
                *width
            };
            let text = shortened(&text, room);
            out.pad_to(start);
            if at >= numbers && !runs_on {
                out.push(
                    Ink::Plain,
                    " ".repeat(width.saturating_sub(width_of(&text))),
                );
            }
            out.push(*ink, text);
            start += width + 2;
        }
        out
    }
}

/// A table with names as long as leave room for all of it; nothing where no length does. Of one or two checkpoints the last column, which
/// says how many groups there are, may be left out for short names.
fn narrowing(names: &[String], table: impl Fn(&[String]) -> Table) -> Option<Table> {
    if names.len() > BESIDE {
        return None;
    }
    let of = |width: &usize| table(&told_apart(names, *width));
    // Whole names where there is room for them beside everything.
    let wide = [WIDEST_NAME, 24, 18].iter().map(of);
    let narrow = [NAME, NAME - 3, NAME - 6];
    let mut tables = wide.filter(|table| table.left_out == 0 && table.is_whole);
    let widest = tables.next();
    widest.or_else(|| narrow.iter().map(of).find(|table| !table.misses_numbers))
}

/// The signs of all checks of a checkpoint, in the ink of the worst.
fn signs(checks: &Checks, column: Option<usize>) -> ScreenCell {
    let marks = checks
        .rows
        .iter()
        .map(|check| column.and_then(|at| check.cells.get(at)?.as_ref()));
    let marks: Vec<Option<Mark>> = marks.map(|cell| cell.map(|(mark, _)| *mark)).collect();
    let worst = marks.iter().flatten().max().copied().unwrap_or(Mark::Good);
    let text = marks.iter().map(|mark| mark.map_or('–', sign_of)).collect();
    (ink_of(worst), text)
}
