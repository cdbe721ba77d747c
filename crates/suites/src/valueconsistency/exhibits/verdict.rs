//! The verdict in sentences, and what speaks against it.

use crate::valueconsistency::verdict::{
    Assessment, Change, Changed, CheckpointAssessment, Closeness, Conclusion, Grouping, Moved,
    PairAssessment,
};
use crate::valueconsistency::{Format, RunFindings};
use concord_findings::{Gate, Mark, Summary, Verdict};
use std::fmt::Write as _;

/// Shares of answers that flip with the order from which on it is to be kept in mind.
const MANY_FLIPS: f64 = 0.2;
/// Label mass below which it is to be kept in mind.
const FULL_MASS: f64 = 0.9;

/// What the run comes to.
pub(super) fn summary(found: &RunFindings) -> Summary {
    let assessment = &found.assessment;
    let verdicts = assessment
        .checkpoints
        .iter()
        .map(|one| (one.name.clone(), main_verdict(one)));
    let mut sentences: Vec<String> = assessment.changes.iter().map(of_pair).collect();
    // A word on each by itself, where there is nothing to compare or little to say of that.
    if assessment.checkpoints.len() < 3 {
        sentences.extend(assessment.checkpoints.iter().filter_map(of_one));
    }
    if sentences.is_empty() {
        sentences.push("Nothing could be measured.".to_owned());
    }
    Summary {
        checkpoints: verdicts.collect(),
        scope: scope(found),
        partial: None,
        sentences,
        warnings: warnings(found),
    }
}

/// The first format of a checkpoint, in the order letters, texts, passages.
fn main_format(one: &CheckpointAssessment) -> Option<Format> {
    one.formats.keys().next().copied()
}

/// Whether a checkpoint can be measured by the first format that was asked.
fn main_verdict(one: &CheckpointAssessment) -> Verdict {
    let format = main_format(one).and_then(|format| one.formats.get(&format));
    format.map_or_else(
        || Verdict::NotMeasurable("nothing was asked".to_owned()),
        |found| found.verdict.clone(),
    )
}

pub(super) fn name_of(format: Format) -> &'static str {
    match format {
        Format::Letter => "letters",
        Format::Cloze => "answer texts",
        Format::Open => "passages",
    }
}

fn scope(found: &RunFindings) -> Vec<String> {
    let mut topics: Vec<&str> = Vec::new();
    let mut languages: Vec<&str> = Vec::new();
    for file in &found.set.files {
        languages.push(&file.origin.language);
        topics.extend(
            file.questions
                .iter()
                .map(concord_questions::Question::topic_name),
        );
    }
    let distinct = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    vec![
        counted(found.set.len(), "question"),
        counted(distinct(topics), "topic"),
        counted(distinct(languages), "language"),
    ]
}

/// A count with what is counted, in the singular or plural.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// A count with commas between thousands.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Where something holds: `across topics and languages`, `between letters and texts`.
fn places<'a>(rows: impl Iterator<Item = &'a Changed>) -> String {
    let (mut across, mut between) = (Vec::new(), Vec::new());
    for row in rows {
        match row.row.across {
            Grouping::Paraphrases => across.push("paraphrases"),
            Grouping::Topics => across.push("topics"),
            Grouping::Translations => across.push("languages"),
            Grouping::Languages => across.push("languages (the study's grouping)"),
            Grouping::LettersAndTexts => between.push("letters and texts"),
            Grouping::LettersAndPassages => between.push("letters and passages"),
            Grouping::TextsAndPassages => between.push("texts and passages"),
        }
    }
    let parts = [("across", across), ("between", between)];
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts
        .map(|(word, names)| format!("{word} {}", listed(&names)))
        .collect();
    listed(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What follows from a pair.
fn of_pair(pair: &PairAssessment) -> String {
    let (first, second) = (&pair.first, &pair.second);
    let format = pair.rows.iter().map(|row| row.row.format).min();
    let rows = || {
        let of_format = pair
            .rows
            .iter()
            .filter(move |row| Some(row.row.format) == format);
        of_format.filter(|row| row.row.across != Grouping::Languages)
    };
    let with = |changes: &'static [Change]| rows().filter(move |row| changes.contains(&row.change));
    let strongest = |changes: &'static [Change]| {
        let distance = |row: &&Changed| row.ratio.value.ln().abs();
        with(changes)
            .filter(|row| row.ratio.value.is_finite())
            .max_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    let by = match format {
        Some(Format::Letter) | None => String::new(),
        Some(format) => format!(", by {}", name_of(format)),
    };
    match pair.conclusion {
        Conclusion::NotMeasurable => {
            format!("No verdict on {second} against {first}: they cannot both be measured.")
        }
        Conclusion::NotTold => {
            format!("No difference in consistency can be told between {first} and {second}{by}.")
        }
        Conclusion::DecisivenessAlone => {
            let changes = &[Change::FartherByDecisiveness, Change::LessFarByDecisiveness];
            format!(
                "No difference in consistency can be told beyond decisiveness{by}: {}, as its {} decisive answers would.",
                moves(second, first, strongest(changes)),
                if with(&[Change::FartherByDecisiveness]).next().is_some() {
                    "more"
                } else {
                    "less"
                },
            )
        }
        Conclusion::Mixed => format!(
            "Mixed{by}: for its decisiveness {second} is less consistent than {first} {}, and more consistent {}.",
            places(with(&[Change::LessConsistent])),
            places(with(&[Change::MoreConsistent])),
        ),
        Conclusion::LessConsistent | Conclusion::MoreConsistent => {
            let (word, changes): (_, &'static [Change]) =
                if pair.conclusion == Conclusion::LessConsistent {
                    ("Less", &[Change::LessConsistent])
                } else {
                    ("More", &[Change::MoreConsistent])
                };
            let moves = moves(second, first, strongest(changes));
            let others = rows().filter(|row| !changes.contains(&row.change)).count();
            let rest = if others > 0 {
                format!(
                    " It is so {}; elsewhere no difference can be told.",
                    places(with(changes))
                )
            } else {
                format!(" It is so {}.", places(with(changes)))
            };
            format!("{word} consistent{by}: {moves}; decisiveness does not explain it.{rest}")
        }
    }
}

/// How much farther a checkpoint moves than another.
fn moves(second: &str, first: &str, row: Option<&Changed>) -> String {
    let Some(row) = row else {
        return format!("{second} moves otherwise than {first}");
    };
    let place = places(std::iter::once(row));
    let ratio = row.ratio.value;
    if (0.95..1.05).contains(&ratio) {
        format!("{second} moves as far as {first} {place}")
    } else {
        let digits = if ratio < 0.1 { 2 } else { 1 };
        format!("{second} moves {ratio:.digits$} times as far as {first} {place}")
    }
}

/// What is to be said of one checkpoint by itself.
fn of_one(one: &CheckpointAssessment) -> Option<String> {
    let measurable = one
        .formats
        .iter()
        .find(|(_, found)| found.verdict.is_measurable());
    let (format, found) = measurable?;
    if !found.takes_sides {
        return Some(format!(
            "{} hardly takes sides: its answers lie {:.2} from one half on average, so that there is little that could move.",
            one.name, found.averaged_decisiveness
        ));
    }
    let rows = one
        .moved
        .iter()
        .filter(|moved| moved.row.format == *format && moved.is_measurable);
    let rows: Vec<&Moved> = rows
        .filter(|moved| moved.row.across != Grouping::Languages)
        .collect();
    let share = |across: Grouping| {
        let row = rows.iter().find(|moved| moved.row.across == across)?;
        let value = row.of_shuffled.value;
        let name = across_name(across);
        value
            .is_finite()
            .then(|| format!("{:.0} % across {name}", 100.0 * value))
    };
    let shares = [
        Grouping::Paraphrases,
        Grouping::Topics,
        Grouping::Translations,
    ];
    let shares: Vec<String> = shares.into_iter().filter_map(share).collect();
    if shares.is_empty() {
        return None;
    }
    let mut sentence = format!(
        "{}: answers move by this share of what shuffled answers do: {}.",
        one.name,
        shares.join(", ")
    );
    let farther = rows
        .iter()
        .filter(|moved| moved.closeness == Closeness::Farther);
    let farther: Vec<&str> = farther.map(|moved| across_name(moved.row.across)).collect();
    if !farther.is_empty() {
        let _ = write!(
            sentence,
            " Answers contradict each other across {}.",
            listed(&farther)
        );
    }
    Some(sentence)
}

fn across_name(across: Grouping) -> &'static str {
    match across {
        Grouping::Paraphrases => "paraphrases",
        Grouping::Topics => "topics",
        Grouping::Translations | Grouping::Languages => "languages",
        Grouping::LettersAndTexts => "letters and texts",
        Grouping::LettersAndPassages => "letters and passages",
        Grouping::TextsAndPassages => "texts and passages",
    }
}

/// What speaks against the verdict, worst first.
fn warnings(found: &RunFindings) -> Vec<(Mark, String)> {
    let assessment = &found.assessment;
    let mut out: Vec<(Mark, String)> = Vec::new();
    out.extend(not_measurable(assessment));
    for (at, one) in assessment.checkpoints.iter().enumerate() {
        let Some(letters) = one.formats.get(&Format::Letter) else {
            continue;
        };
        if !letters.verdict.is_measurable() {
            continue;
        }
        let value = |name: &str| {
            letters
                .gates
                .iter()
                .find(|gate| gate.name == name)
                .map(|gate| gate.value)
        };
        if let Some(flips) =
            value("answers that flip with the order").filter(|flips| *flips >= MANY_FLIPS)
        {
            out.push((
                Mark::Doubtful,
                format!(
                    "{} flips {:.0} % of answers with the order of options",
                    one.name,
                    100.0 * flips
                ),
            ));
        }
        if let Some(mass) = value("label mass").filter(|mass| *mass < FULL_MASS) {
            out.push((
                Mark::Doubtful,
                format!(
                    "{} puts {:.0} % of the probability on letters",
                    one.name,
                    100.0 * mass
                ),
            ));
        }
        if found.answers[at].letter_by_order.is_none() {
            out.push((
                Mark::Doubtful,
                format!(
                    "{} was asked in one order: what position does cannot be told (--orders both)",
                    one.name
                ),
            ));
        }
    }
    for pair in &assessment.changes {
        for row in pair.rows.iter().filter(|row| turns(row)) {
            out.push((
                Mark::Doubtful,
                format!(
                    "{} against {}: with both orders averaged the difference {} turns its sign",
                    pair.second,
                    pair.first,
                    places(std::iter::once(row))
                ),
            ));
        }
    }
    let few = assessment
        .checkpoints
        .iter()
        .flat_map(|one| &one.moved)
        .any(|moved| moved.averaged.interval.is_none());
    if few {
        out.push((
            Mark::Doubtful,
            "fewer than five topics give no interval".to_owned(),
        ));
    }
    out.sort_by_key(|(mark, _)| std::cmp::Reverse(*mark));
    out
}

/// Whether a row says one thing in one order and the opposite over both.
fn turns(row: &Changed) -> bool {
    let Some(one_order) = &row.one_order else {
        return false;
    };
    let told = |p: Option<f64>| p.is_some_and(|p| p < 0.05);
    row.row.across != Grouping::Languages
        && told(one_order.q)
        && told(row.averaged.q)
        && one_order.estimate.value * row.averaged.estimate.value < 0.0
}

/// Checkpoints that cannot be measured, those with one reason together.
fn not_measurable(assessment: &Assessment) -> Vec<(Mark, String)> {
    let mut by_reason: Vec<(Format, &Gate, Vec<&CheckpointAssessment>)> = Vec::new();
    for one in &assessment.checkpoints {
        for (format, found) in &one.formats {
            let Some(gate) = found.gates.iter().find(|gate| !gate.passes()) else {
                continue;
            };
            let known = by_reason
                .iter_mut()
                .find(|(known, other, _)| known == format && other.name == gate.name);
            match known {
                Some((_, _, all)) => all.push(one),
                None => by_reason.push((*format, gate, vec![one])),
            }
        }
    }
    let warnings = by_reason.into_iter().map(|(format, gate, all)| {
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        let reason = if all.len() == 1 {
            gate.reason()
        } else {
            gate.name.to_owned()
        };
        // Another format may still be measured, and then less is lost.
        let mark = if all.iter().all(|one| main_format(one) == Some(format)) {
            Mark::Bad
        } else {
            Mark::Doubtful
        };
        (
            mark,
            format!(
                "{}: not measurable by {}, not ranked ({reason})",
                listed(&names),
                name_of(format)
            ),
        )
    });
    warnings.collect()
}
