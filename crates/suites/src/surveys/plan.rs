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

/// A template with its places filled; what is filled in is the user's, and nothing in it is a place.
fn filled(template: &str, places: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let place = places.iter().find(|(name, _)| rest.starts_with(name));
        let (taken, put) = place.map_or((1, "{"), |(name, text)| (name.len(), *text));
        out.push_str(put);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

/// What to do next.
pub(crate) fn next(data: &Data, options: &Options, style: PromptStyle, so_far: &Readings) -> Step {
    if so_far.round(ASKED).is_some() {
        return Step::Done;
    }
    let prompt = |question: &Question, population: Option<&str>, order: usize| {
        let wording = &data.wordings[&question.language];
        let template = match population {
            Some(_) => &wording.steer,
            None => &wording.ask,
        };
        let options = listed(&question.options, order);
        let text = filled(
            template,
            &[
                ("{question}", &question.question),
                ("{options}", &options),
                ("{population}", population.unwrap_or_default()),
            ],
        );
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

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn nothing_in_what_is_filled_in_is_a_place() {
        let places = [("{question}", "{options}?"), ("{options}", "A. {question}")];
        let text = filled("{question} {x}\n{options}.", &places);
        assert_eq!(text, "{options}? {x}\nA. {question}.");
    }
}
