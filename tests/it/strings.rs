//! The probability of texts over all of their spellings: against closed forms of a checkpoint built by hand, and against every spelling
//! read by itself.

use crate::golden_logits::{folder, logits};
use crate::test;
use crate::theorems::prompts;
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::Snapshot;
use concord_decoder::Decoder;
use concord_kernels::KernelConfig;
use concord_questions::Kind;
use concord_readings::{
    Answer, End, Input, Prompt, Read, Reading, Strings, StringsError, StringsReading,
};
use concord_scorer::{LabelTable, Plan, Scorer, ScorerError, lengths, possible_lengths};
use libtest_mimic::Trial;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

pub fn trials() -> Vec<Trial> {
    vec![
        test("strings::closed_forms_come_out_as_built", closed_forms),
        test("strings::every_spelling_counts_once", every_spelling),
        test(
            "strings::tokens_read_as_in_continuations_and_labels",
            as_elsewhere,
        ),
        test(
            "strings::characters_are_spelled_in_bytes_too",
            parts_of_characters,
        ),
        test("strings::rows_are_distinct_prefixes", rows),
        test("strings::what_is_beyond_the_cap_is_counted", cap),
        test("strings::what_cannot_be_read_is_refused", refusals),
        test("strings::the_context_holds_them", context),
    ]
}

/// The vocabulary of the checkpoint that is built by hand; the last token is a mark.
const TOKENS: [&str; 12] = [
    "a", "b", "1", "0", "10", " ", "2", "é", " 1", ".", "05", "</s>",
];
/// Its context.
const CONTEXT: usize = 40;

fn id(token: &str) -> usize {
    TOKENS.iter().position(|text| *text == token).unwrap()
}

/// The logit of a token after another, which is all that the checkpoint built by hand goes by.
fn logit(before: usize, token: usize) -> f32 {
    ((before * 7 + token * 5 + before * token * 3) % 23) as f32 / 6.0 - 1.5
}

/// `p(token | before)`.
fn p(before: &str, token: &str) -> f64 {
    let before = id(before);
    let weight = |token| f64::from(logit(before, token)).exp();
    weight(id(token)) / (0..TOKENS.len()).map(weight).sum::<f64>()
}

/// `p(a token of some | before)`.
fn any(before: &str, tokens: &[&str]) -> f64 {
    tokens.iter().map(|token| p(before, token)).sum()
}

/// A checkpoint whose logits are a table: layers add nothing to the embedding of the last token, which the head looks up.
fn by_hand() -> (tempfile::TempDir, Snapshot) {
    const HIDDEN: usize = 16;
    let temporary = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &serde_json::Value| {
        std::fs::write(temporary.path().join(name), value.to_string()).unwrap();
    };
    let size = TOKENS.len();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": 8, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 1, "head_dim": 8,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
        "vocab_size": size, "attention_bias": false, "mlp_bias": false,
    });
    write("config.json", &config);
    let vocabulary: HashMap<&str, usize> = (0..size).map(|id| (TOKENS[id], id)).collect();
    let mark = json!({
        "id": size - 1, "content": "</s>", "special": true, "normalized": false, "single_word": false, "lstrip": false,
        "rstrip": false,
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [mark], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [["1", "0"]], "unk_token": null, "dropout": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false},
    });
    write("tokenizer.json", &tokenizer);
    let tensor = |rows: usize, columns: usize, value: &dyn Fn(usize, usize) -> f32| {
        let values = (0..rows * columns).map(|at| value(at / columns, at % columns));
        Tensor::from_vec(values.collect(), (rows, columns), &Device::Cpu).unwrap()
    };
    let one = || Tensor::ones(HIDDEN, DType::F32, &Device::Cpu).unwrap();
    let zero = |rows, columns| tensor(rows, columns, &|_, _| 0.0);
    let diagonal = |token, column| if token == column { 1.0 } else { 0.0 };
    // The norm makes the one number that is not zero 1 / √(1 / hidden + ε).
    let normed = (1.0 / HIDDEN as f32 + 1e-6).sqrt();
    let table = |token, before| {
        if before < size {
            logit(before, token) * normed
        } else {
            0.0
        }
    };
    let of_layer = |name: &str| format!("model.layers.0.{name}.weight");
    let mut tensors = HashMap::from([
        (
            "model.embed_tokens.weight".to_owned(),
            tensor(size, HIDDEN, &diagonal),
        ),
        ("lm_head.weight".to_owned(), tensor(size, HIDDEN, &table)),
        ("model.norm.weight".to_owned(), one()),
        (of_layer("input_layernorm"), one()),
        (of_layer("post_attention_layernorm"), one()),
        (of_layer("mlp.gate_proj"), zero(8, HIDDEN)),
        (of_layer("mlp.up_proj"), zero(8, HIDDEN)),
        (of_layer("mlp.down_proj"), zero(HIDDEN, 8)),
    ]);
    for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
        tensors.insert(of_layer(&format!("self_attn.{name}")), zero(HIDDEN, HIDDEN));
    }
    candle_core::safetensors::save(&tensors, temporary.path().join("model.safetensors")).unwrap();
    let snapshot = Snapshot::open(temporary.path()).unwrap();
    (temporary, snapshot)
}

/// Texts over all of their spellings.
pub fn strings(texts: &[&str], leads: &[&str], end: End) -> Strings {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Strings {
        texts: owned(texts),
        leads: owned(leads),
        end,
    }
}

/// [`prompts`] by letter and text, of which some are read by texts too, to all ends, two of a prompt among them.
pub fn prompts_with_strings(kind: Kind, every: usize) -> Vec<Prompt> {
    let mut prompts = prompts(kind, every, true);
    for (number, prompt) in prompts.iter_mut().enumerate() {
        let numbers = |end| Read::Strings(strings(&["0", "1", "7", "10", "100"], &["", " "], end));
        match number % 5 {
            0 => prompt.reads.push(numbers(End::Digit)),
            1 => {
                let words =
                    Read::Strings(strings(&["yes", "no", "是"], &["", " ", "\n"], End::Letter));
                prompt.reads.insert(0, words);
            }
            2 => prompt
                .reads
                .extend([numbers(End::Any), numbers(End::Digit)]),
            _ => {}
        }
    }
    prompts
}

/// The tokens of every spelling and their log-probability.
pub fn spelled(reading: &StringsReading) -> Vec<(Vec<u32>, f64)> {
    let spellings = reading.texts.iter().flat_map(|text| &text.spellings);
    let spelled = spellings.map(|spelling| (spelling.tokens.clone(), spelling.log_prob.get()));
    spelled.collect()
}

fn prompt(text: &str, reads: Vec<Read>) -> Prompt {
    Prompt {
        id: text.into(),
        input: Input::Text(text.into()),
        reads,
    }
}

fn load(snapshot: &Snapshot) -> Decoder {
    Decoder::load(snapshot, DType::F32, KernelConfig::cpu()).unwrap()
}

fn read(snapshot: &Snapshot, prompt: &Prompt) -> Reading {
    let decoder = load(snapshot);
    let scorer = Scorer::new(snapshot, &decoder);
    let (readings, counts) = scorer.score(std::slice::from_ref(prompt)).unwrap();
    assert_eq!(counts.rows_computed, counts.trie_rows);
    readings.into_iter().next().unwrap()
}

fn assert_about(found: f64, expected: f64) {
    let error = (found - expected).abs();
    assert!(error < 1e-6, "{found} is not {expected}");
}

fn probability(reading: &StringsReading, text: &str) -> f64 {
    reading.text(text).unwrap().log_prob.get().exp()
}

/// The probability that a text ends after a token.
type Ends<'a> = &'a dyn Fn(&str) -> f64;

fn closed_forms() {
    let (_temporary, snapshot) = by_hand();
    let texts = ["1", "10", "2"];
    let forms = |ends: Ends<'_>, spaced: bool| {
        let first = |token| p("a", token);
        let mut one = first("1") * ends("1");
        let mut ten = first("10") * ends("10") + first("1") * p("1", "0") * ends("0");
        let mut two = first("2") * ends("2");
        if spaced {
            let space = first(" ");
            one += first(" 1") * ends(" 1") + space * p(" ", "1") * ends("1");
            ten += first(" 1") * p(" 1", "0") * ends("0");
            ten += space * (p(" ", "10") * ends("10") + p(" ", "1") * p("1", "0") * ends("0"));
            two += space * p(" ", "2") * ends("2");
        }
        [one, ten, two]
    };
    let digits = |before: &str| 1.0 - any(before, &["1", "0", "10", "2", "05"]);
    let letters = |before: &str| 1.0 - any(before, &["a", "b", "é"]);
    let whatever = |_: &str| 1.0;
    let all: [(End, Ends<'_>); 3] = [
        (End::Any, &whatever),
        (End::Digit, &digits),
        (End::Letter, &letters),
    ];
    for (end, ends) in all {
        for leads in [&[""][..], &["", " "]] {
            let asked = Read::Strings(strings(&texts, leads, end));
            let reading = read(&snapshot, &prompt("b.a", vec![asked]));
            let reading = reading.strings().unwrap();
            let expected = forms(ends, leads.len() == 2);
            for (text, expected) in texts.iter().zip(expected) {
                assert_about(probability(reading, text), expected);
            }
            assert_about(reading.mass.get(), expected.iter().sum());
            assert_eq!(reading.left_out, 0);
        }
    }
}

/// The bytes that a token adds to a text, from its piece.
fn bytes_of(snapshot: &Snapshot, token: u32) -> Vec<u8> {
    let text = snapshot.vocabulary.token_text(token);
    let byte = text
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => vec![byte],
        None => text.into_bytes(),
    }
}

/// Every sequence of tokens that spells a text.
fn spell(tokens: &[Vec<u8>], text: &[u8]) -> Vec<Vec<u32>> {
    if text.is_empty() {
        return vec![Vec::new()];
    }
    let begun = (0u32..).zip(tokens);
    let begun = begun.filter(|(_, token)| !token.is_empty() && text.starts_with(token));
    let spelled = begun.flat_map(|(first, token)| {
        let rest = spell(tokens, &text[token.len()..]);
        rest.into_iter()
            .map(move |rest| [&[first][..], &rest].concat())
    });
    spelled.collect()
}

/// The probabilities of all next tokens.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.iter().map(|x| f64::from(x - largest).exp());
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// What is read is what comes out where every spelling is a sequence of its own, whose logits are all looked at.
fn every_spelling() {
    let asked = [
        (
            "sentencepiece-llama2",
            "A or B",
            strings(&["nein", "ja", "10", "1", "é"], &["", " "], End::Letter),
        ),
        (
            "sentencepiece-llama2",
            "A or B",
            strings(&["10", "1", "nein", "7"], &["", " "], End::Digit),
        ),
        (
            "multi-query-wide-heads",
            "A or B?",
            strings(&["the", "an", "10", "1"], &["", " ", "\n"], End::Letter),
        ),
        (
            "multi-query-wide-heads",
            "A or B?",
            strings(&["10", "1", "0"], &["", " "], End::Digit),
        ),
        (
            "families/gemma2",
            "w3 w4 w5",
            strings(&["w5", "w17", "w5w17"], &["", "w2"], End::Digit),
        ),
        (
            "families/qwen2-moe",
            "w3 w4 w5",
            strings(&["w5", "w17", "w5w17"], &["", "w2"], End::Any),
        ),
    ];
    for (name, text, asked) in asked {
        let snapshot = Snapshot::open(&folder(name)).unwrap();
        let decoder = load(&snapshot);
        let prompt = prompt(text, vec![Read::Strings(asked.clone())]);
        let (_, before) = snapshot.tokens(&prompt.input).unwrap();
        let reading = read(&snapshot, &prompt);
        let reading = reading.strings().unwrap();
        let ids = 0..u32::try_from(snapshot.vocabulary.size()).unwrap();
        let tokens: Vec<Vec<u8>> = ids.map(|token| bytes_of(&snapshot, token)).collect();
        let goes_on = |token: &usize| {
            let first = String::from_utf8_lossy(&tokens[*token]).chars().next();
            first.is_some_and(|c| match asked.end {
                End::Any => false,
                End::Digit => c.is_ascii_digit(),
                End::Letter => c.is_alphabetic(),
            })
        };
        let mut mass = 0.0;
        for (text, found) in asked.texts.iter().zip(&reading.texts) {
            let mut sum = 0.0;
            let mut count = 0;
            for lead in &asked.leads {
                for spelled in spell(&tokens, format!("{lead}{text}").as_bytes()) {
                    let whole = [&before[..], &spelled].concat();
                    let rows: Vec<Vec<f64>> = logits(&decoder, &whole)
                        .iter()
                        .map(|row| softmax(row))
                        .collect();
                    let mut of_tokens = 1.0;
                    for (at, token) in spelled.iter().enumerate() {
                        of_tokens *= rows[before.len() + at - 1][*token as usize];
                    }
                    let last = &rows[whole.len() - 1];
                    let going_on: f64 = (0..last.len()).filter(goes_on).map(|t| last[t]).sum();
                    let mut spellings = found.spellings.iter();
                    let one = spellings.find(|one| one.tokens == spelled).unwrap();
                    assert_about(one.log_prob.get(), of_tokens.ln());
                    assert_about(one.ended.get(), 1.0 - going_on);
                    sum += of_tokens * (1.0 - going_on);
                    count += 1;
                }
            }
            assert_eq!(found.text, *text);
            assert_eq!(found.spellings.len(), count, "{name} {text:?}");
            assert_about(found.log_prob.get(), sum.ln());
            mass += sum;
        }
        assert_eq!(reading.texts.len(), asked.texts.len());
        assert_about(reading.mass.get(), mass.min(1.0));
    }
}

/// The tokens of a continuation and the spellings of a label are read as the same bits where they are spellings of a text.
fn as_elsewhere() {
    let cases = [
        ("sentencepiece-llama2", "choose A or B.", ["A", "the"]),
        ("multi-query-wide-heads", "choose A or B.", ["A", "therein"]),
        ("families/gemma2", "w3 w4 w5", ["w7", "w9"]),
        ("families/mixtral", "w3 w4 w5", ["w7", "w9"]),
    ];
    for (name, text, texts) in cases {
        let snapshot = Snapshot::open(&folder(name)).unwrap();
        let continuation = |text: &str| Read::Continuation { text: text.into() };
        let mut reads = vec![
            Read::Strings(strings(&texts, &["", " "], End::Digit)),
            Read::NextToken {
                labels: vec![texts[0].into()],
                openings: vec![],
            },
        ];
        reads.extend(texts.map(continuation));
        let reading = read(&snapshot, &prompt(text, reads));
        let spelled = reading.strings().unwrap().texts.iter();
        let spelled: Vec<_> = spelled.flat_map(|text| &text.spellings).collect();
        let is_there = |tokens: &[u32], log_prob: f64| {
            let mut all = spelled.iter();
            let one = all.find(|one| one.tokens == tokens).unwrap();
            assert_eq!(one.log_prob.get().to_bits(), log_prob.to_bits(), "{name}");
        };
        let mut compared = 0;
        for continuation in reading.continuations() {
            let tokens: Vec<u32> = continuation.tokens.iter().map(|t| t.token).collect();
            is_there(&tokens, continuation.log_prob.get());
            compared += 1;
        }
        let label = &reading.next_token().unwrap().labels[0];
        for spelling in &label.spellings {
            if [texts[0], &format!(" {}", texts[0])].contains(&spelling.text.as_str()) {
                is_there(&spelling.tokens, spelling.log_prob.get());
                compared += 1;
            }
        }
        assert!(compared > 2, "{name}");
    }
}

/// Tokens may hold a part of a character, as pieces of byte-level vocabularies and as bytes of SentencePiece.
fn parts_of_characters() {
    let cases = [
        ("sentencepiece-llama2", [1, 2]),
        ("multi-query-wide-heads", [1, 1]),
    ];
    for (name, counts) in cases {
        let snapshot = Snapshot::open(&folder(name)).unwrap();
        let asked = Read::Strings(strings(&["é", "質"], &[""], End::Letter));
        let reading = read(&snapshot, &prompt("A or B", vec![asked]));
        for (text, count) in reading.strings().unwrap().texts.iter().zip(counts) {
            let tokens = text.spellings.iter().map(|spelling| &spelling.tokens);
            for tokens in tokens.clone() {
                assert_eq!(snapshot.vocabulary.decode(tokens).unwrap(), text.text);
            }
            assert_eq!(tokens.len(), count, "{name} {}", text.text);
            assert!(tokens.map(Vec::len).any(|length| length > 1));
        }
    }
}

fn rows() {
    let (_temporary, snapshot) = by_hand();
    let table = LabelTable::new(&snapshot.vocabulary);
    for end in [End::Any, End::Digit, End::Letter] {
        let asked = strings(&["1", "10", "100", "1010"], &["", " ", "a"], end);
        let prompt = prompt("ab", vec![Read::Strings(asked)]);
        let (_, before) = snapshot.tokens(&prompt.input).unwrap();
        let plan = Plan::new(&snapshot, &table, std::slice::from_ref(&prompt)).unwrap();
        let reading = read(&snapshot, &prompt);
        let texts = &reading.strings().unwrap().texts;
        let spellings = texts.iter().flat_map(|text| &text.spellings);
        let sequences = spellings.clone().map(|spelling| {
            let read_only = usize::from(end == End::Any);
            let computed = &spelling.tokens[..spelling.tokens.len() - read_only];
            [&before[..], computed].concat()
        });
        let sequences: Vec<Vec<u32>> = sequences.collect();
        let prefixes = sequences
            .iter()
            .flat_map(|s| (1..=s.len()).map(|n| &s[..n]));
        let prefixes: BTreeSet<&[u32]> = prefixes.collect();
        assert_eq!(plan.trie.len(), prefixes.len(), "{end:?}");
        let asked = before.len() + spellings.map(|s| s.tokens.len()).sum::<usize>();
        assert_eq!(plan.tokens_asked, asked as u64);
        assert!(plan.reading_bytes() > 0);
    }
}

fn cap() {
    let (_temporary, snapshot) = by_hand();
    // Each of eight times 10 is one token or two.
    let asked = strings(&["1010101010101010", "2"], &[""], End::Digit);
    let reading = read(&snapshot, &prompt("a", vec![Read::Strings(asked)]));
    let reading = reading.strings().unwrap();
    let spellings = &reading.texts[0].spellings;
    assert_eq!((spellings.len(), reading.left_out), (64, 256 - 64));
    assert_eq!(spellings[0].tokens, [4; 8]);
    let lengths = spellings.iter().map(|spelling| spelling.tokens.len());
    assert!(lengths.is_sorted());
    let distinct: BTreeSet<&[u32]> = spellings.iter().map(|s| &s.tokens[..]).collect();
    assert_eq!(distinct.len(), 64);
}

fn refusals() {
    let (_temporary, snapshot) = by_hand();
    let decoder = load(&snapshot);
    let scorer = Scorer::new(&snapshot, &decoder);
    let asked = |texts: &[&str]| Read::Strings(strings(texts, &["", " "], End::Digit));
    let error = |read: Read| scorer.score(&[prompt("a", vec![read])]).unwrap_err();
    // A mark is no text, whatever it looks like.
    for text in ["12x", "</s>"] {
        let error = error(asked(&["1", text]));
        let ScorerError::TextNotCovered { text: named, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(named, text);
    }
    let wrong = |read: Read| match error(read) {
        ScorerError::Strings { source, .. } => source,
        other => panic!("{other}"),
    };
    assert_eq!(wrong(asked(&[])), StringsError::NoText);
    assert_eq!(wrong(asked(&["1", ""])), StringsError::EmptyText);
    assert_eq!(wrong(asked(&["1", "1"])), StringsError::Twice("1".into()));
    let of_possible = [
        prompt("a", vec![asked(&["1", "x", "10"])]),
        prompt("b", vec![asked(&["1", "1"])]),
        prompt("ab", vec![asked(&["x"])]),
        prompt("1", vec![asked(&["2"])]),
    ];
    let table = LabelTable::new(&snapshot.vocabulary);
    let (plan, problems) = Plan::of_possible(&snapshot, &table, &of_possible).unwrap();
    assert_eq!(problems.keys().collect::<Vec<_>>(), [&1]);
    let mut found: Vec<Option<Reading>> = vec![None; 4];
    let schedule = concord_scorer::Schedule::PassMajor;
    let run = scorer.run(&plan, &schedule, |_, done| {
        for (index, reading) in done {
            found[index] = Some(reading);
        }
        std::ops::ControlFlow::Continue(())
    });
    run.unwrap();
    let found: Vec<Reading> = found.into_iter().flatten().collect();
    let texts = |index: usize| {
        let texts = &found[index].strings().unwrap().texts;
        texts
            .iter()
            .map(|text| text.text.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(0), ["1", "10"]);
    assert!(found[1].answers.is_empty());
    assert!(texts(2).is_empty());
    let Answer::Strings(nothing) = &found[2].answers[0] else {
        panic!("{:?}", found[2]);
    };
    assert!(nothing.mass.get() < 1e-300);
    assert_eq!(texts(3), ["2"]);
}

/// A prompt with texts that reach the end of the context is read, one with a token more is not.
fn context() {
    let (_temporary, snapshot) = by_hand();
    let decoder = load(&snapshot);
    let scorer = Scorer::new(&snapshot, &decoder);
    // At most four tokens; where it does not matter what follows, the last one is not computed.
    for (end, rows) in [(End::Any, 3), (End::Letter, 4)] {
        let asked = |length: usize| {
            let read = Read::Strings(strings(&["1010", "2"], &[""], end));
            prompt(&"a".repeat(length), vec![read])
        };
        let fits = [asked(CONTEXT - rows)];
        assert_eq!(lengths(&snapshot, &fits).unwrap(), [CONTEXT]);
        assert_eq!(scorer.score(&fits).unwrap().0.len(), 1);
        let over = [asked(CONTEXT - rows + 1)];
        assert_eq!(lengths(&snapshot, &over).unwrap(), [CONTEXT + 1]);
        let too_long = |error: &ScorerError| matches!(error, ScorerError::TooLong { .. });
        assert!(too_long(&scorer.score(&over).unwrap_err()));
        let possible = possible_lengths(&snapshot, &over);
        assert!(possible[0].as_ref().is_err_and(too_long));
        let table = LabelTable::new(&snapshot.vocabulary);
        let (_, problems) = Plan::of_possible(&snapshot, &table, &over).unwrap();
        assert!(problems.get(&0).is_some_and(too_long));
    }
}
