//! What readers make of passages, and how far they agree.

use super::answers::AnswerTable;
use super::consistency::{ByGrouping, Consistency, MeasureError, Settings, across, by_grouping};
use super::open::{OpenAnswers, PassageCounts, ReaderTrust};
use concord_questions::QuestionSet;
use concord_stats::{fleiss_kappa, mean, median};
use serde::Serialize;
use std::collections::BTreeMap;

/// What written passages say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenFindings {
    /// How the writing went.
    pub passages: PassageCounts,
    /// By reader.
    pub readers: BTreeMap<String, ReaderFindings>,
    /// How far readers agree, where there are several.
    pub agreement: Option<Agreement>,
}

/// What one reader read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReaderFindings {
    /// How far it can be trusted.
    pub trust: ReaderTrust,
    /// Whether it should not be: its mean label mass is below one half.
    pub doubtful: bool,
    /// The consistency of the passages' stances.
    pub consistency: ByGrouping,
    /// Mean probability of declining, where an option that declines was shown.
    pub declined: Option<f64>,
}

/// How far readers agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Passages that all of them read.
    pub passages: usize,
    /// Fleiss' κ of the most probable stances. Absent where all passages have one and the same.
    pub kappa: Option<f64>,
    /// The median over topics of κ within a topic, as the study gives it.
    pub median_kappa_of_topics: Option<f64>,
    /// By two readers.
    pub pairs: Vec<PairAgreement>,
    /// Mean distance of all readers' stances to their centroid.
    pub distance: Consistency,
}

/// How far two readers agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairAgreement {
    /// The readers.
    pub readers: [String; 2],
    /// Share of passages whose most probable stance is the same.
    pub same_stance: f64,
    /// Mean distance of the two stances to their centroid.
    pub distance: Consistency,
}

impl OpenAnswers {
    /// The stances of the first reader: the checkpoint itself, where it is among them.
    pub(crate) fn first_reader(&self) -> Option<&AnswerTable> {
        let own = self.readers.get(SELF_READER);
        own.or_else(|| self.readers.values().next())
            .map(|reader| &reader.table)
    }
}

/// What a checkpoint is called as the reader of its own passages.
pub const SELF_READER: &str = "itself";

pub(crate) fn open_findings(
    set: &QuestionSet,
    open: &OpenAnswers,
    settings: Settings,
) -> Result<OpenFindings, MeasureError> {
    let mut readers = BTreeMap::new();
    for (name, answers) in &open.readers {
        let declined = answers.allowed.as_ref().map(|table| {
            let answers = table.values().flatten().flatten();
            mean(
                &answers
                    .map(|answer| answer.probabilities()[0])
                    .collect::<Vec<_>>(),
            )
        });
        readers.insert(
            name.clone(),
            ReaderFindings {
                trust: answers.trust,
                doubtful: answers.trust.label_mass < 0.5,
                consistency: by_grouping(&answers.table, set, settings)?,
                declined,
            },
        );
    }
    Ok(OpenFindings {
        passages: open.passages,
        agreement: agreement(set, open, settings)?,
        readers,
    })
}

fn agreement(
    set: &QuestionSet,
    open: &OpenAnswers,
    settings: Settings,
) -> Result<Option<Agreement>, MeasureError> {
    if open.readers.len() < 2 {
        return Ok(None);
    }
    let tables: Vec<(&String, &AnswerTable)> = open
        .readers
        .iter()
        .map(|(name, reader)| (name, &reader.table))
        .collect();
    let (mut all, mut by_topic) = (Vec::new(), BTreeMap::<_, Vec<Vec<u32>>>::new());
    let mut same: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for file in &set.files {
        for (row, question) in file.questions.iter().enumerate() {
            let answers = tables
                .iter()
                .map(|(_, table)| table.get(&file.name)?[row].as_ref());
            let Some(answers) = answers.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let mut counts = vec![0u32; answers[0].probabilities().len()];
            // A tie counts for the first stance.
            let modes: Vec<usize> = answers
                .iter()
                .map(|answer| answer.mode().unwrap_or(0))
                .collect();
            for mode in &modes {
                counts[*mode] += 1;
            }
            for (index, a) in modes.iter().enumerate() {
                for (other, b) in modes.iter().enumerate().skip(index + 1) {
                    let is = if a == b { 1.0 } else { 0.0 };
                    same.entry((index, other)).or_default().push(is);
                }
            }
            by_topic
                .entry((&file.name, &question.topic))
                .or_default()
                .push(counts.clone());
            all.push(counts);
        }
    }
    let mut pairs = Vec::new();
    for ((a, b), same) in same {
        pairs.push(PairAgreement {
            readers: [tables[a].0.clone(), tables[b].0.clone()],
            same_stance: mean(&same),
            distance: across(&[tables[a].1, tables[b].1], set)?.consistency(settings),
        });
    }
    let of_topics: Vec<f64> = by_topic
        .values()
        .filter_map(|counts| fleiss_kappa(counts))
        .collect();
    let tables: Vec<&AnswerTable> = tables.iter().map(|(_, table)| *table).collect();
    Ok(Some(Agreement {
        passages: all.len(),
        kappa: fleiss_kappa(&all),
        median_kappa_of_topics: median(&of_topics),
        pairs,
        distance: across(&tables, set)?.consistency(settings),
    }))
}
