//! Question sets and stimuli: reading, checking and turning them into conversations.
//!
//! The file format is that of VALUECONSISTENCY (arXiv 2407.02996): JSON lines, one phrasing each, in files named
//! `{controversial|uncontroversial}_{language}_{country}.jsonl`, or one file that carries these three as fields.
//!
//! Invariant: nothing here knows a token. A prompt is roles and text; no sentence of a prompt stands in the code, all of
//! them are data ([`Stimuli`]).

mod check;
mod condition;
mod conversation;
mod object;
mod question;
mod reader;
mod row;
mod stimuli;

/// The JSON Schema of a kind of file: `questions`, `portraits` or `stimuli`.
pub fn schema(kind: &str) -> Option<&'static str> {
    match kind {
        "questions" => Some(include_str!("../schema/questions.json")),
        "portraits" => Some(include_str!("../schema/portraits.json")),
        "stimuli" => Some(include_str!("../schema/stimuli.json")),
        _ => None,
    }
}

/// A file of a kind, to begin one of one's own with: some questions, some portraits, or the project's own wording.
pub fn example(kind: &str) -> Option<String> {
    match kind {
        // With what the demo's file names say, so that the file may be called anything.
        "questions" => {
            let rows = include_str!("../demo/controversial_english_world.jsonl").lines();
            let origin = r#"{"language":"english","country":"world","controversial":true,"#;
            let rows = rows.filter_map(|row| Some(format!("{origin}{}\n", row.strip_prefix('{')?)));
            Some(rows.collect())
        }
        "portraits" => Some(include_str!("../demo/pvq_english.jsonl").to_owned()),
        "stimuli" => Some(include_str!("../stimuli/concord.json").to_owned()),
        _ => None,
    }
}

pub use check::{FileCheck, Oddity, check};
pub use condition::Condition;
pub use conversation::{Ask, Kind, Rendered, SpokenOption, option_letter};
pub use object::object_of;
pub use question::{
    Chosen, Origin, PvqFile, PvqItem, PvqValue, Question, QuestionFile, QuestionSet, Stance,
};
pub use reader::{QuestionError, demo, load, load_all};
pub use stimuli::{Stimuli, StimuliError};
