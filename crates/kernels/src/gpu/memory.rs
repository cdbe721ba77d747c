//! Memory of a device: buffers that are taken again as they come back, and what goes to and fro.

use super::raw::{Address, Context, Event, Pinned, Stream};
use super::{Gpu, GpuError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Memory on a device, given back when nobody has it any more.
///
/// All work runs on one queue: who takes a buffer after another works on it after the other.
pub(crate) struct Buffer {
    gpu: Arc<Gpu>,
    address: Address,
    /// What was taken, which may be more than was asked for.
    bytes: usize,
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
        self.gpu.pool.give_back(self.address, self.bytes);
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
        if state.cap.is_some_and(|cap| state.taken + bytes > cap) {
            let free = state.cap.unwrap_or(0).saturating_sub(state.taken);
            return Err(GpuError::OutOfMemory { bytes, free });
        }
        let fitting = state
            .free
            .range(bytes..=bytes / 4 * 5)
            .next()
            .map(|(size, _)| *size);
        if let Some(size) = fitting
            && let Some(address) = state.free.get_mut(&size).and_then(Vec::pop)
        {
            if state.free[&size].is_empty() {
                state.free.remove(&size);
            }
            state.kept -= size;
            state.count(size);
            return Ok((address, size));
        }
        let over = state
            .cap
            .is_some_and(|cap| state.taken + state.kept + bytes > cap);
        if over {
            self.release(&mut state);
        }
        let address = match self.context.allocate(bytes) {
            Err(GpuError::OutOfMemory { .. }) if state.kept > 0 => {
                self.release(&mut state);
                self.context.allocate(bytes)?
            }
            other => other?,
        };
        state.count(bytes);
        Ok((address, bytes))
    }

    fn release(&self, state: &mut State) {
        for (_, addresses) in std::mem::take(&mut state.free) {
            for address in addresses {
                self.context.free(address);
            }
        }
        state.kept = 0;
    }

    fn give_back(&self, address: Address, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free.entry(bytes).or_default().push(address);
        state.taken -= bytes;
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
    fn count(&mut self, bytes: usize) {
        self.taken += bytes;
        self.peak = self.peak.max(self.taken);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let free = std::mem::take(&mut state.free);
        for address in free.into_values().flatten() {
            self.context.free(address);
        }
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

/// Bytes of one piece of weights on their way to the device.
pub(super) const PIECE: usize = 32 << 20;

impl Gpu {
    /// Memory for so many bytes, not written.
    pub(super) fn buffer(self: &Arc<Self>, bytes: usize) -> Result<Buffer, GpuError> {
        let (address, bytes) = self.pool.take(bytes)?;
        Ok(Buffer {
            gpu: Arc::clone(self),
            address,
            bytes,
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
        let mut staging = self.small.lock().unwrap_or_else(PoisonError::into_inner);
        staging.send(&self.context, &self.work, to.address, bytes, PIECE)
    }

    /// Weights, on a queue of their own beside the work; the event says when they are there.
    pub(super) fn upload_beside(
        self: &Arc<Self>,
        bytes: &[u8],
    ) -> Result<(Buffer, Event), GpuError> {
        let buffer = self.buffer(bytes.len())?;
        let ready = self.context.event(false)?;
        let mut staging = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        // Work that had this memory before is done with it first.
        let before = self.context.event(false)?;
        self.work.record(&before)?;
        self.copies.wait(&before)?;
        staging.send(&self.context, &self.copies, buffer.address, bytes, PIECE)?;
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
        if spare.len() < 4 {
            spare.push(pinned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn sizes_are_rounded_by_little() {
        assert_eq!(rounded(1), 512);
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
