//! How far figures reach: those that count the same share an axis, and a strength of colour, on a whole page.

use concord_findings::{Exhibit, Measure};
use std::collections::BTreeMap;

/// The least and the most that figures show, by what they count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    /// Of forests: by measure, and whether they show differences of it.
    forests: BTreeMap<(Measure, bool), [f64; 2]>,
    /// Of matrices: the farthest from 0.
    matrices: BTreeMap<Measure, f64>,
}

impl Reach {
    /// That of all figures of a list.
    pub(crate) fn of(exhibits: &[Exhibit]) -> Self {
        let mut out = Self::default();
        for exhibit in exhibits {
            match exhibit {
                Exhibit::Forest(figure) => {
                    let cells = figure.rows.iter().flat_map(|(_, cells)| cells).flatten();
                    let ends =
                        cells
                            .filter(|estimate| estimate.is_measured())
                            .flat_map(|estimate| {
                                [estimate.value, estimate.ends()[0], estimate.ends()[1]]
                            });
                    let key = (figure.measure, figure.of_differences);
                    let [low, high] = out.forests.entry(key).or_insert([0.0, 0.0]);
                    for end in ends.filter(|end| end.is_finite()) {
                        *low = low.min(end);
                        *high = high.max(end);
                    }
                }
                Exhibit::Matrix(figure) => {
                    let cells = figure.rows.iter().flat_map(|(_, cells)| cells).flatten();
                    let most = out.matrices.entry(figure.measure).or_insert(0.0);
                    for cell in cells.filter(|cell| cell.is_finite()) {
                        *most = most.max(cell.abs());
                    }
                }
                _ => {}
            }
        }
        out
    }

    /// The ends of what forests of a measure, or of differences of it, show; 0 is among them.
    pub(crate) fn forests(&self, measure: Measure, of_differences: bool) -> [f64; 2] {
        let ends = self.forests.get(&(measure, of_differences));
        ends.copied().unwrap_or([0.0, 0.0])
    }

    /// The farthest from 0 that matrices of a measure show.
    pub(crate) fn matrices(&self, measure: Measure) -> f64 {
        self.matrices.get(&measure).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_findings::{Estimate, Forest, Matrix};

    #[test]
    fn figures_that_count_the_same_reach_as_far() {
        let forest = |value, of_differences| {
            Exhibit::Forest(Forest {
                title: String::new(),
                measure: Measure::Distance,
                of_differences,
                series: vec!["a".into()],
                rows: vec![("r".into(), vec![Some(Estimate::exact(value)), None])],
            })
        };
        let matrix = Exhibit::Matrix(Matrix {
            title: String::new(),
            measure: Measure::Score,
            columns: vec!["c".into()],
            rows: vec![("r".into(), vec![Some(-2.0), Some(f64::NAN)])],
        });
        let reach = Reach::of(&[
            forest(0.1, false),
            forest(0.3, false),
            forest(-0.2, true),
            forest(f64::NAN, true),
            matrix,
        ]);
        let close =
            |found: [f64; 2], wanted: [f64; 2]| found.map(f64::to_bits) == wanted.map(f64::to_bits);
        assert!(close(reach.forests(Measure::Distance, false), [0.0, 0.3]));
        assert!(close(reach.forests(Measure::Distance, true), [-0.2, 0.0]));
        assert!((reach.matrices(Measure::Score) - 2.0).abs() < 1e-12);
    }
}
