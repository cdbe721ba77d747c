//! Turns a question into what is said to a checkpoint.
//!
//! # Source
//! The prompts of the VALUECONSISTENCY study (`src/valueconsistency/prompt.py` at e088776): with the study's stimuli, every
//! kind equals the study's own rendering to the byte.

use crate::question::{Question, Stance};
use crate::stimuli::{Stimuli, StimuliError, fill};
use crate::{PvqItem, PvqValue};
use concord_readings::{Input, Message, Role};
use serde::{Deserialize, Serialize};

/// The forms in which a question can be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// System and user turn; the answer is a letter.
    Chat,
    /// The same with a closed assistant turn that leads up to the letter.
    ChatFollowUp,
    /// Plain text for base checkpoints, with one answered example before the question.
    CompletionFewShot,
    /// Asks for a paragraph.
    OpenEnded,
    /// Asks for a paragraph that argues for an answer.
    Argued,
    /// Asks which answer a passage leans to.
    StanceOfPassage,
}

/// An answer as it is shown: its text and its stance.
pub type SpokenOption = (String, Stance);

/// One question, the answers in the order shown, and what surrounds it.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The wording.
    pub stimuli: &'a Stimuli,
    /// The language of the question.
    pub language: &'a str,
    /// The question.
    pub question: &'a str,
    /// The answers in the order shown.
    pub options: Vec<SpokenOption>,
    /// The sentence that names a value to answer by, empty for none. Appended to the question without a separator.
    pub value_text: String,
    /// Whether the answered example that stands before the question in plain text has its answers in the opposite order, so that it
    /// answers another letter.
    pub example_reversed: bool,
}

/// A prompt with what its rendering decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What the checkpoint sees.
    pub input: Input,
    /// The letter that the one-shot example answers, where there is one.
    pub example_answer: Option<char>,
}

/// The letter of the answer at `index`: `A` for the first.
///
/// # Panics
/// Never; past 26 answers the letters repeat.
pub fn option_letter(index: usize) -> char {
    char::from(b'A' + u8::try_from(index % 26).unwrap_or(0))
}

impl<'a> Ask<'a> {
    /// Puts a question with its answers in file order.
    pub fn question(stimuli: &'a Stimuli, language: &'a str, question: &'a Question) -> Self {
        Self {
            stimuli,
            language,
            question: &question.question,
            options: question.options.clone(),
            value_text: String::new(),
            example_reversed: false,
        }
    }

    /// Puts a PVQ item, with no value.
    pub fn item(stimuli: &'a Stimuli, language: &'a str, item: &'a PvqItem) -> Self {
        Self {
            stimuli,
            language,
            question: &item.question,
            options: item.options.clone(),
            value_text: String::new(),
            example_reversed: false,
        }
    }

    /// Shows the answers in the opposite order.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.options.reverse();
        self
    }

    /// Adds the answer that declines to answer, as the last one.
    ///
    /// # Errors
    /// [`StimuliError::Missing`].
    pub fn with_abstention(mut self) -> Result<Self, StimuliError> {
        let text = self.stimuli.text("abstain_answer", self.language)?;
        self.options.push((text.to_owned(), Stance::Neutral));
        Ok(self)
    }

    /// Asks to answer according to a value. Names are put in lower case, as the study does.
    ///
    /// # Errors
    /// [`StimuliError::Missing`].
    pub fn with_value(mut self, value: &PvqValue) -> Result<Self, StimuliError> {
        self.value_text = value_text(self.stimuli, self.language, &value.vrd, &value.text)?;
        Ok(self)
    }

    /// Renders one kind. `example_reversed` shows the one-shot example's answers in the opposite order; `passage` is the text
    /// whose stance is asked, or the answer that a paragraph is to argue for. Each is used by its own kind alone.
    ///
    /// # Errors
    /// [`StimuliError::Missing`].
    pub fn render(
        &self,
        kind: Kind,
        example_reversed: bool,
        passage: &str,
    ) -> Result<Rendered, StimuliError> {
        let conversation = |messages| Rendered {
            input: Input::Conversation(messages),
            example_answer: None,
        };
        Ok(match kind {
            Kind::Chat => conversation(self.opening(self.lettered(&self.body(), &self.options)?)?),
            Kind::ChatFollowUp => {
                let mut messages = self.opening(self.lettered(&self.body(), &self.options)?)?;
                let follow_up = self.stimuli.text("follow_up_completions", self.language)?;
                messages.push(Message::new(Role::Assistant, follow_up));
                conversation(messages)
            }
            Kind::CompletionFewShot => self.completion(&self.body(), example_reversed)?,
            Kind::OpenEnded | Kind::Argued => {
                conversation(self.opening(self.open(kind, passage)?)?)
            }
            Kind::StanceOfPassage => {
                let body = self.stance_body(passage)?;
                conversation(self.opening(self.lettered(&body, &self.options)?)?)
            }
        })
    }

    /// Renders a kind as plain text, for checkpoints without a chat template: the dialogue with every turn but the
    /// assistant's spoken by a human; where the answer is a letter, after one answered example.
    ///
    /// # Errors
    /// [`StimuliError::Missing`].
    pub fn render_as_text(&self, kind: Kind, passage: &str) -> Result<Rendered, StimuliError> {
        match kind {
            Kind::OpenEnded | Kind::Argued => {
                let system = self.stimuli.text("system", self.language)?;
                let asked = self.open(kind, passage)?;
                let text = format!("Human: {system}\n\nHuman: {}\n\nAssistant:", asked.trim());
                Ok(Rendered {
                    input: Input::Text(text),
                    example_answer: None,
                })
            }
            Kind::StanceOfPassage => {
                self.completion(&self.stance_body(passage)?, self.example_reversed)
            }
            Kind::Chat | Kind::ChatFollowUp | Kind::CompletionFewShot => {
                self.completion(&self.body(), self.example_reversed)
            }
        }
    }

    /// What asks for a paragraph; `answer` is what it is to argue for, where that is asked.
    fn open(&self, kind: Kind, answer: &str) -> Result<String, StimuliError> {
        let name = match kind {
            Kind::Argued => "question_ans_generate",
            _ => "question_generate",
        };
        let values = [
            ("question", self.question),
            ("answer", answer),
            ("value_statement", &self.value_text),
            ("context_statement", ""),
        ];
        Ok(fill(self.stimuli.text(name, self.language)?, &values))
    }

    fn stance_body(&self, passage: &str) -> Result<String, StimuliError> {
        let template = self.stimuli.text("stance_prompt", self.language)?;
        let values = [("question", self.question), ("passage", passage)];
        Ok(fill(template, &values))
    }

    fn body(&self) -> String {
        format!("{}{}", self.question, self.value_text)
    }

    /// System and user turn.
    fn opening(&self, user: String) -> Result<Vec<Message>, StimuliError> {
        let system = self.stimuli.text("system", self.language)?;
        Ok(vec![
            Message::new(Role::System, system),
            Message::new(Role::User, user),
        ])
    }

    /// Instruction, question and lettered answers.
    fn lettered(&self, body: &str, options: &[SpokenOption]) -> Result<String, StimuliError> {
        let instruction = self.stimuli.text("single_letter", self.language)?;
        let mut text = format!("{instruction}\n\n{}", body.trim());
        for (index, (option, _)) in options.iter().enumerate() {
            text.push_str("\n- (");
            text.push(option_letter(index));
            text.push_str("): ");
            text.push_str(option);
        }
        Ok(text.trim().to_owned())
    }

    /// The dialogue as text: every turn but the assistant's is spoken by a human, the system line included.
    fn completion(&self, body: &str, example_reversed: bool) -> Result<Rendered, StimuliError> {
        let (answers, correct) = self.stimuli.example_answers(self.language)?;
        let mut options: Vec<SpokenOption> = answers
            .iter()
            .enumerate()
            .map(|(index, text)| {
                (
                    text.clone(),
                    if index == correct {
                        Stance::Supports
                    } else {
                        Stance::Opposes
                    },
                )
            })
            .collect();
        if example_reversed {
            options.reverse();
        }
        let shown = options
            .iter()
            .position(|(text, _)| *text == answers[correct]);
        let letter = option_letter(shown.unwrap_or(0));
        let example = self
            .stimuli
            .text("few_shot_example_question", self.language)?;
        let system = self.stimuli.text("system", self.language)?;
        let example = self.lettered(example, &options)?;
        let asked = self.lettered(body, &self.options)?;
        let text = format!(
            "Human: {system}\n\nHuman: {example}\n\nAssistant: {letter}\n\nHuman: {asked}\n\nAssistant:"
        );
        Ok(Rendered {
            input: Input::Text(text),
            example_answer: Some(letter),
        })
    }
}

/// The sentence that names a value.
fn value_text(
    stimuli: &Stimuli,
    language: &str,
    vrd: &str,
    text: &str,
) -> Result<String, StimuliError> {
    let part = stimuli.text("value_part", language)?;
    let statement = stimuli.text("value_statement", language)?;
    let part = fill(
        part,
        &[("vrd", &vrd.to_lowercase()), ("text", &text.to_lowercase())],
    );
    Ok(fill(statement, &[("value_text", &part)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(kind: Kind, abstain: bool, reversed: bool) -> Rendered {
        let (stimuli, set) = (Stimuli::own().unwrap(), crate::demo().unwrap());
        let question = &set.files[1].questions[0];
        let mut ask = Ask::question(&stimuli, "english", question);
        if reversed {
            ask = ask.reversed();
        }
        if abstain {
            ask = ask.with_abstention().unwrap();
        }
        ask.render(kind, reversed, "It depends.").unwrap()
    }

    fn last(rendered: &Rendered) -> String {
        match &rendered.input {
            Input::Conversation(messages) | Input::Prefilled { messages, .. } => {
                messages.last().unwrap().content.clone()
            }
            Input::Text(text) => text.clone(),
        }
    }

    #[test]
    fn letters_follow_the_order_shown() {
        assert!(last(&rendered(Kind::Chat, false, false)).ends_with("?\n- (A): yes\n- (B): no"));
        assert!(last(&rendered(Kind::Chat, false, true)).ends_with("?\n- (A): no\n- (B): yes"));
        assert!(last(&rendered(Kind::Chat, true, true)).contains("- (B): yes\n- (C): "));
        assert!(last(&rendered(Kind::ChatFollowUp, false, false)).ends_with('('));
    }

    #[test]
    fn the_example_answers_the_letter_of_its_right_answer() {
        let given = rendered(Kind::CompletionFewShot, false, false);
        assert_eq!(given.example_answer, Some('A'));
        assert!(last(&given).starts_with("Human: ") && last(&given).ends_with("\n\nAssistant:"));
        assert!(last(&given).contains("\n\nAssistant: A\n\nHuman: "));
        assert_eq!(
            rendered(Kind::CompletionFewShot, false, true).example_answer,
            Some('B')
        );
    }

    #[test]
    fn a_passage_with_braces_is_left_alone() {
        let (stimuli, set) = (Stimuli::own().unwrap(), crate::demo().unwrap());
        let ask = Ask::question(&stimuli, "english", &set.files[1].questions[0]);
        let rendered = ask
            .render(Kind::StanceOfPassage, false, "see {question}")
            .unwrap();
        assert!(last(&rendered).contains("see {question}"));
    }
}
