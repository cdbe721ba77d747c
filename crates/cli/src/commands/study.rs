//! What is asked of checkpoints, stage by stage: what is read at once, what they write, what readers make of it.
//!
//! Each stage goes on where its journal ends, and loads the decoder only where something is left to do.

use crate::failure::Failure;
use crate::output;
use crate::progress::Terminal;
use concord_checkpoint::Snapshot;
use concord_questions::{QuestionSet, Stimuli};
use concord_readings::{Form, Prompt, PromptStyle, Reading};
use concord_runs::Journal;
use concord_scorer::{LabelTable, Plan, ScorerError, lengths};
use concord_session::{Allowed, Asks, Base, Machine, OnDemand, Round, has_room, rounds};
use concord_suites::valueconsistency::{Options, name, plan, plan_stances, plan_texts};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

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
    /// The decoder of a checkpoint, loaded when it is first needed.
    pub fn on_demand<'b, 'a>(
        &'a self,
        base: &'b mut Base<'a>,
        snapshot: &'a Snapshot,
    ) -> OnDemand<'b, 'a> {
        OnDemand::new(base, snapshot, &self.machine, &self.allowed)
    }

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
            let style = style(snapshot, *form);
            let prompts = plan(self.set, self.stimuli, self.wordings, style, self.options)?;
            let texts = plan_texts(self.set, self.stimuli, style, self.options)?;
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
        let asks = [Some(asks), texts].into_iter().flatten();
        Ok(has_room(&self.machine, &self.allowed, snapshot, asks)?)
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
        let least = std::iter::once(least);
        Ok(has_room(&self.machine, &self.allowed, reader, least)?)
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
    ) -> Result<Round, Failure> {
        let style = style(reader, form);
        let mut prompts = plan_stances(self.set, self.stimuli, style, self.options, texts)?;
        let lengths = lengths(reader, &prompts).map_err(|e| Failure::from(e).of(&reader.name))?;
        let limit = reader.spec.context_length();
        let passage = |id: &str| name::text_of(id);
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
            prompts.retain(|prompt| !too_long.contains(&name::text_of(&prompt.id)));
        }
        let name = format!("{} reads", reader.name);
        let meter = &Terminal::default();
        Ok(rounds::read(
            &name, &prompts, None, journal, decoder, meter,
        )?)
    }
}

/// Reads every prompt that the journal does not have yet.
pub(super) fn read(
    snapshot: &Snapshot,
    asked: &Asked,
    journal: Journal,
    decoder: &mut OnDemand<'_, '_>,
) -> Result<Round, Failure> {
    decoder.table = Some(Arc::clone(&asked.table));
    // What is written later is planned for now.
    decoder.later = (!asked.texts.is_empty()).then(|| Asks::of_texts(&asked.texts, &asked.lengths));
    let (prompts, plan) = (&asked.prompts, Some(&asked.plan));
    let meter = &Terminal::default();
    Ok(rounds::read(
        &snapshot.name,
        prompts,
        plan,
        journal,
        decoder,
        meter,
    )?)
}

/// Writes every text that the journal does not have yet.
pub(super) fn write(
    asked: &Asked,
    journal: Journal,
    decoder: &mut OnDemand<'_, '_>,
) -> Result<Round, Failure> {
    Ok(rounds::write(
        &asked.texts,
        journal,
        decoder,
        &Terminal::default(),
    )?)
}

/// How a checkpoint is spoken to.
fn style(snapshot: &Snapshot, form: Form) -> PromptStyle {
    let lead = match form {
        Form::Completion if !snapshot.vocabulary.begins_with_space() => " ",
        _ => "",
    };
    PromptStyle { form, lead }
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
    Plan::new(snapshot, table, prompts).map_err(|error| {
        let in_other_words =
            matches!(&error, ScorerError::TooLong { id, .. } if name::wording_of(id).is_some());
        let failure = Failure::from(error).of(&snapshot.name);
        if in_other_words {
            return failure.and_help("--sampled 0 leaves the questions in other words out");
        }
        failure
    })
}
