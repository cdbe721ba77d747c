//! The checkpoint's own chat template.

mod engine;
mod json;
mod python;
mod renderer;
mod source;

pub use renderer::{OUT_OF_ROOM, is_renderer, render_apart, renderer};

use concord_readings::{Message, Role};
use renderer::Renderer;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

/// The longest source, in bytes; the longest that is known to be published has 40 KiB.
const LONGEST_SOURCE: usize = 256 << 10;

/// A parsed chat template and the special tokens that it may name.
pub struct ChatTemplate {
    renderer: Renderer,
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
    /// How it is given what is said.
    #[serde(skip_serializing_if = "Content::is_text")]
    pub content: Content,
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

/// How a template is given what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// As a text.
    Text,
    /// As a list of parts, of which one is a text: the template drops texts.
    Parts,
}

impl Content {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "what serde calls it with"
    )]
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

impl ChatTemplate {
    /// Parses a stranger's template. `settings` is `tokenizer_config.json`, whose special tokens the template may name.
    ///
    /// # Errors
    /// What is wrong with it; a template that drops what the user says is refused.
    pub fn parse(source: &str, settings: &Map<String, Json>) -> Result<Self, String> {
        Self::prepare(source, settings, false)
    }

    /// [`ChatTemplate::parse`] of a template that comes with the program.
    ///
    /// # Errors
    /// As [`ChatTemplate::parse`].
    pub(crate) fn own(source: &str, settings: &Map<String, Json>) -> Result<Self, String> {
        Self::prepare(source, settings, true)
    }

    fn prepare(source: &str, settings: &Map<String, Json>, is_own: bool) -> Result<Self, String> {
        if source.len() > LONGEST_SOURCE {
            return Err(format!("it is longer than {} KiB", LONGEST_SOURCE >> 10));
        }
        let tokens = settings.iter().filter_map(|(name, token)| {
            let token = token.as_str().or_else(|| token.get("content")?.as_str())?;
            let is_token = name.ends_with("_token");
            is_token.then(|| (name.clone(), Json::from(token)))
        });
        let tokens = tokens.collect();
        let mut template = Self {
            renderer: Renderer::new(source, &tokens, is_own)?,
            source: source.to_owned(),
            tokens,
            traits: TemplateTraits {
                system: SystemRole::Native,
                default_system: None,
                thinking: mentions(source, &["enable_thinking", "thinking"]).then_some("off"),
                date: mentions(source, &["strftime_now"]).then_some("2024-07-26"),
                content: Content::Text,
            },
        };
        template.try_out()?;
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
        let messages = messages.iter().map(|message| match self.traits.content {
            Content::Text => json!(message),
            Content::Parts => json!({
                "role": message.role,
                "content": [{ "type": "text", "text": message.content }],
            }),
        });
        self.renderer.write(&messages.collect())
    }

    /// Finds out what the template does with what is said, by the system and by the user.
    fn try_out(&mut self) -> Result<(), String> {
        // Digits: a template that changes case or quotes leaves them alone.
        let (said, asked) = ("170 392 645", "918 273 465");
        let user = Message::new(Role::User, asked);
        let both = [Message::new(Role::System, said), user.clone()];
        let alone = [user];
        let mut dropped = false;
        for content in [Content::Text, Content::Parts] {
            self.traits.content = content;
            let (with, without) = (self.write(&both), self.write(&alone));
            let holds = |text: &Result<String, String>| {
                text.as_ref().is_ok_and(|text| text.contains(asked))
            };
            dropped |= [&with, &without]
                .iter()
                .any(|text| text.is_ok() && !holds(text));
            // Without the system's words the question must be there, or is refused aloud.
            if !holds(&without) && (without.is_ok() || !holds(&with)) {
                continue;
            }
            let Ok(without) = without else {
                // It refuses a plain question: the prompts that are asked will say why.
                return Ok(());
            };
            match with {
                Ok(with) if with.contains(said) && with.contains(asked) => {
                    self.traits.default_system = default_system(&with, &without, said, asked);
                }
                _ => self.traits.system = SystemRole::Folded,
            }
            return Ok(());
        }
        self.traits.content = Content::Text;
        if dropped {
            return Err(
                "it drops what the user says: no prompt would hold its question".to_owned(),
            );
        }
        // It refuses everything: the prompts that are asked will say why.
        self.write(&alone).map_or_else(
            |problem| {
                if self.renderer.has_ended() {
                    Err(problem)
                } else {
                    Ok(())
                }
            },
            |_| Ok(()),
        )
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
    fn a_template_that_drops_the_question_is_given_parts_or_refused() {
        let parts = "{% for m in messages %}{{ m.role }}:{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %};{% endfor %}";
        let template = parse(parts).unwrap();
        assert_eq!(template.traits().content, Content::Parts);
        assert_eq!(template.traits().system, SystemRole::Native);
        assert_eq!(
            template.render(&messages()).unwrap(),
            "system: Be brief. ;user:Hi;"
        );
        let error = parse("{% for m in messages %}{{ m.role }}{% endfor %}")
            .err()
            .unwrap();
        assert!(error.contains("drops what the user says"), "{error}");
        // The question goes where no system speaks.
        let source = "{% if messages[0].role == 'system' %}S:{{ messages[0].content }}|{% for m in messages[1:] %}{{ m.content }}{% endfor %}{% else %}{% for m in messages[1:] %}{{ m.content }}{% endfor %}{% endif %}A:";
        assert!(parse(source).is_err());
        // The question goes wherever the system speaks.
        let source = "{% for m in messages %}{% if m.role == 'user' and messages[0].role != 'system' %}{{ m.content }}{% else %}{{ m.role }}{% endif %}{% endfor %}";
        assert_eq!(parse(source).unwrap().traits().system, SystemRole::Folded);
    }

    /// What templates write, beside what transformers writes (`tests/golden/jinja.py`). What is not read here is an error, never
    /// another text; what is known to be another text is listed, and nothing that is published uses it.
    #[test]
    fn jinja_is_written_as_transformers_writes_it() {
        const OTHERWISE: [&str; 10] = [
            "attr filter",
            "cycler",
            "escaped plus",
            "escapes that are none",
            "generators are true",
            "macro attributes",
            "mapping key named as a method",
            "printing a range",
            "printing keys bare",
            "test callable",
        ];
        const REFUSED: [&str; 19] = [
            "number times text",
            "kinds of characters",
            "encode",
            "slices",
            "slice backwards to before the start",
            "printing tuples",
            "dict function",
            "undefined in a list",
            "tojson of keys",
            "dictsort",
            "wordwrap",
            "striptags and escapes",
            "filesizeformat and others",
            "xmlattr and pprint",
            "namespace of a mapping",
            "lipsum",
            "macro varargs",
            "macro default that names another",
            "names with accents",
        ];
        let golden: Json =
            serde_json::from_str(include_str!("../../../../tests/golden/jinja.json")).unwrap();
        let settings = json!({ "bos_token": "<s>", "eos_token": "</s>" });
        let tokens = settings.as_object().unwrap();
        let (mut wrong, mut not_read) = (Vec::new(), Vec::new());
        for case in golden["cases"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let engine = engine::Engine::new(case["source"].as_str().unwrap(), tokens);
            let found = engine.and_then(|engine| engine.write(&golden["messages"]));
            match (found, case["expected"].as_str()) {
                (Ok(found), Some(expected)) if found == expected => {}
                (Ok(_), Some(_)) if OTHERWISE.contains(&name) => {}
                (Ok(found), Some(expected)) => {
                    wrong.push(format!("{name}:\n  {found:?}\n  {expected:?}"));
                }
                (Err(problem), Some(_)) => not_read.push(format!("{name}: {problem}")),
                (_, None) => {}
            }
        }
        assert!(
            wrong.is_empty(),
            "{} wrong, {} not read\n{}\n{}",
            wrong.len(),
            not_read.len(),
            wrong.join("\n"),
            not_read.join("\n")
        );
        let names: Vec<&str> = not_read
            .iter()
            .filter_map(|problem| Some(problem.split_once(": ")?.0))
            .collect();
        assert_eq!(names, REFUSED, "{}", not_read.join("\n"));
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
        let plain = "{{ '<thinking>' }}{{ messages[-1].content }}";
        assert_eq!(parse(plain).unwrap().traits().thinking, None);
    }
}
