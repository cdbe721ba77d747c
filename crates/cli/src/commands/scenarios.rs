//! `concord scenarios`: more scenarios for the suite `stress`, drafted by a checkpoint.

use super::export::tables;
use super::results::{Opened, quoted, warn, write_csv};
use super::run::{Done, execute};
use crate::arguments::{Cli, Command, OutputFormat, RunArguments, ScenariosArguments};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use clap::Parser;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Requests that are written of each scenario: plain, and nudged to either value.
const REQUESTS: usize = 3;

/// Drafts scenarios, lets raters read them, and writes those that are kept.
pub fn scenarios(arguments: &ScenariosArguments) -> Result<(), Failure> {
    let out = &arguments.out;
    if out.exists() && !arguments.force {
        let message = format!("{} is there already", out.display());
        return Err(Failure::usage(
            message,
            "name another --out, or add --force to replace it",
        ));
    }
    let folder = run_folder(out);
    let done = execute(&run_arguments(arguments, &folder)?)?;
    let (run, tables) = if let Done::Stored(stored) = done {
        warn(&*stored.found);
        (stored.out, stored.found.tables())
    } else {
        let tables = tables(&Opened::open(&folder)?)?;
        (folder, tables)
    };
    let drafted = tables
        .into_iter()
        .find(|table| table.name == "drafted_scenarios");
    let count = drafted
        .as_ref()
        .map_or(0, |table| table.rows.len() / REQUESTS);
    let Some(table) = drafted.filter(|_| count > 0) else {
        let help = format!(
            "`concord measure {}` says why; a larger checkpoint may draft better, and another --rater read better",
            quoted(&run.to_string_lossy())
        );
        return Err(Failure::new(
            ExitStatus::QuestionData,
            "no draft is kept",
            help,
        ));
    };
    write_csv(&table, out)?;
    if arguments.format == OutputFormat::Json {
        return output::json(&json!({ "scenarios": count, "file": out, "run": run }));
    }
    output::data(&format!(
        "{count} of {} drafts are kept\nscenarios   {}\nrun         {}\nasked       concord run --suite stress --scenarios {} --model …\n",
        arguments.drafts * arguments.models.len(),
        out.display(),
        run.display(),
        quoted(&out.to_string_lossy()),
    ))
}

/// Where the run is stored: beside the file, so that one that was cut off goes on.
fn run_folder(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".run");
    PathBuf::from(name)
}

fn run_arguments(arguments: &ScenariosArguments, folder: &Path) -> Result<RunArguments, Failure> {
    let mut words = vec![
        "concord".to_owned(),
        "run".to_owned(),
        "--suite=scenarios".to_owned(),
        format!("--drafts={}", arguments.drafts),
        format!("--seed={}", arguments.seed),
        format!("--out={}", folder.display()),
    ];
    words.extend(
        arguments
            .models
            .iter()
            .map(|model| format!("--model={model}")),
    );
    words.extend(
        arguments
            .raters
            .iter()
            .map(|rater| format!("--rater={rater}")),
    );
    if let Some(values) = &arguments.values {
        words.push(format!("--values={}", values.display()));
    }
    if arguments.force {
        words.push("--force".to_owned());
    }
    let parsed = Cli::try_parse_from(&words).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        Failure::usage(
            line.trim_start_matches("error: "),
            "see `concord scenarios --help`",
        )
    })?;
    match parsed.command {
        Command::Run(mut run) => {
            run.machine = arguments.machine.clone();
            Ok(run)
        }
        _ => Err(Failure::usage("no run", "")),
    }
}
