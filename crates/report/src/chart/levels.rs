//! Levels of all checkpoints on one axis, with differences from the first.

use super::{Block, Cell, Chart, Column, LINE, Line, MIDDLE, Pen, Scale, class_of, fixed, signed};
use crate::cast::{Cast, Member, is_faded_in};
use crate::measured::found;
use crate::visible::shortened;
use concord_findings::{Axis, Estimate, LevelRow, Levels};

/// `[low, high]`, where there is an interval.
fn ends(estimate: &Estimate, write: impl Fn(f64) -> String) -> String {
    let ends = estimate.interval.as_ref();
    ends.map_or_else(String::new, |ends| {
        format!("[{}, {}]", write(ends.low), write(ends.high))
    })
}

/// Which columns there is something for, and how they are written.
struct Shape {
    /// Whether levels have signs.
    axis: Axis,
    /// What is said of a measurable checkpoint in a row where it is not.
    faded: &'static str,
    /// Whether one is not measurable in some row.
    some_fade: bool,
    differences: bool,
    shuffled: bool,
}

/// The chart of levels; nothing where there are no rows.
pub(crate) fn levels(figure: &Levels, cast: &Cast) -> Option<Chart> {
    let members = cast.all(&figure.checkpoints);
    if members.len() != figure.checkpoints.len() || figure.rows.is_empty() {
        return None;
    }
    let fades = |row: &LevelRow, at: usize| {
        members
            .get(at)
            .is_none_or(|member| is_faded_in(row, at, member.reason.is_some()))
    };
    let difference = |row: &LevelRow, at: usize| {
        let is_compared = at > 0 && !fades(row, 0) && !fades(row, at);
        found(&row.differences, at).filter(|_| is_compared).cloned()
    };
    let differs = |row: &LevelRow| (0..members.len()).any(|at| difference(row, at).is_some());
    let any = |of: fn(&LevelRow) -> &[Option<Estimate>]| {
        let at = 0..members.len();
        figure
            .rows
            .iter()
            .any(|row| at.clone().any(|at| found(of(row), at).is_some()))
    };
    let shape = Shape {
        axis: figure.axis,
        faded: figure.faded,
        some_fade: figure
            .rows
            .iter()
            .any(|row| (0..members.len()).any(|at| fades(row, at))),
        differences: figure.rows.iter().any(differs),
        shuffled: any(|row| &row.of_shuffled),
    };
    let level_scale = match figure.axis {
        Axis::UpTo(largest) => Scale::up_to(largest),
        Axis::AroundZero => {
            let all = figure.rows.iter().flat_map(|row| &row.levels).flatten();
            let ends = all.flat_map(|level| level.ends().map(f64::abs));
            Scale::around_zero(ends.filter(|end| end.is_finite()).fold(0.0, f64::max))
        }
    };
    let farthest = figure.rows.iter().flat_map(|row| {
        let found = (1..members.len()).filter_map(|at| difference(row, at));
        found.flat_map(|estimate| estimate.ends().map(f64::abs))
    });
    let difference_scale =
        Scale::around_zero(farthest.filter(|end| end.is_finite()).fold(0.0, f64::max));
    let blocks = figure.rows.iter().map(|row| Block {
        label: row.label.clone(),
        member: None,
        fine: row.groups.clone(),
        lines: members
            .iter()
            .enumerate()
            .map(|(at, member)| {
                line(
                    row,
                    at,
                    member,
                    &shape,
                    [&level_scale, &difference_scale],
                    (difference(row, at).as_ref(), fades(row, at)),
                )
            })
            .collect(),
        note: published(row, figure.beside),
    });
    Some(Chart {
        title: figure.title.clone(),
        note: note(&figure.legend, any(|row| &row.thin)),
        key: Vec::new(),
        named_lines: true,
        columns: columns(figure, &shape, [&level_scale, &difference_scale]),
        blocks: blocks.collect(),
        long: figure.rows.len() * members.len() > 12,
    })
}

/// What the axis means and what is drawn how.
fn note(legend: &str, has_thin: bool) -> String {
    let legend = legend.trim();
    let end = if legend.is_empty() || legend.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    let thin = if has_thin {
        " Thin line: the other interval."
    } else {
        ""
    };
    format!("{legend}{end} Mark: the estimate. Bar: its interval.{thin}")
        .trim()
        .to_owned()
}

fn columns(figure: &Levels, shape: &Shape, [level, difference]: [&Scale; 2]) -> Vec<Column> {
    let intervals = figure.rows.iter().flat_map(|row| &row.levels).flatten();
    let interval = intervals
        .filter_map(|estimate| estimate.interval.as_ref())
        .map(|interval| format!("{:.0}\u{a0}%", 100.0 * interval.level))
        .next();
    let interval = interval.map_or_else(String::new, |level| format!(" [{level}]"));
    let mut out = vec![
        Column::of_plots(figure.measure.label().to_owned(), level),
        Column::of_words(format!("level{interval}")),
    ];
    if shape.shuffled {
        out.push(Column::of_words("of shuffled".to_owned()));
    }
    if shape.differences {
        let first = figure.checkpoints.first().map_or("", String::as_str);
        let title = format!("difference from {}", shortened(first, 24));
        out.push(Column::of_plots(title, difference));
        out.push(Column::of_words(format!("difference{interval}")));
    } else if shape.some_fade {
        out.push(Column::of_words(String::new()));
    }
    out
}

fn line(
    row: &LevelRow,
    at: usize,
    member: &Member,
    shape: &Shape,
    [level_scale, difference_scale]: [&Scale; 2],
    (difference, fades): (Option<&Estimate>, bool),
) -> Line {
    let level = found(&row.levels, at);
    let missing = fades.then(|| match member.reason {
        Some(_) => "not measurable".to_owned(),
        None => shape.faded.to_owned(),
    });
    // Drawn as one that could not be measured, or could be, as it is in this row.
    let member = &Member {
        reason: missing.clone(),
        ..member.clone()
    };
    let write = |value: f64| {
        if shape.axis == Axis::AroundZero {
            signed(value, 3)
        } else {
            fixed(value, 3)
        }
    };
    let mut cells = Vec::new();
    let mut pen = Pen::new(level_scale, LINE);
    for (_, value) in row.published.iter().filter(|(_, value)| value.is_finite()) {
        pen.upright(*value, "published");
    }
    if let Some(level) = level {
        pen.along(level.ends(), MIDDLE, &class_of(member, "i"));
        if let Some(thin) = found(&row.thin, at) {
            pen.capped(thin.ends(), &class_of(member, "t"));
        }
        pen.mark(member, level.value, MIDDLE);
    }
    cells.push(Cell::of_plot(pen, String::new()));
    cells.push(level.map_or_else(Cell::default, |level| {
        Cell::of_words(write(level.value), ends(level, write))
    }));
    if shape.shuffled {
        let percent = |value: f64| format!("{} %", fixed(100.0 * value, 0));
        cells.push(
            found(&row.of_shuffled, at).map_or_else(Cell::default, |ratio| {
                let fine = ends(ratio, |end| fixed(100.0 * end, 0));
                Cell::of_words(percent(ratio.value), fine)
            }),
        );
    }
    if shape.differences {
        let mut pen = Pen::new(difference_scale, LINE);
        if let Some(difference) = difference {
            pen.along(difference.ends(), MIDDLE, &class_of(member, "i"));
            pen.mark(member, difference.value, MIDDLE);
        }
        cells.push(Cell::of_plot(pen, String::new()));
        // A dash is for where there is no word; the interval says why.
        let word = row
            .words
            .get(at)
            .and_then(Option::as_deref)
            .filter(|word| *word != "–")
            .unwrap_or("");
        cells.push(match (difference, fades) {
            (Some(difference), _) => Cell::of_words(
                format!("{} {word}", signed(difference.value, 3))
                    .trim_end()
                    .to_owned(),
                ends(difference, |end| signed(end, 3)),
            ),
            (None, true) => Cell::of_words(String::new(), missing.unwrap_or_default()),
            (None, false) => Cell::default(),
        });
    } else if shape.some_fade {
        cells.push(Cell::of_words(String::new(), missing.unwrap_or_default()));
    }
    Line {
        member: Some(member.clone()),
        cells,
    }
}

/// What the grey lines are, from left to right.
fn published(row: &LevelRow, noun: &str) -> String {
    let mut values: Vec<&(String, f64)> = row
        .published
        .iter()
        .filter(|(_, value)| value.is_finite())
        .collect();
    values.sort_by(|a, b| a.1.total_cmp(&b.1));
    let values: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("{name} {}", fixed(*value, 3)))
        .collect();
    if values.is_empty() {
        return String::new();
    }
    format!("{noun}: {}", values.join(" · "))
}
