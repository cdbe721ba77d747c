//! `concord export`: a stored run as data.

mod foreign;
mod printed;
mod wandb;

use super::results::{Opened, settings_of, warn, write_csv};
use crate::arguments::{ExportArguments, ExportForm, Statistics, TableFormat};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use crate::parquet_file::write_parquet;
use concord_findings::{LongTable, TABLES_SCHEMA};
use concord_runs::{write_bytes, write_with};
use concord_suites::suite;
use foreign::Foreign;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file that says what a folder is an export of.
const RECORD: &str = "export.json";

/// What an export is of; stored beside its tables.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The version of what tables are.
    tables_schema: u32,
    /// The program that wrote them.
    program: String,
    /// The digest of what decides the run's readings.
    run: String,
    /// What the run's folder is called.
    run_name: String,
    /// What of it was asked, where that was limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<String>,
    /// What of it was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    selected: Option<String>,
    /// How many rows each table has, or how many bytes each file of another form.
    rows: BTreeMap<String, usize>,
}

/// Writes every table of a run.
pub fn export(arguments: &ExportArguments) -> Result<(), Failure> {
    let mut opened = Opened::open(&arguments.run)?;
    let folder = match &arguments.out {
        Some(out) => out.clone(),
        None => arguments.run.join("export"),
    };
    if arguments.form != ExportForm::Tables {
        return export_as(&mut opened, arguments, &folder);
    }
    let endings = endings(arguments.format);
    let mut record = record(&mut opened, arguments)?;
    let before = if arguments.force {
        None
    } else {
        let suite = suite(opened.study.about().name)?;
        let names = suite.table_specs().iter().flat_map(|spec| {
            let files = endings.iter();
            files.map(|ending| format!("{}.{ending}", spec.name))
        });
        refuse_others(&folder, &record, names)?
    };
    let tables = tables(&opened)?;
    std::fs::create_dir_all(&folder).map_err(|error| unwritten(&folder, &error.to_string()))?;
    let mut written = Vec::new();
    for table in &tables {
        for ending in endings {
            let name = format!("{}.{ending}", table.name);
            let path = folder.join(&name);
            write(table, &record, ending, &path)?;
            written.push(path);
            record.rows.insert(name, table.rows.len());
        }
    }
    // Files of other formats stay what they are, and its own.
    for (name, rows) in before.into_iter().flat_map(|before| before.rows) {
        if !record.rows.contains_key(&name) && folder.join(&name).is_file() {
            output::message(&format!("{name} is of an earlier export of this run"));
            record.rows.insert(name, rows);
        }
    }
    put_record(&folder, &record)?;
    tell(&record, &written)
}

/// Everything that a run read and found, as tables.
pub(super) fn tables(opened: &Opened) -> Result<Vec<LongTable>, Failure> {
    let read = opened.everything()?;
    let mut tables = opened.study.answers(&read)?;
    let settings = settings_of(&opened.run.manifest, None, &Statistics::default());
    let found = opened.study.measure(settings, &read)?;
    warn(&*found);
    tables.extend(found.tables());
    Ok(tables)
}

/// Says what is exported is not all, where it is not, and what was written.
fn tell(record: &Record, written: &[PathBuf]) -> Result<(), Failure> {
    for what in [&record.partial, &record.selected].into_iter().flatten() {
        output::message(what);
    }
    let paths = written.iter().map(|path| format!("{}\n", path.display()));
    output::data(&paths.collect::<String>())
}

/// Writes a run in the form of another tool.
fn export_as(
    opened: &mut Opened,
    arguments: &ExportArguments,
    folder: &Path,
) -> Result<(), Failure> {
    let mut record = record(opened, arguments)?;
    let tables = tables(opened)?;
    let folder = match arguments.out {
        Some(_) => folder.to_owned(),
        None => folder.join(arguments.form.name()),
    };
    let parts = [&record.partial, &record.selected].map(|part| part.as_deref());
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    let part = (!parts.is_empty()).then(|| parts.join("; "));
    let foreign = Foreign::of(opened, &tables, part)?;
    let files = foreign.files(arguments.form, &folder, arguments.dataset.as_deref())?;
    let before = if arguments.force {
        None
    } else {
        let names = files.iter().map(|(name, _)| name.clone());
        refuse_others(&folder, &record, names)?
    };
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(&name);
        let place = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(place).map_err(|error| unwritten(place, &error.to_string()))?;
        write_bytes(&path, &bytes).map_err(|error| unwritten(place, &error.to_string()))?;
        record.rows.insert(name, bytes.len());
        written.push(path);
    }
    for (name, size) in before.into_iter().flat_map(|before| before.rows) {
        if folder.join(&name).is_file() {
            record.rows.entry(name).or_insert(size);
        }
    }
    put_record(&folder, &record)?;
    // A store of many small files is shown by where its runs begin.
    let is_many = arguments.form == ExportForm::Mlflow;
    written.retain(|path| !is_many || path.ends_with("meta.yaml"));
    tell(&record, &written)
}

/// Writes what a folder is an export of.
fn put_record(folder: &Path, record: &Record) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(record).map_err(std::io::Error::from)?;
    text.push(b'\n');
    write_bytes(&folder.join(RECORD), &text).map_err(|error| unwritten(folder, &error.to_string()))
}

fn endings(format: TableFormat) -> &'static [&'static str] {
    match format {
        TableFormat::Csv => &["csv"],
        TableFormat::Parquet => &["parquet"],
        TableFormat::Both => &["csv", "parquet"],
    }
}

/// What will be written is of; chooses what is to be measured.
fn record(opened: &mut Opened, arguments: &ExportArguments) -> Result<Record, Failure> {
    let selected = opened.study.select(&arguments.selection)?;
    let identity = &opened.run.manifest.identity;
    let partial = identity.limit.map(|limit| opened.study.partial(limit));
    let place = std::fs::canonicalize(&arguments.run).unwrap_or_else(|_| arguments.run.clone());
    let name = place.file_name().unwrap_or(place.as_os_str());
    let digest = blake3::hash(json!(identity).to_string().as_bytes()).to_hex();
    Ok(Record {
        tables_schema: TABLES_SCHEMA,
        program: format!("concord {}", env!("CARGO_PKG_VERSION")),
        run: digest[..16].to_owned(),
        run_name: name.to_string_lossy().into_owned(),
        partial: partial.map(|partial| format!("partial: {partial}")),
        selected: selected.map(|selected| format!("selected: {selected}")),
        rows: BTreeMap::new(),
    })
}

/// Refuses to replace what is no export of the same part of this run; gives the record of the export that is there.
fn refuse_others(
    folder: &Path,
    own: &Record,
    names: impl Iterator<Item = String>,
) -> Result<Option<Record>, Failure> {
    let text = std::fs::read(folder.join(RECORD)).ok();
    let before = text.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    if let Some(other) = before.as_ref().filter(|before| before.run != own.run) {
        let message = format!(
            "{}: an export of another run, {}",
            folder.display(),
            other.run_name
        );
        return Err(Failure::usage(message, ADVICE));
    }
    if let Some(other) = before
        .as_ref()
        .filter(|before| before.selected != own.selected)
    {
        let message = format!(
            "{}: an export of this run, {}",
            folder.display(),
            other
                .selected
                .as_deref()
                .unwrap_or("with all that was asked")
        );
        return Err(Failure::usage(message, ADVICE));
    }
    let is_own = |name: &String| before.as_ref().is_some_and(|of| of.rows.contains_key(name));
    let is_there = |name: &String| std::fs::symlink_metadata(folder.join(name)).is_ok();
    let record = std::iter::once(RECORD.to_owned()).filter(|_| before.is_none());
    let mut others = record.chain(names.filter(|name| !is_own(name)));
    match others.find(is_there) {
        None => Ok(before),
        Some(name) => {
            let path = folder.join(name);
            let message = format!("{}: is there, and no export of this run", path.display());
            Err(Failure::usage(message, ADVICE))
        }
    }
}

const ADVICE: &str = "name another folder with --out, or let its files be replaced with --force";

fn unwritten(folder: &Path, problem: &str) -> Failure {
    let mut message = problem.to_owned();
    let shown = folder.display().to_string();
    if !message.contains(&shown) {
        message = format!("{shown}: {message}");
    }
    Failure::new(
        ExitStatus::Device,
        message,
        "name another folder with --out",
    )
}

/// Writes one table as one file.
fn write(table: &LongTable, record: &Record, ending: &str, path: &Path) -> Result<(), Failure> {
    let written = if ending == "csv" {
        write_csv(table, path)
    } else {
        let known = known(table, record);
        write_with(path, |file| write_parquet(table, &known, file))
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    written.map_err(|error| unwritten(folder, &error.to_string()))
}

/// What a Parquet file says of itself.
fn known(table: &LongTable, record: &Record) -> Vec<(&'static str, String)> {
    let mut known = vec![
        ("concord.schema_version", record.tables_schema.to_string()),
        ("concord.program", record.program.clone()),
        ("concord.run", record.run.clone()),
        ("concord.run_name", record.run_name.clone()),
        ("concord.table", table.name.to_owned()),
        ("concord.columns", json!(table.columns).to_string()),
    ];
    let parts = [
        ("concord.partial", &record.partial),
        ("concord.selected", &record.selected),
    ];
    known.extend(
        parts
            .into_iter()
            .filter_map(|(key, part)| Some((key, part.clone()?))),
    );
    known
}
