//! The proof that a device computes what it should: every kernel against its reference, on fresh numbers.

mod attention;
mod experts;
mod noise;
mod summary;
mod sweeps;

use super::Gpu;
use super::attention::{ATTENTION, TEXTS};
use super::experts::EXPERTS;
use super::raw::Number;
use super::rows::number;
use super::summary::CHOOSE;
use crate::KernelError;
use attention::{attention, attention_company, paged};
use candle_core::DType;
use experts::mixture;
use noise::Noise;
use std::sync::Arc;
use summary::{draws, summaries};
use sweeps::{
    activation, company, eight_bits, embedding, gathered, groups, norms, product, rotation, turned,
};

/// One kernel against its reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was checked, for example `attention bf16, heads of 128`.
    pub what: String,
    /// The kernel.
    pub kernel: &'static str,
    /// The largest difference found, over what is allowed: 1 is the bound.
    pub worst: f64,
    /// What went wrong where nothing could be compared.
    pub error: Option<String>,
}

impl Check {
    /// Whether it came out right.
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.worst <= 1.0
    }
}

/// What a self-test goes through.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// What products multiply: `f32`, `bf16`, `f16`.
    pub dtypes: Vec<DType>,
    /// Widths of heads, and how many of each share their keys.
    pub heads: Vec<(usize, usize)>,
    /// Whether mixtures of experts are tried.
    pub experts: bool,
    /// How often each kernel is tried on other shapes.
    pub rounds: usize,
    /// Inputs and outputs of the product whose rows are asked in other company.
    pub product: (usize, usize),
    /// What the numbers are drawn from.
    pub seed: u64,
}

impl SelfTest {
    /// Every kernel over ragged shapes.
    pub fn thorough(seed: u64) -> Self {
        Self {
            dtypes: vec![DType::BF16, DType::F16, DType::F32],
            heads: vec![(6, 3), (16, 1), (64, 4), (80, 3), (128, 7), (256, 2)],
            experts: true,
            rounds: 3,
            product: (4096, 512),
            seed,
        }
    }

    /// What a run is about to use, once.
    pub fn brief(dtype: DType, heads: (usize, usize), experts: bool) -> Self {
        Self {
            dtypes: vec![dtype],
            heads: vec![heads],
            experts,
            rounds: 1,
            product: (512, 64),
            seed: 1,
        }
    }
}

/// Kernels that have a plain form, which is used where they come out wrong.
pub const WITH_PLAIN_FORM: [&str; 4] = [ATTENTION, TEXTS, EXPERTS, CHOOSE];

fn name(number: Number) -> &'static str {
    match number {
        Number::F32 => "f32",
        Number::Bf16 => "bf16",
        Number::F16 => "f16",
    }
}

impl Gpu {
    /// Runs every kernel against its reference. Where attention on tensor cores comes out wrong, its plain form is taken from here
    /// on.
    pub fn self_test(self: &Arc<Self>, wanted: &SelfTest) -> Vec<Check> {
        let mut checks = Checks {
            gpu: self,
            noise: Noise(wanted.seed),
            rounds: wanted.rounds,
            done: Vec::new(),
        };
        for dtype in &wanted.dtypes {
            let Ok(number) = number(*dtype) else { continue };
            checks.run(
                "cublasLtMatmul",
                format!("product {}", name(number)),
                |noise| product(self, noise, number),
            );
            checks.run(
                "cublasLtMatmul",
                format!("a row of a product {} in other company", name(number)),
                |noise| company(self, noise, number, wanted.product),
            );
            checks.run(
                "widen",
                format!("product of eight bits {}", name(number)),
                |noise| eight_bits(self, noise, number),
            );
            checks.run("norm_rows", format!("norm {}", name(number)), |noise| {
                norms(self, noise, number)
            });
            checks.run(
                "norm_groups",
                format!("norm of heads {}", name(number)),
                |noise| groups(self, noise, number),
            );
            checks.run("rotate", format!("RoPE {}", name(number)), |noise| {
                rotation(self, noise, number)
            });
            checks.run(
                "turn_heads",
                format!("heads normed and turned {}", name(number)),
                |noise| turned(self, noise, number),
            );
            checks.run(
                "activate",
                format!("activation {}", name(number)),
                |noise| activation(self, noise, number),
            );
            checks.run("embed", format!("embedding {}", name(number)), |noise| {
                embedding(self, noise, number)
            });
            if wanted.experts && number != Number::F32 && !self.is_plain(EXPERTS) {
                let what = format!("mixture of experts {}", name(number));
                checks.run(EXPERTS, what, |noise| mixture(self, noise, number));
            }
            for heads in &wanted.heads {
                checks.attention(number, *heads);
            }
        }
        checks.run("copy_rows", "rows gathered and added".into(), |noise| {
            gathered(self, noise)
        });
        checks.run("summarise_slices", "log-softmax".into(), |noise| {
            summaries(self, noise)
        });
        checks.run(CHOOSE, "tokens drawn".into(), |noise| draws(self, noise));
        let done = checks.done;
        for kernel in WITH_PLAIN_FORM {
            let mut of_kernel = done.iter().filter(|check| check.kernel == kernel);
            if of_kernel.any(|check| !check.passed()) {
                self.use_plain(kernel);
            }
        }
        done
    }
}

struct Checks<'a> {
    gpu: &'a Arc<Gpu>,
    noise: Noise,
    rounds: usize,
    done: Vec<Check>,
}

impl Checks<'_> {
    /// Attention of heads of a width, of which so many share their keys, in every form.
    fn attention(&mut self, number: Number, heads: (usize, usize)) {
        let (gpu, head_dim) = (self.gpu, heads.0);
        let what = |form: &str| format!("{form} {}, heads of {head_dim}", name(number));
        if gpu.has_tensor_attention(head_dim, number) && !gpu.is_plain(ATTENTION) {
            self.run(ATTENTION, what("attention on tensor cores"), |noise| {
                attention(gpu, noise, number, heads)
            });
            self.run(ATTENTION, what("attention in other company,"), |noise| {
                attention_company(gpu, noise, number, heads)
            });
        }
        let before = gpu.plain_kernels();
        gpu.use_plain(ATTENTION);
        self.run("attention_plain", what("plain attention"), |noise| {
            attention(gpu, noise, number, heads)
        });
        if !before.contains(&ATTENTION) {
            gpu.use_again(ATTENTION);
        }
        if number != Number::F32 && head_dim.is_multiple_of(16) && !gpu.is_plain(TEXTS) {
            self.run(
                TEXTS,
                what("attention over pages on tensor cores"),
                |noise| paged(gpu, noise, number, head_dim),
            );
        }
        gpu.use_plain(TEXTS);
        self.run("attention_pages", what("attention over pages"), |noise| {
            paged(gpu, noise, number, head_dim)
        });
        if !before.contains(&TEXTS) {
            gpu.use_again(TEXTS);
        }
    }

    fn run(
        &mut self,
        kernel: &'static str,
        what: String,
        check: impl Fn(&mut Noise) -> Result<f64, KernelError>,
    ) {
        let mut done = Check {
            what,
            kernel,
            worst: 0.0,
            error: None,
        };
        for _ in 0..self.rounds {
            match check(&mut self.noise).and_then(|worst| {
                self.gpu.synchronise()?;
                Ok(worst)
            }) {
                Ok(worst) => done.worst = done.worst.max(worst),
                Err(error) => {
                    done.error = Some(error.to_string());
                    break;
                }
            }
        }
        self.done.push(done);
    }
}
