//! Rows on a device.

use super::memory::{Arriving, Buffer};
use super::raw::Number;
use super::{Gpu, GpuError};
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use std::sync::Arc;

/// Rows on a device, filled up to a whole number of products' rows.
#[derive(Clone)]
pub struct GpuRows {
    pub(super) buffer: Arc<Buffer>,
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) number: Number,
    /// Rows of one product of them. It goes by what rows are for, never by how many there are.
    pub(super) block: usize,
    /// The number of rows whose algorithm products take: that of a block, or of the smallest block of texts.
    pub(super) chosen_by: usize,
    /// Where they begin in the buffer, in bytes.
    offset: u64,
}

impl GpuRows {
    /// Room for rows, not written.
    pub(super) fn new(
        gpu: &Arc<Gpu>,
        rows: usize,
        width: usize,
        number: Number,
        block: usize,
    ) -> Result<Self, GpuError> {
        let room = rows.next_multiple_of(block);
        Ok(Self {
            buffer: Arc::new(gpu.buffer(room * width * number.bytes())?),
            rows,
            width,
            number,
            block,
            chosen_by: block,
            offset: 0,
        })
    }

    /// The same, whose products take the algorithm of blocks of so many rows.
    #[must_use]
    pub(crate) fn chosen_by(self, rows: usize) -> Self {
        Self {
            chosen_by: rows,
            ..self
        }
    }

    /// As many rows of another width or type.
    pub(super) fn like(&self, width: usize, number: Number) -> Result<Self, GpuError> {
        let rows = Self::new(self.gpu(), self.rows, width, number, self.block)?;
        Ok(rows.chosen_by(self.chosen_by))
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        self.buffer.gpu()
    }

    pub(super) fn address(&self) -> u64 {
        self.buffer.address() + self.offset
    }

    /// Rows of one product of them.
    pub(crate) fn block(&self) -> usize {
        self.block
    }

    /// Rows and width.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    pub(super) fn is(&self, number: Number) -> Result<(), GpuError> {
        if self.number == number {
            return Ok(());
        }
        let (found, wanted) = (self.number, number);
        Err(GpuError::Shape(format!(
            "rows of {found:?} where {wanted:?} is needed"
        )))
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows * self.width * self.number.bytes()
    }

    /// The values on the host, in `f32`.
    ///
    /// # Shapes
    /// Returns `[rows, width]`.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn to_host(&self) -> Result<Vec<f32>, GpuError> {
        self.to_host_later()?.wait()
    }

    /// The same, on its way.
    ///
    /// # Errors
    /// [`GpuError`].
    pub(crate) fn to_host_later(&self) -> Result<Later, GpuError> {
        Ok(Later {
            arriving: self.gpu().download(self.address(), self.bytes())?,
            number: self.number,
        })
    }

    /// Some neighbouring rows where they are, the first at a whole number of products' rows.
    pub(crate) fn part(&self, first: usize, count: usize) -> Result<Self, GpuError> {
        if first + count > self.rows || !first.is_multiple_of(self.block) {
            return Err(GpuError::Shape("a part of rows that are not there".into()));
        }
        let bytes = first * self.width * self.number.bytes();
        Ok(Self {
            rows: count,
            offset: self.offset + bytes as u64,
            ..self.clone()
        })
    }

    /// Rows in `f32` that are on the host.
    ///
    /// # Errors
    /// [`GpuError`].
    pub(crate) fn from_host(
        gpu: &Arc<Gpu>,
        values: &[f32],
        width: usize,
        block: usize,
    ) -> Result<Self, GpuError> {
        let rows = Self::new(gpu, values.len() / width.max(1), width, Number::F32, block)?;
        gpu.send(&rows.buffer, bytemuck::cast_slice(values))?;
        Ok(rows)
    }
}

/// Rows on their way to the host.
pub(crate) struct Later {
    arriving: Arriving,
    number: Number,
}

impl Later {
    /// Waits for their values, in `f32`.
    pub fn wait(self) -> Result<Vec<f32>, GpuError> {
        let number = self.number;
        self.arriving.wait(|bytes| wide(bytes, number))
    }
}

pub(super) fn wide(bytes: &[u8], number: Number) -> Vec<f32> {
    let halves = || {
        bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u16::from_le_bytes(*pair))
    };
    match number {
        Number::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|four| f32::from_le_bytes(*four))
            .collect(),
        Number::Bf16 => halves()
            .map(|bits| bf16::from_bits(bits).to_f32())
            .collect(),
        Number::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
    }
}

/// What a type is to the device.
pub(crate) fn number(dtype: DType) -> Result<Number, GpuError> {
    match dtype {
        DType::F32 => Ok(Number::F32),
        DType::BF16 => Ok(Number::Bf16),
        DType::F16 => Ok(Number::F16),
        other => Err(GpuError::Shape(format!("no kernel takes {other:?}"))),
    }
}

/// The bytes of a tensor of the host, as another type.
pub(crate) fn bytes_as(tensor: &Tensor, number: Number) -> candle_core::Result<Vec<u8>> {
    let dtype = number.dtype();
    let flat = tensor
        .to_device(&Device::Cpu)?
        .to_dtype(dtype)?
        .flatten_all()?;
    Ok(match number {
        Number::F32 => bytemuck::cast_slice(&flat.to_vec1::<f32>()?).to_vec(),
        Number::Bf16 => bytemuck::cast_slice(&flat.to_vec1::<bf16>()?).to_vec(),
        Number::F16 => bytemuck::cast_slice(&flat.to_vec1::<f16>()?).to_vec(),
    })
}
