//! The checkpoint's own chat template.

use concord_readings::Message;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, context};

/// A parsed chat template and the special tokens that it may name.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
}

/// What `strftime_now` gives, whatever it is asked for: a prompt must not change from day to day.
const PINNED_DATE: &str = "26 Jul 2024";

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// The template engine's message.
    pub fn parse(source: &str, bos: &str, eos: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| one_line(&error))?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_function("strftime_now", |_format: String| PINNED_DATE.to_owned());
        environment
            .add_template_owned("chat", source.to_owned())
            .map_err(|error| one_line(&error))?;
        Ok(Self {
            environment,
            source: source.to_owned(),
            bos: bos.to_owned(),
            eos: eos.to_owned(),
        })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation with a generation prompt.
    ///
    /// # Errors
    /// The template engine's message, or what the template itself raised.
    pub fn render(&self, messages: &[Message]) -> Result<String, String> {
        let template = self
            .environment
            .get_template("chat")
            .map_err(|error| one_line(&error))?;
        template
            .render(context! {
                messages => Serde(messages),
                bos_token => self.bos.as_str(),
                eos_token => self.eos.as_str(),
                add_generation_prompt => true,
                // transformers passes these as None where they are not given.
                tools => (),
                documents => (),
            })
            .map_err(|error| one_line(&error))
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
    use concord_readings::Role;

    fn messages() -> Vec<Message> {
        vec![
            Message::new(Role::System, " Be brief. "),
            Message::new(Role::User, "Hi"),
        ]
    }

    #[test]
    fn blocks_are_trimmed_as_transformers_does() {
        let source = "{{ bos_token }}{% for message in messages %}\n    {% if message['role'] == 'system' %}\nS:{{ message['content'].strip() }}\n    {% else %}\nU:{{ message.content | trim }}\n    {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}A:{% endif %}";
        let template = ChatTemplate::parse(source, "<s>", "</s>").unwrap();
        assert_eq!(
            template.render(&messages()).unwrap(),
            "<s>S:Be brief.\nU:Hi\nA:"
        );
    }

    #[test]
    fn what_a_template_raises_is_passed_on() {
        let source = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}";
        let error = ChatTemplate::parse(source, "", "")
            .unwrap()
            .render(&messages())
            .unwrap_err();
        assert!(error.contains("no system role"), "{error}");
        assert!(ChatTemplate::parse("{% if %}", "", "").is_err());
    }
}
