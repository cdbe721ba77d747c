//! Where a checkpoint's chat template is, and what must be in what it writes.

use crate::files::{object, optional};
use crate::{ChatTemplate, CheckpointError};
use concord_readings::{Message, Role};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// Refuses a text that lacks something of what the user says: what is read after it would answer another question. Spaces, capitals and
/// writing it as JSON are a template's to choose.
pub(crate) fn holds_what_is_asked(text: String, messages: &[Message]) -> Result<String, String> {
    let bare = |text: &str| text.split_whitespace().collect::<String>().to_lowercase();
    let mut whole: Option<String> = None;
    for message in messages.iter().filter(|message| message.role == Role::User) {
        if text.contains(message.content.trim()) {
            continue;
        }
        let whole = whole.get_or_insert_with(|| bare(&text));
        let as_json = Value::from(message.content.trim()).to_string();
        let as_json = bare(as_json.trim_matches('"'));
        if !whole.contains(&bare(&message.content)) && !whole.contains(&as_json) {
            let said: String = message.content.trim().chars().take(40).collect();
            return Err(format!(
                "it drops or changes some of what the user says ({said:?} …)"
            ));
        }
    }
    Ok(text)
}

/// `chat_template.jinja`, or the template that processors kept in `chat_template.json`.
pub(crate) fn template_file(folder: &Path) -> Result<Option<Vec<u8>>, CheckpointError> {
    if let Some(bytes) = optional(folder, "chat_template.jinja")? {
        return Ok(Some(bytes));
    }
    let named = folder.join("additional_chat_templates");
    if let Some(bytes) = optional(&named, "default.jinja")? {
        return Ok(Some(bytes));
    }
    let Some(bytes) = optional(folder, "chat_template.json")? else {
        return Ok(None);
    };
    let object = object(&folder.join("chat_template.json"), &bytes)?;
    let source = object.get("chat_template").and_then(Value::as_str);
    Ok(source.map(|source| source.as_bytes().to_vec()))
}

/// The template of `chat_template.jinja`, or of `tokenizer_config.json`.
pub(crate) fn template(
    path: &Path,
    jinja: Option<Vec<u8>>,
    settings: &Map<String, Value>,
    is_own: bool,
) -> Result<Option<Arc<ChatTemplate>>, CheckpointError> {
    let bad = |problem| CheckpointError::Template {
        path: path.to_owned(),
        problem,
    };
    let jinja = jinja.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let source = match jinja {
        Some(source) => source,
        None => match template_text(settings).map_err(bad)? {
            Some(source) => source,
            None => return Ok(None),
        },
    };
    let parse = if is_own {
        ChatTemplate::own
    } else {
        ChatTemplate::parse
    };
    let template = parse(&source, settings).map_err(bad)?;
    Ok(Some(Arc::new(template)))
}

/// The template of `tokenizer_config.json`: a text, or named ones of which `default` is taken.
fn template_text(settings: &Map<String, Value>) -> Result<Option<String>, String> {
    let named: Vec<(&str, &Value)> = match settings.get("chat_template") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, text)| (name.as_str(), text))
            .collect(),
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(|entry| Some((entry.get("name")?.as_str()?, entry.get("template")?)))
            .collect(),
        Some(_) => return Err("it is neither a text nor a list".to_owned()),
    };
    let default = named.iter().find(|(name, _)| *name == "default");
    if let Some(text) = default.and_then(|(_, text)| text.as_str()) {
        return Ok(Some(text.to_owned()));
    }
    let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "there are {}, and none is `default`",
        names.join(", ")
    ))
}
