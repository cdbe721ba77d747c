//! Repeated values of a sequence, as independent uniform draws have them.
//!
//! A *repeat* is a value that has come before in its sequence; an *adjacent* one equals the value just before it.

/// `P(r repeats)` of a sequence of `length` independent uniform draws from `values`, for `r` from 0 to `length`.
///
/// # Source
/// The classical occupancy problem: a draw is new with probability `(n − d)/n` when `d` values have come.
pub fn repeats_under_uniform(values: usize, length: usize) -> Vec<f64> {
    let mut of = vec![0.0; length + 1];
    of[0] = 1.0;
    for drawn in 0..length {
        let mut next = vec![0.0; length + 1];
        for (repeats, p) in of.iter().enumerate().take(drawn + 1) {
            let old = (drawn - repeats) as f64 / values.max(1) as f64;
            next[repeats] += p * (1.0 - old);
            next[repeats + 1] += p * old;
        }
        of = next;
    }
    of
}

/// The mean number of different values of such a sequence: `n (1 − (1 − 1/n)^length)`.
pub fn distinct_under_uniform(values: usize, length: usize) -> f64 {
    let n = values.max(1) as f64;
    n * (1.0 - (length as f64 * (-1.0 / n).ln_1p()).exp())
}

/// The mean number of values of such a sequence that equal the one before: `(length − 1)/n`.
pub fn adjacent_repeats_under_uniform(values: usize, length: usize) -> f64 {
    length.saturating_sub(1) as f64 / values.max(1) as f64
}

/// How many values of a sequence have come before in it.
pub fn repeats<T: PartialEq>(sequence: &[T]) -> usize {
    let again = |at: &usize| sequence[..*at].contains(&sequence[*at]);
    (0..sequence.len()).filter(again).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_draws_from_eleven() {
        let found = repeats_under_uniform(11, 10);
        let expected = [0.0015, 0.0346, 0.1924, 0.3770, 0.2927, 0.0909, 0.0104];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 5e-5, "{found} {expected}");
        }
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let mean: f64 = found.iter().enumerate().map(|(r, p)| r as f64 * p).sum();
        assert!((mean - 3.2410).abs() < 5e-5, "{mean}");
        assert!((mean + distinct_under_uniform(11, 10) - 10.0).abs() < 1e-12);
        assert!((distinct_under_uniform(11, 10) - 6.759).abs() < 5e-5);
        assert!((adjacent_repeats_under_uniform(11, 10) - 0.8182).abs() < 5e-5);
    }

    #[test]
    fn short_sequences_are_counted_by_hand() {
        assert_eq!(repeats_under_uniform(2, 2), [0.5, 0.5, 0.0]);
        assert_eq!(repeats_under_uniform(5, 0), [1.0]);
        assert_eq!(repeats(&[3, 1, 3, 3, 2]), 2);
        assert_eq!(repeats::<u8>(&[]), 0);
    }
}
