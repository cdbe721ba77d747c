//! What is chosen from.

use concord_readings::{End, Strings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a set is of, which decides how it is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Consecutive whole numbers.
    Number,
    /// The faces of a die.
    Die,
    /// The sides of a coin.
    Coin,
    /// The suits of playing cards.
    Suit,
    /// The letters of the alphabet.
    Letter,
    /// A list of words.
    Choice,
    /// Places to hide.
    Hiding,
}

/// All kinds, in the order in which files have them.
pub const KINDS: [Kind; 7] = [
    Kind::Number,
    Kind::Die,
    Kind::Coin,
    Kind::Suit,
    Kind::Letter,
    Kind::Choice,
    Kind::Hiding,
];

/// Something that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Member {
    /// What it is called in findings.
    pub name: String,
    /// What it is called in a language, where that differs.
    pub words: BTreeMap<String, String>,
}

/// A member as files may have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Words(Words),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    name: String,
    #[serde(default)]
    words: BTreeMap<String, String>,
}

impl From<Written> for Member {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(name) => Self {
                name,
                words: BTreeMap::new(),
            },
            Written::Words(Words { name, words }) => Self { name, words },
        }
    }
}

impl Member {
    /// What it is called in a language.
    pub fn word(&self, language: &str) -> &str {
        self.words.get(language).unwrap_or(&self.name)
    }
}

/// A set to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// What the user calls it.
    pub name: String,
    /// What it is of.
    #[serde(default = "choice")]
    pub kind: Kind,
    /// What can be chosen, two members or more.
    pub members: Vec<Member>,
}

fn choice() -> Kind {
    Kind::Choice
}

/// A file is damaged that is part of the program.
#[derive(Debug, thiserror::Error)]
#[error("the program's own data: {0}")]
pub struct OwnData(#[from] pub serde_json::Error);

/// The project's own sets.
///
/// # Errors
/// None in a program that passed its tests.
pub fn own() -> Result<Vec<Set>, OwnData> {
    Ok(serde_json::from_str(include_str!(
        "../../data/randomness/sets.json"
    ))?)
}

impl Set {
    /// A set of the user's own; consecutive whole numbers are asked for as such.
    pub fn of(name: &str, members: &[&str]) -> Self {
        let members = members.iter().map(|member| Member {
            name: (*member).to_owned(),
            words: BTreeMap::new(),
        });
        Self {
            name: name.to_owned(),
            kind: Kind::Choice,
            members: members.collect(),
        }
        .recognised()
    }

    /// The same, as numbers where it is a list of consecutive ones.
    #[must_use]
    pub fn recognised(mut self) -> Self {
        let numbers: Option<Vec<i64>> = self
            .members
            .iter()
            .map(|member| {
                let number = member.name.parse::<i64>().ok()?;
                (member.words.is_empty() && number.to_string() == member.name).then_some(number)
            })
            .collect();
        let consecutive = |numbers: &Vec<i64>| {
            numbers
                .windows(2)
                .all(|two| two[0].checked_add(1) == Some(two[1]))
        };
        if self.kind == Kind::Choice && numbers.as_ref().is_some_and(consecutive) {
            self.kind = Kind::Number;
        }
        self
    }

    /// The names of its members.
    pub fn names(&self) -> Vec<String> {
        let names = self.members.iter().map(|member| member.name.clone());
        names.collect()
    }

    /// Its members in a language.
    pub fn words(&self, language: &str) -> Vec<&str> {
        let words = self.members.iter().map(|member| member.word(language));
        words.collect()
    }

    /// Which member is the number 7, where one is and the set is of numbers.
    pub fn seven(&self) -> Option<usize> {
        let is_seven = |member: &Member| member.name == "7";
        let seven = self.members.iter().position(is_seven);
        seven.filter(|_| self.kind == Kind::Number)
    }

    /// Whether its members are listed where it is asked about.
    pub fn is_listed(&self) -> bool {
        matches!(
            self.kind,
            Kind::Coin | Kind::Suit | Kind::Choice | Kind::Hiding
        )
    }

    /// The ways to write each member in a language.
    pub fn spellings(&self, language: &str) -> Vec<Vec<String>> {
        let words = self.members.iter().map(|member| member.word(language));
        words.map(|word| spellings(word, self.kind)).collect()
    }

    /// What is read after a prompt: every spelling of every member.
    pub fn read(&self, language: &str, leads: &[&str]) -> Strings {
        Strings {
            texts: self.spellings(language).concat(),
            leads: leads.iter().map(|lead| (*lead).to_owned()).collect(),
            end: end(&self.words(language)),
        }
    }

    /// Says what is wrong with it, if anything is, in any of some languages.
    ///
    /// # Errors
    /// A sentence: too few members, repeated ones, or two that cannot be told apart.
    pub fn check(&self, languages: &[String]) -> Result<(), String> {
        let name = &self.name;
        if name.trim().is_empty() {
            return Err("a set has no name".to_owned());
        }
        if self.members.len() < 2 {
            let count = self.members.len();
            return Err(format!(
                "the set `{name}` has {count} member{}: a choice needs two",
                if count == 1 { "" } else { "s" }
            ));
        }
        for (at, member) in self.members.iter().enumerate() {
            if self.members[..at].iter().any(|m| m.name == member.name) {
                let member = &member.name;
                return Err(format!("the set `{name}` has `{member}` more than once"));
            }
        }
        languages
            .iter()
            .try_for_each(|language| self.check_in(language))
    }

    fn check_in(&self, language: &str) -> Result<(), String> {
        let (name, words) = (&self.name, self.words(language));
        if let Some(word) = words
            .iter()
            .find(|word| word.trim() != **word || word.is_empty())
        {
            return Err(format!(
                "the set `{name}` has a member that is empty, or begins or ends with a space: `{word}`"
            ));
        }
        let (end, spelt) = (end(&words), self.spellings(language));
        if let Some(other) = words.iter().find(|word| end_of(word) != end) {
            let first = words[0];
            return Err(format!(
                "the set `{name}`: `{first}` and `{other}` end in different ways (digit, letter, character of a script without spaces) \
                 and cannot be read alike"
            ));
        }
        for (at, one) in spelt.iter().enumerate() {
            for (other, others) in spelt.iter().enumerate().filter(|(other, _)| *other != at) {
                let pairs = one.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
                for (short, long) in pairs {
                    let Some(rest) = long.strip_prefix(short.as_str()) else {
                        continue;
                    };
                    if !goes_on(end, rest) {
                        let (a, b) = (words[at], words[other]);
                        return Err(format!(
                            "the set `{name}`: what begins with `{b}` cannot be told from `{a}`"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a text that goes on with `rest` counts as having gone on.
fn goes_on(end: End, rest: &str) -> bool {
    match (end, rest.chars().next()) {
        (End::Digit, Some(c)) => c.is_ascii_digit(),
        (End::Letter, Some(c)) => c.is_alphabetic(),
        _ => false,
    }
}

/// The ways to write a word: with its first letter small and capital, where it has such. Numbers and single letters are written
/// in one way.
pub(crate) fn spellings(word: &str, kind: Kind) -> Vec<String> {
    let mut letters = word.chars();
    let Some(first) = letters.next() else {
        return vec![String::new()];
    };
    if matches!(kind, Kind::Number | Kind::Die | Kind::Letter) {
        return vec![word.to_owned()];
    }
    let rest = letters.as_str();
    let small: String = first.to_lowercase().chain(rest.chars()).collect();
    let capital: String = first.to_uppercase().chain(rest.chars()).collect();
    let mut all = vec![word.to_owned()];
    for other in [small, capital] {
        if !all.contains(&other) {
            all.push(other);
        }
    }
    all
}

/// What would go on with a word: a digit with what ends in one, a letter with what ends in a letter, nothing with words of scripts that
/// have no spaces between words, and with what ends in another character.
fn end_of(word: &str) -> End {
    // Thai to Myanmar, Khmer, kana, Han.
    let has_no_spaces = |c: char| {
        matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3005 | 0x3040..=0x30FF
            | 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x3_FFFF)
    };
    match word.chars().next_back() {
        Some(c) if c.is_ascii_digit() => End::Digit,
        Some(c) if c.is_alphabetic() && !has_no_spaces(c) => End::Letter,
        _ => End::Any,
    }
}

/// What would go on with members, which is the same for all of a set that was checked.
pub(crate) fn end(words: &[&str]) -> End {
    words.first().map_or(End::Any, |word| end_of(word))
}

#[cfg(test)]
mod tests {
    use super::super::wordings::LANGUAGES;
    use super::*;

    fn languages() -> Vec<String> {
        LANGUAGES.map(str::to_owned).into()
    }

    #[test]
    fn what_goes_on_with_a_word_is_known_by_its_end() {
        for (words, expected) in [
            (&["7", "10", "-3"][..], End::Digit),
            (&["rock", "Ei", "가위", "ورق"], End::Letter),
            (&["石头", "グー", "พลอย"], End::Any),
            (&["!", "?"], End::Any),
        ] {
            assert!(
                words.iter().all(|word| end_of(word) == expected),
                "{words:?}"
            );
        }
    }

    #[test]
    fn own_sets_can_be_told_apart_in_every_language() {
        let sets = own().unwrap();
        for set in &sets {
            set.check(&languages()).unwrap();
        }
        let sizes: Vec<usize> = sets.iter().map(|set| set.members.len()).collect();
        assert_eq!(sizes, [11, 10, 6, 2, 4, 26, 5, 5]);
        let coin = &sets[3];
        assert_eq!(coin.spellings("english")[0], ["heads", "Heads"]);
        assert_eq!(coin.spellings("german")[1], ["Zahl", "zahl"]);
        assert_eq!(coin.spellings("chinese")[1], ["反面"]);
        let ends = ["english", "german", "chinese", "japanese"].map(|l| end(&coin.words(l)));
        assert_eq!(ends, [End::Letter, End::Letter, End::Any, End::Any]);
        assert_eq!(sets[0].read("english", &[""]).end, End::Digit);
        assert_eq!(sets[0].seven(), Some(7));
        assert_eq!(coin.seven(), None);
    }

    #[test]
    fn sets_that_cannot_be_measured_are_refused() {
        let wrong = |members: &[&str]| Set::of("mine", members).check(&languages()).unwrap_err();
        assert!(wrong(&["a"]).contains("has 1 member:"));
        assert!(wrong(&[]).contains("has 0 members"));
        assert!(wrong(&["red", "blue", "red"]).contains("`red` more than once"));
        assert!(wrong(&["red", "Red"]).contains("cannot be told"));
        assert!(wrong(&["red", "red wine"]).contains("`red wine` cannot be told from `red`"));
        assert!(wrong(&["上", "上海"]).contains("cannot be told"));
        assert!(wrong(&["1", "1.5"]).contains("cannot be told"));
        assert!(wrong(&["1", "x"]).contains("`1` and `x` end in different ways"));
        assert!(wrong(&["A", "上海"]).contains("end in different ways"));
        assert!(wrong(&["red", ""]).contains("is empty"));
        assert!(wrong(&["red", " blue"]).contains("begins or ends with a space"));
        for right in [
            &["1", "12", "-1"][..],
            &["red", "redder"],
            &["a1", "a12"],
            &["да", "нет"],
            &["上海", "北京"],
        ] {
            assert_eq!(Set::of("mine", right).check(&languages()), Ok(()));
        }
    }

    #[test]
    fn consecutive_numbers_are_asked_for_as_numbers() {
        assert_eq!(Set::of("n", &["3", "4", "5"]).kind, Kind::Number);
        assert_eq!(Set::of("n", &["3", "5"]).kind, Kind::Choice);
        assert_eq!(Set::of("n", &["03", "04"]).kind, Kind::Choice);
        let written = r#"{"name": "n", "members": ["a", {"name": "b", "words": {"german": "c"}}]}"#;
        let set: Set = serde_json::from_str(written).unwrap();
        assert_eq!(set.words("german"), ["a", "c"]);
        let again = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<Set>(&again).unwrap(), set);
    }
}
