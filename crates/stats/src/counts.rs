//! Two counts beside each other: odds, differences, exact tests.

/// The odds ratio of two counts of successes among so many; `None` where an odds is nothing or endless.
pub fn odds_ratio([a, n]: [u32; 2], [b, m]: [u32; 2]) -> Option<f64> {
    let (c, d) = (n.checked_sub(a)?, m.checked_sub(b)?);
    let (across, along) = (f64::from(a) * f64::from(d), f64::from(b) * f64::from(c));
    (across > 0.0 && along > 0.0).then(|| across / along)
}

/// ln n!, by summing.
fn log_factorials(most: u32) -> Vec<f64> {
    let mut logs = vec![0.0];
    for n in 1..=most {
        logs.push(logs[n as usize - 1] + f64::from(n).ln());
    }
    logs
}

/// Fisher's exact p, two-sided: the probability of all tables with the same margins that are at most as probable.
///
/// # Source
/// Fisher 1922; the two-sided form is that of R's `fisher.test`.
pub fn fisher_exact([a, n]: [u32; 2], [b, m]: [u32; 2]) -> f64 {
    let total = n + m;
    let successes = a + b;
    let logs = log_factorials(total);
    let choose = |n: u32, k: u32| logs[n as usize] - logs[k as usize] - logs[(n - k) as usize];
    let log_p = |x: u32| choose(n, x) + choose(m, successes - x) - choose(total, successes);
    let observed = log_p(a);
    let range = successes.saturating_sub(m)..=successes.min(n);
    let as_extreme = range.map(log_p).filter(|log| *log <= observed + 1e-7);
    as_extreme.map(f64::exp).sum::<f64>().min(1.0)
}

/// Wilson's 95 % interval of a share.
fn wilson([a, n]: [u32; 2]) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (f64::from(n), f64::from(a) / f64::from(n));
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [middle - half, middle + half]
}

/// The 95 % interval of the difference of two independent shares, the first less the second.
///
/// # Source
/// Newcombe 1998, method 10.
pub fn newcombe_interval(first: [u32; 2], second: [u32; 2]) -> [f64; 2] {
    let share = |[a, n]: [u32; 2]| f64::from(a) / f64::from(n);
    let (p, q) = (share(first), share(second));
    let ([p_low, p_high], [q_low, q_high]) = (wilson(first), wilson(second));
    let low = ((p - p_low).powi(2) + (q_high - q).powi(2)).sqrt();
    let high = ((p_high - p).powi(2) + (q - q_low).powi(2)).sqrt();
    [p - q - low, p - q + high]
}

/// McNemar's exact p, two-sided, of pairs that differ one way and the other; `None` where none does.
pub fn mcnemar_exact(one: u32, other: u32) -> Option<f64> {
    let n = one + other;
    if n == 0 {
        return None;
    }
    let logs = log_factorials(n);
    let log_p = |k: u32| {
        logs[n as usize] - logs[k as usize] - logs[(n - k) as usize] - f64::from(n) * 2f64.ln()
    };
    let tail: f64 = (0..=one.min(other)).map(|k| log_p(k).exp()).sum();
    Some((2.0 * tail).min(1.0))
}

/// How far the difference of two shares lies from that of two others, and the two-sided p of that.
///
/// # Source
/// Wald's test, with variances of the shares as they are.
pub fn gaps_differ(one: [[u32; 2]; 2], other: [[u32; 2]; 2]) -> (f64, f64) {
    let of = |[first, second]: [[u32; 2]; 2]| {
        let share = |[a, n]: [u32; 2]| (f64::from(a) / f64::from(n), f64::from(n));
        let ((p, n), (q, m)) = (share(first), share(second));
        (p - q, p * (1.0 - p) / n + q * (1.0 - q) / m)
    };
    let ((gap, variance), (gap_other, variance_other)) = (of(one), of(other));
    let difference = gap - gap_other;
    (
        difference,
        two_sided(difference / (variance + variance_other).sqrt()),
    )
}

/// The two-sided p of a standard normal deviate, by a continued fraction and a series.
fn two_sided(z: f64) -> f64 {
    let x = z.abs() / 2f64.sqrt();
    // erfc by series below 2, by a continued fraction above (Abramowitz and Stegun 7.1.5, 7.1.14).
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - 2.0 / std::f64::consts::PI.sqrt() * sum;
    }
    let mut fraction = 0.0;
    for n in (1..200).rev() {
        fraction = f64::from(n) / 2.0 / (x + fraction);
    }
    (-x * x).exp() / std::f64::consts::PI.sqrt() / (x + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} {expected}");
    }

    /// The counts of Koorndijk 2025, with R's values for them.
    #[test]
    fn published_counts_give_the_values_known_of_them() {
        for (first, second, ratio, p) in [
            ([15, 98], [4, 95], 4.1114, 0.01405),
            ([51, 100], [17, 99], 5.0204, 5.7e-7),
            ([16, 99], [8, 86], 1.8795, 0.1927),
            ([17, 100], [9, 100], 2.0710, 0.1400),
            ([6, 99], [1, 97], 6.1935, 0.1184),
            ([44, 100], [19, 100], 3.3496, 0.000_228),
        ] {
            near(odds_ratio(first, second).unwrap(), ratio, 6e-5);
            near(fisher_exact(first, second), p, p * 0.01);
        }
        near(fisher_exact([20, 20], [2, 20]), 3.35e-9, 1e-11);
        near(fisher_exact([20, 20], [5, 20]), 7.7e-7, 1e-8);
        assert_eq!(odds_ratio([20, 20], [5, 20]), None);
        let [low, high] = newcombe_interval([15, 98], [4, 95]);
        near(low, 0.027, 6e-4);
        near(high, 0.199, 6e-4);
        let [low, high] = newcombe_interval([51, 100], [17, 99]);
        near(low, 0.209, 6e-4);
        near(high, 0.452, 6e-4);
        // No mitigation differs from its baseline.
        let (one, two) = ([[15, 98], [4, 95]], [[51, 100], [17, 99]]);
        for (mitigated, baseline, p) in [
            ([[17, 100], [9, 100]], one, 0.62),
            ([[6, 99], [1, 97]], one, 0.22),
            ([[16, 99], [8, 86]], one, 0.51),
            ([[44, 100], [19, 100]], two, 0.32),
        ] {
            near(gaps_differ(mitigated, baseline).1, p, 0.006);
        }
    }

    #[test]
    fn exact_tests_are_those_of_small_tables() {
        near(mcnemar_exact(1, 9).unwrap(), 22.0 / 1024.0, 1e-12);
        near(mcnemar_exact(5, 5).unwrap(), 1.0, 1e-12);
        assert_eq!(mcnemar_exact(0, 0), None);
        // Fisher's tea: 3 of 4 against 1 of 4.
        near(fisher_exact([3, 4], [1, 4]), 34.0 / 70.0, 1e-12);
        for (z, p) in [
            (0.0, 1.0),
            (1.959_963_984_540_054, 0.05),
            (3.290_526_731_491_9, 0.001),
        ] {
            near(two_sided(z), p, 1e-12);
        }
    }
}
