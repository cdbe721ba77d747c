//! What next-token distributions say, and tokens drawn from them: logits never leave the device.

use super::memory::{Arriving, Buffer};
use super::product::size;
use super::raw::{Address, Number};
use super::rows::GpuRows;
use super::source::Source;
use super::{Gpu, GpuError, Kernel};
use crate::{Choice, Chosen, Summary};
use bytemuck::{Pod, Zeroable};
use std::sync::Arc;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Summaries {
    logits: Address,
    parts: Address,
    keys: Address,
    asked: Address,
    firsts: Address,
    entropies: Address,
    tops: Address,
    tokens: Address,
    found: Address,
    vocabulary: u32,
    slices: u32,
    scale: f32,
    softcap: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Choices {
    logits: Address,
    entropies: Address,
    tops: Address,
    top_tokens: Address,
    draws: Address,
    nuclei: Address,
    colder: Address,
    log_probs: Address,
    tokens: Address,
    vocabulary: u32,
    slices: u32,
    scale: f32,
    softcap: f32,
}

/// The kernel that draws tokens. Its plain form is the processor's.
pub(crate) const CHOOSE: &str = "choose_rows";

/// Tokens of one slice of the vocabulary, as in `summary.cu`.
const SLICE: usize = 4096;
/// Tokens that are kept of a distribution, as in `summary.cu`.
const TOP: usize = 5;

/// The most slices of which tokens are drawn, as in `summary.cu`.
const SLICES: usize = 128;

/// Summaries on a device.
struct Summarised {
    out: Buffer,
    bytes: usize,
    entropies: Address,
    tops: Address,
    tokens: Address,
}

/// What logits are multiplied by, and their cap; 0 for none.
#[derive(Clone, Copy)]
struct Bend {
    scale: f32,
    softcap: f32,
}

impl Bend {
    #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
    fn new(scale: f64, softcap: Option<f64>) -> Self {
        Self {
            scale: scale as f32,
            softcap: softcap.map_or(0.0, |cap| cap as f32),
        }
    }
}

/// Summaries on their way.
pub struct Pending {
    arriving: Arriving,
    /// How many tokens each row was asked for.
    asked: Vec<usize>,
}

impl Pending {
    /// Waits for them.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn wait(self) -> Result<Vec<Summary>, GpuError> {
        let asked = self.asked;
        self.arriving.wait(|bytes| unpacked(bytes, &asked))
    }
}

fn unpacked(bytes: &[u8], asked: &[usize]) -> Vec<Summary> {
    let rows = asked.len();
    let found: usize = asked.iter().sum();
    let (wide, tokens) = bytes.split_at(size_of::<f64>() * (rows + rows * TOP + found));
    let numbers: Vec<f64> = wide
        .as_chunks()
        .0
        .iter()
        .map(|eight| f64::from_le_bytes(*eight))
        .collect();
    let tokens: Vec<u32> = tokens
        .as_chunks()
        .0
        .iter()
        .map(|four| u32::from_le_bytes(*four))
        .collect();
    let (entropies, rest) = numbers.split_at(rows);
    let (tops, mut rest) = rest.split_at(rows * TOP);
    let each = entropies
        .iter()
        .zip(tops.chunks_exact(TOP))
        .zip(tokens.chunks_exact(TOP));
    each.zip(asked)
        .map(|(((entropy, tops), tokens), asked)| {
            let (found, after) = rest.split_at(*asked);
            rest = after;
            let top = tokens.iter().copied().zip(tops.iter().copied());
            Summary {
                entropy: *entropy,
                top: top.filter(|(token, _)| *token != u32::MAX).collect(),
                asked: found.to_vec(),
            }
        })
        .collect()
}

impl Gpu {
    /// Reads distributions, of which the logits are given.
    ///
    /// # Shapes
    /// `logits`: `[rows, vocabulary]`; `asked`: tokens by row.
    pub(crate) fn summarise(
        self: &Arc<Self>,
        logits: &GpuRows,
        asked: &[&[u32]],
        scale: f64,
        softcap: Option<f64>,
    ) -> Result<Pending, GpuError> {
        let found = self.summarised(logits, asked, Bend::new(scale, softcap))?;
        Ok(Pending {
            arriving: self.download(found.out.address(), found.bytes)?,
            asked: asked.iter().map(|tokens| tokens.len()).collect(),
        })
    }

    /// Whether tokens of so large a vocabulary are drawn on the device.
    pub(crate) fn draws(&self, vocabulary: usize) -> bool {
        vocabulary.div_ceil(SLICE) <= SLICES && !self.is_plain(CHOOSE)
    }

    /// Chooses a token for each row: those, and their log-probabilities, are all that leaves the device.
    ///
    /// # Shapes
    /// `logits`: `[rows, vocabulary]`, of which [`Gpu::draws`]; a choice a row.
    pub(crate) fn chosen(
        self: &Arc<Self>,
        logits: &GpuRows,
        choices: &[Choice],
        scale: f64,
        softcap: Option<f64>,
    ) -> Result<Vec<Chosen>, GpuError> {
        let (rows, vocabulary) = logits.shape();
        let bend = Bend::new(scale, softcap);
        let none: Vec<&[u32]> = vec![&[]; choices.len()];
        let found = self.summarised(logits, &none, bend)?;
        let words = |number: u64| {
            let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
            [
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            ]
        };
        let mut list: Vec<u32> = Vec::with_capacity(5 * rows);
        list.extend(choices.iter().flat_map(|choice| words(choice.draw)));
        list.extend(choices.iter().flat_map(|choice| words(choice.nucleus())));
        list.extend(choices.iter().map(|choice| choice.colder().to_bits()));
        let list = self.upload(&list)?;
        let (wide, narrow) = (size_of::<f64>(), size_of::<u32>());
        let bytes = rows * (wide + narrow);
        let out = self.buffer(bytes)?;
        let parameters = Choices {
            logits: logits.address(),
            entropies: found.entropies,
            tops: found.tops,
            top_tokens: found.tokens,
            draws: list.address(),
            nuclei: list.address() + (rows * wide) as Address,
            colder: list.address() + (2 * rows * wide) as Address,
            log_probs: out.address(),
            tokens: out.address() + (rows * wide) as Address,
            vocabulary: size(vocabulary),
            slices: size(vocabulary.div_ceil(SLICE)),
            scale: bend.scale,
            softcap: bend.softcap,
        };
        let kernel = Kernel::of(Source::Summary, CHOOSE, Number::F32);
        self.launch(kernel, [size(rows), 1, 1], 256, &parameters)?;
        self.download(out.address(), bytes)?.wait(|bytes| {
            let (log_probs, tokens) = bytes.split_at(rows * wide);
            let log_probs = log_probs.as_chunks().0.iter();
            let tokens = tokens.as_chunks().0.iter();
            let each = log_probs.zip(tokens).map(|(log_prob, token)| Chosen {
                token: u32::from_le_bytes(*token),
                log_prob: f64::from_le_bytes(*log_prob),
            });
            each.collect()
        })
    }

    fn summarised(
        self: &Arc<Self>,
        logits: &GpuRows,
        asked: &[&[u32]],
        bend: Bend,
    ) -> Result<Summarised, GpuError> {
        let (rows, vocabulary) = logits.shape();
        if asked.len() != rows
            || asked
                .iter()
                .copied()
                .flatten()
                .any(|token| *token as usize >= vocabulary)
        {
            return Err(GpuError::Shape(
                "tokens outside the vocabulary are asked for".into(),
            ));
        }
        let slices = vocabulary.div_ceil(SLICE);
        let mut list: Vec<u32> = vec![0];
        for tokens in asked {
            list.push(list[list.len() - 1] + size(tokens.len()));
        }
        let count = list[rows] as usize;
        list.extend(asked.iter().copied().flatten());
        let list = self.upload(&list)?;
        let wide = size_of::<f64>();
        let parts = self.buffer(rows * slices * 3 * wide)?;
        let keys = self.buffer(rows * slices * TOP * size_of::<u64>())?;
        // Everything that goes to the host, in one piece.
        let doubles = rows + rows * TOP + count;
        let bytes = doubles * wide + rows * TOP * size_of::<u32>();
        let out = self.buffer(bytes)?;
        let at = |doubles: usize| out.address() + (doubles * wide) as Address;
        let parameters = Summaries {
            logits: logits.address(),
            parts: parts.address(),
            keys: keys.address(),
            asked: list.address() + ((rows + 1) * size_of::<u32>()) as Address,
            firsts: list.address(),
            entropies: at(0),
            tops: at(rows),
            tokens: at(doubles),
            found: at(rows + rows * TOP),
            vocabulary: size(vocabulary),
            slices: size(slices),
            scale: bend.scale,
            softcap: bend.softcap,
        };
        let kernel = |name| Kernel::of(Source::Summary, name, Number::F32);
        let grid = [size(slices), size(rows), 1];
        self.launch(kernel("summarise_slices"), grid, 256, &parameters)?;
        self.launch(
            kernel("summarise_rows"),
            [size(rows), 1, 1],
            32,
            &parameters,
        )?;
        Ok(Summarised {
            bytes,
            entropies: at(0),
            tops: at(rows),
            tokens: at(doubles),
            out,
        })
    }
}
