//! What is asked, stage by stage.
//!
//! The first stage asks everything that depends on no answer, and the first number of each sequence. Each stage after it asks
//! the next number, and the next sampled round of the game. The last asks for poems.

use super::name::{self, CARRIERS, Carrier, Place, places};
use super::options::{Data, Options};
use super::sets::Set;
use super::wordings::{Wording, Wordings, fill};
use super::{games, placebo, sequences};
use crate::{Readings, Round, Step, SuiteError};
use concord_readings::{Form, Input, Message, Prompt, Read, Role, Sampling};

/// What may stand before a choice where nothing leads up to it.
pub(crate) const FREE_LEADS: [&str; 4] = ["", " ", "\n", "**"];
/// What may stand before a choice after the beginning of an answer.
pub(crate) const PREFILLED_LEADS: [&str; 2] = ["", " "];
/// The most tokens of a poem.
const POEM_TOKENS: usize = 120;

pub(crate) fn leads(carrier: Carrier) -> &'static [&'static str] {
    match carrier {
        Carrier::Free => &FREE_LEADS,
        Carrier::Prefilled => &PREFILLED_LEADS,
    }
}

/// The sentences of a language.
pub(crate) fn wordings<'a>(data: &'a Data, language: &str) -> Result<&'a Wordings, SuiteError> {
    let found = data.wordings.get(language);
    found.ok_or_else(|| {
        let message = format!("there are no wordings in `{language}`");
        SuiteError::data(message, "the run's data are damaged; repeat the run")
    })
}

/// What is said: a question, and the beginning of its answer where it is begun.
pub(crate) fn said(
    wordings: &Wordings,
    form: Form,
    place: Place<'_>,
    ask: &str,
    begun: Option<&str>,
) -> Input {
    let messages = vec![Message::new(Role::User, ask)];
    match (form, begun) {
        (Form::Chat, None) => Input::Conversation(messages),
        (Form::Chat, Some(begun)) => Input::Prefilled {
            messages,
            prefill: begun.to_owned(),
        },
        (Form::Completion, begun) => {
            let frame = place.wording.saturating_sub(1) % wordings.frames.len().max(1);
            let frame = wordings.frames.get(frame).map(|frame| frame.text.as_str());
            let mut text = fill(frame.unwrap_or("{ask}"), &[("ask", ask)]);
            if let Some(begun) = begun {
                text.push_str(&wordings.between);
                text.push_str(begun);
            }
            Input::Text(text)
        }
    }
}

/// What asks for a choice from a set. Members are shown turned on by the wording's number, so that over wordings each stands in
/// each place.
pub(crate) fn ask_for(set: &Set, wordings: &Wordings, place: Place<'_>, ask: &str) -> String {
    let mut words = set.words(place.language);
    let turn = place.wording.saturating_sub(1) % words.len().max(1);
    let (low, high) = (
        words.first().copied().unwrap_or_default().to_owned(),
        words.last().copied().unwrap_or_default().to_owned(),
    );
    words.rotate_left(turn);
    let list = wordings.list(&words);
    let values = [
        ("low", low.as_str()),
        ("high", high.as_str()),
        ("first", words.first().copied().unwrap_or_default()),
        ("second", words.get(1).copied().unwrap_or_default()),
        ("members", list.as_str()),
    ];
    fill(ask, &values)
}

/// The places in which a set is asked about.
pub(crate) fn set_places<'a>(data: &Data, options: &'a Options, set: &Set) -> Vec<Place<'a>> {
    places(data, &options.languages, |wordings| {
        options.limited(wordings.of(set.kind).len())
    })
}

/// Choices from sets, under an item.
fn choices(
    item: &str,
    sets: &[&Set],
    data: &Data,
    options: &Options,
    form: Form,
) -> Result<Vec<Prompt>, SuiteError> {
    let mut prompts = Vec::new();
    for set in sets {
        for place in set_places(data, options, set) {
            let wordings = wordings(data, place.language)?;
            let Some(Wording(ask, begun)) = wordings.of(set.kind).get(place.wording - 1) else {
                continue;
            };
            let ask = ask_for(set, wordings, place, ask);
            for carrier in CARRIERS {
                let begun = (carrier == Carrier::Prefilled).then_some(begun.as_str());
                prompts.push(Prompt {
                    id: name::choice(item, &set.name, place, carrier),
                    input: said(wordings, form, place, &ask, begun),
                    reads: vec![Read::Strings(set.read(place.language, leads(carrier)))],
                });
            }
        }
    }
    Ok(prompts)
}

/// The places of poems: a subject each.
pub(crate) fn poem_places<'a>(data: &Data, options: &'a Options) -> Vec<Place<'a>> {
    places(data, &options.languages, |wordings| {
        options.limited(wordings.poems.len())
    })
}

/// The poems that are written, each by a seed of its own.
fn poems(data: &Data, options: &Options, form: Form) -> Result<Vec<Prompt>, SuiteError> {
    let mut prompts = Vec::new();
    for place in poem_places(data, options) {
        let wordings = wordings(data, place.language)?;
        let Some(ask) = wordings.poems.get(place.wording - 1) else {
            continue;
        };
        // A base checkpoint goes on with the next question when it has answered.
        let stop = match form {
            Form::Chat => Vec::new(),
            Form::Completion => {
                let frame = wordings
                    .frames
                    .get((place.wording - 1) % wordings.frames.len().max(1));
                frame.into_iter().map(|frame| frame.stop.clone()).collect()
            }
        };
        for sample in 0..options.poems {
            prompts.push(Prompt {
                id: name::poem(place, sample),
                input: said(wordings, form, place, ask, None),
                reads: vec![Read::Generation(Sampling {
                    max_tokens: POEM_TOKENS,
                    temperature: 1.0,
                    top_p: 1.0,
                    seed: options.seed.wrapping_add(sample as u64),
                    stop: stop.clone(),
                })],
            });
        }
    }
    Ok(prompts)
}

fn round(name: impl Into<String>, prompts: Vec<Prompt>) -> Round {
    Round {
        name: name.into(),
        prompts,
    }
}

/// The rounds of a stage, from 1 on; those that ask nothing are left out.
fn stage(
    number: usize,
    data: &Data,
    options: &Options,
    form: Form,
    so_far: &Readings,
) -> Result<Vec<Round>, SuiteError> {
    let mut rounds = Vec::new();
    if number == 1 {
        let sets: Vec<&Set> = data.sets.iter().collect();
        rounds.push(round(
            name::NUMBERS,
            choices("numbers", &sets, data, options, form)?,
        ));
        rounds.push(round(name::PLACEBO, placebo::plan(data, options, form)?));
        rounds.push(round(
            name::UNIFORM,
            sequences::plan_uniform(data, options, form)?,
        ));
        let hiding: Vec<&Set> = data.hiding.iter().collect();
        let mut games = games::plan_tree(data, options, form)?;
        games.extend(choices("games", &hiding, data, options, form)?);
        rounds.push(round(name::GAMES, games));
    } else {
        let game = options.tree_depth() + number;
        let prompts = games::plan_sampled(game, data, options, form, so_far)?;
        rounds.push(round(name::game_round(game), prompts));
    }
    let own = sequences::plan_own(number, data, options, form, so_far)?;
    rounds.push(round(name::own_round(number), own));
    rounds.retain(|round| !round.prompts.is_empty());
    Ok(rounds)
}

/// Whether everything that rounds ask was read.
fn is_read(rounds: &[Round], so_far: &Readings) -> bool {
    rounds.iter().all(|round| {
        let read = so_far.round(&round.name);
        let has = |prompt: &Prompt| read.is_some_and(|read| read.contains_key(&prompt.id));
        round.prompts.iter().all(has)
    })
}

/// What to do next.
///
/// # Errors
/// [`SuiteError::Readings`] where readings are of something else.
pub(crate) fn next(
    data: &Data,
    options: &Options,
    form: Form,
    so_far: &Readings,
) -> Result<Step, SuiteError> {
    let sampled = options.rounds.saturating_sub(options.tree_depth());
    for number in 1..=sequences::LENGTH.max(sampled) {
        let rounds = stage(number, data, options, form, so_far)?;
        if !is_read(&rounds, so_far) {
            return Ok(Step::Ask(rounds));
        }
    }
    let poems = round(name::POEMS, poems(data, options, form)?);
    if poems.prompts.is_empty() || is_read(std::slice::from_ref(&poems), so_far) {
        return Ok(Step::Done);
    }
    Ok(Step::Ask(vec![poems]))
}
