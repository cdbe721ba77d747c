//! What is asked, how often and of what.

use super::sets::{self, Kind, Set};
use super::wordings::{self, LANGUAGES, Wordings};
use crate::{Given, Loaded, OptionSpec, SuiteError, Takes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What is asked about: sets and wordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The sets.
    pub sets: Vec<Set>,
    /// The places to hide, where games are played.
    pub hiding: Option<Set>,
    /// The sentences by language.
    pub wordings: BTreeMap<String, Wordings>,
}

/// Settings of the study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The languages, in the order in which they are asked.
    pub languages: Vec<String>,
    /// The most wordings of each kind and language.
    pub wordings: usize,
    /// Draws whose χ² is expected.
    pub samples: usize,
    /// Sequences of numbers for each wording and kind of history; none are asked for 0.
    pub sequences: usize,
    /// Moves before the last exact round of rock-paper-scissors.
    pub depth: usize,
    /// Rounds of rock-paper-scissors; no game is played for 0.
    pub rounds: usize,
    /// Random relabellings of the numbers, each asked once for every place that a number can have.
    pub relabellings: usize,
    /// Poems for each subject and language.
    pub poems: usize,
    /// The least valid mass with which anything is measured.
    pub least_mass: f64,
    /// What everything that is drawn follows from.
    pub seed: u64,
}

/// The sets that are asked about where none are named.
const DEFAULT_SETS: &str = "0-10,die,coin";

fn whole(text: &str, least: usize, most: usize) -> Result<(), String> {
    match text.parse::<usize>() {
        Ok(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(format!(
            "`{text}` must be a whole number from {least} to {most}"
        )),
    }
}

fn check_set(text: &str) -> Result<(), String> {
    match text.split_once('=') {
        Some((name, members)) if !name.trim().is_empty() && !members.is_empty() => Ok(()),
        None if has_json_name(text) => Ok(()),
        _ => Err(format!(
            "`{text}` must be NAME=MEMBER,MEMBER,… or the name of a JSON file"
        )),
    }
}

fn has_json_name(text: &str) -> bool {
    let extension = Path::new(text).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn check_language(text: &str) -> Result<(), String> {
    if LANGUAGES.contains(&text) {
        return Ok(());
    }
    let known = LANGUAGES.join(", ");
    Err(format!("`{text}` must be one of {known}"))
}

fn check_mass(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(mass) if (0.0..=1.0).contains(&mass) => Ok(()),
        _ => Err(format!("`{text}` must be a number from 0 to 1")),
    }
}

/// The options of the suite.
pub(crate) static SPECS: [OptionSpec; 11] = [
    OptionSpec {
        takes: Takes::List,
        default: Some(DEFAULT_SETS),
        ..OptionSpec::new(
            "sets",
            "SETS",
            "Sets to choose from: 0-10, 0-9, die, coin, suit, letter, words; `none` for only those of --set",
        )
    },
    OptionSpec {
        takes: Takes::Many,
        check: check_set,
        ..OptionSpec::new(
            "set",
            "NAME=MEMBERS",
            "A set of your own, members with commas between them, or a JSON file with name and members",
        )
    },
    OptionSpec {
        takes: Takes::List,
        default: Some("english"),
        check: check_language,
        ..OptionSpec::new(
            "languages",
            "LANGUAGES",
            "Languages to ask in: english, chinese, german, japanese",
        )
    },
    OptionSpec {
        default: Some("12"),
        check: |text| whole(text, 1, 12),
        ..OptionSpec::new("wordings", "N", "Wordings of each question, at most")
    },
    OptionSpec {
        default: Some("100"),
        check: |text| whole(text, 1, 1_000_000_000),
        ..OptionSpec::new(
            "samples",
            "N",
            "Draws for which the expected sampled χ² is given",
        )
    },
    OptionSpec {
        default: Some("8"),
        check: |text| whole(text, 0, 1000),
        ..OptionSpec::new(
            "sequences",
            "N",
            "Sequences of ten numbers for each wording and kind of history",
        )
    },
    OptionSpec {
        default: Some("6"),
        check: |text| whole(text, 0, 8),
        ..OptionSpec::new(
            "depth",
            "N",
            "Moves before the last exact round of rock-paper-scissors; rounds after it are sampled",
        )
    },
    OptionSpec {
        default: Some("7"),
        check: |text| whole(text, 0, 100),
        ..OptionSpec::new(
            "rounds",
            "N",
            "Rounds of rock-paper-scissors; 0 for no games",
        )
    },
    OptionSpec {
        default: Some("1"),
        check: |text| whole(text, 0, 100),
        ..OptionSpec::new(
            "relabellings",
            "N",
            "Random relabellings of the numbers for the placebo, each with every number in every place",
        )
    },
    OptionSpec {
        default: Some("0"),
        check: |text| whole(text, 0, 1000),
        ..OptionSpec::new(
            "poems",
            "N",
            "Short poems for each of three subjects, to measure diversity",
        )
    },
    OptionSpec {
        default: Some("0.5"),
        check: check_mass,
        ..OptionSpec::new(
            "least-mass",
            "MASS",
            "The least valid mass with which anything is measured",
        )
    },
];

/// Data and options from what the user gave.
pub(crate) fn load(given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
    let own_data = |error: sets::OwnData| SuiteError::data(error.to_string(), "");
    let mut languages: Vec<String> = Vec::new();
    for language in given.all("languages") {
        check_language(language)
            .map_err(|problem| SuiteError::usage(problem, "see --languages"))?;
        if !languages.contains(language) {
            languages.push(language.clone());
        }
    }
    if languages.is_empty() {
        return Err(SuiteError::usage("no language is named", "see --languages"));
    }
    let mut wordings = wordings::own().map_err(own_data)?;
    wordings.retain(|language, _| languages.contains(language));
    let options = Options {
        languages,
        wordings: given.number("wordings"),
        samples: given.number("samples"),
        sequences: given.number("sequences"),
        depth: given.number("depth"),
        rounds: given.number("rounds"),
        relabellings: given.number("relabellings"),
        poems: given.number("poems"),
        least_mass: given.number("least-mass"),
        seed: given.seed,
    };
    let own = sets::own().map_err(own_data)?;
    let sets = chosen(given, &own, &options.languages)?;
    let hiding = own.into_iter().find(|set| set.kind == Kind::Hiding);
    let data = Data {
        sets,
        hiding: hiding.filter(|_| options.rounds > 0),
        wordings,
    };
    let notes = notes(&data, &options);
    Ok(Loaded {
        data,
        options,
        notes,
    })
}

/// The sets that were named, and the user's own.
fn chosen(given: &Given, own: &[Set], languages: &[String]) -> Result<Vec<Set>, SuiteError> {
    let mut sets: Vec<Set> = Vec::new();
    let known = || own.iter().filter(|set| set.kind != Kind::Hiding);
    for name in given.all("sets").iter().filter(|name| *name != "none") {
        let Some(set) = known().find(|set| set.name == *name) else {
            let names: Vec<&str> = known().map(|set| set.name.as_str()).collect();
            let help = format!("name some of {}, or give one with --set", names.join(", "));
            return Err(SuiteError::usage(format!("there is no set `{name}`"), help));
        };
        if !sets.contains(set) {
            sets.push(set.clone());
        }
    }
    for text in given.all("set") {
        let set = match text.split_once('=') {
            Some((name, members)) => {
                let members: Vec<&str> = members.split(',').map(str::trim).collect();
                Set::of(name.trim(), &members)
            }
            None => from_file(text)?,
        };
        let help = "--set NAME=a,b,c: members that differ, end alike, and none of which is another one with more after it";
        let wrong = |problem: String| {
            if text.contains('=') {
                SuiteError::usage(problem, help)
            } else {
                SuiteError::data(problem, help)
            }
        };
        set.check(languages).map_err(wrong)?;
        if sets.iter().any(|known| known.name == set.name) {
            let message = format!("there are two sets `{}`", set.name);
            return Err(SuiteError::usage(message, "give yours another name"));
        }
        sets.push(set);
    }
    if sets.is_empty() {
        return Err(SuiteError::usage(
            "there is no set to choose from",
            "name some with --sets, or give one with --set",
        ));
    }
    Ok(sets)
}

/// A set from a JSON file. It is asked about as a list, or as consecutive numbers.
fn from_file(path: &str) -> Result<Set, SuiteError> {
    let help = r#"a set is {"name": "NAME", "members": ["MEMBER", …]}"#;
    let wrong = |problem: String| SuiteError::data(format!("{path}: {problem}"), help);
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let set: Set = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let set = Set {
        kind: Kind::Choice,
        ..set
    };
    Ok(set.recognised())
}

/// What will not be asked though it might be expected.
fn notes(data: &Data, options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    match data.numbers() {
        None if options.sequences > 0 || options.relabellings > 0 => notes.push(
            "no set is of consecutive numbers: no sequences are asked for, and no placebo"
                .to_owned(),
        ),
        Some(set) if options.relabellings > 0 && set.members.len() > LABELS => {
            let count = set.members.len();
            notes.push(format!(
                "the set `{}` has {count} numbers, more than there are letters: no placebo is asked",
                set.name
            ));
        }
        _ => (),
    }
    notes.extend(data.sets.iter().chain(&data.hiding).filter_map(|set| {
        let wordings = data.wordings.values().next()?.of(set.kind).len();
        let (wordings, members) = (options.limited(wordings), set.members.len());
        (set.is_listed() && wordings % members != 0).then(|| {
            format!(
                "the set `{}` has {members} members, listed in {wordings} wordings: they do not stand equally often in each place",
                set.name
            )
        })
    }));
    let exact = options.depth + 1;
    if options.rounds > exact && options.sequences == 0 {
        notes.push(format!(
            "rock-paper-scissors ends with round {exact}: later rounds follow sampled histories, and --sequences is 0"
        ));
    } else if options.rounds > exact {
        notes.push(format!(
            "rock-paper-scissors is exact to round {exact} and follows {} sampled histories after it",
            options.sequences
        ));
    }
    if options.least_mass < 0.5 {
        notes.push(format!(
            "--least-mass {}: below one half, what is shown is of answers that are mostly something else",
            options.least_mass
        ));
    }
    notes
}

/// How many letters may label numbers.
pub(crate) const LABELS: usize = 26;

impl Data {
    /// The set that sequences and the placebo are of: the first of consecutive numbers.
    pub fn numbers(&self) -> Option<&Set> {
        self.sets.iter().find(|set| set.kind == Kind::Number)
    }
}

impl Options {
    /// How many of some wordings are asked.
    pub(crate) fn limited(&self, wordings: usize) -> usize {
        self.wordings.min(wordings)
    }

    /// Moves before the last round of rock-paper-scissors that is read as a tree.
    pub(crate) fn tree_depth(&self) -> usize {
        self.depth.min(self.rounds.saturating_sub(1))
    }
}
