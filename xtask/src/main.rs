//! Chores of the repository: `cargo xtask train-demo`, `fuzz`, `tidy`.

// The program behind `cargo xtask` talks to the person who typed it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line chore"
)]

mod demo;
mod fuzz;
mod tidy;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

const USAGE: &str = "usage: cargo xtask <task>

  train-demo   train the demo pair again and write models/demo/{base,aligned}
  fuzz [N [READER]]
               N mutated inputs (3000) to each reader of files from strangers, or to one
  tidy         check what the compiler cannot: dependencies, file sizes, names, wording";

fn main() -> Result<()> {
    let root = root();
    match std::env::args().nth(1).as_deref() {
        Some("train-demo") => demo::train(&root),
        Some("fuzz") => {
            let iterations = std::env::args()
                .nth(2)
                .map_or(Ok(3000), |count| count.parse())?;
            fuzz::fuzz(&root, iterations, std::env::args().nth(3).as_deref())
        }
        Some("tidy") => tidy::tidy(&root),
        _ => bail!(USAGE),
    }
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}
