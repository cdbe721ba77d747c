//! Which questions are chosen.

use crate::{Question, QuestionFile};

/// A condition that questions are chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    key: ConditionKey,
    value: String,
    /// As it was given.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConditionKey {
    File,
    Language,
    Country,
    Controversy,
    Topic,
    Question,
}

impl Condition {
    /// Parses `KEY=VALUE`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let keys = "language, country, controversy, topic, question or file";
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not KEY=VALUE, KEY being {keys}"))?;
        let key = match key {
            "file" => ConditionKey::File,
            "language" => ConditionKey::Language,
            "country" => ConditionKey::Country,
            "controversy" => ConditionKey::Controversy,
            "topic" => ConditionKey::Topic,
            "question" => ConditionKey::Question,
            other => return Err(format!("`{other}` is not {keys}")),
        };
        Ok(Self {
            key,
            value: value.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Whether a question is chosen. Topics and originals are known by their own and their English text.
    pub fn chooses(&self, file: &QuestionFile, question: &Question) -> bool {
        let is = |text: &str| text == self.value;
        match self.key {
            ConditionKey::File => is(&file.name),
            ConditionKey::Language => is(&file.origin.language),
            ConditionKey::Country => is(&file.origin.country),
            ConditionKey::Controversy => is(file.origin.controversy()),
            ConditionKey::Topic => is(&question.topic) || is(question.topic_name()),
            ConditionKey::Question => {
                is(&question.original) || question.original_english.as_deref().is_some_and(is)
            }
        }
    }
}
