//! Sequences of ten numbers: after the checkpoint's own numbers, and after uniform ones.
//!
//! A history is drawn by the seed; what comes after it is read exactly. Everything that is counted is therefore an expectation
//! over the next number, given the history (Rao and Blackwell), and only histories are sampled.

use super::languages::ByLanguage;
use super::name::{self, Histories, Place, places};
use super::options::{Data, Options};
use super::outcome::{Outcome, outcome};
use super::plan::{FREE_LEADS, PREFILLED_LEADS, ask_for, said, wordings};
use super::sets::Set;
use super::wordings::fill;
use crate::shared::draw;
use crate::shared::estimate::estimate;
use crate::{Readings, Settings, SuiteError};
use concord_findings::{Estimate, Verdict};
use concord_readings::{Form, Prompt, Read};
use concord_stats::{
    adjacent_repeats_under_uniform, distinct_under_uniform, entropy_bits, mean,
    repeats_under_uniform,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// Numbers of a sequence.
pub(crate) const LENGTH: usize = 10;

/// Members of a set by their places in it.
type History = Vec<usize>;

/// What sequences of independent uniform draws have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reference {
    /// The set.
    pub set: String,
    /// The numbers of a sequence.
    pub length: usize,
    /// How many values repeat one before, on average.
    pub repeats: f64,
    /// How many equal the one just before.
    pub adjacent: f64,
    /// How many different ones there are.
    pub distinct: f64,
    /// The probability of each number of repeats, from none on.
    pub distribution: Vec<f64>,
}

/// What a checkpoint's sequences have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SequenceFindings {
    /// Where the numbers before the next one come from.
    pub histories: Histories,
    /// The valid mass; mean over sequences of the mean over positions.
    pub mass: Estimate,
    /// Whether anything may be shown.
    pub verdict: Verdict,
    /// What was found, where it may.
    pub found: Option<SequenceNumbers>,
}

/// What was found in sequences. The unit is the sequence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SequenceNumbers {
    /// How many of ten values are expected to repeat one before.
    pub repeats: Estimate,
    /// How many to equal the one just before.
    pub adjacent: Estimate,
    /// How many different ones there are.
    pub distinct: Option<Estimate>,
    /// How many repeats fewer than uniform draws would have after the same histories: above 0, repeats are avoided.
    pub avoided: Estimate,
    /// How many repeats fewer than there would be if the next number came from the checkpoint's mean distribution over histories
    /// and positions, whatever came before: above 0, repeats are avoided though a number may be preferred.
    pub held_back: Estimate,
    /// How far the next number depends on those before it: what the entropy of its mean distribution over histories exceeds its
    /// mean entropy by, in bits. In expectation not above the mutual information, since only so many histories are seen.
    pub dependence: f64,
    /// The probability of each number of repeats; of the checkpoint's own histories alone.
    pub distribution: Option<Vec<f64>>,
    /// Each sequence: language, wording, and repeats, adjacent repeats, repeats avoided, repeats held back.
    pub each: Vec<(String, usize, [f64; 4])>,
}

/// What uniform draws from the set have that sequences are of.
pub(crate) fn reference(data: &Data, options: &Options) -> Option<Reference> {
    let set = data.numbers().filter(|_| options.sequences > 0)?;
    let values = set.members.len();
    let distinct = distinct_under_uniform(values, LENGTH);
    Some(Reference {
        set: set.name.clone(),
        length: LENGTH,
        repeats: LENGTH as f64 - distinct,
        adjacent: adjacent_repeats_under_uniform(values, LENGTH),
        distinct,
        distribution: repeats_under_uniform(values, LENGTH),
    })
}

fn sequence_places<'a>(data: &Data, options: &'a Options) -> Vec<Place<'a>> {
    places(data, &options.languages, |wordings| {
        options.limited(wordings.sequences.len())
    })
}

fn id(set: &Set, place: Place<'_>, histories: Histories, history: &[usize]) -> String {
    let history: Vec<&str> = history
        .iter()
        .map(|at| set.members[*at].name.as_str())
        .collect();
    name::next_number(&set.name, place, histories, &history)
}

/// What asks for the next number after others.
fn prompt(
    set: &Set,
    place: Place<'_>,
    histories: Histories,
    history: &[usize],
    data: &Data,
    form: Form,
) -> Result<Option<Prompt>, SuiteError> {
    let wordings = wordings(data, place.language)?;
    let Some(wording) = wordings.sequences.get(place.wording - 1) else {
        return Ok(None);
    };
    let words: Vec<&str> = history
        .iter()
        .map(|at| set.members[*at].word(place.language))
        .collect();
    let ask = ask_for(set, wordings, place, &wording.ask);
    let told = match &wording.none {
        Some(none) if words.is_empty() => none.clone(),
        _ => wordings.list(&words),
    };
    let ask = fill(&ask, &[("history", &told)]);
    let carrier = wording.carrier.as_ref();
    let begun = carrier.map(|carrier| begun(carrier, &words, wordings));
    let leads: &[&str] = if begun.is_some() {
        &PREFILLED_LEADS
    } else {
        &FREE_LEADS
    };
    Ok(Some(Prompt {
        id: id(set, place, histories, history),
        input: said(wordings, form, place, &ask, begun.as_deref()),
        reads: vec![Read::Strings(set.read(place.language, leads))],
    }))
}

/// The beginning of an answer that lists words: the next one is to follow.
pub(crate) fn begun(carrier: &str, words: &[&str], wordings: &super::wordings::Wordings) -> String {
    if words.is_empty() {
        return carrier.to_owned();
    }
    let list = wordings.list(words);
    let comma = wordings.comma.trim_end();
    format!("{carrier}{}{list}{comma}", wordings.between)
}

/// A uniform history of nine.
fn uniform_history(set: &Set, place: Place<'_>, sequence: usize, options: &Options) -> History {
    let numbers = [place.wording, sequence].map(|number| number.to_string());
    let draw = |position: usize| {
        let position = position.to_string();
        let names = [
            "uniform",
            &set.name,
            place.language,
            &numbers[0],
            &numbers[1],
            &position,
        ];
        draw::below(set.members.len(), draw::unit(options.seed, &names))
    };
    (0..LENGTH - 1).map(draw).collect()
}

/// Every position after uniform histories.
pub(crate) fn plan_uniform(
    data: &Data,
    options: &Options,
    form: Form,
) -> Result<Vec<Prompt>, SuiteError> {
    let mut prompts = Vec::new();
    let Some(set) = data.numbers() else {
        return Ok(prompts);
    };
    for place in sequence_places(data, options) {
        let mut asked: BTreeSet<History> = BTreeSet::new();
        for sequence in 0..options.sequences {
            let history = uniform_history(set, place, sequence, options);
            for length in 0..LENGTH {
                if asked.insert(history[..length].to_vec()) {
                    let of = Histories::Uniform;
                    prompts.extend(prompt(set, place, of, &history[..length], data, form)?);
                }
            }
        }
    }
    Ok(prompts)
}

/// A position of the checkpoint's own sequences, from 1 on, whose numbers before are drawn from what was read.
pub(crate) fn plan_own(
    position: usize,
    data: &Data,
    options: &Options,
    form: Form,
    so_far: &Readings,
) -> Result<Vec<Prompt>, SuiteError> {
    let mut prompts = Vec::new();
    let Some(set) = data.numbers().filter(|_| position <= LENGTH) else {
        return Ok(prompts);
    };
    for place in sequence_places(data, options) {
        let mut asked: BTreeSet<History> = BTreeSet::new();
        for sequence in 0..options.sequences {
            let steps = own_steps(set, place, sequence, position - 1, options, so_far)?;
            let history: History = steps.into_iter().map(|(_, drawn)| drawn).collect();
            if asked.insert(history.clone()) {
                prompts.extend(prompt(set, place, Histories::Own, &history, data, form)?);
            }
        }
    }
    Ok(prompts)
}

/// The first numbers of a sequence of the checkpoint's own: what was read, and what is drawn from it.
fn own_steps(
    set: &Set,
    place: Place<'_>,
    sequence: usize,
    count: usize,
    options: &Options,
    so_far: &Readings,
) -> Result<Vec<(Outcome, usize)>, SuiteError> {
    let spellings = set.spellings(place.language);
    let numbers = [place.wording, sequence].map(|number| number.to_string());
    let mut steps: Vec<(Outcome, usize)> = Vec::with_capacity(count);
    for position in 1..=count {
        let history: History = steps.iter().map(|(_, drawn)| *drawn).collect();
        let id = id(set, place, Histories::Own, &history);
        let read = outcome(so_far.round(&name::own_round(position)), &id, &spellings)?;
        let position = position.to_string();
        let names = [
            "own",
            &set.name,
            place.language,
            &numbers[0],
            &numbers[1],
            &position,
        ];
        let drawn = draw::pick(&read.p, draw::unit(options.seed, &names));
        steps.push((read, drawn));
    }
    Ok(steps)
}

/// All positions of a sequence: what was read, and the numbers that came before it.
fn steps(
    set: &Set,
    place: Place<'_>,
    histories: Histories,
    sequence: usize,
    options: &Options,
    readings: &Readings,
) -> Result<(Vec<Outcome>, History), SuiteError> {
    if histories == Histories::Own {
        let steps = own_steps(set, place, sequence, LENGTH, options, readings)?;
        return Ok(steps.into_iter().unzip());
    }
    let history = uniform_history(set, place, sequence, options);
    let spellings = set.spellings(place.language);
    let read = (0..LENGTH).map(|length| {
        let id = id(set, place, histories, &history[..length]);
        outcome(readings.round(name::UNIFORM), &id, &spellings)
    });
    Ok((read.collect::<Result<_, _>>()?, history))
}

/// What one sequence has, in expectation at each position.
struct Counted {
    repeats: f64,
    adjacent: f64,
    avoided: f64,
    held_back: f64,
    mass: f64,
    /// Repeats among the numbers before the last, and the probability that the last is one.
    last: (usize, f64),
}

/// `middle` is the mean distribution over histories and positions.
fn counted(read: &[Outcome], history: &[usize], middle: &[f64]) -> Counted {
    let mut of = Counted {
        repeats: 0.0,
        adjacent: 0.0,
        avoided: 0.0,
        held_back: 0.0,
        mass: mean(&read.iter().map(|read| read.mass).collect::<Vec<_>>()),
        last: (0, 0.0),
    };
    for (length, read) in read.iter().enumerate().skip(1) {
        let before: BTreeSet<usize> = history[..length].iter().copied().collect();
        let again: f64 = before.iter().map(|at| read.p[*at]).sum();
        let uniform = before.len() as f64 / read.p.len() as f64;
        of.repeats += again;
        of.adjacent += read.p[history[length - 1]];
        of.avoided += uniform - again;
        of.held_back += before.iter().map(|at| middle[*at]).sum::<f64>() - again;
        of.last = (length - before.len(), again);
    }
    of
}

/// Measures the sequences of a checkpoint, by kind of history.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    readings: &Readings,
) -> Result<Vec<SequenceFindings>, SuiteError> {
    let Some(set) = data.numbers().filter(|_| options.sequences > 0) else {
        return Ok(Vec::new());
    };
    let kinds = [Histories::Own, Histories::Uniform].into_iter();
    kinds
        .map(|histories| measure_kind(set, histories, data, options, settings, readings))
        .collect()
}

fn measure_kind(
    set: &Set,
    histories: Histories,
    data: &Data,
    options: &Options,
    settings: Settings,
    readings: &Readings,
) -> Result<SequenceFindings, SuiteError> {
    let mut all_read = Vec::new();
    for place in sequence_places(data, options) {
        let all = (0..options.sequences)
            .map(|sequence| steps(set, place, histories, sequence, options, readings));
        all_read.push((place, all.collect::<Result<Vec<_>, _>>()?));
    }
    let massed = all_read.iter().map(|(place, all)| {
        let masses = all
            .iter()
            .flat_map(|(read, _)| read.iter().map(|read| read.mass));
        (
            place.language,
            place.wording,
            mean(&masses.collect::<Vec<_>>()),
        )
    });
    let massed: Vec<(&str, usize, f64)> = massed.collect();
    let by_language = ByLanguage::new(&massed, options.least_mass, settings);
    let any = !by_language.shown.is_empty();
    all_read.retain(|(place, _)| !any || by_language.shows(place.language));

    let mut each = Vec::new();
    let (mut masses, mut distinct, mut dependence) = (Vec::new(), Vec::new(), Vec::new());
    let mut distribution = [0.0; LENGTH + 1];
    for (place, all) in &all_read {
        let read: Vec<&[Outcome]> = all.iter().map(|(read, _)| read.as_slice()).collect();
        let after_first = read.iter().flat_map(|read| read.iter().skip(1));
        let middle = middle(after_first, set.members.len());
        for (read, history) in all {
            let of = counted(read, history, &middle);
            let values = [of.repeats, of.adjacent, of.avoided, of.held_back];
            each.push((place.language.to_owned(), place.wording, values));
            masses.push(of.mass);
            distinct.push(LENGTH as f64 - of.repeats);
            let (repeats, again) = of.last;
            distribution[repeats] += 1.0 - again;
            distribution[repeats + 1] += again;
        }
        dependence.push(dependence_on_history(&read));
    }
    let total: f64 = distribution.iter().sum();
    let shares = distribution.iter().map(|p| p / total).collect();
    let mass = estimate(&masses, "sequence", settings);
    let verdict = by_language.verdict;
    let column = |at: usize| {
        let values: Vec<f64> = each.iter().map(|(_, _, values)| values[at]).collect();
        estimate(&values, "sequence", settings)
    };
    let found = verdict.is_measurable().then(|| SequenceNumbers {
        repeats: column(0),
        adjacent: column(1),
        avoided: column(2),
        held_back: column(3),
        // Numbers that come next after uniform histories are of no one sequence.
        distinct: (histories == Histories::Own).then(|| estimate(&distinct, "sequence", settings)),
        dependence: mean(&dependence),
        distribution: (histories == Histories::Own).then_some(shares),
        each: each.clone(),
    });
    Ok(SequenceFindings {
        histories,
        mass,
        verdict,
        found,
    })
}

/// The mean of distributions over so many members.
fn middle<'a>(outcomes: impl Iterator<Item = &'a Outcome> + Clone, members: usize) -> Vec<f64> {
    let count = outcomes.clone().count().max(1) as f64;
    let mut middle = vec![0.0; members];
    for outcome in outcomes {
        for (middle, p) in middle.iter_mut().zip(&outcome.p) {
            *middle += p / count;
        }
    }
    middle
}

/// Mean over positions after the first of what the entropy of the mean distribution exceeds the mean entropy by, in bits.
fn dependence_on_history(sequences: &[&[Outcome]]) -> f64 {
    let members = sequences.first().map_or(0, |sequence| sequence[0].p.len());
    let excess = (1..LENGTH).map(|position| {
        let at_position = sequences.iter().map(|sequence| &sequence[position]);
        let entropies: Vec<f64> = at_position
            .clone()
            .map(|read| entropy_bits(&read.p))
            .collect();
        (entropy_bits(&middle(at_position, members)) - mean(&entropies)).max(0.0)
    });
    mean(&excess.collect::<Vec<_>>())
}
