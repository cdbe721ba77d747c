//! Texts cut at places where no tokenizer of some kinds joins anything, so that a line that stands in many prompts is tokenised once.
//!
//! What stands on both sides of a cut becomes the same tokens whatever stands on the other side. That is proven for two kinds of
//! pre-tokenizers, and a tokenizer that is neither is not cut.
//!
//! * **GPT-2's** (`'s|'t|… ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`), cut before a line break that follows a letter, digit or
//!   mark. No alternative that matches what is no white space goes on into a line break, so a match ends at the cut, where the text ends as
//!   well as where it goes on; the lookahead sees only what follows white space within the part. What follows the cut is matched from there.
//! * **Those of Llama 3, Qwen 2 and their like** (`…|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|…`), cut after
//!   a line break that a letter, digit or mark follows. What matches a line break (`[\r\n]*` after marks, `\s*[\r\n]+`) goes on to the
//!   last of them and no further, and the lookahead is not reached there, since `\s*[\r\n]+` comes first. No match begins with a line break and
//!   goes on into a letter.
//!
//! Added tokens are looked for before: none of them may have white space in it or take any from beside it. Normal forms compose nothing with
//! a line break. Merges are of one pre-token each.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};
use tokenizers::{ModelWrapper, Tokenizer};

/// Where texts may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Before a line break.
    Before,
    /// After one.
    After,
}

/// The pattern of Llama 3, with what stands in it for digits left open.
const AFTER: [&str; 2] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// What stands in it for digits.
const DIGITS: [&str; 2] = [r"\p{N}{1,3}", r"\p{N}"];

/// The longest part that is kept, in bytes.
const LONGEST: usize = 2048;
/// Parts that are kept in each of some tables.
const MOST: usize = 8192;
const TABLES: usize = 16;

/// Parts with their tokens.
type Table = RwLock<HashMap<Box<str>, Arc<[u32]>>>;

/// The parts of texts that were tokenised, with their tokens.
pub(crate) struct Pieces {
    cut: Cut,
    hasher: RandomState,
    tables: [Table; TABLES],
}

impl Pieces {
    /// Of a tokenizer whose texts may be cut; else `None`.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let as_json = |part: Option<Value>| part.unwrap_or(Value::Null);
        let normalizer = tokenizer.get_normalizer();
        let normalizer = as_json(normalizer.and_then(|part| serde_json::to_value(part).ok()));
        let pre = tokenizer.get_pre_tokenizer();
        let pre = as_json(pre.and_then(|part| serde_json::to_value(part).ok()));
        let is_plain = normalizer.is_null() || normalizer == json!({ "type": "NFC" });
        let added = tokenizer.get_added_tokens_decoder();
        let is_alone = added.values().all(|token| {
            let takes_more = token.single_word || token.lstrip || token.rstrip;
            !takes_more && !token.content.contains(char::is_whitespace)
        });
        let is_bpe = matches!(tokenizer.get_model(), ModelWrapper::BPE(_));
        let cut = cut_of(&pre).filter(|_| is_plain && is_alone && is_bpe)?;
        Some(Self {
            cut,
            hasher: RandomState::new(),
            tables: Default::default(),
        })
    }

    /// The tokens of a text: those of its parts, each from `encode` or from before.
    pub fn tokens<E>(
        &self,
        text: &str,
        encode: impl Fn(&str) -> Result<Vec<u32>, E>,
    ) -> Result<Vec<u32>, E> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        for part in parts(text, self.cut) {
            if part.len() > LONGEST {
                tokens.extend(encode(part)?);
                continue;
            }
            let table = usize::try_from(self.hasher.hash_one(part) % TABLES as u64).unwrap_or(0);
            let table = &self.tables[table];
            let known = table.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.get(part) {
                tokens.extend_from_slice(known);
                continue;
            }
            drop(known);
            let found = encode(part)?;
            tokens.extend_from_slice(&found);
            let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
            if table.len() < MOST {
                table.insert(part.into(), found.into());
            }
        }
        Ok(tokens)
    }
}

/// Where a pre-tokenizer's texts may be cut.
fn cut_of(pre: &Value) -> Option<Cut> {
    let is_bytes = |step: &Value, splits: bool| {
        step["type"] == "ByteLevel"
            && step["add_prefix_space"] == false
            && step["use_regex"] == splits
    };
    let is_split = |step: &Value| {
        let pattern = step["pattern"]["Regex"].as_str();
        let inner = pattern.and_then(|pattern| {
            let rest = pattern.strip_prefix(AFTER[0])?;
            rest.strip_suffix(AFTER[1])
        });
        step["type"] == "Split"
            && step["behavior"] == "Isolated"
            && step["invert"] == false
            && inner.is_some_and(|inner| DIGITS.contains(&inner))
    };
    if is_bytes(pre, true) {
        return Some(Cut::Before);
    }
    let steps = pre["pretokenizers"]
        .as_array()
        .filter(|_| pre["type"] == "Sequence")?;
    match steps.as_slice() {
        [split, bytes] if is_split(split) && is_bytes(bytes, false) => Some(Cut::After),
        // Digits are cut off by themselves, wherever they stand.
        [digits, bytes] if digits["type"] == "Digits" && is_bytes(bytes, true) => Some(Cut::Before),
        _ => None,
    }
}

/// The parts of a text, in their order.
fn parts(text: &str, cut: Cut) -> impl Iterator<Item = &str> {
    // Surely no white space.
    let is_solid = |c: char| c.is_alphanumeric() || c.is_ascii_punctuation();
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = rest.match_indices('\n').find_map(|(at, _)| match cut {
            Cut::Before => rest[..at].ends_with(is_solid).then_some(at),
            Cut::After => rest[at + 1..].starts_with(is_solid).then_some(at + 1),
        });
        let (part, after) = rest.split_at(at.unwrap_or(rest.len()));
        rest = after;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vocabulary;
    use crate::side_files::SideFiles;
    use proptest::prelude::*;
    use std::path::Path;

    /// The demo's tokenizer with another pre-tokenizer.
    fn vocabulary(pre: Option<Value>) -> Vocabulary {
        let bytes = include_bytes!("../../../models/demo/base/tokenizer.json");
        let mut json: Value = serde_json::from_slice(bytes).unwrap();
        if let Some(pre) = pre {
            json["pre_tokenizer"] = pre;
        }
        let bytes = serde_json::to_vec(&json).unwrap();
        let beside = SideFiles::default();
        let parsed = Vocabulary::parse(Path::new("t"), &bytes, &beside, 2048);
        parsed.unwrap().0
    }

    fn like_llama3(digits: &str) -> Value {
        let pattern = format!("{}{digits}{}", AFTER[0], AFTER[1]);
        json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        ] })
    }

    /// Every kind that is cut.
    fn kinds() -> Vec<Vocabulary> {
        let digits = json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] });
        let others = [
            Some(like_llama3(DIGITS[0])),
            Some(like_llama3(DIGITS[1])),
            Some(digits),
            None,
        ];
        others.into_iter().map(vocabulary).collect()
    }

    /// Texts of what pre-tokenizers look at, line breaks among them.
    fn texts() -> impl Strategy<Value = String> {
        let pieces = [
            "\n", "\n", "\n\n", "\r", "\r\n", " ", "  ", "\t", "a", "The", "don't", "'s", "'", "?",
            ":", "): ", "(A", "7", "123456", "/", "\u{a0}", "\u{85}", "\u{3000}", "\u{2028}",
            "\u{301}", "é", "い", "。", "、\n", "<|end|>", "<|user|>", "\u{200b}", "😀",
        ];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..24)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn parts_are_the_same_tokens_as_the_whole(text in texts()) {
            static KINDS: std::sync::LazyLock<Vec<Vocabulary>> = std::sync::LazyLock::new(kinds);
            for vocabulary in &*KINDS {
                let whole = vocabulary.whole(&text, false).unwrap();
                prop_assert_eq!(&vocabulary.rendered(&text).unwrap(), &whole);
                // From before.
                prop_assert_eq!(&vocabulary.rendered(&text).unwrap(), &whole);
            }
        }
    }

    #[test]
    fn texts_are_cut_where_that_is_proven_and_nowhere_else() {
        let cut = |cut| parts("Q: a\n\nB? c\n d\r\ne\n", cut).collect::<Vec<_>>();
        assert_eq!(cut(Cut::Before), ["Q: a", "\n\nB? c", "\n d\r\ne", "\n"]);
        assert_eq!(cut(Cut::After), ["Q: a\n\n", "B? c\n d\r\n", "e\n"]);
        assert!(kinds().iter().all(Vocabulary::is_cut));
        let bytes = |prefix: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true });
        let mut other = like_llama3(DIGITS[0]);
        other["pretokenizers"][0]["pattern"]["Regex"] = json!(r"\s+|\S+");
        let mut removed = like_llama3(DIGITS[0]);
        removed["pretokenizers"][0]["behavior"] = json!("Removed");
        for pre in [
            bytes(true),
            other,
            removed,
            json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true }),
        ] {
            assert!(!vocabulary(Some(pre.clone())).is_cut(), "{pre}");
        }
        let bytes = include_bytes!("../../../models/demo/base/tokenizer.json");
        let json: Value = serde_json::from_slice(bytes).unwrap();
        for (key, value) in [
            ("lstrip", json!(true)),
            ("rstrip", json!(true)),
            ("single_word", json!(true)),
            ("content", json!("a b")),
        ] {
            let mut json = json.clone();
            json["added_tokens"][1][key] = value;
            let tokenizer = Tokenizer::from_bytes(serde_json::to_vec(&json).unwrap()).unwrap();
            assert!(Pieces::of(&tokenizer).is_none(), "{key}");
        }
        let mut lower = json;
        lower["normalizer"] = json!({ "type": "Lowercase" });
        let tokenizer = Tokenizer::from_bytes(serde_json::to_vec(&lower).unwrap()).unwrap();
        assert!(Pieces::of(&tokenizer).is_none());
    }
}
