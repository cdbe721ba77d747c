//! The throughput harness behind `concord bench` and `cargo bench`.

mod record;

pub use record::{Record, Shares};

use crate::{
    Allowed, Events, Machine, MachineOptions, Meter, Precision, SessionError, Size, Sustained,
    keep_freed, peak_bytes, peak_flops, processor, product_rate, sharing, sustained_rate,
};
use candle_core::DType;
use concord_checkpoint::{CheckpointError, Snapshot, presets};
use concord_decoder::{Decoder, Times};
use concord_kernels::{Engine, WeightFormat};
use concord_readings::Prompt;
use concord_scorer::{
    Counts, Demand, LabelTable, MemoryPlan, Plan, Progress, Schedule, Scorer, ScorerError,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Seed of the made-up weights.
const SEED: u64 = 135;

/// What to bench.
#[derive(Clone, Debug)]
pub struct Bench<'a> {
    /// The checkpoint shape.
    pub preset: &'a str,
    /// What it runs on.
    pub machine: MachineOptions,
    /// How often it is run; the best time counts.
    pub repeats: usize,
    /// Whether it is only counted: no weight is made, and nothing is timed.
    pub counts_only: bool,
}

/// Runs prompts through a made-up checkpoint, whose tokenizer is trained on `texts`, and times it.
///
/// # Errors
/// [`SessionError::Options`] for an unknown preset; [`SessionError`].
pub fn measure(
    bench: &Bench<'_>,
    texts: Vec<String>,
    prompts: &[Prompt],
    events: Events,
    meter: &dyn Meter,
) -> Result<Record, SessionError> {
    keep_freed();
    let Some(snapshot) = Snapshot::preset(bench.preset, texts, SEED)? else {
        return Err(SessionError::NoPreset {
            name: bench.preset.to_owned(),
            known: presets().join(", "),
        });
    };
    let failed = |source: ScorerError| match source {
        ScorerError::Stopped => SessionError::Stopped,
        source => SessionError::Ask {
            name: bench.preset.to_owned(),
            source,
        },
    };
    let machine = Machine::open(&bench.machine, [&snapshot], events)?;
    let (engine, config) = (machine.first(), machine.config());
    let dtype = dtype(bench.machine.precision, engine);
    let table = Arc::new(LabelTable::new(&snapshot.vocabulary));
    let begun = Instant::now();
    let planned = Plan::new(&snapshot, &table, prompts).map_err(failed)?;
    let plan_seconds = begun.elapsed().as_secs_f64();
    let sizes = Decoder::weight_sizes(&snapshot, dtype, engine, false);
    let demand = Demand {
        // Nothing that is read is kept.
        readings: 0,
        ..Demand::of(&planned, &snapshot.spec, &sizes, (engine, dtype), &config)
    };
    let allowed = Allowed::by(&bench.machine, &std::env::temp_dir());
    let memory = machine.settle(&allowed, bench.preset, &[demand])?;
    if bench.counts_only {
        let counts = planned.counts(&snapshot.spec, memory.rows_per_pass);
        let layers = snapshot.spec.layers.len() as u64;
        let counted = Record::of_counts(&counts, layers);
        return Ok(Record {
            plan_seconds,
            ..counted.of(bench, &machine, dtype, &memory)
        });
    }
    // Layers that are streamed are read from a file, which is written once.
    let snapshot = match &memory.schedule {
        Schedule::PassMajor => snapshot,
        Schedule::LayerMajor { .. } => on_disk(snapshot, &allowed)?,
    };
    let begun = Instant::now();
    let decoders = machine.load(&memory.schedule, &snapshot, dtype)?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let scorer = Scorer::with_table(&snapshot, &decoders[0], table);
    let scorer = sharing(scorer, &decoders[1..], &memory);
    let peak_before = peak_flops(engine, dtype);
    if let Some(gpu) = engine.gpu() {
        gpu.forget_peak();
    }
    let best = best_of(bench, &scorer, &planned, &memory.schedule, meter).map_err(failed)?;
    let Best {
        seconds,
        counts,
        times,
        layers_read,
    } = best.ok_or_else(|| SessionError::Options {
        message: "a bench runs at least once".to_owned(),
        help: "--repeats 1",
    })?;
    let timed = timed_again(engine, &scorer, &planned, &memory.schedule, meter);
    // Shares and what they are of are from one run.
    let (times, timed_seconds) = timed.map_err(failed)?.unwrap_or((times, seconds));
    // What the products alone take is not the run's.
    let peak_bytes = engine
        .gpu()
        .map_or_else(peak_bytes, |gpu| gpu.peak_bytes() as u64);
    let Ceilings {
        product_flops_per_s,
        sustained,
        peak_flops_per_s,
    } = ceilings(&decoders[0], &machine, peak_before)?;
    let sustained_flops_per_s = sustained.map(|rate| rate.flops_per_s);
    let flops_per_s = counts.product_flops as f64 / seconds;
    let record = Record {
        load_seconds,
        plan_seconds,
        seconds,
        repeats: bench.repeats,
        prompts_per_s: counts.prompts as f64 / seconds,
        rows_per_s: counts.rows_computed as f64 / seconds,
        shares: Shares::of(&times, timed_seconds),
        flops_per_s,
        product_flops_per_s,
        sustained_flops_per_s,
        sustained_clock_mhz: sustained.and_then(|rate| rate.clock_mhz),
        sustained_watts: sustained.and_then(|rate| rate.watts),
        peak_flops_per_s,
        share_of_product_rate: flops_per_s / sustained_flops_per_s.unwrap_or(product_flops_per_s),
        peak_bytes,
        ..Record::of_counts(&counts, layers_read)
    };
    Ok(record.of(bench, &machine, dtype, &memory))
}

/// A checkpoint whose made-up weights are in a file, where rows between layers would go.
fn on_disk(snapshot: Snapshot, allowed: &Allowed) -> Result<Snapshot, SessionError> {
    let folder = &allowed.spill.folder;
    let name = snapshot.name.clone();
    let ready = std::fs::create_dir_all(folder).map_err(|source| CheckpointError::Unreadable {
        path: folder.clone(),
        source,
    });
    let written = ready.and_then(|()| snapshot.written_to(folder));
    written.map_err(|source| SessionError::Load {
        name,
        source: source.into(),
    })
}

impl Record {
    /// What was counted, and no time.
    fn of_counts(counts: &Counts, layers_read: u64) -> Self {
        Self {
            prompts: counts.prompts,
            tokens_asked: counts.tokens_asked,
            tokens_per_prompt: counts.tokens_asked as f64 / counts.prompts as f64,
            trie_rows: counts.trie_rows,
            rows_computed: counts.rows_computed,
            rows_per_trie_row: counts.rows_computed as f64 / counts.trie_rows as f64,
            rows_read: counts.rows_read,
            passes: counts.passes,
            product_flops: counts.product_flops,
            layers_read,
            ..Self::default()
        }
    }

    /// The same with what it is of.
    fn of(self, bench: &Bench<'_>, machine: &Machine, dtype: DType, memory: &MemoryPlan) -> Self {
        let engine = machine.first();
        Self {
            preset: bench.preset.to_owned(),
            dtype: match engine.held() {
                WeightFormat::Int8 => format!("int8 weights, {}", dtype.as_str()),
                WeightFormat::Native => dtype.as_str().to_owned(),
            },
            device: machine.name(),
            products: machine.products().to_owned(),
            schedule: memory.schedule.name().to_owned(),
            planned_bytes: memory.peak(),
            threads: rayon::current_num_threads(),
            processor: match engine.gpu() {
                Some(gpu) => gpu.description().name,
                None => processor(),
            },
            ..self
        }
    }
}

/// What a run is held against.
struct Ceilings {
    product_flops_per_s: f64,
    sustained: Option<Sustained>,
    peak_flops_per_s: f64,
}

/// What all devices do with products alone, and a processor's registers, which were measured once before.
fn ceilings(
    decoder: &Decoder,
    machine: &Machine,
    peak_before: f64,
) -> Result<Ceilings, SessionError> {
    let devices = machine.count() as f64;
    let product_flops_per_s = product_rate(decoder)?.max(product_rate(decoder)?) * devices;
    let sustained = sustained_rate(decoder)?.map(|rate| Sustained {
        flops_per_s: rate.flops_per_s * devices,
        ..rate
    });
    let engine = machine.first();
    let peak_flops_per_s = match engine {
        Engine::Cpu(..) => peak_before.max(peak_flops(engine, decoder.dtype())),
        // What a GPU's registers do is not measured: its products are what it is held against.
        _ => product_flops_per_s,
    };
    Ok(Ceilings {
        product_flops_per_s,
        sustained,
        peak_flops_per_s,
    })
}

/// What products multiply: bfloat16 where nothing else is wanted and the device has products of it.
fn dtype(precision: Precision, engine: &Engine) -> DType {
    match (precision, engine) {
        (Precision::F32, _) => DType::F32,
        (Precision::F16, _) => DType::F16,
        (Precision::Bf16, _) => DType::BF16,
        (_, Engine::Cpu(path, _)) if !path.has_bf16() => DType::F32,
        (_, Engine::Generic(device)) if !device.is_metal() => DType::F32,
        _ => DType::BF16,
    }
}

/// The best of some runs.
struct Best {
    seconds: f64,
    counts: Counts,
    times: Times,
    /// By the first of them.
    layers_read: u64,
}

fn best_of(
    bench: &Bench<'_>,
    scorer: &Scorer<'_>,
    planned: &Plan,
    schedule: &Schedule,
    meter: &dyn Meter,
) -> Result<Option<Best>, ScorerError> {
    let mut best: Option<Best> = None;
    for _ in 0..bench.repeats {
        meter.begin(bench.preset, Size::Rows(planned.trie.len() as u64));
        let begun = Instant::now();
        let outcome = scorer.run(planned, schedule, |progress, _| {
            meter.rows(progress);
            go_on(meter, progress)
        });
        let seconds = begun.elapsed().as_secs_f64();
        meter.end();
        let (counts, times) = outcome?;
        let layers_read = best
            .as_ref()
            .map_or_else(|| scorer.decoder().layers_read(), |best| best.layers_read);
        if best.as_ref().is_none_or(|best| seconds < best.seconds) {
            best = Some(Best {
                seconds,
                counts,
                times,
                layers_read,
            });
        }
    }
    Ok(best)
}

/// Whether to go on: not where it is to stop and something is left to stop.
fn go_on(meter: &dyn Meter, progress: Progress) -> ControlFlow<()> {
    if meter.stops() && progress.rows_done < progress.rows {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Where a GPU's time goes, by a run of its own: taking it costs some.
fn timed_again(
    engine: &Engine,
    scorer: &Scorer<'_>,
    planned: &Plan,
    schedule: &Schedule,
    meter: &dyn Meter,
) -> Result<Option<(Times, f64)>, ScorerError> {
    let Some(gpu) = engine.gpu() else {
        return Ok(None);
    };
    gpu.set_timed(true);
    let begun = Instant::now();
    let run = scorer.run(planned, schedule, |progress, _| go_on(meter, progress));
    let seconds = begun.elapsed().as_secs_f64();
    gpu.set_timed(false);
    Ok(Some((run?.1, seconds)))
}
