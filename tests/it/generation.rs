//! Written texts: against transformers, and what must hold whatever else is written.

use crate::golden_logits::folder;
use crate::test;
use candle_core::DType;
use concord_checkpoint::{Snapshot, demo_pair};
use concord_decoder::Decoder;
use concord_kernels::KernelConfig;
use concord_readings::{
    Answer, Finish, Generation, Input, Message, Prompt, Read, Reading, Role, Sampling,
};
use concord_scorer::{GenerationCounts, Scorer, ScorerError};
use libtest_mimic::Trial;
use serde_json::Value;
use std::ops::ControlFlow;

pub fn trials() -> Vec<Trial> {
    vec![
        test("generation::transformers_writes_the_same", transformers),
        test("generation::company_changes_no_bit", company),
        test("generation::log_probs_are_those_of_scoring", scoring),
        test(
            "generation::writing_that_is_resumed_gives_the_same_texts",
            resumed,
        ),
        test("generation::a_text_ends_where_it_should", endings),
        test("generation::draws_follow_the_seed", seeds),
        test("generation::what_makes_no_sense_is_refused", refusals),
        test("generation::a_turn_ends_where_the_template_says", turn_ends),
    ]
}

fn words(tokens: impl IntoIterator<Item = u64>) -> String {
    let words: Vec<String> = tokens
        .into_iter()
        .map(|token| format!("w{token}"))
        .collect();
    words.join(" ")
}

fn prompt(id: impl Into<String>, text: String, sampling: Sampling) -> Prompt {
    Prompt {
        id: id.into(),
        input: Input::Text(text),
        reads: vec![Read::Generation(sampling)],
    }
}

fn write(
    snapshot: &Snapshot,
    config: KernelConfig,
    prompts: &[Prompt],
) -> (Vec<Reading>, GenerationCounts) {
    let decoder = Decoder::load(snapshot, DType::F32, config).unwrap();
    let scorer = Scorer::new(snapshot, &decoder);
    let mut found: Vec<Option<Reading>> = vec![None; prompts.len()];
    let counts = scorer.generate(prompts, |_, ended| {
        for (number, reading) in ended {
            assert!(found[number].replace(reading).is_none());
        }
        ControlFlow::Continue(())
    });
    let found: Vec<Reading> = found.into_iter().flatten().collect();
    assert_eq!(found.len(), prompts.len());
    (found, counts.unwrap())
}

fn generation(reading: &Reading) -> &Generation {
    reading.generation().unwrap()
}

fn transformers() {
    let text = std::fs::read_to_string(folder("generation.json")).unwrap();
    let golden: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(golden.len(), 56);
    let numbers = |value: &Value| -> Vec<u64> {
        let list = value.as_array().unwrap();
        list.iter().map(|number| number.as_u64().unwrap()).collect()
    };
    for pair in golden.chunks(2) {
        let name = pair[0]["checkpoint"].as_str().unwrap();
        let snapshot = Snapshot::open(&folder("families").join(name)).unwrap();
        let prompts: Vec<Prompt> = pair
            .iter()
            .map(|text| numbers(&text["prompt"]))
            .map(|tokens| {
                prompt(
                    tokens.len().to_string(),
                    words(tokens),
                    Sampling::greedy(24),
                )
            })
            .collect();
        let (found, _) = write(&snapshot, KernelConfig::cpu(), &prompts);
        for (found, expected) in found.iter().zip(pair) {
            let found = generation(found);
            let written: Vec<u64> = found.tokens.iter().map(|token| u64::from(*token)).collect();
            assert_eq!(written, numbers(&expected["written"]), "{name}");
            for (a, b) in found
                .log_probs
                .iter()
                .zip(expected["log_probs"].as_array().unwrap())
            {
                assert!(
                    (a.get() - b.as_f64().unwrap()).abs() < 1e-4,
                    "{name} {a:?} {b}"
                );
            }
            let ended = written.last() == Some(&1);
            let finish = if ended {
                Finish::EndOfText
            } else {
                Finish::Length
            };
            assert_eq!(found.finish, finish, "{name}");
        }
    }
}

/// Prompts that share beginnings, equal ones among them; greedy and drawn.
fn mixed(longest: usize) -> Vec<Prompt> {
    (0..30u64)
        .map(|number| {
            let length = 1 + number * 11 % longest as u64;
            let tokens =
                (0..length).map(|i| (i * 37 + (if i > length / 2 { number / 3 } else { 0 })) % 96);
            let sampling = Sampling {
                temperature: [0.0, 1.5, 0.7][(number % 3) as usize],
                top_p: 0.95,
                max_tokens: 3 + (number * 7 % 15) as usize,
                seed: 5,
                ..Sampling::greedy(1)
            };
            prompt(number.to_string(), words(tokens), sampling)
        })
        .collect()
}

fn company() {
    let mut paths: Vec<_> = std::fs::read_dir(folder("families"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let snapshot = Snapshot::open(&path).unwrap();
        let prompts = mixed(snapshot.spec.context_length().min(50) - 5);
        let (expected, counts) = write(&snapshot, KernelConfig::cpu(), &prompts);
        let written: usize = expected
            .iter()
            .map(|reading| generation(reading).tokens.len())
            .sum();
        assert_eq!(counts.tokens, written as u64);
        assert_eq!(counts.texts, 30);
        // Few at a time, in passes that cut prompts, with hardly any memory.
        let config = KernelConfig {
            texts: 4,
            rows_per_pass: 70,
            kv_mib: 0,
            ..KernelConfig::cpu()
        };
        let (few, _) = write(&snapshot, config, &prompts);
        assert_eq!(few, expected, "{}", path.display());
        for (prompt, expected) in prompts.iter().zip(&expected).step_by(4) {
            let (alone, _) = write(&snapshot, KernelConfig::cpu(), std::slice::from_ref(prompt));
            assert_eq!(&alone[0], expected, "{}", path.display());
        }
    }
}

fn scoring() {
    for name in ["mistral", "gemma2", "qwen3-moe", "gpt2", "cohere2"] {
        let snapshot = Snapshot::open(&folder("families").join(name)).unwrap();
        let prompts = mixed(40);
        let (texts, _) = write(&snapshot, KernelConfig::cpu(), &prompts);
        let asked: Vec<Prompt> = prompts
            .iter()
            .zip(&texts)
            .map(|(prompt, text)| Prompt {
                reads: vec![Read::Continuation {
                    text: words(
                        generation(text)
                            .tokens
                            .iter()
                            .map(|token| u64::from(*token)),
                    ),
                }],
                ..prompt.clone()
            })
            .collect();
        let decoder = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
        let (scored, _) = Scorer::new(&snapshot, &decoder).score(&asked).unwrap();
        let mut compared = 0;
        for (scored, text) in scored.iter().zip(&texts) {
            let Answer::Continuation(scored) = &scored.answers[0] else {
                panic!("{scored:?}")
            };
            // What is written token by token need not be how the text is tokenised.
            let tokens = scored.tokens.iter().map(|token| token.token);
            if !tokens.eq(generation(text).tokens.iter().copied()) {
                continue;
            }
            compared += 1;
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            let of_text = generation(text).log_probs.iter().map(|p| p.get()).collect();
            let of_scoring = scored
                .tokens
                .iter()
                .map(|token| token.log_prob.get())
                .collect();
            assert_eq!(bits(of_text), bits(of_scoring), "{name}");
        }
        assert!(compared >= 5, "{name}: {compared}");
    }
}

fn resumed() {
    let snapshot = Snapshot::open(&folder("families").join("mistral")).unwrap();
    let prompts = mixed(40);
    let config = KernelConfig {
        texts: 6,
        ..KernelConfig::cpu()
    };
    let (expected, _) = write(&snapshot, config, &prompts);
    let decoder = Decoder::load(&snapshot, DType::F32, config).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let mut found: Vec<Option<Reading>> = vec![None; prompts.len()];
    let stopped = scorer.generate(&prompts, |progress, ended| {
        for (number, reading) in ended {
            found[number] = Some(reading);
        }
        if progress.texts_done > 10 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(stopped, Err(ScorerError::Stopped)));
    let missing: Vec<usize> = (0..30).filter(|number| found[*number].is_none()).collect();
    assert!(!missing.is_empty() && missing.len() < 20);
    let rest: Vec<Prompt> = missing
        .iter()
        .map(|number| prompts[*number].clone())
        .collect();
    for (number, reading) in missing.iter().zip(write(&snapshot, config, &rest).0) {
        found[*number] = Some(reading);
    }
    assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), expected);
}

fn endings() {
    let snapshot = Snapshot::open(&folder("families").join("mistral")).unwrap();
    let one = |text: &str, sampling: Sampling| {
        let (found, _) = write(
            &snapshot,
            KernelConfig::cpu(),
            &[prompt("p", text.into(), sampling)],
        );
        generation(&found[0]).clone()
    };
    let free = one("w5 w6", Sampling::greedy(20));
    assert_eq!(
        (free.finish, free.tokens.len(), free.log_probs.len()),
        (Finish::Length, 20, 20)
    );
    // A text to stop at that begins inside a token's text and spans two.
    let cut = format!("{} w", &words([u64::from(free.tokens[9])])[1..]);
    let at = free.text.find(&cut).unwrap();
    let stopped = one(
        "w5 w6",
        Sampling {
            stop: vec!["nowhere".into(), cut],
            ..Sampling::greedy(20)
        },
    );
    assert_eq!(stopped.finish, Finish::StopText);
    assert_eq!(stopped.text, free.text[..at]);
    assert!(stopped.tokens.len() < 20 && free.tokens.starts_with(&stopped.tokens));
    // The context holds 64.
    let long = one(&words((0..60).map(|i| i % 90 + 3)), Sampling::greedy(20));
    assert_eq!((long.finish, long.tokens.len()), (Finish::Length, 4));
    // What is written over and over is stopped and marked.
    let looping = Snapshot::open(&folder("families").join("gemma2-plain")).unwrap();
    let prompts = [5, 9].map(|word| prompt(word.to_string(), words([word]), Sampling::greedy(61)));
    let (found, _) = write(&looping, KernelConfig::cpu(), &prompts);
    for found in found.iter().map(generation) {
        assert_eq!(found.finish, Finish::Repetition, "{:?}", found.tokens);
        assert!(found.tokens.len() < 61);
    }
}

fn seeds() {
    let snapshot = Snapshot::open(&folder("families").join("olmo2")).unwrap();
    let texts = |seed: u64, temperature: f64| {
        let sampling = Sampling {
            temperature,
            seed,
            ..Sampling::greedy(12)
        };
        let prompts = ["a", "b"].map(|id| prompt(id, "w5 w6".into(), sampling.clone()));
        let (found, _) = write(&snapshot, KernelConfig::cpu(), &prompts);
        [
            generation(&found[0]).text.clone(),
            generation(&found[1]).text.clone(),
        ]
    };
    let greedy = texts(1, 0.0);
    assert_eq!(greedy, texts(2, 0.0));
    assert_eq!(greedy[0], greedy[1]);
    let drawn = texts(1, 1.0);
    assert_eq!(drawn, texts(1, 1.0));
    assert_ne!(drawn, texts(2, 1.0));
    // Two prompts of one text draw for themselves.
    assert_ne!(drawn[0], drawn[1]);
}

fn refusals() {
    let snapshot = Snapshot::open(&folder("families").join("olmo2")).unwrap();
    let decoder = Decoder::load(&snapshot, DType::F32, KernelConfig::cpu()).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let fails = |prompt: Prompt| {
        let outcome = scorer.generate(&[prompt], |_, _| ControlFlow::Continue(()));
        outcome.unwrap_err().to_string()
    };
    let of = |sampling: Sampling| prompt("p", "w5".into(), sampling);
    let greedy = Sampling::greedy(9);
    assert!(fails(of(Sampling::greedy(0))).contains("max_tokens"));
    assert!(
        fails(of(Sampling {
            temperature: f64::NAN,
            ..greedy.clone()
        }))
        .contains("temperature")
    );
    assert!(
        fails(of(Sampling {
            top_p: 0.0,
            ..greedy.clone()
        }))
        .contains("top_p")
    );
    assert!(
        fails(of(Sampling {
            stop: vec![String::new()],
            ..greedy.clone()
        }))
        .contains("stop")
    );
    let long = prompt("p", words((0..64).map(|i| i % 90)), greedy.clone());
    assert!(fails(long).contains("context holds 64"));
    let mut mixed = of(greedy.clone());
    mixed.reads.push(Read::Continuation { text: "w7".into() });
    assert!(scorer.score(std::slice::from_ref(&mixed)).is_err());
    assert!(fails(mixed).contains("asks for nothing else"));
}

fn turn_ends() {
    // The demo pair's special token is a character of its vocabulary; the goldens' stands for every chat format.
    let [base, aligned] = demo_pair().unwrap();
    let text = |snapshot: &Snapshot| -> Vec<String> {
        let ends = snapshot.end_tokens();
        ends.iter()
            .map(|token| snapshot.vocabulary.token_text(*token))
            .collect()
    };
    assert!(!text(&aligned).is_empty(), "{:?}", text(&aligned));
    assert!(!text(&base).is_empty(), "{:?}", text(&base));
    let turns = vec![Message::new(Role::User, "Yes?")];
    let ask = Prompt {
        id: "p".into(),
        input: Input::Conversation(turns),
        reads: vec![Read::Generation(Sampling::greedy(40))],
    };
    let (found, _) = write(&aligned, KernelConfig::cpu(), &[ask]);
    assert_eq!(generation(&found[0]).finish, Finish::EndOfText, "{found:?}");
}
