//! What a prompt is called: of which suite and item it is, and under which conditions it is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The name of a prompt, and of what is read after it.
///
/// Its text is `SUITE:ITEM?NAME=VALUE&NAME=VALUE`, conditions in the order of their names; what is a mark of this form stands in it as a
/// per cent sign and two hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromptKey {
    /// The suite.
    pub suite: String,
    /// What is asked about.
    pub item: String,
    /// How it is asked.
    pub conditions: BTreeMap<String, String>,
}

/// A text is the name of no prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no key of a prompt")]
pub struct NoKey(pub String);

impl PromptKey {
    /// An item of a suite, under no condition.
    pub fn new(suite: &str, item: impl Into<String>) -> Self {
        Self {
            suite: suite.to_owned(),
            item: item.into(),
            conditions: BTreeMap::new(),
        }
    }

    /// The same under a condition more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.conditions.insert(name.to_owned(), value.into());
        self
    }

    /// The same without a condition.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.conditions.remove(name);
        self
    }

    /// The value of a condition.
    pub fn condition(&self, name: &str) -> Option<&str> {
        self.conditions.get(name).map(String::as_str)
    }
}

/// Marks of the form, and the sign that stands for them.
const MARKS: &str = "%:?&=";

fn marked(text: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        if MARKS.contains(c) || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                write!(out, "%{byte:02X}")?;
            }
        } else {
            write!(out, "{c}")?;
        }
    }
    Ok(())
}

fn plain(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for PromptKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        marked(&self.suite, out)?;
        out.write_str(":")?;
        marked(&self.item, out)?;
        for (index, (name, value)) in self.conditions.iter().enumerate() {
            out.write_str(if index == 0 { "?" } else { "&" })?;
            marked(name, out)?;
            out.write_str("=")?;
            marked(value, out)?;
        }
        Ok(())
    }
}

impl FromStr for PromptKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let parsed = || {
            let (suite, rest) = text.split_once(':')?;
            let (item, conditions) = match rest.split_once('?') {
                Some((item, conditions)) => (item, Some(conditions)),
                None => (rest, None),
            };
            let mut key = Self::new(&plain(suite)?, plain(item)?);
            for condition in conditions.into_iter().flat_map(|all| all.split('&')) {
                let (name, value) = condition.split_once('=')?;
                let before = key.conditions.insert(plain(name)?, plain(value)?);
                if before.is_some() {
                    return None;
                }
            }
            Some(key)
        };
        parsed().ok_or_else(|| NoKey(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_text_and_back() {
        let key = PromptKey::new("valueconsistency", "controversial_english_us/12")
            .with("order", "reversed")
            .with("declining", "allowed");
        let text = "valueconsistency:controversial_english_us/12?declining=allowed&order=reversed";
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(key.condition("order"), Some("reversed"));
        assert_eq!(
            key.without("order").without("declining").to_string(),
            "valueconsistency:controversial_english_us/12"
        );
        for odd in ["", "a=b&c?d:e%f", "Ä\n%3A", "100 %"] {
            let key = PromptKey::new(odd, odd).with(odd, odd).with("x", odd);
            let text = key.to_string();
            assert_eq!(text.parse(), Ok(key), "{text}");
            assert!(!text.contains('\n'));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in [
            "",
            "a",
            "a:b?c",
            "a:b?c=1&c=2",
            "a:%",
            "a:%4",
            "a:%zz",
            "a:%FF",
            "a:b?",
        ] {
            assert_eq!(wrong.parse::<PromptKey>(), Err(NoKey(wrong.to_owned())));
        }
    }
}
