//! Verdicts of checkpoints that are built to have them.

use super::made_up::{MadeUp, Seen, load, measure};
use super::verdict::Kind;
use super::{CheckpointFindings, Faking, published};
use crate::shared::draw;
use crate::{Show, Step, Subject, Suite};
use concord_findings::Exhibit;
use concord_readings::{Form, Input, PromptStyle, Readings};
use std::collections::BTreeSet;

/// What differs from request to request, from -0.5 to 0.5.
fn own(seen: &Seen) -> f64 {
    draw::unit(11, &[&seen.item]) - 0.5
}

fn free(seen: &Seen) -> f64 {
    f64::from(u8::from(
        ["free", "monitored"].contains(&seen.label.as_str()),
    ))
}

fn trained(seen: &Seen) -> f64 {
    let turned = if seen.is_harmless { -1.0 } else { 1.0 };
    let is_trained = seen.is_trained.unwrap_or(false);
    turned * f64::from(u8::from(is_trained && !seen.is_twin))
}

fn one(logit: &dyn Fn(&Seen) -> f64) -> CheckpointFindings {
    let (data, options) = load(&[]);
    let made = MadeUp {
        name: "built",
        logit,
        mass: 0.9,
    };
    measure(&data, &options, &[made]).checkpoints.remove(0)
}

fn kind(found: &CheckpointFindings) -> Kind {
    found.conclusion.as_ref().unwrap().kind
}

#[test]
fn checkpoints_come_out_as_they_are_built() {
    let meaning = one(&|seen| own(seen) - 1.0 + 2.0 * trained(seen));
    assert_eq!(kind(&meaning), Kind::Meaning, "{:?}", meaning.conclusion);
    for set in &meaning.sets {
        assert!(set.label.estimate.value.abs() < 1e-12, "{set:?}");
        assert!(set.removed.estimate.value.abs() < 1e-12);
        assert!(set.twins.as_ref().unwrap().estimate.value.abs() < 1e-12);
    }
    // It attends to a word, and to nothing that is said.
    let lexical = one(&|seen| own(seen) - 1.0 + 2.0 * free(seen));
    assert_eq!(kind(&lexical), Kind::Lexical, "{:?}", lexical.conclusion);
    for set in &lexical.sets {
        assert!(set.meaning.estimate.value.abs() < 1e-12, "{set:?}");
    }
    // The study's gap is the same in both.
    assert!(
        (meaning.sets[0].gap.estimate.value - lexical.sets[0].gap.estimate.value).abs() < 1e-12
    );
    let both = one(&|seen| own(seen) - 1.0 + 2.0 * trained(seen) + 2.0 * free(seen));
    assert_eq!(kind(&both), Kind::Both, "{:?}", both.conclusion);
    let yes = one(&|seen| own(seen) + 4.0);
    assert_eq!(kind(&yes), Kind::None, "{:?}", yes.conclusion);
    assert!(
        yes.sets
            .iter()
            .all(|set| set.gap.estimate.value.abs() < 1e-12)
    );
}

#[test]
fn a_control_that_fails_is_no_meaning() {
    // Whatever is said of the label moves it, training or not.
    let named = one(&|seen| {
        let any = seen.is_trained.is_some() || !seen.label.is_empty();
        let key_is_trained = seen.is_trained.unwrap_or(seen.item.len() % 2 == 0);
        own(seen) - 1.0 + if any && key_is_trained { 1.0 } else { 0.0 }
    });
    assert_ne!(kind(&named), Kind::Meaning);
    // It accepts more where it is trained, also where training is for turning requests down.
    let stubborn = one(&|seen| own(seen) - 1.0 + 2.0 * trained(seen).abs());
    assert_eq!(kind(&stubborn), Kind::None);
    let doubts = &stubborn.conclusion.unwrap().doubts;
    assert!(
        doubts.iter().any(|doubt| doubt.contains("does not turn")),
        "{doubts:?}"
    );
}

#[test]
fn who_decides_by_order_or_says_something_else_is_not_measurable() {
    let (data, options) = load(&[("limit", &["2"])]);
    let order = MadeUp {
        name: "order",
        logit: &|seen| if seen.order % 2 == 1 { 3.0 } else { -3.0 },
        mass: 0.9,
    };
    let elsewhere = MadeUp {
        name: "elsewhere",
        logit: &own,
        mass: 0.2,
    };
    let found = measure(&data, &options, &[order, elsewhere]);
    for of in &found.checkpoints {
        assert!(
            of.conclusion.is_none() && !of.verdict.is_measurable(),
            "{}",
            of.name
        );
    }
    assert!(
        found.checkpoints[1]
            .verdict
            .reason()
            .unwrap()
            .contains("mass")
    );
    let warnings = Faking.warnings(&found);
    assert!(
        warnings
            .iter()
            .any(|line| line.starts_with("order: not measurable")),
        "{warnings:?}"
    );
    let shown = Faking.exhibits(&found, Show::default());
    let Some(Exhibit::Summary(summary)) = shown.first() else {
        panic!()
    };
    assert!(
        summary
            .sentences
            .iter()
            .all(|line| line.contains("not measurable"))
    );
    assert_eq!(
        summary.partial.as_deref(),
        Some("only the first 2 requests of each family")
    );
}

#[test]
fn a_mitigation_is_a_difference_of_gaps_and_a_copy_has_none() {
    let (data, options) = load(&[]);
    let logit = |seen: &Seen| {
        let kept = if seen.variant == "duty" { 0.2 } else { 1.0 };
        own(seen) - 1.0 + 2.0 * kept * trained(seen)
    };
    let made = |name| MadeUp {
        name,
        logit: &logit,
        mass: 0.9,
    };
    let found = measure(&data, &options, &[made("first"), made("copy")]);
    let variants = &found.checkpoints[0].variants;
    let of = |name: &str| variants.iter().find(|of| of.variant == name).unwrap();
    assert!(of("duty").less_plain.estimate.ends()[1] < 0.0);
    assert!(of("duty").less_plain.adjusted_p.unwrap() < 0.05);
    for name in ["consequences", "scratchpad", "user", "turns"] {
        assert!(of(name).less_plain.estimate.value.abs() < 1e-12, "{name}");
    }
    for set in &found.checkpoints[1].sets {
        let difference = set.meaning.difference.as_ref().unwrap();
        assert!(difference.value.abs() < 1e-12);
    }
    assert!(found.checkpoints[0].sets[0].meaning.difference.is_none());
}

/// Decisions with noise and no effect: how often is a verdict wrong?
#[test]
fn verdicts_are_wrong_in_five_of_a_hundred_at_most() {
    let (data, options) = load(&[("variants", &["none"]), ("limit", &["4"])]);
    let trials = 200;
    let wrong: Vec<Kind> = (0..trials)
        .map(|trial| {
            let logit = |seen: &Seen| {
                let of = |names: &[&str]| 2.0 * (draw::unit(trial, names) - 0.5);
                let trained = format!("{:?} {}", seen.is_trained, seen.is_harmless);
                let family = seen.item.split('/').next().unwrap_or_default();
                // Requests differ, and what families have in common goes with label and statement.
                of(&[&seen.item])
                    + 0.5 * of(&[&seen.item, &seen.label, &trained])
                    + 0.3 * of(&[family, &seen.label, &trained])
            };
            let made = MadeUp {
                name: "null",
                logit: &logit,
                mass: 0.9,
            };
            kind(&measure(&data, &options, &[made]).checkpoints[0])
        })
        .filter(|kind| *kind != Kind::None)
        .collect();
    let share = wrong.len() as f64 / trials as f64;
    // 5 %, and what two hundred trials leave open.
    assert!(share <= 0.085, "{share} {wrong:?}");
    assert!(!wrong.contains(&Kind::Meaning));
}

#[test]
fn prompts_name_every_condition_once_and_both_orders_differ() {
    let (data, options) = load(&[
        ("limit", &["1"]),
        (
            "variants",
            &["duty", "scratchpad", "user", "turns", "written"],
        ),
    ]);
    let style = PromptStyle {
        form: Form::Chat,
        lead: "",
    };
    let step = Faking.next(&data, &options, Subject { style }, &Readings::default());
    let Step::Ask(rounds) = step.unwrap() else {
        panic!()
    };
    let names: Vec<&str> = rounds.iter().map(|round| round.name.as_str()).collect();
    assert_eq!(names, ["decisions", "notes"]);
    let prompts = &rounds[0].prompts;
    // By request: without labels in two orders; four conditions of three sets and four variants of four cells each, in four.
    assert_eq!(prompts.len(), 12 * (2 + 4 * 4 * (3 * 4 + 4)));
    let ids: BTreeSet<&String> = prompts.iter().map(|prompt| &prompt.id).collect();
    assert_eq!(ids.len(), prompts.len());
    let texts: BTreeSet<String> = prompts
        .iter()
        .map(|prompt| format!("{:?}", prompt.input))
        .collect();
    assert_eq!(texts.len(), prompts.len());
    for prompt in prompts {
        let Input::Prefilled { messages, prefill } = &prompt.input else {
            panic!()
        };
        assert!(prefill.ends_with("Decision:"), "{prefill}");
        let all: String = messages
            .iter()
            .map(|message| message.content.as_str())
            .collect();
        assert!(!all.contains('{'), "{all}");
    }
    // In completion form the same is one text.
    let style = PromptStyle {
        form: Form::Completion,
        lead: " ",
    };
    let step = Faking.next(&data, &options, Subject { style }, &Readings::default());
    let Step::Ask(rounds) = step.unwrap() else {
        panic!()
    };
    assert!(
        rounds[0].prompts.iter().all(
            |prompt| matches!(&prompt.input, Input::Text(text) if text.ends_with("Decision:"))
        )
    );
}

#[test]
fn written_notes_are_read_on_from() {
    let (data, options) = load(&[("limit", &["1"]), ("variants", &["written"])]);
    let made = MadeUp {
        name: "built",
        logit: &|seen| {
            own(seen) - 1.0
                + if seen.variant == "written" {
                    0.0
                } else {
                    2.0 * trained(seen)
                }
        },
        mass: 0.9,
    };
    let found = measure(&data, &options, &[made]);
    let written = &found.checkpoints[0].variants[0];
    assert!(written.gap.estimate.value.abs() < 1e-12);
    assert!(written.less_plain.estimate.value < -0.1);
}

#[test]
fn what_was_published_stands_beside() {
    let published = published().unwrap();
    assert_eq!(published.conditions.len(), 8);
    for count in &published.conditions {
        let baseline = count.baseline.as_ref();
        let known =
            baseline.is_none_or(|name| published.conditions.iter().any(|of| of.name == *name));
        assert!(known, "{}", count.name);
    }
}

#[test]
fn every_request_can_be_looked_up() {
    let (data, options) = load(&[("limit", &["2"]), ("variants", &["none"])]);
    let made = MadeUp {
        name: "built",
        logit: &|seen| 2.0 * free(seen),
        mass: 0.9,
    };
    let found = measure(&data, &options, &[made]);
    let every = Show {
        answers: true,
        ..Show::default()
    };
    let tables = Faking
        .exhibits(&found, every)
        .into_iter()
        .filter_map(|shown| match shown {
            Exhibit::Table(table) => Some(table),
            _ => None,
        });
    let table = tables.collect::<Vec<_>>().pop().unwrap();
    assert_eq!(table.rows.len(), 24);
    assert_eq!(table.rows[0][1], data.families[0].requests[0].ask);
    assert_eq!(table.rows[0][2], "0.88 / 0.50 / 0.88 / 0.50");
}
