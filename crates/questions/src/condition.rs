//! Which questions are chosen.

use crate::{Question, QuestionFile, Stance};

/// A condition that questions are chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    key: ConditionKey,
    value: String,
    /// Whether it chooses what has another value.
    is_not: bool,
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
    Phrasing,
    Yes,
}

impl Condition {
    /// Parses `KEY=VALUE` or `KEY!=VALUE`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let keys = "language, country, controversy, topic, question, file, phrasing or yes";
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not KEY=VALUE or KEY!=VALUE, KEY being {keys}"))?;
        let (key, is_not) = match key.strip_suffix('!') {
            Some(key) => (key, true),
            None => (key, false),
        };
        let key = match key {
            "file" => ConditionKey::File,
            "language" => ConditionKey::Language,
            "country" => ConditionKey::Country,
            "controversy" => ConditionKey::Controversy,
            "topic" => ConditionKey::Topic,
            "question" => ConditionKey::Question,
            "phrasing" => ConditionKey::Phrasing,
            "yes" => ConditionKey::Yes,
            other => return Err(format!("`{other}` is not {keys}")),
        };
        let values: &[&str] = match key {
            ConditionKey::Controversy => &["controversial", "uncontroversial"],
            ConditionKey::Phrasing => &["original", "paraphrase"],
            ConditionKey::Yes => &["supports", "opposes"],
            _ => &[],
        };
        if !values.is_empty() && !values.contains(&value) {
            return Err(format!("`{text}`: {}", values.join(" or ")));
        }
        Ok(Self {
            key,
            value: value.to_owned(),
            is_not,
            text: text.to_owned(),
        })
    }

    /// Whether a question is chosen. Topics and originals are known by their own and their English text.
    pub fn chooses(&self, file: &QuestionFile, question: &Question) -> bool {
        self.has_value(file, question) != self.is_not
    }

    fn has_value(&self, file: &QuestionFile, question: &Question) -> bool {
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
            ConditionKey::Phrasing => question.rephrase == is("paraphrase"),
            ConditionKey::Yes => {
                let first = question.options.first().map(|(_, stance)| *stance);
                first == Stance::parse(&self.value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo;

    #[test]
    fn originals_and_questions_whose_yes_supports_are_chosen() {
        let set = demo().unwrap();
        let chosen = |text: &str| {
            let condition = Condition::parse(text).unwrap();
            let files = set.files.iter();
            let of_file = |file: &QuestionFile| {
                let questions = file.questions.iter();
                questions
                    .filter(|question| condition.chooses(file, question))
                    .count()
            };
            files.map(of_file).sum::<usize>()
        };
        assert_eq!(
            chosen("phrasing=original") + chosen("phrasing=paraphrase"),
            set.len()
        );
        assert!(chosen("phrasing=original") < chosen("phrasing=paraphrase"));
        assert_eq!(chosen("phrasing!=original"), chosen("phrasing=paraphrase"));
        assert_eq!(
            chosen("language!=german") + chosen("language=german"),
            set.len()
        );
        let (supports, opposes) = (chosen("yes=supports"), chosen("yes=opposes"));
        assert!(
            supports > 0 && opposes > 0 && supports + opposes == set.len(),
            "{supports} {opposes}"
        );
    }

    #[test]
    fn values_that_a_key_cannot_have_are_told() {
        let problem = |text: &str| Condition::parse(text).unwrap_err();
        assert_eq!(problem("yes=maybe"), "`yes=maybe`: supports or opposes");
        assert_eq!(
            problem("phrasing=first"),
            "`phrasing=first`: original or paraphrase"
        );
        assert!(problem("colour=red").starts_with("`colour` is not language"));
        assert!(problem("topic").starts_with("`topic` is not KEY=VALUE"));
    }
}
