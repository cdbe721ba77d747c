//! Chat templates with the features of published ones (`tests/golden/templates.py`), rendered as transformers renders them.

use crate::golden_logits::folder;
use crate::test;
use concord_checkpoint::{Snapshot, SystemRole};
use concord_readings::Message;
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub fn trials() -> Vec<Trial> {
    vec![
        test("templates::they_render_as_in_transformers", rendering),
        test("templates::a_list_without_a_default_is_refused", no_default),
    ]
}

/// A checkpoint whose only concern is its template.
fn with_template(template: &Value) -> Result<Snapshot, String> {
    let temporary = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let from = folder("families/llama-linear").join(name);
        std::fs::copy(from, temporary.path().join(name)).unwrap();
    }
    let settings = json!({
        "bos_token": "<s>", "eos_token": { "content": "</s>" }, "unk_token": "<unk>", "pad_token": "<pad>",
        "cls_token": null, "chat_template": template,
    });
    let path = temporary.path().join("tokenizer_config.json");
    std::fs::write(path, settings.to_string()).unwrap();
    Snapshot::open(temporary.path()).map_err(|error| error.to_string())
}

fn rendering() {
    let record = std::fs::read_to_string(folder("templates.json")).unwrap();
    let record: Vec<Value> = serde_json::from_str(&record).unwrap();
    assert_eq!(record.len(), 64);
    let mut wrong = Vec::new();
    for entry in &record {
        let name = entry["name"].as_str().unwrap();
        let snapshot = with_template(&entry["template"]).unwrap();
        let messages: Vec<Message> = serde_json::from_value(entry["messages"].clone()).unwrap();
        // As it is written, also where it writes the words otherwise, which a prompt may not.
        let template = snapshot.template.as_ref().unwrap();
        let found = template.render(&messages);
        let found = found.unwrap_or_else(|error| error.clone());
        if found != entry["text"] {
            wrong.push(format!("{name}:\n  {found:?}\n  {}", entry["text"]));
        }
        let traits = snapshot.template.as_ref().unwrap().traits().clone();
        let folds = name == "no system role" || name == "system dropped";
        assert_eq!(traits.system == SystemRole::Folded, folds, "{name}");
        assert_eq!(
            traits.default_system.is_some(),
            name == "default system",
            "{name}"
        );
        assert_eq!(traits.thinking.is_some(), name == "thinking", "{name}");
        assert_eq!(traits.date.is_some(), name == "date", "{name}");
    }
    assert!(
        wrong.is_empty(),
        "{} of {}\n{}",
        wrong.len(),
        record.len(),
        wrong.join("\n")
    );
}

fn no_default() {
    let list = json!([{ "name": "tool_use", "template": "x" }, { "name": "rag", "template": "y" }]);
    let problem = with_template(&list).err().unwrap();
    assert!(
        problem.contains("there are tool_use, rag, and none is `default`"),
        "{problem}"
    );
}
