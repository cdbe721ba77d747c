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
mod real;
mod second_opinion;
mod strings;
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

/// A test of a GPU: on the one that is not there (`emulated-cuda/`), for which a C++ compiler is needed and, under
/// `CONCORD_REQUIRE_EMULATED_CUDA=1`, required; under `CONCORD_REQUIRE_GPU=1` on the real one.
pub fn test_with_gpu(name: &str, body: fn()) -> Trial {
    // On a machine with a GPU the same bodies run on it.
    let is_set = |variable: &str| std::env::var_os(variable).is_some_and(|value| value == "1");
    let is_real = is_set("CONCORD_REQUIRE_GPU");
    let found = if is_real {
        Ok(())
    } else {
        concord_emulated_cuda::folder().map(concord_kernels::look_for_cuda_in)
    };
    if let Err(error) = &found {
        eprintln!("skipped: {name} ({error})");
    }
    let absent = found.is_err();
    Trial::test(name, move || match &found {
        Ok(()) => {
            body();
            Ok(())
        }
        Err(error) => Err(Failed::from(error)),
    })
    .with_ignored_flag(absent && !is_set("CONCORD_REQUIRE_EMULATED_CUDA"))
}

fn main() -> ExitCode {
    let mut trials = golden_logits::trials();
    trials.extend(adapters::trials());
    trials.extend(gguf::trials());
    trials.extend(templates::trials());
    trials.extend(second_opinion::trials());
    trials.extend(theorems::trials());
    trials.extend(generation::trials());
    trials.extend(strings::trials());
    trials.extend(study::trials());
    trials.extend(gpu::trials());
    trials.extend(real::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
