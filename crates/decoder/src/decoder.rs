//! The stack of layers, its embedding and its head.

use crate::DecoderError;
use crate::clock::{Times, Work};
use crate::frequencies::{Frequencies, frequencies};
use crate::layer::{Around, Attending, Layer, Ropes, Rows, Stop, attention_shape, normed};
use crate::parameters::{Loader, operands};
use crate::pass::Pass;
use crate::stream::{LayerStream, Origin};
use crate::tree::{KvBranch, KvPlace, KvTree};
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{Adapter, DecoderSpec, Positions, Rope, Snapshot};
use concord_kernels::{
    KernelConfig, KvPath, Matrix, Norm, Operands, PageRows, Path, RopeTable, scale, softcap,
};
use std::sync::Arc;

/// A decoder with its weights on a device.
pub struct Decoder {
    origin: Origin,
    config: KernelConfig,
    /// `[vocabulary, hidden]`; where it is the head, it is looked up there.
    embedding: Option<Tensor>,
    /// `[positions, hidden]`, where positions are learned.
    positions: Option<Tensor>,
    layers: Layers,
    norm: Norm,
    /// `[vocabulary, hidden]`.
    head: Arc<Matrix>,
}

enum Layers {
    Kept(Vec<Arc<Layer>>),
    Streamed(LayerStream),
}

/// What one pass hands to the next: the K/V of one path, by layer.
pub struct Session {
    positions: usize,
    length_class: usize,
    ropes: Ropes,
    carried: Vec<KvPath>,
    /// Where the time of its passes went.
    pub times: Times,
}

impl Decoder {
    /// Loads the weights of a snapshot on the CPU, all of them.
    ///
    /// # Numerics
    /// `dtype` is what products multiply. `BF16`: weights are held as `bf16`, and rows are rounded to it before each product.
    /// `F32`: rows are `f32`, and weights are held in the narrowest type that holds what is stored without loss. `F16`: weights
    /// are held as `f16`, rows are `f32`. Sums, norms, attention and the residual stream are `f32` always.
    ///
    /// # Errors
    /// [`DecoderError::Checkpoint`] naming the file and the tensor that cannot be used.
    pub fn load(
        snapshot: &Snapshot,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Self, DecoderError> {
        let origin = Origin::of(snapshot, dtype, config.path);
        Self::build(origin, None, config, true)
    }

    /// The same with layers that are read when they are needed, one ahead: at most two are in memory.
    ///
    /// # Errors
    /// As [`Decoder::load`]; what is wrong with a layer shows when it is read.
    pub fn streamed(
        snapshot: &Snapshot,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Self, DecoderError> {
        let origin = Origin::of(snapshot, dtype, config.path);
        Self::build(origin, None, config, false)
    }

    /// This decoder with an adapter of `snapshot` merged into it. What the adapter leaves alone is shared; of the
    /// base only what is small is read again: norms, biases, routers, learned positions.
    ///
    /// # Errors
    /// [`DecoderError::AnotherBase`] where the snapshot's weights are not this decoder's, or this decoder has an adapter of
    /// its own; as [`Decoder::load`].
    pub fn adapted(&self, snapshot: &Snapshot) -> Result<Self, DecoderError> {
        if !self.is_base_of(snapshot) {
            return Err(DecoderError::AnotherBase {
                name: snapshot.name.clone(),
            });
        }
        let origin = Origin::of(snapshot, self.origin.dtype, self.config.path);
        let kept = matches!(self.layers, Layers::Kept(_));
        Self::build(origin, Some(self), self.config, kept)
    }

    /// Whether the snapshot is an adapter of the weights that this decoder was loaded from.
    pub fn is_base_of(&self, snapshot: &Snapshot) -> bool {
        self.origin.adapter.is_none()
            && snapshot.adapter.is_some()
            && Arc::ptr_eq(&self.origin.weights, &snapshot.weights)
    }

    fn build(
        origin: Origin,
        base: Option<&Self>,
        config: KernelConfig,
        keep: bool,
    ) -> Result<Self, DecoderError> {
        let loader = origin.loader();
        let outer = origin.spec.outer();
        // The largest first: packing takes as much again for a while.
        let (embedding, head) = match &outer.head {
            None => {
                let base = base.map(|base| &base.head);
                (None, loader.matrix(&outer.embedding, false, base)?)
            }
            Some(head) => {
                let before = base.map(Self::embedding_table).transpose()?;
                let head = if origin.adapter.as_deref().is_some_and(Adapter::unties) {
                    let plain = match &before {
                        Some(before) => before.clone(),
                        None => Loader {
                            adapter: None,
                            ..loader
                        }
                        .table(&outer.embedding, None)?,
                    };
                    loader.packed(&loader.table(head, Some(&plain))?, false)?
                } else {
                    loader.matrix(head, false, base.map(|base| &base.head))?
                };
                (Some(loader.table(&outer.embedding, before.as_ref())?), head)
            }
        };
        let positions = outer.positions.as_ref();
        let positions = positions
            .map(|table| loader.table(table, None))
            .transpose()?;
        let norm = loader.norm(&outer.final_norm)?;
        let layers = if keep {
            let layer = |index: usize| {
                let base = match base.map(|base| &base.layers) {
                    Some(Layers::Kept(layers)) => Some(&*layers[index]),
                    _ => None,
                };
                Layer::load(&loader, base, index).map(Arc::new)
            };
            let count = origin.spec.layers.len();
            Layers::Kept((0..count).map(layer).collect::<Result<_, _>>()?)
        } else {
            Layers::Streamed(LayerStream::new(origin.clone()))
        };
        Ok(Self {
            origin,
            config,
            embedding,
            positions,
            layers,
            norm,
            head,
        })
    }

    /// The embedding as a table, `[vocabulary, hidden]`.
    fn embedding_table(&self) -> Result<Tensor, DecoderError> {
        match &self.embedding {
            Some(table) => Ok(table.clone()),
            None => Ok(self.head.unpack()?),
        }
    }

    /// What products multiply, as it was asked for.
    pub fn dtype(&self) -> DType {
        self.origin.dtype
    }

    /// The decoder's shape.
    pub fn spec(&self) -> &DecoderSpec {
        &self.origin.spec
    }

    /// The sizes that passes are cut to.
    pub fn config(&self) -> &KernelConfig {
        &self.config
    }

    /// Layers read from files: where they are kept, each once.
    pub fn layers_read(&self) -> u64 {
        match &self.layers {
            Layers::Kept(layers) => layers.len() as u64,
            Layers::Streamed(stream) => stream.read(),
        }
    }

    /// Whether layers are read when they are needed.
    pub fn is_streamed(&self) -> bool {
        matches!(self.layers, Layers::Streamed(_))
    }

    /// Lets go of layers that are in memory only because they were needed last.
    pub fn rest(&self) {
        if let Layers::Streamed(stream) = &self.layers {
            stream.rest();
        }
    }

    /// What products multiply.
    pub fn operands(&self) -> Operands {
        operands(self.origin.dtype)
    }

    /// What rows are held as between products.
    fn rows_as(&self) -> DType {
        self.operands().dtype()
    }

    fn layer(&self, index: usize, again: bool) -> Result<Arc<Layer>, DecoderError> {
        match &self.layers {
            Layers::Kept(layers) => Ok(Arc::clone(&layers[index])),
            Layers::Streamed(stream) => stream.get(index, again),
        }
    }

    /// Starts at the root of a trie of at most `positions` depths.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`].
    pub fn session(&self, positions: usize) -> Result<Session, DecoderError> {
        let empty = KvPath::new(attention_shape(self.spec()));
        let positions = positions.max(1);
        Ok(Session {
            positions,
            length_class: 0,
            ropes: self.ropes(positions, 0),
            carried: vec![empty; self.spec().layers.len()],
            times: Times::default(),
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
        match &self.spec().positions {
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
    /// Returns the normed hidden states of the rows that are read, `[read, hidden]`, or `None` where no row is read.
    ///
    /// # Errors
    /// [`DecoderError::NotFinite`] naming the layer; [`DecoderError::Checkpoint`] where a layer has to be read;
    /// [`DecoderError::Tensor`]. The session is then of no further use.
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
        keep: &mut Keep<'_>,
    ) -> Result<Option<Tensor>, DecoderError> {
        let mut hidden = self.embed(pass)?;
        for index in 0..self.spec().layers.len() {
            let layer = self.layer(index, true)?;
            match self.through(session, &layer, index, pass, hidden, keep)? {
                Some(next) => hidden = next,
                None => return Ok(None),
            }
        }
        self.normed(&hidden, session).map(Some)
    }

    /// One layer of one pass, where the layers are the outer loop. The last layer gives the normed hidden states of the rows
    /// that are read, as [`Decoder::pass`] does; the others change `hidden` in place.
    ///
    /// # Shapes
    /// `hidden`: `[rows, hidden]` in `f32`, as [`Decoder::embed`] or the layer before left it.
    ///
    /// # Errors
    /// As [`Decoder::pass`].
    pub fn layer_pass(
        &self,
        session: &mut Session,
        index: usize,
        pass: &Pass,
        hidden: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        let layer = self.layer(index, false)?;
        let keep = &mut |_: usize, _: &Tensor| Ok(());
        let after = self.through(session, &layer, index, pass, hidden.clone(), keep)?;
        match after {
            Some(hidden) if index + 1 == self.spec().layers.len() => {
                self.normed(&hidden, session).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The rows of a pass through one layer, their stream in place; of the last layer those that are read, or `None` where
    /// there is none.
    fn through(
        &self,
        session: &mut Session,
        layer: &Layer,
        index: usize,
        pass: &Pass,
        hidden: Tensor,
        keep: &mut Keep<'_>,
    ) -> Result<Option<Tensor>, DecoderError> {
        let Session {
            ropes,
            carried,
            times,
            ..
        } = session;
        let around = Around {
            spec: self.spec(),
            ropes,
            depths: pass.rows.depths(),
            rows_as: self.rows_as(),
        };
        let rows = layer.begin(hidden, &around, times);
        let mut rows = rows.map_err(|stop| stopped(stop, || before(index)))?;
        let qkv = layer.qkv(&rows.normed, &around, times)?;
        keep(index, &qkv)?;
        let mut attending = Some(&pass.rows);
        if index + 1 == self.spec().layers.len() {
            // In the last layer the rows that nobody reads are needed for their keys and values alone.
            attending = pass.readers.as_ref();
            if let Some(readers) = attending {
                let kept =
                    Tensor::from_slice(readers.queries(), readers.queries().len(), &Device::Cpu)?;
                rows = Rows {
                    hidden: rows.hidden.index_select(&kept, 0)?,
                    normed: rows.normed.index_select(&kept, 0)?,
                };
            }
        }
        let path = &mut carried[index];
        if let Some(attending) = attending {
            let attending = Attending::Trie {
                carried: path,
                rows: attending,
            };
            layer
                .finish(&rows, &qkv, attending, &around, times)
                .map_err(|stop| stopped(stop, || within(index)))?;
        }
        path.advance(&qkv, pass.kept, &pass.next_path)?;
        Ok(attending.map(|_| rows.hidden))
    }

    /// Runs one new row of each of some branches, and adds it to them.
    ///
    /// # Shapes
    /// `tokens`: one a branch; returns the normed hidden states, `[branches, hidden]`.
    ///
    /// # Numerics
    /// The bits of [`Decoder::pass`] over the same path.
    ///
    /// # Errors
    /// As [`Decoder::pass`]. The tree is then of no further use.
    ///
    /// # Panics
    /// Where the tree has no page left for a branch that needs one.
    pub fn step(
        &self,
        session: &mut Session,
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
        let depths: Arc<[u32]> = rows.depths.clone().into();
        let around = Around {
            spec: self.spec(),
            ropes: &session.ropes,
            depths: &depths,
            rows_as: self.rows_as(),
        };
        let times = &mut session.times;
        let mut hidden = self.embedded(tokens, &depths)?;
        for index in 0..self.spec().layers.len() {
            let layer = self.layer(index, true)?;
            let state = layer.begin(hidden, &around, times);
            let state = state.map_err(|stop| stopped(stop, || before(index)))?;
            let qkv = layer.qkv(&state.normed, &around, times)?;
            let pages = &mut tree.layers[index];
            let attending = Attending::Pages { pages, rows: &rows };
            layer
                .finish(&state, &qkv, attending, &around, times)
                .map_err(|stop| stopped(stop, || within(index)))?;
            hidden = state.hidden;
        }
        self.normed(&hidden, session)
    }

    /// The embedded tokens of a pass: the residual stream before the first layer.
    ///
    /// # Shapes
    /// Returns `[rows, hidden]` in `f32`.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`].
    pub fn embed(&self, pass: &Pass) -> Result<Tensor, DecoderError> {
        Ok(self.embedded(&pass.tokens, pass.rows.depths())?)
    }

    /// The embeddings of tokens at their depths.
    fn embedded(&self, tokens: &[u32], depths: &[u32]) -> candle_core::Result<Tensor> {
        let mut hidden = match &self.embedding {
            Some(table) => {
                let tokens = Tensor::from_slice(tokens, tokens.len(), &Device::Cpu)?;
                table.index_select(&tokens, 0)?.to_dtype(DType::F32)?
            }
            None => self.head.rows(tokens)?,
        };
        let scale = self.spec().embedding_scale;
        if (scale - 1.0).abs() > f64::EPSILON {
            hidden = (hidden * scale)?;
        }
        if let Some(positions) = &self.positions {
            let depths = Tensor::from_slice(depths, depths.len(), &Device::Cpu)?;
            hidden = (hidden + positions.index_select(&depths, 0)?.to_dtype(DType::F32)?)?;
        }
        Ok(hidden)
    }

    /// The last norm.
    fn normed(&self, hidden: &Tensor, session: &mut Session) -> Result<Tensor, DecoderError> {
        let after = session
            .times
            .of(Work::Norms, || normed(hidden, &self.norm, self.rows_as()));
        after.map_err(|stop| stopped(stop, || before(self.spec().layers.len())))
    }

    /// Logits of normed hidden states.
    ///
    /// # Shapes
    /// `normed`: `[rows, hidden]`; returns `[rows, vocabulary]` in `f32`.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`].
    pub fn head(&self, normed: &Tensor) -> Result<Tensor, DecoderError> {
        let shape = (normed.dim(0)?, self.spec().vocab_size);
        let logits = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        self.head_into(normed, &logits)?;
        Ok(logits)
    }

    /// [`Decoder::head`] into a tensor that is there.
    ///
    /// # Shapes
    /// `logits`: `[rows, vocabulary]` in `f32`.
    ///
    /// # Errors
    /// [`DecoderError::Tensor`].
    pub fn head_into(&self, normed: &Tensor, logits: &Tensor) -> Result<(), DecoderError> {
        self.head.product_into(normed, logits)?;
        let factor = self.spec().logit_scale;
        if (factor - 1.0).abs() > f64::EPSILON {
            scale(logits, factor)?;
        }
        if let Some(cap) = self.spec().logit_softcap {
            softcap(logits, cap)?;
        }
        Ok(())
    }

    /// Floating-point operations of the matrix products of one pass, head not counted (a multiplication and an addition
    /// are two); of experts, those that rows go through.
    pub fn pass_flops(&self, pass: &Pass) -> u64 {
        let rows = pass.tokens.len();
        let queries = pass
            .readers
            .as_ref()
            .map_or(0, |readers| readers.queries().len());
        let last = self.spec().layers.len() - 1;
        let products = (0..=last).map(|index| {
            let (qkv, output, mlp) = self.spec().row_products(index);
            let finishing = if index == last { queries } else { rows };
            (rows * qkv + finishing * (output + mlp)) as u64
        });
        2 * products.sum::<u64>()
    }

    /// Floating-point operations of the head for so many rows.
    pub fn head_flops(&self, rows: usize) -> u64 {
        2 * (rows * self.spec().vocab_size * self.spec().hidden_size) as u64
    }
}

/// Takes the queries, keys and values of a layer's rows.
type Keep<'a> = dyn FnMut(usize, &Tensor) -> candle_core::Result<()> + 'a;

impl Origin {
    pub fn of(snapshot: &Snapshot, dtype: DType, path: Path) -> Self {
        Self {
            weights: Arc::clone(&snapshot.weights),
            adapter: snapshot.adapter.clone(),
            spec: Arc::new(snapshot.spec.clone()),
            dtype,
            path,
        }
    }
}

fn stopped(stop: Stop, place: impl Fn() -> String) -> DecoderError {
    match stop {
        Stop::NotFinite => DecoderError::NotFinite { place: place() },
        Stop::Tensor(error) => error.into(),
    }
}

fn within(layer: usize) -> String {
    format!("in layer {layer}")
}

/// The place whose rows come into a layer; after the last one, into the last norm.
fn before(layer: usize) -> String {
    match layer.checked_sub(1) {
        None => "in the embedding".to_owned(),
        Some(before) => format!("after layer {before}"),
    }
}
