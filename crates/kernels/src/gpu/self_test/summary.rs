//! What is read of distributions.

use super::noise::{Noise, short};
use crate::gpu::Gpu;
use crate::gpu::rows::GpuRows;
use crate::softmax::summarise_reference;
use crate::{Choice, KernelError, Summary, choose};
use candle_core::{Device, Tensor};
use std::sync::Arc;

pub(super) fn summaries(gpu: &Arc<Gpu>, noise: &mut Noise) -> Result<f64, KernelError> {
    let (rows, vocabulary) = (noise.count(1, 5), noise.count(6, 20_000));
    let mut values: Vec<f32> = noise
        .values(rows * vocabulary)
        .iter()
        .map(|x| 12.0 * x)
        .collect();
    // A tie is won by the lower token.
    values[3] = 12.5;
    values[vocabulary - 1] = 12.5;
    let asked: Vec<u32> = (0..3).map(|_| short(noise.count(0, vocabulary))).collect();
    let list: Vec<&[u32]> = (0..rows).map(|row| &asked[..row % 4]).collect();
    let logits = GpuRows::from_host(gpu, &values, vocabulary, 8)?;
    let mut off = 0.0f64;
    for cap in [None, Some(9.0)] {
        let found = gpu.summarise(&logits, &list, 0.75, cap)?.wait()?;
        let bent = |x: &f32| {
            let x = 0.75 * x;
            #[expect(clippy::cast_possible_truncation, reason = "a logit is f32")]
            cap.map_or(x, |cap| (cap * (f64::from(x) / cap).tanh()) as f32)
        };
        for ((row, found), asked) in values.chunks(vocabulary).zip(&found).zip(&list) {
            let row: Vec<f32> = row.iter().map(bent).collect();
            let expected = summarise_reference(&row, asked, 5);
            off = off.max(apart(found, &expected, cap.is_none()));
        }
    }
    // What is no number must show.
    let mut broken = noise.values(2 * 5000);
    broken[4999] = f32::NAN;
    broken[5000] = f32::INFINITY;
    let broken = GpuRows::from_host(gpu, &broken, 5000, 8)?;
    let shown = gpu.summarise(&broken, &[&[], &[]], 1.0, None)?.wait()?;
    let hidden = shown.iter().any(|summary| !summary.entropy.is_nan());
    Ok(if hidden { f64::INFINITY } else { off })
}

/// Tokens of the same logits are the processor's, whatever the temperature and the nucleus.
pub(super) fn draws(gpu: &Arc<Gpu>, noise: &mut Noise) -> Result<f64, KernelError> {
    let vocabulary = noise.count(6, 20_000);
    let temperatures = [0.0, 1.0, 0.7, 3.0, 1e-3];
    let nuclei = [1.0, 0.9, 0.5, 0.999, 1e-4];
    let rows = temperatures.len() * nuclei.len();
    let mut values: Vec<f32> = noise
        .values(rows * vocabulary)
        .iter()
        .map(|x| 9.0 * x)
        .collect();
    // Many tokens of about one weight, and a part of the vocabulary that cannot be.
    for value in &mut values[vocabulary..2 * vocabulary] {
        *value *= 0.001;
    }
    let third = &mut values[2 * vocabulary..3 * vocabulary];
    for value in third.iter_mut().skip(4096).take(4096) {
        *value = f32::NEG_INFINITY;
    }
    let both = temperatures
        .iter()
        .flat_map(|t| nuclei.iter().map(move |p| (*t, *p)));
    let choices: Vec<Choice> = both
        .map(|(temperature, top_p)| Choice {
            temperature,
            top_p,
            draw: noise.next(),
        })
        .collect();
    let on_gpu = GpuRows::from_host(gpu, &values, vocabulary, 8)?;
    let found = gpu.chosen(&on_gpu, &choices, 1.0, None)?;
    let logits = Tensor::from_vec(values, (rows, vocabulary), &Device::Cpu)?;
    let expected = choose(&logits, &choices)?;
    let mut off = 0.0f64;
    for (found, expected) in found.iter().zip(&expected) {
        if found.token != expected.token {
            return Ok(f64::INFINITY);
        }
        off = off.max((found.log_prob - expected.log_prob).abs() / 2e-5);
    }
    // What is no number must show.
    let mut broken = noise.values(2 * 5000);
    broken[4999] = f32::NAN;
    broken[5000] = f32::INFINITY;
    let broken = GpuRows::from_host(gpu, &broken, 5000, 8)?;
    let shown = gpu.chosen(&broken, &choices[5..7], 1.0, None)?;
    let hidden = shown.iter().any(|chosen| !chosen.log_prob.is_nan());
    Ok(if hidden || found.len() != rows {
        f64::INFINITY
    } else {
        off
    })
}

/// How far two summaries are apart, over their bounds. Under a cap, logits that are rounded alike are no order.
fn apart(found: &Summary, expected: &Summary, ordered: bool) -> f64 {
    let mut off = (found.entropy - expected.entropy).abs() / 2e-5;
    let numbers = |summary: &Summary| -> Vec<f64> {
        let tops = summary.top.iter().map(|(_, log_prob)| *log_prob);
        tops.chain(summary.asked.iter().copied()).collect()
    };
    let (a, b) = (numbers(found), numbers(expected));
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    for (a, b) in a.iter().zip(&b) {
        off = off.max((a - b).abs() / 2e-5);
    }
    let tokens = |summary: &Summary| {
        summary
            .top
            .iter()
            .map(|(token, _)| *token)
            .collect::<Vec<_>>()
    };
    if ordered && tokens(found) != tokens(expected) || off.is_nan() {
        return f64::INFINITY;
    }
    off
}
