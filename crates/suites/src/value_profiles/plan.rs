//! Every prompt.

use super::SUITE;
use super::design::{Profile, profiles, run_name};
use super::options::{Data, Options, Wordings};
use crate::shared::requests::Pair;
use crate::{Readings, Round, Step};
use concord_readings::{Form, Input, Message, Prompt, PromptKey, PromptStyle, Read, Role};

/// The round of requests, and that of portraits.
pub(crate) const REQUESTS: &str = "requests";
pub(crate) const PORTRAITS: &str = "portraits";

/// The name of a request under a profile.
pub(crate) fn id(
    (category, number): (&str, usize),
    twin: bool,
    profile: &str,
    then: Option<&str>,
) -> String {
    let key = PromptKey::new(SUITE, format!("{category}/{number}")).with("profile", profile);
    let key = if twin { key.with("asked", "twin") } else { key };
    match then {
        Some(then) => key.with("then", then).to_string(),
        None => key.to_string(),
    }
}

/// The name of a portrait under a run of the design, with the answers in one of two orders.
pub(crate) fn portrait_id(value: &str, number: usize, run: usize, order: usize) -> String {
    PromptKey::new(SUITE, format!("portrait {value}/{number}"))
        .with("profile", run_name(run))
        .with("order", (order + 1).to_string())
        .to_string()
}

/// A score as it is written: without decimals where it has none.
fn written(score: f64) -> String {
    if (score - score.round()).abs() < 1e-9 {
        format!("{score:.0}")
    } else {
        format!("{score:.1}")
    }
}

/// What a profile says; empty for none.
fn said(wordings: &Wordings, profile: &Profile) -> String {
    if profile.lines.is_empty() {
        return String::new();
    }
    let mut lines = vec![wordings.wrapper.clone()];
    lines.extend(profile.lines.iter().map(|(name, score)| {
        let line = wordings.line.replace("{name}", name);
        line.replace("{score}", &written(*score))
    }));
    lines.push(wordings.after.clone());
    if let Some((_, then)) = &profile.then {
        lines.push(then.clone());
    }
    lines.join("\n")
}

fn input(form: Form, before: &str, ask: &str) -> Input {
    let ask_alone = Message::new(Role::User, ask);
    match (form, before.is_empty()) {
        (Form::Chat, true) => Input::Conversation(vec![ask_alone]),
        (Form::Chat, false) => {
            Input::Conversation(vec![Message::new(Role::System, before), ask_alone])
        }
        (Form::Completion, true) => Input::Text(format!("Request: {ask}\nAnswer:")),
        (Form::Completion, false) => Input::Text(format!("{before}\n\nRequest: {ask}\nAnswer:")),
    }
}

/// A beginning of an answer, as it stands after a prompt.
pub(crate) fn begun(lead: &str, beginning: &str) -> String {
    format!("{lead}{beginning}")
}

/// The beginnings of answers, complying ones first.
fn beginnings(wordings: &Wordings, lead: &str) -> Vec<Read> {
    let texts = wordings.complying.iter().chain(&wordings.refusing);
    let read = texts.map(|text| Read::Continuation {
        text: begun(lead, text),
    });
    read.collect()
}

/// Every request, with its category and number.
pub(crate) fn requests(data: &Data) -> impl Iterator<Item = ((&str, usize), &Pair)> {
    data.categories.iter().flat_map(|category| {
        let numbered = (1..).zip(&category.requests);
        numbered.map(|(number, pair)| ((category.name.as_str(), number), pair))
    })
}

/// Whether twins are asked under a profile: those of the design, and what they are compared with.
pub(crate) fn has_twins(profile: &Profile) -> bool {
    let kinds = ["design ", "neutral", "bare"];
    profile.then.is_none() && kinds.iter().any(|kind| profile.name.starts_with(kind))
}

fn request_prompts(data: &Data, options: &Options, style: PromptStyle) -> Vec<Prompt> {
    let wordings = &data.wordings;
    let mut prompts = Vec::new();
    for profile in profiles(data, options) {
        let before = said(wordings, &profile);
        let then = profile.then.as_ref().map(|(name, _)| name.as_str());
        for (name, pair) in requests(data) {
            let twin = pair
                .twin
                .as_ref()
                .filter(|_| options.twins && has_twins(&profile));
            let asked = std::iter::once((false, &pair.ask)).chain(twin.map(|twin| (true, twin)));
            for (is_twin, ask) in asked {
                prompts.push(Prompt {
                    id: id(name, is_twin, &profile.name, then),
                    input: input(style.form, &before, ask),
                    reads: beginnings(wordings, style.lead),
                });
            }
        }
    }
    prompts
}

fn portrait_prompts(data: &Data, options: &Options, form: Form) -> Vec<Prompt> {
    let wordings = &data.wordings;
    let mut prompts = Vec::new();
    let of_design = profiles(data, options).into_iter();
    let of_design = of_design.filter(|profile| profile.name.starts_with("design "));
    for (run, profile) in of_design.enumerate() {
        let before = said(wordings, &profile);
        for value in &wordings.values {
            for (number, portrait) in (1..).zip(&value.portraits) {
                for order in 0..2 {
                    let [like, unlike] = &wordings.like;
                    let (first, second) = if order == 0 {
                        (like, unlike)
                    } else {
                        (unlike, like)
                    };
                    let ask = wordings.portrait.replace("{portrait}", portrait);
                    let ask = ask.replace("{first}", first).replace("{second}", second);
                    prompts.push(Prompt {
                        id: portrait_id(&value.name, number, run, order),
                        input: input(form, &before, &ask),
                        reads: vec![Read::NextToken {
                            labels: ["A", "B"].map(str::to_owned).to_vec(),
                            openings: Vec::new(),
                        }],
                    });
                }
            }
        }
    }
    prompts
}

/// What to do next.
pub(crate) fn next(data: &Data, options: &Options, style: PromptStyle, so_far: &Readings) -> Step {
    if so_far.round(REQUESTS).is_some() && so_far.round(PORTRAITS).is_some() {
        return Step::Done;
    }
    let round = |name: &str, prompts: Vec<Prompt>| Round {
        name: name.to_owned(),
        prompts,
    };
    Step::Ask(vec![
        round(REQUESTS, request_prompts(data, options, style)),
        round(PORTRAITS, portrait_prompts(data, options, style.form)),
    ])
}
