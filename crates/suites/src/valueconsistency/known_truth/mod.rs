//! Checkpoints whose truth is known, through the whole of the verdict.

mod made_up;

use super::answers::Answers;
use super::context::Context;
use super::plan::Format;
use super::verdict::{Assessment, Change, Closeness, Conclusion, Grouping, assess};
use crate::Settings;
use concord_findings::Estimate;
use concord_questions::QuestionSet;
use made_up::{SOUND, Truth, answers, set};
use std::collections::BTreeMap;

fn assessed(set: &QuestionSet, context: &Context, of: &[Answers]) -> Assessment {
    let names: Vec<String> = (0..of.len()).map(|at| format!("c{at}")).collect();
    assess(set, &names, of, context).unwrap()
}

fn closeness(found: &Assessment, at: usize, format: Format, across: Grouping) -> Closeness {
    let moved = &found.checkpoints[at].moved;
    let row = moved
        .iter()
        .find(|moved| moved.row.format == format && moved.row.across == across);
    row.unwrap().closeness
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    NotTold,
    Wrong,
}
use Outcome::{NotTold, Right, Wrong};

/// What is said of one checkpoint, against its truth.
type Judge = fn(&Assessment) -> Outcome;

fn is_measurable(found: &Assessment, at: usize) -> bool {
    found.checkpoints[at].formats[&Format::Letter]
        .verdict
        .is_measurable()
}

fn not_measurable(found: &Assessment) -> Outcome {
    if is_measurable(found, 0) {
        Wrong
    } else {
        Right
    }
}

fn undecided(found: &Assessment) -> Outcome {
    let letters = &found.checkpoints[0].formats[&Format::Letter];
    if letters.takes_sides && letters.verdict.is_measurable() {
        Wrong
    } else {
        Right
    }
}

/// Consistent across everything.
fn sound(found: &Assessment) -> Outcome {
    if !is_measurable(found, 0) {
        return Wrong;
    }
    let rows = [
        Grouping::Paraphrases,
        Grouping::Topics,
        Grouping::Translations,
        Grouping::LettersAndTexts,
    ];
    let all = rows.map(|across| closeness(found, 0, Format::Letter, across));
    if all.contains(&Closeness::Farther) {
        Wrong
    } else if all == [Closeness::Closer; 4] {
        Right
    } else {
        NotTold
    }
}

/// Consistent but across one thing.
fn but_for(found: &Assessment, across: Grouping) -> Outcome {
    if !is_measurable(found, 0) {
        return Wrong;
    }
    match (
        closeness(found, 0, Format::Letter, across),
        closeness(found, 0, Format::Letter, Grouping::Paraphrases),
    ) {
        (Closeness::Closer, _) | (_, Closeness::Farther) => Wrong,
        (Closeness::Farther, Closeness::Closer) => Right,
        _ => NotTold,
    }
}

fn torn(found: &Assessment) -> Outcome {
    // Originals of each side are neither closer nor farther than others: closer only by their phrasings.
    let topics = found.checkpoints[0]
        .moved
        .iter()
        .find(|m| m.row.across == Grouping::Topics)
        .unwrap();
    let phrasings = found.checkpoints[0]
        .moved
        .iter()
        .find(|m| m.row.across == Grouping::Paraphrases)
        .unwrap();
    if !is_measurable(found, 0) || phrasings.closeness != Closeness::Closer {
        Wrong
    } else if topics.of_shuffled.value > 0.8 {
        Right
    } else {
        Wrong
    }
}

fn conclusion(found: &Assessment) -> Conclusion {
    found.changes[0].conclusion
}

/// Phrasings move answers more, or less: that row says so, and the whole does not say the opposite.
fn across_phrasings(found: &Assessment, expected: Change, opposite: [Conclusion; 2]) -> Outcome {
    let rows = &found.changes[0].rows;
    let row = rows
        .iter()
        .find(|row| row.row.across == Grouping::Paraphrases)
        .unwrap();
    let told = [Change::LessConsistent, Change::MoreConsistent].contains(&row.change);
    if opposite.contains(&conclusion(found)) || (told && row.change != expected) {
        Wrong
    } else if told {
        Right
    } else {
        NotTold
    }
}

fn less_consistent(found: &Assessment) -> Outcome {
    let opposite = [Conclusion::MoreConsistent, Conclusion::NotMeasurable];
    across_phrasings(found, Change::LessConsistent, opposite)
}

fn more_consistent(found: &Assessment) -> Outcome {
    let opposite = [Conclusion::LessConsistent, Conclusion::NotMeasurable];
    across_phrasings(found, Change::MoreConsistent, opposite)
}

fn no_more_than_decisive(found: &Assessment) -> Outcome {
    match conclusion(found) {
        Conclusion::DecisivenessAlone => Right,
        Conclusion::NotTold | Conclusion::NotSettled => NotTold,
        _ => Wrong,
    }
}

fn no_difference(found: &Assessment) -> Outcome {
    match conclusion(found) {
        Conclusion::NotTold => Right,
        Conclusion::NotSettled => NotTold,
        _ => Wrong,
    }
}

/// A kind of checkpoint or pair: its truths, how it is judged, and how strong a difference is where it has a strength.
struct Kind {
    name: &'static str,
    truths: fn(f64) -> Vec<Truth>,
    judge: Judge,
    strengths: &'static [f64],
}

const KINDS: [Kind; 14] = [
    Kind {
        name: "undecided",
        truths: |d| {
            vec![Truth {
                decisive: d,
                position_noise: 0.02,
                ..SOUND
            }]
        },
        judge: undecided,
        strengths: &[0.02, 0.05, 0.1],
    },
    Kind {
        name: "decided and consistent",
        truths: |d| {
            vec![Truth {
                decisive: d,
                ..SOUND
            }]
        },
        judge: sound,
        strengths: &[0.7, 1.0, 2.0],
    },
    Kind {
        name: "says no letter",
        truths: |mass| vec![Truth { mass, ..SOUND }],
        judge: not_measurable,
        strengths: &[0.001, 0.1, 0.45],
    },
    Kind {
        name: "says the first letter",
        truths: |position| vec![Truth { position, ..SOUND }],
        judge: not_measurable,
        strengths: &[2.0, 3.0, 8.0],
    },
    Kind {
        name: "prefers the first letter a little",
        truths: |position| vec![Truth { position, ..SOUND }],
        judge: sound,
        strengths: &[0.1, 0.3, 0.5],
    },
    Kind {
        name: "a letter by question, whatever it says",
        truths: |d| {
            vec![Truth {
                decisive: d,
                position_noise: 2.0,
                ..SOUND
            }]
        },
        judge: not_measurable,
        strengths: &[0.0, 0.01],
    },
    Kind {
        name: "German turned",
        truths: |d| {
            vec![Truth {
                decisive: d,
                german: -1.0,
                ..SOUND
            }]
        },
        judge: |f| but_for(f, Grouping::Translations),
        strengths: &[0.7, 1.0, 2.0],
    },
    Kind {
        name: "texts turned against letters",
        truths: |d| {
            vec![Truth {
                decisive: d,
                texts: -1.0,
                ..SOUND
            }]
        },
        judge: |f| but_for(f, Grouping::LettersAndTexts),
        strengths: &[0.7, 1.0, 2.0],
    },
    Kind {
        name: "topics torn",
        truths: |d| {
            vec![Truth {
                decisive: d,
                torn: true,
                ..SOUND
            }]
        },
        judge: torn,
        strengths: &[0.7, 1.0, 2.0],
    },
    Kind {
        name: "pair: less consistent",
        truths: |p| {
            vec![
                SOUND,
                Truth {
                    phrasing: p,
                    ..SOUND
                },
            ]
        },
        judge: less_consistent,
        strengths: &[0.8, 1.2, 2.0],
    },
    Kind {
        name: "pair: more consistent",
        truths: |p| {
            vec![
                Truth {
                    phrasing: p,
                    ..SOUND
                },
                SOUND,
            ]
        },
        judge: more_consistent,
        strengths: &[0.8, 1.2, 2.0],
    },
    Kind {
        name: "pair: more decisive alone",
        truths: |d| {
            vec![
                SOUND,
                Truth {
                    decisive: d,
                    position_noise: 0.3 * d,
                    ..SOUND
                },
            ]
        },
        judge: no_more_than_decisive,
        strengths: &[1.5, 2.0, 3.0],
    },
    Kind {
        name: "pair: less decisive alone",
        truths: |d| {
            vec![
                SOUND,
                Truth {
                    decisive: d,
                    position_noise: 0.3 * d,
                    ..SOUND
                },
            ]
        },
        judge: no_more_than_decisive,
        strengths: &[0.3, 0.5, 0.7],
    },
    Kind {
        name: "pair: no difference",
        truths: |d| {
            vec![
                Truth {
                    decisive: d,
                    ..SOUND
                };
                2
            ]
        },
        judge: no_difference,
        strengths: &[0.5, 1.0, 2.0],
    },
];

/// What is made of 205 made-up checkpoints and pairs: the table of `docs/study.md`.
#[test]
fn verdicts_on_known_truths() {
    const ROUNDS: u64 = 5;
    let set = set();
    let context = Context::new(
        &set,
        Settings {
            resamples: Some(1999),
            ..Settings::default()
        },
    );
    let (mut right, mut wrong, mut all) = (0, 0, 0);
    println!("| truth | right | can't be told | wrong |\n|---|---|---|---|");
    for (number, kind) in KINDS.iter().enumerate() {
        let mut counts = BTreeMap::from([("right", 0), ("not told", 0), ("wrong", 0)]);
        for (strength, value) in kind.strengths.iter().enumerate() {
            for round in 0..ROUNDS {
                let world = 1_000 * number as u64 + 100 * strength as u64 + round;
                let truths = (kind.truths)(*value);
                let of: Vec<Answers> = truths
                    .iter()
                    .enumerate()
                    .map(|(at, truth)| {
                        answers(&set, *truth, world, 10_000 + 10 * world + at as u64)
                    })
                    .collect();
                let found = assessed(&set, &context, &of);
                let outcome = (kind.judge)(&found);
                let key = match outcome {
                    Right => "right",
                    NotTold => "not told",
                    Wrong => "wrong",
                };
                *counts.entry(key).or_default() += 1;
                right += u32::from(outcome == Right);
                wrong += u32::from(outcome == Wrong);
                all += 1;
            }
        }
        println!(
            "| {} | {} | {} | {} |",
            kind.name, counts["right"], counts["not told"], counts["wrong"]
        );
    }
    println!("{all}: {right} right, {wrong} wrong");
    assert!(all >= 200);
    assert!(
        f64::from(wrong) <= 0.05 * f64::from(all),
        "{wrong} of {all}"
    );
    assert!(
        f64::from(right) >= 0.95 * f64::from(all),
        "{right} of {all}"
    );
}

/// With nothing to find, differences are told as often as they say. Rows of one pair hang together: each is looked at by itself.
#[test]
fn null_pairs_reject_as_often_as_they_say() {
    const ROUNDS: u64 = 300;
    let set = set();
    let settings = Settings {
        resamples: Some(999),
        ..Settings::default()
    };
    let context = Context::new(&set, settings);
    let mut rejected: BTreeMap<(&str, Grouping), f64> = BTreeMap::new();
    let (mut told, mut rows) = (0, 0);
    for round in 0..ROUNDS {
        let of = [0, 1].map(|at| {
            let mut answers = answers(&set, SOUND, 77_000 + round, 880_000 + 10 * round + at);
            answers.only(&[Format::Letter]);
            answers
        });
        let found = assessed(&set, &context, &of);
        for row in &found.changes[0].rows {
            if row.row.across != Grouping::Languages {
                told += u32::from(row.change != Change::NotTold);
                rows += 1;
            }
            let tested = [
                ("one order", row.one_order.as_ref().unwrap()),
                ("averaged", &row.averaged),
                ("of shuffled", &row.of_shuffled),
                ("matched", &row.matched),
            ];
            for (name, tested) in tested {
                let is_rejected = tested.p.is_some_and(|p| p < 0.05);
                *rejected.entry((name, row.row.across)).or_default() +=
                    f64::from(u8::from(is_rejected)) / ROUNDS as f64;
            }
        }
    }
    println!("told in {told} of {rows} rows; {rejected:?}");
    let mean = rejected.values().sum::<f64>() / rejected.len() as f64;
    assert!((0.03..=0.07).contains(&mean), "{mean}: {rejected:?}");
    // Three hundred rounds know a rate of .05 within .013.
    assert!(
        rejected.values().all(|rate| (0.015..=0.09).contains(rate)),
        "{rejected:?}"
    );
    // Rows are a family, and a change is told only where two ways of looking at it agree.
    assert!(
        f64::from(told) <= 0.05 * f64::from(rows),
        "{told} of {rows}"
    );
}

/// Intervals of every measure cover what they are of as often as they say: over checkpoints of one kind, each with topics of its own, the
/// truth is the mean of all.
#[test]
fn intervals_of_every_measure_cover() {
    const ROUNDS: u64 = 240;
    let set = set();
    let settings = Settings {
        resamples: Some(999),
        ..Settings::default()
    };
    let context = Context::new(&set, settings);
    let mut found: BTreeMap<(&str, Grouping), Vec<Estimate>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut answers = answers(&set, SOUND, 310_000 + round, 320_000 + round);
        answers.only(&[Format::Letter]);
        let assessed = assessed(&set, &context, &[answers]);
        for moved in &assessed.checkpoints[0].moved {
            let all = [
                ("one order", moved.one_order.clone().unwrap()),
                ("averaged", moved.averaged.clone()),
                ("of shuffled", moved.of_shuffled.clone()),
            ];
            for (name, estimate) in all {
                found
                    .entry((name, moved.row.across))
                    .or_default()
                    .push(estimate);
            }
        }
    }
    let mut rates = BTreeMap::new();
    for (key, estimates) in &found {
        let truth = estimates.iter().map(|found| found.value).sum::<f64>() / ROUNDS as f64;
        let covers = |found: &&Estimate| {
            let [low, high] = found.ends();
            low <= truth && truth <= high
        };
        let covered = estimates.iter().filter(covers).count();
        rates.insert(*key, covered as f64 / ROUNDS as f64);
    }
    println!("{rates:?}");
    let mean = rates.values().sum::<f64>() / rates.len() as f64;
    assert!((0.93..=0.97).contains(&mean), "{mean}: {rates:?}");
    // Two hundred and forty rounds know a rate of .95 within .014.
    assert!(rates.values().all(|rate| *rate >= 0.905), "{rates:?}");
}
