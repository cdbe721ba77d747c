//! What a run comes to, on one screen.

use super::full::number;
use super::grid::broken;
use super::ink::{Ink, Inked, ink_of, sign_of};
use crate::cast::Cast;
use crate::measured::found;
use crate::visible::{shortened, told_apart, visible, width_of};
use concord_findings::{Direction, Exhibit, Summary, Topic, Topics};

/// Lines at most.
const LINES: usize = 30;
/// The columns that a name takes at most above a column.
pub(super) const NAME: usize = 14;
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

/// `topics` of `topic`.
fn plural_of(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    }
}

/// The parts of a screen from top to bottom.
#[derive(Default)]
pub(super) struct Parts {
    title: Vec<Inked>,
    sentences: Vec<Vec<Inked>>,
    warnings: Vec<Vec<Inked>>,
    left_out: usize,
    pub(super) levels: Vec<Inked>,
    pub(super) checks: Vec<Inked>,
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

pub(super) struct Screen {
    pub(super) cast: Cast,
    pub(super) width: usize,
}

impl Screen {
    /// Text over as many lines as it takes, those after the first indented.
    pub(super) fn paragraph(&self, sign: Option<(Ink, char)>, ink: Ink, text: &str) -> Vec<Inked> {
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

    pub(super) fn fades(&self, name: &str) -> bool {
        self.cast.is_faded(name)
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
                // Distances within a topic say how consistent answers are; those from something else do not.
                let is_within = topics
                    .rows
                    .iter()
                    .any(|topic| topic.support.iter().any(Option::is_some));
                let what = if topics.measure.direction() == Direction::Lower && is_within {
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
            format!("{}, {}", plural_of(topics.nouns[0]), topics.measure.label()),
        )];
        for (label, value, topic) in rows {
            let mut line = Inked::of(Ink::Plain, format!("  {label}"));
            line.pad_to(labels + 4);
            line.push(Ink::Strong, format!("{value:>6}  "));
            let room = self.width.saturating_sub(line.width());
            let name = visible(&topic.name).replace('\n', " ");
            let facets = topic.facets_shown();
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
}
