//! What a run comes to: who can be measured, how far answers move, what differs between checkpoints, and what follows.

use super::answers::{AnswerTable, Answers};
use super::consistency::MeasureError;
use super::context::{CONFIDENCE, Context};
use super::groups::{countries, join, join_translations, of_file};
use super::open::ReaderTrust;
use super::plan::{Format, Place};
use super::spread::{Groups, Slots, Spread};
use crate::shared::paired::adjusted;
use crate::{Gates, Settings};
use concord_findings::{Estimate, Gate, Interval, Method, Verdict};
use concord_questions::QuestionSet;
use concord_stats::{Clustered, Scale, bca_mean};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What answers are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Phrasings of one original.
    Paraphrases,
    /// All questions of a topic, phrasings included.
    Topics,
    /// Originals alone that every language of a country has: translations of each other.
    Translations,
    /// The study's grouping by languages, which joins phrasings by their place.
    Languages,
    /// Letters and answer texts of one question.
    LettersAndTexts,
    /// Letters and passages of one question.
    LettersAndPassages,
    /// Answer texts and passages of one question.
    TextsAndPassages,
}

/// What a verdict is about: answers in one format, or two formats against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Row {
    /// The format; the first of two.
    pub format: Format,
    /// What answers are grouped by.
    pub across: Grouping,
}

/// The verdict on all checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Assessment {
    /// What had to hold for anything to be measured.
    pub gates: Gates,
    /// The checkpoints, in order.
    pub checkpoints: Vec<CheckpointAssessment>,
    /// How each after the first differs from it.
    pub changes: Vec<PairAssessment>,
}

/// What holds of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointAssessment {
    /// The checkpoint.
    pub name: String,
    /// Whether it is measurable, by format.
    pub formats: BTreeMap<Format, FormatAssessment>,
    /// How far its answers move.
    pub moved: Vec<Moved>,
}

/// Whether a checkpoint is measurable by a format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormatAssessment {
    /// What had to hold.
    pub gates: Vec<Gate>,
    /// Whether it does.
    pub verdict: Verdict,
    /// Mean total variation of answers in one order from all stances alike: ½ at most for two stances.
    pub decisiveness: f64,
    /// The same of answers averaged over both orders.
    pub averaged_decisiveness: f64,
    /// Whether it takes sides at all: answers that all stances share alike are alike, and say nothing.
    pub takes_sides: bool,
}

/// Answers averaged over both orders that are nearer than this to saying nothing take no side.
const LEAST_DECISIVE: f64 = 0.05;

/// Whether answers that belong together are closer than answers that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Closeness {
    /// Closer than the same answers shuffled.
    Closer,
    /// Farther apart than the same answers shuffled.
    Farther,
    /// Neither can be told.
    NotTold,
}

/// How far answers move across something. Distances are square roots of nats; intervals resample topics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// Across what.
    #[serde(flatten)]
    pub row: Row,
    /// Whether the formats that it is of are measurable.
    pub is_measurable: bool,
    /// The mean distance where every question is asked in one random order, as the study does: its expectation. Absent where one order
    /// was asked.
    pub one_order: Option<Estimate>,
    /// The mean distance of answers averaged over the orders that were asked.
    pub averaged: Estimate,
    /// In one order (or the only one asked), as a share of what the same answers give shuffled within their file. No number where
    /// shuffled answers lie nowhere apart.
    pub of_shuffled: Estimate,
    /// What the interval of that share says.
    pub closeness: Closeness,
    /// The mean distance in one order (or the only one asked) by file, for what is grouped within files; by country, for what is not.
    pub by_part: BTreeMap<String, Estimate>,
    /// The interval of that in one order which the study gives, where it is asked for: every distance is taken for a draw of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub study_ci95: Option<[f64; 2]>,
    /// Groups of two answers or more.
    pub groups: usize,
    /// Answers in them.
    pub answers: usize,
    /// Answers that are alone in their group, and not counted.
    pub alone: usize,
}

/// How a checkpoint differs from the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairAssessment {
    /// The first.
    pub first: String,
    /// The other.
    pub second: String,
    /// What changed.
    pub rows: Vec<Changed>,
    /// What follows, from the rows of the first format that both can be measured by.
    pub conclusion: Conclusion,
}

/// A difference with its test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tested {
    /// The difference.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// The level at which its interval reaches 0.
    pub p: Option<f64>,
    /// Whether p is at most that.
    pub p_is_bound: bool,
    /// p among those of the rows of the same format (Benjamini and Hochberg).
    pub q: Option<f64>,
}

/// How far answers of two checkpoints move across the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Across what.
    #[serde(flatten)]
    pub row: Row,
    /// Second less first, in one random order. Absent where one order was asked.
    pub one_order: Option<Tested>,
    /// Second less first, averaged over orders.
    pub averaged: Tested,
    /// Second over first, in one order (or the only one).
    pub ratio: Estimate,
    /// Difference of the shares of what shuffled answers give.
    pub of_shuffled: Tested,
    /// Second less first, with the answers of the more decisive one tempered to the decisiveness of the other.
    pub matched: Tested,
    /// What follows.
    pub change: Change,
}

/// What follows from one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The second is less consistent, whatever its decisiveness.
    LessConsistent,
    /// The second is more consistent, whatever its decisiveness.
    MoreConsistent,
    /// Answers move farther, as far as more decisive ones would: no more can be told.
    FartherByDecisiveness,
    /// Answers move less far, as little as less decisive ones would: no more can be told.
    LessFarByDecisiveness,
    /// No difference can be told.
    NotTold,
}

/// What follows from all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// One of the two cannot be measured in any format that both have.
    NotMeasurable,
    /// The second is less consistent in some rows, and in none more.
    LessConsistent,
    /// The second is more consistent in some rows, and in none less.
    MoreConsistent,
    /// Less in some, more in others.
    Mixed,
    /// What differs is how decisive answers are.
    DecisivenessAlone,
    /// No difference can be told.
    NotTold,
}

/// Differences are told below this, among the rows of a format.
const LEVEL: f64 = 0.05;

impl Row {
    /// What it is called in a table.
    pub fn label(self) -> String {
        let across = match self.across {
            Grouping::Paraphrases => "paraphrases",
            Grouping::Topics => "topics",
            Grouping::Translations => "languages",
            Grouping::Languages => "languages, study's grouping",
            Grouping::LettersAndTexts => return "letters vs texts".to_owned(),
            Grouping::LettersAndPassages => return "letters vs passages".to_owned(),
            Grouping::TextsAndPassages => return "texts vs passages".to_owned(),
        };
        match self.format {
            Format::Letter => across.to_owned(),
            Format::Cloze => format!("{across} (texts)"),
            Format::Open => format!("{across} (passages)"),
        }
    }

    /// The other format, where it is of two.
    fn other(self) -> Option<Format> {
        match self.across {
            Grouping::LettersAndTexts => Some(Format::Cloze),
            Grouping::LettersAndPassages | Grouping::TextsAndPassages => Some(Format::Open),
            _ => None,
        }
    }

    /// Whose answers it is of.
    fn key(self) -> Key {
        (self.format, self.other())
    }

    /// Whether a verdict counts it: the study's grouping by languages repeats the stricter one.
    fn is_counted(self) -> bool {
        self.across != Grouping::Languages
    }
}

/// One checkpoint's answers of a row, and how they are grouped.
struct Ground {
    slots: Arc<Slots>,
    groups: Groups,
    alone: usize,
}

/// What was measured of a row.
struct Measured {
    one_order: Spread,
    averaged: Spread,
    shuffled: Spread,
}

/// A checkpoint with what was measured of it.
struct Side {
    grounds: BTreeMap<Row, Ground>,
    measured: BTreeMap<Row, Measured>,
}

/// Assesses checkpoints, the first of which is the base.
///
/// # Errors
/// [`MeasureError::TooManyGroups`].
pub fn assess(
    set: &QuestionSet,
    names: &[String],
    answers: &[Answers],
    context: &Context,
) -> Result<Assessment, MeasureError> {
    let sides = answers
        .par_iter()
        .map(|answers| side(set, answers, context))
        .collect::<Result<Vec<_>, _>>()?;
    let checkpoints: Vec<CheckpointAssessment> = names
        .par_iter()
        .zip(answers)
        .zip(&sides)
        .map(|((name, answers), side)| checkpoint(set, name, answers, side, context))
        .collect();
    let others = 1..checkpoints.len();
    let changes = others.into_par_iter().map(|second| {
        pair(
            [
                (&checkpoints[0], &sides[0]),
                (&checkpoints[second], &sides[second]),
            ],
            context,
        )
    });
    Ok(Assessment {
        gates: context.settings.gates,
        changes: changes.collect(),
        checkpoints,
    })
}

/// The tables of a format by order, where there are any.
fn tables(answers: &Answers, format: Format) -> Vec<&AnswerTable> {
    let (by_order, main) = match format {
        Format::Letter => (&answers.letter_by_order, answers.letter.as_ref()),
        Format::Cloze => (&answers.cloze_by_order, answers.cloze.as_ref()),
        Format::Open => {
            let open = answers.open.as_ref().and_then(|open| open.main_stances());
            return open.into_iter().collect();
        }
    };
    match by_order {
        Some(orders) => orders.iter().collect(),
        None => main.into_iter().collect(),
    }
}

const FORMATS: [Format; 3] = [Format::Letter, Format::Cloze, Format::Open];

fn side(set: &QuestionSet, answers: &Answers, context: &Context) -> Result<Side, MeasureError> {
    let mut grounds = BTreeMap::new();
    let of_format = FORMATS.map(|format| tables(answers, format));
    for (format, tables) in FORMATS.into_iter().zip(&of_format) {
        let Some(first) = tables.first() else {
            continue;
        };
        let slots = Arc::new(Slots::new(set, &[tables]));
        let at: HashMap<Place, usize> = (0..slots.len())
            .map(|slot| (slots.place(slot), slot))
            .collect();
        for (across, places) in groupings(set, first)? {
            let groups = places.iter().map(|group| {
                group
                    .iter()
                    .filter_map(|place| at.get(place).copied())
                    .collect()
            });
            let row = Row { format, across };
            insert(&mut grounds, row, &slots, groups);
        }
    }
    let pairs = [
        (Grouping::LettersAndTexts, 0, 1),
        (Grouping::LettersAndPassages, 0, 2),
        (Grouping::TextsAndPassages, 1, 2),
    ];
    for (across, a, b) in pairs {
        if of_format[a].is_empty() || of_format[b].is_empty() {
            continue;
        }
        let slots = Arc::new(Slots::new(set, &[&of_format[a], &of_format[b]]));
        let mut groups: Groups = slots
            .by_place()
            .into_values()
            .filter(|group| group.len() == 2)
            .collect();
        groups.sort_unstable();
        let row = Row {
            format: FORMATS[a],
            across,
        };
        insert(&mut grounds, row, &slots, groups.into_iter());
    }
    let seed = context.settings.seed;
    let measured = grounds.par_iter().map(|(row, ground)| {
        let Ground { slots, groups, .. } = ground;
        let found = Measured {
            one_order: slots.one_order(groups, seed),
            averaged: slots.averaged().as_they_are(groups),
            shuffled: slots.shuffled(groups, seed),
        };
        (*row, found)
    });
    Ok(Side {
        measured: measured.collect(),
        grounds,
    })
}

fn insert(
    grounds: &mut BTreeMap<Row, Ground>,
    row: Row,
    slots: &Arc<Slots>,
    groups: impl Iterator<Item = Vec<usize>>,
) {
    let (groups, alone): (Groups, Groups) = groups.partition(|group| group.len() > 1);
    if !groups.is_empty() {
        let alone = alone.iter().map(Vec::len).sum();
        grounds.insert(
            row,
            Ground {
                slots: Arc::clone(slots),
                groups,
                alone,
            },
        );
    }
}

/// Groups of questions, and what they are grouped by.
type Grouped = (Grouping, Vec<Vec<Place>>);

/// What the questions of a table are grouped by, within one format.
fn groupings(set: &QuestionSet, table: &AnswerTable) -> Result<Vec<Grouped>, MeasureError> {
    let mut found = Vec::new();
    for (across, paraphrases) in [(Grouping::Paraphrases, true), (Grouping::Topics, false)] {
        let files = set.files.iter().enumerate();
        let groups = files.filter_map(|(number, file)| {
            Some(of_file(number, file, table.get(&file.name)?, paraphrases))
        });
        found.push((across, groups.flatten().map(|group| group.places).collect()));
    }
    let (mut strict, mut joined) = (Vec::new(), Vec::new());
    for country in countries(set, table) {
        strict.extend(join_translations(&country, table));
        joined.extend(join(&country, table)?);
    }
    found.push((Grouping::Translations, strict));
    found.push((Grouping::Languages, joined));
    Ok(found)
}

fn checkpoint(
    set: &QuestionSet,
    name: &str,
    answers: &Answers,
    side: &Side,
    context: &Context,
) -> CheckpointAssessment {
    let mut formats = BTreeMap::new();
    for format in FORMATS {
        let tables = tables(answers, format);
        if tables.is_empty() {
            continue;
        }
        let slots = Slots::new(set, &[&tables]);
        let gates = gates(answers, format, &slots, context.settings.gates);
        let averaged_decisiveness = slots.averaged().decisiveness();
        let assessment = FormatAssessment {
            verdict: Gate::verdict(&gates),
            gates,
            decisiveness: slots.decisiveness(),
            averaged_decisiveness,
            takes_sides: averaged_decisiveness >= LEAST_DECISIVE,
        };
        formats.insert(format, assessment);
    }
    let is_measurable = |format: Format| {
        formats
            .get(&format)
            .is_some_and(|found: &FormatAssessment| found.verdict.is_measurable())
    };
    let moved = side.measured.par_iter().map(|(row, found)| {
        let is_measurable = is_measurable(row.format) && row.other().is_none_or(is_measurable);
        moved(set, *row, &side.grounds[row], found, is_measurable, context)
    });
    CheckpointAssessment {
        name: name.to_owned(),
        moved: moved.collect(),
        formats,
    }
}

/// How far the answers of a row move.
fn moved(
    set: &QuestionSet,
    row: Row,
    ground: &Ground,
    found: &Measured,
    is_measurable: bool,
    context: &Context,
) -> Moved {
    let mean = |spread: &Spread| {
        let rows = rows(ground, [spread]);
        estimate(&context.of_sums(rows, |[sum, count]| sum / count, 0.0, Scale::Log))
    };
    let both = rows(ground, [&found.one_order, &found.shuffled]);
    let share = context.of_sums(both, share_of, 1.0, Scale::Log);
    let one_order: Vec<(Place, [f64; 2])> = rows(ground, [&found.one_order]);
    let mut parts: BTreeMap<&str, Vec<(Place, [f64; 2])>> = BTreeMap::new();
    for found in &one_order {
        let file = &set.files[found.0.0];
        let part = match row.across {
            Grouping::Translations | Grouping::Languages => file.origin.country.as_str(),
            _ => file.name.as_str(),
        };
        parts.entry(part).or_default().push(*found);
    }
    let by_part = parts.into_iter().map(|(part, rows)| {
        let found = context.of_sums(rows, |[sum, count]| sum / count, 0.0, Scale::Log);
        (part.to_owned(), estimate(&found))
    });
    let study_ci95 = context.settings.study_intervals.then(|| {
        let distances: Vec<f64> = one_order
            .iter()
            .map(|(_, [sum, count])| sum / count)
            .collect();
        let Settings {
            resamples, seed, ..
        } = context.settings;
        let interval = bca_mean(&distances, CONFIDENCE, resamples, seed);
        [interval.low, interval.high]
    });
    Moved {
        row,
        is_measurable,
        one_order: ground.slots.has_orders().then(|| mean(&found.one_order)),
        averaged: mean(&found.averaged),
        of_shuffled: estimate(&share),
        closeness: match share.ends {
            Some([_, high]) if high < 1.0 => Closeness::Closer,
            Some([low, _]) if low > 1.0 => Closeness::Farther,
            _ => Closeness::NotTold,
        },
        by_part: by_part.collect(),
        study_ci95,
        groups: ground.groups.len(),
        answers: ground.groups.iter().map(Vec::len).sum(),
        alone: ground.alone,
    }
}

/// What has to hold for a format.
fn gates(answers: &Answers, format: Format, slots: &Slots, least: Gates) -> Vec<Gate> {
    let mut gates = Vec::new();
    if format == Format::Open {
        let open = answers.open.as_ref();
        let trust = open.and_then(|open| Some(open.readers.get(open.main_reader()?)?.trust));
        gates.extend(
            trust
                .map(|trust| known_sides(trust, least))
                .into_iter()
                .flatten(),
        );
        return gates;
    }
    if let Some(robustness) = answers
        .robustness
        .as_ref()
        .filter(|_| format == Format::Letter)
    {
        gates.push(Gate::at_least(
            "label mass",
            robustness.label_mass,
            least.label_mass,
        ));
    }
    if let Some(agreement) = slots.order_agreement() {
        gates.push(Gate::at_most(
            "answers that flip with the order",
            agreement.flips,
            least.flips,
        ));
        // Answers that are the same for every question have none; flips say what there is to say of their order.
        gates.extend(agreement.correlation.map(|found| {
            Gate::at_least("correlation of both orders", found, least.order_correlation)
        }));
    }
    gates
}

/// Raters are measured by passages of known stance: better than chance beyond doubt, and good enough to use. Without such passages
/// there is no knowing, and nothing is measured.
fn known_sides(trust: ReaderTrust, least: Gates) -> Vec<Gate> {
    let right = trust.argued_right.unwrap_or(f64::NAN);
    let mut gates = vec![
        Gate::at_least(
            "label mass of the rater",
            trust.label_mass,
            least.label_mass,
        ),
        Gate::at_least("known sides read right", right, least.known_sides),
    ];
    if let Some(right) = trust.argued_right {
        let low = wilson_low(right, trust.argued);
        gates.push(Gate::at_least(
            "lower end of known sides read right",
            low,
            0.5,
        ));
    }
    gates
}

/// The lower end of Wilson's 95 % interval of a share.
fn wilson_low(share: f64, n: usize) -> f64 {
    let (n, z) = (n as f64, 1.959_963_984_540_054_f64);
    let centre = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    (centre - half) / (1.0 + z * z / n)
}

/// Sums and counts of spreads by question; the count is the first's.
fn rows<const N: usize, const K: usize>(
    ground: &Ground,
    spreads: [&Spread; N],
) -> Vec<(Place, [f64; K])> {
    // One sum a spread, and the count at the end.
    const { assert!(K == N + 1) };
    let counted = (0..ground.slots.len()).filter(|slot| spreads[0].counts[*slot] > 0.0);
    let row = |slot: usize| {
        let mut sums = [0.0; K];
        for (sum, spread) in sums.iter_mut().zip(spreads) {
            *sum = spread.sums[slot];
        }
        sums[N] = spreads[0].counts[slot];
        (ground.slots.place(slot), sums)
    };
    counted.map(row).collect()
}

/// A sum as a share of another; no number where there is next to nothing to be a share of.
fn share_of([sum, shuffled, count]: &[f64; 3]) -> f64 {
    if *shuffled > 1e-9 * count {
        sum / shuffled
    } else {
        f64::NAN
    }
}

/// An estimate over topics.
fn estimate(found: &Clustered) -> Estimate {
    Estimate {
        value: found.value,
        interval: found.ends.map(|[low, high]| Interval {
            low,
            high,
            level: CONFIDENCE,
            method: Method::BootstrapT,
        }),
        n: found.clusters,
        unit: "topic",
    }
}

fn tested(found: &Clustered) -> Tested {
    Tested {
        estimate: estimate(found),
        p: found.p,
        p_is_bound: found.p_is_bound,
        q: None,
    }
}

type Assessed<'a> = (&'a CheckpointAssessment, &'a Side);

fn pair([first, second]: [Assessed<'_>; 2], context: &Context) -> PairAssessment {
    let is_shared = |moved: &&Moved| {
        let mut others = second.0.moved.iter();
        moved.is_measurable && others.any(|other| other.row == moved.row && other.is_measurable)
    };
    let shared: Vec<Row> = first
        .0
        .moved
        .iter()
        .filter(is_shared)
        .map(|moved| moved.row)
        .collect();
    let mut keys: Vec<Key> = shared.iter().map(|row| row.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    let tempered = keys
        .into_par_iter()
        .filter_map(|key| Some((key, tempered(key, first.1, second.1)?)));
    let tempered: BTreeMap<Key, Tempered> = tempered.collect();
    let rows = shared
        .into_par_iter()
        .filter_map(|row| changed(row, first.1, second.1, tempered.get(&row.key())?, context));
    let mut rows: Vec<Changed> = rows.collect();
    for format in FORMATS {
        adjust(&mut rows, format);
    }
    for row in &mut rows {
        row.change = change(row);
    }
    PairAssessment {
        first: first.0.name.clone(),
        second: second.0.name.clone(),
        conclusion: conclusion(&rows),
        rows,
    }
}

/// The formats of a row: rows of the same have the same answers.
type Key = (Format, Option<Format>);

/// Answers of two checkpoints at one decisiveness: that of the less decisive one.
struct Tempered {
    /// Which of the two is tempered: 0 or 1.
    which: usize,
    /// Its answers at the decisiveness of the other.
    matched: Slots,
    /// Its answers at a little less: how far they move with decisiveness.
    nudged: Slots,
    /// How much less.
    nudge: f64,
}

/// By how much a decisiveness is made less to see what that does.
const NUDGE: f64 = 0.05;

fn tempered(key: Key, first: &Side, second: &Side) -> Option<Tempered> {
    let slots = |side: &Side| {
        let mut grounds = side.grounds.iter();
        let ground = grounds.find(|(row, _)| row.key() == key);
        ground.map(|(_, ground)| Arc::clone(&ground.slots))
    };
    let sides = [slots(first)?, slots(second)?];
    let decisiveness = [sides[0].decisiveness(), sides[1].decisiveness()];
    let which = usize::from(decisiveness[1] > decisiveness[0]);
    let least = decisiveness[1 - which];
    let nudge = NUDGE * least;
    Some(Tempered {
        which,
        matched: sides[which].as_decisive_as(least),
        nudged: sides[which].as_decisive_as(least - nudge),
        nudge,
    })
}

/// The difference of two checkpoints at one decisiveness.
///
/// How much one has to be tempered is found from the same answers, and would be found otherwise from others: a resample in which the tempered
/// one is more decisive than the other is taken back by what decisiveness does to its distances.
fn matched(
    grounds: [&Ground; 2],
    measured: [&Measured; 2],
    shared: &[(usize, usize)],
    tempered: &Tempered,
    context: &Context,
) -> Clustered {
    let Tempered {
        which,
        matched,
        nudged,
        nudge,
    } = tempered;
    let (other, seed) = (1 - which, context.settings.seed);
    let groups = &grounds[*which].groups;
    let at_one = matched.one_order(groups, seed);
    let below = nudged.one_order(groups, seed);
    let (mine, theirs) = (
        matched.decisiveness_by_slot(),
        grounds[other].slots.decisiveness_by_slot(),
    );
    let slots = |pair: &(usize, usize)| {
        if *which == 0 {
            (pair.0, pair.1)
        } else {
            (pair.1, pair.0)
        }
    };
    let total = |spread: &Spread| {
        let of = |pair| spread.sums[slots(pair).0];
        shared.iter().map(of).sum::<f64>()
    };
    let count: f64 = shared.iter().map(|pair| at_one.counts[slots(pair).0]).sum();
    let slope = if *nudge > 0.0 {
        (total(&at_one) - total(&below)) / (count * nudge)
    } else {
        0.0
    };
    let rows = shared.iter().map(|pair| {
        let (own, of_other) = slots(pair);
        let (n, m) = (
            at_one.counts[own],
            measured[other].one_order.counts[of_other],
        );
        let sums = [
            at_one.sums[own],
            measured[other].one_order.sums[of_other],
            n,
            m,
            n * mine[own],
            m * theirs[of_other],
        ];
        (grounds[0].slots.place(pair.0), sums)
    });
    let sign = if *which == 0 { 1.0 } else { -1.0 };
    let statistic = |[a, b, n, m, mine, theirs]: &[f64; 6]| {
        sign * (b / m - (a / n + slope * (theirs / m - mine / n)))
    };
    context.of_sums(rows, statistic, 0.0, Scale::Plain)
}

/// The p-values of one format's counted rows are a family, for each of the differences.
fn adjust(rows: &mut [Changed], format: Format) {
    let family: Vec<usize> = (0..rows.len())
        .filter(|at| rows[*at].row.format == format && rows[*at].row.is_counted())
        .collect();
    let of: [fn(&mut Changed) -> Option<&mut Tested>; 4] = [
        |row| row.one_order.as_mut(),
        |row| Some(&mut row.averaged),
        |row| Some(&mut row.of_shuffled),
        |row| Some(&mut row.matched),
    ];
    for tested in of {
        let p: Vec<Option<f64>> = family.iter().map(|at| tested(&mut rows[*at])?.p).collect();
        for (at, q) in family.iter().zip(adjusted(&p)) {
            if let Some(tested) = tested(&mut rows[*at]) {
                tested.q = q;
            }
        }
    }
}

/// Answers that both have: the slots of the same question and format, in either.
fn changed(
    row: Row,
    first: &Side,
    second: &Side,
    tempered: &Tempered,
    context: &Context,
) -> Option<Changed> {
    let (a, b) = (first.grounds.get(&row)?, second.grounds.get(&row)?);
    let (of_a, of_b) = (first.measured.get(&row)?, second.measured.get(&row)?);
    let in_b = b.slots.by_place();
    let mut seen: HashMap<Place, usize> = HashMap::new();
    let mut shared: Vec<SharedSlot> = Vec::new();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for slot in 0..a.slots.len() {
        let place = a.slots.place(slot);
        let times = seen.entry(place).or_default();
        let other = in_b
            .get(&place)
            .and_then(|slots| slots.get(*times))
            .copied();
        *times += 1;
        let Some(other) = other else { continue };
        let counts = [of_a.one_order.counts[slot], of_b.one_order.counts[other]];
        if counts.iter().any(|count| *count <= 0.0) {
            continue;
        }
        let of = |a: &Spread, b: &Spread| [a.sums[slot], b.sums[other]];
        pairs.push((slot, other));
        shared.push(SharedSlot {
            place,
            counts,
            one_order: of(&of_a.one_order, &of_b.one_order),
            averaged: of(&of_a.averaged, &of_b.averaged),
            shuffled: of(&of_a.shuffled, &of_b.shuffled),
        });
    }
    if shared.is_empty() {
        return None;
    }
    let sums = |of: fn(&SharedSlot) -> [f64; 2]| {
        let row = move |slot: &SharedSlot| {
            let ([a, b], [n, m]) = (of(slot), slot.counts);
            (slot.place, [a, b, n, m])
        };
        shared.iter().map(row)
    };
    let difference = |of: fn(&SharedSlot) -> [f64; 2]| {
        let less = |[a, b, n, m]: &[f64; 4]| b / m - a / n;
        tested(&context.of_sums(sums(of), less, 0.0, Scale::Plain))
    };
    let times = |[a, b, n, m]: &[f64; 4]| (b / m) / (a / n);
    let ratio = context.of_sums(sums(|slot| slot.one_order), times, 1.0, Scale::Log);
    let with_shuffled = shared.iter().map(|slot| {
        let ([a, b], [of_a, of_b], [n, m]) = (slot.one_order, slot.shuffled, slot.counts);
        (slot.place, [a, of_a, n, b, of_b, m])
    });
    let shares = |[a, of_a, n, b, of_b, m]: &[f64; 6]| {
        share_of(&[*b, *of_b, *m]) - share_of(&[*a, *of_a, *n])
    };
    Some(Changed {
        row,
        one_order: a
            .slots
            .has_orders()
            .then(|| difference(|slot| slot.one_order)),
        averaged: difference(|slot| slot.averaged),
        ratio: estimate(&ratio),
        of_shuffled: tested(&context.of_sums(with_shuffled, shares, 0.0, Scale::Plain)),
        matched: tested(&matched([a, b], [of_a, of_b], &pairs, tempered, context)),
        change: Change::NotTold,
    })
}

/// What both checkpoints have of one slot, the first's and the second's.
struct SharedSlot {
    place: Place,
    counts: [f64; 2],
    one_order: [f64; 2],
    averaged: [f64; 2],
    shuffled: [f64; 2],
}

/// The sign of a difference that can be told, 0 where none can.
fn sign(tested: &Tested) -> i8 {
    if tested.q.or(tested.p).is_none_or(|q| q >= LEVEL) || tested.estimate.value.is_nan() {
        0
    } else if tested.estimate.value > 0.0 {
        1
    } else {
        -1
    }
}

/// A difference counts only where it stays without what decisiveness adds, by both ways of taking that out.
fn change(row: &Changed) -> Change {
    let plain = sign(row.one_order.as_ref().unwrap_or(&row.averaged));
    match (sign(&row.of_shuffled), sign(&row.matched), plain) {
        (1, 1, _) => Change::LessConsistent,
        (-1, -1, _) => Change::MoreConsistent,
        (_, _, 1) => Change::FartherByDecisiveness,
        (_, _, -1) => Change::LessFarByDecisiveness,
        _ => Change::NotTold,
    }
}

fn conclusion(rows: &[Changed]) -> Conclusion {
    let counted = || rows.iter().filter(|row| row.row.is_counted());
    // Of the first format that both can be measured by; rows of two formats belong to their first.
    let Some(format) = counted().map(|row| row.row.format).min() else {
        return Conclusion::NotMeasurable;
    };
    let any =
        |of: &[Change]| counted().any(|row| row.row.format == format && of.contains(&row.change));
    match (
        any(&[Change::LessConsistent]),
        any(&[Change::MoreConsistent]),
    ) {
        (true, true) => Conclusion::Mixed,
        (true, false) => Conclusion::LessConsistent,
        (false, true) => Conclusion::MoreConsistent,
        (false, false) if any(&[Change::FartherByDecisiveness, Change::LessFarByDecisiveness]) => {
            Conclusion::DecisivenessAlone
        }
        _ => Conclusion::NotTold,
    }
}
