//! Memory: small pieces by mimalloc, since tokenizers ask for millions of them; large ones by the system, as the plan of memory expects; a
//! bound on what a stranger's template may take.

use concord_checkpoint::{OUT_OF_ROOM, is_renderer, may_take};
use concord_cli::ExitStatus;
use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// The largest piece that is a small one, in bytes.
const SMALL: usize = 1 << 16;

/// Who has pieces of this layout: the same when one is taken and when it is given back.
fn is_small(layout: Layout) -> bool {
    layout.size() <= SMALL
}

#[expect(
    unsafe_code,
    reason = "SAFETY: every call goes on with the arguments it came with to the allocator that has pieces of its layout; counting allocates nothing"
)]
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        let place = if is_small(layout) {
            unsafe { MiMalloc.alloc(layout) }
        } else {
            unsafe { System.alloc(layout) }
        };
        given(place, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        let place = if is_small(layout) {
            unsafe { MiMalloc.alloc_zeroed(layout) }
        } else {
            unsafe { System.alloc_zeroed(layout) }
        };
        given(place, layout.size())
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_small(layout), is_small(new)) {
            (true, true) => {
                give_back(layout.size());
                take(size);
                given(unsafe { MiMalloc.realloc(place, layout, size) }, size)
            }
            (false, false) => {
                give_back(layout.size());
                take(size);
                given(unsafe { System.realloc(place, layout, size) }, size)
            }
            // It moves from one to the other.
            _ => unsafe {
                let moved = self.alloc(new);
                moved.copy_from_nonoverlapping(place, layout.size().min(size));
                self.dealloc(place, layout);
                moved
            },
        }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        give_back(layout.size());
        if is_small(layout) {
            unsafe { MiMalloc.dealloc(place, layout) }
        } else {
            unsafe { System.dealloc(place, layout) }
        }
    }
}

/// What the system gave; where it gives nothing, the program ends with words of its own.
fn given(place: *mut u8, bytes: usize) -> *mut u8 {
    if place.is_null() {
        no_room(bytes);
    }
    place
}

/// The system has no memory left, or allows the process no more (`ulimit -v`).
#[cold]
#[expect(clippy::exit, reason = "the only way out of an allocator")]
fn no_room(bytes: usize) -> ! {
    if is_renderer() {
        std::process::exit(OUT_OF_ROOM);
    }
    let mut out = std::io::stderr();
    // Numbers are written without an allocation; nothing can be done about a stderr that takes nothing.
    let _ = writeln!(
        out,
        "error: the system gives no more memory ({bytes} bytes were asked for)"
    );
    let _ = out.write_all(
        b"help: raise the limit (ulimit -v), end other programs, or name less with --memory\n",
    );
    std::process::exit(ExitStatus::Device as i32)
}

// No allocation is longer than `i64::MAX` bytes.
fn take(bytes: usize) {
    if !may_take(bytes.cast_signed() as i64) {
        too_much();
    }
}

fn give_back(bytes: usize) {
    may_take(-(bytes.cast_signed() as i64));
}

/// Unwinding out of an allocator is not allowed: the program ends here.
#[cold]
#[expect(clippy::exit, reason = "the only way out of an allocator")]
fn too_much() -> ! {
    if is_renderer() {
        std::process::exit(OUT_OF_ROOM);
    }
    let text = b"error: a checkpoint's tokenizer asks for more memory than any tokenizer needs\n\
        help: save it again with AutoTokenizer.save_pretrained of a recent transformers\n";
    // Nothing can be done about a stderr that takes nothing.
    let _ = std::io::stderr().write_all(text);
    std::process::exit(ExitStatus::Checkpoint as i32)
}
