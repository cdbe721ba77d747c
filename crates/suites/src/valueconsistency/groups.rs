//! Which answers belong together.

use super::answers::AnswerTable;
use super::consistency::MeasureError;
use super::plan::Place;
use concord_questions::{QuestionFile, QuestionSet};
use concord_stats::Distribution;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Answered questions that belong together.
pub(crate) struct Group {
    pub topic: String,
    pub places: Vec<Place>,
}

/// Groups the answered rows of a file by topic, and within it by original where `paraphrases` says so. Groups stand in order
/// of first sight.
pub(crate) fn of_file(
    number: usize,
    file: &QuestionFile,
    answers: &[Option<Distribution>],
    paraphrases: bool,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    // What belongs together mostly stands together.
    let mut last: Option<((&str, &str), usize)> = None;
    for (row, question) in file.questions.iter().enumerate() {
        if answers.get(row).is_none_or(Option::is_none) {
            continue;
        }
        let original = if paraphrases {
            question.original.as_str()
        } else {
            ""
        };
        let key = (question.topic.as_str(), original);
        let place = match last {
            Some((known, place)) if known == key => place,
            _ => *places.entry(key).or_insert_with(|| {
                groups.push(Group {
                    topic: question.topic.clone(),
                    places: Vec::new(),
                });
                groups.len() - 1
            }),
        };
        last = Some((key, place));
        groups[place].places.push((number, row));
    }
    groups
}

/// The files that ask about one country in several languages.
pub(crate) struct Country<'a> {
    /// The country; uncontroversial files are kept apart by a prefix.
    pub name: String,
    /// Each with its number in the set.
    pub files: Vec<(usize, &'a QuestionFile)>,
}

/// Countries with at least two languages among the answered files.
pub(crate) fn countries<'a>(set: &'a QuestionSet, table: &AnswerTable) -> Vec<Country<'a>> {
    let mut countries: Vec<Country<'a>> = Vec::new();
    let answered = |rows: &Vec<Option<Distribution>>| rows.iter().any(Option::is_some);
    for (number, file) in set.files.iter().enumerate() {
        if !table.get(&file.name).is_some_and(answered) {
            continue;
        }
        let country = &file.origin.country;
        let name = if file.origin.controversial {
            country.clone()
        } else {
            format!("uncontroversial_{country}")
        };
        match countries.iter_mut().find(|known| known.name == name) {
            Some(known) => known.files.push((number, file)),
            None => countries.push(Country {
                name,
                files: vec![(number, file)],
            }),
        }
    }
    // Where one language has several files, which is so of respondents, nothing says which belong together.
    countries.retain(|country| {
        let languages = country.files.iter();
        let languages: BTreeSet<&str> = languages
            .map(|(_, file)| file.origin.language.as_str())
            .collect();
        languages.len() > 1 && languages.len() == country.files.len()
    });
    countries
}

/// Joins the files of a country: the *i*-th phrasings of one English original belong together, whatever they say.
///
/// An outer join as the study's code makes it: keys are English topic (null matches null), English original and the place
/// within the original in file order; a key that a file has twice is joined with every match. Questions without an English
/// original are left out.
///
/// # Errors
/// [`MeasureError::TooManyGroups`].
///
/// # Source
/// `notebooks/valueconsistency.py` of the study: `pandas.merge(how="outer")` over all files.
pub(crate) fn join(
    country: &Country<'_>,
    table: &AnswerTable,
) -> Result<Vec<Vec<Place>>, MeasureError> {
    type Key<'k> = (Option<&'k str>, &'k str, usize);
    let mut order: Vec<Key<'_>> = Vec::new();
    let questions = country.files.iter().map(|(_, file)| file.questions.len());
    let mut most = 1_000 + 16 * questions.sum::<usize>();
    let mut joined: HashMap<Key<'_>, Vec<Vec<Place>>> = HashMap::new();
    for (number, file) in &country.files {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut mine: HashMap<Key<'_>, Vec<Option<Place>>> = HashMap::new();
        for (row, question) in file.questions.iter().enumerate() {
            // Without an English original nothing says what a question would be joined with; the study's have one throughout.
            let Some(original) = question.original_english.as_deref() else {
                continue;
            };
            let place = places.entry(&question.original).or_insert(0);
            let key = (question.topic_english.as_deref(), original, *place);
            *place += 1;
            let answered = is_answered(table, file, row);
            if !joined.contains_key(&key) && !mine.contains_key(&key) {
                order.push(key);
            }
            mine.entry(key)
                .or_default()
                .push(answered.then_some((*number, row)));
        }
        for (key, answers) in mine {
            let before = joined.remove(&key).unwrap_or_else(|| vec![Vec::new()]);
            // Rows that share a key are joined each with each: a file whose rows all do would have no end.
            most = most.saturating_sub(before.len().saturating_mul(answers.len()));
            if most == 0 {
                return Err(MeasureError::TooManyGroups {
                    country: country.name.clone(),
                });
            }
            let product = before.iter().flat_map(|group| {
                answers
                    .iter()
                    .map(move |answer| group.iter().copied().chain(*answer).collect::<Vec<_>>())
            });
            joined.insert(key, product.collect());
        }
    }
    let groups = order.iter().filter_map(|key| joined.remove(key)).flatten();
    Ok(groups.filter(|group| !group.is_empty()).collect())
}

/// The stricter grouping: originals alone, which are translations of each other, and only those that every language of the
/// country has answered.
pub(crate) fn join_translations(country: &Country<'_>, table: &AnswerTable) -> Vec<Vec<Place>> {
    let mut groups: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
    for (number, file) in &country.files {
        for (row, question) in file.questions.iter().enumerate() {
            let english = question.original_english.as_deref().unwrap_or_default();
            let group = groups.entry(english).or_default();
            let is_first = group.last().is_none_or(|(file, _)| file != number);
            if !question.rephrase
                && !english.is_empty()
                && is_first
                && is_answered(table, file, row)
            {
                group.push((*number, row));
            }
        }
    }
    let whole = |group: &Vec<Place>| group.len() == country.files.len();
    groups.into_values().filter(whole).collect()
}

/// How many originals two files have in common, by their English text.
pub(crate) fn shared_originals(a: &QuestionFile, b: &QuestionFile) -> usize {
    let originals = |file: &'_ QuestionFile| -> std::collections::BTreeSet<String> {
        let english = file
            .questions
            .iter()
            .filter_map(|q| q.original_english.clone());
        english.collect()
    };
    originals(a).intersection(&originals(b)).count()
}

fn is_answered(table: &AnswerTable, file: &QuestionFile, row: usize) -> bool {
    let rows = table.get(&file.name);
    rows.and_then(|rows| rows.get(row))
        .is_some_and(Option::is_some)
}
