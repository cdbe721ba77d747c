//! How fast a checkpoint becomes a decoder, beside how fast its file is read.
//!
//! A made-up checkpoint of 200 million weights in bf16 is written to cargo's folder for temporary files. Best of three each, in
//! one run, with the file in the page cache: packed for products of `bf16`, of `f32` (where the weights stay `bf16`, which is exact),
//! and `read` of the same bytes as the ceiling.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

use candle_core::DType;
use concord_benches::write_checkpoint;
use concord_checkpoint::Snapshot;
use concord_decoder::Decoder;
use concord_kernels::KernelConfig;
use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 1024,
    "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 4096}"#;

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
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("loading");
    write_checkpoint(&folder, CONFIG)?;
    let weights = folder.join("model.safetensors");
    let bytes = weights.metadata()?.len();
    let rate = |seconds: f64| bytes as f64 / seconds / 1e9;
    let read = best(|| {
        let mut buffer = vec![0u8; 1 << 20];
        let mut file = std::fs::File::open(&weights)?;
        while file.read(&mut buffer)? > 0 {}
        Ok(())
    })?;
    println!(
        "{:<24} {:.2} GB/s of {:.0} MB",
        "read alone",
        rate(read),
        bytes as f64 / 1e6
    );
    let snapshot = Snapshot::open(&folder)?;
    for (name, dtype) in [
        ("for products of bf16", DType::BF16),
        ("for products of f32", DType::F32),
    ] {
        let seconds = best(|| {
            Decoder::load(&snapshot, dtype, KernelConfig::cpu())?;
            Ok(())
        })?;
        println!(
            "{name:<24} {:.2} GB/s, {:.2} of reading alone",
            rate(seconds),
            read / seconds
        );
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn best(mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        run()?;
        best = best.min(begun.elapsed().as_secs_f64());
    }
    Ok(best)
}
