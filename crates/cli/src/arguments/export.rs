//! `concord export`, as it is typed.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How tables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// Comma-separated values
    Csv,
    /// Parquet, with the types of columns
    Parquet,
    /// Both
    Both,
}

/// For what a run is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// Answers and estimates as tables in long form
    Tables,
    /// What lm-evaluation-harness writes: results and samples
    LmEval,
    /// A file store of `MLflow`
    Mlflow,
    /// Offline runs of Weights & Biases (`wandb sync`)
    Wandb,
    /// Results for a checkpoint's repository on the hub
    Hub,
    /// The estimates as a table of Markdown
    Markdown,
    /// The estimates as a table of LaTeX
    Latex,
}

impl ExportForm {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::LmEval => "lm-eval",
            Self::Mlflow => "mlflow",
            Self::Wandb => "wandb",
            Self::Hub => "hub",
            Self::Markdown => "markdown",
            Self::Latex => "latex",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// A run directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The folder that is written to; it is made where it is not there. Without it, `export` in the run directory
    #[arg(short = 'o', long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How tables are written
    #[arg(long, value_enum, default_value_t = TableFormat::Both)]
    pub format: TableFormat,
    /// For what: tables of its own, or the form of another tool
    #[arg(long = "as", value_enum, value_name = "FORM", default_value_t = ExportForm::Tables)]
    pub form: ExportForm,
    /// The data set that results on the hub belong to (--as hub)
    #[arg(long, value_name = "OWNER/NAME")]
    pub dataset: Option<String>,
    /// Only what has KEY=VALUE, as for `concord measure`; may be given many times, and all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    pub selection: Vec<String>,
    /// Replace files that are no export of this run
    #[arg(long)]
    pub force: bool,
}
