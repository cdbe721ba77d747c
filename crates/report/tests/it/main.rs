//! A whole made-up run as a page, as files of figures, and on a screen.

mod page;
mod screen;
mod synthetic;

/// Names that are hard to show: long, East Asian, right to left, markup, escapes of terminals.
pub const HARD: [&str; 6] = [
    "a-checkpoint-with-a-long-name-a-checkpoint-with-a-long-name-a-checkpoint-with-a-long-name-a-checkpoint-with-step-143000",
    "合議制の模型-七十億-指示調整済み版",
    "نموذج-اللغة-العربية",
    "<script>alert('x')</script>&amp;\"'",
    "\u{202e}turned\u{1b}[31m",
    "ok",
];

/// So many checkpoints, of which the last ones could not be measured.
pub fn checkpoints(count: usize, gated: usize, hard: bool) -> Vec<(String, Option<String>)> {
    let name = |at: usize| match at / HARD.len() {
        _ if !hard => format!("checkpoint-{at}"),
        0 => HARD[at].to_owned(),
        again => format!("{}-{again}", HARD[at % HARD.len()]),
    };
    let reason = |at: usize| (at + gated >= count).then(|| "label mass 0.10 < 0.5".to_owned());
    (0..count).map(|at| (name(at), reason(at))).collect()
}
