//! How far judges agree about the same things.

/// Fleiss' κ: agreement of several judges beyond what their shares of each category would give by chance.
///
/// # Shapes
/// `counts`: `[things][categories]`, how many judges chose each category; every row has the same sum, at least 2.
///
/// Absent where there is nothing to judge, rows differ in their sums, or all judges always choose one and the same category.
///
/// # Source
/// Fleiss 1971, equations 1 to 7; `statsmodels.stats.inter_rater.fleiss_kappa`.
pub fn fleiss_kappa(counts: &[Vec<u32>]) -> Option<f64> {
    let first = counts.first()?;
    let judges: u32 = first.iter().sum();
    let even = |row: &Vec<u32>| row.len() == first.len() && row.iter().sum::<u32>() == judges;
    if judges < 2 || !counts.iter().all(even) {
        return None;
    }
    let (judges, things) = (f64::from(judges), counts.len() as f64);
    let observed: f64 = counts
        .iter()
        .map(|row| {
            let squares: f64 = row.iter().map(|count| f64::from(*count).powi(2)).sum();
            (squares - judges) / (judges * (judges - 1.0))
        })
        .sum::<f64>()
        / things;
    let by_chance: f64 = (0..first.len())
        .map(|category| {
            let chosen: u32 = counts.iter().map(|row| row[category]).sum();
            (f64::from(chosen) / (things * judges)).powi(2)
        })
        .sum();
    (by_chance < 1.0).then(|| (observed - by_chance) / (1.0 - by_chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fleiss 1971's example as it is usually given: statsmodels 0.15 says 0.20993.
    #[test]
    fn reference_value() {
        let counts = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let counts = counts.map(Vec::from);
        assert!((fleiss_kappa(&counts).unwrap() - 0.209_930_704).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_judged_has_no_agreement() {
        assert_eq!(fleiss_kappa(&[]), None);
        assert_eq!(fleiss_kappa(&[vec![1, 0]]), None);
        assert_eq!(fleiss_kappa(&[vec![2, 0], vec![1, 0]]), None);
        assert_eq!(fleiss_kappa(&[vec![2, 0], vec![2, 0]]), None);
        assert_eq!(fleiss_kappa(&[vec![2, 0], vec![0, 2]]), Some(1.0));
    }
}
