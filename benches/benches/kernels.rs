//! The kernels over one pass of 1,024 rows at SmolLM2-135M's sizes, and products at the sizes of larger layers.

#![expect(clippy::unwrap_used, reason = "a bench's way to fail")]

use candle_core::{DType, Device, Tensor};
use concord_kernels::{
    Activation, AttentionShape, CpuKvPrefix, Isa, Matrix, Norm, Operands, PassRows, RopeTable,
    Scores, Vector, norm, rotate, summarise, trie_attention,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
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

/// Every path at the sizes of real layers; elements are floating-point operations.
fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("products");
    let paths = Isa::ALL
        .into_iter()
        .filter(|path| path.is_available() && *path != Isa::Portable);
    for path in paths {
        let operands = if path.has_bf16() {
            Operands::Bf16
        } else {
            Operands::F32
        };
        for (rows, inner, outer) in [
            (ROWS, HIDDEN, 960),
            (ROWS, HIDDEN, HIDDEN),
            (ROWS, HIDDEN, 2 * MLP),
            (ROWS, MLP, HIDDEN),
            (ROWS, 2048, 8192),
            (ROWS, 8192, 2048),
            (ROWS, 4096, 4096),
            (16, 2048, 8192),
            (64, 2048, 8192),
        ] {
            let weight = noise(outer, inner).to_dtype(DType::BF16).unwrap();
            let matrix = Matrix::pack(&weight, false, operands, path).unwrap();
            let x = noise(rows, inner).to_dtype(operands.dtype()).unwrap();
            group.throughput(Throughput::Elements((2 * rows * inner * outer) as u64));
            let id = BenchmarkId::new(path.name(), format!("{rows}x{inner}x{outer}"));
            group.bench_function(id, |b| {
                b.iter(|| matrix.product(black_box(&x), None).unwrap());
            });
        }
    }
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernels");
    group.throughput(Throughput::Elements(ROWS as u64));
    let bf16 = Isa::best().has_bf16();
    let operands = if bf16 { Operands::Bf16 } else { Operands::F32 };
    let x = noise(ROWS, HIDDEN);
    let own = Norm {
        weights: Vector::new(noise(1, HIDDEN)),
        centred: false,
        eps: 1e-5,
    };
    group.bench_function("norm (rows)", |b| {
        b.iter(|| norm(black_box(&x), &own, operands.dtype()).unwrap().0);
    });
    let pack = |outer: usize, inner: usize, gated: bool| {
        let weight = noise(outer, inner).to_dtype(operands.dtype()).unwrap();
        Matrix::pack(&weight, gated, operands, Isa::best()).unwrap()
    };
    let (plain, gated) = (pack(2 * MLP, HIDDEN, false), pack(2 * MLP, HIDDEN, true));
    let rounded = x.to_dtype(operands.dtype()).unwrap();
    group.bench_function("gate and up, apart (rows)", |b| {
        b.iter(|| plain.product(black_box(&rounded), None).unwrap());
    });
    group.bench_function("gate and up, with SwiGLU (rows)", |b| {
        b.iter(|| {
            gated
                .activated(black_box(&rounded), None, Activation::Silu)
                .unwrap()
        });
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
    let rows = PassRows::new(Arc::clone(&depths), None);
    let (qkv, carried) = (noise(ROWS, shape.qkv_width()), CpuKvPrefix::new(shape));
    group.bench_function("trie attention at 96 tokens (rows)", |b| {
        b.iter(|| {
            trie_attention(
                black_box(&qkv),
                &carried,
                &rows,
                shape,
                Scores::plain(shape),
                operands.dtype(),
            )
            .unwrap()
        });
    });
    let frequencies: Vec<f32> = (0..32).map(|i| 1.0 / (i as f32 + 1.0)).collect();
    let table = Arc::new(RopeTable::new(&frequencies, 1.0, 96));
    group.bench_function("rotation (rows)", |b| {
        b.iter(|| rotate(black_box(&qkv), 12, 64, &table, &depths).unwrap());
    });

    group.throughput(Throughput::Elements(64));
    let (logits, asked) = (noise(64, VOCABULARY), [1u32, 2, 3, 4, 5, 6]);
    let asked = vec![&asked[..]; 64];
    group.bench_function("summary of a distribution (rows)", |b| {
        b.iter(|| summarise(black_box(&logits), &asked, 5).unwrap());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(2));
    targets = products, kernels
}
criterion_main!(benches);
