//! Questions, stimuli and checkpoints as the flags name them.

use crate::arguments::ChatTemplateUse;
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::progress::{BytesBar, stop_on_interrupt, was_interrupted};
use concord_checkpoint::hub::{Fetched, Hub, HubName, HubSettings, Origin, RepositoryKind};
use concord_checkpoint::{CheckpointError, Fingerprint, ServerFile, Snapshot, pairs};
use concord_questions::{QuestionSet, Stimuli};
use concord_readings::Form;
use concord_runs::ReadingCache;
use concord_session::Machine;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The named questions, or the demo's.
pub(super) fn questions(name: Option<&str>) -> Result<QuestionSet, Failure> {
    Ok(match name {
        Some(name) => concord_questions::load(&question_path(name)?)?,
        None => concord_questions::demo()?,
    })
}

/// Where the questions are: `hf:owner/name` is brought from the hub.
pub(super) fn question_path(name: &str) -> Result<PathBuf, Failure> {
    let Some(id) = name.strip_prefix("hf:") else {
        return Ok(PathBuf::from(name));
    };
    let Some(id) = HubName::parse(RepositoryKind::Dataset, id) else {
        let message = format!("invalid hub id `{id}`");
        return Err(Failure::usage(
            message,
            "a data set is hf:owner/name[@revision][:file]",
        ));
    };
    Ok(fetch(&id)?.path)
}

/// The named stimuli, or the project's own.
pub(super) fn stimuli(path: Option<&Path>) -> Result<Stimuli, Failure> {
    Ok(match path {
        Some(path) => Stimuli::load(path)?,
        None => Stimuli::own()?,
    })
}

/// The hub ids of a known pair.
pub(super) fn pair(name: &str) -> Result<Vec<String>, Failure> {
    let known = pairs();
    if let Some(pair) = known.iter().find(|pair| pair.name == name) {
        return Ok(pair.ids());
    }
    let names: Vec<&str> = known.iter().map(|pair| pair.name.as_str()).collect();
    let help = format!("there are {}", names.join(", "));
    Err(Failure::usage(format!("no pair `{name}`"), help))
}

/// The named checkpoints, or the demo pair; no two of one name. With adapters, the one base and then each adapter of it.
pub(super) fn checkpoints(
    names: &[impl AsRef<str>],
    adapters: &[impl AsRef<str>],
) -> Result<Vec<Snapshot>, Failure> {
    if names.is_empty() {
        return Ok(concord_checkpoint::demo_pair()?.into());
    }
    if !adapters.is_empty() && names.len() > 1 {
        let message = "adapters are put on one base, and several checkpoints are named";
        return Err(Failure::usage(message, "name one --model"));
    }
    let mut snapshots: Vec<Snapshot> = Vec::new();
    for name in names {
        push(&mut snapshots, checkpoint(name.as_ref())?);
    }
    for name in adapters {
        let adapted = adapter(&snapshots[0], name.as_ref())?;
        push(&mut snapshots, adapted);
    }
    Ok(snapshots)
}

/// Calls checkpoints what the user calls them.
pub(super) fn call(snapshots: &mut [Snapshot], names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    if names.len() != snapshots.len() {
        let message = format!(
            "--name is given {} times for {} checkpoints",
            names.len(),
            snapshots.len()
        );
        return Err(Failure::usage(
            message,
            "name each of them, adapters too, or none",
        ));
    }
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            let message = format!("two checkpoints are called `{name}`");
            return Err(Failure::usage(message, "give each --name once"));
        }
        snapshots[at].name = match &snapshots[at].server {
            // What is read of it stays marked.
            Some(server) if server.is_bounded() => format!("{name}.top{}", server.most()),
            _ => name.clone(),
        };
    }
    Ok(())
}

/// What of a path tells it from another of the same last part: `step-100_final` of `runs/step-100/final`.
fn told_by_path(snapshot: &Snapshot, others: &[Snapshot]) -> Option<String> {
    let parts = |snapshot: &Snapshot| -> Vec<String> {
        let path = snapshot.path.canonicalize().ok();
        let path = path.unwrap_or_else(|| snapshot.path.clone());
        let parts = path.components().rev().skip(1);
        parts
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect()
    };
    let own = parts(snapshot);
    let other = parts(others.iter().find(|other| other.name == snapshot.name)?);
    let at = own.iter().zip(&other).position(|(a, b)| a != b)?;
    Some(format!("{}_{}", own[at], snapshot.name))
}

/// Adds a checkpoint under a name that no other has.
fn push(snapshots: &mut Vec<Snapshot>, mut snapshot: Snapshot) {
    let keep = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let plain = |name: &str| -> String {
        name.chars()
            .map(|c| if keep(c) { c } else { '_' })
            .collect()
    };
    snapshot.name = plain(&snapshot.name);
    if snapshot.origin.is_none()
        && let Some(name) = told_by_path(&snapshot, snapshots)
    {
        snapshot.name = plain(&name);
    }
    let name = snapshot.name.clone();
    for number in 2.. {
        if snapshots.iter().all(|known| known.name != snapshot.name) {
            break;
        }
        snapshot.name = format!("{name}-{number}");
    }
    snapshots.push(snapshot);
}

/// A checkpoint by folder, file or hub id.
pub(super) fn checkpoint(name: &str) -> Result<Snapshot, Failure> {
    if ServerFile::is_one(Path::new(name)) {
        return served(Path::new(name));
    }
    if name.starts_with("http://") || name.starts_with("https://") && !name.starts_with(HUB) {
        let message = format!(
            "`{name}` is an address, and says neither which checkpoint it is nor where its tokenizer is"
        );
        return Err(Failure::usage(
            message,
            "write a file with `url`, `model` and `tokenizer`, and name it (docs/servers.md)",
        ));
    }
    let (path, origin) = locate(name)?;
    let mut snapshot = Snapshot::open(&path)?;
    name_by(&mut snapshot, origin);
    Ok(snapshot)
}

/// A checkpoint that a server holds. Its tokenizer is beside its file or on the hub.
fn served(path: &Path) -> Result<Snapshot, Failure> {
    let file = ServerFile::read(path).map_err(CheckpointError::from)?;
    let words = match file.tokenizer_beside(path) {
        Some(_) => None,
        // What is needed of a repository to make tokens stands beside its config.
        None => match HubName::parse(
            RepositoryKind::Model,
            &format!("{}:config.json", file.tokenizer),
        ) {
            Some(id) if !file.tokenizer.starts_with(['.', '/', '~']) => {
                let config = fetch(&id)?.path;
                config.parent().map(Path::to_owned)
            }
            _ => None,
        },
    };
    let snapshot = Snapshot::served(path, words.as_deref())?;
    if let Some(server) = &snapshot.server {
        output::message(&format!(
            "{}: {} at {} {}",
            snapshot.name,
            server.file.model,
            server.file.url,
            server.describes()
        ));
    }
    Ok(snapshot)
}

/// Refuses a checkpoint whose weights a command needs here.
pub(super) fn is_here(snapshot: &Snapshot, command: &str) -> Result<(), Failure> {
    match &snapshot.server {
        None => Ok(()),
        Some(server) => Err(Failure::usage(
            format!(
                "{}: its weights are at {}, and `concord {command}` needs them here",
                snapshot.name, server.file.url
            ),
            "served checkpoints are asked by `concord run` and `concord sweep`, and may be raters",
        )),
    }
}

/// Refuses a rater whose letters may be bounds: how far it can be trusted is measured by its letters.
pub(super) fn may_rate(rater: &Snapshot) -> Result<(), Failure> {
    match &rater.server {
        Some(server) if server.is_bounded() => Err(Failure::usage(
            format!(
                "{}: cannot be a rater: its server {}",
                rater.name,
                server.describes()
            ),
            "start the server so that it shows more, or scores prompts",
        )),
        _ => Ok(()),
    }
}

/// A checkpoint, with an adapter where one is named.
pub(super) fn adapted(name: &str, by: Option<&str>) -> Result<Snapshot, Failure> {
    let base = checkpoint(name)?;
    match by {
        Some(by) => adapter(&base, by),
        None => Ok(base),
    }
}

/// An adapter of a base by folder or hub id.
pub(super) fn adapter(base: &Snapshot, name: &str) -> Result<Snapshot, Failure> {
    if base.server.is_some() {
        return Err(Failure::usage(
            format!(
                "{}: adapters are put on weights that are here, and these are served",
                base.name
            ),
            "let the server put it on, and name it as a checkpoint of its own",
        ));
    }
    let (path, origin) = locate(name)?;
    let mut snapshot = base.with_adapter(&path)?;
    name_by(&mut snapshot, origin);
    if let Some(adapter) = &snapshot.adapter
        && let Some(first) = adapter.lacking().first()
    {
        output::message(&format!(
            "{}: adapter_config.json targets {} modules that are not in its file, `{first}` first: they stay as they are in the base",
            snapshot.name,
            adapter.lacking().len()
        ));
    }
    let made_for = snapshot
        .adapter
        .as_ref()
        .and_then(|adapter| adapter.made_for());
    if let Some(made_for) = made_for.filter(|made_for| !is_same(made_for, base)) {
        output::message(&format!(
            "{}: made for {made_for}, put on {}",
            snapshot.name, base.name
        ));
    }
    Ok(snapshot)
}

/// Whether a base is what an adapter's maker called it: by its hub id, or by the last part of its path.
fn is_same(made_for: &str, base: &Snapshot) -> bool {
    if let Some(origin) = &base.origin {
        return made_for.trim_end_matches('/') == origin.repository;
    }
    Path::new(made_for)
        .file_name()
        .is_some_and(|name| *name == *base.name)
}

/// A repository's snapshots are folders named for commits: the repository's name says more.
fn name_by(snapshot: &mut Snapshot, origin: Option<Origin>) {
    if let Some(origin) = origin {
        if !snapshot.path.is_dir() {
            snapshot.origin = Some(origin);
            return;
        }
        let name = origin.repository.rsplit('/').next();
        name.unwrap_or(&origin.repository)
            .clone_into(&mut snapshot.name);
        if origin.revision != "main" {
            snapshot.name = format!("{}@{}", snapshot.name, origin.revision);
        }
        snapshot.origin = Some(origin);
    }
}

/// What the hub's pages begin with.
const HUB: &str = "https://huggingface.co/";

/// Where something is under a name.
enum Place {
    Here(PathBuf),
    Hub(HubName),
}

/// What is there under this name is taken; else it is a hub id.
fn place(name: &str) -> Result<Place, Failure> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(Place::Here(path));
    }
    // A name below a folder that is here is a path that was mistyped.
    let first = path.components().next();
    let is_below = path.components().count() > 1
        && first.is_some_and(|first| Path::new(first.as_os_str()).is_dir());
    if is_below || name.starts_with(['.', '/', '~']) || name.ends_with('/') {
        return Err(CheckpointError::NoFolder { path }.into());
    }
    let id = name.strip_prefix(HUB).unwrap_or(name);
    let id = HubName::parse(RepositoryKind::Model, id);
    id.map(Place::Hub)
        .ok_or_else(|| CheckpointError::NoFolder { path }.into())
}

/// Where what a name means is, brought from the hub where it is there.
fn locate(name: &str) -> Result<(PathBuf, Option<Origin>), Failure> {
    match place(name)? {
        Place::Here(path) => Ok((path, None)),
        Place::Hub(id) => {
            let Fetched { path, origin, .. } = fetch(&id)?;
            Ok((path, Some(origin)))
        }
    }
}

/// Refuses a name that is neither here nor may be on the hub. Nothing is fetched.
pub(super) fn may_be_there(name: &str) -> Result<(), Failure> {
    place(name).map(drop)
}

/// Brings a repository into the cache, with a bar.
pub(super) fn fetch(name: &HubName) -> Result<Fetched, Failure> {
    let failed = |error| Failure::hub(&error, name.kind);
    let hub = Hub::new(HubSettings::from_environment().map_err(failed)?);
    stop_on_interrupt();
    let mut bar: Option<BytesBar> = None;
    let fetched = hub.fetch(name, &mut |transfer| {
        let bar = bar.get_or_insert_with(|| BytesBar::new(&name.to_string(), transfer.total));
        bar.show(transfer);
        if was_interrupted() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    if let Some(bar) = bar {
        bar.finish();
    }
    let fetched = fetched.map_err(failed)?;
    if let Some(error) = &fetched.stands_in {
        output::message(&format!(
            "{error}; commit {} is in the cache and taken",
            fetched.origin.commit
        ));
    }
    Ok(fetched)
}

/// Where what was read is kept for other runs, unless that is not wanted or there is no place for it.
pub(super) fn cache(no_cache: bool) -> Option<ReadingCache> {
    let folder = concord_checkpoint::cache_folder()?;
    (!no_cache).then(|| ReadingCache::in_folder(&folder))
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

/// How a checkpoint is asked.
pub(super) fn form(snapshot: &Snapshot, template: ChatTemplateUse) -> Result<Form, Failure> {
    match template {
        ChatTemplateUse::Always if !snapshot.is_aligned() => {
            let message = format!(
                "{}: --apply-chat-template, but it has no chat template",
                snapshot.path.display()
            );
            let help = "add chat_template.jinja to the folder, or use --apply-chat-template=auto";
            Err(Failure::new(ExitStatus::Checkpoint, message, help))
        }
        ChatTemplateUse::Always => Ok(Form::Chat),
        ChatTemplateUse::Never => Ok(Form::Completion),
        ChatTemplateUse::Auto => Ok(if snapshot.is_aligned() {
            Form::Chat
        } else {
            Form::Completion
        }),
    }
}

/// What is stored of a checkpoint.
pub(super) fn described(
    snapshot: &Snapshot,
    form: Form,
    machine: &Machine,
) -> Result<Value, Failure> {
    if let Some(server) = &snapshot.server {
        return Ok(json!({
            "name": snapshot.name,
            "form": form,
            "template": snapshot.template.as_ref().map(|template| template.traits()),
            // A run does not go on with a server that shows less, or more.
            "dtype": format!("as served, which {}", server.describes()),
            "products": "as served",
            "parameters": snapshot.spec.parameters(),
            "spec": snapshot.spec,
            "bos_token": snapshot.vocabulary.bos(),
            "fingerprint": fingerprint(snapshot)?,
            "server": { "url": server.file.url, "model": server.file.model, "shows": server.describes() },
        }));
    }
    Ok(json!({
        "name": snapshot.name,
        "form": form,
        "origin": snapshot.origin,
        "template": snapshot.template.as_ref().map(|template| template.traits()),
        "dtype": machine.dtype_name(snapshot),
        "products": machine.products(),
        "parameters": snapshot.spec.parameters(),
        "spec": snapshot.spec,
        "bos_token": snapshot.vocabulary.bos(),
        "fingerprint": fingerprint(snapshot)?,
    }))
}
