//! From hidden states to what is read of their next-token distributions.

use super::{Engine, Pending, Rows, Weight, tensor};
use crate::gpu::{Gpu, GpuRows, Number};
use crate::{Choice, Chosen, KernelError, choose, scale, softcap, summarise};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// From hidden states to logits.
pub struct Head {
    /// `[vocabulary, hidden]`.
    pub weight: Arc<Weight>,
    /// Tokens.
    pub vocabulary: usize,
    /// Multiplies logits.
    pub factor: f64,
    /// Logits are `cap · tanh(logit / cap)` after that.
    pub softcap: Option<f64>,
}

/// What is done to logits of the host, in place.
fn finish(logits: &Tensor, head: &Head) -> candle_core::Result<()> {
    if (head.factor - 1.0).abs() > f64::EPSILON {
        scale(logits, head.factor)?;
    }
    if let Some(cap) = head.softcap {
        softcap(logits, cap)?;
    }
    Ok(())
}

impl Engine {
    /// Logits of normed rows: `softcap(factor · (rows · headᵀ))`.
    ///
    /// # Shapes
    /// Returns `[rows, vocabulary]` in `f32`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn logits(&self, hidden: &Rows, head: &Head) -> Result<Rows, KernelError> {
        let logits = self.wide_product(&head.weight, hidden, None)?;
        self.finished(logits, head)
    }

    /// What the distributions after normed rows say; `slice` is room that is used again.
    ///
    /// # Shapes
    /// `hidden`: `[rows, hidden]`; `asked`: tokens by row.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn read(
        &self,
        hidden: &Rows,
        head: &Head,
        asked: &[&[u32]],
        top: usize,
        slice: &mut Option<Tensor>,
    ) -> Result<Pending, KernelError> {
        match self {
            Self::Cuda(gpu, _) => {
                let logits = head
                    .weight
                    .gpu()?
                    .product(hidden.gpu()?, None, Number::F32)?;
                let pending = gpu.summarise(&logits, asked, head.factor, head.softcap)?;
                Ok(Pending::Gpu(pending))
            }
            Self::Generic(_) => {
                let logits = self.logits(hidden, head)?;
                let logits = logits.tensor()?.to_device(&Device::Cpu)?;
                Ok(Pending::Ready(summarise(&logits, asked, top)?))
            }
            Self::Cpu(..) => {
                let logits = logits_into(hidden, head, slice)?;
                Ok(Pending::Ready(summarise(&logits, asked, top)?))
            }
        }
    }

    /// The next token after each of some normed rows.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn choose(
        &self,
        hidden: &Rows,
        head: &Head,
        choices: &[Choice],
        slice: &mut Option<Tensor>,
    ) -> Result<Vec<Chosen>, KernelError> {
        let logits = match self {
            Self::Cpu(..) => logits_into(hidden, head, slice)?,
            Self::Generic(_) => {
                let logits = self.logits(hidden, head)?;
                logits.tensor()?.to_device(&Device::Cpu)?
            }
            Self::Cuda(gpu, _) => return chosen_on(gpu, hidden.gpu()?, head, choices),
        };
        tensor(choose(&logits, choices))
    }

    fn finished(&self, logits: Rows, head: &Head) -> Result<Rows, KernelError> {
        match self {
            Self::Cpu(..) => {
                finish(logits.tensor()?, head)?;
                Ok(logits)
            }
            Self::Generic(_) => {
                let mut logits = (logits.tensor()? * head.factor)?;
                if let Some(cap) = head.softcap {
                    logits = ((logits / cap)?.tanh()? * cap)?;
                }
                Ok(Rows::Tensor(logits))
            }
            Self::Cuda(..) => {
                let shape = (logits.count(), head.vocabulary);
                let logits = Tensor::from_vec(logits.to_host()?, shape, &Device::Cpu)?;
                finish(&logits, head)?;
                Ok(Rows::Tensor(logits))
            }
        }
    }
}

/// Logits in a slice of memory that is used again: new ones would cost a page fault for every four kilobytes.
fn logits_into(
    hidden: &Rows,
    head: &Head,
    slice: &mut Option<Tensor>,
) -> Result<Tensor, KernelError> {
    let hidden = hidden.tensor()?;
    let rows = hidden.dim(0)?;
    let fits = |room: &Tensor| matches!(room.dims(), [held, width] if *held >= rows && *width == head.vocabulary);
    let room = match slice.take().filter(fits) {
        Some(room) => room,
        None => Tensor::zeros((rows, head.vocabulary), DType::F32, &Device::Cpu)?,
    };
    let logits = room.narrow(0, 0, rows)?; // [rows, vocabulary]
    head.weight.packed()?.product_into(hidden, &logits)?;
    finish(&logits, head)?;
    *slice = Some(room);
    Ok(logits)
}

/// The next tokens on a GPU. They are drawn there; where that comes out wrong, or the vocabulary is too large for it, the most probable
/// is read there and the logits of rows of which one is drawn come to the host. Which of the two a text goes by depends on its own choice
/// alone.
fn chosen_on(
    gpu: &Arc<Gpu>,
    hidden: &GpuRows,
    head: &Head,
    choices: &[Choice],
) -> Result<Vec<Chosen>, KernelError> {
    let logits = head.weight.gpu()?.product(hidden, None, Number::F32)?;
    if gpu.draws(head.vocabulary) {
        return Ok(gpu.chosen(&logits, choices, head.factor, head.softcap)?);
    }
    let none: Vec<&[u32]> = vec![&[]; choices.len()];
    let summaries = gpu.summarise(&logits, &none, head.factor, head.softcap)?;
    let numbered = (0u32..).zip(choices);
    let (rows, draws): (Vec<u32>, Vec<Choice>) = numbered
        .filter(|(_, choice)| choice.temperature > 0.0)
        .unzip();
    let mut drawn = Vec::new().into_iter();
    if !rows.is_empty() {
        let logits = gpu.select(&logits, &rows, 1)?.to_host()?;
        let logits = Tensor::from_vec(logits, (rows.len(), head.vocabulary), &Device::Cpu)?;
        finish(&logits, head)?;
        drawn = choose(&logits, &draws)?.into_iter();
    }
    let summaries = summaries.wait()?.into_iter().zip(choices);
    let chosen = summaries.filter_map(|(summary, choice)| {
        if choice.temperature > 0.0 {
            return drawn.next();
        }
        let broken = summary.entropy.is_nan();
        let (token, log_prob) = summary.top.first().copied().unwrap_or((0, f64::NAN));
        Some(Chosen {
            token,
            log_prob: if broken { f64::NAN } else { log_prob },
        })
    });
    Ok(chosen.collect())
}
