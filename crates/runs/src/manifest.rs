//! What a run is of, who worked on it when, and how far it came.
//!
//! Three parts: the *identity*, which decides the readings and which alone has to be the same where a run goes on; the *attempts*, one for
//! each time that somebody worked on it; the *progress*. Beside them stands what is good to know of the checkpoints.

use crate::seal::digest_of;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The latest form of a manifest.
pub(crate) const SCHEMA: u64 = 4;

/// The first form with an identity; in it, raters were called readers.
const WITH_IDENTITY: u64 = 3;

/// Everything that decides what is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// The suite.
    pub suite: String,
    /// Its options.
    pub options: Value,
    /// How many questions were asked at most, where that was limited.
    pub limit: Option<u64>,
    /// What is asked, by what it is: digests of questions and wordings.
    pub asked: Map<String, Value>,
    /// Who is asked, in that order.
    pub checkpoints: Vec<Checkpoint>,
    /// Who rates what they wrote.
    #[serde(alias = "readers")]
    pub raters: Vec<Checkpoint>,
    /// By what numbers are computed.
    pub numerics: Numerics,
    /// Which part of it this is, where it is read in parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// One of several parts that are read apart and merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 1.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl std::fmt::Display for Shard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.index, self.of)
    }
}

/// A checkpoint, as far as it decides what is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// Its name in the run.
    pub name: String,
    /// How it is spoken to.
    pub form: Option<String>,
    /// What products multiply.
    pub dtype: Option<String>,
    /// Digests of config, tokenizer, template, weights and adapter, and one of all.
    pub fingerprint: Map<String, Value>,
}

/// By what numbers are computed, as far as it moves their bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Numerics {
    /// Raised where the same program computes other bits than before.
    pub version: u32,
    /// What products are made of.
    pub products: String,
    /// Models and libraries of GPUs, each once.
    pub gpus: Vec<Map<String, Value>>,
    /// Rows of a pass, where they move bits: on GPUs.
    pub rows_per_pass: Option<u64>,
}

/// One time that somebody worked on the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// When it began.
    pub started: String,
    /// When it ended, where it could say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How it ended: `finished`, or why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The program and the commit that it was built from, where that is known.
    pub program: String,
    /// The command line.
    pub command: Vec<String>,
    /// Variables that the program obeys.
    pub environment: BTreeMap<String, String>,
    /// Host, system, processor, threads.
    pub machine: Map<String, Value>,
    /// What computed.
    pub device: String,
    /// GPUs with what tells one from another of its model.
    pub gpus: Vec<Value>,
    /// Where questions, wordings and checkpoints were.
    pub paths: Map<String, Value>,
    /// What ran when, by when it began; nothing where it did not end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Span>,
}

/// Something that ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Span {
    /// What.
    pub what: String,
    /// Of which checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// From when, in seconds since the attempt began.
    pub from: f64,
    /// To when.
    pub to: f64,
}

/// What a run stores about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// The form.
    pub schema: u64,
    /// What decides the readings.
    pub identity: Identity,
    /// What is good to know of the checkpoints, in their order.
    pub checkpoints: Vec<Value>,
    /// The same of those who rate.
    #[serde(alias = "readers")]
    pub raters: Vec<Value>,
    /// How findings were measured.
    pub statistics: Map<String, Value>,
    /// Who worked on it.
    pub attempts: Vec<Attempt>,
    /// What was read and what it cost, by checkpoint.
    pub progress: Map<String, Value>,
    /// The digests of the other files; absent in forms that had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Map<String, Value>>,
}

impl Identity {
    /// The digest of all of it.
    pub(crate) fn digest(&self) -> String {
        digest_of(&json!(self))
    }

    /// The first place where it is another, as keys with points between them.
    pub fn difference(&self, other: &Self) -> Option<String> {
        first_difference(&json!(self), &json!(other)).map(|keys| {
            let known: Vec<String> = keys.into_iter().rev().collect();
            known.join(".")
        })
    }
}

/// The keys to the first value that differs, from the innermost.
fn first_difference(a: &Value, b: &Value) -> Option<Vec<String>> {
    if a == b {
        return None;
    }
    let inside = |key: String, a: &Value, b: &Value| {
        let mut keys = first_difference(a, b)?;
        keys.push(key);
        Some(keys)
    };
    let null = Value::Null;
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys());
            let mut found = keys.filter_map(|key| {
                let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                inside(key.clone(), a, b)
            });
            found.next()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut found = a
                .iter()
                .zip(b)
                .enumerate()
                .filter_map(|(index, (a, b))| inside(index.to_string(), a, b));
            found.next()
        }
        _ => Some(Vec::new()),
    }
}

impl Manifest {
    /// A manifest as it was stored, in this form or one of before.
    ///
    /// # Errors
    /// What the parser says.
    pub(crate) fn of(stored: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let schema = stored.get("schema").and_then(Value::as_u64).unwrap_or(0);
        if schema >= WITH_IDENTITY {
            return serde_json::from_value(Value::Object(stored));
        }
        Ok(Self::of_before(&stored))
    }

    /// What forms 1 and 2 said, as far as it is still asked for.
    fn of_before(stored: &Map<String, Value>) -> Self {
        let value = |key: &str| stored.get(key).cloned().unwrap_or_default();
        let object = |key: &str| value(key).as_object().cloned().unwrap_or_default();
        let list = |key: &str| value(key).as_array().cloned().unwrap_or_default();
        let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
        let checkpoint = |described: &Value| Checkpoint {
            name: text(described, "name").unwrap_or_default(),
            form: text(described, "form"),
            dtype: text(described, "dtype"),
            fingerprint: described
                .get("fingerprint")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        };
        let asked = ["questions", "stimuli", "wordings"].map(|key| (key.to_owned(), value(key)));
        let identity = Identity {
            suite: value("study").as_str().unwrap_or_default().to_owned(),
            options: value("options"),
            limit: value("limit").as_u64(),
            asked: asked.into_iter().collect(),
            checkpoints: list("checkpoints").iter().map(checkpoint).collect(),
            raters: list("readers").iter().map(checkpoint).collect(),
            numerics: Numerics {
                products: text(&value("kernels"), "products").unwrap_or_default(),
                ..Numerics::default()
            },
            shard: None,
        };
        let mut machine = object("machine");
        machine.insert("threads".to_owned(), value("threads"));
        let attempt = Attempt {
            started: value("started").as_str().unwrap_or_default().to_owned(),
            program: value("program").as_str().unwrap_or_default().to_owned(),
            machine,
            device: value("device").as_str().unwrap_or_default().to_owned(),
            gpus: list("gpus"),
            paths: object("paths"),
            ..Attempt::default()
        };
        Self {
            schema: value("schema").as_u64().unwrap_or(0),
            identity,
            checkpoints: list("checkpoints"),
            raters: list("readers"),
            statistics: object("statistics"),
            attempts: vec![attempt],
            progress: object("results"),
            files: stored.get("files").and_then(Value::as_object).cloned(),
        }
    }

    /// The names of the checkpoints, in the order in which they were asked.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.identity
            .checkpoints
            .iter()
            .map(|one| one.name.as_str())
    }

    /// The names of those who rate what they wrote.
    pub fn rater_names(&self) -> impl Iterator<Item = &str> {
        self.identity.raters.iter().map(|one| one.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_place() {
        let identity = Identity {
            suite: "s".to_owned(),
            options: json!({ "seed": 1, "formats": ["a"] }),
            checkpoints: vec![Checkpoint::default()],
            ..Identity::default()
        };
        let changed = |change: fn(&mut Identity)| {
            let mut other = identity.clone();
            change(&mut other);
            assert_ne!(other.digest(), identity.digest());
            identity.difference(&other).unwrap()
        };
        assert_eq!(identity.difference(&identity), None);
        assert_eq!(changed(|i| i.options["seed"] = json!(2)), "options.seed");
        assert_eq!(
            changed(|i| i.options["formats"] = json!([])),
            "options.formats"
        );
        assert_eq!(changed(|i| i.options["more"] = json!(1)), "options.more");
        assert_eq!(
            changed(|i| i.checkpoints[0].dtype = Some("f32".into())),
            "checkpoints.0.dtype"
        );
        assert_eq!(changed(|i| i.limit = Some(3)), "limit");
    }

    #[test]
    fn forms_of_before_are_read() {
        let stored = json!({
            "schema": 2, "study": "valueconsistency", "limit": 4, "options": { "seed": 3 }, "threads": 2, "started": "then",
            "checkpoints": [{ "name": "m", "form": "chat", "dtype": "f32", "fingerprint": { "whole": "x" }, "parameters": 5 }],
            "questions": { "digest": "q" }, "readers": [{ "name": "itself" }], "results": { "m": { "prompts": 7 } }, "files": {},
        });
        let manifest = Manifest::of(stored.as_object().unwrap().clone()).unwrap();
        assert_eq!(manifest.names().collect::<Vec<_>>(), ["m"]);
        assert_eq!(manifest.rater_names().collect::<Vec<_>>(), ["itself"]);
        assert_eq!(manifest.identity.options["seed"], 3);
        assert_eq!(manifest.identity.asked["questions"]["digest"], "q");
        assert_eq!(manifest.progress["m"]["prompts"], 7);
        assert_eq!(manifest.attempts[0].machine["threads"], 2);
        assert!(manifest.files.is_some());
        // And this form as it is written.
        let mut again = json!(Manifest {
            schema: SCHEMA,
            ..manifest.clone()
        });
        let read = |stored: &Value| Manifest::of(stored.as_object().unwrap().clone()).unwrap();
        assert_eq!(read(&again).identity, manifest.identity);
        assert_eq!(again["raters"], json!([{ "name": "itself" }]));
        // The form before it said readers.
        again["schema"] = json!(3);
        for object in ["", "/identity"] {
            let object = again.pointer_mut(object).unwrap().as_object_mut().unwrap();
            let raters = object.remove("raters").unwrap();
            object.insert("readers".to_owned(), raters);
        }
        let before = read(&again);
        assert_eq!(before.identity, manifest.identity);
        assert_eq!(before.raters, manifest.raters);
        assert_eq!(before.rater_names().collect::<Vec<_>>(), ["itself"]);
    }
}
