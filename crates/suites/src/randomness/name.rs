//! What prompts are called.

use super::options::Data;
use concord_readings::PromptKey;
use serde::Serialize;

/// The suite.
pub const SUITE: &str = "randomness";

/// Whether the answer is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// It is not.
    Free,
    /// It is begun, so that the choice comes next.
    Prefilled,
}

/// Both, in the order in which they are asked and shown.
pub const CARRIERS: [Carrier; 2] = [Carrier::Free, Carrier::Prefilled];

impl Carrier {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Prefilled => "prefilled",
        }
    }
}

/// Where the numbers before the next one come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Histories {
    /// From the checkpoint itself, drawn from what it said.
    Own,
    /// From independent uniform draws.
    Uniform,
}

impl Histories {
    /// What they are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Uniform => "uniform",
        }
    }
}

/// The round of choices from sets.
pub(crate) const NUMBERS: &str = "numbers";
/// The round of labels.
pub(crate) const PLACEBO: &str = "placebo";
/// The round of sequences after uniform histories.
pub(crate) const UNIFORM: &str = "uniform";
/// The round of games.
pub(crate) const GAMES: &str = "games";
/// The round of poems.
pub(crate) const POEMS: &str = "poems";

/// The round of a position of the checkpoint's own sequences, from 1 on.
pub(crate) fn own_round(position: usize) -> String {
    format!("own-{position}")
}

/// The round of a sampled round of rock-paper-scissors.
pub(crate) fn game_round(round: usize) -> String {
    format!("game-{round}")
}

/// A wording of a language, by its number from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    pub language: &'a str,
    pub wording: usize,
}

/// The places of everything that has so many wordings in a language.
pub(crate) fn places<'a>(
    data: &Data,
    languages: &'a [String],
    count: impl Fn(&super::wordings::Wordings) -> usize,
) -> Vec<Place<'a>> {
    let places = languages.iter().flat_map(|language| {
        let count = data.wordings.get(language).map_or(0, &count);
        (1..=count).map(move |wording| Place { language, wording })
    });
    places.collect()
}

fn key(item: impl Into<String>, place: Place<'_>) -> PromptKey {
    PromptKey::new(SUITE, item)
        .with("language", place.language)
        .with("wording", place.wording.to_string())
}

/// A choice from a set.
pub(crate) fn choice(item: &str, set: &str, place: Place<'_>, carrier: Carrier) -> String {
    let key = key(format!("{item}/{set}"), place);
    key.with("carrier", carrier.name()).to_string()
}

/// The label of a number, under a relabelling and a shift of it.
pub(crate) fn label(
    set: &str,
    place: Place<'_>,
    carrier: Carrier,
    [relabelling, shift]: [usize; 2],
) -> String {
    key(format!("placebo/{set}"), place)
        .with("carrier", carrier.name())
        .with("relabelling", relabelling.to_string())
        .with("shift", shift.to_string())
        .to_string()
}

/// The next number after others, by their names.
pub(crate) fn next_number(
    set: &str,
    place: Place<'_>,
    histories: Histories,
    history: &[&str],
) -> String {
    key(format!("sequences/{set}"), place)
        .with("histories", histories.name())
        .with("history", history.join(","))
        .to_string()
}

/// The next move after others.
pub(crate) fn next_move(place: Place<'_>, history: &[&str]) -> String {
    let key = key("games/rock paper scissors", place);
    key.with("history", history.join(",")).to_string()
}

/// A poem.
pub(crate) fn poem(place: Place<'_>, sample: usize) -> String {
    let key = key("poems", place);
    key.with("sample", sample.to_string()).to_string()
}
