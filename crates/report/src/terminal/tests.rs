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
