//! The parts of a page in their order.

use super::topics::{TopicsPart, topics_part};
use super::{Marked, mark_name};
use crate::cast::{Cast, Member};
use crate::chart::{Chart, Grid, Heat, Reach, chart, heat};
use concord_findings::{Checks, Exhibit, Table};
use serde::Serialize;

/// Rows of a table that stands open where there is no figure beside it.
const OPEN: usize = 40;

/// Rows of a figure that stands open.
const LONGEST: usize = 24;

/// A part of a page under a title.
#[derive(Serialize)]
pub(super) struct Section {
    id: String,
    title: String,
    parts: Vec<Part>,
}

/// What stands in a section.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Part {
    Lead { text: String },
    Note { text: String },
    Chart { value: ShownChart },
    Heat { value: Heat },
    Table { value: ShownTable },
    Checks { value: ShownChecks },
    Topics { value: TopicsPart },
}

#[derive(Serialize)]
struct ShownChart {
    #[serde(flatten)]
    chart: Chart,
    room: Room,
    axis_above: bool,
    axis_below: bool,
}

/// The room that a figure takes.
#[derive(PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Room {
    /// The width of the page.
    Wide,
    /// Half of it, beside another.
    Half,
    /// None until it is asked for, since it is long.
    Folded,
}

#[derive(Serialize)]
struct ShownTable {
    title: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    numeric: Vec<bool>,
    open: bool,
}

#[derive(Serialize)]
struct ShownChecks {
    title: String,
    members: Vec<Member>,
    rows: Vec<ShownCheck>,
}

#[derive(Serialize)]
struct ShownCheck {
    name: String,
    help: String,
    cells: Vec<Option<OwnedMark>>,
}

#[derive(Serialize)]
struct OwnedMark {
    mark: &'static str,
    text: String,
}

impl From<Marked<'_>> for OwnedMark {
    fn from(marked: Marked<'_>) -> Self {
        Self {
            mark: marked.mark,
            text: marked.text.to_owned(),
        }
    }
}

/// The sections of a page: each begins with a heading, or with what has a title of its own.
pub(super) fn sections(exhibits: &[Exhibit], cast: &Cast) -> Vec<Section> {
    let reach = Reach::of(exhibits);
    let mut out: Vec<Section> = Vec::new();
    for exhibit in exhibits {
        let (own_title, part) = match exhibit {
            Exhibit::Heading(title) => {
                out.push(section(title));
                continue;
            }
            Exhibit::Summary(_) | Exhibit::Answers(_) => continue,
            Exhibit::Lead(text) => (None, lines(text).map(|text| Part::Lead { text })),
            Exhibit::Note(text) => (None, lines(text).map(|text| Part::Note { text })),
            Exhibit::Table(table) => (None, shown_table(table).map(|value| Part::Table { value })),
            Exhibit::Matrix(matrix) => {
                (None, heat(matrix, &reach).map(|value| Part::Heat { value }))
            }
            Exhibit::Levels(levels) => (Some(&levels.title), shown_chart(exhibit, cast, &reach)),
            Exhibit::Checks(checks) => (Some(&checks.title), shown_checks(checks, cast)),
            Exhibit::Topics(topics) => {
                let part = topics_part(topics, cast).map(|value| Part::Topics { value });
                (Some(&topics.title), part)
            }
            Exhibit::Forest(_) | Exhibit::Strip(_) | Exhibit::Radar(_) => {
                (None, shown_chart(exhibit, cast, &reach))
            }
        };
        let Some(part) = part else { continue };
        let begins = own_title.filter(|_| {
            // A heading just before it is title enough.
            out.last().is_none_or(|section| {
                section
                    .parts
                    .iter()
                    .any(|part| !matches!(part, Part::Lead { .. }))
            })
        });
        if let Some(title) = begins {
            out.push(section(title));
        } else if out.is_empty() {
            out.push(section("Results"));
        }
        if let Some(section) = out.last_mut() {
            section.parts.push(part);
        }
    }
    out.retain(|section| !section.parts.is_empty());
    for (number, section) in out.iter_mut().enumerate() {
        section.id = format!("part-{}", number + 1);
        section.settle();
    }
    out
}

/// The grids that the plots of some sections name.
pub(super) fn grids(sections: &[Section]) -> impl Iterator<Item = &Grid> {
    let parts = sections.iter().flat_map(|section| &section.parts);
    parts.flat_map(|part| match part {
        Part::Chart { value } => value
            .chart
            .columns
            .iter()
            .map(|column| &column.grid)
            .collect(),
        Part::Topics { value } => vec![value.grid()],
        _ => Vec::new(),
    })
}

fn section(title: &str) -> Section {
    Section {
        id: String::new(),
        title: title.to_owned(),
        parts: Vec::new(),
    }
}

impl Section {
    /// What depends on its neighbours: tables stand open where there are no figures, a figure does not repeat the title of its section,
    /// and profiles that follow each other stand side by side.
    fn settle(&mut self) {
        let figures = self.parts.iter().any(|part| {
            matches!(
                part,
                Part::Chart { .. } | Part::Heat { .. } | Part::Checks { .. } | Part::Topics { .. }
            )
        });
        let halves = self
            .parts
            .iter()
            .filter(|part| matches!(part, Part::Chart { value } if value.room == Room::Half))
            .count();
        for part in &mut self.parts {
            match part {
                Part::Table { value } => value.open = !figures && value.rows.len() <= OPEN,
                Part::Chart { value } => {
                    if value.room == Room::Half && halves < 2 {
                        value.room = Room::Wide;
                    }
                    if value.chart.title == self.title {
                        value.chart.title.clear();
                    }
                }
                _ => {}
            }
        }
    }
}

fn lines(text: &str) -> Option<String> {
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

fn shown_chart(exhibit: &Exhibit, cast: &Cast, reach: &Reach) -> Option<Part> {
    let chart = chart(exhibit, cast, reach)?;
    // Categories and profiles have their axis below; others above, where reading begins.
    let below = chart
        .columns
        .iter()
        .any(|column| column.title.is_empty() && column.axis.is_some());
    let value = ShownChart {
        room: match exhibit {
            Exhibit::Radar(_) => Room::Half,
            Exhibit::Forest(_) | Exhibit::Strip(_) if chart.blocks.len() > LONGEST => Room::Folded,
            _ => Room::Wide,
        },
        axis_above: !below,
        axis_below: below || chart.long,
        chart,
    };
    Some(Part::Chart { value })
}

fn shown_table(table: &Table) -> Option<ShownTable> {
    if table.rows.is_empty() {
        return None;
    }
    let is_number = |cell: &String| {
        cell.is_empty()
            || cell == "–"
            || cell
                .trim_start_matches(['+', '-', '−', '<', '≤', ' ', '.'])
                .starts_with(|c: char| c.is_ascii_digit())
    };
    let numeric = (0..table.header.len()).map(|at| {
        let cells = table.rows.iter().filter_map(|row| row.get(at));
        at > 0 && cells.clone().all(is_number) && cells.clone().any(|cell| !cell.is_empty())
    });
    Some(ShownTable {
        title: table
            .title
            .as_deref()
            .map_or("Table", |title| title.trim_end_matches(':'))
            .to_owned(),
        numeric: numeric.collect(),
        header: table.header.clone(),
        rows: table.rows.clone(),
        open: false,
    })
}

fn shown_checks(checks: &Checks, cast: &Cast) -> Option<Part> {
    if checks.rows.is_empty() {
        return None;
    }
    let rows = checks.rows.iter().map(|check| ShownCheck {
        name: check.name.clone(),
        help: check.help.clone(),
        cells: check
            .cells
            .iter()
            .map(|cell| {
                cell.as_ref().map(|(mark, text)| {
                    Marked {
                        mark: mark_name(*mark),
                        text,
                    }
                    .into()
                })
            })
            .collect(),
    });
    let value = ShownChecks {
        title: checks.title.clone(),
        members: cast.all(&checks.checkpoints).into_iter().cloned().collect(),
        rows: rows.collect(),
    };
    Some(Part::Checks { value })
}
