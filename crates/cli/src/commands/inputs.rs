//! Questions, stimuli and checkpoints as the flags name them.

use crate::Failure;
use crate::output;
use concord_checkpoint::{Fingerprint, Snapshot};
use concord_questions::{QuestionSet, Stimuli};
use std::path::Path;

/// The named questions, or the demo's.
pub(super) fn questions(path: Option<&Path>) -> Result<QuestionSet, Failure> {
    Ok(match path {
        Some(path) => concord_questions::load(path)?,
        None => concord_questions::demo()?,
    })
}

/// The named stimuli, or the project's own.
pub(super) fn stimuli(path: Option<&Path>) -> Result<Stimuli, Failure> {
    Ok(match path {
        Some(path) => Stimuli::load(path)?,
        None => Stimuli::own()?,
    })
}

/// The named checkpoints, or the demo pair; no two of one name.
pub(super) fn checkpoints(paths: &[impl AsRef<Path>]) -> Result<Vec<Snapshot>, Failure> {
    if paths.is_empty() {
        return Ok(concord_checkpoint::demo_pair()?.into());
    }
    let mut snapshots: Vec<Snapshot> = Vec::new();
    for path in paths {
        let mut snapshot = Snapshot::open(path.as_ref())?;
        let name: String = snapshot
            .name
            .chars()
            .map(|c| {
                if c.is_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        snapshot.name.clone_from(&name);
        for number in 2.. {
            if snapshots.iter().all(|known| known.name != snapshot.name) {
                break;
            }
            snapshot.name = format!("{name}-{number}");
        }
        snapshots.push(snapshot);
    }
    Ok(snapshots)
}

/// Bytes from which reading weights for their digest takes a while.
const WORTH_SAYING: u64 = 1 << 30;

/// The checkpoint's digests; says so where that means reading much.
pub(super) fn fingerprint(snapshot: &Snapshot) -> Result<Fingerprint, Failure> {
    let unread = snapshot.weights.unread_bytes();
    if unread >= WORTH_SAYING {
        output::message(&format!(
            "{}: reading {:.1} GiB of weights once for their fingerprint",
            snapshot.name,
            unread as f64 / f64::from(1 << 30)
        ));
    }
    Ok(snapshot.fingerprint()?)
}
