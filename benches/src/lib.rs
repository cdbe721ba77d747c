//! Benches of the workspace: `cargo bench -p concord-benches`.
//!
//! `throughput` runs the question set through made-up checkpoints of known shapes, `extent` long prompts and many, `loading` reads a
//! checkpoint; `kernels` and `measures` time the parts with criterion, `measures` also what is found of whole checkpoints.

use concord_checkpoint::DecoderSpec;
use concord_questions::QuestionSet;
use safetensors::{Dtype, tensor::TensorView};
use std::error::Error;
use std::path::{Path, PathBuf};

/// Writes a checkpoint of a config into a folder, in `bf16`: norms of one, the other weights small and different, and the tokenizer of
/// one of the golden checkpoints, whose tokens are the words `w0`, `w1` and so on.
///
/// # Errors
/// Where the config is of no known family, or the folder cannot be written to.
pub fn write_checkpoint(folder: &Path, config: &str) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("config.json");
    std::fs::write(&path, config)?;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/families/gpt2");
    std::fs::copy(golden.join("tokenizer.json"), folder.join("tokenizer.json"))?;
    let spec = DecoderSpec::from_config(&path, &serde_json::from_str(config)?)?;
    let tensors = spec.tensors();
    let counts = tensors
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>());
    let mut state = 1u32;
    let small: Vec<u8> = (0..counts.max().unwrap_or(0))
        .flat_map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // 0.0078 to 0.0156 by the lower byte, with either sign.
            let high = (state >> 31 << 7) | 0x3c;
            [(state >> 16).to_le_bytes()[0] & 0x7f, high.to_le_bytes()[0]]
        })
        .collect();
    let ones = [0x80u8, 0x3f].repeat(spec.hidden_size);
    let views = tensors.into_iter().map(|(name, shape)| {
        let bytes = 2 * shape.iter().product::<usize>();
        let is_norm = name.ends_with("norm.weight");
        let data = if is_norm { &ones } else { &small };
        TensorView::new(Dtype::BF16, shape, &data[..bytes]).map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors"))?;
    Ok(())
}

/// The study's questions where they are at hand (`../shared/valueconsistency`, or the folder that `CONCORD_QUESTIONS` names), else the
/// demo questions; and which they are.
///
/// # Errors
/// Where files are at hand and cannot be read.
pub fn questions() -> Result<(QuestionSet, &'static str), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let named = std::env::var_os("CONCORD_QUESTIONS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root.join("../shared/valueconsistency"));
    let (set, which) = if folder.exists() {
        (concord_questions::load(&folder), "VALUECONSISTENCY")
    } else {
        let which = "the demo set (the study's files are not at hand)";
        (concord_questions::demo(), which)
    };
    Ok((set.map_err(|error| error.to_string())?, which))
}
