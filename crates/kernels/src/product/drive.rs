//! One product as tasks: a block of rows by a group of panels each. Products by tiles have tasks of their own (`tiles.rs`).
//!
//! A task goes through its inputs in blocks, so that the weights of a block stay in cache while all its rows pass over them.
//! Between blocks sums rest in memory as `f32`, which changes no bit: every output is one sum over inputs in their order,
//! whatever the block of rows, the group of panels or the thread.

use super::isa::Isa;
use super::panels::{Numbers, PANEL, Panels, widen};
use super::{avx512_bf16, wide};
use half::bf16;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Rows `[rows, inner]`; where they are `bf16`, `inner` is that of the panels, filled up.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// What becomes of the sums of a tile.
pub(super) trait Finish: Sync {
    /// Takes the sums of some rows and panels; each row and panel once.
    ///
    /// # Shapes
    /// `sums`: `[rows, panels · 16]`.
    fn finish(&self, path: Isa, rows: Range<usize>, panels: Range<usize>, sums: &[f32]);
}

/// How a path cuts a product.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Rows that go through the innermost loop together.
    pub rows: usize,
    /// Panels that do.
    pub panels: usize,
    /// Rows of a task, about.
    pub block: usize,
    /// Inputs that are summed up before the next rows are taken.
    pub inputs: usize,
}

impl Cut {
    fn of(path: Isa, narrow: bool) -> Self {
        match (path, narrow) {
            (Isa::Avx512Bf16, true) => avx512_bf16::CUT,
            (Isa::Portable | Isa::Avx2, _) => wide::CUT_8,
            _ => wide::CUT_16,
        }
    }
}

/// Operations below which a task is not worth a thread's while.
const TASK_FLOPS: usize = 1 << 22;

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { sums: Vec::new(), wide: Vec::new() }) };
}

/// What a thread keeps between tasks.
struct Scratch {
    sums: Vec<f32>,
    wide: Vec<f32>,
}

/// Multiplies rows with all panels and hands every sum to `finish`.
pub(super) fn multiply(path: Isa, x: Rows<'_>, count: usize, panels: &Panels, finish: &dyn Finish) {
    Job::new(path, x, count, panels, finish).run();
}

/// One product.
struct Job<'a> {
    path: Isa,
    cut: Cut,
    x: Rows<'a>,
    count: usize,
    panels: &'a Panels,
    finish: &'a dyn Finish,
}

impl<'a> Job<'a> {
    fn new(
        path: Isa,
        x: Rows<'a>,
        count: usize,
        panels: &'a Panels,
        finish: &'a dyn Finish,
    ) -> Self {
        let cut = Cut::of(path, matches!(x, Rows::Bf16(_)));
        Self {
            path,
            cut,
            x,
            count,
            panels,
            finish,
        }
    }

    /// Blocks of rows, about as many as a task's.
    fn blocks(&self) -> usize {
        ((self.count + self.cut.block / 2) / self.cut.block).max(1)
    }

    /// Rows of a block: whole tiles.
    fn block(&self) -> usize {
        let rows = self.count.div_ceil(self.blocks());
        rows.next_multiple_of(self.cut.rows)
    }

    fn groups(&self) -> usize {
        self.panels.count().div_ceil(self.cut.panels)
    }

    /// On all threads.
    fn run(&self) {
        let cut = self.cut;
        let flops = 2 * cut.block.min(self.count) * cut.panels * PANEL * self.panels.inner.max(1);
        (0..self.blocks() * self.groups())
            .into_par_iter()
            .with_min_len(TASK_FLOPS.div_ceil(flops.max(1)))
            .for_each(|task| self.task(task));
    }

    /// A block of rows by a group of panels; neighbouring tasks share their rows.
    fn task(&self, task: usize) {
        let (block, group) = (task / self.groups(), task % self.groups());
        let (rows, panels) = (self.block(), self.cut.panels);
        let rows = (block * rows).min(self.count)..self.count.min((block + 1) * rows);
        let group = group * panels..self.panels.count().min((group + 1) * panels);
        SCRATCH.with_borrow_mut(|scratch| self.part(rows, group, scratch));
    }

    fn part(&self, rows: Range<usize>, group: Range<usize>, scratch: &mut Scratch) {
        let Self { cut, panels, .. } = *self;
        let width = cut.panels * PANEL;
        let inner = match self.x {
            Rows::F32(_) => panels.inner,
            Rows::Bf16(_) => panels.depth,
        };
        let Scratch { sums, wide } = scratch;
        // A tile that is finished at once needs no place of its own.
        let at_once = inner <= cut.inputs;
        let kept = if at_once {
            cut.rows
        } else {
            rows.len().next_multiple_of(cut.rows)
        };
        grow(sums, kept * width);
        let mut first = 0;
        loop {
            let inputs = first..inner.min(first + cut.inputs);
            let size = inputs.len() * PANEL;
            let plain = match &panels.numbers {
                // What is held as f32 is multiplied where it lies.
                Numbers::F32(all) => Some(&all.get()[(group.start * inner + first) * PANEL..]),
                _ => None,
            };
            if matches!(self.x, Rows::F32(_)) && plain.is_none() && size > 0 {
                grow(wide, cut.panels * size);
                for (panel, wide) in group.clone().zip(wide.chunks_exact_mut(size)) {
                    widen(&panels.numbers, panel, panels.depth, inputs.start, wide);
                }
            }
            for start in rows.clone().step_by(cut.rows) {
                let place = if at_once { 0 } else { start - rows.start } * width;
                let sums = &mut sums[place..place + cut.rows * width];
                let tile = Tile {
                    rows: start..rows.end.min(start + cut.rows),
                    inner,
                    inputs: inputs.clone(),
                    panels: group.len(),
                    adds: first > 0,
                };
                let wide = match plain {
                    Some(plain) => (plain, inner),
                    None => (&wide[..], inputs.len()),
                };
                self.tile(&tile, &group, wide, sums);
                if inputs.end == inner {
                    let sums = &sums[..tile.rows.len() * width];
                    self.finish
                        .finish(self.path, tile.rows, group.clone(), sums);
                }
            }
            first = inputs.end;
            if first >= inner {
                return;
            }
        }
    }

    fn tile(&self, tile: &Tile, group: &Range<usize>, wide: (&[f32], usize), sums: &mut [f32]) {
        match (self.x, &self.panels.numbers) {
            (Rows::F32(x), _) => wide::tile(self.path, tile, x, wide, sums),
            (Rows::Bf16(x), Numbers::Bf16(packed)) => {
                let size = self.panels.depth * PANEL;
                let packed = &packed.get()[group.start * size..group.end * size];
                avx512_bf16::tile(tile, x, packed, sums);
            }
            (Rows::Bf16(_), _) => unreachable!("rows are rounded only where weights are bf16"),
        }
    }
}

fn grow(values: &mut Vec<f32>, length: usize) {
    if values.len() < length {
        values.resize(length, 0.0);
    }
}

/// What one call of the innermost loop multiplies.
///
/// # Shapes
/// Sums are `[rows of the cut, panels of the cut · 16]`.
pub(super) struct Tile {
    /// Rows of `x`, at most as many as the cut's.
    pub rows: Range<usize>,
    /// Numbers of a row of `x`.
    pub inner: usize,
    /// Which of them are multiplied.
    pub inputs: Range<usize>,
    /// Panels, at most as many as the cut's.
    pub panels: usize,
    /// Whether sums go on from what is there.
    pub adds: bool,
}
