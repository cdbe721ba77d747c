//! Checkpoints whose beginnings are known by construction, for tests.

use super::design::{Profile, profiles};
use super::options::{Data, Options, SPECS};
use super::{Findings, Profiles};
use crate::{CheckpointReadings, Given, Readings, Settings, Step, Subject, Suite};
use concord_readings::{
    Answer, Continuation, Form, LabelReading, LogProb, Nats, NextToken, Probability, Prompt,
    PromptKey, PromptStyle, Read, Reading,
};
use std::collections::BTreeMap;

/// What decides, as a prompt says it.
pub struct Seen {
    /// The scores of the profile, by name.
    pub scores: BTreeMap<String, f64>,
    /// What is said after it.
    pub then: String,
    pub is_twin: bool,
    /// The request, or the value of a portrait.
    pub item: String,
    /// The name of the profile.
    pub profile: String,
}

impl Seen {
    /// The score of a value; that of no matter where the profile has none.
    pub fn score(&self, value: &str) -> f64 {
        self.scores.get(value).copied().unwrap_or(3.5)
    }
}

/// A checkpoint: log-odds of complying, and those of a portrait being like it.
pub struct MadeUp<'a> {
    pub name: &'a str,
    pub complies: &'a dyn Fn(&Seen) -> f64,
    pub like: &'a dyn Fn(&Seen, &str) -> f64,
    pub mass: f64,
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
    let loaded = Profiles.load(&Given::new(&SPECS, &typed, 7)).unwrap();
    (loaded.data, loaded.options)
}

fn log(p: f64) -> LogProb {
    LogProb::new(p.max(1e-300).ln()).unwrap()
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl MadeUp<'_> {
    fn answer(&self, data: &Data, all: &[Profile], prompt: &Prompt) -> Reading {
        let key: PromptKey = prompt.id.parse().unwrap();
        let condition = |name: &str| key.condition(name).unwrap_or_default().to_owned();
        let profile = all
            .iter()
            .find(|profile| profile.name == condition("profile"))
            .unwrap();
        let seen = Seen {
            scores: profile.lines.iter().cloned().collect(),
            then: condition("then"),
            is_twin: condition("asked") == "twin",
            item: key.item.clone(),
            profile: profile.name.clone(),
        };
        let answers = prompt.reads.iter().map(|read| match read {
            Read::Continuation { text } => {
                let complies = logistic((self.complies)(&seen));
                let is_complying = data.wordings.complying.contains(text);
                let share = if is_complying {
                    complies
                } else {
                    1.0 - complies
                };
                let log_prob = log(self.mass * share / data.wordings.complying.len() as f64);
                Answer::Continuation(Continuation {
                    log_prob,
                    tokens: Vec::new(),
                    bytes: text.len(),
                    text: text.clone(),
                    joint_tokens_differ: false,
                })
            }
            Read::NextToken { .. } => {
                let value = key
                    .item
                    .trim_start_matches("portrait ")
                    .split('/')
                    .next()
                    .unwrap();
                let like = logistic((self.like)(&seen, value));
                let p = if condition("order") == "1" {
                    [like, 1.0 - like]
                } else {
                    [1.0 - like, like]
                };
                let labels = ["A", "B"]
                    .into_iter()
                    .zip(p)
                    .map(|(label, p)| LabelReading {
                        label: label.to_owned(),
                        log_prob: log(p),
                        spellings: Vec::new(),
                    });
                Answer::NextToken(NextToken {
                    labels: labels.collect(),
                    label_mass: Probability::new(1.0).unwrap(),
                    entropy: Nats::new(0.5).unwrap(),
                    top_is_label: true,
                    top: Vec::new(),
                    not_shown: None,
                })
            }
            _ => panic!("nothing else is read"),
        });
        Reading {
            id: prompt.id.clone(),
            tokens: 1,
            answers: answers.collect(),
        }
    }

    pub fn read(&self, data: &Data, options: &Options) -> CheckpointReadings {
        let mut readings = Readings::default();
        let style = PromptStyle {
            form: Form::Chat,
            lead: "",
        };
        let all = profiles(data, options);
        let Step::Ask(rounds) = Profiles
            .next(data, options, Subject { style }, &readings)
            .unwrap()
        else {
            panic!("nothing is asked")
        };
        for round in rounds {
            let read = round
                .prompts
                .iter()
                .map(|prompt| (prompt.id.clone(), self.answer(data, &all, prompt)));
            readings.rounds.insert(round.name, read.collect());
        }
        assert_eq!(
            Profiles
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
    let settings = Settings {
        resamples: Some(500),
        seed: 3,
        ..Settings::default()
    };
    Profiles.measure(data, options, settings, &read).unwrap()
}
