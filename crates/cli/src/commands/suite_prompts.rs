//! `concord prompts --suite`: what a suite asks first.

use super::engine::style;
use super::inputs;
use super::run::begin_suite;
use crate::arguments::{ChatTemplateUse, OutputFormat, PromptsArguments, SuiteOptions};
use crate::failure::Failure;
use crate::output::{self, JsonLines};
use concord_checkpoint::Snapshot;
use concord_readings::{Form, Input, Prompt, PromptDigest, PromptStyle, Readings};
use concord_scorer::{LabelTable, prompt_digests};
use concord_suites::{Step, Subject, Takes, suite};
use serde_json::json;
use std::fmt::Write as _;

/// Shows every prompt as a line of JSON, or the first of each round.
pub fn show(name: &str, arguments: &PromptsArguments) -> Result<(), Failure> {
    let suite = suite(name)?;
    let mut options = SuiteOptions::default();
    for option in &arguments.options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let list = suite.options().iter().find(|spec| spec.name == name);
        let values = options.typed.entry(name.to_owned()).or_default();
        match list.map(|spec| spec.takes) {
            Some(Takes::List) => values.extend(value.split(',').map(|one| one.trim().to_owned())),
            _ => values.push(value.to_owned()),
        }
    }
    let (study, notes) = begin_suite(suite, &options, 0)?;
    for note in notes {
        output::message(&note);
    }
    let model = arguments.model.as_deref();
    let model = model.map(inputs::checkpoint).transpose()?;
    let style = match &model {
        Some(model) => {
            let form = inputs::form(model, ChatTemplateUse::Auto)?;
            let about = suite.about();
            about.needs.spoken_to(about.name, &model.name, form)?;
            style(model, form)
        }
        None => PromptStyle {
            form: Form::Chat,
            lead: "",
        },
    };
    let Step::Ask(rounds) = study.next(Subject { style }, &Readings::default())? else {
        return Ok(());
    };
    if arguments.format == OutputFormat::Json {
        let mut lines = JsonLines::new();
        for round in &rounds {
            let digests = digests(model.as_ref(), &round.prompts)?;
            for (number, prompt) in round.prompts.iter().enumerate() {
                let mut line = json!(prompt);
                line["round"] = json!(round.name);
                if let Some(model) = &model {
                    let (text, tokens) = model.tokens(&prompt.input)?;
                    line["text"] = json!(text);
                    line["tokens"] = json!(tokens);
                    line["digest"] = json!(digests.get(number));
                }
                lines.write(&line)?;
            }
        }
        return lines.flush();
    }
    let mut text = String::new();
    for round in &rounds {
        let count = round.prompts.len();
        let _ = writeln!(text, "=== round {}, 1 of {count} prompts ===", round.name);
        if let Some(first) = round.prompts.first() {
            shown(&mut text, first, model.as_ref())?;
        }
        text.push('\n');
    }
    text.push_str("--format json has all of them, a line each\n");
    output::data(&text)
}

/// The digest of each prompt as a checkpoint is asked it.
fn digests(model: Option<&Snapshot>, prompts: &[Prompt]) -> Result<Vec<PromptDigest>, Failure> {
    let Some(model) = model else {
        return Ok(Vec::new());
    };
    let table = LabelTable::new(&model.vocabulary);
    let found = prompt_digests(model, &table, prompts);
    found.map_err(|error| Failure::from(error).of(&model.name))
}

/// A prompt for people.
fn shown(text: &mut String, prompt: &Prompt, model: Option<&Snapshot>) -> Result<(), Failure> {
    let _ = writeln!(text, "{}", prompt.id);
    match &prompt.input {
        Input::Text(plain) => {
            let _ = writeln!(text, "{plain}");
        }
        Input::Conversation(messages) | Input::Prefilled { messages, .. } => {
            for message in messages {
                let role = format!("{:?}", message.role).to_lowercase();
                let _ = writeln!(text, "[{role}]\n{}", message.content.trim_end());
            }
        }
    }
    if let Input::Prefilled { prefill, .. } = &prompt.input {
        let _ = writeln!(text, "[assistant, begun]\n{prefill}");
    }
    for read in &prompt.reads {
        let _ = writeln!(text, "--- read: {}", json!(read));
    }
    if let Some(model) = model {
        let (seen, tokens) = model.tokens(&prompt.input)?;
        let _ = writeln!(text, "--- as text, {} tokens\n{seen}", tokens.len());
    }
    Ok(())
}
