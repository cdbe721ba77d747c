//! The whole self-test on a GPU that is not there, which runs the kernels' own source.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's way to fail and to say that it was skipped"
)]

use super::*;

/// Opens the emulated device, or says that the test is skipped.
fn device() -> Option<Arc<Gpu>> {
    device_with(None)
}

fn device_with(cache: Option<PathBuf>) -> Option<Arc<Gpu>> {
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
                texts: 160,
                ..GpuConfig::of((9, 0)).unwrap()
            };
            Some(Gpu::open_with(0, config, cache).unwrap())
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

#[test]
fn products_are_made_for_as_long_as_is_wanted() {
    let Some(gpu) = device() else { return };
    let engine = crate::Engine::Cuda(gpu, WeightFormat::Native);
    let of = |rows: usize, columns: usize| {
        let values = vec![0.5f32; rows * columns];
        let device = &candle_core::Device::Cpu;
        candle_core::Tensor::from_vec(values, (rows, columns), device).unwrap()
    };
    let products = [(of(16, 8), of(64, 8)), (of(8, 16), of(64, 16))];
    let made = engine.sustained(&products, candle_core::DType::BF16, 0.02);
    let (rounds, seconds) = made.unwrap().unwrap();
    assert!(rounds >= 16 && rounds.is_multiple_of(16) && seconds >= 0.02);
    let cpu = crate::Engine::cpu().sustained(&products, candle_core::DType::BF16, 0.02);
    assert_eq!(cpu.unwrap(), None);
}

/// A product of as many rows as a pass, whose algorithm is measured, or of few, whose is not.
fn product_of(gpu: &Arc<Gpu>, block: usize) -> Vec<f32> {
    let (rows, inner, outer) = (64, 40, 24);
    let value = |seed: usize| ((seed * 7919 % 1009) as f32 / 500.0 - 1.0).sin();
    let of = |count: usize, seed: usize| (0..count).map(|i| value(i + seed)).collect::<Vec<f32>>();
    let weight = of(outer * inner, 5);
    let weight = candle_core::Tensor::from_vec(weight, (outer, inner), &candle_core::Device::Cpu);
    let dtype = candle_core::DType::F32;
    let matrix = GpuMatrix::upload(gpu, &weight.unwrap(), false, dtype, WeightFormat::Native);
    let x = GpuRows::from_host(gpu, &of(rows * inner, 3), inner, block).unwrap();
    let out = GpuRows::from_host(gpu, &of(rows * outer, 9), outer, block).unwrap();
    matrix.unwrap().multiply(&x, None, &out, 0.5, 1.0).unwrap();
    out.to_host().unwrap()
}

#[test]
fn a_measured_algorithm_has_the_bits_of_the_first_and_is_left_when_it_fails() {
    let cache = tempfile::tempdir().unwrap();
    let Some(gpu) = device_with(Some(cache.path().to_owned())) else {
        return;
    };
    let expected = product_of(&gpu, gpu.config.few_rows);
    let kept = || {
        let files = std::fs::read_dir(cache.path()).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        files.find(|path| path.extension().is_some_and(|end| end == "toml"))
    };
    assert_eq!(kept(), None);
    // It adds to what is there, which measuring leaves as it is.
    assert_eq!(product_of(&gpu, gpu.pass_rows()), expected);
    let file = kept().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    // The stand-in's mark, and the first or the second of its algorithms.
    let kept_as = |number: u64| {
        let rest = "0".repeat(6 * 16);
        format!("\"64 40 24 F32 F32\" = \"656d756c61746564{number:016x}{rest}\"\n")
    };
    assert!(text == kept_as(1) || text == kept_as(2), "{text}");
    // The last one is one that fails.
    std::fs::write(&file, kept_as(4)).unwrap();
    let gpu = device_with(Some(cache.path().to_owned())).unwrap();
    assert_eq!(product_of(&gpu, gpu.pass_rows()), expected);
    assert_eq!(gpu.plain_kernels(), [choices::FIRST_CHOICES]);
    assert_eq!(product_of(&gpu, gpu.pass_rows()), expected);
    // What is no table is no choice.
    std::fs::write(&file, "?").unwrap();
    let gpu = device_with(Some(cache.path().to_owned())).unwrap();
    assert_eq!(product_of(&gpu, gpu.pass_rows()), expected);
    assert!(gpu.plain_kernels().is_empty());
}
