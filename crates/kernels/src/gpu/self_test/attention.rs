//! Attention over tries and over pages.

use super::noise::{Noise, narrow, rounded, short, step, worst};
use crate::KernelError;
use crate::attention::{
    AttentionShape, KvPages, PageRows, PassRows, Scores, row_reference, trie_attention_reference,
};
use crate::gpu::Gpu;
use crate::gpu::attention::{GpuKvPrefix, GpuPages};
use crate::gpu::raw::Number;
use std::sync::Arc;

/// A pass of random rows: their queries, keys and values, what they see, and how.
struct Case {
    shape: AttentionShape,
    scores: Scores,
    depths: Vec<u32>,
    ends: Vec<u32>,
    qkv: Vec<f32>,
}

fn case(noise: &mut Noise, number: Number, (head_dim, group): (usize, usize)) -> Case {
    let kv_heads = noise.count(1, 3);
    let shape = AttentionShape {
        heads: kv_heads * group,
        kv_heads,
        head_dim,
    };
    let scores = Scores {
        softcap: (noise.count(0, 2) == 0).then(|| noise.count(1, 30) as f32),
        window: (noise.count(0, 2) == 0).then(|| noise.count(1, 90)),
        ..Scores::plain(shape)
    };
    let rows = noise.count(40, 150);
    let (depths, ends) = noise.trie(rows);
    let qkv = rounded(&noise.values(rows * shape.qkv_width()), number);
    Case {
        shape,
        scores,
        depths,
        ends,
        qkv,
    }
}

/// What attention may be off by: weights are rounded to the type before values are added up.
fn attention_bound(number: Number) -> f64 {
    2e-5 + 1.5 * step(number)
}

pub(super) fn attention(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
    heads: (usize, usize),
) -> Result<f64, KernelError> {
    let case = case(noise, number, heads);
    let expected =
        trie_attention_reference(&case.qkv, &case.depths, &case.ends, case.shape, case.scores);
    let cut = noise.count(1, case.depths.len());
    let found = in_passes(gpu, &case, number, cut, 1)?;
    Ok(worst(&found, &expected, attention_bound(number), number))
}

/// Attention of a case in two passes, of which the second is handed the path to its first row; every so many rows query.
fn in_passes(
    gpu: &Arc<Gpu>,
    case: &Case,
    number: Number,
    cut: usize,
    every: usize,
) -> Result<Vec<f32>, KernelError> {
    let width = case.shape.qkv_width();
    let rows = case.depths.len();
    let mut path: Vec<u32> = Vec::new();
    for row in 0..cut {
        path.truncate(case.depths[row] as usize);
        path.push(short(row));
    }
    path.truncate(case.depths.get(cut).map_or(0, |depth| *depth as usize));
    let mut carried = GpuKvPrefix::new(case.shape);
    let mut found = Vec::new();
    for part in [0..cut, cut..rows] {
        if part.is_empty() {
            continue;
        }
        let begin = part.start;
        let qkv = narrow(
            gpu,
            &case.qkv[part.start * width..part.end * width],
            width,
            number,
        )?;
        let queries =
            (0..short(part.len())).filter(|row| (begin + *row as usize).is_multiple_of(every));
        let depths: Arc<[u32]> = case.depths[part].into();
        let pass = PassRows::new(depths, Some(queries.collect()));
        let out = gpu.trie_attention(&qkv, &carried, &pass, case.shape, case.scores, 16)?;
        found.extend(out.to_host()?);
        if begin == 0 {
            carried.advance(&qkv, 0, (&path, &gpu.upload(&path)?))?;
        }
    }
    Ok(found)
}

/// Other cuts and other queries beside: the same bits.
pub(super) fn attention_company(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
    heads: (usize, usize),
) -> Result<f64, KernelError> {
    let case = case(noise, number, heads);
    let rows = case.depths.len();
    let whole = in_passes(gpu, &case, number, rows, 1)?;
    let cut = noise.count(1, rows);
    let every = noise.count(1, 6);
    let some = in_passes(gpu, &case, number, cut, every)?;
    let width = case.shape.query_width();
    let expected: Vec<f32> = whole
        .chunks(width)
        .step_by(every)
        .flat_map(|row| row.iter().copied())
        .collect();
    Ok(if some == expected { 0.0 } else { f64::INFINITY })
}

pub(super) fn paged(
    gpu: &Arc<Gpu>,
    noise: &mut Noise,
    number: Number,
    head_dim: usize,
) -> Result<f64, KernelError> {
    let mut case = case(noise, number, (head_dim, 1));
    // Several query heads to one of keys and values, up to sixteen.
    case.shape.heads = case.shape.kv_heads * noise.count(1, 17);
    case.scores.scale = Scores::plain(case.shape).scale;
    // One path, of which the last row is new.
    let rows = match noise.count(0, 4) {
        0 => noise.count(257, 330),
        _ => noise.count(2, 150),
    };
    case.depths = (0..short(rows)).collect();
    case.ends = vec![short(rows); rows];
    let width = case.shape.qkv_width();
    case.qkv = rounded(&noise.values(rows * width), number);
    let seen = (&case.depths[..], &case.ends[..]);
    let expected = row_reference(rows - 1, &case.qkv, seen, case.shape, case.scores);
    let count = rows.div_ceil(KvPages::DEPTHS);
    // The pages of the path stand in falling order, behind one that is not on it.
    let table: Vec<u32> = (1..=short(count)).rev().collect();
    let mut pages = GpuPages::new(case.shape, 2 * count + 1);
    let (before, last) = case.qkv.split_at((rows - 1) * width);
    let before = narrow(gpu, before, width, number)?;
    // The same path stands in other pages once more.
    let again: Vec<u32> = table.iter().map(|page| page + short(count)).collect();
    for table in [&table, &again] {
        let places: Vec<(u32, usize)> = (0..rows - 1)
            .map(|depth| (table[depth / KvPages::DEPTHS], depth % KvPages::DEPTHS))
            .collect();
        pages.put_rows(&before, &places)?;
    }
    // A page may be copied and the copy go on.
    pages.copy(table[0], 0, KvPages::DEPTHS.min(rows - 1))?;
    let mut table = table;
    table[0] = 0;
    let new = PageRows::new(vec![table, again], vec![short(rows - 1); 2]);
    let qkv = narrow(gpu, &[last, last].concat(), width, number)?;
    let expected = [&expected[..], &expected].concat();
    let found = gpu
        .page_attention(&qkv, &mut pages, &new, case.scores)?
        .to_host()?;
    Ok(worst(&found, &expected, attention_bound(number), number))
}
