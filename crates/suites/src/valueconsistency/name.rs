//! What prompts are called: the question's file and row, what is asked about it, and the order its options are shown in.

use concord_readings::PromptKey;

/// The suite.
pub const SUITE: &str = "valueconsistency";

/// The round that is read from logits at once.
pub const READINGS: &str = "readings";
/// The round in which checkpoints write.
pub const TEXTS: &str = "texts";
/// The round in which raters read what checkpoints wrote.
pub const STANCES: &str = "stances";

fn order(reversed: bool) -> &'static str {
    if reversed { "reversed" } else { "given" }
}

fn item(file: &str, row: usize) -> PromptKey {
    PromptKey::new(SUITE, format!("{file}/{row}"))
}

/// A question, read by letter and by answer text.
pub fn question(file: &str, row: usize, reversed: bool) -> String {
    item(file, row).with("order", order(reversed)).to_string()
}

/// A question with an option that declines to answer.
pub(crate) fn abstaining(file: &str, row: usize, reversed: bool) -> String {
    let key = item(file, row).with("order", order(reversed));
    key.with("declining", "allowed").to_string()
}

/// A question in another wording.
pub(crate) fn worded(file: &str, row: usize, reversed: bool, wording: &str) -> String {
    let key = item(file, row).with("order", order(reversed));
    key.with("wording", wording).to_string()
}

/// The other wording that a prompt is in, where it is in one.
pub fn wording_of(id: &str) -> Option<String> {
    let key: PromptKey = id.parse().ok()?;
    key.condition("wording").map(str::to_owned)
}

/// A portrait, to be answered by a value.
pub(crate) fn portrait(file: &str, row: usize, value: Option<&str>, reversed: bool) -> String {
    let key = item(file, row).with("order", order(reversed));
    key.with("value", value.unwrap_or("")).to_string()
}

/// What a checkpoint writes where a question's letter is read.
pub(crate) fn answer_text(file: &str, row: usize) -> String {
    item(file, row).with("written", "answer").to_string()
}

/// The passage on a question.
pub(crate) fn passage(file: &str, row: usize) -> String {
    item(file, row).with("written", "passage").to_string()
}

/// The passage for an option of a question.
pub(crate) fn argued(file: &str, row: usize, option: usize) -> String {
    let key = item(file, row).with("written", "argued");
    key.with("option", option.to_string()).to_string()
}

/// The stance of a text.
pub(crate) fn stance(text: &str, reversed: bool, abstention: bool) -> String {
    let Ok(key) = text.parse::<PromptKey>() else {
        return text.to_owned();
    };
    let key = key.with("read", order(reversed));
    if abstention {
        key.with("declining", "allowed").to_string()
    } else {
        key.to_string()
    }
}

/// The text that a stance is of.
pub fn text_of(stance: &str) -> String {
    let key = stance.parse::<PromptKey>();
    let text = key.map(|key| key.without("read").without("declining").to_string());
    text.unwrap_or_else(|_| stance.to_owned())
}

/// A prompt's name in runs of before, as it is called now: `FILE:ROW:ORDER` and what followed.
pub fn of_before(id: &str) -> Option<String> {
    let mut parts = id.splitn(4, ':');
    let (file, row) = (parts.next()?, parts.next()?.parse().ok()?);
    let (what, rest) = (parts.next()?, parts.next());
    if let Some(reversed) = reversed(what) {
        return Some(match rest {
            None => question(file, row, reversed),
            Some("abstention") => abstaining(file, row, reversed),
            Some(rest) => match rest.split_once('=')? {
                ("wording", wording) => worded(file, row, reversed, wording),
                ("value", value) => portrait(file, row, Some(value), reversed),
                _ => return None,
            },
        });
    }
    let text = match what.split_once('=') {
        None if what == "text" => answer_text(file, row),
        None if what == "passage" => passage(file, row),
        Some(("argued", option)) => argued(file, row, option.parse().ok()?),
        _ => return None,
    };
    Some(
        match rest.map(|rest| rest.split_once(':').unwrap_or((rest, ""))) {
            None => text,
            Some((order, "")) => stance(&text, reversed(order)?, false),
            Some((order, "abstention")) => stance(&text, reversed(order)?, true),
            Some(_) => return None,
        },
    )
}

fn reversed(order: &str) -> Option<bool> {
    match order {
        "given" => Some(false),
        "reversed" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_before_are_known() {
        let text = argued("f", 3, 1);
        for (before, now) in [
            ("f:3:given", question("f", 3, false)),
            ("f:3:reversed:abstention", abstaining("f", 3, true)),
            ("f:3:given:wording=my own", worded("f", 3, false, "my own")),
            ("f:3:given:value=", portrait("f", 3, None, false)),
            ("f:3:given:value=a:b", portrait("f", 3, Some("a:b"), false)),
            ("f:3:text", answer_text("f", 3)),
            ("f:3:passage", passage("f", 3)),
            ("f:3:argued=1", text.clone()),
            ("f:3:argued=1:reversed", stance(&text, true, false)),
            (
                "f:3:passage:given:abstention",
                stance(&passage("f", 3), false, true),
            ),
        ] {
            assert_eq!(of_before(before), Some(now), "{before}");
        }
        for other in [
            "",
            "f",
            "f:x:given",
            "f:3:else",
            "f:3:given:else",
            "f:3:passage:up",
        ] {
            assert_eq!(of_before(other), None, "{other}");
        }
    }

    #[test]
    fn a_stance_knows_its_text() {
        let text = argued("f", 3, 1);
        for declining in [false, true] {
            assert_eq!(text_of(&stance(&text, true, declining)), text);
        }
        assert_eq!(
            wording_of(&worded("f", 3, true, "a&b")).as_deref(),
            Some("a&b")
        );
        assert_eq!(wording_of(&question("f", 3, true)), None);
    }
}
