//! The stack of layers, its embedding and its head.

use crate::DecoderError;
use crate::frequencies::{Frequencies, frequencies};
use crate::layer::{Around, Attending, Layer, Ropes, Stream};
use crate::parameters::Loader;
use crate::pass::Pass;
use crate::tree::{KvBranch, KvPlace, KvTree};
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{Adapter, DecoderSpec, Positions, Rope, Snapshot, Weights};
use concord_kernels::{
    KernelConfig, Norm, Normed, PageRows, RopeTable, linear, norm, residual_norm, softcap,
};
use std::sync::Arc;

/// A decoder with its weights on a device.
pub struct Decoder {
    spec: DecoderSpec,
    dtype: DType,
    weights: Arc<Weights>,
    has_adapter: bool,
    config: KernelConfig,
    device: Device,
    /// `[vocabulary, hidden]`.
    embedding: Tensor,
    /// `[positions, hidden]`, where positions are learned.
    positions: Option<Tensor>,
    layers: Vec<Layer>,
    norm: Norm,
    /// `[vocabulary, hidden]`.
    head: Tensor,
}

/// What one pass hands to the next: the K/V of one path, by layer.
pub struct Session {
    positions: usize,
    length_class: usize,
    ropes: Ropes,
    /// `[entries, 2 · kv_heads · head_dim]` by layer, at least one entry so that no tensor is empty.
    carried: Vec<Tensor>,
}

impl Decoder {
    /// Loads the weights of a snapshot on the CPU and holds them as `dtype`: `F32`, `BF16` or `F16`.
    ///
    /// # Numerics
    /// Arithmetic is `f32` whatever weights are held as; a checkpoint stored in `bf16` gives the same numbers held as `bf16`
    /// and as `f32`.
    ///
    /// # Errors
    /// [`DecoderError::Checkpoint`] naming the file and the tensor that cannot be used.
    pub fn load(
        snapshot: &Snapshot,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Self, DecoderError> {
        Self::build(snapshot, None, dtype, config)
    }

    /// This decoder with an adapter of `snapshot` merged into it. What the adapter leaves alone is shared; of the
    /// base only what is small is read again: norms, biases, routers, learned positions.
    ///
    /// # Errors
    /// [`DecoderError::AnotherBase`] where the snapshot's weights are not this decoder's, or this decoder has an adapter of
    /// its own; as [`Decoder::load`].
    pub fn adapted(&self, snapshot: &Snapshot) -> Result<Self, DecoderError> {
        if self.has_adapter || !self.is_base_of(snapshot) {
            return Err(DecoderError::AnotherBase {
                name: snapshot.name.clone(),
            });
        }
        Self::build(snapshot, Some(self), self.dtype, self.config)
    }

    /// Whether the snapshot is an adapter of the weights that this decoder was loaded from.
    pub fn is_base_of(&self, snapshot: &Snapshot) -> bool {
        !self.has_adapter
            && snapshot.adapter.is_some()
            && Arc::ptr_eq(&self.weights, &snapshot.weights)
    }

    fn build(
        snapshot: &Snapshot,
        base: Option<&Self>,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Self, DecoderError> {
        let device = Device::Cpu;
        let spec = snapshot.spec.clone();
        let adapter = snapshot.adapter.as_deref();
        let loader = Loader {
            weights: &snapshot.weights,
            adapter,
            spec: &spec,
            dtype,
            device: &device,
        };
        let outer = spec.outer();
        let embedding = loader.matrix(&outer.embedding, base.map(|base| &base.embedding))?;
        let positions = outer.positions.as_ref();
        let positions = positions
            .map(|table| loader.matrix(table, None))
            .transpose()?;
        let head = match &outer.head {
            None => embedding.clone(),
            Some(head) if adapter.is_some_and(Adapter::unties) => {
                let plain = match base {
                    Some(base) => base.embedding.clone(),
                    None => Loader {
                        adapter: None,
                        ..loader
                    }
                    .matrix(&outer.embedding, None)?,
                };
                loader.matrix(head, Some(&plain))?
            }
            Some(head) => loader.matrix(head, base.map(|base| &base.head))?,
        };
        let layers = (0..spec.layers.len())
            .map(|index| {
                let base = base.map(|base| &base.layers[index]);
                Layer::load(&loader, base, index, config.minimum_rows)
            })
            .collect::<Result<_, _>>()?;
        let norm = loader.norm(&outer.final_norm)?;
        Ok(Self {
            spec,
            dtype,
            weights: Arc::clone(&snapshot.weights),
            has_adapter: adapter.is_some(),
            config,
            device,
            embedding,
            positions,
            layers,
            norm,
            head,
        })
    }

    /// What weights are held as.
    pub fn dtype(&self) -> DType {
        self.dtype
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
        let width = 2 * self.spec.kv_width();
        let empty = Tensor::zeros((1, width), DType::F32, &self.device)?;
        let positions = positions.max(1);
        Ok(Session {
            positions,
            length_class: 0,
            ropes: self.ropes(positions, 0),
            carried: vec![empty; self.layers.len()],
        })
    }

    /// Says of what length class ([`DecoderSpec::length_class`]) the sequences of the next passes are. Rows of different
    /// classes share no path.
    pub fn enter(&self, session: &mut Session, length_class: usize) {
        if session.length_class != length_class {
            session.ropes = self.ropes(session.positions, length_class);
            session.length_class = length_class;
        }
    }

    fn ropes(&self, positions: usize, length_class: usize) -> Ropes {
        let table = |rope: &Rope| {
            let Frequencies { inverse, scale } = frequencies(rope, length_class);
            Arc::new(RopeTable::new(&inverse, scale, positions))
        };
        match &self.spec.positions {
            Positions::Learned => {
                let none = Arc::new(RopeTable::new(&[], 1.0, 0));
                Ropes {
                    global: Arc::clone(&none),
                    local: none,
                }
            }
            Positions::Rotary { global, local, .. } => {
                let global = table(global);
                let local = local.as_ref().map_or_else(|| Arc::clone(&global), table);
                Ropes { global, local }
            }
        }
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
        self.pass_and_keep(session, pass, &mut |_, _| Ok(()))
    }

    /// [`Decoder::pass`], keeping the K/V of its rows in a tree.
    ///
    /// # Shapes
    /// `places`: one for each row of the pass.
    ///
    /// # Errors
    /// As [`Decoder::pass`].
    pub fn pass_into(
        &self,
        session: &mut Session,
        pass: &Pass,
        tree: &mut KvTree,
        places: &[KvPlace],
    ) -> Result<Option<Tensor>, DecoderError> {
        self.pass_and_keep(session, pass, &mut |layer, qkv| {
            tree.layers[layer].put_rows(qkv, places)
        })
    }

    fn pass_and_keep(
        &self,
        session: &mut Session,
        pass: &Pass,
        keep: &mut dyn FnMut(usize, &Tensor) -> candle_core::Result<()>,
    ) -> Result<Option<Tensor>, DecoderError> {
        let last = self.layers.len() - 1;
        let around = Around {
            spec: &self.spec,
            ropes: &session.ropes,
            depths: pass.rows.depths(),
        };
        let mut state = self.begin(&pass.tokens, around.depths)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv(&state.normed, &around)?;
            keep(index, &qkv)?;
            let carried = self.next_path(&session.carried[index], &qkv, pass)?;
            let before = std::mem::replace(&mut session.carried[index], carried);
            let mut rows = &pass.rows;
            if index == last {
                // In the last layer the rows that nobody reads are needed for their keys and values alone.
                let Some(readers) = &pass.readers else {
                    return Ok(None);
                };
                let kept =
                    Tensor::from_slice(readers.queries(), readers.queries().len(), &self.device)?;
                state.hidden = state.hidden.index_select(&kept, 0)?;
                state.normed = state.normed.index_select(&kept, 0)?;
                rows = readers;
            }
            let carried = &before;
            state = self.through(
                index,
                state,
                &qkv,
                Attending::Trie { carried, rows },
                &around,
            )?;
        }
        Ok(Some(state.normed))
    }

    /// Runs one new row of each of some branches, and adds it to them.
    ///
    /// # Shapes
    /// `tokens`: one a branch; returns the normed hidden states, `[branches or more, hidden]` (filled up to
    /// [`KernelConfig::minimum_rows`]).
    ///
    /// # Numerics
    /// The bits of [`Decoder::pass`] over the same path.
    ///
    /// # Errors
    /// [`DecoderError::NotFinite`] naming the layer; [`DecoderError::Tensor`]. The tree is then of no further use.
    ///
    /// # Panics
    /// Where the tree has no page left for a branch that needs one.
    pub fn step(
        &self,
        session: &Session,
        tree: &mut KvTree,
        branches: &mut [&mut KvBranch],
        tokens: &[u32],
    ) -> Result<Tensor, DecoderError> {
        let rows = PageRows {
            depths: branches.iter().map(|branch| branch.depth()).collect(),
            tables: branches
                .iter_mut()
                .map(|branch| {
                    tree.extend(branch);
                    branch.pages.clone()
                })
                .collect(),
        };
        let count = tokens.len().max(self.config.minimum_rows);
        let filled = |values: &[u32]| {
            let mut filled = values.to_vec();
            filled.resize(count, 0);
            filled
        };
        let depths: Arc<[u32]> = filled(&rows.depths).into();
        let around = Around {
            spec: &self.spec,
            ropes: &session.ropes,
            depths: &depths,
        };
        let mut state = self.begin(&filled(tokens), &depths)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv(&state.normed, &around)?;
            let pages = &mut tree.layers[index];
            let attending = Attending::Pages { pages, rows: &rows };
            state = self.through(index, state, &qkv, attending, &around)?;
        }
        Ok(state.normed)
    }

    /// The embedded tokens, and their norm for the first layer.
    fn begin(&self, tokens: &[u32], depths: &[u32]) -> Result<State, DecoderError> {
        let hidden = self.embed(tokens, depths)?; // [rows, hidden]
        let normed = match self.layers[0].input_norm() {
            Some(own) => {
                let (normed, broken) = norm(&hidden, own)?;
                finite(broken, || "in the embedding".to_owned())?;
                normed
            }
            None => hidden.clone(),
        };
        Ok(State { hidden, normed })
    }

    /// The querying rows through one layer, up to the norm of the next.
    fn through(
        &self,
        index: usize,
        state: State,
        qkv: &Tensor,
        attending: Attending<'_>,
        around: &Around<'_>,
    ) -> Result<State, DecoderError> {
        let State { hidden, normed } = state;
        let (stream, broken) =
            self.layers[index].finish(&hidden, &normed, qkv, attending, around)?;
        finite(broken, || format!("in layer {index}"))?;
        let next = match self.layers.get(index + 1) {
            Some(next) => next.input_norm(),
            None => Some(&self.norm),
        };
        let (Stream { hidden, delta }, scale) = (stream, self.spec.residual_scale);
        let Some(next) = next else {
            let hidden = (hidden + (delta * scale)?)?;
            let normed = hidden.clone();
            return Ok(State { hidden, normed });
        };
        let after = residual_norm(&hidden, &delta, scale, next)?;
        finite(after.non_finite, || format!("after layer {index}"))?;
        let Normed { hidden, normed, .. } = after;
        Ok(State { hidden, normed })
    }

    /// The embeddings of tokens at their depths.
    fn embed(&self, tokens: &[u32], depths: &[u32]) -> candle_core::Result<Tensor> {
        let tokens = Tensor::from_slice(tokens, tokens.len(), &self.device)?;
        let mut hidden = self
            .embedding
            .index_select(&tokens, 0)?
            .to_dtype(DType::F32)?;
        if (self.spec.embedding_scale - 1.0).abs() > f64::EPSILON {
            hidden = (hidden * self.spec.embedding_scale)?;
        }
        if let Some(positions) = &self.positions {
            let depths = Tensor::from_slice(depths, depths.len(), &self.device)?;
            hidden = (hidden + positions.index_select(&depths, 0)?.to_dtype(DType::F32)?)?;
        }
        Ok(hidden)
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
        let scale = self.spec.logit_scale;
        let logits = if (scale - 1.0).abs() > f64::EPSILON {
            linear(&(normed * scale)?, &self.head, None)?
        } else {
            linear(normed, &self.head, None)?
        };
        if let Some(cap) = self.spec.logit_softcap {
            softcap(&logits, cap)?;
        }
        Ok(logits)
    }

    /// Floating-point operations of the matrix products of one pass, head not counted (a multiplication and an addition
    /// are two); of experts, those that rows go through.
    pub fn pass_flops(&self, pass: &Pass) -> u64 {
        let rows = pass.tokens.len();
        let queries = pass
            .readers
            .as_ref()
            .map_or(0, |readers| readers.queries().len());
        let last = self.layers.len() - 1;
        let products = (0..self.layers.len()).map(|index| {
            let (qkv, output, mlp) = self.spec.row_products(index);
            let finishing = if index == last { queries } else { rows };
            (rows * qkv + finishing * (output + mlp)) as u64
        });
        2 * products.sum::<u64>()
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
        let query = self.spec.query_width();
        let kept = if pass.kept == 0 && !pass.next_path.is_empty() {
            None
        } else {
            Some(carried.narrow(0, 0, pass.kept.max(1))?)
        };
        let rows = if pass.next_path.is_empty() {
            None
        } else {
            let rows = Tensor::from_slice(&pass.next_path, pass.next_path.len(), &self.device)?;
            let width = 2 * self.spec.kv_width();
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

/// Rows between two layers.
struct State {
    /// `[rows, hidden]`: the residual stream.
    hidden: Tensor,
    /// The same, normed for what comes next.
    normed: Tensor,
}

fn finite(broken: Option<usize>, place: impl Fn() -> String) -> Result<(), DecoderError> {
    match broken {
        Some(_) => Err(DecoderError::NotFinite { place: place() }),
        None => Ok(()),
    }
}
