//! Chores of the repository: `cargo xtask bench-gate`, `fuzz`, `kernels`, `schema`, `tidy`, `train-demo`.

// The program behind `cargo xtask` talks to the person who typed it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line chore"
)]

mod demo;
mod folders;
mod fuzz;
mod gate;
mod kernels;
mod schema;
mod tidy;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <task>

  bench-gate [--save]
               compare what a run costs, in counts, with benches/baselines/counts.json (exit code 7 where it is more or less),
               or write them anew
  train-demo   train the demo pair again and write models/demo/{base,aligned}
  fuzz [N [READER [SEED]]]
               N mutated inputs (10000; 1000 to those that take milliseconds each) to each reader of files from strangers,
               or to one
  kernels      compile the CUDA kernels for every kind of device, where NVRTC is at hand (CONCORD_CUDA_LIBRARIES)
  schema       write the JSON Schemas of what is stored and the columns of docs/export.md anew, from the code
  tidy         check what the compiler cannot: dependencies, file sizes, names, wording";

/// The program's exit code for a regression.
const REGRESSION: u8 = 7;

fn main() -> Result<ExitCode> {
    // Templates are rendered by this program started again.
    if let Some(code) = concord_checkpoint::renderer(std::env::args_os()) {
        return Ok(code);
    }
    let root = root();
    match std::env::args().nth(1).as_deref() {
        Some("train-demo") => demo::train(&root),
        Some("fuzz") => {
            // A tenth of the time that a text may take else: most hostile templates take all of it.
            let longest = std::time::Duration::from_millis(200);
            concord_checkpoint::render_apart(std::env::current_exe()?, Some(longest));
            let given = |place: usize| std::env::args().nth(place);
            let iterations = given(2).map(|number| number.parse()).transpose()?;
            let seed = given(4).map_or(Ok(7), |number| number.parse())?;
            fuzz::fuzz(&root, iterations, given(3).as_deref(), seed)
        }
        Some("bench-gate") => {
            let save = std::env::args().nth(2).as_deref() == Some("--save");
            let worse = gate::gate(&root, save)?;
            for line in &worse {
                eprintln!("differs from the baseline: {line}");
            }
            if !worse.is_empty() {
                return Ok(ExitCode::from(REGRESSION));
            }
            Ok(())
        }
        Some("kernels") => kernels::kernels(),
        Some("schema") => schema::write(&root),
        Some("tidy") => tidy::tidy(&root),
        _ => bail!(USAGE),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}
