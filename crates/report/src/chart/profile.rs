//! Profiles as rows of dots: lengths along one axis can be compared, directions around a circle cannot.

use super::{Block, Cell, Chart, Column, LINE, Line, MIDDLE, Pen, Scale, fixed};
use crate::cast::Cast;
use concord_findings::Radar;

/// A profile; nothing where no series has a value.
pub(super) fn profile(figure: &Radar, cast: &Cast) -> Option<Chart> {
    let series: Vec<_> = figure
        .series
        .iter()
        .filter_map(|(name, values)| Some((cast.get(name)?, values)))
        .collect();
    if !series
        .iter()
        .any(|(_, values)| values.iter().any(|value| value.is_finite()))
    {
        return None;
    }
    let scale = Scale::probability();
    let blocks = figure.spokes.iter().enumerate().map(|(spoke, name)| {
        let found: Vec<_> = series
            .iter()
            .filter_map(|(member, values)| {
                Some((*member, *values.get(spoke).filter(|v| v.is_finite())?))
            })
            .collect();
        let mut pen = Pen::new(&scale, LINE);
        let ends = found.iter().map(|(_, value)| *value);
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low < high {
            pen.along([low, high], MIDDLE, "base");
        }
        for (member, value) in &found {
            pen.open_part(&format!("{}: {}", member.name, fixed(*value, 3)));
            pen.mark(member, *value, MIDDLE);
            pen.close_part();
        }
        let spoken: Vec<String> = found
            .iter()
            .map(|(member, value)| format!("{} {}", member.short, fixed(*value, 3)))
            .collect();
        Block {
            label: name.clone(),
            member: None,
            fine: String::new(),
            lines: vec![Line {
                member: None,
                cells: vec![Cell::of_plot(pen, format!("{name}: {}", spoken.join(", ")))],
            }],
            note: String::new(),
        }
    });
    Some(Chart {
        title: figure.title.clone(),
        note: String::new(),
        key: series.iter().map(|(member, _)| (*member).clone()).collect(),
        named_lines: false,
        columns: vec![Column::of_plots(String::new(), &scale)],
        blocks: blocks.collect(),
        long: false,
    })
}
