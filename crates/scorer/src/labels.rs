//! Every way in which a vocabulary spells a label.

use crate::spelling::Alphabet;
use concord_checkpoint::Vocabulary;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// One way to write a label: a token, or an opening token and then one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub text: String,
    /// Before the last token.
    pub opening: Option<u32>,
    pub token: u32,
}

/// Finds spellings by the text of tokens.
///
/// A token spells a label when its text is the label once white space, brackets, quotes, asterisks, colons and full stops
/// around it are taken away, in any width. Case counts: `a` is a word before it is an answer.
pub struct LabelTable {
    texts: Vec<String>,
    by_core: HashMap<String, Vec<u32>>,
    /// Where whole texts are spelled.
    alphabet: OnceLock<Arc<Alphabet>>,
}

impl LabelTable {
    /// Reads the whole vocabulary once.
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let texts = vocabulary.texts();
        let mut by_core: HashMap<String, Vec<u32>> = HashMap::new();
        for (token, text) in (0u32..).zip(&texts) {
            // Labels are short; longer tokens are not worth a key.
            let core = core(text);
            if !core.is_empty() && core.len() <= 32 {
                by_core.entry(core).or_default().push(token);
            }
        }
        Self {
            texts,
            by_core,
            alphabet: OnceLock::new(),
        }
    }

    /// The tokens of the vocabulary by their bytes, read when they are first asked for.
    pub(crate) fn alphabet(&self, vocabulary: &Vocabulary) -> Arc<Alphabet> {
        let read = || Arc::new(Alphabet::new(vocabulary));
        Arc::clone(self.alphabet.get_or_init(read))
    }

    /// The text of a token.
    pub fn text(&self, token: u32) -> &str {
        self.texts.get(token as usize).map_or("", String::as_str)
    }

    /// The ways to write `label`; none where no token spells it. An opening costs a row, so it is followed only where the opened label is not itself a
    /// token.
    pub(crate) fn ways(
        &self,
        label: &str,
        openings: &[String],
        vocabulary: &Vocabulary,
    ) -> Vec<Way> {
        let wanted = core(label);
        let tokens = self.by_core.get(&wanted).map_or(&[][..], Vec::as_slice);
        let mut ways: Vec<Way> = tokens
            .iter()
            .map(|&token| Way {
                text: self.text(token).to_owned(),
                opening: None,
                token,
            })
            .collect();
        for opening in openings {
            let opened = format!("{opening}{label}");
            if tokens.iter().any(|token| self.text(*token) == opened) {
                continue;
            }
            let Ok(&[first]) = vocabulary.continuation(opening).as_deref() else {
                continue;
            };
            for token in tokens
                .iter()
                .filter(|token| self.text(**token).starts_with(label))
            {
                let text = format!("{}{}", self.text(first), self.text(*token));
                ways.push(Way {
                    text,
                    opening: Some(first),
                    token: *token,
                });
            }
        }
        ways
    }
}

/// A text without what may surround a label.
fn core(text: &str) -> String {
    let around = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '(' | ')'
                    | '['
                    | ']'
                    | '{'
                    | '}'
                    | '（'
                    | '）'
                    | '［'
                    | '］'
                    | '【'
                    | '】'
                    | '「'
                    | '」'
                    | '『'
                    | '』'
                    | '"'
                    | '\''
                    | '`'
                    | '“'
                    | '”'
                    | '„'
                    | '‘'
                    | '’'
                    | '«'
                    | '»'
                    | '*'
                    | ':'
                    | '：'
                    | '.'
                    | '．'
                    | '。'
                    | '▁'
            )
    };
    let narrow = |c: char| match u32::from(c) {
        // Full-width letters and digits stand a fixed distance above ASCII.
        code @ 0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0).unwrap_or(c),
        _ => c,
    };
    text.trim_matches(around).chars().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::core;

    #[test]
    fn spellings_share_a_core() {
        for spelling in [
            "A", " A", "(A", "（A", "A)", " (A).", "**A**", "Ａ", "「A」", "▁A", "\nA:",
        ] {
            assert_eq!(core(spelling), "A", "{spelling}");
        }
        for other in ["a", "AB", "A B", "-A", "A,", "", "()"] {
            assert_ne!(core(other), "A", "{other}");
        }
    }
}
