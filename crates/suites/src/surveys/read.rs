//! Files of questions with what people answered.

use super::data::{People, Question};
use super::literal::Literal;
use crate::SuiteError;
use crate::shared::draw::fnv;
use crate::shared::rows::Rows;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How far shares may be from 1 together: what is published is rounded.
const ROUNDED: f64 = 0.02;
/// Options at most, which have a letter each.
const MOST_OPTIONS: usize = 26;
/// Options of published files that decline, in lower case.
const DECLINING: [&str; 12] = [
    "don't know",
    "dont know",
    "do not know",
    "dk",
    "refused",
    "dk/refused",
    "don't know/refused",
    "refuse to answer",
    "no answer",
    "no opinion",
    "not sure",
    "decline to answer",
];

/// A question as a line of a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    question: String,
    #[serde(default)]
    topic: String,
    #[serde(default = "english")]
    language: String,
    options: Vec<String>,
    #[serde(default)]
    ordinal: bool,
    #[serde(default)]
    declines: Vec<String>,
    #[serde(deserialize_with = "each_once")]
    human: BTreeMap<String, Answers>,
}

/// A map in which no name stands twice.
fn each_once<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Answers>, D::Error> {
    struct Populations;

    impl<'de> Visitor<'de> for Populations {
        type Value = BTreeMap<String, Answers>;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("shares by population")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some((name, answers)) = from.next_entry::<String, Answers>()? {
                if all.insert(name.clone(), answers).is_some() {
                    return Err(A::Error::custom(format!("`{name}` is there twice")));
                }
            }
            Ok(all)
        }
    }

    from.deserialize_map(Populations)
}

fn english() -> String {
    "english".to_owned()
}

/// What a population answered: shares by option, or in the order of options, and maybe of how many people.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Answers {
    List(Vec<f64>),
    Counted { n: Option<u64>, shares: Shares },
    Named(BTreeMap<String, f64>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shares {
    List(Vec<f64>),
    Named(BTreeMap<String, f64>),
}

/// Shares in the order of options; an option that is not named was chosen by nobody.
fn in_order(options: &[String], shares: Shares) -> Result<Vec<f64>, String> {
    match shares {
        Shares::List(shares) => Ok(shares),
        Shares::Named(named) => {
            if let Some(other) = named.keys().find(|name| !options.contains(name)) {
                return Err(format!("`{other}` is none of the options"));
            }
            let share = |option: &String| named.get(option).copied().unwrap_or(0.0);
            Ok(options.iter().map(share).collect())
        }
    }
}

/// A name for a question that has none, which does not depend on its place.
fn name_of(question: &str, topic: &str, options: &[String]) -> String {
    let texts = [question, topic].into_iter();
    let texts = texts.chain(options.iter().map(String::as_str));
    let bytes = texts.flat_map(|text| text.bytes().chain([0]));
    format!("q{:012x}", fnv(bytes) >> 16)
}

/// Everything that must hold of a question, and shares that sum to 1.
fn checked(mut question: Question, renormalize: bool) -> Result<Question, String> {
    let id = &question.id;
    let count = question.options.len();
    if question.question.trim().is_empty() {
        return Err(format!("`{id}`: the question is empty"));
    }
    if !(2..=MOST_OPTIONS).contains(&count) {
        return Err(format!(
            "`{id}`: {count} options, where there must be 2 to {MOST_OPTIONS}"
        ));
    }
    let distinct: BTreeSet<&String> = question.options.iter().collect();
    if distinct.len() < count {
        return Err(format!("`{id}`: an option is there twice"));
    }
    if let Some(other) = question
        .declines
        .iter()
        .find(|name| !question.options.contains(name))
    {
        return Err(format!(
            "`{id}`: `{other}` declines, and is none of the options"
        ));
    }
    if count - question.declines.len() < 2 {
        return Err(format!("`{id}`: fewer than two options answer"));
    }
    if question.human.is_empty() {
        return Err(format!("`{id}`: there are no people"));
    }
    for (population, people) in &mut question.human {
        let shares = &mut people.shares;
        if shares.len() != count {
            let found = shares.len();
            return Err(format!(
                "`{id}`, {population}: {found} shares of {count} options"
            ));
        }
        if let Some(wrong) = shares.iter().find(|p| !p.is_finite() || **p < 0.0) {
            return Err(format!("`{id}`, {population}: {wrong} is no share"));
        }
        let sum: f64 = shares.iter().sum();
        if sum <= 0.0 || ((sum - 1.0).abs() > ROUNDED && !renormalize) {
            return Err(format!(
                "`{id}`, {population}: shares sum to {sum:.3}, not to 1"
            ));
        }
        for share in shares {
            *share /= sum;
        }
    }
    Ok(question)
}

/// The questions of a text of JSON lines.
pub(crate) fn of_lines(text: &str, renormalize: bool) -> Result<Vec<Question>, String> {
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |problem: String| format!("line {number}: {problem}");
        let line: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let options = line.options;
        let mut human = BTreeMap::new();
        for (population, answers) in line.human {
            let (n, shares) = match answers {
                Answers::List(shares) => (None, Shares::List(shares)),
                Answers::Counted { n, shares } => (n, shares),
                Answers::Named(shares) => (None, Shares::Named(shares)),
            };
            let shares = in_order(&options, shares)
                .map_err(|problem| wrong(format!("{population}: {problem}")))?;
            human.insert(population, People { shares, n });
        }
        let id = line
            .id
            .unwrap_or_else(|| name_of(&line.question, &line.topic, &options));
        let question = Question {
            id,
            question: line.question,
            topic: line.topic,
            language: line.language,
            options,
            ordinal: line.ordinal,
            declines: line.declines,
            human,
        };
        all.push(checked(question, renormalize).map_err(wrong)?);
    }
    Ok(all)
}

/// The columns that are read: those of `GlobalOpinionQA`, or a row for each option and population.
const COLUMNS: [&str; 12] = [
    "question",
    "selections",
    "options",
    "source",
    "id",
    "topic",
    "language",
    "option",
    "population",
    "share",
    "n",
    "ordinal",
];

fn of_rows(rows: &Rows, renormalize: bool) -> Result<Vec<Question>, String> {
    if rows.column("selections").is_some() {
        of_selections(rows, renormalize)
    } else {
        of_long(rows, renormalize)
    }
}

/// A row a question, as Durmus et al. (arXiv 2306.16388) publish them: options and shares by country as Python prints them.
fn of_selections(rows: &Rows, renormalize: bool) -> Result<Vec<Question>, String> {
    let question = rows.needed("question", "`question`")?;
    let options = rows.needed("options", "`options`")?;
    let selections = rows.needed("selections", "`selections`")?;
    let source = rows.column("source").or_else(|| rows.column("topic"));
    let mut all = Vec::new();
    for row in 0..rows.len() {
        let wrong = |problem: String| format!("row {}: {problem}", row + 1);
        let cell = |column: usize| rows.cell(row, Some(column)).unwrap_or_default();
        let of = |name: &str, problem: String| wrong(format!("`{name}` {problem}"));
        let listed = Literal::parse(cell(options)).and_then(Literal::texts);
        let listed = listed.map_err(|problem| of("options", problem))?;
        let Literal::Map(by_country) =
            Literal::parse(cell(selections)).map_err(|problem| of("selections", problem))?
        else {
            return Err(of("selections", "is no dictionary".to_owned()));
        };
        let mut human = BTreeMap::new();
        for (country, shares) in by_country {
            let (Literal::Text(country), Literal::List(shares)) = (country, shares) else {
                return Err(of("selections", "has no list of each country".to_owned()));
            };
            let shares = shares.into_iter().map(|share| match share {
                Literal::Number(share) => Ok(share),
                _ => Err(of(
                    "selections",
                    "has something that is no number".to_owned(),
                )),
            });
            let shares = shares.collect::<Result<Vec<f64>, String>>()?;
            if human
                .insert(country.clone(), People { shares, n: None })
                .is_some()
            {
                return Err(wrong(format!("`{country}` is there twice")));
            }
        }
        let declines = listed
            .iter()
            .filter(|option| DECLINING.contains(&option.trim().to_lowercase().as_str()));
        let topic = rows.cell(row, source).unwrap_or_default();
        let question = Question {
            id: name_of(cell(question), topic, &listed),
            question: cell(question).to_owned(),
            topic: topic.to_owned(),
            language: english(),
            declines: declines.cloned().collect(),
            options: listed,
            ordinal: false,
            human,
        };
        all.push(checked(question, renormalize).map_err(wrong)?);
    }
    Ok(all)
}

/// Shares by option, and of how many people.
type Named = (BTreeMap<String, f64>, Option<u64>);

/// A row an option and population; options in the order in which they come first.
fn of_long(rows: &Rows, renormalize: bool) -> Result<Vec<Question>, String> {
    let question = rows.needed("question", "`question`, or `selections`")?;
    let option = rows.needed("option", "`option`, or `selections`")?;
    let population = rows.needed("population", "`population`")?;
    let share = rows.needed("share", "`share`")?;
    let column = |name: &str| rows.column(name);
    let (id, topic, language) = (column("id"), column("topic"), column("language"));
    let (n, ordinal) = (column("n"), column("ordinal"));
    let mut order: Vec<String> = Vec::new();
    let mut found: BTreeMap<String, Question> = BTreeMap::new();
    let mut shares: BTreeMap<(String, String), Named> = BTreeMap::new();
    for row in 0..rows.len() {
        let wrong = |problem: String| format!("row {}: {problem}", row + 1);
        let cell = |column: Option<usize>| rows.cell(row, column).map(str::to_owned);
        let needed = |column: usize, name: &str| {
            cell(Some(column)).ok_or_else(|| wrong(format!("`{name}` is empty")))
        };
        let text = needed(question, "question")?;
        let topic = cell(topic).unwrap_or_default();
        let id = cell(id).unwrap_or_else(|| name_of(&text, &topic, &[]));
        let option = needed(option, "option")?;
        let of = found.entry(id.clone()).or_insert_with(|| {
            order.push(id.clone());
            Question {
                id: id.clone(),
                question: text.clone(),
                topic,
                language: cell(language).unwrap_or_else(english),
                ordinal: cell(ordinal).is_some_and(|text| {
                    ["1", "true", "yes"].contains(&text.to_lowercase().as_str())
                }),
                ..Question::default()
            }
        });
        if of.question != text {
            return Err(wrong(format!("`{id}` is another question before")));
        }
        if !of.options.contains(&option) {
            if DECLINING.contains(&option.trim().to_lowercase().as_str()) {
                of.declines.push(option.clone());
            }
            of.options.push(option.clone());
        }
        let text = needed(share, "share")?;
        let value: f64 = text
            .parse()
            .map_err(|_| wrong(format!("`share` is `{text}`, not a number")))?;
        let people = match cell(n) {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| wrong(format!("`n` is `{text}`, not a count")))?,
            ),
        };
        let population = needed(population, "population")?;
        let entry = shares.entry((id, population.clone())).or_default();
        entry.1 = people.or(entry.1);
        if entry.0.insert(option.clone(), value).is_some() {
            return Err(wrong(format!("`{option}` of {population} is there twice")));
        }
    }
    for ((id, population), (named, n)) in shares {
        if let Some(question) = found.get_mut(&id) {
            let shares = in_order(&question.options, Shares::Named(named))?;
            question.human.insert(population, People { shares, n });
        }
    }
    let all = order.iter().filter_map(|id| found.remove(id));
    all.map(|question| checked(question, renormalize)).collect()
}

/// The files of a path: itself, or those of a folder, in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, SuiteError> {
    let wrong =
        |error: std::io::Error| SuiteError::data(format!("{}: {error}", path.display()), "");
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let entry = entry.map_err(wrong)?.path();
        let ending = entry.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ["jsonl", "csv", "parquet"].contains(&ending)) {
            found.push(entry);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(SuiteError::data(
            format!("{}: no .jsonl, .csv or .parquet file in it", path.display()),
            "",
        ));
    }
    Ok(found)
}

/// The questions of files and folders.
pub(crate) fn paths(paths: &[String], renormalize: bool) -> Result<Vec<Question>, SuiteError> {
    let mut all: Vec<Question> = Vec::new();
    for path in paths {
        for file in files(Path::new(path))? {
            let wrong = |problem: String| {
                SuiteError::data(
                    format!("{}: {problem}", file.display()),
                    "`concord schema surveys` says what is in a line; --renormalize makes shares sum to 1",
                )
            };
            let ending = file.extension().and_then(|ending| ending.to_str());
            if ending.is_some_and(|ending| ["pkl", "pickle"].contains(&ending)) {
                return Err(SuiteError::data(
                    format!(
                        "{}: a pickle can run code, and is not opened",
                        file.display()
                    ),
                    "convert it to CSV or Parquet",
                ));
            }
            let found = if ending == Some("jsonl") {
                let text = std::fs::read_to_string(&file).map_err(|e| wrong(e.to_string()))?;
                of_lines(&text, renormalize)
            } else {
                let rows = Rows::of_file(&file, &COLUMNS);
                rows.and_then(|rows| of_rows(&rows, renormalize))
            };
            let found = found.map_err(wrong)?;
            if found.is_empty() {
                return Err(wrong("it has no question".to_owned()));
            }
            all.extend(found);
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = all.iter().find(|question| !seen.insert(&question.id)) {
        return Err(SuiteError::data(
            format!("the question `{}` is there twice", twice.id),
            "name each file once, and give every question an id of its own",
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Result<Vec<Question>, String> {
        of_rows(&Rows::of_csv(text)?, false)
    }

    #[test]
    fn lines_are_read_whichever_way_shares_are_written() {
        let text = concat!(
            r#"{"id":"a","question":"Q?","options":["x","y"],"human":{"P":{"x":0.25,"y":0.75},"R":[0.5,0.5]}}"#,
            "\n\n",
            r#"{"question":"S?","options":["x","y","no"],"ordinal":true,"declines":["no"],"human":{"P":{"n":12,"shares":{"y":1}}}}"#,
        );
        let found = of_lines(text, false).unwrap();
        assert_eq!(found[0].human["P"].shares, [0.25, 0.75]);
        assert_eq!(found[1].human["P"].shares, [0.0, 1.0, 0.0]);
        assert_eq!(found[1].human["P"].n, Some(12));
        assert!(found[1].ordinal && found[1].declines(2) && found[1].id.starts_with('q'));
        assert_eq!(found[1].answering(&[0.2, 0.2, 0.6]), Some(vec![0.5, 0.5]));
        for (line, said) in [
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[0.5,0.6]}}"#,
                "sum to 1.100",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[1]}}"#,
                "1 shares of 2",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[2,-1]}}"#,
                "-1 is no share",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":{"z":1}}}"#,
                "none of the options",
            ),
            (
                r#"{"question":"Q?","options":["x","x"],"human":{"P":[1,0]}}"#,
                "twice",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[1,0],"P":[0,1]}}"#,
                "`P` is there twice",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{}}"#,
                "no people",
            ),
            (
                r#"{"question":"Q?","options":["x"],"human":{"P":[1]}}"#,
                "1 options",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[1,0]},"stance":1}"#,
                "unknown field",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"declines":["y"],"human":{"P":[1,0]}}"#,
                "fewer than two",
            ),
        ] {
            let error = of_lines(line, false).unwrap_err();
            assert!(
                error.contains(said) && error.starts_with("line 1"),
                "{error}"
            );
        }
        let rounded = r#"{"question":"Q?","options":["x","y"],"human":{"P":[0.5,0.6]}}"#;
        let made = of_lines(rounded, true).unwrap();
        assert!((made[0].human["P"].shares[0] - 0.5 / 1.1).abs() < 1e-12);
    }

    #[test]
    fn the_published_form_is_read() {
        let text = "question,selections,options,source\nQ?,\"defaultdict(<class 'list'>, {'Here': [0.25, 0.5, 0.25], 'There': [0, 1, 0]})\",\"['x', \"\"y's\"\", 'DK/Refused']\",GAS\n";
        let found = csv(text).unwrap();
        assert_eq!(found[0].options, ["x", "y's", "DK/Refused"]);
        assert_eq!(found[0].declines, ["DK/Refused"]);
        assert_eq!((found[0].topic.as_str(), found[0].human.len()), ("GAS", 2));
        let wrong = text.replace("'There'", "'Here'");
        assert!(csv(&wrong).unwrap_err().contains("twice"));
        let wrong = text.replace("[0, 1, 0]", "[0, 1]");
        assert!(csv(&wrong).unwrap_err().contains("2 shares of 3"));
    }

    #[test]
    fn rows_of_options_are_put_together() {
        let text = "question,option,population,share,n\nQ?,x,P,.5,10\nQ?,y,P,.5,10\nQ?,y,R,1,\n";
        let found = csv(text).unwrap();
        assert_eq!(found[0].human["R"].shares, [0.0, 1.0]);
        assert_eq!(found[0].human["P"].n, Some(10));
        assert!(
            csv(&format!("{text}Q?,y,R,1,\n"))
                .unwrap_err()
                .contains("twice")
        );
        assert!(
            csv("question,option,share\n")
                .unwrap_err()
                .contains("`population`")
        );
        assert!(
            csv("question,option,population,share\nQ?,x,P,many\n")
                .unwrap_err()
                .contains("`many`")
        );
    }

    #[test]
    fn a_pickle_is_never_opened_and_nothing_is_asked_twice() {
        let folder = tempfile::tempdir().unwrap();
        let pickle = folder.path().join("a.pkl");
        std::fs::write(&pickle, "x").unwrap();
        let of = |path: &Path| paths(&[path.to_str().unwrap().to_owned()], false);
        assert!(of(&pickle).unwrap_err().to_string().contains("not opened"));
        assert!(
            of(folder.path())
                .unwrap_err()
                .to_string()
                .contains("no .jsonl")
        );
        let line = r#"{"question":"Q?","options":["x","y"],"human":{"P":[1,0]}}"#;
        let file = folder.path().join("a.jsonl");
        std::fs::write(&file, line).unwrap();
        assert_eq!(of(&file).unwrap().len(), 1);
        assert_eq!(of(folder.path()).unwrap().len(), 1);
        let again = file.to_str().unwrap().to_owned();
        let twice = paths(&[again.clone(), again], false).unwrap_err();
        assert!(twice.to_string().contains("there twice"));
    }
}
