//! A stored run in the forms of other tools.
//!
//! Every form is of the estimates over all questions; what did not pass its gates is in none of them, since none has a place to say so.

use super::super::results::Opened;
use super::unwritten;
use crate::arguments::ExportForm;
use crate::failure::Failure;
use crate::output;
use concord_findings::{Cell, LongTable};
use concord_runs::write_bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// An estimate over all questions.
struct Metric {
    checkpoint: String,
    /// `paraphrase`, or `topic.share_of_shuffled`.
    name: String,
    /// Which answers it is of, as a form's filter.
    filter: String,
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
}

/// A run as other tools take it.
pub(super) struct Foreign<'r> {
    opened: &'r Opened,
    metrics: Vec<Metric>,
    answers: Option<&'r LongTable>,
    left_out: usize,
}

/// The cell of a column in a row.
fn cell<'t>(table: &'t LongTable, row: &'t [Cell], name: &str) -> Option<&'t Cell> {
    let at = table
        .columns
        .iter()
        .position(|column| column.name == name)?;
    row.get(at)
}

fn text<'t>(table: &'t LongTable, row: &'t [Cell], name: &str) -> Option<&'t str> {
    match cell(table, row, name)? {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

fn number(table: &LongTable, row: &[Cell], name: &str) -> Option<f64> {
    match cell(table, row, name)? {
        Cell::Number(number) if number.is_finite() => Some(*number),
        _ => None,
    }
}

fn truth(table: &LongTable, row: &[Cell], name: &str) -> Option<bool> {
    match cell(table, row, name)? {
        Cell::Truth(truth) => Some(*truth),
        _ => None,
    }
}

impl<'r> Foreign<'r> {
    /// From the tables of a run.
    pub fn of(opened: &'r Opened, tables: &'r [LongTable]) -> Self {
        let table = |name: &str| tables.iter().find(|table| table.name == name);
        let mut metrics: Vec<Metric> = Vec::new();
        let mut left_out = 0;
        if let Some(measures) = table("measures") {
            for row in &measures.rows {
                let is_over_all = text(measures, row, "group_by").is_none_or(|by| by == "all");
                if !is_over_all || text(measures, row, "base").is_some() {
                    continue;
                }
                let (Some(checkpoint), Some(measure), Some(value)) = (
                    text(measures, row, "checkpoint"),
                    text(measures, row, "measure"),
                    number(measures, row, "value"),
                ) else {
                    continue;
                };
                if truth(measures, row, "is_measurable") == Some(false) {
                    left_out += 1;
                    continue;
                }
                let quantity = text(measures, row, "quantity").filter(|name| *name != "mean");
                metrics.push(Metric {
                    checkpoint: checkpoint.to_owned(),
                    name: match quantity {
                        Some(quantity) => format!("{measure}.{quantity}"),
                        None => measure.to_owned(),
                    },
                    filter: text(measures, row, "estimand").unwrap_or("none").to_owned(),
                    value,
                    low: number(measures, row, "low"),
                    high: number(measures, row, "high"),
                });
            }
        }
        Self {
            opened,
            metrics,
            answers: table("answers"),
            left_out,
        }
    }

    /// Writes a form to a folder; returns what was written.
    pub fn write(
        &self,
        form: ExportForm,
        folder: &Path,
        dataset: Option<&str>,
    ) -> Result<Vec<PathBuf>, Failure> {
        if self.left_out > 0 {
            output::message(&format!(
                "{} estimates did not pass their gates and are left out",
                self.left_out
            ));
        }
        match form {
            ExportForm::Tables => Ok(Vec::new()),
            ExportForm::LmEval => self.lm_eval(folder),
            ExportForm::Mlflow => self.mlflow(folder),
            ExportForm::Hub => self.hub(folder, dataset),
            ExportForm::Markdown => text_file(folder, "measures.md", &self.markdown()),
            ExportForm::Latex => text_file(folder, "measures.tex", &self.latex()),
        }
    }

    fn suite(&self) -> &'static str {
        self.opened.study.about().name
    }

    /// When the run ended, as ISO 8601 with seconds.
    fn date(&self) -> String {
        let attempts = self.opened.run.manifest.attempts.iter().rev();
        let mut ended =
            attempts.map(|one| one.ended.clone().unwrap_or_else(|| one.started.clone()));
        let text = ended.next().unwrap_or_default();
        let seconds = text
            .split('.')
            .next()
            .unwrap_or_default()
            .trim_end_matches('Z');
        seconds.to_owned()
    }

    fn names(&self) -> &[String] {
        &self.opened.names
    }

    fn of_checkpoint<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m Metric> {
        self.metrics
            .iter()
            .filter(move |metric| metric.checkpoint == name)
    }

    /// What the manifest says of a checkpoint.
    fn described(&self, name: &str) -> Value {
        let mut all = self.opened.run.manifest.checkpoints.iter();
        all.find(|one| one["name"] == name)
            .cloned()
            .unwrap_or_default()
    }

    /// `CHECKPOINT/results_DATE.json` and `samples_SUITE_DATE.jsonl`.
    fn lm_eval(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let (suite, date) = (self.suite(), self.date());
        let stamp = format!("{}.000000", date.replace(':', "-"));
        let mut written = Vec::new();
        for name in self.names() {
            let mut results = Map::from_iter([
                ("name".to_owned(), json!(suite)),
                ("alias".to_owned(), json!(suite)),
            ]);
            let mut better = Map::new();
            for metric in self.of_checkpoint(name) {
                let key = |name: &str| format!("{name},{}", metric.filter);
                results.insert(key(&metric.name), json!(metric.value));
                // Intervals are not symmetric: no standard error stands for them.
                results.insert(key(&format!("{}_stderr", metric.name)), json!("N/A"));
                for (end, value) in [("low", metric.low), ("high", metric.high)] {
                    if let Some(value) = value {
                        results.insert(key(&format!("{}_ci95_{end}", metric.name)), json!(value));
                    }
                }
                better.insert(metric.name.clone(), Value::Null);
            }
            let samples = self.samples(name);
            let count = samples.len();
            results.insert("sample_len".to_owned(), json!(count));
            let described = self.described(name);
            let identity = &self.opened.run.manifest.identity;
            let limit = json!(identity.limit);
            let version = env!("CARGO_PKG_VERSION");
            let source = described["origin"]["repository"].as_str().unwrap_or(name);
            let of = |value: Value| Value::Object(Map::from_iter([(suite.to_owned(), value)]));
            let all = json!({
                "results": of(Value::Object(results)),
                "group_subtasks": of(json!([])),
                "configs": of(json!({ "task": suite, "options": identity.options, "metadata": { "version": version } })),
                "versions": of(json!(version)),
                "n-shot": of(json!(u8::from(described["form"] == "completion"))),
                "higher_is_better": of(Value::Object(better)),
                "n-samples": of(json!({ "original": count, "effective": count })),
                "config": {
                    "model": "concord", "model_args": { "pretrained": source }, "model_dtype": described["dtype"],
                    "batch_size": null, "device": null, "limit": limit, "bootstrap_iters": null,
                },
                "date": date, "model_source": "concord", "model_name": source,
                "model_name_sanitized": sanitized(source), "task_hashes": {}, "git_hash": null,
                "fingerprint": described["fingerprint"],
            });
            let place = folder.join(sanitized(name));
            std::fs::create_dir_all(&place)
                .map_err(|error| unwritten(&place, &error.to_string()))?;
            let path = place.join(format!("results_{stamp}.json"));
            let text = serde_json::to_string_pretty(&all).map_err(std::io::Error::from)?;
            write_bytes(&path, text.as_bytes())?;
            written.push(path);
            if !samples.is_empty() {
                let path = place.join(format!("samples_{suite}_{stamp}.jsonl"));
                let mut lines = String::new();
                for sample in &samples {
                    let _ = writeln!(lines, "{sample}");
                }
                write_bytes(&path, lines.as_bytes())?;
                written.push(path);
            }
        }
        Ok(written)
    }

    /// What a checkpoint answered, a line a question and order.
    fn samples(&self, name: &str) -> Vec<Value> {
        let Some(answers) = self.answers else {
            return Vec::new();
        };
        let rows = answers.rows.iter().filter(|row| {
            text(answers, row, "checkpoint") == Some(name)
                && truth(answers, row, "is_main").unwrap_or(true)
        });
        let digest = |value: &str| blake3::hash(value.as_bytes()).to_hex().to_string();
        let sample = |(id, row): (usize, &Vec<Cell>)| {
            let mut doc = Map::new();
            let (mut shares, mut options) = (Vec::new(), Vec::new());
            for (column, cell) in answers.columns.iter().zip(row) {
                if column.name.starts_with("p_option_") {
                    if let Cell::Number(p) = cell {
                        shares.push(*p);
                    }
                } else if column.name.starts_with("option_") {
                    if let Cell::Text(option) = cell {
                        options.push(json!(&**option));
                    }
                } else if !matches!(cell, Cell::Missing) {
                    doc.insert(column.name.to_string(), json!(cell));
                }
            }
            doc.insert("options".to_owned(), json!(options));
            let question = text(answers, row, "question").unwrap_or_default();
            let prompt = text(answers, row, "prompt_id").unwrap_or_default();
            let doc_hash = digest(&json!(doc).to_string());
            json!({
                "doc_id": id, "doc": doc, "target": "",
                "arguments": { "gen_args_0": { "arg_0": question, "arg_1": options } },
                "resps": [[shares]], "filtered_resps": [shares], "filter": "none",
                "metrics": ["p_supports"], "p_supports": number(answers, row, "p_supports"),
                "doc_hash": doc_hash, "prompt_hash": digest(prompt), "target_hash": digest(""),
            })
        };
        rows.enumerate().map(sample).collect()
    }

    /// A file store of `MLflow`: an experiment, and a run for each checkpoint.
    fn mlflow(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let suite = self.suite();
        let milliseconds = |date: &str| -> i64 {
            let parsed = format!("{date}Z").parse::<jiff::Timestamp>();
            parsed.map_or(0, jiff::Timestamp::as_millisecond)
        };
        let time = milliseconds(&self.date());
        let experiment = blake3::hash(format!("concord {suite}").as_bytes());
        // A number, as MLflow makes them.
        let bytes: [u8; 8] = experiment.as_bytes()[..8].try_into().unwrap_or_default();
        let experiment = (u64::from_le_bytes(bytes) >> 4).to_string();
        let mut written = Vec::new();
        let mut put = |path: PathBuf, text: &str| -> Result<(), Failure> {
            let folder = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)
                .map_err(|error| unwritten(folder, &error.to_string()))?;
            write_bytes(&path, text.as_bytes())?;
            if path.ends_with("meta.yaml") {
                written.push(path);
            }
            Ok(())
        };
        let root = folder.join(&experiment);
        put(
            root.join("meta.yaml"),
            &format!(
                "artifact_location: {}\ncreation_time: {time}\nexperiment_id: '{experiment}'\nlast_update_time: {time}\nlifecycle_stage: active\nname: {}\n",
                quoted(&root.to_string_lossy()),
                quoted(&format!("concord {suite}")),
            ),
        )?;
        let identity = &self.opened.run.manifest.identity;
        for name in self.names() {
            let what = format!("{name} {}", json!(identity));
            let id = blake3::hash(what.as_bytes()).to_hex()[..32].to_owned();
            let run = root.join(&id);
            put(
                run.join("meta.yaml"),
                &format!(
                    "artifact_uri: {}\nend_time: {time}\nentry_point_name: ''\nexperiment_id: '{experiment}'\nlifecycle_stage: active\nrun_id: {id}\nrun_name: {}\nrun_uuid: {id}\nsource_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: {time}\nstatus: 3\ntags: []\nuser_id: concord\n",
                    quoted(&run.join("artifacts").to_string_lossy()),
                    quoted(name),
                ),
            )?;
            for metric in self.of_checkpoint(name) {
                let key = mlflow_key(&format!("{}.{}", metric.name, metric.filter));
                put(
                    run.join("metrics").join(&key),
                    &format!("{time} {} 0\n", metric.value),
                )?;
                for (end, value) in [("low", metric.low), ("high", metric.high)] {
                    if let Some(value) = value {
                        let key = format!("{key}.ci95_{end}");
                        put(
                            run.join("metrics").join(key),
                            &format!("{time} {value} 0\n"),
                        )?;
                    }
                }
            }
            let described = self.described(name);
            let shown = |value: &Value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            };
            for (key, value) in [
                ("suite", json!(suite)),
                ("checkpoint", json!(name)),
                ("form", described["form"].clone()),
                ("dtype", described["dtype"].clone()),
                ("weights", described["fingerprint"]["weights"].clone()),
                ("limit", json!(identity.limit)),
            ] {
                put(run.join("params").join(key), &shown(&value))?;
            }
            put(run.join("tags").join("mlflow.runName"), name)?;
            put(run.join("tags").join("mlflow.source.name"), "concord")?;
            std::fs::create_dir_all(run.join("artifacts"))
                .map_err(|error| unwritten(&run, &error.to_string()))?;
        }
        Ok(written)
    }

    /// `CHECKPOINT/.eval_results/SUITE.yaml`, for the repository of the checkpoint.
    fn hub(&self, folder: &Path, dataset: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
        let Some(dataset) = dataset else {
            let message = "results on the hub belong to a data set, and none is named";
            return Err(Failure::usage(message, "name it: --dataset owner/name"));
        };
        let (suite, date) = (self.suite(), self.date());
        let mut written = Vec::new();
        for name in self.names() {
            let mut text = String::new();
            for metric in self.of_checkpoint(name) {
                let notes = match (metric.low, metric.high) {
                    (Some(low), Some(high)) => {
                        format!("{}; 95 % interval {low} to {high}", metric.filter)
                    }
                    _ => metric.filter.clone(),
                };
                let task = format!("{}.{}", metric.name, metric.filter);
                let _ = writeln!(
                    text,
                    "- dataset:\n    id: {}\n    task_id: {}\n  value: {}\n  date: {}\n  notes: {}",
                    quoted(dataset),
                    quoted(&task),
                    metric.value,
                    quoted(&format!("{date}Z")),
                    quoted(&notes),
                );
            }
            let place = folder.join(sanitized(name)).join(".eval_results");
            std::fs::create_dir_all(&place)
                .map_err(|error| unwritten(&place, &error.to_string()))?;
            let path = place.join(format!("{suite}.yaml"));
            write_bytes(&path, text.as_bytes())?;
            written.push(path);
        }
        Ok(written)
    }

    /// A row an estimate, a column a checkpoint.
    fn rows(&self) -> Vec<(String, Vec<Option<&Metric>>)> {
        let mut rows: BTreeMap<(usize, &str, &str), Vec<Option<&Metric>>> = BTreeMap::new();
        let mut order: Vec<(&str, &str)> = Vec::new();
        for metric in &self.metrics {
            let key = (metric.name.as_str(), metric.filter.as_str());
            let place = order
                .iter()
                .position(|known| *known == key)
                .unwrap_or_else(|| {
                    order.push(key);
                    order.len() - 1
                });
            let row = rows
                .entry((place, key.0, key.1))
                .or_insert_with(|| vec![None; self.names().len()]);
            if let Some(at) = self
                .names()
                .iter()
                .position(|name| *name == metric.checkpoint)
            {
                row[at] = Some(metric);
            }
        }
        let named = rows
            .into_iter()
            .map(|((_, name, filter), row)| (format!("{name} ({filter})"), row));
        named.collect()
    }

    fn markdown(&self) -> String {
        let safe = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let mut out = String::from("| |");
        for name in self.names() {
            let _ = write!(out, " {} |", safe(name));
        }
        let _ = write!(out, "\n|---|{}\n", "---|".repeat(self.names().len()));
        for (label, row) in self.rows() {
            let _ = write!(out, "| {} |", safe(&label));
            for metric in row {
                let _ = write!(
                    out,
                    " {} |",
                    metric.map_or_else(|| "–".to_owned(), |m| shown(m, " [", ", ", "]"))
                );
            }
            out.push('\n');
        }
        out
    }

    fn latex(&self) -> String {
        let safe = |text: &str| -> String {
            let escaped = |c: char| match c {
                '\\' => "\\textbackslash{}".to_owned(),
                '~' => "\\textasciitilde{}".to_owned(),
                '^' => "\\textasciicircum{}".to_owned(),
                '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
                c if c.is_control() => " ".to_owned(),
                c => c.to_string(),
            };
            text.chars().map(escaped).collect()
        };
        let columns = "r".repeat(self.names().len());
        let mut out = format!("\\begin{{tabular}}{{l{columns}}}\n\\hline\n");
        for name in self.names() {
            let _ = write!(out, " & {}", safe(name));
        }
        out.push_str(" \\\\\n\\hline\n");
        for (label, row) in self.rows() {
            out.push_str(&safe(&label));
            for metric in row {
                let _ = write!(
                    out,
                    " & {}",
                    metric.map_or_else(|| "--".to_owned(), |m| shown(m, " {\\small [", ", ", "]}"))
                );
            }
            out.push_str(" \\\\\n");
        }
        out.push_str("\\hline\n\\end{tabular}\n");
        out
    }
}

/// Writes one file.
fn text_file(folder: &Path, name: &str, text: &str) -> Result<Vec<PathBuf>, Failure> {
    std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error.to_string()))?;
    let path = folder.join(name);
    write_bytes(&path, text.as_bytes())?;
    Ok(vec![path])
}

/// A value with its interval.
fn shown(metric: &Metric, open: &str, between: &str, close: &str) -> String {
    match (metric.low, metric.high) {
        (Some(low), Some(high)) => {
            format!("{:.3}{open}{low:.3}{between}{high:.3}{close}", metric.value)
        }
        _ => format!("{:.3}", metric.value),
    }
}

/// A name as lm-evaluation-harness makes a folder of it.
fn sanitized(name: &str) -> String {
    let unsafe_in = |c: char| "\"<>:/|\\?*[]".contains(c);
    let name: String = name
        .chars()
        .map(|c| {
            if unsafe_in(c) || c.is_control() {
                '_'
            } else {
                c
            }
        })
        .collect();
    name.replace('/', "__")
}

/// A key as `MLflow` takes it.
fn mlflow_key(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
    name.chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect()
}

/// A text as YAML takes it: that of JSON is one.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}
