//! What must hold whatever the checkpoint: sharing, order, pass size and neighbours change no bit.

use crate::golden_logits::folder;
use crate::strings::{prompts_with_strings, spelled, strings};
use crate::test;
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{Snapshot, demo_pair};
use concord_decoder::{Decoder, Pass};
use concord_kernels::{KernelConfig, summarise};
use concord_questions::{Ask, Kind, Stimuli};
use concord_readings::{Answer, End, Input, Prompt, Read, Reading};
use concord_scorer::{Counts, Keep, LabelTable, Plan, Schedule, Scorer, ScorerError, Spill};
use libtest_mimic::Trial;
use std::ops::ControlFlow;

pub fn trials() -> Vec<Trial> {
    vec![
        test(
            "theorems::one_prompt_reads_the_same_alone_and_in_a_batch",
            alone_and_in_a_batch,
        ),
        test(
            "theorems::a_trie_reads_the_same_as_no_trie",
            trie_and_no_trie,
        ),
        test("theorems::pass_sizes_agree", pass_sizes),
        test(
            "theorems::every_family_reads_the_same_alone_and_in_a_batch",
            every_family,
        ),
        test(
            "theorems::a_run_that_is_resumed_reads_the_same_as_one_that_was_not_stopped",
            resumed,
        ),
        test("theorems::the_order_of_prompts_changes_nothing", order),
        test(
            "theorems::layer_major_reads_the_same_as_pass_major",
            schedules,
        ),
        test(
            "theorems::every_family_reads_the_same_layer_by_layer",
            every_family_layer_by_layer,
        ),
        test(
            "theorems::thousands_of_random_sets_read_the_same",
            random_sets,
        ),
        test("theorems::one_layer_is_first_and_last", one_layer),
        test(
            "theorems::a_stop_between_layers_costs_one_layer_and_changes_no_bit",
            a_stop_between_layers,
        ),
        test(
            "theorems::a_file_that_cannot_be_written_ends_a_run_with_its_name",
            no_room_to_spill,
        ),
        test(
            "theorems::rows_computed_are_rows_of_the_trie",
            rows_computed,
        ),
        test(
            "theorems::letters_and_texts_cost_little_more_than_letters",
            answer_texts,
        ),
    ]
}

fn config(rows_per_pass: usize) -> KernelConfig {
    KernelConfig {
        rows_per_pass,
        ..KernelConfig::cpu()
    }
}

/// Demo questions in every language and both orders, read by letter and by text.
pub fn prompts(kind: Kind, every: usize, cloze: bool) -> Vec<Prompt> {
    let (stimuli, set) = (Stimuli::own().unwrap(), concord_questions::demo().unwrap());
    let mut prompts = Vec::new();
    for file in &set.files {
        for (row, question) in file.questions.iter().enumerate().step_by(every) {
            for reversed in [false, true] {
                let ask = Ask::question(&stimuli, &file.origin.language, question);
                let ask = if reversed { ask.reversed() } else { ask };
                let labels = vec!["A".into(), "B".into()];
                let mut reads = vec![Read::NextToken {
                    labels,
                    openings: vec!["(".into(), "（".into()],
                }];
                if cloze {
                    for (text, _) in &ask.options {
                        reads.push(Read::Continuation { text: text.clone() });
                    }
                }
                let input = ask.render(kind, false, "").unwrap().input;
                prompts.push(Prompt {
                    id: format!("{}:{row}:{reversed}", file.name),
                    input,
                    reads,
                });
            }
        }
    }
    prompts
}

fn score(snapshot: &Snapshot, config: KernelConfig, prompts: &[Prompt]) -> (Vec<Reading>, Counts) {
    let decoder = Decoder::load(snapshot, DType::F32, config).unwrap();
    Scorer::new(snapshot, &decoder).score(prompts).unwrap()
}

fn aligned() -> Snapshot {
    let [_, aligned] = demo_pair().unwrap();
    aligned
}

fn alone_and_in_a_batch() {
    let snapshot = aligned();
    let prompts = prompts_with_strings(Kind::Chat, 15);
    let decoder = Decoder::load(&snapshot, DType::F32, config(512)).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let (batch, _) = scorer.score(&prompts).unwrap();
    for (prompt, expected) in prompts.iter().zip(&batch) {
        let (alone, _) = scorer.score(std::slice::from_ref(prompt)).unwrap();
        assert_eq!(&alone[0], expected);
    }
}

/// Prompts of made-up words that share beginnings, some longer than windows and trained lengths.
fn made_up(longest: usize) -> Vec<Prompt> {
    let word = |i: usize| format!("w{}", (i * 37 + i * i) % 96);
    (0..24usize)
        .map(|number| {
            let length = 1 + number * 11 % (longest - 4);
            let shared = (0..length / 2).map(word);
            let own = (length / 2..length).map(|i| word(i + number / 3));
            let words: Vec<String> = shared.chain(own).collect();
            Prompt {
                id: number.to_string(),
                input: Input::Text(words.join(" ")),
                reads: vec![
                    Read::NextToken {
                        labels: vec!["w7".into(), "w9".into()],
                        openings: vec![],
                    },
                    Read::Continuation {
                        text: "w5 w6 w7".into(),
                    },
                    Read::Strings(strings(
                        &["w5", "w7w5", "w9"],
                        &["", "w6"],
                        [End::Any, End::Digit, End::Letter][number % 3],
                    )),
                ],
            }
        })
        .collect()
}

/// Windows, experts, layers without RoPE, length classes: no neighbour and no pass size changes a bit.
fn every_family() {
    let entries = std::fs::read_dir(folder("families")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let snapshot = Snapshot::open(&path).unwrap();
        let prompts = made_up(snapshot.spec.context_length().min(60));
        let (batch, counts) = score(&snapshot, config(1024), &prompts);
        assert_eq!(counts.rows_computed, counts.trie_rows);
        let (small, _) = score(&snapshot, config(70), &prompts);
        assert_eq!(batch, small, "{}", path.display());
        let decoder = Decoder::load(&snapshot, DType::F32, config(1024)).unwrap();
        let scorer = Scorer::new(&snapshot, &decoder);
        for (prompt, expected) in prompts.iter().zip(&batch) {
            let (alone, _) = scorer.score(std::slice::from_ref(prompt)).unwrap();
            assert_eq!(&alone[0], expected, "{} {}", path.display(), prompt.id);
        }
    }
}

/// Pass-major and layer-major, layers kept and streamed, streams in memory and in a file, on one, two and three threads.
fn schedules() {
    let folder = tempfile::tempdir().unwrap();
    let schedules = [
        Schedule::PassMajor,
        Schedule::LayerMajor { spill: None },
        Schedule::LayerMajor {
            spill: Some(Spill::within(folder.path())),
        },
    ];
    let snapshot = aligned();
    let prompts = prompts_with_strings(Kind::Chat, 9);
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let kept = Decoder::load(&snapshot, dtype, config(300)).unwrap();
        let (expected, counts) = Scorer::new(&snapshot, &kept).score(&prompts).unwrap();
        for schedule in &schedules {
            for threads in 1..4 {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let (found, cost) = pool.unwrap().install(|| {
                    let scorer = Scorer::new(&snapshot, &kept);
                    scorer.score_by(&prompts, schedule).unwrap()
                });
                assert_eq!(found, expected, "{dtype:?} {schedule:?}, {threads} threads");
                assert_eq!(cost, counts);
            }
            let streamed = Decoder::streamed(&snapshot, dtype, config(300)).unwrap();
            let scorer = Scorer::new(&snapshot, &streamed);
            let (found, _) = scorer.score_by(&prompts, schedule).unwrap();
            assert_eq!(found, expected, "{dtype:?} {schedule:?}, streamed");
            if *schedule != Schedule::PassMajor {
                assert_eq!(streamed.layers_read(), snapshot.spec.layers.len() as u64);
            }
        }
    }
}

fn every_family_layer_by_layer() {
    let entries = std::fs::read_dir(folder("families")).unwrap();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let snapshot = Snapshot::open(&path).unwrap();
        let prompts = made_up(snapshot.spec.context_length().min(60));
        for dtype in [DType::F32, DType::BF16] {
            let kept = Decoder::load(&snapshot, dtype, config(90)).unwrap();
            let (expected, _) = Scorer::new(&snapshot, &kept).score(&prompts).unwrap();
            let streamed = Decoder::streamed(&snapshot, dtype, config(90)).unwrap();
            let layer_major = Schedule::LayerMajor { spill: None };
            let (found, _) = Scorer::new(&snapshot, &streamed)
                .score_by(&prompts, &layer_major)
                .unwrap();
            assert_eq!(found, expected, "{} {dtype:?}", path.display());
        }
    }
}

/// Any prompts, in any order, in passes of any size, on any schedule and number of threads: every prompt reads the same bits.
fn random_sets() {
    const SETS: usize = 2_000;
    let spill = tempfile::tempdir().unwrap();
    let snapshot = aligned();
    let all = prompts_with_strings(Kind::Chat, 4);
    let scores = |config: KernelConfig| {
        [DType::F32, DType::BF16].map(|dtype| Decoder::load(&snapshot, dtype, config).unwrap())
    };
    let whole = scores(config(1024));
    let expected = whole
        .each_ref()
        .map(|decoder| Scorer::new(&snapshot, decoder).score(&all).unwrap().0);
    let pools = [1, 2, 3, 4].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap()
    });
    let mut state = 88_172_645_463_325_252u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % end as u64).unwrap()
    };
    let mut sets = 0;
    for rows in [1, 2, 3, 7, 16, 17, 33, 65, 100, 257] {
        let decoders = scores(config(rows));
        for _ in 0..SETS / 10 {
            // Mostly few, now and then many.
            let most = if below(25) == 0 { 60 } else { 3 };
            let picked: Vec<usize> = (0..=below(most)).map(|_| below(all.len())).collect();
            let mut chosen: Vec<usize> = Vec::new();
            for index in picked {
                if !chosen.contains(&index) {
                    chosen.push(index);
                }
            }
            let prompts: Vec<Prompt> = chosen.iter().map(|index| all[*index].clone()).collect();
            let schedule = match below(3) {
                0 => Schedule::PassMajor,
                1 => Schedule::LayerMajor { spill: None },
                _ => Schedule::LayerMajor {
                    spill: Some(Spill::within(spill.path())),
                },
            };
            let kind = below(2);
            let (found, _) = pools[below(pools.len())].install(|| {
                let scorer = Scorer::new(&snapshot, &decoders[kind]);
                scorer.score_by(&prompts, &schedule).unwrap()
            });
            for (index, found) in chosen.iter().zip(&found) {
                assert_eq!(
                    found, &expected[kind][*index],
                    "passes of {rows}, {chosen:?}"
                );
            }
            sets += 1;
        }
    }
    assert_eq!(sets, SETS);
}

/// Where the first layer is the last.
fn one_layer() {
    let from = folder("biased-tied-sharded");
    let into = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("tokenizer") {
            std::fs::copy(&path, into.path().join(name)).unwrap();
        }
    }
    let text = std::fs::read_to_string(from.join("config.json")).unwrap();
    let sizes = config(10);
    let mut settings: serde_json::Value = serde_json::from_str(&text).unwrap();
    settings["num_hidden_layers"] = 1.into();
    std::fs::write(into.path().join("config.json"), settings.to_string()).unwrap();
    let mut tensors = std::collections::HashMap::new();
    for entry in std::fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            let part = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
            let kept = part
                .into_iter()
                .filter(|(name, _)| !name.contains(".layers.") || name.contains(".layers.0."));
            tensors.extend(kept);
        }
    }
    candle_core::safetensors::save(&tensors, into.path().join("model.safetensors")).unwrap();
    let snapshot = Snapshot::open(into.path()).unwrap();
    let prompts: Vec<Prompt> = (0..7)
        .map(|number| Prompt {
            id: number.to_string(),
            input: Input::Text("A or B: ".repeat(number + 1)),
            reads: vec![Read::Continuation { text: "B".into() }],
        })
        .collect();
    let decoder = Decoder::load(&snapshot, DType::F32, sizes).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let (expected, _) = scorer.score(&prompts).unwrap();
    for spill in [None, Some(Spill::within(into.path()))] {
        let schedule = Schedule::LayerMajor { spill };
        let (found, _) = scorer.score_by(&prompts, &schedule).unwrap();
        assert_eq!(found, expected);
    }
}

/// Wherever a run is stopped, the layers that all rows are through are not computed again, and the readings are the same bits.
fn a_stop_between_layers() {
    let snapshot = aligned();
    let prompts = prompts(Kind::Chat, 8, false);
    let decoder = Decoder::load(&snapshot, DType::F32, config(300)).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let (expected, _) = scorer.score(&prompts).unwrap();
    let table = LabelTable::new(&snapshot.vocabulary);
    let plan = Plan::new(&snapshot, &table, &prompts).unwrap();
    let (rows, layers) = (plan.trie.len() as u64, snapshot.spec.layers.len() as u64);
    assert!(layers > 1 && rows > 600);
    let folder = tempfile::tempdir().unwrap();
    let spill = Spill {
        folder: folder.path().to_owned(),
        keep: Some(Keep("a run".into())),
    };
    let schedule = Schedule::LayerMajor {
        spill: Some(spill.clone()),
    };
    for stop in [1, 2, 3, rows / layers + 1, rows / 2, rows - 1] {
        let stopped = scorer.run(&plan, &schedule, |progress, _| {
            if progress.rows_done >= stop {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        assert!(matches!(stopped, Err(ScorerError::Stopped)), "{stop}");
        let whole = spill.has_rows();
        assert_eq!(whole, stop > rows / layers, "{stop} of {rows}");
        let mut first = None;
        let mut found = vec![None; prompts.len()];
        let outcome = scorer.run(&plan, &schedule, |progress, done| {
            first.get_or_insert(progress.rows_done);
            for (at, reading) in done {
                found[at] = Some(reading);
            }
            ControlFlow::Continue(())
        });
        outcome.unwrap();
        let found: Vec<_> = found.into_iter().flatten().collect();
        assert!(found == expected, "{stop}");
        // More than one pass of the first layer.
        assert_eq!(first.unwrap() >= rows / layers, whole, "{stop}");
        assert!(!spill.has_rows());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

fn no_room_to_spill() {
    let snapshot = aligned();
    let decoder = Decoder::load(&snapshot, DType::F32, config(300)).unwrap();
    let missing = std::env::temp_dir().join("concord-no-such-folder");
    let schedule = Schedule::LayerMajor {
        spill: Some(Spill::within(missing)),
    };
    let prompts = prompts(Kind::Chat, 40, false);
    let scorer = Scorer::new(&snapshot, &decoder);
    let error = scorer.score_by(&prompts, &schedule).unwrap_err();
    assert!(matches!(error, ScorerError::Spill { .. }));
    assert!(
        error.to_string().contains("concord-no-such-folder"),
        "{error}"
    );
}

/// Without a trie, every text is one causal sequence of its own: no row has two children, nothing is carried.
fn trie_and_no_trie() {
    for (snapshot, kind) in demo_pair()
        .unwrap()
        .iter()
        .zip([Kind::CompletionFewShot, Kind::Chat])
    {
        let prompts = prompts_with_strings(kind, 29);
        let (shared, counts) = score(snapshot, config(1024), &prompts);
        let decoder = Decoder::load(snapshot, DType::F32, config(1024)).unwrap();
        let mut rows = 0;
        for (prompt, shared) in prompts.iter().zip(&shared) {
            let (_, tokens) = snapshot.tokens(&prompt.input).unwrap();
            for answer in &shared.answers {
                // Every token sequence that was read, with the log-probability of each of its tokens or of all.
                let sequences: Vec<(Vec<u32>, f64)> = match answer {
                    Answer::NextToken(next) => next
                        .labels
                        .iter()
                        .flat_map(|label| &label.spellings)
                        .map(|spelling| (spelling.tokens.clone(), spelling.log_prob.get()))
                        .collect(),
                    Answer::Continuation(text) => {
                        let ids = text.tokens.iter().map(|token| token.token).collect();
                        vec![(ids, text.log_prob.get())]
                    }
                    Answer::Strings(strings) => spelled(strings),
                    Answer::Generation(text) => panic!("nobody asked for {text:?}"),
                };
                for (after, expected) in sequences {
                    let whole = [&tokens[..], &after].concat();
                    let found: f64 = alone(&decoder, &whole, tokens.len()).iter().sum();
                    assert_eq!(
                        found.to_bits(),
                        expected.to_bits(),
                        "{} {after:?}",
                        prompt.id
                    );
                    rows += whole.len() as u64 - 1;
                }
            }
        }
        assert!(
            counts.rows_computed * 4 < rows,
            "{} rows shared, {rows} alone",
            counts.rows_computed
        );
    }
}

/// The log-probabilities of the tokens from `first` on, each after all before it, in one causal pass.
fn alone(decoder: &Decoder, tokens: &[u32], first: usize) -> Vec<f64> {
    let rows = &tokens[..tokens.len() - 1];
    let number = |count: usize| u32::try_from(count).unwrap();
    let depths: Vec<u32> = (0..number(rows.len())).collect();
    let read: Vec<u32> = (number(first - 1)..number(rows.len())).collect();
    let mut session = decoder.session(rows.len()).unwrap();
    let pass = Pass::new(rows, &depths, 0, &read);
    let logits = decoder
        .head(&decoder.pass(&mut session, &pass).unwrap().unwrap())
        .unwrap();
    let asked: Vec<[u32; 1]> = tokens[first..].iter().map(|token| [*token]).collect();
    let asked: Vec<&[u32]> = asked.iter().map(|token| &token[..]).collect();
    let width = decoder.spec().vocab_size;
    let logits = Tensor::from_vec(logits.to_host().unwrap(), (read.len(), width), &Device::Cpu);
    summarise(&logits.unwrap(), &asked, 1)
        .unwrap()
        .iter()
        .map(|summary| summary.asked[0])
        .collect()
}

/// A run that is stopped after some passes, and another that reads what the first did not.
fn resumed() {
    let snapshot = aligned();
    let prompts = prompts_with_strings(Kind::Chat, 5);
    let (expected, _) = score(&snapshot, config(400), &prompts);
    let decoder = Decoder::load(&snapshot, DType::F32, config(400)).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let mut found: Vec<Option<Reading>> = vec![None; prompts.len()];
    let plan = scorer.plan(&prompts).unwrap();
    let mut passes = 0;
    let stopped = scorer.run(&plan, &Schedule::PassMajor, |_, done| {
        passes += 1;
        for (index, reading) in done {
            found[index] = Some(reading);
        }
        if passes == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(stopped, Err(ScorerError::Stopped)));
    let read = found.iter().flatten().count();
    assert!(
        read > 0 && read < prompts.len(),
        "{read} of {}",
        prompts.len()
    );
    let missing: Vec<usize> = (0..prompts.len())
        .filter(|index| found[*index].is_none())
        .collect();
    let rest: Vec<Prompt> = missing
        .iter()
        .map(|index| prompts[*index].clone())
        .collect();
    for (index, reading) in missing.iter().zip(scorer.score(&rest).unwrap().0) {
        found[*index] = Some(reading);
    }
    assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), expected);
}

fn pass_sizes() {
    let snapshot = aligned();
    let prompts = prompts_with_strings(Kind::Chat, 11);
    let (expected, _) = score(&snapshot, config(1 << 20), &prompts);
    for rows in [65, 100, 333, 1024] {
        assert_eq!(
            score(&snapshot, config(rows), &prompts).0,
            expected,
            "{rows} rows a pass"
        );
    }
    // A wider head and grouped KV heads of another shape.
    let snapshot = Snapshot::open(&folder("llama3-gqa-untied")).unwrap();
    let texts = ["A or B?", "A or B? A", "A or C", "yes or no, (A) or (B)?"];
    let prompts: Vec<Prompt> = texts
        .iter()
        .map(|text| Prompt {
            id: (*text).into(),
            input: Input::Text((*text).into()),
            reads: vec![
                Read::NextToken {
                    labels: vec!["A".into(), "B".into()],
                    openings: vec!["(".into()],
                },
                Read::Continuation {
                    text: " a letter.".into(),
                },
            ],
        })
        .collect();
    let (expected, _) = score(&snapshot, config(1024), &prompts);
    for rows in [1, 2, 7, 65] {
        assert_eq!(
            score(&snapshot, config(rows), &prompts).0,
            expected,
            "{rows} rows a pass"
        );
    }
}

fn order() {
    let snapshot = aligned();
    let prompts = prompts(Kind::Chat, 11, false);
    let (expected, counts) = score(&snapshot, config(300), &prompts);
    let mut turned = prompts.clone();
    turned.reverse();
    let (mut found, turned_counts) = score(&snapshot, config(300), &turned);
    found.reverse();
    assert_eq!(found, expected);
    assert_eq!(counts, turned_counts);
}

fn rows_computed() {
    let snapshot = aligned();
    let prompts = prompts(Kind::Chat, 7, true);
    let (readings, counts) = score(&snapshot, config(777), &prompts);
    assert_eq!(readings.len(), prompts.len());
    assert_eq!(counts.rows_computed, counts.trie_rows);
    assert_eq!(counts.prompts, prompts.len() as u64);
    assert!(counts.rows_computed * 2 < counts.tokens_asked, "{counts:?}");
}

fn answer_texts() {
    let snapshot = aligned();
    let decoder = Decoder::load(&snapshot, DType::F32, config(1024)).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let rows = |cloze| {
        scorer
            .plan(&prompts(Kind::Chat, 1, cloze))
            .unwrap()
            .trie
            .len() as f64
    };
    let ratio = rows(true) / rows(false);
    assert!((1.0..=1.15).contains(&ratio), "{ratio}");
}
