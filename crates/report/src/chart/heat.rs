//! Matrices as heat maps.

use super::{Reach, fixed};
use concord_findings::Matrix;
use serde::Serialize;

/// A heat map, drawn as a table.
#[derive(Debug, Serialize)]
pub(crate) struct Heat {
    /// What it shows.
    pub(crate) title: String,
    /// What it counts.
    pub(crate) unit: &'static str,
    /// Names of columns.
    pub(crate) columns: Vec<String>,
    /// Names of rows, with cells.
    pub(crate) rows: Vec<(String, Vec<HeatCell>)>,
}

/// A cell of a heat map.
#[derive(Debug, Serialize)]
pub(crate) struct HeatCell {
    /// The number; empty where there is none.
    pub(crate) text: String,
    /// How far from 0, as a share of the farthest on the page: its strength.
    pub(crate) strength: f64,
    /// Whether it is less than 0.
    pub(crate) negative: bool,
}

/// The heat map of a matrix; nothing where it has no cells.
pub(crate) fn heat(figure: &Matrix, reach: &Reach) -> Option<Heat> {
    let most = reach.matrices(figure.measure);
    if figure.rows.is_empty() || figure.columns.is_empty() {
        return None;
    }
    let cell = |value: &Option<f64>| {
        let value = value.filter(|value| value.is_finite());
        HeatCell {
            text: value.map_or_else(String::new, |value| fixed(value, 3)),
            strength: value.map_or(
                0.0,
                |value| if most > 0.0 { value.abs() / most } else { 0.0 },
            ),
            negative: value.is_some_and(|value| value < 0.0),
        }
    };
    let rows = figure
        .rows
        .iter()
        .map(|(name, cells)| (name.clone(), cells.iter().map(cell).collect()));
    Some(Heat {
        title: figure.title.clone(),
        unit: figure.measure.label(),
        columns: figure.columns.clone(),
        rows: rows.collect(),
    })
}
