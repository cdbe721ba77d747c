//! The example of docs/adding-a-study.md is what is written there, and works.

#[rustfmt::skip]
#[path = "adding_a_study/yes_sayer.rs"]
mod yes_sayer;

use concord_readings::{
    Answer, Form, LogProb, Probability, PromptStyle, Readings, StringReading, StringsReading,
};
use concord_report::terminal;
use concord_suites::{AnySuite, CheckpointReadings, Given, Settings, Show, Step, Subject};
use yes_sayer::YesSayer;

#[test]
fn the_page_shows_the_example() {
    let page = include_str!("../../../docs/adding-a-study.md");
    let code = include_str!("adding_a_study/yes_sayer.rs");
    assert!(
        page.contains(&format!("```rust\n{code}```")),
        "the page and the example differ"
    );
}

#[test]
fn the_example_asks_measures_and_shows() {
    let suite: &dyn AnySuite = &YesSayer;
    let (study, notes) = suite.begin(&Given::default()).unwrap();
    assert!(notes.is_empty());
    let subject = Subject {
        style: PromptStyle {
            form: Form::Completion,
            lead: " ",
        },
    };
    let mut read = Readings::default();
    let Step::Ask(rounds) = study.next(subject, &read).unwrap() else {
        panic!("nothing is asked");
    };
    // A yes-sayer says yes with .9 of the half that it answers with.
    for round in rounds {
        let answered = round.prompts.iter().map(|prompt| {
            let text = |text: &str, p: f64| StringReading {
                text: text.to_owned(),
                log_prob: LogProb::new(p.ln()).unwrap(),
                spellings: Vec::new(),
            };
            let strings = StringsReading {
                texts: vec![text("Yes", 0.45), text("No", 0.05)],
                mass: Probability::new(0.5).unwrap(),
                left_out: 0,
            };
            let reading = concord_readings::Reading {
                id: prompt.id.clone(),
                tokens: 1,
                answers: vec![Answer::Strings(strings)],
            };
            (prompt.id.clone(), reading)
        });
        read.rounds.insert(round.name, answered.collect());
    }
    assert_eq!(study.next(subject, &read).unwrap(), Step::Done);
    let read = [CheckpointReadings {
        name: "m".to_owned(),
        readings: read,
    }];
    let found = study.measure(Settings::default(), &read).unwrap();
    let shown = terminal(&found.exhibits(Show::default()));
    assert_eq!(shown, " checkpoint  yes\n m           0.900\n");
    let nothing = [CheckpointReadings::default()];
    let error = study.measure(Settings::default(), &nothing).err().unwrap();
    assert!(
        error.to_string().contains("a reading is missing"),
        "{error}"
    );
}
