//! Draws that follow from a seed and what they are for, the same for every checkpoint.

/// 64-bit FNV-1a.
pub(crate) fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let mix = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// A number from 0 up to 1, by a seed and names: FNV-1a, finished by the mixer of splitmix64.
pub(crate) fn unit(seed: u64, names: &[&str]) -> f64 {
    let names = names.iter().flat_map(|name| name.bytes().chain([0xff]));
    let mut hash = fnv(seed.to_le_bytes().into_iter().chain(names));
    (splitmix(&mut hash) >> 11) as f64 / (1u64 << 53) as f64
}

/// The next number of splitmix64, and its state moved on.
pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The answer that a number from 0 up to 1 falls on.
pub(crate) fn pick(p: &[f64], unit: f64) -> usize {
    let mut below = 0.0;
    let found = p.iter().position(|p| {
        below += p;
        unit < below
    });
    // Rounding may leave the sum a little below the number: the last possible answer takes it.
    let last = p.iter().rposition(|p| *p > 0.0);
    found.or(last).unwrap_or(0)
}

/// One of so many, all alike.
pub(crate) fn below(count: usize, unit: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and below the count by the bound"
    )]
    let at = (unit * count as f64) as usize;
    at.min(count.saturating_sub(1))
}

/// A random order of so many.
pub(crate) fn order(seed: u64, names: &[&str], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in 0..count.saturating_sub(1) {
        let step = at.to_string();
        let names: Vec<&str> = names.iter().copied().chain([step.as_str()]).collect();
        order.swap(at, at + below(count - at, unit(seed, &names)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_from_seed_and_names() {
        assert_eq!(
            unit(1, &["a", "b"]).to_bits(),
            unit(1, &["a", "b"]).to_bits()
        );
        assert_ne!(
            unit(1, &["a", "b"]).to_bits(),
            unit(2, &["a", "b"]).to_bits()
        );
        assert_ne!(unit(1, &["a", "b"]).to_bits(), unit(1, &["ab"]).to_bits());
        assert_ne!(order(1, &["x"], 11), order(2, &["x"], 11));
        let mut sorted = order(3, &["x"], 11);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..11).collect::<Vec<_>>());
    }

    #[test]
    fn draws_are_spread_evenly() {
        let draws: Vec<f64> = (0..20_000)
            .map(|k: usize| unit(7, &["english", &k.to_string()]))
            .collect();
        let mut counts = [0u32; 10];
        for draw in &draws {
            counts[below(10, *draw)] += 1;
        }
        let chi: f64 = counts
            .iter()
            .map(|count| (f64::from(*count) - 2000.0).powi(2) / 2000.0)
            .sum();
        // The .999 quantile at nine degrees of freedom.
        assert!(chi < 27.9, "{chi}");
        let serial: f64 = draws
            .windows(2)
            .map(|two| (two[0] - 0.5) * (two[1] - 0.5))
            .sum();
        assert!((serial / 20_000.0 * 12.0).abs() < 0.03);
    }

    #[test]
    fn an_answer_is_picked_by_its_share() {
        assert_eq!(pick(&[0.25, 0.5, 0.25], 0.0), 0);
        assert_eq!(pick(&[0.25, 0.5, 0.25], 0.25), 1);
        assert_eq!(pick(&[0.25, 0.5, 0.25], 0.99), 2);
        assert_eq!(pick(&[0.4, 0.5, 0.0], 0.95), 1);
    }
}
