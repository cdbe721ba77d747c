//! Figures: blocks of lines, each with words and small plots that share an axis from top to bottom.
//!
//! A plot is as wide as the room that it is given: places along its axis are shares of it, heights are pixels. So the same plot stands in
//! a page, on a phone, on paper and in a file of its own, and its text is never scaled.

mod file;
mod forest;
mod heat;
mod levels;
mod profile;
mod reach;
mod scale;
mod strip;

use crate::cast::{Cast, Member};
use crate::markup::Markup;
use concord_findings::Exhibit;
use serde::Serialize;
use std::collections::BTreeMap;

pub(crate) use file::figures_of;
pub(crate) use heat::{Heat, heat};
pub(crate) use levels::levels;
pub(crate) use reach::Reach;
pub(crate) use scale::{Grid, Scale, fixed, signed};

/// The height of a line of a chart.
pub(crate) const LINE: f64 = 22.0;
/// Where the only mark of a line stands, however high the line becomes.
const MIDDLE: &str = "50%";

/// A figure.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    /// What it shows.
    pub(crate) title: String,
    /// What its axis means.
    pub(crate) note: String,
    /// The series in it.
    pub(crate) key: Vec<Member>,
    /// Whether each line says whose it is; where it does not, the key stands above.
    pub(crate) named_lines: bool,
    /// Its columns, after those of labels and names.
    pub(crate) columns: Vec<Column>,
    /// Its blocks.
    pub(crate) blocks: Vec<Block>,
    /// Whether the axis is repeated below.
    pub(crate) long: bool,
}

/// A column of a chart.
#[derive(Debug, Serialize)]
pub(crate) struct Column {
    /// What it holds.
    pub(crate) title: String,
    /// Its axis as SVG, where it holds plots.
    pub(crate) axis: Option<String>,
    /// The grid of its plots, which stands once where all of them can name it.
    #[serde(skip)]
    pub(crate) grid: Grid,
}

impl Column {
    fn of_plots(title: String, scale: &Scale) -> Self {
        Self {
            title,
            axis: Some(scale.axis()),
            grid: scale.grid(),
        }
    }

    fn of_words(title: String) -> Self {
        Self {
            title,
            axis: None,
            grid: Grid::default(),
        }
    }
}

/// Lines that belong together.
#[derive(Debug, Serialize)]
pub(crate) struct Block {
    /// What they are of.
    pub(crate) label: String,
    /// Whose, where the label is a name.
    pub(crate) member: Option<Member>,
    /// Fine print under the label.
    pub(crate) fine: String,
    /// The lines.
    pub(crate) lines: Vec<Line>,
    /// Fine print under the lines.
    pub(crate) note: String,
}

/// A line of a chart.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// Whose it is, where it is of one.
    pub(crate) member: Option<Member>,
    /// A cell for each column.
    pub(crate) cells: Vec<Cell>,
}

/// A cell of a line.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Cell {
    /// A plot, where there is one.
    pub(crate) plot: Option<Plot>,
    /// Words.
    pub(crate) words: String,
    /// Words in fine print.
    pub(crate) fine: String,
}

/// SVG without the element around it.
#[derive(Debug, Serialize)]
pub(crate) struct Plot {
    /// In pixels.
    pub(crate) height: f64,
    /// What is in it.
    pub(crate) content: String,
    /// What it says, for those who do not see it; empty where words beside it say so.
    pub(crate) spoken: String,
}

impl Cell {
    fn of_plot(pen: Pen, spoken: String) -> Self {
        Self {
            plot: Some(pen.finish(spoken)),
            ..Self::default()
        }
    }

    fn of_words(words: String, fine: String) -> Self {
        Self {
            plot: None,
            words,
            fine,
        }
    }
}

/// Draws a plot.
pub(crate) struct Pen<'a> {
    scale: &'a Scale,
    height: f64,
    out: Markup,
}

impl<'a> Pen<'a> {
    /// An empty plot with its grid.
    pub(crate) fn new(scale: &'a Scale, height: f64) -> Self {
        let mut out = Markup::default();
        let grid = scale.grid();
        if !grid.lines.is_empty() {
            out.element("use", &[("href", &format!("#{}", grid.name))]);
        }
        Self { scale, height, out }
    }

    /// A line across the whole height.
    fn upright(&mut self, value: f64, class: &str) {
        let x = self.scale.at(value);
        self.out.element(
            "line",
            &[("class", &class), ("x1", &x), ("x2", &x), ("y2", &"100%")],
        );
    }

    /// A line along the axis.
    fn along(&mut self, [low, high]: [f64; 2], y: &str, class: &str) {
        let (from, to) = (self.scale.at(low), self.scale.at(high));
        self.out.element(
            "line",
            &[
                ("class", &class),
                ("x1", &from),
                ("x2", &to),
                ("y1", &y),
                ("y2", &y),
            ],
        );
    }

    /// A line along the middle with an end to both sides, which can be told from what it lies on.
    fn capped(&mut self, ends: [f64; 2], class: &str) {
        self.along(ends, MIDDLE, class);
        for end in ends.map(|end| self.scale.at(end)) {
            self.out.element(
                "line",
                &[
                    ("class", &class),
                    ("x1", &end),
                    ("x2", &end),
                    ("y1", &"32%"),
                    ("y2", &"68%"),
                ],
            );
        }
    }

    /// The mark of a member.
    fn mark(&mut self, member: &Member, value: f64, y: &str) {
        let (x, shape) = (self.scale.at(value), format!("#m{}", member.shape));
        let class = class_of(member, "m");
        self.out.element(
            "use",
            &[("href", &shape), ("class", &class), ("x", &x), ("y", &y)],
        );
    }

    /// A bar from the bottom, whose label is shown where it is pointed at.
    fn bar(&mut self, [left, width]: [f64; 2], height: f64, class: &str, label: &str) {
        let (x, y) = (
            format!("{left:.3}%"),
            format!("{:.1}", self.height - height),
        );
        let (width, height) = (format!("{width:.3}%"), format!("{height:.1}"));
        self.out.open(
            "rect",
            &[
                ("class", &class),
                ("x", &x),
                ("y", &y),
                ("width", &width),
                ("height", &height),
            ],
        );
        self.out.around("title", &[], label).close("rect");
    }

    /// Opens a part of the plot that says what it is where it is pointed at.
    fn open_part(&mut self, label: &str) {
        self.out.open("g", &[]).around("title", &[], label);
    }

    fn close_part(&mut self) {
        self.out.close("g");
    }

    /// The mark of a member in the middle of the height.
    pub(crate) fn dot(&mut self, member: &Member, value: f64) {
        self.mark(member, value, MIDDLE);
    }

    /// The plot, and what it says.
    pub(crate) fn finish(self, spoken: String) -> Plot {
        Plot {
            height: self.height,
            content: self.out.finish(),
            spoken,
        }
    }
}

/// The class of what belongs to a member; `kind` says whether it is a mark `m` or an interval `i`.
pub(crate) fn class_of(member: &Member, kind: &str) -> String {
    let faded = if member.reason.is_some() { " dim" } else { "" };
    format!("{kind} s{}{faded}", member.colour)
}

/// The shapes of marks and the grids, to be named by all plots of a page.
pub(crate) fn shapes<'a>(grids: impl IntoIterator<Item = &'a Grid>) -> String {
    let mut out = Markup::default();
    out.open("defs", &[]);
    out.element("circle", &[("id", &"m0"), ("r", &"4.6")]);
    out.element(
        "rect",
        &[
            ("id", &"m1"),
            ("x", &"-4"),
            ("y", &"-4"),
            ("width", &"8"),
            ("height", &"8"),
        ],
    );
    let paths = [
        ("m2", "M0-5.6L5.6 0L0 5.6L-5.6 0z"),
        ("m3", "M0-5.4L5.4 4.2H-5.4z"),
        ("m4", "M0 5.4L5.4-4.2H-5.4z"),
        (
            "m5",
            "M-1.7-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",
        ),
    ];
    for (id, path) in paths {
        out.element("path", &[("id", &id), ("d", &path)]);
    }
    let grids: BTreeMap<&String, &String> = grids
        .into_iter()
        .map(|grid| (&grid.name, &grid.lines))
        .collect();
    for (name, lines) in grids.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        out.open("g", &[("id", name)]).append(lines).close("g");
    }
    out.close("defs");
    out.finish()
}

/// What an exhibit is as a chart; nothing where it is none, or has nothing to show.
pub(crate) fn chart(exhibit: &Exhibit, cast: &Cast, reach: &Reach) -> Option<Chart> {
    let chart = match exhibit {
        Exhibit::Levels(figure) => levels(figure, cast)?,
        Exhibit::Forest(figure) => forest::forest(figure, cast, reach)?,
        Exhibit::Strip(figure) => strip::strip(figure, cast)?,
        Exhibit::Radar(figure) => profile::profile(figure, cast)?,
        _ => return None,
    };
    (!chart.blocks.is_empty()).then_some(chart)
}
