//! What a question set holds, and what is odd about it.

use crate::question::{Question, QuestionFile, QuestionSet};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Something that a reader of the results should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Oddity {
    /// The file.
    pub file: String,
    /// The first row it was seen in, from 0.
    pub row: usize,
    /// How many rows it touches.
    pub rows: usize,
    /// What it is.
    pub what: String,
}

/// The counts of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileCheck {
    /// The file.
    pub file: String,
    /// The language.
    pub language: String,
    /// The country.
    pub country: String,
    /// Whether the topics are called controversial.
    pub controversial: bool,
    /// Questions.
    pub questions: usize,
    /// Questions that are paraphrased.
    pub originals: usize,
    /// Questions by topic, in file order.
    pub topics: Vec<(String, usize)>,
    /// Rows whose first option opposes.
    pub first_option_opposes: usize,
}

/// Counts each file and lists what is odd in or between files.
pub fn check(set: &QuestionSet) -> (Vec<FileCheck>, Vec<Oddity>) {
    let files = set.files.iter().map(count).collect();
    let mut oddities = Vec::new();
    for file in &set.files {
        within(file, &mut oddities);
    }
    between(set, &mut oddities);
    if !set.unread.is_empty() {
        oddities.push(Oddity {
            file: String::new(),
            row: 0,
            rows: 0,
            what: format!("not read: {}", set.unread.join(", ")),
        });
    }
    (files, oddities)
}

fn count(file: &QuestionFile) -> FileCheck {
    let names = file.topic_names();
    let mut topics: Vec<(String, usize)> = Vec::new();
    for question in &file.questions {
        let name = names[question.topic.as_str()];
        match topics.iter_mut().find(|(topic, _)| topic == name) {
            Some((_, count)) => *count += 1,
            None => topics.push((name.to_owned(), 1)),
        }
    }
    let originals: BTreeSet<&str> = file.questions.iter().map(|q| q.original.as_str()).collect();
    FileCheck {
        file: file.name.clone(),
        language: file.origin.language.clone(),
        country: file.origin.country.clone(),
        controversial: file.origin.controversial,
        questions: file.questions.len(),
        originals: originals.len(),
        topics,
        first_option_opposes: file.questions.iter().filter(|q| first_opposes(q)).count(),
    }
}

fn first_opposes(question: &Question) -> bool {
    question
        .options
        .first()
        .is_some_and(|(_, stance)| *stance == crate::Stance::Opposes)
}

/// Collects rows under the oddity they show, in order of first sight.
struct Collector<'a> {
    file: &'a str,
    found: Vec<Oddity>,
}

impl Collector<'_> {
    fn add(&mut self, row: usize, what: impl Into<String>) {
        let what = what.into();
        match self.found.iter_mut().find(|oddity| oddity.what == what) {
            Some(oddity) => oddity.rows += 1,
            None => self.found.push(Oddity {
                file: self.file.to_owned(),
                row,
                rows: 1,
                what,
            }),
        }
    }
}

fn within(file: &QuestionFile, oddities: &mut Vec<Oddity>) {
    let mut odd = Collector {
        file: &file.name,
        found: Vec::new(),
    };
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut groups: BTreeMap<&str, (usize, usize, bool)> = BTreeMap::new();
    let mut spellings: BTreeMap<Vec<&str>, (usize, usize)> = BTreeMap::new();
    for (row, question) in file.questions.iter().enumerate() {
        if question.topic_english.is_none() {
            odd.add(
                row,
                "`topic_english` is null; the rows still group by their own language's topic",
            );
        }
        if question.original_english.is_none() {
            odd.add(
                row,
                "`original_english` is null; the row cannot be matched across languages",
            );
        }
        if !question
            .question
            .trim_end_matches(['"', '」', ' '])
            .ends_with(['?', '？'])
        {
            odd.add(row, "does not end in a question mark");
        }
        let spaced = [&question.topic, &question.question, &question.original];
        if spaced.iter().any(|text| text.trim() != text.as_str()) {
            odd.add(
                row,
                "begins or ends with a space; topics and originals that differ by one are two",
            );
        }
        if let Some(first) = seen.insert(&question.question, row) {
            odd.add(row, format!("repeats the question of row {first}"));
        }
        let group = groups.entry(&question.original).or_insert((row, 0, false));
        group.1 += 1;
        group.2 |= !question.rephrase;
        let spelling = question
            .options
            .iter()
            .map(|(text, _)| text.as_str())
            .collect();
        spellings.entry(spelling).or_insert((row, 0)).1 += 1;
    }
    let usual = most_frequent(groups.values().map(|group| group.1));
    for (row, size, has_original) in groups.into_values() {
        if !has_original {
            odd.add(row, "a group of paraphrases lacks its original");
        }
        if size != usual {
            odd.add(
                row,
                format!("an original has {size} phrasings where {usual} are usual"),
            );
        }
    }
    let usual = spellings.values().map(|(_, rows)| *rows).max().unwrap_or(0);
    for (spelling, (row, rows)) in spellings {
        if rows != usual {
            odd.found.push(Oddity {
                file: file.name.clone(),
                row,
                rows,
                what: format!(
                    "options are spelt {}, unlike most rows",
                    spelling.join(" / ")
                ),
            });
        }
    }
    oddities.append(&mut odd.found);
}

fn most_frequent(sizes: impl Iterator<Item = usize>) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for size in sizes {
        *counts.entry(size).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|&(_, count)| count)
        .map_or(0, |(size, _)| size)
}

/// Compares the files of one country: which originals only some languages have, and where the first option's stance differs.
fn between(set: &QuestionSet, oddities: &mut Vec<Oddity>) {
    for (index, file) in set.files.iter().enumerate() {
        for other in &set.files[index + 1..] {
            let same = file.origin.country == other.origin.country
                && file.origin.controversial == other.origin.controversial;
            if !same {
                continue;
            }
            let (mine, theirs) = (originals(file), originals(other));
            let mut odd = Collector {
                file: &file.name,
                found: Vec::new(),
            };
            for (original, &(row, opposes)) in &mine {
                match theirs.get(original) {
                    None => odd.add(row, format!("an original is absent from {}", other.name)),
                    Some(&(_, their)) if their != opposes => {
                        odd.add(
                            row,
                            format!("the first option's stance differs from {}", other.name),
                        );
                    }
                    Some(_) => {}
                }
            }
            oddities.append(&mut odd.found);
            let mut odd = Collector {
                file: &other.name,
                found: Vec::new(),
            };
            for (original, &(row, _)) in &theirs {
                if !mine.contains_key(original) {
                    odd.add(row, format!("an original is absent from {}", file.name));
                }
            }
            oddities.append(&mut odd.found);
        }
    }
}

/// By English text: the first row, and whether its first option opposes.
fn originals(file: &QuestionFile) -> BTreeMap<&str, (usize, bool)> {
    let mut originals = BTreeMap::new();
    for (row, question) in file.questions.iter().enumerate() {
        if let Some(english) = &question.original_english {
            originals
                .entry(english.as_str())
                .or_insert((row, first_opposes(question)));
        }
    }
    originals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_set_is_even() {
        let (files, oddities) = check(&crate::demo().unwrap());
        assert!(
            files
                .iter()
                .all(|file| file.questions == 60 && file.originals == 12)
        );
        assert_eq!(oddities, []);
    }

    #[test]
    fn what_is_odd_is_said() {
        let mut set = crate::demo().unwrap();
        let german = set
            .files
            .iter_mut()
            .find(|file| file.name == "controversial_german_world")
            .unwrap();
        german.questions[0].topic_english = None;
        german.questions[1].options[0].0 = "Ja".into();
        german.questions[2].question = german.questions[3].question.clone();
        german.questions.remove(5);
        german
            .questions
            .iter_mut()
            .skip(54)
            .for_each(|q| q.original_english = Some("Else?".into()));
        let (_, oddities) = check(&set);
        let said: Vec<&str> = oddities.iter().map(|oddity| oddity.what.as_str()).collect();
        for part in [
            "`topic_english` is null",
            "spelt Ja / nein",
            "repeats",
            "lacks its original",
            "4 phrasings",
            "absent from",
        ] {
            assert!(
                said.iter().any(|what| what.contains(part)),
                "{part} not in {said:?}"
            );
        }
    }
}
