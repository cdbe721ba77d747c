//! The page and the files of figures.

use crate::synthetic::{made_up, run};
use crate::{HARD, checkpoints};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use concord_findings::{Exhibit, Levels, Topics};
use concord_report::{figures, page};
use serde_json::{Value, json};

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

/// What a browser inflates from an element of data.
fn inflated(page: &str, id: &str) -> Option<Vec<u8>> {
    let data = page
        .split(&format!("id=\"{id}\">"))
        .nth(1)?
        .split('<')
        .next()?;
    miniz_oxide::inflate::decompress_to_vec_zlib(&STANDARD.decode(data).ok()?).ok()
}

#[test]
fn the_numbers_of_a_page_are_those_that_were_found() {
    let exhibits = run(&checkpoints(3, 1, false), &made_up(240));
    let page = page("made up", &[], &exhibits);
    let words: Value = serde_json::from_slice(&inflated(&page, "words").unwrap()).unwrap();
    let bytes = inflated(&page, "columns").unwrap();
    for exhibit in &exhibits {
        match exhibit {
            Exhibit::Answers(book) => {
                let values = book.readings.iter().flat_map(|reading| &reading.values);
                assert_eq!(values.clone().count(), bytes.len());
                for (value, byte) in values.zip(&bytes) {
                    assert!((f32::from(*byte) / 254.0 - value).abs() <= 0.5 / 254.0 + 1e-6);
                }
                let mut topic = 0;
                for (at, question) in book.questions.iter().enumerate() {
                    topic += words["book"]["topic"][at].as_u64().unwrap();
                    assert_eq!(words["book"]["texts"][at], question.text);
                    assert_eq!(topic, question.topic as u64);
                    assert_eq!(
                        at as u64 - words["book"]["back"][at].as_u64().unwrap(),
                        question.original as u64
                    );
                }
            }
            Exhibit::Topics(topics) => {
                for (row, topic) in words["topics"]["rows"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .zip(&topics.rows)
                {
                    assert_eq!(
                        (&row[0], &row[2]),
                        (&json!(topic.name), &json!(topic.questions))
                    );
                    let close = |found: &Value, value: f64| {
                        (found.as_f64().unwrap() / 1e4 - value).abs() <= 0.5e-4 + 1e-12
                    };
                    let estimate = topic.levels[1].as_ref().unwrap();
                    let [low, high] = estimate.ends();
                    for (at, value) in [estimate.value, low, high].into_iter().enumerate() {
                        assert!(close(&row[3][1][at], value));
                    }
                    assert!(
                        close(&row[4][1][0], topic.differences[1].as_ref().unwrap().value)
                            && row[4][2].is_null()
                    );
                }
            }
            Exhibit::Levels(levels) => {
                let shown = body(&page);
                for estimate in levels.rows.iter().flat_map(|row| &row.levels).flatten() {
                    let [low, high] = estimate.ends();
                    assert!(
                        shown.contains(&format!(">{:.3}</span>", estimate.value))
                            && shown.contains(&format!("[{low:.3}, {high:.3}]"))
                    );
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_partial_run_is_marked() {
    let mut exhibits = run(&checkpoints(2, 0, false), &made_up(48));
    let Some(Exhibit::Summary(summary)) = exhibits.first_mut() else {
        panic!("a summary stands first")
    };
    summary.partial = Some("4 of 24 questions a topic".to_owned());
    let page = page("made up", &[], &exhibits);
    assert!(page.contains("<span class=\"badge\">partial</span> 4 of 24 questions a topic"));
    assert!(concord_report::brief(&exhibits, &[], 80, false).contains("PARTIAL"));
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
