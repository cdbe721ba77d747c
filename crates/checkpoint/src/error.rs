//! Why a checkpoint cannot be used.

use std::path::PathBuf;

/// Why a checkpoint cannot be used. The message names the file and, where there is one, the key or tensor.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The folder does not exist.
    #[error("{path}: no such folder or file")]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// It is served, and the server cannot be asked.
    #[error(transparent)]
    Server(#[from] crate::ServerError),
    /// What was named is something else.
    #[error("{path}: {problem}")]
    NotACheckpoint {
        /// The path.
        path: PathBuf,
        /// What it is.
        problem: String,
    },
    /// A needed file is absent.
    #[error("{path}: is missing ({needed})")]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// What it is needed for.
        needed: &'static str,
    },
    /// A file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not the JSON it should be.
    #[error("{path}: not valid JSON: {source}")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// `config.json` names an architecture that is not among the families.
    #[error("{path}: architecture `{architecture}` is not supported (supported: {supported})")]
    UnknownArchitecture {
        /// The file.
        path: PathBuf,
        /// What it names.
        architecture: String,
        /// What would be read.
        supported: String,
    },
    /// A key of `config.json` is absent, of the wrong type, or has a value that would change the numbers in a way that is
    /// not implemented.
    #[error("{path}: key `{key}` {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A weights file is no well-formed safetensors file.
    #[error("{path}: not a complete safetensors file: {problem}")]
    BadWeightsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A GGUF file is damaged, or says what is not supported.
    #[error("{path}: not a GGUF file that can be read: {problem}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A GGUF file holds what is not read here.
    #[error("{path}: {problem}")]
    GgufNotRead {
        /// The file.
        path: PathBuf,
        /// What it is, by key.
        problem: String,
    },
    /// No weights file has a tensor of this name.
    #[error("{path}: tensor `{tensor}` is missing")]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than `config.json` says.
    #[error("{path}: tensor `{tensor}` has shape {found:?}, config.json asks for {expected:?}")]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor has a number type that is not read.
    #[error(
        "{path}: tensor `{tensor}` is stored as {dtype}; F32, F16, BF16 and, in GGUF, Q8_0, Q4_0, Q4_K, Q5_K and Q6_K are read"
    )]
    WrongDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its number type.
        dtype: String,
    },
    /// A weight is infinite or not a number.
    #[error("{path}: tensor `{tensor}` holds a number that is infinite or none")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A weights file has a tensor that the architecture has no part for.
    #[error(
        "{path}: tensor `{tensor}` has no place in {architecture}; without it the numbers would be another model's"
    )]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The `architectures` entry.
        architecture: String,
    },
    /// An adapter does not fit the base that it is put on.
    #[error("{path}: `{tensor}` {problem}: the adapter is of another base")]
    OtherBase {
        /// The adapter's file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How it does not fit.
        problem: String,
    },
    /// An adapter was put on a GGUF file.
    #[error(
        "{path}: adapters are not put on GGUF files, which keep rows and norms in another form"
    )]
    AdapterOnGguf {
        /// The file.
        path: PathBuf,
    },
    /// Weights stand there as Python pickles only.
    #[error("{path}: weights are pickled, which would run code to read them")]
    Pickled {
        /// The file.
        path: PathBuf,
    },
    /// A tokenizer stands there as a SentencePiece model only.
    #[error("{path}: a SentencePiece model without a tokenizer.json beside it")]
    SentencePiece {
        /// The file.
        path: PathBuf,
    },
    /// A tensor cannot be placed on the device.
    #[error("{path}: tensor `{tensor}` cannot be placed on the device: {source}")]
    Device {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What candle said.
        source: Box<candle_core::Error>,
    },
    /// `tokenizer.json` cannot be read.
    #[error("{path}: not a tokenizer that can be read: {problem}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer library said.
        problem: String,
    },
    /// A text cannot be tokenised.
    #[error("{path}: a text cannot be tokenised: {problem}")]
    Tokenise {
        /// The tokenizer.
        path: PathBuf,
        /// What the tokenizer library said.
        problem: String,
    },
    /// The tokenizer gives a token that the checkpoint has no embedding for.
    #[error("{path}: token {token} is outside the checkpoint's vocabulary of {vocabulary}")]
    TokenOutside {
        /// The tokenizer.
        path: PathBuf,
        /// The token.
        token: u32,
        /// How many embeddings there are.
        vocabulary: usize,
    },
    /// The chat template cannot be parsed or rendered.
    #[error("{path}: the chat template fails: {problem}")]
    Template {
        /// The checkpoint.
        path: PathBuf,
        /// What the template engine said, or what the template itself raised.
        problem: String,
    },
    /// A conversation was given to a checkpoint that has no chat template.
    #[error("{path}: the checkpoint has no chat template, so it cannot be given messages")]
    NoTemplate {
        /// The checkpoint.
        path: PathBuf,
    },
}
