//! Asks checkpoints what a study wants to know, step by step, and lets raters read what they wrote.
//!
//! The first step of every checkpoint is laid out before any is asked anything, so that what is wrong is found first. Each round goes on
//! where its journal ends, and a decoder is loaded only where something is left to do.

mod first;
mod raters;

pub(super) use first::FirstStep;

use super::identity::numerics;
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::{Terminal, expect_rows, was_interrupted};
use concord_checkpoint::Snapshot;
use concord_readings::{ById, Form, Prompt, PromptStyle, Read, Readings};
use concord_runs::{Journal, ReadingCache, RunDirectory, Shard, What};
use concord_scorer::MemoryPlan;
use concord_session::{
    Allowed, Asks, Base, Cached, Machine, OnDemand, SessionError, has_room, rounds,
};
use concord_suites::{CheckpointReadings, Excluded, Round, SELF_RATER, Step, Study, Subject};
use first::{Laid, Planned};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A study, who is asked, and what it runs on.
pub(super) struct Engine<'a> {
    pub study: &'a dyn Study,
    pub snapshots: &'a [Snapshot],
    pub forms: &'a [Form],
    /// Who rates: `None` for each checkpoint its own texts.
    pub raters: &'a [Option<Snapshot>],
    /// Whether the later checkpoints are adapters of the first.
    pub adapted: bool,
    pub machine: Machine,
    pub allowed: Allowed,
    /// Where what was read is kept for other runs.
    pub cache: Option<ReadingCache>,
    /// The same for each checkpoint that has a run of its own.
    pub allowed_apart: Vec<(String, Allowed)>,
    /// The part of what is asked that is asked here.
    pub shard: Option<Shard>,
}

/// What was read of a checkpoint, and what that cost.
#[derive(Default)]
struct Told {
    readings: Readings,
    cost: Map<String, Value>,
    /// The rated round that waits for raters.
    waits_for: Option<&'static str>,
    /// Why it is not asked any more.
    not_spelled: Option<String>,
}

impl Told {
    fn add(&mut self, round: &str, (readings, cost): (ById, Value)) {
        // What the first round cost is what the checkpoint cost; later rounds stand beside it.
        match cost {
            Value::Object(cost) if self.cost.is_empty() => self.cost = cost,
            cost => drop(self.cost.insert(round.to_owned(), cost)),
        }
        self.readings.rounds.insert(round.to_owned(), readings);
    }

    fn add_rated(&mut self, round: &str, rater: &str, (readings, cost): (ById, Value)) {
        let costs = self.cost.entry(round).or_insert_with(|| json!({}));
        costs[rater] = cost;
        let ratings = self.readings.ratings.entry(round.to_owned()).or_default();
        ratings.insert(rater.to_owned(), readings);
    }
}

/// The key of a checkpoint's progress that says why it could not be asked.
pub(super) const NOT_MEASURABLE: &str = "not_measurable";

/// What was read, who could not be asked, and what each checkpoint cost.
pub(super) struct Outcome {
    pub read: Vec<CheckpointReadings>,
    pub excluded: Vec<Excluded>,
    pub costs: Map<String, Value>,
}

/// Where what is read goes.
pub(super) enum Places<'a> {
    /// All of it to one run.
    One(&'a RunDirectory),
    /// Each checkpoint's to a run of its own.
    Apart(&'a Apart<'a>),
}

/// A run for each checkpoint, and what is done with one that is read or has failed. The others go on.
pub(super) struct Apart<'a> {
    /// By checkpoint; `None` where there is nothing to do.
    pub directories: RefCell<Vec<Option<RunDirectory>>>,
    /// Takes a run that is read, or why it could not be.
    pub done: &'a dyn Fn(usize, RunDirectory, Result<Outcome, Failure>),
}

impl Apart<'_> {
    fn done(&self, index: usize, outcome: Result<Outcome, Failure>) {
        let directory = self.directories.borrow_mut()[index].take();
        if let Some(directory) = directory {
            (self.done)(index, directory, outcome);
        }
    }
}

impl Places<'_> {
    /// The journal of a checkpoint; `None` where nothing is asked of it.
    fn journal(
        &self,
        index: usize,
        what: What<'_>,
        name: &str,
    ) -> Result<Option<Journal>, Failure> {
        Ok(match self {
            Self::One(directory) => Some(directory.journal(what, name)?),
            Self::Apart(apart) => match &apart.directories.borrow()[index] {
                Some(directory) => Some(directory.journal(what, name)?),
                None => None,
            },
        })
    }

    /// Whether a checkpoint is asked.
    fn has(&self, index: usize) -> bool {
        match self {
            Self::One(_) => true,
            Self::Apart(apart) => apart.directories.borrow()[index].is_some(),
        }
    }
}

impl Engine<'_> {
    /// Refuses a run of which too few checkpoints can be asked.
    fn are_enough(&self, steps: &[Rc<FirstStep>]) -> Result<(), Failure> {
        let reasons = steps.iter().map(|step| step.not_spelled.clone());
        self.enough(&self.excluded(reasons))
    }

    /// Who cannot be asked, and why, of reasons by checkpoint.
    fn excluded(&self, reasons: impl Iterator<Item = Option<String>>) -> Vec<Excluded> {
        let named = self.snapshots.iter().zip(reasons);
        let excluded = named.filter_map(|(snapshot, reason)| {
            let checkpoint = snapshot.name.clone();
            reason.map(|reason| Excluded { checkpoint, reason })
        });
        excluded.collect()
    }

    /// Refuses a run without enough checkpoints that can be asked.
    fn enough(&self, excluded: &[Excluded]) -> Result<(), Failure> {
        let about = self.study.about();
        let left = self.snapshots.len() - excluded.len();
        if excluded.is_empty() || about.needs.enough(about.name, left).is_ok() {
            return Ok(());
        }
        Err(none_left(excluded, left))
    }

    /// Refuses checkpoints and raters for which there is too little memory, before anything is run.
    pub fn has_room(&self, steps: &[Rc<FirstStep>]) -> Result<Vec<Option<MemoryPlan>>, Failure> {
        let (machine, allowed) = (&self.machine, &self.allowed);
        let mut plans = Vec::new();
        for (snapshot, step) in self.snapshots.iter().zip(steps) {
            // An adapter shares what its base takes, and who cannot be asked is not loaded.
            let is_loaded = snapshot.adapter.is_none()
                && snapshot.server.is_none()
                && step.not_spelled.is_none();
            let plan = || has_room(machine, allowed, snapshot, step.rounds.iter().map(asks));
            plans.push(is_loaded.then(plan).transpose()?);
        }
        let written = steps.iter().flat_map(|step| &step.rounds);
        let longest = written.flat_map(|round| &round.prompts).filter_map(most);
        let longest = longest.max().unwrap_or(0) as u64;
        let here = |rater: &&Snapshot| rater.server.is_none();
        for rater in self.raters.iter().flatten().filter(here) {
            // Whatever is written: a text of this length, and what is asked of it at the least.
            let least = Asks {
                rows: longest,
                positions: longest,
                readings: 0,
                texts: 0,
            };
            has_room(machine, allowed, rater, std::iter::once(least))?;
        }
        self.raters_can_read()?;
        Ok(plans)
    }

    /// Asks every checkpoint everything, and lets every rater read what they wrote.
    pub fn run(
        &self,
        directory: &RunDirectory,
        steps: &[Rc<FirstStep>],
    ) -> Result<Outcome, Failure> {
        let mut told = self.ask_all(&Places::One(directory), steps)?;
        let reasons = told.iter_mut().map(|told| told.not_spelled.take());
        let excluded = self.excluded(reasons);
        self.enough(&excluded)?;
        let mut outcome = Outcome {
            read: Vec::new(),
            costs: Map::new(),
            excluded,
        };
        for (snapshot, mut told) in self.snapshots.iter().zip(told) {
            let name = snapshot.name.clone();
            match outcome.excluded.iter().find(|one| one.checkpoint == name) {
                Some(one) => drop(
                    told.cost
                        .insert(NOT_MEASURABLE.to_owned(), json!(one.reason)),
                ),
                None => outcome.read.push(CheckpointReadings {
                    name: name.clone(),
                    readings: told.readings,
                }),
            }
            outcome.costs.insert(name, Value::Object(told.cost));
        }
        Ok(outcome)
    }

    /// Asks every checkpoint everything, each for a run of its own. One that fails does not stop the others.
    ///
    /// # Errors
    /// Where it was stopped: what was read so far is in the journals.
    pub fn run_apart(&self, apart: &Apart<'_>, steps: &[Rc<FirstStep>]) -> Result<(), Failure> {
        self.ask_all(&Places::Apart(apart), steps).map(drop)
    }

    /// Asks every checkpoint, and lets raters read what it wrote, until all are done.
    fn ask_all(&self, places: &Places<'_>, steps: &[Rc<FirstStep>]) -> Result<Vec<Told>, Failure> {
        let mut told: Vec<Told> = Vec::new();
        told.resize_with(self.snapshots.len(), Told::default);
        let asked = steps.iter().enumerate();
        let rounds = asked
            .filter(|(index, _)| places.has(*index))
            .flat_map(|(_, step)| &step.rounds);
        let rows = rounds.map(|round| match &round.what {
            Laid::Reads(plan) => plan.trie.len() as u64,
            Laid::Writes { .. } => 0,
        });
        expect_rows(rows.sum());
        for (index, step) in steps.iter().enumerate() {
            if let Some(reason) = &step.not_spelled
                && places.has(index)
            {
                self.leave_out(places, index, &mut told[index], reason.clone());
            }
        }
        loop {
            self.ask(places, steps, &mut told)?;
            if told.iter().all(|told| told.waits_for.is_none()) {
                return Ok(told);
            }
            for rater in self.raters.iter().flatten() {
                self.let_rate(places, rater, &mut told)?;
            }
            for told in &mut told {
                if let Some(round) = told.waits_for.take() {
                    told.readings.ratings.entry(round.to_owned()).or_default();
                }
            }
        }
    }

    /// Leaves a checkpoint out from now on; where it is asked for a run of its own, that has failed.
    fn leave_out(&self, places: &Places<'_>, index: usize, told: &mut Told, reason: String) {
        self.exclude(index, told, reason);
        if let (Places::Apart(apart), Some(reason)) = (places, &told.not_spelled) {
            let checkpoint = self.snapshots[index].name.clone();
            let reason = reason.clone();
            let excluded = [Excluded { checkpoint, reason }];
            let failure = none_left(&excluded, 0);
            apart.done(index, Err(failure));
        }
    }

    /// What came of a checkpoint that was asked for a run of its own.
    fn outcome_of(&self, index: usize, told: &mut Told) -> Outcome {
        let name = self.snapshots[index].name.clone();
        let cost = Value::Object(std::mem::take(&mut told.cost));
        Outcome {
            read: vec![CheckpointReadings {
                name: name.clone(),
                readings: std::mem::take(&mut told.readings),
            }],
            excluded: Vec::new(),
            costs: Map::from_iter([(name, cost)]),
        }
    }

    /// Leaves a checkpoint out from now on, and says why.
    fn exclude(&self, index: usize, told: &mut Told, reason: String) {
        let excluded = Excluded {
            checkpoint: self.snapshots[index].name.clone(),
            reason,
        };
        output::message(&format!("{}.", excluded.sentence()));
        told.waits_for = None;
        told.not_spelled = Some(excluded.reason);
    }

    /// Asks every checkpoint until it is done or raters have to read. One that cannot spell what is asked for is left out.
    fn ask(
        &self,
        places: &Places<'_>,
        steps: &[Rc<FirstStep>],
        told: &mut [Told],
    ) -> Result<(), Failure> {
        let mut base = Base::new(&self.snapshots[0], self.adapted);
        for index in 0..self.snapshots.len() {
            if told[index].not_spelled.is_some() || !places.has(index) {
                continue;
            }
            if index > 0 && was_interrupted() {
                return Err(SessionError::Stopped.into());
            }
            // Adapters are put on the base that is loaded.
            let mut later = (index + 1..self.snapshots.len()).filter(|_| !self.adapted);
            let next = later.find(|later| told[*later].not_spelled.is_none() && places.has(*later));
            let next = next.map(|next| &self.snapshots[next]);
            let mut decoder = self
                .on_demand(&mut base, &self.snapshots[index])
                .before(next);
            let told = &mut told[index];
            let asked = self.ask_one(index, places, &steps[index], told, &mut decoder);
            match (asked, places) {
                (Ok(()), Places::Apart(apart)) if told.waits_for.is_none() => {
                    apart.done(index, Ok(self.outcome_of(index, told)));
                }
                (Ok(()), _) => {}
                (Err(failure), _) if failure.not_spelled.is_some() => {
                    let reason = failure.not_spelled.unwrap_or_default();
                    self.leave_out(places, index, told, reason);
                }
                (Err(failure), Places::Apart(apart)) if !failure.stops_all() => {
                    told.waits_for = None;
                    apart.done(index, Err(failure));
                }
                (Err(failure), _) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Asks one checkpoint until it is done or raters have to read.
    fn ask_one(
        &self,
        index: usize,
        places: &Places<'_>,
        step: &FirstStep,
        told: &mut Told,
        decoder: &mut OnDemand<'_, '_>,
    ) -> Result<(), Failure> {
        let snapshot = &self.snapshots[index];
        let style = style(snapshot, self.forms[index]);
        let journal = |what: What<'_>| {
            let journal = places.journal(index, what, &snapshot.name)?;
            journal.ok_or_else(|| self.asks_nothing_new())
        };
        if told.readings.rounds.is_empty() {
            decoder.table = Some(Arc::clone(&step.table));
            // What is asked later is planned for now.
            decoder.later = step.rounds.iter().skip(1).map(asks).collect();
            for round in &step.rounds {
                let journal = journal(What::round(&round.name))?;
                let name = self.shown(index, &round.name, told);
                let (prompts, what) = (&round.prompts, Some(&round.what));
                let read = ask_round(&name, prompts, what, journal, decoder)?;
                told.add(&round.name, read);
            }
        }
        loop {
            match self.study.next(Subject { style }, &told.readings)? {
                Step::Done => return Ok(()),
                Step::Ask(rounds) => {
                    let known = |round: &Round| told.readings.round(&round.name).is_some();
                    if rounds.is_empty() || rounds.iter().any(known) {
                        return Err(self.asks_nothing_new());
                    }
                    for round in rounds {
                        let journal = journal(What::round(&round.name))?;
                        let name = self.shown(index, &round.name, told);
                        let prompts = self.kept(&round.prompts)?;
                        let read = ask_round(&name, &prompts, None, journal, decoder)?;
                        told.add(&round.name, read);
                    }
                }
                Step::Rate(round) => {
                    if self.raters.iter().any(Option::is_none) {
                        let journal = journal(What::rated(round, SELF_RATER))?;
                        let so_far = &told.readings;
                        let read = self.rate(snapshot, style, so_far, journal, decoder)?;
                        told.add_rated(round, SELF_RATER, read);
                    }
                    told.waits_for = Some(round);
                    return Ok(());
                }
            }
        }
    }

    /// The decoder of a checkpoint, loaded when it is first needed.
    pub fn on_demand<'b, 'a>(
        &'a self,
        base: &'b mut Base<'a>,
        snapshot: &'a Snapshot,
    ) -> OnDemand<'b, 'a> {
        let mut apart = self.allowed_apart.iter();
        let own = apart.find(|(name, _)| *name == snapshot.name);
        let allowed = own.map_or(&self.allowed, |(_, allowed)| allowed);
        let mut decoder = OnDemand::new(base, snapshot, &self.machine, allowed);
        decoder.cached = self.cached(snapshot);
        decoder
    }

    /// The readings of a checkpoint in the cache.
    fn cached(&self, snapshot: &Snapshot) -> Option<Cached> {
        // What a server computes with is not known.
        let cache = self.cache.clone().filter(|_| snapshot.server.is_none())?;
        // Sizes of one's own move bits, and stand in no key.
        if std::env::var_os("CONCORD_CUDA_CONFIG").is_some() {
            return None;
        }
        let fingerprint = snapshot.fingerprint().ok()?;
        let numerics = numerics(&self.machine);
        // Templates are in the tokens of prompts.
        let decides = json!([
            fingerprint.config,
            fingerprint.tokenizer,
            fingerprint.weights,
            fingerprint.adapter,
            self.machine.dtype_name(snapshot),
            numerics,
            self.machine.name(),
        ]);
        Some(Cached {
            cache,
            context: *blake3::hash(decides.to_string().as_bytes()).as_bytes(),
            rows_per_pass: numerics.rows_per_pass,
        })
    }

    /// What a round of a checkpoint is called while it goes on.
    fn shown(&self, index: usize, round: &str, told: &Told) -> String {
        let (count, name) = (self.snapshots.len(), &self.snapshots[index].name);
        let name = if count > 1 {
            format!("{}/{count} {name}", index + 1)
        } else {
            name.clone()
        };
        if told.readings.rounds.is_empty() {
            return name;
        }
        format!("{name} {round}")
    }

    /// A suite that asks what it has been told, or nothing, would ask forever.
    fn asks_nothing_new(&self) -> Failure {
        let message = format!(
            "the suite `{}` asks nothing new, and does not say that it is done",
            self.study.about().name
        );
        Failure::new(ExitStatus::Unexpected, message, "please report this")
    }
}

/// That too few checkpoints can be asked.
fn none_left(excluded: &[Excluded], left: usize) -> Failure {
    let sentences: Vec<String> = excluded.iter().map(Excluded::sentence).collect();
    let help =
        "use checkpoints whose vocabulary has it, or ask for something else (`concord suites`)";
    let message = match left {
        0 => sentences.join("; "),
        _ => format!("too few are left to compare: {}", sentences.join("; ")),
    };
    Failure::new(ExitStatus::Checkpoint, message, help)
}

/// Whether prompts of a round are written after.
fn writes(prompts: &[Prompt]) -> bool {
    prompts.iter().any(|prompt| most(prompt).is_some())
}

/// The most tokens that are written after a prompt, where it is written after.
fn most(prompt: &Prompt) -> Option<usize> {
    prompt.reads.iter().find_map(|read| match read {
        Read::Generation(sampling) => Some(sampling.max_tokens),
        _ => None,
    })
}

fn asks(round: &Planned) -> Asks {
    match &round.what {
        Laid::Reads(plan) => Asks::of(plan),
        Laid::Writes { lengths, .. } => Asks::of_texts(&round.prompts, lengths),
    }
}

/// Asks a round, laid out or not, for what its journal does not have yet.
fn ask_round(
    name: &str,
    prompts: &[Prompt],
    laid: Option<&Laid>,
    journal: Journal,
    decoder: &mut OnDemand<'_, '_>,
) -> Result<rounds::Round, Failure> {
    let meter = &Terminal::default();
    if writes(prompts) {
        return Ok(rounds::write(prompts, journal, decoder, meter)?);
    }
    let plan = match laid {
        Some(Laid::Reads(plan)) => Some(plan),
        _ => None,
    };
    Ok(rounds::read(name, prompts, plan, journal, decoder, meter)?)
}

/// How a checkpoint is spoken to.
pub(super) fn style(snapshot: &Snapshot, form: Form) -> PromptStyle {
    let lead = match form {
        Form::Completion if !snapshot.vocabulary.begins_with_space() => " ",
        _ => "",
    };
    PromptStyle { form, lead }
}

#[cfg(test)]
mod tests;
