//! What a run stores about itself: what decides its numbers, and who works on it.

use super::engine::{Engine, FirstStep};
use super::inputs;
use crate::arguments::{ChatTemplateUse, RunArguments};
use crate::failure::Failure;
use concord_runs::{Attempt, Checkpoint, Identity, Manifest, Numerics};
use concord_scorer::NUMERICS;
use concord_session::{Machine, processor};
use concord_suites::{SELF_RATER, Settings, Takes, suite};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// Variables that the program, or what it runs on, obeys. What may be secret is none of them.
const ENVIRONMENT: [&str; 13] = [
    "CONCORD_CACHE",
    "CONCORD_DEVICE",
    "CONCORD_NO_CACHE",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "LD_LIBRARY_PATH",
    "NO_COLOR",
    "RAYON_NUM_THREADS",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_JOB_ID",
    "TMPDIR",
];

/// The manifest of a run that begins.
pub(super) fn manifest(
    engine: &Engine<'_>,
    steps: &[Rc<FirstStep>],
    arguments: &RunArguments,
    settings: Settings,
    started: &str,
) -> Result<Manifest, Failure> {
    manifest_of(
        engine,
        steps,
        0..engine.snapshots.len(),
        arguments,
        settings,
        started,
    )
}

/// The same of some of the checkpoints, which have a run of their own.
pub(super) fn manifest_of(
    engine: &Engine<'_>,
    steps: &[Rc<FirstStep>],
    which: Range<usize>,
    arguments: &RunArguments,
    settings: Settings,
    started: &str,
) -> Result<Manifest, Failure> {
    let (machine, study) = (&engine.machine, engine.study);
    let snapshots = &engine.snapshots[which.clone()];
    let described = snapshots.iter().zip(&engine.forms[which.clone()]);
    let described: Vec<Value> = described
        .map(|(snapshot, form)| inputs::described(snapshot, *form, machine))
        .collect::<Result<_, Failure>>()?;
    let raters = engine.raters.iter().map(|rater| match rater {
        None => Ok(json!({ "name": SELF_RATER })),
        Some(rater) => {
            let form = inputs::form(rater, ChatTemplateUse::Auto)?;
            inputs::described(rater, form, machine)
        }
    });
    let raters: Vec<Value> = raters.collect::<Result<_, Failure>>()?;
    let mut asked = study.asked();
    let prompts = snapshots.iter().zip(&steps[which]);
    let prompts = prompts.map(|(snapshot, step)| (snapshot.name.clone(), json!(step.digest)));
    let prompts: Map<String, Value> = prompts.collect();
    asked.digests.insert("prompts".to_owned(), json!(prompts));
    let identity = Identity {
        suite: study.about().name.to_owned(),
        options: study.options(),
        limit: asked.limit,
        asked: asked.digests,
        checkpoints: described.iter().map(of_described).collect(),
        raters: raters.iter().map(of_described).collect(),
        numerics: numerics(machine),
        shard: engine.shard,
    };
    let mut paths = paths(study.about().name, arguments);
    let checkpoints = snapshots.iter().map(|snapshot| json!(snapshot.path));
    paths.insert("checkpoints".to_owned(), checkpoints.collect());
    let statistics = json!({
        "resamples": settings.resamples.map_or(json!("default"), |count| json!(count)),
        "study_intervals": settings.study_intervals,
        "gates": settings.gates,
        "seed": settings.seed,
    });
    Ok(Manifest {
        identity,
        checkpoints: described,
        raters,
        statistics: object(statistics),
        attempts: vec![attempt(machine, started, paths)],
        ..Manifest::default()
    })
}

/// Where what is asked was, by the names of the options that name one place.
fn paths(name: &str, arguments: &RunArguments) -> Map<String, Value> {
    let specs = suite(name).map_or(&[][..], |suite| suite.options());
    let paths = specs.iter().filter(|spec| {
        let is_file = spec.value == Some("FILE") && spec.takes == Takes::One;
        is_file || spec.takes == Takes::Paths
    });
    let paths = paths.map(|spec| {
        let typed = arguments.options.typed.get(spec.name);
        // Several are listed, one stands by itself.
        let typed = match typed.map_or(&[][..], Vec::as_slice) {
            several @ [_, _, ..] => json!(several),
            one => json!(one.first()),
        };
        (spec.name.to_owned(), typed)
    });
    paths.collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// What decides what is read of a checkpoint, of what is good to know of it.
pub(super) fn of_described(described: &Value) -> Checkpoint {
    let text = |key: &str| described.get(key)?.as_str().map(str::to_owned);
    Checkpoint {
        name: text("name").unwrap_or_default(),
        form: text("form"),
        dtype: text("dtype"),
        fingerprint: object(described.get("fingerprint").cloned().unwrap_or_default()),
    }
}

/// By what numbers are computed: two GPUs of one model compute the same bits, and a processor does with any number of threads.
pub(super) fn numerics(machine: &Machine) -> Numerics {
    let mut gpus: Vec<Map<String, Value>> = Vec::new();
    for gpu in machine.described().as_array().into_iter().flatten() {
        let mut gpu = object(gpu.clone());
        gpu.retain(|key, _| !["uuid", "driver", "memory"].contains(&key.as_str()));
        if !gpus.contains(&gpu) {
            gpus.push(gpu);
        }
    }
    Numerics {
        version: NUMERICS,
        products: machine.products().to_owned(),
        rows_per_pass: (!gpus.is_empty()).then(|| machine.config().rows_per_pass as u64),
        gpus,
    }
}

/// Who works on a run, with what, from now on.
fn attempt(machine: &Machine, started: &str, paths: Map<String, Value>) -> Attempt {
    let environment = ENVIRONMENT.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some(((*name).to_owned(), value.to_string_lossy().into_owned()))
    });
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let commit =
        option_env!("CONCORD_COMMIT").map_or_else(String::new, |commit| format!(" ({commit})"));
    Attempt {
        started: started.to_owned(),
        ended: None,
        outcome: None,
        program: format!("concord {}{commit}", env!("CARGO_PKG_VERSION")),
        command: std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        environment: environment.collect::<BTreeMap<_, _>>(),
        machine: object(json!({
            "host": host.trim(),
            "architecture": std::env::consts::ARCH,
            "system": std::env::consts::OS,
            "processor": processor(),
            "threads": rayon::current_num_threads(),
        })),
        device: machine.name(),
        gpus: machine.described().as_array().cloned().unwrap_or_default(),
        paths,
        timeline: Vec::new(),
    }
}

/// What a page says of a run.
pub(super) fn about(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let first = manifest.attempts.first().cloned().unwrap_or_default();
    let short = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str).unwrap_or_default();
        text.chars().take(16).collect::<String>()
    };
    let mut lines = vec![("program", first.program), ("started", first.started)];
    lines.push(("suite", manifest.identity.suite.clone()));
    if let Some(options) = manifest.identity.options.as_object() {
        let options = options
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        lines.push(("options", options.collect::<Vec<_>>().join(", ")));
    }
    for (key, label) in [
        ("questions", "questions"),
        ("stimuli", "wording"),
        ("data", "data"),
    ] {
        let Some(asked) = manifest
            .identity
            .asked
            .get(key)
            .filter(|asked| !asked.is_null())
        else {
            continue;
        };
        let digest = short(asked.get("digest").or(Some(asked)));
        lines.push((
            label,
            match asked.get("count") {
                Some(count) => format!("{count} (digest {digest})"),
                None => digest,
            },
        ));
    }
    for checkpoint in &manifest.identity.checkpoints {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        lines.push((
            "checkpoint",
            format!(
                "{}: {} form, {}, weights {}",
                checkpoint.name,
                text(&checkpoint.form),
                text(&checkpoint.dtype),
                short(checkpoint.fingerprint.get("weights"))
            ),
        ));
    }
    lines
}
