//! The engine on a suite that is made for it: texts, a rater, and a round after both.

use super::*;
use crate::arguments::{Cli, Command, RunArguments};
use clap::Parser;
use concord_findings::Exhibit;
use concord_readings::{Input, Sampling};
use concord_runs::Manifest;
use concord_suites::Rating;
use concord_suites::{About, AnySuite, Given, Loaded, Needs, Settings, Show, Suite, SuiteError};
use std::collections::BTreeMap;
use std::path::Path;

/// Lets texts be written and rated, and asks for one more letter, which who is spoken to in turns cannot spell.
#[derive(Clone, Copy)]
struct Writer;

static ABOUT: About = About {
    name: "writer",
    summary: "",
    rounds: "",
    needs: Needs::ONE,
    limits: "",
};

const TEXTS: [&str; 2] = ["Once upon a time", "The sun is"];

fn labelled(id: String, text: String, labels: &[&str]) -> Prompt {
    Prompt {
        id,
        input: Input::Text(text),
        reads: vec![Read::NextToken {
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            openings: Vec::new(),
        }],
    }
}

impl Suite for Writer {
    type Data = ();
    type Options = ();
    type Findings = BTreeMap<String, f64>;

    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn load(&self, _: &Given) -> Result<Loaded<(), ()>, SuiteError> {
        Ok(Loaded {
            data: (),
            options: (),
            notes: Vec::new(),
        })
    }

    fn next(
        &self,
        (): &(),
        (): &(),
        subject: Subject,
        so_far: &Readings,
    ) -> Result<Step, SuiteError> {
        let (name, prompts) = if so_far.round("texts").is_none() {
            let texts = TEXTS.iter().map(|text| Prompt {
                id: (*text).to_owned(),
                input: Input::Text((*text).to_owned()),
                reads: vec![Read::Generation(Sampling::greedy(3))],
            });
            ("texts", texts.collect())
        } else if so_far.ratings("ratings").is_none() {
            return Ok(Step::Rate("ratings"));
        } else if so_far.round("after").is_none() {
            let label = match subject.style.form {
                Form::Chat => "\u{1F600}",
                Form::Completion => "A",
            };
            let one = labelled("after".to_owned(), "Which letter?".to_owned(), &[label]);
            ("after", vec![one])
        } else {
            return Ok(Step::Done);
        };
        let name = name.to_owned();
        Ok(Step::Ask(vec![Round { name, prompts }]))
    }

    fn is_rated(&self, (): &()) -> Result<(), &'static str> {
        Ok(())
    }

    fn rate(
        &self,
        (): &(),
        (): &(),
        _: PromptStyle,
        so_far: &Readings,
    ) -> Result<Vec<Rating>, SuiteError> {
        // Before anything is written there is nothing to rate.
        let Some(written) = so_far.round("texts") else {
            return Ok(Vec::new());
        };
        let texts = TEXTS.iter().map(|id| {
            let text = written.get(*id).and_then(|reading| reading.generation());
            let text = text.ok_or_else(|| SuiteError::readings(format!("{id}: no text")))?;
            let asked = format!(
                "{}\nIs it about A, the sun, or B, something else?",
                text.text
            );
            Ok(Rating {
                text: (*id).to_owned(),
                prompts: vec![labelled(format!("{id}, rated"), asked, &["A", "B"])],
            })
        });
        texts.collect()
    }

    fn measure(
        &self,
        (): &(),
        (): &(),
        _: Settings,
        read: &[CheckpointReadings],
    ) -> Result<BTreeMap<String, f64>, SuiteError> {
        let share = |read: &CheckpointReadings| {
            let rated = read.readings.ratings("ratings")?.get(SELF_RATER)?;
            let next = rated.get("The sun is, rated")?.next_token()?;
            let [a, b] = ["A", "B"].map(|label| {
                let found = next.labels.iter().find(|found| found.label == label);
                found.map_or(0.0, |found| found.log_prob.get().exp())
            });
            Some((read.name.clone(), a / (a + b)))
        };
        let all: Option<_> = read.iter().map(share).collect();
        all.ok_or_else(|| SuiteError::readings("a rating is missing"))
    }

    fn exhibits(&self, _: &BTreeMap<String, f64>, _: Show) -> Vec<Exhibit> {
        Vec::new()
    }
}

fn typed() -> RunArguments {
    match Cli::parse_from(["concord", "run", "--device", "cpu"]).command {
        Command::Run(arguments) => arguments,
        other => panic!("{other:?}"),
    }
}

/// Runs the suite on the demo pair, in the given forms.
fn run(folder: &Path, forms: [Form; 2]) -> Result<(Outcome, Box<dyn Study>), Failure> {
    let suite: &dyn AnySuite = &Writer;
    let (study, _) = suite.begin(&Given::default())?;
    let snapshots = concord_checkpoint::demo_pair()?;
    let options = typed().machine.options();
    let engine = Engine {
        study: &*study,
        snapshots: &snapshots,
        forms: &forms,
        raters: &[None],
        adapted: false,
        machine: Machine::open(&options, &snapshots, output::events())?,
        allowed: Allowed::by(&options, folder),
        cache: None,
        allowed_apart: Vec::new(),
        shard: None,
    };
    let steps = engine.first_steps()?;
    engine.has_room(&steps)?;
    let directory = RunDirectory::begin(&folder.join("r"), &Manifest::default(), &[])?;
    let outcome = engine.run(&directory, &steps)?;
    Ok((outcome, study))
}

#[test]
fn texts_of_any_suite_are_rated() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, study) = run(folder.path(), [Form::Completion; 2]).unwrap();
    assert_eq!((outcome.read.len(), outcome.excluded.len()), (2, 0));
    assert!(study.is_rated().is_ok());
    for read in &outcome.read {
        let rated = &read.readings.ratings("ratings").unwrap()[SELF_RATER];
        let mut ids: Vec<&str> = rated.keys().map(String::as_str).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["Once upon a time, rated", "The sun is, rated"]);
        assert!(read.readings.round("after").is_some());
        assert_eq!(
            outcome.costs[&read.name]["ratings"][SELF_RATER]["prompts"],
            2
        );
    }
    let found = study.measure(Settings::default(), &outcome.read).unwrap();
    let found = found.json();
    for read in &outcome.read {
        let share = found[&read.name].as_f64().unwrap();
        assert!(share > 0.0 && share < 1.0, "{found}");
    }
}

#[test]
fn what_cannot_be_spelled_in_a_later_round_leaves_one_checkpoint_out() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = run(folder.path(), [Form::Completion, Form::Chat]).unwrap();
    let [base, aligned] = concord_checkpoint::demo_pair().unwrap().map(|one| one.name);
    assert_eq!(outcome.read.len(), 1);
    assert_eq!(outcome.read[0].name, base);
    assert!(outcome.read[0].readings.round("after").is_some());
    let reason = "no token of its vocabulary spells the label \"\u{1F600}\"";
    let expected = Excluded {
        checkpoint: aligned.clone(),
        reason: reason.to_owned(),
    };
    assert_eq!(outcome.excluded, [expected]);
    assert_eq!(outcome.costs[&aligned][NOT_MEASURABLE], reason);
    // What was read of it before is kept.
    assert_eq!(outcome.costs[&aligned]["texts"], 2);
    // With nobody left, that is why the run ends.
    let folder = tempfile::tempdir().unwrap();
    let refused = run(folder.path(), [Form::Chat; 2]).err().unwrap();
    assert_eq!(refused.status, ExitStatus::Checkpoint);
    for name in [&base, &aligned] {
        let sentence = format!("{name}: not measurable: {reason}");
        assert!(refused.message.contains(&sentence), "{refused:?}");
    }
}
