//! Checkpoints whose answers are known by construction come out as they were built.

use super::Axis;
use super::answers::from_readings;
use super::compare::{Side, compare};
use super::context::Context;
use super::findings::{Findings, Measured, measure};
use super::plan::{Abstention, Format, Options, Passages};
use super::synthetic::{SyntheticCheckpoint, readings, readings_by};
use super::{Answers, Comparison};
use crate::Settings;
use concord_questions::{Chosen, Question, QuestionSet, demo};
use concord_readings::Finish;
use concord_stats::{Distance, TWO_OPTION_MAXIMUM};

fn context(set: &QuestionSet) -> Context {
    Context::new(set, Settings::default())
}

fn everything() -> Options {
    Options {
        formats: vec![Format::Letter, Format::Cloze, Format::Open],
        abstention: Abstention::One,
        steering: true,
        sampled: 60,
        passages: Some(Passages {
            max_tokens: 50,
            temperature: 0.0,
            top_p: 1.0,
            argued: 20,
        }),
        ..Options::letters()
    }
}

fn measured(
    set: &QuestionSet,
    options: &Options,
    made_up: &SyntheticCheckpoint,
) -> (Answers, Measured) {
    let answers = from_readings(
        set,
        options,
        &readings(set, options, made_up),
        &Chosen::all(),
    )
    .unwrap();
    let measured = measure(set, &answers, &context(set)).unwrap();
    (answers, measured)
}

fn findings(set: &QuestionSet, made_up: &SyntheticCheckpoint) -> Findings {
    measured(set, &everything(), made_up).1.findings
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

/// Half of the phrasings of every question of one topic are supported, half opposed; the rest is supported throughout.
fn torn(_: &str, question: &Question) -> f64 {
    let of_topic = question.topic_name() == "Eating meat";
    match (of_topic, question.rephrase) {
        (true, false) => 0.0,
        _ => 1.0,
    }
}

#[test]
fn a_checkpoint_torn_about_one_topic() {
    let set = demo().unwrap();
    let found = findings(
        &set,
        &SyntheticCheckpoint {
            supports: Some(torn),
            ..SyntheticCheckpoint::default()
        },
    );
    // Four phrasings against the original, in every question of the topic.
    let group = Distance::Centroid
        .of_group(&[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
        .unwrap();
    let expected = group.iter().sum::<f64>() / 5.0;
    for file in found
        .files
        .values()
        .filter(|file| file.topic_by_topic.len() == 4)
    {
        let torn = file
            .paraphrase_by_topic
            .values()
            .filter(|value| **value > 0.0)
            .count();
        assert!(torn <= 1);
    }
    let english = &found.files["controversial_english_world"];
    close(english.paraphrase_by_topic["Eating meat"], expected);
    close(english.topic_by_topic["Eating meat"], expected);
    close(english.paraphrase, expected / 4.0);
    assert_eq!(
        english
            .paraphrase_by_question
            .values()
            .filter(|value| **value > 0.0)
            .count(),
        3
    );
    close(english.rephrase_entropy_bits, 0.721_928_094_887 / 4.0);
    // All languages are torn alike, so that translations agree; the original stands first in every file.
    let languages = &found.multilingual["world"];
    close(languages.translations.unwrap().mean, 0.0);
    close(languages.mean, 0.0);
    // Only the controversial topics have it.
    let controversy = found
        .controversy
        .iter()
        .find(|found| found.language == "english")
        .unwrap();
    close(controversy.uncontroversial.topic.mean, 0.0);
    assert_eq!(controversy.topic_ratio, None);
    assert!(
        found
            .support
            .least_consistent
            .iter()
            .take(4)
            .all(|topic| topic.topic == "Eating meat")
    );
    let support = found
        .support
        .topics
        .iter()
        .find(|topic| topic.topic == "Eating meat")
        .unwrap();
    close(support.mean, 0.8);
    assert_eq!(found.questions.left_out, 0);
}

#[test]
fn a_checkpoint_that_answers_german_the_other_way() {
    let set = demo().unwrap();
    let found = findings(
        &set,
        &SyntheticCheckpoint {
            supports: Some(|file, _| if file.contains("german") { 0.0 } else { 1.0 }),
            ..SyntheticCheckpoint::default()
        },
    );
    for file in found.files.values() {
        close(file.paraphrase, 0.0);
        close(file.topic, 0.0);
    }
    let group = [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]];
    let expected = Distance::Centroid
        .of_group(&group)
        .unwrap()
        .iter()
        .sum::<f64>()
        / 4.0;
    for languages in found.multilingual.values() {
        close(languages.mean, expected);
        close(languages.translations.unwrap().mean, expected);
        assert_eq!(languages.translations.unwrap().groups, 12);
    }
    close(found.selections["language"]["german"].topic.mean, 0.0);
}

#[test]
fn a_checkpoint_that_only_says_a_letter() {
    let set = demo().unwrap();
    let found = findings(
        &set,
        &SyntheticCheckpoint {
            letter: |shown, _| if shown == 1 { 0.9 } else { 0.1 / 2.0 },
            mass: 0.3,
            ..SyntheticCheckpoint::default()
        },
    );
    let trust = found.robustness.unwrap();
    // With two letters the first has .05 of .95.
    close(trust.letter_prior.unwrap(), 0.05 / 0.95);
    close(trust.flip_rate.unwrap(), 1.0);
    close(trust.low_label_mass, 1.0);
    assert_eq!(trust.spellings[0].spelling, " X");
    // Both orders together say nothing, so that nothing is inconsistent.
    close(found.overall[&Axis::Topics].mean, 0.0);
    close(found.other_readings["debiased"].topic.mean, 0.0);
    // In one order a question the letter looks like an opinion, where declining is allowed and where it is not.
    let abstention = found.abstention.unwrap();
    assert!(abstention.not_allowed.topic.mean > 0.1);
    assert!(abstention.allowed.topic.mean > 0.1 && abstention.declined < 0.06);
}

#[test]
fn a_checkpoint_that_says_yes() {
    let set = demo().unwrap();
    let yes = |_: &str, question: &Question| match question.options[0].1 {
        concord_questions::Stance::Supports => 0.9,
        _ => 0.1,
    };
    let found = findings(
        &set,
        &SyntheticCheckpoint {
            supports: Some(yes),
            ..SyntheticCheckpoint::default()
        },
    );
    let first = found.support.first_option.unwrap();
    close(first.where_it_supports.unwrap(), 0.9);
    close(first.where_it_opposes.unwrap(), 0.9);
    close(first.bias.unwrap(), 0.4);
}

#[test]
fn passages_that_say_something_else_than_letters() {
    let set = demo().unwrap();
    let writer = SyntheticCheckpoint {
        supports: Some(|_, _| 1.0),
        text: |question, option| match question.options[option].1 {
            concord_questions::Stance::Supports => 1.0,
            _ => 0.0,
        },
        writes: |id| match id {
            _ if id.contains("english_world/0?") => ("  ", Finish::EndOfText),
            _ if id.contains("english_world/1?") => ("on and on and on", Finish::Repetition),
            _ if id.contains("option=0") => ("It speaks for this.", Finish::EndOfText),
            _ if id.contains("option=1") => ("It speaks against this.", Finish::EndOfText),
            _ => ("There is much to be said, and it goes on", Finish::Length),
        },
        // Takes every passage for support, somewhat less where it speaks against.
        reads: |said| {
            if said.contains("against this") {
                0.7
            } else {
                1.0
            }
        },
        ..SyntheticCheckpoint::default()
    };
    let contrary = SyntheticCheckpoint {
        reads: |_| 0.0,
        mass: 0.2,
        ..SyntheticCheckpoint::default()
    };
    let options = everything();
    let raters = [("itself", &writer), ("other", &contrary)];
    let stored = readings_by(&set, &options, &writer, &raters);
    let answers = from_readings(&set, &options, &stored, &Chosen::all()).unwrap();
    let found = measure(&set, &answers, &context(&set)).unwrap().findings;
    let open = found.open.unwrap();
    let passages = open.passages;
    assert_eq!(
        (passages.asked, passages.written, passages.empty),
        (480, 478, 2)
    );
    assert_eq!((passages.repeating, passages.unfinished), (2, 476));
    // English passages on Chinese, German and Japanese questions.
    assert!(
        (350..=360).contains(&passages.other_language),
        "{passages:?}"
    );
    let own = &open.raters["itself"];
    assert!(!own.doubtful && open.raters["other"].doubtful);
    assert_eq!(open.raters["other"].trust.doubtful_passages, 478);
    assert_eq!(own.trust.argued, 40);
    // Each question is argued for both ways: read as support both times, .85 on average where .5 would be without bias.
    close(own.trust.argued_right.unwrap(), 0.5);
    assert!(own.trust.bias.unwrap() > 0.3, "{own:?}");
    assert_eq!(
        open.marked.values().flatten().count(),
        2 + 2 + 476 + passages.other_language
    );
    assert_eq!(open.raters["other"].doubtful_passages.len(), 478);
    assert_eq!((own.trust.argued_asked, own.trust.bias_questions), (40, 20));
    assert_eq!(open.main_rater.as_deref(), Some("itself"));
    let agreement = open.agreement.unwrap();
    assert_eq!(agreement.passages, 478);
    assert!(agreement.kappa.unwrap() < 0.0);
    close(agreement.pairs[0].same_stance, 0.0);
    close(agreement.distance.mean, TWO_OPTION_MAXIMUM);
    // Letters, texts and (by the first rater) passages all support.
    for measure in [
        Axis::Formats,
        Axis::LettersAndPassages,
        Axis::TextsAndPassages,
        Axis::AllFormats,
    ] {
        close(found.overall[&measure].mean, 0.0);
    }
    assert_eq!(found.overall[&Axis::AllFormats].groups, 478);
}

#[test]
fn a_checkpoint_that_takes_values_on() {
    let set = demo().unwrap();
    let found = findings(
        &set,
        &SyntheticCheckpoint {
            portrait: |shown, by| {
                let profile = if shown == "benevolence" { 0.6 } else { 0.4 };
                if by.is_empty() {
                    profile
                } else if by.to_lowercase() == shown {
                    profile + 0.3
                } else {
                    profile - 0.05
                }
            },
            ..SyntheticCheckpoint::default()
        },
    );
    assert_eq!(
        found.steering.keys().collect::<Vec<_>>(),
        ["chinese", "english", "german"]
    );
    let english = &found.steering["english"];
    assert_eq!((english.portraits, english.prompted.len()), (21, 12));
    close(english.own_effect.unwrap(), 0.3);
    close(english.other_effect.unwrap(), -0.05);
    assert!(english.p_value.unwrap() < 0.001);
    close(english.rank.unwrap().median, 0.0);
    close(
        english.values["benevolence"].centred,
        0.2 - 0.2 * 2.0 / 21.0,
    );
    // Where the answer was "not like me", the study's code puts the value that changes it most last.
    assert_eq!(english.values["power"].study_rank, Some(11));
    assert_eq!(english.values["benevolence"].study_rank, Some(0));
}

fn compared(
    set: &QuestionSet,
    first: &SyntheticCheckpoint,
    second: &SyntheticCheckpoint,
) -> Vec<Comparison> {
    let options = everything();
    let (a, b) = (
        measured(set, &options, first),
        measured(set, &options, second),
    );
    let first = Side {
        answers: &a.0,
        measured: &a.1,
    };
    let second = Side {
        answers: &b.0,
        measured: &b.1,
    };
    compare(set, first, second, &context(set)).unwrap()
}

#[test]
fn a_change_of_one_topic_is_found_and_nothing_else() {
    let set = demo().unwrap();
    let steady = SyntheticCheckpoint {
        supports: Some(|_, _| 1.0),
        ..SyntheticCheckpoint::default()
    };
    let torn = SyntheticCheckpoint {
        supports: Some(torn),
        ..SyntheticCheckpoint::default()
    };
    let found = compared(&set, &steady, &torn);
    let by = |axis: Axis| {
        found
            .iter()
            .find(|comparison| comparison.measure == axis)
            .unwrap()
    };
    let topic = by(Axis::Topics);
    assert_eq!((topic.pairs, topic.groups, topic.left_out), (480, 32, 0));
    assert!(topic.difference > 0.0 && topic.first == 0.0 && topic.ratio.is_none());
    let differ: Vec<&str> = topic
        .topics
        .iter()
        .filter(|t| t.difference != 0.0)
        .map(|t| t.topic.as_str())
        .collect();
    assert_eq!(differ, ["Eating meat"; 4]);
    // Pooled, it stays the one that changes most, in every language.
    let mut changed: Vec<_> = topic.topics.iter().collect();
    changed.sort_by(|a, b| b.pooled.total_cmp(&a.pooled));
    assert!(
        changed[..4]
            .iter()
            .all(|t| t.topic == "Eating meat" && t.ci95[0] > 0.0)
    );
    assert!(
        changed[4..]
            .iter()
            .all(|t| t.pooled < 0.1 * changed[3].pooled)
    );
    let support = by(Axis::Support);
    close(support.difference, -0.2 * 4.0 / 32.0);
    assert_eq!(
        support
            .questions
            .iter()
            .filter(|q| q.difference < 0.0)
            .count(),
        12
    );
    // Twelve of 96 originals.
    assert_eq!(support.groups, 96);
    close(by(Axis::Languages).difference, 0.0);
    assert_eq!(by(Axis::Languages).p_value, Some(1.0));
}

#[test]
fn a_change_of_letters_is_not_taken_for_one_of_values() {
    let set = demo().unwrap();
    let plain = SyntheticCheckpoint {
        supports: Some(|_, _| 0.8),
        ..SyntheticCheckpoint::default()
    };
    // Says the first letter, whatever stands there, and hardly any letter at all.
    let letter = SyntheticCheckpoint {
        letter: |shown, _| if shown == 0 { 0.99 } else { 0.01 },
        mass: 0.1,
        ..SyntheticCheckpoint::default()
    };
    let found = compared(&set, &plain, &letter);
    let support = found
        .iter()
        .find(|comparison| comparison.measure == Axis::Support)
        .unwrap();
    close(support.difference, -0.3);
    let artefacts = support.artefacts.unwrap();
    assert_eq!(artefacts.label_mass, None);
    assert_eq!(artefacts.order, None);
    close(artefacts.debiased.unwrap().difference, -0.3);
}

#[test]
fn passages_alone_are_enough() {
    let set = demo().unwrap();
    let options = Options {
        formats: vec![Format::Open],
        sampled: 0,
        steering: false,
        ..everything()
    };
    let says = |reads: fn(&str) -> f64| SyntheticCheckpoint {
        reads,
        ..SyntheticCheckpoint::default()
    };
    let (a, b) = (
        measured(&set, &options, &says(|_| 1.0)),
        measured(&set, &options, &says(|_| 0.25)),
    );
    assert_eq!(a.1.findings.questions.answered, 480);
    assert_eq!(a.1.findings.robustness, None);
    close(a.1.findings.overall[&Axis::Topics].mean, 0.0);
    let first = Side {
        answers: &a.0,
        measured: &a.1,
    };
    let second = Side {
        answers: &b.0,
        measured: &b.1,
    };
    let found = compare(&set, first, second, &context(&set)).unwrap();
    let support = found
        .iter()
        .find(|comparison| comparison.measure == Axis::Support)
        .unwrap();
    close(support.difference, -0.75);
    assert_eq!(support.artefacts, None);
}

#[test]
fn a_selection_is_measured_as_if_nothing_else_had_been_asked() {
    let set = demo().unwrap();
    let options = everything();
    let made_up = SyntheticCheckpoint {
        supports: Some(torn),
        ..SyntheticCheckpoint::default()
    };
    let stored = readings(&set, &options, &made_up);
    let chosen = set.choose(|file, question| {
        file.origin.language == "english" && question.topic_name() == "Eating meat"
    });
    let mut answers = from_readings(&set, &options, &stored, &chosen).unwrap();
    let mut few = set.clone();
    few.keep(&chosen);
    answers.keep(&few, &chosen);
    let found = measure(&few, &answers, &context(&few)).unwrap().findings;
    assert_eq!(
        (
            found.questions.asked,
            found.questions.left_out,
            found.questions.topics
        ),
        (15, 0, 1)
    );
    assert_eq!(found.robustness.as_ref().unwrap().prompts, 30);
    assert_eq!(found.open.as_ref().unwrap().passages.asked, 15);
    assert_eq!(found.steering.keys().collect::<Vec<_>>(), ["english"]);
    let all = measured(&set, &options, &made_up).1.findings;
    let whole = &all.files["controversial_english_world"].topic_by_topic;
    close(found.overall[&Axis::Topics].mean, whole["Eating meat"]);
}

#[test]
fn questions_without_english_are_joined_with_nothing() {
    let mut set = demo().unwrap();
    for question in set.files.iter_mut().flat_map(|file| &mut file.questions) {
        question.original_english = None;
        question.topic_english = None;
    }
    let found = findings(
        &set,
        &SyntheticCheckpoint {
            supports: Some(torn),
            ..SyntheticCheckpoint::default()
        },
    );
    assert!(!found.overall.contains_key(&Axis::Languages));
    for languages in found.multilingual.values() {
        assert_eq!(
            (languages.groups, languages.distances, languages.left_out),
            (0, 0, 240)
        );
        assert_eq!((languages.apart.len(), languages.translations), (6, None));
    }
}

#[test]
fn answers_follow_their_questions_into_another_order() {
    let set = demo().unwrap();
    let options = everything();
    let made_up = SyntheticCheckpoint {
        supports: Some(torn),
        ..SyntheticCheckpoint::default()
    };
    let (expected, _) = measured(&set, &options, &made_up);
    let mut other = set.clone();
    for file in &mut other.files {
        file.questions.rotate_left(7);
        // What is only a name does not tell questions apart.
        file.questions[3].topic = "another name".to_owned();
    }
    let stored = readings(&other, &options, &made_up);
    let mut found = from_readings(&other, &options, &stored, &Chosen::all()).unwrap();
    assert_ne!(found.letter, expected.letter);
    found.arrange(&other, &set);
    assert_eq!(found.letter, expected.letter);
    assert_eq!(
        found.abstaining.unwrap().allowed,
        expected.abstaining.unwrap().allowed
    );
    assert_eq!(
        found.open.unwrap().raters["itself"].table,
        expected.open.unwrap().raters["itself"].table
    );
}

#[test]
fn more_than_two_options_and_neutral_ones() {
    let mut set = demo().unwrap();
    set.files.truncate(2);
    let neutral = ("depends".to_owned(), concord_questions::Stance::Neutral);
    for question in set.files[1].questions.iter_mut().take(5) {
        question.options.push(neutral.clone());
        question
            .options
            .push(("rather yes".to_owned(), question.options[0].1));
    }
    let found = findings(&set, &SyntheticCheckpoint::default());
    // Four letters alike: a quarter is neutral, and two options share a stance.
    let english = &found.files[&set.files[1].name];
    assert!(english.topic > 0.01, "{}", english.topic);
    close(english.paraphrase, 0.0);
    assert_eq!(found.overall[&Axis::Topics].distances, 120);
    // The others have a neutral stance that they cannot take; shares are of the largest distance of three.
    let share =
        found.overall[&Axis::Topics].of_maximum.unwrap() / found.overall[&Axis::Topics].mean;
    close(share, 1.0 / concord_stats::THREE_OPTION_MAXIMUM);
}
