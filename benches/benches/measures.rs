//! The measures over groups as the study has them, and everything that is found of two and of six made-up checkpoints.

#![expect(clippy::unwrap_used, reason = "a bench's way to fail")]

use concord_benches::questions;
use concord_questions::QuestionSet;
use concord_stats::{Distance, Distribution, bca_mean};
use concord_suites::Settings;
use concord_suites::valueconsistency::{AnswerTable, Answers, RunFindings};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn measures(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("measures");
    for members in [5usize, 25] {
        let answers: Vec<[f64; 2]> = (0..members)
            .map(|i| {
                let p = (i * 37 % 101) as f64 / 101.0;
                [1.0 - p, p]
            })
            .collect();
        group.throughput(Throughput::Elements(members as u64));
        for distance in Distance::ALL {
            let name = format!("{} distance of {members} answers", distance.name());
            group.bench_function(name, |b| {
                b.iter(|| distance.of_group(black_box(&answers)).unwrap());
            });
        }
    }
    let data: Vec<f64> = (0..653u32)
        .map(|i| f64::from(i * 7919 % 1009) / 1009.0)
        .collect();
    group.throughput(Throughput::Elements(data.len() as u64));
    group.bench_function("interval of a mean, limit", |b| {
        b.iter(|| bca_mean(black_box(&data), 0.95, None, 0));
    });
    group.bench_function("interval of a mean, 9,999 resamples", |b| {
        b.iter(|| bca_mean(black_box(&data), 0.95, Some(9999), 0));
    });
    group.finish();
}

/// Answers with an effect of their topic and one of their own, different for every seed.
fn answers(set: &QuestionSet, seed: u64) -> AnswerTable {
    let unit = |number: u64| {
        let mixed = (number ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    };
    let files = set.files.iter().zip(0u64..).map(|(file, number)| {
        let rows = file.questions.iter().zip(0u64..).map(|(question, row)| {
            let topic = question.topic_name().bytes().map(u64::from).sum::<u64>();
            let odds = 6.0 * unit(topic) + 2.0 * unit(number << 20 | row);
            Distribution::binary(1.0 / (1.0 + (-odds).exp())).ok()
        });
        (file.name.clone(), rows.collect())
    });
    files.collect()
}

fn findings(criterion: &mut Criterion) {
    let (set, which) = questions().unwrap();
    let mut group = criterion.benchmark_group(format!("findings of {which}"));
    for count in [2u64, 6] {
        let names: Vec<String> = (0..count).map(|at| format!("checkpoint {at}")).collect();
        let of = |at: u64| {
            let table = |of| answers(&set, 16 * at + of);
            Answers {
                letter: Some(table(0)),
                letter_by_order: Some(Box::new([table(1), table(2)])),
                debiased: Some(table(3)),
                top_five: Some(table(4)),
                cloze: Some(table(5)),
                cloze_by_order: Some(Box::new([table(6), table(7)])),
                cloze_per_token: Some(table(8)),
                cloze_per_byte: Some(table(9)),
                ..Answers::default()
            }
        };
        let all: Vec<Answers> = (0..count).map(of).collect();
        group.throughput(Throughput::Elements(count * set.len() as u64));
        group.bench_function(
            format!("{count} checkpoints, letters and texts in both orders"),
            |b| {
                let given = || (set.clone(), names.clone(), all.clone());
                b.iter_batched(
                    given,
                    |(set, names, all)| {
                        RunFindings::of_answers(set, names, all, Settings::default()).unwrap()
                    },
                    BatchSize::PerIteration,
                );
            },
        );
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = measures, findings
}
criterion_main!(benches);
