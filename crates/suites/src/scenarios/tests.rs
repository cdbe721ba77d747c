//! Drafts of made-up checkpoints, read by made-up raters.

use super::plan::{DRAFTS, SEEN, draft_id};
use super::{Data, Options, Scenarios};
use crate::{ById, CheckpointReadings, Given, Readings, Settings, Step, Subject, Suite};
use concord_readings::{
    Answer, Finish, Form, Generation, LabelReading, LogProb, Nats, NextToken, Probability, Prompt,
    PromptKey, PromptStyle, Reading,
};
use std::collections::BTreeMap;

const STYLE: PromptStyle = PromptStyle {
    form: Form::Chat,
    lead: "",
};

fn load(typed: &[(&str, &str)]) -> (Data, Options) {
    let typed = typed
        .iter()
        .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
    let typed: BTreeMap<String, Vec<String>> = typed.collect();
    let loaded = Scenarios
        .load(&Given::new(Scenarios.options(), &typed, 7))
        .unwrap();
    (loaded.data, loaded.options)
}

fn log(p: f64) -> LogProb {
    LogProb::new(p.ln()).unwrap()
}

fn drafted(data: &Data, write: &dyn Fn(usize) -> (String, Finish)) -> Readings {
    let mut readings = Readings::default();
    let of = |(at, draft): (usize, &super::Draft)| {
        let (text, finish) = write(at);
        let id = draft_id(draft);
        let written = Generation {
            text,
            tokens: vec![1],
            log_probs: vec![log(0.5)],
            finish,
        };
        let reading = Reading {
            id: id.clone(),
            tokens: 1,
            answers: vec![Answer::Generation(written)],
        };
        (id, reading)
    };
    let round: ById = data.drafts.iter().enumerate().map(of).collect();
    readings.rounds.insert(DRAFTS.to_owned(), round);
    readings
}

/// A rater that says with some probability that a value matters for an item.
fn rated(
    data: &Data,
    options: &Options,
    readings: &mut Readings,
    name: &str,
    p: &dyn Fn(&str, &str) -> f64,
) {
    let ratings = Scenarios.rate(data, options, STYLE, readings).unwrap();
    let answer = |prompt: &Prompt| {
        let key: PromptKey = prompt.id.parse().unwrap();
        let yes = p(&key.item, key.condition("value").unwrap());
        let by_place = match key.condition("order") {
            Some("1") => [yes, 1.0 - yes],
            _ => [1.0 - yes, yes],
        };
        let labels = ["A", "B"]
            .iter()
            .zip(by_place)
            .map(|(label, p)| LabelReading {
                label: (*label).to_owned(),
                log_prob: log(0.9 * p.max(1e-9)),
                spellings: Vec::new(),
            });
        Reading {
            id: prompt.id.clone(),
            tokens: 1,
            answers: vec![Answer::NextToken(NextToken {
                labels: labels.collect(),
                label_mass: Probability::new(0.9).unwrap(),
                entropy: Nats::new(0.5).unwrap(),
                top_is_label: true,
                top: Vec::new(),
                not_shown: None,
            })],
        }
    };
    let prompts = ratings.iter().flat_map(|rating| &rating.prompts);
    let read = prompts
        .map(|prompt| (prompt.id.clone(), answer(prompt)))
        .collect();
    let of = readings.ratings.entry(SEEN.to_owned()).or_default();
    of.insert(name.to_owned(), read);
}

/// What is true: the pair's values matter.
fn truth<'a>(data: &'a Data, missing: &'a str) -> impl Fn(&str, &str) -> f64 + 'a {
    move |item, value| {
        let known = item
            .strip_prefix("known ")
            .and_then(|number| number.parse::<usize>().ok());
        let pair = match known {
            Some(number) => &data.known[number - 1].pair,
            None => {
                &data
                    .drafts
                    .iter()
                    .find(|draft| draft.name == item)
                    .unwrap()
                    .pair
            }
        };
        let is_in = pair.iter().any(|of| of == value) && item != missing;
        if is_in { 0.9 } else { 0.1 }
    }
}

#[test]
fn only_whole_requests_with_both_values_that_are_unlike_others_are_kept() {
    let (data, options) = load(&[("drafts", "8")]);
    assert_eq!(data.drafts.len(), 8);
    for draft in &data.drafts {
        let [a, b] = &draft.pair;
        assert!(a != b && *a != draft.other && *b != draft.other);
    }
    let request = |number: usize| {
        format!(
            "My aunt number{number} wonders about thing{number} and place{number}: should she go there{number}?"
        )
    };
    let write = |at: usize| match at {
        0 => (format!(" “{}” ", request(0)), Finish::EndOfText),
        1 => (request(0).to_uppercase(), Finish::EndOfText),
        2 => (request(2), Finish::Length),
        3 => ("Go?".to_owned(), Finish::EndOfText),
        4 => (format!("{}\nAnother line.", request(4)), Finish::EndOfText),
        // As the project has it.
        5 => (data.known[0].query.clone(), Finish::EndOfText),
        at => (request(at), Finish::StopText),
    };
    let mut readings = drafted(&data, &write);
    let step = Scenarios.next(&data, &options, Subject { style: STYLE }, &readings);
    assert_eq!(step.unwrap(), Step::Rate(SEEN));
    rated(
        &data,
        &options,
        &mut readings,
        "right",
        &truth(&data, "draft 7"),
    );
    // It sees everything in everything, and is not heard.
    rated(&data, &options, &mut readings, "yes", &|_, _| 0.9);
    let step = Scenarios.next(&data, &options, Subject { style: STYLE }, &readings);
    assert_eq!(step.unwrap(), Step::Done);
    let read = [CheckpointReadings {
        name: "one".to_owned(),
        readings,
    }];
    let found = Scenarios
        .measure(&data, &options, Settings::default(), &read)
        .unwrap();
    let of = &found.checkpoints[0];
    assert!(of.verdict.is_measurable());
    assert_eq!((of.asked, of.ill_formed, of.alike, of.unseen), (8, 3, 2, 1));
    let kept: Vec<&str> = of.kept.iter().map(|kept| kept.draft.as_str()).collect();
    assert_eq!(kept, ["draft 1", "draft 8"]);
    assert_eq!(of.kept[0].query, request(0));
    assert!((of.kept[0].seen[0] - 0.9).abs() < 1e-9 && (of.kept[0].other - 0.1).abs() < 1e-9);
    let heard: Vec<bool> = of
        .raters
        .iter()
        .map(|rater| rater.verdict.is_measurable())
        .collect();
    assert_eq!(heard, [true, false]);
    assert_eq!(Scenarios.warnings(&found).len(), 1);
    // What is exported is what the suite `stress` reads.
    let table = Scenarios.tables(&found).remove(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.csv");
    std::fs::write(&path, table.csv()).unwrap();
    let typed = [(
        "scenarios".to_owned(),
        vec![path.to_str().unwrap().to_owned()],
    )];
    let given = Given::new(crate::stress::Stress.options(), &typed.into(), 7);
    let stress = crate::stress::Stress.load(&given).unwrap();
    assert_eq!(stress.data.items.len(), 6);
    assert_eq!(stress.data.items[0].query, request(0));
    assert!(stress.data.items[1].query.starts_with(&request(0)));
}

#[test]
fn without_a_rater_that_sees_values_nothing_is_kept() {
    let (data, options) = load(&[("drafts", "2")]);
    let write = |at: usize| {
        (
            format!("Should I take road number{at} home today?"),
            Finish::EndOfText,
        )
    };
    let mut readings = drafted(&data, &write);
    rated(&data, &options, &mut readings, "itself", &|_, _| 0.2);
    let read = [CheckpointReadings {
        name: "one".to_owned(),
        readings,
    }];
    let found = Scenarios
        .measure(&data, &options, Settings::default(), &read)
        .unwrap();
    let of = &found.checkpoints[0];
    assert!(of.kept.is_empty());
    assert!(
        of.verdict
            .reason()
            .unwrap()
            .contains("raters that see known values")
    );
}

#[test]
fn values_are_read_from_a_file_and_few_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.txt");
    std::fs::write(&path, "calm\n\njoy\ncalm\nduty\n").unwrap();
    let (data, _) = load(&[("values", path.to_str().unwrap()), ("drafts", "5")]);
    assert_eq!(data.drafts.len(), 5);
    let known = ["calm", "joy", "duty"];
    assert!(data.drafts.iter().all(|draft| {
        draft
            .pair
            .iter()
            .all(|value| known.contains(&value.as_str()))
    }));
    std::fs::write(&path, "calm\njoy\ncalm\n").unwrap();
    let typed = [("values".to_owned(), vec![path.to_str().unwrap().to_owned()])];
    let given = Given::new(Scenarios.options(), &typed.into(), 7);
    let error = Scenarios.load(&given).unwrap_err().to_string();
    assert!(error.contains("2 different values"), "{error}");
}
