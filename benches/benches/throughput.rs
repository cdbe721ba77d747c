//! The question set end to end, through made-up checkpoints of known shapes.
//!
//! Asks the study's questions where they are at hand (`../shared/valueconsistency`, or the folder that
//! `CONCORD_QUESTIONS` names), else the demo questions. After `--`:
//!
//! * `--preset NAME`: a shape (`smollm2-135m`), may be given many times; `all` for those of up to 8B.
//! * `--limit N`: the first N originals of each country. `--repeats N`: the best of so many runs counts (2).
//! * `--schedule NAME`: `pass-major`, `layer-major` or `spilled`, where not the one that fits.
//! * `--save-baseline NAME`, `--baseline NAME`: keep records under a name, and compare with them: counts exactly, times beyond
//!   noise. Something worse ends the bench with an error.
//!
//! Records and baselines are JSON files in `tmp/throughput/NAME` of cargo's target folder; without a name, `new`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

use concord_benches::questions;
use concord_scorer::SchedulePreference;
use concord_session::bench::{Bench, Record, measure};
use concord_session::{DeviceChoice, MachineOptions, Unseen};
use concord_suites::valueconsistency::benched;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Those that a machine of 24 GiB runs pass-major.
const ALL: [&str; 4] = ["smollm2-135m", "qwen2.5-0.5b", "llama-3.2-1b", "llama-3-8b"];

struct Arguments {
    presets: Vec<String>,
    limit: Option<usize>,
    repeats: usize,
    schedule: SchedulePreference,
    device: DeviceChoice,
    save: String,
    baseline: Option<String>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            presets: Vec::new(),
            limit: None,
            repeats: 2,
            schedule: SchedulePreference::Auto,
            device: DeviceChoice::Cpu,
            save: "new".to_owned(),
            baseline: None,
        };
        while let Some(word) = words.next() {
            // What cargo adds.
            if word == "--bench" {
                continue;
            }
            let value = words
                .next()
                .ok_or_else(|| format!("{word} needs a value"))?;
            let number = || {
                let parsed: Result<usize, _> = value.parse();
                parsed.map_err(|_| format!("{word}: `{value}` is not a number"))
            };
            match word.as_str() {
                "--preset" if value == "all" => {
                    arguments.presets.extend(ALL.map(str::to_owned));
                }
                "--preset" => arguments.presets.push(value),
                "--limit" => arguments.limit = Some(number()?),
                "--repeats" => arguments.repeats = number()?,
                "--schedule" => {
                    arguments.schedule = match value.as_str() {
                        "pass-major" => SchedulePreference::PassMajor,
                        "layer-major" => SchedulePreference::LayerMajor,
                        "spilled" => SchedulePreference::Spilled,
                        other => return Err(format!("no schedule `{other}`")),
                    };
                }
                "--device" => arguments.device = value.parse()?,
                "--save-baseline" => arguments.save = value,
                "--baseline" => arguments.baseline = Some(value),
                other => return Err(format!("no option `{other}`")),
            }
        }
        if arguments.presets.is_empty() {
            arguments.presets.push(ALL[0].to_owned());
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(worse) if worse.is_empty() => ExitCode::SUCCESS,
        Ok(worse) => {
            for line in worse {
                eprintln!("worse: {line}");
            }
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Vec<String>, String> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let (mut set, which) = questions()?;
    println!("questions: {which}");
    if let Some(limit) = arguments.limit {
        println!("partial: the first {limit} originals of each file");
        set.keep_first_originals(limit);
    }
    let mut worse = Vec::new();
    for preset in &arguments.presets {
        let (texts, prompts) = benched(&set, false).map_err(|error| error.to_string())?;
        let record = measure(
            &Bench {
                preset,
                machine: MachineOptions {
                    schedule: arguments.schedule,
                    ..MachineOptions::on(arguments.device.clone())
                },
                repeats: arguments.repeats,
                counts_only: false,
            },
            texts,
            &prompts,
            Arc::new(|event| eprintln!("{event}")),
            &Unseen,
        )
        .map_err(|error| error.to_string())?;
        print!("{}", record.human());
        if record.rows_computed != record.trie_rows {
            worse.push(format!(
                "{preset}: {} rows computed for {} rows of the trie",
                record.rows_computed, record.trie_rows
            ));
        }
        if let Some(name) = &arguments.baseline {
            let before = read(&file(name, preset))?;
            let found = record.regressions(&before, false)?;
            if found.is_empty() {
                println!("baseline         nothing is worse than in `{name}`");
            }
            worse.extend(found.into_iter().map(|line| format!("{preset}: {line}")));
        }
        let path = file(&arguments.save, preset);
        write(&path, &record)?;
        println!("record           {}\n", path.display());
    }
    Ok(worse)
}

fn file(name: &str, preset: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("throughput");
    folder.join(name).join(format!("{preset}.json"))
}

fn read(path: &Path) -> Result<Record, String> {
    let wrong = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

fn write(path: &Path, record: &Record) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    let text = serde_json::to_string_pretty(record).unwrap_or_default() + "\n";
    std::fs::write(path, text).map_err(wrong)
}
