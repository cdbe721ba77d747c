//! Texts of which one comes next, and how probable each is over all of its spellings.

use crate::{LogProb, Probability};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Texts of which one may come next, each to be read over every way to spell it in tokens.
///
/// The texts stand after the prompt's tokens as they are: what a prompt ends with, such as a space, is no part of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strings {
    /// The texts, for example the numbers from 0 to 10.
    pub texts: Vec<String>,
    /// What may stand before a text, for example nothing and a space; each text is read after each of them.
    #[serde(default = "nothing")]
    pub leads: Vec<String>,
    /// What a text must not go on with.
    #[serde(default)]
    pub end: End,
}

fn nothing() -> Vec<String> {
    vec![String::new()]
}

/// What ends a text: anything but a token that goes on with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Whatever follows. A text then counts where a longer one begins with it as well.
    #[default]
    Any,
    /// Whatever does not begin with an ASCII digit, as after a number.
    Digit,
    /// Whatever does not begin with a letter of any alphabet, as after a word. A token that holds a part of a character is no letter.
    Letter,
}

/// Why texts cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StringsError {
    /// There are none.
    #[error("`texts` is empty")]
    NoText,
    /// Nothing may stand before them, not even nothing.
    #[error("`leads` is empty; leave it out where nothing stands before a text")]
    NoLead,
    /// One has no character.
    #[error("a text in `texts` is empty")]
    EmptyText,
    /// One, with what stands before it, is there twice.
    #[error("{0:?} is asked for twice")]
    Twice(String),
    /// One is no short text.
    #[error(
        "a text has {bytes} bytes, more than {}; read it as a continuation",
        Strings::MOST_BYTES
    )]
    TooLong {
        /// Its length with what stands before it, in UTF-8 bytes.
        bytes: usize,
    },
}

impl Strings {
    /// The most UTF-8 bytes of a text with what stands before it.
    pub const MOST_BYTES: usize = 1024;

    /// Whether every text is one, and one that no other is.
    ///
    /// # Errors
    /// [`StringsError`].
    pub fn check(&self) -> Result<(), StringsError> {
        if self.texts.is_empty() {
            return Err(StringsError::NoText);
        }
        if self.leads.is_empty() {
            return Err(StringsError::NoLead);
        }
        let mut seen = HashSet::new();
        for text in &self.texts {
            if text.is_empty() {
                return Err(StringsError::EmptyText);
            }
            for whole in self.whole(text) {
                let bytes = whole.len();
                if bytes > Self::MOST_BYTES {
                    return Err(StringsError::TooLong { bytes });
                }
                if let Some(whole) = seen.replace(whole) {
                    return Err(StringsError::Twice(whole));
                }
            }
        }
        Ok(())
    }

    /// A text after each of what may stand before it.
    pub fn whole(&self, text: &str) -> impl Iterator<Item = String> {
        self.leads.iter().map(move |lead| format!("{lead}{text}"))
    }
}

/// How probable each of some texts is as what comes next.
///
/// # Numerics
/// Exact over the whole vocabulary, but for spellings that are left out: logits in `f32`, their log-sum-exp accumulated in `f64`.
/// Sums are in the order of ids. That no digit follows is 1 less the sum of those that do, within about 1e-7; that no letter follows is
/// a sum itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StringsReading {
    /// Each text that was asked for, in the order asked.
    pub texts: Vec<StringReading>,
    /// The summed probability of all texts, at most 1. Where a longer text does not end a shorter one, both count.
    pub mass: Probability,
    /// Spellings that were not read, beyond the most of a text with what stands before it.
    pub left_out: usize,
}

/// A text over all of its spellings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StringReading {
    /// The text.
    pub text: String,
    /// The logarithm of the summed probability of the spellings, each with its end.
    pub log_prob: LogProb,
    /// The spellings, by what stands before the text, the fewest tokens first.
    pub spellings: Vec<EndedSpelling>,
}

/// One way to spell a text in tokens, and whether it ends there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedSpelling {
    /// The text with what stands before it.
    pub text: String,
    /// The token ids.
    pub tokens: Vec<u32>,
    /// The joint log-probability of the tokens.
    pub log_prob: LogProb,
    /// The probability that the text ends after them. Where it rounds to 0, the smallest positive number stands for it in sums, since
    /// logarithms are finite.
    pub ended: Probability,
}

impl StringsReading {
    /// The reading of a text, if it was read.
    pub fn text(&self, text: &str) -> Option<&StringReading> {
        self.texts.iter().find(|reading| reading.text == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str], leads: &[&str]) -> Strings {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Strings {
            texts: owned(texts),
            leads: owned(leads),
            end: End::Digit,
        }
    }

    #[test]
    fn what_is_not_said_is_nothing_before_and_anything_after() {
        let strings: Strings = serde_json::from_str(r#"{"texts": ["1"]}"#).unwrap();
        assert_eq!(strings.leads, [""]);
        assert_eq!(strings.end, End::Any);
        let written = r#"{"texts": ["1"], "leads": ["", " "], "end": "letter"}"#;
        let strings: Strings = serde_json::from_str(written).unwrap();
        assert_eq!(strings.end, End::Letter);
        let mistyped = r#"{"texts": ["1"], "lead": [" "]}"#;
        assert!(serde_json::from_str::<Strings>(mistyped).is_err());
    }

    #[test]
    fn every_text_is_one_that_no_other_is() {
        assert_eq!(strings(&["1", "10"], &["", " "]).check(), Ok(()));
        let refused = |texts: &[&str], leads: &[&str]| strings(texts, leads).check().unwrap_err();
        assert_eq!(refused(&[], &[""]), StringsError::NoText);
        assert_eq!(refused(&["1"], &[]), StringsError::NoLead);
        assert_eq!(refused(&["1", ""], &[" "]), StringsError::EmptyText);
        let twice = |text: &str| StringsError::Twice(text.to_owned());
        assert_eq!(refused(&["1", "2", "1"], &["", " "]), twice("1"));
        assert_eq!(refused(&["1"], &["", " ", ""]), twice("1"));
        assert_eq!(refused(&["1", " 1"], &["", " "]), twice(" 1"));
        let long = "a".repeat(Strings::MOST_BYTES);
        assert_eq!(strings(&[&long], &[""]).check(), Ok(()));
        let error = refused(&[&long], &["", " "]);
        assert_eq!(error, StringsError::TooLong { bytes: 1025 });
        let said = "a text has 1025 bytes, more than 1024; read it as a continuation";
        assert_eq!(error.to_string(), said);
    }
}
