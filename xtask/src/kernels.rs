//! Compiles the CUDA kernels for every kind of device: `cargo xtask kernels`. It needs NVRTC and no GPU. The images are left in
//! `target/kernels`, where `cuobjdump --dump-resource-usage` and `--dump-sass` read them.

use anyhow::{Result, bail};
use concord_kernels::{GpuError, compile_kernels};

/// Compute capabilities of the kinds that have a table in `kernels-config/`, and of those between.
const CAPABILITIES: [(i32, i32); 6] = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];
/// Widths of heads: those of checkpoints, and an odd and a wide one that attend in the plain form.
const HEAD_DIMS: [usize; 9] = [6, 64, 80, 96, 112, 128, 192, 256, 512];

/// Query heads that share keys: one, Llama's, Qwen 2.5's.
const GROUPS: [usize; 3] = [1, 4, 7];

/// Compiles all of them; where there is no compiler that is said, and is an error under `CONCORD_REQUIRE_NVRTC`.
pub fn kernels() -> Result<()> {
    for capability in CAPABILITIES {
        match compile_kernels(capability, &HEAD_DIMS, &GROUPS) {
            Ok(compiled) => {
                let bytes: usize = compiled.iter().map(|(_, image)| image.len()).sum();
                let folder = format!("target/kernels/sm_{}{}", capability.0, capability.1);
                std::fs::create_dir_all(&folder)?;
                for (name, image) in &compiled {
                    let name = name.replace(' ', "-");
                    std::fs::write(format!("{folder}/{name}.cubin"), image)?;
                }
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
