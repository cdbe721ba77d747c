//! The checkpoint's own chat template.

use crate::guard::bounded;
use concord_readings::{Message, Role};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, context};
use regex::{Captures, Regex};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value as Json};
use std::io;

/// A parsed chat template and the special tokens that it may name.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    tokens: Map<String, Json>,
    traits: TemplateTraits,
}

/// What a template does that a reader of its results should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TemplateTraits {
    /// What becomes of a system message.
    pub system: SystemRole,
    /// What the template says as the system where nobody else does.
    pub default_system: Option<String>,
    /// `off` where the template has a switch for thinking: it is switched off.
    pub thinking: Option<&'static str>,
    /// What `strftime_now` gives, where the template asks for the date.
    pub date: Option<&'static str>,
}

/// What becomes of a system message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemRole {
    /// The template writes it.
    Native,
    /// The template refuses it or drops it: it is put before the first user message, with an empty line between.
    Folded,
}

/// The day that `strftime_now` takes for today, whatever it is: a prompt must not change from day to day. It is the one that
/// Llama 3's templates fall back to.
const PINNED_DATE: jiff::civil::DateTime = jiff::civil::datetime(2024, 7, 26, 12, 0, 0, 0);

/// Names of special tokens that templates may use.
const TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Instructions that a template may run, so that one that does not end is an error.
const FUEL: u64 = 1 << 24;

impl ChatTemplate {
    /// Parses a template. `settings` is `tokenizer_config.json`, whose special tokens the template may name.
    ///
    /// # Errors
    /// The template engine's message.
    pub fn parse(source: &str, settings: &Map<String, Json>) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| one_line(&error))?);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_filter("length", length);
        environment.add_filter("count", length);
        environment.add_test("iterable", |value: &Value| {
            value.len().is_some() || is_endless(value)
        });
        environment.add_test("sequence", |value: &Value| value.len().is_some());
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |format: String| date(&format));
        environment.add_function("range", range);
        let plain = without_generation_marks(&one_newline(source));
        bounded(|| environment.add_template_owned("chat", plain))?
            .map_err(|error| one_line(&error))?;
        let tokens = TOKENS.iter().filter_map(|name| {
            let token = settings.get(*name)?;
            let token = token.as_str().or_else(|| token.get("content")?.as_str())?;
            Some(((*name).to_owned(), Json::from(token)))
        });
        let mut template = Self {
            environment,
            source: source.to_owned(),
            tokens: tokens.collect(),
            traits: TemplateTraits {
                system: SystemRole::Native,
                default_system: None,
                thinking: mentions(source, &["enable_thinking", "thinking"]).then_some("off"),
                date: mentions(source, &["strftime_now"]).then_some("2024-07-26"),
            },
        };
        template.try_out();
        Ok(template)
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its text and the special tokens that it may name: what decides how it renders.
    pub(crate) fn identity(&self) -> String {
        let mut tokens: Vec<String> = self
            .tokens
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        tokens.sort();
        format!("{}\n{}", tokens.join("\n"), self.source)
    }

    /// What it does that a reader of its results should know.
    pub fn traits(&self) -> &TemplateTraits {
        &self.traits
    }

    /// Renders a conversation with a generation prompt, as `apply_chat_template` does with `enable_thinking` and `thinking`
    /// set to false. A system message that the template refuses or drops is put before the first user message.
    ///
    /// # Errors
    /// The template engine's message, or what the template itself raised.
    pub fn render(&self, messages: &[Message]) -> Result<String, String> {
        match self.traits.system {
            SystemRole::Folded => self.write(&folded(messages)),
            SystemRole::Native => self.write(messages),
        }
    }

    fn write(&self, messages: &[Message]) -> Result<String, String> {
        let template = self
            .environment
            .get_template("chat")
            .map_err(|error| one_line(&error))?;
        let render = || {
            template.render(context! {
                messages => Serde(messages),
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

    /// Finds out what the template does with a system message, and without one.
    fn try_out(&mut self) {
        // Digits: a template that changes case or quotes leaves them alone.
        let (said, asked) = ("170 392 645", "918 273 465");
        let user = Message::new(Role::User, asked);
        let with = self.write(&[Message::new(Role::System, said), user.clone()]);
        let without = self.write(&[user]);
        let Ok(without) = without else {
            // It refuses even a plain question: the prompts that are asked will say why.
            return;
        };
        match with {
            Ok(with) if with.contains(said) => {
                self.traits.default_system = default_system(&with, &without, said, asked);
            }
            _ => self.traits.system = SystemRole::Folded,
        }
    }
}

/// What stands in the place of the system's words where there are none.
fn default_system(with: &str, without: &str, said: &str, asked: &str) -> Option<String> {
    let (before, after) = with.split_once(said)?;
    let after = after.split_once(asked)?.0;
    let (own, _) = without.split_once(asked)?;
    let own = own.strip_prefix(before)?.strip_suffix(after)?.trim();
    (!own.is_empty()).then(|| own.to_owned())
}

/// The system's words put before the first user message.
fn folded(messages: &[Message]) -> Vec<Message> {
    let [system, rest @ ..] = messages else {
        return Vec::new();
    };
    if system.role != Role::System {
        return messages.to_vec();
    }
    let mut rest = rest.to_vec();
    match rest.iter_mut().find(|message| message.role == Role::User) {
        Some(user) => user.content = format!("{}\n\n{}", system.content, user.content),
        None => rest.insert(0, Message::new(Role::User, system.content.clone())),
    }
    rest
}

/// Whether the source names one of these.
fn mentions(source: &str, names: &[&str]) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    names.iter().any(|name| {
        source.match_indices(name).any(|(at, _)| {
            let before = source[..at].chars().next_back();
            let after = source[at + name.len()..].chars().next();
            // A name in quotes is text, not a variable.
            !before.is_some_and(|c| is_part(c) || ".'\"<|/".contains(c))
                && !after.is_some_and(|c| is_part(c) || ">'\"".contains(c))
        })
    })
}

/// `{% generation %}` marks what the assistant says for training, and prints nothing.
fn without_generation_marks(source: &str) -> String {
    let marks = [
        (r"\{%([-+]?)\s*generation\s*([-+]?)%\}", "if true"),
        (r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}", "endif"),
    ];
    let mut source = source.to_owned();
    for (pattern, word) in marks {
        // The patterns are constant and parse.
        if let Ok(pattern) = Regex::new(pattern) {
            let put = |found: &Captures<'_>| format!("{{%{} {word} {}%}}", &found[1], &found[2]);
            source = pattern.replace_all(&source, put).into_owned();
        }
    }
    source
}

/// Jinja writes one kind of line end, whatever the template has.
fn one_newline(source: &str) -> String {
    source.replace("\r\n", "\n").replace('\r', "\n")
}

/// Something that can be walked through and has no length.
fn is_endless(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Iterable)
}

/// Jinja's `length`: nothing has none, and what has no length is an error.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| {
        let problem = format!("a value of kind {} has no length", value.kind());
        Error::new(ErrorKind::InvalidOperation, problem)
    })
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn date(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, PINNED_DATE)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// Python's `range`, which counts down where its step is negative.
fn range(first: i64, second: Option<i64>, step: Option<i64>) -> Result<Vec<i64>, Error> {
    let (start, end) = match second {
        Some(end) => (first, end),
        None => (0, first),
    };
    let step = step.unwrap_or(1);
    let bad = |problem: &'static str| Err(Error::new(ErrorKind::InvalidOperation, problem));
    if step == 0 {
        return bad("range() with a step of zero");
    }
    let length = (i128::from(end) - i128::from(start)) / i128::from(step);
    if length > 100_000 {
        return bad("range() with more than 100000 numbers");
    }
    let mut numbers = Vec::new();
    let mut number = start;
    while (step > 0 && number < end) || (step < 0 && number > end) {
        numbers.push(number);
        number = number.saturating_add(step);
    }
    Ok(numbers)
}

/// `json.dumps` of Python: no HTML escapes, a space after commas and colons.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what the engine calls a filter with"
)]
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let bad = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
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

fn one_line(error: &Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &str) -> Result<ChatTemplate, String> {
        let settings =
            serde_json::json!({ "bos_token": "<s>", "eos_token": { "content": "</s>" } });
        ChatTemplate::parse(source, settings.as_object().unwrap())
    }

    fn messages() -> Vec<Message> {
        vec![
            Message::new(Role::System, " Be brief. "),
            Message::new(Role::User, "Hi"),
        ]
    }

    #[test]
    fn blocks_are_trimmed_as_transformers_does() {
        let source = "{{ bos_token }}{% for message in messages %}\n    {% if message['role'] == 'system' %}\nS:{{ message['content'].strip() }}\n    {% else %}\nU:{{ message.content | trim }}\n    {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}A:{% endif %}";
        let template = parse(source).unwrap();
        assert_eq!(
            template.render(&messages()).unwrap(),
            "<s>S:Be brief.\nU:Hi\nA:"
        );
        assert_eq!(template.traits().system, SystemRole::Native);
        assert_eq!(template.traits().default_system, None);
    }

    #[test]
    fn a_system_message_that_is_refused_or_dropped_is_folded() {
        for source in [
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{% for m in messages %}{{ m.role }}:{{ m.content }}{% endfor %}",
            "{% for m in messages %}{% if m.role != 'system' %}{{ m.role }}:{{ m.content }}{% endif %}{% endfor %}",
        ] {
            let template = parse(source).unwrap();
            assert_eq!(template.traits().system, SystemRole::Folded);
            assert_eq!(
                template.render(&messages()).unwrap(),
                "user: Be brief. \n\nHi"
            );
            assert_eq!(template.render(&messages()[1..]).unwrap(), "user:Hi");
        }
    }

    #[test]
    fn what_a_template_raises_is_passed_on() {
        let error = parse("{{ raise_exception('not like this') }}").unwrap();
        let error = error.render(&messages()).unwrap_err();
        assert!(error.contains("not like this"), "{error}");
        assert!(parse("{% if %}").is_err());
    }

    #[test]
    fn a_template_that_does_not_end_is_an_error() {
        let source =
            "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
        let error = parse(source).unwrap().render(&messages()).unwrap_err();
        assert!(error.contains("fuel"), "{error}");
    }

    #[test]
    fn default_words_and_switches_are_found() {
        let source = "{% if messages[0].role != 'system' %}<S>You are kind.</S>{% endif %}{% for m in messages %}{% if m.role == 'system' %}<S>{{ m.content }}</S>{% else %}<U>{{ m.content }}</U>{% endif %}{% endfor %}{% if enable_thinking is defined and not enable_thinking %}<none>{% endif %}{{ strftime_now('%d %b %Y') }}";
        let template = parse(source).unwrap();
        let traits = template.traits();
        assert_eq!(traits.default_system.as_deref(), Some("You are kind."));
        assert_eq!(traits.thinking, Some("off"));
        assert_eq!(traits.date, Some("2024-07-26"));
        let text = template.render(&messages()[1..]).unwrap();
        assert_eq!(text, "<S>You are kind.</S><U>Hi</U><none>26 Jul 2024");
        assert_eq!(parse("{{ '<thinking>' }}").unwrap().traits().thinking, None);
    }
}
