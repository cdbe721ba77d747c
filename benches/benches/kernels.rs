//! The kernels at SmolLM2-135M's sizes, over one pass of 1,024 rows.

#![expect(clippy::unwrap_used, reason = "a bench's way to fail")]

use candle_core::{Device, Tensor};
use concord_kernels::{
    Activation, AttentionShape, Norm, PassRows, Scores, gated, linear, residual_norm, summarise,
    trie_attention,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;

const ROWS: usize = 1024;
const HIDDEN: usize = 576;
const MLP: usize = 1536;
const VOCABULARY: usize = 49_152;

fn noise(rows: usize, columns: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * columns)
        .map(|i| (i * 7919 % 1013) as f32 / 506.0 - 1.0)
        .collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernels");
    let flops = |count: usize| Throughput::Elements(count as u64);

    let (x, weight) = (noise(ROWS, HIDDEN), noise(2 * MLP, HIDDEN));
    // Elements are floating-point operations here.
    group.throughput(flops(2 * ROWS * HIDDEN * 2 * MLP));
    group.bench_function("product gate and up (FLOP)", |b| {
        b.iter(|| linear(black_box(&x), &weight, None).unwrap());
    });

    group.throughput(Throughput::Elements(ROWS as u64));
    let delta = noise(ROWS, HIDDEN);
    let norm = Norm {
        weights: noise(1, HIDDEN),
        centred: false,
        eps: 1e-5,
    };
    group.bench_function("residual and norm (rows)", |b| {
        b.iter(|| {
            residual_norm(black_box(&x), &delta, 1.0, &norm)
                .unwrap()
                .normed
        });
    });
    let gate_up = noise(ROWS, 2 * MLP);
    group.bench_function("swiglu (rows)", |b| {
        b.iter(|| gated(black_box(&gate_up), Activation::Silu).unwrap());
    });

    let shape = AttentionShape {
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
    };
    // Prompts of 96 tokens that share all but their last 22 with the one before.
    let depths: Arc<[u32]> = (0..96u32)
        .chain((0..).flat_map(|_| 74..96))
        .take(ROWS)
        .collect();
    let rows = Arc::new(PassRows::new(depths, None, 64));
    let (qkv, carried) = (noise(ROWS, shape.qkv_width()), noise(1, shape.kv_width()));
    group.bench_function("trie attention at 96 tokens (rows)", |b| {
        b.iter(|| {
            trie_attention(
                black_box(&qkv),
                &carried,
                &rows,
                shape,
                Scores::plain(shape),
            )
            .unwrap()
        });
    });

    group.throughput(Throughput::Elements(65));
    let (logits, asked) = (noise(65, VOCABULARY), [1u32, 2, 3, 4, 5, 6]);
    let asked = vec![&asked[..]; 65];
    group.bench_function("summary of a distribution (rows)", |b| {
        b.iter(|| summarise(black_box(&logits), &asked, 5).unwrap());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = kernels
}
criterion_main!(benches);
