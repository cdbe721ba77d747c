//! The decoders of a run's checkpoints: loaded when they are first needed, or while the one before computes.

use crate::{Allowed, Cached, Event, Machine, SessionError, sharing};
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_decoder::{Decoder, DecoderError, WeightSizes};
use concord_kernels::KernelConfig;
use concord_readings::{Prompt, Read};
use concord_scorer::{Demand, Keep, LabelTable, MemoryPlan, Plan, Schedule, Scorer, Spill};
use std::sync::Arc;
use std::time::Instant;

/// The first checkpoint, which stays loaded where adapters are put on it.
pub struct Base<'a> {
    snapshot: &'a Snapshot,
    kept: bool,
    /// On every device.
    decoders: Vec<Decoder>,
}

/// The decoders of one checkpoint of a run, one on every device.
enum Loaded<'a> {
    Own(Vec<Decoder>),
    Base(&'a [Decoder]),
}

impl<'a> Base<'a> {
    /// `kept` where adapters are put on it.
    pub fn new(snapshot: &'a Snapshot, kept: bool) -> Self {
        Self {
            snapshot,
            kept,
            decoders: Vec::new(),
        }
    }

    /// The decoder of a checkpoint: the base itself, an adapter put on it, or another.
    fn decoder(
        &mut self,
        snapshot: &Snapshot,
        dtype: DType,
        machine: &Machine,
        schedule: &Schedule,
    ) -> Result<Loaded<'_>, DecoderError> {
        let load = |snapshot: &Snapshot| machine.load(schedule, snapshot, dtype);
        if !self.kept {
            return Ok(Loaded::Own(load(snapshot)?));
        }
        if self.decoders.is_empty() {
            let name = &self.snapshot.name;
            let loaded = machine.timeline.time("load", name, || load(self.snapshot));
            self.decoders = loaded?;
        }
        let adapted = self
            .decoders
            .iter()
            .filter(|base| base.is_base_of(snapshot));
        let adapted = adapted.map(|base| base.adapted(snapshot));
        let adapted = adapted.collect::<Result<Vec<_>, _>>()?;
        Ok(if adapted.is_empty() {
            Loaded::Base(&self.decoders)
        } else {
            Loaded::Own(adapted)
        })
    }
}

impl Loaded<'_> {
    fn all(&self) -> &[Decoder] {
        match self {
            Self::Own(decoders) => decoders,
            Self::Base(decoders) => decoders,
        }
    }

    fn first(&self) -> &Decoder {
        &self.all()[0]
    }
}

/// The decoder of a checkpoint, loaded when it is first needed.
pub struct OnDemand<'b, 'a> {
    base: Option<&'b mut Base<'a>>,
    /// The checkpoint.
    pub snapshot: &'a Snapshot,
    dtype: DType,
    machine: &'a Machine,
    allowed: &'a Allowed,
    loaded: Option<Loaded<'b>>,
    /// The spellings of labels in the checkpoint's vocabulary, where they are known.
    pub table: Option<Arc<LabelTable>>,
    /// What will be asked after what is asked first.
    pub later: Vec<Asks>,
    /// The checkpoint that comes after this one, loaded while this one computes.
    next: Option<&'a Snapshot>,
    /// What loading took.
    pub seconds: f64,
    /// Where what was read is kept, and looked for before it is read again.
    pub cached: Option<Cached>,
}

impl<'b, 'a> OnDemand<'b, 'a> {
    /// Of a checkpoint, on a machine, within what is allowed.
    pub fn new(
        base: &'b mut Base<'a>,
        snapshot: &'a Snapshot,
        machine: &'a Machine,
        allowed: &'a Allowed,
    ) -> Self {
        Self {
            base: Some(base),
            snapshot,
            dtype: machine.dtype(snapshot),
            machine,
            allowed,
            loaded: None,
            table: None,
            later: Vec::new(),
            next: None,
            seconds: 0.0,
            cached: None,
        }
    }

    /// Says which checkpoint comes next, so that it can be loaded meanwhile.
    #[must_use]
    pub fn before(mut self, next: Option<&'a Snapshot>) -> Self {
        self.next = next;
        self
    }

    /// Plans the memory for what is asked, says so, and loads what the schedule keeps.
    fn load(&mut self, asks: &Asks) -> Result<MemoryPlan, SessionError> {
        let later = std::mem::take(&mut self.later);
        let asked: Vec<&Asks> = std::iter::once(asks).chain(&later).collect();
        if self.loaded.is_none() && self.machine.is_loaded_early() {
            // It was loaded before it was known what is asked: where its layers are to be streamed, that was in vain.
            let is_resident = self
                .planned(&asked)
                .is_ok_and(|(_, plan)| plan.schedule == Schedule::PassMajor);
            if !is_resident {
                self.machine.forget_ahead();
            }
        }
        if self.loaded.is_none()
            && let Some((decoders, beside_another)) = self.machine.loaded_ahead(self.snapshot)
        {
            if beside_another {
                self.machine.tell(&Event::LoadedAhead {
                    name: &self.snapshot.name,
                });
            }
            self.base = None;
            self.loaded = Some(Loaded::Own(decoders));
        }
        let (allowed, plan) = self.planned(&asked)?;
        self.machine.apply(&allowed, &self.snapshot.name, &plan);
        if let Some(base) = self.base.take() {
            let (begun, is_kept) = (Instant::now(), base.kept);
            let loaded = base.decoder(self.snapshot, self.dtype, self.machine, &plan.schedule);
            self.loaded = Some(loaded.map_err(|source| SessionError::Load {
                name: self.snapshot.name.clone(),
                source,
            })?);
            self.seconds = begun.elapsed().as_secs_f64();
            // A base that stays loaded has noted for itself when it was.
            let what = match (is_kept, &self.snapshot.adapter) {
                (false, _) => Some("load"),
                (true, Some(_)) => Some("adapt"),
                (true, None) => None,
            };
            if let Some(what) = what {
                let ran = begun..Instant::now();
                self.machine.timeline.note(what, &self.snapshot.name, ran);
            }
        }
        if plan.schedule == Schedule::PassMajor
            && let Some(next) = self.next.take().filter(|next| next.server.is_none())
        {
            self.machine.load_ahead(next, self.allowed, &plan);
        }
        Ok(plan)
    }

    /// The plan of memory for what is asked, without doing what it says.
    ///
    /// # Errors
    /// [`SessionError`] where there is no room for it.
    pub fn plan(&self, asks: &Asks) -> Result<MemoryPlan, SessionError> {
        Ok(self.planned(&[asks])?.1)
    }

    /// The plan of memory for rounds that are asked one after the other, and what it is within.
    fn planned(&self, asked: &[&Asks]) -> Result<(Allowed, MemoryPlan), SessionError> {
        let (sizes, form) = self.sizes();
        let allowed = Allowed {
            wanted: self.allowed.wanted_of(form),
            loaded: self.loaded.is_some(),
            spill: self.spill(),
            ..self.allowed.clone()
        };
        let config = self.machine.config();
        let demands = demands(self.machine, self.snapshot, &sizes, &config, asked);
        let plan = self.machine.plan(&allowed, &self.snapshot.name, &demands)?;
        Ok((allowed, plan))
    }

    /// What weights will take beside what is loaded, and, where that decides it, whether layers are streamed.
    fn sizes(&self) -> (WeightSizes, Option<bool>) {
        let engine = self.machine.first();
        let of = |snapshot: &Snapshot, loaded| {
            Decoder::weight_sizes(snapshot, self.dtype, engine, loaded)
        };
        let whole = of(self.snapshot, false);
        if let Some(loaded) = &self.loaded {
            let streamed = loaded.first().is_streamed();
            return (whole.once_loaded(streamed), Some(streamed));
        }
        let Some(base) = self.base.as_ref().filter(|base| base.kept) else {
            return (whole, None);
        };
        // An adapter adds what it changes to its base.
        let changed = match self.snapshot.adapter {
            Some(_) => of(self.snapshot, true),
            None => whole.once_loaded(false),
        };
        match base.decoders.first() {
            Some(decoder) if decoder.is_streamed() => (
                WeightSizes {
                    outer: changed.outer,
                    reading_head: changed.reading_head,
                    ..whole
                },
                Some(true),
            ),
            Some(_) => (changed, Some(false)),
            None => {
                let base = of(base.snapshot, false);
                let both = WeightSizes {
                    outer: base.outer + changed.outer,
                    layers: base
                        .layers
                        .iter()
                        .zip(&changed.layers)
                        .map(|(a, b)| a + b)
                        .collect(),
                    reading: base.reading.max(changed.reading),
                    reading_head: base.reading_head,
                };
                (both, None)
            }
        }
    }

    /// Where rows between layers of this checkpoint go.
    pub fn spill(&self) -> Spill {
        spill_of(self.allowed, self.snapshot)
    }

    /// What it computes on.
    pub fn machine(&self) -> &'a Machine {
        self.machine
    }

    /// The spellings of labels in the checkpoint's vocabulary.
    pub fn table(&mut self) -> Arc<LabelTable> {
        let table = self
            .table
            .get_or_insert_with(|| Arc::new(LabelTable::new(&self.snapshot.vocabulary)));
        Arc::clone(table)
    }

    /// A scorer of the checkpoint, which is loaded where it is not yet, and the plan of memory.
    ///
    /// # Errors
    /// [`SessionError`] where there is no room for it, or it cannot be loaded.
    pub fn scorer(&mut self, asks: &Asks) -> Result<(Scorer<'_>, MemoryPlan), SessionError> {
        if let Some(server) = &self.snapshot.server {
            return Err(SessionError::Served {
                name: self.snapshot.name.clone(),
                source: server.cannot("that", "its weights are not here"),
            });
        }
        let plan = self.load(asks)?;
        let table = self.table();
        match &self.loaded {
            Some(loaded) => {
                let scorer = Scorer::with_table(self.snapshot, loaded.first(), table);
                Ok((sharing(scorer, &loaded.all()[1..], &plan), plan))
            }
            // A failed load was an error, and ended the run.
            None => Err(SessionError::NotLoaded),
        }
    }
}

/// Where rows between layers of a checkpoint go.
pub fn spill_of(allowed: &Allowed, snapshot: &Snapshot) -> Spill {
    let Spill { folder, keep } = allowed.spill.clone();
    let keep = keep.map(|Keep(run)| Keep(format!("{run}\n{}", snapshot.name)));
    Spill { folder, keep }
}

/// Plans what a checkpoint is asked while nothing is loaded, and says nothing of it.
pub fn has_room(
    machine: &Machine,
    allowed: &Allowed,
    snapshot: &Snapshot,
    asks: impl Iterator<Item = Asks>,
) -> Result<MemoryPlan, SessionError> {
    let config = machine.config();
    let sizes = Decoder::weight_sizes(snapshot, machine.dtype(snapshot), machine.first(), false);
    let asks: Vec<Asks> = asks.collect();
    let asks: Vec<&Asks> = asks.iter().collect();
    let demands = demands(machine, snapshot, &sizes, &config, &asks);
    machine.plan(allowed, &snapshot.name, &demands)
}

/// What decides the memory of each of several rounds, whose readings are all kept.
fn demands<'d>(
    machine: &'d Machine,
    snapshot: &'d Snapshot,
    weights: &'d WeightSizes,
    config: &'d KernelConfig,
    asks: &[&Asks],
) -> Vec<Demand<'d>> {
    let readings = asks.iter().map(|asks| asks.readings).sum();
    let dtype = machine.dtype(snapshot);
    let demand = |asks: &&Asks| Demand {
        spec: &snapshot.spec,
        weights,
        engine: machine.first(),
        dtype,
        config,
        rows: asks.rows,
        positions: asks.positions,
        readings,
        texts: asks.texts,
    };
    asks.iter().map(demand).collect()
}

/// How much a decoder is asked at once.
pub struct Asks {
    /// Rows of the trie, or of all prompts.
    pub rows: u64,
    /// The longest sequence.
    pub positions: u64,
    /// Bytes of readings.
    pub readings: u64,
    /// Texts that are written.
    pub texts: u64,
}

impl Asks {
    /// Of a plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            rows: plan.trie.len() as u64,
            positions: plan.trie.positions() as u64,
            readings: plan.reading_bytes(),
            texts: 0,
        }
    }

    /// So many times as much of equal length.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.rows *= count;
        self.readings *= count;
        self.texts *= count;
        self
    }

    /// Of texts that are written after prompts of these lengths.
    pub fn of_texts(prompts: &[Prompt], lengths: &[usize]) -> Self {
        let most = |prompt: &Prompt| match prompt.reads.first() {
            Some(Read::Generation(sampling)) => sampling.max_tokens,
            _ => 0,
        };
        let rows = prompts.iter().zip(lengths);
        let rows = rows.map(|(prompt, length)| (length + most(prompt)) as u64);
        let tokens: u64 = prompts.iter().map(|prompt| most(prompt) as u64).sum();
        Self {
            rows: lengths.iter().sum::<usize>() as u64,
            positions: rows.max().unwrap_or(0),
            // A token, its log-probability and some letters.
            readings: 16 * tokens,
            texts: prompts.len() as u64,
        }
    }
}
