//! Answers and topics as a page carries them: a byte a probability, columns, deflated, as base64.

use crate::cast::Cast;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use concord_findings::{AnswerBook, BookKind, Estimate, Topics};
use serde_json::{Value, json};

/// What a byte is where there is no probability.
const NOTHING: u8 = 255;

/// A probability as a byte of 254 steps.
pub(super) fn byte_of(value: f32) -> u8 {
    if !value.is_finite() {
        return NOTHING;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a whole number of 0 to 254"
    )]
    let byte = (value.clamp(0.0, 1.0) * 254.0).round() as u8;
    byte
}

/// Bytes as text that a browser inflates.
fn packed(bytes: &[u8]) -> String {
    STANDARD.encode(miniz_oxide::deflate::compress_to_vec_zlib(bytes, 10))
}

/// Topics and questions, and apart from them the columns of answers.
pub(super) struct Packed {
    /// JSON.
    pub(super) words: String,
    /// Bytes, a column after the other.
    pub(super) columns: String,
}

/// Packs what there is; nothing where there are neither topics nor answers.
pub(super) fn pack(
    topics: Option<&Topics>,
    book: Option<&AnswerBook>,
    cast: &Cast,
) -> Option<Packed> {
    let topics = topics?;
    let names = match book {
        Some(book) => &book.checkpoints,
        None => &topics.checkpoints,
    };
    let members = cast.all(names);
    let of_topics = names
        .iter()
        .map(|name| topics.checkpoints.iter().position(|other| other == name));
    let of_topics: Vec<Option<usize>> = of_topics.collect();
    let words = json!({
        "checkpoints": members,
        "measure": topics.measure.label(),
        "topics": topic_columns(topics, &of_topics),
        "book": book.map(words_of),
    });
    let columns: Vec<u8> = book
        .iter()
        .flat_map(|book| &book.readings)
        .flat_map(|reading| reading.values.iter().map(|value| byte_of(*value)))
        .collect();
    Some(Packed {
        words: packed(words.to_string().as_bytes()),
        columns: packed(&columns),
    })
}

/// Ten-thousandths, which is more than is shown.
fn whole(value: f64) -> Value {
    if value.is_finite() {
        json!((value * 1e4).round())
    } else {
        Value::Null
    }
}

/// Value and ends of the interval; nothing where nothing was measured.
fn triple(estimate: Option<&Estimate>) -> Value {
    match estimate.filter(|estimate| estimate.is_measured()) {
        Some(estimate) => {
            let [low, high] = estimate.ends();
            json!([whole(estimate.value), whole(low), whole(high)])
        }
        None => Value::Null,
    }
}

fn topic_columns(topics: &Topics, of_topics: &[Option<usize>]) -> Value {
    let rows = topics.rows.iter().map(|topic| {
        let pick = |list: &[Option<Estimate>]| -> Vec<Value> {
            let at = of_topics
                .iter()
                .map(|at| at.and_then(|at| list.get(at)?.as_ref()));
            at.map(triple).collect()
        };
        let support = of_topics
            .iter()
            .map(|at| at.and_then(|at| *topic.support.get(at)?));
        let support: Vec<Value> = support
            .map(|value| value.map_or(Value::Null, whole))
            .collect();
        json!([
            topic.name,
            topic.facets,
            topic.questions,
            pick(&topic.levels),
            pick(&topic.differences),
            support
        ])
    });
    json!({ "facets": topics.facets, "nouns": topics.nouns, "signed": topics.signed, "rows": rows.collect::<Vec<_>>() })
}

/// Numbers as steps from the one before, which repeat more often than they do.
fn steps(numbers: impl Iterator<Item = Option<usize>>) -> Vec<Value> {
    let mut before = 0;
    let steps = numbers.map(|number| {
        let Some(number) = number else {
            return Value::Null;
        };
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let step = number - before;
        before = number;
        json!(step)
    });
    steps.collect()
}

fn words_of(book: &AnswerBook) -> Value {
    let mut offers: Vec<&Vec<(String, String)>> = Vec::new();
    let offer = book.questions.iter().map(|question| {
        offers
            .iter()
            .position(|known| **known == question.options)
            .unwrap_or_else(|| {
                offers.push(&question.options);
                offers.len() - 1
            })
    });
    let offer: Vec<usize> = offer.collect();
    let texts: Vec<&str> = book
        .questions
        .iter()
        .map(|question| question.text.as_str())
        .collect();
    let columns = book.readings.iter().map(|reading| {
        let kind = match reading.kind {
            BookKind::Letters => "letters",
            BookKind::LettersReversed => "reversed",
            BookKind::Texts => "texts",
            BookKind::Passages => "passages",
            BookKind::LabelMass => "mass",
        };
        json!([reading.checkpoint, kind, reading.values.len()])
    });
    let passages = book.passages.iter().map(|passage| {
        let raters = passage
            .raters
            .iter()
            .map(|(name, value)| json!([name, byte_of(*value)]));
        json!([
            passage.question,
            passage.checkpoint,
            passage.text,
            raters.collect::<Vec<_>>()
        ])
    });
    // Where the original stands, counted back from the question.
    let back = book.questions.iter().enumerate().map(|(at, question)| {
        i64::try_from(at).unwrap_or(0) - i64::try_from(question.original).unwrap_or(0)
    });
    json!({
        "texts": texts,
        "topic": steps(book.questions.iter().map(|question| Some(question.topic))),
        "back": back.collect::<Vec<_>>(),
        "translation": steps(book.questions.iter().map(|question| question.translation)),
        "offers": offers,
        "offer": offer,
        "columns": columns.collect::<Vec<_>>(),
        "passages": passages.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_is_a_byte_and_nothing_is_the_last() {
        assert_eq!(
            [0.0, 1.0, 0.5, 2.0, f32::NAN].map(byte_of),
            [0, 254, 127, 254, 255]
        );
    }

    #[test]
    fn what_is_packed_can_be_inflated() {
        let bytes = STANDARD.decode(packed(b"hello")).unwrap();
        assert_eq!(
            miniz_oxide::inflate::decompress_to_vec_zlib(&bytes).unwrap(),
            b"hello"
        );
    }

    #[test]
    fn numbers_are_steps() {
        let numbers = [Some(3), Some(5), None, Some(4)];
        assert_eq!(json!(steps(numbers.into_iter())), json!([3, 2, null, -1]));
    }
}
