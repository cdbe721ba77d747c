//! The decoder and the scorer on a GPU that is not there: the program's own code, and the kernels' own source, down to the calls to
//! CUDA (`emulated-cuda/`). And the generic path, which needs no GPU.

use crate::golden_logits::{families, folder, golden, worst_error_in};
use crate::{test, test_with_gpu};
use candle_core::{DType, Device};
use concord_checkpoint::{Snapshot, demo_pair};
use concord_decoder::Decoder;
use concord_kernels::{Engine, Gpu, GpuConfig, KernelConfig, SelfTest, WeightFormat};
use concord_readings::{Answer, End, Prompt, Read, Reading, Sampling, Strings};
use concord_scorer::{Counts, Schedule, Scorer, Spill};
use libtest_mimic::Trial;
use std::ops::ControlFlow;
use std::sync::Arc;

pub fn trials() -> Vec<Trial> {
    vec![
        test(
            "generic::every_family_is_that_of_transformers",
            generic_families,
        ),
        test(
            "generic::readings_are_those_of_the_processor",
            generic_readings,
        ),
        test_with_gpu("gpu::every_family_is_that_of_transformers", every_family),
        test_with_gpu(
            "gpu::readings_are_the_same_bits_in_any_company",
            any_company,
        ),
        test_with_gpu(
            "gpu::schedules_and_devices_change_no_bit",
            schedules_and_devices,
        ),
        test_with_gpu("gpu::texts_are_those_of_the_processor", texts),
        test_with_gpu(
            "gpu::texts_are_the_same_bits_among_few_and_many",
            texts_among_many,
        ),
        test_with_gpu(
            "gpu::memory_that_runs_out_leaves_fewer_texts_at_once",
            texts_out_of_memory,
        ),
        test_with_gpu("gpu::memory_that_runs_out_shortens_passes", out_of_memory),
        test_with_gpu("gpu::plain_kernels_take_over", plain_kernels),
        test_with_gpu("gpu::eight_bits_are_those_of_the_processor", eight_bits),
        test_with_gpu(
            "gpu::numbers_that_are_not_finite_name_their_layer",
            not_finite,
        ),
    ]
}

/// Small sizes: an emulated GPU is slow, and cuts are to be seen.
fn config(rows_per_pass: usize) -> GpuConfig {
    GpuConfig {
        rows_per_pass,
        few_rows: 16,
        head_rows: 16,
        texts: 8,
        kv_mib: 64,
        workspace_mib: 1,
        ..GpuConfig::of((9, 0)).unwrap()
    }
}

fn gpu(rows_per_pass: usize) -> Arc<Gpu> {
    Gpu::open_with(0, config(rows_per_pass), None).unwrap()
}

fn on(gpu: &Arc<Gpu>) -> Engine {
    Engine::Cuda(Arc::clone(gpu), WeightFormat::Native)
}

fn load(engine: &Engine, snapshot: &Snapshot, dtype: DType) -> Decoder {
    Decoder::load_on(engine, snapshot, dtype, engine.config()).unwrap()
}

fn prompts(count: usize) -> Vec<Prompt> {
    let set = concord_questions::demo().unwrap();
    let questions = set.files.iter().flat_map(|file| &file.questions);
    let texts: Vec<String> = questions
        .map(|question| question.question.clone())
        .collect();
    let text = |index: usize| {
        format!(
            "{} {}",
            texts[index / 3 % texts.len()],
            ["Yes", "No", "So"][index % 3]
        )
    };
    (0..count)
        .map(|index| Prompt {
            id: format!("p{index}"),
            input: concord_readings::Input::Text(text(index)),
            reads: vec![
                Read::NextToken {
                    labels: vec!["A".into(), "B".into()],
                    openings: vec![],
                },
                Read::Continuation {
                    text: " it is".into(),
                },
                Read::Strings(Strings {
                    texts: vec!["10".into(), "no".into()],
                    leads: vec![String::new(), " ".into()],
                    end: [End::Any, End::Digit, End::Letter][index % 3],
                }),
            ],
        })
        .collect()
}

/// The log-probabilities of a reading.
fn numbers(reading: &Reading) -> Vec<f64> {
    let mut numbers = Vec::new();
    for answer in &reading.answers {
        match answer {
            Answer::NextToken(next) => {
                numbers.extend(next.labels.iter().map(|label| label.log_prob.get()));
                numbers.push(next.entropy.get());
            }
            Answer::Continuation(continuation) => {
                numbers.extend(continuation.tokens.iter().map(|token| token.log_prob.get()));
            }
            Answer::Strings(strings) => {
                for text in &strings.texts {
                    let ends = text.spellings.iter().map(|way| way.ended.get());
                    numbers.extend(ends.chain([text.log_prob.get()]));
                }
            }
            Answer::Generation(text) => numbers.extend(text.log_probs.iter().map(|x| x.get())),
        }
    }
    numbers
}

fn largest_difference(a: &[Reading], b: &[Reading]) -> f64 {
    assert_eq!(a.len(), b.len());
    let of = |readings: &[Reading]| readings.iter().flat_map(numbers).collect::<Vec<_>>();
    let (a, b) = (of(a), of(b));
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(&b)
        .fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

/// The largest difference of two probabilities.
fn in_probability(a: &[Reading], b: &[Reading]) -> f64 {
    let of = |readings: &[Reading]| -> Vec<f64> {
        let numbers = readings.iter().flat_map(numbers);
        numbers.map(|x| x.min(0.0).exp()).collect()
    };
    let (a, b) = (of(a), of(b));
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(&b)
        .fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

fn generic_families() {
    for name in families() {
        let snapshot = Snapshot::open(&folder(&name)).unwrap();
        let engine = Engine::Generic(Device::Cpu);
        let decoder = load(&engine, &snapshot, DType::F32);
        let error = worst_error_in(&decoder, &golden(&name));
        assert!(error <= 1e-4, "{name}: off by {error} of the largest logit");
    }
}

fn generic_readings() {
    let [_, snapshot] = demo_pair().unwrap();
    let prompts = prompts(30);
    let cpu = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let (expected, _) = Scorer::new(&snapshot, &cpu).score(&prompts).unwrap();
    let engine = Engine::Generic(Device::Cpu);
    for rows_per_pass in [64, 1024] {
        let config = KernelConfig {
            rows_per_pass,
            ..KernelConfig::cpu()
        };
        let decoder = Decoder::load_on(&engine, &snapshot, DType::F32, config).unwrap();
        let scorer = Scorer::new(&snapshot, &decoder);
        let (found, _) = scorer.score(&prompts).unwrap();
        assert!(largest_difference(&found, &expected) < 1e-4);
        let layers = Schedule::LayerMajor { spill: None };
        let (found, _) = scorer.score_by(&prompts, &layers).unwrap();
        assert!(largest_difference(&found, &expected) < 1e-4);
    }
    let asked = writing(4);
    let texts = |decoder: &Decoder| written(&Scorer::new(&snapshot, decoder), &asked);
    let decoder = load(&engine, &snapshot, DType::F32);
    assert!(largest_difference(&texts(&decoder), &texts(&cpu)) < 1e-3);
}

fn every_family() {
    let gpu = gpu(32);
    for name in families() {
        let snapshot = Snapshot::open(&folder(&name)).unwrap();
        // Of the largest logit.
        // Where experts are chosen, rounding to eight bits may choose another: of these, f16 and f32 say whether they are right.
        let has_experts = name.contains("moe") || name.contains("mixtral");
        let narrow = if has_experts { 1.0 } else { 8e-2 };
        for (dtype, tolerance) in [
            (DType::F32, 1e-4),
            (DType::F16, 1e-2),
            (DType::BF16, narrow),
        ] {
            let decoder = load(&on(&gpu), &snapshot, dtype);
            let error = worst_error_in(&decoder, &golden(&name));
            assert!(
                error <= tolerance,
                "{name} as {dtype:?}: off by {error} of the largest logit"
            );
        }
    }
}

/// Alone, among others, in another order: the bits of a reading depend on its prompt alone, as long as passes have one size.
fn any_company() {
    let [_, snapshot] = demo_pair().unwrap();
    let gpu = gpu(32);
    let decoder = load(&on(&gpu), &snapshot, DType::BF16);
    let scorer = Scorer::new(&snapshot, &decoder);
    let mut prompts = prompts(24);
    let (all, counts) = scorer.score(&prompts).unwrap();
    assert_eq!(counts.rows_computed, counts.trie_rows);
    assert!(counts.passes > 4, "{counts:?}");
    for index in [0, 7, 23] {
        let (alone, _) = scorer.score(&prompts[index..=index]).unwrap();
        assert_eq!(alone[0], all[index]);
    }
    prompts.rotate_left(5);
    let (mut turned, _) = scorer.score(&prompts).unwrap();
    turned.rotate_right(5);
    assert_eq!(turned, all);
    // Close to what the processor reads.
    prompts.rotate_right(5);
    let cpu = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let (expected, _) = Scorer::new(&snapshot, &cpu).score(&prompts).unwrap();
    let difference = in_probability(&all, &expected);
    assert!(difference < 0.05, "{difference}");
    let wide = load(&on(&gpu), &snapshot, DType::F32);
    let (wide, _) = Scorer::new(&snapshot, &wide).score(&prompts).unwrap();
    let difference = largest_difference(&wide, &expected);
    assert!(difference < 1e-4, "{difference}");
}

fn schedules_and_devices() {
    let [_, snapshot] = demo_pair().unwrap();
    let (first, second) = (gpu(48), gpu(48));
    let prompts = prompts(24);
    let engines = [on(&first), on(&second)];
    let kept = load(&engines[0], &snapshot, DType::BF16);
    let (expected, whole) = Scorer::new(&snapshot, &kept).score(&prompts).unwrap();
    let streamed =
        Decoder::streamed_on(&engines[0], &snapshot, DType::BF16, engines[0].config()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spilled = Schedule::LayerMajor {
        spill: Some(Spill::within(folder.path())),
    };
    let layers = Schedule::LayerMajor { spill: None };
    for (schedule, on_host) in [(&layers, false), (&layers, true), (&spilled, false)] {
        let scorer = Scorer::new(&snapshot, &streamed).with_streams_on_host(on_host);
        let (found, counts) = scorer.score_by(&prompts, schedule).unwrap();
        assert_eq!(found, expected, "{} {on_host}", schedule.name());
        assert_eq!(counts.rows_computed, whole.rows_computed);
    }
    let (found, _) = Scorer::new(&snapshot, &streamed).score(&prompts).unwrap();
    assert_eq!(found, expected);
    // Two devices share the trie; the second computes the path to its first row again.
    let other = load(&engines[1], &snapshot, DType::BF16);
    for schedule in [&Schedule::PassMajor, &layers] {
        let scorer = Scorer::new(&snapshot, &kept).sharing(vec![&other]);
        let (found, counts) = scorer.score_by(&prompts, schedule).unwrap();
        assert_eq!(found, expected, "{}", schedule.name());
        assert_eq!(counts.rows_computed, whole.rows_computed);
        assert!(counts.rows_again < 100, "{counts:?}");
    }
}

fn writing(count: usize) -> Vec<Prompt> {
    let sampling = |index: usize| Sampling {
        max_tokens: 9,
        temperature: if index.is_multiple_of(2) { 0.0 } else { 0.8 },
        top_p: 0.95,
        seed: 3,
        stop: vec![],
    };
    let prompts = prompts(count).into_iter().enumerate();
    prompts
        .map(|(index, prompt)| Prompt {
            reads: vec![Read::Generation(sampling(index))],
            ..prompt
        })
        .collect()
}

fn written(scorer: &Scorer<'_>, prompts: &[Prompt]) -> Vec<Reading> {
    let mut readings: Vec<Option<Reading>> = vec![None; prompts.len()];
    let counts = scorer.generate(prompts, |_, ended| {
        for (number, reading) in ended {
            readings[number] = Some(reading);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(counts.unwrap().texts, prompts.len() as u64);
    readings.into_iter().flatten().collect()
}

fn texts() {
    let [_, snapshot] = demo_pair().unwrap();
    let (gpu, other) = (gpu(48), gpu(48));
    let asked = writing(12);
    let cpu = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let expected = written(&Scorer::new(&snapshot, &cpu), &asked);
    let decoder = load(&on(&gpu), &snapshot, DType::F32);
    let found = written(&Scorer::new(&snapshot, &decoder), &asked);
    let tokens = |readings: &[Reading]| -> Vec<Vec<u32>> {
        readings
            .iter()
            .map(|reading| reading.generation().unwrap().tokens.clone())
            .collect()
    };
    assert_eq!(tokens(&found), tokens(&expected));
    assert!(largest_difference(&found, &expected) < 1e-4);
    // Two devices share the prompts.
    let second = load(&on(&other), &snapshot, DType::F32);
    let shared = Scorer::new(&snapshot, &decoder).sharing(vec![&second]);
    assert_eq!(written(&shared, &asked), found);
}

/// Products of few and of many texts have different numbers of rows, and one algorithm.
fn texts_among_many() {
    let [_, snapshot] = demo_pair().unwrap();
    let config = GpuConfig {
        texts: 140,
        ..config(48)
    };
    let gpu = Gpu::open_with(0, config, None).unwrap();
    let decoder = load(&on(&gpu), &snapshot, DType::BF16);
    let scorer = Scorer::new(&snapshot, &decoder);
    let mut asked = writing(132);
    for prompt in &mut asked {
        if let Some(Read::Generation(sampling)) = prompt.reads.first_mut() {
            sampling.max_tokens = 2;
        }
    }
    let many = written(&scorer, &asked);
    let few = written(&scorer, &asked[..3]);
    assert_eq!(few, many[..3]);
}

/// What was planned does not fit after all: fewer texts are written at once, and each is the same.
fn texts_out_of_memory() {
    let [_, snapshot] = demo_pair().unwrap();
    let gpu = gpu(48);
    let mut asked = writing(12);
    // Some end with their first token, before anything can run out.
    for prompt in asked.iter_mut().step_by(3) {
        if let Some(Read::Generation(sampling)) = prompt.reads.first_mut() {
            sampling.max_tokens = 1;
        }
    }
    let decoder = load(&on(&gpu), &snapshot, DType::F32);
    let scorer = Scorer::new(&snapshot, &decoder);
    gpu.forget_peak();
    let before = gpu.peak_bytes();
    let expected = written(&scorer, &asked);
    let usual = scorer.generate(&asked, |_, _| ControlFlow::Continue(()));
    let usual = usual.unwrap().prompt_rows;
    let most = gpu.peak_bytes() - before;
    let mut went_on = false;
    for fifths in [4, 3, 2] {
        gpu.set_cap(Some(before + most / 5 * fifths));
        let mut found: Vec<Option<Reading>> = vec![None; asked.len()];
        let outcome = scorer.generate(&asked, |_, ended| {
            for (number, reading) in ended {
                assert!(found[number].replace(reading).is_none());
            }
            ControlFlow::Continue(())
        });
        match outcome {
            Ok(counts) => {
                // Prompts that were given up are computed again.
                went_on |= counts.prompt_rows > usual;
                let found: Vec<Reading> = found.into_iter().flatten().collect();
                assert_eq!(found, expected);
            }
            Err(error) => assert!(error.is_out_of_memory(), "{error}"),
        }
    }
    assert!(went_on);
    // Where not even one fits, that is the error.
    gpu.set_cap(Some(before + (1 << 12)));
    let error = scorer
        .generate(&asked, |_, _| ControlFlow::Continue(()))
        .unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
}

fn run(
    scorer: &Scorer<'_>,
    prompts: &[Prompt],
    schedule: &Schedule,
) -> (Vec<Reading>, Counts, u32) {
    let plan = scorer.plan(prompts).unwrap();
    let mut readings: Vec<Option<Reading>> = vec![None; prompts.len()];
    let mut shortened = 0;
    let (counts, _) = scorer
        .run(&plan, schedule, |progress, done| {
            shortened = progress.shortened;
            for (index, reading) in done {
                readings[index] = Some(reading);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    (readings.into_iter().flatten().collect(), counts, shortened)
}

/// What was planned does not fit after all: passes become shorter, and every reading comes.
fn out_of_memory() {
    let [_, snapshot] = demo_pair().unwrap();
    let prompts = prompts(24);
    let cpu = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let (expected, _) = Scorer::new(&snapshot, &cpu).score(&prompts).unwrap();
    for schedule in [Schedule::PassMajor, Schedule::LayerMajor { spill: None }] {
        let gpu = gpu(256);
        let decoder = load(&on(&gpu), &snapshot, DType::F32);
        let scorer = Scorer::new(&snapshot, &decoder);
        gpu.forget_peak();
        let before = gpu.peak_bytes();
        let (_, _, none) = run(&scorer, &prompts, &schedule);
        assert_eq!(none, 0);
        let most = gpu.peak_bytes() - before;
        gpu.set_cap(Some(before + most / 5 * 3));
        let (found, counts, shortened) = run(&scorer, &prompts, &schedule);
        assert!(shortened >= 1, "{}", schedule.name());
        assert_eq!(counts.rows_computed, counts.trie_rows);
        let difference = largest_difference(&found, &expected);
        assert!(difference < 1e-4, "{difference}");
        // Where even the shortest does not fit, that is the error.
        gpu.set_cap(Some(before + (1 << 12)));
        let error = scorer.score_by(&prompts, &schedule).unwrap_err();
        assert!(error.is_out_of_memory(), "{error}");
    }
}

fn plain_kernels() {
    let [_, snapshot] = demo_pair().unwrap();
    let gpu = gpu(48);
    let checks = gpu.self_test(&SelfTest::brief(
        DType::BF16,
        (
            snapshot.spec.head_dim,
            snapshot.spec.heads / snapshot.spec.kv_heads,
        ),
        true,
    ));
    assert!(
        checks.iter().all(concord_kernels::Check::passed),
        "{checks:?}"
    );
    let prompts = prompts(9);
    let decoder = load(&on(&gpu), &snapshot, DType::BF16);
    let scorer = Scorer::new(&snapshot, &decoder);
    let (fast, _) = scorer.score(&prompts).unwrap();
    gpu.use_plain("attention");
    assert_eq!(gpu.plain_kernels(), ["attention"]);
    let (plain, _) = scorer.score(&prompts).unwrap();
    let difference = in_probability(&fast, &plain);
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
}

fn eight_bits() {
    let [_, snapshot] = demo_pair().unwrap();
    let gpu = gpu(48);
    let prompts = prompts(9);
    let read = |engine: &Engine| {
        let decoder = load(engine, &snapshot, DType::F32);
        Scorer::new(&snapshot, &decoder).score(&prompts).unwrap().0
    };
    let path = KernelConfig::cpu().path;
    let cpu = read(&Engine::Cpu(path, WeightFormat::Int8));
    let found = read(&Engine::Cuda(Arc::clone(&gpu), WeightFormat::Int8));
    let difference = largest_difference(&found, &cpu);
    assert!(difference < 2e-3, "{difference}");
    let whole = read(&Engine::Cpu(path, WeightFormat::Native));
    let difference = largest_difference(&whole, &cpu);
    assert!(difference > 1e-3 && difference < 1.0, "{difference}");
}

/// A layer that makes numbers infinite is named as on the processor.
fn not_finite() {
    let (from, into) = (folder("llama3-gqa-untied"), tempfile::tempdir().unwrap());
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        if from.join(file).is_file() {
            std::fs::copy(from.join(file), into.path().join(file)).unwrap();
        }
    }
    let path = from.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let down = "model.layers.0.mlp.down_proj.weight";
    let whole = tensors[down].to_dtype(DType::F32).unwrap();
    tensors.insert(down.to_owned(), (whole * 1e38).unwrap());
    candle_core::safetensors::save(&tensors, into.path().join("model.safetensors")).unwrap();
    let snapshot = Snapshot::open(into.path()).unwrap();
    let cpu = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let gpu = gpu(48);
    let decoder = load(&on(&gpu), &snapshot, DType::F32);
    let said = |decoder: &Decoder| {
        let error = Scorer::new(&snapshot, decoder)
            .score(&prompts(3))
            .unwrap_err();
        error.to_string()
    };
    assert!(said(&cpu).contains("after layer 0"), "{}", said(&cpu));
    assert_eq!(said(&decoder), said(&cpu));
}
