//! The whole self-test on a GPU that is not there, which runs the kernels' own source.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's way to fail and to say that it was skipped"
)]

use super::*;

/// Opens the emulated device, or says that the test is skipped.
fn device() -> Option<Arc<Gpu>> {
    let is_set = |variable: &str| std::env::var_os(variable).is_some_and(|value| value == "1");
    let found = if is_set("CONCORD_REQUIRE_GPU") {
        Ok(())
    } else {
        concord_emulated_cuda::folder().map(look_for_cuda_in)
    };
    match found {
        Ok(()) => {
            // Small sizes: an emulated device is slow.
            let config = GpuConfig {
                rows_per_pass: 64,
                few_rows: 32,
                ..GpuConfig::of((9, 0)).unwrap()
            };
            Some(Gpu::open_with(0, config, None).unwrap())
        }
        Err(error) => {
            assert!(!is_set("CONCORD_REQUIRE_EMULATED_CUDA"), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

#[test]
fn every_kernel_agrees_with_its_reference() {
    let Some(gpu) = device() else { return };
    let checks = gpu.self_test(&SelfTest::thorough(20_261_124));
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(checks.len() > 60 && gpu.plain_kernels().is_empty());
}
