//! What is supported, which topics are answered most and least alike, and whether "yes" is said whatever it means.

use super::answers::AnswerTable;
use super::axis::Axis;
use super::consistency::Cells;
use super::topics::{by_original, pooled_ends};
use concord_questions::{QuestionFile, QuestionSet, Stance};
use concord_stats::{Distribution, GroupMean, mean, pooled};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is supported.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Support {
    /// Mean probability of support by file and topic.
    pub topics: Vec<TopicSupport>,
    /// How much alike each topic is answered, of those with two questions or more; most alike first.
    pub ranked: Vec<TopicRank>,
    /// The topics answered most alike.
    pub most_consistent: Vec<TopicRank>,
    /// The topics answered least alike.
    pub least_consistent: Vec<TopicRank>,
    /// Whether the first option is chosen whatever it stands for.
    pub first_option: Option<FirstOption>,
    /// By language the share of questions with two options whose most probable answer is the first option ("yes" in the study's
    /// questions), as the study counts it. A tie counts half.
    pub yes: BTreeMap<String, f64>,
}

/// How far one topic is supported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicSupport {
    /// The file.
    pub file: String,
    /// The topic, in English where that is known.
    pub topic: String,
    /// Mean probability of support.
    pub mean: f64,
    /// The same, drawn towards the mean of all topics by as much as it is uncertain.
    pub pooled: f64,
    /// The ends of its 95 % interval.
    pub ci95: [f64; 2],
    /// Questions answered.
    pub questions: usize,
}

/// How much alike the questions of one topic are answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicRank {
    /// The file.
    pub file: String,
    /// The topic, in English where that is known.
    pub topic: String,
    /// Mean distance to the centroid of the topic's questions.
    pub distance: f64,
    /// The same, drawn towards the mean of all topics by as much as it is uncertain: topics stand in its order.
    pub pooled: f64,
    /// The ends of its 95 % interval.
    pub ci95: [f64; 2],
    /// Questions answered.
    pub questions: usize,
}

/// The first option ("yes" in the study's questions) of questions with two options.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FirstOption {
    /// Its mean probability where it supports. Absent where it never does.
    pub where_it_supports: Option<f64>,
    /// Its mean probability where it opposes. Absent where it never does.
    pub where_it_opposes: Option<f64>,
    /// The mean of the two, less one half: 0 where nothing is said for the sake of saying yes. Absent where one is.
    pub bias: Option<f64>,
    /// Questions.
    pub questions: usize,
}

/// Topics that are listed at either end.
const LISTED: usize = 5;

pub(crate) fn support(
    set: &QuestionSet,
    table: &AnswerTable,
    cells: &BTreeMap<Axis, Cells>,
) -> Support {
    let mut topics = Vec::new();
    let (mut supporting, mut opposing) = (Vec::new(), Vec::new());
    let mut own = Vec::new();
    let mut said: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (number, file) in set.files.iter().enumerate() {
        let Some(answers) = table.get(&file.name) else {
            continue;
        };
        let names = file.topic_names();
        for (topic, found) in support_by_topic(file, answers) {
            let values: Vec<f64> = found.iter().map(|(_, p)| *p).collect();
            own.extend(GroupMean::of(&by_original(
                set,
                found.iter().map(|(row, p)| ((number, *row), *p)),
            )));
            topics.push(TopicSupport {
                file: file.name.clone(),
                topic: names[topic.as_str()].to_owned(),
                mean: mean(&values),
                pooled: f64::NAN,
                ci95: [f64::NAN; 2],
                questions: found.len(),
            });
        }
        for (question, answer) in file.questions.iter().zip(answers) {
            let (Some(answer), [(_, first), _]) = (answer, &question.options[..]) else {
                continue;
            };
            let Some(support) = answer.probabilities().last() else {
                continue;
            };
            let yes = match first {
                Stance::Supports => Some(*support),
                Stance::Opposes => Some(1.0 - support),
                Stance::Neutral => None,
            };
            let chosen = yes.map(|p| {
                f64::midpoint(f64::from(u8::from(p > 0.5)), f64::from(u8::from(p >= 0.5)))
            });
            said.entry(&file.origin.language)
                .or_default()
                .extend(chosen);
            match first {
                Stance::Supports => supporting.push(*support),
                Stance::Opposes => opposing.push(1.0 - support),
                Stance::Neutral => {}
            }
        }
    }
    for ((topic, pooled), own) in topics.iter_mut().zip(pooled(&own)).zip(&own) {
        topic.pooled = pooled.mean;
        topic.ci95 = pooled_ends(&pooled, own.units).map(|end| end.clamp(0.0, 1.0));
    }
    let ranked = ranked(set, cells);
    let listed = LISTED.min(ranked.len());
    let absent_where_empty = |found: &[f64]| (!found.is_empty()).then(|| mean(found));
    let (yes, no) = (
        absent_where_empty(&supporting),
        absent_where_empty(&opposing),
    );
    Support {
        topics,
        most_consistent: ranked[..listed].to_vec(),
        least_consistent: ranked.iter().rev().take(listed).cloned().collect(),
        ranked,
        first_option: (yes.is_some() || no.is_some()).then(|| FirstOption {
            where_it_supports: yes,
            where_it_opposes: no,
            bias: yes.zip(no).map(|(yes, no)| f64::midpoint(yes, no) - 0.5),
            questions: supporting.len() + opposing.len(),
        }),
        yes: said
            .into_iter()
            .filter(|(_, all)| !all.is_empty())
            .map(|(language, all)| (language.to_owned(), mean(&all)))
            .collect(),
    }
}

/// How much alike each topic is answered, most alike first.
fn ranked(set: &QuestionSet, cells: &BTreeMap<Axis, Cells>) -> Vec<TopicRank> {
    let topic_cells = cells.get(&Axis::Topics).cloned().unwrap_or_default();
    let names: Vec<_> = set.files.iter().map(QuestionFile::topic_names).collect();
    let topic_of = |(file, row): (usize, usize)| {
        (
            file,
            names[file][set.files[file].questions[row].topic.as_str()],
        )
    };
    let by_topic: Vec<_> = topic_cells
        .by(topic_of)
        .into_iter()
        .filter(|(_, part)| part.cells.len() > 1)
        .collect();
    let own: Vec<GroupMean> = by_topic
        .iter()
        .filter_map(|(_, part)| {
            let distances = part.cells.iter().map(|cell| (cell.place, cell.distance));
            GroupMean::of(&by_original(set, distances))
        })
        .collect();
    let mut ranked: Vec<TopicRank> = by_topic
        .into_iter()
        .zip(pooled(&own))
        .zip(&own)
        .map(|((((file, topic), part), pooled), own)| TopicRank {
            file: set.files[file].name.clone(),
            topic: topic.to_owned(),
            distance: part.mean(),
            pooled: pooled.mean,
            // A distance is not negative.
            ci95: pooled_ends(&pooled, own.units).map(|end| end.clamp(0.0, f64::INFINITY)),
            questions: part.cells.len(),
        })
        .collect();
    ranked.sort_by(|a, b| a.pooled.total_cmp(&b.pooled));
    ranked
}

/// Probabilities of support by topic, each with its row; support is the last of the sorted stances.
pub(crate) fn support_by_topic(
    file: &QuestionFile,
    answers: &[Option<Distribution>],
) -> BTreeMap<String, Vec<(usize, f64)>> {
    let mut support: BTreeMap<String, Vec<(usize, f64)>> = BTreeMap::new();
    for (row, (question, answer)) in file.questions.iter().zip(answers).enumerate() {
        let p = answer
            .as_ref()
            .and_then(|answer| answer.probabilities().last());
        if let Some(p) = p {
            support
                .entry(question.topic.clone())
                .or_default()
                .push((row, *p));
        }
    }
    support
}
