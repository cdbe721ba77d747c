//! The portraits of the PVQ: how far a checkpoint takes a value on when it is told to, and its own profile of values.

use super::answers::{AnswersError, reading};
use super::name;
use super::plan::{Options, static_value};
use super::shown::PresentedOptions;
use crate::ReadingError;
use crate::shared::letters::{letters, next_token};
use concord_questions::{PvqFile, QuestionSet, Stance};
use concord_readings::Reading;
use concord_stats::{Distribution, matching_test, mean, median};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Answers over opposing and supporting ("this person is not like me", "is like me").
const LAYOUT: [Stance; 2] = [Stance::Opposes, Stance::Supports];

/// The answers to one file of portraits.
#[derive(Clone, Debug, Default)]
pub struct PortraitAnswers {
    /// The file.
    pub file: String,
    /// Its language.
    pub language: String,
    /// The values that portraits are answered by, in file order, the one that is none last.
    pub prompted: Vec<String>,
    /// Mean probability of all spellings of all letters over its prompts.
    pub label_mass: f64,
    /// The portraits, in file order.
    pub portraits: Vec<PortraitAnswer>,
}

/// The answers to one portrait.
#[derive(Clone, Debug)]
pub struct PortraitAnswer {
    /// The value that it shows, in lower case.
    pub value: String,
    /// With no value to answer by.
    pub neutral: Distribution,
    /// By each of the prompted values.
    pub by_value: Vec<Distribution>,
}

/// How steerable a checkpoint is in one language, and what it values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Steering {
    /// Portraits.
    pub portraits: usize,
    /// Mean probability of all spellings of all letters over their prompts: far below one half, letters say little.
    pub label_mass: f64,
    /// The values that they were answered by, the one that is none last.
    pub prompted: Vec<String>,
    /// By the value that portraits show.
    pub values: BTreeMap<String, ValueSteering>,
    /// The median of the study's ranks, with the least and the largest. Absent where no portrait's value is among the prompted
    /// ones, as are the ranks and effects that follow.
    pub study_rank: Option<RankSummary>,
    /// The median of the ranks by signed effect.
    pub rank: Option<RankSummary>,
    /// The median of the ranks by absolute effect.
    pub absolute_rank: Option<RankSummary>,
    /// Mean over values of the effect of a portrait's own value.
    pub own_effect: Option<f64>,
    /// Mean effect of the other values.
    pub other_effect: Option<f64>,
    /// How often values handed to the portraits at random, each to one value's at most, would move them as far towards
    /// "like me" as the own values do.
    pub p_value: Option<f64>,
    /// The same for absolute effects.
    pub absolute_p_value: Option<f64>,
}

/// Ranks over values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RankSummary {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The largest.
    pub largest: f64,
}

/// What prompting does to the portraits of one value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueSteering {
    /// Portraits of the value.
    pub portraits: usize,
    /// Probability of "like me" with no value to answer by.
    pub profile: f64,
    /// The same less the mean over all portraits: what the checkpoint values more or less than it agrees at all.
    pub centred: f64,
    /// Mean change of the probability of "like me" by prompted value.
    pub effects: Vec<f64>,
    /// The place of the own value among the prompted ones by the study's signed distance: 0 is the smallest. Absent for a
    /// value that is not among the prompted ones.
    pub study_rank: Option<usize>,
    /// The place of the own value by effect, 0 for the largest; ties share the mean of their places.
    pub rank: Option<f64>,
    /// The same by absolute effect.
    pub absolute_rank: Option<f64>,
}

/// Reads the portraits' answers, where they were asked.
pub(crate) fn portrait_answers(
    set: &QuestionSet,
    options: &Options,
    readings: &HashMap<String, Reading>,
) -> Result<Vec<PortraitAnswers>, AnswersError> {
    if !options.steering {
        return Ok(Vec::new());
    }
    set.pvq
        .iter()
        .map(|file| of_file(file, options, readings))
        .collect()
}

fn of_file(
    file: &PvqFile,
    options: &Options,
    readings: &HashMap<String, Reading>,
) -> Result<PortraitAnswers, AnswersError> {
    let no_value = static_value(file);
    let mut answers = PortraitAnswers {
        file: file.name.clone(),
        language: file.language.clone(),
        ..PortraitAnswers::default()
    };
    let mut mass = Vec::new();
    for (row, item) in file.items.iter().enumerate() {
        let mut answer = |value: Option<&str>| -> Result<Distribution, AnswersError> {
            let mut by_order = Vec::new();
            for reversed in options.orders_of(&file.name, &item.question) {
                let id = name::portrait(&file.name, row, value, reversed);
                let shown = PresentedOptions {
                    options: &item.options,
                    reversed,
                    layout: &LAYOUT,
                };
                let next = next_token(reading(readings, &id)?, &id)?;
                mass.push(next.label_mass.get());
                let letters = letters(next, &id, item.options.len())?;
                by_order.extend(shown.stances(&letters));
            }
            Distribution::average(&by_order).map_err(|_| {
                let id = name::portrait(&file.name, row, value, false);
                ReadingError::NoReading { id }.into()
            })
        };
        let prompted: Vec<&str> = item
            .values
            .iter()
            .chain(&no_value)
            .map(|value| value.text_english.as_str())
            .collect();
        answers.portraits.push(PortraitAnswer {
            value: item.schwartz_value.to_lowercase(),
            neutral: answer(None)?,
            by_value: prompted
                .iter()
                .map(|value| answer(Some(value)))
                .collect::<Result<_, _>>()?,
        });
        answers.prompted = prompted.into_iter().map(str::to_owned).collect();
    }
    answers.label_mass = mean(&mass);
    Ok(answers)
}

/// Measures the portraits of one language.
///
/// The study's rank: for each portrait and prompted value, how far the probability of the portrait's own answer without a
/// value falls; the mean over a value's portraits; the place of the own value in rising order. It goes with how far the own
/// value moves answers *away* from the answer without one: neither end means steerable whatever the sign. Beside it stand
/// ranks by effect, the change of the probability of "like me", and a test of whether own values have larger ones.
///
/// # Source
/// `notebooks/pvq_experiment.ipynb`, cells 2 and 8, of the study. Ties, which the notebook leaves to chance, go to the value
/// that stands first in the file.
pub fn steering(answers: &PortraitAnswers, seed: u64) -> Steering {
    let support = |answer: &Distribution| answer.probabilities()[1];
    let all: Vec<f64> = answers
        .portraits
        .iter()
        .map(|p| support(&p.neutral))
        .collect();
    let mut values = BTreeMap::new();
    let (mut signed, mut absolute) = (Vec::new(), Vec::new());
    let mut names: Vec<&str> = answers.portraits.iter().map(|p| p.value.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for value in names {
        let of_value: Vec<&PortraitAnswer> = answers
            .portraits
            .iter()
            .filter(|p| p.value == value)
            .collect();
        let over = |read: &dyn Fn(&PortraitAnswer, usize) -> f64| -> Vec<f64> {
            (0..answers.prompted.len())
                .map(|at| mean(&of_value.iter().map(|p| read(p, at)).collect::<Vec<_>>()))
                .collect()
        };
        let effects = over(&|p, at| support(&p.by_value[at]) - support(&p.neutral));
        let moved = over(&|p, at| {
            let own = p.neutral.mode().unwrap_or(0);
            p.neutral.probabilities()[own] - p.by_value[at].probabilities()[own]
        });
        let sizes: Vec<f64> = effects.iter().map(|effect| effect.abs()).collect();
        let own = answers
            .prompted
            .iter()
            .position(|name| name.to_lowercase() == value);
        if let Some(own) = own {
            // The value that is none is no value to be taken for another; it stands last.
            let real = answers.prompted.len().saturating_sub(1).max(own + 1);
            signed.push((effects[..real].to_vec(), own));
            absolute.push((sizes[..real].to_vec(), own));
        }
        let profile = mean(
            &of_value
                .iter()
                .map(|p| support(&p.neutral))
                .collect::<Vec<_>>(),
        );
        values.insert(
            value.to_owned(),
            ValueSteering {
                portraits: of_value.len(),
                profile,
                centred: profile - mean(&all),
                study_rank: own.map(|own| rising_rank(&moved, own)),
                rank: own.map(|own| falling_mid_rank(&effects, own)),
                absolute_rank: own.map(|own| falling_mid_rank(&sizes, own)),
                effects,
            },
        );
    }
    let ranks = |read: &dyn Fn(&ValueSteering) -> Option<f64>| {
        RankSummary::of(&values.values().filter_map(read).collect::<Vec<_>>())
    };
    let own: Vec<f64> = signed.iter().map(|(effects, own)| effects[*own]).collect();
    let others: Vec<f64> = signed
        .iter()
        .flat_map(|(effects, own)| {
            let others = effects.iter().enumerate().filter(move |(at, _)| at != own);
            others.map(|(_, effect)| *effect)
        })
        .collect();
    Steering {
        portraits: answers.portraits.len(),
        label_mass: answers.label_mass,
        prompted: answers.prompted.clone(),
        study_rank: ranks(&|value| value.study_rank.map(|rank| rank as f64)),
        rank: ranks(&|value| value.rank),
        absolute_rank: ranks(&|value| value.absolute_rank),
        own_effect: (!own.is_empty()).then(|| mean(&own)),
        other_effect: (!others.is_empty()).then(|| mean(&others)),
        p_value: matching_test(&signed, seed),
        absolute_p_value: matching_test(&absolute, seed),
        values,
    }
}

impl RankSummary {
    fn of(ranks: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(ranks)?,
            least: ranks.iter().copied().reduce(f64::min)?,
            largest: ranks.iter().copied().reduce(f64::max)?,
        })
    }
}

/// How many values are smaller, or equal and before it.
fn rising_rank(values: &[f64], own: usize) -> usize {
    let before = |(at, value): &(usize, &f64)| {
        **value < values[own] || (**value <= values[own] && *at < own)
    };
    values.iter().enumerate().filter(before).count()
}

/// How many values are larger, and half of those that are equal.
fn falling_mid_rank(values: &[f64], own: usize) -> f64 {
    let larger = values.iter().filter(|value| **value > values[own]).count();
    let equal = values
        .iter()
        .filter(|value| (**value - values[own]).abs() == 0.0)
        .count();
    larger as f64 + (equal - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Portraits of two values, prompted by three and by none; the own value moves answers by `own`, others by `other`.
    fn made_up(own: f64, other: f64) -> PortraitAnswers {
        let answer = |p: f64| Distribution::binary(p).unwrap();
        let portrait = |value: &str, neutral: f64, at: usize| PortraitAnswer {
            value: value.into(),
            neutral: answer(neutral),
            by_value: (0..4)
                .map(|v| {
                    answer(
                        neutral
                            + if v == at {
                                own
                            } else {
                                other * (v + 1) as f64 / 4.0
                            },
                    )
                })
                .collect(),
        };
        PortraitAnswers {
            file: "pvq_x".into(),
            language: "x".into(),
            label_mass: 1.0,
            prompted: ["Power", "Security", "Hedonism", "Static"]
                .map(str::to_owned)
                .into(),
            portraits: vec![
                portrait("power", 0.4, 0),
                portrait("power", 0.2, 0),
                portrait("hedonism", 0.6, 2),
            ],
        }
    }

    #[test]
    fn an_own_value_that_moves_answers_is_found() {
        let found = steering(&made_up(0.3, 0.1), 0);
        let power = &found.values["power"];
        assert_eq!(power.portraits, 2);
        assert!((power.profile - 0.3).abs() < 1e-12);
        assert!((power.centred - (0.3 - 0.4)).abs() < 1e-12);
        assert!((power.effects[0] - 0.3).abs() < 1e-12 && (power.effects[3] - 0.1).abs() < 1e-12);
        // Without a value the answer is "not like me": the own value moves it farthest away, which is the last rank.
        assert_eq!(power.study_rank, Some(3));
        assert_eq!((power.rank, power.absolute_rank), (Some(0.0), Some(0.0)));
        // Where it was "like me" before, being steered strengthens it, which the study's rank takes for the opposite.
        assert_eq!(found.values["hedonism"].study_rank, Some(0));
        assert_eq!(
            found.rank,
            Some(RankSummary {
                median: 0.0,
                least: 0.0,
                largest: 0.0
            })
        );
        assert!((found.own_effect.unwrap() - 0.3).abs() < 1e-12);
        assert!(
            found.p_value.unwrap() > 0.05,
            "two values of three cannot be significant: {found:?}"
        );
    }

    #[test]
    fn ties_go_to_the_first_and_share_places() {
        assert_eq!(rising_rank(&[0.1, 0.1, 0.0, 0.1], 1), 2);
        assert!((falling_mid_rank(&[0.1, 0.1, 0.0, 0.1], 1) - 1.0).abs() < 1e-12);
        let still = steering(&made_up(0.0, 0.0), 0);
        assert_eq!(still.p_value, Some(1.0));
    }
}
