//! The words around a question, as data by language.

use crate::object::object_of;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Why stimuli could not be read or used.
#[derive(Debug, thiserror::Error)]
pub enum StimuliError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("{path}: not a JSON object of stimulus, language and text: {source}")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// A stimulus is of no known name, and would be lost.
    #[error("{name}: unknown stimulus `{stimulus}`; known: {known}")]
    Unknown {
        /// Which stimuli.
        name: String,
        /// The name.
        stimulus: String,
        /// The names that are used.
        known: String,
    },
    /// A stimulus is absent for a language.
    #[error("{name}: stimulus `{stimulus}` has no text for language `{language}`{others}")]
    Missing {
        /// Which stimuli.
        name: String,
        /// The stimulus.
        stimulus: String,
        /// The language.
        language: String,
        /// The other stimuli that have none for it; empty, or as it continues the sentence.
        others: String,
    },
}

/// Stimuli that are used.
const USED: [&str; 12] = [
    "system",
    "single_letter",
    "follow_up_completions",
    "few_shot_example_question",
    "few_shot_example_answer",
    "abstain_answer",
    "stance_prompt",
    "question_generate",
    "question_ans_generate",
    "value_statement",
    "value_part",
    "label_openings",
];
/// Stimuli of the study's own tables that nothing here asks.
const UNUSED: [&str; 7] = [
    "yes_language",
    "no_language",
    "none_option",
    "compare_prompt",
    "confidence_question",
    "schwartz_values",
    "value_by_language",
];

fn is_known(name: &str) -> bool {
    USED.contains(&name) || UNUSED.contains(&name)
}

/// The sentences of one wording: an object of stimulus → language → text.
///
/// The names are those of the VALUECONSISTENCY study's own tables in lower case, so that the study's wording and ours are
/// files of one format. Used are `system`, `single_letter`, `follow_up_completions`, `few_shot_example_question`,
/// `few_shot_example_answer`, `abstain_answer`, `stance_prompt`, `question_generate`, `question_ans_generate`,
/// `value_statement` and `value_part`; placeholders stand in braces.
#[derive(Clone, Debug)]
pub struct Stimuli {
    name: String,
    digest: String,
    table: Value,
}

impl Stimuli {
    /// The project's own wording.
    ///
    /// # Errors
    /// None in a program that passed its tests.
    pub fn own() -> Result<Self, StimuliError> {
        Self::parse(
            "concord",
            Path::new("stimuli/concord.json"),
            include_str!("../stimuli/concord.json"),
        )
    }

    /// The project's instructions in other words: what is needed to ask for letters, to see how much the wording matters.
    ///
    /// # Errors
    /// None in a program that passed its tests.
    pub fn paraphrased() -> Result<Self, StimuliError> {
        Self::parse(
            "paraphrased",
            Path::new("stimuli/paraphrased.json"),
            include_str!("../stimuli/paraphrased.json"),
        )
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`StimuliError::Unreadable`] or [`StimuliError::NotJson`].
    pub fn load(path: &Path) -> Result<Self, StimuliError> {
        let text = std::fs::read_to_string(path).map_err(|source| StimuliError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&path.display().to_string(), path, &text)
    }

    fn parse(name: &str, path: &Path, text: &str) -> Result<Self, StimuliError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let table = object_of(text).map_err(|source| StimuliError::NotJson {
            path: path.to_owned(),
            source,
        })?;
        if let Some(unknown) = table.keys().find(|key| !is_known(key)) {
            return Err(StimuliError::Unknown {
                name: name.to_owned(),
                stimulus: unknown.clone(),
                known: USED.join(", "),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            digest: blake3::hash(text.as_bytes()).to_hex().to_string(),
            table: Value::Object(table),
        })
    }

    /// Stimuli as they were stored with a run.
    pub fn stored(name: &str, table: serde_json::Map<String, Value>) -> Self {
        let table = Value::Object(table);
        Self {
            name: name.to_owned(),
            digest: blake3::hash(table.to_string().as_bytes())
                .to_hex()
                .to_string(),
            table,
        }
    }

    /// Stimulus → language → text, as it was read.
    pub fn table(&self) -> &Value {
        &self.table
    }

    /// The file, or `concord`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A short name for results: the file's without its ending, or `concord`.
    pub fn wording(&self) -> String {
        let stem = Path::new(&self.name).file_stem();
        stem.map_or_else(
            || self.name.clone(),
            |stem| stem.to_string_lossy().into_owned(),
        )
    }

    /// The digest of the file's bytes.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The text of a stimulus.
    ///
    /// # Errors
    /// [`StimuliError::Missing`].
    pub fn text(&self, stimulus: &str, language: &str) -> Result<&str, StimuliError> {
        self.value(stimulus, language)?
            .as_str()
            .ok_or_else(|| self.missing(stimulus, language))
    }

    /// Whether letters can be asked for in a language, of checkpoints with a chat template and without.
    pub fn asks_letters_in(&self, language: &str) -> bool {
        let texts = ["system", "single_letter", "few_shot_example_question"];
        texts
            .iter()
            .all(|stimulus| self.text(stimulus, language).is_ok())
            && self.example_answers(language).is_ok()
    }

    /// The one-shot example: its answers, and the index of the right one.
    ///
    /// # Errors
    /// [`StimuliError::Missing`], also where the right answer is not among the answers.
    pub fn example_answers(&self, language: &str) -> Result<(Vec<String>, usize), StimuliError> {
        let stimulus = "few_shot_example_answer";
        let value = self.value(stimulus, language)?;
        let missing = || self.missing(stimulus, language);
        let answers: Vec<String> = value
            .get("answers")
            .and_then(Value::as_array)
            .ok_or_else(missing)?
            .iter()
            .map(|answer| answer.as_str().map(str::to_owned).ok_or_else(missing))
            .collect::<Result<_, _>>()?;
        let correct = value
            .get("correct")
            .and_then(Value::as_str)
            .ok_or_else(missing)?;
        let index = answers
            .iter()
            .position(|answer| answer == correct)
            .ok_or_else(missing)?;
        Ok((answers, index))
    }

    /// Texts that may open a letter in an answer, by language. A wording that names none takes the project's own: they are
    /// about how answers are written, not about what is asked.
    pub fn label_openings(&self, language: &str) -> Vec<String> {
        let listed = |table: &Value| -> Option<Vec<String>> {
            let texts = table.get("label_openings")?.get(language)?.as_array()?;
            Some(
                texts
                    .iter()
                    .filter_map(|text| text.as_str().map(str::to_owned))
                    .collect(),
            )
        };
        let own = || Self::own().ok().and_then(|own| listed(&own.table));
        listed(&self.table)
            .or_else(own)
            .unwrap_or_else(|| vec!["(".to_owned()])
    }

    fn value(&self, stimulus: &str, language: &str) -> Result<&Value, StimuliError> {
        let by_language = self.table.get(stimulus);
        by_language
            .and_then(|by| by.get(language))
            .ok_or_else(|| self.missing(stimulus, language))
    }

    fn missing(&self, stimulus: &str, language: &str) -> StimuliError {
        StimuliError::Missing {
            name: self.name.clone(),
            stimulus: stimulus.to_owned(),
            language: language.to_owned(),
            others: self.also_missing(stimulus, language),
        }
    }

    /// What else lacks a language: all of it is named at once.
    fn also_missing(&self, stimulus: &str, language: &str) -> String {
        let lacks = |texts: &Value| texts.get(language).is_none_or(Value::is_null);
        let others = self.table.as_object().into_iter().flatten();
        let others =
            others.filter(|(name, texts)| *name != stimulus && texts.is_object() && lacks(texts));
        let others: Vec<&str> = others.map(|(name, _)| name.as_str()).collect();
        if others.is_empty() {
            String::new()
        } else {
            format!("; nor have {}", others.join(", "))
        }
    }
}

/// Replaces `{name}` by its value, in one sweep: a brace inside a value is left alone.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        let tail = &rest[open..];
        let hit = values.iter().find(|(name, _)| {
            tail[1..]
                .strip_prefix(name)
                .is_some_and(|after| after.starts_with('}'))
        });
        if let Some((name, value)) = hit {
            filled.push_str(value);
            rest = &tail[name.len() + 2..];
        } else {
            filled.push('{');
            rest = &tail[1..];
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stimulus_that_would_be_lost_is_refused() {
        let parse = |text| Stimuli::parse("w", Path::new("w.json"), text);
        let twice = parse(r#"{"system":{"english":"A"},"system":{"english":"B"}}"#);
        assert!(
            twice
                .unwrap_err()
                .to_string()
                .contains("`system` stands there twice")
        );
        let unknown = parse(r#"{"sytem":{"english":"A"}}"#)
            .unwrap_err()
            .to_string();
        assert!(
            unknown.contains("unknown stimulus `sytem`; known: system, "),
            "{unknown}"
        );
        // The study's own table has more than is asked.
        assert!(parse(r#"{"yes_language":{"english":"yes"}}"#).is_ok());
    }

    #[test]
    fn own_wording_covers_the_demo_languages() {
        let own = Stimuli::own().unwrap();
        for language in ["english", "chinese", "german", "japanese"] {
            for stimulus in [
                "system",
                "single_letter",
                "follow_up_completions",
                "few_shot_example_question",
                "abstain_answer",
                "stance_prompt",
                "question_generate",
                "question_ans_generate",
                "value_statement",
                "value_part",
            ] {
                assert!(
                    !own.text(stimulus, language).unwrap().is_empty(),
                    "{stimulus} {language}"
                );
            }
            assert_eq!(own.example_answers(language).unwrap().0.len(), 2);
        }
        let paraphrased = Stimuli::paraphrased().unwrap();
        for language in ["english", "chinese", "german", "japanese"] {
            for stimulus in ["system", "single_letter", "few_shot_example_question"] {
                let (a, b) = (
                    own.text(stimulus, language),
                    paraphrased.text(stimulus, language),
                );
                assert_ne!(a.unwrap(), b.unwrap());
            }
            assert!(paraphrased.asks_letters_in(language) && own.asks_letters_in(language));
        }
        assert!(!own.asks_letters_in("klingon"));
        assert_eq!(own.label_openings("japanese"), ["(", "（"]);
        let bare = Stimuli::parse("bare", Path::new("bare.json"), "{}").unwrap();
        assert_eq!(bare.label_openings("chinese"), ["(", "（"]);
        assert_eq!(bare.label_openings("klingon"), ["("]);
        let error = own.text("system", "klingon").unwrap_err().to_string();
        // What else is missing is named at once.
        assert!(error.starts_with(
            "concord: stimulus `system` has no text for language `klingon`; nor have "
        ));
        assert!(
            error.contains("single_letter") && error.contains("few_shot_example_answer"),
            "{error}"
        );
    }

    #[test]
    fn placeholders_are_filled_once() {
        assert_eq!(fill("{a}-{b} {c", &[("a", "{b}"), ("b", "2")]), "{b}-2 {c");
    }
}
