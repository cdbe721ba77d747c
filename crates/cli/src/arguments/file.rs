//! Flags that stand in a file: `run.toml`, and the parts of a sweep's file that say how its cells are run.

use super::Cli;
use clap::builder::ArgAction;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory};
use concord_suites::{DEFAULT, nearest, suites};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use toml::{Table, Value};

/// A flag as a file may give it.
pub(crate) struct Flag {
    /// Its name, without dashes.
    pub name: String,
    takes_value: bool,
    takes_many: bool,
}

/// Flags that a file cannot give.
const NOT_IN_FILES: [&str; 5] = ["help", "config", "print-config", "quiet", "color"];

/// The subcommand's arguments.
fn command(name: &str) -> Command {
    let mut all = Cli::command();
    // Arguments get their final form when a command is built.
    all.build();
    all.find_subcommand(name).cloned().unwrap_or_default()
}

/// The flags of `concord run` that a file can give, by their names.
pub(crate) fn flags() -> Vec<Flag> {
    let of = |arg: &Arg| {
        let name = arg.get_long()?;
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
        Some(Flag {
            name: name.to_owned(),
            takes_value: !is_flag,
            takes_many: matches!(arg.get_action(), ArgAction::Append),
        })
    };
    let mut flags: Vec<Flag> = command("run").get_arguments().filter_map(of).collect();
    flags.retain(|flag| !NOT_IN_FILES.contains(&flag.name.as_str()));
    flags
}

/// Whether a run of a suite takes a flag: its own options, and what is no option of any suite.
pub(crate) fn takes(suite: &str, flag: &str) -> bool {
    let with_it = suites().iter().filter(|suite| {
        let mut options = suite.options().iter();
        options.any(|spec| spec.name == flag)
    });
    let mut names = with_it.map(|suite| suite.about().name).peekable();
    names.peek().is_none() || names.any(|name| name == suite)
}

/// What is wrong with a key, with the nearest that is known.
pub(crate) fn unknown(key: &str, known: &[&str]) -> String {
    const FEW: usize = 10;
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None if known.len() <= FEW => {
            format!("unknown key `{key}`; there are {}", known.join(", "))
        }
        None => format!("unknown key `{key}`; keys are flags of `concord run --help`"),
    }
}

/// The words of a flag with a value of a file: none for a flag that is false.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn words(flags: &[Flag], key: &str, value: &Value) -> Result<Vec<String>, String> {
    let name = key.replace('_', "-");
    let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
        let known: Vec<&str> = flags.iter().map(|flag| flag.name.as_str()).collect();
        return Err(unknown(key, &known));
    };
    if !flag.takes_value {
        return match value {
            Value::Boolean(true) => Ok(vec![format!("--{name}")]),
            Value::Boolean(false) => Ok(Vec::new()),
            _ => Err(format!("`{key}` is true or false")),
        };
    }
    let word = |value: &Value| scalar(value).map(|text| format!("--{name}={text}"));
    let wrong = || format!("`{key}` is a text or a number, or several in brackets");
    match value {
        Value::Array(_) if !flag.takes_many => Err(format!("`{key}` has one value")),
        Value::Array(values) => values
            .iter()
            .map(word)
            .collect::<Option<_>>()
            .ok_or_else(wrong),
        value => Ok(vec![word(value).ok_or_else(wrong)?]),
    }
}

/// A value as it is typed.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(is) => Some(is.to_string()),
        _ => None,
    }
}

/// Reads a file of keys and values.
///
/// # Errors
/// Why it cannot be read, with its line where that is known.
pub(crate) fn read(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        format!("{}:{line}: {}", path.display(), error.message())
    })
}

/// Where the value of a flag comes from.
fn source(matches: &ArgMatches, command: &Command, name: &str) -> Option<ValueSource> {
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name))?;
    let id = arg.get_id().as_str();
    // Asking for what there is not is a panic.
    matches.try_contains_id(id).ok()?;
    matches.value_source(id)
}

/// The flags of a file, but for those that were typed.
pub(super) fn not_typed(table: &Table, typed: &ArgMatches) -> BTreeSet<String> {
    let command = command("run");
    let names = table.keys().map(|key| key.replace('_', "-"));
    names
        .filter(|name| source(typed, &command, name) != Some(ValueSource::CommandLine))
        .collect()
}

/// The words of a command line, with those of a file for what is neither typed nor in the environment.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn with_file(
    words_typed: Vec<String>,
    path: &Path,
    typed: &ArgMatches,
) -> Result<Vec<String>, String> {
    let flags = flags();
    let command = command("run");
    let mut added = Vec::new();
    for (key, value) in &read(path)? {
        let of_file = words(&flags, key, value)
            .map_err(|problem| format!("{}: {problem}", path.display()))?;
        let name = key.replace('_', "-");
        let is_given = matches!(
            source(typed, &command, &name),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        );
        let is_typed = |name: &str| source(typed, &command, name) == Some(ValueSource::CommandLine);
        // Who is asked is typed whole, or not at all.
        let is_else =
            (name == "pair" && is_typed("model")) || (name == "model" && is_typed("pair"));
        if !is_given && !is_else {
            added.extend(of_file);
        }
    }
    let mut all = words_typed;
    all.extend(added);
    Ok(all)
}

/// Every flag of `concord run` with its value and where that comes from: a file of the same form.
pub(super) fn origins(matches: &ArgMatches, of_file: &BTreeSet<String>) -> String {
    let mut out = String::new();
    let suite = matches.get_one::<String>("suite");
    let suite = suite.map_or(DEFAULT, String::as_str);
    for arg in command("run").get_arguments() {
        let Some(name) = arg.get_long() else { continue };
        if NOT_IN_FILES.contains(&name) || !takes(suite, name) {
            continue;
        }
        let id = arg.get_id().as_str();
        let Ok(Some(values)) = matches.try_get_raw(id) else {
            let _ = writeln!(out, "# {name} =");
            continue;
        };
        let values: Vec<String> = values.map(|v| v.to_string_lossy().into_owned()).collect();
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) if of_file.contains(name) => "file",
            Some(ValueSource::CommandLine) => "flag",
            Some(ValueSource::EnvVariable) => "environment",
            _ if of_file.contains(name) => "file",
            _ => "default",
        };
        // A text in quotes is the same in both forms.
        let quoted = |text: &String| match text.parse::<i64>() {
            Ok(number) if number.to_string() == *text => text.clone(),
            _ => serde_json::Value::from(text.as_str()).to_string(),
        };
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
        let shown = match (&values[..], arg.get_action()) {
            // A variable may say it in several ways.
            ([_], _) if is_flag => matches.get_flag(id).to_string(),
            ([one], ArgAction::Set) => quoted(one),
            (several, _) => {
                let all: Vec<String> = several.iter().map(quoted).collect();
                format!("[{}]", all.join(", "))
            }
        };
        let _ = writeln!(out, "{name} = {shown}  # {origin}");
    }
    out
}
