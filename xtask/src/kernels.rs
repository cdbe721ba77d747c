//! Compiles the CUDA kernels for every kind of device: `cargo xtask kernels`. It needs NVRTC and no GPU.

use anyhow::{Result, bail};
use concord_kernels::{GpuError, compile_kernels};

/// Compute capabilities of the kinds that have a table in `kernels-config/`, and of those between.
const CAPABILITIES: [(i32, i32); 6] = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];
/// Widths of heads: those of checkpoints, and an odd one that attends in the plain form.
const HEAD_DIMS: [usize; 8] = [6, 64, 80, 96, 112, 128, 192, 256];

/// Compiles all of them; where there is no compiler that is said, and is an error under `CONCORD_REQUIRE_NVRTC`.
pub fn kernels() -> Result<()> {
    for capability in CAPABILITIES {
        match compile_kernels(capability, &HEAD_DIMS) {
            Ok(compiled) => {
                let bytes: usize = compiled.iter().map(|(_, bytes)| bytes).sum();
                println!(
                    "sm_{}{}: {} kernels' sources compiled, {} KiB",
                    capability.0,
                    capability.1,
                    compiled.len(),
                    bytes >> 10
                );
            }
            Err(error @ GpuError::Library { .. })
                if std::env::var_os("CONCORD_REQUIRE_NVRTC").is_none() =>
            {
                println!("skipped: {error} (name its folder in CONCORD_CUDA_LIBRARIES)");
                return Ok(());
            }
            Err(error) => bail!("sm_{}{}: {error}", capability.0, capability.1),
        }
    }
    Ok(())
}
