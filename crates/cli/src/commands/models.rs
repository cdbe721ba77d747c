//! `concord models`: what can be run, and what a checkpoint is.

use crate::arguments::{ModelsArguments, OutputFormat};
use crate::failure::Failure;
use crate::output;
use concord_checkpoint::{Snapshot, demo_pair, families, presets};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Lists, or describes one folder.
pub fn models(arguments: &ModelsArguments) -> Result<(), Failure> {
    match &arguments.model {
        Some(folder) => describe(folder, arguments.format),
        None => list(arguments.format),
    }
}

fn list(format: OutputFormat) -> Result<(), Failure> {
    let families = families();
    let demo: Vec<(String, usize)> = demo_pair()?
        .iter()
        .map(|snapshot| (snapshot.name.clone(), snapshot.spec.parameters()))
        .collect();
    if format == OutputFormat::Json {
        let families: Vec<Value> = families
            .iter()
            .map(|family| json!({ "family": family.family, "architectures": family.architectures }))
            .collect();
        let demo: Vec<Value> = demo
            .iter()
            .map(|(name, parameters)| json!({ "name": name, "parameters": parameters }))
            .collect();
        return output::json(&json!({ "families": families, "demo": demo, "presets": presets() }));
    }
    let mut text =
        String::from("Families (a checkpoint folder's config.json names its architecture):\n");
    for family in &families {
        let _ = writeln!(
            text,
            "  {:<12} {}",
            family.family,
            family.architectures.join(", ")
        );
    }
    text.push_str("\nEmbedded demo pair (`concord run` without --model):\n");
    for (name, parameters) in &demo {
        let _ = writeln!(text, "  {name:<12} {parameters} weights");
    }
    let _ = writeln!(
        text,
        "
Shapes for `concord bench --preset`:
  {}",
        presets().join(
            "
  "
        )
    );
    output::data(&text)
}

fn describe(folder: &Path, format: OutputFormat) -> Result<(), Failure> {
    let snapshot = Snapshot::open(folder)?;
    let description = json!({
        "name": snapshot.name,
        "parameters": snapshot.spec.parameters(),
        "weights_bytes": snapshot.weights.bytes(),
        "spec": snapshot.spec,
        "vocabulary": snapshot.vocabulary.size(),
        "bos_token": snapshot.vocabulary.bos(),
        "form": if snapshot.is_aligned() { "chat" } else { "completion" },
        "fingerprint": super::inputs::fingerprint(&snapshot)?,
    });
    if format == OutputFormat::Json {
        return output::json(&description);
    }
    let mut text = String::new();
    flatten(&mut text, "", &description);
    output::data(&text)
}

/// One line a value, nested keys joined by dots.
fn flatten(text: &mut String, prefix: &str, value: &Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(text, &key, value);
            }
        }
        Value::String(word) => {
            let _ = writeln!(text, "{prefix:<24} {word}");
        }
        Value::Null => {
            let _ = writeln!(text, "{prefix:<24} none");
        }
        other => {
            let _ = writeln!(text, "{prefix:<24} {other}");
        }
    }
}
