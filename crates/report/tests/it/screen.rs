//! The screen at the end of a run.

use crate::checkpoints;
use crate::synthetic::{made_up, run};
use concord_report::brief;

fn columns(line: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(line)
}

#[test]
fn a_screen_has_thirty_lines_and_none_is_too_wide() {
    let asked = made_up(240);
    let tail = [
        "stored  runs/made-up".to_owned(),
        "page    concord report runs/made-up --open".to_owned(),
        "x".repeat(300),
    ];
    for count in [1, 2, 3, 4, 6, 12] {
        for (gated, hard) in [(0, false), (0, true), (1, true), (count, false)] {
            let exhibits = run(&checkpoints(count, gated.min(count), hard), &asked);
            for width in [60, 80, 100, 160] {
                let text = brief(&exhibits, &tail, width, false);
                let lines: Vec<&str> = text.lines().collect();
                assert!(
                    lines.len() <= 30,
                    "{count} at {width}: {} lines\n{text}",
                    lines.len()
                );
                for line in &lines {
                    assert!(
                        columns(line) <= width,
                        "{count} at {width}: {line:?} in\n{text}"
                    );
                    assert!(
                        !line.contains('\u{1b}')
                            && !line.contains('\u{202e}')
                            && line.trim_end() == *line
                    );
                }
                assert!(
                    text.contains("stored  runs/made-up"),
                    "{count} at {width}\n{text}"
                );
            }
        }
    }
}

#[test]
fn a_screen_says_what_matters() {
    let exhibits = run(&checkpoints(2, 0, false), &made_up(240));
    let text = brief(&exhibits, &[], 80, false);
    for part in [
        "checkpoint-0 → checkpoint-1",
        "is less consistent than",
        "  ! checkpoint-0 flips",
        "difference [95 %]",
        "! 47.9 %",
        "changed most",
        "least consistent",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let many = brief(
        &run(&checkpoints(6, 2, false), &made_up(240)),
        &[],
        80,
        false,
    );
    assert_eq!(many.matches("not measurable").count(), 2, "{many}");
    assert!(many.contains("✓!✓✓✓") && many.contains("✕✕✕✕✕"), "{many}");
}

#[test]
fn colour_is_never_the_only_sign() {
    let exhibits = run(&checkpoints(6, 2, false), &made_up(240));
    let (plain, coloured) = (
        brief(&exhibits, &[], 80, false),
        brief(&exhibits, &[], 80, true),
    );
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        bare.push_str(&rest[..at]);
        let end = rest[at..].find('m').unwrap();
        rest = &rest[at + end + 1..];
    }
    bare.push_str(rest);
    assert_eq!(bare, plain);
    assert!(coloured.contains("\u{1b}[31m") && coloured.contains("\u{1b}[1m"));
}
