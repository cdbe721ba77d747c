//! Runs the passes of a plan and reads the rows that are asked for.

use crate::ScorerError;
use crate::labels::LabelTable;
use crate::memory::Schedule;
use crate::plan::Plan;
use crate::reader::Slots;
use crate::threads::at_once;
use crate::worker::{Shared, Worker};
use concord_checkpoint::Snapshot;
use concord_decoder::{Decoder, Times};
use concord_kernels::awake;
use concord_readings::{Prompt, Reading};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What a run cost, in counts that do not depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prompts read.
    pub prompts: u64,
    /// Tokens of all prompts, continuations and spellings of texts, each prompt counted once.
    pub tokens_asked: u64,
    /// Distinct prefixes.
    pub trie_rows: u64,
    /// Rows that went through the decoder.
    pub rows_computed: u64,
    /// Rows that went through it again: paths to where another device begins, or to where a run goes on with shorter passes.
    pub rows_again: u64,
    /// How often a device's memory ran out and its passes were made shorter.
    pub shortened: u64,
    /// Rows that went through the head.
    pub rows_read: u64,
    /// Passes.
    pub passes: u64,
    /// Operations of all matrix products, the head's included.
    pub product_flops: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rows computed.
    pub rows_done: u64,
    /// Rows of the trie.
    pub rows: u64,
    /// How often a device's memory ran out and its passes were made shorter.
    pub shortened: u32,
}

/// Scores prompts with one decoder.
pub struct Scorer<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) decoder: &'a Decoder,
    /// Decoders of the same checkpoint on other devices.
    others: Vec<&'a Decoder>,
    /// Whether rows between layers wait in the host's memory, where the device has its own.
    pub(crate) streams_on_host: bool,
    pub(crate) table: Arc<LabelTable>,
}

impl<'a> Scorer<'a> {
    /// Prepares to read labels of the snapshot's vocabulary.
    pub fn new(snapshot: &'a Snapshot, decoder: &'a Decoder) -> Self {
        let table = LabelTable::new(&snapshot.vocabulary);
        Self::with_table(snapshot, decoder, Arc::new(table))
    }

    /// The same with a table that was made before, to plan without a decoder.
    pub fn with_table(
        snapshot: &'a Snapshot,
        decoder: &'a Decoder,
        table: Arc<LabelTable>,
    ) -> Self {
        Self {
            snapshot,
            decoder,
            others: Vec::new(),
            streams_on_host: false,
            table,
        }
    }

    /// Shares the work with decoders of the same checkpoint on other devices: each takes a part of the trie.
    #[must_use]
    pub fn sharing(mut self, others: Vec<&'a Decoder>) -> Self {
        self.others = others;
        self
    }

    /// Lets rows between layers wait in the host's memory, where the device has its own.
    #[must_use]
    pub fn with_streams_on_host(mut self, on_host: bool) -> Self {
        self.streams_on_host = on_host;
        self
    }

    /// What computes.
    pub fn decoder(&self) -> &Decoder {
        self.decoder
    }

    /// The decoder and those on other devices.
    pub(crate) fn decoders(&self) -> impl Iterator<Item = &'a Decoder> {
        [self.decoder]
            .into_iter()
            .chain(self.others.iter().copied())
    }

    /// Tokenises prompts and lays out their trie.
    ///
    /// # Errors
    /// [`ScorerError`] naming the prompt or label.
    pub fn plan(&self, prompts: &[Prompt]) -> Result<Plan, ScorerError> {
        Plan::new(self.snapshot, &self.table, prompts)
    }

    /// Plans and runs prompts pass by pass, and returns the readings in their order.
    ///
    /// # Errors
    /// As [`Scorer::run`].
    pub fn score(&self, prompts: &[Prompt]) -> Result<(Vec<Reading>, Counts), ScorerError> {
        self.score_by(prompts, &Schedule::PassMajor)
    }

    /// [`Scorer::score`] on a schedule.
    ///
    /// # Errors
    /// As [`Scorer::run`].
    pub fn score_by(
        &self,
        prompts: &[Prompt],
        schedule: &Schedule,
    ) -> Result<(Vec<Reading>, Counts), ScorerError> {
        let plan = self.plan(prompts)?;
        let mut readings: Vec<Option<Reading>> = vec![None; prompts.len()];
        let (counts, _) = self.run(&plan, schedule, |_, done| {
            for (index, reading) in done {
                readings[index] = Some(reading);
            }
            ControlFlow::Continue(())
        })?;
        Ok((readings.into_iter().flatten().collect(), counts))
    }

    /// Runs every pass. After each, `observe` is given the prompts that are now complete (their number in the plan and
    /// their reading) and may stop the run. Returns what it cost and where the time went.
    ///
    /// # Numerics
    /// The readings are the same bits on every [`Schedule`]. Layer-major, none is complete before the last layer.
    ///
    /// # Errors
    /// [`ScorerError::NotFinite`], [`ScorerError::Decoder`], [`ScorerError::Spill`]; [`ScorerError::Stopped`] where `observe`
    /// says so.
    pub fn run(
        &self,
        plan: &Plan,
        schedule: &Schedule,
        mut observe: impl FnMut(Progress, Vec<(usize, Reading)>) -> ControlFlow<()> + Send,
    ) -> Result<(Counts, Times), ScorerError> {
        awake(|| self.run_here(plan, schedule, &mut observe))
    }

    fn run_here(
        &self,
        plan: &Plan,
        schedule: &Schedule,
        observe: &mut Observe<'_>,
    ) -> Result<(Counts, Times), ScorerError> {
        let shared = Shared {
            scorer: self,
            plan,
            slots: Mutex::new(Slots::new(plan)),
            observe: Mutex::new(observe),
            rows_done: AtomicU64::new(0),
            shortened: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
        };
        let mut counts = Counts {
            prompts: plan.prompts.len() as u64,
            tokens_asked: plan.tokens_asked,
            trie_rows: plan.trie.len() as u64,
            ..Counts::default()
        };
        if plan.trie.is_empty() {
            // No pass will give away what is complete without any.
            return shared
                .give_what_is_complete()
                .map(|()| (counts, Times::default()));
        }
        let parts = plan.trie.parts(1 + self.others.len());
        let workers = self.decoders().zip(parts);
        let workers = workers.map(|(decoder, rows)| Worker::new(&shared, decoder, rows));
        let workers = workers.collect::<Result<Vec<_>, _>>()?;
        let outcomes = at_once(workers.into_iter(), |worker| worker.run(schedule));
        counts.shortened = u64::from(shared.shortened.load(Ordering::Relaxed));
        let mut times = Times::default();
        let mut error: Option<ScorerError> = None;
        for (more, of_worker, outcome) in outcomes {
            counts.add(&more);
            times.add(&of_worker);
            if let Err(other) = outcome {
                // What one worker met is what is said; that others stopped is its consequence.
                let is_stop = matches!(error, None | Some(ScorerError::Stopped));
                error = if is_stop { Some(other) } else { error };
            }
        }
        error.map_or(Ok((counts, times)), Err)
    }
}

impl Counts {
    /// Adds what a worker cost.
    fn add(&mut self, more: &Self) {
        self.rows_computed += more.rows_computed;
        self.rows_again += more.rows_again;
        self.rows_read += more.rows_read;
        self.passes += more.passes;
        self.product_flops += more.product_flops;
    }
}

/// Takes prompts that are complete, and says whether to go on.
pub(crate) type Observe<'o> =
    dyn FnMut(Progress, Vec<(usize, Reading)>) -> ControlFlow<()> + Send + 'o;
