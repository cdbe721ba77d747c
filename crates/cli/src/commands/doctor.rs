//! `concord doctor`: what the machine has, and the proof that a device computes what it should.

use crate::arguments::{DoctorArguments, OutputFormat};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use candle_core::DType;
use concord_checkpoint::{Snapshot, demo_pair};
use concord_decoder::{Decoder, Pass};
use concord_kernels::{Check, Engine, Gpu, GpuState, Isa, Rows, SelfTest, gpu_count, gpu_state};
use concord_readings::{Input, Prompt, Read, Reading};
use concord_scorer::{Plan, SchedulePreference, Scorer, Spill, human};
use concord_session::{
    Allowed, Asks, Base, Machine, MachineOptions, OnDemand, available_bytes, kernel_cache,
    processor,
};
use include_dir::{Dir, include_dir};
use safetensors::SafeTensors;
use serde::Serialize;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tiny checkpoints of every family with the logits that transformers gave (`tests/golden/families.py`).
static FAMILIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../tests/golden/families");

/// What was checked.
#[derive(Serialize)]
struct Checked {
    device: String,
    what: String,
    /// The largest difference over what is allowed.
    worst: f64,
    passed: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

/// Says what there is; checks the device that is named.
pub fn doctor(arguments: &DoctorArguments) -> Result<(), Failure> {
    let (gpus, problem) = gpus();
    let mut report = json!({
        "program": format!("concord {}", env!("CARGO_PKG_VERSION")),
        "processor": {
            "name": processor(),
            "threads": rayon::current_num_threads(),
            "products": Isa::best().name(),
            "memory_free": available_bytes(),
        },
        "gpus": gpus,
        "no_gpu": problem,
    });
    let mut rows = Vec::new();
    if let Some(device) = &arguments.device {
        let options = MachineOptions::on(device.clone());
        for engine in Machine::untested(&options, output::events())?.engines() {
            output::message(&format!("checking {engine}"));
            rows.extend(checked(engine)?);
        }
    }
    let failed = rows.iter().filter(|row| !row.passed).count();
    report["checks"] = json!(rows);
    report["passed"] = json!(failed == 0);
    match arguments.format {
        OutputFormat::Json => output::json(&report)?,
        OutputFormat::Human => output::data(&for_people(&report, &rows))?,
    }
    if failed > 0 {
        let message = format!("{failed} of {} checks failed", rows.len());
        let help = "a kernel that fails is not used; please report the table with the device and its versions";
        return Err(Failure::new(ExitStatus::Device, message, help));
    }
    Ok(())
}

/// The GPUs that the driver finds, or why there are none.
fn gpus() -> (Vec<Value>, Option<String>) {
    let count = match gpu_count() {
        Ok(count) => count,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let of = |index: usize| match Gpu::open(index, kernel_cache()) {
        Err(error) => json!({ "device": format!("cuda:{index}"), "problem": error.to_string() }),
        Ok(gpu) => {
            let of = gpu.description();
            let state = gpu_state(&of.uuid);
            json!({
                "device": format!("cuda:{index}"),
                "name": of.name,
                "uuid": of.uuid,
                "capability": of.capability,
                "multiprocessors": of.processors,
                "memory": of.total_bytes,
                "memory_free": gpu.free_bytes().ok(),
                "cuda_of_driver": of.driver,
                "nvrtc": of.compiler,
                "cublaslt": of.products,
                "state": state.as_ref().map_or_else(|problem| json!({ "problem": problem }), state_of),
            })
        }
    };
    ((0..count).map(of).collect(), None)
}

fn state_of(state: &GpuState) -> Value {
    json!({
        "driver": state.driver,
        "clock_mhz": state.clock_mhz,
        "memory_clock_mhz": state.memory_clock_mhz,
        "throttled_by": state.throttled_by,
        "memory_bytes": state.memory_bytes,
        "celsius": state.celsius,
        "watts": state.watts,
        "processes": state.processes,
    })
}

/// Everything that is checked of one device.
fn checked(engine: &Engine) -> Result<Vec<Checked>, Failure> {
    let device = engine.to_string();
    let mut rows = Vec::new();
    if let Some(gpu) = engine.gpu() {
        // Fresh numbers each time: the seed is in the report.
        let seed = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = seed.map_or(1, |since| since.as_secs());
        let checks = gpu.self_test(&SelfTest::thorough(seed));
        let row = |check: Check| Checked {
            device: device.clone(),
            passed: check.passed(),
            worst: check.worst,
            note: check.error.unwrap_or_else(|| match check.worst {
                worst if worst.is_finite() => String::new(),
                _ => format!("other bits, or no numbers (seed {seed})"),
            }),
            what: check.what,
        };
        rows.extend(checks.into_iter().map(row));
    }
    rows.extend(families(engine, &device)?);
    // What stops is as wrong as what differs.
    let stopped = |what: &str, failure: Failure| Checked {
        device: device.clone(),
        what: what.to_owned(),
        worst: f64::INFINITY,
        passed: false,
        note: failure.message,
    };
    let stable = stability(engine, &device);
    rows.push(stable.unwrap_or_else(|failure| stopped("batch invariance", failure)));
    let memory = memory(engine, &device);
    rows.extend(memory.unwrap_or_else(|failure| vec![stopped("memory", failure)]));
    Ok(rows)
}

/// A tiny checkpoint of every family against its golden logits.
fn families(engine: &Engine, device: &str) -> Result<Vec<Checked>, Failure> {
    let failed = |error: std::io::Error| {
        let help = "make room in the folder of temporary files";
        Failure::new(ExitStatus::Unexpected, error.to_string(), help)
    };
    let folder = tempfile::tempdir().map_err(failed)?;
    FAMILIES.extract(folder.path()).map_err(failed)?;
    let mut names: Vec<_> = FAMILIES
        .dirs()
        .map(|family| family.path().to_owned())
        .collect();
    names.sort();
    // Of the largest logit. Where experts are chosen, a rounding to eight bits may choose another.
    let dtypes = match engine {
        Engine::Generic(_) => vec![(DType::F32, 1e-4)],
        Engine::Cpu(..) => vec![(DType::F32, 1e-4), (DType::BF16, 8e-2)],
        Engine::Cuda(..) => vec![(DType::F32, 1e-4), (DType::F16, 1e-2), (DType::BF16, 8e-2)],
    };
    let mut rows = Vec::new();
    for name in names {
        let path = folder.path().join(&name);
        let snapshot = Snapshot::open(&path)?;
        let expected = std::fs::read(path.join("golden.safetensors")).map_err(failed)?;
        for (dtype, tolerance) in &dtypes {
            if *dtype == DType::BF16 && snapshot.spec.has_experts() {
                continue;
            }
            let (worst, note) = match off(engine, &snapshot, *dtype, &expected) {
                Ok(off) => (off / tolerance, String::new()),
                Err(failure) => (f64::INFINITY, failure.message),
            };
            rows.push(Checked {
                device: device.to_owned(),
                what: format!("{} {}", name.display(), dtype.as_str()),
                worst,
                passed: worst <= 1.0,
                note,
            });
        }
    }
    Ok(rows)
}

/// The largest difference from golden logits, of the largest logit.
fn off(engine: &Engine, snapshot: &Snapshot, dtype: DType, golden: &[u8]) -> Result<f64, Failure> {
    let decoder = Decoder::load_on(engine, snapshot, dtype, engine.config())?;
    let golden = SafeTensors::deserialize(golden).map_err(|error| damaged(&error))?;
    let mut off = 0.0f64;
    for index in 0.. {
        let Ok(tokens) = golden.tensor(&format!("tokens_{index}")) else {
            break;
        };
        let logits = golden
            .tensor(&format!("logits_{index}"))
            .map_err(|error| damaged(&error))?;
        let tokens = integers(&tokens);
        let found = logits_of(&decoder, &tokens)?.to_host();
        let found =
            found.map_err(|error| Failure::from(concord_decoder::DecoderError::from(error)))?;
        let expected = floats(logits.data());
        let width = expected.len() / tokens.len().max(1);
        if found.len() != expected.len() || width == 0 {
            return Ok(f64::INFINITY);
        }
        for (found, expected) in found.chunks(width).zip(expected.chunks(width)) {
            let largest = expected
                .iter()
                .fold(0.0f32, |largest, x| largest.max(x.abs()));
            for (a, b) in found.iter().zip(expected) {
                let error = f64::from((a - b).abs() / largest);
                // What is no number is as wrong as can be.
                off = if error.is_nan() {
                    f64::INFINITY
                } else {
                    off.max(error)
                };
            }
        }
    }
    Ok(off)
}

fn damaged(error: &safetensors::SafeTensorError) -> Failure {
    Failure::new(
        ExitStatus::Unexpected,
        error.to_string(),
        "build the program again",
    )
}

/// The tokens of a golden file, whatever integers they are.
fn integers(view: &safetensors::tensor::TensorView<'_>) -> Vec<u32> {
    let bytes = view.data();
    let width = bytes.len() / view.shape().iter().product::<usize>().max(1);
    let of = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte))
    };
    let numbers = bytes.chunks(width.max(1)).map(of);
    numbers
        .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|four| f32::from_le_bytes(*four))
        .collect()
}

/// Logits after every token, in one pass.
fn logits_of(decoder: &Decoder, tokens: &[u32]) -> Result<Rows, Failure> {
    let depths: Vec<u32> = (0..).take(tokens.len()).collect();
    let mut session = decoder.session(tokens.len())?;
    decoder.enter(&mut session, decoder.spec().length_class(tokens.len()));
    let pass = Pass::new(tokens, &depths, 0, &depths);
    let hidden = decoder.pass(&mut session, &pass)?;
    match hidden {
        Some(hidden) => Ok(decoder.head(&hidden)?),
        None => Err(Failure::new(ExitStatus::Unexpected, "nothing was read", "")),
    }
}

fn prompts() -> Vec<Prompt> {
    let words = [
        "peace", "work", "family", "law", "trust", "age", "art", "faith", "science", "care",
    ];
    let text = |a: usize, b: usize| {
        format!(
            "Is {} more important than {}?\nA. yes\nB. no\nAnswer: ",
            words[a], words[b]
        )
    };
    let pairs = (0..words.len()).flat_map(|a| (0..3).map(move |b| (a, (a + b + 1) % words.len())));
    pairs
        .map(|(a, b)| Prompt {
            id: format!("{a}-{b}"),
            input: Input::Text(text(a, b)),
            reads: vec![Read::NextToken {
                labels: vec!["A".into(), "B".into()],
                openings: vec![],
            }],
        })
        .collect()
}

fn score(
    decoder: &Decoder,
    snapshot: &Snapshot,
    prompts: &[Prompt],
) -> Result<Vec<Reading>, Failure> {
    Ok(Scorer::new(snapshot, decoder).score(prompts)?.0)
}

/// Readings in other company, in another order, and with other sharing: the same bits. Through the generic path bits may differ,
/// and close is enough.
fn stability(engine: &Engine, device: &str) -> Result<Checked, Failure> {
    let [_, snapshot] = demo_pair()?;
    let decoder = Decoder::load_on(engine, &snapshot, DType::BF16, engine.config())?;
    let mut prompts = prompts();
    let all = score(&decoder, &snapshot, &prompts)?;
    let mut same = true;
    for index in (0..prompts.len()).step_by(7) {
        same &= score(&decoder, &snapshot, &prompts[index..=index])?[0] == all[index];
    }
    // Some of them share other beginnings.
    for step in [2, 3, 5] {
        let some: Vec<Prompt> = prompts.iter().step_by(step).cloned().collect();
        let found = score(&decoder, &snapshot, &some)?;
        same &= found.iter().eq(all.iter().step_by(step));
    }
    prompts.reverse();
    let mut turned = score(&decoder, &snapshot, &prompts)?;
    turned.reverse();
    same &= turned == all;
    let is_promised = !matches!(engine, Engine::Generic(_));
    Ok(Checked {
        device: device.to_owned(),
        what: "batch invariance: company, order and sharing".into(),
        worst: if same { 0.0 } else { f64::INFINITY },
        passed: same || !is_promised,
        note: match (same, is_promised) {
            (true, _) => "the same bits".into(),
            (false, true) => "other bits".into(),
            (false, false) => "other bits, which the generic path does not promise".into(),
        },
    })
}

/// The plan of memory against what a run takes, on both schedules. Only a GPU's memory is this run's alone.
fn memory(engine: &Engine, device: &str) -> Result<Vec<Checked>, Failure> {
    let Some(gpu) = engine.gpu() else {
        return Ok(Vec::new());
    };
    let [_, snapshot] = demo_pair()?;
    let prompts = prompts();
    let mut rows = Vec::new();
    for wanted in [
        SchedulePreference::PassMajor,
        SchedulePreference::LayerMajor,
    ] {
        gpu.trim();
        gpu.forget_peak();
        let before = gpu.peak_bytes() as u64;
        let free = gpu.free_bytes().map_err(|error| Failure::from(&error))? as u64;
        let allowed = Allowed {
            wanted,
            memory: None,
            spill: Spill::within(std::env::temp_dir()),
            loaded: false,
        };
        let machine = Machine::of(engine.clone());
        let mut base = Base::new(&snapshot, false);
        let mut decoder = OnDemand::new(&mut base, &snapshot, &machine, &allowed);
        let plan = Plan::new(&snapshot, &decoder.table(), &prompts)?;
        let (scorer, memory) = decoder.scorer(&Asks::of(&plan))?;
        let (planned, schedule) = (memory.peak(), &memory.schedule);
        scorer.score_by(&prompts, schedule)?;
        let taken = gpu.peak_bytes() as u64 - before;
        rows.push(Checked {
            device: device.to_owned(),
            what: format!("memory, {}", schedule.name()),
            worst: taken as f64 / planned as f64,
            passed: taken <= planned,
            note: format!(
                "{} of {} planned; {} free",
                human(taken),
                human(planned),
                human(free)
            ),
        });
    }
    Ok(rows)
}

/// A difference over its bound, in few letters.
fn of_bound(worst: f64) -> String {
    match worst {
        worst if worst < 1000.0 => format!("{worst:.3}"),
        worst if worst.is_finite() => format!("{worst:.0e}"),
        _ => "-".to_owned(),
    }
}

/// A table for people.
fn for_people(report: &Value, rows: &[Checked]) -> String {
    let mut text = String::new();
    let value = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "not known".to_owned(),
        other => other.to_string(),
    };
    let size = |value: &Value| value.as_u64().map_or_else(|| "not known".to_owned(), human);
    let of = &report["processor"];
    let _ = writeln!(text, "{}", value(&report["program"]));
    let _ = writeln!(
        text,
        "cpu      {}, {} threads, products by {}, {} free",
        value(&of["name"]),
        of["threads"],
        value(&of["products"]),
        size(&of["memory_free"])
    );
    if let Some(problem) = report["no_gpu"].as_str() {
        let _ = writeln!(text, "cuda     {problem}");
    }
    for gpu in report["gpus"].as_array().into_iter().flatten() {
        let device = value(&gpu["device"]);
        if let Some(problem) = gpu["problem"].as_str() {
            let _ = writeln!(text, "{device:<8} {problem}");
            continue;
        }
        let _ = writeln!(
            text,
            "{device:<8} {}, compute capability {}, {} of {} free, CUDA {} by its driver, NVRTC {}, cuBLASLt {}",
            value(&gpu["name"]),
            value(&gpu["capability"]),
            size(&gpu["memory_free"]),
            size(&gpu["memory"]),
            value(&gpu["cuda_of_driver"]),
            value(&gpu["nvrtc"]),
            value(&gpu["cublaslt"])
        );
        let state = &gpu["state"];
        if let Some(problem) = state["problem"].as_str() {
            let _ = writeln!(text, "         {problem}");
            continue;
        }
        let pair = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([now, most]) => format!("{now} of {most}"),
            _ => "not known".to_owned(),
        };
        let reasons = state["throttled_by"].as_array().into_iter().flatten();
        let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
        let held = if reasons.is_empty() {
            "nothing holds its clocks down".to_owned()
        } else {
            format!("clocks held by: {}", reasons.join(", "))
        };
        let _ = writeln!(
            text,
            "         driver {}, {} MHz, memory {} MHz, {} °C, {} W, {} processes, {held}",
            value(&state["driver"]),
            pair(&state["clock_mhz"]),
            pair(&state["memory_clock_mhz"]),
            value(&state["celsius"]),
            pair(&state["watts"]),
            value(&state["processes"])
        );
    }
    if rows.is_empty() {
        let device = if report["no_gpu"].is_null() {
            "cuda:0"
        } else {
            "cpu"
        };
        let _ = writeln!(text, "\nchecks: concord doctor --device {device}");
        return text;
    }
    checks_for_people(rows, &mut text);
    text
}

/// The verdict, and the checks that it rests on, the worst first.
fn checks_for_people(rows: &[Checked], text: &mut String) {
    let passed = rows.iter().filter(|row| row.passed).count();
    let verdict = if passed == rows.len() {
        "computes what it should"
    } else {
        "DOES NOT COMPUTE WHAT IT SHOULD"
    };
    let mut devices: Vec<&str> = rows.iter().map(|row| row.device.as_str()).collect();
    devices.dedup();
    let _ = writeln!(
        text,
        "\n{} {verdict}: {passed} of {} checks passed, the worst first",
        devices.join(", "),
        rows.len()
    );
    let _ = writeln!(
        text,
        "\n{:<8} {:<48} {:>9}  result",
        "device", "check", "of bound"
    );
    let mut worst_first: Vec<&Checked> = rows.iter().collect();
    worst_first.sort_by(|a, b| {
        (a.passed, b.worst)
            .partial_cmp(&(b.passed, a.worst))
            .unwrap_or(Ordering::Equal)
    });
    for row in worst_first {
        let result = if row.passed { "pass" } else { "FAIL" };
        let note = if row.note.is_empty() {
            String::new()
        } else {
            format!("  {}", row.note)
        };
        let _ = writeln!(
            text,
            "{:<8} {:<48} {:>9}  {result}{note}",
            row.device,
            row.what,
            of_bound(row.worst)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_embedded_with_their_logits() {
        let families: Vec<&std::path::Path> = FAMILIES.dirs().map(Dir::path).collect();
        assert!(families.len() >= 33, "{families:?}");
        for family in FAMILIES.dirs() {
            assert!(
                family
                    .get_file(family.path().join("golden.safetensors"))
                    .is_some()
            );
        }
    }
}
