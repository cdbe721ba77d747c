//! Reads question files, with the line that is wrong where one is.

use crate::question::{
    Origin, PvqFile, PvqItem, PvqValue, Question, QuestionFile, QuestionSet, Stance,
};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Why a question set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The path or a file in it cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line is not JSON, or is cut off.
    #[error("{path}:{line}: not a JSON object: {source}")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A field is absent or has the wrong type.
    #[error("{path}:{line}: field `{field}` {problem}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file name says neither controversy, language nor country, and neither do its rows.
    #[error(
        "{path}: neither the name (controversial_LANGUAGE_COUNTRY.jsonl or uncontroversial_…) nor the fields \
         `controversial`, `language`, `country` say where the questions come from"
    )]
    UnknownOrigin {
        /// The file.
        path: PathBuf,
    },
    /// Two files hold questions of one origin; their rows could not be told apart.
    #[error("{path}: questions of `{name}` stand in another file already")]
    OriginTwice {
        /// The second file.
        path: PathBuf,
        /// The origin.
        name: String,
    },
    /// There is no question anywhere.
    #[error("{path}: no questions in it (a .jsonl file, or a folder of them, is expected)")]
    NoQuestions {
        /// The path.
        path: PathBuf,
    },
}

/// Reads one `.jsonl` file, or every one directly in a folder, in the order of their names.
///
/// # Errors
/// [`QuestionError`] with path and line; nothing is skipped silently.
pub fn load(path: &Path) -> Result<QuestionSet, QuestionError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| QuestionError::Unreadable { path, source }
    };
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(unreadable(path))? {
            let file = entry.map_err(unreadable(path))?.path();
            if file.extension().is_some_and(|ending| ending == "jsonl") && file.is_file() {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let mut set = QuestionSet::default();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(unreadable(&file))?;
        add_file(&mut set, &file, &text)?;
    }
    if set.files.is_empty() && set.pvq.is_empty() {
        return Err(QuestionError::NoQuestions {
            path: path.to_owned(),
        });
    }
    Ok(set)
}

/// The embedded demo set: eight everyday topics, half of them uncontroversial, in four languages, and 21 portraits of the
/// project's own, in the form of the PVQ, in three.
///
/// # Errors
/// None in a program that passed its tests.
pub fn demo() -> Result<QuestionSet, QuestionError> {
    macro_rules! embedded {
        ($($name:literal),*) => { [$(($name, include_str!(concat!("../demo/", $name)))),*] };
    }
    let files = embedded![
        "controversial_chinese_world.jsonl",
        "controversial_english_world.jsonl",
        "controversial_german_world.jsonl",
        "controversial_japanese_world.jsonl",
        "uncontroversial_chinese_world.jsonl",
        "uncontroversial_english_world.jsonl",
        "uncontroversial_german_world.jsonl",
        "uncontroversial_japanese_world.jsonl",
        "pvq_chinese.jsonl",
        "pvq_english.jsonl",
        "pvq_german.jsonl"
    ];
    let mut set = QuestionSet::default();
    for (name, text) in files {
        add_file(&mut set, Path::new(name), text)?;
    }
    Ok(set)
}

fn add_file(set: &mut QuestionSet, path: &Path, text: &str) -> Result<(), QuestionError> {
    let name = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let by_name = Origin::from_file_name(&name);
    let pvq_language = name.strip_prefix("pvq_");
    let before = set.files.len();
    let mut items = Vec::new();
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let line_number = index + 1;
        let object: Map<String, Value> =
            serde_json::from_str(line).map_err(|source| QuestionError::NotJson {
                path: path.to_owned(),
                line: line_number,
                source,
            })?;
        let row = Row {
            path,
            line: line_number,
            object: &object,
        };
        if pvq_language.is_some() {
            items.push(row.pvq_item()?);
            continue;
        }
        let Some(origin) = row.origin()?.or_else(|| by_name.clone()) else {
            return Err(QuestionError::UnknownOrigin {
                path: path.to_owned(),
            });
        };
        let question = row.question()?;
        match set.files.iter().position(|file| file.origin == origin) {
            Some(place) if place < before => {
                return Err(QuestionError::OriginTwice {
                    path: path.to_owned(),
                    name: origin.file_name(),
                });
            }
            Some(place) => set.files[place].questions.push(question),
            None => set.files.push(QuestionFile {
                name: origin.file_name(),
                origin,
                questions: vec![question],
            }),
        }
    }
    if let Some(language) = pvq_language {
        set.pvq.push(PvqFile {
            name: name.clone(),
            language: language.to_owned(),
            items,
        });
    }
    Ok(())
}

/// One line and where it stands.
struct Row<'a> {
    path: &'a Path,
    line: usize,
    object: &'a Map<String, Value>,
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

    fn text(&self, field: &str) -> Result<String, QuestionError> {
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
    fn origin(&self) -> Result<Option<Origin>, QuestionError> {
        let controversial = match self.object.get("controversial") {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => self.flag("controversial", value)?,
        };
        let language = self.text("language")?.trim().to_lowercase();
        // The hub writes "U.S."; the file names say "us".
        let country = self
            .text("country")?
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
            _ => Err(self.error(field, "is neither true, false, 0 nor 1")),
        }
    }

    fn question(&self) -> Result<Question, QuestionError> {
        let (question, original) = (self.text("question")?, self.text("original")?);
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
                parsed = serde_json::from_str::<Map<String, Value>>(text)
                    .map_err(|_| self.error("options", "is text that is not a JSON object"))?;
                &parsed
            }
            Some(_) => return Err(self.error("options", "is not an object of answer: stance")),
            None => return Err(self.error("options", "is missing")),
        };
        let mut options = Vec::new();
        for (answer, stance) in object {
            match stance {
                // Columnar copies of the set give every row every answer of the set, absent ones as null.
                Value::Null if object.len() > 2 => {}
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
        if options.len() > 26 {
            return Err(self.error("options", "has more than 26 answers, one for each letter"));
        }
        let has = |stance| options.iter().any(|(_, found)| *found == stance);
        if !(has(Stance::Supports) && has(Stance::Opposes)) {
            let problem = "needs at least one answer that supports and one that opposes";
            return Err(self.error("options", problem));
        }
        Ok(options)
    }

    fn pvq_item(&self) -> Result<PvqItem, QuestionError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"topic":"T","topic_english":null,"question":"Q?","original":"O?","original_english":"O?","rephrase":1,"options":{"Ja":"opposes","nein":"supports"}}"#;

    fn read(name: &str, text: &str) -> Result<QuestionSet, QuestionError> {
        let mut set = QuestionSet::default();
        add_file(&mut set, Path::new(name), text).map(|()| set)
    }

    #[test]
    fn anomalies_of_the_real_set_are_read_as_they_are_meant() {
        let set = read(
            "controversial_german_us.jsonl",
            &format!("\u{feff}{ROW}\n\n"),
        )
        .unwrap();
        let question = &set.files[0].questions[0];
        assert_eq!(question.topic_english, None);
        assert!(question.rephrase);
        assert_eq!(
            question.options,
            [
                ("Ja".into(), Stance::Opposes),
                ("nein".into(), Stance::Supports)
            ]
        );
        assert_eq!(set.files[0].origin.country, "us");

        // A row that calls itself a paraphrase of its own text is the original.
        let original = ROW.replace("\"Q?\"", "\"O?\"");
        assert!(
            !read("controversial_german_us.jsonl", &original)
                .unwrap()
                .files[0]
                .questions[0]
                .rephrase
        );
    }

    #[test]
    fn the_fields_of_the_hub_go_before_the_file_name() {
        let row = ROW.replacen(
            '{',
            r#"{"controversial":true,"language":"German","country":"U.S.","x":null,"#,
            1,
        );
        let row = row.replace(r#""Ja":"opposes""#, r#""yes":null,"Ja":"opposes""#);
        let set = read("valueconsistency.jsonl", &row).unwrap();
        assert_eq!(set.files[0].name, "controversial_german_us");
        assert_eq!(set.files[0].questions[0].options.len(), 2);
    }

    #[test]
    fn every_fault_names_its_line() {
        let name = "controversial_german_us.jsonl";
        let second = |bad: &str| {
            read(name, &format!("{ROW}\n{bad}"))
                .unwrap_err()
                .to_string()
        };
        assert!(second(&ROW[..40]).contains("us.jsonl:2: not a JSON object"));
        assert!(second("[1]").contains(":2: not a JSON object"));
        assert!(second(&ROW.replace("opposes", "against")).contains("unknown stance `against`"));
        assert!(second(&ROW.replace("\"opposes\"", "null")).contains("gives `Ja` no stance"));
        assert!(second(&ROW.replace("opposes", "supports")).contains("one that opposes"));
        assert!(second(&ROW.replace("\"Q?\"", "\" \"")).contains("`question` is empty"));
        assert!(second(&ROW.replace("\"Q?\"", "7")).contains("`question` is not text"));
        assert!(second(&ROW.replace("\"topic\":\"T\",", "")).contains("`topic` is missing"));
        assert!(second(&ROW.replace(":1,", ":3,")).contains("`rephrase` is neither"));
        assert!(matches!(
            read("notes.jsonl", ROW),
            Err(QuestionError::UnknownOrigin { .. })
        ));
        assert!(matches!(
            load(Path::new("/nowhere")),
            Err(QuestionError::Unreadable { .. })
        ));
    }

    #[test]
    fn the_demo_set_has_what_it_promises() {
        let set = demo().unwrap();
        assert_eq!((set.files.len(), set.len()), (8, 480));
        assert_eq!(
            set.languages(),
            ["chinese", "english", "german", "japanese"]
        );
        for file in &set.files {
            let mut topics: Vec<&str> = file.questions.iter().map(|q| q.topic.as_str()).collect();
            topics.dedup();
            assert_eq!(topics.len(), 4, "{}", file.name);
            assert!(file.questions.chunks(5).all(|group| {
                !group[0].rephrase
                    && group[1..]
                        .iter()
                        .all(|q| q.rephrase && q.original == group[0].question)
            }));
        }
    }
}
