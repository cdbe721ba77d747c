//! The matrix product: weights packed once, rows of `f32` or `bf16`, sums in `f32`.
//!
//! Which instructions multiply is an [`Isa`], chosen at run time. On every path an output is one sum over its inputs in their
//! order: a row's bits do not depend on the other rows, on how many there are, or on the number of threads.

#[cfg(target_arch = "x86_64")]
mod amx;
mod avx512_bf16;
mod ceiling;
mod drive;
mod finish;
mod isa;
mod panels;
mod reference;
mod tiles;
mod wide;

pub use isa::{Isa, Operands};
pub use reference::product_reference;

use crate::activation::Activation;
use crate::storage::{narrowed, read, values_mut, with_rows};
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, bail};
use drive::{Finish, Rows, multiply};
use finish::{Activated, Add, Output, Shared, Store, Written};
use half::bf16;
use panels::{Panels, packed_bytes};
use rayon::prelude::*;
#[cfg(target_arch = "x86_64")]
use tiles::{TiledJob, TiledRows};

/// A weight `[out, in]`, packed for the products of one path.
pub struct Matrix {
    panels: Panels,
    operands: Operands,
    path: Isa,
}

impl Operands {
    /// What rows are held as between products.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// What `bf16` weights multiply best with on a path.
    fn rows_on(self, path: Isa) -> Self {
        match self {
            Self::Bf16 if path.has_bf16() => Self::Bf16,
            _ => Self::F32,
        }
    }
}

impl Matrix {
    /// Packs a weight.
    ///
    /// # Shapes
    /// `weight`: `[out, in]` in `f32`, `bf16` or `f16`; in `bf16` where operands are. `gated`: the first half of the outputs are
    /// gates, the second half what they open.
    ///
    /// # Errors
    /// candle's, where the weight is of another type or not on the CPU.
    pub fn pack(weight: &Tensor, gated: bool, operands: Operands, path: Isa) -> Result<Self> {
        if operands == Operands::Bf16 && weight.dtype() != DType::BF16 {
            bail!("weights of {:?} are no bf16 operands", weight.dtype());
        }
        if !path.is_available() {
            bail!("this processor has no products by {path}");
        }
        Ok(Self {
            panels: Panels::pack(weight, gated)?,
            operands,
            path,
        })
    }

    /// The weight as it was, `[out, in]`.
    ///
    /// # Errors
    /// candle's, where the tensor cannot be made.
    pub fn unpack(&self) -> Result<Tensor> {
        self.panels.unpack()
    }

    /// What rows are rounded to.
    pub fn operands(&self) -> Operands {
        self.operands
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        self.panels.bytes()
    }

    /// Bytes that a weight `[out, in]` of a type takes once it is packed.
    pub fn bytes_of(outer: usize, inner: usize, dtype: DType) -> usize {
        packed_bytes(outer, inner, dtype)
    }

    /// Some of its rows in `f32`, as an embedding.
    ///
    /// # Shapes
    /// `rows`: below `out`; returns `[rows, in]`.
    ///
    /// # Errors
    /// candle's, where there is no such row or the weight is gated.
    pub fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        let outer = self.panels.outer;
        if self.panels.paired || rows.iter().any(|row| *row as usize >= outer) {
            bail!("rows are looked up in an embedding of {outer}");
        }
        let values = self.panels.rows_of(rows);
        Tensor::from_vec(values, (rows.len(), self.panels.inner), &Device::Cpu)
    }

    /// `x · weightᵀ + bias`.
    ///
    /// # Shapes
    /// `x`: `[rows, in]` in `f32` or `bf16`; `bias`: `[out]` in `f32`; returns `[rows, out]` in `f32`.
    ///
    /// # Numerics
    /// Rows are rounded to `bf16` where the operands are. Sums in `f32` over inputs in their order.
    ///
    /// # Errors
    /// candle's, where shapes do not fit.
    pub fn product(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (rows, width) = (x.dim(0)?, self.panels.outer);
        self.is_plain()?;
        let out = Output::new(rows * width);
        with_bias(bias, width, |bias| {
            self.multiply(
                x,
                &Store {
                    out: out.shared(),
                    width,
                    bias,
                },
            )
        })?;
        #[expect(
            unsafe_code,
            reason = "SAFETY: a product writes every row and panel of its result"
        )]
        Tensor::from_vec(unsafe { out.written() }, (rows, width), &Device::Cpu)
    }

    /// `x · weightᵀ`, written to a tensor that is there.
    ///
    /// # Shapes
    /// `out`: `[rows, out]` in `f32`, of other storage than `x`.
    ///
    /// # Errors
    /// candle's, where shapes do not fit.
    pub fn product_into(&self, x: &Tensor, out: &Tensor) -> Result<()> {
        self.fits(x, out)?;
        out.inplace_op1(&IntoProduct { matrix: self, x })
    }

    /// `activation(x · weightᵀ + bias)`; of a gated weight, `activation(gate) · up`.
    ///
    /// # Shapes
    /// As [`Matrix::product`], in what the operands are; a gated result is half as wide.
    ///
    /// # Errors
    /// candle's, where shapes do not fit.
    ///
    /// # Source
    /// Shazeer 2020 ("GLU Variants Improve Transformer").
    pub fn activated(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        let gated = self.panels.paired;
        let width = if gated {
            self.panels.outer / 2
        } else {
            self.panels.outer
        };
        let rows = x.dim(0)?;
        let fill = |out| {
            with_bias(bias, self.panels.outer, |bias| {
                self.multiply(
                    x,
                    &Activated {
                        out,
                        width,
                        bias,
                        activation,
                        gated,
                    },
                )
            })
        };
        let shape = (rows, width);
        #[expect(
            unsafe_code,
            reason = "SAFETY: a product writes every row and panel of its result"
        )]
        match self.operands {
            Operands::F32 => {
                let out = Output::new(rows * width);
                fill(Written::F32(out.shared()))?;
                Tensor::from_vec(unsafe { out.written() }, shape, &Device::Cpu)
            }
            Operands::Bf16 => {
                let out = Output::<bf16>::new(rows * width);
                fill(Written::Bf16(out.shared()))?;
                Tensor::from_vec(unsafe { out.written() }, shape, &Device::Cpu)
            }
        }
    }

    /// `hidden += scale · (x · weightᵀ + bias)`, in place.
    ///
    /// # Shapes
    /// `hidden`: `[rows, out]` in `f32`, of other storage than `x`.
    ///
    /// # Errors
    /// candle's, where shapes do not fit.
    pub fn add_product(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        scale: f64,
        hidden: &Tensor,
    ) -> Result<()> {
        self.fits(x, hidden)?;
        hidden.inplace_op1(&AddProduct {
            matrix: self,
            x,
            bias,
            scale,
        })
    }

    /// Gates and ups stand by turns: their sums are no result of their own.
    fn is_plain(&self) -> Result<()> {
        if self.panels.paired {
            bail!("the outputs of a gated weight are gates and ups");
        }
        Ok(())
    }

    fn fits(&self, x: &Tensor, out: &Tensor) -> Result<()> {
        self.is_plain()?;
        if out.dims2()? != (x.dim(0)?, self.panels.outer) {
            bail!("a product of {:?} does not fit {:?}", x.dims(), out.dims());
        }
        Ok(())
    }

    fn multiply(&self, x: &Tensor, finish: &dyn Finish) -> Result<()> {
        let (count, inner) = x.dims2()?;
        if inner != self.panels.inner {
            bail!(
                "a product of rows of {inner} with weights of {}",
                self.panels.inner
            );
        }
        let multiply = |x: Rows<'_>| multiply(self.path, x, count, &self.panels, finish);
        #[cfg(target_arch = "x86_64")]
        let by_tiles = |x: &TiledRows| {
            let job = TiledJob {
                x,
                panels: &self.panels,
                finish,
            };
            job.run::<amx::Unit>();
        };
        let rounded = self.operands == Operands::Bf16;
        let narrow = self.operands.rows_on(self.path) == Operands::Bf16;
        #[cfg(target_arch = "x86_64")]
        if narrow && self.path == Isa::Amx {
            return with_rows(
                x,
                |wide| by_tiles(&TiledRows::of(wide, inner, true, narrowed)),
                |short| by_tiles(&TiledRows::of(short, inner, true, |x| x)),
            );
        }
        with_rows(
            x,
            |wide| {
                if narrow {
                    multiply(Rows::Bf16(&filled(
                        wide,
                        inner,
                        self.panels.depth,
                        narrowed,
                    )));
                } else if rounded {
                    let rounded = filled(wide, inner, inner, |x| narrowed(x).to_f32());
                    multiply(Rows::F32(&rounded));
                } else {
                    multiply(Rows::F32(wide));
                }
            },
            |short| {
                if narrow && inner == self.panels.depth {
                    multiply(Rows::Bf16(short));
                } else if narrow {
                    multiply(Rows::Bf16(&filled(short, inner, self.panels.depth, |x| x)));
                } else {
                    multiply(Rows::F32(&filled(short, inner, inner, bf16::to_f32)));
                }
            },
        )
    }
}

/// Rows as another type, filled up with zeros.
fn filled<T: Copy + Sync, U: bytemuck::Pod + Send>(
    rows: &[T],
    inner: usize,
    depth: usize,
    as_other: impl Fn(T) -> U + Sync,
) -> Vec<U> {
    let mut out = bytemuck::zeroed_vec(rows.len() / inner.max(1) * depth);
    if inner > 0 {
        out.par_chunks_mut(depth)
            .with_min_len(16)
            .zip(rows.par_chunks(inner))
            .for_each(|(out, row)| {
                for (out, value) in out.iter_mut().zip(row) {
                    *out = as_other(*value);
                }
            });
    }
    out
}

fn with_bias<R>(
    bias: Option<&Tensor>,
    width: usize,
    run: impl FnOnce(Option<&[f32]>) -> Result<R>,
) -> Result<R> {
    match bias {
        Some(bias) if bias.elem_count() != width => {
            bail!("a bias of {} for {width} outputs", bias.elem_count())
        }
        Some(bias) => read(bias, |bias| run(Some(bias)))?,
        None => run(None),
    }
}

struct IntoProduct<'a> {
    matrix: &'a Matrix,
    x: &'a Tensor,
}

impl InplaceOp1 for IntoProduct<'_> {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let store = Store {
            out: Shared::of(values_mut(out, layout)?),
            width: self.matrix.panels.outer,
            bias: None,
        };
        self.matrix.multiply(self.x, &store)
    }
}

struct AddProduct<'a> {
    matrix: &'a Matrix,
    x: &'a Tensor,
    bias: Option<&'a Tensor>,
    scale: f64,
}

impl InplaceOp1 for AddProduct<'_> {
    fn name(&self) -> &'static str {
        "add-product"
    }

    fn cpu_fwd(&self, hidden: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let hidden = values_mut(hidden, layout)?;
        #[expect(clippy::cast_possible_truncation, reason = "the stream is f32")]
        let scale = self.scale as f32;
        with_bias(self.bias, self.matrix.panels.outer, |bias| {
            self.matrix.multiply(
                self.x,
                &Add {
                    hidden: Shared::of(hidden),
                    width: self.matrix.panels.outer,
                    bias,
                    scale,
                },
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::activation_reference;
    use proptest::prelude::*;
    use tiles::emulated::Emulated;

    fn noise(rows: usize, columns: usize, seed: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * columns)
            .map(|i| (((i + seed) * 2_654_435_761 % 1013) as f32 - 506.0) / 506.0)
            .collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    fn paths() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|path| path.is_available())
    }

    fn flat(tensor: &Tensor) -> Vec<f32> {
        let wide = tensor.to_dtype(DType::F32).unwrap();
        wide.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// What a product may differ from the reference by: sums of so many numbers of about one.
    fn bound(inner: usize) -> f64 {
        2e-6 * (inner as f64).max(1.0)
    }

    fn assert_close(found: &Tensor, expected: &[f64], bound: f64) {
        let found = flat(found);
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() <= bound, "{a} {b}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_path_agrees_with_the_reference(
            rows in 1usize..80, inner in 1usize..200, outer in 1usize..150, seed in 0usize..999, biased: bool,
        ) {
            let x = noise(rows, inner, seed);
            let bias = noise(1, outer, seed + 5).flatten_all().unwrap();
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let weight = noise(outer, inner, seed + 1).to_dtype(dtype).unwrap();
                for operands in [Operands::F32, Operands::Bf16] {
                    if operands == Operands::Bf16 && dtype != DType::BF16 {
                        continue;
                    }
                    let rounded = x.to_dtype(operands.dtype()).unwrap();
                    let mut expected = product_reference(&flat(&rounded), &flat(&weight), inner);
                    if biased {
                        for row in expected.chunks_mut(outer) {
                            for (sum, bias) in row.iter_mut().zip(flat(&bias)) {
                                *sum += f64::from(bias);
                            }
                        }
                    }
                    for path in paths() {
                        let matrix = Matrix::pack(&weight, false, operands, path).unwrap();
                        let bias = biased.then_some(&bias);
                        let found = matrix.product(&x, bias).unwrap();
                        assert_close(&found, &expected, bound(inner));
                        // Rows may come rounded.
                        let same = matrix.product(&rounded, bias).unwrap();
                        prop_assert_eq!(flat(&found), flat(&same));
                        prop_assert_eq!(flat(&matrix.unpack().unwrap()), flat(&weight));
                    }
                }
            }
        }

        /// What bit stability rests on.
        #[test]
        fn a_row_does_not_depend_on_its_company(
            many in 1usize..300, start in 0usize..300, few in 1usize..300, inner in 1usize..1300, outer in 1usize..100,
        ) {
            let start = start.min(many - 1);
            let few = few.min(many - start);
            let x = noise(many, inner, 3);
            let weight = noise(outer, inner, 7).to_dtype(DType::BF16).unwrap();
            for operands in [Operands::F32, Operands::Bf16] {
                for path in paths() {
                    let matrix = Matrix::pack(&weight, false, operands, path).unwrap();
                    let whole = matrix.product(&x, None).unwrap();
                    let part = matrix.product(&x.narrow(0, start, few).unwrap(), None).unwrap();
                    prop_assert_eq!(flat(&whole.narrow(0, start, few).unwrap()), flat(&part));
                }
            }
        }

        /// The tile unit as plain code, through the same blocks and groups.
        #[test]
        fn tiles_agree_with_the_reference(
            rows in 1usize..300, inner in 1usize..1300, outer in 1usize..70, start in 0usize..300, seed in 0usize..999,
        ) {
            let x = noise(rows, inner, seed);
            let weight = noise(outer, inner, seed + 1).to_dtype(DType::BF16).unwrap();
            let panels = Panels::pack(&weight, false).unwrap();
            let short: Vec<bf16> = flat(&x).into_iter().map(narrowed).collect();
            let product = |short: &[bf16]| {
                let count = short.len() / inner;
                let x = TiledRows::of(short, inner, true, |x| x);
                let out = Output::new(count * outer);
                let store = Store { out: out.shared(), width: outer, bias: None };
                TiledJob { x: &x, panels: &panels, finish: &store }.run::<Emulated>();
                #[expect(unsafe_code, reason = "SAFETY: a product writes all of its result")]
                unsafe { out.written() }
            };
            let whole = product(&short);
            let expected = product_reference(
                &short.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), &flat(&weight), inner,
            );
            for (a, b) in whole.iter().zip(&expected) {
                prop_assert!((f64::from(*a) - b).abs() <= bound(inner), "{} {}", a, b);
            }
            let start = start.min(rows - 1);
            prop_assert_eq!(&whole[start * outer..], product(&short[start * inner..]));
        }

        #[test]
        fn activations_gates_and_the_stream_are_those_of_the_reference(
            rows in 1usize..40, inner in 1usize..80, size in 1usize..70, gated: bool, biased: bool, seed in 0usize..999,
        ) {
            let outer = if gated { 2 * size } else { size };
            let (x, hidden) = (noise(rows, inner, seed), noise(rows, outer, seed + 9));
            let weight = noise(outer, inner, seed + 1).to_dtype(DType::BF16).unwrap();
            let bias = noise(1, outer, seed + 5).flatten_all().unwrap();
            let biases = flat(&bias);
            for operands in [Operands::F32, Operands::Bf16] {
                let rounded = flat(&x.to_dtype(operands.dtype()).unwrap());
                let mut sums = product_reference(&rounded, &flat(&weight), inner);
                if biased {
                    for row in sums.chunks_mut(outer) {
                        row.iter_mut().zip(&biases).for_each(|(sum, bias)| *sum += f64::from(*bias));
                    }
                }
                #[expect(clippy::cast_possible_truncation, reason = "an activation is of f32")]
                let of = |x: f64| activation_reference(x as f32, Activation::Silu);
                let activated: Vec<f64> = sums
                    .chunks(outer)
                    .flat_map(|row| (0..size).map(move |i| {
                        if gated { of(row[i]) * row[size + i] } else { of(row[i]) }
                    }))
                    .collect();
                let added: Vec<f64> =
                    flat(&hidden).iter().zip(&sums).map(|(h, sum)| f64::from(*h) + 0.5 * sum).collect();
                let bias = biased.then_some(&bias);
                for path in paths() {
                    let matrix = Matrix::pack(&weight, gated, operands, path).unwrap();
                    let found = matrix.activated(&x, bias, Activation::Silu).unwrap();
                    prop_assert_eq!(found.dims2().unwrap(), (rows, size));
                    prop_assert_eq!(found.dtype(), operands.dtype());
                    let largest = activated.iter().fold(1.0f64, |largest, x| largest.max(x.abs()));
                    let rounding = if operands == Operands::Bf16 { 1.0 / 256.0 } else { 1e-5 };
                    assert_close(&found, &activated, largest * rounding);
                    if !gated {
                        let out = hidden.copy().unwrap();
                        matrix.product_into(&x, &out).unwrap();
                        prop_assert_eq!(flat(&out), flat(&matrix.product(&x, None).unwrap()));
                        let hidden = hidden.copy().unwrap();
                        matrix.add_product(&x, bias, 0.5, &hidden).unwrap();
                        assert_close(&hidden, &added, bound(inner));
                    }
                }
            }
        }

        #[test]
        fn rows_are_looked_up(outer in 1usize..70, inner in 1usize..70, seed in 0usize..999) {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let weight = noise(outer, inner, seed).to_dtype(dtype).unwrap();
                let matrix = Matrix::pack(&weight, false, Operands::F32, Isa::best()).unwrap();
                let wanted: Vec<u32> = (0..u32::try_from(outer).unwrap()).rev().collect();
                let found = matrix.rows(&wanted).unwrap();
                let index = Tensor::from_slice(&wanted, outer, &Device::Cpu).unwrap();
                prop_assert_eq!(flat(&found), flat(&weight.index_select(&index, 0).unwrap()));
                prop_assert!(matrix.rows(&[u32::try_from(outer).unwrap()]).is_err());
                prop_assert_eq!(matrix.bytes(), Matrix::bytes_of(outer, inner, dtype));
            }
        }
    }

    /// Sizes of real layers, where inputs are cut into blocks.
    #[test]
    fn a_row_of_a_real_layer_does_not_depend_on_its_company() {
        for (inner, outer) in [(576, 3072), (1536, 576), (4864, 640)] {
            let weight = noise(outer, inner, 7).to_dtype(DType::BF16).unwrap();
            let x = noise(1024, inner, 3);
            for operands in [Operands::F32, Operands::Bf16] {
                let matrix = Matrix::pack(&weight, false, operands, Isa::best()).unwrap();
                let whole = matrix.product(&x, None).unwrap();
                for (start, rows) in [(0, 1), (333, 65), (500, 130), (24, 1000)] {
                    let part = matrix
                        .product(&x.narrow(0, start, rows).unwrap(), None)
                        .unwrap();
                    let same = whole.narrow(0, start, rows).unwrap();
                    assert_eq!(flat(&same), flat(&part), "{inner} {outer} {start}");
                }
            }
        }
    }

    /// On `f32` operands every path adds up in the same order.
    #[test]
    fn paths_on_f32_give_the_same_bits() {
        let x = noise(50, 700, 3);
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let weight = noise(90, 700, 7).to_dtype(dtype).unwrap();
            let mut found = paths().map(|path| {
                let matrix = Matrix::pack(&weight, false, Operands::F32, path).unwrap();
                flat(&matrix.product(&x, None).unwrap())
            });
            let first = found.next().unwrap();
            for other in found {
                assert_eq!(first, other);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let weight = noise(8, 6, 1);
        assert!(Matrix::pack(&weight, false, Operands::Bf16, Isa::best()).is_err());
        assert!(Matrix::pack(&noise(7, 6, 1), true, Operands::F32, Isa::best()).is_err());
        let matrix = Matrix::pack(&weight, false, Operands::F32, Isa::best()).unwrap();
        assert!(matrix.product(&noise(3, 5, 1), None).is_err());
        assert!(
            matrix
                .add_product(&noise(3, 6, 1), None, 1.0, &noise(3, 7, 1))
                .is_err()
        );
        let gated = Matrix::pack(&weight, true, Operands::F32, Isa::best()).unwrap();
        assert!(gated.rows(&[0]).is_err());
        assert!(gated.product(&noise(3, 6, 1), None).is_err());
        assert!(
            gated
                .add_product(&noise(3, 6, 1), None, 1.0, &noise(3, 8, 1))
                .is_err()
        );
        let short = noise(1, 7, 1).flatten_all().unwrap();
        assert!(matrix.product(&noise(3, 6, 1), Some(&short)).is_err());
    }
}
