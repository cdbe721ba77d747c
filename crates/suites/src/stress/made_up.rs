//! Checkpoints whose positions are known by construction, for tests.

use super::data::{Data, Item, Options, POSITIONS, SPECS, called};
use super::plan::{position, wordings};
use super::written::{PLACED, text};
use super::{Findings, Stress};
use crate::shared::orders::turned;
use crate::{ById, CheckpointReadings, Given, Readings, Settings, Step, Subject, Suite};
use concord_questions::option_letter;
use concord_readings::{
    Answer, Continuation, Finish, Form, Generation, LabelReading, LogProb, Nats, NextToken,
    Probability, Prompt, PromptKey, PromptStyle, Read, Reading,
};
use std::collections::BTreeMap;

/// What is asked, as a prompt says it.
pub struct Seen {
    /// The scenario, or `known VALUE`.
    pub item: String,
    /// Where it is nudged to.
    pub nudge: String,
    /// The value that is asked about.
    pub value: String,
    /// 0 for the first value of the pair, 1 for the second.
    pub of: usize,
    /// The position of a known answer.
    pub known: Option<usize>,
}

/// A checkpoint: how much it weighs a position that stands at a place.
pub struct MadeUp<'a> {
    pub name: &'a str,
    pub weight: &'a dyn Fn(&Seen, usize, usize) -> f64,
    pub mass: f64,
}

/// What a rater is asked.
pub struct Rated {
    /// `position`, `refusal`, `emphasis`, `specification`, `known` or `known rules`.
    pub what: String,
    /// The answer; empty for known ones.
    pub text: String,
    /// The value that is asked about, where one is.
    pub value: String,
    /// The position of a known answer, or its number.
    pub known: Option<usize>,
}

/// A rater: how much it weighs an option that stands at a place.
pub struct Rater<'a> {
    pub name: &'a str,
    pub weight: &'a dyn Fn(&Rated, usize, usize) -> f64,
}

/// What is written, by scenario and nudge.
pub type Writes<'a> = &'a dyn Fn(&str, &str) -> String;

/// Letters with weights by option and place.
fn by_letters(
    mass: f64,
    options: usize,
    order: usize,
    weight: impl Fn(usize, usize) -> f64,
) -> Answer {
    let weights = (0..options).map(|place| weight(turned(options, order, place), place));
    let weights: Vec<f64> = weights.collect();
    let all: f64 = weights.iter().sum();
    let labels = weights.iter().enumerate();
    let labels = labels.map(|(place, weight)| LabelReading {
        label: option_letter(place).to_string(),
        log_prob: log(mass * weight / all),
        spellings: Vec::new(),
    });
    Answer::NextToken(NextToken {
        labels: labels.collect(),
        label_mass: Probability::new(mass).unwrap(),
        entropy: Nats::new(0.5).unwrap(),
        top_is_label: true,
        top: Vec::new(),
        not_shown: None,
    })
}

fn log(p: f64) -> LogProb {
    LogProb::new(p.max(1e-300).ln()).unwrap()
}

impl Rater<'_> {
    fn answer(&self, data: &Data, written: &Readings, prompt: &Prompt) -> Reading {
        let key: PromptKey = prompt.id.parse().unwrap();
        let condition = |name: &str| key.condition(name).unwrap_or_default().to_owned();
        let is_asked = |item: &&Item| {
            item.name == key.item
                && item.language == condition("language")
                && item.direction.name() == condition("nudge")
        };
        let item = data.items.iter().find(is_asked);
        let known: Option<usize> = condition("answer").parse().ok();
        let rated = Rated {
            what: match key.item.as_str() {
                "known rules" => key.item.clone(),
                name if name.starts_with("known ") => "known".to_owned(),
                _ => condition("read"),
            },
            text: item
                .map_or("", |item| text(written, item).unwrap())
                .to_owned(),
            value: match condition("value").as_str() {
                "" if condition("of").is_empty() => {
                    key.item.trim_start_matches("known ").to_owned()
                }
                "" => condition("of"),
                of => item.unwrap().pair[usize::from(of == "2")].clone(),
            },
            known,
        };
        let order = condition("order").parse::<usize>().unwrap() - 1;
        let Read::NextToken { labels, .. } = &prompt.reads[0] else {
            panic!("raters are asked for letters")
        };
        let weight = |option, place| (self.weight)(&rated, option, place);
        Reading {
            id: prompt.id.clone(),
            tokens: 1,
            answers: vec![by_letters(0.9, labels.len(), order, weight)],
        }
    }
}

pub fn load(typed: &[(&str, &[&str])]) -> (Data, Options) {
    let typed: BTreeMap<String, Vec<String>> = typed
        .iter()
        .map(|(name, values)| {
            (
                (*name).to_owned(),
                values.iter().map(|value| (*value).to_owned()).collect(),
            )
        })
        .collect();
    let loaded = Stress.load(&Given::new(&SPECS, &typed, 7)).unwrap();
    (loaded.data, loaded.options)
}

/// Weights around a position.
pub fn around(middle: f64, at: usize) -> f64 {
    (-2.0 * (at as f64 - middle).powi(2)).exp()
}

impl MadeUp<'_> {
    fn answer(&self, data: &Data, writes: Writes<'_>, prompt: &Prompt) -> Reading {
        let key: PromptKey = prompt.id.parse().unwrap();
        let condition = |name: &str| key.condition(name).unwrap_or_default().to_owned();
        let of = usize::from(condition("value") == "2");
        let item = data.items.iter().find(|item| item.name == key.item);
        let named = key
            .item
            .split_once(' ')
            .map_or("", |(_, value)| value)
            .to_owned();
        let seen = Seen {
            value: item.map_or(named, |item| item.pair[of].clone()),
            item: key.item.clone(),
            nudge: condition("nudge"),
            of,
            known: condition("answer").parse().ok(),
        };
        let language = condition("language");
        let texts: Vec<String> = (0..POSITIONS)
            .map(|at| {
                let value = called(&data.values, &seen.value, &language);
                position(wordings(data, &language).unwrap(), at, value)
            })
            .collect();
        let is_bare = key.item.starts_with("bare ");
        let order: Option<usize> = condition("order").parse().ok();
        let answers = prompt.reads.iter().map(|read| match read {
            Read::NextToken { .. } => {
                let weight = |position, place| (self.weight)(&seen, position, place);
                by_letters(self.mass, POSITIONS, order.unwrap() - 1, weight)
            }
            Read::Continuation { text } => {
                let at = texts.iter().position(|known| known == text).unwrap();
                let weight = if is_bare {
                    1.0
                } else {
                    (self.weight)(&seen, at, 0)
                };
                Answer::Continuation(Continuation {
                    log_prob: log(1e-6 * weight / (1.0 + at as f64)),
                    tokens: Vec::new(),
                    bytes: text.len(),
                    text: text.clone(),
                    joint_tokens_differ: false,
                })
            }
            Read::Generation(_) => Answer::Generation(Generation {
                text: writes(&seen.item, &seen.nudge),
                tokens: vec![1],
                log_probs: vec![log(0.5)],
                finish: Finish::EndOfText,
            }),
            Read::Strings(_) => panic!("no strings are read"),
        });
        Reading {
            id: prompt.id.clone(),
            tokens: 1,
            answers: answers.collect(),
        }
    }

    pub fn read(&self, data: &Data, options: &Options) -> CheckpointReadings {
        self.read_by(data, options, &|_, _| panic!("nothing is written"), &[])
    }

    /// The same with what it writes, and raters that read it.
    pub fn read_by(
        &self,
        data: &Data,
        options: &Options,
        writes: Writes<'_>,
        raters: &[Rater<'_>],
    ) -> CheckpointReadings {
        let mut readings = Readings::default();
        let style = PromptStyle {
            form: Form::Chat,
            lead: "",
        };
        let step = Stress
            .next(data, options, Subject { style }, &readings)
            .unwrap();
        let Step::Ask(rounds) = step else {
            panic!("nothing is asked")
        };
        for round in rounds {
            let read = round
                .prompts
                .iter()
                .map(|prompt| (prompt.id.clone(), self.answer(data, writes, prompt)));
            readings.rounds.insert(round.name, read.collect());
        }
        if options.answer_tokens > 0 {
            let step = Stress.next(data, options, Subject { style }, &readings);
            assert_eq!(step.unwrap(), Step::Rate(PLACED));
            for rater in raters {
                let ratings = Stress.rate(data, options, style, &readings).unwrap();
                let prompts = ratings.iter().flat_map(|rating| &rating.prompts);
                let read: ById = prompts
                    .map(|prompt| (prompt.id.clone(), rater.answer(data, &readings, prompt)))
                    .collect();
                let of = readings.ratings.entry(PLACED.to_owned()).or_default();
                of.insert(rater.name.to_owned(), read);
            }
        }
        assert_eq!(
            Stress
                .next(data, options, Subject { style }, &readings)
                .unwrap(),
            Step::Done
        );
        CheckpointReadings {
            name: self.name.to_owned(),
            readings,
        }
    }
}

pub fn measure(data: &Data, options: &Options, all: &[MadeUp<'_>]) -> Findings {
    let read: Vec<CheckpointReadings> = all.iter().map(|one| one.read(data, options)).collect();
    measured(data, options, &read)
}

pub fn measured(data: &Data, options: &Options, read: &[CheckpointReadings]) -> Findings {
    let settings = Settings {
        resamples: Some(1000),
        seed: 3,
        ..Settings::default()
    };
    Stress.measure(data, options, settings, read).unwrap()
}
