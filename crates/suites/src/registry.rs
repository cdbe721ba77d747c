//! All suites, and a suite of any kind with what it is asked about.

use crate::faking::Faking;
use crate::randomness::Randomness;
use crate::scenarios::Scenarios;
use crate::shared::draw;
use crate::stress::Stress;
use crate::surveys::Surveys;
use crate::value_profiles::Profiles;
use crate::valueconsistency::ValueConsistency;
use crate::{
    About, Asked, CheckpointReadings, Comparing, Given, OptionSpec, Part, Rating, Readings,
    Settings, Show, Step, StoredFiles, Subject, Suite, SuiteError,
};
use concord_findings::{Exhibit, LongTable, TableSpec};
use concord_readings::{PromptStyle, Reading};
use serde::Deserialize;
use serde_json::{Value, json};
use std::any::Any;
use std::collections::BTreeMap;

/// Every suite. A new one is a folder and a line here.
static SUITES: [&dyn AnySuite; 7] = [
    &ValueConsistency,
    &Randomness,
    &Stress,
    &Faking,
    &Profiles,
    &Surveys,
    &Scenarios,
];

/// The suite that is meant where none is named.
pub const DEFAULT: &str = crate::valueconsistency::name::SUITE;

/// Every suite.
pub fn suites() -> &'static [&'static dyn AnySuite] {
    &SUITES
}

/// A suite by its name.
///
/// # Errors
/// [`SuiteError::Usage`] with the name that is nearest.
pub fn suite(name: &str) -> Result<&'static dyn AnySuite, SuiteError> {
    let known = SUITES.iter().find(|suite| suite.about().name == name);
    known.copied().ok_or_else(|| {
        let names = SUITES.iter().map(|suite| suite.about().name);
        let help = match nearest(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
        };
        SuiteError::usage(format!("no suite `{name}`"), help)
    })
}

/// The name that is nearest to one that is not known, where one is near.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = known.min_by_key(|known| edits(known, name));
    nearest.filter(|near| edits(near, name) <= near.len() / 2)
}

/// How many letters have to be changed, added or left out to make one word of another (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, d) in b.iter().enumerate() {
            let replaced = before + usize::from(c != *d);
            before = row[j + 1];
            row[j + 1] = replaced.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A suite of any kind.
pub trait AnySuite: Send + Sync {
    /// Its name and what it is good for.
    fn about(&self) -> &'static About;
    /// The options that it takes.
    fn options(&self) -> &'static [OptionSpec];
    /// What the tables are that it exports.
    fn table_specs(&self) -> &'static [TableSpec];
    /// The JSON Schema of its findings.
    fn findings_schema(&self) -> &'static str;
    /// A study of what the user gave, and what the user should know before anything is asked.
    ///
    /// # Errors
    /// As [`Suite::load`].
    fn begin(&self, given: &Given) -> Result<(Box<dyn Study>, Vec<String>), SuiteError>;
    /// A study of what a run stored.
    ///
    /// # Errors
    /// [`SuiteError::Data`] where options or files are damaged.
    fn reopen(
        &self,
        options: &Value,
        asked: Asked,
        files: &StoredFiles,
    ) -> Result<Box<dyn Study>, SuiteError>;
}

/// A suite with what it is asked about. The methods are those of [`Suite`].
pub trait Study: Send + Sync {
    /// The suite.
    fn about(&self) -> &'static About;
    /// The options, as they are stored.
    fn options(&self) -> Value;
    /// What decides the readings beside the options.
    fn asked(&self) -> Asked;
    /// What a run stores of the data.
    fn files(&self) -> Vec<(&'static str, Value)>;
    /// What to do next with a checkpoint.
    ///
    /// # Errors
    /// As [`Suite::next`].
    fn next(&self, subject: Subject, so_far: &Readings) -> Result<Step, SuiteError>;
    /// Whether raters read what checkpoints write.
    ///
    /// # Errors
    /// As [`Suite::is_rated`].
    fn is_rated(&self) -> Result<(), &'static str>;
    /// What a rater is asked.
    ///
    /// # Errors
    /// As [`Suite::rate`].
    fn rate(&self, rater: PromptStyle, so_far: &Readings) -> Result<Vec<Rating>, SuiteError>;
    /// The shard of a prompt, from 1, of so many; `None` where the suite cannot be read in shards. See [`Suite::unit`].
    fn shard(&self, id: &str, of: u32) -> Option<u32>;
    /// Measures what was read.
    ///
    /// # Errors
    /// As [`Suite::measure`].
    fn measure(
        &self,
        settings: Settings,
        read: &[CheckpointReadings],
    ) -> Result<Box<dyn Found>, SuiteError>;
    /// What was read, as data.
    ///
    /// # Errors
    /// As [`Suite::answers`].
    fn answers(&self, read: &[CheckpointReadings]) -> Result<Vec<LongTable>, SuiteError>;
    /// Measures checkpoints of several runs, of which this study is the first's.
    ///
    /// # Errors
    /// As [`Suite::compare`]; [`SuiteError::Usage`] where a run is of another suite.
    fn compare(
        &self,
        parts: Vec<ComparedPart<'_>>,
        how: &Comparing<'_>,
        settings: Settings,
    ) -> Result<Box<dyn Found>, SuiteError>;
    /// Measures from now on only what every condition chooses, and says what that is.
    ///
    /// # Errors
    /// As [`Suite::select`].
    fn select(&mut self, conditions: &[String]) -> Result<Option<String>, SuiteError>;
    /// Readings under the names that prompts have now: those of before come from runs of before.
    fn named_now(&self, readings: Readings) -> Readings;
    /// What helps where a prompt is too long.
    fn advice(&self, id: &str) -> Option<&'static str>;
    /// What a limit on the questions means.
    fn partial(&self, limit: u64) -> String;
    /// Itself, to be known again by its suite.
    fn as_any(&self) -> &dyn Any;
}

/// What was found. The methods are those of [`Suite`].
pub trait Found {
    /// As it is stored.
    fn json(&self) -> Value;
    /// What is exported.
    fn tables(&self) -> Vec<LongTable>;
    /// What is shown.
    fn exhibits(&self, show: Show) -> Vec<Exhibit>;
    /// What the user should know of it.
    fn warnings(&self) -> Vec<String>;
}

/// A checkpoint of one of several runs, of a suite of any kind.
pub struct ComparedPart<'a> {
    /// The run it is of, as the user named it.
    pub run: String,
    /// What the checkpoint is called beside the others.
    pub shown: String,
    /// What the run asked.
    pub study: &'a dyn Study,
    /// Who rated.
    pub raters: Vec<String>,
    /// What was read.
    pub readings: Readings,
}

/// A suite, its data and its options.
struct Bound<S: Suite> {
    suite: S,
    data: S::Data,
    options: S::Options,
    asked: Asked,
}

/// A suite and what it found.
struct OfSuite<S: Suite> {
    suite: S,
    findings: S::Findings,
}

impl<S: Suite> AnySuite for S {
    fn about(&self) -> &'static About {
        Suite::about(self)
    }

    fn options(&self) -> &'static [OptionSpec] {
        Suite::options(self)
    }

    fn table_specs(&self) -> &'static [TableSpec] {
        Suite::table_specs(self)
    }

    fn findings_schema(&self) -> &'static str {
        Suite::findings_schema(self)
    }

    fn begin(&self, given: &Given) -> Result<(Box<dyn Study>, Vec<String>), SuiteError> {
        let loaded = self.load(given)?;
        let study = Bound {
            suite: *self,
            asked: Suite::asked(self, &loaded.data, &loaded.options),
            data: loaded.data,
            options: loaded.options,
        };
        Ok((Box::new(study), loaded.notes))
    }

    fn reopen(
        &self,
        options: &Value,
        asked: Asked,
        files: &StoredFiles,
    ) -> Result<Box<dyn Study>, SuiteError> {
        let options = S::Options::deserialize(options)
            .map_err(|error| StoredFiles::damaged("manifest.json", &error.to_string()))?;
        Ok(Box::new(Bound {
            suite: *self,
            data: Suite::reopen(self, files)?,
            options,
            asked,
        }))
    }
}

impl<S: Suite> Study for Bound<S> {
    fn about(&self) -> &'static About {
        Suite::about(&self.suite)
    }

    fn options(&self) -> Value {
        json!(self.options)
    }

    fn asked(&self) -> Asked {
        self.asked.clone()
    }

    fn files(&self) -> Vec<(&'static str, Value)> {
        self.suite.files(&self.data)
    }

    fn next(&self, subject: Subject, so_far: &Readings) -> Result<Step, SuiteError> {
        self.suite.next(&self.data, &self.options, subject, so_far)
    }

    fn is_rated(&self) -> Result<(), &'static str> {
        self.suite.is_rated(&self.options)
    }

    fn rate(&self, rater: PromptStyle, so_far: &Readings) -> Result<Vec<Rating>, SuiteError> {
        self.suite.rate(&self.data, &self.options, rater, so_far)
    }

    fn shard(&self, id: &str, of: u32) -> Option<u32> {
        let unit = self.suite.unit(&self.data, id)?;
        let drawn = draw::below(of as usize, draw::unit(0, &["shard", &unit]));
        Some(1 + u32::try_from(drawn).unwrap_or(0))
    }

    fn measure(
        &self,
        settings: Settings,
        read: &[CheckpointReadings],
    ) -> Result<Box<dyn Found>, SuiteError> {
        let findings = self
            .suite
            .measure(&self.data, &self.options, settings, read)?;
        let suite = self.suite;
        Ok(Box::new(OfSuite { suite, findings }))
    }

    fn answers(&self, read: &[CheckpointReadings]) -> Result<Vec<LongTable>, SuiteError> {
        self.suite.answers(&self.data, &self.options, read)
    }

    fn compare(
        &self,
        parts: Vec<ComparedPart<'_>>,
        how: &Comparing<'_>,
        settings: Settings,
    ) -> Result<Box<dyn Found>, SuiteError> {
        let own = self.about().name;
        let parts = parts.into_iter().map(|part| {
            let other = part.study.about().name;
            let Some(bound) = part.study.as_any().downcast_ref::<Self>() else {
                let message = format!("a run of `{other}` cannot be compared with one of `{own}`");
                return Err(SuiteError::usage(message, "compare runs of one suite"));
            };
            Ok(Part {
                run: part.run,
                shown: part.shown,
                data: &bound.data,
                options: &bound.options,
                asked: bound.asked.clone(),
                raters: part.raters,
                readings: part.readings,
            })
        });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let findings = self.suite.compare(&parts, how, settings)?;
        let suite = self.suite;
        Ok(Box::new(OfSuite { suite, findings }))
    }

    fn select(&mut self, conditions: &[String]) -> Result<Option<String>, SuiteError> {
        self.suite.select(&mut self.data, &self.options, conditions)
    }

    fn named_now(&self, mut readings: Readings) -> Readings {
        let rated = readings.ratings.values_mut().flat_map(BTreeMap::values_mut);
        for by_id in readings.rounds.values_mut().chain(rated) {
            let renamed = std::mem::take(by_id).into_iter().map(|(id, reading)| {
                let Some(id) = self.suite.renamed(&id) else {
                    return (id, reading);
                };
                let reading = Reading {
                    id: id.clone(),
                    ..reading
                };
                (id, reading)
            });
            *by_id = renamed.collect();
        }
        readings
    }

    fn advice(&self, id: &str) -> Option<&'static str> {
        self.suite.advice(id)
    }

    fn partial(&self, limit: u64) -> String {
        self.suite.partial(limit)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<S: Suite> Found for OfSuite<S> {
    fn json(&self) -> Value {
        json!(self.findings)
    }

    fn tables(&self) -> Vec<LongTable> {
        self.suite.tables(&self.findings)
    }

    fn exhibits(&self, show: Show) -> Vec<Exhibit> {
        self.suite.exhibits(&self.findings, show)
    }

    fn warnings(&self) -> Vec<String> {
        self.suite.warnings(&self.findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_suite_is_told_its_neighbour() {
        let help = |name: &str| match suite(name).err() {
            Some(SuiteError::Usage { help, .. }) => help,
            other => panic!("{other:?}"),
        };
        assert!(suite(DEFAULT).is_ok());
        assert_eq!(help("valueconsistancy"), "did you mean `valueconsistency`?");
        assert!(help("x").starts_with("there are valueconsistency"));
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn options_have_defaults_that_are_valid_and_names_that_are_one_flag() {
        for suite in suites() {
            for spec in suite.options() {
                if let Some(default) = spec.default {
                    for value in default.split(',') {
                        assert_eq!((spec.check)(value), Ok(()), "{}", spec.name);
                    }
                }
                // Options of one name are one flag: they must take the same.
                for other in suites().iter().flat_map(|suite| suite.options()) {
                    if other.name == spec.name {
                        assert_eq!(
                            (other.short, other.takes, other.value),
                            (spec.short, spec.takes, spec.value)
                        );
                    } else {
                        assert!(spec.short.is_none() || other.short != spec.short);
                    }
                }
            }
        }
    }
}
