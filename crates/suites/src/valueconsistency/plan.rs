//! What is asked.

use concord_questions::{Ask, Kind, QuestionSet, Stimuli, StimuliError, option_letter};
use concord_readings::{Prompt, Read};
use serde::{Deserialize, Serialize};

/// How an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// From the letter of an option.
    Letter,
    /// From the likelihood of an option's text.
    Cloze,
}

/// In which orders the options are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orders {
    /// Both; the answer is their average.
    Both,
    /// As the file has them.
    Given,
    /// One of the two, drawn by the seed and the question's place.
    Seeded,
}

/// The form that suits a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Messages, for checkpoints with a chat template.
    Chat,
    /// Plain text with one answered example, for base checkpoints.
    Completion,
}

/// Settings of the study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// How answers are read.
    pub formats: Vec<Format>,
    /// The orders asked.
    pub orders: Orders,
    /// Draws the order where [`Orders::Seeded`] asks for it.
    pub seed: u64,
}

impl Options {
    /// Whether a question's options are shown as given, reversed, or both.
    pub(crate) fn orders_of(&self, file: &str, row: usize) -> Vec<bool> {
        match self.orders {
            Orders::Both => vec![false, true],
            Orders::Given => vec![false],
            Orders::Seeded => vec![draw(self.seed, file, row)],
        }
    }
}

/// A fair coin for one question: FNV-1a over seed, file and row, finished by a 64-bit mixer.
fn draw(seed: u64, file: &str, row: usize) -> bool {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = seed
        .to_le_bytes()
        .into_iter()
        .chain(file.bytes())
        .chain((row as u64).to_le_bytes());
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)) & 1 == 1
}

/// The name of a prompt: file, row, and the order its options are shown in.
pub fn prompt_id(file: &str, row: usize, reversed: bool) -> String {
    format!(
        "{file}:{row}:{}",
        if reversed { "reversed" } else { "given" }
    )
}

/// Every prompt of the study, in file order. One prompt serves both formats.
///
/// The answers of the one-shot example stand in given order in every prompt, so that the example is shared. `lead` goes before
/// each answer text: a space where plain text goes on after a colon, nothing where a conversation begins a turn of its own or
/// the tokenizer puts a space there itself.
///
/// # Errors
/// [`StimuliError::Missing`] where the wording has nothing for a language.
pub fn plan(
    set: &QuestionSet,
    stimuli: &Stimuli,
    form: Form,
    lead: &str,
    options: &Options,
) -> Result<Vec<Prompt>, StimuliError> {
    let mut prompts = Vec::new();
    for file in &set.files {
        let language = &file.origin.language;
        for (row, question) in file.questions.iter().enumerate() {
            for reversed in options.orders_of(&file.name, row) {
                let ask = Ask::question(stimuli, language, question);
                let ask = if reversed { ask.reversed() } else { ask };
                let kind = match form {
                    Form::Chat => Kind::Chat,
                    Form::Completion => Kind::CompletionFewShot,
                };
                let mut reads = Vec::new();
                if options.formats.contains(&Format::Letter) {
                    reads.push(Read::NextToken {
                        labels: (0..ask.options.len())
                            .map(|index| option_letter(index).to_string())
                            .collect(),
                        openings: stimuli.label_openings(language),
                    });
                }
                if options.formats.contains(&Format::Cloze) {
                    let text = |option: &str| Read::Continuation {
                        text: format!("{lead}{option}"),
                    };
                    reads.extend(ask.options.iter().map(|(option, _)| text(option)));
                }
                prompts.push(Prompt {
                    id: prompt_id(&file.name, row, reversed),
                    input: ask.render(kind, false, "")?.input,
                    reads,
                });
            }
        }
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(orders: Orders) -> Options {
        Options {
            formats: vec![Format::Letter, Format::Cloze],
            orders,
            seed: 3,
        }
    }

    #[test]
    fn orders_and_formats_are_what_was_asked() {
        let (set, stimuli) = (concord_questions::demo().unwrap(), Stimuli::own().unwrap());
        let both = plan(&set, &stimuli, Form::Chat, "", &options(Orders::Both)).unwrap();
        assert_eq!(both.len(), 960);
        assert!(both.iter().all(|prompt| prompt.reads.len() == 3));
        let seeded = plan(&set, &stimuli, Form::Chat, "", &options(Orders::Seeded)).unwrap();
        let reversed = seeded
            .iter()
            .filter(|prompt| prompt.id.ends_with(":reversed"))
            .count();
        assert!((180..300).contains(&reversed), "{reversed} of 480");
        let texts: Vec<&Read> = both[1].reads[1..].iter().collect();
        assert_eq!(
            texts,
            [
                &Read::Continuation { text: "否".into() },
                &Read::Continuation { text: "是".into() }
            ]
        );
        let completion = plan(
            &set,
            &stimuli,
            Form::Completion,
            " ",
            &options(Orders::Given),
        )
        .unwrap();
        assert_eq!(
            completion[0].reads[1],
            Read::Continuation {
                text: " 是".into()
            }
        );
    }

    #[test]
    fn a_language_without_stimuli_is_an_error() {
        let mut set = concord_questions::demo().unwrap();
        set.files[0].origin.language = "klingon".into();
        let stimuli = Stimuli::own().unwrap();
        assert!(plan(&set, &stimuli, Form::Chat, "", &options(Orders::Both)).is_err());
    }
}
