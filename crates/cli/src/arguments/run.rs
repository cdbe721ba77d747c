//! `concord run` and `concord merge`, as they are typed.

use super::{
    ChatTemplateUse, MachineArguments, OutputFormat, ShardChoice, Statistics, SuiteOptions,
};
use crate::memory::size;
use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};
use concord_suites::DEFAULT;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct RunArguments {
    /// A checkpoint: a folder, a .gguf file, a server's .toml file or a hub id (owner/name[@revision][:file.gguf]); give the base first and the aligned one second. Without any, the demo pair is run
    #[arg(short = 'M', long = "model", value_name = "DIR|FILE|ID")]
    pub models: Vec<String>,
    /// A PEFT adapter of the one --model, a folder or a hub id; may be given many times. The base is run as well, and read once
    #[arg(short = 'A', long = "adapter", value_name = "DIR|ID")]
    pub adapters: Vec<String>,
    /// A known pair of base and aligned checkpoints instead of --model (`concord models` lists them)
    #[arg(long, value_name = "NAME", conflicts_with = "models")]
    pub pair: Option<String>,
    /// What is asked and measured (`concord suites` lists them)
    #[arg(long, value_name = "NAME", default_value = DEFAULT)]
    pub suite: String,
    /// Who rates written texts: a checkpoint, or `itself` for each its own; may be given many times
    #[arg(long = "rater", alias = "reader", value_name = "DIR|FILE|ID|itself")]
    pub raters: Vec<String>,
    /// Put published values beside the results
    #[arg(long)]
    pub with_published: bool,
    /// Seed of everything that is drawn: orders, texts, histories, tests and resampled intervals
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Show all tables at the end, not the verdict alone, and what ran when
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub statistics: Statistics,
    #[command(flatten)]
    pub options: SuiteOptions,
    #[command(flatten)]
    pub machine: MachineArguments,
    /// When the chat template is used
    #[arg(long, value_enum, num_args = 0..=1, default_value = "auto", default_missing_value = "always", alias = "apply_chat_template")]
    pub apply_chat_template: ChatTemplateUse,
    /// What a checkpoint is called, in the order of checkpoints and adapters; may be given many times. Without it, what tells one from
    /// another in its path
    #[arg(long = "name", value_name = "NAME", value_parser = checkpoint_name)]
    pub names: Vec<String>,
    /// The run directory. A run that was cut off goes on when the same command names it again; where it is finished already there is
    /// nothing to do; a run of something else is refused
    #[arg(short = 'o', long, value_name = "DIR", alias = "output_path")]
    pub out: Option<PathBuf>,
    /// Begin anew where --out has a run, which gives way when the new one is whole
    #[arg(long)]
    pub force: bool,
    /// Read one part of several alone, to be put together by `concord merge`: I/N, the I-th of N, or `auto`, what the job scheduler says
    /// (Slurm's array task, `NEL_SHARD_IDX`, `RANK`), or `auto/N` where it does not say of how many (`JOB_COMPLETION_INDEX`). Stored in
    /// OUT.shards
    #[arg(long, value_name = "I/N", value_parser = ShardChoice::from_str)]
    pub shard: Option<ShardChoice>,
    /// A file of flags (`out = "runs/a"`, `formats = ["letter"]`), for what is neither typed nor in the environment
    #[arg(short = 'C', long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Print every flag with its value and where that comes from (flag, environment, file, default), and stop
    #[arg(long)]
    pub print_config: bool,
    /// Read everything again, and keep nothing of it for other runs (`concord cache`)
    #[arg(long, env = "CONCORD_NO_CACHE", value_parser = FalseyValueParser::new())]
    pub no_cache: bool,
    /// Say what would be asked and what it would take, and stop before anything is asked
    #[arg(long)]
    pub dry_run: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct CacheArguments {
    #[command(subcommand)]
    pub what: Option<CacheCommand>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Check every reading against its digest, and remove what is damaged
    Verify,
    /// Remove readings: those kept longer ago than --age, then the oldest until --size are left
    Prune {
        /// How much may stay, for example 2GiB; 0 for nothing
        #[arg(long, value_name = "SIZE", value_parser = size_or_nothing, required_unless_present = "age")]
        size: Option<u64>,
        /// How long ago readings may have been kept, for example 30d, 12h
        #[arg(long, value_name = "AGE", value_parser = age)]
        age: Option<Duration>,
    },
}

/// A size, or 0.
fn size_or_nothing(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { size(text) }
}

/// A time in days, hours, minutes or seconds.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no age: a number with d, h, m or s");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .and_then(|number| number.parse().ok())
        .ok_or_else(wrong)?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[derive(Debug, Args)]
pub(crate) struct ScenariosArguments {
    /// A checkpoint that drafts; may be given many times
    #[arg(
        short = 'M',
        long = "model",
        value_name = "DIR|FILE|ID",
        required = true
    )]
    pub models: Vec<String>,
    /// Who says which values matter for a draft: a checkpoint, or `itself` for each its own; may be given many times
    #[arg(long = "rater", value_name = "DIR|FILE|ID|itself")]
    pub raters: Vec<String>,
    /// Values to draft for, one a line, instead of those of the suite `stress`
    #[arg(long, value_name = "FILE")]
    pub values: Option<PathBuf>,
    /// Drafts of each checkpoint, each for a pair of values that is drawn
    #[arg(long, default_value_t = 48, value_name = "N")]
    pub drafts: usize,
    /// Seed of pairs and texts
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// The file of what is kept, which `concord run --suite stress --scenarios` takes; the run is stored beside it
    #[arg(short = 'o', long, value_name = "FILE.csv")]
    pub out: PathBuf,
    /// Replace the file, and begin the run anew
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub machine: MachineArguments,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArguments {
    /// What is swept over (docs/sweeps.md)
    #[arg(value_name = "FILE.toml")]
    pub file: PathBuf,
    /// The folder of all cells, instead of the file's `out`
    #[arg(short = 'o', long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// List the cells and what each would run, and stop
    #[arg(long, conflicts_with = "status")]
    pub plan: bool,
    /// Show how far each cell is and what was found so far, and stop
    #[arg(long)]
    pub status: bool,
    /// Run some cells alone: I/N, every N-th from the I-th on, or `auto`, what the job scheduler says
    #[arg(long, value_name = "I/N", value_parser = ShardChoice::from_str)]
    pub shard: Option<ShardChoice>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArguments {
    /// The folder of all shards (OUT.shards), or each shard's own
    #[arg(value_name = "SHARDS", required = true)]
    pub shards: Vec<PathBuf>,
    /// The run directory; without it, the folder's name without `.shards`
    #[arg(short = 'o', long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Begin anew where there is a run of that name
    #[arg(long)]
    pub force: bool,
    /// Show all tables at the end, not the verdict alone
    #[arg(short, long)]
    pub verbose: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

/// A name of a checkpoint: a plain file name.
pub(crate) fn checkpoint_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_alphanumeric() || "-_.@+".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(fits) {
        return Err(
            "a name has letters, digits and -_.@+, and does not begin with a point".to_owned(),
        );
    }
    if text.chars().count() > 120 {
        return Err("a name has at most 120 characters".to_owned());
    }
    Ok(text.to_owned())
}
