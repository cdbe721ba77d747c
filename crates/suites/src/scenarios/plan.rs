//! Every prompt.

use super::SUITE;
use super::data::{Data, Draft, Known, Options};
use crate::shared::orders::turns;
use crate::stress::{letters, listed};
use crate::{Rating, Readings, Round, Step};
use concord_readings::{
    Finish, Form, Input, Message, Prompt, PromptKey, PromptStyle, Read, Role, Sampling,
};

/// The rounds.
pub(crate) const DRAFTS: &str = "drafts";
pub(crate) const SEEN: &str = "seen";

/// How drafts are drawn: none is like another.
const TEMPERATURE: f64 = 1.0;
const TOP_P: f64 = 0.95;

/// The fewest and the most words of a request.
const WORDS: std::ops::RangeInclusive<usize> = 6..=60;

/// The name of a draft.
pub(crate) fn draft_id(draft: &Draft) -> String {
    PromptKey::new(SUITE, &draft.name).to_string()
}

/// The name of what asks whether a value matters for a draft, or for a known scenario.
pub(crate) fn seen_id(item: &str, value: &str, order: usize) -> String {
    PromptKey::new(SUITE, item)
        .with("value", value)
        .with("order", (order + 1).to_string())
        .to_string()
}

/// What a known scenario is called.
pub(crate) fn known_name(number: usize) -> String {
    format!("known {}", number + 1)
}

/// What to do next.
pub(crate) fn next(data: &Data, options: &Options, style: PromptStyle, so_far: &Readings) -> Step {
    if so_far.round(DRAFTS).is_some() {
        let is_seen = so_far.ratings(SEEN).is_some();
        return if is_seen {
            Step::Done
        } else {
            Step::Rate(SEEN)
        };
    }
    let prompts = data.drafts.iter().map(|draft| Prompt {
        id: draft_id(draft),
        input: asked(data, draft, style.form),
        reads: vec![Read::Generation(Sampling {
            max_tokens: options.tokens,
            temperature: TEMPERATURE,
            top_p: TOP_P,
            seed: options.seed,
            stop: match style.form {
                Form::Chat => Vec::new(),
                Form::Completion => vec!["\n".to_owned()],
            },
        })],
    });
    Step::Ask(vec![Round {
        name: DRAFTS.to_owned(),
        prompts: prompts.collect(),
    }])
}

fn asked(data: &Data, draft: &Draft, form: Form) -> Input {
    let wordings = &data.wordings;
    let about = |text: &str, [a, b]: &[String; 2]| text.replace("{a}", a).replace("{b}", b);
    match form {
        Form::Chat => {
            let text = about(&wordings.ask, &draft.pair);
            Input::Conversation(vec![Message::new(Role::User, text)])
        }
        Form::Completion => {
            let mut lines: Vec<String> = wordings
                .examples
                .iter()
                .map(|example| {
                    about(&wordings.example, &example.pair).replace("{query}", &example.query)
                })
                .collect();
            lines.push(about(&wordings.begun, &draft.pair));
            Input::Text(lines.join("\n"))
        }
    }
}

/// What a checkpoint drafted, where that is a request: a line, whole, neither short nor long, that names neither value, and nothing around it.
pub(crate) fn request(so_far: &Readings, draft: &Draft) -> Option<String> {
    let reading = so_far.round(DRAFTS)?.get(&draft_id(draft))?;
    let written = reading.generation()?;
    let is_whole = matches!(written.finish, Finish::EndOfText | Finish::StopText);
    let text = written
        .text
        .trim()
        .trim_matches(['"', '“', '”', '„'])
        .trim();
    let ends = text.ends_with(['?', '.', '!']);
    let has_marks = text.contains(['\n', '{', '}', '<', '>', '*', '#']);
    let words = text.split_whitespace().count();
    let lower = text.to_lowercase();
    let names_one = draft
        .pair
        .iter()
        .any(|value| lower.contains(&value.to_lowercase()));
    let is_request = is_whole && ends && !has_marks && !names_one && WORDS.contains(&words);
    is_request.then(|| text.to_owned())
}

/// What raters are asked about each request; before anything was drafted, about the known ones.
pub(crate) fn ratings(data: &Data, rater: PromptStyle, so_far: &Readings) -> Vec<Rating> {
    let drafts = so_far.round(DRAFTS);
    let mut ratings = Vec::new();
    // The known ones stand with the first draft, so that shards share none.
    let is_first =
        |draft: &Draft| drafts.is_none_or(|drafts| drafts.contains_key(&draft_id(draft)));
    if data.drafts.first().is_some_and(is_first) {
        for (at, Known { query, pair, other }) in data.known.iter().enumerate() {
            let name = known_name(at);
            ratings.push(seen(
                data,
                &name,
                query,
                [&pair[0], &pair[1], other],
                rater.form,
            ));
        }
    }
    for draft in &data.drafts {
        if let Some(query) = request(so_far, draft) {
            let values = [&draft.pair[0], &draft.pair[1], &draft.other];
            ratings.push(seen(data, &draft.name, &query, values, rater.form));
        }
    }
    ratings
}

fn seen(data: &Data, name: &str, query: &str, values: [&String; 3], form: Form) -> Rating {
    let wordings = &data.wordings;
    let mut prompts = Vec::new();
    for value in values {
        for order in 0..turns(wordings.choices.len()) {
            let text = wordings.matters.replace("{v}", value);
            let text = text.replace("{options}", &listed(&wordings.choices, order));
            let text = text.replace("{query}", query);
            prompts.push(Prompt {
                id: seen_id(name, value, order),
                input: match form {
                    Form::Chat => Input::Conversation(vec![Message::new(Role::User, text)]),
                    Form::Completion => Input::Text(format!("{text}\n")),
                },
                reads: letters(wordings.choices.len()),
            });
        }
    }
    Rating {
        text: name.to_owned(),
        prompts,
    }
}
