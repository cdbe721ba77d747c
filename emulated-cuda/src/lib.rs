//! A GPU that is not there: libraries that stand in for CUDA's and run kernels on the processor, for tests.
//!
//! They speak the interfaces of CUDA's libraries as far as this project uses them (`cpp/`): what a test runs is the program's own
//! code down to the last call, and the kernels' own source, thread by thread, with warp-wide products laid out as the real ones
//! are. Queues are lazy: work runs when something waits for it, so that a wait that is missing shows. What they cannot show is
//! speed, and what a real device does otherwise than its manual says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The check of the stand-ins themselves.
#[cfg(test)]
const SELF_TEST: &str = include_str!("../cpp/selftest.cpp");

/// The sources that the libraries are built from.
const SOURCES: [(&str, &str); 6] = [
    ("build.sh", include_str!("../cpp/build.sh")),
    ("emulated.h", include_str!("../cpp/emulated.h")),
    ("cuda.cpp", include_str!("../cpp/cuda.cpp")),
    ("nvrtc.cpp", include_str!("../cpp/nvrtc.cpp")),
    ("cublaslt.cpp", include_str!("../cpp/cublaslt.cpp")),
    ("nvml.cpp", include_str!("../cpp/nvml.cpp")),
];

/// The folder of the libraries, which are built the first time. It is named for what they are built from and kept under the
/// folder of temporary files.
///
/// # Errors
/// What is missing, mostly a C++ compiler: who cannot go on without it says that it is skipped.
pub fn folder() -> Result<&'static Path, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(build);
    folder.as_deref().map_err(Clone::clone)
}

fn build() -> Result<PathBuf, String> {
    let mut hasher = blake3::Hasher::new();
    for (_, text) in SOURCES {
        hasher.update(text.as_bytes());
    }
    let digest = hasher.finalize().to_hex();
    let kept = std::env::temp_dir().join(format!("concord-emulated-cuda-{}", &digest[..16]));
    if kept.join("libcuda.so.1").is_file() {
        return Ok(kept);
    }
    let failed = |error: std::io::Error| error.to_string();
    let building = tempfile::tempdir_in(std::env::temp_dir()).map_err(failed)?;
    let (from, to) = (building.path().join("cpp"), building.path().join("built"));
    std::fs::create_dir_all(&from).map_err(failed)?;
    for (name, text) in SOURCES {
        std::fs::write(from.join(name), text).map_err(failed)?;
    }
    let built = Command::new("sh")
        .arg(from.join("build.sh"))
        .arg(&to)
        .output();
    let built = built.map_err(failed)?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        return Err(format!(
            "the stand-ins for CUDA are not built: {}",
            said.trim()
        ));
    }
    // Another test may have been first.
    match std::fs::rename(&to, &kept) {
        Err(_) if kept.join("libcuda.so.1").is_file() => Ok(kept),
        other => other.map(|()| kept).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Barriers, shuffles, warp-wide products, lazy queues, memory that runs out, products: against plain loops.
    #[test]
    fn the_stand_ins_do_what_they_say() {
        let folder = match folder() {
            Ok(folder) => folder,
            Err(error) => {
                let required = std::env::var_os("CONCORD_REQUIRE_EMULATED_CUDA");
                assert!(required.is_none_or(|value| value != "1"), "{error}");
                eprintln!("skipped: {error}");
                return;
            }
        };
        let building = tempfile::tempdir().unwrap();
        let (source, program) = (
            building.path().join("selftest.cpp"),
            building.path().join("selftest"),
        );
        std::fs::write(&source, SELF_TEST).unwrap();
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let built = Command::new(compiler)
            .args(["-std=c++17", "-O2"])
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .arg("-ldl")
            .output()
            .unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let ran = Command::new(&program).arg(folder).output().unwrap();
        assert!(
            ran.status.success(),
            "{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}
