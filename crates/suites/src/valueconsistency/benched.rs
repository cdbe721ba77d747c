//! What a bench asks: the study's prompts in chat form.

use super::plan::{Format, Options, plan};
use concord_questions::{Ask, Kind, QuestionSet, Stimuli, StimuliError};
use concord_readings::{Form, PromptStyle};
use concord_readings::{Input, Prompt};

/// Letters in both orders, and answer texts where `cloze`; with the texts that a made-up checkpoint's tokenizer is trained on.
///
/// # Errors
/// [`StimuliError::Missing`] where the wording has nothing for a language.
pub fn benched(set: &QuestionSet, cloze: bool) -> Result<(Vec<String>, Vec<Prompt>), StimuliError> {
    let stimuli = Stimuli::own()?;
    let mut texts = Vec::new();
    for file in &set.files {
        for question in &file.questions {
            let ask = Ask::question(&stimuli, &file.origin.language, question);
            if let Input::Conversation(messages) = ask.render(Kind::Chat, false, "")?.input {
                texts.extend(messages.into_iter().map(|message| message.content));
            }
        }
    }
    let mut formats = vec![Format::Letter];
    if cloze {
        formats.push(Format::Cloze);
    }
    let options = Options {
        formats,
        ..Options::letters()
    };
    let style = PromptStyle {
        form: Form::Chat,
        lead: "",
    };
    Ok((texts, plan(set, &stimuli, &[], style, &options)?))
}
