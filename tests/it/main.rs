//! Tests that cross rooms: logits against transformers, the standing theorems, the study's reference values.
//!
//! Tests that need the study's files (`../shared`, or the folder named by `CONCORD_SHARED`) are counted as ignored where it
//! is absent, and say so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's way to fail and to say that it was skipped"
)]

mod adapters;
mod generation;
mod gguf;
mod golden_logits;
mod gpu;
mod second_opinion;
mod study;
mod templates;
mod theorems;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The folder of the study's files, where it is at hand.
pub fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("CONCORD_SHARED").map(PathBuf::from);
    let folder =
        named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    folder.join("valueconsistency").is_dir().then_some(folder)
}

/// A test that always runs.
pub fn test(name: &str, body: fn()) -> Trial {
    Trial::test(name, move || {
        body();
        Ok(())
    })
}

/// A test that needs the study's files.
pub fn test_with_shared(name: &str, body: fn(&Path)) -> Trial {
    let folder = shared();
    if folder.is_none() {
        eprintln!("skipped: {name} (the study's files are not at hand; set CONCORD_SHARED)");
    }
    let absent = folder.is_none();
    Trial::test(name, move || match &folder {
        Some(folder) => {
            body(folder);
            Ok(())
        }
        None => Err(Failed::from("the study's files are not at hand")),
    })
    .with_ignored_flag(absent)
}

/// A test that needs a C++ compiler, for the GPU that is not there (`emulated-cuda/`).
pub fn test_with_gpu(name: &str, body: fn()) -> Trial {
    let found = concord_emulated_cuda::folder();
    if let Err(error) = &found {
        eprintln!("skipped: {name} ({error})");
    }
    if let Ok(folder) = found {
        concord_kernels::look_for_cuda_in(folder);
    }
    let absent = found.is_err();
    Trial::test(name, move || {
        if absent {
            return Err(Failed::from("the stand-ins for CUDA are not built"));
        }
        body();
        Ok(())
    })
    .with_ignored_flag(absent)
}

fn main() -> ExitCode {
    let mut trials = golden_logits::trials();
    trials.extend(adapters::trials());
    trials.extend(gguf::trials());
    trials.extend(templates::trials());
    trials.extend(second_opinion::trials());
    trials.extend(theorems::trials());
    trials.extend(generation::trials());
    trials.extend(study::trials());
    trials.extend(gpu::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
