//! The suite `randomness` on checkpoints whose next token is a table of the last one, so that every number has a closed form.

use crate::bigram::{Table, row, write_checkpoint};
use crate::{concord, copy_folder};
use concord_readings::{End, Form, Input, PromptStyle, Read, Readings};
use concord_suites::{Given, Step, Subject, suite};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// What may stand before a choice after a begun answer.
pub const PREFILLED: [&str; 2] = ["", " "];

/// Likes 7; a digit is followed by another digit one time in ten, which is a 0 half of the time.
pub fn likes_seven(before: u8, byte: u8) -> f64 {
    match (before.is_ascii_digit(), byte) {
        (true, b'0') => 0.05,
        (true, b'1'..=b'9') => 0.05 / 9.0,
        (false, b'7') => 0.4,
        (false, b'0'..=b'9') => 0.04,
        (false, b' ') => 0.1,
        _ => 0.0,
    }
}

/// Says every number of 0 to 10 alike.
pub fn says_all_alike(before: u8, byte: u8) -> f64 {
    match (before.is_ascii_digit(), before == b'1', byte) {
        // Of what begins with a 1, half goes on to 10.
        (_, true, b'0') => 0.5,
        (false, _, b'1') => 0.9 * 2.0 / 11.0,
        (false, _, b'0'..=b'9') => 0.9 / 11.0,
        _ => 0.0,
    }
}

/// Says nothing in figures.
fn says_words(before: u8, byte: u8) -> f64 {
    if byte.is_ascii_alphabetic() && before != byte {
        0.015
    } else {
        0.0
    }
}

/// `P(n)` of 0 to 10, where any of some texts may come first, by the table.
pub fn closed_form(table: Table, leads: &[&str]) -> (Vec<f64>, f64) {
    let p = |before: u8, byte: u8| row(table, before)[usize::from(byte)];
    let goes_on = |digit: u8| (b'0'..=b'9').map(|next| p(digit, next)).sum::<f64>();
    // Any byte that is no digit stands for the last one of the prompt.
    let begins = |byte: u8| -> f64 {
        let led = leads.iter().map(|lead| {
            let (mut before, mut product) = (b':', 1.0);
            for byte in lead.bytes().chain([byte]) {
                product *= p(before, byte);
                before = byte;
            }
            product
        });
        led.sum()
    };
    let mut numbers: Vec<f64> = (b'0'..=b'9')
        .map(|digit| begins(digit) * (1.0 - goes_on(digit)))
        .collect();
    numbers.push(begins(b'1') * p(b'1', b'0') * (1.0 - goes_on(b'0')));
    let mass = numbers.iter().sum::<f64>();
    (numbers.iter().map(|p| p / mass).collect(), mass)
}

pub fn run(folder: &Path, more: &[&str]) -> Value {
    let mut arguments = vec![
        "run",
        "--suite",
        "randomness",
        "--format",
        "json",
        "--rounds",
        "0",
        "--sequences",
        "0",
    ];
    arguments.extend(more);
    concord(folder, &arguments).ok().json()
}

/// The findings of a checkpoint on 0 to 10 after begun answers.
fn prefilled<'a>(found: &'a Value, name: &str) -> &'a Value {
    let checkpoints = found["findings"]["checkpoints"].as_array().unwrap();
    let of_name = checkpoints.iter().find(|one| one["name"] == name).unwrap();
    let mut sets = of_name["sets"].as_array().unwrap().iter();
    sets.find(|set| set["set"] == "0-10" && set["carrier"] == "prefilled")
        .unwrap()
}

#[track_caller]
pub fn close(found: &Value, expected: f64) {
    let value = found["value"]
        .as_f64()
        .unwrap_or_else(|| found.as_f64().unwrap_or(f64::NAN));
    assert!((value - expected).abs() < 2e-5, "{value} is not {expected}");
}

#[test]
fn a_table_of_bytes_comes_out_as_its_closed_form() {
    let folder = tempfile::tempdir().unwrap();
    for (name, table) in [("seven", likes_seven as Table), ("alike", says_all_alike)] {
        write_checkpoint(&folder.path().join(name), table);
    }
    let found = run(
        folder.path(),
        &["-M", "seven", "-M", "alike", "--sets", "0-10", "-o", "r"],
    );
    for (name, table) in [("seven", likes_seven as Table), ("alike", says_all_alike)] {
        let (p, mass) = closed_form(table, &PREFILLED);
        let set = prefilled(&found, name);
        let summary = &set["summary"];
        let quantity = |name: &str| &summary["quantities"][name]["estimate"];
        close(&set["mass"], mass);
        let entropy: f64 = -p.iter().map(|p| p * p.log2()).sum::<f64>();
        close(quantity("entropy"), entropy);
        close(quantity("divergence"), 11f64.log2() - entropy);
        close(quantity("seven"), p[7]);
        let chi: f64 = p.iter().map(|p| (p - 1.0 / 11.0).powi(2) * 11.0).sum();
        close(quantity("chi_squared"), chi);
        close(quantity("effect_size"), chi.sqrt());
        let variation: f64 = p.iter().map(|p| (p - 1.0 / 11.0).abs()).sum::<f64>() / 2.0;
        close(quantity("total_variation"), variation);
        let expected = 100.0 * chi + p.iter().map(|p| p * (1.0 - p)).sum::<f64>() * 11.0;
        let value = quantity("sampled_chi_squared")["value"].as_f64().unwrap();
        assert!((value - expected).abs() < 2e-3, "{value} is not {expected}");
    }
    let (p, _) = closed_form(says_all_alike, &PREFILLED);
    assert!(p.iter().all(|p| (p - 1.0 / 11.0).abs() < 0.02), "{p:?}");
    // A run is measured again to the same.
    let again = concord(folder.path(), &["measure", "r", "--format", "json"])
        .ok()
        .json();
    assert_eq!(again, found["findings"]);
    let page = concord(
        folder.path(),
        &["report", "r", "--out", "-", "--with-published"],
    )
    .ok();
    assert!(page.stdout.contains("<rect class=") && page.stdout.ends_with("</html>\n"));
}

#[test]
fn a_chain_is_compared_with_its_base_and_what_is_not_measurable_says_why() {
    let folder = tempfile::tempdir().unwrap();
    for (name, table) in [
        ("base", likes_seven as Table),
        ("same", likes_seven),
        ("words", says_words),
    ] {
        write_checkpoint(&folder.path().join(name), table);
    }
    let arguments = [
        "-M",
        "base",
        "-M",
        "same",
        "-M",
        "words",
        "--sets",
        "0-10,coin",
        "-o",
        "r",
    ];
    let found = run(folder.path(), &arguments);
    let set = prefilled(&found, "words");
    assert!(set["summary"].is_null(), "{set}");
    let verdict = set["verdict"]["not_measurable"].as_str().unwrap();
    assert!(verdict.starts_with("valid mass"), "{verdict}");
    let chain = found["findings"]["chain"].as_array().unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(
        (&chain[0]["base"], &chain[0]["later"]),
        (&json!("base"), &json!("same"))
    );
    let differences = chain[0]["differences"].as_array().unwrap();
    assert!(!differences.is_empty());
    for one in differences {
        assert_eq!(one["estimate"]["value"], 0.0, "{one}");
    }
    let human = concord(folder.path(), &["measure", "r", "--tables", "t"])
        .ok()
        .stdout;
    let tables: Vec<String> = std::fs::read_dir(folder.path().join("t"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert!(tables.len() > 2, "{tables:?}");
    for table in tables {
        let columns = table.lines().next().unwrap().split(',').count();
        assert!(columns > 2 && !table.contains("NaN"), "{table}");
    }
    assert!(human.contains("not measurable: valid mass"), "{human}");
}

/// Spells the moves of the game, and begins with an r most often.
fn plays(before: u8, byte: u8) -> f64 {
    match (before.to_ascii_lowercase(), byte) {
        (b'r', b'o') | (b'o', b'c') | (b'a', b'p') | (b'e', b'r') | (b'i', b's') => 0.8,
        (b'c', b'k') | (b'p', b'a') => 0.5,
        (b'c', b'i') | (b'p', b'e') => 0.4,
        (b's', b'c' | b's' | b'o') => 0.3,
        (other, b'r' | b'R') if !other.is_ascii_alphabetic() => 0.2,
        (other, b'p' | b'P') if !other.is_ascii_alphabetic() => 0.15,
        (other, b's' | b'S') if !other.is_ascii_alphabetic() => 0.1,
        (other, b' ') if !other.is_ascii_alphabetic() => 0.05,
        _ => 0.0,
    }
}

#[test]
fn moves_of_a_table_come_out_as_their_closed_form() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(&folder.path().join("plays"), plays);
    let arguments = [
        "run",
        "--suite",
        "randomness",
        "--format",
        "json",
        "-M",
        "plays",
        "--sets",
        "0-10",
        "--sequences",
        "3",
        "--relabellings",
        "0",
        "--rounds",
        "3",
        "--depth",
        "2",
        "--least-mass",
        "0",
        "-o",
        "r",
    ];
    let found = concord(folder.path(), &arguments).ok().json();
    let p = |before: u8, byte: u8| row(plays, before)[usize::from(byte)];
    let spelt = |text: &str| -> f64 {
        let mut before = b':';
        let mut product = 1.0;
        for byte in text.bytes() {
            product *= p(before, byte);
            before = byte;
        }
        let goes_on = (b'a'..=b'z').chain(b'A'..=b'Z').map(|byte| p(before, byte));
        product * (1.0 - goes_on.sum::<f64>())
    };
    let word = |word: &str| -> f64 {
        let (first, rest) = word.split_at(1);
        let capital = format!("{}{rest}", first.to_uppercase());
        let all = [word, &capital].map(|word| spelt(word) + spelt(&format!(" {word}")));
        all.iter().sum()
    };
    let weights = ["rock", "paper", "scissors"].map(word);
    let total: f64 = weights.iter().sum();
    let [rock, paper, scissors] = weights.map(|weight| weight / total);
    let wins = (scissors - paper).max(rock - scissors).max(paper - rock);
    let one = &found["findings"]["checkpoints"][0];
    let games = &one["games"]["found"];
    close(&games["exploitability"], wins);
    close(&games["net"], -3.0 * wins);
    let rounds = games["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 3);
    for (number, round) in rounds.iter().enumerate() {
        close(&round["exploitability"], wins);
        close(&round["net"], -(number as f64 + 1.0) * wins);
    }
    // The next number depends on nothing before it.
    for sequences in one["sequences"].as_array().unwrap() {
        let found = &sequences["found"];
        close(&found["dependence"], 0.0);
        close(&found["held_back"], 0.0);
    }
}

#[test]
fn what_a_suite_does_not_have_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], code: i32, parts: &[&str]| {
        let outcome = concord(
            folder.path(),
            &[&["run", "--device", "cpu"][..], arguments].concat(),
        );
        assert_eq!(outcome.code, code, "{arguments:?}: {}", outcome.stderr);
        for part in parts {
            assert!(
                outcome.stderr.contains(part),
                "{part} not in {}",
                outcome.stderr
            );
        }
    };
    refused(
        &["--suite", "randomnes"],
        2,
        &["no suite `randomnes`", "did you mean `randomness`?"],
    );
    refused(
        &["--suite", "x"],
        2,
        &["there are valueconsistency, randomness"],
    );
    refused(
        &["--suite", "randomness", "--formats", "letter"],
        2,
        &["the suite `randomness` has no option `--formats`", "--sets"],
    );
    refused(
        &["--sets", "0-10"],
        2,
        &["the suite `valueconsistency` has no option `--sets`"],
    );
    refused(
        &["--suite", "randomness", "--languages", "french"],
        2,
        &["must be one of", "german"],
    );
    refused(
        &["--suite", "randomness", "--sets", "none", "--set", "mine=a"],
        2,
        &["mine"],
    );
    refused(
        &["--suite", "randomness", "--set", "mine=heart,heart"],
        2,
        &["heart"],
    );
    refused(
        &["--suite", "randomness", "--rater", "itself"],
        2,
        &["--rater", "no texts to be rated"],
    );
    let listed = concord(folder.path(), &["suites"]).ok().stdout;
    for part in [
        "valueconsistency: how far",
        "randomness: how uniform",
        "cannot tell:",
    ] {
        assert!(listed.contains(part), "{part} not in {listed}");
    }
    let listed = concord(folder.path(), &["suites", "--format", "json"])
        .ok()
        .json();
    assert_eq!(listed[1]["name"], "randomness");
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn what_a_suite_asks_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = [
        "prompts",
        "--suite",
        "randomness",
        "--option",
        "sets=die, coin",
        "--option",
        "rounds=0",
        "--format",
        "json",
    ];
    let lines = concord(folder.path(), &prompts).ok().lines();
    assert!(
        lines.len() >= 40 && lines.iter().all(|line| line["round"] == "numbers"),
        "{}",
        lines.len()
    );
    assert!(
        lines[1]["input"]["prefilled"]["prefill"].is_string(),
        "{}",
        lines[1]
    );
    // With a checkpoint, each has the digest of what is asked, whatever else is.
    assert!(lines[0]["digest"].is_null());
    write_checkpoint(&folder.path().join("seven"), likes_seven);
    let digests = |sets: &str| -> BTreeMap<String, String> {
        let sets = format!("sets={sets}");
        let asked = [
            "--option", &sets, "--option", "rounds=0", "--model", "seven",
        ];
        let lines = concord(
            folder.path(),
            &[&prompts[..3], &asked[..], &prompts[7..]].concat(),
        );
        let lines = lines.ok().lines();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of_line = |line: &Value| (text(&line["id"]), text(&line["digest"]));
        lines.iter().map(of_line).collect()
    };
    let (both, coin) = (digests("die, coin"), digests("coin"));
    assert!(coin.len() >= 20 && both.len() >= coin.len() + 20);
    assert!(coin.iter().all(|(id, digest)| both[id] == *digest));
    let distinct: HashSet<&String> = both.values().collect();
    assert_eq!(distinct.len(), both.len());
    assert!(both.values().all(|digest| digest.len() == 32));
    let human = concord(folder.path(), &prompts[..5]).ok().stdout;
    assert!(
        human.contains("=== round games, 1 of ") && human.contains("[assistant, begun]"),
        "{human}"
    );
    let unknown = concord(
        folder.path(),
        &["prompts", "--suite", "randomness", "--option", "x=1"],
    );
    assert!(
        unknown.code == 2 && unknown.stderr.contains("no option `--x`"),
        "{}",
        unknown.stderr
    );
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn the_tree_of_games_costs_its_distinct_tokens() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(&folder.path().join("seven"), likes_seven);
    let arguments = [
        "run",
        "--suite",
        "randomness",
        "--format",
        "json",
        "-M",
        "seven",
        "--sets",
        "coin",
        "--sequences",
        "0",
        "--relabellings",
        "0",
        "--wordings",
        "1",
        "--rounds",
        "7",
        "--depth",
        "6",
        "-o",
        "r",
    ];
    let found = concord(folder.path(), &arguments).ok().json();
    let games = &found["manifest"]["progress"]["seven"]["games"];
    let count = |key: &str| usize::try_from(games[key].as_u64().unwrap()).unwrap();
    // A token is a byte, so the rows that are needed are the distinct beginnings of what is asked, as text.
    let typed: BTreeMap<String, Vec<String>> = [
        ("sets", "coin"),
        ("sequences", "0"),
        ("relabellings", "0"),
        ("wordings", "1"),
        ("rounds", "7"),
        ("depth", "6"),
    ]
    .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
    .into();
    let randomness = suite("randomness").unwrap();
    let given = Given::new(randomness.options(), &typed, 0);
    let (study, _) = randomness.begin(&given).unwrap();
    let style = PromptStyle {
        form: Form::Completion,
        lead: " ",
    };
    let Step::Ask(rounds) = study.next(Subject { style }, &Readings::default()).unwrap() else {
        panic!("nothing is asked");
    };
    let round = rounds.iter().find(|round| round.name == "games").unwrap();
    let mut beginnings: HashSet<Vec<u8>> = HashSet::new();
    let mut add = |text: &[u8]| {
        for end in 1..=text.len() {
            beginnings.insert(text[..end].to_vec());
        }
    };
    for prompt in &round.prompts {
        let Input::Text(text) = &prompt.input else {
            panic!("{}: not a text", prompt.id);
        };
        add(text.as_bytes());
        for read in &prompt.reads {
            let Read::Strings(strings) = read else {
                panic!("{read:?}")
            };
            for whole in strings.texts.iter().flat_map(|text| strings.whole(text)) {
                let told = format!("{text}{whole}");
                // The last token is read where nothing can go on with it, and a row where something can.
                let last = usize::from(strings.end == End::Any);
                add(&told.as_bytes()[..told.len() - last]);
            }
        }
    }
    assert_eq!(count("trie_rows"), beginnings.len());
    assert_eq!(count("rows_computed"), beginnings.len());
    let tree = round
        .prompts
        .iter()
        .filter(|prompt| prompt.id.contains("games/rock"));
    assert_eq!(tree.count(), 1093);
}

#[test]
fn a_run_that_was_cut_off_draws_the_same_histories() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(&folder.path().join("seven"), likes_seven);
    let run = |out: &str| {
        let arguments = [
            "run",
            "--suite",
            "randomness",
            "--format",
            "json",
            "-M",
            "seven",
            "--sets",
            "0-10",
            "--sequences",
            "2",
            "--rounds",
            "0",
            "--relabellings",
            "0",
            "--wordings",
            "2",
            "-o",
            out,
        ];
        concord(folder.path(), &arguments).ok().json()
    };
    let whole = run("whole");
    // As if it had been stopped in its fourth draw.
    let partial = folder.path().join("again.partial");
    copy_folder(&folder.path().join("whole"), &partial);
    std::fs::remove_file(partial.join("findings.json")).unwrap();
    for round in 5..=10 {
        std::fs::remove_dir_all(partial.join(format!("own-{round}"))).unwrap();
    }
    let journal = partial.join("own-4/seven.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let kept: String = text.split_inclusive('\n').take(2).collect();
    std::fs::write(&journal, kept).unwrap();
    let again = run("again");
    assert_eq!(again["findings"], whole["findings"]);
    let progress = &again["manifest"]["progress"]["seven"];
    assert_eq!(progress["own-3"]["resumed"], progress["own-3"]["prompts"]);
    assert_eq!(progress["own-4"]["resumed"], 1);
}
