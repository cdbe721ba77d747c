//! A short fuzzing run of the readers of files from strangers: `cargo xtask fuzz [ITERATIONS [READER [SEED]]]`.
//!
//! Seeds are the tiny checkpoints of `tests/golden`, mutated at random from a seed. A panic, one allocation beyond
//! [`MOST_AT_ONCE`] or an input that takes longer than [`LONGEST`] fails the run, and the input is kept. For long runs with
//! coverage there are the same targets for cargo-fuzz in `fuzz/`.

use crate::folders::{Folders, OF_A_RUN, RUNS};
use anyhow::{Context, Result, bail};
use concord_checkpoint::readers::READERS;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes that one allocation may have; the seeds are below 1 MiB.
const MOST_AT_ONCE: usize = 256 << 20;
const LONGEST: Duration = Duration::from_secs(10);
/// Bytes of a seed that are kept: headers come first.
const LONGEST_SEED: usize = 1 << 15;

/// Counts what is asked for, and gives what the system gives.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "SAFETY: every call is passed on unchanged to the system's allocator"
)]
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        take(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        concord_checkpoint::may_take(-(layout.size().cast_signed() as i64));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        take(size);
        concord_checkpoint::may_take(-(layout.size().cast_signed() as i64));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// As the program's allocator does it: a template that asks for too much ends the process that renders it.
#[expect(clippy::exit, reason = "the only way out of an allocator")]
fn take(bytes: usize) {
    if !concord_checkpoint::may_take(bytes.cast_signed() as i64)
        && concord_checkpoint::is_renderer()
    {
        std::process::exit(concord_checkpoint::OUT_OF_ROOM);
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;

/// A reader of bytes from strangers: an error or nothing.
type Reader<'a> = Box<dyn Fn(&[u8]) -> Result<(), String> + 'a>;

/// Fuzzes every reader, or the named one.
pub fn fuzz(root: &Path, iterations: Option<usize>, only: Option<&str>, seed: u64) -> Result<()> {
    let mut failures = 0;
    // What a panic says is in the summary; the usual report would drown it.
    std::panic::set_hook(Box::new(|_| ()));
    let folders = Folders::new(root)?;
    let of_bytes = READERS.iter().map(|(name, reader)| {
        let read = move |input: &[u8]| reader(input).map_err(|error| error.to_string());
        (*name, Box::new(read) as Reader<'_>)
    });
    let of_folders: [(&str, Reader<'_>); 3] = [
        ("adapter", Box::new(|input| folders.adapter(input))),
        ("questions", Box::new(|input| folders.questions(input))),
        ("run", Box::new(|input| folders.run(input))),
    ];
    for (name, reader) in of_bytes.chain(of_folders) {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let seeds = seeds(root, name)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut refused, begun) = (0, Instant::now());
        let iterations = iterations.unwrap_or(10_000);
        for iteration in 0..iterations {
            let chosen = &seeds[below(&mut random, seeds.len())];
            let input = if iteration < seeds.len() {
                seeds[iteration].clone()
            } else {
                mutated(chosen, &seeds, &mut random)
            };
            LARGEST.store(0, Ordering::Relaxed);
            let started = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| reader(&input)));
            let largest = LARGEST.load(Ordering::Relaxed);
            let fault = match &outcome {
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                    Some(format!("a panic: {}", text.unwrap_or("without words")))
                }
                Ok(_) if largest > MOST_AT_ONCE => {
                    Some(format!("an allocation of {largest} bytes"))
                }
                Ok(_) if started.elapsed() > LONGEST => Some("it takes too long".to_owned()),
                Ok(outcome) => {
                    refused += usize::from(outcome.is_err());
                    None
                }
            };
            if let Some(fault) = fault {
                let kept = keep(root, name, &input)?;
                eprintln!("{name}: {fault}: {}", kept.display());
                failures += 1;
            }
        }
        println!(
            "{name}: {iterations} inputs from {} seeds, {refused} refused, {:.1} s",
            seeds.len(),
            begun.elapsed().as_secs_f64()
        );
    }
    let _ = std::panic::take_hook();
    if failures > 0 {
        bail!("fuzz: {failures} inputs broke a reader");
    }
    Ok(())
}

fn keep(root: &Path, name: &str, input: &[u8]) -> Result<PathBuf> {
    let folder = root.join("target/fuzz");
    std::fs::create_dir_all(&folder)?;
    let digest = input.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder.join(format!("{name}-{digest:016x}"));
    std::fs::write(&path, input)?;
    Ok(path)
}

/// Files of the golden checkpoints that a reader reads.
fn seeds(root: &Path, reader: &str) -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    if reader == "run" {
        let files = RUNS
            .iter()
            .flat_map(|run| OF_A_RUN.map(|file| format!("{run}/{file}")));
        for (which, file) in (0u8..).zip(files) {
            let bytes = std::fs::read(root.join("tests/golden/runs").join(file))?;
            seeds.push([&[which][..], &bytes].concat());
        }
        return Ok(seeds);
    }
    let mut folders = match reader {
        "questions" => vec![root.join("crates/questions/demo")],
        "adapter" => vec![root.join("tests/golden/adapters")],
        _ => vec![root.join("tests/golden"), root.join("models")],
    };
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("");
            let ending = path.extension().and_then(|ending| ending.to_str());
            let wanted = match reader {
                "config" => name == "config.json",
                "tokenizer" => name == "tokenizer.json",
                "template" => {
                    name == "chat_template.jinja"
                        || name.ends_with("templates.json")
                        || name == "jinja.json"
                }
                "adapter" => name.starts_with("adapter_"),
                "questions" => ending == Some("jsonl"),
                format => ending == Some(format),
            };
            if !wanted {
                continue;
            }
            let bytes = std::fs::read(&path)?;
            if reader == "template" && ending == Some("json") {
                seeds.extend(templates(&bytes)?);
            } else if reader == "questions" {
                // Few rows are as good as many; and the same as a table.
                let rows: Vec<&[u8]> = bytes
                    .split_inclusive(|byte| *byte == b'\n')
                    .take(6)
                    .collect();
                seeds.push(rows.concat());
                seeds.push(TABLE.as_bytes().to_vec());
            } else if reader == "safetensors" || bytes.len() <= LONGEST_SEED || reader == "gguf" {
                seeds.push(bytes);
            }
        }
    }
    if seeds.is_empty() {
        bail!("no seed for {reader}");
    }
    seeds.sort();
    Ok(seeds)
}

/// Questions as a table.
const TABLE: &str = "language,topic,question,supports,opposes,neutral\n\
    french,Vélos,\"Faut-il, en ville, plus de pistes ?\",oui|plutôt oui,non,sans avis\n\
    french,Vélos,Les pistes sont-elles utiles ?,oui,non,\n";

/// The templates of a record, and hostile ones as they are put together.
fn templates(record: &[u8]) -> Result<Vec<Vec<u8>>> {
    let record: serde_json::Value = serde_json::from_slice(record)?;
    let entries = record.as_array().or(record["cases"].as_array());
    let source = |entry: &serde_json::Value| {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let times = usize::try_from(entry["times"].as_u64().unwrap_or(0)).unwrap_or(0);
        let known = entry["template"].as_str().or(entry["source"].as_str());
        let whole = match known {
            Some(source) => source.to_owned(),
            None => format!(
                "{}{}{}",
                text("head"),
                text("repeat").repeat(times.min(64)),
                text("tail")
            ),
        };
        whole.into_bytes()
    };
    Ok(entries.into_iter().flatten().map(source).collect())
}

fn below(random: &mut ChaCha8Rng, count: usize) -> usize {
    usize::try_from(random.next_u64() % count.max(1) as u64).unwrap_or(0)
}

/// Numbers that readers trip over.
const NASTY: [&[u8]; 12] = [
    b"0",
    b"-1",
    b"18446744073709551615",
    b"1e308",
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    &[0xff; 8],
    &[0; 8],
    &[0, 0, 0, 0, 0, 0, 0, 0x80],
    &[0xff, 0xff, 0xff, 0x7f],
];

fn mutated(seed: &[u8], seeds: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=below(random, 4) {
        // Most of what is read stands at the beginning.
        let reach = if below(random, 2) == 0 {
            512
        } else {
            bytes.len()
        };
        let at = below(random, reach.min(bytes.len()));
        let length = below(random, 16).min(bytes.len() - at);
        match below(random, 8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(random, 8),
            1 if !bytes.is_empty() => bytes[at] = u8::try_from(below(random, 256)).unwrap_or(0),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let nasty = NASTY[below(random, NASTY.len())];
                bytes.splice(at..at + length, nasty.iter().copied());
            }
            5 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            6 => number(&mut bytes, at, random),
            _ => {
                let other = &seeds[below(random, seeds.len())];
                let from = below(random, other.len());
                let end = other.len().min(from + below(random, 64));
                bytes.splice(at..at + length, other[from..end].iter().copied());
            }
        }
    }
    bytes
}

/// Replaces the next run of digits.
fn number(bytes: &mut Vec<u8>, from: usize, random: &mut ChaCha8Rng) {
    let digits = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes[from..].iter().position(digits).map(|at| from + at) else {
        return;
    };
    let length = bytes[start..]
        .iter()
        .take_while(|byte| digits(byte))
        .count();
    let nasty = NASTY[below(random, 8)];
    bytes.splice(start..start + length, nasty.iter().copied());
}
