//! What a study is to everything around it.
//!
//! A suite says what to ask and what to make of the answers; the engine asks, stores and shows. Readings come in, findings go
//! out, and nothing else crosses.

use crate::Needs;
use crate::shared::Gates;
use crate::shared::draw::fnv;
use concord_findings::{Exhibit, LongTable, TableSpec};
use concord_questions::{QuestionError, StimuliError};
use concord_readings::{Prompt, PromptStyle, Readings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A suite: what is asked, and what is made of the answers.
///
/// Only [`Suite::load`] may open files; everything else is a function of its arguments, and gives the same for the same.
pub trait Suite: Copy + Send + Sync + 'static {
    /// What is asked about: questions and wordings. Stored with a run, whole.
    type Data: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What decides which prompts are made of it. Stored in a run's identity.
    type Options: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What is found. Stored with a run.
    type Findings: Serialize + 'static;

    /// Its name and what it is good for.
    fn about(&self) -> &'static About;

    /// The options that it takes on the command line.
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// Reads data and options from what the user gave.
    ///
    /// # Errors
    /// [`SuiteError`] where it is wrong.
    fn load(&self, given: &Given) -> Result<Loaded<Self::Data, Self::Options>, SuiteError>;

    /// What to do next with a checkpoint, by what was read of it so far. Called again after each step and after each stop, so that
    /// it must depend on nothing else.
    ///
    /// # Errors
    /// [`SuiteError`] where data or readings do not allow it.
    fn next(
        &self,
        data: &Self::Data,
        options: &Self::Options,
        subject: Subject,
        so_far: &Readings,
    ) -> Result<Step, SuiteError>;

    /// Whether raters read what checkpoints write; where not, why or what to do about it.
    ///
    /// # Errors
    /// What to say to who names a rater.
    fn is_rated(&self, _options: &Self::Options) -> Result<(), &'static str> {
        Err("this suite has no texts to be rated")
    }

    /// What a rater is asked about each text that a checkpoint wrote, for a [`Step::Rate`]; before anything was read, what it is asked
    /// whatever will be written, which has to fit into its context.
    ///
    /// # Errors
    /// As [`Suite::next`].
    fn rate(
        &self,
        _data: &Self::Data,
        _options: &Self::Options,
        _rater: PromptStyle,
        _so_far: &Readings,
    ) -> Result<Vec<Rating>, SuiteError> {
        Ok(Vec::new())
    }

    /// What a prompt is about, as far as that has to stay together where a run is read in shards: prompts of one unit go to one shard.
    /// `None` where rounds build on what was read before, so that no shard can be read by itself.
    fn unit(&self, _data: &Self::Data, _id: &str) -> Option<String> {
        None
    }

    /// Measures what was read of every checkpoint, in the order in which they were named.
    ///
    /// # Errors
    /// [`SuiteError::Readings`] where readings are missing or of something else.
    fn measure(
        &self,
        data: &Self::Data,
        options: &Self::Options,
        settings: Settings,
        read: &[CheckpointReadings],
    ) -> Result<Self::Findings, SuiteError>;

    /// What the tables are that it exports, all that there can be.
    fn table_specs(&self) -> &'static [TableSpec] {
        &[]
    }

    /// The JSON Schema of its findings; empty where it has none.
    fn findings_schema(&self) -> &'static str {
        ""
    }

    /// What was read, as data: tables with a row for each answer, before anything is measured.
    ///
    /// # Errors
    /// As [`Suite::measure`].
    fn answers(
        &self,
        _data: &Self::Data,
        _options: &Self::Options,
        _read: &[CheckpointReadings],
    ) -> Result<Vec<LongTable>, SuiteError> {
        Ok(Vec::new())
    }

    /// What was found, as data.
    fn tables(&self, _findings: &Self::Findings) -> Vec<LongTable> {
        Vec::new()
    }

    /// What is shown.
    fn exhibits(&self, findings: &Self::Findings, show: Show) -> Vec<Exhibit>;

    /// What the user should know of the findings: raters that should not be trusted, checkpoints that could not be measured.
    fn warnings(&self, _findings: &Self::Findings) -> Vec<String> {
        Vec::new()
    }

    /// What decides the readings beside the options.
    fn asked(&self, data: &Self::Data, _options: &Self::Options) -> Asked {
        Asked {
            limit: None,
            digests: Map::from_iter([("data".to_owned(), json!(digest(&json!(data))))]),
        }
    }

    /// What a limit on the questions means.
    fn partial(&self, limit: u64) -> String {
        format!("only the first {limit} were asked")
    }

    /// The files that a run stores of the data, by name; `questions.json` is one of them.
    fn files(&self, data: &Self::Data) -> Vec<(&'static str, Value)> {
        vec![(QUESTIONS, json!(data))]
    }

    /// The data of a stored run, from its files.
    ///
    /// # Errors
    /// [`SuiteError::Data`] where a file is damaged.
    fn reopen(&self, files: &StoredFiles) -> Result<Self::Data, SuiteError> {
        files.parse(QUESTIONS)
    }

    /// The name that a prompt of an earlier version has now.
    fn renamed(&self, _id: &str) -> Option<String> {
        None
    }

    /// What helps where a prompt is too long.
    fn advice(&self, _id: &str) -> Option<&'static str> {
        None
    }

    /// Measures from now on only what every condition (`key=value`) chooses, and says what that is; nothing without conditions.
    ///
    /// # Errors
    /// [`SuiteError::Usage`] where the suite has nothing to choose by, or nothing is chosen.
    fn select(
        &self,
        _data: &mut Self::Data,
        _options: &Self::Options,
        conditions: &[String],
    ) -> Result<Option<String>, SuiteError> {
        if conditions.is_empty() {
            return Ok(None);
        }
        let message = format!("the suite `{}` has nothing to select by", self.about().name);
        Err(SuiteError::usage(message, "leave --where out"))
    }

    /// Measures checkpoints of several runs beside each other, the first as base.
    ///
    /// # Errors
    /// [`SuiteError::Usage`] where the runs asked different things.
    fn compare(
        &self,
        parts: &[Part<'_, Self::Data, Self::Options>],
        how: &Comparing<'_>,
        settings: Settings,
    ) -> Result<Self::Findings, SuiteError> {
        if how.intersect || !how.conditions.is_empty() {
            let message = format!("the suite `{}` compares whole runs", self.about().name);
            return Err(SuiteError::usage(
                message,
                "leave --intersect and --where out",
            ));
        }
        let Some((first, others)) = parts.split_first() else {
            return Err(SuiteError::usage("there is nothing to compare", ""));
        };
        let asked =
            |part: &Part<'_, Self::Data, Self::Options>| (json!(part.options), json!(part.data));
        let (options, data) = asked(first);
        for other in others {
            let (of_other, data_of_other) = asked(other);
            let problem = match first_difference(&options, &of_other) {
                Some(found) => found,
                None if data != data_of_other => "what is asked about differs".to_owned(),
                None => continue,
            };
            let message = format!("{} and {} differ: {problem}", first.run, other.run);
            return Err(SuiteError::usage(
                message,
                "compare runs with the same options",
            ));
        }
        let read: Vec<CheckpointReadings> = parts
            .iter()
            .map(|part| CheckpointReadings {
                name: part.shown.clone(),
                readings: part.readings.clone(),
            })
            .collect();
        self.measure(first.data, first.options, settings, &read)
    }
}

/// The file of a run that says what was asked about.
pub const QUESTIONS: &str = "questions.json";

/// What a suite is, in a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// What the user calls it.
    pub name: &'static str,
    /// What it measures.
    pub summary: &'static str,
    /// What it asks, round by round.
    pub rounds: &'static str,
    /// What it needs, which is enforced.
    pub needs: Needs,
    /// What cannot be concluded from it.
    pub limits: &'static str,
}

/// An option of a suite on the command line.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its name, without dashes before it. Options of one name in several suites are one flag.
    pub name: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// Names that it had before.
    pub was: &'static [&'static str],
    /// What stands for its value in the help; `None` for a flag without one.
    pub value: Option<&'static str>,
    /// Its value where none is given.
    pub default: Option<&'static str>,
    /// How many values it takes.
    pub takes: Takes,
    /// What it is, in one line.
    pub help: &'static str,
    /// Says what is wrong with a value.
    pub check: fn(&str) -> Result<(), String>,
}

/// How many values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One.
    One,
    /// One each time that it is given.
    Many,
    /// Several with commas between them.
    List,
    /// Folders or files, or data sets of the hub, one each time that it is given; they are brought before the suite sees them.
    Paths,
}

impl OptionSpec {
    /// An option with one value of any form.
    pub const fn new(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            short: None,
            was: &[],
            value: Some(value),
            default: None,
            takes: Takes::One,
            help,
            check: |_| Ok(()),
        }
    }
}

/// What the user gave: values of a suite's options.
#[derive(Clone, Debug, Default)]
pub struct Given {
    values: BTreeMap<String, Vec<String>>,
    typed: Vec<String>,
    /// The seed of everything that is drawn.
    pub seed: u64,
}

impl Given {
    /// Values that were typed, with the defaults of what was not.
    pub fn new(specs: &[OptionSpec], typed: &BTreeMap<String, Vec<String>>, seed: u64) -> Self {
        let mut values = BTreeMap::new();
        for spec in specs {
            let default = || {
                let values = spec.default.into_iter();
                values
                    .flat_map(|text| match spec.takes {
                        Takes::List => text.split(',').collect(),
                        _ => vec![text],
                    })
                    .map(str::to_owned)
                    .collect()
            };
            let found = typed.get(spec.name).cloned().unwrap_or_else(default);
            values.insert(spec.name.to_owned(), found);
        }
        Self {
            values,
            typed: typed.keys().cloned().collect(),
            seed,
        }
    }

    /// All values of an option.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// The value of an option as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// The value of an option as a number; 0 where it has none, since [`OptionSpec::check`] has seen it.
    pub fn number<T: std::str::FromStr + Default>(&self, name: &str) -> T {
        let text = self.text(name).unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    /// Whether it was typed.
    pub fn is_typed(&self, name: &str) -> bool {
        self.typed.iter().any(|typed| typed == name)
    }
}

/// Data and options, ready to be asked.
#[derive(Debug)]
pub struct Loaded<D, O> {
    /// What is asked about.
    pub data: D,
    /// How.
    pub options: O,
    /// What the user should know before anything is asked.
    pub notes: Vec<String>,
}

/// Who is asked: what it is called must not matter.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// How it is spoken to.
    pub style: PromptStyle,
}

/// The rater that each checkpoint is to itself.
pub const SELF_RATER: &str = "itself";

/// What to do next with a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask it. Rounds of one step do not depend on each other, and are planned together.
    Ask(Vec<Round>),
    /// Let every rater read what it wrote, in a round of this name; the prompts come from [`Suite::rate`].
    Rate(&'static str),
    /// There is nothing left to ask.
    Done,
}

/// Prompts that are asked together. All of them read, or all of them write.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Its name, which is that of its folder in the run: lower-case letters, digits and hyphens.
    pub name: String,
    /// The prompts.
    pub prompts: Vec<Prompt>,
}

/// What a rater is asked about one text. Where one prompt is too long for it, none is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Rating {
    /// The prompt whose text it is about.
    pub text: String,
    /// What is asked about it.
    pub prompts: Vec<Prompt>,
}

/// A checkpoint and everything that was read of it.
#[derive(Clone, Debug, Default)]
pub struct CheckpointReadings {
    /// Its name.
    pub name: String,
    /// What was read.
    pub readings: Readings,
}

/// Settings of the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// Bootstrap resamples; `None` for as many as a suite takes by itself, or for their limit ([`concord_stats::bca_mean`]).
    pub resamples: Option<usize>,
    /// Seed of everything that is drawn while measuring.
    pub seed: u64,
    /// Whether intervals stand beside as a published study gives them, where they differ.
    pub study_intervals: bool,
    /// What has to hold for anything to be measured.
    pub gates: Gates,
}

/// What is to be shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Show {
    /// Whether published values stand beside.
    pub published: bool,
    /// Whether every answer is shown, to be looked up.
    pub answers: bool,
}

/// What decides the readings beside the options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// How many questions were asked at most, where that was limited.
    pub limit: Option<u64>,
    /// Digests of what is asked, by what it is.
    pub digests: Map<String, Value>,
}

/// A checkpoint of one of several runs.
pub struct Part<'a, D, O> {
    /// The run it is of, as the user named it.
    pub run: String,
    /// What the checkpoint is called beside the others.
    pub shown: String,
    /// What was asked.
    pub data: &'a D,
    /// How.
    pub options: &'a O,
    /// What decided the readings beside the options.
    pub asked: Asked,
    /// Who rated, in the run.
    pub raters: Vec<String>,
    /// What was read.
    pub readings: Readings,
}

/// How runs are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Comparing<'a> {
    /// Whether what they share is compared where they differ.
    pub intersect: bool,
    /// What is chosen: `key=value`.
    pub conditions: &'a [String],
}

/// The files that a stored run has of its data.
#[derive(Clone, Debug, Default)]
pub struct StoredFiles(pub BTreeMap<String, Vec<u8>>);

impl StoredFiles {
    /// A file as what it should hold.
    ///
    /// # Errors
    /// [`SuiteError::Data`] where it is missing or holds something else.
    pub fn parse<T: DeserializeOwned>(&self, name: &str) -> Result<T, SuiteError> {
        let text = self.0.get(name);
        let text = text.ok_or_else(|| Self::damaged(name, "is missing"))?;
        serde_json::from_slice(text).map_err(|error| Self::damaged(name, &error.to_string()))
    }

    /// A file that does not hold what it should.
    pub fn damaged(name: &str, problem: &str) -> SuiteError {
        let help = "copy the run again from where it was written, or repeat it in another folder";
        SuiteError::data(format!("{name}: {problem}"), help)
    }
}

/// Why a suite cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Questions are wrong.
    #[error(transparent)]
    Questions(#[from] QuestionError),
    /// A wording is wrong or lacks what is asked.
    #[error(transparent)]
    Stimuli(#[from] StimuliError),
    /// The command line asks for something that is not there.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// Data are wrong.
    #[error("{message}")]
    Data {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// Readings are not those that were asked for.
    #[error("{message}")]
    Readings {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
}

impl SuiteError {
    /// The command line asks for something that is not there.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        let (message, help) = (message.into(), help.into());
        Self::Usage { message, help }
    }

    /// Data are wrong.
    pub fn data(message: impl Into<String>, help: impl Into<String>) -> Self {
        let (message, help) = (message.into(), help.into());
        Self::Data { message, help }
    }

    /// Readings are not those that were asked for.
    pub fn readings(message: impl Into<String>) -> Self {
        let help = "the stored readings were changed or cut off: copy the run again from where it was written, or repeat it in another folder".to_owned();
        Self::Readings {
            message: message.into(),
            help,
        }
    }
}

/// The first option that differs, with both values.
fn first_difference(a: &Value, b: &Value) -> Option<String> {
    if a == b {
        return None;
    }
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return Some(format!("{a} and {b}"));
    };
    let keys = a.keys().chain(b.keys());
    let mut differing = keys.filter(|key| a.get(*key) != b.get(*key));
    differing.next().map(|key| {
        let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
        format!("`{key}` is {} and {}", of(a), of(b))
    })
}

/// A short digest of a value (64-bit FNV-1a), to tell data apart.
pub fn digest(value: &Value) -> String {
    format!("{:016x}", fnv(value.to_string().bytes()))
}
