//! What a row says: the fields of a question and of a portrait.

use crate::QuestionError;
use crate::object::object_of;
use crate::question::{Origin, PvqItem, PvqValue, Question, Stance, options_problem};
use serde_json::{Map, Value};
use std::path::Path;

/// The fields of a question.
pub(crate) const QUESTION: [&str; 13] = [
    "topic",
    "topic_english",
    "question",
    "original",
    "original_english",
    "options",
    "supports",
    "opposes",
    "neutral",
    "language",
    "country",
    "controversial",
    "rephrase",
];

/// The fields of a portrait.
pub(crate) const PORTRAIT: [&str; 5] = [
    "statement",
    "schwartz_value",
    "values",
    "question",
    "options",
];

/// One line and where it stands.
pub(crate) struct Row<'a> {
    pub path: &'a Path,
    pub line: usize,
    pub object: &'a Map<String, Value>,
}

impl Row<'_> {
    fn error(&self, field: &str, problem: impl Into<String>) -> QuestionError {
        QuestionError::Field {
            path: self.path.to_owned(),
            line: self.line,
            field: field.to_owned(),
            problem: problem.into(),
        }
    }

    /// Refuses a field that is not known and holds something: it may be a known one that is mistyped. What begins with an underscore is
    /// the user's own, and so is the nameless column of row numbers that some tables have.
    pub fn knows(&self, fields: &[&str]) -> Result<(), QuestionError> {
        let is_own =
            |name: &str| name.is_empty() || name.starts_with('_') || name.starts_with("Unnamed:");
        for (name, value) in self.object {
            if !value.is_null() && !fields.contains(&name.as_str()) && !is_own(name) {
                let known = fields.join(", ");
                let problem =
                    format!("is not known ({known}); a field of your own begins with `_`");
                return Err(self.error(name, problem));
            }
        }
        Ok(())
    }

    pub fn text(&self, field: &str) -> Result<String, QuestionError> {
        match self.optional_text(field)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            Some(_) => Err(self.error(field, "is empty")),
            None => Err(self.error(field, "is missing")),
        }
    }

    fn optional_text(&self, field: &str) -> Result<Option<String>, QuestionError> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.error(field, "is not text")),
        }
    }

    /// The origin from the fields that the hub's version of the set has.
    pub fn origin(&self) -> Result<Option<Origin>, QuestionError> {
        let controversial = match self.object.get("controversial") {
            None | Some(Value::Null) => None,
            Some(value) => Some(self.flag("controversial", value)?),
        };
        let language = self.optional_text("language")?;
        if controversial.is_none() && language.is_none() {
            return Ok(None);
        }
        // Where nobody says so, people may disagree, and it is about no country.
        let controversial = controversial.unwrap_or(true);
        let language = self.text("language")?.trim().to_lowercase();
        let country = self
            .optional_text("country")?
            .unwrap_or_else(|| "world".to_owned());
        // The hub writes "U.S."; the file names say "us".
        let country = country
            .trim()
            .to_lowercase()
            .replace('.', "")
            .replace(' ', "-");
        Ok(Some(Origin {
            controversial,
            language,
            country,
        }))
    }

    fn flag(&self, field: &str, value: &Value) -> Result<bool, QuestionError> {
        match value {
            Value::Bool(flag) => Ok(*flag),
            Value::Number(number) if number.as_u64() == Some(0) => Ok(false),
            Value::Number(number) if number.as_u64() == Some(1) => Ok(true),
            Value::String(text) if matches!(text.to_lowercase().as_str(), "true" | "1") => Ok(true),
            Value::String(text) if matches!(text.to_lowercase().as_str(), "false" | "0") => {
                Ok(false)
            }
            _ => Err(self.error(field, "is neither true, false, 0 nor 1")),
        }
    }

    pub fn question(&self) -> Result<Question, QuestionError> {
        let question = self.text("question")?;
        let original = match self.object.get("original") {
            None | Some(Value::Null) => question.clone(),
            Some(_) => self.text("original")?,
        };
        if let Some(value) = self.object.get("rephrase").filter(|value| !value.is_null()) {
            self.flag("rephrase", value)?;
        }
        Ok(Question {
            topic: self.text("topic")?,
            topic_english: self.optional_text("topic_english")?,
            original_english: self.optional_text("original_english")?,
            rephrase: question != original,
            question,
            original,
            options: self.options()?,
        })
    }

    fn options(&self) -> Result<Vec<(String, Stance)>, QuestionError> {
        let parsed;
        let object = match self.object.get("options") {
            Some(Value::Object(object)) => object,
            // Tables that allow no nested objects carry them as JSON text.
            Some(Value::String(text)) => {
                parsed = object_of(text).map_err(|error| {
                    let problem = format!("is text that is not a JSON object: {error}");
                    self.error("options", problem)
                })?;
                &parsed
            }
            Some(_) => return Err(self.error("options", "is not an object of answer: stance")),
            None => {
                parsed = self.options_by_stance()?;
                &parsed
            }
        };
        let mut options = Vec::new();
        for (answer, stance) in object {
            match stance {
                // Columnar copies of the set give every row every answer of the set, absent ones as null.
                Value::Null if object.len() > 2 => {}
                _ if answer.trim().is_empty() => {
                    return Err(self.error("options", "has an empty answer"));
                }
                _ if options
                    .iter()
                    .any(|(known, _): &(String, Stance)| known.trim() == answer.trim()) =>
                {
                    return Err(
                        self.error("options", format!("repeats the answer `{}`", answer.trim()))
                    );
                }
                Value::String(name) => {
                    let stance = Stance::parse(name).ok_or_else(|| {
                        let problem = format!(
                            "gives `{answer}` the unknown stance `{name}` (supports, opposes or neutral)"
                        );
                        self.error("options", problem)
                    })?;
                    options.push((answer.clone(), stance));
                }
                _ => return Err(self.error("options", format!("gives `{answer}` no stance"))),
            }
        }
        if let Some(problem) = options_problem(&options) {
            return Err(self.error("options", problem));
        }
        Ok(options)
    }

    /// Options from the fields `supports`, `opposes` and `neutral`, in the order of the fields.
    fn options_by_stance(&self) -> Result<Map<String, Value>, QuestionError> {
        let mut options = Map::new();
        for (name, value) in self.object {
            if Stance::parse(name).is_none() || value.is_null() {
                continue;
            }
            for answer in self.text(name)?.split('|').map(str::trim) {
                if answer.is_empty() {
                    return Err(self.error(name, "has an empty answer"));
                }
                if options
                    .insert(answer.to_owned(), Value::from(name.as_str()))
                    .is_some()
                {
                    return Err(self.error(name, format!("repeats the answer `{answer}`")));
                }
            }
        }
        if options.is_empty() {
            let problem = "is missing, and so are the fields `supports` and `opposes`";
            return Err(self.error("options", problem));
        }
        Ok(options)
    }

    /// Refuses a portrait that cannot be measured with those before it.
    pub fn fits(&self, item: &PvqItem, first: Option<&PvqItem>) -> Result<(), QuestionError> {
        match item.problem(first.unwrap_or(item)) {
            None => Ok(()),
            Some((field, problem)) => Err(self.error(field, problem)),
        }
    }

    pub fn pvq_item(&self) -> Result<PvqItem, QuestionError> {
        let Some(Value::Array(values)) = self.object.get("values") else {
            return Err(self.error("values", "is missing or not a list"));
        };
        let values = values.iter().map(|value| {
            let text = |field: &str| match value.get(field) {
                Some(Value::String(text)) => Ok(text.clone()),
                _ => Err(self.error(&format!("values.{field}"), "is missing or not text")),
            };
            Ok(PvqValue {
                vrd: text("vrd")?,
                text: text("text")?,
                text_english: text("text_english")?,
            })
        });
        Ok(PvqItem {
            statement: self.text("statement")?,
            schwartz_value: self.text("schwartz_value")?,
            values: values.collect::<Result<_, _>>()?,
            question: self.text("question")?,
            options: self.options()?,
        })
    }
}
