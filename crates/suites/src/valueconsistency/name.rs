//! What prompts are called: file, row, what is asked about it and the order its options are shown in.

fn order(reversed: bool) -> &'static str {
    if reversed { "reversed" } else { "given" }
}

/// A question, read by letter and by answer text.
pub fn question(file: &str, row: usize, reversed: bool) -> String {
    format!("{file}:{row}:{}", order(reversed))
}

/// A question with an option that declines to answer.
pub(crate) fn abstaining(file: &str, row: usize, reversed: bool) -> String {
    format!("{file}:{row}:{}:abstention", order(reversed))
}

/// A question in another wording.
pub(crate) fn worded(file: &str, row: usize, reversed: bool, wording: &str) -> String {
    format!("{file}:{row}:{}:wording={wording}", order(reversed))
}

/// A portrait, to be answered by a value.
pub(crate) fn portrait(file: &str, row: usize, value: Option<&str>, reversed: bool) -> String {
    let value = value.unwrap_or("");
    format!("{file}:{row}:{}:value={value}", order(reversed))
}

/// What a checkpoint writes where a question's letter is read.
pub(crate) fn answer_text(file: &str, row: usize) -> String {
    format!("{file}:{row}:text")
}

/// The passage on a question.
pub(crate) fn passage(file: &str, row: usize) -> String {
    format!("{file}:{row}:passage")
}

/// The passage for an option of a question.
pub(crate) fn argued(file: &str, row: usize, option: usize) -> String {
    format!("{file}:{row}:argued={option}")
}

/// The stance of a text.
pub(crate) fn stance(text: &str, reversed: bool, abstention: bool) -> String {
    let abstention = if abstention { ":abstention" } else { "" };
    format!("{text}:{}{abstention}", order(reversed))
}
