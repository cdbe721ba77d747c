//! What is said to CUDA and what it says, in types that need none of it.

use candle_core::DType;

/// An address on a device.
pub(super) type Address = u64;

/// What a device is.
#[derive(Clone, Debug)]
pub(super) struct Properties {
    pub name: String,
    /// As the driver numbers it.
    pub uuid: String,
    /// Major and minor.
    pub capability: (i32, i32),
    pub processors: i32,
    /// Shared memory that a block may ask for.
    pub shared_bytes: usize,
    pub total_bytes: usize,
    /// For example `13.0`.
    pub driver: String,
}

/// What numbers of a matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Number {
    F32,
    Bf16,
    F16,
}

impl Number {
    /// The type of the host.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// The shape of a product `[rows, in] · [out, in]ᵀ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ProductShape {
    pub rows: usize,
    pub inner: usize,
    pub outer: usize,
    pub operands: Number,
    pub result: Number,
    pub biased: bool,
    /// The number of rows whose algorithm it takes.
    pub chosen_by: usize,
}
