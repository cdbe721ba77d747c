//! What raters make of written answers.

use super::data::{Data, Options, POSITIONS};
use super::disagreement::{Standing, disagreement};
use super::findings::{CheckpointFindings, ItemFindings, RaterFindings, Written, WrittenFindings};
use super::measure::{MASS, READ_BACK, UNIT, nudge, positions, read_back, unit};
use super::read::{Over, RoundOf, over_orders};
use super::specification::{self, Judged};
use super::written::{self, EMPHASIS, PLACED, REFUSAL, WRITTEN, placed_id, read_id};
use crate::shared::clusters::Clusters;
use crate::shared::ranks::rank_correlation;
use crate::{CheckpointReadings, SELF_RATER, Settings, SuiteError};
use concord_findings::{Estimate, Gate, Verdict};
use concord_stats::mean;
use std::collections::BTreeSet;

/// The least share of requests to which something was written.
const LEAST_WRITTEN: f64 = 0.5;
/// Types of refusal that do not do what was asked: the last ones.
const DECLINING: usize = 3;

/// Measures what every checkpoint wrote.
pub(crate) fn written(
    data: &Data,
    options: &Options,
    settings: Settings,
    (drawn, letters): (&Clusters, &[CheckpointFindings]),
    read: &[CheckpointReadings],
) -> Result<Written, SuiteError> {
    let each = read.iter().zip(letters);
    let found = each.map(|(of, letters)| one(data, options, settings, (drawn, letters), of));
    let found: Vec<(WrittenFindings, Vec<Heard>)> = found.collect::<Result<_, _>>()?;
    let measurable = found.iter().filter(|(of, _)| of.verdict.is_measurable());
    let measurable: Vec<&(WrittenFindings, Vec<Heard>)> = measurable.collect();
    // What two checkpoints' answers are may be compared where the same raters read both: not each its own.
    let shared = if measurable.len() > 1 {
        let names = |heard: &[Heard]| -> BTreeSet<String> {
            let names = heard.iter().map(|rater| rater.name.clone());
            names.filter(|name| name != SELF_RATER).collect()
        };
        let all = measurable.iter().map(|(_, heard)| names(heard));
        all.reduce(|a, b| &a & &b).unwrap_or_default()
    } else {
        BTreeSet::new()
    };
    let is_shared = |rater: &&Heard| shared.contains(&rater.name);
    let by_shared: Vec<Vec<Option<ItemFindings>>> = measurable
        .iter()
        .map(|(_, heard)| together(data, &heard.iter().filter(is_shared).collect::<Vec<_>>()))
        .collect();
    let standing = measurable.iter().zip(&by_shared);
    let standing: Vec<Standing<'_>> = standing
        .map(|((of, _), items)| Standing {
            name: &of.name,
            items: items.iter().map(Option::as_ref).collect(),
        })
        .collect();
    let apart = if shared.is_empty() {
        None
    } else {
        disagreement(data, drawn, &standing)
    };
    // On rules a rater is heard of every checkpoint that is compared, or of none.
    let judges = |rater: &&Heard| {
        let is_it = |other: &Heard| other.name == rater.name && other.judged.is_some();
        measurable.iter().all(|(_, heard)| heard.iter().any(is_it))
    };
    let judged: Vec<(&str, Judged<'_>)> = measurable
        .iter()
        .map(|(of, heard)| {
            let panel = heard
                .iter()
                .filter(|rater| shared.is_empty() || is_shared(rater) && judges(rater));
            let panel =
                panel.filter_map(|rater| Some((rater.name.as_str(), rater.judged.as_deref()?)));
            (of.name.as_str(), panel.collect())
        })
        .collect();
    let apart_from = (!shared.is_empty()).then_some(standing.as_slice());
    let specification = specification::findings(data, drawn, &judged, apart_from);
    Ok(Written {
        shared_raters: shared.into_iter().collect(),
        disagreement: apart,
        specification,
        checkpoints: found.into_iter().map(|(of, _)| of).collect(),
    })
}

/// What a rater that is heard says of a checkpoint's answers, by request.
struct Heard {
    name: String,
    items: Vec<Option<[Over; 2]>>,
    /// Whether they keep the rules; missing where it is not heard of that.
    judged: Option<Vec<Option<usize>>>,
}

/// Where answers stand by all of some raters together.
fn together(data: &Data, raters: &[&Heard]) -> Vec<Option<ItemFindings>> {
    let each = (0..data.items.len()).map(|at| {
        let read = raters.iter().filter_map(|rater| rater.items[at].as_ref());
        let read: Vec<&[Over; 2]> = read.collect();
        (!read.is_empty()).then(|| {
            let both = [0, 1].map(|value| averaged(read.iter().map(|both| &both[value])));
            positions(&both, None)
        })
    });
    each.collect()
}

/// One rater's reading of one checkpoint's answers, by request.
struct Rater<'a> {
    round: RoundOf<'a>,
    items: Vec<Option<[Over; 2]>>,
    judged: Vec<Option<usize>>,
    findings: RaterFindings,
}

fn one(
    data: &Data,
    options: &Options,
    settings: Settings,
    (drawn, letters): (&Clusters, &CheckpointFindings),
    of: &CheckpointReadings,
) -> Result<(WrittenFindings, Vec<Heard>), SuiteError> {
    let missing = || SuiteError::readings(format!("{}: no answers were written", of.name));
    let round = of.readings.round(WRITTEN).ok_or_else(missing)?;
    let texts = data
        .items
        .iter()
        .map(|item| written::text(&of.readings, item).is_some());
    let texts: Vec<bool> = texts.collect();
    let unfinished = data.items.iter().zip(&texts).filter(|(item, is_text)| {
        let reading = round.get(&written::answer_id(item));
        **is_text && !reading.is_some_and(written::has_ended)
    });
    let count = texts.iter().filter(|text| **text).count();
    let unfinished = unfinished.count();
    let mut raters = Vec::new();
    for (name, read) in of.readings.ratings(PLACED).into_iter().flatten() {
        let round = RoundOf {
            name,
            read: Some(read),
        };
        raters.push(rater(data, options, settings, name, round, count)?);
    }
    let (mut heard, unheard): (Vec<Rater<'_>>, Vec<Rater<'_>>) = raters
        .into_iter()
        .partition(|rater| rater.findings.verdict.is_measurable());
    let least = settings.gates.label_mass;
    let (refusals, declines) = refusals(data, drawn, &heard, least)?;
    let emphasis = emphasis(data, drawn, &heard, least)?;
    for rater in &mut heard {
        rater.findings.left_apart = left_apart(data, rater, least)?;
    }
    let mut findings: Vec<RaterFindings> = unheard.into_iter().map(|of| of.findings).collect();
    let mut all = Vec::with_capacity(heard.len());
    for rater in heard {
        let rules = &rater.findings.rules;
        let is_heard = rules.as_ref().is_some_and(Verdict::is_measurable);
        all.push(Heard {
            judged: is_heard.then_some(rater.judged),
            name: rater.findings.rater.clone(),
            items: rater.items,
        });
        findings.push(rater.findings);
    }
    findings.sort_by(|a, b| a.rater.cmp(&b.rater));
    let heard = all;
    let items = together(data, &heard.iter().collect::<Vec<_>>());
    let gates = [
        Gate::at_least(
            "share of requests that are answered",
            count as f64 / texts.len().max(1) as f64,
            LEAST_WRITTEN,
        ),
        Gate::at_least(
            "raters that read known answers rightly",
            heard.len() as f64,
            1.0,
        ),
    ];
    let shown: Vec<Option<&ItemFindings>> = items.iter().map(Option::as_ref).collect();
    let (mut placed, mut by_letters) = (Vec::new(), Vec::new());
    for (item, letters) in items.iter().zip(&letters.items) {
        if let Some(item) = item {
            placed.extend(item.expected);
            by_letters.extend(letters.expected);
        }
    }
    let found = WrittenFindings {
        name: of.name.clone(),
        asked: texts.len(),
        written: count,
        unfinished,
        verdict: Gate::verdict(&gates),
        gates: gates.into(),
        nudge: nudge(data, drawn, &shown),
        with_letters: rank_correlation(&placed, &by_letters),
        refusals,
        declines,
        emphasis,
        items,
        raters: findings,
    };
    Ok((found, heard))
}

fn rater<'a>(
    data: &Data,
    options: &Options,
    settings: Settings,
    name: &str,
    round: RoundOf<'a>,
    texts: usize,
) -> Result<Rater<'a>, SuiteError> {
    let mut items = Vec::with_capacity(data.items.len());
    let mut masses = Vec::new();
    for item in &data.items {
        if !round.has(&placed_id(item, 0, 0)) {
            items.push(None);
            continue;
        }
        let read =
            |value: usize| over_orders(round, POSITIONS, |order| placed_id(item, value, order));
        let both = [read(0)?, read(1)?];
        masses.extend(both.each_ref().map(|over| over.mass));
        items.push(Some(both));
    }
    let read = items.iter().flatten().count();
    let (read_back, mass_of_known) = read_back(data, round)?;
    let mass = mean(&masses).min(mass_of_known);
    let gates = [
        Gate::at_least("answers read", read as f64, 1.0),
        Gate::at_least(MASS, mass, settings.gates.label_mass),
        Gate::at_least(READ_BACK, read_back, options.least_read_back),
    ];
    let (judged, rules) = specification::of_rater(data, settings, round)?;
    let known_rules = rules.known;
    Ok(Rater {
        round,
        items,
        judged,
        findings: RaterFindings {
            rater: name.to_owned(),
            read,
            left_out: texts.saturating_sub(read),
            mass,
            read_back,
            known_rules,
            rules: data.specification.as_ref().map(|_| rules.verdict),
            left_apart: Vec::new(),
            verdict: Gate::verdict(&gates),
            gates: gates.into(),
        },
    })
}

/// Types of refusal with their shares.
type ByClass = Vec<(String, f64)>;

/// What answers do with requests: the mean probability of each type, and of those that do not do what was asked.
fn refusals(
    data: &Data,
    drawn: &Clusters,
    heard: &[Rater<'_>],
    least: f64,
) -> Result<(ByClass, Option<Estimate>), SuiteError> {
    let classes = &data.readers.refusal.classes;
    let read = over_items(data, (heard, least), REFUSAL, "", classes.len())?;
    if read.is_empty() {
        return Ok((Vec::new(), None));
    }
    let share = |class: usize| mean(&read.iter().map(|(_, p)| p[class]).collect::<Vec<f64>>());
    let each = classes.iter().enumerate();
    let shares = each.map(|(at, class)| (class.name.clone(), share(at)));
    let declines = read.iter().map(|(unit, p)| (*unit, declining(p)));
    Ok((shares.collect(), Some(drawn.share(declines, UNIT))))
}

/// How probable it is that answers treat each value as something that matters, most first.
fn emphasis(
    data: &Data,
    drawn: &Clusters,
    heard: &[Rater<'_>],
    least: f64,
) -> Result<Vec<(String, Estimate)>, SuiteError> {
    let mut found = Vec::new();
    for value in &data.emphasised {
        let choices = data.readers.emphasis.choices.len();
        let read = over_items(data, (heard, least), EMPHASIS, value, choices)?;
        if !read.is_empty() {
            let each = read.iter().map(|(unit, p)| (*unit, p[0]));
            found.push((value.clone(), drawn.share(each, UNIT)));
        }
    }
    found.sort_by(|(_, a), (_, b)| b.value.total_cmp(&a.value));
    Ok(found)
}

/// What a rater that is heard of positions is not heard of, since its letters are too improbable there.
fn left_apart(data: &Data, rater: &Rater<'_>, least: f64) -> Result<Vec<String>, SuiteError> {
    let values = data.emphasised.iter();
    let asked = values.map(|value| {
        (
            EMPHASIS,
            value.as_str(),
            data.readers.emphasis.choices.len(),
        )
    });
    let classes = data.readers.refusal.classes.len();
    let mut found = Vec::new();
    for (what, of, options) in std::iter::once((REFUSAL, "", classes)).chain(asked) {
        let read = of_rater(data, rater, what, of, options)?;
        if !read.is_empty() && mass_of(&read) < least {
            found.push(format!("{what} {of}").trim_end().to_owned());
        }
    }
    Ok(found)
}

/// What a rater says of every answer that it read.
fn of_rater(
    data: &Data,
    rater: &Rater<'_>,
    what: &str,
    of: &str,
    options: usize,
) -> Result<Vec<(usize, Over)>, SuiteError> {
    let mut read = Vec::new();
    for (at, item) in data.items.iter().enumerate() {
        if rater.round.has(&read_id(item, what, of, 0)) {
            let id = |order: usize| read_id(item, what, of, order);
            read.push((at, over_orders(rater.round, options, id)?));
        }
    }
    Ok(read)
}

fn mass_of(read: &[(usize, Over)]) -> f64 {
    mean(&read.iter().map(|(_, over)| over.mass).collect::<Vec<f64>>())
}

/// The probability that an answer does not do what was asked.
pub(crate) fn declining(p: &[f64]) -> f64 {
    p.iter().rev().take(DECLINING).sum()
}

/// The mean of several raters' distributions.
fn averaged<'a>(all: impl Iterator<Item = &'a Over> + Clone) -> Over {
    let count = all.clone().count() as f64;
    let mut p = vec![0.0; POSITIONS];
    let mut mass = 0.0;
    for over in all {
        mass += over.mass / count;
        for (sum, p) in p.iter_mut().zip(&over.p) {
            *sum += p / count;
        }
    }
    Over { p, mass }
}

/// A unit of what is drawn, and the mean of all raters' distributions over some options, by answer.
type ByAnswer<'a> = Vec<([&'a str; 2], Vec<f64>)>;

/// What raters that are heard say of every answer that they read, of those whose letters are probable enough for that question.
fn over_items<'a>(
    data: &'a Data,
    (heard, least): (&[Rater<'_>], f64),
    what: &str,
    of: &str,
    options: usize,
) -> Result<ByAnswer<'a>, SuiteError> {
    let mut sums = vec![vec![0.0; options]; data.items.len()];
    let mut counts = vec![0.0; data.items.len()];
    for rater in heard {
        let read = of_rater(data, rater, what, of, options)?;
        if mass_of(&read) < least {
            continue;
        }
        for (at, over) in read {
            counts[at] += 1.0;
            for (sum, p) in sums[at].iter_mut().zip(&over.p) {
                *sum += p;
            }
        }
    }
    let each = data.items.iter().zip(sums).zip(counts);
    let found = each.filter(|(_, count)| *count > 0.0);
    let found = found.map(|((item, sums), count)| {
        let p = sums.iter().map(|sum| sum / count).collect();
        (unit(&item.pair), p)
    });
    Ok(found.collect())
}
