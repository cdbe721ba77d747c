//! The options of suites as flags: what a suite declares is what can be typed.

use crate::failure::Failure;
use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use concord_suites::{AnySuite, OptionSpec, Takes, suites};
use std::collections::BTreeMap;

/// Options of suites that were typed: their values by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct SuiteOptions {
    /// The values.
    pub typed: BTreeMap<String, Vec<String>>,
}

/// Every option of every suite once, with the suites that have it.
fn specs() -> Vec<(&'static OptionSpec, Vec<&'static str>)> {
    let mut found: Vec<(&OptionSpec, Vec<&str>)> = Vec::new();
    for suite in suites() {
        for spec in suite.options() {
            let suite = suite.about().name;
            match found.iter_mut().find(|(known, _)| known.name == spec.name) {
                Some((_, of)) => of.push(suite),
                None => found.push((spec, vec![suite])),
            }
        }
    }
    found
}

/// What an option does in each suite that has it; once where that is the same in all.
fn help(spec: &'static OptionSpec, of: &[&'static str]) -> String {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for suite in suites()
        .iter()
        .filter(|suite| of.contains(&suite.about().name))
    {
        let own = suite.options().iter().find(|own| own.name == spec.name);
        let help = own.map_or(spec.help, |own| own.help);
        let name = suite.about().name;
        match said.iter_mut().find(|(known, _)| *known == help) {
            Some((_, of)) => of.push(name),
            None => said.push((help, vec![name])),
        }
    }
    if said.len() <= 1 {
        return spec.help.to_owned();
    }
    let said = said
        .iter()
        .map(|(help, of)| format!("{}: {help}", of.join(", ")));
    said.collect::<Vec<_>>().join("; ")
}

/// An option as a flag.
fn flag(spec: &'static OptionSpec, of: &[&'static str]) -> Arg {
    let heading = match of {
        [one] => format!("Options of the suite {one}"),
        _ => "Options of several suites".to_owned(),
    };
    let mut arg = Arg::new(spec.name)
        .long(spec.name)
        .help(help(spec, of))
        .help_heading(heading);
    if let Some(short) = spec.short {
        arg = arg.short(short);
    }
    for name in spec.was {
        arg = arg.alias(*name);
    }
    let Some(value) = spec.value else {
        return arg.action(ArgAction::SetTrue);
    };
    let (check, is_list) = (spec.check, spec.takes == Takes::List);
    let parser = move |text: &str| {
        // There may be spaces after commas.
        let text = if is_list { text.trim() } else { text };
        check(text).map(|()| text.to_owned())
    };
    arg = arg
        .value_name(value)
        .value_parser(ValueParser::from(parser))
        .allow_negative_numbers(true)
        .action(ArgAction::Append);
    if let (Some(default), [_]) = (spec.default, of) {
        arg = arg.default_value(default);
    }
    match spec.takes {
        Takes::List => arg.value_delimiter(','),
        Takes::Many | Takes::Paths => arg,
        Takes::One => arg.action(ArgAction::Set),
    }
}

impl Args for SuiteOptions {
    fn augment_args(command: Command) -> Command {
        let flags = specs().into_iter().map(|(spec, of)| flag(spec, &of));
        command.args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SuiteOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut found = Self::default();
        found.update_from_arg_matches(matches)?;
        Ok(found)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for (spec, _) in specs() {
            if matches.value_source(spec.name) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values = match spec.value {
                None => Vec::new(),
                Some(_) => matches
                    .get_many::<String>(spec.name)
                    .unwrap_or_default()
                    .cloned()
                    .collect(),
            };
            self.typed.insert(spec.name.to_owned(), values);
        }
        Ok(())
    }
}

impl SuiteOptions {
    /// Refuses options that the suite does not have.
    pub fn are_of(&self, suite: &dyn AnySuite) -> Result<(), Failure> {
        let names = || suite.options().iter().map(|spec| spec.name);
        let Some(other) = self
            .typed
            .keys()
            .find(|typed| !names().any(|name| name == *typed))
        else {
            return Ok(());
        };
        let known: Vec<String> = names().map(|name| format!("--{name}")).collect();
        Err(Failure::usage(
            format!(
                "the suite `{}` has no option `--{other}`",
                suite.about().name
            ),
            format!("its options are {}", known.join(", ")),
        ))
    }
}
