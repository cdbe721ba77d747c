//! How fast a checkpoint becomes a decoder, beside how fast its file is read.
//!
//! A made-up checkpoint of 200 million weights in bf16 is written to cargo's folder for temporary files. Best of three each, in
//! one run, with the file in the page cache: held as stored, held as f32, and `read` of the same bytes as the ceiling.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

use candle_core::DType;
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
    std::fs::create_dir_all(&folder)?;
    write(&folder)?;
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
        ("held as stored (bf16)", DType::BF16),
        ("held as f32", DType::F32),
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

/// A checkpoint of that config, all of its weights 0.0078.
fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    use safetensors::{Dtype, tensor::TensorView};
    std::fs::write(folder.join("config.json"), CONFIG)?;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/families/gpt2");
    std::fs::copy(golden.join("tokenizer.json"), folder.join("tokenizer.json"))?;
    let config = serde_json::from_str(CONFIG)?;
    let spec = concord_checkpoint::DecoderSpec::from_config(&folder.join("config.json"), &config)?;
    let tensors = spec.tensors();
    let longest = tensors
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .max();
    let data: Vec<u8> = [0x00, 0x3c].repeat(longest.unwrap_or(0));
    let views = tensors.into_iter().map(|(name, shape)| {
        let bytes = 2 * shape.iter().product::<usize>();
        TensorView::new(Dtype::BF16, shape, &data[..bytes]).map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let file = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &file)?;
    Ok(())
}
