//! Benches of the workspace: `cargo bench -p concord-benches`.
//!
//! `throughput` runs the question set through a made-up checkpoint; `kernels` and `measures` time the parts with criterion.
