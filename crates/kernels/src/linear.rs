//! The matrix product.

use candle_core::{Result, Tensor};

/// `x · weightᵀ + bias`.
///
/// # Shapes
/// `x`: `[rows, in]`, `weight`: `[out, in]`, `bias`: `[out]`; returns `[rows, out]`.
///
/// # Numerics
/// On the CPU through `gemm`. From 65 rows on a row's bits do not depend on the other rows or on how many there are
/// ([`KernelConfig::minimum_rows`](crate::KernelConfig::minimum_rows)).
///
/// # Errors
/// candle's, where shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let product = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => product.broadcast_add(bias),
        None => Ok(product),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
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
