//! What becomes of the sums of a product while they are in cache: a bias, an activation, a gate, the residual stream.

use super::drive::Finish;
use super::isa::Isa;
use super::panels::PANEL;
use crate::activation::{Activation, apply};
use crate::storage::narrowed;
use half::bf16;
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Room for a result, not written yet.
pub(super) struct Output<T> {
    values: Vec<T>,
    start: *mut T,
    length: usize,
}

impl<T: Copy> Output<T> {
    pub fn new(length: usize) -> Self {
        let mut values = Vec::with_capacity(length);
        let start = values.as_mut_ptr();
        Self {
            values,
            start,
            length,
        }
    }

    pub fn shared(&self) -> Shared<'_, T> {
        Shared {
            start: self.start,
            length: self.length,
            lives: PhantomData,
        }
    }

    /// The values.
    ///
    /// # Safety
    /// Every one of them was written.
    #[expect(unsafe_code, reason = "its caller has written them")]
    pub unsafe fn written(mut self) -> Vec<T> {
        unsafe { self.values.set_len(self.length) };
        self.values
    }
}

/// Values that tasks write at the same time, each its own.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    lives: PhantomData<&'a T>,
}

#[expect(
    unsafe_code,
    reason = "SAFETY: whoever writes through it names the values that are its own alone"
)]
unsafe impl<T: Send> Send for Shared<'_, T> {}
#[expect(
    unsafe_code,
    reason = "SAFETY: whoever writes through it names the values that are its own alone"
)]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T: Copy> Shared<'a, T> {
    pub fn of(values: &'a mut [T]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            length: values.len(),
            lives: PhantomData,
        }
    }

    /// Room for some neighbouring values.
    ///
    /// # Safety
    /// No other task has them.
    ///
    /// # Panics
    /// Where there are no such values.
    #[expect(unsafe_code, reason = "its caller owns the values")]
    unsafe fn room(&self, at: Range<usize>) -> &'a mut [MaybeUninit<T>] {
        assert!(at.start <= at.end && at.end <= self.length);
        let start = unsafe { self.start.add(at.start) };
        unsafe { std::slice::from_raw_parts_mut(start.cast(), at.len()) }
    }

    /// Some neighbouring values.
    ///
    /// # Safety
    /// No other task has them, and they have been written before.
    ///
    /// # Panics
    /// Where there are no such values.
    #[expect(unsafe_code, reason = "its caller owns the values")]
    unsafe fn get(&self, at: Range<usize>) -> &'a mut [T] {
        assert!(at.start <= at.end && at.end <= self.length);
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at.start), at.len()) }
    }
}

/// The places of a tile in a row-major result, row by row: where they begin, how many there are, and their sums.
fn places<'s>(
    rows: &Range<usize>,
    first: usize,
    count: usize,
    width: usize,
    sums: &'s [f32],
) -> impl Iterator<Item = (Range<usize>, &'s [f32])> {
    let stride = sums.len() / rows.len();
    let count = count.min(width - first);
    rows.clone()
        .zip(sums.chunks_exact(stride))
        .map(move |(row, sums)| {
            let at = row * width + first;
            (at..at + count, sums)
        })
}

/// `out = sums + bias`.
pub(super) struct Store<'a> {
    pub out: Shared<'a, f32>,
    pub width: usize,
    pub bias: Option<&'a [f32]>,
}

impl Finish for Store<'_> {
    fn finish(&self, _path: Isa, rows: Range<usize>, panels: Range<usize>, sums: &[f32]) {
        let first = panels.start * PANEL;
        for (at, sums) in places(&rows, first, panels.len() * PANEL, self.width, sums) {
            #[expect(unsafe_code, reason = "SAFETY: each row and panel is finished once")]
            let out = unsafe { self.out.room(at) };
            let out = out.write_copy_of_slice(&sums[..out.len()]);
            add_bias(out, self.bias, first);
        }
    }
}

fn add_bias(out: &mut [f32], bias: Option<&[f32]>, first: usize) {
    if let Some(bias) = bias {
        for (out, bias) in out.iter_mut().zip(&bias[first..]) {
            *out += bias;
        }
    }
}

/// `hidden += scale · (sums + bias)`.
pub(super) struct Add<'a> {
    pub hidden: Shared<'a, f32>,
    pub width: usize,
    pub bias: Option<&'a [f32]>,
    pub scale: f32,
}

impl Finish for Add<'_> {
    fn finish(&self, path: Isa, rows: Range<usize>, panels: Range<usize>, sums: &[f32]) {
        let first = panels.start * PANEL;
        for (at, sums) in places(&rows, first, panels.len() * PANEL, self.width, sums) {
            #[expect(unsafe_code, reason = "SAFETY: each row and panel is finished once")]
            let hidden = unsafe { self.hidden.get(at) };
            path.dispatch(AddRow {
                hidden,
                sums,
                bias: self.bias.map(|bias| &bias[first..]),
                scale: self.scale,
            });
        }
    }
}

struct AddRow<'a> {
    hidden: &'a mut [f32],
    sums: &'a [f32],
    bias: Option<&'a [f32]>,
    scale: f32,
}

impl WithSimd for AddRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        match self.bias {
            Some(bias) => {
                for ((hidden, sum), bias) in self.hidden.iter_mut().zip(self.sums).zip(bias) {
                    *hidden += (sum + bias) * self.scale;
                }
            }
            None => {
                for (hidden, sum) in self.hidden.iter_mut().zip(self.sums) {
                    *hidden += sum * self.scale;
                }
            }
        }
    }
}

/// A result in what the next product multiplies.
#[derive(Clone, Copy)]
pub(super) enum Written<'a> {
    F32(Shared<'a, f32>),
    Bf16(Shared<'a, bf16>),
}

/// `out = activation(sums + bias)`; where there are gates, of the gate, times the up beside it.
pub(super) struct Activated<'a> {
    pub out: Written<'a>,
    pub width: usize,
    /// As wide as the result; as gates and then ups.
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
    pub gated: bool,
}

impl Finish for Activated<'_> {
    fn finish(&self, path: Isa, rows: Range<usize>, panels: Range<usize>, sums: &[f32]) {
        path.dispatch(ActivateTile {
            to: self,
            rows,
            panels,
            sums,
        });
    }
}

/// A tile. A struct, so that it is inlined into the vector context.
struct ActivateTile<'a> {
    to: &'a Activated<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    sums: &'a [f32],
}

impl WithSimd for ActivateTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let step = if self.to.gated { 2 } else { 1 };
        let stride = self.sums.len() / self.rows.len() / PANEL;
        let (sums, _) = self.sums.as_chunks::<PANEL>();
        for (row, sums) in self.rows.clone().zip(sums.chunks_exact(stride)) {
            let panels = (self.panels.start / step..self.panels.end / step).zip(sums.chunks(step));
            for (panel, sums) in panels {
                self.to.write(row, panel * PANEL, sums);
            }
        }
    }
}

impl Activated<'_> {
    /// Sixteen values of a row: `sums` are theirs, or of their gates and then of their ups.
    #[inline(always)]
    fn write(&self, row: usize, first: usize, sums: &[[f32; PANEL]]) {
        let count = PANEL.min(self.width - first);
        let mut values = self.biased(sums[0], first, count);
        apply(self.activation, &mut values);
        if self.gated {
            let ups = self.biased(sums[1], self.width + first, count);
            for (value, up) in values.iter_mut().zip(&ups) {
                *value *= up;
            }
        }
        let at = row * self.width + first;
        let at = at..at + count;
        #[expect(unsafe_code, reason = "SAFETY: each row and panel is finished once")]
        match self.out {
            Written::F32(out) => put(unsafe { out.room(at) }, &values),
            Written::Bf16(out) => put(unsafe { out.room(at) }, &values.map(narrowed)),
        }
    }

    /// The sums of a panel with their bias.
    #[inline(always)]
    fn biased(&self, mut sums: [f32; PANEL], first: usize, count: usize) -> [f32; PANEL] {
        if let Some(bias) = self.bias {
            for (sum, bias) in sums.iter_mut().zip(&bias[first..first + count]) {
                *sum += bias;
            }
        }
        sums
    }
}

/// Copies the values of a panel that are there. Whole ones need no call.
#[inline(always)]
fn put<T: Copy>(to: &mut [MaybeUninit<T>], values: &[T; PANEL]) {
    let count = to.len();
    if let Some((to, [])) = to.split_first_chunk_mut::<PANEL>() {
        *to = values.map(MaybeUninit::new);
    } else {
        to.write_copy_of_slice(&values[..count]);
    }
}
