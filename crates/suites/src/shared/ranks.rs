//! Rank correlations.

use concord_stats::mean;

/// Ranks, equal ones alike.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for alike in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let rank = below as f64 + (alike.len() as f64 - 1.0) / 2.0;
        for at in alike {
            ranks[*at] = rank;
        }
        below += alike.len();
    }
    ranks
}

/// What differs by rounding is the same, and has the same rank.
fn rounded(values: &[f64]) -> Vec<f64> {
    values.iter().map(|x| (x * 1e9).round() / 1e9).collect()
}

/// Spearman's rank correlation; nothing where one side does not vary.
pub(crate) fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(&rounded(a)), ranks(&rounded(b)));
    if a.is_empty() {
        return None;
    }
    let (mean_a, mean_b) = (mean(&a), mean(&b));
    let both = a.iter().zip(&b);
    let together: f64 = both.map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
    let of = |values: &[f64], mean: f64| values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    let scale = (of(&a, mean_a) * of(&b, mean_b)).sqrt();
    (scale > 0.0).then(|| together / scale)
}

#[cfg(test)]
mod tests {
    use super::{rank_correlation, ranks};

    #[test]
    fn a_rank_correlation_is_that_known() {
        let of = rank_correlation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]);
        assert!((of.unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(rank_correlation(&[1.0, 2.0], &[3.0, 3.0]), None);
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
    }

    #[test]
    fn rounding_makes_no_ranks() {
        let a = [0.1 + 0.2, 0.3, 1.0];
        assert_eq!(rank_correlation(&a, &[1.0, 1.0, 2.0]), Some(1.0));
    }
}
