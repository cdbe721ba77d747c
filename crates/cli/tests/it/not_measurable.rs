//! Checkpoints whose vocabulary does not spell what is asked for.

use crate::bigram::{Table, write_checkpoint, write_checkpoint_without};
use crate::randomness::{likes_seven, run, says_all_alike};
use crate::{concord, copy_folder};
use serde_json::json;

#[test]
fn a_checkpoint_that_cannot_spell_a_member_is_left_out_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint_without(&folder.path().join("lame"), likes_seven, b"7");
    for (name, table) in [("seven", likes_seven as Table), ("alike", says_all_alike)] {
        write_checkpoint(&folder.path().join(name), table);
    }
    let asked = ["--sets", "0-10", "--wordings", "2", "--relabellings", "0"];
    let three = ["-M", "lame", "-M", "seven", "-M", "alike"];
    let of = |models: &[&str], out: &str| {
        let more = [&asked[..], models, &["-o", out]].concat();
        run(folder.path(), &more)
    };
    let found = of(&three, "r");
    let reason = "no tokens of its vocabulary spell the text \"7\"";
    let findings = &found["findings"];
    assert_eq!(
        findings["not_measurable"],
        json!([{ "checkpoint": "lame", "reason": reason }])
    );
    assert_eq!(
        found["manifest"]["progress"]["lame"]["not_measurable"],
        reason
    );
    // The others are measured as if it were not there.
    let without = of(&three[2..], "without");
    for key in ["checkpoints", "chain"] {
        assert_eq!(findings[key], without["findings"][key]);
    }
    assert_eq!(findings["chain"][0]["base"], "seven");
    // A stored run says it as well.
    let human = concord(folder.path(), &["measure", "r"]).ok().stdout;
    let joined = human.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        joined.contains(&format!("lame: not measurable: {reason}")),
        "{human}"
    );
    assert!(joined.contains("is the base in its place"), "{human}");
    let again = concord(folder.path(), &["measure", "r", "--format", "json"]);
    assert_eq!(again.ok().json(), *findings);
    let page = concord(folder.path(), &["report", "r", "--out", "-"])
        .ok()
        .stdout;
    let said = page.contains("lame: not measurable: ");
    assert!(said, "the page does not say who is left out");
    let other = concord(folder.path(), &["compare", "r/lame", "r/seven"]);
    assert!(
        other.code == 2 && other.stderr.contains(reason),
        "{}",
        other.stderr
    );
    concord(folder.path(), &["compare", "r"]).ok();
    // And goes on after a stop.
    let partial = folder.path().join("again.partial");
    copy_folder(&folder.path().join("r"), &partial);
    std::fs::remove_file(partial.join("findings.json")).unwrap();
    std::fs::remove_file(partial.join("numbers/alike.jsonl")).unwrap();
    let again = of(&three, "again");
    assert_eq!(again["findings"], *findings);
    let progress = &again["manifest"]["progress"];
    assert_eq!(progress["seven"]["resumed"], progress["seven"]["prompts"]);
    assert_eq!(progress["alike"]["resumed"], 0);
    // What it can spell, it is asked.
    let coin = [
        "--sets",
        "coin",
        "--wordings",
        "2",
        "-M",
        "lame",
        "-o",
        "coin",
    ];
    let coin = run(folder.path(), &coin);
    assert!(coin["findings"]["not_measurable"].is_null());
    // With nobody else there is nothing to measure.
    let alone = [
        &["run", "--suite", "randomness", "-o", "alone", "-M", "lame"],
        &asked[..],
    ];
    let alone = concord(folder.path(), &alone.concat());
    assert!(
        alone.code == 4 && alone.stderr.contains(reason),
        "{}",
        alone.stderr
    );
    assert!(!folder.path().join("alone.partial").exists());
}

#[test]
fn a_checkpoint_without_a_letter_is_left_out_of_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint_without(&folder.path().join("lame"), likes_seven, b"B");
    write_checkpoint(&folder.path().join("seven"), likes_seven);
    let arguments = [
        "run",
        "--format",
        "json",
        "--formats",
        "letter",
        "--limit",
        "2",
        "--no-steering",
        "-M",
        "seven",
        "-M",
        "lame",
        "-o",
        "r",
    ];
    let found = concord(folder.path(), &arguments).ok().json();
    let left_out = &found["findings"]["not_measurable"];
    assert_eq!(left_out.as_array().unwrap().len(), 1);
    assert_eq!(left_out[0]["checkpoint"], "lame");
    let reason = left_out[0]["reason"].as_str().unwrap();
    assert_eq!(reason, "no token of its vocabulary spells the label \"B\"");
    let human = concord(folder.path(), &["measure", "r"]).ok().stdout;
    assert!(human.contains("lame: not measurable: "), "{human}");
}
