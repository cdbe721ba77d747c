//! What products alone do on a device: what a run is held against.

use crate::SessionError;
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{DecoderSpec, Mlp};
use concord_decoder::{Decoder, DecoderError};
use concord_kernels::{Engine, Matrix, Operands, gpu_state};
use rayon::prelude::*;
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
    let tensor = random;
    let failed = |error: candle_core::Error| SessionError::from(DecoderError::Tensor(error));
    let (mut flops, mut seconds) = (0.0, 0.0);
    for (inner, outer) in shapes(spec) {
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

/// What products do for long on a GPU that has warmed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sustained {
    /// Operations a second.
    pub flops_per_s: f64,
    /// The clock at the end, in MHz, where that is known.
    pub clock_mhz: Option<u32>,
    /// What the device drew at the end, in watts, where that is known.
    pub watts: Option<f64>,
}

/// Seconds that products are made for.
const LONG: f64 = 3.0;

/// Operations a second of a layer's four products, one after the other, for at least three seconds; `None` on a processor, whose clock
/// does not move as much.
///
/// # Errors
/// [`SessionError`] where the device fails.
pub fn sustained_rate(decoder: &Decoder) -> Result<Option<Sustained>, SessionError> {
    let (engine, spec, dtype) = (decoder.engine(), decoder.spec(), decoder.dtype());
    let Some(gpu) = engine.gpu() else {
        return Ok(None);
    };
    let failed = |error: candle_core::Error| SessionError::from(DecoderError::Tensor(error));
    let rows_per_pass = engine.config().rows_per_pass;
    let mut products = Vec::new();
    let mut flops = 0.0;
    for (inner, outer) in shapes(spec) {
        flops += (2 * rows_per_pass * inner * outer) as f64;
        let weight = random(outer, inner, dtype).map_err(failed)?;
        let rows = random(rows_per_pass, inner, DType::F32).map_err(failed)?;
        products.push((weight, rows));
    }
    let made = engine.sustained(&products, dtype, LONG);
    let made = made.map_err(|error| SessionError::from(DecoderError::from(error)))?;
    let Some((rounds, seconds)) = made else {
        return Ok(None);
    };
    let state = gpu_state(&gpu.description().uuid).ok();
    let clock = state.as_ref().and_then(|state| state.clock_mhz);
    let watts = state.as_ref().and_then(|state| state.watts);
    Ok(Some(Sustained {
        flops_per_s: rounds as f64 * flops / seconds,
        clock_mhz: clock.map(|(now, _)| now),
        watts: watts.map(|(now, _)| now),
    }))
}

/// Inputs and outputs of a layer's four products.
fn shapes(spec: &DecoderSpec) -> [(usize, usize); 4] {
    let mlp = match spec.layers[0].mlp {
        Mlp::Dense { size } | Mlp::Experts { size, .. } => size,
    };
    [
        (spec.hidden_size, spec.query_width() + 2 * spec.kv_width()),
        (spec.query_width(), spec.hidden_size),
        (spec.hidden_size, 2 * mlp),
        (mlp, spec.hidden_size),
    ]
}

/// Numbers from -1 to 1 without a pattern: what a chip draws depends on what it multiplies.
fn random(rows: usize, columns: usize, dtype: DType) -> candle_core::Result<Tensor> {
    let number = |i: usize| {
        // Steele et al. 2014, SplitMix64.
        let mut x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..rows * columns).into_par_iter().map(number).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu)?.to_dtype(dtype)
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
