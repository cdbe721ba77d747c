//! Digests: of values, of files that carry their own, and of lines.

use serde_json::{Map, Value};

/// Bytes of a hexadecimal digest.
pub(crate) const DIGEST: usize = 64;
/// Bytes of a line's hexadecimal checksum.
const SUM: usize = 16;

const FILE_START: &[u8] = b"{\n  \"digest\": \"";
const LINE_START: &[u8] = b"{\"sum\":\"";

/// The digest of bytes, hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The digest of bytes that come one after the other.
#[derive(Default)]
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn hexadecimal(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

/// The digest of a value, whatever the order of its keys.
pub(crate) fn digest_of(value: &Value) -> String {
    digest(sorted(value).to_string().as_bytes())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort();
            let entries = keys
                .into_iter()
                .map(|key| (key.clone(), sorted(&object[key])));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Puts the digest of an object's text in front of its first key. `text` is the object over several lines.
pub(crate) fn sealed(text: &[u8]) -> Vec<u8> {
    let rest = text.strip_prefix(b"{\n").unwrap_or(text);
    let mut out = FILE_START.to_vec();
    out.extend_from_slice(digest(rest).as_bytes());
    out.extend_from_slice(b"\",\n");
    out.extend_from_slice(rest);
    out
}

/// Whether a text is as it was sealed; `None` where it has no seal.
pub(crate) fn is_whole(text: &[u8]) -> Option<bool> {
    let (stated, rest) = text.strip_prefix(FILE_START)?.split_at_checked(DIGEST)?;
    let rest = rest.strip_prefix(b"\",\n")?;
    Some(stated == digest(rest).as_bytes())
}

/// An object on one line, with a checksum in front of its first key and a line's end.
pub(crate) fn sealed_line(json: &[u8]) -> Vec<u8> {
    let mut out = LINE_START.to_vec();
    out.extend_from_slice(&digest(json).as_bytes()[..SUM]);
    out.extend_from_slice(b"\",");
    out.extend_from_slice(json.get(1..).unwrap_or_default());
    out.push(b'\n');
    out
}

/// What a line says of itself.
pub(crate) enum Sealed {
    /// The object, which is what was written.
    Whole(Vec<u8>),
    /// It is not what was written.
    Changed,
    /// It has no checksum.
    Bare,
}

impl Sealed {
    /// Whether it is what was written, with a checksum that says so.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

/// Looks at a line, with or without its end.
pub(crate) fn open_line(line: &[u8]) -> Sealed {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let Some(rest) = line.strip_prefix(LINE_START) else {
        return Sealed::Bare;
    };
    let parts = rest.split_at_checked(SUM);
    let Some((sum, Some(rest))) = parts.map(|(sum, rest)| (sum, rest.strip_prefix(b"\","))) else {
        return Sealed::Changed;
    };
    let json = [b"{", rest].concat();
    if &digest(&json).as_bytes()[..SUM] == sum {
        Sealed::Whole(json)
    } else {
        Sealed::Changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_changed_byte_shows() {
        let text = serde_json::to_vec_pretty(&json!({"a": 1.25, "b": [2]})).unwrap();
        let whole = sealed(&text);
        assert_eq!(is_whole(&whole), Some(true));
        let read: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!((&read["a"], &read["b"]), (&json!(1.25), &json!([2])));
        let line = sealed_line(br#"{"id":"x","n":3}"#);
        for text in [&whole, &line] {
            for at in 0..text.len() {
                let mut changed = text.clone();
                changed[at] ^= 1;
                if text == &whole {
                    assert_ne!(is_whole(&changed), Some(true), "{at}");
                } else if at + 1 < text.len() {
                    assert!(!matches!(open_line(&changed), Sealed::Whole(_)), "{at}");
                }
            }
        }
        assert!(matches!(open_line(&line), Sealed::Whole(json) if json == br#"{"id":"x","n":3}"#));
        assert!(matches!(open_line(b"{\"id\":1}\n"), Sealed::Bare));
        assert_eq!(is_whole(&text), None);
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let (a, b) = (
            json!({"a": {"x": 1, "y": 2}, "b": 3}),
            json!({"b": 3, "a": {"y": 2, "x": 1}}),
        );
        assert_eq!(digest_of(&a), digest_of(&b));
        assert_ne!(
            digest_of(&a),
            digest_of(&json!({"a": {"x": 1, "y": 2}, "b": 4}))
        );
    }
}
