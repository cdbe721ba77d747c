//! Work of several devices at once.

use std::panic::resume_unwind;
use std::thread;

/// What each item comes to, in their order: the first on this thread, each other on one of its own.
///
/// # Panics
/// Where one of them does, once all have ended.
pub(crate) fn at_once<T: Send, R: Send>(
    mut items: impl Iterator<Item = T>,
    run: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let first = items.next();
    thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> = items.map(|item| scope.spawn(move || run(item))).collect();
        let first = first.map(run);
        let others = others
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        first.into_iter().chain(others).collect()
    })
}
