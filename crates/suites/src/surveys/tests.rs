//! Checkpoints that answer as they are built to, held against people.

use super::data::{Data, Options, Question, SPECS};
use super::findings::{CheckpointFindings, Findings};
use super::plan;
use super::{Surveys, measure::distance};
use crate::shared::draw;
use crate::shared::orders::turned;
use crate::{CheckpointReadings, Given, Readings, Settings, Show, Step, Subject, Suite};
use concord_findings::Exhibit;
use concord_readings::{
    Answer, Form, Input, LabelReading, LogProb, Nats, NextToken, Probability, PromptKey,
    PromptStyle, Reading,
};
use std::collections::BTreeMap;
use std::io::Write;

/// What a checkpoint answers: probabilities in the order of the options, of a question and whose answer is asked for.
type Answers<'a> = &'a dyn Fn(&Question, Option<&str>) -> Vec<f64>;

fn load(typed: &[(&str, &[&str])]) -> (Data, Options) {
    let typed: BTreeMap<String, Vec<String>> = typed
        .iter()
        .map(|(name, values)| {
            let values = values.iter().map(|value| (*value).to_owned());
            ((*name).to_owned(), values.collect())
        })
        .collect();
    let loaded = Surveys.load(&Given::new(&SPECS, &typed, 7)).unwrap();
    (loaded.data, loaded.options)
}

/// `mass` of the letters, and `place`, what the first place is more probable than it should be, in log-odds.
fn read(
    data: &Data,
    options: &Options,
    name: &str,
    (mass, place): (f64, f64),
    answers: Answers<'_>,
) -> CheckpointReadings {
    let style = PromptStyle {
        form: Form::Chat,
        lead: "",
    };
    let mut readings = Readings::default();
    let step = Surveys.next(data, options, Subject { style }, &readings);
    let Step::Ask(rounds) = step.unwrap() else {
        panic!("nothing is asked")
    };
    for round in rounds {
        let each = round.prompts.iter().map(|prompt| {
            let key: PromptKey = prompt.id.parse().unwrap();
            let question = data.questions.iter().find(|of| of.id == key.item).unwrap();
            let order = key.condition("order").unwrap().parse::<usize>().unwrap() - 1;
            let p = answers(question, key.condition("population"));
            let count = p.len();
            let weight = |at: usize| {
                let lifted = if at == 0 { place.exp() } else { 1.0 };
                lifted * p[turned(count, order, at)].max(1e-12)
            };
            let sum: f64 = (0..count).map(weight).sum();
            let labels = (0..count).map(|at| LabelReading {
                label: concord_questions::option_letter(at).to_string(),
                log_prob: LogProb::new((mass * weight(at) / sum).ln()).unwrap(),
                spellings: Vec::new(),
            });
            let answer = Answer::NextToken(NextToken {
                labels: labels.collect(),
                label_mass: Probability::new(mass).unwrap(),
                entropy: Nats::new(0.5).unwrap(),
                top_is_label: true,
                top: Vec::new(),
                not_shown: None,
            });
            let reading = Reading {
                id: prompt.id.clone(),
                tokens: 1,
                answers: vec![answer],
            };
            (prompt.id.clone(), reading)
        });
        readings.rounds.insert(round.name, each.collect());
    }
    let step = Surveys.next(data, options, Subject { style }, &readings);
    assert_eq!(step.unwrap(), Step::Done);
    CheckpointReadings {
        name: name.to_owned(),
        readings,
    }
}

fn measure(data: &Data, options: &Options, read: &[CheckpointReadings]) -> Findings {
    let settings = Settings {
        resamples: Some(500),
        seed: 3,
        ..Settings::default()
    };
    Surveys.measure(data, options, settings, read).unwrap()
}

/// The answers of a population, and of everybody alike where it gave none.
fn as_people(name: &'static str) -> impl Fn(&Question, Option<&str>) -> Vec<f64> {
    move |question, _| question.human[name].shares.clone()
}

const UPLAND: &str = "Upland (made up)";
const ISLES: &str = "the Isles (made up)";

fn at(found: &Findings, name: &str) -> usize {
    let mut all = found.populations.iter();
    all.position(|of| of.population == name).unwrap()
}

#[test]
fn who_answers_as_a_population_is_nowhere_from_it() {
    let (data, options) = load(&[]);
    let upland = as_people(UPLAND);
    let one = read(&data, &options, "upland", (0.9, 0.0), &upland);
    let again = read(&data, &options, "again", (0.9, 0.0), &upland);
    let found = measure(&data, &options, &[one, again]);
    let of = &found.checkpoints[0];
    assert!(of.verdict.is_measurable(), "{:?}", of.verdict);
    let own = &of.populations[at(&found, UPLAND)];
    assert!(own.distance.value < 1e-6 && own.wasserstein.as_ref().unwrap().value < 1e-6);
    assert!((own.similarity - 1.0).abs() < 1e-6);
    assert!(own.less_uniform.estimate.value < 0.0 && own.less_uniform.adjusted_p.unwrap() < 0.05);
    assert!(own.shuffled_less.estimate.interval.unwrap().low > 0.0);
    let best = of.best.as_ref().unwrap();
    assert!(best.population == UPLAND && best.p < 0.01, "{best:?}");
    // Two copies differ by exactly nothing.
    for population in &found.checkpoints[1].populations {
        let difference = population.difference.as_ref().unwrap();
        assert_eq!((difference.estimate.value, difference.p), (0.0, None));
    }
    // People who decline are compared apart.
    let declines = of.declines.as_ref().unwrap().value;
    let asked = found.populations[at(&found, UPLAND)].declines.unwrap();
    assert!((declines - asked).abs() < 1e-6);
}

#[test]
fn distances_are_those_that_are_known() {
    // scipy.spatial.distance.jensenshannon([.1, .2, .7], [.5, .3, .2]) and scipy.stats.wasserstein_distance of the same on 0, 1, 2.
    let mut file = tempfile::Builder::new()
        .suffix(".jsonl")
        .tempfile()
        .unwrap();
    for number in 0..6 {
        writeln!(
            file,
            r#"{{"question":"Q{number}?","options":["x","y","z"],"ordinal":true,"human":{{"P":[0.5,0.3,0.2],"R":[0.2,0.6,0.2]}}}}"#
        )
        .unwrap();
    }
    file.flush().unwrap();
    let (data, options) = load(&[("questions", &[file.path().to_str().unwrap()])]);
    let same = |_: &Question, _: Option<&str>| vec![0.1, 0.2, 0.7];
    let found = measure(
        &data,
        &options,
        &[read(&data, &options, "same", (0.9, 0.0), &same)],
    );
    let people = &found.checkpoints[0].populations[at(&found, "P")];
    assert!((people.distance.value - KNOWN_DISTANCE).abs() < 1e-9);
    // 0.9 of a step, on a scale of two.
    assert!((people.wasserstein.as_ref().unwrap().value - 0.45).abs() < 1e-9);
    let uniform = found.populations[at(&found, "P")].uniform;
    let question = &data.questions[0];
    let expected = distance(question, &[1.0 / 3.0; 3], &[0.5, 0.3, 0.2]).unwrap();
    assert!((uniform - expected).abs() < 1e-12);
}

/// As scipy 1.17.1 prints it.
const KNOWN_DISTANCE: f64 = 0.389_047_698_324_762_3;

#[test]
fn steering_moves_answers_to_those_who_are_named() {
    let (data, options) = load(&[("steer", &[ISLES])]);
    let steered = |question: &Question, population: Option<&str>| match population {
        Some(name) => question.human[name].shares.clone(),
        None => question.human[UPLAND].shares.clone(),
    };
    let found = measure(
        &data,
        &options,
        &[read(&data, &options, "steered", (0.9, 0.0), &steered)],
    );
    let isles = &found.checkpoints[0].populations[at(&found, ISLES)];
    let moved = isles.steered.as_ref().unwrap();
    assert!((moved.estimate.value + isles.distance.value).abs() < 1e-6);
    assert!(moved.adjusted_p.unwrap() < 0.05);
    let upland = &found.checkpoints[0].populations[at(&found, UPLAND)];
    assert!(upland.steered.is_none());
}

#[test]
fn what_is_not_measurable_is_not_called_near_to_anybody() {
    let (data, options) = load(&[]);
    let upland = as_people(UPLAND);
    let one = |name: &str, how: (f64, f64)| read(&data, &options, name, how, &upland);
    let found = measure(
        &data,
        &options,
        &[one("little", (0.2, 0.0)), one("first place", (0.9, 9.0))],
    );
    let reasons = |at: usize| found.checkpoints[at].verdict.reason().unwrap();
    assert!(reasons(0).contains("mass of letters 0.20 < 0.5"));
    assert!(reasons(1).contains("change with the order"));
    for of in &found.checkpoints {
        assert!(of.best.is_none());
        assert!(of.populations.iter().all(|of| of.difference.is_none()));
    }
    // The order alone is taken out, where it does not decide.
    let leans = read(&data, &options, "leans", (0.9, 0.1), &upland);
    let found = measure(&data, &options, &[leans]);
    let own = &found.checkpoints[0].populations[at(&found, UPLAND)];
    assert!(found.checkpoints[0].verdict.is_measurable() && own.distance.value < 0.02);
}

/// Shares at random, the flatter the larger `floor` is.
fn at_random(seed: u64, floor: f64, names: &[&str], options: usize) -> Vec<f64> {
    let weights: Vec<f64> = (0..options)
        .map(|option| {
            let number = option.to_string();
            let names: Vec<&str> = names.iter().copied().chain([number.as_str()]).collect();
            floor + draw::unit(seed, &names).powi(2)
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// People whose answers mean nothing, of twelve populations of which each is flatter than the one before: what is flat is near to anything, and must
/// not be called nearest for that.
fn people_at_random(data: &mut Data, seed: u64) {
    for question in &mut data.questions {
        let of = |population: usize| {
            let floor = 0.02 * 1.5f64.powi(i32::try_from(population).unwrap());
            let names = [question.id.as_str(), &population.to_string()];
            let shares = at_random(seed, floor, &names, question.options.len());
            (format!("p{population}"), super::People { shares, n: None })
        };
        question.human = (0..12).map(of).collect();
    }
}

/// Checkpoints whose answers have nothing to do with people: one that is peaked and one that is nearly uniform.
#[test]
fn nobody_is_nearest_where_answers_have_nothing_to_do_with_people() {
    let (mut data, options) = load(&[]);
    let trials = 200;
    let (mut nearest, mut known) = ([0, 0], [0, 0]);
    for trial in 0..trials {
        people_at_random(&mut data, 1000 + trial);
        for (which, floor) in [0.02, 2.0].into_iter().enumerate() {
            let random = |question: &Question, _: Option<&str>| {
                at_random(9000 + trial, floor, &[&question.id], question.options.len())
            };
            let made = read(&data, &options, "random", (0.9, 0.0), &random);
            let found = measure(&data, &options, &[made]);
            let of: &CheckpointFindings = &found.checkpoints[0];
            let is_told = |p: Option<f64>| p.is_some_and(|p| p < 0.05);
            nearest[which] += u32::from(is_told(of.best.as_ref().map(|best| best.p)));
            known[which] += u32::from(of.populations.iter().any(|of| {
                of.shuffled_less.estimate.value > 0.0 && is_told(of.shuffled_less.adjusted_p)
            }));
        }
    }
    // 5 %, and what two hundred trials leave open.
    assert!(
        nearest.iter().all(|wrong| *wrong <= 17),
        "{nearest:?} of {trials}"
    );
    assert!(
        known.iter().all(|wrong| *wrong <= 17),
        "{known:?} of {trials}"
    );
}

#[test]
fn the_uniform_answer_is_nearest_to_nobody() {
    let (mut data, options) = load(&[]);
    people_at_random(&mut data, 1);
    let uniform = |question: &Question, _: Option<&str>| {
        vec![1.0 / question.options.len() as f64; question.options.len()]
    };
    let made = read(&data, &options, "uniform", (0.9, 0.0), &uniform);
    let found = measure(&data, &options, &[made]);
    assert!(found.checkpoints[0].best.is_none());
    for of in &found.checkpoints[0].populations {
        assert!(of.shuffled_less.estimate.value.abs() < 1e-12);
        assert!(of.less_uniform.estimate.value.abs() < 1e-12);
    }
}

#[test]
fn everything_can_be_shown_and_exported() {
    let (data, options) = load(&[("steer", &[ISLES])]);
    let upland = as_people(UPLAND);
    let one = read(&data, &options, "one", (0.9, 0.0), &upland);
    let read = [one];
    let found = measure(&data, &options, &read);
    let every = Show {
        answers: true,
        ..Show::default()
    };
    let shown = Surveys.exhibits(&found, every);
    let tables = shown.iter().filter_map(|exhibit| match exhibit {
        Exhibit::Table(table) => Some(table),
        _ => None,
    });
    for table in tables {
        assert!(
            !table.rows.is_empty() && table.rows.iter().all(|row| row.len() == table.header.len())
        );
    }
    let [answers] = Surveys
        .answers(&data, &options, &read)
        .unwrap()
        .try_into()
        .unwrap();
    let asked: usize = data.questions.iter().map(|of| of.options.len()).sum();
    assert_eq!(answers.rows.len(), 2 * asked);
    let [measures] = Surveys.tables(&found).try_into().unwrap();
    assert!(measures.rows.len() > 3 * 6);
}

#[test]
fn flags_that_fit_nothing_are_refused() {
    let begin = |typed: &[(&str, &str)]| {
        let typed: BTreeMap<String, Vec<String>> = typed
            .iter()
            .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
            .collect();
        let loaded = Surveys.load(&Given::new(&SPECS, &typed, 7));
        loaded
            .map(|loaded| loaded.options)
            .map_err(|e| e.to_string())
    };
    let outside = begin(&[("steer", UPLAND), ("populations", ISLES)]).unwrap_err();
    assert!(outside.contains("leaves it out"), "{outside}");
    let error = begin(&[("steer", "Uplandia")]).unwrap_err();
    assert!(
        error.contains("no question has the population `Uplandia`"),
        "{error}"
    );
    assert_eq!(begin(&[("limit", "1")]).unwrap().limit, Some(1));
    assert_eq!(begin(&[("limit", "4")]).unwrap().limit, None);
    let (data, options) = load(&[("populations", &[UPLAND])]);
    assert!(data.questions.iter().all(|of| of.human.len() == 1));
    let style = PromptStyle {
        form: Form::Completion,
        lead: " ",
    };
    let Step::Ask(rounds) = plan::next(&data, &options, style, &Readings::default()) else {
        panic!()
    };
    let is_text = |input: &Input| matches!(input, Input::Text(text) if !text.contains('{'));
    assert!(
        rounds[0]
            .prompts
            .iter()
            .all(|prompt| is_text(&prompt.input))
    );
    assert_eq!(rounds[0].prompts.len(), 2 * data.questions.len());
}
