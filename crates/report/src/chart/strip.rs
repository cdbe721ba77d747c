//! Distributions as rows of bars, all on one scale.

use super::{Block, Cell, Chart, Column, Grid, Line, Pen, Scale, class_of, fixed};
use crate::cast::Cast;
use crate::markup::Markup;
use crate::visible::width_of;
use concord_findings::Strip;

const HEIGHT: f64 = 44.0;
/// The columns of text that fit under all bars together on a phone.
const ROOM: usize = 46;

/// A strip; nothing where no bar is above 0.
pub(super) fn strip(figure: &Strip, cast: &Cast) -> Option<Chart> {
    let values = figure.rows.iter().flat_map(|(_, bars)| bars).copied();
    let values = values
        .chain(figure.reference)
        .filter(|value| value.is_finite());
    let most = values.fold(0.0, f64::max);
    let count = figure.categories.len();
    if most <= 0.0 || count == 0 {
        return None;
    }
    let (scale, place) = (Scale::plain(), 100.0 / count as f64);
    let blocks = figure.rows.iter().map(|(name, bars)| {
        let member = cast.begins(name);
        let class = member.map_or_else(|| "m s9".to_owned(), |member| class_of(member, "m"));
        let mut pen = Pen::new(&scale, HEIGHT);
        let mut spoken = Vec::new();
        for (at, value) in bars
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite())
        {
            let Some(category) = figure.categories.get(at) else {
                continue;
            };
            let label = format!("{category}: {}", fixed(*value, 3));
            let tall = (HEIGHT - 4.0) * (value / most).clamp(0.0, 1.0);
            pen.bar(
                [(at as f64 + 0.08) * place, 0.84 * place],
                tall,
                &class,
                &label,
            );
            spoken.push(label);
        }
        pen.level(HEIGHT - 0.5, "base");
        if let Some(reference) = figure.reference {
            pen.level(HEIGHT - (HEIGHT - 4.0) * reference / most, "landmark");
        }
        Block {
            label: name.clone(),
            member: member.cloned(),
            fine: String::new(),
            lines: vec![Line {
                member: None,
                cells: vec![Cell::of_plot(pen, format!("{name}: {}", spoken.join(", ")))],
            }],
            note: String::new(),
        }
    });
    let reference = figure.reference.map_or_else(String::new, |value| {
        format!("; the dashed line is {}", fixed(value, 3))
    });
    Some(Chart {
        title: figure.title.clone(),
        note: format!(
            "A full bar is {} {}{reference}.",
            figure.measure.label(),
            fixed(most, 3)
        ),
        key: Vec::new(),
        named_lines: false,
        columns: vec![Column {
            title: String::new(),
            axis: Some(axis(&figure.categories)),
            grid: Grid::default(),
        }],
        blocks: blocks.collect(),
        long: true,
    })
}

/// The categories under the bars: as many as there is room for on a phone.
fn axis(categories: &[String]) -> String {
    let widest = categories
        .iter()
        .map(|name| width_of(name) + 1)
        .max()
        .unwrap_or(1);
    let every = (widest * categories.len()).div_ceil(ROOM).max(1);
    let mut out = Markup::default();
    for (at, name) in categories.iter().enumerate().step_by(every) {
        let x = format!(
            "{:.2}%",
            100.0 * (at as f64 + 0.5) / categories.len() as f64
        );
        let text = crate::visible::shortened(name, ROOM / categories.len().min(3));
        out.around(
            "text",
            &[
                ("class", &"tick"),
                ("x", &x),
                ("y", &12),
                ("text-anchor", &"middle"),
            ],
            &text,
        );
    }
    out.finish()
}

impl Pen<'_> {
    /// A line across the whole width.
    fn level(&mut self, y: f64, class: &str) {
        self.out.element(
            "line",
            &[("class", &class), ("x2", &"100%"), ("y1", &y), ("y2", &y)],
        );
    }
}
