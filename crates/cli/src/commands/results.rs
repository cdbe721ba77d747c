//! What is made of readings, whether they were just read or stored long ago.

use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_questions::{Chosen, QuestionSet};
use concord_readings::Reading;
use concord_report::{ComparisonReport, ModelReport, RunReport};
use concord_runs::{Manifest, RunError, StoredRun, What};
use concord_suites::valueconsistency::{
    Answers, Comparison, Measured, Options, Settings, Side, Stored, compare, from_readings,
    measure, name,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The measures of checkpoints that were asked the same, and how they compare with the first.
pub(super) struct Results {
    pub names: Vec<String>,
    pub measured: Vec<Measured>,
    pub comparisons: Vec<Vec<Comparison>>,
}

impl Results {
    /// Measures what was read.
    pub fn of(
        set: &QuestionSet,
        options: &Options,
        names: &[&str],
        stored: &[Stored],
        settings: Settings,
    ) -> Result<Self, Failure> {
        let answers = stored
            .iter()
            .map(|stored| from_readings(set, options, stored, &Chosen::all()))
            .collect::<Result<Vec<_>, _>>()?;
        Self::of_answers(set, names, &answers, settings)
    }

    /// Measures answers.
    pub fn of_answers(
        set: &QuestionSet,
        names: &[&str],
        answers: &[Answers],
        settings: Settings,
    ) -> Result<Self, Failure> {
        let measured = answers
            .iter()
            .map(|answers| measure(set, answers, settings))
            .collect::<Result<Vec<_>, _>>()?;
        let sides: Vec<Side<'_>> = answers
            .iter()
            .zip(&measured)
            .map(|(answers, measured)| Side { answers, measured })
            .collect();
        let others = sides.iter().skip(1);
        let comparisons = others
            .map(|second| compare(set, sides[0], *second, settings))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            measured,
            comparisons,
        })
    }

    /// Says which readers should not be trusted.
    pub fn warn_of_readers(&self) {
        for (name, measured) in self.names.iter().zip(&self.measured) {
            let readers = measured.findings.open.iter().flat_map(|open| &open.readers);
            for (reader, found) in readers.filter(|(_, found)| found.doubtful) {
                output::message(&format!(
                    "{name}: {reader} puts {:.3} of its probability on letters when it reads the passages; what it reads says little",
                    found.trust.label_mass
                ));
            }
        }
    }

    /// What is stored and printed.
    pub fn findings(&self) -> Value {
        let models: Map<String, Value> = self
            .names
            .iter()
            .zip(&self.measured)
            .map(|(name, measured)| (name.clone(), json!(measured.findings)))
            .collect();
        let comparisons: Vec<Value> = self
            .comparisons
            .iter()
            .zip(self.names.iter().skip(1))
            .map(|(measures, second)| {
                json!({ "first": self.names[0], "second": second, "measures": measures })
            })
            .collect();
        json!({ "models": models, "comparisons": comparisons })
    }

    /// The tables.
    pub fn report<'a>(
        &'a self,
        manifest: &Manifest,
        out: Option<&Path>,
        with_published: bool,
    ) -> RunReport<'a> {
        let of = |name: &str| manifest.progress.get(name).cloned();
        RunReport {
            models: self.models(of),
            comparisons: &self.comparisons,
            limit: manifest.identity.limit,
            out: out.map(|out| out.display().to_string()),
            with_published,
        }
    }

    /// The checkpoints with their findings, and what each cost.
    fn models(&self, cost: impl Fn(&str) -> Option<Value>) -> Vec<ModelReport<'_>> {
        let models = self.names.iter().zip(&self.measured);
        models
            .map(|(name, measured)| ModelReport {
                name,
                findings: &measured.findings,
                cost: cost(name),
            })
            .collect()
    }

    /// The tables of the comparison alone.
    pub fn comparison<'a>(
        &'a self,
        questions: usize,
        left_out: &Map<String, Value>,
        with_published: bool,
    ) -> ComparisonReport<'a> {
        let others = self.names.iter().skip(1).zip(&self.comparisons);
        ComparisonReport {
            first: &self.names[0],
            others: others
                .map(|(name, found)| (name.as_str(), &found[..]))
                .collect(),
            models: self.models(|_| None),
            questions,
            left_out: left_out
                .iter()
                .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
                .collect(),
            with_published,
        }
    }
}

/// A stored run with what is needed to measure it.
pub(super) struct Opened {
    folder: PathBuf,
    pub run: StoredRun<QuestionSet>,
    pub options: Options,
    /// The checkpoints, in the order in which they were asked.
    pub names: Vec<String>,
}

impl Opened {
    /// Opens a run directory.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let opened = Self::look_into(folder)?;
        if !opened.run.is_sealed() {
            output::message(&format!(
                "{}: of an earlier version, which stored no digests: what was changed in it since is not found",
                folder.display()
            ));
        }
        Ok(opened)
    }

    /// The same without a word.
    pub fn look_into(folder: &Path) -> Result<Self, Failure> {
        let run: StoredRun<QuestionSet> = StoredRun::open(folder)?;
        let options = run.manifest.identity.options.clone();
        let options = serde_json::from_value(options).map_err(|source| RunError::Damaged {
            path: folder.join("manifest.json"),
            line: 0,
            source,
        })?;
        let names: Vec<String> = run.manifest.names().map(str::to_owned).collect();
        let damaged = |problem: String| {
            let help =
                "copy the run again from where it was written, or repeat it in another folder";
            Failure::new(
                ExitStatus::QuestionData,
                format!("{}: {problem}", folder.display()),
                help,
            )
        };
        if let Some(problem) = run.questions.problem() {
            return Err(damaged(format!("questions.json: {problem}")));
        }
        let once: BTreeSet<&String> = names.iter().collect();
        if once.len() != names.len() || names.len() > MOST_CHECKPOINTS {
            let problem = format!(
                "manifest.json names {} checkpoints, of which {} differ",
                names.len(),
                once.len()
            );
            return Err(damaged(problem));
        }
        if names.is_empty() {
            let message = format!(
                "{}: names no checkpoint",
                folder.join("manifest.json").display()
            );
            return Err(Failure::new(
                ExitStatus::Usage,
                message,
                "it was changed; run the study again",
            ));
        }
        Ok(Self {
            folder: folder.to_owned(),
            run,
            options,
            names,
        })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Measures all of it again, with the settings that it was measured with.
    pub fn results(&self) -> Result<Results, Failure> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let answers = names.iter().map(|name| self.answers(name, &Chosen::all()));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        let settings = settings_of(&self.run.manifest, None, None);
        Results::of_answers(&self.run.questions, &names, &answers, settings)
    }

    /// Everything that was read of a checkpoint.
    pub fn stored(&self, name: &str) -> Result<Stored, Failure> {
        let readings = |what: What<'_>| self.readings(what, name);
        let mut stances = BTreeMap::new();
        for reader in self.run.readers(name)? {
            let read = readings(What::Stances(&reader))?;
            stances.insert(reader, read);
        }
        Ok(Stored {
            answers: readings(What::Readings)?,
            texts: readings(What::Texts)?,
            stances,
        })
    }

    /// The readings of a journal, under the names that prompts have now: those of before come from runs of before.
    fn readings(&self, what: What<'_>, model: &str) -> Result<HashMap<String, Reading>, Failure> {
        let readings = self.run.readings(what, model)?;
        let renamed = readings.into_iter().map(|(id, reading)| {
            let id = name::of_before(&id).unwrap_or(id);
            let reading = Reading {
                id: id.clone(),
                ..reading
            };
            (id, reading)
        });
        Ok(renamed.collect())
    }

    /// The answers of a checkpoint to the chosen questions.
    pub fn answers(&self, name: &str, chosen: &Chosen) -> Result<Answers, Failure> {
        let set = &self.run.questions;
        Ok(from_readings(
            set,
            &self.options,
            &self.stored(name)?,
            chosen,
        )?)
    }
}

/// The most resamples of a stored run.
const MOST_RESAMPLES: usize = 100_000;
/// The most checkpoints of one.
const MOST_CHECKPOINTS: usize = 1_000;

/// What a run was measured with, unless a flag says otherwise.
pub(super) fn settings_of(
    manifest: &Manifest,
    seed: Option<u64>,
    resamples: Option<u32>,
) -> Settings {
    let stored = |key: &str| manifest.statistics.get(key)?.as_u64();
    Settings {
        resamples: resamples
            .map(|count| count as usize)
            // More than the flag takes is not what a run was measured with.
            .or_else(|| {
                usize::try_from(stored("resamples")?)
                    .ok()
                    .map(|count| count.min(MOST_RESAMPLES))
            }),
        seed: seed.or_else(|| stored("seed")).unwrap_or(0),
    }
}
