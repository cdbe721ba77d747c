//! How far answers are from those of people.

use super::data::{Data, Options, Question};
use super::findings::{
    CheckpointFindings, Findings, PopulationAsked, PopulationFindings, QuestionAsked, Tested,
    TopicAsked,
};
use super::nearest::{Distances, best};
use super::plan::{self, ASKED, ORDERS, STEERED};
use crate::shared::draw;
use crate::shared::paired::adjusted;
use crate::stress::{RoundOf, over_some};
use crate::{CheckpointReadings, Settings, SuiteError};
use concord_findings::{Estimate, Gate, Method};
use concord_stats::{jensen_shannon_distance, mean, student_quantile, student_two_sided};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Draws of orders where no number is asked for.
const DRAWS: usize = 1000;
/// Below so many questions there is no interval.
pub(crate) const LEAST: usize = 5;
/// Orders of options that stand for answers without a meaning, at most: as they stand, and others.
const SHUFFLES: usize = 12;
/// What is the same twice may differ in its last bits.
pub(crate) const ROUNDING: f64 = 1e-12;
/// The gates.
pub(crate) const MASS: &str = "mass of letters";
pub(crate) const FLIPS: &str = "answers that change with the order";

/// The mean over questions, its 95 % interval and the p of its being nothing.
pub(crate) fn tested(values: &[f64]) -> Tested {
    let n = values.len();
    let clean = |value: &f64| if value.abs() < ROUNDING { 0.0 } else { *value };
    let values: Vec<f64> = values.iter().map(clean).collect();
    if n == 0 {
        return Tested {
            estimate: Estimate::exact(f64::NAN),
            p: None,
            adjusted_p: None,
        };
    }
    let value = mean(&values);
    let spread: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
    if n < LEAST || spread <= 0.0 {
        return Tested {
            estimate: Estimate::exact(value).of(n, "question"),
            p: None,
            adjusted_p: None,
        };
    }
    let error = (spread / (n - 1) as f64 / n as f64).sqrt();
    let half = student_quantile(n - 1) * error;
    Tested {
        estimate: Estimate::with_ends(value, [value - half, value + half], Method::Student)
            .of(n, "question"),
        p: Some(student_two_sided(value / error, n - 1)),
        adjusted_p: None,
    }
}

/// Adjusts the p of a family of tests.
fn adjust<'a>(family: impl Iterator<Item = &'a mut Tested>) {
    let family: Vec<&mut Tested> = family.collect();
    let p: Vec<Option<f64>> = family.iter().map(|tested| tested.p).collect();
    for (tested, p) in family.into_iter().zip(adjusted(&p)) {
        tested.adjusted_p = p;
    }
}

/// The distance of two distributions over all options among those who answer; nothing where nobody does.
pub(crate) fn distance(question: &Question, p: &[f64], people: &[f64]) -> Option<f64> {
    let (p, people) = (question.answering(p)?, question.answering(people)?);
    Some(jensen_shannon_distance(&p, &people))
}

/// The least that has to be carried along a scale to make one distribution the other, as a share of the scale's length times all.
fn wasserstein(question: &Question, p: &[f64], people: &[f64]) -> Option<f64> {
    let (p, people) = (question.answering(p)?, question.answering(people)?);
    let steps = p.len() - 1;
    let mut ahead = 0.0;
    let mut carried = 0.0;
    for (p, q) in p.iter().zip(&people).take(steps) {
        ahead += p - q;
        carried += ahead.abs();
    }
    Some(carried / steps as f64)
}

/// A distribution over options, the most probable one in each order, and the probability of all letters.
struct Answer {
    p: Vec<f64>,
    mass: f64,
    flips: bool,
}

fn answer(
    round: RoundOf<'_>,
    question: &Question,
    population: Option<&str>,
) -> Result<Answer, SuiteError> {
    let count = question.options.len();
    let id = |order: usize| plan::id(question, population, order);
    let over = over_some(round, count, ORDERS, id)?;
    let most = |p: &[f64]| {
        let each = p.iter().enumerate();
        each.max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at)
    };
    let first = most(&over.each[0]);
    Ok(Answer {
        flips: over.each.iter().any(|p| most(p) != first),
        p: over.p,
        mass: over.mass,
    })
}

/// Measures every checkpoint.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    read: &[CheckpointReadings],
) -> Result<Findings, SuiteError> {
    let names: BTreeSet<&String> = data
        .questions
        .iter()
        .flat_map(|question| question.human.keys())
        .collect();
    let names: Vec<&String> = names.into_iter().collect();
    let topics: BTreeSet<(&String, &String)> = data
        .questions
        .iter()
        .map(|question| (&question.topic, &question.language))
        .collect();
    let topics: Vec<(&String, &String)> = topics.into_iter().collect();
    let populations = names.iter().map(|name| population(data, name));
    let mut checkpoints: Vec<CheckpointFindings> = Vec::new();
    let mut first: Option<Vec<Distances>> = None;
    for of in read {
        let (found, distances) = checkpoint(
            data,
            options,
            settings,
            (&names, &topics),
            first.as_ref(),
            of,
        )?;
        first.get_or_insert(distances);
        checkpoints.push(found);
    }
    // What is not measurable is not compared with.
    if checkpoints
        .first()
        .is_some_and(|first| !first.verdict.is_measurable())
    {
        for of in &mut checkpoints {
            for population in &mut of.populations {
                population.difference = None;
            }
        }
    }
    let asked = |(topic, language): &(&String, &String)| {
        let is_of = |q: &&Question| (&q.topic, &q.language) == (*topic, *language);
        TopicAsked {
            topic: (*topic).clone(),
            language: (*language).clone(),
            questions: data.questions.iter().filter(is_of).count(),
        }
    };
    Ok(Findings {
        questions: data
            .questions
            .iter()
            .map(|question| QuestionAsked {
                id: question.id.clone(),
                question: question.question.clone(),
                topic: question.topic.clone(),
                options: question.options.clone(),
            })
            .collect(),
        populations: populations.collect(),
        topics: topics.iter().map(asked).collect(),
        checkpoints,
        limit: options.limit,
    })
}

fn population(data: &Data, name: &str) -> PopulationAsked {
    let of: Vec<&Question> = plan::of(data, name).collect();
    let people = |question: &Question| question.human[name].shares.clone();
    let declines: Vec<f64> = of
        .iter()
        .filter(|question| !question.declines.is_empty())
        .map(|question| question.declining(&people(question)))
        .collect();
    let uniform = of.iter().filter_map(|question| {
        let count = question.options.len();
        distance(question, &vec![1.0; count], &people(question))
    });
    let uniform: Vec<f64> = uniform.collect();
    PopulationAsked {
        population: name.to_owned(),
        questions: of.len(),
        declines: (!declines.is_empty()).then(|| mean(&declines)),
        uniform: if uniform.is_empty() {
            f64::NAN
        } else {
            mean(&uniform)
        },
    }
}

/// What is found of a checkpoint, and its distance by question and population.
fn checkpoint(
    data: &Data,
    options: &Options,
    settings: Settings,
    (names, topics): (&[&String], &[(&String, &String)]),
    first: Option<&Vec<Distances>>,
    of: &CheckpointReadings,
) -> Result<(CheckpointFindings, Vec<Distances>), SuiteError> {
    let round = |name: &str| RoundOf {
        name: &of.name,
        read: of.readings.round(name),
    };
    let answers = data
        .questions
        .iter()
        .map(|question| answer(round(ASKED), question, None));
    let answers = answers.collect::<Result<Vec<Answer>, SuiteError>>()?;
    let of_all = |value: &dyn Fn(&Answer) -> f64| {
        tested(&answers.iter().map(value).collect::<Vec<f64>>()).estimate
    };
    let mass = of_all(&|answer| answer.mass);
    let flips = of_all(&|answer| f64::from(u8::from(answer.flips)));
    let declines = data.questions.iter().zip(&answers);
    let declines = declines.filter(|(question, _)| !question.declines.is_empty());
    let declines: Vec<f64> = declines
        .map(|(question, answer)| question.declining(&answer.p))
        .collect();
    let gates = [
        Gate::at_least(MASS, mass.value, settings.gates.label_mass),
        Gate::at_most(FLIPS, flips.value, settings.gates.flips),
    ];
    let verdict = Gate::verdict(&gates);
    let shuffled = data.questions.iter().zip(&answers);
    let shuffled = shuffled.map(|(question, answer)| shuffles(settings.seed, question, &answer.p));
    let read = Read {
        shuffled: shuffled.collect(),
        steered: round(STEERED),
        answers,
    };
    let each = names.par_iter().map(|name| {
        let is_steered = options.steer.contains(*name);
        from_people(data, (name, is_steered), topics, &read)
    });
    let each = each.collect::<Result<Vec<_>, SuiteError>>()?;
    let (mut populations, distances): (Vec<PopulationFindings>, Vec<Distances>) =
        each.into_iter().unzip();
    if let Some(first) = first.filter(|_| verdict.is_measurable()) {
        for ((found, own), before) in populations.iter_mut().zip(&distances).zip(first) {
            let pairs = before.iter().zip(own);
            let less =
                pairs.filter_map(|(before, own)| Some(own.as_ref()?[0] - before.as_ref()?[0]));
            found.difference = Some(tested(&less.collect::<Vec<f64>>()));
        }
    }
    adjust(populations.iter_mut().map(|of| &mut of.less_uniform));
    adjust(
        populations
            .iter_mut()
            .filter_map(|of| of.difference.as_mut()),
    );
    adjust(populations.iter_mut().map(|of| &mut of.shuffled_less));
    adjust(populations.iter_mut().filter_map(|of| of.steered.as_mut()));
    let draws = settings.resamples.unwrap_or(DRAWS);
    let best = best(&distances, names, draws, settings.seed);
    let found = CheckpointFindings {
        name: of.name.clone(),
        mass,
        flips,
        declines: (!declines.is_empty()).then(|| tested(&declines).estimate),
        best: best.filter(|_| verdict.is_measurable()),
        gates: gates.into(),
        verdict,
        populations,
        answers: read.answers.into_iter().map(|answer| answer.p).collect(),
    };
    Ok((found, distances))
}

/// What was read of a checkpoint.
struct Read<'a> {
    answers: Vec<Answer>,
    /// Its answers with the options as they stand, and in other orders.
    shuffled: Vec<Vec<Vec<f64>>>,
    steered: RoundOf<'a>,
}

/// How far answers are from a population's, and the same by question.
fn from_people(
    data: &Data,
    (name, is_steered): (&str, bool),
    topics: &[(&String, &String)],
    read: &Read<'_>,
) -> Result<(PopulationFindings, Distances), SuiteError> {
    let mut by_question = vec![None; data.questions.len()];
    let (mut apart, mut scale) = (Vec::new(), Vec::new());
    let (mut less_uniform, mut shuffled_less) = (Vec::new(), Vec::new());
    let mut steered = Vec::new();
    let mut by_topic = vec![Vec::new(); topics.len()];
    for (number, question) in data.questions.iter().enumerate() {
        let Some(people) = question.human.get(name) else {
            continue;
        };
        let (shares, p) = (&people.shares, &read.answers[number].p);
        let Some(found) = distance(question, p, shares) else {
            continue;
        };
        let others = read.shuffled[number].iter();
        let all: Vec<f64> = others
            .filter_map(|p| distance(question, p, shares))
            .collect();
        shuffled_less.push(mean(&all) - found);
        by_question[number] = Some(all);
        apart.push(found);
        let is_of = |of: &(&String, &String)| *of == (&question.topic, &question.language);
        if let Some(topic) = topics.iter().position(is_of) {
            by_topic[topic].push(found);
        }
        if question.ordinal {
            scale.extend(wasserstein(question, p, shares));
        }
        let uniform = vec![1.0; question.options.len()];
        less_uniform.extend(distance(question, &uniform, shares).map(|other| found - other));
        if is_steered {
            let steer = answer(read.steered, question, Some(name))?;
            steered.extend(distance(question, &steer.p, shares).map(|other| other - found));
        }
    }
    let distance = tested(&apart).estimate;
    let found = PopulationFindings {
        similarity: 1.0 - distance.value,
        distance,
        wasserstein: (!scale.is_empty()).then(|| tested(&scale).estimate),
        less_uniform: tested(&less_uniform),
        shuffled_less: tested(&shuffled_less),
        difference: None,
        steered: is_steered.then(|| tested(&steered)),
        topics: by_topic
            .iter()
            .map(|of| (!of.is_empty()).then(|| tested(of).estimate))
            .collect(),
    };
    Ok((found, by_question))
}

/// A distribution with the probabilities of options that answer in other orders: as it stands, and then each other order once, or so many that are
/// drawn.
fn shuffles(seed: u64, question: &Question, p: &[f64]) -> Vec<Vec<f64>> {
    let kept: Vec<usize> = (0..p.len()).filter(|at| !question.declines(*at)).collect();
    let all: usize = (1..=kept.len().min(5)).product();
    let mut orders: Vec<Vec<usize>> = vec![(0..kept.len()).collect()];
    let mut number = 0usize;
    while orders.len() < all.min(SHUFFLES) {
        let names = ["shuffled", &question.id, &number.to_string()];
        let order = draw::order(seed, &names, kept.len());
        if !orders.contains(&order) {
            orders.push(order);
        }
        number += 1;
    }
    let turned = |order: Vec<usize>| {
        let mut turned = p.to_vec();
        for (to, from) in kept.iter().zip(order) {
            turned[*to] = p[kept[from]];
        }
        turned
    };
    orders.into_iter().map(turned).collect()
}
