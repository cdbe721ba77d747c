//! The template engine, set up as transformers sets up Jinja.

#![expect(
    clippy::needless_pass_by_value,
    reason = "what the engine calls filters with"
)]

use super::json::to_json;
use super::python;
use super::source::rewritten;
use crate::guard::bounded;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, context};
use minijinja_contrib::globals::{cycler, joiner};
use serde_json::{Map, Value as Json};

/// The day that `strftime_now` takes for today, whatever it is: a prompt must not change from day to day. It is the one that
/// Llama 3's templates fall back to.
const PINNED_DATE: jiff::civil::DateTime = jiff::civil::datetime(2024, 7, 26, 12, 0, 0, 0);

/// Instructions that a template may run, so that one that does not end is an error. Two hundred messages take published ones a
/// hundredth of it.
const FUEL: u64 = 1 << 20;

/// A parsed template.
pub(super) struct Engine {
    environment: Environment<'static>,
    /// The special tokens that it may name.
    tokens: Map<String, Json>,
}

impl Engine {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(source: &str, tokens: &Map<String, Json>) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| one_line(&error))?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(python::method);
        environment.set_formatter(python::print);
        add_filters(&mut environment);
        environment.add_test("iterable", |value: &Value| {
            value.len().is_some() || is_endless(value)
        });
        environment.add_test("sequence", |value: &Value| value.len().is_some());
        environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |format: String| date(&format));
        environment.add_function("range", range);
        environment.add_function("joiner", joiner);
        environment.add_function("cycler", |items: Rest<Value>| cycler(items.0));
        environment.remove_global("debug");
        let plain = bounded(|| rewritten(source))??;
        bounded(|| environment.add_template_owned("chat", plain))?
            .map_err(|error| one_line(&error))?;
        Ok(Self {
            environment,
            tokens: tokens.clone(),
        })
    }

    /// Renders messages with a generation prompt, as `apply_chat_template` does with `enable_thinking` and `thinking` set to false.
    ///
    /// # Errors
    /// The engine's message, or what the template itself raised.
    pub fn write(&self, messages: &Json) -> Result<String, String> {
        let template = self
            .environment
            .get_template("chat")
            .map_err(|error| one_line(&error))?;
        let render = || {
            template.render(context! {
                messages => Value::from(Serde(messages)),
                add_generation_prompt => true,
                enable_thinking => false,
                thinking => false,
                // transformers passes these as None where they are not given.
                tools => (),
                documents => (),
                ..Value::from(Serde(&self.tokens))
            })
        };
        bounded(render)?.map_err(|error| one_line(&error))
    }
}

fn bad(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

/// Filters that are not the engine's own, or not as Jinja has them.
fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", to_json);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("string", |value: &Value| python::text(value));
    environment.add_filter("join", join);
    environment.add_filter("replace", replace);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("indent", indent);
    environment.add_filter("items", items);
    environment.add_filter("wordcount", |text: &str| text.split_whitespace().count());
    // What the source is rewritten with.
    environment.add_filter("_each", each);
    environment.add_filter("_filled", python::filled);
}

/// Something that can be walked through and has no length.
fn is_endless(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Iterable)
}

/// What a loop goes through: of a text its characters, as a list, which has a length.
fn each(value: Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Value::from(
            text.chars().map(String::from).collect::<Vec<_>>(),
        ));
    }
    if value.is_none() {
        return Err(bad("None cannot be walked through"));
    }
    Ok(value)
}

/// Jinja's `length`: nothing has none, and what has no length is an error.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value
        .len()
        .ok_or_else(|| bad(format!("a value of kind {} has no length", value.kind())))
}

fn join(value: &Value, separator: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let named: Option<Value> = options.get("d")?;
    let attribute: Option<Value> = options.get("attribute")?;
    options.assert_all_used()?;
    let separator = separator
        .or(named)
        .map_or_else(String::new, |separator| python::text(&separator));
    if value.is_undefined() {
        return Ok(String::new());
    }
    let mut parts = Vec::new();
    for item in value.try_iter()? {
        let item = match &attribute {
            Some(attribute) => attribute_of(&item, attribute)?,
            None => item,
        };
        parts.push(python::text(&item));
    }
    Ok(parts.join(&separator))
}

/// An attribute of an attribute, with dots between.
fn attribute_of(value: &Value, attribute: &Value) -> Result<Value, Error> {
    let Some(path) = attribute.as_str() else {
        return value.get_item(attribute);
    };
    let mut value = value.clone();
    for part in path.split('.') {
        value = match part.parse::<usize>() {
            Ok(place) => value.get_item(&Value::from(place))?,
            Err(_) => value.get_attr(part)?,
        };
    }
    Ok(value)
}

fn replace(
    value: &Value,
    from: &Value,
    to: &Value,
    most: Option<i64>,
    options: Kwargs,
) -> Result<String, Error> {
    let named: Option<i64> = options.get("count")?;
    options.assert_all_used()?;
    let (text, from, to) = (python::text(value), python::text(from), python::text(to));
    Ok(
        match most.or(named).and_then(|most| usize::try_from(most).ok()) {
            Some(most) => text.replacen(&from, &to, most),
            None => text.replace(&from, &to),
        },
    )
}

fn default(
    value: Value,
    other: Option<Value>,
    falsy: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named: Option<Value> = options.get("default_value")?;
    let also: Option<Value> = options.get("boolean")?;
    options.assert_all_used()?;
    let other = other.or(named).unwrap_or_else(|| Value::from(""));
    let falsy = falsy.or(also).is_some_and(|falsy| falsy.is_true());
    let is_absent = value.is_undefined() || (falsy && !value.is_true());
    Ok(if is_absent { other } else { value })
}

/// A whole number; of what is none, 0 or what is named.
fn int(
    value: &Value,
    other: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named: Option<Value> = options.get("default")?;
    let by_name: Option<u32> = options.get("base")?;
    options.assert_all_used()?;
    let base = base.or(by_name).unwrap_or(10);
    if !(2..=36).contains(&base) {
        return Err(bad(format!("base {base}")));
    }
    let found = match value.as_str() {
        Some(text) => {
            let text = text.trim().replace('_', "");
            let (sign, digits) = match text.strip_prefix('-') {
                Some(digits) => (-1, digits),
                None => (1, text.strip_prefix('+').unwrap_or(&text)),
            };
            let prefix = [("0x", 16), ("0o", 8), ("0b", 2)];
            let digits = prefix
                .iter()
                .find(|(_, of)| *of == base)
                .and_then(|(prefix, _)| digits.strip_prefix(prefix))
                .unwrap_or(digits);
            let whole = i128::from_str_radix(digits, base)
                .ok()
                .map(|number| sign * number);
            whole.or_else(|| cut(text.parse::<f64>().ok()?))
        }
        None if value.kind() == ValueKind::Bool => Some(i128::from(value.is_true())),
        None if value.is_integer() => return Ok(value.clone()),
        None => f64::try_from(value.clone()).ok().and_then(cut),
    };
    Ok(found.map_or_else(
        || other.or(named).unwrap_or_else(|| Value::from(0)),
        Value::from,
    ))
}

/// A number without what is behind its point.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn cut(number: f64) -> Option<i128> {
    (number.abs() < 1e30).then_some(number as i128)
}

fn float(value: &Value, other: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let named: Option<Value> = options.get("default")?;
    options.assert_all_used()?;
    let found = match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse::<f64>().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(found.map_or_else(
        || other.or(named).unwrap_or_else(|| Value::from(0.0)),
        Value::from,
    ))
}

fn indent(
    value: &Value,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let (by_name, first_by_name, blank_by_name): (Option<Value>, Option<bool>, Option<bool>) = (
        options.get("width")?,
        options.get("first")?,
        options.get("blank")?,
    );
    options.assert_all_used()?;
    let width = width.or(by_name).unwrap_or_else(|| Value::from(4));
    let margin = match width.as_str() {
        Some(margin) => margin.to_owned(),
        None => match width.as_usize().filter(|width| *width <= 1 << 16) {
            Some(width) => " ".repeat(width),
            None => return Err(bad("an indent is a number or a text")),
        },
    };
    let (first, blank) = (
        first.or(first_by_name).unwrap_or(false),
        blank.or(blank_by_name).unwrap_or(false),
    );
    let text = python::text(value);
    let lines = text.split('\n').enumerate().map(|(index, line)| {
        let indented = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if indented {
            format!("{margin}{line}")
        } else {
            line.to_owned()
        }
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn items(state: &mut State, value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Ok(Value::from(Vec::<Value>::new()));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, "items", &[])
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(bad(message))
}

/// `strftime` of the pinned date. Without a time zone its name and its offset are empty; what is no directive stays as it is.
fn date(format: &str) -> Result<String, Error> {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let flags = rest[1..].len()
            - rest[1..]
                .trim_start_matches(['-', '_', '0', '^', '#'])
                .len();
        let directive = rest[1 + flags..].chars().next();
        let length = 1 + flags + directive.map_or(0, char::len_utf8);
        let (this, after) = rest.split_at(length);
        rest = after;
        match directive {
            Some('Z' | 'z') => {}
            Some('c') => out.push_str(&formatted("%a %b %e %H:%M:%S %Y")?),
            Some('x') => out.push_str(&formatted("%m/%d/%y")?),
            Some('X') => out.push_str(&formatted("%H:%M:%S")?),
            Some('f') => out.push_str("000000"),
            Some(known) if "aAbBCdDeFgGhHIjklmMnpPrRStTuUVwWyY%".contains(known) => {
                out.push_str(&formatted(this)?);
            }
            _ => out.push_str(this),
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn formatted(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, PINNED_DATE).map_err(|error| bad(error.to_string()))
}

/// Python's `range`, which counts down where its step is negative.
fn range(first: i64, second: Option<i64>, step: Option<i64>) -> Result<Vec<i64>, Error> {
    let (start, end) = match second {
        Some(end) => (first, end),
        None => (0, first),
    };
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(bad("range() with a step of zero"));
    }
    let length = (i128::from(end) - i128::from(start)) / i128::from(step);
    if length > 100_000 {
        return Err(bad("range() with more than 100000 numbers"));
    }
    let mut numbers = Vec::new();
    let mut number = start;
    while (step > 0 && number < end) || (step < 0 && number > end) {
        numbers.push(number);
        number = number.saturating_add(step);
    }
    Ok(numbers)
}

fn one_line(error: &Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
