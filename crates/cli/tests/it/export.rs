//! Runs as data, and what is said of what is stored.

use crate::study::{read, run};
use crate::{concord, copy_folder};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The columns of a file and its rows; what is missing, and an empty text, is empty.
type Read = (Vec<String>, Vec<Vec<String>>);

fn csv(path: &Path) -> Read {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let names = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        row.iter().map(str::to_owned).collect()
    });
    (names, rows.collect())
}

fn parquet(path: &Path) -> (Read, BTreeMap<String, String>) {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let file = reader.metadata().file_metadata();
    let fields = file.schema().get_fields().iter();
    let names = fields.map(|field| field.name().to_owned()).collect();
    let known = file.key_value_metadata().unwrap().iter();
    let known = known.map(|pair| (pair.key.clone(), pair.value.clone().unwrap()));
    let known = known.collect();
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let cells = row.get_column_iter().map(|(_, field)| match field {
            Field::Str(text) => text.clone(),
            Field::Double(number) => number.to_string(),
            Field::Long(count) => count.to_string(),
            Field::Bool(truth) => truth.to_string(),
            Field::Null => String::new(),
            other => panic!("{other:?}"),
        });
        cells.collect()
    });
    ((names, rows.collect()), known)
}

/// The cells of a column.
fn column<'a>((names, rows): &'a Read, name: &str) -> impl Iterator<Item = &'a str> {
    let at = names.iter().position(|known| known == name).unwrap();
    rows.iter().map(move |row| row[at].as_str())
}

#[test]
fn both_formats_hold_the_same_and_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let open = ["--formats", "letter,cloze,open", "--passage-tokens", "8"];
    let found = run(
        folder.path(),
        &[&open[..], &["-o", "r", "--format", "json"]].concat(),
    )
    .json();
    let outcome = concord(folder.path(), &["export", "r"]).ok();
    assert!(
        outcome.stderr.contains("partial: only the first 2"),
        "{}",
        outcome.stderr
    );
    let tables = ["answers", "texts", "portrait_answers", "measures"];
    let written: Vec<String> = tables
        .iter()
        .flat_map(|name| ["csv", "parquet"].map(|ending| format!("r/export/{name}.{ending}")))
        .collect();
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), written);
    for name in tables {
        let text = csv(&at(&format!("r/export/{name}.csv")));
        let (typed, known) = parquet(&at(&format!("r/export/{name}.parquet")));
        assert!(!text.1.is_empty());
        assert_eq!(text, typed, "{name}");
        assert_eq!(known["concord.schema_version"], "1");
        assert_eq!(known["concord.table"], name);
        assert!(known["concord.partial"].contains("first 2"));
        let described: Value = serde_json::from_str(&known["concord.columns"]).unwrap();
        let described = described.as_array().unwrap().iter();
        let described: Vec<&str> = described.map(|of| of["name"].as_str().unwrap()).collect();
        assert_eq!(described, typed.0);
    }
    // What is measured is in the measures.
    let measures = csv(&at("r/export/measures.csv"));
    for (checkpoint, model) in found["findings"]["models"].as_object().unwrap() {
        for (measure, of) in model["overall"].as_object().unwrap() {
            let mut rows = measures.1.iter().filter(|row| {
                let has = |wanted: &str| row.iter().any(|cell| cell == wanted);
                row[0] == *checkpoint
                    && row[1].is_empty()
                    && row[2] == *measure
                    && has("mean")
                    && has("all")
                    && has("main")
            });
            let value = rows.next().unwrap()[8].parse::<f64>().unwrap();
            assert_eq!(json!(value), of["mean"], "{measure}");
        }
    }
    // A run with an export in it is a run as before, and is exported again.
    concord(folder.path(), &["measure", "r"]).ok();
    concord(folder.path(), &["export", "r", "--format", "csv"]).ok();
    let record = read(&at("r/export/export.json"));
    assert_eq!(record["rows"].as_object().unwrap().len(), 8);
    assert_eq!(record["run_name"], "r");
    let german = ["export", "r", "--where", "topic=privacy", "-o", "none"];
    assert_eq!(concord(folder.path(), &german).code, 2);
}

#[test]
fn files_of_others_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    run(folder.path(), &["-o", "r"]);
    run(folder.path(), &["-o", "s", "--seed", "5"]);
    std::fs::create_dir(at("mine")).unwrap();
    std::fs::write(at("mine/answers.csv"), "precious").unwrap();
    std::fs::write(at("mine/notes.txt"), "mine").unwrap();
    let export = |arguments: &[&str]| concord(folder.path(), &[&["export"], arguments].concat());
    let refused = export(&["r", "--out", "mine"]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("mine/answers.csv: is there") && refused.stderr.contains("--force"),
        "{}",
        refused.stderr
    );
    // What is not written to may be there.
    export(&["r", "--out", "mine", "--format", "parquet"]).ok();
    assert_eq!(
        std::fs::read_to_string(at("mine/answers.csv")).unwrap(),
        "precious"
    );
    assert_eq!(export(&["r", "--out", "mine"]).code, 2);
    export(&["r", "--out", "mine", "--force"]).ok();
    assert!(
        std::fs::read_to_string(at("mine/answers.csv"))
            .unwrap()
            .starts_with("checkpoint,")
    );
    assert_eq!(
        std::fs::read_to_string(at("mine/notes.txt")).unwrap(),
        "mine"
    );
    export(&["r", "--out", "mine"]).ok();
    let other = export(&["s", "--out", "mine"]);
    assert_eq!(other.code, 2);
    assert!(
        other.stderr.contains("an export of another run, r"),
        "{}",
        other.stderr
    );
    // A copy of a run is that run.
    copy_folder(&at("r"), &at("copied"));
    export(&["copied", "--out", "mine"]).ok();
    assert_eq!(
        export(&["nowhere"]).code,
        concord(folder.path(), &["measure", "nowhere"]).code
    );
    // A part of a run does not take the place of all of it.
    let part = export(&["r", "--out", "mine", "--where", "language=english"]);
    assert_eq!(part.code, 2, "{}", part.stderr);
    assert!(
        part.stderr.contains("with all that was asked"),
        "{}",
        part.stderr
    );
    // In the forms of others as well.
    std::fs::write(at("mine/measures.md"), "precious").unwrap();
    let refused = export(&["r", "--out", "mine", "--as", "markdown"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("measures.md: is there"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        std::fs::read_to_string(at("mine/measures.md")).unwrap(),
        "precious"
    );
    std::fs::write(at("file"), "").unwrap();
    let no_folder = export(&["r", "--out", "file"]);
    assert_eq!(no_folder.code, 5, "{}", no_folder.stderr);
}

#[test]
fn other_forms_hold_what_passed_its_gates_and_say_what_it_is_of() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    run(folder.path(), &["-o", "r"]);
    concord(folder.path(), &["export", "r"]).ok();
    let measures = csv(&at("r/export/measures.csv"));
    let passed: Vec<bool> = column(&measures, "is_measurable")
        .map(|cell| cell == "true")
        .collect();
    let values = column(&measures, "value").zip(column(&measures, "group_by"));
    let values = values.zip(column(&measures, "base")).zip(&passed);
    let values: Vec<String> = values
        .filter(|(((_, by), base), passed)| **passed && base.is_empty() && ["", "all"].contains(by))
        .map(|(((value, _), _), _)| format!("{:.3}", value.parse::<f64>().unwrap()))
        .collect();
    for (form, file) in [("markdown", "measures.md"), ("latex", "measures.tex")] {
        concord(folder.path(), &["export", "r", "--as", form]).ok();
        let text = std::fs::read_to_string(at(&format!("r/export/{form}/{file}"))).unwrap();
        assert!(text.contains("partial: "), "{text}");
        assert!(
            !values.is_empty() && values.iter().all(|value| text.contains(value)),
            "{values:?} in {text}"
        );
        // No row of what no gate was asked of.
        let rows = text.lines().filter(|line| line.contains("(main)")).count();
        assert_eq!(rows, 0, "{text}");
    }
    let hub = concord(
        folder.path(),
        &["export", "r", "--as", "hub", "--dataset", "no name"],
    );
    assert!(
        hub.code == 2 && hub.stderr.contains("`no name`"),
        "{}",
        hub.stderr
    );
}

#[test]
fn runs_of_before_are_exported_like_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    run(folder.path(), &["-o", "r"]);
    copy_folder(&at("r"), &at("before"));
    let now = read(&at("r/manifest.json"));
    let identity = &now["identity"];
    // As the first form had it: no digests, and no wording stored.
    let before = json!({
        "schema": 1, "study": "valueconsistency", "options": identity["options"], "limit": identity["limit"],
        "questions": identity["asked"]["questions"], "checkpoints": now["checkpoints"], "statistics": now["statistics"],
    });
    std::fs::write(at("before/manifest.json"), before.to_string()).unwrap();
    std::fs::remove_file(at("before/stimuli.json")).unwrap();
    concord(folder.path(), &["export", "r"]).ok();
    let outcome = concord(folder.path(), &["export", "before"]).ok();
    assert!(
        outcome.stderr.contains("of an earlier version"),
        "{}",
        outcome.stderr
    );
    for table in ["answers", "measures", "texts", "portrait_answers"] {
        let [now, before] =
            ["r", "before"].map(|run| csv(&at(&format!("{run}/export/{table}.csv"))));
        // The text of the option that declines is the wording's.
        let wording = now.0.iter().position(|name| name == "option_3");
        let known = |(names, rows): Read| {
            let rows = rows.into_iter().map(|row| {
                let cells = row.into_iter().enumerate();
                let cells = cells.filter(|(at, _)| Some(*at) != wording);
                cells.map(|(_, cell)| cell).collect::<Vec<_>>()
            });
            (names, rows.collect::<Vec<_>>())
        };
        assert_eq!(known(now), known(before), "{table}");
    }
}

#[test]
fn texts_of_every_kind_survive() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let odd = "Ist \"das\", 日本語で,\nja?\r\nمرحبا <b>\u{1f600}";
    let questions = [odd, "plain"].map(|text| {
        let row = json!({
            "controversial": true, "language": "english", "country": "a-b", "topic": "x,\"y\"", "topic_english": null,
            "question": text, "original": odd, "original_english": null,
            "options": { "sí, claro": "supports", "no\n": "opposes", "\"who knows\"": "neutral" },
        });
        format!("{row}\n")
    });
    std::fs::write(at("q.jsonl"), questions.concat()).unwrap();
    concord(folder.path(), &["run", "-Q", "q.jsonl", "-o", "r"]).ok();
    concord(folder.path(), &["export", "r", "-o", "t"]).ok();
    let text = csv(&at("t/answers.csv"));
    let (typed, _) = parquet(&at("t/answers.parquet"));
    assert_eq!(text, typed);
    let values = |name: &str| column(&typed, name).collect::<BTreeSet<_>>();
    assert_eq!(values("question"), BTreeSet::from([odd, "plain"]));
    assert_eq!(values("original"), BTreeSet::from([odd]));
    assert_eq!(values("topic"), BTreeSet::from(["x,\"y\""]));
    assert_eq!(values("topic_english"), BTreeSet::from([""]));
    assert!(values("option_3").is_superset(&BTreeSet::from(["sí, claro", "\"who knows\""])));
    // Three options, and one that declines where it was shown.
    let declining = column(&typed, "declining_allowed").zip(column(&typed, "p_option_4"));
    for (declining, p) in declining {
        assert_eq!(declining == "true", !p.is_empty());
    }
    assert!(column(&typed, "p_neutral").all(|p| p.parse::<f64>().is_ok()));
}

#[test]
fn stored_files_are_as_their_schemas_say() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let all = [
        "--formats",
        "letter,cloze,open",
        "--passage-tokens",
        "6",
        "--calibration-questions",
        "2",
        "--abstention",
        "all",
        "--rater",
        "itself",
        "-o",
        "r",
    ];
    run(folder.path(), &all);
    let little = [
        "run",
        "--suite",
        "randomness",
        "--sets",
        "die",
        "--wordings",
        "2",
        "--rounds",
        "1",
        "-o",
        "s",
    ];
    concord(folder.path(), &little).ok();
    let schema = |arguments: &[&str]| -> Value {
        let outcome = concord(folder.path(), &[&["schema"], arguments].concat()).ok();
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    let findings = schema(&["findings"]);
    fits(
        &findings,
        &findings,
        &read(&at("r/findings.json")),
        "findings",
    );
    let findings = schema(&["findings", "--suite", "randomness"]);
    fits(
        &findings,
        &findings,
        &read(&at("s/findings.json")),
        "findings",
    );
    let stored = schema(&["run"]);
    for run in ["r", "s"] {
        let manifest = read(&at(run).join("manifest.json"));
        fits(&stored, &stored["$defs"]["Manifest"], &manifest, "manifest");
    }
    let journal = std::fs::read_to_string(at("r/readings/demo-base.jsonl")).unwrap();
    let lines = journal.lines().skip(1).take(50);
    for line in lines {
        let line = serde_json::from_str(line).unwrap();
        fits(&stored, &stored["$defs"]["Reading"], &line, "reading");
    }
    for table in ["answers", "measures", "randomness_chain"] {
        let described = schema(&[table, "--format", "json"]);
        assert_eq!(described["schema_version"], 1);
        assert_eq!(described["table"]["name"], table);
        let human = concord(folder.path(), &["schema", table]).ok().stdout;
        for column in described["table"]["columns"].as_array().unwrap() {
            assert!(human.contains(column["about"].as_str().unwrap()), "{human}");
        }
    }
    assert_eq!(
        concord(folder.path(), &["schema", "answers", "--example"]).code,
        2
    );
    assert_eq!(concord(folder.path(), &["schema", "nothing"]).code, 2);
}

/// Checks a value against as much of JSON Schema as the schemas use.
#[track_caller]
fn fits(root: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(problem) = misfit(root, schema, value, at) {
        panic!("{problem}");
    }
}

fn misfit(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let wrong = |what: &str| Some(format!("{at}: {what}: {value}"));
    if let Some(name) = schema["$ref"].as_str() {
        let definition = root.pointer(name.trim_start_matches('#')).unwrap();
        if let Some(problem) = misfit(root, definition, value, at) {
            return Some(problem);
        }
    }
    for key in ["anyOf", "oneOf"] {
        let Some(choices) = schema[key].as_array() else {
            continue;
        };
        let problems: Vec<_> = choices
            .iter()
            .filter_map(|one| misfit(root, one, value, at))
            .collect();
        if problems.len() == choices.len() {
            return problems.into_iter().next();
        }
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return wrong("is another");
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    };
    let are = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        _ => true,
    };
    if !are {
        return wrong(&format!("is no {}", schema["type"]));
    }
    if let Some(items) = value.as_array() {
        for (number, item) in items.iter().enumerate() {
            let of = schema["prefixItems"]
                .get(number)
                .unwrap_or(&schema["items"]);
            if let Some(problem) = misfit(root, of, item, &format!("{at}/{number}")) {
                return Some(problem);
            }
        }
    }
    let object = value.as_object()?;
    for name in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(name.as_str().unwrap()) {
            return wrong(&format!("lacks {name}"));
        }
    }
    for (name, value) in object {
        let of = schema["properties"]
            .get(name)
            .unwrap_or(&schema["additionalProperties"]);
        let at = format!("{at}/{name}");
        if of == &json!(false) {
            return Some(format!("{at}: is not described"));
        }
        if let Some(problem) = misfit(root, of, value, &at) {
            return Some(problem);
        }
    }
    None
}
