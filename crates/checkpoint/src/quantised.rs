//! The block formats of GGUF files.
//!
//! # Source
//! `ggml-common.h` and `ggml-quants.c` of llama.cpp (the layouts; the code is our own), and `quants.py` of gguf 0.19, whose `f32`
//! arithmetic this is, operation by operation.

use half::f16;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantised(&'static Format);

/// What a block format is.
#[derive(Debug, PartialEq, Eq)]
struct Format {
    /// What `ggml` calls it, and its number.
    name: &'static str,
    number: u32,
    /// Numbers and bytes of a block.
    numbers: usize,
    bytes: usize,
    decode: Decode,
}

#[derive(Clone, Copy)]
struct Decode(fn(&[u8], &mut [f32]));

impl std::fmt::Debug for Decode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("decode")
    }
}

// Formats are told apart by their numbers.
impl PartialEq for Decode {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Decode {}

const fn format(
    name: &'static str,
    number: u32,
    numbers: usize,
    bytes: usize,
    decode: fn(&[u8], &mut [f32]),
) -> Format {
    Format {
        name,
        number,
        numbers,
        bytes,
        decode: Decode(decode),
    }
}

/// Every block format that files hold, and the two that only activations are held in.
static FORMATS: [Format; 27] = [
    format("Q4_0", 2, 32, 18, q4_0),
    format("Q4_1", 3, 32, 20, q4_1),
    format("Q5_0", 6, 32, 22, q5_0),
    format("Q5_1", 7, 32, 24, q5_1),
    format("Q8_0", 8, 32, 34, q8_0),
    format("Q8_1", 9, 32, 36, q8_1),
    format("Q2_K", 10, 256, 84, q2_k),
    format("Q3_K", 11, 256, 110, q3_k),
    format("Q4_K", 12, 256, 144, q4_k),
    format("Q5_K", 13, 256, 176, q5_k),
    format("Q6_K", 14, 256, 210, q6_k),
    format("Q8_K", 15, 256, 292, q8_k),
    format("IQ2_XXS", 16, 256, 66, iq2_xxs),
    format("IQ2_XS", 17, 256, 74, iq2_xs),
    format("IQ3_XXS", 18, 256, 98, iq3_xxs),
    format("IQ1_S", 19, 256, 50, iq1_s),
    format("IQ4_NL", 20, 32, 18, iq4_nl),
    format("IQ3_S", 21, 256, 110, iq3_s),
    format("IQ2_S", 22, 256, 82, iq2_s),
    format("IQ4_XS", 23, 256, 136, iq4_xs),
    format("IQ1_M", 29, 256, 56, iq1_m),
    format("TQ1_0", 34, 256, 54, tq1_0),
    format("TQ2_0", 35, 256, 66, tq2_0),
    format("MXFP4", 39, 32, 17, mxfp4),
    format("NVFP4", 40, 64, 36, nvfp4),
    format("Q1_0", 41, 128, 18, q1_0),
    format("Q2_0", 42, 64, 18, q2_0),
];

impl Quantised {
    /// The format with this number.
    pub fn numbered(number: u32) -> Option<Self> {
        FORMATS
            .iter()
            .find(|format| format.number == number)
            .map(Self)
    }

    /// What `ggml` calls it.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Numbers and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        (self.0.numbers, self.0.bytes)
    }

    /// The numbers of whole blocks.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let Format {
            numbers,
            bytes: length,
            decode,
            ..
        } = self.0;
        for (out, block) in out
            .chunks_exact_mut(*numbers)
            .zip(bytes.chunks_exact(*length))
        {
            decode.0(block, out);
        }
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

fn two_bytes(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn four_bytes(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A signed byte as a number.
fn signed(byte: u8) -> f32 {
    f32::from(i8::from_le_bytes([byte]))
}

/// A number of few bits.
fn small(bits: u32) -> f32 {
    // At most 31 here.
    f32::from(u8::try_from(bits & 0xFF).unwrap_or(0))
}

/// Two numbers of four bits a byte: the lower halves first, then the upper ones.
fn nibbles(bytes: &[u8], out: &mut [f32], number: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(bytes.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = number(byte & 15);
        *high = number(byte >> 4);
    }
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    nibbles(&block[2..], out, |four| (f32::from(four) - 8.0) * scale);
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    nibbles(&block[4..], out, |four| scale * f32::from(four) + minimum);
}

/// Numbers of five bits, the fifth of each apart.
fn five_bits(block: &[u8], at: usize, out: &mut [f32], number: impl Fn(f32) -> f32) {
    let fifth = four_bytes(block, at);
    nibbles(&block[at + 4..], out, f32::from);
    for (i, out) in out.iter_mut().enumerate() {
        *out = number(*out + small(fifth >> i & 1) * 16.0);
    }
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    five_bits(block, 2, out, |five| scale * (five - 16.0));
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    five_bits(block, 4, out, |five| scale * five + minimum);
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    for (out, byte) in out.iter_mut().zip(&block[2..]) {
        *out = signed(*byte) * scale;
    }
}

/// As `Q8_0`, with a sum of the block that says nothing new.
fn q8_1(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    for (out, byte) in out.iter_mut().zip(&block[4..]) {
        *out = signed(*byte) * scale;
    }
}

fn q8_k(block: &[u8], out: &mut [f32]) {
    let scale = f32::from_bits(four_bytes(block, 0));
    for (out, byte) in out.iter_mut().zip(&block[4..]) {
        *out = scale * signed(*byte);
    }
}

fn q1_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let on = block[2 + i / 8] >> (i % 8) & 1 == 1;
        *out = if on { scale } else { -scale };
    }
}

fn q2_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let two = block[2 + i / 4] >> (2 * (i % 4)) & 3;
        *out = scale * (f32::from(two) - 1.0);
    }
}

/// Where two bits of the `i`th of 256 numbers stand: the byte, and how far it is to be shifted.
fn two_bits(i: usize) -> (usize, usize) {
    (32 * (i / 128) + i % 32, 2 * (i % 128 / 32))
}

fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half(block, 80), half(block, 82));
    for (i, out) in out.iter_mut().enumerate() {
        let (byte, shift) = two_bits(i);
        let two = f32::from(block[16 + byte] >> shift & 3);
        let both = block[i / 16];
        *out = scale * f32::from(both & 15) * two - minimum * f32::from(both >> 4);
    }
}

fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, low, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half(block, 108);
    for (i, out) in out.iter_mut().enumerate() {
        let (byte, shift) = two_bits(i);
        let two = f32::from(low[byte] >> shift & 3);
        let third = high[i % 32] >> (i / 32) & 1;
        let k = i / 16;
        let four = if k < 8 {
            packed[k] & 15
        } else {
            packed[k - 8] >> 4
        };
        let six = four | (packed[8 + k % 4] >> (2 * (k / 4)) & 3) << 4;
        let three = if third == 1 { two } else { two - 4.0 };
        *out = scale * (f32::from(six) - 32.0) * three;
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

/// The numbers that four bits stand for in IQ4 formats.
const UNEVEN: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    nibbles(&block[2..], out, |four| {
        scale * f32::from(UNEVEN[usize::from(four)])
    });
}

fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let (scale, high, low) = (half(block, 0), two_bytes(block, 2), &block[4..8]);
    for (group, (out, fours)) in out
        .chunks_exact_mut(32)
        .zip(block[8..].chunks_exact(16))
        .enumerate()
    {
        let four = low[group / 2] >> (4 * (group % 2)) & 15;
        let six = small(u32::from(four) | u32::from(high >> (2 * group) & 3) << 4);
        let scale = scale * (six - 32.0);
        nibbles(fours, out, |four| {
            scale * f32::from(UNEVEN[usize::from(four)])
        });
    }
}

/// The numbers that four bits stand for in FP4 formats, doubled.
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

fn mxfp4(block: &[u8], out: &mut [f32]) {
    let exponent = u32::from(block[0]);
    let scale = f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => (exponent - 1) << 23,
    });
    nibbles(&block[1..], out, |four| {
        scale * f32::from(FP4[usize::from(four)])
    });
}

fn nvfp4(block: &[u8], out: &mut [f32]) {
    for (part, (out, fours)) in out
        .chunks_exact_mut(16)
        .zip(block[4..].chunks_exact(8))
        .enumerate()
    {
        let byte = block[part];
        let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
        let scale = match (byte, exponent) {
            (0 | 0x7F, _) => 0.0,
            (_, 0) => fraction * (0.5f32).powi(9),
            _ => (1.0 + fraction / 8.0) * (2.0f32).powi(exponent - 7),
        };
        nibbles(fours, out, |four| {
            scale * 0.5 * f32::from(FP4[usize::from(four)])
        });
    }
}

/// A ternary digit of a byte.
fn ternary(byte: u8, place: u32) -> f32 {
    let turned = u16::from(byte.wrapping_mul(3u8.wrapping_pow(place)));
    small(u32::from((turned * 3) >> 8)) - 1.0
}

fn tq1_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 52);
    let mut rest = out;
    // Bytes, and how many numbers each of them holds.
    for (bytes, places) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for place in 0..places {
            let (part, others) = rest.split_at_mut(bytes.len());
            for (out, byte) in part.iter_mut().zip(bytes) {
                *out = scale * ternary(*byte, place);
            }
            rest = others;
        }
    }
}

fn tq2_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 64);
    for (i, out) in out.iter_mut().enumerate() {
        let (byte, shift) = two_bits(i);
        *out = scale * (f32::from(block[byte] >> shift & 3) - 1.0);
    }
}

/// A list of short vectors that numbers are taken from.
struct Grid {
    numbers: usize,
    all: Vec<f32>,
}

impl Grid {
    fn entry(&self, index: usize) -> &[f32] {
        &self.all[index * self.numbers..][..self.numbers]
    }

    /// The grid of this name in `models/gguf-grids.txt`.
    fn named(name: &str) -> &'static Self {
        static GRIDS: OnceLock<HashMap<&'static str, Grid>> = OnceLock::new();
        static NONE: Grid = Grid {
            numbers: 0,
            all: Vec::new(),
        };
        let grids = GRIDS.get_or_init(|| {
            let text = include_str!("../../../models/gguf-grids.txt");
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.filter_map(Self::parse).collect()
        });
        // That all are there is tested.
        grids.get(name).unwrap_or(&NONE)
    }

    fn parse(line: &'static str) -> Option<(&'static str, Self)> {
        let mut parts = line.split(' ');
        let (name, _entries) = (parts.next()?, parts.next()?);
        let numbers = parts.next()?.parse().ok()?;
        let values = parts.next()?.split(',').map(str::parse::<f32>);
        let values = values.collect::<Result<Vec<_>, _>>().ok()?;
        let mut all = Vec::new();
        for digit in parts.next()?.chars() {
            let digit = usize::try_from(digit.to_digit(16)?).ok()?;
            if values.len() <= 4 {
                // Two numbers a digit.
                all.extend([*values.get(digit >> 2)?, *values.get(digit & 3)?]);
            } else {
                all.push(*values.get(digit)?);
            }
        }
        Some((name, Self { numbers, all }))
    }
}

/// Seven bits of signs; the eighth makes their number even.
fn eight_signs(seven: u32) -> u32 {
    let seven = seven & 127;
    seven | (seven.count_ones() & 1) << 7
}

/// `scale` times the numbers of a grid's entry, negative where a bit says so.
fn from_grid(entry: &[f32], scale: f32, signs: u32, out: &mut [f32]) {
    for (k, (out, number)) in out.iter_mut().zip(entry).enumerate() {
        let product = scale * number;
        *out = if signs >> k & 1 == 1 {
            -product
        } else {
            product
        };
    }
}

fn iq2_xxs(block: &[u8], out: &mut [f32]) {
    let (scale, grid) = (half(block, 0), Grid::named("iq2_xxs"));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let at = 2 + 8 * group;
        let rest = four_bytes(block, at + 4);
        let scale = scale * (0.5 + small(rest >> 28)) * 0.25;
        for (e, out) in out.chunks_exact_mut(8).enumerate() {
            let entry = grid.entry(usize::from(block[at + e]));
            from_grid(entry, scale, eight_signs(rest >> (7 * e)), out);
        }
    }
}

/// The scale of the `e`th eight numbers, four bits for each sixteen.
fn scale_of_eight(scales: &[u8], e: usize) -> f32 {
    let both = scales[e / 4];
    f32::from(if e % 4 < 2 { both & 15 } else { both >> 4 })
}

fn iq2_xs(block: &[u8], out: &mut [f32]) {
    let (scale, grid) = (half(block, 0), Grid::named("iq2_xs"));
    for (e, out) in out.chunks_exact_mut(8).enumerate() {
        let index = two_bytes(block, 2 + 2 * e);
        let scale = scale * (0.5 + scale_of_eight(&block[66..74], e)) * 0.25;
        let entry = grid.entry(usize::from(index & 511));
        from_grid(entry, scale, eight_signs(u32::from(index >> 9)), out);
    }
}

fn iq2_s(block: &[u8], out: &mut [f32]) {
    let (scale, grid) = (half(block, 0), Grid::named("iq2_s"));
    for (e, out) in out.chunks_exact_mut(8).enumerate() {
        let high = usize::from(block[66 + e / 4] >> (2 * (e % 4)) & 3);
        let scale = scale * (0.5 + scale_of_eight(&block[74..82], e)) * 0.25;
        let entry = grid.entry(usize::from(block[2 + e]) | high << 8);
        from_grid(entry, scale, u32::from(block[34 + e]), out);
    }
}

fn iq3_xxs(block: &[u8], out: &mut [f32]) {
    let (scale, grid) = (half(block, 0), Grid::named("iq3_xxs"));
    for (f, out) in out.chunks_exact_mut(4).enumerate() {
        let rest = four_bytes(block, 66 + 4 * (f / 8));
        let scale = scale * (0.5 + small(rest >> 28)) * 0.5;
        let signs = eight_signs(rest >> (7 * (f % 8 / 2)));
        from_grid(
            grid.entry(usize::from(block[2 + f])),
            scale,
            signs >> (4 * (f % 2)),
            out,
        );
    }
}

fn iq3_s(block: &[u8], out: &mut [f32]) {
    let (scale, grid) = (half(block, 0), Grid::named("iq3_s"));
    for (f, out) in out.chunks_exact_mut(4).enumerate() {
        let group = f / 8;
        let four = block[106 + group / 2] >> (4 * (group % 2)) & 15;
        let scale = scale * (1.0 + 2.0 * f32::from(four));
        let index = usize::from(block[2 + f]) | usize::from(block[66 + group] >> (f % 8) & 1) << 8;
        let signs = u32::from(block[74 + f / 2] >> (4 * (f % 2)));
        from_grid(grid.entry(index), scale, signs, out);
    }
}

/// Numbers of a grid that are moved a little to one side.
fn from_moved_grid(entry: &[f32], scale: f32, down: bool, out: &mut [f32]) {
    let delta = if down { -0.125 } else { 0.125 };
    for (out, number) in out.iter_mut().zip(entry) {
        *out = scale * (number + delta);
    }
}

fn iq1_s(block: &[u8], out: &mut [f32]) {
    let (scale, grid) = (half(block, 0), Grid::named("iq1"));
    for (e, out) in out.chunks_exact_mut(8).enumerate() {
        let high = u32::from(two_bytes(block, 34 + 2 * (e / 4)));
        let scale = scale * (2.0 * small(high >> 12 & 7) + 1.0);
        let index = usize::from(block[2 + e])
            | usize::from(u8::try_from(high >> (3 * (e % 4)) & 7).unwrap_or(0)) << 8;
        from_moved_grid(grid.entry(index), scale, high & 0x8000 != 0, out);
    }
}

fn iq1_m(block: &[u8], out: &mut [f32]) {
    let grid = Grid::named("iq1");
    let scales: Vec<u16> = (0..4).map(|i| two_bytes(block, 48 + 2 * i)).collect();
    let bits = scales
        .iter()
        .zip(0..)
        .map(|(scale, i)| (scale >> 12) << (4 * i));
    let scale = f16::from_bits(bits.fold(0, |all, bits| all | bits)).to_f32();
    for (e, out) in out.chunks_exact_mut(8).enumerate() {
        let high = block[32 + e / 2] >> (4 * (e % 2)) & 15;
        let sixteen = e / 2;
        let three = scales[sixteen / 4] >> (3 * (sixteen % 4)) & 7;
        let scale = scale * (2.0 * small(u32::from(three)) + 1.0);
        let index = usize::from(block[e]) | usize::from(high & 7) << 8;
        from_moved_grid(grid.entry(index), scale, high & 8 != 0, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    /// Blocks of random bytes and of extremes, as gguf widens them (`tests/golden/blocks.py`), to the bit.
    #[test]
    fn every_format_is_widened_as_gguf_widens_it() {
        let bytes = include_bytes!("../../../tests/golden/blocks.safetensors");
        let golden = SafeTensors::deserialize(bytes).unwrap();
        for format in &FORMATS {
            if format.name == "Q8_1" {
                // Never stored; gguf does not read it. A scale, a sum, 32 signed bytes.
                let mut block = vec![0x00, 0x3C, 0xFF, 0x7B];
                block.extend((0..32u8).map(|byte| byte.wrapping_sub(16)));
                let mut out = [0.0; 32];
                Quantised(format).decode(&block, &mut out);
                assert_eq!((out[0], out[31]), (-16.0, 15.0));
                continue;
            }
            let tensor = |part: &str| {
                let name = format!("{}.{part}", format.name);
                golden.tensor(&name).unwrap_or_else(|_| panic!("{name}"))
            };
            let (blocks, values) = (tensor("bytes"), tensor("values"));
            let count = blocks.data().len() / format.bytes;
            assert_eq!(count * format.bytes, blocks.data().len(), "{}", format.name);
            let mut found = vec![0.0f32; count * format.numbers];
            Quantised(format).decode(blocks.data(), &mut found);
            let expected: Vec<f32> = values
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            assert_eq!(expected.len(), found.len(), "{}", format.name);
            for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
                // A zero's sign follows from how it is made, and says nothing.
                assert!(
                    a.to_bits() == b.to_bits() || (*a == 0.0 && *b == 0.0),
                    "{} {i}: {a} {b}",
                    format.name
                );
            }
        }
        for (name, entries) in [
            ("iq1", 2048),
            ("iq2_xxs", 256),
            ("iq2_xs", 512),
            ("iq2_s", 1024),
            ("iq3_xxs", 256),
            ("iq3_s", 512),
        ] {
            let grid = Grid::named(name);
            assert_eq!(grid.all.len(), entries * grid.numbers, "{name}");
        }
    }
}
