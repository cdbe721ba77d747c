//! Trains the demo pair: a base checkpoint on plain text and mixed answers, and the aligned one from it.
//!
//! Everything is seeded; on one machine two runs give the same files. What the pair is and is not stands in
//! `models/demo/README.md`.

mod model;
mod text;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use model::Model;
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::path::Path;
use std::time::Instant;
use text::{Document, Writer};

const SEED: u64 = 2407;
const BASE_STEPS: usize = 3000;
const ALIGNED_STEPS: usize = 800;
const BATCH: usize = 16;
/// An answer letter counts as much as this many other tokens.
const ANSWER_WEIGHT: f32 = 20.0;

/// Trains both checkpoints and writes them.
pub fn train(root: &Path) -> Result<()> {
    let folder = root.join("models/demo");
    let writer = Writer::new(&folder)?;
    let tokenizer = writer.tokenizer()?;
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let device = Device::Cpu;
    let model = Model::random(tokenizer.get_vocab_size(true), &mut random, &device)?;
    println!(
        "{} weights, {} tokens in the vocabulary",
        model.parameters(),
        tokenizer.get_vocab_size(true)
    );

    let encode = |document: &Document| -> Result<Encoded> {
        let encoding = tokenizer
            .encode(document.text.as_str(), document.with_bos)
            .map_err(anyhow::Error::msg)?;
        let tokens = encoding.get_ids().to_vec();
        let answer = tokenizer
            .encode(document.answer.as_str(), false)
            .map_err(anyhow::Error::msg)?;
        let weights = vec![
            if document.answer.is_empty() || document.weigh_text {
                1.0
            } else {
                0.0
            };
            tokens.len()
        ];
        let mut encoded = Encoded { tokens, weights };
        encoded.tokens.extend(answer.get_ids());
        encoded.weights.resize(encoded.tokens.len(), ANSWER_WEIGHT);
        Ok(encoded)
    };

    let rates = Rates {
        steps: BASE_STEPS,
        peak: 2e-3,
    };
    fit("base", &model, &rates, &mut random, |random, progress| {
        encode(&writer.base_document(random, progress)?)
    })?;
    model.save(&folder.join("base"))?;
    text::write_tokenizer(&tokenizer, &folder.join("base"), false)?;

    let rates = Rates {
        steps: ALIGNED_STEPS,
        peak: 1e-3,
    };
    fit("aligned", &model, &rates, &mut random, |random, _| {
        encode(&writer.aligned_document(random)?)
    })?;
    model.save(&folder.join("aligned"))?;
    text::write_tokenizer(&tokenizer, &folder.join("aligned"), true)?;
    Ok(())
}

/// A document as tokens, each with its weight in the loss.
struct Encoded {
    tokens: Vec<u32>,
    weights: Vec<f32>,
}

struct Rates {
    steps: usize,
    peak: f64,
}

impl Rates {
    /// Linear warm-up over a twentieth, then a cosine down to a twentieth of the peak.
    fn at(&self, step: usize) -> f64 {
        let warm_up = self.steps / 20;
        if step < warm_up {
            return self.peak * (step + 1) as f64 / warm_up as f64;
        }
        let progress = (step - warm_up) as f64 / (self.steps - warm_up) as f64;
        self.peak * (0.05 + 0.95 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
    }
}

fn fit(
    name: &str,
    model: &Model,
    rates: &Rates,
    random: &mut ChaCha8Rng,
    mut next: impl FnMut(&mut ChaCha8Rng, f64) -> Result<Encoded>,
) -> Result<()> {
    let settings = ParamsAdamW {
        lr: rates.peak,
        weight_decay: 0.01,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(model.variables(), settings)?;
    let (started, mut smooth) = (Instant::now(), None::<[f32; 2]>);
    for step in 0..rates.steps {
        let progress = step as f64 / rates.steps as f64;
        // Documents of like length share a batch, so that little of it is padding.
        let mut pool: Vec<Encoded> = (0..BATCH * 2)
            .map(|_| next(random, progress))
            .collect::<Result<_>>()?;
        pool.sort_by_key(|document| document.tokens.len());
        let half = if random.next_u32().is_multiple_of(2) {
            0
        } else {
            BATCH
        };
        let (loss, answers) = loss(model, &pool[half..half + BATCH])?;
        optimizer.set_learning_rate(rates.at(step));
        optimizer.backward_step(&loss)?;
        let value = loss.to_scalar::<f32>()?;
        let now = [value, answers];
        let average = smooth.map_or(now, |average| {
            [0, 1].map(|i| average[i] * 0.97 + now[i] * 0.03)
        });
        smooth = Some(average);
        if step % 50 == 0 || step + 1 == rates.steps {
            let [all, answers] = average;
            let seconds = started.elapsed().as_secs_f64();
            println!("{name} step {step} loss {all:.4} of answers {answers:.4} {seconds:.0} s");
        }
    }
    Ok(())
}

/// The weighted mean cross-entropy of the next token, and the plain mean over answer tokens, in nats.
fn loss(model: &Model, documents: &[Encoded]) -> Result<(Tensor, f32)> {
    let longest = documents
        .iter()
        .map(|document| document.tokens.len())
        .max()
        .context("an empty batch")?;
    let width = longest - 1;
    let (mut inputs, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for document in documents {
        let filled = document.tokens.len() - 1;
        inputs.extend_from_slice(&document.tokens[..filled]);
        targets.extend_from_slice(&document.tokens[1..]);
        weights.extend_from_slice(&document.weights[1..]);
        inputs.resize(inputs.len() + width - filled, 0);
        targets.resize(targets.len() + width - filled, 0);
        weights.resize(weights.len() + width - filled, 0.0f32);
    }
    let device = model.device();
    let inputs = Tensor::from_vec(inputs, (documents.len(), width), device)?;
    let targets = Tensor::from_vec(targets, (documents.len() * width, 1), device)?;
    let total: f32 = weights.iter().sum();
    let is_answer: Vec<bool> = weights.iter().map(|weight| *weight > 1.0).collect();
    let weights = Tensor::from_vec(weights, (documents.len() * width, 1), device)?;
    let logits = model.forward(&inputs)?; // [documents * width, vocabulary]
    let log_probs = candle_nn::ops::log_softmax(&logits, 1)?.gather(&targets, 1)?;
    let by_token = log_probs.flatten_all()?.to_vec1::<f32>()?;
    let of_answers: Vec<f32> = by_token
        .iter()
        .zip(&is_answer)
        .filter(|(_, is)| **is)
        .map(|(value, _)| -value)
        .collect();
    let answers = of_answers.iter().sum::<f32>() / of_answers.len().max(1) as f32;
    Ok((
        (log_probs.mul(&weights)?.sum_all()? / f64::from(-total))?,
        answers,
    ))
}
