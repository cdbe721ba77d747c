//! What is supported, which topics are answered most and least alike, and whether "yes" is said whatever it means.

use super::answers::AnswerTable;
use super::axis::Axis;
use super::consistency::Cells;
use crate::Settings;
use concord_questions::{QuestionFile, QuestionSet, Stance};
use concord_stats::{Distribution, bca_mean, mean};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is supported.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Support {
    /// Mean probability of support by file and topic.
    pub topics: Vec<TopicSupport>,
    /// The topics answered most alike, of those with two questions or more.
    pub most_consistent: Vec<TopicRank>,
    /// The topics answered least alike.
    pub least_consistent: Vec<TopicRank>,
    /// Whether the first option is chosen whatever it stands for.
    pub first_option: Option<FirstOption>,
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
    /// The ends of the 95 % BCa bootstrap interval.
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
    settings: Settings,
) -> Support {
    let mut topics = Vec::new();
    let (mut supporting, mut opposing) = (Vec::new(), Vec::new());
    for file in &set.files {
        let Some(answers) = table.get(&file.name) else {
            continue;
        };
        let names = file.topic_names();
        for (topic, found) in support_by_topic(file, answers) {
            let interval = bca_mean(&found, 0.95, settings.resamples, settings.seed);
            topics.push(TopicSupport {
                file: file.name.clone(),
                topic: names[topic.as_str()].to_owned(),
                mean: mean(&found),
                ci95: [interval.low, interval.high],
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
            match first {
                Stance::Supports => supporting.push(*support),
                Stance::Opposes => opposing.push(1.0 - support),
                Stance::Neutral => {}
            }
        }
    }
    let topic_cells = cells.get(&Axis::Topics).cloned().unwrap_or_default();
    let names: Vec<_> = set.files.iter().map(QuestionFile::topic_names).collect();
    let topic_of = |(file, row): (usize, usize)| {
        (
            file,
            names[file][set.files[file].questions[row].topic.as_str()],
        )
    };
    let mut ranked: Vec<TopicRank> = topic_cells
        .by(topic_of)
        .into_iter()
        .filter(|(_, part)| part.cells.len() > 1)
        .map(|((file, topic), part)| TopicRank {
            file: set.files[file].name.clone(),
            topic: topic.to_owned(),
            distance: part.mean(),
            questions: part.cells.len(),
        })
        .collect();
    ranked.sort_by(|a, b| a.distance.total_cmp(&b.distance));
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
        first_option: (yes.is_some() || no.is_some()).then(|| FirstOption {
            where_it_supports: yes,
            where_it_opposes: no,
            bias: yes.zip(no).map(|(yes, no)| f64::midpoint(yes, no) - 0.5),
            questions: supporting.len() + opposing.len(),
        }),
    }
}

/// Probabilities of support by topic; support is the last of the sorted stances.
pub(crate) fn support_by_topic(
    file: &QuestionFile,
    answers: &[Option<Distribution>],
) -> BTreeMap<String, Vec<f64>> {
    let mut support: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (question, answer) in file.questions.iter().zip(answers) {
        let p = answer
            .as_ref()
            .and_then(|answer| answer.probabilities().last());
        if let Some(p) = p {
            support.entry(question.topic.clone()).or_default().push(*p);
        }
    }
    support
}
