//! Threads that stay awake between one operation and the next.

use rayon::Yield;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// How many bodies of [`awake`] this thread is in the middle of.
    static BODIES: Cell<usize> = const { Cell::new(0) };
}

/// How often a thread looks for work before it offers its core to others.
const LOOKS: usize = 2_000;

/// Runs something on a thread of the pool while the pool's other threads stay awake.
///
/// A pass is thousands of short operations. A thread that falls asleep between two of them is waken late, on a virtual machine
/// very late; and a thread that is not the pool's own sleeps through every one.
pub fn awake<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    let done = &AtomicBool::new(false);
    rayon::scope(|scope| {
        // However it ends, the others are let go.
        let _letting_go = LettingGo(done);
        scope.spawn_broadcast(move |_, _| look_for_work(done));
        BODIES.set(BODIES.get() + 1);
        let _leaving = Leaving;
        run()
    })
}

fn look_for_work(done: &AtomicBool) {
    // A body that waits for its work takes what comes: it must not wait for another body's end, which may wait for its own.
    if BODIES.get() > 0 {
        return;
    }
    let mut looked = 0;
    while !done.load(Ordering::Relaxed) {
        match rayon::yield_now() {
            Some(Yield::Executed) => looked = 0,
            _ => looked += 1,
        }
        if looked < LOOKS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        BODIES.set(BODIES.get() - 1);
    }
}

struct LettingGo<'a>(&'a AtomicBool);

impl Drop for LettingGo<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn work_is_done_on_any_number_of_threads() {
        for threads in 1..5 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let sums = pool.unwrap().install(|| {
                awake(|| {
                    let sum = |rounds: u64| (0..1000u64).into_par_iter().map(|i| i * rounds).sum();
                    (0..200).map(sum).collect::<Vec<u64>>()
                })
            });
            assert!(
                sums.iter()
                    .zip(0..)
                    .all(|(sum, rounds)| *sum == rounds * 499_500)
            );
        }
    }

    /// As many as there are threads, and more, none of which may wait for another.
    #[test]
    fn many_at_once_come_to_an_end() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
        let pool = pool.unwrap();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for rounds in 0..50u64 {
                        let sum: u64 = pool.install(|| {
                            awake(|| (0..300u64).into_par_iter().map(|i| i * rounds).sum())
                        });
                        assert_eq!(sum, rounds * 44_850);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_lets_the_threads_go() {
        let outcome = catch_unwind(AssertUnwindSafe(|| awake(|| panic!("on purpose"))));
        assert!(outcome.is_err());
        assert_eq!(awake(|| 7), 7);
        // One inside the other.
        assert_eq!(awake(|| awake(|| 8)), 8);
    }
}
