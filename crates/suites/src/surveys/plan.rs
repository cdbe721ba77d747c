//! Every prompt.

use super::SUITE;
use super::data::{Data, Options, Question};
use crate::stress::{input, letters, listed};
use crate::{Readings, Round, Step};
use concord_readings::{Prompt, PromptKey, PromptStyle};

/// The rounds.
pub(crate) const ASKED: &str = "answers";
pub(crate) const STEERED: &str = "steered";

/// Orders of the options: as they stand, and the other way round. A scale keeps its steps beside each other.
pub(crate) const ORDERS: usize = 2;

/// The name of a prompt: of a question in an order, for a population where it is asked about one.
pub(crate) fn id(question: &Question, population: Option<&str>, order: usize) -> String {
    let key = PromptKey::new(SUITE, &question.id).with("order", (order + 1).to_string());
    match population {
        Some(population) => key.with("population", population).to_string(),
        None => key.to_string(),
    }
}

/// The questions that a population answered.
pub(crate) fn of<'a>(data: &'a Data, population: &str) -> impl Iterator<Item = &'a Question> {
    let name = population.to_owned();
    let questions = data.questions.iter();
    questions.filter(move |question| question.human.contains_key(&name))
}

/// What to do next.
pub(crate) fn next(data: &Data, options: &Options, style: PromptStyle, so_far: &Readings) -> Step {
    if so_far.round(ASKED).is_some() {
        return Step::Done;
    }
    let prompt = |question: &Question, population: Option<&str>, order: usize| {
        let wording = &data.wordings[&question.language];
        let text = match population {
            Some(population) => wording.steer.replace("{population}", population),
            None => wording.ask.clone(),
        };
        let text = text.replace("{options}", &listed(&question.options, order));
        // Last, since it is the user's.
        let text = text.replace("{question}", &question.question);
        Prompt {
            id: id(question, population, order),
            input: input(style.form, text),
            reads: letters(question.options.len()),
        }
    };
    let both = |question, population| (0..ORDERS).map(move |order| (question, population, order));
    let asked = data
        .questions
        .iter()
        .flat_map(|question| both(question, None));
    let mut rounds = vec![Round {
        name: ASKED.to_owned(),
        prompts: asked.map(|(q, p, order)| prompt(q, p, order)).collect(),
    }];
    if !options.steer.is_empty() {
        let steered = options.steer.iter().flat_map(|population| {
            of(data, population).flat_map(|question| both(question, Some(population.as_str())))
        });
        rounds.push(Round {
            name: STEERED.to_owned(),
            prompts: steered.map(|(q, p, order)| prompt(q, p, order)).collect(),
        });
    }
    Step::Ask(rounds)
}
