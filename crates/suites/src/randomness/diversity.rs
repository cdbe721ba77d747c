//! How different the poems of a checkpoint are from each other. Whether they are original or pleasant is not measured.

use super::name::{self, Place};
use super::options::{Data, Options};
use super::outcome::found;
use super::plan::poem_places;
use crate::shared::estimate::{estimate, gate};
use crate::{Readings, Settings, SuiteError};
use concord_findings::{Estimate, Verdict};
use concord_readings::Finish;
use concord_stats::{compression_ratio, distinct_share, effective_number, mean, self_bleu};
use serde::Serialize;
use std::collections::BTreeMap;

/// The least share of texts that are neither empty nor cut off by repetition.
const LEAST_USABLE: f64 = 0.5;

/// The least number of words that a text needs to count as one.
const LEAST_WORDS: usize = 5;

/// The diversity of a checkpoint's poems in a language.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiversityFindings {
    /// The language.
    pub language: String,
    /// The share of texts with five words or more that did not end in a loop.
    pub usable: Estimate,
    /// Whether anything may be shown.
    pub verdict: Verdict,
    /// What was found, where it may.
    pub found: Option<DiversityNumbers>,
}

/// What was found in poems. Means over subjects of what is counted over a subject's poems, but for the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiversityNumbers {
    /// Bits a token, at temperature 1 over the whole vocabulary; the unit is the poem.
    pub entropy_rate: Estimate,
    /// Words of a poem on average; in scripts without spaces, characters.
    pub words: f64,
    /// The share of different words.
    pub distinct_1: f64,
    /// The share of different pairs of words.
    pub distinct_2: f64,
    /// How much a poem has of the others.
    pub self_bleu: f64,
    /// How far the poems of a subject can be compressed together.
    pub compression_ratio: f64,
    /// How many first lines there are, counted as if all were equally frequent.
    pub first_lines: f64,
    /// Poems of each subject.
    pub poems: usize,
}

/// The words of a text; the characters where words are written without spaces between them.
fn words<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    if matches!(language, "chinese" | "japanese") {
        let ends = text
            .char_indices()
            .map(|(at, c)| (at, at + c.len_utf8(), c));
        let ends = ends.filter(|(_, _, c)| c.is_alphanumeric());
        return ends.map(|(from, to, _)| &text[from..to]).collect();
    }
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’');
    words.filter(|word| !word.is_empty()).collect()
}

fn first_line(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty()).unwrap_or("")
}

#[derive(Default)]
struct Subject {
    texts: Vec<String>,
    rates: Vec<f64>,
    usable: Vec<f64>,
}

fn subject(
    place: Place<'_>,
    options: &Options,
    readings: &Readings,
) -> Result<Subject, SuiteError> {
    let mut subject = Subject::default();
    for sample in 0..options.poems {
        let id = name::poem(place, sample);
        let written = found(readings.round(name::POEMS), &id)?.generation();
        let written =
            written.ok_or_else(|| SuiteError::readings(format!("`{id}`: no text was read")))?;
        let text = written.text.to_lowercase();
        let is_usable = words(&text, place.language).len() >= LEAST_WORDS
            && written.finish != Finish::Repetition;
        subject.usable.push(f64::from(u8::from(is_usable)));
        if is_usable {
            let logs: Vec<f64> = written.log_probs.iter().map(|log| log.get()).collect();
            subject.rates.push(-mean(&logs) / std::f64::consts::LN_2);
            subject.texts.push(text);
        }
    }
    Ok(subject)
}

/// What is counted over a subject's poems, which are given as their words as well.
type Counted<'a> = dyn Fn(&Subject, &[Vec<&str>]) -> Option<f64> + 'a;

/// Measures the poems of a checkpoint, by language.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    readings: &Readings,
) -> Result<Vec<DiversityFindings>, SuiteError> {
    if options.poems == 0 {
        return Ok(Vec::new());
    }
    let mut by_language: BTreeMap<&str, Vec<Subject>> = BTreeMap::new();
    for place in poem_places(data, options) {
        let of_language = by_language.entry(place.language).or_default();
        of_language.push(subject(place, options, readings)?);
    }
    let languages = options.languages.iter().filter_map(|language| {
        let subjects = by_language.get(language.as_str())?;
        Some(measure_language(language, subjects, options, settings))
    });
    Ok(languages.collect())
}

fn measure_language(
    language: &str,
    subjects: &[Subject],
    options: &Options,
    settings: Settings,
) -> DiversityFindings {
    let all = |of: &dyn Fn(&Subject) -> &Vec<f64>| {
        let values: Vec<f64> = subjects
            .iter()
            .flat_map(|subject| of(subject).clone())
            .collect();
        estimate(&values, "poem", settings)
    };
    let usable = all(&|subject| &subject.usable);
    let verdict = gate("share of usable texts", &usable, LEAST_USABLE);
    let over = |of: &Counted| {
        let values: Vec<f64> = subjects
            .iter()
            .filter_map(|subject| {
                let texts = subject.texts.iter();
                let texts: Vec<Vec<&str>> = texts.map(|text| words(text, language)).collect();
                of(subject, &texts)
            })
            .collect();
        if values.is_empty() {
            f64::NAN
        } else {
            mean(&values)
        }
    };
    let found = verdict.is_measurable().then(|| DiversityNumbers {
        entropy_rate: all(&|subject| &subject.rates),
        words: over(&|_, texts| {
            let lengths: Vec<f64> = texts.iter().map(|text| text.len() as f64).collect();
            (!lengths.is_empty()).then(|| mean(&lengths))
        }),
        distinct_1: over(&|_, texts| distinct_share(texts, 1)),
        distinct_2: over(&|_, texts| distinct_share(texts, 2)),
        self_bleu: over(&|_, texts| self_bleu(texts)),
        compression_ratio: over(&|subject, _| compression_ratio(&subject.texts.join("\n"))),
        first_lines: over(&|subject, _| {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for text in &subject.texts {
                *counts.entry(first_line(text)).or_insert(0) += 1;
            }
            effective_number(&counts.into_values().collect::<Vec<_>>())
        }),
        poems: options.poems,
    });
    DiversityFindings {
        language: language.to_owned(),
        usable,
        verdict,
        found,
    }
}
