//! CUDA: a device, its memory, its kernels and its products.
//!
//! Libraries are loaded when a device is opened ([`Gpu::open`]). Kernels are compiled for the device that is found
//! (`crates/kernels/cuda/`), products are cuBLASLt's. All work runs on one queue, in the order in which it is asked for; weights
//! come on a second one beside it.
//!
//! # Numerics
//! The residual stream is `f32`; rows are rounded to what products multiply before each, and sums are `f32`. Products of rows have
//! one number of rows each, whatever is asked: the library takes the same algorithm for the same shape, and a row's bits do not
//! depend on the other rows (checked by [`Gpu::self_test`] on the device that is there).

mod attention;
mod choices;
mod config;
mod error;
mod experts;
mod heads;
#[cfg(feature = "cuda")]
mod libraries;
mod memory;
mod operations;
mod plain;
mod product;
#[cfg(feature = "cuda")]
mod raw;
#[cfg(not(feature = "cuda"))]
#[path = "absent.rs"]
mod raw;
mod rows;
mod self_test;
mod source;
mod state;
mod summary;
#[cfg(all(test, feature = "cuda"))]
mod tests;

pub(crate) use attention::{GpuBlocks, GpuPageRows};
pub use attention::{GpuKvPrefix, GpuPages};
pub use config::{GpuConfig, Tiles};
pub use error::GpuError;
pub use experts::{Choosing, GpuExperts};
pub(crate) use memory::{Buffer, Unsent, once};
pub(crate) use product::quantised;
pub use product::{GpuMatrix, WeightFormat};
pub(crate) use raw::Number;
pub use rows::GpuRows;
pub(crate) use rows::{Later, bytes_as, number};
pub use self_test::{Check, SelfTest, WITH_PLAIN_FORM};
pub use source::compile_kernels;
pub use state::{GpuState, gpu_state};
pub use summary::Pending;

use choices::Choices;
use memory::{Pool, Ring, Staging};
use product::Algorithms;
use raw::{Context, Event, Pinned, Stream};
use source::{Kernels, Source, Variant};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An open device.
pub struct Gpu {
    index: usize,
    config: GpuConfig,
    // Buffers come back to the pool, whatever goes first; the context goes last.
    pool: Pool,
    small: Mutex<Staging>,
    ring: Ring,
    streams: Mutex<Staging>,
    spare: Mutex<Vec<Pinned>>,
    work: Stream,
    copies: Stream,
    kernels: Kernels,
    algorithms: Mutex<Algorithms>,
    /// Kernels whose plain form is taken.
    plain: Mutex<BTreeSet<&'static str>>,
    /// The lowest place where numbers were not finite, on the device.
    broken: raw::Address,
    workspace: (raw::Address, usize),
    place: AtomicU32,
    timed: AtomicBool,
    /// Rows of a pass; less than the table says once memory ran out.
    activations: Mutex<Vec<(Mark, Mark)>>,
    pass_rows: AtomicUsize,
    kv_mib: AtomicUsize,
    context: Arc<Context>,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuDescription {
    /// The number by which it is named.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its identity, as NVIDIA's tools write it.
    pub uuid: String,
    /// Its compute capability, for example `9.0`.
    pub capability: String,
    /// Multiprocessors.
    pub processors: usize,
    /// All of its memory, in bytes.
    pub total_bytes: usize,
    /// The driver's version of CUDA.
    pub driver: String,
    /// The version of the compiler of kernels.
    pub compiler: String,
    /// The version of the products' library.
    pub products: usize,
}

/// Looks for CUDA's libraries in a folder before anywhere else. What is loaded already stays.
pub fn look_for_cuda_in(folder: &std::path::Path) {
    raw::look_in(folder);
}

/// How many devices the driver finds.
///
/// # Errors
/// [`GpuError`] where there is none, or a library is missing.
pub fn gpu_count() -> Result<usize, GpuError> {
    raw::count()
}

impl Gpu {
    /// Opens a device with the sizes of its kind. Compiled kernels are kept in `cache`.
    ///
    /// # Errors
    /// [`GpuError`] naming what is missing.
    pub fn open(index: usize, cache: Option<PathBuf>) -> Result<Arc<Self>, GpuError> {
        let context = Context::open(index)?;
        let config = GpuConfig::of(context.properties.capability)?;
        Self::with(context, index, config, cache)
    }

    /// The same with other sizes.
    ///
    /// # Errors
    /// [`GpuError`] naming what is missing.
    pub fn open_with(
        index: usize,
        config: GpuConfig,
        cache: Option<PathBuf>,
    ) -> Result<Arc<Self>, GpuError> {
        Self::with(Context::open(index)?, index, config, cache)
    }

    fn with(
        context: Arc<Context>,
        index: usize,
        config: GpuConfig,
        cache: Option<PathBuf>,
    ) -> Result<Arc<Self>, GpuError> {
        config.check_fits(context.properties.shared_bytes)?;
        let bytes = config.workspace_mib << 20;
        let work = context.stream()?;
        let broken = context.allocate(size_of::<u32>())?;
        work.fill(broken, 0xff, size_of::<u32>())?;
        let choices = Choices::new(cache.as_deref(), &context.properties, config.workspace_mib);
        let gpu = Self {
            index,
            config,
            pool: Pool::new(&context),
            small: Mutex::new(Staging::new(&context, 64)?),
            ring: Ring::new(&context),
            streams: Mutex::new(Staging::new(&context, 2)?),
            spare: Mutex::default(),
            work,
            copies: context.stream()?,
            kernels: Kernels::new(&context, config.attention, cache),
            algorithms: Mutex::new(Algorithms::new(&context, choices)?),
            plain: Mutex::default(),
            broken,
            workspace: (context.allocate(bytes.max(1))?, bytes),
            place: AtomicU32::new(0),
            timed: AtomicBool::new(false),
            activations: Mutex::default(),
            pass_rows: AtomicUsize::new(config.rows_per_pass),
            kv_mib: AtomicUsize::new(config.kv_mib),
            context,
        };
        Ok(Arc::new(gpu))
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The sizes that it works with.
    pub fn config(&self) -> &GpuConfig {
        &self.config
    }

    /// What it is.
    pub fn description(&self) -> GpuDescription {
        let properties = &self.context.properties;
        GpuDescription {
            index: self.index,
            name: properties.name.clone(),
            uuid: properties.uuid.clone(),
            capability: format!("{}.{}", properties.capability.0, properties.capability.1),
            processors: usize::try_from(properties.processors).unwrap_or(0),
            total_bytes: properties.total_bytes,
            driver: properties.driver.clone(),
            compiler: raw::compiler_version(),
            products: raw::Products::version(),
        }
    }

    /// Bytes of its memory that are free.
    ///
    /// # Errors
    /// [`GpuError::Call`].
    pub fn free_bytes(&self) -> Result<usize, GpuError> {
        self.context.free_bytes()
    }

    /// Gives memory that nobody has back to the device.
    pub fn trim(&self) {
        self.pool.trim();
    }

    /// The most that buffers took at any time, in bytes.
    pub fn peak_bytes(&self) -> usize {
        self.pool.peak()
    }

    /// Counts the peak from here on.
    pub fn forget_peak(&self) {
        self.pool.forget_peak();
    }

    /// Lets buffers take no more than so many bytes.
    pub fn set_cap(&self, cap: Option<usize>) {
        self.pool.set_cap(cap);
    }

    /// Rows of a pass, and of its products.
    pub fn pass_rows(&self) -> usize {
        self.pass_rows.load(Ordering::Relaxed)
    }

    /// Lets passes have so many rows from here on. A row's bits may be others with another number.
    pub fn set_pass_rows(&self, rows: usize) {
        self.pass_rows.store(rows.max(1), Ordering::Relaxed);
    }

    /// The most memory that keys and values of texts may take, in MiB.
    pub fn kv_mib(&self) -> usize {
        self.kv_mib.load(Ordering::Relaxed)
    }

    /// Lets keys and values of texts take so much from here on. No bit depends on it.
    pub fn set_kv_mib(&self, mib: usize) {
        self.kv_mib.store(mib.max(1), Ordering::Relaxed);
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// [`GpuError::Call`] where some of it failed.
    pub fn synchronise(&self) -> Result<(), GpuError> {
        self.copies.synchronise()?;
        self.work.synchronise()
    }

    /// Says where the next norms are, for the error that names it.
    pub fn enter(&self, place: u32) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// The lowest place where a norm met numbers that are not finite, since it was asked last.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn broken_place(self: &Arc<Self>) -> Result<Option<u32>, GpuError> {
        let found = self.buffer(size_of::<u32>())?;
        self.copy_within(self.broken, found.address(), size_of::<u32>())?;
        let place = self.download(found.address(), size_of::<u32>())?;
        let place = place.wait(|bytes| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes))?;
        self.work.fill(self.broken, 0xff, size_of::<u32>())?;
        Ok((place != u32::MAX).then_some(place))
    }

    /// Takes the plain form of a kernel from here on.
    pub fn use_plain(&self, kernel: &'static str) {
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.insert(kernel);
    }

    /// Kernels whose plain form is taken.
    pub fn plain_kernels(&self) -> Vec<&'static str> {
        let plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.iter().copied().collect()
    }

    fn use_again(&self, kernel: &str) {
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.remove(kernel);
    }

    fn is_plain(&self, kernel: &str) -> bool {
        let plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.contains(kernel)
    }

    /// Starts a kernel.
    fn launch<P: bytemuck::Pod>(
        &self,
        kernel: Kernel,
        grid: [u32; 3],
        threads: u32,
        parameters: &P,
    ) -> Result<(), GpuError> {
        if grid.contains(&0) {
            return Ok(());
        }
        let function = self
            .kernels
            .function(kernel.variant, kernel.name, kernel.shared)?;
        let shared = u32::try_from(kernel.shared).unwrap_or(u32::MAX);
        let bytes = bytemuck::bytes_of(parameters);
        self.work.launch(function, grid, threads, shared, bytes)
    }

    /// Whether the time of each kind of work is taken.
    pub fn is_timed(&self) -> bool {
        self.timed.load(Ordering::Relaxed)
    }

    /// The points before and after each activation since they were asked for last, where time is taken.
    pub fn activation_marks(&self) -> Vec<(Mark, Mark)> {
        let mut marks = self
            .activations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *marks)
    }

    /// Lets the time of each kind of work be taken, which costs some.
    pub fn set_timed(&self, timed: bool) {
        self.timed.store(timed, Ordering::Relaxed);
    }

    /// A point in the work, to take the time between two.
    ///
    /// # Errors
    /// [`GpuError::Call`].
    pub fn mark(&self) -> Result<Mark, GpuError> {
        let event = self.context.event(true)?;
        self.work.record(&event)?;
        Ok(Mark(event))
    }
}

/// A point in the work of a device.
pub struct Mark(Event);

impl Mark {
    /// Waits for it and gives the seconds since an earlier one.
    ///
    /// # Errors
    /// [`GpuError::Call`].
    pub fn seconds_since(&self, earlier: &Self) -> Result<f64, GpuError> {
        self.0.wait()?;
        self.0.seconds_since(&earlier.0)
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let _ = self.synchronise();
        self.context.free(self.broken);
        self.context.free(self.workspace.0);
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cuda:{}", self.index)
    }
}

/// A kernel of a source, and the shared memory that it asks for.
#[derive(Clone, Copy)]
struct Kernel {
    variant: Variant,
    name: &'static str,
    shared: usize,
}

impl Kernel {
    fn of(source: Source, name: &'static str, element: Number) -> Self {
        Self {
            variant: Variant {
                source,
                element,
                head_dim: 0,
                together: 0,
            },
            name,
            shared: 0,
        }
    }
}
