//! A stored run in the forms of other tools.
//!
//! Every form is of the estimates over all questions that passed their gates; none has a place to say of one that it did not.

use super::super::results::Opened;
use super::wandb::Offline;
use crate::arguments::ExportForm;
use crate::failure::Failure;
use crate::output;
use concord_findings::{Cell, LongTable};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::Path;

/// Files of a form: their places in its folder, with `/` between, and what is in them.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// An estimate over all questions.
pub(super) struct Metric {
    pub checkpoint: String,
    /// `paraphrase`, or `topic.share_of_shuffled`.
    pub name: String,
    /// Which answers it is of, as a form's filter.
    pub filter: String,
    pub value: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// A run as other tools take it.
pub(super) struct Foreign<'r> {
    opened: &'r Opened,
    pub metrics: Vec<Metric>,
    answers: Option<&'r LongTable>,
    /// What was asked or chosen, where that is not all.
    pub part: Option<String>,
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
    /// From the tables of a run; `part` says what of it they are of, where that is not all.
    ///
    /// # Errors
    /// Where the suite has no estimates that pass gates.
    pub fn of(
        opened: &'r Opened,
        tables: &'r [LongTable],
        part: Option<String>,
    ) -> Result<Self, Failure> {
        let table = |name: &str| tables.iter().find(|table| table.name == name);
        let has = |table: &&LongTable, name: &str| table.columns.iter().any(|c| c.name == name);
        let measures = table("measures").filter(|table| has(table, "is_measurable"));
        let measures = measures.ok_or_else(|| {
            let suite = opened.study.about().name;
            let message = format!("what `{suite}` finds has no form for other tools");
            Failure::usage(message, "export its tables: leave --as out")
        })?;
        let mut metrics: Vec<Metric> = Vec::new();
        let mut left_out = 0;
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
            // What no gate is asked of is in the tables.
            match truth(measures, row, "is_measurable") {
                Some(true) => {}
                Some(false) => {
                    left_out += 1;
                    continue;
                }
                None => continue,
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
        Ok(Self {
            opened,
            metrics,
            answers: table("answers"),
            part,
            left_out,
        })
    }

    /// The files of a form that goes to a folder.
    pub fn files(
        &self,
        form: ExportForm,
        folder: &Path,
        dataset: Option<&str>,
    ) -> Result<Files, Failure> {
        if self.left_out > 0 {
            output::message(&format!(
                "{} estimates did not pass their gates and are left out",
                self.left_out
            ));
        }
        let one = |name: &str, text: String| Ok(vec![(name.to_owned(), text.into_bytes())]);
        match form {
            ExportForm::Tables => Ok(Vec::new()),
            ExportForm::LmEval => self.lm_eval(),
            ExportForm::Mlflow => Ok(self.mlflow(folder)),
            ExportForm::Wandb => Ok(self.wandb()),
            ExportForm::Hub => self.hub(dataset),
            ExportForm::Markdown => one("measures.md", self.markdown()),
            ExportForm::Latex => one("measures.tex", self.latex()),
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

    /// The same in seconds since 1970.
    fn seconds(&self) -> i64 {
        let parsed = format!("{}Z", self.date()).parse::<jiff::Timestamp>();
        parsed.map_or(0, jiff::Timestamp::as_second)
    }

    /// The checkpoints, in the order in which they were asked.
    pub fn names(&self) -> &[String] {
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
    fn lm_eval(&self) -> Result<Files, Failure> {
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
                    "part": self.part,
                },
                "date": self.seconds(), "model_source": "concord", "model_name": source,
                "model_name_sanitized": sanitized(source), "task_hashes": {}, "git_hash": null,
                "fingerprint": described["fingerprint"],
            });
            let place = sanitized(name);
            let text = serde_json::to_vec_pretty(&all).map_err(std::io::Error::from)?;
            written.push((format!("{place}/results_{stamp}.json"), text));
            if !samples.is_empty() {
                let path = format!("{place}/samples_{suite}_{stamp}.jsonl");
                let mut lines = String::new();
                for sample in &samples {
                    let _ = writeln!(lines, "{sample}");
                }
                written.push((path, lines.into_bytes()));
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
    fn mlflow(&self, folder: &Path) -> Files {
        let suite = self.suite();
        let time = self.seconds() * 1000;
        let experiment = blake3::hash(format!("concord {suite}").as_bytes());
        // A number, as MLflow makes them.
        let bytes: [u8; 8] = experiment.as_bytes()[..8].try_into().unwrap_or_default();
        let experiment = (u64::from_le_bytes(bytes) >> 4).to_string();
        let root = folder.join(&experiment);
        let mut written = Files::new();
        let mut put = |path: String, text: String| {
            written.push((format!("{experiment}/{path}"), text.into_bytes()));
        };
        put(
            "meta.yaml".to_owned(),
            format!(
                "artifact_location: {}\ncreation_time: {time}\nexperiment_id: '{experiment}'\nlast_update_time: {time}\nlifecycle_stage: active\nname: {}\n",
                quoted(&root.to_string_lossy()),
                quoted(&format!("concord {suite}")),
            ),
        );
        for name in self.names() {
            let id = self.id(name, 32);
            put(
                format!("{id}/meta.yaml"),
                format!(
                    "artifact_uri: {}\nend_time: {time}\nentry_point_name: ''\nexperiment_id: '{experiment}'\nlifecycle_stage: active\nrun_id: {id}\nrun_name: {}\nrun_uuid: {id}\nsource_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: {time}\nstatus: 3\ntags: []\nuser_id: concord\n",
                    quoted(&root.join(&id).join("artifacts").to_string_lossy()),
                    quoted(name),
                ),
            );
            for metric in self.of_checkpoint(name) {
                let key = mlflow_key(&format!("{}.{}", metric.name, metric.filter));
                put(
                    format!("{id}/metrics/{key}"),
                    format!("{time} {} 0\n", metric.value),
                );
                for (end, value) in [("low", metric.low), ("high", metric.high)] {
                    if let Some(value) = value {
                        put(
                            format!("{id}/metrics/{key}.ci95_{end}"),
                            format!("{time} {value} 0\n"),
                        );
                    }
                }
            }
            let shown = |value: &Value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            };
            for (key, value) in self.parameters(name) {
                put(format!("{id}/params/{key}"), shown(&value));
            }
            put(format!("{id}/tags/mlflow.runName"), name.clone());
            put(
                format!("{id}/tags/mlflow.source.name"),
                "concord".to_owned(),
            );
        }
        written
    }

    /// So many hexadecimal digits that stand for a checkpoint in this run, or a part of it, the same each time.
    fn id(&self, name: &str, digits: usize) -> String {
        let part = self.part.as_deref().unwrap_or_default();
        let what = format!("{name} {}{part}", json!(self.opened.run.manifest.identity));
        blake3::hash(what.as_bytes()).to_hex()[..digits].to_owned()
    }

    /// What a run of another tool is told of a checkpoint.
    fn parameters(&self, name: &str) -> Vec<(&'static str, Value)> {
        let described = self.described(name);
        let mut parameters = vec![
            ("suite", json!(self.suite())),
            ("checkpoint", json!(name)),
            ("form", described["form"].clone()),
            ("dtype", described["dtype"].clone()),
            ("weights", described["fingerprint"]["weights"].clone()),
            ("limit", json!(self.opened.run.manifest.identity.limit)),
        ];
        parameters.extend(self.part.iter().map(|part| ("part", json!(part))));
        parameters
    }

    /// `offline-run-TIME-ID/run-ID.wandb` for each checkpoint, as Weights & Biases' own client leaves behind without a network.
    fn wandb(&self) -> Files {
        let (suite, date) = (self.suite(), self.date());
        let project = format!("concord-{suite}");
        let time: String = date
            .replace('T', "_")
            .chars()
            .filter(|c| !"-:".contains(*c))
            .take(15)
            .collect();
        let mut written = Vec::new();
        for name in self.names() {
            let id = self.id(name, 8);
            let mut summary = Vec::new();
            for metric in self.of_checkpoint(name) {
                let key = format!("{}.{}", metric.name, metric.filter);
                let ends = [("ci95_low", metric.low), ("ci95_high", metric.high)];
                summary.extend(
                    ends.into_iter()
                        .filter_map(|(end, value)| Some((format!("{key}.{end}"), json!(value?)))),
                );
                summary.push((key, json!(metric.value)));
            }
            let config = self.parameters(name).into_iter();
            let config = config.map(|(key, value)| (key.to_owned(), value));
            let offline = Offline {
                id: &id,
                project: &project,
                name,
                started: self.seconds(),
                config: config.collect(),
                summary,
            };
            let path = format!("offline-run-{time}-{id}/run-{id}.wandb");
            written.push((path, offline.file()));
        }
        written
    }

    /// `CHECKPOINT/.eval_results/SUITE.yaml`, for the repository of the checkpoint.
    fn hub(&self, dataset: Option<&str>) -> Result<Files, Failure> {
        let Some(dataset) = dataset else {
            let message = "results on the hub belong to a data set, and none is named";
            return Err(Failure::usage(message, "name it: --dataset owner/name"));
        };
        let is_part = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let mut parts = dataset.split('/');
        if !matches!((parts.next(), parts.next(), parts.next()), (Some(a), Some(b), None) if is_part(a) && is_part(b))
        {
            let message = format!("`{dataset}` is not the name of a data set");
            return Err(Failure::usage(message, "name it: --dataset owner/name"));
        }
        let (suite, date) = (self.suite(), self.date());
        let mut written = Vec::new();
        for name in self.names() {
            let mut text = String::new();
            for metric in self.of_checkpoint(name) {
                let mut notes = match (metric.low, metric.high) {
                    (Some(low), Some(high)) => {
                        format!("{}; 95 % interval {low} to {high}", metric.filter)
                    }
                    _ => metric.filter.clone(),
                };
                if let Some(part) = &self.part {
                    let _ = write!(notes, "; {part}");
                }
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
            let path = format!("{}/.eval_results/{suite}.yaml", sanitized(name));
            written.push((path, text.into_bytes()));
        }
        Ok(written)
    }
}

/// A name as lm-evaluation-harness makes a folder of it.
///
/// # Source
/// `sanitize_model_name` of lm-evaluation-harness 0.4: `["<>:/|\\?*\[\]]+` becomes `__`.
fn sanitized(name: &str) -> String {
    let unsafe_in = |c: char| "\"<>:/|\\?*[]".contains(c) || c.is_control();
    let mut out = String::new();
    let mut was_unsafe = false;
    for c in name.chars() {
        let is_unsafe = unsafe_in(c);
        match (is_unsafe, was_unsafe) {
            (true, false) => out.push_str("__"),
            (true, true) => {}
            (false, _) => out.push(c),
        }
        was_unsafe = is_unsafe;
    }
    out
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
