//! RMSNorm and LayerNorm: alone, fused with the residual addition before them, and over the heads of queries and keys.

use crate::storage::{LANES, add_lanes, values, values_mut};
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, InplaceOp2, Layout, Result, Shape, Tensor, bail,
};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a norm does to a row.
#[derive(Clone)]
pub struct Norm {
    /// `[1, width]`: a weight; `[2, width]`: a weight and a bias.
    pub weights: Tensor,
    /// Whether the mean is taken off first (LayerNorm).
    pub centred: bool,
    /// Added to the mean square, or to the variance.
    pub eps: f64,
}

/// A residual stream and its norm.
pub struct Normed {
    /// The sum, `[rows, hidden]`.
    pub hidden: Tensor,
    /// Its norm, `[rows, hidden]`.
    pub normed: Tensor,
    /// The first row whose mean square is infinite or not a number.
    pub non_finite: Option<usize>,
}

/// `weight · x / sqrt(mean(x²) + eps) + bias` by row; where it is centred, of `x - mean(x)`.
///
/// # Shapes
/// `x`: `[rows, width]`.
///
/// # Errors
/// candle's, where a tensor is not contiguous `f32`.
///
/// # Source
/// Zhang and Sennrich 2019; Ba et al. 2016.
pub fn norm(x: &Tensor, norm: &Norm) -> Result<(Tensor, Option<usize>)> {
    let found = NonFinite::default();
    let op = Alone {
        kind: Kind::of(norm),
        found: found.clone(),
    };
    let normed = x.apply_op2_no_bwd(&norm.weights, &op)?;
    Ok((normed, found.row()))
}

/// `hidden + scale · delta`, and the norm of that, in one sweep.
///
/// # Shapes
/// `hidden`, `delta`: `[rows, hidden]`.
///
/// # Errors
/// As [`norm`].
pub fn residual_norm(hidden: &Tensor, delta: &Tensor, scale: f64, norm: &Norm) -> Result<Normed> {
    let found = NonFinite::default();
    let op = AfterResidual {
        scale: narrow(scale),
        kind: Kind::of(norm),
        found: found.clone(),
    };
    let both = hidden.apply_op3_no_bwd(delta, &norm.weights, &op)?;
    Ok(Normed {
        hidden: both.get(0)?,
        normed: both.get(1)?,
        non_finite: found.row(),
    })
}

/// Norms neighbouring groups of the first columns of each row in place.
///
/// # Shapes
/// `rows`: `[rows, n]`; `groups`: the widths of the groups, from the first column on; `norm.weights` as wide as they are
/// together.
///
/// # Errors
/// candle's, where a tensor is not contiguous `f32` or the groups do not fit.
pub fn norm_groups(rows: &Tensor, groups: &Arc<[usize]>, norm: &Norm) -> Result<()> {
    let op = InGroups {
        kind: Kind::of(norm),
        groups: Arc::clone(groups),
    };
    rows.inplace_op2(&norm.weights, &op)
}

/// [`norm`] in `f64`, one number after another.
pub fn norm_reference(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    centred: bool,
    eps: f64,
) -> Vec<f64> {
    let count = x.len() as f64;
    let centre = if centred {
        x.iter().map(|x| f64::from(*x)).sum::<f64>() / count
    } else {
        0.0
    };
    let off = |x: &f32| f64::from(*x) - centre;
    let mean = x.iter().map(|x| off(x).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (mean + eps).sqrt();
    let bias = bias.iter().copied().chain(std::iter::repeat(0.0));
    x.iter()
        .zip(weight)
        .zip(bias)
        .map(|((x, w), b)| off(x) * scale * f64::from(*w) + f64::from(b))
        .collect()
}

/// The lowest row reported, shared with the operation that looks for it.
#[derive(Clone, Default)]
struct NonFinite(Arc<AtomicUsize>);

impl NonFinite {
    /// Rows are kept from one on; zero means none.
    fn report(&self, row: usize) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lowest| {
                (lowest == 0 || row + 1 < lowest).then_some(row + 1)
            });
    }

    fn row(&self) -> Option<usize> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }
}

const ROWS_A_TASK: usize = 16;

#[derive(Clone, Copy)]
struct Kind {
    centred: bool,
    eps: f32,
}

impl Kind {
    fn of(norm: &Norm) -> Self {
        Self {
            centred: norm.centred,
            eps: narrow(norm.eps),
        }
    }
}

/// A weight and, where there is one, a bias.
#[derive(Clone, Copy)]
struct Affine<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
}

impl<'a> Affine<'a> {
    fn new(weights: &'a [f32], layout: &Layout) -> Result<Self> {
        let (kinds, width) = layout.shape().dims2()?;
        let (weight, rest) = weights.split_at(width);
        match kinds {
            1 => Ok(Self { weight, bias: None }),
            2 => Ok(Self {
                weight,
                bias: Some(rest),
            }),
            other => bail!("a norm has one or two rows of weights, not {other}"),
        }
    }

    fn part(&self, start: usize, width: usize) -> Self {
        Self {
            weight: &self.weight[start..start + width],
            bias: self.bias.map(|bias| &bias[start..start + width]),
        }
    }
}

#[inline(always)]
fn sum(x: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = of(*value, 0.0);
    }
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = of(block[lane], lanes[lane]);
        }
    }
    add_lanes(lanes)
}

/// What to take off and what to multiply by; the last is whether the mean square is finite.
#[inline(always)]
fn moments(x: &[f32], kind: Kind) -> (f32, f32, bool) {
    let count = x.len() as f32;
    let (centre, mean) = if kind.centred {
        let centre = sum(x, |x, lane| lane + x) / count;
        let square = sum(x, |x, lane| (x - centre).mul_add(x - centre, lane));
        (centre, square / count)
    } else {
        (0.0, sum(x, |x, lane| x.mul_add(x, lane)) / count)
    };
    (centre, 1.0 / (mean + kind.eps).sqrt(), mean.is_finite())
}

/// Norms of some rows; gives the first that is not finite.
///
/// A struct instead of a closure: the compiler does not promise to inline a closure into the vector context.
struct Norms<'a> {
    x: &'a [f32],
    affine: Affine<'a>,
    kind: Kind,
    out: &'a mut [f32],
}

impl WithSimd for Norms<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Option<usize> {
        let Affine { weight, bias } = self.affine;
        let width = weight.len();
        let mut broken = None;
        let rows = self.out.chunks_mut(width).zip(self.x.chunks(width));
        for (row, (out, x)) in rows.enumerate() {
            let (centre, scale, finite) = moments(x, self.kind);
            if self.kind.centred {
                for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                    *out = w * ((x - centre) * scale);
                }
            } else {
                for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                    *out = w * (x * scale);
                }
            }
            if let Some(bias) = bias {
                for (out, b) in out.iter_mut().zip(bias) {
                    *out += b;
                }
            }
            if !finite && broken.is_none() {
                broken = Some(row);
            }
        }
        broken
    }
}

/// Sums of some rows, and norms of the sums.
struct ResidualNorms<'a> {
    hidden: &'a [f32],
    delta: &'a [f32],
    scale: f32,
    affine: Affine<'a>,
    kind: Kind,
    sums: &'a mut [f32],
    norms: &'a mut [f32],
}

impl WithSimd for ResidualNorms<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<usize> {
        for ((sum, hidden), delta) in self.sums.iter_mut().zip(self.hidden).zip(self.delta) {
            *sum = hidden + delta * self.scale;
        }
        Norms {
            x: self.sums,
            affine: self.affine,
            kind: self.kind,
            out: self.norms,
        }
        .with_simd(simd)
    }
}

/// The groups of one row, in place.
struct GroupNorms<'a> {
    row: &'a mut [f32],
    groups: &'a [usize],
    affine: Affine<'a>,
    kind: Kind,
}

impl WithSimd for GroupNorms<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let mut start = 0;
        for width in self.groups {
            let group = &mut self.row[start..start + width];
            let affine = self.affine.part(start, *width);
            let (centre, scale, _) = moments(group, self.kind);
            for (x, w) in group.iter_mut().zip(affine.weight) {
                *x = w * ((*x - centre) * scale);
            }
            if let Some(bias) = affine.bias {
                for (x, b) in group.iter_mut().zip(bias) {
                    *x += b;
                }
            }
            start += width;
        }
    }
}

struct Alone {
    kind: Kind,
    found: NonFinite,
}

impl CustomOp2 for Alone {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weights) = (values(x, x_layout)?, values(weights, weights_layout)?);
        let (affine, kind) = (Affine::new(weights, weights_layout)?, self.kind);
        let task_size = affine.weight.len() * ROWS_A_TASK;
        let mut out = vec![0.0f32; x.len()];
        out.par_chunks_mut(task_size)
            .zip(x.par_chunks(task_size))
            .enumerate()
            .for_each(|(task, (out, x))| {
                let norms = Norms {
                    x,
                    affine,
                    kind,
                    out,
                };
                if let Some(row) = Arch::new().dispatch(norms) {
                    self.found.report(task * ROWS_A_TASK + row);
                }
            });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

struct AfterResidual {
    scale: f32,
    kind: Kind,
    found: NonFinite,
}

impl CustomOp3 for AfterResidual {
    fn name(&self) -> &'static str {
        "residual-norm"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        delta: &CpuStorage,
        delta_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (hidden, delta) = (values(hidden, hidden_layout)?, values(delta, delta_layout)?);
        let affine = Affine::new(values(weights, weights_layout)?, weights_layout)?;
        let (scale, kind) = (self.scale, self.kind);
        let mut both = vec![0.0f32; 2 * hidden.len()];
        let (sums, norms) = both.split_at_mut(hidden.len());
        let task_size = affine.weight.len() * ROWS_A_TASK;
        sums.par_chunks_mut(task_size)
            .zip(norms.par_chunks_mut(task_size))
            .zip(
                hidden
                    .par_chunks(task_size)
                    .zip(delta.par_chunks(task_size)),
            )
            .enumerate()
            .for_each(|(task, ((sums, norms), (hidden, delta)))| {
                let norms = ResidualNorms {
                    hidden,
                    delta,
                    scale,
                    affine,
                    kind,
                    sums,
                    norms,
                };
                if let Some(row) = Arch::new().dispatch(norms) {
                    self.found.report(task * ROWS_A_TASK + row);
                }
            });
        let (rows, width) = hidden_layout.shape().dims2()?;
        Ok((CpuStorage::F32(both), Shape::from((2, rows, width))))
    }
}

struct InGroups {
    kind: Kind,
    groups: Arc<[usize]>,
}

impl InplaceOp2 for InGroups {
    fn name(&self) -> &'static str {
        "norm-groups"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<()> {
        let (_, width) = rows_layout.shape().dims2()?;
        let affine = Affine::new(values(weights, weights_layout)?, weights_layout)?;
        let covered = self.groups.iter().sum::<usize>();
        if covered > width || covered != affine.weight.len() {
            bail!("groups of {covered} columns in rows of {width}");
        }
        let (groups, kind) = (&*self.groups, self.kind);
        values_mut(rows, rows_layout)?
            .par_chunks_mut(width)
            .with_min_len(16)
            .for_each(|row| {
                Arch::new().dispatch(GroupNorms {
                    row,
                    groups,
                    affine,
                    kind,
                });
            });
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the norm is computed in f32"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    fn tensor(values: &[f32], shape: impl Into<Shape>) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn of(weights: &[f32], kinds: usize, centred: bool) -> Norm {
        Norm {
            weights: tensor(weights, (kinds, weights.len() / kinds)),
            centred,
            eps: 1e-5,
        }
    }

    fn noise(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed) % 199) as f32 / 50.0 - 2.0)
            .collect()
    }

    proptest! {
        #[test]
        fn both_forms_agree_with_the_reference(
            rows in 1usize..40, width in 1usize..100, kinds in 1usize..3, centred: bool, seed in 0usize..999,
        ) {
            let (hidden, delta) = (noise(rows * width, seed), noise(rows * width, seed + 31));
            let weights = noise(kinds * width, seed + 77);
            let (weight, bias) = weights.split_at(width);
            let (h, d) = (tensor(&hidden, (rows, width)), tensor(&delta, (rows, width)));
            let kind = of(&weights, kinds, centred);
            let fused = residual_norm(&h, &d, 0.5, &kind).unwrap();
            let sum = (h + (d * 0.5).unwrap()).unwrap();
            let (alone, _) = norm(&sum, &kind).unwrap();
            prop_assert_eq!(fused.hidden.to_vec2::<f32>().unwrap(), sum.to_vec2::<f32>().unwrap());
            prop_assert_eq!(fused.normed.to_vec2::<f32>().unwrap(), alone.to_vec2::<f32>().unwrap());
            for (found, row) in alone.to_vec2::<f32>().unwrap().iter().zip(sum.to_vec2::<f32>().unwrap()) {
                for (a, b) in found.iter().zip(norm_reference(&row, weight, bias, centred, 1e-5)) {
                    prop_assert!((f64::from(*a) - b).abs() <= 2e-5 * b.abs().max(1.0), "{a} {b}");
                }
            }
        }

        #[test]
        fn groups_are_rows_of_their_own(rows in 1usize..40, first in 1usize..40, second in 1usize..40, centred: bool) {
            let width = first + second + 5;
            let values = noise(rows * width, 3);
            let weights = noise(first + second, 11);
            let found = tensor(&values, (rows, width));
            let groups: Arc<[usize]> = [first, second].into();
            norm_groups(&found, &groups, &of(&weights, 1, centred)).unwrap();
            for (found, row) in found.to_vec2::<f32>().unwrap().iter().zip(values.chunks(width)) {
                let (one, two) = weights.split_at(first);
                let mut expected = norm_reference(&row[..first], one, &[], centred, 1e-5);
                expected.extend(norm_reference(&row[first..first + second], two, &[], centred, 1e-5));
                expected.extend(row[first + second..].iter().map(|x| f64::from(*x)));
                for (a, b) in found.iter().zip(expected) {
                    prop_assert!((f64::from(*a) - b).abs() <= 2e-5 * b.abs().max(1.0), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn the_first_row_that_is_not_finite_is_named() {
        let mut values = vec![1.0f32; 40 * 8];
        values[33 * 8 + 2] = f32::NAN;
        values[37 * 8] = f32::INFINITY;
        let (_, row) = norm(&tensor(&values, (40, 8)), &of(&[1.0; 8], 1, false)).unwrap();
        assert_eq!(row, Some(33));
        let sound = residual_norm(
            &tensor(&[1.0; 16], (2, 8)),
            &tensor(&[1.0; 16], (2, 8)),
            1.0,
            &of(&[1.0; 8], 1, true),
        );
        assert_eq!(sound.unwrap().non_finite, None);
    }
}
