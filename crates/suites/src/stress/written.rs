//! Answers that checkpoints write, and what raters are asked about them.

use super::SUITE;
use super::data::{Data, Item, Options, POSITIONS, called};
use super::plan::{ORDERS, input, known_prompts, letters, listed, positions, wordings};
use crate::shared::orders::turns;
use crate::{Rating, Readings, SuiteError};
use concord_readings::{Form, Input, Prompt, PromptKey, PromptStyle, Read, Reading, Sampling};
use std::collections::BTreeSet;

/// The rounds.
pub(crate) const WRITTEN: &str = "answers";
pub(crate) const PLACED: &str = "placed";

/// What is asked about an answer, beside its positions.
pub(crate) const REFUSAL: &str = "refusal";
pub(crate) const EMPHASIS: &str = "emphasis";
pub(crate) const SPECIFICATION: &str = "specification";

fn key(item: &Item) -> PromptKey {
    PromptKey::new(SUITE, &item.name)
        .with("language", &item.language)
        .with("nudge", item.direction.name())
}

/// The name of the answer to a request.
pub(crate) fn answer_id(item: &Item) -> String {
    key(item).with("read", "answer").to_string()
}

/// The name of what asks for an answer's position as to one of its values.
pub(crate) fn placed_id(item: &Item, value: usize, order: usize) -> String {
    key(item)
        .with("read", "position")
        .with("value", (value + 1).to_string())
        .with("order", (order + 1).to_string())
        .to_string()
}

/// The name of what else is asked about it: which of the three, and of which value.
pub(crate) fn read_id(item: &Item, what: &str, of: &str, order: usize) -> String {
    key(item)
        .with("read", what)
        .with("of", of)
        .with("order", (order + 1).to_string())
        .to_string()
}

/// The name of what asks whether a known answer keeps the rules.
pub(crate) fn rules_id(answer: usize, order: usize) -> String {
    PromptKey::new(SUITE, "known rules")
        .with("answer", (answer + 1).to_string())
        .with("order", (order + 1).to_string())
        .to_string()
}

/// What asks for an answer to each request.
pub(crate) fn texts(data: &Data, options: &Options, form: Form) -> Vec<Prompt> {
    let stop = match form {
        Form::Chat => Vec::new(),
        Form::Completion => vec!["\nQuestion:".to_owned()],
    };
    let each = data.items.iter().map(|item| Prompt {
        id: answer_id(item),
        input: match form {
            Form::Chat => input(form, item.query.clone()),
            Form::Completion => Input::Text(format!("Question: {}\nAnswer:", item.query)),
        },
        reads: vec![Read::Generation(Sampling {
            stop: stop.clone(),
            ..Sampling::greedy(options.answer_tokens)
        })],
    });
    each.collect()
}

/// The text of an answer, where there is any.
pub(crate) fn text<'a>(so_far: &'a Readings, item: &Item) -> Option<&'a str> {
    let reading = so_far.round(WRITTEN)?.get(&answer_id(item))?;
    let text = reading.generation().map(|written| written.text.trim());
    text.filter(|text| !text.is_empty())
}

/// What a rater is asked. Before anything is written: what it is asked whatever that will be.
pub(crate) fn ratings(
    data: &Data,
    rater: PromptStyle,
    so_far: &Readings,
) -> Result<Vec<Rating>, SuiteError> {
    let written = so_far.round(WRITTEN);
    let mut ratings = Vec::new();
    // Each known answer stands with the first request that it is for, so that shards share none.
    let mut seen = BTreeSet::new();
    for (at, item) in data.items.iter().enumerate() {
        let mut known = Vec::new();
        for name in &item.pair {
            if seen.insert((&item.language, name)) {
                known.push(name);
            }
        }
        if written.is_some_and(|written| !written.contains_key(&answer_id(item))) {
            continue;
        }
        for name in known {
            let language = &item.language;
            let value = called(&data.values, name, language);
            ratings.push(Rating {
                text: format!("known {name} {language}"),
                prompts: known_prompts(
                    wordings(data, language)?,
                    (language, name, value),
                    rater.form,
                ),
            });
        }
        if at == 0 {
            ratings.extend(known_rules(data, rater.form));
        }
        if let Some(text) = text(so_far, item) {
            ratings.extend(of_text(data, item, text, rater.form)?);
        }
    }
    Ok(ratings)
}

fn of_text(data: &Data, item: &Item, text: &str, form: Form) -> Result<Vec<Rating>, SuiteError> {
    let sentences = wordings(data, &item.language)?;
    let mut prompts = Vec::new();
    let mut ask = |id: String, options: usize, text: String| {
        prompts.push(Prompt {
            id,
            input: input(form, text),
            reads: letters(options),
        });
    };
    // What was written goes in last: nothing in it is replaced.
    for (at, name) in item.pair.iter().enumerate() {
        let value = called(&data.values, name, &item.language);
        let positions = positions(sentences, value);
        for order in 0..ORDERS {
            let asked = sentences.read.replace("{v}", value);
            let asked = asked.replace("{options}", &listed(&positions, order));
            ask(
                placed_id(item, at, order),
                POSITIONS,
                asked.replace("{answer}", text),
            );
        }
    }
    let refusal = &data.readers.refusal;
    let classes: Vec<String> = refusal
        .classes
        .iter()
        .map(|class| class.says.clone())
        .collect();
    for order in 0..turns(classes.len()) {
        let asked = refusal.ask.replace("{options}", &listed(&classes, order));
        let asked = filled(&asked, &item.query, text);
        ask(read_id(item, REFUSAL, "", order), classes.len(), asked);
    }
    let emphasis = &data.readers.emphasis;
    for value in &data.emphasised {
        for order in 0..turns(emphasis.choices.len()) {
            let asked = emphasis.ask.replace("{v}", value);
            let asked = asked.replace("{options}", &listed(&emphasis.choices, order));
            let id = read_id(item, EMPHASIS, value, order);
            ask(id, emphasis.choices.len(), asked.replace("{answer}", text));
        }
    }
    let mut ratings = vec![Rating {
        text: answer_id(item),
        prompts,
    }];
    // By itself: it may be too long for a rater that reads the rest.
    let rules = rules(data, form, (&item.query, text), |order| {
        read_id(item, SPECIFICATION, "", order)
    });
    if !rules.is_empty() {
        ratings.push(Rating {
            text: format!("{} rules", answer_id(item)),
            prompts: rules,
        });
    }
    Ok(ratings)
}

/// Request and answer in their places; neither is looked through for the other's.
fn filled(asked: &str, query: &str, answer: &str) -> String {
    let fill = |part: &str| part.replace("{query}", query);
    let parts: Vec<String> = asked.split("{answer}").map(fill).collect();
    parts.join(answer)
}

fn rules(
    data: &Data,
    form: Form,
    (query, answer): (&str, &str),
    id: impl Fn(usize) -> String,
) -> Vec<Prompt> {
    let Some(specification) = &data.specification else {
        return Vec::new();
    };
    let asking = &data.readers.specification;
    let orders = 0..turns(asking.choices.len());
    let each = orders.map(|order| {
        let asked = asking
            .ask
            .replace("{options}", &listed(&asking.choices, order));
        let parts: Vec<String> = asked
            .split("{specification}")
            .map(|part| filled(part, query, answer))
            .collect();
        Prompt {
            id: id(order),
            input: input(form, parts.join(&specification.text)),
            reads: letters(asking.choices.len()),
        }
    });
    each.collect()
}

/// Answers of which it is known whether they keep the rules; of rules that do not ship, one alone is asked, to see that they fit.
fn known_rules(data: &Data, form: Form) -> Vec<Rating> {
    let Some(specification) = &data.specification else {
        return Vec::new();
    };
    let known = data.readers.specification.known.iter().enumerate();
    let asked = if specification.is_own { known.len() } else { 1 };
    known
        .take(asked)
        .map(|(at, known)| Rating {
            text: format!("known rules {at}"),
            prompts: rules(data, form, (&known.query, &known.answer), |order| {
                rules_id(at, order)
            }),
        })
        .collect()
}

/// Whether a text ended by itself.
pub(crate) fn has_ended(reading: &Reading) -> bool {
    use concord_readings::Finish::{EndOfText, StopText};
    let written = reading.generation();
    written.is_some_and(|written| matches!(written.finish, EndOfText | StopText))
}
