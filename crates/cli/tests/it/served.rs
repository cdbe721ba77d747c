//! Checkpoints that a server holds: every way of asking gives the same answers, and what is not shown is a bound.

use crate::model_server::{Fault, GOOD, Lie, Manners, ModelServer, words};
use crate::{Outcome, concord};
use concord_readings::{Answer, Reading};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes a server's file with its tokenizer beside it.
fn file(folder: &Path, server: &ModelServer, more: &str) {
    words(&folder.join("words"), false);
    let text = format!(
        "url = \"{}\"\nmodel = \"made-up\"\ntokenizer = \"words\"\n{more}",
        server.url
    );
    std::fs::write(folder.join("served.toml"), text).unwrap();
}

pub const RUN: [&str; 12] = [
    "run",
    "--model",
    "served.toml",
    "--limit",
    "2",
    "--no-steering",
    "--robustness-sample",
    "2",
    "--out",
    "r",
    "--resamples",
    "100",
];

pub fn run(folder: &Path, more: &[&str]) -> Outcome {
    concord(folder, &[&RUN[..], more].concat())
}

/// What was read, by prompt.
fn readings(folder: &Path) -> BTreeMap<String, Reading> {
    let mut found = BTreeMap::new();
    let folder = folder.join("r");
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "jsonl") {
                let text = std::fs::read_to_string(&path).unwrap();
                for line in text.lines() {
                    // A line ends in its seal.
                    let end = line.rfind('}').map_or(0, |at| at + 1);
                    if let Ok(reading) = serde_json::from_str::<Reading>(&line[..end]) {
                        found.insert(reading.id.clone(), reading);
                    }
                }
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The numbers of a reading that any way of asking must find.
fn numbers(reading: &Reading, top: usize) -> Vec<f64> {
    let mut numbers = Vec::new();
    for answer in &reading.answers {
        match answer {
            Answer::NextToken(next) => {
                numbers.push(next.label_mass.get());
                let shown = next.top.iter().take(top);
                numbers.extend(shown.map(|token| token.log_prob.get()));
                for label in &next.labels {
                    numbers.push(label.log_prob.get());
                    numbers.extend(
                        label
                            .spellings
                            .iter()
                            .map(|spelling| spelling.log_prob.get()),
                    );
                }
            }
            Answer::Continuation(text) => {
                numbers.extend(text.tokens.iter().map(|token| token.log_prob.get()));
            }
            Answer::Strings(_) | Answer::Generation(_) => {}
        }
    }
    numbers
}

pub fn of(manners: Manners, more: &str) -> (tempfile::TempDir, ModelServer) {
    let folder = tempfile::tempdir().unwrap();
    let server = ModelServer::start(manners);
    file(folder.path(), &server, more);
    (folder, server)
}

/// Servers that can tell everything, each in its own way.
fn ways() -> [(&'static str, Manners); 6] {
    [
        ("asked ids", GOOD.clone()),
        (
            "all",
            Manners {
                most: 2048,
                shows_asked: false,
                ..GOOD.clone()
            },
        ),
        (
            "echo",
            Manners {
                knows_penalties: false,
                shows_asked: false,
                scores: false,
                ..GOOD.clone()
            },
        ),
        (
            "scores",
            Manners {
                shows_asked: false,
                echoes: false,
                most: 5,
                ..GOOD.clone()
            },
        ),
        (
            "text",
            Manners {
                takes_ids: false,
                names_ids: false,
                shows_asked: false,
                ..GOOD.clone()
            },
        ),
        (
            "text with a start",
            Manners {
                takes_ids: false,
                adds_start: true,
                shows_asked: false,
                ..GOOD.clone()
            },
        ),
    ]
}

#[test]
fn every_way_of_asking_reads_the_same() {
    let ways = ways();
    let mut expected: Option<BTreeMap<String, Reading>> = None;
    for (name, manners) in ways {
        let (folder, server) = of(manners, "");
        let outcome = run(folder.path(), &[]).ok();
        assert!(
            outcome
                .stderr
                .contains("served: made-up at http://127.0.0.1:"),
            "{}",
            outcome.stderr
        );
        let read = readings(folder.path());
        for reading in read.values() {
            for answer in &reading.answers {
                if let Answer::NextToken(next) = answer {
                    assert!(next.doubt() <= 0.0, "{name}");
                }
            }
        }
        // By text, of tokens that are written alike one is shown.
        let count = if name.starts_with("text") { 0 } else { 5 };
        let found = |read: &BTreeMap<String, Reading>| -> BTreeMap<String, Vec<f64>> {
            let read = read.iter();
            read.map(|(id, reading)| (id.clone(), numbers(reading, count)))
                .collect()
        };
        let expected = expected.get_or_insert_with(|| read.clone());
        let (found, expected) = (found(&read), found(expected));
        assert!(found.values().map(Vec::len).sum::<usize>() > 50, "{name}");
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (id, numbers) in &found {
            let other = &expected[id];
            let is_same = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
            assert!(
                numbers.len() == other.len() && numbers.iter().zip(other).all(is_same),
                "{name} {id}: {numbers:?} {other:?}",
            );
        }
        let sent = server.asked();
        let ids = sent
            .iter()
            .filter(|asked| asked.body["prompt"].is_array())
            .count();
        assert_eq!(ids > 10, !name.starts_with("text"), "{name}");
        // Nothing is left to ask.
        let again = run(folder.path(), &[]).ok();
        assert!(
            again.stderr.contains("nothing to do") || again.stdout.contains("nothing to do"),
            "{}{}",
            again.stdout,
            again.stderr
        );
    }
}

#[test]
fn what_is_not_shown_is_a_bound_and_said() {
    let all = Manners {
        most: 2048,
        shows_asked: false,
        ..GOOD.clone()
    };
    let exact = of(all, "");
    run(exact.0.path(), &["--formats", "letter"]).ok();
    let exact = readings(exact.0.path());
    let little = Manners {
        most: 5,
        shows_asked: false,
        echoes: false,
        scores: false,
        ..GOOD.clone()
    };
    let (folder, _server) = of(little, "");
    // Texts cannot be scored, which is found before any is.
    let refused = run(folder.path(), &[]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("cannot be asked for the probability of whole texts"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("--formats letter"),
        "{}",
        refused.stderr
    );
    std::fs::remove_dir_all(folder.path().join("r.partial")).ok();
    let outcome = run(
        folder.path(),
        &["--formats", "letter", "--force", "--verbose"],
    )
    .ok();
    // The mark stands wherever the checkpoint's name does, and the gate says how much is missing.
    assert!(outcome.stdout.contains("served.top5"), "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("letters not shown"),
        "{}",
        outcome.stdout
    );
    let (mut bounded, mut hidden) = (0, 0);
    for (id, reading) in readings(folder.path()) {
        let (Some(next), Some(all)) = (reading.next_token(), exact[&id].next_token()) else {
            continue;
        };
        hidden += usize::from(next.not_shown.is_some_and(|mass| mass.get() > 0.0));
        assert!(next.label_mass.get() <= all.label_mass.get() + 1e-9);
        assert!(next.entropy.get() <= all.entropy.get() + 1e-9);
        let shares = |next: &concord_readings::NextToken| {
            let weights: Vec<f64> = next
                .labels
                .iter()
                .map(|label| label.log_prob.get().exp())
                .collect();
            let sum: f64 = weights.iter().sum();
            weights
                .iter()
                .map(|weight| weight / sum)
                .collect::<Vec<f64>>()
        };
        for (found, truth) in shares(next).iter().zip(shares(all)) {
            assert!((found - truth).abs() <= next.doubt() + 1e-9);
        }
        for (label, of_all) in next.labels.iter().zip(&all.labels) {
            for (spelling, truth) in label.spellings.iter().zip(&of_all.spellings) {
                bounded += usize::from(spelling.at_most);
                let above = spelling.log_prob.get() - truth.log_prob.get();
                assert!(if spelling.at_most {
                    above >= -1e-9
                } else {
                    above.abs() < 1e-9
                });
            }
        }
    }
    assert!(bounded > 0 && hidden > 0);
}

#[test]
fn servers_that_fail_are_asked_again() {
    let faults = vec![
        Fault::Status(429),
        Fault::Cut,
        Fault::Status(500),
        Fault::NoJson,
        Fault::Slow(5000),
        Fault::Status(503),
        Fault::Cut,
    ];
    let (well, _server) = of(GOOD.clone(), "");
    run(well.path(), &[]).ok();
    let (folder, server) = of(
        Manners {
            faults,
            ..GOOD.clone()
        },
        "at_once = 2\nattempts = 40\nseconds = 4\n",
    );
    run(folder.path(), &[]).ok();
    assert_eq!(readings(folder.path()), readings(well.path()));
    let manifest = std::fs::read_to_string(folder.path().join("r/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let cost = &manifest["progress"]["served"];
    assert!(cost["requests_again"].as_u64() >= Some(6), "{cost}");
    assert!(cost["prompt_tokens"].as_u64() > Some(1000), "{cost}");
    assert!(server.asked().len() > 20);
    // What goes wrong as often as something is asked ends the run, which goes on later.
    let always = vec![Fault::Status(500); 2];
    let (folder, _server) = of(
        Manners {
            faults: always,
            ..GOOD.clone()
        },
        "at_once = 1\nattempts = 2\n",
    );
    let stopped = run(folder.path(), &[]);
    assert_eq!(stopped.code, 6, "{}", stopped.stderr);
    assert!(
        stopped.stderr.contains("asked 2 times: 500: later"),
        "{}",
        stopped.stderr
    );
    run(folder.path(), &[]).ok();
    assert_eq!(readings(folder.path()), readings(well.path()));
    let manifest = std::fs::read_to_string(folder.path().join("r/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert!(manifest["progress"]["served"]["resumed"].as_u64() > Some(0));
    // Log-probabilities that are missing are asked for again, and never made up.
    let (folder, _server) = of(
        Manners {
            faults: vec![Fault::NoLogprobs],
            ..GOOD.clone()
        },
        "",
    );
    run(folder.path(), &[]).ok();
    assert_eq!(readings(folder.path()), readings(well.path()));
    let (folder, _server) = of(
        Manners {
            faults: vec![Fault::NoLogprobs; 4],
            echoes: false,
            ..GOOD.clone()
        },
        "at_once = 1\nattempts = 2\n",
    );
    let stopped = run(folder.path(), &[]);
    assert_eq!(stopped.code, 6, "{}", stopped.stderr);
    assert!(
        stopped
            .stderr
            .contains("the answer has no log-probabilities"),
        "{}",
        stopped.stderr
    );
    assert!(!folder.path().join("r").exists());
}

/// A server's way of showing things is part of what a run is: another is not mixed in.
#[test]
fn a_server_that_shows_less_does_not_go_on() {
    let (folder, _server) = of(
        Manners {
            most: 2048,
            shows_asked: false,
            faults: vec![Fault::Status(500); 2],
            ..GOOD.clone()
        },
        "at_once = 1\nattempts = 2\n",
    );
    let stopped = run(folder.path(), &[]);
    assert_eq!(stopped.code, 6, "{}", stopped.stderr);
    let less = ModelServer::start(Manners {
        shows_asked: false,
        ..GOOD.clone()
    });
    file(folder.path(), &less, "");
    let refused = run(folder.path(), &[]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("dtype"), "{}", refused.stderr);
}

/// Texts are written, rated and asked in turns by a server as well.
#[test]
fn served_checkpoints_write_and_rate() {
    let (folder, server) = of(GOOD.clone(), "");
    let arguments = [
        "--formats",
        "open",
        "--rater",
        "itself",
        "--limit",
        "1",
        "--languages",
        "english",
    ];
    let rest: Vec<&str> = RUN
        .iter()
        .copied()
        .filter(|word| !["--limit", "2"].contains(word))
        .collect();
    let rest: Vec<&str> = rest
        .into_iter()
        .filter(|word| !["--robustness-sample"].contains(word))
        .collect();
    concord(folder.path(), &[&rest[..], &arguments[..]].concat()).ok();
    let read = readings(folder.path());
    let texts: Vec<_> = read.values().filter_map(Reading::generation).collect();
    assert!(!texts.is_empty());
    for text in texts {
        assert_eq!(text.tokens.len(), text.log_probs.len());
        assert!(!text.log_probs.is_empty());
    }
    let written = server
        .asked()
        .into_iter()
        .filter(|asked| asked.body["max_tokens"].as_u64() > Some(1));
    for asked in written {
        // Nothing but the checkpoint decides what is likely.
        assert_eq!(asked.body["repetition_penalty"], 1.0);
        assert_eq!(asked.body["top_k"], 0);
    }
}

#[test]
fn servers_that_lie_are_refused() {
    for (lie, said, code) in [
        (Lie::AnotherModel, "has no `made-up`; it has other", 4),
        (Lie::TooProbable, "probabilities that sum to", 4),
        (Lie::AnotherTokenizer, "its tokenizer is another", 4),
        (Lie::PermutedTokens, "its tokenizer is another", 4),
        (Lie::Away, "503: no room", 6),
    ] {
        let (folder, _server) = of(
            Manners {
                lie: Some(lie),
                ..GOOD.clone()
            },
            "attempts = 2\n",
        );
        let refused = run(folder.path(), &[]);
        assert_eq!(refused.code, code, "{lie:?} {}", refused.stderr);
        assert!(refused.stderr.contains(said), "{lie:?} {}", refused.stderr);
        assert!(!folder.path().join("r").exists());
    }
    let by_text = Manners {
        lie: Some(Lie::AnotherVocabulary),
        names_ids: false,
        ..GOOD.clone()
    };
    let (folder, _server) = of(by_text, "");
    let refused = run(folder.path(), &[]);
    assert_eq!(refused.code, 4);
    assert!(
        refused
            .stderr
            .contains("are not in the tokenizer's vocabulary"),
        "{}",
        refused.stderr
    );
    // Scores of prompts that are not those of texts are not used.
    let wrong = Manners {
        lie: Some(Lie::Echo),
        shows_asked: false,
        scores: false,
        ..GOOD.clone()
    };
    let (folder, _server) = of(wrong, "");
    let refused = run(folder.path(), &[]);
    assert_eq!(refused.code, 4);
    assert!(
        refused.stderr.contains("texts cannot be scored"),
        "{}",
        refused.stderr
    );
}
