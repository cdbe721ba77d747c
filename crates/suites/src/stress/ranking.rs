//! How strongly each value is favoured over others: Bradley–Terry with a nudge.

use serde::Serialize;

/// A value's strength.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// The value.
    pub value: String,
    /// Its strength, in log-odds; strengths of a group sum to nothing.
    pub strength: f64,
    /// The group of values that are compared with each other, be it through others; strengths of different groups say nothing together.
    pub group: usize,
    /// How many requests it stands in.
    pub requests: usize,
}

/// A comparison: two values by their numbers, where it was nudged (1, -1 or 0), and how far the first was favoured, from 0 to 1.
pub(crate) type Comparison = (usize, usize, f64, f64);

/// What is found of all values.
pub(crate) struct Fitted {
    /// By value; the mean of each group is nothing.
    pub strengths: Vec<f64>,
    /// The number of each value's group, by value.
    pub groups: Vec<usize>,
    /// What a nudge does.
    pub nudge: f64,
}

/// Strengths of so many values and the effect of a nudge: η = θ₁ − θ₂ + β · nudge, by iterated weighted least squares on shares; strengths are
/// drawn to nothing by next to nothing, so that what is favoured always has an end.
///
/// # Source
/// Bradley and Terry 1952; Papke and Wooldridge 1996 (shares).
pub(crate) fn bradley_terry(values: usize, comparisons: &[Comparison]) -> Fitted {
    const RIDGE: f64 = 1e-3;
    let size = values + 1;
    let terms = |of: &Comparison| [(of.0, 1.0), (of.1, -1.0), (values, of.2)];
    let mut found = vec![0.0; size];
    for _ in 0..50 {
        let mut gradient: Vec<f64> = found.iter().map(|value| -RIDGE * value).collect();
        let mut weights = Vec::with_capacity(comparisons.len());
        for of in comparisons {
            let eta: f64 = terms(of).iter().map(|(at, sign)| sign * found[*at]).sum();
            let p = 1.0 / (1.0 + (-eta).exp());
            weights.push(p * (1.0 - p));
            for (at, sign) in terms(of) {
                gradient[at] += sign * (of.3 - p);
            }
        }
        // What the second derivatives make of a step: values are many, and each is compared with few.
        let curved = |step: &[f64]| {
            let mut sums: Vec<f64> = step.iter().map(|step| RIDGE * step).collect();
            for (of, weight) in comparisons.iter().zip(&weights) {
                let along: f64 = terms(of).iter().map(|(at, sign)| sign * step[*at]).sum();
                for (at, sign) in terms(of) {
                    sums[at] += sign * weight * along;
                }
            }
            sums
        };
        let step = solved(curved, gradient);
        let moved: f64 = step.iter().map(|step| step.abs()).sum();
        for (value, step) in found.iter_mut().zip(step) {
            *value += step;
        }
        if moved < 1e-10 * size as f64 {
            break;
        }
    }
    let nudge = found.pop().unwrap_or(0.0);
    let groups = groups(values, comparisons);
    let mut sums = vec![[0.0; 2]; values];
    for (strength, group) in found.iter().zip(&groups) {
        sums[*group][0] += strength;
        sums[*group][1] += 1.0;
    }
    let each = found.iter().zip(&groups);
    let strengths = each.map(|(strength, group)| strength - sums[*group][0] / sums[*group][1]);
    Fitted {
        strengths: strengths.collect(),
        groups,
        nudge,
    }
}

/// The group of each value: those that are compared with each other, be it through others.
fn groups(values: usize, comparisons: &[Comparison]) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..values).collect();
    for (first, second, ..) in comparisons {
        let (a, b) = (groups[*first], groups[*second]);
        for group in &mut groups {
            if *group == a.max(b) {
                *group = a.min(b);
            }
        }
    }
    let mut numbers: Vec<usize> = groups.clone();
    numbers.sort_unstable();
    numbers.dedup();
    let number = |group: &usize| numbers.binary_search(group).unwrap_or(0);
    groups.iter().map(number).collect()
}

/// Solves a symmetric positive definite system by conjugate gradients.
fn solved(times: impl Fn(&[f64]) -> Vec<f64>, right: Vec<f64>) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (mut found, mut left) = (vec![0.0; right.len()], right);
    let mut along = left.clone();
    let mut off = dot(&left, &left);
    let enough = 1e-24 * off;
    for _ in 0..4 * left.len() {
        if off <= enough {
            break;
        }
        let product = times(&along);
        let length = off / dot(&along, &product);
        for at in 0..found.len() {
            found[at] += length * along[at];
            left[at] -= length * product[at];
        }
        let next = dot(&left, &left);
        for (along, left) in along.iter_mut().zip(&left) {
            *along = left + next / off * *along;
        }
        off = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::bradley_terry;

    #[test]
    fn strengths_are_those_that_made_the_shares() {
        let (theta, beta) = ([0.8, 0.1, -0.9], 0.5);
        let mut comparisons = Vec::new();
        for (first, second) in [(0, 1), (1, 2), (2, 0)] {
            for nudge in [-1.0, 0.0, 1.0] {
                let eta: f64 = theta[first] - theta[second] + beta * nudge;
                for _ in 0..200 {
                    comparisons.push((first, second, nudge, 1.0 / (1.0 + (-eta).exp())));
                }
            }
        }
        // Two more that are compared with each other alone, and one that is not compared.
        comparisons.push((3, 4, 0.0, 0.7));
        let found = bradley_terry(6, &comparisons);
        assert_eq!(found.groups, [0, 0, 0, 1, 1, 2]);
        assert!((found.strengths[3] + found.strengths[4]).abs() < 1e-12);
        assert!(found.strengths[3] > 0.0 && found.strengths[5] == 0.0);
        for (found, theta) in found.strengths.iter().zip(theta) {
            assert!((found - theta).abs() < 1e-4, "{found} {theta}");
        }
        assert!((found.nudge - beta).abs() < 1e-4, "{}", found.nudge);
        // Nothing is compared: nothing is known.
        let none = bradley_terry(2, &[]);
        assert_eq!((none.strengths, none.nudge), (vec![0.0, 0.0], 0.0));
    }
}
