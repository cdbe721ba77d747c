//! The whole self-test on a GPU that is not there, which runs the kernels' own source.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's way to fail and to say that it was skipped"
)]

use super::*;

/// Opens the emulated device, or says that the test is skipped.
fn device() -> Option<Arc<Gpu>> {
    match concord_emulated_cuda::folder() {
        Ok(folder) => {
            look_for_cuda_in(folder);
            Some(Gpu::open(0, None).unwrap())
        }
        Err(error) => {
            assert!(
                std::env::var_os("CONCORD_REQUIRE_EMULATED_CUDA").is_none(),
                "{error}"
            );
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
