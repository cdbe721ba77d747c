//! Positions of checkpoints that are built to have them.

use super::Stress;
use super::data::{Data, Options};
use super::made_up::{MadeUp, Rated, Rater, Seen, around, load, measure, measured};
use crate::shared::draw;
use crate::{CheckpointReadings, Show, Suite};
use concord_findings::Exhibit;

/// Where a checkpoint stands that reads known answers rightly, and else goes by `own`.
fn standing(seen: &Seen, own: f64) -> f64 {
    seen.known.map_or(own, |known| known as f64)
}

fn made<'a>(name: &'a str, weight: &'a dyn Fn(&Seen, usize, usize) -> f64) -> MadeUp<'a> {
    MadeUp {
        name,
        weight,
        mass: 0.9,
    }
}

#[test]
fn a_nudge_moves_as_far_as_it_is_built_to() {
    let (data, options) = load(&[("limit", &["1"])]);
    let weight = |seen: &Seen, at: usize, _: usize| {
        let own = format!("value{}", seen.of + 1);
        let to = match seen.nudge.as_str() {
            "neutral" | "" => 3.0,
            nudge if nudge == own => 4.0,
            _ => 2.0,
        };
        around(standing(seen, to), at)
    };
    let found = measure(&data, &options, &[made("moved", &weight)]);
    let of = &found.checkpoints[0];
    assert!(
        of.verdict.is_measurable() && of.read_back > 0.9,
        "{}",
        of.read_back
    );
    let effect = &of.nudge.as_ref().unwrap().effect;
    assert!((effect.value - 2.0).abs() < 0.01, "{effect:?}");
    assert!(of.nudge_log_odds.unwrap() > 0.0);
    // By likelihood the same: what a text is by itself is taken off.
    assert!(of.likelihood.unwrap() > 0.99);
    assert!(found.disagreement.is_none());
}

#[test]
fn a_lover_of_places_has_no_position_and_is_not_measurable() {
    let (data, options) = load(&[("limit", &["1"])]);
    let third = |_: &Seen, _: usize, place: usize| if place == 2 { 50.0 } else { 1.0 };
    let silent = MadeUp {
        name: "silent",
        weight: &|seen, at, _| around(standing(seen, 3.0), at),
        mass: 0.2,
    };
    let found = measure(&data, &options, &[made("third", &third), silent]);
    let of = &found.checkpoints[0];
    for item in &of.items {
        assert!(
            item.expected
                .iter()
                .all(|expected| (expected - 3.0).abs() < 1e-9),
            "{item:?}"
        );
        assert!(item.modes.iter().all(|mode| (mode - 3.0).abs() < 1e-9));
    }
    assert!(of.nudge.as_ref().unwrap().effect.value.abs() < 1e-9);
    assert!(
        of.verdict
            .reason()
            .unwrap()
            .contains("known positions read back")
    );
    assert!(
        found.checkpoints[1]
            .verdict
            .reason()
            .unwrap()
            .contains("mass of letters")
    );
    assert!(found.disagreement.is_none());
    let shown = Stress.exhibits(&found, Show::default());
    let Some(Exhibit::Summary(summary)) = shown.first() else {
        panic!()
    };
    assert!(
        summary
            .sentences
            .iter()
            .all(|line| line.contains("not measurable"))
    );
}

#[test]
fn copies_agree_and_opposites_disagree_as_far_as_can_be() {
    let (data, options) = load(&[("limit", &["1"])]);
    let high = |seen: &Seen, at: usize, _: usize| around(standing(seen, 6.0), at);
    let low = |seen: &Seen, at: usize, _: usize| around(standing(seen, 0.0), at);
    let found = measure(&data, &options, &[made("one", &high), made("two", &high)]);
    let same = found.disagreement.unwrap();
    assert_eq!(
        (same.modes.value, same.expected.value, same.high.value),
        (0.0, 0.0, 0.0)
    );
    assert!(same.between.abs() < 1e-12 && same.most.is_empty());
    let all = [made("one", &high), made("two", &low)];
    let apart = measure(&data, &options, &all).disagreement.unwrap();
    assert!((apart.modes.value - 3.0).abs() < 1e-12 && (apart.high.value - 1.0).abs() < 1e-12);
    // Expectations compress, since every position has some probability.
    assert!(apart.expected.value < 3.0 && apart.expected.value > 2.7);
    assert_eq!(apart.bins, [0, 0, 0, 0, 0, data.items.len()]);
    // One of four stands apart.
    let all = [
        made("one", &high),
        made("two", &high),
        made("three", &high),
        made("four", &low),
    ];
    let apart = measure(&data, &options, &all).disagreement.unwrap();
    assert_eq!(apart.outliers, [0.0, 0.0, 0.0, 1.0]);
    assert!((apart.between_two[0][3] - 3.0).abs() < 1e-12 && apart.between_two[0][1] == 0.0);
}

#[test]
fn values_are_ranked_as_they_are_favoured() {
    let (data, options) = load(&[]);
    let names: Vec<String> = data.values.iter().map(|value| value.name.clone()).collect();
    let strength = |value: &str| names.iter().position(|name| name == value).unwrap() as f64;
    let weight = |seen: &Seen, at: usize, _: usize| {
        around(
            standing(seen, 6.0 * strength(&seen.value) / names.len() as f64),
            at,
        )
    };
    let found = measure(&data, &options, &[made("ranked", &weight)]);
    let ranked = &found.checkpoints[0].ranked;
    let found_of = |name: &String| ranked.iter().find(|of| of.value == *name).unwrap().strength;
    let mut pairs: Vec<&[String; 2]> = data.items.iter().map(|item| &item.pair).collect();
    pairs.dedup();
    // What was compared is in order; of what was not, nothing is known but by others.
    let right = pairs
        .iter()
        .filter(|[a, b]| (strength(a) > strength(b)) == (found_of(a) > found_of(b)));
    assert!(right.count() >= pairs.len() - 1, "{ranked:?}");
    assert_eq!(found.checkpoints[0].ranked.len(), names.len());
}

/// Noise in every request: how often does a nudge seem to move something?
#[test]
fn a_nudge_that_moves_nothing_is_told_in_five_of_a_hundred() {
    let (data, options) = load(&[("limit", &["1"])]);
    let trials = 100;
    let told = (0..trials).filter(|trial| {
        let weight = |seen: &Seen, at: usize, _: usize| {
            let of = |names: &[&str]| 6.0 * draw::unit(*trial, names);
            let value = seen.of.to_string();
            around(standing(seen, of(&[&seen.item, &seen.nudge, &value])), at)
        };
        let found = measure(&data, &options, &[made("null", &weight)]);
        found.checkpoints[0]
            .nudge
            .as_ref()
            .and_then(|nudge| nudge.p)
            .is_some_and(|p| p < 0.05)
    });
    let told = told.count();
    // 5, and what a hundred trials leave open.
    assert!(told <= 11, "{told}");
}

#[test]
fn every_language_is_asked_in() {
    let (data, options) = load(&[("languages", &["english", "german", "chinese", "japanese"])]);
    let weight = |seen: &Seen, at: usize, _: usize| around(standing(seen, 4.0), at);
    let found = measure(&data, &options, &[made("all", &weight)]);
    assert_eq!((found.scenarios, found.pairs), (72, 24));
    assert_eq!(found.checkpoints[0].items.len(), 3 * (72 + 3 * 24));
    assert!(found.checkpoints[0].verdict.is_measurable());
}

/// A rater that reads a position where an answer names one, the number of a type of refusal, and rules where it names them.
fn reads(rated: &Rated, option: usize) -> f64 {
    let number = |what: &str| -> Option<f64> {
        let (_, rest) = rated.text.split_once(what)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let middle = match rated.what.as_str() {
        "known" => rated.known.unwrap() as f64,
        // Answers of odd number keep the rules.
        "known rules" => f64::from(u8::from(rated.known.unwrap().is_multiple_of(2))),
        "position" => number(&format!("{}:", rated.value)).unwrap_or(3.0),
        "refusal" => number("type:").unwrap_or(0.0),
        "emphasis" => f64::from(u8::from(!rated.text.contains(&format!("{}:", rated.value)))),
        "specification" => number("rules:").unwrap_or(0.0),
        other => panic!("{other}"),
    };
    around(middle, option)
}

/// Two checkpoints that write, as four raters read them. Nudged to a value the first stands two positions nearer to it; the other opposes the
/// first value throughout, and declines. Of the raters two read rightly, one loves a place, and one says of every answer that it breaks the rules.
fn read_by_four(data: &Data, options: &Options) -> [CheckpointReadings; 2] {
    let weight = |seen: &Seen, at: usize, _: usize| around(standing(seen, 4.0), at);
    let pair = |scenario: &str| {
        let item = data.items.iter().find(|item| item.name == scenario);
        item.unwrap().pair.clone()
    };
    let writes = |scenario: &str, nudge: &str| {
        let [a, b] = pair(scenario);
        let (first, second) = match nudge {
            "value1" => (4, 2),
            "value2" => (2, 4),
            _ => (3, 3),
        };
        format!("{a}: {first} {b}: {second} type: 0 rules: 0 ")
    };
    let opposes = |scenario: &str, _: &str| {
        let [a, b] = pair(scenario);
        format!("{a}: 0 {b}: 6 type: 6 rules: 1 ")
    };
    let right = |rated: &Rated, option: usize, _: usize| reads(rated, option);
    let blind = |_: &Rated, _: usize, place: usize| if place == 0 { 9.0 } else { 1.0 };
    let strict = |rated: &Rated, option: usize, _: usize| match rated.what.as_str() {
        "specification" | "known rules" => around(1.0, option),
        _ => reads(rated, option),
    };
    let rater = |name, weight| Rater { name, weight };
    let raters = [
        rater("right", &right),
        rater("too", &right),
        rater("blind", &blind),
        rater("strict", &strict),
    ];
    [
        made("one", &weight).read_by(data, options, &writes, &raters),
        made("other", &weight).read_by(data, options, &opposes, &raters),
    ]
}

#[test]
fn written_answers_come_out_as_they_are_written() {
    let (data, options) = load(&[("limit", &["1"]), ("answer-tokens", &["64"])]);
    let read = read_by_four(&data, &options);
    let found = measured(&data, &options, &read);
    let written = found.written.as_ref().unwrap();
    let first = &written.checkpoints[0];
    assert!(first.verdict.is_measurable(), "{:?}", first.verdict);
    // By name: blind, right, strict, too.
    let raters = first.raters.iter();
    let heard: Vec<bool> = raters.map(|rater| rater.verdict.is_measurable()).collect();
    assert_eq!(heard, [false, true, true, true]);
    assert_eq!(
        (first.raters[1].known_rules, first.raters[2].known_rules),
        (Some(1.0), Some(0.0))
    );
    let nudge = first.nudge.as_ref().unwrap();
    assert!((nudge.effect.value - 2.0).abs() < 0.01, "{nudge:?}");
    // Letters stand at four throughout, and say nothing of what is written.
    assert_eq!(first.with_letters, None);
    assert!(first.declines.as_ref().unwrap().value < 1e-3);
    assert!(written.checkpoints[1].declines.as_ref().unwrap().value > 0.999);
    // A value matters where an answer names it.
    let is_named = |item: &&super::Item| item.pair.iter().any(|value| value == "honesty");
    let named = data.items.iter().filter(is_named).count() as f64 / data.items.len() as f64;
    let honesty = first.emphasis.iter().find(|(value, _)| value == "honesty");
    let found_of = honesty.unwrap().1.value;
    assert!(
        named > 0.0 && (found_of - (named * 0.88 + (1.0 - named) * 0.12)).abs() < 0.01,
        "{found_of} {named}"
    );
    // The neutral ones are three apart, the nudged ones four and two: the study's deviation is half of the larger.
    let apart = written.disagreement.as_ref().unwrap();
    assert!(
        (apart.modes.value - (1.5 + 2.0 + 1.0) / 3.0).abs() < 1e-9,
        "{:?}",
        apart.modes
    );
    // Shown and exported.
    let every = Show {
        answers: true,
        ..Show::default()
    };
    let shown = Stress.exhibits(&found, every);
    let Some(Exhibit::Table(table)) = shown.last() else {
        panic!()
    };
    assert_eq!(table.rows.len(), data.items.len());
    assert_eq!(table.rows[0][1], data.items[0].query);
    // By letters four throughout; as written, three in the middle.
    assert_eq!(
        table.rows[0][4..],
        ["4.0 / 4.0", "4.0 / 4.0", "3.0 / 3.0", "0.1 / 5.9"]
    );
    let heading = Exhibit::Heading("Written answers".to_owned());
    assert!(shown.contains(&heading));
    let warnings = Stress.warnings(&found);
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("rater blind is not heard")),
        "{warnings:?}"
    );
    let tables = Stress.answers(&data, &options, &read).unwrap();
    assert_eq!(tables[1].rows.len(), 2 * 4 * data.items.len());
}

#[test]
fn rules_are_held_against_answers_by_those_who_know_them() {
    let (data, options) = load(&[("limit", &["1"]), ("answer-tokens", &["64"])]);
    let found = measured(&data, &options, &read_by_four(&data, &options));
    let written = found.written.as_ref().unwrap();
    assert_eq!(written.shared_raters, ["right", "strict", "too"]);
    let rules = written.specification.as_ref().unwrap();
    assert_eq!(rules.name, "advice");
    assert!(
        rules
            .checkpoints
            .iter()
            .all(|of| of.raters == ["right", "too"] && of.answers == data.items.len())
    );
    let shares: Vec<[f64; 3]> = rules
        .checkpoints
        .iter()
        .map(|of| [of.keeps.value, of.breaks.value, of.unclear.value])
        .collect();
    assert_eq!(shares, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
    // Who says of half of the known answers what is not so has no say about rules.
    let panel = rules.panel.as_ref().unwrap();
    assert_eq!(panel.raters, ["right", "too"]);
    assert_eq!(panel.pairs, [(0, 1, 1.0)]);
    assert!((panel.kappa.unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(panel.breaks, [0.5, 0.5]);
    // The first checkpoint breaks none: no request has all break them.
    assert!(
        rules
            .frequent
            .iter()
            .all(|(_, share)| share.is_none_or(|share| share == 0.0))
    );
    assert_eq!(
        rules
            .frequent
            .iter()
            .map(|(requests, _)| requests)
            .sum::<usize>(),
        data.items.len()
    );
}

/// Two that read themselves are not compared.
#[test]
fn who_reads_itself_compares_nothing() {
    let (data, options) = load(&[("limit", &["1"]), ("answer-tokens", &["64"])]);
    let read = read_by_four(&data, &options).map(|mut read| {
        let raters = read
            .readings
            .ratings
            .get_mut(super::written::PLACED)
            .unwrap();
        let own = raters.remove("right").unwrap();
        raters.clear();
        raters.insert(crate::SELF_RATER.to_owned(), own);
        read
    });
    let written = measured(&data, &options, &read).written.unwrap();
    assert!(
        written
            .checkpoints
            .iter()
            .all(|of| of.verdict.is_measurable())
    );
    assert!(written.shared_raters.is_empty() && written.disagreement.is_none());
    let rules = written.specification.unwrap();
    assert!(rules.panel.is_none() && rules.frequent.is_empty());
    assert_eq!(rules.checkpoints.len(), 2);
}

#[test]
fn nothing_that_is_written_is_nothing_that_is_placed() {
    let (data, options) = load(&[("limit", &["1"]), ("answer-tokens", &["64"])]);
    let weight = |seen: &Seen, at: usize, _: usize| around(standing(seen, 4.0), at);
    let right = |rated: &Rated, option: usize, _: usize| reads(rated, option);
    let rater = || {
        [Rater {
            name: "itself",
            weight: &right,
        }]
    };
    let silent = made("silent", &weight).read_by(&data, &options, &|_, _| " ".to_owned(), &rater());
    let found = measured(&data, &options, &[silent]);
    let of = &found.written.unwrap().checkpoints[0];
    assert_eq!((of.written, of.asked), (0, data.items.len()));
    let reason = of.verdict.reason().unwrap();
    assert!(
        reason.contains("share of requests that are answered"),
        "{reason}"
    );
    assert!(of.nudge.is_none() && of.declines.is_none() && of.emphasis.is_empty());
}

#[test]
fn rules_of_a_file_are_asked_and_wrong_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("house.md");
    std::fs::write(&path, "Always answer in rhyme.\n").unwrap();
    let typed = path.to_str().unwrap();
    let (data, _) = load(&[
        ("limit", &["1"]),
        ("answer-tokens", &["9"]),
        ("specification", &[typed]),
    ]);
    let rules = data.specification.as_ref().unwrap();
    assert_eq!(
        (rules.name.as_str(), rules.text.as_str(), rules.is_own),
        ("house", "Always answer in rhyme.", false)
    );
    let (data, _) = load(&[("answer-tokens", &["9"]), ("specification", &["none"])]);
    assert_eq!(data.specification, None);
    std::fs::write(&path, " \n").unwrap();
    let given = |path: &str| {
        let typed = [("answer-tokens", "9"), ("specification", path)];
        let typed = typed.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
        crate::Given::new(Stress.options(), &typed.into(), 7)
    };
    let refused = |path: &str| Stress.load(&given(path)).unwrap_err().to_string();
    assert!(refused(typed).contains("it is empty"));
    assert!(refused("nowhere.md").contains("nowhere.md"));
}
