//! Text at every width.

use super::*;
use concord_findings::Measure;

#[test]
fn exhibits_stand_apart_and_figures_are_left_to_the_page() {
    let table = Table {
        title: Some("T:".to_owned()),
        header: vec![String::new(), "a".to_owned()],
        rows: vec![vec!["r".to_owned(), "1".to_owned()]],
    };
    let empty = Table::default();
    let text = terminal(&[
        Exhibit::Heading("of figures".to_owned()),
        Exhibit::Heading("H".to_owned()),
        Exhibit::Lead("lead\n".to_owned()),
        Exhibit::Table(table),
        Exhibit::Table(empty),
        Exhibit::Note("note\n".to_owned()),
    ]);
    assert_eq!(text, "H\n─\n\nlead\n\nT:\n\n    a\n r  1\n\nnote\n");
}

#[test]
fn text_is_broken_where_it_would_not_fit() {
    assert_eq!(
        wrapped("a bb ccc\n\ndddd e", Some(4)),
        "a bb\nccc\n\ndddd\ne\n"
    );
    assert_eq!(wrapped("a bb ccc", None), "a bb ccc\n");
    assert_eq!(wrapped("  x y\n", Some(80)), "  x y\n");
}

#[test]
fn bars_are_eighths_of_the_largest() {
    let strip = Strip {
        title: "P".to_owned(),
        measure: Measure::Probability,
        categories: vec!["0".into(), "1".into(), "2".into()],
        rows: vec![("m".into(), vec![0.5, 0.25, 0.0])],
        reference: Some(1.0 / 3.0),
    };
    let text = terminal(&[Exhibit::Strip(strip)]);
    assert!(text.starts_with("P (a full bar is probability 0.500; uniform: 0.333):\n"));
    assert!(text.contains("██") && text.contains("▄▄"), "{text}");
    assert_eq!((bar(0.01, 1.0), bar(1e-9, 1.0)), ('▁', ' '));
}

/// Levels, checks and topics of so many checkpoints.
fn measured(count: usize) -> Vec<Exhibit> {
    use concord_findings::{Axis, Check, Estimate, LevelRow, Mark, Method, Topic};
    let names: Vec<String> = (0..count)
        .map(|at| format!("{}-{at}", "name".repeat(1 + at % 3 * 9)))
        .collect();
    let found = |value: f64| {
        Some(Estimate::with_ends(
            value,
            [value - 0.0123, value + 0.0123],
            Method::Bca,
        ))
    };
    let all = |value: f64| vec![found(value); count];
    let row = LevelRow {
        measurable: vec![],
        label: "letters against texts".to_owned(),
        groups: "8,005 questions".to_owned(),
        levels: all(0.1234),
        thin: all(0.1234),
        differences: all(-0.0456),
        words: vec![Some("less".to_owned()); count],
        of_shuffled: all(0.789),
        published: vec![("another".to_owned(), 0.321)],
    };
    let check = Check {
        name: "answers that flip with the order of the options".to_owned(),
        help: "How many change.".to_owned(),
        cells: vec![Some((Mark::Doubtful, "12,345 of 67,890".to_owned())); count],
    };
    let topic = Topic {
        name: "合議制の話題".repeat(8),
        facets: vec!["japanese".to_owned()],
        questions: 24,
        levels: all(0.1234),
        differences: all(-0.0456),
        support: vec![Some(0.5678); count],
    };
    vec![
        Exhibit::Levels(Levels {
            title: "How far answers move".to_owned(),
            measure: Measure::Distance,
            legend: "0: the same".to_owned(),
            axis: Axis::UpTo(0.4645),
            faded: "not measurable",
            beside: "published",
            checkpoints: names.clone(),
            rows: vec![row.clone(), row],
        }),
        Exhibit::Checks(Checks {
            title: "Checks".to_owned(),
            checkpoints: names.clone(),
            rows: vec![check.clone(), check],
        }),
        Exhibit::Topics(Topics {
            title: "Topics".to_owned(),
            nouns: ["topic", "questions", "support"],
            measure: Measure::Distance,
            signed: false,
            checkpoints: names,
            facets: vec!["language"],
            rows: vec![topic],
        }),
    ]
}

#[test]
fn no_number_is_broken_in_two_at_any_width() {
    for count in [1, 2, 4, 6, 12] {
        let exhibits = measured(count);
        let whole = at_width(&exhibits, None);
        for width in [60, 72, 80, 100, 160] {
            let text = at_width(&exhibits, Some(width));
            for number in ["0.123", "-0.046", "[0.111,", "79 %", "12,345", "0.568"] {
                assert_eq!(
                    text.matches(number).count(),
                    whole.matches(number).count(),
                    "{number}, {count} at {width}:\n{text}"
                );
            }
            for line in text.lines() {
                assert!(
                    width_of(line) <= width,
                    "{count} at {width}: {line:?} in\n{text}"
                );
            }
        }
    }
}

#[test]
fn columns_that_do_not_fit_go_on_below_with_their_labels() {
    let table = Table {
        title: None,
        header: (0..12).map(|at| format!("column{at:02}")).collect(),
        rows: vec![
            (0..12)
                .map(|at| format!("{:.6}", f64::from(at) / 7.0))
                .collect(),
        ],
    };
    let text = grid::text(&table, Some(60));
    assert_eq!(text.matches("column00").count(), 3, "{text}");
    assert_eq!(text.matches("column11").count(), 1, "{text}");
}

#[test]
fn a_heading_does_not_say_what_a_title_says() {
    let exhibits = [Exhibit::Heading("Checks".to_owned()), measured(1).remove(1)];
    assert_eq!(terminal(&exhibits).matches("Checks").count(), 1);
}

#[test]
fn a_pair_has_its_differences_at_any_width_and_whole_names_where_there_is_room() {
    for width in [60, 80, 160] {
        let text = brief(&measured(2), &[], width, false);
        assert_eq!(text.matches("-0.046 [").count(), 2, "{width}:\n{text}");
        assert!(text.lines().all(|line| width_of(line) <= width), "{text}");
    }
    let text = brief(&measured(2), &[], 160, false);
    assert!(text.contains("namenamenamename"), "{text}");
}
