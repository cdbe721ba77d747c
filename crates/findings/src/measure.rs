//! The quantities that studies measure.

use serde::Serialize;

/// Which way is better, where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less of it is more consistent, or closer to what is asked for.
    Lower,
    /// More of it is.
    Higher,
    /// Neither is better.
    Neither,
}

/// A quantity: what an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Distance of answers to the Jensen-Shannon centroid of their group, square roots of nats.
    Distance,
    /// Probability of the answers that support what is asked about.
    Support,
    /// Probability of saying that a portrait is like oneself.
    LikeMe,
    /// A probability.
    Probability,
    /// Probability of all answers that were asked for together.
    Mass,
    /// Chi-squared of expected counts, by count.
    ChiSquaredPerCount,
    /// Cohen's w.
    EffectSize,
    /// Total variation distance.
    TotalVariation,
    /// Kullback–Leibler divergence, bits.
    Divergence,
    /// Entropy, bits.
    Entropy,
    /// How many of something there are on average.
    Count,
    /// What the best opponent wins a round on average.
    Exploitability,
    /// One part of another.
    Share,
    /// A score on a scale of a study's own.
    Score,
}

impl Measure {
    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::Distance => "distance",
            Self::Support => "probability of support",
            Self::LikeMe => "probability of \"like me\"",
            Self::Probability => "probability",
            Self::Mass => "valid mass",
            Self::ChiSquaredPerCount => "χ²/N",
            Self::EffectSize => "w",
            Self::TotalVariation => "total variation",
            Self::Divergence => "divergence",
            Self::Entropy => "entropy",
            Self::Count => "count",
            Self::Exploitability => "exploitability",
            Self::Share => "share",
            Self::Score => "score",
        }
    }

    /// Its unit; empty where it has none.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Distance => "√nat",
            Self::Divergence | Self::Entropy => "bits",
            Self::Exploitability => "points a round",
            _ => "",
        }
    }

    /// The least and the most that it can be, as far as that is known without the data.
    pub fn range(self) -> (Option<f64>, Option<f64>) {
        match self {
            Self::Support
            | Self::LikeMe
            | Self::Probability
            | Self::Mass
            | Self::TotalVariation
            | Self::Exploitability
            | Self::Share => (Some(0.0), Some(1.0)),
            // That of two distributions which share nothing, to the one between them, is √ln 2; groups of more reach further.
            Self::Distance
            | Self::ChiSquaredPerCount
            | Self::EffectSize
            | Self::Divergence
            | Self::Entropy
            | Self::Count => (Some(0.0), None),
            Self::Score => (None, None),
        }
    }

    /// Which way is better.
    pub fn direction(self) -> Direction {
        match self {
            Self::Distance
            | Self::ChiSquaredPerCount
            | Self::EffectSize
            | Self::TotalVariation
            | Self::Divergence
            | Self::Exploitability => Direction::Lower,
            Self::Mass | Self::Entropy => Direction::Higher,
            Self::Support
            | Self::LikeMe
            | Self::Probability
            | Self::Count
            | Self::Share
            | Self::Score => Direction::Neither,
        }
    }
}
