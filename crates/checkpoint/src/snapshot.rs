//! Everything about one checkpoint.

use crate::ends::end_ids;
use crate::family::Inert;
use crate::files::{needed, object, optional};
use crate::hub::Origin;
use crate::side_files::SideFiles;
use crate::template_files::{holds_what_is_asked, template, template_file};
use crate::tokenizer_class::OfModel;
use crate::{
    Adapter, ChatTemplate, CheckpointError, DecoderSpec, Fingerprint, Server, ServerFile,
    SystemRole, Vocabulary, Weights, gguf, safetensors_files,
};
use concord_readings::{Input, Message};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One checkpoint: what it is, how it is spoken to, and where its weights are.
pub struct Snapshot {
    /// A short name for tables: the folder's, or `demo-base` and `demo-aligned`.
    pub name: String,
    /// Where it was found.
    pub path: PathBuf,
    /// The decoder's shape.
    pub spec: DecoderSpec,
    /// The tokenizer.
    pub vocabulary: Arc<Vocabulary>,
    /// The chat template; base checkpoints have none.
    pub template: Option<Arc<ChatTemplate>>,
    /// The weights; of the base, where there is an adapter.
    pub weights: Arc<Weights>,
    /// What is merged into the weights.
    pub adapter: Option<Arc<Adapter>>,
    /// The server that holds it, in place of weights.
    pub server: Option<Arc<Server>>,
    /// Where on the hub it came from.
    pub origin: Option<Origin>,
    /// `tokenizer_config.json`, or what stands for it.
    pub(crate) settings: Map<String, Value>,
    /// Tokens that `config.json` and `generation_config.json` say a text ends with.
    pub(crate) end_ids: Vec<u32>,
    config_digest: String,
    tokenizer_digest: String,
    /// `tokenizer.json`, on which an adapter may put tokens of its own.
    tokenizer: Arc<[u8]>,
    /// What stands beside it.
    beside: SideFiles,
}

/// What a checkpoint says about itself and about text.
struct Words<'a> {
    config: &'a [u8],
    tokenizer_path: PathBuf,
    tokenizer: &'a [u8],
    beside: SideFiles,
    /// What is said elsewhere, where the files beside the tokenizer say nothing.
    settings: Map<String, Value>,
    jinja: Option<Vec<u8>>,
    /// `generation_config.json` and where it would be.
    generation: (PathBuf, Option<Vec<u8>>),
    /// Whether it comes with the program.
    is_own: bool,
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
        let beside = object(Path::new("tokenizer_config.json"), files.tokenizer_config)?;
        let words = Words {
            config: files.config,
            tokenizer_path: path.join("tokenizer.json"),
            tokenizer: files.tokenizer,
            beside: SideFiles::of_config(beside),
            settings: Map::new(),
            jinja: None,
            generation: (path.join("generation_config.json"), None),
            is_own: true,
        };
        Snapshot::assemble(path, words, weights)
    };
    Ok([
        open(&embedded!("demo-base", "base"))?,
        open(&embedded!("demo-aligned", "aligned"))?,
    ])
}

/// Checkpoint shapes that can be benched without a checkpoint, by name.
const PRESETS: [(&str, &str); 7] = [
    (
        "smollm2-135m",
        include_str!("../../../models/presets/smollm2-135m.json"),
    ),
    (
        "qwen2.5-0.5b",
        include_str!("../../../models/presets/qwen2.5-0.5b.json"),
    ),
    (
        "llama-3.2-1b",
        include_str!("../../../models/presets/llama-3.2-1b.json"),
    ),
    (
        "llama-3-8b",
        include_str!("../../../models/presets/llama-3-8b.json"),
    ),
    (
        "llama-3-70b",
        include_str!("../../../models/presets/llama-3-70b.json"),
    ),
    (
        "mixtral-8x7b",
        include_str!("../../../models/presets/mixtral-8x7b.json"),
    ),
    (
        "qwen3-30b-a3b",
        include_str!("../../../models/presets/qwen3-30b-a3b.json"),
    ),
];

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
        let tokens = [("bos_token", special[0]), ("eos_token", special[1])];
        let settings = tokens.map(|(name, token)| (name.to_owned(), Value::from(token)));
        let settings: Map<String, Value> = settings.into_iter().collect();
        let template =
            ChatTemplate::own(source, &settings).map_err(|problem| CheckpointError::Template {
                path: path.clone(),
                problem,
            })?;
        Ok(Some(Self {
            name: (*name).to_owned(),
            spec,
            vocabulary: Arc::new(vocabulary),
            template: Some(Arc::new(template)),
            weights: Arc::new(Weights::seeded(&path, seed)),
            adapter: None,
            server: None,
            origin: None,
            settings: Map::new(),
            end_ids: Vec::new(),
            config_digest: blake3::hash(config.as_bytes()).to_hex().to_string(),
            tokenizer_digest: String::new(),
            tokenizer: Arc::from([]),
            beside: SideFiles::default(),
            path,
        }))
    }

    /// Opens a folder in Hugging Face layout, or a GGUF file. Weights are opened, their values not yet read.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the file, key or tensor.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let is_gguf = |path: &Path| {
            let ending = path.extension();
            ending.is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
        };
        let other = |problem: String| CheckpointError::NotACheckpoint {
            path: path.to_owned(),
            problem,
        };
        if path.is_file() && is_gguf(path) {
            return Self::from_gguf(path);
        }
        if ServerFile::is_one(path) {
            return Self::served(path, None);
        }
        if path.is_file() {
            return Err(other(
                "is neither a .gguf file, nor a checkpoint's folder, nor a server's .toml file"
                    .to_owned(),
            ));
        }
        if !path.is_dir() {
            return Err(CheckpointError::NoFolder {
                path: path.to_owned(),
            });
        }
        if !path.join("config.json").exists()
            && let Ok(entries) = std::fs::read_dir(path)
        {
            let files = entries.flatten().map(|entry| entry.path());
            let mut found: Vec<PathBuf> = files.filter(|path| is_gguf(path)).collect();
            found.sort();
            match &found[..] {
                [] if path.join("adapter_config.json").exists() => {
                    return Err(other(
                        "is an adapter; name its base, and this with --adapter".to_owned(),
                    ));
                }
                [] => {}
                [one] => return Self::from_gguf(one),
                // The parts of one.
                [first, ..]
                    if first
                        .to_string_lossy()
                        .ends_with(&format!("-00001-of-{:05}.gguf", found.len())) =>
                {
                    return Self::from_gguf(first);
                }
                _ => {
                    let names = found.iter().filter_map(|path| path.file_name());
                    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
                    return Err(other(format!(
                        "holds {} GGUF files; name the one that is meant: {}",
                        found.len(),
                        names.join(", ")
                    )));
                }
            }
        }
        let weights = || safetensors_files::in_folder(path);
        Self::in_folder(path, weights)
    }

    /// A folder in Hugging Face layout with these weights.
    pub(crate) fn in_folder(
        path: &Path,
        weights: impl FnOnce() -> Result<Weights, CheckpointError>,
    ) -> Result<Self, CheckpointError> {
        let config = needed(path, "config.json", "it says what the checkpoint is")?;
        let piece = path.join("tokenizer.model");
        if piece.is_file() && !path.join("tokenizer.json").is_file() {
            return Err(CheckpointError::SentencePiece { path: piece });
        }
        let tokenizer = needed(
            path,
            "tokenizer.json",
            "a fast tokenizer is needed to turn text into tokens",
        )?;
        let weights = weights()?;
        let generation = path.join("generation_config.json");
        let words = Words {
            config: &config,
            tokenizer_path: path.join("tokenizer.json"),
            tokenizer: &tokenizer,
            beside: SideFiles::in_folder(path)?,
            settings: Map::new(),
            jinja: template_file(path)?,
            generation: (generation, optional(path, "generation_config.json")?),
            is_own: false,
        };
        Self::assemble(path.to_owned(), words, weights)
    }

    /// Opens a GGUF file. A `tokenizer.json`, `tokenizer_config.json` or `chat_template.jinja` beside it is taken instead of
    /// what the file holds.
    fn from_gguf(path: &Path) -> Result<Self, CheckpointError> {
        let (described, metadata) = gguf::describe(path, gguf::open(path)?)?;
        let gguf::Described {
            config,
            mut spec,
            mut weights,
        } = described;
        weights.settle(&mut spec, &Inert::load().tensors)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let own = optional(folder, "tokenizer.json")?;
        // What stands beside the file counts first, key by key.
        let mut beside = SideFiles::in_folder(folder)?;
        let tokenizer = if let Some(bytes) = own {
            bytes
        } else {
            // The file has all of its tokens; what other programs left in the folder adds none.
            beside.map = None;
            beside.added = None;
            gguf::tokenizer(path, &metadata)?.to_string().into_bytes()
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let config = serde_json::to_vec(&config).unwrap_or_default();
        let words = Words {
            config: &config,
            tokenizer_path: path.to_owned(),
            tokenizer: &tokenizer,
            beside,
            settings: gguf::settings(&metadata),
            jinja: template_file(folder)?,
            generation: (
                folder.join("generation_config.json"),
                optional(folder, "generation_config.json")?,
            ),
            is_own: false,
        };
        Self::put_together(path.to_owned(), name.into_owned(), spec, words, weights)
    }

    fn assemble(
        path: PathBuf,
        mut words: Words<'_>,
        mut weights: Weights,
    ) -> Result<Self, CheckpointError> {
        let config_path = path.join("config.json");
        let config = object(&config_path, words.config)?;
        words.beside.model = Some(OfModel::of(&config));
        let described = DecoderSpec::from_config(&config_path, &config);
        let mut spec = described.map_err(|error| weights.if_whole(error))?;
        if !weights.are_elsewhere() {
            weights.settle(&mut spec, &Inert::load().tensors)?;
        }
        let name = name_of(&path);
        Self::put_together(path, name, spec, words, weights)
    }

    fn put_together(
        path: PathBuf,
        name: String,
        spec: DecoderSpec,
        words: Words<'_>,
        weights: Weights,
    ) -> Result<Self, CheckpointError> {
        let end_ids = end_ids(words.config, &words.generation)?;
        let (vocabulary, beside, tokenizer_digest) = Vocabulary::parse(
            &words.tokenizer_path,
            words.tokenizer,
            &words.beside,
            spec.vocab_size,
        )?;
        let mut settings = words.settings;
        settings.extend(beside);
        Ok(Self {
            name,
            template: template(&path, words.jinja, &settings, words.is_own)?,
            spec,
            vocabulary: Arc::new(vocabulary),
            weights: Arc::new(weights),
            adapter: None,
            server: None,
            origin: None,
            settings,
            end_ids,
            config_digest: blake3::hash(words.config).to_hex().to_string(),
            tokenizer_digest,
            tokenizer: words.tokenizer.into(),
            beside: words.beside,
            path,
        })
    }

    /// This checkpoint with a PEFT adapter merged into it. A tokenizer or a chat template in the adapter's folder is taken
    /// instead of the base's.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub fn with_adapter(&self, folder: &Path) -> Result<Self, CheckpointError> {
        if self.spec.from_gguf {
            return Err(CheckpointError::AdapterOnGguf {
                path: self.path.clone(),
            });
        }
        let (adapter, spec) = Adapter::open(folder, &self.spec)?;
        let mut vocabulary = Arc::clone(&self.vocabulary);
        let mut tokenizer_digest = self.tokenizer_digest.clone();
        let mut settings = self.settings.clone();
        let own = optional(folder, "tokenizer.json")?;
        let mut beside = SideFiles::in_folder(folder)?;
        beside.model.clone_from(&self.beside.model);
        let speaks = beside
            .config
            .as_ref()
            .is_some_and(|own| own.contains_key("chat_template"));
        if own.is_none() {
            // Without a tokenizer of its own, what it does not say is as the base says it.
            beside = beside.over(&self.beside);
        }
        let is_other = own.is_some() || beside != self.beside;
        let tokenizer = own.map_or_else(|| Arc::clone(&self.tokenizer), Arc::from);
        if is_other || spec.vocab_size != self.spec.vocab_size {
            let path = folder.join("tokenizer.json");
            let size = spec.vocab_size;
            let (parsed, own, digest) = Vocabulary::parse(&path, &tokenizer, &beside, size)?;
            // A copy of the base's is the base's: what it is asked is shared.
            if digest != tokenizer_digest || size != self.spec.vocab_size {
                vocabulary = Arc::new(parsed);
                tokenizer_digest = digest;
            }
            settings.extend(own);
        }
        let jinja = template_file(folder)?;
        let own = if jinja.is_some() || speaks {
            template(folder, jinja, &settings, false)?
        } else {
            None
        };
        Ok(Self {
            name: name_of(folder),
            path: folder.to_owned(),
            template: own.or_else(|| self.template.clone()),
            spec,
            vocabulary,
            weights: Arc::clone(&self.weights),
            adapter: Some(Arc::new(adapter)),
            server: None,
            origin: None,
            settings,
            end_ids: self.end_ids.clone(),
            config_digest: self.config_digest.clone(),
            tokenizer_digest,
            tokenizer,
            beside,
        })
    }

    /// Whether the checkpoint is asked by messages: it has a chat template.
    pub fn is_aligned(&self) -> bool {
        self.template.is_some()
    }

    /// Whether this checkpoint and another make the same tokens of the same prompts, and of the same length.
    pub fn reads_text_as(&self, other: &Self) -> bool {
        let same_template = match (&self.template, &other.template) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        };
        same_template
            && Arc::ptr_eq(&self.vocabulary, &other.vocabulary)
            && self.spec.positions == other.spec.positions
            && self.spec.context_length() == other.spec.context_length()
    }

    /// Whether a system message is put before the first user message, since the template takes none.
    pub fn folds_system(&self) -> bool {
        let template = self.template.as_ref();
        template.is_some_and(|template| template.traits().system == SystemRole::Folded)
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
            .and_then(|text| holds_what_is_asked(text, messages))
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
                let tokens = self.vocabulary.rendered(&text)?;
                Ok((text, tokens))
            }
            Input::Prefilled { messages, prefill } => {
                let text = self.render(messages)? + prefill;
                let tokens = self.vocabulary.rendered(&text)?;
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
                .map(|template| hash(&template.identity())),
            weights: self.weights.digest()?,
            adapter: self
                .adapter
                .as_ref()
                .map(|adapter| adapter.digest())
                .transpose()?,
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

/// A folder's own name.
fn name_of(folder: &Path) -> String {
    let path = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = path.file_name();
    name.map_or_else(
        || "checkpoint".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}
