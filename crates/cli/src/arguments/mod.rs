//! What the user may type.

mod export;
mod file;
mod run;
mod shard;
mod statistics;
mod suite_options;

pub(crate) use export::{ExportArguments, ExportForm, TableFormat};
pub(crate) use file::{Flag, flags, read as read_file, scalar, takes, unknown, words};
pub(crate) use run::{
    CacheArguments, CacheCommand, MergeArguments, RunArguments, ScenariosArguments, SweepArguments,
    checkpoint_name,
};
pub(crate) use shard::ShardChoice;
pub(crate) use statistics::{CompareArguments, MeasureArguments, Statistics};
pub(crate) use suite_options::SuiteOptions;

use crate::memory::size;
use clap::builder::{FalseyValueParser, PossibleValue, PossibleValuesParser};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use concord_scorer::SchedulePreference;
use concord_session::{DeviceChoice, MachineOptions, Precision};
use concord_suites::{DEFAULT, suites};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;

const AFTER_HELP: &str = "Exit codes: 0 ok, 1 unexpected, 2 usage, 3 question data, 4 checkpoint, 5 device or memory, \
6 incomplete but resumable, 7 regression found.";

/// Studies language models by exact answers from their logits: how far they move across paraphrases, topics, formats and languages, how
/// random they are, and what a study of your own asks.
#[derive(Debug, Parser)]
#[command(name = "concord", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// Only results and what went wrong: no messages, no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When results are coloured; never the only sign of anything
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When results are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a study: ask checkpoints, measure their answers and compare them
    Run(RunArguments),
    /// Exact log-probabilities of continuations and labels after prompts of your own
    Score(ScoreArguments),
    /// Write texts after prompts of your own
    Generate(GenerateArguments),
    /// Compute the measures again from a stored run, or from answers that come from anywhere
    Measure(MeasureArguments),
    /// Compare checkpoints of stored runs, the first as base: differences by measure and topic, tests, effect sizes
    Compare(CompareArguments),
    /// Put the shards of a run together: what comes of it has the same bytes as if it had been read at once
    Merge(MergeArguments),
    /// Run many checkpoints, suites and settings, each as a run of its own: what is there already is left alone, and what fails does not
    /// stop the rest
    Sweep(SweepArguments),
    /// Let a checkpoint draft scenarios for the suite `stress`, and keep those in which raters see both values
    Scenarios(ScenariosArguments),
    /// Let one more rater rate the texts of a stored run
    #[command(alias = "read")]
    Rate(RateArguments),
    /// Make a page of figures and tables of a stored run
    Report(ReportArguments),
    /// Show prompts as messages, as text and as tokens
    Prompts(PromptsArguments),
    /// Count and check a question set
    Questions(QuestionsArguments),
    /// Write a stored run as data: a row for each answer and for each estimate, as CSV and Parquet
    Export(ExportArguments),
    /// What is in files of your own (questions, portraits, wordings), in a run's directory, in its findings and in exported tables
    Schema(SchemaArguments),
    /// What can be asked: suites, what they need and what they cannot tell
    Suites {
        /// How they are printed
        #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
        format: OutputFormat,
    },
    /// What was read and is kept, so that nothing is read twice: how much that is, and what to do about it
    Cache(CacheArguments),
    /// What can be run, and what a checkpoint is
    Models(ModelsArguments),
    /// Measure the speed of a checkpoint shape with made-up weights
    Bench(BenchArguments),
    /// Completions for a shell, to be read by it
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one a command
    Man {
        /// The folder that is written to; it is made where it is not there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Show what the machine has, and check that a device computes what it should
    Doctor(DoctorArguments),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Tables for people
    Human,
    /// JSON for programs
    Json,
}

/// What products multiply; sums are 32-bit floats whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// bfloat16 where the checkpoint is stored so and the processor has products of it, else 32-bit floats; on a GPU bfloat16, or
    /// 16-bit floats where it is stored so
    Auto,
    /// 32-bit floats; weights are held as they are stored where that loses nothing
    F32,
    /// bfloat16: weights, and what is multiplied with them, are rounded to it
    Bf16,
    /// Weights rounded to 16-bit floats, products of 32-bit floats; on a GPU of 16-bit floats
    F16,
    /// Weights of layers rounded to eight bits, with one scale for each output, for small cards
    Int8,
}

/// In which order layers and passes are gone through. The numbers are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScheduleChoice {
    /// The first that fits into memory
    Auto,
    /// All weights in memory, one pass after the other
    PassMajor,
    /// One layer after the other, each read once for all passes: for checkpoints larger than memory
    LayerMajor,
    /// The same with the rows between layers in a file
    Spilled,
}

/// How the machine is used.
#[derive(Clone, Debug, Args)]
pub(crate) struct MachineArguments {
    /// Where to compute: auto (the first GPU where there is one), cpu, cuda:0, cuda:all, metal
    #[arg(long, value_name = "DEVICE", default_value = "auto", env = "CONCORD_DEVICE", value_parser = DeviceChoice::from_str)]
    pub device: DeviceChoice,
    /// What products multiply
    #[arg(long, value_enum, default_value_t = Dtype::Auto)]
    pub dtype: Dtype,
    /// In which order layers and passes are gone through
    #[arg(long, value_enum, default_value_t = ScheduleChoice::Auto)]
    pub schedule: ScheduleChoice,
    /// The most memory that may be used, of a GPU or else of the machine, for example 8GiB; without it, what is free
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// Where rows between layers are kept when they do not fit into memory; without it, beside the results or in the system's
    /// folder for such files
    #[arg(long, value_name = "DIR", value_parser = folder)]
    pub spill: Option<PathBuf>,
}

impl MachineArguments {
    /// As plain types.
    pub fn options(&self) -> MachineOptions {
        MachineOptions {
            device: self.device.clone(),
            precision: match self.dtype {
                Dtype::Auto => Precision::Auto,
                Dtype::F32 => Precision::F32,
                Dtype::Bf16 => Precision::Bf16,
                Dtype::F16 => Precision::F16,
                Dtype::Int8 => Precision::Int8,
            },
            schedule: match self.schedule {
                ScheduleChoice::Auto => SchedulePreference::Auto,
                ScheduleChoice::PassMajor => SchedulePreference::PassMajor,
                ScheduleChoice::LayerMajor => SchedulePreference::LayerMajor,
                ScheduleChoice::Spilled => SchedulePreference::Spilled,
            },
            memory: self.memory,
            spill: self.spill.clone(),
        }
    }
}

/// Parses a folder that is there.
fn folder(text: &str) -> Result<PathBuf, String> {
    match std::fs::metadata(text) {
        Ok(found) if found.is_dir() => Ok(text.into()),
        Ok(_) => Err("it is not a folder".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// When the chat template is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChatTemplateUse {
    /// Where the checkpoint has one
    Auto,
    /// For every checkpoint; one without a template is an error
    Always,
    /// For none: every checkpoint gets the completion prompt
    Never,
}

/// The flags of the command that were given, by the names of their fields.
static GIVEN: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Every flag of the run with its value and where that comes from, where that is asked for.
static CONFIG: OnceLock<String> = OnceLock::new();

/// What `--print-config` prints.
pub(crate) fn config() -> &'static str {
    CONFIG.get().map_or("", String::as_str)
}

/// Parses the arguments of the process. Where a file of flags is named, what is neither typed nor in the environment is taken from there.
pub(crate) fn parse() -> Cli {
    let mut matches = Cli::command().get_matches();
    let of_run = matches.subcommand_matches("run").cloned();
    let mut of_file = BTreeSet::new();
    if let Some(typed) = &of_run
        && let Some(path) = typed.get_one::<PathBuf>("config")
    {
        let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let table = file::read(path).and_then(|table| {
            of_file = file::not_typed(&table, typed);
            file::with_file(words.collect(), path, typed)
        });
        matches = match table {
            // What was typed alone was parsed: what is wrong now is the file's.
            Ok(words) => Cli::command()
                .try_get_matches_from(words)
                .unwrap_or_else(|error| {
                    if error.use_stderr() {
                        crate::output::wrong(&format!("with the flags of {}:", path.display()));
                    }
                    error.exit()
                }),
            Err(problem) => Cli::command()
                .error(clap::error::ErrorKind::InvalidValue, problem)
                .exit(),
        };
    }
    if let Some(of_run) = matches.subcommand_matches("run")
        && of_run.get_flag("print_config")
    {
        let _ = CONFIG.set(file::origins(of_run, &of_file));
    }
    if let Some((_, of_command)) = matches.subcommand() {
        let given = of_command.ids().map(clap::Id::as_str).filter(|id| {
            let is_argument = of_command.try_contains_id(id).unwrap_or(false);
            is_argument && of_command.value_source(id) == Some(ValueSource::CommandLine)
        });
        let _ = GIVEN.set(given.map(str::to_owned).collect());
    }
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Those flags that were given, of the fields of these names.
pub(crate) fn given(names: &[&str]) -> Vec<String> {
    let given = GIVEN.get();
    let is_given = |name: &&&str| given.is_some_and(|given| given.contains(**name));
    let names = names.iter().filter(is_given);
    names
        .map(|name| format!("--{}", name.replace('_', "-")))
        .collect()
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("not a number of 0 or more".to_owned()),
    }
}

fn top_p(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("not a number above 0 and at most 1".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArguments {
    /// A checkpoint: a folder, a .gguf file or a hub id (owner/name[@revision][:file.gguf])
    #[arg(short = 'M', long, value_name = "DIR|FILE|ID")]
    pub model: String,
    /// A PEFT adapter of it, a folder or a hub id
    #[arg(short = 'A', long, value_name = "DIR|ID")]
    pub adapter: Option<String>,
    /// JSON lines of {"id", "prompt" or "messages", "continuations": […], "labels": […], "strings": {…}}; - for stdin
    ///
    /// Messages are rendered with the chat template and a generation prompt: what is scored begins a new assistant turn; `prefill` beside
    /// them is what the turn begins with.
    /// `openings` may list texts that open a label, such as "(": where "(A" is no token, "(" and then "A" is read too.
    /// `strings` is {"texts": […], "leads": […], "end": "digit"}: the probability that exactly one of the texts comes next, after
    /// any of the leads (such as "" and " "), over all of its spellings in tokens; "digit" where no digit may follow, "letter" where no
    /// letter may, "any" for whatever follows.
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    #[command(flatten)]
    pub machine: MachineArguments,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    /// A checkpoint: a folder, a .gguf file or a hub id (owner/name[@revision][:file.gguf])
    #[arg(short = 'M', long, value_name = "DIR|FILE|ID")]
    pub model: String,
    /// A PEFT adapter of it, a folder or a hub id
    #[arg(short = 'A', long, value_name = "DIR|ID")]
    pub adapter: Option<String>,
    /// JSON lines of {"id", "prompt" or "messages"}, beside messages also "prefill", what the turn begins with; - for stdin
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    /// The most tokens of a text
    #[arg(long, value_name = "N", default_value_t = 256, alias = "max_tokens", value_parser = positive)]
    pub max_tokens: usize,
    /// Logits are divided by it before a token is drawn; 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: f64,
    /// Tokens are drawn from the fewest that have this share of the probability
    #[arg(long, value_name = "P", default_value_t = 1.0, alias = "top_p", value_parser = top_p, allow_negative_numbers = true)]
    pub top_p: f64,
    /// Seed of the draws; each text has draws of its own, by seed and id
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// A text to stop at, not part of what is written; may be given many times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    #[command(flatten)]
    pub machine: MachineArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RateArguments {
    /// A run directory with written texts
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The checkpoint that rates: a folder, a .gguf file, a server's .toml file or a hub id (owner/name[@revision][:file.gguf])
    #[arg(long, alias = "reader", value_name = "DIR|FILE|ID")]
    pub rater: String,
    /// Read everything again, and keep nothing of it for other runs (`concord cache`)
    #[arg(long, env = "CONCORD_NO_CACHE", value_parser = FalseyValueParser::new())]
    pub no_cache: bool,
    #[command(flatten)]
    pub machine: MachineArguments,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// A run directory, or several (or RUN/CHECKPOINT) to be compared on one page, the first checkpoint as base
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Of several runs: compare what they share where they differ
    #[arg(long)]
    pub intersect: bool,
    /// The file that is written; without it, report.html in the run directory (of several runs it has to be named); - for stdout
    #[arg(short = 'o', long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Open the page in a browser
    #[arg(long)]
    pub open: bool,
    /// A folder to write every figure to as well, as SVG; it is made where it is not there
    #[arg(long, value_name = "DIR")]
    pub figures: Option<PathBuf>,
    /// Put published values beside the results
    #[arg(long)]
    pub with_published: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArguments {
    /// Of what: files of your own (questions, portraits, wording; requests, scenarios, populations, survey), a run's directory (run), its findings.json (findings), or an exported
    /// table
    #[arg(value_name = "KIND", default_value = "questions", value_parser = schema_kinds())]
    pub kind: String,
    /// The suite whose findings are meant
    #[arg(long, value_name = "NAME", default_value = DEFAULT)]
    pub suite: String,
    /// Print a file of that kind instead, to begin one of your own with; a wording is the project's own
    #[arg(long)]
    pub example: bool,
    /// How tables are described; everything else is a JSON Schema
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

/// What has a schema: files of one's own, what runs store, and the tables of all suites.
fn schema_kinds() -> PossibleValuesParser {
    let own = [
        "questions",
        "portraits",
        "stimuli",
        "wording",
        "requests",
        "scenarios",
        "populations",
        "survey",
        "run",
        "findings",
    ];
    let tables = suites().iter().flat_map(|suite| suite.table_specs());
    let tables = tables.map(|spec| PossibleValue::new(spec.name));
    let own = own.map(PossibleValue::new);
    PossibleValuesParser::new(own.into_iter().chain(tables).collect::<Vec<_>>())
}

#[derive(Debug, Args)]
pub(crate) struct PromptsArguments {
    /// The prompts of this suite that are asked first, as they would be asked
    #[arg(long, value_name = "NAME", conflicts_with_all = ["questions", "stimuli", "file", "reversed", "abstention", "value"])]
    pub suite: Option<String>,
    /// An option of the suite, for example sets=die,coin; may be given many times
    #[arg(long = "option", value_name = "NAME=VALUE", requires = "suite")]
    pub options: Vec<String>,
    /// A question file, a folder of them or a data set of the hub (hf:owner/name); without it, the demo questions
    #[arg(short = 'Q', long, value_name = "PATH|hf:ID")]
    pub questions: Option<String>,
    /// Another wording of everything around the questions
    #[arg(long, value_name = "FILE")]
    pub stimuli: Option<PathBuf>,
    /// Only this file, for example `controversial_english_us`
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
    /// Only this row of it, from 0
    #[arg(long, value_name = "N", requires = "file")]
    pub row: Option<usize>,
    /// Show the options in the opposite order
    #[arg(long)]
    pub reversed: bool,
    /// Allow the answer that declines to answer
    #[arg(long)]
    pub abstention: bool,
    /// Ask a PVQ item by this value, for example tradition
    #[arg(long, value_name = "NAME")]
    pub value: Option<String>,
    /// Also show the prompt as this checkpoint sees it: rendered text and tokens
    #[arg(short = 'M', long, value_name = "DIR|FILE|ID")]
    pub model: Option<String>,
    /// The passage whose stance is asked
    #[arg(long, default_value = "PASSAGE", value_name = "TEXT")]
    pub passage: String,
    /// How results are printed; JSON is one line a prompt, in every form, order and with and without abstention
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct QuestionsArguments {
    #[command(subcommand)]
    pub command: QuestionsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuestionsCommand {
    /// Counts by file, topic and language, and what is odd
    ///
    /// A row is a JSON object with `topic`, `topic_english` (may be null), `question`, `original`, `original_english`,
    /// `options` (answer: "supports", "opposes" or "neutral") and, unless the file is named
    /// `controversial_LANGUAGE_COUNTRY.jsonl` or uncontroversial_…, `controversial`, `language` and `country`.
    Check {
        /// A question file, a folder of them or a data set of the hub (hf:owner/name); without it, the demo questions
        #[arg(value_name = "PATH|hf:ID")]
        path: Option<String>,
        /// How results are printed
        #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
        format: OutputFormat,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArguments {
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human, global = true)]
    pub format: OutputFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// What a checkpoint is: its decoder, with what absent keys of its config mean, its tokenizer and its fingerprint
    Show {
        /// A checkpoint: a folder, a .gguf file, a server's .toml file or a hub id (owner/name[@revision][:file.gguf])
        #[arg(value_name = "DIR|FILE|ID")]
        model: String,
        /// A PEFT adapter of it, a folder or a hub id
        #[arg(short = 'A', long, value_name = "DIR|ID")]
        adapter: Option<String>,
    },
    /// Bring checkpoints, adapters or data sets (hf:owner/name) of the hub into the cache
    Fetch {
        /// Hub ids
        #[arg(value_name = "ID", required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// The checkpoint shape
    #[arg(long, default_value = "smollm2-135m", value_name = "NAME")]
    pub preset: String,
    /// A question file, a folder of them or a data set of the hub (hf:owner/name); without it, the demo questions
    #[arg(short = 'Q', long, value_name = "PATH|hf:ID")]
    pub questions: Option<String>,
    /// Only the first N originals of each country
    #[arg(short = 'L', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Read the answer texts as well as the letters
    #[arg(long)]
    pub cloze: bool,
    /// How often it is run; the best time counts
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub repeats: usize,
    /// Compare with a record of before: counts exactly, times beyond noise; exit code 7 where something differs
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Count alone, which does not depend on the machine: no weight is made, and nothing is timed
    #[arg(long, conflicts_with = "save")]
    pub counts_only: bool,
    /// Write the record to a file, unless it is worse than the baseline
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    #[command(flatten)]
    pub machine: MachineArguments,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Check this device (cpu, cuda:0, cuda:all, metal): its kernels against their references, a tiny checkpoint of every family, bit stability, the plan of
    /// memory; exit code 5 where something is wrong
    #[arg(long, value_name = "DEVICE", value_parser = DeviceChoice::from_str)]
    pub device: Option<DeviceChoice>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::builder::TypedValueParser;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_kind_of_schema_is_one() {
        let kinds: Vec<PossibleValue> = schema_kinds()
            .possible_values()
            .into_iter()
            .flatten()
            .collect();
        let names: BTreeSet<&str> = kinds.iter().map(PossibleValue::get_name).collect();
        assert_eq!(names.len(), kinds.len());
    }

    #[test]
    fn a_bare_template_flag_means_always() {
        let template = |arguments: &[&str]| match Cli::parse_from(arguments).command {
            Command::Run(run) => run.apply_chat_template,
            _ => ChatTemplateUse::Auto,
        };
        assert_eq!(template(&["concord", "run"]), ChatTemplateUse::Auto);
        assert_eq!(
            template(&["concord", "run", "--apply-chat-template"]),
            ChatTemplateUse::Always
        );
        assert_eq!(
            template(&["concord", "run", "--apply-chat-template=never"]),
            ChatTemplateUse::Never
        );
        assert_eq!(
            template(&[
                "concord",
                "run",
                "--apply-chat-template",
                "never",
                "--limit",
                "1"
            ]),
            ChatTemplateUse::Never
        );
        assert_eq!(
            template(&["concord", "run", "--apply-chat-template", "--limit", "1"]),
            ChatTemplateUse::Always
        );
    }
}
