//! Products and sweeps over rows.

use super::noise::{Noise, narrow, rounded, short, step, tensor, vector, wide, worst};
use crate::activation::activation_reference;
use crate::gpu::Gpu;
use crate::gpu::product::{GpuMatrix, WeightFormat, quantised};
use crate::gpu::raw::Number;
use crate::gpu::rows::GpuRows;
use crate::norm::norm_reference;
use crate::product::product_reference;
use crate::rope::rotate_reference;
use crate::{Activation, AttentionShape, KernelError, Norm, RopeTable};
use candle_core::DType;
use std::sync::Arc;

/// A width that products of halves take: a multiple of eight.
fn width(noise: &mut Noise) -> usize {
    8 * noise.count(1, 24)
}

pub(super) fn product(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
) -> Result<f64, KernelError> {
    let (rows, inner, outer) = (noise.count(1, 70), width(noise), width(noise));
    let x = rounded(&noise.values(rows * inner), number);
    let weight = rounded(&noise.values(outer * inner), number);
    let bias = rounded(&noise.values(outer), number);
    let stream = noise.values(rows * outer);
    let block = 32;
    let on_gpu = GpuRows::from_host(gpu, &x, inner, block)?;
    let matrix = matrix(gpu, &weight, inner, number, WeightFormat::Native)?;
    let mut expected = product_reference(&x, &weight, inner);
    let bound = 3e-6 * (inner as f64).max(1.0);
    let plain = matrix.product(&on_gpu, None, Number::F32)?.to_host()?;
    let mut off = worst(&plain, &expected, bound, Number::F32);
    let added = GpuRows::from_host(gpu, &stream, outer, block)?;
    matrix.multiply(&on_gpu, None, &added, 0.5, 1.0)?;
    let sums: Vec<f64> = expected
        .iter()
        .zip(&stream)
        .map(|(sum, x)| 0.5 * sum + f64::from(*x))
        .collect();
    off = off.max(worst(&added.to_host()?, &sums, bound, Number::F32));
    for (sum, bias) in expected.iter_mut().zip(bias.iter().cycle()) {
        *sum += f64::from(*bias);
    }
    let narrow = matrix
        .product(&on_gpu, Some(&vector(&bias)?), number)?
        .to_host()?;
    Ok(off.max(worst(&narrow, &expected, bound, number)))
}

fn matrix(
    gpu: &Arc<Gpu>,
    weight: &[f32],
    inner: usize,
    number: Number,
    held: WeightFormat,
) -> Result<GpuMatrix, KernelError> {
    let dtype = number.dtype();
    GpuMatrix::upload(gpu, &tensor(weight, inner)?, false, dtype, held)
}

/// The same row among other rows, at another place: the same bits, in products of every number of rows.
pub(super) fn company(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
    (inner, outer): (usize, usize),
) -> Result<f64, KernelError> {
    let row = noise.values(inner);
    let weight = noise.values(outer * inner);
    let matrix = matrix(gpu, &weight, inner, number, WeightFormat::Native)?;
    let texts: Vec<usize> = gpu.config().text_classes().collect();
    for blocks in [&[gpu.config().few_rows][..], &[gpu.pass_rows()], &texts] {
        let mut seen: Option<Vec<f32>> = None;
        for block in blocks.iter().cycle().take(blocks.len().max(3)).copied() {
            let (before, after) = (noise.count(0, block - 1), noise.count(0, 9));
            let mut rows = noise.values(before * inner);
            rows.extend_from_slice(&row);
            rows.extend(noise.values(after * inner));
            let rows = GpuRows::from_host(gpu, &rows, inner, block)?.chosen_by(blocks[0]);
            let out = matrix.product(&rows, None, Number::F32)?.to_host()?;
            let out = out[before * outer..(before + 1) * outer].to_vec();
            if seen.as_ref().is_some_and(|seen| *seen != out) {
                return Ok(f64::INFINITY);
            }
            seen = Some(out);
        }
    }
    Ok(0.0)
}

pub(super) fn eight_bits(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
) -> Result<f64, KernelError> {
    let (rows, inner, outer) = (noise.count(1, 40), width(noise), width(noise));
    let x = rounded(&noise.values(rows * inner), number);
    let weight = noise.values(outer * inner);
    let (integers, scales) = quantised(&weight, inner);
    let held = integers.chunks_exact(inner).zip(&scales);
    let held: Vec<f32> = held
        .flat_map(|(row, scale)| row.iter().map(move |integer| f32::from(*integer) * scale))
        .collect();
    let expected = product_reference(&x, &rounded(&held, number), inner);
    let matrix = matrix(gpu, &weight, inner, number, WeightFormat::Int8)?;
    let x = GpuRows::from_host(gpu, &x, inner, 32)?;
    let found = matrix.product(&x, None, Number::F32)?.to_host()?;
    Ok(worst(&found, &expected, 3e-6 * inner as f64, Number::F32))
}

pub(super) fn norms(gpu: &Arc<Gpu>, noise: &mut Noise, number: Number) -> Result<f64, KernelError> {
    let mut off = 0.0f64;
    for centred in [false, true] {
        let (rows, width) = (noise.count(1, 20), noise.count(1, 700));
        let (x, delta) = (noise.values(rows * width), noise.values(rows * width));
        let weights = noise.values(2 * width);
        let own = Norm {
            weights: vector(&weights)?,
            centred,
            eps: 1e-5,
        };
        let (weight, bias) = weights.split_at(width);
        let normed = |x: &[f32]| -> Vec<f64> {
            x.chunks(width)
                .flat_map(|row| norm_reference(row, weight, bias, centred, 1e-5))
                .collect()
        };
        let rows = |values: &[f32]| GpuRows::from_host(gpu, values, width, 8);
        let plain = gpu.norm(&rows(&x)?, &own, number)?.to_host()?;
        off = off.max(worst(&plain, &normed(&x), 4e-5, number));
        let hidden = rows(&x)?;
        gpu.add_normed(&hidden, &rows(&delta)?, 0.5, &own)?;
        let expected: Vec<f64> = normed(&delta)
            .iter()
            .zip(&x)
            .map(|(n, x)| 0.5 * n + f64::from(*x))
            .collect();
        off = off.max(worst(&hidden.to_host()?, &expected, 4e-5, Number::F32));
    }
    // What is not finite is noticed, and where.
    let one = Norm {
        weights: vector(&[1.0; 4])?,
        centred: false,
        eps: 1e-5,
    };
    gpu.broken_place()?;
    gpu.enter(7);
    gpu.norm(
        &GpuRows::from_host(gpu, &[0.5, f32::NAN, 0.0, 1.0], 4, 1)?,
        &one,
        number,
    )?;
    let place = gpu.broken_place()?;
    gpu.enter(0);
    Ok(if place == Some(7) { off } else { f64::INFINITY })
}

pub(super) fn groups(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
) -> Result<f64, KernelError> {
    let (rows, first, second) = (noise.count(1, 20), noise.count(1, 90), noise.count(1, 90));
    let width = first + second + 5;
    let values = rounded(&noise.values(rows * width), number);
    let weights = noise.values(first + second);
    let own = Norm {
        weights: vector(&weights)?,
        centred: false,
        eps: 1e-5,
    };
    let found = narrow(gpu, &values, width, number)?;
    gpu.norm_groups(&found, &[first, second], &own)?;
    let (one, two) = weights.split_at(first);
    let expected: Vec<f64> = values
        .chunks(width)
        .flat_map(|row| {
            let mut normed = norm_reference(&row[..first], one, &[], false, 1e-5);
            normed.extend(norm_reference(
                &row[first..first + second],
                two,
                &[],
                false,
                1e-5,
            ));
            normed.extend(wide(&row[first + second..]));
            normed
        })
        .collect();
    Ok(worst(&found.to_host()?, &expected, 4e-5, number))
}

pub(super) fn rotation(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
) -> Result<f64, KernelError> {
    let (rows, heads, half) = (noise.count(1, 40), noise.count(1, 5), noise.count(1, 40));
    let head_dim = 2 * half + 2 * noise.count(0, 3);
    let width = (heads + 1) * head_dim;
    let inverse: Vec<f32> = (0..half)
        .map(|pair| 0.9f32.powi(i32::try_from(pair).unwrap_or(0)))
        .collect();
    let table = RopeTable::new(&inverse, 1.0, 300);
    let depths: Vec<u32> = (0..rows).map(|_| short(noise.count(0, 300))).collect();
    let values = rounded(&noise.values(rows * width), number);
    let found = narrow(gpu, &values, width, number)?;
    gpu.rotate(&found, heads, head_dim, &table, &gpu.upload(&depths)?)?;
    let mut expected = wide(&values);
    for ((row, out), depth) in values
        .chunks(width)
        .zip(expected.chunks_mut(width))
        .zip(&depths)
    {
        for head in 0..heads {
            let at = head * head_dim..(head + 1) * head_dim;
            out[at.clone()].copy_from_slice(&rotate_reference(&row[at], &inverse, *depth));
        }
    }
    // Angles are products in f32: at depth 300 they are off by 2e-5.
    let mut off = worst(&found.to_host()?, &expected, 6e-5, number);
    let clamped = narrow(gpu, &values, width, number)?;
    gpu.clamp(&clamped, 0.25)?;
    let expected: Vec<f64> = wide(&values).iter().map(|x| x.clamp(-0.25, 0.25)).collect();
    off = off.max(worst(&clamped.to_host()?, &expected, 1e-9, Number::F32));
    Ok(off)
}

/// Queries and keys normed and turned at once, as a decoder has it done.
pub(super) fn turned(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
) -> Result<f64, KernelError> {
    let mut off = 0.0f64;
    // Heads of one kernel, and of two where a part is turned or the width is odd.
    for (head_dim, half) in [
        (16, 8),
        (64, 32),
        (128, 64),
        (80, 40),
        (64, 16),
        (20, 8),
        (10, 5),
    ] {
        let (rows, kv_heads) = (noise.count(1, 12), noise.count(1, 3));
        let shape = AttentionShape {
            heads: kv_heads * noise.count(1, 4),
            kv_heads,
            head_dim,
        };
        let (width, heads) = (shape.qkv_width(), shape.heads + kv_heads);
        let covered = heads * head_dim;
        let inverse: Vec<f32> = (0..half)
            .map(|pair| 0.9f32.powi(i32::try_from(pair).unwrap_or(0)))
            .collect();
        let table = RopeTable::new(&inverse, 1.0, 100);
        let depths: Vec<u32> = (0..rows).map(|_| short(noise.count(0, 100))).collect();
        let values = rounded(&noise.values(rows * width), number);
        let queries = shape.heads * head_dim;
        let groups = [
            None,
            Some(vec![head_dim; heads]),
            Some(vec![queries, covered - queries]),
        ];
        for (groups, centred) in groups
            .iter()
            .flat_map(|groups| [(groups, false), (groups, true)])
        {
            let weights = noise.values(if centred { 2 * covered } else { covered });
            let (weight, bias) = weights.split_at(covered);
            let own = Norm {
                weights: vector(&weights)?,
                centred,
                eps: 1e-5,
            };
            let is_turned = noise.count(0, 4) > 0;
            let found = narrow(gpu, &values, width, number)?;
            let uploaded = gpu.upload(&depths)?;
            let own = groups.as_ref().map(|groups| (&own, &groups[..]));
            gpu.turn(&found, shape, own, is_turned.then_some((&table, &uploaded)))?;
            let mut expected = wide(&values);
            for (row, depth) in expected.chunks_mut(width).zip(&depths) {
                let mut at = 0;
                for group in groups.iter().flatten().copied() {
                    #[expect(clippy::cast_possible_truncation, reason = "they were f32")]
                    let before: Vec<f32> = row[at..at + group].iter().map(|x| *x as f32).collect();
                    let bias = if centred { &bias[at..at + group] } else { &[] };
                    let normed =
                        norm_reference(&before, &weight[at..at + group], bias, centred, 1e-5);
                    row[at..at + group].copy_from_slice(&normed);
                    at += group;
                }
                for head in row[..covered].chunks_mut(head_dim).filter(|_| is_turned) {
                    #[expect(clippy::cast_possible_truncation, reason = "angles are of f32")]
                    let before: Vec<f32> = head.iter().map(|x| *x as f32).collect();
                    head.copy_from_slice(&rotate_reference(&before, &inverse, *depth));
                }
            }
            // In two kernels what is normed is rounded before it is turned.
            let at_once = 2 * half == head_dim && half.is_power_of_two() && half >= 8;
            let bound = 6e-5 + if at_once { 0.0 } else { 3.0 * step(number) };
            off = off.max(worst(&found.to_host()?, &expected, bound, number));
        }
    }
    Ok(off)
}

pub(super) fn activation(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
) -> Result<f64, KernelError> {
    let mut off = 0.0f64;
    for kind in [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
    ] {
        for gated in [false, true] {
            let (rows, inner, outer) = (noise.count(1, 30), width(noise), 2 * width(noise));
            let x = rounded(&noise.values(rows * inner), number);
            let weight = rounded(&noise.values(outer * inner), number);
            let dtype = number.dtype();
            let matrix = GpuMatrix::upload(
                gpu,
                &tensor(&weight, inner)?,
                gated,
                dtype,
                WeightFormat::Native,
            )?;
            let x = GpuRows::from_host(gpu, &x, inner, 32)?;
            let inside = matrix.product(&x, None, number)?.to_host()?;
            let found = gpu.activated(&matrix, &x, None, kind)?.to_host()?;
            let expected: Vec<f64> = if gated {
                let half = outer / 2;
                inside
                    .chunks(outer)
                    .flat_map(|row| {
                        let (gates, ups) = row.split_at(half);
                        let each = gates.iter().zip(ups);
                        each.map(|(gate, up)| activation_reference(*gate, kind) * f64::from(*up))
                    })
                    .collect()
            } else {
                inside
                    .iter()
                    .map(|x| activation_reference(*x, kind))
                    .collect()
            };
            off = off.max(worst(&found, &expected, 2e-5, number));
        }
    }
    Ok(off)
}

pub(super) fn embedding(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
) -> Result<f64, KernelError> {
    let (vocabulary, positions, width, rows) = (
        noise.count(5, 90),
        noise.count(5, 50),
        noise.count(1, 300),
        noise.count(1, 40),
    );
    let table = rounded(&noise.values(vocabulary * width), number);
    let learned = rounded(&noise.values(positions * width), number);
    let tokens: Vec<u32> = (0..rows)
        .map(|_| short(noise.count(0, vocabulary)))
        .collect();
    let depths: Vec<u32> = (0..rows)
        .map(|_| short(noise.count(0, positions)))
        .collect();
    let on_gpu = matrix(gpu, &table, width, number, WeightFormat::Native)?;
    let learned_on_gpu = matrix(gpu, &learned, width, number, WeightFormat::Native)?;
    let found = gpu
        .embed(&on_gpu, Some(&learned_on_gpu), &tokens, &depths, 1.5, 16)?
        .to_host()?;
    let row = |table: &[f32], index: u32| table[index as usize * width..][..width].to_vec();
    let expected: Vec<f64> = tokens
        .iter()
        .zip(&depths)
        .flat_map(|(token, depth)| {
            let both = row(&table, *token).into_iter().zip(row(&learned, *depth));
            both.map(|(a, b)| 1.5 * f64::from(a) + f64::from(b))
                .collect::<Vec<_>>()
        })
        .collect();
    let mut off = worst(&found, &expected, 1e-6, Number::F32);
    let back = on_gpu
        .to_host()?
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    off = off.max(worst(&back, &wide(&table), 1e-9, Number::F32));
    Ok(off)
}

pub(super) fn gathered(gpu: &Arc<Gpu>, noise: &mut Noise) -> Result<f64, KernelError> {
    let (rows, width) = (noise.count(2, 40), noise.count(1, 300));
    let values = noise.values(rows * width);
    let on_gpu = GpuRows::from_host(gpu, &values, width, 8)?;
    let list: Vec<u32> = (0..short(rows))
        .filter(|_| noise.count(0, 2) == 0)
        .collect();
    let row = |index: &u32| values[*index as usize * width..][..width].to_vec();
    let picked: Vec<f32> = list.iter().flat_map(row).collect();
    let some = gpu.select(&on_gpu, &list, 4)?;
    let mut off = worst(&some.to_host()?, &wide(&picked), 1e-9, Number::F32);
    let joined = gpu.joined(&[&some, &on_gpu], 4)?.to_host()?;
    let both: Vec<f32> = picked.iter().chain(&values).copied().collect();
    off = off.max(worst(&joined, &wide(&both), 1e-9, Number::F32));
    let weights = noise.values(list.len());
    let sums = gpu.zeros_like(&on_gpu)?;
    gpu.add_weighted(&sums, &some, Some(&list), &weights)?;
    gpu.add_scaled(&sums, &on_gpu, 2.0)?;
    let mut expected: Vec<f64> = values.iter().map(|x| 2.0 * f64::from(*x)).collect();
    for (index, weight) in list.iter().zip(&weights) {
        let at = *index as usize * width;
        for (sum, x) in expected[at..at + width].iter_mut().zip(row(index)) {
            *sum += f64::from(*weight) * f64::from(x);
        }
    }
    Ok(off.max(worst(&sums.to_host()?, &expected, 1e-6, Number::F32)))
}
