//! Distances of groups over two answers, fast: what is drawn and shuffled hundreds of times is measured with these.
//!
//! A group is measured in several draws at once, a lane each: one instruction does the same for all of them, with the widest vectors
//! that the processor has. A lane's bits depend on nothing but its own answers, on every processor.

#![expect(
    clippy::inline_always,
    reason = "what is compiled for one kind of vectors has to stand in one function"
)]

use pulp::{Arch, Simd, WithSimd};

/// As in [`crate::centroid_distances`].
const ADDED_MASS: f64 = 1e-10;
const EQUAL_WITHIN: f64 = 1e-4;
/// Newton's step before the last, as a part of the centroid's variance: the last squares it.
const CLOSE: f64 = 1e-7;
const STEPS: usize = 60;
/// The centroid lies no closer to an end than this.
const END: f64 = 1e-15;
/// As many odds as are multiplied before their logarithm is taken: a double holds their product, whatever they are.
const ODDS: usize = 8;

/// One answer of a group in `N` draws, by the probability of one of its two stances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryLanes<const N: usize> {
    probability: [f64; N],
    /// What each adds to a divergence by itself.
    term: [f64; N],
}

/// One answer over two stances, with what it adds to a divergence by itself: a logarithm that is taken once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryAnswer {
    probability: f64,
    term: f64,
}

impl BinaryAnswer {
    /// From the probability of one of the two.
    pub fn new(probability: f64) -> Self {
        let [term] = terms([probability + ADDED_MASS]);
        Self { probability, term }
    }

    /// The probability it is made of.
    pub fn probability(self) -> f64 {
        self.probability
    }
}

impl<const N: usize> BinaryLanes<N> {
    /// An answer in each draw.
    pub fn new(answers: [BinaryAnswer; N]) -> Self {
        Self {
            probability: answers.map(|answer| answer.probability),
            term: answers.map(|answer| answer.term),
        }
    }
}

/// The centroid distance of each member of a group over two answers in each of `N` draws: what [`crate::centroid_distances`] gives, by
/// Newton's method in place of its slower iteration.
///
/// # Shapes
/// `group`: `[members]` of `N` draws; `out` is overwritten with `[members][N]`.
///
/// # Units
/// Square root of nats.
///
/// # Numerics
/// The square within 4e-9 of that of [`crate::centroid_distances`], which does not normalise again after adding 1e-10. The same bits
/// whatever the other lanes hold, on every processor.
pub fn binary_centroid_distances<const N: usize>(
    group: &[BinaryLanes<N>],
    out: &mut Vec<[f64; N]>,
) {
    out.clear();
    out.resize(group.len(), [0.0; N]);
    if group.len() < 2 {
        return;
    }
    if N == 1 {
        distances(group, out);
    } else {
        Arch::new().dispatch(Distances { group, out });
    }
}

/// Compiled for each kind of vectors.
struct Distances<'a, const N: usize> {
    group: &'a [BinaryLanes<N>],
    out: &'a mut [[f64; N]],
}

impl<const N: usize> WithSimd for Distances<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        distances(self.group, self.out);
    }
}

#[inline(always)]
fn distances<const N: usize>(group: &[BinaryLanes<N>], out: &mut [[f64; N]]) {
    let (mut least, mut most) = ([f64::INFINITY; N], [f64::NEG_INFINITY; N]);
    for BinaryLanes { probability, .. } in group {
        for lane in 0..N {
            least[lane] = least[lane].min(probability[lane]);
            most[lane] = most[lane].max(probability[lane]);
        }
    }
    let mut apart = [0.0; N];
    for lane in 0..N {
        apart[lane] = f64::from(most[lane] - least[lane] > EQUAL_WITHIN);
    }
    let centre = centroid(group);
    let of_centre = terms(centre);
    for (BinaryLanes { probability, term }, out) in group.iter().zip(out) {
        let mut middle = [0.0; N];
        for lane in 0..N {
            middle[lane] = 0.5 * (probability[lane] + ADDED_MASS + centre[lane]);
        }
        let of_middle = terms(middle);
        for lane in 0..N {
            let divergence = term[lane] + of_centre[lane] - 2.0 * of_middle[lane];
            out[lane] = apart[lane] * (0.5 * divergence.max(0.0)).sqrt();
        }
    }
}

/// Where the mean of `logit((c + p) / 2)` is `logit(c)`.
#[inline(always)]
fn centroid<const N: usize>(group: &[BinaryLanes<N>]) -> [f64; N] {
    let share = 1.0 / group.len() as f64;
    let mut centre = [0.0; N];
    for BinaryLanes { probability, .. } in group {
        for lane in 0..N {
            centre[lane] += probability[lane];
        }
    }
    for centre in &mut centre {
        *centre = (*centre * share).clamp(END, 1.0 - END);
    }
    let mut settled = [false; N];
    for _ in 0..STEPS {
        let (mean_log_odds, slope) = mean_log_odds(group, &centre, share);
        let mut odds = [0.0; N];
        for lane in 0..N {
            odds[lane] = centre[lane] / (1.0 - centre[lane]);
        }
        let log_odds = ln(odds);
        let mut next = [0.0; N];
        let mut outside = false;
        for lane in 0..N {
            let variance = centre[lane] * (1.0 - centre[lane]);
            let value = mean_log_odds[lane] - log_odds[lane];
            next[lane] = centre[lane] - value / (slope[lane] - 1.0 / variance);
            outside |= !(next[lane] > 0.0 && next[lane] < 1.0);
        }
        if outside {
            // Newton's step left the interval: the plain iteration never does.
            for lane in 0..N {
                if !(next[lane] > 0.0 && next[lane] < 1.0) {
                    next[lane] = 1.0 / (1.0 + (-mean_log_odds[lane]).exp());
                }
            }
        }
        let mut all = true;
        for lane in 0..N {
            let next = next[lane].clamp(END, 1.0 - END);
            let next = if settled[lane] { centre[lane] } else { next };
            let close = (next - centre[lane]).abs() <= CLOSE * next * (1.0 - next);
            settled[lane] |= close;
            all &= settled[lane];
            centre[lane] = next;
        }
        if all {
            break;
        }
    }
    centre
}

/// The mean of `logit((c + p) / 2)`, and its slope in `c`.
#[inline(always)]
fn mean_log_odds<const N: usize>(
    group: &[BinaryLanes<N>],
    centre: &[f64; N],
    share: f64,
) -> ([f64; N], [f64; N]) {
    let (mut log, mut slope) = ([0.0; N], [0.0; N]);
    for part in group.chunks(ODDS) {
        // One logarithm for as many odds as a double holds.
        let mut product = [1.0; N];
        for BinaryLanes { probability, .. } in part {
            for lane in 0..N {
                let middle = 0.5 * (probability[lane] + centre[lane]);
                let inverse = 1.0 / (middle * (1.0 - middle));
                product[lane] *= middle * middle * inverse;
                slope[lane] += inverse;
            }
        }
        let of_part = ln(product);
        for lane in 0..N {
            log[lane] += of_part[lane];
        }
    }
    for lane in 0..N {
        log[lane] *= share;
        slope[lane] *= 0.5 * share;
    }
    (log, slope)
}

/// `p ln p + (1 − p) ln (1 − p)`, 0 beyond the ends.
#[inline(always)]
fn terms<const N: usize>(p: [f64; N]) -> [f64; N] {
    let (mut one, mut other) = ([0.0; N], [0.0; N]);
    for lane in 0..N {
        one[lane] = p[lane].max(TINY);
        other[lane] = (1.0 - p[lane]).max(TINY);
    }
    let (of_one, of_other) = (ln(one), ln(other));
    let mut terms = [0.0; N];
    for lane in 0..N {
        terms[lane] = one[lane] * of_one[lane] + other[lane] * of_other[lane];
    }
    terms
}

/// What nothing is taken for: times its logarithm it is nothing.
const TINY: f64 = 1e-300;

/// The natural logarithm of positive normal numbers, without a branch: 2^e · m with m in [√½, √2), and
/// ln m = 2 artanh((m − 1) / (m + 1)) by its series.
///
/// # Numerics
/// Within 2 units in the last place of its parts, e · ln 2 and ln m.
#[inline(always)]
fn ln<const N: usize>(x: [f64; N]) -> [f64; N] {
    const ONE: u64 = 1.0f64.to_bits();
    const TO_EXPONENT: u64 = ONE - std::f64::consts::FRAC_1_SQRT_2.to_bits();
    /// 2^52: a whole number below it stands in the last bits of the sum of both.
    const SHIFT: f64 = 4_503_599_627_370_496.0;
    let mut found = [0.0; N];
    for lane in 0..N {
        let bits = x[lane].to_bits();
        let exponent = (bits + TO_EXPONENT) >> 52;
        let m = f64::from_bits(bits + ONE - (exponent << 52));
        let e = f64::from_bits(exponent | SHIFT.to_bits()) - (SHIFT + 1023.0);
        let s = (m - 1.0) / (m + 1.0);
        let z = s * s;
        let mut series = 1.0 / 21.0;
        for term in SERIES {
            series = series * z + term;
        }
        found[lane] = e * std::f64::consts::LN_2 + 2.0 * s * series;
    }
    found
}

/// 1/19, 1/17 … 1.
const SERIES: [f64; 10] = [
    1.0 / 19.0,
    1.0 / 17.0,
    1.0 / 15.0,
    1.0 / 13.0,
    1.0 / 11.0,
    1.0 / 9.0,
    1.0 / 7.0,
    1.0 / 5.0,
    1.0 / 3.0,
    1.0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::centroid_distances;
    use proptest::prelude::*;

    fn of_one(group: &[f64]) -> Vec<f64> {
        let lanes: Vec<BinaryLanes<1>> = group
            .iter()
            .map(|p| BinaryLanes::new([BinaryAnswer::new(*p)]))
            .collect();
        let mut out = Vec::new();
        binary_centroid_distances(&lanes, &mut out);
        out.concat()
    }

    fn any_probability() -> impl Strategy<Value = f64> {
        prop_oneof![
            0.0f64..=1.0,
            Just(0.0),
            Just(1.0),
            Just(0.5),
            0.0f64..1e-3,
            0.999f64..1.0
        ]
    }

    proptest! {
        #[test]
        fn as_the_slower_iteration(group in prop::collection::vec(any_probability(), 2..30)) {
            let pairs: Vec<[f64; 2]> = group.iter().map(|p| [*p, 1.0 - p]).collect();
            let slow = centroid_distances(&pairs).unwrap();
            let fast = of_one(&group);
            // At the border of what counts as equal either may say so.
            let spread = group.iter().copied().fold(f64::MIN, f64::max) - group.iter().copied().fold(f64::MAX, f64::min);
            prop_assume!(!(0.9e-4..1.2e-4).contains(&spread));
            for (a, b) in slow.iter().zip(&fast) {
                prop_assert!((a - b).abs() < 7e-5, "{slow:?} {fast:?}");
                prop_assert!((a * a - b * b).abs() < 4e-9, "{slow:?} {fast:?}");
            }
        }

        #[test]
        fn a_lane_has_the_same_bits_in_any_company(
            members in prop::collection::vec(prop::array::uniform8(any_probability()), 2..12)
        ) {
            let group: Vec<BinaryLanes<8>> = members
                .iter()
                .map(|member| BinaryLanes::new(member.map(BinaryAnswer::new)))
                .collect();
            let mut together = Vec::new();
            binary_centroid_distances(&group, &mut together);
            for lane in 0..8 {
                let alone: Vec<f64> = members.iter().map(|member| member[lane]).collect();
                let found: Vec<f64> = together.iter().map(|member| member[lane]).collect();
                prop_assert_eq!(of_one(&alone), found);
            }
        }

        #[test]
        fn logarithms_are_those_of_the_library(x in prop_oneof![1e-300f64..1e300, 0.1f64..10.0, 0.999f64..1.001, 1e-12f64..1.0]) {
            let [found] = ln([x]);
            let exact = x.ln();
            prop_assert!((found - exact).abs() <= 4e-16 * (1.0 + exact.abs()) * 2.0, "{x}: {found} {exact}");
        }
    }

    #[test]
    fn logarithms_near_one_keep_their_digits() {
        for off in [1e-3f64, -1e-6, 1e-9, -1e-12] {
            let [found] = ln([1.0 + off]);
            let exact = (1.0 + off).ln();
            assert!(
                (found / exact - 1.0).abs() < 1e-15,
                "{off}: {found} {exact}"
            );
        }
        let [none, one] = ln([1.0, 2.0]);
        assert_eq!(none.to_bits(), 0);
        assert_eq!(one.to_bits(), std::f64::consts::LN_2.to_bits());
    }

    #[test]
    fn opposite_answers_lie_as_far_apart_as_two_can() {
        let out = of_one(&[0.0, 1.0]);
        assert!((out[0] - crate::TWO_OPTION_MAXIMUM).abs() < 1e-8, "{out:?}");
        assert_eq!(of_one(&[0.3]), [0.0]);
        assert_eq!(of_one(&[0.3, 0.3, 0.300_01]), [0.0; 3]);
        assert_eq!(of_one(&[0.0; 9]), [0.0; 9]);
    }
}
