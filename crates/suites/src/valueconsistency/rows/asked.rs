//! The questions that rows are of.

use crate::shared::draw::fnv;
use crate::valueconsistency::data::Data;
use concord_findings::Cell;
use concord_questions::{Chosen, Question, QuestionFile, Stance, Stimuli};
use std::collections::HashMap;
use std::sync::Arc;

/// A question with what its rows share.
pub(super) struct Asked<'a> {
    pub file: &'a QuestionFile,
    pub row: usize,
    pub question: &'a Question,
    /// What it is called wherever it is asked: of the file and the question, not of the row.
    pub id: Arc<str>,
    /// The same of what it is a phrasing of.
    pub original_id: Arc<str>,
    /// The texts of its options, in file order.
    pub options: Vec<Arc<str>>,
    /// The text of the option that declines; absent where the run does not have its wording.
    pub declines: Option<Arc<str>>,
    /// What it is about, as cells.
    pub topic: [Cell; 2],
    /// File, language and country, as cells.
    pub origin: [Cell; 3],
    /// Question, original and original in English, as cells.
    pub texts: [Cell; 3],
}

impl Asked<'_> {
    /// The places that it may show options at, that of the option that declines among them.
    pub fn places(&self) -> usize {
        self.options.len() + 1
    }

    /// Whether an option has a stance.
    pub fn has(&self, stance: Stance) -> bool {
        self.question.options.iter().any(|(_, of)| *of == stance)
    }
}

/// The chosen questions, in the order of the set.
pub(super) fn asked(data: &Data) -> Vec<Asked<'_>> {
    let all = Chosen::all();
    let chosen = data.chosen.as_ref().unwrap_or(&all);
    let mut texts: HashMap<&str, Arc<str>> = HashMap::new();
    let mut found = Vec::new();
    for file in &data.set.files {
        let mut seen: HashMap<u64, usize> = HashMap::new();
        let mut shared = |text| {
            let known = texts.entry(text);
            known.or_insert_with_key(|text| Arc::from(*text)).clone()
        };
        let origin = &file.origin;
        let origin = [&file.name, &origin.language, &origin.country];
        let origin = origin.map(|text| Cell::from(shared(text)));
        let declines = |stimuli: &Stimuli| {
            let text = stimuli.text("abstain_answer", &file.origin.language);
            text.ok().map(Arc::from)
        };
        let declines: Option<Arc<str>> = data.stimuli.as_ref().and_then(declines);
        for (row, question) in file.questions.iter().enumerate() {
            let hash = of_question(file, question);
            // A file may ask one question twice.
            let times = seen.entry(hash).or_default();
            *times += 1;
            let id = match *times {
                1 => format!("{hash:016x}"),
                times => format!("{hash:016x}-{times}"),
            };
            if !chosen.has(&file.name, row) {
                continue;
            }
            let original = hashed([&file.name, &question.topic, &question.original]);
            let original = format!("{original:016x}");
            let cell = |text: &'_ Option<String>| Cell::from(text.as_deref().map(Arc::<str>::from));
            let english = cell(&question.original_english);
            let topic_english = cell(&question.topic_english);
            found.push(Asked {
                file,
                row,
                question,
                id: id.into(),
                original_id: original.into(),
                options: question
                    .options
                    .iter()
                    .map(|(text, _)| shared(text))
                    .collect(),
                declines: declines.clone(),
                topic: [shared(&question.topic).into(), topic_english],
                origin: origin.clone(),
                texts: [
                    question.question.as_str().into(),
                    shared(&question.original).into(),
                    english,
                ],
            });
        }
    }
    found
}

/// The hash of a question: its file, its words and its options.
fn of_question(file: &QuestionFile, question: &Question) -> u64 {
    let options = question.options.iter().map(|(text, _)| text.as_str());
    hashed(
        [file.name.as_str(), &question.original, &question.question]
            .into_iter()
            .chain(options),
    )
}

fn hashed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> u64 {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend(text.as_ref().bytes());
        // No byte of a text.
        bytes.push(0xff);
    }
    fnv(bytes)
}
