//! `concord bench`: the speed of a checkpoint shape.

use super::inputs;
use crate::arguments::{BenchArguments, Dtype, OutputFormat};
use crate::bench::{Bench, Record, measure};
use crate::failure::{ExitStatus, Failure};
use crate::memory::Allowed;
use crate::output;
use candle_core::DType;
use std::path::Path;

/// Benches a preset.
pub fn bench(arguments: &BenchArguments) -> Result<(), Failure> {
    let mut set = inputs::questions(arguments.questions.as_deref())?;
    if let Some(limit) = arguments.limit {
        set.keep_first_originals(limit as usize);
    }
    let machine = &arguments.machine;
    let allowed = Allowed::by(machine, &std::env::temp_dir());
    let bench = Bench {
        preset: &arguments.preset,
        cloze: arguments.cloze,
        dtype: match machine.dtype {
            Dtype::Auto => None,
            Dtype::F32 => Some(DType::F32),
            Dtype::Bf16 => Some(DType::BF16),
            Dtype::F16 => Some(DType::F16),
        },
        schedule: allowed.wanted,
        memory: allowed.memory,
        spill: allowed.spill,
        repeats: arguments.repeats,
    };
    let before = arguments.baseline.as_deref().map(read).transpose()?;
    let record = measure(&bench, &set)?;
    match arguments.format {
        OutputFormat::Json => output::json(&record)?,
        OutputFormat::Human => output::data(&record.human())?,
    }
    if let Some(path) = &arguments.save {
        save(path, &record)?;
    }
    let Some(before) = before else { return Ok(()) };
    let worse = record.regressions(&before, arguments.counts_only);
    if worse.is_empty() {
        output::message("nothing is worse than in the baseline");
        return Ok(());
    }
    let message = format!("worse than the baseline: {}", worse.join("; "));
    let help = "find the change that did it, or save a new baseline with --save";
    Err(Failure::new(ExitStatus::Regression, message, help))
}

fn read(path: &Path) -> Result<Record, Failure> {
    let wrong = |problem: String| {
        let message = format!("{}: {problem}", path.display());
        Failure::usage(message, "a baseline is a file that --save wrote")
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("no record of a bench: {error}")))
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
