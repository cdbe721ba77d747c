//! What a checkpoint's weights take in memory, known before any is read.

use crate::decoder::Decoder;
use crate::parameters::Loader;
use crate::stream::Origin;
use candle_core::DType;
use concord_checkpoint::{LayerParameters, MlpKind, Order, Parameter, Product, Snapshot};
use concord_kernels::{Engine, WeightFormat};

/// Bytes of weights as a decoder holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSizes {
    /// Embedding, learned positions, head.
    pub outer: u64,
    /// By layer.
    pub layers: Vec<u64>,
    /// The most that a layer takes more while it is read than once it is there: each matrix is in memory as it is in the file
    /// until it is packed.
    pub reading: u64,
    /// The head while it is read, as it is in the file and packed; it is read first.
    pub reading_head: u64,
}

impl WeightSizes {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.outer + self.layers.iter().sum::<u64>()
    }

    /// What they take more where they are loaded already: nothing, but for layers that are streamed, which come again.
    #[must_use]
    pub fn once_loaded(&self, streamed: bool) -> Self {
        let layers = self.layers.iter();
        Self {
            outer: 0,
            layers: layers
                .map(|layer| if streamed { *layer } else { 0 })
                .collect(),
            reading: if streamed { self.reading } else { 0 },
            reading_head: 0,
        }
    }

    /// The largest layer.
    pub fn largest_layer(&self) -> u64 {
        self.layers.iter().copied().max().unwrap_or(0)
    }
}

impl Decoder {
    /// What the weights of a snapshot will take as [`Decoder::load`] holds them, without reading any. Where an adapter is put on a
    /// base that is `loaded`, what it leaves alone takes nothing more.
    pub fn weight_sizes(
        snapshot: &Snapshot,
        dtype: DType,
        engine: &Engine,
        loaded: bool,
    ) -> WeightSizes {
        let origin = Origin::of(snapshot, dtype, engine);
        let loader = origin.loader();
        let outer = snapshot.spec.outer();
        let mut sizes = WeightSizes {
            outer: 0,
            layers: Vec::new(),
            reading: 0,
            reading_head: 0,
        };
        let head = outer.head.as_ref().unwrap_or(&outer.embedding);
        let taken = |parameter: &Parameter, bytes: u64| {
            let adapter = snapshot.adapter.as_ref();
            let shared = loaded && !adapter.is_some_and(|adapter| adapter.changes(parameter));
            if shared { 0 } else { bytes }
        };
        let of_head = engine_bytes(&loader, head, WeightFormat::Native);
        sizes.outer += taken(head, of_head);
        sizes.reading_head = taken(head, of_head + in_file(&loader, head));
        let tables = outer.head.as_ref().map(|_| &outer.embedding);
        for table in tables.into_iter().chain(&outer.positions) {
            sizes.outer += taken(table, table_bytes(&loader, table));
        }
        for index in 0..snapshot.spec.layers.len() {
            let (mut bytes, mut most) = (0, 0);
            for weight in weights(&snapshot.spec.layer(index)) {
                bytes += taken(weight, packed(&loader, weight));
                most = most.max(bytes + taken(weight, reading(&loader, weight)));
            }
            sizes.reading = sizes.reading.max(most.saturating_sub(bytes));
            sizes.layers.push(bytes);
        }
        if engine.gpu().is_some() {
            // What the host reads is not on the device; a weight of eight bits is widened there while it multiplies.
            let layers = 0..snapshot.spec.layers.len();
            let whole = layers.flat_map(|index| {
                let layer = snapshot.spec.layer(index);
                let whole = |weight| engine_bytes(&loader, weight, WeightFormat::Native);
                weights(&layer).into_iter().map(whole).collect::<Vec<_>>()
            });
            sizes.reading = whole.max().unwrap_or(0);
            sizes.reading_head = 0;
        }
        sizes
    }
}

/// The matrices of a layer; vectors are small.
fn weights(layer: &LayerParameters) -> Vec<&Parameter> {
    let mut products: Vec<&Product> = vec![&layer.qkv, &layer.output];
    match &layer.mlp {
        MlpKind::Dense(dense) => products.extend([&dense.up, &dense.down]),
        MlpKind::Experts(mixture) => {
            products.push(&mixture.router);
            for expert in &mixture.experts {
                products.extend([&expert.up, &expert.down]);
            }
            if let Some((expert, gate)) = &mixture.shared {
                products.extend([&expert.up, &expert.down, gate]);
            }
        }
    }
    products.iter().map(|product| &product.weight).collect()
}

fn packed(loader: &Loader<'_>, parameter: &Parameter) -> u64 {
    engine_bytes(loader, parameter, loader.engine.held())
}

fn engine_bytes(loader: &Loader<'_>, parameter: &Parameter, held: WeightFormat) -> u64 {
    let inner = parameter.shape.get(1).copied().unwrap_or(1);
    let (stored, dtype) = (loader.held(parameter), loader.dtype);
    let shape = (parameter.shape[0], inner);
    loader.engine.weight_bytes(shape, stored, dtype, held) as u64
}

/// A table that is looked up: on the host as it is in the file, on a GPU as products multiply.
fn table_bytes(loader: &Loader<'_>, parameter: &Parameter) -> u64 {
    match loader.engine.gpu() {
        Some(_) => engine_bytes(loader, parameter, WeightFormat::Native),
        None => in_file(loader, parameter),
    }
}

fn in_file(loader: &Loader<'_>, parameter: &Parameter) -> u64 {
    let count: usize = parameter.shape.iter().product();
    (count * loader.held(parameter).size_in_bytes()) as u64
}

/// A matrix as it is read, and once more where its rows are put in another order.
fn reading(loader: &Loader<'_>, parameter: &Parameter) -> u64 {
    let plain = in_file(loader, parameter);
    let turned = |order: Order| matches!(order, Order::Transposed | Order::Regrouped { .. });
    let copied = parameter.sources.iter().any(|source| turned(source.order));
    plain * if copied { 2 } else { 1 }
}
