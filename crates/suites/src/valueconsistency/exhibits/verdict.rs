//! The verdict in sentences, and what speaks against it.

use crate::shared::words::counted;
use crate::valueconsistency::verdict::{
    Assessment, Change, Changed, CheckpointAssessment, Closeness, Conclusion, Grouping, Moved,
    PairAssessment, conclusion_of,
};
use crate::valueconsistency::{Format, RunFindings};
use concord_findings::{Gate, Mark, Summary, Verdict};
use std::collections::BTreeSet;
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
    let mut sentences: Vec<String> = assessment
        .changes
        .iter()
        .flat_map(|pair| of_pair(pair, assessment))
        .collect();
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

/// Whether a checkpoint can be measured by the first format that was asked.
fn main_verdict(one: &CheckpointAssessment) -> Verdict {
    match one.main() {
        None => Verdict::NotMeasurable("nothing was asked".to_owned()),
        Some((format, found)) => match &found.verdict {
            Verdict::NotMeasurable(reason) => {
                Verdict::NotMeasurable(format!("by {}: {reason}", name_of(format)))
            }
            Verdict::Measurable => Verdict::Measurable,
        },
    }
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

/// What follows from a pair: by the first format that both can be measured by, and by others where they tell something.
fn of_pair(pair: &PairAssessment, assessment: &Assessment) -> Vec<String> {
    let mut formats: Vec<Format> = pair.rows.iter().map(|row| row.row.format).collect();
    formats.sort_unstable();
    formats.dedup();
    if formats.is_empty() {
        let (first, second) = (&pair.first, &pair.second);
        return vec![format!(
            "No verdict on {second} against {first}: they cannot both be measured."
        )];
    }
    let sentences = formats.iter().enumerate().filter_map(|(at, format)| {
        let conclusion = conclusion_of(&pair.rows, *format);
        let tells = [
            Conclusion::LessConsistent,
            Conclusion::MoreConsistent,
            Conclusion::Mixed,
        ];
        (at == 0 || tells.contains(&conclusion))
            .then(|| by_format(pair, *format, conclusion, assessment))
    });
    sentences.collect()
}

/// What follows from a pair by one format.
fn by_format(
    pair: &PairAssessment,
    format: Format,
    conclusion: Conclusion,
    assessment: &Assessment,
) -> String {
    let (first, second) = (&pair.first, &pair.second);
    let rows = || {
        let rows = pair.rows.iter();
        let of_format = rows.filter(move |row| row.row.format == format);
        of_format.filter(|row| row.row.across != Grouping::Languages)
    };
    let with = |changes: &'static [Change]| rows().filter(move |row| changes.contains(&row.change));
    let by = match format {
        Format::Letter => String::new(),
        format => format!(", by {}", name_of(format)),
    };
    match conclusion {
        Conclusion::NotMeasurable => {
            format!("No verdict on {second} against {first}: they cannot both be measured.")
        }
        Conclusion::NotTold => {
            format!("No difference in consistency can be told between {first} and {second}{by}.")
        }
        Conclusion::DecisivenessAlone => {
            let row = strongest(with(&[
                Change::FartherByDecisiveness,
                Change::LessFarByDecisiveness,
            ]));
            let farther = row.is_some_and(|row| row.change == Change::FartherByDecisiveness);
            format!(
                "No difference in consistency can be told beyond decisiveness{by}: {}, as its {} decisive answers would.",
                moves(second, first, row),
                if farther { "more" } else { "less" },
            )
        }
        Conclusion::NotSettled => format!(
            "Not settled{by}: {}, but not by every way of taking its decisiveness out.",
            moves(second, first, strongest(with(&[Change::NotSettled]))),
        ),
        Conclusion::Mixed => format!(
            "Mixed{by}: for its decisiveness {second} is less consistent than {first} {}, and more consistent {}.",
            places(with(&[Change::LessConsistent])),
            places(with(&[Change::MoreConsistent])),
        ),
        Conclusion::LessConsistent | Conclusion::MoreConsistent => {
            let less = conclusion == Conclusion::LessConsistent;
            let (word, changes): (_, &'static [Change]) = if less {
                ("Less", &[Change::LessConsistent])
            } else {
                ("More", &[Change::MoreConsistent])
            };
            let told: Vec<&Changed> = with(changes).collect();
            let not_told = with(&[Change::NotTold]).count();
            consistent(word, pair, &told, not_told, &by, assessment)
        }
    }
}

/// A difference that stays without decisiveness, in shares of what shuffled answers do.
fn consistent(
    word: &str,
    pair: &PairAssessment,
    rows: &[&Changed],
    not_told: usize,
    by: &str,
    assessment: &Assessment,
) -> String {
    let size = |row: &&&Changed| row.of_shuffled.estimate.value.abs();
    let strongest = rows.iter().max_by(|a, b| size(a).total_cmp(&size(b)));
    let share = |name: &str, row: &Changed| {
        let mut all = assessment.checkpoints.iter();
        let one = all.find(|one| one.name == name)?;
        let moved = one.moved.iter().find(|moved| moved.row == row.row)?;
        Some(100.0 * moved.of_shuffled.value)
    };
    let (first, second) = (&pair.first, &pair.second);
    let shares = strongest.and_then(|row| {
        let (a, b) = (share(first, row)?, share(second, row)?);
        let place = places(std::iter::once(*row));
        Some(format!(
            "{second} moves by {b:.0} % of what shuffled answers do {place}, {first} by {a:.0} %"
        ))
    });
    let shares = shares.unwrap_or_else(|| format!("{second} against {first}"));
    let rest = if not_told > 0 {
        "; elsewhere no difference can be told"
    } else {
        ""
    };
    let all = places(rows.iter().copied());
    format!(
        "{word} consistent{by}, beyond what decisiveness explains: {shares}. It is so {all}{rest}."
    )
}

/// The row whose distances differ most.
fn strongest<'a>(rows: impl Iterator<Item = &'a Changed>) -> Option<&'a Changed> {
    let distance = |row: &&Changed| row.ratio.value.ln().abs();
    let known = rows.filter(|row| row.ratio.value.is_finite() && row.ratio.value > 0.0);
    known.max_by(|a, b| distance(a).total_cmp(&distance(b)))
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
        "{}, by {}: answers move by this share of what shuffled answers do: {}.",
        one.name,
        name_of(*format),
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
        if let Some(flips) = value("flips with order").filter(|flips| *flips >= MANY_FLIPS) {
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
    let moved = || assessment.checkpoints.iter().flat_map(|one| &one.moved);
    let without: BTreeSet<String> = moved()
        .filter(|moved| moved.averaged.interval.is_none())
        .map(|moved| moved.row.label())
        .collect();
    let all: BTreeSet<String> = moved().map(|moved| moved.row.label()).collect();
    if !without.is_empty() {
        let rows: Vec<&str> = without.iter().map(String::as_str).collect();
        out.push((
            Mark::Doubtful,
            if without == all {
                "too few topics vary for any interval".to_owned()
            } else {
                format!("too few topics vary for an interval: {}", listed(&rows))
            },
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
        let reasons = all.iter().filter_map(|one| {
            let gates = &one.formats.get(&format)?.gates;
            let own = gates.iter().find(|own| own.name == gate.name)?;
            Some(if own.value.is_finite() {
                format!("{:.2}", own.value)
            } else {
                "none".to_owned()
            })
        });
        let reason = if all.len() == 1 {
            gate.reason()
        } else {
            let values = reasons.collect::<Vec<_>>().join(", ");
            format!("{} {values}; {}", gate.name, gate.bound)
        };
        // Another format may still be measured, and then less is lost.
        let mark = if all
            .iter()
            .all(|one| one.main().is_some_and(|(main, _)| main == format))
        {
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
