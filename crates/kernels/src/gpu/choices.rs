//! Which of the library's algorithms a product takes: the fastest, measured, whose bits are those of the library's own first choice.
//!
//! What was measured is kept by device and version of the library. No bit depends on it.

use super::memory::Buffer;
use super::operations::blocks;
use super::raw::{Address, Number, Prepared, ProductShape, Products, Properties};
use super::source::{Source, keep};
use super::{Gpu, GpuError, Kernel};
use bytemuck::{Pod, Zeroable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often each is timed.
const TIMES: usize = 3;
/// An algorithm is taken that needs at most so much of the first one's time: less is noise.
const GAIN: f64 = 0.99;
/// What stands among the plain forms that were taken, where an algorithm that was measured failed later.
pub(super) const FIRST_CHOICES: &str = "cublasLtMatmul (first choices)";

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Differ {
    left: Address,
    right: Address,
    found: Address,
    count: u64,
}

/// What a product reads and writes.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(feature = "cuda"),
    expect(dead_code, reason = "products are CUDA's")
)]
pub(super) struct Operands {
    pub weight: Address,
    pub rows: Address,
    pub out: Address,
    pub bias: Option<Address>,
    pub factor: f32,
    /// What of `out` is kept.
    pub kept: f32,
}

/// What was measured on a device, and where that is kept.
pub(super) struct Choices {
    path: Option<PathBuf>,
    /// The algorithms, as the library writes them, by product.
    known: BTreeMap<String, String>,
}

impl Choices {
    /// What is known of a device with this version of the library.
    pub fn new(cache: Option<&Path>, properties: &Properties, workspace: usize) -> Self {
        let (name, version) = (&properties.name, Products::version());
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
        let name = name.replace(|letter| !is_plain(letter), "-");
        let processors = properties.processors;
        let file = format!("products-{name}-{processors}-{version}-{workspace}.toml");
        let path = cache.map(|folder| folder.join(file));
        let known = path.as_deref().map(read).unwrap_or_default();
        Self { path, known }
    }

    /// Keeps a choice, beside what others have kept meanwhile.
    fn add(&mut self, shape: ProductShape, algorithm: String) {
        if let Some(path) = &self.path {
            self.known.extend(read(path));
        }
        self.known.insert(name(shape), algorithm);
        if let Some(path) = &self.path {
            let line = |(shape, algorithm)| format!("\"{shape}\" = \"{algorithm}\"\n");
            let text: String = self.known.iter().map(line).collect();
            keep(path, text.as_bytes());
        }
    }
}

fn read(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).ok();
    let known = text.and_then(|text| toml::from_str(&text).ok());
    known.unwrap_or_default()
}

fn name(shape: ProductShape) -> String {
    let ProductShape {
        rows,
        inner,
        outer,
        operands,
        result,
        biased,
        ..
    } = shape;
    let bias = if biased { " bias" } else { "" };
    format!("{rows} {inner} {outer} {operands:?} {result:?}{bias}")
}

/// The place of the fastest that is right: the first stands for itself, others must be faster than that.
fn fastest<E>(
    seconds: &[f64],
    mut has_same_bits: impl FnMut(usize) -> Result<bool, E>,
) -> Result<usize, E> {
    let first = seconds.first().copied().unwrap_or(0.0);
    let mut order: Vec<usize> = (1..seconds.len())
        .filter(|place| seconds[*place] < GAIN * first)
        .collect();
    order.sort_by(|a, b| seconds[*a].total_cmp(&seconds[*b]));
    for place in order {
        if has_same_bits(place)? {
            return Ok(place);
        }
    }
    Ok(0)
}

/// Prepares a product by the fastest algorithm, measured on its own operands, whose result is left as it is. Where there is no room to
/// measure, by the library's first choice.
pub(super) fn prepare(
    gpu: &Arc<Gpu>,
    products: &Products,
    choices: &mut Choices,
    shape: ProductShape,
    operands: Operands,
) -> Result<Prepared, GpuError> {
    let mut candidates = products.candidates(shape, gpu.workspace.1)?;
    let known = choices.known.get(&name(shape));
    let is_known = |candidate: &Prepared| Some(&candidate.algorithm()) == known;
    let choice = match candidates.iter().position(is_known) {
        Some(choice) => choice,
        None if candidates.len() == 1 || !has_room(gpu, shape)? => 0,
        None => match measured(gpu, products, &candidates, shape, operands) {
            Ok(choice) => {
                choices.add(shape, candidates[choice].algorithm());
                choice
            }
            Err(GpuError::OutOfMemory { .. }) => 0,
            Err(error) => return Err(error),
        },
    };
    Ok(candidates.swap_remove(choice))
}

/// Whether a device has plenty of room beside what is planned for others.
fn has_room(gpu: &Gpu, shape: ProductShape) -> Result<bool, GpuError> {
    const BESIDE: usize = 256 << 20;
    let bytes = shape.rows * shape.outer * shape.result.bytes();
    Ok(gpu.free_bytes()? > 2 * bytes + BESIDE)
}

/// Room beside that of buffers, which is given back at once.
struct Room<'a> {
    gpu: &'a Gpu,
    address: Address,
}

impl<'a> Room<'a> {
    fn new(gpu: &'a Gpu, bytes: usize) -> Result<Self, GpuError> {
        let address = gpu.context.allocate(bytes)?;
        Ok(Self { gpu, address })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        // What fails here shows at the next call.
        let _ = self.gpu.work.synchronise();
        self.gpu.context.free(self.address);
    }
}

fn measured(
    gpu: &Arc<Gpu>,
    products: &Products,
    candidates: &[Prepared],
    shape: ProductShape,
    operands: Operands,
) -> Result<usize, GpuError> {
    let bytes = shape.rows * shape.outer * shape.result.bytes();
    let (expected, found) = (Room::new(gpu, bytes)?, Room::new(gpu, bytes)?);
    let run = |candidate: &Prepared, out: Address| {
        let operands = Operands { out, ..operands };
        products.run(candidate, &gpu.work, operands, gpu.workspace)
    };
    // From the same beginning, so that what is kept of it counts.
    let result = |candidate: &Prepared, room: &Room<'_>| {
        gpu.copy_within(operands.out, room.address, bytes)?;
        run(candidate, room.address)
    };
    let mut seconds = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        // One that cannot be run is not taken.
        if result(candidate, &found).is_err() {
            seconds.push(f64::INFINITY);
            continue;
        }
        let mut least = f64::INFINITY;
        for _ in 0..TIMES {
            let begun = gpu.mark()?;
            run(candidate, found.address)?;
            least = least.min(gpu.mark()?.seconds_since(&begun)?);
        }
        seconds.push(least);
    }
    result(&candidates[0], &expected)?;
    fastest(&seconds, |place| {
        result(&candidates[place], &found)?;
        same(gpu, expected.address, found.address, bytes)
    })
}

/// Whether two places of the device hold the same bytes, a multiple of four.
fn same(gpu: &Arc<Gpu>, left: Address, right: Address, bytes: usize) -> Result<bool, GpuError> {
    let differ: Buffer = gpu.upload(&[0u32])?;
    let words = bytes / 4;
    let parameters = Differ {
        left,
        right,
        found: differ.address(),
        count: words as u64,
    };
    let kernel = Kernel::of(Source::Rows, "differ", Number::F32);
    gpu.launch(kernel, [blocks(words), 1, 1], 256, &parameters)?;
    let found = gpu.download(differ.address(), size_of::<u32>())?;
    found.wait(|bytes| bytes == [0; 4])
}

#[cfg(test)]
mod tests {
    use super::fastest;

    fn choice(seconds: &[f64], right: &[usize]) -> usize {
        let same = |place: usize| Ok::<_, ()>(right.contains(&place));
        fastest(seconds, same).unwrap()
    }

    #[test]
    fn the_fastest_is_taken_whose_bits_are_the_same() {
        assert_eq!(choice(&[1.0, 0.8, 0.7], &[1, 2]), 2);
        assert_eq!(choice(&[1.0, 0.8, 0.7], &[1]), 1);
        assert_eq!(choice(&[1.0, 0.8, 0.7], &[]), 0);
        // What is hardly faster is not faster, and what cannot be run is not tried.
        assert_eq!(choice(&[1.0, 0.995, f64::INFINITY], &[1, 2]), 0);
        assert_eq!(choice(&[1.0], &[]), 0);
    }
}
