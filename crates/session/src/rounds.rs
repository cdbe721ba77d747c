//! Rounds: what is left of some prompts is read or written, and what comes of it goes to a journal at once.

use crate::cached::Digests;
use crate::decoders::Asks;
use crate::{Event, Machine, OnDemand, SessionError, served};
use concord_checkpoint::{Server, ServerCounts};
use concord_decoder::{Times, Work};
use concord_readings::{Prompt, Reading};
use concord_runs::{Journal, RunError};
use concord_scorer::{
    Counts, GenerationProgress, MemoryPlan, Plan, Progress, Schedule, ScorerError, lengths,
    prompt_digests,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::Instant;

/// What was read, by prompt, and what it cost.
pub type Round = (HashMap<String, Reading>, Value);

/// How much a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Rows of the trie.
    Rows(u64),
    /// Texts.
    Texts(u64),
    /// Rows or texts that a server is asked for.
    Asked(u64),
}

/// Shows how far a round is, and says when to stop.
pub trait Meter: Sync {
    /// A round begins.
    fn begin(&self, name: &str, size: Size);
    /// So many rows are computed.
    fn rows(&self, progress: Progress);
    /// So many texts are written.
    fn texts(&self, progress: GenerationProgress);
    /// So many rows or texts have come from a server.
    fn asked(&self, done: u64);
    /// The round has ended, whole or not.
    fn end(&self);
    /// Whether to stop.
    fn stops(&self) -> bool;
}

/// Nobody looks, and nothing stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unseen;

impl Meter for Unseen {
    fn begin(&self, _: &str, _: Size) {}
    fn rows(&self, _: Progress) {}
    fn texts(&self, _: GenerationProgress) {}
    fn asked(&self, _: u64) {}
    fn end(&self) {}
    fn stops(&self) -> bool {
        false
    }
}

/// Reads what the journal does not have yet. `plan` is of all prompts.
///
/// # Errors
/// [`SessionError`]; [`SessionError::Stopped`] where the meter says so. What was read is in the journal.
pub fn read(
    name: &str,
    prompts: &[Prompt],
    plan: Option<&Plan>,
    mut journal: Journal,
    decoder: &mut OnDemand<'_, '_>,
    meter: &dyn Meter,
) -> Result<Round, SessionError> {
    let count = prompts.len();
    say_damaged(&journal, decoder);
    let mut left = left(prompts, &journal);
    let resumed = count - left.len();
    let goes_on = !left.is_empty() && decoder.spill().has_rows();
    if goes_on {
        // Rows that wait between layers are of all prompts.
        prompts.clone_into(&mut left);
    }
    if left.is_empty() {
        let cost = json!({ "prompts": count, "resumed": resumed });
        return Ok((journal.close()?, cost));
    }
    let lay_out = |decoder: &mut OnDemand<'_, '_>, prompts: &[Prompt]| {
        let table = decoder.table();
        let laid_out = Plan::new(decoder.snapshot, &table, prompts);
        laid_out.map_err(|source| of(&decoder.snapshot.name, source))
    };
    let mut rest;
    let mut planned = match plan {
        Some(plan) if resumed == 0 || goes_on => plan,
        _ => {
            rest = lay_out(decoder, &left)?;
            &rest
        }
    };
    // What an earlier attempt read is kept as well.
    let digests = digests_of(plan.unwrap_or(planned), decoder);
    let cached = if goes_on {
        0
    } else {
        take_cached(&digests, &mut left, &mut journal, decoder)?
    };
    if left.is_empty() {
        let cost = json!({ "prompts": count, "resumed": resumed, "cached": cached });
        return Ok((journal.close()?, cost));
    }
    if cached > 0 {
        rest = lay_out(decoder, &left)?;
        planned = &rest;
    }
    if let Some(server) = &decoder.snapshot.server {
        let (checkpoint, size) = (&decoder.snapshot.name, served::size(planned));
        let table = decoder.table();
        let asked = (decoder.machine(), checkpoint.as_str());
        let mut cost = from_server(name, (size, resumed), server, asked, meter, || {
            let plan = (planned, table.as_ref());
            served::read((server, checkpoint), plan, &mut journal, meter)
        })?;
        cost["prompts"] = json!(count);
        return Ok((journal.close()?, cost));
    }
    let checkpoint = decoder.snapshot.name.clone();
    let machine = decoder.machine().clone();
    let (scorer, memory) = decoder.scorer(&Asks::of(planned))?;
    say_schedule(&machine, &checkpoint, &memory.schedule);
    // On a GPU the length of passes may move bits: what is read says by which it was.
    let on_gpu = memory.device.is_some();
    let rows_of = |shortened: u32| (memory.rows_per_pass as u64 >> shortened.min(63)).max(1);
    let begun = Instant::now();
    meter.begin(name, Size::Rows(planned.trie.len() as u64));
    let mut failed: Option<RunError> = None;
    let outcome = scorer.run(planned, &memory.schedule, |progress, done| {
        if failed.is_some() {
            return ControlFlow::Break(());
        }
        meter.rows(progress);
        let mut new: Vec<Reading> = done.into_iter().map(|(_, reading)| reading).collect();
        new.retain(|reading| !journal.readings.contains_key(&reading.id));
        let said = if on_gpu {
            journal.passes_of(rows_of(progress.shortened))
        } else {
            Ok(())
        };
        if let Err(error) = said.and_then(|()| journal.append(new)) {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        if meter.stops() && progress.rows_done < progress.rows {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    meter.end();
    machine
        .timeline
        .note("passes", &checkpoint, begun..Instant::now());
    if let Some(error) = failed {
        return Err(error.into());
    }
    let (counts, times) = outcome.map_err(|source| of(&checkpoint, source))?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut cost = cost(&counts, count, resumed, decoder.seconds, seconds);
    add_ways(&mut cost, &times, &memory, &journal);
    if journal.by_pass.len() > 1 {
        machine.tell(&Event::SeveralPassLengths {
            name: &checkpoint,
            lengths: journal.by_pass.len(),
        });
    }
    closed(journal, cost, cached, &digests, decoder)
}

/// What a server is asked in a round of which so much was there already, with a meter around it; what that cost.
fn from_server(
    name: &str,
    (size, resumed): (Size, usize),
    server: &Server,
    (machine, checkpoint): (&Machine, &str),
    meter: &dyn Meter,
    ask: impl FnOnce() -> Result<ServerCounts, SessionError>,
) -> Result<Value, SessionError> {
    meter.begin(name, size);
    let begun = Instant::now();
    let outcome = ask();
    meter.end();
    let ran = begun..Instant::now();
    machine.timeline.note("requests", checkpoint, ran);
    let seconds = begun.elapsed().as_secs_f64();
    let mut cost = served::cost(server, outcome?, seconds);
    cost["resumed"] = json!(resumed);
    Ok(cost)
}

/// Closes a round's journal, and keeps what is in it in the cache.
fn closed(
    journal: Journal,
    mut cost: Value,
    cached: usize,
    digests: &Digests,
    decoder: &mut OnDemand<'_, '_>,
) -> Result<Round, SessionError> {
    if cached > 0 {
        cost["cached"] = json!(cached);
    }
    let by_pass = journal.by_pass.clone();
    let readings = journal.close()?;
    keep_cached(digests, &readings, &by_pass, decoder);
    Ok((readings, cost))
}

/// The digests of prompts, where there is a cache.
fn digests_of(plan: &Plan, decoder: &OnDemand<'_, '_>) -> Digests {
    if decoder.cached.is_none() {
        return Digests::new();
    }
    let digests = plan.digests();
    digests
        .map(|(name, digest)| (name.to_owned(), digest))
        .collect()
}

/// Moves what was read before from the cache to the journal. Returns how much that is.
fn take_cached(
    digests: &Digests,
    left: &mut Vec<Prompt>,
    journal: &mut Journal,
    decoder: &mut OnDemand<'_, '_>,
) -> Result<usize, SessionError> {
    let Some(cached) = &decoder.cached else {
        return Ok(0);
    };
    let name = &decoder.snapshot.name;
    let timeline = &decoder.machine().timeline;
    match timeline.time("cache", name, || cached.take(digests, left)) {
        Ok(found) if found.is_empty() => Ok(0),
        Ok(mut found) => {
            // As a finished journal has them: it need not be written once more.
            found.sort_by(|a, b| a.id.cmp(&b.id));
            let (count, of) = (found.len(), left.len());
            decoder.machine().tell(&Event::FromCache {
                name,
                found: count,
                of,
            });
            journal.append(found)?;
            left.retain(|prompt| !journal.readings.contains_key(&prompt.id));
            Ok(count)
        }
        Err(error) => {
            decoder.machine().tell(&Event::NoCache { error: &error });
            decoder.cached = None;
            Ok(0)
        }
    }
}

/// Keeps what was read in the cache; one that cannot be written is no cache, and nothing worse.
fn keep_cached(
    digests: &Digests,
    readings: &HashMap<String, Reading>,
    by_pass: &BTreeMap<u64, usize>,
    decoder: &mut OnDemand<'_, '_>,
) {
    let Some(cached) = &decoder.cached else {
        return;
    };
    let name = &decoder.snapshot.name;
    let timeline = &decoder.machine().timeline;
    let kept = timeline.time("cache", name, || cached.keep(digests, readings, by_pass));
    if let Err(error) = kept {
        decoder.machine().tell(&Event::NoCache { error: &error });
        decoder.cached = None;
    }
}

/// Writes every text that the journal does not have yet.
///
/// # Errors
/// [`SessionError`]; [`SessionError::Stopped`] where the meter says so. What was written is in the journal.
pub fn write(
    texts: &[Prompt],
    mut journal: Journal,
    decoder: &mut OnDemand<'_, '_>,
    meter: &dyn Meter,
) -> Result<Round, SessionError> {
    say_damaged(&journal, decoder);
    let mut left: Vec<Prompt> = left(texts, &journal);
    let resumed = texts.len() - left.len();
    if left.is_empty() {
        let cost = json!({ "texts": texts.len(), "resumed": resumed });
        return Ok((journal.close()?, cost));
    }
    let name = decoder.snapshot.name.clone();
    let mut digests = Digests::new();
    if decoder.cached.is_some() {
        let table = decoder.table();
        let found = prompt_digests(decoder.snapshot, &table, &left);
        let found = found.map_err(|source| of(&name, source))?;
        let names = left.iter().map(|prompt| prompt.id.clone());
        digests.extend(names.zip(found));
    }
    let cached = take_cached(&digests, &mut left, &mut journal, decoder)?;
    if left.is_empty() {
        let cost = json!({ "texts": texts.len(), "resumed": resumed, "cached": cached });
        return Ok((journal.close()?, cost));
    }
    let snapshot = decoder.snapshot;
    if let Some(server) = &snapshot.server {
        let size = Size::Asked(left.len() as u64);
        let asked = (decoder.machine(), name.as_str());
        let mut cost = from_server(&name, (size, resumed), server, asked, meter, || {
            served::write(server, snapshot, &left, &mut journal, meter)
        })?;
        cost["texts"] = json!(texts.len());
        return Ok((journal.close()?, cost));
    }
    let lengths = lengths(decoder.snapshot, &left).map_err(|source| of(&name, source))?;
    let asks = Asks::of_texts(&left, &lengths);
    let machine = decoder.machine().clone();
    let (scorer, memory) = decoder.scorer(&asks)?;
    if memory.schedule != Schedule::PassMajor {
        machine.tell(&Event::TextsByLayer { name: &name });
    }
    let begun = Instant::now();
    meter.begin(&name, Size::Texts(left.len() as u64));
    let mut failed: Option<RunError> = None;
    let outcome = scorer.generate(&left, |progress, ended| {
        meter.texts(progress);
        if let Err(error) = journal.append(ended.into_iter().map(|(_, reading)| reading)) {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        if meter.stops() && progress.texts_done < progress.texts {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    meter.end();
    let ran = begun..Instant::now();
    machine.timeline.note("texts", &name, ran);
    if let Some(error) = failed {
        return Err(error.into());
    }
    let counts = outcome.map_err(|source| of(&name, source))?;
    let seconds = begun.elapsed().as_secs_f64();
    let cost = json!({
        "texts": texts.len(),
        "resumed": resumed,
        "tokens": counts.tokens,
        "prompt_rows": counts.prompt_rows,
        "steps": counts.steps,
        "seconds": seconds,
        "tokens_per_s": counts.tokens as f64 / seconds,
    });
    // Of how many rows the passes were is not known of texts, which are kept where that moves no bits.
    closed(journal, cost, cached, &digests, decoder)
}

/// Tells what a stop costs, where that is more than a pass.
fn say_schedule(machine: &Machine, name: &str, schedule: &Schedule) {
    if let Schedule::LayerMajor { spill } = schedule {
        let rows_are_kept = spill.is_some();
        machine.tell(&Event::LayerMajor {
            name,
            rows_are_kept,
        });
    }
}

/// Tells which lines of a journal were damaged.
fn say_damaged(journal: &Journal, decoder: &OnDemand<'_, '_>) {
    // The first line says what the journal is of, and is written again.
    let (head, lines): (Vec<usize>, Vec<usize>) =
        journal.damaged.iter().partition(|line| **line == 1);
    let path = journal.path();
    if !head.is_empty() {
        decoder.machine().tell(&Event::HeadDamaged { path });
    }
    if let Some(first) = lines.first() {
        decoder.machine().tell(&Event::LinesDamaged {
            path,
            first: *first,
            count: lines.len(),
        });
    }
}

/// What the journal does not have yet.
fn left(prompts: &[Prompt], journal: &Journal) -> Vec<Prompt> {
    let is_left = |prompt: &&Prompt| !journal.readings.contains_key(&prompt.id);
    prompts.iter().filter(is_left).cloned().collect()
}

/// A scorer's error, of a checkpoint.
fn of(name: &str, source: ScorerError) -> SessionError {
    match source {
        ScorerError::Stopped => SessionError::Stopped,
        source => SessionError::Ask {
            name: name.to_owned(),
            source,
        },
    }
}

/// Where the time of passes went; what is missing to the whole is everything else.
fn seconds_of(times: &Times) -> Value {
    json!({
        "products": times.seconds(Work::Products),
        "attention": times.seconds(Work::Attention),
        "norms": times.seconds(Work::Norms),
        "rope": times.seconds(Work::Rope),
        "head": times.seconds(Work::Head),
        "activation": times.seconds(Work::Activation),
    })
}

/// Adds how it was computed to what it cost.
fn add_ways(cost: &mut Value, times: &Times, memory: &MemoryPlan, journal: &Journal) {
    if times.are_known() {
        cost["seconds_of"] = seconds_of(times);
    }
    cost["schedule"] = json!(memory.schedule.name());
    cost["memory_planned"] = json!(memory.peak());
    cost["rows_per_pass"] = json!(memory.rows_per_pass);
    if !journal.by_pass.is_empty() {
        cost["readings_by_rows_per_pass"] = json!(journal.by_pass);
    }
}

fn cost(counts: &Counts, asked: usize, resumed: usize, loaded: f64, seconds: f64) -> Value {
    json!({
        "prompts": asked,
        "resumed": resumed,
        "tokens_asked": counts.tokens_asked,
        "trie_rows": counts.trie_rows,
        "rows_computed": counts.rows_computed,
        "rows_again": counts.rows_again,
        "shortened": counts.shortened,
        "rows_read": counts.rows_read,
        "passes": counts.passes,
        "load_seconds": loaded,
        "seconds": seconds,
        "prompts_per_s": counts.prompts as f64 / seconds,
        "rows_per_s": counts.rows_computed as f64 / seconds,
    })
}
