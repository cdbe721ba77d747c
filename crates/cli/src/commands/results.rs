//! What is made of readings, whether they were just read or stored long ago.

use super::engine::NOT_MEASURABLE;
use crate::arguments::Statistics;
use crate::failure::Failure;
use crate::output;
use concord_findings::{Exhibit, LongTable};
use concord_readings::Readings;
use concord_report::{brief, costs, screen_width, terminal};
use concord_runs::{Manifest, RunError, StoredRun, write_with};
use concord_suites::{
    Asked, CheckpointReadings, DEFAULT, Excluded, Found, Settings, Show, StoredFiles, Study, suite,
    with_excluded,
};
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What is shown of a run: what was found, what it cost, how far it went and where it is.
pub(super) fn exhibits(
    found: &dyn Found,
    study: &dyn Study,
    manifest: &Manifest,
    out: Option<&Path>,
    show: Show,
) -> Vec<Exhibit> {
    let mut shown = found.exhibits(show);
    if let (Some(Exhibit::Summary(summary)), Some(limit)) =
        (shown.first_mut(), manifest.identity.limit)
    {
        summary.partial = Some(study.partial(limit));
    }
    let progress = manifest.names().filter_map(|name| {
        let cost = manifest.progress.get(name)?;
        Some((name, cost))
    });
    shown.extend(costs(progress));
    if let Some(limit) = manifest.identity.limit {
        let partial = study.partial(limit);
        shown.push(Exhibit::Note(format!("partial: {partial}\n")));
    }
    if let Some(path) = out {
        shown.push(Exhibit::Note(format!("stored in {}\n", path.display())));
    }
    shown
}

/// What is shown at the end: the verdict on one screen and how to see the rest, or everything.
pub(super) fn show_end(shown: &[Exhibit], tail: &[String], all: bool) -> Result<(), Failure> {
    if all || !matches!(shown.first(), Some(Exhibit::Summary(_))) {
        return output::data(&terminal(shown));
    }
    output::coloured(&brief(shown, tail, screen_width(), output::is_coloured()))
}

/// A word as a shell takes it.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Writes tables to a folder, each as a file of its name, where one is given.
pub(super) fn write_tables(tables: &[LongTable], folder: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = folder else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        let message = format!("{}: {error}", folder.display());
        Failure::usage(message, "name another folder with --tables")
    })?;
    for table in tables {
        let path = folder.join(format!("{}.csv", table.name));
        write_csv(table, &path)?;
    }
    output::message(&format!(
        "{} tables written to {}",
        tables.len(),
        folder.display()
    ));
    Ok(())
}

/// Writes a table as comma-separated values, a row at a time.
pub(super) fn write_csv(table: &LongTable, path: &Path) -> Result<(), RunError> {
    write_with(path, |file| {
        let mut out = BufWriter::new(file);
        table.write_csv(&mut out)?;
        out.flush()
    })
}

/// Says what the user should know of findings.
pub(super) fn warn(found: &dyn Found) {
    for warning in found.warnings() {
        output::message(&warning);
    }
}

/// A stored run with what is needed to measure it.
pub(super) struct Opened {
    folder: PathBuf,
    pub run: StoredRun,
    pub study: Box<dyn Study>,
    /// The checkpoints that were measured, in the order in which they were asked.
    pub names: Vec<String>,
    /// Those that could not be asked.
    excluded: Vec<Excluded>,
}

impl Opened {
    /// Opens a run directory.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let run = StoredRun::open(folder)?;
        if let Some(shard) = run.manifest.identity.shard {
            let shards = folder.parent().unwrap_or(folder).display();
            return Err(Failure::usage(
                format!("{}: is shard {shard} of a run", folder.display()),
                format!("put all of them together: concord merge {shards}"),
            ));
        }
        if !run.is_sealed() {
            output::message(&format!(
                "{}: of an earlier version, which stored no digests: what was changed in it since is not found",
                folder.display()
            ));
        }
        Self::of(folder, run)
    }

    /// A run whose shards are together, and which is not measured yet.
    pub fn of_shards(
        folder: &Path,
        manifest: &Manifest,
        costs: &Map<String, Value>,
        files: &[(&str, Value)],
    ) -> Result<Self, Failure> {
        let bytes = |(name, value): &(&str, Value)| {
            (
                (*name).to_owned(),
                serde_json::to_vec(value).unwrap_or_default(),
            )
        };
        let manifest = Manifest {
            progress: costs.clone(),
            ..manifest.clone()
        };
        let files = files.iter().map(bytes).collect();
        Self::of(folder, StoredRun::begun(folder, manifest, files))
    }

    fn of(folder: &Path, run: StoredRun) -> Result<Self, Failure> {
        let identity = &run.manifest.identity;
        // The first forms knew one suite, and did not all name it.
        let name = match identity.suite.as_str() {
            "" => DEFAULT,
            name => name,
        };
        let files = StoredFiles(run.files.clone());
        let asked = Asked {
            limit: identity.limit,
            digests: identity.asked.clone(),
        };
        let of_run = |failure: Failure| failure.of_place(&folder.display().to_string());
        let study = suite(name).and_then(|suite| suite.reopen(&identity.options, asked, &files));
        let study = study.map_err(|error| of_run(error.into()))?;
        let excluded = run.manifest.names().filter_map(|name| {
            let reason = run.manifest.progress.get(name)?.get(NOT_MEASURABLE)?;
            Some(Excluded {
                checkpoint: name.to_owned(),
                reason: reason.as_str().unwrap_or_default().to_owned(),
            })
        });
        let excluded: Vec<Excluded> = excluded.collect();
        let is_measured = |name: &&str| excluded.iter().all(|one| one.checkpoint != **name);
        let names = run.manifest.names().filter(is_measured).map(str::to_owned);
        let names: Vec<String> = names.collect();
        Ok(Self {
            folder: folder.to_owned(),
            run,
            study,
            names,
            excluded,
        })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Measures all of it again, with the settings that it was measured with.
    pub fn measure(&self, settings: Settings) -> Result<Box<dyn Found>, Failure> {
        let found = self.study.measure(settings, &self.everything()?)?;
        Ok(self.beside_excluded(found))
    }

    /// Everything that was read of every checkpoint.
    pub fn everything(&self) -> Result<Vec<CheckpointReadings>, Failure> {
        let read = self.names.par_iter().map(|name| {
            Ok(CheckpointReadings {
                name: name.clone(),
                readings: self.readings(name)?,
            })
        });
        read.collect()
    }

    /// Findings with the checkpoints that could not be asked.
    pub fn beside_excluded(&self, found: Box<dyn Found>) -> Box<dyn Found> {
        let base = self.run.manifest.names().next();
        with_excluded(found, self.excluded.clone(), base)
    }

    /// Why a checkpoint could not be asked, if it could not.
    pub fn not_measurable(&self, name: &str) -> Option<&str> {
        let excluded = self.excluded.iter().find(|one| one.checkpoint == name)?;
        Some(&excluded.reason)
    }

    /// Everything that was read of a checkpoint.
    pub fn readings(&self, name: &str) -> Result<Readings, Failure> {
        Ok(self.study.named_now(self.run.everything(name)?))
    }
}

/// The most resamples of a stored run.
const MOST_RESAMPLES: usize = 100_000;

/// What a run was measured with, unless a flag says otherwise.
pub(super) fn settings_of(
    manifest: &Manifest,
    seed: Option<u64>,
    statistics: &Statistics,
) -> Settings {
    let stored = |key: &str| manifest.statistics.get(key)?.as_u64();
    let gates = manifest.statistics.get("gates").cloned();
    let is_true = |key: &str| manifest.statistics.get(key).and_then(Value::as_bool);
    statistics.over(Settings {
        // More than the flag takes is not what a run was measured with.
        resamples: stored("resamples")
            .and_then(|count| usize::try_from(count).ok())
            .map(|count| count.min(MOST_RESAMPLES)),
        seed: seed.or_else(|| stored("seed")).unwrap_or(0),
        study_intervals: is_true("study_intervals").unwrap_or(false),
        // A run of before has none, and was measured without.
        gates: gates
            .and_then(|gates| serde_json::from_value(gates).ok())
            .unwrap_or_default(),
    })
}
