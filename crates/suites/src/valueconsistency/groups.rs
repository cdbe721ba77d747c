//! Which answers belong together.

use super::answers::AnswerTable;
use concord_questions::{QuestionFile, QuestionSet};
use concord_stats::Distribution;
use std::collections::HashMap;

/// Answered rows that belong together, by number; groups in order of first sight.
pub(crate) struct Group {
    pub topic: String,
    pub rows: Vec<usize>,
}

/// Groups the answered rows of a file by topic, and within it by original where `paraphrases` says so.
pub(crate) fn of_file(
    file: &QuestionFile,
    answers: &[Option<Distribution>],
    paraphrases: bool,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    for (row, question) in file.questions.iter().enumerate() {
        if answers.get(row).is_none_or(Option::is_none) {
            continue;
        }
        let original = if paraphrases {
            question.original.as_str()
        } else {
            ""
        };
        let place = *places
            .entry((&question.topic, original))
            .or_insert_with(|| {
                groups.push(Group {
                    topic: question.topic.clone(),
                    rows: Vec::new(),
                });
                groups.len() - 1
            });
        groups[place].rows.push(row);
    }
    groups
}

/// The files that ask about one country in several languages.
pub(crate) struct Country<'a> {
    /// The country; uncontroversial files are kept apart by a prefix.
    pub name: String,
    pub files: Vec<&'a QuestionFile>,
}

/// Countries with at least two languages among the answered files.
pub(crate) fn countries<'a>(set: &'a QuestionSet, table: &AnswerTable) -> Vec<Country<'a>> {
    let mut countries: Vec<Country<'a>> = Vec::new();
    for file in set
        .files
        .iter()
        .filter(|file| table.contains_key(&file.name))
    {
        let country = &file.origin.country;
        let name = if file.origin.controversial {
            country.clone()
        } else {
            format!("uncontroversial_{country}")
        };
        match countries.iter_mut().find(|known| known.name == name) {
            Some(known) => known.files.push(file),
            None => countries.push(Country {
                name,
                files: vec![file],
            }),
        }
    }
    countries.retain(|country| country.files.len() > 1);
    countries
}

/// Joins the files of a country: the *i*-th phrasings of one English original belong together, whatever they say.
///
/// An outer join as the study's code makes it: keys are English topic (null matches null), English original and the place
/// within the original in file order; a key that a file has twice is joined with every match.
///
/// # Source
/// `notebooks/valueconsistency.py` of the study: `pandas.merge(how="outer")` over all files.
pub(crate) fn join<'a>(
    country: &Country<'_>,
    table: &'a AnswerTable,
) -> Vec<Vec<&'a Distribution>> {
    type Key<'k> = (Option<&'k str>, Option<&'k str>, usize);
    let mut order: Vec<Key<'_>> = Vec::new();
    let mut joined: HashMap<Key<'_>, Vec<Vec<&Distribution>>> = HashMap::new();
    for file in &country.files {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut mine: HashMap<Key<'_>, Vec<Option<&Distribution>>> = HashMap::new();
        for (row, question) in file.questions.iter().enumerate() {
            let place = places.entry(&question.original).or_insert(0);
            let key = (
                question.topic_english.as_deref(),
                question.original_english.as_deref(),
                *place,
            );
            *place += 1;
            let answer = table
                .get(&file.name)
                .and_then(|rows| rows.get(row))
                .and_then(Option::as_ref);
            if !joined.contains_key(&key) && !mine.contains_key(&key) {
                order.push(key);
            }
            mine.entry(key).or_default().push(answer);
        }
        for (key, answers) in mine {
            let before = joined.remove(&key).unwrap_or_else(|| vec![Vec::new()]);
            let product = before.iter().flat_map(|group| {
                answers
                    .iter()
                    .map(move |answer| group.iter().copied().chain(*answer).collect::<Vec<_>>())
            });
            joined.insert(key, product.collect());
        }
    }
    let groups = order.iter().filter_map(|key| joined.remove(key)).flatten();
    groups.filter(|group| !group.is_empty()).collect()
}
