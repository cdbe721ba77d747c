//! What a command computes on: the processor, GPUs, or a device of candle's.

use crate::memory::{Allowed, available_bytes};
use crate::{DeviceChoice, Event, Events, MachineOptions, Precision, SessionError, Timeline};
use candle_core::{DType, Device};
use concord_checkpoint::{Snapshot, Weights, cache_folder};
use concord_decoder::{Decoder, DecoderError, Loading};
use concord_kernels::{
    Check, Engine, Gpu, GpuError, Isa, KernelConfig, SelfTest, WITH_PLAIN_FORM, WeightFormat,
    gpu_count,
};
use concord_scorer::{Demand, MemoryPlan, Schedule, SchedulePreference, Scorer};
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What others may take of a device, and the passes of the checkpoint that computes.
const MARGIN: u64 = 2 << 30;

/// What a command computes on.
#[derive(Clone)]
pub struct Machine {
    engines: Vec<Engine>,
    precision: Precision,
    ahead: Arc<Mutex<Option<Ahead>>>,
    events: Events,
    /// What ran on it, and when.
    pub timeline: Timeline,
}

/// Memory that is left beside a checkpoint that is loaded before it is planned what its passes take: more than they work in.
const BESIDE_EARLY: u64 = 6 << 30;

/// A checkpoint that is loaded while another one computes, or while prompts are laid out.
struct Ahead {
    weights: Arc<Weights>,
    loading: Vec<Loading>,
    /// Of the first one: the least memory that was free on a device before it was begun.
    free_before: Option<u64>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.engines).finish()
    }
}

impl Machine {
    /// Opens the devices that the user names, and checks on each GPU the kernels that these checkpoints need. A kernel that comes
    /// out wrong is not used: its plain form is, or the processor, and that is said.
    ///
    /// # Errors
    /// [`SessionError`] naming what is missing.
    pub fn open<'a>(
        options: &MachineOptions,
        snapshots: impl IntoIterator<Item = &'a Snapshot>,
        events: Events,
    ) -> Result<Self, SessionError> {
        let mut machine = Self::untested(options, events)?;
        machine.check(snapshots);
        Ok(machine)
    }

    /// The same without any check.
    ///
    /// # Errors
    /// [`SessionError`] naming what is missing.
    pub fn untested(options: &MachineOptions, events: Events) -> Result<Self, SessionError> {
        let held = match options.precision {
            Precision::Int8 => WeightFormat::Int8,
            _ => WeightFormat::Native,
        };
        let generic = [DeviceChoice::Metal, DeviceChoice::Generic].contains(&options.device);
        if held == WeightFormat::Int8 && generic {
            return Err(SessionError::Options {
                message: "candle's operations have no weights of eight bits".to_owned(),
                help: "leave --dtype out, or use another --device",
            });
        }
        let cpu = || Engine::Cpu(Isa::best(), held);
        let engines = match &options.device {
            DeviceChoice::Cpu => vec![cpu()],
            DeviceChoice::Generic => vec![Engine::Generic(Device::Cpu)],
            DeviceChoice::Metal => vec![Engine::Generic(metal()?)],
            DeviceChoice::Cuda(index) => vec![Engine::Cuda(open(*index)?, held)],
            DeviceChoice::CudaAll => {
                let count = gpu_count()?;
                let gpus = (0..count).map(open).collect::<Result<Vec<_>, _>>()?;
                gpus.into_iter()
                    .map(|gpu| Engine::Cuda(gpu, held))
                    .collect()
            }
            DeviceChoice::Auto => match gpu_count().and_then(|_| Gpu::open(0, kernel_cache())) {
                Ok(gpu) => vec![Engine::Cuda(gpu, held)],
                Err(error) => {
                    // A machine without a GPU is no reason to speak of one.
                    let is_usual = match &error {
                        GpuError::NotBuilt | GpuError::NoDevice => true,
                        GpuError::Library { library } => library.starts_with("libcuda."),
                        _ => false,
                    };
                    if !is_usual {
                        events(&Event::NoGpu { error: &error });
                    }
                    vec![cpu()]
                }
            },
        };
        Ok(Self {
            engines,
            precision: options.precision,
            ahead: Arc::default(),
            events,
            timeline: Timeline::begin(),
        })
    }

    /// Tries the kernels that these checkpoints need.
    fn check<'a>(&mut self, snapshots: impl IntoIterator<Item = &'a Snapshot>) {
        let mut needed: Vec<(DType, (usize, usize), bool)> = Vec::new();
        for snapshot in snapshots {
            let spec = &snapshot.spec;
            let heads = (spec.head_dim, spec.heads / spec.kv_heads.max(1));
            let need = (self.dtype(snapshot), heads, spec.has_experts());
            if !needed.contains(&need) {
                needed.push(need);
            }
        }
        let gpus: Vec<Arc<Gpu>> = self
            .engines
            .iter()
            .filter_map(Engine::gpu)
            .cloned()
            .collect();
        let held = self.first().held();
        'gpus: for gpu in gpus {
            let name = gpu.description().name;
            for (dtype, heads, experts) in &needed {
                let checks = gpu.self_test(&SelfTest::brief(*dtype, *heads, *experts));
                let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed()).collect();
                let Some(first) = failed.first() else {
                    continue;
                };
                if failed
                    .iter()
                    .all(|check| WITH_PLAIN_FORM.contains(&check.kernel))
                {
                    for check in failed {
                        (self.events)(&Event::PlainKernel {
                            gpu: gpu.index(),
                            name: &name,
                            what: &check.what,
                        });
                    }
                    continue;
                }
                let what = first
                    .error
                    .clone()
                    .unwrap_or_else(|| "it came out wrong".into());
                (self.events)(&Event::GpuNotUsed {
                    gpu: gpu.index(),
                    name: &name,
                    what: &first.what,
                    problem: &what,
                });
                let is_other = |engine: &Engine| {
                    engine
                        .gpu()
                        .is_none_or(|other| other.index() != gpu.index())
                };
                self.engines.retain(is_other);
                continue 'gpus;
            }
            (self.events)(&Event::Gpu {
                gpu: gpu.index(),
                name: &name,
            });
        }
        if self.engines.is_empty() {
            (self.events)(&Event::Processor);
            self.engines = vec![Engine::Cpu(Isa::best(), held)];
        }
    }

    /// One device.
    pub fn of(engine: Engine) -> Self {
        Self {
            engines: vec![engine],
            precision: Precision::Auto,
            ahead: Arc::default(),
            events: crate::silent(),
            timeline: Timeline::begin(),
        }
    }

    /// Every device.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// The first device.
    pub fn first(&self) -> &Engine {
        &self.engines[0]
    }

    /// How many devices there are.
    pub fn count(&self) -> usize {
        self.engines.len()
    }

    /// The sizes that passes are cut to.
    pub fn config(&self) -> KernelConfig {
        self.first().config()
    }

    /// What products multiply: as stored, where the device has products of that.
    pub fn dtype(&self, snapshot: &Snapshot) -> DType {
        let stored = snapshot.weights.stored_dtype();
        match (self.precision, self.first()) {
            (Precision::F32, _) => DType::F32,
            (Precision::Bf16, _) => DType::BF16,
            (Precision::F16, _) => DType::F16,
            (Precision::Int8 | Precision::Auto, Engine::Cuda(..)) => match stored {
                DType::F16 => DType::F16,
                _ => DType::BF16,
            },
            // A Mac's memory is small; on the processor candle widens halves for every product.
            (Precision::Int8 | Precision::Auto, Engine::Generic(device)) => {
                if device.is_metal() {
                    stored
                } else {
                    DType::F32
                }
            }
            (Precision::Int8 | Precision::Auto, Engine::Cpu(path, _)) => match stored {
                DType::BF16 if !path.has_bf16() => DType::F32,
                stored => stored,
            },
        }
    }

    /// What the manifest calls what products multiply.
    pub fn dtype_name(&self, snapshot: &Snapshot) -> String {
        let dtype = self.dtype(snapshot).as_str();
        match self.first().held() {
            WeightFormat::Int8 => format!("int8 weights, {dtype}"),
            WeightFormat::Native => dtype.to_owned(),
        }
    }

    /// What the manifest calls what products run on.
    pub fn products(&self) -> &'static str {
        match self.first() {
            Engine::Cpu(path, _) => path.name(),
            Engine::Generic(_) => "candle",
            Engine::Cuda(..) => "cublaslt",
        }
    }

    /// What the manifest calls the devices.
    pub fn name(&self) -> String {
        match &self.engines[..] {
            [one] => one.to_string(),
            more => more
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        }
    }

    /// What is stored of the devices.
    pub fn described(&self) -> Value {
        let gpus = self.engines.iter().filter_map(Engine::gpu).map(|gpu| {
            let of = gpu.description();
            json!({
                "name": of.name,
                "uuid": of.uuid,
                "capability": of.capability,
                "memory": of.total_bytes,
                "driver": of.driver,
                "compiler": of.compiler,
                "cublaslt": of.products,
                "plain_kernels": gpu.plain_kernels(),
            })
        });
        Value::Array(gpus.collect())
    }

    /// Plans what a checkpoint is asked in the memory of the devices. Nothing changes but that what is free is given back first, and that
    /// a checkpoint which was loaded ahead is let go where there is no room else; [`Machine::apply`] does what the plan says.
    ///
    /// # Errors
    /// [`SessionError::Device`] where no wanted schedule fits.
    pub fn plan(
        &self,
        allowed: &Allowed,
        name: &str,
        demands: &[Demand<'_>],
    ) -> Result<MemoryPlan, SessionError> {
        match self.plan_here(allowed, name, demands) {
            // What comes next can wait.
            Err(_) if self.forget_ahead() => self.plan_here(allowed, name, demands),
            other => other,
        }
    }

    fn plan_here(
        &self,
        allowed: &Allowed,
        name: &str,
        demands: &[Demand<'_>],
    ) -> Result<MemoryPlan, SessionError> {
        let gpus: Vec<&Arc<Gpu>> = self.engines.iter().filter_map(Engine::gpu).collect();
        if gpus.is_empty() {
            return allowed.plan(name, demands);
        }
        let mut free = u64::MAX;
        for gpu in &gpus {
            gpu.trim();
            // What others may take meanwhile.
            free = free.min(gpu.free_bytes()? as u64 / 100 * 97);
        }
        if let (false, Some(before)) = (allowed.loaded, self.free_before()) {
            // What is planned has that memory: it is loaded there already.
            free = before / 100 * 97;
        }
        let free = allowed.memory.map_or(free, |memory| memory.min(free));
        // Whatever passes had to be before.
        let config = gpus[0].config().kernel_config();
        let shared: Vec<Demand<'_>> = demands
            .iter()
            .map(|demand| Demand {
                config: &config,
                rows: demand.rows.div_ceil(gpus.len() as u64),
                ..*demand
            })
            .collect();
        let host = available_bytes().map(|bytes| bytes / 10 * 9 / gpus.len() as u64);
        let plan = MemoryPlan::on_gpu(&shared, allowed.wanted, free, host, &allowed.spill);
        plan.map_err(|error| {
            let help = match allowed.memory {
                Some(_) => "allow more with --memory",
                None => "end other programs on the device, use --dtype int8, or --device cpu",
            };
            SessionError::Device {
                message: format!("{name}: on {}: {error}", self.name()),
                help: help.to_owned(),
            }
        })
    }

    /// Does what a plan says: passes of its length. Tells of it where the checkpoint is still to be loaded.
    pub fn apply(&self, allowed: &Allowed, name: &str, plan: &MemoryPlan) {
        for gpu in self.engines.iter().filter_map(Engine::gpu) {
            gpu.set_pass_rows(plan.rows_per_pass);
            gpu.set_kv_mib(plan.kv_mib);
        }
        if !allowed.loaded {
            (self.events)(&Event::Planned { name, plan });
        }
    }

    /// Plans, and does what the plan says.
    ///
    /// # Errors
    /// As [`Machine::plan`].
    pub fn settle(
        &self,
        allowed: &Allowed,
        name: &str,
        demands: &[Demand<'_>],
    ) -> Result<MemoryPlan, SessionError> {
        let plan = self.plan(allowed, name, demands)?;
        self.apply(allowed, name, &plan);
        Ok(plan)
    }

    /// Tells of what happens elsewhere with this machine.
    pub fn tell(&self, event: &Event<'_>) {
        (self.events)(event);
    }

    /// Loads a checkpoint on every device, each on a thread of its own.
    ///
    /// # Errors
    /// As [`Decoder::load_on`].
    pub fn load(
        &self,
        schedule: &Schedule,
        snapshot: &Snapshot,
        dtype: DType,
    ) -> Result<Vec<Decoder>, DecoderError> {
        let load = |engine: &Engine| schedule.load(engine, snapshot, dtype, engine.config());
        if let [engine] = &self.engines[..] {
            return Ok(vec![load(engine)?]);
        }
        std::thread::scope(|scope| {
            let threads = self
                .engines
                .iter()
                .map(|engine| scope.spawn(move || load(engine)));
            let threads: Vec<_> = threads.collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(decoder) => decoder,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        })
    }

    /// Begins to load a checkpoint that comes next, where devices have room for it beside the one that computes and what that is
    /// planned to take.
    pub fn load_ahead(&self, snapshot: &Snapshot, allowed: &Allowed, plan: &MemoryPlan) {
        let dtype = self.dtype(snapshot);
        for engine in &self.engines {
            let Some(gpu) = engine.gpu() else { return };
            let next = Decoder::weight_sizes(snapshot, dtype, engine, false).total() / 8 * 9;
            let free = gpu.free_bytes().unwrap_or(0) as u64;
            // Its weights are there already, what it works in is not.
            let works = plan.peak() - plan.weights;
            let over = allowed
                .memory
                .is_some_and(|memory| plan.peak() + next > memory);
            if over || free < next + works + MARGIN {
                return;
            }
        }
        self.begin_ahead(snapshot, None);
    }

    /// Begins to load the checkpoint that is asked first, where devices have plenty of room for it and nothing says that its layers are
    /// streamed. It is for a machine on which nothing is loaded.
    pub fn load_early(&self, snapshot: &Snapshot, allowed: &Allowed) {
        let dtype = self.dtype(snapshot);
        let is_resident = matches!(
            allowed.wanted,
            SchedulePreference::Auto | SchedulePreference::PassMajor
        );
        if !is_resident || snapshot.adapter.is_some() || snapshot.server.is_some() {
            return;
        }
        let mut least = u64::MAX;
        for engine in &self.engines {
            let Some(free) = engine.gpu().and_then(|gpu| gpu.free_bytes().ok()) else {
                return;
            };
            let takes = Decoder::weight_sizes(snapshot, dtype, engine, false).total() / 8 * 9;
            let most = allowed.memory.unwrap_or(u64::MAX).min(free as u64);
            if most < takes + BESIDE_EARLY {
                return;
            }
            least = least.min(free as u64);
        }
        self.begin_ahead(snapshot, Some(least));
    }

    fn begin_ahead(&self, snapshot: &Snapshot, free_before: Option<u64>) {
        let dtype = self.dtype(snapshot);
        let load = |engine: &Engine| Decoder::load_beside(engine, snapshot, dtype, engine.config());
        let Ok(loading) = self.engines.iter().map(load).collect() else {
            return;
        };
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        *ahead = Some(Ahead {
            weights: Arc::clone(&snapshot.weights),
            loading,
            free_before,
        });
    }

    /// Whether the checkpoint that is asked first is loaded, or on its way, before it was planned.
    pub fn is_loaded_early(&self) -> bool {
        self.free_before().is_some()
    }

    /// The memory that was free before the checkpoint that is asked first was begun to be loaded, while it is.
    fn free_before(&self) -> Option<u64> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.as_ref().and_then(|ahead| ahead.free_before)
    }

    /// The decoders of a checkpoint that was loaded ahead, and whether another one computed meanwhile; `None` where it was not, or
    /// could not be.
    pub fn loaded_ahead(&self, snapshot: &Snapshot) -> Option<(Vec<Decoder>, bool)> {
        let found = {
            let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            ahead.take()?
        };
        if !Arc::ptr_eq(&found.weights, &snapshot.weights) || snapshot.adapter.is_some() {
            return None;
        }
        let decoders = found.loading.into_iter().map(|loading| {
            let (decoder, when) = loading.wait()?;
            self.timeline.note("load ahead", &snapshot.name, when);
            Ok::<_, DecoderError>(decoder)
        });
        // What went wrong goes wrong again when it is loaded in its turn, and is said then.
        let decoders = decoders.collect::<Result<Vec<_>, _>>().ok()?;
        Some((decoders, found.free_before.is_none()))
    }

    /// Lets go of what was loaded ahead; whether there was something.
    pub fn forget_ahead(&self) -> bool {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        // Letting go of a loading waits until it is off the device.
        ahead.take().is_some()
    }
}

/// A scorer that shares its work among the decoders of one checkpoint.
pub fn sharing<'a>(scorer: Scorer<'a>, others: &'a [Decoder], memory: &MemoryPlan) -> Scorer<'a> {
    scorer
        .sharing(others.iter().collect())
        .with_streams_on_host(memory.on_host > 0)
}

fn open(index: usize) -> Result<Arc<Gpu>, SessionError> {
    Ok(Gpu::open(index, kernel_cache())?)
}

/// The processor's name, from the kernel.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |name| name.trim_matches([':', '\t', ' ']).to_owned(),
    )
}

/// Where compiled kernels are kept.
pub fn kernel_cache() -> Option<PathBuf> {
    Some(cache_folder()?.join("kernels"))
}

fn metal() -> Result<Device, SessionError> {
    if !candle_core::utils::metal_is_available() {
        return Err(SessionError::Device {
            message: "this program was built without Metal".to_owned(),
            help: "on a Mac, build it with --features metal; elsewhere use --device cpu".to_owned(),
        });
    }
    Device::new_metal(0).map_err(|error| SessionError::Device {
        message: format!("metal: {error}"),
        help: "use --device cpu".to_owned(),
    })
}
