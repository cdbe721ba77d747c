//! What is done to rows beside products and attention.

use super::memory::Buffer;
use super::product::{GpuMatrix, size};
use super::raw::{Address, Number};
use super::rows::GpuRows;
use super::source::Source;
use super::{Gpu, GpuError, Kernel};
use crate::vector::Vector;
use crate::{Activation, KernelError, Norm};
use bytemuck::{Pod, Zeroable};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Blocks of 256 threads for so many numbers, each thread taking more where they are very many.
pub(super) fn blocks(count: usize) -> u32 {
    size(count.div_ceil(256).min(1 << 16))
}

// The parameters of kernels, laid out as `crates/kernels/cuda/` has them.

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NormRows {
    hidden: Address,
    delta: Address,
    weight: Address,
    bias: Address,
    out: Address,
    out_wide: Address,
    broken: Address,
    width: u32,
    place: u32,
    scale: f32,
    eps: f32,
    centred: u32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Clamp {
    values: Address,
    count: u64,
    bound: f32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Activate {
    from: Address,
    out: Address,
    width: u32,
    gated: u32,
    kind: u32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Narrow {
    pub from: Address,
    pub out: Address,
    pub count: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Embed {
    table: Address,
    learned: Address,
    tokens: Address,
    depths: Address,
    out: Address,
    width: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct CopyRows {
    from: Address,
    to: Address,
    from_rows: Address,
    to_rows: Address,
    from_stride: u64,
    to_stride: u64,
    bytes: u32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct AddRows {
    to: Address,
    from: Address,
    to_rows: Address,
    weights: Address,
    width: u32,
    scale: f32,
    gates: u32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Widen {
    pub from: Address,
    pub scales: Address,
    pub out: Address,
    pub width: u32,
    pub end: u32,
}

/// Rows of one buffer to another: where they begin, how far apart they are, and which they are.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub address: Address,
    /// In bytes.
    pub stride: usize,
    /// By row, or in order.
    pub rows: Option<&'a Buffer>,
}

#[expect(clippy::cast_possible_truncation, reason = "kernels compute in f32")]
pub(super) fn short(value: f64) -> f32 {
    value as f32
}

/// What becomes of a norm.
#[derive(Clone, Copy)]
enum Output<'a> {
    /// Rows of their own, of the stream.
    Normed(&'a GpuRows),
    /// It is added to the stream, of rows beside it.
    Added { delta: &'a GpuRows, scale: f64 },
}

/// What rows are added with, by row.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    Ones,
    Of(&'a Buffer),
    /// The logistic function of these.
    Opened(&'a GpuRows),
}

impl Gpu {
    /// Copies rows of `bytes` each.
    pub(super) fn copy_rows(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        rows: usize,
        bytes: usize,
    ) -> Result<(), GpuError> {
        let list = |place: Place<'_>| place.rows.map_or(0, Buffer::address);
        let parameters = CopyRows {
            from: from.address,
            to: to.address,
            from_rows: list(from),
            to_rows: list(to),
            from_stride: from.stride as u64,
            to_stride: to.stride as u64,
            bytes: size(bytes),
            end: 0,
        };
        let kernel = Kernel::of(Source::Rows, "copy_rows", Number::F32);
        self.launch(kernel, [size(rows), 1, 1], 128, &parameters)
    }

    /// Copies bytes from one place of the device to another.
    pub(super) fn copy_within(
        &self,
        from: Address,
        to: Address,
        bytes: usize,
    ) -> Result<(), GpuError> {
        // In rows, so that each is short enough and blocks share the work.
        const ROW: usize = 1 << 14;
        let place = |address| Place {
            address,
            stride: ROW,
            rows: None,
        };
        let (whole, rest) = (bytes / ROW, bytes % ROW);
        if whole > 0 {
            self.copy_rows(place(from), place(to), whole, ROW)?;
        }
        if rest > 0 {
            let at = (whole * ROW) as Address;
            self.copy_rows(place(from + at), place(to + at), 1, rest)?;
        }
        Ok(())
    }

    /// The embeddings of tokens at their depths, with the positions that were learned.
    ///
    /// # Shapes
    /// Returns `[rows, hidden]` in `f32`.
    pub(crate) fn embed(
        self: &Arc<Self>,
        table: &GpuMatrix,
        learned: Option<&GpuMatrix>,
        tokens: &[u32],
        depths: &[u32],
        scale: f64,
        block: usize,
    ) -> Result<GpuRows, GpuError> {
        for table in [Some(table), learned].into_iter().flatten() {
            table.wait()?;
        }
        let (_whole, address) = table.whole()?;
        let learned = learned.map(GpuMatrix::whole).transpose()?;
        let width = table.inner();
        let out = GpuRows::new(self, tokens.len(), width, Number::F32, block)?;
        let (tokens, depths) = (self.upload(tokens)?, self.upload(depths)?);
        let parameters = Embed {
            table: address,
            learned: learned.as_ref().map_or(0, |(_, address)| *address),
            tokens: tokens.address(),
            depths: depths.address(),
            out: out.address(),
            width: size(width),
            scale: short(scale),
        };
        let kernel = Kernel::of(Source::Rows, "embed", table.number());
        self.launch(kernel, [size(out.rows), 1, 1], 256, &parameters)?;
        Ok(out)
    }

    /// The norm of rows, in what products multiply or in `f32`.
    pub(crate) fn norm(
        self: &Arc<Self>,
        x: &GpuRows,
        norm: &Norm,
        number: Number,
    ) -> Result<GpuRows, KernelError> {
        x.is(Number::F32)?;
        let out = x.like(x.width, number)?;
        self.run_norm(x, norm, Output::Normed(&out))?;
        Ok(out)
    }

    /// `hidden += scale · norm(delta)`.
    pub(crate) fn add_normed(
        self: &Arc<Self>,
        hidden: &GpuRows,
        delta: &GpuRows,
        scale: f64,
        norm: &Norm,
    ) -> Result<(), KernelError> {
        let added = Output::Added { delta, scale };
        self.run_norm(hidden, norm, added)
    }

    fn run_norm(
        self: &Arc<Self>,
        hidden: &GpuRows,
        norm: &Norm,
        output: Output<'_>,
    ) -> Result<(), KernelError> {
        let (other, delta, scale, address, element) = match output {
            Output::Normed(out) => (out, 0, 0.0, out.address(), out.number),
            Output::Added { delta, scale } => {
                delta.is(Number::F32)?;
                (delta, delta.address(), scale, 0, Number::F32)
            }
        };
        hidden.is(Number::F32)?;
        if other.shape() != hidden.shape() {
            return Err(GpuError::Shape("a norm of rows of two shapes".into()).into());
        }
        let (weight, bias) = norm.parts(self, hidden.width)?;
        let wide = element == Number::F32;
        let parameters = NormRows {
            hidden: hidden.address(),
            delta,
            weight,
            bias,
            out: if wide { 0 } else { address },
            out_wide: if wide { address } else { 0 },
            broken: self.broken,
            width: size(hidden.width),
            place: self.place.load(Ordering::Relaxed),
            scale: short(scale),
            eps: short(norm.eps),
            centred: u32::from(norm.centred),
            end: 0,
        };
        let kernel = Kernel::of(Source::Norm, "norm_rows", element);
        Ok(self.launch(kernel, [size(hidden.rows), 1, 1], 256, &parameters)?)
    }

    /// `hidden += scale · delta`.
    pub(crate) fn add_scaled(
        &self,
        hidden: &GpuRows,
        delta: &GpuRows,
        scale: f64,
    ) -> Result<(), GpuError> {
        self.add_rows(hidden, delta, None, Weights::Ones, scale)
    }

    /// `to[row] += scale · weight · from`; each row is named once.
    pub(super) fn add_rows(
        &self,
        to: &GpuRows,
        from: &GpuRows,
        rows: Option<&Buffer>,
        weights: Weights<'_>,
        scale: f64,
    ) -> Result<(), GpuError> {
        to.is(Number::F32)?;
        from.is(Number::F32)?;
        if to.width != from.width || rows.is_none() && to.rows != from.rows {
            return Err(GpuError::Shape("rows of two shapes are added".into()));
        }
        let parameters = AddRows {
            to: to.address(),
            from: from.address(),
            to_rows: rows.map_or(0, Buffer::address),
            weights: match weights {
                Weights::Ones => 0,
                Weights::Of(weights) => weights.address(),
                Weights::Opened(gates) => gates.address(),
            },
            width: size(to.width),
            scale: short(scale),
            gates: u32::from(matches!(weights, Weights::Opened(_))),
            end: 0,
        };
        let kernel = Kernel::of(Source::Rows, "add_rows", Number::F32);
        self.launch(kernel, [size(from.rows), 1, 1], 256, &parameters)
    }

    /// `to[row] += weight · from`, for rows and weights of the host.
    pub(crate) fn add_weighted(
        self: &Arc<Self>,
        to: &GpuRows,
        from: &GpuRows,
        rows: Option<&[u32]>,
        weights: &[f32],
    ) -> Result<(), GpuError> {
        let rows = rows.map(|rows| self.upload(rows)).transpose()?;
        let weights = self.upload(weights)?;
        self.add_rows(to, from, rows.as_ref(), Weights::Of(&weights), 1.0)
    }

    /// `to[row] += σ(gate) · from`.
    ///
    /// # Shapes
    /// `gates`: `[rows, 1]` in `f32`.
    pub(crate) fn add_gated(
        &self,
        to: &GpuRows,
        from: &GpuRows,
        gates: &GpuRows,
    ) -> Result<(), GpuError> {
        gates.is(Number::F32)?;
        if gates.shape() != (to.rows, 1) {
            return Err(GpuError::Shape("gates of other rows".into()));
        }
        self.add_rows(to, from, None, Weights::Opened(gates), 1.0)
    }

    /// Rows of zeros.
    pub(crate) fn zeros_like(self: &Arc<Self>, x: &GpuRows) -> Result<GpuRows, GpuError> {
        let out = x.like(x.width, Number::F32)?;
        self.work.fill(out.address(), 0, out.bytes())?;
        Ok(out)
    }

    /// Bounds every number in place.
    pub(crate) fn clamp(&self, rows: &GpuRows, bound: f64) -> Result<(), GpuError> {
        let count = rows.rows * rows.width;
        let parameters = Clamp {
            values: rows.address(),
            count: count as u64,
            bound: short(bound),
            end: 0,
        };
        let kernel = Kernel::of(Source::Rows, "clamp", rows.number);
        self.launch(kernel, [blocks(count), 1, 1], 256, &parameters)
    }

    /// `activation(x · weightᵀ + bias)`; of a gated weight, `activation(gate) · up`.
    pub(crate) fn activated(
        self: &Arc<Self>,
        weight: &GpuMatrix,
        x: &GpuRows,
        bias: Option<&Vector>,
        activation: Activation,
    ) -> Result<GpuRows, KernelError> {
        let inner = weight.product(x, bias, weight.number())?;
        let width = if weight.is_gated() {
            inner.width / 2
        } else {
            inner.width
        };
        let out = inner.like(width, inner.number)?;
        let parameters = Activate {
            from: inner.address(),
            out: out.address(),
            width: size(width),
            gated: u32::from(weight.is_gated()),
            kind: activation.number(),
            end: 0,
        };
        let kernel = Kernel::of(Source::Rows, "activate", inner.number);
        // Two thousand columns a block, of halves.
        let grid = [size(width.div_ceil(2048)), size(out.rows), 1];
        let begun = self.is_timed().then(|| self.mark()).transpose()?;
        self.launch(kernel, grid, 256, &parameters)?;
        if let Some(begun) = begun {
            let ended = self.mark()?;
            let mut marks = self
                .activations
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            marks.push((begun, ended));
        }
        Ok(out)
    }

    /// Some rows, whose products have `block` rows.
    pub(crate) fn select(
        self: &Arc<Self>,
        x: &GpuRows,
        rows: &[u32],
        block: usize,
    ) -> Result<GpuRows, GpuError> {
        let out = GpuRows::new(self, rows.len(), x.width, x.number, block)?;
        let rows = self.upload(rows)?;
        let bytes = x.width * x.number.bytes();
        let from = Place {
            address: x.address(),
            stride: bytes,
            rows: Some(&rows),
        };
        let to = Place {
            address: out.address(),
            stride: bytes,
            rows: None,
        };
        self.copy_rows(from, to, out.rows, bytes)?;
        Ok(out)
    }

    /// Rows one after the other, whose products have `block` rows.
    pub(crate) fn joined(
        self: &Arc<Self>,
        parts: &[&GpuRows],
        block: usize,
    ) -> Result<GpuRows, GpuError> {
        let Some(first) = parts.first() else {
            return Err(GpuError::Shape("no rows are joined".into()));
        };
        let rows = parts.iter().map(|part| part.rows).sum();
        let out = GpuRows::new(self, rows, first.width, first.number, block)?;
        let mut at = out.address();
        for part in parts {
            part.is(first.number)?;
            self.copy_within(part.address(), at, part.bytes())?;
            at += part.bytes() as Address;
        }
        Ok(out)
    }

    /// A copy that is changed by itself.
    pub(crate) fn copied(self: &Arc<Self>, x: &GpuRows) -> Result<GpuRows, GpuError> {
        self.joined(&[x], x.block)
    }
}

impl Norm {
    /// Where the weight and the bias are on a device; 0 where there is no bias.
    pub(super) fn parts(
        &self,
        gpu: &Arc<Gpu>,
        width: usize,
    ) -> Result<(Address, Address), KernelError> {
        let kinds = self.weights.len() / width.max(1);
        if !(1..=2).contains(&kinds) || kinds * width != self.weights.len() {
            let found = self.weights.len();
            return Err(
                GpuError::Shape(format!("a norm of {found} numbers in rows of {width}")).into(),
            );
        }
        let weight = self.weights.on_gpu(gpu, Number::F32)?.address();
        let bias = (kinds == 2).then(|| weight + (width * size_of::<f32>()) as Address);
        Ok((weight, bias.unwrap_or(0)))
    }
}
