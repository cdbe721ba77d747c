//! `concord bench`: the speed of a checkpoint shape.

use super::inputs;
use crate::arguments::{BenchArguments, OutputFormat};
use crate::bench::{Bench, measure};
use crate::failure::Failure;
use crate::output;

/// Benches a preset.
pub fn bench(arguments: &BenchArguments) -> Result<(), Failure> {
    let mut set = inputs::questions(arguments.questions.as_deref())?;
    if let Some(limit) = arguments.limit {
        set.keep_first_originals(limit as usize);
    }
    let bench = Bench {
        preset: &arguments.preset,
        cloze: arguments.cloze,
    };
    let record = measure(&bench, &set)?;
    match arguments.format {
        OutputFormat::Json => output::json(&record),
        OutputFormat::Human => output::data(&record.human()),
    }
}
