//! GGUF files (`tests/golden/gguf_files.py`): logits, tokens and templates of the checkpoints they were made from.

use crate::golden_logits::{folder, golden_of, worst_error_of};
use crate::test;
use candle_core::DType;
use concord_checkpoint::Snapshot;
use concord_readings::{Input, Message, Role};
use libtest_mimic::Trial;
use std::path::{Path, PathBuf};

pub fn trials() -> Vec<Trial> {
    vec![
        test("gguf::logits_are_those_of_the_same_weights", logits),
        test("gguf::texts_become_the_original_tokens", tokens),
        test("gguf::the_template_is_the_file_s_own", template),
        test("gguf::what_stands_beside_a_file_is_taken_instead", beside),
        test("gguf::a_file_in_parts_is_one", parts),
        test("gguf::what_cannot_be_read_is_said", refused),
    ]
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder("gguf")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "gguf"));
    files.sort();
    assert_eq!(files.len(), 8, "{files:?}");
    files
}

fn logits() {
    for path in files() {
        let golden = golden_of(&path.with_extension("safetensors"));
        let error = worst_error_of(&path, &golden, DType::F32);
        assert!(error <= 1e-4, "{}: off by {error}", path.display());
        // Held as the program chooses: quantised weights are rounded to 16 bits.
        let dtype = Snapshot::open(&path).unwrap().weights.stored_dtype();
        let error = worst_error_of(&path, &golden, dtype);
        assert!(
            error <= 6e-3,
            "{} as {dtype:?}: off by {error}",
            path.display()
        );
    }
}

/// The two parts that `tests/golden/gguf_split.py` cuts a file into.
fn parts() {
    let names = [
        "llama-bpe-00001-of-00002.gguf",
        "llama-bpe-00002-of-00002.gguf",
    ];
    let [first, second] = names.map(|name| folder("gguf-split").join(name));
    let golden = golden_of(&folder("gguf").join("llama-bpe.safetensors"));
    for path in [&first, &folder("gguf-split")] {
        let error = worst_error_of(path, &golden, DType::F32);
        assert!(error <= 1e-4, "{}: off by {error}", path.display());
    }
    let problem = |path: &Path| Snapshot::open(path).err().unwrap().to_string();
    assert!(problem(&second).contains("part 2 of 2; name the first"));
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    std::fs::copy(&first, at(names[0])).unwrap();
    assert!(problem(&at(names[0])).contains("00002-of-00002"));
    std::fs::copy(&first, at(names[1])).unwrap();
    assert!(problem(&at(names[0])).contains("not part 2"));
    std::fs::copy(&first, at("other.gguf")).unwrap();
    assert!(problem(&at("other.gguf")).contains("not named so"));
}

fn tokens() {
    for path in files() {
        let snapshot = Snapshot::open(&path).unwrap();
        assert_eq!(snapshot.vocabulary.bos(), Some(1));
        let record = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let record: Vec<serde_json::Value> = serde_json::from_str(&record).unwrap();
        assert_eq!(record.len(), 7);
        for line in record {
            let expected: Vec<u32> = serde_json::from_value(line["tokens"].clone()).unwrap();
            let text = line["text"].as_str().unwrap();
            let found = snapshot.vocabulary.continuation(text).unwrap();
            assert_eq!(found, expected, "{}: {text:?}", path.display());
        }
    }
}

fn template() {
    for path in files() {
        let snapshot = Snapshot::open(&path).unwrap();
        let messages = vec![Message::new(Role::User, "A or B?")];
        let (text, tokens) = snapshot.tokens(&Input::Conversation(messages)).unwrap();
        assert_eq!(text, "<s><|user|>A or B?");
        assert_eq!(tokens.iter().filter(|token| **token == 1).count(), 1);
        assert_eq!(snapshot.name, path.file_stem().unwrap().to_str().unwrap());
        let again = Snapshot::open(&path).unwrap();
        assert_eq!(
            snapshot.fingerprint().unwrap(),
            again.fingerprint().unwrap()
        );
    }
}

/// A tokenizer.json in the folder wins over the file's metadata; so does a template.
fn beside() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("qwen2.gguf");
    std::fs::copy(folder("gguf").join("qwen2.gguf"), &path).unwrap();
    let own = Snapshot::open(temporary.path()).unwrap();
    let other = folder("families/gpt2/tokenizer.json");
    std::fs::copy(other, temporary.path().join("tokenizer.json")).unwrap();
    std::fs::write(
        temporary.path().join("chat_template.jinja"),
        "other{% for m in messages %}{{ m.content }}{% endfor %}",
    )
    .unwrap();
    let with = Snapshot::open(&path).unwrap();
    assert_eq!(with.vocabulary.continuation("w7").unwrap(), [7]);
    assert_ne!(own.vocabulary.continuation("w7").unwrap(), [7]);
    assert_eq!(with.render(&[]).unwrap(), "other");
    // A tokenizer beside it takes nothing away: the template is still the file's.
    std::fs::remove_file(temporary.path().join("chat_template.jinja")).unwrap();
    assert!(Snapshot::open(&path).unwrap().is_aligned());
    let adapter = own.with_adapter(&folder("adapters/patterns"));
    assert!(
        adapter
            .err()
            .unwrap()
            .to_string()
            .contains("adapters are not put on GGUF files")
    );
    std::fs::copy(&path, temporary.path().join("again.gguf")).unwrap();
    let both = Snapshot::open(temporary.path()).err().unwrap().to_string();
    assert!(
        both.contains("holds 2 GGUF files; name the one that is meant: again.gguf, qwen2.gguf"),
        "{both}"
    );
}

fn refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("x.gguf");
    let whole = std::fs::read(folder("gguf").join("qwen2.gguf")).unwrap();
    let problem = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Snapshot::open(&path).err().unwrap().to_string()
    };
    for length in [0, 3, 20, 200, 5000] {
        let problem = problem(&whole[..length]);
        assert!(
            problem.contains("not a GGUF file that can be read"),
            "{length}: {problem}"
        );
    }
    let cut = problem(&whole[..whole.len() - 1]);
    assert!(cut.contains("ends beyond the file's"), "{cut}");
    let replaced = |from: &[u8], to: &[u8]| {
        let at = whole.windows(from.len()).position(|window| window == from);
        let mut bytes = whole.clone();
        bytes[at.unwrap()..at.unwrap() + to.len()].copy_from_slice(to);
        bytes
    };
    for (from, to, part) in [
        (&b"qwen2"[..], &b"mamba"[..], "architecture `mamba`"),
        (
            b"qwen2.context_length",
            b"qwen2.attention_what",
            "`qwen2.attention_what` is not known",
        ),
        (
            b"ffn_down.weight",
            b"ffn_what.weight",
            "ffn_what.weight` has no place",
        ),
        (b"GGUF\x03", b"GGUF\x09", "version 9"),
        // The name of the pre-tokenizer comes after its length and the key.
        (
            b"tokenizer.ggml.pre\x08\0\0\0\x05\0\0\0\0\0\0\0qwen2",
            b"tokenizer.ggml.pre\x08\0\0\0\x05\0\0\0\0\0\0\0other",
            "pre-tokenizer `other`",
        ),
    ] {
        let problem = problem(&replaced(from, to));
        assert!(problem.contains(part), "{problem}");
    }
}
