//! What products alone do on a device: what a run is held against.

use crate::SessionError;
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{DecoderSpec, Mlp};
use concord_decoder::{Decoder, DecoderError};
use concord_kernels::{Engine, Matrix, Operands};
use std::time::Instant;

/// The product is timed this often and its best rate taken.
const REPEATS: usize = 5;

/// Operations a second of a layer's four products over one pass, each at its best.
pub fn product_rate(decoder: &Decoder) -> Result<f64, SessionError> {
    product_rate_of(decoder.engine(), decoder.spec(), decoder.dtype())
}

/// The same of a checkpoint that is not loaded.
///
/// # Errors
/// [`SessionError`] where the device fails.
pub fn product_rate_of(
    engine: &Engine,
    spec: &DecoderSpec,
    dtype: DType,
) -> Result<f64, SessionError> {
    let config = engine.config();
    let mlp = match spec.layers[0].mlp {
        Mlp::Dense { size } | Mlp::Experts { size, .. } => size,
    };
    let shapes = [
        (spec.hidden_size, spec.query_width() + 2 * spec.kv_width()),
        (spec.query_width(), spec.hidden_size),
        (spec.hidden_size, 2 * mlp),
        (mlp, spec.hidden_size),
    ];
    let tensor = |rows: usize, columns: usize, dtype: DType| {
        let values: Vec<f32> = (0..rows * columns)
            .map(|i| (i % 251) as f32 / 125.0 - 1.0)
            .collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu)?.to_dtype(dtype)
    };
    let failed = |error: candle_core::Error| SessionError::from(DecoderError::Tensor(error));
    let (mut flops, mut seconds) = (0.0, 0.0);
    for (inner, outer) in shapes {
        flops += (2 * config.rows_per_pass * inner * outer) as f64;
        let weight = tensor(outer, inner, dtype).map_err(failed)?;
        let Engine::Cpu(path, _) = engine else {
            let rows = tensor(config.rows_per_pass, inner, DType::F32).map_err(failed)?;
            let took = engine.product_seconds(&weight, &rows, dtype, REPEATS);
            seconds += took.map_err(|error| SessionError::from(DecoderError::from(error)))?;
            continue;
        };
        let operands = operands(dtype);
        let x = tensor(config.rows_per_pass, inner, operands.dtype()).map_err(failed)?;
        let weight = weight.to_dtype(operands.dtype()).map_err(failed)?;
        let matrix = Matrix::pack(&weight, false, operands, *path).map_err(failed)?;
        // Results that are there: new ones would be timed with their page faults.
        let out = tensor(config.rows_per_pass, outer, DType::F32).map_err(failed)?;
        let mut best = f64::INFINITY;
        for _ in 0..REPEATS {
            let begun = Instant::now();
            matrix.product_into(&x, &out).map_err(failed)?;
            best = best.min(begun.elapsed().as_secs_f64());
        }
        seconds += best;
    }
    Ok(flops / seconds)
}

/// What products of the processor multiply.
fn operands(dtype: DType) -> Operands {
    match dtype {
        DType::BF16 => Operands::Bf16,
        _ => Operands::F32,
    }
}

/// Operations a second that registers do; 0 where that is not measured.
pub fn peak_flops(engine: &Engine, dtype: DType) -> f64 {
    match engine {
        Engine::Cpu(path, _) => path.peak_flops(operands(dtype)),
        _ => 0.0,
    }
}
