//! The sentences that ask, by language. All of them are data.

use super::sets::{KINDS, Kind, OwnData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The languages that there are wordings in.
pub const LANGUAGES: [&str; 4] = ["english", "chinese", "german", "japanese"];

/// What asks, and what its answer begins with where the answer is begun: what comes next is then the choice itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wording(pub String, pub String);

/// A dialogue to complete, for checkpoints that are not spoken to in turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// The text with `{ask}` in it.
    pub text: String,
    /// What begins the next question, where a written answer ends.
    pub stop: String,
}

/// How the next of several numbers is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceWording {
    /// What asks; with `{history}` where the numbers so far are told in it.
    pub ask: String,
    /// What stands for the numbers so far where there is none.
    #[serde(default)]
    pub none: Option<String>,
    /// What the answer begins with where the numbers so far stand in the answer itself, after it.
    #[serde(default)]
    pub carrier: Option<String>,
}

/// How rock-paper-scissors is played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Game {
    /// Rock, paper and scissors.
    pub words: [String; 3],
    /// What asks for moves, and what the list of moves begins with.
    pub wordings: Vec<Wording>,
}

/// All sentences of a language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wordings {
    /// What stands between a sentence and what follows it.
    pub between: String,
    /// What stands between the items of a list.
    pub comma: String,
    /// What stands between a label and what it stands for.
    pub equals: String,
    /// Dialogues to complete; wording `i` stands in frame `i` modulo their number.
    pub frames: Vec<Frame>,
    /// How a set is asked about, by its kind.
    pub sets: BTreeMap<Kind, Vec<Wording>>,
    /// How the next number of a sequence is asked for.
    pub sequences: Vec<SequenceWording>,
    /// How the label of a random number is asked for.
    pub placebo: Vec<Wording>,
    /// A game against an opponent.
    pub rock_paper_scissors: Game,
    /// What asks for a poem.
    pub poems: Vec<String>,
}

/// The project's own wordings by language.
///
/// # Errors
/// None in a program that passed its tests.
pub fn own() -> Result<BTreeMap<String, Wordings>, OwnData> {
    let files = [
        include_str!("../../data/randomness/wordings/english.json"),
        include_str!("../../data/randomness/wordings/chinese.json"),
        include_str!("../../data/randomness/wordings/german.json"),
        include_str!("../../data/randomness/wordings/japanese.json"),
    ];
    let mut all = BTreeMap::new();
    for (language, text) in LANGUAGES.into_iter().zip(files) {
        all.insert(language.to_owned(), serde_json::from_str(text)?);
    }
    Ok(all)
}

impl Wordings {
    /// How sets of a kind are asked about.
    pub fn of(&self, kind: Kind) -> &[Wording] {
        self.sets.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// The least number of wordings that any kind of set has.
    pub fn least(&self) -> usize {
        let counts = KINDS.iter().map(|kind| self.of(*kind).len());
        counts.min().unwrap_or(0)
    }

    /// Words as a list.
    pub fn list(&self, words: &[&str]) -> String {
        words.join(&self.comma)
    }
}

/// A template with its places filled, in one go: what is filled in is not looked at again.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = values.iter().find_map(|(name, value)| {
            let after = rest[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((*value, after))
        });
        if let Some((value, after)) = known {
            out.push_str(value);
            rest = after;
        } else {
            out.push('{');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn places(text: &str) -> BTreeSet<&str> {
        let parts = text.split('{').skip(1);
        parts.map(|part| part.split('}').next().unwrap()).collect()
    }

    #[test]
    fn every_language_has_every_sentence() {
        let all = own().unwrap();
        assert_eq!(all.len(), LANGUAGES.len());
        for (language, wordings) in &all {
            let mut seen = BTreeSet::new();
            let mut is_new = |text: &str| {
                assert!(
                    text.trim() == text && !text.is_empty(),
                    "{language}: `{text}`"
                );
                assert!(
                    seen.insert(text.to_owned()),
                    "{language}: `{text}` stands twice"
                );
            };
            assert!(wordings.least() >= 10, "{language}");
            for kind in KINDS {
                let expected = match kind {
                    Kind::Number => vec!["high", "low"],
                    Kind::Coin => vec!["first", "second"],
                    Kind::Die | Kind::Letter => vec![],
                    Kind::Suit | Kind::Choice | Kind::Hiding => vec!["members"],
                };
                for Wording(ask, carrier) in wordings.of(kind) {
                    is_new(ask);
                    assert_eq!(places(ask), expected.iter().copied().collect(), "{ask}");
                    assert!(places(carrier).is_empty() && carrier.trim() == carrier);
                    assert!(!carrier.is_empty());
                }
            }
            for Wording(ask, carrier) in &wordings.placebo {
                is_new(ask);
                assert_eq!(places(ask), BTreeSet::from(["labels"]));
                assert!(places(carrier).is_empty() && carrier.trim() == carrier);
            }
            assert!(wordings.placebo.len() >= 6 && wordings.sequences.len() == 2);
            for sequence in &wordings.sequences {
                is_new(&sequence.ask);
                let told = places(&sequence.ask).contains("history");
                assert_eq!(told, sequence.none.is_some());
                assert_eq!(told, sequence.carrier.is_none());
            }
            for Wording(ask, carrier) in &wordings.rock_paper_scissors.wordings {
                is_new(ask);
                assert!(carrier.trim() == carrier && places(ask).is_empty());
            }
            assert_eq!(wordings.rock_paper_scissors.wordings.len(), 3);
            wordings.poems.iter().for_each(|poem| is_new(poem));
            for frame in &wordings.frames {
                is_new(&frame.text);
                assert_eq!(places(&frame.text), BTreeSet::from(["ask"]));
                // What begins a question is what ends the answer before it.
                assert!(
                    frame.text.contains(frame.stop.trim_start()),
                    "{}",
                    frame.stop
                );
            }
        }
        let counts = |wordings: &Wordings| (wordings.least(), wordings.placebo.len());
        let first = counts(&all["english"]);
        assert!(all.values().all(|wordings| counts(wordings) == first));
    }

    #[test]
    fn templates_are_filled_once() {
        let values = [("low", "{high}"), ("high", "9")];
        assert_eq!(fill("{low}-{high} {x} {", &values), "{high}-9 {x} {");
    }
}
