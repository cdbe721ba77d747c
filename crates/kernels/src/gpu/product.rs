//! Matrix products through cuBLASLt: always of one number of rows.

use super::choices::{self, Choices, FIRST_CHOICES, Operands};
use super::memory::{Buffer, Unsent};
use super::operations::{Widen, blocks};
use super::raw::{Context, Event, Number, Prepared, ProductShape, Products};
use super::rows::{GpuRows, number};
use super::source::Source;
use super::{Gpu, GpuError, Kernel};
use crate::KernelError;
use crate::storage::read;
use crate::vector::Vector;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// What a weight is held as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// As what products multiply.
    Native,
    /// In eight bits, one scale an output; widened before each product.
    Int8,
}

/// A weight `[out, in]` on a device.
pub struct GpuMatrix {
    buffer: Buffer,
    /// `[out]`, where the weight is held in eight bits.
    scales: Option<Buffer>,
    outer: usize,
    inner: usize,
    number: Number,
    gated: bool,
    /// When it is there; taken by the first product.
    ready: Mutex<Option<Event>>,
}

/// Products that are prepared, by shape.
pub(super) struct Algorithms {
    products: Products,
    prepared: HashMap<ProductShape, Prepared>,
    /// Products that the algorithm they are chosen by does not do for: they are made of smaller ones.
    refused: HashSet<ProductShape>,
    choices: Choices,
}

impl Algorithms {
    pub fn new(context: &Arc<Context>, choices: Choices) -> Result<Self, GpuError> {
        Ok(Self {
            products: Products::new(context)?,
            prepared: HashMap::new(),
            refused: HashSet::new(),
            choices,
        })
    }

    /// A product of as many rows as wanted, by the algorithm of as many as it is chosen by; of those where that does not do. Which
    /// one that is is measured for the many products of passes and of the head.
    fn product(
        &mut self,
        gpu: &Arc<Gpu>,
        wanted: ProductShape,
        count: usize,
        operands: Operands,
    ) -> Result<(&Products, &Prepared), GpuError> {
        let workspace = gpu.workspace.1;
        let first = ProductShape {
            rows: wanted.chosen_by,
            ..wanted
        };
        let Self {
            products,
            prepared,
            refused,
            choices,
        } = self;
        if let Entry::Vacant(new) = prepared.entry(first) {
            let many = [gpu.pass_rows(), gpu.config.head_rows];
            let others = [gpu.config.few_rows, gpu.config.first_text_class()];
            // A difference shows in many full rows of many outputs, and not in what fills up a few. What products of other numbers of
            // rows are made like stays the library's own.
            let is_measured = wanted == first
                && many.contains(&first.rows)
                && !others.contains(&first.rows)
                && count >= first.rows
                && first.outer >= 16
                && (first.rows * first.outer * first.result.bytes()).is_multiple_of(4);
            new.insert(if is_measured && !gpu.is_plain(FIRST_CHOICES) {
                choices::prepare(gpu, products, choices, first, operands)?
            } else {
                products.prepare(first, workspace)?
            });
        }
        if !prepared.contains_key(&wanted) && !refused.contains(&wanted) {
            let like = prepared.get(&first);
            let product = like.map(|like| products.prepare_like(wanted, workspace, like));
            match product {
                Some(Ok(product)) => drop(prepared.insert(wanted, product)),
                _ => drop(refused.insert(wanted)),
            }
        }
        let found = prepared.get(&wanted).or_else(|| prepared.get(&first));
        let missing = || GpuError::Shape("a product that was not prepared".into());
        Ok((products, found.ok_or_else(missing)?))
    }
}

impl Algorithms {
    /// A product of rows, so many at a time. An algorithm that was measured may fail later: the library's first choices are taken from
    /// there on.
    fn run(
        &mut self,
        gpu: &Arc<Gpu>,
        shape: ProductShape,
        count: usize,
        operands: Operands,
    ) -> Result<(), GpuError> {
        let mut done = 0;
        let ran = self.run_from(gpu, shape, count, operands, &mut done);
        if !matches!(ran, Err(GpuError::Call { .. })) || gpu.is_plain(FIRST_CHOICES) {
            return ran;
        }
        gpu.use_plain(FIRST_CHOICES);
        self.prepared.clear();
        self.run_from(gpu, shape, count, operands, &mut done)
    }

    fn run_from(
        &mut self,
        gpu: &Arc<Gpu>,
        shape: ProductShape,
        count: usize,
        operands: Operands,
        done: &mut usize,
    ) -> Result<(), GpuError> {
        let (products, product) = self.product(gpu, shape, count, operands)?;
        let rows = product.rows();
        let from = rows * shape.inner * shape.operands.bytes();
        let to = rows * shape.outer * shape.result.bytes();
        for block in *done..count.div_ceil(rows) {
            let part = Operands {
                rows: operands.rows + (block * from) as u64,
                out: operands.out + (block * to) as u64,
                ..operands
            };
            products.run(product, &gpu.work, part, gpu.workspace)?;
            *done += 1;
        }
        Ok(())
    }
}

/// Eight bits and a scale for each output: the largest weight becomes 127.
///
/// # Shapes
/// `rows`: `[out, in]`; returns as many integers and `[out]` scales.
pub(crate) fn quantised(values: &[f32], inner: usize) -> (Vec<i8>, Vec<f32>) {
    let mut integers = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / inner.max(1));
    for row in values.chunks_exact(inner.max(1)) {
        let largest = row.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        #[expect(clippy::cast_possible_truncation, reason = "at most 127 by its scale")]
        integers.extend(row.iter().map(|x| (x / scale).round() as i8));
        scales.push(scale);
    }
    (integers, scales)
}

impl GpuMatrix {
    /// Brings a weight to the device, beside the work.
    ///
    /// # Shapes
    /// `weight`: `[out, in]` on the host. `gated`: the first half of the outputs are gates, the second half what they open.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn upload(
        gpu: &Arc<Gpu>,
        weight: &Tensor,
        gated: bool,
        dtype: DType,
        held: WeightFormat,
    ) -> Result<Self, KernelError> {
        let (outer, inner) = weight.dims2()?;
        let number = number(dtype)?;
        let (buffer, ready, scales) = match held {
            WeightFormat::Native => {
                let (buffer, ready) =
                    with_bytes(weight, number, |bytes| gpu.upload_beside(bytes))??;
                (buffer, ready, None)
            }
            WeightFormat::Int8 => {
                let values = weight
                    .to_dtype(DType::F32)?
                    .flatten_all()?
                    .to_vec1::<f32>()?;
                let (integers, scales) = quantised(&values, inner);
                let (buffer, _) = gpu.upload_beside(bytemuck::cast_slice(&integers))?;
                let (scales, ready) = gpu.upload_beside(bytemuck::cast_slice(&scales))?;
                (buffer, ready, Some(scales))
            }
        };
        Ok(Self {
            buffer,
            scales,
            outer,
            inner,
            number,
            gated,
            ready: Mutex::new(Some(ready)),
        })
    }

    /// A weight whose bytes `fill` writes on their way to the device: those from a place on, many at a time. It must not wait for other
    /// threads.
    ///
    /// # Shapes
    /// `shape`: `[out, in]`. `gated` as in [`GpuMatrix::upload`].
    pub(crate) fn filled<E: Send>(
        gpu: &Arc<Gpu>,
        (outer, inner): (usize, usize),
        gated: bool,
        dtype: DType,
        fill: impl Fn(usize, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<Self, Unsent<E>> {
        let number = number(dtype)?;
        let (buffer, ready) = gpu.fill_beside(outer * inner * number.bytes(), fill)?;
        Ok(Self {
            buffer,
            scales: None,
            outer,
            inner,
            number,
            gated,
            ready: Mutex::new(Some(ready)),
        })
    }

    /// Bytes that a weight `[out, in]` takes.
    pub fn bytes_of(outer: usize, inner: usize, dtype: DType, held: WeightFormat) -> usize {
        match held {
            WeightFormat::Native => outer * inner * dtype.size_in_bytes(),
            WeightFormat::Int8 => outer * (inner + size_of::<f32>()),
        }
    }

    /// The weight as it is held, `[out, in]`, on the host.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn to_host(&self) -> Result<Tensor, KernelError> {
        self.wait()?;
        let (_whole, address) = self.whole()?;
        let gpu = self.buffer.gpu();
        let bytes = self.outer * self.inner * self.number.bytes();
        let copy = gpu.buffer(bytes)?;
        gpu.copy_within(address, copy.address(), bytes)?;
        let arriving = gpu.download(copy.address(), bytes)?;
        let (shape, device) = ((self.outer, self.inner), &Device::Cpu);
        let number = self.number;
        Ok(arriving.wait(|bytes| {
            let halves = bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| u16::from_le_bytes(*pair));
            match number {
                Number::F32 => Tensor::from_vec(super::rows::wide(bytes, number), shape, device),
                Number::Bf16 => Tensor::from_vec(
                    halves.map(bf16::from_bits).collect::<Vec<_>>(),
                    shape,
                    device,
                ),
                Number::F16 => Tensor::from_vec(
                    halves.map(f16::from_bits).collect::<Vec<_>>(),
                    shape,
                    device,
                ),
            }
        })??)
    }

    /// Where it is, where products take it as it is held.
    pub(super) fn plain_address(&self) -> Option<u64> {
        self.scales.is_none().then(|| self.buffer.address())
    }

    pub(crate) fn inner(&self) -> usize {
        self.inner
    }

    pub(crate) fn number(&self) -> Number {
        self.number
    }

    /// Outputs.
    pub fn outer(&self) -> usize {
        self.outer
    }

    /// Whether its outputs are gates and what they open.
    pub fn is_gated(&self) -> bool {
        self.gated
    }

    /// The work goes on when the weight is there.
    pub(super) fn wait(&self) -> Result<(), GpuError> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = ready.take() {
            self.buffer.gpu().work.wait(&event)?;
        }
        Ok(())
    }

    /// The weight as products take it; where it is held in eight bits, in a buffer of its own.
    pub(super) fn whole(&self) -> Result<(Option<Buffer>, u64), GpuError> {
        let Some(scales) = &self.scales else {
            return Ok((None, self.buffer.address()));
        };
        let gpu = self.buffer.gpu();
        let whole = gpu.buffer(self.outer * self.inner * self.number.bytes())?;
        let kernel = Kernel::of(Source::Rows, "widen", self.number);
        let parameters = Widen {
            from: self.buffer.address(),
            scales: scales.address(),
            out: whole.address(),
            width: size(self.inner),
            end: 0,
        };
        gpu.launch(kernel, [size(self.outer), 1, 1], 256, &parameters)?;
        let address = whole.address();
        Ok((Some(whole), address))
    }

    /// `x · weightᵀ + bias` in what is asked for.
    ///
    /// # Shapes
    /// `x`: `[rows, in]`; returns `[rows, out]`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn product(
        &self,
        x: &GpuRows,
        bias: Option<&Vector>,
        result: Number,
    ) -> Result<GpuRows, KernelError> {
        let out = x.like(self.outer, result)?;
        self.multiply(x, bias, &out, 1.0, 0.0)?;
        Ok(out)
    }

    /// `out = factor · (x · weightᵀ) + kept · out + bias`.
    pub(crate) fn multiply(
        &self,
        x: &GpuRows,
        bias: Option<&Vector>,
        out: &GpuRows,
        factor: f32,
        kept: f32,
    ) -> Result<(), KernelError> {
        let gpu = self.buffer.gpu();
        let fits = x.rows == out.rows && x.block == out.block;
        if x.width != self.inner || out.width != self.outer || !fits {
            let (x, out) = (x.shape(), out.shape());
            let weight = (self.outer, self.inner);
            return Err(GpuError::Shape(format!("{x:?} by {weight:?} is not {out:?}")).into());
        }
        if x.rows == 0 {
            return Ok(());
        }
        self.wait()?;
        let x = &gpu.narrowed(x, self.number)?;
        let bias = bias.map(|bias| bias.on_gpu(gpu, out.number)).transpose()?;
        let (_whole, weight) = self.whole()?;
        let shape = ProductShape {
            rows: x.block,
            inner: self.inner,
            outer: self.outer,
            operands: self.number,
            result: out.number,
            biased: bias.is_some(),
            chosen_by: x.chosen_by,
        };
        let mut algorithms = gpu
            .algorithms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let operands = Operands {
            weight,
            rows: x.address(),
            out: out.address(),
            bias: bias.as_ref().map(|bias| bias.address()),
            factor,
            kept,
        };
        Ok(algorithms.run(gpu, shape, x.rows, operands)?)
    }
}

impl Drop for GpuMatrix {
    fn drop(&mut self) {
        // Who takes the memory next works after the copy.
        let _ = self.wait();
    }
}

impl Gpu {
    /// Rows as another type; as they are where they are of it.
    pub(crate) fn narrowed(
        self: &Arc<Self>,
        x: &GpuRows,
        number: Number,
    ) -> Result<GpuRows, GpuError> {
        if x.number == number {
            return Ok(x.clone());
        }
        x.is(Number::F32)?;
        let out = x.like(x.width, number)?;
        let count = x.rows * x.width;
        let parameters = super::operations::Narrow {
            from: x.address(),
            out: out.address(),
            count: count as u64,
        };
        let kernel = Kernel::of(Source::Rows, "narrow", number);
        self.launch(kernel, [blocks(count), 1, 1], 256, &parameters)?;
        Ok(out)
    }
}

pub(super) fn size(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Lends the bytes of a tensor of the host, as they are where its type is the wanted one.
fn with_bytes<R>(
    tensor: &Tensor,
    number: Number,
    run: impl FnOnce(&[u8]) -> R,
) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?;
    match (tensor.dtype(), number) {
        (DType::F32, Number::F32) => read::<f32, R>(&tensor, |x| run(bytemuck::cast_slice(x))),
        (DType::BF16, Number::Bf16) => read::<bf16, R>(&tensor, |x| run(bytemuck::cast_slice(x))),
        (DType::F16, Number::F16) => read::<f16, R>(&tensor, |x| run(bytemuck::cast_slice(x))),
        _ => Ok(run(&super::rows::bytes_as(&tensor, number)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::quantised;

    #[test]
    fn eight_bits_are_off_by_half_a_step_at_most() {
        let values: Vec<f32> = (0..60)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0)
            .collect();
        let (integers, scales) = quantised(&values, 20);
        assert_eq!((integers.len(), scales.len()), (60, 3));
        for (row, (whole, scale)) in integers.chunks(20).zip(values.chunks(20).zip(&scales)) {
            for (integer, x) in row.iter().zip(whole) {
                assert!((f32::from(*integer) * scale - x).abs() <= scale * 0.5001);
            }
            assert_eq!(
                row.iter().map(|integer| integer.unsigned_abs()).max(),
                Some(127)
            );
        }
        assert_eq!(quantised(&[0.0; 4], 4), (vec![0; 4], vec![1.0]));
    }
}
