//! Figures as files of their own.

use super::{Block, Chart, Column, Heat, Line, Plot, Reach, chart, heat, shapes};
use crate::cast::{Cast, Member};
use crate::markup::Markup;
use crate::visible::{shortened, width_of};
use concord_findings::Exhibit;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The width of a file's figure.
const WIDTH: f64 = 980.0;
/// Of a column of text at 12 pixels, on average.
const LETTER: f64 = 6.9;
const EDGE: f64 = 16.0;
/// The room of labels and of names.
const LABELS: f64 = 200.0;
const NAMES: f64 = 190.0;
/// The least that a plot has, and the room between columns.
const PLOT: f64 = 240.0;
const GAP: f64 = 16.0;
const ROW: f64 = 16.0;

/// The colours of series on white, `s0`, `s1`, …; the page's style sheet has them too.
pub(crate) const COLOURS: [&str; 8] = [
    "#0b62a4", "#c2410c", "#15803d", "#7e22ce", "#8a5a00", "#be185d", "#0e7490", "#475569",
];

/// Every figure as SVG, with a name for its file.
pub(crate) fn figures_of(exhibits: &[Exhibit]) -> Vec<(String, String)> {
    let (cast, reach) = (Cast::of(exhibits), Reach::of(exhibits));
    let mut names = BTreeSet::new();
    let mut out = Vec::new();
    for exhibit in exhibits {
        let (title, svg) = match exhibit {
            Exhibit::Matrix(figure) => match heat(figure, &reach) {
                Some(heat) => (figure.title.clone(), heat_file(&heat)),
                None => continue,
            },
            other => match chart(other, &cast, &reach) {
                Some(chart) => (chart.title.clone(), chart_file(&chart)),
                None => continue,
            },
        };
        let stem = stem(&title);
        let mut name = format!("{:02}-{stem}.svg", out.len() + 1);
        if !names.insert(name.clone()) {
            name = format!("{:02}-figure.svg", out.len() + 1);
        }
        out.push((name, svg));
    }
    out
}

/// A title as the name of a file: letters and digits of ASCII with hyphens between them.
fn stem(title: &str) -> String {
    let mut out = String::new();
    for c in title.chars().take(80) {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() {
        "figure".to_owned()
    } else {
        out.to_owned()
    }
}

/// Lines of a text that fit into a width, broken at spaces or, where there is none, anywhere.
fn lines_of(text: &str, width: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    let fits = |line: &str| width_of(line) as f64 * LETTER <= width;
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let joined = if lines[last].is_empty() {
            word.to_owned()
        } else {
            format!("{} {word}", lines[last])
        };
        if fits(&joined) {
            lines[last] = joined;
            continue;
        }
        if !lines[last].is_empty() {
            lines.push(String::new());
        }
        for c in word.chars() {
            let last = lines.len() - 1;
            if !lines[last].is_empty() && !fits(&format!("{}{c}", lines[last])) {
                lines.push(String::new());
            }
            let last = lines.len() - 1;
            lines[last].push(c);
        }
    }
    lines
}

/// A sheet on which a figure is laid out from top to bottom.
struct Sheet {
    out: Markup,
    width: f64,
    y: f64,
}

impl Sheet {
    fn new(title: &str, width: f64) -> Self {
        let mut sheet = Self {
            out: Markup::default(),
            width,
            y: EDGE,
        };
        sheet.paragraph(title, "title");
        sheet
    }

    /// Lines of text over the whole width.
    fn paragraph(&mut self, text: &str, class: &'static str) {
        if text.is_empty() {
            return;
        }
        for line in lines_of(text, self.width - 2.0 * EDGE) {
            self.y += ROW + 1.0;
            self.text(&line, class, EDGE, self.y - 4.0);
        }
        self.y += 3.0;
    }

    fn text(&mut self, text: &str, class: &'static str, x: f64, y: f64) {
        if text.is_empty() {
            return;
        }
        self.out
            .around("text", &[("class", &class), ("x", &x), ("y", &y)], text);
    }

    fn member(&mut self, member: &Member, x: f64, y: f64) {
        let shape = format!("#m{}", member.shape);
        let class = super::class_of(member, "m");
        self.out.element(
            "use",
            &[("href", &shape), ("class", &class), ("x", &x), ("y", &y)],
        );
    }

    /// SVG whose places are shares of a width.
    fn inset(&mut self, content: &str, [x, y, width, height]: [f64; 4]) {
        self.out.open(
            "svg",
            &[
                ("x", &x),
                ("y", &y),
                ("width", &width),
                ("height", &height),
                ("overflow", &"visible"),
            ],
        );
        self.out.append(content).close("svg");
    }

    fn rule(&mut self) {
        let (y, end) = (self.y, self.width - EDGE);
        self.out.element(
            "line",
            &[
                ("class", &"grid"),
                ("x1", &EDGE),
                ("x2", &end),
                ("y1", &y),
                ("y2", &y),
            ],
        );
    }

    fn finish(self, title: &str, columns: &[Column]) -> String {
        let height = self.y + EDGE;
        let mut out = Markup::default();
        let view = format!("0 0 {:.0} {height:.0}", self.width);
        out.open(
            "svg",
            &[
                ("xmlns", &"http://www.w3.org/2000/svg"),
                ("width", &format!("{:.0}", self.width)),
                ("height", &format!("{height:.0}")),
                ("viewBox", &view),
                ("role", &"img"),
                ("aria-label", &title),
            ],
        );
        out.around("style", &[], &style());
        out.append(&shapes(columns.iter().map(|column| &column.grid)));
        out.element(
            "rect",
            &[("width", &"100%"), ("height", &"100%"), ("fill", &"#fff")],
        );
        out.append(&self.out.finish());
        out.close("svg");
        out.finish()
    }
}

/// What the page's style sheet says of figures, with colours on white.
fn style() -> String {
    let mut out = ".i{stroke-width:3.5;stroke-opacity:.55}.t{stroke-width:1}.dim{opacity:.4}\
        .grid{stroke:#dde3e8}.landmark{stroke:#7b8794;stroke-dasharray:3 3}.base{stroke:#9aa5b1}\
        .published{stroke:#7b8794;stroke-width:2}.s9{fill:#7b8794}\
        text{font:12px system-ui,sans-serif;fill:#1b1f24}.title{font-weight:600;font-size:14px}\
        .fine,.tick{fill:#59636e;font-size:11px}.middle{text-anchor:middle}.end{text-anchor:end}"
        .to_owned();
    for (number, colour) in COLOURS.iter().enumerate() {
        let _ = write!(
            out,
            ".m.s{number}{{fill:{colour}}}.i.s{number},.t.s{number}{{stroke:{colour}}}"
        );
    }
    out
}

/// Where the columns after labels and names begin.
fn start(chart: &Chart) -> f64 {
    EDGE + LABELS + if chart.named_lines { NAMES } else { 0.0 }
}

/// The width that the words of a column take.
fn words_width(chart: &Chart, at: usize) -> f64 {
    let lines = chart.blocks.iter().flat_map(|block| &block.lines);
    let cells = lines.filter_map(|line| line.cells.get(at));
    let widths = cells.map(|cell| {
        let letters = width_of(&cell.words) + width_of(&cell.fine) + 1;
        letters as f64 * LETTER
    });
    let head = chart
        .columns
        .get(at)
        .map_or(0, |column| width_of(&column.title));
    widths.fold(head as f64 * LETTER, f64::max)
}

/// Where each column begins and how wide it is, and the width of the whole: that of a page, or as much more as plots beside words need.
fn places(chart: &Chart) -> (Vec<[f64; 2]>, f64) {
    let is_words = |at: &usize| chart.columns[*at].axis.is_none();
    let words: f64 = (0..chart.columns.len())
        .filter(is_words)
        .map(|at| words_width(chart, at) + GAP)
        .sum();
    let plots = chart
        .columns
        .iter()
        .filter(|column| column.axis.is_some())
        .count();
    let start = start(chart);
    let room = (WIDTH - EDGE - start - words).max(PLOT * plots as f64);
    let mut x = start;
    let mut columns = Vec::new();
    for (at, column) in chart.columns.iter().enumerate() {
        let width = match column.axis {
            Some(_) => room / plots as f64,
            None => words_width(chart, at) + GAP,
        };
        columns.push([x + GAP / 2.0, width - GAP]);
        x += width;
    }
    (columns, x.max(WIDTH - EDGE) + EDGE)
}

fn chart_file(chart: &Chart) -> String {
    let (places, width) = places(chart);
    let mut sheet = Sheet::new(&chart.title, width);
    sheet.paragraph(&chart.note, "fine");
    key(&mut sheet, &chart.key);
    sheet.y += ROW;
    for (column, [x, _]) in chart.columns.iter().zip(&places) {
        let y = sheet.y;
        sheet.text(&column.title, "fine", *x, y);
    }
    sheet.y += 4.0;
    let below = chart
        .columns
        .iter()
        .any(|column| column.title.is_empty() && column.axis.is_some());
    if !below {
        axes(&mut sheet, chart, &places);
    }
    for block in &chart.blocks {
        sheet.rule();
        block_file(&mut sheet, chart, block, &places);
    }
    if below || chart.long {
        axes(&mut sheet, chart, &places);
    }
    sheet.finish(&chart.title, &chart.columns)
}

fn axes(sheet: &mut Sheet, chart: &Chart, places: &[[f64; 2]]) {
    for (column, [x, width]) in chart.columns.iter().zip(places) {
        if let Some(axis) = &column.axis {
            let y = sheet.y;
            sheet.inset(axis, [*x, y, *width, ROW]);
        }
    }
    sheet.y += ROW;
}

/// The names of the series, with their marks, as many a line as fit.
fn key(sheet: &mut Sheet, members: &[Member]) {
    if members.is_empty() {
        return;
    }
    let mut x = EDGE;
    sheet.y += ROW;
    for member in members {
        let name = shortened(&member.name, 120);
        let width = 34.0 + width_of(&name) as f64 * LETTER;
        if x > EDGE && x + width > sheet.width - EDGE {
            x = EDGE;
            sheet.y += ROW;
        }
        let y = sheet.y;
        sheet.member(member, x + 6.0, y - 4.0);
        sheet.text(&name, "", x + 16.0, y);
        x += width;
    }
    sheet.y += 8.0;
}

fn block_file(sheet: &mut Sheet, chart: &Chart, block: &Block, places: &[[f64; 2]]) {
    let top = sheet.y;
    let mut label_y = top + 3.0;
    let indent = if block.member.is_some() { 16.0 } else { 0.0 };
    if let Some(member) = &block.member {
        sheet.member(member, EDGE + 6.0, top + 12.0);
    }
    for (text, class) in [(&block.label, ""), (&block.fine, "fine")] {
        if text.is_empty() {
            continue;
        }
        for line in lines_of(text, LABELS - 10.0 - indent) {
            label_y += ROW;
            sheet.text(&line, class, EDGE + indent, label_y - 3.0);
        }
    }
    for line in &block.lines {
        line_file(sheet, chart, line, places);
    }
    if !block.note.is_empty() {
        let x = start(chart);
        for line in lines_of(&block.note, sheet.width - EDGE - x) {
            sheet.y += ROW;
            let y = sheet.y;
            sheet.text(&line, "fine", x + 6.0, y - 3.0);
        }
    }
    sheet.y = sheet.y.max(label_y + 3.0);
}

fn line_file(sheet: &mut Sheet, chart: &Chart, line: &Line, places: &[[f64; 2]]) {
    let heights = line
        .cells
        .iter()
        .filter_map(|cell| cell.plot.as_ref())
        .map(|plot: &Plot| plot.height);
    let height = heights.fold(super::LINE, f64::max);
    let (y, middle) = (sheet.y, sheet.y + height / 2.0 + 4.0);
    if let Some(member) = line.member.as_ref().filter(|_| chart.named_lines) {
        sheet.member(member, EDGE + LABELS + 6.0, y + height / 2.0);
        let class = if member.reason.is_some() { "fine" } else { "" };
        sheet.text(&member.short, class, EDGE + LABELS + 16.0, middle);
    }
    for (cell, [x, width]) in line.cells.iter().zip(places) {
        if let Some(plot) = &cell.plot {
            sheet.inset(&plot.content, [*x, y, *width, plot.height]);
        }
        sheet.text(&cell.words, "", *x, middle);
        let indent = if cell.words.is_empty() {
            0.0
        } else {
            (width_of(&cell.words) as f64 + 1.0) * LETTER
        };
        sheet.text(&cell.fine, "fine", *x + indent, middle);
    }
    sheet.y += height;
}

fn heat_file(heat: &Heat) -> String {
    const HEIGHT: f64 = 24.0;
    let mut sheet = Sheet::new(&format!("{} ({})", heat.title, heat.unit), WIDTH);
    let width = ((WIDTH - 2.0 * EDGE - LABELS) / heat.columns.len() as f64).min(110.0);
    let left = EDGE + LABELS;
    let heads: Vec<Vec<String>> = heat
        .columns
        .iter()
        .map(|name| lines_of(name, width - 4.0))
        .collect();
    let deepest = heads.iter().map(Vec::len).max().unwrap_or(1);
    for (at, head) in heads.iter().enumerate() {
        for (number, line) in head.iter().enumerate() {
            let y = sheet.y + (number + 1 + deepest - head.len()) as f64 * ROW;
            sheet.text(line, "fine middle", left + (at as f64 + 0.5) * width, y);
        }
    }
    sheet.y += deepest as f64 * ROW + 6.0;
    for (name, cells) in &heat.rows {
        let y = sheet.y;
        let label = lines_of(name, LABELS - 12.0);
        for (number, line) in label.iter().enumerate() {
            sheet.text(line, "end", left - 10.0, y + 16.0 + number as f64 * ROW);
        }
        for (at, cell) in cells
            .iter()
            .enumerate()
            .filter(|(_, cell)| !cell.text.is_empty())
        {
            let x = left + at as f64 * width;
            let colour = if cell.negative {
                COLOURS[0]
            } else {
                COLOURS[1]
            };
            let opacity = format!("{:.2}", 0.04 + 0.5 * cell.strength);
            let (wide, tall) = (width - 2.0, HEIGHT - 2.0);
            sheet.out.element(
                "rect",
                &[
                    ("x", &x),
                    ("y", &y),
                    ("width", &wide),
                    ("height", &tall),
                    ("rx", &2),
                    ("fill", &colour),
                    ("fill-opacity", &opacity),
                ],
            );
            sheet.text(&cell.text, "middle", x + width / 2.0 - 1.0, y + 15.5);
        }
        sheet.y += HEIGHT.max(label.len() as f64 * ROW + 6.0);
    }
    sheet.finish(&heat.title, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_makes_a_name_for_a_file() {
        assert_eq!(
            stem("How far <b>answers</b> move: 2"),
            "how-far-b-answers-b-move-2"
        );
        assert_eq!(stem("話題"), "figure");
        assert_eq!(stem("../../x"), "x");
    }

    #[test]
    fn long_text_is_broken_to_fit() {
        assert_eq!(lines_of("aa bb cc", 5.0 * LETTER), ["aa bb", "cc"]);
        assert_eq!(lines_of("abcdefgh", 3.0 * LETTER), ["abc", "def", "gh"]);
        assert_eq!(lines_of("話題話題", 4.0 * LETTER), ["話題", "話題"]);
    }
}
