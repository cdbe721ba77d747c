//! `concord bench`: the speed of a checkpoint shape.

use super::inputs;
use crate::arguments::{BenchArguments, Dtype, OutputFormat};
use crate::bench::{Bench, measure};
use crate::failure::Failure;
use crate::output;
use candle_core::DType;

/// Benches a preset.
pub fn bench(arguments: &BenchArguments) -> Result<(), Failure> {
    let mut set = inputs::questions(arguments.questions.as_deref())?;
    if let Some(limit) = arguments.limit {
        set.keep_first_originals(limit as usize);
    }
    let bench = Bench {
        preset: &arguments.preset,
        cloze: arguments.cloze,
        dtype: match arguments.dtype {
            Dtype::Auto | Dtype::F32 => DType::F32,
            Dtype::Bf16 => DType::BF16,
            Dtype::F16 => DType::F16,
        },
    };
    let record = measure(&bench, &set)?;
    match arguments.format {
        OutputFormat::Json => output::json(&record),
        OutputFormat::Human => output::data(&record.human()),
    }
}
