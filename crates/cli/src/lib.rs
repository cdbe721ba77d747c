//! The `concord` program: flags, progress, exit codes; one file a subcommand.
//!
//! Data goes to stdout, progress and messages to stderr. Exit codes are those of [`ExitStatus`].

mod arguments;
mod commands;
mod failure;
mod memory;
mod output;
mod parquet_file;
mod progress;

pub use arguments::Cli;
pub use failure::{ExitStatus, Failure};

use arguments::Command;
use std::path::PathBuf;
use std::process::ExitCode;

/// A library's panic at a damaged file becomes an error with words of its own: the usual report would be noise before it.
fn say_panics_but_guarded() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !concord_checkpoint::is_guarded() && !concord_runs::is_guarded() {
            usual(panic);
        }
    }));
}

/// The program itself, as it can be started again; on Linux also where its file was replaced meanwhile.
fn own_program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() {
        return own;
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("concord"))
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    say_panics_but_guarded();
    if let Some(code) = concord_checkpoint::renderer(std::env::args_os()) {
        return code;
    }
    concord_checkpoint::render_apart(own_program(), None);
    concord_session::keep_freed();
    output::let_writes_fail();
    if !concord_kernels::Isa::is_supported_processor() {
        let help = "processors with AVX2 and FMA are made since 2013; on others it has to be built for another target";
        let message = "this processor has no AVX2, which the program needs";
        let failure = Failure::new(ExitStatus::Device, message, help);
        output::wrong(&failure.render());
        return failure.status.into();
    }
    let typed = arguments::parse();
    output::speak(typed.quiet, typed.color);
    let outcome = match typed.command {
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Score(arguments) => commands::score::score(&arguments),
        Command::Generate(arguments) => commands::generate::generate(&arguments),
        Command::Measure(arguments) => commands::measure::measure(&arguments),
        Command::Compare(arguments) => commands::compare::compare(&arguments),
        Command::Scenarios(arguments) => commands::scenarios::scenarios(&arguments),
        Command::Sweep(arguments) => commands::sweep::sweep(&arguments),
        Command::Merge(arguments) => commands::merge::merge(&arguments),
        Command::Rate(arguments) => commands::rate::rate(&arguments),
        Command::Suites { format } => commands::suites::suites(format),
        Command::Report(arguments) => commands::report::report(&arguments),
        Command::Prompts(arguments) => commands::prompts::prompts(&arguments),
        Command::Questions(arguments) => commands::questions::questions(&arguments),
        Command::Export(arguments) => commands::export::export(&arguments),
        Command::Schema(arguments) => commands::schema::schema(&arguments),
        Command::Cache(arguments) => commands::cache::cache(&arguments),
        Command::Models(arguments) => commands::models::models(&arguments),
        Command::Bench(arguments) => commands::bench::bench(&arguments),
        Command::Completions { shell } => commands::shells::completions(shell),
        Command::Man { folder } => commands::shells::manual(&folder),
        Command::Doctor(arguments) => commands::doctor::doctor(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough.
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output::wrong(&failure.render());
            failure.status.into()
        }
    }
}
