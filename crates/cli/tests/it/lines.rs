//! Prompts of the user's own, of which some cannot be asked.

use crate::{concord, concord_on, copy_of_golden, golden, score};
use serde_json::{Value, json};
use std::path::Path;

fn generate(model: &Path, input: &str, more: &[&str]) -> crate::Outcome {
    let model = model.to_str().unwrap();
    let arguments = [
        "generate",
        "--model",
        model,
        "--prompts",
        "-",
        "--max-tokens",
        "3",
    ];
    concord_on(
        None,
        Path::new("."),
        &[&arguments[..], more].concat(),
        input,
    )
}

/// Lines without number, as JSON lines.
fn lines(values: impl IntoIterator<Item = Value>) -> String {
    let lines = values.into_iter().map(|value| format!("{value}\n"));
    lines.collect()
}

#[test]
fn a_line_that_cannot_be_asked_costs_itself_alone() {
    let model = golden("llama3-gqa-untied");
    let long = "word ".repeat(4_000);
    let asked = lines([
        json!({ "id": "a", "prompt": "A or B:", "mine": 1 }),
        json!({ "id": "b", "prompt": long, "mine": 2 }),
        json!({ "id": "c", "prompt": "Yes or no:" }),
    ]);
    let outcome = generate(&model, &asked, &[]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let found = outcome.lines();
    assert_eq!(found.len(), 3);
    assert!(
        found[1]["error"].as_str().unwrap().contains("context"),
        "{}",
        found[1]
    );
    assert_eq!(found[1]["mine"], 2);
    assert!(
        outcome.stderr.contains("after 1 of 3 prompts"),
        "{}",
        outcome.stderr
    );
    // The others are written as they would be alone.
    let alone = lines([
        json!({ "id": "a", "prompt": "A or B:", "mine": 1 }),
        json!({ "id": "c", "prompt": "Yes or no:" }),
    ]);
    let alone = generate(&model, &alone, &[]).ok().lines();
    assert_eq!([&found[0], &found[2]], [&alone[0], &alone[1]]);
}

/// More lines than the first window has, none of which can be asked, and one that can.
#[test]
fn a_window_of_nothing_but_errors_is_answered_line_by_line() {
    let model = golden("llama3-gqa-untied");
    let bad = (0..300).map(|id| json!({ "id": id, "prompt": "Hi", "continuations": [""] }));
    let good = json!({ "id": 300, "prompt": "Hi", "continuations": [" you"] });
    let outcome = score(&model, &lines(bad.chain([good])));
    let found = outcome.lines();
    assert_eq!(found.len(), 301);
    for (id, line) in found.iter().enumerate() {
        assert_eq!(line["id"], id);
        assert_eq!(line.get("error").is_some(), id < 300, "{line}");
    }
    assert_eq!(
        score(
            &model,
            &lines([json!({ "prompt": "Hi", "continuations": [""] })])
        )
        .lines()
        .len(),
        1
    );
    let long = "word ".repeat(4_000);
    let bad = (0..300).map(|id| json!({ "id": id, "prompt": long }));
    let outcome = generate(&model, &lines(bad), &[]);
    assert_eq!(outcome.lines().len(), 300, "{}", outcome.stderr);
}

#[test]
fn what_is_asked_of_the_wrong_command_is_named_after_the_lines_before_it() {
    let model = golden("llama3-gqa-untied");
    let asked = lines([
        json!({ "prompt": "Hi" }),
        json!({ "prompt": "Hi", "labels": ["A"] }),
    ]);
    let outcome = generate(&model, &asked, &[]);
    assert_eq!(outcome.code, 3);
    assert_eq!(outcome.lines().len(), 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("`labels`") && outcome.stderr.contains("concord score"),
        "{}",
        outcome.stderr
    );
    // What an answer says is not the user's to say, and a number that would be rounded is not taken.
    for (line, said) in [
        (
            r#"{"prompt":"Hi","error":"mine","labels":["A"]}"#,
            "`error`",
        ),
        (r#"{"id":12345678901234567890123,"prompt":"Hi"}"#, "`id`"),
    ] {
        let outcome = score(&model, line);
        assert!(
            outcome.code == 3 && outcome.stderr.contains(said),
            "{}",
            outcome.stderr
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_cannot_be_printed_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let words = format!(
        "{} run --limit 1 -ox > /dev/full",
        env!("CARGO_BIN_EXE_concord")
    );
    let outcome = std::process::Command::new("sh")
        .args(["-c", &words])
        .current_dir(folder.path())
        .env("CONCORD_DEVICE", "cpu")
        .output()
        .unwrap();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(1), "{said}");
    assert!(said.contains("the run is whole in x"), "{said}");
    concord(folder.path(), &["measure", "x"]).ok();
}

/// Two questions that a template cuts to one text would get one answer.
#[test]
fn a_template_that_cuts_a_question_is_an_error_of_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_golden("llama3-gqa-untied", folder.path());
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content[:12] }}\n{% endfor %}";
    std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    let user = |text: &str| json!({ "messages": [{ "role": "user", "content": text }] });
    let asked = [
        user("Is it fair?"),
        user("Is it fair to eat meat every day?"),
    ];
    let found = score(&model, &lines(asked));
    let answers = found.lines();
    assert!(answers[0].get("error").is_none(), "{}", answers[0]);
    let error = answers[1]["error"].as_str().unwrap();
    assert!(
        error.contains("drops or changes some of what the user says"),
        "{error}"
    );
    assert_eq!(found.code, 4);
    // Capitals and writing it as JSON are the template's to choose.
    for template in [
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{{ messages | tojson }}",
    ] {
        std::fs::write(model.join("chat_template.jinja"), template).unwrap();
        let asked = user("Is it \"fair\"\nto all?");
        score(&model, &lines([asked])).ok();
    }
}
