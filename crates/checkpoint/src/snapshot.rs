//! Everything about one checkpoint.

use crate::family::Inert;
use crate::{
    ChatTemplate, CheckpointError, DecoderSpec, Fingerprint, Vocabulary, Weights, safetensors_files,
};
use concord_readings::{Input, Message};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// One checkpoint: what it is, how it is spoken to, and where its weights are.
pub struct Snapshot {
    /// A short name for tables: the folder's, or `demo-base` and `demo-aligned`.
    pub name: String,
    /// Where it was found.
    pub path: PathBuf,
    /// The decoder's shape.
    pub spec: DecoderSpec,
    /// The tokenizer.
    pub vocabulary: Vocabulary,
    /// The chat template; base checkpoints have none.
    pub template: Option<ChatTemplate>,
    /// The weights.
    pub weights: Weights,
    config_digest: String,
    tokenizer_digest: String,
}

/// The files of an embedded checkpoint.
struct Embedded {
    name: &'static str,
    config: &'static [u8],
    tokenizer: &'static [u8],
    tokenizer_config: &'static [u8],
    weights: &'static [u8],
}

macro_rules! embedded {
    ($name:literal, $folder:literal) => {
        Embedded {
            name: $name,
            config: include_bytes!(concat!("../../../models/demo/", $folder, "/config.json")),
            tokenizer: include_bytes!(concat!("../../../models/demo/", $folder, "/tokenizer.json")),
            tokenizer_config: include_bytes!(concat!(
                "../../../models/demo/",
                $folder,
                "/tokenizer_config.json"
            )),
            weights: include_bytes!(concat!(
                "../../../models/demo/",
                $folder,
                "/model.safetensors"
            )),
        }
    };
}

/// The demo pair that is part of the program: a small base checkpoint and the aligned one made from it.
///
/// # Errors
/// None in a program that passed its tests.
pub fn demo_pair() -> Result<[Snapshot; 2], CheckpointError> {
    let open = |files: &Embedded| {
        let path = PathBuf::from(files.name);
        let weights = safetensors_files::embedded(&path, files.weights)?;
        Snapshot::assemble(
            path,
            files.config,
            files.tokenizer,
            Some(files.tokenizer_config),
            None,
            weights,
        )
    };
    Ok([
        open(&embedded!("demo-base", "base"))?,
        open(&embedded!("demo-aligned", "aligned"))?,
    ])
}

/// Checkpoint shapes that can be benched without a checkpoint, by name.
const PRESETS: [(&str, &str); 1] = [(
    "smollm2-135m",
    include_str!("../../../models/presets/smollm2-135m.json"),
)];

/// Merges that give the question set about the token counts of a large multilingual vocabulary.
const PRESET_MERGES: usize = 6000;

/// The names of the presets.
pub fn presets() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

impl Snapshot {
    /// A checkpoint of a known shape with made-up weights and a tokenizer trained on the texts it will be asked; `None`
    /// where there is no such preset.
    ///
    /// # Errors
    /// [`CheckpointError::Tokenizer`] where the texts give no tokenizer.
    pub fn preset(
        name: &str,
        texts: Vec<String>,
        seed: u64,
    ) -> Result<Option<Self>, CheckpointError> {
        let Some((name, config)) = PRESETS.iter().find(|(known, _)| *known == name) else {
            return Ok(None);
        };
        let path = PathBuf::from(name);
        let spec = DecoderSpec::from_config(&path, &object(&path, config.as_bytes())?)?;
        let special = ["<|begin|>", "<|end|>", "<|turn|>"];
        let vocabulary = Vocabulary::train(&path, texts, PRESET_MERGES, &special, spec.vocab_size)?;
        let source = include_str!("../../../models/presets/chat_template.jinja").trim_end();
        let template = ChatTemplate::parse(source, special[0], special[1]).map_err(|problem| {
            CheckpointError::Template {
                path: path.clone(),
                problem,
            }
        })?;
        Ok(Some(Self {
            name: (*name).to_owned(),
            spec,
            vocabulary,
            template: Some(template),
            weights: Weights::seeded(&path, seed),
            config_digest: blake3::hash(config.as_bytes()).to_hex().to_string(),
            tokenizer_digest: String::new(),
            path,
        }))
    }

    /// Opens a folder in Hugging Face layout. Weights are mapped, their values not yet read.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the file, key or tensor.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        if !folder.is_dir() {
            return Err(CheckpointError::NoFolder {
                path: folder.to_owned(),
            });
        }
        let optional = |name: &str| -> Result<Option<Vec<u8>>, CheckpointError> {
            let path = folder.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(CheckpointError::Unreadable { path, source }),
            }
        };
        let needed = |name: &str, needed| {
            optional(name)?.ok_or_else(|| CheckpointError::MissingFile {
                path: folder.join(name),
                needed,
            })
        };
        let config = needed("config.json", "it says what the checkpoint is")?;
        let piece = folder.join("tokenizer.model");
        if piece.is_file() && !folder.join("tokenizer.json").is_file() {
            return Err(CheckpointError::SentencePiece { path: piece });
        }
        let tokenizer = needed(
            "tokenizer.json",
            "a fast tokenizer is needed to turn text into tokens",
        )?;
        let tokenizer_config = optional("tokenizer_config.json")?;
        let jinja = optional("chat_template.jinja")?;
        let weights = safetensors_files::in_folder(folder)?;
        let tokenizer_config = tokenizer_config.as_deref();
        Self::assemble(
            folder.to_owned(),
            &config,
            &tokenizer,
            tokenizer_config,
            jinja,
            weights,
        )
    }

    fn assemble(
        path: PathBuf,
        config: &[u8],
        tokenizer: &[u8],
        tokenizer_config: Option<&[u8]>,
        jinja: Option<Vec<u8>>,
        mut weights: Weights,
    ) -> Result<Self, CheckpointError> {
        let config_path = path.join("config.json");
        let spec = DecoderSpec::from_config(&config_path, &object(&config_path, config)?)?;
        weights.settle(&spec, &Inert::load().tensors)?;
        let vocabulary =
            Vocabulary::parse(&path.join("tokenizer.json"), tokenizer, spec.vocab_size)?;
        let settings_path = path.join("tokenizer_config.json");
        let settings = tokenizer_config
            .map(|bytes| object(&settings_path, bytes))
            .transpose()?
            .unwrap_or_default();
        let jinja = jinja.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let template = jinja.or_else(|| template_text(&settings)).map(|source| {
            let (bos, eos) = (
                special(&settings, "bos_token"),
                special(&settings, "eos_token"),
            );
            ChatTemplate::parse(&source, &bos, &eos).map_err(|problem| CheckpointError::Template {
                path: path.clone(),
                problem,
            })
        });
        let name = path.canonicalize().unwrap_or_else(|_| path.clone());
        Ok(Self {
            name: name.file_name().map_or_else(
                || "checkpoint".into(),
                |name| name.to_string_lossy().into_owned(),
            ),
            spec,
            vocabulary,
            template: template.transpose()?,
            weights,
            config_digest: blake3::hash(config).to_hex().to_string(),
            tokenizer_digest: blake3::hash(tokenizer).to_hex().to_string(),
            path,
        })
    }

    /// Whether the checkpoint is asked by messages: it has a chat template.
    pub fn is_aligned(&self) -> bool {
        self.template.is_some()
    }

    /// A conversation as text, with a generation prompt.
    ///
    /// # Errors
    /// [`CheckpointError::NoTemplate`], [`CheckpointError::Template`].
    pub fn render(&self, messages: &[Message]) -> Result<String, CheckpointError> {
        let path = || self.path.clone();
        let template = self
            .template
            .as_ref()
            .ok_or_else(|| CheckpointError::NoTemplate { path: path() })?;
        template
            .render(messages)
            .map_err(|problem| CheckpointError::Template {
                path: path(),
                problem,
            })
    }

    /// A prompt as the text that is tokenised, and as tokens.
    ///
    /// # Errors
    /// [`CheckpointError`] of rendering or tokenising.
    pub fn tokens(&self, input: &Input) -> Result<(String, Vec<u32>), CheckpointError> {
        match input {
            Input::Text(text) => Ok((text.clone(), self.vocabulary.text(text)?)),
            Input::Conversation(messages) => {
                let text = self.render(messages)?;
                let tokens = self.vocabulary.text(&text)?;
                Ok((text, tokens))
            }
        }
    }

    /// Digests of everything that decides the numbers. Reads every byte of the weights once, the first time.
    ///
    /// # Errors
    /// As [`Weights::digest`].
    pub fn fingerprint(&self) -> Result<Fingerprint, CheckpointError> {
        let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
        let mut fingerprint = Fingerprint {
            config: self.config_digest.clone(),
            tokenizer: self.tokenizer_digest.clone(),
            template: self
                .template
                .as_ref()
                .map(|template| hash(template.source())),
            weights: self.weights.digest()?,
            adapter: None,
            whole: String::new(),
        };
        let parts = [
            Some(&fingerprint.config),
            Some(&fingerprint.tokenizer),
            fingerprint.template.as_ref(),
            Some(&fingerprint.weights),
            fingerprint.adapter.as_ref(),
        ];
        let parts: Vec<&str> = parts.map(|part| part.map_or("-", String::as_str)).into();
        fingerprint.whole = hash(&parts.join(" "));
        Ok(fingerprint)
    }
}

fn object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, CheckpointError> {
    serde_json::from_slice(bytes).map_err(|source| CheckpointError::NotJson {
        path: path.to_owned(),
        source,
    })
}

/// The template of `tokenizer_config.json`: a text, or a list of named ones of which `default` is taken.
fn template_text(settings: &Map<String, Value>) -> Option<String> {
    match settings.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let named = list
                .iter()
                .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"));
            named?.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// A special token, given as text or as an object with `content`; empty where there is none.
fn special(settings: &Map<String, Value>, key: &str) -> String {
    let value = settings.get(key);
    let text = value.and_then(|value| {
        value
            .as_str()
            .or_else(|| value.get("content").and_then(Value::as_str))
    });
    text.unwrap_or_default().to_owned()
}
