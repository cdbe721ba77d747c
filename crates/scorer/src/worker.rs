//! One device's part of a run: the passes of some of the trie's rows.

use crate::hidden::{HiddenStore, HostStreams, SpillFile};
use crate::kept::KeptRows;
use crate::memory::{Keep, Schedule, Spill};
use crate::plan::Plan;
use crate::reader::{Cursor, Group, Reader, Slots};
use crate::scorer::{Observe, Progress};
use crate::{Counts, Scorer, ScorerError};
use concord_decoder::{Decoder, Pass, Session, Times};
use concord_kernels::{Engine, Rows};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the workers of a run share.
pub(crate) struct Shared<'a, 'o> {
    pub scorer: &'a Scorer<'a>,
    pub plan: &'a Plan,
    pub slots: Mutex<Slots>,
    pub observe: Mutex<&'o mut Observe<'o>>,
    /// Rows computed so far, or as much work as that.
    pub rows_done: AtomicU64,
    /// How often memory ran out and passes were made shorter.
    pub shortened: AtomicU32,
    /// Whether a worker has stopped before its end: the others stop too.
    pub stopped: AtomicBool,
}

impl Shared<'_, '_> {
    /// Gives away what is complete.
    fn give(&self) -> Result<ControlFlow<()>, ScorerError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let complete = slots.take_complete(self.plan, &self.scorer.table)?;
        drop(slots);
        let progress = Progress {
            rows_done: self.rows_done.load(Ordering::Relaxed),
            rows: self.plan.trie.len() as u64,
            shortened: self.shortened.load(Ordering::Relaxed),
        };
        let mut observe = self.observe.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((*observe)(progress, complete))
    }

    /// Gives away what is complete without a pass.
    pub fn give_what_is_complete(&self) -> Result<(), ScorerError> {
        match self.give()? {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ScorerError::Stopped),
        }
    }
}

/// One device's part of a run.
pub(crate) struct Worker<'a, 'o> {
    shared: &'a Shared<'a, 'o>,
    decoder: &'a Decoder,
    rows: Range<usize>,
    session: Session,
    reader: Reader<'a>,
    cursor: Cursor,
    counts: Counts,
    /// What this worker has added to the shared rows.
    reported: u64,
    /// How often its passes were made shorter.
    shortened: u32,
}

/// What a pass computes.
#[derive(Clone, Debug)]
enum Part {
    /// The path to the first row of what follows, again: rows of the trie, by depth, and how long the path is.
    Path { rows: Vec<u32>, length: u32 },
    /// Rows of the trie.
    Rows(Range<usize>),
}

/// A pass and the length class of its sequences.
type Cut = (Part, usize);

/// How often passes of one device may be made shorter in a run.
const MOST_SHORTENED: u32 = 5;

impl<'a, 'o> Worker<'a, 'o> {
    pub fn new(
        shared: &'a Shared<'a, 'o>,
        decoder: &'a Decoder,
        rows: Range<usize>,
    ) -> Result<Self, ScorerError> {
        let mut cursor = Cursor::default();
        // What is read before the first row is another worker's.
        cursor.advance(shared.plan, rows.start);
        Ok(Self {
            shared,
            decoder,
            rows,
            session: decoder.session(shared.plan.trie.positions())?,
            reader: Reader::new(decoder, shared.plan),
            cursor,
            counts: Counts::default(),
            reported: 0,
            shortened: 0,
        })
    }

    /// Runs every pass. What it cost and where the time went are given however it ends.
    pub fn run(mut self, schedule: &Schedule) -> (Counts, Times, Result<(), ScorerError>) {
        let outcome = match schedule {
            Schedule::PassMajor => self.pass_major(),
            Schedule::LayerMajor { spill } => self.layer_major(spill.as_ref()),
        };
        self.decoder.rest();
        if outcome.is_err() {
            self.shared.stopped.store(true, Ordering::Relaxed);
            // What waits for the head was paid for. The run's own error is what is said.
            let _ = self.hand_over(true);
        }
        self.session.times.settle();
        (self.counts, self.session.times, outcome)
    }

    /// The passes from a row on; the first may be the path to it.
    fn cuts(&self, from: usize) -> Vec<Cut> {
        let (trie, most) = (&self.shared.plan.trie, self.decoder.pass_rows());
        let mut cuts: Vec<Cut> = Vec::new();
        if from < self.rows.end && trie.depths[from] > 0 {
            let path = trie.path_to(from);
            let class = trie
                .cuts_of(from..from + 1, 1)
                .next()
                .map_or(0, |(_, class)| class);
            let mut length = 0;
            for rows in path.chunks(most) {
                length += u32::try_from(rows.len()).unwrap_or(u32::MAX);
                let rows = rows.to_vec();
                cuts.push((Part::Path { rows, length }, class));
            }
        }
        let rows = trie.cuts_of(from..self.rows.end, most);
        cuts.extend(rows.map(|(range, class)| (Part::Rows(range), class)));
        cuts
    }

    /// Every layer for one pass, then the next pass.
    fn pass_major(&mut self) -> Result<(), ScorerError> {
        let mut cuts = self.cuts(self.rows.start);
        let mut next = 0;
        while let Some((part, class)) = cuts.get(next).cloned() {
            self.decoder.enter(&mut self.session, class);
            let before = self.cursor;
            let groups = self.groups(&part);
            let pass = self.pass_of(&part, &groups);
            match self.decoder.pass(&mut self.session, &pass) {
                Ok(hidden) => {
                    self.done(&part, &pass, groups, hidden);
                    next += 1;
                    self.report(0)?;
                }
                Err(error) if error.is_out_of_memory() && self.shorten() => {
                    self.cursor = before;
                    self.begin_again()?;
                    let first = match &part {
                        Part::Rows(range) => range.start,
                        Part::Path { .. } => first_row(&cuts[next..]).unwrap_or(self.rows.end),
                    };
                    cuts = self.cuts(first);
                    next = 0;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Every pass for one layer, then the next layer.
    fn layer_major(&mut self, spill: Option<&Spill>) -> Result<(), ScorerError> {
        loop {
            let before = self.cursor;
            match self.every_layer(spill) {
                // Before a pass is through the last layer nothing was read: the work is begun again.
                Err(error)
                    if error.is_out_of_memory() && self.counts.passes == 0 && self.shorten() =>
                {
                    self.cursor = before;
                    self.begin_again()?;
                }
                other => return other,
            }
        }
    }

    /// A session at the root, with the times of the one before.
    fn begin_again(&mut self) -> Result<(), ScorerError> {
        let positions = self.shared.plan.trie.positions();
        let times = std::mem::take(&mut self.session.times);
        self.session = self.decoder.session(positions)?;
        self.session.times = times;
        Ok(())
    }

    fn every_layer(&mut self, spill: Option<&Spill>) -> Result<(), ScorerError> {
        let (decoder, engine) = (self.decoder, self.decoder.engine());
        let spec = decoder.spec();
        let cuts = self.cuts(self.rows.start);
        let mut store = match spill {
            Some(spill) => {
                let mut starts = vec![0];
                for (part, _) in &cuts {
                    starts.push(starts[starts.len() - 1] + part.len());
                }
                let (folder, hidden) = (&spill.folder, spec.hidden_size);
                match &spill.keep {
                    None => HiddenStore::File(SpillFile::new(folder, hidden, starts)?),
                    Some(keep) => {
                        let name = format!("{}-{}", keep.name(), self.rows.start);
                        let identity = self.identity(keep, &starts);
                        let kept = KeptRows::open(folder, &name, identity, hidden, starts)?;
                        HiddenStore::Kept(kept)
                    }
                }
            }
            None if self.shared.scorer.streams_on_host && is_apart(engine) => {
                HiddenStore::Host(HostStreams::new(spec.hidden_size, cuts.len()))
            }
            None => HiddenStore::Device(vec![None; cuts.len()]),
        };
        let (layers, rows) = (spec.layers.len(), self.rows.len());
        for layer in store.layers()..layers {
            let last = layer + 1 == layers;
            for (number, (part, class)) in cuts.iter().enumerate() {
                decoder.enter(&mut self.session, *class);
                let groups = if last { self.groups(part) } else { Vec::new() };
                let pass = self.pass_of(part, &groups);
                let mut hidden = match layer {
                    0 => decoder.embed(&pass)?,
                    _ => store.take(number, engine)?,
                };
                let read = decoder.layer_pass(&mut self.session, layer, &pass, &mut hidden)?;
                if last {
                    self.done(part, &pass, groups, read);
                } else {
                    store.put(number, hidden, engine)?;
                }
                if let Part::Rows(range) = part {
                    let done = layer * rows + range.end - self.rows.start;
                    self.report((done / layers) as u64)?;
                }
            }
            if !last {
                store.layer_is_whole()?;
            }
        }
        store.remove()
    }

    /// What decides the rows of all passes.
    fn identity(&self, keep: &Keep, starts: &[usize]) -> blake3::Hash {
        let trie = &self.shared.plan.trie;
        let mut hasher = blake3::Hasher::new();
        hasher.update(keep.0.as_bytes());
        let spec = self.decoder.spec();
        let numbers = [spec.layers.len(), spec.hidden_size, self.rows.start];
        for number in numbers.into_iter().chain(starts.iter().copied()) {
            hasher.update(&(number as u64).to_le_bytes());
        }
        hasher.update(bytemuck::cast_slice(&trie.tokens));
        hasher.update(bytemuck::cast_slice(&trie.depths));
        hasher.finalize()
    }

    /// What is read in a pass.
    fn groups(&mut self, part: &Part) -> Vec<Group<'a>> {
        match part {
            Part::Rows(range) => self.cursor.advance(self.shared.plan, range.end),
            Part::Path { .. } => Vec::new(),
        }
    }

    /// The rows of a part, of which those of the groups are read.
    fn pass_of(&self, part: &Part, groups: &[Group<'_>]) -> Pass {
        let trie = &self.shared.plan.trie;
        match part {
            Part::Path { rows, length } => {
                let of = |list: &[u32]| rows.iter().map(|row| list[*row as usize]).collect();
                let (tokens, depths): (Vec<u32>, Vec<u32>) = (of(&trie.tokens), of(&trie.depths));
                Pass::new(&tokens, &depths, *length, &[])
            }
            Part::Rows(range) => {
                let start = u32::try_from(range.start).unwrap_or(u32::MAX);
                let read: Vec<u32> = groups.iter().map(|group| group.row - start).collect();
                // What follows the last row of this worker is another's.
                let after = (range.end < self.rows.end).then(|| trie.depths[range.end]);
                let range = range.clone();
                let (tokens, depths) = (&trie.tokens[range.clone()], &trie.depths[range]);
                Pass::new(tokens, depths, after.unwrap_or(0), &read)
            }
        }
    }

    /// A pass has gone through all layers.
    fn done(&mut self, part: &Part, pass: &Pass, groups: Vec<Group<'a>>, hidden: Option<Rows>) {
        self.counts.product_flops += self.decoder.pass_flops(pass);
        match part {
            Part::Rows(_) => self.counts.rows_computed += pass.len() as u64,
            Part::Path { .. } => self.counts.rows_again += pass.len() as u64,
        }
        self.counts.passes += 1;
        self.reader.take(groups, hidden);
    }

    /// Reads what is due and hands over what is complete; `as_much` is work beyond the rows that are computed, as rows.
    fn report(&mut self, as_much: u64) -> Result<(), ScorerError> {
        let rows_done = self.counts.rows_computed.max(as_much);
        let more = rows_done.saturating_sub(self.reported);
        self.reported += more;
        self.shared.rows_done.fetch_add(more, Ordering::Relaxed);
        let all = self.counts.rows_computed == self.rows.len() as u64;
        match self.hand_over(all)? {
            ControlFlow::Continue(()) if !self.shared.stopped.load(Ordering::Relaxed) => Ok(()),
            _ => Err(ScorerError::Stopped),
        }
    }

    /// Puts waiting rows through the head, `all` or where it is time, and gives what is complete away.
    fn hand_over(&mut self, all: bool) -> Result<ControlFlow<()>, ScorerError> {
        let times = &mut self.session.times;
        self.reader
            .read(all, &mut self.counts, times, &self.shared.slots)?;
        self.shared.give()
    }

    /// Makes passes half as long, where that may help.
    fn shorten(&mut self) -> bool {
        let Some(gpu) = self.decoder.engine().gpu() else {
            return false;
        };
        let rows = gpu.pass_rows();
        if rows < 32 || self.shortened >= MOST_SHORTENED {
            return false;
        }
        self.shortened += 1;
        self.shared.shortened.fetch_add(1, Ordering::Relaxed);
        gpu.set_pass_rows(rows / 2);
        gpu.trim();
        true
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Path { rows, .. } => rows.len(),
            Self::Rows(range) => range.len(),
        }
    }
}

fn first_row(cuts: &[Cut]) -> Option<usize> {
    cuts.iter().find_map(|(part, _)| match part {
        Part::Rows(range) => Some(range.start),
        Part::Path { .. } => None,
    })
}

/// Whether the device's memory is not the host's.
fn is_apart(engine: &Engine) -> bool {
    !matches!(engine, Engine::Cpu(..))
}
