//! Respondents' answers, measured as a checkpoint's are.
//!
//! A respondent gives one answer to a question, in one order: all of the probability is on it. Everybody is a file of their own, so that
//! answers are grouped, and shuffled, within one person; intervals are over topics as they are for a checkpoint, and the place to
//! compare with is that of a checkpoint in one order.

use super::answers::{AnswerTable, Answers, layout};
use concord_questions::{Chosen, Question, QuestionFile, QuestionSet, Stance};
use concord_stats::Distribution;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What one person answered to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonAnswer {
    /// Who answered.
    pub respondent: String,
    /// The file of the question; needed where several files have the question.
    pub file: Option<String>,
    /// The question, word for word.
    pub question: String,
    /// The text of the option, or the stance (`supports`, `opposes`, `neutral`), in any case.
    pub answer: String,
}

/// Why a person's answer cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonAnswerError {
    /// Nobody is named.
    #[error("it names no respondent")]
    Nobody,
    /// No question has these words.
    #[error("no question{} reads `{question}`", of_file(.file.as_deref()))]
    UnknownQuestion {
        /// The question.
        question: String,
        /// The file that was named.
        file: Option<String>,
    },
    /// Several files have the question.
    #[error("`{question}` is a question of several files ({files}); name one in a column `file`")]
    SeveralFiles {
        /// The question.
        question: String,
        /// The files.
        files: String,
    },
    /// The answer is none of the options.
    #[error("`{answer}` is no answer to `{question}`, which has {options}")]
    UnknownAnswer {
        /// The answer.
        answer: String,
        /// The question.
        question: String,
        /// The options.
        options: String,
    },
    /// A question is answered twice by one person.
    #[error("`{respondent}` has answered `{question}` before")]
    Twice {
        /// Who.
        respondent: String,
        /// The question.
        question: String,
    },
}

fn of_file(file: Option<&str>) -> String {
    file.map_or_else(String::new, |file| format!(" of `{file}`"))
}

/// Makes a question set in which everybody's questions are a file, and answers to it.
///
/// # Errors
/// The number of the row, from 0, and why it cannot be taken.
pub fn people(
    set: &QuestionSet,
    rows: &[PersonAnswer],
) -> Result<(QuestionSet, Answers), (usize, PersonAnswerError)> {
    let mut known: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
    for (number, file) in set.files.iter().enumerate() {
        for (row, question) in file.questions.iter().enumerate() {
            let places = known.entry(question.question.trim()).or_default();
            places.push((number, row));
        }
    }
    let mut answered: BTreeMap<(usize, &str), BTreeMap<usize, Stance>> = BTreeMap::new();
    for (number, given) in rows.iter().enumerate() {
        let because = |error| (number, error);
        let (file, row, stance) = read(set, &known, given).map_err(because)?;
        let respondent = given.respondent.trim();
        let of_person = answered.entry((file, respondent)).or_default();
        if of_person.insert(row, stance).is_some() {
            return Err(because(PersonAnswerError::Twice {
                respondent: respondent.to_owned(),
                question: given.question.clone(),
            }));
        }
    }
    let stances = layout(set, &Chosen::all());
    let (mut files, mut table) = (Vec::new(), AnswerTable::new());
    for ((number, respondent), of_person) in answered {
        let file = &set.files[number];
        let name = format!("{}: {respondent}", file.name);
        let answer = |stance: &Stance| {
            let weights = stances.iter().map(|s| f64::from(s == stance)).collect();
            Distribution::from_weights(weights).ok()
        };
        table.insert(name.clone(), of_person.values().map(answer).collect());
        let questions = of_person.keys().map(|row| file.questions[*row].clone());
        files.push(QuestionFile {
            name,
            origin: file.origin.clone(),
            questions: questions.collect(),
        });
    }
    let set = QuestionSet {
        files,
        validated: BTreeMap::new(),
        ..set.clone()
    };
    let answers = Answers {
        letter: Some(table),
        ..Answers::default()
    };
    Ok((set, answers))
}

/// How many respondents there are.
pub fn respondents(rows: &[PersonAnswer]) -> usize {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.respondent.trim()).collect();
    names.len()
}

fn read(
    set: &QuestionSet,
    known: &HashMap<&str, Vec<(usize, usize)>>,
    given: &PersonAnswer,
) -> Result<(usize, usize, Stance), PersonAnswerError> {
    if given.respondent.trim().is_empty() {
        return Err(PersonAnswerError::Nobody);
    }
    let named = given.file.as_deref().map(str::trim);
    let named = named.filter(|file| !file.is_empty());
    let places = known.get(given.question.trim()).into_iter().flatten();
    let places: Vec<(usize, usize)> = places
        .filter(|(file, _)| named.is_none_or(|named| set.files[*file].name == named))
        .copied()
        .collect();
    let Some((file, row)) = places.first().copied() else {
        return Err(PersonAnswerError::UnknownQuestion {
            question: given.question.clone(),
            file: named.map(str::to_owned),
        });
    };
    if places.iter().any(|(other, _)| *other != file) {
        let names = places
            .iter()
            .map(|(file, _)| set.files[*file].name.as_str());
        return Err(PersonAnswerError::SeveralFiles {
            question: given.question.clone(),
            files: names.collect::<Vec<_>>().join(", "),
        });
    }
    let question = &set.files[file].questions[row];
    let stance = stance(question, given.answer.trim());
    let stance = stance.ok_or_else(|| PersonAnswerError::UnknownAnswer {
        answer: given.answer.clone(),
        question: given.question.clone(),
        options: listed(question),
    })?;
    Ok((file, row, stance))
}

/// The stance of an option by its text, or by its own name where an option has it.
fn stance(question: &Question, answer: &str) -> Option<Stance> {
    let answer = answer.to_lowercase();
    let mut options = question.options.iter();
    let by_text = options.find(|(text, _)| text.trim().to_lowercase() == answer);
    let by_name = || {
        let named = Stance::parse(&answer)?;
        let mut options = question.options.iter();
        options.any(|(_, stance)| *stance == named).then_some(named)
    };
    by_text.map(|(_, stance)| *stance).or_else(by_name)
}

fn listed(question: &Question) -> String {
    let options = question.options.iter().map(|(text, _)| format!("`{text}`"));
    options.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::valueconsistency::{Axis, RunFindings};
    use concord_questions::demo;

    fn given(respondent: &str, question: &str, answer: &str) -> PersonAnswer {
        PersonAnswer {
            respondent: respondent.to_owned(),
            file: None,
            question: question.to_owned(),
            answer: answer.to_owned(),
        }
    }

    /// Two people: one always supports, the other says now this and now that.
    #[test]
    fn answers_are_grouped_within_a_person() {
        let set = demo().unwrap();
        let mut rows = Vec::new();
        for (at, question) in set.files[0].questions.iter().enumerate() {
            rows.push(given("firm", &question.question, "Supports"));
            let other = if at % 2 == 0 { "supports" } else { "opposes" };
            rows.push(given("torn", &question.question, other));
        }
        let (of_people, answers) = people(&set, &rows).unwrap();
        assert_eq!((of_people.files.len(), respondents(&rows)), (2, 2));
        let names = vec!["people".to_owned()];
        let found =
            RunFindings::of_answers(of_people, names, vec![answers], Settings::default()).unwrap();
        let findings = &found.measured[0].findings;
        let of = |name: &str| {
            let mut files = findings.files.iter();
            files.find(|(file, _)| file.ends_with(name)).unwrap().1
        };
        assert!(of("firm").topic.abs() < 1e-12 && of("firm").paraphrase.abs() < 1e-12);
        assert!(of("torn").topic > 0.2);
        let both = findings.overall[&Axis::Topics].mean;
        assert!((both - of("torn").topic / 2.0).abs() < 1e-9, "{both}");
        // Two people who speak one language say nothing about languages.
        assert!(!findings.overall.contains_key(&Axis::Languages));
    }

    #[test]
    fn what_cannot_be_taken_is_named_with_its_row() {
        let set = demo().unwrap();
        let question = &set.files[0].questions[0];
        let text = question.question.as_str();
        let yes = question.options[0].0.as_str();
        let good = given("a", text, &yes.to_uppercase());
        assert!(people(&set, std::slice::from_ref(&good)).is_ok());
        for (bad, why) in [
            (given(" ", text, yes), "names no respondent"),
            (given("a", "Is it?", yes), "no question reads `Is it?`"),
            (given("b", text, "perhaps"), "is no answer to"),
            (given("b", text, "neutral"), "is no answer to"),
            (given("a", text, "supports"), "answered"),
            (
                PersonAnswer {
                    file: Some("elsewhere".to_owned()),
                    ..given("b", text, yes)
                },
                "of `elsewhere`",
            ),
        ] {
            let (row, error) = people(&set, &[good.clone(), bad]).unwrap_err();
            assert_eq!(row, 1);
            assert!(error.to_string().contains(why), "{error}");
        }
        let mut twice = set.clone();
        let mut copy = twice.files[0].clone();
        copy.name = "copy".to_owned();
        twice.files.push(copy);
        let (_, error) = people(&twice, &[good]).unwrap_err();
        assert!(error.to_string().contains("several files"), "{error}");
    }
}
