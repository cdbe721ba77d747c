//! The matrix product.

use crate::storage::values;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use gemm::{Parallelism, gemm};
use rayon::prelude::*;

/// Columns of a product whose weights are widened at once.
const TILE: usize = 512;

/// `x · weightᵀ + bias`.
///
/// # Shapes
/// `x`: `[rows, in]` in `f32`, `weight`: `[out, in]` in `f32`, `bf16` or `f16`, `bias`: `[out]` in `f32`; returns
/// `[rows, out]` in `f32`.
///
/// # Numerics
/// On the CPU through `gemm` in `f32`; narrower weights are widened a tile at a time, which is exact. From 65 rows on a row's bits do not depend on the other rows or on how many there are
/// ([`KernelConfig::minimum_rows`](crate::KernelConfig::minimum_rows)).
///
/// # Errors
/// candle's, where shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let product = if weight.dtype() == DType::F32 {
        x.matmul(&weight.t()?)?
    } else {
        x.apply_op2_no_bwd(weight, &Widened)?
    };
    match bias {
        Some(bias) => product.broadcast_add(bias),
        None => Ok(product),
    }
}

/// The product with weights that are widened as they are used.
struct Widened;

impl CustomOp2 for Widened {
    fn name(&self) -> &'static str {
        "linear-widened"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inner) = x_layout.shape().dims2()?;
        let (outer, weight_inner) = weight_layout.shape().dims2()?;
        let Some((start, end)) = weight_layout.contiguous_offsets() else {
            bail!("a contiguous weight is needed")
        };
        if inner != weight_inner {
            bail!("a product of rows of {inner} with weights of {weight_inner}");
        }
        let x = values(x, x_layout)?;
        let mut out = vec![0.0f32; rows * outer];
        let mut tile = vec![0.0f32; TILE.min(outer) * inner];
        for first in (0..outer).step_by(TILE) {
            let columns = TILE.min(outer - first);
            let tile = &mut tile[..columns * inner];
            let at = start + first * inner;
            match weight {
                CpuStorage::BF16(all) => widen(&all[..end][at..at + tile.len()], tile),
                CpuStorage::F16(all) => widen(&all[..end][at..at + tile.len()], tile),
                _ => bail!("weights are f32, bf16 or f16"),
            }
            multiply(x, tile, &mut out, [rows, columns, inner], first, outer);
        }
        Ok((CpuStorage::F32(out), Shape::from((rows, outer))))
    }
}

fn widen<T: Copy + Into<f32> + Sync>(narrow: &[T], wide: &mut [f32]) {
    wide.par_chunks_mut(1 << 14)
        .zip(narrow.par_chunks(1 << 14))
        .for_each(|(wide, narrow)| {
            for (wide, narrow) in wide.iter_mut().zip(narrow) {
                *wide = (*narrow).into();
            }
        });
}

/// `x · tileᵀ` into the columns of `out` from `first` on.
fn multiply(
    x: &[f32],
    tile: &[f32],
    out: &mut [f32],
    [rows, columns, inner]: [usize; 3],
    first: usize,
    width: usize,
) {
    assert!(
        x.len() == rows * inner
            && tile.len() == columns * inner
            && out.len() == rows * width
            && first + columns <= width
    );
    let stride = |length: usize| isize::try_from(length).unwrap_or(isize::MAX);
    #[expect(
        unsafe_code,
        reason = "SAFETY: the slices hold rows · inner, columns · inner and rows · width numbers, as asserted above, and the \
                  strides stay inside them"
    )]
    unsafe {
        gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr().add(first),
            1,
            stride(width),
            false,
            x.as_ptr(),
            1,
            stride(inner),
            tile.as_ptr(),
            stride(inner),
            1,
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            Parallelism::Rayon(rayon::current_num_threads()),
        );
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use proptest::prelude::*;

    fn noise(rows: usize, columns: usize, seed: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * columns)
            .map(|i| (((i + seed) * 2_654_435_761 % 1013) as f32 - 506.0) / 506.0)
            .collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    /// Sizes of real layers, where the inner dimension is cut into blocks.
    #[test]
    fn a_row_of_a_real_layer_does_not_depend_on_its_company() {
        for (inner, outer) in [(576, 3072), (1536, 576), (4096, 640)] {
            let (weight, x) = (noise(outer, inner, 7), noise(1024, inner, 3));
            let whole = super::linear(&x, &weight, None).unwrap();
            for (start, rows) in [(0, 65), (333, 65), (500, 130), (24, 1000)] {
                let part =
                    super::linear(&x.narrow(0, start, rows).unwrap(), &weight, None).unwrap();
                let same = whole.narrow(0, start, rows).unwrap();
                assert_eq!(
                    same.to_vec2::<f32>().unwrap(),
                    part.to_vec2::<f32>().unwrap(),
                    "{inner} {outer} {start}"
                );
            }
        }
    }

    #[test]
    fn narrow_weights_are_widened_exactly() {
        for (rows, inner, outer) in [(65, 96, 1100), (70, 33, 512), (65, 8, 3)] {
            for dtype in [DType::BF16, DType::F16] {
                let weight = noise(outer, inner, 7).to_dtype(dtype).unwrap();
                let x = noise(rows, inner, 3);
                let found = super::linear(&x, &weight, None).unwrap();
                let wide = weight.to_dtype(DType::F32).unwrap();
                let expected = super::linear(&x, &wide, None).unwrap();
                let furthest = (found - expected)
                    .unwrap()
                    .abs()
                    .unwrap()
                    .max_all()
                    .unwrap();
                assert!(furthest.to_scalar::<f32>().unwrap() < 1e-4);
            }
        }
    }

    #[test]
    fn a_row_of_narrow_weights_does_not_depend_on_its_company() {
        let weight = noise(1100, 700, 7).to_dtype(DType::BF16).unwrap();
        let x = noise(300, 700, 3);
        let whole = super::linear(&x, &weight, None).unwrap();
        let part = super::linear(&x.narrow(0, 40, 65).unwrap(), &weight, None).unwrap();
        assert_eq!(
            whole.narrow(0, 40, 65).unwrap().to_vec2::<f32>().unwrap(),
            part.to_vec2::<f32>().unwrap()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// What the pass's fill rows rest on: above 64 rows, a row's bits are the same in any company.
        #[test]
        fn a_row_does_not_depend_on_its_company(
            few in 65usize..90, many in 65usize..300, inner in 8usize..700, outer in 4usize..200,
        ) {
            let (few, many) = (few.min(many), few.max(many));
            let weight = noise(outer, inner, 7);
            let x = noise(many, inner, 3);
            let whole = super::linear(&x, &weight, None).unwrap();
            let start = many - few;
            let part = super::linear(&x.narrow(0, start, few).unwrap(), &weight, None).unwrap();
            let whole = whole.narrow(0, start, few).unwrap();
            prop_assert_eq!(whole.to_vec2::<f32>().unwrap(), part.to_vec2::<f32>().unwrap());
        }
    }
}
