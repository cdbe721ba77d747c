//! The calls to CUDA: the driver, the compiler of kernels, the matrix products. Nothing else here speaks to them.
//!
//! Libraries are loaded when a device is opened; a program that never opens one needs none.

mod compiler;
mod products;

pub(super) use compiler::{compile, compiler_version};
pub(super) use products::{Prepared, Products};

pub(crate) use super::plain::Number;
pub(super) use super::plain::{Address, ProductShape, Properties};

use super::{GpuError, libraries};
use cudarc::driver::{result, sys};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::sync::Arc;

/// The oldest driver that will do: its version of CUDA.
const OLDEST: c_int = 12_000;

/// An open device: its context, which every call makes current first.
pub(super) struct Context {
    device: sys::CUdevice,
    primary: sys::CUcontext,
    pub properties: Properties,
}

#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Send for Context {}
#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Sync for Context {}

/// Looks for libraries in a folder before anywhere else.
pub(super) fn look_in(folder: &std::path::Path) {
    libraries::look_in(folder);
}

/// A library in a folder that is named to be looked in first.
pub(super) fn named_library(file: &str) -> Option<std::path::PathBuf> {
    libraries::named(file)
}

/// How many devices there are.
///
/// # Errors
/// [`GpuError`] where a library is missing, or the driver is too old or finds none.
pub(super) fn count() -> Result<usize, GpuError> {
    libraries::load(&libraries::DRIVER, 0)?;
    match result::init() {
        Err(result::DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => {
            return Err(GpuError::NoDevice);
        }
        other => other.map_err(called("cuInit"))?,
    }
    let version = driver_version()?;
    if version < OLDEST {
        return Err(GpuError::OldDriver {
            found: dotted(version),
            needed: "12.0",
        });
    }
    let count = result::device::get_count().map_err(called("cuDeviceGetCount"))?;
    usize::try_from(count)
        .ok()
        .filter(|count| *count > 0)
        .ok_or(GpuError::NoDevice)
}

#[expect(
    unsafe_code,
    reason = "SAFETY: the driver writes the number that it is given room for"
)]
fn driver_version() -> Result<c_int, GpuError> {
    let mut version = 0;
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(called("cuDriverGetVersion"))?;
    Ok(version)
}

fn dotted(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn called(call: &'static str) -> impl Fn(result::DriverError) -> GpuError {
    move |error| {
        if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return GpuError::OutOfMemory { bytes: 0, free: 0 };
        }
        let name = error.error_name().ok().map(CStr::to_string_lossy);
        let text = error.error_string().ok().map(CStr::to_string_lossy);
        GpuError::Call {
            call,
            message: format!(
                "{} ({})",
                text.unwrap_or_default(),
                name.unwrap_or_default()
            ),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "SAFETY: handles come from the driver and live as long as what holds them; addresses and lengths come from the \
              allocations that the callers own"
)]
impl Context {
    /// Opens a device.
    pub fn open(index: usize) -> Result<Arc<Self>, GpuError> {
        let count = count()?;
        if index >= count {
            return Err(GpuError::NoSuchDevice { index, count });
        }
        let ordinal = c_int::try_from(index).unwrap_or(c_int::MAX);
        let device = result::device::get(ordinal).map_err(called("cuDeviceGet"))?;
        let number = |attribute| {
            unsafe { result::device::get_attribute(device, attribute) }
                .map_err(called("cuDeviceGetAttribute"))
        };
        let capability = (
            number(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            number(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        let name = result::device::get_name(device).map_err(called("cuDeviceGetName"))?;
        if capability.0 < 8 {
            return Err(GpuError::Capability {
                name,
                capability: format!("{}.{}", capability.0, capability.1),
            });
        }
        for library in &libraries::TOOLKIT {
            libraries::load(library, driver_version()?)?;
        }
        let shared =
            number(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let uuid = result::device::get_uuid(device).map_err(called("cuDeviceGetUuid"))?;
        let properties = Properties {
            name,
            uuid: uuid_text(&uuid.bytes),
            capability,
            processors: number(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes: usize::try_from(shared).unwrap_or(0),
            total_bytes: unsafe { result::device::total_mem(device) }
                .map_err(called("cuDeviceTotalMem"))?,
            driver: dotted(driver_version()?),
        };
        let context = unsafe { result::primary_ctx::retain(device) };
        let context = match context {
            // A context takes some hundred MiB.
            Err(result::DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                return Err(GpuError::OutOfMemory {
                    bytes: 512 << 20,
                    free: 0,
                });
            }
            other => other.map_err(called("cuDevicePrimaryCtxRetain"))?,
        };
        Ok(Arc::new(Self {
            device,
            primary: context,
            properties,
        }))
    }

    fn enter(&self) -> Result<(), GpuError> {
        unsafe { result::ctx::set_current(self.primary) }.map_err(called("cuCtxSetCurrent"))
    }

    /// Bytes that are free.
    pub fn free_bytes(&self) -> Result<usize, GpuError> {
        self.enter()?;
        let (free, _) = result::mem_get_info().map_err(called("cuMemGetInfo"))?;
        Ok(free)
    }

    pub fn allocate(&self, bytes: usize) -> Result<Address, GpuError> {
        self.enter()?;
        match unsafe { result::malloc_sync(bytes) } {
            Ok(address) => Ok(address),
            Err(result::DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                Err(GpuError::OutOfMemory {
                    bytes,
                    free: self.free_bytes()?,
                })
            }
            Err(error) => Err(called("cuMemAlloc")(error)),
        }
    }

    /// Gives memory back once the device is done with it.
    pub fn free(&self, address: Address) {
        if self.enter().is_ok() {
            // What the driver does not take back it will at the end of the process.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    /// Memory of the host that the device copies by itself.
    pub fn pinned(self: &Arc<Self>, bytes: usize) -> Result<Pinned, GpuError> {
        self.enter()?;
        let start = unsafe { result::malloc_host(bytes, 0) }.map_err(called("cuMemHostAlloc"))?;
        Ok(Pinned {
            context: Arc::clone(self),
            start: start.cast(),
            bytes,
        })
    }

    pub fn stream(self: &Arc<Self>) -> Result<Stream, GpuError> {
        self.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        Ok(Stream {
            context: Arc::clone(self),
            stream: stream.map_err(called("cuStreamCreate"))?,
        })
    }

    /// A point in a queue; of those that are `timed`, the time between two can be taken.
    pub fn event(self: &Arc<Self>, timed: bool) -> Result<Event, GpuError> {
        self.enter()?;
        let event = result::event::create(if timed {
            sys::CUevent_flags::CU_EVENT_DEFAULT
        } else {
            sys::CUevent_flags::CU_EVENT_DISABLE_TIMING
        });
        Ok(Event {
            context: Arc::clone(self),
            event: event.map_err(called("cuEventCreate"))?,
        })
    }

    /// Loads compiled kernels.
    pub fn module(self: &Arc<Self>, image: &[u8]) -> Result<Module, GpuError> {
        self.enter()?;
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        Ok(Module {
            context: Arc::clone(self),
            module: module.map_err(called("cuModuleLoadData"))?,
        })
    }
}

#[expect(unsafe_code, reason = "SAFETY: the context was retained once")]
impl Drop for Context {
    fn drop(&mut self) {
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

#[expect(clippy::cast_sign_loss, reason = "bytes of a digest are signed in C")]
fn uuid_text(bytes: &[c_char; 16]) -> String {
    let mut hex = String::new();
    for byte in bytes {
        let _ = write!(hex, "{:02x}", *byte as u8);
    }
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]);
    format!("GPU-{}", parts.join("-"))
}

/// Memory of the host that the device copies by itself.
pub(super) struct Pinned {
    context: Arc<Context>,
    start: *mut u8,
    bytes: usize,
}

#[expect(unsafe_code, reason = "SAFETY: plain memory with one owner")]
unsafe impl Send for Pinned {}

#[expect(
    unsafe_code,
    reason = "SAFETY: the bytes live as long as this, and are all written before they are lent"
)]
impl Pinned {
    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn bytes(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

#[expect(unsafe_code, reason = "SAFETY: the memory is given back once")]
impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            let _ = unsafe { result::free_host(self.start.cast()) };
        }
    }
}

/// A queue of work.
pub(super) struct Stream {
    context: Arc<Context>,
    stream: sys::CUstream,
}

#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Send for Stream {}
#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Sync for Stream {}

#[expect(
    unsafe_code,
    reason = "SAFETY: callers own what the addresses and lengths name until the stream is done with it"
)]
impl Stream {
    /// Copies pinned bytes to the device; they may be changed once an event after it has come.
    pub fn copy_in(&self, to: Address, from: &Pinned, bytes: usize) -> Result<(), GpuError> {
        self.context.enter()?;
        unsafe { result::memcpy_htod_async(to, &from.bytes()[..bytes], self.stream) }
            .map_err(called("cuMemcpyHtoDAsync"))
    }

    /// Copies to pinned bytes; they are there once an event after it has come.
    pub fn copy_out(&self, to: &mut Pinned, from: Address, bytes: usize) -> Result<(), GpuError> {
        self.context.enter()?;
        unsafe { result::memcpy_dtoh_async(&mut to.bytes_mut()[..bytes], from, self.stream) }
            .map_err(called("cuMemcpyDtoHAsync"))
    }

    pub fn fill(&self, to: Address, byte: u8, bytes: usize) -> Result<(), GpuError> {
        self.context.enter()?;
        unsafe { result::memset_d8_async(to, byte, bytes, self.stream) }
            .map_err(called("cuMemsetD8Async"))
    }

    /// Goes on when the event has come.
    pub fn wait(&self, event: &Event) -> Result<(), GpuError> {
        self.context.enter()?;
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        unsafe { result::stream::wait_event(self.stream, event.event, flags) }
            .map_err(called("cuStreamWaitEvent"))
    }

    pub fn record(&self, event: &Event) -> Result<(), GpuError> {
        self.context.enter()?;
        unsafe { result::event::record(event.event, self.stream) }.map_err(called("cuEventRecord"))
    }

    pub fn synchronise(&self) -> Result<(), GpuError> {
        self.context.enter()?;
        unsafe { result::stream::synchronize(self.stream) }.map_err(called("cuStreamSynchronize"))
    }

    /// Starts a kernel, whose parameters are one structure.
    pub fn launch(
        &self,
        function: Function,
        grid: [u32; 3],
        threads: u32,
        shared: u32,
        parameters: &[u8],
    ) -> Result<(), GpuError> {
        self.context.enter()?;
        let mut pointers = [parameters.as_ptr().cast_mut().cast::<c_void>()];
        let [x, y, z] = grid;
        unsafe {
            result::launch_kernel(
                function.0,
                (x, y, z),
                (threads, 1, 1),
                shared,
                self.stream,
                &mut pointers,
            )
        }
        .map_err(called("cuLaunchKernel"))
    }
}

#[expect(unsafe_code, reason = "SAFETY: the stream is destroyed once")]
impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
    }
}

/// A point in a queue.
pub(super) struct Event {
    context: Arc<Context>,
    event: sys::CUevent,
}

#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Send for Event {}
#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Sync for Event {}

#[expect(unsafe_code, reason = "SAFETY: the event lives as long as this")]
impl Event {
    /// Waits for it on the host.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.context.enter()?;
        unsafe { result::event::synchronize(self.event) }.map_err(called("cuEventSynchronize"))
    }

    /// Seconds from an earlier event; both have come.
    pub fn seconds_since(&self, earlier: &Self) -> Result<f64, GpuError> {
        // By the name that every driver has: the bindings ask for one that came with CUDA 12.8.
        type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
        self.context.enter()?;
        let mut milliseconds = 0.0f32;
        unsafe {
            let elapsed = sys::culib().get::<Elapsed>(b"cuEventElapsedTime\0");
            let elapsed = elapsed.map_err(|error| GpuError::Call {
                call: "cuEventElapsedTime",
                message: error.to_string(),
            })?;
            elapsed(&raw mut milliseconds, earlier.event, self.event)
        }
        .result()
        .map_err(called("cuEventElapsedTime"))?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

#[expect(unsafe_code, reason = "SAFETY: the event is destroyed once")]
impl Drop for Event {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            let _ = unsafe { result::event::destroy(self.event) };
        }
    }
}

/// A kernel. Its module is never unloaded.
#[derive(Clone, Copy)]
pub(super) struct Function(sys::CUfunction);

#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Send for Function {}
#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Sync for Function {}

#[expect(
    unsafe_code,
    reason = "SAFETY: the driver's handles may be used from any thread"
)]
unsafe impl Send for Module {}

/// Loaded kernels.
pub(super) struct Module {
    context: Arc<Context>,
    module: sys::CUmodule,
}

#[expect(unsafe_code, reason = "SAFETY: the module is never unloaded")]
impl Module {
    /// A kernel, which may ask for `shared` bytes of shared memory.
    pub fn function(&self, name: &str, shared: usize) -> Result<Function, GpuError> {
        self.context.enter()?;
        let name = CString::new(name).unwrap_or_default();
        let function = unsafe { result::module::get_function(self.module, name) };
        let function = function.map_err(called("cuModuleGetFunction"))?;
        if shared > 48 << 10 {
            let attribute =
                sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = c_int::try_from(shared).unwrap_or(c_int::MAX);
            unsafe { result::function::set_function_attribute(function, attribute, bytes) }
                .map_err(called("cuFuncSetAttribute"))?;
        }
        Ok(Function(function))
    }
}
