//! How numbers stand in files, and what they are held as.

use crate::quantised::Quantised;
use half::{bf16, f16};
use std::path::PathBuf;

/// Where the bytes of a weights file are.
pub(crate) enum Bytes {
    /// Read as they are needed, so that a file costs no memory.
    File(std::fs::File),
    Embedded(&'static [u8]),
}

impl Bytes {
    pub fn read(&self, at: u64, out: &mut [u8]) -> std::io::Result<()> {
        match self {
            Self::File(file) => read_at(file, at, out),
            Self::Embedded(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                let range = start..start.saturating_add(out.len());
                let part = bytes.get(range).ok_or(std::io::ErrorKind::UnexpectedEof)?;
                out.copy_from_slice(part);
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &std::fs::File, at: u64, out: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_at(file: &std::fs::File, mut at: u64, mut out: &mut [u8]) -> std::io::Result<()> {
    while !out.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, out, at)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        (at, out) = (at + read as u64, &mut out[read..]);
    }
    Ok(())
}

pub(crate) struct File {
    pub path: PathBuf,
    pub bytes: Bytes,
    pub length: u64,
}

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    F16,
    BF16,
    Quantised(Quantised),
    /// A type that is not read.
    Other(&'static str),
}

impl std::fmt::Display for Stored {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::F32 => formatter.write_str("F32"),
            Self::F16 => formatter.write_str("F16"),
            Self::BF16 => formatter.write_str("BF16"),
            Self::Quantised(kind) => formatter.write_str(kind.name()),
            Self::Other(name) => formatter.write_str(name),
        }
    }
}

impl Stored {
    /// Numbers that are stored together, and their bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Quantised(kind) => kind.block(),
            Self::Other(_) => (1, 0),
        }
    }

    /// Whether whole blocks hold no number that is infinite or none.
    pub fn is_finite(self, bytes: &[u8]) -> bool {
        match self {
            Self::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                !words.fold(false, |bad, word| {
                    bad | (u32::from_le_bytes(*word) & 0x7f80_0000 == 0x7f80_0000)
                })
            }
            Self::F16 => no_half_has(bytes, 0x7c00),
            Self::BF16 => no_half_has(bytes, 0x7f80),
            Self::Quantised(kind) => {
                let (numbers, block) = kind.block();
                let mut wide = vec![0.0f32; bytes.len() / block * numbers];
                kind.decode(bytes, &mut wide);
                wide.iter().all(|value| value.is_finite())
            }
            Self::Other(_) => true,
        }
    }

    /// The numbers of whole blocks.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Self::F16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Self::BF16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
            Self::Quantised(kind) => kind.decode(bytes, out),
            Self::Other(_) => {}
        }
    }
}

fn no_half_has(bytes: &[u8], exponent: u16) -> bool {
    let words = bytes.as_chunks::<2>().0.iter();
    !words.fold(false, |bad, word| {
        bad | (u16::from_le_bytes(*word) & exponent == exponent)
    })
}

/// Where a tensor stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub file: usize,
    pub stored: Stored,
    pub shape: Vec<usize>,
    pub start: u64,
}

/// What weights are held as.
pub(crate) trait Number: bytemuck::Pod + Send + Sync {
    /// What files call it.
    const STORED: Stored;
    fn narrowed(wide: f32) -> Self;
    fn widened(self) -> f32;
}

impl Number for f32 {
    const STORED: Stored = Stored::F32;

    fn narrowed(wide: f32) -> Self {
        wide
    }

    fn widened(self) -> f32 {
        self
    }
}

impl Number for bf16 {
    const STORED: Stored = Stored::BF16;

    fn narrowed(wide: f32) -> Self {
        Self::from_f32(wide)
    }

    fn widened(self) -> f32 {
        self.to_f32()
    }
}

impl Number for f16 {
    const STORED: Stored = Stored::F16;

    fn narrowed(wide: f32) -> Self {
        Self::from_f32(wide)
    }

    fn widened(self) -> f32 {
        self.to_f32()
    }
}
