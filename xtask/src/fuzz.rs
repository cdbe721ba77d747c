//! A short fuzzing run of the readers of files from strangers: `cargo xtask fuzz [ITERATIONS] [READER]`.
//!
//! Seeds are the tiny checkpoints of `tests/golden`, mutated at random from a fixed seed. A panic, one allocation beyond
//! [`MOST_AT_ONCE`] or an input that takes longer than [`LONGEST`] fails the run, and the input is kept. For long runs with
//! coverage there are the same targets for cargo-fuzz in `fuzz/`.

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
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;

/// Fuzzes every reader, or the named one.
pub fn fuzz(root: &Path, iterations: usize, only: Option<&str>) -> Result<()> {
    let mut failures = 0;
    // What a panic says is in the summary; the usual report would drown it.
    std::panic::set_hook(Box::new(|_| ()));
    for (name, reader) in READERS {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let seeds = seeds(root, name)?;
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let (mut refused, begun) = (0, Instant::now());
        for iteration in 0..iterations {
            let seed = &seeds[below(&mut random, seeds.len())];
            let input = if iteration < seeds.len() {
                seeds[iteration].clone()
            } else {
                mutated(seed, &seeds, &mut random)
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
    let mut folders = vec![root.join("tests/golden"), root.join("models")];
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
            let wanted = match reader {
                "config" => name == "config.json",
                "tokenizer" => name == "tokenizer.json",
                "template" => name == "chat_template.jinja" || name == "templates.json",
                ending => name.ends_with(&format!(".{ending}")),
            };
            if !wanted {
                continue;
            }
            let bytes = std::fs::read(&path)?;
            if name == "templates.json" {
                seeds.extend(templates(&bytes)?);
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

fn templates(record: &[u8]) -> Result<Vec<Vec<u8>>> {
    let record: Vec<serde_json::Value> = serde_json::from_slice(record)?;
    let sources = record.iter().filter_map(|entry| entry["template"].as_str());
    Ok(sources.map(|source| source.as_bytes().to_vec()).collect())
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
