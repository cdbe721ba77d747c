//! Prompts of the user's own: JSON lines from a file or from stdin.

use crate::failure::{ExitStatus, Failure};
use concord_readings::{Input, Message};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::io::Read as _;
use std::path::Path;

/// One line: a prompt, and what is asked after it.
pub(super) struct Line<T> {
    /// Its `id`, or its number from 0.
    pub id: Value,
    /// What the checkpoint sees.
    pub input: Input,
    /// The other fields.
    pub asked: T,
}

impl<T> Line<T> {
    /// The id as text.
    pub fn name(&self) -> String {
        self.id
            .as_str()
            .map_or_else(|| self.id.to_string(), str::to_owned)
    }
}

/// Reads lines of `id`, `prompt` or `messages`, and the fields of `T`; `help` says what those are.
pub(super) fn read<T: DeserializeOwned>(path: &Path, help: &str) -> Result<Vec<Line<T>>, Failure> {
    let bad = |problem: String| {
        let help = format!(
            "a line is {{\"id\": …, \"prompt\": text or \"messages\": [{{\"role\", \"content\"}}]{help}}}"
        );
        Failure::new(
            ExitStatus::QuestionData,
            format!("{}{problem}", path.display()),
            help,
        )
    };
    let mut text = String::new();
    let outcome = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    outcome.map_err(|error| bad(format!(": cannot be read: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = Vec::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let at = |problem: String| bad(format!(":{}: {problem}", index + 1));
        let mut object: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| at(error.to_string()))?;
        let id = object
            .shift_remove("id")
            .unwrap_or_else(|| lines.len().into());
        let text = object.shift_remove("prompt");
        let messages = object.shift_remove("messages");
        let input = match (text, messages) {
            (Some(Value::String(text)), None) => Input::Text(text),
            (Some(_), None) => return Err(at("`prompt` is no text".to_owned())),
            (None, Some(messages)) => {
                let messages: Vec<Message> =
                    serde_json::from_value(messages).map_err(|error| at(error.to_string()))?;
                if messages.is_empty() {
                    return Err(at("`messages` is empty".to_owned()));
                }
                Input::Conversation(messages)
            }
            (Some(_), Some(_)) => {
                return Err(at("both `prompt` and `messages` are given".to_owned()));
            }
            (None, None) => return Err(at("neither `prompt` nor `messages` is given".to_owned())),
        };
        let asked =
            serde_json::from_value(Value::Object(object)).map_err(|error| at(error.to_string()))?;
        lines.push(Line { id, input, asked });
    }
    if lines.is_empty() {
        return Err(bad(": no prompt in it".to_owned()));
    }
    Ok(lines)
}
