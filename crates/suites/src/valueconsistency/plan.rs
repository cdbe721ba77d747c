//! What is asked.
//!
//! In three goes: what is read from logits at once ([`plan`]), texts that the checkpoint writes ([`plan_texts`]), and what a
//! rater makes of those texts ([`plan_stances`]).

use super::name;
use crate::shared::orders::draw;
use concord_questions::{
    Ask, Kind, PvqFile, PvqValue, Question, QuestionSet, SpokenOption, Stimuli, StimuliError,
    option_letter,
};
use concord_readings::{Form, Input, Prompt, PromptStyle, Read, Reading, Sampling};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::BuildHasher;

/// How an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// From the letter of an option.
    Letter,
    /// From the likelihood of an option's text.
    Cloze,
    /// From a paragraph that the checkpoint writes, whose stance a rater reads.
    Open,
}

/// In which orders the options are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orders {
    /// Both; the answer is their average.
    Both,
    /// As the file has them.
    Given,
    /// One of the two, drawn by the seed and the question's place.
    Seeded,
}

/// Whether questions are asked once more with an option that declines to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Abstention {
    /// They are not.
    #[default]
    Off,
    /// In one order a question, drawn by the seed; compared with the answer without the option in the same order.
    One,
    /// In every order in which the question is asked.
    All,
}

/// How passages are written for the open format.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passages {
    /// The most tokens of a passage.
    pub max_tokens: usize,
    /// 0 for the most probable token each time.
    pub temperature: f64,
    /// The share of the probability that is drawn from.
    pub top_p: f64,
    /// Questions for which a passage is written for each option as well, to see how a rater reads what is known.
    pub argued: usize,
}

/// Settings of the study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// How answers are read.
    pub formats: Vec<Format>,
    /// The orders asked.
    pub orders: Orders,
    /// Whether questions are asked with an option that declines as well.
    #[serde(default)]
    pub abstention: Abstention,
    /// Whether the portraits of the PVQ are asked, with and without a value to answer by.
    #[serde(default)]
    pub steering: bool,
    /// Questions that are asked in other wordings as well, and whose answer is written out as well.
    #[serde(default)]
    pub sampled: usize,
    /// How passages are written, where the format is open.
    #[serde(default)]
    pub passages: Option<Passages>,
    /// Whether the answered example before a question, which checkpoints without a chat template are shown, has its answers in the
    /// opposite order: it answers B then, where it answers A else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub example_reversed: bool,
    /// Draws orders, and what is written where it is not greedy.
    pub seed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Tokens that a checkpoint may take to say its answer in its own words.
const ANSWER_TOKENS: usize = 24;

impl Options {
    /// Letters in both orders and nothing else.
    pub fn letters() -> Self {
        Self {
            formats: vec![Format::Letter],
            orders: Orders::Both,
            abstention: Abstention::Off,
            steering: false,
            sampled: 0,
            passages: None,
            example_reversed: false,
            seed: 0,
        }
    }

    /// Whether a format is asked for.
    pub fn has(&self, format: Format) -> bool {
        self.formats.contains(&format)
    }

    /// Whether a question's options are shown as given, reversed, or both.
    pub(crate) fn orders_of(&self, file: &str, question: &str) -> Vec<bool> {
        match self.orders {
            Orders::Both => vec![false, true],
            Orders::Given => vec![false],
            Orders::Seeded => vec![draw(self.seed, file, question)],
        }
    }

    /// The order in which a question is asked where it is asked in one.
    pub(crate) fn first_order_of(&self, file: &str, question: &str) -> bool {
        self.orders_of(file, question)
            .first()
            .copied()
            .unwrap_or(false)
    }

    /// The orders in which a question is asked with an option that declines.
    pub(crate) fn abstention_orders_of(&self, file: &str, question: &str) -> Vec<bool> {
        match self.abstention {
            _ if !self.has(Format::Letter) => Vec::new(),
            Abstention::Off => Vec::new(),
            Abstention::One if self.orders == Orders::Both => vec![draw(self.seed, file, question)],
            Abstention::One | Abstention::All => self.orders_of(file, question),
        }
    }
}

/// A question's place: the number of its file and its row.
pub(crate) type Place = (usize, usize);

/// Questions spread evenly over a set, by place.
pub(crate) fn sampled(set: &QuestionSet, count: usize) -> Vec<Place> {
    let files = set.files.iter().enumerate();
    let places: Vec<Place> = files
        .flat_map(|(file, questions)| (0..questions.questions.len()).map(move |row| (file, row)))
        .collect();
    let count = count.min(places.len());
    (0..count)
        .map(|index| places[index * places.len() / count])
        .collect()
}

/// The value that is no value of its own: a portrait is asked by "the value of value", to see what a sentence about any value
/// does.
pub(crate) fn static_value(file: &PvqFile) -> Option<PvqValue> {
    let first = file.items.first()?.values.first()?;
    Some(PvqValue {
        vrd: first.vrd.clone(),
        text: first.vrd.clone(),
        text_english: "Static".to_owned(),
    })
}

/// Everything that is read from logits at once, in file order: letters and answer texts, letters with an option that
/// declines, portraits, and the sampled questions in other wordings. One prompt serves letters and texts.
///
/// The answers of the one-shot example stand in one order in every prompt ([`Options::example_reversed`]), so that the example is shared.
///
/// # Errors
/// [`StimuliError::Missing`] where a wording has nothing for a language.
pub fn plan(
    set: &QuestionSet,
    stimuli: &Stimuli,
    others: &[Stimuli],
    style: PromptStyle,
    options: &Options,
) -> Result<Vec<Prompt>, StimuliError> {
    let mut prompts = Vec::new();
    for file in &set.files {
        let language = &file.origin.language;
        for (row, question) in file.questions.iter().enumerate() {
            for reversed in options.orders_of(&file.name, &question.question) {
                let ask = ask(stimuli, options, language, question, reversed);
                let mut reads = Vec::new();
                if options.has(Format::Letter) {
                    reads.push(letters(stimuli, language, &ask.options));
                }
                if options.has(Format::Cloze) {
                    let text = |option: &str| Read::Continuation {
                        text: format!("{}{option}", style.lead),
                    };
                    reads.extend(ask.options.iter().map(|(option, _)| text(option)));
                }
                if !reads.is_empty() {
                    let id = name::question(&file.name, row, reversed);
                    let input = said(&ask, style.form, Kind::Chat, "")?;
                    prompts.push(Prompt { id, input, reads });
                }
            }
            for reversed in options.abstention_orders_of(&file.name, &question.question) {
                let ask = ask(stimuli, options, language, question, reversed).with_abstention()?;
                let id = name::abstaining(&file.name, row, reversed);
                prompts.push(letter_prompt(id, &ask, style.form)?);
            }
        }
    }
    if options.steering {
        for file in &set.pvq {
            portraits(file, stimuli, style.form, options, &mut prompts)?;
        }
    }
    let worded = if options.has(Format::Letter) {
        options.sampled
    } else {
        0
    };
    for (file, row) in sampled(set, worded) {
        let file = &set.files[file];
        // A wording need not know every language; its effect is counted over those that it does.
        let known = others
            .iter()
            .filter(|other| other.asks_letters_in(&file.origin.language));
        for other in known {
            for reversed in options.orders_of(&file.name, &file.questions[row].question) {
                let ask = ask(
                    other,
                    options,
                    &file.origin.language,
                    &file.questions[row],
                    reversed,
                );
                let id = name::worded(&file.name, row, reversed, &other.wording());
                prompts.push(letter_prompt(id, &ask, style.form)?);
            }
        }
    }
    Ok(prompts)
}

/// The texts that a checkpoint writes: its own answer to each sampled question, where a letter was read, and the passages of
/// the open format.
///
/// # Errors
/// [`StimuliError::Missing`] where the wording has nothing for a language.
pub fn plan_texts(
    set: &QuestionSet,
    stimuli: &Stimuli,
    style: PromptStyle,
    options: &Options,
) -> Result<Vec<Prompt>, StimuliError> {
    let mut prompts = Vec::new();
    // A base checkpoint goes on with the dialogue when it has answered.
    let stop: Vec<String> = match style.form {
        Form::Chat => Vec::new(),
        Form::Completion => ["\nHuman:", "\n\nAssistant:"].map(str::to_owned).into(),
    };
    let mut push = |id: String, input: Input, sampling: Sampling| {
        let reads = vec![Read::Generation(sampling)];
        prompts.push(Prompt { id, input, reads });
    };
    if options.has(Format::Letter) {
        for (file, row) in sampled(set, options.sampled) {
            let file = &set.files[file];
            let question = &file.questions[row];
            let reversed = options.first_order_of(&file.name, &question.question);
            let ask = ask(stimuli, options, &file.origin.language, question, reversed);
            let sampling = Sampling {
                stop: stop.clone(),
                ..Sampling::greedy(ANSWER_TOKENS)
            };
            let input = said(&ask, style.form, Kind::Chat, "")?;
            push(name::answer_text(&file.name, row), input, sampling);
        }
    }
    let Some(passages) = options.passages.filter(|_| options.has(Format::Open)) else {
        return Ok(prompts);
    };
    let sampling = Sampling {
        max_tokens: passages.max_tokens,
        temperature: passages.temperature,
        top_p: passages.top_p,
        seed: options.seed,
        stop,
    };
    for file in &set.files {
        for (row, question) in file.questions.iter().enumerate() {
            let ask = ask(stimuli, options, &file.origin.language, question, false);
            let input = said(&ask, style.form, Kind::OpenEnded, "")?;
            push(name::passage(&file.name, row), input, sampling.clone());
        }
    }
    for (file, row) in sampled(set, passages.argued) {
        let file = &set.files[file];
        let ask = ask(
            stimuli,
            options,
            &file.origin.language,
            &file.questions[row],
            false,
        );
        for (option, (text, _)) in ask.options.iter().enumerate() {
            let input = said(&ask, style.form, Kind::Argued, text)?;
            let id = name::argued(&file.name, row, option);
            push(id, input, sampling.clone());
        }
    }
    Ok(prompts)
}

/// What a rater is asked about written passages: which option each leans to, in every order, and with an option that
/// declines where the study asks with one. Empty passages are not asked about.
///
/// # Errors
/// [`StimuliError::Missing`] where the wording has nothing for a language.
pub fn plan_stances(
    set: &QuestionSet,
    stimuli: &Stimuli,
    style: PromptStyle,
    options: &Options,
    texts: &HashMap<String, Reading, impl BuildHasher>,
) -> Result<Vec<Prompt>, StimuliError> {
    let mut prompts = Vec::new();
    let mut push = |id: &str, question: &Question, language: &str, file: &str| {
        let written = texts.get(id).and_then(Reading::generation);
        let Some(passage) = written
            .map(|text| text.text.trim())
            .filter(|text| !text.is_empty())
        else {
            return Ok(());
        };
        for reversed in options.orders_of(file, &question.question) {
            for abstention in [false, true] {
                if abstention && options.abstention == Abstention::Off {
                    continue;
                }
                let mut ask = ask(stimuli, options, language, question, reversed);
                if abstention {
                    ask = ask.with_abstention()?;
                }
                prompts.push(Prompt {
                    id: name::stance(id, reversed, abstention),
                    input: said(&ask, style.form, Kind::StanceOfPassage, passage)?,
                    reads: vec![letters(stimuli, language, &ask.options)],
                });
            }
        }
        Ok::<(), StimuliError>(())
    };
    for file in &set.files {
        for (row, question) in file.questions.iter().enumerate() {
            let language = &file.origin.language;
            push(
                &name::passage(&file.name, row),
                question,
                language,
                &file.name,
            )?;
        }
    }
    let argued = options.passages.map_or(0, |passages| passages.argued);
    for (number, row) in sampled(set, argued) {
        let file = &set.files[number];
        let question = &file.questions[row];
        for option in 0..question.options.len() {
            let id = name::argued(&file.name, row, option);
            push(&id, question, &file.origin.language, &file.name)?;
        }
    }
    Ok(prompts)
}

/// A portrait by no value, by each of its values and by the one that is none, in every order.
fn portraits(
    file: &PvqFile,
    stimuli: &Stimuli,
    form: Form,
    options: &Options,
    prompts: &mut Vec<Prompt>,
) -> Result<(), StimuliError> {
    let no_value = static_value(file);
    for (row, item) in file.items.iter().enumerate() {
        let values = item.values.iter().chain(&no_value);
        for value in std::iter::once(None).chain(values.map(Some)) {
            for reversed in options.orders_of(&file.name, &item.question) {
                let mut ask = Ask {
                    example_reversed: options.example_reversed,
                    ..Ask::item(stimuli, &file.language, item)
                };
                if let Some(value) = value {
                    ask = ask.with_value(value)?;
                }
                if reversed {
                    ask = ask.reversed();
                }
                let value = value.map(|value| value.text_english.as_str());
                let id = name::portrait(&file.name, row, value, reversed);
                prompts.push(letter_prompt(id, &ask, form)?);
            }
        }
    }
    Ok(())
}

fn ask<'a>(
    stimuli: &'a Stimuli,
    options: &Options,
    language: &'a str,
    question: &'a Question,
    reversed: bool,
) -> Ask<'a> {
    let ask = Ask {
        example_reversed: options.example_reversed,
        ..Ask::question(stimuli, language, question)
    };
    if reversed { ask.reversed() } else { ask }
}

/// What is said in a form; `text` is the passage, or the answer to argue for.
fn said(ask: &Ask<'_>, form: Form, kind: Kind, text: &str) -> Result<Input, StimuliError> {
    Ok(match form {
        Form::Chat => ask.render(kind, false, text)?.input,
        Form::Completion => ask.render_as_text(kind, text)?.input,
    })
}

fn letter_prompt(id: String, ask: &Ask<'_>, form: Form) -> Result<Prompt, StimuliError> {
    Ok(Prompt {
        id,
        input: said(ask, form, Kind::Chat, "")?,
        reads: vec![letters(ask.stimuli, ask.language, &ask.options)],
    })
}

fn letters(stimuli: &Stimuli, language: &str, options: &[SpokenOption]) -> Read {
    Read::NextToken {
        labels: (0..options.len())
            .map(|index| option_letter(index).to_string())
            .collect(),
        openings: stimuli.label_openings(language),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_readings::{Answer, Finish, Generation};

    const CHAT: PromptStyle = PromptStyle {
        form: Form::Chat,
        lead: "",
    };
    const TEXT: PromptStyle = PromptStyle {
        form: Form::Completion,
        lead: " ",
    };

    fn options(orders: Orders) -> Options {
        Options {
            formats: vec![Format::Letter, Format::Cloze],
            orders,
            seed: 3,
            ..Options::letters()
        }
    }

    fn planned(style: PromptStyle, options: &Options) -> Vec<Prompt> {
        let (set, stimuli) = (concord_questions::demo().unwrap(), Stimuli::own().unwrap());
        plan(
            &set,
            &stimuli,
            &[Stimuli::paraphrased().unwrap()],
            style,
            options,
        )
        .unwrap()
    }

    #[test]
    fn orders_and_formats_are_what_was_asked() {
        let both = planned(CHAT, &options(Orders::Both));
        assert_eq!(both.len(), 960);
        assert!(both.iter().all(|prompt| prompt.reads.len() == 3));
        let seeded = planned(CHAT, &options(Orders::Seeded));
        let reversed = seeded
            .iter()
            .filter(|prompt| prompt.id.ends_with("?order=reversed"))
            .count();
        assert!((180..300).contains(&reversed), "{reversed} of 480");
        let texts: Vec<&Read> = both[1].reads[1..].iter().collect();
        assert_eq!(
            texts,
            [
                &Read::Continuation { text: "否".into() },
                &Read::Continuation { text: "是".into() }
            ]
        );
        let completion = planned(TEXT, &options(Orders::Given));
        assert_eq!(
            completion[0].reads[1],
            Read::Continuation {
                text: " 是".into()
            }
        );
    }

    #[test]
    fn everything_beside_the_questions_has_a_name_of_its_own() {
        let everything = Options {
            abstention: Abstention::One,
            steering: true,
            sampled: 50,
            ..options(Orders::Both)
        };
        let prompts = planned(TEXT, &everything);
        let mut names: Vec<&str> = prompts.iter().map(|prompt| prompt.id.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), prompts.len());
        // Questions twice, once with an option that declines; 63 portraits by 13 conditions twice; 50 questions twice.
        assert_eq!(prompts.len(), 960 + 480 + 63 * 13 * 2 + 100);
        let with = |part: &str| {
            prompts
                .iter()
                .filter(|prompt| prompt.id.contains(part))
                .count()
        };
        assert_eq!(with("declining=allowed"), 480);
        assert_eq!(with("value=Static"), 63 * 2);
        assert_eq!(with("wording=paraphrased"), 100);
        let reversed = prompts
            .iter()
            .filter(|prompt| prompt.id.ends_with("?declining=allowed&order=reversed"));
        assert!((180..300).contains(&reversed.count()));
    }

    #[test]
    fn passages_are_written_and_then_read() {
        let (set, stimuli) = (concord_questions::demo().unwrap(), Stimuli::own().unwrap());
        let options = Options {
            formats: vec![Format::Open],
            abstention: Abstention::One,
            passages: Some(Passages {
                max_tokens: 40,
                temperature: 0.0,
                top_p: 1.0,
                argued: 10,
            }),
            ..Options::letters()
        };
        assert!(
            plan(
                &set,
                &stimuli,
                &[],
                TEXT,
                &Options {
                    abstention: Abstention::Off,
                    ..options.clone()
                }
            )
            .unwrap()
            .is_empty()
        );
        let texts = plan_texts(&set, &stimuli, TEXT, &options).unwrap();
        assert_eq!(texts.len(), 480 + 20);
        let written = texts.iter().enumerate().map(|(index, prompt)| {
            let text = if index == 7 {
                " \n".into()
            } else {
                format!("passage {index}")
            };
            let generation = Generation {
                text,
                tokens: vec![],
                log_probs: vec![],
                finish: Finish::EndOfText,
            };
            let reading = Reading {
                id: prompt.id.clone(),
                tokens: 1,
                answers: vec![Answer::Generation(generation)],
            };
            (prompt.id.clone(), reading)
        });
        let written: HashMap<String, Reading> = written.collect();
        let stances = plan_stances(&set, &stimuli, CHAT, &options, &written).unwrap();
        // Two orders, with and without an option that declines; the empty passage is not asked about.
        assert_eq!(stances.len(), 499 * 4);
        let labels: Vec<usize> = stances[..4]
            .iter()
            .map(|prompt| match &prompt.reads[0] {
                Read::NextToken { labels, .. } => labels.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(labels, [2, 3, 2, 3]);
    }

    #[test]
    fn a_language_without_stimuli_is_an_error() {
        let mut set = concord_questions::demo().unwrap();
        set.files[0].origin.language = "klingon".into();
        let stimuli = Stimuli::own().unwrap();
        assert!(plan(&set, &stimuli, &[], CHAT, &options(Orders::Both)).is_err());
    }
}
