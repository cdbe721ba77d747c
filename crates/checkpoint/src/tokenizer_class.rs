//! What transformers makes of a `tokenizer.json` whose class builds normalizer and pre-tokenizer anew.
//!
//! From version 5 on, some classes take vocabulary, merges and post-processor of the file alone; how a text is cut is theirs, by a few
//! settings of `tokenizer_config.json`. Which class it is depends on the model too.

use serde_json::{Map, Value};
use std::str::FromStr;
use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

/// A class that builds anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Llama,
    Gpt2,
    Qwen2,
    GptNeoX,
    Cohere,
    Gemma,
}

impl FromStr for Class {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "LlamaTokenizer" => Self::Llama,
            "GPT2Tokenizer" => Self::Gpt2,
            "Qwen2Tokenizer" => Self::Qwen2,
            "GPTNeoXTokenizer" => Self::GptNeoX,
            "CohereTokenizer" => Self::Cohere,
            "GemmaTokenizer" => Self::Gemma,
            _ => return Err(()),
        })
    }
}

impl Class {
    /// What its special tokens are called where no file says it.
    fn defaults(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self {
            Self::Llama => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
            ],
            Self::Gpt2 => &[("bos_token", END), ("eos_token", END), ("unk_token", END)],
            Self::Qwen2 => &[("eos_token", END), ("unk_token", END), ("pad_token", END)],
            Self::GptNeoX => &[
                ("bos_token", END),
                ("eos_token", END),
                ("unk_token", END),
                ("pad_token", "<|padding|>"),
            ],
            Self::Cohere => &[
                ("bos_token", "<BOS_TOKEN>"),
                ("eos_token", "<|END_OF_TURN_TOKEN|>"),
                ("unk_token", "<UNK>"),
                ("sep_token", "<SEP>"),
                ("pad_token", "<PAD>"),
                ("cls_token", "<CLS>"),
                ("mask_token", "<MASK_TOKEN>"),
            ],
            Self::Gemma => &[
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
        }
    }
}

/// What a model's `config.json` says of its tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OfModel {
    /// `model_type`.
    pub kind: Option<String>,
    /// `tokenizer_class`.
    pub class: Option<String>,
}

impl OfModel {
    pub fn of(config: &Map<String, Value>) -> Self {
        let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            kind: text("model_type"),
            class: text("tokenizer_class"),
        }
    }
}

/// The classes that are registered for models; others have none, or one that takes the file as it is.
fn registered(model: &str) -> Option<&'static str> {
    Some(match model {
        "cohere" | "cohere2" => "CohereTokenizer",
        "gemma" | "gemma2" | "gemma3" | "gemma3_text" => "GemmaTokenizer",
        "gpt2" | "phi" | "starcoder2" => "GPT2Tokenizer",
        "gpt_neox" | "olmo" => "GPTNeoXTokenizer",
        "qwen2" | "qwen2_moe" | "qwen3" | "qwen3_moe" => "Qwen2Tokenizer",
        "mistral" | "mixtral" | "ministral" | "mistral3" => "MistralCommonBackend",
        "glm" | "glm4" | "granite" | "olmo2" | "olmo3" | "stablelm" | "nemotron" | "phi3"
        | "phimoe" => AS_IT_IS,
        _ => return None,
    })
}

/// The class that takes a file as it is.
const AS_IT_IS: &str = "TokenizersBackend";
/// Models whose files name a wrong class: the registered one is taken.
const WRONG: [&str; 4] = ["nemotron", "phi3", "phimoe", "qwen2"];

/// The class that is taken, where it builds anew.
///
/// # Source
/// `AutoTokenizer.from_pretrained` of transformers 5.24.
fn class(of: &OfModel, settings: &Map<String, Value>, is_byte_level: bool) -> Option<Class> {
    let stated = settings.get("tokenizer_class").and_then(Value::as_str);
    let stated = stated.or(of.class.as_deref());
    let stated = stated.map(|name| name.strip_suffix("Fast").unwrap_or(name));
    let model = of.kind.as_deref().unwrap_or_default();
    let registered = registered(model);
    let is_wrong = WRONG.contains(&model);
    let from_elsewhere = settings.contains_key("auto_map");
    let name = match (stated, registered) {
        _ if from_elsewhere => return None,
        (Some("LlamaTokenizer"), of_model)
            if is_byte_level && !is_wrong && of_model != Some("MistralCommonBackend") =>
        {
            return None;
        }
        (Some(stated), Some(registered)) if stated != registered => match registered {
            AS_IT_IS | "MistralCommonBackend" => return None,
            registered if is_wrong => registered,
            _ => stated,
        },
        (Some(stated), _) => stated,
        (None, registered) => registered?,
    };
    name.parse().ok()
}

/// A tokenizer that was built anew.
pub(crate) struct Built {
    pub tokenizer: Tokenizer,
    /// The class and what decides its parts.
    pub name: String,
    /// What its special tokens are called where no file says it.
    pub defaults: &'static [(&'static str, &'static str)],
}

/// Builds a tokenizer anew as its class does, without added tokens; `None` where it is taken as it is.
///
/// # Errors
/// What cannot be built.
///
/// # Source
/// The classes' `__init__` in transformers 5.24.
pub(crate) fn rebuild(
    tokenizer: &Tokenizer,
    of: &OfModel,
    settings: &Map<String, Value>,
) -> Result<Option<Built>, String> {
    let ModelWrapper::BPE(model) = tokenizer.get_model() else {
        return Ok(None);
    };
    let part = |part: Option<Value>| part.map_or_else(String::new, |part| part.to_string());
    let parts = [
        part(serde_json::to_value(tokenizer.get_pre_tokenizer()).ok()),
        part(serde_json::to_value(tokenizer.get_decoder()).ok()),
        part(serde_json::to_value(tokenizer.get_post_processor()).ok()),
        part(serde_json::to_value(tokenizer.get_normalizer()).ok()),
    ];
    let is_byte_level = parts.iter().any(|part| part.contains("\"ByteLevel\""));
    let Some(class) = class(of, settings, is_byte_level) else {
        return Ok(None);
    };
    let flag = |key: &str| settings.get(key).and_then(Value::as_bool);
    let with_space = flag("add_prefix_space").unwrap_or(class == Class::Llama);
    let scheme = match (with_space, flag("legacy").unwrap_or(false)) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    let unknown = match class {
        // A name alone, or a token with its flags.
        Class::Gemma => {
            let stated = settings.get("unk_token");
            let text = stated.and_then(|token| token.get("content").unwrap_or(token).as_str());
            Some(text.unwrap_or("<unk>").to_owned())
        }
        _ => None,
    };
    let bytes = |regex: bool| {
        serde_json::json!({
            "type": "ByteLevel", "add_prefix_space": with_space, "trim_offsets": true, "use_regex": regex,
        })
    };
    let sequence =
        |steps: Vec<Value>| serde_json::json!({ "type": "Sequence", "pretokenizers": steps });
    let composed = serde_json::json!({ "type": "NFC" });
    let (normalizer, cut) = match class {
        Class::Llama => (
            Value::Null,
            serde_json::json!({
                "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false,
            }),
        ),
        Class::Gpt2 => (Value::Null, bytes(true)),
        Class::GptNeoX => (composed, bytes(true)),
        Class::Qwen2 => {
            let pattern = serde_json::json!({
                "type": "Split", "pattern": { "Regex": QWEN2 }, "behavior": "Isolated", "invert": false,
            });
            (composed, sequence(vec![pattern, bytes(false)]))
        }
        Class::Cohere => {
            let digits = serde_json::json!({ "type": "Digits", "individual_digits": true });
            (composed, sequence(vec![digits, bytes(true)]))
        }
        Class::Gemma => (
            serde_json::json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" }),
            serde_json::json!({
                "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false,
            }),
        ),
    };
    let is_sentencepiece = matches!(class, Class::Llama | Class::Gemma);
    let mut model = model.clone();
    model.fuse_unk = is_sentencepiece;
    model.byte_fallback = is_sentencepiece;
    model.unk_token = unknown;
    model.ignore_merges = false;
    let mut fresh = Tokenizer::new(model);
    let built = |error: serde_json::Error| error.to_string();
    let normalizer: Option<NormalizerWrapper> =
        serde_json::from_value(normalizer).map_err(built)?;
    fresh
        .with_normalizer(normalizer)
        .map_err(|error| error.to_string())?;
    let cut: PreTokenizerWrapper = serde_json::from_value(cut).map_err(built)?;
    fresh.with_pre_tokenizer(Some(cut));
    let decoder: DecoderWrapper =
        serde_json::from_value(decoder(class, with_space)).map_err(built)?;
    fresh.with_decoder(Some(decoder));
    // GPT-NeoX puts nothing around a text, whatever the file does.
    let around = tokenizer.get_post_processor().cloned();
    fresh.with_post_processor(around.filter(|_| class != Class::GptNeoX));
    Ok(Some(Built {
        tokenizer: fresh,
        name: format!("{class:?} {with_space} {scheme}"),
        defaults: class.defaults(),
    }))
}

/// How a class puts tokens together.
fn decoder(class: Class, with_space: bool) -> Value {
    if !matches!(class, Class::Llama | Class::Gemma) {
        return serde_json::json!({
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        });
    }
    let mut steps = vec![
        serde_json::json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " }),
        serde_json::json!({ "type": "ByteFallback" }),
        serde_json::json!({ "type": "Fuse" }),
    ];
    if class == Class::Llama && with_space {
        steps.push(serde_json::json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    serde_json::json!({ "type": "Sequence", "decoders": steps })
}

/// How Qwen2 cuts a text.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
