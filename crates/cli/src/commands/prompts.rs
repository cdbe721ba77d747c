//! `concord prompts`: what a checkpoint is asked, to the letter.

use super::{inputs, suite_prompts};
use crate::arguments::{OutputFormat, PromptsArguments};
use crate::failure::Failure;
use crate::output::{self, JsonLines};
use concord_checkpoint::Snapshot;
use concord_questions::{Ask, Kind, Rendered, Stimuli};
use concord_readings::{Input, Message};
use serde::Serialize;
use std::fmt::Write as _;

/// One prompt as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    row: usize,
    language: &'a str,
    kind: Kind,
    options: Vec<&'a str>,
    reversed: bool,
    abstention: bool,
    value_text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    example_answer: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a [Message]>,
    /// As the checkpoint sees it: plain text, or the rendered conversation where a checkpoint is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<u32>>,
}

/// A row to ask about, with the value texts it may be answered by.
struct Source<'a> {
    file: &'a str,
    row: usize,
    asks: Vec<Ask<'a>>,
}

/// Shows prompts.
pub fn prompts(arguments: &PromptsArguments) -> Result<(), Failure> {
    if let Some(suite) = &arguments.suite {
        return suite_prompts::show(suite, arguments);
    }
    let mut set = inputs::questions(arguments.questions.as_deref())?;
    let stimuli = inputs::stimuli(arguments.stimuli.as_deref())?;
    let model = arguments.model.as_deref();
    let model = model.map(inputs::checkpoint).transpose()?;
    if let Some(name) = &arguments.file {
        let name = name.strip_suffix(".jsonl").unwrap_or(name);
        let known: Vec<String> = set
            .files
            .iter()
            .map(|file| &file.name)
            .chain(set.pvq.iter().map(|file| &file.name))
            .cloned()
            .collect();
        set.files.retain(|file| file.name == name);
        set.pvq.retain(|file| file.name == name);
        if set.files.is_empty() && set.pvq.is_empty() {
            return Err(Failure::usage(
                format!("no question file `{name}`"),
                format!("there are {}", known.join(", ")),
            ));
        }
        let rows = set
            .files
            .first()
            .map(|file| file.questions.len())
            .or(set.pvq.first().map(|file| file.items.len()));
        if let (Some(row), Some(rows)) = (arguments.row, rows)
            && row >= rows
        {
            return Err(Failure::usage(
                format!("`{name}` has no row {row}"),
                format!("its rows are 0 to {}", rows - 1),
            ));
        }
    }
    let wanted = |row: usize| arguments.row.is_none_or(|wanted| wanted == row);
    let mut sources: Vec<Source<'_>> = Vec::new();
    for file in &set.files {
        for (row, question) in file
            .questions
            .iter()
            .enumerate()
            .filter(|(row, _)| wanted(*row))
        {
            let asks = vec![Ask::question(&stimuli, &file.origin.language, question)];
            sources.push(Source {
                file: &file.name,
                row,
                asks,
            });
        }
    }
    for file in &set.pvq {
        for (row, item) in file
            .items
            .iter()
            .enumerate()
            .filter(|(row, _)| wanted(*row))
        {
            let plain = Ask::item(&stimuli, &file.language, item);
            let mut asks = vec![plain.clone()];
            for value in &item.values {
                asks.push(plain.clone().with_value(value)?);
            }
            sources.push(Source {
                file: &file.name,
                row,
                asks,
            });
        }
    }
    match arguments.format {
        OutputFormat::Json => json(&sources, arguments, model.as_ref()),
        OutputFormat::Human => {
            // Without a row the first one stands for all.
            let Some(source) = sources.first() else {
                return Ok(());
            };
            output::data(&human(source, &stimuli, arguments, model.as_ref())?)
        }
    }
}

/// Every form of one ask: kind and whether the one-shot example is reversed.
const FORMS: [(Kind, bool); 6] = [
    (Kind::Chat, false),
    (Kind::ChatFollowUp, false),
    (Kind::CompletionFewShot, false),
    (Kind::CompletionFewShot, true),
    (Kind::OpenEnded, false),
    (Kind::StanceOfPassage, false),
];

fn json(
    sources: &[Source<'_>],
    arguments: &PromptsArguments,
    model: Option<&Snapshot>,
) -> Result<(), Failure> {
    let mut lines = JsonLines::new();
    for source in sources {
        for plain in &source.asks {
            for abstention in [false, true] {
                for reversed in [false, true] {
                    let ask = if reversed {
                        plain.clone().reversed()
                    } else {
                        plain.clone()
                    };
                    let ask = if abstention {
                        ask.with_abstention()?
                    } else {
                        ask
                    };
                    for (kind, example_reversed) in FORMS {
                        // An open question shows no options: it is the same in every order.
                        if kind == Kind::OpenEnded && (abstention || reversed) {
                            continue;
                        }
                        let passage = arguments.passage.as_str();
                        let rendered = ask.render(kind, example_reversed, passage)?;
                        let shown = Shown {
                            ask: &ask,
                            kind,
                            reversed,
                            abstention,
                            passage: (kind == Kind::StanceOfPassage).then_some(passage),
                        };
                        lines.write(&line(source, &shown, &rendered, model)?)?;
                    }
                }
            }
            for (option, _) in &plain.options {
                let rendered = plain.render(Kind::Argued, false, option)?;
                let shown = Shown {
                    ask: plain,
                    kind: Kind::Argued,
                    reversed: false,
                    abstention: false,
                    passage: Some(option),
                };
                lines.write(&line(source, &shown, &rendered, model)?)?;
            }
        }
    }
    lines.flush()
}

/// One way to put a question.
struct Shown<'a> {
    ask: &'a Ask<'a>,
    kind: Kind,
    reversed: bool,
    abstention: bool,
    /// The passage, or the answer to argue for.
    passage: Option<&'a str>,
}

fn line<'a>(
    source: &'a Source<'_>,
    shown: &'a Shown<'_>,
    rendered: &'a Rendered,
    model: Option<&Snapshot>,
) -> Result<impl Serialize, Failure> {
    let Shown {
        ask,
        kind,
        reversed,
        abstention,
        passage,
    } = *shown;
    let seen = model
        .map(|model| model.tokens(&rendered.input))
        .transpose()?;
    let (messages, text) = match &rendered.input {
        Input::Conversation(messages) | Input::Prefilled { messages, .. } => {
            (Some(messages.as_slice()), None)
        }
        Input::Text(text) => (None, Some(text.as_str())),
    };
    let (rendered_text, tokens) = seen.unzip();
    let line = Line {
        file: source.file,
        row: source.row,
        language: ask.language,
        kind,
        options: if kind == Kind::OpenEnded {
            vec![]
        } else {
            ask.options.iter().map(|(text, _)| text.as_str()).collect()
        },
        reversed,
        abstention,
        value_text: &ask.value_text,
        example_answer: rendered.example_answer,
        passage,
        messages,
        text: text.or(rendered_text.as_deref()),
        tokens,
    };
    serde_json::to_value(line).map_err(|error| std::io::Error::from(error).into())
}

fn human(
    source: &Source<'_>,
    stimuli: &Stimuli,
    arguments: &PromptsArguments,
    model: Option<&Snapshot>,
) -> Result<String, Failure> {
    let mut text = format!(
        "{} row {}, stimuli `{}`\n",
        source.file,
        source.row,
        stimuli.name()
    );
    let wanted = |ask: &&Ask<'_>| match &arguments.value {
        None => ask.value_text.is_empty(),
        Some(value) => ask
            .value_text
            .to_lowercase()
            .contains(&value.to_lowercase()),
    };
    let Some(ask) = source.asks.iter().find(wanted) else {
        let message = format!("{} row {} has no such value", source.file, source.row);
        return Err(Failure::usage(
            message,
            "values belong to PVQ items; name one as the file's language has it",
        ));
    };
    let ask = if arguments.reversed {
        ask.clone().reversed()
    } else {
        ask.clone()
    };
    let ask = if arguments.abstention {
        ask.with_abstention()?
    } else {
        ask
    };
    for (kind, example_reversed) in FORMS {
        if example_reversed {
            continue;
        }
        let rendered = ask.render(kind, false, &arguments.passage)?;
        let _ = writeln!(text, "\n=== {} ===", title(kind));
        match &rendered.input {
            Input::Conversation(messages) => {
                for message in messages {
                    let role = format!("{:?}", message.role).to_lowercase();
                    let _ = writeln!(text, "[{role}]\n{}", message.content.trim_end_matches('\n'));
                }
            }
            // No question is asked with a turn that is begun.
            Input::Prefilled { prefill: plain, .. } | Input::Text(plain) => {
                let _ = writeln!(text, "{plain}");
            }
        }
        if let Some(model) = model {
            if matches!(rendered.input, Input::Conversation(_)) && !model.is_aligned() {
                let _ = writeln!(text, "--- {} has no chat template", model.name);
                continue;
            }
            let (seen, tokens) = model.tokens(&rendered.input)?;
            let pieces: Vec<String> = tokens
                .iter()
                .map(|token| format!("{token}:{:?}", model.vocabulary.token_text(*token)))
                .collect();
            let _ = writeln!(
                text,
                "--- as text\n{seen}\n--- as {} tokens\n{}",
                tokens.len(),
                pieces.join(" ")
            );
        }
    }
    if model.is_none() {
        text.push_str("\nname a checkpoint with --model to see rendered text and tokens\n");
    }
    Ok(text)
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Chat => "chat",
        Kind::ChatFollowUp => "chat with follow-up",
        Kind::CompletionFewShot => "completion with one example",
        Kind::OpenEnded => "open-ended",
        Kind::Argued => "argued for an answer",
        Kind::StanceOfPassage => "stance of a passage",
    }
}
