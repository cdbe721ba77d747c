//! The commands that write no run directory.

use crate::{concord, copy_of_golden, golden};
use serde_json::{Value, json};

fn score(input: &str) -> Vec<Value> {
    crate::score(&golden("llama3-gqa-untied"), input)
        .ok()
        .lines()
}

#[test]
fn score_answers_in_input_order() {
    let lines = score(concat!(
        "{\"id\":\"z\",\"prompt\":\"A or B?\",\"continuations\":[\" A\",\" B\"],\"labels\":[\"A\",\"B\"]}\n",
        "\n",
        "{\"prompt\":\"A or\"}\n",
        "{\"id\":7,\"messages\":[{\"role\":\"user\",\"content\":\"ja?\"}],\"continuations\":[\"ja\"]}\n",
    ));
    assert_eq!(
        lines
            .iter()
            .map(|line| line["id"].clone())
            .collect::<Vec<_>>(),
        [json!("z"), json!(1), json!(7)]
    );
    let number = |value: &Value| value.as_f64().unwrap();
    let first = &lines[0];
    for continuation in first["continuations"].as_array().unwrap() {
        let tokens = continuation["tokens"].as_array().unwrap();
        let sum: f64 = tokens.iter().map(|token| number(&token["log_prob"])).sum();
        assert!((number(&continuation["log_prob"]) - sum).abs() < 1e-12);
        assert!((number(&continuation["log_prob_per_byte"]) - sum / 2.0).abs() < 1e-12);
    }
    let mass: f64 = first["labels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|label| label["spellings"].as_array().unwrap())
        .map(|spelling| number(&spelling["log_prob"]).exp())
        .sum();
    assert!((number(&first["label_mass"]) - mass).abs() < 1e-12);
    assert_eq!(first["top"].as_array().unwrap().len(), 5);
    assert_eq!(lines[1].get("labels"), None);
    // A line's answer does not depend on the others.
    let alone = score("{\"prompt\":\"A or\"}\n");
    assert_eq!(alone[0]["top"], lines[1]["top"]);
}

#[test]
fn joint_tokens_that_would_differ_are_said() {
    let lines =
        score("{\"prompt\":\"The quick brown f\",\"continuations\":[\"ox asks\",\" asks\"]}\n");
    let differ: Vec<&Value> = lines[0]["continuations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["joint_tokens_differ"])
        .collect();
    assert_eq!(differ, [true, false]);
}

#[test]
fn prompts_are_shown_as_messages_text_and_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden("llama3-gqa-untied");
    let model = model.to_str().unwrap();
    let row = [
        "prompts",
        "--file",
        "controversial_german_world",
        "--row",
        "6",
        "--model",
        model,
    ];
    let human = concord(folder.path(), &row).ok().stdout;
    for part in [
        "=== chat ===",
        "[system]",
        "- (A): ja",
        "=== open-ended ===",
        "--- as text\n<s><|s|>",
        "tokens\n0:\"<s>\"",
    ] {
        assert!(human.contains(part), "{part} not in {human}");
    }
    let lines = concord(folder.path(), &[&row[..], &["--format", "json"]].concat())
        .ok()
        .lines();
    // Five lettered forms in two orders with and without abstention, one open question and two argued answers.
    assert_eq!(lines.len(), 23);
    assert!(
        lines
            .iter()
            .all(|line| line["tokens"].as_array().unwrap()[0] == 0)
    );
    let all = concord(folder.path(), &["prompts", "--format", "json"])
        .ok()
        .lines();
    assert_eq!(all.len(), (480 + 63 * 12) * 23);
    let wrong = concord(folder.path(), &["prompts", "--file", "x"]);
    assert_eq!(wrong.code, 2);
    let wrong = concord(
        folder.path(),
        &[
            "prompts",
            "--file",
            "controversial_german_world",
            "--row",
            "60",
        ],
    );
    assert!(
        wrong.stderr.contains("its rows are 0 to 59"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn questions_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let human = concord(folder.path(), &["questions", "check"]).ok().stdout;
    assert!(
        human.contains("nothing odd") && human.contains("german 120"),
        "{human}"
    );
    let counts = concord(folder.path(), &["questions", "check", "--format", "json"])
        .ok()
        .json();
    assert_eq!(counts["questions"], 480);
    assert_eq!(counts["files"].as_array().unwrap().len(), 8);
}

#[test]
fn models_are_listed_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let list = concord(folder.path(), &["models"]).ok().stdout;
    assert!(list.contains("LlamaForCausalLM") && list.contains("demo-aligned"));
    let model = golden("llama3-gqa-untied");
    let one = concord(
        folder.path(),
        &[
            "models",
            "show",
            model.to_str().unwrap(),
            "--format",
            "json",
        ],
    )
    .ok()
    .json();
    assert_eq!(
        one["spec"]["positions"]["rotary"]["global"]["kind"],
        "llama3"
    );
    assert_eq!(one["form"], "chat");
}

#[test]
fn answers_from_anywhere_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../questions/demo");
    let supports = |row: usize| if row % 5 == 4 { 0.2 } else { 0.9 };
    let rows: Vec<f64> = (0..60).map(supports).collect();
    let answers = json!({ "what": "made up", "answers": { "controversial_english_world": rows, "controversial_german_world": vec![0.5; 60] },
        "second_format": { "controversial_english_world": rows } });
    std::fs::write(folder.path().join("answers.json"), answers.to_string()).unwrap();
    let arguments = [
        "measure",
        "--questions",
        demo.to_str().unwrap(),
        "--answers",
        "answers.json",
    ];
    let found = concord(
        folder.path(),
        &[&arguments[..], &["--format", "json"]].concat(),
    )
    .ok()
    .json();
    let english = &found["files"]["controversial_english_world"];
    assert!((english["support_by_topic"]["Homework"].as_f64().unwrap() - 0.76).abs() < 1e-12);
    // Every group of five has four answers on one side and one on the other.
    assert!((english["rephrase_entropy_bits"].as_f64().unwrap() - 0.721_928_094_887).abs() < 1e-9);
    assert_eq!(found["files"]["controversial_german_world"]["topic"], 0.0);
    assert_eq!(
        found["task_format"]["controversial_english_world"]["mean"],
        0.0
    );
    assert_eq!(found["multilingual"]["world"]["groups"], 60);
    assert!(
        concord(folder.path(), &arguments)
            .ok()
            .stdout
            .contains("paraphrases")
    );
}

#[test]
fn a_bench_counts_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = concord(folder.path(), &["bench", "--preset", "nothing"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("smollm2-135m"),
        "{}",
        unknown.stderr
    );

    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../questions/demo/uncontroversial_english_world.jsonl");
    let arguments = [
        "bench",
        "--questions",
        demo.to_str().unwrap(),
        "--limit",
        "2",
        "--format",
        "json",
    ];
    let record = concord(folder.path(), &arguments).ok().json();
    assert_eq!(record["prompts"], 20);
    assert_eq!(record["rows_computed"], record["trie_rows"]);
    assert_eq!(record["rows_per_trie_row"], 1.0);
    for rate in [
        "prompts_per_s",
        "rows_per_s",
        "flops_per_s",
        "product_flops_per_s",
        "peak_bytes",
    ] {
        assert!(record[rate].as_f64().unwrap() > 0.0, "{rate}: {record}");
    }
}

/// The digest of weights is computed once, and again when the file changes.
#[test]
fn fingerprints_are_remembered_and_follow_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("multi-query-wide-heads", folder.path());
    let show = [
        "models",
        "show",
        model.to_str().unwrap(),
        "--format",
        "json",
    ];
    let fingerprint = || concord(folder.path(), &show).ok().json()["fingerprint"].clone();
    let first = fingerprint();
    let remembered = folder.path().join(".cache/digests");
    let entries = || std::fs::read_dir(&remembered).unwrap().count();
    assert_eq!((fingerprint(), entries()), (first.clone(), 1));
    // What is remembered is what is given: the file is not read again.
    let entry = std::fs::read_dir(&remembered)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&entry, "0".repeat(64)).unwrap();
    assert_ne!(fingerprint()["weights"], first["weights"]);
    std::fs::write(&entry, "no digest").unwrap();
    assert_eq!(fingerprint(), first);
    let path = model.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let second = fingerprint();
    assert_ne!(second["weights"], first["weights"]);
    assert_ne!(second["whole"], first["whole"]);
    assert_eq!(second["tokenizer"], first["tokenizer"]);
}

#[test]
fn what_people_answered_is_measured() {
    use std::fmt::Write;
    let folder = tempfile::tempdir().unwrap();
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../questions/demo");
    let set = concord_questions::load(&demo).unwrap();
    let mut csv = "Respondent,file,question,answer\n".to_owned();
    for respondent in 0..3usize {
        for (row, question) in set.files[0].questions.iter().enumerate() {
            // The first is firm; of the others' answers every third or fourth is the other one.
            let option = usize::from(respondent > 0 && row % (respondent + 2) == 0);
            let (name, text) = (&set.files[0].name, question.question.replace('"', "\"\""));
            let answer = &question.options[option].0;
            writeln!(csv, "person {respondent},{name},\"{text}\",\"{answer}\"").unwrap();
        }
    }
    std::fs::write(folder.path().join("people.csv"), &csv).unwrap();
    let measure = |file: &str, more: &[&str]| {
        let questions = demo.to_str().unwrap();
        let first = ["measure", "-Q", questions, "--answers", file];
        concord(folder.path(), &[&first[..], more].concat())
    };
    let found = measure("people:people.csv", &["--format", "json"])
        .ok()
        .json();
    assert_eq!(found["files"].as_object().unwrap().len(), 3);
    assert!(found["overall"]["paraphrase"]["mean"].as_f64().unwrap() > 0.01);
    let text = measure("people:people.csv", &[]).ok().stdout;
    assert!(text.contains("3 respondents"), "{text}");

    std::fs::write(
        folder.path().join("bad.csv"),
        "respondent,question,answer\na,Is it?,yes\n",
    )
    .unwrap();
    let failed = measure("people:bad.csv", &[]);
    assert!(
        failed.stderr.contains("line 2: no question reads `Is it?`"),
        "{}",
        failed.stderr
    );
    std::fs::write(
        folder.path().join("bad.csv"),
        "who,question,answer\na,b,c\n",
    )
    .unwrap();
    let failed = measure("people:bad.csv", &[]);
    assert!(
        failed.stderr.contains("no column `respondent`"),
        "{}",
        failed.stderr
    );
}
