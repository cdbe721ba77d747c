//! Runs the passes of a plan and reads the rows that are asked for.

use crate::ScorerError;
use crate::hidden::{HiddenStore, SpillFile};
use crate::labels::LabelTable;
use crate::memory::Schedule;
use crate::plan::Plan;
use crate::reader::{Cursor, Group, Reader};
use candle_core::{DType, Tensor};
use concord_checkpoint::Snapshot;
use concord_decoder::{Decoder, Pass, Session, Times};
use concord_kernels::awake;
use concord_readings::{Prompt, Reading};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

/// What a run cost, in counts that do not depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prompts read.
    pub prompts: u64,
    /// Tokens of all prompts and continuations, each prompt counted once.
    pub tokens_asked: u64,
    /// Distinct prefixes.
    pub trie_rows: u64,
    /// Rows that went through the decoder.
    pub rows_computed: u64,
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
}

/// Scores prompts with one decoder.
pub struct Scorer<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) decoder: &'a Decoder,
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
            table,
        }
    }

    /// What computes.
    pub fn decoder(&self) -> &Decoder {
        self.decoder
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
        let mut run = Run {
            scorer: self,
            plan,
            session: self.decoder.session(plan.trie.positions())?,
            reader: Reader::new(self, plan),
            cursor: Cursor::default(),
            counts: Counts {
                prompts: plan.prompts.len() as u64,
                tokens_asked: plan.tokens_asked,
                trie_rows: plan.trie.len() as u64,
                ..Counts::default()
            },
        };
        let outcome = match schedule {
            Schedule::PassMajor => run.pass_major(observe),
            Schedule::LayerMajor { spill } => run.layer_major(spill.as_deref(), observe),
        };
        self.decoder.rest();
        if outcome.is_err() {
            run.rescue(observe);
        }
        outcome.map(|()| (run.counts, run.session.times))
    }

    /// Puts the first `wanted` rows through the head, a slice at a time; `each` is given the rows and their logits,
    /// `[rows, vocabulary]`. Returns the operations that this took.
    pub(crate) fn heads(
        &self,
        hidden: &Tensor,
        wanted: usize,
        mut each: impl FnMut(Range<usize>, &Tensor) -> Result<(), ScorerError>,
    ) -> Result<u64, ScorerError> {
        let config = self.decoder.config();
        let most = wanted.min(config.head_rows);
        let vocabulary = self.decoder.spec().vocab_size;
        // One slice of logits stays where it is: new ones would cost a page fault for every four kilobytes.
        let slice = Tensor::zeros((most, vocabulary), DType::F32, hidden.device())?;
        let mut flops = 0;
        for first in (0..wanted).step_by(config.head_rows) {
            let rows = first..wanted.min(first + config.head_rows);
            let logits = slice.narrow(0, 0, rows.len())?; // [rows, vocabulary]
            let hidden = hidden.narrow(0, first, rows.len())?;
            self.decoder.head_into(&hidden, &logits)?;
            flops += self.decoder.head_flops(rows.len());
            each(rows, &logits)?;
        }
        Ok(flops)
    }
}

/// Takes prompts that are complete, and says whether to go on.
type Observe<'o> = dyn FnMut(Progress, Vec<(usize, Reading)>) -> ControlFlow<()> + 'o;

/// One run of a plan.
struct Run<'a> {
    scorer: &'a Scorer<'a>,
    plan: &'a Plan,
    session: Session,
    reader: Reader<'a>,
    cursor: Cursor,
    counts: Counts,
}

impl<'a> Run<'a> {
    /// Every layer for one pass, then the next pass.
    fn pass_major(&mut self, observe: &mut Observe<'_>) -> Result<(), ScorerError> {
        let decoder = self.scorer.decoder;
        for (range, length_class) in self.plan.trie.cuts(decoder.config().rows_per_pass) {
            decoder.enter(&mut self.session, length_class);
            let groups = self.cursor.advance(self.plan, range.end);
            let pass = pass_of(self.plan, range, &groups);
            let hidden = decoder.pass(&mut self.session, &pass)?;
            self.done(&pass, groups, hidden);
            self.report(self.counts.rows_computed, observe)?;
        }
        Ok(())
    }

    /// Every pass for one layer, then the next layer.
    fn layer_major(
        &mut self,
        spill: Option<&Path>,
        observe: &mut Observe<'_>,
    ) -> Result<(), ScorerError> {
        let decoder = self.scorer.decoder;
        let spec = decoder.spec();
        let cuts: Vec<_> = self
            .plan
            .trie
            .cuts(decoder.config().rows_per_pass)
            .collect();
        let mut store = match spill {
            None => HiddenStore::Memory(Vec::with_capacity(cuts.len())),
            Some(folder) => {
                let starts = cuts.iter().map(|(range, _)| range.start);
                let starts = starts.chain([self.plan.trie.len()]).collect();
                HiddenStore::File(SpillFile::new(folder, spec.hidden_size, starts)?)
            }
        };
        let (layers, rows) = (spec.layers.len(), self.plan.trie.len());
        for layer in 0..layers {
            let last = layer + 1 == layers;
            for (number, (range, length_class)) in cuts.iter().enumerate() {
                decoder.enter(&mut self.session, *length_class);
                let groups = if last {
                    self.cursor.advance(self.plan, range.end)
                } else {
                    Vec::new()
                };
                let pass = pass_of(self.plan, range.clone(), &groups);
                let hidden = if layer == 0 {
                    decoder.embed(&pass)?
                } else {
                    store.get(number)?
                };
                let read = decoder.layer_pass(&mut self.session, layer, &pass, &hidden)?;
                if last {
                    drop(hidden);
                    store.forget(number)?;
                    self.done(&pass, groups, read);
                } else {
                    store.put(number, hidden)?;
                }
                self.report(((layer * rows + range.end) / layers) as u64, observe)?;
            }
        }
        Ok(())
    }

    /// A pass has gone through all layers.
    fn done(&mut self, pass: &Pass, groups: Vec<Group<'a>>, hidden: Option<Tensor>) {
        self.counts.product_flops += self.scorer.decoder.pass_flops(pass);
        self.counts.rows_computed += pass.len() as u64;
        self.counts.passes += 1;
        self.reader.take(groups, hidden);
    }

    /// Reads what is due and hands over what is complete.
    fn report(&mut self, rows_done: u64, observe: &mut Observe<'_>) -> Result<(), ScorerError> {
        let done = self.counts.rows_computed == self.counts.trie_rows;
        match self.hand_over(rows_done, done, observe)? {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ScorerError::Stopped),
        }
    }

    /// Reads what waits for the head, however the run ended: it was paid for. The run's own error is what is said.
    fn rescue(&mut self, observe: &mut Observe<'_>) {
        let _ = self.hand_over(self.counts.rows_computed, true, observe);
    }

    /// Puts waiting rows through the head, `all` or where it is time, and gives what is complete away.
    fn hand_over(
        &mut self,
        rows_done: u64,
        all: bool,
        observe: &mut Observe<'_>,
    ) -> Result<ControlFlow<()>, ScorerError> {
        let times = &mut self.session.times;
        let complete = self.reader.read(all, &mut self.counts, times)?;
        let progress = Progress {
            rows_done,
            rows: self.counts.trie_rows,
        };
        Ok(observe(progress, complete))
    }
}

/// The rows of a cut, of which those of the groups are read.
fn pass_of(plan: &Plan, range: Range<usize>, groups: &[Group<'_>]) -> Pass {
    let start = u32::try_from(range.start).unwrap_or(u32::MAX);
    let read: Vec<u32> = groups.iter().map(|group| group.row - start).collect();
    let next_depth = plan.trie.depths.get(range.end).copied().unwrap_or(0);
    let (tokens, depths) = (&plan.trie.tokens[range.clone()], &plan.trie.depths[range]);
    Pass::new(tokens, depths, next_depth, &read)
}
