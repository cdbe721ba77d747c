//! A small Llama made of differentiable candle operations.

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{ops, rotary_emb};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;

const HIDDEN: usize = 128;
const LAYERS: usize = 4;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 32;
const MLP: usize = 352;
const POSITIONS: usize = 1024;
const THETA: f32 = 10_000.0;
const EPS: f32 = 1e-5;

/// Trainable weights under the names that transformers gives them.
pub struct Model {
    weights: BTreeMap<String, Var>,
    device: Device,
    vocabulary: usize,
}

impl Model {
    /// Gaussian weights of deviation 0.02 (products into the residual stream less), norms at one.
    pub fn random(vocabulary: usize, random: &mut ChaCha8Rng, device: &Device) -> Result<Self> {
        let mut weights = BTreeMap::new();
        let (query, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        let residual = 0.02 / (2.0 * LAYERS as f64).sqrt();
        let mut shapes = vec![(
            "model.embed_tokens.weight".to_owned(),
            vocabulary,
            HIDDEN,
            0.02,
        )];
        for layer in 0..LAYERS {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            shapes.push((name("self_attn.q_proj"), query, HIDDEN, 0.04));
            shapes.push((name("self_attn.k_proj"), kv, HIDDEN, 0.04));
            shapes.push((name("self_attn.v_proj"), kv, HIDDEN, 0.04));
            shapes.push((name("self_attn.o_proj"), HIDDEN, query, residual * 2.0));
            shapes.push((name("mlp.gate_proj"), MLP, HIDDEN, 0.04));
            shapes.push((name("mlp.up_proj"), MLP, HIDDEN, 0.04));
            shapes.push((name("mlp.down_proj"), HIDDEN, MLP, residual * 2.0));
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                weights.insert(name(norm), Var::ones(HIDDEN, DType::F32, device)?);
            }
        }
        weights.insert(
            "model.norm.weight".to_owned(),
            Var::ones(HIDDEN, DType::F32, device)?,
        );
        for (name, rows, columns, deviation) in shapes {
            let values = gaussian(rows * columns, deviation, random);
            weights.insert(
                name,
                Var::from_tensor(&Tensor::from_vec(values, (rows, columns), device)?)?,
            );
        }
        Ok(Self {
            weights,
            device: device.clone(),
            vocabulary,
        })
    }

    pub fn parameters(&self) -> usize {
        self.weights
            .values()
            .map(|weight| weight.elem_count())
            .sum()
    }

    pub fn variables(&self) -> Vec<Var> {
        self.weights.values().cloned().collect()
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    fn weight(&self, name: &str) -> &Tensor {
        self.weights[name].as_tensor()
    }

    /// Logits of every position.
    ///
    /// # Shapes
    /// `tokens`: `[documents, width]`; returns `[documents * width, vocabulary]`.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (documents, width) = tokens.dims2()?;
        let embedding = self.weight("model.embed_tokens.weight");
        let mut hidden = embedding.index_select(&tokens.flatten_all()?, 0)?; // [documents * width, hidden]
        let (cos, sin) = rotation(width, &self.device)?;
        let mask: Vec<f32> = (0..width)
            .flat_map(|q| (0..width).map(move |k| if k > q { f32::NEG_INFINITY } else { 0.0 }))
            .collect();
        let mask = Tensor::from_vec(mask, (1, 1, width, width), &self.device)?;
        for layer in 0..LAYERS {
            let weight = |part: &str| self.weight(&format!("model.layers.{layer}.{part}.weight"));
            let linear = |x: &Tensor, part: &str| x.matmul(&weight(part).t()?);
            let normed = ops::rms_norm_slow(&hidden, weight("input_layernorm"), EPS)?;
            let heads = |part: &str, count: usize| -> Result<Tensor> {
                let split = linear(&normed, part)?.reshape((documents, width, count, HEAD_DIM))?;
                Ok(split.transpose(1, 2)?.contiguous()?) // [documents, heads, width, head_dim]
            };
            let query = rotary_emb::rope_slow(&heads("self_attn.q_proj", HEADS)?, &cos, &sin)?;
            let key = rotary_emb::rope_slow(&heads("self_attn.k_proj", KV_HEADS)?, &cos, &sin)?;
            let value = heads("self_attn.v_proj", KV_HEADS)?;
            let (key, value) = (repeat(&key)?, repeat(&value)?);
            let scores = (query.matmul(&key.transpose(2, 3)?)? / (HEAD_DIM as f64).sqrt())?;
            let weights = ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
            let mixed = weights
                .matmul(&value)?
                .transpose(1, 2)?
                .reshape((documents * width, HEADS * HEAD_DIM))?;
            hidden = (hidden + linear(&mixed, "self_attn.o_proj")?)?;
            let normed = ops::rms_norm_slow(&hidden, weight("post_attention_layernorm"), EPS)?;
            let gated =
                (linear(&normed, "mlp.gate_proj")?.silu()? * linear(&normed, "mlp.up_proj")?)?;
            hidden = (hidden + linear(&gated, "mlp.down_proj")?)?;
        }
        let normed = ops::rms_norm_slow(&hidden, self.weight("model.norm.weight"), EPS)?;
        Ok(normed.matmul(&embedding.t()?)?)
    }

    /// Writes `config.json` and `model.safetensors` in bf16.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "vocab_size": self.vocabulary,
            "hidden_size": HIDDEN,
            "intermediate_size": MLP,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "head_dim": HEAD_DIM,
            "hidden_act": "silu",
            "max_position_embeddings": POSITIONS,
            "rms_norm_eps": 1e-5,
            "rope_parameters": { "rope_type": "default", "rope_theta": 10000.0 },
            "tie_word_embeddings": true,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": 0,
            "eos_token_id": 1
        });
        std::fs::write(
            folder.join("config.json"),
            serde_json::to_string_pretty(&config)? + "\n",
        )?;
        let tensors = self
            .weights
            .iter()
            .map(|(name, weight)| Ok((name.clone(), weight.to_dtype(DType::BF16)?)));
        let tensors = tensors.collect::<Result<std::collections::HashMap<_, _>>>()?;
        candle_core::safetensors::save(&tensors, folder.join("model.safetensors"))?;
        Ok(())
    }
}

/// `[documents, kv, width, head_dim]` to `[documents, heads, width, head_dim]`, each KV head for its group of query heads.
fn repeat(x: &Tensor) -> Result<Tensor> {
    let (documents, kv, width, head_dim) = x.dims4()?;
    let group = HEADS / kv;
    let shape = (documents, kv, group, width, head_dim);
    Ok(x.unsqueeze(2)?
        .broadcast_as(shape)?
        .reshape((documents, HEADS, width, head_dim))?)
}

/// Cosines and sines.
///
/// # Shapes
/// Each `[width, head_dim / 2]`.
fn rotation(width: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let half = HEAD_DIM / 2;
    let angles: Vec<f32> = (0..width)
        .flat_map(|at| {
            (0..half).map(move |pair| at as f32 / THETA.powf(2.0 * pair as f32 / HEAD_DIM as f32))
        })
        .collect();
    let angles = Tensor::from_vec(angles, (width, half), device)?;
    Ok((angles.cos()?, angles.sin()?))
}

/// Normal numbers by Box and Muller.
fn gaussian(count: usize, deviation: f64, random: &mut ChaCha8Rng) -> Vec<f32> {
    let mut uniform = || (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
    (0..count)
        .map(|_| {
            let (radius, angle) = (uniform(), uniform());
            let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            let value = (normal * deviation) as f32;
            value
        })
        .collect()
}
