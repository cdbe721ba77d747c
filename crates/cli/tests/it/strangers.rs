//! What came from strangers: stored runs, templates, names.

use crate::{concord, concord_on, copy_folder, copy_of_golden, golden};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Spoils a value.
type Change<'a> = &'a dyn Fn(&mut Value);

/// A run as the first version of the form stored it, without digests: what is changed in it is not noticed as such.
fn first_form(folder: &Path) -> PathBuf {
    let run = folder.join("run");
    copy_folder(&golden("runs/first-form"), &run);
    run
}

fn changed(path: &Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_run_of_the_first_form_is_measured_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let run = first_form(folder.path());
    let stored: Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("findings.json")).unwrap()).unwrap();
    let again = concord(folder.path(), &["measure", "run", "--format", "json"])
        .ok()
        .json();
    let file = "controversial_english_world";
    for model in ["demo-base", "demo-aligned"] {
        let of = |findings: &Value| findings["models"][model].clone();
        let (stored, again) = (of(&stored), of(&again));
        for key in [
            "paraphrase",
            "topic",
            "paraphrase_by_topic",
            "support_by_topic",
        ] {
            assert_eq!(
                again["files"][file][key], stored["files"][file][key],
                "{key}"
            );
        }
        let (before, after) = (&stored["open"]["readers"], &again["open"]["raters"]);
        for (rater, of_before) in before.as_object().unwrap() {
            assert_eq!(after[rater]["trust"], of_before["trust"]);
            let mean = |of: &Value| of["consistency"]["topic"]["mean"].clone();
            assert_eq!(mean(&after[rater]), mean(of_before));
        }
        // No question has a translation under the same topic: each counted as agreeing with itself, and none does any more.
        assert_eq!(stored["overall"]["multilingual"]["mean"], 0.0);
        assert_eq!(stored["overall"]["multilingual"]["alone"], 6);
        assert_eq!(again["overall"].get("multilingual"), None);
        assert_eq!(again["questions"]["alone"]["multilingual"], 6);
    }
    concord(folder.path(), &["report", "run"]).ok();
    concord(folder.path(), &["compare", "run", "run"]).ok();
}

#[test]
fn readings_that_do_not_fit_are_refused_by_name() {
    let of_line = |line: &str, change: &dyn Fn(&mut Value)| -> String {
        let mut value: Value = serde_json::from_str(line).unwrap();
        change(&mut value);
        value.to_string()
    };
    let changes: [(&str, Change); 4] = [
        ("one label too many", &|reading| {
            let labels = reading["answers"][0]["next_token"]["labels"]
                .as_array_mut()
                .unwrap();
            let mut third = labels[0].clone();
            third["label"] = "C".into();
            labels.push(third);
        }),
        ("one too few", &|reading| {
            reading["answers"][0]["next_token"]["labels"]
                .as_array_mut()
                .unwrap()
                .pop();
        }),
        ("in another order", &|reading| {
            reading["answers"][0]["next_token"]["labels"]
                .as_array_mut()
                .unwrap()
                .reverse();
        }),
        ("one twice", &|reading| {
            let labels = reading["answers"][0]["next_token"]["labels"]
                .as_array_mut()
                .unwrap();
            labels[1] = labels[0].clone();
        }),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        let run = first_form(folder.path());
        let journal = run.join("readings/demo-base.jsonl");
        let text = std::fs::read_to_string(&journal).unwrap();
        let lines = text.lines().enumerate().map(|(index, line)| {
            if index == 0 {
                of_line(line, change)
            } else {
                line.to_owned()
            }
        });
        std::fs::write(&journal, lines.map(|line| line + "\n").collect::<String>()).unwrap();
        for command in [
            &["measure", "run"][..],
            &["report", "run"],
            &["compare", "run", "run"],
        ] {
            let outcome = concord(folder.path(), command);
            assert_eq!(outcome.code, 3, "{what} {command:?} {}", outcome.stderr);
            assert!(
                outcome.stderr.contains("is of the labels"),
                "{what} {}",
                outcome.stderr
            );
        }
    }
}

#[test]
fn a_run_stays_inside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["/abs", "../outside", "a/b"] {
        let run = first_form(folder.path());
        changed(&run.join("manifest.json"), |manifest| {
            manifest["checkpoints"][0]["name"] = name.into();
        });
        for command in [
            &["measure", "run"][..],
            &["report", "run"],
            &["rate", "run", "--rater", "nobody"],
        ] {
            let outcome = concord(folder.path(), command);
            assert!(
                outcome.code != 0 && outcome.code != 101,
                "{name} {command:?} {}",
                outcome.stderr
            );
        }
        let said = concord(folder.path(), &["measure", "run"]).stderr;
        assert!(said.contains("not a plain name"), "{said}");
        std::fs::remove_dir_all(&run).unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let run = first_form(folder.path());
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        for name in ["report.html", "report.html.new"] {
            symlink(&precious, run.join(name)).unwrap();
        }
        concord(folder.path(), &["report", "run"]).ok();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
        let journal = run.join("readings/demo-base.jsonl");
        std::fs::remove_file(&journal).unwrap();
        symlink(&precious, &journal).unwrap();
        let outcome = concord(folder.path(), &["measure", "run"]);
        assert!(
            outcome.code == 2 && outcome.stderr.contains("is a link"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn sets_and_manifests_that_cannot_be_measured_are_said() {
    let first: [(&str, Change, &str); 5] = [
        (
            "questions.json",
            &|set| {
                let copy = set["files"][0].clone();
                set["files"].as_array_mut().unwrap().push(copy);
            },
            "two files",
        ),
        (
            "questions.json",
            &|set| set["files"][0]["questions"][0]["options"] = serde_json::json!([]),
            "supports",
        ),
        (
            "manifest.json",
            &|manifest| {
                let copy = manifest["checkpoints"][0].clone();
                manifest["checkpoints"].as_array_mut().unwrap().push(copy);
            },
            "checkpoints",
        ),
        (
            "manifest.json",
            &|manifest| manifest["schema"] = 7.into(),
            "later version",
        ),
        (
            "manifest.json",
            &|manifest| manifest["statistics"]["resamples"] = u64::MAX.into(),
            "",
        ),
    ];
    for (file, change, part) in first {
        let folder = tempfile::tempdir().unwrap();
        let run = first_form(folder.path());
        changed(&run.join(file), change);
        let outcome = concord(folder.path(), &["measure", "run"]);
        assert_eq!(
            outcome.code == 0,
            part.is_empty(),
            "{file} {}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains(part),
            "{part} not in {}",
            outcome.stderr
        );
    }
}

/// A template that would end the process or never end is an error with its reason.
#[test]
fn templates_of_strangers_end_nothing_but_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("biased-tied-sharded", folder.path());
    let hostile = golden("hostile-templates.json");
    let hostile: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(hostile).unwrap()).unwrap();
    assert!(hostile.len() > 100);
    let begun = std::time::Instant::now();
    let mut seen = 0;
    // One of each kind; `cargo xtask fuzz` runs them all and many more.
    for entry in hostile.iter().step_by(6).chain([&serde_json::json!({
        "name": "itself", "head": "{% set ns=namespace() %}{% set ns.a=ns %}{{ ns }}", "repeat": "", "times": 0, "tail": ""
    })]) {
        let text = |key: &str| entry[key].as_str().unwrap();
        let times = usize::try_from(entry["times"].as_u64().unwrap()).unwrap();
        let source = format!("{}{}{}", text("head"), text("repeat").repeat(times), text("tail"));
        std::fs::write(model.join("chat_template.jinja"), source).unwrap();
        let input = "{\"messages\":[{\"role\":\"user\",\"content\":\"A or B?\"}]}";
        let arguments = ["score", "--model", model.to_str().unwrap(), "--prompts", "-"];
        let outcome = concord_on(None, folder.path(), &arguments, input);
        // Some do no harm, and a template that says nothing of the question is refused.
        assert!(
            outcome.code == 0 || (outcome.code == 4 && outcome.stderr.contains("the chat template fails")),
            "{}: {} {}",
            text("name"),
            outcome.code,
            outcome.stderr
        );
        seen += 1;
    }
    assert!(seen > 20);
    assert!(begun.elapsed().as_secs() < 180, "{:?}", begun.elapsed());
}

/// No command shows what would move a terminal's cursor, colour it or turn its direction.
#[test]
fn nothing_of_strangers_reaches_the_terminal_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let nasty = "x\u{1b}[31m\u{1b}]0;t\u{7}\u{9b}2J\u{202e}\u{2066}\ry";
    let row = |question: &str| {
        serde_json::json!({
            "language": "english", "country": "us", "topic": nasty, "question": format!("{question} {nasty}"),
            "original": "Q?", "options": { format!("yes {nasty}"): "supports", "no": "opposes" },
        })
        .to_string()
    };
    std::fs::write(
        folder.path().join("q.jsonl"),
        format!("{}\n{}\n", row("A?"), row("B?")),
    )
    .unwrap();
    let named = folder.path().join(format!("m{nasty}").replace('\r', ""));
    copy_folder(&golden("../../models/demo/aligned"), &named);
    let other = folder.path().join("other");
    copy_folder(&golden("../../models/demo/aligned"), &other);
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}{# \u{1b}[31m #}";
    std::fs::write(named.join("chat_template.jinja"), template).unwrap();
    let named = named.to_str().unwrap();
    let line = serde_json::json!({ "id": nasty, "prompt": nasty, "continuations": [nasty], "mine": nasty }).to_string();
    std::fs::write(folder.path().join("p.jsonl"), &line).unwrap();
    let generated = serde_json::json!({ "id": nasty, "prompt": nasty, "mine": nasty }).to_string();
    std::fs::write(folder.path().join("g.jsonl"), &generated).unwrap();
    let formats = "letter,cloze,open";
    let commands: [&[&str]; 16] = [
        &["run", "-Q", "q.jsonl", "-M", named, "--out", "r"],
        &[
            "run", "-Q", "q.jsonl", "-M", named, "--out", "s", "--format", "json",
        ],
        &[
            "run",
            "-Q",
            "q.jsonl",
            "-M",
            named,
            "--out",
            "o",
            "--formats",
            formats,
        ],
        &["rate", "o", "--rater", "other"],
        &["measure", "r"],
        &["measure", "r", "--format", "json"],
        &["compare", "r", "s"],
        &["report", "o"],
        &["report", "o", "--out", "-"],
        &["questions", "check", "q.jsonl"],
        &["questions", "check", "q.jsonl", "--format", "json"],
        &["prompts", "-Q", "q.jsonl", "-M", named],
        &["models", "show", named],
        &["score", "-M", named, "--prompts", "p.jsonl"],
        &[
            "generate",
            "-M",
            named,
            "--prompts",
            "g.jsonl",
            "--max-tokens",
            "4",
        ],
        &["run", "-Q", "nowhere\u{1b}[31m", "-M", named],
    ];
    for command in commands {
        let outcome = concord(folder.path(), command);
        let expected = if command.contains(&"nowhere\u{1b}[31m") {
            3
        } else {
            0
        };
        assert_eq!(outcome.code, expected, "{command:?} {}", outcome.stderr);
        let shown = format!("{}{}", outcome.stdout, outcome.stderr);
        let hidden = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
        };
        let found = shown
            .find(hidden)
            .map(|at| &shown[at..shown.len().min(at + 40)]);
        assert_eq!(
            found.map(|text| text.escape_debug().to_string()),
            None,
            "{command:?}"
        );
    }
}

#[test]
fn files_that_are_no_files_are_refused() {
    #[cfg(unix)]
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let model = copy_of_golden("llama3-gqa-untied", folder.path());
        let _ = std::fs::remove_file(model.join(name));
        std::os::unix::fs::symlink("/dev/zero", model.join(name)).unwrap();
        let outcome = concord(folder.path(), &["models", "show", model.to_str().unwrap()]);
        assert_eq!(outcome.code, 4, "{name} {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("not a plain file"),
            "{name} {}",
            outcome.stderr
        );
    }
}

#[test]
fn names_that_cannot_be_are_said_first() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(250);
    for (out, part) in [
        ("x.partial", "ends in .partial"),
        (long.as_str(), "too long"),
        ("..", "no folder of its own"),
    ] {
        let outcome = concord(folder.path(), &["run", "--limit", "1", "--out", out]);
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    let itself = folder.path().join("itself");
    let model = copy_of_golden("llama3-gqa-untied", folder.path());
    std::fs::rename(model, &itself).unwrap();
    let arguments = [
        "run",
        "--limit",
        "1",
        "--formats",
        "open",
        "--passage-tokens",
        "4",
        "--rater",
        "itself",
        "--rater",
        "./itself",
    ];
    let outcome = concord(folder.path(), &arguments);
    assert!(
        outcome.code == 2 && outcome.stderr.contains("a rater is called"),
        "{}",
        outcome.stderr
    );
    // A folder that was mistyped is not looked for on the hub.
    std::fs::create_dir(folder.path().join("models")).unwrap();
    for name in ["models/lama", "./lama", "models/"] {
        let outcome = concord(folder.path(), &["models", "show", name]);
        assert_eq!(outcome.code, 4, "{name}");
        assert!(
            !outcome.stderr.contains("cache"),
            "{name} {}",
            outcome.stderr
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
