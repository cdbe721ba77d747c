//! RMSNorm and LayerNorm: of rows, and over the heads of queries and keys in place. The residual stream.

use crate::storage::{LANES, Row, add_lanes, read, values, values_mut};
use crate::vector::Vector;
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, bail};
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a norm does to a row.
#[derive(Clone)]
pub struct Norm {
    /// `[1, width]`: a weight; `[2, width]`: a weight and a bias.
    pub weights: Vector,
    /// Whether the mean is taken off first (LayerNorm).
    pub centred: bool,
    /// Added to the mean square, or to the variance.
    pub eps: f64,
}

/// `weight · x / sqrt(mean(x²) + eps) + bias` by row; where it is centred, of `x - mean(x)`.
///
/// # Shapes
/// `x`: `[rows, width]` in `f32`; returns as much in `dtype`, `f32` or `bf16`, and the first row whose mean square is infinite
/// or not a number.
///
/// # Errors
/// candle's, where a tensor is not contiguous `f32`.
///
/// # Source
/// Zhang and Sennrich 2019; Ba et al. 2016.
pub fn norm(x: &Tensor, norm: &Norm, dtype: DType) -> Result<(Tensor, Option<usize>)> {
    match dtype {
        DType::BF16 => norm_as::<bf16>(x, norm),
        _ => norm_as::<f32>(x, norm),
    }
}

fn norm_as<T: Row>(x: &Tensor, norm: &Norm) -> Result<(Tensor, Option<usize>)> {
    let (rows, width) = x.dims2()?;
    let found = NonFinite::default();
    let kind = Kind::of(norm);
    let out = read(x, |x| {
        read(norm.weights.tensor(), |weights| {
            let affine = Affine::new(weights, norm.weights.tensor().dims2()?)?;
            if affine.weight.len() != width {
                bail!(
                    "a norm of {} numbers in rows of {width}",
                    affine.weight.len()
                );
            }
            let mut out: Vec<T> = bytemuck::zeroed_vec(x.len());
            let task_size = (width * ROWS_A_TASK).max(1);
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
                        found.report(task * ROWS_A_TASK + row);
                    }
                });
            Ok(out)
        })
    })???;
    let normed = Tensor::from_vec(out, (rows, width), &Device::Cpu)?;
    Ok((normed, found.row()))
}

/// `hidden += scale · delta`, in place.
///
/// # Shapes
/// Both `[rows, hidden]`, of different storage.
///
/// # Errors
/// candle's, where a tensor is not contiguous `f32`.
pub fn add_scaled(hidden: &Tensor, delta: &Tensor, scale: f64) -> Result<()> {
    hidden.inplace_op2(
        delta,
        &AddScaled {
            scale: narrow(scale),
        },
    )
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
    rows.inplace_op2(norm.weights.tensor(), &op)
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
    fn new(weights: &'a [f32], (kinds, width): (usize, usize)) -> Result<Self> {
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
struct Norms<'a, T> {
    x: &'a [f32],
    affine: Affine<'a>,
    kind: Kind,
    out: &'a mut [T],
}

impl<T: Row> WithSimd for Norms<'_, T> {
    type Output = Option<usize>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Option<usize> {
        let Affine { weight, bias } = self.affine;
        let width = weight.len();
        let mut broken = None;
        let rows = self.out.chunks_mut(width).zip(self.x.chunks(width));
        for (row, (out, x)) in rows.enumerate() {
            let (centre, scale, finite) = moments(x, self.kind);
            let values = x.iter().zip(weight);
            match bias {
                None if self.kind.centred => {
                    for (out, (x, w)) in out.iter_mut().zip(values) {
                        *out = T::of(w * ((x - centre) * scale));
                    }
                }
                None => {
                    for (out, (x, w)) in out.iter_mut().zip(values) {
                        *out = T::of(w * (x * scale));
                    }
                }
                // Where nothing is taken off, the centre is zero.
                Some(bias) => {
                    for ((out, (x, w)), b) in out.iter_mut().zip(values).zip(bias) {
                        *out = T::of(w * ((x - centre) * scale) + b);
                    }
                }
            }
            if !finite && broken.is_none() {
                broken = Some(row);
            }
        }
        broken
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

struct AddScaled {
    scale: f32,
}

impl InplaceOp2 for AddScaled {
    fn name(&self) -> &'static str {
        "add-scaled"
    }

    fn cpu_fwd(
        &self,
        hidden: &mut CpuStorage,
        hidden_layout: &Layout,
        delta: &CpuStorage,
        delta_layout: &Layout,
    ) -> Result<()> {
        let (hidden, delta) = (
            values_mut(hidden, hidden_layout)?,
            values::<f32>(delta, delta_layout)?,
        );
        if hidden.len() != delta.len() {
            bail!("{} numbers are added to {}", delta.len(), hidden.len());
        }
        hidden
            .par_chunks_mut(1 << 14)
            .zip(delta.par_chunks(1 << 14))
            .for_each(|(hidden, delta)| {
                for (hidden, delta) in hidden.iter_mut().zip(delta) {
                    *hidden += delta * self.scale;
                }
            });
        Ok(())
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
        let affine = Affine::new(
            values(weights, weights_layout)?,
            weights_layout.shape().dims2()?,
        )?;
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
    use candle_core::Shape;
    use proptest::prelude::*;

    fn tensor(values: &[f32], shape: impl Into<Shape>) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn of(weights: &[f32], kinds: usize, centred: bool) -> Norm {
        Norm {
            weights: Vector::new(tensor(weights, (kinds, weights.len() / kinds))),
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
        fn it_agrees_with_the_reference(
            rows in 1usize..40, width in 1usize..100, kinds in 1usize..3, centred: bool, seed in 0usize..999,
        ) {
            let values = noise(rows * width, seed);
            let weights = noise(kinds * width, seed + 77);
            let (weight, bias) = weights.split_at(width);
            let kind = of(&weights, kinds, centred);
            let x = tensor(&values, (rows, width));
            let (wide, _) = norm(&x, &kind, DType::F32).unwrap();
            let (rounded, _) = norm(&x, &kind, DType::BF16).unwrap();
            let expected = wide.to_dtype(DType::BF16).unwrap();
            prop_assert_eq!(rounded.to_vec2::<bf16>().unwrap(), expected.to_vec2::<bf16>().unwrap());
            for (found, row) in wide.to_vec2::<f32>().unwrap().iter().zip(values.chunks(width)) {
                for (a, b) in found.iter().zip(norm_reference(row, weight, bias, centred, 1e-5)) {
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
        let kind = of(&[1.0; 8], 1, false);
        let (_, row) = norm(&tensor(&values, (40, 8)), &kind, DType::F32).unwrap();
        assert_eq!(row, Some(33));
        let (_, row) = norm(&tensor(&[1.0; 16], (2, 8)), &kind, DType::BF16).unwrap();
        assert_eq!(row, None);
    }

    #[test]
    fn what_is_added_is_scaled() {
        let hidden = tensor(&[1.0, 2.0, 3.0, 4.0], (2, 2));
        let part = hidden.narrow(0, 1, 1).unwrap();
        add_scaled(&part, &tensor(&[2.0, -2.0], (1, 2)), 0.5).unwrap();
        assert_eq!(hidden.to_vec2::<f32>().unwrap(), [[1.0, 2.0], [4.0, 3.0]]);
    }
}
