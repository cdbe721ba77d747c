//! One set of operations for every device: what the decoder calls.
//!
//! Three kinds of devices answer: the processor with kernels of the project's own, a GPU of NVIDIA with kernels of the project's
//! own, and any device of candle's through the generic path.

#![expect(
    clippy::single_match_else,
    reason = "an operation is a match over devices, however few answer in their own way"
)]

mod attention;
mod head;
mod kinds;
mod products;
mod rows;
mod sweeps;

pub use head::Head;
pub use kinds::{Experts, KvPrefix, List, OnHost, Pages, Pending, RowUse, Rows, Weight};

use crate::attention::{AttentionShape, CpuKvPrefix, KvPages};
use crate::generic::GenericKvPrefix;
use crate::gpu::{Gpu, GpuKvPrefix, GpuMatrix, GpuPages, Unsent, WeightFormat, quantised};
use crate::{Isa, KernelConfig, KernelError, Matrix, Operands, Vector};
use candle_core::{DType, Device, Tensor};
use std::fmt;
use std::sync::Arc;

/// What computes.
#[derive(Clone, Debug)]
pub enum Engine {
    /// The processor, with kernels of the project's own; weights as they are, or first rounded to eight bits.
    Cpu(Isa, WeightFormat),
    /// A device of candle's, through the generic path.
    Generic(Device),
    /// A GPU of NVIDIA; weights as they are, or in eight bits.
    Cuda(Arc<Gpu>, WeightFormat),
}

impl Engine {
    /// The processor, on its fastest path.
    pub fn cpu() -> Self {
        Self::Cpu(Isa::best(), WeightFormat::Native)
    }

    /// The sizes that passes are cut to.
    pub fn config(&self) -> KernelConfig {
        match self {
            Self::Cuda(gpu, _) => KernelConfig {
                rows_per_pass: gpu.pass_rows(),
                ..gpu.config().kernel_config()
            },
            Self::Cpu(path, _) => KernelConfig {
                path: *path,
                ..KernelConfig::cpu()
            },
            Self::Generic(_) => KernelConfig::cpu(),
        }
    }

    /// The GPU, where it is one.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        match self {
            Self::Cuda(gpu, _) => Some(gpu),
            _ => None,
        }
    }

    /// What weights are held as.
    pub fn held(&self) -> WeightFormat {
        match self {
            Self::Cpu(_, held) | Self::Cuda(_, held) => *held,
            Self::Generic(_) => WeightFormat::Native,
        }
    }

    /// What rows are held as between products.
    pub fn rows_as(&self, dtype: DType) -> DType {
        match self {
            Self::Cpu(..) => operands(dtype).dtype(),
            Self::Generic(_) => DType::F32,
            Self::Cuda(..) => dtype,
        }
    }

    /// Bytes that a weight `[out, in]` takes, which is held as `stored` where products are the processor's.
    pub fn weight_bytes(
        &self,
        (outer, inner): (usize, usize),
        stored: DType,
        dtype: DType,
        held: WeightFormat,
    ) -> usize {
        match self {
            Self::Cpu(..) => Matrix::bytes_of(outer, inner, stored),
            Self::Generic(_) => outer * inner * dtype.size_in_bytes(),
            Self::Cuda(..) => GpuMatrix::bytes_of(outer, inner, dtype, held),
        }
    }

    /// What keys and values are held as.
    pub fn kv_dtype(&self, dtype: DType) -> DType {
        match self {
            Self::Cuda(..) => dtype,
            _ => DType::F32,
        }
    }

    /// Of how many passes readings may be on their way while the next one is asked for.
    pub fn passes_ahead(&self) -> usize {
        match self {
            Self::Cuda(..) => 2,
            _ => 0,
        }
    }

    /// Rows of one product of so many rows.
    pub(super) fn block(&self, role: RowUse, rows: usize) -> usize {
        let Self::Cuda(gpu, _) = self else { return 1 };
        let config = gpu.config();
        match role {
            RowUse::Pass => gpu.pass_rows(),
            RowUse::Few => config.few_rows,
            RowUse::Head => config.head_rows,
            RowUse::Texts => config.text_class(rows),
        }
    }

    /// Brings a weight `[out, in]` of the host to the device; `gated` where the first half of its outputs are gates and the second
    /// what they open.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn weight(
        &self,
        weight: &Tensor,
        gated: bool,
        dtype: DType,
    ) -> Result<Weight, KernelError> {
        self.weight_held(weight, gated, dtype, self.held())
    }

    /// [`Engine::weight`] that is never held in eight bits: the head.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn whole_weight(&self, weight: &Tensor, dtype: DType) -> Result<Weight, KernelError> {
        self.weight_held(weight, false, dtype, WeightFormat::Native)
    }

    fn weight_held(
        &self,
        weight: &Tensor,
        gated: bool,
        dtype: DType,
        held: WeightFormat,
    ) -> Result<Weight, KernelError> {
        Ok(match (self, held) {
            (Self::Cpu(path, _), WeightFormat::Native) => {
                Weight::Packed(Matrix::pack(weight, gated, operands(dtype), *path)?)
            }
            (Self::Cpu(path, _), WeightFormat::Int8) => {
                let weight = eight_bits(weight, dtype)?;
                Weight::Packed(Matrix::pack(&weight, gated, operands(dtype), *path)?)
            }
            (Self::Generic(device), _) => {
                Weight::Plain(weight.to_dtype(dtype)?.to_device(device)?, gated)
            }
            (Self::Cuda(gpu, _), held) => {
                Weight::Gpu(GpuMatrix::upload(gpu, weight, gated, dtype, held)?)
            }
        })
    }

    /// A weight or a table whose bytes `fill` writes on their way to the device, those from a place on, many at a time; `None` where
    /// weights do not go to one as they are. `fill` must not wait for other threads.
    ///
    /// # Shapes
    /// `shape`: `[out, in]`. `gated` as in [`Engine::weight`]; `whole` where it is never held in eight bits.
    ///
    /// # Errors
    /// [`KernelError`], or what `fill` says.
    pub fn filled_weight<E: From<KernelError> + Send>(
        &self,
        shape: (usize, usize),
        (gated, whole): (bool, bool),
        dtype: DType,
        fill: impl Fn(usize, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<Option<Weight>, E> {
        match self {
            Self::Cuda(gpu, held) if whole || *held == WeightFormat::Native => {
                match GpuMatrix::filled(gpu, shape, gated, dtype, fill) {
                    Ok(matrix) => Ok(Some(Weight::Gpu(matrix))),
                    Err(Unsent::Gpu(error)) => Err(KernelError::from(error).into()),
                    Err(Unsent::Fill(error)) => Err(error),
                }
            }
            _ => Ok(None),
        }
    }

    /// A table whose rows are looked up and never multiplied.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn table(&self, table: Tensor, dtype: DType) -> Result<Weight, KernelError> {
        Ok(match self {
            Self::Cpu(..) => Weight::Plain(table, false),
            Self::Generic(device) => Weight::Plain(table.to_device(device)?, false),
            Self::Cuda(gpu, _) => Weight::Gpu(GpuMatrix::upload(
                gpu,
                &table,
                false,
                dtype,
                WeightFormat::Native,
            )?),
        })
    }

    /// Numbers that stand beside weights, in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn vector(&self, values: Tensor) -> Result<Vector, KernelError> {
        Ok(Vector::new(match self {
            Self::Generic(device) => values.to_device(device)?,
            _ => values,
        }))
    }

    /// An empty path.
    pub fn carried(&self, shape: AttentionShape) -> KvPrefix {
        match self {
            Self::Cpu(..) => KvPrefix::Cpu(CpuKvPrefix::new(shape)),
            Self::Generic(_) => KvPrefix::Generic(GenericKvPrefix::new(shape)),
            Self::Cuda(..) => KvPrefix::Gpu(GpuKvPrefix::new(shape)),
        }
    }

    /// Room for pages of one layer; memory is taken when the first is written.
    pub fn pages(&self, shape: AttentionShape, pages: usize) -> Pages {
        match self {
            Self::Cuda(..) => Pages::Gpu(GpuPages::new(shape, pages)),
            _ => Pages::Host(KvPages::new(shape, pages)),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(..) => formatter.write_str("cpu"),
            Self::Generic(Device::Metal(_)) => formatter.write_str("metal"),
            Self::Generic(_) => formatter.write_str("generic"),
            Self::Cuda(gpu, _) => write!(formatter, "cuda:{}", gpu.index()),
        }
    }
}

/// What products multiply on the processor where `dtype` is asked for.
fn operands(dtype: DType) -> Operands {
    match dtype {
        DType::BF16 => Operands::Bf16,
        _ => Operands::F32,
    }
}

/// As the eight bits of each weight and the scale of its output say.
fn eight_bits(weight: &Tensor, dtype: DType) -> candle_core::Result<Tensor> {
    let (_, inner) = weight.dims2()?;
    let values = weight
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let (integers, scales) = quantised(&values, inner);
    let rows = integers.chunks_exact(inner.max(1)).zip(&scales);
    let values: Vec<f32> = rows
        .flat_map(|(row, scale)| row.iter().map(move |integer| f32::from(*integer) * scale))
        .collect();
    Tensor::from_vec(values, weight.dims(), &Device::Cpu)?.to_dtype(dtype)
}

/// A tensor operation's result as a kernel's.
fn tensor<T>(result: candle_core::Result<T>) -> Result<T, KernelError> {
    result.map_err(KernelError::from)
}
