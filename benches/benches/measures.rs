//! The measures over groups as the study has them.

#![expect(clippy::unwrap_used, reason = "a bench's way to fail")]

use concord_stats::{Distance, bca_mean};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = measures
}
criterion_main!(benches);
