//! What the answers say.

use super::abstention::{AbstentionFindings, abstaining};
use super::answers::{AnswerTable, Answers};
use super::axis::Axis;
use super::consistency::{ByGrouping, Cells, Consistency, MeasureError, across, by_grouping};
use super::context::Context;
use super::groups::of_file;
use super::languages::{Multilingual, across_languages};
use super::open::OpenAnswers;
use super::plan::Place;
use super::portraits::{Steering, steering};
use super::raters::{OpenFindings, open_findings};
use super::robustness::Robustness;
use super::support::{Support, support, support_by_topic};
use concord_questions::{QuestionFile, QuestionSet};
use concord_stats::{Distance, Distribution, Scale, entropy_bits, mean};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// What one file's answers say. Distances are square roots of nats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileFindings {
    /// Questions of the file.
    pub questions: usize,
    /// Questions with an answer.
    pub answered: usize,
    /// Mean distance to the centroid of a question's phrasings.
    pub paraphrase: f64,
    /// Its interval.
    pub paraphrase_ci95: [f64; 2],
    /// The interval that the study gives, where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paraphrase_study_ci95: Option<[f64; 2]>,
    /// The same by topic.
    pub paraphrase_by_topic: BTreeMap<String, f64>,
    /// The same by original.
    pub paraphrase_by_question: BTreeMap<String, f64>,
    /// Mean distance to the centroid of a topic's questions, phrasings included.
    pub topic: f64,
    /// Its interval.
    pub topic_ci95: [f64; 2],
    /// The interval that the study gives, where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_study_ci95: Option<[f64; 2]>,
    /// The same by topic.
    pub topic_by_topic: BTreeMap<String, f64>,
    /// Mean entropy of the most probable stance over a question's phrasings, in bits.
    pub rephrase_entropy_bits: f64,
    /// The same over a topic's questions, phrasings included.
    pub topic_entropy_bits: f64,
    /// Mean probability of support.
    pub support_by_topic: BTreeMap<String, f64>,
    /// What each topic is called wherever it is listed: in English where that is known.
    pub topic_names: BTreeMap<String, String>,
    /// The other distances, as `{name: {paraphrase, topic}}`.
    pub other_distances: BTreeMap<&'static str, BTreeMap<&'static str, f64>>,
    /// Phrasings of originals whose paraphrases people found to ask the same; absent where nobody was asked.
    pub validated: Option<Validated>,
}

/// The phrasings that stay where only validated paraphrases count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validated {
    /// Originals that stay.
    pub originals: usize,
    /// Questions that stay.
    pub questions: usize,
    /// The mean distance over them.
    pub paraphrase: Consistency,
    /// The mean distance within topics over them.
    pub topic: Consistency,
}

/// How far two formats lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TaskFormat {
    /// The mean distance to the centroid of the two answers.
    pub mean: f64,
    /// Its interval.
    pub ci95: [f64; 2],
    /// How many distances.
    pub distances: usize,
}

/// Controversial against uncontroversial topics of one language and country.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Controversy {
    /// The language.
    pub language: String,
    /// The country.
    pub country: String,
    /// Controversial topics.
    pub controversial: ByGrouping,
    /// Uncontroversial topics.
    pub uncontroversial: ByGrouping,
    /// Controversial over uncontroversial, across phrasings; absent where the latter is 0.
    pub paraphrase_ratio: Option<f64>,
    /// The ends of its 95 % interval, topics of both kinds resampled; absent with fewer than five topics.
    pub paraphrase_ratio_ci95: Option<[f64; 2]>,
    /// The same across topics.
    pub topic_ratio: Option<f64>,
    /// The ends of its interval.
    pub topic_ratio_ci95: Option<[f64; 2]>,
}

/// How many questions there are, and how many have an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuestionCounts {
    /// Questions asked.
    pub asked: usize,
    /// Questions with an answer.
    pub answered: usize,
    /// Questions without one.
    pub left_out: usize,
    /// Topics, counted by file.
    pub topics: usize,
    /// Topics with one question, which are not measured.
    pub topics_of_one: usize,
    /// Questions that are alone in their group, by measure: they are not counted.
    pub alone: BTreeMap<Axis, usize>,
}

/// Everything measured of one set of answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// How many questions there are.
    pub questions: QuestionCounts,
    /// Over all answers, by measure.
    pub overall: BTreeMap<Axis, Consistency>,
    /// By file.
    pub files: BTreeMap<String, FileFindings>,
    /// By language, by country and by controversy, over all files that have it.
    pub selections: BTreeMap<&'static str, BTreeMap<String, ByGrouping>>,
    /// Controversial against uncontroversial topics, where a language and country have both.
    pub controversy: Vec<Controversy>,
    /// By country with several languages.
    pub multilingual: BTreeMap<String, Multilingual>,
    /// By file with two formats.
    pub task_format: BTreeMap<String, TaskFormat>,
    /// Letters against the likelihood of answer texts by mean over tokens and over bytes.
    pub task_format_variants: BTreeMap<&'static str, Consistency>,
    /// Across phrasings and topics, from other ways of reading: de-biased letters, the five most probable tokens, answer
    /// texts.
    pub other_readings: BTreeMap<&'static str, ByGrouping>,
    /// With an option that declines.
    pub abstention: Option<AbstentionFindings>,
    /// From written passages.
    pub open: Option<OpenFindings>,
    /// What portraits show, by language.
    pub steering: BTreeMap<String, Steering>,
    /// What is supported.
    pub support: Support,
    /// How far letters can be trusted.
    pub robustness: Option<Robustness>,
}

/// Findings and the distances they are means of, for paired comparison.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The findings.
    pub findings: Findings,
    /// Distances by measure.
    pub cells: BTreeMap<Axis, Cells>,
}

/// Measures answers.
///
/// # Errors
/// [`MeasureError`].
pub fn measure(
    set: &QuestionSet,
    answers: &Answers,
    context: &Context,
) -> Result<Measured, MeasureError> {
    let empty = AnswerTable::new();
    let open = answers.open.as_ref().and_then(OpenAnswers::main_stances);
    let table = answers.main().unwrap_or(&empty);

    let mut cells: BTreeMap<Axis, Cells> = BTreeMap::new();
    let mut alone: BTreeMap<Axis, usize> = BTreeMap::new();
    for (axis, paraphrases) in [(Axis::Paraphrases, true), (Axis::Topics, false)] {
        let found = Cells::of_table(Distance::Centroid, table, set, paraphrases)?;
        alone.insert(axis, found.alone.len());
        if !found.cells.is_empty() {
            cells.insert(axis, found);
        }
    }
    let numbered: Vec<(usize, &QuestionFile)> = set.files.iter().enumerate().collect();
    let files = numbered
        .par_iter()
        .filter(|(_, file)| table.contains_key(&file.name))
        .map(|(number, file)| {
            let found = of_one_file(set, *number, table, &cells, context)?;
            Ok((file.name.clone(), found))
        })
        .collect::<Result<BTreeMap<_, _>, MeasureError>>()?;

    let (multilingual, across_languages) = across_languages(set, table, context)?;
    alone.insert(Axis::Languages, across_languages.alone.len());
    if !across_languages.cells.is_empty() {
        cells.insert(Axis::Languages, across_languages);
    }
    let (task_format, variants) = formats(set, answers, open, context, &mut cells)?;

    let mut other_readings = BTreeMap::new();
    let others = [
        ("debiased", &answers.debiased),
        ("top_five", &answers.top_five),
        ("cloze", &answers.cloze),
        ("cloze_per_token", &answers.cloze_per_token),
        ("cloze_per_byte", &answers.cloze_per_byte),
    ];
    for (name, other) in others {
        if let Some(other) = other.as_ref().filter(|other| !std::ptr::eq(*other, table)) {
            other_readings.insert(name, by_grouping(other, set, context)?);
        }
    }
    let abstention = answers.abstaining.as_ref();
    let abstention = abstention.map(|answers| abstaining(set, answers, context));
    let open = answers.open.as_ref();
    let open = open.map(|open| open_findings(set, open, context));
    let overall = cells
        .iter()
        .map(|(axis, found)| (*axis, found.consistency(context)))
        .collect();
    let findings = Findings {
        questions: counts(set, table, alone),
        overall,
        selections: selections(set, &cells, context),
        controversy: controversy(set, &cells, context),
        files,
        multilingual,
        task_format,
        task_format_variants: variants,
        other_readings,
        abstention: abstention.transpose()?,
        open: open.transpose()?,
        steering: answers
            .portraits
            .iter()
            .map(|answers| {
                (
                    answers.language.clone(),
                    steering(answers, context.settings.seed),
                )
            })
            .collect(),
        support: support(set, table, &cells),
        robustness: answers.robustness.clone(),
    };
    Ok(Measured { findings, cells })
}

fn counts(set: &QuestionSet, table: &AnswerTable, alone: BTreeMap<Axis, usize>) -> QuestionCounts {
    let (mut answered, mut topics, mut topics_of_one) = (0, 0, 0);
    for (number, file) in set.files.iter().enumerate() {
        let Some(rows) = table.get(&file.name) else {
            continue;
        };
        answered += rows.iter().flatten().count();
        let groups = of_file(number, file, rows, false);
        topics += groups.len();
        topics_of_one += groups
            .iter()
            .filter(|group| group.places.len() == 1)
            .count();
    }
    QuestionCounts {
        asked: set.len(),
        answered,
        left_out: set.len() - answered,
        topics,
        topics_of_one,
        alone,
    }
}

/// Paraphrase and topic cells of the questions that a key of their file puts together.
fn grouped_by<K: Ord>(
    set: &QuestionSet,
    cells: &BTreeMap<Axis, Cells>,
    key: impl Fn(&QuestionFile) -> K,
    context: &Context,
) -> BTreeMap<K, ByGrouping> {
    let by = |axis: Axis| {
        let cells = cells.get(&axis).cloned().unwrap_or_default();
        cells.by(|(file, _): Place| key(&set.files[file]))
    };
    let (mut paraphrases, mut topics) = (by(Axis::Paraphrases), by(Axis::Topics));
    let mut found = BTreeMap::new();
    while let Some((key, topic)) = topics.pop_first() {
        let paraphrase = paraphrases.remove(&key).unwrap_or_default();
        let of_key = ByGrouping {
            paraphrase: paraphrase.consistency(context),
            topic: topic.consistency(context),
        };
        found.insert(key, of_key);
    }
    // Questions of one topic each may still be phrased in several ways.
    for (key, paraphrase) in paraphrases {
        let of_key = ByGrouping {
            paraphrase: paraphrase.consistency(context),
            topic: Cells::default().consistency(context),
        };
        found.insert(key, of_key);
    }
    found
}

fn selections(
    set: &QuestionSet,
    cells: &BTreeMap<Axis, Cells>,
    context: &Context,
) -> BTreeMap<&'static str, BTreeMap<String, ByGrouping>> {
    type Key = fn(&QuestionFile) -> String;
    let keys: [(&'static str, Key); 3] = [
        ("language", |file| file.origin.language.clone()),
        ("country", |file| file.origin.country.clone()),
        ("controversy", |file| file.origin.controversy().to_owned()),
    ];
    keys.into_iter()
        .map(|(name, key)| (name, grouped_by(set, cells, key, context)))
        .collect()
}

fn controversy(
    set: &QuestionSet,
    cells: &BTreeMap<Axis, Cells>,
    context: &Context,
) -> Vec<Controversy> {
    let key = |file: &QuestionFile| {
        let origin = &file.origin;
        (
            origin.language.clone(),
            origin.country.clone(),
            origin.controversial,
        )
    };
    let parts = grouped_by(set, cells, key, context);
    let pairs = parts
        .iter()
        .filter_map(|((language, country, controversial), first)| {
            let other = (language.clone(), country.clone(), true);
            let second = parts.get(&other).filter(|_| !controversial)?;
            let ratio = |a: Consistency, b: Consistency| (b.mean > 0.0).then(|| a.mean / b.mean);
            let ends = |axis: Axis| {
                let cells = &cells.get(&axis)?.cells;
                let of_both = cells.iter().filter_map(|cell| {
                    let origin = &set.files[cell.place.0].origin;
                    let is_of = origin.language == *language && origin.country == *country;
                    let sums = if origin.controversial {
                        [cell.distance, 1.0, 0.0, 0.0]
                    } else {
                        [0.0, 0.0, cell.distance, 1.0]
                    };
                    is_of.then_some((cell.place, sums))
                });
                let times = |[a, n, b, m]: &[f64; 4]| (a / n) / (b / m);
                context.of_sums(of_both, times, 1.0, Scale::Log).ends
            };
            Some(Controversy {
                paraphrase_ratio_ci95: ends(Axis::Paraphrases),
                topic_ratio_ci95: ends(Axis::Topics),
                language: language.clone(),
                country: country.clone(),
                paraphrase_ratio: ratio(second.paraphrase, first.paraphrase),
                topic_ratio: ratio(second.topic, first.topic),
                controversial: *second,
                uncontroversial: *first,
            })
        });
    pairs.collect()
}

type Formats = (
    BTreeMap<String, TaskFormat>,
    BTreeMap<&'static str, Consistency>,
);

/// Two formats of one question against each other, and all three.
fn formats(
    set: &QuestionSet,
    answers: &Answers,
    open: Option<&AnswerTable>,
    context: &Context,
    cells: &mut BTreeMap<Axis, Cells>,
) -> Result<Formats, MeasureError> {
    let (letter, cloze) = (answers.letter.as_ref(), answers.cloze.as_ref());
    let pairs: [(Axis, Vec<Option<&AnswerTable>>); 4] = [
        (Axis::Formats, vec![letter, cloze]),
        (Axis::LettersAndPassages, vec![letter, open]),
        (Axis::TextsAndPassages, vec![cloze, open]),
        (Axis::AllFormats, vec![letter, cloze, open]),
    ];
    let mut by_file = BTreeMap::new();
    for (axis, tables) in pairs {
        let Some(tables) = tables.into_iter().collect::<Option<Vec<_>>>() else {
            continue;
        };
        let found = across(&tables, set)?;
        if axis == Axis::Formats {
            for (file, part) in found.by(|(file, _)| file) {
                let Consistency {
                    mean,
                    ci95,
                    distances,
                    ..
                } = part.consistency(context);
                let finding = TaskFormat {
                    mean,
                    ci95,
                    distances,
                };
                by_file.insert(set.files[file].name.clone(), finding);
            }
        }
        if !found.cells.is_empty() {
            cells.insert(axis, found);
        }
    }
    let mut variants = BTreeMap::new();
    let others = [
        ("per_token", &answers.cloze_per_token),
        ("per_byte", &answers.cloze_per_byte),
    ];
    for (name, texts) in others {
        if let (Some(letters), Some(texts)) = (letter, texts) {
            variants.insert(name, across(&[letters, texts], set)?.consistency(context));
        }
    }
    Ok((by_file, variants))
}

/// The findings of one file.
fn of_one_file(
    set: &QuestionSet,
    number: usize,
    table: &AnswerTable,
    cells: &BTreeMap<Axis, Cells>,
    context: &Context,
) -> Result<FileFindings, MeasureError> {
    let file = &set.files[number];
    let answers = &table[&file.name];
    let of = |axis: Axis| {
        let cells = cells.get(&axis).cloned().unwrap_or_default();
        cells.only(|(file, _)| file == number)
    };
    let (paraphrase, topic) = (of(Axis::Paraphrases), of(Axis::Topics));
    let means = |cells: &Cells, key: &dyn Fn(usize) -> String| -> BTreeMap<String, f64> {
        let parts = cells.by(|(_, row)| key(row)).into_iter();
        let parts = parts.filter(|(_, part)| !part.cells.is_empty());
        parts.map(|(key, part)| (key, part.mean())).collect()
    };
    let topic_of = |row: usize| file.questions[row].topic.clone();
    let original_of = |row: usize| file.questions[row].original.clone();
    let mut other_distances = BTreeMap::new();
    let alone = AnswerTable::from([(file.name.clone(), answers.clone())]);
    for distance in &Distance::ALL[1..] {
        let of = |paraphrases| Cells::of_table(*distance, &alone, set, paraphrases);
        let values = BTreeMap::from([
            ("paraphrase", of(true)?.mean()),
            ("topic", of(false)?.mean()),
        ]);
        other_distances.insert(distance.name(), values);
    }
    let validated = set.validated.get(&file.name).map(|kept| {
        let rows: AnswerTable = AnswerTable::from([(
            file.name.clone(),
            file.questions
                .iter()
                .zip(answers)
                .map(|(question, answer)| {
                    answer.clone().filter(|_| kept.contains(&question.original))
                })
                .collect(),
        )]);
        let ByGrouping { paraphrase, topic } = by_grouping(&rows, set, context)?;
        Ok(Validated {
            originals: paraphrase.groups,
            questions: paraphrase.distances,
            paraphrase,
            topic,
        })
    });
    let paraphrased = paraphrase.consistency(context);
    let topical = topic.consistency(context);
    Ok(FileFindings {
        questions: file.questions.len(),
        answered: answers.iter().flatten().count(),
        paraphrase: paraphrased.mean,
        paraphrase_ci95: paraphrased.ci95,
        paraphrase_study_ci95: paraphrased.study_ci95,
        paraphrase_by_topic: means(&paraphrase, &topic_of),
        paraphrase_by_question: means(&paraphrase, &original_of),
        topic: topical.mean,
        topic_ci95: topical.ci95,
        topic_study_ci95: topical.study_ci95,
        topic_by_topic: means(&topic, &topic_of),
        rephrase_entropy_bits: stance_entropy(number, file, answers, true),
        topic_entropy_bits: stance_entropy(number, file, answers, false),
        topic_names: file
            .topic_names()
            .into_iter()
            .map(|(topic, name)| (topic.to_owned(), name.to_owned()))
            .collect(),
        support_by_topic: support_by_topic(file, answers)
            .into_iter()
            .map(|(topic, found)| {
                let values: Vec<f64> = found.iter().map(|(_, p)| *p).collect();
                (topic, mean(&values))
            })
            .collect(),
        other_distances,
        validated: validated.transpose()?,
    })
}

/// The mean over originals, or over topics, of the entropy of the most probable stance; a tie counts for the first stance.
fn stance_entropy(
    number: usize,
    file: &QuestionFile,
    answers: &[Option<Distribution>],
    paraphrases: bool,
) -> f64 {
    let entropies: Vec<f64> = of_file(number, file, answers, paraphrases)
        .iter()
        .map(|group| {
            let mut counts: BTreeMap<usize, f64> = BTreeMap::new();
            for (_, row) in &group.places {
                let Some(answer) = &answers[*row] else {
                    continue;
                };
                *counts.entry(answer.mode().unwrap_or(0)).or_default() += 1.0;
            }
            let total: f64 = counts.values().sum();
            entropy_bits(
                &counts
                    .values()
                    .map(|count| count / total)
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    mean(&entropies)
}
