//! What must hold whatever the checkpoint: sharing, order, pass size and neighbours change no bit.

use crate::golden_logits::folder;
use crate::test;
use concord_checkpoint::{Snapshot, demo_pair};
use concord_decoder::Decoder;
use concord_kernels::KernelConfig;
use concord_questions::{Ask, Kind, Stimuli};
use concord_readings::{Input, Prompt, Read, Reading};
use concord_scorer::{Counts, Scorer};
use libtest_mimic::Trial;

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
        test("theorems::the_order_of_prompts_changes_nothing", order),
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
    let decoder = Decoder::load(snapshot, config).unwrap();
    Scorer::new(snapshot, &decoder).score(prompts).unwrap()
}

fn aligned() -> Snapshot {
    let [_, aligned] = demo_pair().unwrap();
    aligned
}

fn alone_and_in_a_batch() {
    let snapshot = aligned();
    let prompts = prompts(Kind::Chat, 15, true);
    let decoder = Decoder::load(&snapshot, config(512)).unwrap();
    let scorer = Scorer::new(&snapshot, &decoder);
    let (batch, _) = scorer.score(&prompts).unwrap();
    for (prompt, expected) in prompts.iter().zip(&batch) {
        let (alone, _) = scorer.score(std::slice::from_ref(prompt)).unwrap();
        assert_eq!(&alone[0], expected);
    }
}

/// Without sharing, every prompt would be a run of its own over all of its rows; here each continuation is.
fn trie_and_no_trie() {
    for (snapshot, kind) in demo_pair()
        .unwrap()
        .iter()
        .zip([Kind::CompletionFewShot, Kind::Chat])
    {
        let prompts = prompts(kind, 29, true);
        let (shared, counts) = score(snapshot, config(1024), &prompts);
        let mut rows = 0;
        let decoder = Decoder::load(snapshot, config(1024)).unwrap();
        let scorer = Scorer::new(snapshot, &decoder);
        for (prompt, shared) in prompts.iter().zip(&shared) {
            for (read, answer) in prompt.reads.iter().zip(&shared.answers) {
                let single = Prompt {
                    reads: vec![read.clone()],
                    ..prompt.clone()
                };
                let (readings, counts) = scorer.score(&[single]).unwrap();
                assert_eq!(&readings[0].answers[0], answer);
                rows += counts.rows_computed;
            }
        }
        assert!(
            counts.rows_computed * 4 < rows,
            "{} rows shared, {rows} alone",
            counts.rows_computed
        );
    }
}

fn pass_sizes() {
    let snapshot = aligned();
    let prompts = prompts(Kind::Chat, 11, true);
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
    let decoder = Decoder::load(&snapshot, config(1024)).unwrap();
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
