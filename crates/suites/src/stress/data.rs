//! Scenarios, values and the sentences around them.

use crate::shared::requests;
use crate::shared::rows::Rows;
use crate::{Given, Loaded, OptionSpec, SuiteError, Takes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Positions, from strongly opposing to strongly favouring.
pub(crate) const POSITIONS: usize = 7;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The scenarios, each plain and nudged.
    pub items: Vec<Item>,
    /// Values by name.
    pub values: Vec<Value>,
    /// The sentences by language.
    pub languages: BTreeMap<String, Wordings>,
    /// What raters are asked about written answers.
    pub readers: Readers,
    /// The values of which they are asked whether an answer treats them as something that matters: the project's own, in English.
    pub emphasised: Vec<String>,
    /// The rules that written answers are held against.
    pub specification: Option<Specification>,
}

/// What raters are asked about written answers, beside their positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readers {
    /// What an answer does with the request.
    pub refusal: RefusalWordings,
    /// Whether it treats a value as something that matters.
    pub emphasis: Asking,
    /// Whether it keeps rules.
    pub specification: SpecificationWordings,
}

/// A question with its choices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asking {
    /// The question.
    pub ask: String,
    /// The choices.
    pub choices: Vec<String>,
}

/// What asks for the type of a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalWordings {
    /// The question.
    pub ask: String,
    /// The types, from full compliance to a bare refusal.
    pub classes: Vec<RefusalClass>,
}

/// A type of refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalClass {
    /// A short name.
    pub name: String,
    /// What the answer does, in a sentence.
    pub says: String,
}

/// What asks whether rules are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecificationWordings {
    /// The question.
    pub ask: String,
    /// Kept, not kept, unclear.
    pub choices: [String; 3],
    /// Answers that are known to keep the shipped rules, or not to.
    pub known: Vec<KnownAnswer>,
}

/// An answer of which it is known whether it keeps the shipped rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownAnswer {
    /// The request.
    pub query: String,
    /// The answer.
    pub answer: String,
    /// Whether it keeps the rules.
    pub keeps: bool,
}

/// Rules that written answers are held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Specification {
    /// What it is called: the name of its file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether it is the one that ships, of which answers are known.
    pub is_own: bool,
}

/// A request that sets two values against each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// A name, the same for the plain request and its nudged forms.
    pub name: String,
    /// The values.
    pub pair: [String; 2],
    /// What it is about; empty where that is unknown.
    pub topic: String,
    /// The language that it is in.
    pub language: String,
    /// Where it is nudged to.
    pub direction: Direction,
    /// The request.
    pub query: String,
}

/// Where a request is nudged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Nowhere.
    Neutral,
    /// To the first value.
    Value1,
    /// To the second.
    Value2,
}

impl Direction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Neutral, Self::Value1, Self::Value2];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Value1 => "value1",
            Self::Value2 => "value2",
        }
    }
}

/// A value, and what it is called in each language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// What it is called, by language; its name where nothing is said.
    #[serde(default)]
    pub called: BTreeMap<String, String>,
}

/// The sentences of a language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wordings {
    /// What asks for a position.
    pub ask: String,
    /// What nudges to a value.
    pub nudge: String,
    /// What asks for the position of somebody's answer.
    pub read: String,
    /// Answers of the lowest, the middle and the highest position.
    pub known: [String; 3],
    /// What a position's text answers, with the request.
    pub likely: String,
    /// The same without one.
    pub bare: String,
    /// The positions, strongly opposing first.
    pub positions: Vec<String>,
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The languages.
    pub languages: Vec<String>,
    /// The most scenarios of each pair; all for nothing.
    pub limit: Option<usize>,
    /// The least rank correlation with which known positions must be read back.
    pub least_read_back: f64,
    /// The most tokens of a written answer; none is written for 0.
    pub answer_tokens: usize,
}

fn whole(text: &str) -> Result<(), String> {
    let found = text.parse::<usize>().map(drop);
    found.map_err(|_| format!("`{text}` must be a whole number"))
}

fn correlation(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(number) if (-1.0..=1.0).contains(&number) => Ok(()),
        _ => Err(format!("`{text}` must be a number from -1 to 1")),
    }
}

const LANGUAGES: [&str; 4] = ["english", "chinese", "german", "japanese"];

fn language(text: &str) -> Result<(), String> {
    if LANGUAGES.contains(&text) {
        return Ok(());
    }
    Err(format!("`{text}` must be one of {}", LANGUAGES.join(", ")))
}

/// The options of the suite.
pub(crate) static SPECS: [OptionSpec; 6] = [
    OptionSpec {
        takes: Takes::Paths,
        ..OptionSpec::new(
            "scenarios",
            "FILE|hf:ID:FILE",
            "Scenarios of your own: CSV or Parquet with the columns `value1`, `value2`, `nudge_direction` and `query`, as the published set has them, and maybe `topic` and `scenario`; a file here or of a data set of the hub; may be given many times",
        )
    },
    OptionSpec {
        takes: Takes::List,
        default: Some("english"),
        check: language,
        ..OptionSpec::new(
            "languages",
            "LANGUAGES",
            "Languages to ask in: english, chinese, german, japanese; a third of the scenarios is in all of them",
        )
    },
    OptionSpec {
        default: Some("0.8"),
        check: correlation,
        ..OptionSpec::new(
            "least-read-back",
            "R",
            "The least rank correlation with which answers of known position must be read back",
        )
    },
    OptionSpec {
        default: Some("0"),
        check: whole,
        ..OptionSpec::new(
            "answer-tokens",
            "N",
            "Write an answer of at most N tokens to each request, which raters (--rater) place and read; 0 for none",
        )
    },
    OptionSpec::new(
        "specification",
        "FILE",
        "Rules as a text file that raters hold written answers against; `none` for no rules [default: rules that ship]",
    ),
    OptionSpec {
        short: Some('L'),
        check: requests::positive,
        ..OptionSpec::new(
            "limit",
            "N",
            "Only the first N scenarios of each pair of values",
        )
    },
];

/// The project's scenarios, as they are kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    languages: BTreeMap<String, Wordings>,
    values: Vec<Value>,
    scenarios: Vec<KeptPair>,
    readers: Readers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptPair {
    pair: [String; 2],
    topic: String,
    texts: Vec<BTreeMap<String, String>>,
}

/// What the project has: the names of its values, a scenario of each pair, and what nudges, in English.
pub(crate) struct Own {
    pub values: Vec<String>,
    pub scenarios: Vec<([String; 2], String)>,
    pub nudge: String,
}

/// The project's values and scenarios.
pub(crate) fn own() -> Result<Own, serde_json::Error> {
    let mut kept: Kept = serde_json::from_str(include_str!("../../data/stress/scenarios.json"))?;
    let name = |name: &str| called(&kept.values, name, LANGUAGES[0]).to_owned();
    let scenarios = kept.scenarios.iter().filter_map(|pair| {
        let query = pair.texts.first()?.get(LANGUAGES[0])?;
        Some((pair.pair.each_ref().map(|value| name(value)), query.clone()))
    });
    Ok(Own {
        scenarios: scenarios.collect(),
        values: kept.values.iter().map(|value| name(&value.name)).collect(),
        nudge: kept
            .languages
            .remove(LANGUAGES[0])
            .map(|wordings| wordings.nudge)
            .unwrap_or_default(),
    })
}

/// What a value is called.
pub(crate) fn called<'a>(values: &'a [Value], name: &'a str, language: &str) -> &'a str {
    let value = values.iter().find(|value| value.name == name);
    let found = value.and_then(|value| value.called.get(language));
    found.map_or(name, String::as_str)
}

/// Reads what the user gave.
pub(crate) fn load(given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
    let damaged = |error: serde_json::Error| SuiteError::data(error.to_string(), "");
    let kept: Kept =
        serde_json::from_str(include_str!("../../data/stress/scenarios.json")).map_err(damaged)?;
    let languages = requests::each_once(given.all("languages"));
    let limit: Option<usize> = given.text("limit").map(|_| given.number("limit"));
    let own = kept.values.iter();
    let emphasised = own.map(|value| called(&kept.values, &value.name, LANGUAGES[0]).to_owned());
    let emphasised = emphasised.collect();
    let mut notes = Vec::new();
    let (items, values) = match given.all("scenarios") {
        files @ [_, ..] => {
            let (items, twice) = read_items(files)?;
            if twice > 0 {
                notes.push(format!(
                    "{twice} requests that stand there twice are asked once"
                ));
            }
            let mut names: Vec<&String> = items.iter().flat_map(|item| &item.pair).collect();
            names.sort();
            names.dedup();
            let values = names.into_iter().map(|name| Value {
                name: name.clone(),
                called: BTreeMap::new(),
            });
            let values = values.collect();
            (items, values)
        }
        [] => (own_items(&kept, &languages), kept.values),
    };
    let all = items.len();
    let items = limited(items, limit);
    // A limit that leaves nothing out is none.
    let limit = limit.filter(|_| items.len() < all);
    if !given.all("scenarios").is_empty() && languages != [LANGUAGES[0]] {
        notes.push(
            "scenarios of a file are asked in English: `--languages` is of the project's own"
                .to_owned(),
        );
    }
    let nudged = items
        .iter()
        .any(|item| item.direction != Direction::Neutral);
    if !nudged {
        notes.push("no scenario is nudged: what a nudge moves cannot be said".to_owned());
    }
    let answer_tokens = given.number("answer-tokens");
    let specification = specification(given, answer_tokens > 0)?;
    if answer_tokens == 0 && given.is_typed("specification") {
        notes.push(
            "no answers are written (--answer-tokens): the specification is not read".to_owned(),
        );
    }
    Ok(Loaded {
        data: Data {
            items,
            values,
            languages: kept.languages,
            readers: kept.readers,
            emphasised,
            specification,
        },
        options: Options {
            languages,
            limit,
            least_read_back: given.number("least-read-back"),
            answer_tokens,
        },
        notes,
    })
}

/// The rules that written answers are held against, where any are written.
fn specification(given: &Given, are_written: bool) -> Result<Option<Specification>, SuiteError> {
    let (name, text, is_own) = match given.text("specification") {
        _ if !are_written => return Ok(None),
        Some("none") => return Ok(None),
        None => {
            let text = include_str!("../../data/stress/specification.md");
            ("advice".to_owned(), text.to_owned(), true)
        }
        Some(path) => {
            let wrong = |problem: String| {
                SuiteError::data(
                    format!("{path}: {problem}"),
                    "a text file with the rules, or `none`",
                )
            };
            let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            if text.trim().is_empty() {
                return Err(wrong("it is empty".to_owned()));
            }
            let stem = Path::new(path).file_stem().unwrap_or_default();
            (stem.to_string_lossy().into_owned(), text, false)
        }
    };
    Ok(Some(Specification {
        name,
        text: text.trim().to_owned(),
        is_own,
    }))
}

fn own_items(kept: &Kept, languages: &[String]) -> Vec<Item> {
    let mut items = Vec::new();
    for pair in &kept.scenarios {
        for (number, texts) in (1..).zip(&pair.texts) {
            for language in languages {
                let (Some(text), Some(wordings)) =
                    (texts.get(language), kept.languages.get(language))
                else {
                    continue;
                };
                for direction in Direction::ALL {
                    let to = match direction {
                        Direction::Neutral => None,
                        Direction::Value1 => Some(&pair.pair[0]),
                        Direction::Value2 => Some(&pair.pair[1]),
                    };
                    let nudge = to.map(|value| {
                        let value = called(&kept.values, value, language);
                        format!(" {}", wordings.nudge.replace("{v}", value))
                    });
                    items.push(Item {
                        name: format!("{}-{} {number}", pair.pair[0], pair.pair[1]),
                        pair: pair.pair.clone(),
                        topic: pair.topic.clone(),
                        language: language.clone(),
                        direction,
                        query: format!("{text}{}", nudge.unwrap_or_default()),
                    });
                }
            }
        }
    }
    items
}

/// The first scenarios of each pair.
fn limited(items: Vec<Item>, limit: Option<usize>) -> Vec<Item> {
    let Some(limit) = limit else { return items };
    let mut kept: BTreeMap<[String; 2], Vec<String>> = BTreeMap::new();
    let first = items.into_iter().filter(|item| {
        let names = kept.entry(item.pair.clone()).or_default();
        if !names.contains(&item.name) && names.len() < limit {
            names.push(item.name.clone());
        }
        names.contains(&item.name)
    });
    first.collect()
}

/// The columns of the published set that are read, and one for scenarios' names.
const COLUMNS: [&str; 6] = [
    "value1",
    "value2",
    "nudge_direction",
    "query",
    "topic",
    "scenario",
];

fn read_items(files: &[String]) -> Result<(Vec<Item>, usize), SuiteError> {
    let mut items: Vec<Item> = Vec::new();
    for file in files {
        let wrong = |problem: String| {
            SuiteError::data(
                format!("{file}: {problem}"),
                "a CSV or Parquet file with the columns value1, value2, nudge_direction (neutral, value1, value2) and query",
            )
        };
        let rows = Rows::of_file(Path::new(file), &COLUMNS);
        let found = rows.and_then(|rows| of_rows(&rows)).map_err(wrong)?;
        if found.is_empty() {
            return Err(wrong("it has no scenario".to_owned()));
        }
        items.extend(found);
    }
    // What stands there twice is asked once.
    let count = items.len();
    let mut seen = BTreeSet::new();
    items.retain(|item| {
        seen.insert((
            item.name.clone(),
            item.pair.clone(),
            item.direction,
            item.query.clone(),
        ))
    });
    let twice = count - items.len();
    name(&mut items);
    let mut seen = BTreeSet::new();
    let again = items
        .iter()
        .find(|item| !seen.insert((&item.name, item.direction)));
    if let Some(Item {
        name, direction, ..
    }) = again
    {
        return Err(SuiteError::data(
            format!("scenario `{name}` is there twice as `{}`", direction.name()),
            "give each a name of its own in the column `scenario`",
        ));
    }
    Ok((items, twice))
}

/// Names scenarios that have none: the n-th of a pair in one direction belongs to the n-th of its others, where there are equally many; else
/// nothing says what belongs together, and each is one by itself.
fn name(items: &mut [Item]) {
    let mut counts: BTreeMap<[String; 2], BTreeMap<Direction, usize>> = BTreeMap::new();
    for item in items.iter().filter(|item| item.name.is_empty()) {
        let of = counts.entry(item.pair.clone()).or_default();
        *of.entry(item.direction).or_default() += 1;
    }
    let mut numbers: BTreeMap<([String; 2], Direction), usize> = BTreeMap::new();
    for item in items.iter_mut().filter(|item| item.name.is_empty()) {
        let number = numbers
            .entry((item.pair.clone(), item.direction))
            .or_default();
        *number += 1;
        let of_pair = &counts[&item.pair];
        let are_even = of_pair
            .values()
            .all(|count| Some(count) == of_pair.values().next());
        let [a, b] = &item.pair;
        item.name = if are_even {
            format!("{a}-{b} {number}")
        } else {
            format!("{a}-{b} {} {number}", item.direction.name())
        };
    }
}

/// Scenarios of a table in the published set's schema; those without a name have an empty one.
fn of_rows(rows: &Rows) -> Result<Vec<Item>, String> {
    let needed = |name: &str| rows.needed(name, &format!("`{name}`"));
    let (value1, value2) = (needed("value1")?, needed("value2")?);
    let (direction, query) = (needed("nudge_direction")?, needed("query")?);
    let (topic, scenario) = (rows.column("topic"), rows.column("scenario"));
    let mut items = Vec::new();
    for row in 0..rows.len() {
        let line = row + 1;
        let cell = |at: usize| rows.cell(row, Some(at)).unwrap_or_default().to_owned();
        let pair = [cell(value1), cell(value2)];
        if pair.iter().any(String::is_empty) || cell(query).is_empty() {
            return Err(format!("row {line}: a value or the query is empty"));
        }
        if pair[0] == pair[1] {
            return Err(format!("row {line}: both values are `{}`", pair[0]));
        }
        let name = cell(direction);
        let direction = Direction::ALL
            .into_iter()
            .find(|known| known.name() == name);
        let direction = direction
            .ok_or_else(|| format!("row {line}: `{name}` is none of neutral, value1 and value2"))?;
        items.push(Item {
            name: scenario.map(cell).unwrap_or_default(),
            topic: topic.map(cell).unwrap_or_default(),
            language: LANGUAGES[0].to_owned(),
            query: cell(query),
            pair,
            direction,
        });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::rows::tests::write_parquet;

    #[test]
    fn own_scenarios_are_many_and_positions_are_seven() {
        let kept: Kept =
            serde_json::from_str(include_str!("../../data/stress/scenarios.json")).unwrap();
        let all = LANGUAGES.map(str::to_owned);
        let items = own_items(&kept, &all);
        let english = items.iter().filter(|item| item.language == "english");
        assert_eq!(english.count(), 3 * 72);
        for language in &LANGUAGES[1..] {
            assert_eq!(
                items
                    .iter()
                    .filter(|item| item.language == *language)
                    .count(),
                3 * 24
            );
        }
        assert!(kept.scenarios.len() >= 24);
        for (language, wordings) in &kept.languages {
            assert_eq!(wordings.positions.len(), POSITIONS, "{language}");
            for text in [
                &wordings.ask,
                &wordings.read,
                &wordings.likely,
                &wordings.bare,
                &wordings.nudge,
            ] {
                assert!(text.contains("{v}"), "{language}: {text}");
            }
        }
        for item in &items {
            assert!(
                item.pair
                    .iter()
                    .all(|name| kept.values.iter().any(|value| value.name == *name))
            );
        }
    }

    #[test]
    fn the_published_schema_is_read() {
        let text = "rank,query_generator,value1,value2,nudge_direction,query,gpt_value1_position\n\
                    1,x,care,truth,neutral,\"What, now?\",3\n2,x,care,truth,value1,Care first?,5\n3,x,care,truth,neutral,Another?,1\n";
        let mut items = of_rows(&Rows::of_csv(text).unwrap()).unwrap();
        name(&mut items);
        let names: Vec<(&str, Direction)> = items
            .iter()
            .map(|item| (item.name.as_str(), item.direction))
            .collect();
        assert_eq!(
            names,
            [
                // Two plain ones and one that is nudged: nothing says which belong together.
                ("care-truth neutral 1", Direction::Neutral),
                ("care-truth value1 1", Direction::Value1),
                ("care-truth neutral 2", Direction::Neutral),
            ]
        );
        assert_eq!(items[0].query, "What, now?");
        for (text, said) in [
            (
                "value1,value2,query\na,b,c\n",
                "no column `nudge_direction`",
            ),
            (
                "value1,value2,nudge_direction,query\na,b,up,c\n",
                "row 1: `up` is none",
            ),
            (
                "value1,value2,nudge_direction,query\na,,neutral,c\n",
                "row 1: a value",
            ),
            (
                "value1,value2,nudge_direction,query\na,a,neutral,c\n",
                "row 1: both values are `a`",
            ),
        ] {
            let error = of_rows(&Rows::of_csv(text).unwrap()).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_published_set_is_read_as_parquet_and_of_several_files() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.parquet", "b.csv"].map(|name| folder.path().join(name));
        let names = [
            "query_generator",
            "value1",
            "value2",
            "nudge_direction",
            "query",
            "o3_value1_position",
        ];
        let rows: [&[&str]; 2] = [
            &["x", "care", "truth", "neutral", "What now?", "3"],
            &["x", "care", "truth", "value2", "Truth first?", "6"],
        ];
        write_parquet(&paths[0], &names, &rows);
        std::fs::write(
            &paths[1],
            "value1,value2,nudge_direction,query,scenario\na,b,neutral,c,s\n",
        )
        .unwrap();
        let files = paths
            .each_ref()
            .map(|path| path.to_str().unwrap().to_owned());
        let (items, twice) = read_items(&files).unwrap();
        assert_eq!(twice, 0);
        let queries: Vec<&str> = items.iter().map(|item| item.query.as_str()).collect();
        assert_eq!(queries, ["What now?", "Truth first?", "c"]);
        assert_eq!(items[1].direction, Direction::Value2);
        // The same file twice is the same requests; another request of that name is not.
        let (again, twice) = read_items(&[files[1].clone(), files[1].clone()]).unwrap();
        assert_eq!((again.len(), twice), (1, 1));
        let other = folder.path().join("c.csv");
        std::fs::write(
            &other,
            "value1,value2,nudge_direction,query,scenario\na,b,neutral,d,s\n",
        )
        .unwrap();
        let both = [files[1].clone(), other.to_str().unwrap().to_owned()];
        let error = read_items(&both).unwrap_err().to_string();
        assert!(error.contains("`s` is there twice as `neutral`"), "{error}");
        // Parts of the published set go on counting.
        let parts = ["d.csv", "e.csv"].map(|name| folder.path().join(name));
        for (at, part) in parts.iter().enumerate() {
            let text = format!(
                "value1,value2,nudge_direction,query\na,b,neutral,{at}\na,b,value1,{at}!\n"
            );
            std::fs::write(part, text).unwrap();
        }
        let files = parts
            .each_ref()
            .map(|path| path.to_str().unwrap().to_owned());
        let (items, _) = read_items(&files).unwrap();
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["a-b 1", "a-b 1", "a-b 2", "a-b 2"]);
    }
}
