//! `concord models`: what can be run, and what a checkpoint is.

use super::inputs;
use super::model_list::{self, ModelList};
use crate::arguments::{ModelsArguments, ModelsCommand, OutputFormat};
use crate::failure::Failure;
use crate::output;
use concord_checkpoint::hub::{Cached, HubName, HubSettings, RepositoryKind, cached};
use concord_checkpoint::{demo_pair, families, pairs, presets};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Lists, describes or fetches.
pub fn models(arguments: &ModelsArguments) -> Result<(), Failure> {
    match &arguments.command {
        None => list(arguments.format),
        Some(ModelsCommand::Show { model, adapter }) => {
            show(model, adapter.as_deref(), arguments.format)
        }
        Some(ModelsCommand::Fetch { names }) => fetch(names, arguments.format),
    }
}

fn list(format: OutputFormat) -> Result<(), Failure> {
    let families = families();
    let pairs = pairs();
    let settings = HubSettings::from_environment();
    let in_cache = settings.as_ref().map(cached).unwrap_or_default();
    let demo: Vec<(String, usize)> = demo_pair()?
        .iter()
        .map(|snapshot| (snapshot.name.clone(), snapshot.spec.parameters()))
        .collect();
    if format == OutputFormat::Json {
        let families: Vec<Value> = families
            .iter()
            .map(|family| json!({ "family": family.family, "architectures": family.all_architectures().collect::<Vec<_>>() }))
            .collect();
        let demo: Vec<Value> = demo
            .iter()
            .map(|(name, parameters)| json!({ "name": name, "parameters": parameters }))
            .collect();
        let in_cache: Vec<Value> = in_cache
            .iter()
            .map(|entry| {
                let snapshots: Map<String, Value> = entry
                    .snapshots
                    .iter()
                    .map(|(commit, names)| (commit.clone(), json!(names)))
                    .collect();
                json!({
                    "repository": entry.repository, "snapshots": snapshots, "whole": entry.whole,
                    "bytes": entry.bytes, "licence": entry.licence,
                })
            })
            .collect();
        return output::json(&json!({
            "families": families, "pairs": pairs, "cache": in_cache, "demo": demo, "presets": presets(),
        }));
    }
    let families = families.into_iter().map(|family| {
        (
            family.family.clone(),
            family.all_architectures().cloned().collect(),
        )
    });
    let pairs = pairs.into_iter().map(|pair| {
        let ids = std::iter::once(pair.base).chain(pair.aligned).collect();
        let gated = if pair.gated { ", gated" } else { "" };
        (pair.name, ids, format!("[{}{gated}]", pair.licence))
    });
    let demo = demo
        .into_iter()
        .map(|(name, parameters)| (name, format!("{parameters} weights")));
    output::data(&model_list::text(&ModelList {
        cache_place: settings
            .map(|settings| settings.cache.display().to_string())
            .ok(),
        in_cache: in_cache.iter().map(cache_lines).collect(),
        demo: demo.collect(),
        pairs: pairs.collect(),
        families: families.collect(),
        presets: presets().iter().map(|name| (*name).to_owned()).collect(),
    }))
}

/// A repository of the cache, and lines about it.
fn cache_lines(entry: &Cached) -> (String, Vec<String>) {
    let licence = entry.licence.as_deref().unwrap_or("unknown");
    let mut lines = vec![format!("{}, licence {licence}", size(entry.bytes))];
    lines.extend(entry.snapshots.iter().map(|(commit, names)| {
        let mut line = commit.get(..8).unwrap_or(commit).to_owned();
        for name in names {
            line.push(' ');
            line.push_str(name);
        }
        if !entry.whole.contains(commit) {
            line.push_str(" (incomplete)");
        }
        line
    }));
    (entry.repository.clone(), lines)
}

/// Bytes in the unit that fits.
fn size(bytes: u64) -> String {
    let exact = bytes as f64;
    match bytes {
        0..0x10_0000 => format!("{:.1} KiB", exact / f64::from(1 << 10)),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", exact / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", exact / f64::from(1 << 30)),
    }
}

fn show(name: &str, adapter: Option<&str>, format: OutputFormat) -> Result<(), Failure> {
    let snapshot = inputs::adapted(name, adapter)?;
    let description = json!({
        "name": snapshot.name,
        "origin": snapshot.origin,
        "server": snapshot.server.as_ref().map(|server| json!({
            "url": server.file.url, "model": server.file.model, "shows": server.describes(),
        })),
        "parameters": snapshot.spec.parameters(),
        "weights_bytes": snapshot.weights.bytes(),
        "adapter": snapshot.adapter.as_ref().map(|adapter| json!({
            "made_for": adapter.made_for(), "bytes": adapter.bytes(),
        })),
        "stored_as": snapshot.weights.stored_as(),
        "held_as": snapshot.weights.stored_dtype().as_str(),
        "context_length": snapshot.spec.context_length(),
        "spec": snapshot.spec,
        "vocabulary": snapshot.vocabulary.size(),
        "bos_token": snapshot.vocabulary.bos(),
        "template": snapshot.template.as_ref().map(|template| template.traits()),
        "form": if snapshot.is_aligned() { "chat" } else { "completion" },
        "fingerprint": inputs::fingerprint(&snapshot)?,
    });
    if format == OutputFormat::Json {
        return output::json(&description);
    }
    let mut text = String::new();
    flatten(&mut text, "", &description);
    output::data(&text)
}

fn fetch(names: &[String], format: OutputFormat) -> Result<(), Failure> {
    let mut fetched: Vec<Value> = Vec::new();
    let mut text = String::new();
    for name in names {
        let (kind, id) = match name.strip_prefix("hf:") {
            Some(id) => (RepositoryKind::Dataset, id),
            None => (RepositoryKind::Model, name.as_str()),
        };
        let Some(id) = HubName::parse(kind, id) else {
            let message = format!("invalid hub id `{name}`");
            let help = "a checkpoint is owner/name[@revision], a data set hf:owner/name[@revision]";
            return Err(Failure::usage(message, help));
        };
        let found = inputs::fetch(&id)?;
        let _ = writeln!(
            text,
            "{id}  {}  {}",
            found.origin.commit,
            found.path.display()
        );
        fetched.push(json!({ "name": name, "origin": found.origin, "path": found.path }));
    }
    match format {
        OutputFormat::Json => output::json(&json!(fetched)),
        OutputFormat::Human => output::data(&text),
    }
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
