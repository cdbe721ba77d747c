//! Checkpoints of several runs, on the questions that all of them asked.

use super::answers::{Answers, from_readings};
use super::data::{Compared, Data, RunFindings};
use super::plan::{Abstention, Format, Options, Orders};
use crate::{Comparing, Part, Settings, SuiteError};
use concord_questions::{Question, QuestionFile, QuestionSet, Stance};
use std::collections::HashSet;

type Of<'a> = Part<'a, Data, Options>;

/// Compares.
pub(super) fn compare(
    parts: &[Of<'_>],
    how: &Comparing<'_>,
    settings: Settings,
) -> Result<RunFindings, SuiteError> {
    let differences = differences(parts);
    if !differences.is_empty() && !how.intersect {
        let message = format!(
            "the runs cannot be compared as they are: {}",
            differences.join("; ")
        );
        let help = "--intersect compares what they share, and says what that is";
        return Err(SuiteError::usage(message, help));
    }
    let formats: Vec<Format> = [Format::Letter, Format::Cloze, Format::Open]
        .into_iter()
        .filter(|format| parts.iter().all(|part| part.options.has(*format)))
        .collect();
    if formats.is_empty() {
        let help = "compare runs that read letters, texts or passages alike";
        return Err(SuiteError::usage("the runs share no format", help));
    }
    // What all runs share, and of that what is selected.
    let shared = shared(parts);
    let mut set = QuestionSet::default();
    let mut answers: Vec<Answers> = Vec::new();
    let mut left_out = Vec::new();
    for part in parts {
        let wanted = part.data.choose(how.conditions)?;
        let mut own = part.data.set.clone();
        let both = own.choose_rows(|file, row, question| {
            wanted.has(&file.name, row) && shared.contains(&key(file, question))
        });
        if both.is_empty() {
            return Err(SuiteError::usage(
                "the runs share no question",
                "compare runs over the same questions",
            ));
        }
        let mut found = from_readings(&part.data.set, part.options, &part.readings, &both)?;
        let asked = own.len();
        own.keep(&both);
        found.keep(&own, &both);
        found.only(&formats);
        left_out.push((part.shown.clone(), asked - own.len()));
        if answers.is_empty() {
            set = own;
        } else {
            found.arrange(&own, &set);
        }
        answers.push(found);
    }
    let names = parts.iter().map(|part| part.shown.clone()).collect();
    let questions = set.len();
    let mut found = RunFindings::of_answers(set, names, answers, settings)?;
    found.compared = Some(Compared {
        questions,
        left_out,
        differences,
    });
    Ok(found)
}

/// What keeps runs from being compared as they are, by the first of them.
fn differences(parts: &[Of<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    let Some((first, others)) = parts.split_first() else {
        return found;
    };
    let mut seen = vec![&first.run];
    for other in others {
        if seen.contains(&&other.run) {
            continue;
        }
        seen.push(&other.run);
        found.extend(differences_of(first, other));
    }
    found
}

fn differences_of(first: &Of<'_>, other: &Of<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let (a, b) = (&first.run, &other.run);
    if first.data.set.digest() != other.data.set.digest() {
        let shared = shared(&[first, other]).len();
        let (asked, asked_by_other) = (first.data.set.len(), other.data.set.len());
        found.push(if asked == shared && asked_by_other == shared {
            format!(
                "{a} and {b} asked the same {shared} questions in another order, or differ in portraits"
            )
        } else {
            format!(
                "{a} asked {asked} questions and {b} {asked_by_other}, of which {shared} are the same"
            )
        });
    }
    let wording = |part: &Of<'_>| {
        let digests = part.asked.digests.get("stimuli")?;
        digests.get("digest").cloned()
    };
    if wording(first) != wording(other) {
        found.push(format!("{b} asked in another wording than {a}"));
    }
    let (ours, theirs) = (first.options, other.options);
    if ours.formats != theirs.formats {
        found.push(format!("{b} read other formats than {a}"));
    }
    let drawn = |options: &Options| {
        let one = options.abstention == Abstention::One;
        (one || options.orders == Orders::Seeded).then_some(options.seed)
    };
    let orders = |options: &Options| (options.orders, options.abstention, drawn(options));
    if orders(ours) != orders(theirs) {
        found.push(format!(
            "{b} asked in other orders than {a}, or drew them by another seed"
        ));
    }
    if ours.example_reversed != theirs.example_reversed {
        found.push(format!("{b} showed the example in another order than {a}"));
    }
    if ours.passages != theirs.passages {
        found.push(format!("{b} wrote passages in another way than {a}"));
    }
    if first.raters != other.raters {
        found.push(format!("{b} had its passages rated by others than {a}"));
    }
    found
}

/// A question is the same where file, text and options are.
type Key<'a> = (&'a str, &'a str, &'a [(String, Stance)]);

fn key<'a>(file: &'a QuestionFile, question: &'a Question) -> Key<'a> {
    (&file.name, &question.question, &question.options)
}

/// The questions that every run has.
fn shared<'a, P: std::borrow::Borrow<Of<'a>>>(parts: &[P]) -> HashSet<Key<'a>> {
    fn keys(set: &QuestionSet) -> HashSet<Key<'_>> {
        let files = set.files.iter();
        files
            .flat_map(|file| file.questions.iter().map(move |q| key(file, q)))
            .collect()
    }
    let mut sets = parts.iter().map(|part| keys(&part.borrow().data.set));
    let first = sets.next().unwrap_or_default();
    sets.fold(first, |shared, other| {
        shared.intersection(&other).copied().collect()
    })
}
