//! Where a run goes.

use crate::arguments::{RunArguments, ShardChoice};
use crate::failure::Failure;
use crate::output;
use concord_checkpoint::Snapshot;
use concord_runs::{Manifest, RunDirectory, RunError, Shard, check_name, is_finished};
use concord_suites::Study;
use std::path::{Path, PathBuf};

/// Where runs go that are given no place.
const RUNS: &str = "runs";
/// What the folder of a run's shards ends with.
pub(in crate::commands) const SHARDS: &str = ".shards";

/// Where a run goes, and which part of it.
pub(super) struct Place {
    /// Where it was told to go.
    out: Option<PathBuf>,
    pub shard: Option<Shard>,
    /// Whether what is there gives way.
    force: bool,
}

impl Place {
    /// By what was typed; a name that no run can have is refused.
    pub fn of(arguments: &RunArguments) -> Result<Self, Failure> {
        let shard = arguments.shard.map(ShardChoice::here).transpose()?;
        if arguments.out.is_none() && (arguments.force || shard.is_some()) {
            let flag = if arguments.force {
                "--force"
            } else {
                "--shard"
            };
            let message = format!("{flag} needs a place");
            return Err(Failure::usage(message, "name the run with --out"));
        }
        let out = arguments.out.as_ref().map(|out| match shard {
            Some(shard) => shard_folder(out, shard),
            None => out.clone(),
        });
        if let Some(out) = &out {
            check_name(out)?;
        }
        Ok(Self {
            out,
            shard,
            force: arguments.force,
        })
    }

    /// Where the run will be, under a name of its own where it was told none.
    pub fn or(&self, name: &str) -> PathBuf {
        match &self.out {
            Some(out) => out.clone(),
            None => Path::new(RUNS).join(name),
        }
    }

    /// Where the run is that is asked for, if it is finished already. A run of something else is refused.
    pub fn finished(&self, manifest: &Manifest) -> Result<Option<PathBuf>, RunError> {
        let Some(out) = self.out.as_ref().filter(|_| !self.force) else {
            return Ok(None);
        };
        Ok(is_finished(out, &manifest.identity)?.then(|| out.clone()))
    }

    /// Whether something is where the run goes, which may be the run.
    pub fn is_there(&self) -> bool {
        let out = self.out.as_ref().filter(|_| !self.force);
        out.is_some_and(|out| out.exists())
    }

    /// Says that a part of the run was read before, where that is so.
    pub fn say_begun(&self) {
        let begun = self.out.as_ref().filter(|_| !self.force);
        if let Some(partial) = begun.map(|out| RunDirectory::partial_of(out))
            && partial.is_dir()
        {
            output::message(&format!(
                "{}: a part was read before; what follows is of the whole.",
                partial.display()
            ));
        }
    }

    /// Begins a run, or goes on with one, and says what was found there.
    pub fn begin(
        &self,
        name: &str,
        manifest: &Manifest,
        study: &dyn Study,
    ) -> Result<RunDirectory, Failure> {
        let files = study.files();
        let directory = match &self.out {
            Some(out) if self.force => RunDirectory::begin_anew(out, manifest, &files)?,
            Some(out) => RunDirectory::begin(out, manifest, &files)?,
            None => RunDirectory::begin_new(Path::new(RUNS), name, manifest, &files)?,
        };
        for note in directory.notes() {
            output::message(note);
        }
        Ok(directory)
    }
}

/// Where a shard of a run goes.
fn shard_folder(out: &Path, Shard { index, of }: Shard) -> PathBuf {
    let out: PathBuf = out.components().collect();
    let mut folder = out.file_name().unwrap_or_default().to_owned();
    folder.push(SHARDS);
    out.with_file_name(folder).join(format!("{index}-of-{of}"))
}

/// `<time>-<suite>-<checkpoints>`: names sort by time, and tell what is in them.
pub(super) fn default_name(
    started: jiff::Timestamp,
    suite: &str,
    snapshots: &[Snapshot],
) -> String {
    let names: Vec<&str> = snapshots.iter().map(|one| one.name.as_str()).collect();
    let all = match &names[..] {
        [] => "run".to_owned(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one}+{two}"),
        [first, .., last] => format!("{first}+{last}+{}", names.len() - 2),
    };
    format!("{}-{suite}-{all}", started.strftime("%Y%m%d-%H%M%S"))
}
