//! The `concord` program; everything is in the library beside it.

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    concord_cli::main()
}
