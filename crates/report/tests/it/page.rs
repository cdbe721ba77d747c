//! The page and the files of figures.

use crate::synthetic::{made_up, run};
use crate::{HARD, checkpoints};
use concord_findings::{Exhibit, Levels, Topics};
use concord_report::{figures, page};

fn page_of(count: usize, gated: usize, hard: bool, questions: usize) -> String {
    let exhibits = run(&checkpoints(count, gated, hard), &made_up(questions));
    page(
        "made up",
        &[("command", "concord run a b".to_owned())],
        &exhibits,
    )
}

/// The parts of a page that are neither style, script nor data.
fn body(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(at) = rest
        .find("<script")
        .into_iter()
        .chain(rest.find("<style"))
        .min()
    {
        out.push_str(&rest[..at]);
        let end = if rest[at..].starts_with("<script") {
            "</script>"
        } else {
            "</style>"
        };
        let Some(length) = rest[at..].find(end) else {
            break;
        };
        rest = &rest[at + length + end.len()..];
    }
    out.push_str(rest);
    out
}

#[test]
fn names_are_text_wherever_they_stand() {
    let exhibits = run(&checkpoints(6, 2, true), &made_up(60));
    let page = page("<b>\u{202e}title", &[("a", "<i>".to_owned())], &exhibits);
    let body = body(&page);
    for banned in [
        "<b>",
        "<i>",
        "<script",
        "alert('x')</script>",
        "\u{202e}",
        "\u{1b}",
        "&amp;amp;amp",
    ] {
        assert!(!body.contains(banned), "{banned}");
    }
    assert!(body.contains("&lt;script&gt;alert("), "markup is shown");
    assert!(
        body.contains("\\u{202e}turned\\u{1b}[31m"),
        "what is hidden is spelt out"
    );
    for name in [HARD[0], HARD[1], HARD[2]] {
        assert!(body.contains(name), "{name} is nowhere whole");
    }
    for (file, svg) in figures(&exhibits) {
        for banned in ["<script", "\u{202e}", "\u{1b}"] {
            assert!(!svg.contains(banned), "{file}: {banned}");
        }
    }
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let page = page_of(2, 0, false, 240);
    assert!(page.contains("default-src 'none'"));
    for banned in [
        "http://www",
        "https://",
        "src=",
        "url(",
        "@import",
        "<link",
        "<img",
        "<iframe",
        " onclick=",
        "javascript:",
    ] {
        let outside = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains(banned), "{banned}");
    }
    for part in body(&page).split("href=\"").skip(1) {
        assert!(part.starts_with('#'), "{}", &part[..40.min(part.len())]);
    }
}

#[test]
fn a_checkpoint_that_is_not_measurable_has_no_difference_and_no_rank() {
    let mut exhibits = run(&checkpoints(3, 1, false), &made_up(240));
    // Even where a study hands on what should not be there.
    for exhibit in &mut exhibits {
        match exhibit {
            Exhibit::Levels(Levels { rows, .. }) => rows.iter_mut().for_each(|row| {
                row.differences[2] = row.levels[2].clone();
                row.words[2] = Some("unheard-of".to_owned());
            }),
            Exhibit::Topics(Topics { rows, .. }) => rows
                .iter_mut()
                .for_each(|row| row.differences[2] = row.levels[2].clone()),
            _ => {}
        }
    }
    let body = body(&page("made up", &[], &exhibits));
    assert!(
        !body.contains("unheard-of") && body.contains("not measurable: label mass 0.10 &lt; 0.5")
    );
    assert!(!body.contains("Largest distance of checkpoint-2"));
    assert!(body.contains("Largest distance of checkpoint-1"));
    let levels = body
        .split("How far answers move</h2>")
        .nth(1)
        .and_then(|rest| rest.split("</section>").next())
        .unwrap();
    let faded = levels
        .split("<tr")
        .filter(|row| row.starts_with(" class=\"faded\""))
        .collect::<Vec<_>>();
    assert_eq!(faded.len(), 4);
    for row in faded {
        assert!(
            row.contains("not measurable") && row.matches("<use href=\"#m").count() == 2,
            "{row}"
        );
    }
    // A first checkpoint that could not be measured is one that nothing is compared with.
    let mut first = checkpoints(2, 0, false);
    first[0].1 = Some("flips 0.99 > 0.5".to_owned());
    let page = page("made up", &[], &run(&first, &made_up(240)));
    assert!(!page.contains("difference from") && !page.contains("Largest differences"));
}

#[test]
fn a_checkpoint_looks_the_same_in_every_figure() {
    let exhibits = run(&checkpoints(6, 0, false), &made_up(240));
    let body = body(&page("made up", &[], &exhibits));
    for row in body.split("<svg class=\"mark\"").skip(1) {
        let Some(name) = row
            .split("<bdi>")
            .nth(1)
            .and_then(|rest| rest.strip_prefix("checkpoint-"))
        else {
            continue;
        };
        let number = &name[..1];
        let found = &row[..row.find("/>").unwrap()];
        assert!(
            found.contains(&format!("#m{number}\"")) && found.contains(&format!("s{number}\"")),
            "{found} of {number}"
        );
    }
    for (file, svg) in figures(&exhibits) {
        for part in svg.split("<use href=\"#m").skip(1) {
            let shape = &part[..1];
            assert!(
                part[..part.find("/>").unwrap()].contains(&format!("class=\"m s{shape}\"")),
                "{file}: {part:.60}"
            );
        }
    }
}

#[test]
fn a_page_keeps_within_its_budget() {
    let code = include_str!("../../src/page/page.css").len()
        + include_str!("../../src/page/page.js").len();
    assert!(code <= 40 * 1024, "{code} bytes of code");
    // Made-up sentences are of fewer words than real ones and so are smaller; the rest is as large.
    let (two, six) = (page_of(2, 0, false, 8005), page_of(6, 0, false, 8005));
    assert!(two.len() <= 400 * 1000, "{}", two.len());
    assert!(six.len() <= 600 * 1000, "{}", six.len());
}

#[test]
fn figures_are_files_of_their_own() {
    let exhibits = run(&checkpoints(2, 0, true), &made_up(240));
    let files = figures(&exhibits);
    assert_eq!(files.len(), 7);
    for (name, svg) in &files {
        let is_plain = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
        assert!(
            is_plain
                && std::path::Path::new(name)
                    .extension()
                    .is_some_and(|ending| ending == "svg"),
            "{name}"
        );
        assert!(
            svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>"),
            "{name}"
        );
        assert!(!svg.contains("NaN") && !svg.contains("var("), "{name}");
        for part in svg.split("href=\"#").skip(1) {
            let id = &part[..part.find('"').unwrap()];
            assert!(
                svg.contains(&format!("id=\"{id}\"")),
                "{name}: {id} is named and not there"
            );
        }
    }
    let mut names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
    names.dedup();
    assert_eq!(names.len(), files.len());
}

#[test]
fn a_page_of_nothing_is_a_page() {
    let page = page("nothing", &[], &[]);
    assert!(
        page.contains("<main")
            && page.contains("Provenance")
            && page.trim_end().ends_with("</html>")
    );
}
