//! What stands beside `tokenizer.json` and adds to it: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`.
//!
//! # Source
//! `tokenization_utils_base.py` and `tokenization_utils_tokenizers.py` of transformers 5.24: what they merge, in which order, and
//! which flags win. Tokenizers that transformers builds anew for some families are taken as their `tokenizer.json` has them.

use crate::CheckpointError;
use crate::files::{object, optional};
use crate::tokenizer_class::OfModel;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::AddedToken;

const CONFIG: &str = "tokenizer_config.json";

/// The special tokens that every tokenizer may name, in the order in which they are added.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// The files beside `tokenizer.json`, as far as they are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SideFiles {
    /// `tokenizer_config.json`.
    pub config: Option<Map<String, Value>>,
    /// `special_tokens_map.json`.
    pub map: Option<Map<String, Value>>,
    /// `added_tokens.json`.
    pub added: Option<Map<String, Value>>,
    /// The model that they belong to, where its class of tokenizer may build anew.
    pub model: Option<OfModel>,
}

/// What is put into a tokenizer after it was read.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    /// `tokenizer_config.json` with special tokens as texts, as templates see them.
    pub settings: Map<String, Value>,
    /// In the order in which they get their ids.
    pub tokens: Vec<Token>,
    /// The tokens that are named, by name: each has to be one token.
    pub named: Vec<(String, String)>,
    /// Whether special tokens are cut up like any text.
    pub splits_special: bool,
}

/// A token with its flags.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags that tokenizers have"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Token {
    pub content: String,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub normalized: bool,
    pub special: bool,
}

/// A token as the files name it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Text(String),
    Token(Token),
}

impl Entry {
    fn content(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Token(token) => &token.content,
        }
    }

    /// A text is a special token; an object has its own flags.
    fn of(value: &Value, special: bool) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Object(object) => Token::of(object, special).map(Self::Token),
            _ => None,
        }
    }
}

impl Token {
    fn of(object: &Map<String, Value>, special: bool) -> Option<Self> {
        let flag =
            |key: &str, default: bool| object.get(key).and_then(Value::as_bool).unwrap_or(default);
        let special = special || flag("special", false);
        Some(Self {
            content: object.get("content")?.as_str()?.to_owned(),
            single_word: flag("single_word", false),
            lstrip: flag("lstrip", false),
            rstrip: flag("rstrip", false),
            normalized: flag("normalized", !special),
            special,
        })
    }

    fn plain(content: &str, special: bool) -> Self {
        Self {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: !special,
            special,
        }
    }
}

impl From<&AddedToken> for Token {
    fn from(token: &AddedToken) -> Self {
        Self {
            content: token.content.clone(),
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            normalized: token.normalized,
            special: token.special,
        }
    }
}

impl From<Token> for AddedToken {
    fn from(token: Token) -> Self {
        Self::from(token.content, token.special)
            .single_word(token.single_word)
            .lstrip(token.lstrip)
            .rstrip(token.rstrip)
            .normalized(token.normalized)
    }
}

/// What a tokenizer has of its own, before anything is added.
pub(crate) struct Own {
    /// The added tokens of `tokenizer.json`, by id.
    pub added: BTreeMap<u32, Token>,
    /// Whether they are still in the tokenizer, which is not so where its class built it anew.
    pub are_there: bool,
    /// The names that its class gives to tokens where the files give none.
    pub defaults: &'static [(&'static str, &'static str)],
    /// The token that its padding names.
    pub padding: Option<String>,
}

impl SideFiles {
    /// Reads the files of a folder.
    ///
    /// # Errors
    /// [`CheckpointError::NotJson`], [`CheckpointError::Unreadable`].
    pub fn in_folder(folder: &Path) -> Result<Self, CheckpointError> {
        let read = |name: &str| {
            let bytes = optional(folder, name)?;
            bytes
                .map(|bytes| object(&folder.join(name), &bytes))
                .transpose()
        };
        Ok(Self {
            config: read(CONFIG)?,
            map: read("special_tokens_map.json")?,
            added: read("added_tokens.json")?,
            model: None,
        })
    }

    /// With `tokenizer_config.json` alone.
    pub fn of_config(config: Map<String, Value>) -> Self {
        Self {
            config: Some(config),
            ..Self::default()
        }
    }

    /// These, and those of a base where there is none of a kind; of `tokenizer_config.json` key by key.
    pub fn over(self, base: &Self) -> Self {
        let config = match (&base.config, self.config) {
            (Some(base), Some(own)) => {
                let mut config = base.clone();
                config.extend(own);
                Some(config)
            }
            (base, own) => own.or_else(|| base.clone()),
        };
        Self {
            config,
            map: self.map.or_else(|| base.map.clone()),
            added: self.added.or_else(|| base.added.clone()),
            model: self.model.or_else(|| base.model.clone()),
        }
    }

    /// Whether there is none.
    pub fn are_absent(&self) -> bool {
        self.config.is_none() && self.map.is_none() && self.added.is_none()
    }

    /// What the files add to a tokenizer.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn additions(&self, own: &Own) -> Result<Additions, String> {
        let mut settings = self.config.clone().unwrap_or_default();
        // Where there is a tokenizer.json its post-processor alone decides.
        for key in ["tokenizer_class", "add_bos_token", "add_eos_token"] {
            settings.shift_remove(key);
        }
        let is_empty = |value: Option<&Value>| match value {
            None | Some(Value::Null) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(object)) => object.is_empty(),
            Some(_) => false,
        };
        if is_empty(settings.get("extra_special_tokens"))
            && let Some(additional) = settings.shift_remove("additional_special_tokens")
        {
            settings.insert("extra_special_tokens".into(), additional);
        }
        let mut specific = specific(&mut settings);
        let mut decoder: BTreeMap<i64, Token> = BTreeMap::new();
        if let Some(stated) = settings.get("added_tokens_decoder") {
            let bad = || "`added_tokens_decoder` is not tokens by id".to_owned();
            for (id, value) in stated.as_object().ok_or_else(bad)? {
                let id = id.parse().map_err(|_| bad())?;
                let token = value
                    .as_object()
                    .and_then(|object| Token::of(object, false));
                decoder.insert(id, token.ok_or_else(bad)?);
            }
        } else {
            self.add_older_files(&mut settings, &mut specific, &mut decoder, own)?;
        }
        for (key, text) in own.defaults {
            settings
                .entry((*key).to_owned())
                .or_insert_with(|| (*text).into());
        }
        let find = |entry: Entry| match decoder
            .values()
            .rfind(|token| token.content == entry.content())
        {
            Some(token) => Entry::Token(token.clone()),
            None => entry,
        };
        let mut named: Vec<(String, Entry)> = Vec::new();
        let others = settings
            .keys()
            .filter(|key| key.ends_with("_token") && !NAMED.contains(&key.as_str()));
        let keys: Vec<String> = NAMED
            .iter()
            .map(|key| (*key).to_owned())
            .chain(others.cloned())
            .collect();
        for key in keys {
            match settings.get(&key) {
                None | Some(Value::Null | Value::Bool(false)) => {}
                Some(value) => {
                    let entry =
                        Entry::of(value, true).ok_or_else(|| format!("`{key}` is not a token"))?;
                    let is_named = NAMED.contains(&key.as_str());
                    named.push((key, if is_named { find(entry) } else { entry }));
                }
            }
        }
        if !settings.contains_key("pad_token")
            && let Some(padding) = &own.padding
        {
            named.push(("pad_token".to_owned(), Entry::Text(padding.clone())));
        }
        for (key, entry) in specific {
            match named.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = entry,
                None => named.push((key, entry)),
            }
        }
        let extra = extra(&settings)?;
        let splits_special = match settings.get("split_special_tokens") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(splits)) => *splits,
            Some(_) => return Err("`split_special_tokens` is neither true nor false".to_owned()),
        };
        for (key, entry) in &named {
            settings.insert(key.clone(), entry.content().into());
        }
        let tokens = in_order(decoder.into_values(), &named, extra, own);
        let named = named
            .into_iter()
            .map(|(key, entry)| (key, entry.content().to_owned()));
        Ok(Additions {
            settings,
            tokens,
            named: named.collect(),
            splits_special,
        })
    }

    /// `special_tokens_map.json`, then `added_tokens.json`, then what `tokenizer.json` itself has.
    fn add_older_files(
        &self,
        settings: &mut Map<String, Value>,
        specific: &mut Vec<(String, Entry)>,
        decoder: &mut BTreeMap<i64, Token>,
        own: &Own,
    ) -> Result<(), String> {
        for (key, value) in self.map.iter().flatten() {
            if key == "extra_special_tokens" && value.is_array() {
                let mut list = match settings.get(key) {
                    Some(Value::Array(list)) => list.clone(),
                    _ => Vec::new(),
                };
                for item in value.as_array().into_iter().flatten() {
                    if !list.contains(item) {
                        list.push(item.clone());
                    }
                }
                settings.insert(key.clone(), list.into());
            } else if value.is_object() && key != "extra_special_tokens" {
                let token =
                    Entry::of(value, true).ok_or_else(|| format!("`{key}` is not a token"))?;
                if let Entry::Token(token) = token {
                    settings.insert(key.clone(), json!(token));
                }
            } else {
                settings.insert(key.clone(), value.clone());
            }
        }
        if let Some(Value::Object(object)) = settings.get("extra_special_tokens").cloned() {
            settings.shift_remove("extra_special_tokens");
            take_specific(specific, &object);
        }
        let is_named = |text: &str| {
            let named = NAMED.iter().filter_map(|key| settings.get(*key));
            let extra = settings
                .get("extra_special_tokens")
                .and_then(Value::as_array);
            let mut all = named.chain(extra.into_iter().flatten());
            all.any(|value| Entry::of(value, true).is_some_and(|entry| entry.content() == text))
        };
        for (text, id) in self.added.iter().flatten() {
            let id = id
                .as_i64()
                .ok_or_else(|| format!("added_tokens.json gives `{text}` no id"))?;
            decoder.insert(id, Token::plain(text, is_named(text)));
        }
        for (id, token) in &own.added {
            decoder.insert(i64::from(*id), token.clone());
        }
        Ok(())
    }
}

/// Tokens under names that only this tokenizer has.
fn specific(settings: &mut Map<String, Value>) -> Vec<(String, Entry)> {
    let mut specific = Vec::new();
    if let Some(Value::Object(stated)) = settings.get("model_specific_special_tokens") {
        take_specific(&mut specific, stated);
    }
    let keys: Vec<String> = settings
        .iter()
        .filter(|(key, value)| {
            key.ends_with("_token") && !NAMED.contains(&key.as_str()) && value.is_string()
        })
        .map(|(key, _)| key.clone())
        .collect();
    let extra = match settings.get("extra_special_tokens") {
        Some(Value::Object(object)) => Some(object.clone()),
        _ => None,
    };
    if !keys.is_empty() || extra.is_some() {
        // These take the place of those that are stated.
        specific.clear();
    }
    for key in keys {
        if let Some(Value::String(text)) = settings.shift_remove(&key) {
            specific.push((key, Entry::Text(text)));
        }
    }
    if let Some(object) = extra {
        settings.shift_remove("extra_special_tokens");
        take_specific(&mut specific, &object);
    }
    specific
}

fn take_specific(specific: &mut Vec<(String, Entry)>, object: &Map<String, Value>) {
    for (key, value) in object {
        if let Some(entry) = Entry::of(value, true) {
            match specific.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = entry,
                None => specific.push((key.clone(), entry)),
            }
        }
    }
}

/// The special tokens without a name of their own.
fn extra(settings: &Map<String, Value>) -> Result<Vec<Entry>, String> {
    let key = "extra_special_tokens";
    let key = if settings.contains_key(key) {
        key
    } else {
        "additional_special_tokens"
    };
    match settings.get(key) {
        None | Some(Value::Null | Value::Object(_)) => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|value| {
                Entry::of(value, true)
                    .ok_or_else(|| format!("`{key}` holds {value}, which is not a token"))
            })
            .collect(),
        Some(_) => Err(format!("`{key}` is not a list of tokens")),
    }
}

/// The tokens in the order in which they are added, each with its flags.
fn in_order(
    decoder: impl Iterator<Item = Token>,
    named: &[(String, Entry)],
    extra: Vec<Entry>,
    own: &Own,
) -> Vec<Token> {
    let mut list: Vec<Entry> = decoder.map(Entry::Token).collect();
    let known: Vec<String> = own
        .added
        .values()
        .filter(|_| own.are_there)
        .map(|token| token.content.clone())
        .chain(list.iter().map(|entry| entry.content().to_owned()))
        .collect();
    let others = named.iter().map(|(_, entry)| entry.clone()).chain(extra);
    for entry in others {
        if !known.iter().any(|content| content == entry.content()) && !list.contains(&entry) {
            list.push(entry);
        }
    }
    let is_named = |content: &str| named.iter().any(|(_, entry)| entry.content() == content);
    let tokens = list.into_iter().map(|entry| match entry {
        Entry::Text(text) => Token::plain(&text, true),
        Entry::Token(mut token) => {
            token.special |= is_named(&token.content);
            token
        }
    });
    tokens.filter(|token| !token.content.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChatTemplate, Vocabulary};
    use concord_readings::Message;

    const GOLDEN: &str = include_str!("../../../tests/golden/side-files.json");

    /// A case's files as a folder has them.
    fn beside(case: &Value) -> SideFiles {
        let file = |name: &str| case["files"].get(name).and_then(Value::as_object).cloned();
        SideFiles {
            config: file(CONFIG),
            map: file("special_tokens_map.json"),
            added: file("added_tokens.json"),
            model: Some(
                file("config.json").map_or_else(OfModel::default, |config| OfModel::of(&config)),
            ),
        }
    }

    fn ids(value: &Value) -> Vec<u32> {
        serde_json::from_value(value.clone()).unwrap()
    }

    /// Tokenizers as transformers loads them (`tests/golden/side_files.py`), those included that it builds anew: ids of texts, of
    /// conversations, and what templates see.
    #[test]
    fn texts_become_the_tokens_of_transformers() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let messages: Vec<Message> = serde_json::from_value(golden["messages"].clone()).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        let mut wrong = Vec::new();
        let mut looked = 0;
        for case in cases {
            // Without merges, and at random between the two: ours has all of them, as `dropout-zero` has.
            if case["name"] == "dropout-one" {
                continue;
            }
            looked += 1;
            let mut tokenizer = golden["tokenizer"].clone();
            for (key, value) in case["replaces"].as_object().into_iter().flatten() {
                // Of the model, some settings.
                match value.as_object().filter(|_| key == "model") {
                    Some(settings) => settings
                        .iter()
                        .for_each(|(key, value)| tokenizer["model"][key] = value.clone()),
                    None => tokenizer[key] = value.clone(),
                }
            }
            let bytes = tokenizer.to_string();
            let path = Path::new("tokenizer.json");
            let parsed = Vocabulary::parse(path, bytes.as_bytes(), &beside(case), 400);
            let (vocabulary, settings, _) = match parsed {
                Ok(parsed) => parsed,
                Err(error) => {
                    wrong.push(format!("{}: {error}", case["name"]));
                    continue;
                }
            };
            let texts = case["texts"].as_array().unwrap().iter();
            for ((text, with), bare) in texts
                .zip(case["ids"].as_array().unwrap())
                .zip(case["bare"].as_array().unwrap())
            {
                let (with, bare) = (ids(with), ids(bare));
                let text = text.as_str().unwrap();
                if vocabulary.rendered(text).unwrap() != bare {
                    wrong.push(format!("{}: {text:?}", case["name"]));
                }
                // What follows a text is left out, and what it begins with is not doubled.
                let at = with
                    .windows(bare.len().max(1))
                    .position(|part| part == bare);
                let before = &with[..at.filter(|_| !bare.is_empty()).unwrap_or(0)];
                if !bare.is_empty() && !bare.starts_with(before) {
                    let expected = [before, &bare].concat();
                    if vocabulary.text(text).unwrap() != expected {
                        wrong.push(format!(
                            "{}: {text:?} with what stands before it",
                            case["name"]
                        ));
                    }
                }
            }
            let template =
                ChatTemplate::parse(golden["template"].as_str().unwrap(), &settings).unwrap();
            let rendered = template.render(&messages).unwrap();
            if case["rendered"] != rendered.as_str()
                || vocabulary.rendered(&rendered).unwrap() != ids(&case["chat"])
            {
                wrong.push(format!("{}: the conversation", case["name"]));
            }
        }
        assert!(looked >= 55, "{looked}");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let bytes = golden["tokenizer"].to_string();
        let parsed = |config: Value| {
            let beside = SideFiles::of_config(config.as_object().unwrap().clone());
            Vocabulary::parse(Path::new("t"), bytes.as_bytes(), &beside, 400)
                .map(|(vocabulary, ..)| vocabulary)
        };
        let refused = |config: Value| parsed(config).err().unwrap().to_string();
        assert!(
            refused(json!({ "added_tokens_decoder": { "264": "<n>" } }))
                .contains("added_tokens_decoder")
        );
        assert!(refused(json!({ "eos_token": 7 })).contains("`eos_token` is not a token"));
        assert!(refused(json!({ "extra_special_tokens": "x" })).contains("not a list"));
        assert!(refused(json!({ "split_special_tokens": "x" })).contains("neither"));
        // Two marks of which one begins with the other: the longer one must be found.
        let inside = json!({ "eos_token": "<n>x", "pad_token": "<n>" });
        assert_eq!(parsed(inside).unwrap().rendered("<n>x").unwrap().len(), 1);
        // As transformers wrote it before its fifth version, without a type: read all the same.
        let untyped = json!({ "eos_token": { "content": "<n>", "rstrip": true, "special": true } });
        assert_eq!(parsed(untyped).unwrap().rendered("<n>  ").unwrap().len(), 1);
    }

    #[test]
    fn the_digest_knows_what_is_added() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let bytes = golden["tokenizer"].to_string();
        let digest = |config: Option<Value>| {
            let config = config.map(|config| config.as_object().unwrap().clone());
            let beside = SideFiles {
                config,
                ..SideFiles::default()
            };
            Vocabulary::parse(Path::new("t"), bytes.as_bytes(), &beside, 400)
                .unwrap()
                .2
        };
        let plain = digest(None);
        assert_eq!(
            digest(Some(
                json!({ "added_tokens_decoder": {}, "model_max_length": 7 })
            )),
            plain
        );
        let one = digest(Some(json!({ "extra_special_tokens": ["<n>"] })));
        let other = digest(Some(json!({ "extra_special_tokens": ["<m>"] })));
        let cut = digest(Some(
            json!({ "extra_special_tokens": ["<n>"], "split_special_tokens": true }),
        ));
        let all = std::collections::BTreeSet::from([plain, one, other, cut]);
        assert_eq!(all.len(), 4);
    }
}
