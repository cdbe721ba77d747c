//! A file's vocabulary as a `tokenizer.json`.

use super::container::Value;
use super::{Pre, Table};
use crate::CheckpointError;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Kinds of tokens, as `tokenizer.ggml.token_type` numbers them.
const UNKNOWN: i128 = 2;
const CONTROL: i128 = 3;
const USER_DEFINED: i128 = 4;
/// Bytes of a token; merges are found by trying every cut.
const LONGEST_TOKEN: usize = 1 << 10;

/// Builds the tokenizer.
///
/// # Errors
/// [`CheckpointError::GgufNotRead`] for a vocabulary that is incomplete, or of a kind or a pre-tokenizer that is not known.
///
/// # Source
/// The tokenizers that transformers (5.23) builds for the same checkpoints: `LlamaTokenizer`, `GemmaTokenizer`,
/// `generate_merges`.
pub(crate) fn tokenizer(
    path: &Path,
    metadata: &BTreeMap<String, Value>,
) -> Result<Json, CheckpointError> {
    let vocabulary = Vocabulary { metadata };
    vocabulary
        .read(&Table::load())
        .map_err(|problem| CheckpointError::GgufNotRead {
            path: path.to_owned(),
            problem,
        })
}

/// The tokens that have a name, by the name that templates know and by the file's.
const NAMED: [(&str, &str); 5] = [
    ("bos_token", "bos_token_id"),
    ("eos_token", "eos_token_id"),
    ("eot_token", "eot_token_id"),
    ("unk_token", "unknown_token_id"),
    ("pad_token", "padding_token_id"),
];

/// What a `tokenizer_config.json` would say: special tokens and the chat template, as far as the file has them.
pub(crate) fn settings(metadata: &BTreeMap<String, Value>) -> Map<String, Json> {
    let vocabulary = Vocabulary { metadata };
    let tokens = vocabulary.texts("tokens").unwrap_or_default();
    let special = |key: &str| -> Json {
        let id = vocabulary.id(key, &tokens).ok().flatten();
        json!(id.map(|id| tokens[id]))
    };
    let template = metadata.get("tokenizer.chat_template");
    let named = NAMED.iter().map(|(name, key)| (*name, special(key)));
    let template = ("chat_template", json!(template.and_then(Value::text)));
    named
        .chain([template])
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

struct Vocabulary<'a> {
    metadata: &'a BTreeMap<String, Value>,
}

impl<'a> Vocabulary<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn texts(&self, key: &str) -> Result<Vec<&'a str>, String> {
        let list = self
            .get(key)
            .and_then(Value::list)
            .ok_or_else(|| format!("no list `tokenizer.ggml.{key}`; put the checkpoint's tokenizer.json beside the file"))?;
        let texts: Option<Vec<&str>> = list.iter().map(Value::text).collect();
        texts.ok_or_else(|| format!("`tokenizer.ggml.{key}` holds more than texts"))
    }

    fn id(&self, key: &str, tokens: &[&str]) -> Result<Option<usize>, String> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let id = value.whole().and_then(|id| usize::try_from(id).ok());
        match id {
            Some(id) if id < tokens.len() => Ok(Some(id)),
            _ => Err(format!("`tokenizer.ggml.{key}` is not a token: {value:?}")),
        }
    }

    fn read(&self, table: &Table) -> Result<Json, String> {
        let kind = self.get("model").and_then(Value::text).unwrap_or_default();
        let tokens = self.texts("tokens")?;
        if let Some(long) = tokens.iter().find(|token| token.len() > LONGEST_TOKEN) {
            return Err(format!("a token of {} bytes", long.len()));
        }
        let types: Vec<i128> = match self.get("token_type").and_then(Value::list) {
            Some(list) if list.len() == tokens.len() => {
                list.iter().map(|kind| kind.whole().unwrap_or(1)).collect()
            }
            Some(list) => {
                return Err(format!(
                    "{} tokens, but {} token types",
                    tokens.len(),
                    list.len()
                ));
            }
            None => vec![1; tokens.len()],
        };
        let bos = self.id("bos_token_id", &tokens)?;
        let unknown = self.id("unknown_token_id", &tokens)?;
        let ids: HashMap<&str, usize> = tokens.iter().copied().zip(0..).collect();
        // What has a name is one token wherever it is written, whatever type the file gives it.
        let named = NAMED.iter().map(|(_, key)| self.id(key, &tokens));
        let named = named.collect::<Result<Vec<_>, _>>()?;
        let special =
            |id: usize, kind: i128| kind == CONTROL || kind == UNKNOWN || named.contains(&Some(id));
        let added: Vec<Json> = types
            .iter()
            .enumerate()
            .filter(|(id, kind)| special(*id, **kind) || **kind == USER_DEFINED)
            .map(|(id, kind)| {
                json!({
                    "id": id, "content": tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special(id, *kind),
                })
            })
            .collect();
        // In a fixed order, so that the tokenizer has one digest.
        let vocab: BTreeMap<&str, usize> = tokens.iter().copied().zip(0..).collect();
        let add_bos = |default: bool| {
            let stated = self.get("add_bos_token").and_then(Value::flag);
            stated.unwrap_or(default)
        };
        let (with_bos, mut tokenizer) = match kind {
            "gpt2" => {
                let name = self.get("pre").and_then(Value::text).unwrap_or("default");
                let Some(pre) = table.pre(name) else {
                    let known: Vec<&str> = table.pre.keys().map(String::as_str).collect();
                    return Err(format!(
                        "pre-tokenizer `{name}`; {} are known, and a tokenizer.json beside the file is taken instead",
                        known.join(", ")
                    ));
                };
                let mut merges = self.merges()?;
                // What cannot come of it is no merge: llama.cpp finds no token for it either.
                let is_token = |text: &str| vocab.contains_key(text);
                merges.retain(|(a, b)| is_token(a) && is_token(b) && is_token(&format!("{a}{b}")));
                (add_bos(pre.bos), byte_level(pre, &vocab, &merges))
            }
            "llama" => {
                let scores = self.scores(tokens.len())?;
                let merges = merges_by_score(&tokens, &ids, &scores);
                let prefix = self
                    .get("add_space_prefix")
                    .and_then(Value::flag)
                    .unwrap_or(true);
                let unknown = unknown.map(|id| tokens[id]);
                (
                    add_bos(true),
                    sentencepiece(&vocab, &merges, unknown, prefix),
                )
            }
            other => {
                return Err(format!(
                    "tokenizer model `{other}`; gpt2 and llama are read, and a tokenizer.json beside the file is taken instead"
                ));
            }
        };
        tokenizer["version"] = json!("1.0");
        tokenizer["added_tokens"] = Json::Array(added);
        if let Some(bos) = bos
            && with_bos
        {
            let id = tokens[bos];
            let piece = json!({ "SpecialToken": { "id": id, "type_id": 0 } });
            tokenizer["post_processor"] = json!({
                "type": "TemplateProcessing",
                "single": [piece, { "Sequence": { "id": "A", "type_id": 0 } }],
                "pair": [piece, { "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
                "special_tokens": { id: { "id": id, "ids": [bos], "tokens": [id] } },
            });
        }
        Ok(tokenizer)
    }

    fn merges(&self) -> Result<Vec<(&'a str, &'a str)>, String> {
        let merges = self.texts("merges")?;
        let pairs = merges.into_iter().map(|merge| {
            // A merge of pieces that begin with a space would begin with one itself.
            let middle = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
            let (middle, _) = middle.ok_or_else(|| format!("the merge `{merge}` is not a pair"))?;
            Ok((&merge[..middle], &merge[middle + 1..]))
        });
        pairs.collect()
    }

    fn scores(&self, count: usize) -> Result<Vec<f64>, String> {
        let list = self.get("scores").and_then(Value::list).unwrap_or_default();
        let scores: Option<Vec<f64>> = list.iter().map(Value::float).collect();
        match scores {
            Some(scores) if scores.len() == count => Ok(scores),
            _ => Err(format!("no list of {count} `tokenizer.ggml.scores`")),
        }
    }
}

/// Byte-level BPE, as GPT-2 and its successors have it.
fn byte_level(pre: &Pre, vocab: &BTreeMap<&str, usize>, merges: &[(&str, &str)]) -> Json {
    let split = |pattern: Json| json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false });
    let bytes = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let mut steps = Vec::new();
    if pre.each_digit {
        steps.push(json!({ "type": "Digits", "individual_digits": true }));
    }
    let patterns = pre.pattern.iter().chain(&pre.patterns);
    for pattern in patterns.clone() {
        steps.push(split(json!({ "Regex": pattern })));
    }
    steps.push(bytes(patterns.count() == 0));
    json!({
        "normalizer": pre.nfc.then(|| json!({ "type": "NFC" })),
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": steps },
        "post_processor": null,
        "decoder": bytes(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": pre.whole_words, "vocab": vocab, "merges": merges,
        },
    })
}

/// BPE over pieces with U+2581 for spaces and bytes as a last resort.
fn sentencepiece(
    vocab: &BTreeMap<&str, usize>,
    merges: &[(&str, &str)],
    unknown: Option<&str>,
    space_first: bool,
) -> Json {
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" });
    let mut normalizers = Vec::new();
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if space_first {
        normalizers.push(json!({ "type": "Prepend", "prepend": "\u{2581}" }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    normalizers.push(replace);
    json!({
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab,
            "merges": merges,
        },
    })
}

/// Every way to put a token together from two others, the best token first.
fn merges_by_score<'a>(
    tokens: &[&'a str],
    ids: &HashMap<&str, usize>,
    scores: &[f64],
) -> Vec<(&'a str, &'a str)> {
    let mut merges: Vec<(f64, &str, &str)> = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let mut of_token: Vec<(usize, usize, &str, &str)> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some((*ids.get(left)?, *ids.get(right)?, left, right))
            })
            .collect();
        of_token.sort_unstable();
        merges.extend(
            of_token
                .into_iter()
                .map(|(_, _, left, right)| (*score, left, right)),
        );
    }
    let length = |text: &str| text.chars().count();
    // Stable, and the larger first: as Python sorts in reverse.
    merges.sort_by(|a, b| {
        let key = |merge: &(f64, &str, &str)| (length(merge.1), length(merge.2));
        b.0.total_cmp(&a.0).then_with(|| key(b).cmp(&key(a)))
    });
    merges
        .into_iter()
        .map(|(_, left, right)| (left, right))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::container::open;

    #[test]
    fn a_token_with_a_name_is_one_token_whatever_its_type() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gguf/llama-bpe.gguf");
        let mut metadata = open(&path).unwrap().metadata;
        let expected = tokenizer(&path, &metadata).unwrap();
        let bos = metadata["tokenizer.ggml.bos_token_id"].whole().unwrap();
        let Some(Value::List(types)) = metadata.get_mut("tokenizer.ggml.token_type") else {
            panic!("no token types");
        };
        let kind = &mut types[usize::try_from(bos).unwrap()];
        assert_eq!(kind.whole(), Some(CONTROL));
        *kind = Value::Whole(1);
        assert_eq!(tokenizer(&path, &metadata).unwrap(), expected);
    }

    #[test]
    fn a_part_of_no_such_number_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = std::fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../tests/golden/gguf-split/llama-bpe-00001-of-00002.gguf"),
        );
        let mut bytes = bytes.unwrap();
        let key = b"split.no";
        let at = bytes
            .windows(key.len())
            .position(|window| window == key)
            .unwrap()
            + key.len();
        // The kind of number, and the number.
        assert_eq!(bytes[at..at + 4], 2u32.to_le_bytes());
        bytes[at + 4..at + 6].copy_from_slice(&u16::MAX.to_le_bytes());
        let path = folder.path().join("m-00001-of-00002.gguf");
        std::fs::write(&path, bytes).unwrap();
        let problem = open(&path).err().unwrap().to_string();
        assert!(problem.contains("claims to be part 65535"), "{problem}");
    }
}
