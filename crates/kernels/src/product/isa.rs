//! Which instructions products run on.

use pulp::{Arch, WithSimd};
use std::fmt;
use std::sync::OnceLock;

/// The instructions that a product runs on, fastest last.
///
/// Paths on `f32` operands give the same bits; those on `bf16` operands add up in an order of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compiler makes of plain code: NEON on 64-bit ARM.
    Portable,
    /// AVX2 and FMA: `f32` on eight lanes.
    Avx2,
    /// AVX-512: `f32` on sixteen lanes.
    Avx512,
    /// AVX512-BF16: products of pairs of `bf16`.
    Avx512Bf16,
    /// AMX: products of tiles of `bf16`.
    Amx,
}

/// What a product multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// Rows in `f32`; weights are widened.
    F32,
    /// Rows rounded to `bf16`, as the weights are; sums in `f32`.
    Bf16,
}

impl Isa {
    /// Every path, fastest last.
    pub const ALL: [Self; 5] = [
        Self::Portable,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// The fastest path of this processor. Found once; AMX is taken only where a small product comes out right.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let paths = Self::ALL.into_iter().rev();
            let mut paths = paths.filter(|path| path.is_available());
            paths.next().unwrap_or(Self::Portable)
        })
    }

    /// Whether this processor, and the system, have what the path needs. Found once.
    pub fn is_available(self) -> bool {
        static FOUND: [OnceLock<bool>; 5] = [const { OnceLock::new() }; 5];
        *FOUND[self as usize].get_or_init(|| self.is_found())
    }

    fn is_found(self) -> bool {
        if self == Self::Portable {
            return true;
        }
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Avx2 => pulp::x86::V3::is_available(),
            Self::Avx512 => pulp::x86::V4::is_available(),
            Self::Avx512Bf16 => {
                pulp::x86::V4::is_available() && is_x86_feature_detected!("avx512bf16")
            }
            _ => Self::Avx512.is_available() && super::amx::is_available(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Whether the processor can run the program at all: on x86 it needs AVX2 and FMA.
    pub fn is_supported_processor() -> bool {
        !cfg!(target_arch = "x86_64") || Self::Avx2.is_available()
    }

    /// Whether the path multiplies `bf16` by itself, faster than it would multiply `f32`.
    pub fn has_bf16(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::Amx)
    }

    /// What the manifest calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
        }
    }

    /// Runs vector code on the path's lanes.
    #[inline]
    pub(crate) fn dispatch<Op: WithSimd>(self, op: Op) -> Op::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Portable => return op.with_simd(pulp::Scalar),
            Self::Avx2 => {
                if let Some(v3) = pulp::x86::V3::try_new() {
                    return pulp::Simd::vectorize(v3, op);
                }
            }
            _ => {
                if let Some(v4) = pulp::x86::V4::try_new() {
                    return pulp::Simd::vectorize(v4, op);
                }
            }
        }
        Arch::new().dispatch(op)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
