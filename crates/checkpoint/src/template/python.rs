//! Values as Python writes them, and what templates call of Python's texts, lists and mappings.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};
use minijinja_contrib::pycompat;

fn bad(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

/// `str(value)`; what is undefined is empty.
pub(super) fn text(value: &Value) -> String {
    match (value.kind(), value.as_str()) {
        (_, Some(text)) => text.to_owned(),
        (ValueKind::Undefined, _) => String::new(),
        _ => {
            let mut out = String::new();
            repr(value, &mut out);
            out
        }
    }
}

/// `repr(value)`, appended.
fn repr(value: &Value, out: &mut String) {
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => {
            out.push_str(&f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float));
        }
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() {
                ('(', ')')
            } else {
                ('[', ']')
            };
            out.push(open);
            let mut count = 0;
            for item in value.try_iter().into_iter().flatten() {
                if count > 0 {
                    out.push_str(", ");
                }
                count += 1;
                repr(&item, out);
            }
            if value.is_tuple() && count == 1 {
                out.push(',');
            }
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(&key, out);
                out.push_str(": ");
                repr(&value.get_item(&key).unwrap_or_default(), out);
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
}

/// The shortest digits that are this number and no other, as Python lays them out.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A text in quotes.
fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let escaped = match code {
                    0..=0xFF => format!("\\x{code:02x}"),
                    0x100..=0xFFFF => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                out.push_str(&escaped);
            }
        }
    }
    out.push(quote);
}

/// Controls, marks of direction and spaces but the usual one are not.
fn is_printable(c: char) -> bool {
    let format = matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || format)
}

/// Writes what `{{ … }}` prints.
pub(super) fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.as_str().is_some() {
        return minijinja::escape_formatter(out, state, value);
    }
    out.write_str(&text(value))
        .map_err(|_| bad("it cannot be written"))
}

/// What a call is given: values by place, then by name.
struct Arguments<'a> {
    method: &'a str,
    placed: &'a [Value],
    named: Option<Kwargs>,
}

impl<'a> Arguments<'a> {
    fn of(method: &'a str, values: &'a [Value]) -> Self {
        let named = values.last().filter(|last| last.is_kwargs());
        let placed = &values[..values.len() - usize::from(named.is_some())];
        Self {
            method,
            placed,
            named: named.and_then(|named| Kwargs::try_from(named.clone()).ok()),
        }
    }

    fn at(&self, place: usize, name: &str) -> Option<Value> {
        let named = || self.named.as_ref()?.get::<Option<Value>>(name).ok()?;
        self.placed.get(place).cloned().or_else(named)
    }

    fn text(&self, place: usize, name: &str) -> Result<Option<String>, Error> {
        match self.at(place, name) {
            None => Ok(None),
            Some(value) if value.is_none() => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(bad(format!("{}() takes texts", self.method))),
            },
        }
    }

    fn needed(&self, place: usize, name: &str) -> Result<String, Error> {
        let text = self.text(place, name)?;
        text.ok_or_else(|| bad(format!("{}() needs a text", self.method)))
    }

    fn number(&self, place: usize, name: &str) -> Result<Option<i64>, Error> {
        match self.at(place, name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(bad(format!("{}() takes a whole number", self.method))),
            },
        }
    }

    /// A number of places, of which there are not too many.
    fn width(&self) -> Result<usize, Error> {
        let width = self.number(0, "width")?.unwrap_or(0).max(0);
        usize::try_from(width)
            .ok()
            .filter(|width| *width <= 1 << 20)
            .ok_or_else(|| bad(format!("{}() to a width of {width}", self.method)))
    }

    fn end(self, most: usize) -> Result<(), Error> {
        if self.placed.len() > most {
            return Err(bad(format!(
                "{}() takes at most {most} arguments",
                self.method
            )));
        }
        self.named.map_or(Ok(()), |named| named.assert_all_used())
    }
}

/// Methods that the engine does not know.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    values: &[Value],
) -> Result<Value, Error> {
    let given = Arguments::of(name, values);
    if let Some(text) = value.as_str() {
        if let Some(found) = of_text(text, name, &given)? {
            given.end(3)?;
            return Ok(found);
        }
    } else if name == "copy"
        && given.placed.is_empty()
        && matches!(value.kind(), ValueKind::Seq | ValueKind::Map)
    {
        return Ok(value.clone());
    } else if name == "index" && value.kind() == ValueKind::Seq {
        let wanted = given
            .at(0, "value")
            .ok_or_else(|| bad("index() needs a value"))?;
        let place = value.try_iter()?.position(|item| item == wanted);
        return place
            .map(Value::from)
            .ok_or_else(|| bad("the list does not hold that value"));
    }
    pycompat::unknown_method_callback(state, value, name, values)
}

#[expect(clippy::too_many_lines, reason = "a table of methods")]
fn of_text(text: &str, name: &str, given: &Arguments<'_>) -> Result<Option<Value>, Error> {
    let list = |parts: Vec<&str>| {
        let parts = parts.into_iter().map(Value::from);
        Value::from(parts.collect::<Vec<_>>())
    };
    let tuple =
        |(a, b, c): (&str, &str, &str)| Value::from_object(Tuple::from([a, b, c].map(Value::from)));
    Ok(Some(match name {
        "split" | "rsplit" => {
            let separator = given.text(0, "sep")?;
            let most = given.number(1, "maxsplit")?.unwrap_or(-1);
            let most = usize::try_from(most).ok();
            list(split(text, separator.as_deref(), most, name == "rsplit")?)
        }
        "partition" => {
            let cut = given.needed(0, "sep")?;
            tuple(
                text.split_once(cut.as_str())
                    .map_or((text, "", ""), |(a, b)| (a, &cut, b)),
            )
        }
        "rpartition" => {
            let cut = given.needed(0, "sep")?;
            tuple(
                text.rsplit_once(cut.as_str())
                    .map_or(("", "", text), |(a, b)| (a, &cut, b)),
            )
        }
        "removeprefix" => {
            let part = given.needed(0, "prefix")?;
            Value::from(text.strip_prefix(part.as_str()).unwrap_or(text))
        }
        "removesuffix" => {
            let part = given.needed(0, "suffix")?;
            Value::from(text.strip_suffix(part.as_str()).unwrap_or(text))
        }
        "index" | "rindex" | "find" | "rfind" => {
            let (from, inner) = part_of(text, given)?;
            let wanted = given.needed(0, "sub")?;
            let place = if name.starts_with('r') {
                inner.rfind(&wanted)
            } else {
                inner.find(&wanted)
            };
            match place {
                Some(place) => Value::from(from + inner[..place].chars().count()),
                None if name.ends_with("index") => {
                    return Err(bad("the text does not hold that part"));
                }
                None => Value::from(-1),
            }
        }
        "startswith" | "endswith" if given.placed.len() > 1 => {
            let (_, inner) = part_of(text, given)?;
            let part = given.needed(0, "prefix")?;
            Value::from(if name == "startswith" {
                inner.starts_with(&part)
            } else {
                inner.ends_with(&part)
            })
        }
        "count" if given.placed.len() > 1 => {
            let (_, inner) = part_of(text, given)?;
            Value::from(inner.matches(&given.needed(0, "sub")?).count())
        }
        "swapcase" => {
            let swapped = text.chars().flat_map(|c| -> Vec<char> {
                if c.is_uppercase() {
                    c.to_lowercase().collect()
                } else {
                    c.to_uppercase().collect()
                }
            });
            Value::from(swapped.collect::<String>())
        }
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss").replace('ς', "σ")),
        "title" => {
            let mut inside = false;
            let titled = text.chars().flat_map(|c| -> Vec<char> {
                let cased = if inside {
                    c.to_lowercase().collect()
                } else {
                    c.to_uppercase().collect()
                };
                inside = c.is_alphabetic();
                cased
            });
            Value::from(titled.collect::<String>())
        }
        "isdigit" => {
            let digits = text.chars().map(is_digit).collect::<Option<Vec<bool>>>();
            let digits =
                digits.ok_or_else(|| bad("which of these are digits is not known here"))?;
            Value::from(!digits.is_empty() && !digits.contains(&false))
        }
        "strip" | "lstrip" | "rstrip"
            if given.at(0, "chars").is_none_or(|chars| chars.is_none()) =>
        {
            let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
            Value::from(match name {
                "strip" => text.trim_matches(is_space),
                "lstrip" => text.trim_start_matches(is_space),
                _ => text.trim_end_matches(is_space),
            })
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill) = (given.width()?, given.text(1, "fillchar")?);
            let fill = fill.unwrap_or_else(|| " ".to_owned());
            if fill.chars().count() != 1 {
                return Err(bad(format!("{name}() fills with one character")));
            }
            let room = width.saturating_sub(text.chars().count());
            let left = match name {
                "ljust" => 0,
                "rjust" => room,
                // As Python: the odd one is on the left where the width is odd.
                _ => room / 2 + (room & width & 1),
            };
            Value::from(format!(
                "{}{text}{}",
                fill.repeat(left),
                fill.repeat(room - left)
            ))
        }
        "zfill" => {
            let room = given.width()?.saturating_sub(text.chars().count());
            let sign = text.len() - text.trim_start_matches(['+', '-']).len();
            let (sign, digits) = text.split_at(sign.min(1));
            Value::from(format!("{sign}{}{digits}", "0".repeat(room)))
        }
        "expandtabs" => {
            let size = given.number(0, "tabsize")?.unwrap_or(8).clamp(0, 1 << 10);
            let size = usize::try_from(size).unwrap_or(8);
            let (mut out, mut column) = (String::new(), 0);
            for c in text.chars() {
                match c {
                    '\t' if size > 0 => {
                        let room = size - column % size;
                        out.push_str(&" ".repeat(room));
                        column += room;
                    }
                    '\t' => {}
                    c => {
                        out.push(c);
                        column = if c == '\n' || c == '\r' {
                            0
                        } else {
                            column + 1
                        };
                    }
                }
            }
            Value::from(out)
        }
        _ => return Ok(None),
    }))
}

/// The part of a text that a start and an end leave, and the characters before it.
fn part_of<'t>(text: &'t str, given: &Arguments<'_>) -> Result<(usize, &'t str), Error> {
    let count = text.chars().count();
    let place = |number: Option<i64>, default: usize| match number {
        None => default,
        Some(number) => match usize::try_from(number) {
            Ok(place) => place.min(count),
            Err(_) => {
                count.saturating_sub(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX))
            }
        },
    };
    let (start, end) = (
        place(given.number(1, "start")?, 0),
        place(given.number(2, "end")?, count),
    );
    let byte = |place: usize| {
        text.char_indices()
            .nth(place)
            .map_or(text.len(), |(at, _)| at)
    };
    Ok((start, text.get(byte(start)..byte(end)).unwrap_or_default()))
}

/// `str.split` and `str.rsplit`.
fn split<'t>(
    text: &'t str,
    separator: Option<&str>,
    most: Option<usize>,
    from_end: bool,
) -> Result<Vec<&'t str>, Error> {
    let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts: Vec<&str> = match (separator, from_end) {
        (Some(""), _) => return Err(bad("an empty separator")),
        (Some(separator), false) => text.splitn(most, separator).collect(),
        (Some(separator), true) => text.rsplitn(most, separator).collect(),
        (None, _) => {
            let mut parts = Vec::new();
            let mut rest = if from_end {
                text.trim_end()
            } else {
                text.trim_start()
            };
            while !rest.is_empty() {
                let cut = if from_end {
                    rest.char_indices()
                        .rfind(|(_, c)| c.is_whitespace())
                        .map(|(at, c)| (at, at + c.len_utf8()))
                } else {
                    rest.char_indices()
                        .find(|(_, c)| c.is_whitespace())
                        .map(|(at, c)| (at, at + c.len_utf8()))
                };
                match cut.filter(|_| parts.len() + 1 < most) {
                    Some((at, after)) if from_end => {
                        parts.push(&rest[after..]);
                        rest = rest[..at].trim_end();
                    }
                    Some((at, after)) => {
                        parts.push(&rest[..at]);
                        rest = rest[after..].trim_start();
                    }
                    None => {
                        parts.push(rest);
                        break;
                    }
                }
            }
            parts
        }
    };
    if from_end {
        parts.reverse();
    }
    Ok(parts)
}

/// Whether Python takes a character for a digit, as far as that is known: of other scripts' numbers it is not.
fn is_digit(c: char) -> Option<bool> {
    match c {
        '0'..='9' | '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '０'..='９' => {
            Some(true)
        }
        _ if c.is_numeric() => None,
        _ => Some(false),
    }
}

/// `text % values`: what Python's `printf` does.
pub(super) fn filled(state: &mut State, template: &Value, values: &Value) -> Result<Value, Error> {
    let Some(template) = template.as_str() else {
        return Err(bad("only a text can be filled in"));
    };
    let by_name = values.kind() == ValueKind::Map;
    let mut placed = if values.is_tuple() {
        values.try_iter()?.collect::<Vec<_>>().into_iter()
    } else {
        vec![values.clone()].into_iter()
    };
    let (mut out, mut rest) = (String::new(), template);
    let mut count = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let named = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        let (value, place) = match named {
            Some((name, after)) if by_name => {
                let value = values.get_item(&Value::from(name))?;
                if value.is_undefined() {
                    return Err(bad(format!("the mapping has no `{name}`")));
                }
                (value, after)
            }
            Some(_) => return Err(bad("a mapping fills in places with names")),
            None => {
                let value = placed.next();
                let value = value.ok_or_else(|| bad("more places than values"))?;
                (value, rest)
            }
        };
        count += 1;
        let end = place
            .find(|c: char| c.is_ascii_alphabetic())
            .ok_or_else(|| bad("a place without a kind"))?;
        out.push_str(&one_filled(
            state,
            &place[..end],
            &place[end..=end],
            &value,
        )?);
        rest = &place[end + 1..];
    }
    out.push_str(rest);
    if !by_name && placed.next().is_some() || (by_name && count == 0 && values.len() == Some(0)) {
        return Err(bad("more values than places"));
    }
    Ok(Value::from(out))
}

/// One place, with its flags and its kind, by the engine's own filter; texts as Python writes them.
fn one_filled(state: &mut State, flags: &str, kind: &str, value: &Value) -> Result<String, Error> {
    if flags.contains('*') {
        return Err(bad("a width that is a value"));
    }
    let is_number = matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    let (kind, value) = match kind {
        "s" => ("s", Value::from(text(value))),
        "r" => {
            let mut out = String::new();
            repr(value, &mut out);
            ("s", Value::from(out))
        }
        "d" | "i" | "u" if is_number => {
            let whole = match value.kind() {
                ValueKind::Number if !value.is_integer() => {
                    let number = f64::try_from(value.clone())?.trunc();
                    if number.abs() >= 9e15 {
                        return Err(bad("a number of more digits than are known here"));
                    }
                    #[expect(clippy::cast_possible_truncation, reason = "its range is checked")]
                    Value::from(number as i64)
                }
                ValueKind::Bool => Value::from(i64::from(value.is_true())),
                _ => value.clone(),
            };
            ("d", whole)
        }
        "e" | "E" | "f" | "F" | "g" | "G" if is_number => {
            let number = match value.kind() {
                ValueKind::Bool => f64::from(u8::from(value.is_true())),
                _ => f64::try_from(value.clone())?,
            };
            (kind, Value::from(number))
        }
        "x" | "X" | "o" | "c" => (kind, value.clone()),
        _ => return Err(bad(format!("`%{kind}` of such a value"))),
    };
    let filled = state.apply_filter("format", &[Value::from(format!("%{flags}{kind}")), value])?;
    Ok(text(&filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.5e300, "1.5e+300"),
            (-0.0, "-0.0"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn texts_are_split_as_python_splits_them() {
        let of = |text, separator, most, end| split(text, separator, most, end).unwrap();
        assert_eq!(of(" a  b c ", None, None, false), ["a", "b", "c"]);
        assert_eq!(of(" a  b c ", None, Some(1), false), ["a", "b c "]);
        assert_eq!(of(" a  b c ", None, Some(1), true), [" a  b", "c"]);
        assert_eq!(of("a,b,,c", Some(","), Some(2), true), ["a,b", "", "c"]);
        assert_eq!(of("", None, None, false), Vec::<&str>::new());
        assert!(split("a", Some(""), None, false).is_err());
    }
}
