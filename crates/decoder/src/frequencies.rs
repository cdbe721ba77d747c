//! RoPE frequencies of each kind of scaling.

use concord_checkpoint::{Rope, Scaling};

/// What positions turn pairs of dimensions by.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Radians a position, one for each rotated pair.
    pub inverse: Vec<f32>,
    /// Multiplies cosines and sines.
    pub scale: f64,
}

/// The frequencies for sequences of `length` tokens.
///
/// # Numerics
/// Powers and quotients in `f32`, as transformers forms them.
///
/// # Source
/// Su et al. 2021; for the scalings the functions of transformers' `modeling_rope_utils.py` (5.23): position interpolation
/// (Chen et al. 2023), dynamic NTK (bloc97 2023), YaRN (Peng et al. 2023), LongRoPE (Ding et al. 2024), Llama 3.1.
#[expect(
    clippy::cast_possible_truncation,
    reason = "frequencies are f32 in the reference"
)]
pub fn frequencies(rope: &Rope, length: usize) -> Frequencies {
    let dimensions = rope.dimensions;
    let powers = |theta: f64| -> Vec<f32> {
        (0..dimensions / 2)
            .map(|pair| (theta as f32).powf(2.0 * pair as f32 / dimensions as f32))
            .collect()
    };
    let plain = |theta: f64| powers(theta).into_iter().map(|power| 1.0 / power);
    let (inverse, scale) = match &rope.scaling {
        Scaling::Default => (plain(rope.theta).collect(), 1.0),
        Scaling::Linear { factor } => {
            let scaled = plain(rope.theta).map(|frequency| frequency / *factor as f32);
            (scaled.collect(), 1.0)
        }
        Scaling::Dynamic {
            factor,
            max_position_embeddings,
        } => {
            let trained = *max_position_embeddings as f64;
            let stretch = factor * (length as f64).max(trained) / trained - (factor - 1.0);
            let d = dimensions as f64;
            let theta = rope.theta * stretch.powf(d / (d - 2.0));
            (plain(theta).collect(), 1.0)
        }
        Scaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let factor = *factor as f32;
            let (low, high) = (*low_freq_factor as f32, *high_freq_factor as f32);
            let original = *original_max_position_embeddings as f32;
            let scaled = plain(rope.theta).map(|frequency| {
                let wavelength = std::f32::consts::TAU / frequency;
                if wavelength > original / low {
                    frequency / factor
                } else if wavelength < original / high {
                    frequency
                } else {
                    let smooth = (original / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            });
            (scaled.collect(), 1.0)
        }
        Scaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            truncate,
            attention_factor,
            original_max_position_embeddings,
        } => {
            // The pair of dimensions that turns so often within the original context.
            let pair_of = |rotations: f64| {
                let wavelength =
                    original_max_position_embeddings / (rotations * std::f64::consts::TAU);
                dimensions as f64 * wavelength.ln() / (2.0 * rope.theta.ln())
            };
            let (mut low, mut high) = (pair_of(*beta_fast), pair_of(*beta_slow));
            if *truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            let (low, mut high) = (low.max(0.0), high.min(dimensions as f64 - 1.0));
            if (low - high).abs() < f64::EPSILON {
                high += 0.001; // as the reference avoids a division by zero
            }
            let blended = powers(rope.theta)
                .into_iter()
                .enumerate()
                .map(|(pair, power)| {
                    let ramp = ((pair as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    let kept = 1.0 - ramp;
                    1.0 / (*factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
                });
            (blended.collect(), *attention_factor)
        }
        Scaling::Longrope {
            short_factor,
            long_factor,
            attention_factor,
            original_max_position_embeddings,
        } => {
            let factors = if length > *original_max_position_embeddings {
                long_factor
            } else {
                short_factor
            };
            let divided = powers(rope.theta)
                .into_iter()
                .zip(factors)
                .map(|(power, factor)| 1.0 / (*factor as f32 * power));
            (divided.collect(), *attention_factor)
        }
    };
    Frequencies { inverse, scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scaling: Scaling, length: usize) -> Frequencies {
        let rope = Rope {
            theta: 500_000.0,
            dimensions: 64,
            scaling,
        };
        frequencies(&rope, length)
    }

    #[test]
    fn llama3_leaves_short_waves_and_stretches_long_ones() {
        let plain = of(Scaling::Default, 0).inverse;
        let scaled = of(
            Scaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192.0,
            },
            0,
        )
        .inverse;
        assert_eq!(plain[0].to_bits(), scaled[0].to_bits());
        assert!((plain[31] / scaled[31] - 8.0).abs() < 1e-5);
        assert!(
            plain
                .iter()
                .zip(&scaled)
                .all(|(a, b)| b <= a && *b >= a / 8.001)
        );
    }

    #[test]
    fn length_counts_only_beyond_the_trained_one() {
        let dynamic = |length| {
            of(
                Scaling::Dynamic {
                    factor: 4.0,
                    max_position_embeddings: 100,
                },
                length,
            )
        };
        assert_eq!(dynamic(0), of(Scaling::Default, 0));
        assert_eq!(dynamic(100), dynamic(7));
        assert!(dynamic(101).inverse[31] < dynamic(100).inverse[31]);
    }
}
