//! Weights in the order that the products read them.
//!
//! Sixteen output columns are a *panel*. A panel of `f32` or `f16` is `[inner, 16]`: the sixteen weights of one input side by
//! side. A panel of `bf16` is `[inner / 2, 16, 2]`: two neighbouring inputs of each column side by side, which is what both
//! AVX512-BF16 and AMX multiply. What is missing of the last panel, and of the last inputs, is zero.

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use half::{bf16, f16};
use rayon::prelude::*;

/// Columns of a panel.
pub(super) const PANEL: usize = 16;

/// Inputs of a `bf16` panel are filled up to a multiple of what one AMX tile takes.
const PAIRED_INPUTS: usize = 32;

/// Numbers whose first is at the start of a cache line.
pub(super) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
    length: usize,
}

const LINE: usize = 64;

impl<T: bytemuck::Pod> Aligned<T> {
    pub fn zeroed(length: usize) -> Self {
        let spare = LINE / size_of::<T>();
        let values: Vec<T> = bytemuck::zeroed_vec(length + spare);
        let start = values.as_ptr().align_offset(LINE).min(spare);
        Self {
            values,
            start,
            length,
        }
    }

    pub fn get(&self) -> &[T] {
        &self.values[self.start..self.start + self.length]
    }

    pub fn get_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..self.start + self.length]
    }
}

/// The numbers of all panels.
pub(super) enum Numbers {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
    Bf16(Aligned<bf16>),
}

/// Weights `[outer, inner]`, by panels.
pub(super) struct Panels {
    pub numbers: Numbers,
    pub outer: usize,
    pub inner: usize,
    /// Inputs of a panel, those that fill it up included.
    pub depth: usize,
    /// Whether the first half of the outputs and the second stand in panels by turns.
    pub paired: bool,
}

impl Panels {
    /// Packs a contiguous `[outer, inner]` tensor of `f32`, `f16` or `bf16`. Where `paired`, a panel of the first half of the
    /// outputs (gates) is followed by the panel of the second half (ups) that goes with it.
    pub fn pack(weight: &Tensor, paired: bool) -> Result<Self> {
        Self::packed(weight, paired, true)
    }

    /// [`Panels::pack`] on this thread alone.
    #[cfg(target_arch = "x86_64")]
    pub fn pack_here(weight: &Tensor, paired: bool) -> Result<Self> {
        Self::packed(weight, paired, false)
    }

    fn packed(weight: &Tensor, paired: bool, shared: bool) -> Result<Self> {
        let (outer, inner) = weight.dims2()?;
        if paired && !outer.is_multiple_of(2) {
            bail!("{outer} outputs are no gates and ups");
        }
        let weight = weight.contiguous()?;
        let (storage, layout) = weight.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("weights are packed on the CPU")
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a contiguous weight is needed")
        };
        let depth = match storage {
            CpuStorage::BF16(_) => inner.next_multiple_of(PAIRED_INPUTS),
            _ => inner,
        };
        let mut panels = Self {
            numbers: Numbers::F32(Aligned::zeroed(0)),
            outer,
            inner,
            depth,
            paired,
        };
        panels.numbers = match storage {
            CpuStorage::F32(all) => {
                Numbers::F32(panels.arranged(&all[start..end], put_single, shared))
            }
            CpuStorage::F16(all) => {
                Numbers::F16(panels.arranged(&all[start..end], put_single, shared))
            }
            CpuStorage::BF16(all) => {
                Numbers::Bf16(panels.arranged(&all[start..end], put_pairs, shared))
            }
            _ => bail!("weights are f32, bf16 or f16"),
        };
        Ok(panels)
    }

    fn arranged<T: bytemuck::Pod + Send + Sync>(
        &self,
        weight: &[T],
        put: fn(&mut [T], usize, &[T]),
        shared: bool,
    ) -> Aligned<T> {
        let size = self.depth * PANEL;
        let mut packed = Aligned::zeroed(self.count() * size);
        let fill = |(number, panel): (usize, &mut [T])| {
            for (column, row) in self.rows(number).enumerate() {
                let row = &weight[row * self.inner..(row + 1) * self.inner];
                put(panel, column, row);
            }
        };
        if size > 0 && shared {
            let panels = packed.get_mut().par_chunks_mut(size).enumerate();
            panels.for_each(fill);
        } else if size > 0 {
            let panels = packed.get_mut().chunks_mut(size).enumerate();
            panels.for_each(fill);
        }
        packed
    }

    /// How many panels there are.
    pub fn count(&self) -> usize {
        if self.paired {
            2 * (self.outer / 2).div_ceil(PANEL)
        } else {
            self.outer.div_ceil(PANEL)
        }
    }

    /// The outputs of a panel.
    fn rows(&self, panel: usize) -> std::ops::Range<usize> {
        if self.paired {
            let half = self.outer / 2;
            let first = panel / 2 * PANEL;
            let start = panel % 2 * half;
            start + first..start + half.min(first + PANEL)
        } else {
            panel * PANEL..self.outer.min((panel + 1) * PANEL)
        }
    }

    /// What the weights are held as.
    pub fn dtype(&self) -> DType {
        match &self.numbers {
            Numbers::F32(_) => DType::F32,
            Numbers::F16(_) => DType::F16,
            Numbers::Bf16(_) => DType::BF16,
        }
    }

    /// The packed weights as the tensor that they were, `[outer, inner]`.
    pub fn unpack(&self) -> Result<Tensor> {
        let shape = (self.outer, self.inner);
        match &self.numbers {
            Numbers::F32(all) => Tensor::from_vec(self.plain(all, at_single), shape, &Device::Cpu),
            Numbers::F16(all) => Tensor::from_vec(self.plain(all, at_single), shape, &Device::Cpu),
            Numbers::Bf16(all) => Tensor::from_vec(self.plain(all, at_pairs), shape, &Device::Cpu),
        }
    }

    fn plain<T: bytemuck::Pod + Send + Sync>(
        &self,
        packed: &Aligned<T>,
        at: fn(usize, usize) -> usize,
    ) -> Vec<T> {
        let size = self.depth * PANEL;
        let mut plain = bytemuck::zeroed_vec(self.outer * self.inner);
        for panel in 0..self.count() {
            let packed = &packed.get()[panel * size..(panel + 1) * size];
            for (column, row) in self.rows(panel).enumerate() {
                let row = &mut plain[row * self.inner..(row + 1) * self.inner];
                for (input, value) in row.iter_mut().enumerate() {
                    *value = packed[at(input, column)];
                }
            }
        }
        plain
    }

    /// The weights of some outputs in `f32`, one after another: a tied embedding is looked up so. Outputs must not be paired.
    pub fn rows_of(&self, outputs: &[u32]) -> Vec<f32> {
        let mut out = vec![0.0f32; outputs.len() * self.inner];
        let size = self.depth * PANEL;
        out.par_chunks_mut(self.inner.max(1))
            .with_min_len(16)
            .zip(outputs.par_iter())
            .for_each(|(out, output)| {
                let output = *output as usize;
                let (start, column) = (output / PANEL * size, output % PANEL);
                match &self.numbers {
                    Numbers::F32(all) => {
                        let panel = &all.get()[start..start + size];
                        for (input, out) in out.iter_mut().enumerate() {
                            *out = panel[at_single(input, column)];
                        }
                    }
                    Numbers::F16(all) => {
                        let panel = &all.get()[start..start + size];
                        for (input, out) in out.iter_mut().enumerate() {
                            *out = panel[at_single(input, column)].to_f32();
                        }
                    }
                    Numbers::Bf16(all) => {
                        let panel = &all.get()[start..start + size];
                        for (input, out) in out.iter_mut().enumerate() {
                            *out = panel[at_pairs(input, column)].to_f32();
                        }
                    }
                }
            });
        out
    }

    /// Bytes that the weights take.
    pub fn bytes(&self) -> usize {
        self.count() * PANEL * self.depth * self.dtype().size_in_bytes()
    }
}

/// Bytes that weights `[outer, inner]` take once they are packed.
pub(super) fn packed_bytes(outer: usize, inner: usize, dtype: DType) -> usize {
    let depth = match dtype {
        DType::BF16 => inner.next_multiple_of(PAIRED_INPUTS),
        _ => inner,
    };
    outer.next_multiple_of(PANEL) * depth * dtype.size_in_bytes()
}

fn at_single(input: usize, column: usize) -> usize {
    input * PANEL + column
}

fn at_pairs(input: usize, column: usize) -> usize {
    (input / 2 * PANEL + column) * 2 + input % 2
}

fn put_single<T: Copy>(panel: &mut [T], column: usize, row: &[T]) {
    for (input, value) in row.iter().enumerate() {
        panel[at_single(input, column)] = *value;
    }
}

fn put_pairs<T: Copy>(panel: &mut [T], column: usize, row: &[T]) {
    for (input, value) in row.iter().enumerate() {
        panel[at_pairs(input, column)] = *value;
    }
}

/// Writes inputs of a panel as `f32`, `[inputs, 16]`.
///
/// # Shapes
/// `first`: the first input, even; `wide`: room for a number of inputs.
pub(super) fn widen(numbers: &Numbers, panel: usize, depth: usize, first: usize, wide: &mut [f32]) {
    let at = (panel * depth + first) * PANEL;
    match numbers {
        Numbers::F32(all) => wide.copy_from_slice(&all.get()[at..at + wide.len()]),
        Numbers::F16(all) => {
            use half::slice::HalfFloatSliceExt;
            all.get()[at..at + wide.len()].convert_to_f32_slice(wide);
        }
        Numbers::Bf16(all) => {
            let packed = &all.get()[at..(at + wide.len().next_multiple_of(2 * PANEL))];
            let pairs = wide.chunks_mut(2 * PANEL);
            for (pair, packed) in pairs.zip(packed.as_chunks::<{ 2 * PANEL }>().0) {
                // An odd last input has no second row.
                let (even, odd) = pair.split_at_mut(PANEL);
                for column in 0..PANEL {
                    even[column] = packed[2 * column].to_f32();
                }
                for (column, odd) in odd.iter_mut().enumerate() {
                    *odd = packed[2 * column + 1].to_f32();
                }
            }
        }
    }
}
