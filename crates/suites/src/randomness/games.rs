//! Rock-paper-scissors against an opponent who knows the checkpoint's distribution.
//!
//! The prompt tells the checkpoint's own moves alone. The opponent answers each round with the best answer to the distribution
//! that was read, and enters in the payoff only; so a round has three branches, and the tree of moves is finite.

use super::languages::{ByLanguage, by_wording};
use super::name::{self, Place, places};
use super::options::{Data, Options};
use super::outcome::{Outcome, outcome};
use super::plan::{PREFILLED_LEADS, said, wordings};
use super::sequences::begun;
use super::sets::{Kind, end, spellings};
use super::wordings::{Wording, Wordings};
use crate::shared::draw;
use crate::shared::estimate::estimate;
use crate::{Readings, Settings, SuiteError};
use concord_findings::{Estimate, Verdict};
use concord_readings::{Form, Prompt, Read, Strings};
use concord_stats::exploitability;
use serde::Serialize;
use std::collections::BTreeSet;

/// What moves are called in names of prompts and in findings.
pub(crate) const MOVES: [&str; 3] = ["rock", "paper", "scissors"];

/// What a checkpoint's play is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GameFindings {
    /// The valid mass; mean over wordings of that of their rounds, by how probable each history is.
    pub mass: Estimate,
    /// Whether anything may be shown.
    pub verdict: Verdict,
    /// What was found, where it may.
    pub found: Option<GameNumbers>,
}

/// What was found in games. The unit is the wording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GameNumbers {
    /// The first move.
    pub opening: Vec<f64>,
    /// A move of any round.
    pub moves: Vec<f64>,
    /// Each round.
    pub rounds: Vec<RoundFindings>,
    /// What the best opponent wins a round on average.
    pub exploitability: Estimate,
    /// The checkpoint's score after all rounds; 0 where it cannot be exploited.
    pub net: Estimate,
    /// Each wording: language, wording, and what the opponent wins in each round.
    pub each: Vec<(String, usize, Vec<f64>)>,
}

/// A round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundFindings {
    /// Its number, from 1 on.
    pub round: usize,
    /// Whether it is an expectation over all histories; otherwise over sampled ones.
    pub is_exact: bool,
    /// What the best opponent wins in it.
    pub exploitability: Estimate,
    /// The checkpoint's score after it.
    pub net: f64,
}

fn game_places<'a>(data: &Data, options: &'a Options) -> Vec<Place<'a>> {
    places(data, &options.languages, |wordings| match options.rounds {
        0 => 0,
        _ => options.limited(wordings.rock_paper_scissors.wordings.len()),
    })
}

fn spelt(wordings: &Wordings) -> Vec<Vec<String>> {
    let words = wordings.rock_paper_scissors.words.iter();
    words.map(|word| spellings(word, Kind::Choice)).collect()
}

fn id(place: Place<'_>, history: &[usize]) -> String {
    let history: Vec<&str> = history.iter().map(|at| MOVES[*at]).collect();
    name::next_move(place, &history)
}

/// What asks for the next move after others.
fn prompt(
    place: Place<'_>,
    history: &[usize],
    data: &Data,
    form: Form,
) -> Result<Option<Prompt>, SuiteError> {
    let wordings = wordings(data, place.language)?;
    let game = &wordings.rock_paper_scissors;
    let Some(Wording(ask, carrier)) = game.wordings.get(place.wording - 1) else {
        return Ok(None);
    };
    let words: Vec<&str> = history.iter().map(|at| game.words[*at].as_str()).collect();
    let begun = begun(carrier, &words, wordings);
    let all: Vec<&str> = game.words.iter().map(String::as_str).collect();
    Ok(Some(Prompt {
        id: id(place, history),
        input: said(wordings, form, place, ask, Some(&begun)),
        reads: vec![Read::Strings(Strings {
            texts: spelt(wordings).concat(),
            leads: PREFILLED_LEADS.map(str::to_owned).into(),
            end: end(&all),
        })],
    }))
}

/// All histories of a length.
fn histories(length: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..length {
        let longer = all.iter().flat_map(|history: &Vec<usize>| {
            (0..MOVES.len()).map(|next| [history.as_slice(), &[next]].concat())
        });
        all = longer.collect();
    }
    all
}

/// Every node of the tree of moves.
pub(crate) fn plan_tree(
    data: &Data,
    options: &Options,
    form: Form,
) -> Result<Vec<Prompt>, SuiteError> {
    let mut prompts = Vec::new();
    for place in game_places(data, options) {
        for length in 0..=options.tree_depth() {
            for history in histories(length) {
                prompts.extend(prompt(place, &history, data, form)?);
            }
        }
    }
    Ok(prompts)
}

/// A round after the tree, for sampled histories.
pub(crate) fn plan_sampled(
    round: usize,
    data: &Data,
    options: &Options,
    form: Form,
    so_far: &Readings,
) -> Result<Vec<Prompt>, SuiteError> {
    let mut prompts = Vec::new();
    if round > options.rounds {
        return Ok(prompts);
    }
    for place in game_places(data, options) {
        let spelt = spelt(wordings(data, place.language)?);
        let mut asked = BTreeSet::new();
        for sample in 0..options.sequences {
            let history = sampled(place, sample, round - 1, &spelt, options, so_far)?;
            if asked.insert(history.clone()) {
                prompts.extend(prompt(place, &history, data, form)?);
            }
        }
    }
    Ok(prompts)
}

/// What was read after some moves.
fn read(
    place: Place<'_>,
    history: &[usize],
    spelt: &[Vec<String>],
    options: &Options,
    readings: &Readings,
) -> Result<Outcome, SuiteError> {
    let round = if history.len() <= options.tree_depth() {
        readings.round(name::GAMES)
    } else {
        readings.round(&name::game_round(history.len() + 1))
    };
    outcome(round, &id(place, history), spelt)
}

/// The first moves of a sampled game.
fn sampled(
    place: Place<'_>,
    sample: usize,
    count: usize,
    spelt: &[Vec<String>],
    options: &Options,
    readings: &Readings,
) -> Result<Vec<usize>, SuiteError> {
    let numbers = [place.wording, sample].map(|number| number.to_string());
    let mut history = Vec::with_capacity(count);
    while history.len() < count {
        let next = read(place, &history, spelt, options, readings)?;
        let round = (history.len() + 1).to_string();
        let names = ["game", place.language, &numbers[0], &numbers[1], &round];
        history.push(draw::pick(&next.p, draw::unit(options.seed, &names)));
    }
    Ok(history)
}

/// What one wording's rounds have.
#[derive(Default)]
struct Played {
    lost: Vec<f64>,
    masses: Vec<f64>,
    /// The distribution of each round's move.
    moves: Vec<[f64; 3]>,
}

impl Played {
    /// Adds a round: what was read after each history, with the history's share.
    fn push<'a>(&mut self, nodes: impl IntoIterator<Item = (&'a Outcome, f64)>) {
        let (mut lost, mut mass, mut moves) = (0.0, 0.0, [0.0; 3]);
        for (node, share) in nodes {
            let mut p = [0.0; 3];
            for (at, p) in p.iter_mut().enumerate() {
                *p = node.p.get(at).copied().unwrap_or(0.0);
                moves[at] += share * *p;
            }
            lost += share * exploitability(p);
            mass += share * node.mass;
        }
        self.lost.push(lost);
        self.masses.push(mass);
        self.moves.push(moves);
    }
}

fn played(
    place: Place<'_>,
    data: &Data,
    options: &Options,
    readings: &Readings,
) -> Result<Played, SuiteError> {
    let spelt = spelt(wordings(data, place.language)?);
    let mut played = Played::default();
    let mut level: Vec<(Vec<usize>, f64)> = vec![(Vec::new(), 1.0)];
    for _ in 0..=options.tree_depth() {
        let mut nodes = Vec::with_capacity(level.len());
        for (history, share) in &level {
            nodes.push((read(place, history, &spelt, options, readings)?, *share));
        }
        played.push(nodes.iter().map(|(node, share)| (node, *share)));
        let next = level
            .iter()
            .zip(&nodes)
            .flat_map(|((history, share), (node, _))| {
                let next = node.p.iter().enumerate();
                next.map(move |(at, p)| ([history.as_slice(), &[at]].concat(), share * p))
            });
        level = next.collect();
    }
    if options.sequences > 0 {
        let share = 1.0 / options.sequences as f64;
        for round in options.tree_depth() + 2..=options.rounds {
            let mut nodes = Vec::with_capacity(options.sequences);
            for sample in 0..options.sequences {
                let history = sampled(place, sample, round - 1, &spelt, options, readings)?;
                nodes.push(read(place, &history, &spelt, options, readings)?);
            }
            played.push(nodes.iter().map(|node| (node, share)));
        }
    }
    Ok(played)
}

/// Measures the games of a checkpoint.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    readings: &Readings,
) -> Result<Option<GameFindings>, SuiteError> {
    let places = game_places(data, options);
    let all = places
        .iter()
        .map(|place| played(*place, data, options, readings));
    let all: Vec<Played> = all.collect::<Result<_, _>>()?;
    if all.is_empty() {
        return Ok(None);
    }
    let mean = |of: &[f64]| concord_stats::mean(of);
    let masses: Vec<(&str, usize, f64)> = places
        .iter()
        .zip(&all)
        .map(|(place, played)| (place.language, place.wording, mean(&played.masses)))
        .collect();
    let ByLanguage {
        mass,
        verdict,
        shown,
    } = ByLanguage::new(&masses, options.least_mass, settings);
    let (places, all): (Vec<Place<'_>>, Vec<Played>) = places
        .into_iter()
        .zip(all)
        .filter(|(place, _)| shown.contains(place.language))
        .unzip();
    let over = |of: &dyn Fn(&Played) -> f64| {
        let values = places.iter().zip(&all);
        let values = by_wording(values.map(|(place, played)| (place.wording, of(played))));
        estimate(&values, "wording", settings)
    };
    let found = verdict.is_measurable().then(|| {
        let mut net = 0.0;
        let rounds = all.first().map_or(0, |played| played.lost.len());
        let rounds = (0..rounds).map(|at| {
            let lost = over(&|played| played.lost[at]);
            net -= lost.value;
            RoundFindings {
                round: at + 1,
                is_exact: at <= options.tree_depth(),
                exploitability: lost,
                net,
            }
        });
        let share = |of: &dyn Fn(&Played) -> f64| mean(&all.iter().map(of).collect::<Vec<_>>());
        let opening = |at: usize| share(&|played| played.moves[0][at]);
        let any = |at: usize| {
            share(&|played| mean(&played.moves.iter().map(|of| of[at]).collect::<Vec<_>>()))
        };
        let each = places.iter().zip(&all).map(|(place, played)| {
            (
                place.language.to_owned(),
                place.wording,
                played.lost.clone(),
            )
        });
        GameNumbers {
            rounds: rounds.collect(),
            opening: (0..MOVES.len()).map(opening).collect(),
            moves: (0..MOVES.len()).map(any).collect(),
            exploitability: over(&|played| mean(&played.lost)),
            net: over(&|played| -played.lost.iter().sum::<f64>()),
            each: each.collect(),
        }
    });
    Ok(Some(GameFindings {
        mass,
        verdict,
        found,
    }))
}
