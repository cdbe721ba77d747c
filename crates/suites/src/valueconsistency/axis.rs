//! What answers are compared across.

use concord_findings::Measure;
use serde::Serialize;

/// What answers are compared across. Ordered, stored and written as its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Axis {
    /// Translations of one question.
    #[serde(rename = "multilingual")]
    Languages,
    /// Phrasings of one question.
    #[serde(rename = "paraphrase")]
    Paraphrases,
    /// Not answers but their stances: the probability of support.
    #[serde(rename = "support")]
    Support,
    /// One question answered by letter and by answer text.
    #[serde(rename = "task_format")]
    Formats,
    /// By letter, by answer text and in a passage.
    #[serde(rename = "task_format_all")]
    AllFormats,
    /// By answer text and in a passage.
    #[serde(rename = "task_format_cloze_open")]
    TextsAndPassages,
    /// By letter and in a passage.
    #[serde(rename = "task_format_letter_open")]
    LettersAndPassages,
    /// Questions of one topic, phrasings included.
    #[serde(rename = "topic")]
    Topics,
}

impl Axis {
    /// All of them, as they are listed.
    pub const ALL: [Self; 8] = [
        Self::Paraphrases,
        Self::Topics,
        Self::Languages,
        Self::Formats,
        Self::LettersAndPassages,
        Self::TextsAndPassages,
        Self::AllFormats,
        Self::Support,
    ];

    /// What it is called in a table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Paraphrases => "paraphrases",
            Self::Topics => "topics",
            Self::Languages => "languages",
            Self::Formats => "letter vs cloze",
            Self::LettersAndPassages => "letter vs open",
            Self::TextsAndPassages => "cloze vs open",
            Self::AllFormats => "letter vs cloze vs open",
            Self::Support => "support",
        }
    }

    /// What is measured across it.
    pub fn measure(self) -> Measure {
        match self {
            Self::Support => Measure::Support,
            _ => Measure::Distance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn axes_are_stored_in_the_order_of_their_keys() {
        let mut axes = Axis::ALL;
        axes.sort_unstable();
        let keys = axes.map(|axis| serde_json::to_string(&axis).unwrap());
        assert!(keys.is_sorted(), "{keys:?}");
    }
}
