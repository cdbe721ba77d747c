//! The suite `randomness` on built checkpoints that are spoken to in conversations, answers begun and not, and its placebo.

use crate::bigram::{Table, row, write_checkpoint};
use crate::randomness::{PREFILLED, close, closed_form, likes_seven, run};
use serde_json::{Value, json};
use std::path::Path;

/// What may stand before a choice where no answer is begun.
const FREE: [&str; 4] = ["", " ", "\n", "**"];

/// Makes a checkpoint one that is spoken to in turns; the answer begins after a colon.
fn speak_in_turns(folder: &Path) {
    let template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}\
                    {% if add_generation_prompt %}assistant:{% endif %}";
    let config = json!({ "chat_template": template, "eos_token": "<end>" });
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// Chooses letters by their place, whatever stands behind them: the first and the eighth most often.
fn likes_places(before: u8, byte: u8) -> f64 {
    match (before, byte) {
        (b'A'..=b'K', b'a'..=b'z') => 0.002,
        (b'A'..=b'K', _) => 0.0,
        (_, b'A') => 0.3,
        (_, b'H') => 0.2,
        (_, b'B'..=b'K') => 0.02,
        (_, b' ') => 0.1,
        _ => 0.0,
    }
}

/// The checkpoint's findings of a kind, by whether the answer is begun.
fn of<'a>(found: &'a Value, name: &str, kind: &str, carrier: &str) -> &'a Value {
    let all = found["findings"]["checkpoints"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name).unwrap();
    let mut of_kind = one[kind].as_array().unwrap().iter();
    of_kind.find(|of| of["carrier"] == carrier).unwrap()
}

#[test]
fn free_answers_come_out_as_their_closed_form_in_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["base", "chat"] {
        write_checkpoint(&folder.path().join(name), likes_seven);
    }
    speak_in_turns(&folder.path().join("chat"));
    let arguments = [
        "-M",
        "base",
        "-M",
        "chat",
        "--sets",
        "0-10",
        "--relabellings",
        "0",
        "-o",
        "r",
    ];
    let found = run(folder.path(), &arguments);
    let checkpoints = &found["manifest"]["identity"]["checkpoints"];
    let forms = [&checkpoints[0]["form"], &checkpoints[1]["form"]];
    assert_eq!(forms, ["completion", "chat"]);
    for name in ["base", "chat"] {
        for (carrier, leads) in [("free", &FREE[..]), ("prefilled", &PREFILLED)] {
            let (p, mass) = closed_form(likes_seven as Table, leads);
            let set = of(&found, name, "sets", carrier);
            close(&set["mass"], mass);
            close(&set["summary"]["quantities"]["seven"]["estimate"], p[7]);
            let distribution = set["summary"]["distribution"].as_array().unwrap();
            assert_eq!(distribution.len(), p.len());
            for (found, expected) in distribution.iter().zip(p) {
                close(found, expected);
            }
        }
    }
    let masses = ["free", "prefilled"].map(|carrier| {
        let set = of(&found, "chat", "sets", carrier);
        set["mass"]["value"].as_f64().unwrap()
    });
    assert!(masses[0] > masses[1] + 1e-4, "{masses:?}");
}

#[test]
fn a_preference_for_places_comes_out_of_the_placebo_as_its_closed_form() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(&folder.path().join("places"), likes_places);
    speak_in_turns(&folder.path().join("places"));
    let arguments = [
        "-M",
        "places",
        "--sets",
        "0-10",
        "--wordings",
        "6",
        "-o",
        "r",
    ];
    let found = run(folder.path(), &arguments);
    let p = |before: u8, byte: u8| row(likes_places, before)[usize::from(byte)];
    let letters = || (b'a'..=b'z').chain(b'A'..=b'Z');
    for (carrier, leads) in [("free", &FREE[..]), ("prefilled", &PREFILLED)] {
        let ways: f64 = leads
            .iter()
            .map(|lead| lead.bytes().map(|byte| p(b':', byte)).product::<f64>())
            .sum();
        let label = |label: u8| {
            let goes_on: f64 = letters().map(|next| p(label, next)).sum();
            ways * p(b':', label) * (1.0 - goes_on)
        };
        let labels: Vec<f64> = (b'A'..=b'K').map(label).collect();
        let mass: f64 = labels.iter().sum();
        let placebo = of(&found, "places", "placebo", carrier);
        close(&placebo["mass"], mass);
        let numbers = &placebo["found"];
        assert_eq!(numbers["target"], 7);
        let uniform = 1.0 / 11.0;
        for at in 0..11 {
            close(&numbers["places"][at], labels[at] / mass);
            close(&numbers["values"][at], uniform);
        }
        close(&numbers["of_target"], uniform);
        close(&numbers["by_target"], 0.0);
        close(&numbers["by_its_place"], labels[7] / mass - uniform);
        assert_eq!(numbers["by_its_place"]["n"], 6);
        assert_eq!(numbers["effect"], "place");
        let apart: f64 = labels.iter().map(|p| (p / mass - uniform).abs()).sum();
        close(&numbers["by_place"], apart / 2.0);
        close(&numbers["by_value"], 0.0);
    }
}
