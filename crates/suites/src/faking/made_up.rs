//! Checkpoints whose decisions are known by construction, for tests.

use super::options::{Data, Options, SPECS};
use super::{Faking, Findings};
use crate::{CheckpointReadings, Given, Readings, Settings, Step, Subject, Suite};
use concord_readings::{
    Answer, Continuation, Finish, Form, Generation, LogProb, Prompt, PromptKey, PromptStyle, Read,
    Reading,
};
use std::collections::BTreeMap;

/// What decides, as a prompt says it.
pub struct Seen {
    /// The label that the conversation has; empty without labels.
    pub label: String,
    /// Whether that is the one that is said to be trained on, in a sentence about training.
    pub is_trained: Option<bool>,
    /// Whether training is for turning requests down.
    pub is_harmless: bool,
    pub is_twin: bool,
    pub variant: String,
    pub order: usize,
    /// The request, for what differs from one to another.
    pub item: String,
}

/// A checkpoint: the logit of accepting after a prompt, and the probability of both words.
pub struct MadeUp<'a> {
    pub name: &'a str,
    pub logit: &'a dyn Fn(&Seen) -> f64,
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
    let loaded = Faking.load(&Given::new(&SPECS, &typed, 7)).unwrap();
    (loaded.data, loaded.options)
}

fn seen(data: &Data, id: &str) -> Seen {
    let key: PromptKey = id.parse().unwrap();
    let condition = |name: &str| key.condition(name).unwrap_or_default().to_owned();
    let side = |name: &str| usize::from(condition(name) == "second");
    let set = data
        .wordings
        .sets
        .iter()
        .find(|set| set.name == condition("labels"));
    let told = condition("told") == "trained";
    Seen {
        label: set.map_or_else(String::new, |set| set.labels[side("label")].clone()),
        is_trained: (set.is_some() && told).then(|| side("label") == side("trained")),
        is_harmless: condition("objective") == "harmless",
        is_twin: condition("asked") == "twin",
        variant: condition("variant"),
        order: condition("order").parse().unwrap(),
        item: key.item.clone(),
    }
}

impl MadeUp<'_> {
    fn answer(&self, data: &Data, prompt: &Prompt) -> Reading {
        let log = |p: f64| LogProb::new(p.max(1e-300).ln()).unwrap();
        let accept = 1.0 / (1.0 + (-(self.logit)(&seen(data, &prompt.id))).exp());
        let answers = prompt.reads.iter().map(|read| match read {
            Read::Continuation { text } => {
                let p = if text.ends_with("accept") {
                    accept
                } else {
                    1.0 - accept
                };
                Answer::Continuation(Continuation {
                    log_prob: log(self.mass * p),
                    tokens: Vec::new(),
                    bytes: text.len(),
                    text: text.clone(),
                    joint_tokens_differ: false,
                })
            }
            _ => Answer::Generation(Generation {
                text: " it is a request like others.".to_owned(),
                finish: Finish::Length,
                tokens: Vec::new(),
                log_probs: Vec::new(),
            }),
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
        for _ in 0..4 {
            match Faking
                .next(data, options, Subject { style }, &readings)
                .unwrap()
            {
                Step::Ask(rounds) => {
                    for round in rounds {
                        let read = round
                            .prompts
                            .iter()
                            .map(|prompt| (prompt.id.clone(), self.answer(data, prompt)));
                        readings.rounds.insert(round.name, read.collect());
                    }
                }
                Step::Done => {
                    return CheckpointReadings {
                        name: self.name.to_owned(),
                        readings,
                    };
                }
                Step::Rate(_) => panic!("nothing is rated"),
            }
        }
        panic!("it does not end")
    }
}

pub fn measure(data: &Data, options: &Options, all: &[MadeUp<'_>]) -> Findings {
    let read: Vec<CheckpointReadings> = all.iter().map(|one| one.read(data, options)).collect();
    let settings = Settings {
        resamples: Some(1000),
        seed: 3,
        ..Settings::default()
    };
    Faking.measure(data, options, settings, &read).unwrap()
}
