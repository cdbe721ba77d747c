//! What the program says when it cannot go on, and the code it leaves with.

mod hub;
mod of_runs;

use crate::output::visible;
use concord_checkpoint::{CheckpointError, ServerError};
use concord_decoder::DecoderError;
use concord_kernels::GpuError;
use concord_questions::{QuestionError, StimuliError};
use concord_scorer::ScorerError;
use concord_session::SessionError;
use concord_suites::SuiteError;
use concord_suites::valueconsistency::{AnswersError, MeasureError};
use std::path::Path;
use std::process::ExitCode;

/// The program's exit codes; documented in the README and in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Something unexpected.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Questions, stimuli, prompts or answers are wrong.
    QuestionData = 3,
    /// The checkpoint is wrong.
    Checkpoint = 4,
    /// The device or its memory.
    Device = 5,
    /// The run was cut off and can go on.
    Incomplete = 6,
    /// A regression was found.
    Regression = 7,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// What somebody else, or the machine, has to do with a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Another process is at it.
    InUse,
    /// There is no more room.
    Full,
    /// Something is there already.
    Exists,
    /// Anything else.
    Else,
}

/// A message, what to do, and an exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub status: ExitStatus,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    closed_pipe: bool,
    /// What others have to do with it.
    why: Why,
    /// What a checkpoint's vocabulary cannot spell, where others may be asked all the same.
    pub(crate) not_spelled: Option<String>,
}

impl Failure {
    /// A failure with advice.
    pub fn new(status: ExitStatus, message: impl Into<String>, help: impl Into<String>) -> Self {
        let (message, help) = (message.into(), help.into());
        Self {
            status,
            message,
            help: (!help.is_empty()).then_some(help),
            closed_pipe: false,
            why: Why::Else,
            not_spelled: None,
        }
    }

    /// Whether it stops everything: the user, a scheduler, or a disk without room.
    pub(crate) fn stops_all(&self) -> bool {
        self.why == Why::Full || crate::progress::was_interrupted()
    }

    /// Whether something is there already.
    pub(crate) fn is_there(&self) -> bool {
        self.why == Why::Exists
    }

    /// Whether another process is at what was to be done.
    pub(crate) fn is_in_use(&self) -> bool {
        self.why == Why::InUse
    }

    /// The same failure, with the checkpoint that it is about in front.
    #[must_use]
    pub fn of(mut self, checkpoint: &str) -> Self {
        if !self.message.contains(checkpoint) {
            self.message = format!("{checkpoint}: {}", self.message);
        }
        self
    }

    /// The same failure, with the place that it is about in front, where it is about data.
    #[must_use]
    pub fn of_place(mut self, place: &str) -> Self {
        if self.status == ExitStatus::QuestionData {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }

    /// The same failure, with more to say.
    #[must_use]
    pub fn and_message(mut self, more: &str) -> Self {
        self.message = format!("{}; {more}", self.message);
        self
    }

    /// The same failure, with more advice.
    #[must_use]
    pub fn and_help(mut self, more: &str) -> Self {
        self.help = Some(match self.help {
            Some(help) => format!("{help}; {more}"),
            None => more.to_owned(),
        });
        self
    }

    /// A wrong command line.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, message, help)
    }

    /// Whether the reader of stdout went away.
    pub fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// One line for what is wrong, one for what to do.
    pub fn render(&self) -> String {
        match &self.help {
            Some(help) => format!(
                "error: {}\nhelp: {}",
                one_line(&self.message),
                one_line(help)
            ),
            None => format!("error: {}", one_line(&self.message)),
        }
    }
}

/// Text of strangers' files as one line.
fn one_line(text: &str) -> String {
    visible(text).replace('\n', "\\n")
}

impl Failure {
    /// The failure of printing a run that is whole.
    pub(crate) fn printing(self, run: &Path) -> Self {
        let message = format!(
            "the run is whole in {}; printing it failed: {}",
            run.display(),
            self.message
        );
        let help = format!("concord measure {} prints it", run.display());
        Self {
            closed_pipe: self.closed_pipe,
            ..Self::new(ExitStatus::Unexpected, message, help)
        }
    }
}

/// Whether there is no more room to write.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let closed_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        let (status, help) = if is_full(&error) {
            (
                ExitStatus::Incomplete,
                "make room; the lines that were written are whole",
            )
        } else {
            (ExitStatus::Unexpected, "")
        };
        Self {
            closed_pipe,
            ..Self::new(status, format!("output: {error}"), help)
        }
    }
}

impl From<QuestionError> for Failure {
    fn from(error: QuestionError) -> Self {
        let help = match &error {
            QuestionError::Unreadable { source, .. }
                if source.kind() == std::io::ErrorKind::InvalidData =>
            {
                "save the file as UTF-8"
            }
            QuestionError::Unreadable { .. } => "name a .jsonl or .csv file, or a folder of them",
            QuestionError::NotJson { .. } => {
                "every line is one JSON object; a line that is cut off hints at an incomplete download"
            }
            QuestionError::NotCsv { .. } => {
                "every row has as many fields as the header; text with commas or line breaks stands in double quotes"
            }
            QuestionError::Field { .. } => {
                "correct the line; `concord schema` describes the fields"
            }
            QuestionError::UnknownOrigin { .. } => {
                "rename the file, or add the field `language` (and `country`, `controversial`) to each row"
            }
            QuestionError::QuestionTwice { .. } | QuestionError::PortraitsTwice { .. } => {
                "keep it in one of the two files; files of one language, country and `controversial` are read as one"
            }
            QuestionError::TooLong { .. } => {
                "a question is one line; a file without line ends is not one of questions"
            }
            QuestionError::NoQuestions { .. } => {
                "name a file with at least one question, or the folder that holds the files themselves"
            }
        };
        Self::new(ExitStatus::QuestionData, error.to_string(), help)
    }
}

impl From<StimuliError> for Failure {
    fn from(error: StimuliError) -> Self {
        let help = match &error {
            StimuliError::Missing { .. } => {
                "`concord schema wording --example > FILE` writes the project's own wording: add the language there and name the file (--stimuli FILE), or leave the language out (--languages)"
            }
            StimuliError::Unknown { .. } => {
                "correct the name; `concord schema wording --example` writes them all"
            }
            StimuliError::Unreadable { .. } | StimuliError::NotJson { .. } => {
                "a stimuli file is JSON: stimulus, language, text"
            }
        };
        Self::new(ExitStatus::QuestionData, error.to_string(), help)
    }
}

/// What to do about a checkpoint.
fn checkpoint_help(error: &CheckpointError) -> &'static str {
    match error {
        CheckpointError::NoFolder { .. } | CheckpointError::NotACheckpoint { .. } => {
            "name a folder with config.json, a .gguf file, a server's .toml file, or a hub id (owner/name)"
        }
        CheckpointError::Server(error) => server_help(error),
        CheckpointError::MissingFile { .. } => {
            "copy the whole folder again (a broken link, or anything that is not a plain file, counts as missing); only safetensors weights and tokenizer.json are read"
        }
        CheckpointError::Unreadable { .. } => "check that you may read the file",
        CheckpointError::NotJson { .. } | CheckpointError::BadWeightsFile { .. } => {
            "the file is damaged or its download was cut off: copy it again"
        }
        CheckpointError::UnknownArchitecture { .. } => "`concord models` lists what is supported",
        CheckpointError::Config { path, .. } if path.ends_with("adapter_config.json") => {
            "this version would apply such an adapter wrongly: merge it with PEFT and use the merged checkpoint"
        }
        CheckpointError::Config { .. } => {
            "this version would give wrong results for this config; use another checkpoint, or correct config.json"
        }
        CheckpointError::MissingTensor { .. } | CheckpointError::WrongShape { .. } => {
            "config.json and weights are not of one checkpoint: copy both again"
        }
        CheckpointError::NotFinite { .. } => {
            "the checkpoint is damaged: copy it again (held as f16, weights over 65,504 do not fit: try --dtype bf16)"
        }
        CheckpointError::UnknownTensor { .. } => {
            "config.json and weights are not of one checkpoint, or this version does not know all of its parts"
        }
        CheckpointError::AdapterOnGguf { .. } => {
            "use the checkpoint that the GGUF file was made from (safetensors)"
        }
        CheckpointError::OtherBase { .. } => {
            "name the base that adapter_config.json names (base_model_name_or_path)"
        }
        CheckpointError::Pickled { .. } => {
            "load it with AutoModelForCausalLM.from_pretrained and save it with save_pretrained, which writes safetensors"
        }
        CheckpointError::SentencePiece { .. } => {
            "load it with AutoTokenizer.from_pretrained and save it with save_pretrained, which writes tokenizer.json"
        }
        CheckpointError::Gguf { .. } => {
            "download it again, all parts of it, or use the checkpoint that it was made from (safetensors)"
        }
        CheckpointError::GgufNotRead { .. } => {
            "use the checkpoint that it was made from (safetensors)"
        }
        CheckpointError::WrongDtype { .. } => "save the checkpoint in F32, F16 or BF16",
        CheckpointError::Device { .. } => "close other programs, or use a smaller checkpoint",
        CheckpointError::Tokenizer { .. } => {
            "save it again with AutoTokenizer.save_pretrained of a recent transformers"
        }
        CheckpointError::Tokenise { .. } => {
            "the tokenizer refuses a text of the prompt; look at it with `concord prompts`"
        }
        CheckpointError::TokenOutside { .. } => {
            "tokenizer.json and config.json are not of one checkpoint: copy both again"
        }
        CheckpointError::Template { .. } => {
            "correct the template, or ask without it: by `prompt` instead of `messages`, in a run with --apply-chat-template=never"
        }
        CheckpointError::NoTemplate { .. } => {
            "a base checkpoint is asked by text (`prompt`), not by `messages`"
        }
    }
}

/// What to do about a server that holds a checkpoint.
fn server_help(error: &ServerError) -> &'static str {
    match error {
        ServerError::File { .. } => "docs/servers.md shows what such a file says",
        ServerError::Refuses {
            status: 401 | 403, ..
        } => "name the variable that holds the server's key with `key` in the file, and set it",
        ServerError::NoModel { .. } => "correct `model` in the file",
        ServerError::Refuses { .. } => {
            "check `url` and `model` in the file, and what the server prints"
        }
        ServerError::Away { .. } | ServerError::Stopped => {
            "start the server, or wait until it is less busy, and see that its context is as long as the prompts; the same command goes on"
        }
        ServerError::Wrong { .. } => {
            "`tokenizer` in the file must be that of the checkpoint that is served, and the server must not shorten prompts"
        }
        ServerError::Cannot { .. } => {
            "set what is missing, start the server so that it shows more, ask for less (--formats letter), or load the checkpoint here"
        }
    }
}

/// A server that is away may come back: what was read until then is kept.
fn server_status(error: &ServerError) -> ExitStatus {
    match error {
        ServerError::Away { .. } | ServerError::Stopped => ExitStatus::Incomplete,
        _ => ExitStatus::Checkpoint,
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        let status = match &error {
            CheckpointError::Device { .. } => ExitStatus::Device,
            CheckpointError::Server(error) => server_status(error),
            _ => ExitStatus::Checkpoint,
        };
        Self::new(status, error.to_string(), checkpoint_help(&error))
    }
}

impl From<&GpuError> for Failure {
    fn from(error: &GpuError) -> Self {
        let help = match error {
            GpuError::NotBuilt => "build it with --features cuda, or use --device cpu",
            GpuError::Library { library } if library.starts_with("libcuda") => {
                "install NVIDIA's driver, or use --device cpu"
            }
            GpuError::Library { .. } => {
                "install CUDA 12 or 13, or name the folder of its libraries in CONCORD_CUDA_LIBRARIES (wheels of PyTorch have them in site-packages/nvidia)"
            }
            GpuError::NoDevice => {
                "check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use --device cpu"
            }
            GpuError::NoSuchDevice { .. } => {
                "`concord doctor` lists the devices; they are counted from cuda:0"
            }
            GpuError::OldDriver { .. } => "update NVIDIA's driver, or use --device cpu",
            GpuError::Capability { .. } => {
                "use a GPU of the Ampere generation or newer, or --device cpu"
            }
            GpuError::OutOfMemory { .. } => {
                "end other programs on the device, allow less with --memory, or use --dtype int8"
            }
            GpuError::Config { .. } => {
                "correct the table that CONCORD_CUDA_CONFIG names, or unset it"
            }
            GpuError::Source { .. } => {
                "the compiler that was found may be too old for the device: install a newer CUDA"
            }
            GpuError::Call { .. } => {
                "`concord doctor` says more; another program may have stopped the device"
            }
            GpuError::Shape(_) => "please report this",
        };
        Self::new(ExitStatus::Device, error.to_string(), help)
    }
}

impl From<DecoderError> for Failure {
    fn from(error: DecoderError) -> Self {
        match error {
            DecoderError::Checkpoint(error) => error.into(),
            DecoderError::NotFinite { .. } => {
                let help = "the weights of that layer are damaged or were trained to break: copy the checkpoint again";
                Self::new(ExitStatus::Checkpoint, error.to_string(), help)
            }
            DecoderError::AnotherBase { .. } => Self::new(
                ExitStatus::Unexpected,
                error.to_string(),
                "please report this",
            ),
            DecoderError::Gpu(error) => Self::from(&error),
            DecoderError::Tensor(_) | DecoderError::Thread(_) => Self::new(
                ExitStatus::Device,
                error.to_string(),
                "there may be too little memory",
            ),
        }
    }
}

impl From<ScorerError> for Failure {
    fn from(error: ScorerError) -> Self {
        let text = error.to_string();
        let not_spelled = error.not_spelled();
        let failure = match error {
            ScorerError::Decoder(error) => error.into(),
            ScorerError::Prompt { source, .. } => {
                Self::new(ExitStatus::Checkpoint, text, checkpoint_help(&source))
            }
            ScorerError::LabelNotCovered { .. } => {
                let help = "read the text as a continuation (cloze) instead of as a label";
                Self::new(ExitStatus::Checkpoint, text, help)
            }
            ScorerError::TextNotCovered { .. } => {
                let help = "leave the text out, or write it in characters that the vocabulary has";
                Self::new(ExitStatus::Checkpoint, text, help)
            }
            ScorerError::Strings { .. } => {
                let help = "`strings` is {\"texts\": [texts], \"leads\": [texts], \"end\": \"any\", \"digit\" or \"letter\"}";
                Self::new(ExitStatus::QuestionData, text, help)
            }
            ScorerError::NotFinite { .. } => Self::new(
                ExitStatus::Checkpoint,
                text,
                "the checkpoint is damaged: copy it again",
            ),
            ScorerError::EmptyPrompt { .. } | ScorerError::EmptyContinuation { .. } => Self::new(
                ExitStatus::QuestionData,
                text,
                "give it at least one character",
            ),
            ScorerError::TooLong { .. } => Self::new(
                ExitStatus::QuestionData,
                text,
                "shorten the prompt, or use a checkpoint with a longer context",
            ),
            ScorerError::Mixed { .. } | ScorerError::Sampling { .. } => {
                Self::new(ExitStatus::Usage, text, "see `concord generate --help`")
            }
            ScorerError::Spill { source, .. } => {
                let (status, help) = if is_full(&source) {
                    let help = "make room there, or name another folder with --spill";
                    (ExitStatus::Incomplete, help)
                } else {
                    (ExitStatus::Device, "name another folder with --spill")
                };
                Self::new(status, text, help)
            }
            ScorerError::Stopped => Self::new(ExitStatus::Unexpected, text, "nothing was written"),
            ScorerError::Tensor(_) => {
                Self::new(ExitStatus::Device, text, "there may be too little memory")
            }
        };
        Self {
            not_spelled,
            ..failure
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Options { message, help } => Self::usage(message, help),
            SessionError::Device { message, help } => Self::new(ExitStatus::Device, message, help),
            SessionError::Gpu(error) => Self::from(&error),
            SessionError::Decoder(error) => Self::from(error),
            SessionError::Load { name, source } => Self::from(source).of(&name),
            SessionError::Checkpoint(error) => Self::from(error),
            SessionError::NoPreset { name, known } => {
                Self::usage(format!("no preset `{name}`"), format!("there are {known}"))
            }
            SessionError::Ask { name, source } => Self::from(source).of(&name),
            SessionError::Served { name, source } => {
                let (status, help) = (server_status(&source), server_help(&source));
                Self::new(status, source.to_string(), help).of(&name)
            }
            SessionError::Run(error) => Self::from(error),
            SessionError::Stopped => Self::new(ExitStatus::Incomplete, "stopped", ""),
            SessionError::NotLoaded => {
                Self::new(ExitStatus::Unexpected, "no decoder is loaded", "")
            }
        }
    }
}

impl From<SuiteError> for Failure {
    fn from(error: SuiteError) -> Self {
        let message = error.to_string();
        match error {
            SuiteError::Questions(error) => error.into(),
            SuiteError::Stimuli(error) => error.into(),
            SuiteError::Usage { help, .. } => Self::usage(message, help),
            SuiteError::Data { help, .. } | SuiteError::Readings { help, .. } => {
                Self::new(ExitStatus::QuestionData, message, help)
            }
        }
    }
}

impl From<AnswersError> for Failure {
    fn from(error: AnswersError) -> Self {
        SuiteError::from(error).into()
    }
}

impl From<MeasureError> for Failure {
    fn from(error: MeasureError) -> Self {
        SuiteError::from(error).into()
    }
}
