//! Readings of checkpoints whose answers are known by construction, for tests.

use super::name;
use super::plan::{Options, plan, plan_stances, plan_texts};
use crate::Readings;
use concord_questions::{Question, QuestionSet, Stance, Stimuli};
use concord_readings::{
    Answer, Continuation, Finish, Generation, Input, LabelReading, LogProb, Nats, NextToken,
    Probability, Prompt, PromptKey, Read, Reading, Spelling, TokenReading,
};
use concord_readings::{Form, PromptStyle};
use std::collections::{BTreeMap, HashMap};

/// A checkpoint by its rules.
pub struct SyntheticCheckpoint {
    /// The probability of the letter at a place of the order shown, of so many; they sum to 1.
    pub letter: fn(usize, usize) -> f64,
    /// The probability of supporting a question by its letter, which goes before `letter` where it is given.
    pub supports: Option<fn(&str, &Question) -> f64>,
    /// The probability of an option's text.
    pub text: fn(&Question, usize) -> f64,
    /// What it writes.
    pub writes: fn(&str) -> (&'static str, Finish),
    /// The probability that a text supports, as it reads it.
    pub reads: fn(&str) -> f64,
    /// The probability of "like me" for a portrait of a value, by a value.
    pub portrait: fn(&str, &str) -> f64,
    /// The probability of all letters together.
    pub mass: f64,
}

impl Default for SyntheticCheckpoint {
    fn default() -> Self {
        Self {
            letter: |_, count| 1.0 / count as f64,
            supports: None,
            text: |_, _| 0.5,
            writes: |_| {
                (
                    "There is much to say for and against it.",
                    Finish::EndOfText,
                )
            },
            reads: |_| 0.5,
            portrait: |_, _| 0.5,
            mass: 0.5,
        }
    }
}

fn log(p: f64) -> LogProb {
    LogProb::new(p.max(1e-300).ln()).unwrap()
}

impl SyntheticCheckpoint {
    fn letters(&self, probabilities: &[f64]) -> Answer {
        let letter = |at: usize| char::from(b'A' + u8::try_from(at).unwrap()).to_string();
        let labels = probabilities
            .iter()
            .enumerate()
            .map(|(at, p)| LabelReading {
                label: letter(at),
                log_prob: log(p * self.mass),
                spellings: vec![Spelling {
                    text: format!(" {}", letter(at)),
                    tokens: vec![u32::try_from(at).unwrap()],
                    log_prob: log(p * self.mass),
                    at_most: false,
                }],
            });
        let top = probabilities
            .iter()
            .enumerate()
            .map(|(at, p)| TokenReading {
                token: u32::try_from(at).unwrap(),
                text: letter(at),
                log_prob: log(p * self.mass),
            });
        Answer::NextToken(NextToken {
            labels: labels.collect(),
            label_mass: Probability::new(self.mass).unwrap(),
            entropy: Nats::new(1.0).unwrap(),
            top: top.collect(),
            top_is_label: true,
            not_shown: None,
        })
    }

    /// Letters of a prompt about options, by what it supports.
    fn by_stance(
        &self,
        p: f64,
        options: &[(String, Stance)],
        reversed: bool,
        labels: usize,
    ) -> Answer {
        let place = |at: usize| if reversed { options.len() - 1 - at } else { at };
        let of: Vec<f64> = (0..labels)
            .map(|at| {
                match options
                    .get(place(at.min(options.len() - 1)))
                    .filter(|_| at < options.len())
                {
                    Some((_, Stance::Supports)) => p,
                    Some((_, Stance::Opposes)) => 1.0 - p,
                    _ => 0.0,
                }
            })
            .collect();
        self.letters(&of)
    }

    fn answer(&self, set: &QuestionSet, prompt: &Prompt) -> Reading {
        let key: PromptKey = prompt.id.parse().unwrap();
        let (file, row) = key.item.split_once('/').unwrap();
        let row = row.parse::<usize>().unwrap();
        let reversed = [key.condition("order"), key.condition("read")].contains(&Some("reversed"));
        let asked = set.files.iter().find(|known| known.name == file);
        let question = asked.map(|file| &file.questions[row]);
        let mut texts = 0;
        let answers = prompt.reads.iter().map(|read| match read {
            Read::NextToken { labels, .. } => {
                let count = labels.len();
                if let Some(value) = key.condition("value") {
                    let pvq = set.pvq.iter().find(|known| known.name == file).unwrap();
                    let item = &pvq.items[row];
                    let p = (self.portrait)(&item.schwartz_value, value);
                    return self.by_stance(p, &item.options, reversed, count);
                }
                let question = question.unwrap();
                if matches!(key.condition("written"), Some("passage" | "argued")) {
                    let said = match &prompt.input {
                        Input::Conversation(messages) | Input::Prefilled { messages, .. } => {
                            messages.last().unwrap().content.clone()
                        }
                        Input::Text(text) => text.clone(),
                    };
                    return self.by_stance((self.reads)(&said), &question.options, reversed, count);
                }
                if let Some(supports) = self.supports {
                    let p = supports(file, question);
                    return self.by_stance(p, &question.options, reversed, count);
                }
                let of: Vec<f64> = (0..count).map(|at| (self.letter)(at, count)).collect();
                self.letters(&of)
            }
            Read::Continuation { text } => {
                let question = question.unwrap();
                let last = question.options.len() - 1;
                let option = if reversed { last - texts } else { texts };
                texts += 1;
                Answer::Continuation(Continuation {
                    text: text.clone(),
                    log_prob: log((self.text)(question, option)),
                    tokens: vec![],
                    bytes: text.len(),
                    joint_tokens_differ: false,
                })
            }
            Read::Strings(strings) => panic!("no study asks for {strings:?}"),
            Read::Generation(_) => {
                let (text, finish) = (self.writes)(&prompt.id);
                Answer::Generation(Generation {
                    text: text.to_owned(),
                    tokens: vec![],
                    log_probs: vec![],
                    finish,
                })
            }
        });
        Reading {
            id: prompt.id.clone(),
            tokens: 9,
            answers: answers.collect(),
        }
    }
}

/// Everything that a made-up checkpoint answers to a study, itself as rater.
pub fn readings(set: &QuestionSet, options: &Options, made_up: &SyntheticCheckpoint) -> Readings {
    readings_by(set, options, made_up, &[("itself", made_up)])
}

/// The same with other raters.
pub fn readings_by(
    set: &QuestionSet,
    options: &Options,
    made_up: &SyntheticCheckpoint,
    raters: &[(&str, &SyntheticCheckpoint)],
) -> Readings {
    let stimuli = Stimuli::own().unwrap();
    let style = PromptStyle {
        form: Form::Chat,
        lead: "",
    };
    let of = |made_up: &SyntheticCheckpoint, prompts: Vec<Prompt>| -> HashMap<String, Reading> {
        let readings = prompts.iter().map(|prompt| made_up.answer(set, prompt));
        readings
            .map(|reading| (reading.id.clone(), reading))
            .collect()
    };
    let others = [Stimuli::paraphrased().unwrap()];
    let texts = of(made_up, plan_texts(set, &stimuli, style, options).unwrap());
    let mut stances = BTreeMap::new();
    for (name, rater) in raters {
        let asked = plan_stances(set, &stimuli, style, options, &texts).unwrap();
        if !asked.is_empty() {
            stances.insert((*name).to_owned(), of(rater, asked));
        }
    }
    let prompts = plan(set, &stimuli, &others, style, options).unwrap();
    let rounds = [(name::READINGS, of(made_up, prompts)), (name::TEXTS, texts)];
    Readings {
        rounds: rounds.map(|(name, round)| (name.to_owned(), round)).into(),
        ratings: BTreeMap::from([(name::STANCES.to_owned(), stances)]),
    }
}
