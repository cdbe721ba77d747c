//! What raters make of passages, and how far they agree.

use super::answers::AnswerTable;
use super::consistency::{ByGrouping, Consistency, MeasureError, across, by_grouping};
use super::context::Context;
use super::open::{LOW_MASS, Mark, OpenAnswers, PassageCounts, RaterTrust};
use crate::SELF_RATER;
use concord_questions::QuestionSet;
use concord_stats::{Distribution, fleiss_kappa, mean, median};
use serde::Serialize;
use std::collections::BTreeMap;

/// What written passages say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenFindings {
    /// How the writing went.
    pub passages: PassageCounts,
    /// Passages that something is to be said about, by name.
    pub marked: BTreeMap<String, Vec<Mark>>,
    /// The rater whose stances stand for the open format beside the others: the checkpoint itself where it is among them.
    pub main_rater: Option<String>,
    /// By rater.
    pub raters: BTreeMap<String, RaterFindings>,
    /// How far raters agree, where there are several.
    pub agreement: Option<Agreement>,
}

/// What one rater read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RaterFindings {
    /// How far it can be trusted.
    pub trust: RaterTrust,
    /// Whether it should not be: its mean label mass is below one half.
    pub doubtful: bool,
    /// Passages that it read with a label mass below one half, by name.
    pub doubtful_passages: Vec<String>,
    /// The consistency of the passages' stances.
    pub consistency: ByGrouping,
    /// Mean probability of declining, where an option that declines was shown.
    pub declined: Option<f64>,
}

/// How far raters agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Passages that all of them read.
    pub passages: usize,
    /// Passages that some of them left out.
    pub left_out: usize,
    /// Raters that give every passage the same distribution as another, to the bit: one rater under two names, of which the second is
    /// not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub duplicates: Vec<[String; 2]>,
    /// Fleiss' κ of the most probable stances. Absent where all passages have one and the same.
    pub kappa: Option<f64>,
    /// The median over files of κ within a file, as the study takes it over its runs: of support, opposition and declining where that was
    /// an option.
    pub median_kappa_of_files: Option<f64>,
    /// The median over topics of κ within a topic, of the topics that have one.
    pub median_kappa_of_topics: Option<f64>,
    /// Topics that have a κ.
    pub topics: usize,
    /// Topics without one: every rater gives every passage the same stance, which is agreement that κ cannot count.
    pub unanimous_topics: usize,
    /// By two raters.
    pub pairs: Vec<PairAgreement>,
    /// Mean distance of all raters' stances to their centroid.
    pub distance: Consistency,
}

/// How far two raters agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairAgreement {
    /// The raters.
    pub raters: [String; 2],
    /// Passages that both of them read.
    pub passages: usize,
    /// Share of passages whose most probable stance is the same.
    pub same_stance: f64,
    /// Mean distance of the two stances to their centroid.
    pub distance: Consistency,
}

impl OpenAnswers {
    /// The checkpoint itself, where it is among the raters, else the first by name.
    pub(crate) fn main_rater(&self) -> Option<&str> {
        let own = self.raters.contains_key(SELF_RATER).then_some(SELF_RATER);
        own.or_else(|| self.raters.keys().next().map(String::as_str))
    }

    /// The stances of the main rater.
    pub(crate) fn main_stances(&self) -> Option<&AnswerTable> {
        let rater = self.raters.get(self.main_rater()?)?;
        Some(&rater.table)
    }
}

pub(crate) fn open_findings(
    set: &QuestionSet,
    open: &OpenAnswers,
    context: &Context,
) -> Result<OpenFindings, MeasureError> {
    let mut raters = BTreeMap::new();
    for (name, answers) in &open.raters {
        let declined = answers.allowed.as_ref().map(|table| {
            let answers = table.values().flatten().flatten();
            mean(
                &answers
                    .map(|answer| answer.probabilities()[0])
                    .collect::<Vec<_>>(),
            )
        });
        raters.insert(
            name.clone(),
            RaterFindings {
                trust: answers.trust,
                doubtful: answers.trust.label_mass < LOW_MASS,
                doubtful_passages: answers.doubtful.clone(),
                consistency: by_grouping(&answers.table, set, context)?,
                declined,
            },
        );
    }
    Ok(OpenFindings {
        passages: open.passages,
        marked: open.marked.clone(),
        main_rater: open.main_rater().map(str::to_owned),
        agreement: agreement(set, open, context)?,
        raters,
    })
}

fn agreement(
    set: &QuestionSet,
    open: &OpenAnswers,
    context: &Context,
) -> Result<Option<Agreement>, MeasureError> {
    let mut tables: Vec<(&String, &AnswerTable)> = Vec::new();
    let mut duplicates = Vec::new();
    for (name, rater) in &open.raters {
        let has_answers = rater.table.values().flatten().any(Option::is_some);
        let is_same = |(_, table): &&(&String, &AnswerTable)| has_answers && **table == rater.table;
        match tables.iter().find(is_same) {
            Some((known, _)) => duplicates.push([(*known).clone(), name.clone()]),
            None => tables.push((name, &rater.table)),
        }
    }
    if tables.len() < 2 && duplicates.is_empty() {
        return Ok(None);
    }
    let counted = counts(set, &tables);
    let with_declining: Option<Vec<(&String, &AnswerTable)>> = open
        .raters
        .iter()
        .filter(|(name, _)| tables.iter().any(|(known, _)| known == name))
        .map(|(name, rater)| Some((name, rater.allowed.as_ref()?)))
        .collect();
    // As the study's judges, where its raters could abstain too.
    let of_files = with_declining.map(|tables| counts(set, &tables));
    let of_files = kappas(&of_files.as_ref().unwrap_or(&counted).by_file);
    let of_topics = kappas(&counted.by_topic);
    let mut pairs = Vec::new();
    for (index, (first, a)) in tables.iter().enumerate() {
        for (second, b) in &tables[index + 1..] {
            let both = set
                .files
                .iter()
                .filter_map(|file| a.get(&file.name).zip(b.get(&file.name)));
            let both = both.flat_map(|(a, b)| a.iter().zip(b));
            let same: Vec<f64> = both
                .filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?)))
                .map(|(a, b)| if mode(a) == mode(b) { 1.0 } else { 0.0 })
                .collect();
            pairs.push(PairAgreement {
                raters: [(*first).clone(), (*second).clone()],
                passages: same.len(),
                same_stance: mean(&same),
                distance: across(&[a, b], set)?.consistency(context),
            });
        }
    }
    let tables: Vec<&AnswerTable> = tables.iter().map(|(_, table)| *table).collect();
    Ok(Some(Agreement {
        passages: counted.all.len(),
        left_out: counted.left_out,
        duplicates,
        // One rater agrees with nobody.
        kappa: fleiss_kappa(&counted.all).filter(|_| tables.len() > 1),
        median_kappa_of_files: median(&of_files),
        median_kappa_of_topics: median(&of_topics),
        topics: of_topics.len(),
        unanimous_topics: counted.by_topic.len() - of_topics.len(),
        pairs,
        distance: across(&tables, set)?.consistency(context),
    }))
}

/// How often each stance was the most probable one, passage by passage.
#[derive(Default)]
struct Counts<'a> {
    all: Vec<Vec<u32>>,
    by_file: BTreeMap<&'a str, Vec<Vec<u32>>>,
    by_topic: BTreeMap<(&'a str, &'a str), Vec<Vec<u32>>>,
    left_out: usize,
}

/// Of the passages that every rater read.
fn counts<'a>(set: &'a QuestionSet, tables: &[(&String, &AnswerTable)]) -> Counts<'a> {
    let mut found = Counts::default();
    for file in &set.files {
        for (row, question) in file.questions.iter().enumerate() {
            let answers = tables
                .iter()
                .map(|(_, table)| table.get(&file.name)?[row].as_ref());
            let answers: Vec<Option<&Distribution>> = answers.collect();
            let Some(answers) = answers.iter().copied().collect::<Option<Vec<_>>>() else {
                found.left_out += usize::from(answers.iter().any(Option::is_some));
                continue;
            };
            let mut counts = vec![0u32; answers[0].probabilities().len()];
            for answer in answers {
                counts[mode(answer)] += 1;
            }
            let of_file = found.by_file.entry(&file.name).or_default();
            of_file.push(counts.clone());
            let of_topic = found
                .by_topic
                .entry((&file.name, &question.topic))
                .or_default();
            of_topic.push(counts.clone());
            found.all.push(counts);
        }
    }
    found
}

/// κ of every part that has one.
fn kappas<K>(parts: &BTreeMap<K, Vec<Vec<u32>>>) -> Vec<f64> {
    parts
        .values()
        .filter_map(|counts| fleiss_kappa(counts))
        .collect()
}

/// The most probable stance; a tie counts for the first.
fn mode(answer: &Distribution) -> usize {
    answer.mode().unwrap_or(0)
}
