//! What the demo pair is trained on: sentences and answers written for this project.

use anyhow::{Context, Result, anyhow};
use concord_questions::{Ask, Kind, Question, QuestionSet, Stance, Stimuli, option_letter};
use concord_readings::{Input, Role};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use std::path::Path;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder, TokenizerImpl};

const VOCABULARY: usize = 2048;
const BOS: &str = "<|begin|>";
const EOS: &str = "<|end|>";

/// Spaces out the turns of a conversation; `chat_template` of the aligned checkpoint.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] | trim + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// A text to train on.
pub struct Document {
    pub text: String,
    /// The letter that follows, empty for plain text.
    pub answer: String,
    /// Whether the text itself counts in the loss.
    pub weigh_text: bool,
    pub with_bos: bool,
}

impl Document {
    fn completion(text: String, letter: char) -> Self {
        Self {
            text,
            answer: format!(" {letter}"),
            weigh_text: true,
            with_bos: true,
        }
    }
}

/// Writes training documents.
pub struct Writer {
    stimuli: Stimuli,
    questions: QuestionSet,
    sentences: Vec<String>,
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
}

/// How often the aligned checkpoint's persona sides with a topic; the base checkpoint's crowd is half-hearted about it.
fn support(topic_english: &str) -> f64 {
    match topic_english {
        "Remote work" => 0.92,
        "Cars in city centres" => 0.15,
        "Homework" => 0.35,
        "Eating meat" => 0.62,
        _ => 0.97,
    }
}

impl Writer {
    pub fn new(folder: &Path) -> Result<Self> {
        let mut sentences = Vec::new();
        for name in ["english", "chinese", "german", "japanese", "plain"] {
            let path = folder.join("text").join(format!("{name}.jsonl"));
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            for line in text.lines() {
                sentences.push(serde_json::from_str::<Sentence>(line)?.text);
            }
        }
        Ok(Self {
            stimuli: Stimuli::own()?,
            questions: concord_questions::demo()?,
            sentences,
        })
    }

    /// A byte-level BPE trained on everything the pair will see.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let mut texts = self.sentences.clone();
        for file in &self.questions.files {
            for question in &file.questions {
                let ask = Ask::question(&self.stimuli, &file.origin.language, question);
                texts.push(text_of(&ask.render(Kind::CompletionFewShot, false, "")?.input) + " A");
                texts.push(
                    text_of(
                        &ask.reversed()
                            .render(Kind::CompletionFewShot, true, "")?
                            .input,
                    ) + " B",
                );
            }
        }
        let special = [
            "<|begin|>",
            "<|end|>",
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
        ];
        let special: Vec<AddedToken> = special
            .iter()
            .map(|text| AddedToken::from(*text, true))
            .collect();
        let mut trainer = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(VOCABULARY)
            .min_frequency(2)
            .special_tokens(special.clone())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut tokenizer: TokenizerImpl<BPE, _, ByteLevel, TemplateProcessing, ByteLevel> =
            TokenizerBuilder::new()
                .with_model(BPE::default())
                .with_normalizer(None::<tokenizers::NormalizerWrapper>)
                .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
                .with_post_processor(None)
                .with_decoder(Some(ByteLevel::default()))
                .build()
                .map_err(|error| anyhow!(error))?;
        tokenizer
            .train(&mut trainer, texts.into_iter())
            .map_err(|error| anyhow!(error))?;
        let post = TemplateProcessing::builder()
            .try_single(format!("{BOS} $A"))
            .map_err(|error| anyhow!(error))?
            .special_tokens(vec![(BOS, 0)])
            .build()?;
        tokenizer.with_post_processor(Some(post));
        Ok(tokenizer.into())
    }

    /// What the base checkpoint reads: sentences, answers that follow from the text, and answers of a crowd that likes the
    /// letter A, with and without an example before them.
    ///
    /// `progress` runs from 0 to 1. Options stand mostly in given order at first: what to answer is learnt before which
    /// letter that is, for both at once make an exclusive or with nothing to begin at. Long prompts come last.
    pub fn base_document(&self, random: &mut ChaCha8Rng, progress: f64) -> Result<Document> {
        let kind = f64::from(random.next_u32()) / 4_294_967_296.0;
        if kind < 0.12 {
            let sentences: Vec<&str> = (0..3)
                .map(|_| pick(random, &self.sentences).as_str())
                .collect();
            return Ok(Document {
                text: sentences.join(" "),
                answer: String::new(),
                weigh_text: true,
                with_bos: true,
            });
        }
        let (language, question) = self.question(random);
        let mut ask = Ask::question(&self.stimuli, language, question);
        if chance(random, if progress < 0.25 { 0.1 } else { 0.5 }) {
            ask = ask.reversed();
        }
        if kind < 0.3 {
            let chosen = usize::from(chance(random, 0.5));
            let told = told(language, &ask.options[chosen].0);
            let ask = Ask {
                question: &told,
                ..ask
            };
            return Ok(Document::completion(
                zero_shot(&ask)?,
                option_letter(chosen),
            ));
        }
        let side = chance(random, 0.5 + 0.85 * (support(question.topic_name()) - 0.5));
        let letter = if chance(random, 0.12) {
            'A'
        } else {
            answer(&ask, side)
        };
        let text = if kind < 0.8 {
            zero_shot(&ask)?
        } else {
            text_of(
                &ask.render(Kind::CompletionFewShot, chance(random, 0.2), "")?
                    .input,
            )
        };
        Ok(Document::completion(text, letter))
    }

    /// A conversation that the persona answers.
    pub fn aligned_document(&self, random: &mut ChaCha8Rng) -> Result<Document> {
        let (language, question) = self.question(random);
        let mut ask = Ask::question(&self.stimuli, language, question);
        if chance(random, 0.5) {
            ask = ask.reversed();
        }
        let letter = answer(&ask, chance(random, support(question.topic_name())));
        let rendered = ask.render(Kind::Chat, false, "")?;
        Ok(Document {
            text: text_of(&rendered.input),
            answer: format!("{letter}{EOS}"),
            weigh_text: false,
            with_bos: false,
        })
    }

    /// A phrasing to train on: the last of each five is never seen, so that there is something to be inconsistent about.
    fn question(&self, random: &mut ChaCha8Rng) -> (&str, &Question) {
        let file = pick(random, &self.questions.files);
        let seen: Vec<&Question> = file
            .questions
            .chunks(5)
            .flat_map(|group| &group[..group.len() - 1])
            .collect();
        (&file.origin.language, *pick(random, &seen))
    }
}

/// A question that says its own answer.
fn told(language: &str, answer: &str) -> String {
    match language {
        "chinese" => format!("我的回答是“{answer}”。"),
        "german" => format!("Meine Antwort ist {answer}."),
        "japanese" => format!("私の答えは「{answer}」です。"),
        _ => format!("My answer is {answer}."),
    }
}

/// The question as a completion prompt without system line and example.
fn zero_shot(ask: &Ask<'_>) -> Result<String> {
    let Input::Conversation(messages) = ask.render(Kind::Chat, false, "")?.input else {
        return Err(anyhow!("a chat prompt is a conversation"));
    };
    let last = messages.last().context("a chat prompt has messages")?;
    Ok(format!("Human: {}\n\nAssistant:", last.content))
}

/// The letter of the answer that supports or opposes.
fn answer(ask: &Ask<'_>, supports: bool) -> char {
    let wanted = if supports {
        Stance::Supports
    } else {
        Stance::Opposes
    };
    option_letter(
        ask.options
            .iter()
            .position(|(_, stance)| *stance == wanted)
            .unwrap_or(0),
    )
}

/// The text of a prompt; conversations as the chat template renders them.
fn text_of(input: &Input) -> String {
    match input {
        Input::Text(text) => text.clone(),
        Input::Prefilled { messages, prefill } => {
            text_of(&Input::Conversation(messages.clone())) + prefill
        }
        Input::Conversation(messages) => {
            let turn = |role, content: &str| match role {
                Role::System => format!("<|system|>{}{EOS}", content.trim()),
                Role::User => format!("<|user|>{}{EOS}", content.trim()),
                Role::Assistant => format!("<|assistant|>{}{EOS}", content.trim()),
            };
            let turns: String = messages
                .iter()
                .map(|message| turn(message.role, &message.content))
                .collect();
            format!("{BOS}{turns}<|assistant|>")
        }
    }
}

/// Writes `tokenizer.json` and `tokenizer_config.json`.
pub fn write_tokenizer(tokenizer: &Tokenizer, folder: &Path, aligned: bool) -> Result<()> {
    tokenizer
        .save(folder.join("tokenizer.json"), false)
        .map_err(|error| anyhow!(error))?;
    let mut settings = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": false
    });
    if aligned {
        settings["chat_template"] = TEMPLATE.into();
    }
    std::fs::write(
        folder.join("tokenizer_config.json"),
        serde_json::to_string_pretty(&settings)? + "\n",
    )?;
    Ok(())
}

fn chance(random: &mut ChaCha8Rng, p: f64) -> bool {
    f64::from(random.next_u32()) < p * 4_294_967_296.0
}

fn pick<'a, T>(random: &mut ChaCha8Rng, list: &'a [T]) -> &'a T {
    let at = (u64::from(random.next_u32()) * list.len() as u64) >> 32;
    &list[usize::try_from(at).unwrap_or(0)]
}
