//! Rows against the answers that measures are of.

use super::*;
use crate::valueconsistency::answers::{AnswerTable, from_readings};
use crate::valueconsistency::plan::{Abstention, Format, Passages};
use crate::valueconsistency::synthetic::{SyntheticCheckpoint, readings_by};
use crate::valueconsistency::{RunFindings, ValueConsistency};
use crate::{Settings, Suite};
use concord_questions::{Chosen, Question, Stance};
use concord_stats::mean;
use std::collections::{BTreeMap, BTreeSet};

/// A question whose answer the topic and the length of its text decide.
fn support(file: &str, question: &Question) -> f64 {
    let length = question.question.len() + question.topic.len() * 7 + file.len();
    0.05 + 0.9 * ((length % 17) as f64 / 17.0)
}

fn checkpoint() -> SyntheticCheckpoint {
    SyntheticCheckpoint {
        letter: |shown, count| match (shown, count) {
            (0, 3) => 0.35,
            (1, 3) => 0.25,
            (_, 3) => 0.4,
            (0, _) => 0.7,
            _ => 0.3,
        },
        text: |question, option| support("", question) / (option + 1) as f64,
        reads: |text| 0.2 + 0.001 * (text.len() % 100) as f64,
        mass: 0.8,
        ..SyntheticCheckpoint::default()
    }
}

fn everything() -> Options {
    Options {
        formats: vec![Format::Letter, Format::Cloze, Format::Open],
        abstention: Abstention::One,
        steering: true,
        sampled: 20,
        passages: Some(Passages {
            max_tokens: 20,
            temperature: 0.0,
            top_p: 1.0,
            argued: 4,
        }),
        ..Options::letters()
    }
}

/// Two checkpoints, the second of which goes by what it is asked; read by itself and by another.
fn read(data: &Data, options: &Options) -> Vec<CheckpointReadings> {
    let (first, other) = (checkpoint(), SyntheticCheckpoint::default());
    let second = SyntheticCheckpoint {
        supports: Some(support),
        ..checkpoint()
    };
    let read = |name: &str, of: &SyntheticCheckpoint| CheckpointReadings {
        name: name.to_owned(),
        readings: readings_by(&data.set, options, of, &[("itself", of), ("other", &other)]),
    };
    vec![read("first", &first), read("second", &second)]
}

/// A table with what is asked of it by names of columns.
struct Table(LongTable);

impl Table {
    fn text<'a>(&self, row: &'a [Cell], column: &str) -> &'a str {
        match &row[self.0.column(column).unwrap()] {
            Cell::Text(text) => text,
            _ => "",
        }
    }

    fn number(&self, row: &[Cell], column: &str) -> f64 {
        match row[self.0.column(column).unwrap()] {
            Cell::Number(number) => number,
            _ => f64::NAN,
        }
    }

    fn holds(&self, row: &[Cell], column: &str) -> bool {
        row[self.0.column(column).unwrap()] == Cell::Truth(true)
    }

    /// Means of a column over rows, by checkpoint, file and row.
    fn means(
        &self,
        column: &str,
        counts: impl Fn(&[Cell]) -> bool,
    ) -> BTreeMap<(String, String, usize), f64> {
        let mut found: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for row in self.0.rows.iter().filter(|row| counts(row)) {
            let Cell::Count(number) = row[self.0.column("row").unwrap()] else {
                panic!("a row without a number");
            };
            let name = |column| self.text(row, column).to_owned();
            let place = (
                name("checkpoint"),
                name("file"),
                usize::try_from(number).unwrap(),
            );
            found
                .entry(place)
                .or_default()
                .push(self.number(row, column));
        }
        let means = found.into_iter();
        means.map(|(place, found)| (place, mean(&found))).collect()
    }
}

/// Compares means with the answers of a checkpoint.
#[track_caller]
fn same(
    means: &BTreeMap<(String, String, usize), f64>,
    checkpoint: &str,
    table: &AnswerTable,
    stance: impl Fn(&[f64]) -> f64,
) {
    let mut compared = 0;
    for (file, rows) in table {
        for (row, answer) in rows.iter().enumerate() {
            let found = means.get(&(checkpoint.to_owned(), file.clone(), row));
            let expected = answer.as_ref().map(|answer| stance(answer.probabilities()));
            assert_eq!(found.is_some(), expected.is_some(), "{file} {row}");
            if let (Some(found), Some(expected)) = (found, expected) {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{file} {row}: {found} {expected}"
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 480);
}

#[test]
fn rows_put_together_are_the_answers_that_are_measured() {
    let (data, options) = (Data::of(concord_questions::demo().unwrap()), everything());
    let read = read(&data, &options);
    let tables = rows(&data, &options, &read).unwrap();
    let table = Table(tables.into_iter().next().unwrap());
    let mean_of = |column: &str, format: &str, rater: &str| {
        table.means(column, |row| {
            table.holds(row, "is_main")
                && table.text(row, "format") == format
                && table.text(row, "rater") == rater
        })
    };
    let last = |answer: &[f64]| *answer.last().unwrap();
    let neutral = |answer: &[f64]| answer[0];
    for of in &read {
        let answers = from_readings(&data.set, &options, &of.readings, &Chosen::all()).unwrap();
        let (name, open) = (of.name.as_str(), answers.open.as_ref().unwrap());
        let tables = [
            (mean_of("p_supports", "letters", ""), &answers.letter),
            (
                mean_of("p_supports_top_five", "letters", ""),
                &answers.top_five,
            ),
            (mean_of("p_supports", "texts", ""), &answers.cloze),
            (
                mean_of("p_supports_per_token", "texts", ""),
                &answers.cloze_per_token,
            ),
            (
                mean_of("p_supports_per_byte", "texts", ""),
                &answers.cloze_per_byte,
            ),
        ];
        for (means, table) in tables {
            same(&means, name, table.as_ref().unwrap(), last);
        }
        for (rater, found) in &open.raters {
            let means = mean_of("p_supports", "passages", rater);
            same(&means, name, &found.table, last);
        }
        let declining = |row: &[Cell]| {
            table.holds(row, "declining_allowed") && table.text(row, "format") == "letters"
        };
        let allowed = &answers.abstaining.as_ref().unwrap().allowed;
        same(
            &table.means("p_declines", declining),
            name,
            allowed,
            neutral,
        );
        same(&table.means("p_supports", declining), name, allowed, last);
        let trust = answers.robustness.unwrap();
        let masses = mean_of("mass", "letters", "");
        let masses: Vec<f64> = masses
            .iter()
            .filter(|((checkpoint, ..), _)| *checkpoint == of.name)
            .map(|(_, mass)| *mass)
            .collect();
        assert!((mean(&masses) - trust.label_mass).abs() < 1e-12);
    }
}

#[test]
fn answers_by_topic_are_the_support_that_is_found() {
    let (data, options) = (Data::of(concord_questions::demo().unwrap()), everything());
    let read = read(&data, &options);
    let table = Table(rows(&data, &options, &read).unwrap().swap_remove(0));
    let found = ValueConsistency.measure(&data, &options, Settings::default(), &read);
    let found: RunFindings = found.unwrap();
    let by_topic = |checkpoint: &str, file: &str, topic: &str| {
        let of_topic = table.0.rows.iter().filter(|row| {
            table.holds(row, "is_main")
                && table.text(row, "format") == "letters"
                && table.text(row, "checkpoint") == checkpoint
                && table.text(row, "file") == file
                && table.text(row, "topic_english") == topic
        });
        let support = of_topic.map(|row| table.number(row, "p_supports"));
        mean(&support.collect::<Vec<_>>())
    };
    for (name, measured) in found.names.iter().zip(&found.measured) {
        for topic in &measured.findings.support.topics {
            let mean = by_topic(name, &topic.file, &topic.topic);
            assert!((mean - topic.mean).abs() < 1e-12, "{topic:?} {mean}");
        }
    }
}

#[test]
fn every_row_has_an_id_of_its_own_and_cells_that_fit() {
    let (data, options) = (Data::of(concord_questions::demo().unwrap()), everything());
    let read = read(&data, &options);
    let tables = rows(&data, &options, &read).unwrap();
    let found = ValueConsistency.measure(&data, &options, Settings::default(), &read);
    let measures = ValueConsistency.tables(&found.unwrap());
    let keys: [(&str, &[&str]); 4] = [
        (
            "answers",
            &[
                "checkpoint",
                "question_id",
                "format",
                "order",
                "declining_allowed",
                "wording",
                "rater",
            ],
        ),
        ("texts", &["checkpoint", "question_id", "kind", "option"]),
        (
            "portrait_answers",
            &["checkpoint", "file", "row", "prompted_value", "order"],
        ),
        (
            "measures",
            &[
                "checkpoint",
                "base",
                "measure",
                "quantity",
                "estimand",
                "group_by",
                "file",
                "group",
            ],
        ),
    ];
    let tables: Vec<LongTable> = tables.into_iter().chain(measures).collect();
    assert_eq!(tables.len(), keys.len());
    let specs = ValueConsistency.table_specs();
    for (table, (name, key)) in tables.iter().zip(keys) {
        assert_eq!((table.name, table.misfit()), (name, None));
        let mut seen = BTreeSet::new();
        for row in &table.rows {
            assert_eq!(row.len(), table.columns.len());
            let cells = key.iter().map(|column| &row[table.column(column).unwrap()]);
            let cells = format!("{:?}", cells.collect::<Vec<_>>());
            assert!(seen.insert(cells.clone()), "{name}: {cells} twice");
        }
        let spec = specs.iter().find(|spec| spec.name == name).unwrap();
        assert!(spec.columns.iter().all(|column| !column.about.is_empty()));
        let bare = spec.columns.len()
            - spec
                .columns
                .iter()
                .filter(|c| c.name.ends_with("_N"))
                .count();
        assert_eq!(
            table.columns.len() - bare,
            if name == "answers" { 6 } else { 0 }
        );
    }
    // Letters twice, declining once, texts twice, passages in two orders and two ways by two raters; twenty questions twice in
    // other words.
    assert_eq!(tables[0].rows.len(), 2 * (480 * (2 + 1 + 2 + 8) + 2 * 20));
    // Answers of twenty questions, a passage on each question, two for each of four questions.
    assert_eq!(tables[1].rows.len(), 2 * (20 + 480 + 8));
    assert_eq!(tables[2].rows.len(), 2 * 63 * 13 * 2);
}

#[test]
fn options_stand_in_the_order_shown() {
    let (data, options) = (
        Data::of(concord_questions::demo().unwrap()),
        Options::letters(),
    );
    let read = read(&data, &options);
    let table = Table(rows(&data, &options, &read).unwrap().swap_remove(0));
    let [given, reversed] = [&table.0.rows[0], &table.0.rows[1]];
    assert_eq!(
        [table.text(given, "order"), table.text(reversed, "order")],
        ["given", "reversed"]
    );
    let question = &data.set.files[0].questions[0];
    assert_eq!(table.text(given, "option_1"), question.options[0].0);
    assert_eq!(table.text(reversed, "option_1"), question.options[1].0);
    assert_eq!(table.text(given, "question"), question.question);
    for row in [given, reversed] {
        assert!((table.number(row, "p_option_1") - 0.7).abs() < 1e-12);
        let stance = if (question.options[0].1 == Stance::Supports) == (row == given) {
            "p_supports"
        } else {
            "p_opposes"
        };
        assert!((table.number(row, stance) - 0.7).abs() < 1e-12);
        assert!(table.number(row, "p_neutral").is_nan());
        assert!(table.number(row, "p_declines").is_nan());
    }
}

#[test]
fn a_question_is_called_the_same_under_a_limit_and_where_it_is_selected() {
    let set = concord_questions::demo().unwrap();
    let ids = |data: &Data, options: &Options| -> BTreeSet<String> {
        let read = read(data, options);
        let table = Table(rows(data, options, &read).unwrap().swap_remove(0));
        let rows = table.0.rows.iter();
        rows.map(|row| table.text(row, "question_id").to_owned())
            .collect()
    };
    let options = Options::letters();
    let whole = Data::of(set.clone());
    let mut limited = Data::of(set);
    limited.set.keep_first_originals(1);
    let mut selected = Data::of(whole.set.clone());
    selected.chosen = Some(whole.choose(&["language=german".to_owned()]).unwrap());
    let [all, few, german] = [&whole, &limited, &selected].map(|data| ids(data, &options));
    assert_eq!((all.len(), few.len(), german.len()), (480, 40, 120));
    assert!(few.is_subset(&all) && german.is_subset(&all));
}
