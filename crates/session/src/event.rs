//! What happens in a session, for whoever wants to know.

use concord_kernels::GpuError;
use concord_runs::CacheError;
use concord_scorer::MemoryPlan;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What happens in a session. Its text is a line for people.
#[derive(Debug)]
pub enum Event<'a> {
    /// The first GPU cannot be used for a reason that is not that there is none.
    NoGpu {
        /// Why.
        error: &'a GpuError,
    },
    /// A kernel came out wrong, and its plain form is used.
    PlainKernel {
        /// The GPU.
        gpu: usize,
        /// Its model.
        name: &'a str,
        /// The kernel.
        what: &'a str,
    },
    /// A GPU computes wrongly, and is not used.
    GpuNotUsed {
        /// The GPU.
        gpu: usize,
        /// Its model.
        name: &'a str,
        /// What came out wrong.
        what: &'a str,
        /// How.
        problem: &'a str,
    },
    /// A GPU is used.
    Gpu {
        /// The GPU.
        gpu: usize,
        /// Its model.
        name: &'a str,
    },
    /// The processor is used, since no GPU can be.
    Processor,
    /// Memory was planned for a checkpoint that is to be loaded.
    Planned {
        /// The checkpoint.
        name: &'a str,
        /// The plan.
        plan: &'a MemoryPlan,
    },
    /// Some of what is asked was read before.
    FromCache {
        /// The checkpoint.
        name: &'a str,
        /// How much of it.
        found: usize,
        /// Of how much.
        of: usize,
    },
    /// The cache of readings cannot be used, and nothing is lost by it.
    NoCache {
        /// Why.
        error: &'a CacheError,
    },
    /// A checkpoint was loaded while the one before it ran.
    LoadedAhead {
        /// The checkpoint.
        name: &'a str,
    },
    /// A checkpoint is gone through layer by layer.
    LayerMajor {
        /// The checkpoint.
        name: &'a str,
        /// Whether rows between layers outlive a stop.
        rows_are_kept: bool,
    },
    /// A checkpoint whose layers are read again for each token writes texts.
    TextsByLayer {
        /// The checkpoint.
        name: &'a str,
    },
    /// A checkpoint was read by passes of several lengths, which move bits.
    SeveralPassLengths {
        /// The checkpoint.
        name: &'a str,
        /// How many.
        lengths: usize,
    },
    /// The first line of a journal is not what was written.
    HeadDamaged {
        /// The journal.
        path: &'a Path,
    },
    /// Lines of a journal are not what was written.
    LinesDamaged {
        /// The journal.
        path: &'a Path,
        /// The first of them, from 1.
        first: usize,
        /// How many.
        count: usize,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGpu { error } => write!(out, "cuda:0: {error}: computing on the processor"),
            Self::PlainKernel { gpu, name, what } => write!(
                out,
                "cuda:{gpu} ({name}): {what} came out wrong: its plain form is used, which is slower"
            ),
            Self::GpuNotUsed {
                gpu,
                name,
                what,
                problem,
            } => write!(
                out,
                "cuda:{gpu} ({name}): {what}: {problem}: it is not used. `concord doctor --device cuda:{gpu}` says more"
            ),
            Self::Gpu { gpu, name } => write!(out, "cuda:{gpu}: {name}"),
            Self::Processor => out.write_str("computing on the processor"),
            Self::Planned { name, plan } => write!(out, "{name}: {plan}"),
            Self::FromCache { name, found, of } => write!(
                out,
                "{name}: {found} of {of} were read before, and are taken from the cache"
            ),
            Self::NoCache { error } => {
                write!(out, "{error}: the cache of readings is not used")
            }
            Self::LoadedAhead { name } => {
                write!(out, "{name}: loaded while the one before it ran")
            }
            Self::LayerMajor {
                name,
                rows_are_kept,
            } => {
                let cost = if *rows_are_kept {
                    "a stop before that begins its layer anew"
                } else {
                    "a stop before that begins this checkpoint anew (with --schedule spilled, its layer)"
                };
                write!(
                    out,
                    "{name}: no reading is complete before the last layer: {cost}"
                )
            }
            Self::TextsByLayer { name } => write!(
                out,
                "{name}: every layer is read again for each token that is written: this takes long"
            ),
            Self::SeveralPassLengths { name, lengths } => write!(
                out,
                "{name}: read by passes of {lengths} lengths: results may differ in the last bits from those of one"
            ),
            Self::HeadDamaged { path } => write!(
                out,
                "{}:1: this line is damaged, and is written again",
                path.display()
            ),
            Self::LinesDamaged { path, first, count } => {
                write!(out, "{}:{first}: ", path.display())?;
                match count {
                    1 => out.write_str("this line is")?,
                    more => write!(out, "this line and {} more are", more - 1)?,
                }
                out.write_str(" damaged; what it held is asked again")
            }
        }
    }
}

/// Who is told.
pub type Events = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// Nobody is told.
pub fn silent() -> Events {
    Arc::new(|_| ())
}
