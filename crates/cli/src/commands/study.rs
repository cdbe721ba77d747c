//! What is asked of checkpoints, stage by stage: what is read at once, what they write, what readers make of it.
//!
//! Each stage goes on where its journal ends, and loads the decoder only where something is left to do.

use super::decoders::{self, Asks, OnDemand};
use crate::device::Machine;
use crate::failure::{ExitStatus, Failure};
use crate::memory::Allowed;
use crate::output;
use crate::progress::{Bar, TextBar, stop_wanted, was_interrupted};
use concord_checkpoint::Snapshot;
use concord_decoder::{Times, Work};
use concord_questions::{QuestionSet, Stimuli};
use concord_readings::{Prompt, Reading};
use concord_runs::{Journal, RunError};
use concord_scorer::{Counts, LabelTable, Plan, Schedule, ScorerError, lengths};
use concord_suites::valueconsistency::{Form, Options, Voice, plan, plan_stances, plan_texts};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What was read, by prompt, and what it cost.
pub(super) type Stage = (HashMap<String, Reading>, Value);

/// What checkpoints that read text alike are asked, laid out before any is asked anything.
pub(super) struct Asked {
    prompts: Vec<Prompt>,
    table: Arc<LabelTable>,
    plan: Plan,
    /// What is written after, and how long the prompts are.
    pub texts: Vec<Prompt>,
    lengths: Vec<usize>,
}

/// What every checkpoint of a run is asked.
pub(super) struct Study<'a> {
    pub set: &'a QuestionSet,
    pub stimuli: &'a Stimuli,
    /// Other wordings that a sample is asked in.
    pub wordings: &'a [Stimuli],
    pub options: &'a Options,
    pub machine: Machine,
    pub allowed: Allowed,
}

impl Study<'_> {
    /// What each checkpoint is asked. Adapters that leave tokenizer and template alone share it with their base.
    pub fn asked(&self, snapshots: &[Snapshot], forms: &[Form]) -> Result<Vec<Rc<Asked>>, Failure> {
        let mut all: Vec<Rc<Asked>> = Vec::new();
        for (index, (snapshot, form)) in snapshots.iter().zip(forms).enumerate() {
            let alike = |(other, other_form): (&Snapshot, &Form)| {
                form == other_form && snapshot.reads_text_as(other)
            };
            let before = snapshots[..index].iter().zip(forms).position(alike);
            if let Some(before) = before {
                all.push(Rc::clone(&all[before]));
                continue;
            }
            let voice = voice(snapshot, *form);
            let prompts = plan(self.set, self.stimuli, self.wordings, voice, self.options)?;
            let texts = plan_texts(self.set, self.stimuli, voice, self.options)?;
            let table = Arc::new(LabelTable::new(&snapshot.vocabulary));
            let plan = lay_out(snapshot, &table, &prompts)?;
            let lengths = checked_lengths(snapshot, &texts)?;
            all.push(Rc::new(Asked {
                prompts,
                table,
                plan,
                texts,
                lengths,
            }));
        }
        Ok(all)
    }

    /// Refuses a checkpoint for which there is too little memory, before anything is run.
    pub fn has_room_for(&self, snapshot: &Snapshot, asked: &Asked) -> Result<(), Failure> {
        // An adapter shares what its base takes.
        if snapshot.adapter.is_some() {
            return Ok(());
        }
        let asks = Asks::of(&asked.plan);
        let texts = Asks::of_texts(&asked.texts, &asked.lengths);
        let texts = (!asked.texts.is_empty()).then_some(texts);
        decoders::has_room(self, snapshot, [Some(asks), texts].into_iter().flatten())
    }

    /// Refuses a reader for which there is too little memory, whatever is written: passages of this length, and what is asked of them
    /// at the least.
    pub fn has_room_to_read(
        &self,
        reader: &Snapshot,
        passage_tokens: usize,
    ) -> Result<(), Failure> {
        let least = Asks {
            rows: passage_tokens as u64,
            positions: passage_tokens as u64,
            readings: 0,
            texts: 0,
        };
        decoders::has_room(self, reader, std::iter::once(least))
    }

    /// Lets a reader read every passage that the journal does not have yet. Passages that are too long for it are left out,
    /// and that is said.
    pub fn stances(
        &self,
        reader: &Snapshot,
        form: Form,
        texts: &HashMap<String, Reading>,
        journal: Journal,
        decoder: &mut OnDemand<'_, '_>,
    ) -> Result<Stage, Failure> {
        let voice = voice(reader, form);
        let mut prompts = plan_stances(self.set, self.stimuli, voice, self.options, texts)?;
        let lengths = lengths(reader, &prompts).map_err(|e| Failure::from(e).of(&reader.name))?;
        let limit = reader.spec.context_length();
        let passage = |id: &str| passage_of(id).to_owned();
        let too_long: HashSet<String> = prompts
            .iter()
            .zip(&lengths)
            .filter(|(_, length)| **length > limit)
            .map(|(prompt, _)| passage(&prompt.id))
            .collect();
        if !too_long.is_empty() {
            output::message(&format!(
                "{}: {} passages are longer than its context of {limit} tokens and are left out",
                reader.name,
                too_long.len()
            ));
            prompts.retain(|prompt| !too_long.contains(passage_of(&prompt.id)));
        }
        score(
            &format!("{} reads", reader.name),
            &prompts,
            None,
            journal,
            decoder,
        )
    }
}

/// Reads every prompt that the journal does not have yet.
pub(super) fn read(
    snapshot: &Snapshot,
    asked: &Asked,
    journal: Journal,
    decoder: &mut OnDemand<'_, '_>,
) -> Result<Stage, Failure> {
    decoder.table = Some(Arc::clone(&asked.table));
    // What is written later is planned for now.
    decoder.later = (!asked.texts.is_empty()).then(|| Asks::of_texts(&asked.texts, &asked.lengths));
    score(
        &snapshot.name,
        &asked.prompts,
        Some(&asked.plan),
        journal,
        decoder,
    )
}

/// Writes every text that the journal does not have yet.
pub(super) fn write(
    snapshot: &Snapshot,
    asked: &Asked,
    mut journal: Journal,
    decoder: &mut OnDemand<'_, '_>,
) -> Result<Stage, Failure> {
    say_damaged(&journal);
    let left: Vec<Prompt> = left(&asked.texts, &journal);
    let resumed = asked.texts.len() - left.len();
    if left.is_empty() {
        let cost = json!({ "texts": asked.texts.len(), "resumed": resumed });
        return Ok((journal.close()?, cost));
    }
    let lengths = lengths(snapshot, &left).map_err(|e| Failure::from(e).of(&snapshot.name))?;
    let asks = Asks::of_texts(&left, &lengths);
    let (scorer, memory) = decoder.scorer(&asks)?;
    if memory.schedule != Schedule::PassMajor {
        output::message(&format!(
            "{}: every layer is read again for each token that is written: this takes long",
            snapshot.name
        ));
    }
    let begun = Instant::now();
    let bar = TextBar::new(&snapshot.name, left.len() as u64);
    let mut failed: Option<RunError> = None;
    let outcome = scorer.generate(&left, |progress, ended| {
        bar.show(progress);
        if let Err(error) = journal.append(ended.into_iter().map(|(_, reading)| reading)) {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        if was_interrupted() && progress.texts_done < progress.texts {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    bar.finish();
    if let Some(error) = failed {
        return Err(error.into());
    }
    let counts = outcome.map_err(|error| stopped_or(error, &snapshot.name))?;
    let seconds = begun.elapsed().as_secs_f64();
    let cost = json!({
        "texts": asked.texts.len(),
        "resumed": resumed,
        "tokens": counts.tokens,
        "prompt_rows": counts.prompt_rows,
        "steps": counts.steps,
        "seconds": seconds,
        "tokens_per_s": counts.tokens as f64 / seconds,
    });
    Ok((journal.close()?, cost))
}

/// The passage that a prompt asks about: the name without the order.
fn passage_of(id: &str) -> &str {
    let end = id.find(":given").or_else(|| id.find(":reversed"));
    &id[..end.unwrap_or(id.len())]
}

/// How a checkpoint is spoken to.
fn voice(snapshot: &Snapshot, form: Form) -> Voice {
    let lead = match form {
        Form::Completion if !snapshot.vocabulary.begins_with_space() => " ",
        _ => "",
    };
    Voice { form, lead }
}

/// Says which lines of a journal were damaged.
fn say_damaged(journal: &Journal) {
    // The first line says what the journal is of, and is written again.
    let (head, lines): (Vec<usize>, Vec<usize>) =
        journal.damaged.iter().partition(|line| **line == 1);
    let path = journal.path().display();
    if !head.is_empty() {
        output::message(&format!(
            "{path}:1: this line is damaged, and is written again"
        ));
    }
    if let Some(first) = lines.first() {
        output::message(&format!(
            "{path}:{first}: {} damaged; what it held is asked again",
            match lines.len() {
                1 => "this line is".to_owned(),
                more => format!("this line and {} more are", more - 1),
            }
        ));
    }
}

/// What the journal does not have yet.
fn left(prompts: &[Prompt], journal: &Journal) -> Vec<Prompt> {
    let is_left = |prompt: &&Prompt| !journal.readings.contains_key(&prompt.id);
    prompts.iter().filter(is_left).cloned().collect()
}

/// Reads what the journal does not have yet. `plan` is of all prompts.
fn score(
    name: &str,
    prompts: &[Prompt],
    plan: Option<&Plan>,
    mut journal: Journal,
    decoder: &mut OnDemand<'_, '_>,
) -> Result<Stage, Failure> {
    let count = prompts.len();
    say_damaged(&journal);
    let mut left = left(prompts, &journal);
    let resumed = count - left.len();
    // Rows that wait between layers are of all prompts.
    let goes_on = !left.is_empty() && decoder.spill().has_rows();
    if goes_on {
        prompts.clone_into(&mut left);
    }
    if left.is_empty() {
        let cost = json!({ "prompts": count, "resumed": resumed });
        return Ok((journal.close()?, cost));
    }
    let rest;
    let planned = match plan {
        Some(plan) if resumed == 0 || goes_on => plan,
        _ => {
            let table = decoder.table();
            rest = lay_out(decoder.snapshot, &table, &left)?;
            &rest
        }
    };
    let checkpoint = decoder.snapshot.name.clone();
    let (scorer, memory) = decoder.scorer(&Asks::of(planned))?;
    if let Some(note) = note_of(&memory.schedule) {
        output::message(&format!(
            "{checkpoint}: no reading is complete before the last layer: {note}"
        ));
    }
    // On a GPU the length of passes may move bits: what is read says by which it was.
    let on_gpu = memory.device.is_some();
    let rows_of = |shortened: u32| (memory.rows_per_pass as u64 >> shortened.min(63)).max(1);
    let begun = Instant::now();
    let bar = Bar::new(name, planned.trie.len() as u64);
    let mut failed: Option<RunError> = None;
    let outcome = scorer.run(planned, &memory.schedule, |progress, done| {
        if failed.is_some() {
            return ControlFlow::Break(());
        }
        bar.show(progress);
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
        if stop_wanted(progress) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    bar.finish();
    if let Some(error) = failed {
        return Err(error.into());
    }
    let (counts, times) = outcome.map_err(|error| stopped_or(error, &checkpoint))?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut cost = cost(&counts, count, resumed, decoder.seconds, seconds);
    if times.are_known() {
        cost["seconds_of"] = seconds_of(&times);
    }
    cost["schedule"] = json!(memory.schedule.name());
    cost["memory_planned"] = json!(memory.peak());
    cost["rows_per_pass"] = json!(memory.rows_per_pass);
    if !journal.by_pass.is_empty() {
        cost["readings_by_rows_per_pass"] = json!(journal.by_pass);
    }
    if journal.by_pass.len() > 1 {
        output::message(&format!(
            "{checkpoint}: read by passes of {} lengths: results may differ in the last bits from those of one",
            journal.by_pass.len()
        ));
    }
    Ok((journal.close()?, cost))
}

/// What a stop costs where no reading is complete before the last layer.
fn note_of(schedule: &Schedule) -> Option<&'static str> {
    match schedule {
        Schedule::PassMajor => None,
        Schedule::LayerMajor { spill: None } => Some(
            "a stop before that begins this checkpoint anew (with --schedule spilled, its layer)",
        ),
        Schedule::LayerMajor { spill: Some(_) } => Some("a stop before that begins its layer anew"),
    }
}

fn stopped_or(error: ScorerError, checkpoint: &str) -> Failure {
    match error {
        ScorerError::Stopped => Failure::new(ExitStatus::Incomplete, "stopped", ""),
        other => Failure::from(other).of(checkpoint),
    }
}

/// Refuses texts whose prompt leaves no room to write.
fn checked_lengths(snapshot: &Snapshot, texts: &[Prompt]) -> Result<Vec<usize>, Failure> {
    let failed = |error: ScorerError| Failure::from(error).of(&snapshot.name);
    let limit = snapshot.spec.context_length();
    let lengths = lengths(snapshot, texts).map_err(failed)?;
    match texts
        .iter()
        .zip(&lengths)
        .find(|(_, length)| **length > limit)
    {
        Some((prompt, tokens)) => Err(failed(ScorerError::TooLong {
            id: prompt.id.clone(),
            tokens: *tokens,
            limit,
        })),
        None => Ok(lengths),
    }
}

/// Tokenises prompts and lays out their trie.
fn lay_out(snapshot: &Snapshot, table: &LabelTable, prompts: &[Prompt]) -> Result<Plan, Failure> {
    Plan::new(snapshot, table, prompts).map_err(|error| Failure::from(error).of(&snapshot.name))
}

/// Where the time of passes went; what is missing to the whole is everything else.
fn seconds_of(times: &Times) -> Value {
    json!({
        "products": times.seconds(Work::Products),
        "attention": times.seconds(Work::Attention),
        "norms": times.seconds(Work::Norms),
        "rope": times.seconds(Work::Rope),
        "head": times.seconds(Work::Head),
    })
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
