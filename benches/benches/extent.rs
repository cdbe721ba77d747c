//! Long prompts and many: rows a second and memory from 100 to 32,000 tokens a prompt, and from one prompt to a million.
//!
//! A small made-up checkpoint (two layers, 256 wide) with a long context, so that attention is most of the work of long prompts.
//! Attention aside, the time of a row must not depend on how long its prompt is or on how many there are; memory must be the
//! plan's. `CONCORD_MILLION=1` asks a million prompts as well (a few GiB of prompts and readings).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

use candle_core::DType;
use concord_benches::write_checkpoint;
use concord_checkpoint::Snapshot;
use concord_decoder::{Decoder, Work};
use concord_kernels::{Engine, KernelConfig};
use concord_readings::{Input, Prompt, Read};
use concord_scorer::{
    Demand, LabelTable, MemoryPlan, Plan, SchedulePreference, Scorer, Spill, human,
};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 256,
    "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 768,
    "max_position_embeddings": 40000}"#;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("extent");
    write_checkpoint(&folder, CONFIG)?;
    let snapshot = Snapshot::open(&folder)?;
    println!(
        "prompts    tokens each       rows  rows/s  rows/s without attention  planned  resident after"
    );
    // The same number of rows in prompts that share nothing, of each length.
    for (length, count) in [(100, 640), (1_000, 64), (8_000, 8), (32_000, 2)] {
        line(&snapshot, length, count)?;
    }
    // More and more short ones.
    let most = if std::env::var_os("CONCORD_MILLION").is_some() {
        1_000_000
    } else {
        100_000
    };
    let mut count = 1;
    while count <= most {
        line(&snapshot, 6, count)?;
        count *= 10;
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn line(snapshot: &Snapshot, length: usize, count: usize) -> Result<(), Box<dyn Error>> {
    let prompts: Vec<Prompt> = (0..count)
        .map(|number| {
            // Its number first, so that no two share more than that.
            let digits: Vec<usize> = (0..3)
                .map(|place| number / 90usize.pow(place) % 90)
                .collect();
            let others = (digits.len()..length).map(|i| (i * 7 + number) % 90);
            let words: Vec<String> = digits
                .iter()
                .copied()
                .chain(others)
                .map(|n| format!("w{n}"))
                .collect();
            let text = words.join(" ");
            Prompt {
                id: number.to_string(),
                input: Input::Text(text),
                reads: vec![Read::NextToken {
                    labels: vec!["w7".into(), "w9".into()],
                    openings: vec![],
                }],
            }
        })
        .collect();
    let config = KernelConfig::cpu();
    let dtype = if config.path.has_bf16() {
        DType::BF16
    } else {
        DType::F32
    };
    let table = Arc::new(LabelTable::new(&snapshot.vocabulary));
    let plan = Plan::new(snapshot, &table, &prompts)?;
    let engine = Engine::cpu();
    let sizes = Decoder::weight_sizes(snapshot, dtype, &engine, false);
    let demand = Demand {
        readings: 0,
        ..Demand::of(&plan, &snapshot.spec, &sizes, (&engine, dtype), &config)
    };
    let before = resident();
    let spill = Spill::within(std::env::temp_dir());
    let memory = MemoryPlan::new(&[demand], SchedulePreference::Auto, before, None, &spill)?;
    let decoder = Decoder::load(snapshot, dtype, config)?;
    let scorer = Scorer::with_table(snapshot, &decoder, table);
    let begun = Instant::now();
    let (counts, times) = scorer.run(&plan, &memory.schedule, |_, _| ControlFlow::Continue(()))?;
    let seconds = begun.elapsed().as_secs_f64();
    if counts.rows_computed != counts.trie_rows {
        return Err("rows computed are not the rows of the trie".into());
    }
    let rows = counts.rows_computed as f64;
    let others = seconds - times.seconds(Work::Attention);
    println!(
        "{count:>7}    {:>11.0} {:>10} {:>7.0} {:>25.0} {:>8} {:>15}",
        counts.tokens_asked as f64 / counts.prompts as f64,
        counts.rows_computed,
        rows / seconds,
        rows / others,
        human(memory.peak()),
        human(resident()),
    );
    Ok(())
}

/// Resident memory, from the kernel; 0 where it does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
