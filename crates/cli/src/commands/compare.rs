//! `concord compare`: stored runs beside each other, the first as base.

use super::results::{Opened, quoted, settings_of, show_end, warn, write_tables};
use crate::arguments::{CompareArguments, OutputFormat, Statistics};
use crate::failure::Failure;
use crate::output;
use concord_findings::Exhibit;
use concord_suites::{ComparedPart, Comparing, Found, Show};
use std::path::{Path, PathBuf};

/// One checkpoint of one run.
struct Side {
    /// Of the opened runs.
    run: usize,
    /// In that run.
    name: String,
    /// In the comparison.
    shown: String,
}

/// Runs, opened and compared.
pub(super) struct ComparedRuns {
    /// The runs, in the order in which they were named.
    pub runs: Vec<Opened>,
    /// What was found.
    pub found: Box<dyn Found>,
}

impl ComparedRuns {
    /// What is shown of them; where one was limited, that is said.
    pub fn exhibits(&self, show: Show) -> Vec<Exhibit> {
        let mut shown = self.found.exhibits(show);
        let limited = self.runs.iter().find_map(|opened| {
            let limit = opened.run.manifest.identity.limit?;
            Some(format!(
                "{}: {}",
                opened.folder().display(),
                opened.study.partial(limit)
            ))
        });
        if let (Some(Exhibit::Summary(summary)), Some(partial)) = (shown.first_mut(), limited) {
            summary.partial = Some(partial);
        }
        shown
    }
}

/// Opens runs and measures their checkpoints beside each other.
pub(super) fn compared(
    folders: &[PathBuf],
    comparing: &Comparing<'_>,
    seed: Option<u64>,
    statistics: &Statistics,
) -> Result<ComparedRuns, Failure> {
    let (runs, sides) = open(folders)?;
    if sides.len() < 2 {
        let message = format!(
            "{} holds one checkpoint, and nothing to compare it with",
            folders[0].display()
        );
        return Err(Failure::usage(
            message,
            "name a second run, or a run of several checkpoints",
        ));
    }
    let settings = settings_of(&runs[0].run.manifest, seed, statistics);
    let parts = sides.iter().map(|side| {
        let opened = &runs[side.run];
        let raters = opened.run.manifest.rater_names();
        Ok(ComparedPart {
            run: opened.folder().display().to_string(),
            shown: side.shown.clone(),
            study: &*opened.study,
            raters: raters.map(str::to_owned).collect(),
            readings: opened.readings(&side.name)?,
        })
    });
    let parts = parts.collect::<Result<Vec<_>, Failure>>()?;
    let found = runs[0].study.compare(parts, comparing, settings)?;
    warn(&*found);
    Ok(ComparedRuns { runs, found })
}

/// Compares.
pub fn compare(arguments: &CompareArguments) -> Result<(), Failure> {
    let how = &arguments.how;
    let comparing = Comparing {
        intersect: arguments.intersect,
        conditions: &how.selection,
    };
    let all = compared(&arguments.runs, &comparing, how.seed, &how.statistics)?;
    let found = &all.found;
    write_tables(&found.tables(), how.tables.as_deref())?;
    match how.format {
        OutputFormat::Json => output::json(&found.json()),
        OutputFormat::Human => {
            let shown = all.exhibits(Show {
                published: how.with_published,
                ..Show::default()
            });
            let folders = arguments
                .runs
                .iter()
                .map(|run| quoted(&run.to_string_lossy()));
            let folders = folders.collect::<Vec<String>>().join(" ");
            let shared = if arguments.intersect {
                " --intersect"
            } else {
                ""
            };
            let tail = [
                format!("page        concord report {folders}{shared} --out FILE"),
                "all tables  the same command with --verbose".to_owned(),
            ];
            show_end(&shown, &tail, arguments.verbose || how.with_published)
        }
    }
}

/// Opens runs: a run's folder stands for all of its checkpoints, the folder and the name of one for that one.
fn open(paths: &[PathBuf]) -> Result<(Vec<Opened>, Vec<Side>), Failure> {
    let (mut runs, mut folders, mut sides) =
        (Vec::new(), Vec::<PathBuf>::new(), Vec::<Side>::new());
    for path in paths {
        let (folder, only) = match (path.is_dir(), path.parent(), path.file_name()) {
            (false, Some(parent), Some(name)) if parent.join("manifest.json").is_file() => {
                (parent, Some(name.to_string_lossy().into_owned()))
            }
            _ => (path.as_path(), None),
        };
        let run = if let Some(before) = folders.iter().position(|known| known == folder) {
            before
        } else {
            runs.push(Opened::open(folder)?);
            folders.push(folder.to_owned());
            runs.len() - 1
        };
        let opened: &Opened = &runs[run];
        let names: Vec<&String> = match &only {
            None => opened.names.iter().collect(),
            Some(name) if opened.names.contains(name) => vec![name],
            Some(name) if opened.not_measurable(name).is_some() => {
                let reason = opened.not_measurable(name).unwrap_or_default();
                let message = format!("{}: {name}: not measurable: {reason}", folder.display());
                let help = format!("there are {}", opened.names.join(", "));
                return Err(Failure::usage(message, help));
            }
            Some(name) => {
                let message = format!("{}: no checkpoint `{name}`", folder.display());
                let help = format!("there are {}", opened.names.join(", "));
                return Err(Failure::usage(message, help));
            }
        };
        for name in names {
            let taken = |shown: &str| sides.iter().any(|side| side.shown == shown);
            let of_run = Path::new(folder)
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            let mut shown = name.clone();
            if taken(&shown) {
                shown = format!("{name} ({of_run})");
            }
            for number in 2.. {
                if !taken(&shown) {
                    break;
                }
                shown = format!("{name} ({of_run}, {number})");
            }
            sides.push(Side {
                run,
                name: name.clone(),
                shown,
            });
        }
    }
    Ok((runs, sides))
}
