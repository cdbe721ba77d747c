//! What a run would ask, and what it would take.

use crate::commands::engine::{Engine, FirstStep};
use crate::failure::Failure;
use concord_scorer::MemoryPlan;
use concord_session::product_rate_of;
use serde::Serialize;
use std::fmt::Write;
use std::rc::Rc;

/// What a checkpoint would be asked.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Planned {
    checkpoint: String,
    /// Prompts that are read, and texts that are written.
    prompts: usize,
    texts: usize,
    /// Tokens of all prompts, and rows of the trie that they share.
    tokens: u64,
    rows: u64,
    /// Bytes of memory at most; absent of an adapter, which shares its base's.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'static str>,
    /// Requests to a server, for its most probable tokens and for texts: what those do not tell costs more.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_at_least: Option<usize>,
    /// Seconds of products at the rate that this machine has of them now: the least that reading takes. Texts are not in it.
    seconds_at_least: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_measurable: Option<String>,
}

/// What every checkpoint would be asked.
pub(super) fn planned(
    engine: &Engine<'_>,
    steps: &[Rc<FirstStep>],
    plans: Vec<Option<MemoryPlan>>,
) -> Result<Vec<Planned>, Failure> {
    let mut found = Vec::new();
    for ((snapshot, step), memory) in engine.snapshots.iter().zip(steps).zip(plans) {
        let size = step.size();
        let machine = &engine.machine;
        let rate = product_rate_of(machine.first(), &snapshot.spec, machine.dtype(snapshot))?;
        let rate = rate * machine.count() as f64;
        let flops = 2.0 * snapshot.spec.parameters() as f64 * size.rows as f64;
        found.push(Planned {
            checkpoint: snapshot.name.clone(),
            prompts: size.prompts,
            texts: size.texts,
            tokens: size.tokens,
            rows: size.rows,
            memory: memory.as_ref().map(MemoryPlan::peak),
            schedule: memory.as_ref().map(|plan| plan.schedule.name()),
            requests_at_least: snapshot
                .server
                .is_some()
                .then_some(size.asked_rows + size.texts),
            // What a server takes is not known.
            seconds_at_least: if snapshot.server.is_some() {
                0.0
            } else {
                flops / rate
            },
            not_measurable: step.reason().map(str::to_owned),
        });
    }
    Ok(found)
}

/// The same for people.
pub(super) fn text(planned: &[Planned]) -> String {
    let mut out = String::new();
    for plan in planned {
        let Planned {
            checkpoint,
            prompts,
            texts,
            tokens,
            rows,
            seconds_at_least,
            ..
        } = plan;
        let _ = writeln!(out, "{checkpoint}");
        if let Some(reason) = &plan.not_measurable {
            let _ = writeln!(out, "  not measurable: {reason}");
            continue;
        }
        let share = *tokens as f64 / (*rows).max(1) as f64;
        let _ = writeln!(
            out,
            "  asked    {prompts} prompts, {tokens} tokens in {rows} rows of a trie ({share:.1} tokens a row)"
        );
        if *texts > 0 {
            let _ = writeln!(out, "  written  {texts} texts");
        }
        if let (Some(memory), Some(schedule)) = (plan.memory, plan.schedule) {
            let mib = memory as f64 / f64::from(1 << 20);
            let memory = if mib < 1024.0 {
                format!("{mib:.0} MiB")
            } else {
                format!("{:.1} GiB", mib / 1024.0)
            };
            let _ = writeln!(out, "  memory   {memory}, {schedule}");
        }
        if let Some(requests) = plan.requests_at_least {
            let _ = writeln!(out, "  requests {requests} at least, to its server");
            continue;
        }
        let _ = writeln!(
            out,
            "  time     {} at least, texts aside",
            seconds(*seconds_at_least)
        );
    }
    let all: f64 = planned.iter().map(|plan| plan.seconds_at_least).sum();
    if planned.len() > 1 {
        let _ = writeln!(out, "all        {} at least", seconds(all));
    }
    out
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}
