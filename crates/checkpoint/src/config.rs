//! Keys of `config.json`, checked as they are read.

use crate::family::{Inert, Switch};
use crate::{CheckpointError, Family};
use serde_json::{Map, Value};
use std::path::Path;

/// Keys that every family with RoPE may have.
const ROPE_KEYS: [&str; 4] = [
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "original_max_position_embeddings",
];

/// Typed access to one object of `config.json`.
#[derive(Clone)]
pub(crate) struct Keys<'a> {
    pub path: &'a Path,
    pub prefix: String,
    pub object: Map<String, Value>,
}

impl<'a> Keys<'a> {
    pub fn error(&self, key: &str, problem: impl Into<String>) -> CheckpointError {
        CheckpointError::Config {
            path: self.path.to_owned(),
            key: format!("{}{key}", self.prefix),
            problem: problem.into(),
        }
    }

    /// A value that is there and not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub fn read<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        self.get(key)
            .map(|value| {
                convert(value)
                    .ok_or_else(|| self.error(key, format!("is not {expected}: {}", short(value))))
            })
            .transpose()
    }

    pub fn text(&self, key: &str) -> Result<Option<String>, CheckpointError> {
        self.read(key, "text", |value| value.as_str().map(str::to_owned))
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.read(key, "a positive number", |value| {
            value
                .as_f64()
                .filter(|number| *number > 0.0 && number.is_finite())
        })
    }

    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, CheckpointError> {
        self.read(key, "a list of positive numbers", |value| {
            let numbers = value.as_array()?.iter().map(|number| {
                number
                    .as_f64()
                    .filter(|number| *number > 0.0 && number.is_finite())
            });
            numbers.collect()
        })
    }

    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, CheckpointError> {
        self.read(key, "a list of texts", |value| {
            let texts = value
                .as_array()?
                .iter()
                .map(|text| text.as_str().map(str::to_owned));
            texts.collect()
        })
    }

    /// Layer numbers, or switches by layer.
    pub fn counts(&self, key: &str) -> Result<Option<Vec<u64>>, CheckpointError> {
        self.read(key, "a list of numbers", |value| {
            let numbers = value.as_array()?.iter().map(|item| match item {
                Value::Bool(on) => Some(u64::from(*on)),
                other => other.as_u64(),
            });
            numbers.collect()
        })
    }

    pub fn needed_number(&self, key: &str) -> Result<f64, CheckpointError> {
        self.number(key)?
            .ok_or_else(|| self.error(key, "is missing"))
    }

    pub fn object(&self, key: &str) -> Result<Option<Keys<'a>>, CheckpointError> {
        let object = self.read(key, "an object", |value| value.as_object().cloned())?;
        Ok(object.map(|object| Keys {
            path: self.path,
            prefix: format!("{}{key}.", self.prefix),
            object,
        }))
    }

    /// A size; bounded, so that a hostile file cannot make later arithmetic overflow (2^20 squared, times 2^12 layers).
    pub fn count(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.up_to(1 << 20, key, "a number from 1 to 2^20")
    }

    /// A length in tokens, which is no size of anything that is kept; bounded by 2^31.
    pub fn length(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.up_to(1 << 31, key, "a number from 1 to 2^31")
    }

    fn up_to(
        &self,
        most: usize,
        key: &str,
        wanted: &'static str,
    ) -> Result<Option<usize>, CheckpointError> {
        self.read(key, wanted, |value| {
            value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|n| (1..=most).contains(n))
        })
    }

    pub fn needed_length(&self, key: &str) -> Result<usize, CheckpointError> {
        self.length(key)?
            .ok_or_else(|| self.error(key, "is missing"))
    }

    pub fn needed_count(&self, key: &str) -> Result<usize, CheckpointError> {
        self.count(key)?
            .ok_or_else(|| self.error(key, "is missing"))
    }

    /// A switch of the family's wiring.
    pub fn switch(&self, switch: &Switch) -> Result<bool, CheckpointError> {
        match switch {
            Switch::Fixed(on) => Ok(*on),
            Switch::Key(key) => Ok(self.flag(key)?.unwrap_or(false)),
        }
    }

    /// No keys but these.
    pub fn only(&self, known: &[&str]) -> Result<(), CheckpointError> {
        let unknown = self
            .object
            .iter()
            .find(|(key, value)| !value.is_null() && !known.contains(&key.as_str()));
        match unknown {
            Some((key, value)) => Err(self.error(key, unknown_problem(value))),
            None => Ok(()),
        }
    }
}

fn unknown_problem(value: &Value) -> String {
    let shown = short(value);
    format!("is not known to this program ({shown}) and could change the numbers")
}

/// A value for a message.
fn short(value: &Value) -> String {
    let mut shown = value.to_string();
    if shown.chars().count() > 60 {
        shown = shown.chars().take(60).chain("…".chars()).collect();
    }
    shown
}

/// Keys that say how weights were quantised.
pub(crate) const QUANTISED: [&str; 2] = ["quantization_config", "compression_config"];

/// Refuses a config that says that its weights are quantised.
///
/// # Errors
/// [`CheckpointError::Config`].
pub(crate) fn not_quantised(
    path: &Path,
    object: &Map<String, Value>,
) -> Result<(), CheckpointError> {
    let set = |key: &&&str| object.get(**key).is_some_and(|value| !value.is_null());
    match QUANTISED.iter().find(set) {
        None => Ok(()),
        Some(key) => Err(CheckpointError::Config {
            path: path.to_owned(),
            key: (*key).to_owned(),
            problem: "is set; quantised safetensors are not read (a GGUF file, or the checkpoint that was quantised, is)".to_owned(),
        }),
    }
}

/// The config with the family's names and defaults; every key is known, or refused by name.
pub(crate) fn settled<'a>(
    path: &'a Path,
    prefix: &str,
    object: &Map<String, Value>,
    family: &Family,
) -> Result<Keys<'a>, CheckpointError> {
    let mut keys = Keys {
        path,
        prefix: prefix.to_owned(),
        object: Map::new(),
    };
    not_quantised(path, object)?;
    let inert = Inert::load();
    let rotary = family.defaults.contains_key("rope_theta");
    for (written, value) in object {
        if family.ignored.contains(written) {
            continue;
        }
        let key = family.aliases.get(written).unwrap_or(written);
        if (rotary && ROPE_KEYS.contains(&key.as_str()))
            || family.defaults.contains_key(key)
            || family.optional.contains(key)
        {
            if let Some(before) = keys.object.get(key)
                && before != value
            {
                return Err(keys.error(
                    written,
                    format!("is {value}, but another name of it is {before}"),
                ));
            }
            keys.object.insert(key.clone(), value.clone());
        } else if !value.is_null() && !inert.keys.contains(key) {
            let harmless = inert
                .only
                .get(key)
                .and_then(|only| serde_json::to_value(only).ok());
            match harmless {
                Some(only) if only == *value => {}
                Some(only) => {
                    return Err(
                        keys.error(written, format!("is {value}; only {only} is implemented"))
                    );
                }
                None => return Err(keys.error(written, unknown_problem(value))),
            }
        }
    }
    for (key, default) in &family.defaults {
        if !keys.object.contains_key(key)
            && key != "rope_theta"
            && let Ok(default) = serde_json::to_value(default)
        {
            keys.object.insert(key.clone(), default);
        }
    }
    Ok(keys)
}
