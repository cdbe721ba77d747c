//! Mixtures of experts.

use super::noise::{Noise, narrow, rounded, step, tensor, worst};
use crate::activation::activation_reference;
use crate::engine::Weight;
use crate::gpu::experts::{Choosing, GpuExperts};
use crate::gpu::product::{GpuMatrix, WeightFormat};
use crate::gpu::raw::Number;
use crate::gpu::rows::GpuRows;
use crate::gpu::{Gpu, GpuError};
use crate::product::product_reference;
use crate::{Activation, KernelError};
use std::sync::Arc;

/// Rows through their experts against products of single ones; then some of them by themselves, which must have the same bits.
pub(super) fn mixture(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
) -> Result<f64, KernelError> {
    let (hidden, size) = (8 * noise.count(1, 20), 8 * noise.count(1, 20));
    let experts = noise.count(2, 40);
    let choosing = Choosing {
        choices: noise.count(1, experts.min(6)),
        normalised: noise.count(0, 2) == 0,
    };
    // More than a tile of one expert's.
    let rows = noise.count(150, 400);
    let kinds = [Activation::Silu, Activation::GeluTanh];
    let activation = kinds[noise.count(0, kinds.len())];
    let weights: Vec<[Vec<f32>; 2]> = (0..experts)
        .map(|_| {
            [2 * size * hidden, hidden * size].map(|count| rounded(&noise.values(count), number))
        })
        .collect();
    let on_gpu = weights.iter().map(|[up, down]| {
        let dtype = number.dtype();
        let up = tensor(up, hidden)?;
        let up = GpuMatrix::upload(gpu, &up, true, dtype, WeightFormat::Native)?;
        let down = tensor(down, size)?;
        let down = GpuMatrix::upload(gpu, &down, false, dtype, WeightFormat::Native)?;
        Ok([up, down].map(|matrix| Arc::new(Weight::Gpu(matrix))))
    });
    let on_gpu = on_gpu.collect::<Result<Vec<_>, KernelError>>()?;
    let together = GpuExperts::new(gpu, on_gpu)?;
    let together = together.ok_or_else(|| GpuError::Shape("experts of another shape".into()))?;
    let x = rounded(&noise.values(rows * hidden), number);
    // Some experts are for many, and some for nobody.
    let mut logits = noise.values(rows * experts);
    for row in logits.chunks_mut(experts) {
        row[0] += 2.0;
        row[experts - 1] -= 3.0;
    }
    let through = |x: &[f32], logits: &[f32]| {
        let x = narrow(gpu, x, hidden, number)?;
        let logits = GpuRows::from_host(gpu, logits, experts, 8)?;
        let sums = gpu.mixture(&x, &logits, &together, choosing, activation)?;
        let missing = || GpuError::Shape("a mixture that is not made together".into());
        Ok::<_, KernelError>(sums.ok_or_else(missing)?.to_host()?)
    };
    let found = through(&x, &logits)?;
    let mut off = 0.0f64;
    let each = x.chunks(hidden).zip(logits.chunks(experts));
    for ((row, logits), found) in each.zip(found.chunks(hidden)) {
        let expected = expected(row, logits, &weights, (size, choosing, activation), number);
        // What is between the products is rounded, now and then to the other side: it is as large as a row is wide.
        let bound = 1e-3 + step(number) * hidden as f64;
        off = off.max(worst(found, &expected, bound, Number::F32));
    }
    let (from, count) = (noise.count(0, rows - 20), noise.count(1, 20));
    let part = |values: &[f32], width: usize| values[from * width..(from + count) * width].to_vec();
    let some = through(&part(&x, hidden), &part(&logits, experts))?;
    let same = some == part(&found, hidden);
    Ok(if same { off } else { f64::INFINITY })
}

/// What one row's experts say together.
fn expected(
    row: &[f32],
    logits: &[f32],
    weights: &[[Vec<f32>; 2]],
    (size, choosing, activation): (usize, Choosing, Activation),
    number: Number,
) -> Vec<f64> {
    let powers: Vec<f64> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
    let mut order: Vec<usize> = (0..powers.len()).collect();
    order.sort_by(|a, b| powers[*b].total_cmp(&powers[*a]));
    order.truncate(choosing.choices);
    let whole: f64 = if choosing.normalised {
        order.iter().map(|expert| powers[*expert]).sum()
    } else {
        powers.iter().sum()
    };
    let mut sums = vec![0.0; row.len()];
    for expert in order {
        let [up, down] = &weights[expert];
        let inner = product_reference(row, up, row.len());
        let (gates, ups) = inner.split_at(size);
        #[expect(clippy::cast_possible_truncation, reason = "as kernels hold them")]
        let opened: Vec<f32> = gates
            .iter()
            .zip(ups)
            .map(|(gate, up)| (activation_reference(*gate as f32, activation) * up) as f32)
            .collect();
        let out = product_reference(&rounded(&opened, number), down, size);
        for (sum, out) in sums.iter_mut().zip(out) {
            *sum += powers[expert] / whole * out;
        }
    }
    sums
}
