//! Divergences between two distributions and entropy of one.

/// `Σ p ln(p/q)`, the Kullback–Leibler divergence of `p` from `q`.
///
/// # Units
/// Nats. Infinite where `q` is zero and `p` is not.
///
/// # Source
/// Kullback and Leibler 1951; the same conventions as `scipy.special.rel_entr`.
pub fn relative_entropy(p: &[f64], q: &[f64]) -> f64 {
    p.iter()
        .zip(q)
        .map(|(&p, &q)| relative_entropy_term(p, q))
        .sum()
}

pub(crate) fn relative_entropy_term(p: f64, q: f64) -> f64 {
    match (p > 0.0, q > 0.0) {
        (true, true) => p * (p / q).ln(),
        (false, _) => 0.0,
        (true, false) => f64::INFINITY,
    }
}

/// The square root of the Jensen–Shannon divergence; a metric.
///
/// # Units
/// Square root of nats, at most `sqrt(ln 2) = 0.8326`.
///
/// # Numerics
/// Inputs are normalised first. A divergence that rounding made negative counts as zero.
///
/// # Source
/// Endres and Schindelin 2003; `scipy.spatial.distance.jensenshannon` with its default base.
pub fn jensen_shannon_distance(p: &[f64], q: &[f64]) -> f64 {
    let (sum_p, sum_q): (f64, f64) = (p.iter().sum(), q.iter().sum());
    let divergence: f64 = p
        .iter()
        .zip(q)
        .map(|(p, q)| {
            let (p, q) = (p / sum_p, q / sum_q);
            let middle = f64::midpoint(p, q);
            relative_entropy_term(p, middle) + relative_entropy_term(q, middle)
        })
        .sum();
    (divergence.max(0.0) / 2.0).sqrt()
}

/// Shannon entropy.
///
/// # Units
/// Nats.
pub fn entropy_nats(p: &[f64]) -> f64 {
    -p.iter()
        .filter(|&&p| p > 0.0)
        .map(|p| p * p.ln())
        .sum::<f64>()
}

/// Shannon entropy.
///
/// # Units
/// Bits.
pub fn entropy_bits(p: &[f64]) -> f64 {
    entropy_nats(p) / std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_values() {
        // scipy.spatial.distance.jensenshannon([1, 0], [0, 1]) and ([.9, .1], [.2, .8])
        assert!(
            (jensen_shannon_distance(&[1.0, 0.0], &[0.0, 1.0]) - 2f64.ln().sqrt()).abs() < 1e-15
        );
        assert!(
            (jensen_shannon_distance(&[0.9, 0.1], &[0.2, 0.8]) - 0.524_781_969_248_9).abs() < 1e-9
        );
        // Four answers against one: the study's ENTROPY_DELTA.
        assert!((entropy_bits(&[0.8, 0.2]) - 0.721_928_094_887).abs() < 1e-12);
        assert!(relative_entropy(&[1.0, 0.0], &[0.0, 1.0]).is_infinite());
    }
}
