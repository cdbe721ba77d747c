//! The readers of files from strangers, each from bytes alone: what fuzzing calls.
//!
//! Each gives an error or nothing; none may panic, allocate without bound or read outside its bytes.

use crate::side_files::SideFiles;
use crate::{ChatTemplate, CheckpointError, DecoderSpec, Vocabulary, gguf, safetensors_files};
use concord_readings::{Message, Role};
use std::path::Path;

/// A reader by its name.
pub type Reader = (&'static str, fn(&[u8]) -> Result<(), CheckpointError>);

/// Every reader.
pub const READERS: [Reader; 5] = [
    ("config", config),
    ("safetensors", safetensors),
    ("gguf", gguf),
    ("tokenizer", tokenizer),
    ("template", template),
];

/// `config.json`, and what follows from it.
///
/// # Errors
/// [`CheckpointError`] saying what is wrong with it.
pub fn config(bytes: &[u8]) -> Result<(), CheckpointError> {
    let path = Path::new("config.json");
    let config = serde_json::from_slice(bytes).map_err(|source| CheckpointError::NotJson {
        path: path.to_owned(),
        source,
    })?;
    let spec = DecoderSpec::from_config(path, &config)?;
    spec.parameters();
    spec.length_class(spec.context_length());
    Ok(())
}

/// The header of a safetensors file.
///
/// # Errors
/// As [`config`].
pub fn safetensors(bytes: &[u8]) -> Result<(), CheckpointError> {
    safetensors_files::check(bytes)
}

/// The header of a GGUF file and its tokenizer.
///
/// # Errors
/// As [`config`].
pub fn gguf(bytes: &[u8]) -> Result<(), CheckpointError> {
    gguf::check(bytes)
}

/// `tokenizer.json`, and a text through it.
///
/// # Errors
/// As [`config`].
pub fn tokenizer(bytes: &[u8]) -> Result<(), CheckpointError> {
    let (path, beside) = (Path::new("tokenizer.json"), SideFiles::default());
    let (vocabulary, ..) = Vocabulary::parse(path, bytes, &beside, 1 << 17)?;
    vocabulary.text("A question (A) and 123.").map(|_| ())
}

/// A chat template, and two conversations through it.
///
/// # Errors
/// As [`config`].
pub fn template(bytes: &[u8]) -> Result<(), CheckpointError> {
    let bad = |problem| CheckpointError::Template {
        path: "chat_template.jinja".into(),
        problem,
    };
    let source = String::from_utf8_lossy(bytes);
    let template = ChatTemplate::parse(&source, &serde_json::Map::new()).map_err(bad)?;
    let messages = [
        Message::new(Role::System, "Be brief."),
        Message::new(Role::User, "A or B?"),
    ];
    template.render(&messages).map_err(bad)?;
    template.render(&messages[1..]).map_err(bad).map(|_| ())
}
