//! Student's t, of few degrees of freedom.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// ln Γ of a half of a whole number.
fn log_gamma_of_half(twice: usize) -> f64 {
    // Γ(1/2) = √π, Γ(1) = 1, and Γ(x + 1) = x Γ(x).
    let (mut log, mut at) = if twice.is_multiple_of(2) {
        (0.0, 2)
    } else {
        (0.5 * std::f64::consts::PI.ln(), 1)
    };
    while at < twice {
        log += (at as f64 / 2.0).ln();
        at += 2;
    }
    log
}

/// The two-sided p of a deviate: Simpson's rule over the angle whose tangent it is.
pub fn student_two_sided(t: f64, freedom: usize) -> f64 {
    const STEPS: usize = 2000;
    let (t, n) = (t.abs(), freedom.max(1) as f64);
    if !t.is_finite() {
        return if t.is_nan() { 1.0 } else { 0.0 };
    }
    // P(|T| > t) = 2 c √n ∫ cos^(n−1) over angles from atan(t / √n) to a right one.
    let (from, to) = ((t / n.sqrt()).atan(), std::f64::consts::FRAC_PI_2);
    let step = (to - from) / STEPS as f64;
    let at = |k: usize| (from + step * k as f64).cos().max(0.0).powf(n - 1.0);
    let weight = |k: usize| match k {
        0 | STEPS => 1.0,
        k if k % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let integral: f64 = (0..=STEPS).map(|k| weight(k) * at(k)).sum::<f64>() * step / 3.0;
    let log_c = log_gamma_of_half(freedom + 1) - log_gamma_of_half(freedom);
    let c = log_c.exp() / std::f64::consts::PI.sqrt();
    (2.0 * c * integral).clamp(0.0, 1.0)
}

/// The end of the two-sided 95 % interval, in standard errors. What was found once is kept: studies ask the same again and again.
pub fn student_quantile(freedom: usize) -> f64 {
    static KNOWN: Mutex<BTreeMap<usize, f64>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&freedom).copied();
    found.unwrap_or_else(|| {
        let found = quantile(freedom);
        known().insert(freedom, found);
        found
    })
}

fn quantile(freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 13.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if student_two_sided(middle, freedom) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::{student_quantile, student_two_sided};

    #[test]
    fn quantiles_are_those_of_tables() {
        for (freedom, quantile) in [
            (1, 12.7062),
            (2, 4.3027),
            (5, 2.5706),
            (13, 2.1604),
            (30, 2.0423),
            (120, 1.9799),
        ] {
            let found = student_quantile(freedom);
            assert!((found - quantile).abs() < 1e-4, "{freedom}: {found}");
        }
        // Of one degree of freedom it is Cauchy's.
        assert!((student_two_sided(1.0, 1) - 0.5).abs() < 1e-9);
        assert!((student_two_sided(0.0, 7) - 1.0).abs() < 1e-9);
        // By integration of the density.
        assert!((student_two_sided(-2.0, 13) - 0.066_840_36).abs() < 1e-7);
    }
}
