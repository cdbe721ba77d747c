//! What next-token distributions say, read on a device: logits never leave it.

use super::memory::Arriving;
use super::product::size;
use super::raw::{Address, Number};
use super::rows::GpuRows;
use super::source::Source;
use super::{Gpu, GpuError, Kernel};
use crate::Summary;
use bytemuck::{Pod, Zeroable};
use std::sync::Arc;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Summaries {
    logits: Address,
    parts: Address,
    top_logits: Address,
    top_tokens: Address,
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

/// Tokens of one slice of the vocabulary, as in `summary.cu`.
const SLICE: usize = 4096;
/// Tokens that are kept of a distribution, as in `summary.cu`.
const TOP: usize = 5;

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
        let tops = self.buffer(rows * slices * TOP * 2 * size_of::<u32>())?;
        // Everything that goes to the host, in one piece.
        let doubles = rows + rows * TOP + count;
        let bytes = doubles * wide + rows * TOP * size_of::<u32>();
        let out = self.buffer(bytes)?;
        let at = |doubles: usize| out.address() + (doubles * wide) as Address;
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let parameters = Summaries {
            logits: logits.address(),
            parts: parts.address(),
            top_logits: tops.address(),
            top_tokens: tops.address() + (rows * slices * TOP * size_of::<f32>()) as Address,
            asked: list.address() + ((rows + 1) * size_of::<u32>()) as Address,
            firsts: list.address(),
            entropies: at(0),
            tops: at(rows),
            tokens: at(doubles),
            found: at(rows + rows * TOP),
            vocabulary: size(vocabulary),
            slices: size(slices),
            scale: scale as f32,
            softcap: softcap.map_or(0.0, |cap| cap as f32),
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
        Ok(Pending {
            arriving: self.download(out.address(), bytes)?,
            asked: asked.iter().map(|tokens| tokens.len()).collect(),
        })
    }
}
