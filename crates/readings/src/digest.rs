//! A digest of everything that decides what is read after a prompt.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a prompt asks of a checkpoint, in short: its tokens, what is read after them and how numbers are computed. The same prompt has
/// the same digest whatever else is asked; its name is no part of it, unless draws follow from it.
///
/// Its text is 32 hexadecimal digits in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PromptDigest(pub [u8; 16]);

/// A text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` must be 32 hexadecimal digits in small letters")]
pub struct NoDigest(pub String);

impl fmt::Display for PromptDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl FromStr for PromptDigest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let wrong = || NoDigest(text.to_owned());
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.as_bytes().iter().all(is_digit) {
            return Err(wrong());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl From<PromptDigest> for String {
    fn from(digest: PromptDigest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for PromptDigest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Self, NoDigest> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_its_text_and_back() {
        let digest = PromptDigest([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        let text = "000102030405060708090a0b0c0d0eff";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<PromptDigest>(&json).unwrap(), digest);
        for wrong in [
            "",
            "0",
            &text[1..],
            &text.to_uppercase(),
            &text.replace('f', "g"),
        ] {
            assert_eq!(
                wrong.parse::<PromptDigest>(),
                Err(NoDigest(wrong.to_owned()))
            );
        }
        let signed = format!("+{}", &text[1..]);
        assert!(signed.parse::<PromptDigest>().is_err());
    }
}
