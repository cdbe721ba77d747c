//! How a device is doing: clocks, what holds them down, memory, heat. NVIDIA's management library is loaded when it is asked.

/// How a device is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuState {
    /// The driver's own version.
    pub driver: Option<String>,
    /// The clock of its processors now and at most, in MHz.
    pub clock_mhz: Option<(u32, u32)>,
    /// The clock of its memory now and at most, in MHz.
    pub memory_clock_mhz: Option<(u32, u32)>,
    /// What holds the clocks down.
    pub throttled_by: Vec<String>,
    /// Memory that is used, whoever uses it, and all of it, in bytes.
    pub memory_bytes: Option<(u64, u64)>,
    /// Its temperature, in degrees Celsius.
    pub celsius: Option<u32>,
    /// What it draws and may draw, in watts.
    pub watts: Option<(f64, f64)>,
    /// Processes that compute on it.
    pub processes: Option<usize>,
}

/// How a device is doing, by its identity.
///
/// # Errors
/// Why nothing is known of it.
#[cfg(feature = "cuda")]
pub fn gpu_state(uuid: &str) -> Result<GpuState, String> {
    use nvml_wrapper::Nvml;
    use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};

    let named = super::raw::named_library("libnvidia-ml.so.1");
    let nvml = match &named {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    };
    let nvml = nvml.map_err(|error| format!("libnvidia-ml: {error}"))?;
    let device = nvml
        .device_by_uuid(uuid)
        .map_err(|error| error.to_string())?;
    let clock = |kind: Clock| {
        let now = device.clock_info(kind).ok()?;
        Some((now, device.max_clock_info(kind).ok()?))
    };
    let throttled = device.current_throttle_reasons().map(|reasons| {
        let names = reasons.iter_names().map(|(name, _)| name);
        let names = names.filter(|name| *name != "NONE");
        names
            .map(|name| name.to_lowercase().replace('_', " "))
            .collect()
    });
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1000.0;
    let memory = device.memory_info().ok();
    Ok(GpuState {
        driver: nvml.sys_driver_version().ok(),
        clock_mhz: clock(Clock::SM),
        memory_clock_mhz: clock(Clock::Memory),
        throttled_by: throttled.unwrap_or_default(),
        memory_bytes: memory.map(|memory| (memory.used, memory.total)),
        celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        watts: device
            .power_usage()
            .ok()
            .zip(device.enforced_power_limit().ok())
            .map(|(now, most)| (watts(now), watts(most))),
        processes: device.running_compute_processes().ok().map(|all| all.len()),
    })
}

/// Nothing is known without CUDA.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cuda"))]
pub fn gpu_state(_: &str) -> Result<GpuState, String> {
    Err(super::GpuError::NotBuilt.to_string())
}
