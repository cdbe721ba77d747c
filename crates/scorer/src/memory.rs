//! How much memory a run takes, worked out before it begins, and the schedule that fits.

use crate::Plan;
use candle_core::DType;
use concord_checkpoint::{DecoderSpec, Mlp, Snapshot};
use concord_decoder::{Decoder, DecoderError, KvTree, WeightSizes};
use concord_kernels::{Engine, KernelConfig, WeightFormat};
use std::fmt;
use std::path::PathBuf;

/// In which order layers and passes are gone through. Readings are the same bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Every layer for one pass, then the next pass: all weights stay in memory.
    PassMajor,
    /// Every pass for one layer, then the next layer: each weight is read once, and what waits is the residual stream of all
    /// rows, in memory or, where a folder is named, in a file there.
    LayerMajor {
        /// Where the file is.
        spill: Option<Spill>,
    },
}

/// Where rows between layers are that do not stay in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill {
    /// The folder of the file.
    pub folder: PathBuf,
    /// Under what they outlive a stop. They then take twice the room; without it they are gone with the process.
    pub keep: Option<Keep>,
}

impl Spill {
    /// A file in a folder, gone with the process.
    pub fn within(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            keep: None,
        }
    }

    /// Whether a run that was stopped left rows there.
    pub fn has_rows(&self) -> bool {
        let keep = self.keep.as_ref();
        keep.is_some_and(|keep| crate::kept::are_kept(&self.folder, &keep.name()))
    }

    /// Removes what stopped runs left there, which will not be gone on from.
    ///
    /// # Errors
    /// [`std::io::Error`] where a file cannot be removed.
    pub fn remove_rows(&self) -> std::io::Result<()> {
        let Some(keep) = &self.keep else {
            return Ok(());
        };
        let left_over = crate::kept::left_over(&self.folder, &keep.name());
        left_over.into_iter().try_for_each(std::fs::remove_file)
    }

    /// How often the rows are in files.
    fn files(&self) -> u64 {
        1 + u64::from(self.keep.is_some())
    }
}

/// Everything that decides rows beside the prompts: checkpoint, numerics, and whose run it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep(pub String);

impl Keep {
    /// What files are called by it.
    pub(crate) fn name(&self) -> String {
        blake3::hash(self.0.as_bytes()).to_hex()[..16].to_owned()
    }
}

impl Schedule {
    /// Loads a decoder as the schedule needs it.
    ///
    /// # Errors
    /// As [`Decoder::load_on`].
    pub fn load(
        &self,
        engine: &Engine,
        snapshot: &Snapshot,
        dtype: DType,
        config: KernelConfig,
    ) -> Result<Decoder, DecoderError> {
        match self {
            Self::PassMajor => Decoder::load_on(engine, snapshot, dtype, config),
            Self::LayerMajor { .. } => Decoder::streamed_on(engine, snapshot, dtype, config),
        }
    }

    /// What the manifest calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PassMajor => "pass-major",
            Self::LayerMajor { spill: None } => "layer-major",
            Self::LayerMajor { spill: Some(_) } => "layer-major, spilled",
        }
    }
}

/// Which schedule is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchedulePreference {
    /// The first that fits: pass-major, layer-major, layer-major with a file.
    #[default]
    Auto,
    /// Pass-major or nothing.
    PassMajor,
    /// Layer-major, with a file only where the streams do not fit.
    LayerMajor,
    /// Layer-major with a file.
    Spilled,
}

/// What decides how much memory a run takes.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The decoder's shape.
    pub spec: &'a DecoderSpec,
    /// Its weights.
    pub weights: &'a WeightSizes,
    /// What computes.
    pub engine: &'a Engine,
    /// What products multiply.
    pub dtype: DType,
    /// Sizes of passes.
    pub config: &'a KernelConfig,
    /// Rows of the trie.
    pub rows: u64,
    /// The longest sequence.
    pub positions: u64,
    /// Bytes of readings that are kept ([`Plan::reading_bytes`]).
    pub readings: u64,
    /// Texts that are written; 0 where nothing is.
    pub texts: u64,
}

impl<'a> Demand<'a> {
    /// What a plan takes, where nothing is written.
    pub fn of(
        plan: &Plan,
        spec: &'a DecoderSpec,
        weights: &'a WeightSizes,
        (engine, dtype): (&'a Engine, DType),
        config: &'a KernelConfig,
    ) -> Self {
        Self {
            spec,
            weights,
            engine,
            dtype,
            config,
            rows: plan.trie.len() as u64,
            positions: plan.trie.positions() as u64,
            readings: plan.reading_bytes(),
            texts: 0,
        }
    }
}

/// The memory of one run, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The schedule.
    pub schedule: Schedule,
    /// What the process has already.
    pub before: u64,
    /// Weights that are in memory at the same time.
    pub weights: u64,
    /// Residual streams that wait between layers.
    pub streams: u64,
    /// Keys and values.
    pub kv: u64,
    /// Everything else that a pass works on, or reading a matrix takes.
    pub working: u64,
    /// Readings, which stay until the run is stored.
    pub readings: u64,
    /// The head while it is read, before anything else is there.
    pub reading_head: u64,
    /// A file of residual streams on disk.
    pub disk: u64,
    /// What may be used.
    pub cap: Option<u64>,
    /// The device whose memory it is, where that is not the host's.
    pub device: Option<String>,
    /// Whether rows between layers wait in the host's memory instead, and what they take there.
    pub on_host: u64,
    /// Rows of a pass.
    pub rows_per_pass: usize,
    /// The most memory that keys and values of texts may take, in MiB.
    pub kv_mib: usize,
}

/// No schedule fits.
#[derive(Debug, thiserror::Error)]
#[error("the run takes at least {} of memory, and may use {}", human(*.least), human(*.cap))]
pub struct OverBudget {
    /// The least that the wanted schedules take.
    pub least: u64,
    /// What may be used.
    pub cap: u64,
}

/// How often passes are halved before another schedule is taken: an eighth of 4,096 rows still fills a device.
const MOST_HALVED: u32 = 3;
/// How often the pages that texts may take are halved before passes are.
const MOST_FEWER: u32 = 6;

/// What compiled kernels and small lists take on a GPU beside what is counted.
const GPU_BESIDE: u64 = 64 << 20;

/// What threads, their stacks and gaps between blocks take beside what is counted.
const BESIDE: u64 = 12 << 20;

impl MemoryPlan {
    /// The first wanted schedule on which everything that is demanded, one after the other, fits into `cap` bytes, of which the
    /// process has `before` already. The plan is that of what takes most.
    ///
    /// # Errors
    /// [`OverBudget`] where none does.
    pub fn new(
        demands: &[Demand<'_>],
        wanted: SchedulePreference,
        before: u64,
        cap: Option<u64>,
        spill: &Spill,
    ) -> Result<Self, OverBudget> {
        let layer_major = |spill| Schedule::LayerMajor { spill };
        let all = [
            Schedule::PassMajor,
            layer_major(None),
            layer_major(Some(spill.clone())),
        ];
        let candidates = match wanted {
            SchedulePreference::Auto => &all[..],
            SchedulePreference::PassMajor => &all[..1],
            SchedulePreference::LayerMajor => &all[1..],
            SchedulePreference::Spilled => &all[2..],
        };
        let most = |schedule: &Schedule| {
            let plans = demands
                .iter()
                .map(|demand| Self::of(demand, schedule.clone(), before, cap));
            let disk = plans.clone().map(|plan| plan.disk).max()?;
            let most = plans.max_by_key(Self::peak)?;
            Some(Self { disk, ..most })
        };
        let plans = candidates.iter().filter_map(most);
        let mut least = u64::MAX;
        for plan in plans {
            if cap.is_none_or(|cap| plan.peak() <= cap) {
                return Ok(plan);
            }
            least = least.min(plan.peak());
        }
        Err(OverBudget {
            least,
            cap: cap.unwrap_or(0),
        })
    }

    /// The same for memory of a GPU, of which `free` bytes may be taken; the host has `host` bytes for rows between layers. Where
    /// they fit neither, they go to a file.
    ///
    /// # Errors
    /// [`OverBudget`] where no wanted schedule fits.
    pub fn on_gpu(
        demands: &[Demand<'_>],
        wanted: SchedulePreference,
        free: u64,
        host: Option<u64>,
        spill: &Spill,
    ) -> Result<Self, OverBudget> {
        let layer_major = |spill| Schedule::LayerMajor { spill };
        let all = [
            (Schedule::PassMajor, false),
            (layer_major(None), false),
            (layer_major(None), true),
            (layer_major(Some(spill.clone())), true),
        ];
        let candidates = match wanted {
            SchedulePreference::Auto => &all[..],
            SchedulePreference::PassMajor => &all[..1],
            SchedulePreference::LayerMajor => &all[1..],
            SchedulePreference::Spilled => &all[3..],
        };
        let writes = demands.iter().any(|demand| demand.texts > 0);
        let fewer = if writes { MOST_FEWER } else { 0 };
        let mut least = u64::MAX;
        for (schedule, on_host) in candidates {
            // Fewer texts at once, and shorter passes, before another schedule: they cost little as long as there are many.
            let sizes = (0..=MOST_HALVED).flat_map(|halved| (0..=fewer).map(move |f| (halved, f)));
            for sizes in sizes {
                let plan = Self::gpu_most(demands, schedule, free, *on_host, sizes);
                let Some(plan) = plan else { continue };
                if plan.peak() <= free && host.is_none_or(|host| plan.on_host <= host) {
                    return Ok(plan);
                }
                least = least.min(plan.peak());
            }
        }
        Err(OverBudget { least, cap: free })
    }

    /// The plan of what takes most on a schedule, with passes that are halved so often, and pages of texts.
    fn gpu_most(
        demands: &[Demand<'_>],
        schedule: &Schedule,
        free: u64,
        on_host: bool,
        (halved, fewer): (u32, u32),
    ) -> Option<Self> {
        let plans = demands.iter().map(|demand| {
            let config = KernelConfig {
                rows_per_pass: (demand.config.rows_per_pass >> halved).max(1),
                kv_mib: (demand.config.kv_mib >> fewer).max(1),
                ..*demand.config
            };
            let demand = Demand {
                config: &config,
                ..*demand
            };
            Self::gpu_of(&demand, schedule.clone(), free, on_host)
        });
        let plans: Vec<Self> = plans.collect();
        let disk = plans.iter().map(|plan| plan.disk).max()?;
        let on_host = plans.iter().map(|plan| plan.on_host).max()?;
        let most = plans.into_iter().max_by_key(Self::peak)?;
        Some(Self {
            disk,
            on_host,
            ..most
        })
    }

    fn gpu_of(demand: &Demand<'_>, schedule: Schedule, free: u64, on_host: bool) -> Self {
        let Demand {
            spec,
            weights,
            config,
            ..
        } = *demand;
        let short = demand.dtype.size_in_bytes() as u64;
        let hidden = 4 * spec.hidden_size as u64;
        let layers = spec.layers.len() as u64;
        // Products have their full number of rows, however few there are.
        let rows = config.rows_per_pass as u64;
        let texts = demand.texts.min(config.texts as u64);
        let path =
            demand.positions.next_power_of_two().max(64) * 2 * spec.kv_width() as u64 * short;
        let two = 2.min(layers) * weights.largest_layer();
        let all = demand.rows.next_multiple_of(rows) * hidden;
        let (kept, kv, streams, waiting, disk) = match &schedule {
            Schedule::LayerMajor { .. } if demand.texts > 0 => {
                (weights.outer + two, layers * path, 0, 0, 0)
            }
            Schedule::PassMajor => (weights.total(), layers * path, 0, 0, 0),
            Schedule::LayerMajor { spill: Some(spill) } => {
                let disk = spill.files() * all;
                (weights.outer + two, path, 2 * rows * hidden, 0, disk)
            }
            Schedule::LayerMajor { spill: None } if on_host => {
                // Two passes on their way beside the one that is computed.
                (weights.outer + two, path, 2 * rows * hidden, all, 0)
            }
            Schedule::LayerMajor { spill: None } => (weights.outer + two, path, all, 0, 0),
        };
        let inside = spec.layers.iter().map(|layer| match layer.mlp {
            Mlp::Dense { size } => 3 * size as u64 * short,
            Mlp::Experts {
                size,
                shared,
                chosen,
                ..
            } => {
                let shared = shared.map_or(0, |shared| 3 * shared as u64 * short);
                // What each of its experts says, and sums.
                chosen as u64 * (size as u64 * short + hidden) + shared + 4 * hidden
            }
        });
        let inside = inside.max().unwrap_or(0);
        let qkv = (spec.query_width() + 2 * spec.kv_width()) as u64;
        // The stream and what is added to it, two norms of it, queries with keys and values, what attention gives, the MLP's inside.
        let row = 2 * hidden
            + 2 * short * spec.hidden_size as u64
            + short * (qkv + spec.query_width() as u64)
            + inside;
        // Rows of experts are packed: each begins at a whole number of 128.
        let packed = spec.layers.iter().map(|layer| match layer.mlp {
            Mlp::Experts { size, count, .. } => 128 * count as u64 * (size as u64 * short + hidden),
            Mlp::Dense { .. } => 0,
        });
        let packed = packed.max().unwrap_or(0);
        let heads = config.head_rows as u64;
        let head = heads * 4 * spec.vocab_size as u64
            + 2 * (heads + rows) * short * spec.hidden_size as u64;
        // Sums of pieces of 256 depths, of each head; a page has 64 depths.
        let pages = kv_pages(demand);
        let page = KvTree::page_bytes(spec, demand.engine.kv_dtype(demand.dtype)) as u64;
        let width = spec.query_width() as u64 + 2 * spec.heads as u64;
        let pieces = (pages / page / 4 + texts) * 4 * width;
        // A weight of eight bits is widened while it multiplies.
        let widened = match demand.engine.held() {
            WeightFormat::Int8 => weights.reading,
            WeightFormat::Native => 0,
        };
        // Buffers are taken in steps of an eighth.
        let working =
            GPU_BESIDE + (rows.max(texts) * row + head + pieces + widened + packed) / 8 * 9;
        Self {
            schedule,
            before: 0,
            weights: kept / 32 * 33,
            streams,
            kv: kv + pages / 8 * 9,
            working,
            readings: 0,
            reading_head: 0,
            disk,
            cap: Some(free),
            device: Some(demand.engine.to_string()),
            on_host: waiting,
            rows_per_pass: config.rows_per_pass,
            kv_mib: config.kv_mib,
        }
    }

    fn of(demand: &Demand<'_>, schedule: Schedule, before: u64, cap: Option<u64>) -> Self {
        let Demand {
            spec,
            weights,
            config,
            ..
        } = *demand;
        let hidden = 4 * spec.hidden_size as u64;
        let rows = demand.rows.min(config.rows_per_pass as u64);
        let kv_row = 8 * spec.kv_width() as u64;
        let layers = spec.layers.len() as u64;
        let path = demand.positions * kv_row;
        let pages = kv_pages(demand);
        let (kept, kv, streams, disk) = match &schedule {
            // Every token goes through all layers, which are read again for each.
            Schedule::LayerMajor { .. } if demand.texts > 0 => {
                let held = 2.min(layers) * weights.largest_layer();
                (weights.outer + held, layers * path, 0, 0)
            }
            Schedule::PassMajor => (weights.total(), layers * path, 0, 0),
            Schedule::LayerMajor { spill } => {
                // The layer that computes, and the next one, which is read meanwhile.
                let held = 2.min(layers) * weights.largest_layer();
                let all = demand.rows * hidden;
                let (streams, disk) = match spill {
                    None => (all, 0),
                    // One pass, as tensor and as the bytes that are written.
                    Some(spill) => (rows * hidden, spill.files() * all),
                };
                (weights.outer + held, path, streams, disk)
            }
        };
        let short = demand.engine.rows_as(demand.dtype).size_in_bytes();
        let pass = rows * pass_row(spec, short) + attending(demand.positions);
        let head = logits(spec, config, demand.rows)
            + (config.waiting_rows as u64 + rows) * hidden / 4 * short as u64;
        // What reads a matrix reads before the first pass where all are kept, and meanwhile where they are not.
        let working = BESIDE
            + match schedule {
                Schedule::PassMajor => (pass + head + kv + pages)
                    .max(weights.reading)
                    .saturating_sub(kv + pages),
                Schedule::LayerMajor { .. } => pass + head + weights.reading,
            };
        Self {
            schedule,
            before,
            weights: kept,
            streams,
            kv: kv + pages,
            working,
            readings: demand.readings,
            reading_head: weights.reading_head,
            disk,
            cap,
            device: None,
            on_host: 0,
            rows_per_pass: config.rows_per_pass,
            kv_mib: config.kv_mib,
        }
    }

    /// The most that the process will have at any time.
    pub fn peak(&self) -> u64 {
        let all = self.weights + self.streams + self.kv + self.working + self.readings;
        self.before + all.max(self.reading_head)
    }
}

/// Bytes of the pages that texts in hand come to need, as the scorer takes them.
fn kv_pages(demand: &Demand<'_>) -> u64 {
    if demand.texts == 0 {
        return 0;
    }
    let dtype = demand.engine.kv_dtype(demand.dtype);
    let page = KvTree::page_bytes(demand.spec, dtype) as u64;
    let longest = demand.positions.div_ceil(64);
    let room = ((demand.config.kv_mib as u64) << 20) / page;
    let at_once = demand.texts.min(demand.config.texts as u64);
    page * room.clamp(longest, longest * at_once)
}

/// Bytes that one row of a pass takes while it goes through a layer.
fn pass_row(spec: &DecoderSpec, short: usize) -> u64 {
    let inner = spec.layers.iter().map(|layer| match layer.mlp {
        Mlp::Dense { size } => size,
        // An expert's rows are gathered, computed in f32 and added up.
        Mlp::Experts { size, shared, .. } => size.max(shared.unwrap_or(0)) + 4 * spec.hidden_size,
    });
    let inner = inner.max().unwrap_or(0);
    let hidden = spec.hidden_size;
    let qkv = spec.query_width() + 2 * spec.kv_width();
    // The stream, two norms of it, queries with keys and values, what attention gives, and the MLP's inside.
    let row = 4 * hidden + 2 * short * hidden + 4 * qkv + short * (spec.query_width() + inner);
    row as u64
}

/// Bytes that threads keep of the weights of sixteen queries and four heads, and of the list of their keys.
fn attending(positions: u64) -> u64 {
    let threads = rayon::current_num_threads() as u64;
    threads * positions * (16 * 4 * 4 + 48)
}

/// Bytes of one slice of logits.
fn logits(spec: &DecoderSpec, config: &KernelConfig, rows: u64) -> u64 {
    rows.min(config.head_rows as u64) * 4 * spec.vocab_size as u64
}

/// A size for people, in binary units.
pub fn human(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if size < 1024.0 {
            return format!("{size:.0} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} GiB")
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device.as_ref().map(|device| format!("{device} "));
        let working = self.kv + self.working + self.readings;
        let mut parts = vec![("weights", self.weights)];
        if self.streams > 0 {
            parts.push(("residual streams", self.streams));
        }
        parts.push(("working", working));
        if self.device.is_none() {
            parts.push(("resident", self.before));
        }
        let parts = parts.into_iter();
        let parts: Vec<String> = parts
            .map(|(what, bytes)| format!("{what} {}", human(bytes)))
            .collect();
        write!(
            formatter,
            "{}memory plan: {} = peak {}",
            device.unwrap_or_default(),
            parts.join(" + "),
            human(self.peak())
        )?;
        if let Some(cap) = self.cap {
            write!(formatter, " of {}", human(cap))?;
        }
        write!(formatter, "; {}", self.schedule.name())?;
        if self.device.is_some() {
            write!(formatter, ", {} rows a pass", self.rows_per_pass)?;
        }
        if self.on_host > 0 {
            write!(formatter, " ({} in the host's memory)", human(self.on_host))?;
        }
        if self.disk > 0 {
            write!(formatter, " ({} on disk)", human(self.disk))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_checkpoint::demo_pair;
    use std::path::Path;

    const GIB: u64 = 1 << 30;

    /// An 8B shape over the study's prompts, by the numbers of its spec.
    fn demand<'a>(
        spec: &'a DecoderSpec,
        weights: &'a WeightSizes,
        config: &'a KernelConfig,
    ) -> Demand<'a> {
        static ENGINE: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
        let engine = ENGINE.get_or_init(Engine::cpu);
        Demand {
            spec,
            weights,
            engine,
            dtype: DType::BF16,
            config,
            rows: 1_000_000,
            positions: 200,
            readings: 16_010 * 3_000,
            texts: 0,
        }
    }

    fn weights() -> WeightSizes {
        WeightSizes {
            outer: 2 * GIB,
            layers: vec![GIB / 2; 32],
            reading: GIB / 4,
            reading_head: GIB,
        }
    }

    #[test]
    fn the_first_schedule_that_fits_is_taken() {
        let [_, snapshot] = demo_pair().unwrap();
        let (weights, config) = (weights(), KernelConfig::cpu());
        let demand = demand(&snapshot.spec, &weights, &config);
        let mut spill = Spill::within("spilled");
        let plan = |wanted, cap| MemoryPlan::new(&[demand], wanted, GIB, cap, &spill);
        let whole = plan(SchedulePreference::Auto, None).unwrap();
        assert_eq!(whole.schedule, Schedule::PassMajor);
        assert!(whole.peak() > 19 * GIB && whole.disk == 0);
        let fits = plan(SchedulePreference::Auto, Some(whole.peak())).unwrap();
        assert_eq!(fits.schedule, Schedule::PassMajor);
        let layers = plan(SchedulePreference::Auto, Some(whole.peak() - 1)).unwrap();
        assert_eq!(layers.schedule, Schedule::LayerMajor { spill: None });
        // Two layers, and the streams of all rows.
        assert_eq!(layers.weights, 3 * GIB);
        let hidden = 4 * snapshot.spec.hidden_size as u64;
        assert_eq!(layers.streams, 1_000_000 * hidden);
        let spilled = plan(SchedulePreference::Auto, Some(layers.peak() - 1)).unwrap();
        let folder = Some(spill.clone());
        assert_eq!(spilled.schedule, Schedule::LayerMajor { spill: folder });
        assert_eq!(spilled.disk, layers.streams);
        assert!(spilled.peak() < layers.peak());
        let too_large = plan(SchedulePreference::Auto, Some(spilled.peak() - 1)).unwrap_err();
        assert_eq!(too_large.least, spilled.peak());
        assert!(too_large.to_string().contains("GiB"), "{too_large}");
        // What is asked for is what is done.
        assert!(plan(SchedulePreference::PassMajor, Some(layers.peak())).is_err());
        let wanted = plan(SchedulePreference::LayerMajor, None).unwrap();
        assert_eq!(wanted.schedule, Schedule::LayerMajor { spill: None });
        // Rows that outlive a stop are there before a layer and after it.
        spill.keep = Some(Keep("run".into()));
        let kept =
            MemoryPlan::new(&[demand], SchedulePreference::Spilled, GIB, None, &spill).unwrap();
        assert_eq!(kept.disk, 2 * spilled.disk);
    }

    #[test]
    fn more_prompts_of_the_same_length_take_only_their_readings_and_streams() {
        let [_, snapshot] = demo_pair().unwrap();
        let (weights, config) = (weights(), KernelConfig::cpu());
        let few = demand(&snapshot.spec, &weights, &config);
        let many = Demand {
            rows: 60 * few.rows,
            readings: 60 * few.readings,
            ..few
        };
        let of = |demand: &Demand<'_>| {
            MemoryPlan::new(
                &[*demand],
                SchedulePreference::PassMajor,
                0,
                None,
                &Spill::within(""),
            )
            .unwrap()
        };
        let (few, many) = (of(&few), of(&many));
        assert_eq!(few.working, many.working);
        assert_eq!(few.kv, many.kv);
        assert_eq!(many.readings, 60 * few.readings);
    }

    /// 70B in `bf16` on a card of 24 GB: layer by layer; on one of 16 GB with the rows between layers on the host.
    #[test]
    fn a_card_that_is_too_small_streams_layers() {
        let config = include_str!("../../../models/presets/llama-3-70b.json");
        let config: serde_json::Map<_, _> = serde_json::from_str(config).unwrap();
        let spec = DecoderSpec::from_config(Path::new("70b"), &config).unwrap();
        let layer = 2 * (spec.parameters() as u64 - 2 * 128_256 * 8192) / 80;
        let weights = WeightSizes {
            outer: 4 * 128_256 * 8192,
            layers: vec![layer; 80],
            reading: 0,
            reading_head: 0,
        };
        let sizes = KernelConfig {
            rows_per_pass: 2048,
            head_rows: 256,
            ..KernelConfig::cpu()
        };
        let demand = Demand {
            rows: 354_803,
            positions: 300,
            ..demand(&spec, &weights, &sizes)
        };
        let on = |wanted, free, host| {
            MemoryPlan::on_gpu(&[demand], wanted, free, host, &Spill::within("spilled"))
        };
        let plan = on(SchedulePreference::Auto, 15 * GIB, Some(64 * GIB)).unwrap();
        assert_eq!(plan.schedule, Schedule::LayerMajor { spill: None });
        assert_eq!(plan.on_host, 354_803u64.next_multiple_of(2048) * 4 * 8192);
        assert!(plan.peak() < 12 * GIB, "{plan}");
        assert!(plan.to_string().contains("in the host's memory"), "{plan}");
        // 24 GB hold the rows as well; where the host has no room either they go to a file.
        let roomy = on(SchedulePreference::Auto, 23 * GIB, Some(64 * GIB)).unwrap();
        assert_eq!((roomy.on_host, roomy.disk), (0, 0));
        let tight = on(SchedulePreference::Auto, 15 * GIB, Some(4 * GIB)).unwrap();
        assert_eq!(tight.disk, plan.on_host);
        let whole = on(SchedulePreference::Auto, 150 * GIB, None).unwrap();
        assert_eq!(whole.schedule, Schedule::PassMajor);
        assert_eq!(whole.rows_per_pass, 2048);
        // Where a little is missing, passes are shorter.
        let close = on(SchedulePreference::Auto, whole.peak() - (1 << 20), None).unwrap();
        assert_eq!(
            (close.schedule, close.rows_per_pass),
            (Schedule::PassMajor, 1024)
        );
        let too_large = on(SchedulePreference::PassMajor, 23 * GIB, None).unwrap_err();
        assert!(too_large.least > 130 * GIB);
    }

    #[test]
    fn a_plan_is_said_in_one_line() {
        let [_, snapshot] = demo_pair().unwrap();
        let (weights, config) = (weights(), KernelConfig::cpu());
        let demand = demand(&snapshot.spec, &weights, &config);
        let plan = MemoryPlan::new(
            &[demand],
            SchedulePreference::Auto,
            GIB,
            Some(32 * GIB),
            &Spill::within(""),
        );
        let said = plan.unwrap().to_string();
        for part in ["weights 18.0 GiB", "of 32.0 GiB", "pass-major"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(3 << 19), "2 MiB");
    }

    #[test]
    fn texts_take_pages_and_no_streams() {
        let [_, snapshot] = demo_pair().unwrap();
        let (weights, config) = (weights(), KernelConfig::cpu());
        let demand = demand(&snapshot.spec, &weights, &config);
        let writing = Demand {
            texts: 500,
            positions: 65,
            ..demand
        };
        let of = |demand: &Demand<'_>, wanted| {
            MemoryPlan::new(&[*demand], wanted, 0, None, &Spill::within("")).unwrap()
        };
        let layers = of(&writing, SchedulePreference::Spilled);
        assert_eq!((layers.streams, layers.disk), (0, 0));
        // What takes most decides.
        let both = MemoryPlan::new(
            &[demand, writing],
            SchedulePreference::Auto,
            0,
            None,
            &Spill::within(""),
        );
        assert_eq!(
            both.unwrap().peak(),
            of(&demand, SchedulePreference::Auto)
                .peak()
                .max(of(&writing, SchedulePreference::Auto).peak())
        );
        // Each text has pages of its own: two for 65 rows.
        let pages = 2 * config.texts as u64 * KvTree::page_bytes(&snapshot.spec, DType::F32) as u64;
        let whole = of(&writing, SchedulePreference::PassMajor);
        let path = 65 * 8 * (snapshot.spec.kv_width() * snapshot.spec.layers.len()) as u64;
        assert_eq!(whole.kv, pages + path);
    }

    #[test]
    fn the_head_counts_while_it_is_read() {
        let [_, snapshot] = demo_pair().unwrap();
        let config = KernelConfig::cpu();
        let weights = WeightSizes {
            outer: GIB,
            layers: vec![1 << 20; 2],
            reading: 0,
            reading_head: 2 * GIB,
        };
        let demand = demand(&snapshot.spec, &weights, &config);
        let plan = MemoryPlan::new(
            &[demand],
            SchedulePreference::Spilled,
            GIB,
            None,
            &Spill::within(""),
        )
        .unwrap();
        assert_eq!(plan.peak(), 3 * GIB);
    }
}
