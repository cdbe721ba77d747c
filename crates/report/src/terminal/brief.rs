//! What a run comes to, on one screen.

use super::full::{BESIDE, found, level_of, number, with_ends};
use super::grid::broken;
use super::ink::{Ink, Inked, ink_of, sign_of};
use crate::cast::Cast;
use crate::visible::{shortened, told_apart, visible, width_of};
use concord_findings::{Checks, Direction, Exhibit, Levels, Mark, Summary, Topic, Topics};

/// Lines at most.
const LINES: usize = 30;
/// Rows of levels and of checks at most.
const ROWS: usize = 5;
/// The columns that a name takes at most, above a column and before a row.
const NAME: usize = 14;
const ROW_NAME: usize = 22;
/// The columns of the narrowest screen.
const NARROWEST: usize = 40;

/// What a run comes to in 30 lines at most, none wider than `width`: the verdict and what speaks against it, levels and differences, checks,
/// topics that changed most, and at the end `tail`, the caller's own lines: where the run is stored, and what to do next. What does not fit is
/// left out from the end of each part, and said. In colour where that is allowed; nothing is said by colour alone.
pub fn brief(exhibits: &[Exhibit], tail: &[String], width: usize, colour: bool) -> String {
    let screen = Screen {
        cast: Cast::of(exhibits),
        width: width.max(NARROWEST),
    };
    let mut parts = Parts::default();
    let levels = exhibits.iter().find_map(|exhibit| match exhibit {
        Exhibit::Levels(levels) => Some(levels),
        _ => None,
    });
    let checks = exhibits.iter().find_map(|exhibit| match exhibit {
        Exhibit::Checks(checks) => Some(checks),
        _ => None,
    });
    for exhibit in exhibits {
        match exhibit {
            Exhibit::Summary(summary) if parts.title.is_empty() => {
                screen.summary(summary, &mut parts);
            }
            Exhibit::Topics(topics) if parts.topics.is_empty() => {
                parts.topics = screen.topics(topics);
            }
            _ => {}
        }
    }
    screen.tables(levels, checks, &mut parts);
    parts.tail = tail
        .iter()
        .map(|line| Inked::of(Ink::Plain, shortened(&visible(line), screen.width)))
        .collect();
    parts.fit();
    let mut out = String::new();
    for line in parts.lines() {
        out.push_str(&line.text(colour));
        out.push('\n');
    }
    out
}

/// The parts of a screen from top to bottom.
#[derive(Default)]
struct Parts {
    title: Vec<Inked>,
    sentences: Vec<Vec<Inked>>,
    warnings: Vec<Vec<Inked>>,
    left_out: usize,
    levels: Vec<Inked>,
    checks: Vec<Inked>,
    topics: Vec<Inked>,
    tail: Vec<Inked>,
    /// Whether blank lines stand between parts.
    tight: bool,
}

impl Parts {
    /// Leaves out what matters least until the rest fits: sentences after the third, warnings after the third, topics after two, checks after
    /// four, and so on down to the verdict, the levels and the tail.
    fn fit(&mut self) {
        for [sentences, warnings, checks, topics] in [
            [3, 4, 6, 5],
            [3, 3, 6, 4],
            [2, 3, 5, 4],
            [2, 3, 4, 3],
            [1, 2, 4, 2],
            [1, 2, 3, 0],
        ] {
            if self.lines().len() <= LINES {
                return;
            }
            self.sentences.truncate(sentences);
            while self.warnings.len() > warnings {
                self.warnings.pop();
                self.left_out += 1;
            }
            self.checks.truncate(checks);
            self.topics.truncate(topics);
        }
        self.tight = true;
        if self.lines().len() > LINES {
            self.checks.clear();
        }
        let over = self.lines().len().saturating_sub(LINES);
        if over > 0 {
            let kept = self.levels.len().saturating_sub(over + 1);
            let rest = self.levels.len() - kept;
            self.levels.truncate(kept);
            self.levels
                .push(Inked::of(Ink::Faint, format!("… and {rest} lines more")));
        }
        let over = self.lines().len().saturating_sub(LINES);
        self.tail.truncate(self.tail.len().saturating_sub(over));
    }

    fn lines(&self) -> Vec<Inked> {
        let mut verdict: Vec<Inked> = self
            .sentences
            .iter()
            .chain(&self.warnings)
            .flatten()
            .cloned()
            .collect();
        if self.left_out > 0 {
            let plural = if self.left_out == 1 {
                "warning"
            } else {
                "warnings"
            };
            verdict.push(Inked::of(
                Ink::Faint,
                format!("  … and {} {plural} more", self.left_out),
            ));
        }
        let mut out: Vec<Inked> = Vec::new();
        for part in [
            &self.title,
            &verdict,
            &self.levels,
            &self.checks,
            &self.topics,
            &self.tail,
        ] {
            if part.is_empty() {
                continue;
            }
            if !out.is_empty() && !self.tight {
                out.push(Inked::default());
            }
            out.extend(part.iter().cloned());
        }
        out
    }
}

/// A table on a screen, and how many columns had no room.
#[derive(Default)]
struct Table {
    lines: Vec<Inked>,
    left_out: usize,
    /// Whether one of them was more than the numbers of groups.
    misses_numbers: bool,
}

/// A cell of a table on a screen.
type ScreenCell = (Ink, String);

struct Screen {
    cast: Cast,
    width: usize,
}

impl Screen {
    /// Text over as many lines as it takes, those after the first indented.
    fn paragraph(&self, sign: Option<(Ink, char)>, ink: Ink, text: &str) -> Vec<Inked> {
        let indent = if sign.is_some() { 4 } else { 0 };
        let text = visible(text).replace('\n', " ");
        let lines = broken(&text, self.width - indent).into_iter().enumerate();
        let lines = lines.map(|(number, line)| {
            let mut out = Inked::default();
            if let Some((ink, sign)) = sign {
                out.push(
                    ink,
                    if number == 0 {
                        format!("  {sign} ")
                    } else {
                        "    ".to_owned()
                    },
                );
            }
            out.push(ink, line);
            out
        });
        lines.collect()
    }

    fn summary(&self, summary: &Summary, parts: &mut Parts) {
        let names: Vec<String> = summary
            .checkpoints
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let room = (self.width - 8) / 2;
        let short = told_apart(&names, room.min(30));
        let title = match short.as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            [first, second] => format!("{first} → {second}"),
            [first, second, rest @ ..] => format!("{first} → {second}, +{}", rest.len()),
        };
        let mut scope = summary.scope.join(" · ");
        if summary.partial.is_some() {
            scope.push_str(" · PARTIAL");
        }
        let scope = visible(&scope).into_owned();
        let mut first = Inked::of(Ink::Strong, title);
        if first.width() + 3 + width_of(&scope) <= self.width {
            first.push(Ink::Plain, "   ");
            first.push(Ink::Faint, scope);
            parts.title = vec![first];
        } else {
            parts.title = vec![first];
            parts.title.extend(self.paragraph(None, Ink::Faint, &scope));
        }
        for (number, sentence) in summary.sentences.iter().enumerate() {
            let ink = if number == 0 { Ink::Strong } else { Ink::Plain };
            parts.sentences.push(self.paragraph(None, ink, sentence));
        }
        for (mark, text) in &summary.warnings {
            parts.warnings.push(self.paragraph(
                Some((ink_of(*mark), sign_of(*mark))),
                Ink::Plain,
                text,
            ));
        }
    }

    fn fades(&self, name: &str) -> bool {
        self.cast.is_faded(name)
    }

    /// Levels and checks: checkpoints beside each other, or below each other where there are many of them or little room.
    fn tables(&self, levels: Option<&Levels>, checks: Option<&Checks>, parts: &mut Parts) {
        let beside = levels
            .map(|levels| narrowing(&levels.checkpoints, |names| self.by_measure(levels, names)));
        let below =
            checks.map(|checks| narrowing(&checks.checkpoints, |names| self.checks(checks, names)));
        let fits = |table: &Option<Option<Table>>| table.as_ref().is_none_or(Option::is_some);
        let legend = |levels: &Levels| {
            self.paragraph(None, Ink::Faint, &levels.legend)
                .into_iter()
                .take(2)
        };
        match levels {
            Some(levels) if !fits(&beside) || !fits(&below) => {
                parts.levels = self.levels_by_checkpoint(levels, checks);
                parts.levels.extend(legend(levels));
            }
            _ => {
                parts.levels = beside.flatten().unwrap_or_default().lines;
                if let Some(levels) = levels.filter(|_| !parts.levels.is_empty()) {
                    parts.levels.extend(legend(levels));
                }
                parts.checks = below.flatten().unwrap_or_default().lines;
            }
        }
    }

    /// A row a measure: what each checkpoint has, and of two of them the difference.
    fn by_measure(&self, levels: &Levels, names: &[String]) -> Table {
        let pair = names.len() == 2 && !levels.checkpoints.iter().any(|name| self.fades(name));
        let mut header = vec![levels.measure.label().to_owned()];
        header.extend(names.iter().cloned());
        if pair {
            header.push(format!("difference{}", level_of(levels)));
        }
        if names.len() <= 2 {
            header.push("groups".to_owned());
        }
        let rows = levels.rows.iter().take(ROWS).map(|row| {
            let mut cells: Vec<ScreenCell> = vec![(Ink::Plain, row.label.clone())];
            for (at, name) in levels.checkpoints.iter().enumerate() {
                cells.push(match found(&row.levels, at) {
                    _ if self.fades(name) => (Ink::Faint, "✕".to_owned()),
                    Some(level) if names.len() == 1 => (Ink::Plain, with_ends(level, false)),
                    Some(level) => {
                        let word = row
                            .words
                            .get(at)
                            .and_then(Option::as_deref)
                            .filter(|_| !pair)
                            .unwrap_or("");
                        (
                            Ink::Plain,
                            format!("{} {word}", number(level.value, false))
                                .trim_end()
                                .to_owned(),
                        )
                    }
                    None => (Ink::Faint, "–".to_owned()),
                });
            }
            if pair {
                let word = row.words.get(1).and_then(Option::as_deref).unwrap_or("");
                cells.push(match found(&row.differences, 1) {
                    Some(found) => (
                        Ink::Strong,
                        format!("{} {word}", with_ends(found, true))
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
        header.extend(levels.rows.iter().take(ROWS).map(|row| row.label.clone()));
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
                if reason.is_some() {
                    cells.push((Ink::Bad, "not measurable".to_owned()));
                    return cells;
                }
                cells.extend(levels.rows.iter().take(ROWS).map(|row| {
                    match found(&row.levels, at) {
                        Some(level) => (ink, number(level.value, false)),
                        None => (Ink::Faint, "–".to_owned()),
                    }
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
            out.extend(self.paragraph(None, Ink::Faint, &order).into_iter().take(2));
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

    /// The topics that changed most, and the one that is least consistent.
    fn topics(&self, topics: &Topics) -> Vec<Inked> {
        let names = &topics.checkpoints;
        let short = told_apart(names, NAME);
        let measurable: Vec<usize> = (0..names.len())
            .filter(|at| !self.fades(&names[*at]))
            .collect();
        let mut rows: Vec<(String, String, &Topic)> = Vec::new();
        if measurable.first() == Some(&0) {
            let mut changed: Vec<(f64, usize, &Topic)> = topics
                .rows
                .iter()
                .flat_map(|topic| measurable[1..].iter().map(move |at| (*at, topic)))
                .filter_map(|(at, topic)| Some((found(&topic.differences, at)?.value, at, topic)))
                .collect();
            changed.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
            for (value, at, topic) in changed.into_iter().take(2) {
                let whose = if names.len() > 2 {
                    format!(" ({})", short[at])
                } else {
                    String::new()
                };
                rows.push((format!("changed most{whose}"), number(value, true), topic));
            }
        }
        if let Some(last) = measurable.last() {
            let levels = topics
                .rows
                .iter()
                .filter_map(|topic| Some((found(&topic.levels, *last)?.value, topic)));
            if let Some((value, topic)) = levels.max_by(|a, b| a.0.total_cmp(&b.0)) {
                let what = if topics.measure.direction() == Direction::Lower {
                    "least consistent"
                } else {
                    "largest"
                };
                rows.push((
                    format!("{what} ({})", short[*last]),
                    number(value, false),
                    topic,
                ));
            }
        }
        if rows.is_empty() {
            return Vec::new();
        }
        let labels = rows
            .iter()
            .map(|(label, _, _)| width_of(label))
            .max()
            .unwrap_or(0);
        let mut out = vec![Inked::of(
            Ink::Faint,
            format!("topics, {}", topics.measure.label()),
        )];
        for (label, value, topic) in rows {
            let mut line = Inked::of(Ink::Plain, format!("  {label}"));
            line.pad_to(labels + 4);
            line.push(Ink::Strong, format!("{value:>6}  "));
            let room = self.width.saturating_sub(line.width());
            let name = visible(&topic.name).replace('\n', " ");
            let facets: Vec<&str> = topic
                .facets
                .iter()
                .map(String::as_str)
                .filter(|facet| !facet.is_empty())
                .collect();
            // As many facets as leave the name whole, or at least some of it.
            let facets = (0..=facets.len())
                .rev()
                .map(|count| visible(&facets[..count].join(", ")).into_owned());
            let fits = |facets: &String| {
                facets.is_empty() || width_of(facets) + 2 + width_of(&name).min(24) <= room
            };
            let facets = facets.into_iter().find(fits).unwrap_or_default();
            let gap = if facets.is_empty() {
                0
            } else {
                2 + width_of(&facets)
            };
            line.push(Ink::Plain, shortened(&name, room - gap.min(room)));
            if !facets.is_empty() {
                line.push(Ink::Faint, format!("  {facets}"));
            }
            out.push(line);
        }
        out
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
                    .map(|word| width_of(word).min(NAME))
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
        widths[0] = widths[0].min(self.width.saturating_sub(rest).max(self.width / 3));
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
/// says how many groups there are, may be left out.
fn narrowing(names: &[String], table: impl Fn(&[String]) -> Table) -> Option<Table> {
    if names.len() > BESIDE {
        return None;
    }
    let tables = [NAME, NAME - 3, NAME - 6].map(|width| table(&told_apart(names, width)));
    tables.into_iter().find(|table| !table.misses_numbers)
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
