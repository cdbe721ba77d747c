//! Reads question files, with the line that is wrong where one is.

use crate::object::object_of;
use crate::question::{Origin, PvqFile, Question, QuestionFile, QuestionSet};
use crate::row::{PORTRAIT, QUESTION, Row};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap, HashSet};
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
    /// A CSV file breaks the rules of CSV, or a row has more or fewer fields than the header.
    #[error("{path}:{line}: {problem}")]
    NotCsv {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What the parser said.
        problem: String,
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
    /// Two files hold the same question of one origin.
    #[error("{path}:{line}: this question stands in another file already")]
    QuestionTwice {
        /// The second file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Two files hold portraits in one language.
    #[error("{path}: `{name}` stands in another file already")]
    PortraitsTwice {
        /// The second file.
        path: PathBuf,
        /// What they are called.
        name: String,
    },
    /// A line, or a whole file, is longer than any set of questions.
    #[error("{path}:{line}: longer than {most} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The most that is read.
        most: usize,
    },
    /// There is no question anywhere.
    #[error("{path}: no questions in it")]
    NoQuestions {
        /// The path.
        path: PathBuf,
    },
}

/// Reads one `.jsonl` or `.csv` file, or every one directly in a folder, in the order of their names. Beside questions, a
/// folder `validate/paraphrase` may say which originals people found well paraphrased.
///
/// # Errors
/// [`QuestionError`] with path and line; nothing is skipped silently.
pub fn load(path: &Path) -> Result<QuestionSet, QuestionError> {
    let mut set = QuestionSet::default();
    add(&mut set, path)?;
    Ok(set)
}

/// Reads several files or folders as one set, in the order in which they are named.
///
/// # Errors
/// As [`load`]; [`QuestionError::QuestionTwice`] where two of them have the same question of one origin.
pub fn load_all(paths: &[impl AsRef<Path>]) -> Result<QuestionSet, QuestionError> {
    let mut set = QuestionSet::default();
    for path in paths {
        add(&mut set, path.as_ref())?;
    }
    Ok(set)
}

fn add(set: &mut QuestionSet, path: &Path) -> Result<(), QuestionError> {
    let before = (set.files.len(), set.pvq.len());
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| QuestionError::Unreadable { path, source }
    };
    let (mut files, mut unread) = (Vec::new(), Vec::new());
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(unreadable(path))? {
            let entry = entry.map_err(unreadable(path))?;
            let (file, name) = (
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            );
            // Hidden files are other programs'.
            if name.starts_with('.') {
                continue;
            }
            let is_read = has_ending(&file, "jsonl") || has_ending(&file, "csv");
            if is_read && file.is_file() {
                files.push(file);
            } else if is_read || MEANT.iter().any(|ending| has_ending(&file, ending)) {
                unread.push(name);
            } else if file.is_dir() && name != "validate" {
                unread.push(format!("{name}/"));
            }
        }
        files.sort();
        unread.sort();
    } else {
        files.push(path.to_owned());
    }
    set.unread.extend(unread);
    for file in files {
        let text = read_text(&file)?;
        add_file(set, &file, &text)?;
    }
    if (set.files.len(), set.pvq.len()) == before {
        return Err(QuestionError::NoQuestions {
            path: path.to_owned(),
        });
    }
    add_validated(set, &path.join("validate").join("paraphrase"))
}

/// Endings of files that are not read, though they may hold questions.
const MEANT: [&str; 9] = [
    "json", "ndjson", "tsv", "xlsx", "parquet", "gz", "zip", "zst", "bz2",
];

/// The longest line of a question file, in bytes.
const LONGEST_LINE: usize = 1 << 20;
/// The largest question file, in bytes.
const LARGEST_FILE: usize = 1 << 30;

/// Whether a file's name ends so, in capitals or not.
fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

/// Reads a file of lines that are not too long.
fn read_text(path: &Path) -> Result<String, QuestionError> {
    use std::io::{BufRead, BufReader, Error, ErrorKind, Read};
    let unreadable = |source| QuestionError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(std::fs::File::open(path).map_err(unreadable)?);
    let mut bytes = Vec::new();
    for line in 1.. {
        let limit = LONGEST_LINE as u64 + 1;
        let read = file.by_ref().take(limit).read_until(b'\n', &mut bytes);
        let read = read.map_err(unreadable)?;
        let whole = bytes.ends_with(b"\n") || read <= LONGEST_LINE;
        if !whole || bytes.len() > LARGEST_FILE {
            return Err(QuestionError::TooLong {
                path: path.to_owned(),
                line,
                most: if whole { LARGEST_FILE } else { LONGEST_LINE },
            });
        }
        if read == 0 {
            break;
        }
    }
    String::from_utf8(bytes)
        .map_err(|error| unreadable(Error::new(ErrorKind::InvalidData, error.utf8_error())))
}

/// Reads which originals of each file have a row that says `yes` in `questions_equivalent`: people found their paraphrases to
/// ask the same.
fn add_validated(set: &mut QuestionSet, folder: &Path) -> Result<(), QuestionError> {
    // A file in place of the folder is no reason to stop.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let tables: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| has_ending(path, "csv"))
        .collect();
    for file in &set.files {
        let is_its = |path: &&PathBuf| path.file_stem().is_some_and(|stem| *stem == *file.name);
        let Some(path) = tables.iter().find(is_its) else {
            continue;
        };
        let text = read_text(path)?;
        let mut kept = BTreeSet::new();
        for (line, object) in csv_rows(path, &text)? {
            let row = Row {
                path,
                line,
                object: &object,
            };
            let original = row.text("original")?;
            if row.text("questions_equivalent")?.trim() == "yes" {
                kept.insert(original);
            }
        }
        set.validated.insert(file.name.clone(), kept);
    }
    Ok(())
}

/// A row and its line, from 1.
type NumberedRow = (usize, Map<String, Value>);

/// The rows of a CSV file as objects by header, each with its line; an empty field is absent.
fn csv_rows(path: &Path, text: &str) -> Result<Vec<NumberedRow>, QuestionError> {
    let bad = |error: csv::Error| QuestionError::NotCsv {
        path: path.to_owned(),
        line: error.position().map_or(1, csv::Position::line),
        problem: error.to_string(),
    };
    let not_csv = |line: u64, problem: String| QuestionError::NotCsv {
        path: path.to_owned(),
        line,
        problem,
    };
    if let Some((line, problem)) = misplaced_quote(text) {
        return Err(not_csv(line, problem.to_owned()));
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(bad)?.clone();
    for (index, name) in headers.iter().map(str::trim).enumerate() {
        if !name.is_empty() && headers.iter().take(index).any(|other| other.trim() == name) {
            return Err(not_csv(1, format!("the column `{name}` is there twice")));
        }
    }
    let alone = headers.iter().next().filter(|_| headers.len() == 1);
    let separator = alone.and_then(|name| [';', '\t', '|'].into_iter().find(|c| name.contains(*c)));
    if let Some(separator) = separator {
        return Err(not_csv(
            1,
            format!("its columns are separated by {separator:?}; commas are read"),
        ));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(bad)?;
        let line = record.position().map_or(0, csv::Position::line);
        let fields = headers
            .iter()
            .zip(&record)
            .filter(|(_, field)| !field.is_empty());
        let object = fields.map(|(name, field)| (name.trim().to_owned(), Value::from(field)));
        rows.push((usize::try_from(line).unwrap_or(0), object.collect()));
    }
    Ok(rows)
}

/// The first quote that is never closed, or closed in the middle of a field: readers of CSV would swallow rows after it. With its line,
/// from 1.
fn misplaced_quote(text: &str) -> Option<(u64, &'static str)> {
    let (mut line, mut opened) = (1, None);
    let mut field_begins = true;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, opened) {
            ('"', Some(at)) => match characters.peek() {
                Some('"') => {
                    characters.next();
                }
                None | Some(',' | '\n' | '\r') => opened = None,
                Some(_) => {
                    return Some((
                        at,
                        "text stands after a closing quote; a quote in a field is written twice",
                    ));
                }
            },
            ('"', None) if field_begins => opened = Some(line),
            _ => {}
        }
        line += u64::from(c == '\n');
        field_begins = opened.is_none() && matches!(c, ',' | '\n' | '\r');
    }
    opened.map(|at| (at, "a quote is opened and never closed"))
}

/// The rows of a file of JSON lines, each with its line.
fn json_rows(path: &Path, text: &str) -> Result<Vec<NumberedRow>, QuestionError> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let object = object_of(line).map_err(|source| QuestionError::NotJson {
                path: path.to_owned(),
                line: index + 1,
                source,
            })?;
            Ok((index + 1, object))
        })
        .collect()
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
    // Files of one origin are one: what others have of it.
    let mut of_others: HashMap<usize, HashSet<Question>> = HashMap::new();
    let mut items = Vec::new();
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rows = if has_ending(path, "csv") {
        csv_rows(path, text)?
    } else {
        json_rows(path, text)?
    };
    for (line, object) in rows {
        let row = Row {
            path,
            line,
            object: &object,
        };
        row.knows(if pvq_language.is_some() {
            &PORTRAIT
        } else {
            &QUESTION
        })?;
        if pvq_language.is_some() {
            let item = row.pvq_item()?;
            row.fits(&item, items.first())?;
            items.push(item);
            continue;
        }
        let Some(origin) = row.origin()?.or_else(|| by_name.clone()) else {
            return Err(QuestionError::UnknownOrigin {
                path: path.to_owned(),
            });
        };
        let question = row.question()?;
        match set.files.iter().position(|file| file.origin == origin) {
            Some(place) => {
                let questions = &mut set.files[place].questions;
                if place < before {
                    let known = of_others.entry(place);
                    let known = known.or_insert_with(|| questions.iter().cloned().collect());
                    if known.contains(&question) {
                        let path = path.to_owned();
                        return Err(QuestionError::QuestionTwice { path, line });
                    }
                }
                questions.push(question);
            }
            None => set.files.push(QuestionFile {
                name: origin.file_name(),
                origin,
                questions: vec![question],
            }),
        }
    }
    if let Some(language) = pvq_language {
        if set.pvq.iter().any(|other| other.language == language) {
            return Err(QuestionError::PortraitsTwice {
                path: path.to_owned(),
                name: format!("pvq_{language}"),
            });
        }
        set.pvq.push(PvqFile {
            name: name.clone(),
            language: language.to_owned(),
            items,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stance;

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
    fn a_table_of_ones_own_is_read() {
        let text = "language,topic,question,supports,opposes,neutral\n\
                    french,Vélos,\"Faut-il, en ville, plus de pistes ?\",oui|plutôt oui,non,sans avis\n\
                    french,Vélos,Les pistes sont-elles utiles ?,oui,non,\n";
        let set = read("mine.csv", text).unwrap();
        let file = &set.files[0];
        assert_eq!(file.name, "controversial_french_world");
        let options: Vec<(&str, Stance)> = file.questions[0]
            .options
            .iter()
            .map(|(text, stance)| (text.as_str(), *stance))
            .collect();
        assert_eq!(
            options,
            [
                ("oui", Stance::Supports),
                ("plutôt oui", Stance::Supports),
                ("non", Stance::Opposes),
                ("sans avis", Stance::Neutral)
            ]
        );
        assert_eq!(file.questions[1].options.len(), 2);
        assert!(
            !file.questions[1].rephrase && file.questions[1].original.starts_with("Les pistes")
        );
        let fails = |text: &str| read("mine.csv", text).unwrap_err().to_string();
        assert!(
            fails("language,topic,question\nfrench,T,Q?\n")
                .contains("mine.csv:2: field `options` is missing")
        );
        assert!(
            fails("language,topic,question,supports,opposes\nfrench,T,Q?,oui\n")
                .contains("mine.csv:2:")
        );
        assert!(
            fails("language,topic,question,supports,opposes\nfrench,T,Q?,oui,oui\n")
                .contains("repeats")
        );
        assert!(
            fails("language,topic,question,supports,opposes\nfrench,T,Q?,oui|,non\n")
                .contains("empty answer")
        );
        assert!(
            fails("topic,question,supports,opposes\nT,Q?,oui,non\n")
                .contains("say where the questions come from")
        );
    }

    #[test]
    fn validated_paraphrases_stand_beside_the_questions() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("validate/paraphrase")).unwrap();
        std::fs::write(at("controversial_german_us.jsonl"), ROW).unwrap();
        let table = at("validate/paraphrase/controversial_german_us.csv");
        std::fs::write(
            &table,
            ",answer,original,questions_equivalent\n0,yes,O?,no\n1,yes,O?,yes\n2,no,P?,no\n",
        )
        .unwrap();
        let set = load(folder.path()).unwrap();
        let kept: Vec<&String> = set.validated["controversial_german_us"].iter().collect();
        assert_eq!(kept, ["O?"]);
        std::fs::write(&table, "original\nO?\n").unwrap();
        assert!(
            load(folder.path())
                .unwrap_err()
                .to_string()
                .contains("questions_equivalent")
        );
        // One file alone has nothing beside it.
        assert!(
            load(&at("controversial_german_us.jsonl"))
                .unwrap()
                .validated
                .is_empty()
        );
    }

    #[test]
    fn the_schema_knows_every_field_that_is_read() {
        let schema =
            |kind: &str| -> Value { serde_json::from_str(crate::schema(kind).unwrap()).unwrap() };
        let has = |kind: &str, fields: &[&str]| {
            let schema = schema(kind);
            for field in fields {
                assert!(schema["properties"].get(field).is_some(), "{kind} {field}");
            }
        };
        has("questions", &QUESTION);
        has("portraits", &PORTRAIT);
        let own = crate::Stimuli::own().unwrap();
        let names: Vec<&str> = own
            .table()
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        has("stimuli", &names);
        assert_eq!(crate::schema("else"), None);
    }

    #[test]
    fn portraits_have_one_list_of_values() {
        let portrait = |values: &[&str], options: &str| {
            let values: Vec<String> = values
                .iter()
                .map(|name| format!(r#"{{"vrd":"value","text":"{name}","text_english":"{name}"}}"#))
                .collect();
            let values = values.join(",");
            format!(
                r#"{{"statement":"S","schwartz_value":"power","values":[{values}],"question":"Q","options":{options}}}"#
            )
        };
        let two = r#"{"me":"supports","not me":"opposes"}"#;
        let read = |rows: &[String]| read("pvq_x.jsonl", &rows.join("\n"));
        let good = portrait(&["Power", "Security"], two);
        assert_eq!(
            read(&[good.clone(), good.clone()]).unwrap().pvq[0]
                .items
                .len(),
            2
        );
        let fails = |row: String| read(&[good.clone(), row]).unwrap_err().to_string();
        assert!(
            fails(portrait(&["Power"], two))
                .contains("pvq_x.jsonl:2: field `values` are not those")
        );
        assert!(
            read(&[portrait(&["Power", "Power"], two)])
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
        let mut set = read(std::slice::from_ref(&good)).unwrap();
        let again = add_file(&mut set, Path::new("pvq_x.JSONL"), &good).unwrap_err();
        assert!(
            again.to_string().contains("`pvq_x` stands in another file"),
            "{again}"
        );
        let neutral = r#"{"me":"supports","not me":"opposes","so so":"neutral"}"#;
        assert!(fails(portrait(&["Power", "Security"], neutral)).contains("support or oppose"));
    }

    #[test]
    fn files_of_one_origin_are_one_and_have_no_question_twice() {
        let mut set = read("controversial_german_us.jsonl", ROW).unwrap();
        let more = ROW.replace("\"Q?\"", "\"Another?\"");
        let rows = ROW.replacen(
            '{',
            r#"{"controversial":true,"language":"german","country":"us","#,
            1,
        );
        let own = more.replacen(
            '{',
            r#"{"controversial":true,"language":"german","country":"us","#,
            1,
        );
        add_file(&mut set, Path::new("mine.jsonl"), &own).unwrap();
        assert_eq!(set.files.len(), 1);
        let asked = set.files[0]
            .questions
            .iter()
            .map(|one| one.question.as_str());
        assert_eq!(asked.collect::<Vec<_>>(), ["Q?", "Another?"]);
        let twice = add_file(&mut set, Path::new("again.jsonl"), &format!("\n{rows}"));
        assert_eq!(
            twice.unwrap_err().to_string(),
            "again.jsonl:2: this question stands in another file already"
        );
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
