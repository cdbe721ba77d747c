//! Mixtures of experts on a device: nothing of them goes to the host.

use super::memory::Buffer;
use super::product::size;
use super::raw::{Address, Number};
use super::rows::GpuRows;
use super::source::Source;
use super::{Gpu, GpuError, Kernel};
use crate::engine::Weight;
use crate::{Activation, KernelError};
use bytemuck::{Pod, Zeroable};
use std::sync::Arc;

/// The kernels of a mixture; where they come out wrong each expert is a product of its own, and the host says where rows go.
pub(super) const EXPERTS: &str = "experts_up";
/// Rows and outputs of a tile, inputs of a step and steps on their way, as in `experts.cu`.
const TILE: usize = 128;
const DEPTH: usize = 32;
const STAGES: usize = 4;
/// The most experts, and the most of them that a row goes through.
const MOST: (usize, usize) = (512, 32);

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Route {
    logits: Address,
    chosen: Address,
    weights: Address,
    rows: u32,
    experts: u32,
    choices: u32,
    normalised: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Gather {
    chosen: Address,
    lists: Address,
    ranks: Address,
    counts: Address,
    rows: u32,
    choices: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct TileStarts {
    counts: Address,
    starts: Address,
    experts: u32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Tiles {
    rows: Address,
    weights: Address,
    out: Address,
    lists: Address,
    counts: Address,
    starts: Address,
    count: u32,
    experts: u32,
    inner: u32,
    outer: u32,
    kind: u32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Combine {
    outs: Address,
    chosen: Address,
    ranks: Address,
    starts: Address,
    weights: Address,
    sums: Address,
    width: u32,
    choices: u32,
}

/// How rows choose their experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choosing {
    /// How many each takes.
    pub choices: usize,
    /// Whether the weights of those sum to one.
    pub normalised: bool,
}

/// The experts of a layer on a device: gates and ups, and downs.
pub struct GpuExperts {
    weights: Vec<[Arc<Weight>; 2]>,
    /// Where they are, by expert.
    ups: Buffer,
    downs: Buffer,
    hidden: usize,
    size: usize,
    number: Number,
}

impl GpuExperts {
    /// Of experts whose weights are on a device; `None` where they do not have the shape for it.
    ///
    /// # Errors
    /// [`GpuError`].
    pub(crate) fn new(
        gpu: &Arc<Gpu>,
        weights: Vec<[Arc<Weight>; 2]>,
    ) -> Result<Option<Self>, GpuError> {
        let of = |weight: &Weight| match weight {
            Weight::Gpu(matrix) => matrix.plain_address().map(|address| {
                let shape = (matrix.outer(), matrix.inner());
                (address, shape, matrix.number(), matrix.is_gated())
            }),
            _ => None,
        };
        let Some([first, _]) = weights.first() else {
            return Ok(None);
        };
        let Some((_, (outer, hidden), number, _)) = of(first) else {
            return Ok(None);
        };
        let inner = outer / 2;
        let (mut ups, mut downs) = (Vec::new(), Vec::new());
        for [up, down] in &weights {
            match (of(up), of(down)) {
                (Some((up, up_shape, of_up, true)), Some((down, down_shape, of_down, false)))
                    if (up_shape, down_shape) == ((outer, hidden), (hidden, inner))
                        && (of_up, of_down) == (number, number) =>
                {
                    ups.push(up);
                    downs.push(down);
                }
                _ => return Ok(None),
            }
        }
        let fits = hidden.is_multiple_of(8) && inner.is_multiple_of(8) && outer.is_multiple_of(2);
        if number == Number::F32 || !fits || weights.len() > MOST.0 {
            return Ok(None);
        }
        Ok(Some(Self {
            ups: gpu.upload(&ups)?,
            downs: gpu.upload(&downs)?,
            weights,
            hidden,
            size: inner,
            number,
        }))
    }

    /// The work goes on when all weights are there.
    fn wait(&self) -> Result<(), GpuError> {
        for weight in self.weights.iter().flatten() {
            if let Weight::Gpu(matrix) = &**weight {
                matrix.wait()?;
            }
        }
        Ok(())
    }
}

/// Where rows go, and with what weight.
struct Routes {
    chosen: Buffer,
    weights: Buffer,
    lists: Buffer,
    ranks: Buffer,
    counts: Buffer,
    starts: Buffer,
    /// No more tiles than these.
    tiles: usize,
}

impl Gpu {
    /// Rows through their experts, whose outputs are added in the order of their numbers; `None` where that is left to products of
    /// single experts.
    ///
    /// # Shapes
    /// `x`: `[rows, hidden]`; `logits`: `[rows, experts]` in `f32`. Returns `[rows, hidden]` in `f32`.
    pub(crate) fn mixture(
        self: &Arc<Self>,
        x: &GpuRows,
        logits: &GpuRows,
        experts: &GpuExperts,
        choosing: Choosing,
        activation: Activation,
    ) -> Result<Option<GpuRows>, KernelError> {
        let shared = STAGES * 2 * TILE * (DEPTH + 8) * 2;
        let fits = shared <= self.context.properties.shared_bytes && choosing.choices <= MOST.1;
        if self.is_plain(EXPERTS) || !fits {
            return Ok(None);
        }
        if x.width != experts.hidden || logits.width != experts.weights.len() {
            return Err(GpuError::Shape("rows of another mixture".into()).into());
        }
        let sums = x.like(x.width, Number::F32)?;
        if x.rows == 0 {
            return Ok(Some(sums));
        }
        experts.wait()?;
        let x = &self.narrowed(x, experts.number)?;
        let routes = self.routes(logits, choosing)?;
        let packed = routes.tiles * TILE;
        let inner = self.buffer(packed * experts.size * experts.number.bytes())?;
        let outs = self.buffer(packed * experts.hidden * size_of::<f32>())?;
        let up = Tiles {
            rows: x.address(),
            weights: experts.ups.address(),
            out: inner.address(),
            lists: routes.lists.address(),
            counts: routes.counts.address(),
            starts: routes.starts.address(),
            count: size(x.rows),
            experts: size(experts.weights.len()),
            inner: size(experts.hidden),
            outer: size(experts.size),
            kind: activation.number(),
            end: 0,
        };
        let down = Tiles {
            rows: inner.address(),
            weights: experts.downs.address(),
            out: outs.address(),
            lists: 0,
            inner: size(experts.size),
            outer: size(experts.hidden),
            ..up
        };
        for (name, parameters, columns) in [(EXPERTS, up, TILE / 2), ("experts_down", down, TILE)] {
            let kernel = Kernel {
                shared,
                ..Kernel::of(Source::Experts, name, experts.number)
            };
            let across = (parameters.outer as usize).div_ceil(columns);
            let grid = [size(across), size(routes.tiles), 1];
            self.launch(kernel, grid, 256, &parameters)?;
        }
        let combine = Combine {
            outs: outs.address(),
            chosen: routes.chosen.address(),
            ranks: routes.ranks.address(),
            starts: routes.starts.address(),
            weights: routes.weights.address(),
            sums: sums.address(),
            width: size(experts.hidden),
            choices: size(choosing.choices),
        };
        let kernel = Kernel::of(Source::Experts, "combine", Number::F32);
        self.launch(kernel, [size(x.rows), 1, 1], 256, &combine)?;
        Ok(Some(sums))
    }

    fn routes(
        self: &Arc<Self>,
        logits: &GpuRows,
        Choosing {
            choices,
            normalised,
        }: Choosing,
    ) -> Result<Routes, GpuError> {
        logits.is(Number::F32)?;
        let (rows, experts) = logits.shape();
        let entries = rows * choices;
        let words = |count: usize| self.buffer(count * size_of::<u32>());
        let routes = Routes {
            chosen: words(entries)?,
            weights: words(entries)?,
            lists: words(experts * rows)?,
            ranks: words(entries)?,
            counts: words(experts)?,
            starts: words(experts + 1)?,
            tiles: entries / TILE + experts.min(entries),
        };
        let kernel = |name| Kernel::of(Source::Experts, name, Number::F32);
        let route = Route {
            logits: logits.address(),
            chosen: routes.chosen.address(),
            weights: routes.weights.address(),
            rows: size(rows),
            experts: size(experts),
            choices: size(choices),
            normalised: u32::from(normalised),
        };
        self.launch(kernel("route"), [size(rows.div_ceil(4)), 1, 1], 128, &route)?;
        let gather = Gather {
            chosen: routes.chosen.address(),
            lists: routes.lists.address(),
            ranks: routes.ranks.address(),
            counts: routes.counts.address(),
            rows: size(rows),
            choices: size(choices),
        };
        self.launch(kernel("gather_rows"), [size(experts), 1, 1], 1024, &gather)?;
        let starts = TileStarts {
            counts: routes.counts.address(),
            starts: routes.starts.address(),
            experts: size(experts),
            end: 0,
        };
        self.launch(kernel("tile_starts"), [1, 1, 1], 32, &starts)?;
        Ok(routes)
    }
}
