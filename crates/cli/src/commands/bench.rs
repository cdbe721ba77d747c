//! `concord bench`: the speed of a checkpoint shape.

use super::inputs;
use crate::arguments::{BenchArguments, OutputFormat};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::{Terminal, stop_on_interrupt};
use concord_session::bench::{Bench, Record, measure};
use concord_suites::valueconsistency::benched;
use std::path::Path;

/// Benches a preset.
pub fn bench(arguments: &BenchArguments) -> Result<(), Failure> {
    let mut set = inputs::questions(arguments.questions.as_deref())?;
    if let Some(limit) = arguments.limit {
        set.keep_first_originals(limit as usize);
    }
    let bench = Bench {
        preset: &arguments.preset,
        machine: arguments.machine.options(),
        repeats: arguments.repeats,
        counts_only: arguments.counts_only,
    };
    // What can be known to be wrong is said before the work.
    let before = arguments.baseline.as_deref().map(read).transpose()?;
    if let Some(before) = before
        .as_ref()
        .filter(|before| before.preset != bench.preset)
    {
        return Err(no_baseline(&format!(
            "the baseline is of {}, this is {}",
            before.preset, bench.preset
        )));
    }
    let parent = arguments.save.as_deref().and_then(Path::parent);
    if let Some(parent) = parent.filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir())
    {
        let message = format!("{}: no folder to save the record in", parent.display());
        return Err(Failure::usage(message, "make it, or name another file"));
    }
    let record = {
        let (texts, prompts) = benched(&set, arguments.cloze)?;
        stop_on_interrupt();
        measure(
            &bench,
            texts,
            &prompts,
            output::events(),
            &Terminal::default(),
        )?
    };
    match arguments.format {
        OutputFormat::Json => output::json(&record)?,
        OutputFormat::Human => output::data(&record.human())?,
    }
    if let Some(before) = before {
        let worse = record.regressions(&before, arguments.counts_only);
        let worse = worse.map_err(|problem| no_baseline(&problem))?;
        if !worse.is_empty() {
            let message = format!("differs from the baseline: {}", worse.join("; "));
            let help = "find the change that did it; where it is meant, save a new baseline without --baseline";
            return Err(Failure::new(ExitStatus::Regression, message, help));
        }
        output::message("nothing is worse than in the baseline");
    }
    match &arguments.save {
        Some(path) => save(path, &record),
        None => Ok(()),
    }
}

fn no_baseline(problem: &str) -> Failure {
    Failure::usage(problem, "compare with a record of the same bench")
}

fn read(path: &Path) -> Result<Record, Failure> {
    let wrong = |problem: String| {
        let message = format!("{}: {problem}", path.display());
        Failure::usage(message, "a baseline is a file that --save wrote")
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("no record of one bench: {error}")))
}

/// Writes beside the file first, so that none is half there.
fn save(path: &Path, record: &Record) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("{}: {error}", path.display());
        Failure::new(ExitStatus::Unexpected, message, "name another file")
    };
    let text = serde_json::to_string_pretty(record).unwrap_or_default() + "\n";
    let beside = path.with_extension("partial");
    std::fs::write(&beside, text).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}
