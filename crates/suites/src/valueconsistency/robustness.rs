//! How far letters can be trusted, and what else moves them.

use super::answers::{AnswerTable, AnswersError, Source};
use super::name;
use super::open::LOW_MASS;
use super::plan::sampled;
use super::shown::{PresentedOptions, stated, truncated_letters};
use crate::shared::letters::{letters, next_token};
use concord_readings::{NextToken, Reading};
use concord_stats::{Distance, Distribution, mean};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How far the letters of one question can be trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowTrust {
    /// Mean probability of all spellings of all letters.
    pub label_mass: f64,
    /// Whether the most probable option changes with the order; absent where one order was asked.
    pub flips: Option<bool>,
    /// Mean probability of the first letter over both orders: one half without bias. Absent where one order was asked, or where
    /// there are more than two options, of which the middle ones keep their letters.
    pub first_letter: Option<f64>,
}

/// What one order of a question says about trust.
pub(crate) struct OrderTrust {
    /// Probability of all spellings of all letters.
    pub label_mass: f64,
    /// The most probable option, in file order; a tie has none.
    pub favourite: Option<usize>,
    /// Probability of the first letter among the letters.
    pub first: f64,
}

/// How far letters can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Robustness {
    /// Prompts read.
    pub prompts: usize,
    /// Mean probability of all spellings of all letters.
    pub label_mass: f64,
    /// Share of prompts with a label mass below one half.
    pub low_label_mass: f64,
    /// Mean share of the letters' probability that a server did not show, so that it is bounds alone. Absent where whole distributions were
    /// read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_shown: Option<f64>,
    /// Share of prompts whose most probable token spells a letter.
    pub first_token_valid: f64,
    /// Mean probability of the first letter against the other, over both orders of the questions with two options: one half
    /// without bias. Absent where only one order was asked.
    pub letter_prior: Option<f64>,
    /// Share of questions whose most probable option changes with the order. Absent where only one order was asked.
    pub flip_rate: Option<f64>,
    /// Mean entropy of the whole next-token distribution, in nats.
    pub entropy: f64,
    /// Share of answer texts whose tokens would differ if tokenised together with the prompt. Absent without cloze.
    pub joint_tokens_differ: Option<f64>,
    /// How letters are spelt: the share of the label mass of each spelling, `X` standing for the letter, largest first.
    pub spellings: Vec<SpellingShare>,
    /// What is lost by seeing only the five most probable tokens.
    pub top_five: TopFive,
    /// What it writes there.
    pub followed: Option<Followed>,
    /// What other words around the questions change, by wording.
    pub wordings: BTreeMap<String, WordingEffect>,
}

/// How much of the label mass one spelling has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpellingShare {
    /// The spelling, `X` standing for the letter.
    pub spelling: String,
    /// Its share.
    pub share: f64,
}

/// The study's reading of the five most probable tokens against the exact one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TopFive {
    /// Prompts where the probability of an option differs by more than 0.01.
    pub differ: usize,
    /// Prompts where another option is the most probable one, by name.
    pub other_answer: Vec<String>,
    /// The largest difference of a probability.
    pub largest_difference: f64,
}

/// What a checkpoint writes where its letter is read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Followed {
    /// Texts written.
    pub asked: usize,
    /// Texts that state an option.
    pub stated: usize,
    /// Texts that state the option whose letter is the most probable one.
    pub agree: usize,
}

/// The same questions in another wording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WordingEffect {
    /// Questions asked in both.
    pub questions: usize,
    /// Mean distance of the two answers to their centroid, square root of nats.
    pub distance: f64,
    /// Share of questions whose most probable stance is another.
    pub other_stance: f64,
    /// Mean change of the probability of support.
    pub support_change: f64,
}

/// Spellings that are listed; the others are summed up.
const SPELLINGS: usize = 6;

/// What is gathered as readings are gone through.
#[derive(Default)]
pub(crate) struct RobustnessStats {
    mass: Vec<f64>,
    doubt: Vec<f64>,
    is_partial: bool,
    valid: Vec<f64>,
    first: Vec<f64>,
    flips: Vec<f64>,
    entropy: Vec<f64>,
    differ: Vec<f64>,
    spellings: BTreeMap<String, f64>,
    top_five: Option<TopFive>,
    followed: Option<Followed>,
    wordings: BTreeMap<String, WordingEffect>,
}

fn share(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

impl RobustnessStats {
    pub fn add(&mut self, reading: &Reading, next: &NextToken, exact: &Distribution) {
        self.mass.push(next.label_mass.get());
        self.doubt.push(next.doubt());
        self.is_partial |= next.not_shown.is_some();
        self.valid.push(share(next.top_is_label));
        self.entropy.push(next.entropy.get());
        let texts = reading.continuations();
        self.differ
            .extend(texts.map(|text| share(text.joint_tokens_differ)));
        for label in &next.labels {
            for spelling in &label.spellings {
                let class = spelling.text.replace(&label.label, "X");
                *self.spellings.entry(class).or_default() += spelling.log_prob.get().exp();
            }
        }
        let Some(truncated) = truncated_letters(next) else {
            return;
        };
        let pairs = exact.probabilities().iter().zip(truncated.probabilities());
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let seen = self.top_five.get_or_insert_default();
        seen.differ += usize::from(difference > 0.01);
        if exact.mode() != truncated.mode() {
            seen.other_answer.push(reading.id.clone());
        }
        seen.largest_difference = seen.largest_difference.max(difference);
    }

    /// Adds a question by its orders.
    pub fn add_row(&mut self, orders: &[OrderTrust], options: usize) -> Option<RowTrust> {
        let mass: Vec<f64> = orders.iter().map(|order| order.label_mass).collect();
        let (flips, first_letter) = match orders {
            [given, reversed] => {
                let known = given.favourite.is_some() && reversed.favourite.is_some();
                let flips = known && given.favourite != reversed.favourite;
                let first = f64::midpoint(given.first, reversed.first);
                (Some(flips), (options == 2).then_some(first))
            }
            _ => (None, None),
        };
        self.flips.extend(flips.map(share));
        self.first.extend(first_letter);
        (!mass.is_empty()).then(|| RowTrust {
            label_mass: mean(&mass),
            flips,
            first_letter,
        })
    }

    /// Adds what was asked of the sampled questions alone.
    pub fn add_sampled(
        &mut self,
        source: Source<'_>,
        main: &AnswerTable,
    ) -> Result<(), AnswersError> {
        let Source {
            set,
            options,
            chosen,
            layout,
            ..
        } = source;
        let mut places = sampled(set, options.sampled);
        places.retain(|(file, row)| chosen.has(&set.files[*file].name, *row));
        if places.is_empty() {
            return Ok(());
        }
        let mut followed = Followed {
            asked: 0,
            stated: 0,
            agree: 0,
        };
        for (file, row) in &places {
            let (file, question) = (&set.files[*file], &set.files[*file].questions[*row]);
            let id = name::answer_text(&file.name, *row);
            let text = super::answers::reading(source.texts(), &id)?;
            let reversed = options.first_order_of(&file.name, &question.question);
            let id = name::question(&file.name, *row, reversed);
            let letter = super::answers::reading(source.at_once(), &id)?;
            let count = question.options.len();
            let favourite = letters(next_token(letter, &id)?, &id, count)?.mode();
            let mut shown: Vec<&str> = question
                .options
                .iter()
                .map(|(text, _)| text.as_str())
                .collect();
            if reversed {
                shown.reverse();
            }
            let found = text
                .generation()
                .and_then(|text| stated(&text.text, &shown));
            followed.asked += 1;
            followed.stated += usize::from(found.is_some());
            followed.agree += usize::from(found.is_some() && found == favourite);
        }
        self.followed = (followed.asked > 0).then_some(followed);

        let wordings = source.at_once().keys();
        let wordings: BTreeSet<String> = wordings.filter_map(|id| name::wording_of(id)).collect();
        for wording in &wordings {
            let (mut distances, mut others, mut changes) = (Vec::new(), Vec::new(), Vec::new());
            for (file, row) in &places {
                let (file, question) = (&set.files[*file], &set.files[*file].questions[*row]);
                // Not asked in a language that the wording does not know.
                let first = options.first_order_of(&file.name, &question.question);
                let id = name::worded(&file.name, *row, first, wording);
                if !source.at_once().contains_key(&id) {
                    continue;
                }
                let mut by_order = Vec::new();
                for reversed in options.orders_of(&file.name, &question.question) {
                    let id = name::worded(&file.name, *row, reversed, wording);
                    let reading = super::answers::reading(source.at_once(), &id)?;
                    let shown = PresentedOptions {
                        options: &question.options,
                        reversed,
                        layout,
                    };
                    let next = next_token(reading, &id)?;
                    let letters = letters(next, &id, question.options.len())?;
                    by_order.extend(shown.stances(&letters));
                }
                let main = main.get(&file.name).and_then(|rows| rows[*row].as_ref());
                let (Some(main), Ok(other)) = (main, Distribution::average(&by_order)) else {
                    continue;
                };
                let pair = [main.probabilities(), other.probabilities()];
                let Ok(found) = Distance::Centroid.of_group(&pair) else {
                    continue;
                };
                distances.push(mean(&found));
                others.push(share(main.mode() != other.mode()));
                let support = |answer: &[f64]| answer.last().copied().unwrap_or(0.0);
                changes.push(support(pair[1]) - support(pair[0]));
            }
            self.wordings.insert(
                wording.to_owned(),
                WordingEffect {
                    questions: distances.len(),
                    distance: mean(&distances),
                    other_stance: mean(&others),
                    support_change: mean(&changes),
                },
            );
        }
        Ok(())
    }

    pub fn summary(self) -> Robustness {
        let both = !self.flips.is_empty();
        let low: Vec<f64> = self
            .mass
            .iter()
            .map(|mass| share(*mass < LOW_MASS))
            .collect();
        let mass: f64 = self.spellings.values().sum();
        let mut spellings: Vec<SpellingShare> = self
            .spellings
            .into_iter()
            .map(|(spelling, found)| SpellingShare {
                spelling,
                share: found / mass,
            })
            .collect();
        spellings.sort_by(|a, b| b.share.total_cmp(&a.share));
        if spellings.len() > SPELLINGS {
            let rest: f64 = spellings
                .drain(SPELLINGS..)
                .map(|spelling| spelling.share)
                .sum();
            spellings.push(SpellingShare {
                spelling: "other".to_owned(),
                share: rest,
            });
        }
        Robustness {
            prompts: self.mass.len(),
            label_mass: mean(&self.mass),
            low_label_mass: mean(&low),
            not_shown: self.is_partial.then(|| mean(&self.doubt)),
            first_token_valid: mean(&self.valid),
            letter_prior: (!self.first.is_empty()).then(|| mean(&self.first)),
            flip_rate: both.then(|| mean(&self.flips)),
            entropy: mean(&self.entropy),
            joint_tokens_differ: (!self.differ.is_empty()).then(|| mean(&self.differ)),
            spellings,
            top_five: self.top_five.unwrap_or_default(),
            followed: self.followed,
            wordings: self.wordings,
        }
    }
}
