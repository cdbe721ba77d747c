//! Readers of files that stand in a folder with others, one of which is a stranger's: for `cargo xtask fuzz` and for the targets in
//! `fuzz/`.

use anyhow::{Context, Result};
use concord_checkpoint::Snapshot;
use concord_report::{page, terminal};
use concord_runs::StoredRun;
use concord_suites::{Asked, CheckpointReadings, Settings, Show, StoredFiles, suite};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Folders in which one file is a stranger's.
pub struct Folders {
    place: tempfile::TempDir,
    base: Snapshot,
}

/// Stored runs, without digests and with them.
pub const RUNS: [&str; 2] = ["first-form", "sealed"];
/// The files of a stored run that may be changed; the first byte of an input says which.
pub const OF_A_RUN: [&str; 6] = [
    "manifest.json",
    "questions.json",
    "stimuli.json",
    "readings/demo-base.jsonl",
    "texts/demo-base.jsonl",
    "stances/demo-base/itself.jsonl",
];

impl Folders {
    /// Copies of golden folders.
    ///
    /// # Errors
    /// Where one cannot be copied.
    pub fn new(root: &Path) -> Result<Self> {
        let place = tempfile::tempdir()?;
        let golden = root.join("tests/golden");
        for (from, to) in [
            ("adapters/tied-both", "adapter"),
            ("runs/first-form", RUNS[0]),
            ("runs/sealed", RUNS[1]),
        ] {
            copy_folder(&golden.join(from), &place.path().join(to))?;
        }
        std::fs::create_dir(place.path().join("questions"))?;
        let base = Snapshot::open(&golden.join("families/qwen2"))?;
        Ok(Self { place, base })
    }

    /// Writes a file, calls, and puts back what was there.
    fn with<R>(
        &self,
        file: &str,
        input: &[u8],
        call: impl FnOnce(&Path) -> R,
    ) -> Result<R, String> {
        let failed = |error: std::io::Error| error.to_string();
        let path = self.place.path().join(file);
        let before = std::fs::read(&path).ok();
        std::fs::write(&path, input).map_err(failed)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| call(&path)));
        match before {
            Some(bytes) => std::fs::write(&path, bytes).map_err(failed)?,
            None => std::fs::remove_file(&path).map_err(failed)?,
        }
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// `adapter_config.json`, or the weights of an adapter, and the shape that a base gets by it.
    pub fn adapter(&self, input: &[u8]) -> Result<(), String> {
        let file = match input.first() {
            Some(b'{') => "adapter/adapter_config.json",
            _ => "adapter/adapter_model.safetensors",
        };
        self.with(file, input, |path| {
            let folder = path.parent().unwrap_or(path);
            let adapted = self.base.with_adapter(folder);
            adapted.map(|_| ()).map_err(|error| error.to_string())
        })?
    }

    /// A question file of either kind, and what is odd about it.
    pub fn questions(&self, input: &[u8]) -> Result<(), String> {
        let file = match input.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => "questions/controversial_english_us.jsonl",
            _ => "questions/controversial_english_us.csv",
        };
        self.with(file, input, |path| {
            let set = concord_questions::load(path).map_err(|error| error.to_string())?;
            drop(concord_questions::check(&set));
            Ok(())
        })?
    }

    /// One file of a stored run, and everything that is made of it.
    pub fn run(&self, input: &[u8]) -> Result<(), String> {
        let Some((which, input)) = input.split_first() else {
            return Err("nothing".to_owned());
        };
        let which = usize::from(*which);
        let file = OF_A_RUN[which % OF_A_RUN.len()];
        let run = RUNS[which / OF_A_RUN.len() % RUNS.len()];
        self.with(&format!("{run}/{file}"), input, |_| {
            check_run(&self.place.path().join(run)).map_err(|error| error.to_string())
        })?
    }
}

/// Opens a stored run, measures it, and makes tables and page of it; all is thrown away.
fn check_run(folder: &Path) -> Result<()> {
    let run = StoredRun::open(folder)?;
    let identity = &run.manifest.identity;
    let asked = Asked {
        limit: identity.limit,
        digests: identity.asked.clone(),
    };
    let suite = suite(&identity.suite)?;
    let study = suite.reopen(&identity.options, asked, &StoredFiles(run.files.clone()))?;
    let read = run.manifest.names().map(|name| {
        Ok(CheckpointReadings {
            name: name.to_owned(),
            readings: study.named_now(run.everything(name)?),
        })
    });
    let read = read.collect::<Result<Vec<_>>>()?;
    let found = study.measure(Settings::default(), &read)?;
    serde_json::to_vec(&found.json())?;
    let shown = found.exhibits(Show {
        published: true,
        answers: true,
    });
    drop((terminal(&shown), page("run", &[], &shown)));
    drop((study.answers(&read)?, found.tables()));
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &to)?;
        } else {
            std::fs::copy(&path, &to)?;
        }
    }
    Ok(())
}
