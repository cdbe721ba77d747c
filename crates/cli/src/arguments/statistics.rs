//! How results are measured.

use super::OutputFormat;
use clap::Args;
use concord_suites::{Gates, Settings};
use std::path::PathBuf;

/// How much is resampled, and what has to hold for anything to be measured.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Statistics {
    /// Resample intervals this often; without it, as often as the suite does by itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub resamples: Option<u32>,
    /// Put the intervals beside that a published study gives, where they differ
    #[arg(long)]
    pub study_intervals: bool,
    /// The least mean probability on letters with which a checkpoint is measurable by them [default: 0.5]
    #[arg(long, value_name = "P", value_parser = share)]
    pub least_label_mass: Option<f64>,
    /// The largest share of answers that change with the order of options with which a checkpoint is measurable [default: 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub most_flips: Option<f64>,
    /// The least correlation of answers in both orders with which a checkpoint is measurable [default: 0.1]
    #[arg(long, value_name = "R", value_parser = share)]
    pub least_order_correlation: Option<f64>,
    /// The least share of passages of known side that a rater reads right with which it is used [default: 0.7]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub least_known_sides: Option<f64>,
    /// The largest share of the letters' probability that a server leaves unshown with which a checkpoint is measurable [default: 0.02]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub most_not_shown: Option<f64>,
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("not a number from 0 to 1".to_owned()),
    }
}

impl Statistics {
    /// The settings that were typed, and those of `stored` where none were.
    pub fn over(&self, stored: Settings) -> Settings {
        let gates = stored.gates;
        Settings {
            resamples: self
                .resamples
                .map(|count| count as usize)
                .or(stored.resamples),
            study_intervals: self.study_intervals || stored.study_intervals,
            gates: Gates {
                label_mass: self.least_label_mass.unwrap_or(gates.label_mass),
                not_shown: self.most_not_shown.unwrap_or(gates.not_shown),
                flips: self.most_flips.unwrap_or(gates.flips),
                order_correlation: self
                    .least_order_correlation
                    .unwrap_or(gates.order_correlation),
                known_sides: self.least_known_sides.unwrap_or(gates.known_sides),
            },
            ..stored
        }
    }
}

/// How stored answers are measured and shown.
#[derive(Debug, Args)]
pub(crate) struct Measuring {
    /// Only what has KEY=VALUE, where the suite can select: KEY is language, country, controversy, topic, question, file, phrasing (original, paraphrase) or yes (supports, opposes) for questions; may be given many times, and all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    pub selection: Vec<String>,
    /// Put published values beside the results
    #[arg(long)]
    pub with_published: bool,
    /// Seed of tests and resampled intervals; without it, the (first) run's own, or 0
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub statistics: Statistics,
    /// A folder to write what was found to as well, as tables in long form (CSV); it is made where it is not there
    #[arg(long, value_name = "DIR")]
    pub tables: Option<PathBuf>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct MeasureArguments {
    /// A run directory
    #[arg(value_name = "RUN", required_unless_present_any = ["answers", "questions"], conflicts_with_all = ["questions", "answers"])]
    pub run: Option<PathBuf>,
    /// The questions that the answers are to
    #[arg(short = 'Q', long, value_name = "PATH", requires = "answers")]
    pub questions: Option<String>,
    /// `{"answers": {file: [p(supports) of every row]}}`, and `second_format` likewise where there is one; or `people:FILE.csv`, what
    /// respondents answered: columns respondent, question, answer, and file where several files have a question
    #[arg(long, value_name = "FILE", requires = "questions")]
    pub answers: Option<PathBuf>,
    #[command(flatten)]
    pub how: Measuring,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// Run directories, or RUN/CHECKPOINT for one checkpoint of a run; the first checkpoint is what the others are compared with
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Compare what runs over different questions, wordings or settings share
    #[arg(long)]
    pub intersect: bool,
    /// Show all tables, not the verdict alone
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub how: Measuring,
}
