//! What differs from layer to layer: windows, RoPE, scales, experts.

use crate::config::Keys;
use crate::family::{ExpertLayers, PositionKind, RopeLayers, Windows};
use crate::{CheckpointError, Family};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The MLP of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mlp {
    /// One for all rows.
    Dense {
        /// Its width.
        size: usize,
    },
    /// A mixture: each row goes through a few of many.
    Experts {
        /// How many there are.
        count: usize,
        /// How many a row goes through.
        chosen: usize,
        /// The width of each.
        size: usize,
        /// Whether the chosen ones' weights are made to add up to one.
        normalised: bool,
        /// The width of one that every row goes through besides, behind a gate.
        #[serde(skip_serializing_if = "Option::is_none")]
        shared: Option<usize>,
    },
}

/// What may differ from layer to layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSpec {
    /// How many tokens back a row sees, itself included.
    pub window: Option<usize>,
    /// Whether queries and keys are rotated.
    pub rope: bool,
    /// What scores are multiplied by.
    pub attention_scale: f64,
    /// The MLP.
    pub mlp: Mlp,
}

/// Equal neighbours as one entry, `layers 0-3, 5`.
pub(crate) fn runs_of_layers<S: Serializer>(
    layers: &[LayerSpec],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut kinds: Vec<(&LayerSpec, Vec<(usize, usize)>)> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let at = kinds.iter().position(|(kind, _)| *kind == layer);
        let at = at.unwrap_or_else(|| {
            kinds.push((layer, Vec::new()));
            kinds.len() - 1
        });
        let ranges = &mut kinds[at].1;
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == index => *end = index,
            _ => ranges.push((index, index)),
        }
    }
    serializer.collect_map(kinds.into_iter().map(|(kind, ranges)| {
        let ranges: Vec<String> = ranges
            .into_iter()
            .map(|(start, end)| {
                if start == end {
                    start.to_string()
                } else {
                    format!("{start}-{end}")
                }
            })
            .collect();
        (ranges.join(","), kind)
    }))
}

/// What differs from layer to layer: windows, RoPE, scales, experts.
pub(crate) fn layers(
    keys: &Keys<'_>,
    family: &Family,
    head_dim: usize,
) -> Result<Vec<LayerSpec>, CheckpointError> {
    let wiring = &family.wiring;
    let count = keys.needed_count("num_hidden_layers")?;
    if count > 1 << 12 {
        return Err(keys.error("num_hidden_layers", "is over 2^12"));
    }
    let window = if keys.flag("use_sliding_window")? == Some(false) {
        None
    } else {
        keys.length("sliding_window")?
    };
    let listed_types = keys.texts("layer_types")?;
    if let Some(types) = &listed_types {
        if types.len() != count {
            let problem = format!("has {} entries for {count} layers", types.len());
            return Err(keys.error("layer_types", problem));
        }
        let known = |kind: &&String| *kind != "full_attention" && *kind != "sliding_attention";
        if let Some(other) = types.iter().find(known) {
            let problem =
                format!("names `{other}`; full_attention and sliding_attention are implemented");
            return Err(keys.error("layer_types", problem));
        }
    }
    if window.is_none()
        && let Some(types) = &listed_types
        && types.iter().any(|kind| kind == "sliding_attention")
    {
        let problem = "names sliding_attention, but the config has no sliding_window";
        return Err(keys.error("layer_types", problem));
    }
    let listed_ropes = keys.counts("no_rope_layers")?;
    if let Some(listed) = &listed_ropes
        && listed.len() < count
    {
        let problem = format!("has {} entries for {count} layers", listed.len());
        return Err(keys.error("no_rope_layers", problem));
    }
    let interval = keys.count("no_rope_layer_interval")?.unwrap_or(1);
    let pattern = keys
        .count("sliding_window_pattern")?
        .unwrap_or(wiring.window_pattern.max(1));
    let first_windowed = keys
        .read("max_window_layers", "a number", Value::as_u64)?
        .unwrap_or(0);
    let scale = attention_scale(keys, head_dim)?;
    let by_layer = keys.flag("scale_attn_by_inverse_layer_idx")? == Some(true);
    (0..count)
        .map(|index| {
            let listed_rope = match &listed_ropes {
                Some(listed) => listed[index] != 0,
                None => !(index + 1).is_multiple_of(interval),
            };
            let windowed = match (&listed_types, wiring.windows) {
                (_, Windows::None) => false,
                (_, Windows::All) => true,
                (Some(types), _) => types[index] == "sliding_attention",
                (None, Windows::AllButEveryNth) => !(index + 1).is_multiple_of(pattern),
                (None, Windows::FromMaxWindowLayers) => index as u64 >= first_windowed,
                (None, Windows::EveryOtherBeforeMaxWindowLayers) => {
                    !(index + 1).is_multiple_of(2) && (index as u64) < first_windowed
                }
                (None, Windows::WithoutRope) => !listed_rope,
            };
            let window = window.filter(|_| windowed);
            Ok(LayerSpec {
                window,
                rope: match wiring.rope_layers {
                    RopeLayers::All => wiring.positions == PositionKind::Rotary,
                    RopeLayers::Windowed => window.is_some(),
                    RopeLayers::Listed => listed_rope,
                },
                attention_scale: if by_layer {
                    scale / (index + 1) as f64
                } else {
                    scale
                },
                mlp: mlp(keys, family, index)?,
            })
        })
        .collect()
}

fn attention_scale(keys: &Keys<'_>, head_dim: usize) -> Result<f64, CheckpointError> {
    if let Some(multiplier) = keys.number("attention_multiplier")? {
        return Ok(multiplier);
    }
    if keys.flag("scale_attn_weights")? == Some(false) {
        return Ok(1.0);
    }
    let width = keys
        .number("query_pre_attn_scalar")?
        .unwrap_or(head_dim as f64);
    Ok(1.0 / width.sqrt())
}

fn mlp(keys: &Keys<'_>, family: &Family, index: usize) -> Result<Mlp, CheckpointError> {
    let wiring = &family.wiring;
    let size = match keys.count("intermediate_size")? {
        Some(size) => size,
        // GPT-2 leaves it out where it is the usual one.
        None if family.optional.iter().any(|key| key == "intermediate_size") => {
            4 * keys.needed_count("hidden_size")?
        }
        None => return Err(keys.error("intermediate_size", "is missing")),
    };
    let mixed = match wiring.experts {
        ExpertLayers::None => false,
        ExpertLayers::EveryLayer => true,
        ExpertLayers::Stepped => {
            let dense = keys.counts("mlp_only_layers")?.unwrap_or_default();
            let step = keys.count("decoder_sparse_step")?.unwrap_or(1);
            !dense.contains(&(index as u64)) && (index + 1).is_multiple_of(step)
        }
    };
    if !mixed {
        return Ok(Mlp::Dense { size });
    }
    let count = match keys.count("num_experts")? {
        Some(count) => count,
        None => keys.needed_count("num_local_experts")?,
    };
    let chosen = keys.needed_count("num_experts_per_tok")?;
    let layers = keys.needed_count("num_hidden_layers")?;
    if count > 1 << 12 || count * layers > 1 << 16 {
        let problem = "is over 2^12, or over 2^16 with all layers together";
        return Err(keys.error("num_experts", problem));
    }
    if chosen > count {
        return Err(keys.error(
            "num_experts_per_tok",
            format!("is {chosen} of {count} experts"),
        ));
    }
    Ok(Mlp::Experts {
        count,
        chosen,
        size: keys.count("moe_intermediate_size")?.unwrap_or(size),
        normalised: keys.switch(&wiring.normalised_experts)?,
        shared: keys.count("shared_expert_intermediate_size")?,
    })
}
