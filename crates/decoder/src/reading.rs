//! From hidden states to what is read of them, and what the products of passes and the head cost.

use crate::DecoderError;
use crate::decoder::{Decoder, before, within};
use crate::pass::Pass;
use candle_core::Tensor;
use concord_kernels::{Choice, Chosen, Pending, Rows};

impl Decoder {
    /// Rows of a pass: as it was loaded, or less once a device's memory ran out.
    pub fn pass_rows(&self) -> usize {
        let most = self.config().rows_per_pass;
        let gpu = self.engine().gpu();
        gpu.map_or(most, |gpu| most.min(gpu.pass_rows()))
    }

    /// Logits of normed hidden states.
    ///
    /// # Shapes
    /// `normed`: `[rows, hidden]`; returns `[rows, vocabulary]` in `f32`.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`], [`DecoderError::Gpu`].
    pub fn head(&self, normed: &Rows) -> Result<Rows, DecoderError> {
        Ok(self.engine().logits(normed, &self.head)?)
    }

    /// What the distributions after normed hidden states say; on a GPU it may still be on its way. `slice` is room for logits
    /// that is used again.
    ///
    /// # Shapes
    /// `normed`: `[rows, hidden]`; `asked`: tokens by row.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`], [`DecoderError::Gpu`].
    pub fn read(
        &self,
        normed: &Rows,
        asked: &[&[u32]],
        top: usize,
        slice: &mut Option<Tensor>,
    ) -> Result<Pending, DecoderError> {
        Ok(self.engine().read(normed, &self.head, asked, top, slice)?)
    }

    /// The next token after each of some normed hidden states.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`], [`DecoderError::Gpu`].
    pub fn choose(
        &self,
        normed: &Rows,
        choices: &[Choice],
        slice: &mut Option<Tensor>,
    ) -> Result<Vec<Chosen>, DecoderError> {
        Ok(self.engine().choose(normed, &self.head, choices, slice)?)
    }

    /// Floating-point operations of the matrix products of one pass, head not counted (a multiplication and an addition
    /// are two); of experts, those that rows go through.
    pub fn pass_flops(&self, pass: &Pass) -> u64 {
        let rows = pass.tokens.len();
        let queries = pass
            .readers
            .as_ref()
            .map_or(0, |readers| readers.queries().len());
        self.spec().pass_flops(rows, queries)
    }

    /// Floating-point operations of the head for so many rows.
    pub fn head_flops(&self, rows: usize) -> u64 {
        self.spec().head_flops(rows)
    }

    /// Why logits are not finite, where a norm before them was not; a GPU is asked when it comes to that.
    ///
    /// # Errors
    /// [`DecoderError::NotFinite`] naming the layer; [`DecoderError::Gpu`].
    pub fn check_finite(&self) -> Result<(), DecoderError> {
        let Some(gpu) = self.engine().gpu() else {
            return Ok(());
        };
        let Some(place) = gpu.broken_place()? else {
            return Ok(());
        };
        let place = place as usize;
        let place = match place % 2 {
            0 => before(place / 2),
            _ => within(place / 2),
        };
        Err(DecoderError::NotFinite { place })
    }
}
