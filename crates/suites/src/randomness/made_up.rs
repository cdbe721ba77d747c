//! Checkpoints whose answers are known by construction, for tests.

use super::options::{Data, Options, SPECS};
use super::{Findings, Randomness};
use crate::{
    CheckpointReadings, Given, Readings, Round, Settings, Step, Subject, Suite, SuiteError,
};
use concord_readings::{
    Answer, EndedSpelling, Finish, Form, Generation, Input, LogProb, Probability, Prompt,
    PromptKey, PromptStyle, Read, Reading, StringReading, StringsReading,
};
use std::collections::BTreeMap;

/// A checkpoint by its table: what a text weighs after a prompt.
pub struct MadeUp<'a> {
    pub weight: &'a dyn Fn(&Asked<'_>, &str) -> f64,
    /// The probability of all members together, after a prompt.
    pub mass: &'a dyn Fn(&Asked<'_>) -> f64,
}

/// A prompt as a table sees it.
pub struct Asked<'a> {
    pub key: PromptKey,
    pub prompt: &'a Prompt,
}

impl Asked<'_> {
    /// What came before, by name.
    pub fn history(&self) -> Vec<&str> {
        let history = self.key.condition("history").unwrap_or_default();
        history.split(',').filter(|name| !name.is_empty()).collect()
    }

    /// The whole text that is seen.
    pub fn text(&self) -> String {
        match &self.prompt.input {
            Input::Conversation(messages) => messages[0].content.clone(),
            Input::Prefilled { messages, prefill } => format!("{}\n{prefill}", messages[0].content),
            Input::Text(text) => text.clone(),
        }
    }
}

fn log(p: f64) -> LogProb {
    LogProb::new(p.max(1e-300).ln()).unwrap()
}

impl MadeUp<'_> {
    pub fn answer(&self, prompt: &Prompt) -> Reading {
        let key = prompt.id.parse().unwrap();
        let asked = Asked { key, prompt };
        let answers = prompt.reads.iter().map(|read| match read {
            Read::Strings(strings) => {
                let weights = strings.texts.iter().map(|text| (self.weight)(&asked, text));
                let weights: Vec<f64> = weights.collect();
                let (total, mass) = (weights.iter().sum::<f64>(), (self.mass)(&asked));
                let texts = strings.texts.iter().zip(&weights).map(|(text, weight)| {
                    let log_prob = log(mass * weight / total);
                    StringReading {
                        text: text.clone(),
                        log_prob,
                        spellings: vec![EndedSpelling {
                            text: text.clone(),
                            tokens: vec![0],
                            log_prob,
                            ended: Probability::new(1.0).unwrap(),
                        }],
                    }
                });
                Answer::Strings(StringsReading {
                    texts: texts.collect(),
                    mass: Probability::new(mass).unwrap(),
                    left_out: 0,
                })
            }
            Read::Generation(sampling) => Answer::Generation(Generation {
                text: format!(
                    "The sea is wide and blue\nand number {} is new",
                    sampling.seed % 2
                ),
                tokens: vec![1, 2],
                log_probs: vec![log(0.5), log(0.125)],
                finish: Finish::EndOfText,
            }),
            other => unreachable!("the study reads no {other:?}"),
        });
        Reading {
            id: prompt.id.clone(),
            tokens: 9,
            answers: answers.collect(),
        }
    }
}

pub fn style(form: Form) -> PromptStyle {
    PromptStyle { form, lead: "" }
}

/// Options as a user gives them.
pub fn given(typed: &[(&str, &[&str])], seed: u64) -> Given {
    let typed: BTreeMap<String, Vec<String>> = typed
        .iter()
        .map(|(name, values)| {
            let values = values.iter().map(|value| (*value).to_owned());
            ((*name).to_owned(), values.collect())
        })
        .collect();
    Given::new(&SPECS, &typed, seed)
}

/// Data and options as a user gives them.
pub fn load(typed: &[(&str, &[&str])], seed: u64) -> (Data, Options) {
    let loaded = Randomness.load(&given(typed, seed)).unwrap();
    (loaded.data, loaded.options)
}

pub fn next(
    data: &Data,
    options: &Options,
    form: Form,
    so_far: &Readings,
) -> Result<Step, SuiteError> {
    let subject = Subject { style: style(form) };
    Randomness.next(data, options, subject, so_far)
}

/// Asks until there is nothing left to ask: what was asked, and what was read.
pub fn run(
    data: &Data,
    options: &Options,
    form: Form,
    made_up: &MadeUp<'_>,
) -> (Vec<Round>, Readings) {
    let (mut asked, mut read) = (Vec::new(), Readings::default());
    while let Step::Ask(rounds) = next(data, options, form, &read).unwrap() {
        for round in &rounds {
            let readings = round.prompts.iter().map(|prompt| made_up.answer(prompt));
            let readings = readings.map(|reading| (reading.id.clone(), reading));
            read.rounds.insert(round.name.clone(), readings.collect());
        }
        asked.extend(rounds);
    }
    (asked, read)
}

/// Measures checkpoints that were read.
pub fn measure(data: &Data, options: &Options, read: &[(&str, &Readings)]) -> Findings {
    let read: Vec<CheckpointReadings> = read
        .iter()
        .map(|(name, readings)| CheckpointReadings {
            name: (*name).to_owned(),
            readings: (*readings).clone(),
        })
        .collect();
    Randomness
        .measure(data, options, Settings::default(), &read)
        .unwrap()
}

/// What is found of one made-up checkpoint.
pub fn found(
    typed: &[(&str, &[&str])],
    weight: &dyn Fn(&Asked<'_>, &str) -> f64,
    mass: &dyn Fn(&Asked<'_>) -> f64,
) -> Findings {
    let (data, options) = load(typed, 3);
    let (_, read) = run(&data, &options, Form::Chat, &MadeUp { weight, mass });
    measure(&data, &options, &[("made up", &read)])
}
