//! Figures as SVG: estimates with intervals in rows, and profiles around a circle.
//!
//! Series differ in their mark as well as in their colour, which the page gives by class.

use concord_findings::{Estimate, Forest, Matrix, Radar, Strip};
use std::f64::consts::TAU;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const ROW: f64 = 15.0;
const GAP: f64 = 9.0;
const TOP: f64 = 30.0;
/// Of a letter of a label, on average.
const LETTER: f64 = 6.6;

/// Whether a terminal would do something else than show it: move, change colour, or turn the direction of what follows.
pub fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// Text as it may stand in a page.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if is_hidden(c) && c != '\n' => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Width of a text: characters of East Asian scripts are as wide as two.
fn width_of(text: &str) -> f64 {
    let wide = |c: char| if u32::from(c) >= 0x2E80 { 2.0 } else { 1.0 };
    LETTER * text.chars().map(wide).sum::<f64>()
}

/// A step of 1, 2 or 5 times a power of ten, of which about five fill a range.
fn step(range: f64) -> f64 {
    let rough = range / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let digit = rough / power;
    power
        * if digit < 1.5 {
            1.0
        } else if digit < 3.5 {
            2.0
        } else if digit < 7.5 {
            5.0
        } else {
            10.0
        }
}

/// The mark of a series around a point.
fn mark(out: &mut String, series: usize, x: f64, y: f64) {
    let class = format!("s{}", series % 6);
    let _ = match series % 4 {
        0 => write!(
            out,
            r#"<circle class="{class} m" cx="{x:.1}" cy="{y:.1}" r="4"/>"#
        ),
        1 => write!(
            out,
            r#"<rect class="{class} m" x="{:.1}" y="{:.1}" width="7.4" height="7.4"/>"#,
            x - 3.7,
            y - 3.7
        ),
        2 => write!(
            out,
            r#"<path class="{class} m" d="M{x:.1} {:.1}l5 5l-5 5l-5 -5z"/>"#,
            y - 5.0
        ),
        _ => write!(
            out,
            r#"<path class="{class} m" d="M{x:.1} {:.1}l5 8.6h-10z"/>"#,
            y - 5.2
        ),
    };
}

/// An estimate, where there was something to measure.
fn measured(cell: Option<&Estimate>) -> Option<&Estimate> {
    cell.filter(|estimate| estimate.is_measured())
}

/// What an axis counts.
fn unit(forest: &Forest) -> &'static str {
    if forest.of_differences {
        "difference"
    } else {
        forest.measure.label()
    }
}

/// A forest plot; empty where there is nothing to show.
pub(crate) fn forest(figure: &Forest) -> String {
    let all = figure.rows.iter().flat_map(|(_, cells)| cells);
    let all = all.filter_map(|cell| measured(cell.as_ref()));
    let ends: Vec<f64> = all
        .flat_map(|estimate| {
            let [low, high] = estimate.ends();
            [estimate.value, low, high]
        })
        .collect();
    let (Some(least), Some(most)) = (
        ends.iter().copied().reduce(f64::min),
        ends.iter().copied().reduce(f64::max),
    ) else {
        return String::new();
    };
    let (least, most) = (least.min(0.0), most.max(0.0));
    let step = step((most - least).max(1e-6));
    let (first, last) = ((least / step).floor(), (most / step).ceil());
    let labels = figure.rows.iter().map(|(label, _)| width_of(label));
    let left = labels.fold(60.0, f64::max).min(360.0) + 12.0;
    let x = |value: f64| {
        left + (value - first * step) / ((last - first) * step) * (WIDTH - left - 30.0)
    };
    let block = figure.series.len() as f64 * ROW + GAP;
    let height = TOP + figure.rows.len() as f64 * block + 30.0;
    let mut out = String::new();
    let _ = write!(
        out,
        r#"<figure><figcaption>{}</figcaption><svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{}">"#,
        escaped(&figure.title),
        escaped(&figure.title)
    );
    let mut at = left;
    for (series, name) in figure.series.iter().enumerate() {
        mark(&mut out, series, at + 5.0, 11.0);
        let _ = write!(
            out,
            r#"<text x="{:.1}" y="15">{}</text>"#,
            at + 14.0,
            escaped(name)
        );
        at += 34.0 + width_of(name);
    }
    let bottom = height - 26.0;
    let mut tick = first;
    while tick <= last {
        let value = tick * step;
        let at = x(value);
        let class = if tick.abs() < 0.5 { "zero" } else { "grid" };
        let digits = usize::from(step < 1.0) + usize::from(step < 0.1) + usize::from(step < 0.01);
        let _ = write!(
            out,
            r#"<line class="{class}" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom:.1}"/><text class="tick" x="{at:.1}" y="{:.1}">{value:.digits$}</text>"#,
            bottom + 13.0
        );
        tick += 1.0;
    }
    let _ = write!(
        out,
        r#"<text class="unit" x="{:.1}" y="{:.1}">{}</text>"#,
        WIDTH - 30.0,
        bottom + 25.0,
        escaped(unit(figure))
    );
    for (row, (label, cells)) in figure.rows.iter().enumerate() {
        let top = TOP + row as f64 * block + GAP / 2.0;
        let _ = write!(
            out,
            r#"<text class="label" x="{:.1}" y="{:.1}">{}</text>"#,
            left - 10.0,
            top + figure.series.len() as f64 * ROW / 2.0 + 4.0,
            escaped(label)
        );
        for (series, cell) in cells.iter().enumerate() {
            let Some(estimate) = measured(cell.as_ref()) else {
                continue;
            };
            let (value, [low, high]) = (estimate.value, estimate.ends());
            let y = top + (series as f64 + 0.5) * ROW;
            let _ = write!(
                out,
                r#"<g><title>{} {}: {value:.4} [{low:.4}, {high:.4}]</title><line class="s{} i" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#,
                escaped(label),
                escaped(figure.series.get(series).map_or("", String::as_str)),
                series % 6,
                x(low),
                x(high),
            );
            mark(&mut out, series, x(value), y);
            out.push_str("</g>");
        }
    }
    out.push_str("</svg></figure>\n");
    out
}

/// Profiles around a circle: a spoke a value, a ring a tenth.
pub(crate) fn radar(figure: &Radar) -> String {
    let (title, spokes, series) = (&figure.title, &figure.spokes, &figure.series);
    let values = series.iter().flat_map(|(_, values)| values).copied();
    let (Some(least), Some(most)) = (values.clone().reduce(f64::min), values.reduce(f64::max))
    else {
        return String::new();
    };
    let inner = (least * 10.0).floor().max(0.0);
    let outer = (most * 10.0).ceil().min(10.0).max(inner + 1.0);
    let (size, middle, radius) = (460.0, 230.0, 125.0);
    let at = |spoke: usize, ring: f64| {
        let angle = TAU * spoke as f64 / spokes.len() as f64 - TAU / 4.0;
        // The innermost ring is drawn, so that the least value still has a direction.
        let length = radius * (0.15 + 0.85 * (ring - inner) / (outer - inner));
        (middle + length * angle.cos(), middle + length * angle.sin())
    };
    let ring = |at_spoke: &dyn Fn(usize) -> f64| -> String {
        let points = (0..spokes.len()).map(|spoke| {
            let (x, y) = at(spoke, at_spoke(spoke));
            format!("{x:.1},{y:.1}")
        });
        points.collect::<Vec<_>>().join(" ")
    };
    let mut out = String::new();
    let height = size + 18.0 * series.len() as f64;
    let _ = write!(
        out,
        r#"<figure class="radar"><figcaption>{0}</figcaption><svg viewBox="0 0 {size} {height:.0}" role="img" aria-label="{0}">"#,
        escaped(title)
    );
    let mut level = inner;
    while level <= outer {
        let (x, y) = at(0, level);
        let _ = write!(
            out,
            r#"<polygon class="grid" points="{}"/><text class="tick" x="{:.1}" y="{:.1}">{:.1}</text>"#,
            ring(&|_| level),
            x + 10.0,
            y + 3.0,
            level / 10.0
        );
        level += if outer - inner > 5.0 { 2.0 } else { 1.0 };
    }
    for (spoke, name) in spokes.iter().enumerate() {
        let (x, y) = at(spoke, outer + 0.22 * (outer - inner));
        let anchor = if (x - middle).abs() < 12.0 {
            "middle"
        } else if x > middle {
            "start"
        } else {
            "end"
        };
        let _ = write!(
            out,
            r#"<text class="spoke" x="{x:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            y + 4.0,
            escaped(name)
        );
    }
    for (number, (name, values)) in series.iter().enumerate() {
        let ring = ring(&|spoke| values.get(spoke).copied().unwrap_or(0.0) * 10.0);
        let _ = write!(
            out,
            r#"<polygon class="s{} p" points="{ring}"/>"#,
            number % 6
        );
        for (spoke, value) in values.iter().enumerate() {
            let (x, y) = at(spoke, value * 10.0);
            mark(&mut out, number, x, y);
        }
        let y = size + 18.0 * number as f64;
        mark(&mut out, number, 40.0, y - 4.0);
        let _ = write!(out, r#"<text x="52" y="{y:.1}">{}</text>"#, escaped(name));
    }
    out.push_str("</svg></figure>\n");
    out
}

/// The opening of a figure of this height.
fn opened(title: &str, height: f64) -> String {
    format!(
        r#"<figure><figcaption>{0}</figcaption><svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{0}">"#,
        escaped(title)
    )
}

/// The room that labels on the left take.
fn label_room<'a>(labels: impl Iterator<Item = &'a String>) -> f64 {
    labels
        .map(|label| width_of(label))
        .fold(60.0, f64::max)
        .min(360.0)
        + 12.0
}

/// Distributions as rows of bars, all on one scale.
pub(crate) fn strip(figure: &Strip) -> String {
    const HEIGHT: f64 = 46.0;
    let values = figure.rows.iter().flat_map(|(_, bars)| bars).copied();
    let most = values.chain(figure.reference).filter(|v| v.is_finite());
    let most = most.fold(0.0, f64::max);
    if most <= 0.0 || figure.categories.is_empty() {
        return String::new();
    }
    let left = label_room(figure.rows.iter().map(|(name, _)| name));
    let width = ((WIDTH - left - 30.0) / figure.categories.len() as f64).min(60.0);
    let mut out = opened(&figure.title, HEIGHT * figure.rows.len() as f64 + 40.0);
    for (row, (name, bars)) in figure.rows.iter().enumerate() {
        let bottom = (row as f64 + 1.0) * HEIGHT;
        let tall = |value: f64| (HEIGHT - 8.0) * value / most;
        let _ = write!(
            out,
            r#"<text class="label" x="{:.1}" y="{:.1}">{}</text>"#,
            left - 10.0,
            bottom - HEIGHT / 2.0 + 4.0,
            escaped(name)
        );
        for (place, value) in bars.iter().enumerate().filter(|(_, v)| v.is_finite()) {
            let category = figure.categories.get(place).map_or("", String::as_str);
            let _ = write!(
                out,
                r#"<rect class="s{} m" x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}"><title>{} {}: {value:.4}</title></rect>"#,
                row % 6,
                left + place as f64 * width + 2.0,
                bottom - tall(*value),
                width - 4.0,
                tall(*value),
                escaped(name),
                escaped(category)
            );
        }
        let end = left + width * figure.categories.len() as f64;
        if let Some(reference) = figure.reference {
            let y = bottom - tall(reference);
            let _ = write!(
                out,
                r#"<line class="zero" x1="{left:.1}" x2="{end:.1}" y1="{y:.1}" y2="{y:.1}"/>"#
            );
        }
        let _ = write!(
            out,
            r#"<line class="grid" x1="{left:.1}" x2="{end:.1}" y1="{bottom:.1}" y2="{bottom:.1}"/>"#
        );
    }
    let bottom = HEIGHT * figure.rows.len() as f64 + 14.0;
    for (place, category) in figure.categories.iter().enumerate() {
        let _ = write!(
            out,
            r#"<text class="tick" x="{:.1}" y="{bottom:.1}">{}</text>"#,
            left + (place as f64 + 0.5) * width,
            escaped(category)
        );
    }
    let _ = write!(
        out,
        r#"<text class="unit" x="{:.1}" y="{:.1}">{}</text></svg></figure>"#,
        WIDTH - 30.0,
        bottom + 16.0,
        escaped(figure.measure.label())
    );
    out.push('\n');
    out
}

/// A heat map: the larger a number from 0, the stronger its colour; below 0 in another one.
pub(crate) fn matrix(figure: &Matrix) -> String {
    const HEIGHT: f64 = 22.0;
    let cells = figure.rows.iter().flat_map(|(_, cells)| cells).flatten();
    let most = cells.map(|value| value.abs()).filter(|v| v.is_finite());
    let most = most.fold(0.0, f64::max);
    if figure.rows.is_empty() || figure.columns.is_empty() {
        return String::new();
    }
    let left = label_room(figure.rows.iter().map(|(name, _)| name));
    let width = ((WIDTH - left - 30.0) / figure.columns.len() as f64).min(110.0);
    let top = 24.0;
    let mut out = opened(
        &format!("{} ({})", figure.title, figure.measure.label()),
        top + HEIGHT * figure.rows.len() as f64 + 8.0,
    );
    for (place, column) in figure.columns.iter().enumerate() {
        let _ = write!(
            out,
            r#"<text class="tick" x="{:.1}" y="{:.1}">{}</text>"#,
            left + (place as f64 + 0.5) * width,
            top - 8.0,
            escaped(column)
        );
    }
    for (row, (name, cells)) in figure.rows.iter().enumerate() {
        let y = top + row as f64 * HEIGHT;
        let _ = write!(
            out,
            r#"<text class="label" x="{:.1}" y="{:.1}">{}</text>"#,
            left - 10.0,
            y + HEIGHT / 2.0 + 4.0,
            escaped(name)
        );
        for (place, value) in cells.iter().enumerate() {
            let Some(value) = value.filter(|value| value.is_finite()) else {
                continue;
            };
            let x = left + place as f64 * width;
            let strength = if most > 0.0 { value.abs() / most } else { 0.0 };
            let _ = write!(
                out,
                r#"<rect class="s{} m" fill-opacity="{:.2}" stroke-opacity="0" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}"/><text class="tick" x="{:.1}" y="{:.1}">{value:.3}</text>"#,
                usize::from(value < 0.0),
                0.05 + 0.6 * strength,
                width - 2.0,
                HEIGHT - 2.0,
                x + width / 2.0,
                y + HEIGHT / 2.0 + 4.0,
            );
        }
    }
    out.push_str("</svg></figure>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_findings::{Measure, Method};

    #[test]
    fn steps_are_round() {
        for (range, expected) in [(0.3, 0.05), (1.0, 0.2), (0.011, 0.002), (40.0, 10.0)] {
            assert!(
                (step(range) - expected).abs() < 1e-12,
                "{range} {}",
                step(range)
            );
        }
    }

    #[test]
    fn a_figure_has_a_mark_for_every_estimate() {
        let found = |value, ends| Some(Estimate::with_ends(value, ends, Method::Bca));
        let rows = Forest {
            title: "T <b>".to_owned(),
            measure: Measure::Distance,
            of_differences: false,
            series: vec!["a".into(), "b".into()],
            rows: vec![
                ("first".into(), vec![found(0.1, [0.05, 0.2]), None]),
                (
                    "second & more".into(),
                    vec![found(0.3, [0.2, 0.4]), found(-0.1, [-0.2, 0.0])],
                ),
            ],
        };
        let svg = forest(&rows);
        assert_eq!(svg.matches("<title>").count(), 3);
        assert!(svg.contains("T &lt;b&gt;") && svg.contains("second &amp; more"));
        assert!(svg.contains(">distance</text>"));
        let nothing = Forest {
            rows: vec![("x".into(), vec![None, None])],
            ..rows
        };
        assert!(forest(&nothing).is_empty());
        let profile = radar(&Radar {
            title: "R".to_owned(),
            spokes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            series: vec![("x".to_owned(), vec![0.2, 0.5, 0.4])],
        });
        assert_eq!(profile.matches("class=\"spoke\"").count(), 3);
        assert!(!profile.contains("NaN"));
    }

    #[test]
    fn a_strip_has_a_bar_and_a_matrix_a_cell_for_every_number() {
        let bars = strip(&Strip {
            title: "S".to_owned(),
            measure: Measure::Probability,
            categories: vec!["0".into(), "1".into()],
            rows: vec![
                ("m".into(), vec![0.5, f64::NAN]),
                ("n".into(), vec![0.2, 0.8]),
            ],
            reference: Some(0.5),
        });
        assert_eq!(bars.matches("<rect").count(), 3);
        let cells = matrix(&Matrix {
            title: "M".to_owned(),
            measure: Measure::Score,
            columns: vec!["a".into(), "b".into()],
            rows: vec![
                ("r".into(), vec![Some(0.25), None]),
                ("s".into(), vec![Some(-0.5), Some(0.0)]),
            ],
        });
        assert_eq!(cells.matches("<rect").count(), 3);
        assert!(cells.contains("s1 m") && !cells.contains("NaN"));
    }
}
