//! The block formats of GGUF files.
//!
//! # Source
//! `ggml-quants.c` of llama.cpp (the layouts; the code is our own).

use half::f16;

/// A block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantised {
    /// 32 numbers of 4 bits and a scale.
    Q4_0,
    /// 32 numbers of 8 bits and a scale.
    Q8_0,
    /// 256 numbers of 4 bits, scales and minima of 6 bits for each 32.
    Q4K,
    /// The same with a fifth bit apart.
    Q5K,
    /// 256 numbers of 6 bits, scales of 8 bits for each 16.
    Q6K,
}

impl Quantised {
    /// What `ggml` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Numbers and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (32, 18),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// The numbers of whole blocks.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let (numbers, length) = self.block();
        for (out, block) in out
            .chunks_exact_mut(numbers)
            .zip(bytes.chunks_exact(length))
        {
            match self {
                Self::Q4_0 => q4_0(block, out),
                Self::Q8_0 => q8_0(block, out),
                Self::Q4K => q4_k(block, out),
                Self::Q5K => q5_k(block, out),
                Self::Q6K => q6_k(block, out),
            }
        }
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// A signed byte as a number.
fn signed(byte: u8) -> f32 {
    f32::from(i8::from_le_bytes([byte]))
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    for (i, byte) in block[2..].iter().enumerate() {
        out[i] = (f32::from(byte & 15) - 8.0) * scale;
        out[i + 16] = (f32::from(byte >> 4) - 8.0) * scale;
    }
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    for (out, byte) in out.iter_mut().zip(&block[2..]) {
        *out = signed(*byte) * scale;
    }
}

/// Scale and minimum of the `i`th 32 numbers, packed as 6 bits each.
fn scale_and_minimum(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (
            (packed[i + 4] & 15) | (packed[i - 4] >> 6 << 4),
            (packed[i + 4] >> 4) | (packed[i] >> 6 << 4),
        )
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    let packed = &block[4..16];
    for (part, (out, low_high)) in out
        .chunks_exact_mut(64)
        .zip(block[16..].chunks_exact(32))
        .enumerate()
    {
        let (s1, m1) = scale_and_minimum(packed, 2 * part);
        let (s2, m2) = scale_and_minimum(packed, 2 * part + 1);
        for (i, byte) in low_high.iter().enumerate() {
            out[i] = scale * s1 * f32::from(byte & 15) - minimum * m1;
            out[i + 32] = scale * s2 * f32::from(byte >> 4) - minimum * m2;
        }
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    let (packed, fifth) = (&block[4..16], &block[16..48]);
    for (part, (out, low_high)) in out
        .chunks_exact_mut(64)
        .zip(block[48..].chunks_exact(32))
        .enumerate()
    {
        let (s1, m1) = scale_and_minimum(packed, 2 * part);
        let (s2, m2) = scale_and_minimum(packed, 2 * part + 1);
        for (i, byte) in low_high.iter().enumerate() {
            let bit = |at: usize| (fifth[i] >> at & 1) << 4;
            out[i] = scale * s1 * f32::from((byte & 15) + bit(2 * part)) - minimum * m1;
            out[i + 32] = scale * s2 * f32::from((byte >> 4) + bit(2 * part + 1)) - minimum * m2;
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high) = (&block[..128], &block[128..192]);
    let (scales, scale) = (&block[192..208], half(block, 208));
    for (part, out) in out.chunks_exact_mut(128).enumerate() {
        let (low, high) = (&low[64 * part..], &high[32 * part..]);
        for i in 0..32 {
            let scale = |quarter: usize| scale * signed(scales[8 * part + 2 * quarter + i / 16]);
            let bits = |quarter: usize| (high[i] >> (2 * quarter) & 3) << 4;
            let number = |four: u8, quarter: usize| f32::from(four | bits(quarter)) - 32.0;
            out[i] = scale(0) * number(low[i] & 15, 0);
            out[i + 32] = scale(1) * number(low[i + 32] & 15, 1);
            out[i + 64] = scale(2) * number(low[i] >> 4, 2);
            out[i + 96] = scale(3) * number(low[i + 32] >> 4, 3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};

    /// Any bytes are numbers; candle reads them too.
    #[test]
    fn random_blocks_are_read_as_candle_reads_them() {
        let kinds = [
            (Quantised::Q4_0, GgmlDType::Q4_0),
            (Quantised::Q8_0, GgmlDType::Q8_0),
            (Quantised::Q4K, GgmlDType::Q4K),
            (Quantised::Q5K, GgmlDType::Q5K),
            (Quantised::Q6K, GgmlDType::Q6K),
        ];
        for (kind, ggml) in kinds {
            let (numbers, length) = kind.block();
            let blocks = 16;
            let mut seed = 1u32;
            let mut bytes: Vec<u8> = (0..blocks * length)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed.to_le_bytes()[3]
                })
                .collect();
            // Scales of random bits may be infinite or no number: the halves get a small exponent.
            let halves: &[usize] = match kind {
                Quantised::Q4_0 | Quantised::Q8_0 => &[0],
                Quantised::Q4K | Quantised::Q5K => &[0, 2],
                Quantised::Q6K => &[208],
            };
            for block in bytes.chunks_exact_mut(length) {
                for at in halves {
                    block[at + 1] = block[at + 1] & 0x83 | 0x2c;
                }
            }
            let mut found = vec![0.0f32; blocks * numbers];
            kind.decode(&bytes, &mut found);
            let shape = vec![blocks * numbers];
            let theirs = qtensor_from_ggml(ggml, &bytes, shape, &Device::Cpu).unwrap();
            let theirs = theirs.dequantize(&Device::Cpu).unwrap();
            let theirs = theirs.to_vec1::<f32>().unwrap();
            for (a, b) in found.iter().zip(&theirs) {
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{kind:?} {a} {b}");
            }
        }
    }
}
