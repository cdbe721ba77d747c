//! Compares what a run costs with `benches/baselines/counts.json`: `cargo xtask bench-gate [--save]`.
//!
//! Counts alone are compared: they depend on no machine, and differ only where a change made them.

use anyhow::{Context, Result, bail};
use concord_scorer::SchedulePreference;
use concord_session::bench::{Bench, Record, measure};
use concord_session::{DeviceChoice, Event, MachineOptions, Unseen};
use concord_suites::valueconsistency::benched;
use std::path::Path;
use std::sync::Arc;

/// Compares, or writes the counts anew where `save`; gives what is worse.
pub fn gate(root: &Path, save: bool) -> Result<Vec<String>> {
    let path = root.join("benches/baselines/counts.json");
    let mut set = concord_questions::demo()?;
    set.keep_first_originals(1);
    let (mut records, mut worse) = (Vec::new(), Vec::new());
    for schedule in [
        SchedulePreference::PassMajor,
        SchedulePreference::LayerMajor,
    ] {
        let bench = Bench {
            preset: "smollm2-135m",
            machine: MachineOptions {
                schedule,
                ..MachineOptions::on(DeviceChoice::Cpu)
            },
            repeats: 1,
            counts_only: false,
        };
        let (texts, prompts) = benched(&set, true)?;
        let events = Arc::new(|event: &Event<'_>| eprintln!("{event}"));
        let record = measure(&bench, texts.clone(), &prompts, events.clone(), &Unseen)?;
        // What is counted without running is what a run counts.
        let counted = Bench {
            counts_only: true,
            ..bench
        };
        let counted = measure(&counted, texts, &prompts, events, &Unseen)?;
        match counted.regressions(&record, true) {
            Ok(differs) => worse.extend(differs.into_iter().map(|what| format!("planned {what}"))),
            Err(problem) => worse.push(problem),
        }
        println!(
            "{}: {} rows computed for {} rows of the trie, {} layers read",
            record.schedule, record.rows_computed, record.trie_rows, record.layers_read
        );
        if record.rows_computed != record.trie_rows {
            worse.push("rows computed are not the rows of the trie".to_owned());
        }
        records.push(record);
    }
    if save && worse.is_empty() {
        std::fs::write(&path, serde_json::to_string_pretty(&records)? + "\n")
            .with_context(|| path.display().to_string())?;
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let before: Vec<Record> = serde_json::from_str(&text)?;
    if before.len() != records.len() {
        bail!("{}: {} records", path.display(), before.len());
    }
    let pairs = records.iter().zip(&before);
    worse.extend(
        pairs.flat_map(|(now, then)| match now.regressions(then, true) {
            Ok(worse) => worse,
            Err(problem) => vec![problem],
        }),
    );
    Ok(worse)
}
