//! `concord bench`: the speed of a checkpoint shape.

use super::inputs;
use crate::arguments::{BenchArguments, Dtype, OutputFormat};
use crate::bench::{Bench, measure};
use crate::failure::Failure;
use crate::memory::Allowed;
use crate::output;
use candle_core::DType;

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
    };
    let record = measure(&bench, &set)?;
    match arguments.format {
        OutputFormat::Json => output::json(&record),
        OutputFormat::Human => output::data(&record.human()),
    }
}
