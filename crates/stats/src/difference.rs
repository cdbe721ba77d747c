//! Whether paired values differ, by how much, and how often chance alone would say so.

use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

/// Up to so many pairs every choice of signs is tried.
const EXACT_UP_TO: usize = 14;
/// Otherwise so many are drawn.
const DRAWS: u32 = 9_999;

/// The two-sided sign-flip test that paired differences have mean zero: how often, with signs at random, their sum is as
/// far from zero as it is.
///
/// Values that belong together are summed first, so that they flip together. Absent where all are zero.
///
/// # Numerics
/// Up to 14 differences every choice of signs is tried; beyond, 9,999 are drawn by the seed, and the observed one counts as one of
/// them. Sums within 1e-12 (relative) of the observed one count as as far.
///
/// # Source
/// Fisher 1935; as `scipy.stats.permutation_test` with `permutation_type="samples"`.
pub fn sign_flip_test(differences: &[f64], seed: u64) -> Option<f64> {
    let largest = differences.iter().fold(0.0f64, |max, d| max.max(d.abs()));
    if largest == 0.0 {
        return None;
    }
    let observed = differences.iter().sum::<f64>().abs() - 1e-12 * largest;
    let sum = |signs: &mut dyn FnMut(usize) -> bool| -> f64 {
        differences
            .iter()
            .enumerate()
            .map(|(index, d)| if signs(index) { -d } else { *d })
            .sum::<f64>()
            .abs()
    };
    if differences.len() <= EXACT_UP_TO {
        let all = 1u32 << differences.len();
        let far = (0..all).filter(|signs| sum(&mut |index| signs >> index & 1 == 1) >= observed);
        return Some(far.count() as f64 / f64::from(all));
    }
    let tables = sums_of_eight(differences);
    let words = differences.len().div_ceil(64);
    let far: u32 = (0..DRAWS.div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| {
            let first = block * BLOCK;
            let count = BLOCK.min(DRAWS - first) as usize;
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            // A draw takes whole numbers of 64 bits, which are two words of the generator each.
            random.set_word_pos(u128::from(first) * words as u128 * 2);
            let mut signs = vec![0u8; count * words * 8];
            for eight in signs.chunks_exact_mut(8) {
                eight.copy_from_slice(&random.next_u64().to_le_bytes());
            }
            let mut sums = vec![0.0f64; count];
            for (at, table) in tables.iter().enumerate() {
                for (sum, signs) in sums.iter_mut().zip(signs.chunks_exact(words * 8)) {
                    *sum += table[usize::from(signs[at])];
                }
            }
            let far = sums.iter().filter(|sum| sum.abs() >= observed);
            u32::try_from(far.count()).unwrap_or(u32::MAX)
        })
        .sum();
    Some(f64::from(far + 1) / f64::from(DRAWS + 1))
}

/// Draws that are added up together, so that a table is read while it is near.
const BLOCK: u32 = 128;

/// Of each eight values the sums with every choice of signs; bit `i` turns the sign of the `i`-th.
fn sums_of_eight(values: &[f64]) -> Vec<[f64; 256]> {
    let tables = values.chunks(8).map(|eight| {
        let mut sums = [0.0; 256];
        for (signs, sum) in sums.iter_mut().enumerate() {
            let signed = eight.iter().enumerate();
            *sum = signed
                .map(|(at, value)| if signs >> at & 1 == 1 { -value } else { *value })
                .sum();
        }
        sums
    });
    tables.collect()
}

/// Benjamini and Hochberg's adjusted p-values, in the order given: those below a level are found with at most that share of
/// false discoveries.
///
/// # Source
/// Benjamini and Hochberg 1995; `statsmodels.stats.multitest.multipletests(method="fdr_bh")`.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least = 1.0f64;
    for (rank, index) in order.iter().enumerate().rev() {
        let scaled = p_values[*index] * p_values.len() as f64 / (rank + 1) as f64;
        least = least.min(scaled);
        adjusted[*index] = least;
    }
    adjusted
}

/// Cohen's d of paired differences: their mean over their standard deviation (n − 1). Absent below two differences or
/// where they do not vary.
///
/// # Source
/// Cohen 1988, section 2.3 (`d_z`).
pub fn paired_effect_size(differences: &[f64]) -> Option<f64> {
    let count = differences.len() as f64;
    if count < 2.0 {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / count;
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0)).sqrt();
    (deviation > 0.0).then(|| mean / deviation)
}

/// How often columns handed to rows at random, each to one row at most, give a sum as large as the columns that belong to
/// them: a one-sided permutation test that rows are largest where they belong. A column that is large in every row makes
/// no difference.
///
/// # Shapes
/// `rows`: values by column, and the column that belongs to the row; all rows have as many columns, at least as many as
/// there are rows and at least two. Absent where they do not.
///
/// # Numerics
/// 9,999 draws by the seed; the observed one counts as one of them. Sums within 1e-12 count as as large.
///
/// # Source
/// Mantel and Valand 1970: the sum of a matrix over a random assignment.
pub fn matching_test(rows: &[(Vec<f64>, usize)], seed: u64) -> Option<f64> {
    let columns = rows.first()?.0.len();
    let even = rows
        .iter()
        .all(|(values, own)| values.len() == columns && *own < columns);
    if columns < 2 || rows.len() > columns || !even {
        return None;
    }
    let observed: f64 = rows.iter().map(|(values, own)| values[*own]).sum();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..columns).collect();
    let mut as_large = 1u32;
    for _ in 0..DRAWS {
        for at in 0..rows.len() {
            let left = (columns - at) as u64;
            let drawn = (u64::from(random.next_u32()) * left) >> 32;
            order.swap(at, at + usize::try_from(drawn).unwrap_or(0));
        }
        let found: f64 = rows
            .iter()
            .zip(&order)
            .map(|((values, _), at)| values[*at])
            .sum();
        as_large += u32::from(found >= observed - 1e-12);
    }
    Some(f64::from(as_large) / f64::from(DRAWS + 1))
}

/// The middle value; the mean of the two middle ones for an even number. Absent for none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17, `permutation_test((d,), mean, permutation_type="samples", n_resamples=inf)`: 0.09375.
    /// The same test, one sign after the other.
    fn plainly(differences: &[f64], seed: u64) -> f64 {
        let largest = differences.iter().fold(0.0f64, |max, d| max.max(d.abs()));
        let observed = differences.iter().sum::<f64>().abs() - 1e-12 * largest;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut far = 1u32;
        for _ in 0..DRAWS {
            let mut bits = 0u64;
            let signed = differences.iter().enumerate().map(|(index, d)| {
                if index % 64 == 0 {
                    bits = random.next_u64();
                }
                if bits >> (index % 64) & 1 == 1 {
                    -d
                } else {
                    *d
                }
            });
            far += u32::from(signed.sum::<f64>().abs() >= observed);
        }
        f64::from(far) / f64::from(DRAWS + 1)
    }

    #[test]
    fn tables_of_eight_and_blocks_of_draws_change_nothing() {
        for (count, seed) in [(15, 0), (63, 1), (64, 2), (65, 3), (200, 4), (1001, 5)] {
            let differences: Vec<f64> = (0..count)
                .map(|k| (f64::from(k) * 0.7 + seed as f64).sin() + 0.1)
                .collect();
            let found = sign_flip_test(&differences, seed).unwrap();
            assert_eq!(
                found.to_bits(),
                plainly(&differences, seed).to_bits(),
                "{count}"
            );
        }
    }

    #[test]
    fn signs_are_flipped_as_in_scipy() {
        let differences = [0.3, -0.1, 0.5, 0.2, 0.05, -0.02, 0.4];
        assert_eq!(sign_flip_test(&differences, 0), Some(0.09375));
        assert_eq!(sign_flip_test(&[0.0; 5], 0), None);
        assert_eq!(sign_flip_test(&[1.0], 0), Some(1.0));
        // Numpy: mean over standard deviation with ddof=1.
        assert!((paired_effect_size(&differences).unwrap() - 0.849_422_738).abs() < 1e-9);
    }

    #[test]
    fn many_differences_are_drawn_and_stay_close_to_the_normal_limit() {
        let differences: Vec<f64> = (0..400)
            .map(|k| f64::from(k * 7919 % 1009) / 1009.0 - 0.45)
            .collect();
        let squares: f64 = differences.iter().map(|d| d * d).sum();
        let z = differences.iter().sum::<f64>() / squares.sqrt();
        let found = sign_flip_test(&differences, 3).unwrap();
        assert_eq!(Some(found), sign_flip_test(&differences, 3));
        // Two-sided p of a normal z, by the error function's series at this point.
        let p = statrs::function::erf::erfc(z.abs() / 2f64.sqrt());
        assert!((found - p).abs() < 0.01, "{found} {p}");
    }

    /// statsmodels 0.15.
    #[test]
    fn false_discoveries_are_counted_as_in_statsmodels() {
        let adjusted = benjamini_hochberg(&[0.01, 0.02, 0.03, 0.04, 0.05, 0.5, 0.001, 0.04]);
        let expected = [
            0.04, 0.053_333, 0.053_333, 0.053_333, 0.057_143, 0.5, 0.008, 0.053_333,
        ];
        for (a, b) in adjusted.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{adjusted:?}");
        }
        assert!(benjamini_hochberg(&[]).is_empty());
    }

    #[test]
    fn rows_that_are_largest_where_they_belong_are_found() {
        let row = |own: usize, lift: f64| -> (Vec<f64>, usize) {
            (
                (0..6)
                    .map(|column| if column == own { lift } else { 0.1 })
                    .collect(),
                own,
            )
        };
        let apart: Vec<_> = (0..5).map(|own| row(own, 0.9)).collect();
        // One of 6!/1! assignments reaches it.
        assert!(matching_test(&apart, 1).unwrap() < 0.004);
        // A column that lifts every row alike is no sign of belonging.
        let lifted: Vec<_> = (0..5)
            .map(|own| {
                (
                    (0..6).map(|c| if c == 2 { 0.9 } else { 0.1 }).collect(),
                    own,
                )
            })
            .collect();
        assert!(matching_test(&lifted, 1).unwrap() > 0.5);
        assert_eq!(matching_test(&[], 1), None);
        assert_eq!(matching_test(&[(vec![1.0], 0)], 1), None);
        assert_eq!(matching_test(&[row(0, 1.0), (vec![1.0, 2.0], 1)], 1), None);
    }

    #[test]
    fn the_middle_is_found() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
