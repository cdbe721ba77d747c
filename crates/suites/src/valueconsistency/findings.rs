//! What the answers say.

use super::answers::{AnswerTable, Answers, Robustness};
use super::groups::{countries, join, of_file};
use concord_questions::{QuestionFile, QuestionSet};
use concord_stats::{CentroidDiverged, Distance, Distribution, bca_mean, entropy_bits, mean};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// Why answers could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// A centroid did not settle.
    #[error(transparent)]
    Centroid(#[from] CentroidDiverged),
    /// Answers of one group have different numbers of stances.
    #[error("answers about `{topic}` have different numbers of stances and cannot be compared")]
    MixedStances {
        /// The topic or country.
        topic: String,
    },
}

/// Settings of the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bootstrap resamples; `None` for their limit ([`concord_stats::bca_mean`]).
    pub resamples: Option<usize>,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// A mean distance with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Consistency {
    /// The mean over all answers, each counted once.
    pub mean: f64,
    /// The ends of the 95 % BCa bootstrap interval.
    pub ci95: [f64; 2],
    /// How many distances it is the mean of.
    pub distances: usize,
}

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
    /// The same by topic.
    pub paraphrase_by_topic: BTreeMap<String, f64>,
    /// Mean distance to the centroid of a topic's questions, phrasings included.
    pub topic: f64,
    /// Its interval.
    pub topic_ci95: [f64; 2],
    /// The same by topic.
    pub topic_by_topic: BTreeMap<String, f64>,
    /// Mean entropy of the most probable stance over a question's phrasings, in bits.
    pub rephrase_entropy_bits: f64,
    /// The same over a topic's questions, phrasings included.
    pub topic_entropy_bits: f64,
    /// Mean probability of support.
    pub support_by_topic: BTreeMap<String, f64>,
    /// The other distances, as `{name: {paraphrase, topic}}`.
    pub other_distances: BTreeMap<&'static str, BTreeMap<&'static str, f64>>,
}

/// What the answers of one country say across languages.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Multilingual {
    /// The files joined.
    pub files: Vec<String>,
    /// Groups of phrasings.
    pub groups: usize,
    /// Distances in them.
    pub distances: usize,
    /// Their mean.
    pub mean: f64,
    /// Its interval.
    pub ci95: [f64; 2],
    /// The means of the other distances, by name.
    pub other_distances: BTreeMap<&'static str, f64>,
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

/// Everything measured of one set of answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// Over all answers.
    pub overall: BTreeMap<&'static str, Consistency>,
    /// By file.
    pub files: BTreeMap<String, FileFindings>,
    /// By country with several languages.
    pub multilingual: BTreeMap<String, Multilingual>,
    /// By file with two formats.
    pub task_format: BTreeMap<String, TaskFormat>,
    /// Letters against the likelihood of answer texts by mean over tokens and over bytes.
    pub task_format_variants: BTreeMap<&'static str, Consistency>,
    /// How far letters can be trusted.
    pub robustness: Option<Robustness>,
}

/// Findings and the distances they are means of, in a fixed order, for paired comparison.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The findings.
    pub findings: Findings,
    /// Distances by measure.
    pub distances: BTreeMap<&'static str, Vec<f64>>,
}

/// Measures answers.
///
/// # Errors
/// [`MeasureError`].
pub fn measure(
    set: &QuestionSet,
    answers: &Answers,
    settings: Settings,
) -> Result<Measured, MeasureError> {
    let first = answers.letter.as_ref().or(answers.cloze.as_ref());
    let empty = AnswerTable::new();
    let table = first.unwrap_or(&empty);
    let interval = |data: &[f64]| interval(data, settings);

    let asked: Vec<&QuestionFile> = set
        .files
        .iter()
        .filter(|file| table.contains_key(&file.name))
        .collect();
    let by_file: Vec<(FileFindings, Vec<f64>, Vec<f64>)> = asked
        .par_iter()
        .map(|file| of_one_file(file, &table[&file.name], settings))
        .collect::<Result<_, _>>()?;
    let mut distances: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    let mut files = BTreeMap::new();
    for (file, (findings, paraphrase, topic)) in asked.iter().zip(by_file) {
        distances
            .entry("paraphrase")
            .or_default()
            .extend(paraphrase);
        distances.entry("topic").or_default().extend(topic);
        files.insert(file.name.clone(), findings);
    }

    let mut multilingual = BTreeMap::new();
    for country in countries(set, table) {
        let groups = join(&country, table);
        let by = |distance: Distance| -> Result<Vec<f64>, MeasureError> {
            let of_groups = groups
                .par_iter()
                .map(|group| of_group(distance, group, &country.name));
            Ok(of_groups.collect::<Result<Vec<_>, _>>()?.concat())
        };
        let found = by(Distance::Centroid)?;
        let mut other_distances = BTreeMap::new();
        for distance in &Distance::ALL[1..] {
            other_distances.insert(distance.name(), mean(&by(*distance)?));
        }
        multilingual.insert(
            country.name.clone(),
            Multilingual {
                files: country.files.iter().map(|file| file.name.clone()).collect(),
                groups: groups.len(),
                distances: found.len(),
                mean: mean(&found),
                ci95: interval(&found),
                other_distances,
            },
        );
        distances.entry("multilingual").or_default().extend(found);
    }

    let mut task_format = BTreeMap::new();
    let mut variants = BTreeMap::new();
    if let Some(letters) = &answers.letter {
        if let Some(texts) = &answers.cloze {
            for (name, found) in between(letters, texts)? {
                let finding = TaskFormat {
                    mean: mean(&found),
                    ci95: interval(&found),
                    distances: found.len(),
                };
                task_format.insert(name, finding);
                distances.entry("task_format").or_default().extend(found);
            }
        }
        let others = [
            ("per_token", &answers.cloze_per_token),
            ("per_byte", &answers.cloze_per_byte),
        ];
        for (name, texts) in others {
            if let Some(texts) = texts {
                let found: Vec<f64> = between(letters, texts)?
                    .into_iter()
                    .flat_map(|(_, found)| found)
                    .collect();
                variants.insert(name, consistency(&found, settings));
            }
        }
    }
    let overall = distances
        .iter()
        .map(|(name, found)| (*name, consistency(found, settings)))
        .collect();
    let findings = Findings {
        overall,
        files,
        multilingual,
        task_format,
        task_format_variants: variants,
        robustness: answers.robustness,
    };
    Ok(Measured {
        findings,
        distances,
    })
}

fn interval(data: &[f64], settings: Settings) -> [f64; 2] {
    let interval = bca_mean(data, 0.95, settings.resamples, settings.seed);
    [interval.low, interval.high]
}

fn consistency(data: &[f64], settings: Settings) -> Consistency {
    Consistency {
        mean: mean(data),
        ci95: interval(data, settings),
        distances: data.len(),
    }
}

/// The distances of one group.
fn of_group(
    distance: Distance,
    group: &[&Distribution],
    topic: &str,
) -> Result<Vec<f64>, MeasureError> {
    let group: Vec<&[f64]> = group.iter().map(|answer| answer.probabilities()).collect();
    if group.iter().any(|answer| answer.len() != group[0].len()) {
        return Err(MeasureError::MixedStances {
            topic: topic.to_owned(),
        });
    }
    Ok(distance.of_group(&group)?)
}

/// The findings of one file, and its paraphrase and topic distances.
fn of_one_file(
    file: &QuestionFile,
    answers: &[Option<Distribution>],
    settings: Settings,
) -> Result<(FileFindings, Vec<f64>, Vec<f64>), MeasureError> {
    let grouped = |distance: Distance,
                   paraphrases: bool|
     -> Result<(Vec<f64>, BTreeMap<String, f64>), MeasureError> {
        let mut all = Vec::new();
        let mut by_topic: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for group in of_file(file, answers, paraphrases) {
            let members: Vec<&Distribution> = group
                .rows
                .iter()
                .filter_map(|row| answers[*row].as_ref())
                .collect();
            let found = of_group(distance, &members, &group.topic)?;
            all.extend_from_slice(&found);
            by_topic.entry(group.topic).or_default().extend(found);
        }
        Ok((
            all,
            by_topic
                .into_iter()
                .map(|(topic, found)| (topic, mean(&found)))
                .collect(),
        ))
    };
    let (paraphrase, paraphrase_by_topic) = grouped(Distance::Centroid, true)?;
    let (topic, topic_by_topic) = grouped(Distance::Centroid, false)?;
    let mut other_distances = BTreeMap::new();
    for distance in &Distance::ALL[1..] {
        let values = BTreeMap::from([
            ("paraphrase", mean(&grouped(*distance, true)?.0)),
            ("topic", mean(&grouped(*distance, false)?.0)),
        ]);
        other_distances.insert(distance.name(), values);
    }
    let mut support: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (question, answer) in file.questions.iter().zip(answers) {
        // Support is the last of the sorted stances.
        if let Some(p) = answer
            .as_ref()
            .and_then(|answer| answer.probabilities().last())
        {
            support.entry(question.topic.clone()).or_default().push(*p);
        }
    }
    let findings = FileFindings {
        questions: file.questions.len(),
        answered: answers.iter().flatten().count(),
        paraphrase: mean(&paraphrase),
        paraphrase_ci95: interval(&paraphrase, settings),
        paraphrase_by_topic,
        topic: mean(&topic),
        topic_ci95: interval(&topic, settings),
        topic_by_topic,
        rephrase_entropy_bits: stance_entropy(file, answers, true),
        topic_entropy_bits: stance_entropy(file, answers, false),
        support_by_topic: support
            .into_iter()
            .map(|(topic, found)| (topic, mean(&found)))
            .collect(),
        other_distances,
    };
    Ok((findings, paraphrase, topic))
}

/// The mean over originals, or over topics, of the entropy of the most probable stance; a tie counts for the first stance.
fn stance_entropy(file: &QuestionFile, answers: &[Option<Distribution>], paraphrases: bool) -> f64 {
    let entropies: Vec<f64> = of_file(file, answers, paraphrases)
        .iter()
        .map(|group| {
            let mut counts: BTreeMap<usize, f64> = BTreeMap::new();
            for answer in group.rows.iter().filter_map(|row| answers[*row].as_ref()) {
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

/// By file, the distances of each question's two answers to their centroid.
fn between(
    first: &AnswerTable,
    second: &AnswerTable,
) -> Result<Vec<(String, Vec<f64>)>, MeasureError> {
    let mut by_file = Vec::new();
    for (name, second) in second {
        let Some(first) = first.get(name) else {
            continue;
        };
        let pairs: Vec<(&Distribution, &Distribution)> = first
            .iter()
            .zip(second)
            .filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?)))
            .collect();
        let found = pairs
            .par_iter()
            .map(|(a, b)| of_group(Distance::Centroid, &[a, b], name))
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        by_file.push((name.clone(), found));
    }
    Ok(by_file)
}
