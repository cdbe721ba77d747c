//! The stack of layers, its embedding and its head.

use crate::layer::{Around, Layer, Loader, Stream};
use crate::pass::Pass;
use crate::{DecoderError, inverse_frequencies};
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{DecoderSpec, Snapshot};
use concord_kernels::{KernelConfig, Normed, RopeTable, linear, residual_rms_norm, rms_norm};
use std::sync::Arc;

/// A decoder with its weights on a device.
pub struct Decoder {
    spec: DecoderSpec,
    config: KernelConfig,
    device: Device,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
}

/// What one pass hands to the next: the K/V of one path, by layer.
pub struct Session {
    rope: Arc<RopeTable>,
    /// `[entries, 2 · kv_heads · head_dim]` by layer, at least one entry so that no tensor is empty.
    carried: Vec<Tensor>,
}

impl Decoder {
    /// Loads the weights of a snapshot as `f32` on the CPU.
    ///
    /// # Errors
    /// [`DecoderError::Checkpoint`] naming the tensor that is missing or has the wrong shape.
    pub fn load(snapshot: &Snapshot, config: KernelConfig) -> Result<Self, DecoderError> {
        let device = Device::Cpu;
        let spec = snapshot.spec.clone();
        let loader = Loader {
            weights: &snapshot.weights,
            device: &device,
        };
        let table = [spec.vocab_size, spec.hidden_size];
        let embedding = loader.tensor("model.embed_tokens.weight", &table)?;
        let head = if spec.tied_head {
            embedding.clone()
        } else {
            loader.tensor("lm_head.weight", &table)?
        };
        let layers = (0..spec.layers)
            .map(|index| Layer::load(&loader, &spec, index))
            .collect::<Result<_, _>>()?;
        let norm = loader.tensor("model.norm.weight", &[spec.hidden_size])?;
        Ok(Self {
            spec,
            config,
            device,
            embedding,
            layers,
            norm,
            head,
        })
    }

    /// The decoder's shape.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// The sizes that passes are cut to.
    pub fn config(&self) -> &KernelConfig {
        &self.config
    }

    /// Starts at the root of a trie of at most `positions` depths.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`].
    pub fn session(&self, positions: usize) -> Result<Session, DecoderError> {
        let frequencies = inverse_frequencies(&self.spec.rope, self.spec.head_dim);
        let width = 2 * self.spec.kv_heads * self.spec.head_dim;
        let empty = Tensor::zeros((1, width), DType::F32, &self.device)?;
        Ok(Session {
            rope: Arc::new(RopeTable::new(&frequencies, positions.max(1))),
            carried: vec![empty; self.layers.len()],
        })
    }

    /// Runs one pass and moves the session's path on to the row after it.
    ///
    /// # Shapes
    /// Returns the normed hidden states of the rows that are read, `[read or more, hidden]` (filled up by repeating the
    /// last), or `None` where no row is read.
    ///
    /// # Errors
    /// [`DecoderError::NotFinite`] naming the layer; [`DecoderError::Tensor`]. The session is then of no further use.
    pub fn pass(&self, session: &mut Session, pass: &Pass) -> Result<Option<Tensor>, DecoderError> {
        let spec = &self.spec;
        let last = self.layers.len() - 1;
        let tokens = Tensor::from_slice(&pass.tokens, pass.tokens.len(), &self.device)?;
        let mut hidden = self.embedding.index_select(&tokens, 0)?; // [rows, hidden]
        let (mut normed, broken) = rms_norm(&hidden, self.layers[0].input_norm(), spec.norm_eps)?;
        finite(broken, || "in the embedding".to_owned())?;
        for (index, layer) in self.layers.iter().enumerate() {
            let around = Around {
                spec,
                rope: &session.rope,
                rows: &pass.rows,
            };
            let qkv = layer.qkv(&normed, &around)?;
            let carried = self.next_path(&session.carried[index], &qkv, pass)?;
            let before = std::mem::replace(&mut session.carried[index], carried);
            let (stream, next_norm) = if index < last {
                let (stream, broken) = layer.finish(&hidden, &qkv, &before, &around)?;
                finite(broken, || format!("in the attention of layer {index}"))?;
                (stream, self.layers[index + 1].input_norm())
            } else {
                // In the last layer the rows that nobody reads are needed for their keys and values alone.
                let Some(readers) = &pass.readers else {
                    return Ok(None);
                };
                let rows =
                    Tensor::from_slice(readers.queries(), readers.queries().len(), &self.device)?;
                let around = Around {
                    spec,
                    rope: &session.rope,
                    rows: readers,
                };
                let (stream, broken) =
                    layer.finish(&hidden.index_select(&rows, 0)?, &qkv, &before, &around)?;
                finite(broken, || format!("in the attention of layer {index}"))?;
                (stream, &self.norm)
            };
            let Stream { hidden: sum, delta } = stream;
            let after = residual_rms_norm(&sum, &delta, next_norm, spec.norm_eps)?;
            finite(after.non_finite, || format!("after layer {index}"))?;
            Normed { hidden, normed, .. } = after;
        }
        Ok(Some(normed))
    }

    /// Logits of normed hidden states.
    ///
    /// # Shapes
    /// `normed`: `[rows, hidden]`, at least [`KernelConfig::minimum_rows`] rows for stable bits; returns
    /// `[rows, vocabulary]`.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`].
    pub fn head(&self, normed: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(linear(normed, &self.head, None)?)
    }

    /// Floating-point operations of the matrix products of one pass, head not counted (a multiplication and an addition
    /// are two).
    pub fn pass_flops(&self, pass: &Pass) -> u64 {
        let spec = &self.spec;
        let rows = pass.tokens.len() as u64;
        let queries = pass
            .readers
            .as_ref()
            .map_or(0, |readers| readers.queries().len() as u64);
        let qkv = (spec.hidden_size * (spec.heads + 2 * spec.kv_heads) * spec.head_dim) as u64;
        let rest = spec.row_products() as u64 - qkv;
        let layers = self.layers.len() as u64;
        2 * (layers * rows * qkv + ((layers - 1) * rows + queries) * rest)
    }

    /// Floating-point operations of the head for so many rows.
    pub fn head_flops(&self, rows: usize) -> u64 {
        2 * (rows * self.spec.vocab_size * self.spec.hidden_size) as u64
    }

    /// K/V of the path to the row after the pass, `[entries, 2 · kv_heads · head_dim]`.
    fn next_path(
        &self,
        carried: &Tensor,
        qkv: &Tensor,
        pass: &Pass,
    ) -> Result<Tensor, DecoderError> {
        let query = self.spec.heads * self.spec.head_dim;
        let kept = if pass.kept == 0 && !pass.next_path.is_empty() {
            None
        } else {
            Some(carried.narrow(0, 0, pass.kept.max(1))?)
        };
        let rows = if pass.next_path.is_empty() {
            None
        } else {
            let rows = Tensor::from_slice(&pass.next_path, pass.next_path.len(), &self.device)?;
            let width = 2 * self.spec.kv_heads * self.spec.head_dim;
            Some(
                qkv.index_select(&rows, 0)?
                    .narrow(1, query, width)?
                    .contiguous()?,
            )
        };
        let parts: Vec<Tensor> = kept.into_iter().chain(rows).collect();
        Ok(if let [one] = &parts[..] {
            one.contiguous()?
        } else {
            Tensor::cat(&parts, 0)?
        })
    }
}

fn finite(broken: Option<usize>, place: impl Fn() -> String) -> Result<(), DecoderError> {
    match broken {
        Some(_) => Err(DecoderError::NotFinite { place: place() }),
        None => Ok(()),
    }
}
