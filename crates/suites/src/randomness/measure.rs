//! How far choices are from uniform: by set, language and wording.

use super::chain::{ChainFindings, chain};
use super::diversity::{self, DiversityFindings};
use super::games::{self, GameFindings};
use super::languages::{ByLanguage, by_wording};
use super::name::{self, CARRIERS, Carrier};
use super::options::{Data, Options};
use super::outcome::outcome;
use super::placebo::{self, PlaceboFindings};
use super::plan::set_places;
use super::sequences::{self, Reference, SequenceFindings};
use super::sets::Set;
use crate::shared::estimate::{estimate, gate};
use crate::{CheckpointReadings, Readings, Settings, SuiteError};
use concord_findings::{Estimate, Measure, Verdict};
use concord_stats::{
    chi_squared_per_count, entropy_bits, excess_of_largest, expected_chi_squared, mean,
    uniform_divergence_bits, uniform_effect_size, uniform_total_variation,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is measured of a distribution over a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The probability of all members together.
    Mass,
    /// Entropy, bits.
    Entropy,
    /// χ² of the expected counts, by count.
    ChiSquared,
    /// Cohen's w.
    EffectSize,
    /// Total variation distance from uniform.
    TotalVariation,
    /// Kullback–Leibler divergence from uniform, bits.
    Divergence,
    /// The largest probability.
    Largest,
    /// The probability of 7.
    Seven,
    /// What a seeker gains who knows the distribution.
    Excess,
    /// The expected χ² of so many draws.
    SampledChiSquared,
}

impl Quantity {
    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mass => "valid mass",
            Self::Entropy => "entropy (bits)",
            Self::ChiSquared => "χ²/N",
            Self::EffectSize => "w",
            Self::TotalVariation => "total variation",
            Self::Divergence => "divergence (bits)",
            Self::Largest => "largest p",
            Self::Seven => "P(7)",
            Self::Excess => "max p − 1/n",
            Self::SampledChiSquared => "expected χ²",
        }
    }

    /// What an axis of it counts.
    pub fn measure(self) -> Measure {
        match self {
            Self::Mass => Measure::Mass,
            Self::Entropy => Measure::Entropy,
            Self::ChiSquared => Measure::ChiSquaredPerCount,
            Self::EffectSize => Measure::EffectSize,
            Self::TotalVariation => Measure::TotalVariation,
            Self::Divergence => Measure::Divergence,
            Self::Largest | Self::Seven | Self::Excess => Measure::Probability,
            Self::SampledChiSquared => Measure::Score,
        }
    }
}

/// Everything that is measured of one distribution.
pub type Quantities = BTreeMap<Quantity, f64>;

/// Measures one distribution over a set.
pub(crate) fn quantities(p: &[f64], mass: f64, seven: Option<usize>, draws: usize) -> Quantities {
    let mut all = BTreeMap::from([
        (Quantity::Mass, mass),
        (Quantity::Entropy, entropy_bits(p)),
        (Quantity::ChiSquared, chi_squared_per_count(p)),
        (Quantity::EffectSize, uniform_effect_size(p)),
        (Quantity::TotalVariation, uniform_total_variation(p)),
        (Quantity::Divergence, uniform_divergence_bits(p)),
        (Quantity::Largest, p.iter().copied().fold(0.0, f64::max)),
        (Quantity::Excess, excess_of_largest(p)),
        (
            Quantity::SampledChiSquared,
            expected_chi_squared(p, draws as f64),
        ),
    ]);
    if let Some(seven) = seven.and_then(|at| p.get(at)) {
        all.insert(Quantity::Seven, *seven);
    }
    all
}

/// What was found of one quantity. The unit is the wording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Its mean over wordings.
    pub estimate: Estimate,
    /// Its least and largest value in a wording.
    pub range: [f64; 2],
    /// Its standard deviation over wordings (n − 1); 0 for one.
    pub deviation: f64,
    /// What the mean distribution over wordings has.
    pub of_mean: f64,
}

/// What was found over several wordings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The mean distribution over wordings.
    pub distribution: Vec<f64>,
    /// The most probable member of it.
    pub most: usize,
    /// What was measured.
    pub quantities: BTreeMap<Quantity, Found>,
}

/// One wording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WordingFindings {
    /// Its language.
    pub language: String,
    /// Its number, from 1 on.
    pub wording: usize,
    /// The valid mass.
    pub mass: f64,
    /// The distribution, where it may be shown.
    pub distribution: Option<Vec<f64>>,
    /// What was measured of it.
    pub quantities: Quantities,
}

/// One language.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LanguageFindings {
    /// The language.
    pub language: String,
    /// The valid mass; mean over wordings.
    pub mass: Estimate,
    /// Whether anything may be shown.
    pub verdict: Verdict,
    /// What was found, where it may.
    pub summary: Option<Summary>,
}

/// A set, with answers begun or not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetFindings {
    /// The set.
    pub set: String,
    /// Whether the answer is begun.
    pub carrier: Carrier,
    /// The members' names.
    pub members: Vec<String>,
    /// The valid mass; mean over the wordings of all languages.
    pub mass: Estimate,
    /// Whether anything may be shown.
    pub verdict: Verdict,
    /// What was found over all languages that may be shown, where any may.
    pub summary: Option<Summary>,
    /// By language.
    pub languages: Vec<LanguageFindings>,
    /// By wording.
    pub wordings: Vec<WordingFindings>,
}

impl SetFindings {
    /// The most entropy that it could have, bits.
    pub fn most_entropy(&self) -> f64 {
        (self.members.len() as f64).log2()
    }
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointFindings {
    /// Its name.
    pub name: String,
    /// Choices from sets.
    pub sets: Vec<SetFindings>,
    /// Sequences of ten.
    pub sequences: Vec<SequenceFindings>,
    /// Rock-paper-scissors.
    pub games: Option<GameFindings>,
    /// Hide and seek.
    pub hiding: Vec<SetFindings>,
    /// Numbers under labels.
    pub placebo: Vec<PlaceboFindings>,
    /// Poems.
    pub diversity: Vec<DiversityFindings>,
    /// Spellings of members that could not be read.
    pub left_out: usize,
}

/// What is found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// Languages asked in.
    pub languages: Vec<String>,
    /// Draws whose χ² is expected.
    pub draws: usize,
    /// The least valid mass.
    pub least_mass: f64,
    /// What uniform sequences have.
    pub reference: Option<Reference>,
    /// The checkpoints, in the order named.
    pub checkpoints: Vec<CheckpointFindings>,
    /// The first checkpoint against each later one.
    pub chain: Vec<ChainFindings>,
}

/// Measures all checkpoints.
///
/// # Errors
/// [`SuiteError::Readings`] where something was not read.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    read: &[CheckpointReadings],
) -> Result<Findings, SuiteError> {
    let checkpoints: Vec<CheckpointFindings> = read
        .iter()
        .map(|read| measure_checkpoint(data, options, settings, read))
        .collect::<Result<_, _>>()?;
    Ok(Findings {
        languages: options.languages.clone(),
        draws: options.samples,
        least_mass: options.least_mass,
        reference: sequences::reference(data, options),
        chain: chain(&checkpoints, settings),
        checkpoints,
    })
}

fn measure_checkpoint(
    data: &Data,
    options: &Options,
    settings: Settings,
    read: &CheckpointReadings,
) -> Result<CheckpointFindings, SuiteError> {
    let readings = &read.readings;
    let mut left_out = 0;
    let mut measured = |item: &str, round: &str, of: &mut dyn Iterator<Item = &Set>| {
        let mut found = Vec::new();
        for set in of {
            for carrier in CARRIERS {
                let asked = Asked {
                    item,
                    round,
                    set,
                    carrier,
                };
                let (set, missing) = asked.measure(data, options, settings, readings)?;
                left_out += missing;
                found.push(set);
            }
        }
        Ok::<_, SuiteError>(found)
    };
    let sets = measured("numbers", name::NUMBERS, &mut data.sets.iter())?;
    let hiding = measured("games", name::GAMES, &mut data.hiding.iter())?;
    let numbers = data.numbers().map(|set| set.name.as_str());
    let preferred = |carrier: Carrier| {
        let is_it =
            |found: &&SetFindings| found.carrier == carrier && Some(found.set.as_str()) == numbers;
        let found = sets.iter().find(is_it)?;
        found.summary.as_ref().map(|summary| summary.most)
    };
    Ok(CheckpointFindings {
        name: read.name.clone(),
        sequences: sequences::measure(data, options, settings, readings)?,
        games: games::measure(data, options, settings, readings)?,
        placebo: placebo::measure(data, options, settings, readings, preferred)?,
        diversity: diversity::measure(data, options, settings, readings)?,
        sets,
        hiding,
        left_out,
    })
}

/// A set that was asked about.
struct Asked<'a> {
    item: &'a str,
    round: &'a str,
    set: &'a Set,
    carrier: Carrier,
}

impl Asked<'_> {
    fn measure(
        &self,
        data: &Data,
        options: &Options,
        settings: Settings,
        readings: &Readings,
    ) -> Result<(SetFindings, usize), SuiteError> {
        let mut left_out = 0;
        let mut wordings = Vec::new();
        for place in set_places(data, options, self.set) {
            let id = name::choice(self.item, &self.set.name, place, self.carrier);
            let spelt = self.set.spellings(place.language);
            let read = outcome(readings.round(self.round), &id, &spelt)?;
            left_out += read.left_out;
            let seven = self.set.seven();
            wordings.push(WordingFindings {
                language: place.language.to_owned(),
                wording: place.wording,
                mass: read.mass,
                quantities: quantities(&read.p, read.mass, seven, options.samples),
                distribution: Some(read.p),
            });
        }
        Ok((self.found(wordings, options, settings), left_out))
    }

    /// Puts wordings together, and hides those that may not be shown.
    fn found(
        &self,
        mut wordings: Vec<WordingFindings>,
        options: &Options,
        settings: Settings,
    ) -> SetFindings {
        let masses: Vec<(&str, usize, f64)> = wordings
            .iter()
            .map(|of| (of.language.as_str(), of.wording, of.mass))
            .collect();
        let least = options.least_mass;
        let found = ByLanguage::new(&masses, least, settings);
        // A wording with little mass would count its rest as if it were the whole.
        let is_shown = |of: &WordingFindings| found.shows(&of.language) && of.mass >= least;
        let summary = |language: Option<&str>| {
            let of = wordings.iter().filter(|of| is_shown(of));
            let of = of.filter(|of| language.is_none_or(|name| of.language == name));
            let of: Vec<&WordingFindings> = of.collect();
            (!of.is_empty()).then(|| self.summary(&of, options.samples, settings))
        };
        let languages = options.languages.iter().map(|language| {
            let of = wordings.iter().filter(|of| of.language == *language);
            let of: Vec<f64> = of.map(|of| of.mass).collect();
            let mass = estimate(&of, "wording", settings);
            LanguageFindings {
                language: language.clone(),
                verdict: gate("valid mass", &mass, least),
                mass,
                summary: summary(Some(language)),
            }
        });
        let languages: Vec<LanguageFindings> = languages.collect();
        let summary = summary(None);
        let shown: Vec<bool> = wordings.iter().map(is_shown).collect();
        let (mass, verdict) = (found.mass, found.verdict);
        for (wording, shown) in wordings.iter_mut().zip(shown) {
            if !shown {
                wording.distribution = None;
                wording.quantities.clear();
            }
        }
        SetFindings {
            set: self.set.name.clone(),
            carrier: self.carrier,
            members: self.set.names(),
            mass,
            verdict,
            summary,
            languages,
            wordings,
        }
    }

    fn summary(&self, of: &[&WordingFindings], draws: usize, settings: Settings) -> Summary {
        let count = of.len().max(1) as f64;
        let mut distribution = vec![0.0; self.set.members.len()];
        for p in of
            .iter()
            .filter_map(|wording| wording.distribution.as_ref())
        {
            for (total, p) in distribution.iter_mut().zip(p) {
                *total += p / count;
            }
        }
        let masses: Vec<f64> = of.iter().map(|wording| wording.mass).collect();
        let of_mean = quantities(&distribution, mean(&masses), self.set.seven(), draws);
        let found = of_mean.into_iter().map(|(quantity, of_mean)| {
            let values = of.iter().filter_map(|of| {
                let value = of.quantities.get(&quantity)?;
                Some((of.wording, *value))
            });
            let values = by_wording(values);
            let found = Found {
                estimate: estimate(&values, "wording", settings),
                range: [
                    values.iter().copied().fold(f64::INFINITY, f64::min),
                    values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                ],
                deviation: deviation(&values),
                of_mean,
            };
            (quantity, found)
        });
        let quantities = found.collect();
        let largest = (0..distribution.len()).reduce(|a, b| {
            if distribution[b] > distribution[a] {
                b
            } else {
                a
            }
        });
        Summary {
            most: largest.unwrap_or(0),
            quantities,
            distribution,
        }
    }
}

/// The standard deviation (n − 1); 0 of one value.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = mean(values);
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}
