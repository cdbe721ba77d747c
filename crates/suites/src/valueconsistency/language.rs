//! Whether a text seems to be in the language it should be in.

/// Words that tell languages of one script apart: frequent, short, and not words of the other.
const WORDS: [(&str, &[&str]); 2] = [
    (
        "english",
        &[
            "the", "and", "of", "to", "is", "that", "are", "with", "for", "it", "be", "this", "not",
        ],
    ),
    (
        "german",
        &[
            "der", "die", "das", "und", "ist", "nicht", "ein", "eine", "zu", "den", "mit", "für",
            "von", "dass",
        ],
    ),
];

fn is_han(c: char) -> bool {
    matches!(u32::from(c), 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF)
}

fn is_kana(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30FF)
}

/// Whether a text seems to be in a language: by script for Chinese and Japanese, by frequent words for English and German.
/// What cannot be told, in languages not known here or in texts too short, seems to be what it should be.
pub(crate) fn seems_to_be(text: &str, language: &str) -> bool {
    let count = |is: fn(char) -> bool| text.chars().filter(|c| is(*c)).count();
    let (han, kana, latin) = (
        count(is_han),
        count(is_kana),
        count(|c| c.is_ascii_alphabetic()),
    );
    let eastern = han + kana;
    // Too little to tell.
    if eastern * 4 + latin < 12 {
        return true;
    }
    // A Han character says about as much as a short word.
    let mostly_eastern = eastern * 4 > latin;
    match language {
        "chinese" => mostly_eastern && kana * 10 <= han,
        "japanese" => mostly_eastern && kana * 10 > han,
        "english" | "german" => !mostly_eastern && by_words(text, language),
        _ => true,
    }
}

fn by_words(text: &str, language: &str) -> bool {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphabetic()).collect();
    let hits = |known: &[&str]| words.iter().filter(|word| known.contains(word)).count();
    let own = WORDS.iter().find(|(name, _)| *name == language);
    let own = own.map_or(0, |(_, known)| hits(known));
    let others = WORDS.iter().filter(|(name, _)| *name != language);
    others
        .map(|(_, known)| hits(known))
        .max()
        .is_none_or(|other| other < 3 || own >= other)
}

#[cfg(test)]
mod tests {
    use super::seems_to_be;

    #[test]
    fn languages_are_told_apart() {
        let texts = [
            (
                "english",
                "There are good arguments for the ban, and it is not clear that they are outweighed.",
            ),
            (
                "german",
                "Für das Verbot spricht einiges, und es ist nicht klar, dass die Gründe dagegen überwiegen.",
            ),
            (
                "chinese",
                "支持禁令的理由很多，反对的理由也不少，很难说哪一方更有道理。",
            ),
            (
                "japanese",
                "禁止には賛成の理由も反対の理由もあり、どちらが正しいかは簡単には言えません。",
            ),
        ];
        for (language, _) in texts {
            for (other, text) in texts {
                assert_eq!(
                    seems_to_be(text, language),
                    language == other,
                    "{text} as {language}"
                );
            }
            assert!(
                seems_to_be("", language) && seems_to_be("(B)", language),
                "{language}"
            );
        }
        assert!(seems_to_be("Il y a de bonnes raisons.", "french"));
        assert!(seems_to_be("Yes.", "german"));
    }
}
