//! How sure anything can be that few profiles say.

use super::findings::Tested;
use super::measure::ROUNDING;
use concord_findings::Estimate;
use concord_stats::{mean, student_quantile, student_two_sided};

/// What the runs of a design leave unexplained: what one profile differs by from another beyond the main effects. Profiles were drawn as
/// well, so nothing is surer than that.
pub(crate) struct Unexplained {
    /// Its standard deviation between profiles.
    deviation: f64,
    freedom: usize,
}

impl Unexplained {
    /// A mean whose profiles have so much of the variance of one. Of both intervals the wider one stands, and of both p the larger.
    pub fn widened(&self, mut tested: Tested, variances: f64) -> Tested {
        let Some(interval) = tested.estimate.interval else {
            return tested;
        };
        let error = self.deviation * variances.sqrt();
        if error < ROUNDING {
            return tested;
        }
        let value = tested.estimate.value;
        let half = student_quantile(self.freedom) * error;
        let (low, high) = (
            interval.low.min(value - half),
            interval.high.max(value + half),
        );
        tested.estimate = Estimate::with_ends(value, [low, high], interval.method)
            .of(tested.estimate.n, tested.estimate.unit);
        let p = student_two_sided(value / error, self.freedom);
        tested.p = tested.p.map(|own| own.max(p));
        tested
    }
}

/// The same of an effect of the design: a difference of the means of both halves.
pub(crate) fn surer_than_runs(
    tested: Tested,
    runs: &[[bool; 11]],
    means: &[f64],
    factors: usize,
) -> Tested {
    unexplained(runs, means, factors).widened(tested, 4.0 / runs.len() as f64)
}

/// The residual of the main effects of a design.
pub(crate) fn unexplained(runs: &[[bool; 11]], means: &[f64], factors: usize) -> Unexplained {
    let count = runs.len() as f64;
    let middle = mean(means);
    let effect = |factor: usize| {
        let each = runs.iter().zip(means);
        2.0 * each
            .map(|(run, y)| if run[factor] { *y } else { -*y })
            .sum::<f64>()
            / count
    };
    let effects: Vec<f64> = (0..factors).map(effect).collect();
    let residual: f64 = runs
        .iter()
        .zip(means)
        .map(|(run, y)| {
            let signs = run.iter().zip(&effects);
            let fitted: f64 = signs
                .map(|(high, effect)| if *high { effect / 2.0 } else { -effect / 2.0 })
                .sum();
            (y - middle - fitted).powi(2)
        })
        .sum();
    let freedom = runs.len() - factors - 1;
    Unexplained {
        deviation: (residual / freedom as f64).sqrt(),
        freedom,
    }
}
