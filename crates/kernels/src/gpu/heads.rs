//! Norms of heads and their rotation by depth, on a device.

use super::memory::Buffer;
use super::operations::short;
use super::product::size;
use super::raw::Address;
use super::rows::GpuRows;
use super::source::Source;
use super::{Gpu, GpuError, Kernel};
use crate::attention::AttentionShape;
use crate::{KernelError, Norm, RopeTable};
use bytemuck::{Pod, Zeroable};
use std::sync::Arc;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Turn {
    rows: Address,
    weight: Address,
    bias: Address,
    cos: Address,
    sin: Address,
    depths: Address,
    count: u64,
    stride: u32,
    heads: u32,
    head_dim: u32,
    half: u32,
    first: u32,
    eps: f32,
    centred: u32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NormGroups {
    rows: Address,
    weight: Address,
    bias: Address,
    starts: Address,
    stride: u32,
    eps: f32,
    centred: u32,
    end: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Rotate {
    rows: Address,
    cos: Address,
    sin: Address,
    depths: Address,
    stride: u32,
    heads: u32,
    head_dim: u32,
    half: u32,
}

/// What a norm of heads is taken over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// There is none.
    Nothing,
    /// Each head.
    Heads,
    /// All heads of queries, and all of keys.
    Groups,
    /// Something else.
    Others,
}

impl Gpu {
    /// Norms queries and keys, and rotates them by depth, in place: in one kernel where heads have the shape for it.
    pub(crate) fn turn(
        self: &Arc<Self>,
        rows: &GpuRows,
        shape: AttentionShape,
        norm: Option<(&Norm, &[usize])>,
        rope: Option<(&RopeTable, &Buffer)>,
    ) -> Result<(), KernelError> {
        let (heads, head_dim) = (shape.heads + shape.kv_heads, shape.head_dim);
        let over = match norm {
            None => Over::Nothing,
            Some((_, groups)) if *groups == vec![head_dim; heads] => Over::Heads,
            Some((_, [queries, keys]))
                if (*queries, *keys) == (shape.heads * head_dim, shape.kv_heads * head_dim) =>
            {
                Over::Groups
            }
            Some(_) => Over::Others,
        };
        let half = rope.map_or(head_dim / 2, |(table, _)| table.half());
        let whole = 2 * half == head_dim && (half / 8).is_power_of_two() && half <= 256;
        let in_eights = [half, head_dim, rows.width]
            .iter()
            .all(|width| width.is_multiple_of(8));
        let fits = half > 0 && in_eights;
        if !fits || over == Over::Others || over != Over::Nothing && !whole {
            if let Some((norm, groups)) = norm {
                self.norm_groups(rows, groups, norm)?;
            }
            return match rope {
                Some((table, depths)) => self.rotate(rows, heads, head_dim, table, depths),
                None => Ok(()),
            };
        }
        if norm.is_none() && rope.is_none() {
            return Ok(());
        }
        if heads * head_dim > rows.width || 2 * half > head_dim {
            return Err(GpuError::Shape("rows that cannot be turned".into()).into());
        }
        let parts = norm.map(|(norm, _)| norm.parts(self, heads * head_dim));
        let (weight, bias) = parts.transpose()?.unwrap_or((0, 0));
        let angles = rope.map(|(table, _)| table.on_gpu(self)).transpose()?;
        let (cos, sin) = angles.unwrap_or((0, 0));
        let parameters = Turn {
            rows: rows.address(),
            weight,
            bias,
            cos,
            sin,
            depths: rope.map_or(0, |(_, depths)| depths.address()),
            count: rows.rows as u64,
            stride: size(rows.width),
            heads: size(heads),
            head_dim: size(head_dim),
            half: size(half),
            first: size(shape.heads),
            eps: norm.map_or(0.0, |(norm, _)| short(norm.eps)),
            centred: norm.map_or(0, |(norm, _)| u32::from(norm.centred)),
            end: 0,
        };
        let (name, grid) = if over == Over::Groups {
            ("turn_groups", [size(rows.rows), 2, 1])
        } else {
            let items = rows.rows * heads * (half / 8);
            ("turn_heads", [size(items.div_ceil(256)), 1, 1])
        };
        let kernel = Kernel::of(Source::Heads, name, rows.number);
        Ok(self.launch(kernel, grid, 256, &parameters)?)
    }

    /// Norms neighbouring groups of the first columns of each row in place, of any widths.
    pub(super) fn norm_groups(
        self: &Arc<Self>,
        rows: &GpuRows,
        groups: &[usize],
        norm: &Norm,
    ) -> Result<(), KernelError> {
        let mut starts = vec![0u32];
        for width in groups {
            starts.push(starts[starts.len() - 1] + size(*width));
        }
        let covered = groups.iter().sum::<usize>();
        if covered > rows.width {
            return Err(GpuError::Shape("groups wider than their rows".into()).into());
        }
        let (weight, bias) = norm.parts(self, covered)?;
        let starts = self.upload(&starts)?;
        let parameters = NormGroups {
            rows: rows.address(),
            weight,
            bias,
            starts: starts.address(),
            stride: size(rows.width),
            eps: short(norm.eps),
            centred: u32::from(norm.centred),
            end: 0,
        };
        let kernel = Kernel::of(Source::Norm, "norm_groups", rows.number);
        let grid = [size(rows.rows), size(groups.len()), 1];
        Ok(self.launch(kernel, grid, 128, &parameters)?)
    }

    /// Rotates the first heads of each row in place, of any width.
    pub(super) fn rotate(
        self: &Arc<Self>,
        rows: &GpuRows,
        heads: usize,
        head_dim: usize,
        table: &RopeTable,
        depths: &Buffer,
    ) -> Result<(), KernelError> {
        let half = table.half();
        if head_dim < 2 * half || heads * head_dim > rows.width {
            return Err(GpuError::Shape("rows that cannot be turned".into()).into());
        }
        let (cos, sin) = table.on_gpu(self)?;
        let parameters = Rotate {
            rows: rows.address(),
            cos,
            sin,
            depths: depths.address(),
            stride: size(rows.width),
            heads: size(heads),
            head_dim: size(head_dim),
            half: size(half),
        };
        let kernel = Kernel::of(Source::Rows, "rotate", rows.number);
        if half == 0 {
            return Ok(());
        }
        Ok(self.launch(kernel, [size(rows.rows), 1, 1], 256, &parameters)?)
    }
}
