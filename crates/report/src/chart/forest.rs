//! Estimates with intervals, a block a row.

use super::{Block, Cell, Chart, Column, Line, Pen, Reach, Scale, class_of, fixed, signed};
use crate::cast::Cast;
use concord_findings::{Estimate, Forest, Measure};

/// The height that a series takes of a row.
const LANE: f64 = 13.0;

/// A forest plot; nothing where nothing was measured.
pub(super) fn forest(figure: &Forest, cast: &Cast, reach: &Reach) -> Option<Chart> {
    let members = cast.all(&figure.series);
    let shown = |at: usize, cell: &Option<Estimate>| {
        // A difference from, or of, what could not be measured is none.
        let faded = figure.of_differences && members.get(at).is_none_or(|m| m.reason.is_some());
        cell.clone()
            .filter(|estimate| estimate.is_measured() && !faded)
    };
    let rows: Vec<(&String, Vec<Option<Estimate>>)> = figure
        .rows
        .iter()
        .map(|(label, cells)| {
            let cells = cells.iter().enumerate().map(|(at, cell)| shown(at, cell));
            (label, cells.collect::<Vec<_>>())
        })
        .filter(|(_, cells)| cells.iter().any(Option::is_some))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let scale = scale(figure, reach.forests(figure.measure, figure.of_differences));
    let write = |value: f64| {
        if figure.of_differences {
            signed(value, 3)
        } else {
            fixed(value, 3)
        }
    };
    let height = (members.len() as f64 * LANE).max(LANE) + 7.0;
    let blocks = rows.iter().map(|(label, cells)| {
        let mut pen = Pen::new(&scale, height);
        let mut spoken = Vec::new();
        for (at, (estimate, member)) in cells.iter().zip(&members).enumerate() {
            let Some(estimate) = estimate else { continue };
            let y = format!("{}", 3.5 + (at as f64 + 0.5) * LANE);
            let [low, high] = estimate.ends();
            let text = format!(
                "{}: {} [{}, {}]",
                member.short,
                write(estimate.value),
                write(low),
                write(high)
            );
            pen.open_part(&text);
            pen.along([low, high], &y, &class_of(member, "i"));
            pen.mark(member, estimate.value, &y);
            pen.close_part();
            spoken.push(text);
        }
        let plot = Cell::of_plot(pen, spoken.join("; "));
        let words = match (cells.as_slice(), members.len()) {
            ([Some(only)], 1) => {
                let [low, high] = only.ends();
                Cell::of_words(
                    write(only.value),
                    format!("[{}, {}]", write(low), write(high)),
                )
            }
            _ => Cell::default(),
        };
        Block {
            label: (*label).clone(),
            member: None,
            fine: String::new(),
            lines: vec![Line {
                member: None,
                cells: if members.len() == 1 {
                    vec![plot, words]
                } else {
                    vec![plot]
                },
            }],
            note: String::new(),
        }
    });
    let unit = figure.measure.label();
    let title = if figure.of_differences {
        format!("difference of {unit}")
    } else {
        unit.to_owned()
    };
    let mut columns = vec![Column::of_plots(title, &scale)];
    if members.len() == 1 {
        columns.push(Column::of_words(String::new()));
    }
    Some(Chart {
        title: figure.title.clone(),
        note: String::new(),
        key: members.iter().map(|member| (*member).clone()).collect(),
        named_lines: false,
        columns,
        blocks: blocks.collect(),
        long: rows.len() > 12,
    })
}

/// The axis: probabilities from 0 to 1, differences around 0, everything else from 0 on.
fn scale(figure: &Forest, [low, high]: [f64; 2]) -> Scale {
    if figure.of_differences {
        return Scale::around_zero(high.max(-low));
    }
    match figure.measure {
        Measure::Support | Measure::LikeMe | Measure::Probability | Measure::Mass => {
            Scale::probability()
        }
        _ => Scale::over([low, high].into_iter()),
    }
}
