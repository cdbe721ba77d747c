//! What a question is.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Where an answer stands towards the topic.
///
/// The order is the alphabetical one in which distributions over stances are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stance {
    /// Neither side.
    Neutral,
    /// Against.
    Opposes,
    /// In favour.
    Supports,
}

impl Stance {
    /// The stance with this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "supports" => Some(Self::Supports),
            "opposes" => Some(Self::Opposes),
            "neutral" => Some(Self::Neutral),
            _ => None,
        }
    }
}

/// Where the questions of a file come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// Whether people are thought to disagree about the topics.
    pub controversial: bool,
    /// The language asked in, for example `english`.
    pub language: String,
    /// The country the topics are about, for example `us`.
    pub country: String,
}

impl Origin {
    /// `controversial` or `uncontroversial`.
    pub fn controversy(&self) -> &'static str {
        if self.controversial {
            "controversial"
        } else {
            "uncontroversial"
        }
    }

    /// The file name (without ending) that stands for this origin.
    pub fn file_name(&self) -> String {
        format!("{}_{}_{}", self.controversy(), self.language, self.country)
    }

    /// Reads `{controversial|uncontroversial}_{language}_{country}`.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let mut parts = name.splitn(3, '_');
        let controversial = match parts.next()? {
            "controversial" => true,
            "uncontroversial" => false,
            _ => return None,
        };
        let (language, country) = (parts.next()?, parts.next()?);
        let named =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '-');
        (named(language) && named(country)).then(|| Self {
            controversial,
            language: language.to_owned(),
            country: country.to_owned(),
        })
    }
}

/// One phrasing of one question.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    /// The topic, in the language of the file.
    pub topic: String,
    /// The topic in English; absent for six questions each of two files of the real set.
    pub topic_english: Option<String>,
    /// The phrasing.
    pub question: String,
    /// The phrasing that this one paraphrases, or the same text.
    pub original: String,
    /// The original in English.
    pub original_english: Option<String>,
    /// Whether this is a paraphrase. Derived: true where `question` differs from `original`. The real set spells it as
    /// 0/1 in one file and as a boolean in the others, and its documentation has the meaning inverted.
    pub rephrase: bool,
    /// The answers in file order, each with its stance.
    pub options: Vec<(String, Stance)>,
}

impl Question {
    /// The stances of the options, sorted, without repetition: the layout of this question's answer distribution.
    pub fn stances(&self) -> Vec<Stance> {
        let mut stances: Vec<Stance> = self.options.iter().map(|(_, stance)| *stance).collect();
        stances.sort_unstable();
        stances.dedup();
        stances
    }

    /// The topic in English where it is known, else in the file's language.
    pub fn topic_name(&self) -> &str {
        self.topic_english.as_deref().unwrap_or(&self.topic)
    }
}

/// The questions of one origin, in file order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionFile {
    /// The file name without its ending.
    pub name: String,
    /// Language, country, controversy.
    pub origin: Origin,
    /// The rows.
    pub questions: Vec<Question>,
}

impl QuestionFile {
    /// What each topic of the file is called wherever it is shown: in English where that is known. Where two names stand for one topic,
    /// or one name for two, topics are called as in the file.
    pub fn topic_names(&self) -> HashMap<&str, &str> {
        let (mut names, mut topics) = (HashMap::new(), HashMap::new());
        let mut each_its_own = true;
        for question in &self.questions {
            let (topic, name) = (question.topic.as_str(), question.topic_name());
            each_its_own &= *names.entry(topic).or_insert(name) == name;
            each_its_own &= *topics.entry(name).or_insert(topic) == topic;
        }
        if !each_its_own {
            for (topic, name) in &mut names {
                *name = topic;
            }
        }
        names
    }
}

/// A value that a PVQ item can be answered by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PvqValue {
    /// The word for "value" in the file's language.
    pub vrd: String,
    /// The value's name in the file's language.
    pub text: String,
    /// The value's name in English.
    pub text_english: String,
}

/// One item of the Portrait Values Questionnaire (PVQ-21).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PvqItem {
    /// The description of a person.
    pub statement: String,
    /// The Schwartz value that the item measures.
    pub schwartz_value: String,
    /// The values that it may be answered by.
    pub values: Vec<PvqValue>,
    /// Instructions and description.
    pub question: String,
    /// The answers with their stances.
    pub options: Vec<(String, Stance)>,
}

impl PvqItem {
    /// Why a portrait cannot be measured with those that begin with `first`, and the field that it is in: they have one list of values,
    /// each once, and two stances.
    pub(crate) fn problem(&self, first: &Self) -> Option<(&'static str, &'static str)> {
        if first.values != self.values {
            return Some(("values", "are not those of the first portrait"));
        }
        let names = self.values.iter().map(|value| value.text_english.as_str());
        let mut names: Vec<&str> = names.chain(["Static"]).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            let problem =
                "name one value twice, or `Static`, which stands for no value in particular";
            return Some(("values", problem));
        }
        let mut stances = self.options.iter().map(|(_, stance)| *stance);
        let neutral = stances.any(|stance| stance == Stance::Neutral);
        neutral.then_some(("options", "of a portrait support or oppose"))
    }
}

/// The PVQ items of one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PvqFile {
    /// The file name without its ending.
    pub name: String,
    /// The language.
    pub language: String,
    /// The items.
    pub items: Vec<PvqItem>,
}

/// Everything that was read from one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionSet {
    /// Question files, by name.
    pub files: Vec<QuestionFile>,
    /// PVQ files, by name.
    pub pvq: Vec<PvqFile>,
    /// By file, the originals whose paraphrases people found to ask the same. Files that nobody was asked about are absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub validated: BTreeMap<String, BTreeSet<String>>,
    /// What lies in the folder that was read and is not read, though it may have been meant.
    #[serde(skip)]
    pub unread: Vec<String>,
}

impl QuestionSet {
    /// What is wrong with a set that did not come from the reader of question files, such as a stored run's: what cannot be measured, or
    /// only in a time without end. The reader of files refuses each of these with its line.
    pub fn problem(&self) -> Option<String> {
        const MOST_FILES: usize = 1_000;
        const MOST_QUESTIONS: usize = 200_000;
        const MOST_OF_A_TOPIC: usize = 10_000;
        const LONGEST_NAME: usize = 255;
        let names = self.files.iter().map(|file| &file.name);
        let names: Vec<&String> = names
            .chain(self.pvq.iter().map(|file| &file.name))
            .collect();
        let bad_name =
            |name: &&&String| name.is_empty() || name.len() > LONGEST_NAME || name.contains(':');
        if let Some(name) = names.iter().find(bad_name) {
            return Some(format!("`{name}` is not the name of a question file"));
        }
        let mut seen = BTreeSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(**name)) {
            return Some(format!("two files of questions are called `{name}`"));
        }
        let mut origins = HashSet::new();
        if let Some(file) = self.files.iter().find(|file| !origins.insert(&file.origin)) {
            return Some(format!(
                "two files hold questions of one origin, `{}` one of them",
                file.name
            ));
        }
        if self.files.len() + self.pvq.len() > MOST_FILES || self.len() > MOST_QUESTIONS {
            return Some(format!(
                "more than {MOST_FILES} files or {MOST_QUESTIONS} questions"
            ));
        }
        for file in &self.files {
            let mut topics: HashMap<&str, usize> = HashMap::new();
            for (row, question) in file.questions.iter().enumerate() {
                let of_topic = topics.entry(&question.topic).or_default();
                *of_topic += 1;
                if *of_topic > MOST_OF_A_TOPIC {
                    return Some(format!(
                        "`{}` asks more than {MOST_OF_A_TOPIC} questions on one topic",
                        file.name
                    ));
                }
                if let Some(problem) = options_problem(&question.options) {
                    return Some(format!("question {row} of `{}` {problem}", file.name));
                }
            }
        }
        let mut languages = BTreeSet::new();
        for file in &self.pvq {
            if !languages.insert(&file.language) {
                return Some(format!("two files hold portraits in `{}`", file.language));
            }
            for (row, item) in file.items.iter().enumerate() {
                let fits = item.problem(&file.items[0]).is_none();
                if !fits || options_problem(&item.options).is_some() {
                    return Some(format!(
                        "portrait {row} of `{}` cannot be measured with the others",
                        file.name
                    ));
                }
            }
        }
        None
    }

    /// How many questions there are, PVQ items not counted.
    pub fn len(&self) -> usize {
        self.files.iter().map(|file| file.questions.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The languages, sorted.
    pub fn languages(&self) -> Vec<String> {
        let mut languages: Vec<String> = self
            .files
            .iter()
            .map(|file| file.origin.language.clone())
            .collect();
        languages.sort_unstable();
        languages.dedup();
        languages
    }

    /// Keeps the files of these languages.
    pub fn keep_languages(&mut self, languages: &[String]) {
        self.files
            .retain(|file| languages.contains(&file.origin.language));
        self.pvq.retain(|file| languages.contains(&file.language));
    }

    /// The questions that a test chooses.
    pub fn choose(&self, test: impl Fn(&QuestionFile, &Question) -> bool) -> Chosen {
        self.choose_rows(|file, _, question| test(file, question))
    }

    /// The questions that a test chooses, which is told their rows as well.
    pub fn choose_rows(&self, test: impl Fn(&QuestionFile, usize, &Question) -> bool) -> Chosen {
        let rows = |file: &QuestionFile| {
            let rows = file.questions.iter().enumerate();
            rows.map(|(row, question)| test(file, row, question))
                .collect()
        };
        let files = self
            .files
            .iter()
            .map(|file| (file.name.clone(), rows(file)));
        Chosen(Some(files.collect()))
    }

    /// Keeps what was chosen of these questions, and portraits in the languages that are left.
    pub fn keep(&mut self, chosen: &Chosen) {
        for file in &mut self.files {
            chosen.retain(&file.name, &mut file.questions);
        }
        self.files.retain(|file| !file.questions.is_empty());
        let languages = self.languages();
        self.pvq.retain(|file| languages.contains(&file.language));
    }

    /// Keeps the first `limit` originals of each country with all of their phrasings, so that every group stays whole. Files
    /// of one country keep the same originals, matched by their English text, so that languages can still be compared.
    pub fn keep_first_originals(&mut self, limit: usize) {
        let mut kept: HashMap<(bool, String), Vec<String>> = HashMap::new();
        for file in &mut self.files {
            let key = (file.origin.controversial, file.origin.country.clone());
            let english = |question: &Question| {
                question
                    .original_english
                    .clone()
                    .unwrap_or_else(|| question.original.clone())
            };
            let kept = kept.entry(key).or_insert_with(|| {
                let mut first: Vec<String> = Vec::new();
                for question in &file.questions {
                    let original = english(question);
                    if first.len() < limit && !first.contains(&original) {
                        first.push(original);
                    }
                }
                first
            });
            file.questions
                .retain(|question| kept.contains(&english(question)));
        }
        self.files.retain(|file| !file.questions.is_empty());
    }

    /// The digest of everything that was read, independent of white space and field order in the files.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        for file in &self.files {
            field(&file.name);
            for question in &file.questions {
                field(&question.topic);
                field(question.topic_english.as_deref().unwrap_or(""));
                field(&question.question);
                field(&question.original);
                field(question.original_english.as_deref().unwrap_or(""));
                for (text, stance) in &question.options {
                    field(text);
                    field(&format!("{stance:?}"));
                }
            }
        }
        for file in &self.pvq {
            field(&file.name);
            for item in &file.items {
                field(&item.question);
                field(&item.schwartz_value);
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// The most answers of a question: one for each letter.
const MOST_OPTIONS: usize = 26;

/// What is wrong with the answers of a question.
pub(crate) fn options_problem(options: &[(String, Stance)]) -> Option<&'static str> {
    let has = |stance| options.iter().any(|(_, found)| *found == stance);
    if options.len() > MOST_OPTIONS {
        return Some("has more than 26 answers, one for each letter");
    }
    let both = has(Stance::Supports) && has(Stance::Opposes);
    (!both).then_some("needs at least one answer that supports and one that opposes")
}

/// Which questions of a set were chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen(Option<BTreeMap<String, Vec<bool>>>);

impl Chosen {
    /// All of them.
    pub fn all() -> Self {
        Self(None)
    }

    /// Whether a row of a file is among them.
    pub fn has(&self, file: &str, row: usize) -> bool {
        let Some(files) = &self.0 else { return true };
        files
            .get(file)
            .and_then(|rows| rows.get(row))
            .is_some_and(|chosen| *chosen)
    }

    /// Keeps what belongs to the chosen rows of a file.
    pub fn retain<T>(&self, file: &str, rows: &mut Vec<T>) {
        let mut row = 0;
        rows.retain(|_| {
            row += 1;
            self.has(file, row - 1)
        });
    }

    /// Whether nothing was chosen.
    pub fn is_empty(&self) -> bool {
        let Some(files) = &self.0 else { return false };
        !files.values().flatten().any(|chosen| *chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_keeps_the_same_originals_in_every_language() {
        let mut set = crate::demo().unwrap();
        // Another order in one file must not lead to other originals.
        let german = set
            .files
            .iter_mut()
            .find(|file| file.name == "controversial_german_world")
            .unwrap();
        german.questions.rotate_left(25);
        set.keep_first_originals(2);
        assert_eq!(set.len(), 8 * 2 * 5);
        let originals = |name: &str| {
            let file = set.files.iter().find(|file| file.name == name).unwrap();
            let mut originals: Vec<_> = file
                .questions
                .iter()
                .map(|q| q.original_english.clone())
                .collect();
            originals.sort();
            originals
        };
        assert_eq!(
            originals("controversial_german_world"),
            originals("controversial_english_world")
        );
    }

    #[test]
    fn an_origin_survives_its_file_name() {
        for name in ["controversial_english_us", "uncontroversial_japanese_japan"] {
            assert_eq!(Origin::from_file_name(name).unwrap().file_name(), name);
        }
        for name in [
            "pvq_english",
            "controversial_english",
            "notes",
            "controversial__us",
        ] {
            assert_eq!(Origin::from_file_name(name), None, "{name}");
        }
    }
}
