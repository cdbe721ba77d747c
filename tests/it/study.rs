//! The study's own files: its questions, its prompts to the byte, its distances and its totals.

use crate::test_with_shared;
use concord_checkpoint::Snapshot;
use concord_questions::{Ask, Kind, PvqValue, Question, Stimuli, check, load};
use concord_readings::{Form, Input, PromptStyle};
use concord_scorer::{LabelTable, Plan};
use concord_stats::{Distance, pairwise_distances};
use concord_suites::valueconsistency::{
    Abstention, Answers, Context, Findings, Format, Options, Settings, from_given, measure, plan,
};
use libtest_mimic::Trial;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

pub fn trials() -> Vec<Trial> {
    vec![
        test_with_shared(
            "study::the_question_files_have_their_published_counts",
            counts,
        ),
        test_with_shared("study::the_known_anomalies_are_found", anomalies),
        test_with_shared(
            "study::validated_paraphrases_have_their_published_counts",
            validated,
        ),
        test_with_shared("study::prompts_equal_the_studys_to_the_byte", prompts),
        test_with_shared("study::distances_equal_the_studys", distances),
        test_with_shared("study::totals_equal_the_studys", totals),
        test_with_shared(
            "study::everything_costs_at_most_1_6_times_the_rows_of_letters",
            rows,
        ),
    ]
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// topics, originals and rows of each file (notes on the data set).
const COUNTS: [(&str, usize, usize, usize); 14] = [
    ("controversial_chinese_china", 22, 97, 485),
    ("controversial_chinese_us", 28, 132, 792),
    ("controversial_english_china", 22, 97, 582),
    ("controversial_english_germany", 28, 128, 768),
    ("controversial_english_japan", 21, 84, 504),
    ("controversial_english_us", 28, 131, 653),
    ("controversial_german_germany", 28, 128, 640),
    ("controversial_german_us", 28, 131, 786),
    ("controversial_japanese_japan", 21, 84, 420),
    ("controversial_japanese_us", 28, 130, 780),
    ("uncontroversial_chinese_china", 23, 87, 435),
    ("uncontroversial_english_us", 20, 79, 395),
    ("uncontroversial_german_germany", 18, 68, 340),
    ("uncontroversial_japanese_japan", 20, 85, 425),
];

fn counts(shared: &Path) {
    let set = load(&shared.join("valueconsistency")).unwrap();
    assert_eq!(set.len(), 8005);
    assert_eq!(
        set.pvq
            .iter()
            .map(|file| file.items.len())
            .collect::<Vec<_>>(),
        [21, 21, 21]
    );
    let (files, _) = check(&set);
    let found: Vec<_> = files
        .iter()
        .map(|file| {
            (
                file.file.as_str(),
                file.topics.len(),
                file.originals,
                file.questions,
            )
        })
        .collect();
    assert_eq!(found, COUNTS);
}

/// Originals and questions that stay, by file (the study's `file_stats` notebook).
fn validated(shared: &Path) {
    let set = load(&shared.join("valueconsistency")).unwrap();
    let found: Vec<(&str, usize, usize)> = set
        .files
        .iter()
        .filter_map(|file| {
            let kept = set.validated.get(&file.name)?;
            let rows = file.questions.iter().filter(|q| kept.contains(&q.original));
            Some((file.name.as_str(), kept.len(), rows.count()))
        })
        .collect();
    assert_eq!(
        found,
        [
            ("controversial_chinese_china", 68, 340),
            ("controversial_german_germany", 97, 485),
            ("controversial_japanese_japan", 54, 270),
            ("uncontroversial_chinese_china", 59, 295),
            ("uncontroversial_german_germany", 51, 255),
            ("uncontroversial_japanese_japan", 55, 275),
        ]
    );
}

fn anomalies(shared: &Path) {
    let set = load(&shared.join("valueconsistency")).unwrap();
    let (files, oddities) = check(&set);
    let rows = |file: &str, part: &str| -> usize {
        let hits = oddities
            .iter()
            .filter(|odd| odd.file == file && odd.what.contains(part));
        hits.map(|odd| odd.rows).sum()
    };
    for file in ["controversial_chinese_us", "controversial_japanese_us"] {
        assert_eq!(rows(file, "`topic_english` is null"), 6, "{file}");
    }
    assert_eq!(
        rows(
            "controversial_english_us",
            "an original has 4 phrasings where 5 are usual"
        ),
        2
    );
    assert_eq!(rows("controversial_german_us", "spelt Ja / Nein"), 30);
    assert_eq!(
        rows(
            "controversial_chinese_china",
            "first option's stance differs from controversial_english_china"
        ),
        3
    );
    assert!(rows("controversial_japanese_japan", "question mark") > 0);
    let opposes: Vec<usize> = files.iter().map(|file| file.first_option_opposes).collect();
    assert_eq!(
        opposes,
        [
            175, 276, 192, 276, 90, 230, 230, 276, 75, 270, 20, 25, 30, 10
        ]
    );
    // 0/1 and booleans are one thing, and it is the text that decides.
    assert!(
        set.files
            .iter()
            .flat_map(|file| &file.questions)
            .all(|q| q.rephrase == (q.question != q.original))
    );
}

fn prompts(shared: &Path) {
    let set = load(&shared.join("valueconsistency")).unwrap();
    let stimuli = Stimuli::load(&shared.join("valueconsistency/stimuli.json")).unwrap();
    let golden = json(&shared.join("golden/prompts.json"));
    let golden = golden.as_array().unwrap();
    assert_eq!(golden.len(), 724);
    for expected in golden {
        let text = |key: &str| expected[key].as_str().unwrap_or_default().to_owned();
        let (file, language) = (text("file"), text("language"));
        let row = usize::try_from(expected["row"].as_u64().unwrap()).unwrap();
        let question: Question;
        let mut ask = if let Some(pvq) = set.pvq.iter().find(|pvq| pvq.name == file) {
            let item = &pvq.items[row];
            let ask = Ask::item(&stimuli, &language, item);
            let valued = |value: &PvqValue| ask.clone().with_value(value).unwrap();
            let wanted = text("value_text");
            let candidates = item
                .values
                .iter()
                .map(valued)
                .find(|candidate| candidate.value_text == wanted);
            if wanted.is_empty() {
                ask
            } else {
                candidates.unwrap()
            }
        } else {
            let file = set.files.iter().find(|known| known.name == file).unwrap();
            question = file.questions[row].clone();
            Ask::question(&stimuli, &language, &question)
        };
        let shown: Vec<&str> = expected["options"].as_array().map_or(vec![], |list| {
            list.iter().filter_map(Value::as_str).collect()
        });
        if shown
            .first()
            .is_some_and(|first| *first != ask.options[0].0)
        {
            ask = ask.reversed();
        }
        if shown.len() == 3 {
            ask = ask.with_abstention().unwrap();
        }
        if !shown.is_empty() {
            assert_eq!(
                ask.options
                    .iter()
                    .map(|(text, _)| text.as_str())
                    .collect::<Vec<_>>(),
                shown
            );
        }
        let kind: Kind = serde_json::from_value(expected["kind"].clone()).unwrap();
        let rendered = ask
            .render(kind, expected["example_answer"] == "B", "PASSAGE")
            .unwrap();
        match rendered.input {
            Input::Text(found) => assert_eq!(found, text("text")),
            Input::Conversation(messages) => assert_eq!(
                serde_json::to_value(messages).unwrap(),
                expected["messages"]
            ),
            Input::Prefilled { .. } => panic!("{expected}: no turn is begun"),
        }
    }
}

fn distances(shared: &Path) {
    let golden = json(&shared.join("golden/distances.json"));
    let golden = golden.as_array().unwrap();
    assert_eq!(golden.len(), 152);
    for (index, case) in golden.iter().enumerate() {
        let group: Vec<Vec<f64>> = serde_json::from_value(case["distributions"].clone()).unwrap();
        let close = |found: &[f64], key: &str| {
            let expected: Vec<f64> = match &case[key] {
                Value::Array(list) => list
                    .iter()
                    .map(|value| value.as_f64().unwrap_or(0.0))
                    .collect(),
                value => vec![value.as_f64().unwrap(); found.len()],
            };
            assert_eq!(found.len(), expected.len(), "case {index} {key}");
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-9, "case {index} {key}: {a} is not {b}");
            }
        };
        close(
            &Distance::Centroid.of_group(&group).unwrap(),
            "centroid_distances",
        );
        close(&Distance::Mean.of_group(&group).unwrap(), "mean_distances");
        close(&pairwise_distances(&group), "pairwise");
        close(
            &Distance::Generalized.of_group(&group).unwrap(),
            "generalized",
        );
    }
}

fn totals(shared: &Path) {
    let set = load(&shared.join("valueconsistency")).unwrap();
    let given = json(&shared.join("golden/answers.json"));
    let table = |key: &str| {
        let given: BTreeMap<String, Vec<Option<f64>>> =
            serde_json::from_value(given[key].clone()).unwrap();
        from_given(&set, &given).unwrap()
    };
    let answers = Answers {
        letter: Some(table("answers")),
        cloze: Some(table("second_format")),
        ..Answers::default()
    };
    // The reference has the study's intervals.
    let settings = Settings {
        study_intervals: true,
        ..Settings::default()
    };
    let Findings {
        files,
        multilingual,
        task_format,
        ..
    } = measure(&set, &answers, &Context::new(&set, settings))
        .unwrap()
        .findings;
    let mut found = serde_json::json!({ "files": files, "multilingual": multilingual, "task_format": task_format });
    // The study counts a group of one as a distance of zero; here it is not counted.
    for country in found["multilingual"].as_object_mut().unwrap().values_mut() {
        let number = |name: &str| country[name].as_f64().unwrap();
        let (alone, distances) = (number("alone"), number("distances"));
        let mean = number("mean") * distances / (distances + alone);
        let groups = number("groups") + alone;
        country["mean"] = mean.into();
        country["distances"] = (distances + alone).into();
        country["groups"] = groups.into();
    }
    let expected = json(&shared.join("golden/expected.json"));
    let compared = compare(&found, &expected, "expected");
    assert!(compared > 700, "{compared} numbers compared");
}

/// Every number of `expected` is in `found`; returns how many there were.
fn compare(found: &Value, expected: &Value, path: &str) -> usize {
    match expected {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| {
                let own = key.replace("_ci95", "_study_ci95");
                compare(&found[&own], value, &format!("{path}.{key}"))
            })
            .sum(),
        Value::Array(ends) if path.ends_with("_ci95") => {
            let end = |value: &Value, index: usize| value[index].as_f64().unwrap();
            let width = end(expected, 1) - end(expected, 0);
            for index in 0..ends.len() {
                let (a, b) = (end(found, index), end(expected, index));
                assert!(
                    (a - b).abs() <= 0.02 * width,
                    "{path}[{index}]: {a} is not {b} within 2 % of {width}"
                );
            }
            ends.len()
        }
        Value::Number(number) => {
            let (a, b) = (found.as_f64().unwrap(), number.as_f64().unwrap());
            assert!((a - b).abs() < 1e-9, "{path}: {a} is not {b}");
            1
        }
        Value::Array(names) => {
            let sorted = |list: &[Value]| {
                let mut names: Vec<String> = list.iter().map(ToString::to_string).collect();
                names.sort();
                names
            };
            assert_eq!(sorted(found.as_array().unwrap()), sorted(names), "{path}");
            0
        }
        other => panic!("{path}: {other} is not a number"),
    }
}

/// Rows of the whole set with a tokenizer trained on it, in chat form: letters, texts, abstention and portraits against
/// letters alone.
fn rows(shared: &Path) {
    let set = load(&shared.join("valueconsistency")).unwrap();
    let own = Stimuli::own().unwrap();
    let style = PromptStyle {
        form: Form::Chat,
        lead: "",
    };
    let letters = Options::letters();
    let everything = Options {
        formats: vec![Format::Letter, Format::Cloze],
        abstention: Abstention::One,
        steering: true,
        ..letters.clone()
    };
    let texts = plan(&set, &own, &[], style, &letters).unwrap();
    let texts = texts.into_iter().filter_map(|prompt| match prompt.input {
        Input::Conversation(messages) => Some(messages.last()?.content.clone()),
        Input::Text(_) | Input::Prefilled { .. } => None,
    });
    let snapshot = Snapshot::preset("smollm2-135m", texts.collect(), 1)
        .unwrap()
        .unwrap();
    let table = LabelTable::new(&snapshot.vocabulary);
    let others = [Stimuli::paraphrased().unwrap()];
    let count = |options: &Options| {
        let prompts = plan(&set, &own, &others, style, options).unwrap();
        Plan::new(&snapshot, &table, &prompts).unwrap().trie.len() as f64
    };
    let by_default = Options {
        sampled: 100,
        ..everything.clone()
    };
    let (all, alone) = (count(&everything), count(&letters));
    eprintln!(
        "{all} rows of everything, {alone} of letters alone: {:.3}; with 100 questions in other words: {:.3}",
        all / alone,
        count(&by_default) / alone
    );
    assert!(all / alone <= 1.6, "{all} / {alone} = {:.3}", all / alone);
}
