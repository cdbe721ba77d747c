//! The same numbers under labels: a preference for a number must vanish, or be one for a place.
//!
//! A relabelling is a random order of the numbers, shown turned on by every number of places. So each number stands under each
//! label equally often: what a checkpoint prefers of labels or places falls out of the mean for a number, and what it prefers
//! of numbers out of the mean for a place.

use super::languages::{ByLanguage, by_wording};
use super::name::{self, CARRIERS, Carrier, Place, places};
use super::options::{Data, LABELS, Options};
use super::outcome::outcome;
use super::plan::{leads, said, wordings};
use super::sets::Set;
use super::wordings::{Wording, fill};
use crate::shared::draw;
use crate::shared::estimate::estimate;
use crate::{Readings, Settings, SuiteError};
use concord_findings::{Estimate, Verdict};
use concord_readings::{End, Form, Prompt, Read, Strings};
use concord_stats::{mean, uniform_total_variation};
use serde::Serialize;

/// What a checkpoint chooses when numbers stand under labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaceboFindings {
    /// The set.
    pub set: String,
    /// Whether the answer is begun.
    pub carrier: Carrier,
    /// The valid mass of the labels; mean over wordings.
    pub mass: Estimate,
    /// Whether anything may be shown.
    pub verdict: Verdict,
    /// What was found, where it may.
    pub found: Option<PlaceboNumbers>,
}

/// What was found with labels. The unit is the wording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaceboNumbers {
    /// The probability of the label that stands for each number.
    pub values: Vec<f64>,
    /// The probability of each place.
    pub places: Vec<f64>,
    /// The number that is looked at, as a place in its set: 7, or the most probable one when asked directly.
    pub target: Option<usize>,
    /// The probability of its label.
    pub of_target: Option<Estimate>,
    /// The same less what it would be if no number were preferred, 1/n: above 0, the number is preferred behind any label.
    pub by_target: Option<Estimate>,
    /// The probability of the place that the number has in its set, less 1/n: above 0, the place is preferred with any number in it.
    pub by_its_place: Option<Estimate>,
    /// What a preference for it comes from.
    pub effect: Option<Effect>,
    /// How far the choice by number is from uniform: near 0 for a placebo that works.
    pub by_value: Estimate,
    /// How far the choice by place is.
    pub by_place: Estimate,
    /// Each wording.
    pub each: Vec<LabelledWording>,
}

/// What a preference for a number comes from, by the intervals of the two differences over wordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// From the number itself: it is chosen more or less often than 1/n behind any label.
    Number,
    /// From its place: the label that stands there is chosen more or less often than 1/n, and the number itself is not.
    Place,
    /// Neither can be told: both intervals hold 0, or there are too few wordings for one.
    NotTold,
}

impl Effect {
    fn of(by_target: &Estimate, by_its_place: &Estimate) -> Self {
        match (is_told(by_target), is_told(by_its_place)) {
            (true, _) => Self::Number,
            (false, true) => Self::Place,
            (false, false) => Self::NotTold,
        }
    }

    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::Number => "effect of the number itself",
            Self::Place => "effect of place",
            Self::NotTold => "none told",
        }
    }
}

/// Probabilities are read to about this much: what is nearer to 0 is 0.
const READ_TO: f64 = 1e-6;

/// Whether an interval lies on one side of 0.
fn is_told(difference: &Estimate) -> bool {
    difference
        .interval
        .is_some_and(|interval| interval.low > READ_TO || interval.high < -READ_TO)
}

/// What was found with labels in one wording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelledWording {
    /// Its language.
    pub language: String,
    /// Its number, from 1 on.
    pub wording: usize,
    /// The probability of the label that stands for each number.
    pub values: Vec<f64>,
    /// The probability of each place.
    pub places: Vec<f64>,
}

fn label(at: usize) -> String {
    char::from(b'A' + u8::try_from(at % LABELS).unwrap_or(0)).to_string()
}

/// The set whose numbers are labelled.
fn labelled<'a>(data: &'a Data, options: &Options) -> Option<&'a Set> {
    let set = data.numbers().filter(|_| options.relabellings > 0);
    set.filter(|set| set.members.len() <= LABELS)
}

fn placebo_places<'a>(data: &Data, options: &'a Options) -> Vec<Place<'a>> {
    places(data, &options.languages, |wordings| {
        options.limited(wordings.placebo.len())
    })
}

/// Which number stands in each place, under each shift of a relabelling.
fn orders(set: &Set, place: Place<'_>, relabelling: usize, options: &Options) -> Vec<Vec<usize>> {
    let numbers = [place.wording, relabelling].map(|number| number.to_string());
    let names = [
        "placebo",
        &set.name,
        place.language,
        &numbers[0],
        &numbers[1],
    ];
    let order = draw::order(options.seed, &names, set.members.len());
    let turned = |shift: usize| {
        let mut order = order.clone();
        order.rotate_left(shift);
        order
    };
    (0..order.len()).map(turned).collect()
}

/// Every relabelling in every shift.
pub(crate) fn plan(data: &Data, options: &Options, form: Form) -> Result<Vec<Prompt>, SuiteError> {
    let mut prompts = Vec::new();
    let Some(set) = labelled(data, options) else {
        return Ok(prompts);
    };
    let labels: Vec<String> = (0..set.members.len()).map(label).collect();
    for place in placebo_places(data, options) {
        let wordings = wordings(data, place.language)?;
        let Some(Wording(ask, begun)) = wordings.placebo.get(place.wording - 1) else {
            continue;
        };
        for relabelling in 0..options.relabellings {
            let orders = orders(set, place, relabelling, options);
            for (shift, order) in orders.iter().enumerate() {
                let shown = order.iter().zip(&labels).map(|(at, label)| {
                    let word = set.members[*at].word(place.language);
                    format!("{label}{}{word}", wordings.equals)
                });
                let shown: Vec<String> = shown.collect();
                let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
                let ask = fill(ask, &[("labels", &wordings.list(&shown))]);
                for carrier in CARRIERS {
                    let begun = (carrier == Carrier::Prefilled).then_some(begun.as_str());
                    let leads = leads(carrier).iter().map(|lead| (*lead).to_owned());
                    prompts.push(Prompt {
                        id: name::label(&set.name, place, carrier, [relabelling, shift]),
                        input: said(wordings, form, place, &ask, begun),
                        reads: vec![Read::Strings(Strings {
                            texts: labels.clone(),
                            leads: leads.collect(),
                            end: End::Letter,
                        })],
                    });
                }
            }
        }
    }
    Ok(prompts)
}

/// Measures the placebo of a checkpoint. `preferred` is the most probable number when asked directly, by carrier.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    readings: &Readings,
    preferred: impl Fn(Carrier) -> Option<usize>,
) -> Result<Vec<PlaceboFindings>, SuiteError> {
    let Some(set) = labelled(data, options) else {
        return Ok(Vec::new());
    };
    let found = CARRIERS.into_iter().map(|carrier| {
        let target = set.seven().or_else(|| preferred(carrier));
        measure_carrier(set, carrier, target, data, options, settings, readings)
    });
    found.collect()
}

fn measure_carrier(
    set: &Set,
    carrier: Carrier,
    target: Option<usize>,
    data: &Data,
    options: &Options,
    settings: Settings,
    readings: &Readings,
) -> Result<PlaceboFindings, SuiteError> {
    let count = set.members.len();
    let spelt: Vec<Vec<String>> = (0..count).map(|at| vec![label(at)]).collect();
    let share = 1.0 / (options.relabellings * count) as f64;
    let (mut each, mut masses) = (Vec::new(), Vec::new());
    for place in placebo_places(data, options) {
        let (mut values, mut by_place, mut mass) = (vec![0.0; count], vec![0.0; count], 0.0);
        for relabelling in 0..options.relabellings {
            let orders = orders(set, place, relabelling, options);
            for (shift, order) in orders.iter().enumerate() {
                let id = name::label(&set.name, place, carrier, [relabelling, shift]);
                let read = outcome(readings.round(name::PLACEBO), &id, &spelt)?;
                mass += share * read.mass;
                for (at, p) in read.p.iter().enumerate() {
                    values[order[at]] += share * p;
                    by_place[at] += share * p;
                }
            }
        }
        masses.push(mass);
        each.push(LabelledWording {
            language: place.language.to_owned(),
            wording: place.wording,
            values,
            places: by_place,
        });
    }
    let in_places = each.iter().zip(masses);
    let masses: Vec<(&str, usize, f64)> = in_places
        .map(|(of, mass): (&LabelledWording, f64)| (of.language.as_str(), of.wording, mass))
        .collect();
    let ByLanguage {
        mass,
        verdict,
        shown,
    } = ByLanguage::new(&masses, options.least_mass, settings);
    each.retain(|of| shown.contains(&of.language));
    let values = |of: &dyn Fn(&LabelledWording) -> f64| {
        by_wording(each.iter().map(|each| (each.wording, of(each))))
    };
    let over = |of: &dyn Fn(&LabelledWording) -> f64| estimate(&values(of), "wording", settings);
    let middle = |of: &dyn Fn(&LabelledWording) -> f64| mean(&values(of));
    let uniform = 1.0 / count as f64;
    let by_target = target.map(|at| over(&|of| of.values[at] - uniform));
    let by_its_place = target.map(|at| over(&|of| of.places[at] - uniform));
    let effect = by_target.as_ref().zip(by_its_place.as_ref());
    let found = verdict.is_measurable().then(|| PlaceboNumbers {
        effect: effect.map(|(number, place)| Effect::of(number, place)),
        values: (0..count).map(|at| middle(&|of| of.values[at])).collect(),
        places: (0..count).map(|at| middle(&|of| of.places[at])).collect(),
        target,
        of_target: target.map(|at| over(&|of| of.values[at])),
        by_target: by_target.clone(),
        by_its_place: by_its_place.clone(),
        by_value: over(&|of| uniform_total_variation(&of.values)),
        by_place: over(&|of| uniform_total_variation(&of.places)),
        each: each.clone(),
    });
    Ok(PlaceboFindings {
        set: set.name.clone(),
        carrier,
        mass,
        verdict,
        found,
    })
}
