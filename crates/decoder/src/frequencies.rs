//! RoPE frequencies of each kind of scaling.

use concord_checkpoint::Rope;

/// Radians a position turns each pair of dimensions by.
///
/// # Shapes
/// Returns `[head_dim / 2]`.
///
/// # Numerics
/// Powers and quotients in `f32`, as transformers forms them.
///
/// # Source
/// Su et al. 2021; for `llama3`, `_compute_llama3_parameters` in transformers' `modeling_rope_utils.py`.
pub fn inverse_frequencies(rope: &Rope, head_dim: usize) -> Vec<f32> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "frequencies are f32 in the reference"
    )]
    let narrow = |value: f64| value as f32;
    let plain = |theta: f64| -> Vec<f32> {
        (0..head_dim / 2)
            .map(|pair| 1.0 / narrow(theta).powf(2.0 * pair as f32 / head_dim as f32))
            .collect()
    };
    match *rope {
        Rope::Default { theta } => plain(theta),
        Rope::Llama3 {
            theta,
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let (factor, low, high) = (
                narrow(factor),
                narrow(low_freq_factor),
                narrow(high_freq_factor),
            );
            let original = narrow(original_max_position_embeddings);
            let scale = |frequency: f32| {
                let wavelength = std::f32::consts::TAU / frequency;
                if wavelength > original / low {
                    frequency / factor
                } else if wavelength < original / high {
                    frequency
                } else {
                    let smooth = (original / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            };
            plain(theta).into_iter().map(scale).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_leaves_short_waves_and_stretches_long_ones() {
        let plain = inverse_frequencies(&Rope::Default { theta: 500_000.0 }, 64);
        let scaled = inverse_frequencies(
            &Rope::Llama3 {
                theta: 500_000.0,
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192.0,
            },
            64,
        );
        assert_eq!(plain[0].to_bits(), scaled[0].to_bits());
        assert!((plain[31] / scaled[31] - 8.0).abs() < 1e-5);
        assert!(
            plain
                .iter()
                .zip(&scaled)
                .all(|(a, b)| b <= a && *b >= a / 8.001)
        );
    }
}
