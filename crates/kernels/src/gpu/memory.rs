//! Memory of a device: buffers that are taken again as they come back, and what goes to and fro.

use super::raw::{Address, Context, Event, Pinned, Stream};
use super::{Gpu, GpuError};
use rayon::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Memory on a device, given back when nobody has it any more.
///
/// All work runs on one queue: who takes a buffer after another works on it after the other. Weights come on a second queue, and have
/// memory of their own: who takes it waits for the work that used it last.
pub(crate) struct Buffer {
    gpu: Arc<Gpu>,
    address: Address,
    /// What was taken, which may be more than was asked for.
    bytes: usize,
    is_weight: bool,
}

impl Buffer {
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(super) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let gpu = &self.gpu;
        let used = self.is_weight.then(|| {
            let event = gpu.context.event(false)?;
            gpu.work.record(&event)?;
            Ok::<_, GpuError>(event)
        });
        gpu.pool.give_back(self.address, self.bytes, used);
    }
}

/// What was given back.
pub(super) struct Pool {
    context: Arc<Context>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By size.
    free: BTreeMap<usize, Vec<Address>>,
    /// That of weights, with the work that used it last.
    free_of_weights: BTreeMap<usize, Vec<(Address, Event)>>,
    taken: usize,
    kept: usize,
    peak: usize,
    cap: Option<usize>,
}

/// Sizes are rounded up by at most an eighth, so that buffers fit each other.
fn rounded(bytes: usize) -> usize {
    let bytes = bytes.max(512);
    let step = (bytes.next_power_of_two() / 16).max(512);
    bytes.next_multiple_of(step)
}

/// Weights are many and stay: the large ones are rounded up by little.
fn rounded_weight(bytes: usize) -> usize {
    const LARGE: usize = 2 << 20;
    if bytes < LARGE {
        return rounded(bytes);
    }
    bytes.next_multiple_of(LARGE)
}

/// A block of at least so many bytes, and not of many more, with its size.
fn fitting<T>(free: &mut BTreeMap<usize, Vec<T>>, bytes: usize) -> Option<(T, usize)> {
    let (size, blocks) = free.range_mut(bytes..=bytes / 4 * 5).next()?;
    let (block, size) = (blocks.pop()?, *size);
    if blocks.is_empty() {
        free.remove(&size);
    }
    Some((block, size))
}

impl Pool {
    pub fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            state: Mutex::default(),
        }
    }

    fn take(&self, bytes: usize) -> Result<(Address, usize), GpuError> {
        let bytes = rounded(bytes);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check(bytes)?;
        if let Some((address, size)) = fitting(&mut state.free, bytes) {
            state.kept -= size;
            state.count(size);
            return Ok((address, size));
        }
        Ok((self.fresh(&mut state, bytes)?, bytes))
    }

    /// Memory for a weight, and the work that is to be waited for before it is written.
    fn take_for_weight(&self, bytes: usize) -> Result<(Address, usize, Option<Event>), GpuError> {
        let bytes = rounded_weight(bytes);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check(bytes)?;
        if let Some(((address, used), size)) = fitting(&mut state.free_of_weights, bytes) {
            state.kept -= size;
            state.count(size);
            return Ok((address, size, Some(used)));
        }
        Ok((self.fresh(&mut state, bytes)?, bytes, None))
    }

    /// Memory that nobody had.
    fn fresh(&self, state: &mut State, bytes: usize) -> Result<Address, GpuError> {
        if state
            .cap
            .is_some_and(|cap| state.taken + state.kept + bytes > cap)
        {
            self.release(state);
        }
        let address = match self.context.allocate(bytes) {
            Err(GpuError::OutOfMemory { .. }) if state.kept > 0 => {
                self.release(state);
                self.context.allocate(bytes)?
            }
            other => other?,
        };
        state.count(bytes);
        Ok(address)
    }

    fn release(&self, state: &mut State) {
        for address in std::mem::take(&mut state.free).into_values().flatten() {
            self.context.free(address);
        }
        let weights = std::mem::take(&mut state.free_of_weights);
        for (address, _) in weights.into_values().flatten() {
            self.context.free(address);
        }
        state.kept = 0;
    }

    /// Takes a block back; of a weight with the work that used it last, or why that is not known.
    fn give_back(&self, address: Address, bytes: usize, used: Option<Result<Event, GpuError>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken -= bytes;
        match used {
            None => state.free.entry(bytes).or_default().push(address),
            Some(Ok(event)) => {
                let blocks = state.free_of_weights.entry(bytes).or_default();
                blocks.push((address, event));
            }
            // Freeing waits for the device.
            Some(Err(_)) => return self.context.free(address),
        }
        state.kept += bytes;
    }

    /// Gives what nobody has back to the device.
    pub fn trim(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.release(&mut state);
    }

    /// The most that was taken at any time, in bytes.
    pub fn peak(&self) -> usize {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .peak
    }

    /// Lets the pool take no more than so many bytes.
    pub fn set_cap(&self, cap: Option<usize>) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .cap = cap;
    }

    /// Counts the peak from here on.
    pub fn forget_peak(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.peak = state.taken;
    }
}

impl State {
    fn check(&self, bytes: usize) -> Result<(), GpuError> {
        match self.cap {
            Some(cap) if self.taken + bytes > cap => Err(GpuError::OutOfMemory {
                bytes,
                free: cap.saturating_sub(self.taken),
            }),
            _ => Ok(()),
        }
    }

    fn count(&mut self, bytes: usize) {
        self.taken += bytes;
        self.peak = self.peak.max(self.taken);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.trim();
    }
}

/// Room through which bytes go to the device, used again once they are there.
pub(super) struct Staging {
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    pinned: Option<Pinned>,
    done: Event,
}

impl Staging {
    pub fn new(context: &Arc<Context>, slots: usize) -> Result<Self, GpuError> {
        let slot = || {
            Ok(Slot {
                pinned: None,
                done: context.event(false)?,
            })
        };
        Ok(Self {
            slots: (0..slots)
                .map(|_| slot())
                .collect::<Result<_, GpuError>>()?,
            next: 0,
        })
    }

    /// Sends bytes to the device on a queue, in pieces of at most `piece`.
    fn send(
        &mut self,
        context: &Arc<Context>,
        stream: &Stream,
        to: Address,
        bytes: &[u8],
        piece: usize,
    ) -> Result<(), GpuError> {
        for (number, bytes) in bytes.chunks(piece).enumerate() {
            let count = self.slots.len();
            let slot = &mut self.slots[self.next];
            self.next = (self.next + 1) % count;
            if let Some(pinned) = &slot.pinned {
                slot.done.wait()?;
                if pinned.len() < bytes.len() {
                    slot.pinned = None;
                }
            }
            let pinned = match &mut slot.pinned {
                Some(pinned) => pinned,
                empty => empty.insert(context.pinned(rounded(bytes.len()))?),
            };
            pinned.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            stream.copy_in(to + (number * piece) as Address, pinned, bytes.len())?;
            stream.record(&slot.done)?;
        }
        Ok(())
    }
}

/// Room through which weights go to the device: many threads fill a piece each, and send it.
pub(super) struct Ring {
    context: Arc<Context>,
    room: Mutex<RingRoom>,
    returned: Condvar,
}

struct RingRoom {
    /// Those that were sent longest ago first.
    free: VecDeque<Slot>,
    made: usize,
}

/// A piece that one thread has.
struct Taken<'a> {
    ring: &'a Ring,
    slot: Option<Slot>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut room = self.ring.held();
        match self.slot.take() {
            Some(slot) => room.free.push_back(slot),
            None => room.made -= 1,
        }
        drop(room);
        self.ring.returned.notify_one();
    }
}

/// Why bytes did not get to the device.
pub(crate) enum Unsent<E> {
    Gpu(GpuError),
    /// They could not be made.
    Fill(E),
}

impl<E> From<GpuError> for Unsent<E> {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

impl Ring {
    pub fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            room: Mutex::new(RingRoom {
                free: VecDeque::new(),
                made: 0,
            }),
            returned: Condvar::new(),
        }
    }

    fn held(&self) -> MutexGuard<'_, RingRoom> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece that nobody has. Who has one waits for nobody else before it is given back.
    fn take(&self) -> Result<Taken<'_>, GpuError> {
        // One that is filled and one that is on its way, for each thread.
        let most = (2 * rayon::current_num_threads()).clamp(4, 32);
        let mut room = self.held();
        let mut slot = None;
        while slot.is_none() && room.made >= most {
            slot = room.free.pop_front();
            if slot.is_none() {
                let waited = self.returned.wait(room);
                room = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        if slot.is_none() {
            room.made += 1;
        }
        drop(room);
        let is_new = slot.is_none();
        let mut taken = Taken { ring: self, slot };
        if is_new {
            taken.slot = Some(Slot {
                pinned: Some(self.context.pinned(PIECE)?),
                done: self.context.event(false)?,
            });
        } else if let Some(slot) = &taken.slot {
            slot.done.wait()?;
        }
        Ok(taken)
    }

    /// Sends a piece that `fill` writes.
    fn send<E>(
        &self,
        stream: &Stream,
        to: Address,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), Unsent<E>> {
        let mut taken = self.take()?;
        let Some(Slot {
            pinned: Some(pinned),
            done,
        }) = &mut taken.slot
        else {
            return Err(GpuError::Shape("a piece without room".into()).into());
        };
        fill(&mut pinned.bytes_mut()[..bytes]).map_err(Unsent::Fill)?;
        stream.copy_in(to, pinned, bytes)?;
        Ok(stream.record(done)?)
    }
}

/// Bytes on their way to the host.
pub(crate) struct Arriving {
    gpu: Arc<Gpu>,
    pinned: Option<Pinned>,
    bytes: usize,
    done: Event,
}

impl Arriving {
    /// Waits for them.
    pub fn wait<R>(mut self, take: impl FnOnce(&[u8]) -> R) -> Result<R, GpuError> {
        self.done.wait()?;
        let Some(pinned) = self.pinned.take() else {
            return Ok(take(&[]));
        };
        let taken = take(&pinned.bytes()[..self.bytes]);
        self.gpu.keep_pinned(pinned);
        Ok(taken)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // The device may still write there.
        if self.pinned.is_some() {
            let _ = self.done.wait();
        }
    }
}

/// Bytes up to which what is sent is small.
const SMALL: usize = 1 << 20;

/// Pinned memory that is kept for the next time, in bytes.
const MOST_SPARE: usize = 256 << 20;

/// Bytes of one piece of weights on their way to the device.
const PIECE: usize = 4 << 20;

/// The same of rows.
const LARGE_PIECE: usize = 32 << 20;

impl Gpu {
    /// Memory for so many bytes, not written.
    pub(super) fn buffer(self: &Arc<Self>, bytes: usize) -> Result<Buffer, GpuError> {
        let (address, bytes) = self.pool.take(bytes)?;
        Ok(Buffer {
            gpu: Arc::clone(self),
            address,
            bytes,
            is_weight: false,
        })
    }

    /// Small values, on the queue of the work.
    pub(crate) fn upload<T: bytemuck::NoUninit>(
        self: &Arc<Self>,
        values: &[T],
    ) -> Result<Buffer, GpuError> {
        let buffer = self.buffer(size_of_val(values))?;
        self.send(&buffer, bytemuck::cast_slice(values))?;
        Ok(buffer)
    }

    /// Bytes to a buffer, on the queue of the work.
    pub(super) fn send(&self, to: &Buffer, bytes: &[u8]) -> Result<(), GpuError> {
        // Large ones take turns in little room.
        let staging = if bytes.len() > SMALL {
            &self.streams
        } else {
            &self.small
        };
        let mut staging = staging.lock().unwrap_or_else(PoisonError::into_inner);
        staging.send(&self.context, &self.work, to.address, bytes, LARGE_PIECE)
    }

    /// Weights, on a queue of their own beside the work; the event says when they are there.
    pub(super) fn upload_beside(
        self: &Arc<Self>,
        bytes: &[u8],
    ) -> Result<(Buffer, Event), GpuError> {
        let copied = self.fill_beside(bytes.len(), |at, room| {
            room.copy_from_slice(&bytes[at..at + room.len()]);
            Ok::<_, Infallible>(())
        });
        copied.map_err(|error| match error {
            Unsent::Gpu(error) => error,
            Unsent::Fill(never) => match never {},
        })
    }

    /// The same of bytes that `fill` writes: those from a place on, many at a time. It must not wait for other threads.
    pub(super) fn fill_beside<E: Send>(
        self: &Arc<Self>,
        bytes: usize,
        fill: impl Fn(usize, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<(Buffer, Event), Unsent<E>> {
        let (address, taken, used) = self.pool.take_for_weight(bytes)?;
        let buffer = Buffer {
            gpu: Arc::clone(self),
            address,
            bytes: taken,
            is_weight: true,
        };
        let ready = self.context.event(false)?;
        if let Some(used) = used {
            self.copies.wait(&used)?;
        }
        let pieces = (0..bytes.div_ceil(PIECE)).into_par_iter();
        let sent = pieces.try_for_each(|piece| {
            let at = piece * PIECE;
            let count = PIECE.min(bytes - at);
            let to = buffer.address + at as Address;
            self.ring
                .send(&self.copies, to, count, |room| fill(at, room))
        });
        if sent.is_err() {
            // The memory goes back: nothing may still be on its way to it.
            let _ = self.copies.synchronise();
        }
        sent?;
        self.copies.record(&ready)?;
        Ok((buffer, ready))
    }

    /// Sends bytes of the device to the host.
    pub(super) fn download(
        self: &Arc<Self>,
        from: Address,
        bytes: usize,
    ) -> Result<Arriving, GpuError> {
        let mut pinned = self.spare_pinned(bytes)?;
        let done = self.context.event(false)?;
        self.work.copy_out(&mut pinned, from, bytes)?;
        self.work.record(&done)?;
        Ok(Arriving {
            gpu: Arc::clone(self),
            pinned: Some(pinned),
            bytes,
            done,
        })
    }

    fn spare_pinned(&self, bytes: usize) -> Result<Pinned, GpuError> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = spare.iter().position(|pinned| pinned.len() >= bytes);
        if let Some(place) = fitting {
            return Ok(spare.swap_remove(place));
        }
        // The small ones make way.
        spare.clear();
        drop(spare);
        self.context.pinned(rounded(bytes))
    }

    fn keep_pinned(&self, pinned: Pinned) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < 4 && pinned.len() <= MOST_SPARE {
            spare.push(pinned);
        }
    }
}

/// What something of the host is on a device, made the first time.
pub(crate) fn once<T>(
    made: &OnceLock<Arc<T>>,
    make: impl FnOnce() -> Result<T, GpuError>,
) -> Result<Arc<T>, GpuError> {
    if let Some(made) = made.get() {
        return Ok(Arc::clone(made));
    }
    let new = Arc::new(make()?);
    Ok(Arc::clone(made.get_or_init(|| new)))
}

#[cfg(test)]
mod tests {
    use super::{rounded, rounded_weight};

    #[test]
    fn sizes_are_rounded_by_little() {
        assert_eq!(rounded(1), 512);
        assert_eq!(rounded_weight(271_581_184), 130 << 21);
        assert_eq!(rounded_weight(1000), rounded(1000));
        for bytes in [513, 100_000, 1 << 20, (1 << 20) + 1, 33_000_000] {
            let taken = rounded(bytes);
            assert!(
                taken >= bytes && taken <= bytes / 8 * 9 + 1024,
                "{bytes} {taken}"
            );
            assert_eq!(rounded(taken), taken);
        }
    }
}
