//! The stack of layers, its embedding and its head.

use crate::DecoderError;
use crate::clock::{Times, Work};
use crate::frequencies::{Frequencies, frequencies};
use crate::layer::{KvSource, Layer, LayerContext, LayerError, Ropes, State, attention_shape};
use crate::parameters::{Loader, goes_on};
use crate::pass::Pass;
use crate::stream::{LayerStream, Origin};
use crate::tree::{KvBranch, KvPlace, KvTree};
use candle_core::{DType, Tensor};
use concord_checkpoint::{Adapter, DecoderSpec, Positions, Rope, Snapshot};
use concord_kernels::{
    Engine, Head, KernelConfig, KernelError, KvPrefix, List, Norm, PageRows, RopeTable, RowUse,
    Rows, Weight, WeightFormat,
};
use std::sync::Arc;

/// A decoder with its weights on a device.
pub struct Decoder {
    origin: Origin,
    config: KernelConfig,
    /// `[vocabulary, hidden]`; where it is the head, it is looked up there.
    embedding: Option<Weight>,
    /// `[positions, hidden]`, where positions are learned.
    positions: Option<Weight>,
    layers: Layers,
    norm: Norm,
    pub(crate) head: Head,
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
    carried: Vec<KvPrefix>,
    /// Where the time of its passes went.
    pub times: Times,
}

impl Decoder {
    /// Loads the weights of a snapshot on the processor, all of them.
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
        Self::load_on(
            &Engine::Cpu(config.path, WeightFormat::Native),
            snapshot,
            dtype,
            config,
        )
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
        Self::streamed_on(
            &Engine::Cpu(config.path, WeightFormat::Native),
            snapshot,
            dtype,
            config,
        )
    }

    /// [`Decoder::load`] on the device of an engine.
    ///
    /// # Numerics
    /// On a GPU rows are held as `dtype` between products, queries, keys and values too; sums, norms and the residual stream are
    /// `f32`. Through the generic path rows are `f32` between products.
    ///
    /// # Errors
    /// As [`Decoder::load`]; [`DecoderError::Gpu`].
    pub fn load_on(
        engine: &Engine,
        snapshot: &Snapshot,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Self, DecoderError> {
        Self::whole(Origin::of(snapshot, dtype, engine), config)
    }

    pub(crate) fn whole(origin: Origin, config: KernelConfig) -> Result<Self, DecoderError> {
        Self::build(origin, None, config, true)
    }

    /// [`Decoder::streamed`] on the device of an engine.
    ///
    /// # Errors
    /// As [`Decoder::load_on`].
    pub fn streamed_on(
        engine: &Engine,
        snapshot: &Snapshot,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Self, DecoderError> {
        Self::build(Origin::of(snapshot, dtype, engine), None, config, false)
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
        let origin = Origin::of(snapshot, self.origin.dtype, self.engine());
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
                let base = base.map(|base| &base.head.weight);
                (None, loader.head(&outer.embedding, base)?)
            }
            Some(head) => {
                let before = base.map(Self::embedding_table).transpose()?;
                let unties = origin.adapter.as_deref().is_some_and(Adapter::unties);
                let replaced = origin.adapter.as_deref();
                let replaced = replaced.is_some_and(|adapter| adapter.replaces_all_of(head));
                let head = if unties {
                    // Its base is the embedding's, unless it comes whole.
                    let plain = match &before {
                        _ if replaced => None,
                        Some(before) => Some(before.clone()),
                        None => {
                            let adapter = None;
                            Some(Loader { adapter, ..loader }.table(&outer.embedding, None)?)
                        }
                    };
                    loader.packed_head(&loader.table(head, plain.as_ref())?)?
                } else {
                    loader.head(head, base.map(|base| &base.head.weight))?
                };
                let table = loader.looked_up(&outer.embedding, before.as_ref())?;
                (Some(table), head)
            }
        };
        let positions = outer
            .positions
            .as_ref()
            .map(|table| loader.looked_up(table, None));
        let positions = positions.transpose()?;
        let head = Head {
            weight: head,
            vocabulary: origin.spec.vocab_size,
            factor: origin.spec.logit_scale,
            softcap: origin.spec.logit_softcap,
        };
        let norm = loader.norm(&outer.final_norm)?;
        let layers = if keep {
            let layer = |index: usize| {
                goes_on(&origin.is_left)?;
                let base = match base.map(|base| &base.layers) {
                    Some(Layers::Kept(layers)) => Some(&*layers[index]),
                    _ => None,
                };
                Layer::load(&loader, base, index).map(Arc::new)
            };
            let count = origin.spec.layers.len();
            // All threads read each tensor.
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
            Some(table) => Ok(table.unpack()?),
            None => Ok(self.head.weight.unpack()?),
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

    /// What computes.
    pub fn engine(&self) -> &Engine {
        &self.origin.engine
    }

    /// What keys and values of texts are held as.
    pub fn kv_dtype(&self) -> DType {
        self.engine().kv_dtype(self.origin.dtype)
    }

    /// What rows are held as between products.
    fn rows_as(&self) -> DType {
        self.engine().rows_as(self.origin.dtype)
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
        let shape = attention_shape(self.spec());
        let layers = 0..self.spec().layers.len();
        let positions = positions.max(1);
        Ok(Session {
            positions,
            length_class: 0,
            ropes: self.ropes(positions, 0),
            carried: layers.map(|_| self.engine().carried(shape)).collect(),
            times: Times::on(self.engine()),
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
    pub fn pass(&self, session: &mut Session, pass: &Pass) -> Result<Option<Rows>, DecoderError> {
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
    ) -> Result<Option<Rows>, DecoderError> {
        self.pass_and_keep(session, pass, &mut |layer, qkv| {
            self.engine().put_rows(&mut tree.layers[layer], qkv, places)
        })
    }

    fn pass_and_keep(
        &self,
        session: &mut Session,
        pass: &Pass,
        keep: &mut Keep<'_>,
    ) -> Result<Option<Rows>, DecoderError> {
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
        hidden: &mut Rows,
    ) -> Result<Option<Rows>, DecoderError> {
        let layer = self.layer(index, false)?;
        let keep = &mut |_: usize, _: &Rows| Ok(());
        let after = self.through(session, &layer, index, pass, hidden.clone(), keep)?;
        if index + 1 < self.spec().layers.len() {
            if let Some(after) = after {
                *hidden = after;
            }
            return Ok(None);
        }
        after.map(|rows| self.normed(&rows, session)).transpose()
    }

    /// The rows of a pass through one layer, their stream in place; of the last layer those that are read, or `None` where
    /// there is none.
    fn through(
        &self,
        session: &mut Session,
        layer: &Layer,
        index: usize,
        pass: &Pass,
        hidden: Rows,
        keep: &mut Keep<'_>,
    ) -> Result<Option<Rows>, DecoderError> {
        let Session {
            ropes,
            carried,
            times,
            ..
        } = session;
        let around = LayerContext {
            spec: self.spec(),
            ropes,
            depths: &pass.depths,
            engine: self.engine(),
            rows_as: self.rows_as(),
        };
        self.enter_place(2 * index);
        let state = layer.begin(hidden, &around, times);
        let mut state = state.map_err(|stop| stopped(stop, || before(index)))?;
        self.enter_place(2 * index + 1);
        let qkv = layer.qkv(&state.normed, &around, times)?;
        keep(index, &qkv)?;
        let mut attending = Some(&pass.rows);
        let mut role = RowUse::Pass;
        if index + 1 == self.spec().layers.len() {
            // In the last layer the rows that nobody reads are needed for their keys and values alone.
            attending = pass.readers.as_ref();
            role = RowUse::Few;
            if let Some(readers) = attending {
                let select = |rows: &Rows| self.engine().select(rows, readers.queries(), role);
                state = State {
                    hidden: select(&state.hidden)?,
                    normed: select(&state.normed)?,
                };
            }
        }
        let path = &mut carried[index];
        if let Some(attending) = attending {
            let attending = KvSource::Trie {
                carried: path,
                rows: attending,
                role,
            };
            layer
                .finish(&mut state, &qkv, attending, &around, times)
                .map_err(|stop| stopped(stop, || within(index)))?;
        }
        self.engine()
            .advance(path, &qkv, pass.kept, &pass.next_path)?;
        Ok(attending.map(|_| state.hidden))
    }

    /// Says where the next norms are: a GPU tells later that numbers were not finite, and where.
    fn enter_place(&self, place: usize) {
        if let Some(gpu) = self.engine().gpu() {
            gpu.enter(u32::try_from(place).unwrap_or(u32::MAX));
        }
    }

    /// Runs one new row of each of some branches, and adds it to them.
    ///
    /// # Shapes
    /// `tokens`: one a branch; returns the normed hidden states, `[branches, hidden]`.
    ///
    /// # Numerics
    /// The bits of [`Decoder::pass`] over the same path; on a GPU close to them, since its sums run over other lanes.
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
    ) -> Result<Rows, DecoderError> {
        let depths = branches.iter().map(|branch| branch.depth()).collect();
        let tables = branches.iter_mut().map(|branch| {
            tree.extend(branch);
            branch.pages.clone()
        });
        let rows = PageRows::new(tables.collect(), depths);
        let depths = List::new(rows.depths.clone().into());
        let around = LayerContext {
            spec: self.spec(),
            ropes: &session.ropes,
            depths: &depths,
            engine: self.engine(),
            rows_as: self.rows_as(),
        };
        let times = &mut session.times;
        let mut hidden = self.embedded(tokens, depths.get(), RowUse::Texts)?;
        for index in 0..self.spec().layers.len() {
            let layer = self.layer(index, true)?;
            self.enter_place(2 * index);
            let state = layer.begin(hidden, &around, times);
            let mut state = state.map_err(|stop| stopped(stop, || before(index)))?;
            self.enter_place(2 * index + 1);
            let qkv = layer.qkv(&state.normed, &around, times)?;
            let pages = &mut tree.layers[index];
            let attending = KvSource::Pages { pages, rows: &rows };
            layer
                .finish(&mut state, &qkv, attending, &around, times)
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
    pub fn embed(&self, pass: &Pass) -> Result<Rows, DecoderError> {
        Ok(self.embedded(&pass.tokens, pass.rows.depths(), RowUse::Pass)?)
    }

    /// The embeddings of tokens at their depths.
    fn embedded(&self, tokens: &[u32], depths: &[u32], role: RowUse) -> Result<Rows, KernelError> {
        let table = self.embedding.as_ref().unwrap_or(&self.head.weight);
        let (learned, scale) = (self.positions.as_ref(), self.spec().embedding_scale);
        self.engine()
            .embed(table, learned, tokens, depths, scale, role)
    }

    /// The last norm.
    fn normed(&self, hidden: &Rows, session: &mut Session) -> Result<Rows, DecoderError> {
        let last = self.spec().layers.len();
        self.enter_place(2 * last);
        let after = session.times.of(Work::Norms, || {
            self.engine().norm(hidden, &self.norm, self.rows_as())
        })?;
        after.ok_or_else(|| DecoderError::NotFinite {
            place: before(last),
        })
    }
}

/// Takes the queries, keys and values of a layer's rows.
type Keep<'a> = dyn FnMut(usize, &Rows) -> Result<(), KernelError> + 'a;

impl Origin {
    pub fn of(snapshot: &Snapshot, dtype: DType, engine: &Engine) -> Self {
        Self {
            weights: Arc::clone(&snapshot.weights),
            adapter: snapshot.adapter.clone(),
            spec: Arc::new(snapshot.spec.clone()),
            dtype,
            engine: engine.clone(),
            is_left: Arc::default(),
        }
    }
}

fn stopped(stop: LayerError, place: impl Fn() -> String) -> DecoderError {
    match stop {
        LayerError::NotFinite => DecoderError::NotFinite { place: place() },
        LayerError::Kernel(error) => error.into(),
    }
}

pub(crate) fn within(layer: usize) -> String {
    format!("in layer {layer}")
}

/// The place whose rows come into a layer; after the last one, into the last norm.
pub(crate) fn before(layer: usize) -> String {
    match layer.checked_sub(1) {
        None => "in the embedding".to_owned(),
        Some(before) => format!("after layer {before}"),
    }
}
