//! Open answers, other readers, comparisons, pages and question sets of one's own.

use crate::{Outcome, concord, concord_with_input, golden};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The demo checkpoints as folders.
pub(crate) fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models/demo")
        .join(name)
}

/// A run that asks little: two originals of each country, in English.
const LITTLE: [&str; 7] = [
    "run",
    "--limit",
    "2",
    "--languages",
    "english",
    "--robustness-sample",
    "8",
];

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    concord(folder, &[&LITTLE, arguments].concat()).ok()
}

const OPEN: [&str; 6] = [
    "--formats",
    "letter,cloze,open",
    "--passage-tokens",
    "24",
    "--calibration-questions",
    "4",
];

#[test]
fn passages_are_written_read_and_read_again_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let outcome = run(
        folder.path(),
        &[&OPEN[..], &["-o", "r", "--format", "json"]].concat(),
    )
    .json();
    let findings = &outcome["findings"]["models"]["demo-aligned"];
    let open = &findings["open"];
    assert_eq!(open["passages"]["asked"], 20);
    assert_eq!(open["raters"]["itself"]["trust"]["passages"], 20);
    assert_eq!(open["raters"]["itself"]["trust"]["argued"], 8);
    assert_eq!(open["agreement"], Value::Null);
    for measure in [
        "task_format",
        "task_format_letter_open",
        "task_format_cloze_open",
        "task_format_all",
    ] {
        assert!(
            findings["overall"][measure]["mean"].is_number(),
            "{measure}"
        );
    }
    assert_eq!(findings["robustness"]["followed"]["asked"], 8);
    assert_eq!(
        outcome["manifest"]["progress"]["demo-base"]["texts"]["texts"],
        8 + 20 + 8
    );

    let reader = demo("base");
    let reader = reader.to_str().unwrap();
    let before = std::fs::read(at("r/stances/demo-base/itself.jsonl")).unwrap();
    let again = concord(folder.path(), &["rate", "r", "--rater", reader]).ok();
    assert!(
        again.stdout.contains("rated by base: topics"),
        "{}",
        again.stdout
    );
    assert_eq!(
        std::fs::read(at("r/stances/demo-base/itself.jsonl")).unwrap(),
        before
    );
    let stored = read(&at("r/findings.json"));
    let agreement = &stored["models"]["demo-aligned"]["open"]["agreement"];
    assert_eq!(agreement["passages"], 20);
    assert_eq!(agreement["pairs"][0]["raters"], json!(["base", "itself"]));
    // The checkpoint itself, under another name, is no second rater of its own passages.
    let own = &stored["models"]["demo-base"]["open"];
    assert_eq!(own["agreement"]["duplicates"], json!([["base", "itself"]]));
    assert!(own["agreement"]["kappa"].is_null() && own["agreement"]["pairs"] == json!([]));
    assert_eq!(own["raters"].as_object().unwrap().len(), 2);
    assert_eq!(read(&at("r/manifest.json"))["raters"][1]["name"], "base");
    let measured = concord(folder.path(), &["measure", "r", "--format", "json"])
        .ok()
        .json();
    assert_eq!(measured, stored);
    let twice = concord(folder.path(), &["rate", "r", "--rater", reader]);
    assert_eq!(twice.code, 2, "{}", twice.stderr);
    assert!(
        twice.stderr.contains("`base` has rated it already"),
        "{}",
        twice.stderr
    );
    // A reader whose context is too short leaves passages out, and says so.
    let short = golden("multi-query-wide-heads");
    let outcome = concord(
        folder.path(),
        &["rate", "r", "--rater", short.to_str().unwrap()],
    )
    .ok();
    assert!(
        outcome
            .stderr
            .contains("longer than its context of 256 tokens"),
        "{}",
        outcome.stderr
    );
    let stored = read(&at("r/findings.json"));
    let trust =
        &stored["models"]["demo-aligned"]["open"]["raters"]["multi-query-wide-heads"]["trust"];
    assert_eq!(
        trust["left_out"].as_u64().unwrap() + trust["passages"].as_u64().unwrap(),
        20
    );

    let closed = concord(
        folder.path(),
        &[&LITTLE[..], &["--formats", "letter", "--rater", reader]].concat(),
    );
    assert_eq!(closed.code, 2);
    run(folder.path(), &["--no-steering", "-o", "closed"]);
    let closed = concord(folder.path(), &["rate", "closed", "--rater", reader]);
    assert!(
        closed.code == 2 && closed.stderr.contains("nothing was written in this run"),
        "{}",
        closed.stderr
    );
}

#[test]
fn a_run_with_readers_goes_on_passage_by_passage() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let reader = demo("aligned");
    let arguments = |out: &'static str| {
        let readers = ["--rater", "itself", "--rater", reader.to_str().unwrap()];
        [
            &OPEN[..],
            &readers,
            &["--temperature", "0.8", "--no-steering", "-o", out],
        ]
        .concat()
    };
    run(folder.path(), &arguments("whole"));
    // What a killed run leaves: half of the passages, the last of them cut off, and no stances.
    std::fs::create_dir(at("again.partial")).unwrap();
    for file in ["manifest.json", "questions.json", "stimuli.json"] {
        std::fs::copy(at("whole").join(file), at("again.partial").join(file)).unwrap();
    }
    for part in ["readings", "texts"] {
        std::fs::create_dir(at("again.partial").join(part)).unwrap();
    }
    std::fs::copy(
        at("whole/readings/demo-base.jsonl"),
        at("again.partial/readings/demo-base.jsonl"),
    )
    .unwrap();
    let texts = std::fs::read(at("whole/texts/demo-base.jsonl")).unwrap();
    std::fs::write(
        at("again.partial/texts/demo-base.jsonl"),
        &texts[..texts.len() / 2],
    )
    .unwrap();
    run(folder.path(), &arguments("again"));
    assert_eq!(
        read(&at("again/findings.json")),
        read(&at("whole/findings.json"))
    );
    let resumed = &read(&at("again/manifest.json"))["progress"]["demo-base"];
    assert!(resumed["texts"]["resumed"].as_u64().unwrap() > 3);
    let names: Vec<_> = std::fs::read_dir(at("again/stances/demo-base"))
        .unwrap()
        .collect();
    assert_eq!(names.len(), 2);
}

#[test]
fn runs_are_compared_where_they_asked_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let compare = |arguments: &[&str]| concord(folder.path(), &[&["compare"], arguments].concat());
    run(folder.path(), &["--no-steering", "-o", "two"]);
    let base = demo("base");
    let one = ["--no-steering", "-M", base.to_str().unwrap(), "-o"];
    run(folder.path(), &[&one[..], &["one"]].concat());
    let brief = compare(&["two"]).ok().stdout;
    assert!(
        brief.contains("the same command with --verbose") && brief.lines().count() <= 30,
        "{brief}"
    );
    let human = compare(&["two", "--verbose"]).ok().stdout;
    for part in [
        "demo-aligned against demo-base",
        "that change most",
        "no flip with order",
        "20 questions compared",
    ] {
        assert!(human.contains(part), "{part} not in {human}");
    }
    // One checkpoint under two names differs in nothing.
    let same = compare(&["two/demo-base", "one", "--format", "json"])
        .ok()
        .json();
    for measure in same["comparisons"][0]["measures"].as_array().unwrap() {
        assert_eq!(measure["difference"], 0.0, "{measure}");
        assert_eq!(measure["left_out"], 0);
    }
    let order: Vec<&String> = same["models"].as_object().unwrap().keys().collect();
    assert_eq!(order, ["demo-base", "base"]);
    let alone = compare(&["one"]);
    assert!(
        alone.code == 2 && alone.stderr.contains("nothing to compare it with"),
        "{}",
        alone.stderr
    );
    let nobody = compare(&["two/nobody", "one"]);
    assert!(
        nobody.code == 2 && nobody.stderr.contains("there are demo-base, demo-aligned"),
        "{}",
        nobody.stderr
    );

    // Fewer questions, in another order, and another wording.
    let fewer = [
        "run",
        "--limit",
        "1",
        "--languages",
        "english,german",
        "--no-steering",
        "--robustness-sample",
        "0",
        "-o",
        "fewer",
    ];
    concord(folder.path(), &fewer).ok();
    let other = compare(&["two/demo-base", "fewer/demo-base"]);
    assert_eq!(other.code, 2);
    assert!(
        other
            .stderr
            .contains("two asked 20 questions and fewer 20, of which 10 are the same"),
        "{}",
        other.stderr
    );
    let shared = compare(&[
        "two/demo-base",
        "fewer/demo-base",
        "--intersect",
        "--format",
        "json",
    ])
    .ok();
    assert!(shared.stderr.contains("note: "), "{}", shared.stderr);
    let shared = shared.json();
    assert_eq!(shared["questions"]["compared"], 10);
    assert_eq!(shared["questions"]["left_out"]["demo-base"], 10);
    for measure in shared["comparisons"][0]["measures"].as_array().unwrap() {
        assert_eq!(measure["difference"], 0.0, "{measure}");
    }
    let wording = folder.path().join("wording.json");
    let own =
        include_str!("../../../questions/stimuli/concord.json").replace("opinion survey", "poll");
    std::fs::write(&wording, own).unwrap();
    run(
        folder.path(),
        &["--no-steering", "--stimuli", "wording.json", "-o", "worded"],
    );
    let other = compare(&["two", "worded"]);
    assert!(
        other.code == 2 && other.stderr.contains("another wording"),
        "{}",
        other.stderr
    );
    let effect = &read(&folder.path().join("worded/findings.json"))["models"]["demo-base"]["robustness"]
        ["wordings"];
    assert_eq!(
        effect.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["concord", "paraphrased"]
    );
}

#[test]
fn formats_that_not_both_runs_have_are_compared_in_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let compare = |arguments: &[&str]| concord(folder.path(), &[&["compare"], arguments].concat());
    let base = demo("base");
    let one = ["--no-steering", "-M", base.to_str().unwrap(), "-o"];
    run(folder.path(), &[&one[..], &["one"]].concat());
    let texts = [
        "--no-steering",
        "--formats",
        "cloze",
        "-M",
        base.to_str().unwrap(),
        "-o",
    ];
    run(folder.path(), &[&texts[..], &["texts"]].concat());
    let other = compare(&["one", "texts"]);
    assert!(
        other.code == 2 && other.stderr.contains("read other formats"),
        "{}",
        other.stderr
    );
    let shared = compare(&["one", "texts", "--intersect", "--format", "json"])
        .ok()
        .json();
    for measure in shared["comparisons"][0]["measures"].as_array().unwrap() {
        assert_eq!(measure["difference"], 0.0, "{measure}");
    }
}

#[test]
fn a_selection_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["-o", "r"]);
    let few = concord(
        folder.path(),
        &[
            "measure",
            "r",
            "--where",
            "topic=Remote work",
            "--where",
            "language=english",
            "--format",
            "json",
        ],
    );
    let few = few.ok().json();
    assert_eq!(few["models"]["demo-base"]["questions"]["asked"], 10);
    assert_eq!(few["models"]["demo-base"]["robustness"]["prompts"], 20);
    for (wrong, part) in [
        ("topic=X", "no question is selected"),
        ("subject=X", "`subject` is not"),
        ("X", "not KEY=VALUE"),
    ] {
        let outcome = concord(folder.path(), &["measure", "r", "--where", wrong]);
        assert!(
            outcome.code == 2 && outcome.stderr.contains(part),
            "{}",
            outcome.stderr
        );
    }
    let path = concord(folder.path(), &["report", "r", "--with-published"])
        .ok()
        .stdout;
    assert_eq!(path.trim(), "r/report.html");
    let page = std::fs::read_to_string(folder.path().join("r/report.html")).unwrap();
    for part in [
        "<svg",
        "Values, english",
        "Support by topic",
        "Against demo-base",
        "people",
        "</html>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let rest = page.replace("http://www.w3.org/", "");
    let loads = rest.contains("http:") || rest.contains("https:");
    assert!(!page.contains(">NaN") && !loads, "nothing is loaded");
    let piped = concord(folder.path(), &["report", "r", "-o", "-"])
        .ok()
        .stdout;
    assert!(piped.starts_with("<!doctype html>"));
    let lost = concord(folder.path(), &["report", "r", "-o", "no/such/folder.html"]);
    assert_eq!(lost.code, 5, "{}", lost.stderr);
}

/// Questions in a language that nothing here knows, as a table, with a wording for it.
#[test]
fn a_set_of_ones_own_in_another_language() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut table = "language,country,topic,topic_english,question,original,original_english,supports,opposes,neutral\n".to_owned();
    for (row, question) in [
        "Faut-il des pistes ?",
        "Veut-on des pistes ?",
        "Des pistes sont-elles utiles ?",
    ]
    .iter()
    .enumerate()
    {
        let original = if row < 2 {
            "Faut-il des pistes ?"
        } else {
            question
        };
        let options = "\"oui|bien sûr\",non,sans avis";
        writeln!(
            table,
            "dutch,france,Vélos,Bicycles,{question},{original},,{options}"
        )
        .unwrap();
    }
    table += "dutch,france,Trains,Trains,Plus de trains ?,Plus de trains ?,,oui,non,\n";
    std::fs::write(at("mine.csv"), &table).unwrap();
    let missing = concord(folder.path(), &["run", "-Q", "mine.csv"]);
    assert_eq!(missing.code, 3);
    assert!(
        missing.stderr.contains("has no text for language `dutch`"),
        "{}",
        missing.stderr
    );
    let mut wording: Value =
        serde_json::from_str(include_str!("../../../questions/stimuli/concord.json")).unwrap();
    for by_language in wording.as_object_mut().unwrap().values_mut() {
        let english = by_language["english"].clone();
        by_language["dutch"] = english;
    }
    std::fs::write(at("mine.json"), wording.to_string()).unwrap();
    let arguments = [
        "run",
        "-Q",
        "mine.csv",
        "--stimuli",
        "mine.json",
        "--format",
        "json",
        "-o",
        "r",
    ];
    let outcome = concord(folder.path(), &arguments).ok();
    assert!(
        outcome
            .stderr
            .contains("`paraphrased` has no stimuli in dutch"),
        "{}",
        outcome.stderr
    );
    let outcome = outcome.json();
    let found = &outcome["findings"]["models"]["demo-aligned"];
    assert_eq!(
        found["questions"],
        json!({"asked": 4, "answered": 4, "left_out": 0, "topics": 2, "topics_of_one": 1,
            "alone": {"multilingual": 0, "paraphrase": 2, "topic": 1}})
    );
    assert_eq!(found["files"]["controversial_dutch_france"]["questions"], 4);
    assert_eq!(found["overall"]["topic"]["alone"], 1);
    let human = concord(folder.path(), &["measure", "r"]).ok().stdout;
    assert!(human.contains("1 of them with one question"), "{human}");
    let checked = concord(folder.path(), &["questions", "check", "mine.csv"])
        .ok()
        .stdout;
    assert!(checked.contains("controversial_dutch_france"), "{checked}");
    std::fs::write(at("broken.csv"), table.replace("non,sans avis", "non")).unwrap();
    let broken = concord(folder.path(), &["questions", "check", "broken.csv"]);
    assert!(
        broken.code == 3 && broken.stderr.contains("broken.csv:2"),
        "{}",
        broken.stderr
    );
}

#[test]
fn schemas_are_json() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, field) in [
        ("questions", "options"),
        ("portraits", "schwartz_value"),
        ("stimuli", "single_letter"),
    ] {
        let schema = concord(folder.path(), &["schema", kind]).ok().json();
        assert!(schema["properties"][field].is_object(), "{kind}");
    }
    assert_eq!(concord(folder.path(), &["schema", "else"]).code, 2);
}

#[test]
fn texts_are_written_after_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let model = demo("aligned");
    let generate = |more: &[&str], input: &str| {
        let fixed = [
            "generate",
            "--model",
            model.to_str().unwrap(),
            "--prompts",
            "-",
        ];
        concord_with_input(folder.path(), &[&fixed, more].concat(), input)
    };
    let input = "{\"id\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"Yes?\"}]}\n{\"prompt\":\"A week has\"}\n";
    let outcome = generate(&["--max-tokens", "6"], input).ok();
    assert!(outcome.stderr.contains("tokens/s"), "{}", outcome.stderr);
    let lines = outcome.lines();
    assert_eq!((&lines[0]["id"], &lines[1]["id"]), (&json!("x"), &json!(1)));
    for line in &lines {
        let tokens = line["tokens"].as_array().unwrap().len();
        assert!(tokens <= 6 && tokens == line["log_probs"].as_array().unwrap().len());
        assert!(
            line["finish"] == "end_of_text" || line["finish"] == "length",
            "{line}"
        );
    }
    let drawn = |seed: &str| {
        generate(
            &["--temperature", "1.5", "--max-tokens", "20", "--seed", seed],
            input,
        )
        .ok()
        .stdout
    };
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
    for (wrong, part) in [
        (["--temperature", "-1"], "not a number of 0 or more"),
        (["--top-p", "0"], "above 0 and at most 1"),
        (["--max-tokens", "0"], "at least 1"),
        (["--stop", ""], "stop"),
    ] {
        let outcome = generate(&wrong, input);
        assert!(
            outcome.code == 2 && outcome.stderr.contains(part),
            "{wrong:?} {}",
            outcome.stderr
        );
    }
    let outcome = generate(&[], "{\"prompt\":\"x\",\"labels\":[\"A\"]}");
    assert!(
        outcome.code == 3 && outcome.stderr.contains("`labels` is not read"),
        "{}",
        outcome.stderr
    );
}
