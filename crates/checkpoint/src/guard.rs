//! Calls into libraries that panic at files from strangers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Memory that one call may hold at a time, in bytes.
const ROOM: i64 = 1 << 28;

/// And for each byte of its input.
const FOR_A_BYTE: i64 = 128;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// What is left of a call's memory, in bytes.
    static ROOM_LEFT: Cell<i64> = const { Cell::new(i64::MAX) };
}

/// Counts bytes that this thread takes (or gives back, where negative), and says whether it may: no where a call that
/// carries out a stranger's program holds more than 256 MiB and what its input explains. Meant for a program's allocator, since the libraries that
/// carry such programs out have no bound of their own; allocates nothing.
#[inline]
pub fn may_take(bytes: i64) -> bool {
    let left = ROOM_LEFT.get();
    if left == i64::MAX {
        return true;
    }
    ROOM_LEFT.set(left.saturating_sub(bytes).min(i64::MAX - 1));
    bytes <= left
}

/// Calls with the memory that [`may_take`] allows.
pub(crate) fn bounded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    bounded_for(0, call)
}

/// [`bounded`], with more room for an input of so many bytes.
pub(crate) fn bounded_for<T>(input: usize, call: impl FnOnce() -> T) -> Result<T, String> {
    let input = i64::try_from(input).unwrap_or(i64::MAX >> 8);
    let room = ROOM.saturating_add(input.saturating_mul(FOR_A_BYTE));
    let before = ROOM_LEFT.replace(room);
    let outcome = guarded(call);
    ROOM_LEFT.set(before);
    outcome
}

/// Whether this thread is in a call whose panic becomes an error: a program's panic hook has nothing to say about it.
pub fn is_guarded() -> bool {
    GUARDED.with(Cell::get)
}

/// Calls, and gives what a panic said as an error.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a fault of the library that reads it")
            .to_owned()
    })
}
