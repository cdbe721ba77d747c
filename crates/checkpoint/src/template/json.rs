//! JSON as Python's `json.dumps` writes it.

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io;

/// `json.dumps` of Python: no HTML escapes, a space after commas and colons.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what the engine calls a filter with"
)]
pub(super) fn to_json(value: &Value, placed: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    let bad = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    if value.is_undefined() {
        return Err(bad("what is undefined is no JSON".to_owned()));
    }
    let mut indent: Option<usize> = options.get("indent")?;
    let mut ascii: Option<bool> = options.get("ensure_ascii")?;
    if let Some(first) = placed.first() {
        ascii = Some(first.is_true());
    }
    if let Some(second) = placed.get(1) {
        indent = second.as_usize();
    }
    let sorted: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let mut json = serde_json::to_value(value).map_err(|error| bad(error.to_string()))?;
    if sorted == Some(true) {
        sort_keys(&mut json);
    }
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => return Err(bad("separators are two".to_owned())),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let indent = indent.map(|width| " ".repeat(width.min(64)));
    let python = Python {
        pretty: PrettyFormatter::with_indent(indent.as_deref().unwrap_or("").as_bytes()),
        indented: indent.is_some(),
        ascii: ascii == Some(true),
        comma,
        colon,
    };
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, python);
    json.serialize(&mut serializer)
        .map_err(|error| bad(error.to_string()))?;
    let text = String::from_utf8(out).map_err(|error| bad(error.to_string()))?;
    Ok(Value::from_safe_string(text))
}

fn sort_keys(json: &mut Json) {
    match json {
        Json::Object(object) => {
            let mut entries: Vec<(String, Json)> = std::mem::take(object).into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, mut value) in entries {
                sort_keys(&mut value);
                object.insert(key, value);
            }
        }
        Json::Array(list) => list.iter_mut().for_each(sort_keys),
        _ => {}
    }
}

/// JSON as `json.dumps` writes it.
struct Python<'a> {
    pretty: PrettyFormatter<'a>,
    indented: bool,
    ascii: bool,
    comma: String,
    colon: String,
}

impl Formatter for Python<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.indented {
            return self.pretty.begin_array(out);
        }
        out.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.indented {
            return self.pretty.end_array(out);
        }
        out.write_all(b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            out.write_all(self.comma.as_bytes())?;
        }
        if self.indented {
            // The first of its kind writes no comma.
            return self.pretty.begin_array_value(out, true);
        }
        Ok(())
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.indented {
            return self.pretty.begin_object(out);
        }
        out.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.indented {
            return self.pretty.end_object(out);
        }
        out.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            out.write_all(self.comma.as_bytes())?;
        }
        if self.indented {
            return self.pretty.begin_object_key(out, true);
        }
        Ok(())
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.colon.as_bytes())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.end_object_value(out)
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ascii {
            return out.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c.is_ascii() {
                write!(out, "{c}")?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}
