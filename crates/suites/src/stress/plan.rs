//! Every prompt.

use super::SUITE;
use super::data::{Data, Item, Options, POSITIONS, Wordings, called};
use super::written::{self, PLACED, WRITTEN};
use crate::shared::orders::{turned, turns};
use crate::{Readings, Round, Step, SuiteError};
use concord_questions::option_letter;
use concord_readings::{Form, Input, Message, Prompt, PromptKey, PromptStyle, Read, Role};
use std::collections::BTreeSet;

/// The rounds.
pub(crate) const ASKED: &str = "positions";
pub(crate) const KNOWN: &str = "known";
pub(crate) const LIKELY: &str = "likely";

/// Orders of the options: seven turns, forwards and backwards, so that each position stands in each place twice.
pub(crate) const ORDERS: usize = turns(POSITIONS);

/// The positions of the known answers.
pub(crate) const KNOWN_POSITIONS: [usize; 3] = [0, 3, 6];

/// The name of what asks for the position of a scenario as to one of its values.
pub(crate) fn id(item: &Item, value: usize, order: usize) -> String {
    key(item, value)
        .with("order", (order + 1).to_string())
        .to_string()
}

fn key(item: &Item, value: usize) -> PromptKey {
    PromptKey::new(SUITE, &item.name)
        .with("language", &item.language)
        .with("nudge", item.direction.name())
        .with("value", (value + 1).to_string())
}

/// The name of what asks for the position of an answer of known position.
pub(crate) fn known_id(language: &str, value: &str, answer: usize, order: usize) -> String {
    PromptKey::new(SUITE, format!("known {value}"))
        .with("language", language)
        .with("answer", KNOWN_POSITIONS[answer].to_string())
        .with("order", (order + 1).to_string())
        .to_string()
}

/// The name of what the texts of positions are read after: a scenario, or none.
pub(crate) fn likely_id(item: &Item, value: usize) -> String {
    key(item, value).with("read", "texts").to_string()
}

pub(crate) fn bare_id(language: &str, value: &str) -> String {
    PromptKey::new(SUITE, format!("bare {value}"))
        .with("language", language)
        .to_string()
}

pub(crate) fn wordings<'a>(data: &'a Data, language: &str) -> Result<&'a Wordings, SuiteError> {
    let found = data.languages.get(language);
    found.ok_or_else(|| {
        SuiteError::data(
            format!("there are no wordings in `{language}`"),
            "repeat the run",
        )
    })
}

/// The text of a position as to a value.
pub(crate) fn position(wordings: &Wordings, at: usize, value: &str) -> String {
    wordings.positions[at].replace("{v}", value)
}

/// Languages and values that are asked about.
pub(crate) fn asked_values(data: &Data) -> Vec<(String, String)> {
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for item in &data.items {
        for value in &item.pair {
            if seen.insert((&item.language, value)) {
                all.push((item.language.clone(), value.clone()));
            }
        }
    }
    all
}

pub(crate) fn input(form: Form, text: String) -> Input {
    match form {
        Form::Chat => Input::Conversation(vec![Message::new(Role::User, text)]),
        Form::Completion => Input::Text(format!("{text}\n")),
    }
}

/// Options in an order, a line each.
pub(crate) fn listed(options: &[String], order: usize) -> String {
    let lines = (0..options.len()).map(|place| {
        let text = &options[turned(options.len(), order, place)];
        format!("{}. {text}", option_letter(place))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// All positions as to a value.
pub(crate) fn positions(wordings: &Wordings, value: &str) -> Vec<String> {
    let each = (0..POSITIONS).map(|at| position(wordings, at, value));
    each.collect()
}

/// What reads the letters of so many options.
pub(crate) fn letters(options: usize) -> Vec<Read> {
    vec![Read::NextToken {
        labels: (0..options)
            .map(|place| option_letter(place).to_string())
            .collect(),
        openings: Vec::new(),
    }]
}

fn texts(wordings: &Wordings, value: &str, lead: &str) -> Vec<Read> {
    let each = positions(wordings, value).into_iter();
    each.map(|text| Read::Continuation {
        text: format!("{lead}{text}"),
    })
    .collect()
}

/// What to do next.
pub(crate) fn next(
    data: &Data,
    options: &Options,
    style: PromptStyle,
    so_far: &Readings,
) -> Result<Step, SuiteError> {
    let writes = options.answer_tokens > 0;
    let rounds = [ASKED, KNOWN, LIKELY];
    let is_read = |round: &&str| so_far.round(round).is_some();
    if rounds.iter().all(is_read) && (!writes || is_read(&WRITTEN)) {
        let is_placed = !writes || so_far.ratings(PLACED).is_some();
        return Ok(if is_placed {
            Step::Done
        } else {
            Step::Rate(PLACED)
        });
    }
    let (mut asked, mut known, mut likely) = (Vec::new(), Vec::new(), Vec::new());
    for item in &data.items {
        let wordings = wordings(data, &item.language)?;
        for (at, name) in item.pair.iter().enumerate() {
            let value = called(&data.values, name, &item.language);
            let positions = positions(wordings, value);
            for order in 0..ORDERS {
                let text = wordings.ask.replace("{v}", value);
                let text = text.replace("{options}", &listed(&positions, order));
                // Last, since it is the user's.
                let text = text.replace("{query}", &item.query);
                asked.push(Prompt {
                    id: id(item, at, order),
                    input: input(style.form, text),
                    reads: letters(POSITIONS),
                });
            }
            let text = wordings.likely.replace("{v}", value);
            let text = text.replace("{query}", &item.query);
            likely.push(Prompt {
                id: likely_id(item, at),
                input: input(style.form, text),
                reads: texts(wordings, value, style.lead),
            });
        }
    }
    for (language, name) in asked_values(data) {
        let wordings = wordings(data, &language)?;
        let value = called(&data.values, &name, &language);
        known.extend(known_prompts(
            wordings,
            (&language, &name, value),
            style.form,
        ));
        likely.push(Prompt {
            id: bare_id(&language, &name),
            input: input(style.form, wordings.bare.replace("{v}", value)),
            reads: texts(wordings, value, style.lead),
        });
    }
    let round = |name: &str, prompts: Vec<Prompt>| Round {
        name: name.to_owned(),
        prompts,
    };
    let mut rounds = vec![
        round(ASKED, asked),
        round(KNOWN, known),
        round(LIKELY, likely),
    ];
    if writes {
        rounds.push(round(WRITTEN, written::texts(data, options, style.form)));
    }
    Ok(Step::Ask(rounds))
}

/// What asks for the positions of answers of known position, as to a value of a name that is called something in a language.
pub(crate) fn known_prompts(
    wordings: &Wordings,
    (language, name, value): (&str, &str, &str),
    form: Form,
) -> Vec<Prompt> {
    let positions = positions(wordings, value);
    let mut prompts = Vec::new();
    for (answer, text) in wordings.known.iter().enumerate() {
        for order in 0..ORDERS {
            let text = wordings
                .read
                .replace("{answer}", text)
                .replace("{v}", value)
                .replace("{options}", &listed(&positions, order));
            prompts.push(Prompt {
                id: known_id(language, name, answer, order),
                input: input(form, text),
                reads: letters(POSITIONS),
            });
        }
    }
    prompts
}
