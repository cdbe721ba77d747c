//! One question in several languages.

use super::answers::AnswerTable;
use super::consistency::{Cells, Consistency, MeasureError};
use super::context::Context;
use super::groups::{countries, join, join_translations, shared_originals};
use concord_questions::QuestionSet;
use concord_stats::Distance;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the answers of one country say across languages.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Multilingual {
    /// The files joined.
    pub files: Vec<String>,
    /// Groups of two phrasings or more.
    pub groups: usize,
    /// Distances in them.
    pub distances: usize,
    /// Phrasings that are alone, and not counted.
    pub alone: usize,
    /// The mean of the distances.
    pub mean: f64,
    /// Its interval.
    pub ci95: [f64; 2],
    /// The means of the other distances, by name.
    pub other_distances: BTreeMap<&'static str, f64>,
    /// Originals alone, and only those that every language has; absent where there is none.
    pub translations: Option<Consistency>,
    /// Files that share no original with another, and so are compared with nothing there.
    pub apart: Vec<[String; 2]>,
    /// Answered questions without an English original, which are left out.
    pub left_out: usize,
}

/// By country, and the distances of all of them, by the study's grouping.
pub(crate) fn across_languages(
    set: &QuestionSet,
    table: &AnswerTable,
    context: &Context,
) -> Result<(BTreeMap<String, Multilingual>, Cells), MeasureError> {
    let mut found = BTreeMap::new();
    let mut all = Cells::default();
    let mut groups_before = 0;
    for country in countries(set, table) {
        let groups = join(&country, table)?;
        let named = || {
            groups
                .iter()
                .map(|group| (country.name.as_str(), &group[..]))
        };
        let cells = Cells::of(Distance::Centroid, table, set, named())?;
        let mut other_distances = BTreeMap::new();
        for distance in &Distance::ALL[1..] {
            let cells = Cells::of(*distance, table, set, named())?;
            other_distances.insert(distance.name(), cells.mean());
        }
        let strict = join_translations(&country, table);
        let strict = strict
            .iter()
            .map(|group| (country.name.as_str(), &group[..]));
        let translations = Cells::of(Distance::Centroid, table, set, strict)?;
        let mut apart = Vec::new();
        for (index, (_, a)) in country.files.iter().enumerate() {
            for (_, b) in &country.files[index + 1..] {
                if shared_originals(a, b) == 0 {
                    apart.push([a.name.clone(), b.name.clone()]);
                }
            }
        }
        let consistency = cells.consistency(context);
        let languages = Multilingual {
            files: country
                .files
                .iter()
                .map(|(_, file)| file.name.clone())
                .collect(),
            groups: consistency.groups,
            distances: consistency.distances,
            alone: consistency.alone,
            mean: consistency.mean,
            ci95: consistency.ci95,
            other_distances,
            translations: (!translations.cells.is_empty())
                .then(|| translations.consistency(context)),
            apart,
            left_out: country
                .files
                .iter()
                .filter_map(|(_, file)| Some((file, table.get(&file.name)?)))
                .flat_map(|(file, rows)| file.questions.iter().zip(rows))
                .filter(|(question, answer)| {
                    question.original_english.is_none() && answer.is_some()
                })
                .count(),
        };
        all.stances = cells.stances;
        all.alone.extend(&cells.alone);
        all.cells.extend(cells.cells.into_iter().map(|mut cell| {
            cell.group += groups_before;
            cell
        }));
        groups_before += groups.len();
        found.insert(country.name, languages);
    }
    Ok((found, all))
}
