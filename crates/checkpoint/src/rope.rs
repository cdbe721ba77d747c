//! Rotary position embedding as `config.json` describes it.

use crate::config::Keys;
use crate::{CheckpointError, Family};
use serde::Serialize;

/// Rotary position embedding of some layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// The base.
    pub theta: f64,
    /// Dimensions of each head that are rotated, from the first on; even.
    pub dimensions: usize,
    /// What is done for contexts longer than the first training's.
    #[serde(flatten)]
    pub scaling: Scaling,
}

/// What is done for contexts longer than the first training's.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scaling {
    /// Nothing: frequencies `theta^(-2i/d)`.
    Default,
    /// All frequencies divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// The base grows with the length of a sequence beyond the trained one.
    Dynamic {
        /// How fast.
        factor: f64,
        /// The trained length in tokens.
        max_position_embeddings: usize,
    },
    /// Llama 3.1: low frequencies divided by a factor, with a smooth passage between.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are scaled.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are left alone.
        high_freq_factor: f64,
        /// The context length before scaling.
        original_max_position_embeddings: f64,
    },
    /// YaRN: as `Llama3` by rotations within the original context, and cosines and sines scaled.
    Yarn {
        /// What low frequencies are divided by.
        factor: f64,
        /// Dimensions with more rotations than this are left alone.
        beta_fast: f64,
        /// Dimensions with fewer rotations than this are scaled.
        beta_slow: f64,
        /// Whether the bounds between are rounded outwards to whole dimensions.
        truncate: bool,
        /// Multiplies cosines and sines.
        attention_factor: f64,
        /// The context length before scaling.
        original_max_position_embeddings: f64,
    },
    /// LongRoPE: frequencies divided by listed factors, other ones for sequences beyond the original length.
    Longrope {
        /// Factors for sequences up to the original length, one a pair of dimensions.
        short_factor: Vec<f64>,
        /// Factors for longer sequences.
        long_factor: Vec<f64>,
        /// Multiplies cosines and sines.
        attention_factor: f64,
        /// The length in tokens up to which a sequence is short.
        original_max_position_embeddings: usize,
    },
}

impl Rope {
    /// The shortest length whose sequences are rotated as those of this length are, in tokens; 0 for most kinds.
    pub fn length_class(&self, length: usize) -> usize {
        match self.scaling {
            Scaling::Dynamic {
                max_position_embeddings,
                ..
            } if length > max_position_embeddings => length,
            Scaling::Longrope {
                original_max_position_embeddings,
                ..
            } if length > original_max_position_embeddings => original_max_position_embeddings + 1,
            _ => 0,
        }
    }

    /// How many times the trained length a context may have.
    pub(crate) fn reach(&self) -> f64 {
        match self.scaling {
            Scaling::Dynamic { factor, .. } => factor,
            _ => 1.0,
        }
    }
}

/// The RoPE of ordinary layers and, where it differs, of layers with a window: from the transformers-5 spelling
/// (`rope_parameters`) or the older one (`rope_theta`, `rope_scaling`).
pub(crate) fn ropes(
    keys: &Keys<'_>,
    family: &Family,
    head_dim: usize,
) -> Result<(Rope, Option<Rope>), CheckpointError> {
    let default_theta = family
        .defaults
        .get("rope_theta")
        .and_then(toml::Value::as_float)
        .unwrap_or(10_000.0);
    let outer_theta = keys.number("rope_theta")?;
    let reader = Reader {
        keys,
        family,
        head_dim,
    };
    let parameters = keys.object("rope_parameters")?;
    let scaling = keys.object("rope_scaling")?;
    if parameters.is_some() && scaling.is_some() {
        return Err(keys.error("rope_scaling", "stands beside `rope_parameters`"));
    }
    let Some(local_theta) = family.wiring.local_rope_theta else {
        let section = parameters.or(scaling);
        return Ok((reader.rope(section, outer_theta, default_theta)?, None));
    };
    let local_theta = keys.number("rope_local_base_freq")?.unwrap_or(local_theta);
    let (global, local) = match parameters {
        Some(nested) => {
            nested.only(&["full_attention", "sliding_attention"])?;
            (
                nested.object("full_attention")?,
                nested.object("sliding_attention")?,
            )
        }
        None => (scaling, None),
    };
    Ok((
        reader.rope(global, outer_theta, default_theta)?,
        Some(reader.rope(local, None, local_theta)?),
    ))
}

struct Reader<'a> {
    keys: &'a Keys<'a>,
    family: &'a Family,
    head_dim: usize,
}

impl Reader<'_> {
    fn rope(
        &self,
        section: Option<Keys<'_>>,
        outer_theta: Option<f64>,
        default_theta: f64,
    ) -> Result<Rope, CheckpointError> {
        let keys = self.keys;
        let partial = self.family.defaults.contains_key("partial_rotary_factor");
        let Some(section) = section else {
            let factor = keys.number("partial_rotary_factor")?.unwrap_or(1.0);
            return Ok(Rope {
                theta: outer_theta.unwrap_or(default_theta),
                dimensions: self.dimensions(factor)?,
                scaling: Scaling::Default,
            });
        };
        let inner_theta = section.number("rope_theta")?;
        if let (Some(inner), Some(outer)) = (inner_theta, outer_theta)
            && (inner - outer).abs() > f64::EPSILON
        {
            return Err(keys.error(
                "rope_theta",
                format!("is {outer}, but {}rope_theta is {inner}", section.prefix),
            ));
        }
        let factor = match section.number("partial_rotary_factor")? {
            Some(factor) if !partial && (factor - 1.0).abs() > f64::EPSILON => {
                return Err(section.error(
                    "partial_rotary_factor",
                    format!("is {factor}; this family rotates whole heads"),
                ));
            }
            Some(factor) => factor,
            None => keys.number("partial_rotary_factor")?.unwrap_or(1.0),
        };
        let kind = match section.text("rope_type")? {
            Some(kind) => kind,
            None => section
                .text("type")?
                .unwrap_or_else(|| "default".to_owned()),
        };
        let kind = self.family.rope_kinds.get(&kind).unwrap_or(&kind);
        let dimensions = self.dimensions(factor)?;
        Ok(Rope {
            theta: inner_theta.or(outer_theta).unwrap_or(default_theta),
            dimensions,
            scaling: self.scaling(kind, &section, dimensions)?,
        })
    }

    /// Rotated dimensions of a head: the whole part of its share.
    fn dimensions(&self, factor: f64) -> Result<usize, CheckpointError> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive share of a small number, rounded down as in transformers"
        )]
        let dimensions = (self.head_dim as f64 * factor) as usize;
        if dimensions > self.head_dim || dimensions == 0 || !dimensions.is_multiple_of(2) {
            let problem = format!(
                "rotates {dimensions} of {} dimensions of a head; an even number is needed",
                self.head_dim
            );
            let key = if self.family.defaults.contains_key("partial_rotary_factor") {
                "partial_rotary_factor"
            } else {
                "head_dim"
            };
            return Err(self.keys.error(key, problem));
        }
        Ok(dimensions)
    }

    fn scaling(
        &self,
        kind: &str,
        section: &Keys<'_>,
        dimensions: usize,
    ) -> Result<Scaling, CheckpointError> {
        let common = ["rope_theta", "rope_type", "type", "partial_rotary_factor"];
        let only = |own: &[&str]| section.only(&[&common[..], own].concat());
        let max_positions = self.keys.needed_length("max_position_embeddings")?;
        // A key beside `rope_scaling` wins over one inside, as in transformers.
        let original = match self.keys.length("original_max_position_embeddings")? {
            Some(outer) => outer,
            None => section
                .length("original_max_position_embeddings")?
                .unwrap_or(max_positions),
        };
        let stretched = || -> Result<f64, CheckpointError> {
            Ok(section
                .number("factor")?
                .unwrap_or(max_positions as f64 / original as f64))
        };
        match kind {
            "default" => {
                // Some releases leave the keys of a scaling that they switched off.
                only(&["original_max_position_embeddings"])?;
                Ok(Scaling::Default)
            }
            "linear" => {
                only(&["factor", "original_max_position_embeddings"])?;
                Ok(Scaling::Linear {
                    factor: section.needed_number("factor")?,
                })
            }
            "dynamic" => {
                only(&["factor", "original_max_position_embeddings"])?;
                if dimensions < 4 {
                    return Err(section.error("rope_type", "is `dynamic`, which needs four dimensions"));
                }
                Ok(Scaling::Dynamic {
                    factor: section.needed_number("factor")?,
                    max_position_embeddings: max_positions,
                })
            }
            "llama3" => {
                only(&[
                    "factor",
                    "low_freq_factor",
                    "high_freq_factor",
                    "original_max_position_embeddings",
                ])?;
                let factor = section.needed_number("factor")?;
                let low_freq_factor = section.needed_number("low_freq_factor")?;
                let high_freq_factor = section.needed_number("high_freq_factor")?;
                if low_freq_factor >= high_freq_factor {
                    return Err(section.error("low_freq_factor", "is not below `high_freq_factor`"));
                }
                Ok(Scaling::Llama3 {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings: original as f64,
                })
            }
            "yarn" => {
                only(&[
                    "factor",
                    "attention_factor",
                    "beta_fast",
                    "beta_slow",
                    "mscale",
                    "mscale_all_dim",
                    "truncate",
                    "finetuned",
                    "original_max_position_embeddings",
                ])?;
                if self.family.wiring.local_rope_theta.is_some() && section.get("truncate").is_some() {
                    let problem = "has no effect in transformers where layers have RoPE of two kinds";
                    return Err(section.error("truncate", problem));
                }
                yarn(section, stretched()?, original)
            }
            "longrope" => {
                only(&[
                    "factor",
                    "attention_factor",
                    "short_factor",
                    "long_factor",
                    "original_max_position_embeddings",
                ])?;
                longrope(section, stretched()?, original, dimensions)
            }
            other => Err(section.error(
                "rope_type",
                format!(
                    "is `{other}`; default, linear, dynamic, llama3, yarn and longrope are implemented"
                ),
            )),
        }
    }
}

fn yarn(section: &Keys<'_>, factor: f64, original: usize) -> Result<Scaling, CheckpointError> {
    let attention_factor = match section.number("attention_factor")? {
        Some(stated) => stated,
        None => yarn_attention(
            factor,
            section.number("mscale")?,
            section.number("mscale_all_dim")?,
        ),
    };
    Ok(Scaling::Yarn {
        factor,
        beta_fast: section.number("beta_fast")?.unwrap_or(32.0),
        beta_slow: section.number("beta_slow")?.unwrap_or(1.0),
        truncate: section.flag("truncate")?.unwrap_or(true),
        attention_factor,
        original_max_position_embeddings: original as f64,
    })
}

fn longrope(
    section: &Keys<'_>,
    factor: f64,
    original: usize,
    dimensions: usize,
) -> Result<Scaling, CheckpointError> {
    let factors = |key: &str| -> Result<Vec<f64>, CheckpointError> {
        let factors = section
            .numbers(key)?
            .ok_or_else(|| section.error(key, "is missing"))?;
        if factors.len() == dimensions / 2 {
            return Ok(factors);
        }
        let (found, needed) = (factors.len(), dimensions / 2);
        Err(section.error(
            key,
            format!("has {found} numbers where {needed} are needed"),
        ))
    };
    if original < 2 {
        return Err(section.error("original_max_position_embeddings", "is below 2"));
    }
    let attention_factor = match section.number("attention_factor")? {
        Some(stated) => stated,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    Ok(Scaling::Longrope {
        short_factor: factors("short_factor")?,
        long_factor: factors("long_factor")?,
        attention_factor,
        original_max_position_embeddings: original,
    })
}

/// The factor on cosines and sines that YaRN suggests.
fn yarn_attention(factor: f64, mscale: Option<f64>, mscale_all_dim: Option<f64>) -> f64 {
    let scale = |mscale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * mscale * factor.ln() + 1.0
        }
    };
    match (mscale, mscale_all_dim) {
        (Some(one), Some(all)) => scale(one) / scale(all),
        _ => scale(1.0),
    }
}
